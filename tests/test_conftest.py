"""The promises about a whole session can be broken, and then it fails; and the shared helpers do what they say."""

from __future__ import annotations

import os
import shutil
import sys
import time
from pathlib import Path

import pytest

from helpers import REPO, Home, Result, discard, run, start, tree

SESSIONS = [
    ("a quiet one", "pass", 0, ""),
    ("a secret shown", "run(['/bin/echo', SECRETS[0]], env={})", 1, "secret 0 in the output of"),
    ("a secret on stderr", "run(['/bin/sh', '-c', 'echo $X >&2'], env={'X': SECRETS[1]})", 1, "secret 1 in the output"),
    ("an rc file touched", "(OWN_HOME / '.bashrc').write_text('')", 1, ".bashrc was changed"),
    ("an own home made", "(OWN_HOME / '.codex').mkdir()", 1, ".codex was changed"),
    ("the environment's HOME", "assert Path.home() != OWN_HOME; (Path.home() / '.codex').mkdir()", 0, ""),
]


def a_session(home: Home, text: str, *args: str) -> tuple[int, str]:
    """How pytest ends with a file of these tests, and what it says; that isn't looked through for secrets."""
    tests = home.base / "tests"
    tests.mkdir()
    for path in (REPO / "tests").glob("*.*"):
        if not path.name.startswith("test_"):
            shutil.copy(path, tests)
    head = f"import os, time\nfrom helpers import *\nOWN_HOME = Path({str(home.home)!r})\n"
    (tests / "test_one.py").write_text(head + text)
    session = start([sys.executable, "-m", "pytest", "-q", *args, tests], env=home.env)
    out, err = (os.fsdecode(data) for data in session.communicate(timeout=60))
    return session.returncode, out + err


@pytest.mark.parametrize(("kind", "deed", "code", "says"), SESSIONS, ids=[row[0] for row in SESSIONS])
def test_a_session(home: Home, kind: str, deed: str, code: int, says: str) -> None:
    ended, said = a_session(home, f"def test_it():\n    {deed}\n")
    assert ended == code, said
    assert says in said and ("BROKEN PROMISE" in said) == bool(code)


BOTH = """
import pytest
def meet(mine, other):
    (Path(__file__).parent / mine).touch()
    wait_until((Path(__file__).parent / other).exists, "the other test, in the other process")
@pytest.mark.parametrize("n", [1, 2])
def test_one(n):
    meet("one", "two")
    DEED
@pytest.mark.parametrize("n", [1, 2])
def test_two(n):
    meet("two", "one")
    DEED
"""
IN_A_HELPER = "if os.getpid() != os.getpgrp():"
HELPERS = [
    ("fine", "pass", 0, "4 passed in "),
    ("failing", "assert 6 * 9 == 42", 1, "4 failed in "),
    ("skipping", "pytest.skip('not today')", 0, "4 skipped in "),
    ("expected to fail", "pytest.xfail('not yet')", 0, "4 xfailed in "),
    ("leaking", f"{IN_A_HELPER} run(['/bin/echo', SECRETS[0]], env={{}})", 1, "(call): secret 0 in the output of"),
    ("warning", "import warnings; warnings.warn('careful')", 0, "4 passed, 4 warnings in "),
    ("killed", f"{IN_A_HELPER} os.kill(os.getpid(), 9)", 1, "a process that ran tests ended too early"),
    ("broken", f"{IN_A_HELPER} pytest.exit('no more')", 1, "a process that ran tests broke down"),
]


@pytest.mark.parametrize(("kind", "deed", "code", "says"), HELPERS, ids=[row[0] for row in HELPERS])
def test_a_session_of_two_processes_is_one(home: Home, kind: str, deed: str, code: int, says: str) -> None:
    ended, said = a_session(home, BOTH.replace("DEED", deed), "--processes=2")
    assert (ended, says in said) == (code, True), said


def test_a_process_that_does_not_end_is_killed_with_all_it_started(home: Home) -> None:
    began = time.monotonic()
    with pytest.raises(AssertionError, match=r"did not end in 0\.5 s"):
        run(["/bin/sh", "-c", "sleep 1000 & wait"], env=home.env, timeout=0.5)
    # The outputs are read to their end, which comes when the last process that holds them is gone.
    assert time.monotonic() - began < 500


def test_a_failed_check_shows_both_outputs(home: Home) -> None:
    with pytest.raises(AssertionError, match=r"(?s)ended with 3.*seen.*heard"):
        run(["/bin/sh", "-c", "echo seen; echo heard >&2; exit 3"], env=home.env, check=True)


def test_outputs_that_are_not_utf_8_come_back_whole(home: Home) -> None:
    assert run(["/bin/cat"], env=home.env, stdin=b"\xff\n") == Result(0, os.fsdecode(b"\xff\n"), "")


def test_a_snapshot_sees_every_kind_and_follows_nothing(tmp_path: Path) -> None:
    (tmp_path / "dir").mkdir(mode=0o750)
    (tmp_path / "dir" / "file").write_bytes(b"")
    (tmp_path / "dir" / "file").chmod(0o600)
    (tmp_path / "link").symlink_to("dir")
    os.mkfifo(tmp_path / "fifo", 0o644)
    (tmp_path / "dir").chmod(0o700)
    tmp_path.chmod(0o755)
    assert tree(tmp_path) == {
        ".": ("dir", "0o755", ""),
        "dir": ("dir", "0o700", ""),
        "dir/file": ("file", "0o600", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        "fifo": ("fifo", "0o644", ""),
        "link": ("link", oct(os.lstat(tmp_path / "link").st_mode & 0o7777), "dir"),
    }
    assert tree(tmp_path / "absent") == {}


def test_discarding_removes_read_only_directories_and_follows_no_link(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir(mode=0o500)
    to_delete = tmp_path / "doomed"
    (to_delete / "inner").mkdir(parents=True)
    (to_delete / "inner" / "file").touch()
    (to_delete / "link").symlink_to(kept)
    (to_delete / "inner").chmod(0o500)
    discard(to_delete)
    assert not to_delete.exists() and kept.stat().st_mode & 0o777 == 0o500
