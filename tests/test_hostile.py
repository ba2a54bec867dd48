"""Hostile and broken input: each case has its message and exit code, and leaves everything else alone.

Every output that is asked for here is looked through for control characters (`rooms.ask`) and for planted secrets.
"""

from __future__ import annotations

import base64
import errno
import itertools
import json
import os
import re
import shutil
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from faults import tally
from helpers import (
    ACCESS_TOKEN,
    API_KEYS,
    REFRESH_TOKEN,
    Home,
    fake_codex,
    home_in_passwd,
    npm_install,
    odd_name,
    overheard,
    run,
    start,
    tree,
)
from rooms import (
    FORGED,
    NEW_MIRROR_HOME,
    ROOT,
    acting,
    ask,
    at_rest,
    caller_in,
    changes,
    clone_in,
    cm,
    fresh_home,
    make_clone,
    make_deep,
    on_terminal,
    places_of,
    raw,
    rows_of,
    write_registry,
)

# What a terminal would obey, in one text: colour, title, bell, C1, the direction of text, and a line of its own.
EVIL = f"e\x1b[31mv\x1b]0;i\x07\x9b1ml\u202eq\u200fr\u2066s\x7ft\ru\n{FORGED}"
SOMEBODY_ELSE = 54321
needs_root = pytest.mark.skipif(not ROOT, reason="only root can give a file to another user")


@pytest.fixture(autouse=True)
def _counted() -> None:
    """Each test here is a bad input; a few are more."""
    tally("bad inputs tried")


