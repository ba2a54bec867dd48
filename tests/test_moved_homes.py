"""Moved homes, and Moving home: a home directory that got another name, and the two ways to go on with its clones."""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from darwin import second_name
from helpers import API_KEYS, Home, finish, odd_name, run, start, tree, wait_until
from rooms import ask, clone_in, cm, raw, rows_of

SESSION = "sessions/2026/11/28/rollout-2026-11-28T10-00-00-01a2239c-fb30-7a32-864b-b2a72810b32f.jsonl"


def at(home: Home, place: Path) -> Home:
    """The same things where the home directory is now."""
    env = {name: value for name, value in home.env.items() if not name.startswith("CODEX_MIRROR_")}
    env |= {"HOME": str(place), "CODEX_MIRROR_OFFLINE": "1", "PATH": f"{place}/.local/bin:{home.env['PATH']}"}
    return Home(home.base, place, place / ".codex-mirror", place / ".local/bin", env)


@pytest.fixture
def jo(home: Home, codex: Path) -> Home:
    """A home directory `jo` in which all is by default, with a login, a session, shared things, a repository's settings
    and three clones: one by default, one below the home, one outside of it."""
    place = home.base / "jo"
    for directory in (".ssh", ".config/git", ".codex/skills/a", "proj", ".local/bin"):
        (place / directory).mkdir(parents=True)
    files = {
        ".gitconfig": "[user]\n\tname = Jo\n[core]\n\texcludesFile = ~/.ignore\n[include]\n\tpath = ~/.gitinc\n",
        ".gitinc": "[alias]\n\tx = !~/bin/y\n",
        ".config/git/ignore": "*.o\n",
        ".npmrc": "npm\n",
        ".codex/AGENTS.md": "be kind\n",
        ".codex/skills/a/SKILL.md": "skill\n",
    }
    for name, text in files.items():
        (place / name).write_text(text)
    jo = at(home, place)
    shares = ["--share", "default", "--share", ".npmrc", "--share-settings", "AGENTS.md", "--share-settings", "skills"]
    made = [["work", *shares], ["far", "--root", place / "far"], ["out", "--root", home.base / "out"]]
    for words in made:
        assert ask(jo, "create", *words).code == 0
    assert ask(jo, "login", "work", "--with-api-key", stdin=API_KEYS[0].encode()).code == 0
    assert ask(jo, "use", "work", place / "proj").code == ask(jo, "use", "--default", "far").code == 0
    assert ask(jo, "shim", "install", "--shell", "sh").code == 0
    codex_home = jo.clone_home("work") / ".codex"
    config = codex_home / "config.toml"
    mine = f'notify = ["{place}/proj", "{place}/not/there"]\n'
    config.write_text(f'{mine}{config.read_text()}\n[projects."{place}/proj"]\ntrust_level = "trusted"\n')
    for path in (codex_home / SESSION, home.base / SESSION):
        path.parent.mkdir(parents=True)
        path.write_text("{}\n")
    with closing(sqlite3.connect(codex_home / "state_5.sqlite")) as table, table:
        table.execute("CREATE TABLE threads (id TEXT PRIMARY KEY, rollout_path TEXT NOT NULL)")
        rows = [("one", str(codex_home / SESSION)), ("two", f"{codex_home}/sessions/gone.jsonl"), ("three", "/x")]
        rows.append(("four", str(home.base / SESSION)))
        table.executemany("INSERT INTO threads VALUES (?, ?)", rows)
    return jo


def moved(jo: Home, name: str = "jo2") -> Home:
    """The home directory under another name."""
    jo.home.rename(jo.base / name)
    return at(jo._replace(env={**jo.env, "PATH": jo.env["PATH"].partition(":")[2]}), jo.base / name)


def problems(home: Home, *words: str) -> dict[str, list[Any]]:
    """What doctor says, by clone: ids with what helps."""
    return {row["name"]: row["problems"] for row in ask(home, "doctor", *words, "--json").json()}


