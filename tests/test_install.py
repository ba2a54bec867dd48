"""From nothing to a working command with one line, and gone again without a trace; and the file without any of that."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import http.server
import json
import os
import pty
import py_compile
import re
import select
import shlex
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from helpers import (
    PROGRAM,
    REPO,
    UTF8_LOCALE,
    Home,
    Result,
    fake_codex,
    finish,
    launcher_start,
    run,
    start,
    tree,
    wait_until,
)

INSTALLER = REPO / "install.sh"
SHELLS = {"dash": ["dash"], "bash": ["bash"], "zsh": ["zsh"], "ash": ["busybox", "ash"]}
# A directory name in which everything that is written without quotes goes wrong.
AWKWARD = 'it\'s a "home" $(touch oops) *'
# What install.sh says it needs, and the shell that it and its launcher name.
NEEDED = "cat chmod cmp cp cut grep id ls mkdir mv rm rmdir sed sort uname sh".split()
OLD = "0.0.1"

# A program that is quickly started and tells how: for what is the installer's and the launcher's alone. As the real
# one's, its main has written out everything when it ends.
TELLTALE = """
import functools, json, os, sys
__version__ = "0.0.1"
print = functools.partial(print, flush=True)
def main(argv=None):
    if sys.argv[1:] == ["--version"]:
        print("codex-mirror", __version__)
    elif sys.argv[1:2] == ["completion"]:
        print("# complete", sys.argv[2], __version__)
    elif sys.argv[1:2] == ["exit"]:
        return int(sys.argv[2])
    elif sys.argv[1:2] not in (["list"], ["path"]):
        flags = [sys.flags.isolated, sys.flags.no_site]
        modules = {name: getattr(sys.modules[name], "__file__", None) for name in ("json", "codex_mirror")}
        report = {"argv": sys.argv, "pid": os.getpid(), "flags": flags, "modules": modules}
        print(json.dumps({**report, "python": sys.executable, "path": sys.path, "version": __version__}))
    return 0
if __name__ == "__main__":
    sys.exit(main())
"""
# The program itself, compiled before: Python takes a quarter of a second for that, and these tests start it often. What
# each install and each uninstall ask it for, it has ready.
STAND_IN = """#!/usr/bin/env python3
import os, sys
READY = {ready!r}
def main(argv=None):
    answer = READY.get(" ".join(sys.argv[1:]))
    if os.path.basename(sys.argv[0]) == "codex-mirror" and answer:
        print(answer, end="", flush=True)
        return 0
    import marshal
    with open({bytecode!r}, "rb") as file:
        code = marshal.loads(file.read()[16:])
    as_script, globals()["__name__"] = __name__ == "__main__", __name__.replace("__main__", "codex_mirror")
    sys.modules[__name__] = sys.modules["__main__" if as_script else __name__]
    exec(code, globals())
    return globals()["main"]()
if __name__ == "__main__":
    sys.exit(main())
"""
# Makes it as large as the real one.
PADDING = "# padding\n" * 5000


# --- a machine for one test ---


# What installs have left: of each program in a home of each name, what its files are, have in them, and lay below.
MOULDS: dict[tuple[bytes, str], dict[str, tuple[os.stat_result, bytes, bytes]]] = {}


class Machine(NamedTuple):
    """A user's HOME, a checkout to install from, and the environment that leads to these and to nothing else."""

    base: Path
    home: Path
    checkout: Path
    env: dict[str, str]

    @property
    def command(self) -> Path:
        return self.home / ".local/bin/codex-mirror"

    @property
    def library(self) -> Path:
        return self.home / ".local/share/codex-mirror"

    def install(self, *options: Any, shell: str = "dash", env: dict[str, str] | None = None, **more: Any) -> Result:
        """Runs the checkout's install.sh."""
        argv = [*SHELLS[shell], self.checkout / "install.sh", *options]
        return run(argv, env={**self.env, **(env or {})}, cwd=self.base, **more)

    def installed(self) -> Machine:
        """As an install without options leaves it: the files of one that was made in another home of that name."""
        key = (self.program, self.home.name)
        base = os.fsencode(self.base)
        if os.listdir(self.home):
            self.install(check=True)
            return self
        if key not in MOULDS:
            self.install(check=True)
            files = [self.command, *(path for path in self.library.rglob("*") if path.is_file())]
            MOULDS[key] = {str(path.relative_to(self.home)): (path.stat(), path.read_bytes(), base) for path in files}
        for name, (status, data, there) in MOULDS[key].items():
            path = self.home / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data if path.suffix == ".pyc" else data.replace(there, base))
            path.chmod(stat.S_IMODE(status.st_mode))
            os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        return self

    def pipe(self, *options: Any, shell: str = "dash", env: dict[str, str] | None = None, **more: Any) -> Result:
        """Runs install.sh as `curl … | sh` does."""
        argv = [*SHELLS[shell], "-s", "--", *options]
        return run(argv, env={**self.env, **(env or {})}, cwd=self.base, stdin=self.script, **more)

    def codex_mirror(self, *args: Any, **more: Any) -> Result:
        """Runs the installed command."""
        return run([self.command, *args], env=self.env, cwd=self.base, **more)

    @property
    def script(self) -> bytes:
        return (self.checkout / "install.sh").read_bytes()

    @property
    def program(self) -> bytes:
        return (self.checkout / "codex_mirror.py").read_bytes()

    def offer(self, program: str) -> None:
        """Puts another program into the checkout."""
        (self.checkout / "codex_mirror.py").write_text(program, encoding="utf-8")

    def stamp(self, version: str, digest: str) -> None:
        """Fills in what `make dist` fills in."""
        script = self.script.decode()
        script = script.replace('STAMP_VERSION=""\n', f'STAMP_VERSION="{version}"\n')
        script = script.replace('STAMP_SHA256=""\n', f'STAMP_SHA256="{digest}"\n')
        assert f'"{version}"\n' in script and f'"{digest}"\n' in script
        (self.checkout / "install.sh").write_text(script, encoding="utf-8")


@pytest.fixture(scope="session")
def stand_in() -> Iterator[str]:
    """The text of a program that is the real one at once."""
    with tempfile.TemporaryDirectory(prefix="codex-mirror-bytecode-") as directory:
        bytecode = py_compile.compile(str(PROGRAM), f"{directory}/codex_mirror.pyc", doraise=True)
        ready = {}
        script(Path(directory, "codex-mirror"), "exit")
        for words in ("--version", "completion bash", "completion zsh", "completion fish"):
            argv = [sys.executable, "-c", launcher_start(), directory, f"{directory}/codex-mirror", *words.split()]
            ready[words] = run(argv, env={"PATH": directory, "HOME": directory}, check=True).out
        yield STAND_IN.format(bytecode=bytecode, ready=ready)


def furnish(home: Home, name: str, program: str = TELLTALE) -> Machine:
    user, checkout, tools = home.base / name, home.base / "checkout", home.base / "tools"
    for directory in (user, checkout, tools):
        directory.mkdir(exist_ok=True)
    (checkout / "codex_mirror.py").write_text(program, encoding="utf-8")
    # Where a Python may lie beside PATH is, but for the user's own, below the test's directory.
    text = re.sub(r'(?m)^PYTHON_PLACES="[^"]*"', f'PYTHON_PLACES="{home.base}/brew"', INSTALLER.read_text())
    text = text.replace("PYTHON_FRAMEWORK=/", f"PYTHON_FRAMEWORK='{home.base}'/")
    text = text.replace("PYTHON_OPT=/", f"PYTHON_OPT='{home.base}'/")
    (checkout / "install.sh").write_text(text)
    # As a version manager's shim does, it starts an interpreter elsewhere.
    script(tools / "python3", f'exec {shlex.quote(own_python())} "$@"')
    shells = [os.path.dirname(found) for name in ("fish", "zsh", "busybox") if (found := shutil.which(name))]
    env = {
        "HOME": str(user),
        "PATH": ":".join(dict.fromkeys([str(tools), "/usr/bin", "/bin", *shells])),
        "SHELL": "/bin/bash",
        "TMPDIR": home.env["TMPDIR"],
        "LANG": UTF8_LOCALE,
        "CODEX_MIRROR_HOME": str(user / ".codex-mirror"),
        "CODEX_MIRROR_BIN_DIR": str(user / ".local/bin"),
    }
    return Machine(home.base, user, checkout, env)


@pytest.fixture
def machine(home: Home, stand_in: str) -> Machine:
    """One with an empty HOME, and the program to install."""
    return furnish(home, "user", stand_in)


@pytest.fixture
def telltale(home: Home) -> Machine:
    """One whose checkout has the telltale program."""
    return furnish(home, "user")


@pytest.fixture(params=SHELLS)
def shell(request: pytest.FixtureRequest) -> str:
    """Each shell that install.sh promises to run in, and that is here."""
    needs(SHELLS[request.param][0])
    return str(request.param)


def needs(*commands: str) -> None:
    for command in commands:
        if shutil.which(command) is None:
            pytest.skip(f"{command} is not on this machine")


def script(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


def tools(machine: Machine, *commands: str) -> dict[str, str]:
    """A PATH of nothing but what install.sh says it needs, python3 and `commands`."""
    directory = machine.base / "few"
    directory.mkdir()
    for command in (*NEEDED, *commands):
        found = shutil.which(command)
        assert found, command
        (directory / command).symlink_to(os.path.realpath(found))
    (directory / "python3").symlink_to(machine.base / "tools/python3")
    return {"PATH": str(directory)}


def aged(program: str, version: str = OLD) -> str:
    """The program as it is, under another version."""
    text, count = re.subn(r'(?m)^__version__ = ".*"$', f'__version__ = "{version}"', program)
    assert count == 1
    return text


def said_by(result: Result) -> str:
    """What install.sh said, but for the line that root is told first."""
    return re.sub(r"\AYou are root.*\n", "", result.out)


def python_of(machine: Machine) -> str:
    """The interpreter that the launcher starts first."""
    [line] = [line for line in machine.command.read_text().splitlines() if line.startswith("python=")]
    return shlex.split(line.removeprefix("python="))[0]


def own_python() -> str:
    """The interpreter behind the one that runs these tests, when that is an environment's."""
    behind = Path(sys.base_prefix, "bin/python{}.{}".format(*sys.version_info))
    return str(behind) if sys.prefix != sys.base_prefix and behind.exists() else sys.executable


# --- a server ---


class Site(http.server.SimpleHTTPRequestHandler):
    """Files, and the ways in which a download goes wrong."""

    def do_GET(self) -> None:
        odd = {"/moved": self.moved, "/half": self.half, "/page": self.page, "/slow": self.slow}
        for start_of_path, answer in odd.items():
            if self.path.startswith(start_of_path + "/"):
                return answer()
        return super().do_GET()

    def moved(self) -> None:
        self.send_response(302)
        self.send_header("Location", self.path.removeprefix("/moved"))
        self.end_headers()

    def half(self) -> None:
        """The connection breaks after half of what was announced."""
        data = Path(self.directory, "codex_mirror.py").read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data[: len(data) // 2])

    def page(self) -> None:
        """What a hotel's network says to everything."""
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>Welcome to our network</title>\n")

    def slow(self) -> None:
        """A first line, and nothing more until the client is gone."""
        self.send_response(200)
        self.send_header("Content-Length", "1000000")
        self.end_headers()
        self.wfile.write(b"import sys\n")
        self.wfile.flush()
        self.rfile.read(1)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of the checkout's files."""
    machine: Machine = request.getfixturevalue("telltale" if "telltale" in request.fixturenames else "alone")
    site = functools.partial(Site, directory=str(machine.checkout))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), site) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_port}"
        httpd.shutdown()
        thread.join()


# --- the script ---


def test_shellcheck_finds_nothing() -> None:
    needs("shellcheck")
    result = run(["shellcheck", "--severity=style", INSTALLER], env={"PATH": os.environ["PATH"]})
    assert (result.code, result.out) == (0, "")


