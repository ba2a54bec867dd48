"""Disk: safe primitives."""

from __future__ import annotations

import _thread
import contextlib
import errno
import hashlib
import os
import re
import resource
import shutil
import signal
import socket
import stat
import subprocess
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from helpers import odd_name, tree, wait_until
from rooms import ROOT, cm, make_deep

SOMEBODY_ELSE = 54321


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(path))


def test_an_id_is_a_random_uuid_as_python_makes_them() -> None:
    made = [uuid.UUID(cm.new_uuid()) for _ in range(100)]
    assert (
        len({*made}) == 100
        and {one.version for one in made} == {4}
        and {one.variant for one in made} == {uuid.RFC_4122}
    )
    assert all(len({str(one)[place] for one in made}) > 1 for place in range(36) if place not in (8, 13, 14, 18, 23))


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty directory that is where we are; removed also when it has become very deep."""
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    subprocess.run(["/bin/sh", "-c", "chmod -R u+rwx . 2>/dev/null; rm -rf ./* ./.[!.]*"], cwd=tmp_path, check=True)


# --- reading ---


def test_a_file_is_read_whole_up_to_the_limit_to_the_byte(place: Path) -> None:
    (place / "file").write_bytes(b"x" * 100_000)
    assert cm.read_whole("file", 100_000) == b"x" * 100_000
    with pytest.raises(OSError, match="is larger than") as caught:
        cm.read_whole("file", 99_999)
    assert caught.value.filename == "file"
    (place / "empty").touch()
    assert cm.read_whole("empty", 0) == b""


def test_a_file_that_says_it_is_empty_is_read_all_the_same() -> None:
    if os.path.exists("/proc/self/status"):
        assert b"Name:" in cm.read_whole("/proc/self/status")
        with pytest.raises(OSError, match="grew while it was read"):
            cm.read_whole("/proc/self/status", 10)


NO_FILES: list[tuple[str, Callable[[Path], object], str]] = [
    ("a FIFO", os.mkfifo, "is not a regular file"),
    ("a directory", Path.mkdir, "is not a regular file"),
    ("a link to a FIFO", lambda path: (os.mkfifo("fifo"), path.symlink_to("fifo")), "is not a regular file"),
    ("a device", lambda path: path.symlink_to("/dev/zero"), "is not a regular file"),
    ("a socket", make_socket, "is not a regular file"),
    ("a link to itself", lambda path: path.symlink_to(path.name), "Too many levels"),
]


@pytest.mark.parametrize(("kind", "make", "says"), NO_FILES, ids=[row[0] for row in NO_FILES])
def test_what_is_no_file_is_never_waited_for(place: Path, kind: str, make: Callable[[Path], object], says: str) -> None:
    make(place / "it")
    for read in (cm.read_whole, cm.read_or_none):
        with pytest.raises(OSError, match=says):
            read(str(place / "it"))


def test_an_error_of_the_disk_names_the_file(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def break_down(file: int, count: int) -> bytes:
        raise OSError(errno.EIO, "Input/output error")

    (place / "file").write_bytes(b"x")
    with monkeypatch.context() as broken, pytest.raises(OSError, match="Input/output error: 'file'"):
        broken.setattr(os, "read", break_down)
        cm.read_whole("file")


def test_nothing_is_read_where_there_is_nothing(place: Path) -> None:
    (place / "file").touch()
    (place / "link").symlink_to("nowhere")
    assert [cm.read_or_none(path) for path in ("nowhere", "nowhere/x", "file/x", "link")] == [None] * 4
    with pytest.raises(FileNotFoundError):
        cm.read_whole("nowhere")


def test_the_kind_of_a_name_is_its_own_and_no_link_is_followed(place: Path) -> None:
    (place / "file").touch()
    (place / "dir").mkdir()
    os.mkfifo("fifo")
    make_socket(place / "socket")
    for name in ("file", "dir", "nowhere"):
        (place / f"to-{name}").symlink_to(name)
    kinds = {name: cm.kind_of(name) for name in sorted(os.listdir())}
    assert kinds == {
        **{"dir": "directory", "fifo": "other", "file": "file", "socket": "other"},
        **dict.fromkeys(("to-dir", "to-file", "to-nowhere"), "link"),
    }
    assert [cm.kind_of(name) for name in ("nowhere", "file/x", "")] == ["", "", ""]


def test_the_entries_of_a_directory_are_sorted_and_none_where_there_is_none(place: Path) -> None:
    for name in ("b", "a", "c\udcff"):
        (place / name).touch()
    assert cm.entries_of(str(place)) == ["a", "b", "c\udcff"]
    assert cm.entries_of("a") == cm.entries_of("nowhere") == []


# --- writing ---


@pytest.mark.parametrize("mode", [0o600, 0o755, 0o444])
@pytest.mark.parametrize("umask", [0o000, 0o077, 0o777])
def test_a_new_file_has_its_bytes_and_its_mode_whatever_the_umask(place: Path, mode: int, umask: int) -> None:
    content = b"x" * 3_000_000
    (place / "source").write_bytes(content)
    before = os.umask(umask)
    try:
        cm.write_new("file", content, mode)
        cm.copy_file("source", "copy", mode)
    finally:
        os.umask(before)
    for path in (place / "file", place / "copy"):
        assert path.read_bytes() == content and stat.S_IMODE(path.stat().st_mode) == mode


def test_a_new_file_is_open_to_nobody_else_from_its_first_moment(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who opens it then reads all that comes later."""
    modes: list[int] = []
    monkeypatch.setattr(cm, "set_mode", lambda file, mode, path: modes.append(stat.S_IMODE(os.fstat(file).st_mode)))
    (place / "source").touch()
    before = os.umask(0)
    try:
        cm.write_new("file", b"", 0o600)
        cm.copy_file("source", "copy", 0o600)
    finally:
        os.umask(before)
    assert modes == [0o600, 0o600]


