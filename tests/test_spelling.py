"""One directory under several names: where a file system ignores case or the forms of letters, on a bind mount."""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
from pathlib import Path

import pytest

from darwin import Mac, second_name
from helpers import API_KEYS, Home, Result
from rooms import ask, at_rest, changes, clone_in, cm, make_clone

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="a Mac is imitated on Linux only")

# A letter with its accent, in one character and in two.
COMPOSED, APART = "caf\u00e9", "cafe\u0301"


@pytest.fixture
def crowded(home: Home, codex: Path) -> Home:
    """A home with a login, settings, a mirror home in it, and a clone that lies elsewhere."""
    home.env["CODEX_MIRROR_HOME"] = str(home.home / ".codex-mirror")
    for directory in (".codex", ".config/git", "clones", "proj", f"{APART}/inner"):
        (home.home / directory).mkdir(parents=True, mode=0o700)
    (home.home / ".codex" / "auth.json").write_text(json.dumps({"OPENAI_API_KEY": API_KEYS[0]}))
    (home.home / ".codex" / "config.toml").write_text('model_instructions_file = "AUTH.JSON"\n')
    (home.home / ".npmrc").touch()
    (home.home / "vault").mkdir()
    (home.home / "vault" / "Auth.JSON").write_text(json.dumps({"OPENAI_API_KEY": API_KEYS[0]}))
    make_clone(home, "work")
    make_clone(home, "away", root=str(home.home / "clones" / "away"))
    return home


# What is typed behind `create new`, with H for the home, and what is said of it.
REFUSED: list[tuple[str, str]] = [
    ("--share .codex", "logins are in"),
    ("--share .CODEX", "logins are in"),
    ("--share .Codex/config.toml", "logins are in"),
    ("--share x/../.CODEX", "logins are in"),
    ("--share .CODEX-Mirror", "logins are in"),
    ("--share .Codex-mirror/Clones/WORK", "logins are in"),
    ("--share Clones", "logins are in"),
    ("--share vault", "logins are in"),
    ("--share clones/AWAY/.codex-mirror/HOME", "logins are in"),
    ("--root H", "which is not for clones"),
    ("--root H/../H", "which is not for clones"),
    ("--root H/.Codex-Mirror", "its root is the mirror home itself"),
    ("--root H/.CODEX-MIRROR/other", "lies inside the mirror home"),
    ("--root H/Clones/Away", "already exists"),
    ("--root H/CLONES/AWAY/deeper", "is inside the clone 'away'"),
    ("--root H/.codex-mirror/CLONES/Work/x", "is inside the clone 'work'"),
]


@pytest.mark.parametrize(("words", "says"), REFUSED, ids=[row[0] for row in REFUSED])
def test_no_spelling_leads_past_a_guard(crowded: Home, mac: Mac, words: str, says: str) -> None:
    before = at_rest(crowded)
    for typed in (str(crowded.home), str(crowded.base / "H")):
        told = mac("create", "new", *words.replace("H", typed, 1).split(" "), ignores_case=True)
        assert told.code == 5 and says in told.err, typed
        assert changes(before, at_rest(crowded)) == {}, typed


TAKEN: list[tuple[str, str, str]] = [
    ("--share .Config", "shared", ".config"),
    ("--share .NPMRC", "shared", ".npmrc"),
    (f"--share {COMPOSED}/INNER", "shared", f"{APART}/inner"),
    ("--root H/Proj", "root", "H/proj"),
    (f"--root H/{COMPOSED.upper()}/New", "root", f"H/{APART}/New"),
]


@pytest.mark.parametrize(("words", "trait", "value"), TAKEN, ids=[row[0] for row in TAKEN])
def test_what_may_be_is_kept_as_the_disk_has_it(crowded: Home, mac: Mac, words: str, trait: str, value: str) -> None:
    typed = words.replace("H", str(crowded.base / "H"), 1) if "--root" in words else words
    assert mac("create", "new", *typed.split(" "), ignores_case=True).code == 0
    kept = getattr(clone_in(crowded, "new"), trait)
    assert kept == ((value,) if trait == "shared" else value.replace("H", str(crowded.home), 1))
    assert [path.name for path in (crowded.home / ".config").rglob("*")] == ["git"]
    assert mac("remove", "new", "--yes", ignores_case=True).code == 0


@pytest.mark.parametrize("how", ["shared", "by hand"])
def test_nothing_is_written_through_a_link_of_another_spelling(crowded: Home, mac: Mac, how: str) -> None:
    (crowded.home / ".config").rename(crowded.home / ".Config")
    own = Path(cm.home_of(clone_in(crowded, "work")))
    if how == "shared":
        assert mac("create", "new", "--share", ".config", ignores_case=True).code == 0
        assert clone_in(crowded, "new").shared == (".Config",)
    else:
        shutil.rmtree(own / ".config")
        (own / ".Config").symlink_to(crowded.home / ".Config")
        mac("doctor", "work", "--fix", ignores_case=True)
        ask(crowded, "doctor", "work", "--fix")
    assert [path.name for path in (crowded.home / ".Config").rglob("*")] == ["git"]


def test_where_case_counts_another_case_is_another_name(crowded: Home) -> None:
    for name in (".Config", ".CODEX"):
        assert ask(crowded, "create", "new", "--share", name).code == 1
    (crowded.home / ".Config").mkdir()
    assert ask(crowded, "create", "new", "--share", ".Config", "--root", crowded.home / "CLONES").code == 0
    assert clone_in(crowded, "new").shared == (".Config",)


