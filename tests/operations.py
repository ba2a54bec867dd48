"""The operations that are killed, failed and interrupted, and the judge of what that leaves.

A new operation is a row of OPERATIONS: all tests of this kind try it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest
from depot import open_depot
from rollouts import A, Shape, an_id, write

from faults import (
    REGISTRY,
    Picture,
    Played,
    Stage,
    complaints,
    furnished,
    key_of,
    neither,
    picture,
    plain,
    put_back,
    sampled,
    small_codex,
    tally,
    tries_every_n,
)
from helpers import Home

# The variables of those that fetch; `opened_theatre` adds where from.
FETCHING: dict[str, str] = {}


class Theatre(NamedTuple):
    """The stage, the home that it plays in, and that home as every operation finds it."""

    home: Home
    stage: Stage
    furnished: Picture

    def put_back(self, wanted: Picture, now: Picture | None = None) -> None:
        put_back(self.home.base, wanted, now)

    def picture(self) -> Picture:
        return picture(self.home.base)

    def path(self, text: str) -> str:
        """The text with `~b` for the home's base."""
        return text.replace("~b", str(self.home.base))


@contextmanager
def opened_theatre(place: Path | None = None) -> Iterator[Theatre]:
    """A theatre for the tests of a module, on the quickest disk or in this directory."""
    with furnished(place) as (home, stage), open_depot() as depot:
        depot.fill("npm", small_codex(home, "0.170.0"))
        FETCHING.update(CODEX_MIRROR_CODEX_URL=depot.url, CODEX_MIRROR_OFFLINE="0")
        yield Theatre(home, stage, picture(home.base))


class Operation(NamedTuple):
    """A command and what comes before it; `again` are the exit codes of the same command given again.

    `mends`: what it finds isn't in order; `toggles`: given again it goes back; `variant`: so like another that the two
    large tests take only a part of the events before the commit; `loose`: ends of names that aren't compared; `also`:
    what else must hold; `halted`: no clone starts until it is done."""

    name: str
    argv: tuple[str, ...]
    prepare: Callable[[Theatre], object] = lambda theatre: None
    again: tuple[int, ...] = (0,)
    env: Mapping[str, str] = MappingProxyType({})
    mends: bool = False
    toggles: bool = False
    variant: bool = False
    loose: tuple[str, ...] = ()
    halted: bool = False
    also: Callable[[Theatre], list[str]] = lambda theatre: []

    def play(self, theatre: Theatre, **more: Any) -> Played:
        return theatre.stage.play(*map(theatre.path, self.argv), env=self.env, **more)


def named(name: str) -> Operation:
    """The row of that name."""
    [operation] = [operation for operation in OPERATIONS if operation.name == name]
    return operation


def plays(*argv: str) -> Callable[[Theatre], object]:
    """Prepared by this command."""
    return lambda theatre: theatre.stage.must(*map(theatre.path, argv), seed=21)


def package(version: str) -> Callable[[Theatre], object]:
    return lambda theatre: small_codex(theatre.home, version)


def nothing_yet(theatre: Theatre) -> None:
    """No mirror home and no wrapper directory, as on the first day."""
    empty = {name: thing for name, thing in theatre.picture().items() if not name.startswith(("m", "bin"))}
    theatre.put_back(empty)


def without_wrapper(theatre: Theatre) -> None:
    (theatre.home.bin / "work").unlink()


def damaged(theatre: Theatre) -> None:
    """A byte of a file that two clones share is another one."""
    [binary] = theatre.home.mirror.glob("clones/other/.codex-mirror/runtime/*/codex-path/rg")
    assert binary.stat().st_nlink > 1
    binary.chmod(0o755)
    binary.write_bytes(b"X" * binary.stat().st_size)


def opened(theatre: Theatre) -> None:
    (theatre.home.mirror / "clones/work/.codex-mirror").chmod(0o755)


