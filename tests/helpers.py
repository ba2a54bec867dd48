"""What the tests share: real processes, a fake Codex package, npm's layout of it, and snapshots of whole trees."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import platform
import pwd
import secrets
import shlex
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import preloaded

REPO = Path(__file__).resolve().parent.parent
PROGRAM = REPO / "codex_mirror.py"

# Every secret that a test plants stands here, and no output of the program may show one: the end of the session looks.
API_KEYS = ["sk-proj-planted-alpha-0123456789-aaaaa", "sk-proj-planted-bravo-0123456789-bbbbb"]
ACCESS_TOKEN = "planted-access-token-0123456789-ccccc"
REFRESH_TOKEN = "planted-refresh-token-0123456789-ddddd"
SECRETS = [*API_KEYS, ACCESS_TOKEN, REFRESH_TOKEN]
LEAKS: list[str] = []

# macOS has no C.UTF-8.
UTF8_LOCALE = "en_US.UTF-8" if platform.system() == "Darwin" else "C.UTF-8"

# npm's archives give every file this time, in every version (1985-10-26 08:15 UTC).
NPM_MTIME = 499162500

TRIPLES = {
    ("Linux", "x86_64"): ("x86_64-unknown-linux-musl", "codex-linux-x64"),
    ("Linux", "aarch64"): ("aarch64-unknown-linux-musl", "codex-linux-arm64"),
    ("Darwin", "x86_64"): ("x86_64-apple-darwin", "codex-darwin-x64"),
    ("Darwin", "arm64"): ("aarch64-apple-darwin", "codex-darwin-arm64"),
}
TRIPLE, PLATFORM_PACKAGE = TRIPLES[platform.system(), platform.machine()]


# --- real processes ---

Process = subprocess.Popen[bytes]


class Result(NamedTuple):
    """How a process ended; bytes that aren't UTF-8 are surrogate escapes in `out` and `err`."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        """The one JSON document on stdout."""
        return json.loads(self.out)


def start(argv: list[Any], *, env: Mapping[str, str], cwd: Path | str | None = None, **more: Any) -> Process:
    """A process in a session of its own (so without a terminal), both outputs piped, nothing on stdin."""
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([os.fspath(a) for a in argv], env=env, cwd=cwd, start_new_session=True, **{**pipes, **more})


def finish(process: Process, *, stdin: bytes | None = None, timeout: float = 120) -> Result:
    """Waits for it; past the limit (seconds) it and everything in its session is killed and the test fails."""
    try:
        out, err = process.communicate(stdin, timeout=timeout)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
        raise AssertionError(f"{process.args!r} did not end in {timeout} s\n{_report(out, err)}") from None
    look_for_secrets(process.args, out + err)
    return Result(process.returncode, *(os.fsdecode(data) for data in (out, err)))


@cache
def launcher_start() -> str:
    """What the installed launcher gives to `python3 -I -S -c`, before the program's directory and its own path."""
    installer = (REPO / "install.sh").read_text()
    return installer.split("\nSTART='")[1].split("'\n")[0]


def program_words(program: Path = PROGRAM) -> list[str]:
    """What the installed launcher says to Python, so that there is bytecode: the script is compiled at each start."""
    return [*python_words(program.parent), str(program)]


def python_words(library: Path) -> list[str]:
    """The same, before the path that the command has."""
    return [sys.executable, "-I", "-S", "-c", launcher_start(), str(library)]


def make_launcher(command: Path, library: Path = REPO) -> Path:
    """Makes a command that starts the program in that directory as the one that install.sh puts on PATH does."""
    command.parent.mkdir(exist_ok=True)
    command.write_text(f'#!/bin/sh\nexec {shlex.join(python_words(library))} "$0" "$@"\n')
    command.chmod(0o755)
    return command


