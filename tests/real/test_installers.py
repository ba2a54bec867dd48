"""A clone of the real Codex outlives whatever installed it: every installer and every kind of shim, one after another.

Slow: each layout copies 400 MB. CODEX_MIRROR_TEST_CACHE names a directory that keeps the installations between runs.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import secrets
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from helpers import PLATFORM_PACKAGE, TRIPLE, Mirror, Result, discard, make_home, run, tree
from real.installers import INSTALLERS, Installs, Source, away, node_directory, nodeless_directory

pytestmark = [
    pytest.mark.real,
    pytest.mark.installers,
    pytest.mark.skipif(shutil.which("npm") is None, reason="needs npm, and a package registry that it can reach"),
]


# --- layouts that no package manager makes here ---


def standalone(source: Source, root: Path) -> Source:
    """The standalone installer's: a link for PATH, a link to the current release, the release a whole package."""
    releases = root / ".codex" / "packages" / "standalone" / "releases"
    package = copied(source.package, releases / f"{source.version}-{TRIPLE}")
    (package / "codex").symlink_to("bin/codex")
    linked(releases.parent / "current", package)
    return Source(root, source.version, package, linked(root / ".local/bin/codex", releases.parent / "current/codex"))


def caskroom(source: Source, root: Path) -> Source:
    """Homebrew's: a link into the Caskroom, where the version's directory is the whole package."""
    package = copied(source.package, root / "Caskroom" / "codex" / source.version)
    target = Path("..") / "Caskroom" / "codex" / source.version / "bin" / "codex"
    return Source(root, source.version, package, linked(root / "bin" / "codex", target))


def shell_script(source: Source, root: Path) -> Source:
    """A shell script that names the binary."""
    package = copied(source.package, root / "package")
    text = f'#!/bin/sh\nexec {shlex.quote(str(package / "bin/codex"))} "$@"\n'
    return Source(root, source.version, package, script(root / "bin" / "codex", text))


def searching_shell_script(source: Source, root: Path) -> Source:
    """A shell script in which nothing can be read: it works the place out, and PATH does the rest."""
    package = copied(source.package, root / "package")
    text = '#!/bin/sh\nPATH=$(cd "$(dirname "$0")/../package" && pwd -P)/bin:$PATH\nexec codex "$@"\n'
    return Source(root, source.version, package, script(root / "bin" / "codex", text))


def python_script(source: Source, root: Path) -> Source:
    """A Python script that works the place out."""
    package = copied(source.package, root / "package")
    text = f"""#!{sys.executable}
import os, sys
program = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "package", "bin", "codex")
os.execv(program, [program, *sys.argv[1:]])
"""
    return Source(root, source.version, package, script(root / "bin" / "codex", text))


def asdf_script(source: Source, root: Path) -> Source:
    """asdf's: a shim that asks asdf to start npm's `codex`."""
    installs = copied(source.root / "lib", root / "installs" / "lib").parent
    linked(installs / "bin" / "codex", Path("../lib/node_modules/@openai/codex/bin/codex.js"))
    asdf = f'#!/bin/sh\nshift\ntool=$1\nshift\nexec {shlex.quote(str(installs / "bin"))}/"$tool" "$@"\n'
    script(root / "bin" / "asdf", asdf)
    shim = f'#!/usr/bin/env bash\n# asdf-plugin: nodejs\nexec {shlex.quote(str(root / "bin/asdf"))} exec "codex" "$@"\n'
    package = installs / source.package.relative_to(source.root)
    return Source(root, source.version, package, script(root / "shims" / "codex", shim))


def multi_call_link(source: Source, root: Path) -> Source:
    """mise's and volta's: a link to a program that decides by its name, and by its own name is something else."""
    package = copied(source.package, root / "installs" / "codex")
    text = f"""#!/bin/sh
case ${{0##*/}} in
codex) exec {shlex.quote(str(package))}/bin/"${{0##*/}}" "$@" ;;
*) echo "mise 2026.11.5" ;;
esac
"""
    return Source(root, source.version, package, linked(root / "shims" / "codex", script(root / "bin" / "mise", text)))


