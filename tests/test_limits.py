"""Limits: what is left of a clone's rate limits, from its own session files."""

from __future__ import annotations

import json
import os
import random
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from helpers import API_KEYS, Home, chatgpt_login, tree
from rooms import ask, clone_in, clone_like, cm, make_clone

NOW = 1_795_334_400.0


def window(used: object = 10.0, minutes: object = 300, resets: object = NOW + 3600, **more: Any) -> dict[str, Any]:
    return {"used_percent": used, "window_minutes": minutes, "resets_at": resets, **more}


def limits(primary: object = None, secondary: object = None, at: float = NOW - 60, **more: Any) -> bytes:
    """A line of a session file as Codex 0.169 writes it after each answer."""
    found = {
        "limit_id": "codex",
        "primary": primary,
        "secondary": secondary,
        "credits": None,
        "plan_type": "pro",
        **more,
    }
    payload = {"type": "token_count", "info": {"total_token_usage": {"total_tokens": 5}}, "rate_limits": found}
    return json.dumps({"timestamp": cm.timestamp_text(at), "type": "event_msg", "payload": payload}).encode()


def other(size: int = 100) -> bytes:
    payload = {"type": "agent_message", "message": "x" * size}
    return json.dumps({"timestamp": cm.timestamp_text(NOW), "type": "event_msg", "payload": payload}).encode()


META = json.dumps({"type": "session_meta", "payload": {"id": "i", "cwd": "/", "cli_version": "0.169.0"}}).encode()


def write_rollout(
    codex_home: Path, lines: list[bytes], *, day: str = "2026/11/22", name: str = "a", at: float = NOW
) -> Path:
    directory = codex_home / (f"sessions/{day}" if day else "archived_sessions")
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"rollout-{name}.jsonl"
    path.write_bytes(b"".join(line + b"\n" for line in [META, *lines]))
    os.utime(path, (at, at))
    return path


@pytest.fixture
def codex_home(home: Home) -> Path:
    path = home.clone_home("work") / ".codex"
    path.mkdir(parents=True)
    return path


ACCOUNT = cm.Account("chatgpt", email="a@example.org", workspace="acc-A", user="user-A")


def usage(home: Home, account: Any = ACCOUNT, noted: Any = None) -> Any:
    clone = clone_like(home)._replace(account=noted)
    return cm.usage_of(clone, account, cm.rollouts_of(clone))


# --- one line ---

FIVE, WEEK = cm.Window(300, 10.0, NOW + 3600), cm.Window(10080, 40.0, NOW + 86400)
LINES: list[tuple[str, bytes, tuple[Any, ...]]] = [
    ("both", limits(window(), window(40.0, 10080, NOW + 86400)), (FIVE, WEEK)),
    ("both, the other way round", limits(window(40.0, 10080, NOW + 86400), window()), (FIVE, WEEK)),
    ("only a week, first", limits(window(40.0, 10080, NOW + 86400)), (WEEK,)),
    ("only five hours, second", limits(None, window()), (FIVE,)),
    ("of another length", limits(window(1.0, 43200, NOW)), (cm.Window(43200, 1.0, NOW),)),
    ("without a limit's id", limits(window(), limit_id=None), (FIVE,)),
    ("of another limit", limits(window(), limit_id="codex_other"), ()),
    ("of an older Codex", limits({"used_percent": 10, "window_minutes": 300, "resets_in_seconds": 3660}), (FIVE,)),
    ("without a reset", limits({"used_percent": 10, "window_minutes": 300}, at=NOW - 14400), (FIVE,)),
    ("more than all", limits(window(250.5)), (FIVE._replace(used=100.0),)),
    ("less than nothing", limits(window(-3)), (FIVE._replace(used=0.0),)),
    ("null", limits(), ()),
    ("limits that are null", limits().replace(b'"rate_limits": {', b'"rate_limits": null, "x": {'), ()),
    ("no number", limits(window("10")), ()),
    ("true", limits(window(True)), ()),
    ("no length", limits(window(minutes=None)), ()),
    ("not a number", limits(window(float("nan"))), ()),
    ("endless", limits(window(resets=float("inf"))), (FIVE._replace(resets_at=NOW - 60 + 18000),)),
    ("a huge number", limits(window(10**400)), ()),
    ("a window that is a list", limits([1], "x"), ()),
    ("torn", limits(window())[:-40], ()),
    ("of another type", limits(window()).replace(b"event_msg", b"response_item"), ()),
    ("of another kind", limits(window()).replace(b"token_count", b"turn_aborted"), ()),
    (
        "words of the user",
        json.dumps({"type": "event_msg", "payload": {"type": "user", "m": '"rate_limits"'}}).encode(),
        (),
    ),
    ("a list", b'["rate_limits"]', ()),
    ("deeply nested", b'{"payload": ' + b"[" * 99_999, ()),
    ("not UTF-8", limits(window()).replace(b"pro", b"\xff"), ()),
    ("nothing", b"", ()),
]