def works(home: Home, shown: Path | None = None) -> None:
    """Every clone starts by its own command, and is logged in and shares as before, the real home by this name."""
    for name in ("work", "far", "out"):
        assert raw(home, "exec", name, "--", home.bin / name, "exit", "7").code == 7
    said = ask(home, "exec", "work", "--", "sh", "-c", "cat ~/.npmrc ~/.config/git/ignore; git config --global --list; "
               'cat "$CODEX_HOME/AGENTS.md" "$CODEX_HOME/skills/a/SKILL.md"')  # fmt: skip
    assert said.code == 0 and said.err == "", said
    for line in ("npm", "*.o", f"core.excludesfile={shown or home.home}/.ignore", "be kind", "skill"):
        assert line in said.out.splitlines(), said
    assert "API key configured" in raw(home, "run", "work", "login", "status").err
    assert ask(home, "which", home.home / "proj").out == "work\n" and ask(home, "which", "/").out == "far\n"


# --- the two ways ---


def test_doctor_says_once_what_happened_and_both_ways_and_mends_nothing(jo: Home) -> None:
    new = moved(jo)
    before = tree(jo.base)
    told = ask(new, "doctor")
    assert told.code == 1 and told.out.count(f"{jo.home} was moved to {new.home}") == 1
    assert re.search(
        rf"ln -s {new.home} {jo.home} \(makes the old name work\); or .*codex.mirror.* move-home", told.out
    )
    assert not [line for line in told.out.splitlines() if "[" in line and "home-moved" not in line and " · " not in line
                and "shim" not in line]  # fmt: skip
    assert {name: [one["id"] for one in found] for name, found in problems(new).items() if name != "codex-mirror"} == {
        "work": ["home-moved"], "far": ["home-moved"], "out": ["home-moved"]}  # fmt: skip
    for words in (["run", "work"], ["remove", "work", "--yes"], ["login", "work"], ["rename", "far", "x"]):
        refused = ask(new, *words)
        assert refused.code == 5 and "move-home" in refused.err and "ln -s" in refused.err and "gone" not in refused.err
    ask(new, "doctor", "--fix")
    changed = {path for path, what in tree(jo.base).items() if what != before.get(path)}
    assert [path for path in changed if not re.search(r"/lock$|\.codex/tmp(/|$)", path)] == []
    assert not jo.home.exists()


def test_a_link_of_the_old_name_lets_all_be_as_before(jo: Home) -> None:
    new = moved(jo)
    assert (
        ask(new, "doctor", "work", "--json").json()[0]["problems"][0]["fix"].startswith(f"ln -s {new.home} {jo.home}")
    )
    jo.home.symlink_to(new.home)
    works(new, jo.home)
    found = [(one["id"], one["severity"]) for some in problems(new).values() for one in some]
    assert {one for one in found if one[1] != "info"} <= {("shim-shadowed", "warning")}
    nothing = ask(new, "move-home")
    assert nothing.code == 0 and "nothing to do" in nothing.out


def test_move_home_gives_the_clones_the_new_name_and_leaves_nothing_of_the_old(jo: Home) -> None:
    ids = {row["name"]: row["id"] for row in rows_of(jo)}
    login = (jo.clone_home("work") / ".codex/auth.json").stat().st_ino
    new = moved(jo)
    before = tree(jo.base)
    dry = ask(new, "move-home", "--dry-run")
    assert dry.code == 0 and f"would write  {new.bin}/work" in dry.out and tree(jo.base) == before
    done = ask(new, "move-home", "--json")
    assert done.code == 0 and {one["name"]: one["id"] for one in done.json()["moved"]} == ids
    assert "shim install" in done.err and "was" not in done.err
    state = cm.git_state_file(clone_in(new, "work"))
    stale = run(["sh", "-c", '. "$0"; printf %s "$cm_stale"', state], env=new.env).out
    assert cm.is_git_fresh(clone_in(new, "work"), new.env) and stale == "", "nothing is to be derived anew"
    works(new)
    assert {one["id"] for some in problems(new).values() for one in some if one["severity"] != "info"} <= {
        "shim-shadowed"
    }
    logins = [path for path in jo.base.rglob("auth.json*")]
    assert [path.stat().st_ino for path in logins] == [login] and not jo.home.exists()
    old = f"{jo.home}/".encode()
    files = [path for path in jo.base.rglob("*") if path.is_file() and not path.is_symlink()]
    told = [str(path.relative_to(jo.base)) for path in files if "/npm/" not in str(path) and old in path.read_bytes()]
    work = "jo2/.codex-mirror/clones/work/.codex-mirror"
    assert {*told} <= {
        "jo2/.profile",  # The shim's block, of which it was told.
        "jo2/.codex-mirror/registry.json.previous",
        *(f"{base}/logs/events.log" for base in (work, "jo2/far/.codex-mirror", "out/.codex-mirror")),
        f"{work}/home/.codex/config.toml",  # A path of the user's that leads nowhere by either name.
        f"{work}/home/.codex/state_5.sqlite",  # As is this one.
    }
    config = (new.clone_home("work") / ".codex/config.toml").read_text()
    assert f'notify = ["{new.home}/proj", "{jo.home}/not/there"]' in config
    written = (".codex/config.toml", ".gitconfig", ".codex/skills", "../git/state", "../bin")
    modes = [stat.S_IMODE((new.clone_home("work") / tail).stat().st_mode) for tail in written]
    assert modes == [0o600, 0o600, 0o700, 0o600, 0o700]
    assert f'[projects."{new.home}/proj"]' in config and cm.home_trust(config, str(new.home)) == "untrusted"
    dangling = [path for path in jo.base.rglob("*") if path.is_symlink() and not path.exists()]
    assert [path for path in dangling if "/tmp/" not in str(path)] == []
    again = ask(new, "move-home")
    assert again.code == 0 and "nothing to do" in again.out
    assert ask(new, "log", "far").out.splitlines()[-1].endswith(f"move-home from {jo.home} to {new.home}")


