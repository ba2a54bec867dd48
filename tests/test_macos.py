"""A Mac's rules, where several rooms keep one together; what a single room knows of macOS stands in its own file."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from darwin import Mac
from helpers import Home
from rooms import ask, at_rest, changes, clone_in, cm

STORE, DOUBLE = b"\0\0\0\1Bud1", b"\0\x05\x16\x07"


def test_what_the_finder_leaves_is_no_reason_to_refuse_to_ask_or_to_stay(home: Home, codex: Path) -> None:
    root = home.mirror / "clones" / "work"
    for directory in (home.mirror, root):
        directory.mkdir(parents=True, mode=0o700, exist_ok=True)
        (directory / ".DS_Store").write_bytes(STORE)
    before = at_rest(home)
    assert ask(home, "create", "work").code == 0
    assert clone_in(home, "work").root == str(root)
    assert ask(home, "create", "other", "--root", home.base / "other").code == 0
    for top in (root, home.base / "other"):
        for directory in [top, *(path for path in top.rglob("*") if path.is_dir() and os.access(path, os.W_OK))]:
            (directory / ".DS_Store").write_bytes(STORE)
            (directory / "._gone").write_bytes(DOUBLE)
    assert ask(home, "doctor", "work").code == 0
    for name in ("work", "other"):
        assert ask(home, "remove", name).code == 0
    left = [path for path in changes(before, at_rest(home)) if re.match(r"(?!m/)|m/clones", path)]
    assert left == ["m/clones/work", "m/clones/work/.DS_Store"]  # Gone: below the mirror home they are ours.


def test_a_file_that_only_has_the_name_of_those_is_asked_about(home: Home, codex: Path) -> None:
    assert ask(home, "create", "work").code == 0
    (home.clone_home("work") / "._secret").write_text("my own\n")
    refused = ask(home, "remove", "work")
    assert refused.code == cm.REFUSED
    assert "._secret" in refused.err + refused.out


@pytest.mark.skipif(sys.platform != "linux", reason="a pretended Mac")
def test_files_are_not_counted_where_macos_s_file_system_does_not_count_them(
    tmp_path: Path, mac: Mac, monkeypatch: pytest.MonkeyPatch
) -> None:
    none_left = SimpleNamespace(f_files=1000, f_favail=0)
    monkeypatch.setattr(os, "statvfs", lambda path: none_left)
    assert cm.free_inodes(str(tmp_path)) == 0
    with pytest.MonkeyPatch.context() as patch:
        mac.become(patch)
        assert cm.free_inodes(str(tmp_path)) == sys.maxsize


def test_a_directory_that_can_t_be_synced_is_none_by_either_of_macos_s_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(errno, "ENOTSUP", 45)
    monkeypatch.setattr(errno, "EOPNOTSUPP", 102)
    for number, is_raised in ((45, False), (102, False), (errno.EIO, True)):

        def refuse(file: int, number: int = number) -> None:
            raise OSError(number, "no")

        monkeypatch.setattr(os, "fsync", refuse)
        with pytest.raises(OSError, match="no") if is_raised else contextlib.nullcontext():
            cm.sync_directory(str(tmp_path))


@pytest.mark.skipif(sys.platform != "linux", reason="a pretended Mac")
def test_a_day_on_a_mac_flushes_the_drive_twice_a_change(home: Home, codex: Path, mac: Mac) -> None:
    for words in (("create", "work"), ("rename", "work", "play"), ("remove", "play", "--yes")):
        assert mac(*words).code == 0, words
        flushed = [kind for kind, _ in mac.flushes]
        assert flushed.count("full") == 2, words
        assert flushed.count("plain") > 5, words
    assert mac("list").code == 0
    assert mac.flushes == []
