"""The program's rooms in this process, the program in processes that need no start of Python, and clones to try on."""

from __future__ import annotations

import fcntl
import gc
import importlib
import json
import os
import pty
import re
import select
import shutil
import signal
import struct
import sys
import tempfile
import termios
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NoReturn

import preloaded
import pytest

import codex_mirror
from helpers import PROGRAM, Home, Mirror, Result, discard, look_for_secrets, make_home, new_base, play, tree

Tree = dict[str, tuple[str, str, str]]
ROOT = os.geteuid() == 0
# What a change makes of a mirror home, also when it fails.
NEW_MIRROR_HOME = {"m", "m/lock", "m/reserve", "m/.gitignore", "m/.codex-mirror-home"}


# Typed loosely on purpose: tests hand it things of the wrong type.
cm: Any = codex_mirror


# --- real processes ---


def as_it_is() -> None:
    """The process that becomes nothing else."""


UNTOUCHED = dict(vars(cm))
# Set by the fixture `touched_rooms`: a test that may change the rooms, or counts what they say, needs forks of its own.
TOUCHED: list[bool] = []


def is_untouched() -> bool:
    """Is the program in this process as it was loaded, so that any other process plays it as well?"""
    now = vars(cm)
    return not TOUCHED and len(now) == len(UNTOUCHED) and all(now[name] is what for name, what in UNTOUCHED.items())


def ask(
    home: Home,
    *words: Any,
    env: Mapping[str, str | None] | None = None,
    stdin: bytes = b"",
    cwd: Path | str | None = None,
    timeout: float = 60,
) -> Result:
    """The program in a process of its own; nothing that it says may act on a terminal."""
    result = raw(home, *words, env=env, stdin=stdin, cwd=cwd, timeout=timeout)
    assert acting(result.out, result.err) == [], words
    return result


def raw(
    home: Home,
    *words: Any,
    env: Mapping[str, str | None] | None = None,
    stdin: bytes = b"",
    cwd: Path | str | None = None,
    timeout: float = 60,
    become: Callable[[], None] = as_it_is,
) -> Result:
    """The same for those whose output is Codex's own, whatever is in it; past the limit (seconds) the test fails. The
    process may `become` another user's first."""
    argv, whole = [str(PROGRAM), *map(os.fsdecode, words)], Mirror(home).env(env)
    where = str(cwd or home.home)
    if become is as_it_is and is_untouched() and preloaded.can_play(argv, whole, where):
        return play(argv, env=whole, stdin=stdin, cwd=where, timeout=timeout)
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        given.write(stdin)
        given.seek(0)
        pid = os.fork()
        if pid == 0:
            become()
            _be_the_program(home, words, env, cwd, (given.fileno(), out.fileno(), err.fileno()))
        status = _end_of(pid, timeout, words)
        shown = [_whole(file) for file in (out, err)]
    look_for_secrets(words, b"".join(shown))
    return Result(os.waitstatus_to_exitcode(status), *map(os.fsdecode, shown))


def _be_the_program(
    home: Home, words: tuple[Any, ...], env: Mapping[str, str | None] | None, cwd: Any, files: tuple[int, int, int]
) -> NoReturn:
    """Never returns to the test: a bug in here ends with 99."""
    code = 99
    # A collection would touch, and so copy, every page that the test's process has.
    gc.disable()
    try:
        if os.getsid(0) != os.getpid():
            os.setsid()
        for number, file in enumerate(files):
            os.dup2(file, number)
        preloaded.take_place([str(PROGRAM), *map(os.fspath, words)], Mirror(home).env(env), cwd or home.home)
        sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w")  # noqa: SIM115
        code = preloaded.ended(cm)
    finally:
        os._exit(code)


def skip_without(program: str) -> None:
    """Skips the test where this program isn't."""
    if not shutil.which(program):
        pytest.skip(f"{program} isn't here")


def become(uid: int) -> None:
    """Makes this process another user's, who couldn't read the interpreter: what is imported later is here before."""
    later = "base64 concurrent.futures.thread difflib fcntl grp gzip hashlib pwd shutil subprocess tarfile uuid"
    for name in later.split():
        importlib.import_module(name)
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)


def done_by(uid: int, deed: Callable[[], object]) -> int:
    """How it ended that another user has done this, in a process of its own: 0, or 1 after an error."""
    pid, code = os.fork(), 1
    if pid == 0:
        try:
            become(uid)
            deed()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(_end_of(pid, 60, deed))


def _end_of(pid: int, timeout: float, words: object) -> int:
    deadline = time.monotonic() + timeout
    while (ended := os.waitpid(pid, os.WNOHANG)) == (0, 0):
        if time.monotonic() > deadline:
            os.killpg(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            raise AssertionError(f"{words} did not end in {timeout} s")
        time.sleep(0.002)
    return ended[1]


def _whole(file: IO[bytes]) -> bytes:
    file.seek(0)
    return file.read()


# A hostile text has a newline and this behind it; it must never begin a line of what is shown.
FORGED = "FORGED"
# C0 without tab and newline, DEL, C1, what turns the direction of text or can't be seen, and bytes that aren't UTF-8.
ACTING = re.compile(
    f"^{FORGED}|"
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]",
    re.MULTILINE,
)


