"""Shells and other programs in a clone: they find the user's programs, and the clone's own Codex."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from helpers import Home, program_words, run, tree
from rooms import ask, clone_in, cm, make_clone, on_terminal, raw, skip_without

PROGRAM_LINE = shlex.join(program_words())
LOGIN_SHELLS = {
    "bash": ["bash", "-lc"],
    "sh": ["sh", "-lc"],
    "dash": ["dash", "-lc"],
    "busybox": ["busybox", "sh", "-lc"],
    "zsh": ["zsh", "-lc"],
    "fish": ["fish", "-lc"],
}


def tool(directory: Path, name: str, text: str = "echo of the user") -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / name).write_text(f"#!/bin/sh\n{text}\n")
    (directory / name).chmod(0o755)
    return directory


@pytest.fixture
def work(home: Home, codex: Path) -> Any:
    """A clone, with a program of the user's and an installed Codex of another version on PATH."""
    clone = make_clone(home, "work")
    tool(home.home / "odd bin" / "x*y", "mytool")
    home.put_on_path(home.home / "odd bin" / "x*y")
    tool(home.base / "other", "codex", "echo codex-cli 9.9.9")
    home.put_on_path(home.base / "other")
    return clone


def printing(clone: Any, *names: str) -> None:
    """Makes the clone's Codex a program that does what its arguments say."""
    Path(clone.runtime.entry).unlink()
    Path(clone.runtime.entry).write_text('#!/bin/sh\nexec "$@"\n')
    Path(clone.runtime.entry).chmod(0o755)


@pytest.mark.parametrize("how", ["wrapper", "run", "exec", "env"])
@pytest.mark.parametrize("shell", LOGIN_SHELLS)
def test_login_shells_find_the_users_programs_and_the_clones_codex(home: Home, work: Any, shell: str, how: str) -> None:
    skip_without(LOGIN_SHELLS[shell][0])
    script = [*LOGIN_SHELLS[shell], "mytool; codex --version"]
    if how in ("wrapper", "run"):
        printing(work)
        script[-1] = "mytool; command -v codex"
    starts = {
        "wrapper": [work.wrapper, *script],
        "run": [*program_words(), "run", "work", *script],
        "exec": [*program_words(), "exec", "work", *script],
        "env": ["sh", "-c", f'eval "$({PROGRAM_LINE} env work --shell sh)"; exec "$@"', "sh", *script],
    }
    said = run(starts[how], env={**home.env, "ZDOTDIR": str(home.home)})
    wanted = cm.wrapper_copy(work) if how in ("wrapper", "run") else "codex-cli 0.169.0"
    assert (said.out.splitlines(), said.err) == (["of the user", wanted], "")


@pytest.mark.parametrize("shell", LOGIN_SHELLS)
def test_a_login_shell_without_our_variables_does_not_look_for_programs_where_it_stands(
    home: Home, work: Any, tmp_path: Path, shell: str
) -> None:
    """As in a tool call of Codex with `shell_environment_policy.inherit = "core"`."""
    skip_without(LOGIN_SHELLS[shell][0])
    tool(tmp_path, "planted")
    env = {"HOME": cm.home_of(work), "PATH": "/usr/bin:/bin"}
    said = run([*LOGIN_SHELLS[shell], "planted; echo done"], env=env, cwd=tmp_path)
    assert said.out == "done\n"


def test_a_login_shell_in_a_login_shell_does_not_lengthen_path(home: Home, work: Any) -> None:
    script = 'bash -lc \'sh -lc "bash -lc \\"echo \\\\$PATH\\""\''
    once, thrice = (ask(home, "exec", "work", "--", "bash", "-lc", text).out for text in ("echo $PATH", script))
    assert once == thrice and once.startswith(os.path.dirname(cm.wrapper_copy(work)))
    if shutil.which("fish"):
        script = "fish -lc 'string join : $PATH'"
        one, two = (ask(home, "exec", "work", "--", "fish", "-lc", text).out for text in (script[10:-1], script))
        assert one == two and one.count(os.path.dirname(cm.wrapper_copy(work))) == 1
    nested = ask(home, "exec", "work", "--", work.wrapper, "--version", env={"PATH": once.strip()})
    assert nested.out == "codex-cli 0.169.0\n"


