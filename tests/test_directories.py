"""Directories: which clone a directory has, for the commands and for the shim alike."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from helpers import PROGRAM, REPO, Home, Result, program_words, run
from rooms import (
    ROOT,
    ask,
    at_rest,
    changes,
    clone_in,
    clone_like,
    cm,
    make_clone,
    on_terminal,
    places_of,
    rows_of,
    skip_without,
    write_registry,
)

SHELLS = {
    "sh": ["sh"],
    "dash": ["dash"],
    "bash": ["bash"],
    "bash as sh": ["bash", "--posix"],
    "busybox": ["busybox", "sh"],
}
ODD_NAME = 'it\'s $(touch pwned) `x` "q" *?[a] -n ~ \\ #'
RUN = f"python3 {PROGRAM} run"
ECHO = '#!/bin/sh\nprintf "%s|" "$CM_TEST_NAME" "$PWD" "${OLDPWD-none}" "$@"\n'


def registry_of(*clones: Any) -> Any:
    return cm.Registry(tuple(clones))


def bound(home: Home, name: str, *directories: Path, **more: Any) -> Any:
    return clone_like(home, name, directories=tuple(map(str, directories)), **more)


@pytest.fixture
def deep(home: Home) -> Path:
    """~/a/b/c and ~/ab, an odd name, and a link to a/b."""
    for tail in ("a/b/c", "ab", ODD_NAME, "else"):
        (home.home / tail).mkdir(parents=True)
    (home.home / "link").symlink_to(home.home / "a" / "b")
    return home.home


# The clones of directories, where one is, and what comes out: the clone's name and why.
CASES: dict[str, tuple[dict[str, list[str]], str, str, tuple[str, str]]] = {
    "the directory itself": ({"work": ["a"]}, "", "a", ("work", "directory")),
    "one below it": ({"work": ["a"]}, "", "a/b/c", ("work", "directory")),
    "the longest match": ({"work": ["a"], "own": ["a/b"]}, "", "a/b/c", ("own", "directory")),
    "the longest match, the other way round": ({"own": ["a/b"], "work": ["a"]}, "", "a/b", ("own", "directory")),
    "no neighbour that begins alike": ({"work": ["a"]}, "", "ab", ("", "none")),
    "the one above it": ({"work": ["a/b"]}, "", "a", ("", "none")),
    "through a link": ({"work": ["a/b"]}, "", "link", ("work", "directory")),
    "the default": ({"work": ["a"], "own": []}, "own", "else", ("own", "default")),
    "a directory before the default": ({"work": ["a"], "own": []}, "own", "a", ("work", "directory")),
    "a name that is shell code": ({"work": [ODD_NAME]}, "", ODD_NAME, ("work", "directory")),
    "two of one clone": ({"work": ["else", "a/b"]}, "", "a/b/c", ("work", "directory")),
    "the root of all": ({"work": ["/"]}, "", "else", ("work", "directory")),
}


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("case", CASES)
def test_the_program_and_the_shim_agree_on_the_clone_of_a_directory(
    home: Home, deep: Path, case: str, shell: str
) -> None:
    skip_without(SHELLS[shell][0])
    directories, default, where, (name, because) = CASES[case]
    clones = [
        bound(home, clone, *(deep / one for one in given), is_default=clone == default, root=str(home.base / clone))
        for clone, given in directories.items()
    ]
    registry = registry_of(*clones)
    found = cm.binding_of(registry, os.path.realpath(deep / where), {})
    assert (found.clone.name if found.clone else "", found.because) == (name, because)
    for clone in clones:
        command(Path(cm.wrapper_copy(clone)), f"CM_TEST_NAME={clone.name}\n")
    shim = home.base / "shim of test"
    shim.write_bytes(cm.shim_text(registry, places_of(home)))
    other = command(home.base / "other" / "codex", "CM_TEST_NAME=other\n")
    env = {**home.env, "PATH": f"{home.mirror}/shim:{other.parent}:/usr/bin:/bin", "PWD": f"{deep}/{where}"}
    result = run([*SHELLS[shell], str(shim), "a b", "$c"], env=env, cwd=deep / where)
    logical = f"{deep}/{where}" if where.startswith("link") or shell != "busybox" else str(deep / where)
    assert result.out.split("|")[0] == (name or "other") and result.err == ""
    assert result.out.split("|")[3:] == ["a b", "$c", ""] and os.path.samefile(result.out.split("|")[1], logical)
    assert not (deep / where / "pwned").exists()


# Codex's words, given in a/b, and whose directory it works in then.
ROOTS: dict[str, tuple[list[str], str]] = {
    "an option": (["exec", "-C", "~/else", "what is -C"], "own"),
    "in one word": (["-C~/else", "x"], "own"),
    "in one word with a sign": (["-C=~/else"], "own"),
    "a long option": (["--cd", "~/else", "resume"], "own"),
    "a long option in one word": (["resume", "--cd=~/else"], "own"),
    "a relative path": (["-C", "../../else"], "own"),
    "above": (["-C", ".."], "work"),
    "through a link": (["-C", "~/link/c"], "deep"),
    "a name that is an option": (["-C", "-"], "dash"),
    "an odd name": (["-C", "~/o\\nd'd\n"], "odd"),
    "one that isn't there": (["-C", "nowhere"], ""),
    "one that is no directory": (["-C", "~/file"], ""),
    "behind what ends the options": (["--", "-C", "~/else"], "deep"),
    "without a directory": (["-C"], "deep"),
    "none": (["exec", "-c", "x=-C", "--cdx", "~/else"], "deep"),
}


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("case", ROOTS)
def test_where_codex_is_told_to_work_its_clone_is_started(home: Home, deep: Path, case: str, shell: str) -> None:
    skip_without(SHELLS[shell][0])
    words, name = ROOTS[case]
    words = [word.replace("~", str(deep)) for word in words]
    (deep / "a/b/-").mkdir()
    (deep / "o\\nd'd\n").mkdir()
    (deep / "file").touch()
    directories = {"own": deep / "else", "work": deep / "a", "deep": deep / "a/b", "dash": deep / "a/b/-"}
    directories["odd"] = deep / "o\\nd'd\n"
    clones = [bound(home, one, where, root=str(home.base / one)) for one, where in directories.items()]
    for clone in clones:
        command(Path(cm.wrapper_copy(clone)), f"CM_TEST_NAME={clone.name}\n")
    shim = home.base / "shim of test"
    shim.write_bytes(cm.shim_text(registry_of(*clones), places_of(home)))
    other = command(home.base / "other" / "codex")
    env = {**home.env, "PATH": f"{other.parent}:/usr/bin:/bin", "OLDPWD": str(deep / "else"), "CDPATH": str(deep)}
    result = run([*SHELLS[shell], str(shim), *words], env=env, cwd=deep / "a/b")
    found, where, before, *rest = result.out.split("|")
    assert (found, rest, result.err) == (name, [*words, ""], "") and where == str(deep / "a/b")
    assert before in (str(deep / "else"), "none")
    inside = os.getcwd()
    os.chdir(deep / "a/b")
    try:
        work = cm.directory_of_work(words)
    finally:
        os.chdir(inside)
    clone = cm.binding_of(registry_of(*clones), work, {}).clone
    assert (clone.name if clone else "") == name


def command(path: Path, first: str = "") -> Path:
    """A program that prints which it is, where, and its arguments."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(ECHO.replace("\n", f"\n{first}", 1))
    path.chmod(0o755)
    return path


