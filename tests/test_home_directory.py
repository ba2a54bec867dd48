"""Home directory: the private home of a clone: settings, pinning lines, shared entries."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from helpers import API_KEYS, Home, fake_codex, tree
from rooms import caller_in, clone_like, cm, make_clone, places_of


@pytest.fixture
def clone(home: Home) -> Any:
    """A clone `work` whose directory has nothing in it yet."""
    clone = clone_like(home)
    os.makedirs(cm.base_of(clone), 0o700)
    return clone


def build(home: Home, clone: Any) -> dict[str, tuple[str, str, str]]:
    cm.build_home(clone, places_of(home))
    return tree(Path(cm.base_of(clone)))


# --- a new home ---


def test_a_new_home_is_private_and_holds_the_pin(home: Home, clone: Any) -> None:
    found = build(home, clone)
    inside = (".codex", ".codex/app-server-daemon", ".config", ".local", ".local/share", ".local/state", ".cache")
    directories = ("home", *(f"home/{tail}" for tail in inside), "runtime", "logs")
    files = {"home/.codex/config.toml", "home/.codex/app-server-daemon/settings.json"}
    assert {path: what[:2] for path, what in found.items() if path != "."} == {
        **dict.fromkeys(directories, ("dir", "0o700")),
        **dict.fromkeys(files, ("file", "0o600")),
    }
    assert cm.complaints_about_pin(clone) == []
    config = Path(cm.codex_home_of(clone), "config.toml").read_text()
    assert "# Written by codex-mirror" in config and not cm.keeps_login_in_keyring(cm.codex_home_of(clone))
    for key in ("check_for_update_on_startup", "cli_auth_credentials_store", "mcp_oauth_credentials_store"):
        assert cm.config_values(config)[key] in ("false", '"file"')
    settings = json.loads(Path(cm.updater_file(clone)).read_text())
    assert settings == {"updater": {"autoUpdateEnabled": False}}


def test_shared_entries_are_links_to_the_real_ones_and_nothing_is_made_below_them(home: Home, clone: Any) -> None:
    (home.home / ".config" / "git").mkdir(parents=True)
    shares = (".gitconfig", ".config/git", ".local", "a/b c", ".cache")
    found = build(home, clone._replace(shared=shares))
    links = {path.removeprefix("home/"): what[2] for path, what in found.items() if what[0] == "link"}
    assert links == {share: str(home.home / share) for share in shares}
    assert sorted(path.name for path in home.home.rglob("*")) == [".config", "git"]


def test_what_is_shared_by_default_is_what_git_needs(home: Home) -> None:
    assert cm.default_shares("Linux") == (".gitconfig", ".config/git")
    assert cm.default_shares("Darwin") == (".gitconfig", ".config/git", "Library/Keychains")


# --- the pin ---

PROMPT, DAEMON, UPDATER = "check_for_update_on_startup", "features.daemon_auto_start", "app-server-daemon/settings.json"
PINS: list[tuple[str, Callable[[Path], object], list[str]]] = [
    ("as made", lambda home: None, []),
    ("the update prompt", lambda home: edit(home, f"{PROMPT} = false", ""), [PROMPT]),
    ("the update prompt on", lambda home: edit(home, "startup = false", "startup = true"), [PROMPT]),
    ("the daemon", lambda home: edit(home, "daemon_auto_start = false", ""), [DAEMON]),
    ("the daemon on", lambda home: edit(home, "start = false", "start = true"), [DAEMON]),
    ("a dotted key", lambda home: edit(home, "\n[features]\n", "features."), []),
    ("no config", lambda home: (home / "config.toml").unlink(), [PROMPT, DAEMON]),
    ("no updater's settings", lambda home: (home / UPDATER).unlink(), [UPDATER]),
    ("the updater on", lambda home: (home / UPDATER).write_text('{"updater": {"autoUpdateEnabled": true}}'), [UPDATER]),
    ("the updater's settings torn", lambda home: (home / UPDATER).write_text("{"), [UPDATER]),
    ("the updater's settings odd", lambda home: (home / UPDATER).write_text('{"updater": 7}'), [UPDATER]),
]


def edit(codex_home: Path, old: str, new: str) -> None:
    path = codex_home / "config.toml"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


@pytest.mark.parametrize(("kind", "loosen", "loose"), PINS, ids=[row[0] for row in PINS])
def test_what_would_let_codex_slip_its_pin_is_named(
    home: Home, clone: Any, kind: str, loosen: Callable[[Path], object], loose: list[str]
) -> None:
    build(home, clone)
    loosen(Path(cm.codex_home_of(clone)))
    assert cm.complaints_about_pin(clone) == loose


OURS = {
    "check_for_update_on_startup": False,
    "cli_auth_credentials_store": "file",
    "mcp_oauth_credentials_store": "file",
}
CONFIGS: list[tuple[str, str, dict[str, Any]]] = [
    ("empty", "", {}),
    ("of somebody", 'model = "gpt-5"\n', {"model": "gpt-5"}),
    ("without an end", 'model = "gpt-5"', {"model": "gpt-5"}),
    ("with ours", 'cli_auth_credentials_store = "keyring"\nx = 1\n', {"x": 1}),
    ("with ours in quotes", '"cli_auth_credentials_store" = "keyring"\nx = 1\n', {"x": 1}),
    ("with tables", 'x = 1\n[a]\ny = 2\n[[b]]\nz = 3\n', {"x": 1, "a": {"y": 2}, "b": [{"z": 3}]}),
    ("with ours in a table", "[a]\ncheck_for_update_on_startup = 7\n", {"a": {"check_for_update_on_startup": 7}}),
    ("that is forced", 'forced_chatgpt_workspace_id = "w"\nforced_login_method = "api"\nx = 1\n', {"x": 1}),
    ("forced to several", 'forced_chatgpt_workspace_id = [\n  "a",\n  "b",\n]\nx = 1\n', {"x": 1}),
    ("with comments", "# model\nx = 1 # why\n", {"x": 1}),
    ("with Windows' line ends", 'x = 1\r\n[a]\r\ny = 2\r\n', {"x": 1, "a": {"y": 2}}),
    ("with texts of several lines", 'x = """\na\n[b]\n"""\ny = 2\n', {"x": "a\n[b]\n", "y": 2}),
    ("with inline tables", "x = {a = 1, b = [2]}\n", {"x": {"a": 1, "b": [2]}}),
    ("with ours in a text", 'x = """\ncli_auth_credentials_store = "keyring"\nforced_x = 1\n[y]\n"""\n',
     {"x": 'cli_auth_credentials_store = "keyring"\nforced_x = 1\n[y]\n'}),
    ("with ours in a plain text", "x = \'\'\'\nforced_x = 1\n\'\'\'\ny = 1\n", {"x": "forced_x = 1\n", "y": 1}),
    ("with quotes in comments", '# it\'s """\nforced_x = 1\ny = 2 # "\n', {"y": 2}),
    ("forced in plain quotes", "'forced_chatgpt_workspace_id' = 'w'\nx = 1\n", {"x": 1}),
    ("forced in disguise", '"forced\\u005flogin_method" = "api"\nx = 1\n', {"x": 1}),
    ("with lists of lists", 'x = [\n  ["a"],\n  ["b"]\n]\nforced_x = 1\n', {"x": [["a"], ["b"]]}),
    ("with ours in plain quotes", "'check_for_update_on_startup' = true\nx = 1\n", {"x": 1}),
    ("with places of its own", 'sqlite_home = "/s"\nlog_dir = "/l"\nx = 1\n', {"x": 1}),
    ("with a mark of its encoding", '\ufeffx = 1\n', {"x": 1}),
    ("with odd characters", 'x = "ä日本\\u001b"\n', {"x": "ä日本\x1b"}),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "config", "kept"), CONFIGS, ids=[row[0] for row in CONFIGS])
