"""Every command as its user sees it: real processes, real terminals, real shells, and a fake Codex.

Most tests start from the same home, put back before each of them: the clones `work` and `two` of an installed
Codex 0.169.0, the wrapper directory on PATH, and the program as its installer leaves it, as the command `codex-mirror`.
"""

from __future__ import annotations

import base64
import contextlib
import errno
import fcntl
import hashlib
import inspect
import json
import os
import pty
import py_compile
import re
import secrets
import select
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from rollouts import Shape, an_id, write

import codex_mirror
from helpers import (
    ACCESS_TOKEN,
    API_KEYS,
    PROGRAM,
    REFRESH_TOKEN,
    REPO,
    UTF8_LOCALE,
    Home,
    Mirror,
    Process,
    Result,
    discard,
    fake_codex,
    finish,
    launcher_start,
    look_for_secrets,
    make_home,
    make_launcher,
    new_base,
    npm_install,
    overheard,
    run,
    start,
    tree,
    wait_until,
)

# --- the program as it is installed, and a home with clones ---

OTHER_CLONE = "two"


class Launched(Mirror):
    """The program started by its launcher, which is what `program` names: `cm("create", "work", check=True)`."""

    def argv(self, *args: Any) -> list[Any]:
        return [self.program, *args]

    def is_loaded(self) -> bool:
        return True


@pytest.fixture(scope="session")
def launcher() -> Iterator[Path]:
    """The command `codex-mirror`, alone in its directory: with the bytecode beside the program it starts at once."""
    base = Path(tempfile.mkdtemp(prefix="codex-mirror-installed-"))
    library, command = base / "lib", base / "bin" / "codex-mirror"
    library.mkdir()
    py_compile.compile(shutil.copy(PROGRAM, library))
    yield make_launcher(command, library)
    shutil.rmtree(base)


@pytest.fixture(scope="session")
def mould(launcher: Path) -> Iterator[tuple[Home, Path]]:
    """A home with clones, and a copy of its bytes from which each test gets it back in the same place."""
    base = new_base()
    state, kept = make_home(base), base.with_name(f"{base.name}k")
    command = npm_install(base / "npm", fake_codex(base / "package"))
    state.put_on_path(state.bin, launcher.parent, command.parent)
    for name in ("work", OTHER_CLONE):
        Launched(state, launcher)("create", name, check=True)
    run(["cp", "-a", base, kept], env=state.env, check=True)
    yield state, kept
    for directory in (base, kept):
        discard(directory)


@pytest.fixture
def house(mould: tuple[Home, Path]) -> Home:
    """The home as it was made, with an environment that the test may change."""
    state, kept = mould
    discard(state.base)
    run(["cp", "-a", kept, state.base], env=state.env, check=True)
    return state._replace(env=dict(state.env))


@pytest.fixture
def cm(house: Home, launcher: Path) -> Launched:
    """`codex-mirror` in that home."""
    return Launched(house, launcher)


@pytest.fixture
def fresh(home: Home, codex: Path, launcher: Path) -> Launched:
    """`codex-mirror` in a home without clones, with an installed Codex; the wrapper directory is not on PATH."""
    home.put_on_path(launcher.parent)
    return Launched(home, launcher)


def rows(cm: Launched) -> dict[str, Any]:
    """The registry's rows by name, as `list --json` shows them."""
    return {row["name"]: row for row in cm("list", "--json", check=True).json()}


def household_tree(home: Home) -> dict[str, Any]:
    """The whole base, but for what Codex leaves in its CODEX_HOME at every start, the log, the mark, and the lock."""
    passing = re.compile(r"m/(lock|events\.log|\.codex-mirror-home)$|\.codex(/tmp(/|$)|$)")
    return {path: what for path, what in tree(home.base).items() if not passing.search(path)}


def install_codex(home: Home, version: str, body: str | None = None) -> None:
    """Puts another Codex in the place of the installed one, as `npm install -g` would."""
    package = home.base / f"package-{version}-{secrets.token_hex(2)}"
    npm_install(home.base / "npm", fake_codex(package, version, body=body))


def log_in(cm: Launched, name: str, key: str = API_KEYS[0]) -> None:
    cm("login", name, "--with-api-key", stdin=key, check=True)


def chatgpt_login(email: str, workspace: str = "ws-1", user: str = "user-1", plan: str = "plus") -> str:
    """An auth.json as Codex writes it after a login in the browser."""
    auth = {"chatgpt_plan_type": plan, "chatgpt_user_id": user, "chatgpt_account_id": workspace}
    payload = {"email": email, "https://api.openai.com/auth": auth}
    token = ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode() for part in ({}, payload, "x"))
    tokens = {"id_token": token, "access_token": ACCESS_TOKEN, "refresh_token": REFRESH_TOKEN, "account_id": workspace}
    return json.dumps({"auth_mode": "chatgpt", "OPENAI_API_KEY": None, "tokens": tokens})


def plant_login(home: Home, name: str, text: str) -> Path:
    """Writes a clone's auth.json, as its Codex would."""
    path = home.clone_home(name) / ".codex" / "auth.json"
    path.write_text(text)
    path.chmod(0o600)
    return path


def plant_session(home: Home, name: str) -> Path:
    path = home.clone_home(name) / ".codex/sessions/2026/11/22/rollout-2026-11-22T08-00-00-x.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text('{"timestamp": "2026-11-22T08:00:00Z", "type": "session_meta", "payload": {}}\n')
    return path


@pytest.fixture
def pretend_codex(house: Home) -> Iterator[Callable[[str], Process]]:
    """Starts a process that looks like a Codex of the clone: it is called codex, and has the clone's CODEX_HOME."""
    started: list[Process] = []

    def begin(name: str) -> Process:
        env = {**house.env, "CODEX_HOME": str(house.clone_home(name) / ".codex")}
        process = start(["codex", "600"], env=env, executable=shutil.which("sleep"))
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        finish(process)


# --- a terminal ---


