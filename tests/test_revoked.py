"""What macOS doesn't start: versions of Codex whose certificate was revoked, and programs that Gatekeeper kills."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from darwin import Mac
from helpers import Home, fake_codex, npm_install
from rooms import ask, at_rest, caller_in, changes, clone_in, cm, make_clone

linux = pytest.mark.skipif(sys.platform != "linux", reason="a Mac is imitated on Linux only")

VERSIONS: list[tuple[str, bool]] = [
    ("0.0.0", True),
    ("0.9.0", True),
    ("0.101.0", True),
    ("0.130.0-alpha.2", True),
    ("0.130.0", True),
    ("0.131.0-alpha.1", False),
    ("0.131.0", False),
    ("0.142.5", False),
    ("1.0.0", False),
    ("", False),
]


@pytest.mark.parametrize(("version", "revoked"), VERSIONS)
def test_versions_up_to_a_floor_are_revoked_on_a_mac_alone(
    home: Home, mac: Mac, monkeypatch: pytest.MonkeyPatch, version: str, revoked: bool
) -> None:
    if sys.platform == "linux":
        assert not cm.is_revoked(version) and cm.start_seconds() == 20
    mac.become(monkeypatch)
    assert cm.is_revoked(version) == revoked and cm.start_seconds() == 60


@linux
def test_a_mac_has_patience_with_each_start_of_a_codex(
    home: Home, codex: Path, mac: Mac, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[float] = []

    def noting(argv: Any, env: Any, cwd: str, seconds: float, *more: Any, **named: Any) -> Any:
        given.extend([seconds] if "codex" in str(argv) and argv[0] != "tmutil" else [])
        return capture(argv, env, cwd, seconds, *more, **named)

    capture = cm.capture
    monkeypatch.setattr(cm, "capture", noting)
    (home.home / ".codex").mkdir(mode=0o700)
    (home.home / ".codex" / "config.toml").write_text("x = 1\n")
    make_clone(home, "here", settings_from="~/.codex")
    cm.doctor(caller_in(home), name="here")
    assert given and max(given) == 20
    del given[:]
    mac.become(monkeypatch)
    make_clone(home, "there", settings_from="~/.codex")
    cm.doctor(caller_in(home), name="there")
    assert len(given) > 2 and {*given} == {60}


@pytest.fixture
def crowd(home: Home) -> Home:
    """A clone `new` of a version that is fine and was revoked before its update, and one of a revoked one, `old`."""
    npm_install(home.base / "npm", fake_codex(home.base / "old", "0.130.0"))
    home.put_on_path(home.base / "npm" / "bin")
    make_clone(home, "old")
    make_clone(home, "new")
    npm_install(home.base / "npm", fake_codex(home.base / "fine", "0.171.0"))
    assert ask(home, "update", "new").code == 0
    (home.home / ".codex").mkdir(mode=0o700)
    (home.home / ".codex" / "config.toml").touch()
    return home


PINNING: list[str] = [
    "create third --codex 0.120.0",
    "create third --from OLD",
    "create third --from old",
    "update new --codex 0.130.0",
    "update new --from OLD",
    "import HOME/.codex --name third --from OLD",
    "import HOME/.codex --name third --codex 0.101.0",
    "rollback new",
    "create third, PATH",
    "update new, PATH",
    "import HOME/.codex --name third, PATH",
]


@linux
@pytest.mark.parametrize("line", PINNING)
def test_a_revoked_codex_is_not_pinned_unless_that_is_forced(crowd: Home, mac: Mac, line: str) -> None:
    words = line.removesuffix(", PATH").replace("OLD", str(crowd.base / "old")).replace("HOME", str(crowd.home)).split()
    if line.endswith("PATH"):
        npm_install(crowd.base / "npm", crowd.base / "old")
    before = at_rest(crowd)
    told = mac(*words)
    assert told.code == 5 and "macOS kills Codex 0.1" in told.err and "--force" in told.err
    assert changes(before, at_rest(crowd)) == {}
    forced = mac(*words, "--force")
    if "0.120.0" in line or "0.101.0" in line:
        assert "CODEX_MIRROR_OFFLINE" in forced.err  # It would have been fetched.
    else:
        assert forced.code == 0 and clone_in(crowd, "new" if "new" in words else "third").runtime.version == "0.130.0"


@linux
def test_what_is_fine_and_what_other_systems_have_is_taken(crowd: Home, mac: Mac) -> None:
    assert mac("create", "third").code == 0
    assert ask(crowd, "create", "elsewhere", "--from", crowd.base / "old").code == 0
    assert ask(crowd, "rollback", "new").code == 0


@linux
def test_versions_marks_those_that_are_revoked(crowd: Home, mac: Mac) -> None:
    lines = [line.split("\t") for line in mac("versions").out.splitlines()]
    assert lines == [["0.171.0", "new", "installed"], ["0.130.0", "old", "revoked"]]
    rows = mac("versions", "--json").json()["versions"]
    assert [(row["version"], row.get("revoked")) for row in rows] == [("0.171.0", None), ("0.130.0", True)]
    assert "revoked" not in ask(crowd, "versions").out


KILLED = """#!/bin/sh
case $1 in --version) echo codex-cli 0.172.0 ;; *) %s kill -9 $$ ;; esac
"""


@linux
@pytest.mark.parametrize(("before", "is_told"), [("", True), ("echo Error: it said why;", False)])
def test_a_codex_that_is_killed_without_a_word_is_gatekeeper_s(
    home: Home, codex: Path, mac: Mac, before: str, is_told: bool
) -> None:
    make_clone(home, "new", source=str(fake_codex(home.base / "killed", "0.172.0", body=KILLED % before)))
    [start] = [one for one in mac("doctor", "new", "--json").json()[0]["problems"] if one["id"] == "start"]
    assert ("Gatekeeper" in start["what"] and "spctl -a -vv" in start["what"]) == is_told
    assert "Gatekeeper" not in ask(home, "doctor", "new").out


@linux
def test_a_codex_that_is_killed_at_once_is_not_pinned_and_gatekeeper_is_named(home: Home, mac: Mac) -> None:
    package = fake_codex(home.base / "killed", "0.172.0", body="#!/bin/sh\nkill -9 $$\n")
    told = mac("create", "third", "--from", package)
    assert told.code != 0 and "Gatekeeper" in told.err and mac("list").out == ""
