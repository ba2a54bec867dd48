"""Many at once: nobody's entry is lost, nobody reads half of anything, and a writer waits for the living alone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from faults import Played, complaints, furnished, picture, rows_in, small_codex, started_alone, together
from helpers import Home, Mirror, Process, finish, run

pytestmark = pytest.mark.faults

MANY = 32
PATIENT = {"CODEX_MIRROR_LOCK_TIMEOUT": "300"}


@pytest.fixture
def home() -> Iterator[Home]:
    """A home with the clones `work` and `other`, whose commands are on PATH."""
    with furnished() as (home, _):
        home.put_on_path(home.bin)
        yield home


def names(home: Home) -> list[str]:
    return sorted(row["name"] for row in rows_in(picture(home.base)))


def false_errors(results: list[Played]) -> list[str]:
    """What readers and upkeep had to complain of while others wrote, and what was only half of a document."""
    return [result.err + result.out for result in results if result.code != 0 or is_torn(result.out)]


def is_torn(output: str) -> bool:
    """Does this begin like a JSON document, and isn't one that names the clones which always are there?"""
    try:
        return output.startswith("[") and not {"other", "work"} <= {row["name"] for row in json.loads(output)}
    except ValueError:
        return True


ONLOOKERS = (
    *[("list", "--json")] * 8,
    *[("list",)] * 4,
    *[("doctor",)] * 4,
    *[("update", "--all")] * 2,
    ("wrapper", "install"),
    *[("run", "other", "a note")] * 6,
)


class Starter:
    """Starts a clone's command again and again, as its user would, until told to stop; then tells what it said."""

    def __init__(self, home: Home, name: str) -> None:
        self.flag = home.base / "t" / "go-on"
        self.flag.touch()
        script = 'while [ -e "$1" ]; do "$2" login status 2>&1 || echo; done'
        argv = ["/bin/sh", "-c", script, "sh", str(self.flag), str(home.bin / name)]
        self.process = subprocess.Popen(argv, env=home.env, stdout=subprocess.PIPE, text=True)

    def stop(self) -> Counter[str]:
        self.flag.unlink()
        return Counter(self.process.communicate(timeout=60)[0].splitlines())


def test_of_32_creates_of_one_name_one_succeeds_and_31_are_refused(home: Home) -> None:
    results = together(home, *[("create", "new")] * MANY, **PATIENT)
    assert Counter(result.code for result in results) == {0: 1, 5: MANY - 1}
    assert {result.err.splitlines()[-2].split(": ", 1)[1] for result in results if result.code} == {
        "clone 'new' already exists"
    }
    assert (complaints(home), names(home)) == ([], ["new", "other", "work"])


def test_32_creates_beside_readers_and_upkeep_lose_nothing(home: Home) -> None:
    starter = Starter(home, "other")
    wanted = [f"w{number}" for number in range(MANY)]
    results = together(home, *(("create", name) for name in wanted), *ONLOOKERS, **PATIENT)
    assert set(starter.stop()) == {"Logged in using ChatGPT"}
    assert false_errors(results) == []
    assert (complaints(home), names(home)) == ([], sorted(["other", "work", *wanted]))


def test_32_removes_beside_creates_readers_and_upkeep_lose_nothing_else(home: Home) -> None:
    to_delete = [f"w{number}" for number in range(MANY)]
    assert false_errors(together(home, *(("create", name) for name in to_delete), **PATIENT)) == []
    starter = Starter(home, "other")
    removals = [("remove", name, "--yes") for name in to_delete]
    creations = [("create", f"n{number}") for number in range(8)]
    results = together(home, *removals, *creations, *ONLOOKERS, **PATIENT)
    assert set(starter.stop()) == {"Logged in using ChatGPT"}
    assert false_errors(results) == []
    assert (complaints(home), names(home)) == ([], sorted(["other", "work", *(f"n{number}" for number in range(8))]))


def test_the_same_clone_renamed_updated_and_removed_at_once_stays_whole(home: Home) -> None:
    commands = [*[("rename", "work", f"r{number}") for number in range(8)], *[("rollback", "work")] * 4]
    results = together(home, *commands, *[("update", "work")] * 4, *[("remove", "work", "--yes")] * 4, **PATIENT)
    assert {result.code for result in results} <= {0, 1, 3}, results
    assert complaints(home) == []
    assert "other" in names(home)