def test_foreign_settings_are_made_to_hold_the_pin_and_keep_the_rest(
    kind: str, config: str, kept: dict[str, Any]
) -> None:
    tomllib = pytest.importorskip("tomllib")
    once = cm.with_pin_settings(config, True)
    assert tomllib.loads(once) == {**OURS, **kept}
    assert tomllib.loads(cm.with_pin_settings(once, True)) == {**OURS, **kept}
    assert cm.with_pin_settings(once, True).count("# Written by codex-mirror") == 1


def test_a_clone_s_own_settings_keep_what_is_forced_in_them() -> None:
    tomllib = pytest.importorskip("tomllib")
    own = cm.with_pin_settings('forced_login_method = "api"\nsqlite_home = "/s"\n', False)
    assert tomllib.loads(own) == {**OURS, "forced_login_method": "api", "sqlite_home": "/s"}
    kept = cm.with_pin_settings('"cli_auth_credentials_store" = "keyring"\ncheck_for_update_on_startup = true\n', False)
    assert tomllib.loads(kept) == {**OURS, "cli_auth_credentials_store": "keyring"}


FEATURES: list[tuple[str, str, dict[str, Any]]] = [
    ("empty", "", {"features": {}}),
    ("nothing of it", "x = 1\n", {"x": 1, "features": {}}),
    ("nothing of it, with tables", "x = 1\n[a]\ny = 2\n", {"x": 1, "a": {"y": 2}, "features": {}}),
    ("a table", "[features]\napps = true\n[b]\nz = 1\n", {"features": {"apps": True}, "b": {"z": 1}}),
    ("an empty table", "[features]\n", {"features": {}}),
    ("an empty table at the end", "[features]", {"features": {}}),
    ("a table with a comment", "[ features ] # mine\napps = true\n", {"features": {"apps": True}}),
    ("off in a table", "[features]\ndaemon_auto_start = false\n", {"features": {}}),
    ("on in a table", "[features]\ndaemon_auto_start = true # why\napps = true\n", {"features": {"apps": True}}),
    ("dotted", "features.apps = true\n[a]\ny = 2\n", {"features": {"apps": True}, "a": {"y": 2}}),
    ("dotted and off", "features.daemon_auto_start = false\n", {"features": {}}),
    ("dotted and on", "features.daemon_auto_start = true\n", {"features": {}}),
    ("inline", "features = { apps = true }\n", {"features": {"apps": True}}),
    ("inline and empty", "features = {}\n", {"features": {}}),
    ("inline and on", "features = { daemon_auto_start = true, apps = true }\n", {"features": {"apps": True}}),
    ("inline and off", "features = {apps = true, daemon_auto_start = false}\n", {"features": {"apps": True}}),
    ("a table in quotes", '["features"]\n"daemon_auto_start" = true\n', {"features": {}}),
    ("dotted in quotes", "'features'.\"daemon_auto_start\" = true\n", {"features": {}}),
    ("a table named in a text", 'x = """\n[features]\n"""\n', {"x": "[features]\n", "features": {}}),
    ("on in a text", 'x = """\ndaemon_auto_start = true\n"""\n', {"x": "daemon_auto_start = true\n", "features": {}}),
    ("a table of another name", "[x.features]\napps = true\n", {"x": {"features": {"apps": True}}, "features": {}}),
    ("a table below it", "[features.x]\ny = 1\n", {"features": {"x": {"y": 1}}}),
    ("inline in a table below it", "[features.x]\nfeatures = { y = 1 }\n", {"features": {"x": {"features": {"y": 1}}}}),
    ("inline in another table", "[x]\nfeatures = { y = 1 }\n", {"x": {"features": {"y": 1}}, "features": {}}),
    ("a profile's", "[profiles.p.features]\ndaemon_auto_start = true\n",
     {"profiles": {"p": {"features": {"daemon_auto_start": False}}}, "features": {}}),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "config", "kept"), FEATURES, ids=[row[0] for row in FEATURES])