@pytest.fixture(scope="module")
def house() -> Iterator[ExitStack]:
    """Where the home is kept that tests share one after the other."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def couple(house: ExitStack) -> Iterator[Home]:
    """A home with the clones `work` and `play`, shared for as long as the tests leave it as it was."""
    if not (kept := getattr(house, "kept", None)):
        home = house.enter_context(fresh_home())
        home.put_on_path(npm_install(home.base / "npm", fake_codex(home.base / "package")).parent)
        for name in ("work", "play"):
            make_clone(home, name)
        kept = house.kept = (home, at_rest(home))  # type: ignore[attr-defined]
    home, before = kept
    yield home
    if changes(before, at_rest(home)):
        house.kept = None  # type: ignore[attr-defined]


@pytest.fixture
def registry(couple: Home) -> Iterator[Path]:
    """The registry of the couple; put back afterwards, whatever was done to it."""
    path = couple.mirror / "registry.json"
    content = path.read_bytes()
    yield path
    if path.is_dir() and not path.is_symlink():
        path.rmdir()
    path.unlink(missing_ok=True)
    path.write_bytes(content)
    path.chmod(0o600)


# --- the registry as a whole ---


def of_100_mb(path: Path) -> None:
    with path.open("ab") as file:
        file.truncate(100 << 20)


def a_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path, 0o600)


def a_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def a_link_to_nothing(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere")


def a_socket(path: Path) -> None:
    path.unlink()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


def holding(content: bytes) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(content) and None


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


REGISTRIES = [
    ("empty", holding(b""), "is empty"),
    ("blank", holding(b" \n"), "is empty"),
    ("truncated", cut_short, "is not JSON"),
    ("not JSON", holding(b"{clones: []}"), "is not JSON"),
    ("not UTF-8", holding(b'{"version": 1, "clones": ["\xff"]}'), "is not JSON"),
    ("two documents", holding(b'{"version": 1, "clones": []}' * 2), "is not JSON"),
    ("escapes", holding(EVIL.encode()), "is not JSON"),
    ("100 MB", of_100_mb, "is larger than 34 MB"),
    ("deeply nested", holding(b'{"version": 1, "clones": ' + b"[" * 200_000 + b"]" * 200_000 + b"}"), "is not JSON"),
    ("no JSON number", holding(b'{"version": 1, "clones": [], "x": NaN}'), "is not JSON"),
    ("a number too long", holding(b'{"version": 1, "clones": [], "x": ' + b"9" * 10_000 + b"}"), "is not JSON"),
    ("a future version", holding(b'{"version": 2, "clones": []}'), "has version 2, but this"),
    ("a version in letters", holding(b'{"version": "1", "clones": []}'), "has version '1'"),
    ("a version with escapes", holding(json.dumps({"version": EVIL, "clones": []}).encode()), "has version"),
    ("a version that is true", holding(b'{"version": true, "clones": []}'), "has version True"),
    ("no version", holding(b'{"clones": []}'), "has version None"),
    ("a list", holding(b"[]"), "is not a registry of clones"),
    ("null", holding(b"null"), "is not a registry of clones"),
    ("no clones", holding(b'{"version": 1}'), "is not a registry of clones"),
    ("clones by name", holding(b'{"version": 1, "clones": {"work": {}}}'), "is not a registry of clones"),
    ("a directory", a_directory, "can't be read"),
    ("a FIFO", a_fifo, "can't be read: is not a regular file"),
    ("a socket", a_socket, "can't be read"),
    ("a link to nothing", a_link_to_nothing, "can't be read"),
]


@pytest.mark.parametrize(("kind", "spoil", "says"), REGISTRIES, ids=[row[0] for row in REGISTRIES])
def test_a_broken_registry_is_explained_never_overwritten_and_rebuilt_beside_the_broken_one(
    couple: Home, registry: Path, kind: str, spoil: Callable[[Path], None], says: str
) -> None:
    rows = rows_of(couple)
    spoil(registry)
    before = at_rest(couple)
    for words in (["list"], ["remove", "work", "--yes"], ["create", "other"]):
        result = ask(couple, *words)
        assert (result.code, result.out) == (1, ""), result
        assert says in result.err and "doctor --fix" in result.err
    assert run([couple.bin / "work", "exit", "7"], env=couple.env).code == 7
    examined = ask(couple, "doctor", "--json")
    assert examined.code == 1
    assert says in json.dumps([row["problems"] for row in examined.json()], ensure_ascii=False)
    assert changes(before, at_rest(couple)) == {}

    assert "rebuilt the registry with 2 clones" in ask(couple, "doctor", "--fix").err
    [aside] = couple.mirror.glob("registry.json.broken-*")
    try:
        name = "m/" + aside.name
        assert at_rest(couple)[name] == before["m/registry.json"]
        assert sorted(rows_of(couple), key=lambda row: row["name"]) == sorted(rows, key=lambda row: row["name"])
        other = {
            path
            for path in changes(before, at_rest(couple))
            if not path.startswith(("m/registry.json", "m/events.log"))
        }
        assert other == set()
    finally:
        if aside.is_dir() and not aside.is_symlink():
            aside.rmdir()
        else:
            aside.unlink()


def test_a_row_nested_as_deeply_as_can_be_read_leaves_no_change_half_done(couple: Home, registry: Path) -> None:
    """Python 3.12 reads JSON that is nested 1,497 levels deep, and writes it 994 deep with an indent."""
    document = json.loads(registry.read_bytes())
    for depth in (900, 960, 990, 1400):
        document["clones"][0]["x"] = "deep"
        registry.write_text(json.dumps(document).replace('"deep"', "[" * depth + "]" * depth))
        ask(couple, "set", "work", "--keep-env", "CODEX_API_KEY")
        assert not (couple.mirror / "journal.json").exists() and not list(couple.mirror.glob("*-*.json"))


UNSAFE = [
    ("a registry that anyone may write", "m/registry.json", lambda path: path.chmod(0o666), "is writable by everyone"),
    ("a mirror home that anyone may write", "m", lambda path: path.chmod(0o777), "is writable by everyone"),
    pytest.param(
        *("a registry of somebody else", "m/registry.json"),
        *(lambda path: os.chown(path, SOMEBODY_ELSE, -1), "belongs to another user"),
        marks=needs_root,
    ),
    pytest.param(
        *("a mirror home of somebody else", "m"),
        *(lambda path: os.chown(path, SOMEBODY_ELSE, -1), "belongs to another user"),
        marks=needs_root,
    ),
]


@pytest.mark.parametrize(("kind", "tail", "open_up", "says"), UNSAFE)
def test_what_others_could_have_written_is_refused(
    couple: Home, kind: str, tail: str, open_up: Callable[[Path], None], says: str
) -> None:
    path = couple.base / tail
    facts = path.stat()
    open_up(path)
    before = at_rest(couple)
    try:
        for words in (["list"], ["run", "work", "exit", "0"], ["remove", "work", "--yes"], ["create", "other"]):
            result = ask(couple, *words)
            assert (result.code, result.out) == (5, ""), (words, result)
            assert str(path) in result.err and says in result.err
        assert ask(couple, "doctor", "--fix").code == 1
        assert changes(before, at_rest(couple)) == {}
    finally:
        os.chown(path, facts.st_uid, facts.st_gid)
        path.chmod(stat.S_IMODE(facts.st_mode))


# --- one row of it ---

Row = dict[str, Any]
TEXTS = (
    *("id", "name", "rootPath", "runtimePath", "runtimeEntryPath", "runtimeKind", "wrapperPath"),
    *("codexVersionPinned", "createdAt", "updatedAt"),
)


def with_changes(**values: Any) -> Callable[[Row, Row, Home], Any]:
    return lambda play, work, home: {**play, **values}


def with_field(key: str, value: Callable[[Row, Home], Any]) -> Callable[[Row, Row, Home], Any]:
    return lambda play, work, home: {**play, key: value(play, home)}


def named(name: str) -> Callable[[Row, Row, Home], Any]:
    return lambda play, work, home: {**play, "name": name, "wrapperPath": f"{home.bin}/{name}"}


def rooted(root: Callable[[Home], str]) -> Callable[[Row, Row, Home], Any]:
    """The row with everything in it moved to another root."""

    def moved(play: Row, work: Row, home: Home) -> Any:
        there = root(home)
        runtime = f"{there}/.codex-mirror/runtime/0.169.0-abcdef12"
        return {**play, "rootPath": there, "runtimePath": runtime, "runtimeEntryPath": f"{runtime}/bin/codex"}

    return moved


def previous(**values: Any) -> Callable[[Row, Row, Home], Any]:
    def with_previous(play: Row, work: Row, home: Home) -> Any:
        names = {"path": "runtimePath", "entry": "runtimeEntryPath", "kind": "runtimeKind"}
        runtime = {key: play[name] for key, name in names.items()}
        return {**play, "previousRuntime": {**runtime, "version": "0.168.0", **values}}

    return with_previous


NO_TEXT = "its {} is missing or not a string"
NO_NAME = "its {} contains a character that can't be in a file name"
FIELDS: list[tuple[str, Callable[[Row, Row, Home], Any], str]] = [
    *((f"no {key}", lambda play, work, home, key=key: {k: v for k, v in play.items() if k != key}, NO_TEXT.format(key))
      for key in TEXTS),
    *((f"{key} {value!r}", with_changes(**{key: value}), NO_TEXT.format(key))
      for key in TEXTS for value in (7, 1.5, True, None, [], ["x"], {}, "")),
    *((f"{key} with NUL", with_field(key, lambda play, home, key=key: play[key] + "\0"), NO_NAME.format(key))
      for key in TEXTS),
]  # fmt: skip
ROWS: list[tuple[str, Callable[[Row, Row, Home], Any], str]] = [
    ("null", lambda *_: None, "it is not a JSON object"),
    ("a number", lambda *_: 7, "it is not a JSON object"),
    ("a list", lambda *_: [], "it is not a JSON object"),
    ("an empty object", lambda *_: {}, "its id is missing or not a string"),
    ("a name that is a number", with_changes(name=7), "its name is missing or not a string"),
    ("an id with a slash", with_changes(id="../../x"), "its id is not valid"),
    ("an id with an escape", with_changes(id="a\x1b[31m"), "its id is not valid"),
    ("the id of another", lambda play, work, home: {**play, "id": work["id"]}, "another entry has the same id"),
    ("the name of another", lambda play, work, home: {**play, "name": "work", "wrapperPath": work["wrapperPath"]},
     "another entry has the same name 'work'"),
    ("the root of another", rooted(lambda home: f"{home.mirror}/clones/work"), "another entry has the same root"),
    ("a name with ..", named("a..b"), "'..' means the directory above"),
    ("a name above", named("../x"), "can't be a clone's name"),
    ("a name with a slash", named("a/b"), "can't be a clone's name"),
    ("a name with a newline", named("a\nb"), "can't be a clone's name"),
    ("a name with an escape", named("a\x1b[31mb"), "can't be a clone's name"),
    ("a name with a right-to-left mark", named("a\u200fb"), "can't be a clone's name"),
    ("a name with an override", named("a\u202eb"), "can't be a clone's name"),
    ("a name with half a character", named("a\ud800b"), "its name contains a character"),
    ("a name with a stray byte", named("a\udcffb"), "can't be a clone's name"),
    ("a name with all of it", named(EVIL), "can't be a clone's name"),
    ("a name with spaces", named("a b"), "can't be a clone's name"),
    ("a name like an option", named("-rf"), "can't be a clone's name"),
    ("a hidden name", named(".ssh"), "can't be a clone's name"),
    ("a long name", named("n" * 65), "at most 64 characters"),
    ("a device", named("con"), "Windows reserves it"),
    ("a relative root", rooted(lambda home: "clones/play"), "its root is not an absolute, plain path"),
    ("a root with ..", rooted(lambda home: f"{home.mirror}/clones/../../h"), "its root is not an absolute, plain path"),
    ("a root with a slash behind", rooted(lambda home: f"{home.mirror}/clones/play/"), "its root is not an absolute"),
    ("the root /", rooted(lambda home: "/"), "which is not for clones"),
    ("the root //", rooted(lambda home: "//"), "which is not for clones"),
    ("the mirror home", rooted(lambda home: str(home.mirror)), "its root is the mirror home itself"),
    ("a root in the mirror home", rooted(lambda home: f"{home.mirror}/x"), "lies inside the mirror home"),
    ("the root of all clones", rooted(lambda home: f"{home.mirror}/clones"), "lies inside the mirror home"),
    ("a root in another clone", rooted(lambda home: f"{home.clone_home('work')}/x"), "its root lies inside another"),
    ("a root in another clone's base", rooted(lambda home: f"{home.mirror}/clones/work/.codex-mirror"),
     "its root lies inside another"),
    ("a root below another's", rooted(lambda home: f"{home.mirror}/clones/work/sub"), "its root lies inside another"),
    ("a root with half a character", rooted(lambda home: f"{home.base}/a\ud800b"), "its rootPath"),
    ("a relative wrapper", with_changes(wrapperPath="bin/play"), "its wrapperPath doesn't end in its name"),
    ("another's wrapper", lambda play, work, home: {**play, "wrapperPath": work["wrapperPath"]},
     "its wrapperPath doesn't end in its name"),
    ("a wrapper that is no name", with_changes(wrapperPath="/"), "its wrapperPath doesn't end in its name"),
    ("a wrapper with ..", with_field("wrapperPath", lambda play, home: f"{home.bin}/../h/play"), "its wrapperPath"),
    ("a wrapper with half a character", with_changes(wrapperPath="/a\ud800b/play"), "its wrapperPath"),
    ("a runtime elsewhere", with_changes(runtimePath="/usr", runtimeEntryPath="/usr/bin/env"),
     "its runtime lies outside the clone"),
    ("an entry elsewhere", with_changes(runtimeEntryPath="/bin/sh"), "its entry lies outside its runtime"),
    ("an entry by ..", with_field("runtimeEntryPath", lambda play, home: play["runtimePath"] + "/../../../../bin/sh"),
     "its entry lies outside its runtime"),
    ("a runtime that is the home", lambda play, work, home: {
        **play, "runtimePath": str(home.clone_home("play")),
        "runtimeEntryPath": f"{home.clone_home('play')}/.codex/config.toml"}, "its runtime lies outside the clone"),
    ("an entry outside its runtime", with_field(
        "runtimeEntryPath", lambda play, home: f"{home.mirror}/clones/play/.codex-mirror/runtime/x/bin/codex"),
     "its entry lies outside its runtime"),
    ("a relative runtime", with_changes(runtimePath="runtime"), "its runtime lies outside the clone"),
    ("a kind that is none", with_changes(runtimeKind="python"), "its runtimeKind is unknown"),
    ("a runtime before that is a number", with_changes(previousRuntime=7), "its previousRuntime is not valid"),
    ("a runtime before that is a text", with_changes(previousRuntime="x"), "its previousRuntime is not valid"),
    ("a runtime before with NUL", previous(version="0.1.0\0"), "its previousRuntime is not valid"),
    ("a runtime before with half a character", previous(entry="\ud800"), "its previousRuntime is not valid"),
    ("a runtime before of no parts", with_changes(previousRuntime={"path": "/x"}), "its previousRuntime is not valid"),
    ("a runtime before elsewhere", previous(path="/usr", entry="/usr/bin/env"), "its runtime lies outside the clone"),
    ("a runtime before of no kind", previous(kind="x"), "its runtimeKind is unknown"),
]  # fmt: skip


def test_a_field_that_is_missing_or_no_text_makes_a_bad_row(couple: Home) -> None:
    work, play = sorted(rows_of(couple), key=lambda row: row["name"] != "work")
    tally("bad inputs tried", len(FIELDS) - 1)
    for kind, spoil, says in FIELDS:
        good, bad = cm.entries_from([work, spoil(play, work, couple)], places_of(couple))
        assert good.name == "work" and bad.why == says, kind


@pytest.mark.parametrize(("kind", "spoil", "says"), ROWS, ids=[row[0] for row in ROWS])
def test_a_bad_row_blocks_only_itself(
    couple: Home, registry: Path, kind: str, spoil: Callable[[Row, Row, Home], Any], says: str
) -> None:
    work, play = sorted(rows_of(couple), key=lambda row: row["name"] != "work")
    bad = spoil(play, work, couple)
    write_registry(couple, [work, bad])
    before = at_rest(couple)
    listed = ask(couple, "list", "--json")
    assert [row["name"] for row in listed.json()] == ["work"]
    assert listed.code == 0 and says in listed.err
    name = bad.get("name") if isinstance(bad, dict) else None
    if isinstance(name, str) and name.lower() != "work" and "\0" not in name and "\ud800" not in name:
        removed = ask(couple, "remove", "--yes", "--force", "--", name)
        assert (removed.code, removed.out) == (1, "") and says in removed.err
    assert changes(before, at_rest(couple)) == {}


def test_bad_rows_are_kept_as_they_are_and_named_by_doctor(couple: Home, registry: Path) -> None:
    work, play = sorted(rows_of(couple), key=lambda row: row["name"] != "work")
    bad = [
        spoil(play, work, couple)
        for _, spoil, _ in [*FIELDS, *ROWS]
        if not _takes_what_is_free(spoil(play, work, couple))
    ]
    write_registry(couple, [*bad[:20], work, *bad[20:]], strange={"kept": [1, 2]})
    before = at_rest(couple)
    examined = ask(couple, "doctor", "--json")
    problems = [problem for row in examined.json() for problem in row["problems"]]
    assert examined.code == 1
    assert len([problem for problem in problems if problem["id"] == "registry-row"]) == len(bad)
    assert changes(before, at_rest(couple)) == {}
    assert ask(couple, "rename", "work", "office").code == 0
    rows, after = rows_of(couple), json.loads(registry.read_text())
    assert [row for row in rows if row not in [rows[20]]] == bad and rows[20]["name"] == "office"
    assert after["strange"] == {"kept": [1, 2]}
    assert ask(couple, "rename", "office", "work").code == 0
    moved = {
        path for path in changes(before, at_rest(couple)) if not path.startswith(("m/registry.json", "m/events.log"))
    }
    assert moved <= {
        "m/clones/work/.codex-mirror/clone.json",
        "m/clones/work/.codex-mirror/logs/events.log",
        "bin/work",
    }


def _takes_what_is_free(row: Any) -> bool:
    """Rows that clash with `work` count as bad only behind it."""
    return isinstance(row, dict) and (row.get("name") in ("work", "WORK") or str(row.get("rootPath")).find("/work") > 0)


# --- a good row that leads to a bad place ---


def a_root_linked_to_another_clone(home: Home, play: Row) -> Row:
    (home.base / "link").symlink_to(home.mirror / "clones" / "work")
    return rooted(lambda home: f"{home.base}/link")(play, play, home)


def a_root_linked_to_a_stranger(home: Home, play: Row) -> Row:
    a_strangers_directory(home, play)
    (home.base / "link").symlink_to(home.base / "stranger")
    return rooted(lambda home: f"{home.base}/link")(play, play, home)


def a_strangers_directory(home: Home, play: Row) -> Row:
    theirs = home.base / "stranger" / ".codex-mirror"
    theirs.mkdir(parents=True)
    (theirs / "thesis.txt").write_text("ten years of work\n")
    return rooted(lambda home: f"{home.base}/stranger")(play, play, home)


def another_mirror_home(home: Home, play: Row) -> Row:
    """The root ~ of a row leads to ~/.codex-mirror, and this mirror home lies elsewhere."""
    shutil.copytree(home.mirror, home.home / ".codex-mirror")
    return rooted(lambda home: str(home.home))(play, play, home)


def a_clone_of_another_id(home: Home, play: Row) -> Row:
    return {**play, "id": "11111111-2222-4333-8444-555555555555"}


def a_base_that_is_a_link(home: Home, play: Row) -> Row:
    base = home.mirror / "clones" / "play" / ".codex-mirror"
    base.rename(home.base / "elsewhere")
    base.symlink_to(home.base / "elsewhere")
    return play


def a_base_that_is_a_file(home: Home, play: Row) -> Row:
    base = home.mirror / "clones" / "play" / ".codex-mirror"
    base.rename(home.base / "elsewhere")
    base.write_text("a stranger's\n")
    return play


def a_base_around_the_mirror_home(home: Home, play: Row) -> Row:
    """The mirror home itself lies in the directory that would be the clone's."""
    (home.base / ".codex-mirror").mkdir()
    home.mirror.rename(home.base / ".codex-mirror" / "m")
    home.mirror.symlink_to(".codex-mirror/m")
    return rooted(lambda home: str(home.base))(play, play, home)


