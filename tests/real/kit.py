"""Clones of the real Codex whose source can be taken away, a terminal in tmux to use them in, and what is running."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import re
import secrets
import shlex
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from helpers import API_KEYS, PROGRAM, Home, Mirror, Result, discard, look_for_secrets, make_home, run, wait_until
from real.installers import node_directory, nodeless_directory, uninstalled


class House:
    """A home with the program as the command `codex-mirror`, and an installed Codex that nobody else uses.

    PATH leads to neither Node nor an installed Codex, but within `installed`.
    """

    def __init__(self, base: Path) -> None:
        self.home = make_home(base)
        self.mirror = Mirror(self.home)
        self.prefix = base / "npm"
        self.node = node_directory(base)
        commands = base / "commands"
        commands.mkdir()
        shutil.copy(PROGRAM, commands / "codex-mirror")
        (commands / "codex-mirror").chmod(0o755)
        (commands / "python3").symlink_to(os.path.realpath(sys.executable))
        self.home.env["PATH"] = f"{self.home.bin}:{commands}:{nodeless_directory(base)}"
        take_install(Path(os.environ["CODEX_MIRROR_TEST_CODEX"]), self.prefix)
        self.prefix.rename(uninstalled(self.prefix))

    @contextlib.contextmanager
    def installed(self) -> Iterator[dict[str, str]]:
        """With Codex and Node installed: the environment in which both are found first."""
        uninstalled(self.prefix).rename(self.prefix)
        try:
            yield {**self.home.env, "PATH": f"{self.prefix}/bin:{self.node}:{self.home.env['PATH']}"}
        finally:
            self.prefix.rename(uninstalled(self.prefix))

    def create(self, name: str, *options: Any) -> None:
        """Makes a clone while Codex is installed, logged in with the first key."""
        with self.installed() as env:
            self.mirror("create", name, *options, env=env, check=True, timeout=300)
        self.log_in(name, API_KEYS[0])

    def log_in(self, name: str, key: str) -> None:
        self.mirror("login", name, "--with-api-key", stdin=key, check=True)

    def codex(self, name: str, *args: Any, **more: Any) -> Result:
        """Runs a clone through its wrapper, by its name on PATH."""
        return run(["/usr/bin/env", name, *args], **{"env": self.home.env, "cwd": self.home.home, **more})

    def rows(self) -> dict[str, Any]:
        """The registry's rows by name."""
        return {row["name"]: row for row in self.mirror("list", "--json", check=True).json()}

    def base_of(self, name: str) -> Path:
        return self.home.mirror / "clones" / name / ".codex-mirror"

    def codex_home(self, name: str) -> Path:
        return self.home.clone_home(name) / ".codex"

    def running(self, name: str = "") -> dict[int, str]:
        """The processes whose program lies in the clone, or in any of them: pid and command line."""
        return running_below(self.base_of(name) if name else self.home.mirror)


@contextlib.contextmanager
def a_house() -> Iterator[House]:
    """Directly below /tmp, because the paths of sockets in a clone are limited to 103 bytes."""
    base = Path(os.path.realpath("/tmp")) / f"c{secrets.token_hex(3)}"
    base.mkdir(mode=0o700)
    house = None
    try:
        house = House(base)
        yield house
    finally:
        for pid in house.running() if house else ():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, 9)
        if house:
            wait_until(lambda: not house.running(), "the last Codex ended")
        discard(base)


def take_install(command: Path, prefix: Path) -> None:
    """The installation of a command once more, npm's or a native package, with hard links where that is possible."""
    program = Path(os.path.realpath(command))
    package = program.parent.parent
    target = prefix / "lib" / "node_modules" / "@openai"
    target.mkdir(parents=True)
    if run(["cp", "-Rl", package, target], env=os.environ).code != 0:
        shutil.rmtree(target)
        target.mkdir()
        run(["cp", "-Rp", package, target], env=os.environ, check=True, timeout=300)
    (prefix / "bin").mkdir()
    (prefix / "bin" / "codex").symlink_to(f"../lib/node_modules/@openai/{package.name}/bin/{program.name}")


def running_below(directory: Path) -> dict[int, str]:
    """The processes whose program lies below there, going by /proc or, on macOS, by `ps`, which tells whole paths."""
    found = {}
    if not Path("/proc/self").exists():
        rows = [row.split(None, 1) for row in run(["ps", "-axww", "-o", "pid=,comm="], env=os.environ).out.splitlines()]
        return {int(pid): path for pid, path in rows if path.startswith(f"{directory}/")}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/{pid}/exe").startswith(f"{directory}/"):
                found[int(pid)] = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
    return found


