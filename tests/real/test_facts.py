"""What we assume of Codex, one test each, to be run against any Codex: `make facts CODEX=COMMAND`, or npm's newest."""

from __future__ import annotations

import contextlib
import fcntl
import json
import mmap
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from mock_model import MockModel, mock_model

from helpers import API_KEYS, Result, discard, finish, run, start, wait_until
from real.kit import House, Screen, a_house, answer_until, forge_newer_version, is_running, on_screen, running_below
from rooms import cm

pytestmark = [pytest.mark.real, pytest.mark.once]
needs_tmux = pytest.mark.skipif(shutil.which("tmux") is None, reason="needs tmux")
MAIN_SCREEN, COMMAND_CENTER, DISTRUSTED = "OpenAI Codex (v", "Agent command center", "Open restricted"


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    """A house with the clone `work`, logged in with the first key."""
    with a_house() as house:
        house.create("work")
        yield house


@pytest.fixture(scope="module")
def model() -> Iterator[MockModel]:
    with mock_model() as model:
        yield model


class Bare(dict[str, str]):
    """The environment of the native Codex with nothing of ours around it, its program and its home."""

    codex: Path
    codex_home: Path

    def __call__(self, *words: Any, env: dict[str, str] | None = None, **more: Any) -> Result:
        return run([self.codex, *words], env={**self, **(env or {})}, **{"cwd": "/", **more})


@pytest.fixture
def bare(house: House) -> Iterator[Bare]:
    """The pinned binary itself, in a new home that knows neither our settings nor a login."""
    home = house.home.base / "bare"
    (home / ".codex").mkdir(parents=True)
    bare = Bare(HOME=str(home), CODEX_HOME=str(home / ".codex"), TMPDIR=house.home.env["TMPDIR"], PATH="/usr/bin:/bin")
    bare.codex, bare.codex_home = Path(house.rows()["work"]["runtimeEntryPath"]), home / ".codex"
    yield bare
    for pid in running_below(home):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, 9)
    wait_until(lambda: not running_below(home), "what it started ended")
    discard(home)


def log_in(bare: Bare) -> None:
    assert bare("login", "--with-api-key", stdin=API_KEYS[0]).code == 0


def our_settings(bare: Bare) -> None:
    """The settings of a new clone."""
    (bare.codex_home / "config.toml").write_bytes(cm.NEW_CONFIG.encode())
    (bare.codex_home / "app-server-daemon").mkdir()
    (bare.codex_home / "app-server-daemon/settings.json").write_bytes(cm.UPDATER_SETTINGS)


# --- the package ---


def test_a_package_is_whole_with_the_helpers_that_we_know_and_has_no_others(house: House) -> None:
    package = Path(os.environ["CODEX_MIRROR_TEST_CODEX"])
    found = cm.package_of_command(str(package))
    assert found and (found.missing, found.entry) == ((), "bin/codex")
    assert sorted(os.listdir(f"{found.package}/bin")) == ["codex", "codex-code-mode-host"]
    tops = {"bin", "codex-package.json", "codex-path", "codex-resources"}
    assert set(os.listdir(found.package)) == tops and os.listdir(f"{found.package}/codex-path") == ["rg"]