PLACES: list[tuple[str, Callable[[Home, Row], Row], str]] = [
    ("a root linked to another clone", a_root_linked_to_another_clone, "is not the directory of 'play'"),
    ("a root linked to a stranger's directory", a_root_linked_to_a_stranger, "is not the directory of 'play'"),
    ("a stranger's directory", a_strangers_directory, "is not the directory of 'play'"),
    ("another mirror home", another_mirror_home, "which is not for clones"),
    ("a clone of another id", a_clone_of_another_id, "is not the directory of 'play'"),
    ("a base around the mirror home", a_base_around_the_mirror_home, ".codex-mirror"),
    ("a base that is a link", a_base_that_is_a_link, "is not a directory"),
    ("a base that is a file", a_base_that_is_a_file, "is not a directory"),
]


@pytest.mark.parametrize(("kind", "lead", "says"), PLACES, ids=[row[0] for row in PLACES])
def test_a_row_that_leads_to_something_of_others_harms_nobody(
    home: Home, codex: Path, kind: str, lead: Callable[[Home, Row], Row], says: str
) -> None:
    make_clone(home, "work")
    make_clone(home, "play")
    work, play = rows_of(home)
    newer = fake_codex(home.base / "newer", "0.170.0")
    write_registry(home, [work, lead(home, play)])
    before = at_rest(home)
    for words in (
        ["remove", "play", "--yes", "--force"],
        ["rename", "play", "office"],
        ["update", "play", "--from", newer],
    ):
        result = ask(home, *words)
        assert result.code in (1, 5) and says in result.err, (words, result)
        assert changes(before, at_rest(home)) == {}, words
    examined = ask(home, "doctor", "play", "--fix")
    assert examined.code == 1 and changes(before, at_rest(home)) == {}


def test_a_home_or_runtime_that_is_a_link_is_not_followed_by_remove(home: Home, codex: Path) -> None:
    for name in ("work", "play"):
        make_clone(home, name)
    base = home.mirror / "clones" / "play" / ".codex-mirror"
    (base / "logs" / "passwd").symlink_to("/etc/passwd")
    for inner in ("home", "runtime"):
        (base / inner).rename(home.base / inner)
        (base / inner).symlink_to(home.base / inner)
        before = at_rest(home)
        result = ask(home, "remove", "play", "--yes")
        assert result.code == 5 and f"{base / inner} is a link" in result.err
        assert changes(before, at_rest(home)) == {}
        (base / inner).unlink()
        (home.base / inner).rename(base / inner)
    assert ask(home, "remove", "play", "--yes").code == 0
    gone = changes(before, at_rest(home))
    outside = {path for path in gone if not path.startswith(("m/clones/play", "m/registry.json"))}
    assert outside == {"bin/play", "runtime", *(path for path in gone if path.startswith("runtime/"))}


def test_a_very_deep_tree_in_a_home_is_removed_and_blocks_nobody(home: Home, codex: Path) -> None:
    """Whatever runs in a clone may leave one; Python's own recursion ends at a thousand levels."""
    make_clone(home, "work")
    (home.clone_home("work") / ".codex" / "auth.json").write_text(json.dumps({"OPENAI_API_KEY": API_KEYS[0]}))
    (home.clone_home("work") / ".codex" / "sessions" / "2026" / "11" / "22").mkdir(parents=True)
    (home.clone_home("work") / ".codex/sessions/2026/11/22/rollout-x.jsonl").write_text("{}\n")
    make_deep(home.clone_home("work") / "deep", 1100)
    try:
        asked = ask(home, "remove", "work")
        assert asked.code == 5 and "1 session" in asked.err
        assert ask(home, "doctor", "work").code in (0, 1)
        assert ask(home, "remove", "work", "--yes").code == 0
        assert not (home.mirror / "clones" / "work").exists()
        assert ask(home, "create", "play").code == 0
    finally:
        run(["/bin/rm", "-rf", home.mirror], env=home.env)


# --- create --root ---


def in_home(home: Home) -> dict[str, str]:
    """The environment of someone whose mirror home and wrapper directory are where they are by default."""
    return {
        "CODEX_MIRROR_HOME": str(home.home / ".codex-mirror"),
        "CODEX_MIRROR_BIN_DIR": str(home.home / ".local" / "bin"),
    }


def plain(path: Callable[[Home], object]) -> Callable[[Home], object]:
    return path


def a_file(home: Home) -> object:
    (home.base / "file").write_text("a stranger's\n")
    return home.base / "file"


def a_dangling_link(home: Home) -> object:
    (home.base / "link").symlink_to("/nonexistent/nowhere")
    return home.base / "link"


def a_link_to_a_clone(home: Home) -> object:
    (home.base / "link").symlink_to(home.mirror / "clones" / "work")
    return home.base / "link"


def a_taken_base(home: Home) -> object:
    (home.base / "taken" / ".codex-mirror").mkdir(parents=True)
    (home.base / "taken" / ".codex-mirror" / "thesis.txt").write_text("ten years of work\n")
    return home.base / "taken"


def a_strangers_root(home: Home) -> object:
    (home.base / "theirs").mkdir()
    os.chown(home.base / "theirs", SOMEBODY_ELSE, -1)
    return home.base / "theirs"


ROOTS: list[Any] = [
    ("the mirror home", lambda home: home.mirror, 5, "its root is the mirror home itself"),
    ("in the mirror home", lambda home: home.mirror / "x", 5, "lies inside the mirror home"),
    ("all clones", lambda home: home.mirror / "clones", 5, "lies inside the mirror home"),
    ("/", lambda home: "/", 5, "which is not for clones"),
    ("a clone", lambda home: home.mirror / "clones" / "work", 5, "already exists"),
    ("in a clone", lambda home: home.clone_home("work") / "x", 5, "is inside the clone 'work'"),
    ("beside a clone's base", lambda home: home.mirror / "clones" / "work" / "x", 5, "is inside the clone 'work'"),
    ("a clone's base", lambda home: home.mirror / "clones/work/.codex-mirror", 5, "is inside the clone 'work'"),
    ("by .. in a clone", lambda home: f"{home.home}/../m/clones/work/y", 5, "is inside the clone 'work'"),
    ("through a link", a_link_to_a_clone, 5, "already exists"),
    ("a file", a_file, 5, "is not a directory"),
    ("below a file", lambda home: f"{a_file(home)}/x", 1, "ot a directory"),
    ("a dangling link below nothing we may make", lambda home: "/proc/self/nowhere", 1, "/proc/"),
    ("a file system that nobody can write", lambda home: "/proc/codex-mirror-root", 1, "/proc/codex-mirror-root"),
    ("with a base that is taken", a_taken_base, 5, "already exists"),
    ("4,090 characters", lambda home: f"{home.base}/" + "d/" * 2038, 1, "File name too long"),
    ("a name of 300 characters", lambda home: home.base / ("d" * 300), 1, "File name too long"),
    pytest.param("somebody else's", a_strangers_root, 5, "belongs to another user", marks=needs_root),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "root", "code", "says"), ROOTS)
def test_a_root_that_can_t_be_a_clone_s_is_refused_and_nothing_is_left(
    home: Home, codex: Path, kind: str, root: Callable[[Home], object], code: int, says: str
) -> None:
    make_clone(home, "work")
    named_root = root(home)
    before = at_rest(home)
    result = ask(home, "create", "play", "--root", named_root)
    assert (result.code, result.out) == (code, ""), result
    assert says in result.err
    assert changes(before, at_rest(home)) == {}


def test_a_root_that_would_make_the_mirror_home_a_clone_is_refused(home: Home, codex: Path) -> None:
    ask(home, "create", "work", env=in_home(home))
    before = at_rest(home)
    for root in ("~", home.home, f"{home.home}/", f"{home.home}/.codex-mirror/clones/../.."):
        result = ask(home, "create", "play", "--root", root, env=in_home(home))
        assert result.code == 5 and "which is not for clones" in result.err
        assert changes(before, at_rest(home)) == {}
    removed = ask(home, "remove", "play", "--yes", env=in_home(home))
    assert removed.code == 3 and changes(before, at_rest(home)) == {}


ODD_ROOTS = [
    ("spaces", " a  b "),
    ("quotes", "a'b\"c`d"),
    ("a command", "$(touch pwned)`touch pwned`;touch pwned"),
    ("a newline", "a\nb\n"),
    ("escapes", EVIL),
    ("a backslash", "a\\nb\\"),
    ("a glob", "*?[a-z]{b,c}~"),
    ("bytes that aren't UTF-8", odd_name(b"a\xff\xfeb")),
    ("4,000 characters", "/".join(["d" * 99] * 39 + ["d" * 50])),
]


