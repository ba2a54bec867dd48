"""Weeks of use, compressed to a minute: changes of every kind, work in the clones between them, a kill now and then.

python tests/weeks.py [CHANGES]        prints what went wrong, and how much slower which command got
"""

from __future__ import annotations

import json
import os
import random
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from faults import KILLED, OF_MIRROR, SEED, Stage, complaints, small_codex
from helpers import API_KEYS, Home, Mirror, discard, make_home, new_base

MOST, FEWEST = 9, 4
VERSIONS = ("0.154.0", "0.160.0", "0.169.0")
SLOWER = 1.2


class Household(NamedTuple):
    """A home in which weeks pass: the stage of its commands, the sources of Codex, and what its user has in the clones
    (by clone's id, then by path inside its home)."""

    home: Home
    stage: Stage
    sources: tuple[str, ...]
    dice: random.Random
    kept: dict[str, dict[str, bytes]]
    removed: set[str]

    def rows(self) -> dict[str, dict[str, Any]]:
        path = self.home.mirror / "registry.json"
        rows = json.loads(path.read_bytes())["clones"] if path.exists() else []
        return {row["name"]: row for row in rows}

    def a_clone(self) -> str:
        return self.dice.choice(sorted(self.rows()))

    def a_name(self) -> str:
        """One that no clone has; some had it before."""
        return self.dice.choice(sorted({f"clone{number}" for number in range(3 * MOST)} - self.rows().keys()))

    def a_source(self) -> str:
        return self.dice.choice(self.sources)


def home_of(row: Mapping[str, Any]) -> Path:
    return Path(row["rootPath"]) / ".codex-mirror" / "home"


# --- what is done in those weeks ---

Words = tuple[str, ...]


def create(house: Household) -> Words:
    name, options = house.a_name(), house.dice.choice(((), ("--home", "shared"), ("--share", "notes"), ("--root",)))
    # Not by the name: who had it may be in that place, and have another name now.
    root = (str(house.home.base / "roots" / f"{house.dice.randrange(1 << 30):x}"),) if options == ("--root",) else ()
    return ("create", name, "--from", house.a_source(), *options, *root)


def remove(house: Household) -> Words:
    return ("remove", house.a_clone(), "--yes")


def roll_back(house: Household) -> Words:
    can = [name for name, row in house.rows().items() if row["previousRuntime"]]
    return ("rollback", house.dice.choice(can)) if can else ("list",)


def change_settings(house: Household) -> Words:
    name = house.a_clone()
    row = house.rows()[name]
    variable, share = ("--no-keep-env" if row["keepEnv"] else "--keep-env"), "notes" in row["shared"]
    asked = [(variable, "OPENAI_PROJECT"), ("--env", f"NUMBER={house.dice.random()}")]
    if row["home"] == "isolated":
        asked.append(("--unshare" if share else "--share", "notes"))
    return ("set", name, *house.dice.choice(asked))


def use(house: Household) -> Words:
    directory = house.home.home / "project"
    directory.mkdir(exist_ok=True)
    return ("use", house.a_clone(), str(directory)) if house.dice.random() < 0.7 else ("use", "--unset", str(directory))


def bring_back(house: Household) -> Words:
    """Imports what was exported of a clone before."""
    exported = house.home.home / "export.gz"
    exported.unlink(missing_ok=True)
    house.stage.must("export", house.a_clone(), "-o", str(exported), seed=house.dice.randrange(1 << 30))
    return ("import", str(exported), "--name", house.a_name(), "--yes", "--from", house.a_source())


DEEDS: tuple[tuple[int, Callable[[Household], Words]], ...] = (
    (6, create),
    (5, remove),
    (6, lambda house: ("rename", house.a_clone(), house.a_name())),
    (6, lambda house: ("update", house.a_clone(), "--from", house.a_source())),
    (1, lambda house: ("update", "--all", "--from", house.a_source())),
    (4, roll_back),
    (6, change_settings),
    (3, use),
    (1, lambda house: ("use", "--default", house.a_clone())),
    (3, lambda house: ("logout", house.a_clone(), "--local", "--yes")),
    (2, bring_back),
    (1, lambda house: ("wrapper", "install")),
    (1, lambda house: ("path", house.dice.choice(("setup", "remove")), "--shell", "bash")),
    (1, lambda house: ("shim", house.dice.choice(("install", "remove")))),
    (2, lambda house: ("doctor", "--fix")),
    (2, lambda house: ("list", "--json")),
)