def test_it_is_shell_that_a_person_can_read() -> None:
    lines = INSTALLER.read_text().splitlines()
    assert lines[0] == "#!/bin/sh"
    assert lines[-1] == 'main "$@"'
    assert [line for line in lines if len(line) > 120] == []
    assert [line for line in lines[:25] if line.startswith("STAMP_")] == ['STAMP_VERSION=""', 'STAMP_SHA256=""']


# Reads each file that it is given in a shell of its own, a fork of this one since the shell's start isn't the point.
READ_EACH = 'for file do (set -- --prefix "$HOME/chosen"; . "$file") 2>/dev/null || :; done'


def test_cut_off_anywhere_it_does_nothing(telltale: Machine, shell: str) -> None:
    whole, last = telltale.script, len(b'main "$@"\n')
    brace = len(whole) - 3 * last
    cuts = set(range(0, brace, 50))
    for line in re.finditer(rb"(?m)^[a-z_]+", whole[:brace]):
        cuts |= {line.start() + n for n in range(1, len(line[0]) + 1) if shutil.which(line[0][:n].decode())}
    pieces = telltale.base / "pieces"
    pieces.mkdir()
    for cut in cuts:
        (pieces / str(cut)).write_bytes(whole[:cut])
    before = tree(telltale.base)
    read_each = [*SHELLS[shell], "-c", READ_EACH, "sh", *sorted(pieces.iterdir())]
    env = {**telltale.env, "CODEX_MIRROR_URL": f"file://{telltale.checkout}"}
    result = run(read_each, env=env, cwd=telltale.base)
    assert (result.code, result.out, os.listdir(telltale.home)) == (0, "", [])
    # Behind the last brace it is no longer one command.
    for cut in range(brace, len(whole) - 1):
        argv = [*SHELLS[shell], "-s", "--", "--prefix", telltale.home / "chosen"]
        result = run(argv, stdin=whole[:cut], env=env, cwd=telltale.base)
        assert (result.out, os.listdir(telltale.home)) == ("", []), f"cut off after {cut} bytes"
        assert result.code != 0 and (cut == brace or "this file is incomplete" in result.err), f"after {cut} bytes"
    assert tree(telltale.base) == before
    (pieces / "whole").write_bytes(whole)
    run([*read_each, pieces / "whole"], env=env, cwd=telltale.base, check=True)
    assert os.listdir(telltale.home) == ["chosen"]


def test_help_names_every_option(telltale: Machine) -> None:
    result = telltale.install("--help", check=True)
    handled = re.findall(r"(?m)^ {12}(-[-|\w =*]+)\)", telltale.script.decode())
    options = {option.removesuffix("=*") for line in handled for option in line.split(" | ")}
    assert {"--prefix", "--purge", "-y"} <= options
    assert [option for option in options if option not in result.out] == []
    assert os.listdir(telltale.home) == []


@pytest.mark.parametrize("options", [["--frobnicate"], ["--prefix"], ["--prefix="], ["--prefix", ""], ["extra"], [""]])
def test_what_it_does_not_know_is_a_usage_error(telltale: Machine, options: list[str]) -> None:
    result = telltale.install(*options)
    assert (result.code, os.listdir(telltale.home)) == (2, [])
    assert "hint: sh install.sh --help" in result.err


@pytest.mark.parametrize("options", [["--prefix", "--uninstall"], ["--prefix", "--help"], ["--prefix=-n"]])
def test_an_option_is_no_directory(telltale: Machine, options: list[str]) -> None:
    before = tree(telltale.base)
    result = telltale.install(*options)
    assert (result.code, tree(telltale.base)) == (2, before)
    [hint] = re.findall(r"hint: .*: (--prefix .*)", result.err)
    telltale.install(*hint.split(), check=True)


def test_a_directory_that_cannot_stand_in_path_is_refused_but_still_uninstalled_from(telltale: Machine) -> None:
    before = tree(telltale.base)
    for options in (["--prefix", "a:b"], ["--prefix", "a:b", "--dry-run"]):
        result = telltale.install(*options)
        assert (result.code, tree(telltale.base)) == (5, before) and "a:b/bin can't be an entry" in result.err
    telltale.install("--prefix", "ab", check=True)
    (telltale.base / "ab").rename(telltale.base / "a:b")
    telltale.install("--prefix", "a:b", "--uninstall", check=True)
    assert not (telltale.base / "a:b/bin/codex-mirror").exists()


# --- install ---


def test_a_checkout_is_installed_and_the_command_works(machine: Machine, shell: str) -> None:
    if shell == "dash":
        shutil.copy(PROGRAM, machine.checkout / "codex_mirror.py")
    result = machine.install(shell=shell, check=True)
    version = machine.codex_mirror("--version", check=True).out
    assert f"Installed {version.replace(' ', ' ', 1).strip()}: {machine.command}" in result.out
    assert result.out.splitlines()[-1] == f"next: '{machine.command}' create work"
    [bytecode] = (machine.library / "__pycache__").iterdir()
    assert {path for path, (kind, _, _) in tree(machine.home).items() if kind != "dir"} == {
        ".local/bin/codex-mirror",
        ".local/share/codex-mirror/codex_mirror.py",
        ".local/share/codex-mirror/receipt",
        f".local/share/codex-mirror/__pycache__/{bytecode.name}",
    }
    assert (machine.library / "codex_mirror.py").read_bytes() == machine.program
    assert python_of(machine) == own_python()


TOOLS = ["curl", "wget", "busybox", "python3"]


def with_tool(machine: Machine, tool: str) -> dict[str, str]:
    """An environment in which nothing else can download."""
    needs(tool)
    env = {**machine.env, **tools(machine, *{tool} - {"python3"}, "dash")}
    if tool == "busybox":
        (Path(env["PATH"]) / "wget").symlink_to("busybox")
    return env


@pytest.mark.parametrize(
    ("shell", "tool"), [*(("dash", t) for t in TOOLS), ("bash", "curl"), ("zsh", "curl"), ("ash", "curl")]
)
def test_a_pipe_downloads_and_installs(telltale: Machine, server: str, shell: str, tool: str) -> None:
    env = {**with_tool(telltale, tool), "CODEX_MIRROR_URL": server}
    needs(SHELLS[shell][0])
    argv = [shutil.which(SHELLS[shell][0]), *SHELLS[shell][1:], "-s"]
    result = run(argv, env=env, stdin=telltale.script, cwd=telltale.base, check=True)
    assert f"Downloading {server}/codex_mirror.py" in result.out
    assert (telltale.library / "codex_mirror.py").read_bytes() == TELLTALE.encode()
    telltale.codex_mirror("list", check=True)


# What comes of each download, a line each, with the functions of install.sh alone.
DOWNLOADS = """
trap - EXIT
python=$1
for place in "" /missing /half; do
    (download "$2$place/codex_mirror.py" "$3${place#/}") || echo "left with $?"
done 2>&1
"""


@pytest.mark.parametrize("tool", TOOLS)
def test_each_shell_downloads_with_whatever_there_is(telltale: Machine, server: str, shell: str, tool: str) -> None:
    env = with_tool(telltale, tool)
    functions = telltale.script.decode().partition("\nOPTIONS_GIVEN=")[0]
    argv = [shutil.which(SHELLS[shell][0]), *SHELLS[shell][1:], "-c", functions + DOWNLOADS, "sh"]
    result = run([*argv, own_python(), server, telltale.base / "got"], env=env, cwd=telltale.base, check=True)
    assert (telltale.base / "got").read_bytes() == TELLTALE.encode()
    said = re.findall(
        r"(?m)^(Downloading|install.sh: .* is not there \(404\)|install.sh: the download failed|left with .*)",
        result.out,
    )
    assert said[:4] == [
        "Downloading",
        "Downloading",
        f"install.sh: {server}/missing/codex_mirror.py is not there (404)",
        "left with 1",
    ]
    assert said[4:] == ["Downloading", "install.sh: the download failed", "left with 1"]


def test_a_machine_with_nothing_but_busybox_will_do(telltale: Machine, server: str) -> None:
    needs("busybox")
    few = Path(tools(telltale)["PATH"])
    for command in [*NEEDED, "wget"]:
        (few / command).unlink(missing_ok=True)
        (few / command).symlink_to(shutil.which("busybox") or "")
    env = {"PATH": str(few), "CODEX_MIRROR_URL": server}
    run([few / "sh", "-s"], env={**telltale.env, **env}, stdin=telltale.script, cwd=telltale.base, check=True)
    telltale.codex_mirror("list", check=True)
    uninstall = [few / "sh", telltale.checkout / "install.sh", "--uninstall"]
    run(uninstall, env={**telltale.env, **env}, check=True)
    assert os.listdir(telltale.home) == []


def test_a_file_url_needs_no_network(telltale: Machine) -> None:
    env = {**tools(telltale), "CODEX_MIRROR_URL": f"file://{telltale.checkout}"}
    argv = [shutil.which("dash") or "/bin/sh", "-s"]
    run(argv, env={**telltale.env, **env}, stdin=telltale.script, cwd=telltale.base, check=True)
    telltale.codex_mirror("list", check=True)


def test_a_pipe_takes_no_program_that_happens_to_lie_in_the_current_directory(telltale: Machine) -> None:
    (telltale.checkout / "sh").write_text("")
    result = run(
        ["sh", "-s", "--", "--dry-run"],
        env=telltale.env,
        stdin=telltale.script,
        cwd=telltale.checkout,
        check=True,
    )
    assert "Would download https://raw.githubusercontent.com/" in result.out


@pytest.mark.parametrize(
    "url",
    [
        "https://example.org/files",
        "https://example.org/files/",
        "https://example.org/files/codex_mirror.py",
        "http://localhost/files",
        "http://127.0.0.1:8000/files",
        "http://[::1]:8000/files",
        "file:///srv/files",
    ],
)
def test_a_url_that_can_be_trusted_is_taken(telltale: Machine, url: str) -> None:
    result = telltale.pipe("--dry-run", env={"CODEX_MIRROR_URL": url}, check=True)
    assert f"Would download {url.removesuffix('/codex_mirror.py').rstrip('/')}/codex_mirror.py\n" in result.out


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org/files",
        "http://localhost.example.org/files",
        "http://127.0.0.1.example.org/files",
        "http://127.0.0.1@example.org/files",
        "http://localhost:80@example.org/files",
        "http://localhost:1@example.org:80/files",
        "http://[::1]:1@example.org:80/files",
        "http://127.0.0.1:1/@example.org/files",
        "http://localhost?@example.org/files",
        "http://localhost#@example.org/files",
        "http://example.org#@localhost:80/files",
        "http://example.org/http://localhost/files",
        "HTTP://example.org/files",
        "ftp://example.org/files",
        "file://example.org/files",
        "/srv/files",
        "-o /etc/passwd",
    ],
)
def test_a_url_that_cannot_be_trusted_is_refused(telltale: Machine, url: str) -> None:
    result = telltale.pipe(env={"CODEX_MIRROR_URL": url})
    assert (result.code, os.listdir(telltale.home)) == (2, [])
    assert "https:" in result.err


@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize(
    ("place", "says"),
    [
        ("missing", "/missing/codex_mirror.py is not there (404)\nhint: check CODEX_MIRROR_URL"),
        ("moved", ""),
        ("half", ""),
        ("page", "was refused: it is not a Python program"),
        ("offline", "the download failed: "),
    ],
)
def test_a_download_that_fails_says_why_and_leaves_nothing(
    telltale: Machine, server: str, tool: str, place: str, says: str
) -> None:
    if (tool, place) == ("busybox", "moved"):
        pytest.skip("it follows, which is only let where a digest is known or to this machine")
    telltale.offer(TELLTALE + PADDING)
    url = "http://127.0.0.1:1" if place == "offline" else f"{server}/{place}"
    result = telltale.pipe("--completions", env={**with_tool(telltale, tool), "CODEX_MIRROR_URL": url})
    assert (result.code, os.listdir(telltale.home)) == (1, [])
    assert "install.sh: " in result.err and says in result.err and "<urlopen" not in result.err


