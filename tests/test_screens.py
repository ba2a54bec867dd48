"""The menu as values: what each key means, and what is drawn at every size. Nothing here has a terminal."""

from __future__ import annotations

import os
import random
from collections import Counter
from pathlib import Path

import pytest

import codex_mirror as cm
import sample
from sample import after
from terminal import drawn

GOLDEN = Path(__file__).parent / "golden"
SIZES = [cm.Size(24, 80), cm.Size(10, 40)]
SCREENS = sample.every_screen()


@pytest.fixture(autouse=True)
def _fixed_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """Golden frames outlive releases."""
    monkeypatch.setattr(cm, "__version__", "1.0.0")


def plain(screen: cm.Screen, size: cm.Size | None = None) -> str:
    return drawn(screen, size)


# --- what is drawn ---


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size.columns}x{size.rows}")
@pytest.mark.parametrize("name", SCREENS)
def test_a_screen_looks_as_it_did(name: str, size: cm.Size) -> None:
    """After a wanted change: `CODEX_MIRROR_TEST_GOLDEN=write make test TESTS=tests/test_screens.py`, then the diff."""
    path = GOLDEN / f"{name}-{size.columns}x{size.rows}.txt"
    frame = plain(SCREENS[name], size)
    if os.environ.get("CODEX_MIRROR_TEST_GOLDEN") == "write":
        path.write_text(frame, encoding="utf-8")
    assert frame == path.read_text(encoding="utf-8")


def test_every_golden_frame_is_of_a_screen_that_is_there() -> None:
    wanted = {f"{name}-{size.columns}x{size.rows}.txt" for name in SCREENS for size in SIZES}
    assert {path.name for path in GOLDEN.iterdir()} == wanted


def complaints_about_frame(screen: cm.Screen, size: cm.Size) -> list[str]:
    """What is wrong with the rows of this screen at this size, whatever it shows."""
    rows = cm.view_screen(screen, size)
    texts = ["".join(span.text for span in row) for row in rows]
    wrong = [f"{size}: {len(rows)} rows"] if len(rows) != size.rows else []
    wrong += [f"{size}: too wide: {text!r}" for text in texts if cm.cell_width(text) > size.columns]
    wrong += [f"{size}: acts: {text!r}" for text in texts if cm.escape_invisible(text) != text]
    return wrong


HARD = {
    "main": sample.menu(rows=sample.many(6)),
    "table": after(sample.menu(rows=sample.many(4)), "m", "end"),
    "actions": after(sample.menu(rows=sample.many(2)), "m", "down", "enter", "end"),
    "field": after(sample.menu(), "c", *"日本e\u0301語" * 9, "left", "left"),
    "report": after(sample.menu(rows=sample.many(9)), "m", "?", "down"),
}


@pytest.mark.parametrize("name", HARD)
def test_no_line_is_too_wide_at_any_size(name: str) -> None:
    sizes = [cm.Size(rows, columns) for rows in range(1, 41) for columns in range(1, 121)]
    assert [complaint for size in sizes for complaint in complaints_about_frame(HARD[name], size)] == []


@pytest.mark.parametrize("name", SCREENS)
def test_no_line_of_any_screen_is_too_wide(name: str) -> None:
    sizes = [cm.Size(rows, columns) for rows in (1, 9, 10, 15, 16, 24, 41, 100) for columns in (1, 39, 40, 61, 80, 300)]
    screens = [SCREENS[name], SCREENS[name]._replace(ascii=True)]
    assert [wrong for screen in screens for size in sizes for wrong in complaints_about_frame(screen, size)] == []


@pytest.mark.parametrize("name", [*SCREENS, *HARD])
def test_where_only_ascii_can_be_shown_every_cell_has_its_counterpart(name: str) -> None:
    screen = {**SCREENS, **HARD}[name]
    for size in SIZES:
        rich, poor = cm.view_screen(screen, size), cm.view_screen(screen._replace(ascii=True), size)
        assert all(span.text.isascii() for row in poor for span in row)
        assert [cm.width_of(row) for row in poor] == [cm.width_of(row) for row in rich]
        assert [[span.style for span in row] for row in poor] == [[span.style for span in row] for row in rich]


def test_a_terminal_that_is_too_small_is_told_how_large_it_must_be() -> None:
    assert "40×10" in plain(sample.menu(), cm.Size(8, 30))
    assert "Quick Clone" in plain(sample.menu(), cm.Size(10, 40))


