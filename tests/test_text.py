"""Text: fit for a terminal."""

from __future__ import annotations

import random
import re
import sys
import time
import unicodedata

import pytest

from rooms import ACTING, cm

VISIBLE = [
    ("plain", "plain"),
    ("äöü 日本 🙂", "äöü 日本 🙂"),
    ("a\x1b[31mb", "a\\x1b[31mb"),
    ("a\nb\tc\rd", "a\\x0ab\\x09c\\x0dd"),
    ("\0\x7f\x80\x9b", "\\x00\\x7f\\x80\\x9b"),
    ("a\u202eb\u200fc\u2066d\u061ce", "a\\u202eb\\u200fc\\u2066d\\u061ce"),
    ("\u2028\u2029\ufeff\u200b", "\\u2028\\u2029\\ufeff\\u200b"),
    ("a\udcffb", "a\\xffb"),
    ("a\ud800b", "a\\ud800b"),
    ("e\u0301", "e\u0301"),
    ("", ""),
]


@pytest.mark.parametrize(("text", "shown"), VISIBLE, ids=[ascii(row[0]) for row in VISIBLE])
def test_what_would_act_on_a_terminal_is_written_out(text: str, shown: str) -> None:
    assert cm.escape_invisible(text) == shown


def test_no_character_that_acts_counts_as_printable() -> None:
    every = "".join(map(chr, range(sys.maxunicode + 1)))
    acting = "".join(re.findall(cm.INVISIBLE, every))
    assert len(acting) > 2048 and not [character for character in acting if character.isprintable()]
    assert re.search(cm.INVISIBLE, cm.escape_invisible(acting)) is None


