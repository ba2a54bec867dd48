"""The menu as values: what each key means, and what is drawn at every size. Nothing here has a terminal."""

from __future__ import annotations

import os
import random
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import codex_mirror as cm
import sample
from sample import after, told
from terminal import drawn

GOLDEN = Path(__file__).parent / "golden"
SIZES = [cm.Size(10, 40), cm.Size(12, 60), cm.Size(24, 80), cm.Size(40, 120), cm.Size(60, 200)]
SCREENS = sample.every_screen()


@pytest.fixture(autouse=True)
def _fixed_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """Golden frames outlive releases."""
    monkeypatch.setattr(cm, "__version__", "1.0.0")


def at_size(model: cm.Model, size: cm.Size) -> str:
    return drawn(model._replace(size=size))


# --- what is drawn ---


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size.columns}x{size.rows}")
@pytest.mark.parametrize("name", SCREENS)
def test_a_screen_looks_as_it_did(name: str, size: cm.Size) -> None:
    """After a wanted change: `CODEX_MIRROR_TEST_GOLDEN=write make test TESTS=tests/test_screens.py`, then the diff."""
    path = GOLDEN / f"{name}-{size.columns}x{size.rows}.txt"
    frame = at_size(SCREENS[name], size)
    if os.environ.get("CODEX_MIRROR_TEST_GOLDEN") == "write":
        path.write_text(frame, encoding="utf-8")
    assert frame == path.read_text(encoding="utf-8")


def test_every_golden_frame_is_of_a_screen_that_is_there() -> None:
    wanted = {f"{name}-{size.columns}x{size.rows}.txt" for name in SCREENS for size in SIZES}
    assert {path.name for path in GOLDEN.iterdir()} == wanted


def complaints_about_frame(model: cm.Model, size: cm.Size) -> list[str]:
    """What is wrong with the rows of this screen at this size, whatever it shows."""
    rows = cm.view_model(model._replace(size=size), size)
    texts = ["".join(span.text for span in row) for row in rows]
    wrong = [f"{size}: {len(rows)} rows"] if len(rows) != size.rows else []
    wrong += [f"{size}: too wide: {text!r}" for text in texts if cm.cell_width(text) > size.columns]
    wrong += [f"{size}: acts: {text!r}" for text in texts if cm.escape_invisible(text) != text]
    return wrong


HARD = {
    "table": after(sample.menu(rows=sample.many(4)), "end"),
    "keys": after(sample.menu(rows=sample.many(2)), "down", "?", "end"),
    "field": after(sample.menu(), "n", *"日本e\u0301語" * 9, "left", "left"),
    "report": told(after(sample.menu(), "D"), lambda model: model.ask(cm.Dialog("x" * 99, ("日本 " * 99,) * 9))),
}


@pytest.mark.parametrize("name", HARD)
def test_no_line_is_too_wide_at_any_size(name: str) -> None:
    sizes = [cm.Size(rows, columns) for rows in range(1, 41, 2) for columns in range(1, 170, 3)]
    assert [complaint for size in sizes for complaint in complaints_about_frame(HARD[name], size)] == []


@pytest.mark.parametrize("name", SCREENS)
def test_no_line_of_any_screen_is_too_wide(name: str) -> None:
    sizes = [cm.Size(rows, columns) for rows in (1, 9, 10, 15, 16, 24, 41, 100) for columns in (1, 39, 40, 61, 80, 300)]
    models = [SCREENS[name], SCREENS[name]._replace(ascii=True)]
    assert [wrong for model in models for size in sizes for wrong in complaints_about_frame(model, size)] == []


@pytest.mark.parametrize("name", [*SCREENS, *HARD])
def test_where_only_ascii_can_be_shown_every_cell_has_its_counterpart(name: str) -> None:
    model = {**SCREENS, **HARD}[name]
    for size in SIZES:
        rich, poor = cm.view_model(model, size), cm.view_model(model._replace(ascii=True), size)
        assert all(span.text.isascii() for row in poor for span in row)
        assert [cm.width_of(row) for row in poor] == [cm.width_of(row) for row in rich]
        assert [[span.style for span in row] for row in poor] == [[span.style for span in row] for row in rich]


def test_a_terminal_that_is_too_small_is_told_how_large_it_must_be() -> None:
    assert "40×10" in at_size(sample.menu(), cm.Size(8, 30))
    assert "NAME" in at_size(sample.menu(), cm.Size(10, 40))


@pytest.mark.parametrize("name", SCREENS)
def test_where_nothing_can_be_seen_keys_do_nothing_but_lead_out(name: str) -> None:
    small = SCREENS[name]._replace(size=cm.Size(9, 80))
    if small.top and small.top.guarded:
        small = small.with_top(guarded=False)[0]
    out = {key for verb in cm.verbs_here(small) if {"esc", "q"} & {*verb.keys} for key in verb.keys}
    for key in {*"mudpsaxrRlLoynb123", "enter", "down", "/", "?", "pasted:x"} - out:
        model, effects = cm.press(small, key, 99.0)
        assert (model.dialogs, model.selected, model.sought, effects) == (
            *(small.dialogs, small.selected, small.sought),
            (),
        )
    assert cm.press(small, "ctrl-c", 99.0)[1] == (cm.Effect("interrupt"),)


COLUMNS = ["NAME", "ACCOUNT", "LEFT", "RESETS", "CODEX", "STATE", "USED"]


def heading_of(model: cm.Model, columns: int) -> list[str]:
    lines = at_size(model, cm.Size(24, columns)).splitlines()
    return next(line for line in lines if "NAME" in line).partition("│")[0].split()


@pytest.mark.parametrize("rows", [sample.ROWS, sample.many(9)], ids=["few", "wide"])
def test_columns_give_way_in_a_fixed_order(rows: tuple[cm.CloneView, ...]) -> None:
    table, before = sample.menu(rows=rows), 0
    ranks = {column.heading: column.rank for column in cm.COLUMNS}
    for columns in range(40, 301):
        heading = heading_of(table, columns)
        assert sorted(ranks[word] for word in heading) == list(range(len(heading))), columns
        assert heading == [word for word in COLUMNS if word in heading], columns
        assert len(heading) >= before, columns
        before = len(heading)
    assert before == len(COLUMNS)