@pytest.mark.parametrize("name", [name for name in SCREENS if name != "exit"])
def test_where_nothing_can_be_seen_keys_do_nothing_but_lead_out(name: str) -> None:
    small = SCREENS[name]._replace(size=cm.Size(9, 80))
    back = {key for binding in cm.bindings_of(small) if "esc" in binding.keys for key in binding.keys}
    keys = {*"cmudpsaxrRlLoynb123", "enter", "down", "/", "?", "pasted:x"} - back
    assert all(cm.pressed(small, key) == (small._replace(status=""), None) for key in keys)
    assert cm.pressed(small, "ctrl-c")[1] == cm.MenuWish("interrupt")
    assert cm.top_page(after(small, "esc")) != cm.top_page(small)


COLUMNS = ["NAME", "ACCOUNT", "PLAN", "LEFT", "CODEX", "STATE", "USED"]


@pytest.mark.parametrize(
    ("columns", "shown"),
    [
        (40, ["NAME", "STATE", "LEFT"]),
        (80, COLUMNS),
        (300, COLUMNS),
    ],
)
def test_columns_go_by_their_importance(columns: int, shown: list[str]) -> None:
    lines = plain(after(sample.menu(), "m"), cm.Size(24, columns)).splitlines()
    heading = next(line for line in lines if "NAME" in line).partition("│")[0].split()
    assert set(shown) <= set(heading)
    assert heading == [word for word in COLUMNS if word in heading]


def heading_of(screen: cm.Screen, columns: int) -> list[str]:
    lines = plain(screen._replace(size=cm.Size(24, columns))).splitlines()
    return next(line for line in lines if "NAME" in line).partition("│")[0].split()


@pytest.mark.parametrize("rows", [sample.ROWS, sample.many(9)], ids=["few", "wide"])
def test_a_wider_terminal_shows_every_column_that_a_narrower_one_does(rows: tuple[cm.CloneView, ...]) -> None:
    table, before = after(sample.menu(rows=rows), "m"), 0
    ranks = {column.heading: column.rank for column in cm.COLUMNS}
    for columns in range(40, 301):
        heading = heading_of(table, columns)
        assert sorted(ranks[word] for word in heading) == list(range(len(heading))), columns
        assert len(heading) >= before, columns
        before = len(heading)
    assert before == len(COLUMNS)


def test_names_and_accounts_share_the_room_and_are_whole_where_there_is_enough() -> None:
    one = sample.seen(sample.clone("n" * 40), sample.chatgpt("a" * 50, "plus"), sample.limits(1, 1), sample.NOW)
    table = after(sample.menu(rows=(one,)), "m")
    narrow, wide = (plain(table._replace(size=cm.Size(24, columns))) for columns in (80, 300))
    assert f" {'n' * 18}…  {'a' * 18}…  " in narrow
    assert "n" * 40 in wide and "a" * 50 in wide


@pytest.mark.parametrize("size", SIZES)
def test_where_more_follows_there_is_a_sign(size: cm.Size) -> None:
    table = after(sample.menu(rows=sample.many(100))._replace(size=size), "m")
    first, middle, last = (plain(after(table, *keys)) for keys in ([], ["pgdn", "pgdn", "pgdn"], ["G"]))
    assert ["\n↑" in frame for frame in (first, middle, last)] == [False, True, True]
    assert ["\n↓" in frame for frame in (first, middle, last)] == [True, True, False]


def test_states_are_told_by_sign_and_word() -> None:
    states = [cm.state_of(row) for row in sample.ROWS]
    assert states == ["✓ ok", "! update", "✓ ok", "! warning", "✗ broken"]
    assert cm.state_of(cm.CloneView(sample.clone("new"))) == "… checking"
    frame = plain(after(sample.menu(), "m"))
    assert all(state in frame for state in states)


@pytest.mark.parametrize("size", [cm.Size(24, 80), cm.Size(24, 140)])
def test_details_that_have_too_little_room_lead_to_all_of_them(size: cm.Size) -> None:
    gone = cm.Problem("directory-missing", "error", f"it is gone: {sample.ROWS[4].clone.root}/a/b", "make it again")
    row = sample.seen(sample.clone("spare"), cm.Account("none"), cm.Usage(), 0.0, gone, sample.BROKEN)
    assert "it is gone: a/b" in plain(after(sample.menu(rows=(row,)), "m"), size)
    assert "doctor tells all of it" not in plain(after(sample.menu(rows=(row,)), "m"), size)
    row = row._replace(health=cm.Health(*row.health[:-1], problems=(sample.BROKEN,) * 9)) if row.health else row
    assert "doctor tells all of it" in plain(after(sample.menu(rows=(row,)), "m"), size)