@pytest.mark.parametrize(("kind", "line", "windows"), LINES, ids=[row[0] for row in LINES])
def test_a_line_of_a_session_file_tells_the_limits(
    home: Home, codex_home: Path, kind: str, line: bytes, windows: Any
) -> None:
    found = cm.limits_from(line)
    assert found.windows == windows and (not windows or found.plan == "pro")
    write_rollout(codex_home, [other(), line, other()])
    assert usage(home).windows == windows


LEFT = [
    ("nothing known", (), None),
    ("one", (FIVE,), 90.0),
    ("the least of both", (FIVE, WEEK), 60.0),
    ("a reset in the past", (FIVE, WEEK._replace(resets_at=NOW - 1)), 90.0),
    ("both in the past", (FIVE._replace(resets_at=NOW), WEEK._replace(resets_at=NOW - 1)), 100.0),
    ("nothing left", (FIVE._replace(used=100.0), WEEK), 0.0),
]


@pytest.mark.parametrize(("kind", "windows", "left"), LEFT, ids=[row[0] for row in LEFT])
def test_what_is_left_is_the_least_over_the_windows_that_still_run(kind: str, windows: Any, left: float | None) -> None:
    assert cm.left_percent(cm.Usage(windows, NOW), NOW) == left


# --- many files ---


def test_the_newest_line_counts_wherever_it_stands(home: Home, codex_home: Path) -> None:
    """A resumed session grows in its old-dated file, and an archived one may be the last that was used."""
    write_rollout(codex_home, [limits(window(1), at=NOW - 900)], name="new", at=NOW - 890)
    write_rollout(codex_home, [limits(window(2), at=NOW - 800)], day="2025/01/01", name="resumed", at=NOW - 790)
    assert usage(home).windows[0].used == 2.0
    write_rollout(codex_home, [limits(window(3), at=NOW - 700)], day="", name="archived", at=NOW - 690)
    assert usage(home).windows[0].used == 3.0
    # Touched later, but its lines are older.
    write_rollout(codex_home, [limits(window(4), at=NOW - 5000)], name="touched", at=NOW)
    assert (usage(home).windows[0].used, usage(home).as_of) == (3.0, NOW - 700)


def test_what_a_clock_that_was_ahead_wrote_hides_nothing(home: Home, codex_home: Path) -> None:
    """A month ahead for one session: its figures are better than none, and worse than all others."""
    ahead = time.time() + 30 * 86400
    write_rollout(codex_home, [limits(window(9), at=ahead)], name="ahead", at=ahead)
    assert usage(home).windows[0].used == 9.0
    write_rollout(codex_home, [limits(window(3), at=NOW - 900)], name="right", at=NOW - 900)
    assert (usage(home).windows[0].used, usage(home).as_of) == (3.0, NOW - 900)
    write_rollout(codex_home, [limits(window(4), at=NOW - 800)], name="later", at=ahead + 1)
    assert usage(home).windows[0].used == 4.0
    soon = time.time() + 60
    write_rollout(codex_home, [limits(window(5), at=soon)], name="shared", at=soon)
    assert usage(home).windows[0].used == 5.0, "clocks of two machines that share a home are a little apart"


def test_files_without_limits_are_passed_by(home: Home, codex_home: Path) -> None:
    write_rollout(codex_home, [limits(window(7), at=NOW - 900)], name="old", at=NOW - 900)
    for number in range(5):
        write_rollout(codex_home, [other()], name=f"n{number}", at=NOW)
    assert usage(home).windows[0].used == 7.0


