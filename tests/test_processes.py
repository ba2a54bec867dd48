"""Processes: capture a program with a time limit, become one, find one on PATH."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from helpers import wait_until
from rooms import cm

linux = pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs /proc")


def sh(script: str, *, seconds: float = 60, **env: str) -> cm.CapturedOutput:
    return cm.capture(["/bin/sh", "-c", script], {"PATH": "/usr/bin:/bin", **env}, "/", seconds)


# --- capture ---


CAPTURED = [
    ("echo a; echo b >&2", 0, b"a\n", b"b\n"),
    ("exit 7", 7, b"", b""),
    ("kill -9 $$", -9, b"", b""),
    ("printf '\\377\\0\\033'", 0, b"\xff\0\x1b", b""),
    ("cat", 0, b"", b""),
    ("pwd; echo $X", 0, b"/\nx y\n", b""),
    ("[ -t 0 ] || [ -t 1 ] || [ -t 2 ] || echo none", 0, b"none\n", b""),
    ("(: </dev/tty) 2>/dev/null && echo terminal; exit 0", 0, b"", b""),
    ("exec >&-; echo late >&2", 0, b"", b"late\n"),
]


@pytest.mark.parametrize(("script", "code", "out", "err"), CAPTURED, ids=[row[0] for row in CAPTURED])
def test_what_a_program_said_and_how_it_ended(script: str, code: int, out: bytes, err: bytes) -> None:
    assert sh(script, X="x y") == cm.CapturedOutput(code, out, err)


def test_what_a_program_makes_for_us_is_open_to_nobody_else(tmp_path: Path) -> None:
    """As Codex makes files in a clone when doctor asks it who is logged in."""
    before = os.umask(0)
    try:
        program = cm.Program(("/bin/sh", "-c", "umask"), {"TMPDIR": str(tmp_path)})
        said = [sh("umask").out, cm.converse(program, b"", bool, 60, lambda: False).out]
    finally:
        os.umask(before)
    assert said == [b"0077\n"] * 2


def test_only_the_first_64_kib_of_each_output_are_kept_and_the_rest_blocks_nobody() -> None:
    answer = sh("head -c 3000000 /dev/zero; head -c 3000000 /dev/zero >&2; exit 5")
    assert (answer.code, len(answer.out), len(answer.err)) == (5, 1 << 16, 1 << 16)


@pytest.mark.parametrize("make", ["nothing", "a directory", "not executable", "no program"])
def test_a_program_that_can_t_be_started_is_an_answer_too(tmp_path: Path, make: str) -> None:
    path = tmp_path / "it"
    if make == "a directory":
        path.mkdir()
    elif make != "nothing":
        path.write_bytes(b"\x7fELF" if make == "no program" else b"#!/bin/sh\n")
        path.chmod(0o755 if make == "no program" else 0o644)
    answer = cm.capture([str(path)], {}, "/", 10)
    assert answer.code == 126 and str(path).encode() in answer.err
    gone = cm.capture(["/bin/sh", "-c", ":"], {}, str(tmp_path / "nowhere"), 10)
    assert gone.code == 126 and gone.err


def test_the_time_limit_holds_and_everything_that_was_started_ends(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    began = time.monotonic()
    answer = sh(f"echo some; sleep 1000 & echo $$ $! >{pids}; wait", seconds=0.3)
    assert answer == cm.CapturedOutput(None, b"some\n", b"") and time.monotonic() - began < 100
    for pid in map(int, pids.read_text().split()):
        wait_until(lambda pid=pid: not cm.is_alive(pid), "it ended")


def test_a_program_that_closed_its_outputs_and_goes_on_runs_into_the_limit_too() -> None:
    assert sh("exec >&- 2>&- <&-; sleep 1000", seconds=0.3).code is None


def test_a_signal_while_a_program_is_being_started_ends_it_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes when the child is there, and nobody has its number yet."""
    started: list[int] = []
    popen = subprocess.Popen

    def slow(*words: Any, **more: Any) -> Any:
        child = popen(*words, **more)
        started.append(child.pid)
        os.kill(os.getpid(), signal.SIGTERM)
        return child

    def end(number: int, frame: object) -> None:
        raise SystemExit(143)

    monkeypatch.setattr(subprocess, "Popen", slow)
    before = signal.signal(signal.SIGTERM, end)
    try:
        for deed in (lambda: sh("sleep 1000"), lambda: cm.run_child(program("/bin/sleep", "1000"))):
            with pytest.raises(SystemExit):
                deed()
            assert signal.getsignal(signal.SIGTERM) is end
    finally:
        signal.signal(signal.SIGTERM, before)
    for pid in started:
        wait_until(lambda pid=pid: not cm.is_alive(pid), "it ended")


