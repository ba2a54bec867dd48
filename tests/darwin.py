"""A Mac to try on, where there is none: a process that takes this machine for one, and the system's programs there.

What such a process sees: `uname` says Darwin, there is no /proc, os has none of the calls that only Linux has, a full
flush of the drive is counted, `ps`, `mount` and `sysctl` speak as macOS's do. The formats are those of Apple's
published sources and of listings that others recorded; no Mac was here. Its file system ignores case and the forms of
letters, where that is asked for; a bind mount is the real thing: two names of one directory.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import re
import subprocess
import sys
import types
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import parallel
import pytest

from helpers import Home, Result
from rooms import cm, raw

F_FULLFSYNC = 51
ONLY_LINUX = """O_PATH O_TMPFILE ST_NOEXEC copy_file_range getxattr listxattr setxattr removexattr memfd_create
    sched_getaffinity posix_fadvise posix_fallocate pidfd_open""".split()
REAL = types.SimpleNamespace(fsync=os.fsync, readlink=os.readlink, open=os.open, listdir=os.listdir)
# The calls that take a path, and those that take two: the last of these is the one that may be new.
ONE_PATH = """open stat lstat listdir scandir readlink access mkdir unlink rmdir chmod chown utime statvfs chdir
    truncate""".split()
TWO_PATHS = ["rename", "replace", "link", "symlink"]

# What `mount` prints on a Mac that has nothing attached.
MOUNTS = """/dev/disk3s1s1 on / (apfs, sealed, local, read-only, journaled)
devfs on /dev (devfs, local, nobrowse)
/dev/disk3s6 on /System/Volumes/VM (apfs, local, noexec, journaled, noatime, nobrowse)
/dev/disk3s5 on /System/Volumes/Data (apfs, local, journaled, nobrowse, protect, root data)
map auto_home on /System/Volumes/Data/home (autofs, automounted, nobrowse)
"""

# `ps` as Apple's prints: the words of a process joined by spaces, without a sign where they end; with -E its
# environment behind them, but not that of the system's own programs; each byte that isn't plain as vis(3) shows it.
PS = r"""#!PYTHON -IS
import json, os, sys

def shown(data):
    text = ""
    for byte in data:
        if byte in (9, 10, 0xA0):
            text += "\\%03o" % byte
        elif byte < 32 or byte == 127:
            text += "^" + chr(byte ^ 64)
        elif 128 <= byte < 160 or byte == 255:
            text += "M^" + chr(byte & 127 ^ 64)
        else:
            text += "M-" + chr(byte & 127) if byte > 127 else chr(byte)
    return text

def is_ours(pid):
    while pid > 1 and pid != TESTS and pid not in OTHERS:
        pid = int(open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[1])
    return pid == TESTS

def here():
    for pid in sorted(map(int, filter(str.isdigit, os.listdir("/proc")))):
        try:
            if not is_ours(pid):
                continue
            words, env = (open(f"/proc/{pid}/{name}", "rb").read() for name in ("cmdline", "environ"))
            system = os.readlink(f"/proc/{pid}/exe").startswith(("/bin/", "/sbin/", "/usr/bin/", "/usr/sbin/"))
            uid = os.stat(f"/proc/{pid}").st_uid
        except OSError:
            continue
        line, more = (b" ".join(data.split(b"\0")[:-1]) for data in (words, env))
        if words:
            yield pid, uid, line, b"" if system else more

options, uids, pids, columns = set(), None, None, "pid=,command="
given = iter(sys.argv[1:])
for word in given:
    for letter in word.removeprefix("-"):
        if letter in "Upo":
            value = next(given)
            uids = value if letter == "U" else uids
            pids = value if letter == "p" else pids
            columns = value if letter == "o" else columns
            break
        options.add(letter)
rows = [(pid, os.getuid(), os.fsencode(line), os.fsencode(more)) for pid, line, more in json.load(open("LISTED"))]
rows += here()  # Those that the tests have started.
wanted = set((pids or uids or "").split(","))
lines = []
for pid, uid, line, more in rows:
    if ("A" in options) or str(pid if pids else uid) in wanted:
        text = shown(b" ".join(filter(None, [line, more])) if "E" in options else line)
        text = shown(line.split(b" ")[0]) if "comm=" in columns.split(",") else text
        text = text if "w" in options or len(text) < 120 else text[:120]
        lines.append(f"{pid:5} {text}" if "pid=" in columns else text)
