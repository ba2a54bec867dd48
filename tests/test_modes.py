"""Modes: what finished changes leave is open to nobody else, whatever the umask was and whosever files it came from."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from rollouts import A, B, Shape, an_id, write

from helpers import API_KEYS, Home, chatgpt_login, fake_codex, npm_install, tree
from rooms import ask, clone_in

OWN = r"(m/clones/[^/]+|r/deep/far)/\.codex-mirror/"
# The modes of all that is ours, each by the first pattern that its path matches; a link has none.
MODES = [
    (OWN + r"runtime/.+/(codex|codex-code-mode-host|rg|bwrap)", {"0o555"}),
    (OWN + r"runtime/.+\.json", {"0o444", "0o600"}),  # The package's, and our manifest.
    (OWN + r"(bin/codex|browser|git/sign-[^/]+)", {"0o700"}),
    (r"m/shim/codex|bin2?/[^/]+", {"0o755"}),  # Commands.
    (r"(m|r)(/.*)?", {"0o700", "0o600"}),  # A clone's own, and the mirror home's.
    (r"h/(work\.tar\.gz|\.codex/auth\.json\.moved-to-.*)", {"0o600"}),
    (r"h/\.(bashrc|profile)", {"0o640", "0o644"}),  # An rc file keeps its mode; a new one all may read.
    (r"bin2|h/\.config/fish(/conf\.d)?", {"0o755"}),  # Others may look into them, as far as the umask lets them.
    (r"h/\.config/fish/.+", {"0o644"}),
]
CODEXS_OWN = r"(^|.*/)\.codex/(tmp(/.*)?|\.touched)"
SESSION = Shape("0.169.0")


def user_s_files(home: Home) -> None:
    """What the user has of his own, open to everybody: a Codex home with a login and sessions, git's configuration with
    keys that sign, a toolchain and rc files."""
    own = home.home / ".codex"
    for name, text in {
        ".codex/config.toml": 'model = "m"\nmodel_instructions_file = "texts/i.md"\n',
        ".codex/fast.config.toml": 'model = "fast"\n',
        ".codex/texts/i.md": "x",
        ".codex/AGENTS.md": "be kind\n",
        ".codex/agents/a.toml": 'model = "m"\n',
        ".codex/prompts/p.md": "x",
        ".codex/skills/one/SKILL.md": "x",
        ".codex/history.jsonl": "{}\n",
        ".codex/archived_sessions/rollout-a.jsonl": "{}\n",
        ".gitconfig": "[user]\n\tname = Jo\n[core]\n\texcludesFile = ~/.ignore\n[include]\n\tpath = ~/.gitinc\n",
        ".gitinc": "[core]\n\thooksPath = ~/hooks\n",
        ".config/git/config": "[core]\n\tattributesFile = ~/.attributes\n",
        ".config/git/ignore": "*.o\n",
        ".rustup/settings.toml": "x",
        "notes": "x",
        ".bashrc": "x=1\n",
    }.items():
        (home.home / name).parent.mkdir(parents=True, exist_ok=True)
        (home.home / name).write_text(text)
    (home.home / ".gnupg").mkdir()
    (own / "auth.json").write_text(chatgpt_login(*A))
    (own / "auth.json").chmod(0o600)
    write(own, an_id(9), [*SESSION.beginning(an_id(9), creator=A), *SESSION.turn("x")])
    (home.home / ".bashrc").chmod(0o640)


def newer_codex(home: Home) -> None:
    npm_install(home.base / "npm", fake_codex(home.base / "newer", "0.170.0"))


def session_in_work(home: Home) -> None:
    codex_home = Path(clone_in(home, "office").root) / ".codex-mirror/home/.codex"
    write(codex_home, an_id(), [*SESSION.beginning(an_id(), creator=A), *SESSION.turn("x")])
    (home.clone_home("other") / ".codex/auth.json").write_text(chatgpt_login(*B))


def loosened(home: Home) -> None:
    """Gone are the pin's settings, what the clone's shells need and the directory of its server."""
    own = home.clone_home("other")
    (own / ".codex/config.toml").write_text('model = "m"\n')
    (own / ".profile").unlink()
    shutil.rmtree(own / ".codex/app-server-daemon")


def damaged(home: Home) -> None:
    """A file that clones share is another one, and the one of the package whole."""
    path = next((home.mirror / "clones/other/.codex-mirror/runtime").glob("*/codex-path/rg"))
    path.chmod(0o755)
    path.write_bytes(b"X" * path.stat().st_size)


def moved(home: Home) -> None:
    """The mirror home had another name when the clones were made, and a directory of the user's, too."""
    (home.base / "was").mkdir()
    home.mirror.rename(home.base / "was/m")
    env = {"CODEX_MIRROR_HOME": f"{home.base}/was/m"}
    assert ask(home, "move-home", "--yes", env=env).code == 0
    (home.base / "was/m").rename(home.mirror)
    (home.base / "was").rmdir()