def change(house: Household, number: int) -> list[str]:
    """One change, that in one of nine cases is killed first; what went wrong."""
    clones = len(house.rows())
    hindered: tuple[object, ...] = (create, bring_back) if clones >= MOST else (remove,) if clones <= FEWEST else ()
    can = [(weight, deed) for weight, deed in DEEDS if deed not in hindered]
    [deed] = house.dice.choices([deed for _, deed in can], [weight for weight, _ in can])
    words = deed(house)
    if words[0] in ("remove", "logout"):
        row = house.rows()[words[1]]
        if words[0] == "remove":
            house.removed.add(row["id"])
        house.kept.get(row["id"], {}).pop(".codex/auth.json", None)
    seed = house.dice.randrange(1 << 30)
    if house.dice.random() < 1 / 9 and house.stage.play(*words, seed=seed, at=house.dice.randint(1, 60)).code == KILLED:
        house.stage.play("list", seed=number)
        return []
    result = house.stage.play(*words, seed=seed)
    return [] if result.code == 0 else [f"{number}: {' '.join(words)}: {result.code}, {result.err or result.out}"]


def work(house: Household) -> None:
    """What a user does in a clone: logs in, has a session, goes on with it, takes notes of his own."""
    row = house.rows()[house.a_clone()]
    name = house.dice.choice(
        (
            ".codex/auth.json",
            ".codex/history.jsonl",
            f".codex/sessions/2026/11/22/rollout-{house.dice.random()}.jsonl",
            "n",
        )
    )
    if name == "n" and row["home"] == "isolated" and "notes" not in row["shared"]:
        name = "thesis.txt"
    path = home_of(row) / (name if name != "n" else ".codex/AGENTS.md")
    path.parent.mkdir(parents=True, exist_ok=True)
    key = json.dumps({"auth_mode": "apikey", "OPENAI_API_KEY": API_KEYS[0]})
    before = path.read_bytes() if path.exists() and path.name != "auth.json" else b""
    path.write_bytes(key.encode() if path.name == "auth.json" else before + f"{house.dice.random()}\n".encode())
    house.kept.setdefault(row["id"], {})[str(path.relative_to(home_of(row)))] = path.read_bytes()


# --- what must hold at their end ---


def lost(house: Household) -> Iterator[str]:
    """What the user had, and has no more."""
    rows = {row["id"]: row for row in house.rows().values()}
    for clone, files in house.kept.items():
        if clone not in rows and clone not in house.removed:
            yield f"the clone {clone} is gone"
        for name, content in files.items() if clone in rows else ():
            path = home_of(rows[clone]) / name
            if not path.exists() or path.read_bytes() != content:
                yield f"{path} is lost, or has other bytes"
        if clone in rows:
            wrapper = subprocess.run([rows[clone]["wrapperPath"], "--version"], env=house.home.env, capture_output=True)
            if wrapper.returncode or rows[clone]["codexVersionPinned"] not in wrapper.stdout.decode():
                yield f"{rows[clone]['name']} doesn't start: {wrapper}"


def left(house: Household, user: Mapping[str, bytes], inspect: Callable[[Home], list[str]]) -> Iterator[str]:
    """What is still there once every clone is removed and PATH is as before, and was not the user's."""
    for name in house.rows():
        house.stage.must("remove", name, "--yes", "--force", seed=1)
    for words in (("path", "remove"), ("shim", "remove")):
        house.stage.must(*words, seed=1)
    yield from inspect(house.home)
    yield from (f"{path} is left" for path in house.home.mirror.iterdir() if not OF_MIRROR.fullmatch(path.name))
    for directory in (house.home.mirror / "clones", house.home.bin, house.home.base / "roots"):
        yield from (f"{path} is left" for path in (directory.iterdir() if directory.exists() else ()))
    for name, content in user.items():
        if (house.home.home / name).read_bytes().strip() != content.strip():
            yield f"{name} isn't the user's any more"
    large = [path for path in house.home.mirror.iterdir() if path.is_file() and path.stat().st_size > 256 << 10]
    yield from (f"{path} has {path.stat().st_size} bytes" for path in large if path.name != "reserve")


def furnish_alike(old: Household, new: Household) -> None:
    """Gives a new home the clones of the old one and what their user has in them: so it was when all began."""
    for name, row in old.rows().items():
        options = ("--home", row["home"])
        new.stage.must("create", name, "--from", str(source_of(old, row)), *options, seed=new.dice.randrange(1 << 30))
        for path, content in old.kept.get(row["id"], {}).items():
            target = home_of(new.rows()[name]) / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)