ODD: list[tuple[str, Callable[[Path], object]]] = [
    ("a FIFO", os.mkfifo),
    ("a directory", Path.mkdir),
    ("a link to a session", lambda path: path.symlink_to("rollout-good.jsonl")),
    ("a link to an endless device", lambda path: path.symlink_to("/dev/zero")),
    ("a link to nothing", lambda path: path.symlink_to("nowhere")),
    ("an empty file", Path.touch),
    ("zeros", lambda path: path.write_bytes(b"\0" * 300_000)),
    ("one endless line", lambda path: path.write_bytes(b'{"rate_limits": "' + b"x" * 6_000_000)),
    ("newlines", lambda path: path.write_bytes(b"\n" * 300_000)),
]


@pytest.mark.parametrize(("kind", "make"), ODD, ids=[row[0] for row in ODD])
def test_an_odd_file_hinders_nobody_and_nothing_is_changed(
    home: Home, codex_home: Path, kind: str, make: Callable[[Path], object]
) -> None:
    good = write_rollout(codex_home, [limits(window(7))], name="good", at=NOW - 60)
    make(good.parent / "rollout-odd.jsonl")
    (codex_home / "sessions" / "2026" / "file").touch()
    (codex_home / "sessions" / "x").symlink_to(home.base)
    before = tree(home.base)
    assert usage(home).windows[0].used == 7.0 and tree(home.base) == before


def test_without_sessions_nothing_is_known(home: Home, codex_home: Path) -> None:
    nothing = cm.Usage(why="no session yet; --fresh asks the server")
    assert usage(home) == nothing
    (codex_home / "sessions").write_text("a file")
    os.mkfifo(codex_home / "archived_sessions")
    assert usage(home) == nothing