@pytest.mark.parametrize(("kind", "tail"), ODD_ROOTS, ids=[row[0] for row in ODD_ROOTS])
def test_a_root_may_have_any_name(home: Home, codex: Path, kind: str, tail: str) -> None:
    make_clone(home, "work")
    before = at_rest(home)
    root = home.base / tail
    created = ask(home, "create", "play", "--root", root)
    assert created.code == 0, created
    base = root / ".codex-mirror"
    heard = overheard(run([home.bin / "play", "a", "$(b)"], env=home.env, cwd=home.home, check=True).out)
    assert heard.argv == [b"a", b"$(b)"] and heard.env["CODEX_HOME"] == f"{base}/home/.codex"
    assert overheard(raw(home, "run", "play", "x").out).env == {**heard.env}
    row = next(row for row in ask(home, "list", "--json").json() if row["name"] == "play")
    assert row["rootPath"] == str(root)
    [line] = [line for line in ask(home, "list").out.splitlines() if line.startswith("play\t")]
    assert line.split("\t") == ["play", "0.169.0", cm.escape_invisible(str(root))]
    assert ask(home, "doctor", "play", "--json").json()[0]["ok"]
    assert ask(home, "list", "--full").code == 0
    for lost in home.mirror.glob("registry.json*"):
        lost.write_bytes(b"")
    assert "rebuilt the registry with 2 clones" in ask(home, "doctor", "--fix").err
    assert str(root) in {row["rootPath"] for row in rows_of(home)}
    [broken] = home.mirror.glob("registry.json.broken-*")
    broken.unlink()
    assert ask(home, "remove", "play", "--yes").code == 0
    left = {
        home.base / path
        for path in changes(before, at_rest(home))
        if not path.startswith(("m/registry.json", "m/events.log"))
    }
    assert left <= set(root.parents) and not list(home.base.rglob("pwned"))


# --- the mirror home, the wrapper directory, the wrapper's own place, HOME ---


def test_a_mirror_home_may_be_reached_through_a_link_which_stays_one(home: Home, codex: Path) -> None:
    (home.base / "real").mkdir(mode=0o700)
    home.mirror.symlink_to("real")
    assert ask(home, "create", "work").code == 0
    assert run([home.bin / "work", "exit", "4"], env=home.env).code == 4
    assert ask(home, "doctor", "--json").json()[0]["ok"]
    assert ask(home, "create", "play", "--root", home.base / "real").code == 5
    assert ask(home, "create", "play", "--root", home.base / "real" / "x").code == 5
    assert ask(home, "remove", "work", "--yes").code == 0
    assert home.mirror.is_symlink() and not (home.base / "real" / "clones" / "work").exists()


MIRROR_HOMES: list[tuple[str, Callable[[Path], object], str]] = [
    ("a file", lambda path: path.write_text("a stranger's\n"), "is not a directory"),
    ("a FIFO", os.mkfifo, "is not a directory"),
    ("a link to nothing", lambda path: path.symlink_to("nowhere"), "is a link to nothing"),
    ("a link to itself", lambda path: path.symlink_to(path.name), ""),
    ("a link to a file", lambda path: path.symlink_to("/etc/passwd"), "is not a directory"),
]


@pytest.mark.parametrize(("kind", "make", "says"), MIRROR_HOMES, ids=[row[0] for row in MIRROR_HOMES])
def test_a_mirror_home_that_is_no_directory_is_refused(
    home: Home, codex: Path, kind: str, make: Callable[[Path], object], says: str
) -> None:
    make(home.mirror)
    before = at_rest(home)
    for words in (["create", "work"], ["list"], ["run", "work"], ["remove", "work", "--yes"], ["usage"]):
        result = ask(home, *words)
        assert (result.code, result.out) == (5, ""), (words, result)
        assert str(home.mirror) in result.err and says in result.err
    assert ask(home, "doctor").code == 1
    assert changes(before, at_rest(home)) == {}


@needs_root
def test_root_begins_no_mirror_home_in_another_user_s_home(home: Home, codex: Path) -> None:
    os.chown(home.base, SOMEBODY_ELSE, -1)
    before = at_rest(home)
    result = ask(home, "create", "work")
    assert result.code == 5 and f"{home.base} belongs to another user" in result.err
    assert ask(home, "list").code == 0 and changes(before, at_rest(home)) == {}
    os.chown(home.base, os.getuid(), -1)
    assert ask(home, "create", "work").code == 0


def test_a_mirror_home_that_can_t_be_looked_at_is_refused_with_the_reason(home: Home) -> None:
    (home.base / "file").write_text("a stranger's\n")
    result = ask(home, "list", env={"CODEX_MIRROR_HOME": str(home.base / "file" / "m")})
    assert (result.code, result.out) == (5, "")
    assert f"{home.base}/file/m can't be read: Not a directory" in result.err


def test_a_missing_wrapper_directory_is_made_and_goes_with_a_create_that_fails(home: Home, codex: Path) -> None:
    home.bin.rmdir()
    env = {"CODEX_MIRROR_BIN_DIR": str(home.bin / "a" / "b")}
    broken = home.base / "broken"
    before = at_rest(home)
    fake_codex(broken, body="#!/bin/sh\nexit 3\n")
    assert ask(home, "create", "work", "--from", broken, env=env).code == 1
    shutil.rmtree(broken)
    left = {path for path in changes(before, at_rest(home)) if not path.startswith("m")}
    assert left == set()
    assert ask(home, "create", "work", env=env).code == 0
    assert (home.bin / "a" / "b" / "work").stat().st_mode & 0o777 == 0o755


BIN_DIRECTORIES: list[tuple[str, Callable[[Path], object], int, str]] = [
    ("a file", lambda path: path.write_text("a stranger's\n"), 5, "is not a directory"),
    ("a FIFO", os.mkfifo, 5, "is not a directory"),
    ("a link to nothing", lambda path: path.symlink_to("nowhere/at/all"), 5, "is not a directory"),
    ("a file system that nobody can write", lambda path: path.symlink_to("/proc"), 1, "/proc"),
]


@pytest.mark.parametrize(("kind", "make", "code", "says"), BIN_DIRECTORIES, ids=[row[0] for row in BIN_DIRECTORIES])
def test_a_wrapper_directory_that_is_none_is_refused_and_nothing_is_left(
    home: Home, codex: Path, kind: str, make: Callable[[Path], object], code: int, says: str
) -> None:
    make_clone(home, "work", root=str(home.base / "root"))
    bad = home.base / "badbin"
    make(bad)
    before = at_rest(home)
    for words in (["create", "play"], ["wrapper", "install"]):
        result = ask(home, *words, env={"CODEX_MIRROR_BIN_DIR": str(bad)})
        codes = {code} if ROOT else {code, 5}  # Who isn't root is refused a place that he can't write.
        assert (result.code in codes | {1} and str(bad) in result.err + result.out) or says in result.err, result
        assert result.code in codes or words[0] == "wrapper"
        assert changes(before, at_rest(home)) == {}, words


@pytest.mark.parametrize("odd", ["a:b", "a\nb"], ids=["a colon", "a newline"])
def test_a_wrapper_directory_that_can_t_stand_in_path_is_refused(home: Home, codex: Path, odd: str) -> None:
    make_clone(home, "work")
    before = at_rest(home)
    for words in (["create", "play"], ["wrapper", "install"], ["path", "setup"], ["path", "status"]):
        result = ask(home, *words, env={"CODEX_MIRROR_BIN_DIR": str(home.base / odd)})
        assert result.code == 5 and "can't be on PATH" in result.err, (words, result)
        assert changes(before, at_rest(home)) == {}


OWN_PLACE = [
    "create registry.json.new",
    "create journal.json",
    "create scratch-0badcafe",
    "wrapper install --bin-dir m",
    "path setup --bin-dir link",
    "export work -o m/registry.json.new",
    "export work --with-login -o link/finish-0badcafe.json",
]


@pytest.mark.parametrize("line", OWN_PLACE)
def test_nothing_of_the_user_s_is_put_where_our_own_files_come_and_go(home: Home, codex: Path, line: str) -> None:
    """A command or an export with one of their names would be gone with the next change."""
    make_clone(home, "work")
    (home.clone_home("work") / ".codex" / "auth.json").write_text('{"OPENAI_API_KEY": "sk-own-0123456789-own"}')
    (home.base / "link").symlink_to(home.mirror)
    before = at_rest(home)
    env = {"CODEX_MIRROR_BIN_DIR": str(home.mirror)} if line.startswith("create") else {}
    result = ask(home, *line.split(), env=env, cwd=home.base)
    assert result.code == 5 and "is only for codex-mirror's own files" in result.err, result
    assert changes(before, at_rest(home)) == {}


def test_a_wrapper_directory_may_be_a_link_which_stays_one(home: Home, codex: Path) -> None:
    (home.base / "real").mkdir()
    home.bin.rmdir()
    home.bin.symlink_to("real")
    assert ask(home, "create", "work").code == 0
    assert run([home.bin / "work", "exit", "4"], env=home.env).code == 4
    assert ask(home, "wrapper", "install").code == 0 and ask(home, "remove", "work", "--yes").code == 0
    assert home.bin.is_symlink() and list((home.base / "real").iterdir()) == []


def write_foreign_wrapper(path: Path) -> None:
    """The wrapper of a clone in another mirror home."""
    body = cm.wrapper_body({"clone": path.name})
    path.write_text(cm.wrapper_head("11111111-2222-4333-8444-555555555555", cm.seal_of(body.encode())) + body)
    path.chmod(0o755)


OCCUPANTS: list[tuple[str, Callable[[Path], object]]] = [
    ("a stranger's file", lambda path: path.write_text("#!/bin/sh\necho mine\n")),
    ("an empty file", lambda path: path.write_text("")),
    ("a stranger's binary", lambda path: path.write_bytes(b"\x7fELF\0\xff" * 9999)),
    ("a directory", lambda path: path.mkdir()),
    ("a FIFO", os.mkfifo),
    ("a link to a file", lambda path: path.symlink_to("/bin/sh")),
    ("a link to nothing", lambda path: path.symlink_to("nowhere")),
    ("a link to itself", lambda path: path.symlink_to(path.name)),
    ("a link to another clone's wrapper", lambda path: path.symlink_to("work")),
    ("a foreign clone's wrapper", write_foreign_wrapper),
    ("a copy of another clone's wrapper", lambda path: shutil.copy(path.parent / "work", path)),
    ("an earlier program's wrapper of another name", lambda path: path.write_text(
        "#!/usr/bin/env bash\nexec \"$CODEX_MIRROR_CLI\" run 'work' -- \"$@\"\n")),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "occupy"), OCCUPANTS, ids=[row[0] for row in OCCUPANTS])
