"""Ownership: whose a thing is, where it lies, and how one got there."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from helpers import API_KEYS, Home, Result, fake_codex, npm_install, tree
from rooms import ROOT, ask, at_rest, become, changes, cm, done_by, make_clone, places_of, raw, rows_of

OWNER, STRANGER = 54321, 54322
LINUX = sys.platform == "linux"
needs_root = pytest.mark.skipif(not ROOT, reason="only root can be two users")


@contextlib.contextmanager
def mounted(source: Path, target: Path) -> Iterator[None]:
    """A bind mount, or a skipped test where there is none."""
    said = subprocess.run(["mount", "--bind", source, target], check=False, capture_output=True) if LINUX else None
    if said is None or said.returncode:
        pytest.skip("no bind mounts here")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", target], check=False)


@contextlib.contextmanager
def owned_by(uid: int, path: Path) -> Iterator[None]:
    """Everything below belongs to this user for a while."""
    given = [path, *path.rglob("*")]
    for one in given:
        os.chown(one, uid, uid, follow_symlinks=False)
    try:
        yield
    finally:
        for one in given:
            with contextlib.suppress(FileNotFoundError):
                os.chown(one, 0, 0, follow_symlinks=False)


def as_user(uid: int, home: Home, *words: Any, env: dict[str, str | None] | None = None, stdin: bytes = b"") -> Result:
    """The program as another user runs it, forked from this one, whose interpreter he couldn't read."""
    return raw(home, *words, env=env, stdin=stdin, become=lambda: become(uid))


# --- directories that others can change: the rule ---

D, L = stat.S_IFDIR, stat.S_IFLNK
ME, ROOTS, PRIVATE = 1000, (0,), 1000
ANYONE, GROUP, FOREIGN = "is writable by everyone", "is writable by its group", "belongs to another user"

DIRECTORIES = [
    ("one's own", D | 0o755, ME, ME, ""),
    ("one's own and private", D | 0o700, ME, 7, ""),
    ("root's", D | 0o755, 0, 0, ""),
    ("root's for its own group", D | 0o775, 0, PRIVATE, ""),
    ("of the umask 002 with a private group", D | 0o2775, ME, PRIVATE, ""),
    ("for a group of others", D | 0o770, ME, 7, GROUP),
    ("root's for a group of others", D | 0o775, 0, 7, GROUP),
    ("for a group of others to write only", D | 0o720, ME, 7, GROUP),
    ("for anyone", D | 0o777, ME, ME, ANYONE),
    ("for anyone to write only", D | 0o702, ME, ME, ANYONE),
    ("root's for anyone", D | 0o777, 0, 0, ANYONE),
    ("/tmp", D | 0o1777, 0, 0, ""),
    ("one's own sticky one", D | 0o1777, ME, ME, ""),
    ("a sticky one for a group of others", D | 0o1770, ME, 7, ""),
    ("somebody else's", D | 0o755, 1001, 1001, FOREIGN),
    ("somebody else's, private", D | 0o700, 1001, 1001, FOREIGN),
    ("somebody else's sticky one", D | 0o1777, 1001, 1001, FOREIGN),
    ("of the overflow uid", D | 0o755, 65534, 65534, FOREIGN),
    ("one's own link", L | 0o777, ME, ME, ""),
    ("root's link", L | 0o777, 0, 0, ""),
    ("somebody else's link", L | 0o777, 1001, 1001, FOREIGN),
]


@pytest.mark.parametrize(("kind", "mode", "uid", "gid", "why"), DIRECTORIES, ids=[row[0] for row in DIRECTORIES])
def test_a_directory_is_safe_when_nobody_else_can_change_it(kind: str, mode: int, uid: int, gid: int, why: str) -> None:
    hazard = cm.hazard_of(cm.DirectoryFacts("/d d", mode, uid, gid), ME, ROOTS, lambda one: one == PRIVATE)
    assert (hazard.why if hazard else "").startswith(why) and bool(hazard) == bool(why)
    if hazard:
        own = uid == ME
        assert hazard.fix == ("chmod go-w '/d d'" if own else "CODEX_MIRROR_TRUST_DIRECTORY='/d d' accepts it")
        assert hazard.by_group == (why == GROUP)


def test_root_is_told_to_be_the_user_instead() -> None:
    hazard = cm.hazard_of(cm.DirectoryFacts("/home/ada", D | 0o755, ME, ME), 0, ROOTS, lambda one: True)
    assert hazard.why == FOREIGN and hazard.fix.startswith("run it as that user, or ")


GROUPS = [
    ("the primary one", (1000, "ada", 1000, "ada", []), False, True),
    ("the primary one, of another name", (100, "ada", 100, "users", []), False, True),
    ("the primary one that nothing names", (1000, "ada", 1000, "", []), False, True),
    ("named like the user", (2000, "ada", 1000, "ada", ["ada"]), False, True),
    ("of the user and root", (1000, "ada", 1000, "ada", ["root", "ada"]), False, True),
    ("root's", (0, "ada", 1000, "root", []), False, True),
    ("wheel with root", (0, "ada", 1000, "wheel", ["root"]), False, True),
    ("the primary one with another member", (1000, "ada", 1000, "ada", ["eve"]), False, False),
    ("named like the user with another member", (2000, "ada", 1000, "ada", ["ada", "eve"]), False, False),
    ("root's with another member", (0, "ada", 1000, "root", ["eve"]), False, False),
    ("of others", (7, "ada", 1000, "dev", ["ada"]), False, False),
    ("empty, of another name", (7, "ada", 1000, "dev", []), False, False),
    ("without a name, and the user has none", (7, "", 1000, "", []), False, False),
    ("staff on a Mac", (20, "ada", 20, "staff", ["root"]), True, False),
    ("admin on a Mac", (80, "ada", 20, "admin", ["root", "ada", "eve"]), True, True),
    ("wheel on a Mac", (0, "ada", 20, "wheel", ["root"]), True, True),
    ("named like the user on a Mac", (501, "ada", 20, "ada", ["ada"]), True, True),
    ("gid 20 elsewhere", (20, "ada", 20, "dialout", []), False, True),
    ("gid 80 elsewhere", (80, "ada", 1000, "admin", ["ada"]), False, False),
]


@pytest.mark.parametrize(("kind", "facts", "macos", "private"), GROUPS, ids=[row[0] for row in GROUPS])
def test_a_group_is_private_when_nobody_else_is_in_it(kind: str, facts: Any, macos: bool, private: bool) -> None:
    assert cm.is_private_group(*facts, macos=macos) == private


MAPS = [
    ("the whole one", b"         0          0 4294967295\n", b"65534\n", (0,)),
    ("none, as on a Mac", b"", b"", (0,)),
    ("a user's own", b"      1000       1000          1\n", b"65534\n", (0, 65534)),
    ("a rootless container's", b"0 1000 1\n1 100000 65536\n", b"65534\n", (0, 65534)),
    ("another overflow uid", b"0 1000 1\n", b"4711\n", (0, 4711)),
    ("one without an overflow uid", b"0 1000 1\n", b"", (0,)),
    ("nearly the whole", b"0 0 4294967294\n", b"65534", (0, 65534)),
]


@pytest.mark.parametrize(("kind", "uid_map", "overflow", "roots"), MAPS, ids=[row[0] for row in MAPS])
def test_who_is_not_in_the_map_counts_as_root(kind: str, uid_map: bytes, overflow: bytes, roots: Any) -> None:
    assert cm.roots_of_map(uid_map, overflow) == roots


def test_the_way_to_a_path_passes_every_link_and_directory(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "absolute").symlink_to(tmp_path / "a")
    (tmp_path / "a" / "up").symlink_to("../a/./b")
    (tmp_path / "loop").symlink_to("loop")
    ways = {
        "a/b": ["a", "a/b"],
        "a/b/missing/more": ["a", "a/b"],
        "absolute/up": ["absolute", "a", "a/up", "", "a", "a/b"],
        "a//./b/": ["a", "a/b"],
        "loop/x": ["loop"] * 40,
    }
    for path, wanted in ways.items():
        passed = [facts.path for facts in cm.way_to(f"{tmp_path}/{path}")]
        inside = [one[len(str(tmp_path)) + 1 :] for one in passed if one.startswith(str(tmp_path))]
        assert passed[0] == "/" and [one for one in inside if one][: len(wanted)] == [one for one in wanted if one], (
            path
        )


