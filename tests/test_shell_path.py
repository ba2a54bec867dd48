"""Shell PATH: is the wrapper directory on PATH; the managed block in the rc files."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import stat
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from helpers import Home, run
from rooms import ROOT, ask, at_rest, caller_in, changes, cm, places_of

SOMEBODY_ELSE = 54321
LINES = (cm.path_line("/b", "sh"),)
BLOCK = cm.path_block(LINES)

PATHS = [
    ("/b", True),
    ("/a:/b:/c", True),
    ("/a:/b/:/c", True),
    ("/a:/x/../b", True),
    ("/a://b", True),
    ("b", False),
    ("", False),
    ("/bb:/a/b", False),
    (":", False),
]


def test_an_rc_file_is_named_as_any_path_is() -> None:
    places = cm.Places("/m", "/b", "/nowhere/h")
    named = ("~/.x", "//nowhere/h/.x", "/nowhere/h/y/../.x")
    assert [cm.checked_rc_file(text, places) for text in named] == ["/nowhere/h/.x"] * 3


@pytest.mark.parametrize(("path", "answer"), PATHS)
def test_a_directory_is_on_path_when_an_entry_means_it(path: str, answer: bool) -> None:
    assert cm.is_on_path("/b", {"PATH": path}) == answer and not cm.is_on_path("/b", {})


def test_the_shell_is_the_user_s_as_far_as_we_know_its_files() -> None:
    shells = {
        "/bin/bash": "bash",
        "/usr/bin/zsh": "zsh",
        "/opt/bin/fish": "fish",
        "/bin/dash": "sh",
        "": "sh",
        "/bin/tcsh": "sh",
    }
    assert {path: cm.shell_of({"SHELL": path}) for path in shells} == shells and cm.shell_of({}) == "sh"
    strange = {**dict.fromkeys(shells, ""), "/bin/tcsh": "tcsh", "/bin/nu": "nu", "/bin/mksh": ""}
    assert {path: cm.unknown_shell({"SHELL": path}) for path in strange} == strange and cm.unknown_shell({}) == ""


RELOADS = [
    ("bash", ".bashrc", True, "exec bash"),
    ("bash", ".bash_profile", True, "exec bash -l"),
    ("bash", ".profile", True, "exec bash -l"),
    ("bash", ".bashrc", False, ". '/h/.bashrc'"),
    ("zsh", ".zshrc", True, "exec zsh"),
    ("zsh", ".zprofile", True, "exec zsh -l"),
    ("zsh", "it's", False, ". '/h/it'\\''s'"),
    ("fish", ".config/fish/conf.d/codex-mirror.fish", True, "exec fish"),
    ("fish", "it's.fish", False, "source '/h/it\\'s.fish'"),
    ("sh", ".profile", True, ". '/h/.profile'"),
]


@pytest.mark.parametrize(("shell", "name", "is_own", "line"), RELOADS)
def test_a_shell_is_reloaded_so_that_it_reads_the_file(shell: str, name: str, is_own: bool, line: str) -> None:
    assert cm.reload_line(shell, f"/h/{name}", is_own) == line


IN_A_CLONE = {"HOME": "/c", "XDG_CONFIG_HOME": "/c/.config", "CODEX_MIRROR_CLONE": "w", "CODEX_MIRROR_USER_HOME": "/u"}
IN_A_SHARED_ONE = {**IN_A_CLONE, "HOME": "/u", "XDG_CONFIG_HOME": "/x"}
FILES: list[tuple[str, Mapping[str, str], list[str], str, list[str]]] = [
    ("zsh", {}, [], "Linux", [".zshrc"]),
    ("zsh", {}, [], "Darwin", [".zshrc", ".zprofile"]),
    ("zsh", {"ZDOTDIR": "/z"}, [], "Darwin", ["/z/.zshrc", "/z/.zprofile"]),
    ("zsh", {"ZDOTDIR": "/z"}, [], "Linux", ["/z/.zshrc"]),
    ("zsh", {"ZDOTDIR": ""}, [], "Linux", [".zshrc"]),
    ("fish", {}, [], "Linux", [".config/fish/conf.d/codex-mirror.fish"]),
    ("fish", {"XDG_CONFIG_HOME": "/x"}, [], "Linux", ["/x/fish/conf.d/codex-mirror.fish"]),
    ("fish", IN_A_CLONE, [], "Linux", [".config/fish/conf.d/codex-mirror.fish"]),
    ("fish", IN_A_SHARED_ONE, [], "Linux", ["/x/fish/conf.d/codex-mirror.fish"]),
    ("sh", {}, [".bashrc"], "Linux", [".profile"]),
    ("bash", {}, [], "Linux", [".bashrc", ".profile"]),
    ("bash", {}, [], "Darwin", [".bashrc", ".bash_profile"]),
    ("bash", {}, [".profile"], "Linux", [".bashrc", ".profile"]),
    ("bash", {}, [".profile"], "Darwin", [".bashrc", ".profile"]),
    ("bash", {}, [".profile", ".bash_login"], "Linux", [".bashrc", ".bash_login"]),
    ("bash", {}, [".profile", ".bash_login", ".bash_profile"], "Linux", [".bashrc", ".bash_profile"]),
]  # fmt: skip


@pytest.mark.parametrize(("shell", "env", "there", "system", "files"), FILES)
def test_each_shell_has_its_files(
    home: Home, shell: str, env: Mapping[str, str], there: list[str], system: str, files: list[str]
) -> None:
    for name in there:
        (home.home / name).symlink_to("nowhere")
    assert cm.rc_files(shell, env, str(home.home), system) == [os.path.join(home.home, name) for name in files]


# --- after `path setup` the real shells find the commands ---

STARTS: list[tuple[str, list[str], list[str]]] = [
    ("bash", [], ["-i"]),
    ("bash", [], ["-l"]),
    ("bash", [".profile"], ["-l"]),
    ("bash", [".bash_profile"], ["-l"]),
    ("bash", [".bash_login"], ["-l"]),
    ("zsh", [], ["-i"]),
    ("zsh", [], ["-i", "-l"]),
    ("fish", [], []),
    ("fish", [], ["-l"]),
    ("sh", [".profile"], ["-l"]),
]


@pytest.mark.parametrize(("shell", "there", "flags"), STARTS)
def test_after_setup_the_real_shell_finds_the_commands_and_after_removal_it_does_not(
    home: Home, shell: str, there: list[str], flags: list[str]
) -> None:
    program = shutil.which(shell)
    if program is None or (shell == "sh" and "-l" in flags and run([program, "-l", "-c", ":"], env=home.env).code):
        pytest.skip(f"needs {shell} {' '.join(flags)}")
    for name in there:
        (home.home / name).write_text("SEEN=1\n")
    (home.bin / "work").write_text("#!/bin/sh\necho found\n")
    (home.bin / "work").chmod(0o755)
    env = {**home.env, "SHELL": program, "TERM": "dumb"}

    def found() -> str:
        return run([program, *flags, "-c", "work"], env=env, cwd=home.home, stdin=b"").out

    before = at_rest(home)
    assert "found" not in found()
    assert ask(home, "path", "status", env={"SHELL": program}).code == 1
    assert ask(home, "path", "setup", env={"SHELL": program}).code == 0
    assert found() == "found\n"
    assert ask(home, "path", "remove", env={"SHELL": program}).code == 0
    left = {path for path in changes(before, at_rest(home)) if path.startswith("h") and "/fish/fish_" not in path}
    ours = {path for path in left if not path.startswith(("h/.config/fish", "h/.local", "h/.cache", "h/.config"))}
    assert ours == set() and not (home.home / ".config/fish/conf.d/codex-mirror.fish").exists()


def test_the_directories_that_setup_made_go_with_the_block_when_nothing_else_is_in_them(home: Home) -> None:
    before = at_rest(home)
    assert ask(home, "path", "setup", "--shell", "fish").code == 0
    assert ask(home, "path", "remove").code == 0
    assert {path for path in changes(before, at_rest(home)) if not path.startswith("m")} == set()
    assert ask(home, "path", "setup", "--shell", "fish").code == 0
    (home.home / ".config" / "fish" / "config.fish").write_text("mine\n")
    assert ask(home, "path", "remove").code == 0
    assert sorted(path.name for path in home.home.rglob("*")) == [".config", "config.fish", "fish"]


def test_a_directory_that_was_there_before_stays(home: Home) -> None:
    (home.home / ".config" / "fish").mkdir(parents=True)
    before = at_rest(home)
    for words in (["setup", "--shell", "fish"], ["remove"]):
        assert ask(home, "path", *words).code == 0
    assert {path for path in changes(before, at_rest(home)) if not path.startswith("m")} == set()


# --- several directories in one block ---


@pytest.mark.parametrize("shell", ["sh", "fish"])
def test_a_setup_keeps_what_the_block_puts_on_path_and_puts_its_own_in_front(home: Home, shell: str) -> None:
    file = home.home / (".profile" if shell == "sh" else ".config/fish/conf.d/codex-mirror.fish")
    if shell == "sh":
        file.write_text("mine")
    before = at_rest(home)
    odd = home.home / "an $(odd) 'one'"
    odd.mkdir()

    def named() -> list[str]:
        return list(cm.path_lines(file.read_bytes(), str(home.home)))

    def path(deed: str, *options: Any) -> str:
        result = ask(home, "path", deed, "--shell", shell, *options)
        assert result.code == 0, result.err
        return str(result.out)

    for options, directories in (
        ([], [home.bin]),
        (["--bin-dir", odd], [home.bin, odd]),
        ([], [odd, home.bin]),
        (["--bin-dir", home.base / "new"], [odd, home.bin, home.base / "new"]),
    ):
        path("setup", *options)
        assert named() == [str(directory) for directory in directories]
        assert "already" in path("setup", *options)
    assert f"removed {odd} from {file}" in path("remove", "--bin-dir", odd)
    assert f"no codex-mirror block names {odd}" in path("remove", "--bin-dir", odd)
    assert named() == [str(home.bin), str(home.base / "new")]
    odd.rmdir()
    told = path("remove")
    assert named() == [str(home.base / "new")] and f"path remove --bin-dir '{home.base}/new'" in told
    path("remove", "--bin-dir", home.base / "new")
    assert {name for name in changes(before, at_rest(home)) if not name.startswith("m")} == set()


def test_a_setup_keeps_a_directory_that_is_not_there_yet(home: Home) -> None:
    assert ask(home, "path", "setup", "--bin-dir", home.base / "later", "--shell", "sh").code == 0
    assert ask(home, "path", "setup", "--shell", "sh").code == 0
    assert list(cm.path_lines((home.home / ".profile").read_bytes())) == [str(home.base / "later"), str(home.bin)]


def test_the_last_directory_takes_the_block_with_it_and_a_block_that_is_not_of_these_lines_stays(home: Home) -> None:
    file = home.home / ".profile"
    before = at_rest(home)
    assert ask(home, "path", "setup", "--shell", "sh").code == 0
    assert ask(home, "path", "remove", "--bin-dir", home.bin).code == 0
    assert {name for name in changes(before, at_rest(home)) if not name.startswith("m")} == set()
    earlier = f"{cm.BLOCK_START}\nexport PATH={home.bin}:$PATH\n{cm.BLOCK_END}\n"
    file.write_text(earlier)
    assert ask(home, "path", "remove", "--bin-dir", home.bin).code == 0
    assert file.read_text() == earlier


# --- editing one file ---


def edit(home: Home, path: Path, lines: Sequence[str] = LINES) -> bool:
    with cm.begin_change(caller_in(home), "test") as change:
        changed: bool = cm.edit_rc_file(change, str(path), lambda _: lines)
    return changed


def test_a_file_keeps_its_mode_its_owner_and_its_attributes(home: Home) -> None:
    path = home.home / ".profile"
    path.write_text("a\n")
    path.chmod(0o640)
    if ROOT:
        os.chown(path, SOMEBODY_ELSE, SOMEBODY_ELSE)
    kept = b""
    if hasattr(os, "setxattr"):
        try:
            os.setxattr(path, "user.mine", b"yes")
            kept = b"yes"
        except OSError:
            pass
    before = path.stat()
    assert edit(home, path) and not edit(home, path)
    after = path.stat()
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
    assert not kept or os.getxattr(path, "user.mine") == kept
    assert path.read_text().startswith("a\n") and edit(home, path, []) and path.read_text() == "a\n"


@pytest.mark.parametrize("shell", ["sh", "bash", "zsh"])
def test_a_file_with_several_names_is_left_with_the_lines_to_add(home: Home, shell: str) -> None:
    """A new file in its place would cut it off from the others: a backup that is made of links, a dotfiles manager."""
    name = {"sh": ".profile", "bash": ".bashrc", "zsh": ".zshrc"}[shell]
    (home.base / "dotfiles").write_text("mine\n")
    os.link(home.base / "dotfiles", home.home / name)
    told = ask(home, "path", "setup", "--shell", shell)
    assert told.code == 5 and "hard links" in told.err and f"export PATH='{home.bin}'" in told.err
    assert (home.base / "dotfiles").read_text() == "mine\n"
    assert os.path.samefile(home.base / "dotfiles", home.home / name)
    assert ask(home, "path", "remove", "--shell", shell).code == 0


def test_links_stay_links_and_the_file_at_their_end_is_edited(home: Home) -> None:
    real = home.base / "dotfiles" / "deep" / "profile"
    real.parent.mkdir(parents=True)
    real.write_text("a\n")
    (home.base / "dotfiles" / "link").symlink_to("deep/profile")
    (home.home / ".profile").symlink_to("../dotfiles/link")
    assert edit(home, home.home / ".profile")
    assert os.readlink(home.home / ".profile") == "../dotfiles/link" and BLOCK[0] in real.read_text()
    assert sorted(path.name for path in (home.base / "dotfiles").rglob("*")) == ["deep", "link", "profile"]


def test_a_link_to_nothing_is_left_with_the_lines_to_add(home: Home) -> None:
    """It leads into a repository of dotfiles that isn't there now, or not in this version."""
    (home.home / ".profile").symlink_to("../dotfiles/new/profile")
    before = at_rest(home)
    with pytest.raises(cm.MirrorError, match="which isn't there") as caught:
        edit(home, home.home / ".profile")
    assert caught.value.code == cm.REFUSED and list(caught.value.lines) == BLOCK
    assert not edit(home, home.home / ".profile", [])
    assert {path for path in changes(before, at_rest(home)) if not path.startswith("m")} == set()


