"""Handover: a session as another account may go on with it, line by line, and put there durably."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from rollouts import NOBODY, NOW, SHAPES, A, B, Shape, an_id, write

from helpers import API_KEYS, PROGRAM, Home, chatgpt_login, overheard, tree
from rooms import ROOT, ask, at_rest, caller_in, changes, cm, make_clone, on_terminal

NEW = Shape()
ID = an_id(1)


class Two:
    """Two clones, `work` of one account and `personal` of another, and what lies in their session files."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.codex_home = {name: home.clone_home(name) / ".codex" for name in ("work", "personal")}
        for name, account in (("work", A), ("personal", B)):
            make_clone(home, name)
            self.log_in(name, account)

    def log_in(self, name: str, account: tuple[str, str]) -> None:
        (self.codex_home[name] / "auth.json").write_text(chatgpt_login(*account, at=NOW - 9000))

    def write(self, name: str, lines: list[bytes], **more: Any) -> Path:
        return write(self.codex_home[name], ID, lines, **more)

    def path(self, name: str) -> Path:
        return self.codex_home[name] / f"sessions/2026/11/22/rollout-2026-11-22T08-00-00-{ID}.jsonl"

    def lines(self, name: str) -> list[bytes]:
        return self.path(name).read_bytes().splitlines(keepends=True)

    def records(self, name: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines(name)]

    def goes_on(self, name: str, lines: list[bytes], at: float) -> None:
        with self.path(name).open("ab") as file:
            file.writelines(lines)
        os.utime(self.path(name), (at, at))

    def hand_over(self, name: str, *more: str, code: int = 0) -> Any:
        ended = ask(self.home, "handover", ID, name, *more)
        assert ended.code == code, ended
        return ended


@pytest.fixture
def two(home: Home, codex: Path) -> Two:
    return Two(home)


def session(shape: Shape = NEW, creator: tuple[str, str] = A) -> list[bytes]:
    """One turn, encrypted for that account, then a prompt with an image."""
    creator = creator if shape.version >= "0.169" else NOBODY
    return [*shape.beginning(ID, creator=creator), *shape.turn("A:one"), shape.prompt("and this?", image=5000)]


# --- one line ---

REASONING = NEW.thought("A:secret")
KEPT: list[tuple[str, bytes]] = [
    ("a message", NEW.says("user", "encrypted_content, rate_limits and session_meta")),
    ("a thought without a secret", NEW.thought(None)),
    ("a compaction in plain text", NEW.compacted()),
    ("an event with a secret", NEW.line("event_msg", {"type": "x", "encrypted_content": "A:secret"})),
    ("limits that are null", NEW.limits().replace(b'"rate_limits":{', b'"rate_limits":null,"x":{')),
    ("a torn line", b'{"type":"response_item","payload":{"type":"message"'),
    ("a list", b'["rate_limits"]\n'),
    ("not UTF-8", b'{"type":"event_msg","payload":{"x":"\xff"}}\n'),
    ("nothing", b"\n"),
    ("a schema", NEW.line("response_item", {"type": "x", "schema": {"encrypted_content": None}})),
]


@pytest.mark.parametrize(("kind", "line"), KEPT, ids=[row[0] for row in KEPT])
def test_a_line_that_anybody_may_have_is_carried_byte_for_byte(kind: str, line: bytes) -> None:
    assert cm.carried_line(line, B) == (line, "")


DEEP: Any = "A:secret"
for _ in range(200):
    DEEP = [{"x": DEEP}]
LEFT_OUT: list[tuple[str, bytes, str]] = [
    ("a thought", REASONING, "reasoning"),
    ("a compaction", NEW.compacted("A:secret"), "compacted"),
    (
        "an item of the history",
        NEW.line("response_item", {"type": "compaction", "encrypted_content": "A:x"}),
        "compaction",
    ),
    ("deep inside", NEW.line("response_item", {"type": "y", "a": [{"b": {"encrypted_content": "A:x"}}]}), "y"),
    ("of a kind to come", NEW.line("agent_mail", {"encrypted_content": "A:secret"}), "agent_mail"),
    ("its key with escapes", REASONING.replace(b"encrypted_content", b"encrypted\\u005fcontent"), "reasoning"),
    ("torn", REASONING[:-6], "unreadable"),
    ("nested too deeply", b'{"encrypted_content":' + b"[" * 90_000 + b"\n", "unreadable"),
    ("not UTF-8", REASONING.replace(b"summary", b"\xff"), "unreadable"),
]