def test_another_spelling_of_a_directory_is_the_directory_when_its_inode_is(home: Home, deep: Path) -> None:
    if not ROOT or run(["mount", "--bind", deep / "a", deep / "else"], env=home.env).code:
        pytest.skip("a bind mount stands in for a file system that takes two spellings, and needs root")
    try:
        clone = bound(home, "work", deep / "else")
        assert cm.binding_of(registry_of(clone), str(deep / "a" / "b"), {}).clone == clone
        command(Path(cm.wrapper_copy(clone)), "CM_TEST_NAME=work\n")
        shim = home.base / "shim of test"
        shim.write_bytes(cm.shim_text(registry_of(clone), places_of(home)))
        assert run(["sh", shim], env=home.env, cwd=deep / "a" / "b").out.startswith("work|")
    finally:
        run(["umount", deep / "else"], env=home.env)


def test_inside_a_clone_one_stays_in_it(home: Home, deep: Path) -> None:
    own, work = bound(home, "own", root=str(home.base / "own")), bound(home, "work", deep, root=str(home.base / "w"))
    env = {"CODEX_MIRROR_CLONE": "own", "CODEX_HOME": cm.codex_home_of(own)}
    assert cm.binding_of(registry_of(work, own), str(deep), env)[:2] == (own, "inside")
    assert cm.binding_of(registry_of(work, own), str(deep), {**env, "CODEX_HOME": "/gone"})[:2] == (own, "inside")
    gone = {"CODEX_MIRROR_CLONE": "gone", "CODEX_HOME": "/gone"}
    assert cm.binding_of(registry_of(work, own), str(deep), gone)[:2] == (work, "directory")
    command(Path(cm.wrapper_copy(own)), "CM_TEST_NAME=own\n")
    shim = home.base / "shim of test"
    shim.write_bytes(cm.shim_text(registry_of(work, own), places_of(home)))
    assert run(["sh", shim], env={**home.env, **env}, cwd=deep).out.startswith("own|")