def test_nothing_but_session_files_is_opened(home: Home, codex_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("auth.json", "state_5.sqlite", "history.jsonl", "sessions/2026/11/22/notes.jsonl"):
        (codex_home / name).parent.mkdir(parents=True, exist_ok=True)
        (codex_home / name).write_text("x")
    path = write_rollout(codex_home, [limits(window())])
    opened = counted_opens(monkeypatch)
    assert usage(home).windows and set(opened) == {str(path)}


def counted_opens(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    opened: list[str] = []
    real = os.open

    def counting(path: Any, *rest: Any, **more: Any) -> int:
        opened.append(os.fspath(path))
        return real(path, *rest, **more)

    monkeypatch.setattr(os, "open", counting)
    return opened


def test_a_look_at_a_clone_lists_each_of_its_session_directories_once(
    home: Home, codex_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_rollout(codex_home, [limits(window())])
    (codex_home / "auth.json").write_text(chatgpt_login("acc-A", "user-A", at=NOW - 3600))
    listed: list[str] = []
    scandir = os.scandir

    def noted(path: str) -> Any:
        listed.append(path)
        return scandir(path)

    monkeypatch.setattr(cm.os, "scandir", noted)
    seen = cm.glance_at(clone_like(home))
    assert (seen["usage"].windows, seen["used"]) == ((FIVE,), NOW)
    assert f"{codex_home}/sessions/2026/11/22" in listed and len(listed) == len(set(listed))


def test_of_ten_thousand_sessions_few_are_opened_and_little_is_read(
    home: Home, codex_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """2 GB in all. The server named no limits in any of them; then there is a session that has some."""
    for month in range(1, 11):
        first = write_rollout(codex_home, [other()], day=f"2026/{month:02d}/01", name="0", at=NOW - month)
        big = write_rollout(codex_home, [], day=f"2026/{month:02d}/01", name="big", at=NOW - 900)
        os.truncate(big, 200 << 20)
        os.utime(big, (NOW - 900, NOW - 900))
        for number in range(1, 999):
            os.link(first, first.with_name(f"rollout-{number}.jsonl"))
    read: list[int] = []
    pread = os.pread
    monkeypatch.setattr(os, "pread", lambda *words: read.append(words[1]) or pread(*words))
    opened = counted_opens(monkeypatch)
    assert usage(home).windows == ()
    assert len(opened) <= 1000 and sum(read) <= cm.SEARCHED_IN_ALL + cm.SEARCHED_IN_FILE + cm.BLOCK
    write_rollout(codex_home, [limits(window(7), at=NOW - 1), other(500_000)], name="last", at=NOW)
    opened.clear()
    read.clear()
    assert usage(home).windows[0].used == 7.0
    assert len(opened) <= 1001 and sum(read) <= cm.SEARCHED_IN_FILE


def test_a_line_is_found_across_every_border_of_a_block(codex_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cm, "BLOCK", 64)
    line = limits(window(7))
    for after in range(0, 200, 3):
        path = write_rollout(codex_home, [other(5), line, b"x" * after])
        assert cm.newest_limits_in(str(path))[0].windows[0].used == 7.0, after


def test_of_many_lines_the_last_one_is_found_whatever_the_blocks(
    codex_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seed = random.randrange(1 << 32)
    dice = random.Random(seed)
    for _ in range(60):
        monkeypatch.setattr(cm, "BLOCK", dice.choice([1, 7, 100, 512, 4096]))
        lines, wanted = [], None
        for number in range(dice.randrange(8)):
            if dice.random() < 0.4:
                wanted = float(number)
                lines.append(limits(window(wanted)))
            else:
                lines.append(other(dice.randrange(400)))
        path = write_rollout(codex_home, lines)
        if dice.random() < 0.5:
            with path.open("ab") as file:
                file.write(limits(window(99))[: dice.randrange(1, 100)])
        found = cm.newest_limits_in(str(path))[0]
        assert (found.windows[0].used if found.windows else None) == wanted, seed


def test_a_big_file_is_read_from_its_end_and_only_so_far(codex_home: Path) -> None:
    path = write_rollout(codex_home, [limits(window(7))])
    line = path.read_bytes()
    with path.open("wb") as file:
        file.truncate(1 << 30)
        file.seek(0, os.SEEK_END)
        file.write(b"\n" + line)
    found, read = cm.newest_limits_in(str(path))
    assert found.windows[0].used == 7.0 and read <= 2 * cm.BLOCK
    os.truncate(path, 1 << 30)
    found, read = cm.newest_limits_in(str(path))
    assert found == cm.Usage() and read <= cm.SEARCHED_IN_FILE + cm.BLOCK


def test_in_the_newest_file_limits_are_found_behind_a_very_long_line(home: Home, codex_home: Path) -> None:
    write_rollout(codex_home, [limits(window(3), at=NOW - 9000)], name="older", at=NOW - 9000)
    write_rollout(codex_home, [limits(window(7)), other(20_000_000)])
    assert usage(home).windows[0].used == 7.0


def test_the_table_of_limits_fits_on_80_columns(home: Home) -> None:
    clone = clone_like(home, "personal")
    one = cm.Usage((window_of(300, 36.0, 3 * 3600), window_of(10080, 100.0, 6 * 86400)), NOW - 3000, "business")
    table = cm.usage_table([(clone, one), (clone, cm.Usage())], NOW)
    assert max(map(len, cm.align_table(table))) <= 80
    assert table.heading == ("NAME", "LEFT", "", "5 H (RESET)", "WEEK (RESET)", "AS OF", "PLAN")
    assert table.rows[0][1:] == ("0 %", "░░░░░░░░░░", "64 % (in 3 h)", "0 % (in 6 d)", "50 min ago", "business")
    assert table.rows[1][1:] == ("unknown", "", "-", "-", "-", "-")
    assert cm.usage_table([(clone, one._replace(as_of=NOW))], NOW).rows[0][5] == "now"
    later = cm.usage_table([(clone, one)], NOW + 4 * 3600).rows[0]
    assert (later[3], later[4]) == ("100 % (fresh)", "0 % (in 5 d)")


NAMES = [(15, "15 min"), (57, "1 h"), (60, "1 h"), (299, "5 h"), (300, "5 h"), (1440, "1 day"), (10079, "week")]
NAMES += [(10080, "week"), (20160, "14 days"), (43200, "30 days")]


@pytest.mark.parametrize(("minutes", "name"), NAMES)
def test_a_window_is_named_by_its_length(minutes: int, name: str) -> None:
    assert cm.window_name(minutes) == name


def test_a_window_of_another_length_has_a_column_of_its_own(home: Home) -> None:
    month = cm.Usage((window_of(299, 0.0, 60), window_of(43200, 25.0, 9 * 86400)), NOW - 60, "go")
    table = cm.usage_table([(clone_like(home), month)], NOW)
    assert table.heading[3:6] == ("5 H (RESET)", "WEEK (RESET)", "30 DAYS (RESET)")
    assert table.rows[0][3:6] == ("100 % (in 1 min)", "-", "75 % (in 9 d)")


def window_of(minutes: int, used: float, resets_in: float) -> Any:
    return cm.Window(minutes, used, NOW + resets_in)


# --- whose they are ---


def made_by(workspace: str = "", user: str = "", version: str = "0.171.0") -> bytes:
    """A first line of 22 KB as that Codex writes it; the creator stands in it since 0.169."""
    creator = {"creator_user_id": user, "creator_account_id": workspace} if workspace or user else {}
    facts = {"id": "i", "timestamp": cm.timestamp_text(NOW), "cwd": "/", "cli_version": version, "source": "exec"}
    payload = {**creator, **facts, "base_instructions": {"text": "x" * 21_000}}
    return json.dumps({"timestamp": cm.timestamp_text(NOW), "type": "session_meta", "payload": payload}).encode()


OTHER = cm.Account("chatgpt", workspace="acc-B", user="user-B")
SAME_TEAM = cm.Account("chatgpt", workspace="acc-A", user="user-B")
OLD = made_by(version="0.154.0")
WHOSE: list[tuple[str, bytes, Any, Any, bool]] = [
    ("made by it", made_by("acc-A", "user-A"), ACCOUNT, None, True),
    ("made by it before the last refresh", made_by("acc-A", "user-A"), ACCOUNT._replace(since=NOW), None, True),
    ("made by another", made_by("acc-A", "user-A"), OTHER, None, False),
    ("made by another user of the workspace", made_by("acc-A", "user-A"), SAME_TEAM, None, False),
    ("made in another workspace of the user", made_by("acc-B", "user-A"), ACCOUNT, None, False),
    ("by an older Codex, since the login", OLD, ACCOUNT._replace(since=NOW - 600), None, True),
    ("by an older Codex, before the login", OLD, ACCOUNT._replace(since=NOW - 10), None, False),
    ("by an older Codex, noted before", OLD, ACCOUNT._replace(since=NOW), ACCOUNT._replace(since=NOW - 99), True),
    ("by an older Codex, noted later", OLD, ACCOUNT._replace(since=NOW - 99), ACCOUNT._replace(since=NOW), True),
    ("by an older Codex, another noted", OLD, ACCOUNT._replace(since=NOW), OTHER._replace(since=NOW - 99), False),
    ("nobody logged in", made_by("acc-A", "user-A"), cm.Account("none"), None, False),
    ("an API key", made_by("acc-A", "user-A"), cm.Account("api-key", key="sk-…"), None, False),
    ("an unreadable login", made_by("acc-A", "user-A"), cm.Account("unknown"), None, False),
    ("a keyring", OLD, cm.Account("keyring"), None, False),
    ("half a creator", made_by("acc-A"), ACCOUNT, None, False),
]


@pytest.mark.parametrize(("kind", "first", "account", "noted", "known"), WHOSE, ids=[row[0] for row in WHOSE])
def test_limits_belong_to_the_account_that_made_the_session(
    home: Home, codex_home: Path, kind: str, first: bytes, account: Any, noted: Any, known: bool
) -> None:
    path = write_rollout(codex_home, [limits(window(58))])
    path.write_bytes(first + path.read_bytes()[len(META) :])
    os.utime(path, (NOW, NOW))
    found = usage(home, account, noted)
    assert bool(found.windows) is known and bool(found.why) is not known


def test_hundreds_of_another_accounts_sessions_hide_nothing(home: Home, codex_home: Path) -> None:
    mine = write_rollout(codex_home, [limits(window(7), at=NOW - 900)], name="mine", at=NOW - 900)
    mine.write_bytes(made_by("acc-A", "user-A") + mine.read_bytes()[len(META) :])
    os.utime(mine, (NOW - 900, NOW - 900))
    first = write_rollout(codex_home, [limits(window(99))], name="0")
    first.write_bytes(made_by("acc-B", "user-B") + first.read_bytes()[len(META) :])
    os.utime(first, (NOW, NOW))
    for number in range(1, 300):
        os.link(first, first.with_name(f"rollout-{number}.jsonl"))
    assert usage(home).windows[0].used == 7.0


def test_list_usage_and_the_menu_say_the_same_of_a_new_login(home: Home, codex: Path) -> None:
    """58 % of A's were shown for B once, and an API key showed 0 %."""
    make_clone(home, "work")
    codex_home = home.clone_home("work") / ".codex"
    first = made_by("acc-A", "user-A")
    path = write_rollout(codex_home, [limits(window(42, resets=time.time() + 3600), at=time.time() - 60)])
    path.write_bytes(first + path.read_bytes()[len(META) :])
    key = json.dumps({"auth_mode": "apikey", "OPENAI_API_KEY": API_KEYS[0]})
    for content, left in [
        (chatgpt_login("acc-A", "user-A", at=NOW), 58.0),
        (chatgpt_login("acc-B", "user-B", at=NOW), None),
        (key, None),
        ("", None),
    ]:
        (codex_home / "auth.json").unlink(missing_ok=True)
        if content:
            (codex_home / "auth.json").write_text(content)
        [row] = ask(home, "usage", "work", "--json").json()
        clone = clone_in(home, "work")
        assert row["left"] == left and (row["why"] is None) is (left is not None)
        assert cm.left_percent(cm.glance_at(clone)["usage"], time.time()) == left
        assert cm.list_row(clone, None, time.time())[3] == ("-" if left is None else "58 %")


def test_unknown_stays_unknown_and_says_why(home: Home, codex_home: Path) -> None:
    """A newest figure without windows is that of an account without any; one of another limit says nothing."""
    write_rollout(codex_home, [limits(window(7), at=NOW - 900)], name="older", at=NOW - 900)
    credits = {"has_credits": True, "unlimited": False, "balance": "9.99"}
    newest = write_rollout(codex_home, [limits(credits=credits)])
    found = usage(home)
    assert (found.windows, found.why, found.credits) == ((), "the server named no limits", "9.99 credits left")
    assert cm.left_percent(found, NOW) is None
    newest.write_bytes(b"\n".join([META, limits(window(3), limit_id="codex_other"), b""]))
    assert usage(home).windows[0].used == 7.0


def test_figures_are_found_behind_lines_of_forty_megabytes(home: Home, codex_home: Path) -> None:
    path = write_rollout(codex_home, [limits(window(7)), other(40_000_000)])
    with path.open("ab") as file:
        file.write(b'{"type": "response_item", "payload": "' + b"x" * 20_000_000)
    os.utime(path, (NOW - 1, NOW - 1))
    write_rollout(codex_home, [other()], name="begun", at=NOW)
    assert usage(home).windows[0].used == 7.0


def test_nothing_is_kept_of_a_line_that_is_too_long_for_figures(codex_home: Path) -> None:
    path = write_rollout(codex_home, [limits(window(7)), other(40_000_000)])
    tracemalloc.start()
    found, _ = cm.newest_limits_in(str(path))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found.windows[0].used == 7.0 and peak < 8 << 20


def test_a_file_that_cant_be_the_accounts_is_not_read(
    home: Home, codex_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_rollout(codex_home, [limits(window(7))])
    monkeypatch.setattr(cm, "newest_limits_in", lambda *words: pytest.fail("it was read"))
    assert usage(home, ACCOUNT._replace(since=NOW + 1)).windows == ()


MONEY: list[tuple[str, dict[str, Any], str, str, float | None]] = [
    ("the limit", {"rate_limit_reached_type": "rate_limit_reached"}, "limit reached", "", 0.0),
    ("a member's credits", {"rate_limit_reached_type": "workspace_member_credits_depleted"}, "credits used up", "", 0),
    ("a new kind", {"rate_limit_reached_type": "moon_phase"}, "moon phase", "", 0.0),
    ("a spending limit", {"spend_control_reached": True}, "spending limit reached", "", 0.0),
    (
        "a limit and a spending limit",
        {"rate_limit_reached_type": "rate_limit_reached", "spend_control_reached": True},
        "limit reached",
        "",
        0.0,
    ),
    ("none", {"rate_limit_reached_type": None, "spend_control_reached": False}, "", "", 90.0),
    ("no credits beside windows", {"credits": {"has_credits": False, "unlimited": False, "balance": "0"}}, "", "", 90),
    ("credits", {"credits": {"has_credits": True, "unlimited": False, "balance": "5"}}, "", "5 credits left", 90.0),
    ("credits, nobody knows how many", {"credits": {"has_credits": True}}, "", "some credits left", 90.0),
    ("all credits", {"credits": {"has_credits": True, "unlimited": True}}, "", "unlimited credits", 90.0),
    ("odd ones", {"credits": ["x"], "rate_limit_reached_type": 7}, "", "", 90.0),
]


@pytest.mark.parametrize(("kind", "more", "reached", "credits", "left"), MONEY, ids=[row[0] for row in MONEY])
def test_what_is_used_up_is_said_as_what_it_is(
    kind: str, more: dict[str, Any], reached: str, credits: str, left: float | None
) -> None:
    found = cm.limits_from(limits(window(), **more))
    assert (found.reached, found.credits, cm.left_percent(found, NOW)) == (reached, credits, left)
    assert cm.left_percent(found, NOW + 99_999) == 100.0


def test_who_made_a_session_is_unknown_only_where_it_says_nothing_of_that() -> None:
    rows = ((ACCOUNT.workspace, ACCOUNT.user, True), ("", ACCOUNT.user, False), (ACCOUNT.workspace, "", False))
    for workspace, user, is_own in (*rows, ("", "", None)):
        assert cm.is_made_by(cm.SessionMeta(workspace=workspace, user=user), ACCOUNT) is is_own


AFTERWARDS: list[tuple[str, str, float, float | None]] = [
    ("a limit, now", "rate_limit_reached", NOW, 0.0),
    ("a limit, five hours later", "rate_limit_reached", NOW + 3600, 60.0),
    ("a limit, a week later", "rate_limit_reached", NOW + 86400, 100.0),
    ("credits, five hours later", "workspace_member_credits_depleted", NOW + 3600, 0.0),
    ("credits, a week later", "workspace_member_credits_depleted", NOW + 86400, 100.0),
]


@pytest.mark.parametrize(("kind", "reached", "now", "left"), AFTERWARDS, ids=[row[0] for row in AFTERWARDS])
def test_a_limit_that_was_reached_is_over_with_its_window(kind: str, reached: str, now: float, left: float) -> None:
    windows = (window(100.0), window(40.0, 10080, NOW + 86400))
    assert cm.left_percent(cm.limits_from(limits(*windows, rate_limit_reached_type=reached)), now) == left


def test_the_best_is_the_first_of_those_with_the_most_left(home: Home) -> None:
    known = [(clone_like(home, name), left) for name, left in (("d", None), ("c", 40.0), ("a", 60.0), ("b", 60.0))]
    assert cm.best_of(known, []) == cm.Outcome(cm.DONE, ("a",), data={"name": "a"})
    assert cm.best_of(known, ["c: x"]) == cm.Outcome(cm.FAILED, ("a",), ("c: x",), data={"name": "a"})
    nothing = cm.best_of(known[:1], ["d: x"])
    assert (nothing.code, nothing.lines, nothing.notes[0], nothing.data) == (cm.FAILED, (), "d: x", {"name": None})


def test_credits_that_ran_out_are_told_of_an_account_without_windows() -> None:
    found = cm.limits_from(limits(credits={"has_credits": False, "unlimited": False, "balance": "0"}))
    assert (found.credits, cm.left_percent(found, NOW)) == ("credits used up", None)


def test_an_account_without_such_limits_has_none_and_one_without_sessions_is_unknown(home: Home) -> None:
    for kind, shown in (("none", "-"), ("api-key", "-"), ("unknown", "unknown"), ("chatgpt", "unknown")):
        one = cm.usage_of(clone_like(home), cm.Account(kind), [])
        assert cm.usage_cells(one, (), 0.0)[0] == shown, kind
