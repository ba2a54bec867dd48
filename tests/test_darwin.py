"""The pretended Mac of the tests is one in what the program asks it, and nothing of it stays."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from darwin import MOUNTS, Mac, second_name
from helpers import Home, run, wait_until
from rooms import cm

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="a Mac is imitated on Linux only")


@pytest.fixture
def sleeper(home: Home) -> Iterator[subprocess.Popen[bytes]]:
    """A program that isn't the system's own, with words and a variable."""
    program = home.base / "My Tools" / "é"
    program.parent.mkdir()
    shutil.copy("/bin/sleep", program)
    process = subprocess.Popen([program, "1000"], env={"A": "b c"})
    try:
        wait_until(lambda: os.readlink(f"/proc/{process.pid}/exe") == str(program), "it is that program")
        yield process
    finally:
        process.kill()
        process.wait()


def test_ps_lists_as_macos_does(home: Home, mac: Mac, sleeper: subprocess.Popen[bytes]) -> None:
    def ps(*words: str) -> list[str]:
        return run([mac.tools / "ps", *words], env=home.env).out.splitlines()

    mac.list((4, "codex exec", "HOME=/Users/ann"), size=300_000)
    line, uid = f"{sleeper.pid:5} {home.base}/My Tools/M-CM-) 1000", str(os.getuid())
    listing = ps("-xww", "-U", uid, "-o", "pid=,command=")
    assert line in listing and "    4 codex exec" in listing and len("\n".join(listing)) > 300_000
    assert ps("-Eww", "-p", str(sleeper.pid), "-o", "pid=,command=") == [line + " A=b c"]
    assert ps("-ww", "-p", "4", "-E", "-o", "command=") == ["codex exec HOME=/Users/ann"]
    assert run([mac.tools / "ps", "-p", "99999999"], env=home.env).code == 1
    system = subprocess.Popen(["/bin/sleep", "1000"], env={"A": "b"})
    try:
        assert ps("-Eww", "-p", str(system.pid), "-o", "command=") == ["/bin/sleep 1000"]
    finally:
        system.kill()
        system.wait()


def test_a_process_takes_the_machine_for_a_mac_until_it_is_undone(home: Home, mac: Mac) -> None:
    with pytest.MonkeyPatch.context() as patch:
        mac.become(patch)
        assert os.uname().sysname == "Darwin" and sys.platform == "darwin"
        assert not os.path.exists("/proc/self") and not hasattr(os, "copy_file_range")
        with pytest.raises(FileNotFoundError):
            os.open("/proc/self/status", os.O_RDONLY)
        with cm.open_descriptor(str(home.base), os.O_RDONLY) as file:
            os.fsync(file)
            fcntl.fcntl(file, fcntl.F_FULLFSYNC)
            fcntl.fcntl(file, fcntl.F_GETFD)
    assert os.uname().sysname == "Linux" == os.uname().sysname and Path("/proc/self").exists()
    assert mac.flushes == [("plain", str(home.base)), ("full", str(home.base))]
    assert mac.flushes == []


def test_the_program_asks_the_pretended_mac(home: Home, codex: Path, mac: Mac) -> None:
    assert mac("create", "work").code == 0
    assert any(kind == "full" for kind, _ in mac.flushes)
    assert mac("list").out.startswith("work\t")
    assert run([mac.tools / "mount"], env=home.env).out == MOUNTS


def test_a_second_name_is_the_same_directory(home: Home) -> None:
    one = home.base / ".codex"
    one.mkdir()
    with second_name(one, home.base / ".CODEX") as other:
        (one / "x").touch()
        assert (other / "x").exists() and os.path.samefile(one, other)
    assert not (home.base / ".CODEX").exists()