def test_names_and_accounts_share_the_room_and_are_whole_where_there_is_enough() -> None:
    one = sample.seen(sample.clone("n" * 40), sample.chatgpt("a" * 50, "plus"), sample.limits(1, 1), sample.NOW)
    narrow, wide = (at_size(sample.menu(rows=(one,)), cm.Size(24, columns)) for columns in (80, 300))
    assert f"{'n' * 16}…" in narrow and f"{'a' * 16}…" in narrow
    assert "n" * 40 in wide and "a" * 50 in wide


def test_columns_are_as_wide_as_rows_far_below_want_them() -> None:
    rows = tuple(cm.CloneView(sample.clone(f"clone-{number}")) for number in range(1000))
    assert "▸ clone-999 " in drawn(after(sample.menu(rows=rows), "G"))


@pytest.mark.parametrize("size", SIZES)
def test_where_more_follows_there_is_a_sign(size: cm.Size) -> None:
    table = sample.menu(rows=sample.many(200), size=size)
    first, middle, last = (drawn(after(table, *keys)) for keys in ([], ["pgdn"] * 9, ["G"]))
    assert [any("↑" in line[:2] for line in frame.splitlines()) for frame in (first, middle, last)] == [
        *(False, True, True),
    ]
    assert [any("↓" in line[:2] for line in frame.splitlines()) for frame in (first, middle, last)] == [
        *(True, True, False),
    ]


def test_states_are_told_by_sign_word_and_colour() -> None:
    words = [row.state.text for row in sample.ROWS]
    assert words == ["✓ ok", "! update", "✓ ok", "! warning", "✗ broken", "○ no login"]
    assert cm.CloneView(sample.clone("new")).state.text == "… checking"
    spans = [span for row in cm.view_model(sample.menu(), cm.Size(24, 140)) for span in row]
    styles = {span.text.strip(): span.style for span in spans}
    assert [styles[word] for word in words[1:]] == ["accent", "plain", "warn", "bad", "warn"]
    assert styles["░░░░░░░░░░   0 %"] == "bad" and styles["██░░░░░░░░  15 %"] == "warn"


@pytest.mark.parametrize(
    ("count", "size"), [(20, cm.Size(12, 60)), (20, cm.Size(24, 80)), (100, cm.Size(24, 80)), (20, cm.Size(60, 200))]
)
def test_the_limits_of_the_selected_clone_are_always_there(count: int, size: cm.Size) -> None:
    frame = drawn(after(sample.menu(rows=sample.many(count), size=size), "j"))
    for text in ("account", "99 % left, resets in 2 h", "99 % left, resets in 3 d", "used in", "5 min ago"):
        assert text in frame, text


@pytest.mark.parametrize("size", SIZES[1:])
def test_a_problem_and_what_mends_it_are_always_there(size: cm.Size) -> None:
    frame = drawn(after(sample.menu(size=size), "j", "j", "j", "j"))
    assert "✗ its Codex doesn't start" in frame and "f fixes it: doctor spare --fix" in frame


@pytest.mark.parametrize("size", SIZES[1:])
def test_what_mends_it_is_whole_also_where_there_is_no_room_for_all_that_is_wrong(size: cm.Size) -> None:
    row = sample.seen(sample.clone("spare"), sample.chatgpt("ada@x", ""), sample.limits(1, 1), 0.0, sample.BROKEN)
    more = cm.Problem("path", "info", "the directory is not on PATH " * 3, "add it")
    row = row._replace(problems=(sample.BROKEN, *[more] * 60))
    frame = drawn(sample.menu(rows=(row,), size=size)._replace(program="/home/ada/src/codex-mirror/codex_mirror.py"))
    assert "✗ its Codex doesn't start" in frame and "f fixes it: doctor spare --fix" in frame
    assert "… d tells all of it" in frame


def test_a_note_without_a_deed_is_only_in_doctor() -> None:
    note = cm.Problem("note", "info", "it was made elsewhere")
    row = sample.seen(sample.clone("one"), cm.Account("none"), cm.Usage(), 0.0, note)
    assert "made elsewhere" not in drawn(sample.menu(rows=(row,)))
    row = sample.seen(sample.clone("one"), cm.Account("none"), cm.Usage(), 0.0, note._replace(fix="do this"))
    assert "made elsewhere" in drawn(sample.menu(rows=(row,)))


@pytest.mark.parametrize("size", [cm.Size(24, 80), cm.Size(24, 160)])
def test_details_that_have_too_little_room_lead_to_all_of_them(size: cm.Size) -> None:
    gone = cm.Problem("directory-missing", "error", f"it is gone: {sample.ROWS[4].clone.root}/a/b", "make it again")
    row = sample.seen(sample.clone("spare"), cm.Account("none"), cm.Usage(), 0.0, gone, sample.BROKEN)
    assert "it is gone: a/b" in at_size(sample.menu(rows=(row,)), size)
    assert "d tells all of it" not in at_size(sample.menu(rows=(row,)), size)
    row = row._replace(problems=(sample.BROKEN,) * 19)
    assert "d tells all of it" in at_size(sample.menu(rows=(row,)), size)


def test_tab_makes_the_details_large() -> None:
    rows = sample.many(30)
    small, large = sample.menu(rows=rows), after(sample.menu(rows=rows), "tab")
    assert "shares" in drawn(large) and "shares" not in drawn(small)
    assert drawn(after(large, "tab")) == drawn(small)


@pytest.mark.parametrize("keys", [[], ["x"], ["t"], ["s"], ["?"]])
def test_where_that_is_wished_no_address_is_shown(keys: list[str]) -> None:
    hidden = sample.menu(size=cm.Size(40, 200))._replace(redact=True)
    stakes = cm.Stakes("id-work", cm.Question(("ada@example.com",), "?"))
    asked = told(after(hidden, "x"), lambda model: cm.ask_question(model, cm.Effect("ask", ("remove", "work")), stakes))
    failed = told(hidden, lambda model: cm.fail(model, cm.Effect("look"), cm.MirrorError("ada@example.com")))
    for model in (after(hidden, *keys), asked, failed, after(failed, "esc", "!")):
        assert "ada@" not in drawn(model) and "a…@…" in drawn(model)


