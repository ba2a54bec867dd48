"""How near to nothing the program is: every figure beside the floor of the same run, on the machine it runs on.

    make bench                                     the whole table
    make bench BENCH_ARGS="--quick --only list"    fewer rounds, one row
    make bench BENCH_ARGS=--json                   the same as one JSON document

It needs nothing but Python and, where CODEX_MIRROR_TEST_CODEX names one, the real Codex; else a fake one of 40 MB, with
which the rows that copy or start Codex say little. What is compared runs in turn, and the figures are medians. All of
it happens in a scratch directory, which is removed at the end.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import platform
import pty
import secrets
import select
import shutil
import signal
import statistics
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from depot import open_depot
from rollouts import Shape, an_id, write

from helpers import REPO, Home, chatgpt_login, discard, fake_codex, make_home, npm_install

PYTHON = (sys.executable, "-I", "-S")
FLOOR = (*PYTHON, "-c", "import argparse, json, typing")
FLOOR_IS = "Python with argparse, json, typing"
LOAD = "import argparse, json, typing, sys; json.load(open(sys.argv[1], 'rb'))"
# What listing the sessions and reading the end of the newest costs at least.
TAIL = """
import argparse, json, os, sys, typing
def files(directory):
    for entry in os.scandir(directory):
        if entry.is_dir(follow_symlinks=False):
            yield from files(entry.path)
        else:
            yield entry.stat(follow_symlinks=False).st_mtime, entry.path
with open(max(files(sys.argv[1]))[1], "rb") as newest:
    newest.seek(-65536, 2)
    newest.read()
"""
# What listing the sessions and reading the beginnings of the newest thirty costs at least.
HEADS = (
    TAIL.partition("with open")[0]
    + """
for _, path in sorted(files(sys.argv[1]), reverse=True)[:30]:
    with open(path, "rb") as session:
        session.read(4096)
        session.seek(0)
        session.read(262144)
"""
)
# What a Codex from the network costs at least.
FETCH = """
import argparse, hashlib, json, os, subprocess, sys, typing, urllib.request
address, directory = sys.argv[1:]
os.mkdir(directory)
path, digest = os.path.join(directory, "x.tgz"), hashlib.sha512()
with urllib.request.urlopen(address) as answer, open(path, "wb") as file:
    while part := answer.read(1 << 20):
        file.write(part)
        digest.update(part)
subprocess.run(["tar", "-xzf", path, "-C", directory], check=True)
os.unlink(path)
for top, _, names in os.walk(directory):
    for path in (top, *(os.path.join(top, name) for name in names)):
        file = os.open(path, os.O_RDONLY)
        os.fsync(file)
        os.close(file)
"""
CURSES = "import argparse, json, typing, curses; w = curses.initscr(); w.addstr('complete'); w.refresh(); w.getch()"
# Starts the program as install.sh does, and leaves a note of how it went in the file that BENCH_NOTE names.
NOTED = """
import json, os, resource, stat, sys
note, library, *sys.argv = sys.argv[1:]
synced, sync = [], os.fsync
def fsync(file):
    facts = os.fstat(file)
    synced.append(-1 if stat.S_ISDIR(facts.st_mode) else facts.st_size)
    sync(file)
os.fsync = fsync
sys.path.append(library)
try:
    if library:
        from codex_mirror import main
        main()
