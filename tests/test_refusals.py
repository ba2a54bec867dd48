"""What a change of a clone refuses comes with a way out and leaves all as it was; what it can't finish is told."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from helpers import Home, fake_codex, npm_install
from rooms import ask, at_rest, caller_in, changes, clone_in, cm, make_clone, on_terminal, rows_of


class Refusal(NamedTuple):
    """A command that is refused after something was done, with an exit code, what it says, and what it advises."""

    words: list[str]
    code: int
    says: str
    hint: str
    after: Callable[[Home], object] = lambda home: None


def program(path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)


def on_path(home: Home) -> None:
    program(home.base / "tools" / "tool")
    home.put_on_path(home.base / "tools")


def wrappers_elsewhere(home: Home) -> None:
    assert ask(home, "wrapper", "install", "--bin-dir", str(home.base / "commands")).code == 0
    program(home.base / "commands" / "tool")


def updated(home: Home) -> None:
    npm_install(home.base / "npm", fake_codex(home.base / "newer", "0.170.0"))
    assert ask(home, "update", "work").code == 0


def damaged_before(home: Home) -> None:
    updated(home)
    earlier = Path(clone_in(home, "work").previous.path) / "codex-path" / "rg"
    earlier.parent.chmod(0o700)
    earlier.unlink()


REFUSALS = {
    "a name that is taken": Refusal(["rename", "work", "play"], 5, "'play' already exists", "another name"),
    "in another case": Refusal(["rename", "work", "PLAY"], 5, "only by case", "another name"),
    "a command that is there": Refusal(["rename", "work", "tool"], 5, "already a command", "another name", on_path),
    "a file in the wrapper directory": Refusal(
        ["rename", "work", "tool"], 5, "wasn't made by", "another name", lambda home: program(home.bin / "tool")
    ),
    "a file beside the clone's own wrapper": Refusal(
        ["rename", "work", "tool"], 5, "wasn't made by", "another name", wrappers_elsewhere
    ),
    "a name that is none": Refusal(["rename", "work", "a/b"], 2, "a/b", ""),
    "a clone that isn't there": Refusal(["rename", "wrok", "job"], 3, "'wrok' was not found", "'work'"),
    "an export to what is there": Refusal(
        ["export", "work", "-o", "notes"],
        5,
        "notes already exists",
        "another file with -o",
        lambda home: (home.home / "notes").touch(),
    ),
    "a login that isn't there": Refusal(
        ["export", "work", "--with-login"], 5, "the login of 'work' can't be exported", "leave --with-login out"
    ),
    "no change": Refusal(["set", "work"], 2, "no change was given", "set --help"),
    "nothing to go back to": Refusal(["rollback", "work"], 1, "no earlier Codex", "--codex VERSION pins any other"),
    "a damaged Codex": Refusal(
        ["rollback", "work"], 1, "the earlier Codex of 'work' is damaged", "update work --codex 0.169.0", damaged_before
    ),
}


@pytest.mark.parametrize("kind", REFUSALS)
def test_a_refused_change_says_why_and_the_way_out_and_changes_nothing(home: Home, codex: Path, kind: str) -> None:
    for name in ("work", "play"):
        make_clone(home, name)
    refusal = REFUSALS[kind]
    refusal.after(home)
    before = at_rest(home)
    result = ask(home, *refusal.words)
    assert (result.code, result.out) == (refusal.code, ""), result
    said, _, hint = result.err.partition("hint: ")
    assert refusal.says in said and refusal.hint in hint and changes(before, at_rest(home)) == {}, result


def test_an_export_is_not_written_to_a_terminal(home: Home, codex: Path) -> None:
    make_clone(home, "work")
    refused = on_terminal(home, "export", "work", "-o", "-")
    assert refused.code == 2 and "an export is not written to a terminal" in refused.out


def test_an_import_that_leaves_something_undone_ends_with_1_and_says_so(
    home: Home, codex: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clone = make_clone(home, "work")
    (home.home / ".codex" / "sessions").mkdir(parents=True)
    (home.home / ".codex" / "auth.json").write_text("{}")
    monkeypatch.setattr(cm, "import_home", lambda *wanted: (clone, ["the login is still there"]))
    outcome = cm.import_clone(caller_in(home), path=str(home.home / ".codex"), name="work", move_login=True)
    assert outcome.code == cm.FAILED and "the login is still there" in outcome.notes
    assert "was moved" not in " ".join(outcome.notes)


# A command's handler and arguments, the deed that it hands its work to, and what that gives back when it left `left`.
DEEDS: dict[str, tuple[dict[str, Any], str, Callable[[Any, list[str]], Any]]] = {
    "create": ({"name": "new"}, "create_clone", lambda clone, left: (clone, left)),
    "set_clone": ({"name": "work", "home": "shared"}, "change_clone", lambda clone, left: (True, [], left)),
    "rename_command": ({"name": "work", "new_name": "x"}, "rename_clone", lambda clone, left: (clone, left, [])),
    "remove": ({"name": "work"}, "remove_clone", lambda clone, left: (clone, [], left)),
    "update": ({"names": ["work"]}, "update_clone", lambda clone, left: cm.UpdateResult(clone, clone, tuple(left))),
    "roll_back": ({"name": "work"}, "roll_back_clone", lambda clone, left: cm.UpdateResult(clone, clone, tuple(left))),
    "use": ({"name": "work"}, "bind_directory", lambda clone, left: (None, left)),
    "move_home_command": ({}, "move_home", lambda clone, left: ([clone], left)),
    "wrapper_install": ({}, "install_wrappers", lambda clone, left: [(clone, "".join(left))]),
}


@pytest.mark.parametrize("handler", DEEDS)
def test_a_command_that_left_something_undone_says_what_and_ends_with_1(
    home: Home, codex: Path, monkeypatch: pytest.MonkeyPatch, handler: str
) -> None:
    given, deed, result = DEEDS[handler]
    clone = make_clone(home, "work")
    for left in ([], ["/b/work is still there"]):
        monkeypatch.setattr(cm, deed, lambda *words, left=left: result(clone, left))
        outcome = getattr(cm, handler)(caller_in(home), **given)
        assert outcome.code == (cm.FAILED if left else cm.DONE)
        assert ("is still there" in " ".join(outcome.notes)) == bool(left)


def test_a_registry_is_rebuilt_with_a_clone_on_a_disk_that_is_away_and_the_one_before_stays(
    home: Home, codex: Path
) -> None:
    (home.base / "disk").mkdir()
    make_clone(home, "far", root=str(home.base / "disk" / "far"))
    make_clone(home, "work")
    make_clone(home, "play")
    rows, registry = rows_of(home), home.mirror / "registry.json"
    shutil.move(home.base / "disk", home.base / "in a drawer")
    previous = registry.with_name("registry.json.previous").read_bytes()
    assert "far" in {row["name"] for row in json.loads(previous)["clones"]}
    registry.write_text("{")
    assert ask(home, "doctor", "--fix").code in (0, 1)
    assert sorted(row["name"] for row in rows_of(home)) == sorted(row["name"] for row in rows)
    assert registry.with_name("registry.json.previous").read_bytes() == previous


def settings_of_another(home: Home) -> None:
    (home.home / ".codex").mkdir()
    (home.home / ".codex" / "config.toml").write_text('model = "o"\n')


def loose_pin(home: Home) -> None:
    (home.clone_home("work") / ".codex/config.toml").write_text('model = "o"\n')


def trusting_profile(home: Home) -> None:
    profile = home.clone_home("work") / ".codex/fast.config.toml"
    profile.write_text(f'[projects."{home.home}"]\ntrust_level = "trusted"\n')


def moved_home(home: Home) -> None:
    """The mirror home has another name than when its settings were written, which name a file in it."""
    was = home.base / "was"
    home.mirror.rename(was)
    assert ask(home, "move-home", "--yes", env={"CODEX_MIRROR_HOME": str(was)}).code == 0
    config = was / "clones/work/.codex-mirror/home/.codex/config.toml"
    config.write_text(f'notify = ["{was}/lock"]\n{config.read_text()}')
    was.rename(home.mirror)


# What stages settings anew, and the file that a Codex writes meanwhile: what it wrote last is what counts.
WRITTEN_MEANWHILE: list[tuple[Callable[[Home], None], str, str, int]] = [
    (settings_of_another, "set work --settings-from ~/.codex", "config.toml", 1),
    (loose_pin, "doctor work --fix", "config.toml", 1),
    (trusting_profile, "doctor work --fix", "fast.config.toml", 0),  # It trusts the home no more, all the same.
    (moved_home, "move-home --yes", "config.toml", 1),
]


@pytest.mark.parametrize(
    ("prepare", "words", "name", "code"), WRITTEN_MEANWHILE, ids=[row[0].__name__ for row in WRITTEN_MEANWHILE]
)
def test_settings_that_codex_writes_meanwhile_are_left_as_they_are_and_that_is_said(
    home: Home, codex: Path, monkeypatch: pytest.MonkeyPatch, prepare: Any, words: str, name: str, code: int
) -> None:
    make_clone(home, "work")
    prepare(home)
    path, commit = home.clone_home("work") / ".codex" / name, cm.Change.commit

    def written_meanwhile(change: Any, registry: Any) -> None:
        path.write_text("written = 1\n")
        commit(change, registry)

    monkeypatch.setattr(cm.Change, "commit", written_meanwhile)
    result = ask(home, *words.split())
    assert result.code == code and f"{path} was changed in the meantime" in result.err + result.out, result
    assert path.read_text() == "written = 1\n"
