"""Pin settings: what keeps the settings of the real home out of a clone."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from helpers import Home, Mirror
from rooms import ask, clone_in, cm, make_clone, places_of, rows_of

HOME = '/home/it\'s "me" ü'
QUOTED = '"/home/it\'s \\"me\\" ü"'
OTHERS = {"/a": {"trust_level": "trusted"}, "/home": {"trust_level": "trusted"}}
OTHER_TABLES = '[projects."/a"]\ntrust_level = "trusted"\n[projects."/home"]\ntrust_level = "trusted"\n'
TRUST: list[tuple[str, str, str, dict[str, Any]]] = [  # What the settings say of the home, and what they keep.
    ("nothing", "", "", {}),
    ("no projects", 'x = 1\n[a]\ny = 2\n', "", {"x": 1, "a": {"y": 2}}),
    ("others alone", OTHER_TABLES, "", {"projects": OTHERS}),
    ("a table", f'{OTHER_TABLES}[projects.{QUOTED}]\ntrust_level = "trusted"\n[b]\nz = 1\n', "trusted",
     {"projects": OTHERS, "b": {"z": 1}}),
    ("a table with more", f'[projects.{QUOTED}]\nx = 1\ntrust_level = "trusted" # why\ny = 2\n', "trusted",
     {"projects": {HOME: {"x": 1, "y": 2}}}),
    ("a table without a level", f"[projects.{QUOTED}]\nx = 1\n", "", {"projects": {HOME: {"x": 1}}}),
    ("a table at the end", f"[projects.{QUOTED}]", "", {}),
    ("untrusted", f'[projects.{QUOTED}]\ntrust_level = "untrusted"\n', "untrusted", {}),
    ("an inline table", f'[projects]\n"/a" = {{ trust_level = "trusted" }}\n{QUOTED} = {{ trust_level = "trusted" }}\n',
     "trusted", {"projects": {"/a": OTHERS["/a"]}}),
    ("a dotted key in a table", f"[projects]\n{QUOTED}.trust_level = 'trusted'\n", "trusted", {}),
    ("a dotted key at the top", f'x = 1\nprojects.{QUOTED}.trust_level = "trusted"\n[a]\ny = 2\n', "trusted",
     {"x": 1, "a": {"y": 2}}),
    ("one inline table of all",
     f'projects = {{ "/a" = {{ trust_level = "trusted" }}, {QUOTED} = {{ trust_level = "trusted" }} }}\n[b]\nz = 1\n',
     "trusted", {"projects": {"/a": OTHERS["/a"]}, "b": {"z": 1}}),
    ("an empty inline table", "projects = {}\n", "", {}),
    ("one inline table with lists and other tables",
     f'projects = {{ "/a,{{" = {{ x = ["1", [2, 3]], y.z = {{}} }}, {QUOTED}.trust_level = "trusted",b=[]}}\n',
     "trusted", {"projects": {"/a,{": {"x": ["1", [2, 3]], "y": {"z": {}}}, "b": []}}),
    ("in a text", f'x = """\n[projects.{QUOTED}]\ntrust_level = "trusted"\n"""\n', "",
     {"x": '\n'.join(["[projects." + '"/home/it\'s "me" ü"' + "]", 'trust_level = "trusted"', ""])}),
    ("with Windows' line ends", f'[projects.{QUOTED}]\r\ntrust_level = "trusted"\r\n', "trusted", {}),
    ("in another table", f'[x.projects.{QUOTED}]\ntrust_level = "trusted"\n', "",
     {"x": {"projects": {HOME: {"trust_level": "trusted"}}}}),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "config", "said", "kept"), TRUST, ids=[row[0] for row in TRUST])
def test_the_real_home_is_distrusted_however_it_was_written_and_all_else_stays(
    kind: str, config: str, said: str, kept: dict[str, Any]
) -> None:
    tomllib = pytest.importorskip("tomllib")
    assert cm.home_trust(config, HOME) == said
    held = cm.with_home_distrusted(config, HOME)
    projects = kept.get("projects", {})
    untrusted = {**projects.get(HOME, {}), "trust_level": "untrusted"}
    assert tomllib.loads(held) == {**kept, "projects": {**projects, HOME: untrusted}}
    assert cm.home_trust(held, HOME) == "untrusted" and cm.with_home_distrusted(held, HOME) == held


@pytest.mark.parametrize("name", ["\\ud800", "\\udcff", "\udcff"])
def test_a_name_that_no_toml_can_hold_is_left_for_codex_to_complain_of(name: str) -> None:
    held = cm.with_home_distrusted(f'projects = {{ "{name}" = {{ trust_level = "trusted" }} }}\n', HOME)
    assert f'"{name}" = {{ trust_level = "trusted" }}' in held and cm.home_trust(held, HOME) == "untrusted"


def test_only_the_very_path_counts() -> None:
    for other in ("/home/me/", "/home", "/home/me/x", "/HOME/me", "~"):
        config = f'[projects."{other}"]\ntrust_level = "trusted"\n'
        assert cm.home_trust(config, "/home/me") == ""


@pytest.mark.parametrize("path", ["/a\x7f\x1b[31m\n\t\\", "/日本 é", "/plain", '/"]\nx = "'])
def test_any_path_that_toml_can_hold_is_told_as_it_is(path: str) -> None:
    tomllib = pytest.importorskip("tomllib")
    assert tomllib.loads(cm.trust_entry(path)) == {"projects": {path: {"trust_level": "untrusted"}}}


def test_a_home_that_no_toml_can_hold_is_left_out(home: Home) -> None:
    odd = places_of(home)._replace(user_home="/h\udcff")
    assert cm.new_config(odd).decode() == cm.NEW_CONFIG and cm.with_home_distrusted("x = 1\n", "/h\udcff") == "x = 1\n"


def test_a_new_clone_distrusts_the_real_path_of_the_home_and_has_settings_of_ours_alone(
    home: Home, codex: Path
) -> None:
    (home.base / "link").symlink_to(home.home)
    linked = home._replace(env={**home.env, "HOME": str(home.base / "link")})
    assert ask(linked, "create", "work", "--home", "shared")[0] == 0
    clone = clone_in(home, "work")
    assert cm.home_trust(cm.config_text(cm.codex_home_of(clone)), str(home.home)) == "untrusted"
    assert cm.own_files(clone) == []
    with open(cm.config_file(cm.codex_home_of(clone)), "a") as file:
        file.write('[projects."/a"]\ntrust_level = "trusted"\n')
    assert cm.own_files(clone) == []
    with open(cm.config_file(cm.codex_home_of(clone)), "a") as file:
        file.write('[projects."/a".x]\nname = "a"\n')
    assert cm.own_files(clone) == [cm.config_file(cm.codex_home_of(clone))]


TRUSTED = 'model = "x"\n[projects."{home}"]\ntrust_level = "trusted"\n[projects."/a"]\ntrust_level = "trusted"\n'


def create_from(mirror: Mirror, home: Home) -> Any:
    return mirror("create", "new", "--settings-from", home.home / ".codex")


def set_from(mirror: Mirror, home: Home) -> Any:
    mirror("create", "new", check=True)
    return mirror("set", "new", "--settings-from", home.home / ".codex")


def import_home(mirror: Mirror, home: Home) -> Any:
    return mirror("import", home.home / ".codex", "--name", "new")


def import_export(mirror: Mirror, home: Home) -> Any:
    """An export of a clone that trusts it."""
    mirror("create", "old", check=True)
    for path in (home.home / ".codex").iterdir():
        (home.clone_home("old") / ".codex" / path.name).write_text(path.read_text())
    mirror("export", "old", "-o", home.base / "old.tar.gz", check=True)
    return mirror("import", home.base / "old.tar.gz", "--name", "new", "--yes")


WAYS: list[Callable[[Mirror, Home], Any]] = [create_from, set_from, import_home, import_export]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@pytest.mark.parametrize("file", ["config.toml", "fast.config.toml"])
def test_settings_that_come_along_trust_the_home_no_more_and_that_is_said(
    home: Home, codex: Path, file: str, way: Callable[[Mirror, Home], Any]
) -> None:
    (home.home / ".codex").mkdir()
    (home.home / ".codex/config.toml").write_text("x = 1\n")
    (home.home / ".codex" / file).write_text(TRUSTED.format(home=home.home))
    result = way(Mirror(home), home)
    assert (result.code, f"doesn't trust {home.home}" in result.err) == (0, True), result
    assert cm.trust_of_home(clone_in(home, "new"), places_of(home)) == "untrusted"
    config = (home.clone_home("new") / ".codex" / file).read_text()
    assert cm.config_values(config)["projects./a.trust_level"] == '"trusted"'
    assert cm.config_values(config)["model"] == '"x"'


@pytest.mark.parametrize("entry", ['"{home}" = {{ trust_level = "trusted" }}', '"{home}".trust_level = "trusted"', ""])
def test_doctor_finds_a_trusted_home_and_mends_it(home: Home, codex: Path, entry: str) -> None:
    make_clone(home, "work")
    path = home.clone_home("work") / ".codex/config.toml"
    path.write_text(cm.NEW_CONFIG + f"[projects]\n{entry.format(home=os.path.realpath(home.home))}\nx.y = 1\n")
    home.put_on_path(home.bin)
    mirror = Mirror(home)
    found = {problem["id"]: problem["severity"] for problem in mirror("doctor", "work", "--json").json()[0]["problems"]}
    assert found == ({"home-trusted": "error"} if entry else {"home-undecided": "info"})
    fixed = mirror("doctor", "work", "--fix")
    assert fixed.code == 0, fixed.err
    assert mirror("doctor", "work", "--json", check=True).json()[0]["problems"] == []
    config = path.read_text()
    assert cm.home_trust(config, str(home.home)) == "untrusted" and "x.y = 1" in config
    assert [row["name"] for row in rows_of(home)] == ["work"]


def test_a_profile_that_trusts_the_home_counts_more_and_is_mended_too(home: Home, codex: Path) -> None:
    make_clone(home, "work")
    home.put_on_path(home.bin)
    profile = home.clone_home("work") / ".codex/fast.config.toml"
    profile.write_text(TRUSTED.format(home=home.home))
    (profile.parent / "other.config.toml").write_text(f'[projects."{home.home}"]\ntrust_level = "untrusted"\n')
    before = (profile.parent / "other.config.toml").read_bytes(), (profile.parent / "config.toml").read_text()
    mirror = Mirror(home)
    found = mirror("doctor", "work", "--json").json()[0]
    assert [problem["id"] for problem in found["problems"]] == ["home-trusted"] and not found["ok"]
    assert mirror("doctor", "work", "--fix").code == 0
    text = profile.read_text()
    assert cm.home_trust(text, str(home.home)) == "untrusted" and cm.config_values(text)["model"] == '"x"'
    assert cm.config_values(text)["projects./a.trust_level"] == '"trusted"'
    assert (profile.parent / "other.config.toml").read_bytes() == before[0]
    assert cm.config_values((profile.parent / "config.toml").read_text()) == cm.config_values(before[1])


def test_a_profile_that_is_a_link_is_left_and_said(home: Home, codex: Path) -> None:
    make_clone(home, "work")
    (home.home / "mine.toml").write_text(TRUSTED.format(home=home.home))
    profile = home.clone_home("work") / ".codex/fast.config.toml"
    profile.symlink_to(home.home / "mine.toml")
    result = Mirror(home)("doctor", "work", "--fix")
    assert result.code == 1 and f"{profile} is a link" in result.err
    assert (home.home / "mine.toml").read_text() == TRUSTED.format(home=home.home)