@pytest.mark.parametrize("background", ["sleep 1000 &", "yes &", "(trap '' TERM HUP; sleep 1000) &"])
def test_a_grandchild_that_keeps_the_pipe_delays_nothing_and_ends(tmp_path: Path, background: str) -> None:
    pid = tmp_path / "pid"
    began = time.monotonic()
    answer = sh(f"{background} echo $! >{pid}; echo codex-cli 1.2.3; exit 3", seconds=1000)
    assert (answer.code == 3 and b"codex-cli 1.2.3\n" in answer.out) or b"y\n" in answer.out
    assert time.monotonic() - began < 100
    wait_until(lambda: not cm.is_alive(int(pid.read_text())), "it ended")


@pytest.mark.skipif(shutil.which("setsid") is None, reason="needs setsid")
def test_a_grandchild_that_left_our_session_delays_nothing_either(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    began = time.monotonic()
    answer = sh(
        f"setsid sh -c 'echo $$ >{pid}; exec sleep 1000' & while [ ! -s {pid} ]; do :; done; exit 4", seconds=1000
    )
    os.kill(int(pid.read_text()), signal.SIGKILL)
    assert answer.code == 4 and time.monotonic() - began < 100


# --- become and run_child ---


def in_a_fork(deed: Callable[[], object]) -> tuple[int, str]:
    """How a process ends that does this, and what it prints."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.dup2(writing, 1)
            os.dup2(writing, 2)
            os.close(reading)
            deed()
        finally:
            os._exit(99)
    os.close(writing)
    with os.fdopen(reading, errors="surrogateescape") as file:
        shown = file.read()
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), shown.replace(f"pid {pid}", "pid ours")


def program(*words: str, **env: str) -> cm.Program:
    return cm.Program(words, {"PATH": "/usr/bin:/bin", **env})


def test_a_process_becomes_its_program_with_the_same_pid_words_and_environment() -> None:
    words = ("/bin/sh", "-c", 'echo pid $$; printf "%s|" "$@"; env; exit 7', "x", "a b", "", os.fsdecode(b"\xff"))
    code, shown = in_a_fork(lambda: cm.replace_process(program(*words, X="1")))
    assert code == 7 and shown.startswith("pid ours\na b||") and "X=1" in shown and "HOME=" not in shown


@linux
def test_signals_that_python_ignores_are_put_back_and_others_stay_ignored() -> None:
    def deed() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        cm.replace_process(program("/bin/grep", "SigIgn", "/proc/self/status"))

    assert signal.getsignal(signal.SIGPIPE) == signal.SIG_IGN
    ignored = int(in_a_fork(deed)[1].split()[1], 16)
    numbers = {number for number in range(1, 32) if ignored >> (number - 1) & 1}
    assert numbers & {signal.SIGPIPE, signal.SIGXFSZ} == set() and signal.SIGHUP in numbers


CHILDREN = [("exit 0", 0), ("exit 7", 7), ("kill -TERM $$", 143), ("kill -9 $$", 137)]


@pytest.mark.parametrize(("script", "code"), CHILDREN)
def test_a_child_s_end_is_ours(script: str, code: int) -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGQUIT)}
    assert cm.run_child(program("/bin/sh", "-c", script)) == code
    assert {number: signal.getsignal(number) for number in before} == before


def test_ctrl_c_is_the_child_s_own(tmp_path: Path) -> None:
    """Both are in the terminal's foreground group; the child decides, and we wait for it."""
    ready = tmp_path / "ready"
    script = f"trap 'exit 33' INT; : >{ready}; while :; do sleep 0.05; done"
    pid = os.fork()
    if pid == 0:
        try:
            os.setsid()
            os._exit(cm.run_child(program("/bin/sh", "-c", script)))
        finally:
            os._exit(99)
    try:
        wait_until(ready.exists, "it is ready")
        os.killpg(pid, signal.SIGINT)
    finally:
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert code == 33


# --- PATH ---


def test_what_is_found_on_path_is_what_a_shell_would_start_in_its_order(tmp_path: Path) -> None:
    for name, mode in (("a", 0o755), ("b", 0o644), ("c", 0o755)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "codex").write_text("#!/bin/sh\n")
        (tmp_path / name / "codex").chmod(mode)
    (tmp_path / "d" / "codex").mkdir(parents=True)
    (tmp_path / "e").mkdir()
    (tmp_path / "e" / "codex").symlink_to("../a/codex")
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "codex").symlink_to("nowhere")
    path = ":".join(f"{tmp_path}/{name}" for name in "fdbcaea")
    found = list(cm.find_on_path("codex", f":{path}:relative:."))
    assert found == [f"{tmp_path}/{name}/codex" for name in "cae"]
    assert list(cm.find_on_path("codex", "")) == []