# --- the same with two users on the machine ---


def widened(mode: int) -> Callable[[Path], object]:
    return lambda path: path.chmod(mode)


def given(uid: int, mode: int = 0o755) -> Callable[[Path], object]:
    return lambda path: (os.chown(path, uid, uid), path.chmod(mode))


ABOVE: list[tuple[str, Callable[[Path], object], str]] = [
    ("0777", widened(0o777), "is writable by everyone"),
    ("0702", widened(0o702), "is writable by everyone"),
    ("0770 with another's group", lambda path: (os.chown(path, OWNER, STRANGER), path.chmod(0o770)), "by its group"),
    ("the stranger's", given(STRANGER), "belongs to another user"),
    ("the stranger's sticky one", given(STRANGER, 0o1777), "belongs to another user"),
    ("the stranger's, for anyone", given(STRANGER, 0o777), "belongs to another user"),
]


@pytest.fixture
def owner(home: Home) -> Iterator[Home]:
    """The home of a user who isn't root, with a Codex that is root's."""
    npm_install(home.base / "npm", fake_codex(home.base / "package"))
    home.put_on_path(home.base / "npm" / "bin")
    home.base.chmod(0o755)
    for path in (home.home, home.bin, home.base / "t"):
        os.chown(path, OWNER, OWNER)
    (home.base / "mine").mkdir(mode=0o700)
    os.chown(home.base / "mine", OWNER, OWNER)
    home.env["CODEX_MIRROR_HOME"] = str(home.base / "mine" / "m")
    yield home._replace(mirror=home.base / "mine" / "m")
    for path in (home.base / "mine", home.base):
        os.chown(path, 0, 0)
        path.chmod(0o700)


# --- what root is never refused ---


def an_rc_file_of_root_s(owner: Home) -> None:
    (owner.home / ".zshrc").write_text("x=1\n")


def a_codex_home_that_is_closed(owner: Home) -> None:
    codex_home = owner.home / ".codex"
    codex_home.mkdir()
    (codex_home / "auth.json").write_text(json.dumps({"auth_mode": "apikey", "OPENAI_API_KEY": API_KEYS[0]}))
    for path, mode in ((codex_home / "auth.json", 0o600), (codex_home, 0o500)):
        os.chown(path, OWNER, OWNER)
        path.chmod(mode)


def a_mirror_home_that_is_closed(owner: Home) -> None:
    assert as_user(OWNER, owner, "create", "first").code == 0
    owner.mirror.chmod(0o500)


def a_wrapper_directory_that_is_closed(owner: Home) -> None:
    owner.bin.chmod(0o500)


CLOSED: list[tuple[Callable[[Home], None], list[str], int, str]] = [
    (an_rc_file_of_root_s, ["path", "setup", "--shell", "zsh"], 5, ".zshrc was left alone: it is read-only"),
    (a_codex_home_that_is_closed, ["import", "~/.codex", "--name", "work", "--move-login"], 5, "can't be moved"),
    (a_wrapper_directory_that_is_closed, ["create", "work"], 5, "can't be written"),
    (a_mirror_home_that_is_closed, ["use", "--default", "first"], 1, "/m can't be written"),
]  # fmt: skip


@needs_root
@pytest.mark.parametrize(("close", "words", "code", "says"), CLOSED, ids=[row[0].__name__ for row in CLOSED])
def test_what_the_system_would_refuse_is_refused_before_anything_is_done(
    owner: Home, close: Callable[[Home], None], words: list[str], code: int, says: str
) -> None:
    close(owner)
    before = at_rest(owner)
    result = as_user(OWNER, owner, *words)
    assert result.code == code and says in result.err, result
    made = {path for path in changes(before, at_rest(owner)) if not path.startswith("mine")}
    assert made == set() and not (owner.mirror / "clones" / "work").exists()


UNREADABLE = ["..", "", "home", "runtime", "home/.codex", "clone.json", "home/.codex/config.toml"]


@needs_root
@pytest.mark.parametrize("is_own", [True, False], ids=["of a wrong mode", "of another user"])
@pytest.mark.parametrize("tail", UNREADABLE)
def test_a_clone_that_its_user_may_not_read_is_named_with_what_helps_and_hides_no_other(
    owner: Home, tail: str, is_own: bool
) -> None:
    names = ("one", "two", "zoe")
    for name in names:
        assert as_user(OWNER, owner, "create", name).code == 0
    path = Path(os.path.normpath(clone_base(owner, "two") / tail))
    (owner.bin / "zoe").unlink()
    before = {row["name"]: row for row in as_user(OWNER, owner, "doctor", "--json").json()}
    mode = stat.S_IMODE(path.stat().st_mode)
    path.chmod(0 if is_own else 0o700)
    if not is_own:
        os.chown(path, 0, 0)
    way = f"chmod u+rw{'x' * path.is_dir()} '{path}'" if is_own else f"sudo chown -R -h {OWNER}:{OWNER} '{path}'"
    found = as_user(OWNER, owner, "doctor", "--json")
    rows = {row["name"]: row for row in found.json()}
    [problem] = [one for one in rows.pop("two")["problems"] if one["severity"] != "info"]
    assert (found.code, problem["id"], problem["severity"]) == (1, "directory-unreadable", "error"), found
    assert str(path) in problem["what"] and problem["fix"] == way, problem
    assert rows == {name: row for name, row in before.items() if name != "two"}
    assert as_user(OWNER, owner, "doctor", "two").code == 1
    for words in (["list"], ["usage"], ["sessions"]):
        shown = as_user(OWNER, owner, *words)
        assert shown.code == 0 and all(name in shown.out for name in names if words != ["sessions"]), shown
    fixed = as_user(OWNER, owner, "doctor", "--fix")
    assert (owner.bin / "zoe").exists() and (fixed.code == 0) == is_own, fixed
    assert (f"two: you may read {path} again" in fixed.err) == is_own
    assert stat.S_IMODE(path.stat().st_mode) == (mode & 0o700 if is_own else 0o700), fixed
    if not is_own:
        os.chown(path, OWNER, OWNER)
    assert as_user(OWNER, owner, "doctor").code == 0


@needs_root
def test_a_command_for_all_clones_does_its_work_on_all_but_one_that_its_user_may_not_read(
    owner: Home, tmp_path: Path
) -> None:
    newer = fake_codex(owner.base / "newer", "0.170.0")
    for name in ("one", "two", "zoe"):
        assert as_user(OWNER, owner, "create", name).code == 0
    home = clone_base(owner, "two") / "home"
    home.chmod(0)
    for words in (["update", "--all", "--from", newer], ["wrapper", "install", "--bin-dir", owner.base / "mine/b"]):
        for more in (["--dry-run"], []):
            result = as_user(OWNER, owner, *words, *more)
            assert result.code == 1 and "two: " in result.err and f"{home}/.codex: Permission denied" in result.err
            told = result.out if more else result.out.replace("one", "/one/").replace("zoe", "/zoe/")
            assert all(f"/{name}" in told for name in ("one", "zoe")) and "/two/" not in told, result
    home.chmod(0o700)
    versions = {row["name"]: row["codexVersionPinned"] for row in rows_of(owner)}
    assert versions == {"one": "0.170.0", "two": "0.169.0", "zoe": "0.170.0"}


@needs_root
def test_whatever_of_a_clone_its_user_may_not_read_is_mended_at_once(owner: Home) -> None:
    """From the outside in, and then what was hidden by it."""
    assert as_user(OWNER, owner, "create", "two").code == 0
    base = clone_base(owner, "two")
    (owner.bin / "two").unlink()
    [runtime] = (base / "runtime").iterdir()
    for path in (
        runtime / "bin/codex",
        runtime / "bin",
        runtime,
        base / "home/.codex/config.toml",
        base / "home/.codex",
        base / "home",
        base,
        base.parent,
    ):
        path.chmod(0)
    fixed = as_user(OWNER, owner, "doctor", "two", "--fix")
    assert fixed.code == 0 and (owner.bin / "two").exists() and fixed.err.count("you may read") == 8, fixed


