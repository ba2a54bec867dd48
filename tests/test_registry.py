"""Registry: the list of clones, the one truth."""

from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from helpers import Home, tree
from rooms import clone_like, cm, places_of, write_registry


@pytest.fixture
def rows(home: Home) -> dict[str, dict[str, Any]]:
    """Good rows by their names, of clones that are nowhere on the disk."""
    home.mirror.mkdir(mode=0o700)
    return {name: json.loads(cm.clone_row_text(clone_like(home, name))) for name in ("work", "play", "other")}


FULL: dict[str, Any] = {
    "home": "shared",
    "shared": (".gitconfig", "a b/\udcff"),
    "keep_env": ("OPENAI_PROJECT",),
    "made_root": True,
    "account": cm.Account("chatgpt", "a@b.c", "pro", "w-1", "u-1", since=5.0),
}


def test_a_clone_is_written_and_read_as_it_was_with_all_that_we_don_t_know(home: Home) -> None:
    home.mirror.mkdir(mode=0o700)
    clone = clone_like(home, **FULL)
    clone = clone._replace(previous=clone.runtime._replace(version="0.168.0", kind="npm-package"))
    row = {**cm.clone_row(clone), "theirs": {"x": [1, None, "\ud83d\ude00"]}, "zz": False}
    write_registry(home, [row], lastChange="abcdef12", strange=[1.5, {"y": None}])
    registry = cm.read_registry(places_of(home))
    assert registry.clones[0]._replace(row={}) == clone and not registry.bad_rows
    assert (registry.last_change, registry.extra) == ("abcdef12", {"strange": [1.5, {"y": None}]})
    cm.write_registry(places_of(home), registry)
    document = json.loads((home.mirror / "registry.json").read_bytes())
    assert document == {"version": 1, "strange": [1.5, {"y": None}], "lastChange": "abcdef12",
                        "clones": [json.loads(json.dumps(row))]}  # fmt: skip
    assert json.loads(cm.clone_row_text(registry.clones[0])) == document["clones"][0]
    assert cm.read_registry(places_of(home)).clones == registry.clones


def test_where_there_is_no_registry_there_are_no_clones(home: Home) -> None:
    assert cm.read_registry(places_of(home)) == cm.Registry()
    home.mirror.mkdir(mode=0o700)
    assert cm.read_registry(places_of(home)) == cm.Registry() and tree(home.mirror).keys() == {"."}


def test_the_registry_is_replaced_at_one_stroke_and_the_one_before_is_kept(home: Home) -> None:
    places = places_of(home)
    home.mirror.mkdir(mode=0o700)
    books = [cm.Registry((clone_like(home, name),), f"{number:08x}") for number, name in enumerate(("a", "b", "c"))]
    contents = []
    for registry in books:
        cm.write_registry(places, registry)
        contents.append((home.mirror / "registry.json").read_bytes())
    assert (home.mirror / "registry.json.previous").read_bytes() == contents[1]
    assert tree(home.mirror).keys() == {".", "registry.json", "registry.json.previous"}
    modes = {stat.S_IMODE(path.stat().st_mode) for path in home.mirror.iterdir()}
    assert modes == {0o600} and cm.read_registry(places).last_change == "00000002"
    assert [json.loads(content)["clones"][0]["name"] for content in contents] == ["a", "b", "c"]


