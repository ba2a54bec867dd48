"""Archives: pack and unpack .tar.gz files without trusting them."""

from __future__ import annotations

import errno
import gc
import gzip
import io
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest

from helpers import odd_name, tree
from rooms import cm


def member(name: str, content: bytes = b"x", **traits: Any) -> Any:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for trait, value in traits.items():
        setattr(info, trait, value)
    return info, content


def archive_of(*members: Any, format: int = tarfile.PAX_FORMAT) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz", format=format) as tar:
        for info, content in members:
            tar.addfile(info, io.BytesIO(content) if info.size else None)
    return file.getvalue()


def unpacked(content: bytes, place: Path, limit: int = 1 << 20) -> dict[str, Any]:
    target = place / "target"
    target.mkdir()
    cm.unpack(io.BytesIO(content), str(target), limit)
    return tree(target)


@pytest.mark.parametrize("format", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_files_and_directories_come_out_private(tmp_path: Path, format: int) -> None:
    content = archive_of(
        member("a", b"one", mode=0o4777, uid=7, gid=7, mtime=1),
        member("dir", b"", type=tarfile.DIRTYPE, mode=0o777),
        member("dir/b", b"", mode=0o644),
        member("./deep/er/c", b"three", mode=0o600),
        format=format,
    )
    found = unpacked(content, tmp_path)
    shapes = {path: (kind, mode) for path, (kind, mode, _) in found.items() if path != "."}
    assert shapes == {
        **{"a": ("file", "0o700"), "dir": ("dir", "0o700"), "dir/b": ("file", "0o600")},
        **{"deep": ("dir", "0o700"), "deep/er": ("dir", "0o700"), "deep/er/c": ("file", "0o600")},
    }
    assert (tmp_path / "target" / "deep" / "er" / "c").read_bytes() == b"three"


REFUSED = [
    ("absolute", [member("/etc/passwd")], "leads out of its directory"),
    ("above", [member("../x")], "leads out of its directory"),
    ("above, deeper", [member("a/../../x")], "leads out of its directory"),
    ("above as a directory", [member("..", b"", type=tarfile.DIRTYPE)], "leads out of its directory"),
    ("a link", [member("l", b"", type=tarfile.SYMTYPE, linkname="/etc/passwd")], "other than files"),
    ("a link inside", [member("a"), member("l", b"", type=tarfile.SYMTYPE, linkname="a")], "other than files"),
    ("a hard link", [member("a"), member("l", b"", type=tarfile.LNKTYPE, linkname="a")], "other than files"),
    ("a hard link out", [member("l", b"", type=tarfile.LNKTYPE, linkname="/etc/passwd")], "other than files"),
    ("a FIFO", [member("f", b"", type=tarfile.FIFOTYPE)], "other than files"),
    ("a device", [member("d", b"", type=tarfile.CHRTYPE, devmajor=1, devminor=3)], "other than files"),
    ("a block device", [member("d", b"", type=tarfile.BLKTYPE)], "other than files"),
    ("through a link", [member("l", b"", type=tarfile.SYMTYPE, linkname="/tmp"), member("l/x")], "other than files"),
    ("too big", [member("a", b"x" * 600), member("b", b"x" * 600)], "unpacks to more than"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "members", "says"), REFUSED, ids=[row[0] for row in REFUSED])
def test_an_archive_that_wants_more_than_files_is_refused(
    tmp_path: Path, kind: str, members: list[Any], says: str
) -> None:
    place = tmp_path / "place"
    place.mkdir()
    with pytest.raises(cm.MirrorError, match=says) as caught:
        unpacked(archive_of(*members), place, limit=1000)
    assert caught.value.code == cm.REFUSED
    assert os.listdir(tmp_path) == ["place"] and os.listdir(place) == ["target"]
    assert all(kind != "link" for kind, _, _ in tree(tmp_path).values())


BAD_NAMES = [
    *([member("a"), member("a")], [member("a"), member("a/b")], [member(".")], [member("a/b"), member("a")]),
    *([member("x" * 300)], [member("a"), member("a", b"", type=tarfile.DIRTYPE)]),
]


@pytest.mark.parametrize("members", BAD_NAMES, ids=range(len(BAD_NAMES)))
def test_one_member_never_takes_another_s_place(tmp_path: Path, members: list[Any]) -> None:
    if members[-1][0].isdir():  # What is there as a file isn't harmed by that.
        unpacked(archive_of(*members), tmp_path)
        assert (tmp_path / "target" / "a").read_bytes() == b"x"
        return
    with pytest.raises(cm.MirrorError, match="contains a path twice, or one that isn't allowed") as caught:
        unpacked(archive_of(*members), tmp_path)
    assert caught.value.code == cm.REFUSED


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
def test_a_name_of_a_gigabyte_is_refused_before_it_is_read(tmp_path: Path, kind: bytes) -> None:
    header = tarfile.TarInfo("x")
    header.type, header.size = kind, 1 << 30
    packed = gzip.compress(header.tobuf(tarfile.GNU_FORMAT) + bytes(8 << 20))
    with pytest.raises(cm.MirrorError, match="unpacks to more than"):
        unpacked(packed, tmp_path)


def test_a_file_with_holes_is_refused_before_the_map_of_them_is_read(tmp_path: Path) -> None:
    """The map says how long it is, and may be as long as the archive."""
    holes = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "1", "GNU.sparse.name": "x"}
    content = b"1000000\n" + b"0\n" * 2_000_000
    with pytest.raises(cm.MirrorError, match="contains a sparse file") as caught:
        unpacked(archive_of(member("x", content, pax_headers=holes)), tmp_path, 1 << 30)
    assert caught.value.code == cm.REFUSED and list((tmp_path / "target").iterdir()) == []