def loosened(theatre: Theatre) -> None:
    (theatre.home.clone_home("work") / ".codex/config.toml").write_text('model = "o"\n')


def forgotten(theatre: Theatre) -> None:
    """The registry without its row of `work`, and no registry before it."""
    path = theatre.home.mirror / "registry.json"
    registry = json.loads(path.read_text())
    registry["clones"] = [row for row in registry["clones"] if row["name"] != "work"]
    path.write_text(json.dumps(registry))
    (theatre.home.mirror / "registry.json.previous").unlink()


def spoiled_row(theatre: Theatre) -> None:
    path = theatre.home.mirror / "registry.json"
    path.write_text(path.read_text().replace('"binary"', '"hologram"', 1))


def sharing_notes(theatre: Theatre) -> None:
    (theatre.home.home / "notes").touch()
    plays("set", "work", "--share", "notes")(theatre)


def torn(theatre: Theatre) -> None:
    path = theatre.home.mirror / "registry.json"
    path.write_bytes(path.read_bytes()[:200])


def dotfiles(theatre: Theatre) -> None:
    """A .bashrc that is a link into somebody's dotfiles, and a .profile that only its owner may read."""
    home = theatre.home.home
    (home / "dotfiles").mkdir()
    (home / ".bashrc").rename(home / "dotfiles" / "bashrc")
    (home / ".bashrc").symlink_to("dotfiles/bashrc")
    (home / ".profile").chmod(0o640)


def codex_home(theatre: Theatre) -> None:
    """A Codex home of the user's, as it is before codex-mirror comes."""
    own = theatre.home.home / ".codex"
    shutil.copytree(theatre.home.clone_home("other") / ".codex", own)
    (own / "AGENTS.md").write_text("be kind\n")
    (own / "prompts").mkdir()
    (own / "prompts" / "one.md").write_text("one\n")


def taken_directory(theatre: Theatre) -> None:
    """Another clone has the home directory and the default, and the shim is installed."""
    for words in (("use", "other", "~b/h"), ("use", "--default", "other"), ("shim", "install", "--shell", "sh")):
        plays(*words)(theatre)


def moved(theatre: Theatre) -> None:
    """All directories had other names when the clones were made: those that they have below `was`."""
    base, names = theatre.home.base, ("m", "h", "bin")
    (base / "was").mkdir(mode=0o700)
    for name in names:
        (base / name).rename(base / "was" / name)
    theatre.home.home.mkdir()  # The stage stands there.
    env = {"HOME": "h", "CODEX_MIRROR_HOME": "m", "CODEX_MIRROR_BIN_DIR": "bin"}
    env = {key: f"{base}/was/{name}" for key, name in env.items()}
    result = theatre.stage.play("move-home", "--yes", env=env, seed=21)
    assert result.code == 0, result
    theatre.home.home.rmdir()
    for name in names:
        (base / "was" / name).rename(base / name)
    (base / "was").rmdir()


def one_clone_a_directory(theatre: Theatre) -> list[str]:
    """The complaint that a directory has two clones, or none."""
    having = [row["name"] for row in rows_of(theatre.home) if str(theatre.home.home) in row.get("directories", [])]
    return [] if len(having) == 1 else [f"the directory has the clones {having}"]


def said_in_work(theatre: Theatre) -> None:
    """A session of `work` that another account can't read as a whole."""
    shape = Shape("0.169.0")
    lines = [*shape.beginning(an_id(), creator=A), *shape.turn("secret")]
    write(theatre.home.clone_home("work") / ".codex", an_id(), lines)


def said_more_in_work(theatre: Theatre) -> None:
    """The other clone got that session, and then it went on in `work`."""
    said_in_work(theatre)
    plays("handover", an_id(), "other")(theatre)
    [path] = theatre.home.clone_home("work").glob(f".codex/sessions/*/*/*/*{an_id()}.jsonl")
    path.write_bytes(path.read_bytes() + Shape("0.169.0").prompt("more"))


