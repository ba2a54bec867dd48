"""Killed or failing at any event: what is left is wholly as before or wholly as after, and nothing is lost.

Every event of every operation (operations.py) is tried on one Python, and a sample, whose seed is printed, on the
others (`faults.tries_every_n`). Of the repairs all that are different are killed at their every event;
CODEX_MIRROR_TEST_EVERY_N=2 takes those of each kill, which takes an hour.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import random
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from faults import KILLED, SEED, Picture, complaints, key_of, sampled, tally, tries_every_n, tries_every_repair
from helpers import tree
from operations import (
    OPERATIONS,
    Judge,
    Operation,
    Run,
    Theatre,
    named,
    next_commands,
    opened_theatre,
    rows_of,
    undisturbed,
)
from rooms import cm

pytestmark = pytest.mark.faults


@pytest.fixture(scope="module")
def theatre() -> Iterator[Theatre]:
    with opened_theatre() as theatre:
        yield theatre


@pytest.fixture(params=OPERATIONS, ids=lambda operation: operation.name.replace(" ", "-"))
def run(request: pytest.FixtureRequest, theatre: Theatre) -> Run:
    return undisturbed(theatre, request.param)


# --- killed, and failing ---


KILLED_STATES: dict[tuple[str, Path], dict[int, Picture]] = {}


def killed_states(theatre: Theatre, run: Run) -> dict[int, Picture]:
    """What is left when the operation is killed at its n-th event; equal pictures once."""
    key = (run.operation.name, theatre.home.base)
    if key not in KILLED_STATES:
        points = sampled(f"{run.operation.name}, killed", range(1, len(run.events) + 1), 0.15)
        theatre.put_back(run.before)
        taken = photographs(theatre, run.operation, set(points))
        compare_with_kills(theatre, run, taken)
        found: dict[object, tuple[int, Picture]] = {}
        for n, left in taken.items():
            found.setdefault(key_of(left), (n, left))
        tally("kill points tried", len(taken))
        KILLED_STATES[key] = dict(found.values())
    return KILLED_STATES[key]


def photographs(theatre: Theatre, operation: Operation, points: set[int] | None = None) -> dict[int, Picture]:
    """What a command would leave at these events, or at each of its events."""
    taken: dict[int, Picture] = {}
    events: list[str] = [""]

    def photograph(event: str) -> None:
        n = len(events)
        if points is None or n in points:
            idle = n - 1 in taken and events[-1].startswith(("os.fsync", "fcntl.", "shutil."))
            taken[n] = taken[n - 1] if idle else theatre.picture()
        events.append(event)

    operation.play(theatre, at_each=photograph)
    return taken


def compare_with_kills(theatre: Theatre, run: Run, taken: dict[int, Picture]) -> None:
    """Kills the operation for real at some of the events: it must leave what was photographed."""
    dice = random.Random(f"{SEED} {run.operation.name}")
    for n in dice.sample(sorted(taken), k=min(5 if tries_every_n() else 2, len(taken))):
        theatre.put_back(run.before)
        assert run.operation.play(theatre, at=n).code == KILLED
        assert key_of(theatre.picture()) == key_of(taken[n]), f"{n}, {run.events[n - 1]}, {SEED=}"


def test_a_command_killed_at_any_event_is_wholly_done_or_undone_by_the_next(theatre: Theatre, run: Run) -> None:
    judge_of_kills(theatre, run).report()


JUDGES: dict[tuple[str, Path], Judge] = {}


def judge_of_kills(theatre: Theatre, run: Run) -> Judge:
    """Who has judged all that a kill leaves, and knows of each what its repair does."""
    key = (run.operation.name, theatre.home.base)
    if key not in JUDGES:
        JUDGES[key] = Judge(theatre, run)
        for n, left in killed_states(theatre, run).items():
            JUDGES[key].judge(n, left)
    return JUDGES[key]


def test_a_repair_killed_at_any_event_is_finished_by_the_next(theatre: Theatre, run: Run) -> None:
    judge, name = Judge(theatre, run), run.operation.name
    states = killed_states(theatre, run)
    torn = {key_of(left): (n, left) for n, left in states.items()}
    first = len(torn)

    for n in run.chosen("its repair killed", different_repairs(theatre, run), 0.2):
        theatre.put_back(states[n])
        for left in photographs(theatre, REPAIR).values():
            torn.setdefault(key_of(left), (n, left))
            tally("kill points tried")
    for n, left in sampled(f"{name}, its repair", list(torn.values())[first:], 0.1):
        judge.judge(n, left)
    judge.report()


def different_repairs(theatre: Theatre, run: Run) -> list[int]:
    """Kills whose repairs do together, file by file, all that any repair does; and some of the others, by the seed.

    Most repairs differ only in how many files lie beside those that they remove."""
    done = judge_of_kills(theatre, run).steps
    found, missing = list[Any](), {step for steps in done.values() for step in steps}
    while missing:
        found.append(max(done, key=lambda n: len(missing & done[n])))
        missing -= done[found[-1]]
    others = [n for n in killed_states(theatre, run) if n not in found]
    if tries_every_repair():
        return sorted([*found, *others])
    return sorted([*found, *sampled(f"{run.operation.name}, other repairs", others, 0.02, always=True)])


REPAIR = Operation("repair", ("list",))


# Once a call fails, and then they work again; or from then on all that need room fail, or all.
ONCE, FROM_THEN_ON = (errno.EIO, errno.EACCES), (errno.ENOSPC, errno.EROFS)


@pytest.mark.parametrize("errors", [ONCE, FROM_THEN_ON], ids=["once", "from-then-on"])
def test_a_command_failing_at_any_event_is_wholly_done_or_undone_by_the_next(
    theatre: Theatre, run: Run, errors: tuple[int, int]
) -> None:
    judge, seen = Judge(theatre, run), set[object]()
    lasting = errors is FROM_THEN_ON
    now: Picture | None = None
    for n in run.chosen("failing", range(1, len(run.events) + 1), 0.1):
        theatre.put_back(run.before, now)
        result = run.operation.play(theatre, at=n, error=errors[n % 2], lasting=lasting)
        tally("failures injected")
        now = theatre.picture()
        if (key := (key_of(now), result.code, bool(result.err))) not in seen:
            seen.add(key)
            judge.hear(n, result, left=now)
            now = judge.now
    judge.report()


COPIES = (
    "create",
    "create --settings-from",
    "update",
    "set --settings-from",
    "export",
    "import",
    "import --move-login",
)


@pytest.mark.parametrize("name", COPIES)
def test_what_cannot_be_read_is_never_left_out(theatre: Theatre, name: str) -> None:
    run = undisturbed(theatre, named(name))
    theatre.put_back(run.before)
    reads = run.operation.play(theatre, reads=True).events
    judge = Judge(theatre, run)
    ours = re.compile(rf"\S+ {theatre.home.base}/(npm|h|m/scratch-[0-9a-f]+|m/clones/work/\.codex-mirror/home)/")
    for n in sampled(f"{name}, reading", [n for n, read in enumerate(reads, 1) if ours.match(read)], 0.3):
        theatre.put_back(run.before)
        result = run.operation.play(theatre, at=n, error=errno.EIO, reads=True)
        tally("failures injected")
        judge.hear(1, result)
    judge.report()


# --- the user, and other programs, meanwhile ---


def planned(left: Picture) -> dict[str, str]:
    """The journal's paths, with their roles, that don't carry the change's id and don't lie in a clone's directory."""
    if "m/journal.json" not in left:
        return {}
    plan = json.loads(left["m/journal.json"].content)
    roles = {"parent": plan["parents"], "made": plan["made"], "to delete": plan["to_delete"]}
    roles["target"] = [target for _, target, *_ in plan["staged"]]
    paths = {path: role for role, paths in roles.items() for path in paths}
    ours = re.compile(rf"/\.codex-mirror/|{plan['id']}[^/]*$")
    return {path: role for path, role in paths.items() if not ours.search(path)}