PARTS = [
    ("nothing", lambda top: None, ""),
    ("a directory that can't be listed", lambda top: (top / "a/b").chmod(0o111), "a/b"),
    ("one on the way that can't be searched", lambda top: (top / "a").chmod(0o600), "a"),
    ("one on the way that can't be listed", lambda top: (top / "a").chmod(0o100), ""),
    ("both", lambda top: ((top / "a/b").chmod(0), (top / "a").chmod(0)), "a"),
    ("a file", lambda top: ((top / "a/b").rmdir(), (top / "a/b").touch(), (top / "a/b").chmod(0o200)), "a/b"),
    ("a file that can be read", lambda top: ((top / "a/b").rmdir(), (top / "a/b").touch(), (top / "a/b").chmod(0o444)),
     ""),
    ("a file on the way", lambda top: ((top / "a/b").rmdir(), (top / "a").rmdir(), (top / "a").touch(0)), ""),
    ("a gone one", lambda top: (top / "a/b").rmdir(), ""),
    ("a link to itself", lambda top: ((top / "a/b").rmdir(), (top / "a/b").symlink_to("b")), ""),
]  # fmt: skip


@needs_root
@pytest.mark.parametrize(("kind", "change", "part"), PARTS, ids=[row[0] for row in PARTS])
def test_what_keeps_a_user_from_reading_is_the_outermost_thing_on_the_way(
    owner: Home, kind: str, change: Callable[[Path], object], part: str
) -> None:
    top = owner.base / "mine/top"
    (top / "a/b").mkdir(parents=True)
    change(top)
    for one in (top, *filter(os.path.lexists, (top / "a", top / "a/b"))):
        os.chown(one, OWNER, OWNER, follow_symlinks=False)

    def look() -> None:
        assert cm.unreadable_part(str(top / "a/b")) == (part and str(top / part))

    assert done_by(OWNER, look) == 0
    assert cm.unreadable_part(str(top / "a/b")) == "", "root may read all"


@needs_root
def test_no_rights_are_changed_through_a_link_out_of_a_clone(owner: Home) -> None:
    assert as_user(OWNER, owner, "create", "work").code == 0
    codex_home, mine = clone_base(owner) / "home/.codex", owner.base / "mine/own"
    codex_home.rename(mine)
    codex_home.symlink_to(mine)
    (mine / "config.toml").chmod(0)
    fixed = as_user(OWNER, owner, "doctor", "work", "--fix")
    assert fixed.code == 1 and f"{codex_home} is a link" in fixed.out, fixed
    assert stat.S_IMODE((mine / "config.toml").stat().st_mode) == 0


@needs_root
def test_a_user_removes_what_is_closed_to_himself(owner: Home) -> None:
    """As go's module cache is, and what somebody has closed by mistake; the top as well as what is below it."""
    assert as_user(OWNER, owner, "create", "work").code == 0
    top = owner.mirror / "clones/work/.codex-mirror/home/closed"
    (top / "a" / "b").mkdir(parents=True)
    for path, mode in ((top / "a" / "b" / "f", 0o000), (top / "a" / "b", 0o000), (top / "a", 0o000), (top, 0o500)):
        path.touch()
        os.chown(path, OWNER, OWNER)
        path.chmod(mode)
    assert done_by(OWNER, lambda: cm.discard(str(top))) == 0 and not top.exists()


@needs_root
@pytest.mark.parametrize(("kind", "spoil", "says"), ABOVE, ids=[row[0] for row in ABOVE])
def test_nothing_is_made_where_a_stranger_could_change_it(
    owner: Home, kind: str, spoil: Callable[[Path], object], says: str
) -> None:
    spoiled = owner.base / "spoiled"
    (spoiled / "deep").mkdir(parents=True)
    (spoiled / "r").mkdir()
    for path in (spoiled, spoiled / "deep", spoiled / "r"):
        os.chown(path, OWNER, OWNER)
    (owner.base / "link").symlink_to("spoiled/deep")
    assert as_user(OWNER, owner, "create", "work").code == 0
    assert as_user(OWNER, owner, "export", "work", "-o", owner.home / "x.tar.gz").code == 0
    before = at_rest(owner)
    spoil(spoiled)
    for words, env in (
        (["create", "far", "--root", spoiled / "r"], {}),
        (["create", "far", "--root", spoiled / "deep" / "new"], {}),
        (["create", "far", "--root", owner.base / "link" / "new"], {}),
        (["create", "far"], {"CODEX_MIRROR_HOME": str(spoiled / "deep" / "m")}),
        (["import", owner.home / "x.tar.gz", "--name", "far", "--yes"], {"CODEX_MIRROR_HOME": str(spoiled / "m")}),
    ):
        result = as_user(OWNER, owner, *words, env=env)
        assert result.code == 5 and f"{spoiled} " in result.err and says in result.err, (words, result)
        own = spoiled.stat().st_uid == OWNER
        assert (f"chmod go-w '{spoiled}'" if own else f"CODEX_MIRROR_TRUST_DIRECTORY='{spoiled}'") in result.err
    given(0)(spoiled)
    os.chown(spoiled, OWNER, OWNER)
    assert set(changes(before, at_rest(owner))) <= {"spoiled", "mine/m/lock"}


@needs_root
@pytest.mark.parametrize(("kind", "spoil", "says"), ABOVE, ids=[row[0] for row in ABOVE])
def test_a_clone_that_a_stranger_could_change_is_neither_started_nor_changed(
    owner: Home, kind: str, spoil: Callable[[Path], object], says: str
) -> None:
    """Where only a group could, it starts all the same: doctor says it."""
    (owner.base / "above").mkdir()
    os.chown(owner.base / "above", OWNER, OWNER)
    assert as_user(OWNER, owner, "create", "far", "--root", owner.base / "above" / "r").code == 0
    spoil(owner.base / "above")
    readers = (["run", "far", "exit", "0"], ["exec", "far", "--", "/bin/true"], ["env", "far"])
    for words in readers:
        result = as_user(OWNER, owner, *words)
        assert result.code == (0 if "0770" in kind else 5), (words, result)
        assert "0770" in kind or says in result.err
    before = at_rest(owner)
    for words in (
        ["login", "far", "--with-api-key"],
        ["logout", "far", "--local", "--yes"],
        ["update", "far", "--from", owner.base / "package"],
        ["remove", "far", "--yes", "--force"],
        ["rename", "far", "near"],
        ["set", "far", "--keep-env", "CODEX_API_KEY"],
    ):
        result = as_user(OWNER, owner, *words)
        assert result.code == 5 and says in result.err, (words, result)
    assert changes(before, at_rest(owner)) == {}
    trusting = {"CODEX_MIRROR_TRUST_DIRECTORY": f"/elsewhere:{owner.base}/above/"}
    if kind != "0702":
        os.chown(owner.base / "above", OWNER, -1)
    assert as_user(OWNER, owner, "remove", "far", "--yes", "--force", env=trusting).code == 0


@needs_root
def test_a_trusted_directory_s_owner_is_trusted_below_it_and_nowhere_else(owner: Home) -> None:
    top = owner.base / "top"
    (top / "below").mkdir(parents=True)
    (owner.base / "other").mkdir()
    for path in (top, top / "below", owner.base / "other"):
        os.chown(path, STRANGER, STRANGER)
    trusted = (str(top),)
    found = [list(cm.hazards_on_way(str(path), trusted)) for path in (top, top / "below", owner.base / "other")]
    assert [len(hazards) for hazards in found] == [0, 0, 1]
    os.chown(top / "below", OWNER, OWNER)
    assert len(list(cm.hazards_on_way(str(top / "below"), trusted))) == 1