def one_live_login(theatre: Theatre) -> list[str]:
    """A login that is moved is used in one place, whatever happened."""
    places = [theatre.home.home / ".codex/auth.json", theatre.home.clone_home("new") / ".codex/auth.json"]
    live = [str(path) for path in places if path.exists()]
    return [] if len(live) == 1 else [f"the login is live in {live}"]


def whole_export(theatre: Theatre) -> list[str]:
    """An export that is there can be read to its end and holds what the clone has."""
    path = theatre.home.home / "work.tar.gz"
    if not path.exists():
        return []
    with tarfile.open(path) as tar:
        names = set(tar.getnames())
    wanted = {
        f"codex/{name}" for name in ("config.toml", "auth.json", "sessions/2026/11/22/rollout-2026-11-22-a.jsonl")
    }
    return [f"the export has only {sorted(names)}"] if wanted - names else []


OPERATIONS = (
    Operation("create", ("create", "new"), again=(0, 5)),
    Operation("create the first", ("create", "new"), nothing_yet, again=(0, 5), variant=True),
    Operation("create --root", ("create", "new", "--root", "~b/r/deep/new"), again=(0, 5)),
    Operation("create in a directory of mine", ("create", "new", "--root", "~b/r"), again=(0, 5), variant=True),
    Operation(
        "create --settings-from",
        ("create", "new", "--settings-from", "~b/h/.codex"),
        codex_home,
        again=(0, 5),
        variant=True,
    ),
    Operation("create --codex", ("create", "new", "--codex", "0.170.0"), again=(0, 5), env=FETCHING),
    Operation("update", ("update", "work")),
    Operation("update --codex", ("update", "work", "--codex", "0.170.0"), env=FETCHING, variant=True),
    Operation(
        "update all by copying", ("update", "--all", "--from", "~b/packages/0.170.0"), package("0.170.0"), variant=True
    ),
    Operation("rollback", ("rollback", "work"), toggles=True),
    Operation("rename", ("rename", "work", "office"), again=(0, 3)),
    Operation("remove", ("remove", "work", "--yes"), again=(0, 3)),
    Operation(
        "remove --root",
        ("remove", "far", "--yes"),
        plays("create", "far", "--root", "~b/r/deep/far"),
        again=(0, 3),
        variant=True,
    ),
    Operation("wrapper install", ("wrapper", "install")),
    Operation("wrapper install --bin-dir", ("wrapper", "install", "--bin-dir", "~b/bin2")),
    Operation("path setup", ("path", "setup", "--shell", "bash")),
    Operation("path setup of dotfiles", ("path", "setup", "--shell", "bash"), dotfiles, variant=True),
    Operation("path setup of a new file", ("path", "setup", "--shell", "fish")),
    Operation("path remove", ("path", "remove"), plays("path", "setup", "--shell", "bash")),
    Operation("path remove of a new file", ("path", "remove"), plays("path", "setup", "--shell", "fish")),
    Operation("doctor --fix: wrapper", ("doctor", "--fix"), without_wrapper, mends=True),
    Operation("doctor --fix: runtime", ("doctor", "--fix", "--deep"), damaged, mends=True),
    Operation("doctor --fix: directories", ("doctor", "--fix"), opened, mends=True),
    Operation("doctor --fix: pin", ("doctor", "--fix"), loosened, mends=True),
    Operation("doctor --fix: lost row", ("doctor", "--fix"), forgotten, mends=True),
    Operation("doctor --fix: bad row", ("doctor", "--fix"), spoiled_row, mends=True),
    Operation("doctor --fix: torn registry", ("doctor", "--fix"), torn, mends=True),
    Operation(
        "login",
        ("login", "--yes", "work", "--device-auth"),
        env={"NEW_KEY": "sk-new-0123456789-new"},
        loose=("auth.json",),
    ),
    Operation("logout --local", ("logout", "work", "--local", "--yes")),
    Operation(
        "set",
        ("set", "work", "--share", "notes", "--keep-env", "OPENAI_PROJECT"),
        lambda t: (t.home.home / "notes").touch(),
    ),
    Operation("set --unshare", ("set", "work", "--unshare", "notes", "--home", "shared"), sharing_notes, again=(0, 1)),
    Operation("set --settings-from", ("set", "work", "--settings-from", "~b/h/.codex"), codex_home),
    Operation(
        "set --share-settings --env",
        ("set", "work", "--share-settings", "AGENTS.md", "--share-settings", "skills", "--env", "PROXY=x"),
        codex_home,
    ),
    Operation("move-home", ("move-home", "--yes"), moved, mends=True, halted=True),
    Operation("use", ("use", "work", "~b/h"), taken_directory, also=one_clone_a_directory),
    Operation("use --default", ("use", "--default", "work"), taken_directory),
    Operation("shim install", ("shim", "install", "--shell", "bash"), taken_directory),
    Operation("shim remove", ("shim", "remove"), plays("shim", "install", "--shell", "bash")),
    Operation("handover", ("handover", an_id(), "other"), said_in_work),
    Operation("handover of more", ("handover", an_id(), "other"), said_more_in_work, variant=True),
    Operation(
        "export",
        ("export", "work", "-o", "~b/h/work.tar.gz", "--with-login"),
        again=(0, 5),
        loose=(".gz",),
        also=whole_export,
    ),
    Operation(
        "import",
        ("import", "~b/h/x.tar.gz", "--name", "new", "--yes"),
        plays("export", "work", "-o", "~b/h/x.tar.gz", "--with-login"),
        again=(0, 5),
    ),
    Operation(
        "import --move-login",
        ("import", "~b/h/.codex", "--name", "new", "--move-login", "--with-sessions"),
        codex_home,
        again=(0, 5),
        loose=("auth.json", "auth.json.moved-to-new-ID"),
        also=one_live_login,
        variant=True,
    ),
)