def wait_until(condition: Callable[[], object], what: str, seconds: float = 30) -> None:
    """Polls; fails the test when it takes too long."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.01)


def run(
    argv: list[Any],
    *,
    env: Mapping[str, str],
    stdin: bytes | str | None = None,
    cwd: Path | str | None = None,
    check: bool = False,
    timeout: float = 120,
) -> Result:
    """Runs it to its end; with `check` anything but exit 0 fails the test, showing both outputs."""
    data = stdin.encode() if isinstance(stdin, str) else stdin
    process = start(argv, env=env, cwd=cwd, stdin=subprocess.DEVNULL if data is None else subprocess.PIPE)
    return _checked(argv, finish(process, stdin=data, timeout=timeout), check)


def _checked(argv: list[Any], result: Result, check: bool) -> Result:
    if check and result.code != 0:
        raise AssertionError(f"{argv} ended with {result.code}\n{_report(result.out, result.err)}")
    return result


def play(
    argv: list[str],
    *,
    env: Mapping[str, str],
    stdin: bytes | str | None = None,
    cwd: Path | str,
    check: bool = False,
    timeout: float = 120,
) -> Result:
    """As `run`, for the program itself, which is loaded already."""
    data = stdin.encode() if isinstance(stdin, str) else stdin
    code, out, err = preloaded.server().run(argv, env, os.fspath(cwd), data, timeout)
    look_for_secrets(argv, out + err)
    return _checked(argv, Result(code, os.fsdecode(out), os.fsdecode(err)), check)


def home_in_passwd() -> str:
    """The home directory that the system knows of whoever runs the tests, or nothing: not every user has an entry."""
    try:
        return pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:
        return ""


def look_for_secrets(what: object, output: bytes | str) -> None:
    """Notes the test that showed a planted secret; the session then fails at its end."""
    data = output if isinstance(output, bytes) else os.fsencode(output)
    for number, secret in enumerate(SECRETS):
        if secret.encode() in data:
            test = os.environ.get("PYTEST_CURRENT_TEST", "?")
            LEAKS.append(f"{test}: secret {number} in the output of {what}")


def _report(out: bytes | str, err: bytes | str) -> str:
    return f"--- stdout\n{out!r}\n--- stderr\n{err!r}"


# --- a home of one's own ---


class Home(NamedTuple):
    """Directories for one test, with short paths, and the environment that leads into them and nowhere else."""

    base: Path
    home: Path
    mirror: Path
    bin: Path
    env: dict[str, str]

    def put_on_path(self, *directories: Path) -> None:
        """From now on looked into first, the first of them before the others."""
        self.env["PATH"] = ":".join([*map(str, directories), self.env["PATH"]])

    def clone_home(self, name: str) -> Path:
        """The clone's HOME, where it lies by default."""
        return self.mirror / "clones" / name / ".codex-mirror" / "home"


def odd_name(name: bytes) -> str:
    """A name that isn't UTF-8, for a file; on macOS, whose file systems refuse such, one that is merely odd."""
    return name.decode("utf-8", "replace") if platform.system() == "Darwin" else os.fsdecode(name)


def quickest_place() -> Path:
    """A file system in memory where there is one that lets programs start, since every change is synced to the disk."""
    memory = Path("/dev/shm")
    if memory.is_dir() and os.access(memory, os.W_OK) and not os.statvfs(memory).f_flag & getattr(os, "ST_NOEXEC", 0):
        return memory
    return Path(os.path.realpath("/tmp"))


def new_base() -> Path:
    """A private directory with a short path, because the paths of sockets in a clone are limited to 103 bytes."""
    while True:
        base = quickest_place() / f"c{secrets.token_hex(2)}"
        with contextlib.suppress(FileExistsError):
            base.mkdir(mode=0o700)
            return base


def make_home(base: Path) -> Home:
    """Makes them below `base`, which must be short: a socket path below a clone must fit into 103 bytes."""
    home, mirror, bin_dir, tmp = base / "h", base / "m", base / "bin", base / "t"
    for directory in (home, bin_dir, tmp):
        directory.mkdir(mode=0o700)
    env = {
        "HOME": str(home),
        "PATH": "/usr/bin:/bin",
        # Codex leaves no aliases in a CODEX_HOME below TMPDIR and warns instead, so it lies beside.
        "TMPDIR": str(tmp),
        "LANG": UTF8_LOCALE,
        "CODEX_MIRROR_HOME": str(mirror),
        "CODEX_MIRROR_BIN_DIR": str(bin_dir),
        # No test asks the network, unless it says so.
        "CODEX_MIRROR_OFFLINE": "1",
    }
    return Home(base, home, mirror, bin_dir, env)


