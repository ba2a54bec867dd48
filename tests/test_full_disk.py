"""On a disk that is really full, or where files may not grow, a command fails in words and loses nothing."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from faults import complaints, sampled, tally
from operations import OPERATIONS, Judge, Operation, Theatre, named, opened_theatre, undisturbed

pytestmark = pytest.mark.faults

# Not `login`: there it is Codex that writes, and its exit code is passed on.
COMMON = [operation for operation in OPERATIONS if not operation.variant and operation.name != "login"]
COPYING = [named("create the first"), named("update all by copying")]


@pytest.fixture(scope="module")
def theatre() -> Iterator[Theatre]:
    with opened_theatre() as theatre:
        yield theatre


@pytest.fixture(scope="module")
def small_disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Theatre]:
    """A theatre on a tmpfs of 16 MB; skipped where it can't be mounted."""
    disk = tmp_path_factory.mktemp("disk")
    mount = ["mount", "-t", "tmpfs", "-o", "size=16m,mode=0700", "tmpfs", disk]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("a tmpfs can't be mounted here")
    try:
        with opened_theatre(disk) as theatre:
            yield theatre
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)


def fill_up(theatre: Theatre, free: int) -> Path:
    """Fills the disk but for so many bytes; the file that does it."""
    ballast = theatre.home.base / "t" / "ballast"
    with ballast.open("wb") as file:
        facts = os.statvfs(theatre.home.base)
        os.posix_fallocate(file.fileno(), 0, max(facts.f_bavail * facts.f_frsize - free, 1))
    return ballast


@pytest.mark.parametrize("operation", [*COMMON, *COPYING], ids=lambda operation: operation.name.replace(" ", "-"))
def test_a_command_on_a_full_disk_is_wholly_done_or_undone(small_disk: Theatre, operation: Operation) -> None:
    run = undisturbed(small_disk, operation)
    judge = Judge(small_disk, run)
    for pages in sampled(f"{run.operation.name}, full", [0, 1, 2, 3, 4, 6, 8, 12, 16, 24], 0.2):
        small_disk.put_back(run.before)
        ballast = fill_up(small_disk, pages * 4096)
        result = run.operation.play(small_disk)
        ballast.unlink()
        tally("failures injected")
        judge.hear(1, result, (0, 1))
    judge.report()


@pytest.mark.parametrize("name", ["remove", "remove --root"])
def test_what_frees_space_works_on_a_full_disk(small_disk: Theatre, name: str) -> None:
    run = undisturbed(small_disk, named(name))
    small_disk.put_back(run.before)
    ballast = fill_up(small_disk, 0)
    result = run.operation.play(small_disk)
    ballast.unlink()
    assert (result.code, complaints(small_disk.home)) == (0, []), result


@pytest.mark.parametrize("operation", [*COMMON, *COPYING], ids=lambda operation: operation.name.replace(" ", "-"))
def test_a_command_whose_files_may_not_grow_is_wholly_done_or_undone(theatre: Theatre, operation: Operation) -> None:
    run = undisturbed(theatre, operation)
    judge = Judge(theatre, run)
    for size in sampled(f"{run.operation.name}, limited", [0, 50, 300, 700, 1500, 2500, 5000, 9000], 0.2):
        theatre.put_back(run.before)
        result = run.operation.play(theatre, file_size=size)
        tally("failures injected")
        judge.hear(1, result, (0, 1))
    judge.report()