def test_who_edits_the_file_at_the_same_time_loses_nothing(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    path = home.home / ".profile"
    path.write_text("a\n")
    copy_traits = cm.copy_metadata

    def edited_meanwhile(source: str, target: str) -> None:
        copy_traits(source, target)
        path.write_text("a\nb\n")

    monkeypatch.setattr(cm, "copy_metadata", edited_meanwhile)
    with pytest.raises(cm.MirrorError, match="another program is writing to it") as caught:
        edit(home, path)
    assert caught.value.code == cm.BUSY and path.read_text() == "a\nb\n"
    assert [one.name for one in home.home.iterdir()] == [".profile"]


def test_a_private_file_is_private_at_every_moment(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    path = home.home / ".profile"
    path.write_text("export TOKEN=x\n")
    path.chmod(0o600)
    modes: list[int] = []
    copy_traits = cm.copy_metadata

    def looked_at(source: str, target: str) -> None:
        modes.append(stat.S_IMODE(os.stat(target).st_mode))
        copy_traits(source, target)

    monkeypatch.setattr(cm, "copy_metadata", looked_at)
    assert edit(home, path) and [*modes, stat.S_IMODE(path.stat().st_mode)] == [0o600, 0o600]


def test_a_file_of_ours_that_is_written_meanwhile_stays(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    path = home.home / ".profile"
    edit(home, path)
    extend = cm.Change.extend_plan

    def edited_meanwhile(change: Any, **parts: Any) -> None:
        extend(change, **parts)
        path.write_bytes(path.read_bytes() + b"mine\n")

    monkeypatch.setattr(cm.Change, "extend_plan", edited_meanwhile)
    with pytest.raises(cm.MirrorError, match="another program is writing to it"):
        edit(home, path, [])
    assert path.read_text().endswith("mine\n")


def test_an_owner_that_can_t_be_kept_is_a_reason_to_leave_the_file(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    path = home.home / ".profile"
    path.write_text("a\n")

    def refuse(source: str, target: str) -> None:
        raise PermissionError(1, "Operation not permitted", target)

    monkeypatch.setattr(cm, "copy_metadata", refuse)
    with pytest.raises(cm.MirrorError, match="its owner can't be kept") as caught:
        edit(home, path)
    assert caught.value.code == cm.REFUSED and path.read_text() == "a\n"
    assert [one.name for one in home.home.iterdir()] == [".profile"]


def test_a_new_file_is_readable_by_all_and_never_takes_another_s_place(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = home.home / ".profile"
    assert edit(home, path) and stat.S_IMODE(path.stat().st_mode) == 0o644
    assert edit(home, path, []) and not path.exists()
    write_new = cm.write_new

    def somebody_came(target: str, content: bytes, mode: int = 0o600) -> None:
        write_new(target, content, mode)
        if ".profile." in target:
            path.write_text("theirs\n")

    monkeypatch.setattr(cm, "write_new", somebody_came)
    with pytest.raises((OSError, cm.MirrorError)):
        edit(home, path)
    assert path.read_text() == "theirs\n" and [one.name for one in home.home.iterdir()] == [".profile"]


BIN_DIRECTORIES: list[tuple[str, Callable[[Home], str], str]] = [
    ("there", lambda home: str(home.bin), ""),
    ("not there yet", lambda home: f"{home.base}/new/bin", ""),
    ("with a colon", lambda home: f"{home.base}/a:b", "can't be on PATH"),
    ("with a newline", lambda home: f"{home.base}/a\nb", "can't be on PATH"),
    ("a file", lambda home: (home.base / "file").write_text("x") and f"{home.base}/file", "is not a directory"),
    ("a link to nothing", lambda home: os.symlink("x", home.base / "l") or f"{home.base}/l", "is not a directory"),
    ("odd", lambda home: f"{home.base}/$(x) 'y'", ""),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "directory", "says"), BIN_DIRECTORIES, ids=[row[0] for row in BIN_DIRECTORIES])
def test_a_wrapper_directory_must_be_one_and_fit_for_path(
    home: Home, kind: str, directory: Callable[[Home], str], says: str
) -> None:
    wanted = directory(home)
    if not says:
        assert cm.checked_bin_dir(wanted, places_of(home)) == wanted
        return
    with pytest.raises(cm.MirrorError, match=says) as caught:
        cm.checked_bin_dir(wanted, places_of(home))
    assert caught.value.code == cm.REFUSED


def test_without_a_wrapper_directory_by_name_it_is_the_one_of_the_places(home: Home) -> None:
    assert cm.checked_bin_dir("", places_of(home)) == str(home.bin)
    assert cm.checked_bin_dir("~/b", places_of(home)) == f"{home.home}/b"


# --- zsh's directory, Debian's .bashrc, other people's homes, GitHub's Actions ---

ZSHENVS = [
    ('export ZDOTDIR="$HOME/.config/zsh"\n', ".config/zsh/.zshrc"),
    ("ZDOTDIR=~/.config/zsh\n", ".config/zsh/.zshrc"),
    ("echo words; : ${ZDOTDIR:=${XDG_CONFIG_HOME:-$HOME/.config}/zsh}\n", ".config/zsh/.zshrc"),
    ("# export ZDOTDIR=/elsewhere\n", ".zshrc"),
    ("export ZDOTDIR=relative\n", ".zshrc"),
    ("exit 1\n", ".zshrc"),
    ("", ".zshrc"),
]


@pytest.mark.skipif(shutil.which("zsh") is None, reason="needs zsh")
@pytest.mark.parametrize(("zshenv", "file"), ZSHENVS)
def test_zsh_s_own_file_is_found_where_its_zshenv_says_and_zsh_reads_it(home: Home, zshenv: str, file: str) -> None:
    (home.home / ".zshenv").write_text(zshenv)
    (home.home / ".config" / "zsh").mkdir(parents=True)
    env = {**home.env, "SHELL": shutil.which("zsh") or ""}
    assert cm.rc_files("zsh", env, str(home.home), "Linux") == [str(home.home / file)]
    (home.bin / "work").write_text("#!/bin/sh\necho found\n")
    (home.bin / "work").chmod(0o755)
    assert ask(home, "path", "setup", "--shell", "zsh").code == 0
    if zshenv[:4] != "exit" and "relative" not in zshenv:
        assert run(["zsh", "-ic", "work"], env=home.env, cwd=home.home, stdin=b"").out.endswith("found\n")
    assert ask(home, "path", "remove").code == 0 and not (home.home / file).exists()


@pytest.mark.skipif(shutil.which("zsh") is None, reason="needs zsh")
def test_inside_a_clone_zsh_s_own_file_is_still_the_user_s(home: Home) -> None:
    (home.home / ".zshenv").write_text('ZDOTDIR="${XDG_CONFIG_HOME:-$HOME/.config}/zsh"\n')
    own = str(home.base / "clone")
    env = {**home.env, "HOME": own, "XDG_CONFIG_HOME": f"{own}/.config", "CODEX_MIRROR_USER_HOME": str(home.home)}
    wanted = str(home.home / ".config/zsh/.zshrc")
    assert cm.rc_files("zsh", {**env, "CODEX_MIRROR_CLONE": "work"}, str(home.home), "Linux") == [wanted]


def test_without_zsh_its_file_is_the_usual_one(home: Home) -> None:
    (home.home / ".zshenv").write_text("export ZDOTDIR=/z\n")
    assert cm.rc_files("zsh", {"PATH": "/nowhere"}, str(home.home), "Linux") == [str(home.home / ".zshrc")]


DEBIAN = """# ~/.bashrc: executed by bash(1) for non-login shells.
# see /usr/share/doc/bash/examples/startup-files

# If not running interactively, don't do anything
case $- in
    *i*) ;;
      *) return;;
esac

HISTCONTROL=ignoreboth
"""
GUARDED = {
    "Debian's": (DEBIAN, "# If not running interactively"),
    "Arch's": ("# ~/.bashrc\n\n[[ $- != *i* ]] && return\nalias a=b\n", "[[ $-"),
    "an old one": ('x=1\n[ -z "$PS1" ] && return\ny=2\n', "[ -z"),
    "an if": ("x=1\nif [[ $- != *i* ]] ; then\n\t# Shell is non-interactive\n\treturn\nfi\ny=2\n", "if [["),
    "a test": ('test -n "$PS1" || return\ny=2\n', "test -n"),
    "the first line": ("case $- in *i*) ;; *) return ;; esac\n", "case $-"),
    "a terminal": ("[ -t 0 ] || return\n", "[ -t"),
}
UNGUARDED = {
    "no guard": "x=1\nalias a=b\n",
    "one that only asks": "case $- in *i*) alias a=b ;; esac\nx=1\n",
    "one in a function": 'f() {\n  [ -z "$PS1" ] && return\n}\n',
    "one in a comment": "# case $- in *) return ;; esac\n",
}


@pytest.mark.parametrize("kind", [*GUARDED, *UNGUARDED])
def test_a_new_block_stands_where_a_bash_without_a_terminal_reads_it_too(home: Home, kind: str) -> None:
    text, before = GUARDED.get(kind) or (UNGUARDED[kind], "")
    (home.home / ".bashrc").write_text(text)
    (home.bin / "work").write_text("#!/bin/sh\necho found\n")
    (home.bin / "work").chmod(0o755)
    assert ask(home, "path", "setup", "--shell", "bash").code == 0
    written = (home.home / ".bashrc").read_text()
    behind = written.partition(cm.BLOCK_END + "\n")[2]
    assert behind.startswith(before) if before else behind == ""
    for words in (["-c", f". {home.home}/.bashrc; work"], ["-ic", "work"], ["-lc", "work"]):
        assert run(["bash", *words], env=home.env, cwd=home.home, stdin=b"").out == "found\n", words
    # As sshd starts it: not interactive, and where bash was built so, as Debian's is, it reads the file.
    by_sshd = {**home.env, "SSH_CLIENT": "192.0.2.1 1 22"}
    (home.home / ".bashrc").write_text("echo read\n")
    reads = run(["bash", "-c", ":"], env=by_sshd, cwd=home.home, stdin=b"").out == "read\n"
    (home.home / ".bashrc").write_text(written)
    assert not reads or run(["bash", "-c", "work"], env=by_sshd, cwd=home.home, stdin=b"").out == "found\n"
    assert ask(home, "path", "setup", "--shell", "bash").code == 0 and (home.home / ".bashrc").read_text() == written
    assert ask(home, "path", "remove").code == 0 and (home.home / ".bashrc").read_text() == text


def test_a_block_that_is_there_stays_where_it_is_and_as_it_is(home: Home) -> None:
    """Also one with the whole path, as it was written before."""
    own = home.home / "bin"
    text = DEBIAN + "\n".join(cm.path_block([cm.path_line(str(own), "sh")])) + "\n"
    for name in (".bashrc", ".profile"):
        (home.home / name).write_text(text)
    assert "already" in ask(home, "path", "setup", "--shell", "bash", "--bin-dir", own).out
    assert (home.home / ".bashrc").read_text() == text
    assert ask(home, "path", "remove", "--bin-dir", own).code == 0 and (home.home / ".bashrc").read_text() == DEBIAN


@pytest.mark.parametrize("name", ["bin", ".local/bin", "an $(odd) 'one' \\\"", "a * b", "ü"])
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "dash"])
def test_a_directory_below_home_is_written_so_that_it_is_another_user_s_too(home: Home, shell: str, name: str) -> None:
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"needs {shell}")
    ours, theirs = home.home / name, home.base / "other home" / name
    for directory in (ours, theirs):
        directory.mkdir(parents=True)
        (directory / "work").write_text("#!/bin/sh\necho found\n")
        (directory / "work").chmod(0o755)
    rc = home.home / ("it.fish" if shell == "fish" else "it")
    setup = ["path", "setup", "--bin-dir", ours, "--rc-file", rc]
    assert ask(home, *setup).code == 0 and str(home.home) not in rc.read_text()
    assert "already" in ask(home, *setup).out
    source = f"source '{rc}'" if shell == "fish" else f". '{rc}'"
    count = "; count $PATH" if shell == "fish" else ""
    for user in (home.home, home.base / "other home"):
        env = {**home.env, "HOME": str(user)}
        once, twice = (
            run([program, "-c", f"{many} command -v work{count}"], env=env).out
            for many in (f"{source};", f"{source}; {source};")
        )
        assert once == twice and once.startswith(f"{user}/{name}/work"), once
    assert str(ours) in ask(home, "path", "status", "--bin-dir", ours, "--rc-file", rc).out
    assert ask(home, "path", "remove", "--bin-dir", ours, "--rc-file", rc).code == 0 and not rc.exists()


def test_a_removal_leaves_the_lines_of_others(home: Home) -> None:
    theirs = cm.path_line("/home/other/.local/bin", "sh")
    block = "\n".join(cm.path_block([theirs])) + "\n"
    (home.home / ".profile").write_text(block)
    assert ask(home, "path", "setup", "--shell", "sh").code == 0
    told = ask(home, "path", "remove", "--shell", "sh")
    assert told.code == 0 and "path remove --bin-dir '/home/other/.local/bin'" in told.out
    assert (home.home / ".profile").read_text() == block


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "sh"])
def test_what_setup_has_done_is_not_advised_again(home: Home, codex: Path, shell: str) -> None:
    env = {"SHELL": f"/bin/{shell}"}
    assert ask(home, "create", "work", env=env).code == 0

    def advice() -> tuple[str, str]:
        status, doctor = (ask(home, *words, env=env) for words in (["path", "status"], ["doctor", "work"]))
        return status.err, doctor.out

    assert all(" path setup" in told for told in advice())
    done = ask(home, "path", "setup", env=env)
    [reload] = [line.partition(": ")[2] for line in done.out.splitlines() if "in this shell" in line]
    for told in advice():
        assert "path setup" not in told and reload in told
    (home.home / ".bash_login").touch()  # Now bash reads another file at login.
    if shell == "bash":
        assert all(" path setup" in told for told in advice())