def test_only_a_path_that_begins_in_the_clone_is_shown_from_there() -> None:
    root = sample.clone("spare").root
    gone = cm.Problem("directory-missing", "error", f"gone: {root}/a, /mnt{root}/b", "make it again")
    row = sample.seen(sample.clone("spare"), cm.Account("none"), cm.Usage(), 0.0, gone)
    assert f"gone: a, /mnt{root}/b" in plain(after(sample.menu(rows=(row,)), "m"), cm.Size(24, 100))


def test_where_that_is_wished_the_settings_show_no_address() -> None:
    one = sample.clone("work")._replace(shared=("mail/ada@example.com",))
    row = sample.seen(one, cm.Account("none"), cm.Usage(), 0.0)
    menu = sample.menu(rows=(row,))
    assert "ada@example.com" in plain(after(menu, "m", "t"))
    assert "ada@" not in plain(after(menu._replace(redact=True), "m", "t"))


def test_where_that_is_wished_no_address_is_shown() -> None:
    hidden = sample.menu()._replace(redact=True)
    table = after(hidden, "m")
    stakes = cm.Stakes("id-work", cm.Question(("ada@example.com",), "?"))
    asked = cm.questioned(after(table, "x"), cm.MenuWish("do", ("remove",), ("work",), job=1), stakes)
    failed = cm.command_failed(hidden, cm.MenuWish("do", ("update",), ("x",)), cm.MirrorError("ada@example.com"))
    for screen in (hidden, table, after(table, "down"), asked, failed):
        assert "ada@" not in plain(screen, cm.Size(40, 200)) and "a…@…" in plain(screen, cm.Size(40, 200))


def test_the_smallest_question_tells_of_every_loss() -> None:
    frame = plain(SCREENS["removing"], cm.Size(10, 40))
    assert all(loss in frame for loss in ("its login: ada.king", "12 sessions, 35 MB", "3 files of its own, 12 kB"))


@pytest.mark.parametrize(
    ("height", "lines"),
    [
        (9, ["one", "two two", "two", "three"]),
        (3, ["one", "two tw…", "three"]),
        (2, ["one", "two tw…"]),
        (1, ["one"]),
        (0, []),
    ],
)
def test_what_must_be_short_is_cut_where_it_is_longest(height: int, lines: list[str]) -> None:
    assert cm.in_lines(["one", "two two two", "three"], 7, height) == lines


@pytest.mark.parametrize("size", SIZES)
def test_a_registry_that_breaks_while_its_clones_are_shown_is_told_beside_them(size: cm.Size) -> None:
    for name, clones in (("broken", "5 clones"), ("table-broken", "client")):
        frame = plain(SCREENS[name], size)
        assert "✗ the registry" in frame and clones in frame and ("doctor --fix" in frame or "mirro…" in frame)


@pytest.mark.parametrize("count", [1, 7, 300])
@pytest.mark.parametrize("size", SIZES)
def test_the_selection_is_always_in_sight(count: int, size: cm.Size) -> None:
    screen = after(sample.menu(rows=sample.many(count))._replace(size=size), "m")
    for key in ["end", "up", "pgup", "home", "down", "pgdn", "G", "k", "g", "j"]:
        screen = after(screen, key)
        rows = cm.view_screen(screen, size)
        chosen = ["".join(span.text for span in row) for row in rows if any(span.style == "chosen" for span in row)]
        page = cm.top_page(screen)
        assert isinstance(page, cm.Roster)
        selected = cm.selected_row(screen, page)
        assert len(chosen) == 1 and selected and "▸" in chosen[0] and selected.clone.name[:9] in chosen[0]


# --- what keys mean ---


def test_no_key_is_bound_twice_and_every_binding_says_what_it_does() -> None:
    for mode, bindings in cm.KEYS.items():
        counted = Counter(key for binding in (*bindings, *cm.EVERYWHERE) for key in binding.keys)
        assert [key for key, count in counted.items() if count > 1] == [], mode
        assert all(binding.help for binding in bindings)
        assert any(binding.word for binding in bindings), f"{mode} has an empty footer"


@pytest.mark.parametrize("name", ["main", "table", "actions", "exit", "confirm", "logging-out"])
def test_no_entry_hides_another_one_or_a_key_of_its_screen(name: str) -> None:
    screen = SCREENS[name]
    keys = [item.key for item in cm.items_here(screen) if item.key]
    bound = {key for binding in cm.bindings_of(screen) for key in binding.keys}
    assert keys and len(keys) == len(set(keys))
    assert bound.isdisjoint(keys)