def discard(path: Path) -> None:
    """Removes a whole tree, read-only directories too, following no link."""
    path.chmod(0o700)
    for directory, names, _ in os.walk(path):
        for inner in (os.path.join(directory, name) for name in names):
            if not os.path.islink(inner):
                os.chmod(inner, 0o700)
    shutil.rmtree(path)


class Mirror(NamedTuple):
    """The program as a process: `mirror("create", "work", check=True)`; `env` adds to the home's (None: unset)."""

    home: Home
    program: Path = PROGRAM

    def __call__(self, *args: Any, env: Mapping[str, str | None] | None = None, **more: Any) -> Result:
        more = {"cwd": self.home.home, **more}
        whole, words = self.env(env), [*map(os.fsdecode, (self.program, *args))]
        if self.is_loaded() and preloaded.can_play(words, whole, more["cwd"]):
            return play(words, env=whole, **more)
        return run(self.argv(*args), env=whole, **more)

    def is_loaded(self) -> bool:
        """Is it the program of this repository, and not another that a test has made?"""
        return self.program == PROGRAM

    def start(self, *args: Any, env: Mapping[str, str | None] | None = None, **more: Any) -> Process:
        """Started and left running; `finish` waits for it."""
        return start(self.argv(*args), env=self.env(env), **{"cwd": self.home.home, **more})

    def argv(self, *args: Any) -> list[Any]:
        """The command line, for those who start it in their own way."""
        return [*program_words(self.program), *args]

    def env(self, more: Mapping[str, str | None] | None = None) -> dict[str, str]:
        """The home's environment with `more` laid over it."""
        return {name: value for name, value in {**self.home.env, **(more or {})}.items() if value is not None}


# --- a fake Codex ---


def fake_codex(directory: Path, version: str = "0.169.0", *, body: str | None = None) -> Path:
    """Makes a native package as the real one is laid out; `body` replaces the script that is bin/codex.

    Two versions of the same length have files of equal names, sizes and times, as real ones can; rg and bwrap are the
    same bytes in every version.
    """
    manifest = {
        "layoutVersion": 1,
        "version": version,
        "target": TRIPLE,
        "variant": "codex",
        "entrypoint": "bin/codex",
        "resourcesDir": "codex-resources",
        "pathDir": "codex-path",
    }
    script = (REPO / "tests" / "fake_codex.sh").read_text().replace("version=0.169.0", f"version={version}")
    programs = {
        "bin/codex": body if body is not None else script,
        "bin/codex-code-mode-host": f"#!/bin/sh\necho 'codex-code-mode-host {version}'\n",
        "codex-path/rg": "#!/bin/sh\necho 'ripgrep 15.0.0'\n",
    }
    if platform.system() == "Linux":
        programs["codex-resources/bwrap"] = "#!/bin/sh\necho 'bubblewrap 0.11.0'\n"
    _write(directory / "codex-package.json", json.dumps(manifest, indent=2) + "\n", 0o644)
    for name, text in programs.items():
        _write(directory / name, text, 0o755)
    return directory


# What the package's own codex.js does: finds the native package nested or beside, marks its environment, starts it.
CODEX_JS = """#!/usr/bin/env node
import { spawn } from "node:child_process";
import { realpathSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { fileURLToPath } from "node:url";

const here = path.dirname(realpathSync(fileURLToPath(import.meta.url)));
const found = createRequire(import.meta.url).resolve("@openai/PLATFORM/package.json");
const binary = path.join(path.dirname(found), "vendor", "TRIPLE", "bin", "codex");
const env = { ...process.env, CODEX_MANAGED_PACKAGE_ROOT: path.dirname(here), CODEX_MANAGED_BY_NPM: "1" };
const child = spawn(binary, process.argv.slice(2), { stdio: "inherit", env });
for (const name of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(name, () => child.kill(name));
child.on("error", (error) => { console.error(error); process.exit(1); });
child.on("exit", (code, name) => {
  if (name === null) process.exit(code);
  process.removeAllListeners(name);
  process.kill(process.pid, name);
});
""".replace("PLATFORM", PLATFORM_PACKAGE).replace("TRIPLE", TRIPLE)