def there(home: Home, directory: Path, *words: str) -> Result:
    """The program in a directory that is removed before it starts."""
    script = 'mkdir "$1" && cd "$1" && rmdir "$1" && shift && exec "$@"'
    program = [*program_words(), *words]
    return run(["sh", "-c", script, "sh", str(directory), *program], env=home.env)


def test_a_removed_directory_has_the_default_alone(home: Home, codex: Path, deep: Path) -> None:
    make_clone(home, "work")
    ask(home, "use", "work", deep / "a")
    assert (there(home, deep / "a" / "x", "which").code, there(home, deep / "a" / "x", "which").out) == (1, "")
    refused = there(home, deep / "a" / "x", "run")
    assert refused.code == 2 and "a directory that was removed" in refused.err
    assert there(home, deep / "a" / "x", "use", "work").code == 1
    ask(home, "use", "--default", "work")
    assert there(home, deep / "a" / "x", "which").out == "work\n"


# --- the commands ---


@pytest.fixture
def two(home: Home, codex: Path, deep: Path) -> Home:
    make_clone(home, "work")
    make_clone(home, "own")
    return home


def test_use_sets_shows_and_takes_back(two: Home, deep: Path) -> None:
    said = ask(two, "use", "work", cwd=deep / "a")
    assert (said.code, said.out) == (0, f"{RUN} now starts 'work' in ~/a and below\n")
    assert " shim install" in said.err
    assert ask(two, "use", "own", "~/a/b").out == f"{RUN} now starts 'own' in ~/a/b and below\n"
    assert ask(two, "use", "--default", "own").out == f"{RUN} now starts 'own' as the default\n"
    assert ask(two, "use").out == f"{deep}/a\twork\n{deep}/a/b\town\n*\town\n"
    listed = [{"path": f"{deep}/a", "name": "work"}, {"path": f"{deep}/a/b", "name": "own"}]
    assert ask(two, "use", "--json").json() == {"default": "own", "directories": listed}
    shown = on_terminal(two, "use").out
    assert "~/a/b" in shown and "everywhere else" in shown
    assert ask(two, "use", "work", "~/a/b").code == 0, "another clone's directory becomes this one's"
    unset = ask(two, "use", "--unset", "~/a")
    assert (unset.out, unset.err) == ("no clone is set in ~/a and below any more\n", "")
    assert ask(two, "use", "--unset", cwd=deep / "a" / "b").code == 0
    assert ask(two, "use", "--unset", "~/a").out == "no clone was set in ~/a and below\n"
    assert ask(two, "use", "--default", "--unset").out == "no clone is set as the default any more\n"
    assert ask(two, "use", "--json").json() == {"default": None, "directories": []}
    assert " use NAME" in on_terminal(two, "use").out


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["use", "wrok"], 3, "did you mean 'work'?"),
        (["use", "work", "nowhere"], 1, "is not a directory"),
        (["use", "work", "a", "--default"], 2, "--default takes no directory"),
        (["use", "--default"], 2, " use --default NAME"),
        (["use", ""], 2, ""),
        (["use", "--unset", "a", "b", "c"], 2, ""),
        (["run"], 2, " use NAME"),
        (["exec"], 2, " use NAME"),
        (["env"], 2, " use NAME"),
        (["run", "--", "exec", "x"], 2, "no clone given, and none is set for ~"),
        (["run", ""], 2, ""),
    ],
)
def test_what_is_refused_changes_nothing(two: Home, words: list[str], code: int, said: str) -> None:
    before = at_rest(two)
    result = ask(two, *words, cwd=two.home)
    assert (result.code, result.out) == (code, "") and said in result.err
    assert changes(before, at_rest(two)) == {}


