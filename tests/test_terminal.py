"""The menu on a real terminal: what it leaves behind, what it costs, and what it makes of the terminals there are."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from helpers import API_KEYS, Home, Mirror, fake_codex, npm_install, run, wait_until
from terminal import Tmux

pytestmark = pytest.mark.skipif(not shutil.which("tmux"), reason="needs tmux")

Open = Callable[..., Tmux]


@pytest.fixture
def terminal(home: Home, codex: Path) -> Iterator[Open]:
    """A terminal with a shell in it, of any size and environment."""
    opened: list[Tmux] = []

    def start(**more: object) -> Tmux:
        opened.append(Tmux(home, **more))  # type: ignore[arg-type]
        return opened[-1]

    try:
        yield start
    finally:
        for one in opened:
            one.close()


def modes(tmux: Tmux) -> str:
    """Everything about the terminal that a program can leave changed."""
    names = ["alternate_on", "cursor_flag", "keypad_flag", "keypad_cursor_flag", "mouse_any_flag", "insert_flag"]
    return tmux.ask(" ".join(f"{name}=#{{{name}}}" for name in names))


# Keys that lead to each screen, and what is seen there.
WAYS = {
    "table": ([], "NAME"),
    "menu": (["m"], "Quick Clone"),
    "keys": (["?"], "a new clone"),
    "field": (["n", "x"], "name: x"),
    "removal": (["x"], "type work:"),
    "filter": (["/", "w"], "/ w"),
    "report": (["!"], "nothing has happened yet"),
    "exit": (["m", "end", "enter"], "Star and Exit"),
}
SIGNALS = [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130), (signal.SIGQUIT, 131)]
KILLS = [(name, *SIGNALS[0]) for name in WAYS] + [("table", *one) for one in SIGNALS[1:]]


@pytest.mark.parametrize(("name", "number", "code"), KILLS)
def test_killed_anywhere_it_leaves_the_terminal_as_it_was(
    terminal: Open, mirror: Mirror, home: Home, name: str, number: signal.Signals, code: int
) -> None:
    mirror("create", "work", check=True)
    tmux = terminal()
    before = modes(tmux)
    tmux.command(f"clear; stty -a >before; {tmux.program}; echo code=$?; stty -a >after")
    tmux.expect("NAME", "○ no login")
    keys, seen = WAYS[name]
    tmux.press(*keys)
    tmux.expect(seen)
    os.kill(tmux.pid(), number)
    tmux.expect(f"code={code}")
    tmux.until(lambda frame: (home.home / "after").exists(), "the shell to go on")
    tmux.command("echo ready")
    tmux.until(lambda frame: frame.count("ready") == 2, "the shell to take a command")
    assert (home.home / "after").read_text() == (home.home / "before").read_text()
    assert modes(tmux) == before
    assert "1 clone" not in tmux.scrollback()


def test_left_as_it_was_it_leaves_no_line_behind(terminal: Open) -> None:
    tmux = terminal()
    before, seen = modes(tmux), tmux.scrollback()
    tmux.open().expect("0 clones")
    tmux.press("q")
    frame = tmux.until(lambda frame: frame.count("$ ") + frame.count("$\n") == 2, "a second prompt")
    assert modes(tmux) == before
    assert [line for line in frame.splitlines() if line.strip()][-1] == "$"
    assert len(tmux.scrollback().strip().splitlines()) <= len(seen.strip().splitlines()) + 3
    tmux.command("cat -v")
    tmux.paste("pasted\n")
    assert "200~" not in tmux.until(lambda frame: frame.count("pasted") == 2, "the paste and its copy")


def test_ctrl_c_leaves_with_the_terminal_whole(terminal: Open) -> None:
    tmux = terminal()
    before = modes(tmux)
    tmux.command(f"{tmux.program}; echo code=$?")
    tmux.expect("0 clones")
    tmux.press("ctrl-c")
    tmux.expect("code=130")
    assert modes(tmux) == before


def test_ctrl_z_suspends_and_fg_comes_back(terminal: Open) -> None:
    tmux = terminal(shell="bash")
    before = modes(tmux)
    tmux.open().expect("0 clones")
    tmux.press("n")
    tmux.write("wo")
    tmux.press("ctrl-z")
    tmux.expect("Stopped")
    assert modes(tmux) == before
    tmux.command("stty -a | grep -c -- '-icanon'; echo stty")
    tmux.until(lambda frame: frame.count("stty") == 3 and "\n0\n" in frame, "the modes of a shell")
    tmux.command("fg")
    tmux.expect("name: wo")
    tmux.write("rk")
    tmux.expect("name: work")


def test_it_is_drawn_again_by_fg_after_it_was_stopped_unasked(terminal: Open) -> None:
    tmux = terminal(shell="bash").open()
    tmux.expect("▸ Quick Clone")
    os.kill(tmux.pid(), signal.SIGSTOP)
    tmux.expect("Stopped")
    tmux.command("clear; fg")
    tmux.expect("▸ Quick Clone")
    tmux.press("down")
    tmux.expect("▸ Manage Clones")


def test_esc_works_at_once_and_arrow_keys_still_do(terminal: Open) -> None:
    tmux = terminal().open()
    tmux.expect("▸ Quick Clone")
    tmux.press("down", "down", "up")
    tmux.expect("▸ Manage Clones")
    tmux.press("n")
    tmux.expect("name:")
    start = time.monotonic()
    tmux.press("esc")
    tmux.expect_not("name:")
    assert time.monotonic() - start < 1.0, "Esc waits for another byte"


def test_esc_and_a_key_that_come_one_after_the_other_are_no_alt(terminal: Open, mirror: Mirror) -> None:
    mirror("create", "work", check=True)
    tmux = terminal().open()
    tmux.expect("○ no login")
    for _ in range(5):
        tmux.press("/", "z", "esc", "n", "o", "esc")
        tmux.expect("▸ work", "1 clone ·")
    tmux.press("esc", "n", *"next")
    tmux.expect("name: next")


def test_keys_typed_ahead_are_not_lost(terminal: Open, mirror: Mirror) -> None:
    tmux = terminal()
    tmux.command(tmux.program)
    tmux.write("nwork\r")
    tmux.expect("created 'work'", "log in in the browser")
    tmux.press("esc")
    tmux.expect_not("created 'work' with")
    tmux.write("nspare\rjk/sp\r")
    tmux.expect("▸ spare", "/ sp")
    assert [row["name"] for row in mirror("list", "--json").json()] == ["work", "spare"]


def test_before_the_first_frame_a_burst_answers_no_question(terminal: Open, mirror: Mirror, home: Home) -> None:
    mirror("create", "work", check=True)
    login = home.clone_home("work") / ".codex" / "auth.json"
    login.write_text(json.dumps({"auth_mode": "apikey", "OPENAI_API_KEY": API_KEYS[0]}))
    tmux = terminal()
    tmux.command(tmux.program)
    tmux.write("Lyl\ryxy\r")
    tmux.expect("log 'work' out?")
    assert login.exists()


def test_a_paste_is_text_whatever_is_in_it(terminal: Open) -> None:
    tmux = terminal().open()
    tmux.expect("0 clones")
    tmux.paste("cq\n")
    tmux.press("n")
    tmux.paste("wo\nrk?日本")
    tmux.expect("name: wo rk?日本")
    tmux.press("left", "backspace")
    tmux.expect("name: wo rk?本")


def test_a_paste_without_an_end_doesnt_take_all_keys(terminal: Open) -> None:
    tmux = terminal().open()
    tmux.expect("0 clones")
    tmux.press("n")
    tmux.write("\x1b[200~wo")
    tmux.write("rk")
    tmux.expect("name: work")
    tmux.press("esc")
    tmux.expect_not("name:")


def test_alt_and_a_letter_never_leaves_a_field_nor_acts_on_the_clone_below(terminal: Open, mirror: Mirror) -> None:
    mirror("create", "work", check=True)
    tmux = terminal().open()
    tmux.expect("○ no login")
    tmux.write("\x1bs")
    tmux.write("\x1bx")
    tmux.press("R")
    tmux.write("\x1bu")
    tmux.write("\x1bx")
    tmux.write("-")
    tmux.expect("new name: work-")
    tmux.press("esc")
    tmux.expect_not("new name:", "Remove", "Star")


@pytest.mark.parametrize("keys", [["n", "x"], ["?"]], ids=["field", "keys"])
def test_it_may_be_resized_at_any_moment(terminal: Open, mirror: Mirror, keys: list[str]) -> None:
    mirror("create", "work", check=True)
    tmux = terminal().open()
    tmux.expect("○ no login")
    tmux.press(*keys)
    for rows, columns in [(10, 40), (5, 20), (50, 160), (1, 1), (24, 80), (9, 200), (100, 300), (12, 60), (24, 80)]:
        tmux.resize(rows, columns)
        wanted = "Esc back" if rows >= 10 and columns >= 40 else "cod" if columns > 10 else ""
        frame = tmux.expect(wanted)
        assert max(len(line) for line in frame.splitlines() or [""]) <= columns
    tmux.press("esc")
    tmux.expect("Enter run")


def trace_of(home: Home, seconds: int) -> list[str]:
    """What system calls the program made from one look at the registry until so many looks later."""
    path = home.base / "trace"

    def looks(lines: list[str]) -> list[int]:
        return [index for index, line in enumerate(lines) if "registry.json" in line and "stat" in line]

    first = len(looks(path.read_text().splitlines()))
    deadline = time.monotonic() + 60
    while len(found := looks(lines := path.read_text().splitlines())) < first + seconds + 2:
        assert time.monotonic() < deadline, "\n".join(lines[-40:])
        time.sleep(0.05)
    return lines[found[first] : found[first + seconds]]


@pytest.mark.skipif(not shutil.which("strace"), reason="needs strace")
def test_idle_it_writes_nothing_and_looks_by_stat_alone(terminal: Open, mirror: Mirror, home: Home) -> None:
    """Once a second at the registry, and every 15 s at the files of the clones that are in sight."""
    mirror("create", "work", check=True)
    tmux = terminal()
    tmux.command(f"strace -f -ttt -o {home.base / 'trace'} {tmux.program}")
    tmux.expect("○ no login", "is not on PATH")  # Its health is known then, and nothing is at work any more.
    calls = trace_of(home, 17)
    names = [re.sub(r"^\d+ +[\d.]+ (?:<\.\.\. )?(\w+).*", r"\1", call) for call in calls]
    assert set(names) <= {"newfstatat", "stat", "statx", "select", "pselect6", "poll", "read", "rt_sigaction"}, (
        "\n".join(calls)
    )
    assert any("auth.json" in call for call in calls)
    assert len([call for call in calls if "auth.json" not in call and "clones/work" not in call]) <= 17 * 5
    times = [float(call.split()[1]) for call in calls if "registry.json" in call]
    assert all(times[index + 1] - times[index] > 0.9 for index in range(len(times) - 1))


@pytest.mark.parametrize(
    ("env", "colours", "ascii_only"),
    [
        ({"TERM": "xterm-ghostty-of-2030"}, True, False),
        ({"TERM": "screen-256color"}, True, False),
        ({"TERM": "screen"}, True, False),
        ({"TERM": "xterm"}, True, False),
        ({"TERM": "vt100"}, False, False),
        ({"NO_COLOR": "1"}, False, False),
        ({"LC_ALL": "C"}, True, True),
        ({"LC_ALL": "no_SUCH.UTF-8"}, True, True),
        ({"LINES": "3", "COLUMNS": "7"}, True, False),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_it_is_fit_for_the_terminals_there_are(
    terminal: Open, mirror: Mirror, env: Mapping[str, str], colours: bool, ascii_only: bool
) -> None:
    mirror("create", "work", check=True)
    tmux = terminal(env=env).open()
    frame = tmux.expect("o no login" if ascii_only else "○ no login", "NAME")
    assert frame.isascii() == ascii_only
    assert bool(re.search(r"\x1b\[[0-9;]*3[0-7]", tmux.frame("-e"))) == colours
    tmux.press("m")
    tmux.expect("Exit")


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("TERM=dumb {}", "hint: the menu needs a terminal that it can draw on (TERM names none)"),
        ("TERM=nothing-known {}", "TERM=nothing-known; set TERM=xterm-256color, or use"),
        ("env -u TERM {}", "hint: the menu needs a terminal that it can draw on (TERM names none)"),
        ("{} </dev/null", "hint: the menu needs a terminal; without one, use the commands above"),
        ("{} | cat", "hint: the menu needs a terminal; without one, use the commands above"),
    ],
)
def test_where_no_menu_can_be_shown_there_is_help_and_why(terminal: Open, line: str, hint: str) -> None:
    tmux = terminal(rows=90)
    tmux.command(line.format(tmux.program) + "; echo code=$?")
    frame = tmux.expect("\ncode=")
    assert "usage: " in frame and hint in frame.replace("\n", " ")
    assert "code=2" in frame or "| cat" in line


def test_without_a_terminal_the_help_goes_to_stderr_with_exit_2(mirror: Mirror) -> None:
    result = mirror()
    assert (result.code, result.out) == (2, "")
    assert "usage: " in result.err and "use the commands" in result.err


def test_without_curses_the_help_goes_to_stderr_with_exit_2(terminal: Open, mirror: Mirror, home: Home) -> None:
    tmux = terminal(rows=60)
    code = (
        "import sys; sys.modules['_curses'] = None; sys.modules['curses'] = None; sys.argv = ['codex-mirror']\n"
        f"import runpy; runpy.run_path({str(mirror.program)!r}, run_name='__main__')"
    )
    script = home.base / "no_curses.py"
    script.write_text(code)
    tmux.command(f"{mirror.argv()[0]} {script}; echo code=$?")
    frame = tmux.expect("\ncode=2")
    assert "hint: the menu needs Python's curses; without it, use the commands above" in frame


def test_while_codex_runs_the_whole_terminal_is_its_own(terminal: Open, mirror: Mirror, home: Home) -> None:
    mirror("create", "work", check=True)
    tmux = terminal()
    before = modes(tmux)
    tmux.open().expect("1 clone ·")
    tmux.press(":")
    tmux.write("run cat")
    tmux.press("enter")
    tmux.expect_not("NAME")
    tty = tmux.ask("#{pane_tty}")
    wait_until(lambda: " icanon" in run(["stty", "-a", "-F", tty], env=home.env).out, "the terminal is given back")
    tmux.write("spoken to Codex")
    tmux.press("enter")
    tmux.until(lambda frame: frame.count("spoken to Codex") == 2, "the echo and the answer")
    assert modes(tmux) == before
    tmux.press("ctrl-c")
    tmux.read_on()
    tmux.expect("work: Codex ended with exit status 130", "NAME")
    tmux.press("r")
    tmux.expect("work: Codex ended with exit status 0")
    tmux.press("q")
    tmux.expect("spoken to Codex")


def test_what_a_killed_program_left_set_is_undone_and_its_last_words_are_seen(terminal: Open, mirror: Mirror) -> None:
    mirror("create", "work", check=True)
    tmux = terminal().open()
    tmux.expect("1 clone ·")
    before = modes(tmux)
    tmux.press(":")
    tmux.write("exec sh -c 'echo last words; printf \"\\033[?1003h\\033[?1006h\"; kill -9 $$'")
    tmux.press("enter")
    tmux.expect("last words")
    tmux.read_on()
    tmux.expect("work: the program ended with exit status 137", "NAME")
    assert modes(tmux) == before


def test_a_wait_for_the_lock_is_said_where_the_terminal_is_handed_over(
    terminal: Open, mirror: Mirror, home: Home
) -> None:
    mirror("create", "work", check=True)
    auth = home.base / "login.json"
    auth.write_text(json.dumps({"auth_mode": "apikey", "OPENAI_API_KEY": API_KEYS[0]}))
    tmux = terminal(env={"FAKE_CODEX_AUTH": str(auth)}).open()
    tmux.expect("○ no login")
    with (home.mirror / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        tmux.press("l", "enter")
        tmux.expect("waiting for")
    tmux.expect("'work' is logged in", "NAME")


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo 'Error logging in: no network' >&2; exit 1", "failed (Error logging in: no network); not logged in"),
        ("exit 1", "failed (exit code 1); not logged in"),
        ("kill -INT $$", "was cancelled; not logged in"),
    ],
)
def test_after_a_login_it_is_said_how_it_ended(
    terminal: Open, mirror: Mirror, home: Home, script: str, said: str
) -> None:
    body = f'#!/bin/sh\n[ "$1" != login ] || {{ {script}; }}\necho codex-cli 0.170.0\n'
    npm_install(home.base / "npm", fake_codex(home.base / "newer", "0.170.0", body=body))
    mirror("create", "work", check=True)
    tmux = terminal(columns=160).open()
    tmux.expect("▸ work")
    tmux.press("l", "down", "enter")
    if "exit" in script:
        tmux.expect(f"the login of 'work' {said}", "press Enter to go back")
        tmux.press("enter")
    tmux.expect(f"the login of 'work' {said}", "NAME")


def test_a_terminal_without_an_alternate_screen_is_left_clean(terminal: Open) -> None:
    tmux = terminal(env={"TERM": "vt100"}).open()
    tmux.expect("0 clones", "Exit")
    tmux.press("q")
    tmux.expect_not("Quick Clone", "codex-mirror 1", "Exit")
    tmux.command("echo ready")
    tmux.until(lambda frame: frame.count("ready") == 2, "the shell")
    assert len(tmux.frame().split("\n\n")[-1].splitlines()) <= 4


def test_the_star_opens_the_repository_in_the_browser(terminal: Open, home: Home) -> None:
    script = home.base / "browser"
    script.write_text(f'#!/bin/sh\necho noise\necho "$1" >>{home.base}/visited\n')
    script.chmod(0o755)
    tmux = terminal(env={"BROWSER": str(script)}).open()
    tmux.expect("Star on GitHub")
    tmux.press("end", "up", "up", "enter")
    tmux.expect("thank you")
    assert "noise" not in tmux.frame()
    tmux.press("end", "enter")
    tmux.expect("Star and Exit")
    tmux.answer("down", "enter")
    tmux.expect_not("Star on GitHub")
    visited = home.base / "visited"
    tmux.until(lambda frame: visited.read_text().count("\n") == 2, "a second visit")
    assert set(visited.read_text().split()) == {"https://github.com/Mohit-Patil/codex-mirror"}


def test_a_list_longer_than_the_terminal_scrolls(terminal: Open, mirror: Mirror) -> None:
    for number in range(9):
        mirror("create", f"clone-{number}", check=True)
    tmux = terminal(rows=10, columns=40).open()
    tmux.expect("9 clones")
    tmux.press("G")
    tmux.expect("▸ clone-8")
    tmux.press("g")
    tmux.expect("▸ clone-0")


def test_a_long_message_of_a_result_can_be_read_after_leaving_when_it_is_done(terminal: Open, mirror: Mirror) -> None:
    mirror("create", "work", check=True)
    tmux = terminal().open()
    tmux.expect("○ no login")
    with (Path(tmux.home.mirror) / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        tmux.press("R", "s", "enter")
        tmux.expect("rename work works")
        tmux.press("q")
        tmux.expect("is still running", "▸ wait here")
        tmux.answer("down", "enter")
        tmux.expect_not("wait here")
    tmux.expect("'work' is now 'works'", "$")
    tmux.expect_not("NAME")