print(*lines, sep="\n", end="\n" if lines else "")
sys.exit(0 if lines else 1)
"""

# Four of the long ones of every Mac; their like makes up most of a listing.
LONG = [
    "/Applications/Google Chrome.app/Contents/Frameworks/Google Chrome Framework.framework/Versions/141.0.7390.108/"
    "Helpers/Google Chrome Helper (Renderer).app/Contents/MacOS/Google Chrome Helper (Renderer) --type=renderer "
    "--lang=en-GB --num-raster-threads=4 --enable-zero-copy --enable-main-frame-before-activation --seatbelt-client=157"
    " --field-trial-handle=1718379636,r,9999999999999999999,8888888888888888888,262144 " + "--variations-seed=x " * 30,
    "/Applications/Visual Studio Code.app/Contents/Frameworks/Code Helper (Plugin).app/Contents/MacOS/Code Helper "
    "(Plugin) /Users/ann/.vscode/extensions/openai.chatgpt-0.5.9/out/extension.js --node-ipc --clientProcessId=812",
    "/System/Library/Frameworks/CoreServices.framework/Frameworks/Metadata.framework/Versions/A/Support/mdworker_shared"
    " -s mdworker -c MDSImporterWorker -m com.apple.mdworker.shared",
    "/usr/libexec/secinitd",
]


class Mac:
    """A Mac around one home: `mac("remove", "work")` asks the program there."""

    def __init__(self, home: Home) -> None:
        # Below TMPDIR, where nobody compares what is there.
        self.home, self.tools = home, home.base / "t" / "mac"
        self.listed, self.flush_log = self.tools / "listed.json", self.tools / "flushes"
        self.tools.mkdir()
        self.listed.write_text("[]")
        self.tool("mount", f"cat <<'EOF'\n{MOUNTS}EOF\n")
        self.tool("sysctl", "echo 1")
        facts = {"PYTHON": os.path.realpath(sys.executable), "LISTED": str(self.listed), "TESTS": str(os.getpid())}
        facts["OTHERS"] = str(parallel.HELPERS)  # They run tests of their own.
        self.tool("ps", re.sub("|".join(facts), lambda match: facts[match[0]], PS))

    def __call__(self, *words: Any, ignores_case: bool = False, **more: Any) -> Result:
        """The program in a forked process that takes this machine for a Mac."""
        return raw(self.home, *words, become=lambda: self.become(ignores_case=ignores_case), **more)

    def tool(self, name: str, text: str) -> Path:
        """Replaces one of the system's programs by a script, that of `sh` unless it says otherwise."""
        path = self.tools / name
        path.write_text(text if text.startswith("#!") else f"#!/bin/sh\n{text}")
        path.chmod(0o755)
        return path

    def mount(self, *lines: str) -> None:
        """Has `mount` print these lines as well, in macOS's format."""
        self.tool("mount", f"cat <<'EOF'\n{MOUNTS}{''.join(line + chr(10) for line in lines)}EOF\n")

    def list(self, *processes: tuple[int, str, str], size: int = 0) -> None:
        """Has `ps` list these as well (pid, command, environment), behind `size` bytes of what else runs on a Mac."""
        rows: list[tuple[int, str, str]] = []
        while sum(len(command) + 7 for _, command, _ in rows) < size:
            rows.append((70_000 + len(rows), LONG[len(rows) % len(LONG)].strip(), "HOME=/Users/ann"))
        self.listed.write_text(json.dumps([*rows, *processes]))

    def become(
        self, patch: pytest.MonkeyPatch | None = None, *, machine: str = "arm64", ignores_case: bool = False
    ) -> None:
        """Has this process take the machine for a Mac: for good in a forked one, else until `patch` is undone."""
        patch = patch or pytest.MonkeyPatch()
        for name in (*ONE_PATH, *TWO_PATHS) if ignores_case else ():
            patch.setattr(os, name, self._in_any_case(getattr(os, name), name == "symlink", name in TWO_PATHS))
        facts = os.uname_result(("Darwin", "mac", "25.1.0", "Darwin Kernel Version 25.1.0", machine))
        patch.setattr(os, "uname", lambda: facts)
        patch.setattr(sys, "platform", "darwin")
        settings = types.ModuleType("_scproxy")
        vars(settings).update(_get_proxy_settings=dict, _get_proxies=dict)
        patch.setitem(sys.modules, "_scproxy", settings)
        for name in ONLY_LINUX:
            patch.delattr(os, name, raising=False)
        for name in ("open", "stat", "lstat", "listdir", "scandir", "readlink", "access"):
            patch.setattr(os, name, self._without_proc(getattr(os, name)))
        patch.setattr(fcntl, "F_FULLFSYNC", F_FULLFSYNC, raising=False)
        patch.setattr(fcntl, "fcntl", self._counted(fcntl.fcntl))
        patch.setattr(os, "fsync", self._counted(os.fsync))
        patch.setattr(cm, "SYSTEM_PATH", f"{self.tools}:{cm.SYSTEM_PATH}")

    @property
    def flushes(self) -> list[tuple[str, str]]:
        """What was flushed since it was asked last, in order: `full` or `plain`, and the path."""
        lines = self.flush_log.read_text().splitlines() if self.flush_log.exists() else []
        self.flush_log.unlink(missing_ok=True)
        return [(kind, path) for kind, _, path in (line.partition(" ") for line in lines)]

    def _in_any_case(self, call: Callable[..., Any], is_symlink: bool, has_two: bool) -> Callable[..., Any]:
        def in_any_case(*args: Any, **more: Any) -> Any:
            paths = range(is_symlink, 1 + has_two)
            return call(*(self.on_disk(arg) if index in paths else arg for index, arg in enumerate(args)), **more)

        return in_any_case

    def on_disk(self, path: Any) -> Any:
        """The path that a file system takes for this one, which tells neither case nor the forms of letters apart."""
        given = os.fspath(path) if isinstance(path, (str, os.PathLike)) else path
        if not isinstance(given, str) or not given.startswith(f"{self.home.base}/"):
            return path
        here = str(self.home.base)
        for part in given[len(here) :].strip("/").split("/"):
            with contextlib.suppress(OSError):
                names = {folded(name): name for name in REAL.listdir(here)}
                part = names.get(folded(part), part)
            here = f"{here}/{part}"
        return here

    @staticmethod
    def _without_proc(call: Callable[..., Any]) -> Callable[..., Any]:
        def without_proc(path: Any = ".", *args: Any, **more: Any) -> Any:
            if isinstance(path, (str, bytes)) and os.fsdecode(path + path[:0]).startswith("/proc"):
                if call is os.access:
                    return False
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
            return call(path, *args, **more)

        return without_proc

    def _counted(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(file: Any, *args: Any) -> Any:
            full = args[:1] == (F_FULLFSYNC,)
            if full or not args:
                number = file if isinstance(file, int) else file.fileno()
                line = f"{'full' if full else 'plain'} {REAL.readlink(f'/proc/self/fd/{number}')}\n"
                note = REAL.open(self.flush_log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
                os.write(note, os.fsencode(line))
                os.close(note)
                return REAL.fsync(file)
            return call(file, *args)

        return counted


def folded(name: str) -> str:
    return unicodedata.normalize("NFD", unicodedata.normalize("NFD", name).casefold())


@contextlib.contextmanager
def second_name(directory: Path, name: Path) -> Iterator[Path]:
    """Another name of a directory, as a file system that ignores case gives it one: the same device and inode."""
    name.mkdir()
    try:
        said = subprocess.run(["mount", "--bind", directory, name], capture_output=True)
    except OSError:
        said = None
    if said is None or said.returncode:
        name.rmdir()
        pytest.skip("no bind mounts here")
    try:
        yield name
    finally:
        subprocess.run(["umount", "-l", name], check=False)
        with contextlib.suppress(OSError):
            name.rmdir()