def test_codex_finds_the_sessions_of_a_moved_home(jo: Home) -> None:
    theirs, own = jo.base / "theirs.sqlite", jo.clone_home("work") / ".codex"
    shutil.copy(own / "state_5.sqlite", theirs)
    (own / "state_6.sqlite").symlink_to(theirs)
    before = theirs.read_bytes()
    new = moved(jo)
    assert ask(new, "move-home").code == 0
    codex_home = new.clone_home("work") / ".codex"
    with closing(sqlite3.connect(codex_home / "state_5.sqlite")) as table:
        rows = dict(table.execute("SELECT id, rollout_path FROM threads"))
    old = str(jo.clone_home("work") / ".codex")
    there = str(jo.base / SESSION)
    assert rows == {"one": str(codex_home / SESSION), "two": f"{old}/sessions/gone.jsonl", "three": "/x", "four": there}
    assert not list(codex_home.glob("state_5.sqlite?*"))
    assert theirs.read_bytes() == before


def test_sessions_that_cannot_be_mended_hinder_no_move_and_are_told(jo: Home) -> None:
    (jo.clone_home("work") / ".codex/state_5.sqlite").write_bytes(b"no database at all" * 99)
    new = moved(jo)
    done = ask(new, "move-home")
    assert done.code == 1 and "state_5.sqlite still has the old paths of the sessions of 'work'" in done.err
    works(new)


def test_sessions_below_a_name_that_no_database_can_hold_hinder_no_command(jo: Home) -> None:
    if sys.platform == "darwin":
        pytest.skip("every name is UTF-8 there")
    new = moved(jo, odd_name(b"jo\xff"))
    done = ask(new, "move-home")
    assert done.code == 1 and "state_5.sqlite still has the old paths of the sessions of 'work'" in done.err
    assert ask(new, "list").code == 0 and ask(new, "rename", "work", "mine").code == 0


def test_a_login_in_the_keyring_stays_under_the_old_name_and_that_is_said(jo: Home) -> None:
    config = jo.home / "far/.codex-mirror/home/.codex/config.toml"
    text = config.read_text().partition("\n[projects")[0]
    config.write_text(text.replace('credentials_store = "file"', 'credentials_store = "keyring"'))
    new = moved(jo)
    done = ask(new, "move-home")
    assert done.code == 0 and "'far' has its login in the keyring, under the old name" in done.err
    assert "'work' has its login" not in done.err
    held = (new.home / "far/.codex-mirror/home/.codex/config.toml").read_text()
    assert cm.home_trust(held, str(new.home)) == "untrusted"


