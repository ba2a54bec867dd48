"""What must be on the disk before what, seen in the system calls; and those failing that Python tells no hook of.

Nobody can pull a plug here, so the order of the calls stands for it: bytes before their name, a name before the deeds
that rest on it, and everything before the journal goes.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from faults import sampled, tally, tries_every_n, words_alone
from helpers import Result
from helpers import run as run_program
from operations import Judge, Operation, Theatre, named, opened_theatre, undisturbed
from rooms import cm


def strace_works() -> bool:
    argv = ["strace", "-e", "trace=none", "true"]
    return bool(shutil.which("strace")) and subprocess.run(argv, check=False, capture_output=True).returncode == 0


pytestmark = [
    pytest.mark.faults,
    pytest.mark.skipif(not strace_works(), reason="needs strace, and leave to use it"),
]

DURABLE = [
    named(name)
    for name in (
        *("create the first", "create --root", "update all by copying", "rollback", "rename", "remove", "set"),
        *("wrapper install --bin-dir", "path setup of dotfiles", "path setup of a new file", "path remove"),
        *("doctor --fix: runtime", "doctor --fix: pin", "import --move-login", "export"),
    )
]


@pytest.fixture(scope="module")
def theatre() -> Iterator[Theatre]:
    with opened_theatre() as theatre:
        yield theatre


class Call(NamedTuple):
    """One system call that succeeded: its name, and the paths in it."""

    name: str
    paths: tuple[str, ...]


TRACED = "openat,write,pwrite64,copy_file_range,ftruncate,fsync,rename,link,linkat,symlink,unlink,unlinkat,mkdir,rmdir"
DEEDS = {"linkat": "link", "unlinkat": "unlink", "rmdir": "unlink", "openat": "create"}
DOOMED = re.compile(r"\.gone-[0-9a-f]{8}\Z")
FLEETING = re.compile(r".*/m/(lock|registry\.json\.lock(\.new)?|scratch-[0-9a-f]{8}(/.*)?)")


def traced(theatre: Theatre, operation: Operation, *options: str) -> tuple[Result, list[str]]:
    """Plays an operation in a process of its own, under strace; how it ended, and strace's lines."""
    log = theatre.home.base / "t" / "strace"
    words = words_alone(theatre.home, *map(theatre.path, operation.argv), durable=True)
    argv = ["strace", "-y", "-s", "500", "-o", log, *options, *words]
    result = run_program(argv, env={**theatre.home.env, **operation.env})
    return result, log.read_text(errors="replace").splitlines()


def calls_of(theatre: Theatre, operation: Operation) -> list[Call]:
    """What a command does to files below the base, oldest first."""
    result, lines = traced(theatre, operation, "-e", f"trace={TRACED}")
    assert result.code == 0, result
    return [call for line in lines if (call := call_in(line, str(theatre.home.base)))]


def call_in(line: str, base: str) -> Call | None:
    """The call in a line of strace, if it succeeded and changes, or makes durable, something below the base."""
    match = re.match(r"(\w+)\((.*)\) += \d+", line)
    if not match or f"{base}/t/" in line or (match[1] == "openat" and "O_CREAT" not in line):
        return None
    name, arguments = match[1], match[2]
    if name in ("write", "pwrite64", "copy_file_range", "ftruncate", "fsync"):
        paths = re.findall(r"\d+<(/[^>]*)>", arguments)[-1:]
    else:
        directory = re.match(r"\d+<([^>]*)>", arguments)
        paths = [os.path.join(directory[1] if directory else "", word) for word in re.findall(r'"([^"]*)"', arguments)]
    if not paths or not paths[-1].startswith(base):
        return None
    return Call("write" if name in ("pwrite64", "copy_file_range") else DEEDS.get(name, name), tuple(paths))


class Disk:
    """What would be missing after a power cut: bytes whose file, and names whose directory, was not synced since."""

    def __init__(self) -> None:
        self.bytes: set[str] = set()
        self.names: set[str] = set()
        self.gone: set[str] = set()  # What was set aside to be discarded, and whose name may come back.
        self.wrong: list[str] = []

    def missing(self) -> list[str]:
        return sorted(path for path in self.bytes | self.names | self.gone if not FLEETING.fullmatch(path))

    def note(self, call: Call) -> None:
        path = call.paths[-1]
        if call.name in ("write", "ftruncate"):
            self.bytes.add(path)
        elif call.name == "fsync":
            self.bytes.discard(path)
            self.names = {name for name in self.names if os.path.dirname(name) != path}
            self.gone = {name for name in self.gone if os.path.dirname(name) != path}
        elif call.name == "unlink":
            if torn := [name for name in self.names if DOOMED.search(name) and path.startswith(name + "/")]:
                self.wrong.append(f"{path} goes before {torn[0]} has lost its old name for good")
            self.move(path, None)
            self.gone |= {path} if DOOMED.search(path) else set()
        else:
            if call.name in ("rename", "link") and call.paths[0] in self.bytes and not FLEETING.fullmatch(path):
                self.wrong.append(f"{path} has its name before its bytes are on the disk")
            if call.name == "rename":
                self.move(call.paths[0], path)
            self.names.add(path)

    def move(self, old: str, new: str | None) -> None:
        """Everything at or below the old path is now at the new one, or gone."""
        for group in (self.bytes, self.names):
            for path in [path for path in group if path == old or path.startswith(old + "/")]:
                group.discard(path)
                if new:
                    group.add(new + path[len(old) :])


