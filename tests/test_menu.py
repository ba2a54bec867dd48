"""What a person does in the menu, told once: each test runs on the pure model and on the real program in tmux."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest.mock import Mock

import pytest
import rollouts

import codex_mirror as cm
from helpers import API_KEYS, Home, Mirror, chatgpt_login, fake_codex, npm_install, tree
from terminal import Person, Pure, Tmux

Open = Callable[[], Person]


@pytest.fixture(params=["pure", "tmux"])
def opened(request: pytest.FixtureRequest, home: Home, codex: Path) -> Iterator[Open]:
    """Opens the menu, once the test has laid out what is to be seen there."""
    if request.param == "pure":
        yield lambda: Pure(home)
        return
    if not shutil.which("tmux"):
        pytest.skip("needs tmux")
    terminals: list[Tmux] = []

    def open_in_tmux() -> Tmux:
        terminals.append(Tmux(home))
        return terminals[-1].open()

    try:
        yield open_in_tmux
    finally:
        for terminal in terminals:
            terminal.close()


def log_in(home: Home, name: str, key: str = API_KEYS[0]) -> None:
    login = home.clone_home(name) / ".codex" / "auth.json"
    login.write_text(json.dumps({"auth_mode": "apikey", "OPENAI_API_KEY": key}))
    login.chmod(0o600)


def use_half(home: Home, name: str) -> None:
    """Somebody is logged in to the clone by ChatGPT, and 38 % of both windows are used."""
    (home.clone_home(name) / ".codex" / "auth.json").write_text(chatgpt_login("acc-A", "user-A"))
    windows = {
        slot: {"used_percent": 38.0, "window_minutes": minutes, "resets_at": int(time.time()) + 9000}
        for slot, minutes in (("primary", 300), ("secondary", 10080))
    }
    limits = {"limit_id": "codex", **windows, "plan_type": "plus"}
    line = {"timestamp": cm.timestamp_text(time.time()), "type": "event_msg"}
    session = home.clone_home(name) / ".codex/sessions/2026/11/22/rollout-a.jsonl"
    session.parent.mkdir(parents=True, exist_ok=True)
    session.write_text(json.dumps({**line, "payload": {"type": "token_count", "rate_limits": limits}}) + "\n")


def names_of(mirror: Mirror) -> list[str]:
    return [row["name"] for row in mirror("list", "--json").json()]


# --- the key presses of the table ---


def test_a_clone_is_made_and_logged_in(opened: Open, mirror: Mirror) -> None:
    person = opened()
    person.expect("0 clones", "Quick Clone", "gets Codex 0.169.0, as installed")
    person.press("n")
    person.write("work")
    person.press("enter")
    person.expect("created 'work' with Codex 0.169.0", "▸ log in in the browser", "not now")
    person.answer("down", "down", "enter")
    person.expect("API key:")
    person.write(API_KEYS[0])
    person.expect("•" * len(API_KEYS[0]))
    person.press("enter")
    person.expect("'work' is logged in: API key sk-…aaaa", "1 clone ·", "✓ ok")
    assert names_of(mirror) == ["work"]


@pytest.mark.parametrize("is_gone", [False, True])
def test_a_clone_is_made_for_the_working_directory(home: Home, codex: Path, mirror: Mirror, is_gone: bool) -> None:
    here = home.home / "proj"
    here.mkdir()
    person = Pure(home)
    person.model = person.model._replace(here=str(here))
    if is_gone:
        here.rmdir()
    person.press("n", *"work", "down")
    person.expect("▸ create it, and use it in ~/proj and below")
    person.press("enter")
    person.expect(
        "created 'work'", "Log in work", "is not a directory" if is_gone else "now starts 'work' in ~/proj and below"
    )
    assert (mirror("which", cwd=home.home if is_gone else here).code == 0) != is_gone


def test_enter_starts_codex_at_once(opened: Open, mirror: Mirror) -> None:
    mirror("create", "work", check=True)
    person = opened()
    person.expect("▸ work")
    person.press("enter")
    person.expect("work: Codex ended with exit status 0")


def test_f_fixes_what_is_broken_and_says_what_was_done(opened: Open, mirror: Mirror, home: Home) -> None:
    mirror("create", "work", check=True)
    (home.bin / "work").unlink()
    person = opened()
    person.expect("1 broken", "✗ broken", "is missing", "f fixes it: ")
    person.press("f")
    person.expect("1 no login")
    person.expect_not("✗ broken")
    assert (home.bin / "work").exists()


def test_all_are_updated_one_by_one_and_roll_back(opened: Open, mirror: Mirror, home: Home) -> None:
    for name in ("work", "spare"):
        mirror("create", name, check=True)
    npm_install(home.base / "npm", fake_codex(home.base / "newer", "0.170.0"))
    person = opened()
    person.expect("2 updates", "0.169.0 → 0.170.0")
    person.press("U")
    person.expect("Update 2 clones to Codex 0.170.0?")
    person.answer("enter")
    person.expect("work: 0.169.0 → 0.170.0; spare: 0.169.0 → 0.170.0")
    person.expect_not("updates")
    person.press("U")
    person.expect("2 clones, none older than Codex 0.170.0")
    person.answer("esc")
    person.press("b")
    person.expect("work: 0.170.0 → 0.169.0", "1 update")
    person.press("u")
    person.expect("work: 0.169.0 → 0.170.0")


@pytest.mark.parametrize("has_login", [False, True])
def test_a_clone_goes_when_its_name_is_typed(opened: Open, mirror: Mirror, home: Home, has_login: bool) -> None:
    before = tree(home.bin)
    mirror("create", "work", check=True)
    if has_login:
        log_in(home, "work")
    person = opened()
    person.expect("▸ work")
    person.press("x")
    person.expect("its login: API key sk-…aaaa" if has_login else "nothing of value would be lost", "type work:")
    person.press("y", "enter")
    person.expect("type work to remove it")
    person.press("ctrl-u")
    person.write("work")
    person.press("enter")
    person.expect("removed 'work'", "0 clones")
    assert (tree(home.bin), names_of(mirror)) == (before, [])


def test_one_among_many_is_found(opened: Open, mirror: Mirror) -> None:
    for name in ("alpha", "bravo", "charlie"):
        mirror("create", name, check=True)
    person = opened()
    person.expect("3 clones")
    person.press("/")
    person.write("brav")
    person.expect("1 of 3 clones", "▸ bravo")
    person.expect_not("alpha")
    person.press("enter", "r")
    person.expect("bravo: Codex ended")
    person.press("esc")
    person.expect("alpha", "▸ bravo", "3 clones ·")


# --- what was seen going wrong ---


def test_keys_typed_ahead_answer_no_question(opened: Open, mirror: Mirror, home: Home) -> None:
    mirror("create", "work", check=True)
    log_in(home, "work")
    person = opened()
    person.expect("API key sk-…aaaa")
    login = home.clone_home("work") / ".codex" / "auth.json"
    person.burst("L", "y")
    person.expect("log 'work' out?")
    assert login.exists()
    person.answer("esc")
    person.burst("l", "enter", "y", "enter")
    person.expect("'work' is logged in (API key sk-…aaaa)", "▸ no")
    assert login.exists()
    person.answer("enter")
    person.expect_not("log 'work' in again?")
    person.burst("x", "y", "enter")
    person.expect("type work to remove it")
    assert names_of(mirror) == ["work"]


def test_text_typed_ahead_is_kept(opened: Open, mirror: Mirror) -> None:
    person = opened()
    person.burst("n", *"work", "enter")
    person.expect("created 'work'", "log in in the browser")
    person.answer("esc")
    person.burst("x", *"work", "enter")
    person.expect("removed 'work'")
    assert names_of(mirror) == []


def test_a_login_that_came_meanwhile_is_seen_when_a_screen_is_entered(opened: Open, mirror: Mirror, home: Home) -> None:
    mirror("create", "work", check=True)
    person = opened()
    person.expect("not logged in", "○ no login")
    use_half(home, "work")
    person.press("m", "esc")
    person.expect("ChatGPT", "62 %", "✓ ok")


def test_everything_is_looked_at_again_on_f5(opened: Open, mirror: Mirror, home: Home) -> None:
    mirror("create", "work", check=True)
    person = opened()
    person.expect("○ no login")
    (home.bin / "work").unlink()
    npm_install(home.base / "npm", fake_codex(home.base / "newer", "0.170.0"))
    person.press("f5")
    person.expect("✗ broken", "0.169.0 → 0.170.0", "Codex 0.170.0")


def test_a_name_that_cant_be_is_refused_while_it_is_typed(opened: Open, mirror: Mirror, home: Home) -> None:
    mirror("create", "work", check=True)
    before = tree(home.bin), names_of(mirror)
    person = opened()
    person.expect("1 clone ·")
    for name, complaint in [
        ("w/rk", "can't be a clone's name"),
        ("cd", "shell keyword"),
        ("work", "'work' already exists"),
        ("Work", "differs from the clone 'work' only by case"),
        ("ls", "'ls' is already a command"),
    ]:
        person.press("n")
        person.write(name)
        person.expect(complaint)
        person.press("enter")
        person.expect(complaint, f"name: {name}")
        person.press("esc")
        person.expect_not("name:")
    assert (tree(home.bin), names_of(mirror)) == before


def test_a_create_that_fails_gives_its_name_back_with_what_helps(opened: Open, mirror: Mirror, home: Home) -> None:
    person = opened()
    person.expect("0 clones")
    person.press("n", *"work")
    person.expect("name: work")
    (home.base / "npm" / "bin" / "codex").unlink()
    person.press("enter")
    person.expect("CODEX_MIRROR_OFFLINE", "hint: ", "name: work")
    assert names_of(mirror) == []


def test_a_bug_in_a_worker_is_a_dialog_and_ends_the_job(
    home: Home, codex: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    person = Pure(home)
    with monkeypatch.context() as patched:
        patched.setattr(cm, "read_registry", lambda places: 1 // 0)
        person.burst(*"n", *"work", "enter")
    person.expect("this is a bug in codex-mirror", "ZeroDivisionError")
    assert person.model.jobs == ()


def test_a_bug_in_a_look_at_a_registry_that_changed_is_told_and_lies_across_no_screen(
    home: Home, codex: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    person = Pure(home)
    monkeypatch.setattr(cm, "installed_without_starting", lambda env: 1 // 0)
    person.world.glance(person.model, cm.Effect("glance", ("registry",)))
    person.press("!")
    person.expect("this is a bug in codex-mirror", "ZeroDivisionError")


def test_an_exported_path_can_be_read_whole_and_the_export_comes_back(opened: Open, mirror: Mirror, home: Home) -> None:
    mirror("create", "work", check=True)
    deep = home.home / ("deep-" * 12) / ("down-" * 8)
    deep.mkdir(parents=True)
    person = opened()
    person.expect("▸ work")
    person.press("e")
    person.expect("file: work.codex-mirror.tar.gz")
    person.press("ctrl-u")
    person.write(f"{deep}/work.tar.gz")
    person.press("enter")
    person.expect("exported 'work' to", "work.tar.gz (")
    person.answer("q")
    person.press("e", "ctrl-u", *f"{deep}/work.tar.gz", "enter")
    person.expect("already exists", "choose another file")
    person.answer("q")
    person.press("i")
    person.expect("codex-mirror: import")
    person.press("ctrl-u", *f"import {deep}/work.tar.gz --name again", "enter")
    person.expect("imported 'again'")
    assert names_of(mirror) == ["work", "again"]


# --- every verb ---


def test_the_table_shows_who_is_where_and_the_pane_what_is_wrong(opened: Open, mirror: Mirror, home: Home) -> None:
    for name in ("work", "spare"):
        mirror("create", name, check=True)
    log_in(home, "work")
    (home.clone_home("spare").parent / "runtime").rename(home.clone_home("spare").parent / "elsewhere")
    person = opened()
    person.expect("2 clones · 1 broken · 1 no login · Codex 0.169.0 · PATH !", "API key sk-…aaaa", "✓ ok", "✗ broken")
    person.press("down")
    person.expect("its Codex is incomplete", "runtime/0.169.0-", "doctor spare --fix")


def test_limits_are_those_of_who_is_logged_in(opened: Open, mirror: Mirror, home: Home) -> None:
    mirror("create", "work", check=True)
    use_half(home, "work")
    person = opened()
    person.expect("62 %", "5 h ", "week ", "plus", "workspace acc-A", "resets in 2 h")
    (home.clone_home("work") / ".codex" / "auth.json").unlink()
    person.press("f5")
    person.expect("not logged in", "○ no login")
    person.expect_not("62 %", "plus")


def test_fresh_limits_are_asked_for_in_the_background(opened: Open, mirror: Mirror) -> None:
    mirror("create", "work", check=True)
    person = opened()
    person.expect("▸ work")
    for key in ("a", "A"):
        person.press(key)
        person.expect("work: not asked: CODEX_MIRROR_OFFLINE is set")
        person.press("j")


def test_how_a_clone_lives_is_changed(opened: Open, mirror: Mirror, home: Home) -> None:
    (home.home / ".npmrc").write_text("x")
    mirror("create", "work", check=True)
    person = opened()
    person.expect("○ no login")
    person.press("t")
    person.expect("Settings of work", "home             isolated", "shares           .gitconfig", "not hidden       -")
    person.press("down", "enter")
    person.expect("remove .gitconfig", "another…")
    person.press("end", "enter", *".npmrc", "enter")
    person.expect("changed 'work'", ".gitconfig, .config/git, .npmrc")
    assert mirror("list", "--json").json()[0]["shared"] == [".gitconfig", ".config/git", ".npmrc"]
    person.press("home", "enter")
    person.expect("▸ shared")
    person.press("enter")
    person.expect("home             shared")
    assert mirror("list", "--json").json()[0]["home"] == "shared"
    person.press("esc")
    person.expect_not("Settings of work")


def test_what_is_not_possible_now_says_why(opened: Open, mirror: Mirror) -> None:
    mirror("create", "work", check=True)
    person = opened()
    person.expect("○ no login")
    person.press("b")
    person.expect("rollback work failed", "no earlier")
    person.answer("q")
    person.press("L")
    person.expect("work: not logged in")


def test_doctor_of_one_and_of_all_tells_everything(opened: Open, mirror: Mirror, home: Home) -> None:
    mirror("create", "work", check=True)
    (home.bin / "work").unlink()
    person = opened()
    person.expect("✗ broken")
    person.press("d")
    person.expect("doctor work", "is missing", "[wrapper]", "f fix")
    person.answer("f")
    person.expect("doctor --fix work", "✓ work: ok")
    person.answer("q")
    person.press("m", "down", "down", "down", "enter")
    person.expect("✓ work: ok", "codex-mirror:")


def test_shell_path_setup_writes_the_block(opened: Open, home: Home) -> None:
    home.env["SHELL"] = "/bin/bash"
    person = opened()
    person.expect("PATH !")
    person.press("down", "down", "down", "down", "enter")
    person.expect("Shell PATH Setup", "it is not on PATH yet", "▸ ")
    person.answer("enter")
    person.expect("now puts", "to use it in this shell")
    assert str(home.bin) in (home.home / ".bashrc").read_text()


def test_a_removal_that_has_gone_stale_is_asked_again(opened: Open, mirror: Mirror, home: Home) -> None:
    mirror("create", "work", check=True)
    person = opened()
    person.expect("○ no login")
    person.press("x")
    person.expect("nothing of value would be lost")
    log_in(home, "work")
    person.write("work")
    person.press("enter")
    person.expect("its login: API key sk-…aaaa", "type work:", "what would be lost has changed")
    person.write("work")
    mirror("remove", "work", "--yes", check=True)
    mirror("create", "work", check=True)
    log_in(home, "work")
    person.press("enter")
    person.expect("what would be lost has changed")
    assert (home.clone_home("work") / ".codex" / "auth.json").exists()


def test_a_logout_that_has_gone_stale_is_asked_again(opened: Open, mirror: Mirror, home: Home) -> None:
    mirror("create", "work", check=True)
    log_in(home, "work")
    person = opened()
    person.expect("✓ ok")
    person.press("L")
    person.expect("sk-…aaaa) here")
    log_in(home, "work", API_KEYS[1])
    person.answer("y")
    person.expect("sk-…bbbb) here", "▸ no", "what would be lost has changed")
    assert (home.clone_home("work") / ".codex" / "auth.json").exists()


def test_renaming_begins_with_the_old_name(opened: Open, mirror: Mirror) -> None:
    mirror("create", "work", check=True)
    person = opened()
    person.expect("▸ work")
    person.press("R")
    person.expect("new name: work")
    person.write("shop")
    person.press("enter")
    person.expect("'work' is now 'workshop'")
    person.expect("▸ workshop")


def test_login_and_logout_hand_the_terminal_over(opened: Open, mirror: Mirror, home: Home) -> None:
    mirror("create", "work", check=True)
    auth = home.base / "login.json"
    auth.write_text(json.dumps({"auth_mode": "apikey", "OPENAI_API_KEY": API_KEYS[1]}))
    home.env["FAKE_CODEX_AUTH"] = str(auth)
    person = opened()
    person.expect("○ no login")
    person.press("l")
    person.expect("in the browser", "with a device code", "with an API key")
    person.press("down", "enter")
    person.expect("'work' is logged in: API key sk-…bbbb", "✓ ok")
    person.press("L")
    person.expect("log 'work' out?", "▸ no")
    person.answer("y")
    person.expect("work: logout ended with exit status 0", "not logged in")


def test_a_second_login_is_asked_for_also_when_the_first_came_since(opened: Open, mirror: Mirror, home: Home) -> None:
    mirror("create", "work", check=True)
    person = opened()
    person.expect("○ no login")
    log_in(home, "work")
    person.press("l", "enter")
    person.expect("'work' is logged in (API key sk-…aaaa)", "drops that login at once", "▸ no")
    person.answer("enter")
    person.expect("sk-…aaaa")
    assert (home.clone_home("work") / ".codex" / "auth.json").exists()


def test_a_session_is_gone_on_with_and_handed_over(opened: Open, mirror: Mirror, home: Home) -> None:
    for name in ("work", "spare"):
        mirror("create", name, check=True)
    session = rollouts.an_id()
    lines = rollouts.Shape().beginning(session, "mend the parser", cwd=str(home.home))
    rollouts.write(home.clone_home("work") / ".codex", session, lines)
    person = opened()
    person.expect("2 clones")
    person.press("s")
    person.expect("Sessions of work", "mend the parser", "h hand over")
    person.press("enter")
    person.expect("work: Codex ended with exit status 0")
    person.press("h", "h")
    person.expect("Hand over to", "spare", "not logged in")
    person.press("enter")
    person.expect("handed session", "continue it as spare")
    person.answer("enter")
    person.expect("spare: Codex ended with exit status 0")
    assert [row["id"] for row in mirror("sessions", "spare", "--json").json()] == [session]


@pytest.mark.parametrize(
    ("line", "seen"),
    [
        ("rename office", "'work' is now 'office'"),
        ("codex-mirror rename spare other", "'spare' is now 'other'"),
        ("run exec '7'", "work: Codex ended with exit status"),
        ("which", "no clone is set for"),
        ("list", "not logged in"),
        ("--json which", '"because"'),
        ("list --json", '"name": "work"'),
        ("use", "codex-mirror run now starts 'work'"),
        ("remove --yes", "removed 'work'"),
        ("remove --dry-run", "nothing was changed: this was a dry run"),
        ("use --default", "'work'"),
        ("handover", "missing: ID"),
        ("--version", f"codex-mirror {cm.__version__}"),
        ("codex-mirror -V", f"codex-mirror {cm.__version__}"),
        ("", "type something, or Esc to go back"),
        ("export -o -", "pipes don't work in the menu"),
        ("import - --yes", "pipes don't work in the menu"),
        ("rename --dry-run office", "nothing was changed: this was a dry run"),
        ("env --shell json", "CODEX_MIRROR_CLONE"),
        ("env --unset", "unset CODEX_MIRROR_CLONE"),
        ("use --unset", "no clone was set in"),
        ("create --help", "--codex VERSION|latest"),
        ("list -h work", "usage: codex-mirror list"),
        ("login --with-api-key", "API key:"),
        ("help run", "usage: codex-mirror run"),
        ("run --help", "usage: codex-mirror run"),
        ("run work --help", "work: Codex ended with exit status 0"),
        ("run -- --help", "work: Codex ended with exit status 0"),
        ("exec -- sh -c 'exit $#' sh --help", "work: the program ended with exit status 1"),
        ("exec nosuch", "exec work nosuch failed: nosuch can't be started: No such file or directory"),
        ("wrok", "there is no command 'wrok'"),
        ("list-h", "there is no command 'list-h'"),
        ("list -h", "usage: codex-mirror list"),
        ("--help", "usage: codex-mirror"),
        ("run 'x", "No closing quotation"),
        ("path setup --shell tcsh", "--shell can't be 'tcsh'"),
    ],
)
def test_any_command_can_be_typed_and_a_missing_name_is_the_selected_clone(
    home: Home, codex: Path, mirror: Mirror, line: str, seen: str
) -> None:
    for name in ("work", "spare"):
        mirror("create", name, check=True)
    person = Pure(home, 60, 160)
    person.press(":")
    person.expect("without a NAME it means work")
    person.write(line)
    person.press("enter")
    person.expect(seen)


@pytest.mark.parametrize("columns", [60, 140])
def test_a_table_has_the_room_that_there_is(home: Home, codex: Path, mirror: Mirror, columns: int) -> None:
    mirror("create", "work", check=True)
    person = Pure(home, 40, columns)
    person.press(":")
    person.write("list")
    person.press("enter")
    row = next(line for line in person.frame().splitlines() if "│ work " in line)
    assert row.rstrip(" │").endswith("…" if columns == 60 else "clones/work")


def test_a_clone_that_cant_be_examined_is_broken_and_says_why(
    home: Home, codex: Path, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror("create", "work", check=True)
    monkeypatch.setattr(cm, "inspect_clones", Mock(side_effect=PermissionError(13, "Permission denied", "/m/work")))
    Pure(home).expect("✗ broken", "✗ /m/work: Permission denied")


def test_a_codex_that_is_installed_meanwhile_is_seen(opened: Open, mirror: Mirror, home: Home) -> None:
    codex = home.base / "npm" / "bin" / "codex"
    codex.rename(home.base / "kept")
    person = opened()
    person.expect("no Codex")
    (home.base / "kept").rename(codex)
    person.press("m", "esc")
    person.expect("Codex 0.169.0")


def test_addresses_are_hidden_where_the_line_says_so(
    home: Home, codex: Path, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror("create", "work", check=True)
    monkeypatch.setattr(cm, "account_of", lambda clone: cm.Account("chatgpt", "ada@example.com"))
    for line, is_shown in (("list", True), ("list --redact", False), ("--redact list", False)):
        person = Pure(home, 40, 140)
        before = person.frame().count("ada@example.com")
        person.press(":", *line, "enter")
        assert before and (person.frame().count("│ work  ada@example.com") == 1) == is_shown, line


def test_health_that_changes_elsewhere_is_seen_when_a_screen_is_entered(
    opened: Open, mirror: Mirror, home: Home
) -> None:
    mirror("create", "work", check=True)
    person = opened()
    person.expect("○ no login", "is not on PATH")  # Its health is known.
    (home.bin / "work").rename(home.base / "kept")
    person.press("m", "esc")
    person.expect("✗ broken")
    (home.base / "kept").rename(home.bin / "work")
    person.press("m", "esc")
    person.expect("○ no login")


def test_what_is_imported_first_is_offered_from_the_first_key_on(opened: Open, home: Home) -> None:
    (home.home / ".codex").mkdir()
    person = opened()
    person.press("i")
    person.expect("import ~/.codex --with-sessions --name")


def test_a_line_is_typed_in_the_terminal_too(opened: Open, mirror: Mirror) -> None:
    mirror("create", "work", check=True)
    person = opened()
    person.expect("▸ work")
    person.burst(":", *"versions", "enter")
    person.expect("0.169.0", "VERSION", "PINNED BY", "work")


def test_a_registry_changed_elsewhere_shows_with_the_selection_on_the_same_clone(opened: Open, mirror: Mirror) -> None:
    for name in ("alpha", "bravo"):
        mirror("create", name, check=True)
    person = opened()
    person.expect("2 clones")
    person.press("down")
    person.expect("▸ bravo")
    mirror("create", "charlie", check=True)
    person.expect("charlie", "▸ bravo")
    mirror("remove", "alpha", check=True)
    person.expect_not("alpha")
    person.expect("▸ bravo")


def test_the_star_shows_its_address_when_no_browser_opens(opened: Open, home: Home) -> None:
    home.env["BROWSER"] = "false"
    person = opened()
    person.expect("Star on GitHub")
    person.press("down", "down", "down", "down", "down", "enter")
    person.expect("https://github.com/Mohit-Patil/codex-mirror")


def test_the_menu_of_before_is_behind_m_and_asks_its_last_question(opened: Open, mirror: Mirror) -> None:
    mirror("create", "work", check=True)
    person = opened()
    person.expect("▸ work")
    person.press("m")
    entries = ["Quick Clone", "Manage Clones", "Update All Clones", "Diagnostics", "Shell PATH Setup", "Star on GitHub"]
    person.expect(*entries, "About", "Exit")
    person.press("down", "enter")
    person.expect_not("Quick Clone")
    person.press("m", "end", "up", "enter")
    person.expect("mirror home", "license")
    person.press("q", "down", "enter")
    person.expect("Star and Exit", "▸ Skip and Exit")
    person.press("esc", "esc")
    person.expect_not("Exit")


def test_what_has_happened_can_be_read_again(opened: Open, mirror: Mirror) -> None:
    mirror("create", "work", check=True)
    person = opened()
    person.expect("▸ work")
    person.press("R", "s", "enter")
    person.expect("'work' is now 'works'")
    person.press("j")
    person.expect_not("is now")
    person.press("!")
    person.expect("Messages", "'work' is now 'works'")


def test_a_broken_registry_is_told_and_not_touched(opened: Open, mirror: Mirror, home: Home) -> None:
    mirror("create", "work", check=True)
    (home.mirror / "registry.json").write_text("{")
    before = tree(home.mirror)
    person = opened()
    person.expect("the registry", "is not JSON")
    person.press("m", "esc")
    person.expect("is not JSON")
    assert tree(home.mirror) == before


def test_broken_entries_are_told_with_what_mends_them(opened: Open, mirror: Mirror, home: Home) -> None:
    mirror("create", "work", check=True)
    registry = home.mirror / "registry.json"
    good = json.loads(registry.read_text())
    registry.write_text(json.dumps({**good, "clones": [*good["clones"], {"name": "bad"}, {"name": "worse"}]}))
    person = opened()
    person.expect("the registry entry 'bad' is broken", "codex-mirror doctor --fix", "f fix", "▸ work")
