"""Ends the program at any of its file-system events, makes any of them fail, and judges what it left.

The stage is a process that has loaded the program once (`python faults.py PROGRAM`) and plays orders: it runs the
program's own `main`, unchanged, while an audit hook counts the events. At the n-th it ends the process at once, as
SIGKILL would, sends a signal, raises OSError, or waits: a tree photographed while the program stands still is what a
kill at that moment leaves, since nothing but the disk outlives a kill; test_faults.py kills some for real and compares.

Python tells no hook of write, fsync and copies inside the kernel, so the stage's `os` counts these too;
test_durability.py does it to the real system calls. On the stage the clock stands still and ids come from the order's
seed, so that two runs leave the same bytes, and a whole tree can be compared with another.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import gc
import hashlib
import json
import os
import random
import re
import resource
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import IO, Any, NamedTuple, NoReturn

import preloaded

from helpers import (
    API_KEYS,
    PROGRAM,
    REPO,
    Home,
    Process,
    discard,
    fake_codex,
    home_in_passwd,
    look_for_secrets,
    make_home,
    npm_install,
    quickest_place,
    start,
)

KILLED = 137
EXPLAINED = (0, 1, 2, 3, 5, 6, 129, 130, 143, KILLED)
MOMENT = 1_800_000_000.0
PATIENCE = 60  # Seconds after which a child that doesn't end is ended, and its test fails.


# --- figures: what the end of a test run tells ---

FIGURES: Counter[str] = Counter()
KINDS_OF_FIGURES = ("kill points tried", "failures injected", "bad inputs tried", "processes at once", "lost")


def tally(what: str, count: int = 1) -> None:
    """Adds to a figure; of `processes at once` the most counts."""
    assert what in KINDS_OF_FIGURES, what
    FIGURES[what] = max(FIGURES[what], count) if what == "processes at once" else FIGURES[what] + count


def figures() -> str:
    """The figures in one line, or nothing when no test of this kind ran."""
    tried = {what: FIGURES[what] for what in KINDS_OF_FIGURES[:-1] if FIGURES[what]}
    return (
        "; ".join(f"{what}: {count:,}" for what, count in [*tried.items(), ("lost", FIGURES["lost"])]) if tried else ""
    )


@cache
def tries_every_n() -> bool:
    """Every event, on the newest Python that is here or with CODEX_MIRROR_TEST_EVERY_N=1; else a sample of them."""
    said = os.environ.get("CODEX_MIRROR_TEST_EVERY_N")
    if said:
        return said in ("1", "2")
    listed = said_by(REPO / ".ci" / "python", "all").split()
    return not listed or said_by(listed[-1], "-c", "import sys; print(*sys.version_info[:2])") == said_by(
        sys.executable, "-c", "import sys; print(*sys.version_info[:2])"
    )


def tries_every_repair() -> bool:
    """Each repair of each kill, and not only those that do something else."""
    return os.environ.get("CODEX_MIRROR_TEST_EVERY_N") == "2"


def said_by(*argv: object) -> str:
    """What a program prints, started with the real HOME, below which pyenv's interpreters are."""
    env = {**os.environ, "HOME": home_in_passwd() or os.environ["HOME"]}
    return subprocess.run([*map(str, argv)], env=env, check=False, capture_output=True, text=True).stdout


SEED = int(os.environ.get("CODEX_MIRROR_TEST_SEED") or random.SystemRandom().randrange(1 << 32))


def sampled(what: str, points: Iterable[Any], share: float, *, always: bool = False) -> list[Any]:
    """All the points; or, on the other Pythons or `always`, a share of them that depends on the printed seed."""
    points = list(points)
    if (tries_every_n() and not always) or not points:
        return points
    count = max(1, round(len(points) * share))
    print(f"{what}: {count} of {len(points)} points, CODEX_MIRROR_TEST_SEED={SEED}")
    return [points[n] for n in sorted(random.Random(f"{SEED} {what}").sample(range(len(points)), count))]


# --- the stage: the process that plays orders ---