@pytest.mark.parametrize(("kind", "line", "what"), LEFT_OUT, ids=[row[0] for row in LEFT_OUT])
def test_a_line_that_only_its_maker_can_read_is_left_out(kind: str, line: bytes, what: str) -> None:
    assert cm.carried_line(line, B) == (b"", what)


@pytest.mark.parametrize("creator", [B, NOBODY])
@pytest.mark.parametrize("version", SHAPES)
def test_the_first_line_names_the_new_account_and_is_else_the_same(version: str, creator: tuple[str, str]) -> None:
    shape = Shape(version)
    before = shape.meta(ID, "/wé", A if version == "0.171.0" else NOBODY)
    carried, what = cm.carried_line(before, creator)
    named = {"creator_account_id": creator[0], "creator_user_id": creator[1]} if creator == B else {}
    old, new = json.loads(before), json.loads(carried)
    payload = {key: value for key, value in old["payload"].items() if not key.startswith("creator_")}
    assert what == "" and new == {**old, "payload": {**named, **payload}}
    assert cm.meta_in(carried[: cm.META_HEAD]).workspace == creator[0]


def test_the_old_accounts_limits_are_emptied() -> None:
    old, new = json.loads(NEW.limits()), json.loads(cm.carried_line(NEW.limits(), B)[0])
    assert old["payload"].pop("rate_limits")["primary"] and new["payload"].pop("rate_limits") is None and old == new


FIRST, SAID, MORE, NOTE = NEW.meta(ID, creator=A), NEW.says("user", "x"), NEW.says("user", "y"), NEW.limits()
MINE, THEIRS, NOTED = NEW.thought("A:x"), NEW.thought("B:x"), NEW.line("turn_context", {"cwd": "/"})
ABORTED, AROUND = NEW.says("user", "<turn_aborted>\nby the user\n</turn_aborted>"), NEW.says("developer", "be kind")
FIRST_OF_B, ALL = NEW.meta(ID, creator=B), sys.maxsize
RELATIONS: list[tuple[str, list[bytes], list[bytes], tuple[str, int, int]]] = [
    ("equal", [FIRST, SAID], [FIRST, SAID], ("same", 2, ALL)),
    ("carried to another", [FIRST, MINE, SAID, NOTE], [FIRST_OF_B, SAID, NOTE], ("same", 4, ALL)),
    ("with thoughts of both", [FIRST, MINE, SAID], [FIRST, THEIRS, SAID, THEIRS], ("same", 3, ALL)),
    ("a beginning", [FIRST, SAID, MINE, MORE], [FIRST, SAID], ("behind", 2, ALL)),
    ("a beginning, and a note", [FIRST, SAID, MORE], [FIRST, SAID, THEIRS, NOTED], ("behind", 2, 3)),
    ("went on", [FIRST, SAID], [FIRST, SAID, MORE], ("ahead", 2, 2)),
    ("only a note more", [FIRST, SAID], [FIRST, SAID, NOTED], ("same", 2, 2)),
    ("only an abort more", [FIRST, SAID], [FIRST, SAID, ABORTED, AROUND], ("same", 2, 2)),
    ("an answer more", [FIRST, SAID], [FIRST, SAID, NEW.says("assistant", "<x>")], ("ahead", 2, 2)),
    ("a compaction more", [FIRST, SAID], [FIRST, SAID, NEW.compacted()], ("ahead", 2, 2)),
    ("a note, then went on", [FIRST, SAID], [FIRST, SAID, NOTED, MORE], ("ahead", 2, 2)),
    ("both went on", [FIRST, SAID, NEW.says("user", "z")], [FIRST, SAID, MORE], ("apart", 2, 2)),
    ("another session", [FIRST, SAID], [NEW.meta(an_id(2), creator=A), SAID], ("apart", 0, 0)),
    ("an empty one", [FIRST, SAID], [], ("behind", 0, ALL)),
]