def headers(kind: bytes, content: bytes, times: int) -> bytes:
    """An archive of a member with so many headers of this kind before its own."""
    header = tarfile.TarInfo("x")
    header.type, header.size = kind, len(content)
    each = header.tobuf(tarfile.GNU_FORMAT) + content.ljust(512, b"\0")
    return gzip.compress(each * times + tarfile.TarInfo("a").tobuf() + bytes(1024))


WHOLE = archive_of(member("a", bytes(range(256)) * 2000), member("b", b"y" * 1000))
BROKEN: list[tuple[str, bytes]] = [
    ("empty", b""),
    ("no archive", b"hello" * 1000),
    ("text in gzip", gzip.compress(b"hello" * 1000)),
    ("not packed", gzip.decompress(WHOLE)),
    *((f"cut at {part} of 10", WHOLE[: len(WHOLE) * part // 10]) for part in (1, 5, 9)),
    ("without its checksum", WHOLE[:-8]),
    ("with a wrong checksum", WHOLE[:-8] + bytes(4) + WHOLE[-4:]),
    ("spoiled inside", WHOLE[:200] + b"\xff" * 20 + WHOLE[220:]),
    ("a header spoiled", gzip.compress(b"\xff" * 512 + gzip.decompress(WHOLE)[512:])),
    ("headers of headers", headers(tarfile.XHDTYPE, b"11 foo=bar\n", 3000)),
    ("names of names", headers(tarfile.GNUTYPE_LONGNAME, b"abc\0", 3000)),
    ("a length of thirty digits", headers(tarfile.XHDTYPE, b"9" * 30 + b" a=b\n", 1)),
    ("a size spoiled", gzip.compress(gzip.decompress(WHOLE)[:124] + b"zzzzzzzzzzz\0" + gzip.decompress(WHOLE)[136:])),
]


@pytest.mark.parametrize(("kind", "content"), BROKEN, ids=[row[0] for row in BROKEN])
def test_an_archive_that_isn_t_whole_is_told_in_one_line(tmp_path: Path, kind: str, content: bytes) -> None:
    with pytest.raises(cm.MirrorError, match=r"damaged or incomplete|not a \.tar|is empty|unpacks to more") as caught:
        unpacked(content, tmp_path)
    assert caught.value.code in (cm.FAILED, cm.REFUSED) and "\n" not in caught.value.message


def test_an_archive_of_many_members_is_refused_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cm, "MEMBERS_LIMIT", 50)
    with pytest.raises(cm.MirrorError, match="has more than 50 files and directories"):
        unpacked(archive_of(*(member(f"f{number}", b"") for number in range(60))), tmp_path)


def chain(depth: int) -> str:
    return "/".join(["d"] * depth)


# Directories that are named, those that a file's name implies, both, and many small ones beside each other.
MANY_DIRECTORIES = [
    [member(f"d{number}", b"", type=tarfile.DIRTYPE) for number in range(60)],
    [member(chain(60), b"", type=tarfile.DIRTYPE)],
    [member(f"{chain(60)}/f")],
    [member(f"{number}/a/b/f", b"") for number in range(15)],
    [member(chain(30)), member(f"e/{chain(30)}/f")],
]


@pytest.mark.parametrize("members", MANY_DIRECTORIES, ids=range(len(MANY_DIRECTORIES)))
def test_directories_count_like_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, members: list[Any]) -> None:
    monkeypatch.setattr(cm, "MEMBERS_LIMIT", 50)
    with pytest.raises(cm.MirrorError, match="has more than 50 files and directories") as caught:
        unpacked(archive_of(*members), tmp_path)
    assert caught.value.code == cm.REFUSED


def test_no_more_inodes_are_used_than_leaves_some_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cm, "free_inodes", lambda path: 20)
    unpacked(archive_of(*(member(f"f{number}", b"") for number in range(18))), tmp_path)
    with pytest.raises(cm.MirrorError, match="has more than 18 files and directories") as caught:
        cm.unpack(io.BytesIO(archive_of(member(f"e/{chain(18)}"))), str(tmp_path / "target"), 1 << 20)
    assert caught.value.code == cm.FAILED and "free some space" in caught.value.hint