def test_every_entry_of_the_main_menu_has_a_digit_and_a_letter() -> None:
    items = cm.items_here(sample.menu())
    labels = [item.label for item in items]
    wanted = ["Quick Clone", "Manage Clones", "Update All Clones", "Diagnostics", "Shell PATH Setup", "Star on GitHub"]
    assert [label for label in labels if label in [*wanted, "About", "Exit"]] == [*wanted, "About", "Exit"]
    for index, item in enumerate(items):
        by_digit, by_letter = (cm.pressed(sample.menu(), key) for key in (cm.digit_of(index), item.key))
        by_arrow = cm.pressed(after(sample.menu(), *["down"] * index), "enter")
        assert item.key and cm.digit_of(index)
        assert plain(by_digit[0]) == plain(by_letter[0]) == plain(by_arrow[0])
        assert by_digit[1] == by_letter[1] == by_arrow[1]
        assert by_digit[0] != sample.menu() or by_digit[1]


def test_every_labelled_command_about_a_clone_is_an_action() -> None:
    actions = {item.label: item.key for item in cm.items_here(after(sample.menu(), "m"))}
    rows = {command.label: command.key for command in cm.COMMANDS if command.label and cm.is_about_a_clone(command)}
    assert rows and rows.items() <= actions.items()
    entries = [item.label for item in cm.items_here(sample.menu())]
    others = [command.label for command in cm.COMMANDS if command.label and not cm.is_about_a_clone(command)]
    assert set(others) - {"Quick Clone", "Shell PATH Setup"} <= set(entries)


def test_the_exit_question_leaves_by_default_and_is_asked_once() -> None:
    asked = after(sample.menu(), "q")
    assert cm.pressed(asked, "enter")[1] == cm.MenuWish("leave")
    assert cm.pressed(asked, "s")[1] == cm.MenuWish("star and leave")
    assert cm.pressed(after(asked, "esc"), "esc")[1] == cm.MenuWish("leave")


def test_leaving_while_something_is_under_way_is_asked_every_time_and_stays_by_default() -> None:
    busy = after(sample.waiting(), "esc", "esc")
    assert "create new is still under way" in plain(busy)
    back = after(busy, "enter")
    assert cm.pressed(back, "q")[1] is None
    assert cm.pressed(after(back, "q"), "x")[1] == cm.MenuWish("leave")


@pytest.mark.parametrize("name", ["actions", "confirm", "created", "exit", "logging-out", "failed", "diagnosed"])
def test_what_is_chosen_in_a_dialog_closes_it(name: str) -> None:
    screen = SCREENS[name]
    for item in cm.items_here(screen):
        after_it, _ = cm.pressed(screen, item.key)
        assert cm.top_page(screen) not in after_it.pages or item.why_not, item.label


# Keys that lead into a dialog from others, and what each Esc shows then.
NESTED = [
    (["t", "enter"], ["Settings of work", ""]),
    (["enter", "t", "down", "enter", *".npmrc"], ["Settings of work", "┌─ work ─", ""]),
    (["enter", "n", *"office"], ["┌─ work ─", ""]),
    (["enter", "e"], ["┌─ work ─", ""]),
    (["L", *"--with-api-key", "enter"], ["arguments: --with-api-key", ""]),
    (["esc", "c", *"new", "enter"], ["name: new", ""]),
    (["esc", "i", *"a.gz", "enter"], ["a Codex home: a.gz", ""]),
]


@pytest.mark.parametrize(("keys", "shown"), NESTED)
def test_a_dialog_that_is_left_leads_back_to_the_one_that_it_was_opened_from(keys: list[str], shown: list[str]) -> None:
    screen = after(sample.menu(), "m", *keys)
    for text in shown:
        screen = after(screen, "esc")
        assert text in plain(screen) and ("┌" in plain(screen)) == bool(text)


@pytest.mark.parametrize(
    "keys", [["m", "enter", "t", "enter", "1"], ["m", "L", *"--with-api-key", "enter", "x", "enter"]]
)
def test_a_deed_closes_all_the_dialogs_that_led_to_it(keys: list[str]) -> None:
    screen, wish = cm.pressed(after(sample.menu(), *keys[:-1]), keys[-1])
    screen = cm.command_ended(screen, wish, cm.Outcome()) if wish and wish.job else screen
    assert wish and cm.mode_of(screen) == "table"


def test_a_dialog_below_a_message_is_not_what_it_was_opened_from() -> None:
    typing = after(sample.menu(), "u", "y", "esc", "c", *"ne")
    told = cm.command_failed(typing, cm.MenuWish("do", ("update",), job=1), cm.MirrorError("no"))
    assert plain(after(told, "enter")) == plain(typing._replace(jobs=()))
    assert cm.mode_of(after(told, "enter", "esc")) == "menu"