@pytest.mark.parametrize(("kind", "source", "target", "relation"), RELATIONS, ids=[row[0] for row in RELATIONS])
def test_how_a_copy_stands_to_its_source(
    kind: str, source: list[bytes], target: list[bytes], relation: tuple[str, int, int]
) -> None:
    assert cm.compare_copies(source, target) == relation


def test_what_is_written_while_it_is_read_is_left_for_the_next_time(tmp_path: Path) -> None:
    path = tmp_path / "rollout"
    path.write_bytes(b"one\ntwo\nhal")
    lines = cm.complete_lines(str(path))
    assert next(lines) == b"one\n"
    with path.open("ab") as file:
        file.write(b"f\nfour\n")
    assert list(lines) == [b"two\n"]


# --- whole sessions ---


@pytest.mark.parametrize("version", SHAPES)
def test_another_account_gets_all_that_it_can_read(two: Two, version: str) -> None:
    shape = Shape(version)
    whole = [*session(shape), shape.compacted("A:two"), shape.compacted(), *shape.turn(None)]
    lines = b"".join(whole).splitlines(keepends=True)
    two.write("work", [*lines, REASONING[:40]], at=NOW - 5.25)
    before = at_rest(two.home)
    ended = two.hand_over("personal")
    assert "left out, since only the account that made it can read it: 1 reasoning, 1 compacted" in ended.err
    assert ended.out.splitlines()[1] == f"next: '{two.home.bin}/personal' resume {ID}"
    wanted = [carried for line in lines if (carried := cm.carried_line(line, B)[0])]
    assert two.lines("personal") == wanted and b"A:" not in b"".join(wanted) and len(wanted) == len(lines) - 2
    assert cm.meta_in(wanted[0]).workspace == "acc-B"
    changed = changes(before, at_rest(two.home))
    mine = {name for name in changed if "/work/" in name}
    assert not mine and {
        name.rpartition("/.codex/")[2] for name in changed if "/personal/" in name and ".codex/" in name
    } == {
        *("sessions", "sessions/2026", "sessions/2026/11", "sessions/2026/11/22"),
        str(two.path("personal").relative_to(two.codex_home["personal"])),
    }
    facts = two.path("personal").stat()
    assert (facts.st_mtime, facts.st_mode & 0o777) == (NOW - 5.25, 0o600)
    assert two.path("personal").parent.stat().st_mode & 0o777 == 0o700


def test_the_same_account_gets_it_byte_for_byte(two: Two) -> None:
    two.log_in("personal", A)
    lines = [*session(Shape("0.169.0")), NEW.compacted("A:two"), b"\xff odd\n", b"\n"]
    two.write("work", [*lines, b'{"torn'])
    assert two.hand_over("personal").err == "" and two.path("personal").read_bytes() == b"".join(lines)
    two.write("work", [*lines, NEW.prompt("more")])
    assert two.hand_over("personal").err == "" and two.path("personal").read_bytes() == two.path("work").read_bytes()


@pytest.mark.parametrize(("since", "whole"), [(NOW - 9000, True), (NOW - 30, False)])
def test_a_session_without_a_creator_is_its_clones_accounts_since_the_login(
    two: Two, since: float, whole: bool
) -> None:
    two.log_in("personal", A)
    two.write("work", session(Shape("0.154.0")))
    (two.codex_home["work"] / "auth.json").write_text(chatgpt_login(*A, at=since))
    two.hand_over("personal")
    assert (two.lines("personal") == two.lines("work")) is whole
    assert (b"A:one" in two.path("personal").read_bytes()) is whole


def test_without_a_chatgpt_account_it_is_nobodys(two: Two) -> None:
    two.write("work", session())
    (two.codex_home["personal"] / "auth.json").unlink()
    two.hand_over("personal")
    first = two.records("personal")[0]["payload"]
    assert not [key for key in first if key.startswith("creator_")] and b"A:" not in two.path("personal").read_bytes()