def test_what_was_edited_in_a_copy_of_gits_configuration_stays_edited(jo: Home) -> None:
    assert ask(jo, "exec", "work", "--", "git", "config", "--global", "safe.directory", "/s").code == 0
    new = moved(jo)
    assert ask(new, "move-home").code == 0
    said = ask(new, "exec", "work", "--", "git", "config", "--global", "--list").out
    assert "safe.directory=/s" in said and f"core.excludesfile={new.home}/.ignore" in said
    assert [one for one in problems(new)["work"] if one["id"] == "git-kept"] == []


# --- where that is less plain ---


def test_a_home_of_which_a_part_was_made_again_is_still_one_that_was_moved(jo: Home) -> None:
    new = moved(jo)
    (jo.home / ".local/bin").mkdir(parents=True)
    (jo.home / ".npmrc").write_text("made by somebody who came home\n")
    own = new.clone_home("work") / ".config/git/attributes"
    own.symlink_to(jo.home / ".npmrc-of-old")
    (jo.home / ".npmrc-of-old").touch()
    [fix] = {one["fix"] for some in problems(new).values() for one in some if one["id"] == "home-moved"}
    assert "ln -s" not in fix and "move-home" in fix
    assert ask(new, "move-home").code == 0
    works(new)
    assert tree(jo.home).keys() == {".", ".local", ".local/bin", ".npmrc", ".npmrc-of-old"}
    assert os.readlink(own) == f"{jo.home}/.npmrc-of-old", "what is only there by the old name is meant there"


def test_a_mirror_home_alone_may_have_moved_and_so_may_the_directory_above(jo: Home) -> None:
    (jo.base / "up").mkdir(mode=0o700)
    new = moved(jo, "up/jo")
    assert ask(new, "move-home").code == 0
    works(new)
    elsewhere = jo.base / "m2"
    new.mirror.rename(elsewhere)
    again = new._replace(mirror=elsewhere, env={**new.env, "CODEX_MIRROR_HOME": str(elsewhere)})
    [fix] = {one["fix"] for some in problems(again).values() for one in some if one["id"] == "home-moved"}
    assert fix.startswith(f"ln -s {elsewhere} {new.mirror} ")
    assert ask(again, "move-home").code == 0
    works(again)


def test_a_clone_whose_disk_is_away_stays_as_it_is_and_comes_along_later(jo: Home) -> None:
    new = moved(jo)
    (new.home / "far").rename(jo.base / "away")
    done = ask(new, "move-home")
    assert done.code == 1 and "'far' was not changed" in done.err
    assert {row["name"] for row in rows_of(new) if row["rootPath"].startswith(f"{jo.home}/")} == {"far"}
    assert cm.place_in_mark(str(new.mirror)) == str(jo.mirror), "not all have moved yet"
    (jo.base / "away").rename(new.home / "far")
    assert "move-home" in problems(new)["far"][0]["fix"]
    assert ask(new, "move-home").code == 0
    works(new)


def test_a_home_under_a_running_codex_is_not_moved(jo: Home) -> None:
    entry = Path(rows_of(jo)[0]["runtimeEntryPath"])
    entry.unlink()
    shutil.copy("/bin/sleep", entry)
    process = start([entry, "60"], env=jo.env, cwd=jo.home)
    try:
        new = moved(jo)
        wait_until(lambda: ask(new, "move-home").code == 6, "Codex runs")
        assert "quit it first" in ask(new, "move-home").err
    finally:
        process.kill()
        finish(process)
    wait_until(lambda: ask(new, "move-home").code == 0, "it has ended")


@pytest.mark.parametrize(("name", "stays"), [("work", False), ("work", True), ("far", False)])
def test_a_clones_directory_that_was_moved_by_hand_is_told_as_that_and_nothing_else(
    jo: Home, name: str, stays: bool
) -> None:
    root = {"work": jo.mirror / "clones/work", "far": jo.home / "far"}[name]
    root.rename(root.with_name("by hand"))
    if stays:
        root.mkdir()
    found = problems(jo)
    assert [one["id"] for one in found[name]] == ["directory-moved"] and "orphan" not in str(found)
    told = ask(jo, "doctor", "--fix")
    assert told.code == 1 and "is gone" not in told.out + told.err and f"{name}: broken\n" in told.out
    subprocess.run(["sh", "-c", found[name][0]["fix"]], check=True)
    works(jo)