class Order(NamedTuple):
    """A command line to play. At event `at` (0: never) the process ends, or the event fails with `error`.

    `lasting` goes on: ENOSPC for all that needs room, any other error for everything but locks. `held` waits at each
    event until the audience says so. `signal` is what the process gets at `at`, instead of ending, and once more that
    many events later as `again` says. `reads` counts the events that only read instead. `durable` leaves the calls of
    `os` alone, so that fsync is one; `file_size` is what RLIMIT_FSIZE allows (-1: anything)."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: str
    seed: int
    at: int = 0
    error: int = 0
    lasting: bool = False
    held: bool = False
    signal: int = 0
    again: int = 0
    reads: bool = False
    durable: bool = False
    file_size: int = -1


class Played(NamedTuple):
    """How an order ended: exit code, outputs, and its events up to the one that was hit."""

    code: int
    out: str
    err: str
    events: tuple[str, ...]


CHANGES = frozenset(
    "os.rename os.mkdir os.link os.symlink os.remove os.rmdir os.chmod os.chown os.truncate os.utime os.setxattr "
    "fcntl.flock fcntl.lockf fcntl.fcntl fcntl.ioctl subprocess.Popen "
    "os.write os.pwrite os.fsync os.copy_file_range".split()
)
READS = frozenset("os.listdir os.scandir os.listxattr".split())
NEED_ROOM = frozenset("open os.mkdir os.link os.symlink os.write os.pwrite os.copy_file_range".split())
TO_WRITE = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
REAL = {
    name: getattr(os, name) for name in ("write", "pwrite", "copy_file_range", "fsync", "urandom") if hasattr(os, name)
}
REAL_TIME = time.time


class Trap:
    """Counts the events of one order, and springs at the n-th."""

    def __init__(self, order: Order, hold: Callable[[str], None]) -> None:
        self.order, self.hold, self.events = order, hold, list[str]()

    def counts(self, event: str, args: tuple[Any, ...]) -> bool:
        """Is it an event that changes something (or, where the order says so, one that reads)?"""
        if event == "open":
            path, _, flags = args
            if isinstance(path, str) and path.startswith(("/dev/null", "/proc/", sys.base_prefix, sys.prefix)):
                return False
            return bool((flags or 0) & TO_WRITE) != self.order.reads
        if self.order.reads:
            return event in READS
        return event in CHANGES or event.startswith("shutil.")

    def heard(self, event: str, args: tuple[Any, ...]) -> None:
        order = self.order
        if not self.counts(event, args):
            return
        self.events.append(f"{event} {args[0]}")
        if order.held:
            self.hold(self.events[-1])
        elif order.at and order.error and self.is_hit(event):
            raise OSError(order.error, os.strerror(order.error), args[0] if isinstance(args[0], str) else None)
        elif order.signal and len(self.events) in (order.at, order.again and order.at + order.again):
            os.kill(os.getpid(), order.signal)
        elif order.at == len(self.events) and not order.signal:
            os._exit(KILLED)

    def is_hit(self, event: str) -> bool:
        if not self.order.lasting or len(self.events) <= self.order.at:
            return len(self.events) == self.order.at
        return event in NEED_ROOM if self.order.error == errno.ENOSPC else not event.startswith("fcntl.")


TRAPS: list[Trap] = []
ONE_AT_A_TIME = threading.Lock()
INSIDE = threading.local()


def hook(event: str, args: tuple[Any, ...]) -> None:
    """Hands the event to the trap; what the trap itself does is none."""
    if not TRAPS or getattr(INSIDE, "trap", False):
        return
    with ONE_AT_A_TIME:
        INSIDE.trap = True
        try:
            TRAPS[0].heard(event, args)
        finally:
            INSIDE.trap = False


def heard_write(file: int, content: Any) -> int:
    """A write is two events, so that one may end in its middle."""
    hook("os.write", (file,))
    half = REAL["write"](file, content[: len(content) // 2])
    hook("os.write", (file,))
    return int(half + REAL["write"](file, content[half:]))


def heard(name: str) -> Callable[..., Any]:
    """A function of `os` that is an event as well."""

    def function(*args: Any) -> Any:
        hook(f"os.{name}", args)
        return REAL[name](*args)

    return function


def heard_fsync(file: int) -> None:
    """Only an event: whoever ends a process loses nothing of what it had written."""
    hook("os.fsync", (file,))


def hear_signals() -> None:
    """Signals as a terminal's shell leaves them; whoever starts the tests in the background has them ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def loaded(program: str) -> ModuleType:
    """The program, loaded with all that it imports later, with the machine's certificates read once."""
    module = preloaded.loaded(program)
    tls: Any = sys.modules["ssl"]
    # Every opener of addresses reads them anew, which takes longer than all else that it does.
    tls._create_default_https_context = cache(tls._create_default_https_context)
    return module