@pytest.mark.parametrize("name", ["removing", "logging-out"])
def test_enter_alone_never_loses_anything(name: str) -> None:
    screen, wish = cm.pressed(SCREENS[name], "enter")
    assert wish is None and not screen.jobs


def test_a_clone_with_a_login_goes_only_when_its_name_is_typed() -> None:
    screen = after(SCREENS["removing"], *"wor", "enter")
    assert "type work to go on" in plain(screen)
    wish = cm.pressed(after(screen, "k"), "enter")[1]
    assert wish and wish._replace(agreed=None) == cm.MenuWish("do", ("remove",), ("work",), job=2)
    assert wish.agreed and wish.agreed.clone_id == "id-work"


def test_what_cant_be_done_now_says_why() -> None:
    frame = plain(after(sample.menu(), "m", "G", "b"))
    assert "Roll back: no earlier Codex is kept" in frame
    assert "Log out: not logged in" in plain(after(sample.menu(), "m", "G", "o"))
    assert "not logged in" in plain(after(sample.menu(), "m", "G", "enter"))
    assert "update work is still under way" in plain(after(sample.menu(), "m", "u", "esc", "x"))


@pytest.mark.parametrize("name", [name for name in SCREENS if name != "waiting"])
def test_the_help_shows_every_key_of_its_screen(name: str) -> None:
    screen = SCREENS[name]
    if not any("?" in binding.keys for binding in cm.bindings_of(screen)):
        pytest.skip("here ? is a character like any other")
    page = cm.top_page(after(screen, "?"))
    assert isinstance(page, cm.Report)
    shown = " ".join(page.lines)
    assert all(binding.help in shown for binding in cm.bindings_of(screen))
    assert all(item.label in shown for item in cm.items_here(screen) if item.key)


def test_the_filter_goes_by_name_and_account_and_esc_clears_it() -> None:
    table = after(sample.menu(), "m", "/", *"client")
    page = cm.top_page(table)
    assert isinstance(page, cm.Roster)
    assert [row.clone.name for row in cm.matching(table, page)] == ["client"]
    typed = after(table, "enter", "j", "k")
    assert "client" in plain(typed) and "spare" not in plain(typed)
    assert "spare" in plain(after(typed, "esc"))
    assert "spare" in plain(after(table, "esc"))
    assert cm.mode_of(after(typed, "esc", "esc")) == "menu"
    assert "no clone matches" in plain(after(sample.menu(), "m", "/", *"nobody"))


@pytest.mark.parametrize(
    "keys", [["esc"], ["enter", "esc"], ["enter", "esc", "esc", "m"], ["enter", "enter", "q", "q"]]
)
def test_the_selection_stays_on_what_the_filter_found(keys: list[str]) -> None:
    assert "▸ client" in plain(after(sample.menu(), "m", "/", *"clien", *keys))


def test_a_filter_that_finds_nothing_moves_no_selection_and_neither_does_leaving_the_table() -> None:
    for keys in (["/", "~", "enter", "esc"], ["/", "esc"], ["q", "m"], ["q", "q", "b", "m"]):
        assert "▸ client" in plain(after(sample.menu(), "m", "j", *keys))
    gone = after(sample.menu(), "m", "j", "q")._replace(rows=sample.ROWS[2:])
    assert "▸ ci" in plain(after(gone, "m"))


def test_keys_typed_while_a_job_runs_come_after_it() -> None:
    screen = after(sample.waiting(), "l", "x")
    assert (screen.held, cm.released(screen)) == (("l", "x"), (screen, ""))
    ended = cm.command_ended(
        screen, cm.MenuWish("do", ("create",), ("new",), job=screen.started), cm.Outcome(lines=("a", "b"))
    )
    assert cm.released(ended)[1] == "l"
    assert after(screen, "esc").held == ()


def test_a_failure_is_shown_though_nobody_waits_for_it_any_more() -> None:
    screen = after(sample.menu(), "u", "y", "esc", "m")
    wish = cm.MenuWish("do", ("update",), options=("--all",), job=screen.started)
    done = cm.Outcome(cm.DONE, ("work: 0.157.0 → 0.169.0", "client: 0.157.0 → 0.169.0"))
    assert cm.command_ended(screen, wish, done).status == "work: 0.157.0 → 0.169.0"
    notes = ("spare: no space left on device", "work: the running Codex (pid 42) stays on 0.157.0")
    broken = done._replace(code=cm.FAILED, notes=notes)
    page = cm.top_page(cm.command_ended(screen, wish, broken))
    assert isinstance(page, cm.Report) and page.lines == (*broken.notes, *done.lines)