def test_every_start_leaves_a_link_that_betrays_the_binary_and_is_locked_while_it_runs(bare: Bare) -> None:
    running = start([bare.codex, "app-server"], env=bare, cwd="/", stdin=-1)
    try:
        wait_until(lambda: list(bare.codex_home.glob("tmp/arg0*/codex-arg0*/apply_patch")), "its link is there")
        [link] = bare.codex_home.glob("tmp/arg0*/codex-arg0*/apply_patch")
        assert cm.binary_of_probe(str(bare.codex_home)) == str(link.readlink()) == os.path.realpath(bare.codex)
        with open(link.parent / ".lock") as lock, pytest.raises(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        assert cm.is_codex_elsewhere(str(bare.codex_home), []) and not cm.is_codex_elsewhere(
            str(bare.codex_home), [running.pid]
        )
    finally:
        finish(running, stdin=b"")
    assert not cm.is_codex_elsewhere(str(bare.codex_home), [])


# --- settings ---

NAMES = [
    *cm.PIN_SETTINGS,
    f"features.{cm.PIN_FEATURE}",
    *("sqlite_home", "log_dir", "forced_login_method", "forced_chatgpt_workspace_id", "model_instructions_file"),
    'projects."/x".trust_level',
]


@pytest.mark.parametrize("name", NAMES)
def test_a_setting_that_we_write_or_drop_is_known_by_that_name(bare: Bare, name: str) -> None:
    """One that it doesn't know may have any value."""
    (bare.codex_home / "config.toml").write_text(f"{name} = 1.5\n")
    result = bare("login", "status")
    assert result.code == 1 and "Error loading configuration" in result.err, result.err
    (bare.codex_home / "config.toml").write_text("unknown_to_anybody = 1.5\n")
    assert "Not logged in" in bare("login", "status").err


def test_it_can_be_told_to_start_no_server(bare: Bare) -> None:
    assert "Not logged in" in bare(cm.NO_DAEMON, "login", "status").err
    assert "unexpected argument" in bare("--no-such-option", "login", "status").err


# --- logins ---

TOKENS = {"id_token": "e30.e30.x", "access_token": "e30.e30.x", "refresh_token": "x", "account_id": "a"}
LOGINS: list[tuple[str, Any, str]] = [
    ("nothing", None, "Not logged in"),
    ("a key", {"OPENAI_API_KEY": API_KEYS[0]}, "API key configured - sk-proj-***aaaaa"),
    ("a key by its mode", {"auth_mode": "apikey", "OPENAI_API_KEY": API_KEYS[0]}, "API key configured - "),
    ("tokens", {"auth_mode": "chatgpt", "tokens": TOKENS}, "Logged in using ChatGPT"),
    ("both, without a mode", {"OPENAI_API_KEY": API_KEYS[0], "tokens": TOKENS}, "API key configured"),
    ("both, by tokens", {"auth_mode": "chatgpt", "OPENAI_API_KEY": API_KEYS[0], "tokens": TOKENS}, "Logged in using"),
    ("both, by the key", {"auth_mode": "apikey", "OPENAI_API_KEY": API_KEYS[0], "tokens": TOKENS}, "API key"),
    ("tokens that are missing", {"auth_mode": "chatgpt", "OPENAI_API_KEY": API_KEYS[0]}, "Logged in using ChatGPT"),
    ("a key that is missing", {"auth_mode": "apikey", "tokens": TOKENS}, "Error checking login status"),
    ("keys that are missing", {"auth_mode": "bedrockAccessKeys", "tokens": TOKENS}, "Error checking login status"),
    ("an empty object", {}, "Logged in using ChatGPT"),
    ("no object", [1], "Error checking login status"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "login", "said"), LOGINS, ids=[row[0] for row in LOGINS])
def test_a_login_is_told_on_stderr_in_the_words_that_we_know(bare: Bare, kind: str, login: Any, said: str) -> None:
    if login is not None:
        (bare.codex_home / "auth.json").write_text(json.dumps(login))
    result = bare("login", "status")
    assert (result.code, result.out) == (0 if "Not" not in said and "Error" not in said else 1, "")
    assert result.err.startswith(said), result.err
    account = cm.account_in_file(str(bare.codex_home / "auth.json"))
    assert (account.kind == "unknown") == said.startswith("Error") and (account.kind == "none") == (not login), account


PREFIXES = "CODEX|OPENAI|SPIFFE|CHATGPT"


def names_in(binary: Path) -> list[str]:
    """Every variable whose name may be in the program. Texts lie in it without an end, one behind the other, so that
    each beginning of such a row may be one; a short one is in the code, eight letters at a time that may overlap."""
    found = set()
    with open(binary, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for row in re.finditer(rf"(?:{PREFIXES})_[A-Z0-9_]+".encode(), data):
            text = row[0].decode()
            for start_of_name in re.finditer(rf"(?={PREFIXES}_)", text):
                name = text[start_of_name.start() :][:64]
                found |= {name[:end] for end in range(8, len(name) + 1)}
            if len(text) >= 8:
                pieces = re.findall(rb"[A-Z0-9_]{2,8}", data[row.start() + 8 : row.start() + 72])
                rests = {rest for piece in pieces for rest in (piece.decode(), piece.decode()[:-1])}
                joined = (
                    (text[: 8 - size], rest) for rest in rests for size in range(8) if text[8 - size : 8] == rest[:size]
                )
                found |= {head + rest for head, rest in joined if rest}
    return sorted(found - {"CODEX_HOME"})


def who_change(names: Sequence[str], is_changed: Callable[[Sequence[str]], bool]) -> Iterator[str]:
    """Those of the names that change the answer, each on its own; found by halves."""
    if names and is_changed(names):
        half = len(names) // 2
        if half:
            yield from who_change(names[:half], is_changed)
            yield from who_change(names[half:], is_changed)
        else:
            yield names[0]


@pytest.mark.parametrize("login", ["a key", "tokens", "nothing"])
def test_no_variable_that_we_don_t_hide_changes_who_is_logged_in(bare: Bare, login: str) -> None:
    stored = {kind: stored for kind, stored, _ in LOGINS}[login]
    if stored:
        (bare.codex_home / "auth.json").write_text(json.dumps(stored))
    names, answer = names_in(bare.codex), bare("login", "status")
    assert {"CODEX_ACCESS_TOKEN", "CODEX_API_KEY", "OPENAI_FEDERATION_RULE_ID"} <= {*names}, "the search finds names"

    def is_changed(some: Sequence[str]) -> bool:
        return bare("login", "status", env=dict.fromkeys(some, "junk")) != answer

    found = {*who_change(names, is_changed)}
    assert found <= {*cm.LOGIN_VARIABLES}
    assert "CODEX_ACCESS_TOKEN" in found


# --- a session ---

TOOL_SHELL = "env | grep -E '^(CODEX|OPENAI|CHATGPT)_' | sed 's/=.*//' | sort | tr '\\n' ' '"
# What a tool shell has besides what clones don't see: it says nothing of a login or a session.
IN_TOOL_SHELLS = {
    "CODEX_HOME",
    "CODEX_VERSION",
    "CODEX_APPLY_PATCH_PRESERVE_LINE_ENDINGS",
    "CODEX_PERMISSION_PROFILE",
    "CODEX_SANDBOX",
    "CODEX_SANDBOX_NETWORK_DISABLED",
}
LEFT_BY_SESSIONS = (
    r"auth\.(json\.)?lock|config\.toml|installation_id|version\.json|history\.jsonl|models_cache\.json|session_index\.jsonl"
    r"|[a-z_]+_\d+\.sqlite(-shm|-wal)?|\.tmp|tmp|log|skills|sessions|shell_snapshots|memories|cache|rules|plugins"
    r"|\.(personality|sandbox)_migration|app-server-control|thread-writer-locks|daily-usage.*"
)


@pytest.fixture(scope="module")
def session(house: House, model: MockModel) -> Iterator[tuple[Path, Result, MockModel]]:
    """One turn of `exec` with one tool call, in a home of its own: that, what it said, and the model."""
    home = house.home.base / "session"
    (home / ".codex").mkdir(parents=True)
    (home / ".codex/config.toml").write_text(model.config)
    env = {
        "HOME": str(home),
        "CODEX_HOME": str(home / ".codex"),
        "TMPDIR": house.home.env["TMPDIR"],
        "PATH": "/usr/bin:/bin",
    }
    model.commands = [TOOL_SHELL]
    binary = house.rows()["work"]["runtimeEntryPath"]
    words = ["exec", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox", "work on it"]
    yield home / ".codex", run([binary, *words], env=env, cwd=home), model


def test_a_tool_call_runs_and_its_shell_has_no_variable_that_we_don_t_know(session: Any) -> None:
    _, result, model = session
    assert (result.code, result.out) == (0, "done\n"), result
    [names] = model.outputs
    assert "CODEX_HOME" in names.split(), names
    assert {*names.split()} <= {*cm.HIDDEN_VARIABLES} | IN_TOOL_SHELLS


def test_a_session_leaves_no_file_that_we_don_t_know(session: Any) -> None:
    codex_home, _, _ = session
    assert [name for name in sorted(os.listdir(codex_home)) if not re.fullmatch(LEFT_BY_SESSIONS, name)] == []


def test_a_session_s_file_begins_with_what_we_read_of_it(session: Any) -> None:
    codex_home, _, _ = session
    [rollout] = codex_home.glob("sessions/*/*/*/rollout-*.jsonl")
    lines = [json.loads(line) for line in rollout.read_text().splitlines()]
    assert all({"timestamp", "type", "payload"} <= line.keys() for line in lines)
    assert lines[0]["type"] == "session_meta"
    meta = cm.meta_in(rollout.read_bytes()[: cm.META_HEAD])
    assert meta.id == lines[0]["payload"]["id"] and rollout.stem.endswith(meta.id)
    assert meta.cwd == str(codex_home.parent) and re.match(r"\d+\.\d+\.\d+", lines[0]["payload"]["cli_version"])
    counts = [line for line in lines if line["payload"].get("type") == "token_count"]
    assert counts and all({"info", "rate_limits"} <= line["payload"].keys() for line in counts)


# --- the server and the update prompt ---


@contextlib.contextmanager
def screen_of(house: House, command: str, env: dict[str, str] | None = None, cwd: Path = Path("/")) -> Iterator[Screen]:
    with on_screen(house.home, command, cwd, **(env or {})) as screen:
        yield screen


def pid_in(path: Path) -> int:
    with contextlib.suppress(OSError, ValueError):
        return json.loads(path.read_text())["pid"]
    return 0


@needs_tmux
@pytest.mark.parametrize("command", ["", "agents"], ids=["the screen", "agents"])
def test_without_our_doing_it_starts_a_server_that_leaves_its_pid(house: House, bare: Bare, command: str) -> None:
    """Shows that the test after it can fail. For `agents` our settings are not enough."""
    log_in(bare)
    our_settings(bare) if command else None
    daemon = bare.codex_home / "app-server-daemon"
    with screen_of(house, f"{bare.codex} {command}", bare):
        wait_until(lambda: is_running(pid_in(daemon / "daemon.pid")), "the server runs")
        if not command:
            wait_until(lambda: is_running(pid_in(daemon / "daemon-updater.pid")), "its updater runs")
    pids = running_below(bare.codex_home)
    assert pid_in(daemon / "daemon.pid") in pids
    package = cm.package_of_binary(cm.program_of(pid_in(daemon / "daemon.pid")))
    assert (package.version, package.missing) == (bare("--version").out.split()[-1], ())


@needs_tmux
@pytest.mark.parametrize(
    "words", [["work"], ["work", "agents"], ["codex-mirror", "run", "work", "agents"]], ids=" ".join
)
def test_a_clone_starts_no_server_and_shows_no_update(house: House, words: list[str]) -> None:
    forge_newer_version(house.codex_home("work"))
    with screen_of(house, " ".join(words)) as screen:
        answer_until(screen, COMMAND_CENTER if "agents" in words else MAIN_SCREEN)
        wait_until(lambda: len(house.running("work")) == 1, "one Codex alone")
    assert os.listdir(house.codex_home("work") / "app-server-daemon") == ["settings.json"]
    assert not (house.codex_home("work") / "packages").exists()
    assert not any("9.9.9" in frame for frame in screen.frames)
    unknown = [one for one in os.listdir(house.codex_home("work")) if not re.fullmatch(LEFT_BY_SESSIONS, one)]
    assert sorted(unknown) == ["app-server-daemon", "auth.json"]


@needs_tmux
def test_without_our_settings_it_would_offer_the_update(house: House, bare: Bare) -> None:
    log_in(bare)
    forge_newer_version(bare.codex_home)
    with (
        house.installed() as env,
        screen_of(house, "codex --no-daemon", {**env, **bare, "PATH": env["PATH"]}) as screen,
    ):
        screen.expect("9.9.9")


# --- the real home as a project ---

LOGGED_OUT, EPHEMERAL, SERVER = (
    'forced_login_method = "chatgpt"\n',
    'cli_auth_credentials_store = "ephemeral"\n',
    "features.daemon_auto_start = true\n",
)


@pytest.fixture
def real_home(house: House) -> Iterator[Callable[[str, bool], Path]]:
    """Gives the real home settings of its own, and has the clone trust it, or not; returns the clone's login file."""
    config = house.codex_home("work") / "config.toml"
    before = config.read_text()

    def furnish(settings: str, trusted: bool) -> Path:
        (house.home.home / ".codex").mkdir(exist_ok=True)
        (house.home.home / ".codex/config.toml").write_text(settings)
        config.write_text(before.replace('"untrusted"', '"trusted"') if trusted else before)
        login = house.codex_home("work") / "auth.json"
        login.exists() or house.log_in("work", API_KEYS[0])
        return login

    yield furnish
    discard(house.home.home / ".codex")
    config.write_text(before)
    for pid in house.running("work"):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, 9)
    wait_until(lambda: not house.running("work"), "the last Codex ended")
    shutil.rmtree(house.codex_home("work") / "packages", ignore_errors=True)
    for path in (house.codex_home("work") / "app-server-daemon").glob("daemon*"):
        path.unlink()
    house.log_in("work", API_KEYS[0])


def try_exec(house: House, model: MockModel) -> Result:
    model.commands = []
    return house.codex("work", "exec", "--skip-git-repo-check", *model.options, "hello")


def test_a_trusted_home_deletes_the_login_and_loses_a_new_one_and_the_clone_s_does_not(
    house: House, model: MockModel, real_home: Callable[[str, bool], Path]
) -> None:
    for settings, trusted in ((LOGGED_OUT, True), (LOGGED_OUT, False)):
        login = real_home(settings, trusted)
        result = try_exec(house, model)
        assert (result.code == 0, login.exists()) == (not trusted, not trusted), result
    for settings, trusted in ((EPHEMERAL, True), (EPHEMERAL, False)):
        login = real_home(settings, trusted)
        login.unlink()
        # By the wrapper, in the home: `codex-mirror login` starts it elsewhere.
        assert house.codex("work", "login", "--with-api-key", stdin=API_KEYS[1]).code == 0
        assert ("***bbbbb" in house.codex("work", "login", "status").err, login.exists()) == (not trusted, not trusted)


def test_a_profile_s_trust_counts_more_than_the_clone_s_and_doctor_mends_it(
    house: House, model: MockModel, real_home: Callable[[str, bool], Path]
) -> None:
    profile = house.codex_home("work") / "fast.config.toml"
    for mended in (False, True):
        login = real_home(LOGGED_OUT, False)
        profile.write_text(f'[projects."{house.home.home}"]\ntrust_level = "trusted"\n')
        assert not mended or house.mirror("doctor", "work", "--fix").code == 0
        result = house.codex("work", "--profile", "fast", *model.options, "exec", "--skip-git-repo-check", "hello")
        assert (result.code == 0, login.exists()) == (mended, mended), result
    profile.unlink()


@needs_tmux
@pytest.mark.parametrize("settings", [LOGGED_OUT, EPHEMERAL, SERVER], ids=["logged out", "login hidden", "server"])
def test_a_trusted_home_does_the_same_on_the_screen(
    house: House, real_home: Callable[[str, bool], Path], settings: str
) -> None:
    login = real_home(settings, True)
    with screen_of(house, "work", cwd=house.home.home) as screen:
        if settings == SERVER:
            lock = house.codex_home("work") / "app-server-daemon/daemon.pid"
            wait_until(lambda: is_running(pid_in(lock)), "the server runs")
        else:
            screen.expect("Logging out" if settings == LOGGED_OUT else "Sign in with ChatGPT")
    assert login.exists() == (settings != LOGGED_OUT)


@needs_tmux
def test_a_clone_s_login_and_pin_survive_the_settings_of_the_real_home_on_the_screen(
    house: House, real_home: Callable[[str, bool], Path]
) -> None:
    login = real_home(LOGGED_OUT + EPHEMERAL + SERVER, False)
    config = (house.codex_home("work") / "config.toml").read_text()
    with screen_of(house, "work", cwd=house.home.home) as screen:
        screen.expect(DISTRUSTED)
        screen.press("Enter")
        wait_until(lambda: DISTRUSTED not in (shown := screen.look()) and MAIN_SCREEN in shown, "the session begins")
        wait_until(lambda: len(house.running("work")) == 1, "one Codex alone")
    assert not any("Sign in" in frame or "Logging out" in frame for frame in screen.frames)
    assert login.exists() and os.listdir(house.codex_home("work") / "app-server-daemon") == ["settings.json"]
    assert cm.home_trust((house.codex_home("work") / "config.toml").read_text(), str(house.home.home)) == "untrusted"
    assert '"trusted"' not in config
