"""Names and places: what may be called what, and where everything lives."""

from __future__ import annotations

import contextlib
import os
import pwd
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from helpers import Home, home_in_passwd
from rooms import cm, raw

NAMES = ["a", "A", "7", "work", "Work-2", "client_3", "a.b", "a.", "a-", "x" * 64, "console", "com10", "lpt", "nully"]


@pytest.mark.parametrize("name", NAMES)
def test_a_good_name_is_taken_as_it_is_without_the_space_around_it(name: str) -> None:
    assert cm.new_clone_name(name) == cm.new_clone_name(f" \t{name}\n") == name


BAD_NAMES = [
    ("", "a clone needs a name"),
    ("   ", "a clone needs a name"),
    ("x" * 65, "at most 64 characters"),
    (".hidden", "begin with a letter or digit"),
    ("-rf", "begin with a letter or digit"),
    ("_a", "begin with a letter or digit"),
    ("a b", "letters, digits"),
    ("a/b", "letters, digits"),
    ("../a", "letters, digits"),
    ("a\nb", "letters, digits"),
    ("a\0b", "letters, digits"),
    ("a$b", "letters, digits"),
    ("a'b", "letters, digits"),
    ("a:b", "letters, digits"),
    ("ä", "letters, digits"),
    ("\u0430", "letters, digits"),
    ("a\u0301", "letters, digits"),
    ("١", "letters, digits"),
    ("a\u202eb", "letters, digits"),
    ("a\udcff", "letters, digits"),
    ("a..b", "means the directory above"),
    ("a..", "means the directory above"),
    *((name, "Windows reserves it") for name in ("con", "CON", "nul", "Prn", "aux", "com1", "COM9", "lpt1", "con.txt")),
]


@pytest.mark.parametrize(("name", "says"), BAD_NAMES, ids=[ascii(row[0][:12]) for row in BAD_NAMES])
def test_a_bad_name_has_its_own_message(name: str, says: str) -> None:
    with pytest.raises(cm.MirrorError) as caught:
        cm.new_clone_name(name)
    assert (caught.value.code, says in caught.value.message, bool(caught.value.hint)) == (cm.USAGE, True, True)


TAKEN = [
    *((name, "the name of the program itself") for name in ("codex", "Codex", "codex-mirror", "CODEX-MIRROR")),
    *((name, "a shell keyword") for name in ("if", "cd", "export", "test", "time", "function", "end", "alias")),
]


@pytest.mark.parametrize(("name", "says"), TAKEN, ids=[row[0] for row in TAKEN])
def test_a_name_that_could_never_start_the_clone_is_refused(name: str, says: str) -> None:
    with pytest.raises(cm.MirrorError, match=says) as caught:
        cm.new_clone_name(name)
    assert caught.value.code == cm.REFUSED
    # A clone of such a name, made by somebody else, still has a name.
    assert cm.clone_name(name) == name


# What `compgen -bk` of bash 5.2, `print -l ${(k)builtins} ${(k)reswords}` of zsh 5.9 and `builtin --names` of fish 3.6
# list, as far as it could be a clone's name.
BUILTINS = (
    "abbr alias and argparse autoload begin bg bind bindkey block break breakpoint builtin bye caller case cd "
    "chdir command commandline compadd comparguments compcall compctl compdescribe compfiles compgen compgroups "
    "complete compopt compquote compset comptags comptry compvalues contains continue coproc count declare dirs "
    "disable disown do done echo echotc echoti elif else emit emulate enable end esac eval exec exit export false "
    "fc fg fi float for foreach function functions getln getopts hash help history if in integer jobs kill let "
    "limit local log logout mapfile math nocorrect noglob not or path popd print printf private pushd pushln pwd "
    "r random read readarray readonly realpath rehash repeat return sched select set set_color setopt shift shopt "
    "source status string suspend switch test then time times trap true ttyctl type typeset ulimit umask unalias "
    "unfunction unhash unlimit unset unsetopt until vared wait whence where which while zcompile zformat zle "
    "zmodload zparseopts zregexparse zstyle"
).split()


def test_every_keyword_and_builtin_of_the_shells_is_refused() -> None:
    taken = []
    for name in BUILTINS:
        with contextlib.suppress(cm.MirrorError):
            taken.append(cm.new_clone_name(name))
    assert taken == []


