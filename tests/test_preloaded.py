"""A command line that is played by the loaded program ends as one that is started from nothing."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import preloaded
import pytest

from helpers import PROGRAM, Mirror, overheard, play, run

pytestmark = pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="needs Linux")

LINES = [
    ((), None),
    (("--version",), None),
    (("list", "--json"), None),
    (("remove", "nobody"), None),
    (("create", "work", "--dry-run"), None),
    (("run", "work", "-", "a b", "caf\xe9", "", "\udcff"), None),
    (("run", "work", "exit", "7"), None),
    (("run", "work", "signal", "KILL"), None),
    (("login", "work", "--with-api-key"), b"sk-proj-0123456789abcdef\n"),
    (("import", "-", "--name", "another"), b"no archive"),
]


@pytest.mark.parametrize(("words", "stdin"), LINES)
def test_it_ends_as_a_start_from_nothing_ends(mirror: Mirror, codex: Path, words: tuple[str, ...], stdin: Any) -> None:
    mirror("create", "work", check=True)
    argv, env, cwd = [str(PROGRAM), *words], mirror.env({"ODD": "caf\xe9 \udcff"}), mirror.home.home
    assert preloaded.can_play(argv, env, cwd)
    played = play(argv, env=env, cwd=cwd, stdin=stdin)
    started = run(mirror.argv(*words), env=env, cwd=cwd, stdin=stdin)
    assert played == started and (played.out or played.err or played.code)


def test_what_a_start_decides_is_started(mirror: Mirror) -> None:
    argv = [str(PROGRAM), "list"]

    def can(env: dict[str, str | None], cwd: object = "/") -> bool:
        return preloaded.can_play(argv, mirror.env(env), cwd)

    assert can({}) and can({"TZ": "UTC"})
    assert not any(map(can, ({"LANG": None}, {"LANG": "C"}, {"LC_ALL": "C"}, {"PYTHONUTF8": "1"})))
    assert not can({}, mirror.home.base / "missing")


def test_it_runs_where_and_as_what_it_was_told_to(mirror: Mirror, codex: Path) -> None:
    mirror("create", "work", check=True)
    heard = overheard(mirror("run", "work", "x", env={"FAKE_CODEX_SHOW": "OWN", "OWN": "1"}, cwd=mirror.home.bin).out)
    assert (heard.cwd, heard.env["OWN"]) == (str(mirror.home.bin), "1")


def test_one_that_does_not_end_is_ended_and_fails_its_test(mirror: Mirror, codex: Path) -> None:
    mirror("create", "work", check=True)
    with pytest.raises(AssertionError, match="did not end in 0"):
        mirror("run", "work", "sleep", "60", timeout=0.5)
    assert [row["name"] for row in mirror("list", "--json", check=True).json()] == ["work"]


def test_a_forked_process_has_a_server_of_its_own(mirror: Mirror) -> None:
    mine = preloaded.server()
    pid = os.fork()
    if not pid:
        code = mirror("--version").code or preloaded.server() is mine
        os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert mirror("--version").code == 0 and mine.server.poll() is None
