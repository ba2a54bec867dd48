"""Carried settings: which settings of a Codex home come along into another, and how, so that the pin holds."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from helpers import API_KEYS, Home, tree
from rooms import ask, clone_in, clone_like, cm, places_of

# --- which files ---


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


def test_a_directory_with_many_names_is_looked_into_once_and_first_under_its_own(tmp_path: Path) -> None:
    """24 directories with two links each to the next would be 16 million paths."""
    for number in range(24):
        inner = tmp_path / "skills" / f"d{number}"
        inner.mkdir(parents=True)
        (inner / "SKILL.md").touch()
        for link in ("a", "b"):
            (inner / link).symlink_to(f"../d{number + 1}")
    (tmp_path / "prompts").symlink_to("skills")
    own = [f"skills/d{number}/SKILL.md" for number in range(24)]
    assert cm.settings_files(str(tmp_path)) == [
        *sorted(tail.replace("skills", "prompts", 1) for tail in own),
        *sorted(own),
    ]


DEEP: list[tuple[str, Callable[[Path], object]]] = [
    ("plain", lambda top: os.makedirs(top / "skills" / "/".join(["d"] * 101))),
    ("below rules", lambda top: os.makedirs(top / "rules" / "/".join(["d"] * 101))),
    ("behind a link", lambda top: (os.makedirs(top / "x" / "/".join(["d"] * 101)), (top / "skills").symlink_to("x"))),
    ("half of it behind a link", lambda top: (
        os.makedirs(top / "x" / "/".join(["d"] * 60)), os.makedirs(top / "skills" / "/".join(["d"] * 60)),
        (top / "skills" / "/".join(["d"] * 60) / "l").symlink_to(top / "x"))),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "make"), DEEP, ids=[row[0] for row in DEEP])
def test_a_home_with_endless_directories_is_refused_in_words(
    tmp_path: Path, kind: str, make: Callable[[Path], object]
) -> None:
    make(tmp_path)
    with pytest.raises(cm.MirrorError, match="directories more than 100 deep") as caught:
        cm.settings_files(str(tmp_path))
    assert caught.value.code == cm.REFUSED


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


@pytest.mark.parametrize("mark", ["config.toml", "auth.json", "sessions", "AGENTS.md", "prompts", "rules", "skills"])
def test_a_codex_home_is_known_by_any_one_thing_that_only_it_has(tmp_path: Path, mark: str) -> None:
    (tmp_path / "notes").touch()
    assert not cm.is_codex_home(str(tmp_path))
    (tmp_path / mark).touch()
    assert cm.is_codex_home(str(tmp_path))


NAMED_IN_VAIN = [
    *("sessions/a", "archived_sessions/a", "packages/a", "tmp/a", ".tmp/a", "log/a", "cache/a", "plugins/a"),
    *("shell_snapshots/a", "app-server-daemon/settings.json", "config.toml", "history.jsonl", "version.json"),
    *(
        "SESSIONS/a",
        "auth.json",
        "AUTH.JSON.moved-to-x",
        "x/auth.json",
        ".credentials.json",
        "x/.env",
        "state_5.sqlite",
    ),
    *("x/logs.sqlite-wal", "installation_id", "../outside.md", "gone.md"),
]


@pytest.mark.parametrize("name", NAMED_IN_VAIN)
def test_what_settings_name_that_is_no_setting_or_outside_of_the_home_does_not_come_along(
    tmp_path: Path, name: str
) -> None:
    own = tmp_path / "own"
    for path in (own / name, own / "texts/i.md"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (own / "gone.md").unlink(missing_ok=True)
    (own / "config.toml").write_text(f'a_file = "{name}"\nb_file = "{own}/{name}"\nc_file = "texts/i.md"\n')
    assert cm.settings_files(str(own), [str(own)]) == ["texts/i.md"]


def test_an_agent_s_settings_come_along_only_from_a_file_of_settings(tmp_path: Path) -> None:
    for name in ("a.toml", "b.sh"):
        (tmp_path / name).touch()
    (tmp_path / "config.toml").write_text('[agents.a]\nconfig_file = "a.toml"\n[agents.b]\nconfig_file = "b.sh"\n')
    assert cm.settings_files(str(tmp_path)) == ["a.toml"]


# --- what they name outside of their home ---

OUTSIDE = [
    ('model_instructions_file = "../i.md"', 'model_instructions_file = "/h/i.md"'),
    ("model_catalog_json = '../../c.json' # ../c", 'model_catalog_json = "/c.json" # ../c'),
    ('x_file = "~/i.md"', 'x_file = "/u/i.md"'),
    ('x_file = "~/.codex/i.md"', 'x_file = "~/.codex/i.md"'),
    ('x_file = "../old/i.md"', 'x_file = "../old/i.md"'),
    ('x_file = "prompts/../i.md"', 'x_file = "prompts/../i.md"'),
    ('x_file = "a/../../i \\"m\\".md"', 'x_file = "/h/i \\"m\\".md"'),
    ('x_file = "/e/i.md"', 'x_file = "/e/i.md"'),
    ('x_file = "~other/i.md"', 'x_file = "~other/i.md"'),
    ('[agents.a]\nconfig_file = "../a.toml"\n', '[agents.a]\nconfig_file = "/h/a.toml"\n'),
    ('agents."../x".config_file = "../a"\n', 'agents."../x".config_file = "/h/a"\n'),
    ('[[skills.config]]\npath = "../s"\nenabled = false\n', '[[skills.config]]\npath = "/h/s"\nenabled = false\n'),
    ('skills.config = [{ path = "../s", name = "../n" }]', 'skills.config = [{ path = "/h/s", name = "../n" }]'),
    ('w = { writable_roots = ["../a", "~/b", "c"] }', 'w = { writable_roots = ["/h/a", "/u/b", "c"] }'),
    ('x_file = """../i.md"""', 'x_file = "/h/i.md"'),
    ('model = "../m"', 'model = "../m"'),
    ('["../x_file"]\na = 1\n', '["../x_file"]\na = 1\n'),
    ('[mcp_servers.x]\nargs = ["../a"]\nx_file = "../a"\n', '[mcp_servers.x]\nargs = ["../a"]\nx_file = "../a"\n'),
    ('projects."/x".path = "~/x"', 'projects."/x".path = "~/x"'),
    ("x_file = ", "x_file = "),
    ('x_file = "../\\ud800"', 'x_file = "../\\ud800"'),
    ('x_file = "../a\\u007fb\\n"', 'x_file = "/h/a\\u007fb\\n"'),
    ('x_file = "../\\u0000"', 'x_file = "/h/\\u0000"'),
]  # fmt: skip


@pytest.mark.parametrize(("config", "wanted"), OUTSIDE)
def test_what_settings_name_outside_of_their_home_has_its_whole_path(config: str, wanted: str) -> None:
    move = cm.SettingsMove("/h/old", ("/h/old", "~/.codex"), "/h/old", (), "/u")
    assert cm.with_outside_paths(config, move) == (wanted, [])


def test_a_relative_path_leads_from_the_file_that_it_stands_in() -> None:
    move = cm.SettingsMove("/h/old", ("/h/old",), "/h/old", (), "/u")
    said = [
        cm.with_outside_paths('x_file = "../../i.md"', move, tail)[0] for tail in ("a.config.toml", "agents/a.toml")
    ]
    assert said == ['x_file = "/i.md"', 'x_file = "/h/i.md"']


def test_a_clones_own_settings_stay_as_they_are() -> None:
    config = 'x_file = "../i.md"'
    assert cm.with_outside_paths(config, cm.SettingsMove("/c", (), "/c", ())) == (config, [])


def test_settings_of_any_size_are_looked_through_in_good_time() -> None:
    move = cm.SettingsMove("/h/old", ("/h/old",), "/h/old", (), "/u")
    for config in ("a" * 300_000, "x_file = [" + '"../a",' * 30_000 + "]", '= "' * 100_000, "-" * 300_000 + "="):
        cm.with_outside_paths(config, move)


def test_an_export_leaves_out_what_names_a_file_that_isn_t_here_and_says_so(home: Home, codex: Path) -> None:
    outside = home.home / "shared"
    outside.mkdir()
    for name in ("here.md", "gone.md", "agent.toml"):
        (outside / name).touch()
    texts = {
        "config.toml": 'a_file = "../shared/here.md"\nb_file = "~/shared/gone.md"\n[agents.x]\n'
        'config_file = "../shared/agent.toml"\npath = "../shared/gone.md"\n',
        "fast.config.toml": 'model = "m"\nlog_dir = "x"\nc_file = "../shared/gone.md"\n',
    }
    old = home.home / ".codex"
    old.mkdir()
    for name, text in texts.items():
        (old / name).write_text(text)
    made = ask(home, "create", "work", "--settings-from", "~/.codex")
    assert made.code == 0 and "left out: log_dir of fast.config.toml" in made.err
    own = Path(cm.codex_home_of(clone_in(home, "work")))
    values = cm.config_values((own / "config.toml").read_text())
    assert values["a_file"] == f'"{outside}/here.md"' and values["b_file"] == f'"{outside}/gone.md"'
    ask(home, "export", "work", "-o", "x.tar.gz", cwd=home.base)
    (outside / "gone.md").unlink()
    (outside / "agent.toml").unlink()
    said = ask(home, "import", "x.tar.gz", "--name", "new", "--yes", cwd=home.base)
    assert said.code == 0 and "left out: b_file, agents.x.config_file, c_file of fast.config.toml" in said.err, said.err
    own = Path(cm.codex_home_of(clone_in(home, "new")))
    values = cm.config_values((own / "config.toml").read_text())
    assert "b_file" not in values and "agents.x.config_file" not in values
    assert values["a_file"] == f'"{outside}/here.md"' and values["agents.x.path"] == f'"{outside}/gone.md"'
    assert (own / "fast.config.toml").read_text().strip() == 'model = "m"'