@pytest.mark.parametrize("count", [1, 7, 300])
@pytest.mark.parametrize("size", SIZES)
def test_the_selection_is_always_in_sight(count: int, size: cm.Size) -> None:
    model = sample.menu(rows=sample.many(count), size=size)
    for key in ["end", "up", "pgup", "home", "down", "pgdn", "G", "k", "g", "j", "tab", "end"]:
        model = after(model, key)
        rows = cm.view_model(model, size)
        chosen = ["".join(span.text for span in row) for row in rows if any(span.style == "chosen" for span in row)]
        selected = model.current
        assert len(chosen) == 1 and selected and "▸" in chosen[0] and selected.clone.name[:9] in chosen[0]
        assert selected in cm.clones_in_sight(model)


def test_the_home_of_who_has_no_clones_says_which_codex_they_get() -> None:
    assert "Codex 0.169.0, as installed" in drawn(SCREENS["home"])
    frame = drawn(SCREENS["home-without-codex"])
    assert (
        "fetches Codex 0.171.0 (106 MB), the newest: none is installed" in frame and "i brings ~/.codex along" in frame
    )
    assert "next: codex-mirror create work" in frame and "Enter choose" in frame
    assert "0.171.0 (106 MB)" in drawn(after(SCREENS["home-without-codex"], "enter"))
    bare = told(SCREENS["home"], lambda model: model.become(installed="", newest="0.172.0 (1 MB)"))
    assert "fetches Codex 0.172.0 (1 MB)" in drawn(bare)


# --- what keys mean ---


def test_no_key_is_bound_twice_and_every_verb_says_what_it_does() -> None:
    for mode in cm.ALL_MODES.split():
        verbs = [verb for verb in cm.VERBS if mode in verb.modes]
        counted = Counter(key for verb in verbs for key in verb.keys)
        assert [key for key, count in counted.items() if count > 1] == [], mode
        assert all(verb.help for verb in verbs)
        assert any(verb.word for verb in verbs), f"{mode} has an empty footer"


def test_a_key_means_the_same_everywhere() -> None:
    meanings: dict[str, set[str]] = {}
    for verb in cm.VERBS:
        for key in {*verb.keys} - {"enter", "esc", "q"}:
            meanings.setdefault(key, set()).add(verb.help)
    assert {key: helps for key, helps in meanings.items() if len(helps) > 1} == {}


WORDS = {
    **{
        "enter": ("lend", "run work"),
        "r": ("lend", "run work"),
        "S": ("lend", "exec work"),
        "u": ("do", "update work"),
    },
    **{"b": ("do", "rollback work"), "d": ("do", "doctor work"), "D": ("do", "doctor"), "L": ("ask", "logout work")},
    **{"a": ("fresh", "usage --fresh"), "A": ("fresh", "usage --fresh"), "q": ("leave", ""), "f5": ("look", "")},
    **{"ctrl-r": ("look", ""), "x work enter": ("do", "remove work"), "n next enter": ("do", "create next")},
    **{"R ctrl-u other enter": ("do", "rename work other"), "l enter": ("ask", "login work")},
    **{"l down enter": ("ask", "login work --device-auth"), "U enter": ("do", "update")},
    **{"l down down enter key enter": ("ask", "login work --with-api-key"), "s": ("sessions", "work")},
    **{"e enter": ("do", "export work --output=work.codex-mirror.tar.gz"), "j f": ("do", "update client")},
    **{"n next down enter": ("do", "create next"), "h": ("sessions", "work")},
    **{"n next down down enter enter": ("do", "create next --root=~/.codex-mirror/clones/next")},
    **{"i mine enter": ("ask", "import ~/.codex --with-sessions --name mine")},
    **{
        "j j j f enter": ("ask", "login team"),
        "j j j j f": ("do", "doctor spare --fix"),
        "t enter enter": ("do", "set work --home=shared"),
    },
    **{"t down enter .npmrc enter": ("do", "set work --share=.npmrc")},
    **{"t down down enter enter": ("do", "set work --share-settings=AGENTS.md")},
    **{
        ": remove space --dry-run enter": ("do", "remove --dry-run work"),
        ": remove space -y enter": ("do", "remove -y work"),
    },
    **{": rename space other enter": ("do", "rename work other"), "m end enter enter": ("leave", "")},
    **{"m end enter down enter": ("star and leave", ""), "m end up up enter": ("browse", "")},
}


@pytest.mark.parametrize("keys", WORDS)
def test_every_verb_leads_from_its_keys_to_its_effect(keys: str) -> None:
    named = {"enter", "down", "up", "end", "ctrl-u", "ctrl-r", "f5"}
    pressed = [key for word in keys.split() for key in ([word] if word in named else " " if word == "space" else word)]
    before = after(sample.menu(), *pressed[:-1])
    model, effects = cm.press(before.mark_painted(900.0), pressed[-1], 901.0)
    kind, words = WORDS[keys]
    assert [(effect.kind, " ".join(effect.words)) for effect in effects] == [(kind, words)]
    assert model.awaited == (model.started if kind in ("do", "ask", "fresh") else 0)


def test_what_follows_a_command_goes_with_its_effect() -> None:
    effect = cm.press(after(sample.menu(), "n", *"next", "down"), "enter", 99.0)[1][0]
    assert effect.then == ("use", "next", "/home/ada/proj")
    effect = cm.press(after(sample.menu(), "U").mark_painted(9.0), "enter", 99.0)[1][0]
    assert (effect.each, effect.title) == (("client",), "update client")
    effect = cm.press(after(sample.menu(), "l", "down", "down", "enter", *"sk-1"), "enter", 99.0)[1][0]
    assert effect.fed == "sk-1" and "sk-1" not in " ".join(effect.words)


