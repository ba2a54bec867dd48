"""A mirror home of 1.0.0, as recorded in home_1_0_0.json, works on with this program and loses nothing."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from helpers import API_KEYS, Home, fake_codex, overheard, run, tree
from rooms import ask, raw, rows_of

RECORDED: dict[str, dict[str, Any]] = json.loads((Path(__file__).parent / "home_1_0_0.json").read_text())
NAMES = ("work", "far", "play")
BASES = {"work": "m/clones/work/.codex-mirror", "far": "r/.codex-mirror", "play": "m/clones/play/.codex-mirror"}


def pinned(runtime: Path, version: str) -> None:
    """A runtime as 1.0.0 pinned it: read-only files and a manifest of them."""
    fake_codex(runtime, version)
    rows = []
    for path in sorted(path for path in runtime.rglob("*") if path.is_file()):
        mode = 0o555 if path.stat().st_mode & 0o111 else 0o444
        path.chmod(mode)
        facts = path.stat()
        identity = [facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns]
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        rows.append([str(path.relative_to(runtime)), mode, digest, facts.st_size, facts.st_mtime_ns, identity])
    document = {"version": 1, "codex": version, "from": "/opt/codex", "files": rows}
    (runtime / ".manifest.json").write_text(json.dumps(document))


@pytest.fixture
def old(home: Home, codex: Path) -> Home:
    """The home of somebody who made three clones with 1.0.0, and has worked in them since."""
    (home.home / "notes").touch()
    (home.home / ".gitconfig").write_text("[user]\n\tname = Ada\n")
    for name, what in RECORDED.items():
        path = home.base / name
        if "runtime" in what:
            path.mkdir()
            pinned(path, what["runtime"])
        elif "link" in what:
            path.symlink_to(what["link"].replace("@base@", str(home.base)))
        elif "text" in what or "zeros" in what:
            text = what.get("text", "\0" * what.get("zeros", 0))
            path.write_text(text.replace("@base@", str(home.base)).replace("@key@", API_KEYS[0]))
        else:
            path.mkdir(exist_ok=True)
        if "mode" in what:
            path.chmod(int(what["mode"], 8))
    for name, base in BASES.items():
        own = home.base / base / "home"
        (own / "thesis.txt").write_text(f"ten years of {name}\n")
        session = own / ".codex" / "sessions" / "2026" / "11" / "22" / f"rollout-{name}.jsonl"
        session.parent.mkdir(parents=True)
        session.write_text('{"type": "session_meta"}\n')
    return home


def value_in(home: Home) -> dict[str, Any]:
    """What nobody can make again."""
    kept = ("auth.json", "thesis.txt", ".jsonl", "/notes", "config.toml")
    return {
        f"{base} {path}": what[2] if path != "home/.codex/config.toml" else what[0]
        for base in BASES.values()
        for path, what in tree(home.base / base).items()
        if path.endswith(kept)
    }


def test_nothing_of_a_home_of_1_0_0_is_lost_or_refused(old: Home) -> None:
    """Each command once, those that change something after those that look."""
    value = value_in(old)
    assert len(value) == 3 * 3 + 1 + 1
    ids = [row["id"] for row in rows_of(old)]
    newest = fake_codex(old.base / "newest", "0.172.0")
    readers: list[list[Any]] = [
        ["list"],
        ["list", "--json"],
        ["list", "--full"],
        ["usage"],
        ["sessions"],
        ["which"],
        ["env", "far"],
        ["exec", "far", "--", "/bin/true"],
        ["run", "play", "exit", "0"],
        ["path", "status"],
        ["doctor"],
    ]
    before = tree(old.mirror)
    for words in readers:
        result = ask(old, *words) if words[0] != "env" else raw(old, *words)
        assert result.code == (1 if words[0] in ("path", "which", "doctor") else 0), (words, result.out, result.err)
        assert "/.gitignore" not in str(sorted(tree(old.mirror))) and value_in(old) == value, words
    left = {path for path, what in tree(old.mirror).items() if before.get(path) != what and "/.codex" not in path}
    assert left <= {"lock"}, left
    for name in NAMES:
        heard = overheard(run([old.bin / name, "a b"], env=old.env, cwd=old.home, check=True).out)
        assert heard.argv == [b"a b"] and heard.env["CODEX_HOME"] == f"{old.base}/{BASES[name]}/home/.codex"
    changes: list[list[Any]] = [
        ["doctor", "--fix"],
        ["set", "far", "--keep-env", "CODEX_API_KEY"],
        ["use", "work", old.home],
        ["use", "--unset", old.home],
        ["update", "--all", "--from", newest],
        ["rollback", "work"],
        ["rename", "play", "office"],
        ["rename", "office", "play"],
        ["wrapper", "install"],
        ["export", "work", "-o", old.home / "x.tar.gz"],
        ["import", old.home / "x.tar.gz", "--name", "copied", "--yes"],
        ["create", "fresh"],
        ["login", "fresh", "--with-api-key"],
        ["logout", "fresh", "--local", "--yes"],
        ["remove", "fresh", "--yes"],
        ["remove", "copied", "--yes"],
        ["doctor", "--fix", "--deep"],
    ]
    for words in changes:
        result = ask(old, *words, stdin=f"{API_KEYS[1]}\n".encode())
        assert result.code == 0, (words, result)
        assert value_in(old) == value, words
    assert [row["id"] for row in rows_of(old)] == ids
    assert (old.mirror / ".codex-mirror-home").is_file()
    assert all((old.base / base / ".gitignore").is_file() for base in BASES.values())
    for name in NAMES:
        assert b"sha256:" in (old.bin / name).read_bytes()
        assert run([old.bin / name, "exit", "0"], env=old.env, cwd=old.home).code == 0
        assert ask(old, "remove", name, "--yes").code == 0
    assert rows_of(old) == [] and not any((old.base / base).exists() for base in BASES.values())
    assert not any((old.bin / name).exists() for name in NAMES)


def test_a_removal_that_1_0_0_left_unfinished_is_finished(old: Home) -> None:
    """Its plan has no marks, and names by what it calls `doomed` what has the id of the clone."""
    [row] = [row for row in rows_of(old) if row["name"] == "work"]
    base = old.base / BASES["work"]
    plan = {
        "id": "abcdef12",
        "what": "remove work",
        "made": [],
        "parents": [row["rootPath"]],
        "moved": [],
        "staged": [],
        "doomed": [str(base), str(old.bin / "work")],
        "owners": [row["id"], "legacy:work"],
    }
    registry = json.loads((old.mirror / "registry.json").read_text())
    registry |= {"lastChange": "abcdef12", "clones": [one for one in registry["clones"] if one != row]}
    (old.mirror / "registry.json").write_text(json.dumps(registry))
    (old.mirror / "journal.json").write_text(json.dumps(plan))
    assert ask(old, "list").code == 0
    assert not base.exists() and not (old.bin / "work").exists() and not (old.mirror / "journal.json").exists()
    assert (old.base / BASES["far"] / "home" / "thesis.txt").exists()


def test_a_home_of_1_0_0_that_lost_its_registry_is_known_and_rebuilt(old: Home) -> None:
    ids = sorted(row["id"] for row in rows_of(old))
    value = value_in(old)
    for path in old.mirror.glob("registry.json*"):
        path.unlink()
    assert ask(old, "doctor", "--fix").code in (0, 1)
    assert sorted(row["id"] for row in rows_of(old)) == ids and value_in(old) == value
    shutil.rmtree(old.mirror / "clones")
    assert os.listdir(old.bin)