@pytest.mark.parametrize("depth", [101, 1500, 20_000])
@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.DIRTYPE])
def test_a_deep_archive_is_refused_in_words_that_name_the_limit(tmp_path: Path, depth: int, kind: bytes) -> None:
    content = b"" if kind == tarfile.DIRTYPE else b"x"
    unpacked(archive_of(member(chain(99), b"", type=tarfile.DIRTYPE), member(f"e/{chain(99)}")), tmp_path)
    before = tree(tmp_path)
    with pytest.raises(cm.MirrorError, match="more than 100 directories deep") as caught:
        cm.unpack(io.BytesIO(archive_of(member(chain(depth), content, type=kind))), str(tmp_path / "target"), 1 << 20)
    assert caught.value.code == cm.REFUSED and len(caught.value.message) < 200 and tree(tmp_path) == before


def test_what_was_packed_comes_out_and_the_bytes_depend_on_the_members_alone(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(os.urandom(100_000))
    members = [("clone.json", b"{}"), ("home/a b\n" + odd_name(b"\xff"), str(tmp_path / "source")), ("x" * 300, b"")]
    packed = []
    for mode, moment in ((0o600, 1), (0o777, 2_000_000_000)):
        (tmp_path / "source").chmod(mode)
        os.utime(tmp_path / "source", (moment, moment))
        file = io.BytesIO()
        cm.pack(file, members[:2])
        packed.append(file.getvalue())
    assert packed[0] == packed[1]
    found = unpacked(packed[0], tmp_path)
    assert {path for path in found if found[path][0] == "file"} == {name for name, _ in members[:2]}
    assert (tmp_path / "target" / members[1][0]).read_bytes() == (tmp_path / "source").read_bytes()


@pytest.mark.parametrize("room", [0, 5, 50_000])
def test_after_a_write_that_failed_nothing_more_is_tried(room: int) -> None:
    class Full(io.BytesIO):
        writes = 0

        def write(self, data: Any) -> int:
            self.writes += 1
            if self.tell() + len(data) > room:
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().write(data)

    file = Full()
    try:
        cm.pack(file, [("a", os.urandom(200_000))])
    except OSError as error:
        assert error.errno == errno.ENOSPC
    tried = file.writes
    gc.collect()
    assert file.writes == tried > 0


def test_a_fifo_is_never_waited_for_when_packing(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    file = io.BytesIO()
    try:
        cm.pack(file, [("a", str(tmp_path / "fifo"))])
    except (OSError, cm.MirrorError):
        return
    assert unpacked(file.getvalue(), tmp_path)["a"][2] == tree(tmp_path / "target")["a"][2]


def test_where_the_disk_has_less_room_than_is_reasonable_the_disk_is_to_blame(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cm, "free_bytes", lambda path: 1000)
    with pytest.raises(cm.MirrorError, match="unpacks to more than 900 B") as caught:
        unpacked(archive_of(member("a", b"x" * 950)), tmp_path)
    assert caught.value.code == cm.FAILED and "free some space" in caught.value.hint


def test_what_has_a_time_keeps_it_and_nothing_else_tells_one(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"x")
    file = io.BytesIO()
    cm.pack(file, [("a", str(tmp_path / "source")), ("b", b"y")], {"a": 1_700_000_000.25})
    unpacked(file.getvalue(), tmp_path)
    assert (tmp_path / "target" / "a").stat().st_mtime == 1_700_000_000.25
    assert abs((tmp_path / "target" / "b").stat().st_mtime - (tmp_path / "target").stat().st_mtime) < 60