class Terminal:
    """A program with a terminal of its own on stdin and stderr, and on stdout unless that is `piped`."""

    def __init__(self, argv: Sequence[Any], home: Home, *, piped: bool = False, columns: int = 80, **env: str) -> None:
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        self.process = start(
            list(argv),
            env={**home.env, "TERM": "xterm-256color", **env},
            cwd=home.home,
            stdin=slave,
            stderr=slave,
            stdout=subprocess.PIPE if piped else slave,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(slave)
        self.shown = b""

    def read(self, seconds: float) -> bool:
        """Takes in what is there; False when the terminal was closed by all."""
        if not select.select([self.master], [], [], seconds)[0]:
            return True
        try:
            part = os.read(self.master, 1 << 16)
        except OSError as error:
            assert error.errno == errno.EIO
            part = b""
        self.shown += part
        return bool(part)

    def expect(self, text: str, seconds: float = 30) -> None:
        """Waits until this was shown."""
        deadline = time.monotonic() + seconds
        while text.encode() not in self.shown:
            if not self.read(0.05) or time.monotonic() > deadline:
                raise AssertionError(f"{text!r} was not shown, but {self.shown!r}")

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def end(self, seconds: float = 30) -> Result:
        """Waits for the end; `out` is a piped stdout, `err` all that the terminal showed, with plain line ends."""
        deadline = time.monotonic() + seconds
        while self.read(0.05) and time.monotonic() < deadline:
            pass
        os.close(self.master)
        out, _ = self.process.communicate(timeout=seconds)
        look_for_secrets(self.process.args, self.shown + (out or b""))
        shown = os.fsdecode(self.shown).replace("\r\n", "\n")
        return Result(self.process.returncode, os.fsdecode(out or b""), shown)


def on_terminal(argv: Sequence[Any], home: Home, *answers: tuple[str, str], **more: Any) -> Result:
    """Runs it to its end on a terminal, and types each answer when its prompt is shown."""
    terminal = Terminal(argv, home, **more)
    for prompt, typed in answers:
        terminal.expect(prompt)
        terminal.type(typed)
    return terminal.end()


# --- create ---


def test_create_says_where_everything_is_and_what_comes_next(fresh: Launched) -> None:
    result = fresh("create", "work")
    home = fresh.home
    assert result.code == 0
    for fact in (str(home.mirror / "clones" / "work"), str(home.bin / "work"), "codex-mirror login work", "0.169.0"):
        assert fact in result.out
    assert result.out.splitlines()[-1].endswith("codex-mirror login work")
    assert str(home.bin) in result.err and "codex-mirror path setup" in result.err


def test_the_path_notice_comes_with_the_first_clone_of_a_directory_only(fresh: Launched) -> None:
    assert "not on PATH" in fresh("create", "work", check=True).err
    assert "not on PATH" not in fresh("create", "other", check=True).err
    other_directory = {"CODEX_MIRROR_BIN_DIR": str(fresh.home.base / "b2")}
    for name, is_said in (("third", True), ("fourth", False)):
        assert ("not on PATH" in fresh("create", name, env=other_directory, check=True).err) == is_said


def test_there_is_no_path_notice_when_the_wrapper_directory_is_on_path(fresh: Launched) -> None:
    fresh.home.put_on_path(fresh.home.bin)
    assert fresh("create", "work", check=True).err == ""


def test_the_command_in_the_path_notice_makes_a_new_shell_find_the_wrapper(fresh: Launched) -> None:
    notice = fresh("create", "work", check=True).err
    fix = re.search(r"codex-mirror path \w+", notice)
    assert fix
    env = {**fresh.home.env, "SHELL": "/bin/bash"}
    run(["sh", "-c", fix[0]], env=env, check=True)
    assert run(["bash", "-ic", "work --version"], env=env).out == "codex-cli 0.169.0\n"


def test_a_new_clone_is_private_pinned_and_written_down_twice(cm: Launched, house: Home) -> None:
    base = house.mirror / "clones" / "work" / ".codex-mirror"
    modes = {path: mode for path, (kind, mode, _) in tree(house.mirror).items() if kind != "link"}
    pinned = [path for path, (kind, _, _) in tree(house.mirror).items() if kind == "file" and "/runtime/" in path]
    runtime = {path: modes[path] for path in pinned}
    assert set(runtime.values()) <= {"0o444", "0o555", "0o600"}
    # What Codex itself made in there is Codex's affair.
    others = {path: mode for path, mode in modes.items() if path not in runtime and "/.codex/tmp" not in path}
    assert {path: mode for path, mode in others.items() if int(mode, 8) & 0o077} == {}
    assert json.loads((base / "clone.json").read_text()).items() <= rows(cm)["work"].items()
    assert [line.split(" ", 2)[2] for line in (base / "logs/events.log").read_text().splitlines()] == [
        "create work (Codex 0.169.0)"
    ]
    assert (house.bin / "work").stat().st_mode & 0o7777 == 0o755
    assert [path.name for path in (base / "runtime").iterdir()] == [Path(rows(cm)["work"]["runtimePath"]).name]


def source_command(home: Home) -> str:
    return str(home.base / "npm/bin/codex")


def source_package(home: Home) -> str:
    return str(home.base / "package")


def source_prefix(home: Home) -> str:
    return str(home.base / "npm")


def source_clone(home: Home) -> str:
    return "work"


def source_wrapper(home: Home) -> str:
    return str(home.bin / "work")


def source_archive(home: Home) -> str:
    run(["tar", "-C", home.base / "package", "-czf", home.base / "codex.tar.gz", "."], env=home.env, check=True)
    return str(home.base / "codex.tar.gz")


@pytest.mark.parametrize(
    "source", [source_command, source_package, source_prefix, source_clone, source_wrapper, source_archive]
)
def test_create_from_takes_that_codex_instead_of_the_one_on_path(
    cm: Launched, house: Home, source: Callable[[Home], str]
) -> None:
    given = source(house)
    env = {"PATH": f"{house.base}/bin-without-codex:/usr/bin:/bin"}
    cm("create", "new", "--from", given, env=env, check=True)
    assert run([house.bin / "new", "--version"], env=house.env).out == "codex-cli 0.169.0\n"
    runtime = Path(rows(cm)["new"]["runtimePath"])
    assert {"codex", "codex-code-mode-host"} <= {path.name for path in (runtime / "bin").iterdir()}


def test_create_takes_the_name_either_way_and_a_root_relative_to_here(cm: Launched, house: Home) -> None:
    cm("create", "--name", "new", "--root", "somewhere/new", check=True)
    cm("create", "same", "--name", "same", check=True)
    assert rows(cm)["new"]["rootPath"] == str(house.home / "somewhere/new")
    assert (house.home / "somewhere/new/.codex-mirror/clone.json").exists()


CREATE_OPTIONS = {
    "--home isolated": {"home": "isolated"},
    "--home shared": {"home": "shared"},
    "--keep-env OPENAI_PROJECT": {"keepEnv": ["OPENAI_PROJECT"]},
    "--keep-env OPENAI_PROJECT --keep-env CODEX_API_KEY": {"keepEnv": ["OPENAI_PROJECT", "CODEX_API_KEY"]},
    "--share notes": {"shared": ["notes"]},
    "--share notes --share .config/tool": {"shared": ["notes", ".config/tool"]},
    "--share none": {"shared": []},
    "--settings-from work": {},
    "--allow-incomplete": {},
}


@pytest.mark.parametrize("options", CREATE_OPTIONS)
def test_an_option_of_create_stands_in_the_row_afterwards(cm: Launched, house: Home, options: str) -> None:
    (house.home / "notes").mkdir()
    (house.home / ".config/tool").mkdir(parents=True)
    result = cm("create", "new", *options.split())
    assert result.code == 0, result.err
    row = rows(cm)["new"]
    assert {key: row[key] for key in CREATE_OPTIONS[options]} == CREATE_OPTIONS[options]
    assert cm("run", "new", "--version").out == "codex-cli 0.169.0\n"


REFUSED_CREATIONS = {
    "no name": ([], 2),
    "two names": (["one", "--name", "other"], 2),
    "a path as name": (["../evil"], 2),
    "a name with a newline": (["a\nb"], 2),
    "the name of Codex": (["codex"], 5),
    "the name of the program": (["codex-mirror"], 5),
    "a shell builtin": (["export"], 5),
    "a device": (["nul"], 2),
    "a clone's name": (["work"], 5),
    "a clone's name but for the case": (["Work"], 5),
    "a command on PATH": (["ls"], 5),
    "the home as root": (["new", "--root", "{home}"], 5),
    "a root inside a clone": (["new", "--root", "{mirror}/clones/work/.codex-mirror/home/sub"], 5),
    "a source that is not there": (["new", "--from", "/nowhere/codex"], 1),
    "a source that is no Codex": (["new", "--from", "/bin"], 1),
    "an unknown option": (["new", "--nmae", "x"], 2),
}


@pytest.mark.parametrize("case", REFUSED_CREATIONS)
def test_a_refused_create_says_why_and_changes_nothing(cm: Launched, house: Home, case: str) -> None:
    arguments, code = REFUSED_CREATIONS[case]
    # With this HOME, a root there would have the mirror home as the clone's own directory.
    env = {"CODEX_MIRROR_HOME": str(house.home / ".codex-mirror")} if case == "the home as root" else {}
    before = household_tree(house)
    result = cm("create", *[argument.format(home=house.home, mirror=house.mirror) for argument in arguments], env=env)
    assert (result.code, result.out) == (code, "")
    assert result.err
    after = household_tree(house)
    if case == "the home as root":
        after = {path: what for path, what in after.items() if not path.startswith("h/.codex-mirror")}
    assert after == before


def test_a_strangers_file_in_the_wrapper_directory_is_refused_and_left_alone(cm: Launched, house: Home) -> None:
    (house.bin / "new").write_text("precious\n")
    before = household_tree(house)
    result = cm("create", "new")
    assert (result.code, household_tree(house)) == (5, before)
    assert str(house.bin / "new") in result.err


BROKEN_SOURCES = {
    "answers nothing": "#!/bin/sh\n",
    "fails": "#!/bin/sh\necho 'codex-cli 0.169.0'\nexit 3\n",
    "says something else": "#!/bin/sh\necho hello\n",
    "says another version": "#!/bin/sh\necho 'codex-cli 0.168.0'\n",
    "is killed": "#!/bin/sh\nkill -9 $$\n",
}


@pytest.mark.parametrize("source", BROKEN_SOURCES)
def test_a_codex_that_does_not_start_well_is_refused_not_pinned(cm: Launched, house: Home, source: str) -> None:
    install_codex(house, "0.169.0", BROKEN_SOURCES[source])
    before = household_tree(house)
    result = cm("create", "new")
    assert (result.code, household_tree(house)) == (1, before)
    assert "codex" in result.err and "hint: " in result.err


def test_without_an_installed_codex_and_offline_create_says_the_way_out(cm: Launched) -> None:
    result = cm("create", "new", env={"PATH": "/usr/bin:/bin"})
    assert result.code == 1
    assert "CODEX_MIRROR_OFFLINE" in result.err and "--from" in result.err


def test_create_shows_progress_as_one_line_on_a_terminal(cm: Launched, house: Home) -> None:
    install_codex(house, "0.170.0")
    result = on_terminal(cm.argv("create", "new"), house, piped=True)
    assert result.code == 0
    figures = re.findall(r"(\d+) (k?B) of (\d+) (k?B)", result.err)
    done = [int(count) * (1000 if unit == "kB" else 1) for count, unit, _, _ in figures]
    assert done and done == sorted(done) and figures[-1][:2] == figures[-1][2:]
    first, last = (result.err.index(" of "), result.err.rindex(" of "))
    assert "\n" not in result.err[first:last]
    # What is left of the line at the end: nothing.
    assert re.search(r"\r\x1b\[K(?!.* of )", result.err[last:], re.DOTALL)
    assert " of " not in result.out and "\r" not in result.out


def test_the_line_of_progress_is_gone_before_a_json_document_on_the_same_terminal(cm: Launched, house: Home) -> None:
    install_codex(house, "0.170.0")
    shown = on_terminal(cm.argv("create", "new", "--json"), house).err
    assert " of " in shown and "\r\x1b[K{\n" in shown


@pytest.mark.parametrize("options", [["--quiet"], []])
def test_there_is_no_progress_when_piped_or_quiet(cm: Launched, house: Home, options: list[str]) -> None:
    install_codex(house, "0.170.0")
    result = on_terminal(cm.argv("create", "new", *options), house) if options else cm("create", "new")
    assert " of " not in result.err + result.out and "\r\x1b" not in result.err


# --- list ---


def test_piped_list_is_a_tab_separated_line_a_clone(cm: Launched, house: Home) -> None:
    lines = [f"{name}\t0.169.0\t{house.mirror}/clones/{name}\n" for name in ("work", OTHER_CLONE)]
    result = cm("list")
    assert (result.code, result.err) == (0, "")
    assert [line.split("\t")[:3] for line in result.out.splitlines(keepends=True)] == [
        line.split("\t") for line in lines
    ]


def test_list_json_is_the_registrys_rows(cm: Launched, house: Home) -> None:
    registry = json.loads((house.mirror / "registry.json").read_text())
    assert registry["version"] == 1
    listed = cm("list", "--json", check=True).json()
    assert [{**row, "account": None, "left": None, "state": "logged-out"} for row in registry["clones"]] == listed


def test_list_json_has_what_a_status_bar_shows(cm: Launched, house: Home) -> None:
    log_in(cm, "work")
    shutil.rmtree(house.clone_home(OTHER_CLONE) / ".codex")
    shown = {row["name"]: row for row in cm("list", "--json", check=True).json()}
    assert shown["work"]["account"]["kind"] == "api-key" and shown["work"]["state"] == "ready"
    assert shown[OTHER_CLONE]["state"] == "broken"


NOBODY, SOMEBODY = codex_mirror.Account("none"), codex_mirror.Account("chatgpt")
STANDINGS = [
    (True, SOMEBODY, 40.0, "ready"),
    (True, SOMEBODY, None, "ready"),
    (True, SOMEBODY, 0.0, "used-up"),
    (True, NOBODY, None, "logged-out"),
    (False, SOMEBODY, 40.0, "broken"),
    (False, NOBODY, None, "broken"),
]


@pytest.mark.parametrize(("can_start", "account", "left", "word"), STANDINGS)
def test_a_clone_stands_as_one_word_says(can_start: bool, account: Any, left: float | None, word: str) -> None:
    assert codex_mirror.state_word(can_start, account, left) == word


def test_list_on_a_terminal_is_an_aligned_table_that_fits(cm: Launched, house: Home) -> None:
    install_codex(house, "0.170.0")
    log_in(cm, "work")
    lines = on_terminal(cm.argv("list"), house, columns=100).err.splitlines()
    assert len(lines) == 3
    for column in ("NAME", "ACCOUNT", "CODEX"):
        assert column in lines[0]
    start_of_account = lines[0].index("ACCOUNT")
    assert lines[1].startswith("work ") and lines[1][start_of_account:].startswith("API key sk-")
    assert lines[2].startswith("two ") and lines[2][start_of_account:].startswith("not logged in")
    assert all("0.169.0 → 0.170.0 available" in line for line in lines[1:])
    for columns in (20, 40, 80):
        shown = on_terminal(cm.argv("list"), house, columns=columns).err.splitlines()
        assert len(shown) == 3 and all(len(line) <= columns for line in shown)


def test_list_full_tells_everything_about_each_clone(cm: Launched, house: Home) -> None:
    install_codex(house, "0.170.0")
    cm("update", "work", check=True)
    log_in(cm, "work")
    (house.home / ".codex").mkdir(exist_ok=True)
    (house.home / ".codex" / "AGENTS.md").touch()
    (house.home / "client").mkdir()
    cm("set", "work", "--share-settings", "AGENTS.md", "--share-settings", "prompts", check=True)
    cm("use", "work", house.home / "client", check=True)
    cm("use", "--default", "work", check=True)
    text = cm("list", "--full", check=True).out
    assert "  settings   AGENTS.md, prompts\n  set for    ~/client, all else\n" in text
    row = rows(cm)["work"]
    for fact in ("id", "rootPath", "runtimePath", "wrapperPath", "codexVersionPinned", "createdAt", "updatedAt"):
        assert row[fact] in text
    assert "0.169.0 → 0.170.0 available" in text and "API key" in text
    assert text.index("work\n") < text.index(f"\n{OTHER_CLONE}\n")


def test_one_clone_can_be_listed_alone(cm: Launched, house: Home) -> None:
    assert cm("list", "work", check=True).out == cm("list", check=True).out.splitlines(keepends=True)[0]
    assert cm("list", "work", "--json", check=True).json() == [rows(cm)["work"]]
    text = cm("list", "--full", "work", check=True).out
    assert cm("list", "--full", check=True).out.startswith(text) and OTHER_CLONE not in text
    assert "work" in on_terminal(cm.argv("list", "work"), house).err
    assert cm("list", "wrok") == Result(3, "", "codex-mirror: clone 'wrok' was not found\nhint: did you mean 'work'?\n")


def test_usage_without_clones_says_so(fresh: Launched) -> None:
    assert fresh("usage") == Result(0, "", "there are no clones yet; next: codex-mirror create work\n")
    assert fresh("usage", "--json").json() == []


def test_an_import_says_what_comes_next(cm: Launched, house: Home) -> None:
    real = house.home / ".codex"
    real.mkdir(exist_ok=True)
    (real / "config.toml").write_text("")
    assert cm("import", real, "--name", "a", "-y", check=True).out.splitlines()[-1] == "next: codex-mirror login a"
    (real / "auth.json").write_text(json.dumps({"OPENAI_API_KEY": "sk-of-nobody-at-all-0001"}))
    moved = cm("import", real, "--name", "b", "--move-login", "-y", check=True)
    assert moved.out.splitlines()[-1] == "next: codex-mirror run b"
    plant_login(house, "b", "torn {")
    cm("export", "b", "--with-login", "-o", "e", check=True)
    assert cm("import", "e", "--name", "c", "-y", check=True).out.splitlines()[-1] == "next: codex-mirror login c"


def test_an_empty_household_is_listed_without_being_made(fresh: Launched) -> None:
    assert fresh("list") == Result(0, "", "")
    assert fresh("list", "--json").json() == []
    assert "codex-mirror create work" in on_terminal(fresh.argv("list"), fresh.home).err
    assert "there are no clones yet; next: codex-mirror create work\n" in fresh("doctor").out
    assert fresh("update", "--all") == Result(0, "there are no clones to update\n", "")
    assert not fresh.home.mirror.exists()


# --- run, exec, login: what is Codex's, byte for byte ---

ARGUMENTS: dict[str, tuple[list[Any], list[bytes] | None]] = {
    # What stands behind the name, and what arrives when that is something else.
    "nothing": ([], None),
    "options that we have too": (["--debug", "--json", "--yes", "-y", "-q", "--quiet", "--redact"], None),
    "--help": (["--help"], None),
    "-h": (["-h"], None),
    "-V": (["exec", "-V"], None),
    "dashes inside": (["a", "--", "b"], None),
    "leading dashes": (["--", "a", "--", "b"], [b"a", b"--", b"b"]),
    "leading dashes twice": (["--", "--", "a"], [b"--", b"a"]),
    "dashes alone": (["--"], []),
    "dashes, then an option": (["--", "--debug"], [b"--debug"]),
    "empty strings": (["", "x", ""], None),
    "newlines": (["a\nb", "\n", "c\n"], None),
    "quotes and expansions": (["'", '"', "`x`", "$(x)", "$HOME", "\\", "*", "~", ";", "&"], None),
    "spaces": ([" a  b ", "\t"], None),
    "not UTF-8": ([b"\xff\xfe", b"caf\xe9", b"\xed\xa0\x80"], None),
    "UTF-8": (["naïve", "名前", "\u202e"], None),
    "a long one": (["x" * 100_000], None),
    "names": (["work", "two", "run"], None),
}


def arrived(given: list[Any], changed: list[bytes] | None) -> list[bytes]:
    return [os.fsencode(argument) for argument in given] if changed is None else changed


@pytest.mark.parametrize("case", ARGUMENTS)
def test_everything_after_the_name_is_codexs(cm: Launched, house: Home, case: str) -> None:
    given, changed = ARGUMENTS[case]
    result = cm("run", "work", *given)
    assert (result.code, result.err) == (0, "")
    assert overheard(result.out).argv == arrived(given, changed)
    assert overheard(run([house.bin / "work", *given], env=house.env).out).argv == arrived(given, None)


@pytest.mark.parametrize("case", ARGUMENTS)
def test_everything_after_the_name_is_the_programs_or_codex_logins(cm: Launched, case: str) -> None:
    given, changed = ARGUMENTS[case]
    words = ["printf", "%s\\0", "first", *given]
    result = cm("exec", "work", *words)
    assert (result.code, result.err) == (0, "")
    assert os.fsencode(result.out).split(b"\0")[:-1] == [b"first", *arrived(given, None)]
    if case not in ("nothing", "dashes alone"):
        assert overheard(cm("login", "work", *given).out).argv == [b"login", *arrived(given, changed)]


def test_the_version_of_a_clone_is_codexs_and_not_ours(cm: Launched, house: Home) -> None:
    for argv in (cm.argv("run", "work", "--version"), cm.argv("run", "work", "--", "-V"), [house.bin / "work", "-V"]):
        assert run(argv, env=house.env) == Result(0, "codex-cli 0.169.0\n", "")


@pytest.mark.parametrize("locale", ["C", "POSIX", UTF8_LOCALE, "xx_XX.nonsense"])
def test_arguments_are_bytes_in_every_locale(cm: Launched, locale: str) -> None:
    result = cm("run", "work", b"caf\xe9", "caf\u00e9", env={"LC_ALL": locale})
    assert overheard(result.out).argv == [b"caf\xe9", "caf\u00e9".encode()]


@pytest.mark.parametrize("option", ["--debug", "--quiet", "-q", "--json", "--yes", "-y", "--redact"])
def test_only_options_before_the_command_and_before_the_name_are_ours(cm: Launched, option: str) -> None:
    for words in (["run", option, "work", "a"], [option, "run", "work", "a"]):
        result = cm(*words)
        assert (result.code, result.err) == (0, ""), words
        assert overheard(result.out).argv == [b"a"]


def test_a_wrapper_hands_over_to_the_program_that_codex_mirror_cli_names(cm: Launched, house: Home) -> None:
    spy = house.base / "spy"
    spy.write_text('#!/bin/sh\nprintf "%s\\0" "$@"\n')
    spy.chmod(0o755)
    given = ["--", "", "a b", "--version", b"\xff"]
    result = run([house.bin / "work", *given], env={**house.env, "CODEX_MIRROR_CLI": str(spy)}, check=True)
    assert os.fsencode(result.out).split(b"\0")[:-1] == [b"run", b"work", b"--", *map(os.fsencode, given)]
    # And with the program itself nothing changes.
    result = run([house.bin / "work", *given], env={**house.env, "CODEX_MIRROR_CLI": str(cm.program)}, check=True)
    assert overheard(result.out).argv == [os.fsencode(argument) for argument in given]


def test_run_and_the_wrapper_give_codex_the_same_environment(cm: Launched, house: Home) -> None:
    polluted = dict.fromkeys(codex_mirror.HIDDEN_VARIABLES, "/polluted")
    polluted |= {"CODEX_HOME": "/elsewhere", "OPENAI_API_KEY": "theirs", "OPENAI_BASE_URL": "http://localhost"}
    polluted |= {"XDG_CONFIG_HOME": "/elsewhere", "CODEX_MIRROR_CLONE": "another", "SSH_AUTH_SOCK": "/sock"}
    env = {**house.env, **polluted, "FAKE_CODEX_SHOW": "FAKE_CODEX_SHOW"}
    heard = [
        overheard(run(argv, env=env, cwd=house.home).out)
        for argv in (cm.argv("run", "work", "x"), [house.bin / "work", "x"])
    ]
    assert heard[0] == heard[1]
    assert not set(codex_mirror.HIDDEN_VARIABLES) & set(heard[0].env)
    clone = house.clone_home("work")
    assert {name: value for name, value in heard[0].env.items() if name in polluted or name == "HOME"} == {
        "HOME": str(clone),
        "CODEX_HOME": str(clone / ".codex"),
        "XDG_CONFIG_HOME": str(clone / ".config"),
        "CODEX_MIRROR_CLONE": "work",
        "OPENAI_API_KEY": "theirs",
        "OPENAI_BASE_URL": "http://localhost",
        "SSH_AUTH_SOCK": "/sock",
    }
    assert heard[0].cwd == str(house.home)


def test_env_sets_all_that_the_clone_sets_also_where_some_of_it_is_set_already(cm: Launched, house: Home) -> None:
    outside = cm("env", "work", "--json", check=True).json()
    inside = cm("exec", "work", cm.program, "env", "work", "--json", check=True).json()
    own = {"HOME", *codex_mirror.XDG_DIRECTORIES, "CODEX_HOME", "CODEX_MIRROR_CLONE", "CODEX_MIRROR_USER_HOME"}
    own |= {"PATH", "CODEX_MIRROR_PATH"} | ({"BROWSER"} if sys.platform == "linux" else set())
    assert outside["set"].keys() == {*own, "CODEX_MIRROR_HOME", "CODEX_MIRROR_BIN_DIR"}
    assert inside == outside
    cm("set", "work", "--home", "shared", check=True)
    back = cm("exec", OTHER_CLONE, cm.program, "env", "work", "--json", check=True).json()
    assert back["set"]["HOME"] == str(house.home) and {*codex_mirror.XDG_DIRECTORIES} <= {*back["unset"]}


def test_env_for_another_program_is_one_document_of_what_to_set_and_unset(cm: Launched, house: Home) -> None:
    said = cm("env", "work", "--shell", "json", check=True).json()
    assert said == cm("env", "work", "--json", check=True).json() and "CODEX_API_KEY" in said["unset"]
    assert (said["set"]["CODEX_MIRROR_CLONE"], said["set"]["HOME"]) == ("work", str(house.clone_home("work")))


def test_a_hidden_login_variable_is_named_on_a_terminal_only_and_never_shown(cm: Launched, house: Home) -> None:
    env = {"CODEX_API_KEY": API_KEYS[0], "OPENAI_ORGANIZATION": "org", "CODEX_THREAD_ID": "t"}
    for argv in (cm.argv("run", "work", "exit", "0"), [house.bin / "work", "exit", "0"]):
        shown = on_terminal(argv, house, **env).err.splitlines()
        assert [re.sub(r"\W", " ", line).split()[2] for line in shown] == ["CODEX_API_KEY", "OPENAI_ORGANIZATION"]
        assert run(argv, env={**house.env, **env}) == Result(0, "", "")


@pytest.mark.parametrize("code", [0, 2, 70, 130, 255])
def test_the_exit_code_is_codexs_own(cm: Launched, house: Home, code: int) -> None:
    assert cm("run", "work", "exit", str(code)) == Result(code, "", "")
    assert run([house.bin / "work", "exit", str(code)], env=house.env) == Result(code, "", "")
    assert cm("exec", "work", "sh", "-c", f"exit {code}") == Result(code, "", "")


@pytest.mark.parametrize("name", ["TERM", "INT", "HUP", "KILL", "PIPE", "XFSZ"])
def test_the_signal_that_ends_codex_ends_the_command(cm: Launched, house: Home, name: str) -> None:
    expected = Result(-signal.Signals[f"SIG{name}"], "", "")
    assert cm("run", "work", "signal", name) == expected
    assert run([house.bin / "work", "signal", name], env=house.env) == expected
    assert cm("exec", "work", "sh", "-c", f"kill -{name} $$; sleep 9") == expected


def test_what_was_ignored_before_us_stays_ignored(cm: Launched) -> None:
    def ignore() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    process = cm.start("exec", "work", "sh", "-c", "kill -HUP $$; echo alive", preexec_fn=ignore)
    assert finish(process) == Result(0, "alive\n", "")


@pytest.mark.parametrize("door", ["run", "wrapper"])
def test_the_process_becomes_codex(cm: Launched, house: Home, door: str) -> None:
    words = ["sleep", "600"]
    process = cm.start("run", "work", *words) if door == "run" else start([house.bin / "work", *words], env=house.env)
    ps = ["ps", "-o", "args=", "-p", str(process.pid)]
    wait_until(lambda: run(ps, env=house.env).out == "sleep 600\n", "the process is Codex")
    process.send_signal(signal.SIGINT)
    assert finish(process).code == -signal.SIGINT


def test_codex_gets_our_stdin_as_it_is(cm: Launched, house: Home) -> None:
    data = bytes(range(256)) * 300
    for argv in (cm.argv("run", "work", "cat"), [house.bin / "work", "cat"]):
        assert os.fsencode(run(argv, env=house.env, stdin=data, check=True).out) == data


def test_exec_starts_the_users_shell_on_the_terminal(cm: Launched, house: Home) -> None:
    answers = [("", 'test -t 0 && test -t 1 && echo "in $CODEX_MIRROR_CLONE $HOME"; exit 4\n')]
    result = on_terminal(cm.argv("exec", "work"), house, *answers, SHELL="/bin/sh")
    assert result.code == 4
    assert f"in work {house.clone_home('work')}" in result.err


def test_exec_of_something_that_is_not_there_is_explained(cm: Launched) -> None:
    result = cm("exec", "work", "no-such-program")
    assert (result.code, result.out) == (127, "")
    assert result.err == "codex-mirror: no-such-program can't be started: No such file or directory\n"
    assert cm("exec", "work", "/etc").code == 126


@pytest.mark.parametrize("words", ["run", "exec", "login", "logout", "doctor", "update", "rollback", "remove", "usage"])
def test_a_clone_that_is_not_there_is_exit_3_with_the_nearest_name(cm: Launched, words: str) -> None:
    result = cm(words, "wrok")
    assert (result.code, result.out) == (3, "")
    assert result.err == "codex-mirror: clone 'wrok' was not found\nhint: did you mean 'work'?\n"
    assert cm(words, "zebra").err.splitlines()[1] == "hint: codex-mirror list shows the clones"


@pytest.mark.parametrize("words", [["run", "WORK"], ["update", "wrok", OTHER_CLONE]], ids=" ".join)
def test_the_nearest_name_is_told_in_whatever_case_and_of_several(cm: Launched, words: list[str]) -> None:
    assert "did you mean 'work'?" in cm(*words).err


def test_a_clone_with_a_missing_part_is_not_started_but_explained(cm: Launched, house: Home) -> None:
    shutil.rmtree(house.clone_home("work") / ".codex")
    for argv in (cm.argv("run", "work"), [house.bin / "work"]):
        result = run(argv, env=house.env)
        assert (result.code, result.out) == (1, "")
        assert "codex-mirror doctor work --fix" in result.err


def test_without_a_standard_output_codex_still_starts(cm: Launched, house: Home) -> None:
    program = str(cm.program)
    for words in ("run work exit 7", "exec work sh -c 'exit 7'"):
        assert run(["sh", "-c", f'"$0" {words} >&-', program], env=house.env).code == 7
    for words in ("list", "env work", "--help", "doctor"):
        result = run(["sh", "-c", f'"$0" {words} >&-', program], env=house.env)
        assert (result.code, result.err) == (0, ""), words


def test_a_full_disk_behind_stdout_and_a_reader_that_left_are_failures_in_one_line(cm: Launched, house: Home) -> None:
    if os.path.exists("/dev/full"):
        for words in ("list", "list --json", "env work", "--help", "list --help"):
            result = run(["sh", "-c", f'"$0" {words} >/dev/full', str(cm.program)], env=house.env)
            assert result.code == 1 and len(result.err.splitlines()) <= 2, words
            assert "Traceback" not in result.err and "No space left" in result.err
    reader, writer = os.pipe()
    os.close(reader)
    process = cm.start("list", "--json", stdout=writer)
    os.close(writer)
    assert process.stderr
    assert (process.stderr.read(), process.wait()) == (b"", 128 + signal.SIGPIPE)


# --- login ---


def pending_login(cm: Launched, name: str, until: Path, **env: str) -> Process:
    """A login in the browser that waits; returns when Codex does."""
    process = cm.start("login", name, env={"FAKE_CODEX_UNTIL": str(until), **env})
    assert process.stderr
    while b"localhost:1455" not in process.stderr.readline():
        assert process.poll() is None
    return process


def test_a_second_login_in_the_browser_is_refused_while_one_is_pending(cm: Launched, house: Home) -> None:
    until = house.base / "browser"
    first = pending_login(cm, "work", until)
    second = cm("login", OTHER_CLONE)
    assert (second.code, second.out) == (6, "")
    assert "work" in second.err.splitlines()[0] and f"login {OTHER_CLONE} --device-auth" in second.err
    assert cm("login", OTHER_CLONE, "--device-auth").code == 0
    log_in(cm, OTHER_CLONE)
    assert cm("login", OTHER_CLONE, "status").code == 0
    until.touch()
    assert finish(first).code == 0
    assert cm("login", "--yes", OTHER_CLONE).code == 0


def test_a_killed_login_gives_its_turn_back(cm: Launched, house: Home) -> None:
    first = pending_login(cm, "work", house.base / "never")
    first.send_signal(signal.SIGTERM)
    # Its Codex is not left behind, listening.
    assert finish(first).code == 143
    assert cm("login", OTHER_CLONE).code == 0


def test_a_login_notes_who_logged_in_and_never_a_secret(cm: Launched, house: Home) -> None:
    (house.base / "auth").write_text(chatgpt_login("ann@example.org", plan="pro"))
    assert cm("login", "work", env={"FAKE_CODEX_AUTH": str(house.base / "auth")}).code == 0
    log_in(cm, OTHER_CLONE)
    accounts = {name: row["account"] for name, row in rows(cm).items()}
    assert accounts["work"]["kind"] == "chatgpt" and accounts["work"]["email"] == "ann@example.org"
    assert accounts[OTHER_CLONE]["kind"] == "api-key" and API_KEYS[0][-4:] in accounts[OTHER_CLONE]["key"]
    written = (house.mirror / "registry.json").read_text()
    assert not any(secret in written for secret in (API_KEYS[0], ACCESS_TOKEN, REFRESH_TOKEN))


def test_a_second_login_costs_the_first_so_it_is_said_and_asked(cm: Launched, house: Home) -> None:
    plant_login(house, "work", chatgpt_login("ann@example.org"))
    before = household_tree(house)
    for words in (["login", "work"], ["login", "work", "--device-auth"]):
        no = on_terminal(cm.argv(*words), house, ("[y/N]", "\n"))
        assert no.code == 5 and household_tree(house) == before
        assert "'work' is logged in (ann@example.org (plus, ws-1))" in no.err and "drops that login at once" in no.err
    for words in (["login", "work", "status"], ["login", OTHER_CLONE, "--device-auth"]):
        assert "drops that login" not in on_terminal(cm.argv(*words), house).err
    log_in(cm, OTHER_CLONE)
    log_in(cm, OTHER_CLONE, API_KEYS[1])  # One key by another costs nothing.


DEARLY: dict[str, tuple[str, list[str], str]] = {
    "ChatGPT by a key": ("chatgpt", ["--with-api-key"], "ann@example.org"),
    "ChatGPT by a token": ("chatgpt", ["--with-access-token"], "ann@example.org"),
    "ChatGPT by a browser": ("chatgpt", [], "ann@example.org"),
    "ChatGPT by a device": ("chatgpt", ["--device-auth"], "ann@example.org"),
    "a key by a token": ("key", ["--with-access-token"], "API key sk-…aaaa"),
    "a key by a browser": ("key", [], "API key sk-…aaaa"),
    "a token by a key": ("token", ["--with-api-key"], "personal access token"),
    "Bedrock by a key": ("bedrock", ["--with-api-key"], "Amazon Bedrock access keys"),
    "a damaged one by a key": ("damaged", ["--with-api-key"], "is damaged"),
    "a damaged one by a browser": ("damaged", [], "is damaged"),
}
LOGIN_FILES = {
    "chatgpt": lambda: chatgpt_login("ann@example.org"),
    "key": lambda: json.dumps({"auth_mode": "apikey", "OPENAI_API_KEY": API_KEYS[0]}),
    "token": lambda: json.dumps({"auth_mode": "personalAccessToken", "personal_access_token": ACCESS_TOKEN}),
    "bedrock": lambda: json.dumps({"auth_mode": "bedrockAccessKeys", "bedrock_access_keys": {"x": ACCESS_TOKEN}}),
    "damaged": lambda: "torn {",
}


@pytest.mark.parametrize("case", DEARLY)
def test_where_nobody_can_be_asked_a_login_is_only_given_up_with_yes(cm: Launched, house: Home, case: str) -> None:
    before, options, who = DEARLY[case]
    plant_login(house, "work", LOGIN_FILES[before]())
    tree_before = household_tree(house)
    refused = cm("login", "work", *options, stdin=API_KEYS[1])
    assert refused.code == 5 and who in refused.err and household_tree(house) == tree_before
    line = " ".join(["codex-mirror login --yes work", *options])
    assert f"hint: {line}\n" in refused.err
    ended = run(["sh", "-c", line], env=house.env, stdin=API_KEYS[1])
    assert household_tree(house) != tree_before or options == ["--with-access-token"], ended


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("n\n", 5), ("\n", 5)])
def test_a_key_from_a_pipe_is_asked_for_on_the_terminal_itself(
    cm: Launched, house: Home, answer: str, code: int
) -> None:
    login = plant_login(house, "work", chatgpt_login("ann@example.org"))
    (house.base / "key").write_text(API_KEYS[1] + "\n")  # In no command line: other tests list processes meanwhile.
    script = f"cat {house.base}/key | codex-mirror login work --with-api-key"
    result = on_terminal(["sh", "-c", script], house, ("log 'work' in again? [y/N]", answer))
    assert result.code == code and ('OPENAI_API_KEY": null' in login.read_text()) == bool(code)