def test_the_users_own_login_files_stay(home: Home, codex: Path) -> None:
    (home.home / ".profile").write_text("echo my profile\n")
    ask(home, "create", "work", "--share", ".profile")
    assert ask(home, "exec", "work", "--", "sh", "-lc", ":").out == "my profile\n"
    assert (home.home / ".profile").read_text() == "echo my profile\n"
    own = Path(cm.home_of(clone_in(home, "work"))) / ".zprofile"
    own.write_text("# the clone's own\n")
    assert cm.missing_helpers(clone_in(home, "work")) == []
    assert ask(home, "doctor", "work", "--fix").code in (0, 1) and own.read_text() == "# the clone's own\n"


SHARED_LATER = {
    "a login file": (".profile", "share"),
    "what lies above one": (".config/fish", "share"),
    "an edited one": (".zprofile", "keep"),
}


@pytest.mark.parametrize("what", SHARED_LATER)
def test_a_login_file_of_ours_makes_way_for_the_users_and_comes_back(home: Home, work: Any, what: str) -> None:
    share, wanted = SHARED_LATER[what]
    (home.home / ".config" / "fish").mkdir(parents=True)
    (home.home / share).touch() if share.startswith(".") and "/" not in share else None
    own = Path(cm.home_of(work)) / share
    if wanted == "keep":
        own.write_text("# mine\n")
    before = tree(Path(cm.home_of(work)))
    ask(home, "set", "work", "--share", share, "--dry-run")
    assert tree(Path(cm.home_of(work))) == before
    said = ask(home, "set", "work", "--share", share)
    assert own.is_symlink() == (wanted == "share") and (share in clone_in(home, "work").shared) == (wanted == "share")
    if wanted == "keep":
        assert share in said.out + said.err
        return
    assert os.readlink(own) == str(home.home / share) and not cm.missing_helpers(clone_in(home, "work"))
    ask(home, "set", "work", "--unshare", share)
    assert tree(Path(cm.home_of(work))) == before


FISH_OF_1_1_0 = """# Written by codex-mirror: puts the PATH with which the clone was started in front again.
if status is-login; and set -q CODEX_MIRROR_PATH
    test "$PATH[1]" = (string split -f1 : $CODEX_MIRROR_PATH); or set -gx PATH (string split : $CODEX_MIRROR_PATH) $PATH
end
"""
# What a version that was released wrote, by SHA-256: whoever changes a text keeps its digest in EARLIER_HELPERS.
RELEASED = {
    "4a3bb9947ec165cd519c05a0f50fc96390f7874b016e258a1fd44b880332734a",
    "82935ea67896694eb3a12d1a2829a2077358faa7e47c962b61363c02e2336279",
    "f6d51b9a79c8ae0aef983f8387ca0c83bd566b6d4731f51d27975e6f7b238341",
}


def test_what_a_version_before_wrote_is_not_taken_for_the_user_s_own(home: Home, work: Any) -> None:
    fish = Path(cm.home_of(work)) / ".config/fish/conf.d/codex-mirror.fish"
    for text, own in ((FISH_OF_1_1_0, []), (FISH_OF_1_1_0 + "# mine\n", [str(fish)])):
        fish.write_text(text)
        assert cm.own_files(work) == own
    assert {*map(cm.digest_of_bytes, cm.helper_files(work).values()), *cm.EARLIER_HELPERS} >= RELEASED
    fish.write_text(FISH_OF_1_1_0)
    assert ask(home, "remove", "work").code == 0


def test_doctor_gives_an_older_clone_what_its_shells_need(home: Home, work: Any) -> None:
    for path in (*cm.helper_files(work), cm.wrapper_copy(work)):
        Path(path).unlink()
    shutil.rmtree(Path(cm.home_of(work)) / ".config")
    ids = {problem["id"] for problem in ask(home, "doctor", "work", "--json").json()[0]["problems"]}
    assert {"login-files", "wrapper-outdated"} <= ids
    ask(home, "doctor", "work", "--fix")
    assert (
        cm.missing_helpers(work) == [] and Path(cm.wrapper_copy(work)).read_bytes() == Path(work.wrapper).read_bytes()
    )
    assert ask(home, "exec", "work", "--", "bash", "-lc", "mytool").out == "of the user\n"