@pytest.mark.parametrize("operation", DURABLE, ids=lambda operation: operation.name.replace(" ", "-"))
def test_bytes_before_names_before_deeds_before_the_journal_goes(theatre: Theatre, operation: Operation) -> None:
    run = undisturbed(theatre, operation)
    theatre.put_back(run.before)
    calls = calls_of(theatre, operation)
    mirror, disk = str(theatre.home.mirror), Disk()
    assert any(call.name == "fsync" for call in calls)
    for call, following in zip(calls, [*calls[1:], None], strict=True):
        if call.paths[-1] == f"{mirror}/registry.json" and call.name == "rename":
            disk.wrong += [f"not on the disk at the commit: {path}" for path in missing_besides_registry(disk, mirror)]
        if call == Call("unlink", (f"{mirror}/journal.json",)):
            disk.wrong += [f"not on the disk when the journal goes: {path}" for path in disk.missing()]
        disk.note(call)
        truth = call.name == "rename" and call.paths[-1] in (f"{mirror}/registry.json", f"{mirror}/journal.json")
        if truth and following != Call("fsync", (mirror,)):
            disk.wrong.append(f"{call.paths[-1]} is followed by {following}")
    disk.wrong += [f"not on the disk at the end: {path}" for path in disk.missing()]
    assert not disk.wrong, "\n" + "\n".join(dict.fromkeys(disk.wrong))


def test_before_its_commit_a_create_syncs_nothing_twice_but_its_journal(theatre: Theatre) -> None:
    operation = named("create the first")
    theatre.put_back(undisturbed(theatre, operation).before)
    calls = calls_of(theatre, operation)
    mirror = str(theatre.home.mirror)
    commit = calls.index(Call("rename", (f"{mirror}/registry.json.new", f"{mirror}/registry.json")))
    synced = [call.paths[-1] for call in calls[:commit] if call.name == "fsync"]
    inside = [path for path in synced if path.startswith(f"{mirror}/")]
    assert len(inside) > 20 and [path for path in {*inside} if inside.count(path) > 1] == []
    assert inside.count(cm.temporary_name(f"{mirror}/journal.json")) == 1


def missing_besides_registry(disk: Disk, mirror: str) -> list[str]:
    """The new registry and the name of the one before get theirs with the commit itself."""
    return [path for path in disk.missing() if not path.startswith(f"{mirror}/registry.json.")]


# --- the calls that Python tells no hook of, failing ---

CALLS = {"write": "ENOSPC", "fsync": "EIO", "close": "EIO", "copy_file_range": "EIO", "pwrite64": "ENOSPC"}


def few(what: str, points: list[int]) -> list[int]:
    """Five of the points, or one where not every n is tried: each is a start of Python under strace."""
    return sampled(what, points, min(1.0, (5 if tries_every_n() else 1) / max(len(points), 1)), always=True)


@pytest.mark.parametrize("name", ["create the first", "path setup of dotfiles"])
@pytest.mark.parametrize("call", CALLS)
def test_a_system_call_that_fails_leaves_all_wholly_done_or_undone(theatre: Theatre, name: str, call: str) -> None:
    run = undisturbed(theatre, named(name))
    theatre.put_back(run.before)
    _, lines = traced(theatre, run.operation, "-e", f"trace={call}")
    ours = [
        n
        for n, line in enumerate(lines, 1)
        if f"<{theatre.home.base}/" in line and f"{theatre.home.base}/t/" not in line
    ]
    judge = Judge(theatre, run)
    for n in sampled(f"{name}, {call}", ours, 0.1, always=True)[:5]:
        theatre.put_back(run.before)
        inject = f"inject={call}:error={CALLS[call]}:when={n}"
        result, _ = traced(theatre, run.operation, "-e", f"trace={call}", "-e", inject)
        tally("failures injected")
        judge.hear(1, result)
    judge.report()