class Players(NamedTuple):
    """What the stage plays with: the program, the audience's two pipes, and those into which its outputs go."""

    module: ModuleType
    program: str
    orders: IO[str]
    answers: IO[str]
    out: int
    err: int

    def hold(self, event: str) -> None:
        print(json.dumps({"held": event}), file=self.answers, flush=True)
        self.orders.readline()


def serve(program: str) -> None:
    """Plays the orders that come on stdin, one JSON document a line, and answers each with one."""
    orders, answers = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.addaudithook(hook)
    own = os.dup(2)
    players = Players(loaded(program), program, orders, answers, pipe_from(1), pipe_from(2))
    gc.collect()
    gc.freeze()
    for name, output in (("stdout", 1), ("stderr", 2)):
        setattr(sys, name, os.fdopen(output, "w", closefd=False))
    try:
        for line in orders:
            print(json.dumps(played(players, Order(*json.loads(line)))), file=answers, flush=True)
    except BaseException:
        os.dup2(own, 2)
        raise


def pipe_from(output: int) -> int:
    """The other end of a pipe in the place of an output; a full disk and a limit of size don't concern it."""
    reading, writing = os.pipe()
    os.dup2(writing, output)
    os.close(writing)
    os.set_blocking(reading, False)
    return reading


def said_into(pipe: int) -> str:
    try:
        return os.fsdecode(os.read(pipe, 1 << 16))
    except BlockingIOError:
        return ""


def play_alone(program: str, order: Order) -> NoReturn:
    """Plays one order in this very process, on its own outputs, and ends as the program ends."""
    sys.addaudithook(hook)
    sys.exit(performed(loaded(program), program, order, Trap(order, lambda event: None)))


def play_together(program: str, orders: Sequence[Order]) -> None:
    """Plays all orders at once, each in a child of its own with its own clock and ids; answers with how each ended."""
    module = loaded(program)
    waiting, gun = os.pipe()
    with contextlib.ExitStack() as stack:
        outputs = [[stack.enter_context(tempfile.TemporaryFile()) for _ in range(2)] for _ in orders]
        pids = []
        for order, files in zip(orders, outputs, strict=True):
            pids.append(os.fork())
            if not pids[-1]:
                os.read(waiting, 1)
                play_as_it_is(module, program, order, files)
        os.write(gun, b"!" * len(pids))
        codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
        answers = [Played(code, *map(written, files), ()) for code, files in zip(codes, outputs, strict=True)]
    print(json.dumps(answers))


def play_until(program: str, order: Order, number: int, seconds: float) -> None:
    """Plays one order in a child that gets a signal some time after its first event, and answers with how it ended."""
    module = loaded(program)
    waiting, ready = os.pipe()
    sys.addaudithook(hook)
    with tempfile.TemporaryFile() as out:
        pid = os.fork()
        if not pid:
            for stream in (1, 2):
                os.dup2(out.fileno(), stream)
            told = [ready]
            os._exit(performed(module, program, order, Trap(order, lambda event: tell_once(told))))
        os.read(waiting, 1)
        time.sleep(seconds)
        os.kill(pid, number)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        print(json.dumps(Played(code, "", written(out), ())))


def tell_once(pipes: list[int]) -> None:
    while pipes:
        REAL["write"](pipes.pop(), b"!")


def play_as_it_is(module: ModuleType, program: str, order: Order, outputs: Sequence[IO[bytes]]) -> NoReturn:
    """The program without a trap, in a child."""
    for number, file in enumerate(outputs, 1):
        os.dup2(file.fileno(), number)
    preloaded.take_place([program, *order.argv], order.env, order.cwd)
    os._exit(preloaded.ended(module))


def written(file: IO[bytes]) -> str:
    file.seek(0)
    return os.fsdecode(file.read())


def played(players: Players, order: Order) -> Played:
    """Plays one order; one that is to be killed in a child of its own."""
    trap = Trap(order, players.hold)
    if order.at and not order.error:
        pid = os.fork()
        if not pid:
            os._exit(performed(players.module, players.program, order, trap))
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    else:
        code = performed(players.module, players.program, order, trap)
    return Played(code, said_into(players.out), said_into(players.err), tuple(trap.events))


