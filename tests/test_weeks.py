"""Weeks of use leave nothing behind, lose nothing, and make no command slower; and many at once end without a word."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from weeks import SLOWER, live, small_sources, two_homes

from faults import complaints, tally, tries_every_n
from helpers import API_KEYS, Home, Mirror, fake_codex, finish, npm_install, start
from rooms import cm, fresh_home, places_of

pytestmark = [pytest.mark.faults, pytest.mark.slow]

JOBS = 40
JOB = """set -e
name=$1; shift
"$@" create "$name" -q
printenv KEY | "$@" login -q "$name" --with-api-key 2>"$HOME/$name.said"
"$@" exec "$name" -- sh -c 'codex login status 2>/dev/null; test "$CODEX_MIRROR_CLONE" = "$0"' "$name"
"$@" remove "$name" -y -q
"""


def test_weeks_of_use_leave_nothing_lose_nothing_and_slow_nothing_down() -> None:
    with two_homes() as (home, new):
        wrong, compared = live(home, new, small_sources(home), 300 if tries_every_n() else 60)
    assert wrong == []
    assert {words: ratio for words, ratio in compared.items() if ratio > SLOWER} == {}


@pytest.fixture
def busy_home() -> Iterator[Home]:
    """A home whose commands wait for each other as long as it takes."""
    with fresh_home() as home:
        home.put_on_path(home.bin, npm_install(home.base / "npm", fake_codex(home.base / "package")).parent)
        home.env.update(CODEX_MIRROR_LOCK_TIMEOUT="3000", KEY=API_KEYS[0])
        yield home


def test_the_jobs_of_a_ci_forty_at_once_end_without_a_word_on_stderr(busy_home: Home) -> None:
    """But for what Codex says itself when it logs in."""
    argv = Mirror(busy_home).argv()
    jobs = [start(["sh", "-c", JOB, "sh", f"job{number}", *argv], env=busy_home.env) for number in range(JOBS)]
    ended = [finish(job, timeout=600) for job in jobs]
    tally("processes at once", JOBS)
    assert {(one.code, one.err) for one in ended} == {(0, "")}, ended
    assert (complaints(busy_home), cm.read_registry(places_of(busy_home)).entries) == ([], ())


def test_at_many_changes_a_second_the_registry_stays_right_and_nobody_ends_with_6(busy_home: Home) -> None:
    mirror = Mirror(busy_home)
    for number in range(4):
        mirror("create", f"clone{number}", check=True)
    changes = [("set", f"clone{n % 4}", "--env", f"V{n}={n}") for n in range(JOBS // 2)]
    changes += [("create", f"new{n}") for n in range(JOBS // 4)] + [("use", f"clone{n % 4}") for n in range(JOBS // 4)]
    ended = [finish(one, timeout=600) for one in [mirror.start(*words) for words in changes]]
    assert {one.code for one in ended} == {0}, ended
    assert complaints(busy_home) == []
    clones = {clone.name: clone for clone in cm.read_registry(places_of(busy_home)).clones}
    assert clones.keys() == {*(f"clone{n}" for n in range(4)), *(f"new{n}" for n in range(JOBS // 4))}
    own = {name: value for clone in clones.values() for name, value in cm.clone_variables(clone).items()}
    assert own == {f"V{n}": str(n) for n in range(JOBS // 2)}
    assert sum(len(clone.directories) for clone in clones.values()) == 1