def nothing(home: Home) -> None:
    """All is as it should be."""


# What comes before, and the command; each on what those before it left.
CHANGES: list[tuple[Callable[[Home], None], str]] = [
    (user_s_files, "create work"),
    (nothing, "create other --share-settings AGENTS.md --share-settings skills --share default --share notes"),
    (nothing, "create far --root ~b/r/deep/far"),
    (nothing, "login work --with-api-key"),
    (nothing, "set work --env TOKEN=hush --settings-from ~b/h/.codex"),
    (nothing, "set other --unshare notes --share-settings prompts"),
    (nothing, "set other --settings-from ~b/h/.codex"),
    (newer_codex, "update --all"),
    (nothing, "rollback work"),
    (nothing, "rename work office"),
    (nothing, "export office -o ~b/h/work.tar.gz --with-login"),
    (nothing, "import ~b/h/work.tar.gz --name again --yes"),
    (nothing, "import ~b/h/.codex --name brought --move-login --with-sessions"),
    (session_in_work, f"handover {an_id()} other"),
    (nothing, "use other ~b/h"),
    (nothing, "shim install --shell bash"),
    (nothing, "use --default office"),
    (nothing, "path setup --shell bash"),
    (nothing, "path setup --shell fish"),
    (nothing, "wrapper install --bin-dir ~b/bin2"),
    (loosened, "doctor --fix"),
    (damaged, "doctor --fix --deep"),
    (moved, "move-home --yes"),
    (nothing, "logout office --local --yes"),
    (nothing, "remove again --yes"),
]


@contextmanager
def masked(mask: int) -> Iterator[None]:
    earlier = os.umask(mask)
    try:
        yield
    finally:
        os.umask(earlier)


def wrong_modes(home: Home, users: set[str], mask: int) -> dict[str, str]:
    """The paths that have another mode than is theirs, or that nobody here knows."""
    wrong = {}
    for path, (kind, mode, _) in tree(home.base).items():
        if (
            kind == "link"
            or path in users
            or re.match(r"(t|npm|package|newer)(/|$)", path)
            or re.match(CODEXS_OWN, path)
        ):
            continue
        modes = next((modes for pattern, modes in MODES if re.fullmatch(pattern, path)), set())
        if mode not in modes and not (kind == "dir" and mode in {oct(int(one, 8) & ~mask) for one in modes}):
            wrong[path] = mode
    return wrong


@pytest.mark.parametrize("mask", [0o000, 0o077])
def test_what_finished_changes_leave_is_open_to_nobody_else(home: Home, codex: Path, mask: int) -> None:
    with masked(0):
        user_s_files(home)
    users = {*tree(home.base)} - {"h/.bashrc"}
    for prepare, words in CHANGES:
        with masked(0o077):
            if prepare is not user_s_files:
                prepare(home)
        with masked(mask):
            result = ask(home, *words.replace("~b", str(home.base)).split(), stdin=API_KEYS[0].encode())
        assert result.code == 0 or words.startswith("doctor"), result
        assert wrong_modes(home, users, mask) == {}, words
