"""What a person does in the menu, told once: each test runs on the pure screen and on the real program in tmux."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

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


def test_quick_clone_makes_a_clone_and_logs_it_in(opened: Open, mirror: Mirror) -> None:
    person = opened()
    person.expect("0 clones", "Quick Clone")
    person.press("c")
    person.write("work")
    person.expect("name: work")
    person.press("enter")
    person.expect("Create 'work'?", "0.169.0")
    person.press("enter")
    person.expect("created 'work' with Codex 0.169.0", "Log in now")
    person.press("a")
    person.expect("API key:")
    person.write(API_KEYS[0])
    person.expect("•" * len(API_KEYS[0]))
    person.press("enter")
    person.expect("work: login ended with exit status 0")
    person.expect("1 clone,", "✓ 1 ok", "1 of 1 logged in", "API key sk-…aaaa")
    assert [row["name"] for row in mirror("list", "--json").json()] == ["work"]


def test_a_name_that_cant_be_is_refused_where_it_is_typed(opened: Open, mirror: Mirror, home: Home) -> None:
    mirror("create", "work", check=True)
    before = tree(home.bin), mirror("list", "--json").json()
    person = opened()
    person.expect("1 clone,")
    for name, complaint in [
        ("w/rk", "can't be a clone's name"),
        ("cd", "word of the shell"),
        ("Work", "'work' already"),
    ]:
        person.press("c")
        person.write(name)
        person.press("enter")
        person.expect(complaint)
        person.press("esc")
        person.expect_not("name:")
    assert (tree(home.bin), mirror("list", "--json").json()) == before


def test_an_error_is_a_dialog_with_the_hint(opened: Open, home: Home) -> None:
    (home.bin / "taken").write_text("somebody else's")
    person = opened()
    person.expect("0 clones")
    person.press("c")
    person.write("taken")
    person.press("enter", "enter")
    person.expect("create taken failed", "hint: ", "OK")
    person.press("enter")
    person.expect_not("hint: ")
    person.expect("0 clones")


def test_a_bug_in_a_worker_is_a_dialog_and_ends_the_job(
    home: Home, codex: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    person = Pure(home)
    with monkeypatch.context() as patched:
        patched.setattr(cm, "read_registry", lambda places: 1 // 0)
        person.press("c", *"work", "enter", "enter")
    person.expect("create work failed", "this is a bug in codex-mirror", "ZeroDivisionError")
    assert person.screen.jobs == ()


def test_manage_clones_shows_who_is_where(opened: Open, mirror: Mirror, home: Home) -> None:
    for name in ("work", "spare"):
        mirror("create", name, check=True)
    log_in(home, "work")
    (home.clone_home("spare").parent / "runtime").rename(home.clone_home("spare").parent / "elsewhere")
    person = opened()
    person.expect("✗ 1 broken", "✓ 1 ok", "1 of 2 logged in")
    person.press("m")
    person.expect("NAME", "API key sk-…aaaa", "not logged in", "0.169.0", "✓ ok", "✗ broken", "never")
    person.press("down")
    person.expect(
        "its Codex is incomplete", "runtime/0.169.0-", "doctor spare --fix", "directories are missing", "--fix"
    )


def test_a_clone_that_is_logged_out_shows_no_plan_and_no_limits(opened: Open, mirror: Mirror, home: Home) -> None:
    mirror("create", "work", check=True)
    (home.clone_home("work") / ".codex" / "auth.json").write_text(chatgpt_login("acc-A", "user-A"))
    window = {"used_percent": 38.0, "window_minutes": 300, "resets_at": int(time.time()) + 9000}
    limits = {"limit_id": "codex", "primary": window, "secondary": None, "plan_type": "plus"}
    line = {"timestamp": cm.timestamp_text(time.time()), "type": "event_msg"}
    session = home.clone_home("work") / ".codex/sessions/2026/11/22/rollout-a.jsonl"
    session.parent.mkdir(parents=True)
    session.write_text(json.dumps({**line, "payload": {"type": "token_count", "rate_limits": limits}}) + "\n")
    person = opened()
    person.expect("62 % left")
    (home.clone_home("work") / ".codex" / "auth.json").unlink()
    person = opened()
    person.expect("work  not logged in")
    person.expect_not("62 %")
    person.press("m")
    person.expect("not logged in", "last used")
    person.expect_not("62 %", "plus")


def test_how_a_clone_lives_is_changed(opened: Open, mirror: Mirror, home: Home) -> None:
    (home.home / ".npmrc").write_text("x")
    mirror("create", "work", check=True)
    person = opened()
    person.expect("1 clone,")
    person.press("m")
    person.expect("not logged in")
    person.press("t")
    person.expect("Settings of work", "home     isolated", "shares   .gitconfig", "may see  -", "no-keep-env")
    person.press("down", "enter")
    person.expect("share this entry of the real home")
    person.write(".npmrc")
    person.press("enter")
    person.expect("changed 'work'")
    assert mirror("list", "--json").json()[0]["shared"] == [".gitconfig", ".config/git", ".npmrc"]
    person.press("t")
    person.expect("shares   .gitconfig, .config/git, .npmrc")
    person.press("enter")
    person.expect("isolated", "shared")
    person.press("2")
    person.expect_not("a HOME of its own")
    person.press("t")
    person.expect("home     shared")
    assert mirror("list", "--json").json()[0]["home"] == "shared"


def test_update_all_and_roll_back(opened: Open, mirror: Mirror, home: Home) -> None:
    for name in ("work", "spare"):
        mirror("create", name, check=True)
    npm_install(home.base / "npm", fake_codex(home.base / "newer", "0.170.0"))
    person = opened()
    person.expect("! 2 update")
    person.press("u")
    person.expect("Update 2 clones to Codex 0.170.0?")
    person.press("enter")
    person.expect("work: 0.169.0 → 0.170.0", "spare: 0.169.0 → 0.170.0")
    person.press("esc", "m")
    person.expect("✓ ok", "0.170.0")
    person.press("b")
    person.expect("work: 0.170.0 → 0.169.0")
    person.expect("0.169.0 → 0.170.0", "! update")
    person.press("u")
    person.expect("work: 0.169.0 → 0.170.0")


def test_what_is_not_possible_now_says_why(opened: Open, mirror: Mirror) -> None:
    mirror("create", "work", check=True)
    person = opened()
    person.expect("✓ 1 ok")
    person.press("m", "b")
    person.expect("Roll back: no earlier Codex is kept")
    person.press("o")
    person.expect("Log out: not logged in")


def test_diagnostics_of_one_clone_and_of_all(opened: Open, mirror: Mirror, home: Home) -> None:
    mirror("create", "work", check=True)
    (home.bin / "work").unlink()
    person = opened()
    person.expect("✗ 1 broken")
    person.press("d")
    person.expect("All clones", "work")
    person.press("2")
    person.expect("doctor work", "is missing", "[wrapper]", "f mend")
    person.press("f")
    person.expect("doctor --fix work", "✓ work: ok")
    assert (home.bin / "work").exists()
    person.press("q")
    person.expect("✓ 1 ok")
    person.press("d", "enter")
    person.expect("✓ work: ok")


def test_shell_path_setup_writes_the_block(opened: Open, home: Home) -> None:
    home.env["SHELL"] = "/bin/bash"
    person = opened()
    person.expect("is not on PATH")
    person.press("p")
    person.expect("Shell PATH Setup", "rc file")
    person.press("y")
    person.expect("puts", "to use it in this shell")
    assert str(home.bin) in (home.home / ".bashrc").read_text()


def test_a_clone_without_a_login_goes_after_a_yes(opened: Open, mirror: Mirror, home: Home) -> None:
    before = tree(home.bin)
    mirror("create", "work", check=True)
    person = opened()
    person.expect("1 clone,")
    person.press("m", "x")
    person.expect("Remove 'work'?", "▸ 1 n  No")
    person.press("enter")
    person.expect_not("Remove 'work'?")
    person.press("x")
    person.expect("Remove 'work'?")
    person.press("y")
    person.expect("removed 'work'", "there are no clones yet")
    assert (tree(home.bin), mirror("list", "--json").json()) == (before, [])


def test_a_clone_with_a_login_goes_when_its_name_is_typed(opened: Open, mirror: Mirror, home: Home) -> None:
    mirror("create", "work", check=True)
    log_in(home, "work")
    person = opened()
    person.expect("1 of 1 logged in")
    person.press("m", "x")
    person.expect("its login: API key sk-…aaaa", "type work:")
    person.press("y", "enter")
    person.expect("type work to go on")
    person.press("ctrl-u")
    person.write("work")
    person.press("enter")
    person.expect("removed 'work'")
    assert mirror("list", "--json").json() == []


def test_a_question_that_has_gone_stale_is_asked_again(opened: Open, mirror: Mirror, home: Home) -> None:
    mirror("create", "work", check=True)
    person = opened()
    person.expect("1 clone,")
    person.press("m", "x")
    person.expect("nothing of value would be lost")
    log_in(home, "work")
    person.press("y")
    person.expect("its login: API key sk-…aaaa", "type work:", "what would be lost has changed")
    person.write("work")
    mirror("remove", "work", "--yes", check=True)
    mirror("create", "work", check=True)
    log_in(home, "work")
    person.press("enter")
    person.expect("type work:", "what would be lost has changed")
    assert (home.clone_home("work") / ".codex" / "auth.json").exists()


def test_a_logout_that_has_gone_stale_is_asked_again(opened: Open, mirror: Mirror, home: Home) -> None:
    mirror("create", "work", check=True)
    log_in(home, "work")
    person = opened()
    person.expect("1 of 1 logged in")
    person.press("m", "o")
    person.expect("sk-…aaaa) here; nothing")
    log_in(home, "work", API_KEYS[1])
    person.press("y")
    person.expect("sk-…bbbb) here; nothing", "▸ 1 n  No", "what would be lost has changed")
    assert (home.clone_home("work") / ".codex" / "auth.json").exists()


def test_renaming_asks_for_the_new_name(opened: Open, mirror: Mirror) -> None:
    mirror("create", "work", check=True)
    person = opened()
    person.expect("1 clone,")
    person.press("m", "n")
    person.write("office")
    person.press("enter")
    person.expect("'work' is now 'office'")
    person.press("esc", "m")
    person.expect("▸ office")


def test_a_clone_goes_into_one_file_and_comes_back_from_it(opened: Open, mirror: Mirror, home: Home) -> None:
    mirror("create", "work", check=True)
    person = opened()
    person.expect("✓ 1 ok")
    person.press("m", "e")
    person.expect("the file: work.codex-mirror.tar.gz")
    person.press("enter")
    person.expect("exported 'work' to")
    person.press("e", "enter")
    person.expect("work.codex-mirror.tar.gz is there already", "choose another file")
    person.press("enter", "e", "home", *"again-", "enter")
    person.expect("exported 'work' to", "again-work.codex-mirror.tar.gz")
    found = [path for where in (Path.cwd(), home.home) for path in where.glob("*work.codex-mirror.tar.gz")]
    again, file = sorted(found)
    again.unlink()
    person.press("esc", "i")
    person.write(str(file))
    person.press("enter")
    person.expect("name:")
    person.write("again")
    person.press("enter")
    person.expect("imported 'again'")
    file.unlink()
    assert [row["name"] for row in mirror("list", "--json").json()] == ["work", "again"]


def test_codex_gets_the_arguments_and_its_exit_status_is_shown(opened: Open, mirror: Mirror) -> None:
    mirror("create", "work", check=True)
    person = opened()
    person.expect("1 clone,")
    person.press("m", "R")
    person.write("exit '")
    person.press("enter")
    person.expect("No closing quotation")
    person.press("backspace")
    person.write("'7'")
    person.press("enter")
    person.read_on()
    person.expect("work: Codex ended with exit status 7")
    person.press("r")
    person.expect("work: Codex ended with exit status 0")
    person.press("S")
    person.write("sh -c 'exit 9'")
    person.press("enter")
    person.read_on()
    person.expect("work: the program ended with exit status 9")
    person.press("S")
    person.write("echo hi there")
    person.press("enter")
    person.read_on()
    person.expect("work: the program ended with exit status 0")


def test_login_and_logout_hand_the_terminal_over(opened: Open, mirror: Mirror, home: Home) -> None:
    mirror("create", "work", check=True)
    auth = home.base / "login.json"
    auth.write_text(json.dumps({"auth_mode": "apikey", "OPENAI_API_KEY": API_KEYS[1]}))
    home.env["FAKE_CODEX_AUTH"] = str(auth)
    person = opened()
    person.expect("1 clone,")
    person.press("m", "l")
    person.expect("work: login ended with exit status 0")
    person.expect("API key sk-…bbbb")
    person.press("o")
    person.expect("log 'work' out?", "revoke", "▸ 1 n  No")
    person.press("y")
    person.expect("work: logout ended with exit status 0", "not logged in")


def test_a_second_login_is_asked_for_also_when_the_first_came_since(opened: Open, mirror: Mirror, home: Home) -> None:
    mirror("create", "work", check=True)
    person = opened()
    person.expect("1 clone,", "0 of 1 logged in")
    log_in(home, "work")
    person.press("m", "l")
    person.expect("'work' is logged in (API key sk-…aaaa)", "drops that login at once", "▸ 1 n  No")
    person.press("enter")
    person.expect("sk-…aaaa")
    assert (home.clone_home("work") / ".codex" / "auth.json").exists()


def test_a_registry_changed_elsewhere_shows_with_the_selection_on_the_same_clone(opened: Open, mirror: Mirror) -> None:
    for name in ("alpha", "bravo"):
        mirror("create", name, check=True)
    person = opened()
    person.expect("2 clones")
    person.press("m", "down")
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
    person.press("s")
    person.expect("https://github.com/Mohit-Patil/codex-mirror")


def test_about_and_the_keys_of_every_screen(opened: Open, mirror: Mirror) -> None:
    mirror("create", "work", check=True)
    person = opened()
    person.press("a")
    person.expect("mirror home", "license")
    person.press("?")
    person.expect("Keys of this screen")
    person.press("q", "q", "m")
    person.expect("NAME")
    person.press("?")
    person.expect("show only some clones", "suspend")
    person.press("esc", "enter")
    person.expect("Run", "Remove")
    person.press("esc")
    person.expect_not("Remove")
    person.press("/")
    person.write("wo")
    person.expect("/ wo")
    person.write("x")
    person.expect("no clone matches")
    person.press("esc")
    person.expect("▸ work")


def test_a_broken_registry_is_told_and_not_touched(opened: Open, home: Home) -> None:
    home.mirror.mkdir(mode=0o700)
    (home.mirror / ".codex-mirror-home").touch()
    (home.mirror / "registry.json").write_text("{")
    before = tree(home.mirror)
    person = opened()
    person.expect("the registry", "is not JSON")
    person.press("m")
    person.expect("is not JSON")
    assert tree(home.mirror) == before