TAKEN: list[tuple[str, Callable[[Path], object]]] = [
    ("a file", lambda path: path.write_text("mine")),
    ("a directory", Path.mkdir),
    ("a FIFO", os.mkfifo),
    ("a link to a file", lambda path: (Path("target").write_text("mine"), path.symlink_to("target"))),
    ("a link to nothing", lambda path: path.symlink_to("target")),
]
taken = pytest.mark.parametrize(("kind", "occupy"), TAKEN, ids=[row[0] for row in TAKEN])


@taken
def test_a_new_file_never_takes_the_place_of_anything(place: Path, kind: str, occupy: Callable[[Path], object]) -> None:
    occupy(place / "file")
    before = tree(place)
    with pytest.raises(FileExistsError):
        cm.write_new(str(place / "file"), b"ours")
    (place / "new").write_text("ours")
    with pytest.raises(FileExistsError):
        cm.put_in_place(str(place / "new"), str(place / "file"))
    (place / "new").unlink()
    assert tree(place) == before


@taken
def test_what_lies_at_a_temporary_name_is_replaced_and_not_followed(
    place: Path, kind: str, occupy: Callable[[Path], object]
) -> None:
    if kind == "a directory":
        pytest.skip("a directory of that name is nobody's temporary file")
    (place / "file").write_text("old")
    temporary = place / ".file.codex-mirror-new"
    occupy(temporary)
    (place / "file.new").write_text("the user's")
    target = (place / "target").read_text() if (place / "target").exists() else None
    cm.write_whole(str(place / "file"), b"new", 0o640)
    assert (place / "file").read_text() == "new" and stat.S_IMODE((place / "file").stat().st_mode) == 0o640
    assert ((place / "target").read_text() if (place / "target").exists() else None) == target
    assert not os.path.lexists(temporary) and (place / "file.new").read_text() == "the user's"


def test_a_file_replaced_at_one_stroke_is_a_new_one(place: Path) -> None:
    cm.write_whole(str(place / "file"), b"1")
    os.link("file", "other")
    cm.write_whole(str(place / "file"), b"2")
    assert (place / "other").read_text() == "1" and (place / "file").read_text() == "2"


WITHOUT_LINKS = [errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.EMLINK, errno.EXDEV, errno.ENOSYS]


