"""Inspection, diagnosis and repair: facts first, judgement second; each judgement in one line."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from helpers import API_KEYS, Home, fake_codex, tree
from rooms import (
    ask,
    at_rest,
    caller_in,
    changes,
    clone_in,
    clone_like,
    cm,
    make_clone,
    places_of,
    rows_of,
    write_registry,
)

FINE = {
    **dict.fromkeys(
        ("missing", "damaged", "absent", "open_to_others", "read_only", "loose", "overrides", "servers", "unused"), ()
    ),
    **dict.fromkeys(("strange", "gone", "shadow", "newer"), ""),
    "names": (),
    "unreadable": [],
    "home_trust": "untrusted",
    "missing_helpers": [],
    "each_ownerless": [],
    "each_in_cloud": [],
    "git_not_copied": [],
    "git_kept": [],
    "new_shares": [],
    "sharer": "",
    "path_setup": "codex-mirror path setup",
    "recorded": True,
    "on_path": True,
    "package_version": "0.169.0",
    "wrapper": "ok",
    "status": cm.CapturedOutput(1, b"", b"Not logged in\n"),
    "account": cm.Account("none"),
    "twins": [],
}


def facts(home: Home, **changes: Any) -> Any:
    """The facts about a clone with which nothing is wrong, but for these."""
    clone = changes.pop("clone", None) or clone_like(home, account=changes.pop("noted", None))
    return cm.Facts("clone", caller_in(home), **{"clone": clone, **FINE, **changes})


def test_nothing_is_wrong_with_a_healthy_clone(home: Home) -> None:
    assert cm.diagnose(facts(home)) == ()
    assert cm.health_of(facts(home)).ok and cm.health_of(facts(home)).writable
    assert not any(cm.health_of(facts(home, **{fact: ["/h"]})).writable for fact in ("read_only", "absent"))


def test_a_clone_that_changes_while_it_is_looked_at_is_looked_at_again(
    home: Home, codex: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked, inspect_clones = [], cm.inspect_clones
    for name in ("work", "play"):
        make_clone(home, name)

    def look_and_change(clones: Any, *rest: Any) -> Any:
        found = inspect_clones(clones, *rest)
        looked.append([clone.name for clone in clones])
        if len(looked) == 1:
            cm.rename_clone(caller_in(home), "work", "job")
            cm.remove_clone(caller_in(home), "play")
        return found

    monkeypatch.setattr(cm, "inspect_clones", look_and_change)
    assert [row["name"] for row in cm.doctor(caller_in(home)).data if row["name"] != "codex-mirror"] == ["job"]
    assert looked == [["work", "play"], ["job"]]


ERROR, WARNING, INFO = "error", "warning", "info"
ONE, OTHER = cm.Account("chatgpt", "a@b.c", "pro", "w", "u"), cm.Account("chatgpt", "x@y.z", "pro", "w", "v")
LOGGED_IN = {"status": cm.CapturedOutput(0, b"", b"Logged in using ChatGPT\n")}
JUDGEMENTS: list[tuple[dict[str, Any], str, str, str]] = [
    ({"elsewhere": "/m/clones/x/.codex-mirror"}, "directory-moved", ERROR, "its directory was moved to /m/clones/x"),
    ({"names": (("/jo", "/jo2"),)}, "home-moved", ERROR, "/jo was moved to /jo2"),
    ({"unreadable": ["/x"], "each_unreadable": [("/x", "chmod /x")]}, "directory-unreadable", ERROR, "not read /x"),
    ({"each_unread": [("/x: Input/output error", "check its disk")]}, "unreadable", ERROR, "examined: /x: Input/out"),
    ({"strange": "/x is not the directory of 'work'"}, "directory-foreign", ERROR, "is not the directory of"),
    ({"hazards": [cm.Hazard("/x", "is writable by everyone", "")]}, "directory-unsafe", ERROR, "/x is writable"),
    ({"hazards": [cm.Hazard("/x", "is a group's", "", True)]}, "directory-unsafe", WARNING, "/x is a group's"),
    ({"tracked": ["/x/auth.json"]}, "git-tracked", ERROR, "git tracks files of it: /x/auth.json"),
    ({"servers": ["server 0.171.0 (pid 7)"]}, "server-running", WARNING, "its sessions use it: server 0.171.0 (pid 7)"),
    ({"account": cm.Account("unknown"), "status": cm.CapturedOutput(1, b"", b"Error checking login status: x\n")},
     "login-damaged", ERROR, "its login can't be read: "),
    ({"missing": ["/r/a"]}, "runtime-incomplete", ERROR, "incomplete or was changed: /r/a"),
    ({"missing": list("abcde")}, "runtime-incomplete", ERROR, "a, b, c and 2 more"),
    ({"damaged": ["/r/a"]}, "runtime-damaged", ERROR, "differs from what was pinned: /r/a"),
    ({"package_version": "0.170.0"}, "runtime-version", ERROR, "its Codex is 0.170.0, but 0.169.0 was pinned"),
    ({"gone": "/c", "absent": ["/c"], "missing": ["/c/r"]}, "directory-lost", ERROR, "/c is gone, with"),
    ({"absent": ["/h"]}, "directory-missing", ERROR, "/h"),
    ({"read_only": ["/h"]}, "directory-read-only", ERROR, "/h"),
    ({"wrapper": "missing"}, "wrapper", ERROR, "is missing"),
    (
        {"wrapper": "missing", "each_closed_bin_dir": [("/b", "chmod u+rwx /b")]},
        "wrapper",
        ERROR,
        "you may not search /b",
    ),
    ({"wrapper": "foreign"}, "wrapper", ERROR, "another program"),
    ({"wrapper": "not executable"}, "wrapper", ERROR, "can't be executed"),
    ({"status": cm.CapturedOutput(None, b"", b"")}, "start", ERROR, "did not answer in time"),
    ({"status": cm.CapturedOutput(-9, b"", b"")}, "start", ERROR, "was ended by signal 9"),
    ({"status": cm.CapturedOutput(1, b"", b"Error loading config: x\n")}, "start", ERROR, "Error loading config: x"),
    ({"status": cm.CapturedOutput(126, b"", b"Exec format error")}, "start", ERROR, "Exec format error"),
    ({"status": cm.CapturedOutput(1, b"", b"WARNING: x\nError checking login: y\n")}, "start", ERROR, "login: y"),
    ({"misnamed_runtime": "/r/0.169.0-abcdef12"}, "runtime-misnamed", INFO, "/r/0.169.0-abcdef12 contains Codex"),
    ({"recorded": False}, "runtime-unrecorded", INFO, "no record of its Codex's files"),
    ({"wrapper": "outdated"}, "wrapper-outdated", WARNING, "is out of date"),
    ({"wrapper": "edited"}, "wrapper", ERROR, "was edited"),
    ({"wrapper": "open"}, "wrapper", ERROR, "is writable by others"),
    ({"open_variables": "/c/env"}, "variables-open", ERROR, "isn't started: /c/env"),
    ({"lax_ignore": "/c/.gitignore"}, "git-ignore", WARNING, "/c/.gitignore doesn't prevent that"),
    ({"noexec": ["/b"]}, "noexec", ERROR, "no program can be started: /b"),
    ({"each_ownerless": [("/Volumes/D ignores who", "fix")]}, "no-owners", WARNING, "/Volumes/D ignores who"),
    ({"each_in_cloud": [("/h/x lies in /h/Documents", "fix")]}, "in-cloud", WARNING, "lies in /h/Documents"),
    ({"of_others": ["/h/auth.json"]}, "foreign-files", WARNING, "as after sudo: /h/auth.json"),
    ({"unknown_runtimes": ["/r/my-patched"]}, "runtime-unused", INFO, "not pinned by codex-mirror: /r/my-patched"),
    ({"shadow": "/usr/bin/work"}, "wrapper-shadowed", WARNING, "'work' starts /usr/bin/work"),
    ({"open_to_others": ["/h"]}, "directory-open", WARNING, "other users may read it: /h"),
    ({"loose": ["features.daemon_auto_start"]}, "pin-loose", WARNING, "features.daemon_auto_start"),
    ({"home_trust": "trusted"}, "home-trusted", ERROR, "can delete the login"),
    ({"home_trust": ""}, "home-undecided", INFO, "settings in .codex there apply to it"),
    ({"twins": ["'a'", "'b'"], "account": ONE, **LOGGED_IN}, "same-account", WARNING, "as 'a', 'b': refresh tokens"),
    ({"noted": ONE, "account": OTHER, **LOGGED_IN}, "account-changed", WARNING, ", but codex-mirror logged in a@b.c"),
    ({"unused": ["/r/old"]}, "runtime-unused", INFO, "/r/old"),
    ({"overrides": ["CODEX_API_KEY"]}, "login-override", INFO, "CODEX_API_KEY"),
    ({"on_path": False}, "path", INFO, "bin is not on PATH"),
    ({"git_not_copied": [".gitconfig"]}, "git-config", WARNING, "not copied: .gitconfig"),
    ({"git_kept": ["/h/.gitconfig"]}, "git-kept", INFO, "keeps its own: /h/.gitconfig"),
    ({"new_shares": [".nvm"]}, "shares-new", INFO, "would also share: .nvm"),
    ({"sharer": "other"}, "login-shared", ERROR, "in a directory that 'other' shares"),
    ({"missing_helpers": ["/h/.profile"]}, "login-files", WARNING, "missing or outdated: /h/.profile"),
    ({"unlinked_settings": ["skills/new"]}, "settings-unlinked", WARNING, "aren't linked yet: skills/new"),
    ({"replaced_settings": ["AGENTS.md"]}, "settings-replaced", WARNING, "replaced by its own: AGENTS.md"),
    ({"dangling_settings": ["rules"]}, "settings-gone", WARNING, "missing in ~/.codex: rules"),
    ({"gone_directories": ["/old"]}, "directory-gone", INFO, "directories that don't exist: /old"),
    ({"newer": "0.170.0"}, "newer-codex", INFO, "0.169.0 → 0.170.0 available"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "id", "severity", "says"), JUDGEMENTS, ids=[f"{row[1]} {next(iter(row[0]))}" for row in JUDGEMENTS]
)
def test_a_fact_is_judged_by_itself(home: Home, change: dict[str, Any], id: str, severity: str, says: str) -> None:
    [problem] = cm.diagnose(facts(home, **change))
    assert (problem.id, problem.severity) == (id, severity) and says in problem.what
    assert "{" not in problem.fix and "\n" not in problem.what
    assert cm.health_of(facts(home, **change)).ok == (severity != ERROR)


def test_every_finding_has_its_line_here() -> None:
    assert {finding.id for finding in cm.FINDINGS["clone"]} == {row[1] for row in JUDGEMENTS}
    assert {finding.id for finding in cm.FINDINGS["mirror home"]} == {row[1] for row in HOUSES}


NO_JUDGEMENTS: list[dict[str, Any]] = [
    {"package_version": ""},
    {"noted": ONE, "account": ONE._replace(plan="free", since=7.0), **LOGGED_IN},
    {"noted": ONE, "account": cm.Account("none")},
    {"noted": ONE, "account": cm.Account("unknown"), **LOGGED_IN},
    {"noted": cm.Account("unknown"), "account": ONE, **LOGGED_IN},
    {"status": cm.CapturedOutput(1, b"", b"WARNING: proceeding\nNot logged in\n")},
    {"account": cm.Account("keyring"), **LOGGED_IN},
]


@pytest.mark.parametrize("change", NO_JUDGEMENTS, ids=[str(list(row)) for row in NO_JUDGEMENTS])
def test_some_facts_are_no_problem(home: Home, change: dict[str, Any]) -> None:
    assert cm.diagnose(facts(home, **change)) == ()


def test_where_only_node_is_missing_the_advice_is_node(home: Home) -> None:
    clone = clone_like(home)
    script = clone._replace(runtime=clone.runtime._replace(kind="npm-package"))
    for code, advice in ((127, "install Node, or codex-mirror update work"), (1, "codex-mirror run work -- login")):
        failed = cm.CapturedOutput(code, b"", b"node: not found\n")
        [problem] = cm.diagnose(facts(home, status=failed, clone=script))
        assert problem.id == "start" and problem.fix.startswith(advice)


def test_a_start_that_fails_for_a_missing_part_is_not_told_twice(home: Home) -> None:
    failed = cm.CapturedOutput(1, b"", b"a part of this clone is missing")
    for change in ({"missing": ["/r"]}, {"absent": ["/h"]}):
        assert [problem.id for problem in cm.diagnose(facts(home, status=failed, **change))] == [
            "runtime-incomplete" if "missing" in change else "directory-missing"
        ]


def test_the_worst_comes_first(home: Home) -> None:
    unlike = ("status", "names", "elsewhere", "strange", "gone", "unreadable", "each_unreadable")
    everything = {key: value for row in JUDGEMENTS for key, value in row[0].items() if key not in unlike}
    severities = [problem.severity for problem in cm.diagnose(facts(home, **everything))]
    assert severities == sorted(severities, key=["error", "warning", "info"].index) and len(severities) > 12


def test_of_a_directory_that_isnt_the_clones_own_only_that_is_told(home: Home) -> None:
    """What lies behind a link there isn't the clone's, and no repair goes through it."""
    moved = ("status", "names", "elsewhere", "unreadable", "each_unreadable", "each_unread")
    everything = {key: value for row in JUDGEMENTS for key, value in row[0].items() if key not in moved}
    for unlike, why in (("gone", "directory-foreign"), ("strange", "directory-lost")):
        seen = facts(home, **{**everything, unlike: ""})
        assert {one.id for one in cm.diagnose(seen)} == {why, "directory-unsafe", "wrapper-shadowed", "noexec"}
        assert {one.repair for one in cm.findings_for(seen)} == {None, cm.repair_rights}  # It goes through no link.


@pytest.mark.parametrize("part", [".codex", ".", "../runtime"])
def test_doctor_says_one_thing_of_a_clone_behind_a_link(home: Home, codex: Path, part: str) -> None:
    make_clone(home, "work")
    home.put_on_path(home.bin)
    place = home.clone_home("work") / part
    place = Path(os.path.normpath(place))
    place.rename(home.base / "stuff")
    place.symlink_to(home.base / "stuff")
    for words in (("doctor", "work"), ("doctor", "work", "--fix")):
        shown = ask(home, *words)
        assert shown.code == 1 and len(re.findall(r"^  [✗!·]", shown.out, re.MULTILINE)) == 1, shown
        assert f"{place} is a link" in shown.out and shown.err == ""


IGNORED: list[tuple[str | None, bool]] = [
    (None, True),
    ("*", True),
    ("# mine\r\n*\r\n", True),
    ("", False),
    ("*.log\n", False),
    ("*\n!registry.json\n", False),
    ("clones/*\n", False),
    (" *\n", False),
]


@pytest.mark.parametrize(("text", "is_fine"), IGNORED)
def test_a_gitignore_of_the_users_own_is_kept_and_told_where_it_lets_logins_in(
    home: Home, codex: Path, text: str | None, is_fine: bool
) -> None:
    for words in (("work",), ("far", "--root", home.base / "far")):
        assert ask(home, "create", *words).code == 0
    files = [home.mirror / ".gitignore", home.base / "far/.codex-mirror/.gitignore"]
    for path in files:
        path.unlink() if text is None else path.write_bytes(text.encode())
    assert ask(home, "use", "--default", "work").code == 0
    rows = ask(home, "doctor", "--json").json()
    found = [one["what"] for row in rows for one in row["problems"] if one["id"] == "git-ignore"]
    assert (found == []) == is_fine and all(any(str(path) in one for one in found) for path in files if not is_fine)
    assert text is None or [path.read_bytes() for path in files] == [text.encode()] * 2


AUTH: list[tuple[Any, Any, str]] = [
    (cm.CapturedOutput(1, b"", b"Not logged in\n"), cm.Account("none"), "not_logged_in"),
    (cm.CapturedOutput(1, b"", b"WARNING: x\nNot logged in\n"), cm.Account("none"), "not_logged_in"),
    (cm.CapturedOutput(0, b"", b"API key configured - sk-proj-***67890\n"), cm.Account("api-key"), "logged_in"),
    (cm.CapturedOutput(0, b"", b"Logged in using an API key - x\n"), cm.Account("api-key"), "logged_in"),
    (cm.CapturedOutput(0, b"", b"Logged in using ChatGPT\n"), ONE, "logged_in"),
    # An auth.json that is `{}` counts as a login for Codex itself.
    (cm.CapturedOutput(0, b"", b"Logged in using ChatGPT\n"), cm.Account("none"), "not_logged_in"),
    (cm.CapturedOutput(0, b"", b"Logged in using ChatGPT\n"), cm.Account("keyring"), "logged_in"),
    (cm.CapturedOutput(0, b"", b"Logged in using ChatGPT\n"), cm.Account("unknown"), "logged_in"),
    (cm.CapturedOutput(1, b"", b"Error checking login status: x\n"), cm.Account("unknown"), "unknown"),
    (cm.CapturedOutput(1, b"", b"Error loading configuration: x\n"), cm.Account("none"), "unknown"),
    (cm.CapturedOutput(None, b"", b""), ONE, "unknown"),
    (cm.CapturedOutput(-9, b"", b"Not logged in\n"), cm.Account("none"), "unknown"),
    (cm.CapturedOutput(126, b"", b"x"), cm.Account("none"), "unknown"),
]


@pytest.mark.parametrize(("status", "account", "answer"), AUTH)
def test_whether_it_is_logged_in_is_what_codex_says_and_the_file_shows(
    home: Home, status: Any, account: Any, answer: str
) -> None:
    assert cm.auth_status_of(facts(home, status=status, account=account)) == answer


# --- the mirror home ---

QUIET = {
    **dict.fromkeys((*cm.FACTS_OF_WRITERS, "legacy_leftovers"), ()),
    "found": (cm.Registry(), None),
    "open_to_others": [],
    "unwritable": ("", ""),
    "each_off_path": [],
    "each_git_home": [],
}
REGISTRY_BROKEN = cm.RegistryError("/m/registry.json", "is empty")
HOUSES: list[tuple[dict[str, Any], str, str, str]] = [
    ({"strange_shim": "/m/shim/codex was edited"}, "shim-edited", WARNING, "was edited, so it may start another Codex"),
    ({"lax_ignore": "/m/.gitignore"}, "git-ignore", WARNING, "/m/.gitignore doesn't prevent that"),
    ({"found": (cm.Registry(), REGISTRY_BROKEN)}, "registry", ERROR, "is empty"),
    (
        {"found": (cm.Registry(), cm.MirrorError("/m belongs to another user", "set CODEX_MIRROR_HOME"))},
        "registry",
        ERROR,
        "another user",
    ),
    (
        {"found": (cm.Registry((cm.BadRow({"name": "x"}, "its id is not valid"),)), None)},
        "registry-row",
        ERROR,
        "'x' is broken: its id",
    ),
    (
        {"found": (cm.Registry((cm.BadRow(7, "it is not a JSON object"),)), None)},
        "registry-row",
        ERROR,
        "it is not a JSON object",
    ),
    ({"unsettled": ["/m/journal.json"]}, "unsettled", WARNING, "/m/journal.json"),
    ({"unsettled_size": "418 MB"}, "unsettled-files", INFO, "the unfinished change takes 418 MB"),
    ({"leftovers": ["/m/scratch-abcdef12"]}, "leftovers", WARNING, "scratch-abcdef12"),
    ({"orphans": ["/m/clones/x/.codex-mirror"]}, "orphan-clone", WARNING, "clones/x"),
    ({"copies": ["/m/clones/x/.codex-mirror (of /m/clones/y)"]}, "orphan-clone", WARNING, "in use there: /m/clones/x"),
    ({"astray": ["/m/clones/x/.codex-mirror (why)"]}, "orphan-clone", WARNING, "where they are: /m/clones/x"),
    ({"stale_commands": ["/b/x (of 'y')"]}, "stale-command", WARNING, "no longer use: /b/x (of 'y')"),
    ({"orphan_wrappers": ["/b/x"]}, "orphan-wrapper", WARNING, "/b/x"),
    ({"kept_wrappers": ["/b/x (edited)"]}, "orphan-wrapper", WARNING, "without a clone, left alone: /b/x"),
    ({"open_to_others": ["/m"]}, "mirror-home-open", WARNING, "other users may read it"),
    ({"moved": ("/jo was moved to /jo2", "ln -s /jo2 /jo")}, "home-moved", ERROR, "/jo was moved to /jo2"),
    ({"copy": ("/m is a copy of /n", "use /n")}, "mirror-home-copy", ERROR, "/m is a copy of /n"),
    ({"hazards": [cm.Hazard("/m", "is a group's", "fix", True)]}, "directory-unsafe", WARNING, "/m is a group's"),
    ({"each_bin_hazard": [("/b is a group's", "fix")]}, "wrapper-directory", WARNING, "its commands could be replaced"),
    ({"each_unwritable_bin_dir": [("/b", "chmod u+rwx /b")]}, "wrapper-directory", WARNING, "can be written to /b"),
    ({"each_ownerless": [("/Volumes/D ignores who", "fix")]}, "no-owners", WARNING, "/Volumes/D ignores who"),
    ({"each_in_cloud": [("/h/x lies in /h/Documents", "fix")]}, "in-cloud", WARNING, "lies in /h/Documents"),
    ({"tracked": ["/m/registry.json"]}, "git-tracked", ERROR, "git tracks files of it: /m/registry.json"),
    ({"unwritable": ("/m can't be written", "chmod u+rwx /m")}, "mirror-home-read-only", ERROR, "can't be written"),
    ({"codex_before_shim": "/usr/bin/codex"}, "shim-shadowed", WARNING, "codex is /usr/bin/codex in this shell"),
    ({"legacy_leftovers": ["/m/registry.json.lock"]}, "legacy-leftovers", INFO, "registry.json.lock"),
    ({"each_off_path": [("/b is not on PATH", "codex-mirror path setup")]}, "path", INFO, "/b is not on PATH"),
    ({"each_unread": [("/x: Input/output error", "check its disk")]}, "unreadable", ERROR, "examined: /x: Input/out"),
    ({"each_git_home": [("/r has core.hookspath = ~/h", "git config")]}, "git-repository", INFO, "/r has core.hooks"),
]


@pytest.mark.parametrize(
    ("change", "id", "severity", "says"), HOUSES, ids=[f"{row[1]} {number}" for number, row in enumerate(HOUSES)]
)
def test_a_fact_about_the_mirror_home_is_judged_by_itself(
    home: Home, change: dict[str, Any], id: str, severity: str, says: str
) -> None:
    [problem] = cm.diagnose(cm.Facts("mirror home", caller_in(home), **{**QUIET, **change}))
    assert (problem.id, problem.severity) == (id, severity) and says in problem.what and problem.fix
    assert cm.diagnose(cm.Facts("mirror home", caller_in(home), **QUIET)) == ()


def test_a_mirror_home_that_cant_be_written_is_named_before_anything_is_tried(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_clone(home, "work", source=str(fake_codex(home.base / "package")))
    before = tree(home.mirror)
    monkeypatch.setattr(os, "access", lambda path, mode: not (path == str(home.mirror) and mode & os.W_OK))
    again = f"chmod u+rwx '{home.mirror}'"
    with pytest.raises(cm.MirrorError, match="can't be written") as refused:
        cm.remove_clone(caller_in(home), "work")
    assert (refused.value.hint, refused.value.code, tree(home.mirror)) == (again, cm.FAILED, before)
    house = cm.inspect_mirror_home(caller_in(home))
    [problem] = [one for one in cm.diagnose(house) if one.severity == "error"]
    assert (problem.id, problem.fix) == ("mirror-home-read-only", again)


@pytest.mark.parametrize("is_own", [True, False])
def test_a_mirror_home_that_may_not_be_searched_is_told_with_the_command_that_helps(
    home: Home, monkeypatch: pytest.MonkeyPatch, is_own: bool
) -> None:
    make_clone(home, "work", source=str(fake_codex(home.base / "package")))
    monkeypatch.setattr(os, "access", lambda path, mode: not (path == str(home.mirror) and mode & os.X_OK))
    monkeypatch.setattr(cm, "is_owned_by_us", lambda path: is_own)
    helps = f"chmod u+rwx '{home.mirror}'" if is_own else "set CODEX_MIRROR_HOME to a directory of your own"
    for words in ("list", "create other", "run work"):
        told = ask(home, *words.split())
        assert told.code == 5 and told.err.endswith(f": {home.mirror} can't be searched\nhint: {helps}\n"), words
    told = ask(home, "doctor")
    assert told.code == 1 and told.out.count(f"      {helps}\n") == 1


def test_a_registry_that_may_not_be_read_is_told_with_whose_it_is(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    make_clone(home, "work", source=str(fake_codex(home.base / "package")))
    registry, read = home.mirror / "registry.json", cm.read_or_none
    denied = Mock(side_effect=PermissionError(errno.EACCES, "Permission denied"))
    monkeypatch.setattr(cm, "read_or_none", lambda path, *limit: (denied if path == str(registry) else read)(path))
    assert ask(home, "list").err.endswith(f"can't be read: Permission denied\nhint: chmod u+rw '{registry}'\n")
    monkeypatch.setattr(cm, "is_owned_by_us", lambda path: False)
    assert ask(home, "list").err.endswith("\nhint: set CODEX_MIRROR_HOME to a directory of your own\n")


@pytest.mark.parametrize(("right", "is_closed"), [(os.W_OK, False), (os.X_OK, True)])
def test_a_directory_for_commands_that_cant_be_written_is_told_with_the_command_that_helps(
    home: Home, monkeypatch: pytest.MonkeyPatch, right: int, is_closed: bool
) -> None:
    for name in ("work", "personal"):
        make_clone(home, name, source=str(fake_codex(home.base / "package")))
    (home.bin / "work").unlink()
    before = tree(home.bin)
    monkeypatch.setattr(os, "access", lambda path, mode: not (path == str(home.bin) and mode & right))
    said = ask(home, "doctor", "--fix").out
    assert said.count(f"chmod u+rwx '{home.bin}'\n") == 1 and "Permission" not in said
    assert (f"can't be reached: you may not search {home.bin} [wrapper]" in said) == is_closed
    assert (f"no command can be written to {home.bin} [wrapper-directory]" in said) == (not is_closed)
    for words in ("rename personal other", "create third", "wrapper install"):
        refused = ask(home, *words.split())
        assert refused.code == 5 and refused.err.endswith(f"\nhint: chmod u+rwx '{home.bin}'\n"), words
    assert tree(home.bin) == before


def test_a_directory_for_commands_of_somebody_else_is_left_for_one_of_the_user_s(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    ours = str(home.bin)
    assert cm.complaint_about_commands(ours) == (f"{ours} can't be written", f"chmod u+rwx '{ours}'")
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    assert cm.complaint_about_commands(ours)[1].endswith("of your own, then codex-mirror wrapper install")


def test_a_mirror_home_on_a_read_only_file_system_is_named_so(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    home.mirror.mkdir(exist_ok=True)
    assert cm.complaint_about_writing(places_of(home)) == ("", "")
    facts = list(os.statvfs(home.mirror))
    facts[8] |= os.ST_RDONLY
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    monkeypatch.setattr(os, "statvfs", lambda path: os.statvfs_result(facts))
    what, fix = cm.complaint_about_writing(places_of(home))
    assert what == f"{home.mirror} is on a read-only file system" and "CODEX_MIRROR_HOME" in fix


ERRORS = [
    (errno.EACCES, "/b/.work.codex-mirror-0123abcd", "/b/work: Permission denied", "permissions"),
    (errno.ENOSPC, b"/m/registry.json.new", "/m/registry.json.new: No space left on device", "free some"),
    (errno.EROFS, "/b/work", "/b/work: Read-only file system", "read-only"),
    (errno.EILSEQ, "/b/odd", f"/b/odd: {os.strerror(errno.EILSEQ)}", "names must be UTF-8 there"),
    (errno.EIO, None, "Input/output error", "doctor shows"),
    (errno.EIO, 7, "Input/output error", "doctor shows"),
]


@pytest.mark.parametrize(("number", "path", "says", "way_out"), ERRORS)
def test_an_error_of_the_system_names_the_users_file_and_a_way_out(
    number: int, path: Any, says: str, way_out: str
) -> None:
    error = OSError(number, os.strerror(number), path)
    assert cm.error_line(error) == says and way_out in cm.hint_for(error)
    assert cm.hint_for(error).endswith("codex-mirror doctor shows what is left to fix")


@pytest.mark.parametrize(
    ("number", "way_out"),
    [
        (errno.ENOENT, "check that the directory exists"),
        (errno.EISDIR, "name a file: that is a directory"),
        (errno.ENOTDIR, "name another place: a part of that path is a file"),
    ],
)
def test_a_place_that_was_named_wrongly_is_no_matter_for_doctor(number: int, way_out: str) -> None:
    assert cm.hint_for(OSError(number, os.strerror(number), "/b/x")) == way_out


def health_with(name: str, *problems: Any) -> Any:
    return cm.Health(name, "logged_in", True, "/r", f"/b/{name}", cm.Account("api-key"), tuple(problems))


def test_what_several_clones_have_in_common_is_said_once() -> None:
    """With one command for all where there is one, and NAME where each needs its own; JSON stays a list of each."""
    names = ("work", "a.b", "work-2")
    healths = [
        health_with(
            name,
            cm.Problem("runtime", "error", "its Codex is incomplete: bin/codex", f"codex-mirror update {name}"),
            cm.Problem(
                "new-shares", "info", "a new clone would also share: .x", f"codex-mirror set {name} --share default"
            ),
            cm.Problem("own", "warning", f"something of {name} alone", "codex-mirror doctor"),
            cm.Problem(
                "wrapper-outdated",
                "warning",
                f"its command is out of date: /b/{name}",
                f"codex-mirror doctor {name} --fix",
            ),
            cm.Problem(
                "directory-open", "warning", f"other users may read it: /m/clones/{name}/.codex-mirror/home", ""
            ),
            cm.Problem("wrapper", "error", "you may not search /work/b", "chmod u+rwx '/work/b'"),
        )
        for name in names
    ]
    outcome = cm.report_of_doctor(healths, [], [])
    assert outcome.lines == (
        *(
            line
            for name in names
            for line in (
                f"✗ {name}: broken, API key",
                f"  ! something of {name} alone [own]",
                "      codex-mirror doctor",
            )
        ),
        "work, a.b, work-2:",
        "  ✗ its Codex is incomplete: bin/codex [runtime]",
        "      codex-mirror update work a.b work-2",
        "  · a new clone would also share: .x [new-shares]",
        "      codex-mirror set NAME --share default",
        "  ! its command is out of date: /b/NAME [wrapper-outdated]",
        "      codex-mirror doctor --fix",
        "  ! other users may read it: /m/clones/NAME/.codex-mirror/home [directory-open]",
        "  ✗ you may not search /work/b [wrapper]",
        "      chmod u+rwx '/work/b'",
    )
    assert all(len(row["problems"]) == 6 for row in outcome.data)
    alone = cm.report_of_doctor(healths[:1], [], [])
    assert "      codex-mirror set work --share default" in alone.lines


@pytest.mark.parametrize(
    ("key", "shown"),
    [
        ("sk-proj-0123456789abcdef", "sk-…cdef"),
        ("0123456789abcdefghij", "…ghij"),
        ("sk-short", "sk-…"),
        ("short", "…"),
    ],
)
def test_a_key_is_shown_by_what_it_begins_and_ends_with(key: str, shown: str) -> None:
    assert cm.mask_key(key) == shown


def test_what_another_mirror_home_has_in_a_directory_of_both_is_no_leftover(home: Home, codex: Path) -> None:
    """A change of the other one may be under way: its halves are in the common directory, and in its clones."""
    make_clone(home, "work")
    far = make_clone(home, "far", root=str(home.base / "r"))
    second, copy = ({"CODEX_MIRROR_HOME": str(home.base / name)} for name in ("second", "copy"))
    assert ask(home, "create", "own", env=second).code == 0
    shutil.copytree(home.mirror, home.base / "copy", symlinks=True)
    halves = [home.bin / ".new.codex-mirror-abcdef12", home.bin / "office.gone-abcdef12"]
    for path in halves:
        shutil.copy2(home.bin / "work", path)
    halves += [Path(cm.base_of(far), ".env.codex-mirror-abcdef12"), Path(f"{cm.base_of(far)}.new-abcdef12")]
    halves[2].touch()
    halves[3].mkdir()
    (halves[3] / "clone.json").write_text(json.dumps({"id": far.id}))
    for env in (second, {**copy, "CODEX_MIRROR_BIN_DIR": str(home.base / "bin2")}):
        assert "abcdef12" not in ask(home, "doctor", env=env).out
        ask(home, "doctor", "--fix", env=env)
        assert all(path.exists() for path in halves)
    assert ask(home, "doctor", "--fix").code == 0 and not any(path.exists() for path in halves)


def test_what_a_writer_has_in_its_hands_is_no_leftover(home: Home) -> None:
    (home.mirror / cm.HOME_MARK).parent.mkdir(parents=True)
    (home.mirror / cm.HOME_MARK).write_text('{"mirrorHome": "/m"}')
    (home.mirror / "scratch-abcdef12").mkdir()
    with cm.hold_lock(cm.lock_file(places_of(home)), "another", 0, lambda holder: None):
        assert not cm.inspect_mirror_home(caller_in(home)).leftovers
        assert cm.inspect_mirror_home(caller_in(home), alone=True).leftovers
    assert cm.inspect_mirror_home(caller_in(home)).leftovers
    os.unlink(cm.lock_file(places_of(home)))
    assert cm.inspect_mirror_home(caller_in(home)).leftovers
    os.mkfifo(cm.lock_file(places_of(home)))
    assert cm.inspect_mirror_home(caller_in(home)).leftovers


def test_what_a_plan_still_needs_is_no_leftover(home: Home) -> None:
    home.mirror.mkdir(mode=0o700)
    for number in ("abcdef12", "12345678"):
        (home.mirror / f"scratch-{number}").mkdir()
    (home.mirror / "clear-12345678.json").write_text("{}")
    found = cm.find_leftovers(places_of(home), cm.Registry())
    assert [os.path.basename(path) for path in found] == ["scratch-abcdef12"]


def test_a_leftover_that_has_got_an_owner_since_it_was_seen_stays(home: Home, codex: Path) -> None:
    make_clone(home, "work")
    (home.mirror / "scratch-0badcafe").mkdir()
    context = caller_in(home)
    facts = cm.inspect_mirror_home(context)
    assert facts.leftovers == [str(home.mirror / "scratch-0badcafe")]
    (home.mirror / "scratch-0badcafe" / "thesis.txt").write_text("x")
    cm.repair_mirror_home(context, facts)
    assert (home.mirror / "scratch-0badcafe" / "thesis.txt").exists()


def test_every_fact_that_a_finding_names_is_in_its_table() -> None:
    for kind, findings in cm.FINDINGS.items():
        named = {name for one in findings for name in re.findall(r"\{(\w+)", one.evidence + one.advice)}
        assert named <= cm.FACTS[kind].keys(), kind


# --- facts that can't be looked up ---


@pytest.mark.parametrize("kind", ["clone", "mirror home"])
def test_whatever_fact_cant_be_looked_up_is_a_finding_and_no_other_is_lost(
    home: Home, codex: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    for name in ("play", "work", "zoe"):
        make_clone(home, name)
    told = "work" if kind == "clone" else "codex-mirror"
    before = {row["name"]: row for row in cm.doctor(caller_in(home)).data}
    numbers = (errno.EACCES, errno.ELOOP, errno.ENOTDIR, errno.EIO, errno.ENAMETOOLONG)
    for turn, name in enumerate(sorted(cm.FACTS[kind].keys() - {"each_unread", "name", "found"})):
        error = OSError(number := numbers[turn % 5], os.strerror(number), f"/d/{name}")
        look_up = cm.FACTS[kind][name]

        def fail(facts: Any, error: OSError = error, look_up: Any = look_up) -> Any:
            if kind == "clone" and facts.clone.name != told:
                return look_up(facts)
            raise error

        with monkeypatch.context() as patched:
            patched.setitem(cm.FACTS[kind], name, fail)
            outcome = cm.doctor(caller_in(home))
        rows = {row["name"]: row for row in outcome.data}
        found = [one for one in rows.pop(told)["problems"] if one["id"] == "unreadable"]
        assert outcome.code == 1, name
        assert [(one["severity"], one["what"].partition(": ")[2]) for one in found] == [
            (ERROR, f"/d/{name}: {os.strerror(number)}")
        ], name
        assert rows == {one: row for one, row in before.items() if one != told}, name


READING = [
    (errno.ELOOP, "move away what lies there"),
    (errno.ENOTDIR, "move away what lies there"),
    (errno.EIO, "check its disk and its rights"),
    (errno.EACCES, "check its disk and its rights"),
]


@pytest.mark.parametrize(("number", "advice"), READING)
def test_what_cant_be_read_comes_with_what_helps(number: int, advice: str) -> None:
    for path in ("/nowhere/x", None, 7):
        assert cm.advice_on_reading(OSError(number, os.strerror(number), path)) == advice


# --- real facts ---


def old_runtime(clone: Any) -> None:
    shutil.copytree(clone.runtime.path, in_runtime(clone, "../0.1.0-abcdef12"))


def write_older_wrapper(home: Home, clone: Any) -> None:
    body = "cm_clone='work'\nexec true\n"
    Path(clone.wrapper).write_text(cm.wrapper_head(clone.id, cm.seal_of(body.encode())) + body)


DAMAGES: list[tuple[str, Callable[[Home, Any], object], str, bool]] = [
    ("healthy", lambda home, clone: None, "", True),
    ("a helper gone", lambda home, clone: in_runtime(clone, "codex-path/rg").unlink(), "runtime-incomplete", True),
    ("its entry gone", lambda home, clone: Path(clone.runtime.entry).unlink(), "runtime-incomplete", True),
    ("bytes changed", lambda home, clone: spoil(in_runtime(clone, "codex-path/rg")), "runtime-incomplete", True),
    ("the logs gone", lambda home, clone: cm.discard(f"{cm.base_of(clone)}/logs"), "", True),
    ("open to others", lambda home, clone: home.clone_home("work").chmod(0o755), "directory-open", True),
    ("the wrapper gone", lambda home, clone: Path(clone.wrapper).unlink(), "wrapper", True),
    ("the wrapper edited", lambda home, clone: append(Path(clone.wrapper), "# mine\n"), "wrapper", False),
    ("the wrapper an older one", write_older_wrapper, "wrapper-outdated", True),
    ("the wrapper not executable", lambda home, clone: Path(clone.wrapper).chmod(0o644), "wrapper", True),
    ("the wrapper a stranger's", lambda home, clone: Path(clone.wrapper).write_text("x"), "wrapper", False),
    ("the daemon on", lambda home, clone: append(codex_home(home) / "config.toml", "", "start = false", "start = true"),
     "pin-loose", True),
    ("the updater on", lambda home, clone: Path(cm.updater_file(clone)).unlink(), "pin-loose", True),
    ("no settings at all", lambda home, clone: (codex_home(home) / "config.toml").unlink(), "pin-loose", True),
    ("broken settings", lambda home, clone: append(codex_home(home) / "config.toml", "x\n"), "start", False),
    ("an old runtime", lambda home, clone: old_runtime(clone), "runtime-unused", True),
    ("an old runtime and a stranger's wrapper",
     lambda home, clone: (old_runtime(clone), Path(clone.wrapper).write_text("x")),
     "wrapper", False),
    ("the registry's runtime gone and another there",
     lambda home, clone: Path(clone.runtime.path).rename(in_runtime(clone, "../0.1.0-abcdef12")),
     "runtime-incomplete", True),
    ("a killed change's scratch", lambda home, clone: (home.mirror / "scratch-abcdef12").mkdir(), "leftovers", True),
    ("a mirror home open to others", lambda home, clone: home.mirror.chmod(0o755), "mirror-home-open", True),
    ("a row lost", lambda home, clone: write_registry(home, rows_of(home)[:1]), "orphan-clone", True),
    ("a clone lost", lambda home, clone: cm.discard(str(home.mirror / "clones" / "play")), "directory-lost", False),
]  # fmt: skip


def in_runtime(clone: Any, tail: str) -> Path:
    return Path(clone.runtime.path, tail)


def codex_home(home: Home) -> Path:
    return home.clone_home("work") / ".codex"


def append(path: Path, text: str, old: str = "", new: str = "") -> None:
    content = path.read_text()
    path.write_text((content.replace(old, new) if old else content) + text)


def spoil(path: Path) -> None:
    content = path.read_bytes()
    path.chmod(0o755)
    path.write_bytes(content[:-1] + b"##\n")


@pytest.mark.parametrize(("kind", "damage", "id", "mends"), DAMAGES, ids=[row[0] for row in DAMAGES])
def test_doctor_finds_it_changes_nothing_without_fix_and_mends_it_without_losing_anything(
    home: Home, codex: Path, kind: str, damage: Callable[[Home, Any], object], id: str, mends: bool
) -> None:
    home.put_on_path(home.bin)
    clone = make_clone(home, "work")
    make_clone(home, "play")
    login = codex_home(home) / "auth.json"
    login.write_text(json.dumps({"OPENAI_API_KEY": API_KEYS[0]}))
    healthy = at_rest(home)
    damage(home, clone)
    damaged = at_rest(home)
    found = ask(home, "doctor", "--json")
    problems = {problem["id"]: problem for row in found.json() for problem in row["problems"]}
    severe = [problem for problem in problems.values() if problem["severity"] != "info"]
    assert (id in problems or not id) and found.code == bool(severe), problems
    assert changes(damaged, at_rest(home)) == {}
    fixed = ask(home, "doctor", "--fix")
    again = {problem["id"] for row in ask(home, "doctor", "--json").json() for problem in row["problems"]}
    assert (id not in again) == (mends or not id) and (fixed.code == 0) == mends, (fixed, again)
    assert login.read_text() == json.dumps({"OPENAI_API_KEY": API_KEYS[0]})
    wrote, removed = f"rewrote its command {clone.wrapper}", in_runtime(clone, "../0.1.0-abcdef12").resolve()
    assert (wrote in fixed.err) == (id.startswith("wrapper") and mends), fixed.err
    assert (f"removed {removed}" in fixed.err) == ("an old runtime" in kind) and not removed.exists()
    after = at_rest(home)
    other = {path for path in changes(healthy, after) if path.startswith("m/clones/play/.codex-mirror/home")}
    assert other == set() or kind == "a clone lost"
    again = ("no settings at all", "the daemon on", "the updater on", "the registry's runtime gone and another there")
    if mends and kind not in again:
        left = {path for path in changes(healthy, after) if not path.startswith("m/registry.json")}
        derived = {"m/clones/work/.codex-mirror/logs/events.log", "m/clones/play/.codex-mirror/logs/events.log",
                   "m/events.log",
                   "m/clones/work/.codex-mirror/clone.json", "m/clones/play/.codex-mirror/clone.json"}  # fmt: skip
        assert left <= derived | ({"m/clones/work/.codex-mirror/logs"} if kind == "the logs gone" else set()), left


def test_the_repair_of_a_pin_keeps_what_never_comes_along_from_elsewhere(home: Home, codex: Path) -> None:
    make_clone(home, "work")
    config = codex_home(home) / "config.toml"
    own = 'forced_login_method = "api"\nsqlite_home = "/elsewhere"\n'
    config.write_text(own + config.read_text().replace("start = false", "start = true"))
    fixed = ask(home, "doctor", "work", "--fix")
    assert "restored the settings that hold its pin" in fixed.err and "left out" not in fixed.err, fixed
    assert own in config.read_text() and "start = true" not in config.read_text()


def test_a_link_to_the_user_s_git_configuration_becomes_a_copy_and_one_of_the_clone_s_own_stays(
    home: Home, codex: Path
) -> None:
    (home.home / ".gitconfig").write_text("[user]\n\tname = Ann\n")
    make_clone(home, "work", shares=(".gitconfig",))
    own, mine = home.clone_home("work") / ".gitconfig", home.base / "mine"
    mine.write_text("[user]\n\tname = Bob\n")
    for target, says in (
        (home.home / ".gitconfig", "its git configuration is now a copy, which follows yours"),
        (mine, ".gitconfig is the clone's own link, and was left alone"),
    ):
        own.unlink()
        own.symlink_to(target)
        fixed = ask(home, "doctor", "work", "--fix")
        assert f"work: {says}\n" in fixed.err and own.is_symlink() == (target == mine), fixed
    assert (home.home / ".gitconfig").read_text() == "[user]\n\tname = Ann\n" and os.readlink(own) == str(mine)


AWAY = [["update", "work"], ["update", "--all"], ["set", "work", "--home", "shared"], ["rename", "work", "x"],
        ["wrapper", "install"], ["rollback", "work"], ["doctor", "--fix"]]  # fmt: skip


@pytest.mark.parametrize("words", AWAY, ids=" ".join)
def test_a_clone_on_a_disk_that_isn_t_there_is_never_begun_anew(home: Home, codex: Path, words: list[str]) -> None:
    make_clone(home, "work", root=str(home.base / "disk" / "work"))
    (home.base / "disk").rename(home.base / "away")
    (home.base / "disk").mkdir()
    result = ask(home, *words)
    said = result.err + result.out
    assert result.code != 0 and said.count("is gone, with the clone's login and sessions") == 1, said
    assert list((home.base / "disk").iterdir()) == []
    (home.base / "disk").rmdir()
    (home.base / "away").rename(home.base / "disk")
    assert ask(home, "run", "work", "--version").code == 0


def test_removing_a_clone_that_isn_t_there_says_what_stays(home: Home, codex: Path) -> None:
    make_clone(home, "work", root=str(home.base / "disk" / "work"))
    (home.base / "disk").rename(home.base / "away")
    removed = ask(home, "remove", "work")
    assert removed.code == 0 and "its login and sessions stay" in removed.err and rows_of(home) == []
    assert (home.base / "away" / "work" / ".codex-mirror" / "home").is_dir()


def test_a_clone_that_lies_elsewhere_is_named_with_its_place_and_its_home_can_be_imported(
    home: Home, codex: Path
) -> None:
    make_clone(home, "work")
    login = home.clone_home("work") / ".codex" / "auth.json"
    login.write_text(json.dumps({"OPENAI_API_KEY": API_KEYS[0]}))
    refused = ask(home, "import", login.parent, "--name", "anew")
    assert refused.code == 5 and "is already a clone" in refused.err
    (home.mirror / "clones/work").rename(home.mirror / "clones/elsewhere")
    base = home.mirror / "clones" / "elsewhere" / ".codex-mirror"
    for words in (("doctor",), ("doctor", "--fix")):
        result = ask(home, *words)
        assert result.code == 1 and f"its directory was moved to {base}" in result.out
        assert f"mv {home.mirror}/clones/elsewhere {home.mirror}/clones/work\n" in result.out
    words = ("import", base / "home" / ".codex", "--name", "anew", "--move-login", "--with-sessions")
    assert ask(home, *words).code == 0
    rows = {row["name"]: row["authStatus"] for row in ask(home, "doctor", "--json").json()}
    assert rows["anew"] == "logged_in" and not (base / "home" / ".codex" / "auth.json").exists()


STRAYS: list[tuple[str, Callable[[dict[str, Any], dict[str, Any]], Any], str]] = [
    ("of the same id", lambda lost, other: {**lost, "id": other["id"]}, "another clone has its id"),
    ("without a root", lambda lost, other: {"id": lost["id"], "name": "play"}, "no clone.json in it names a clone"),
    ("without an id", lambda lost, other: {**lost, "id": ""}, "no clone.json in it names a clone"),
    ("torn", lambda lost, other: [], "no clone.json in it names a clone"),
    ("of another place", lambda lost, other: {**lost, "rootPath": "/x/play"}, "it belongs in /x/play"),
]


@pytest.mark.parametrize(("kind", "row", "why"), STRAYS, ids=[one[0] for one in STRAYS])
def test_a_directory_that_is_not_surely_a_lost_clone_s_is_named_and_left(
    home: Home, codex: Path, kind: str, row: Callable[..., Any], why: str
) -> None:
    for name in ("work", "play"):
        make_clone(home, name)
    base, rows = home.mirror / "clones" / "play" / ".codex-mirror", rows_of(home)
    (base / "clone.json").write_text(json.dumps(row(rows[1], rows[0])))
    write_registry(home, rows[:1])
    before = tree(base)
    for words in (["doctor"], ["doctor", "--fix"]):
        told = ask(home, *words).out
        assert f"{base} ({why})" in told and "orphan-wrapper" not in told
    assert rows_of(home) == rows[:1] and tree(base) == before


@pytest.mark.parametrize(
    ("mode", "is_open"), [(0o700, False), (0o2700, False), *((0o700 | 1 << n, True) for n in range(6))]
)
def test_a_directory_is_open_where_its_group_or_others_have_any_right(home: Home, mode: int, is_open: bool) -> None:
    home.bin.chmod(mode)
    assert cm.is_open_to_others(str(home.bin)) == is_open
    home.bin.rmdir()
    home.bin.touch(mode=0o666)
    assert not cm.is_open_to_others(str(home.bin))


def test_a_broken_registry_is_kept_for_its_owner_alone_also_where_no_hard_link_can_be_made(
    home: Home, codex: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_clone(home, "work")
    path = home.mirror / "registry.json"
    path.write_text("{")
    monkeypatch.setattr(cm, "make_link", lambda source, target: False)
    assert "rebuilt the registry with 1 clone; the broken one is " in ask(home, "doctor", "--fix").err
    [aside] = home.mirror.glob("registry.json.broken-*")
    assert (aside.read_text(), aside.stat().st_mode & 0o777) == ("{", 0o600) and clone_in(home, "work")


def test_a_directory_without_a_row_is_an_earlier_clone_s_only_by_its_shape(home: Home, codex: Path) -> None:
    clone = make_clone(home, "work")
    base = Path(cm.base_of(clone))
    (base / "clone.json").unlink()
    assert cm.complaint_about_base(clone) == ""
    for name in ("registry.json", "clones", "lock", "clone.json"):
        (base / name).touch()
        assert "is not the directory of 'work'" in cm.complaint_about_base(clone), name
        (base / name).unlink()
    for name in ("runtime", "home"):
        (base / name).rename(base / f"{name}.away")
    assert "is not the directory of 'work'" in cm.complaint_about_base(clone)


def test_a_clone_of_a_mirror_home_with_two_names_is_no_orphan_under_either(home: Home, codex: Path) -> None:
    make_clone(home, "work")
    other = home.base / "m2"
    other.symlink_to(home.mirror)
    found = ask(home, "doctor", env={"CODEX_MIRROR_HOME": str(other)})
    assert found.code == 0 and "clones that" not in found.out, found


def test_a_rebuilt_registry_has_everything_of_the_one_before_in_its_order(home: Home, codex: Path) -> None:
    for name in ("zoe", "work", "ann"):
        make_clone(home, name)
    rows = rows_of(home)
    strange = {**rows[1], "id": "x-1", "name": "strange", "runtimeKind": "hologram"}
    write_registry(home, [rows[0], strange, *rows[1:]], theirs={"a": 1})
    assert ask(home, "set", "ann", "--keep-env", "CODEX_API_KEY").code == 0
    (home.mirror / "registry.json").rename(home.mirror / "registry.json.previous")
    (home.mirror / "registry.json").write_text("")
    (home.mirror / "registry.json").chmod(0o600)
    assert "rebuilt the registry with 3 clones" in ask(home, "doctor", "--fix").err
    assert [row["name"] for row in rows_of(home)] == ["zoe", "strange", "work", "ann"]
    document = json.loads((home.mirror / "registry.json").read_bytes())
    assert document["theirs"] == {"a": 1} and document["clones"][1] == strange


BACK: list[tuple[str, Callable[[list[Any]], list[Any]], list[str]]] = [
    ("one is broken", lambda rows: [rows[0], {**rows[1], "name": "-"}, rows[2]], ["zoe", "work", "ann"]),
    ("one is broken and one lost", lambda rows: [{**rows[0], "runtimeKind": "x"}, rows[1]], ["zoe", "work", "ann"]),
    ("two are lost", lambda rows: rows[1:2], ["work", "ann", "zoe"]),
    ("one of before is as a later one", lambda rows: [{**rows[0], "codexVersionPinned": "1"}, *rows[1:]],
     ["zoe", "work", "ann"]),
]  # fmt: skip


@pytest.mark.parametrize("is_torn", [False, True], ids=["broken entries", "broken registry"])
@pytest.mark.parametrize(("kind", "damage", "order"), BACK, ids=[row[0] for row in BACK])
def test_clones_come_back_by_their_own_rows_in_one_way(
    home: Home, codex: Path, kind: str, damage: Callable[[list[Any]], list[Any]], order: list[str], is_torn: bool
) -> None:
    for name in ("zoe", "work", "ann"):
        make_clone(home, name)
    whole, damaged = rows_of(home), damage(rows_of(home))
    write_registry(home, damaged, theirs={"a": 1})
    if is_torn:
        os.replace(home.mirror / "registry.json", home.mirror / "registry.json.previous")
        (home.mirror / "registry.json").write_text("")
        (home.mirror / "registry.json").chmod(0o600)
    ask(home, "doctor", "--fix")
    rows = {row["name"]: row for row in rows_of(home)}
    kept = not is_torn and "before" in kind  # A good row is the truth; that of a lost registry isn't.
    assert list(rows) == order and json.loads((home.mirror / "registry.json").read_bytes())["theirs"] == {"a": 1}
    assert list(rows.values()) == [
        next(row for row in (damaged if kept else whole) if row["name"] == one) for one in order
    ]
    assert ask(home, "doctor").code == 0 or kept


def test_a_clone_whose_own_row_does_not_fit_stays_where_it_is(home: Home, codex: Path) -> None:
    for name in ("work", "play"):
        make_clone(home, name)
    rows = rows_of(home)
    own = home.mirror / "clones" / "play" / ".codex-mirror" / "clone.json"
    own.write_text(json.dumps({**rows[1], "name": "work", "wrapperPath": rows[0]["wrapperPath"]}))
    write_registry(home, rows[:1])
    fixed = ask(home, "doctor", "--fix")
    assert f"left {own.parent} alone: another entry has the same name 'work'" in fixed.err and rows_of(home) == rows[:1]


MAY_EXIST: list[tuple[str, Callable[[Home, Path], object], bool]] = [
    ("its directory is there", lambda home, root: None, True),
    ("its row is gone", lambda home, root: (root / ".codex-mirror/clone.json").unlink(), True),
    ("another's is there", lambda home, root: (root / ".codex-mirror/clone.json").write_text('{"id": "x"}'), False),
    ("its disk is away", lambda home, root: (cm.discard(str(root.parent)), (home.bin / "far").unlink()), True),
    ("its disk may be away", lambda home, root: cm.discard(str(root)), True),
    ("its command is gone, too", lambda home, root: (cm.discard(str(root)), (home.bin / "far").unlink()), False),
    ("a stranger's is there", lambda home, root: (cm.discard(str(root)), (home.bin / "far").write_text("x")), False),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "change", "may_exist"), MAY_EXIST, ids=[row[0] for row in MAY_EXIST])
def test_a_clone_whose_directory_is_gone_may_be_on_a_disk_that_is_away(
    home: Home, codex: Path, kind: str, change: Callable[[Home, Path], object], may_exist: bool
) -> None:
    clone = make_clone(home, "far", root=str(home.base / "disk" / "far"))
    change(home, Path(clone.root))
    assert cm.may_still_exist(clone, places_of(home)) == may_exist


def test_in_the_mirror_home_itself_a_clone_whose_directory_is_gone_was_removed(home: Home, codex: Path) -> None:
    clone = make_clone(home, "work")
    assert cm.may_still_exist(clone, places_of(home))
    cm.discard(clone.root)
    assert (home.bin / "work").exists() and not cm.may_still_exist(clone, places_of(home))


def test_a_lost_clone_that_lies_elsewhere_comes_back_only_where_it_belongs(home: Home, codex: Path) -> None:
    for name in ("work", "play"):
        make_clone(home, name)
    clones, rows = home.mirror / "clones", rows_of(home)
    write_registry(home, [])
    (clones / "play").rename(clones / "elsewhere")
    assert f"(it belongs in {clones}/play)" in ask(home, "doctor", "--fix").out and rows_of(home) == rows[:1]
    (clones / "elsewhere").rename(clones / "play")
    ask(home, "doctor", "--fix")
    assert [row["name"] for row in rows_of(home)] == ["work", "play"]


def test_a_lost_clone_that_others_could_have_changed_is_named_so(home: Home, codex: Path) -> None:
    for name in ("work", "play"):
        make_clone(home, name)
    base = home.mirror / "clones" / "play" / ".codex-mirror"
    write_registry(home, rows := rows_of(home)[:1])
    base.parent.chmod(0o777)
    assert f"{base} ({base.parent} " in ask(home, "doctor", "--fix").out and rows_of(home) == rows


def test_what_the_earlier_program_leaves_is_known_by_its_whole_name(home: Home) -> None:
    home.mirror.mkdir()
    names = ["registry.json.lock", "registry.json.tmp-1", "registry.json.lock.new", "registry.json.locked"]
    for name in names:
        (home.mirror / name).touch()
    assert cm.find_legacy_leftovers(places_of(home), []) == [str(home.mirror / name) for name in names[:2]]


def test_a_broken_entry_that_no_clone_fits_stays_and_that_is_said(home: Home, codex: Path) -> None:
    make_clone(home, "work")
    write_registry(home, rows := [*rows_of(home), {"name": "lost"}])
    assert "the broken entries were left alone: no clone was found for them\n" in ask(home, "doctor", "--fix").err
    assert rows_of(home) == rows


def test_a_file_shared_by_three_is_mended_with_a_new_inode_in_all(home: Home, codex: Path) -> None:
    for name in ("one", "two", "three"):
        make_clone(home, name)
    paths = [Path(clone_in(home, name).runtime.path, "codex-path/rg") for name in ("one", "two", "three")]
    before, content = paths[0].stat().st_ino, paths[0].read_bytes()
    spoil(paths[0])
    paths[0].chmod(0o555)
    found = ask(home, "doctor", "one", "--deep", "--json")
    assert "the same file as in two, three" in json.dumps(found.json())
    assert ask(home, "doctor", "--deep", "--fix").code == 0
    assert {path.read_bytes() for path in paths} == {content}
    assert len({path.stat().st_ino for path in paths}) == 1 and paths[0].stat().st_ino != before


def test_doctor_works_without_codex_on_path_and_offline(home: Home) -> None:
    package = fake_codex(home.base / "package")
    make_clone(home, "work", source=str(package))
    cm.discard(str(package))
    home.put_on_path(home.bin)
    assert ask(home, "doctor").code == 0 and ask(home, "doctor", "--fix", "--deep").code == 0


def test_many_clones_are_examined_side_by_side_each_by_itself(home: Home) -> None:
    """One that hangs doesn't hide the others; its five seconds are the only ones that pass."""
    home.put_on_path(home.bin)
    package = fake_codex(home.base / "package")
    names = [f"c{number}" for number in range(6)]
    for name in names:
        make_clone(home, name, source=str(package))
    login = home.clone_home("c3") / ".codex" / "auth.json"
    login.write_text(json.dumps({"OPENAI_API_KEY": API_KEYS[1]}))
    rows = ask(home, "doctor", "--json").json()
    assert [row["name"] for row in rows][:6] == names
    assert [row["authStatus"] for row in rows[:6]] == [*["not_logged_in"] * 3, "logged_in", *["not_logged_in"] * 2]