def test_a_login_that_settings_name_in_another_case_is_not_copied(crowded: Home, mac: Mac) -> None:
    told = mac("create", "new", "--settings-from", "~/.CODEX", ignores_case=True)
    assert told.code == 0
    there = [path.name.lower() for path in (crowded.home / ".codex-mirror/clones/new/.codex-mirror").rglob("*")]
    assert "auth.json" not in there and API_KEYS[0] not in (told.out + told.err)


SECOND_NAMES: list[tuple[str, str, str]] = [
    (".codex", "--share x", "logins are in"),
    ("clones", "--share x", "logins are in"),
    (".", "--root x", "which is not for clones"),
    (".", "--root x/.codex-mirror/other", "lies inside the mirror home"),
    ("clones/away", "--root x", "already exists"),
    ("clones/away", "--root x/deeper", "is inside the clone 'away'"),
]


@pytest.mark.parametrize(("place", "words", "says"), SECOND_NAMES)
def test_a_second_name_of_a_directory_is_that_directory(crowded: Home, place: str, words: str, says: str) -> None:
    before, name = at_rest(crowded), crowded.home / "x"
    if place == ".":
        name = crowded.base / "x"
    with second_name(crowded.home / place, name):
        option, typed = words.split(" ")
        told = ask(crowded, "create", "new", option, typed if option == "--share" else name.parent / typed)
        assert told.code == 5 and says in told.err
    assert changes(before, at_rest(crowded)) == {}


def test_a_directory_of_another_spelling_is_the_one_that_was_set(crowded: Home, mac: Mac) -> None:
    assert mac("use", "work", crowded.home / "PROJ", ignores_case=True).code == 0
    assert mac("which", crowded.home / "proj", ignores_case=True).out == "work\n"
    assert ask(crowded, "use").out == f"{crowded.home}/proj\twork\n"
    assert mac("use", "away", crowded.home / "Proj", ignores_case=True).code == 0
    assert ask(crowded, "use").out == f"{crowded.home}/proj\taway\n"
    told = mac("use", "--unset", crowded.home / "Proj", ignores_case=True)
    assert told.code == 0 and "no clone was set" not in told.out and ask(crowded, "use").out == "", told


# Two paths, and whether the first is the second or in it; ABC is a second name of abc.
NESTED: list[tuple[str, str, bool]] = [
    ("abc", "abc", True),
    ("abc/d", "abc", True),
    ("ABC", "abc", True),
    ("abc/new/er", "ABC", True),
    ("ABC/d/e", "abc/d", True),
    ("ABC/D", "abc/d", False),
    ("abc/new", "ABC/new", True),
    ("abc/new/x", "ABC/new", True),
    ("abc/newer", "ABC/new", False),
    ("abc", "ABC/new", False),
    ("abc", "ABC/d", False),
    ("abcd", "abc", False),
    ("link/x", "ABC/d", True),
    ("link", "abc/link", False),
]


@pytest.mark.parametrize(("path", "directory", "is_in"), NESTED)
def test_a_path_is_in_a_directory_by_inodes_and_by_names_of_what_is_still_to_come(
    home: Home, path: str, directory: str, is_in: bool
) -> None:
    (home.base / "abc" / "d").mkdir(parents=True)
    (home.base / "abcd").mkdir()
    (home.base / "link").symlink_to("abc/d")
    with second_name(home.base / "abc", home.base / "ABC"):
        assert cm.is_path_into(str(home.base / path), str(home.base / directory)) == is_in


def test_names_of_what_is_still_to_come_are_compared_as_that_file_system_does(
    home: Home, mac: Mac, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = str(home.home / "Made" / COMPOSED)
    other = str(home.home / "made" / APART.upper() / "x")
    assert not cm.is_path_into(other, directory) and not cm.ignores_case(str(home.base))
    mac.become(monkeypatch, ignores_case=True)
    assert cm.ignores_case(str(home.base / "h")) and cm.is_path_into(other, directory)
    assert not cm.is_path_into(f"{home.home}/made", directory)


# --- a mirror home by another name ---

# What is typed then, one after the other.
NAMED_AGAIN = """list, rename work job, set job --env A=b, update job --force, login job --with-api-key, use job H,
wrapper install, create other, remove other, doctor --fix, list, rename job work, remove work --yes"""


@pytest.mark.parametrize("how", ["case", "mount"])
def test_a_mirror_home_of_another_name_is_the_same_mirror_home(crowded: Home, mac: Mac, how: str) -> None:
    """Nothing in it is an orphan, a copy or out of date, whichever of its names is typed; nor what is made then."""
    own = crowded.home / ".codex-mirror"
    name = own.with_name(".CODEX-mirror" if how == "case" else "mounted")

    def asked(home: Path, words: str) -> Result:
        env, more = {"CODEX_MIRROR_HOME": str(home)}, words.replace("H", str(crowded.home)).split(" ")
        if how == "case":
            return mac(*more, ignores_case=True, env=env, stdin=API_KEYS[0].encode())
        return ask(crowded, *more, env=env, stdin=API_KEYS[0].encode())

    def problems(home: Path) -> list[str]:
        found = [one for row in asked(home, "doctor --json").json() for one in row["problems"]]
        return [one["what"] for one in found if one["severity"] != "info"]

    asked(own, "doctor --fix")
    with contextlib.nullcontext() if how == "case" else second_name(own, name):
        for words in NAMED_AGAIN.split(","):
            told = asked(name, words.strip())
            assert told.code == 0 and problems(name) == [], (words, told)
            assert str(name) not in (own / "registry.json").read_text()
        assert problems(own) == []