def performed(module: ModuleType, program: str, order: Order, trap: Trap) -> int:
    """The program's `main` in the order's environment, with the trap set."""
    signal.alarm(PATIENCE)
    hear_signals()
    preloaded.take_place([program, *order.argv], order.env, order.cwd)
    changed: dict[str, Any] = {"urandom": random.Random(order.seed).randbytes}
    if not order.durable:
        changed |= {"write": heard_write, "fsync": heard_fsync}
        changed |= {name: heard(name) for name in ("pwrite", "copy_file_range") if name in REAL}
    for name, function in changed.items():
        setattr(os, name, function)
    time.time = lambda: MOMENT
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    TRAPS.append(trap)
    try:
        if order.file_size >= 0:
            resource.setrlimit(resource.RLIMIT_FSIZE, (order.file_size, hard))
        return preloaded.ended(module)
    finally:
        TRAPS.clear()
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.alarm(0)
        for name, function in REAL.items():
            setattr(os, name, function)
        time.time = REAL_TIME


class Stage:
    """The stage as its audience sees it: `stage.play("create", "work", at=7)` ends that command at its 7th event."""

    def __init__(self, home: Home, program: Path = PROGRAM) -> None:
        self.home = home
        pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        argv = [sys.executable, "-S", "-B", __file__, str(program)]
        self.process = subprocess.Popen(argv, env=home.env, **pipes)

    def __enter__(self) -> Stage:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()

    def play(
        self,
        *argv: str,
        env: Mapping[str, str] | None = None,
        seed: int = 1,
        at_each: Callable[[str], None] | None = None,
        **more: Any,
    ) -> Played:
        """Plays it to its end; `at_each` is called before every event, while the program stands still."""
        order = Order(argv, {**self.home.env, **(env or {})}, str(self.home.home), seed, held=bool(at_each), **more)
        self.tell(json.dumps(order))
        while isinstance(answer := self.answer(), dict):
            assert at_each
            at_each(answer["held"])
            self.tell("go on")
        result = Played(*answer)
        look_for_secrets(argv, result.out + result.err)
        assert result.code in EXPLAINED, f"{argv} with {more} ended like this: {result}"
        return result

    def tell(self, line: str) -> None:
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def answer(self) -> Any:
        line = self.process.stdout.readline()
        assert line, "the stage broke down; why stands above"
        return json.loads(line)

    def must(self, *argv: str, **more: Any) -> Played:
        result = self.play(*argv, **more)
        assert result.code == 0, (argv, result)
        return result


def together(home: Home, *commands: Sequence[str], **env: str) -> list[Played]:
    """All these commands at once, each a process of its own with its own clock and ids; how each ended."""
    orders = [Order(tuple(argv), {**home.env, **env}, str(home.home), 0) for argv in commands]
    argv = [sys.executable, "-S", "-B", __file__, str(PROGRAM), "together"]
    ended = subprocess.run(argv, input=json.dumps(orders), env=home.env, stdout=subprocess.PIPE, check=True, text=True)
    tally("processes at once", len(commands))
    results = [Played(*answer) for answer in json.loads(ended.stdout)]
    for result in results:
        look_for_secrets("one of many", result.out + result.err)
    return results


def played_until(home: Home, argv: Sequence[str], number: int, seconds: float, **env: str) -> Played:
    """A command in a process of its own that gets this signal so many seconds after its first event."""
    order = Order(tuple(argv), {**home.env, **env}, str(home.home), 1, held=True)
    words = [sys.executable, "-S", "-B", __file__, str(PROGRAM), "until", str(int(number)), str(seconds)]
    ended = subprocess.run(words, input=json.dumps(order), env=home.env, stdout=subprocess.PIPE, check=True, text=True)
    return Played(*json.loads(ended.stdout))


def started_alone(home: Home, *argv: str, **more: Any) -> Process:
    """A command in a process of its own, with a trap; `finish` waits for it."""
    return start(words_alone(home, *argv, **more), env=home.env)


def words_alone(home: Home, *argv: str, **more: Any) -> list[str]:
    """The command line of a process that plays this order and nothing else."""
    order = Order(argv, home.env, str(home.home), 1, **more)
    return [sys.executable, "-S", "-B", __file__, str(PROGRAM), "alone", json.dumps(order)]


# --- pictures: whole trees, to be compared and put back ---


class Thing(NamedTuple):
    """One entry of a tree; `twin` is the first path of the same inode, and `mtime` stands for files alone."""

    kind: str
    mode: int
    content: bytes = b""
    twin: str = ""
    mtime: int = 0


Picture = dict[str, Thing]
OFF_STAGE = ("npm", "package", "packages", "t")  # Below the base of a home: what no command of ours changes.