def test_the_program_itself_is_examined_with_its_wrapper(home: Home, codex: Path) -> None:
    """What doctor starts is what the user would: the command, without CODEX_MIRROR_CLI in its way."""
    clone = make_clone(home, "work")
    context = caller_in(home, {"CODEX_MIRROR_CLI": "/bin/false", "CODEX_API_KEY": API_KEYS[0]})
    assert cm.login_status(clone, context) == cm.CapturedOutput(1, b"", b"Not logged in\n")
    os.unlink(clone.wrapper)
    assert cm.login_status(clone, context) == cm.CapturedOutput(1, b"", b"Not logged in\n")
    Path(clone.wrapper).write_text(cm.wrapper_head(clone.id, cm.seal_of(b'pwd; echo "$0"\n')) + 'pwd; echo "$0"\n')
    assert cm.login_status(clone, context) == cm.CapturedOutput(0, os.fsencode(f"/\n{clone.wrapper}\n"), b"")
    append(Path(clone.wrapper), "echo edited\n")
    assert cm.login_status(clone, context) == cm.CapturedOutput(1, b"", b"Not logged in\n")
    os.unlink(clone.wrapper)
    assert tree(home.home).keys() == {"."}


def test_doctor_reads_once_what_is_the_same_for_all_clones(home: Home, codex: Path) -> None:
    """Its time once was that of one clone's look at everything, times the square of their number."""
    for tail in (".zshenv", ".rustup/settings.toml", ".nvm/nvm.sh"):
        (home.home / tail).parent.mkdir(exist_ok=True)
        (home.home / tail).touch()
    asked = home.base / "asked"
    (home.base / "tools").mkdir()
    (home.base / "tools" / "zsh").write_text(f"#!/bin/sh\necho >>{asked}\n")
    (home.base / "tools" / "zsh").chmod(0o755)
    home.put_on_path(home.base / "tools")
    counts = []
    for number in range(4):
        make_clone(home, f"work{number}")
        opened = Counter[str]()
        registry = cm.read_registry(places_of(home))
        context = caller_in(home)._replace(env={**home.env, "SHELL": "/bin/zsh"})
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(cm, "checked_share", seen(lambda text, *rest: text, opened))
            patched.setattr(cm, "read_or_none", seen(cm.read_or_none, opened))
            cm.inspect_clones(registry.clones, cm.inspection_context(registry, None, context), context)
        users = {path: count for path, count in opened.items() if "/" not in path or cm.is_below(path, str(home.home))}
        counts.append((users, len(asked.read_text())))
        asked.unlink()
    assert counts[1:] == counts[:1] * 3 and counts[0][0]