def test_work_is_done_while_a_program_runs(tmp_path: Path) -> None:
    waiting = ["/bin/sh", "-c", "until [ -e done ]; do sleep 0.01; done; echo seen"]
    captured = cm.capture(waiting, {"PATH": "/usr/bin:/bin"}, str(tmp_path), 20, (tmp_path / "done").touch)
    assert (captured.code, captured.out) == (0, b"seen\n")


def test_a_program_ends_when_the_work_beside_it_fails(tmp_path: Path) -> None:
    def fail() -> None:
        wait_until((tmp_path / "pid").exists, "the program began")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        script = "echo $$ >new; mv new pid; exec sleep 600"
        cm.capture(["/bin/sh", "-c", script], {"PATH": "/usr/bin:/bin"}, str(tmp_path), 20, fail)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_work_side_by_side_keeps_the_order() -> None:
    at_once, most = [], []

    def squared(n: int) -> int:
        at_once.append(n)
        most.append(len(at_once))
        time.sleep(0.001 * (n % 3))
        at_once.remove(n)
        return n * n

    assert cm.run_parallel(squared, range(50)) == [n * n for n in range(50)]
    assert 1 < max(most) <= (os.cpu_count() or 1) + 2
    assert cm.run_parallel(squared, []) == []


def test_every_item_is_worked_on_once() -> None:
    switched, done = sys.getswitchinterval(), []
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(20):
            cm.run_parallel(done.append, range(200))
    finally:
        sys.setswitchinterval(switched)
    assert sorted(done) == sorted([*range(200)] * 20)


def test_the_first_trouble_is_told_and_nothing_more_is_begun() -> None:
    begun = []

    def fail(n: int) -> None:
        begun.append(n)
        raise ZeroDivisionError(n)

    with pytest.raises(ZeroDivisionError):
        cm.run_parallel(fail, range(1000))
    assert len(begun) <= (os.cpu_count() or 1) + 2


def test_work_here_goes_on_meanwhile_and_its_trouble_ends_the_other() -> None:
    before, began, begun = threading.active_count(), threading.Event(), []

    def work(n: int) -> None:
        begun.append(n)
        began.set()
        time.sleep(0.01)

    def fail() -> None:
        assert began.wait(30)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cm.run_parallel(work, range(1000), fail)
    assert len(begun) < 1000 and threading.active_count() <= before


# --- ending them ---


def test_processes_are_asked_to_end_and_then_ended(tmp_path: Path) -> None:
    stubborn = subprocess.Popen(["/bin/sh", "-c", f"trap '' TERM; : >{tmp_path}/ready; while :; do sleep 0.05; done"])
    willing = subprocess.Popen(["sleep", "1000"])
    try:
        wait_until((tmp_path / "ready").exists, "it is ready")
        assert cm.is_alive(stubborn.pid) and cm.is_alive(willing.pid)
        assert cm.stop_processes([stubborn.pid, willing.pid], 0.3) == []
        assert (stubborn.wait(), willing.wait()) == (-signal.SIGKILL, -signal.SIGTERM)
        assert cm.stop_processes([stubborn.pid], 0.1) == []
    finally:
        for process in (stubborn, willing):
            process.kill()
            process.wait()


@linux
def test_a_process_that_ends_while_it_is_looked_at_is_not_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its files in /proc can be opened before, and not be read after."""
    process = subprocess.Popen(["sleep", "1000"])
    read = cm.read_open_file

    def end_first(*args: Any) -> Any:
        process.kill()
        process.wait()
        return read(*args)

    monkeypatch.setattr(cm, "read_open_file", end_first)
    assert not cm.is_alive(process.pid)


def test_a_program_that_has_just_ended_need_not_be_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    """macOS refuses a signal to a group of which only a zombie is left."""

    def kill_group(group: int, number: int) -> None:
        os.kill(group, number)
        raise PermissionError

    monkeypatch.setattr(os, "killpg", kill_group)
    program = cm.Program(("sleep", "1000"), dict(os.environ))
    assert cm.converse(program, b"", bool, 0, lambda: True).code is None
    assert cm.capture(["sleep", "1000"], dict(os.environ), "/", 0).code is None


@linux
def test_a_zombie_is_not_alive() -> None:
    process = subprocess.Popen([sys.executable, "-I", "-S", "-c", ""])
    wait_until(lambda: not cm.is_alive(process.pid), "it ended")
    process.wait()
    assert not cm.is_alive(process.pid) and cm.is_alive(os.getpid()) and cm.is_alive(1)