def test_the_copy_of_the_wrapper_stays_through_rename_and_another_directory(home: Home, work: Any) -> None:
    ask(home, "rename", "work", "job")
    ask(home, "wrapper", "install", "--bin-dir", home.base / "bin2")
    clone = clone_in(home, "job")
    assert cm.wrapper_copy(clone) == cm.wrapper_copy(work)
    assert run([cm.wrapper_copy(clone), "--version"], env=home.env).out == "codex-cli 0.169.0\n"
    assert Path(cm.wrapper_copy(clone)).read_bytes() == Path(clone.wrapper).read_bytes()


MINE = {
    **{"XDG_CONFIG_HOME": "/my config", "BROWSER": "my-browser %s", "EDITOR": "vi", "PROXY": "http://mine"},
    **{"GIT_SSH_COMMAND": "ssh -i ~/.ssh/my -o 'X Y'", "PAGER": "~/bin/pager"},
    **{"CODEX_API_KEY": "a key", "OPENAI_PROJECT": "a 'b' $c", "CODEX_MIRROR_BIN_DIR": "/my commands"},
}


INWARD = [
    ("sh", "work"),
    ("dash -eu", "own work work"),
    ("bash", "work own"),
    ("zsh", "own work"),
    ("fish", "work work"),
]


# What each shell reads in its own way when it isn't quoted, or quoted for another.
ODD = """it's "x"  $HOME `id` \\\\ \\' * ~ # ; & ()"""


@pytest.mark.parametrize(("shell", "ways"), INWARD)
def test_env_unset_is_the_way_out(home: Home, work: Any, shell: str, ways: str) -> None:
    skip_without(shell.split(maxsplit=1)[0])
    ask(home, "create", "own", "--home", "shared")
    for clone in ("work", "own"):
        ask(home, "set", clone, "--env", f"PROXY={ODD}", "--env", f"OWN={clone}")
    kind = shell if shell in ("fish", "bash", "zsh") else "sh"
    asked = [f"{PROGRAM_LINE} env {way} --shell {kind}" for way in ways.split()]
    asked.append(f"{asked[-1]} --unset")
    steps = [f"{one} | source" if shell == "fish" else f'eval "$({one})"' for one in asked]
    env = {**home.env, **MINE, "ZDOTDIR": str(home.base)}
    listing = f"{sys.executable} -c 'import os, json; print(json.dumps(dict(os.environ)))'"
    words = {"fish": ["fish", "-N", "-c"], "zsh": ["zsh", "-f", "-c"]}.get(shell, [*shell.split(), "-c"])
    before = run([*words, listing], env=env).json()
    after = run([*words, "; ".join([*steps, listing])], env=env).json()
    ignored = {"_", "SHLVL", "PWD", "OLDPWD"}
    changed = {k: (before.get(k), after.get(k)) for k in before.keys() | after.keys() if before.get(k) != after.get(k)}
    assert {k: v for k, v in changed.items() if k not in ignored} == {}
    inside = run([*words, "; ".join([*steps[:-1], listing])], env=env).json()
    assert "a key" not in inside.values() and inside["PROXY"] == ODD
    assert "work" not in ways.split() or inside["PAGER"] == f"{home.home}/bin/pager"
    assert not {"OPENAI_API_KEY", "CODEX_API_KEY"} & {name for name, value in inside.items() if value}


def test_what_the_user_has_set_inside_is_his_afterwards(home: Home, work: Any) -> None:
    program = f"{PROGRAM_LINE} env work --shell sh"
    script = (
        f'eval "$({program})"; export OPENAI_PROJECT=new EDITOR=vi; eval "$({program} --unset)"; echo $OPENAI_PROJECT'
    )
    assert run(["sh", "-c", script], env={**home.env, "OPENAI_PROJECT": "old"}).out == "new\n"