def acting(*outputs: str) -> list[str]:
    """What would act on a terminal in these outputs, each with what stands around it."""
    return [
        repr(text[max(match.start() - 40, 0) : match.end() + 20]) for text in outputs for match in ACTING.finditer(text)
    ]


def on_terminal(home: Home, *words: Any, typed: str = "", env: Mapping[str, str | None] | None = None) -> Result:
    """The program with all three streams on a terminal of 80 columns; `out` is what it showed there, as lines."""
    pid, ours = pty.fork()
    if pid == 0:
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        _be_the_program(home, words, {"TERM": "xterm", **(env or {})}, None, (0, 1, 2))
    os.write(ours, os.fsencode(typed))
    shown, deadline = b"", time.monotonic() + 60
    try:
        while select.select([ours], [], [], max(deadline - time.monotonic(), 0))[0]:
            try:
                part = os.read(ours, 1 << 16)
            except OSError:
                break
            if not part:
                break
            shown += part
        status = _end_of(pid, max(deadline - time.monotonic(), 0.1), words)
    finally:
        os.close(ours)
        look_for_secrets(words, shown)
    text = os.fsdecode(shown).replace("\r\n", "\n")
    return Result(os.waitstatus_to_exitcode(status), re.sub("\r[^\r]*\x1b\\[K", "", text), "")


# --- clones to try on ---


@contextmanager
def fresh_home() -> Iterator[Home]:
    """What the fixture `home` gives to one test, for those who share one."""
    base = new_base()
    try:
        yield make_home(base)
    finally:
        discard(base)


def places_of(home: Home) -> Any:
    return cm.places_from(home.env)


def caller_in(home: Home, env: Mapping[str, str] | None = None, **more: Any) -> Any:
    """Someone at this home who calls a handler directly."""
    env = {**home.env, **(env or {})}
    return cm.Context(cm.places_from(env), env, **more)


def make_clone(home: Home, name: str, **wish: Any) -> Any:
    """A clone of the Codex that is installed in `home`, or of a `source`, made by the program's own room in this
    process."""
    wish.setdefault("codex", cm.Wanted(wish.pop("source", ""), "", wish.pop("allow_incomplete", False)))
    clone, left = cm.create_clone(caller_in(home), cm.NewClone(cm.new_clone_name(name), **wish))
    assert not left
    return clone


def clone_in(home: Home, name: str) -> Any:
    """The clone as the registry has it now."""
    return cm.clone_named(cm.read_registry(places_of(home)), name)


def rows_of(home: Home) -> list[Any]:
    """The registry's rows as they are on the disk."""
    rows: list[Any] = json.loads((home.mirror / "registry.json").read_bytes())["clones"]
    return rows


def write_registry(home: Home, rows: list[Any], **more: Any) -> None:
    """Writes the registry as another program would."""
    path = home.mirror / "registry.json"
    path.write_text(json.dumps({"version": 1, **more, "clones": rows}, indent=2) + "\n")
    path.chmod(0o600)


def at_rest(home: Home) -> Tree:
    """The whole tree without what every start leaves: who held the lock last, the log, and the aliases of Codex."""
    return {
        path: what
        for path, what in tree(home.base).items()
        if path not in ("m/lock", "m/login.lock", "m/events.log") and not re.search(r"(^t/|\.codex/tmp(/|$))", path)
    }


def changes(before: Tree, after: Tree) -> dict[str, tuple[Any, Any]]:
    """Every path that differs between two snapshots, with what it was and what it is."""
    return {
        path: (before.get(path), after.get(path))
        for path in sorted({**before, **after})
        if before.get(path) != after.get(path)
    }


def make_deep(top: Path, levels: int) -> None:
    """Deeper than Python's recursion, and than a path may be long."""
    top.mkdir()
    here = os.open(top, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)


def clone_like(home: Home, name: str = "work", /, **traits: Any) -> Any:
    """A clone as a value, with nothing of it on the disk."""
    root = str(home.mirror / "clones" / name)
    runtime = f"{root}/.codex-mirror/runtime/0.169.0-abcdef12"
    values = {
        "id": str(uuid.uuid5(uuid.NAMESPACE_DNS, name)),
        "name": name,
        "root": root,
        "runtime": cm.Runtime(runtime, f"{runtime}/bin/codex", "binary", "0.169.0"),
        "previous": None,
        "wrapper": str(home.bin / name),
        "created": "2026-11-22T08:00:00.000Z",
        "updated": "2026-11-22T08:00:00.000Z",
        "made_root": True,
    }
    return cm.Clone(**{**values, **traits})
