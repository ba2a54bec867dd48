"""Ctrl-C, a closed terminal, `kill` and `kill -9` at any moment: what was begun is put right, by itself if possible."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from faults import SEED, complaints, hear_signals, played_until, sampled, tally
from helpers import Mirror, fake_codex, finish
from operations import OPERATIONS, Judge, Run, Theatre, opened_theatre, undisturbed

pytestmark = pytest.mark.faults

ENDS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}
COMMON = [operation for operation in OPERATIONS if not operation.variant]


@pytest.fixture(scope="module")
def theatre() -> Iterator[Theatre]:
    with opened_theatre() as theatre:
        yield theatre


@pytest.fixture(params=COMMON, ids=lambda operation: operation.name.replace(" ", "-"))
def run(request: pytest.FixtureRequest, theatre: Theatre) -> Run:
    return undisturbed(theatre, request.param)


def ends(run: Run, number: signal.Signals) -> tuple[int, ...]:
    """How a command may end when it got this signal at one of its events; Codex's own login is told by Ctrl-C alone."""
    return (0, ENDS[number]) if run.operation.name == "login" else (ENDS[number],)


def test_a_signal_at_any_event_ends_the_command_with_everything_put_right(theatre: Theatre, run: Run) -> None:
    judge = Judge(theatre, run)
    offset = random.Random(SEED).randrange(3)
    for n in sampled(f"{run.operation.name}, signalled", range(1, len(run.events) + 1, 4), 0.2):
        number = list(ENDS)[(n + offset) % 3]
        theatre.put_back(run.before)
        result = run.operation.play(theatre, at=n, signal=number)
        tally("kill points tried")
        left = theatre.picture()
        wrong = [] if result.code in ends(run, number) else [f"{result}"]
        if "m/journal.json" in left and n <= run.commit:
            wrong += ["it was not put right at once, though nothing was committed"]
        for what in wrong:
            judge.wrong.setdefault(what, []).append(n)
        judge.judge(n, left, as_it_is=True)
    judge.report()


def test_a_second_ctrl_c_during_the_repair_of_the_first_leaves_what_the_next_command_repairs(
    theatre: Theatre, run: Run
) -> None:
    judge, dice = Judge(theatre, run), random.Random(f"{SEED} {run.operation.name}")
    print(f"CODEX_MIRROR_TEST_SEED={SEED}")
    for _ in range(4):
        n, later = dice.randrange(1, len(run.events) + 1), dice.randrange(1, 20)
        theatre.put_back(run.before)
        result = run.operation.play(theatre, at=n, signal=signal.SIGINT, again=later)
        tally("kill points tried")
        if result.code not in ends(run, signal.SIGINT):
            judge.wrong.setdefault(f"{result}", []).append(n)
        judge.judge(n, theatre.picture(), as_it_is=True)
    judge.report()


@pytest.mark.parametrize("number", [*ENDS, signal.SIGKILL], ids=lambda number: number.name)
def test_a_signal_from_outside_at_any_moment_loses_nothing(theatre: Theatre, number: signal.Signals) -> None:
    dice = random.Random(f"{SEED} {number}")
    print(f"CODEX_MIRROR_TEST_SEED={SEED}")
    for operation in dice.sample(COMMON, 7):
        run = undisturbed(theatre, operation)
        theatre.put_back(run.before)
        judge = Judge(theatre, run)
        argv = [theatre.path(word) for word in operation.argv]
        result = played_until(theatre.home, argv, number, dice.uniform(0, 0.03), **operation.env)
        tally("kill points tried")
        if result.code not in (0, -number, ENDS.get(number)):
            judge.wrong[f"{result}"] = [1]
        judge.judge(1, theatre.picture(), as_it_is=True)
        judge.report()


@pytest.fixture
def mirror(theatre: Theatre) -> Mirror:
    """The program as a real process, in the theatre's home as it was furnished."""
    theatre.put_back(theatre.furnished)
    return Mirror(theatre.home)


@pytest.mark.parametrize("outputs", ["", "exec >&- 2>&-\n"], ids=["open", "closed"])
@pytest.mark.parametrize("number", ENDS, ids=lambda number: number.name)
def test_a_signal_while_codex_is_asked_for_its_version_ends_both(
    theatre: Theatre, mirror: Mirror, number: signal.Signals, outputs: str
) -> None:
    asked = theatre.home.base / "t" / "asked"
    asked.unlink(missing_ok=True)
    slow = f'#!/bin/sh\n{outputs}echo $$ >"{asked}.new" && mv "{asked}.new" "{asked}"\nexec sleep 60\n'
    package = fake_codex(theatre.home.base / "packages" / f"slow-{number}{bool(outputs)}", "0.180.0", body=slow)
    process = mirror.start("create", "new", "--from", package, preexec_fn=hear_signals)
    deadline = time.monotonic() + 30
    while not asked.exists():
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.01)
    process.send_signal(number)
    result = finish(process, timeout=20)
    assert (result.code, "Traceback" in result.err) == (ENDS[number], False)
    assert complaints(theatre.home) == []
    assert is_gone(int(asked.read_text()))


def is_gone(pid: int) -> bool:
    """Has the process ended (waiting a little for init to notice)?"""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        stat = Path(f"/proc/{pid}/stat")
        if stat.exists() and stat.read_text().rpartition(")")[2].split()[0] == "Z":
            return True
        time.sleep(0.01)
    return False