@pytest.mark.parametrize("how", ["exec", "wrapper"])
def test_a_shared_clone_inside_an_isolated_one_has_the_users_directories_again(home: Home, work: Any, how: str) -> None:
    ask(home, "create", "own", "--home", "shared")
    mine = {"XDG_CONFIG_HOME": "/my config", "BROWSER": "my-browser", "ZDOTDIR": "/z", "GIT_CONFIG_GLOBAL": "/my git"}
    listing = [sys.executable, "-c", "import os, json; print(json.dumps(dict(os.environ)))"]
    inner = [*program_words(), "exec", "own", *listing]
    if how == "wrapper":
        inner = [clone_in(home, "own").wrapper, *listing]
        printing(clone_in(home, "own"))
    found = raw(home, "exec", "work", *inner, env=mine).json()
    names = ("HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "BROWSER", "ZDOTDIR", "GIT_CONFIG_GLOBAL")
    assert {name: found.get(name) for name in names} == {**mine, "HOME": str(home.home), "XDG_DATA_HOME": None}


def test_who_leaves_a_shell_of_exec_keeps_the_places_that_he_chose(home: Home, work: Any) -> None:
    """Nothing was kept there as `env` keeps it for `eval`."""
    program = ("--", sys.executable, cm.__file__, "env", "--unset", "--shell", "json")
    said = ask(home, "exec", "work", *program).json()
    chosen = {"CODEX_MIRROR_HOME": str(home.mirror), "CODEX_MIRROR_BIN_DIR": str(home.bin), "HOME": str(home.home)}
    assert chosen.items() <= said["set"].items() and {"CODEX_HOME", "CODEX_MIRROR_CLONE"} <= {*said["unset"]}
    usual = {"CODEX_MIRROR_HOME": f"{home.home}/.codex-mirror", "CODEX_MIRROR_BIN_DIR": f"{home.home}/.local/bin"}
    assert ask(home, "create", "own", env=usual).code == 0
    said = ask(home, "exec", "own", *program, env=usual).json()
    assert {*usual} <= {*said["unset"]} and not {*usual} & {*said["set"]}


def test_exec_without_a_program_says_whose_shell_it_is(home: Home, work: Any) -> None:
    assert "this shell is in 'work'" in on_terminal(home, "exec", "work", env={"SHELL": "/bin/true"}).out
    assert on_terminal(home, "exec", "work", "--", "true").out == ""


@pytest.mark.skipif(sys.platform != "linux", reason="macOS's open doesn't go by HOME")
@pytest.mark.parametrize("own", ["", "my-browser", "missing:my-browser"])
def test_a_login_opens_the_users_own_browser(home: Home, work: Any, own: str) -> None:
    record = home.base / "opened"
    print_it = (
        f'printf "%s\\n" "$1" "$HOME" "${{XDG_CONFIG_HOME-none}}" "${{CODEX_HOME-none}}" "${{BROWSER-none}}" >{record}'
    )
    directory = tool(home.base / "browsers", own.rsplit(":", maxsplit=1)[-1] or "xdg-open", print_it)
    home.put_on_path(directory)
    env = {"XDG_CONFIG_HOME": "/my config", **({"BROWSER": own} if own else {})}
    address = "https://example.com/?a=b&c='d'"
    assert ask(home, "exec", "work", "--", "sh", "-c", '"$BROWSER" "$1"', "sh", address, env=env).code == 0
    assert record.read_text().splitlines() == [address, str(home.home), "/my config", "none", own or "none"]


@pytest.mark.skipif(sys.platform != "linux", reason="macOS's open doesn't go by HOME")
def test_without_a_browser_it_fails_so_that_codex_says_the_address(home: Home, work: Any) -> None:
    env = {"BROWSER": "missing", "PATH": "/usr/bin:/bin"}
    if shutil.which("xdg-open"):
        pytest.skip("there is a browser")
    assert ask(home, "exec", "work", "--", "sh", "-c", '"$BROWSER" https://x', env=env).code == 1


def test_login_says_before_whose_and_after_how_it_went(home: Home, work: Any) -> None:
    key = ask(home, "login", "work", "--with-api-key", stdin=b"sk-proj-0123456789abcdef\n", cwd=home.home)
    assert key.code == 0 and "'work' is logged in: API key" in key.err
    assert "without a browser" not in key.err
    before = ask(home, "--yes", "login", "work").err
    assert "logging in 'work'; without a browser:" in before and "--device-auth" in before