def test_what_isn_t_ours_at_a_wrapper_s_place_is_never_touched(
    home: Home, codex: Path, kind: str, occupy: Callable[[Path], object]
) -> None:
    make_clone(home, "work")
    make_clone(home, "play")
    (home.bin / "play").unlink()
    occupy(home.bin / "play")
    occupy(home.bin / "other")
    before = at_rest(home)
    created = ask(home, "create", "other")
    assert created.code == 5 and str(home.bin / "other") in created.err
    assert ask(home, "rename", "work", "other").code == 5
    assert changes(before, at_rest(home)) == {}
    assert ask(home, "doctor", "play").code == 1
    for words in (["wrapper", "install"], ["doctor", "play", "--fix"], ["rollback", "play"]):
        result = ask(home, *words)
        assert result.code == 1 and (str(home.bin / "play") in result.err + result.out or words[0] == "rollback"), words
        assert tree(home.bin) == {path[4:] or ".": what for path, what in before.items() if (path + "/")[:4] == "bin/"}
    removed = ask(home, "remove", "play", "--yes")
    assert removed.code == 0 and str(home.bin / "play") in removed.err
    assert tree(home.bin) == {path[4:] or ".": what for path, what in before.items() if (path + "/")[:4] == "bin/"}


HOMES: list[tuple[str, str | None]] = [("unset", None), ("empty", ""), ("relative", "home"), ("a dot", ".")]


@pytest.mark.parametrize(("kind", "value"), HOMES, ids=[row[0] for row in HOMES])
def test_home_may_be_unset_empty_or_relative(home: Home, codex: Path, kind: str, value: str | None) -> None:
    if not (own := home_in_passwd()):
        pytest.skip("this user has no home directory")
    before = at_rest(home)
    env = {"HOME": value}
    assert ask(home, "create", "work", "--share", "none", env=env).code == 0
    heard = overheard(run([home.bin / "work", "x"], env=quick_env(home, env), cwd=home.home, check=True).out)
    assert heard.env["CODEX_MIRROR_USER_HOME"] == own
    assert ask(home, "list", env=env).out.startswith("work\t0.169.0\t")
    assert ask(home, "remove", "work", "--yes", env=env).code == 0
    left = {path for path in changes(before, at_rest(home)) if not path.startswith("m")}
    assert left == set()
    assert cm.places_from({} if value is None else env) == cm.Places(f"{own}/.codex-mirror", f"{own}/.local/bin", own)


def quick_env(home: Home, env: dict[str, str | None]) -> dict[str, str]:
    return {name: value for name, value in {**home.env, **env}.items() if value is not None}


# --- auth.json ---


def token(claims: object) -> str:
    payload = claims if isinstance(claims, bytes) else json.dumps(claims).encode()
    return f"h.{base64.urlsafe_b64encode(payload).decode().rstrip('=')}.s"


def login_with(**tokens: Any) -> bytes:
    kept = {"access_token": ACCESS_TOKEN, "refresh_token": REFRESH_TOKEN, "account_id": "w-1", **tokens}
    return json.dumps({"auth_mode": "chatgpt", "OPENAI_API_KEY": None, "tokens": kept}).encode()


def with_login(content: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content)


def sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.write(b'{"OPENAI_API_KEY": "')
        file.truncate(100 << 20)


LOGINS: list[tuple[str, Callable[[Path], object], str]] = [
    ("torn", with_login(login_with()[:-30]), "unknown"),
    ("torn in a key", with_login(b'{"OPENAI_API_KEY": "' + API_KEYS[0].encode()), "unknown"),
    ("empty", with_login(b""), "unknown"),
    ("not UTF-8", with_login(b'{"OPENAI_API_KEY": "\xff\xfe"}'), "unknown"),
    ("UTF-16", with_login('{"OPENAI_API_KEY": "x"}'.encode("utf-16")), "API key"),
    ("a list", with_login(b"[]"), "unknown"),
    ("deeply nested", with_login(b"[" * 200_000), "unknown"),
    ("huge", sparse, "unknown"),
    ("a directory", lambda path: path.mkdir(), "unknown"),
    ("a FIFO", os.mkfifo, "unknown"),
    ("a link to a FIFO", lambda path: (os.mkfifo(path.parent / "fifo"), path.symlink_to("fifo")), "unknown"),
    ("a link to an endless device", lambda path: path.symlink_to("/dev/zero"), "unknown"),
    ("a link to nothing", lambda path: path.symlink_to("nowhere"), "not logged in"),
    ("a link to itself", lambda path: path.symlink_to("auth.json"), "unknown"),
    ("a token of 10 MB", with_login(login_with(id_token=token(b"{" + b" " * 10_000_000 + b"}"))), "unknown"),
    ("a token that is no token", with_login(login_with(id_token="x")), "ChatGPT"),
    ("a token of dots", with_login(login_with(id_token="." * 5000)), "ChatGPT"),
    ("a token that isn't base64", with_login(login_with(id_token="a.!\u00e9\u20ac.c")), "ChatGPT"),
    ("a token that isn't JSON", with_login(login_with(id_token=token(b"\xff{"))), "ChatGPT"),
    ("a token that is a list", with_login(login_with(id_token=token([1]))), "ChatGPT"),
    ("a token deeply nested", with_login(login_with(id_token=token(b"[" * 100_000))), "ChatGPT"),
    ("a token that is a number", with_login(login_with(id_token=7)), "ChatGPT"),
    ("tokens in a list", with_login(b'{"tokens": ["a"]}'), "unknown"),
    ("claims of wrong types", with_login(login_with(id_token=token(
        {"email": ["x"], "https://api.openai.com/auth": "x", "https://api.openai.com/profile": 7}))), "ChatGPT"),
    ("claims with escapes", with_login(login_with(id_token=token(
        {"email": EVIL, "https://api.openai.com/auth": {"chatgpt_plan_type": EVIL, "chatgpt_account_id": EVIL}}))),
     "e\\x1b[31mv"),
    ("claims with half a character", with_login(login_with(id_token=token({"email": "a\ud800b"}))), "a\\ud800b"),
    ("a time that is none", with_login(json.dumps({"OPENAI_API_KEY": API_KEYS[0], "last_refresh": EVIL}).encode()),
     "API key"),
    ("a key with escapes", with_login(json.dumps({"OPENAI_API_KEY": "sk-proj-01234567" + EVIL}).encode()), "API key"),
    ("a key that is short", with_login(b'{"OPENAI_API_KEY": "abc"}'), "API key"),
    ("a key that is a number", with_login(b'{"OPENAI_API_KEY": 7}'), "unknown"),
    ("a login of a kind to come", with_login(b'{"auth_mode": "x", "x_token": "y", "OPENAI_API_KEY": null}'), "unknown"),
    ("nothing in it", with_login(b'{"OPENAI_API_KEY": null, "tokens": null}'), "not logged in"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "leave", "says"), LOGINS, ids=[row[0] for row in LOGINS])
def test_an_odd_login_file_never_blocks_and_never_acts(
    couple: Home, kind: str, leave: Callable[[Path], object], says: str
) -> None:
    codex_home = couple.clone_home("play") / ".codex"
    leave(codex_home / "auth.json")
    before = at_rest(couple)
    try:
        full = ask(couple, "list", "--full", "--debug", timeout=20)
        [login] = re.findall(r"^  login +(.*)$", full.out.split("\nplay\n")[1], re.M)
        assert full.code == 0 and says in login
        if "not logged in" not in says:
            refused = ask(couple, "remove", "play", timeout=20)
            assert (refused.code, refused.out) == (5, "") and "its login" in refused.err
        shown = on_terminal(couple, "--debug", "list")
        assert acting(shown.out) == [] and shown.code == 0
        assert changes(before, at_rest(couple)) == {}
    finally:
        for path in (codex_home / "auth.json", codex_home / "fifo"):
            if path.is_dir() and not path.is_symlink():
                path.rmdir()
            path.unlink(missing_ok=True)


def test_doctor_never_blocks_on_a_login_or_a_codex_that_does(home: Home, codex: Path) -> None:
    stuck = fake_codex(home.base / "stuck", body="#!/bin/sh\n[ \"$1\" != --version ] || exec echo codex-cli 0.169.0\n"
                       "sleep 1000 & sleep 1000\n")  # fmt: skip
    make_clone(home, "work")
    make_clone(home, "play", source=str(stuck))
    make_clone(home, "fine")
    os.mkfifo(home.clone_home("work") / ".codex" / "auth.json")
    before = at_rest(home)
    result = ask(home, "doctor", "--json", timeout=45)
    rows = {row["name"]: row for row in result.json()}
    assert result.code == 1 and [rows[name]["authStatus"] for name in ("work", "play", "fine")] == [
        *("unknown", "unknown", "not_logged_in")
    ]
    assert "did not answer in time" in json.dumps(rows["play"]["errors"]) and rows["fine"]["ok"]
    assert changes(before, at_rest(home)) == {}


# --- a hostile codex ---

ENDLESS = "head -c 100000000 /dev/zero | tr '\\0' x"
CODEXES = [
    ("says nothing", "exit 0", "didn't print its version"),
    ("says no version", "echo hello", "didn't print its version"),
    ("fails", "echo codex-cli 0.169.0; exit 3", "failed with exit code 3"),
    ("fails and says why", "echo oh dear >&2; exit 3", "failed with exit code 3: oh dear"),
    ("fails with escapes", "printf '\\033[31mred\\a\\302\\233\\r\\342\\200\\256\\377' >&2; exit 3", "\\x1b[31mred"),
    ("ends by signal", "kill -9 $$", "was ended by signal 9"),
    ("is no program", "", "didn't print its version"),
    ("prints 100 MB", ENDLESS, "didn't print its version"),
    ("prints 100 MB of errors", f"{ENDLESS} >&2; exit 1", "failed with exit code 1: xxxx"),
    ("says another version", "echo codex-cli 0.168.0", "says 0.168.0, but its package says 0.170.0"),
    ("says a longer version", "echo codex-cli 0.170.0-evil", "says 0.170.0-evil, but its package says 0.170.0"),
]


@pytest.mark.parametrize(("kind", "script", "says"), CODEXES, ids=[row[0] for row in CODEXES])
def test_a_codex_that_doesn_t_answer_well_is_not_pinned_and_nothing_is_left(
    couple: Home, kind: str, script: str, says: str
) -> None:
    package = fake_codex(couple.base / "bad", "0.170.0", body=f"#!/bin/sh\n{script}\n")
    before = at_rest(couple)
    try:
        for words in (["create", "other"], ["update", "play"]):
            result = ask(couple, *words, "--from", package)
            assert (result.code, result.out) == (1, "") and says in result.err, result
            assert len(result.err) < 2000
            assert changes(before, at_rest(couple)) == {}, words
    finally:
        shutil.rmtree(package)