def test_every_verb_of_the_table_can_be_chosen_from_the_keys() -> None:
    table = sample.menu()
    for index, verb in enumerate(cm.verbs_here(table)):
        if verb.help not in ("these keys", "do what is selected"):
            chosen = cm.press(after(table, "?", *["down"] * index), "enter", 99.0)
            by_key = cm.press(table, verb.keys[0], 99.0)
            assert (chosen[0].status, chosen[0].selected, chosen[1]) == (
                by_key[0].status,
                by_key[0].selected,
                by_key[1],
            )


@pytest.mark.parametrize("name", SCREENS)
def test_the_help_shows_every_key_of_its_screen(name: str) -> None:
    model = SCREENS[name]
    if not any("?" in verb.keys for verb in cm.verbs_here(model)):
        pytest.skip("here ? is a character like any other")
    top = after(model, "?").top
    assert top
    shown = " ".join((*top.lines, *(item.label for item in top.items)))
    assert all(verb.help in shown for verb in cm.verbs_here(model))


def test_leaving_asks_only_while_something_is_under_way_and_stays_by_default() -> None:
    assert cm.press(sample.menu(), "q", 1.0)[1] == (cm.Effect("leave"),)
    busy = after(sample.waiting(), "q")
    assert "create next is still running" in drawn(busy)
    assert cm.press(after(busy, "q"), "q", 99.0)[1] == ()
    assert [effect.kind for effect in cm.press(after(busy, "down", "down"), "enter", 99.0)[1]] == ["leave"]
    leaving = after(busy, "down", "enter")
    effect = cm.Effect("do", ("create", "next"), job=leaving.started)
    assert "leaving when it is done: create next" in drawn(leaving)
    model, effects = cm.update_model(leaving, lambda model: cm.finish(model, effect, cm.Outcome(lines=("created",))))
    assert effects[-1] == cm.Effect("leave") and model.messages[-1][1] == ("created",)
    typing = told(after(leaving, "n", *"ne"), lambda model: cm.finish(model, effect, cm.Outcome()))
    assert "name: ne" in drawn(typing)
    assert cm.update_model(typing, lambda model: cm.press(model, "esc", 99.0))[1][-1] == cm.Effect("leave")
    staying = told(after(leaving, "q", "enter"), lambda model: cm.finish(model, effect, cm.Outcome()))
    assert not staying.is_leaving
    late = told(after(sample.waiting(), "q"), lambda model: cm.finish(model, effect, cm.Outcome()))
    assert cm.update_model(after(late, "down"), lambda model: cm.press(model, "enter", 99.0))[1][-1].kind == "leave"


@pytest.mark.parametrize("keys", [["alt-s"], ["alt-x"], ["esc"], ["alt-q"], ["n", "alt-x"], ["/", "alt-u"]])
def test_neither_esc_on_the_table_nor_alt_and_a_letter_there_or_in_a_field_does_anything(keys: list[str]) -> None:
    for home in (sample.menu(), sample.menu(rows=())):
        assert drawn(after(home, *keys)) == drawn(after(home, *keys[:-1]))


def test_alt_and_a_letter_in_a_list_is_esc_and_the_letter() -> None:
    assert cm.press(after(sample.menu(), "m"), "alt-q", 9.0)[1] == (cm.Effect("leave"),)


@pytest.mark.parametrize(
    "name", ["created", "logging-out", "diagnosed", "exit", "leaving", "failed", "update-all", "path"]
)
def test_a_question_takes_no_key_that_came_before_it_was_seen(name: str) -> None:
    question = SCREENS[name]
    assert question.top and question.top.guarded
    seen = question.mark_painted(50.0)
    for key in ["enter", "y", "down", "x", "s", "f", "q"]:
        assert cm.press(question, key, 49.0) == (question, ())
        assert cm.press(seen, key, 50.0 + cm.GUARD_SECONDS * 0.9) == (seen, ())
    assert cm.press(seen, "enter", 50.0 + cm.GUARD_SECONDS * 1.1) != (seen, ())
    assert cm.press(seen, "esc", 50.1)[0].dialogs == question.dialogs[:-1]


def test_while_it_is_found_out_what_to_ask_keys_are_dropped_and_esc_gives_up() -> None:
    asking = after(sample.menu(), "L")
    assert [after(asking, key) for key in ("y", "enter", "x")] == [asking] * 3
    stakes = cm.Stakes("id-work", cm.Question(("a loss",), "really?"))
    effect = cm.Effect("ask", ("logout", "work"), job=asking.started)
    model, effects = cm.ask_question(after(asking, "esc"), effect, stakes)
    assert (model.dialogs, effects) == ((), ()) and "nothing was done" in model.status


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ("U", "6 clones, none older than Codex 0.169.0"),
        ("f", "work: nothing to fix"),
        ("GL", "new: not logged in"),
        ("ux", "remove work: update work is still running"),
        ("uL", "logout work: update work is still running"),
    ],
)
def test_where_nothing_is_asked_what_was_typed_behind_it_does_nothing(keys: str, said: str) -> None:
    newest = tuple(row.learn(newer="") for row in sample.ROWS)
    model = after(sample.menu(rows=newest), *keys)
    for key in ("enter", "y", "a", "l"):
        assert cm.press(model, key, 99.0) == (model, ())
        assert cm.press(model.mark_painted(99.0), key, 99.1)[1] == ()
    assert said in drawn(model) and said in repr(model.messages)
    assert not cm.press(model.mark_painted(99.0), "enter", 99.9)[0].dialogs


def test_the_typed_name_removes_only_the_clone_that_was_selected() -> None:
    model = after(sample.menu(), "x", *"wor", "enter")
    assert "type work to remove it" in drawn(model)
    effect = cm.press(after(model, "k"), "enter", 99.0)[1][0]
    assert effect.agreed == cm.Stakes("id-work")
    effect = cm.press(after(SCREENS["removing"], *"work"), "enter", 99.0)[1][0]
    assert effect.agreed and effect.agreed.question
    looking = cm.Effect("ask", ("remove", "work"))
    known = told(after(sample.menu(), "x", *"wo"), lambda model: cm.ask_question(model, looking, effect.agreed))  # type: ignore[arg-type]
    assert "type work: wo" in drawn(known) and "12 sessions" in drawn(known)