def npm_install(prefix: Path, package: Path) -> Path:
    """Lays the native package out as `npm install -g --prefix` does, over what was there, and returns bin/codex."""
    root = prefix / "lib" / "node_modules" / "@openai" / "codex"
    native = root / "node_modules" / "@openai" / PLATFORM_PACKAGE
    if root.exists():
        shutil.rmtree(root)
    version = json.loads((package / "codex-package.json").read_text())["version"]
    names = {"name": "@openai/codex", "version": version, "type": "module", "bin": {"codex": "bin/codex.js"}}
    _write(root / "package.json", json.dumps(names, indent=2) + "\n", 0o644)
    _write(root / "bin" / "codex.js", CODEX_JS, 0o755)
    suffix = PLATFORM_PACKAGE.removeprefix("codex")
    names = {"name": "@openai/codex", "version": version + suffix, "files": ["vendor"]}
    _write(native / "package.json", json.dumps(names, indent=2) + "\n", 0o644)
    shutil.copytree(package, native / "vendor" / TRIPLE, symlinks=True)
    link = prefix / "bin" / "codex"
    link.parent.mkdir(exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to("../lib/node_modules/@openai/codex/bin/codex.js")
    return link


def _write(path: Path, text: str, mode: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", errors="surrogateescape")
    path.chmod(mode)
    os.utime(path, (NPM_MTIME, NPM_MTIME))


class Overheard(NamedTuple):
    """What the fake Codex was started with: bytes, as the kernel handed them over."""

    argv: list[bytes]
    cwd: str
    env: dict[str, str]


def overheard(output: str) -> Overheard:
    """Reads the report in the output of a fake Codex that was given a command it doesn't know."""
    [line] = [line for line in output.splitlines() if line.startswith("heard ")]
    fields = [field.split(b"=", 1) for field in bytes.fromhex(line.removeprefix("heard ")).split(b"\0")[:-1]]
    env = [os.fsdecode(value).partition("=") for kind, value in fields if kind == b"env"]
    return Overheard(
        argv=[value for kind, value in fields if kind == b"arg"],
        cwd=next(os.fsdecode(value) for kind, value in fields if kind == b"cwd"),
        env={name: value for name, _, value in env},
    )


def chatgpt_login(workspace: str, user: str, *, at: float = 0, expires: float = 0, refresh: str = "") -> str:
    """An auth.json of that account as Codex writes it, its tokens given at one time and worthless at another."""
    details = {"chatgpt_plan_type": "plus", "chatgpt_account_id": workspace, "chatgpt_user_id": user}
    parts = [{"alg": "none"}, {"exp": int(expires), "https://api.openai.com/auth": details}]
    head, claims = (base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts)
    tokens = {"id_token": f"{head}.{claims}.s", "access_token": f"{head}.{claims}.{ACCESS_TOKEN}"}
    tokens |= {"refresh_token": refresh or REFRESH_TOKEN, "account_id": workspace}
    since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))
    login = {"auth_mode": "chatgpt", "OPENAI_API_KEY": None, "tokens": tokens, "last_refresh": since}
    return json.dumps(login)


# --- snapshots ---

KINDS = {
    stat.S_IFDIR: "dir",
    stat.S_IFREG: "file",
    stat.S_IFLNK: "link",
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "device",
    stat.S_IFBLK: "device",
}


def tree(root: Path) -> dict[str, tuple[str, str, str]]:
    """The whole tree, nothing followed: {relative path: (kind, octal mode, SHA-256 or link target)}; {} when absent."""
    found: dict[str, tuple[str, str, str]] = {}

    def add(path: str, name: str) -> None:
        info = os.lstat(path)
        kind = KINDS[stat.S_IFMT(info.st_mode)]
        found[name] = (kind, oct(stat.S_IMODE(info.st_mode)), _content(kind, path))
        if kind == "dir":
            for entry in sorted(os.listdir(path)):
                add(os.path.join(path, entry), os.path.normpath(os.path.join(name, entry)))

    if os.path.lexists(root):
        add(os.fspath(root), ".")
    return found


def _content(kind: str, path: str) -> str:
    if kind == "link":
        return os.readlink(path)
    if kind != "file":
        return ""
    with open(path, "rb") as file:
        digest = hashlib.sha256()
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
        return digest.hexdigest()