def test_round_trips_lose_nothing_that_can_be_carried(two: Two) -> None:
    """Each account keeps its own encrypted items, and gets of the other's turns what it can read."""
    mine = session()
    two.write("work", mine)
    two.hand_over("personal")
    carried = two.lines("personal")
    theirs = [NEW.prompt("second"), *NEW.turn("B:two", "from B")]
    two.goes_on("personal", theirs, NOW + 10)
    two.hand_over("work")
    theirs_carried = [line for one in theirs if (line := cm.carried_line(one, A)[0])]
    assert b"".join(two.lines("work")) == b"".join([*mine, *theirs_carried])
    again = [NEW.prompt("third"), *NEW.turn("A:three", "from A"), NEW.compacted()]
    two.goes_on("work", again, NOW + 20)
    two.hand_over("personal")
    again_carried = [line for one in again if (line := cm.carried_line(one, B)[0])]
    assert b"".join(two.lines("personal")) == b"".join([*carried, *theirs, *again_carried])
    assert two.path("personal").stat().st_mtime == NOW + 20
    before = at_rest(two.home)
    assert "already has all of that session" in two.hand_over("personal").err
    assert "already has all of that session" in two.hand_over("work").err
    assert at_rest(two.home) == before


@pytest.mark.parametrize("is_older", [True, False])
def test_a_key_keeps_what_it_can_read_alone_unless_it_came_later(two: Two, is_older: bool) -> None:
    """Sessions made with an API key name no account."""
    for name, key in zip(("work", "personal"), API_KEYS, strict=True):
        login = two.codex_home[name] / "auth.json"
        login.write_text(json.dumps({"auth_mode": "apikey", "OPENAI_API_KEY": key}))
        os.utime(login, (NOW - 9000,) * 2)
    mine = session(creator=NOBODY)
    two.write("work", mine)
    two.hand_over("personal")
    assert b"A:one" not in two.path("personal").read_bytes()
    if is_older:
        assert "already has all of that session" in two.hand_over("work").err
        assert two.path("work").read_bytes() == b"".join(mine)
    else:
        os.utime(two.codex_home["work"] / "auth.json")
    two.goes_on("personal", [NEW.prompt("second"), *NEW.turn("B:two", "from B")], NOW + 10)
    two.hand_over("work")
    now = two.path("work").read_bytes()
    assert (b"A:one" in now) == is_older and b"from B" in now and b"B:two" not in now


def test_random_round_trips_never_lose_a_word(two: Two) -> None:
    seed = random.randrange(1 << 32)
    dice = random.Random(seed)
    two.write("work", NEW.beginning(ID, creator=A))
    words, here, at = [], "work", NOW
    for number in range(12):
        secret = f"{'A' if here == 'work' else 'B'}:{number}" if dice.random() < 0.6 else None
        lines = [NEW.prompt(f"word {number}"), *NEW.turn(secret)]
        lines += [NEW.compacted(secret or "")] if dice.random() < 0.3 else []
        at += 1
        two.goes_on(here, lines, at)
        words.append(f"word {number}")
        if dice.random() < 0.6:
            here = "personal" if here == "work" else "work"
            two.hand_over(here)
            text = two.path(here).read_text()
            assert all(f'"{word}"' in text for word in words), seed
            assert (f'"{"B" if here == "work" else "A"}:') not in text, seed
            assert cm.meta_in(text.encode()).workspace == ("acc-A" if here == "work" else "acc-B"), seed