def picture(base: Path) -> Picture:
    """Everything below a home's base, but for what is off the stage; {relative path: thing}, parents first."""
    found: Picture = {"": Thing("dir", stat.S_IMODE(os.stat(base).st_mode))}
    twins: dict[tuple[int, int], str] = {}

    def add(directory: str, prefix: str) -> None:
        with os.scandir(directory) as listed:
            entries = sorted(listed, key=lambda entry: entry.name)
        for entry in entries:
            name, facts = prefix + entry.name, entry.stat(follow_symlinks=False)
            if stat.S_ISDIR(facts.st_mode):
                if name not in OFF_STAGE:
                    found[name] = Thing("dir", stat.S_IMODE(facts.st_mode))
                    add(entry.path, name + "/")
            elif stat.S_ISLNK(facts.st_mode):
                found[name] = Thing("link", 0, os.fsencode(os.readlink(entry.path)))
            else:
                twin = twins.setdefault((facts.st_dev, facts.st_ino), name) if facts.st_nlink > 1 else ""
                mode = stat.S_IMODE(facts.st_mode)
                found[name] = Thing("file", mode, content_of(entry.path), twin, facts.st_mtime_ns)

    add(os.fspath(base), "")
    return found


def content_of(path: str) -> bytes:
    file = os.open(path, os.O_RDONLY)
    try:
        return os.read(file, 1 << 20)
    finally:
        os.close(file)


def put_back(base: Path, wanted: Picture, now: Picture | None = None) -> None:
    """Makes the tree the one in the picture again, hard links and times included; `now` is how it is, if known."""
    now = picture(base) if now is None else now
    wrong = {name for name, thing in wanted.items() if now.get(name) != thing}
    groups = {wanted[name].twin for name in wrong if wanted[name].twin}
    groups |= {thing.twin for name, thing in now.items() if thing.twin and wanted.get(name) != thing}
    wrong |= {name for name, thing in wanted.items() if thing.twin and thing.twin in groups}
    for name in reversed(now):
        if name not in wanted or (name in wrong and not now[name].kind == wanted[name].kind == "dir"):
            (os.rmdir if now[name].kind == "dir" else os.unlink)(base / name)
    for name, thing in wanted.items():
        if name in wrong:
            lay_down(base, name, thing)
    for name in wanted:
        if PLANS.fullmatch(name):
            renew_marks(base / name)


PLANS = re.compile(r"m/(journal|(finish|clear)-[0-9a-f]+)\.json")


def renew_marks(path: Path) -> None:
    """Gives a plan that was laid down the inodes of what was laid down with it: it is to be deleted, as it was."""
    try:
        plan = json.loads(path.read_bytes())
    except ValueError:
        return
    for mark in plan.get("marks", ()):
        for there in (mark[0], f"{mark[0]}.gone-{plan['id']}"):
            if os.path.lexists(there):
                facts = os.lstat(there)
                mark[1:] = [facts.st_ino, 0 if stat.S_ISDIR(facts.st_mode) else facts.st_mtime_ns]
    path.write_text(json.dumps(plan))


def lay_down(base: Path, name: str, thing: Thing) -> None:
    path = base / name
    if thing.kind == "link":
        path.symlink_to(os.fsdecode(thing.content))
        return
    if thing.twin and thing.twin != name:
        os.link(base / thing.twin, path)
        return
    if thing.kind == "dir":
        path.mkdir(exist_ok=True)
    else:
        path.write_bytes(thing.content)
    path.chmod(thing.mode)
    if thing.kind == "file":
        os.utime(path, ns=(thing.mtime, thing.mtime))


IDS = (
    (re.compile(rb"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}"), b"UUID"),
    (re.compile(rb"-[0-9a-f]{8}(?![0-9a-z])"), b"-ID"),
    (re.compile(rb'"lastChange": "[0-9a-f]*"'), b'"lastChange": ""'),
    (re.compile(rb"sha256:[0-9a-f]{16}"), b"SEAL"),
)
PASSING = re.compile(
    r"m/(lock|login\.lock|reserve|registry\.json\.previous|\.codex-mirror-home|\.gitignore|events\.log)"
    r"|.*/logs/events\.log"
)


def plain(content: bytes) -> bytes:
    """The bytes without what differs from one run to the next."""
    for pattern, word in IDS:
        content = pattern.sub(word, content)
    return content


# The texts in locks name a process.
NAMES_A_PROCESS = ("m/lock", "m/registry.json.lock", "m/registry.json.lock.new")
SINCE = re.compile(rb'("since": )[0-9.]+')