@pytest.mark.parametrize("code", [0, 1, 9])
def test_a_login_ends_as_codexs_login_does(cm: Launched, house: Home, code: int) -> None:
    install_codex(house, "0.170.0", f'#!/bin/sh\n[ "$1" = login ] && exit {code}\necho codex-cli 0.170.0\n')
    cm("update", "work", check=True)
    result = cm("login", "work")
    before, after = result.err.splitlines()
    assert result[:2] == (code, "") and before.startswith(
        "logging in 'work'; without a browser: codex-mirror login work"
    )
    how = f"failed (exit code {code})" if code else "ended"
    assert after == f"the login of 'work' {how}; not logged in"


def test_ctrl_c_during_a_login_is_codexs(cm: Launched, house: Home) -> None:
    body = '#!/bin/sh\n[ "$1" = login ] || { echo codex-cli 0.170.0; exit; }\n'
    body += "trap 'echo caught; sleep 0.2; exit 9' INT\necho waiting\nwhile :; do sleep 0.05; done\n"
    install_codex(house, "0.170.0", body)
    cm("update", "work", check=True)
    result = on_terminal(cm.argv("login", "work"), house, ("waiting", "\x03"))
    assert result.code == 9
    assert "caught" in result.err and "interrupted" not in result.err


# --- logout ---


def test_logout_says_what_codex_will_do_and_asks(cm: Launched, house: Home) -> None:
    plant_login(house, "work", chatgpt_login("ann@example.org"))
    before = household_tree(house)
    no = on_terminal(cm.argv("logout", "work"), house, ("[y/N]", "\n"))
    assert no.code == 5 and "nothing was changed" in no.err
    assert household_tree(house) == before and (house.clone_home("work") / ".codex/auth.json").exists()
    for word in ("revoke", "at the server", "other logins of the same account", "--local"):
        assert word in no.err
    yes = on_terminal(cm.argv("logout", "work"), house, ("[y/N]", "y\n"))
    assert yes.code == 0 and "Successfully logged out" in yes.err
    assert not (house.clone_home("work") / ".codex/auth.json").exists()


@pytest.mark.parametrize("options", [[], ["--local"], ["--force"]], ids=["", "local", "forced"])
@pytest.mark.parametrize("kind", LOGIN_FILES)
def test_a_logout_says_what_is_true_of_this_kind_of_login_and_needs_a_yes(
    cm: Launched, house: Home, kind: str, options: list[str]
) -> None:
    login = plant_login(house, "work", LOGIN_FILES[kind]())
    refused = cm("logout", "work", *options)
    line = " ".join(["codex-mirror logout --yes work", *options])
    assert refused.code == 5 and f"hint: {line}\n" in refused.err and login.exists()
    done = run(["sh", "-c", line], env=house.env)
    assert done.code == 0 and not login.exists()
    if options == ["--local"]:
        assert ("stays valid on the server" in done.out) == (kind == "chatgpt")
        assert ("isn't revoked" in done.out) == (kind not in ("chatgpt", "damaged"))
    else:
        assert ("revoke the login" in refused.err) == ("other logins" in refused.err) == (kind == "chatgpt")
        assert ("isn't revoked" in refused.err) == (kind not in ("chatgpt", "damaged"))


@pytest.mark.parametrize("options", [[], ["--local"], ["--yes"]], ids=["", "local", "yes"])
def test_a_logout_where_nobody_is_logged_in_says_so_and_is_no_failure(
    cm: Launched, house: Home, options: list[str]
) -> None:
    before = household_tree(house)
    assert cm("logout", "work", *options) == Result(0, "'work' is not logged in\n", "")
    assert household_tree(house) == before
    login = plant_login(house, "work", "{}")
    done = cm("logout", "work", *options)
    assert done.code == 0 and not login.exists() and "revoke" not in done.out + done.err


def remembered(home: Home, name: str) -> Any:
    """The account that the registry has of a clone's last login, whoever is logged in now."""
    clones = json.loads((home.mirror / "registry.json").read_bytes())["clones"]
    return next(row.get("account") for row in clones if row["name"] == name)


def test_a_logout_is_no_more_to_be_remembered(cm: Launched, house: Home) -> None:
    for options in (["--local"], []):
        log_in(cm, "work")
        assert rows(cm)["work"]["account"] and remembered(house, "work")
        assert cm("logout", "--yes", "work", *options).code == 0
        assert rows(cm)["work"]["account"] is None and remembered(house, "work") is None


def test_a_login_that_a_logout_left_is_remembered_and_one_that_is_gone_is_forgotten(cm: Launched, house: Home) -> None:
    log_in(cm, "work")
    install_codex(house, "0.170.0", '#!/bin/sh\n[ "$1" = logout ] && exit 4\necho codex-cli 0.170.0\n')
    cm("update", "work", check=True)
    assert cm("logout", "work", "--yes").code == 4 and remembered(house, "work")
    (house.clone_home("work") / ".codex" / "auth.json").unlink()
    assert cm("logout", "work").out == "'work' is not logged in\n" and remembered(house, "work") is None
    plant_login(house, OTHER_CLONE, chatgpt_login("ann@example.org"))
    cm("logout", OTHER_CLONE, "--yes", check=True)
    assert f"{OTHER_CLONE}\tlogout {OTHER_CLONE} " in cm("log").out


def test_a_login_is_dropped_here_also_where_the_clone_s_codex_is_gone(cm: Launched, house: Home) -> None:
    login = plant_login(house, "work", chatgpt_login("ann@example.org"))
    Path(rows(cm)["work"]["runtimeEntryPath"]).unlink()
    assert cm("logout", "work", "--yes").code == 1 and login.exists()
    assert cm("logout", "work", "--local", "--yes").code == 0 and not login.exists()


def test_a_login_in_the_keyring_is_named_so_and_only_codex_can_end_it(cm: Launched, house: Home) -> None:
    config = house.clone_home("work") / ".codex" / "config.toml"
    config.write_text('cli_auth_credentials_store = "keyring"\n')
    assert "kept in the keyring" in cm("list", "--full", check=True).out
    refused = cm("logout", "work", "--local")
    assert refused.code == 5 and "is in the keyring" in refused.err
    assert "the login of 'work' (kept in the keyring), and revoke it" in cm("logout", "work").err
    assert cm("export", "work", "--with-login").code == 5
    assert cm("logout", "work", "--yes").err.splitlines()[-1] == "Not logged in"  # Its Codex was asked.
    said = "its login stays in the system's keyring; to log out first: codex-mirror logout work\n"
    asked = cm("remove", "work")
    assert asked.code == 5 and asked.err.startswith("removing 'work' deletes\n") and said in asked.err
    told = cm("remove", "work", "--yes").err
    assert "the login of 'work' stays in the system's keyring\n" in told
    assert "keyring" not in cm("remove", OTHER_CLONE).err


def test_a_login_that_the_keyring_may_have_is_not_moved_and_a_linked_config_not_replaced(
    cm: Launched, house: Home
) -> None:
    own = house.home / ".codex"
    own.mkdir()
    (own / "auth.json").write_text(chatgpt_login("ann@example.org"))
    (own / "config.toml").write_text('cli_auth_credentials_store = "keyring"\n')
    before = household_tree(house)
    moved = cm("import", own, "--name", "new", "--move-login")
    assert moved.code == 5 and "in the keyring" in moved.err and household_tree(house) == before
    config = house.clone_home("work") / ".codex" / "config.toml"
    config.rename(house.home / "mine.toml")
    config.symlink_to(house.home / "mine.toml")
    before = household_tree(house)
    refused = cm("set", "work", "--settings-from", own)
    assert refused.code == 5 and f"{config} is a link" in refused.err and household_tree(house) == before


def test_set_shares_what_create_would_share(cm: Launched, house: Home) -> None:
    (house.home / ".npmrc").touch()
    (house.home / ".a" / "b").mkdir(parents=True)
    cm("set", "work", "--share", "none", check=True)
    for entries in ([".npmrc"], ["none", ".npmrc"], ["none", ".a", ".a/b"], ["none"]):
        result = cm("set", "work", *(word for entry in entries for word in ("--share", entry)))
        said = "nothing to change in" if entries == ["none", ".npmrc"] else "changed"
        assert result == Result(0, f"{said} 'work'\n", "")
        shared = [entry for entry in entries if entry not in ("none", ".a/b")]
        assert rows(cm)["work"]["shared"] == shared
        links = {path.name for path in house.clone_home("work").iterdir() if path.is_symlink()}
        assert links == {*shared}


@pytest.mark.parametrize("options", ["--home isolated", "--share .gitconfig", "--keep-env OPENAI_PROJECT"])
def test_what_is_set_already_is_not_set_again(cm: Launched, house: Home, options: str) -> None:
    (house.home / ".gitconfig").touch()
    cm("set", "work", "--share", ".gitconfig", "--keep-env", "OPENAI_PROJECT", check=True)
    before = household_tree(house)
    assert cm("set", "work", *options.split()) == Result(0, "nothing to change in 'work'\n", "")
    assert cm("set", "work", *options.split(), "--json").json()["changed"] is False
    assert household_tree(house) == before


def test_a_share_that_is_named_stays_and_one_inside_another_never_takes_its_place(cm: Launched, house: Home) -> None:
    (house.home / ".a" / "b").mkdir(parents=True)
    cm("set", "work", "--share", ".a", check=True)
    link = house.clone_home("work") / ".a"
    for options in ("--unshare .a --share .a", "--share .a/b"):
        assert cm("set", "work", *options.split(), check=True).err == ""
        assert ".a" in rows(cm)["work"]["shared"] and link.is_symlink(), options
    before = tree(house.home)
    for options in ("--unshare .a --share .a/b", "--share none --share .a/b"):
        refused = cm("set", "work", *options.split())
        assert refused.code == 5 and ".a/b lies inside .a" in refused.err and "set work --unshare '.a'" in refused.err
        assert link.is_symlink() and tree(house.home) == before
    cm("set", "work", "--unshare", ".a", check=True)
    assert cm("set", "work", "--share", ".a/b", check=True).err == ""
    assert (link / "b").is_symlink()
    before = tree(house.home), household_tree(house)
    for options in ("--share .a", "--unshare .a/b --share .a"):
        refused = cm("set", "work", *options.split())
        assert refused.code == 5 and "'work' still shares .a/b" in refused.err
        assert "set work --unshare '.a/b', then" in refused.err
        assert (tree(house.home), household_tree(house)) == before
    cm("set", "work", "--unshare", ".a/b", check=True)
    assert cm("set", "work", "--share", ".a", check=True).err == "" and link.is_symlink()


def test_what_is_shared_with_the_real_home_needs_a_home_of_its_own(cm: Launched, house: Home) -> None:
    (house.home / ".npmrc").touch()
    cm("set", "work", "--home", "shared", check=True)
    for words in (["create", "new", "--home", "shared"], ["set", "work"]):
        assert "nowhere doesn't exist" in cm(*words, "--share", "nowhere").err
        refused = cm(*words, "--share", ".npmrc")
        assert refused.code == 5 and "--home isolated" in refused.err
    cm("create", "new", "--home", "shared", "--share", "none", check=True)
    cm("set", "work", "--home", "isolated", "--share", ".npmrc", check=True)
    assert ".npmrc" in rows(cm)["work"]["shared"] and not rows(cm)["new"]["shared"]


def test_what_is_taken_back_must_have_been_given(cm: Launched) -> None:
    for option, what in (("--unshare", "share .npmrc"), ("--no-keep-env", "keep NOPE")):
        result = cm("set", "work", option, what.split()[1])
        assert result.code == 1 and f"'work' doesn't {what}" in result.err


