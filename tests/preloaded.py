"""The program, loaded once: each command line is played by a child that is forked from it, in 10 ms instead of 300.

`python preloaded.py PROGRAM SOCKET` is the server, which takes a command line at a time from a socket; `Preloaded` is
its client. A child has a session, files and environment of its own, as a process started from nothing has; what a
start itself decides (modules, Python's options, locales) is tested with real starts. The server is small, so it forks
at a tenth of what a process with all tests in it takes.
"""

from __future__ import annotations

import atexit
import contextlib
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
    """A command line, its program first, as a process is to have it."""

    argv: Sequence[str]
    env: Mapping[str, str]
    cwd: str
    umask: int


def take_place(argv: Sequence[str], env: Mapping[str, str], cwd: Path | str) -> None:
    """Gives this process the command line, the environment and the directory that the program is to find."""
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    sys.argv = [*argv]


def ended(module: ModuleType) -> int:
    """Runs the program's `main` to its exit code."""
    code: Any = 70
    try:
        code = module.main()
    except SystemExit as end:
        code = end.code
    except BaseException:
        traceback.print_exc()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
    return code if isinstance(code, int) else int(code is not None)


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
    os.umask(request.umask)
    take_place(request.argv, request.env, request.cwd)
    time.tzset()
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        errors = "backslashreplace" if number == 2 else "surrogateescape"
        mode = "w" if number else "r"
        setattr(sys, name, os.fdopen(number, mode, encoding="utf-8", errors=errors, closefd=False))
    code = ended(module)
    shared: Any = threading
    shared._shutdown()
    atexit._run_exitfuncs()
    os._exit(code)


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
            given = os.open(os.devnull, os.O_RDONLY) if stdin is None else os.memfd_create("stdin")
            out, err, (status, theirs) = os.memfd_create("stdout"), os.memfd_create("stderr"), os.pipe()
            for file in (given, out, err, status):
                stack.callback(os.close, file)
            if stdin is not None:
                os.write(given, stdin)
                os.lseek(given, 0, os.SEEK_SET)
            try:
                request = json.dumps(Request(argv, env, cwd, current_umask())).encode()
                socket.send_fds(self.requests, [request], [given, out, err, theirs])
            finally:
                os.close(theirs)
            return Ended(exit_code_from(status, argv, timeout), whole(out), whole(err))


def exit_code_from(status: int, argv: Sequence[str], timeout: float) -> int:
    """What the server says of a child at its end; after so many seconds its session is killed, and the test fails."""
    deadline, poll, told = time.monotonic() + timeout, select.poll(), b""
    poll.register(status, select.POLLIN)
    while told.count(b"\n") < 2:
        if not poll.poll(max(0, deadline - time.monotonic()) * 1000):
            os.killpg(int(told.split()[0]), signal.SIGKILL)
            raise AssertionError(f"{argv} did not end in {timeout} s")
        news = os.read(status, 64)
        assert news, "the server broke down"
        told += news
    return int(told.split()[1])


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