def test_the_commands_that_are_missing_are_named_all_at_once(telltale: Machine) -> None:
    env = tools(telltale, "dash")
    for name in ("cmp", "sort"):
        (Path(env["PATH"]) / name).unlink()
    result = telltale.install(env=env)
    assert (result.code, os.listdir(telltale.home)) == (1, [])
    assert "these commands are needed, and were not found: cmp sort\n" in result.err


@pytest.mark.parametrize(
    ("program", "why"),
    [
        ("", "--version"),
        ("\0", "not a Python program"),
        ("print('codex-mirror 1.0.0'\n", "not a Python program"),
        ("print('other-program 1.0.0')\n", "--version"),
        ("print('codex-mirror 1.0.0\\nand more')\n", "--version"),
        (TELLTALE.rpartition("if __name__")[0], "--version"),
    ],
)
def test_what_is_not_the_program_is_refused(telltale: Machine, program: str, why: str) -> None:
    telltale.offer(program)
    result = telltale.install()
    assert (result.code, os.listdir(telltale.home)) == (1, [])
    assert "was refused" in result.err and why in result.err


def test_a_release_takes_the_program_it_was_stamped_with(telltale: Machine, server: str) -> None:
    telltale.stamp(OLD, hashlib.sha256(TELLTALE.encode()).hexdigest())
    telltale.install(check=True)
    telltale.install("--uninstall", check=True)
    telltale.pipe(env={"CODEX_MIRROR_URL": server}, check=True)
    telltale.codex_mirror("list", check=True)


@pytest.mark.parametrize("how", ["install", "pipe"])
def test_a_release_refuses_any_other_program(telltale: Machine, server: str, how: str) -> None:
    telltale.stamp(OLD, hashlib.sha256(TELLTALE.encode()).hexdigest())
    telltale.offer(TELLTALE + "# one more line\n")
    result = getattr(telltale, how)(env={"CODEX_MIRROR_URL": server} if how == "pipe" else {})
    assert (result.code, os.listdir(telltale.home)) == (1, [])
    assert "its SHA-256 is" in result.err


def test_a_release_refuses_a_program_of_another_version(telltale: Machine) -> None:
    telltale.stamp("9.9.9", hashlib.sha256(TELLTALE.encode()).hexdigest())
    result = telltale.install()
    assert (result.code, os.listdir(telltale.home)) == (1, [])
    assert f"it is {OLD}, not 9.9.9" in result.err


def test_a_release_downloads_from_its_own_release(telltale: Machine) -> None:
    telltale.stamp("9.9.9", "0" * 64)
    result = telltale.pipe("--dry-run", check=True)
    assert "https://github.com/Mohit-Patil/codex-mirror/releases/download/v9.9.9/codex_mirror.py\n" in result.out
    assert "0" * 64 in result.out


# --- a home that is not like others ---


@pytest.mark.parametrize(
    ("options", "env"),
    [
        (["--prefix", "{base}/chosen"], {}),
        (["--prefix={base}/chosen//"], {}),
        (["--prefix", "chosen"], {}),
        ([], {"PREFIX": "{base}/chosen"}),
        (["--prefix", "{base}/chosen"], {"PREFIX": "{base}/other"}),
        (["--prefix", "~/../chosen"], {}),
    ],
)
def test_another_prefix(telltale: Machine, options: list[str], env: dict[str, str]) -> None:
    options = [option.format(base=telltale.base) for option in options]
    env = {name: value.format(base=telltale.base) for name, value in env.items()}
    telltale.install(*options, env=env, check=True)
    assert os.listdir(telltale.home) == []
    run([telltale.base / "chosen/bin/codex-mirror", "list"], env=telltale.env, check=True)
    telltale.install("--uninstall", *options, env=env, check=True)
    assert not (telltale.base / "chosen").exists()


def test_inside_a_clone_it_installs_for_the_user(telltale: Machine) -> None:
    inside = telltale.base / "clone"
    inside.mkdir()
    clones = {"HOME": str(inside), "XDG_DATA_HOME": str(inside / "data"), "XDG_CONFIG_HOME": str(inside / "config")}
    telltale.install("--completions", env={**clones, "CODEX_MIRROR_USER_HOME": str(telltale.home)}, check=True)
    assert telltale.command.exists()
    assert os.listdir(inside) == []


def test_root_installs_for_root(telltale: Machine) -> None:
    if os.getuid() != 0:
        assert "root" not in telltale.install("--dry-run", check=True).out
        pytest.skip("only root can give a directory away")
    assert "You are root" in telltale.install("--dry-run", check=True).out
    os.chown(telltale.home, 12345, 12345)
    result = telltale.install("--dry-run", check=True)
    assert f"{os.path.expanduser('~root')}/.local/bin/codex-mirror" in result.out
    assert str(telltale.home) not in result.out


def test_without_a_home_it_says_so(telltale: Machine) -> None:
    for wrong in ("", "relative", f"{telltale.home}\nx"):
        if os.getuid() != 0:
            assert telltale.install(env={"HOME": wrong}).code == 1
    assert telltale.install(env={"PREFIX": f"{telltale.home}\nx"}).code == 1
    assert os.listdir(telltale.home) == []


def test_a_directory_that_cannot_be_made_is_named_with_the_reason(telltale: Machine) -> None:
    (telltale.home / ".local").touch()
    result = telltale.install()
    assert (result.code, os.listdir(telltale.home)) == (1, [".local"])
    says = f"the directory {telltale.home}/.local could not be made: File exists\n"
    assert result.err == f"install.sh: {says}hint: choose another place with --prefix\n"


def test_nothing_it_makes_can_be_written_by_others(telltale: Machine) -> None:
    argv = ["sh", "-c", 'umask 0; exec sh "$@"', "sh", telltale.checkout / "install.sh", "--completions"]
    run(argv, env=telltale.env, check=True)
    made = tree(telltale.home)
    del made["."]
    assert {path for path, (_, mode, _) in made.items() if int(mode, 8) & (stat.S_IWGRP | stat.S_IWOTH)} == set()


# --- again, and over what is there ---


def stamps(root: Path) -> dict[str, tuple[int, int]]:
    """Which file it is and when it was written, for every file."""
    files = [path for path in root.rglob("*") if path.is_file()]
    return {str(path): (path.stat().st_ino, path.stat().st_mtime_ns) for path in files}


def test_a_newer_program_replaces_the_older_and_its_completions(telltale: Machine) -> None:
    telltale.install("--completions", check=True)
    telltale.offer(aged(TELLTALE, "0.0.2"))
    result = telltale.install(check=True)
    assert said_by(result) == f"Upgraded codex-mirror 0.0.1 to 0.0.2: {telltale.command}\n"
    assert telltale.codex_mirror("--version").out == "codex-mirror 0.0.2\n"
    completion = telltale.home / STRANGERS["completion"]
    assert "0.0.2" in completion.read_text()
    completion.write_text("complete mine\n")
    telltale.install(check=True)
    assert completion.read_text() == "complete mine\n"
    completion.unlink()
    telltale.install(check=True)
    assert not completion.exists()
    telltale.install("--uninstall", check=True)
    assert os.listdir(telltale.home) == []


def test_a_program_of_the_same_second_and_size_is_not_mistaken_for_the_one_before(telltale: Machine) -> None:
    # Python trusts bytecode by those two.
    for version in ("0.0.1", "0.0.2", "0.0.3", "0.0.4"):
        telltale.offer(aged(TELLTALE, version))
        telltale.install(check=True)
        assert json.loads(telltale.codex_mirror("tell").out)["version"] == version


# As the first 1.0.0 wrote them: files, and the marks that its install.sh knew them by.
OF_1_0_0 = {
    ".local/bin/codex-mirror": """#!/bin/sh
# codex-mirror's launcher: written by its install.sh, which replaces and removes it.
python='{python}'
library='{home}/.local/share/codex-mirror'
exec "$python" -I -S "$library/codex_mirror.py" "$@"
""",
    ".local/share/codex-mirror/receipt": """\
# codex-mirror's receipt: its install.sh reads here what it wrote, to upgrade and to uninstall.
version 1.0.0
completion {home}/.config/fish/completions/codex-mirror.fish
made {home}/.config
made {home}/.config/fish
made {home}/.config/fish/completions
made {home}/.local
made {home}/.local/bin
made {home}/.local/share
made {home}/.local/share/codex-mirror
""",
    ".local/share/codex-mirror/codex_mirror.py": aged(TELLTALE, "1.0.0"),
    ".config/fish/completions/codex-mirror.fish": """complete
# Written by codex-mirror's install.sh, which replaces and removes it.
""",
}


@pytest.mark.parametrize("upgraded", [True, False])
def test_an_install_of_1_0_0_is_upgraded_without_its_advice_again_or_uninstalled(
    telltale: Machine, upgraded: bool
) -> None:
    for name, text in OF_1_0_0.items():
        path = telltale.home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.replace("{home}", str(telltale.home)).replace("{python}", own_python()))
    telltale.command.chmod(0o755)
    assert telltale.codex_mirror("--version", check=True).out == "codex-mirror 1.0.0\n"
    if upgraded:
        telltale.offer(aged(TELLTALE, "1.1.0"))
        result = telltale.install("--completions", env=tools(telltale, "dash", "fish"), check=True)
        assert said_by(result) == f"Upgraded codex-mirror 1.0.0 to 1.1.0: {telltale.command}\n"
        assert told(telltale, "tell")["version"] == "1.1.0"
        assert (telltale.home / ".config/fish/completions/codex-mirror.fish").read_text().startswith("# complete fish")
    telltale.install("--uninstall", check=True)
    assert os.listdir(telltale.home) == []


STRANGERS = {
    "command": ".local/bin/codex-mirror",
    "program": ".local/share/codex-mirror/codex_mirror.py",
    "receipt": ".local/share/codex-mirror/receipt",
    "completion": ".local/share/bash-completion/completions/codex-mirror",
}


@pytest.mark.parametrize("kind", ["file", "binary", "empty", "directory", "link", "dangling"])
@pytest.mark.parametrize("what", STRANGERS)
def test_a_strangers_file_is_refused(telltale: Machine, what: str, kind: str) -> None:
    path = telltale.home / STRANGERS[what]
    path.parent.mkdir(parents=True)
    make: dict[str, Callable[[], object]] = {
        "file": lambda: script(path, "echo mine"),
        "binary": lambda: path.write_bytes(b"\x7fELF\0\n\xff\0\n\0"),
        "empty": path.touch,
        "directory": path.mkdir,
        "link": lambda: path.symlink_to(telltale.checkout / "codex_mirror.py"),
        "dangling": lambda: path.symlink_to("nowhere"),
    }
    make[kind]()
    before = tree(telltale.home)
    result = telltale.install("--completions", shell="bash")
    assert (result.code, tree(telltale.home)) == (5, before)
    assert f"{path} is not ours" in result.err and result.err.count("\n") == 2
    assert ("leave --completions out" if what == "completion" else "choose another place with --prefix") in result.err


def test_what_became_a_strangers_file_outlives_the_uninstall(telltale: Machine) -> None:
    telltale.install("--completions", check=True)
    completion = telltale.home / STRANGERS["completion"]
    script(telltale.command, "echo mine")
    completion.write_text("complete mine\n")
    result = telltale.install("--uninstall", check=True)
    left = {path for path, (kind, _, _) in tree(telltale.home).items() if kind != "dir"}
    assert left == {STRANGERS["command"], STRANGERS["completion"]}
    assert f"{telltale.command} is not ours, so it stays." in result.out
    assert f"{completion} is not ours, so it stays." in result.out