def test_a_copy_that_went_on_by_itself_is_refused_and_fork_makes_another(two: Two) -> None:
    two.write("work", session())
    two.hand_over("personal")
    two.goes_on("personal", [NEW.prompt("mine alone"), *NEW.turn(None)], NOW + 5)
    for diverged in (False, True):
        if diverged:
            two.goes_on("work", [NEW.prompt("meanwhile"), *NEW.turn("A:x")], NOW + 9)
        before = at_rest(two.home)
        ended = two.hand_over("personal", code=5)
        assert "was continued separately in 'personal'" in ended.err and "--fork" in ended.err
        assert at_rest(two.home) == before
    kept = two.path("personal").read_bytes()
    done = two.hand_over("personal", "--fork", "--json").json()
    assert (done["from"], done["to"], done["leftOut"]) == ("work", "personal", {"reasoning": 2})
    assert done["id"] != ID and Path(done["path"]).name == two.path("personal").name.replace(ID, done["id"])
    first = json.loads(Path(done["path"]).read_bytes().splitlines()[0])["payload"]
    assert (first["id"], first["session_id"], first["creator_account_id"]) == (done["id"], done["id"], "acc-B")
    assert two.path("personal").read_bytes() == kept
    assert overheard(ask(two.home, "resume", done["id"]).out).env["CODEX_HOME"] == str(two.codex_home["personal"])


def test_a_copy_that_was_only_opened_didnt_go_on(two: Two) -> None:
    """Codex also notes when it opens a session, and when it is quit."""
    two.write("work", session())
    two.hand_over("personal")
    note = NEW.line("event_msg", {"type": "thread_settings_applied"})
    two.goes_on("personal", [note], NOW + 1)
    two.goes_on("work", [NEW.prompt("more"), *NEW.turn(None)], NOW + 2)
    two.hand_over("personal")
    assert b'"more"' in two.path("personal").read_bytes() and note not in two.lines("personal")


