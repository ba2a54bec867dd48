"""Change logs: what was changed, in the log of each clone and in the mirror home's."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from rollouts import A, Shape, an_id, write

from helpers import API_KEYS, Home
from rooms import ask, clone_in, cm, make_clone, on_terminal, places_of


@pytest.fixture
def clone(home: Home, codex: Path) -> Any:
    """A clone `work` on the disk."""
    return make_clone(home, "work")


def said_in(path: Path) -> list[str]:
    """The lines of a log, without their times and the ids of changes and clones."""
    lines = path.read_text().splitlines()
    assert all(re.match(r"\d{4}-\d\d-\d\dT[\d:.]{12}Z [0-9a-f]{8} ", line) for line in lines), lines
    return [re.sub(r"^([0-9a-f]{8}-[0-9a-f-]{27}|-) ", "", line.split(" ", 2)[2]) for line in lines]


def log_of(home: Home, name: str = "work") -> Path:
    return Path(cm.clone_log(clone_in(home, name)))


# --- what is in them ---


def other_codex(home: Home) -> None:
    """The installed Codex is a newer one from now on."""
    for path in home.base.rglob("codex-package.json"):
        if ".codex-mirror" not in path.parts:
            path.write_text(path.read_text().replace("0.169.0", "0.171.0"))
            script = path.parent / "bin/codex"
            script.write_text(script.read_text().replace("version=0.169.0", "version=0.171.0"))


def loosened(home: Home) -> None:
    (home.clone_home("work") / ".codex/config.toml").write_text("x = 1\n")


def without_wrapper(home: Home) -> None:
    (home.bin / "work").unlink()


def lost_row(home: Home) -> None:
    path = home.mirror / "registry.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "clones": []}))


def torn(home: Home) -> None:
    (home.mirror / "registry.json").write_text("{")


def said_in_work(home: Home) -> None:
    make_clone(home, "play")
    shape = Shape("0.169.0")
    write(home.clone_home("work") / ".codex", an_id(), [*shape.beginning(an_id(), creator=A), *shape.turn("x")])


def codex_home(home: Home) -> None:
    (home.home / ".codex").mkdir()
    (home.home / ".codex/config.toml").write_text("x = 1\n")


def nothing(home: Home) -> None:
    """All is as it should be."""


KEY = API_KEYS[0].encode()
# What comes before, the command, and the lines that it adds: to the clone's log, and to the mirror home's.
LOGGED: list[tuple[Callable[[Home], None], str, str, list[str], list[str]]] = [
    (nothing, "create new", "new", ["create new (Codex 0.169.0)"], ["new create new"]),
    (nothing, "rename work office", "work", ["rename work office (Codex 0.169.0)"], ["work rename work office"]),
    (nothing, "remove work --yes", "", [], ["work remove work"]),
    (codex_home, "import ~b/h/.codex --name own", "own", ["import own (Codex 0.169.0)"], ["own import own"]),
    (said_in_work, f"handover {an_id()} play", "play", [f"handover {an_id()} play, from work (Codex 0.169.0)"],
     [f"play handover {an_id()} play, from work"]),
    (nothing, "set work --keep-env OPENAI_PROJECT --share none --env TOKEN=hush", "work",
     ["set work --share none --keep-env OPENAI_PROJECT --env TOKEN (Codex 0.169.0)"], []),
    (nothing, "set work --home shared", "work", ["set work --home shared (Codex 0.169.0)"], []),
    (other_codex, "update work", "work", ["update work: 0.169.0 → 0.171.0 (Codex 0.171.0)"], []),
    (nothing, "use work ~b/h", "work", ["use work ~b/h (Codex 0.169.0)"], []),
    (nothing, "use --default work", "work", ["use work --default (Codex 0.169.0)"], []),
    (nothing, "wrapper install --bin-dir ~b/other", "work",
     ["wrapper install work: ~b/other/work (Codex 0.169.0)"], []),
    (nothing, "login work --with-api-key", "work", ["login work (Codex 0.169.0)"], []),
    (lambda home: ask(home, "login", "work", "--with-api-key", stdin=KEY) and None, "logout work --yes", "work",
     ["logout work (Codex 0.169.0)"], []),
    (lambda home: ask(home, "login", "work", "--with-api-key", stdin=KEY) and None, "logout work --yes --local",
     "work", ["logout --local work (Codex 0.169.0)"], []),
    (nothing, "login work status", "work", [], []),
    (loosened, "doctor work --fix", "work",
     ["doctor --fix work: restored the settings that hold its pin (Codex 0.169.0)"], []),
    (without_wrapper, "doctor work --fix", "work",
     ["doctor --fix work: rewrote its command ~b/bin/work (Codex 0.169.0)"], []),
    (lost_row, "doctor --fix", "work", [],
     ["- doctor --fix: work: added the clone in ~b/m/clones/work/.codex-mirror to the registry again"]),
    (torn, "doctor --fix", "work", [], ["- doctor --fix: rebuilt the registry with 1 clone"]),
]  # fmt: skip


@pytest.mark.parametrize(("prepare", "words", "name", "own", "general"), LOGGED, ids=[row[1] for row in LOGGED])
def test_a_change_says_in_the_logs_what_it_changed_and_no_secret(
    home: Home, clone: Any, prepare: Any, words: str, name: str, own: list[str], general: list[str]
) -> None:
    prepare(home)
    before = told(home)
    words = words.replace("~b", str(home.base))
    result = ask(home, *words.split(), stdin=KEY if words.startswith("login") else b"")
    assert result.code == (1 if words.endswith("status") else 0), result  # As Codex says who isn't logged in.
    after = {path: [line.replace(str(home.base), "~b") for line in lines] for path, lines in told(home).items()}
    paths = {"events.log": general, **({f"clones/{name}/.codex-mirror/logs/events.log": own} if name else {})}
    for path, lines in paths.items():
        assert after[path][len(before.get(path, [])) :] == lines, path
    everything = "".join(path.read_text() for path in home.mirror.rglob("events.log"))
    assert "hush" not in everything and API_KEYS[0] not in everything and "sk-" not in everything


def told(home: Home) -> dict[str, list[str]]:
    """What all logs say, by their paths in the mirror home."""
    return {str(path.relative_to(home.mirror)): said_in(path) for path in home.mirror.rglob("events.log")}


SET = [
    ({}, ""),
    ({"home": "shared"}, "--home shared"),
    ({"share": ("a b", ".x"), "unshare": ("c",)}, "--share 'a b' --share .x --unshare c"),
    ({"env": ("A=secret=more", "B="), "no_env": ("C",)}, "--env A --env B --no-env C"),
    ({"accept_account": True}, "--accept-account"),
    (
        {"settings_from": "~/.codex", "share_settings": ("skills",)},
        "--settings-from '~/.codex' --share-settings skills",
    ),
]


@pytest.mark.parametrize(("request_", "words"), SET)
def test_what_set_was_told_is_told_without_values_of_variables(request_: dict[str, Any], words: str) -> None:
    assert cm.words_of_changes(cm.CloneChanges(**request_)) == words


def test_a_log_has_one_line_a_change_is_private_and_stays_small(home: Home, clone: Any) -> None:
    log = log_of(home)
    log.unlink()
    for _ in range(3):
        cm.add_to_log(str(log), "abcdef12", ["set work\n\x1b[31m"])
    [line] = log.read_text().splitlines()
    assert re.fullmatch(r"\S+Z abcdef12 set work\\x0a\\x1b\[31m", line)
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    log.write_text("".join(f"{number} old line of the log, of some length\n" for number in range(8000)))
    cm.add_to_log(str(log), "abcdef12", ["x"])
    text = log.read_text()
    assert len(text) <= cm.LOG_LIMIT and "\n7999 old" in text and text.splitlines()[-1].split()[1] == "abcdef12"
    log.write_bytes(b"\xff" * (1 << 20))
    cm.add_to_log(str(log), "abcdef12", ["x"])
    assert log.stat().st_size <= cm.LOG_LIMIT


@pytest.mark.parametrize("occupy", [os.mkfifo, Path.mkdir, lambda path: path.symlink_to("/dev/zero")])
def test_what_is_no_log_hinders_no_change_and_is_not_read(home: Home, clone: Any, occupy: Any) -> None:
    for log in (log_of(home), home.mirror / "events.log"):
        log.unlink()
        occupy(log)
    assert ask(home, "rename", "work", "office", env={"CODEX_MIRROR_LOCK_TIMEOUT": "0"}).code == 0
    assert clone_in(home, "office").id == clone.id
    assert ask(home, "log").out == "" and ask(home, "doctor", "--json").code in (0, 1)


def test_a_clone_without_a_directory_for_its_log_is_changed_all_the_same(home: Home, clone: Any) -> None:
    shutil.rmtree(log_of(home).parent)
    assert ask(home, "rename", "work", "office").code == 0 and not list(home.mirror.glob("finish-*"))


def test_what_others_may_have_written_into_a_log_is_not_told(home: Home, clone: Any) -> None:
    log_of(home).chmod(0o666)
    (home.mirror / "events.log").chmod(0o666)
    assert ask(home, "log").out == ""


def test_a_log_that_can_t_be_written_hinders_no_repair(home: Home, clone: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cm, "add_to_log", Mock(side_effect=OSError(28, "No space left on device")))
    cm.log_repairs(places_of(home), "abcdef12", ["x"])


# --- what `log` shows ---


def test_log_shows_each_change_once_newest_last_under_the_names_of_now(home: Home, clone: Any) -> None:
    for words in ("create play", "set play --home shared", "rename work office", "remove play --yes"):
        assert ask(home, *words.split()).code == 0
    whole = ask(home, "log", "--json")
    rows = whole.json()
    assert [(row["clone"], row["what"]) for row in rows] == [
        ("office", "create work"), ("play", "create play"), ("office", "rename work office"), ("play", "remove play"),
    ]  # fmt: skip
    assert [list(row) for row in rows] == [["time", "clone", "id", "what"]] * 4
    assert rows[0]["id"] == clone.id and [row["time"] for row in rows] == sorted(row["time"] for row in rows)
    assert ask(home, "log").out.splitlines() == ["\t".join([row["time"], row["clone"], row["what"]]) for row in rows]
    for name in ("work", "office"):
        assert [row["what"] for row in ask(home, "log", name, "--json").json()] == ["create work", "rename work office"]
    assert [row["what"] for row in ask(home, "log", "play", "--json").json()] == ["create play", "remove play"]
    unknown = ask(home, "log", "nobody")
    assert unknown.code == 3 and "'nobody' was not found" in unknown.err
    assert re.search(r"WHEN +CLONE +WHAT\n\d+ s ago +office +create work", on_terminal(home, "log").out)


def test_a_log_of_an_older_program_and_lines_that_are_none_are_read_as_far_as_they_go(home: Home, clone: Any) -> None:
    log = log_of(home)
    log.write_text("2026-01-02T03:04:05.678Z 0badcafe create work (Codex 0.160.0)\nnonsense\n\n2026 x\n\x1b[31m\n")
    (home.mirror / "events.log").write_bytes(b"\xff\xfe\n- - \n2026-01-02T03:04:05.678Z 0badcafe ../../x ../y z\n")
    assert [row["what"] for row in ask(home, "log", "work", "--json").json()] == ["create work (Codex 0.160.0)"]
    assert ask(home, "log").out == "2026-01-02T03:04:05.678Z\twork\tcreate work (Codex 0.160.0)\n"


def test_a_home_without_changes_has_an_empty_log_and_none_is_made(home: Home) -> None:
    assert ask(home, "log").out == "" and ask(home, "log", "--json").json() == []
    assert "no changes yet" in on_terminal(home, "log").out
    assert cm.logged_changes(cm.Registry(), places_of(home)) == [] and not home.mirror.exists()