OWN = home_in_passwd()
HOMES: list[tuple[str, Mapping[str, str], str]] = [
    ("HOME", {"HOME": "/h"}, "/h"),
    ("HOME with dots", {"HOME": "/h/./x/../y/"}, "/h/y"),
    ("unset", {}, OWN),
    ("empty", {"HOME": ""}, OWN),
    ("relative", {"HOME": "h"}, OWN),
    ("in a clone", {"HOME": "/m/clones/w/.codex-mirror/home", "CODEX_MIRROR_USER_HOME": "/h"}, "/h"),
    ("in a clone, spoiled", {"HOME": "/h", "CODEX_MIRROR_USER_HOME": ""}, "/h"),
    ("in a clone, relative", {"HOME": "/h", "CODEX_MIRROR_USER_HOME": "x"}, OWN),
    ("not UTF-8", {"HOME": "/h\udcff"}, "/h\udcff"),
    ("with two slashes in front", {"HOME": "//h//x"}, "/h/x"),
]


@pytest.mark.parametrize(("kind", "env", "home"), HOMES, ids=[row[0] for row in HOMES])
def test_the_real_home_is_found(kind: str, env: Mapping[str, str], home: str) -> None:
    if not home:
        pytest.skip("this user has no home directory")
    assert cm.home_from(env) == home
    assert cm.places_from(env) == cm.Places(f"{home}/.codex-mirror", f"{home}/.local/bin", home)


NO_HOME = [
    ({"CODEX_MIRROR_HOME": "/m", "CODEX_MIRROR_BIN_DIR": "/b"}, ("/m", "/b", "/")),
    ({}, "set HOME, or CODEX_MIRROR_HOME and CODEX_MIRROR_BIN_DIR"),
    ({"CODEX_MIRROR_HOME": "/m"}, "set HOME, or CODEX_MIRROR_HOME and CODEX_MIRROR_BIN_DIR"),
    ({"CODEX_MIRROR_HOME": "/m", "CODEX_MIRROR_BIN_DIR": "~/b"}, "set HOME, or CODEX_MIRROR_HOME"),
]