def source_of(house: Household, row: Mapping[str, Any]) -> str:
    return next(one for one in house.sources if row["codexVersionPinned"] in one or len(house.sources) == 1)


def measured(name: str, source: str) -> tuple[Words, ...]:
    """Commands that together change nothing."""
    return (
        ("list",),
        ("list", "--json"),
        ("run", name, "--version"),
        ("doctor", "--json"),
        ("sessions", "--json"),
        ("update", name, "--from", source),
        ("set", name, "--env", "MEASURED=1"),
        ("set", name, "--no-env", "MEASURED"),
        ("rename", name, "measured"),
        ("rename", "measured", name),
        ("wrapper", "install"),
    )


def processor_seconds(home: Home, words: Words) -> float:
    """What a command and the programs that it starts take of a processor; the others on it don't count."""
    files = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen([*map(str, Mirror(home).argv(*words))], env=home.env, cwd=home.home, **files)  # type: ignore[call-overload]
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode in (0, 1), (words, process.returncode)
    return float(used.ru_utime + used.ru_stime)


def ratios(old: Home, new: Home, commands: Sequence[Words]) -> dict[str, float]:
    """How many times as long each command takes in the old home as in the new one: both in turn, so that the machine is
    the same for both, and the medians; while one looks too slow, once more."""
    taken: dict[Words, tuple[list[float], list[float]]] = {words: ([], []) for words in commands}
    for number in range(40):
        for words, (of_old, of_new) in taken.items():
            for home, seconds in ((old, of_old), (new, of_new)) if number % 2 else ((new, of_new), (old, of_old)):
                seconds.append(processor_seconds(home, words))
        found = {" ".join(words): statistics.median(a) / statistics.median(b) for words, (a, b) in taken.items()}
        if number >= 2 and max(found.values()) <= SLOWER:
            break
    return found


# --- all of it ---


@contextmanager
def household(home: Home, sources: Sequence[str], changes: int) -> Iterator[Household]:
    with Stage(home) as stage:
        yield Household(home, stage, tuple(sources), random.Random(f"{SEED} weeks {changes}"), {}, set())


def live(
    home: Home, new: Home, sources: Sequence[str], changes: int, inspect: Callable[[Home], list[str]] = complaints
) -> tuple[list[str], dict[str, float]]:
    """Lets weeks pass in a home; what was lost or left then, and the ratios to an equal one where none have passed."""
    for one in (home, new):
        one.put_on_path(one.mirror / "shim", one.bin)
    (home.home / "notes").write_text("shared\n")
    (home.home / ".bashrc").write_bytes(b"export A=1\n# caf\xe9\n")
    (new.home / "notes").write_text("shared\n")
    user = {name: (home.home / name).read_bytes() for name in ("notes", ".bashrc")}
    with household(home, sources, changes) as old, household(new, sources, changes) as young:
        for _ in range(FEWEST):
            old.stage.must(*create(old), seed=old.dice.randrange(1 << 30))
        wrong: list[str] = []
        for number in range(changes):
            wrong += change(old, number)
            work(old)
        old.stage.play("rename", "nobody", "somebody", seed=1)  # The next change after a kill clears it all away.
        wrong += [*inspect(home), *lost(old)]
        furnish_alike(old, young)
        names, compared = sorted(old.rows()), {}
        if not wrong:
            row = old.rows()[names[0]]
            compared = ratios(home, new, measured(names[0], source_of(old, row)))
        return [*wrong, *left(old, user, inspect)], compared


@contextmanager
def two_homes() -> Iterator[tuple[Home, Home]]:
    with ExitStack() as stack:
        bases = [new_base(), new_base()]
        for base in bases:
            stack.callback(discard, base)
        yield make_home(bases[0]), make_home(bases[1])


def small_sources(home: Home) -> list[str]:
    return [str(small_codex(home, version)) for version in VERSIONS]


def main(changes: int) -> int:
    with two_homes() as (home, new):
        wrong, compared = live(home, new, small_sources(home), changes)
    for line in wrong:
        print(line)
    for words, ratio in compared.items():
        print(f"{ratio:5.2f}  {words}")
    return bool(wrong) or any(ratio > SLOWER for ratio in compared.values())


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if sys.argv[1:] else 300))