@needs_root
def test_a_mirror_home_of_another_user_s_is_used_only_by_whom_it_is_trusted(owner: Home) -> None:
    """As root in a container that has the home of a user outside it."""
    assert as_user(OWNER, owner, "create", "work").code == 0
    mine = owner.base / "mine"
    for words in (["list"], ["run", "work", "exit", "0"]):
        refused = ask(owner, *words)
        assert refused.code == 5 and f"{mine} belongs to another user" in refused.err, (words, refused)
        assert "run it as that user" in refused.err and f"CODEX_MIRROR_TRUST_DIRECTORY='{mine}'" in refused.err
        trusted = ask(owner, *words, env={"CODEX_MIRROR_TRUST_DIRECTORY": str(mine)})
        assert trusted.code == 0, (words, trusted)


@needs_root
def test_a_directory_that_a_stranger_makes_meanwhile_is_not_taken_for_one_s_own(
    home: Home, codex: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_clone(home, "work")
    root, mkdir, tried = home.base / "open" / "r", os.mkdir, []
    (home.base / "open").mkdir()

    def mkdir_after_the_stranger(path: Any, mode: int = 0o777, **more: Any) -> None:
        if str(path) == str(root) and not tried:
            tried.append(path)
            mkdir(path, 0o777)
            os.chown(path, STRANGER, STRANGER)
        mkdir(path, mode, **more)

    monkeypatch.setattr(os, "mkdir", mkdir_after_the_stranger)
    result = ask(home, "create", "far", "--root", root)
    monkeypatch.undo()
    assert result.code == 5 and f"{root} was just created by another program" in result.err
    assert [row["name"] for row in rows_of(home)] == ["work"]
    assert not (root / ".codex-mirror").exists()


def test_a_place_that_is_opened_to_others_while_a_clone_is_made_there_is_refused(
    home: Home, codex: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, mkdir = home.base / "open" / "r", os.mkdir
    root.parent.mkdir()

    def mkdir_and_open(path: Any, mode: int = 0o777, **more: Any) -> None:
        mkdir(path, mode, **more)
        if ".codex-mirror.new-" in str(path):
            root.parent.chmod(0o777)

    monkeypatch.setattr(os, "mkdir", mkdir_and_open)
    result = ask(home, "create", "far", "--root", root)
    assert result.code == 5 and f"{root.parent} is writable by everyone" in result.err, result
    assert [path.name for path in home.base.rglob(".codex-mirror*")] == [".codex-mirror-home"]


# --- mounts ---


def clone_base(home: Home, name: str = "work") -> Path:
    return home.mirror / "clones" / name / ".codex-mirror"


@pytest.mark.parametrize("text", [b"/a b", b"/a\rb", b"/a\tb\nc\\d", "/hö".encode(), b"/\xff#", b"/plain"])
def test_what_is_mounted_is_known_whatever_its_name_is(tmp_path: Path, text: bytes) -> None:
    target = Path(f"{tmp_path}{os.fsdecode(text)}")
    (target / "inner").mkdir(parents=True)
    (tmp_path / "other").mkdir()
    with mounted(tmp_path / "other", target / "inner"):
        assert cm.mounts_in(str(target)) == [f"{target}/inner"] == cm.mounts_in(f"{target}/inner")
        assert cm.mounts_in(str(tmp_path / "other")) == [] == cm.mounts_in(f"{target}/inn")
        with pytest.raises(cm.MirrorError, match="something is mounted at"):
            cm.refuse_mounts(str(target))


MOUNTS = ["home/projects", "home/.codex/sessions/a", "home/.codex", "home", "logs", "runtime", ".", "home/deep er/x"]


@pytest.mark.parametrize("tail", MOUNTS)
def test_a_clone_in_which_something_is_mounted_is_not_removed_and_the_mount_named(
    home: Home, codex: Path, tail: str
) -> None:
    make_clone(home, "work")
    (home.base / "projects" / "thesis").mkdir(parents=True)
    (home.base / "projects" / "thesis" / "one.txt").write_text("ten years of work")
    target = clone_base(home) / tail
    target.mkdir(parents=True, exist_ok=True)
    before = at_rest(home)
    with mounted(home.base / "projects", target):
        result = ask(home, "remove", "work", "--yes", "--force")
        assert result.code == 5 and str(target) in result.err and "mounted" in result.err, result
        for words in (["list"], ["doctor"], ["doctor", "--fix"], ["list"]):
            ask(home, *words)
    assert changes(before, at_rest(home)) == {}
    assert ask(home, "remove", "work", "--yes").code == 0 and not clone_base(home).exists()
    assert (home.base / "projects" / "thesis" / "one.txt").read_text() == "ten years of work"


FILES = [
    ("auth.json", ["remove", "work", "--yes", "--force"]),
    ("auth.json", ["logout", "work", "--local", "--yes"]),
    ("config.toml", ["set", "work", "--settings-from", "play"]),
    ("config.toml", ["doctor", "work", "--fix"]),
    ("app-server-daemon/settings.json", ["doctor", "work", "--fix"]),
]


@pytest.mark.parametrize(("tail", "words"), FILES, ids=[f"{tail} {words[0]}" for tail, words in FILES])
def test_a_file_that_is_mounted_into_a_clone_stays_as_it_is(
    home: Home, codex: Path, tail: str, words: list[str]
) -> None:
    make_clone(home, "work")
    make_clone(home, "play")
    (home.base / "real").write_text('{"OPENAI_API_KEY": "the real one"}')
    target = clone_base(home) / "home" / ".codex" / tail
    target.touch()
    with mounted(home.base / "real", target):
        result = ask(home, *words)
        assert result.code != 0 or words[0] == "doctor", result
        assert (home.base / "real").read_text() == '{"OPENAI_API_KEY": "the real one"}'
        assert not [path for path in home.mirror.iterdir() if path.name.startswith(("finish", "clear", "journal"))]


@pytest.mark.parametrize("where", ["m", "m/clones", "m/clones/work"])
def test_a_mount_at_the_mirror_home_its_clones_or_a_root_is_fine(home: Home, codex: Path, where: str) -> None:
    place = home.base / where
    place.mkdir(parents=True)
    (home.base / "disk").mkdir(mode=0o700)
    with mounted(home.base / "disk", place):
        assert ask(home, "create", "work").code == 0
        assert ask(home, "set", "work", "--keep-env", "CODEX_API_KEY").code == 0
        assert ask(home, "remove", "work", "--yes").code == 0


def test_what_was_begun_by_another_name_of_the_mirror_home_is_finished_by_this_one(home: Home, codex: Path) -> None:
    make_clone(home, "work")
    (home.base / "name").mkdir()
    half = home.base / "made-abcdef12"
    half.mkdir()
    with mounted(home.mirror, home.base / "name"):
        plan = cm.new_plan(places_of(home)._replace(mirror_home=str(home.base / "name")), "a change")
        journal = plan._replace(id="abcdef12", made=(str(half),))._asdict()
        (home.mirror / "journal.json").write_text(json.dumps(journal))
        assert cm.recover(places_of(home)) == [] and not half.exists()
    assert not list(home.mirror.glob("unreadable-*"))


@pytest.mark.parametrize("below", ["", "new", "deep/new"])
@pytest.mark.parametrize("tail", [".", "home", "home/.codex"])
def test_no_clone_is_made_in_another_by_a_mount_of_it(home: Home, codex: Path, tail: str, below: str) -> None:
    """It would go with the other one, which is deleted where it really lies."""
    make_clone(home, "work")
    place = home.base / "place"
    place.mkdir(mode=0o700)
    before = at_rest(home)
    with mounted(clone_base(home) / tail, place):
        result = ask(home, "create", "play", "--root", place / below)
        assert result.code == 5 and "is inside the clone 'work'" in result.err, result
    assert changes(before, at_rest(home)) == {}


@pytest.mark.parametrize("mode", [0o755, 0o500, 0])
def test_a_deletion_stops_before_a_mount_and_goes_on_when_it_is_gone(tmp_path: Path, mode: int) -> None:
    for tail in ("doomed/a/b/mount", "doomed/c", "value/deep"):
        (tmp_path / tail).mkdir(parents=True)
    (tmp_path / "doomed" / "c" / "file").touch()
    (tmp_path / "value" / "deep" / "thesis").write_text("ten years of work")
    (tmp_path / "value").chmod(mode)
    if not os.access(tmp_path / "value", os.R_OK | os.X_OK):
        (tmp_path / "value").chmod(0o700)
        pytest.skip("this user can't look into a directory without permissions")
    before = tree(tmp_path / "value")
    for target in (tmp_path / "doomed/a/b/mount", tmp_path / "doomed"):
        with mounted(tmp_path / "value", target):
            with pytest.raises(OSError, match="is a mount point") as caught:
                cm.discard(str(tmp_path / "doomed"))
            assert caught.value.filename in (str(target), target.name)
            assert tree(tmp_path / "value") == before
    cm.discard(str(tmp_path / "doomed"))
    assert not (tmp_path / "doomed").exists() and tree(tmp_path / "value") == before


def test_without_mountinfo_another_device_is_a_mount(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a Mac, which has no bind mounts."""
    (tmp_path / "d" / "inner" / "deep").mkdir(parents=True)
    monkeypatch.setattr(cm, "mount_points", lambda: None)
    monkeypatch.delattr(os, "O_PATH", raising=False)
    assert cm.mounts_in(str(tmp_path / "d")) == []
    lstat, whole = os.lstat, os.stat

    def elsewhere(facts: os.stat_result) -> os.stat_result:
        return os.stat_result((*facts[:2], facts.st_dev + 1, *facts[3:10]))

    monkeypatch.setattr(
        os, "lstat", lambda path: elsewhere(lstat(path)) if str(path).endswith("inner") else lstat(path)
    )
    monkeypatch.setattr(
        os, "stat", lambda path, **more: elsewhere(whole(path, **more)) if path == "inner" else whole(path, **more)
    )
    assert cm.mounts_in(str(tmp_path / "d")) == [str(tmp_path / "d" / "inner")]
    with pytest.raises(OSError, match="is a mount point"):
        cm.discard(str(tmp_path / "d"))
    monkeypatch.undo()
    assert (tmp_path / "d" / "inner" / "deep").exists()


# --- a plan that was left over ---


def left_over_removal(home: Home) -> Path:
    """A removal that was committed and could not be finished, since something was mounted after the commit."""
    make_clone(home, "work")
    inner = clone_base(home) / "home" / "mount"
    inner.mkdir()
    shutil.copytree(clone_base(home), home.base / "backup", symlinks=True)
    shutil.copy2(home.bin / "work", home.base / "backup-wrapper")
    (home.base / "projects").mkdir()
    (home.base / "projects" / "thesis").write_text("ten years of work")
    refuse = cm.refuse_mounts
    try:
        cm.refuse_mounts = lambda path: None
        with mounted(home.base / "projects", inner):
            assert ask(home, "remove", "work", "--yes", "--force").code == 1
            gone = next(clone_base(home).parent.glob(".codex-mirror.gone-*"), clone_base(home))
            # An umount goes by the name that the directory has now.
            subprocess.run(["umount", gone / "home" / "mount"], check=False, capture_output=True)
    finally:
        cm.refuse_mounts = refuse
    return next(home.mirror.glob("finish-*.json"))


def test_a_plan_left_over_deletes_what_was_meant_and_nothing_that_came_after_it(home: Home, codex: Path) -> None:
    plan = left_over_removal(home)
    assert json.loads(plan.read_text())["to_delete"] == [str(clone_base(home))]
    shutil.copytree(home.base / "backup", clone_base(home), symlinks=True)
    shutil.copy2(home.base / "backup-wrapper", home.bin / "work")
    restored, wrapper = tree(clone_base(home)), (home.bin / "work").read_bytes()
    for words in (["list"], ["doctor"], ["create", "play"], ["list"]):
        ask(home, *words)
    assert not plan.exists() and not list(clone_base(home).parent.glob("*.gone-*"))
    assert tree(clone_base(home)) == restored and (home.bin / "work").read_bytes() == wrapper
    assert (home.base / "projects" / "thesis").read_text() == "ten years of work"


CAME_AFTER: list[tuple[str, Callable[[Path], object]]] = [
    ("a link", lambda path: path.symlink_to("elsewhere")),
    ("another link to the same", lambda path: path.symlink_to("notes")),
    ("a file", lambda path: path.write_text("new")),
    ("a directory", Path.mkdir),
]


@pytest.mark.parametrize(("kind", "make"), CAME_AFTER, ids=[row[0] for row in CAME_AFTER])
def test_a_plan_knows_what_it_was_to_delete_from_what_has_its_name_now(
    tmp_path: Path, kind: str, make: Callable[[Path], object]
) -> None:
    path = tmp_path / "it"
    path.symlink_to("notes")
    plan = cm.Plan("abcdef12", "test", to_delete=(str(path),), marks=(cm.deletion_mark(str(path)),))
    assert cm.is_as_marked(str(path), cm.plan_from(json.dumps(plan._asdict()).encode()))
    path.rename(tmp_path / "kept")
    assert not cm.is_as_marked(str(path), plan)
    make(path)
    assert not cm.is_as_marked(str(path), plan) and cm.is_as_marked(str(path), plan._replace(marks=()))


# --- links in the place of our directories ---

PARTS = [".", "home", "home/.codex", "home/.codex/app-server-daemon", "runtime", "logs"]


def as_link(path: Path, stuff: Path) -> None:
    """What was there went to `stuff`, and a link leads to it."""
    path.rename(stuff)
    path.symlink_to(stuff)


def as_link_to_strange(path: Path, stuff: Path) -> None:
    path.rename(path.with_name("away"))
    stuff.mkdir()
    (stuff / "auth.json").write_text('{"OPENAI_API_KEY": "the real one"}')
    (stuff / "photos.gone-20251128").mkdir()
    path.symlink_to(stuff)


def as_file(path: Path, stuff: Path) -> None:
    path.rename(path.with_name("away"))
    stuff.mkdir()
    path.write_text("a file")


@pytest.mark.parametrize("instead", [as_link, as_link_to_strange, as_file])
@pytest.mark.parametrize("tail", PARTS)
def test_what_stands_in_the_place_of_a_part_of_a_clone_is_neither_written_nor_deleted(
    home: Home, codex: Path, tail: str, instead: Callable[[Path, Path], None]
) -> None:
    make_clone(home, "work")
    make_clone(home, "play")
    (clone_base(home) / "home/.codex/auth.json").write_text('{"OPENAI_API_KEY": "x"}')
    (home.home / ".codex").mkdir()
    (home.home / ".codex" / "config.toml").write_text('model = "o"\n')
    (home.home / "notes").touch()
    (clone_base(home) / ".notes.codex-mirror-0badcafe").touch()  # As a killed change leaves them.
    newer = fake_codex(home.base / "newer", "0.170.0")
    part = clone_base(home) / tail
    instead(part, home.base / "stuff")
    before = at_rest(home)
    for words in (
        ["remove", "work", "--yes", "--force"],
        ["logout", "work", "--local", "--yes"],
        ["login", "work", "--with-api-key"],
        ["set", "work", "--settings-from", home.home / ".codex"],
        ["set", "work", "--share", "notes"],
        ["update", "work", "--from", newer],
        ["rename", "work", "office"],
        ["use", "--default", "work"],
    ):
        result = ask(home, *words, stdin=b"sk-0123456789")
        assert result.code in (1, 5) and result.err, (words, result)
        assert changes(before, at_rest(home)) == {}, words
    ask(home, "doctor", "--fix")
    after = changes(before, at_rest(home))
    assert not [path for path in after if not path.startswith(("m/registry", "m/reserve", "m/clones/play"))], after
    examined = ask(home, "doctor", "work", "--json")
    assert [
        one
        for one in examined.json()[0]["problems"]
        if one["id"] == "directory-foreign" and str(part).rstrip("/.") in one["what"]
    ]
    assert ask(home, "list").code == 0


def test_clones_that_are_a_link_are_named_and_nothing_is_changed_in_them(home: Home, codex: Path) -> None:
    make_clone(home, "work")
    as_link(home.mirror / "clones", home.base / "stuff")
    before = at_rest(home)
    for words in (["create", "play"], ["remove", "work", "--yes"], ["doctor", "--fix"]):
        result = ask(home, *words)
        assert result.code in (1, 5) and f"{home.mirror}/clones is not a plain directory" in result.err + result.out
        assert changes(before, at_rest(home)) == {}
    assert ask(home, "run", "work", "exit", "0").code == 0


# --- what is a mirror home ---


def project(place: Path) -> None:
    """A directory of the user's with files that have the names of ours."""
    place.mkdir(mode=0o700)
    for name in ("lock", "journal.json", "registry.json.new", "reserve", "finish-20251128.json", "shim"):
        (place / name).write_text(f"my {name}\n")
    for name in ("scratch-20251128", "clones/work/.codex-mirror", "clones/x.gone-20251128"):
        (place / name).mkdir(parents=True)
        (place / name / "thesis.txt").write_text("ten years of work\n")


def one_file(place: Path) -> None:
    place.mkdir(mode=0o700)
    (place / "thesis.txt").write_text("ten years of work\n")


def own_registry(place: Path) -> None:
    place.mkdir(mode=0o700)
    (place / "registry.json").write_text('{"clones": 3, "version": 1}')


def only_a_lock(place: Path) -> None:
    place.mkdir(mode=0o700)
    (place / "lock").write_text("host 1234\n")


def own_clones(place: Path) -> None:
    (place / "clones" / "linux").mkdir(parents=True, mode=0o700)
    (place / "reserve").write_text("some")


def linked_mark(place: Path) -> None:
    place.mkdir(mode=0o700)
    (place / "thesis.txt").touch()
    (place / ".codex-mirror-home").symlink_to("thesis.txt")


def forged_mark(place: Path) -> None:
    """An empty file of that name, as a repository may bring it."""
    project(place)
    (place / ".codex-mirror-home").touch()


def torn_mark(place: Path) -> None:
    project(place)
    (place / ".codex-mirror-home").write_text('{"mirrorHome": 7}\n')


def mark_and_thesis(place: Path) -> None:
    one_file(place)
    (place / ".codex-mirror-home").touch()


STRANGE_HOMES = [project, one_file, own_registry, only_a_lock, own_clones, linked_mark]
STRANGE_HOMES += [forged_mark, torn_mark, mark_and_thesis]


@pytest.mark.parametrize("left", [[], ["lock"], ["lock", "reserve"], ["lock", "..codex-mirror-home.codex-mirror-new"]])
def test_a_home_that_was_just_begun_is_one(home: Home, codex: Path, left: list[str]) -> None:
    """Killed after its first files."""
    home.mirror.mkdir(mode=0o700)
    for name in (".codex-mirror-home", *left):
        (home.mirror / name).touch(mode=0o600)
    assert ask(home, "create", "work").code == 0
    assert json.loads((home.mirror / ".codex-mirror-home").read_text())["mirrorHome"] == str(home.mirror)


@pytest.mark.parametrize("make", STRANGE_HOMES)
def test_a_directory_that_is_no_mirror_home_is_never_written(
    home: Home, codex: Path, make: Callable[[Path], None]
) -> None:
    make(home.mirror)
    (home.home / ".codex").mkdir()
    (home.home / ".codex" / "config.toml").touch()
    before = tree(home.base)
    for words in (
        ["list"],
        ["list", "--json"],
        ["run", "work"],
        ["create", "work"],
        ["remove", "work", "--yes"],
        ["import", home.home / ".codex", "--name", "x"],
        ["wrapper", "install"],
        ["usage"],
        ["doctor"],
        ["doctor", "--fix"],
        ["completion", "query", "--", "run", ""],
    ):
        result = ask(home, *words)
        assert result.code == (1 if words[0] == "doctor" else result.code if words[0] == "completion" else 5), result
        assert words[0] == "completion" or "not a mirror home of codex-mirror" in result.err + result.out, words
        assert {path for path in changes(before, tree(home.base)) if not path.startswith("t/")} == set(), words


KNOWN_HOMES: list[tuple[str, Callable[[Path], object]]] = [
    ("nothing in it", lambda place: None),
    ("a disk's own directory", lambda place: (place / "lost+found").mkdir()),
    ("the Finder's file", lambda place: (place / ".DS_Store").touch()),
    ("a registry of 1.0.0", lambda place: (place / "registry.json").write_text('{"version": 1, "clones": []}')),
    (
        "only the registry before",
        lambda place: (place / "registry.json.previous").write_text('{"version": 1, "clones": []}'),
    ),
    ("a first try of 1.0.0", lambda place: ((place / "lock").touch(), (place / "reserve").write_bytes(bytes(1 << 18)))),
    ("its mark, half made", lambda place: (place / ".codex-mirror-home").touch()),
]


@pytest.mark.parametrize(("kind", "furnish"), KNOWN_HOMES, ids=[row[0] for row in KNOWN_HOMES])
def test_a_mirror_home_is_known_and_gets_its_mark_with_the_next_change(
    home: Home, codex: Path, kind: str, furnish: Callable[[Path], object]
) -> None:
    home.mirror.mkdir(mode=0o700)
    furnish(home.mirror)
    if "before" in kind:
        assert ask(home, "doctor", "--fix").code in (0, 1)
    assert ask(home, "list").code == 0 and ask(home, "create", "work").code == 0
    assert json.loads((home.mirror / ".codex-mirror-home").read_text())["mirrorHome"] == str(home.mirror)
    (home.mirror / "registry.json").unlink()
    (home.mirror / "registry.json.previous").unlink(missing_ok=True)
    (home.mirror / ".codex-mirror-home").unlink()
    assert "added the clone" in ask(home, "doctor", "--fix").err and (home.mirror / ".codex-mirror-home").exists()


# --- a copy of a mirror home ---


def snapshot(home: Home) -> dict[str, Any]:
    return {path: what for path, what in at_rest(home).items() if not path.startswith(("copy", "m/reserve"))}


def copied(home: Home, *unmarked: str) -> dict[str, str | None]:
    """The environment of a copy of the mirror home, without these marks."""
    shutil.copytree(home.mirror, home.base / "copy", symlinks=True)
    for place in unmarked:
        (home.base / place / ".codex-mirror-home").unlink()
    return {"CODEX_MIRROR_HOME": str(home.base / "copy")}


@pytest.mark.parametrize("unmarked", [(), ("copy",), ("copy", "m")], ids=["marked", "unmarked copy", "both of 1.0.0"])
def test_a_copy_of_a_mirror_home_changes_nothing_of_the_original(
    home: Home, codex: Path, unmarked: tuple[str, ...]
) -> None:
    make_clone(home, "work")
    make_clone(home, "far", root=str(home.base / "r"))
    newer = fake_codex(home.base / "newer", "0.170.0")
    env = copied(home, *unmarked)
    before = snapshot(home)
    for name in ("work", "far"):
        for words in (
            ["remove", name, "--yes", "--force"],
            ["update", name, "--from", newer],
            ["rename", name, "office"],
            ["set", name, "--keep-env", "CODEX_API_KEY"],
            ["logout", name, "--local", "--yes"],
            ["login", name, "--with-api-key"],
            ["run", name, "exit", "0"],
            ["exec", name, "--", "/bin/true"],
        ):
            result = ask(home, *words, env=env, stdin=b"sk-0123456789")
            assert result.code == 5 and f"is a copy of {home.mirror}" in result.err, (words, result)
            assert f"CODEX_MIRROR_HOME='{home.mirror}'" in result.err and "--move-login" not in result.err
            assert changes(before, snapshot(home)) == {}, words
    for words in (["doctor"], ["doctor", "--fix"], ["wrapper", "install"], ["update", "--all", "--from", newer]):
        ask(home, *words, env=env)
        assert changes(before, snapshot(home)) == {}, words
    assert ask(home, "run", "work", "exit", "0").code == 0
    assert ask(home, "create", "own", env=env).code == 0 and ask(home, "remove", "own", "--yes", env=env).code == 0
    for name in ("work", "far"):
        assert ask(home, "remove", name, "--yes", "--force").code == 0


UNTOLD: list[tuple[str, Callable[[Path], object]]] = [
    ("torn", lambda registry: registry.write_text("{torn")),
    ("gone", lambda registry: registry.unlink()),
    ("a directory", lambda registry: [registry.unlink(), registry.mkdir()]),
    ("of other words", lambda registry: registry.write_text('{"version": 1, "clones": {}}')),
]


@pytest.mark.parametrize(("how", "spoil"), UNTOLD, ids=[row[0] for row in UNTOLD])
def test_a_copy_leaves_alone_what_may_be_the_original_s_while_nobody_can_read_its_registry(
    home: Home, codex: Path, how: str, spoil: Callable[[Path], object]
) -> None:
    make_clone(home, "far", root=str(home.base / "r"))
    env = copied(home)
    spoil(home.mirror / "registry.json")
    before = snapshot(home)
    for words in (["remove", "far", "--yes", "--force"], ["logout", "far", "--local", "--yes"], ["run", "far"]):
        result = ask(home, *words, env=env)
        assert result.code == 5 and f"is a copy of {home.mirror}" in result.err, (words, result)
    ask(home, "doctor", "--fix", env=env)
    assert changes(before, snapshot(home)) == {}


def test_a_mirror_home_that_was_moved_is_told_where_it_was(home: Home, codex: Path) -> None:
    make_clone(home, "work")
    home.mirror.rename(home.base / "copy")
    env: dict[str, str | None] = {"CODEX_MIRROR_HOME": str(home.base / "copy")}
    for words in (["run", "work"], ["remove", "work", "--yes"], ["rename", "work", "office"]):
        result = ask(home, *words, env=env)
        assert result.code == 5 and f"{home.mirror} was moved to {home.base / 'copy'}" in result.err, result
    (home.base / "copy").rename(home.mirror)
    assert ask(home, "run", "work", "exit", "0").code == 0


SAME_HOMES: list[tuple[str, Callable[[Home], Path]]] = [
    ("through a link", lambda home: home.base / "link"),
    ("through a link to what is above", lambda home: home.base / "up" / "m"),
    ("by another spelling", lambda home: home.base / "h" / ".." / "m"),
]


@pytest.mark.parametrize(("kind", "name"), SAME_HOMES, ids=[row[0] for row in SAME_HOMES])
def test_another_name_of_a_mirror_home_is_no_copy(
    home: Home, codex: Path, kind: str, name: Callable[[Home], Path]
) -> None:
    (home.base / "link").symlink_to("m")
    (home.base / "up").symlink_to(".")
    make_clone(home, "work")
    make_clone(home, "far", root=str(home.base / "clones" / "far"))
    env: dict[str, str | None] = {"CODEX_MIRROR_HOME": str(name(home))}
    for clone in ("work", "far"):
        assert ask(home, "set", clone, "--keep-env", "CODEX_API_KEY", env=env).code == 0
        assert ask(home, "run", clone, "exit", "0", env=env).code == 0
        assert ask(home, "remove", clone, "--yes", env=env).code == 0


# --- in a repository ---


def test_no_login_is_staged_where_a_clone_or_the_mirror_home_lies_in_a_repository(home: Home, codex: Path) -> None:
    if not shutil.which("git"):
        pytest.skip("no git here")
    home.env["CODEX_MIRROR_HOME"] = str(home.home / "dotfiles" / ".codex-mirror")
    (home.home / "dotfiles").mkdir()
    mirror = home._replace(mirror=home.home / "dotfiles" / ".codex-mirror")
    assert ask(mirror, "create", "work").code == 0
    assert ask(mirror, "create", "far", "--root", home.home).code == 5
    assert ask(mirror, "create", "far", "--root", home.home / "project").code == 0
    for base in (mirror.mirror / "clones/work/.codex-mirror", home.home / "project" / ".codex-mirror"):
        (base / "home/.codex/auth.json").write_text("{}")
        assert (base / ".gitignore").read_text().endswith("\n*\n")
    for place in ("dotfiles", "project"):
        top = home.home / place
        (top / "mine").touch()
        for words in (["init", "-q"], ["add", "-A"]):
            subprocess.run(["git", "-C", top, *words], check=True, env=home.env)
        said = subprocess.run(["git", "-C", top, "ls-files"], check=True, env=home.env, capture_output=True).stdout
        assert said == b"mine\n"


# --- other users' files in a clone, and places from which nothing can be started ---

LEFT_BY_SUDO: list[tuple[str, str]] = [
    ("the login", "home/.codex/auth.json"),
    ("the settings", "home/.codex/config.toml"),
    ("a session", "home/.codex/sessions/2026/11/28/rollout-x.jsonl"),
    ("a directory of the home", "home/.config"),
    ("a link", "home/link"),
    ("the runtime", "runtime"),
    ("the log", "logs/events.log"),
]


@needs_root
@pytest.mark.parametrize(("kind", "tail"), LEFT_BY_SUDO, ids=[row[0] for row in LEFT_BY_SUDO])
def test_files_of_other_users_in_a_clone_are_named_with_the_command_that_gives_them_back(
    home: Home, codex: Path, kind: str, tail: str
) -> None:
    clone = make_clone(home, "work")
    base = Path(cm.base_of(clone))
    path = base / tail
    path.parent.mkdir(parents=True, exist_ok=True)
    if tail.endswith("link"):
        path.symlink_to("/etc/passwd")
    elif not path.exists():
        path.write_text("{}")
    os.chown(path, STRANGER, -1, follow_symlinks=False)
    [told] = [row for row in ask(home, "doctor", "--json").json() if row["name"] == "work"]
    [found] = [one for one in told["problems"] if one["id"] == "foreign-files"]
    assert str(path) in found["what"] and found["fix"].startswith("sudo chown -R -h ") and str(base) in found["fix"]
    subprocess.run(["sh", "-c", found["fix"].removeprefix("sudo ")], check=True)
    assert os.stat("/etc/passwd").st_uid == 0 and os.lstat(path).st_uid == os.geteuid()
    again = [one["id"] for row in ask(home, "doctor", "--json").json() for one in row["problems"]]
    assert "foreign-files" not in again


@contextlib.contextmanager
def noexec(target: Path) -> Iterator[None]:
    """A file system from which nothing can be started, or a skipped test where none can be mounted."""
    words = ["mount", "-t", "tmpfs", "-o", "noexec,mode=700", "none", str(target)]
    if not LINUX or subprocess.run(words, check=False, capture_output=True).returncode:
        pytest.skip("no mounts here")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", target], check=False)


NOEXEC_PLACES: list[tuple[str, Callable[[Home], Path], tuple[str, ...]]] = [
    ("the mirror home", lambda home: home.mirror, ()),
    ("the clones' directory", lambda home: home.mirror / "clones", ()),
    ("the wrapper directory", lambda home: home.bin, ()),
    ("a root", lambda home: home.base / "disk", ("--root", "ROOT/work")),
    ("an existing root", lambda home: home.base / "disk", ("--root", "ROOT")),
]


@needs_root
@pytest.mark.parametrize(("kind", "place", "more"), NOEXEC_PLACES, ids=[row[0] for row in NOEXEC_PLACES])
def test_a_place_from_which_nothing_can_be_started_is_named_before_anything_is_made(
    home: Home, codex: Path, kind: str, place: Callable[[Home], Path], more: tuple[str, ...]
) -> None:
    target = place(home)
    target.mkdir(mode=0o700, parents=True, exist_ok=True)
    words = [word.replace("ROOT", str(target)) for word in more]
    with noexec(target):
        made = ask(home, "create", "work", *words)
        assert made.code == 5 and "noexec" in made.err and "CODEX_MIRROR_" in made.err
        assert not list(target.glob("**/.codex-mirror")) and not list(home.bin.iterdir())
        if target == home.bin:
            assert "noexec" in ask(home, "wrapper", "install").err


@needs_root
@pytest.mark.parametrize("place", ["bin", "clones"])
def test_doctor_names_a_clone_on_a_noexec_file_system_and_does_not_advise_to_install_it_again(
    home: Home, codex: Path, place: str
) -> None:
    make_clone(home, "work")
    target = home.bin if place == "bin" else home.mirror / "clones"
    shutil.copytree(target, home.base / "copy", symlinks=True)
    with noexec(target):
        shutil.copytree(home.base / "copy", target, symlinks=True, dirs_exist_ok=True)
        [told] = [row for row in ask(home, "doctor", "--json").json() if row["name"] == "work"]
        errors = [one["id"] for one in told["problems"] if one["severity"] == "error"]
        [found] = [one for one in told["problems"] if one["id"] == "noexec"]
    assert errors == ["noexec"] and str(target) in found["what"] and "noexec" in found["what"]


# --- what doctor says ---


def problems(home: Home, *words: str, env: dict[str, str | None] | None = None) -> dict[str, list[str]]:
    """What doctor says of the clones and of the mirror home, by id; each thing once."""
    result = ask(home, "doctor", *words, env=env)
    found: dict[str, list[str]] = {}
    for line in result.out.splitlines():
        if line.endswith("]"):
            found.setdefault(line.rpartition("[")[2].rstrip("]"), []).append(line)
    return found


@needs_root
def test_doctor_names_what_others_could_change_once(home: Home, codex: Path) -> None:
    make_clone(home, "work")
    make_clone(home, "play")
    make_clone(home, "far", root=str(home.base / "above" / "r"))
    assert "directory-unsafe" not in problems(home) and "wrapper-directory" not in problems(home)
    for path in (home.base / "above", home.mirror, home.bin):
        os.chown(path, 0, STRANGER)
        path.chmod(0o770)
    found = problems(home)
    assert len(found["directory-unsafe"]) == 2 and len(found["wrapper-directory"]) == 1, found
    assert all(
        any(str(path) in line for line in found["directory-unsafe"]) for path in (home.base / "above", home.mirror)
    )
    assert str(home.bin) in found["wrapper-directory"][0]
    assert ask(home, "run", "work", "exit", "0").code == 0
    assert ask(home, "create", "extra").code == 5
    home.mirror.chmod(0o700)
    assert ask(home, "create", "extra").code == 0


def test_doctor_names_a_copy_once_and_no_way_to_double_a_login(home: Home, codex: Path) -> None:
    for name in ("work", "play"):
        make_clone(home, name)
    make_clone(home, "far", root=str(home.base / "r"))
    env = copied(home)
    found = problems(home, env=env)
    assert len(found["mirror-home-copy"]) == 1 and str(home.mirror) in found["mirror-home-copy"][0]
    assert "orphan-clone" not in found
    said = ask(home, "doctor", "--fix", env=env)
    assert said.code == 1 and said.err.count("is a copy of") <= 1 and "--move-login" not in said.out + said.err


def test_doctor_names_what_a_repository_has_all_the_same(home: Home, codex: Path) -> None:
    if not shutil.which("git"):
        pytest.skip("no git here")
    make_clone(home, "far", root=str(home.home / "project"))
    make_clone(home, "work")
    for top in (home.home / "project", home.base):
        for words in (["init", "-q"], ["add", "-A"]):
            subprocess.run(["git", "-C", top, *words], check=False, env=home.env, capture_output=True)
    assert "git-tracked" not in problems(home)
    secret = home.home / "project" / ".codex-mirror" / "home" / ".codex" / "config.toml"
    subprocess.run(["git", "-C", home.home / "project", "add", "-f", secret], check=True, env=home.env)
    subprocess.run(["git", "-C", home.base, "add", "-f", home.mirror / "registry.json"], check=True, env=home.env)
    found = problems(home)
    assert len(found["git-tracked"]) == 2 and any(str(secret) in line for line in found["git-tracked"])
    elsewhere = {"GIT_DIR": "/nowhere", "GIT_WORK_TREE": "/nowhere"}  # As inside a hook of another repository.
    assert problems(home, env=elsewhere)["git-tracked"] == found["git-tracked"]


# --- taken back into the registry, and deleted by a plan ---

ADOPTED: list[tuple[str, Callable[[Path], object], bool]] = [
    ("as it was", lambda base: None, True),
    ("the stranger's", lambda base: os.chown(base, STRANGER, STRANGER), False),
    ("with a home of the stranger's", lambda base: os.chown(base / "home", STRANGER, STRANGER), False),
    ("with a Codex of the stranger's", lambda base: os.chown(base / "runtime", STRANGER, STRANGER), False),
    ("that anyone may write", lambda base: base.chmod(0o777), False),
    ("in a root that anyone may write", lambda base: base.parent.chmod(0o777), False),
    ("for the stranger's group", lambda base: (os.chown(base, 0, STRANGER), base.chmod(0o770)), False),
    ("with a link in it", lambda base: as_link(base / "home", base.parents[3] / "stuff"), False),
    ("that is a link itself", lambda base: as_link(base, base.parents[3] / "stuff"), False),
]


@needs_root
@pytest.mark.parametrize("lost", ["its row", "the registry"])
@pytest.mark.parametrize(("kind", "spoil", "taken"), ADOPTED, ids=[row[0] for row in ADOPTED])
def test_a_clone_is_taken_back_only_where_nobody_else_could_have_made_it(
    home: Home, codex: Path, lost: str, kind: str, spoil: Callable[[Path], object], taken: bool
) -> None:
    make_clone(home, "work")
    make_clone(home, "play")
    for path in home.mirror.glob("registry.json*"):
        if lost == "the registry":
            path.write_text("torn")
        else:
            document = json.loads(path.read_text())
            path.write_text(
                json.dumps({**document, "clones": [one for one in document["clones"] if one["name"] == "play"]})
            )
    spoil(clone_base(home))
    before = tree(clone_base(home).parent)
    ask(home, "doctor", "--fix")
    assert {row["name"] for row in rows_of(home)} == ({"work", "play"} if taken else {"play"})
    assert taken or tree(clone_base(home).parent) == before


@needs_root
def test_a_plan_deletes_nothing_of_another_user_s(home: Home, codex: Path) -> None:
    clone = make_clone(home, "work")
    plan = cm.Plan("abcdef12", "test", owners=cm.wrapper_owners(clone))
    for path in (clone_base(home), home.bin / "work", clone_base(home) / "runtime", home.base / "x.gone-abcdef12"):
        path.mkdir(exist_ok=True) if "gone" in path.name else None
        assert cm.is_plans_own(str(path), plan)
        os.chown(path, STRANGER, STRANGER, follow_symlinks=False)
        assert not cm.is_plans_own(str(path), plan), path
        os.chown(path, 0, 0, follow_symlinks=False)


@needs_root
def test_inside_a_container_root_is_who_is_in_no_map(owner: Home) -> None:
    """As in `codex sandbox`, toolbox and rootless containers, where `/` belongs to the overflow uid."""
    inside = ["setpriv", f"--reuid={OWNER}", f"--regid={OWNER}", "--clear-groups", "unshare", "-U", "-r"]
    python = shutil.which("python3", path="/usr/bin:/bin") or "/missing"
    recent = "import sys; sys.exit(sys.version_info < (3, 10))"
    if subprocess.run([*inside, python, "-c", recent], check=False, capture_output=True).returncode:
        pytest.skip("no user namespaces here, or no Python that everybody may start")
    script = (
        "import os, sys; sys.path.insert(0, os.environ['ROOM']); import codex_mirror as cm\n"
        "print(os.lstat('/').st_uid, list(cm.hazards_on_way(sys.argv[1], ())))"
    )
    room = owner.base / "room"
    room.mkdir(mode=0o755)
    shutil.copy(cm.__file__, room)
    (room / "codex_mirror.py").chmod(0o644)
    argv = [*inside, python, "-B", "-c", script, str(owner.base / "mine")]
    said = subprocess.run(argv, check=True, capture_output=True, text=True, env={**owner.env, "ROOM": str(room)})
    assert said.stdout == "65534 []\n"