@pytest.mark.parametrize("command", ["login", "logout", "remove", "rollback", "rename", "set", "export"])
def test_what_changes_a_clone_never_goes_by_the_directory(two: Home, command: str) -> None:
    ask(two, "use", "work", cwd=two.home)
    before = at_rest(two)
    assert ask(two, command, cwd=two.home).code == 2
    assert ask(two, "update", cwd=two.home).code == 2
    assert changes(before, at_rest(two)) == {}


def test_run_exec_and_env_without_a_name_take_the_directorys_clone(two: Home, deep: Path) -> None:
    ask(two, "use", "work", "~/a")
    ask(two, "use", "own", "~/a/b")
    printed = {"a": "work", "a/b/c": "own"}
    for where, name in printed.items():
        words = ("exec", "--", "sh", "-c", 'echo "$CODEX_MIRROR_CLONE $1"', "sh", "own")
        assert ask(two, *words, cwd=deep / where).out == f"{name} own\n"
        assert f"CODEX_MIRROR_CLONE='{name}'" in ask(two, "env", "--shell", "sh", cwd=deep / where).out
        assert ask(two, "run", "--", "--version", cwd=deep / where).out == "codex-cli 0.169.0\n"
        assert ask(two, "run", "--", "own", cwd=deep / where).code == ask(two, "run", name, "own").code
    assert ask(two, "run", "--", "-C", deep / "a", "--version", cwd=deep / "ab").code == 0
    assert ask(two, "run", "--", "-C", "ab", "--version", cwd=deep / "a").code == 2
    assert ask(two, "run", "wrok", cwd=deep / "a").code == 3, "a mistyped name never reaches another account"
    assert ask(two, "exec", "sh", "-c", "exit 0", cwd=deep / "a").code == 3


def test_which_tells_the_clone_and_why(two: Home, deep: Path) -> None:
    ask(two, "use", "work", "~/a")
    assert ask(two, "which", "~/a/b").out == "work\n"
    assert ask(two, "which", "~/a/not/there").out == "work\n"
    assert on_terminal(two, "which", deep / "a" / "b").out == "work — ~/a, set for this directory\n"
    assert ask(two, "which", "~/a", "--json").json() == {"name": "work", "because": "directory", "path": f"{deep}/a"}
    none = ask(two, "which", "~/else", "--json")
    assert (none.code, none.json()) == (1, {"name": None, "because": "none", "path": None})
    ask(two, "use", "--default", "own")
    assert on_terminal(two, "which", deep / "else").out == "own — the default\n"


def test_rename_and_remove_carry_the_directories_and_export_does_not(two: Home, deep: Path) -> None:
    ask(two, "use", "work", "~/a")
    ask(two, "use", "--default", "work")
    ask(two, "rename", "work", "job")
    assert ask(two, "which", "~/a").out == "job\n" and ask(two, "which", "~").out == "job\n"
    written = json.loads((Path(cm.base_of(clone_in(two, "job"))) / "clone.json").read_text())
    assert (written["directories"], written["default"]) == ([f"{deep}/a"], True)
    ask(two, "export", "job", "-o", two.base / "job.tar.gz")
    ask(two, "remove", "job", "--yes")
    assert ask(two, "which", "~/a").code == 1
    ask(two, "import", two.base / "job.tar.gz", "--name", "again", "--yes")
    assert ask(two, "which", "~/a").code == 1


def test_doctor_names_directories_that_are_gone(two: Home, deep: Path) -> None:
    ask(two, "use", "work", "~/else")
    (deep / "else").rmdir()
    problems = ask(two, "doctor", "work", "--json").json()[0]["problems"]
    [found] = [problem for problem in problems if problem["id"] == "directory-gone"]
    assert f"{deep}/else" in found["what"] and "use --unset" in found["fix"]
    assert ask(two, "use", "--unset", "~/else").code == 0 and clone_in(two, "work").directories == ()


def test_a_file_in_the_directory_decides_nothing(two: Home, deep: Path) -> None:
    ask(two, "use", "work", "~/a")
    for name in (".codex-mirror", "codex-mirror.json", ".codex-mirror.toml", "registry.json", ".env"):
        (deep / "a" / "b" / name).write_text('{"clone": "own", "CODEX_MIRROR_CLONE": "own"}')
    assert ask(two, "which", "~/a/b").out == "work\n"


