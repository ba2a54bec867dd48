"""The pin holds: no version of Codex that is used in a clone brings another one in, on a real screen too."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers import API_KEYS, tree, wait_until
from real.installers import Installs, uninstalled
from real.kit import House, a_house, answer_until, forge_newer_version, on_screen, quit_codex

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks for processes through /proc"),
]
needs_tmux = pytest.mark.skipif(shutil.which("tmux") is None, reason="needs tmux")

VERSIONS = {"installed": "", "0.154.0": "npm-0.154", "0.120.0": "npm-0.120"}


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    """A house without clones."""
    with a_house() as house:
        yield house


@pytest.fixture(scope="module", params=VERSIONS)
def name(request: pytest.FixtureRequest, house: House, installs: Installs) -> Iterator[str]:
    """A clone of each version in turn, logged in; its name tells the version."""
    installer = VERSIONS[request.param]
    options = []
    if installer:
        if not shutil.which("npm"):
            pytest.skip("needs npm, and a package registry that it can reach")
        try:
            options = ["--from", installs(installer).package]
        except AssertionError as error:
            pytest.skip(f"npm can't install Codex {request.param}: {str(error).splitlines()[0]}")
    name = f"v{request.param}"
    house.create(name, *options)
    yield name
    house.mirror("remove", name, "--yes", "--force", check=True)


# What tells a Codex that npm started it; the wrapper hides them, and with `--keep-env` only the settings hold.
BY_NPM = {"CODEX_MANAGED_BY_NPM": "1", "CODEX_MANAGED_PACKAGE_ROOT": "/nowhere"}


@needs_tmux
@pytest.mark.parametrize("hidden", [False, True], ids=["kept", "hidden"])
def test_a_session_on_the_screen_leaves_no_process_no_copy_and_offers_no_update(
    house: House, name: str, hidden: bool
) -> None:
    option = "--no-keep-env" if hidden else "--keep-env"
    house.mirror("set", name, *(word for variable in BY_NPM for word in (option, variable)), check=True)
    version = house.rows()[name]["codexVersionPinned"]
    codex_home = house.codex_home(name)
    runtime = tree(house.base_of(name) / "runtime")
    forge_newer_version(codex_home)
    with on_screen(house.home, name, house.home.home, **BY_NPM) as screen:
        answer_until(screen, f"OpenAI Codex (v{version})")
        screen.press("/status", "Enter")
        answer_until(screen, str(house.home.home))
        wait_until(lambda: len(house.running(name)) == 1, "one Codex alone")
        quit_codex(screen)
    assert not any("9.9.9" in frame or "pdate available" in frame for frame in screen.frames)
    assert house.running() == {}
    assert not (codex_home / "packages").exists()
    assert os.listdir(codex_home / "app-server-daemon") == ["settings.json"]
    assert tree(house.base_of(name) / "runtime") == runtime


@needs_tmux
def test_without_our_settings_it_would_have_offered_that_update(house: House) -> None:
    """Shows that the test above can fail: the very same Codex, installed and not pinned."""
    codex_home = house.home.home / "unpinned"
    codex_home.mkdir()
    (codex_home / "auth.json").write_text(json.dumps({"auth_mode": "apikey", "OPENAI_API_KEY": API_KEYS[0]}))
    forge_newer_version(codex_home)
    with house.installed() as env:
        env |= {"CODEX_HOME": str(codex_home)}
        with on_screen(house.home, "codex --no-daemon", house.home.home, **env) as screen:
            screen.expect("9.9.9")


def test_codex_update_in_a_clone_touches_nothing(house: House, name: str) -> None:
    calls = house.home.base / "calls"
    spies = house.home.base / "spies"
    spies.mkdir(exist_ok=True)
    for tool in ("npm", "pnpm", "bun", "brew", "curl"):
        (spies / tool).write_text(f'#!/bin/sh\necho "$0 $*" >>{calls}\n')
        (spies / tool).chmod(0o755)
    before = tree(uninstalled(house.prefix)), tree(house.base_of(name) / "runtime")
    with house.installed() as env:
        env |= {"PATH": f"{spies}:{env['PATH']}", "CODEX_MANAGED_BY_NPM": "1"}
        env |= {"CODEX_MANAGED_PACKAGE_ROOT": str(house.prefix / "lib/node_modules/@openai/codex")}
        assert house.codex(name, "update", env=env).code != 0
        assert house.mirror("run", name, "update", env=env).code != 0
    assert (tree(uninstalled(house.prefix)), tree(house.base_of(name) / "runtime")) == before
    assert not calls.exists()


FOREIGN_SETTINGS = {
    "nothing": "",
    "a comment": "# mine\n",
    "a table": "[features]\napps = false\n\n[tui]\nnotifications = true\n",
    "a table that says the contrary": "[features]\ndaemon_auto_start = true # please\n",
    "dotted keys": 'model = "gpt-5"\nfeatures.apps = false\n',
    "a dotted key that says the contrary": "features.daemon_auto_start = true\n",
    "an inline table": "features = { apps = false }\n",
    "the keys of the pin with other values": (
        'check_for_update_on_startup = true\ncli_auth_credentials_store = "keyring"\n'
        'mcp_oauth_credentials_store = "auto"\n'
    ),
    "our keys in somebody's table": '[profiles.x]\nmodel = "gpt-5"\n\n[mcp_servers.x]\ncommand = "true"\n',
    "a forced workspace": 'forced_chatgpt_workspace_id = "ws"\nforced_login_method = "chatgpt"\nmodel = "gpt-5"\n',
    "trusted projects": '[projects."/tmp/a b"]\ntrust_level = "trusted"\n',
    "arrays and long texts": 'notify = [\n  "a",\n  "b",\n]\ndeveloper_instructions = """\n[features]\nx = 1\n"""\n',
    "no newline at the end": "[tui]\nnotifications = true",
    "CRLF": 'model = "gpt-5"\r\n\r\n[tui]\r\nnotifications = true\r\n',
}


@pytest.mark.parametrize("case", FOREIGN_SETTINGS)
def test_settings_from_elsewhere_load_in_codex_and_hold_the_pin(house: House, name: str, case: str) -> None:
    source = house.home.home / "their settings"
    source.mkdir(exist_ok=True)
    (source / "config.toml").write_bytes(FOREIGN_SETTINGS[case].encode())
    before = tree(source)
    house.mirror("set", name, "--settings-from", source, check=True)
    assert tree(source) == before
    status = house.codex(name, "login", "status", cwd=house.codex_home(name))
    assert status.code == 0 and "***aaaaa" in status.err, "it still loads, and is still logged in"
    features = house.codex(name, "features", "list", cwd=house.codex_home(name))
    assert features.code == 0
    told = {line.split()[0]: line.split()[-1] for line in features.out.splitlines() if line.strip()}
    assert told.get("daemon_auto_start", "false") == "false"
    if "apps = false" in FOREIGN_SETTINGS[case]:
        assert told["apps"] == "false", "theirs stays"
    config = (house.codex_home(name) / "config.toml").read_text()
    assert "forced_" not in config
    for line in ("check_for_update_on_startup = false", 'cli_auth_credentials_store = "file"'):
        assert config.count(line) == 1
    assert 'model = "gpt-5"' in config or "gpt-5" not in FOREIGN_SETTINGS[case]
    assert not [one for one in house.mirror("doctor", name, "--json").json()[0]["problems"] if one["id"] == "pin-loose"]


@pytest.mark.parametrize(
    "config", ["oops\n", "model = 3\n", "a = 1\na = 2\n"], ids=["no TOML", "a wrong type", "a key twice"]
)
def test_settings_that_codex_could_not_load_are_refused(house: House, name: str, config: str) -> None:
    source = house.home.home / "broken settings"
    source.mkdir(exist_ok=True)
    (source / "config.toml").write_text(config)
    before = (house.codex_home(name) / "config.toml").read_bytes()
    result = house.mirror("set", name, "--settings-from", source)
    assert (result.code, result.out) == (5, "") and result.err
    assert (house.codex_home(name) / "config.toml").read_bytes() == before
    assert house.codex(name, "login", "status").code == 0


def test_a_file_outside_of_its_home_that_settings_name_is_read_in_a_clone_and_told_by_its_own_name(
    house: House,
) -> None:
    top = house.home.home / "dots"
    (top / "codex").mkdir(parents=True)
    files = {"model_instructions_file": "../how to.md", "experimental_compact_prompt_file": "~/dots/compact.md"}
    (top / "codex" / "config.toml").write_text("".join(f'{key} = "{path}"\n' for key, path in files.items()))
    for missing in ("how to.md", "compact.md", ""):
        with house.installed() as env:
            said = house.mirror("create", "named", "--settings-from", top / "codex", env=env, timeout=300)
        assert (said.code != 0) == bool(missing) and (not missing or f"{top}/{missing}" in said.err), said.err
        (top / (missing or "x")).write_text("be kind\n")
    try:
        assert "Not logged in" in house.codex("named", "login", "status").err
    finally:
        house.mirror("remove", "named", "--yes", check=True)


def test_update_and_rollback_between_real_versions_keep_the_login(house: House, name: str) -> None:
    version = house.rows()[name]["codexVersionPinned"]
    with house.installed() as env:
        updated = house.mirror("update", name, env=env, timeout=300)
    newest = house.rows()[name]["codexVersionPinned"]
    if newest == version:
        assert updated.out == f"{name}: already at {version}\n"
        return
    assert updated.out == f"{name}: {version} → {newest}\n"
    for words, expected in (([], newest), (["rollback"], version), (["rollback"], newest), (["rollback"], version)):
        for verb in words:
            house.mirror(verb, name, check=True)
        assert house.codex(name, "--version").out == f"codex-cli {expected}\n"
        assert "***aaaaa" in house.codex(name, "login", "status").err
    assert len(list((house.base_of(name) / "runtime").iterdir())) == 2
    assert Path(house.rows()[name]["runtimePath"]).name.startswith(version)