def test_two_installs_at_once_end_in_one_that_works(machine: Machine) -> None:
    argv = ["sh", machine.checkout / "install.sh", "--completions"]
    both = [start(argv, env=machine.env, cwd=machine.base) for _ in range(2)]
    ends = [finish(process) for process in both]
    assert [result.code for result in ends] == [0, 0], ends
    machine.codex_mirror("--version", check=True)
    machine.install("--completions", check=True)
    assert not [path for path in tree(machine.home) if ".new-" in path]


# --- what has a name that we could have given, and isn't ours ---


STRANGERS_UID = 65533
LOOKALIKES = [
    "codex-mirror.new-20251128", "stage.new-20251128", ".codex-mirror.new-20251128", ".codex-mirror.new-20251128-0",
    ".codex-mirror.new-1-0", ".codex-mirror.new-x", "codex-mirror.new-1",
]  # fmt: skip


def test_what_bears_a_name_like_ours_is_neither_removed_nor_written_through(telltale: Machine) -> None:
    """A user's backup, and links that somebody laid under names that could be guessed."""
    elsewhere = telltale.base / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "mark").write_text("theirs\n")
    for directory in (telltale.command.parent, telltale.library):
        directory.mkdir(parents=True)
        for name in LOOKALIKES:
            (directory / name).mkdir()
            (directory / name / "photos").write_text("mine\n")
        (directory / ".codex-mirror.new-2-0").symlink_to(elsewhere)
        (directory / "codex-mirror.new-2").symlink_to(elsewhere / "mark")
    before = tree(telltale.home), tree(elsewhere)
    for words in ((), ("--completions",), ("--uninstall",)):
        telltale.install(*words, check=True)
        now = tree(telltale.home)
        assert before[0].items() <= now.items() and before[1] == tree(elsewhere), words


def test_a_name_that_is_taken_is_passed_over(telltale: Machine, shell: str) -> None:
    """Whoever guesses the process's number and is quicker gains nothing."""
    for directory in (telltale.command.parent, telltale.library):
        directory.mkdir(parents=True)
    take = 'for d in "$0" "$1"; do mkdir "$d/.codex-mirror.new-$$-0"; ln -s /nowhere "$d/.codex-mirror.new-$$-1"; done'
    words = [telltale.command.parent, telltale.library, *SHELLS[shell], telltale.checkout / "install.sh"]
    run(["sh", "-c", f'{take}; shift; exec "$@"', *words], env=telltale.env, check=True)
    telltale.codex_mirror("--version", check=True)
    left = [path for path in tree(telltale.home) if ".new-" in path]
    assert len(left) == 4 and all(path.endswith(("-0", "-1")) for path in left)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be two users")
@pytest.mark.parametrize("which", ["library", "launcher", "receipt", "a stage with our mark"])
def test_another_users_files_with_our_mark_are_not_ours(telltale: Machine, which: str) -> None:
    telltale.installed()
    stage = telltale.library / ".codex-mirror.new-99999999-0"
    stage.mkdir()
    mark = next(line for line in telltale.command.read_text().splitlines() if "install.sh" in line)
    (stage / "mark").write_text(f"{mark}\n")
    path = {"library": telltale.library, "launcher": telltale.command, "receipt": telltale.library / "receipt"}
    for one in [path[which]] if which in path else [stage, stage / "mark"]:
        os.chown(one, STRANGERS_UID, -1)
    before = tree(telltale.home)
    result = telltale.install()
    if which in path:
        assert (result.code, tree(telltale.home)) == (5, before) and "is not ours" in result.err
    else:
        assert result.code == 0 and (stage / "mark").exists()


def test_what_a_killed_installer_left_goes(telltale: Machine) -> None:
    telltale.installed()
    mark = next(line for line in telltale.command.read_text().splitlines() if "install.sh" in line)
    for directory in (telltale.command.parent, telltale.library):
        (directory / ".codex-mirror.new-99999999-0").mkdir()
        (directory / ".codex-mirror.new-99999999-0" / "mark").write_text(f"{mark}\n")
    telltale.install(check=True)
    assert not [path for path in tree(telltale.home) if ".new-" in path]


@pytest.mark.parametrize("words", [(), ("--purge", "--yes")])
def test_a_project_is_no_mirror_home_whatever_the_environment_says(telltale: Machine, words: tuple[str, ...]) -> None:
    telltale.installed()
    project = telltale.base / "project"
    (project / "clones").mkdir(parents=True)
    for name in ("lock", "login.lock", "reserve", "registry.json", ".gitignore"):
        (project / name).write_text("mine\n")
    before = tree(project)
    telltale.install("--uninstall", *words, env={"CODEX_MIRROR_HOME": str(project)})
    assert tree(project) == before


# --- interrupted, and out of space ---


def wait_for(condition: Any) -> Any:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.01)
    raise AssertionError("it did not come about in 30 s")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_an_interrupted_install_leaves_nothing_that_stays(
    telltale: Machine, server: str, shell: str, number: signal.Signals
) -> None:
    env = {**telltale.env, "CODEX_MIRROR_URL": f"{server}/slow"}
    argv = [*SHELLS[shell], telltale.checkout / "install.sh"]
    process = start(argv, env=env, cwd=telltale.base)
    wait_for(lambda: list(telltale.library.glob(".codex-mirror.new-*/codex_mirror.py")))
    os.killpg(process.pid, number)
    result = finish(process)
    if number == signal.SIGKILL:
        assert list(telltale.library.glob(".codex-mirror.new-*"))
        telltale.install(shell=shell, check=True)
        assert not list(telltale.library.glob(".codex-mirror.new-*"))
    else:
        assert (result.code, os.listdir(telltale.home)) == (128 + number, [])


def test_a_file_size_limit_leaves_nothing(telltale: Machine, shell: str) -> None:
    telltale.offer(TELLTALE + PADDING)
    argv = ["sh", "-c", 'ulimit -f 16; exec "$@"', "sh", *SHELLS[shell], telltale.checkout / "install.sh"]
    result = run(argv, env=telltale.env)
    assert (result.code, os.listdir(telltale.home)) == (1, [])


@contextlib.contextmanager
def small_disk(place: Path, **limits: str | int) -> Iterator[None]:
    """A file system of a limited size at `place`."""
    options = ",".join(["mode=755", *(f"{name}={value}" for name, value in limits.items())])
    mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("no file system can be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", str(place)], check=True)


