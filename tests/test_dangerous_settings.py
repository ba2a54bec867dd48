"""Dangerous settings: what settings from elsewhere run, send or unlock, and which secrets are in them."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest

from helpers import ACCESS_TOKEN, API_KEYS
from rooms import cm

RUNS, SENDS, UNLOCKS = "runs a program", "sends traffic elsewhere", "unlocks something"
# A text of config.toml, what it does, and the setting that says so; nothing where it is harmless.
SETTINGS: list[tuple[str, str, str]] = [
    ('notify = ["sh", "-c", "id"]', RUNS, "notify = sh -c id"),
    ('[mcp_servers.x]\ncommand = "curl"\nargs = ["evil"]', RUNS, "mcp_servers.x.args = evil"),
    ('mcp_servers.x.command = "curl"', RUNS, "mcp_servers.x.command = curl"),
    ('mcp_servers = { x = { command = "curl" } }', RUNS, "mcp_servers.x.command = curl"),
    ('[mcp_servers]\nx = {\n  "command" = """curl""", # why\n}', RUNS, "mcp_servers.x.command = curl"),
    ('[[hooks.PreToolUse]]\nmatcher = "x"\nhooks = [{ type = "command", command = "id" }]', RUNS, "command = id"),
    ('[hooks.state."/x:pre:0"]\ntrusted_hash = "sha256:1"', RUNS, "trusted_hash = sha256:1"),
    ('[profiles.p]\nnotify = ["x"]', RUNS, "profiles.p.notify = x"),
    ('[plugins."a@b"]\nenabled = true', RUNS, "plugins.a@b.enabled = true"),
    ('[marketplaces.m]\nsource = "https://x"', RUNS, "marketplaces.m.source"),
    ('[model_providers.m.auth]\ncommand = "id"', RUNS, "model_providers.m.auth.command = id"),
    ('[shell_environment_policy.set]\nLD_PRELOAD = "/x.so"', RUNS, "LD_PRELOAD"),
    ('zsh_path = "/tmp/zsh"', RUNS, "zsh_path"),
    ('tui.status_line_command = "id"', RUNS, "status_line_command"),
    ('model_provider = "evil"', SENDS, "model_provider = evil"),
    ('[model_providers.e]\nbase_url = "http://x"', SENDS, "model_providers.e.base_url = http://x"),
    ('model_providers.e = { requires_openai_auth = true }', SENDS, "requires_openai_auth = true"),
    ('[model_providers.e]\nname = "x"', SENDS, "model_providers.e.name"),
    ('chatgpt_base_url = "http://x"', SENDS, "chatgpt_base_url"),
    ('openai_base_url = "http://x"', SENDS, "openai_base_url"),
    ('"openai\\u005fbase_url" = "http://x"', SENDS, "openai_base_url"),
    ('experimental_realtime_ws_base_url = "ws://x"', SENDS, "experimental_realtime_ws_base_url"),
    ('[mcp_servers.x]\nurl = "https://x"\nbearer_token_env_var = "OPENAI_API_KEY"', SENDS, "bearer_token_env_var"),
    ('[otel.exporter.otlp-http]\nendpoint = "http://x"', SENDS, "otel.exporter.otlp-http.endpoint"),
    ("otel.log_user_prompt = true", SENDS, "otel.log_user_prompt"),
    ('features.network_proxy.proxy_url = "http://x"', SENDS, "proxy_url"),
    ('experimental_thread_config_endpoint = "http://x"', SENDS, "experimental_thread_config_endpoint"),
    ('sandbox_mode = "danger-full-access"', UNLOCKS, "sandbox_mode = danger-full-access"),
    ("sandbox_mode = 'workspace-write'", UNLOCKS, "sandbox_mode = workspace-write"),
    ('approval_policy = "never"', UNLOCKS, "approval_policy = never"),
    ("approval_policy.granular.rules = true", UNLOCKS, "approval_policy.granular.rules"),
    ('default_permissions = ":danger-no-sandbox"', UNLOCKS, "default_permissions"),
    ('[permissions.p.filesystem]\n"/" = "write"', UNLOCKS, "permissions.p.filesystem./ = write"),
    ("sandbox_workspace_write = { network_access = true }", UNLOCKS, "network_access = true"),
    ('[projects."/"]\ntrust_level = "trusted"', UNLOCKS, "projects./.trust_level = trusted"),
    ('projects = { "/a.b" = { trust_level = "trusted" } }', UNLOCKS, "projects./a.b.trust_level"),
    ('approvals_reviewer = "guardian_subagent"', UNLOCKS, "approvals_reviewer"),
    ('[apps.a]\ndefault_tools_approval_mode = "approve"', UNLOCKS, "default_tools_approval_mode"),
    ("[features]\nexec_permission_approvals = true", UNLOCKS, "features.exec_permission_approvals"),
    ("features.use_legacy_landlock = true", UNLOCKS, "features.use_legacy_landlock"),
    ("features = { remote_control = true }", UNLOCKS, "features.remote_control"),
    ("features.daemon_auto_start = true", UNLOCKS, "features.daemon_auto_start"),
    ("features.guardian_approval = false", UNLOCKS, "features.guardian_approval = false"),
    ("features.network_proxy.dangerously_allow_all_unix_sockets = true", UNLOCKS, "dangerously"),
    ('[profiles.p]\nsandbox_mode = "danger-full-access"', UNLOCKS, "profiles.p.sandbox_mode"),
    *((text, "", "") for text in (
        "", "# notify = ['x']", 'model = "gpt-5"', "notify = []", 'sandbox_mode = "read-only"',
        'approval_policy = "untrusted"', 'default_permissions = ":read-only"', 'model_provider = "openai"',
        "[projects.'/x']\ntrust_level = 'untrusted'", "[mcp_servers]", "features.apps = false",
        "features.guardian_approval = true", "[features]\nmemories = true\ndaemon_auto_start = false",
        "sandbox_workspace_write.network_access = false", "tui.notifications = true", "hide_agent_reasoning = true",
        'developer_instructions = """\nsandbox_mode = "danger-full-access"\n[mcp_servers.x]\ncommand = "id"\n"""',
        'otel.exporter = "none"', "[tui]\ntheme = 'dark'", '[plugins."a@b"]\nenabled = false',
    )),
]  # fmt: skip


@pytest.mark.parametrize("tomllib", [True, False], ids=["tomllib", "by hand"])
@pytest.mark.parametrize("file", ["config.toml", "fast.config.toml", "agents/x.toml", "deep/er/y.toml"])
def test_a_setting_that_runs_sends_or_unlocks_something_is_told_wherever_it_stands(
    monkeypatch: pytest.MonkeyPatch, file: str, tomllib: bool
) -> None:
    if not tomllib:
        monkeypatch.setitem(sys.modules, "tomllib", None)
    for config, does, says in SETTINGS:
        lines = cm.dangers_in({file: config.encode()})
        told = [line for line in lines if line.startswith(f"{file} {does}: ") and says in line]
        assert bool(told) == bool(lines) == bool(does), (config, lines)


def test_what_we_write_ourselves_is_no_danger() -> None:
    assert cm.dangers_in({"config.toml": cm.NEW_CONFIG.encode()}) == ()
    held = cm.with_feature_off(cm.with_pin_settings('model = "x"\n', True).encode())
    assert cm.dangers_in({"config.toml": held}) == ()


HOOK = {"hooks": {"SessionStart": [{"hooks": [{"type": "command", "command": "id"}]}]}}
FILES: list[tuple[str, bytes, str]] = [
    ("hooks.json", json.dumps(HOOK).encode(), "hooks.json runs a program: hooks.SessionStart.hooks.command = id"),
    ("hooks.json", b"{", "hooks.json runs a program"),
    ("hooks.json", b"{}", ""),
    ("rules/default.rules", b'prefix_rule(pattern=["rm"], decision="allow")\n', "rules/default.rules may let commands"),
    ("rules/a/b", b"x", "rules/a/b may let commands"),
    ("rules/default.rules", b"", ""),
    ("environments.toml", b'[[environments]]\nid = "x"\nurl = "ws://x"\n', "environments.toml runs a program"),
    ("auth.json", json.dumps({"OPENAI_API_KEY": API_KEYS[0]}).encode(), "a login: API key sk-…aaaa; the clone would"),
    ("auth.json", b"{", "a login: unknown"),
    ("auth.json", b"{}", ""),
    ("config.toml", b"\xff = 1\nsandbox_mode = 'danger-full-access'", "config.toml unlocks something"),
    ("config.toml", b"\xef\xbb\xbfsandbox_mode = 'danger-full-access'", "config.toml unlocks something"),
    ("config.toml", b"x = 1\nx = 2\nsandbox_mode = 'danger-full-access'", "config.toml unlocks something"),
]


@pytest.mark.parametrize(("file", "content", "says"), FILES)
def test_each_file_is_judged_in_its_own_way(file: str, content: bytes, says: str) -> None:
    lines = cm.dangers_in({file: content})
    assert bool(lines) == bool(says) and all(says in line for line in lines)


def test_secrets_are_named_and_never_shown() -> None:
    config = f"""