def test_a_codex_that_answers_and_then_prints_100_mb_is_pinned(couple: Home) -> None:
    package = fake_codex(couple.base / "loud", body=f"#!/bin/sh\necho codex-cli 0.169.0\n{ENDLESS} >&2\n")
    assert ask(couple, "create", "loud", "--from", package).code == 0
    assert ask(couple, "remove", "loud", "--yes").code == 0
    shutil.rmtree(package)


@pytest.mark.parametrize(
    ("kind", "wanted"), [("a package", "package"), ("a script", "shim")], ids=["a package", "a script"]
)
def test_a_codex_that_hangs_is_given_up_and_nothing_is_left(
    home: Home, monkeypatch: pytest.MonkeyPatch, kind: str, wanted: str
) -> None:
    """Its 20 seconds are made one here; its children are gone too."""
    patient, waited = cm.capture, []

    def impatient(argv: Any, env: Any, cwd: str, seconds: float, *more: Any) -> Any:
        waited.append(seconds)
        return patient(argv, env, cwd, 1, *more)

    monkeypatch.setattr(cm, "capture", impatient)
    hang = f"#!/bin/sh\nsleep 1000 & echo $! >'{home.base}/pid'\nwait\n"
    package = fake_codex(home.base / "package", body=hang)
    (home.base / "shim").write_text(hang)
    (home.base / "shim").chmod(0o755)
    before = at_rest(home)
    with pytest.raises(cm.MirrorError, match="did not answer in time"):
        cm.create(caller_in(home), name="work", source=str(home.base / wanted))
    left = {path for path in changes(before, at_rest(home)) if path != "pid"}
    assert left <= NEW_MIRROR_HOME and waited == [20] and package.exists()
    pid, deadline = int((home.base / "pid").read_text()), time.monotonic() + 30
    while cm.is_alive(pid):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_codex_that_changes_while_it_is_copied_is_refused(home: Home) -> None:
    package = fake_codex(home.base / "package")
    big = package / "bin" / "codex-code-mode-host"
    with big.open("ab") as file:
        file.write(os.urandom(1 << 20) * 48)
    writer = start(["/bin/sh", "-c", 'while :; do printf x >>"$1"; done', "sh", big], env=home.env)
    try:
        before = at_rest(home)
        result = ask(home, "create", "work", "--from", package)
    finally:
        writer.kill()
        writer.communicate()
    assert result.code == 1 and f"{big} changed while it was being copied" in result.err
    left = set(changes(before, at_rest(home))) - {"package/bin/codex-code-mode-host"}
    assert left <= NEW_MIRROR_HOME


def described_as(**values: Any) -> Callable[[Path], object]:
    def describe(package: Path) -> object:
        path = package / "codex-package.json"
        return path.write_text(json.dumps({**json.loads(path.read_text()), **values}))

    return describe


def in_package(tail: str, make: Callable[[Path], object]) -> Callable[[Path], object]:
    return lambda package: make(package / tail)


ODD_VERSIONS = [
    ("leads away", "../../../../../x/0.169.0", "its package says ../../../../../x/0.169.0"),
    ("has a slash", "0.169.0/x", "its package says 0.169.0/x"),
    ("has escapes", EVIL, "its package says e\\x1b[31mv"),
    ("is long", "0.169.0" + "x" * 300, "0.169.0xxx"),
    ("has half a character", "0.169.0\ud800", "0.169.0\\ud800"),
    ("is blank", " ", "its package says"),
]


@pytest.mark.parametrize(("kind", "version", "says"), ODD_VERSIONS, ids=[row[0] for row in ODD_VERSIONS])
def test_a_package_whose_version_is_none_is_refused_and_nothing_is_left(
    couple: Home, kind: str, version: str, says: str
) -> None:
    package = fake_codex(couple.base / "odd")
    described = json.loads((package / "codex-package.json").read_text())
    (package / "codex-package.json").write_text(json.dumps({**described, "version": version}))
    before = at_rest(couple)
    try:
        result = ask(couple, "create", "other", "--from", package)
        assert result.code in (1, 5) and says in result.err, result
        assert changes(before, at_rest(couple)) == {}
    finally:
        shutil.rmtree(package)


def test_what_is_no_file_in_a_package_never_blocks_and_no_link_leads_out_of_a_runtime(home: Home) -> None:
    package = fake_codex(home.base / "package")
    os.mkfifo(package / "bin" / "fifo")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(package / "bin" / "socket"))
    links = {
        "zero": "/dev/zero",
        "gone": "nowhere",
        "out": "/etc/passwd",
        "up": "../../h",
        "loop": "loop",
        "rg": "../codex-path/rg",
    }
    for name, target in links.items():
        (package / "bin" / name).symlink_to(target)
    assert ask(home, "create", "work", "--from", package, timeout=20).code == 0
    runtime = Path(clone_in(home, "work").runtime.path)
    for path in runtime.rglob("*"):
        assert path.is_dir() or path.is_file(), path
        assert runtime in path.resolve().parents, path
    assert ask(home, "doctor", "--json").json()[0]["ok"]
    assert ask(home, "remove", "work", "--yes").code == 0


# --- rc files ---

BLOCK_START, BLOCK_END = b"# >>> codex-mirror PATH >>>\n", b"# <<< codex-mirror PATH <<<\n"
BLOCK = BLOCK_START + b"PATH=/old\n" + BLOCK_END

EDITED_RC_FILES = [
    ("none", None),
    ("empty", b""),
    ("plain", b"alias a=b\n"),
    ("CRLF", b"alias a=b\r\nalias c=d\r\n"),
    ("CRLF without an end", b"alias a=b\r\nalias c=d"),
    ("both line ends", b"a\r\nb\nc\rd\n"),
    ("no newline at the end", b"alias a=b"),
    ("only a newline", b"\n"),
    ("not UTF-8", b"alias a='\xff\xfe\x80'\n"),
    ("NUL", b"a\0b\n"),
    ("form feeds and other separators", b"a\x0cb\x1c\x0bc\xc2\x85d\xe2\x80\xa8e\n"),
    ("a marker quoted in a line", b"echo '# >>> codex-mirror PATH >>>'\n"),
    ("others' blocks", b"# >>> conda initialize >>>\nx\n# <<< conda initialize <<<\n"),
]


@pytest.mark.parametrize("linked", [False, True], ids=["a file", "a link"])
@pytest.mark.parametrize(("kind", "content"), EDITED_RC_FILES, ids=[row[0] for row in EDITED_RC_FILES])
def test_an_rc_file_gets_the_block_once_and_gives_it_back_to_the_byte(
    home: Home, kind: str, content: bytes | None, linked: bool
) -> None:
    rc, dotfiles = home.home / ".zshrc", home.base / "dotfiles"
    dotfiles.mkdir()
    file = dotfiles / "zshrc" if linked else rc
    if linked:
        rc.symlink_to("../dotfiles/zshrc")
    if content is not None:
        file.write_bytes(content)
        file.chmod(0o640)
    before = at_rest(home)
    if linked and content is None:
        assert ask(home, "path", "setup", "--shell", "zsh").code == 5, "a link to nothing is not filled in"
        return
    assert ask(home, "path", "setup", "--shell", "zsh").code == 0
    after = changes(before, at_rest(home))
    assert {path for path in after if not path.startswith("m")} == {str(file.relative_to(home.base))}
    written = file.read_bytes()
    assert written.count(BLOCK_START.strip()) == (2 if b"quoted" in kind.encode() else 1)
    assert written.startswith(content or b"") and rc.is_symlink() == linked
    assert content is None or stat.S_IMODE(file.stat().st_mode) == 0o640
    assert ask(home, "path", "setup", "--shell", "zsh").code == 0 and file.read_bytes() == written
    other = ask(home, "path", "setup", "--shell", "zsh", "--bin-dir", home.base / "other")
    assert other.code == 0 and file.read_bytes().count(b"codex-mirror PATH >>>") == written.count(
        b"codex-mirror PATH >>>"
    )
    assert ask(home, "path", "remove", "--shell", "zsh", "--bin-dir", home.base / "other").code == 0
    assert ask(home, "path", "remove", "--shell", "zsh").code == 0
    assert {path for path in changes(before, at_rest(home)) if not path.startswith("m")} == set()


def rc_of(content: bytes, mode: int = 0o644) -> Callable[[Path], object]:
    return lambda path: (path.write_bytes(content), path.chmod(mode))


REFUSED_RC_FILES: list[tuple[str, Callable[[Path], object], str]] = [
    ("a start without an end", rc_of(b"a\n" + BLOCK_START + b"b\n"), "markers don't pair up"),
    ("an end without a start", rc_of(b"a\n" + BLOCK_END + b"b\n"), "markers don't pair up"),
    ("an end before its start", rc_of(BLOCK_END + b"a\n" + BLOCK_START), "markers don't pair up"),
    ("two blocks", rc_of(BLOCK + b"a\n" + BLOCK), "markers don't pair up"),
    ("a block in a block", rc_of(BLOCK_START + BLOCK + BLOCK_END), "markers don't pair up"),
    ("two starts", rc_of(BLOCK_START + BLOCK), "markers don't pair up"),
    ("read-only", rc_of(b"alias a=b\n", 0o444), "it is read-only"),
    ("read-only, with a block", rc_of(BLOCK, 0o444), "it is read-only"),
    ("a directory", lambda path: path.mkdir(), "was left alone"),
    ("a FIFO", os.mkfifo, "was left alone"),
    ("a link to itself", lambda path: path.symlink_to(path.name), "was left alone"),
    ("a link to a device", lambda path: path.symlink_to("/dev/null"), "was left alone"),
    ("100 MB", of_100_mb, "was left alone"),
]


@pytest.mark.parametrize(("kind", "leave", "says"), REFUSED_RC_FILES, ids=[row[0] for row in REFUSED_RC_FILES])
def test_an_rc_file_that_we_can_t_edit_is_left_as_it_is_and_the_lines_are_told(
    home: Home, kind: str, leave: Callable[[Path], object], says: str
) -> None:
    leave(home.home / ".zshrc")
    before = at_rest(home)
    result = ask(home, "path", "setup", "--shell", "zsh", timeout=20)
    assert result.code == 5 and says in result.err
    assert f"export PATH='{home.bin}'" in result.err
    assert {path for path in changes(before, at_rest(home)) if not path.startswith("m")} == set()
    status = ask(home, "path", "status", "--shell", "zsh", timeout=20)
    assert status.code in (0, 1)
    removed = ask(home, "path", "remove", "--shell", "zsh", timeout=20)
    assert removed.code in (0, 5)
    assert {path for path in changes(before, at_rest(home)) if not path.startswith("m")} == set()