def seen(read: Callable[..., Any], opened: Counter[str]) -> Callable[..., Any]:
    return lambda path, *rest: (opened.update([path]), read(path, *rest))[1]


TRIED = [
    ("codex-mirror doctor --fix", False, ""),
    ("codex-mirror doctor work --fix", False, ""),
    ("codex-mirror doctor work --fix", True, ""),
    ("codex-mirror doctor work --deep --fix", True, ""),
    ("codex-mirror doctor work --deep --fix", False, "codex-mirror doctor work --deep --fix"),
    ("move it away, then codex-mirror doctor x --fix", True, "move it away, then codex-mirror doctor x --fix"),
    ("codex-mirror update work", False, "codex-mirror update work"),
]


@pytest.mark.parametrize(("fix", "deep", "left"), TRIED)
def test_what_fix_just_tried_in_vain_is_not_advised_again(fix: str, deep: bool, left: str) -> None:
    [problem] = cm.without_tried_fixes([cm.Problem("x", ERROR, "what", fix)], deep)
    assert problem.fix == left


def test_doctor_says_why_a_fix_failed_and_does_not_send_anybody_to_try_it_again(home: Home, codex: Path) -> None:
    clone = make_clone(home, "work")
    shutil.rmtree(clone.runtime.path)
    codex.unlink()
    told = ask(home, "doctor", "work", "--fix")
    assert told.code == 1 and "CODEX_MIRROR_OFFLINE" in told.err and "runtime-incomplete" in told.out
    assert "doctor work --fix" not in told.out + told.err