def test_the_daemon_is_turned_off_by_hand_however_the_features_are_written(
    kind: str, config: str, kept: dict[str, Any]
) -> None:
    tomllib = pytest.importorskip("tomllib")
    tomllib.loads(config)
    held = cm.with_feature_off(config.encode()).decode()
    assert tomllib.loads(held) == {**kept, "features": {**kept["features"], "daemon_auto_start": False}}
    assert tomllib.loads(cm.with_feature_off(held.encode()).decode()) == tomllib.loads(held)


def test_bytes_that_aren_t_utf_8_stay_as_they_are() -> None:
    assert b"# \xff\n" in cm.with_feature_off(b"# \xff\nx = 1\n")


@pytest.mark.parametrize("version", ["0.120.0", "0.156.0", "0.157.0", "0.169.0"])
def test_the_pinned_codex_reads_the_settings_that_it_gets(home: Home, version: str) -> None:
    clone = make_clone(home, "work", source=str(fake_codex(home.base / "package", version)))
    before = tree(home.base)
    with cm.begin_change(caller_in(home), "test") as change:
        held = cm.pinned_config(change, clone, caller_in(home), b'model = "x"\n[features]\napps = true\n')
    assert cm.config_values(held.decode())["features.daemon_auto_start"] == "false"
    assert (
        cm.config_values(held.decode())["model"] == '"x"' and cm.config_values(held.decode())["features.apps"] == "true"
    )
    after = {path: what for path, what in tree(home.base).items() if path != "m/lock"}
    assert after == {path: what for path, what in before.items() if path != "m/lock"}