def test_one_rc_file_that_can_t_be_edited_doesn_t_hide_what_was_done_to_the_other(home: Home) -> None:
    (home.home / ".bashrc").write_text("alias a=b\n")
    (home.home / ".profile").write_bytes(BLOCK_START)
    result = ask(home, "path", "setup", "--shell", "bash")
    assert result.code == 5 and ".profile was left alone" in result.err
    changed = BLOCK_START in (home.home / ".bashrc").read_bytes()
    assert changed == (".bashrc now puts" in result.out + result.err)
    assert ask(home, "path", "remove", "--shell", "bash").code == 5


RC_FILES = [
    ("outside", lambda home: home.base / "rc", "is not in"),
    ("above", lambda home: f"{home.home}/../rc", "is not in"),
    ("the home itself", lambda home: home.home, "is not in"),
    ("a link", lambda home: home.home / "link", "is a link"),
    ("below a link", lambda home: home.home / "dir" / "rc", "is a link"),
    ("below a link by ..", lambda home: f"{home.home}/x/../dir/rc", "is a link"),
]


@pytest.mark.parametrize(("kind", "rc", "says"), RC_FILES, ids=[row[0] for row in RC_FILES])
def test_an_rc_file_by_name_must_be_one_s_own_and_no_link(
    home: Home, kind: str, rc: Callable[[Home], object], says: str
) -> None:
    (home.home / "link").symlink_to("file")
    (home.home / "dir").symlink_to(home.base)
    before = at_rest(home)
    result = ask(home, "path", "setup", "--rc-file", rc(home))
    assert result.code == 5 and says in result.err
    assert {path for path in changes(before, at_rest(home)) if not path.startswith("m")} == set()


# --- nothing acts on a terminal ---

COMMAND_LINES: list[list[str]] = [
    [EVIL],
    ["--" + EVIL],
    ["list", EVIL],
    ["list", "--" + EVIL],
    ["list", f"--full={EVIL}"],
    ["create", EVIL],
    ["create", "--name", EVIL],
    ["create", "a", "--name", "b" + EVIL],
    ["create", "a", "--home", EVIL],
    ["create", "a", "--from", EVIL],
    ["create", "a", "--settings-from", EVIL],
    ["create", "a", "--share", EVIL],
    ["create", "a", "--root", "/proc/" + EVIL],
    ["create", "a", "--keep-env", EVIL, "--from", "/nowhere"],
    ["run", EVIL],
    ["run", "--" + EVIL, "work"],
    ["exec", "work", EVIL],
    ["env", EVIL],
    ["env", "work", "--shell", EVIL],
    ["login", EVIL],
    ["logout", EVIL],
    ["usage", EVIL],
    ["doctor", EVIL],
    ["doctor", "work", EVIL],
    ["update", EVIL, "b" + EVIL],
    ["update", "work", "--from", EVIL],
    ["rollback", EVIL],
    ["rename", EVIL, "b"],
    ["rename", "work", EVIL],
    ["remove", EVIL],
    ["wrapper", EVIL],
    ["wrapper", "install", "--bin-dir", "/proc/" + EVIL],
    ["path", "status", "--bin-dir", "/x/" + EVIL.replace("\n", "")],
    ["path", "setup", "--rc-file", "/x/" + EVIL],
    ["path", "setup", "--shell", EVIL],
]


@pytest.mark.parametrize("words", COMMAND_LINES, ids=[repr(" ".join(words))[:40] for words in COMMAND_LINES])
def test_a_command_line_with_escapes_is_told_without_them(couple: Home, words: list[str]) -> None:
    before = at_rest(couple)
    for odd in ("", os.fsdecode(b"\xff\x9b")):
        result = ask(couple, *(word + odd if EVIL in word else word for word in words), "--debug"[: 0 if odd else 7])
        assert result.code in (1, 2, 3, 5) or (result.code == 127 and words[0] == "exec"), result
        assert result.err or "path status" in " ".join(words)
    assert changes(before, at_rest(couple)) == {}


VARIABLES = [
    ("CODEX_MIRROR_HOME", "/proc/" + EVIL, ["create", "a"]),
    ("CODEX_MIRROR_HOME", "/proc/" + EVIL, ["doctor"]),
    ("CODEX_MIRROR_BIN_DIR", "/proc/" + EVIL, ["create", "a"]),
    ("CODEX_MIRROR_BIN_DIR", "/x/" + EVIL.replace("\n", ""), ["path", "status"]),
    ("CODEX_MIRROR_BIN_DIR", "/x/" + EVIL.replace("\n", ""), ["doctor"]),
    ("CODEX_MIRROR_USER_HOME", "/proc/" + EVIL, ["path", "setup", "--shell", "zsh"]),
    ("CODEX_MIRROR_LOCK_TIMEOUT", EVIL, ["rename", "work", "b"]),
    ("SHELL", "/bin/" + EVIL, ["path", "status"]),
    ("SHELL", "/bin/" + EVIL, ["exec", "work"]),
    ("ZDOTDIR", "/proc/" + EVIL, ["path", "setup", "--shell", "zsh"]),
    ("XDG_CONFIG_HOME", "/proc/" + EVIL, ["path", "setup", "--shell", "fish"]),
    ("HOME", "/proc/" + EVIL, ["path", "status"]),
    ("LANG", EVIL, ["list"]),
    ("CODEX_API_KEY", API_KEYS[0] + EVIL, ["doctor"]),
]


@pytest.mark.parametrize(("name", "value", "words"), VARIABLES, ids=[f"{row[0]} {row[2][0]}" for row in VARIABLES])
def test_a_variable_with_escapes_is_told_without_them(couple: Home, name: str, value: str, words: list[str]) -> None:
    before = at_rest(couple)
    result = ask(couple, *words, env={name: value})
    assert result.code in (0, 1, 2, 5) or (result.code == 127 and words[0] == "exec"), result
    assert changes(before, at_rest(couple)) == {}


def test_a_registry_full_of_escapes_is_shown_without_them(couple: Home, registry: Path) -> None:
    work, play = sorted(rows_of(couple), key=lambda row: row["name"] != "work")
    evil = {key: EVIL for key in ("codexVersionPinned", "createdAt", "updatedAt")}
    account = {"kind": "chatgpt", "email": EVIL, "plan": EVIL, "workspace": EVIL, "user": EVIL}
    lists = {"shared": [EVIL], "keepEnv": [EVIL], "home": EVIL, "strange": EVIL}
    bad = [{**play, "name": EVIL}, {**play, "name": "b", "rootPath": "/" + EVIL}, {EVIL: EVIL}, EVIL, [EVIL]]
    write_registry(couple, [work, {**play, **evil, "account": account, **lists}, *bad], **{EVIL: EVIL})
    (couple.clone_home("play") / ".codex" / "auth.json").write_bytes(login_with(id_token=token({"email": EVIL})))
    odd = couple.mirror / "clones" / EVIL / ".codex-mirror"
    odd.mkdir(parents=True)
    (odd / "clone.json").write_text(json.dumps({"id": EVIL, "name": EVIL, "rootPath": EVIL}))
    leftovers = [couple.mirror / f"registry.json.tmp-{EVIL}", couple.bin / f"{EVIL}.d"]
    for path in leftovers:
        path.write_text("")
    try:
        for words in (["list"], ["list", "--full"], ["list", "--json"], ["usage"], ["doctor"], ["doctor", "--json"],
                      ["run", EVIL], ["remove", "play"], ["env", "play"], ["logout", "play", "--local"]):  # fmt: skip
            piped = ask(couple, *words)
            assert piped.code in (0, 1, 3, 5), piped
            shown = on_terminal(couple, *words, typed="n\n")
            assert shown.code == piped.code or shown.code in (0, 5)
            assert words == ["env", "play"] or acting(shown.out) == [], words
        for line in ask(couple, "list").out.splitlines():
            assert line.count("\t") == 2
    finally:
        shutil.rmtree(couple.mirror / "clones" / EVIL)
        for path in leftovers:
            path.unlink()
        (couple.clone_home("play") / ".codex" / "auth.json").unlink(missing_ok=True)


