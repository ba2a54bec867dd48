"""The real package managers, each with a prefix of its own: how they install the real Codex, and what they leave."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from helpers import PLATFORM_PACKAGE, TRIPLE, discard, run

# Yarn 1 downloads the native packages of every platform, 3.4 GB: these take the place of the foreign ones.
PLATFORMS = [f"codex-{system}-{machine}" for system in ("linux", "darwin", "win32") for machine in ("x64", "arm64")]
FOREIGN = [f"@openai/{name}" for name in PLATFORMS if name != PLATFORM_PACKAGE]

# What must not be on the PATH of a clone that proves that it needs nothing but itself.
NOT_FOR_CLONES = {"node", "nodejs", "npm", "npx", "corepack", "pnpm", "pnpx", "yarn", "bun", "codex", "rg", "bwrap"}


class Installer(NamedTuple):
    """A package manager: the npm package it comes in, its words and variables (`{root}`: the prefix), and `codex`."""

    tool: str
    words: str
    env: Mapping[str, str] = {}
    commands: tuple[str, ...] = ("bin/codex",)
    version: str = ""


PNPM = {"PNPM_HOME": "{root}/home", "PATH": "{root}/home/bin:{root}/home:{path}"}
INSTALLERS = {
    "npm-global": Installer("", "npm install -g", {"npm_config_prefix": "{root}"}),
    "npm-prefix": Installer("", "npm install -g --prefix {root}"),
    "pnpm-10": Installer("pnpm@10", "pnpm add -g --store-dir {root}/store", PNPM, ("home/codex", "home/bin/codex")),
    "pnpm-newest": Installer("pnpm", "pnpm add -g --store-dir {root}/store", PNPM, ("home/codex", "home/bin/codex")),
    "bun": Installer("bun", "bun add -g", {"BUN_INSTALL": "{root}"}),
    "yarn-1": Installer(
        "yarn@1", "yarn global add --prefix {root} --global-folder {root}/global --cache-folder {root}/cache"
    ),
    "npm-0.154": Installer("", "npm install -g --prefix {root}", version="0.154.0"),
    "npm-0.120": Installer("", "npm install -g --prefix {root}", version="0.120.0"),
}


class Source(NamedTuple):
    """An installed Codex, all of it below `root`: `command` is for PATH, or else `given` is what `--from` is told."""

    root: Path
    version: str
    package: Path
    command: Path | None = None
    given: Path | None = None

    @property
    def entry(self) -> Path:
        """The native binary itself, while the package is there."""
        return self.package / ("bin/codex" if (self.package / "codex-package.json").exists() else "codex/codex")


class Installs(NamedTuple):
    """Every installation that a test asked for, made once below `base` and kept there."""

    base: Path

    def __call__(self, name: str) -> Source:
        """What this installer makes of the real Codex. Fails when the registry can't be reached."""
        version = INSTALLERS[name].version or newest_version()
        root, mark = self.base / f"{name}-{version}", self.base / f"{name}-{version}.complete"
        if (gone := uninstalled(root)).exists():
            gone.rename(root)
        if not mark.exists():
            if root.exists():
                discard(root)
            self._install(name, version, root)
            mark.touch()
        command = next(root / command for command in INSTALLERS[name].commands if os.path.lexists(root / command))
        return Source(root, version, native_package(root), command)

    def _install(self, name: str, version: str, root: Path) -> None:
        installer = INSTALLERS[name]
        path = f"{self._tool(installer.tool)}:{os.environ['PATH']}" if installer.tool else os.environ["PATH"]
        values = {name: value.format(root=root, path=path) for name, value in installer.env.items()}
        env = {**os.environ, **self._npm_env(), "PATH": path, "HOME": str(root / "user"), **values}
        (root / "user").mkdir(parents=True)
        if name == "yarn-1":
            resolutions = dict.fromkeys(FOREIGN, f"npm:@openai/codex@{version}")
            (root / "global").mkdir()
            (root / "global" / "package.json").write_text(json.dumps({"resolutions": resolutions}))
        words = installer.words.format(root=root).split(" ")
        run([*words, f"@openai/codex@{version}"], env=env, cwd=root / "user", check=True, timeout=900)
        if name == "yarn-1":
            discard(root / "cache")

    def _tool(self, package: str) -> Path:
        prefix = self.base / f"tool-{package.replace('@', '-')}"
        if not (prefix / "complete").exists():
            env = {**os.environ, **self._npm_env()}
            run(["npm", "install", "--prefix", prefix, package], env=env, check=True, timeout=900)
            (prefix / "complete").touch()
        return prefix / "node_modules" / ".bin"

    def _npm_env(self) -> dict[str, str]:
        quiet = {f"npm_config_{word}": "false" for word in ("audit", "fund", "update_notifier")}
        return {**quiet, "npm_config_cache": str(self.base / "npm-cache")}


def newest_version() -> str:
    """The version of the real Codex that the tests were given."""
    words = [os.environ["CODEX_MIRROR_TEST_CODEX"], "--version"]
    return run(words, env=os.environ, check=True).out.split()[-1]


def native_package(root: Path) -> Path:
    """The one native package below there; the copies that package managers keep in a cache don't count."""
    found = []
    for directory, names, _ in os.walk(root):
        names[:] = [name for name in names if name not in ("cache", "files")]
        if os.path.basename(directory) == TRIPLE:
            found.append(Path(directory))
            names.clear()
    [package] = found
    return package


def node_directory(base: Path) -> Path:
    """A directory with nothing in it but `node`."""
    node = run([shutil.which("node") or "node", "-p", "process.execPath"], env=os.environ, check=True).out.strip()
    directory = base / "node"
    directory.mkdir()
    (directory / "node").symlink_to(node)
    return directory


def nodeless_directory(base: Path) -> Path:
    """A directory with the system's commands, but without Node, and without any helper that a Codex could borrow."""
    directory = base / "nodeless"
    directory.mkdir()
    for found in (entry for place in ("/usr/bin", "/bin") for entry in os.scandir(place)):
        if found.name not in NOT_FOR_CLONES and not os.path.lexists(directory / found.name):
            (directory / found.name).symlink_to(found.path)
    return directory


def uninstalled(root: Path) -> Path:
    """Where an installation is while it is away."""
    return root.with_name(f"{root.name}.uninstalled")


@contextlib.contextmanager
def away(root: Path) -> Iterator[None]:
    """Takes a whole installation out of the way, as uninstalling would, and puts it back."""
    root.rename(uninstalled(root))
    try:
        yield
    finally:
        uninstalled(root).rename(root)