finally:
    with open(note, "w") as file:
        json.dump({"memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, "synced": synced}, file)
"""
KIB = 1 if platform.system() == "Darwin" else 1024  # The unit of ru_maxrss.
BALLAST = 40 << 20
WORDS_TO_COMPLETE = ("completion", "fish", "--", "run", "w")


class Line(NamedTuple):
    """One line of the table: the floor and ours in one unit, how they compare, and whether that is what is wanted."""

    row: str
    what: str
    floor_is: str
    floor: float
    ours: float
    reach: str
    met: bool | None
    unit: str = "ms"
    note: str = ""

    @property
    def compared(self) -> str:
        if self.reach.startswith("+"):
            return f"+ {self.ours - self.floor:.1f} {self.unit}"
        return f"{self.ours / self.floor:.2f} ×" if self.floor else "-"


class Missing(Exception):
    """A row that can't be measured here, and why."""


Deed = Callable[[], float]


# --- measuring ---


def timed(argv: Sequence[str], env: Mapping[str, str]) -> float:
    """The seconds from the start of a program to its end; its output goes nowhere, and it must end well."""
    nothing = [(os.POSIX_SPAWN_OPEN, file, os.devnull, os.O_RDWR, 0) for file in (0, 1, 2)]
    began = time.perf_counter()
    pid = os.posix_spawn(argv[0], argv, env, file_actions=nothing)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    seconds = time.perf_counter() - began
    if status != 0:
        shown = subprocess.run(argv, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        raise RuntimeError(f"{list(argv)} ended with {status}\n{shown.stdout}{shown.stderr}")
    return seconds


def took(deed: Callable[[], object]) -> float:
    began = time.perf_counter()
    deed()
    return time.perf_counter() - began


def medians(rounds: int, *deeds: Deed) -> list[float]:
    """What each deed takes, in milliseconds: all in turn, and that again; the first turn only warms up."""
    turns = [[deed() for deed in deeds] for _ in range(rounds + 1)][1:]
    return [statistics.median(column) * 1000 for column in zip(*turns, strict=True)]


class Terminal:
    """A program on a terminal of 80 × 24 cells."""

    def __init__(self, argv: Sequence[str], env: Mapping[str, str]) -> None:
        self.ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        name = os.ttyname(theirs)
        actions: list[Any] = [(os.POSIX_SPAWN_OPEN, 0, name, os.O_RDWR, 0)]
        actions += [(os.POSIX_SPAWN_DUP2, 0, file) for file in (1, 2)]
        self.began = time.perf_counter()
        self.pid = os.posix_spawn(argv[0], argv, {**env, "TERM": "xterm-256color"}, file_actions=actions, setsid=True)
        os.close(theirs)

    def shown(self, text: bytes) -> float:
        """The seconds until this text is on the screen."""
        seen = b""
        while text not in seen:
            seen += self.read(10)
        return time.perf_counter() - self.began

    def settled(self, quiet: float) -> float:
        """The seconds to the last output before the terminal was quiet for so long."""
        self.read(10)
        last = time.perf_counter()
        while select.select([self.ours], [], [], quiet)[0]:
            self.read(quiet)
            last = time.perf_counter()
        return last - self.began

    def press(self, key: bytes) -> float:
        """The seconds from a key to its complete frame."""
        self.began = time.perf_counter()
        os.write(self.ours, key)
        return self.settled(0.02)

    def read(self, limit: float) -> bytes:
        if not select.select([self.ours], [], [], limit)[0]:
            raise Missing(f"nothing was shown in {limit} s")
        with suppress(OSError):
            if data := os.read(self.ours, 1 << 16):
                return data
        raise Missing("there is no menu")

    def close(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.ours)


@contextmanager
def terminal(argv: Sequence[str], env: Mapping[str, str]) -> Iterator[Terminal]:
    screen = Terminal(argv, env)
    try:
        yield screen
    finally:
        screen.close()


def first_frame(argv: Sequence[str], env: Mapping[str, str], text: bytes) -> float:
    with terminal(argv, env) as screen:
        return screen.shown(text)


def disk_of(*roots: Path) -> int:
    """The bytes that trees take on the disk, a file with several names counted once."""
    inodes = {}
    for root in roots:
        for top, directories, files in os.walk(root):
            for path in (os.path.join(top, name) for name in (".", *directories, *files)):
                facts = os.lstat(path)
                inodes[facts.st_dev, facts.st_ino] = facts.st_blocks * 512
    return sum(inodes.values())


# --- the scene ---


class Bench:
    """The program as it is installed, and homes with clones to try it in."""

    def __init__(self, base: Path, quick: bool) -> None:
        self.base, self.quick, self.homes = base, quick, 0
        real = os.environ.get("CODEX_MIRROR_TEST_CODEX")
        self.real = Path(real) if real else None
        self.fakes = [self.fake("0.169.0"), self.fake("0.170.0")]
        prefix = base / "i"
        home = self.home()
        argv = ["sh", str(REPO / "install.sh"), "--prefix", str(prefix)]
        subprocess.run(argv, env={**home.env, "CODEX_MIRROR_PYTHON": sys.executable}, check=True, capture_output=True)
        self.program = str(prefix / "bin/codex-mirror")
        self.library = str(prefix / "share/codex-mirror")

    def rounds(self, many: int) -> int:
        return max(3, many // 5) if self.quick else many

    def fake(self, version: str) -> Path:
        """A fake Codex's command, as npm installs it, with some weight in its package."""
        package = fake_codex(self.base / f"p{version}", version)
        (package / "codex-resources" / "ballast").write_bytes(os.urandom(BALLAST))
        return npm_install(self.base / f"n{version}", package)

    @property
    def codex(self) -> Path:
        return self.real or self.fakes[0]

    def home(self, codex: Path | None = None) -> Home:
        """A home without clones; this Codex is installed in it."""
        self.homes += 1
        base = self.base / f"{self.homes}"
        base.mkdir(mode=0o700)
        home = make_home(base)
        home.put_on_path(home.bin)
        if node := shutil.which("node"):
            home.put_on_path(Path(node).parent)
        if codex:
            home.put_on_path(codex.parent)
        return home

    def argv(self, *words: str) -> tuple[str, ...]:
        return (self.program, *words)

    def do(self, home: Home, *words: str) -> float:
        """Runs one command as users do, and says how long it took."""
        return timed(self.argv(*words), home.env)

    def home_with(self, *names: str, codex: Path | None = None) -> Home:
        """A home with these clones, made by the program."""
        home = self.home(codex or self.codex)
        for name in names:
            self.do(home, "create", name)
        return home

    def noted(self, home: Home, *words: str) -> dict[str, Any]:
        """Runs a command in this process's place and tells its memory (bytes), and the size of each file it synced.

        Through a shell, because a process begins with the memory of the one that started it."""
        note = self.base / "note"
        argv = [*PYTHON, "-c", NOTED, str(note), self.library if words else "", self.program, *words]
        subprocess.run(["/bin/sh", "-c", '"$@"; :', "sh", *argv], env=home.env, capture_output=True)
        found: dict[str, Any] = json.loads(note.read_text())
        return {**found, "memory": found["memory"] * KIB}


def pinned(home: Home, name: str = "work") -> Path:
    """The runtime of a clone."""
    [row] = [row for row in registry(home)["clones"] if row["name"] == name]
    return Path(row["runtimePath"])


def registry(home: Home) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((home.mirror / "registry.json").read_text())
    return document


def crowd(home: Home, count: int) -> None:
    """Fills the registry up to so many clones, most of which are there in the registry only."""
    document = registry(home)
    first = document["clones"][0]
    for number in range(len(document["clones"]), count):
        text = json.dumps(first).replace(first["id"], f"{first['id'][:-6]}{number:06d}")
        old, new = f"/clones/{first['name']}", f"/clones/{first['name']}{number}"
        row = json.loads(text.replace(old + "/", new + "/").replace(f'{old}"', f'{new}"'))
        name = f"{first['name']}{number}"
        document["clones"].append({**row, "name": name, "wrapperPath": str(home.bin / name)})
    (home.mirror / "registry.json").write_text(json.dumps(document, indent=2))


# --- the rows ---


def at_most(row: str, what: str, floor_is: str, floor: float, ours: float, reach: float, **more: Any) -> Line:
    return Line(row, what, floor_is, floor, ours, f"≤ {reach:g} ×", ours <= reach * floor, **more)


def row_wrapper(bench: Bench) -> list[Line]:
    home = bench.home_with("work")
    entry = str(pinned(home) / "bin/codex")
    inside = {**home.env, "CODEX_HOME": str(home.clone_home("work") / ".codex")}
    native, wrapped, installed = medians(
        bench.rounds(80),
        lambda: timed((entry, "--version"), inside),
        lambda: timed((str(home.bin / "work"), "--version"), home.env),
        lambda: timed((str(bench.codex), "--version"), inside),
    )
    what, node = "`work --version`, the wrapper", f"`codex --version` as installed: {installed:.1f} ms"
    return [Line("wrapper", what, "the native binary", native, wrapped, "+ 3 ms", wrapped - native <= 3, note=node)]


def row_start(bench: Bench) -> list[Line]:
    home = bench.home_with("work")
    crowd(home, 10)
    inside = {**home.env, "CODEX_HOME": str(home.clone_home("work") / ".codex")}
    entry, script = str(pinned(home) / "bin/codex"), (*PYTHON, str(REPO / "codex_mirror.py"))
    floor, native, version, listed, ran, whole = medians(
        bench.rounds(40),
        lambda: timed(FLOOR, home.env),
        lambda: timed((entry, "--version"), inside),
        lambda: bench.do(home, "--version"),
        lambda: bench.do(home, "list"),
        lambda: bench.do(home, "run", "work", "--version"),
        lambda: timed((*script, "list"), home.env),
    )
    return [
        at_most("start", "`codex-mirror --version`", FLOOR_IS, floor, version, 1.3),
        at_most("start", "`list` of 10 clones, piped", FLOOR_IS, floor, listed, 1.3),
        at_most("start", "`run work --version`", f"{FLOOR_IS} + the native binary", floor + native, ran, 1.3),
        at_most("start", "`list` without bytecode", FLOOR_IS, floor, whole, 2.2),
    ]


def row_directory(bench: Bench) -> list[Line]:
    home = bench.home_with("work")
    for number in range(100):
        (home.home / f"d{number}/a/b").mkdir(parents=True)
    rows = registry(home)
    rows["clones"][0] |= {"directories": [str(home.home / f"d{number}") for number in range(100)]}
    (home.mirror / "registry.json").write_text(json.dumps(rows))
    bench.do(home, "shim", "install", "--shell", "sh")
    here = home.home / "d99/a/b"
    inside = ("/bin/sh", "-c", f'cd {here} && exec "$0" --version')
    floor, wrapper, shim, which = medians(
        bench.rounds(40),
        lambda: timed(FLOOR, home.env),
        lambda: timed((*inside, str(home.bin / "work")), home.env),
        lambda: timed((*inside, str(home.mirror / "shim/codex")), home.env),
        lambda: bench.do(home, "which", str(here)),
    )
    return [
        Line("directory", "the shim, 100 directories", "the wrapper", wrapper, shim, "+ 3 ms", shim - wrapper <= 3),
        at_most("directory", "`which`, 100 directories", FLOOR_IS, floor, which, 1.3),
    ]


def row_crowd(bench: Bench) -> list[Line]:
    home = bench.home_with("work")
    crowd(home, 1000)
    load = (*PYTHON, "-c", LOAD, str(home.mirror / "registry.json"))
    floor, listed = medians(bench.rounds(25), lambda: timed(load, home.env), lambda: bench.do(home, "list"))
    return [at_most("crowd", "`list` of 1,000 clones, piped", f"{FLOOR_IS} + json.load", floor, listed, 1.5)]


def row_first(bench: Bench) -> list[Line]:
    template = bench.home_with("work")
    package, copy = pinned(template), bench.base / "copy"

    def copied() -> float:
        seconds = took(lambda: copy_durably(package, copy))
        discard(copy)
        return seconds

    def created() -> float:
        home = bench.home(bench.codex)
        seconds = bench.do(home, "create", "work")
        discard(home.base)
        return seconds

    floor, ours = medians(bench.rounds(7), copied, created)
    line = at_most("first", "`create`, the first", "cp -r, fsync, SHA-256", floor, ours, 1.1)
    return [judged_with_the_real_one(bench, line)]


def judged_with_the_real_one(bench: Bench, line: Line) -> Line:
    return line if bench.real else line._replace(met=None, note="a fake Codex of 40 MB")


def copy_durably(package: Path, copy: Path) -> None:
    """What a first copy costs at least: every byte copied, on the disk, and read once more for its digest."""
    subprocess.run(["cp", "-r", str(package), str(copy)], check=True)
    for top, _, files in os.walk(copy):
        for name in files:
            with open(os.path.join(top, name), "rb", buffering=0) as file:
                os.fsync(file.fileno())
                digest, buffer = hashlib.sha256(), memoryview(bytearray(1 << 20))
                while count := file.readinto(buffer):
                    digest.update(buffer[:count])
        sync_directory(top)


def sync_directory(path: str | Path) -> None:
    file = os.open(path, os.O_RDONLY)
    os.fsync(file)
    os.close(file)


def row_fetch(bench: Bench) -> list[Line]:
    template, copy = bench.home_with("work"), bench.base / "fetched"
    with open_depot() as depot:
        depot.fill("npm", pinned(template))
        [tarball] = [path for path in depot.answers if path.startswith("/files/")]

        def fetched() -> float:
            seconds = timed((*PYTHON, "-c", FETCH, depot.url + tarball, str(copy)), template.env)
            discard(copy)
            return seconds

        def created() -> float:
            home = bench.home()
            home.env.update(CODEX_MIRROR_CODEX_URL=depot.url, CODEX_MIRROR_OFFLINE="0")
            seconds = bench.do(home, "create", "work", "--codex", "latest")
            discard(home.base)
            return seconds

        floor, ours = medians(bench.rounds(7), fetched, created)
    line = at_most("fetch", "`create` of a fetched Codex", "download with SHA-512, tar -x, fsync", floor, ours, 1.15)
    return [judged_with_the_real_one(bench, line)]


def row_next(bench: Bench) -> list[Line]:
    home = bench.home_with("work")
    floor, deeds, ours = next_ones(bench, home, bench.rounds(25))
    what, least = "`create`, the next ones", f"{FLOOR_IS} + link() + codex --version + fsyncs"
    return [at_most("next", what, least, floor + deeds, ours, 1.5, note=f"{deeds:.1f} ms of the floor are deeds")]


def next_ones(bench: Bench, home: Home, rounds: int) -> tuple[float, float, float]:
    """Milliseconds: the floor, what the next clone of a version needs at least, and `create` of one."""
    package = pinned(home)
    synced = bench.noted(home, "create", "noted")["synced"]
    names = (f"next{number}" for number in range(1000))
    floor, deeds, ours = medians(
        rounds,
        lambda: timed(FLOOR, home.env),
        lambda: deeds_of_create(bench, home, package, synced),
        lambda: bench.do(home, "create", next(names)),
    )
    return floor, deeds, ours


def deeds_of_create(bench: Bench, home: Home, package: Path, synced: list[int]) -> float:
    """The seconds that it takes to link a package, start its Codex once, and sync as much as `create` was seen to."""
    target = bench.base / f"linked-{secrets.token_hex(4)}"
    began = time.perf_counter()
    for top, _, files in os.walk(package):
        there = target / os.path.relpath(top, package)
        there.mkdir()
        for name in files:
            os.link(os.path.join(top, name), there / name)
    (target / "home").mkdir()
    timed((str(target / "bin/codex"), "--version"), {**home.env, "CODEX_HOME": str(target / "home")})
    for number, size in enumerate(synced):
        if size < 0:
            sync_directory(target)
        else:
            with open(target / f"{number}", "wb", buffering=0) as file:
                file.write(b"x" * size)
                os.fsync(file.fileno())
    seconds = time.perf_counter() - began
    discard(target)
    return seconds


def row_update(bench: Bench) -> list[Line]:
    """With two fake versions, each pinned by a clone that stays, so that every update finds its files to link."""
    clones = [f"c{number}" for number in range(20)]
    old, new = bench.fakes
    home = bench.home_with("old", *clones, codex=old)
    home.put_on_path(new.parent)
    bench.do(home, "create", "work")
    floor, deeds, _ = next_ones(bench, home, bench.rounds(10))
    sources = iter([new, old] * 100)
    [ours] = medians(bench.rounds(10), lambda: bench.do(home, "update", *clones, "--from", str(next(sources))))
    return [
        at_most("update", "`update` of 20 clones, linked", "20 × the floor above (fake)", 20 * (floor + deeds), ours, 1)
    ]


def row_doctor(bench: Bench) -> list[Line]:
    names = [f"c{number}" for number in range(20)]
    home = bench.home_with(*names)
    wrappers = [(str(home.bin / name), "login", "status") for name in names]
    floor, ours = medians(
        bench.rounds(10),
        lambda: took(lambda: all_at_once(wrappers, home.env, (os.cpu_count() or 1) + 2)),
        lambda: bench.do(home, "doctor"),
    )
    return [at_most("doctor", "`doctor` of 20 clones", "20 × `login status`, side by side", floor, ours, 1.3)]


def all_at_once(programs: Sequence[Sequence[str]], env: Mapping[str, str], most: int) -> None:
    """Runs the programs, so many at once."""
    nothing = [(os.POSIX_SPAWN_OPEN, file, os.devnull, os.O_RDWR, 0) for file in (0, 1, 2)]
    running: set[int] = set()
    for argv in programs:
        if len(running) == most:
            running.discard(os.wait()[0])
        running.add(os.posix_spawn(argv[0], argv, env, file_actions=nothing))
    for _ in running:
        os.wait()


def row_usage(bench: Bench) -> list[Line]:
    home = bench.home_with("work")
    sessions = home.clone_home("work") / ".codex" / "sessions"
    count = 1000 if bench.quick else 10000
    fill_sessions(sessions, count)
    (sessions.parent / "auth.json").write_text(chatgpt_login("acc-A", "user-A"))
    tail = (*PYTHON, "-c", TAIL, str(sessions))
    floor, ours = medians(bench.rounds(20), lambda: timed(tail, home.env), lambda: bench.do(home, "usage", "work"))
    least = f"{FLOOR_IS} + listing + the last 64 KB"
    return [at_most("usage", f"`usage` with {count:,} rollouts of 200 KB", least, floor, ours, 1.5)]


def row_sessions(bench: Bench) -> list[Line]:
    home = bench.home_with("work")
    sessions = home.clone_home("work") / ".codex" / "sessions"
    fill_prompts(sessions, 2000)
    heads = (*PYTHON, "-c", HEADS, str(sessions))
    floor, ours = medians(bench.rounds(20), lambda: timed(heads, home.env), lambda: bench.do(home, "sessions"))
    least = f"{FLOOR_IS} + listing + the same reads"
    return [at_most("sessions", "`sessions`, 30 of 2,000", least, floor, ours, 1.5)]


def fill_prompts(sessions: Path, count: int) -> None:
    """Rollouts as Codex 0.171 begins them, 22 KB of instructions before the prompt, and 300 KB of what came of it."""
    shape, now = Shape(), time.time() - count
    for number in range(count):
        lines = [*shape.beginning(an_id(number), f"prompt {number}", cwd="/w"), shape.says("assistant", "x" * 300_000)]
        write(sessions.parent, an_id(number), lines, at=now + number, day=f"2026/11/{number // 100 + 1:02d}")


def fill_sessions(sessions: Path, count: int) -> None:
    """Rollouts of 200 KB, sparse but for their last lines, over some hundred days; the last one is the newest."""
    limits = {
        "limit_id": "codex",
        "primary": {"used_percent": 12.5, "window_minutes": 300, "resets_at": int(time.time()) + 9000},
        "secondary": {"used_percent": 40.0, "window_minutes": 10080, "resets_at": int(time.time()) + 90000},
        "plan_type": "plus",
    }
    now = time.time() - count
    for number in range(count):
        moment = time.gmtime(now + number)
        day = sessions / f"2026/{number // 2800 + 1:02d}/{number // 100 % 28 + 1:02d}"
        day.mkdir(parents=True, exist_ok=True)
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", moment)
        event = {"timestamp": stamp, "type": "event_msg", "payload": {"type": "token_count", "rate_limits": limits}}
        line = json.dumps(event).encode() + b"\n"
        with open(day / f"rollout-2026-{number:06d}.jsonl", "wb") as file:
            file.truncate(200_000 - 100 * len(line))
            file.seek(0, os.SEEK_END)
            file.write(b"\n" + line * 100)
        os.utime(day / f"rollout-2026-{number:06d}.jsonl", (now + number, now + number))


def row_menu(bench: Bench) -> list[Line]:
    home = bench.home_with("work")
    crowd(home, 10)
    least = (*PYTHON, "-c", CURSES)
    floor, ours = medians(
        bench.rounds(20),
        lambda: first_frame(least, home.env, b"complete"),
        lambda: first_frame(bench.argv(), home.env, b"work2"),
    )
    return [
        at_most("menu", "first frame of the menu", f"{FLOOR_IS} + curses + initscr", floor, ours, 1.5),
        quick_enough("key to frame", key_to_frame(bench, home)),
    ]


def quick_enough(what: str, milliseconds: float) -> Line:
    return Line("menu", what, "-", 0, milliseconds, "< 5 ms", milliseconds < 5)


def key_to_frame(bench: Bench, home: Home) -> float:
    """Milliseconds, going down and up in the list when the menu has looked at everything."""
    with terminal(bench.argv(), home.env) as menu:
        menu.settled(0.5)
        keys = iter([b"\x1b[B", b"\x1b[A"] * 1000)
        [key] = medians(bench.rounds(50), lambda: menu.press(next(keys)))
        return key


def row_memory(bench: Bench) -> list[Line]:
    bare = bench.noted(bench.home())["memory"]
    home = bench.home(bench.fakes[0])
    commands: list[tuple[str, ...]] = [
        *(("--version",), ("create", "work"), ("create", "c"), ("list",), ("doctor",), ("usage",)),
        *(("update", "--all"), ("path", "status"), ("completion", "bash"), WORDS_TO_COMPLETE),
        *(("export", "work", "-o", str(bench.base / "x.tar.gz")), ("rename", "work", "w"), ("remove", "c", "--yes")),
    ]
    used = {" ".join(words): bench.noted(home, *words)["memory"] for words in commands}
    crowd(home, 1000)
    used["list of 1,000"] = bench.noted(home, "list")["memory"]
    worst = max(used, key=lambda words: used[words])
    what = f"memory of the hungriest of {len(used)} commands: `{worst.split(str(bench.base))[0].strip()}`"
    mb = 1e6
    return [
        Line(
            "memory",
            what,
            "Python with json, resource",
            bare / mb,
            used[worst] / mb,
            "+ 12 MB",
            used[worst] - bare <= 12 * mb,
            "MB",
        )
    ]


def row_disk(bench: Bench) -> list[Line]:
    home = bench.home_with("work", *(f"c{number}" for number in range(9)))
    one, ten = disk_of(pinned(home)) / 1e6, disk_of(home.mirror) / 1e6
    line = at_most("disk", "disk for ten clones of one version", "one copy", one, ten, 1.01, unit="MB")
    return [judged_with_the_real_one(bench, line)]


def row_growth(bench: Bench) -> list[Line]:
    """Each may take what it takes for one clone, and what reading the registry costs more than for one."""
    sizes = (1, 10, 100) if bench.quick else (1, 10, 100, 1000)
    homes = [bench.home_with("work", codex=bench.fakes[0]) for _ in sizes]
    for home, size in zip(homes, sizes, strict=True):
        crowd(home, size)
    names = (f"n{number}" for number in range(1000))
    deeds: dict[str, Callable[[Home], float]] = {
        "reading": lambda home: timed((*PYTHON, "-c", LOAD, str(home.mirror / "registry.json")), home.env),
        "list": lambda home: bench.do(home, "list"),
        "completion of a name": lambda home: bench.do(home, *WORDS_TO_COMPLETE),
        "create": lambda home: bench.do(home, "create", next(names)),
    }
    found = {what: medians(bench.rounds(15), *(partial(deed, home) for home in homes)) for what, deed in deeds.items()}
    reading = found.pop("reading")
    return [
        at_most("growth", f"{what}, {size:,} clones", "one clone + reading", one + read - reading[0], figure, 1.5)
        for what, (one, *others) in found.items()
        for size, figure, read in zip(sizes[1:], others, reading[1:], strict=True)
    ] + [
        quick_enough(f"key to frame, {size:,} clones", key_to_frame(bench, home))
        for home, size in zip(homes[1:], sizes[1:], strict=True)
    ]


ROWS: dict[str, Callable[[Bench], list[Line]]] = {
    "wrapper": row_wrapper,
    "start": row_start,
    "directory": row_directory,
    "crowd": row_crowd,
    "first": row_first,
    "fetch": row_fetch,
    "next": row_next,
    "update": row_update,
    "doctor": row_doctor,
    "usage": row_usage,
    "sessions": row_sessions,
    "menu": row_menu,
    "memory": row_memory,
    "disk": row_disk,
    "growth": row_growth,
}


# --- the table ---


def lines_of(bench: Bench, row: str) -> list[Line]:
    try:
        return ROWS[row](bench)
    except Missing as reason:
        return [Line(row, f"{row}: left out", "-", 0, 0, "-", None, note=str(reason))]


def table_of(lines: Sequence[Line]) -> str:
    verdicts = {True: "met", False: "NOT MET", None: "-"}
    cells = [("what", "floor, same run", "floor", "ours", "compared", "reach", "", "")]
    for line in lines:
        figures = [f"{figure:.1f} {line.unit}" if figure else "-" for figure in (line.floor, line.ours)]
        cells.append((line.what, line.floor_is, *figures, line.compared, line.reach, verdicts[line.met], line.note))
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join("  ".join(map(aligned, range(8), row, widths)).rstrip() for row in cells)


def aligned(column: int, cell: str, width: int) -> str:
    return cell.rjust(width) if column in (2, 3, 4) else cell.ljust(width)


def machine(bench: Bench) -> dict[str, Any]:
    return {
        "date": time.strftime("%Y-%m-%d"),
        "system": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
        "codex": str(bench.real) if bench.real else "a fake one of 40 MB",
        "load": round(os.getloadavg()[0], 1),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure the program beside the floor of the same run.")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--quick", action="store_true", help="fewer rounds and smaller crowds")
    parser.add_argument("--only", action="append", choices=tuple(ROWS), help="this row (repeatable)")
    parser.add_argument("--scratch", default="/var/tmp", help="where to work; a short path on an ordinary disk")
    chosen = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    base = Path(os.path.realpath(chosen.scratch)) / f"b{secrets.token_hex(3)}"
    base.mkdir(mode=0o700)
    os.chdir(base)
    try:
        bench = Bench(base, chosen.quick)
        lines = []
        for row in chosen.only or ROWS:
            print(f"measuring {row}", file=sys.stderr, flush=True)
            lines += lines_of(bench, row)
        facts = machine(bench)
    finally:
        os.chdir("/")
        discard(base)
    if chosen.json:
        rows = [{**line._asdict(), "compared": line.compared} for line in lines]
        print(json.dumps({**facts, "rows": rows}, indent=2, ensure_ascii=False))
    else:
        print(", ".join(f"{key}: {value}" for key, value in facts.items()), table_of(lines), sep="\n\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