def test_what_was_typed_for_codex_is_not_for_the_menu() -> None:
    granted: list[str] = []

    def grant(screen: cm.Screen, wish: cm.MenuWish) -> cm.Screen:
        granted.append(wish.kind)
        return screen

    screen = cm.folded(after(sample.menu(), "m"), [*"rxxu"], grant)
    assert granted == ["hand over"] and cm.mode_of(screen) == "table" and not screen.jobs
    waiting = after(sample.waiting(), *"lu")
    created = cm.command_ended(waiting, cm.MenuWish("do", ("create",), ("new",), job=1), cm.Outcome(lines=("a", "b")))
    screen = cm.folded(created, [*"mx"], grant)
    assert granted == ["hand over"] * 2 and cm.mode_of(screen) == "menu" and not screen.held


def test_the_selection_stays_on_its_clone_when_the_registry_changes() -> None:
    def registry(*names: str) -> cm.Registry:
        return cm.Registry(tuple(sample.clone(name) for name in names))

    def arrived(screen: cm.Screen, *names: str) -> cm.Screen:
        return cm.arrived(screen, registry(*names), broken="", on_path=True, at=sample.NOW)

    def selected(screen: cm.Screen) -> str:
        page = cm.top_page(screen)
        row = cm.selected_row(screen, page) if isinstance(page, cm.Roster) else None
        return row.clone.name if row else ""

    table = after(sample.menu(), "m", "j", "j")
    assert selected(table) == "ci"
    assert selected(arrived(table, "new", "work", "ci")) == "ci"
    assert selected(arrived(table, "work", "client", "team", "spare")) == "team"
    assert selected(arrived(table, "work")) == "work"
    assert selected(arrived(table)) == ""


def test_open_actions_follow_their_clone() -> None:
    def arrived(screen: cm.Screen, *clones: cm.Clone) -> cm.Screen:
        return cm.arrived(screen, cm.Registry(clones), broken="", on_path=True, at=sample.NOW)

    actions = after(sample.menu(), "m", "down", "enter", "down")
    work, client = sample.clone("work"), sample.clone("client")
    renamed = arrived(actions, work, client._replace(name=cm.CloneName("office")))
    assert "┌─ office ─" in plain(renamed) and "▸ 2 R" in plain(renamed)
    wish = cm.pressed(renamed, "u")[1]
    assert wish and wish.typed == ("office",)
    assert cm.mode_of(arrived(actions, work)) == "table"
    renamed = arrived(after(actions, "t"), work, client._replace(name=cm.CloneName("office")))
    assert "┌─ office ─" in plain(after(renamed, "esc"))
    assert cm.mode_of(after(arrived(after(actions, "t"), work), "esc")) == "table"


@pytest.mark.parametrize("size", SIZES)
def test_what_is_to_be_typed_is_told_in_full(size: cm.Size) -> None:
    asked = plain(after(sample.menu(), "i"), size)
    assert "an export, or a Codex home" in asked and "stdin" not in asked
    assert "x" * 30 in plain(after(sample.menu(), "i", *"x" * 30), size)
    assert "piped" in plain(after(sample.menu(), "i", "-", "enter"), size)
    asked = plain(after(sample.menu(), "m", "e"), size)
    assert "the file: work.codex-mirror.tar.gz" in asked and "stdout" not in asked
    assert "piped" in plain(after(sample.menu(), "m", "e", "ctrl-u", "-", "enter"), size)


def test_where_there_is_room_every_summary_of_the_actions_is_whole() -> None:
    frame = plain(after(sample.menu(), "m", "enter"), cm.Size(60, 300))
    assert all(item.note in frame for item in cm.items_here(after(sample.menu(), "m", "enter")) if not item.why_not)


# --- typing ---