@pytest.mark.parametrize("number", [errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP])
def test_the_one_before_is_kept_also_where_files_can_t_have_two_names(
    home: Home, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", refuse)
    home.mirror.mkdir(mode=0o700)
    for name in ("a", "b"):
        cm.write_registry(places_of(home), cm.Registry((clone_like(home, name),)))
    before = json.loads((home.mirror / "registry.json.previous").read_bytes())
    assert before["clones"][0]["name"] == "a" and len(tree(home.mirror)) == 3


def test_bad_rows_stay_where_they_are(home: Home, rows: dict[str, dict[str, Any]]) -> None:
    bad: list[Any] = [None, 7, [], {"name": "x", "kept": True}, {**rows["work"], "rootPath": "/"}]
    write_registry(home, [bad[0], rows["work"], *bad[1:3], rows["play"], *bad[3:]])
    registry = cm.read_registry(places_of(home))
    assert [clone.name for clone in registry.clones] == ["work", "play"] and [
        one.row for one in registry.bad_rows
    ] == bad
    changed = registry.clones[0]._replace(updated="2027-01-01T00:00:00.000Z")
    cm.write_registry(places_of(home), cm.with_clone(registry, changed))
    after = json.loads((home.mirror / "registry.json").read_bytes())["clones"]
    assert after == [bad[0], {**rows["work"], "updatedAt": changed.updated}, *bad[1:3], rows["play"], *bad[3:]]
    cm.write_registry(places_of(home), cm.without_clone(registry, registry.clones[0]))
    after = json.loads((home.mirror / "registry.json").read_bytes())["clones"]
    assert after == [bad[0], *bad[1:3], rows["play"], *bad[3:]]


@pytest.mark.parametrize("number", ["1e999", "-1e999"])
def test_a_number_beyond_all_numbers_spoils_no_registry(
    home: Home, rows: dict[str, dict[str, Any]], number: str
) -> None:
    write_registry(home, [{**rows["work"], "x": "beyond"}, rows["play"]])
    path = home.mirror / "registry.json"
    path.write_text(path.read_text().replace('"beyond"', number))
    registry = cm.read_registry(places_of(home))
    cm.write_registry(places_of(home), cm.without_clone(registry, registry.clones[1]))
    [clone] = cm.read_registry(places_of(home)).clones
    assert cm.clone_row(clone) == {**rows["work"], "x": None}


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_no_number_of_a_clone_s_own_row_spoils_the_registry_made_from_it(
    home: Home, rows: dict[str, dict[str, Any]], word: str
) -> None:
    content = json.dumps({**rows["work"], "x": "odd"}).replace('"odd"', word)
    [clone] = cm.entries_from([cm.parse_json_object(content.encode())], places_of(home))
    home.mirror.mkdir(mode=0o700, exist_ok=True)
    cm.write_registry(places_of(home), cm.Registry((clone,)))
    assert cm.read_registry(places_of(home)).clones[0].row["x"] is None


def test_a_clone_takes_its_own_place_in_the_book_or_the_last(home: Home) -> None:
    one, two, three = (clone_like(home, name) for name in ("one", "two", "three"))
    registry = cm.with_clone(cm.with_clone(cm.Registry(), one), two)
    assert registry.clones == (one, two)
    renamed = one._replace(name="uno")
    assert cm.with_clone(registry, renamed).clones == (renamed, two)
    assert cm.with_clone(registry, three).clones == (one, two, three)
    assert cm.without_clone(registry, one).clones == (two,) and cm.without_clone(registry, three) == registry


def test_of_rows_that_claim_the_same_only_the_later_is_bad(home: Home, rows: dict[str, dict[str, Any]]) -> None:
    work, play, other = rows["work"], rows["play"], rows["other"]
    twins = {"id": {**play, "id": work["id"]}, "name": {**play, "name": "work", "wrapperPath": work["wrapperPath"]}}
    for what, twin in twins.items():
        write_registry(home, [work, twin, other])
        registry = cm.read_registry(places_of(home))
        assert [clone.name for clone in registry.clones] == ["work", "other"]
        assert [what in bad.why for bad in registry.bad_rows] == [True], registry.bad_rows


def test_a_row_that_is_bad_claims_nothing(home: Home, rows: dict[str, dict[str, Any]]) -> None:
    """Else one bad row would spoil a good one behind it."""
    work, play = rows["work"], rows["play"]
    write_registry(home, [work, {**play, "id": work["id"]}, play])
    registry = cm.read_registry(places_of(home))
    assert [clone.name for clone in registry.clones] == ["work", "play"] and len(registry.bad_rows) == 1


ODD_EXTRAS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("home", {"home": 7}, {"home": "isolated"}),
    ("a home to come", {"home": "sealed"}, {"home": "isolated"}),
    ("shared", {"shared": "x"}, {"shared": ()}),
    ("shared items", {"shared": ["a", 7, None]}, {"shared": ("a",)}),
    *(
        (f"{key}: {tail!a}", {key: ["a/b", tail, ".c"]}, {field: ("a/b", ".c")})
        for key, field in (
            ("shared", "shared"),
            ("sharedSettings", "shared_settings"),
            ("settingsLinks", "settings_links"),
        )
        for tail in ("", ".", "..", "../x", "/etc", "a/../../b", "a//b", "a/", "a\0b", "\ud800")
    ),
    ("keepEnv", {"keepEnv": {"a": 1}}, {"keep_env": ()}),
    ("madeRoot", {"madeRoot": "yes", "rootPath": "/x"}, {"made_root": False}),
    ("account", {"account": "x"}, {"account": None}),
    ("an account of no kind", {"account": {"email": "a@b.c"}}, {"account": None}),
    ("parts of an account", {"account": {"kind": "chatgpt", "email": 7, "x": 1}}, {"account": cm.Account("chatgpt")}),
    ("a time of an account", {"account": {"kind": "x", "since": "y"}}, {"account": cm.Account("x")}),
    ("an endless time", {"account": {"kind": "x", "since": 10**400}}, {"account": cm.Account("x")}),
    ("a time that is true", {"account": {"kind": "x", "since": True}}, {"account": cm.Account("x")}),
    ("no runtime before", {"previousRuntime": None}, {"previous": None}),
]


