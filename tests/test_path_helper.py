"""path_helper, which at each login of a Mac puts the system's directories in front: what is found all the same."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from darwin import Mac
from helpers import Home, run
from rooms import clone_in, cm, make_clone, skip_without

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="a Mac is imitated on Linux only")

# What /etc/zprofile and /etc/profile have it do there: the system's directories, then those of before, each once.
PATH_HELPER = """\
cm_out=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin cm_ifs=$IFS IFS=:
set -f; for cm_one in $(printf %s "$PATH"); do
  case ":$cm_out:" in *":$cm_one:"*) ;; *) cm_out=$cm_out:$cm_one ;; esac
done; set +f; IFS=$cm_ifs PATH=$cm_out; export PATH
"""
# Its like in fish, which puts what it finds in /etc/paths in front at a login.
FISH_HELPER = """\
set -l out /usr/local/bin /usr/bin /bin /usr/sbin /sbin
for one in $PATH; contains -- $one $out; or set -a out $one; end
set -gx PATH $out
"""
# A shell, the file that it reads at a login, and how it is started so.
LOGINS: list[tuple[str, str, list[str]]] = [
    ("zsh", ".zprofile", ["zsh", "-lc"]),
    ("bash", ".bash_profile", ["bash", "-lc"]),
]


@pytest.mark.parametrize(("shell", "file", "start"), LOGINS, ids=[row[0] for row in LOGINS])
def test_a_login_shell_of_a_mac_finds_commands_and_the_shim_first(
    home: Home, codex: Path, mac: Mac, shell: str, file: str, start: list[str]
) -> None:
    skip_without(shell)
    make_clone(home, "work")
    (home.home / file).write_text(PATH_HELPER)
    env = {"SHELL": f"/bin/{shell}"}
    told = mac("path", "setup", env=env)
    assert told.code == 0 and str(home.home / file) in told.out
    assert mac("use", "work", "--default").code == 0 and mac("shim", "install", env=env).code == 0
    words = "command -v work; command -v codex; echo $PATH"
    once = run([*start, words], env=home.env).out
    # As in tmux: a login shell in a login shell in a login shell.
    thrice = run([*start, f"{shell} -lc '{shell} -lc \"{words.replace('$', chr(92) + '$')}\"'"], env=home.env).out
    for shown in (once, thrice):
        command, shim, path = shown.splitlines()
        assert command == str(home.bin / "work") and shim == f"{home.mirror}/shim/codex"
        entries = path.split(":")
        assert entries[0] == f"{home.mirror}/shim" and entries.count(entries[0]) == entries.count(str(home.bin)) == 1
    assert len(once) == len(thrice)
    assert mac("path", "remove", env=env).code == mac("shim", "remove", env=env).code == 0
    assert (home.home / file).read_text() == PATH_HELPER


def test_zsh_has_the_block_in_both_its_files_on_a_mac(home: Home, mac: Mac) -> None:
    env = {"SHELL": "/bin/zsh"}
    assert mac("path", "setup", env=env).code == 0
    blocks = [(home.home / name).read_text() for name in (".zshrc", ".zprofile")]
    assert blocks[0] == blocks[1] and cm.BLOCK_START in blocks[0]
    (home.home / ".zprofile").unlink()
    again = mac("path", "setup", env=env)
    assert str(home.home / ".zprofile") in again.out and "exec zsh -l" in again.out
    assert mac("path", "remove", env=env).code == 0 and not list(home.home.iterdir())


# A shell in a clone, and what it runs as at a login: path_helper, then the clone's own file.
INSIDE: list[tuple[str, list[str], str, str]] = [
    ("zsh", ["zsh", "-c"], ".zprofile", "."),
    ("bash", ["bash", "-c"], ".profile", "."),
    ("sh", ["sh", "-c"], ".profile", "."),
    ("fish", ["fish", "-lc"], ".config/fish/conf.d/codex-mirror.fish", "source"),
]


@pytest.mark.parametrize(("shell", "start", "file", "read"), INSIDE, ids=[row[0] for row in INSIDE])
def test_in_a_clone_a_login_shell_has_the_clone_in_front_after_path_helper(
    home: Home, codex: Path, mac: Mac, shell: str, start: list[str], file: str, read: str
) -> None:
    skip_without(shell)
    make_clone(home, "work")
    helper = home.base / "helper"
    helper.write_text(FISH_HELPER if shell == "fish" else PATH_HELPER)
    clone = clone_in(home, "work")
    login = f"{read} {helper}; {read} {Path(cm.home_of(clone)) / file}; "
    shown = mac("exec", "work", "--", *start, f"{login}echo $PATH; command -v codex; {login * 3}echo $PATH").out
    once, found, often = shown.splitlines()
    own = os.path.dirname(cm.wrapper_copy(clone))
    separator = " " if shell == "fish" else ":"
    assert once.split(separator)[0] == often.split(separator)[0] == own and found == cm.wrapper_copy(clone)
    assert len(often) == len(once)