@pytest.mark.parametrize("number", WITHOUT_LINKS)
def test_a_file_is_put_in_place_also_where_files_can_t_have_two_names(
    place: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", refuse)
    (place / "new").write_text("ours")
    cm.put_in_place("new", "file")
    assert tree(place).keys() == {".", "file"}
    (place / "new").write_text("ours too")
    with pytest.raises(FileExistsError):
        cm.put_in_place("new", "file")
    assert (place / "file").read_text() == "ours" and (place / "new").exists()


def write_over(path: str) -> None:
    with open(path, "w") as file:
        file.write("theirs")


def rename_over(path: str) -> None:
    Path("theirs").write_text("theirs")
    os.rename("theirs", path)


def link_over(path: str) -> None:
    os.unlink(path)
    os.symlink("theirs", path)


RACES: list[tuple[str, Any, str, Callable[[str], None]]] = [
    ("it came before", cm, "write_new", write_over),
    ("a link came before", cm, "write_new", lambda path: os.symlink("theirs", path)),
    ("a directory came before", cm, "write_new", os.mkdir),
    ("it was written behind the claim", cm, "open_descriptor", write_over),
    ("it was replaced behind the claim", cm, "open_descriptor", rename_over),
    ("it was replaced by a link", os, "fstat", link_over),
    ("it was replaced after the look", os, "fstat", rename_over),
    ("it was written after the last look", os, "rename", write_over),
]


@pytest.mark.parametrize(("kind", "module", "name", "come"), RACES, ids=[row[0] for row in RACES])
def test_what_comes_in_its_place_meanwhile_is_not_lost_where_files_can_t_have_two_names(
    place: Path, monkeypatch: pytest.MonkeyPatch, kind: str, module: Any, name: str, come: Callable[[str], None]
) -> None:
    def preceded(*words: Any, **more: Any) -> Any:
        monkeypatch.setattr(module, name, real)
        come("file")
        return real(*words, **more)

    (place / "new").write_text("ours")
    real = getattr(module, name)
    monkeypatch.setattr(cm, "make_link", lambda source, target: False)
    monkeypatch.setattr(module, name, preceded)
    with pytest.raises(FileExistsError):
        cm.put_in_place("new", "file")
    assert (place / "new").read_text() == "ours" and tree(place).keys() == {".", "new", "file"}
    assert tree(place)["file"][2] == "theirs" or os.path.isdir("file") or (place / "file").read_text() == "theirs"


def test_a_place_that_a_killed_program_took_is_taken_over_where_files_can_t_have_two_names(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cm, "make_link", lambda source, target: False)
    for left, taken in (("new", True), ("new2", False), ("", False), ("ne", False)):
        (place / "new").write_text("ours")
        (place / "file").write_text(left)
        if taken:
            cm.put_in_place("new", "file")
            assert (place / "file").read_text() == "ours" and not (place / "new").exists()
        else:
            with pytest.raises(FileExistsError):
                cm.put_in_place("new", "file")
            assert (place / "file").read_text() == left and (place / "new").read_text() == "ours"


def test_a_link_is_put_in_place_as_a_link(place: Path) -> None:
    (place / "new").symlink_to("nowhere")
    cm.put_in_place("new", "link")
    assert os.readlink("link") == "nowhere" and not os.path.lexists("new")


def test_directories_are_made_private_with_those_above_and_told_before(place: Path) -> None:
    wanted = [str(place / "a"), str(place / "a/b"), str(place / "a/b/c")]
    assert cm.missing_directories(wanted[-1]) == wanted
    cm.make_directories(wanted[-1])
    assert [stat.S_IMODE(os.stat(path).st_mode) for path in wanted] == [0o700] * 3
    assert cm.missing_directories(wanted[-1]) == []
    cm.make_directories(wanted[-1])
    for path in reversed(wanted):
        cm.remove_empty(path)
    cm.remove_empty(str(place / "nowhere"))
    assert tree(place).keys() == {"."}
    (place / "link").symlink_to("nowhere")
    assert cm.missing_directories(str(place / "link")) == []


# --- discarding ---


def build_stubborn(top: Path, kept: Path) -> None:
    """A tree as a Go module cache or a curious user leaves it, with links and a second name that lead out of it."""
    (top / "a" / "b").mkdir(parents=True)
    (top / "a" / "b" / "file").write_text("x")
    (top / "a" / "b" / "file").chmod(0o000)
    os.link(kept / "linked", top / "a" / "linked")
    os.mkfifo(top / "a" / "fifo")
    make_socket(top / "a" / "s")
    (top / "a" / "out").symlink_to(kept)
    (top / "a" / "file-out").symlink_to(kept / "file")
    (top / "a" / "gone").symlink_to("nowhere")
    (top / "a" / odd_name(b"\xff\n")).write_text("x")
    (top / "a" / "b").chmod(0o500)
    (top / "a").chmod(0o000)
    top.chmod(0o500)


def test_a_stubborn_tree_is_discarded_and_nothing_outside_of_it_changes(place: Path) -> None:
    kept = place / "kept"
    kept.mkdir(mode=0o500)
    kept.chmod(0o700)
    for name in ("file", "linked"):
        (kept / name).write_text(name)
        (kept / name).chmod(0o444)
    kept.chmod(0o500)
    before = tree(kept)
    build_stubborn(place / "doomed", kept)
    cm.discard(str(place / "doomed"))
    assert not (place / "doomed").exists() and tree(kept) == before


@pytest.mark.parametrize(("kind", "make"), [*TAKEN, ("nothing", lambda path: None), ("a socket", make_socket)])
def test_whatever_it_is_it_is_discarded_and_no_link_is_followed(
    place: Path, kind: str, make: Callable[[Path], object]
) -> None:
    make(place / "it")
    target = (place / "target").exists()
    cm.discard(str(place / "it"))
    cm.discard(str(place / "it"))
    assert not os.path.lexists("it") and (place / "target").exists() == target


@pytest.mark.parametrize(("name", "number"), [("fchmod", errno.EPERM), ("chmod", errno.ENOSYS), ("unlink", errno.EIO)])
def test_what_can_t_be_discarded_is_named_with_its_whole_path(
    place: Path, monkeypatch: pytest.MonkeyPatch, name: str, number: int
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number), "file" if name == "unlink" else None)

    (place / "top" / "inner").mkdir(parents=True)
    (place / "top" / "inner" / "file").touch()
    (place / "top" / "inner").chmod(0o500)
    (place / "top").chmod(0o500 if name == "fchmod" else 0o700)
    monkeypatch.setattr(os, name, refuse)
    with pytest.raises(OSError, match=re.escape(os.strerror(number))) as caught:
        cm.discard(str(place / "top"))
    assert str(caught.value.filename).startswith(str(place / "top"))