def test_no_character_of_unicode_acts_once_it_is_made_visible() -> None:
    everything = "".join(map(chr, range(sys.maxunicode + 1)))
    shown = cm.escape_invisible(everything)
    assert not ACTING.search(shown) and "\n" not in shown and "\t" not in shown
    acting = [character for character in everything if unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")]
    assert all(cm.escape_invisible(character).startswith("\\") for character in acting) and len(acting) == 65 + 2048 + 2
    assert cm.escape_invisible(cm.escape_invisible("\x1b\u202e\udcff")) == cm.escape_invisible("\x1b\u202e\udcff")


CELLS = [
    ("", 0),
    ("abc", 3),
    ("日本", 4),
    ("e\u0301", 1),
    ("ｗ", 2),
    ("ä", 1),
    ("한", 2),
    ("a\u200db", 2),
    ("→", 1),
    ("█░", 2),
]


@pytest.mark.parametrize(("text", "width"), CELLS)
def test_a_text_takes_so_many_cells(text: str, width: int) -> None:
    assert cm.cell_width(text) == width


FITTED = [
    ("abc", 5, "abc  "),
    ("abc", 3, "abc"),
    ("abcd", 3, "ab…"),
    ("abcd", 1, "…"),
    ("abcd", 0, ""),
    ("日本語", 5, "日本…"),
    ("日本語", 4, "日… "),
    ("日本語", 2, "… "),
    ("e\u0301e\u0301e\u0301", 2, "e\u0301…"),
    ("", 2, "  "),
]


@pytest.mark.parametrize(("text", "width", "shown"), FITTED)
def test_a_text_is_fitted_into_exactly_so_many_cells(text: str, width: int, shown: str) -> None:
    assert cm.cut_or_pad(text, width) == shown


def test_every_text_is_fitted_whatever_is_in_it() -> None:
    seed = random.randrange(1 << 32)
    dice = random.Random(seed)
    for _ in range(500):
        text = "".join(dice.choice("ab 日本e\u0301…→🙂\u200dｗ한") for _ in range(dice.randrange(12)))
        width = dice.randrange(10)
        assert cm.cell_width(cm.cut_or_pad(text, width)) == width, (seed, text, width)


def test_a_text_with_marks_on_its_letters_is_cut_and_wrapped_in_a_time_that_grows_as_it_does() -> None:
    text = "abc" + "\u0301" * 300_000 + "d" * 50
    assert cm.cell_width(text) == 53
    assert cm.cut_or_pad(text, 30) == text[: 300_003 + 26] + "…"
    assert cm.wrap_text(text, 30) == [text[: 300_003 + 27], "d" * 23]


def test_a_table_has_equal_columns_and_is_cut_at_the_width() -> None:
    table = cm.Table(("NAME", "ROOT"), (("work", "/a"), ("日本", "/long/root"), ("e\u0301", "")))
    assert cm.align_table(table) == ["NAME  ROOT", "work  /a", "日本  /long/root", "e\u0301"]
    assert cm.align_table(table, 10) == ["NAME  ROOT", "work  /a", "日本  /lo…", "e\u0301"]
    assert cm.align_table(cm.Table(("A", "B"), ())) == ["A  B"]


SIZES = [
    (0, "0 B"),
    (999, "999 B"),
    (1000, "1 kB"),
    (999_499, "999 kB"),
    (999_500, "1 MB"),
    (404_000_000, "404 MB"),
    (1_500_000_000, "2 GB"),
    (3 * 10**12, "3 TB"),
]


@pytest.mark.parametrize(("count", "shown"), SIZES)
def test_a_size_is_told_in_decimal_units(count: int, shown: str) -> None:
    assert cm.size_text(count) == shown


SPANS = [
    (-5, "0 s"),
    (0, "0 s"),
    (59, "59 s"),
    (60, "1 min"),
    (3599, "59 min"),
    (3 * 3600, "3 h"),
    (86400, "1 d"),
    (10**7, "115 d"),
]


@pytest.mark.parametrize(("seconds", "shown"), SPANS)
def test_a_span_is_told_in_its_largest_unit(seconds: int, shown: str) -> None:
    assert cm.duration_text(seconds) == shown


MOMENTS = [
    ("1970-01-01T00:00:00.000Z", 0.0),
    ("2026-11-22T08:00:00.000Z", 1795334400.0),
    ("2026-11-22T08:00:00.123Z", 1795334400.123),
    ("2026-11-22T08:00:00Z", 1795334400.0),
    ("2026-11-22T08:00:00.123456789Z", 1795334400.123456789),
]


@pytest.mark.parametrize(("text", "moment"), MOMENTS)
def test_a_moment_is_read_as_utc(text: str, moment: float, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cm.timestamp_from(text) == pytest.approx(moment, abs=0.001)
    assert abs(cm.timestamp_from(cm.timestamp_text(moment)) - moment) <= 0.001


NO_MOMENTS = ["", "yesterday", "2026-13-22T08:00:00Z", "2026-11-22", "2026-11-22T08:00:00.1.2Z", "\x1b[31m", "9" * 5000,
              "2026-11-22T08:00:00.1e999Z", "2026-11-22T08:00:00.infZ"]  # fmt: skip


@pytest.mark.parametrize("text", NO_MOMENTS, ids=[ascii(text[:10]) for text in NO_MOMENTS])
def test_what_is_no_moment_is_none(text: str) -> None:
    assert cm.timestamp_from(text) == 0.0


def test_counts_and_guesses() -> None:
    assert [cm.count_text(n, "clone") for n in (0, 1, 2)] == ["0 clones", "1 clone", "2 clones"]
    assert cm.nearest_word("wrok", ["play", "work"]) == "work"
    assert cm.nearest_word("zzz", ["play", "work"]) == cm.nearest_word("x", []) == ""


REDACTED = [
    ("ann@example.com", "a…@…"),
    ("was ann.b+c@mail.example.co.uk, is x@y.org", "was a…@…, is x…@…"),
    ("no address @ all, a@b", "no address @ all, a@b"),
]


@pytest.mark.parametrize(("text", "shown"), REDACTED)
def test_addresses_are_made_unreadable(text: str, shown: str) -> None:
    assert cm.mask_emails(text) == shown


LONG = {
    "one word": "a" * 300_000,
    "many at signs": "a@" * 150_000,
    "labels": "a@" + "b." * 150_000,
    "hyphens": "a@" + "b-" * 150_000,
    "dots": "." * 300_000 + "@",
    "half addresses": "a@b.c " * 50_000,
}


@pytest.mark.parametrize("kind", LONG)
def test_hiding_addresses_takes_a_time_that_grows_as_the_text_does(kind: str) -> None:
    """Tried again from each character of one word, it would take minutes."""
    text = LONG[kind]
    began = time.process_time()
    assert cm.mask_emails(text) == text
    assert time.process_time() - began < 5


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("ann@example.org", "a…@…"),
        ("<ann.b+c@ex-ample.co.uk>, x", "<a…@…>, x"),
        ("a@b.com.x1@c.org", "a…@….…@…"),
        ("mail:bob@x.io.", "mail:b…@…."),
        ("a@b @c.org a@.org", "a@b @c.org a@.org"),
        ("ä_ö@bücher.de", "ä…@…"),
    ],
)
def test_whole_addresses_are_hidden_and_nothing_else(text: str, masked: str) -> None:
    assert cm.mask_emails(text) == masked