BAD_ROWS: dict[str, Any] = {
    "no list": "/x",
    "relative": ["a", "../b"],
    "not plain": ["/x/../y", "/x/"],
    "no text": [1, None, ["/x"]],
    "half a character": ["/\ud800"],
    "a NUL": ["/a\0b"],
}


@pytest.mark.parametrize("case", BAD_ROWS)
def test_directories_that_make_no_sense_are_none(two: Home, case: str) -> None:
    rows = rows_of(two)
    rows[0] |= {"directories": BAD_ROWS[case], "default": "yes"}
    write_registry(two, rows)
    assert clone_in(two, "work").directories == () and not clone_in(two, "work").is_default


def test_two_defaults_are_one(two: Home) -> None:
    write_registry(two, [{**row, "default": True} for row in rows_of(two)])
    assert ask(two, "which", "/").out == "work\n"
    ask(two, "use", "--default", "own")
    assert [row["default"] for row in rows_of(two)] == [False, True]


# --- the shim on PATH ---


RC_SHELLS = {
    "bash": (".bashrc", ["bash", "-ic"]),
    "zsh": (".zshrc", ["zsh", "-ic"]),
    "fish": (".config/fish/config.fish", ["fish", "-ic"]),
    "sh": (".profile", ["sh", "-lc"]),
}


@pytest.mark.parametrize("shell", RC_SHELLS)
def test_shim_install_puts_codex_before_what_came_later_and_before(two: Home, deep: Path, shell: str) -> None:
    rc, start = RC_SHELLS[shell]
    skip_without(shell)
    other = command(two.base / "nvm" / "codex", "CM_TEST_NAME=other\n")
    (two.home / rc).parent.mkdir(parents=True, exist_ok=True)
    prepend = f"set -gx PATH {other.parent} $PATH" if shell == "fish" else f'PATH="{other.parent}:$PATH"'
    before = f"# mine\n{prepend}"
    (two.home / rc).write_text(before)
    env = {"SHELL": f"/usr/bin/{shell}"}
    ask(two, "use", "work", "~/a")
    said = ask(two, "shim", "install", env=env)
    assert (said.code, said.err) == (0, "") and f"{two.home / rc} now puts {two.mirror}/shim first on PATH" in said.out
    (two.home / rc).write_text((two.home / rc).read_text() + f"\n{prepend}\n")
    assert ask(two, "shim", "install", env=env).code == 0, "what others added since comes before it"
    assert ask(two, "shim", "install", env=env).out.startswith(
        f"{two.mirror}/shim is already put first on PATH, by {two.home / rc}"
    )
    ours = {**two.env, "TERM": "dumb", "PATH": f"{two.mirror}/shim::{other.parent}:{two.mirror}/shim:/usr/bin:/bin"}
    found = run([*start, "command -v codex; codex --version; echo $PATH"], env=ours, cwd=deep / "a" / "b").out
    first, version, *path = found.replace(" ", ":").splitlines()
    assert (first, version) == (f"{two.mirror}/shim/codex", "codex-cli:0.169.0")
    assert path[0].split(":").count(f"{two.mirror}/shim") == 1
    assert run([*start, "codex x"], env=ours, cwd=deep / "else").out.startswith("other|")
    assert ask(two, "which", "~/a", env={"PATH": path[0]}).err == ""
    shadowed = ask(two, "which", "~/a", env={"PATH": f"{other.parent}:{two.mirror}/shim"})
    assert f"codex is {other} in this shell" in shadowed.err
    assert (
        f"codex is {other} in this shell" in ask(two, "doctor", env={"PATH": f"{other.parent}:{two.mirror}/shim"}).out
    )
    taken = ask(two, "shim", "remove", env=env)
    assert taken.code == 0 and not (two.mirror / "shim").exists()
    assert (two.home / rc).read_text() == f"{before}\n\n{prepend}\n"
    assert ask(two, "shim", "remove", env=env).out == "there was no shim\n"