def test_a_link_to_a_directory_is_discarded_without_it(place: Path) -> None:
    (place / "dir").mkdir()
    (place / "dir" / "file").touch()
    (place / "link").symlink_to("dir")
    cm.discard(str(place / "link"))
    assert tree(place).keys() == {".", "dir", "dir/file"}


def test_a_very_deep_tree_is_discarded(place: Path) -> None:
    """Deeper than Python's recursion, and its path is longer than a path may be."""
    make_deep(place / "deep", 2200)
    assert list(cm.files_below(str(place / "deep"))) == []
    cm.discard(str(place / "deep"))
    assert tree(place).keys() == {"."}


def test_a_tree_that_is_still_being_filled_is_discarded_when_that_ends(place: Path) -> None:
    (place / "busy").mkdir()
    ended = threading.Event()

    def fill() -> None:
        for number in range(300):
            try:
                (place / "busy" / str(number)).mkdir()
            except OSError:
                break
        ended.set()

    filler = threading.Thread(target=fill)
    filler.start()
    try:
        cm.discard(str(place / "busy"))
    except OSError as error:
        assert error.errno in (errno.ENOTEMPTY, errno.EEXIST)
    ended.wait(60)
    filler.join()
    cm.discard(str(place / "busy"))
    assert not (place / "busy").exists()


