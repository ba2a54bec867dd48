"""Wrappers: one command per clone, in a directory that isn't ours."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from helpers import Home, tree
from rooms import clone_like, cm, places_of

LEGACY = '#!/usr/bin/env bash\nset -e\nexec "$CODEX_MIRROR_CLI" run \'work\' -- "$@"\n'
ID = "11111111-2222-4333-8444-555555555555"
OURS = f"#!/bin/sh\n# codex-mirror wrapper of clone {ID} (made by codex-mirror)\n"

OWNERS: list[tuple[str, Callable[[Path], object], str]] = [
    ("ours", lambda path: path.write_text(OURS), ID),
    ("ours, without more", lambda path: path.write_text(OURS.partition(" (")[0]), ID),
    ("ours, spoiled below", lambda path: path.write_bytes(OURS.encode() + b"\xff\xfe\0rm -rf /\n"), ID),
    ("an earlier program's", lambda path: path.write_text(LEGACY), "legacy:work"),
    ("an earlier program's, indented", lambda path: path.write_text(LEGACY.replace("exec", "  exec")), "legacy:work"),
    ("an earlier program's for sh", lambda path: path.write_text(LEGACY.replace("env bash", "env sh")), "legacy:work"),
    ("the mark on another line", lambda path: path.write_text("\n" + OURS), ""),
    ("the mark on the first line", lambda path: path.write_text(OURS.split("\n", 1)[1]), ""),
    ("the mark in a line", lambda path: path.write_text(OURS.replace("# codex", "echo # codex")), ""),
    ("nothing in it", lambda path: path.write_text(""), ""),
    ("another script", lambda path: path.write_text("#!/bin/sh\necho\n"), ""),
    ("a script that talks of it", lambda path: path.write_text(LEGACY.replace("exec", "echo exec")), ""),
    ("one for python", lambda path: path.write_text(LEGACY.replace("env bash", "env python3")), ""),
    ("a big file", lambda path: path.write_bytes(OURS.encode() + b"#" * (1 << 20)), ""),
    ("a directory", Path.mkdir, ""),
    ("a FIFO", os.mkfifo, ""),
    ("a link to ours", lambda path: (Path(f"{path}2").write_text(OURS), path.symlink_to(f"{path}2")), ""),
    ("a link to nothing", lambda path: path.symlink_to("nowhere"), ""),
    ("nothing", lambda path: None, ""),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "make", "owner"), OWNERS, ids=[row[0] for row in OWNERS])
def test_the_owner_of_a_wrapper_is_the_one_on_its_second_line(
    tmp_path: Path, kind: str, make: Callable[[Path], object], owner: str
) -> None:
    make(tmp_path / "it")
    assert cm.wrapper_owner(str(tmp_path / "it")) == owner


def test_a_wrapper_is_ours_only_with_our_id_or_in_the_old_shape_and_under_our_name(home: Home) -> None:
    clone = clone_like(home, "work", id=ID)
    for name, content, ours in (
        ("work", OURS, True),
        ("play", OURS, False),
        ("work", OURS.replace(ID, ID[:-1]), False),
        ("work", LEGACY, True),
        ("play", LEGACY, False),
        ("work", LEGACY.replace("'work'", "'work2'"), False),
        ("work", LEGACY.replace("'work'", "'play'"), False),
    ):
        path = home.bin / name
        path.write_text(content)
        assert cm.is_wrapper_of(clone, str(path)) == ours, (name, content)
        path.unlink()


def test_what_we_write_is_known_again_and_holds_no_secret(home: Home) -> None:
    for clone in (
        clone_like(home),
        clone_like(home, "play", home="shared"),
        clone_like(home, "x", root="/a'\n$(b)\udcff"),
    ):
        path = home.bin / clone.name
        path.write_bytes(cm.wrapper_content(clone, places_of(home)))
        assert cm.wrapper_owner(str(path)) == clone.id and cm.is_wrapper_of(clone, str(path))
        assert cm.wrapper_content(clone, places_of(home)) == path.read_bytes()


COMMANDS: list[tuple[str, Callable[[Home], object], str]] = [
    ("free", lambda home: None, ""),
    ("a stranger's file", lambda home: (home.bin / "work").write_text("x"), "isn't ours"),
    ("a link", lambda home: (home.bin / "work").symlink_to("nowhere"), "isn't ours"),
    ("a directory", lambda home: (home.bin / "work").mkdir(), "isn't ours"),
    ("a wrapper of nobody", lambda home: (home.bin / "work").write_text(OURS), "isn't in the registry"),
    ("a command of the same name", lambda home: command(home, "work", "x"), "is a command already"),
    ("a file that is no command", lambda home: command(home, "work", "x", 0o644), ""),
    ("a wrapper of ours elsewhere on PATH", lambda home: command(home, "work", OURS), ""),
]


def command(home: Home, name: str, content: str, mode: int = 0o755) -> None:
    directory = home.base / "commands"
    directory.mkdir()
    (directory / name).write_text(content)
    (directory / name).chmod(mode)
    home.put_on_path(directory)


@pytest.mark.parametrize(("kind", "occupy", "says"), COMMANDS, ids=[row[0] for row in COMMANDS])
def test_a_name_that_would_replace_or_be_shadowed_by_something_is_refused(
    home: Home, kind: str, occupy: Callable[[Home], object], says: str
) -> None:
    occupy(home)
    before = tree(home.base)
    if says:
        with pytest.raises(cm.MirrorError, match=says) as caught:
            cm.refuse_taken_command("work", places_of(home), home.env["PATH"])
        assert caught.value.code == cm.REFUSED
    else:
        cm.refuse_taken_command("work", places_of(home), home.env["PATH"])
    assert tree(home.base) == before


def test_the_commands_of_the_machine_are_refused(home: Home) -> None:
    for name in ("env", "ls", "cat"):
        assert shutil.which(name, path=home.env["PATH"])
        with pytest.raises(cm.MirrorError, match="is a command already"):
            cm.refuse_taken_command(name, places_of(home), home.env["PATH"])