def steps(machine: Machine) -> list[int]:
    """How many KiB to try: the program just doesn't fit, just fits, and each page more that the rest of it needs."""
    page, size = 4, (machine.checkout / "codex_mirror.py").stat().st_size // 1024
    fitting = size // page * page
    return [page, size // 2, *range(fitting, fitting + 24 * page, page)]


@pytest.mark.faults
def test_a_full_disk_leaves_all_of_it_or_nothing(telltale: Machine) -> None:
    telltale.offer(TELLTALE + PADDING)
    ends = set()
    limits: list[dict[str, str | int]] = [
        *({"size": f"{kib}k"} for kib in steps(telltale)),
        *({"nr_inodes": n} for n in range(2, 31, 2)),
    ]
    for limit in limits:
        with small_disk(telltale.home, **limit):
            result = telltale.install("--completions", env={"CODEX_MIRROR_PYTHON": own_python()})
            ends.add(result.code)
            if result.code == 0:
                assert telltale.codex_mirror("--version", check=True).out == "codex-mirror 0.0.1\n"
                telltale.install("--uninstall", check=True)
            else:
                assert result.code == 1, limit
            assert os.listdir(telltale.home) == [], limit
    assert ends == {0, 1}


@pytest.mark.faults
def test_an_upgrade_on_a_full_disk_is_all_or_nothing(telltale: Machine) -> None:
    ends = set()
    telltale.offer(TELLTALE + PADDING)
    telltale.install("--completions", env={"CODEX_MIRROR_PYTHON": own_python()}, check=True)
    installed = telltale.home.rename(telltale.base / "installed")
    telltale.home.mkdir()
    telltale.offer(aged(TELLTALE + PADDING, "0.0.2"))
    for free in steps(telltale):
        with small_disk(telltale.home, size="1m"):
            shutil.copytree(installed, telltale.home, dirs_exist_ok=True)
            disk = os.statvfs(telltale.home)
            filler = telltale.home / "filler"
            filler.write_bytes(b"x" * (disk.f_bavail * disk.f_bsize - free * 1024))
            before = tree(telltale.home)
            result = telltale.install(env={"CODEX_MIRROR_PYTHON": own_python()})
            ends.add(result.code)
            assert result.code == 0 or tree(telltale.home) == before, free
            expected = "0.0.2" if result.code == 0 else "0.0.1"
            assert telltale.codex_mirror("--version", check=True).out == f"codex-mirror {expected}\n"
    assert ends == {0, 1}


# --- uninstall ---


def live_in(home: Path) -> None:
    """What a home has before we come: files beside ours, empty directories, rc files of each shell."""
    for directory in (".local/bin", ".local/share/zsh", ".config/fish"):
        (home / directory).mkdir(parents=True)
    script(home / ".local/bin/work-thing", "echo work")
    (home / ".bashrc").write_text("alias ll='ls -l'\n")
    (home / ".profile").write_text("# no newline at the end")
    (home / ".zshrc").write_text("setopt autocd\r\n")
    (home / ".config/fish/config.fish").write_text("set -g fish_greeting\n")
    (home / ".bashrc").chmod(0o600)


def test_each_shell_installs_says_that_it_is_up_to_date_and_uninstalls_in_a_home_with_spaces_and_quotes(
    home: Home, stand_in: str, shell: str
) -> None:
    machine = furnish(home, AWKWARD, stand_in)
    live_in(machine.home)
    before = tree(machine.home)
    machine.install("--completions", "--modify-path", shell=shell, check=True)
    version = machine.codex_mirror("--version", check=True).out.rstrip()
    installed = tree(machine.home)
    untouched = {path: stamp for path, stamp in stamps(machine.home).items() if "__pycache__" not in path}
    result = machine.install("--completions", shell=shell, check=True)
    assert said_by(result) == f"{version} is up to date: {machine.command}\n"
    assert tree(machine.home) == installed
    assert {path: stamp for path, stamp in stamps(machine.home).items() if "__pycache__" not in path} == untouched
    machine.install("--uninstall", shell=shell, check=True)
    assert tree(machine.home) == before
    assert "oops" not in os.listdir(machine.base)


@pytest.mark.parametrize("used_shell", ["bash", "zsh", "fish", "sh"])
@pytest.mark.parametrize("lived_in", [False, True], ids=["empty", "lived in"])
def test_after_an_uninstall_the_home_is_as_before(machine: Machine, lived_in: bool, used_shell: str) -> None:
    if lived_in:
        live_in(machine.home)
    before = tree(machine.home)
    env = {"SHELL": f"/bin/{used_shell}"}
    machine.install("--modify-path", "--completions", env=env, check=True)
    assert tree(machine.home) != before
    machine.codex_mirror("list", check=True)
    machine.install("--modify-path", "--completions", env=env, check=True)
    result = machine.install("--uninstall", env=env, check=True)
    assert tree(machine.home) == before
    assert result.out.endswith(f"Uninstalled codex-mirror from {machine.home}/.local.\n")
    assert said_by(result).count("\n") > 1  # It says which rc files it has changed.


def test_an_uninstall_without_a_block_is_silent_about_it(machine: Machine) -> None:
    live_in(machine.home)
    machine.installed()
    result = machine.install("--uninstall", check=True)
    assert (said_by(result), result.err) == (f"Uninstalled codex-mirror from {machine.home}/.local.\n", "")


@pytest.mark.parametrize("shell", ["dash", "zsh"], indirect=True)
@pytest.mark.parametrize("with_home", [True, False])
def test_a_prefix_that_was_moved_is_upgraded_and_uninstalled_with_all_that_moved_along(
    telltale: Machine, shell: str, with_home: bool
) -> None:
    options = [] if with_home else ["--prefix", telltale.base / "it's [a-z] prefix"]
    telltale.install("--completions", *options, env={"CODEX_MIRROR_PYTHON": own_python()}, check=True)
    if with_home:
        there = telltale.home.rename(telltale.base / "new home")
        env, options = {"HOME": str(there)}, []
    else:
        there = Path(options[1]).rename(telltale.base / "moved")
        env, options = {}, ["--prefix", there]
    telltale.offer(aged(TELLTALE, "0.0.2"))
    telltale.install(*options, shell=shell, env=env, check=True)
    completions = [path for path in telltale.base.rglob("*codex-mirror*") if "ompletions" in str(path.parent)]
    assert completions and all("0.0.2" in path.read_text() for path in completions)
    for _ in range(2):
        telltale.install("--uninstall", *options, shell=shell, env=env, check=True)
    if with_home:
        assert os.listdir(there) == [] and not telltale.home.exists()
    else:
        assert not there.exists() and os.listdir(telltale.home) == []


def test_an_uninstall_of_nothing_changes_nothing(machine: Machine) -> None:
    live_in(machine.home)
    before = tree(machine.home)
    assert "is not installed" in machine.install("--uninstall", check=True).out
    assert tree(machine.home) == before


EMPTY = '{"version": 1, "clones": []}'
# A row that isn't whole is not listed, but it may be all that leads to a clone somewhere else.
HALF = '{"version": 1, "clones": [{"id": "1", "name": "half"}]}'
STAYING: dict[str, dict[str, str]] = {
    "a row": {"registry.json": HALF, "registry.json.previous": EMPTY},
    "a clone without a row": {"registry.json": EMPTY, "registry.json.previous": HALF, "clones/half/x": "x"},
    "a change under way": {"registry.json": EMPTY, "registry.json.previous": EMPTY, "journal.json": "{"},
}


@pytest.mark.parametrize("what", STAYING)
def test_an_uninstall_leaves_a_mirror_home_that_knows_of_more_than_is_listed(telltale: Machine, what: str) -> None:
    # The telltale lists nothing, and settles nothing, as the program doesn't while another one holds the lock.
    telltale.installed()
    mirror = telltale.home / ".codex-mirror"
    mirror.mkdir(mode=0o700)
    for name, text in STAYING[what].items():
        (mirror / name).parent.mkdir(parents=True, exist_ok=True)
        (mirror / name).write_text(text)
        (mirror / name).chmod(0o600)
    result = telltale.install("--uninstall", check=True)
    assert not telltale.command.exists()
    assert {name: (mirror / name).read_text() for name in STAYING[what]} == STAYING[what]
    assert f"{mirror} stays" in result.out


def test_an_uninstall_works_when_the_program_does_not(telltale: Machine) -> None:
    for block in ("", "# >>> codex-mirror PATH >>>\n# <<< codex-mirror PATH <<<\n"):
        telltale.install("--completions", check=True)
        (telltale.library / "codex_mirror.py").write_text("broken(")
        (telltale.home / ".zprofile").write_text(f"alias x=y\n{block}")
        result = telltale.install("--uninstall", check=True)
        assert (f"in:\ninstall.sh: {telltale.home}/.zprofile\n" in result.err) == bool(block)
        assert result.err.count("PATH") == (3 if block else 0)
        assert os.listdir(telltale.home) == [".zprofile"]


@pytest.mark.parametrize("options", [[], ["--uninstall"], ["--purge"], ["--uninstall", "--purge", "--yes"]])
@pytest.mark.parametrize("installed", [False, True])
def test_a_dry_run_changes_nothing(telltale: Machine, options: list[str], installed: bool) -> None:
    live_in(telltale.home)
    if installed:
        telltale.install("--completions", check=True)
    before = tree(telltale.base)
    result = telltale.install(*options, "--modify-path", "--completions", "--dry-run")
    assert tree(telltale.base) == before
    if installed or not options:
        assert result.code == 0
        assert str(telltale.command) in result.out and "Nothing was changed." in result.out


# --- clones stay, or go ---


def with_clones(machine: Machine, codex: Path, *names: str) -> Machine:
    """Installed, with a clone under each name."""
    machine.env["PATH"] = f"{machine.home}/.local/bin:{codex.parent}:{machine.env['PATH']}"
    machine.installed()
    for name in names:
        machine.codex_mirror("create", name, check=True)
    return machine


def log_in(machine: Machine, name: str) -> None:
    """Gives the clone something to lose."""
    auth = machine.home / ".codex-mirror/clones" / name / ".codex-mirror/home/.codex/auth.json"
    auth.parent.mkdir(exist_ok=True)
    auth.write_text('{"OPENAI_API_KEY": "sk-test"}')


def test_clones_outlive_an_uninstall(machine: Machine, codex: Path) -> None:
    with_clones(machine, codex, "work", "play")
    result = machine.install("--uninstall", check=True)
    assert not machine.command.exists() and not machine.library.exists()
    assert "work" in result.out and "play" in result.out and str(machine.home / ".codex-mirror") in result.out
    wrapper = machine.home / ".local/bin/work"
    assert "0.169.0" in run([wrapper, "--version"], env=machine.env, check=True).out


def test_clones_that_a_new_shell_would_not_find_any_more_come_with_the_line_that_helps(
    home: Home, stand_in: str, codex: Path
) -> None:
    machine = with_clones(furnish(home, AWKWARD, stand_in), codex, "work")
    machine.install("--modify-path", check=True)
    env = {**machine.env, "PATH": "/usr/bin:/bin"}
    found = ["bash", "-ic", "command -v work"]
    assert run(found, env=env).code == 0
    result = machine.install("--uninstall", check=True)
    assert run(found, env=env).code != 0
    [line] = re.findall(r"(?m)^    (export PATH=.*)$", result.out)
    (machine.home / ".bashrc").write_text(line + "\n")
    assert run(found, env=env, check=True).out == f"{machine.home}/.local/bin/work\n"
    if shutil.which("fish"):
        run(["fish", "-c", f"{line}; command -v work"], env=env, check=True)
    elsewhere = {"CODEX_MIRROR_BIN_DIR": str(machine.home / "elsewhere")}
    machine.install(check=True)
    assert "export PATH" not in machine.install("--uninstall", env=elsewhere, check=True).out


@pytest.mark.parametrize("options", [[], ["--modify-path"]])
def test_an_uninstall_of_a_second_copy_leaves_the_first_one_its_things(machine: Machine, options: list[str]) -> None:
    live_in(machine.home)
    machine.install("--modify-path", "--completions", check=True)

    def things() -> dict[str, Any]:
        """All but the mirror home, which comes and goes as long as there is no clone."""
        return {path: what for path, what in tree(machine.home).items() if not path.startswith(".codex-mirror")}

    before, second = things(), ["--prefix", machine.base / "opt"]
    machine.install(*second, *options, check=True)
    machine.install(*second, check=True)
    machine.install(*second, "--uninstall", check=True)
    assert things() == before and not (machine.base / "opt").exists()


def test_completions_that_are_asked_for_are_the_second_copys_too(machine: Machine) -> None:
    machine.install("--completions", check=True)
    second = ["--prefix", machine.base / "opt"]
    machine.install(*second, "--completions", check=True)
    machine.install(*second, "--uninstall", check=True)
    assert not (machine.home / STRANGERS["completion"]).exists()
    machine.install("--uninstall", check=True)
    assert os.listdir(machine.home) == []


def test_a_purge_leaves_the_home_as_before(machine: Machine, codex: Path) -> None:
    live_in(machine.home)
    before = tree(machine.home)
    with_clones(machine, codex, "work", "play")
    log_in(machine, "work")
    machine.install("--purge", "--yes", check=True)
    assert tree(machine.home) == before


@pytest.mark.parametrize("options", [["--purge", "--yes"], ["--uninstall"]])
def test_the_shim_goes_with_the_last_clone(machine: Machine, codex: Path, options: list[str]) -> None:
    live_in(machine.home)
    before = tree(machine.home)
    with_clones(machine, codex, "work")
    machine.codex_mirror("shim", "install", check=True)
    shim, installed = machine.home / ".codex-mirror/shim/codex", tree(machine.home)
    if options == ["--uninstall"]:
        assert "shim" not in machine.install("--uninstall", "--dry-run", check=True).out
        machine.codex_mirror("remove", "work", check=True)
    assert "shim remove\n" in machine.install(*options, "--dry-run", check=True).out and shim.exists()
    edited = shim.read_text()
    shim.write_text(edited + "# mine\n")
    refused = machine.install(*options)
    assert refused.code == 1 and "was edited" in refused.err and machine.command.exists()
    shim.write_text(edited)
    machine.install(*options, check=True)
    assert tree(machine.home) == before != installed


def test_a_purge_without_clones_needs_no_question(machine: Machine, codex: Path) -> None:
    with_clones(machine, codex)
    machine.install("--purge", check=True)
    assert os.listdir(machine.home) == []


def test_a_purge_without_a_terminal_needs_yes_where_something_would_be_lost(machine: Machine, codex: Path) -> None:
    with_clones(machine, codex, "nothing", "work", "play")
    log_in(machine, "work")
    result = machine.install("--purge")
    assert (result.code, machine.codex_mirror("list", check=True).out.split()[::3]) == (5, ["work", "play"])
    assert "its login" in result.err and "--yes" in result.err
    assert result.err.endswith("codex-mirror stays, and so do its clones: work play\n")


def test_a_purge_of_clones_with_nothing_to_lose_needs_no_question(machine: Machine, codex: Path) -> None:
    with_clones(machine, codex, "work", "play")
    machine.install("--purge", check=True)
    assert os.listdir(machine.home) == []


def test_a_purge_refuses_a_registry_that_cannot_be_read(machine: Machine, codex: Path) -> None:
    with_clones(machine, codex, "work")
    registry = machine.home / ".codex-mirror/registry.json"
    registry.write_text("{")
    before = tree(machine.home)
    result = machine.install("--purge", "--yes")
    assert (result.code, tree(machine.home)) == (1, before) and "can't be listed" in result.err


def test_a_purge_leaves_what_it_does_not_know(machine: Machine, codex: Path) -> None:
    with_clones(machine, codex, "work")
    notes = machine.home / ".codex-mirror/notes.txt"
    notes.write_text("mine")
    result = machine.install("--purge", "--yes", check=True)
    assert notes.read_text() == "mine"
    assert not [path for path in tree(machine.home) if "work" in path]
    assert f"{notes.parent} stays" in result.out


def on_terminal(argv: list[Any], env: dict[str, str], *answers: str) -> tuple[int, str]:
    """Runs it on a terminal of its own, answers its questions, and tells how it ended and what was shown."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execvpe(argv[0], [os.fspath(a) for a in argv], env)
    shown, deadline, due = b"", time.monotonic() + 60, list(answers)
    try:
        while select.select([terminal], [], [], max(0, deadline - time.monotonic()))[0]:
            data = os.read(terminal, 4096)
            if not data:
                break
            shown += data
            if due and len(re.findall(rb"\[y/N\] |to confirm: ", shown)) > len(answers) - len(due):
                os.write(terminal, due.pop(0).encode() + b"\n")
    except OSError:
        pass  # On Linux the end of a terminal is an error.
    finally:
        os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), shown.decode()


# What is answered, and which clones are then left.
CONVERSATIONS = [(["n"], ["play", "work"]), (["y", ""], ["work"]), (["y", "y"], ["work"]), (["y", "work"], [])]


def purge(machine: Machine, shell: str, how: str, answers: list[str]) -> tuple[int, str]:
    """Asks for it on a terminal, with install.sh as a file or through a pipe."""
    installer = machine.checkout / "install.sh"
    argv = [*SHELLS[shell], installer, "--purge"]
    if how == "pipe":
        argv = ["sh", "-c", '"$@" <"$0"', installer, *SHELLS[shell], "-s", "--", "--purge"]
    return on_terminal(argv, machine.env, *answers)


@pytest.mark.parametrize("how", ["pipe", "file"])
def test_a_purge_asks_for_each_clone_what_its_removal_asks(machine: Machine, codex: Path, how: str) -> None:
    with_clones(machine, codex)
    clones: list[str] = []
    for answers, left in CONVERSATIONS:
        if clones != ["play", "work"]:
            for name in clones:
                machine.codex_mirror("remove", name, "--yes", check=True)
            for name in ("play", "work"):
                machine.codex_mirror("create", name, check=True)
            log_in(machine, "work")
            home = machine.home / ".codex-mirror/clones/play/.codex-mirror/home"
            session = home / ".codex/sessions/2026/11/22/rollout-x.jsonl"
            session.parent.mkdir(parents=True)
            session.write_text("{}\n")
        before = tree(machine.home)
        code, shown = purge(machine, "dash", how, answers)
        assert "removing 'play' deletes" in shown and "1 session" in shown
        if not left:
            assert (code, os.listdir(machine.home)) == (0, []), shown
        else:
            clones = machine.codex_mirror("list", check=True).out.split()[::3]
            assert (code, clones) == (5, left), shown
            assert f"its clones: {' '.join(left)}\r\n" in shown
            assert answers != ["n"] or tree(machine.home) == before


# Lists and removes as the program does; its clones are files beside HOME.
ASKING = """
import os, sys
__version__ = "0.0.1"
def main(argv=None):
    words, clones = sys.argv[1:], os.path.join(os.environ["HOME"], "../clones")
    if words == ["--version"]:
        print("codex-mirror", __version__, flush=True)
    elif words == ["list"]:
        print(*(f"{name}\\t0.169.0\\t/of/{name}" for name in sorted(os.listdir(clones))), sep="\\n", flush=True)
    elif words[:1] == ["remove"]:
        name = words[1]
        if words[2:] == ["--yes"]:
            return os.remove(f"{clones}/{name}") or 0
        print(f"removing {name!r}", "go on? [y/N] " if name == "play" else f"{name} to confirm: ", end="", flush=True)
        if sys.stdin.readline() != {"play": "y", "work": "work"}[name] + "\\n":
            return 5
        os.remove(f"{clones}/{name}")
    return 0
if __name__ == "__main__":
    sys.exit(main())
"""


def test_each_shell_asks_at_a_purge_and_ends_at_the_first_no(telltale: Machine, shell: str) -> None:
    telltale.offer(ASKING)
    clones = telltale.base / "clones"
    clones.mkdir()
    for how in ("pipe", "file"):
        telltale.installed()
        for answers, left in CONVERSATIONS:
            (clones / "play").touch()
            (clones / "work").touch()
            before = tree(telltale.home)
            code, shown = purge(telltale, shell, how, answers)
            assert (code, sorted(os.listdir(clones))) == (5 if left else 0, left), (how, answers, shown)
            assert "removing 'play'" in shown and ("removing 'work'" in shown) == (answers[0] == "y")
            assert not left or f"its clones: {' '.join(left)}\r\n" in shown
            assert answers != ["n"] or tree(telltale.home) == before
        assert os.listdir(telltale.home) == []
    live_in(telltale.home)
    before = tree(telltale.home)
    telltale.install(check=True)
    (clones / "play").touch()
    (clones / "work").touch()
    telltale.install("--purge", "--yes", shell=shell, check=True)
    assert (tree(telltale.home), os.listdir(clones)) == (before, [])


# --- PATH and completions ---


def test_it_says_how_to_get_onto_the_path_and_leaves_rc_files_alone(machine: Machine) -> None:
    result = machine.install(check=True)
    assert sorted(os.listdir(machine.home)) == [".local"]
    *_, advice, step = result.out.splitlines()
    assert step == f"next: '{machine.command}' create work" and result.out.count("next: ") == 1
    run(["sh", "-c", advice.partition("to put it there: ")[2]], env=machine.env, check=True)
    found = run(["bash", "-ic", "command -v codex-mirror"], env=machine.env, check=True)
    assert found.out.strip() == str(machine.command)


@pytest.mark.parametrize("prefix", ["{home}/.local", "./user/.local", "checkout/../user/.local/"])
@pytest.mark.parametrize("entry", ["{home}/.local/bin", "{home}/.local/../.local//bin/"])
def test_on_the_path_already_there_is_no_advice(machine: Machine, prefix: str, entry: str) -> None:
    env = {"PATH": f"{entry.format(home=machine.home)}:{machine.env['PATH']}"}
    said = machine.install("--prefix", prefix.format(home=machine.home), env=env, check=True).out
    assert "PATH" not in said and said.endswith("\nnext: codex-mirror create work\n")


def test_another_codex_mirror_before_it_on_the_path_is_named(telltale: Machine) -> None:
    other = script(telltale.base / "tools/codex-mirror", "echo the earlier program")
    assert f"{other} comes before it" in telltale.install(check=True).out


def test_modify_path_puts_the_command_on_the_path(machine: Machine) -> None:
    result = machine.install("--modify-path", check=True)
    assert result.out.endswith("\nnext: codex-mirror create work   (in a new shell)\n")
    found = run(["bash", "-ic", "command -v codex-mirror"], env=machine.env, check=True)
    assert found.out.strip() == str(machine.command)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be another user")
def test_an_rc_file_that_cannot_be_written_is_told_and_the_next_step_works_all_the_same(machine: Machine) -> None:
    needs("setpriv")
    shutil.copy(PROGRAM, machine.checkout / "codex_mirror.py")
    (machine.home / ".bashrc").write_text("alias x=y\n")
    machine.base.chmod(0o755)
    for path in (machine.home, machine.base / "t"):
        os.chown(path, STRANGERS_UID, STRANGERS_UID)
    become = ["setpriv", f"--reuid={STRANGERS_UID}", f"--regid={STRANGERS_UID}", "--clear-groups"]
    env = {**machine.env, "PATH": "/usr/bin:/bin", "CODEX_MIRROR_PYTHON": "/usr/bin/python3"}
    result = run([*become, "sh", machine.checkout / "install.sh", "--modify-path"], env=env)
    if "not a Python 3.10" in result.err:
        pytest.skip("another user has no Python here")
    assert result.code == 1 and result.err.splitlines()[-1].startswith("install.sh: codex-mirror is installed, but")
    assert "read-only" in result.err and (machine.home / ".bashrc").read_text() == "alias x=y\n"
    step = result.out.splitlines()[-1].removeprefix("next: ")
    assert step == f"'{machine.command}' create work"


def test_completions_are_found_by_bash(machine: Machine) -> None:
    result = machine.install("--completions", check=True)
    assert "needs bash 4.2 or newer" in result.out
    [line] = re.findall(r"without it by a line in your .bashrc: (.*)", result.out)
    assert "codex-mirror" in run(["bash", "-c", f"{line}; complete -p codex-mirror"], env=machine.env, check=True).out
    file = machine.home / STRANGERS["completion"]
    result = run(
        ["bash", "-c", f"source {shlex.quote(str(file))}; complete -p codex-mirror"], env=machine.env, check=True
    )
    assert result.out.rstrip().endswith("codex-mirror")


def test_completions_are_found_by_fish(machine: Machine) -> None:
    needs("fish")
    machine.install("--completions", check=True)
    env = {**machine.env, "PATH": f"{machine.home}/.local/bin:{machine.env['PATH']}"}
    result = run(["fish", "-c", "complete -C 'codex-mirror rem'"], env=env, check=True)
    assert "remove" in result.out


def test_completions_are_found_by_zsh(machine: Machine) -> None:
    needs("zsh")
    result = machine.install("--completions", check=True)
    [fpath] = re.findall(r"fpath=\(.*\)", result.out)
    look = f"{fpath}; autoload -Uz compinit; compinit -u -D; print -r -- $_comps[codex-mirror]"
    assert run(["zsh", "-f", "-c", look], env=machine.env, check=True).out.strip() == "_codex-mirror"


def test_completions_lie_where_the_environment_says(telltale: Machine) -> None:
    env = {"XDG_DATA_HOME": str(telltale.base / "data"), "XDG_CONFIG_HOME": str(telltale.base / "config")}
    telltale.install("--completions", env=env, check=True)
    assert sorted(os.listdir(telltale.home / ".local/share")) == ["codex-mirror"]
    # Another environment, but the receipt knows.
    telltale.install("--uninstall", check=True)
    assert not (telltale.base / "data").exists() and not (telltale.base / "config").exists()


# --- Python ---


def old_python(path: Path) -> Path:
    """A Python that says that it is 3.9."""
    code = "import sys; sys.version_info = (3, 9, 18); exec(sys.argv[1])"
    return script(path, f'exec {shlex.quote(sys.executable)} -I -c {shlex.quote(code)} "$3"')


def test_without_python_it_says_what_to_install(telltale: Machine) -> None:
    env = tools(telltale, "dash")
    (Path(env["PATH"]) / "python3").unlink()
    result = telltale.install(env=env)
    assert (result.code, os.listdir(telltale.home)) == (1, [])
    assert "no Python 3.10 or newer was found" in result.err and "CODEX_MIRROR_PYTHON" in result.err


ADVICE = [
    ("Darwin", ["brew"], "hint: brew install python; "),
    ("Darwin", [], "hint: install it from https://www.python.org/downloads/; "),
    ("Linux", ["apt-get"], "hint: sudo apt install python3; "),
    ("Linux", ["dnf", "uv"], "hint: sudo dnf install python3.12; "),
    ("Linux", ["zypper"], "hint: sudo zypper install python312; "),
    ("Linux", ["apk"], "hint: apk add python3; "),
    ("Linux", ["pacman"], "hint: sudo pacman -S python; "),
    ("Linux", ["uv"], "hint: uv python install 3.13; "),
    ("FreeBSD", ["pkg"], "hint: sudo pkg install python3; "),
    ("Linux", [], "hint: install Python 3.10 or newer; "),
]


@pytest.mark.parametrize(("system", "managers", "hint"), ADVICE, ids=[row[2] for row in ADVICE])
def test_what_to_install_goes_by_the_platform(telltale: Machine, system: str, managers: list[str], hint: str) -> None:
    env = tools(telltale, "dash")
    few = Path(env["PATH"])
    (few / "python3").unlink()
    (few / "uname").unlink()
    script(few / "uname", f"echo {system}")
    for name in managers:
        script(few / name, "exit 1")
    # Root may be without sudo, as in a container.
    for user, expected in ((12345, hint), (0, hint.replace("sudo ", ""))):
        (few / "id").unlink(missing_ok=True)
        script(few / "id", f"echo {user}")
        assert expected in telltale.install(env=env).err


def test_where_the_system_s_python_is_too_old_another_way_is_named(telltale: Machine) -> None:
    env = tools(telltale, "dash")
    few = Path(env["PATH"])
    (few / "python3").unlink()
    old_python(few / "python3")
    for name in ("apt-get", "uv"):
        script(few / name, "exit 1")
    assert "hint: uv python install 3.13; " in telltale.install(env=env).err


PLACES = [
    "{base}/brew/python3",
    "{base}/brew/python3.12",
    "{base}/Library/Frameworks/Python.framework/Versions/3.13/bin/python3.13",
    "{home}/.local/share/uv/python/cpython-3.13.1-macos-aarch64-none/bin/python3.13",
    "{home}/.local/share/mise/installs/python/3.12.4/bin/python3.12",
    "{home}/.pyenv/versions/3.11.9/bin/python3.11",
    "{home}/.asdf/installs/python/3.14.0/bin/python3.14",
    "{home}/miniconda3/bin/python3",
    "{home}/.nix-profile/bin/python3.12",
    "{base}/opt/python3.12/bin/python3.12",
    "{base}/opt/python-3.11.4/bin/python3.11",
    "{base}/opt/python/3.13.1/bin/python3.13",
]


@pytest.mark.parametrize("place", PLACES)
def test_a_python_is_found_where_the_platform_puts_one(telltale: Machine, place: str) -> None:
    env = tools(telltale, "dash")
    few = Path(env["PATH"])
    (few / "python3").unlink()
    old_python(few / "python3")
    there = Path(place.format(base=telltale.base, home=telltale.home))
    there.parent.mkdir(parents=True)
    there.symlink_to(own_python())
    [python] = re.findall(r"Would use Python .*: (.*)", telltale.install("--dry-run", env=env, check=True).out)
    assert python in (own_python(), str(there))


def test_the_newest_python_beside_path_is_taken(telltale: Machine) -> None:
    env = tools(telltale, "dash")
    (Path(env["PATH"]) / "python3").unlink()
    for number in ("3.9.20", "3.10.2", "3.13.1", "3.12.8"):
        name = number.rpartition(".")[0]
        python = telltale.home / f".pyenv/versions/{number}/bin/python{name}"
        python.parent.mkdir(parents=True)
        python.symlink_to(own_python())
        python.with_name("python3").symlink_to(own_python())
    assert (
        f": {telltale.home}/.pyenv/versions/3.13.1/bin/python3.13\n" in telltale.install("-n", env=env, check=True).out
    )


def test_a_python_that_is_too_old_is_named(telltale: Machine) -> None:
    env = tools(telltale, "dash")
    python = Path(env["PATH"]) / "python3"
    python.unlink()
    old_python(python)
    result = telltale.install(env=env)
    assert (result.code, os.listdir(telltale.home)) == (1, [])
    assert f"{python} (3.9.18)" in result.err


@pytest.mark.parametrize("name", ["python3.10", "python3.14"])
def test_an_old_python3_gives_way_to_a_newer_one_beside_it(telltale: Machine, name: str) -> None:
    env = tools(telltale, "dash")
    python = Path(env["PATH"]) / "python3"
    python.rename(python.with_name(name))
    old_python(python)
    telltale.install(env=env, check=True)
    assert python_of(telltale) == own_python()


def test_the_python_that_was_named_is_the_one(telltale: Machine) -> None:
    named = telltale.base / "named python"
    named.symlink_to(own_python())
    telltale.install(env={"CODEX_MIRROR_PYTHON": str(named)}, check=True)
    assert python_of(telltale) == str(named)
    for wrong in (old_python(telltale.base / "old"), telltale.base / "none", script(telltale.base / "odd", "echo hm")):
        result = telltale.install(env={"CODEX_MIRROR_PYTHON": str(wrong)})
        assert result.code == 1 and str(wrong) in result.err


def test_an_environments_python_is_seen_through(telltale: Machine) -> None:
    environment = telltale.base / "venv"
    run([sys.executable, "-m", "venv", "--without-pip", environment], env=telltale.env, check=True)
    env = {"PATH": f"{environment}/bin:{telltale.env['PATH']}"}
    telltale.install(env=env, check=True)
    assert not python_of(telltale).startswith(str(environment))
    shutil.rmtree(environment)
    telltale.codex_mirror("list", check=True)


@pytest.mark.parametrize("how", ["on PATH", "named"])
def test_an_environment_of_a_newer_python_beside_an_old_python3_will_do(telltale: Machine, how: str) -> None:
    # As on a system whose python3 is 3.9, with an environment made by its python3.12.
    base = telltale.base / "usr"
    (base / "bin").mkdir(parents=True)
    old_python(base / "bin/python3")
    behind = base / "bin/python{}.{}".format(*sys.version_info)
    behind.symlink_to(own_python())
    pretend = f"import sys; sys.prefix, sys.base_prefix = '/environment', {str(base)!r}; exec(sys.argv[1])"
    bin_dir = telltale.base / "environment"
    bin_dir.mkdir()
    code = f'exec {shlex.quote(sys.executable)} -I -c {shlex.quote(pretend)} "$3"'
    python = script(bin_dir / "python3", code)
    env = {"PATH": f"{bin_dir}:/usr/bin:/bin"} if how == "on PATH" else {"CODEX_MIRROR_PYTHON": str(python)}
    telltale.install(env=env, check=True)
    assert python_of(telltale) == str(behind)


# macOS keeps this in a file of its own, so the machine is a pretended one: uname and xcode-select are ours.
def test_apples_stub_is_not_started(telltale: Machine) -> None:
    if not os.path.exists("/usr/bin/python3") or own_python() == "/usr/bin/python3":
        pytest.skip("this needs a /usr/bin/python3 beside the one that runs the tests")
    mac = telltale.base / "mac"
    mac.mkdir()
    script(mac / "uname", "echo Darwin")
    script(mac / "xcode-select", "exit 2")
    (telltale.base / "tools/python3").rename(telltale.base / "tools/python3.12")
    telltale.install(env={"PATH": f"{mac}:/usr/bin:/bin:{telltale.base}/tools"}, check=True)
    assert python_of(telltale) != "/usr/bin/python3"


# --- the launcher ---


def told(machine: Machine, *args: str, **more: Any) -> Any:
    return machine.codex_mirror(*args, check=True, **more).json()


def test_the_launcher_passes_everything_on(telltale: Machine) -> None:
    telltale.installed()
    args = ["tell", "", "two words", "it's", '"', "$HOME", "*", "new\nline", "-c", "--", "--version", "é"]
    report = told(telltale, *args)
    assert report["argv"] == [str(telltale.command), *args]
    assert report["flags"] == [1, 1]
    assert report["python"] == own_python()
    assert [telltale.codex_mirror("exit", code).code for code in ("0", "5", "70")] == [0, 5, 70]


def test_the_launcher_becomes_the_program(telltale: Machine) -> None:
    telltale.installed()
    process = start([telltale.command, "tell"], env=telltale.env)
    assert finish(process).json()["pid"] == process.pid


def test_the_launcher_is_called_by_the_name_it_was_called_by(telltale: Machine) -> None:
    telltale.installed()
    link = telltale.base / "cm"
    link.symlink_to(telltale.command)
    assert run([link, "tell"], env=telltale.env, check=True).json()["argv"] == [str(link), "tell"]


def moved(machine: Machine) -> Path:
    return machine.home.rename(machine.base / "moved")


def copied(machine: Machine) -> Path:
    shutil.copytree(machine.home, machine.base / "copied", symlinks=True)
    return machine.base / "copied"


def behind_a_link(machine: Machine) -> Path:
    """Its directory is a link by now, as that of somebody's dotfiles, and the home has another name."""
    commands = machine.command.parent.rename(machine.base / "commands")
    machine.command.parent.symlink_to(commands)
    return moved(machine)


@pytest.mark.parametrize("change", [moved, copied, behind_a_link], ids=lambda change: change.__name__)
def test_a_launcher_that_was_moved_or_copied_starts_the_program_beside_it(
    telltale: Machine, change: Callable[[Machine], Path]
) -> None:
    telltale.installed()
    tail, program = telltale.command.relative_to(telltale.home), telltale.library / "codex_mirror.py"
    program = program.relative_to(telltale.home)
    there = change(telltale)
    text = (there / program).read_text()
    (there / program).write_text(text + 'print("beside", file=sys.stderr)\n')
    (there / "cm").symlink_to(tail)
    for command, cwd in ((there / tail, "/"), (tail, there), (there / "cm", "/"), ("./cm", there)):
        result = run([command, "tell"], env=telltale.env, cwd=cwd, check=True)
        assert result.err == "beside\n" and result.json()["argv"] == [str(command), "tell"]


@pytest.mark.parametrize("gone", ["codex_mirror.py", "."])
@pytest.mark.parametrize("change", [lambda machine: machine.home, moved, copied], ids=["in place", "moved", "copied"])
def test_a_launcher_whose_program_is_gone_says_so_and_how_to_have_it_again(
    telltale: Machine, gone: str, change: Callable[[Machine], Path]
) -> None:
    telltale.installed()
    tail, library = telltale.command.relative_to(telltale.home), telltale.library.relative_to(telltale.home)
    there = change(telltale)
    path = there / library / gone
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    result = run([there / tail, "--version"], env=telltale.env)
    assert (result.code, result.out) == (1, "") and "Traceback" not in result.err
    first, hint = result.err.splitlines()
    assert first == f"codex-mirror: {there / library}/codex_mirror.py is missing"
    install_as_hinted(telltale, hint)
    assert run([there / tail, "tell"], env=telltale.env).code == 0


def install_as_hinted(machine: Machine, hint: str) -> None:
    """Types what the launcher names, with the checkout's install.sh in place of the download."""
    assert hint.startswith("hint: to install it again: curl -fsSL https://raw.githubusercontent.com/")
    words = shlex.split(hint.partition("| ")[2])
    assert words[1:] == ["sh"]
    env = {**machine.env, **dict([words[0].split("=", 1)])}
    assert run(["sh", machine.checkout / "install.sh"], env=env).code == 0


# What a full disk, a broken copy or a stranger can make of the program, and what is then said of it.
DAMAGES: dict[str, tuple[bytes, str]] = {
    "cut off": (TELLTALE.encode()[:-80], "is damaged: "),
    "cut off between two lines": (TELLTALE.partition("def main")[0].encode(), "is damaged: cannot import name 'main'"),
    "empty": (b"", "is damaged: cannot import name 'main'"),
    "its end is zeros": (TELLTALE.encode() + bytes(9), "is damaged: source code"),
    "not text": (b"\x7fELF\xff", "is damaged: "),
    "of something that isn't there": (b"import nowhere\n", "is damaged: No module named 'nowhere'"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_program_that_is_damaged_is_told_in_two_lines_and_the_second_mends_it(home: Home, damage: str) -> None:
    machine, (program, says) = furnish(home, AWKWARD), DAMAGES[damage]
    machine.installed()
    (machine.library / "codex_mirror.py").write_bytes(program)
    result = machine.codex_mirror("tell")
    assert (result.code, result.out, result.err.count("\n")) == (1, "", 2)
    first, hint = result.err.splitlines()
    assert first.startswith(f"codex-mirror: {machine.library}/codex_mirror.py {says}")
    install_as_hinted(machine, hint)
    assert told(machine, "tell")["version"] == OLD


@pytest.mark.parametrize(("before", "end"), [(signal.SIG_DFL, -signal.SIGINT), (signal.SIG_IGN, 0)])
def test_ctrl_c_while_the_program_is_loaded_is_its_end_without_a_traceback(
    telltale: Machine, before: signal.Handlers, end: int
) -> None:
    telltale.offer(f'import sys\nif sys.argv[1:] == ["slowly"]:\n    print(flush=True), sys.stdin.read()\n{TELLTALE}')
    telltale.installed()
    heard = functools.partial(signal.signal, signal.SIGINT, before)
    process = start([telltale.command, "slowly"], env=telltale.env, stdin=subprocess.PIPE, preexec_fn=heard)
    assert process.stdout and process.stdout.readline() == b"\n"
    process.send_signal(signal.SIGINT)
    result = finish(process, stdin=b"")
    assert (result.code, result.err) == (end, "")


def test_ctrl_c_later_is_told(alone: Machine) -> None:
    alone.installed()
    asked = alone.base / "asked"
    package = fake_codex(alone.base / "slow", body=f"#!/bin/sh\n: >'{asked}'\nexec sleep 60\n")
    process = start([alone.command, "create", "work", "--from", package], env=alone.env)
    wait_until(asked.exists, "Codex is asked for its version")
    process.send_signal(signal.SIGINT)
    assert finish(process) == Result(130, "", "interrupted: 'create work' was not done\n")


def test_nothing_from_outside_gets_into_the_program(telltale: Machine) -> None:
    telltale.installed()
    trap = telltale.base / "trap"
    for module in ("json", "codex_mirror", "sitecustomize", "os"):
        trap.mkdir(exist_ok=True)
        (trap / f"{module}.py").write_text("raise SystemExit('trapped')\n")
    (telltale.library / "json.py").write_text("raise SystemExit('trapped')\n")
    env = {**telltale.env, "PYTHONPATH": str(trap), "PYTHONHOME": str(trap), "PYTHONSTARTUP": str(trap / "json.py")}
    report = run([telltale.command, "tell"], env=env, cwd=trap, check=True).json()
    assert report["modules"]["codex_mirror"] == str(telltale.library / "codex_mirror.py")
    assert not report["modules"]["json"].startswith(str(telltale.base))


def test_the_bytecode_of_the_install_is_used_and_never_written_again(telltale: Machine) -> None:
    telltale.install(check=True)
    # It was made when the program was checked, before there was a launcher.
    [bytecode] = (telltale.library / "__pycache__").iterdir()
    assert bytecode.stat().st_mtime_ns <= telltale.command.stat().st_mtime_ns
    before = stamps(telltale.home)
    told(telltale, "tell")
    assert stamps(telltale.home) == before
    # Python prints what it compares: the bytecode matches its source, though that has another name by now.
    code = f"import sys; sys.path.append({str(telltale.library)!r}); import codex_mirror"
    seen = run([own_python(), "-I", "-S", "-v", "-c", code], env=telltale.env).err
    assert re.search(r"__pycache__/codex_mirror\.\S+\.pyc matches", seen)


def test_when_its_python_is_gone_any_other_will_do(telltale: Machine) -> None:
    python = telltale.base / "fleeting"
    python.symlink_to(own_python())
    telltale.install(env={"CODEX_MIRROR_PYTHON": str(python)}, check=True)
    assert told(telltale, "tell")["python"] == str(python)
    python.unlink()
    assert told(telltale, "tell", "é *")["argv"] == [str(telltale.command), "tell", "é *"]
    few = tools(telltale, "dash")
    (Path(few["PATH"]) / "python3").rename(Path(few["PATH"]) / "python3.11")
    old_python(Path(few["PATH"]) / "python3")
    assert run([telltale.command, "tell"], env={**telltale.env, **few}, check=True).json()["python"] == own_python()
    brewed = telltale.base / "brew" / "python3.11"
    brewed.parent.mkdir()
    (Path(few["PATH"]) / "python3.11").rename(brewed)
    assert run([telltale.command, "tell"], env={**telltale.env, **few}, check=True).json()["python"] == own_python()
    brewed.unlink()
    result = run([telltale.command, "tell"], env={**telltale.env, **few})
    assert (result.code, result.out) == (1, "")
    assert "no Python 3.10 or newer was found" in result.err
    named = {**telltale.env, **few, "CODEX_MIRROR_PYTHON": own_python()}
    assert run([telltale.command, "tell"], env=named, check=True).json()["python"] == own_python()


def test_a_directory_in_the_place_of_its_python_is_no_python(telltale: Machine) -> None:
    python = telltale.base / "fleeting"
    python.symlink_to(own_python())
    telltale.install(env={"CODEX_MIRROR_PYTHON": str(python)}, check=True)
    python.unlink()
    python.mkdir()
    assert told(telltale, "tell", "x")["argv"] == [str(telltale.command), "tell", "x"]


@pytest.mark.parametrize("name", SHELLS)
def test_the_launcher_is_plain_shell(telltale: Machine, name: str) -> None:
    needs(SHELLS[name][0])
    telltale.installed()
    result = run([*SHELLS[name], telltale.command, "tell", "a b"], env=telltale.env, check=True)
    assert result.json()["argv"] == [str(telltale.command), "tell", "a b"]
    if shutil.which("shellcheck"):
        assert run(["shellcheck", "--severity=style", telltale.command], env=telltale.env).out == ""


# --- the file on its own ---


def test_the_file_says_which_python_it_needs_to_whoever_starts_it() -> None:
    """As PEP 723 has it, which `uv run` and `pipx run` read; below it stands the same for those that don't."""
    source = PROGRAM.read_text(encoding="utf-8")
    block = r"(?m)^# /// (?P<type>[a-zA-Z0-9-]+)$\s(?P<content>(^#(| .*)$\s)+)^# ///$"  # The PEP's own.
    [match] = re.finditer(block, source)
    assert (match["type"], match["content"]) == ("script", '# requires-python = ">=3.10"\n')
    assert source.startswith(f"#!/usr/bin/env python3\n{match[0]}\n") and "sys.version_info < (3, 10)" in source


def lay(machine: Machine, path: Path) -> Path:
    """Copies the program to `path`, executable."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(machine.checkout / "codex_mirror.py", path)
    path.chmod(0o755)
    return path


@pytest.fixture
def alone(machine: Machine, codex: Path) -> Machine:
    """A machine with Codex, where nothing is installed."""
    machine.env["PATH"] = f"{machine.home}/.local/bin:{codex.parent}:{machine.env['PATH']}"
    return machine


# How the file lies, and the name under which it then speaks.
LYINGS = {
    "as it is": ("anywhere/codex_mirror.py", "codex_mirror.py"),
    "without suffix": ("dotfiles/bin/codex-mirror", "codex-mirror"),
    "under a name of one's own": ("dotfiles/bin/cm", "cm"),
    "below an awkward directory": (f"{AWKWARD}/codex-mirror", "codex-mirror"),
}


@pytest.mark.parametrize("lying", LYINGS)
@pytest.mark.parametrize("how", ["run", "executed", "symlinked", "read-only"])
def test_the_file_works_wherever_it_lies(alone: Machine, lying: str, how: str) -> None:
    place, name = LYINGS[lying]
    if (lying, how) == ("as it is", "executed"):
        shutil.copy(PROGRAM, alone.checkout / "codex_mirror.py")
    file = lay(alone, alone.base / place)
    argv: list[Any] = [file] if how != "run" else [sys.executable, file]
    if how == "symlinked":
        argv = [alone.base / "linked" / name]
        argv[0].parent.mkdir()
        argv[0].symlink_to(file)
    if how == "read-only":
        file.chmod(0o555)
        file.parent.chmod(0o555)
    around = tree(alone.base / place.split("/")[0])
    elsewhere = alone.base / "elsewhere"
    elsewhere.mkdir()
    for args in (["create", "work"], ["list"], ["doctor"]):
        run([*argv, *args], env=alone.env, cwd=elsewhere, check=args != ["doctor"])
    assert run(["work", "--version"], env=alone.env, check=True).out == "codex-cli 0.169.0\n"
    refused = run([*argv, "remove", "wrok"], env=alone.env, cwd=elsewhere)
    assert refused.code == 3 and "wrok" in refused.err
    assert tree(alone.base / place.split("/")[0]) == around
    assert os.listdir(elsewhere) == []


@pytest.mark.parametrize("lying", LYINGS)
def test_the_file_speaks_under_the_name_it_was_called_by(alone: Machine, lying: str) -> None:
    place, name = LYINGS[lying]
    file = lay(alone, alone.base / place)
    env = {**alone.env, "PATH": f"{file.parent}:{alone.env['PATH']}"}

    def said(*args: str) -> str:
        return run([file, *args], env=env, check=True).out

    assert f"usage: {name} " in said("--help")
    for shell_name in ("bash", "zsh", "fish"):
        assert re.search(rf"(?<![\w.-]){re.escape(name)}(?![\w.-])", said("completion", shell_name))
    assert f"{name}: " in run([file, "remove", "wrok"], env=env).err


def test_the_command_on_another_machine_has_its_plain_name(alone: Machine) -> None:
    file = lay(alone, alone.base / "dotfiles/cm")
    shown = run([file, "export", "--help"], env=alone.env, check=True).out
    assert f"{file} export work -o - | ssh host codex-mirror import - --yes\n" in shown


@pytest.mark.parametrize("lying", LYINGS)
def test_off_the_path_the_file_names_a_command_line_that_works(alone: Machine, lying: str) -> None:
    file = lay(alone, alone.base / LYINGS[lying][0])
    usage = run([file, "--help"], env=alone.env, check=True).out.splitlines()[0]
    command = usage.removeprefix("usage: ").partition(" [-h]")[0]
    assert run(["sh", "-c", f"{command} --version"], env=alone.env, check=True).out.startswith("codex-mirror ")


def test_a_neighbour_in_a_dotfiles_repository_is_not_taken_for_a_part_of_python(alone: Machine) -> None:
    shutil.copy(PROGRAM, alone.checkout / "codex_mirror.py")
    file = lay(alone, alone.base / "dotfiles/codex-mirror")
    for module in ("json", "os", "argparse", "typing", "shutil", "curses"):
        (file.parent / f"{module}.py").write_text("raise SystemExit('trapped')\n")
    before = tree(file.parent)
    run([sys.executable, file, "create", "work"], env=alone.env, cwd=file.parent, check=True)
    run([file, "list"], env=alone.env, cwd=file.parent, check=True)
    assert tree(file.parent) == before


@pytest.mark.parametrize("name", ["codex-mirror", "cm", "codex_mirror.py"])
def test_python_with_a_bare_name_is_named_as_it_was_typed(alone: Machine, name: str) -> None:
    file = lay(alone, alone.base / "dots" / name)
    refused = run(["python3", name, "run", "nope"], env=alone.env, cwd=file.parent)
    [hint] = re.findall(r"hint: .*?: (.*) create nope", refused.err)
    assert hint == f"python3 {name}"
    run(["sh", "-c", f"{hint} create nope"], env=alone.env, cwd=file.parent, check=True)


def test_who_starts_it_by_uv_is_told_to_go_on_by_uv(alone: Machine) -> None:
    file = lay(alone, alone.base / "dots" / "codex_mirror.py")
    env = {**alone.env, "UV_RUN_RECURSION_DEPTH": "1"}
    refused = run(["python3", file.name, "run", "nope"], env=env, cwd=file.parent)
    assert refused.err.endswith("hint: there are none yet: uv run codex_mirror.py create nope\n")


@pytest.mark.parametrize("on_path", [True, False])
def test_where_nothing_is_installed_the_next_command_is_the_clones_own(alone: Machine, on_path: bool) -> None:
    bin_dir = alone.base / AWKWARD / "bin"
    bin_dir.mkdir(parents=True)
    env = {**alone.env, "CODEX_MIRROR_BIN_DIR": str(bin_dir)}
    if on_path:
        env["PATH"] = f"{bin_dir}:{env['PATH']}"

    def piped(*words: str) -> Result:
        return run(["python3", "-", *words], env=env, cwd=alone.base, stdin=alone.program)

    def next_of(name: str) -> str:
        return piped("create", name).out.splitlines()[-1].removeprefix("next: ")

    command = next_of("work")
    assert (command == "work login") == on_path
    assert (piped("list").err, piped("run", "nobody").err.count("how to install it")) == ("", 1)
    shown = run(["sh", "-c", f"{command} status"], env=env, cwd=alone.base)
    assert "Not logged in" in shown.err, shown
    script(alone.base / "tools/codex-mirror", "exit")
    assert next_of("play") == "codex-mirror login play"
    assert "how to install it" not in piped("run", "nobody").err


@pytest.mark.parametrize("how", ["curl | python3 -", "python3 <(curl)"])
def test_nothing_needs_to_be_installed(alone: Machine, server: str, how: str) -> None:
    needs("curl")
    shutil.copy(PROGRAM, alone.checkout / "codex_mirror.py")
    url = f"{server}/codex_mirror.py"
    lines = {
        "curl | python3 -": f"curl -fsSL {url} | python3 - create work",
        "python3 <(curl)": f"python3 <(curl -fsSL {url}) create work",
    }
    argv = ["bash", "-o", "pipefail", "-c", lines[how]]
    run(argv, env=alone.env, cwd=alone.base, check=True)
    # The wrapper needs neither the program nor Python.
    wrapper = alone.home / ".local/bin/work"
    env = {**alone.env, "PATH": "/usr/bin:/bin"}
    assert run([wrapper, "--version"], env=env, check=True).out == "codex-cli 0.169.0\n"
    help_line = {
        "curl | python3 -": f"curl -fsSL {url} | python3 - --help",
        "python3 <(curl)": f"python3 <(curl -fsSL {url}) --help",
    }
    shown = run(["bash", "-c", help_line[how]], env=alone.env, cwd=alone.base, check=True).out
    assert "usage: codex-mirror " in shown