@pytest.mark.parametrize("step", ["refuse_mount", "remove_files_in"])
def test_a_link_that_comes_meanwhile_in_the_place_of_a_directory_is_not_followed(
    place: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    (place / "doomed" / "inner").mkdir(parents=True)
    (place / "theirs").mkdir()
    (place / "theirs" / "thesis").write_text("ten years of work")
    do, swapped = getattr(cm, step), place / ("doomed" if step == "refuse_mount" else "doomed/inner")

    def do_and_swap(*args: Any) -> Any:
        done = do(*args)
        if not swapped.is_symlink():
            swapped.rename(place / "moved")
            swapped.symlink_to(place / "theirs")
        return done

    monkeypatch.setattr(cm, step, do_and_swap)
    with contextlib.suppress(OSError):
        cm.discard(str(place / "doomed"))
    assert (place / "theirs" / "thesis").read_text() == "ten years of work"


def test_a_directory_that_is_moved_away_meanwhile_leads_nowhere_else(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever goes up by `..` from it comes out among somebody else's files."""
    for name in ("p", "q"):
        (place / "doomed" / name / "inner").mkdir(parents=True)
    (place / "theirs").mkdir()
    rmdir, moved = os.rmdir, []

    def rmdir_and_move(path: Any, **more: Any) -> None:
        rmdir(path, **more)
        if not moved:
            [away] = [name for name in ("p", "q") if not (place / "doomed" / name / "inner").exists()]
            moved.append(away)
            [other] = {"p", "q"} - {away}
            (place / "theirs" / other).mkdir()
            (place / "theirs" / other / "thesis").write_text("ten years of work")
            (place / "doomed" / away).rename(place / "theirs" / away)

    monkeypatch.setattr(os, "rmdir", rmdir_and_move)
    with contextlib.suppress(OSError):
        cm.discard(str(place / "doomed"))
    assert moved and [path.read_text() for path in place.glob("theirs/*/thesis")] == ["ten years of work"]


# --- copying ---


def test_a_copy_is_new_durable_and_has_its_mode(place: Path) -> None:
    for content in (b"", b"x", os.urandom(3_000_000)):
        (place / "source").write_bytes(content)
        done: list[int] = []
        cm.copy_file("source", "target", 0o555, done.append)
        assert (place / "target").read_bytes() == content and sum(done) == len(content)
        assert stat.S_IMODE((place / "target").stat().st_mode) == 0o555
        assert cm.digest_of("target") == hashlib.sha256(content).hexdigest() == cm.digest_of_bytes(content)
        assert not cm.is_same_file("source", "target")
        (place / "target").unlink()


@pytest.mark.parametrize("number", [0, errno.EXDEV, errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM])
@pytest.mark.parametrize("after", [0, 1, 2])
def test_a_copy_is_whole_also_where_the_kernel_doesn_t_help(
    place: Path, monkeypatch: pytest.MonkeyPatch, number: int, after: int
) -> None:
    """On some file systems it says that it is done when it has copied nothing."""
    content = os.urandom(500_000)
    (place / "source").write_bytes(content)
    calls = iter(range(100))

    def copy_some(source: int, target: int, count: int) -> int:
        if next(calls) == after:
            if not number:
                return 0
            raise OSError(number, os.strerror(number))
        return os.write(target, os.read(source, 100_000))

    monkeypatch.setattr(os, "copy_file_range", copy_some, raising=False)
    done: list[int] = []
    cm.copy_file("source", "target", 0o444, done.append)
    assert cm.digest_of("target") == cm.digest_of_bytes(content) and sum(done) == len(content)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO])