@pytest.mark.parametrize("name", ["create", "rename", "command", "removing", "table-found"])
def test_nothing_that_happens_takes_the_keys_from_a_field(name: str) -> None:
    field = SCREENS[name]
    failing = cm.Effect("do", ("update", "client"), job=7)
    for news in (
        lambda model: cm.fail(model, failing, cm.MirrorError("no Codex was found", "npm install")),
        lambda model: cm.finish(model, failing, cm.Outcome(cm.FAILED, notes=("a", "b"))),
        lambda model: cm.ask_question(model, failing, cm.Stakes("id-work", cm.Question(("a",), "b"))),
        lambda model: cm.learn(model, "id-ci", used=sample.NOW),
        lambda model: cm.arrive(model, cm.Registry(tuple(row.clone for row in sample.ROWS)), "", on_path=True),
    ):
        model = told(field, news)
        typed = after(model, "k")
        line = typed.top.input.line if typed.top and typed.top.input else typed.sought
        before = field.top.input.line if field.top and field.top.input else field.sought
        assert (cm.mode_of(model), line) == (cm.mode_of(field), before.edit("k"))


def test_a_result_that_nobody_waits_for_is_on_the_list_of_messages() -> None:
    model = after(sample.menu(), "U", "enter", "m", "esc")
    lines = ("no space left on device", "the running Codex stays")
    model = sample.ended(model._replace(awaited=0), "update", code=cm.FAILED, notes=lines)
    assert model.dialogs == () and model.status == "no space left on device  (1 more: !)"
    assert all(line in drawn(after(model, "!")) for line in lines)


def test_progress_of_several_is_their_number() -> None:
    model = after(sample.menu(), "U", "enter")
    model = told(model, lambda model: cm.progress(model, 1, "7 of 20, ci"))
    assert "update client: 7 of 20, ci" in drawn(model)


def test_what_cant_be_done_now_says_why() -> None:
    assert "new: not logged in" in drawn(after(sample.menu(), "G", "L"))
    assert "update work is still running" in drawn(after(sample.menu(), "u", "R", "ctrl-u", *"x", "enter"))
    assert "nothing to fix" in drawn(after(sample.menu(), "f"))
    rows = tuple(row for row in sample.ROWS if not row.newer)
    assert "5 clones, none older than Codex 0.169.0" in drawn(after(sample.menu(rows=rows), "U"))


@pytest.mark.parametrize(
    ("typed", "names"),
    [
        ("client", ["work", "client"]),
        ("ada@example", ["work", "team"]),
        ("broken", ["spare"]),
        ("update", ["client"]),
        ("no login", ["spare", "new"]),
        ("ada/work", ["work"]),
        ("nobody", []),
    ],
)
def test_clones_are_found_by_name_account_state_and_directory(typed: str, names: list[str]) -> None:
    model = after(sample.menu(), "/", *typed)
    assert [row.clone.name for row in model.shown] == names
    assert f"{len(names)} of 6 clones" in drawn(model)
    assert ("no clone matches" in drawn(model)) == (not names)
    assert drawn(after(model, "esc")) == drawn(sample.menu() if "work" in names else after(model, "enter", "esc"))


def test_the_order_changes_and_the_selection_stays() -> None:
    model, orders = after(sample.menu(), "j"), []
    for _ in range(5):
        model = after(model, "o")
        orders.append([row.clone.name for row in model.shown])
        assert model.current == sample.ROWS[1]
    assert orders == [
        ["ci", "client", "new", "spare", "team", "work"],
        ["work", "client", "team", "ci", "spare", "new"],
        ["spare", "team", "new", "client", "work", "ci"],
        ["work", "client", "ci", "team", "spare", "new"],
        [row.clone.name for row in sample.ROWS],
    ]


def test_the_selection_stays_on_its_clone_when_the_registry_changes() -> None:
    def selected(model: cm.Model, *names: str) -> str:
        registry = cm.Registry(tuple(sample.clone(name) for name in names))
        row = told(model, lambda model: cm.arrive(model, registry, "", on_path=True)).current
        return row.clone.name if row else ""

    table = after(sample.menu(), "j", "j")
    assert selected(table, "new", "work", "ci") == "ci"
    assert selected(table, "work", "client", "team", "spare") == "team"
    assert selected(table, "work") == "work"
    assert selected(table) == ""


def test_open_settings_follow_their_clone() -> None:
    def arrived(*clones: cm.Clone) -> cm.Model:
        settings = after(sample.menu(), "j", "t", "down")
        return told(settings, lambda model: cm.arrive(model, cm.Registry(clones), "", on_path=True))

    client = sample.clone("client")._replace(name=cm.CloneName("office"), shared=(".npmrc",))
    assert "Settings of office" in drawn(arrived(client)) and "▸ shares           .npmrc" in drawn(arrived(client))
    gone = arrived(sample.clone("work"))  # The next key is about no other clone.
    assert "this clone is gone" in drawn(gone) and cm.press(gone, "enter", 99.0) == gone.become(dialogs=())


def test_of_figures_of_one_account_the_newer_ones_stay() -> None:
    account = sample.ROWS[0].account
    older, newer = sample.limits(5, 5)._replace(as_of=1.0), sample.limits(9, 9)._replace(as_of=sample.NOW)
    for usage, who, left in [(older, account, 62), (newer, account, 91), (older, sample.ROWS[1].account, 95)]:
        model = told(sample.menu(), lambda model: cm.learn(model, "id-work", usage=usage, account=who))  # noqa: B023
        assert model.rows[0].left(model.now) == left


