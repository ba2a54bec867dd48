"""--dry-run: the checks are made, what the plan says is told, and nothing is done."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from helpers import API_KEYS, Home, fake_codex
from rooms import Tree, ask, at_rest, changes, cm, make_clone, places_of


@pytest.fixture
def work(home: Home, codex: Path) -> Home:
    make_clone(home, "work")
    own = home.home / ".codex"
    (own / "skills" / "one").mkdir(parents=True)
    (own / "AGENTS.md").write_text("x")
    (own / "config.toml").write_text('model = "o"\n')
    (home.home / "notes").write_text("x")
    (home.home / ".bashrc").write_text("# mine\n")
    (own / "auth.json").write_text(json.dumps({"auth_mode": "apikey", "OPENAI_API_KEY": API_KEYS[0]}))
    ask(home, "shim", "install", "--shell", "sh")
    fake_codex(home.base / "newer", "0.170.0")
    ask(home, "export", "work", "-o", home.base / "work.tar.gz")
    return home


SHARED = ("--share", "notes", "--share-settings", "skills", "--settings-from", "~/.codex", "--env", "A=b")
# The command, and what it says that it would make, write or delete, each relative to the home's base.
COMMANDS: list[tuple[str, list[str]]] = [
    ("create new", ["make   m/clones/new/.codex-mirror", "write  bin/new"]),
    ("create new --root far/away", ["make   far/away", "make   far/away/.codex-mirror", "write  bin/new"]),
    ("import work.tar.gz --name new --yes", ["make   m/clones/new/.codex-mirror", "write  bin/new"]),
    ("import h/.codex --name new", ["make   m/clones/new/.codex-mirror", "write  bin/new"]),
    ("update work --from newer", ["make   m/clones/work/.codex-mirror/runtime/0.170.0", "write  bin/work"]),
    ("update --all --from newer", ["make   m/clones/work/.codex-mirror/runtime/0.170.0", "write  bin/work"]),
    ("set work --share-settings skills", ["write  m/clones/work/.codex-mirror/home/.codex/skills/one"]),
    ("rename work office", ["write  bin/office", "delete bin/work", "write  m/shim/codex"]),
    ("remove work", ["write  m/shim/codex", "delete m/clones/work/.codex-mirror", "delete bin/work"]),
    ("create new --share notes --share-settings skills --share-settings AGENTS.md",
     [f"write  m/clones/new/.codex-mirror/home/{one}" for one in ("notes", ".codex/skills/one", ".codex/AGENTS.md")]),
    ("import h/.codex --name new --move-login --with-sessions",
     ["move   h/.codex/auth.json", "write  m/clones/new/.codex-mirror/home/.codex/auth.json"]),
    ("use work h", ["write  m/shim/codex"]),
    ("use --default work", ["write  m/shim/codex"]),
    ("wrapper install --bin-dir bin2", ["make   bin2", "write  bin2/work", "delete bin/work"]),
    ("path setup --shell bash", ["write  h/.bashrc"]),
    (f"set work {' '.join(SHARED)}", ["write  m/clones/work/.codex-mirror/home/notes", "write  bin/work"]),
]  # fmt: skip


@pytest.mark.parametrize(("line", "said"), COMMANDS, ids=[line for line, _ in COMMANDS])
def test_a_dry_run_says_what_would_be_done_and_does_nothing(work: Home, line: str, said: list[str]) -> None:
    before: Tree = at_rest(work)
    result = ask(work, *line.split(), "--dry-run", cwd=work.base)
    assert result.code == 0, result.err
    told = result.out.replace(f"{work.base}/", "")
    assert [one for one in said if f"would {one}\n" not in told] == []
    assert "nothing was changed: this was a dry run of" in told
    there = [path for path in re.findall(r"^would make +(.*)$", told, re.MULTILINE) if (work.base / path).exists()]
    assert there == [], "what is there already would not be made"
    assert not re.search(r"[-.][0-9a-f]{8}$", told, re.MULTILINE), "what is there for a moment only is not named"
    assert changes(before, at_rest(work)) == {}
    assert list(ask(work, *line.split(), "--dry-run", "--json", cwd=work.base).json()) == ["dryRun"]
    assert ask(work, *line.split(), "--yes", cwd=work.base).code == 0, "and then it is done"


REFUSED: list[tuple[str, int]] = [
    ("create work", 5),
    ("create cd", 5),
    ("rename work cd", 5),
    ("remove wrok", 3),
    ("use work nowhere", 1),
    ("set work --share .codex", 5),
    ("import nothing --name new", 1),
    ("update work --from nothing", 1),
]


@pytest.mark.parametrize(("line", "code"), REFUSED)
def test_a_dry_run_refuses_as_the_command_does(work: Home, line: str, code: int) -> None:
    before = at_rest(work)
    dry = ask(work, *line.split(), "--dry-run", cwd=work.base)
    assert (dry.code, changes(before, at_rest(work))) == (code, {})
    assert ask(work, *line.split(), cwd=work.base).err == dry.err


def test_on_the_first_day_a_dry_run_makes_no_mirror_home(home: Home, codex: Path) -> None:
    before = at_rest(home)
    result = ask(home, "create", "work", "--dry-run")
    assert result.code == 0 and f"would make   {home.mirror}/clones/work/.codex-mirror" in result.out
    assert not home.mirror.exists() and changes(before, at_rest(home)) == {}


def test_a_shim_that_says_the_same_or_isnt_ours_is_not_named(work: Home) -> None:
    shim = work.mirror / "shim" / "codex"
    for text in (shim.read_text(), shim.read_text() + "# mine\n", "#!/bin/sh\n"):
        shim.write_text(text)
        line = "set work --env A=b" if text.endswith('"$@"\n') else "use work h"
        told = ask(work, *line.split(), "--dry-run", cwd=work.base)
        assert told.code == 0 and "shim" not in told.out, told
    shim.unlink()
    assert "shim" not in ask(work, "use", "work", work.home, "--dry-run").out


def test_a_dry_run_settles_nothing(work: Home) -> None:
    plan = (
        b'{"id": "0123abcd", "what": "create x", "made": [], "parents": [], "moved": [], "staged": [], "to_delete": []}'
    )
    Path(cm.journal_file(places_of(work))).write_bytes(plan)
    before = at_rest(work)
    for line in ("create new", "remove work", "doctor --fix"):
        ask(work, *line.split(), "--dry-run")
        assert changes(before, at_rest(work)) == {}
    ask(work, "create", "new")
    assert not Path(cm.journal_file(places_of(work))).exists()


def test_doctor_with_dry_run_is_plain_doctor(work: Home) -> None:
    (work.bin / "work").unlink()
    plain = ask(work, "doctor")
    assert plain.code == 1
    assert ask(work, "doctor", "--fix", "--dry-run").out == plain.out and not (work.bin / "work").exists()