BROKEN = [
    ("a key twice", b"x = 1\nx = 2\n"),
    ("no value", b"x\n"),
    ("a key and a table", b"features.apps = true\n[features]\nhooks = true\n"),
]


@pytest.mark.parametrize(("kind", "config"), BROKEN, ids=[row[0] for row in BROKEN])
def test_settings_that_codex_can_t_read_are_refused_with_its_words(
    home: Home, codex: Path, kind: str, config: bytes
) -> None:
    clone = make_clone(home, "work")
    with cm.begin_change(caller_in(home), "test") as change:
        with pytest.raises(cm.MirrorError, match=r"can't read these settings: .*config\.toml") as caught:
            cm.pinned_config(change, clone, caller_in(home), config)
        assert caught.value.code == cm.REFUSED and "\n" not in caught.value.message


def test_settings_that_still_force_something_are_refused(home: Home, codex: Path) -> None:
    clone = make_clone(home, "work")
    with cm.begin_change(caller_in(home), "test") as change, pytest.raises(cm.MirrorError, match="forced_login_method"):
        cm.pinned_config(change, clone, caller_in(home), b'[profiles.p]\nforced_login_method = "api"\n')


# --- settings from elsewhere ---


def write_codex_home(directory: Path) -> None:
    """A Codex home with settings, and with everything that is none."""
    files = {
        "config.toml": "x = 1\n",
        "AGENTS.md": "be kind\n",
        "prompts/a.md": "a",
        "rules/deep/er/r.md": "r",
        "skills/one/SKILL.md": "1",
        "skills/.system/x/SKILL.md": "no",
        "auth.json": API_KEYS[0],
        ".credentials.json": API_KEYS[0],
        ".env": API_KEYS[0],
        "history.jsonl": "no",
        "state_5.sqlite": "no",
        "installation_id": "no",
        "version.json": "no",
        "sessions/2026/11/22/rollout-a.jsonl": "no",
        "packages/standalone/x": "no",
        "tmp/x": "no",
        "app-server-daemon/settings.json": "no",
    }
    for name, text in files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(text)


SETTINGS = ["AGENTS.md", "prompts/a.md", "rules/deep/er/r.md", "skills/one/SKILL.md"]