def test_a_look_that_was_slow_takes_back_nothing_that_is_known_from_a_later_one() -> None:
    ill, none = (cm.Problem("id", "error", "it is broken", ""),), cm.Account("none")
    known: dict[str, Any] = {"problems": (), "examined": 5.0}
    model = told(sample.menu(), lambda model: cm.learn(model, "id-ci", **known))
    late = told(model, lambda model: cm.learn(model, "id-ci", problems=ill, examined=4.0))
    assert (
        late == model
        and "broken" in told(model, lambda model: cm.learn(model, "id-ci", problems=ill, examined=6.0)).rows[2].states
    )
    model = told(model, lambda model: cm.learn(model, "id-ci", account=none, used=9.0, glanced=5.0))
    assert model == told(model, lambda model: cm.learn(model, "id-ci", account=sample.ROWS[0].account, glanced=4.0))
    clones = tuple(row.clone for row in sample.ROWS)
    model = told(model, lambda model: cm.arrive(model, cm.Registry(clones), "", glanced=5.0))
    assert model == told(model, lambda model: cm.arrive(model, cm.Registry(clones[1:]), "", glanced=4.0))


def test_where_one_comes_to_another_screen_it_is_looked_again() -> None:
    for keys in (["m"], ["m", "esc"], ["x"]):
        before = after(sample.menu(), *keys[:-1])
        effects = cm.update_model(before, lambda model: cm.press(model, keys[-1], 99.0))[1]  # noqa: B023
        assert cm.Effect("glance") in effects


# --- what is said of what was done ---


@pytest.mark.parametrize("line", ["set --env=TOKEN=geheim work", "set work --env TOKEN=geheim"])
def test_the_value_of_a_variable_is_shown_and_kept_nowhere(line: str) -> None:
    model = after(sample.menu(), ":", *line, "enter")
    assert "TOKEN" in drawn(model) and "geheim" not in drawn(model)
    effect = cm.Effect("do", tuple(line.split()), job=model.started)
    for waits in (model, model._replace(awaited=0)):
        failed = told(waits, lambda model: cm.fail(model, effect, cm.MirrorError("busy")))
        assert "geheim" not in drawn(failed) + repr(failed.messages)


@pytest.mark.parametrize(
    ("line", "seen", "next_key", "words"),
    [
        ("create next", "Log in next", "enter", "login next"),
        ("create next --root=/srv/next", "Log in next", "enter", "login next"),
        ("create --codex 0.1.0 next", "Log in next", "enter", "login next"),
        ("create --dry-run other", "create --dry-run other", "q", ""),
        ("create --json next", "create --json next", "q", ""),
        ("handover --fork 01a2 work", "continue it as work", "enter", "resume 01ff --in work"),
        ("handover 01a2 work --fork", "continue it as work", "enter", "resume 01ff --in work"),
    ],
)
def test_what_is_offered_next_is_about_what_was_done(line: str, seen: str, next_key: str, words: str) -> None:
    model = after(sample.menu(), ":", *line, "enter")
    new = cm.CloneView(sample.clone("next"))
    model = model._replace(rows=(*model.rows, new))
    outcome = cm.Outcome(lines=("done " * 30,), data={"id": "01ff"})
    effect = cm.Effect("do", tuple(line.split()), job=model.started)
    model = told(model, lambda model: cm.finish(model, effect, outcome))
    assert seen in drawn(model)
    effects = cm.press(model.mark_painted(5.0), next_key, 9.0)[1]
    assert [" ".join(effect.words) for effect in effects] == ([words] if words else [])


def test_a_new_clone_is_selected() -> None:
    for line in ("create next", "import /home/ada/own --name next"):
        model = after(sample.menu(), ":", *line, "enter")
        model = model._replace(rows=(*model.rows, cm.CloneView(sample.clone("next"))))
        effect = cm.Effect("do", tuple(line.split()), job=model.started)
        model = told(model, lambda model: cm.finish(model, effect, cm.Outcome()))  # noqa: B023
        assert model.current and model.current.clone.name == "next"


def test_a_line_that_failed_can_be_changed() -> None:
    model = after(sample.menu(), "e", "ctrl-u", *"~/no dir/x", "enter")
    effect = cm.Effect("do", ("export", "work", "--output=~/no dir/x"), job=model.started)
    model = told(model, lambda model: cm.fail(model, effect, cm.MirrorError("No such file")))
    assert ": change" in drawn(model)
    assert "codex-mirror: export work '--output=~/no dir/x'" in drawn(after(model, ":"))


def test_what_is_told_of_one_result_keeps_its_order_and_the_newest_comes_first() -> None:
    model = sample.menu()
    for lines in (("old 1", "old 2"), ("new 1", "new 2")):
        model = told(model, lambda model: model.tell(*lines))  # noqa: B023
    frame = drawn(after(model, "!"))
    places = [frame.index(text) for text in ("new 1", "new 2", "old 1", "old 2")]
    assert places == sorted(places)


def test_what_is_found_out_behind_a_message_doesnt_wipe_it() -> None:
    model = after(sample.menu(), "x")._replace(status="what would be lost has changed")
    asked = cm.Effect("ask", ("remove", "work"))
    model = told(model, lambda model: cm.ask_question(model, asked, cm.Stakes("id-work")))
    assert model.status and "nothing of value" in drawn(model)


def test_a_result_stays_in_sight_while_one_types() -> None:
    model = told(after(sample.menu(), "n"), lambda model: model.tell("update work: done"))
    assert "update work: done" in drawn(after(model, *"ne"))


def test_who_leaves_when_it_is_done_is_told_all_of_it_and_nothing_else() -> None:
    model = told(sample.waiting(), lambda model: model.tell("before"))
    model = after(model, "q", "down", "enter")
    effect = cm.Effect("do", ("create", "next"), job=model.started)
    outcome = cm.Outcome(cm.FAILED, notes=tuple(f"line {number}" for number in range(9)))
    model, _ = cm.finish(model, effect, outcome)
    assert [text for _, texts in model.messages for text in texts] == list(outcome.notes)