@pytest.mark.parametrize(("env", "expected"), NO_HOME)
def test_who_has_no_home_needs_two_places_and_is_told_so(
    env: Mapping[str, str], expected: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody(uid: int) -> None:
        raise KeyError(uid)

    monkeypatch.setattr(pwd, "getpwuid", nobody)
    if isinstance(expected, tuple):
        assert cm.places_from(env)[:3] == expected
        return
    with pytest.raises(cm.MirrorError) as refused:
        cm.places_from(env)
    assert refused.value.code == cm.REFUSED and expected in refused.value.hint


def test_a_path_in_the_root_as_home_is_read_in_one_way() -> None:
    assert [cm.path_from(text, cm.Places("/m", "/b", "/")) for text in ("~", "~/x", "//x")] == ["/", "/x", "/x"]


def test_a_path_in_the_root_as_home_is_shown_as_it_is() -> None:
    assert [cm.with_tilde(path, "/") for path in ("/", "/w")] == ["/", "/w"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become a user who has no home directory")
def test_a_user_without_a_home_works_with_two_places_and_is_told_of_them_without(home: Home, codex: Path) -> None:
    uid = next(uid for uid in range(47110, 48000) if not is_user(uid))
    for path in (home.base, home.base / "t"):
        os.chown(path, uid, 0)
        path.chmod(0o755)
    places = {"CODEX_MIRROR_HOME": str(home.base / "m"), "CODEX_MIRROR_BIN_DIR": str(home.base / "commands")}

    def answer(env: Mapping[str, str | None], *words: str) -> Any:
        unset = {"HOME": None, "CODEX_MIRROR_HOME": None, "CODEX_MIRROR_BIN_DIR": None}
        return raw(home, *words, env={**unset, **env}, cwd="/", become=partial(os.setuid, uid))

    for env in ({}, {"HOME": "/"}):
        refused = answer(env, "create", "work")
        assert refused.code in (1, 5) and "doctor" not in refused.err, refused
        assert "CODEX_MIRROR_HOME and CODEX_MIRROR_BIN_DIR" in refused.err
    half = answer({"HOME": "/", "CODEX_MIRROR_HOME": places["CODEX_MIRROR_HOME"]}, "create", "work")
    assert half.code == 5 and "set CODEX_MIRROR_BIN_DIR to a directory of your own" in half.err
    for extra in ({}, {"HOME": "/"}):
        for words in (["create", "work"], ["doctor"], ["exec", "work", "--", "true"], ["remove", "work", "--yes"]):
            done = answer({**places, **extra}, *words)
            assert done.code == 0 and "Traceback" not in done.err, (words, done)


def is_user(uid: int) -> bool:
    try:
        return bool(pwd.getpwuid(uid))
    except KeyError:
        return False


PLACES: list[tuple[str, Mapping[str, str], tuple[str, str]]] = [
    ("by default", {}, ("/h/.codex-mirror", "/h/.local/bin")),
    ("empty", {"CODEX_MIRROR_HOME": "", "CODEX_MIRROR_BIN_DIR": ""}, ("/h/.codex-mirror", "/h/.local/bin")),
    ("absolute", {"CODEX_MIRROR_HOME": "/m", "CODEX_MIRROR_BIN_DIR": "/b"}, ("/m", "/b")),
    ("with a tilde", {"CODEX_MIRROR_HOME": "~/m", "CODEX_MIRROR_BIN_DIR": "~"}, ("/h/m", "/h")),
    ("with dots", {"CODEX_MIRROR_HOME": "/m/../n//", "CODEX_MIRROR_BIN_DIR": "/b/./c/"}, ("/n", "/b/c")),
    ("below $HOME, which is /", {"CODEX_MIRROR_HOME": "//m", "CODEX_MIRROR_BIN_DIR": "//b/c"}, ("/m", "/b/c")),
    ("somebody's tilde", {"CODEX_MIRROR_HOME": "/x/~/m"}, ("/x/~/m", "/h/.local/bin")),
]


@pytest.mark.parametrize(("kind", "env", "places"), PLACES, ids=[row[0] for row in PLACES])
def test_the_two_variables_lead_elsewhere(kind: str, env: Mapping[str, str], places: tuple[str, str]) -> None:
    assert cm.places_from({"HOME": "/h", **env}) == cm.Places(*places, "/h")


def test_a_relative_mirror_home_counts_from_where_we_are() -> None:
    env = {"HOME": "/h", "CODEX_MIRROR_HOME": "m"}
    assert cm.places_from(env).mirror_home == os.path.join(os.getcwd(), "m")


BELOW = [
    ("/a/b", "/a", True),
    ("/a/b/c", "/a", True),
    ("/a", "/a", False),
    ("/ab", "/a", False),
    ("/", "/a", False),
    ("/a", "/", True),
    ("/a/b", "/a/", True),
]


@pytest.mark.parametrize(("path", "directory", "answer"), BELOW)
def test_what_lies_below_a_directory_goes_by_whole_names(path: str, directory: str, answer: bool) -> None:
    assert cm.is_below(path, directory) == answer


ROOTS = [
    ("/h/work", ""),
    ("/h", "which is not for clones"),
    ("/h/.codex-mirror", "inside the mirror home|the mirror home itself|which is not|^$"),
    ("/m", "the mirror home itself"),
    ("/m/x", "inside the mirror home"),
    ("/m/clones", "inside the mirror home"),
    ("/m/clones/work", ""),
    ("/m/clones/work/x", ""),
    ("/mm", ""),
    ("/", "which is not for clones"),
    ("//", "which is not for clones|not an absolute, plain path"),
    ("work", "not an absolute, plain path"),
    ("", "not an absolute, plain path"),
    ("/h/../x", "not an absolute, plain path"),
    ("/h/work/", "not an absolute, plain path"),
    ("/h//work", "not an absolute, plain path"),
    ("/h/\0", "not an absolute, plain path"),
]


@pytest.mark.parametrize(("root", "says"), ROOTS)
def test_a_root_is_judged_by_its_name(root: str, says: str) -> None:
    complaint = cm.complaint_about_root(root, cm.Places("/m", "/b", "/h"))
    assert any(word in complaint if word and word != "^$" else not complaint for word in says.split("|")), complaint


def test_a_root_whose_clone_would_hold_the_mirror_home_is_refused() -> None:
    for mirror_home in ("/x/.codex-mirror", "/x/.codex-mirror/m", "/x/.codex-mirror/a/b"):
        assert cm.complaint_about_root("/x", cm.Places(mirror_home, "/b", "/h")), mirror_home
    assert not cm.complaint_about_root("/x", cm.Places("/x/m", "/b", "/h"))