def release_directory(source: Source, root: Path) -> Source:
    """A release, unpacked."""
    package = copied(source.package, root / "codex-package")
    return Source(root, source.version, package, given=package)


def release_archive(source: Source, root: Path) -> Source:
    """A release as it is published: the package's files at the top."""
    package = copied(source.package, root / "package")
    return Source(root, source.version, package, given=packed(root / f"codex-package-{TRIPLE}.tar.gz", package, "."))


def wrapped_archive(source: Source, root: Path) -> Source:
    """A release that somebody packed again, with its directory."""
    package = copied(source.package, root / f"codex-{source.version}")
    return Source(root, source.version, package, given=packed(root / "codex.tar.gz", root, package.name))


def bare_caskroom(source: Source, root: Path) -> Source:
    """Homebrew's for some versions: a link to a binary that lies alone."""
    binary = root / "Caskroom" / "codex" / source.version / f"codex-{TRIPLE}"
    binary.parent.mkdir(parents=True)
    shutil.copy2(source.entry, binary)
    return Source(root, source.version, binary.parent, linked(root / "bin" / "codex", binary))


def bare_file(source: Source, root: Path) -> Source:
    """A binary that somebody copied out of a package, as `--from`."""
    root.mkdir()
    return Source(root, source.version, root, given=Path(shutil.copy2(source.entry, root / "codex")))


def bare_in_bin(source: Source, root: Path) -> Source:
    """A binary alone among other people's commands: its directory only looks like a package's."""
    script(root / "bin" / "somebody-elses", "#!/bin/sh\n")
    script(root / "share" / "somebody-elses", "")
    return Source(root, source.version, root, Path(shutil.copy2(source.entry, root / "bin" / "codex")))


def bare_in_codex(source: Source, root: Path) -> Source:
    """The same, looking like a package of 0.120."""
    script(root / "codex" / "notes", "")
    script(root / "somebody-elses", "")
    return Source(root, source.version, root, Path(shutil.copy2(source.entry, root / "codex" / "codex")))


def bare_archive(source: Source, root: Path) -> Source:
    """The smaller archive of a release, with the binary alone."""
    root.mkdir()
    shutil.copy2(source.entry, root / f"codex-{TRIPLE}")
    name = f"codex-{TRIPLE}"
    return Source(root, source.version, root, given=packed(root / f"{name}.tar.gz", root, name))


def copied(package: Path, target: Path) -> Path:
    """A copy that shares no file with the original."""
    return Path(shutil.copytree(package, target, symlinks=True))


def linked(path: Path, target: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target)
    return path