class Run(NamedTuple):
    """An operation as it goes undisturbed: the home before and after it, and its events."""

    operation: Operation
    before: Picture
    after: Picture
    events: tuple[str, ...]
    registry: str

    @property
    def commit(self) -> int:
        """The first event at which the registry is replaced; 0 where it never is."""
        name = f"os.rename {self.registry}.new"
        return self.events.index(name) + 1 if name in self.events else 0

    def chosen(self, what: str, points: Sequence[int], share: float) -> list[int]:
        """The points that are tried: all; a share where not every n is; of a variant a fifth until the commit."""
        what = f"{self.operation.name}, {what}"
        if not tries_every_n() or not self.operation.variant:
            return sampled(what, points, share / 3 if self.operation.variant else share)
        early = [n for n in points if n <= self.commit or not self.commit]
        return [*sampled(what, early, 0.2, always=True), *points[len(early) :]]


RUNS: dict[tuple[str, Path], Run] = {}


def undisturbed(theatre: Theatre, operation: Operation) -> Run:
    key = (operation.name, theatre.home.base)
    if key not in RUNS:
        theatre.put_back(theatre.furnished)
        operation.prepare(theatre)
        before = theatre.picture()
        result = operation.play(theatre)
        assert result.code == 0, result
        assert not (wrong := [*complaints(theatre.home), *lost_lines(theatre)]), wrong
        RUNS[key] = Run(operation, before, theatre.picture(), result.events, f"{theatre.home.mirror}/registry.json")
    return RUNS[key]


# --- what happens between the end of one command and the next ---


def note_in_homes(theatre: Theatre) -> set[str]:
    """What a Codex that runs meanwhile does: it writes into the home of its clone; the clones in which one wrote."""
    noted = set()
    for row in rows_of(theatre.home):
        if history_of(row).parent.is_dir():
            history_of(row).write_text("a note\n")
            noted.add(row["id"])
    return noted