def hard_linked(path: Path) -> None:
    path.write_text("a\n")
    os.link(path, path.with_name(f"another name of {path.name}"))


IN_THE_WAY: dict[str, Callable[[Path], object]] = {
    "a link to nothing": lambda path: path.symlink_to("dots/x"),
    "a file with two names": hard_linked,
    "a file that is read-only": lambda path: (path.touch(), path.chmod(0o444)),
    "half a block": lambda path: path.write_text(BLOCK[0] + "\n"),
    "a directory": lambda path: path.mkdir(),
    "nothing": lambda path: None,
}
FILES_OF = {"bash": (".bashrc", ".profile"), "zsh": (".zshrc",), "sh": (".profile",)}


@pytest.mark.parametrize("what", IN_THE_WAY)
@pytest.mark.parametrize(("shell", "which"), [("bash", 0), ("bash", 1), ("bash", -1), ("zsh", -1), ("sh", -1)])
@pytest.mark.parametrize("options", [(), ("--shell",)])
def test_no_advice_goes_round_in_a_circle(
    home: Home, shell: str, which: int, what: str, options: tuple[str, ...]
) -> None:
    """One does what one is told, whatever is in the way of the files of the shell, and isn't told the same again."""
    for name in FILES_OF[shell] if which < 0 else FILES_OF[shell][which : which + 1]:
        IN_THE_WAY[what](home.home / name)
    env = {"SHELL": "/bin/fish" if options else f"/bin/{shell}"}
    asked = ["path", "status", *options, *([shell] if options else [])]
    told = ask(home, *asked, env=env).err
    for _ in range(2):
        how, _, rest = told.partition(" path setup")
        if not how.startswith("to add it"):
            break
        ask(home, "path", "setup", *shlex.split(rest), env=env)
        told, before = ask(home, *asked, env=env).err, told
        assert told != before
    is_free = what == "nothing" or (shell == "bash" and which >= 0)
    assert told.startswith(f"to use {home.bin} in this shell: " if is_free else f"to add {home.bin}, write into "), told
    if not options:
        assert told.partition(": ")[2].strip() in ask(home, "doctor", env=env).out
    if not is_free:
        line = told.split(": ", 1)[1]
        said = run(["sh", "-c", f"{line}\necho :$PATH:"], env=home.env).out
        assert f":{home.bin}:" in said, "and the line does it"


