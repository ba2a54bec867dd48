"""The fake Codex says and leaves what the real one does: the same tables against both."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest

from helpers import API_KEYS, NPM_MTIME, TRIPLE, Home, Result, fake_codex, npm_install, overheard, run, tree


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.real)])
def codex_home(request: pytest.FixtureRequest, home: Home) -> Path:
    """An empty CODEX_HOME, with a Codex on the PATH of `home`."""
    request.getfixturevalue("codex" if request.param == "fake" else "real_codex_on_path")
    directory = home.home / ".codex"
    directory.mkdir()
    home.env["CODEX_HOME"] = str(directory)
    return directory


@pytest.fixture
def real_codex_on_path(home: Home, real_codex: Path) -> None:
    node = shutil.which("node")
    home.put_on_path(real_codex.parent, *([Path(node).parent] if node else []))


def codex_says(home: Home, *args: str, **more: str) -> Result:
    """As `codex ARGS` in this home's PATH, in CODEX_HOME; `more` is added to the environment."""
    stdin = more.pop("stdin", None)
    cwd = home.home
    return run(["/usr/bin/env", "codex", *args], env={**home.env, **more}, stdin=stdin, cwd=cwd)


def test_the_version_is_the_only_thing_on_stdout(home: Home, codex_home: Path) -> None:
    result = codex_says(home, "--version")
    assert (result.code, result.err) == (0, "")
    assert re.fullmatch(r"codex-cli \d+\.\d+\.\d+\n", result.out)


def test_a_start_leaves_an_alias_that_leads_to_the_native_binary(home: Home, codex_home: Path) -> None:
    codex_says(home, "--version")
    [alias] = codex_home.glob("tmp/arg0*/codex-arg0*/apply_patch")
    assert alias.readlink().parts[-3:] == (TRIPLE, "bin", "codex")
    assert (alias.readlink().parent.parent / "codex-package.json").exists()


def test_below_tmpdir_it_warns_and_leaves_no_alias(home: Home, codex_home: Path) -> None:
    result = codex_says(home, "--version", TMPDIR=str(home.base))
    assert result.code == 0 and result.err.startswith("WARNING: proceeding, even though")
    assert not list(codex_home.glob("tmp/arg0*/*"))


LOGIN_STATES = [
    ("nothing stored", None, "Not logged in", 1),
    ("a key", f'{{"OPENAI_API_KEY": "{API_KEYS[0]}"}}', "API key configured - sk-proj-***aaaaa", 0),
    ("a short key", '{"OPENAI_API_KEY": "sk-x"}', "API key configured - ***", 0),
    ("an empty object", "{}", "Logged in using ChatGPT", 0),
    ("a torn file", '{"tokens": ', "Error checking login status: failed to deserialize", 1),
    ("an empty file", "", "Error checking login status: failed to deserialize", 1),
    ("not an object", "[1]", "Error checking login status: failed to deserialize", 1),
]


@pytest.mark.parametrize(("state", "stored", "says", "code"), LOGIN_STATES, ids=[row[0] for row in LOGIN_STATES])
def test_login_status(home: Home, codex_home: Path, state: str, stored: str | None, says: str, code: int) -> None:
    if stored is not None:
        (codex_home / "auth.json").write_text(stored)
    result = codex_says(home, "login", "status")
    assert (result.code, result.out) == (code, "")
    assert result.err.startswith(says)


def test_login_status_of_a_directory_is_an_error(home: Home, codex_home: Path) -> None:
    (codex_home / "auth.json").mkdir()
    result = codex_says(home, "login", "status")
    assert result == Result(1, "", "Error checking login status: Is a directory (os error 21)\n")


def test_an_access_token_in_the_environment_overrides_what_is_stored(home: Home, codex_home: Path) -> None:
    (codex_home / "auth.json").write_text("{}")
    result = codex_says(home, "login", "status", CODEX_ACCESS_TOKEN="not-a-jwt")
    assert result.code == 1 and result.err.startswith("Error checking login status: ")


def test_a_key_is_stored_for_its_owner_alone_and_logout_removes_it(home: Home, codex_home: Path) -> None:
    login = codex_says(home, "login", "--with-api-key", stdin=API_KEYS[0])
    assert (login.code, login.out) == (0, "")
    assert tree(codex_home)["auth.json"][:2] == ("file", "0o600")
    assert codex_says(home, "login", "status").code == 0
    logout = codex_says(home, "logout")
    assert logout == Result(0, "", "Successfully logged out\n")
    assert not (codex_home / "auth.json").exists()
    assert codex_says(home, "logout") == Result(0, "", "Not logged in\n")


def test_a_login_with_an_empty_key_fails(home: Home, codex_home: Path) -> None:
    result = codex_says(home, "login", "--with-api-key", stdin="")
    assert result.code == 1 and result.err.endswith("No API key provided via stdin.\n")


