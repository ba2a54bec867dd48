"""Fixtures for every test, and three promises about the whole session.

No test sees the machine's own home; the shell's rc files there are as before; and no output showed a planted secret.
"""

from __future__ import annotations

import os
import secrets
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from parallel import pytest_addoption, pytest_runtestloop

import messages
import rooms
from darwin import Mac
from helpers import LEAKS, Home, Mirror, discard, fake_codex, make_home, new_base, npm_install

OWN_HOME = Path.home()
# What no test may bring into being, and what no test may change, in the home of whoever runs the tests.
ABSENT_STAYS_ABSENT = [".codex", ".codex-mirror"]
UNCHANGED = [".bashrc", ".bash_profile", ".bash_login", ".profile", ".zshrc", ".config/fish/conf.d/codex-mirror.fish"]
# The subject of these is a shell, a terminal, the disk or the installer, and not the Python: CI runs them on one.
ONCE = {
    *("install", "release", "menu", "terminal", "shell_text", "durability", "full_disk", "signals"),
    *(
        "faults",
        "many",
        "weeks",
        "clone_shells",
        "shell_path",
        "toolchains",
        "git_configuration",
        "completion",
        "readme",
    ),
}
STATE: dict[str, object] = {}
PASSED = pytest.StashKey[bool]()
__all__ = ["pytest_addoption", "pytest_runtestloop"]


@pytest.fixture
def home() -> Iterator[Home]:
    """A home for one test."""
    base = new_base()
    try:
        yield make_home(base)
    finally:
        discard(base)


@pytest.fixture(autouse=True)
def touched_rooms(request: pytest.FixtureRequest) -> Iterator[None]:
    """Where the test changes the program in this process or counts its errors, commands are forks of this process."""
    changes = {"monkeypatch", "mac"} & set(request.fixturenames) or request.node.nodeid in messages.TESTS
    rooms.TOUCHED[:] = [True] if changes else []
    yield
    rooms.TOUCHED.clear()


@pytest.fixture(autouse=True)
def messages_are_said(request: pytest.FixtureRequest) -> Iterator[None]:
    """A test that the table of messages names makes the program say what it is named for."""
    if request.node.nodeid not in messages.TESTS:
        yield
        return
    with messages.said() as found:
        yield
    if request.node.stash.get(PASSED, False):
        assert messages.unsaid(request.node.nodeid, found) == []


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Notes for the fixtures that a test has passed, and was not skipped."""
    outcome = yield
    if call.when == "call":
        item.stash[PASSED] = outcome.get_result().passed  # type: ignore[attr-defined]


@pytest.fixture
def mirror(home: Home) -> Mirror:
    """The program, started as a real process in `home`."""
    return Mirror(home)


@pytest.fixture
def codex(home: Home) -> Path:
    """A fake Codex 0.169.0, installed with npm's layout and on the PATH of `home`; the command's path."""
    command = npm_install(home.base / "npm", fake_codex(home.base / "package"))
    home.put_on_path(command.parent)
    return command


@pytest.fixture
def elsewhere(home: Home) -> Iterator[Path]:
    """A directory on another file system."""
    here = home.base.stat().st_dev
    others = [place for place in map(Path, ("/dev/shm", "/tmp")) if place.is_dir() and place.stat().st_dev != here]
    if not others:
        pytest.skip("needs a second file system")
    path = others[0] / f"c{secrets.token_hex(3)}"
    path.mkdir(mode=0o700)
    yield path
    discard(path)


@pytest.fixture
def mac(home: Home) -> Mac:
    """A pretended Mac around `home`."""
    return Mac(home)


@pytest.fixture
def real_codex() -> Path:
    """The real Codex's command, as an installer left it."""
    return Path(os.environ["CODEX_MIRROR_TEST_CODEX"])


def pytest_configure() -> None:
    """Puts a scratch directory in place of HOME, so that a test that forgets its environment harms nobody."""
    scratch = tempfile.TemporaryDirectory(prefix="codex-mirror-test-home-")
    STATE.update(scratch=scratch, before=_stamps())
    for name in [name for name in os.environ if _leads_to_codex(name)]:
        del os.environ[name]
    if (OWN_HOME / ".npmrc").exists():
        os.environ.setdefault("NPM_CONFIG_USERCONFIG", str(OWN_HOME / ".npmrc"))
    os.environ["HOME"] = scratch.name
    # A shell starts what it runs in the background with Ctrl-C ignored, and nohup with SIGHUP ignored; what is ignored
    # stays so in every child.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks what one Python is enough for; without the real Codex the tests that need it are skipped, and say so."""
    for item in items:
        if item.path.parent.name == "tests" and item.path.stem.removeprefix("test_") in ONCE:
            item.add_marker(pytest.mark.once)
    if os.environ.get("CODEX_MIRROR_TEST_CODEX"):
        return
    skip = pytest.mark.skip(reason="needs the real Codex: set CODEX_MIRROR_TEST_CODEX to its executable")
    for item in items:
        if item.get_closest_marker("real") or item.get_closest_marker("installers"):
            item.add_marker(skip)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fails the session that showed a secret or touched the machine's own home."""
    if session.exitstatus == 0 and _broken_promises():
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Tells the figures of the run, and names each promise that was broken, and by which test where that is known."""
    if "faults" in sys.modules:
        terminalreporter.write_line(sys.modules["faults"].figures())
    for promise in _broken_promises():
        terminalreporter.write_line(f"BROKEN PROMISE: {promise}", red=True)


def _broken_promises() -> list[str]:
    before, after = STATE["before"], _stamps()
    assert isinstance(before, dict)
    return [*LEAKS, *(f"{path} was changed" for path, stamp in after.items() if before[path] != stamp)]


def _stamps() -> dict[Path, object]:
    there = {OWN_HOME / name: os.path.lexists(OWN_HOME / name) for name in ABSENT_STAYS_ABSENT}
    return {**there, **{OWN_HOME / name: _stamp(OWN_HOME / name) for name in UNCHANGED}}


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        info = path.lstat()
    except OSError:
        return None
    return info.st_ino, info.st_size, info.st_mtime_ns


def _leads_to_codex(name: str) -> bool:
    return name.startswith(("CODEX_", "XDG_")) and not name.startswith("CODEX_MIRROR_TEST_")