@pytest.mark.parametrize(
    ("keys", "text", "at"),
    [
        ([*"work"], "work", 4),
        ([*"work", "left", "left", "x"], "woxrk", 3),
        ([*"work", "home", "x", "end", "y"], "xworky", 6),
        ([*"work", "backspace"], "wor", 3),
        ([*"work", "home", "delete"], "ork", 0),
        ([*"work", "home", "backspace", "left"], "work", 0),
        ([*"work", "delete", "right"], "work", 4),
        ([*"a bc d", "ctrl-w"], "a bc ", 5),
        ([*"a bc  ", "ctrl-w"], "a ", 2),
        ([*"a bc", "left", "ctrl-u"], "c", 0),
        ([*"a bc", "home", "right", "ctrl-k"], "a", 1),
        ([*"日本", "left", "x"], "日x本", 2),
        ([*"ae\u0301b", "left", "left", "x"], "axe\u0301b", 2),
        ([*"ae\u0301b", "left", "backspace"], "ab", 1),
        ([*"a", "pasted:b\tc\r\nd\x1b[2J\x00"], "ab c d[2J", 9),
        ([*"a", "pgup", "ctrl-g", "tab", "alt-x", "alt-é"], "a", 1),
        ([*"ab ~/c-e\u0301f", "alt-b", "x"], "ab ~/c-xe\u0301f", 8),
        ([*"ab ~/cd/ef", "alt-b", "alt-b", "alt-b", "alt-b", "alt-b", "alt-f", "x"], "abx ~/cd/ef", 3),
        ([*"ab ~/cd/ef", "alt-backspace", "alt-backspace"], "ab ~/", 5),
        ([*"ab cd", "home", "alt-d", "alt-d", "alt-d"], "", 0),
        ([*"a", "pasted:" + "x" * 9999], "a" + "x" * 4095, 4096),
    ],
)
def test_a_line_is_edited(keys: list[str], text: str, at: int) -> None:
    page = cm.top_page(after(sample.menu(), "c", *keys))
    assert isinstance(page, cm.Field)
    assert page.line == cm.TypedLine(text, at)


@pytest.mark.parametrize("keys", [[], ["m", "/", "w"], ["m"], ["m", "enter"], ["a"], ["c", "x", "enter"], ["q"]])
def test_alt_and_a_letter_is_for_typing_and_elsewhere_one_key_after_the_other(keys: list[str]) -> None:
    screen = after(sample.menu(), *keys)
    both, wish = cm.pressed(screen, "alt-u")
    if cm.mode_of(screen) == "filter":
        assert both == screen
    else:
        first, then = cm.pressed(screen, "esc")
        assert (plain(both), both.held, wish) == (plain(first), ("u",), then)


def test_the_cursor_of_a_long_line_is_in_sight() -> None:
    for keys in ([*"x" * 300], [*"日本" * 90, "left"], [*"x" * 300, "home"]):
        rows = cm.view_screen(after(sample.menu(), "c", *keys), cm.Size(10, 40))
        assert len([span for row in rows for span in row if span.style == "cursor"]) == 1


KEYS_SENT = [
    (b"a", ["a"]),
    (b"q?/", ["q", "?", "/"]),
    (b"\x1b", ["esc"]),
    (b"\x1bq", ["alt-q"]),
    (b"\x1bb\x1b\x7f\x1b\x08\x1b\xc3\xa9", ["alt-b", "alt-backspace", "alt-backspace", "alt-é"]),
    (b"\x1b\rx\x1b\t", ["esc", "enter", "x", "esc", "tab"]),
    (b"\x1b\x1b", ["esc", "esc"]),
    (b"\x1b[A\x1bOB\x1b[C\x1bOD", ["up", "down", "right", "left"]),
    (b"\x1b\x1b[A", ["esc", "up"]),
    (b"\x1b[1;5A\x1b[3;2~\x1b[5;5~", ["up", "delete", "pgup"]),
    (b"\x1b[H\x1b[F\x1bOH\x1bOF\x1b[1~\x1b[4~\x1b[7~\x1b[8~", ["home", "end"] * 4),
    (b"\x1b[5~\x1b[6~\x1b[3~", ["pgup", "pgdn", "delete"]),
    (b"\r\n\t\x7f\x08", ["enter", "enter", "tab", "backspace", "backspace"]),
    (b"\x0c\x1a\x03\x15\x17", ["ctrl-l", "ctrl-z", "ctrl-c", "ctrl-u", "ctrl-w"]),
    (b"\x1b[200~two\nlines\x1b[201~x", ["pasted:two\nlines", "x"]),
    (b"\x1b[200~\x1b[A\x1b[201~", ["pasted:\x1b[A"]),
    ("é日𝄞".encode(), ["é", "日", "𝄞"]),
    (b"\xff\x80a", ["a"]),
    (b"\x1b[?1;2c\x1b[999~", []),
    (b"\x1bOM", ["enter"]),
    (b"\x1b[200~cut off", ["pasted:cut off"]),
    (b"\x1b]11;rgb:1e1e/1e1e/1e1e\x1b\\q\x1b]0;x\x07q", ["q", "q"]),
    (b"\x1bP1$r0m\x1b\\\x1b_Gi=1;OK\x1b\\a\x1b]11;rgb:1e", ["a"]),
    (b"\x1b]11\x1b[A", ["up"]),
    (b"\x1b]\x1b[", ["alt-]", "alt-["]),
    (b"\x1b[[A\x1b[[Ex", ["x"]),
    (b"\x1b[M !!\x1b[M#\xff\xffa\x1b[<0;3;4M\x1b[<0;3;4mb", ["a", "b"]),
    (b"\xe2ab\xc3", ["a", "b"]),
]