def test_the_copy_of_a_clone_is_not_to_be_imported(jo: Home) -> None:
    """Its login would be in two places."""
    shutil.copytree(jo.mirror / "clones/work", jo.mirror / "clones/w2", symlinks=True)
    [found] = [one for one in problems(jo)["codex-mirror"] if one["id"] == "orphan-clone"]
    assert "w2" in found["what"] and "import" not in found["fix"] and "remove them by hand" in found["fix"]


def by_copying(jo: Home) -> Home:
    shutil.copytree(jo.home, jo.base / "jo2", symlinks=True)
    return at(jo._replace(env={**jo.env, "PATH": jo.env["PATH"].partition(":")[2]}), jo.base / "jo2")


def test_a_copy_beside_the_original_is_never_taken_for_a_moved_home(jo: Home) -> None:
    new = by_copying(jo)
    before = tree(jo.home)
    for words in (["move-home"], ["move-home", "--yes"], ["remove", "work"], ["logout", "work"]):
        refused = ask(new, *words)
        assert refused.code == 5 and f"is a copy of {jo.mirror}" in refused.err and "deletes" not in refused.err
    assert {path for path, what in tree(jo.home).items() if what != before[path]} == set()
    found = problems(new)
    assert [one["id"] for one in found["codex-mirror"] if one["severity"] == "error"] == ["mirror-home-copy"]
    assert [one for name in ("work", "far", "out") for one in found[name]] == []
    away = {"PATH": "/usr/bin:/bin"}
    for told in (ask(new, "doctor", env=away).out, ask(moved(jo, "jo3"), "doctor", env=away).out):
        assert f"{jo.bin}" not in told.replace(f"{jo.bin}2", "") and "is not on PATH" in told


def test_a_copy_whose_original_may_be_elsewhere_is_asked_about_before_a_login_could_be_doubled(jo: Home) -> None:
    new = by_copying(jo)
    jo.home.rename(jo.base / "on another disk")
    asked = ask(new, "move-home")
    assert asked.code == 5 and "two places" in asked.err and "'work'" in asked.err and "move-home --yes" in asked.err
    assert ask(new, "logout", "work", "--local", "--yes").code == 5
    assert ask(new, "move-home", "--yes").code == 0
    works(new)


@pytest.mark.parametrize("how", ["its name is hidden", "it is elsewhere"])
def test_a_home_that_is_only_mounted_by_another_name_is_asked_about(jo: Home, how: str) -> None:
    """As in a container: outside the clones would not start any more."""
    new = at(jo._replace(env={**jo.env, "PATH": jo.env["PATH"].partition(":")[2]}), jo.base / "jo2")
    with second_name(jo.home, new.home):
        if how == "it is elsewhere":
            jo.home.rename(jo.base / "x")
        else:
            subprocess.run(["mount", "-t", "tmpfs", "none", jo.home], check=True)
        try:
            before = tree(new.mirror)
            told = ask(new, "move-home")
            assert told.code == 5 and "is mounted here, and may still be" in told.err and "work" in told.err
            assert f"ln -s {new.home}" in told.err and tree(new.mirror) == before
            assert "where these would no longer start: work" in told.err
            assert "ln -s" in problems(new)["work"][0]["fix"] or how != "it is elsewhere"
            assert ask(new, "move-home", "--yes").code == 0
            works(new)
        finally:
            if how != "it is elsewhere":
                subprocess.run(["umount", "-l", jo.home], check=True)


# --- parts ---


# A directory, its old name, the mounts, and whether it may still have that.
MOUNTED = [
    ("/jo2/.cm", "/jo/.cm", [("/", "/")], False),
    ("/root", "/home/jo", [("/", "/"), ("/home/jo", "/root")], True),
    ("/root", "/home/jo", [("/", "/"), ("/@home/jo", "/root")], True),
    ("/mnt/host/jo", "/home/jo", [("/", "/"), ("/", "/mnt/host")], True),
    ("/mnt/host/jo2", "/home/jo", [("/", "/"), ("/", "/mnt/host")], False),
    ("/mnt/disk", "/media/disk", [("/", "/"), ("/", "/mnt/disk")], True),
    ("/home/jo2", "/home/jo", [("/", "/"), ("/@home", "/home")], False),
    ("/home/jo2", "/home/jo", [("/", "/"), ("/x", "/home/j"), ("/", "/home")], False),
    ("/m/jo2", "/home/jo", [], False),
]