def lost_notes(theatre: Theatre, noted: set[str]) -> list[str]:
    """The clones of today in whose homes a note isn't as it was written."""
    return [
        f"the home of {row['name']} lost a note"
        for row in rows_of(theatre.home)
        if row["id"] in noted and not (history_of(row).exists() and history_of(row).read_text() == "a note\n")
    ]


def history_of(row: Mapping[str, Any]) -> Path:
    return Path(row["rootPath"]) / ".codex-mirror/home/.codex/history.jsonl"


def failing_wrappers(theatre: Theatre) -> list[str]:
    """Starts every clone that the registry names and that has a wrapper; those that don't start."""
    wrong = []
    for row in rows_of(theatre.home):
        if os.path.exists(row["wrapperPath"]):
            argv = [row["wrapperPath"], "login", "status"]
            ended = subprocess.run(
                argv, check=False, env=theatre.home.env, capture_output=True, stdin=subprocess.DEVNULL
            )
            if ended.returncode and b"Not logged in" not in ended.stderr:
                wrong.append(f"{row['name']} did not start: {ended.stderr!r}")
    return wrong


def rows_of(home: Home) -> list[dict[str, Any]]:
    """The registry's rows; none where it can't be read."""
    try:
        rows: list[dict[str, Any]] = json.loads((home.mirror / "registry.json").read_bytes())["clones"]
    except (FileNotFoundError, ValueError):
        return []
    return rows


def launching(now: Picture) -> tuple[object, ...]:
    """What the start of a wrapper depends on."""
    parts = {name: thing for name, thing in now.items() if "/runtime" in name or name.startswith("bin")}
    return key_of({**parts, **{REGISTRY: now[REGISTRY]}}) if REGISTRY in now else ()


OUR_BLOCK = re.compile(rb"# >>> codex-mirror (PATH|shim) >>>.*?# <<< codex-mirror \1 <<<\r?\n", re.DOTALL)


def lost_lines(theatre: Theatre) -> list[str]:
    """The rc files that without our block aren't the user's, byte for byte; a line end may have been added to them."""
    return [
        f"{name} isn't the user's any more"
        for name in (".bashrc", ".profile")
        if OUR_BLOCK.sub(b"", (theatre.home.home / name).read_bytes()).rstrip(b"\r\n")
        != theatre.furnished[f"h/{name}"].content.rstrip(b"\r\n")
    ]


def compared(now: Picture, loose: tuple[str, ...]) -> Picture:
    """The picture without the notes, and without what the operation's Codex writes by itself."""
    own = ("/.codex/history.jsonl", "/.codex/.touched", *loose)
    return {name: thing for name, thing in now.items() if not plain(name.encode()).decode().endswith(own)}


def next_commands(theatre: Theatre) -> list[str]:
    """What goes wrong when the next commands are given."""
    return wrong_with(played_next(theatre))


def played_next(theatre: Theatre) -> list[Played]:
    """A reader, and, where a temporary file is left, a change that changes nothing."""
    played = [theatre.stage.play("list", "--json", seed=31)]
    if any(path for names in ("*.new", ".*.codex-mirror-new") for path in theatre.home.mirror.glob(names)):
        played += [theatre.stage.play("rename", "nobody", "somebody", seed=32)]
    return played


def wrong_with(played: Collection[Played]) -> list[str]:
    return [f"{one}" for one in played if one.code not in (0, 3) and "doctor --fix" not in one.err]


def steps(events: Collection[str]) -> frozenset[tuple[str, str]]:
    """The events without what differs from one run to the next: what is done, and with which file."""
    found, last = set(), ""
    for event in events:
        what, _, path = plain(event.encode()).decode().partition(" ")
        last = path if "/" in path else last
        found.add((what, last))
    return frozenset(found)