def test_every_change_of_a_binding_writes_the_shim_again(two: Home, deep: Path) -> None:
    shim = two.mirror / "shim" / "codex"
    ask(two, "use", "work", "~/a")
    assert not shim.exists()
    ask(two, "shim", "install", "--shell", "sh")
    for words, name in (("use own ~/a", "own"), ("rename own mine", "mine"), ("use --default work", "work")):
        ask(two, *words.split())
        assert (
            shim.read_bytes() == cm.shim_text(cm.read_registry(places_of(two)), places_of(two))
            and name in shim.read_text()
        )
    ask(two, "remove", "mine", "--yes")
    assert "mine" not in shim.read_text()
    assert shim.stat().st_mode & 0o777 == 0o755


EDITS: list[tuple[str, Callable[[str], str], str]] = [
    ("a line more", lambda text: text + "echo mine\n", "was edited"),
    ("a line above", lambda text: "# mine\n" + text, "was edited"),
    ("a line changed", lambda text: text.replace("exec", "echo", 1), "was edited"),
    ("without its digest", lambda text: re.sub(" sha256:.*", "", text, count=1), "was edited"),
    ("another's program", lambda text: "#!/bin/sh\necho mine\n", "is not a shim of codex-mirror"),
    ("nothing", lambda text: "", "is not a shim of codex-mirror"),
]


@pytest.mark.parametrize(("how", "edit", "says"), EDITS, ids=[row[0] for row in EDITS])
def test_a_shim_that_was_edited_is_left_as_it_is_and_named(
    two: Home, deep: Path, how: str, edit: Callable[[str], str], says: str
) -> None:
    ask(two, "use", "work", "~/a")
    assert ask(two, "shim", "install", "--shell", "sh").code == 0
    shim = two.mirror / "shim" / "codex"
    ours = shim.read_text()
    shim.write_text(edit(ours))
    told = ask(two, "use", "own", "~/a")
    assert (
        told.code == 0
        and f"{shim} {says}, and was left alone" in told.err
        and "codex-mirror.py run" in told.out.replace("_", "-")
    )
    for words, code in (
        (("rename", "own", "mine"), 0),
        (("shim", "install", "--shell", "sh"), 5),
        (("shim", "remove"), 5),
    ):
        assert ask(two, *words).code == code, words
    assert shim.read_text() == edit(ours)
    assert "[shim-edited]" in ask(two, "doctor").out
    shim.rename(two.base / "kept")
    assert ask(two, "shim", "install", "--shell", "sh").code == 0 and "'mine'" in shim.read_text()
    assert "shim-edited" not in ask(two, "doctor").out
    assert ask(two, "shim", "remove").code == 0 and not shim.parent.exists()


def test_a_shim_that_others_may_have_written_is_none_of_ours(two: Home) -> None:
    """Anybody can write the right digest."""
    assert ask(two, "shim", "install", "--shell", "sh").code == 0
    shim = two.mirror / "shim" / "codex"
    shim.chmod(0o777)
    for words in (("shim", "install", "--shell", "sh"), ("shim", "remove")):
        refused = ask(two, *words)
        assert refused.code == 5 and f"{shim} was edited, and was left alone" in refused.err and shim.exists()


def test_an_rc_file_that_can_t_be_edited_is_told_by_shim_install_and_its_exit_code(two: Home) -> None:
    (two.home / ".profile").mkdir()
    refused = ask(two, "shim", "install", "--shell", "sh")
    assert refused.code == 5 and ".profile was left alone" in refused.err and (two.mirror / "shim" / "codex").exists()


def test_what_a_shim_shows_of_a_directory_s_name_acts_on_no_terminal(home: Home) -> None:
    odd = "/x\x1b[31m"
    [rule] = [line for line in os.fsdecode(shim_of(home, odd)).splitlines() if line.startswith("  rule ")]
    assert rule.startswith(f"  rule \"$@\" 1 '{odd}' ") and rule.endswith("'/x\\x1b[31m'")


def shim_of(home: Home, directory: str) -> bytes:
    shim: bytes = cm.shim_text(registry_of(bound(home, "work", Path(directory))), places_of(home))
    return shim


def test_the_installed_codex_is_found_behind_the_shim(two: Home) -> None:
    ask(two, "use", "--default", "work")
    ask(two, "shim", "install", "--shell", "sh")
    env = {"PATH": f"{two.mirror}/shim:{two.env['PATH']}"}
    assert ask(two, "create", "new", env=env).code == 0
    assert ask(two, "update", "new", env=env).code == 0
    assert [row["codexVersionPinned"] for row in rows_of(two)] == ["0.169.0"] * 3