def stranger_comes(path: Path, role: str) -> Path | None:
    """Puts a stranger's file into a directory that we made as a parent, or in the place of anything else of ours."""
    if role == "parent":
        if not path.is_dir():
            return None
        path = path / "theirs"
    elif path.is_dir():
        path.rename(path.parent / "moved-away")
    elif os.path.lexists(path):
        path.unlink()
    if not path.parent.is_dir():
        return None
    path.write_text("a stranger's\n")
    return path


def test_a_stranger_at_any_planned_path_is_left_alone(theatre: Theatre, run: Run) -> None:
    judge = Judge(theatre, run)
    for n in run.chosen("a stranger comes", list(killed_states(theatre, run)), 0.15):
        left = killed_states(theatre, run)[n]
        for path, role in planned(left).items():
            theatre.put_back(left)
            if there := stranger_comes(Path(path), role):
                wrong = next_commands(theatre)
                if not there.exists() or there.read_text() != "a stranger's\n":
                    wrong.append(f"the stranger at {path} ({role}) is gone")
                for what in wrong:
                    judge.wrong.setdefault(what, []).append(n)
    judge.report()


def test_a_stranger_who_was_there_before_is_refused_or_left_alone(theatre: Theatre, run: Run) -> None:
    judge = Judge(theatre, run)
    paths = {path: role for left in killed_states(theatre, run).values() for path, role in planned(left).items()}
    for path in paths:
        theatre.put_back(run.before)
        if os.path.lexists(path) or not os.path.isdir(os.path.dirname(path)):
            continue
        Path(path).write_text("a stranger's\n")
        result = run.operation.play(theatre)
        if result.code not in (0, 1, 5) or Path(path).read_text() != "a stranger's\n":
            judge.wrong.setdefault(f"the stranger at {path}: {result.code}, {result.err}", []).append(1)
    judge.report()


TRUST = '\n[projects."/a"]\ntrust_level = "trusted"\n'