def timeless(name: str, thing: Thing) -> bytes:
    """The content without what depends on the moment."""
    if name.endswith("/.manifest.json"):
        # A fetched file was nowhere else before: its source is the inode that it has.
        return re.sub(rb"\[\d+, \d+, (?=\d+, TIME)", b"[INODE, ", re.sub(rb"\b\d{15,}\b", b"TIME", thing.content))
    if PLANS.fullmatch(name.removesuffix(".new")) or name == "m/.journal.json.codex-mirror-new":
        return thing.content.partition(b'"marks"')[0]
    if b'"since": ' in thing.content:
        return SINCE.sub(rb"\1TIME", thing.content)
    if name.startswith(("m/.codex-mirror-home", "m/..codex-mirror-home")):  # It names the inode of the home itself.
        return thing.content.partition(b', "device"')[0]
    return b"" if name in NAMES_A_PROCESS else thing.content


def essence(now: Picture) -> Picture:
    """The picture without ids, times, links and what may differ (the lock's text, the registry before, the log)."""
    found: Picture = {}
    for name, thing in now.items():
        if PASSING.fullmatch(name):
            continue
        content = plain(timeless(name, thing))
        found[plain(name.encode()).decode()] = thing._replace(content=content, twin="", mtime=0)
    return found


def key_of(now: Picture) -> tuple[object, ...]:
    """What two equal pictures have in common; the text in the lock names a process, and times pass."""
    return tuple((name, thing.kind, thing.mode, timeless(name, thing), thing.twin) for name, thing in now.items())


def rows_in(now: Picture) -> list[dict[str, Any]]:
    """The registry's rows in a picture; none where it can't be read."""
    try:
        return list(json.loads(now[REGISTRY].content)["clones"])
    except (KeyError, ValueError):
        return []


def units(now: Picture, base: Path, owners: Mapping[str, str]) -> dict[str, dict[str, object]]:
    """The essence in parts that change as a whole: a clone with its row and wrapper, or one entry of the user's."""
    parts: dict[str, dict[str, object]] = {}
    for row in rows_in(now):
        root = os.path.relpath(row["rootPath"], base)
        parts.setdefault(root, {})["row"] = plain(SINCE.sub(rb"\1TIME", json.dumps(row, sort_keys=True).encode()))
    for name, thing in essence(now).items():
        if name != REGISTRY:
            parts.setdefault(owner_of(name, owners), {})[name] = thing
    return parts


def owner_of(name: str, owners: Mapping[str, str]) -> str:
    """The clone (by its root) to which a path belongs; the path itself when it is nobody's."""
    above = name
    while above and above not in owners:
        above = os.path.dirname(above)
    return owners.get(above, name)


REGISTRY = "m/registry.json"


def neither(now: Picture, base: Path, *allowed: Picture) -> list[str]:
    """The parts of a picture that are as in none of those allowed, such as before and after, with what differs."""
    owners: dict[str, str] = {}
    for one in (now, *allowed):
        for row in rows_in(one):
            root = os.path.relpath(row["rootPath"], base)
            owners |= {root: root, os.path.relpath(row["wrapperPath"], base): root}
    parts, choices = units(now, base, owners), [units(one, base, owners) for one in allowed]
    found = []
    for key in dict.fromkeys(key for one in (parts, *choices) for key in one):
        part = parts.get(key, {})
        if all(part != choice.get(key, {}) for choice in choices):
            found.append(f"{key or '.'} is neither as before nor as after: {differences(part, choices, key)}")
    return found


def differences(part: Mapping[str, object], choices: Collection[Mapping[str, Any]], key: str) -> str:
    """What differs from each choice, in a few words."""
    said = []
    for choice in choices:
        other = choice.get(key, {})
        names = [name for name in dict.fromkeys((*part, *other)) if part.get(name) != other.get(name)]
        said.append(
            ", ".join(f"{'+' if name not in other else '-' if name not in part else '~'}{name}" for name in names[:6])
        )
    return " | ".join(said)


# --- what must hold in a home, whatever happened ---

MARK = re.compile(rb"#!/bin/sh\n# codex-mirror wrapper of clone ([0-9a-f-]{36}) ")
LEFT = re.compile(r".*\.(new|gone|part)(-[0-9a-f]{8})?|\..*\.codex-mirror-([0-9a-f]{8}|new)|scratch-.*|.*\.tmp(-.*)?")
OF_MIRROR = re.compile(
    r"registry\.json(\.previous|\.broken-[0-9a-f]{8})?|lock|login\.lock|reserve|clones|shim|\.codex-mirror-home"
    r"|\.gitignore|events\.log"
)
OF_BASE = {"bin", "browser", "env", "git", "clone.json", "runtime", "home", "logs", ".gitignore"}