@pytest.mark.parametrize("shell", ["nu", "tcsh", "xonsh"])
def test_a_shell_that_isn_t_known_is_told_of_once_and_then_the_directory(home: Home, shell: str) -> None:
    env = {"SHELL": f"/opt/{shell}"}
    assert "path setup" in ask(home, "path", "status", env=env).err
    assert f"{shell} may not read" in ask(home, "path", "setup", env=env).out
    status, doctor = ask(home, "path", "status", env=env).err, ask(home, "doctor", env=env).out
    assert f"have {shell} look for commands in: {home.bin}" in status
    assert f"have {shell} look for commands in: {home.bin}" in doctor and "path setup" not in status + doctor


def test_in_github_s_actions_the_next_steps_find_the_commands(home: Home) -> None:
    file = home.base / "github_path"
    file.write_text("/before\n")
    env = {"GITHUB_ACTIONS": "true", "GITHUB_PATH": str(file), "SHELL": "/bin/bash"}
    before = at_rest(home)
    for _ in range(2):
        assert "next step" in ask(home, "path", "setup", env=env).out
        assert file.read_text() == f"/before\n{home.bin}\n"
    status, doctor = ask(home, "path", "status", env=env), ask(home, "doctor", env=env)
    assert "next step" in status.out and "path setup" not in status.err + doctor.out
    [line] = re.findall(r"in this one: (.*)", status.err)
    assert line in doctor.out and run(["sh", "-c", f"{line}\necho $PATH"], env=home.env).out.startswith(f"{home.bin}:")
    assert {name for name in changes(before, at_rest(home)) if not name.startswith("m")} == {"github_path"}
    file.write_text("/cut off")
    dry = ask(home, "path", "setup", "--dry-run", env=env)
    assert f"would write  {file}\n" in dry.out and file.read_text() == "/cut off"
    assert ask(home, "path", "setup", env=env).code == 0 and file.read_text() == f"/cut off\n{home.bin}\n"
    assert ask(home, "path", "setup", "--shell", "sh", env=env).code == 0 and (home.home / ".profile").exists()


@pytest.mark.parametrize("shell", ["sh", "fish"])
def test_a_directory_below_the_root_as_home_is_named_as_it_is(shell: str) -> None:
    assert "HOME" not in cm.path_line("/b", shell, home="/") and "'/b'" in cm.path_line("/b", shell, home="/")


def test_the_marks_of_a_block_that_is_to_be_added_by_hand_are_those_that_are_looked_for_later() -> None:
    for marks in (cm.PATH_MARKS, cm.SHIM_MARKS):
        assert [cm.with_program_name(mark, "python3 /x.py") for mark in marks] == [*marks]
    assert cm.with_program_name("to do it: codex-mirror shim install", "cm") == "to do it: cm shim install"
