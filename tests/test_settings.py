"""Settings: read and edit config.toml, and the lines in it that hold a clone's pin."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from helpers import Home, fake_codex, tree
from rooms import caller_in, clone_like, cm, make_clone, places_of

# --- what a config.toml says ---

SETTINGS = [
    ("", "a", ""),
    ("a = 1\n", "a", "1"),
    ("  a=1  # why", "a", "1"),
    ('a = "x # y" # z', "a", '"x # y"'),
    ("a = 'x'", "a", "'x'"),
    ("# a = 1", "a", ""),
    ("b = 1\n[t]\na = 2\n", "a", ""),
    ("b = 1\n[t]\na = 2\n", "t.a", "2"),
    ("b = 1\n[ t ] # x\na = 2\n", "t.a", "2"),
    ("t.a = 2", "t.a", "2"),
    ('"a" = 1', "a", "1"),
    ("[[l]]\na = 1\n", "a", ""),
    ("[t]\nx = 1\n[[l]]\na = 1\n", "t.a", ""),
    ("a = 1\r\nb = 2\r\n", "b", "2"),
    ("ab = 1", "a", ""),
]


@pytest.mark.parametrize(("config", "key", "value"), SETTINGS)
def test_a_plain_setting_is_read_as_it_is_written(config: str, key: str, value: str) -> None:
    assert cm.config_values(config).get(key, "") == value


VALUES: list[tuple[str, list[tuple[str, str]]]] = [
    ("", []),
    ("a = 1 # x", [("a", "1")]),
    ('a = "x # \\u00e4\\t\\\\ \\" y"', [("a", 'x # ä\t\\ " y')]),
    ("a = 'x\\n'", [("a", "x\\n")]),
    ('a = """x""""', [("a", 'x"')]),
    ('a = """x"""""\nb = 2', [("a", 'x""'), ("b", "2")]),
    ('a = """""""\nb = 2', [("a", '"'), ("b", "2")]),
    ("a = '''x'''\'\nb = 2", [("a", "x'"), ("b", "2")]),
    ("a = '''x'''\'\'\n[b]\nc = 2", [("a", "x''"), ("b.c", "2")]),
    ('a = ["""x"""", "y"]', [("a", 'x"'), ("a", "y")]),
    ('a = """\nx \\\n   y\n"""', [("a", "x y\n")]),
    ("a.b.c = true", [("a.b.c", "true")]),
    ("a = { b = { c = 1, d = [2, { e = 'f' }] }, g.h = 3 }",
     [("a.b.c", "1"), ("a.b.d", "2"), ("a.b.d.e", "f"), ("a.g.h", "3")]),
    ("[a]\nb = [\n  1, # one ] }\n  2,\n]\n[[c.d]]\ne = 1\n[[c.d]]\ne = 2",
     [("a.b", "1"), ("a.b", "2"), ("c.d.e", "1"), ("c.d.e", "2")]),
    ('[x."y.z"]\n"a b" = 1\n' + "'c.d' = {}", [("x.y.z.a b", "1")]),
    ('\ufeffa = "b"', [("a", "b")]),
    ('a = """x = """\nb = "[c]"', [("a", "x = "), ("b", "[c]")]),
]  # fmt: skip
LATER_TOML = [  # What Codex 0.171.0 reads, and no tomllib before Python 3.15.
    ("a = {\n  b = 1, # why\n  c = 'd',\n}\n", [("a.b", "1"), ("a.c", "d")]),
    ('a = "\\e\\x41"', [("a", "\x1bA")]),
    ("a = { b = 1, }", [("a.b", "1")]),
    ("a = 10:20\nb = '1'", [("a", "10:20"), ("b", "1")]),
]


@pytest.mark.parametrize("tomllib", [True, False], ids=["tomllib", "by hand"])
@pytest.mark.parametrize(("config", "values"), [*VALUES, *LATER_TOML])
def test_every_value_is_read_wherever_it_stands(
    monkeypatch: pytest.MonkeyPatch, config: str, values: list[tuple[str, str]], tomllib: bool
) -> None:
    if not tomllib:
        monkeypatch.setitem(sys.modules, "tomllib", None)
    assert [(".".join(path), value) for path, value in cm.setting_values(config)] == values


LENGTH = 1 << 18
LONG: dict[str, str] = {
    "lines that open a text": '\\"""\n' * (LENGTH // 5),
    "lines that open a plain text": "'''\n" * (LENGTH // 4),
    "a text that never ends": 'x="""' + '\\"""\n' * (LENGTH // 6) + "\\",
    "escaped quotes": '"' + '\\"' * (LENGTH // 2),
    "escaped quotes in a heading": '["' + '\\"' * (LENGTH // 2),
    "brackets": "x = " + "[" * LENGTH,
    "braces": "x = " + "{a=" * (LENGTH // 3),
    "a key of many parts": "a." * (LENGTH // 2) + "a = 1",
    "a long key with many values": '"' + "k" * (LENGTH // 2) + '" = {' + "a=1," * (LENGTH // 8) + "}",
    "a long heading with many values": "[" + "k" * (LENGTH // 2) + "]\n" + "a=1\n" * (LENGTH // 8),
    "features": "features = {" + "daemon_auto_start = " * (LENGTH // 21) + "true}",
}


@pytest.mark.parametrize("kind", LONG)
def test_settings_cost_what_they_are_long(kind: str) -> None:
    """What looks again at each character takes hours for these."""
    config = LONG[kind]
    began = time.process_time()
    assert "".join(one.text for one in cm.config_statements(config)) == config
    cm.config_values(config)
    cm.with_pin_settings(config, True)
    cm.with_feature_off(config.encode())
    cm.with_home_distrusted(config, "/h")
    with contextlib.suppress(cm.MirrorError):
        cm.setting_values(config)
    assert time.process_time() - began < 10


@pytest.mark.parametrize(
    "config",
    [
        "x = " + "[" * 102 + "]" * 102,
        "x = " + "{a=" * 102 + "1" + "}" * 102,
        "a." * 101 + "a = 1",
        "[" + "a." * 101 + "a]",
    ],
)
def test_settings_that_lie_too_deep_are_refused_in_words(config: str) -> None:
    if config[0] == "[":
        config += "\nb = 1"
    with pytest.raises(cm.MirrorError, match="more than 100 levels deep") as caught:
        cm.setting_values(config)
    assert caught.value.code == cm.REFUSED


def test_a_file_of_more_than_a_megabyte_is_no_settings(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("#" * (1 + (1 << 20)))
    assert cm.config_text(str(tmp_path)) == ""
    with pytest.raises(OSError, match="is larger than 1 MB"):
        cm.read_config(str(tmp_path))


BUS = {"DBUS_SESSION_BUS_ADDRESS": "unix:path=/run/x"}
KEYRINGS: list[tuple[str, dict[str, str], bool]] = [
    ('cli_auth_credentials_store = "keyring"', {}, True),
    ('cli_auth_credentials_store = """keyring"""', {}, True),
    ("cli_auth_credentials_store = 'auto'", BUS, True),
    ("cli_auth_credentials_store = 'auto'", {"XDG_RUNTIME_DIR": "."}, True),
    ("cli_auth_credentials_store = 'auto'", {}, sys.platform == "darwin"),
    ("cli_auth_credentials_store = 'auto'", {"XDG_RUNTIME_DIR": "nowhere"}, sys.platform == "darwin"),
    ('cli_auth_credentials_store = "file"', BUS, False),
    ('# cli_auth_credentials_store = "keyring"', BUS, False),
    ('[t]\ncli_auth_credentials_store = "keyring"', BUS, False),
    ("", BUS, False),
]


@pytest.mark.parametrize(("config", "env", "answer"), KEYRINGS)
def test_a_login_in_the_keyring_is_seen_in_the_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: str, env: dict[str, str], answer: bool
) -> None:
    (tmp_path / "bus").touch()
    for name in ("DBUS_SESSION_BUS_ADDRESS", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    assert not cm.keeps_login_in_keyring(str(tmp_path))
    (tmp_path / "config.toml").write_text(config)
    assert cm.keeps_login_in_keyring(str(tmp_path)) == answer


def test_odd_settings_are_none(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "config.toml")
    assert cm.config_text(str(tmp_path)) == ""
    (tmp_path / "config.toml").unlink()
    (tmp_path / "config.toml").write_bytes(b"\xff = 1\na = 2\n")
    assert cm.config_values(cm.config_text(str(tmp_path)))["a"] == "2"


# --- the pin ---


@pytest.fixture
def clone(home: Home) -> Any:
    """A clone `work` with a new home."""
    clone = clone_like(home)
    os.makedirs(cm.base_of(clone), 0o700)
    cm.build_home(clone, places_of(home))
    return clone


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
    clone: Any, kind: str, loosen: Callable[[Path], object], loose: list[str]
) -> None:
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


FORCED = [
    'forced_login_method = "api"',
    '[profiles.p]\nforced_login_method = "api"',
    'profiles.p.forced_chatgpt_workspace_id = ["a", "b"]',
    'profiles = { p = { forced_login_method = "api", model = "m" }, q = { model = "m", forced_x = "a,}" } }',
    '[profiles]\np = { "forced_login_method" = "api" }',
]


@pytest.mark.parametrize("config", FORCED)
def test_what_forces_a_login_doesn_t_come_along_and_refuses_nothing(home: Home, codex: Path, config: str) -> None:
    clone = make_clone(home, "work")
    with cm.begin_change(caller_in(home), "test") as change:
        held = cm.pinned_config(change, clone, caller_in(home), f'model = "x"\n{config}\n'.encode()).decode()
    assert "forced_" not in held and cm.config_values(held)["model"] == '"x"'
    assert ('"m"' in held) == ('"m"' in config)


def test_settings_that_still_force_something_are_refused(home: Home, codex: Path) -> None:
    clone = make_clone(home, "work")
    with cm.begin_change(caller_in(home), "test") as change, pytest.raises(cm.MirrorError, match="forced_login_method"):
        cm.pinned_config(change, clone, caller_in(home), b'[strange.p]\nforced_login_method = "api"\n')


# --- paths that move with their files ---

TAILS = ("i.md", "skills/x/SKILL.md", "agents/a.toml")
PATHS = [
    ('a = "/old/i.md"', 'a = "/new/i.md"'),
    ("a = '/old/i.md' # why", 'a = "/new/i.md" # why'),
    ('a = """/old/i.md"""', 'a = "/new/i.md"'),
    ('[[skills.config]]\npath = "/old/skills/x/SKILL.md"\n', '[[skills.config]]\npath = "/new/skills/x/SKILL.md"\n'),
    ('a = ["/old/skills", "/old", "/older/i.md"]', 'a = ["/new/skills", "/new", "/older/i.md"]'),
    ('a = { b = "~/.codex/agents/a.toml" }', 'a = { b = "/new/agents/a.toml" }'),
    ('a = "/old/elsewhere"', 'a = "/old/elsewhere"'),
    ('a = "see /old/i.md"', 'a = "see /old/i.md"'),
    ('a = "i.md"', 'a = "i.md"'),
    ('# "/old/i.md"', '# "/old/i.md"'),
    ('a = "/old/skills/../i.md"', 'a = "/old/skills/../i.md"'),
]


@pytest.mark.parametrize(("config", "moved"), PATHS)
def test_a_path_into_the_old_home_leads_into_the_new_one_where_its_file_came_along(config: str, moved: str) -> None:
    assert cm.with_moved_paths(config, ("/old", "~/.codex"), "/new", TAILS) == moved
