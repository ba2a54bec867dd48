#!/usr/bin/env python3
"""Draws the README's pictures of the menu, the real screens with the tests' sample clones, as .github/*.svg.

    python3 .github/picture.py          writes them
    python3 .github/picture.py --check  says whether they are up to date
"""

from __future__ import annotations

import sys
from html import escape
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "tests")]

import codex_mirror as cm  # noqa: E402
import sample  # noqa: E402

SIZE = cm.Size(22, 106)
CELL, LINE, MARGIN = 8.4, 18, 16
INK, PAPER, ACCENT, RED, YELLOW = "#d8dee9", "#1b1f27", "#56b6c2", "#e06c75", "#e5c07b"
STYLES = {
    "plain": f'fill="{INK}"',
    "dim": 'fill="#8892a2"',
    "bold": f'fill="{INK}" font-weight="bold"',
    "accent": f'fill="{ACCENT}"',
    "title": f'fill="{ACCENT}" font-weight="bold"',
    "bad": f'fill="{RED}" font-weight="bold"',
    "warn": f'fill="{YELLOW}"',
    "chosen": f'fill="{PAPER}"',
    "cursor": f'fill="{PAPER}"',
}


def picture(title: str, rows: tuple[cm.Row, ...]) -> str:
    """The rows as an SVG of monospaced text; every span is stretched to the cells that it takes."""
    width, height = SIZE.columns * CELL + 2 * MARGIN, SIZE.rows * LINE + 2 * MARGIN
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" role="img"'
        ' font-family="ui-monospace, SFMono-Regular, Menlo, Consolas, DejaVu Sans Mono, monospace" font-size="14">',
        f"<title>{title}</title>",
        f'<rect width="100%" height="100%" rx="10" fill="{PAPER}"/>',
    ]
    for number, row in enumerate(rows):
        lines += row_of_picture(row, MARGIN + (number + 1) * LINE)
    return "\n".join([*lines, "</svg>", ""])


def row_of_picture(row: cm.Row, y: int) -> list[str]:
    lines, at = [], 0
    for span in row:
        size, x = cm.cell_width(span.text), MARGIN + at * CELL
        at += size
        if STYLES[span.style] == STYLES["chosen"]:
            lines.append(f'<rect x="{x:.1f}" y="{y - 14}" width="{size * CELL:.1f}" height="{LINE}" fill="{ACCENT}"/>')
        text = span.text.strip()
        if text:
            x += (len(span.text) - len(span.text.lstrip())) * CELL
            place = f'x="{x:.1f}" y="{y}" textLength="{cm.cell_width(text) * CELL:.1f}"'
            shown = f'<text {place} xml:space="preserve" {STYLES[span.style]}>{escape(text)}</text>'
            lines.append(shown)
    return lines


def main() -> int:
    table = sample.after(sample.menu(sample.PICTURED, SIZE), "j")
    screens = {
        "menu": ("The menu of codex-mirror: clones, their accounts, and what is left of their limits", table),
        "sessions": ("The sessions of a clone, to go on with or to hand over to another account", sample.sessions(SIZE)),
    }
    is_new = True
    for name, (title, model) in screens.items():
        drawn, file = picture(title, cm.view_model(model, SIZE)), HERE / f"{name}.svg"
        if sys.argv[1:] == ["--check"]:
            is_new &= file.exists() and file.read_text(encoding="utf-8") == drawn
        else:
            file.write_text(drawn, encoding="utf-8")
    return 0 if is_new else 1


if __name__ == "__main__":
    sys.exit(main())