@pytest.mark.parametrize(
    ("fix", "said", "words"),
    [
        ("codex-mirror doctor one --fix", "f fixes it: doctor one --fix", "doctor one --fix"),
        ("codex-mirror login one", "f fixes it: login one", "Log in one"),
        ("codex-mirror update one", "f fixes it: update one", "update one"),
        ("move that away, then codex-mirror doctor one --fix", "  move that away, then", "doctor one --fix"),
        ("", "✗ it is bad", "doctor one --fix"),
    ],
)
def test_f_does_what_the_details_say_that_it_does(fix: str, said: str, words: str) -> None:
    bad = [cm.Problem(name, "error", f"it is {name}", fix) for name in ("bad", "worse")]
    row = sample.seen(sample.clone("one"), cm.Account("unknown"), cm.Usage(), 0.0, *bad)
    model = sample.menu(rows=(row,))
    assert said in drawn(model) and drawn(model).count("f fixes it: ") == said.count("f fixes it")
    assert ("l log in" in drawn(model)) == ("login" in fix)
    model, effects = cm.press(model, "f", 9.0)
    assert words in " ".join([*(word for effect in effects for word in effect.words), drawn(model)])


def test_where_no_clone_is_selected_no_verb_on_one_is_offered() -> None:
    broken = sample.menu(rows=())._replace(broken=sample.UNREADABLE, dialogs=())
    for model, words in ((broken, ["f fix", "n new"]), (after(sample.menu(), "/", *"zzz", "enter"), ["n new"])):
        footer = drawn(model).splitlines()[-1]
        assert all(word in footer for word in words), footer
        assert not any(word in footer for word in ("Enter run", "l log in", "x remove", "s sessions", "u update"))
    assert cm.press(broken, "f", 9.0)[1][0].words == ("doctor", "--fix")
    refused = cm.press(broken, "U", 9.0)[0].dialogs[-1]
    assert refused.lines == (sample.UNREADABLE.splitlines()[0],)  # And not that there are none.


@pytest.mark.parametrize("size", SIZES)
def test_f_mends_the_registry_where_the_selected_clone_is_well(size: cm.Size) -> None:
    table = sample.menu(size=size)._replace(broken=sample.UNREADABLE)
    for keys, words in (("", "doctor --fix"), ("j", "update client"), ("jj", "doctor --fix")):
        model = after(table, *keys)
        assert " f fix" in drawn(model) and " ".join(cm.press(model, "f", 9.0)[1][0].words) == words
    alone = drawn(table._replace(rows=()))
    assert "0 clones" not in alone
    for model in (table, table._replace(rows=())):  # A long path is cut, the command that helps isn't.
        broken = sample.UNREADABLE.replace("/home", "/home" + "/long" * 60)
        assert "codex-mirror doctor --fix" in " ".join(drawn(model._replace(broken=broken)).split())


def test_the_old_name_is_no_mistake_until_it_is_changed() -> None:
    model = after(sample.menu(), "R")
    assert "new name: work" in drawn(model) and "already exists" not in drawn(model)
    assert "clone 'ci' already exists" in drawn(after(model, "ctrl-u", *"ci"))
    assert "clone 'work' already exists" in drawn(after(model, "enter"))


def test_numbers_speak_plainly() -> None:
    assert "2 warnings" in drawn(sample.menu(rows=(sample.ROWS[3], sample.ROWS[3]), size=cm.Size(24, 120)))
    assert "there are no clones yet" in drawn(after(sample.menu(rows=()), "U"))
    bare = sample.menu(rows=(), installed="", newest="network requests are turned off")
    assert "no Codex is installed, and none can be fetched: network requests" in drawn(bare)


def test_a_question_is_answered_in_plain_words() -> None:
    for words in ("login work", "logout work", "move-home"):
        model = sample.menu()._replace(started=1, awaited=1)
        effect, stakes = (
            cm.Effect("ask", tuple(words.split()), job=1),
            cm.Stakes("", cm.Question(("a loss",), "really?")),
        )
        top = told(model, lambda model: cm.ask_question(model, effect, stakes)).top  # noqa: B023
        assert top and [item.label for item in top.items] == ["no", "yes"]


@pytest.mark.parametrize(("count", "said"), [(0, "no sessions yet"), (3, ""), (200, "the newest 200")])
def test_every_session_can_be_told_from_the_others_and_how_many_are_listed(count: int, said: str) -> None:
    found = [
        cm.Session(sample.NOW - 5, f"/rollout-2026-11-22T08-00-00-{number:08x}-7cc3-7cc3-afeb-000000000000.jsonl",
                   sample.clone("work"), cm.SessionMeta(), "")
        for number in range(count)
    ]  # fmt: skip
    model = after(sample.menu(size=cm.Size(60, 200)), "s")
    frame = drawn(told(model, lambda model: model.become(sessions=("work", found))))
    assert all(f"{number:08x}-7cc3" in frame for number in range(min(count, 9)))
    assert (said in frame) and ("the newest" in frame) == (count == 200)


def test_what_is_cut_off_says_so_and_a_sign_is_no_part_of_a_name() -> None:
    row = sample.ROWS[0]._replace(usage=sample.limits(38, 12)._replace(as_of=sample.NOW - 1080, credits="2.50 credits"))
    frame = at_size(sample.menu(rows=(row,)), cm.Size(12, 60))
    assert any("resets in 2 h" in line and line.endswith("…") for line in frame.splitlines())
    for ascii in (False, True):
        table = drawn(after(sample.menu(rows=sample.many(99)), *"jjjjjjjjjjjj")._replace(ascii=ascii))
        assert not [line for line in table.splitlines() if re.match(r".?[\^v↑↓]\w", line)]


def test_a_question_about_a_loss_opens_over_no_field() -> None:
    field = after(sample.menu(), "n", *"typed")
    effect = cm.Effect("do", ("remove", "work"), job=7, agreed=cm.Stakes("id-work"))
    stakes = cm.Stakes("id-work", cm.Question(("a session",), "really?"))
    model = told(field, lambda model: cm.ask_question(model, effect, stakes))
    assert "name: typed" in drawn(model) and "what would be lost has changed" in model.status