@pytest.mark.skipif(shutil.which("fish") is None, reason="needs fish")
def test_fish_keeps_its_universal_variables_and_codex_does_not_see_them(cm: Launched, house: Home) -> None:
    env = {**house.env, "XDG_CONFIG_HOME": str(house.base / "config")}
    run(["fish", "-c", "set -Ux CODEX_API_KEY mine"], env=env, check=True)
    inside = run(["fish", "-c", "codex-mirror env work --shell fish | source; work"], env=env, check=True)
    assert not overheard(inside.out).env.get("CODEX_API_KEY")
    assert run(["fish", "-c", 'echo "[$CODEX_API_KEY]"'], env=env).out == "[mine]\n"


def test_local_logout_drops_this_login_without_asking_codex(cm: Launched, house: Home) -> None:
    log_in(cm, "work")
    result = cm("logout", "work", "--local", "--yes")
    assert result.code == 0 and "logged out" not in result.err
    assert not (house.clone_home("work") / ".codex/auth.json").exists()
    assert cm("doctor", "--json").json()[0]["authStatus"] == "not_logged_in"


def test_logout_of_a_running_clone_names_its_pid(
    cm: Launched, house: Home, pretend_codex: Callable[[str], Process]
) -> None:
    log_in(cm, "work")
    running = pretend_codex("work")
    for options in ([], ["--local"]):
        result = cm("logout", "work", "--yes", *options)
        assert (result.code, result.out) == (6, "")
        assert str(running.pid) in result.err and "--force" in result.err
    assert cm("logout", "work", "--yes", "--force").code == 0


# --- remove ---


def test_a_clone_with_nothing_to_lose_goes_without_a_question(cm: Launched, house: Home) -> None:
    before = tree(house.base / "h")
    assert cm("remove", "work").code == 0
    assert cm("remove", OTHER_CLONE).out == f"removed '{OTHER_CLONE}'\n"
    assert (tree(house.bin).keys(), tree(house.mirror / "clones").keys()) == ({"."}, {"."})
    assert (cm("list").out, tree(house.base / "h")) == ("", before)


@pytest.mark.parametrize("is_made", [False, True], ids=["ours", "the user's"])
def test_an_empty_root_goes_with_the_clone_that_made_it_and_stays_where_the_user_did(
    cm: Launched, house: Home, is_made: bool
) -> None:
    root = house.base / "above" / "root"
    root.parent.mkdir()
    if is_made:
        root.mkdir(mode=0o711)
    before = tree(root.parent)
    assert cm("create", "far", "--root", root).code == 0 and (root / ".codex-mirror").is_dir()
    assert cm("remove", "far").code == 0
    assert tree(root.parent) == before


def test_removing_a_login_asks_for_the_name(cm: Launched, house: Home) -> None:
    log_in(cm, "work")
    plant_session(house, "work")
    before = household_tree(house)
    for answer in ("\n", "y\n", "yes\n", "Work\n", "\x04"):
        result = on_terminal(cm.argv("remove", "work"), house, ("type 'work'", answer))
        assert result.code == 5 and "nothing was changed" in result.err, answer
    assert household_tree(house) == before
    assert "API key" in result.err and "1 session" in result.err
    result = on_terminal(cm.argv("remove", "work"), house, ("type 'work'", "work\n"))
    assert result.code == 0 and "removed 'work'" in result.err
    assert list(rows(cm)) == [OTHER_CLONE] and not (house.mirror / "clones/work").exists()


def test_removing_a_file_that_somebody_put_there_names_it(cm: Launched, house: Home) -> None:
    (house.clone_home("work") / "thesis.txt").write_text("mine\n" * 100)
    (house.clone_home("work") / ".codex" / "agents").mkdir()
    for name, moment in (("a", 1), ("b", 2_000_000_000), ("c", 3)):
        (house.clone_home("work") / ".codex" / "agents" / name).write_text("x")
        os.utime(house.clone_home("work") / ".codex" / "agents" / name, (moment, moment))
    result = cm("remove", "work")
    assert result.code == 5 and "4 files of its own, 503 B\n" in result.err
    assert f"the largest is {house.clone_home('work')}/thesis.txt\n" in result.err
    assert f"the newest is {house.clone_home('work')}/.codex/agents/b\n" in result.err
    assert (house.clone_home("work") / "thesis.txt").exists()


def test_what_we_wrote_for_a_private_home_is_no_loss_once_it_is_shared(mirror: Mirror, codex: Path) -> None:
    mirror("create", "work", check=True)
    mirror("set", "work", "--home", "shared", check=True)
    assert mirror("remove", "work").code == 0


def test_removing_sessions_alone_asks_yes_or_no(cm: Launched, house: Home) -> None:
    plant_session(house, "work")
    assert on_terminal(cm.argv("remove", "work"), house, ("[y/N]", "n\n")).code == 5
    result = on_terminal(cm.argv("remove", "work"), house, ("[y/N]", "y\n"))
    assert result.code == 0 and "1 session" in result.err


def test_a_yes_counts_for_what_was_asked_and_for_nothing_that_came_since(cm: Launched, house: Home) -> None:
    plant_session(house, "work")
    terminal = Terminal(cm.argv("remove", "work"), house)
    terminal.expect("remove 'work'? [y/N]")
    plant_login(house, "work", chatgpt_login("ann@example.org"))
    terminal.type("y\n")
    terminal.expect("type 'work' to confirm")
    terminal.type("y\n")
    result = terminal.end()
    assert result.code == 5 and "its login: ann@example.org" in result.err
    assert (house.clone_home("work") / ".codex/auth.json").exists()


@pytest.mark.parametrize("loss", ["a login", "a session", "an odd login", "settings"])
def test_without_a_terminal_a_loss_needs_yes(cm: Launched, house: Home, loss: str) -> None:
    if loss == "a session":
        plant_session(house, "work")
    elif loss == "settings":
        (house.clone_home("work") / ".codex/AGENTS.md").write_text("never touch the login\n")
    else:
        plant_login(house, "work", chatgpt_login("ann@example.org") if loss == "a login" else "torn {")
    before = household_tree(house)
    result = cm("remove", "work")
    assert (result.code, result.out, household_tree(house)) == (5, "", before)
    named = {"a session": "1 session", "settings": "AGENTS.md"}.get(loss, "login")
    assert "--yes" in result.err and named in result.err
    for option in ("--yes", "-y"):
        result = cm("remove", "work", option)
        assert result.code == (0 if option == "--yes" else 3)


def test_a_running_clone_is_not_removed_without_force(
    cm: Launched, house: Home, pretend_codex: Callable[[str], Process]
) -> None:
    running, before = pretend_codex("work"), household_tree(house)
    result = cm("remove", "work")
    assert (result.code, household_tree(house)) == (6, before)
    assert str(running.pid) in result.err and "--force" in result.err
    assert cm("remove", OTHER_CLONE).code == 0
    assert cm("remove", "work", "--force").code == 0
    assert running.poll() is not None, "what goes on running would make the clone's files anew"


def test_remove_stops_the_background_server_and_its_updater(
    cm: Launched, house: Home, pretend_codex: Callable[[str], Process]
) -> None:
    servers = [pretend_codex("work"), pretend_codex("work")]
    directory = house.clone_home("work") / ".codex/app-server-daemon"
    for server, name in zip(servers, ("app-server.pid", "daemon-updater.pid"), strict=True):
        (directory / name).write_text(json.dumps({"pid": server.pid}))
    result = cm("remove", "work")
    assert result.code == 0, result.err
    assert [server.poll() for server in servers] == [-signal.SIGTERM, -signal.SIGTERM]
    assert not (house.mirror / "clones/work").exists()


@pytest.fixture
def server(house: Home, pretend_codex: Callable[[str], Process]) -> Process:
    """What looks like the background server of `work`."""
    process = pretend_codex("work")
    (house.clone_home("work") / ".codex/app-server-daemon/daemon.pid").write_text(json.dumps({"pid": process.pid}))
    return process


ENDERS = [["doctor", "work", "--fix"], ["update", "work"], ["rollback", "work"], ["remove", "work"]]


@pytest.mark.parametrize("words", ENDERS, ids=lambda words: words[0])
@pytest.mark.parametrize("in_use", [False, True], ids=["alone", "in use"])
def test_a_background_server_is_ended_unless_someone_works_with_another_codex(
    cm: Launched, house: Home, server: Process, pretend_codex: Callable[[str], Process], words: list[str], in_use: bool
) -> None:
    if words[0] == "rollback":
        cm("update", "work", "--from", fake_codex(house.base / "other", "0.170.0"), "--force", check=True)
        (house.clone_home("work") / ".codex/app-server-daemon/daemon.pid").unlink()
        other = pretend_codex("work")
        server.wait()
        server = other
        (house.clone_home("work") / ".codex/app-server-daemon/daemon.pid").write_text(json.dumps({"pid": server.pid}))
    said = f"work: stopped its server (pid {server.pid})"
    if in_use:
        user, before = pretend_codex("work"), household_tree(house)
        refused = cm(*words)
        assert refused.code == 6 and f"(pid {user.pid})" in refused.err and "--force" in refused.err
        assert (server.poll(), user.poll(), household_tree(house)) == (None, None, before)
        words, also = [*words, "--force"], f"work: stopped Codex (pid {user.pid})"
    result = cm(*words)
    assert (result.code, said in result.err) == (0, True), result
    assert server.wait(10) == -signal.SIGTERM
    if in_use:
        assert also in result.err and user.wait(10) == -signal.SIGTERM


def test_without_a_server_an_update_leaves_alone_who_works_with_the_clone(
    cm: Launched, house: Home, pretend_codex: Callable[[str], Process]
) -> None:
    user = pretend_codex("work")
    for words in (["update", "work", "--force"], ["doctor", "work", "--fix", "--force"]):
        assert cm(*words).code == 0 and user.poll() is None


def test_who_agrees_to_a_forced_removal_is_told_whom_it_ends(
    cm: Launched, house: Home, pretend_codex: Callable[[str], Process]
) -> None:
    user = pretend_codex("work")
    log_in(cm, "work")
    assert f"the Codex that is running in it is stopped (pid {user.pid})" in cm("remove", "work", "--force").err
    assert user.poll() is None
    result = cm("remove", "work", "--force", "--yes")
    assert (result.code, user.wait(10)) == (
        0,
        -signal.SIGTERM,
    ) and f"work: stopped Codex (pid {user.pid})" in result.err


def test_a_running_server_is_a_warning_with_its_pid(cm: Launched, server: Process) -> None:
    found = problems(cm)["work", "server-running"]
    assert (found["severity"], f"(pid {server.pid})" in found["what"]) == ("warning", True)


def test_remove_deletes_read_only_trees_and_follows_no_link(cm: Launched, house: Home) -> None:
    cache = house.clone_home("work") / "go/pkg/mod/example.org@v1"
    cache.mkdir(parents=True)
    (cache / "file.go").write_text("package x\n")
    (cache / "out").symlink_to(house.home)
    (house.home / "precious").write_text("kept\n")
    for directory in (cache, cache.parent, cache.parent.parent):
        directory.chmod(0o555)
    before = tree(house.home)
    assert cm("remove", "work", "--yes").code == 0
    assert tree(house.home) == before and not (house.mirror / "clones/work").exists()


# --- update and rollback ---


def versions(cm: Launched) -> dict[str, str]:
    """What each clone's wrapper says it is."""
    said = {name: run([row["wrapperPath"], "--version"], env=cm.home.env).out for name, row in rows(cm).items()}
    return {name: text.removeprefix("codex-cli ").strip() for name, text in said.items()}


def test_update_rollback_and_forward(cm: Launched, house: Home) -> None:
    install_codex(house, "0.170.0")
    steps = [
        (["update", "work"], "work: 0.169.0 → 0.170.0\n", "0.170.0"),
        (["rollback", "work"], "work: 0.170.0 → 0.169.0\n", "0.169.0"),
        (["rollback", "work"], "work: 0.169.0 → 0.170.0\n", "0.170.0"),
    ]
    for words, said, version in steps:
        assert cm(*words) == Result(0, said, "")
        assert versions(cm) == {"work": version, OTHER_CLONE: "0.169.0"}
        assert rows(cm)["work"]["codexVersionPinned"] == version


def test_a_clone_at_the_installed_version_says_so_and_changes_nothing(cm: Launched, house: Home) -> None:
    before = household_tree(house)
    assert cm("update", "work") == Result(0, "work: already at 0.169.0\n", "")
    result = cm("update", "--all")
    assert (result.code, result.out) == (0, f"work: already at 0.169.0\n{OTHER_CLONE}: already at 0.169.0\n")
    assert household_tree(house) == before


def test_a_clone_that_was_never_updated_has_nothing_to_go_back_to(cm: Launched, house: Home) -> None:
    before = household_tree(house)
    result = cm("rollback", "work")
    assert (result.code, result.out, household_tree(house)) == (1, "", before)


def test_update_all_goes_on_after_a_failure_and_reports_each_clone(cm: Launched, house: Home) -> None:
    cm("create", "third", check=True)
    (house.mirror / f"clones/{OTHER_CLONE}/.codex-mirror/clone.json").write_text('{"id": "somebody-else"}')
    install_codex(house, "0.170.0")
    result = cm("update", "--all")
    assert result.code == 1
    assert result.out == "work: 0.169.0 → 0.170.0\nthird: 0.169.0 → 0.170.0\n"
    assert OTHER_CLONE in result.err and "work" not in result.err
    assert versions(cm) == {"work": "0.170.0", OTHER_CLONE: "0.169.0", "third": "0.170.0"}
    again = cm("update", "--all", "--quiet")
    assert again.code == 1 and OTHER_CLONE in again.err


def test_what_hinders_every_update_is_said_once(cm: Launched, house: Home) -> None:
    shutil.rmtree(house.base / "npm")
    result = cm("update", "--all")
    [line] = result.err.splitlines()
    assert result.code == 1 and line.startswith(f"work, {OTHER_CLONE}: ")
    assert [row["error"] for row in cm("update", "--all", "--json").json()] == [
        line.split(": ", 1)[1].split(" (")[0]
    ] * 2


def test_update_of_several_names_goes_on_after_one_that_is_not_there(cm: Launched, house: Home) -> None:
    install_codex(house, "0.170.0")
    result = cm("update", "nobody", "work")
    assert (result.code, result.out) == (1, "work: 0.169.0 → 0.170.0\n")
    assert "nobody" in result.err


def test_a_clone_that_is_named_twice_is_updated_once(cm: Launched) -> None:
    assert [row["name"] for row in cm("update", "work", OTHER_CLONE, "work", "--json", check=True).json()] == [
        "work",
        "two",
    ]
    assert cm("update", "wrok", "wrok") == cm("update", "wrok")


@pytest.mark.parametrize("words", [["update"], ["update", "work", "--all"]])
def test_update_wants_names_or_all(cm: Launched, words: list[str]) -> None:
    result = cm(*words)
    assert (result.code, result.out) == (2, "") and "--all" in result.err


def test_a_killed_update_is_told_with_the_room_that_it_takes(cm: Launched, house: Home) -> None:
    package = fake_codex(house.base / "other", "0.171.0")
    (package / "codex-resources" / "large").write_bytes(b"x" * (3 << 20))
    (package / "bin" / "codex").write_text("#!/bin/sh\nkill -KILL $PPID\n")
    assert cm("update", "work", "--from", package).code == -signal.SIGKILL
    found = problems(cm)["codex-mirror", "unsettled-files"]
    assert (found["severity"], found["what"]) == ("info", "until then, the unfinished change takes 3 MB of disk space")
    cm("doctor", "--fix")
    assert not [key for key in problems(cm) if "unsettled" in key[1]]


def test_update_from_takes_that_codex(cm: Launched, house: Home) -> None:
    package = fake_codex(house.base / "other", "0.171.0")
    assert cm("update", "work", "--from", package).out == "work: 0.169.0 → 0.171.0\n"
    assert cm("update", OTHER_CLONE, "--from", "work").out == f"{OTHER_CLONE}: 0.169.0 → 0.171.0\n"
    assert set(versions(cm).values()) == {"0.171.0"}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks for the program of a process through /proc")
@pytest.mark.parametrize("verb", ["update", "rollback"])
def test_an_update_says_that_the_running_codex_stays_as_it_is(cm: Launched, house: Home, verb: str) -> None:
    # A program of the runtime's own, so that /proc shows where it lies.
    package = fake_codex(house.base / "other", "0.170.0")
    shutil.copy(shutil.which("sleep") or "", package / "bin" / "napper")
    cm("update", "work", "--from", package, check=True)
    process = start([Path(rows(cm)["work"]["runtimePath"]) / "bin" / "napper", "600"], env=house.env)
    try:
        result = cm(*([verb, "work"] if verb == "update" else ["rollback", "work"]))
    finally:
        process.kill()
        finish(process)
    assert result.code == 0
    assert str(process.pid) in result.err and "0.170.0" in result.err


def test_a_runtime_that_runs_is_kept_until_a_change_finds_it_free(cm: Launched, house: Home) -> None:
    packages = [fake_codex(house.base / version, version) for version in ("0.170.0", "0.171.0", "0.172.0", "0.173.0")]
    shutil.copy(shutil.which("sleep") or "", packages[0] / "bin" / "napper")
    cm("update", "work", "--from", packages[0], check=True)
    used = Path(rows(cm)["work"]["runtimePath"])
    process = start([used / "bin" / "napper", "600"], env=house.env)
    try:
        for package in packages[1:3]:
            cm("update", "work", "--from", package, check=True)
        assert (used / "bin" / "napper").exists()
        cm("doctor", "work", "--fix", check=True)
        assert (used / "bin" / "napper").exists()
    finally:
        process.kill()
        finish(process)
    cm("update", "work", "--from", packages[3], check=True)
    versions = sorted(path.name.rpartition("-")[0] for path in used.parent.iterdir())
    assert versions == ["0.172.0", "0.173.0"]


# --- doctor ---


def doctor(cm: Launched, *args: str, env: Mapping[str, str] | None = None) -> dict[str, Any]:
    """What `doctor --json` says, by name; what belongs to no clone is `codex-mirror`."""
    result = cm("doctor", *args, "--json", env=env)
    assert result.code in (0, 1), result.err
    return {health["name"]: health for health in result.json()}


def problems(cm: Launched, *args: str, env: Mapping[str, str] | None = None) -> dict[tuple[str, str], Any]:
    """Every problem, by the name that it is said of and its id."""
    found = doctor(cm, *args, env=env)
    return {(name, problem["id"]): problem for name, health in found.items() for problem in health["problems"]}