def test_only_settings_are_settings_and_they_are_copied_privately(home: Home, tmp_path: Path) -> None:
    write_codex_home(tmp_path / "old")
    tails = cm.settings_files(str(tmp_path / "old"))
    assert tails == SETTINGS
    (tmp_path / "new").mkdir()
    cm.copy_tree(str(tmp_path / "old"), str(tmp_path / "new"), tails)
    found = tree(tmp_path / "new")
    assert sorted(path for path, what in found.items() if what[0] == "file") == SETTINGS
    assert {what[:2] for path, what in found.items() if path != "."} == {("dir", "0o700"), ("file", "0o600")}


def test_settings_behind_links_are_found_and_logins_and_circles_are_not(tmp_path: Path) -> None:
    write_codex_home(tmp_path / "real")
    old = tmp_path / "old"
    old.mkdir()
    for name in ("AGENTS.md", "prompts"):
        (old / name).symlink_to(tmp_path / "real" / name)
    (old / "skills").mkdir()
    (old / "skills" / "login").symlink_to(tmp_path / "real" / "auth.json")
    (old / "skills" / "env").symlink_to(tmp_path / "real" / ".env")
    (old / "skills" / "all").symlink_to(tmp_path / "real")
    (old / "skills" / "gone").symlink_to("nowhere")
    (old / "skills" / "zero").symlink_to("/dev/zero")
    (old / "skills" / "round").symlink_to("..")
    os.mkfifo(old / "skills" / "fifo")
    for name in ("auth.json.before-1", "logs_2.sqlite-wal"):
        (tmp_path / "real" / name).write_text(API_KEYS[0])
    through = [tail for tail in SETTINGS if not tail.startswith("skills/")]
    through += ["history.jsonl", "version.json", "sessions/2026/11/22/rollout-a.jsonl", "skills/one/SKILL.md", "tmp/x"]
    through += ["config.toml", "packages/standalone/x", "app-server-daemon/settings.json"]
    expected = ["AGENTS.md", "prompts/a.md", *(f"skills/all/{tail}" for tail in through)]
    assert sorted(cm.settings_files(str(old))) == sorted(expected)


SOURCES: list[tuple[str, Callable[[Home], str], str]] = [
    ("a clone", lambda home: "work", ".codex-mirror/home/.codex"),
    ("a directory", lambda home: str(home.base / "old"), "/old"),
    ("the real home's", lambda home: "~/.codex", "/h/.codex"),
    ("nothing", lambda home: "nowhere", ""),
    ("a file", lambda home: "/etc/passwd", ""),
    ("the real home, without .codex", lambda home: "~", ""),
    ("any other directory", lambda home: str(home.base), ""),
]


@pytest.mark.parametrize(("kind", "wanted", "end"), SOURCES, ids=[row[0] for row in SOURCES])
def test_settings_come_from_a_clone_or_a_directory(
    home: Home, kind: str, wanted: Callable[[Home], str], end: str
) -> None:
    for directory, mark in ((home.base / "old", "prompts"), (home.home / ".codex", "config.toml")):
        (directory / mark).mkdir(parents=True)
    registry = cm.Registry((clone_like(home),))
    if end:
        assert cm.settings_source(wanted(home), registry, places_of(home)).endswith(end)
        return
    with pytest.raises(cm.MirrorError, match="neither a clone nor a Codex home"):
        cm.settings_source(wanted(home), registry, places_of(home))


# --- what may be shared ---