def test_what_was_scrolled_to_its_end_comes_back_at_once() -> None:
    for size in (cm.Size(12, 60), cm.Size(24, 80)):
        model = after(sample.menu(size=size), ":", *"help", "enter")
        ends = [drawn(after(model, *keys)) for keys in (["end"], ["pgdn"] * 30, ["end", "up", "down"])]
        assert "usage: " not in ends[0] and ends == [ends[0]] * 3
        assert drawn(after(model, "end", "up")) != ends[0]


def test_a_clone_that_is_called_like_a_command_is_no_other_clone() -> None:
    rows = tuple(cm.CloneView(sample.clone(name)) for name in ("remove", "update", "work"))
    table = sample.menu(rows=rows)
    effects = cm.press(after(table, "G", "x", *"work"), "enter", 9.0)[1]
    assert effects[0].agreed == cm.Stakes("id-work")
    updating = after(table, "G", "u", "g", "j")
    assert [effect.words for effect in cm.press(updating, "b", 9.0)[1]] == [("rollback", "update")]


@pytest.mark.parametrize("size", SIZES)
def test_what_is_under_way_and_what_can_be_pressed_are_both_seen(size: cm.Size) -> None:
    model = told(after(sample.menu(), "u", "j", "u"), lambda model: model.tell("done"))
    last = " ".join(at_size(model, size).splitlines()[-2:])
    assert "done" in last and "| 2 at work: upd" in last and "Enter run" in last
    assert "Enter run" in " ".join(at_size(sample.waiting(), size).splitlines()[-2:])


def test_what_is_typed_before_a_list_is_read_neither_closes_nor_chooses() -> None:
    read = told(after(sample.menu(), "s", "enter"), lambda model: model.become(sessions=("work", ())))
    assert "… being read" in drawn(after(sample.menu(), "s", "enter")) and "no sessions yet" in drawn(read)
    assert after(sample.menu(), "s", "esc").dialogs == ()


def test_a_search_begins_anew() -> None:
    assert after(sample.menu(), "/", *"ada", "enter", "/", *"ci").sought.text == "ci"


def test_a_letter_means_the_same_in_every_box() -> None:
    verbs = {verb for model in SCREENS.values() for dialog in model.dialogs for verb in dialog.verbs}
    meanings = {(key, verb.help) for verb in verbs for key in verb.keys}
    assert {key for key, _ in meanings} == {*"yhf:"} and len(meanings) == 4


# --- typing ---


@pytest.mark.parametrize(
    ("keys", "text", "at"),
    [
        ([*"work"], "work", 4),
        ([*"work", "left", "left", "x"], "woxrk", 3),
        ([*"work", "home", "x", "end", "y"], "xworky", 6),
        ([*"work", "ctrl-a", "x", "ctrl-e", "y"], "xworky", 6),
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
        ([*"a", "pasted:" + "x" * 9999], "a" + "x" * 4095, 4096),
    ],
)
def test_a_line_is_edited(keys: list[str], text: str, at: int) -> None:
    top = after(sample.menu(), "n", *keys).top
    assert top and top.input and top.input.line == cm.TypedLine(text, at)


@pytest.mark.parametrize("size", SIZES)
def test_what_is_typed_is_seen_however_long_the_name_is_that_it_is_about(size: cm.Size) -> None:
    model = sample.menu(rows=(cm.CloneView(sample.clone("n" * 64)),), size=size)
    assert ": ab" in drawn(after(model, "x", *"ab"))


def test_the_cursor_of_a_long_line_is_in_sight() -> None:
    for keys in ([*"x" * 300], [*"日本" * 90, "left"], [*"x" * 300, "home"]):
        rows = cm.view_model(after(sample.menu(), "n", *keys), cm.Size(10, 40))
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
    (b"\x1b[1;5A\x1b[3;2~\x1b[5;5~\x1b[15~\x12", ["up", "delete", "pgup", "f5", "ctrl-r"]),
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


def any_answer(model: cm.Model, effect: cm.Effect, dice: random.Random) -> cm.Step:
    """What the world may answer to an effect, at once, or not at all."""
    question = dice.choice([None, cm.Question(("a loss",), "really?")])
    stakes = cm.Stakes(dice.choice(["id-clone-1", "id"]), question)
    outcome = cm.Outcome(dice.choice([0, 1]), tuple("line " * dice.randrange(30) for _ in range(dice.randrange(40))))
    answers = {
        "ask": lambda: cm.ask_question(model, effect, stakes),
        "lend": lambda: model.tell("it ended"),
        "fresh": lambda: cm.finish(model, effect, outcome),
        "do": dice.choice(
            [
                lambda: cm.fail(model, effect, cm.MirrorError("no", "do this")),
                lambda: cm.finish(model, effect, outcome),
                lambda: cm.ask_question(model, effect, stakes),
            ]
        ),
    }
    return answers[effect.kind]() if effect.kind in answers and dice.random() < 0.7 else (model, ())


def test_any_keys_at_all_never_raise_and_esc_always_leads_to_the_table() -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    words = [key for verb in cm.VERBS for key in verb.keys]
    keys = [*words, *cm.EDITS, *"cmudpsaxrRlLonbxyf0123456789 é日", "pasted:some\ntext", "alt-x", "ctrl-x"]
    model = sample.menu(rows=sample.many(12))
    for count in range(10_000):
        model, effects = cm.press(model.mark_painted(count), dice.choice(keys), count + dice.random())
        for effect in effects:
            model = any_answer(model, effect, dice)[0]
        if count % 10 == 0:
            size = cm.Size(dice.randrange(1, 50), dice.randrange(1, 180))
            assert complaints_about_frame(model, size) == []
        if count % 50 == 49:
            for _ in range(len(model.dialogs) + 2):
                model = cm.press(model, "esc", count)[0]
            assert model.is_home and not model.sought.text
            model = sample.menu(rows=sample.many(dice.randrange(15)), size=cm.Size(dice.randrange(1, 50), 80))


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
    assert cm.wrap_texts(["one", "two two two", "three"], 7, height) == lines