@pytest.mark.parametrize(("kind", "extra", "wanted"), ODD_EXTRAS, ids=[row[0] for row in ODD_EXTRAS])
def test_what_we_added_to_a_row_may_be_odd_and_the_clone_works_on(
    home: Home, rows: dict[str, dict[str, Any]], kind: str, extra: dict[str, Any], wanted: dict[str, Any]
) -> None:
    row = {**rows["work"], **extra}
    if row["rootPath"] == "/x":
        runtime = "/x/.codex-mirror/runtime/0-abcdef12"
        row |= {"runtimePath": runtime, "runtimeEntryPath": f"{runtime}/bin/codex"}
    write_registry(home, [row])
    [clone] = cm.read_registry(places_of(home)).clones
    assert {key: getattr(clone, key) for key in wanted} == wanted


NAMED = [
    ("work", "work", ""),
    (" work ", "work", ""),
    ("wrok", "", "did you mean 'work'?"),
    ("WORK", "", ""),
    ("zzz", "", "codex-mirror list shows the clones"),
    ("", "", ""),
    ("broken", "", "codex-mirror doctor"),
]


@pytest.mark.parametrize(("text", "found", "hint"), NAMED, ids=[repr(row[0]) for row in NAMED])
def test_a_clone_is_found_by_its_name_or_the_way_out_is_told(
    home: Home, rows: dict[str, dict[str, Any]], text: str, found: str, hint: str
) -> None:
    write_registry(home, [rows["work"], rows["play"], {**rows["other"], "name": "broken", "id": ""}])
    registry = cm.read_registry(places_of(home))
    if found:
        assert cm.clone_named(registry, text).name == found
        return
    with pytest.raises(cm.MirrorError) as caught:
        cm.clone_named(registry, text)
    assert caught.value.code == (cm.FAILED if text == "broken" else cm.NOT_FOUND) and hint in caught.value.hint


def test_with_no_clones_the_way_to_the_first_is_told() -> None:
    for text, words in (("work", "create work"), ("a b\x1b", "create work"), ("client", "create client")):
        with pytest.raises(cm.MirrorError) as caught:
            cm.clone_named(cm.Registry(), text)
        assert caught.value.hint.endswith(words)


def test_the_id_of_a_clone_directory_is_read_from_its_own_row_or_is_none(tmp_path: Path) -> None:
    row = tmp_path / "clone.json"
    assert cm.id_in_base(str(tmp_path)) == ""
    for content, found in (
        (b'{"id": "x"}', "x"),
        (b"{}", ""),
        (b"[]", ""),
        (b"\xff", ""),
        (b'{"id": "x"', ""),
        (b"[" * 99999, ""),
    ):
        row.write_bytes(content)
        assert cm.id_in_base(str(tmp_path)) == found
    row.unlink()
    os.mkfifo(row)
    assert cm.id_in_base(str(tmp_path)) == ""