@pytest.mark.parametrize(("sent", "keys"), KEYS_SENT)
def test_bytes_of_a_terminal_become_keys(sent: bytes, keys: list[str]) -> None:
    assert cm.keys_in(sent, True) == (keys, b"")


@pytest.mark.parametrize(
    ("sent", "keys"), [row for row in KEYS_SENT if row[1] != ["esc"] * 2 and b"\x1b]\x1b" not in row[0]]
)
def test_keys_that_arrive_in_pieces_are_the_same_keys(sent: bytes, keys: list[str]) -> None:
    for cut in range(len(sent) + 1):
        first, rest = cm.keys_in(sent[:cut], False)
        then, rest = cm.keys_in(rest + sent[cut:], True)
        assert ([*first, *then], rest) == (keys, b"")


# --- any keys at all ---


def any_answer(screen: cm.Screen, wish: cm.MenuWish, dice: random.Random) -> cm.Screen:
    """What the world may answer to a wish, at once, or not at all."""
    if wish.kind == "browse":
        return cm.browsed(screen, dice.random() < 0.5)
    if wish.words in (("remove",), ("logout",)) and (not wish.agreed or dice.random() < 0.3):
        word = wish.typed[0] if dice.random() < 0.5 else ""
        question = dice.choice([None, cm.Question(("a loss",), "really?", word)])
        return cm.questioned(screen, wish, cm.Stakes("id", question))
    if wish.kind == "hand over":
        return cm.handed_back(screen, wish, dice.randrange(256), ())
    if wish.kind == "do" and dice.random() < 0.3:
        return cm.command_failed(screen, wish, cm.MirrorError("no", "do this", cm.FAILED))
    if wish.kind == "do" and dice.random() < 0.5:
        lines = tuple("line " * dice.randrange(30) for _ in range(dice.randrange(40)))
        return cm.command_ended(screen, wish, cm.Outcome(dice.choice([0, 1]), lines))
    return screen


def test_any_keys_at_all_never_raise_and_esc_always_leads_out() -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    words = [key for bindings in cm.KEYS.values() for binding in bindings for key in binding.keys]
    keys = [*words, *cm.EDITS, *"cmudpsaxrRlLonbxyf0123456789 é日", "pasted:some\ntext", "ctrl-l", "ctrl-z", "ctrl-x"]
    screen = sample.menu(rows=sample.many(12))
    for count in range(10_000):
        screen, wish = cm.pressed(screen, dice.choice(keys))
        if wish:
            screen = any_answer(screen, wish, dice)
        screen, held = cm.released(screen)
        screen = cm.pressed(screen, held)[0] if held else screen
        if count % 10 == 0:
            size = cm.Size(dice.randrange(1, 50), dice.randrange(1, 130))
            assert complaints_about_frame(screen._replace(size=size), size) == []
        if count % 50 == 49:
            screen = led_out(screen)
            screen = sample.menu(rows=sample.many(dice.randrange(15)), size=cm.Size(dice.randrange(1, 50), 80))


def led_out(screen: cm.Screen) -> cm.Screen:
    """Esc, again and again, until the menu is left; jobs have ended meanwhile."""
    for job in screen.jobs:
        screen = cm.command_ended(screen, cm.MenuWish("do", ("update",), ("x",), job=job.number), cm.Outcome())
    for _ in range(3 * len(screen.pages) + 5):
        screen, wish = cm.pressed(screen, "esc")
        if wish == cm.MenuWish("leave"):
            return screen
    raise AssertionError(f"Esc doesn't lead out of\n{plain(screen)}")


@pytest.mark.parametrize(
    ("text", "start", "end", "kept"),
    [
        ("abcdef", 2, 4, "cd"),
        ("日本語", 0, 6, "日本語"),
        ("日本語", 0, 5, "日本 "),
        ("日本語", 1, 6, " 本語"),
        ("日本語", 1, 3, "  "),
        ("e\u0301日x", 1, 4, "日x"),
        ("ab", 5, 9, ""),
    ],
)
def test_half_of_a_wide_character_is_a_space(text: str, start: int, end: int, kept: str) -> None:
    assert cm.cut_text(text, start, end) == kept