def script(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def packed(archive: Path, directory: Path, member: str) -> Path:
    """Compressed as little as gzip can: it is the format that matters."""
    env = {**os.environ, "GZIP": "-1"}
    run(["tar", "-czf", archive, "-C", directory, member], env=env, check=True, timeout=300)
    return archive


class Layout(NamedTuple):
    """How a Codex lies on a machine: built from what an installer made, or just that."""

    installer: str
    build: Callable[[Source, Path], Source] | None = None


LAYOUTS = {
    **{name: Layout(name) for name in INSTALLERS},
    "standalone": Layout("npm-prefix", standalone),
    "caskroom": Layout("npm-prefix", caskroom),
    "shell-script": Layout("npm-prefix", shell_script),
    "searching-shell-script": Layout("npm-prefix", searching_shell_script),
    "python-script": Layout("npm-prefix", python_script),
    "asdf-script": Layout("npm-prefix", asdf_script),
    "multi-call-link": Layout("npm-prefix", multi_call_link),
    "release-directory": Layout("npm-prefix", release_directory),
    "release-archive": Layout("npm-prefix", release_archive),
    "wrapped-archive": Layout("npm-prefix", wrapped_archive),
    "release-directory-0.120": Layout("npm-0.120", release_directory),
}
BARE = {
    "caskroom": bare_caskroom,
    "bin": bare_in_bin,
    "codex": bare_in_codex,
    "file": bare_file,
    "archive": bare_archive,
}


# --- clones whose source is gone ---


class House:
    """A home with the program in it, whose PATH leads to no Codex, no Node and no helper of Codex."""

    def __init__(self, base: Path) -> None:
        self.home = make_home(base)
        self.node = node_directory(base)
        self.home.env["PATH"] = str(nodeless_directory(base))
        self.mirror = Mirror(self.home)
        self.built = 0

    def source(self, layout: Layout, installs: Installs) -> Source:
        """The layout, in a place whose name needs quoting."""
        source = installs(layout.installer)
        self.built += 1
        return layout.build(source, self.home.base / f"it's here {self.built}") if layout.build else source

    def __call__(self, command: str, name: str, source: Source, *options: str) -> Result:
        """`create` or `update`, with the source's `codex` and Node on PATH, or with `--from`."""
        given = ["--from", source.given] if source.given else []
        first = [source.command.parent] if source.command else []
        path = ":".join(map(str, [*first, self.node, self.home.env["PATH"]]))
        return self.mirror(command, name, *given, *options, env={"PATH": path}, timeout=300)

    def rows(self) -> list[dict[str, Any]]:
        """Every clone there is, as `list --json` tells it."""
        rows: list[dict[str, Any]] = self.mirror("list", "--json", check=True).json()
        return rows

    @property
    def runtime(self) -> Path:
        """The one runtime that the clone `work` has."""
        [runtime] = (self.home.mirror / "clones" / "work" / ".codex-mirror" / "runtime").iterdir()
        return runtime

    def codex(self, *args: str) -> Result:
        """Runs the clone `work` through its wrapper."""
        return run([self.home.bin / "work", *args], env=self.home.env, cwd=self.home.home)


class Orphan(NamedTuple):
    """A clone named `work` whose source is away, and what was seen of the source before."""

    house: House
    source: Source
    row: dict[str, Any]
    package: dict[str, tuple[str, bool, str]]
    changed_in_source: dict[str, object]
    left_in_home: dict[str, object]
    why_no_sandbox: str


@contextlib.contextmanager
def a_house() -> Iterator[House]:
    """Directly below /tmp, because the paths of sockets in a clone are limited to 103 bytes."""
    base = Path(os.path.realpath("/tmp")) / f"c{secrets.token_hex(3)}"
    base.mkdir(mode=0o700)
    try:
        yield House(base)
    finally:
        discard(base)


@pytest.fixture
def house() -> Iterator[House]:
    """A house for one test."""
    with a_house() as house:
        yield house


@pytest.fixture(scope="module", params=LAYOUTS)
def orphan(request: pytest.FixtureRequest, installs: Installs) -> Iterator[Orphan]:
    """A clone made from each layout in turn, whose source was taken away at once."""
    with a_house() as house:
        source = house.source(LAYOUTS[request.param], installs)
        before, home_before = stamps(source.root), tree(house.home.home)
        created = house("create", "work", source)
        assert created.code == 0, created
        after, home_after = stamps(source.root), tree(house.home.home)
        [row] = house.rows()
        seen = contents(source.package), difference(before, after), difference(home_before, home_after)
        no_sandbox = why_no_sandbox(source.entry, source.version)
        with away(source.root):
            yield Orphan(house, source, row, *seen, no_sandbox)


def stamps(root: Path) -> dict[str, object]:
    """What changes when anything below there is written, linked, renamed or given another mode."""
    below = [os.path.join(place, name) for place, names, files in os.walk(root) for name in [*names, *files]]
    infos = {path: os.lstat(path) for path in [str(root), *below]}
    return {path: (info.st_ino, info.st_nlink, info.st_size, info.st_ctime_ns) for path, info in infos.items()}


def difference(before: dict[str, Any], after: dict[str, Any]) -> dict[str, object]:
    """What is there in one and not, or not alike, in the other."""
    return {
        path: (before.get(path), after.get(path))
        for path in before.keys() | after.keys()
        if before.get(path) != after.get(path)
    }


def contents(package: Path) -> dict[str, tuple[str, bool, str]]:
    """Every file's kind, bytes and whether it can be executed: what must be alike in a copy that is read-only.

    The pin's own record of them isn't looked at.
    """
    found = {path: (kind, int(mode, 8) & 0o111 != 0, data) for path, (kind, mode, data) in tree(package).items()}
    return {path: facts for path, facts in found.items() if path != ".manifest.json"}


@functools.cache
def why_no_sandbox(entry: Path, version: str) -> str:
    """What the original says when its sandbox can't work on this machine; nothing when it can."""
    with a_house() as house:
        codex_home = house.home.home / ".codex"
        codex_home.mkdir()
        env = {**house.home.env, "CODEX_HOME": str(codex_home)}
        tried = run([entry, *sandboxed(version, "true")], env=env, cwd=house.home.home)
        return "" if tried.code == 0 else f"exit {tried.code}: {tried.err}"


def sandboxed(version: str, *command: str) -> list[str]:
    """Codex's arguments for running a command in its sandbox."""
    older = int(version.split(".")[1]) < 154
    return ["sandbox", *(["linux" if sys.platform == "linux" else "macos"] if older else []), "--", *command]


# --- what every clone must be ---


def test_the_whole_package_is_pinned_byte_for_byte(orphan: Orphan) -> None:
    assert contents(orphan.house.runtime) == orphan.package


def test_it_is_registered_as_the_native_binary_of_the_version_it_is(orphan: Orphan) -> None:
    entry = orphan.house.runtime / ("bin/codex" if "codex-package.json" in orphan.package else "codex/codex")
    expected = {
        "name": "work",
        "rootPath": str(orphan.house.home.mirror / "clones" / "work"),
        "runtimeKind": "binary",
        "runtimeEntryPath": str(entry),
        "codexVersionPinned": orphan.source.version,
        "wrapperPath": str(orphan.house.home.bin / "work"),
    }
    assert {key: orphan.row[key] for key in expected} == expected


def test_pinning_left_the_source_and_the_users_home_as_they_were(orphan: Orphan) -> None:
    assert (orphan.changed_in_source, orphan.left_in_home) == ({}, {})


def test_it_starts_without_its_source_and_without_node(orphan: Orphan) -> None:
    path = orphan.house.home.env["PATH"]
    assert (orphan.source.root.exists(), shutil.which("node", path=path)) == (False, None)
    assert orphan.house.codex("--version") == Result(0, f"codex-cli {orphan.source.version}\n", "")


def test_it_runs_commands_in_its_sandbox(orphan: Orphan) -> None:
    if orphan.why_no_sandbox:
        pytest.skip(f"the sandbox of the original can't work on this machine either: {orphan.why_no_sandbox}")
    ends = [orphan.house.codex(*sandboxed(orphan.source.version, command)) for command in ("true", "false")]
    assert ends == [Result(0, "", ""), Result(1, "", "")]


def test_codex_finds_all_its_helpers_in_the_clone(orphan: Orphan) -> None:
    if orphan.source.version.startswith("0.120."):
        if orphan.why_no_sandbox:
            pytest.skip(f"0.120 has no doctor, and its sandbox can't work on this machine: {orphan.why_no_sandbox}")
        found = orphan.house.codex(*sandboxed(orphan.source.version, "sh", "-c", "command -v rg"))
        assert found == Result(0, f"{orphan.house.runtime}/path/rg\n", "")
        return
    report = json.loads(orphan.house.codex("doctor", "--json").out)
    checks = {name: report["checks"][name] for name in ("installation", "runtime.provenance", "runtime.search")}
    runtime = orphan.house.runtime
    parts = {"package": "", "bin": "/bin", "resources": "/codex-resources", "path": "/codex-path"}
    context = ", ".join(f"{part} {runtime}{place}" for part, place in parts.items())
    provenance = {
        "current executable": str(runtime / "bin" / "codex"),
        "install method": f"other ({context})",
        "version": orphan.source.version,
    }
    seen = checks["runtime.provenance"]["details"]
    assert {name: check["status"] for name, check in checks.items()} == dict.fromkeys(checks, "ok")
    assert {key: seen[key] for key in provenance} == provenance
    assert checks["runtime.search"]["details"] == {
        "search command": str(runtime / "codex-path" / "rg"),
        "search command readiness": "file exists",
        "search provider": "bundled",
    }


# --- what is no whole Codex ---

EMPTY = {".": ("dir", "0o700", "")}


@pytest.mark.parametrize("kind", BARE)
def test_a_bare_binary_is_refused_by_the_name_of_the_helper_it_lacks(
    kind: str, house: House, installs: Installs
) -> None:
    source = house.source(Layout("npm-prefix", BARE[kind]), installs)
    refused = house("create", "work", source)
    assert (refused.code in (1, 5), refused.out) == (True, "")
    assert "codex-code-mode-host" in refused.err and "--codex latest" in refused.err
    nothing_is_left(house)


@pytest.mark.parametrize("kind", BARE)
def test_a_bare_binary_is_taken_alone_when_that_is_wanted(kind: str, house: House, installs: Installs) -> None:
    source = house.source(Layout("npm-prefix", BARE[kind]), installs)
    taken = house("create", "work", source, "--allow-incomplete")
    assert taken.code == 0, taken
    with away(source.root):
        assert house.codex("--version") == Result(0, f"codex-cli {source.version}\n", "")
    package = contents(installs("npm-prefix").package)
    pinned = [facts for facts in contents(house.runtime).values() if facts[0] != "dir"]
    assert (pinned, tree(house.home.home)) == ([package["bin/codex"]], EMPTY)


def test_npms_package_without_the_native_one_is_refused(house: House, installs: Installs) -> None:
    npm = installs("npm-prefix")
    root = house.home.base / "npm"
    shutil.copytree(npm.root, root, symlinks=True, ignore=shutil.ignore_patterns(PLATFORM_PACKAGE, "user"))
    refused = house("create", "work", Source(root, npm.version, root, root / "bin" / "codex"))
    assert (refused.code in (1, 5), refused.out) == (True, "")
    assert "@openai/codex" in refused.err
    nothing_is_left(house)


def nothing_is_left(house: House) -> None:
    """A refused `create` leaves no clone, no wrapper and nothing in the user's home."""
    assert house.rows() == []
    assert (tree(house.home.bin), tree(house.home.home)) == (EMPTY, EMPTY)
    assert tree(house.home.mirror / "clones") in ({}, EMPTY)


# --- which Codex is the source ---


def test_a_clone_becomes_the_source_of_a_clone_only_on_purpose(house: House, installs: Installs) -> None:
    newest, older = installs("npm-prefix"), installs("npm-0.120")
    assert house("create", "work", newest).code == 0
    assert older.command is not None
    disguised = linked(house.home.base / "disguised" / "codex", house.home.bin / "work")
    house.home.env["PATH"] = f"{older.command.parent}:{house.home.env['PATH']}"
    for name, source in {
        "accident": Source(disguised.parent, newest.version, newest.package, disguised),
        "purpose": Source(disguised.parent, newest.version, newest.package, given=Path("work")),
    }.items():
        made = house("create", name, source)
        assert made.code == 0, made
    pinned = {row["name"]: row["codexVersionPinned"] for row in house.rows()}
    assert pinned == {"work": newest.version, "accident": older.version, "purpose": newest.version}


@pytest.mark.parametrize("layout", ["pnpm-newest", "multi-call-link"])
def test_update_finds_the_newer_codex_behind_a_shim_as_create_does(
    layout: str, house: House, installs: Installs
) -> None:
    assert house("create", "work", installs("npm-0.120")).code == 0
    source = house.source(LAYOUTS[layout], installs)
    updated = house("update", "work", source)
    assert updated.code == 0, updated
    with away(source.root):
        assert house.codex("--version") == Result(0, f"codex-cli {source.version}\n", "")