def test_what_codex_writes_into_its_settings_after_a_kill_stays(theatre: Theatre, run: Run) -> None:
    judge = Judge(theatre, run)
    codex_home = theatre.home.clone_home("work") / ".codex"
    for n in run.chosen("Codex writes its settings", list(killed_states(theatre, run)), 0.15):
        theatre.put_back(killed_states(theatre, run)[n])
        if not codex_home.is_dir():
            continue
        with (codex_home / "config.toml").open("a") as file:
            file.write(TRUST)
        wrong = next_commands(theatre)
        kept = [TRUST in path.read_text() for path in codex_home.glob("config.toml*")]
        if not any(kept) and codex_home.is_dir():
            wrong.append("the settings that Codex wrote are gone")
        for what in wrong:
            judge.wrong.setdefault(what, []).append(n)
    judge.report()


@pytest.mark.parametrize("name", ["remove", "rename"])
def test_a_new_clone_of_a_name_never_finds_an_old_login(theatre: Theatre, name: str) -> None:
    run = undisturbed(theatre, named(name))
    judge = Judge(theatre, run)
    for n, left in killed_states(theatre, run).items():
        theatre.put_back(left)
        made = theatre.stage.play("create", "work", seed=41)
        rows = [row for row in rows_of(theatre.home) if row["name"] == "work"]
        wrong = [] if made.code in (0, 5) and len(rows) == 1 else [f"{made}"]
        found = list(Path(rows[0]["rootPath"]).glob(".codex-mirror/home/.codex/[as][ue]*"))
        if made.code == 0 and found:
            wrong.append(f"it found {found}")
        for what in (*wrong, *complaints(theatre.home)):
            judge.wrong.setdefault(what, []).append(n)
    judge.report()


# --- a mount, a link, a directory of somebody else ---


def bases_in(theatre: Theatre, left: Picture) -> list[Path]:
    """The clone directories that are there, being made or being deleted, but for the bystander's."""
    name = re.compile(r"(.*/)?\.codex-mirror(\.(new|gone)-[0-9a-f]{8})?")
    found = [path for path, thing in left.items() if thing.kind == "dir" and name.fullmatch(path)]
    return [theatre.home.base / path for path in found if not path.startswith("m/clones/other/")]


def strange_directory(theatre: Theatre) -> Path:
    """Somebody's directory with files that have the names of ours."""
    theirs = theatre.home.base / "theirs"
    theirs.mkdir()
    for name in ("auth.json", "config.toml", "thesis.txt", "x.gone-20251128", "events.log"):
        (theirs / name).write_text("a stranger's\n")
    return theirs


LIBC, BIND, DETACH = ctypes.CDLL(None), 4096, 2  # Of <sys/mount.h>; two processes for each mount take much longer.


@contextlib.contextmanager
def mounted_inside(theatre: Theatre, base: Path) -> Iterator[Path]:
    theirs, place = strange_directory(theatre), (base / "home" if (base / "home").is_dir() else base) / "mount"
    place.mkdir()
    if LIBC.mount(os.fsencode(theirs), os.fsencode(place), None, BIND, None):
        pytest.skip("no bind mounts here")
    try:
        yield theirs
    finally:
        for point in cm.mounts_in(str(theatre.home.base)):
            assert LIBC.umount2(os.fsencode(point), DETACH) == 0, point


@contextlib.contextmanager
def linked_inside(theatre: Theatre, base: Path) -> Iterator[Path]:
    theirs = strange_directory(theatre)
    parts = [base / tail for tail in ("home/.codex", "home", "runtime", "logs") if (base / tail).is_dir()]
    if parts:
        parts[0].rename(theatre.home.base / "moved-away")
        parts[0].symlink_to(theirs)
    yield theirs


@contextlib.contextmanager
def replaced_by_a_stranger(theatre: Theatre, base: Path) -> Iterator[Path]:
    own = (base / "clone.json").read_bytes() if (base / "clone.json").exists() else b"{}"
    base.rename(theatre.home.base / "moved-away")
    strange_directory(theatre).rename(base)
    (base / "clone.json").write_bytes(own)
    for path in (*base.iterdir(), base):
        os.chown(path, 54321, 54321)
    try:
        yield base
    finally:
        shutil.rmtree(base)  # A picture knows of no owners.


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="only root can mount, and be two users")
@pytest.mark.parametrize("come", [mounted_inside, linked_inside, replaced_by_a_stranger])
def test_a_mount_a_link_and_a_foreign_directory_outlive_every_kill(
    theatre: Theatre, run: Run, come: Callable[[Theatre, Path], contextlib.AbstractContextManager[Path]]
) -> None:
    judge = Judge(theatre, run)
    for n in run.chosen(come.__name__, different_repairs(theatre, run), 0.15):
        left = killed_states(theatre, run)[n]
        for base in bases_in(theatre, left):
            theatre.put_back(left)
            with come(theatre, base) as theirs:
                before = tree(theirs)
                wrong = next_commands(theatre)
                if tree(theirs) != before:
                    wrong.append(f"what came to {base.relative_to(theatre.home.base)} was changed")
            for what in wrong:
                judge.wrong.setdefault(what, []).append(n)
    theatre.put_back(run.before)
    judge.report()