SHARES = [
    (".gitconfig", ".gitconfig", ""),
    ("dir/../.gitconfig", ".gitconfig", ""),
    ("dir", "dir", ""),
    ("dir/", "dir", ""),
    ("dangling", "dangling", ""),
    (".agents", ".agents", ""),
    ("", "", "does not lie below"),
    (".", "", "does not lie below"),
    ("..", "", "does not lie below"),
    ("../x", "", "does not lie below"),
    ("/etc/passwd", "", "does not lie below"),
    ("nowhere", "", "is not there"),
    (".codex", "", "can't be shared"),
    (".codex/config.toml", "", "can't be shared"),
    (".codex-mirror", "", "can't be shared"),
    (".codex-mirror/clones", "", "can't be shared"),
    ("to-codex", "", "can't be shared"),
    ("to-login", "", "can't be shared"),
    ("to-home", "", "can't be shared"),
    ("to-mirror", "", "can't be shared"),
    ("dir/to-mirror", "", "can't be shared"),
    ("mirrors", "", "can't be shared"),
    ("mirrors/m", "", "can't be shared"),
    ("clones", "", "can't be shared"),
    ("clones/away/.codex-mirror/home", "", "can't be shared"),
]


@pytest.mark.parametrize(("text", "share", "says"), SHARES, ids=[row[0] or "nothing" for row in SHARES])
def test_nothing_that_holds_or_leads_to_a_login_can_be_shared(home: Home, text: str, share: str, says: str) -> None:
    for name in (".codex", ".codex-mirror", "dir", ".agents", "mirrors/m", "clones/away/.codex-mirror/home"):
        (home.home / name).mkdir(parents=True)
    for name in (".gitconfig", ".codex/auth.json", ".codex/config.toml"):
        (home.home / name).touch()
    links = {"to-codex": ".codex", "to-login": ".codex/auth.json", "to-home": ".", "dangling": "none"}
    for name, target in {**links, "to-mirror": "mirrors/m", "dir/to-mirror": "../mirrors"}.items():
        (home.home / name).symlink_to(target)
    places = places_of(home)._replace(mirror_home=str(home.home / "mirrors" / "m"))
    registry = cm.Registry((clone_like(home, root=str(home.home / "clones" / "away")),))
    if not says:
        assert cm.checked_share(text, places, registry) == share
        return
    with pytest.raises(cm.MirrorError, match=says) as caught:
        cm.checked_share(text, places, registry)
    assert caught.value.code == (cm.FAILED if says == "is not there" else cm.REFUSED)


def test_a_codex_home_in_use_is_not_shared_wherever_it_is(home: Home) -> None:
    (home.home / "work" / "cx").mkdir(parents=True)
    for text in ("work", "work/cx"):
        with pytest.raises(cm.MirrorError, match="logins are in") as caught:
            cm.checked_share(text, places_of(home), cm.Registry(), str(home.home / "work" / "cx"))
        assert caught.value.code == cm.REFUSED


def test_an_absolute_path_into_the_home_is_meant_relative_to_it(home: Home) -> None:
    (home.home / ".gitconfig").touch()
    assert cm.checked_share(str(home.home / ".gitconfig"), places_of(home), cm.Registry()) == ".gitconfig"


# --- what a clone holds besides ---


def test_work_and_other_programs_logins_in_a_home_are_seen(home: Home, clone: Any) -> None:
    build(home, clone._replace(shared=(".gitconfig",)))
    inside = Path(cm.home_of(clone))
    assert cm.own_files(clone) == []
    for name in (".npm/cache", ".cache/x", "go/pkg/mod/x", ".codex/version.json", ".codex/skills/.system/x"):
        (inside / name).parent.mkdir(parents=True, exist_ok=True)
        (inside / name).write_text("x")
    assert cm.own_files(clone) == []
    mine = [
        "thesis.txt",
        ".config/gh/hosts.yml",
        ".codex/.credentials.json",
        ".codex/history.jsonl",
        ".codex/AGENTS.md",
    ]
    mine += [".codex/prompts/a.md", ".codex/skills/one/SKILL.md", ".codex/memories/m.md", ".codex/config.toml"]
    for name in mine:
        (inside / name).parent.mkdir(parents=True, exist_ok=True)
        (inside / name).write_text("x")
    assert sorted(cm.own_files(clone)) == sorted(str(inside / name) for name in mine)