def test_doctor_of_a_healthy_household_is_quiet_and_exits_0(cm: Launched, house: Home) -> None:
    result = cm("doctor")
    assert (result.code, result.err) == (0, "")
    assert [line.split(":")[0] for line in result.out.splitlines()] == ["✓ work", f"✓ {OTHER_CLONE}"]
    row = rows(cm)["work"]
    assert {key: value for key, value in doctor(cm, "work")["work"].items() if key != "account"} == {
        "name": "work",
        "ok": True,
        "runtimePath": row["runtimePath"],
        "wrapperPath": row["wrapperPath"],
        "authStatus": "not_logged_in",
        "writable": True,
        "errors": [],
        "problems": [],
    }


# Each trouble is made by one function, which returns the evidence that doctor must show.


def without_helper(home: Home, clone: Path) -> str:
    [helper] = clone.glob("runtime/*/codex-path/rg")
    helper.unlink()
    return str(helper)


def without_entry(home: Home, clone: Path) -> str:
    [entry] = clone.glob("runtime/*/bin/codex")
    entry.unlink()
    return str(entry)


def longer_helper(home: Home, clone: Path) -> str:
    [helper] = clone.glob("runtime/*/codex-path/rg")
    helper.chmod(0o755)
    helper.write_text("#!/bin/sh\necho 'another one, and longer'\n")
    return str(helper)


