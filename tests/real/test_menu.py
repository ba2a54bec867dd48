"""The menu with the real Codex, in a real terminal: from an empty home to a login, and back to an empty home."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from helpers import API_KEYS, Home, Mirror, tree
from terminal import Tmux

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not shutil.which("tmux"), reason="needs tmux"),
]


def test_a_clone_is_made_logged_in_shown_and_removed(home: Home, mirror: Mirror, real_codex: Path) -> None:
    home.put_on_path(real_codex.parent, *([Path(node).parent] if (node := shutil.which("node")) else []))
    before = tree(home.bin)
    tmux = Tmux(home)
    try:
        tmux.open().expect("0 clones", "a new clone gets Codex ")
        tmux.press("n")
        tmux.write("work")
        tmux.press("enter")
        tmux.expect("created 'work' with Codex", "with an API key", seconds=120)
        tmux.answer("down", "down", "enter")
        tmux.expect("API key:")
        tmux.paste(API_KEYS[0])
        tmux.expect("•••")
        tmux.press("enter")
        tmux.expect("'work' is logged in: API key", "1 clone ·", "✓ ok")
        tmux.expect("▸ work", f"API key sk-…{API_KEYS[0][-4:]}")
        tmux.press(":")
        tmux.write("run login status")
        tmux.press("enter")
        tmux.read_on()
        tmux.expect("work: Codex ended with exit status 0")
        tmux.press("x")
        tmux.expect("its login: API key", "type work:")
        tmux.write("work")
        tmux.press("enter")
        tmux.expect("removed 'work'", "0 clones")
        tmux.press("q")
        tmux.expect_not("0 clones")
    finally:
        tmux.close()
    assert (tree(home.bin), mirror("list", "--json").json()) == (before, [])