def test_two_shims_and_no_other_codex_end_with_127_and_a_hint(two: Home) -> None:
    ask(two, "shim", "install", "--shell", "sh")
    other = two.base / "m2" / "shim"
    other.mkdir(parents=True)
    text = cm.shim_text(cm.Registry(), places_of(two)._replace(mirror_home=str(two.base / "m2")))
    (other / "codex").write_bytes(text)
    (other / "codex").chmod(0o755)
    (two.base / "linked").symlink_to(two.mirror / "shim")
    path = f"{two.mirror}/shim:{other}:{two.base}/linked:/usr/bin:/bin"
    result = run([two.mirror / "shim" / "codex"], env={**two.env, "PATH": path}, timeout=20)
    assert result.code == 127 and f"python3 {PROGRAM} use NAME" in result.err


@pytest.mark.parametrize("how", ["copied", "moved"])
def test_a_shim_that_was_copied_or_moved_never_starts_itself(two: Home, how: str) -> None:
    ask(two, "shim", "install", "--shell", "sh")
    (shutil.copytree if how == "copied" else shutil.move)(two.mirror / "shim", two.base / "elsewhere")
    other = command(two.base / "other" / "codex", "CM_TEST_NAME=other\n")
    path = f"{two.base}/elsewhere:{two.mirror}/shim:{other.parent}:/usr/bin:/bin"
    assert run([two.base / "elsewhere" / "codex"], env={**two.env, "PATH": path}, timeout=20).out.startswith("other|")
    path = f"{two.base}/elsewhere:{two.mirror}/shim:/usr/bin:/bin"
    assert run([two.base / "elsewhere" / "codex"], env={**two.env, "PATH": path}, timeout=20).code == 127


def test_inside_a_clone_one_stays_in_it_also_without_codexs_variable(two: Home, deep: Path) -> None:
    ask(two, "use", "work", "~/a")
    ask(two, "shim", "install", "--shell", "sh")
    command(Path(cm.wrapper_copy(clone_in(two, "own"))), "CM_TEST_NAME=own\n")
    for home in ({}, {"CODEX_HOME": "/elsewhere"}):
        env = {**two.env, "CODEX_MIRROR_CLONE": "own", **home}
        assert run([two.mirror / "shim" / "codex"], env=env, cwd=deep / "a").out.startswith("own|")
        assert ask(two, "which", env={"CODEX_MIRROR_CLONE": "own", **home}, cwd=deep / "a").out == "own\n"


def test_on_a_terminal_the_shim_says_whose_account_it_is(two: Home, deep: Path) -> None:
    skip_without("script")
    ask(two, "use", "work", "~/a")
    ask(two, "shim", "install", "--shell", "sh")
    words = ["script", "-qec", f"{two.mirror}/shim/codex --version", "/dev/null"]
    said = f"codex: work (set for {deep}/a)"
    assert said in run(words, env=two.env, cwd=deep / "a").out
    assert said not in run(words, env={**two.env, "CODEX_MIRROR_QUIET": "1"}, cwd=deep / "a").out


# --- in the prompt ---


PROMPTS = {
    "bash": (["bash", "--norc", "-c"], "PS1='> '; {}; printf %s \"${{PS1@P}}\""),
    "zsh": (["zsh", "-f", "-c"], "PROMPT='> '; {}; print -rPn -- $PROMPT"),
    "fish": (["fish", "-N", "-c"], "function fish_prompt; echo -n '> '; end; {}; fish_prompt"),
}


@pytest.mark.parametrize("shell", PROMPTS)
def test_the_prompt_of_the_readme_names_the_clone(home: Home, shell: str) -> None:
    argv, script = PROMPTS[shell]
    skip_without(shell)
    lines = [line.strip() for line in (REPO / "README.md").read_text().splitlines() if line.startswith("    ")]
    [line] = [
        line
        for line in lines
        if "CODEX_MIRROR_CLONE" in line and line[0] == {"bash": "P", "zsh": "s", "fish": "f"}[shell]
    ]
    words = [*argv, script.format(line)]
    assert run(words, env={**home.env, "CODEX_MIRROR_CLONE": "work"}).out.strip() == "(work) >"
    assert run(words, env=home.env).out.strip() == ">"
