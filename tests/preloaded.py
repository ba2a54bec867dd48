"""The program, loaded once: each command line is played by a child that is forked from it, in 10 ms instead of 300.

`python preloaded.py PROGRAM SOCKET` is the server, which takes a command line at a time from a socket; `Preloaded` is
its client. A child has a session, outputs and environment of its own, as a process started from nothing has; what the
start itself is about (modules, options of Python, locales, a terminal) is tested with real starts.
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
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, NoReturn

PIPE = 1 << 16  # Bytes that a pipe takes without a reader.
FILES = ("stdin", "stdout", "stderr", "status")
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


# --- the server ---


def serve(program: str, requests: socket.socket) -> None:
    """Forks a child for each request, until nobody can send any more, and tells how each ended."""
    module = loaded(program)
    gc.collect()
    gc.freeze()
    requests.send(b"!")
    children: dict[int, tuple[int, int]] = {}
    with selectors.DefaultSelector() as selector:
        selector.register(requests, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fd == requests.fileno():
                    data, files, *_ = socket.recv_fds(requests, 1 << 20, len(FILES))
                    if not data:
                        return
                    pid = os.fork()
                    if not pid:
                        play(module, json.loads(data), files)
                    for file in files[:3]:
                        os.close(file)
                    os.write(files[3], b"%d\n" % pid)
                    watched = os.pidfd_open(pid)
                    children[watched] = pid, files[3]
                    selector.register(watched, selectors.EVENT_READ)
                else:
                    selector.unregister(key.fd)
                    pid, status = children.pop(key.fd)
                    os.write(status, b"%d\n" % os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
                    os.close(status)
                    os.close(key.fd)


def play(module: ModuleType, request: dict[str, Any], files: list[int]) -> NoReturn:
    """One command line, in a process that has nothing of the server but the modules that are loaded."""
    os.setsid()
    for number, file in enumerate(files[:3]):
        os.dup2(file, number)
    os.closerange(3, 256)
    os.umask(request["umask"])
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    time.tzset()
    for number, name in enumerate(FILES[:3]):
        errors = "backslashreplace" if name == "stderr" else "surrogateescape"
        setattr(sys, name, os.fdopen(number, "w" if number else "r", encoding="utf-8", errors=errors, closefd=False))
    sys.argv = request["argv"]
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
    """A server of one's own; a forked process begins one anew, since two can't share the socket."""

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

    def run(self, argv: list[str], env: Mapping[str, str], cwd: str, stdin: bytes | None, timeout: float) -> Ended:
        """Plays a command line to its end; after `timeout` seconds its session is killed and the test fails."""
        mask = os.umask(0)
        os.umask(mask)
        request = {"argv": argv, "env": dict(env), "cwd": cwd, "umask": mask}
        with contextlib.ExitStack() as stack:
            given = os.pipe() if stdin is not None else (os.open(os.devnull, os.O_RDONLY), -1)
            pipes = {name: os.pipe() for name in FILES[1:]}
            if stdin is not None:
                os.write(given[1], stdin)
                os.close(given[1])
            theirs = [given[0], *(writing for _, writing in pipes.values())]
            try:
                socket.send_fds(self.requests, [json.dumps(request).encode()], theirs)
            finally:
                for file in theirs:
                    os.close(file)
            for reading, _ in pipes.values():
                stack.callback(os.close, reading)
            return heard({name: reading for name, (reading, _) in pipes.items()}, timeout)


def heard(pipes: dict[str, int], timeout: float) -> Ended:
    """What comes out of the pipes until the outputs are closed and the child has ended."""
    deadline = time.monotonic() + timeout
    said = {name: bytearray() for name in pipes}
    poll = select.poll()
    names = {file: name for name, file in pipes.items()}
    for file in names:
        poll.register(file, select.POLLIN)
    while len(names) > 1 or said["status"].count(b"\n") < 2:
        ready = poll.poll(max(0, deadline - time.monotonic()) * 1000)
        if not ready and time.monotonic() >= deadline:
            os.killpg(int(said["status"].split()[0]), signal.SIGKILL)
            raise AssertionError(f"it did not end in {timeout} s: {said!r}")
        for file, _ in ready:
            data = os.read(file, PIPE)
            said[names[file]] += data
            if not data:
                poll.unregister(file)
                del names[file]
    return Ended(int(said["status"].split()[1]), bytes(said["stdout"]), bytes(said["stderr"]))


def can_play(argv: list[Any], env: Mapping[str, str], cwd: object, stdin: bytes | str | None) -> bool:
    """Is it an ordinary start? What a start itself decides (Python's options, the locale) needs a real one."""
    return (
        hasattr(os, "pidfd_open")
        and env.get("LANG") in ("C.UTF-8", "en_US.UTF-8")
        and not any(name.startswith(("LC_", "PYTHON")) for name in env)
        and os.path.isdir(str(cwd))
        and len(stdin or "") < PIPE // 4
        and sum(map(len, argv)) < PIPE
        and not any(b"\0" in os.fsencode(word) for word in argv)
    )


@cache
def server(owner: int, user: int, program: Path) -> Preloaded:
    """This process's own; `owner` and `user` are its ids, since neither a fork nor another user can share one."""
    assert (owner, user) == (os.getpid(), os.geteuid())
    return Preloaded(program)


if __name__ == "__main__":
    serve(sys.argv[1], socket.socket(fileno=int(sys.argv[2])))