def complaints(home: Home, strangers: Collection[str] = ()) -> list[str]:
    """What doesn't agree in a home at rest, in words; `strangers` are paths (relative to the base) that are nobody's.

    Registry, clone directories and wrappers name each other and nobody else; every pinned byte is as its manifest says;
    nothing is left of any change; no lock is held; rc files have our block whole or not at all."""
    now = picture(home.base)
    return [
        *complaints_about_rows(now, home),
        *complaints_about_strays(now, home, strangers),
        *complaints_about_rc_files(now),
        *complaints_about_lock(home),
    ]


def complaints_about_rows(now: Picture, home: Home) -> Iterator[str]:
    if REGISTRY not in now:
        return
    rows = rows_in(now)
    for key in ("id", "name", "rootPath", "wrapperPath"):
        if doubled := [value for value, count in Counter(row[key] for row in rows).items() if count > 1]:
            yield f"two rows have the {key} {doubled}"
    for row in rows:
        base = os.path.relpath(row["rootPath"], home.base) + "/.codex-mirror"
        yield from (f"{row['name']}: {what}" for what in complaints_about_clone(now, home, row, base))


def complaints_about_clone(now: Picture, home: Home, row: Mapping[str, Any], base: str) -> Iterator[str]:
    own = now.get(f"{base}/clone.json")
    if not own or json.loads(own.content or b"null") != row:
        yield "its clone.json isn't its row"
    for directory in (base, f"{base}/home", f"{base}/home/.codex"):
        if now.get(directory) != Thing("dir", 0o700):
            yield f"{directory} is {now.get(directory)}"
    wrapper = now.get(os.path.relpath(row["wrapperPath"], home.base))
    mark = MARK.match(wrapper.content) if wrapper else None
    if not wrapper or not mark or mark[1].decode() != row["id"] or wrapper.mode != 0o755:
        yield f"its wrapper is {'missing' if not wrapper else 'not its own, or has another mode'}"
    elif f"cm_codex='{row['runtimeEntryPath']}'".encode() not in wrapper.content:
        yield "its wrapper starts something else"
    runtimes = [row["runtimePath"], *([row["previousRuntime"]["path"]] if row["previousRuntime"] else [])]
    names = {os.path.relpath(path, home.base) for path in runtimes}
    there = {name for name in now if os.path.dirname(name) == f"{base}/runtime"}
    if names != there:
        yield f"its runtimes should be {sorted(names)} and are {sorted(there)}"
    for name in names & there:
        yield from complaints_about_pin(now, name)


def complaints_about_pin(now: Picture, runtime: str) -> Iterator[str]:
    manifest = now.get(f"{runtime}/.manifest.json")
    files = json.loads(manifest.content)["files"] if manifest else []
    pinned = {f"{runtime}/{path}": (mode, sha256, mtime) for path, mode, sha256, _, mtime, _ in files}
    there = {name for name in now if name.startswith(runtime + "/") and now[name].kind != "dir"}
    if there != {*pinned, f"{runtime}/.manifest.json"}:
        yield f"{runtime} has other files than its manifest: {sorted(there ^ set(pinned))}"
    for name in there & set(pinned):
        thing = now[name]
        if (thing.mode, hashlib.sha256(thing.content).hexdigest(), thing.mtime) != pinned[name]:
            yield f"{name} isn't as it was pinned"


def complaints_about_strays(now: Picture, home: Home, strangers: Collection[str]) -> Iterator[str]:
    """What belongs to no row, and what a change left."""
    rows = rows_in(now)
    roots = {os.path.relpath(row["rootPath"], home.base) for row in rows}
    ids = {row["id"] for row in rows}
    for name, thing in now.items():
        directory, last = os.path.split(name)
        if name in strangers:
            continue
        if directory == "m" and not OF_MIRROR.fullmatch(last):
            yield f"{name} is left in the mirror home"
        elif directory == "m/clones" and name not in roots:
            yield f"{name} is the root of no clone"
        elif last == ".codex-mirror" and directory not in roots:
            yield f"{name} is a clone that isn't in the registry"
        elif directory.endswith("/.codex-mirror") and last not in OF_BASE:
            yield f"{name} is left in a clone"
        elif LEFT.fullmatch(last):
            yield f"{name} is left"
        elif thing.kind == "file" and (mark := MARK.match(thing.content)) and mark[1].decode() not in ids:
            yield f"{name} is the wrapper of no clone"