@pytest.mark.parametrize(("path", "old", "listed", "is_mounted"), MOUNTED)
def test_a_mount_is_told_from_a_new_name(path: str, old: str, listed: list[tuple[str, str]], is_mounted: bool) -> None:
    assert cm.is_mounted_as(path, old, listed) == is_mounted


NAMES: list[tuple[str, str, tuple[str, ...], tuple[str, str]]] = [
    ("/jo/.cm", "/jo2/.cm", ("/",), ("/jo", "/jo2")),
    ("/home/jo/.cm", "/data/home/jo/.cm", ("/", "/home"), ("/home/jo", "/data/home/jo")),
    ("/home/jo/.cm", "/data/home/jo/.cm", ("/",), ("/home", "/data/home")),
    ("/jo/.cm", "/jo2/.cm", ("/", "/jo"), ("/jo/.cm", "/jo2/.cm")),
    ("/jo/.cm", "/jo/cm", ("/", "/jo"), ("/jo/.cm", "/jo/cm")),
]


@pytest.mark.parametrize(("old", "new", "there", "names"), NAMES)
def test_the_outermost_name_that_is_gone_explains_a_move(
    old: str, new: str, there: tuple[str, ...], names: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cm.os.path, "lexists", lambda path: path in there)
    assert cm.names_of_move(old, new) == names


PATHS = [("/jo", "/jo2"), ("/jo/x", "/jo2/x"), ("/joe/x", "/joe/x"), ("/", "/"), ("jo", "jo"), ("/m/x", "/n/x")]


@pytest.mark.parametrize(("path", "now"), PATHS)
def test_a_path_below_an_old_name_has_the_new_one(path: str, now: str) -> None:
    assert cm.moved_path(path, (("/jo", "/jo2"), ("/m", "/n"))) == now


SETTINGS: list[tuple[str, Callable[[Path], str], Callable[[Path], str]]] = [
    ("a text", lambda b: f'x = "{b}/old/a"\n', lambda b: f'x = "{b}/new/a"\n'),
    ("a literal", lambda b: f"x = '{b}/old/a'\n", lambda b: f'x = "{b}/new/a"\n'),
    ("a key", lambda b: f'[projects."{b}/old/a"]\n', lambda b: f'[projects."{b}/new/a"]\n'),
    ("nowhere", lambda b: f'x = "{b}/old/b"\n', lambda b: f'x = "{b}/old/b"\n'),
    ("by both names", lambda b: f'x = "{b}/old/both"\n', lambda b: f'x = "{b}/old/both"\n'),
    ("a comment", lambda b: f'# "{b}/old/a"\n', lambda b: f'# "{b}/old/a"\n'),
    ("inside of a text", lambda b: f'x = "see {b}/old/a"\n', lambda b: f'x = "see {b}/old/a"\n'),
    ("there already", lambda b: f'["{b}/old/a"]\n["{b}/new/a"]\n', lambda b: f'["{b}/old/a"]\n["{b}/new/a"]\n'),
]


@pytest.mark.parametrize(("kind", "before", "after"), SETTINGS, ids=[row[0] for row in SETTINGS])
def test_settings_name_what_was_moved_by_its_new_name(
    home: Home, kind: str, before: Callable[[Path], str], after: Callable[[Path], str]
) -> None:
    (home.base / "new/a").mkdir(parents=True)
    for name in ("new/both", "old/both"):
        (home.base / name).mkdir(parents=True)
    names = ((f"{home.base}/old", f"{home.base}/new"),)
    assert cm.moved_settings(before(home.base), names) == after(home.base)


def test_a_mark_says_which_directory_it_is_of_and_an_older_one_learns_it(home: Home, codex: Path) -> None:
    assert ask(home, "create", "work").code == 0
    mark = home.mirror / ".codex-mirror-home"
    facts = os.stat(home.mirror)
    whole = {"mirrorHome": str(home.mirror), "device": facts.st_dev, "inode": facts.st_ino}
    assert json.loads(mark.read_text()) == whole and cm.is_marked_here(str(home.mirror))
    mark.write_text(json.dumps({"mirrorHome": str(home.mirror)}))
    assert not cm.is_marked_here(str(home.mirror))
    assert ask(home, "rename", "work", "office").code == 0 and json.loads(mark.read_text()) == whole