class Judge:
    """Judges what is left of one operation; the same picture once."""

    def __init__(self, theatre: Theatre, run: Run) -> None:
        self.theatre, self.run = theatre, run
        self.wrong: dict[str, list[object]] = {}
        self.launched: set[object] = set()
        self.repaired: dict[object, tuple[list[str], list[str]]] = {}
        self.now: Picture | None = None  # How the home is, where that is known.
        self.steps: dict[object, frozenset[tuple[str, str]]] = {}  # Of the first of the next commands, at each point.

    def hear(
        self, point: object, result: Played, codes: tuple[int, ...] = (0, 1, 5), left: Picture | None = None
    ) -> None:
        """Judges a disturbed command by how it ended and what it left: a failure has words, and what ends with 0 is
        done; but for a login that Codex knows of, and that we could not note."""
        if result.code not in codes or (result.code and not result.err):
            self.wrong.setdefault(f"{result}", []).append(point)
        self.judge(point, left or self.theatre.picture(), as_it_is=True, done=result.code == 0)

    def judge(self, point: object, left: Picture, *, as_it_is: bool = False, done: bool = False) -> None:
        """Puts a home as it was left, lets a Codex write meanwhile, and notes what the next commands leave wrong."""
        theatre = self.theatre
        theatre.put_back(left, left if as_it_is else self.now)
        wrong = self.failing_wrappers(left)
        noted = note_in_homes(theatre)
        played = played_next(theatre)
        self.steps[point] = steps(played[0].events)
        wrong += [*wrong_with(played), *lost_notes(theatre, noted)]
        self.now = theatre.picture()
        if (key := key_of(self.now)) not in self.repaired:
            self.repaired[key], self.now = self.complaints_after(), None
        repaired, undone = self.repaired[key]
        wrong += [*repaired, *(undone if done and self.run.operation.name != "login" else [])]
        for what in wrong:
            self.wrong.setdefault(what, []).append(point)

    def failing_wrappers(self, left: Picture) -> list[str]:
        if (key := launching(left)) in self.launched or self.run.operation.halted:
            return []
        self.launched.add(key)
        wrong = failing_wrappers(self.theatre)
        self.theatre.put_back(left)
        return wrong

    def complaints_after(self) -> tuple[list[str], list[str]]:
        """What is wrong now, and what after the same command was given again; and what of the command is not done."""
        theatre, run = self.theatre, self.run
        wrong = self.complaints(run.before, run.after)
        undone = [f"it ended with 0, but {what}" for what in self.complaints(run.after)]
        again = run.operation.play(theatre, seed=2)
        if again.code not in run.operation.again:
            wrong.append(f"given again: {again}")
        allowed = (run.before, run.after) if run.operation.toggles else (run.after,)
        return wrong + [f"given again: {what}" for what in self.complaints(*allowed)], undone

    def complaints(self, *allowed: Picture) -> list[str]:
        """What is neither as it was nor as it should be, and what doesn't agree."""
        loose, base = self.run.operation.loose, self.theatre.home.base
        found = neither(compared(self.theatre.picture(), loose), base, *(compared(one, loose) for one in allowed))
        found += [*lost_lines(self.theatre), *self.run.operation.also(self.theatre)]
        mending = self.run.operation.mends and self.run.before in allowed
        return found if mending else [*found, *complaints(self.theatre.home)]

    def report(self) -> None:
        """Fails with every complaint and some of the points at which it came."""
        tally("lost", len(self.wrong))
        lines = [f"{what}\n    at {self.told(points)}" for what, points in self.wrong.items()]
        if lines:
            pytest.fail("\n".join(lines), pytrace=False)

    def told(self, points: list[object]) -> str:
        """A few of the points, the first with its event."""
        first = points[0] if isinstance(points[0], int) else points[0][0]
        return f"{', '.join(map(str, points[:9]))} ({len(points)} in all); {first} is {self.run.events[first - 1]}"