[mcp_servers.x]
command = "x"
env = {{ TOKEN = "{ACCESS_TOKEN}" }}
http_headers.Authorization = "{ACCESS_TOKEN}"
[model_providers.y]
experimental_bearer_token = "{API_KEYS[0]}"
[otel.exporter.otlp-http.headers]
x-api-key = "{API_KEYS[0]}"
[shell_environment_policy.set]
MY_TOKEN = "{API_KEYS[0]}"
[mcp_servers.z]
bearer_token_env_var = "TOKEN"
env_http_headers = {{ A = "B" }}
"""
    files = {"config.toml": config.encode(), "agents/a.toml": b"[mcp_servers.w.env]\nA = 'b'\n"}
    assert set(cm.secrets_in(files)) == {
        *("mcp_servers.x.env.TOKEN", "mcp_servers.x.http_headers.Authorization", "mcp_servers.w.env.A"),
        *("model_providers.y.experimental_bearer_token", "otel.exporter.otlp-http.headers.x-api-key"),
        "shell_environment_policy.set.MY_TOKEN",
    }
    shown = "".join(cm.dangers_in(files))
    assert ACCESS_TOKEN not in shown and API_KEYS[0] not in shown


def test_a_flood_of_settings_is_told_in_few_lines_or_refused() -> None:
    flood = "".join(f"[mcp_servers.x{number}]\ncommand = 'y'\n" for number in range(300))
    lines = cm.dangers_in({"config.toml": flood.encode()})
    assert len(lines) == 41 and lines[-1] == "and 260 settings more of that kind"
    refused: list[Any] = ["".join(f"x{number} = 1\n" for number in range(10_002)), f"{'x' * 1001} = 1"]
    for config in refused:
        with pytest.raises(cm.MirrorError, match="more than 10,000 settings, or a name of more than 1,000 letters"):
            cm.dangers_in({"config.toml": config.encode()})