def test_a_lock_journal_or_log_full_of_escapes_is_told_without_them(couple: Home) -> None:
    lock = couple.mirror / "lock"
    content = lock.read_bytes()
    lock.write_bytes(EVIL.encode() + b"\xff\x9b")
    import fcntl

    with lock.open("r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        result = ask(couple, "rename", "work", "b", env={"CODEX_MIRROR_LOCK_TIMEOUT": "0.1"})
    assert result.code == 6 and "is still running" in result.err
    lock.write_bytes(content)
    journals = [
        EVIL.encode(),
        b"\xff",
        b"[" * 100_000,
        json.dumps(
            {"id": EVIL, "what": EVIL, "made": ["/" + EVIL], "staged": [["/a" + EVIL, "/b" + EVIL, 1]]}
        ).encode(),
        json.dumps({"id": "abcdef12", "what": EVIL, "made": [7], "staged": 7}).encode(),
        json.dumps({"id": "abcdef12", "what": EVIL, "staged": [["\ud800", "/b", 1]]}).encode(),
        json.dumps({"id": "abcdef12", "what": "x", "made": ["relative-abcdef12", "/x\0-abcdef12"]}).encode(),
    ]
    before = at_rest(couple)
    for journal in journals:
        (couple.mirror / "journal.json").write_bytes(journal)
        assert ask(couple, "list").code == 0
        assert ask(couple, "doctor").code in (0, 1)
        renamed = [ask(couple, "rename", "work", "b").code, ask(couple, "rename", "b", "work").code]
        assert renamed == [0, 0], journal
        for left in [*couple.mirror.glob("unreadable-*"), *couple.mirror.glob("clear-*")]:
            left.unlink()
    other = {
        path for path in changes(before, at_rest(couple)) if not path.startswith(("m/registry.json", "m/events.log"))
    }
    assert other <= {
        "m/clones/work/.codex-mirror/clone.json",
        "m/clones/work/.codex-mirror/logs/events.log",
        "bin/work",
    }


def test_a_journal_that_wants_more_than_ours_gets_nothing(couple: Home) -> None:
    """Whoever can write it can do as much without us, but a journal of another time must not discard anything."""
    theirs = couple.base / "theirs"
    theirs.mkdir()
    (theirs / "thesis.txt").write_text("ten years of work\n")
    (couple.home / ".bashrc").write_text("alias a=b\n")
    work = clone_in(couple, "work")
    last = json.loads((couple.mirror / "registry.json").read_text())["lastChange"]
    wanted = [str(path) for path in (theirs, theirs / "thesis.txt", couple.home, couple.home / ".bashrc", couple.mirror,
              couple.clone_home("work"), couple.clone_home("work") / ".codex" / "config.toml",
              couple.mirror / "clones", couple.bin, couple.mirror / "registry.json")]  # fmt: skip
    before = at_rest(couple)
    for change_id, owners in itertools.product((last, "0badc0de"), ([], [work.id], ["legacy:work"])):
        for parts in (
            {"made": wanted},
            {"to_delete": wanted},
            {"doomed": wanted},
            {"parents": wanted},
            {"staged": [[f"{couple.base}/nothing", path, True, ""] for path in wanted]},
            {"staged": [[path, f"{couple.base}/x", True, ""] for path in wanted]},
            {"moved": [[path, f"{couple.base}/x", "", path] for path in wanted]},
        ):
            plan = {"id": change_id, "what": "x", "owners": owners, **parts}
            (couple.mirror / "journal.json").write_text(json.dumps(plan))
            assert ask(couple, "rename", "nobody", "somebody").code == 3
            for left in [*couple.mirror.glob("unreadable-*"), *couple.mirror.glob("*-*.json")]:
                left.unlink()
            changed = {path for path in changes(before, at_rest(couple)) if not path.endswith("logs/events.log")}
            assert changed == set(), plan
    shutil.rmtree(theirs)
    (couple.home / ".bashrc").unlink()


def test_a_codex_s_words_are_shown_without_their_escapes(home: Home) -> None:
    says = "printf 'e\\033[31mv\\033]0;i\\a\\302\\2331ml\\342\\200\\256q\\177\\r\\377\\n'"
    body = f'#!/bin/sh\n[ "$1" != --version ] || exec echo codex-cli 0.169.0\n{says}\n{says} >&2\nexit 3\n'
    make_clone(home, "work", source=str(fake_codex(home.base / "package", body=body)))
    examined = ask(home, "doctor")
    assert examined.code == 1 and "failed with exit code 3: e\\x1b[31mv" in examined.out
    assert acting(on_terminal(home, "doctor").out) == []
    assert ask(home, "doctor", "--fix").code == 1
    (home.base / "old").mkdir()
    (home.base / "old" / "config.toml").write_text("a = 1\n")
    settings = ask(home, "create", "play", "--from", "work", "--settings-from", home.base / "old")
    assert settings.code in (0, 1, 5)


# --- no secret is shown ---


def test_no_token_or_key_is_ever_printed(home: Home, codex: Path) -> None:
    """`look_for_secrets` fails the session when one is; here every command sees them, also with `--debug`."""
    hidden = {
        "CODEX_API_KEY": API_KEYS[1],
        "CODEX_ACCESS_TOKEN": ACCESS_TOKEN,
        "OPENAI_IDENTITY_TOKEN_FILE": REFRESH_TOKEN,
    }
    make_clone(home, "work")
    make_clone(home, "play")
    login = home.clone_home("work") / ".codex" / "auth.json"
    contents = [
        json.dumps({"OPENAI_API_KEY": API_KEYS[0]}).encode(),
        login_with(id_token=token({"email": "a@b.c"})),
        login_with()[:-10],
        login_with() + b"}",
        json.dumps({"tokens": {"access_token": {"x": ACCESS_TOKEN}}, "OPENAI_API_KEY": [API_KEYS[0]]}).encode(),
        json.dumps({API_KEYS[0]: ACCESS_TOKEN}).encode(),
    ]
    shown: list[str] = []
    for content in contents:
        for words in (["list"], ["list", "--full"], ["list", "--json"], ["doctor"], ["doctor", "--json"], ["usage"],
                      ["env", "work"], ["env", "play", "--shell", "json"], ["remove", "work"], ["logout", "work"],
                      ["run", "nobody"], ["update", "--all"], ["rename", "work", "play"]):  # fmt: skip
            login.write_bytes(content)
            result = ask(home, *words, "--debug", env=hidden)
            shown += [result.out, result.err]
    for words in (["list"], ["doctor", "--debug"], ["remove", "work"], ["run", "work", "exit", "0"]):
        login.write_bytes(contents[0])
        shown.append(on_terminal(home, *words, typed="n\n", env=hidden).out)
    run([home.bin / "work", "exit", "0"], env={**home.env, **hidden})
    for path in [*home.mirror.rglob("*.json"), *home.mirror.rglob("*.log"), *home.bin.iterdir()]:
        if path.is_file() and path != login:
            shown.append(path.read_text())
    for secret in (*API_KEYS, ACCESS_TOKEN, REFRESH_TOKEN):
        assert not [text for text in shown if secret in text]


# --- file systems on which files have one name ---


@pytest.mark.parametrize(
    "number", [errno.EPERM, errno.EACCES, errno.EOPNOTSUPP, errno.EMLINK, errno.EXDEV, errno.ENOSYS]
)
def test_everything_works_where_files_can_t_have_two_names(
    home: Home, codex: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", refuse)
    home.put_on_path(home.bin)
    for words in (("create", "work"), ("create", "play", "--from", "work"), ("rename", "play", "fun")):
        assert ask(home, *words).code == 0, words
    helper = Path(rows_of(home)[0]["runtimePath"], "bin", "codex-code-mode-host")
    helper.chmod(0o755)
    helper.write_text("damaged")
    (home.mirror / "registry.json").write_text("broken {")
    (home.mirror / "registry.json").chmod(0o600)
    for words in (("doctor", "--fix"), ("doctor", "--deep", "--fix"), ("export", "work"), ("wrapper", "install")):
        ended = ask(home, *words)
        assert ended.code == 0, (words, ended)
    assert {row["name"] for row in rows_of(home)} == {"work", "fun"} and helper.read_text() != "damaged"
    [aside] = home.mirror.glob("registry.json.broken-*")
    assert aside.read_text() == "broken {"
    for words in (("path", "setup", "--shell", "sh"), ("remove", "work", "--yes"), ("remove", "fun", "--yes")):
        assert ask(home, *words).code == 0, words
    assert not list(home.bin.iterdir()) and not list((home.mirror / "clones").iterdir())


# --- interrupted ---


def cut(monkeypatch: pytest.MonkeyPatch, name: str, when: str, module: Any = cm) -> None:
    """Lets Ctrl-C come before or after something is done for the first time."""
    real = getattr(module, name)

    def deed(*words: Any, **more: Any) -> Any:
        monkeypatch.setattr(module, name, real)
        if when == "after":
            real(*words, **more)
        raise KeyboardInterrupt

    monkeypatch.setattr(module, name, deed)


CUTS: list[tuple[tuple[str, ...], str, str, str]] = [
    (("create", "new"), "find_package", "before", "interrupted: 'create new' was not done"),
    (("create", "new"), "write_registry", "before", "interrupted: 'create new' was not done"),
    (("create", "new"), "write_registry", "after", "interrupted: 'create new' was done"),
    (("create", "new"), "finish_staged", "before", "interrupted: 'create new' was done"),
    (("create", "new"), "restore_reserve", "after", "interrupted: 'create new' was done"),
    (("create", "new"), "made_lines", "before", "interrupted: 'create new' was done"),
    (("rename", "work", "play"), "write_registry", "before", "interrupted: 'rename work' was not done"),
    (("rename", "work", "play"), "write_derived", "after", "interrupted: 'rename work' was done"),
    (("remove", "work", "--yes"), "hold_lock", "before", "interrupted: 'remove work' was not done"),
    (("remove", "work", "--yes"), "discard", "before", "interrupted: 'remove work' was done"),
    (("set", "work", "--keep-env", "CODEX_CI"), "write_registry", "after", "interrupted: 'set work' was done"),
    (("export", "work"), "pack", "before", "interrupted: 'export work' was not done"),
    (("export", "work"), "put_in_place", "before", "interrupted: 'export work' was not done"),
    (("export", "work"), "restore_reserve", "before", "interrupted: 'export work' was done"),
    (("path", "setup", "--shell", "sh"), "write_new", "before", "interrupted: 'path setup' was not done"),
    (("path", "setup", "--shell", "sh"), "reload_line", "before", "interrupted: 'path setup' was done"),
    (("list",), "read_registry", "before", "interrupted"),
]


@pytest.mark.parametrize(("words", "name", "when", "says"), CUTS, ids=[" ".join((*row[0], *row[1:3])) for row in CUTS])
def test_who_interrupts_a_command_is_told_whether_its_change_was_made(
    home: Home, codex: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], name: str, when: str, says: str
) -> None:
    make_clone(home, "work")
    before = [row["name"] for row in rows_of(home)], sorted(os.listdir(home.home))
    cut(monkeypatch, name, when)
    ended = ask(home, *words)
    assert (ended.code, ended.err) == (130, f"{says}\n")
    monkeypatch.undo()
    ask(home, "list")  # Finishes what was begun.
    changed = ([row["name"] for row in rows_of(home)], sorted(os.listdir(home.home))) != before
    assert changed == says.endswith("was done") or words[0] == "set"


def test_a_bug_shows_where_it_is_and_no_secret(home: Home) -> None:
    """A traceback must not carry what the environment or a file holds."""
    script = (
        "import sys; sys.path.insert(0, sys.argv.pop(1)); import codex_mirror as cm\n"
        "def bug(*_): raise ValueError('x\\x1b[31m')\n"
        "cm.read_registry = bug\nsys.exit(cm.main(['--debug', 'list']))\n"
    )
    env = {**home.env, "CODEX_API_KEY": API_KEYS[0], "PYTHONDONTWRITEBYTECODE": "1"}
    found = subprocess.run(
        [sys.executable, "-c", script, str(Path(cm.__file__).parent)], env=env, capture_output=True, cwd=home.home
    )
    text = os.fsdecode(found.stderr)
    assert found.returncode == 70 and "this is a bug" in text and API_KEYS[0] not in text
    assert acting(text) == []