def changed_byte(home: Home, clone: Path) -> str:
    """A byte changed in place, size and time as before: only a look at every byte can tell."""
    [helper] = clone.glob("runtime/*/codex-path/rg")
    stamp = helper.stat()
    helper.chmod(0o755)
    helper.write_bytes(helper.read_bytes().replace(b"15.0.0", b"15.0.1"))
    helper.chmod(0o555)
    os.utime(helper, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    return str(helper)


def edit_row(home: Home, name: str, **changed: Any) -> None:
    path = home.mirror / "registry.json"
    registry = json.loads(path.read_text())
    for row in registry["clones"]:
        if row["name"] == name:
            row.update(changed)
    path.write_text(json.dumps(registry))


def another_version(home: Home, clone: Path) -> str:
    edit_row(home, "work", codexVersionPinned="0.168.0")
    return "0.168.0"


def without_codex_home(home: Home, clone: Path) -> str:
    discard(clone / "home" / ".codex")
    return str(clone / "home" / ".codex")


def without_wrapper(home: Home, clone: Path) -> str:
    (home.bin / "work").unlink()
    return str(home.bin / "work")


def inert_wrapper(home: Home, clone: Path) -> str:
    (home.bin / "work").chmod(0o644)
    return str(home.bin / "work")


def edited_wrapper(home: Home, clone: Path) -> str:
    with (home.bin / "work").open("a") as file:
        file.write("# added\n")
    return str(home.bin / "work")


def older_wrapper(home: Home, clone: Path) -> str:
    """One of an earlier version of ours, as it was written then."""
    reseal(home.bin / "work", home.bin / "work", "cm_clone=", "cm_more=''\ncm_clone=")
    return str(home.bin / "work")


def reseal(source: Path, target: Path, *changes: str) -> None:
    """Writes a wrapper as another of ours, each odd change replaced by the one behind it, with its own digest."""
    text = source.read_text()
    for old, new in zip(changes[::2], changes[1::2], strict=True):
        text = text.replace(old, new)
    first, mark, body = text.split("\n", 2)
    digest = hashlib.sha256(body.encode()).hexdigest()[:16]
    target.write_text("\n".join([first, re.sub("sha256:[0-9a-f]+", f"sha256:{digest}", mark), body]))
    target.chmod(0o755)


def strangers_wrapper(home: Home, clone: Path) -> str:
    (home.bin / "work").write_text("#!/bin/sh\necho somebody else\n")
    return str(home.bin / "work")


def shadow(home: Home, clone: Path) -> str:
    other = home.base / "first" / "work"
    other.parent.mkdir()
    other.write_text("#!/bin/sh\n")
    other.chmod(0o755)
    home.put_on_path(other.parent)
    return str(other)


def open_home(home: Home, clone: Path) -> str:
    (clone / "home").chmod(0o755)
    return str(clone / "home")


def loose_prompt(home: Home, clone: Path) -> str:
    config = clone / "home/.codex/config.toml"
    config.write_text(config.read_text().replace("check_for_update_on_startup = false", "# gone"))
    return "check_for_update_on_startup"


def loose_daemon(home: Home, clone: Path) -> str:
    config = clone / "home/.codex/config.toml"
    config.write_text(config.read_text().replace("daemon_auto_start = false", "daemon_auto_start = true"))
    return "daemon_auto_start"


def loose_updater(home: Home, clone: Path) -> str:
    (clone / "home/.codex/app-server-daemon/settings.json").unlink()
    return "app-server-daemon/settings.json"


def same_account(home: Home, clone: Path) -> str:
    for name in ("work", OTHER_CLONE):
        plant_login(home, name, chatgpt_login("ann@example.org"))
    (home.base / "auth").write_text(chatgpt_login("bob@example.org", "ws-2", "user-2"))
    home.env["FAKE_CODEX_AUTH"] = str(home.base / "auth")
    return f"same account as '{OTHER_CLONE}'"


def changed_account(home: Home, clone: Path) -> str:
    edit_row(home, "work", account={"kind": "chatgpt", "email": "ann@example.org", "workspace": "w", "user": "u"})
    plant_login(home, "work", chatgpt_login("bob@example.org"))
    (home.base / "auth").write_text(chatgpt_login("ann@example.org"))
    home.env["FAKE_CODEX_AUTH"] = str(home.base / "auth")
    return "bob@example.org"


def unused_runtime(home: Home, clone: Path) -> str:
    shutil.copytree(next(clone.glob("runtime/*")), clone / "runtime/0.168.0-0123abcd")
    return str(clone / "runtime/0.168.0-0123abcd")


def newer_codex(home: Home, clone: Path) -> str:
    install_codex(home, "0.170.0")
    return "0.169.0 → 0.170.0 available"


def override(home: Home, clone: Path) -> str:
    home.env["CODEX_API_KEY"] = API_KEYS[1]
    return "CODEX_API_KEY"


def not_json(home: Home, clone: Path) -> str:
    (home.mirror / "registry.json").write_text("{oops")
    return "is not JSON"


def empty_registry(home: Home, clone: Path) -> str:
    (home.mirror / "registry.json").write_text("")
    return "is empty"


def future_registry(home: Home, clone: Path) -> str:
    path = home.mirror / "registry.json"
    path.write_text(path.read_text().replace('"version": 1', '"version": 2'))
    return "version 2"


def killed_change(home: Home, clone: Path) -> str:
    (home.mirror / "journal.json").write_text(json.dumps({"id": "0123abcd", "what": "create late"}))
    return str(home.mirror / "journal.json")


def left_behind(home: Home, clone: Path) -> str:
    (home.mirror / "scratch-0123abcd").mkdir(mode=0o700)
    return str(home.mirror / "scratch-0123abcd")


def orphan_clone(home: Home, clone: Path) -> str:
    path = home.mirror / "registry.json"
    registry = json.loads(path.read_text())
    path.write_text(json.dumps({**registry, "clones": registry["clones"][1:]}))
    (home.bin / "work").unlink()
    return str(clone)


def orphan_wrapper(home: Home, clone: Path) -> str:
    own_id, gone = json.loads((clone / "clone.json").read_text())["id"], str(clone).replace("/work/", "/gone/")
    changes = (own_id, "f" * 8, "cm_clone='work'", "cm_clone='gone'", str(clone), gone)
    reseal(home.bin / "work", home.bin / "gone", *changes)
    return str(home.bin / "gone")


def open_mirror_home(home: Home, clone: Path) -> str:
    home.mirror.chmod(0o755)
    return str(home.mirror)


def off_path(home: Home, clone: Path) -> str:
    home.env["PATH"] = ":".join(entry for entry in home.env["PATH"].split(":") if entry != str(home.bin))
    return str(home.bin)


def as_printed(home: Home, fix: str) -> Result:
    """Runs the command that doctor printed, as its reader would; before it and behind a comma it may say more."""
    command = re.search(r"codex-mirror [^,]+", fix)
    assert command, f"the fix is no command: {fix}"
    return run(["sh", "-c", command[0]], env={**home.env, "SHELL": "/bin/bash"}, cwd=home.home)


def path_of_bash(home: Home) -> str:
    """PATH as a new bash has it."""
    return run(["bash", "-ic", 'printf %s "$PATH"'], env=home.env).out


TROUBLES = [
    # Who it is said of, its id, how bad it is, how it comes about.
    ("work", "runtime-incomplete", "error", without_helper),
    ("work", "runtime-incomplete", "error", without_entry),
    ("work", "runtime-incomplete", "error", longer_helper),
    ("work", "runtime-damaged", "error", changed_byte),
    ("work", "runtime-version", "error", another_version),
    ("work", "directory-missing", "error", without_codex_home),
    ("work", "wrapper", "error", without_wrapper),
    ("work", "wrapper", "error", inert_wrapper),
    ("work", "wrapper", "error", strangers_wrapper),
    ("work", "wrapper", "error", edited_wrapper),
    ("work", "wrapper-outdated", "warning", older_wrapper),
    ("work", "directory-open", "warning", open_home),
    ("work", "pin-loose", "warning", loose_prompt),
    ("work", "pin-loose", "warning", loose_daemon),
    ("work", "pin-loose", "warning", loose_updater),
    ("work", "same-account", "warning", same_account),
    ("work", "account-changed", "warning", changed_account),
    ("work", "runtime-unused", "info", unused_runtime),
    ("work", "newer-codex", "info", newer_codex),
    ("codex-mirror", "registry", "error", not_json),
    ("codex-mirror", "registry", "error", empty_registry),
    ("codex-mirror", "unsettled", "warning", killed_change),
    ("codex-mirror", "leftovers", "warning", left_behind),
    ("codex-mirror", "orphan-clone", "warning", orphan_clone),
    ("codex-mirror", "orphan-wrapper", "warning", orphan_wrapper),
    ("codex-mirror", "mirror-home-open", "warning", open_mirror_home),
]


@pytest.mark.parametrize(("name", "trouble", "severity", "make"), TROUBLES, ids=[row[3].__name__ for row in TROUBLES])
def test_doctor_names_a_trouble_with_evidence_and_the_printed_command_mends_it(
    cm: Launched, house: Home, name: str, trouble: str, severity: str, make: Callable[[Home, Path], str]
) -> None:
    deep = ["--deep"] if trouble == "runtime-damaged" else []
    evidence = make(house, house.mirror / "clones" / "work" / ".codex-mirror")
    before = household_tree(house)
    plain, health = cm("doctor", *deep), doctor(cm, *deep).get(name, {"problems": []})
    assert household_tree(house) == before, "doctor without --fix changes nothing of ours"
    [problem] = [problem for problem in health["problems"] if problem["id"] == trouble]
    assert problem["severity"] == severity and evidence in problem["what"]
    assert evidence in plain.out and f"[{trouble}]" in plain.out and problem["fix"] in plain.out
    assert plain.code == (0 if severity == "info" else 1)
    assert health["ok"] is (severity != "error") and (problem["what"] in health["errors"]) is (severity == "error")
    if make in (strangers_wrapper, edited_wrapper):
        (house.bin / "work").rename(house.bin / "moved-away")
    # On a terminal a login that would be given up is asked for.
    assert as_printed(house, problem["fix"].replace("login work", "login --yes work")).code == 0
    assert (name, trouble) not in problems(cm, *deep)
    assert run([house.bin / "work", "--version"], env=house.env).code == 0 and OTHER_CLONE in rows(cm)


def test_another_account_can_be_accepted_and_doctor_calls_nothing_ok_that_it_fails_for(
    cm: Launched, house: Home
) -> None:
    changed_account(house, Path())
    warned = cm("doctor", "work")
    assert warned.code == 1 and warned.out.startswith("! work: warning, bob@example.org")
    assert "codex-mirror set work --accept-account" in warned.out
    assert cm("set", "work", "--accept-account").out == "changed 'work'\n"
    assert rows(cm)["work"]["account"]["email"] == "bob@example.org"
    assert cm("doctor", "work").code == 0 and cm("doctor", "work").out.startswith("✓ work: ok, bob@example.org")
    unknown = cm("set", OTHER_CLONE, "--accept-account")
    assert unknown.code == 1 and "can't be read: not logged in" in unknown.err


@pytest.mark.parametrize("on_path", [False, True])
def test_the_printed_command_helps_against_a_shadowed_wrapper(cm: Launched, house: Home, on_path: bool) -> None:
    if not on_path:
        off_path(house, Path())
    evidence = shadow(house, Path())
    problem = problems(cm)["work", "wrapper-shadowed"]
    assert problem["severity"] == "warning" and evidence in problem["what"]
    assert cm("doctor").code == 1
    assert as_printed(house, problem["fix"].replace("NEW", "office")).code == 0
    assert not [one for one in problems(cm, env={"PATH": path_of_bash(house)}) if one[1] == "wrapper-shadowed"]


def test_the_printed_command_puts_the_wrapper_directory_on_path(cm: Launched, house: Home) -> None:
    evidence = off_path(house, Path())
    result = cm("doctor")
    assert result.code == 0 and f"{evidence} is not on PATH" in result.out
    assert as_printed(house, result.out.splitlines()[-1].strip()).code == 0
    assert "[path]" not in cm("doctor", env={"PATH": path_of_bash(house)}).out


def test_another_wrapper_directory_that_is_not_on_path_is_told_of_each_clone_and_only_once(
    cm: Launched, house: Home
) -> None:
    elsewhere, copies = house.base / "else where", house.base / "copies"
    cm("wrapper", "install", "--bin-dir", elsewhere, check=True)
    off_path(house, Path())
    everything = cm("doctor")
    assert (everything.code, everything.out.count("[path]")) == (0, 2), everything
    assert {where: everything.out.count(f"{where} is not on PATH") for where in (house.bin, elsewhere)} == {
        house.bin: 1,
        elsewhere: 1,
    }
    found = problems(cm)
    assert found["work", "path"] == found[OTHER_CLONE, "path"] and found["work", "path"]["severity"] == "info"
    one = cm("doctor", "work").out
    assert f"{elsewhere} is not on PATH" in one and found["work", "path"]["fix"] in one
    shutil.copytree(elsewhere, copies)
    assert str(elsewhere) not in cm("doctor", env={"PATH": f"{copies}:{house.env['PATH']}"}).out
    assert as_printed(house, found["work", "path"]["fix"]).code == 0
    assert str(elsewhere) not in cm("doctor", env={"PATH": path_of_bash(house)}).out


def test_a_directory_that_cannot_be_written_is_named_and_the_printed_command_mends_it(
    cm: Launched, house: Home
) -> None:
    directory = house.clone_home("work") / ".codex"
    directory.chmod(0o500)
    if os.access(directory, os.W_OK):
        pytest.skip("this user may write everywhere")
    problem, health = problems(cm)["work", "directory-read-only"], doctor(cm)["work"]
    assert (problem["severity"], health["writable"]) == ("error", False) and str(directory) in problem["what"]
    run(["sh", "-c", problem["fix"]], env=house.env, check=True)
    assert cm("doctor").code == 0 and doctor(cm)["work"]["writable"] is True


def test_a_registry_of_another_version_is_explained_and_mended_but_never_overwritten(cm: Launched, house: Home) -> None:
    future_registry(house, Path())
    content = (house.mirror / "registry.json").read_bytes()
    for words in (["create", "new"], ["update", "--all"], ["remove", "work"], ["list"], ["wrapper", "install"]):
        result = cm(*words)
        assert (result.code, result.out) == (1, "") and "version 2" in result.err
    assert "version 2" in problems(cm)["codex-mirror", "registry"]["what"]
    assert (house.mirror / "registry.json").read_bytes() == content
    assert cm("doctor", "--fix").code == 0
    assert [path.read_bytes() for path in house.mirror.glob("registry.json.broken-*")] == [content]
    assert sorted(rows(cm)) == [OTHER_CLONE, "work"]


def test_one_bad_row_blocks_only_itself_and_is_named(cm: Launched, house: Home) -> None:
    edit_row(house, "work", rootPath="relative")
    found = problems(cm)
    assert found["codex-mirror", "registry-row"]["severity"] == "error"
    assert "'work'" in found["codex-mirror", "registry-row"]["what"]
    assert cm("run", OTHER_CLONE, "exit", "0").code == 0 and cm("create", "new").code == 0
    assert cm("run", "work").code == 1
    for words in (["update", "--all"], ["wrapper", "install"]):
        result = cm(*words)
        assert result.code == 1 and "entry 'work' is broken" in result.err and OTHER_CLONE in result.out
    assert "relative" in (house.mirror / "registry.json").read_text()


def test_a_login_variable_in_the_environment_is_information(cm: Launched, house: Home) -> None:
    evidence = override(house, Path())
    problem = problems(cm)["work", "login-override"]
    assert (problem["severity"], evidence in problem["what"], cm("doctor").code) == ("info", True, 0)


def test_what_the_earlier_program_left_is_named_but_not_taken_away(cm: Launched, house: Home) -> None:
    left = [house.mirror / "registry.json.lock", house.mirror / "registry.json.tmp-1-2"]
    left.append(house.mirror / "clones/work/.codex-mirror/runtime.backup-1")
    left[0].touch()
    for path in left[1:]:
        path.mkdir()
    result = cm("doctor")
    assert result.code == 0 and "[legacy-leftovers]" in result.out and all(str(path) in result.out for path in left)
    cm("doctor", "--fix")
    assert all(path.exists() for path in left)


LOGIN_STATES = {
    "nothing": (None, "not_logged_in"),
    "a key": (json.dumps({"OPENAI_API_KEY": API_KEYS[0]}), "logged_in"),
    "ChatGPT tokens": (chatgpt_login("ann@example.org"), "logged_in"),
    "an empty object, which Codex takes for a login": ("{}", "not_logged_in"),
    "something torn": ('{"OPENAI_API', "unknown"),
}


@pytest.mark.parametrize("state", LOGIN_STATES)
def test_a_login_is_what_codex_says_and_what_the_file_shows(cm: Launched, house: Home, state: str) -> None:
    content, expected = LOGIN_STATES[state]
    if content is not None:
        plant_login(house, "work", content)
    health = doctor(cm, "work")["work"]
    assert health["authStatus"] == expected
    assert health["ok"] is (expected != "unknown")
    assert cm("doctor", "work").code == (1 if expected == "unknown" else 0)


def test_settings_that_codex_cannot_read_are_an_error_with_codexs_own_words(cm: Launched, house: Home) -> None:
    config = house.clone_home("work") / ".codex/config.toml"
    config.write_text(config.read_text() + "oops\n")
    problem = problems(cm)["work", "start"]
    assert problem["severity"] == "error" and "Error loading configuration" in problem["what"]
    assert cm("doctor", "--json").json()[0]["authStatus"] == "unknown"


def test_doctor_starts_the_wrapper_once_and_the_runtime_not_at_all(cm: Launched, house: Home) -> None:
    starts = house.base / "starts"
    install_codex(house, "0.170.0", f'#!/bin/sh\necho "$*" >>{starts}\necho codex-cli 0.170.0\n')
    cm("update", "--all", check=True)
    starts.unlink()
    cm("doctor")
    assert starts.read_text() == "login status\n" * 2


def test_doctor_waits_five_seconds_for_all_that_hang_together(cm: Launched, house: Home) -> None:
    # The seconds are nobody else's, so that what is left behind can be told from other tests' processes.
    nap = f"sleep 600.{secrets.randbelow(10**9)}"
    hanging = f'#!/bin/sh\n[ "$1" != login ] || exec {nap}\necho codex-cli 0.170.0\n'
    holding = f'#!/bin/sh\n[ "$1" != login ] || {{ {nap} & echo Not logged in >&2; exit 1; }}\necho codex-cli 0.171.0\n'
    cm("update", "work", "--from", fake_codex(house.base / "hanging", "0.170.0", body=hanging), check=True)
    cm("update", OTHER_CLONE, "--from", fake_codex(house.base / "holding", "0.171.0", body=holding), check=True)
    cm("create", "new", "--from", house.base / "hanging", check=True)
    began = time.monotonic()
    found = doctor(cm)
    assert time.monotonic() - began < 9.9, "two that hang take their five seconds at the same time"
    assert [found[name]["authStatus"] for name in ("work", OTHER_CLONE, "new")] == [
        "unknown",
        "not_logged_in",
        "unknown",
    ]
    assert "did not answer in time" in found["work"]["errors"][0]
    assert nap not in run(["ps", "-e", "-o", "args="], env=house.env).out


def test_doctor_works_without_codex_on_path_and_with_a_broken_registry(cm: Launched, house: Home) -> None:
    env = {"PATH": f"{house.bin}:/usr/bin:/bin"}
    assert cm("doctor", env=env).code == 0
    not_json(house, Path())
    for words in (["doctor"], ["doctor", "--json"], ["doctor", "work"]):
        result = cm(*words, env=env)
        assert result.code == 1 and "is not JSON" in result.out + result.err and "Traceback" not in result.err
    assert cm("doctor", "--fix", env=env).code == 0
    assert sorted(rows(cm)) == [OTHER_CLONE, "work"]


def test_doctor_of_one_clone_speaks_of_that_one_alone(cm: Launched, house: Home) -> None:
    without_wrapper(house, Path())
    open_mirror_home(house, Path())
    assert cm("doctor", OTHER_CLONE).code == 0 and list(doctor(cm, OTHER_CLONE)) == [OTHER_CLONE]
    assert cm("doctor", "work").code == 1


EVERYTHING_AT_ONCE = [
    *(without_helper, older_wrapper, open_home, loose_prompt, loose_updater, unused_runtime),
    *(orphan_wrapper, left_behind, killed_change, open_mirror_home),
]


def test_doctor_fix_mends_everything_at_once_says_so_and_keeps_what_is_the_users(cm: Launched, house: Home) -> None:
    log_in(cm, "work")
    session, stranger = plant_session(house, "work"), house.bin / "stranger"
    stranger.write_text("not ours\n")
    clone = house.mirror / "clones" / "work" / ".codex-mirror"
    for make in EVERYTHING_AT_ONCE:
        make(house, clone)
    kept = {path: tree(path) for path in (session, stranger, clone / "home/.codex/auth.json", house.home)}
    result = cm("doctor", "--fix")
    assert result.code == 0 and result.err
    assert {path: tree(path) for path in kept} == kept
    assert cm("doctor", "--fix").err == "", "a second time there is nothing to mend"
    assert problems(cm) == {}


# --- wrapper install ---


def test_wrapper_install_moves_the_commands_and_remembers_where(cm: Launched, house: Home) -> None:
    elsewhere = house.home / "my bin"
    result = cm("wrapper", "install", "--bin-dir", elsewhere)
    assert result.code == 0 and str(elsewhere / "work") in result.out
    assert as_printed(house, result.err).code == 0
    assert str(elsewhere) in path_of_bash(house).split(":")
    assert (sorted(os.listdir(elsewhere)), os.listdir(house.bin)) == ([OTHER_CLONE, "work"], [])
    assert rows(cm)["work"]["wrapperPath"] == str(elsewhere / "work")
    assert run([elsewhere / "work", "--version"], env=house.env).out == "codex-cli 0.169.0\n"
    assert cm("wrapper", "install").code == 0
    assert (os.listdir(elsewhere), sorted(os.listdir(house.bin))) == ([], [OTHER_CLONE, "work"])


def test_wrapper_install_writes_what_is_missing_and_leaves_a_strangers_file(cm: Launched, house: Home) -> None:
    (house.bin / OTHER_CLONE).unlink()
    (house.bin / "work").write_text("precious\n")
    result = cm("wrapper", "install")
    assert result.code == 1 and str(house.bin / "work") in result.err
    assert (house.bin / "work").read_text() == "precious\n"
    assert run([house.bin / OTHER_CLONE, "--version"], env=house.env).code == 0


# --- path ---

SHELLS = [
    # The shell, a login file that is there already, and how it is started.
    ("bash", "", ["bash", "-ic"]),
    ("bash", ".profile", ["bash", "-lc"]),
    ("bash", ".bash_profile", ["bash", "-lc"]),
    ("bash", ".bash_login", ["bash", "-lc"]),
    ("zsh", "", ["zsh", "-ic"]),
    ("fish", "", ["fish", "-c"]),
    ("sh", "", ["sh", "-lc"]),
    ("sh", ".profile", ["sh", "-lc"]),
]


@pytest.fixture
def bare(house: Home) -> Home:
    """The home, with the wrapper directory not on PATH."""
    off_path(house, Path())
    return house


@pytest.mark.parametrize(("shell", "file", "argv"), SHELLS)
def test_after_path_setup_a_new_shell_finds_the_wrapper_and_path_does_not_grow(
    cm: Launched, bare: Home, shell: str, file: str, argv: list[str]
) -> None:
    if not shutil.which(shell):
        pytest.skip(f"needs {shell}")
    if file:
        (bare.home / file).write_text("export BEFORE=1\n")
    env = {"SHELL": f"/bin/{shell}", "TERM": "dumb"}
    assert run([*argv, "work --version"], env={**bare.env, **env}).code != 0
    status = cm("path", "status", env=env)
    assert f"{bare.bin} is not on PATH" in status.out and "codex-mirror path setup" in status.err
    setup = cm("path", "setup", env=env)
    assert setup.code == 0 and "to use it in this shell: " in setup.out
    assert run([*argv, "work --version"], env={**bare.env, **env}).out == "codex-cli 0.169.0\n"
    inner = " ".join([*argv, "'env'"])
    nested = run([*argv, inner], env={**bare.env, **env}).out
    [path] = [line for line in nested.splitlines() if line.startswith("PATH=")]
    assert path.removeprefix("PATH=").split(":").count(str(bare.bin)) == 1
    assert "is already put on PATH, by " in cm("path", "setup", env=env).out
    assert cm("path", "remove", env=env).code == 0
    assert run([*argv, "work --version"], env={**bare.env, **env}).code != 0


@pytest.mark.parametrize(("shell", "file"), [row[:2] for row in SHELLS])
def test_path_remove_leaves_the_home_as_it_was(cm: Launched, bare: Home, shell: str, file: str) -> None:
    if file:
        (bare.home / file).write_text("export BEFORE=1")
    before = tree(bare.home)
    for options in ([], ["--shell", shell]):
        assert cm("path", "setup", "--shell", shell).code == 0
        assert tree(bare.home) != before
        assert cm("path", "remove", *options).code == 0
        assert tree(bare.home) == before
    result = cm("path", "remove")
    assert result.code == 0 and tree(bare.home) == before


@pytest.mark.parametrize(("shell", "argv"), [(shell, argv) for shell, file, argv in SHELLS if not file])
def test_a_directory_with_a_hostile_name_is_inert_in_every_shell(
    cm: Launched, bare: Home, shell: str, argv: list[str]
) -> None:
    if not shutil.which(shell):
        pytest.skip(f"needs {shell}")
    hostile = bare.home / "a $(touch pwned) `touch pwned` 'b' \"c\" \\ ;*é"
    cm("wrapper", "install", "--bin-dir", hostile, check=True)
    cm("path", "setup", "--bin-dir", hostile, "--shell", shell, check=True)
    result = run([*argv, "work --version"], env={**bare.env, "TERM": "dumb"}, cwd=bare.home)
    assert result.out == "codex-cli 0.169.0\n"
    assert not (bare.home / "pwned").exists()


@pytest.mark.parametrize(
    ("shell", "file"),
    [("bash", ""), ("bash", ".profile"), ("bash", "my rc"), ("sh", ""), ("zsh", ""), ("zsh", "my rc")],
)
def test_the_printed_command_reloads_the_shell(cm: Launched, bare: Home, shell: str, file: str) -> None:
    if not shutil.which(shell):
        pytest.skip(f"needs {shell}")
    options = ["--rc-file", bare.home / file] if file == "my rc" else []
    if file == ".profile":
        cm("path", "setup", "--shell", shell, check=True)
        (bare.home / file).write_text("")
    setup = cm("path", "setup", "--shell", shell, *options, check=True)
    [command] = re.findall(r"to use it in this shell: (.*)", setup.out)
    if file == ".profile":
        (bare.home / ".bashrc").unlink()
    prompt = {"bash": "$ ", "sh": "$ ", "zsh": "% "}[shell]
    if os.geteuid() == 0:
        prompt = "# "
    options = {"bash": ["--noprofile", "--norc", "-i"], "sh": ["-i"], "zsh": ["-f", "-i"]}[shell]
    answers = [(prompt, f"{command}\n"), (prompt, "work --version\n"), ("codex-cli 0.169.0", "exit\n")]
    terminal = on_terminal([shell, *options], bare, *answers, PS1=prompt, TERM="dumb")
    assert "codex-cli 0.169.0" in terminal.err


@pytest.mark.parametrize("shell", ["tcsh", "nu"])
def test_a_shell_that_is_not_known_is_told_which_directory_it_needs(cm: Launched, bare: Home, shell: str) -> None:
    for state in ("now puts", "already"):
        setup = cm("path", "setup", env={"SHELL": f"/bin/{shell}"}, check=True)
        assert state in setup.out and "in this shell: " not in setup.out
        assert setup.out.splitlines()[-1].startswith(f"{shell} may not read")
        assert setup.out.rstrip().endswith(str(bare.bin))
    assert run(["sh", "-c", ". ./.profile; work --version"], env=bare.env, cwd=bare.home).out == "codex-cli 0.169.0\n"


def test_path_status_as_json_tells_directory_state_and_files(cm: Launched, bare: Home) -> None:
    cm("path", "setup", "--shell", "zsh", check=True)
    assert cm("path", "status", "--shell", "zsh", "--json").json() == {
        "binDir": str(bare.bin),
        "onPath": False,
        "files": {str(bare.home / ".zshrc"): True},
        "directories": {str(bare.bin): False},
        "named": {str(bare.home / ".zshrc"): [str(bare.bin)]},
    }
    on = cm("path", "status", "--shell", "bash", "--json", env={"PATH": f"{bare.bin}:{bare.env['PATH']}"})
    assert on.code == 0 and on.json()["onPath"] is True and not any(on.json()["files"].values())


def test_path_status_names_the_directories_that_the_block_really_names(cm: Launched, bare: Home) -> None:
    other = bare.home / "bin"
    cm("path", "setup", "--shell", "zsh", "--bin-dir", other, check=True)
    plain = cm("path", "status", "--shell", "zsh")
    assert plain.code == 1 and f".zshrc puts {other} on PATH" in plain.out and "path setup" in plain.err
    assert not any(cm("path", "status", "--shell", "zsh", "--json").json()["files"].values())
    asked = cm("path", "status", "--shell", "zsh", "--bin-dir", other)
    assert asked.code == 1 and f"{other} is not on PATH" in asked.out and str(bare.bin) not in asked.out
    assert asked.err == f"to use {other} in this shell: exec zsh\n"
    assert "codex-mirror.fish has no codex-mirror block" in cm("path", "status", "--shell", "fish").out


def test_path_status_looks_where_the_clones_commands_are(cm: Launched, bare: Home) -> None:
    new = bare.base / "new"
    env = {"CODEX_MIRROR_BIN_DIR": str(new), "PATH": f"{new}:{bare.env['PATH']}"}
    found = cm("path", "status", "--shell", "zsh", env=env)
    assert found.code == 1 and f"{new} is on PATH\n{bare.bin} is not on PATH\n" in found.out
    assert found.err == f"to add it: codex-mirror path setup --bin-dir '{bare.bin}' --shell zsh\n"
    assert cm("path", "status", "--shell", "zsh", "--bin-dir", new, env=env).code == 0
    env["PATH"] = f"{bare.bin}:{env['PATH']}"
    assert cm("path", "status", "--shell", "zsh", env=env).code == 0


REFUSED_RC_FILES = {
    "outside of the home": "{base}/rc",
    "a link": "{home}/link",
    "through a link": "{home}/dir/rc",
    "above the home": "{home}/../rc",
}


@pytest.mark.parametrize("case", REFUSED_RC_FILES)
@pytest.mark.parametrize("verb", ["setup", "remove"])
def test_an_rc_file_elsewhere_or_behind_a_link_is_refused(cm: Launched, bare: Home, case: str, verb: str) -> None:
    (bare.base / "rc").write_text("theirs\n")
    (bare.home / "link").symlink_to(bare.base / "rc")
    (bare.home / "dir").symlink_to(bare.base)
    before = household_tree(bare)
    result = cm("path", verb, "--rc-file", REFUSED_RC_FILES[case].format(base=bare.base, home=bare.home))
    assert (result.code, result.out, household_tree(bare)) == (5, "", before)


def test_an_rc_file_of_ones_own_is_taken_and_given_back(cm: Launched, bare: Home) -> None:
    (bare.home / "my rc").write_text("# mine\n")
    before = tree(bare.home)
    assert cm("path", "setup", "--rc-file", bare.home / "my rc").code == 0
    assert run(["sh", "-c", '. "./my rc"; work --version'], env=bare.env, cwd=bare.home).out == "codex-cli 0.169.0\n"
    assert cm("path", "remove", "--rc-file", bare.home / "my rc").code == 0
    assert tree(bare.home) == before


# --- what is the same everywhere ---

EXIT_CODES = {
    "done": (["list"], 0),
    "doctor found problems": (["doctor"], 1),
    "failed": (["rollback", "work"], 1),
    "no such command": (["lits"], 2),
    "half a command": (["path"], 2),
    "no such option": (["list", "--fill"], 2),
    "an abbreviated option": (["list", "--ful"], 2),
    "a missing name": (["run"], 2),
    "one name too many": (["remove", "work", "two"], 2),
    "not found": (["remove", "wrok"], 3),
    "exists": (["create", "work"], 5),
    "would lose data": (["remove", OTHER_CLONE], 5),
    "busy": (["create", "new"], 6),
}


@pytest.mark.parametrize("case", EXIT_CODES)
def test_the_exit_code_tells_the_class_of_the_end(cm: Launched, house: Home, case: str) -> None:
    words, code = EXIT_CODES[case]
    plant_session(house, OTHER_CLONE)
    if case == "doctor found problems":
        without_wrapper(house, Path())
    with (house.mirror / "lock").open() as lock:
        if case == "busy":
            fcntl.flock(lock, fcntl.LOCK_EX)
        result = cm(*words, env={"CODEX_MIRROR_LOCK_TIMEOUT": "0"})
    assert result.code == code
    if case not in ("done", "doctor found problems"):
        assert result.out == "" and len(result.err.splitlines()) >= 2


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_at_the_question_ends_it_and_changes_nothing(
    cm: Launched, house: Home, number: signal.Signals, code: int
) -> None:
    log_in(cm, "work")
    before = household_tree(house)
    terminal = Terminal(cm.argv("remove", "work"), house)
    terminal.expect("type 'work'")
    terminal.process.send_signal(number)
    result = terminal.end()
    assert (result.code, household_tree(house)) == (code, before)
    assert "Traceback" not in result.err


def test_ctrl_c_at_the_question_is_130(cm: Launched, house: Home) -> None:
    log_in(cm, "work")
    terminal = Terminal(cm.argv("remove", "work"), house)
    terminal.expect("type 'work'")
    # Python sees a Ctrl-C that comes right before it waits only with the next one.
    deadline = time.monotonic() + 30
    while terminal.process.poll() is None and time.monotonic() < deadline:
        terminal.type("\x03")
        with contextlib.suppress(subprocess.TimeoutExpired):
            terminal.process.wait(5)
    assert terminal.end().code == 130


def test_a_bug_shows_its_traceback_where_to_report_it_and_exits_70(cm: Launched, house: Home) -> None:
    broken = launcher_start().replace(
        "from codex_mirror", "import codex_mirror; codex_mirror.read_registry = None; from codex_mirror"
    )
    library = re.search(r"(\S+/lib) ", cm.program.read_text())
    assert library
    result = run([sys.executable, "-I", "-S", "-c", broken, library[1], "codex-mirror", "list"], env=house.env)
    assert (result.code, result.out) == (70, "")
    assert "Traceback" in result.err and f"{codex_mirror.REPOSITORY}/issues" in result.err


JSON_COMMANDS = [
    *(
        "create new",
        "list",
        "list --full",
        "usage",
        "doctor",
        "versions",
        "update work",
        "update --all",
        "rollback work",
    ),
    *("rename work office", "remove work", "logout work --yes", "env work", "wrapper install"),
    *("path status", "path setup", "path remove", "set work --keep-env OPENAI_PROJECT"),
    *("use", "use work", "use --unset", "which", "log", "move-home", "shim install", "shim remove"),
    *("export work --output export.tar.gz", "import export.tar.gz --name new"),
    *("sessions", f"handover {an_id()[:13]} {OTHER_CLONE}"),
]


@pytest.mark.parametrize("words", JSON_COMMANDS)
def test_json_is_exactly_one_document_on_stdout(cm: Launched, house: Home, words: str) -> None:
    if words.startswith("rollback"):
        install_codex(house, "0.170.0")
        cm("update", "work", check=True)
    if words == "which":
        cm("use", "work", check=True)
    if words.startswith("import"):
        cm("export", "work", "--output", "export.tar.gz", check=True)
    if words.startswith(("sessions", "handover")):
        write(house.clone_home("work") / ".codex", an_id(), Shape().beginning(an_id()))
    result = cm(*words.split(), "--json")
    assert result.code == 0, result.err
    assert isinstance(result.json(), list | dict)


def test_every_command_that_takes_json_is_in_that_table() -> None:
    rows = [command.words for command in codex_mirror.COMMANDS if not command.passes_on]
    spoken = [tuple(words.split()) for words in JSON_COMMANDS]
    assert [words for words in rows if not any(one[: len(words)] == words for one in spoken)] == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completions_as_json_are_the_lines_of_the_script(cm: Launched, shell: str) -> None:
    lines = cm("completion", "--json", shell, check=True).json()["lines"]
    assert "\n".join([*lines, ""]) == cm("completion", shell, check=True).out


def test_an_export_to_stdout_is_the_export_also_with_json(cm: Launched) -> None:
    plain, asked = (cm("export", "work", "-o", "-", *more, check=True).out for more in ([], ["--json"]))
    assert asked == plain != ""


def test_a_name_is_trimmed_wherever_it_is_told(cm: Launched, house: Home) -> None:
    assert cm("export", " work ", check=True).out.startswith(
        f"exported 'work' to {house.home}/work.codex-mirror.tar.gz"
    )
    assert [row["name"] for row in cm("update", " work", "--json", check=True).json()] == ["work"]
    assert "'work' has no earlier Codex" in cm("rollback", "work ").err
    assert cm("rename", " work ", " office ", check=True).out.startswith("'work' is now 'office'")


def test_an_export_to_a_closed_stdout_is_no_export(cm: Launched) -> None:
    result = run(["sh", "-c", '"$@" >&-', "sh", *cm.argv("export", "work", "-o", "-")], env=cm.home.env)
    assert result.code == 2 and "not written to a terminal" in result.err


def test_an_export_comes_in_through_a_pipe_and_is_asked_for_where_stdin_is_closed(cm: Launched, house: Home) -> None:
    piped = cm("export", "work", "-o", "-", check=True).out
    assert cm("import", "-", "--name", "new", stdin=os.fsencode(piped), check=True).out.startswith("imported 'new'")
    argv = ["sh", "-c", 'exec "$@" <&-', "sh", *cm.argv("import", "-", "--name", "another")]
    closed = run(argv, env=house.env)
    assert closed.code == 2 and "stdin is a terminal" in closed.err


def test_a_pipe_that_is_slow_keeps_nobody_waiting(cm: Launched, house: Home) -> None:
    whole = os.fsencode(cm("export", "work", "-o", "-", check=True).out)
    importing = cm.start("import", "-", "--name", "new", stdin=subprocess.PIPE)
    assert importing.stdin is not None
    importing.stdin.write(whole[:20])
    importing.stdin.flush()
    wait_until(lambda: pipe_is_empty(importing), "the beginning was read")
    assert cm("rename", OTHER_CLONE, "renamed", env={"CODEX_MIRROR_LOCK_TIMEOUT": "0"}).code == 0
    assert not list((house.base / "t").iterdir()) and not (house.mirror / "journal.json").exists()
    assert finish(importing, stdin=whole[20:]).out.startswith("imported 'new'")
    assert not list((house.base / "t").iterdir())


def pipe_is_empty(process: Process) -> bool:
    assert process.stdin is not None
    waiting: int = struct.unpack("i", fcntl.ioctl(process.stdin, termios.FIONREAD, b"0000"))[0]
    return waiting == 0


def test_an_export_comes_in_through_any_pipe_and_from_no_device(cm: Launched, house: Home) -> None:
    os.mkfifo(house.base / "fifo")
    for source in ('<("$0" export work -o -)', '"$1" & "$0" export work -o - > "$1"; wait $!'):
        script = f'"$0" import --name new {source}'
        made = run(["bash", "-c", script, cm.program, house.base / "fifo"], env=house.env, check=True)
        assert made.out.startswith("imported 'new'")
        cm("remove", "new", check=True)
    for device in ("/dev/null", "/dev/zero"):
        refused = cm("import", device, "--name", "third")
        assert refused.code == 1 and f"{device} is neither a file nor a directory" in refused.err
    assert "nowhere doesn't exist" in cm("import", "nowhere").err


def test_json_leaves_stdout_empty_when_there_is_nothing_but_an_error(cm: Launched, house: Home) -> None:
    not_json(house, Path())
    for words in ("list", "usage", "update --all"):
        result = cm(*words.split(), "--json")
        assert result.code == 1 and result.out == "" and result.err


def row_of(house: Home, name: str) -> dict[str, Any]:
    rows = json.loads((house.mirror / "registry.json").read_bytes())["clones"]
    [row] = [row for row in rows if row["name"] == name]
    return dict(row)


ABOUT_ONE_CLONE = [
    *("rename work office", "set work --keep-env OPENAI_PROJECT", "set work --home isolated", "remove work"),
    *("logout work --yes", "rollback work", "login work status", "export work -o x.gz", "use work"),
]


@pytest.mark.parametrize("words", ABOUT_ONE_CLONE)
def test_the_document_of_a_change_names_its_clone(cm: Launched, house: Home, words: str) -> None:
    if words.startswith("rollback"):
        install_codex(house, "0.170.0")
        [row] = cm("update", "work", "--json", check=True).json()
        assert (row["name"], row["id"], row["ok"]) == ("work", row_of(house, "work")["id"], True)
    row = row_of(house, "work")
    word, *rest = words.split()
    said = cm(word, "--json", *rest).json()
    assert said.keys() >= {"ok", "lines", "notes"} and said["id"] == row["id"]
    assert said["name"] == ("office" if word == "rename" else "work")
    paths = {"use": str(house.home), "export": str(house.home / "x.gz")}
    assert said["path"] == paths.get(word, row["rootPath"])


@pytest.mark.parametrize("words", ["path setup", "path remove", "shim install", "shim remove", "wrapper install"])
def test_the_document_of_a_change_to_a_directory_names_it(cm: Launched, house: Home, words: str) -> None:
    said = cm(*words.split(), "--json", env={"SHELL": "/bin/bash"}, check=True).json()
    assert said.keys() == {"ok", "lines", "notes", "path"}
    assert said["path"] == str(house.mirror / "shim" if words.startswith("shim") else house.bin)


ERRORS_AS_JSON = [
    ("create work", 5, "already exists", "choose another name"),
    ("run --json nobody", 3, "'nobody' was not found", ""),
    ("rename nobody x", 3, "'nobody' was not found", "codex-mirror list"),
    ("nonsense", 2, "no command 'nonsense'", ""),
    ("list --nonsense", 2, "--nonsense", "--help"),
    ("--json list --nonsense", 2, "--nonsense", "--help"),
    ("path", 2, "status, setup, remove", ""),
    ("remove work", 5, "no terminal to ask on", "add --yes"),
]


@pytest.mark.parametrize(("words", "code", "error", "hint"), ERRORS_AS_JSON)
def test_an_error_as_json_is_one_object_on_stderr(
    cm: Launched, house: Home, words: str, code: int, error: str, hint: str
) -> None:
    log_in(cm, "work")
    result = cm(*words.split(), *([] if "--json" in words else ["--json"]))
    said = json.loads(result.err)
    assert (result.code, result.out) == (code, "") and said.keys() == {"ok", "error", "hint", "code", "lines"}
    assert (said["ok"], said["code"]) == (False, code) and error in said["error"]
    assert hint.replace("codex-mirror", cm.program.name) in said["hint"]
    if words == "remove work":
        assert said["lines"][0] == "removing 'work' deletes"


def test_an_error_as_json_has_what_was_said_before_and_hides_what_is_to_be_hidden(cm: Launched, house: Home) -> None:
    with open(house.mirror / "lock", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        result = cm("rename", "work", "office", "--json", env={"CODEX_MIRROR_LOCK_TIMEOUT": "0.1"})
    said = json.loads(result.err)
    assert said["lines"] == ["waiting for another program"] and said["code"] == 6
    said = json.loads(cm("rename", "who@example.org", "x", "--json", "--redact").err)
    assert "who@example.org" not in str(said)
    said = json.loads(cm("rename", "nobody\x1b[2J", "x", "--json", "--debug").err)
    assert "codex_mirror.py" in "".join(said["lines"]) and "\x1b" not in "".join(said["lines"])


INTERRUPTING = "lambda _: (_ for _ in ()).throw(KeyboardInterrupt)"


def test_a_bug_and_a_broken_off_command_are_one_object_on_stderr_too(cm: Launched, house: Home) -> None:
    for deed, code in (("None", 70), (INTERRUPTING, 130)):
        broken = launcher_start().replace(
            "from codex_mirror", f"import codex_mirror; codex_mirror.read_registry = {deed}; from codex_mirror"
        )
        library = re.search(r"(\S+/lib) ", cm.program.read_text())
        assert library
        argv = [sys.executable, "-I", "-S", "-c", broken, library[1], "codex-mirror", "list", "--json"]
        result = run(argv, env=house.env)
        assert (result.code, result.out, json.loads(result.err)["code"]) == (code, "", code)


def test_what_is_said_beside_a_document_is_said(cm: Launched, house: Home) -> None:
    """Only an error is a document of its own."""
    result = cm("wrapper", "install", "--json", env={"PATH": "/usr/bin:/bin"}, check=True)
    assert result.json()["ok"] and result.err.splitlines()[0] == result.json()["notes"][0]


@pytest.mark.parametrize("words", ["doctor", "wrapper install"])
def test_commands_in_data_are_those_that_this_caller_types(house: Home, words: str) -> None:
    """A program that isn't installed is named there as it was started, as in the texts for people."""
    env = {"PATH": f"{house.base}/npm/bin:/usr/bin:/bin", "CODEX_MIRROR_BIN_DIR": str(house.base / "x")}
    told = Mirror(house)(*words.split(" "), "--json", env=env).out
    assert f"python3 {PROGRAM} " in told and "codex-mirror path" not in told and "codex-mirror doctor" not in told


def test_a_quiet_removal_that_is_agreed_to_is_quiet(cm: Launched, house: Home) -> None:
    log_in(cm, "work")
    write(house.clone_home("work") / ".codex", an_id(), Shape().beginning(an_id()))
    assert cm("remove", "work", "-y", "-q") == Result(0, "", "")
    log_in(cm, OTHER_CLONE)
    assert "removing" in cm("remove", OTHER_CLONE, "-q").err


LOCALES: list[tuple[dict[str, str | None], str]] = [
    ({"LANG": None}, ""),
    ({"LANG": "C"}, ""),
    ({"LANG": "C", "LC_CTYPE": "C"}, "C"),
    ({"LANG": "C", "LC_CTYPE": "POSIX"}, "POSIX"),
    ({"LANG": None, "LC_CTYPE": "C.UTF-8"}, "C.UTF-8"),
    ({"LANG": None, "LC_ALL": "C"}, ""),
    ({"LANG": "C", "LC_CTYPE": "", "PYTHONUTF8": "1"}, ""),
]


@pytest.mark.parametrize(("env", "told"), LOCALES)
def test_a_program_in_a_clone_has_the_caller_s_locale_and_not_python_s(
    cm: Launched, env: dict[str, str | None], told: str
) -> None:
    assert cm("exec", "work", "--", "sh", "-c", 'echo "$LC_CTYPE"', env=env, check=True).out == f"{told}\n"


def test_a_new_clone_below_the_temporary_directory_is_told_of_its_warnings(cm: Launched, house: Home) -> None:
    result = cm("create", "new", "--root", house.base / "t" / "new", check=True)
    assert f"'new' is in the temporary directory {house.base}/t: its Codex warns" in result.err
    assert "temporary" not in cm("create", "other", check=True).err


def test_quiet_prints_data_and_errors_only(fresh: Launched) -> None:
    home = fresh.home
    assert fresh("create", "work", "--quiet") == Result(0, "", "")
    install_codex(home, "0.170.0")
    assert fresh("update", "work", "-q") == Result(0, "", "")
    assert fresh("list", "--quiet").out.startswith("work\t0.170.0\t")
    assert fresh("doctor", "-q").out.startswith("✓ work")
    assert fresh("path", "setup", "-q", env={"SHELL": "/bin/sh"}) == Result(0, "", "")
    (home.bin / "work").write_text("precious\n")
    broken = fresh("wrapper", "install", "-q")
    assert broken.code == 1 and str(home.bin / "work") in broken.err
    (home.bin / "work").unlink()
    assert fresh("remove", "work", "-q") == Result(0, "", "")
    assert fresh("remove", "work", "-q").err.startswith("codex-mirror: clone 'work' was not found")


def test_redact_hides_every_email(cm: Launched, house: Home) -> None:
    changed_account(house, Path())
    plant_login(house, OTHER_CLONE, chatgpt_login("carl@example.org", "ws-3", "user-3"))
    words = ["list", "list --full", "list --json", "doctor", "doctor --json", "usage", "usage --json"]
    for line in words:
        argv = cm.argv(*line.split(), "--redact")
        shown = on_terminal(argv, house, columns=200).err + run(argv, env=house.env).out
        assert "example.org" not in shown, line
    assert "bob@example.org" in on_terminal(cm.argv("list"), house, columns=200).err
    for line, prompt in (("remove work", "type"), ("logout work", "[y/N]"), ("logout work --local", "[y/N]")):
        for options in (["--redact"], []):
            asked = on_terminal(cm.argv(*line.split(), *options), house, (prompt, "\n"))
            assert ("example.org" in asked.err) is (not options), line


def test_a_redacted_table_keeps_its_columns(cm: Launched, house: Home) -> None:
    plant_login(house, OTHER_CLONE, chatgpt_login("carl.with.a.long.name@example.org"))
    heading, *lines = on_terminal(cm.argv("list", "--redact"), house, columns=200).err.splitlines()
    start = heading.index("CODEX")
    assert "c…@…" in lines[1] and [line[start - 2 :].split()[0] for line in lines] == ["0.169.0", "0.169.0"]
    for columns in range(20, 60, 5):
        assert "carl" not in on_terminal(cm.argv("list", "--redact"), house, columns=columns).err


@pytest.mark.parametrize("env", [{"NO_COLOR": "1"}, {"TERM": "dumb"}, {}])
def test_no_colour_where_none_is_wanted(cm: Launched, house: Home, env: dict[str, str]) -> None:
    install_codex(house, "0.170.0")
    without_wrapper(house, Path())
    for words in ("create new", "list", "doctor", "--help", "help list", "list --help", "update work"):
        shown = on_terminal(cm.argv(*words.split()), house, **env).err
        assert not re.search(r"\x1b\[[\d;]*m", shown)
        if env.get("TERM") == "dumb":
            assert "\x1b" not in shown, words


def test_no_control_character_reaches_the_terminal(cm: Launched, house: Home) -> None:
    plant_login(house, "work", chatgpt_login("a\x1b[31mnn\u202e@example.org\n\x07"))
    prompts = {"remove work": "type", "logout work": "[y/N]", "logout work --local": "[y/N]"}
    for words in (*prompts, "list", "list --full", "doctor", "run \x1b[31m", "\x1b]0;x"):
        answers = [(prompts[words], "\n")] if words in prompts else []
        shown = on_terminal(cm.argv(*words.split()), house, *answers, columns=200).err
        shown += "" if answers else cm(*words.split()).err
        assert not re.search("[\x00-\x08\x0b-\x0c\x0e-\x1f\x7f\x80-\x9f\u202e]", shown), words
    odd = placed(house, "x\x1b[31m/cm.py")
    for words in ("list --help", "help list", "list --nothing"):
        result = run([odd, *words.split()], env=house.env)
        assert "\\x1b[31m" in result.out + result.err and "\x1b" not in result.out + result.err, words


def test_the_help_of_a_command_has_no_colour_on_any_python() -> None:
    """From Python 3.14 on argparse colours what it writes for a terminal."""
    for command in codex_mirror.COMMANDS:
        assert codex_mirror.parser_of(command, "x").color is False


# --- help ---


def test_the_install_line_is_the_readmes(cm: Launched) -> None:
    assert codex_mirror.INSTALL_LINE in (REPO / "README.md").read_text(encoding="utf-8").splitlines()


def test_the_first_word_of_every_command_elsewhere_is_no_command_here() -> None:
    commands = {" ".join(command.words) for command in codex_mirror.COMMANDS}
    firsts = {"help", *(command.words[0] for command in codex_mirror.COMMANDS)}
    assert not firsts & {*codex_mirror.COMMANDS_ELSEWHERE, *codex_mirror.ABOUT_ITSELF}
    assert {*codex_mirror.COMMANDS_ELSEWHERE.values()} <= commands | {"help"}


def flat(text: str) -> str:
    return " ".join(text.split())


def test_the_programs_help_names_every_command_option_exit_code_variable_and_file(cm: Launched) -> None:
    result = cm("--help")
    assert (result.code, result.err) == (0, "")
    shown = flat(result.out)
    for command in codex_mirror.COMMANDS:
        assert f"{' '.join(command.words)} {command.summary}" in shown
    for argument in codex_mirror.COMMON:
        assert f"{', '.join(argument.flags)} {argument.help}" in shown
    topics = [cm("help", topic) for topic in codex_mirror.TOPICS]
    assert all((one.code, one.err) == (0, "") for one in topics)
    assert all(f"codex-mirror help {topic}" in shown for topic in codex_mirror.TOPICS)
    shown += flat(" ".join(one.out for one in topics))
    for fact in (
        "0 done",
        "1 failed",
        "2 wrong usage",
        "3 no such clone",
        "5 refused",
        "6 busy",
        "70 a bug",
        "130 interrupted",
    ):
        assert fact in shown
    sources = cm.program.read_text(encoding="utf-8") + (REPO / "install.sh").read_text(encoding="utf-8")
    variables = set(re.findall("CODEX_MIRROR_[A-Z_]+", sources)) - {"CODEX_MIRROR_URL"}  # The installer's own.
    for fact in (*variables, "NO_COLOR", "registry.json", *codex_mirror.EXAMPLES):
        assert fact in shown
    assert all(line == line.rstrip() and len(line) <= 100 for line in result.out.splitlines())
    for words in (["-h"], ["help"], ["help", "help"], ["--debug", "--help"]):
        assert cm(*words) == result


@pytest.mark.parametrize("command", codex_mirror.COMMANDS, ids=lambda command: " ".join(command.words))
def test_the_help_of_a_command_is_complete_without_the_readme(cm: Launched, command: codex_mirror.Command) -> None:
    result = cm(*command.words, "--help")
    assert (result.code, result.err) == (0, "")
    shown = flat(result.out)
    assert command.summary[1:] in shown and "usage: codex-mirror " + " ".join(command.words) in shown
    for argument in (*command.arguments, *codex_mirror.common_arguments(command)):
        assert flat(argument.help) in shown
        assert all(flag in shown for flag in argument.flags if flag.startswith("-"))
    assert command.examples and all(flat(example) in shown for example in command.examples)
    assert result.out.endswith("\n\nsee also: codex-mirror help environment, codex-mirror help exit-codes\n")
    assert cm(*command.words, "-h") == cm("help", *command.words) == result


def test_what_starts_another_program_promises_no_json(cm: Launched) -> None:
    for word in ("run", "exec", "login"):
        assert "--json" not in cm(word, "--help").out and "--yes" in cm(word, "--help").out
    assert "--json" in cm("logout", "--help").out


@pytest.mark.parametrize("word", ["path", "wrapper"])
def test_the_help_of_a_family_is_its_rows(cm: Launched, word: str) -> None:
    result = cm(word, "--help")
    assert (result.code, result.err) == (0, "")
    rows = [f"{' '.join(one.words)} {one.summary}" for one in codex_mirror.COMMANDS if one.words[0] == word]
    shown = [flat(line) for line in result.out.splitlines()]
    assert shown[0] == f"usage: codex-mirror {word} COMMAND …" and shown[2:-2] == rows
    assert cm(word, "-h") == cm("--debug", word, "--help") == cm(word, "--help", "install") == result


def test_help_on_a_family_or_a_topic_needs_no_home(cm: Launched) -> None:
    env = {"HOME": None}
    for words, said in ((["path"], "path setup"), (["environment"], "CODEX_MIRROR_HOME"), (["create"], "--root DIR")):
        result = cm("help", *words, env=env)
        assert (result.code, result.err) == (0, "") and said in result.out
    assert cm("help", "path").out == cm("path", "--help").out


def test_the_version_is_one_line(cm: Launched) -> None:
    for words in (["--version"], ["-V"], ["-v"], ["--debug", "--version"]):
        assert cm(*words) == Result(0, f"codex-mirror {codex_mirror.__version__}\n", "")


def test_what_needs_a_clone_says_where_there_is_none(cm: Launched) -> None:
    for words in ("usage --best", "usage --best --fresh", "usage", "doctor", "wrapper install"):
        result = cm(*words.split(), env={"CODEX_MIRROR_HOME": str(cm.home.base / "new")})
        assert "there are no clones yet; next: codex-mirror create work\n" in (result.out + result.err), words


def test_without_a_command_and_without_a_terminal_the_help_is_an_error(cm: Launched) -> None:
    result = cm()
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith(cm("--help").out) and "hint: " in result.err


# What is typed, and the command that is suggested: as two words, behind dashes, or behind another program's noun.
MEANT = {
    "log in office": "login office",
    "log out x": "logout x",
    "roll back x": "rollback",
    "move home": "move-home",
    "hand over a b": "handover",
    "--list": "list",
    "-create x": "create",
    "--rm x": "remove",
    "remov": "remove",
    "remvoe x": "remove",
    "auth status": "list",
    "auth logout x": "logout",
    "clones create x": "create",
    "docker run x": "run",
    "nvm ls-remote": "versions",
    "shim remoev": "shim remove",
}
OPTIONS_MEANT = {
    "list -json": "--json",
    "list --JSON": "--json",
    "list x json": "--json",
    "doctor x fix": "--fix",
    "create x --dry": "--dry-run",
    "sessions x here": "--here",
    "set x env A=b": "--env",
    "set x --accept": "--accept-account",
    "update x --forc": "--force",
    "--dubug list": "--debug",
}
EMPTY = [("resume", ""), ("handover", "", "x"), ("use", "", "."), ("which", ""), ("import", ""), ("path", "status", "")]
# What may lose something is suggested to nobody who may have meant another thing.
UNCERTAIN = (
    "remote",
    "renove x",
    "logot-all",
    "roll",
    "path remote",
    "remove x --fork",
    "remove x force",
    "list --all",
)

USAGE_ERRORS = [
    (["lits"], "there is no command 'lits'\nhint: did you mean 'codex-mirror list'?"),
    (["New"], "did you mean 'codex-mirror create'?"),
    *(
        ([word], f"did you mean 'codex-mirror {command}'?")
        for command, words in {
            "create": ("new", "add", "clone", "crate", "create-clone"),
            "remove": ("rm", "delete", "delte"),
            "list": ("ls", "status", "show", "accounts", "clones"),
            "login": ("auth", "log-in", "tokens"),
            "usage": ("limits",),
            "use": ("switch",),
            "update": ("upgrade", "update-all"),
            "rollback": ("revert", "undo"),
            "versions": ("ls-remote",),
            "sessions": ("history", "session"),
            "path setup": ("setup", "path-setup", "path_setup"),
            "path": ("paths",),
            "run office": ("ofice", "OFFICE"),
            "help": ("hlep", "docs", "man"),
        }.items()
        for word in words
    ),
    (["self-update"], f"hint: to install the newest: {codex_mirror.INSTALL_LINE}\n"),
    (["uninstall"], "codex-mirror remove NAME"),
    (["uninstall"], f"{codex_mirror.INSTALL_LINE} -s -- --uninstall"),
    (["office"], "'office' is a clone, not a command\nhint: codex-mirror run office starts it"),
    *(([word], "codex-mirror --help lists the commands") for word in ("zzzz", "v", "alias", "worktree")),
    (["version"], "codex-mirror --version shows its own version"),
    (["menu"], "codex-mirror without a command opens the menu"),
    (["--name=work"], "'--name' goes after its command: create, import\nhint: codex-mirror create --help"),
    (["--all"], "'--all' goes after its command: update, versions"),
    (["help", "office"], "'office' is a clone, not a command\nhint: codex-mirror run office starts it"),
    (["office", "--help"], "'office' is a clone, not a command\nhint: codex-mirror run office starts it"),
    (["office", "login"], "did you mean 'codex-mirror login office'?"),
    (["office", "versions"], "hint: codex-mirror run office starts it"),
    *(([*words.split()], f"did you mean 'codex-mirror {command}'?") for words, command in MEANT.items()),
    *(([*words.split()], f"did you mean '{option}'?") for words, option in OPTIONS_MEANT.items()),
    *(([*words.split()], " --help") for words in UNCERTAIN),
    (["create other"], "did you mean 'codex-mirror create other', without the quotes?"),
    ([""], "the command is empty (is a variable unset?)"),
    (["help", " "], "the command is empty (is a variable unset?)"),
    (["--from", "x", "import", "y"], "'--from' goes after its command\nhint: codex-mirror import --help"),
    (["path", "--bin-dir", "x", "status"], "'path' needs a subcommand: status, setup, remove"),
    (["shim", "--status"], "'shim' needs a subcommand: install, remove"),
    (["--uninstall"], "codex-mirror remove NAME removes a clone"),
    (["create", "--yes=no"], "--yes takes no value"),
    (["export", "x", "-o"], "--output needs a value"),
    (["help", "exit-code"], "there is no topic 'exit-code'\nhint: did you mean 'codex-mirror help exit-codes'?"),
    (["help", "rm"], "did you mean 'codex-mirror remove'?"),
    (["--jsn", "list"], "there is no option '--jsn'\nhint: did you mean '--json'?"),
    (["help", "crate"], "did you mean 'codex-mirror create'?"),
    (["wrapper"], "'wrapper' needs a subcommand: install"),
    (["path"], "'path' needs a subcommand: status, setup, remove"),
    (["path", "stats"], "there is no 'path stats', only status, setup, remove"),
    (["path", "stats"], "did you mean 'codex-mirror path status'?"),
    (["list", "--fill"], "there is no option '--fill'\nhint: did you mean '--full'?"),
    (["create", "new", "--setings-from=x"], "did you mean '--settings-from'?"),
    (["list", "--zzzz"], "there is no option '--zzzz'\nhint: codex-mirror list --help"),
    (["list", "work", "other"], "too many arguments: other"),
    (["list", "--json=1"], "--json takes no value"),
    (["rename"], "missing: NAME, NEW"),
    (["usage", "--timeout", "soon"], "--timeout needs a number, not 'soon'"),
    (["sessions", "--limit", "-1"], "--limit -1 is not a number of sessions\nhint: --limit 30"),
    (["run"], "NAME"),
    (["update", "--from"], "--from needs a value"),
    (["path", "setup", "--shell", "csh"], "--shell can't be 'csh'; use one of bash, zsh, fish, sh"),
    (["env", "work", "--shell", "csh"], "csh"),
    (["create", "new", "--home", "else"], "--home can't be 'else'; use one of isolated, shared"),
    (["create", "new", "--root", ""], "the value of --root is empty (is a variable unset?)"),
    (["create", "new", "--from="], "the value of --from is empty"),
    (["create", "new", "--share", ""], "the value of --share is empty"),
    (["create", "new", "--settings-from", "", "--json"], "the value of --settings-from is empty"),
    (["create", ""], "the name is empty (is a variable unset?)\nhint: codex-mirror create --help"),
    (["update", ""], "the name is empty (is a variable unset?)\nhint: codex-mirror update --help"),
    (["remove", "", "--yes"], "the name is empty (is a variable unset?)\nhint: codex-mirror remove --help"),
    (["rename", "", "x"], "the name is empty (is a variable unset?)\nhint: codex-mirror rename --help"),
    *(([*words], "an argument is empty (is a variable unset?)\nhint: codex-mirror ") for words in EMPTY),
    (["export", "work", "-o", ""], "the value of -o is empty"),
    (["doctor", "", "--fix"], "the name is empty"),
    (["usage", ""], "the name is empty"),
    (["usage", " "], "the name is empty"),
    (["run", "", "x"], "the name is empty"),
    (["path", "setup", "--bin-dir", ""], "the value of --bin-dir is empty"),
]


@pytest.mark.parametrize(("words", "said"), USAGE_ERRORS)
def test_a_usage_error_says_what_was_wrong_on_stderr(cm: Launched, words: list[str], said: str) -> None:
    if any("ice" in word.lower() for word in words):
        cm("create", "office")
    before = household_tree(cm.home)
    result = cm(*words)
    assert (result.code, result.out) == (2, "") and said in result.err
    assert household_tree(cm.home) == before


@pytest.mark.parametrize("words", ["list json", "doctor fix", "update all --force", "resume last", "use default"])
def test_a_name_that_is_an_option_without_its_dashes_is_told_so(cm: Launched, words: str) -> None:
    cm("create", "office")
    result = cm(*words.split())
    assert result.code == 3 and result.err.endswith(f"\nhint: did you mean '--{words.split()[1]}'?\n")
    assert "'--" not in cm("run", "x", "json").err


# --- the command table ---


def row_values(command: codex_mirror.Command) -> dict[str, Any]:
    """The handler's keyword arguments that the row leads to, each with what it is when it isn't given."""
    parser = codex_mirror.parser_of(command, "codex-mirror")
    common = {argument.flags[-1].lstrip("-") for argument in codex_mirror.COMMON}
    ours = {*common, "help", "dry_run"}
    values = {action.dest: action.default for action in parser._actions if action.dest not in ours}
    return {**values, "arguments": ()} if command.passes_on else values


@pytest.mark.parametrize("command", codex_mirror.COMMANDS, ids=lambda command: " ".join(command.words))
def test_a_row_of_the_command_table_fits_its_handler(command: codex_mirror.Command) -> None:
    for function in filter(None, (command.handler, command.confirm)):
        signature = inspect.signature(function)
        context, *keywords = signature.parameters.values()
        assert context.name == "context" and {one.kind for one in keywords} <= {inspect.Parameter.KEYWORD_ONLY}
        assert {one.name for one in keywords} == set(row_values(command))
        for one in keywords:
            if one.default is not inspect.Parameter.empty:
                assert (one.default or None) == (row_values(command)[one.name] or None), one.name


def test_no_two_rows_have_the_same_words() -> None:
    words = [command.words for command in codex_mirror.COMMANDS]
    assert len(set(words)) == len(words)


def synopsis(command: codex_mirror.Command) -> str:
    """The command as one types it, with its own options."""
    parts = [" ".join(command.words)]
    for argument in command.arguments:
        options = argument.options
        value = "|".join(options["choices"]) if "choices" in options else options.get("metavar", "")
        if not argument.flags[0].startswith("-"):
            parts.append({"?": f"[{value}]", "*": f"[{value}…]"}.get(options.get("nargs", ""), value))
        else:
            parts.append(f"[{argument.flags[0]}{' ' if value else ''}{value}]")
    passed_on = ["[--]", "ARGS…"] if command.passes_on and "name" in row_values(command) else []
    return " ".join([*parts, *passed_on])


@pytest.mark.parametrize("words", [[], ["work"], ["work", "other"], [" work "], ["fish"]])
def test_words_without_options_mean_what_argparse_makes_of_them(words: list[str]) -> None:
    for command in codex_mirror.COMMANDS:
        values = codex_mirror.parse_plain_words(command, words)
        assert values is None or values == vars(codex_mirror.parser_of(command, "x").parse_args(words)), command.words
        assert codex_mirror.parse_plain_words(command, [*words, "--json"]) is None


def test_the_readmes_command_table_is_the_command_table() -> None:
    lines = [(synopsis(command).replace("|", "\\|"), command.summary) for command in codex_mirror.COMMANDS]
    table = ["| command | what it does |", "|---|---|", *(f"| `{words}` | {summary} |" for words, summary in lines)]
    # Which clone has most left is for scripts of people who know why they ask; README doesn't lead anybody to it.
    expected = "\n".join(table).replace(" [--best]", "")
    readme = (REPO / "README.md").read_text(encoding="utf-8")
    [shown] = re.findall(r"<!-- commands -->(.*?)<!-- /commands -->", readme, re.DOTALL)
    assert shown.strip() == expected, f"put this between the markers:\n{expected}"


# --- called by any name ---


def shown_program(result: Result) -> str:
    """How the program calls itself in the command that puts its directory on PATH."""
    found = re.search(r"to add it: (.*) path setup", result.err)
    assert found, result
    return found[1]


@pytest.fixture
def python3(home: Home) -> Path:
    """This very Python, first on PATH as `python3`."""
    directory = home.base / "py"
    directory.mkdir()
    (directory / "python3").symlink_to(os.path.realpath(sys.executable))
    home.put_on_path(directory)
    return directory / "python3"


def placed(home: Home, path: str) -> Path:
    """A copy of the program there, executable, below the home's base."""
    target = home.base / path
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(PROGRAM, target)
    target.chmod(0o755)
    return target


CALLS = {
    # Where the copy lies, how it is called from the base directory, and how it calls itself then.
    "a file given to Python": ("x/codex_mirror.py", "python3 x/codex_mirror.py", "python3 x/codex_mirror.py"),
    "an executable file": ("x/codex_mirror.py", "./x/codex_mirror.py", "./x/codex_mirror.py"),
    "without suffix": ("x/codex-mirror", "x/codex-mirror", "x/codex-mirror"),
    "without suffix, absolute": ("x/codex-mirror", "{base}/x/codex-mirror", "{base}/x/codex-mirror"),
    "on PATH": ("path/codex-mirror", "codex-mirror", "codex-mirror"),
    "on PATH with another name": ("path/cm", "cm", "cm"),
    "a link on PATH": ("dot files/codex_mirror.py", "linked", "linked"),
    "a directory with spaces": ("a b'c/codex-mirror", '"a b\'c/codex-mirror"', "'a b'\\''c/codex-mirror'"),
    "Python and spaces": ("a b/codex_mirror.py", "python3 'a b/codex_mirror.py'", "python3 'a b/codex_mirror.py'"),
    "a name with spaces": ("path/my mirror", "'my mirror'", "'my mirror'"),
    "stdin": ("x/codex_mirror.py", "python3 - <x/codex_mirror.py", "codex-mirror"),
    "a pipe as file": ("x/codex_mirror.py", "python3 <(cat x/codex_mirror.py)", "codex-mirror"),
}


@pytest.mark.parametrize("case", CALLS)
def test_messages_use_the_name_that_the_program_was_called_by(home: Home, python3: Path, case: str) -> None:
    path, called, named = (text.format(base=home.base) for text in CALLS[case])
    placed(home, path)
    (home.base / "path").mkdir(exist_ok=True)
    (home.base / "path/linked").symlink_to(home.base / path)
    home.put_on_path(home.base / "path")
    line = called.replace("python3 -", "python3 - path status") if "python3 - " in called else f"{called} path status"
    result = run(["bash", "-c", line], env=home.env, cwd=home.base)
    assert result.code == 1
    assert shown_program(result) == named
    if case in ("stdin", "a pipe as file"):
        assert result.err.splitlines()[-1].endswith(
            f"no codex-mirror on PATH; how to install it: {codex_mirror.REPOSITORY}"
        )
    else:
        assert codex_mirror.REPOSITORY not in result.err
        again = run(["sh", "-c", f"{shown_program(result)} run nobody"], env=home.env, cwd=home.base)
        file = "linked" if called == "linked" else Path(path).name
        assert again.err.startswith(f"{file}: clone 'nobody' was not found\nhint: there are none yet: ")


@pytest.mark.parametrize("line", ["python3 - {words} <x.py", "python3 <(cat x.py) {words}"])
def test_clones_made_without_installing_anything_go_on_working(
    home: Home, codex: Path, python3: Path, line: str
) -> None:
    placed(home, "x.py")
    result = run(["bash", "-c", line.format(words="create work")], env=home.env, cwd=home.base)
    assert result.code == 0, result.err
    (home.base / "x.py").unlink()
    assert run([home.bin / "work", "a"], env=home.env).code == 0


def test_a_module_beside_the_program_is_not_the_programs(home: Home, python3: Path) -> None:
    placed(home, "dotfiles/codex_mirror.py")
    for name in ("json", "argparse", "re", "shutil"):
        (home.base / f"dotfiles/{name}.py").write_text("raise SystemExit('hijacked')\n")
    result = run([python3, home.base / "dotfiles/codex_mirror.py", "list"], env=home.env, cwd=home.base)
    assert result == Result(0, "", "")


def test_the_program_runs_from_a_place_where_nothing_can_be_written(home: Home, python3: Path) -> None:
    path = placed(home, "ro/codex-mirror")
    path.chmod(0o555)
    path.parent.chmod(0o555)
    assert run([path, "--version"], env=home.env).code == 0
    assert os.listdir(path.parent) == ["codex-mirror"]