def test_a_command_starts_at_every_moment_of_its_updates(home: Home) -> None:
    starter = Starter(home, "work")
    for version in ("0.170.0", "0.171.0", "0.172.0"):
        update = ("update", "work", "--from", str(small_codex(home, version)))
        assert false_errors(together(home, update, ("rollback", "work"), ("rollback", "work"), **PATIENT)) == []
    assert set(starter.stop()) == {"Logged in using ChatGPT"}
    assert complaints(home) == []


# --- a writer that stands still, or is dead ---


class Stopped(NamedTuple):
    """A writer that holds the lock and was stopped, as by SIGSTOP, before its n-th event."""

    process: Process

    def go_on(self) -> None:
        os.kill(self.process.pid, signal.SIGCONT)

    def kill(self) -> None:
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.communicate()


@pytest.fixture
def stopped(home: Home) -> Iterator[Stopped]:
    """`create slow`, stopped in the middle."""
    process = started_alone(home, "create", "slow", at=60, signal=signal.SIGSTOP)
    assert os.WIFSTOPPED(os.waitpid(process.pid, os.WUNTRACED)[1])
    yield Stopped(process)
    process.kill()
    process.communicate()


@pytest.fixture
def mirror(home: Home) -> Mirror:
    return Mirror(home)


def test_a_waiting_writer_says_for_whom_and_gives_up(home: Home, mirror: Mirror, stopped: Stopped) -> None:
    before = time.monotonic()
    result = mirror("create", "late", env={"CODEX_MIRROR_LOCK_TIMEOUT": "0.3"})
    assert time.monotonic() - before >= 0.3
    assert result.code == 6
    holder = f"'create slow' (pid {stopped.process.pid})"
    assert result.err.splitlines()[0] == f"waiting for {holder}"
    assert f"{holder} is still running" in result.err
    assert names(home) == ["other", "work"]


def test_readers_and_wrappers_wait_for_nobody(home: Home, mirror: Mirror, stopped: Stopped) -> None:
    assert [row["name"] for row in mirror("list", "--json", check=True).json()] == ["work", "other"]
    assert mirror("run", "other", "login", "status").code == 0
    assert run([home.bin / "other", "login", "status"], env=home.env).code == 0
    report = mirror("doctor", "--json")
    assert (report.code, [row for row in report.json() if row["errors"]]) == (0, [])


def test_a_writer_that_was_stopped_loses_nobodys_entry(home: Home, mirror: Mirror, stopped: Stopped) -> None:
    late = mirror.start("create", "late")
    line = late.stderr.readline()
    assert line.startswith(b"waiting for")
    stopped.go_on()
    assert [finish(process).code for process in (stopped.process, late)] == [0, 0]
    assert (complaints(home), names(home)) == ([], ["late", "other", "slow", "work"])


def test_who_waited_settles_what_the_killed_holder_left(home: Home, mirror: Mirror, stopped: Stopped) -> None:
    late = mirror.start("create", "late")
    assert late.stderr.readline().startswith(b"waiting for")
    stopped.kill()
    assert finish(late).code == 0
    assert (complaints(home), names(home)) == ([], ["late", "other", "work"])


def test_a_dead_writer_never_blocks(home: Home, mirror: Mirror, stopped: Stopped) -> None:
    stopped.kill()
    result = mirror("create", "late", env={"CODEX_MIRROR_LOCK_TIMEOUT": "0"})
    assert (result.code, "waiting" in result.err) == (0, False)
    assert (complaints(home), names(home)) == ([], ["late", "other", "work"])


@pytest.mark.parametrize("seconds", ["soon", "nan", "-inf", "-1"])
def test_an_odd_timeout_never_waits_for_ever(home: Home, mirror: Mirror, stopped: Stopped, seconds: str) -> None:
    assert mirror("create", "late", env={"CODEX_MIRROR_LOCK_TIMEOUT": seconds}, timeout=20).code in (2, 6)