def test_a_copy_that_can_t_be_written_says_so(place: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def fail(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "copy_file_range", fail, raising=False)
    (place / "source").write_bytes(b"x")
    with pytest.raises(OSError) as caught:
        cm.copy_file("source", "target", 0o444, lambda count: None)
    assert caught.value.errno == number


def test_a_copy_by_hand_whose_end_finds_no_room_says_so(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that meets the end of the room writes what fits, and only the next one would be told."""
    monkeypatch.delattr(os, "copy_file_range", raising=False)
    (place / "source").write_bytes(bytes(1_500_000))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_200_000, before[1]))
    try:
        with pytest.raises(OSError) as caught:
            cm.copy_file("source", "target", 0o444, lambda count: None)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert caught.value.errno == errno.EFBIG


@taken
def test_a_copy_never_takes_the_place_of_anything(place: Path, kind: str, occupy: Callable[[Path], object]) -> None:
    (place / "source").write_bytes(b"ours")
    occupy(place / "file")
    before = tree(place)
    with pytest.raises(FileExistsError):
        cm.copy_file("source", "file", 0o444, lambda count: None)
    assert tree(place) == before


def test_a_file_gets_the_traits_of_another(place: Path) -> None:
    for name, mode in (("one", 0o751), ("other", 0o600)):
        (place / name).write_text(name)
        (place / name).chmod(mode)
    os.utime("one", (1, 1))
    if ROOT:
        os.chown("one", SOMEBODY_ELSE, SOMEBODY_ELSE)
        (place / "one").chmod(0o4751)
    with_attribute = False
    if hasattr(os, "setxattr"):
        try:
            os.setxattr("one", "user.kept", b"yes")
            with_attribute = True
        except OSError:
            pass
    cm.copy_metadata("one", "other")
    one, other = os.stat("one"), os.stat("other")
    assert (one.st_mode, one.st_uid, one.st_gid) == (other.st_mode, other.st_uid, other.st_gid)
    assert other.st_mtime > 1 and (place / "other").read_text() == "other"
    assert not with_attribute or os.getxattr("other", "user.kept") == b"yes"


def test_a_file_gets_its_mode_also_where_python_knows_no_attributes(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("listxattr", "getxattr", "setxattr"):  # As on macOS.
        monkeypatch.delattr(os, name, raising=False)
    monkeypatch.setattr(shutil, "copystat", lambda *args: 1 / 0)  # It copies the flags of BSD, too.
    (place / "one").write_text("one")
    (place / "other").write_text("other")
    (place / "one").chmod(0o640)
    cm.copy_metadata("one", "other")
    assert stat.S_IMODE(os.stat("other").st_mode) == 0o640


# --- what macOS leaves in directories ---

STORE, DOUBLE = b"\0\0\0\1Bud1\0\0\x10\0", b"\0\x05\x16\x07\0\x02\0\0Mac OS X"
LITTER: list[tuple[str, bytes, bool]] = [
    (".DS_Store", STORE, True),
    (".DS_Store", b"", True),
    ("._notes.txt", DOUBLE, True),
    ("._notes.txt", b"my own secret", False),
    (".DS_Store", b"my own secret", False),
    ("notes.txt", DOUBLE, False),
    ("DS_Store", STORE, False),
]


@pytest.mark.parametrize(("name", "content", "litter"), LITTER, ids=lambda value: str(value)[:20])
def test_what_macos_leaves_in_directories_is_nobody_s_and_keeps_none_alive(
    place: Path, name: str, content: bytes, litter: bool
) -> None:
    (place / "made" / "below").mkdir(parents=True)
    path = place / "made" / "below" / name
    path.write_bytes(content)
    assert cm.is_litter(str(path)) == litter
    assert list(cm.files_below(str(place))) == ([] if litter else [str(path)])
    cm.remove_empty(str(path.parent))
    assert path.exists() != litter
    assert path.parent.exists() != litter
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    path.write_bytes(content)
    (path.parent / "kept").touch()
    cm.remove_empty(str(path.parent))
    assert path.exists() and not path.unlink()
    (path.parent / "kept").unlink()
    path.symlink_to(place)
    assert not cm.is_litter(str(path))
    cm.remove_empty(str(path.parent))
    assert path.is_symlink()


def test_an_empty_directory_for_macos_is_one_that_is_listed_empty(place: Path) -> None:
    for name in (".DS_Store", "._x", "._", ".x", "x"):
        (place / name).touch()
    assert cm.entries_of(str(place)) == [".x", "x"]
    for name in (".x", "x"):
        (place / name).unlink()
    assert cm.entries_of(str(place)) == []


def test_two_names_of_one_file_are_the_same(place: Path) -> None:
    (place / "a").touch()
    (place / "b").touch()
    os.link("a", "c")
    (place / "l").symlink_to("a")
    assert cm.is_same_file("a", "c")
    assert not any(cm.is_same_file("a", other) for other in ("b", "l", "nowhere"))


def test_an_identity_changes_with_every_change(place: Path) -> None:
    path = place / "file"
    path.write_text("a")
    os.utime(path, ns=(1, 1))
    seen = [cm.identity_of(str(path))]
    assert cm.identity_of(str(path)) == seen[0] and seen[0].mtime_ns == 1
    deeds: list[Callable[[], Any]] = [
        lambda: path.write_text("bb"),
        lambda: os.utime(path, ns=(2, 2)),
        lambda: shutil.copy(path, place / "x") and os.replace(place / "x", path),
    ]
    for deed in deeds:
        deed()
        seen.append(cm.identity_of(str(path)))
    assert len(set(seen)) == len(seen)


def test_the_files_of_a_tree_are_found_through_no_link(place: Path) -> None:
    (place / "dir").mkdir()
    (place / "dir" / "file").write_bytes(b"x" * 1000)
    (place / "big").write_bytes(b"x" * 100_000)
    (place / "dir" / "link").symlink_to(place / "big")
    (place / "dir" / "up").symlink_to(place)
    found = sorted(cm.files_below(str(place / "dir")))
    assert found == [str(place / "dir" / name) for name in ("file", "link", "up")]
    assert list(cm.files_below("nowhere")) == [] and cm.size_of("nowhere") == cm.modified_at("nowhere") == 0
    assert cm.free_bytes(str(place)) > 0


# --- the lock ---


def holding(path: Path, what: str) -> tuple[int, int]:
    """A process that holds the lock until what is returned beside its pid is closed."""
    ready_r, ready_w = os.pipe()
    go_r, go_w = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(go_w)
            with cm.hold_lock(str(path), what, 0, lambda holder: None):
                os.write(ready_w, b"x")
                os.read(go_r, 1)
        finally:
            os._exit(0)
    os.close(ready_w)
    os.close(go_r)
    assert os.read(ready_r, 1) == b"x"
    os.close(ready_r)
    return pid, go_w


def test_who_waits_is_told_once_for_whom_and_gives_up_in_time(place: Path) -> None:
    pid, go = holding(place / "lock", "update work")
    told: list[str] = []
    with pytest.raises(cm.MirrorError, match=rf"'update work' \(pid {pid}\) is still running") as caught:  # noqa: SIM117
        with cm.hold_lock(str(place / "lock"), "remove play", 0.2, told.append):
            raise AssertionError("two held the lock")
    assert caught.value.code == cm.BUSY and told == [f"'update work' (pid {pid})"]
    os.close(go)
    os.waitpid(pid, 0)
    with cm.hold_lock(str(place / "lock"), "remove play", 0, told.append):
        assert (place / "lock").read_text() == f"'remove play' (pid {os.getpid()})"
    assert stat.S_IMODE((place / "lock").stat().st_mode) == 0o600 and len(told) == 1


def waiting_in(path: Path, name: str, order: Path) -> int:
    """A process that waits for the lock, in the queue when this returns, and writes its name down once it has it."""
    before = queue_of(path)
    pid = os.fork()
    if pid == 0:
        try:
            with cm.hold_lock(str(path), name, 600, lambda holder: None), order.open("a") as file:
                file.write(name)
        finally:
            os._exit(0)
    wait_until(lambda: queue_of(path) > before, f"{name} waits")
    return pid


def queue_of(path: Path) -> int:
    """How many wait for the lock, as the system says."""
    waiting = [line for line in Path("/proc/locks").read_text().splitlines() if " -> FLOCK" in line]
    return sum(f":{path.stat().st_ino} " in line for line in waiting)


@pytest.mark.skipif(not os.access("/proc/locks", os.R_OK), reason="the system doesn't show who waits for a lock")
def test_who_asks_first_comes_first(place: Path) -> None:
    lock, order = place / "lock", place / "order"
    holder, go = holding(lock, "update work")
    pids = [waiting_in(lock, name, order) for name in "abcdefgh"]
    os.write(go, b"x")
    for pid in (holder, *pids):
        os.waitpid(pid, 0)
    assert order.read_text() == "abcdefgh"


@pytest.mark.skipif(not os.access("/proc/locks", os.R_OK), reason="the system doesn't show who waits for a lock")
def test_who_is_stopped_or_killed_while_it_waits_is_in_nobody_s_way(place: Path) -> None:
    lock, order = place / "lock", place / "order"
    holder, go = holding(lock, "update work")
    stopped, killed, *others = [waiting_in(lock, name, order) for name in "abcd"]
    for pid, number in ((stopped, signal.SIGSTOP), (killed, signal.SIGKILL)):
        os.kill(pid, number)
        os.waitpid(pid, os.WUNTRACED)
    os.write(go, b"x")
    for pid in (holder, *others):
        os.waitpid(pid, 0)
    before = order.read_text()
    os.kill(stopped, signal.SIGCONT)
    os.waitpid(stopped, 0)
    assert "".join(sorted(before)) == "cd" and order.read_text() == f"{before}a"


def test_who_holds_the_lock_now_is_named_and_a_mere_queue_is_not_worth_a_word(place: Path) -> None:
    told: list[str] = []
    pid, go = holding(place / "lock", "create a")

    def hand_over(holder: str) -> None:
        told.append(holder)
        if len(told) == 2:
            os.close(go)
        (place / "lock").write_text("'create b' (pid 7)")

    with cm.hold_lock(str(place / "lock"), "remove play", 1, hand_over):
        assert told == [f"'create a' (pid {pid})", "'create b' (pid 7)"]
    os.waitpid(pid, 0)
    assert [cm.patience_for(seconds) for seconds in (0, 30, 1e8)] == [0, 3, 30]


def test_a_lock_that_was_waited_for_in_vain_is_nobody_s_afterwards(place: Path) -> None:
    pid, go = holding(place / "lock", "update work")
    with pytest.raises(cm.MirrorError), cm.hold_lock(str(place / "lock"), "x", 0.05, lambda holder: None):
        raise AssertionError("two held the lock")
    os.close(go)
    os.waitpid(pid, 0)
    with cm.hold_lock(str(place / "lock"), "y", 30, lambda holder: None):
        pass


def test_where_no_thread_can_be_started_the_lock_is_asked_for_again_and_again(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(_thread, "start_new_thread", refuse)
    pid, go = holding(place / "lock", "update work")
    with pytest.raises(cm.MirrorError), cm.hold_lock(str(place / "lock"), "x", 0.05, lambda holder: None):
        raise AssertionError("two held the lock")
    with cm.hold_lock(str(place / "lock"), "x", 30, lambda holder: os.close(go)):
        pass
    os.waitpid(pid, 0)


def test_a_dead_holder_s_lock_is_free_at_once(place: Path) -> None:
    pid, go = holding(place / "lock", "create work")
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    os.close(go)
    with cm.hold_lock(str(place / "lock"), "x", 0, lambda holder: None):
        pass


def test_a_lock_that_was_removed_while_we_took_it_is_taken_again(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else two would hold two files."""
    import fcntl

    flock, removed = fcntl.flock, []

    def removed_before(file: int, operation: int) -> None:
        if not removed:
            removed.append(os.fstat(file).st_ino)
            (place / "lock").unlink()
        flock(file, operation)

    monkeypatch.setattr(fcntl, "flock", removed_before)
    with cm.hold_lock(str(place / "lock"), "uninstall", 60, lambda holder: None):
        assert removed and (place / "lock").exists()
        with pytest.raises(cm.MirrorError), cm.hold_lock(str(place / "lock"), "y", 0, lambda holder: None):
            raise AssertionError("two held the lock")


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EPERM, errno.ENOTSUP, errno.EINVAL])
def test_a_file_system_without_locks_is_named_with_what_to_do(
    place: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    import fcntl

    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(cm.MirrorError) as caught, cm.hold_lock(str(place / "lock"), "x", 0, lambda holder: None):
        raise AssertionError("it was locked")
    assert str(place / "lock") in caught.value.message and "CODEX_MIRROR_HOME" in caught.value.hint


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_what_fails_in_an_open_file_is_told_with_its_name(
    place: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*_: object, **__: object) -> int:
        raise OSError(number, os.strerror(number))

    (place / "source").write_text("x")
    for call, deed in (
        ("write", lambda: cm.write_new("written", b"x")),
        ("fsync", lambda: cm.write_new("synced", b"x")),
        ("copy_file_range", lambda: cm.copy_file("source", "copied", 0o600)),
        ("fsync", lambda: cm.copy_file("source", "kept", 0o600)),
    ):
        with monkeypatch.context() as patched, pytest.raises(OSError) as caught:
            patched.setattr(os, call, refuse)
            deed()
        assert caught.value.filename in ("written", "synced", "copied", "kept") and caught.value.errno == number


WITHOUT_MODES = [errno.EPERM, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP]


@pytest.mark.parametrize("number", WITHOUT_MODES)
def test_a_file_system_without_modes_is_named_where_they_matter(
    place: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    (place / "source").write_text("x")
    (place / "open").mkdir(mode=0o755)
    monkeypatch.setattr(os, "fchmod", refuse)
    monkeypatch.setattr(os, "chmod", refuse)
    before = os.umask(0o077)
    try:
        cm.write_new("private", b"x")  # It has that mode all the same.
        for deed in (
            lambda: cm.write_new("new", b"x", 0o755),
            lambda: cm.copy_file("source", "new2", 0o755),
            lambda: cm.write_whole("whole", b"x", 0o644),
        ):
            with pytest.raises(OSError, match="can't be given the mode") as caught:
                deed()
            assert caught.value.filename in ("new", "new2", ".whole.codex-mirror-new")
            assert "on another one" in cm.hint_for(caught.value)
    finally:
        os.umask(before)
    cm.make_private("open")


def test_a_lock_is_no_link_to_somewhere_else(place: Path) -> None:
    (place / "theirs").write_text("thesis")
    (place / "lock").symlink_to("theirs")
    with pytest.raises(OSError), cm.hold_lock(str(place / "lock"), "x", 0, lambda holder: None):
        raise AssertionError("followed a link")
    assert (place / "theirs").read_text() == "thesis"


def test_the_lock_is_given_back_by_an_exception_too(place: Path) -> None:
    with pytest.raises(KeyError), cm.hold_lock(str(place / "lock"), "x", 0, lambda holder: None):
        raise KeyError
    with cm.hold_lock(str(place / "lock"), "y", 0, lambda holder: None):
        pass


def test_a_path_that_begins_nowhere_ends_the_search_for_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cm.missing_directories("a/b") == ["a", "a/b"] and cm.missing_directories("") == []
    assert cm.missing_directories(f"{tmp_path}/x/y") == [f"{tmp_path}/x", f"{tmp_path}/x/y"]