@contextmanager
def somebody_has_open(path: Path) -> Iterator[int]:
    """Another process with the file open for appending, as a Codex has it."""
    script = "import sys; file = open(sys.argv[1], 'ab'); print(flush=True); sys.stdin.read()"
    words = [sys.executable, "-c", script, str(path)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout and process.stdin
        process.stdout.readline()
        yield process.pid
        process.stdin.close()


def test_an_open_source_is_copied_and_an_open_target_is_not_replaced(two: Two) -> None:
    two.write("work", [*session(), b'{"half a line'])
    with somebody_has_open(two.path("work")) as pid:
        assert f"it is open in 'work' (pid {pid})" in two.hand_over("personal").err
    assert b"half a line" not in two.path("personal").read_bytes()
    two.goes_on("work", [b'"}\n', NEW.prompt("more")], NOW + 1)
    with somebody_has_open(two.path("personal")) as pid:
        before = at_rest(two.home)
        assert f"is open in 'personal' (pid {pid})" in two.hand_over("personal", code=6).err
        assert at_rest(two.home) == before
        two.hand_over("personal", "--force")
    assert b'"more"' in two.path("personal").read_bytes()


def test_a_target_that_is_written_meanwhile_is_left_as_it_is(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    two.write("work", session())
    two.hand_over("personal")
    two.goes_on("work", [NEW.prompt("more")], NOW + 1)
    write_pieces = cm.write_pieces

    def interrupted(*words: Any) -> None:
        two.goes_on("personal", [NEW.prompt("meanwhile")], NOW + 2)
        write_pieces(*words)

    monkeypatch.setattr(cm, "write_pieces", interrupted)
    done = cm.hand_over_session(caller_in(two.home), ID, "personal")
    assert len(done.unfinished) == 1 and "was changed in the meantime" in done.unfinished[0]
    assert b"meanwhile" in two.path("personal").read_bytes() and b'"more"' not in two.path("personal").read_bytes()
    assert [path.name for path in two.path("personal").parent.iterdir()] == [two.path("personal").name]


def test_what_is_not_copied_or_may_not_fit_is_said(two: Two) -> None:
    two.write("work", session(Shape("0.171.0")))
    spawned = {"subagent": {"thread_spawn": {"parent_thread_id": ID, "depth": 1}}}
    write(two.codex_home["work"], an_id(2), NEW.beginning(an_id(2), source=spawned))
    write(two.codex_home["work"], an_id(3), NEW.beginning(an_id(3), thread_source="subagent", session_id=ID))
    write(two.codex_home["work"], an_id(4), NEW.beginning(an_id(4)))
    said = two.hand_over("personal").err
    assert "2 threads of its sub-agents stayed in 'work'" in said
    assert "Codex 0.169.0 of 'personal' is older than the session's 0.171.0" in said and "update personal" in said
    assert [path.name for path in two.path("personal").parent.iterdir()] == [two.path("personal").name]


def test_a_sub_agents_thread_is_not_handed_over_and_the_session_above_is_named(two: Two) -> None:
    two.write("work", session())
    spawned = {"subagent": {"thread_spawn": {"parent_thread_id": an_id(8), "depth": 1}}}
    threads: list[tuple[dict[str, Any], str]] = [
        ({"source": spawned, "session_id": ID}, ID),
        ({"source": spawned}, an_id(8)),
        ({"thread_source": "subagent"}, "ID"),
        ({"source": {"subagent": "review"}}, "ID"),
    ]
    for number, (more, main) in enumerate(threads, 2):
        write(two.codex_home["work"], an_id(number), NEW.beginning(an_id(number), creator=A, **more))
        before = at_rest(two.home)
        for words in (("handover", an_id(number), "personal"), ("resume", an_id(number), "--in", "personal")):
            ended = ask(two.home, *words)
            assert ended.code == 5 and f" handover {main} personal" in ended.err, ended
        assert changes(before, at_rest(two.home)) == {}


def test_after_a_handover_last_and_here_go_on_where_it_came_to(two: Two) -> None:
    """A handover keeps the times, so that both copies were written at the same time; a name is still asked for."""
    place = two.home.base / "d"
    place.mkdir()
    two.write("work", [*NEW.beginning(ID, cwd=str(place), creator=A), *NEW.turn("A:one")])
    for name, others in (("personal", "'work'"), ("work", "'personal'")):
        if name == "work":
            two.goes_on("personal", [NEW.prompt("there")], NOW + 3)
        two.hand_over(name)
        for words in (("--last",), ("--here",)):
            ended = ask(two.home, "resume", *words, cwd=place)
            assert overheard(ended.out).env["CODEX_HOME"] == str(two.codex_home[name])
            assert f"that session is also in {others}; continuing in '{name}'" in ended.err
        tie = ask(two.home, "resume", ID)
        assert tie.code == 2 and f"python3 {PROGRAM} resume {ID} --in work or python3 " in tie.err, tie
    ask(two.home, "export", "work", "-o", two.home.base / "x.tar.gz")
    ask(two.home, "import", two.home.base / "x.tar.gz", "--name", "new", "--yes")
    ended = ask(two.home, "resume", "--last")
    assert (
        overheard(ended.out).env["CODEX_HOME"] == str(two.codex_home["work"])
        and "also in 'personal', 'new'" in ended.err
    )
    ask(two.home, "remove", "new", "--yes")
    shown = on_terminal(two.home, "resume", typed="2\n").out
    row = next(line for line in shown.splitlines() if line.startswith("  2 "))
    chosen = overheard(shown.replace("number: ", "\n")).env["CODEX_HOME"]
    assert (" work " if "/work/" in chosen else " personal ") in row, "who chooses a row has chosen its clone"


def test_resume_in_another_clone_hands_over_and_goes_on_there(two: Two) -> None:
    two.write("work", session())
    ended = ask(two.home, "resume", ID[:13], "--in", "personal", "--", "now")
    assert overheard(ended.out).argv == [b"resume", ID.encode(), b"now"] and "1 reasoning" in ended.err
    assert overheard(ended.out).env["CODEX_HOME"] == str(two.codex_home["personal"])
    before = at_rest(two.home)
    assert overheard(ask(two.home, "resume", ID, "--in", "personal").out).argv[0] == b"resume"
    assert at_rest(two.home) == before
    two.goes_on("personal", [NEW.prompt("there")], NOW + 3)
    assert overheard(ask(two.home, "resume", ID).out).env["CODEX_HOME"] == str(two.codex_home["personal"])
    assert overheard(ask(two.home, "resume", "--last", "--in", "work").out).argv[1] == ID.encode()
    assert b'"there"' in two.path("work").read_bytes()


SECRETS_LEFT_OUT = "left out, since only the account that made it can read it: 2 reasoning, 1 compacted"


@pytest.mark.parametrize("way", ["export", "export --with-login", "home", "home --move-login"])
def test_an_import_brings_sessions_whole_only_with_their_login(two: Two, way: str) -> None:
    """Whoever logs in there goes on with them, also by Codex's own `resume`."""
    lines = [*session(), NEW.compacted("A:sum"), NEW.thought("A:two")]
    torn = b'{"type":"event_msg","payload":{"type":"x"'
    two.write("work", [*lines, torn])
    archived = write(two.codex_home["work"], an_id(2), NEW.beginning(an_id(2), creator=A), day="", at=NOW - 7)
    write(two.codex_home["work"], an_id(3), [b"packed"], ending=".jsonl.zst")
    what, *options = way.split()
    if what == "export":
        exported = ask(two.home, "export", "work", "-o", two.home.base / "x.tar.gz", *options)
        assert exported.code == 0
        words: list[Any] = [two.home.base / "x.tar.gz", "--yes"]
    else:
        shutil.copytree(two.codex_home["work"], two.home.home / ".codex")
        words = [two.home.home / ".codex", "--with-sessions", *options]
    ended = ask(two.home, "import", *words, "--name", "new")
    two.codex_home["new"] = two.home.clone_home("new") / ".codex"
    carried = [line for one in lines for part in one.splitlines(True) if (line := cm.carried_line(part, NOBODY)[0])]
    assert two.path("new").stat().st_mtime == NOW and ended.code == 0, ended
    new_archived = two.codex_home["new"] / "archived_sessions" / archived.name
    assert new_archived.stat().st_mtime == NOW - 7
    if options:
        assert two.path("new").read_bytes() == two.path("work").read_bytes() and "left out" not in ended.err
        assert new_archived.read_bytes() == archived.read_bytes()
    else:
        assert b"".join(two.lines("new")) == b"".join(carried) + torn and SECRETS_LEFT_OUT in ended.err
        assert "1 compressed session came as" in ended.err
        assert cm.meta_in(new_archived.read_bytes()).workspace == "" and b"A:" not in two.path("new").read_bytes()


def test_what_an_older_codex_wrote_gets_the_numbers_that_a_newer_one_demands(two: Two) -> None:
    """Codex 0.171 opens no session of its own whose last line has no ordinal, as Codex 0.120 writes them."""
    two.write("work", session())
    two.hand_over("personal")
    old = [Shape("0.120.0").prompt("more"), *Shape("0.120.0").turn(None)]
    two.goes_on("personal", old, NOW + 5)
    two.hand_over("work")
    added = [json.loads(line) for line in two.lines("work")[-len(b"".join(old).splitlines()) :]]
    assert [record["ordinal"] for record in added] == list(range(8, 8 + len(added)))
    assert two.lines("work")[: len(added)] == b"".join(session()).splitlines(keepends=True)[: len(added)]
    assert "has all" in two.hand_over("work").err
    two.goes_on("work", [NEW.prompt("and more")], NOW + 9)
    two.hand_over("personal")
    assert b"and more" in two.path("personal").read_bytes()


def test_what_the_target_can_read_alone_stays_where_it_is(two: Two) -> None:
    """A turn that was cut off behind a thought: the thought is the account's own."""
    mine = [*session(), NEW.thought("A:cut off")]
    two.write("work", mine)
    two.hand_over("personal")
    two.goes_on("personal", [NEW.prompt("and then?")], NOW + 5)
    two.hand_over("work")
    assert two.path("work").read_bytes() == b"".join([*mine, NEW.prompt("and then?")])


def test_limits_of_a_copy_are_nobodys(two: Two) -> None:
    """The copy bears the new account's name, and must not show the old one's figures as its own."""
    two.write("work", session())
    two.hand_over("personal")
    own = [NEW.meta(an_id(5), creator=B), NEW.limits(7.0)]
    write(two.codex_home["personal"], an_id(5), own, at=NOW - 9)
    rows = {row["name"]: row for row in ask(two.home, "usage", "--json").json()}
    assert [window["minutes"] for window in rows["personal"]["windows"]] == [300]
    found = cm.usage_of(
        cm.clone_named(cm.read_registry(cm.places_from(two.home.env)), "personal"),
        ACCOUNT_B,
        [(NOW, str(two.path("personal")))],
    )
    assert not found.windows


ACCOUNT_B = cm.Account("chatgpt", workspace=B[0], user=B[1])


HOSTILE: list[tuple[str, bytes, int, str]] = [
    ("nothing", b"", 5, "doesn't start like a session file"),
    ("not a session", b"\0" * 5000, 5, "doesn't start like a session file"),
    ("one endless line", NEW.meta(ID)[:-1] * 3, 0, ""),
    ("a hundred thousand lines", NEW.meta(ID, creator=A) + b'{"rate_limits":1}\n' * 100_000, 0, ""),
    ("nested", NEW.meta(ID, creator=A) + b'{"payload":' * 100_000 + b"\n", 0, ""),
    ("not UTF-8", NEW.meta(ID, creator=A) + b"\xff\xfe\n" * 99, 0, ""),
    ("a line of 30 MB", NEW.meta(ID, creator=A) + NEW.says("user", "x", {"image_url": "A" * 30_000_000}), 0, ""),
]


def test_lines_are_read_through_no_link_and_nobody_is_waited_for(tmp_path: Path) -> None:
    """What is listed as a session is a file; it may be another thing by the time that it is read."""
    (tmp_path / "link").symlink_to(tmp_path / "file")
    (tmp_path / "file").write_bytes(b"x\n")
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(OSError, match="symbolic links"):
        list(cm.complete_lines(str(tmp_path / "link")))
    assert list(cm.complete_lines(str(tmp_path / "fifo"))) == []


def test_a_dry_run_says_which_copy_it_would_write_and_writes_none(two: Two) -> None:
    two.write("work", session())
    before = at_rest(two.home)
    said = two.hand_over("personal", "--dry-run").out
    assert f"would write  {two.path('personal')}\n" in said and changes(before, at_rest(two.home)) == {}


@pytest.mark.parametrize(("kind", "content", "code", "said"), HOSTILE, ids=[row[0] for row in HOSTILE])
def test_a_hostile_session_is_carried_as_it_is_or_refused(
    two: Two, kind: str, content: bytes, code: int, said: str
) -> None:
    two.write("work", [content])
    ended = two.hand_over("personal", code=code)
    assert said in ended.err and two.path("work").read_bytes() == content
    if code == 0 and content.endswith(b"\n"):
        assert two.path("personal").read_bytes().partition(b"\n")[2] == content.partition(b"\n")[2]


def test_nothing_is_put_through_a_link_or_over_what_is_no_session(two: Two) -> None:
    two.write("work", session())
    elsewhere = two.home.base / "elsewhere"
    elsewhere.mkdir()
    (two.codex_home["personal"] / "sessions").symlink_to(elsewhere)
    assert "is not a directory of the clone's own" in two.hand_over("personal", code=5).err
    assert list(elsewhere.iterdir()) == []
    (two.codex_home["personal"] / "sessions").unlink()
    for number, make in enumerate((os.mkfifo, os.mkdir, lambda path: os.symlink(two.path("work"), path))):
        two.path("personal").parent.mkdir(parents=True, exist_ok=True)
        make(two.path("personal"))
        before = at_rest(two.home)
        ended = two.hand_over("personal", code=5)
        assert at_rest(two.home) == before, (number, ended)
        two.path("personal").rmdir() if two.path("personal").is_dir() else two.path("personal").unlink()
    write(two.codex_home["work"], an_id(6), [b"x"], ending=".jsonl.zst")
    assert "is compressed" in ask(two.home, "handover", an_id(6), "personal").err


@pytest.mark.skipif(not ROOT, reason="makes a directory that can't be written, as another user")
def test_a_handover_that_fails_leaves_nothing(two: Two) -> None:
    two.write("work", session())
    os.rename(two.codex_home["personal"], two.codex_home["personal"].with_name("x"))
    two.codex_home["personal"].write_text("a file")
    before = tree(two.codex_home["personal"].parent)
    ended = ask(two.home, "handover", ID, "personal")
    assert ended.code != 0 and tree(two.codex_home["personal"].parent) == before
