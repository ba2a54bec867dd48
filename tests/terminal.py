"""A person at a terminal, in two forms with one interface: `press` keys and `expect` to see a text.

`Tmux` is the real program in a real terminal; `Pure` is the same screen without one, with the work done at once.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Protocol

import codex_mirror as cm
from helpers import UTF8_LOCALE, Home, look_for_secrets, make_launcher

PATIENCE = 30.0
# The words of the program and those of tmux, where they differ.
TMUX_KEYS = {
    **{"enter": "Enter", "esc": "Escape", "up": "Up", "down": "Down", "left": "Left", "right": "Right"},
    **{"home": "Home", "end": "End", "pgup": "PPage", "pgdn": "NPage", "tab": "Tab"},
    **{"backspace": "BSpace", "delete": "DC", "f5": "F5"},
}


class Person(Protocol):
    """Who sits at the screen: each key is one character or a word such as `enter`, `esc`, `ctrl-u`."""

    def press(self, *keys: str) -> None: ...

    def burst(self, *keys: str) -> None: ...

    def answer(self, *keys: str) -> None: ...

    def write(self, text: str) -> None: ...

    def expect(self, *texts: str) -> str: ...

    def expect_not(self, *texts: str) -> str: ...

    def read_on(self) -> None: ...


class Pure:
    """The menu as values: effects are carried out by the real handlers, but at once and in this process, and a second
    passes between one key and the next, in which the screen is painted."""

    def __init__(self, home: Home, rows: int = 24, columns: int = 80) -> None:
        self.context = cm.Context(cm.places_from(home.env), home.env, terminal=True)
        self.messages: list[cm.Message] = []
        self.opened: list[str] = []
        self.at = 0.0
        self.world = cm.World(
            self.context, self.messages.append, lambda work: work(), self._browse, lambda *ending: None
        )
        self.model = cm.Model(self.context.places, cm.Size(rows, columns), here=str(home.home), now=time.time())
        self.look()

    def look(self) -> None:
        """What the loop does when it starts, and when the registry has changed."""
        self.stamp = self._stamp()
        self.world.look_around({})
        self._fold()

    def press(self, *keys: str) -> None:
        for key in keys:
            self.burst(key)

    def burst(self, *keys: str) -> None:
        """Keys that come together, so that none of them sees what the others have opened."""
        self.at += 1
        for key in keys:
            self._update(partial(cm.press, key=key, at=self.at))
        self._fold()

    def answer(self, *keys: str) -> None:
        """Keys of somebody who has read what is asked."""
        self.press(*keys)

    def write(self, text: str) -> None:
        self.press(*text)

    def frame(self) -> str:
        """What is shown, with the registry as it is now."""
        if self._stamp() != self.stamp:
            self.look()
        return drawn(self.model)

    def expect(self, *texts: str) -> str:
        frame = self.frame()
        missing = [text for text in texts if text not in frame]
        assert not missing, f"{missing} not in\n{frame}"
        return frame

    def expect_not(self, *texts: str) -> str:
        frame = self.frame()
        shown = [text for text in texts if text in frame]
        assert not shown, f"{shown} in\n{frame}"
        return frame

    def read_on(self) -> None:
        """Nothing is said here that could be read."""

    def _stamp(self) -> cm.Stamp:
        return cm.stamps_of([cm.registry_file(self.context.places)])

    def _browse(self, address: str) -> bool:
        self.opened.append(address)
        return False

    def _update(self, message: cm.Message) -> None:
        self.model, effects = cm.update_model(self.model, message)
        for effect in effects:
            self._carry_out(effect)

    def _carry_out(self, effect: cm.Effect) -> None:
        if effect.kind in ("leave", "star and leave"):
            self.model = self.model._replace(over=effect.kind)
        elif effect.kind == "lend":
            self.world.perform(effect, partial(self.world.lend, effect))
            self.look()
        elif effect.kind not in ("redraw", "suspend", "interrupt"):
            self.world.begin(self.model, effect)

    def _fold(self) -> None:
        while self.messages:
            self._update(self.messages.pop(0))
        self.model = self.model.mark_painted(self.at)


def drawn(model: cm.Model, size: cm.Size | None = None) -> str:
    """The rows of a screen as text, without the spaces at their ends."""
    rows = cm.view_model(model, size or model.size)
    return "".join("".join(span.text for span in row).rstrip() + "\n" for row in rows)


def children_of(pid: int) -> list[int]:
    """The processes that a process has started, the newest last."""
    listed = Path(f"/proc/{pid}/task/{pid}/children")
    if listed.exists():
        return [int(child) for child in listed.read_text().split()]
    rows = subprocess.run(["ps", "-axo", "ppid=,pid="], capture_output=True, check=True).stdout.split()
    return sorted(int(child) for parent, child in zip(rows[::2], rows[1::2], strict=True) if int(parent) == pid)


class Tmux:
    """The real program in a terminal of its own: a tmux server with a socket in the test's home."""

    def __init__(
        self,
        home: Home,
        *,
        rows: int = 24,
        columns: int = 80,
        env: Mapping[str, str] | None = None,
        shell: str = "sh",
    ) -> None:
        self.home, self.socket = home, home.base / "tmux"
        self.program = str(make_launcher(home.base / "codex-mirror"))
        config = home.base / "tmux.conf"
        config.write_text("set -g status off\nset -g escape-time 0\nset -g history-limit 500\n")
        settings = {"TERM": "screen-256color", **home.env, "PS1": "$ ", **(env or {})}
        words = ["env", "-i", *(f"{name}={value}" for name, value in settings.items()), shell]
        words += ["--norc", "--noprofile"] if shell == "bash" else []
        size = ["-x", columns, "-y", rows]
        self._tmux("-f", config, "new-session", "-d", *size, "-c", home.home, *words)
        self.expect("$")

    def open(self) -> Tmux:
        """Starts the program in the shell."""
        self.command(self.program)
        return self

    def command(self, line: str) -> None:
        """A line for the shell."""
        self._tmux("send-keys", "-l", "--", line)
        self._tmux("send-keys", "Enter")

    def press(self, *keys: str) -> None:
        for key in keys:
            if len(key) == 1:
                self._tmux("send-keys", "-l", "--", key)
            else:
                self._tmux("send-keys", TMUX_KEYS.get(key) or key.replace("ctrl-", "C-"))

    def burst(self, *keys: str) -> None:
        """Keys that come together: tmux writes them at once."""
        self._tmux("send-keys", *(TMUX_KEYS.get(key) or key for key in keys))

    def answer(self, *keys: str) -> None:
        """Keys of somebody who has read what is asked: until then they don't count, however fast the machine is."""
        time.sleep(cm.GUARD_SECONDS * 1.2)
        self.press(*keys)

    def write(self, text: str) -> None:
        self._tmux("send-keys", "-l", "--", text)

    def paste(self, text: str) -> None:
        self._tmux("set-buffer", "--", text)
        self._tmux("paste-buffer", "-p")

    def frame(self, *options: str) -> str:
        """What the terminal shows now."""
        lines = self._tmux("capture-pane", "-p", *options).splitlines()
        return "".join(line.rstrip() + "\n" for line in lines)

    def expect(self, *texts: str, seconds: float = PATIENCE) -> str:
        return self.until(lambda frame: all(text in frame for text in texts), f"{texts}", seconds)

    def expect_not(self, *texts: str) -> str:
        return self.until(lambda frame: not any(text in frame for text in texts), f"none of {texts}")

    def read_on(self) -> None:
        """Goes back to the menu, once what a program said has been read."""
        self.expect("press Enter to go back")
        self.press("enter")

    def until(self, holds: Callable[[str], bool], what: str, seconds: float = PATIENCE) -> str:
        """The first frame of which it holds."""
        deadline = time.monotonic() + seconds
        while not holds(frame := self.frame()):
            assert time.monotonic() < deadline, f"expected {what} in\n{frame}"
            time.sleep(0.01)
        return frame

    def resize(self, rows: int, columns: int) -> None:
        self._tmux("resize-window", "-x", str(columns), "-y", str(rows))

    def ask(self, what: str) -> str:
        """What tmux knows of the terminal, in its own format."""
        return self._tmux("display-message", "-p", what).strip()

    def pid(self) -> int:
        """The program that the shell runs now."""
        return children_of(int(self.ask("#{pane_pid}")))[-1]

    def scrollback(self) -> str:
        return self._tmux("capture-pane", "-p", "-S", "-")

    def close(self) -> None:
        """Ends it all, and waits until nothing of it is left that could still write to the home."""
        subprocess.run(["tmux", "-S", self.socket, "kill-server"], capture_output=True, check=False)
        deadline = time.monotonic() + PATIENCE
        while self._is_alive() and time.monotonic() < deadline:
            time.sleep(0.01)

    def _is_alive(self) -> bool:
        """Does any process have this home's environment?"""
        mark = f"CODEX_MIRROR_HOME={self.home.mirror}".encode()
        if not Path("/proc/self").exists():
            return mark in subprocess.run(["ps", "-axEww", "-o", "command="], capture_output=True, check=True).stdout
        for environ in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):
                if mark in environ.read_bytes().split(b"\0"):
                    return True
        return False

    def _tmux(self, *words: object) -> str:
        env = {name: value for name, value in os.environ.items() if not name.startswith("TMUX")} | {"LANG": UTF8_LOCALE}
        done = subprocess.run(["tmux", "-u", "-S", self.socket, *map(str, words)], env=env, capture_output=True)
        assert done.returncode == 0, done.stderr
        look_for_secrets("the terminal", done.stdout)
        return done.stdout.decode()
