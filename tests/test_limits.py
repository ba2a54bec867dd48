"""Limits: what is left of a clone's rate limits, from its own session files."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from helpers import API_KEYS, Home, tree
from rooms import clone_like, cm

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


def usage(home: Home) -> Any:
    return cm.usage_in(cm.rollouts_of(clone_like(home)))


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
    assert usage(home) == cm.Usage()
    (codex_home / "sessions").write_text("a file")
    os.mkfifo(codex_home / "archived_sessions")
    assert usage(home) == cm.Usage()


def test_nothing_but_session_files_is_opened(home: Home, codex_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("auth.json", "state_5.sqlite", "history.jsonl", "sessions/2026/11/22/notes.jsonl"):
        (codex_home / name).parent.mkdir(parents=True, exist_ok=True)
        (codex_home / name).write_text("x")
    path = write_rollout(codex_home, [limits(window())])
    opened = counted_opens(monkeypatch)
    assert usage(home).windows and opened == [str(path)]


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
    (codex_home / "auth.json").write_text(json.dumps({"auth_mode": "apikey", "OPENAI_API_KEY": API_KEYS[0]}))
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
    """2 GB in all. A clone with an API key has no limits in any of them; then it gets a session that has."""
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


def test_the_table_of_limits_fits_on_80_columns() -> None:
    one = cm.Usage((window_of(300, 36.0, 3 * 3600), window_of(10080, 100.0, 6 * 86400)), NOW - 3000, "business")
    cells = [("personal", *cm.usage_cells(usage, NOW)) for usage in (one, cm.Usage())]
    table = cm.Table(("NAME", "LEFT", "", "5 H (RESET)", "WEEK (RESET)", "AS OF", "PLAN"), tuple(cells))
    assert max(map(len, cm.align_table(table))) <= 80
    assert cells[0][1:] == ("0 %", "░░░░░░░░░░", "64 % (in 3 h)", "0 % (in 6 d)", "50 min ago", "business")


def window_of(minutes: int, used: float, resets_in: float) -> Any:
    return cm.Window(minutes, used, NOW + resets_in)
