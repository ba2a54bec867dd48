"""Shared settings: what a clone has in common with the real home, as links that stay live."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from helpers import Home
from rooms import ask, at_rest, changes, clone_in, cm, make_clone, places_of, rows_of


@pytest.fixture
def mine(home: Home, codex: Path) -> Path:
    """The real home's Codex home with settings of every kind, and secrets beside them."""
    own = home.home / ".codex"
    for tail in ("AGENTS.md", "agents/a.toml", "prompts/p.md", "rules/r.rules", "skills/one/SKILL.md", "skills/two.md"):
        (own / tail).parent.mkdir(parents=True, exist_ok=True)
        (own / tail).write_text(f"{tail} of the user")
    (own / "skills" / ".system" / "x").mkdir(parents=True)
    (own / "auth.json").write_text("{}")
    (own / "config.toml").write_text("")
    return own


def links(home: Home, name: str = "work") -> dict[str, str]:
    """The links in the clone's Codex home, each with where it leads."""
    top = Path(cm.codex_home_of(clone_in(home, name)))
    return {str(path.relative_to(top)): os.readlink(path) for path in sorted(top.rglob("*")) if path.is_symlink()}


ALL = ("AGENTS.md", "agents", "prompts", "rules", "skills/one", "skills/two.md")
EVERY = [word for entry in cm.SHARABLE_SETTINGS for word in ("--share-settings", entry)]


@pytest.mark.parametrize("how", ["create", "set"])
def test_every_entry_is_linked_and_skills_one_by_one(home: Home, mine: Path, how: str) -> None:
    if how == "set":
        ask(home, "create", "work")
    assert ask(home, how, "work", *EVERY).code == 0
    assert links(home) == {tail: str(mine / tail) for tail in ALL}
    assert clone_in(home, "work").settings_links == ALL
    top = Path(cm.codex_home_of(clone_in(home, "work")))
    (mine / "AGENTS.md").write_text("changed")
    assert (top / "AGENTS.md").read_text() == "changed", "they stay live"
    assert not (top / "skills" / ".system").exists() and not (top / "skills").is_symlink()
    before = at_rest(home)
    assert ask(home, "set", "work", *EVERY).out == "nothing to change in 'work'\n"
    assert changes(before, at_rest(home)) == {}


def test_unshared_settings_lose_our_links_alone(home: Home, mine: Path) -> None:
    ask(home, "create", "work", *EVERY)
    top = Path(cm.codex_home_of(clone_in(home, "work")))
    (top / "skills" / "two.md").unlink()
    (top / "skills" / "two.md").write_text("the clone's own")
    (top / "prompts").unlink()
    (top / "prompts").symlink_to(home.base / "elsewhere")
    assert ask(home, "set", "work", "--unshare-settings", "skills", "--unshare-settings", "prompts").code == 0
    left = {
        "prompts": str(home.base / "elsewhere"),
        **{tail: str(mine / tail) for tail in ("AGENTS.md", "agents", "rules")},
    }
    assert links(home) == left and (top / "skills" / "two.md").read_text() == "the clone's own"
    assert clone_in(home, "work").shared_settings == ("AGENTS.md", "agents", "rules")
    assert (mine / "skills" / "one" / "SKILL.md").exists() and (mine / "prompts" / "p.md").exists()
    assert ask(home, "set", "work", "--unshare-settings", "skills").code == 1


def test_what_the_clone_has_of_its_own_wins_and_is_named(home: Home, mine: Path) -> None:
    ask(home, "create", "other")
    theirs = Path(cm.codex_home_of(clone_in(home, "other")))
    (theirs / "AGENTS.md").write_text("of other")
    said = ask(home, "create", "work", "--settings-from", "other", *EVERY)
    assert said.code == 0 and "AGENTS.md is the clone's own file, and stays" in said.err
    assert "AGENTS.md" not in links(home)
    assert "AGENTS.md is the clone's own file" in ask(home, "set", "other", "--share-settings", "AGENTS.md").err
    assert (theirs / "AGENTS.md").read_text() == "of other"
    assert ask(home, "set", "other", "--env", "A=b").err == ""  # That is about something else.


@pytest.mark.parametrize(
    "entry",
    ["auth.json", "config.toml", "sessions", "skills/one", "../.ssh", "/etc", ".", "state_5.sqlite", ".env", "x"],
)
def test_nothing_else_can_be_shared(home: Home, mine: Path, entry: str) -> None:
    ask(home, "create", "work")
    before = at_rest(home)
    for words in (("create", "new"), ("set", "work")):
        refused = ask(home, *words, "--share-settings", entry)
        assert refused.code == 2 and "AGENTS.md, agents, prompts, rules, skills" in refused.err
    assert changes(before, at_rest(home)) == {}


def test_an_entry_that_leads_to_a_secret_or_to_nothing_is_not_linked(home: Home, mine: Path) -> None:
    (mine / "AGENTS.md").unlink()
    (mine / "AGENTS.md").symlink_to("auth.json")
    (mine / "skills" / "stolen").symlink_to(mine / "auth.json")
    (mine / "skills" / "nowhere").symlink_to("gone")
    ask(home, "create", "work", *EVERY)
    assert set(links(home)) == {"agents", "prompts", "rules", "skills/one", "skills/two.md"}


def test_how_the_links_stand_is_told_by_the_record(home: Home, mine: Path) -> None:
    clone = make_clone(home, "work", share_settings=cm.SHARABLE_SETTINGS)
    top = Path(cm.codex_home_of(clone))
    assert cm.settings_links_of(clone, places_of(home)) == ((), (), ())
    (top / "AGENTS.md").unlink()
    (top / "AGENTS.md").write_text("an editor replaced the link")
    (mine / "skills" / "new").mkdir()
    (mine / "rules" / "r.rules").unlink()
    (mine / "rules").rmdir()
    assert cm.settings_links_of(clone, places_of(home)) == (("skills/new",), ("AGENTS.md",), ("rules",))


def test_doctor_links_what_is_new_and_names_the_rest(home: Home, mine: Path) -> None:
    make_clone(home, "work", share_settings=cm.SHARABLE_SETTINGS)
    top = Path(cm.codex_home_of(clone_in(home, "work")))
    (top / "AGENTS.md").unlink()
    (top / "AGENTS.md").write_text("an editor replaced the link")
    (mine / "skills" / "new").mkdir()
    (mine / "skills" / "two.md").unlink()
    ids = {problem["id"] for problem in ask(home, "doctor", "work", "--json").json()[0]["problems"]}
    assert {"settings-unlinked", "settings-replaced", "settings-gone"} <= ids
    assert "work: linked skills/new" in ask(home, "doctor", "work", "--fix").err
    assert links(home)["skills/new"] == str(mine / "skills" / "new") and "AGENTS.md" not in links(home)
    assert "skills/new" in clone_in(home, "work").settings_links
    assert (top / "AGENTS.md").read_text() == "an editor replaced the link"


def test_without_shared_settings_the_row_says_nothing_of_them(home: Home, mine: Path) -> None:
    make_clone(home, "work")
    assert not {"sharedSettings", "settingsLinks", "directories", "default"} & set(rows_of(home)[0])
