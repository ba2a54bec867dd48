"""The program, loaded once: each command line is played by a child that is forked from it, in 10 ms instead of 300.

`python preloaded.py PROGRAM SOCKET` is the server, which takes a command line at a time from a socket; `Preloaded` is
its client. A child has a session, files and environment of its own, as a process started from nothing has; what a
start itself decides (modules, Python's options, locales) is tested with real starts. The server is small, so it forks
at a tenth of what a process with all tests in it takes.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import gc
import importlib.util
import json
import os
import select
import selectors
import signal
import socket
import subprocess
import sys
import termios
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, NoReturn

# What the program imports when it needs it.
IMPORTED_LATER = (
    "argparse base64 concurrent.futures.thread curses datetime difflib encodings.idna fcntl gzip hashlib http.client "
    "json platform pwd select selectors shlex shutil sqlite3 ssl subprocess tarfile tempfile threading traceback "
    "unicodedata urllib.parse urllib.request uuid"
).split()


def loaded(program: str) -> ModuleType:
    """The program as a module, with everything that it imports when it needs it."""
    spec = importlib.util.spec_from_file_location("program_on_stage", program)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    for name in IMPORTED_LATER:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    return module


class Request(NamedTuple):
    """A command line, its program first, as a process is to have it; `terminal`: its files are one, of its own."""

    argv: Sequence[str]
    env: Mapping[str, str]
    cwd: str
    umask: int
    terminal: bool = False


# --- the server ---

FILES = 4  # Of each request: its three streams, and where the server writes its process id and how it ended.


def serve(program: str, requests: socket.socket) -> None:
    """Forks a child for each request until nobody can send any more, and tells how each ended."""
    module = loaded(program)
    gc.collect()
    gc.freeze()
    requests.send(b"!")
    children: dict[int, tuple[int, int]] = {}
    with selectors.DefaultSelector() as selector:
        selector.register(requests, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fd != requests.fileno():
                    selector.unregister(key.fd)
                    tell_the_end(key.fd, *children.pop(key.fd))
                    continue
                data, files, *_ = socket.recv_fds(requests, 1 << 20, FILES)
                if not data:
                    return
                pid = os.fork()
                if not pid:
                    play(module, Request(*json.loads(data)), files)
                for file in files[:-1]:
                    os.close(file)
                os.write(files[-1], b"%d\n" % pid)
                watched = os.pidfd_open(pid)
                children[watched] = pid, files[-1]
                selector.register(watched, selectors.EVENT_READ)


def tell_the_end(watched: int, pid: int, status: int) -> None:
    with contextlib.suppress(BrokenPipeError):
        os.write(status, b"%d\n" % os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    os.close(status)
    os.close(watched)


def play(module: ModuleType, request: Request, files: list[int]) -> NoReturn:
    """One command line, in a process that has nothing of the server but the modules that are loaded."""
    os.setsid()
    for number, file in enumerate(files[:-1]):
        os.dup2(file, number)
    os.closerange(3, 256)
    if request.terminal:
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    os.umask(request.umask)
    os.chdir(request.cwd)
    os.environ.clear()
    os.environ.update(request.env)
    time.tzset()
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        errors = "backslashreplace" if number == 2 else "surrogateescape"
        mode, lines = "w" if number else "r", request.terminal and number
        stream = os.fdopen(number, mode, 1 if lines else -1, encoding="utf-8", errors=errors, closefd=False)
        setattr(sys, name, stream)
    sys.argv = [*request.argv]
    code: Any = 70
    try:
        code = module.main()
    except SystemExit as end:
        code = end.code
    except BaseException:
        traceback.print_exc()
    shared: Any = threading
    shared._shutdown()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
    os._exit(code if isinstance(code, int) else code is not None)


# --- the client ---


class Ended(NamedTuple):
    """How a child ended: minus the signal, as Popen tells it."""

    code: int
    out: bytes
    err: bytes


class Preloaded:
    """A server of this process's own."""

    def __init__(self, program: Path) -> None:
        self.requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            argv = [sys.executable, "-I", "-S", __file__, program, str(theirs.fileno())]
            env = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}
            self.server = subprocess.Popen(
                argv, env=env, cwd="/", stdin=subprocess.DEVNULL, start_new_session=True, pass_fds=[theirs.fileno()]
            )
        assert self.requests.recv(1) == b"!"
        atexit.register(self.close, os.getpid())

    def close(self, owner: int) -> None:
        """Ends it, in the process that began it."""
        if owner == os.getpid():
            self.requests.close()
            self.server.wait()

    def run(self, argv: Sequence[str], env: Mapping[str, str], cwd: str, stdin: bytes | None, timeout: float) -> Ended:
        """Plays a command line to its end; what it leaves running meanwhile can say no more."""
        with contextlib.ExitStack() as stack:
            files = [os.memfd_create(name) for name in ("stdin", "stdout", "stderr")]
            for file in files:
                stack.callback(os.close, file)
            os.write(files[0], stdin or b"")
            os.lseek(files[0], 0, os.SEEK_SET)
            nothing = os.open(os.devnull, os.O_RDONLY)
            stack.callback(os.close, nothing)
            theirs = [nothing if stdin is None else files[0], *files[1:]]
            child = self.start(Request(argv, env, cwd, current_umask()), theirs)
            return Ended(child.wait(timeout), *map(whole, files[1:]))

    def start(self, request: Request, files: Sequence[int]) -> Child:
        """Begins to play a command line with these three files."""
        status, theirs = os.pipe()
        try:
            socket.send_fds(self.requests, [json.dumps(request).encode()], [*files, theirs])
        finally:
            os.close(theirs)
        return Child(request.argv, status)


class Child:
    """A command line that is being played."""

    def __init__(self, argv: Sequence[str], status: int) -> None:
        self.argv, self.status, self.told = argv, status, b""

    def wait(self, timeout: float) -> int:
        """Its exit code, or minus the signal; after so many seconds its session is killed, and the test fails."""
        deadline, poll = time.monotonic() + timeout, select.poll()
        poll.register(self.status, select.POLLIN)
        try:
            while self.told.count(b"\n") < 2:
                if not poll.poll(max(0, deadline - time.monotonic()) * 1000):
                    os.killpg(int(self.told.split()[0]), signal.SIGKILL)
                    raise AssertionError(f"{self.argv} did not end in {timeout} s")
                news = os.read(self.status, 64)
                assert news, "the server broke down"
                self.told += news
        finally:
            os.close(self.status)
        return int(self.told.split()[1])


def whole(file: int) -> bytes:
    return os.pread(file, os.fstat(file).st_size, 0)


def current_umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def can_play(argv: Sequence[str], env: Mapping[str, str], cwd: object) -> bool:
    """Is it an ordinary start? What a start itself decides (Python's options, the locale) needs a real one."""
    return (
        hasattr(os, "pidfd_open")
        and env.get("LANG") in ("C.UTF-8", "en_US.UTF-8")
        and not any(name.startswith(("LC_", "PYTHON")) for name in env)
        and os.path.isdir(str(cwd))
        and sum(map(len, argv)) < 1 << 15
        and not any("\0" in word for word in argv)
    )


def server() -> Preloaded:
    """This process's own, since neither a fork nor another user can share one."""
    return server_of(os.getpid(), os.geteuid())


@cache
def server_of(owner: int, user: int) -> Preloaded:
    return Preloaded(Path(__file__).resolve().parent.parent / "codex_mirror.py")


if __name__ == "__main__":
    serve(sys.argv[1], socket.socket(fileno=int(sys.argv[2])))