def complaints_about_rc_files(now: Picture) -> Iterator[str]:
    for name, thing in now.items():
        counts = [thing.content.count(word + b" codex-mirror PATH " + word) for word in (b">>>", b"<<<")]
        if name.startswith("h/") and counts not in ([0, 0], [1, 1]):
            yield f"{name} has {counts} markers of ours"


def complaints_about_lock(home: Home) -> Iterator[str]:
    with contextlib.suppress(FileNotFoundError), open(home.mirror / "lock", "rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield "somebody holds the lock"


# --- the home in which the operations play ---

CODEX = """#!/bin/sh
# The least that the program asks of a Codex.
[ "$*" = --version ] || : >>"$CODEX_HOME/.touched"
case "$*" in
--version) echo "codex-cli VERSION" ;;
"login status")
    [ -e "$CODEX_HOME/auth.json" ] || { echo "Not logged in" >&2; exit 1; }
    echo "Logged in using ChatGPT" >&2 ;;
login*) printf '{"auth_mode": "apikey", "OPENAI_API_KEY": "%s"}' "$NEW_KEY" >"$CODEX_HOME/auth.json" ;;
"features disable "*)
    grep -q "^$3 = false" "$CODEX_HOME/config.toml" ||
        printf '[features]\\n%s = false\\n' "$3" >>"$CODEX_HOME/config.toml" ;;
*) echo "$*" >>"$CODEX_HOME/history.jsonl" ;;
esac
"""


def small_codex(home: Home, version: str) -> Path:
    """A package whose Codex is a few lines of sh, made once."""
    package = home.base / "packages" / version
    return package if package.exists() else fake_codex(package, version, body=CODEX.replace("VERSION", version))


@contextlib.contextmanager
def furnished(place: Path | None = None) -> Iterator[tuple[Home, Stage]]:
    """A home with clones, logins, sessions, rc files and strangers' files, made by the program itself."""
    base = (place or quickest_place()) / f"c{os.urandom(3).hex()}"
    base.mkdir(mode=0o700)
    try:
        home = make_home(base)
        (base / "packages").mkdir()
        home.put_on_path(npm_install(base / "npm", small_codex(home, "0.154.0")).parent)
        with Stage(home) as stage:
            furnish(home, stage)
            yield home, stage
    finally:
        discard(base)


def furnish(home: Home, stage: Stage) -> None:
    """`work` was updated once and can be rolled back and updated; `other`, of the newest Codex, is the bystander."""
    stage.must("create", "work", seed=11)
    npm_install(home.base / "npm", small_codex(home, "0.160.0"))
    stage.must("update", "work", seed=12)
    npm_install(home.base / "npm", small_codex(home, "0.169.0"))
    stage.must("create", "other", seed=13)
    for key, name in zip(API_KEYS, ("work", "other"), strict=True):
        codex_home = home.clone_home(name) / ".codex"
        (codex_home / "auth.json").write_text(json.dumps({"auth_mode": "apikey", "OPENAI_API_KEY": key}))
        session = codex_home / "sessions" / "2026" / "11" / "22" / "rollout-2026-11-22-a.jsonl"
        session.parent.mkdir(parents=True)
        session.write_text('{"type": "session_meta"}\n')
        (codex_home / ".touched").touch()
    (home.home / ".bashrc").write_bytes(b"alias ll='ls -l'\n# caf\xe9 \xff\x00 bytes\nexport A=1")
    (home.home / ".profile").write_bytes(b"# read at login\r\n. ~/.bashrc\r\n")
    (home.bin / "tool").write_text("#!/bin/sh\necho a stranger's\n")
    (home.base / "r").mkdir()
    (home.base / "r" / "notes.txt").write_text("a stranger's\n")


if __name__ == "__main__":
    match sys.argv[1:]:
        case [program, "alone", order]:
            play_alone(program, Order(*json.loads(order)))
        case [program, "until", number, seconds]:
            play_until(program, Order(*json.load(sys.stdin)), int(number), float(seconds))
        case [program, "together"]:
            play_together(program, [Order(*order) for order in json.load(sys.stdin)])
        case [program]:
            serve(program)