CONFIG_EDITS = [
    ("no file", None, "[features]\ndaemon_auto_start = false\n"),
    ("a table", "a = 1\n[features]\napps = true\n\n[x]\ny = 1\n", "apps = true\ndaemon_auto_start = false\n\n[x]"),
    ("the key", "[features]\ndaemon_auto_start = true\n", "[features]\ndaemon_auto_start = false\n"),
    ("dotted", "features.apps = true\n", "features.apps = true\nfeatures.daemon_auto_start = false\n"),
]


@pytest.mark.parametrize(("state", "before", "after"), CONFIG_EDITS, ids=[row[0] for row in CONFIG_EDITS])
def test_features_disable(home: Home, codex_home: Path, state: str, before: str | None, after: str) -> None:
    config = codex_home / "config.toml"
    if before is not None:
        config.write_text(before)
    result = codex_says(home, "features", "disable", "daemon_auto_start")
    assert result == Result(0, "Disabled feature `daemon_auto_start` in config.toml.\n", "")
    assert after in config.read_text()
    listed = codex_says(home, "features", "list").out.splitlines()
    assert [line.split()[-1] for line in listed if line.startswith("daemon_auto_start ")] == ["false"]


def test_an_unknown_feature_fails(home: Home, codex_home: Path) -> None:
    result = codex_says(home, "features", "disable", "nosuch")
    assert result == Result(1, "", "Error: Unknown feature flag: nosuch\n")


BROKEN_CONFIGS = ["broken\n", "a = 1\na = 2\n", "features.apps = true\n[features]\nhooks = true\n"]


@pytest.mark.parametrize("text", BROKEN_CONFIGS)
def test_a_broken_config_stops_all_but_the_version(home: Home, codex_home: Path, text: str) -> None:
    (codex_home / "config.toml").write_text(text)
    result = codex_says(home, "login", "status")
    assert result.code == 1 and result.err.startswith("Error loading configuration: ")
    assert codex_says(home, "--version").code == 0


@pytest.mark.parametrize("kind", ["missing", "a file"])
def test_without_its_home_all_but_the_version_fails(home: Home, codex_home: Path, kind: str) -> None:
    elsewhere = home.base / "elsewhere"
    if kind == "a file":
        elsewhere.touch()
    result = codex_says(home, "login", "status", CODEX_HOME=str(elsewhere))
    assert result.code == 1 and "\nError loading configuration: CODEX_HOME points to " in result.err
    assert codex_says(home, "--version", CODEX_HOME=str(elsewhere)).code == 0


def test_an_older_fake_speaks_as_the_older_codex(home: Home) -> None:
    old = fake_codex(home.base / "old", "0.154.0") / "bin" / "codex"
    env = {**home.env, "CODEX_HOME": str(home.home)}
    (home.home / "auth.json").write_text(f'{{"OPENAI_API_KEY": "{API_KEYS[0]}"}}')
    assert run([old, "login", "status"], env=env).err == "Logged in using an API key - sk-proj-***aaaaa\n"
    assert run([old, "features", "disable", "daemon_auto_start"], env=env).code == 1


def test_the_fake_hands_back_every_byte_it_was_given(home: Home) -> None:
    fake = fake_codex(home.base / "package") / "bin" / "codex"
    argv = [b"exec", b"", b"a b", b'"$(x)"\n', b"\xff\xfe", b"--"]
    result = run([fake, *argv], env={**home.env, "FAKE_CODEX_SHOW": "ODD", "ODD": "a\nb="}, cwd=home.home)
    heard = overheard(result.out)
    assert (result.code, heard.argv, heard.cwd) == (0, argv, str(home.home))
    assert heard.env["ODD"] == "a\nb=" and heard.env["PATH"] == home.env["PATH"]
    assert "CODEX_HOME" not in heard.env


def test_the_fake_ends_as_it_is_told(home: Home) -> None:
    fake = fake_codex(home.base / "package") / "bin" / "codex"
    assert run([fake, "exit", "7"], env=home.env).code == 7
    assert run([fake, "signal", "TERM"], env=home.env).code == -15
    assert run([fake, "cat"], env=home.env, stdin=b"\xff\n").out == os.fsdecode(b"\xff\n")


def test_two_versions_can_be_told_apart_by_their_bytes_alone(home: Home) -> None:
    first, second = (npm_install(home.base / v, fake_codex(home.base / f"p{v}", v)) for v in ("0.169.0", "0.170.0"))
    stats = [os.stat(link.resolve().parent.parent / "package.json") for link in (first, second)]
    assert [(s.st_size, s.st_mtime) for s in stats] == [(stats[0].st_size, NPM_MTIME)] * 2
    assert run([first, "--version"], env=home.env).out != run([second, "--version"], env=home.env).out