def is_running(pid: int) -> bool:
    """Is there such a process, and not only what is left of it until its parent looks?"""
    if not Path("/proc/self").exists():
        state = run(["ps", "-o", "stat=", "-p", str(pid)], env=os.environ).out.strip()
        return bool(state) and not state.startswith("Z")
    try:
        return bool(os.readlink(f"/proc/{pid}/exe"))
    except OSError:
        return False


# --- a server in the place of OpenAI's ---


@contextlib.contextmanager
def listening_server() -> Iterator[tuple[str, list[str]]]:
    """A server on loopback that refuses everybody, and the logins that it was shown."""
    shown: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            shown.append(self.headers.get("authorization", ""))
            self.rfile.read(int(self.headers.get("content-length") or 0))
            self.send_response(401)
            self.send_header("content-length", "0")
            self.end_headers()

        do_POST = do_GET

        def log_message(self, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", shown
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


# --- the screen ---

UPDATE_PROMPT = re.compile(r"update (now|available)", re.IGNORECASE)
# What it may ask before it is ready; the preselected answer goes on.
QUESTIONS = re.compile(r"press enter to (continue|confirm)|enter continue", re.IGNORECASE)


class Screen:
    """A program in a tmux of its own. `frames` is all that was seen."""

    def __init__(self, home: Home, command: str, cwd: Path, env: dict[str, str]) -> None:
        self.socket = home.base / f"tmux-{secrets.token_hex(2)}"
        self.env = {**env, "TERM": "xterm-256color"}
        self.frames: list[str] = []
        # Ctrl-C is the command's; one that comes when it has ended does nothing.
        line = f"trap : INT; {command}; code=$?; trap '' INT; echo ended with $code; exec sleep 600"
        options = ["-f", "/dev/null", "new-session", "-d", "-s", "s", "-x", "100", "-y", "30", "-c", str(cwd)]
        self.tmux(*options, f"exec sh -c {shlex.quote(line)}")

    def tmux(self, *words: str) -> str:
        return run(["tmux", "-S", self.socket, *words], env=self.env, check=True).out

    def look(self) -> str:
        """What is shown now."""
        frame = self.tmux("capture-pane", "-p", "-t", "s")
        look_for_secrets(self.socket, frame)
        if frame not in self.frames[-1:]:
            self.frames.append(frame)
        return frame

    def press(self, *keys: str) -> None:
        self.tmux("send-keys", "-t", "s", *keys)

    def expect(self, text: str, seconds: float = 30) -> str:
        """Waits until this is shown."""
        deadline = time.monotonic() + seconds
        while text not in (frame := self.look()):
            assert time.monotonic() < deadline, f"{text!r} was not shown, but:\n{frame}"
            time.sleep(0.05)
        return frame

    def close(self) -> None:
        run(["tmux", "-S", self.socket, "kill-server"], env=self.env)


@contextlib.contextmanager
def on_screen(home: Home, command: str, cwd: Path, **env: str) -> Iterator[Screen]:
    """The command line on a screen, for as long as the `with` block lasts."""
    screen = Screen(home, command, cwd, {**home.env, **env})
    try:
        yield screen
    finally:
        screen.close()


def answer_until(screen: Screen, text: str, seconds: float = 30) -> str:
    """Goes on through all that Codex asks at its start, but not through an offer to update, until this is shown."""
    deadline, answered, again = time.monotonic() + seconds, "", 0.0
    while text not in (frame := screen.look()):
        assert not UPDATE_PROMPT.search(frame), f"it offers an update:\n{frame}"
        assert time.monotonic() < deadline, f"{text!r} was not shown, but:\n{frame}"
        if QUESTIONS.search(frame) and (frame != answered or time.monotonic() > again):  # It may miss an early key.
            screen.press("Enter")
            answered, again = frame, time.monotonic() + 2
        time.sleep(0.05)
    return frame


def quit_codex(screen: Screen, seconds: float = 30) -> None:
    """Leaves Codex as its users do, with Ctrl-C until it goes."""
    deadline = time.monotonic() + seconds
    while "ended with" not in (frame := screen.look()):
        assert time.monotonic() < deadline, f"it didn't end:\n{frame}"
        screen.press("C-c")
        time.sleep(0.3)


def forge_newer_version(codex_home: Path) -> None:
    """Makes Codex believe that it has just found version 9.9.9."""
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    found = {"latest_version": "9.9.9", "last_checked_at": now, "dismissed_version": None}
    (codex_home / "version.json").write_text(json.dumps(found))
