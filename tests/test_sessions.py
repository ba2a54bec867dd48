"""Sessions: which there are in all clones, what was asked first, and going on with one."""

from __future__ import annotations

import contextlib
import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rollouts import INJECTED, NOW, SHAPES, A, B, Shape, an_id, write

from helpers import API_KEYS, Home, chatgpt_login, overheard, tree
from rooms import ask, caller_in, clone_in, clone_like, cm, make_clone, on_terminal

NEW = Shape()
CUT = cm.PROMPT_HEADS[-1]


@pytest.fixture
def clones(home: Home, codex: Path) -> dict[str, Path]:
    """The Codex homes of two clones, `work` and `personal`."""
    for name in ("work", "personal"):
        make_clone(home, name)
    return {name: home.clone_home(name) / ".codex" for name in ("work", "personal")}


# --- one file ---


@pytest.mark.parametrize("version", SHAPES)
def test_the_first_line_tells_of_a_session(version: str) -> None:
    head = Shape(version).meta(an_id(), "/wé", A)
    assert len(head) > 4 * cm.META_HEAD
    for part in (head, head[: cm.META_HEAD]):
        meta = cm.meta_in(part)
        assert (meta.id, meta.cwd, meta.version, meta.workspace, meta.user) == (an_id(), "/wé", version, *A)
        assert not meta.is_subagent


META: list[tuple[str, bytes, Any]] = [
    ("nothing", b"", cm.SessionMeta()),
    ("another line", NEW.says("user", "x"), cm.SessionMeta()),
    ("a text", b'"session_meta"\n', cm.SessionMeta()),
    ("torn before its payload", b'{"type":"session_meta","pay', cm.SessionMeta()),
    ("nested", b'{"type":"session_meta","payload":' + b'{"payload":' * 300, cm.SessionMeta()),
    ("with a list as a name", b'{"type":"session_meta",["a"]:1}', cm.SessionMeta()),
    ("deeply nested", b'{"type":"session_meta","payload":{"id":' + b"[" * 5000, cm.SessionMeta()),
    ("of other types", b'{"type":"session_meta","payload":{"id":7,"cwd":["/"],"source":3}}', cm.SessionMeta()),
    ("not UTF-8", b'{"type":"session_meta","payload":{"id":"a\xff","x":1}}', cm.SessionMeta(id="a�")),
    ("torn in a value", b'{"type":"session_meta","payload":{"id":"a","cwd":"/w', cm.SessionMeta(id="a")),
    (
        "spaced",
        b' {"type" : "session_meta" , "payload" : { "id" : "a" ,"cwd": "/"'[1:],
        cm.SessionMeta(id="a", cwd="/"),
    ),
    (
        "with the words in a text",
        b'{"type":"session_meta","payload":{"id":"a","x":"\\"creator_account_id\\":\\"evil\\"","y":{"cwd":"/evil"}}}',
        cm.SessionMeta(id="a"),
    ),
]


def test_of_payloads_inside_each_other_only_the_first_is_looked_into() -> None:
    """Each would be read once more than the one around it: a session of 256 KiB for a minute."""
    whole = cm.whole_members('{"a":1,"payload":{"b":2,"payload":{"c":3')
    assert whole == {"a": 1, "payload": {"b": 2}}


def test_a_session_that_goes_into_the_archive_meanwhile_hides_no_other(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    clone = clone_like(home, "work")
    day = Path(cm.codex_home_of(clone), "sessions/2026/01/02")
    day.mkdir(parents=True)
    for number in range(3):
        (day / f"rollout-{number}.jsonl").touch()
    real = os.scandir

    def look(path: str) -> Any:
        with real(path) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
        for entry in found[:1]:
            os.unlink(entry.path)
        return contextlib.nullcontext(found)

    monkeypatch.setattr(os, "scandir", look)
    assert {os.path.basename(path) for _, path in cm.rollouts_of(clone)} == {"rollout-1.jsonl", "rollout-2.jsonl"}


@pytest.mark.parametrize(("kind", "head", "meta"), META, ids=[row[0] for row in META])
def test_what_is_no_first_line_tells_nothing(kind: str, head: bytes, meta: Any) -> None:
    assert cm.meta_in(head) == meta


def test_however_a_first_line_is_cut_its_whole_parts_are_told() -> None:
    line = NEW.meta(an_id(), "/w", A)
    for size in (*range(0, 700, 7), len(line)):
        meta = cm.meta_in(line[:size])
        assert (meta.id in ("", an_id())) and meta.cwd in ("", "/w") and meta.workspace in ("", A[0]), size


SPAWNED = {"subagent": {"thread_spawn": {"parent_thread_id": an_id(9), "depth": 1}}}
SUBAGENTS: list[tuple[str, dict[str, Any], tuple[bool, str]]] = [
    ("a person's", {}, (False, "")),
    ("a person's, new", {"thread_source": "user"}, (False, "")),
    ("spawned", {"source": SPAWNED, "thread_source": "subagent"}, (True, an_id(9))),
    ("a review's", {"source": {"subagent": "review"}}, (True, "")),
    ("named only", {"thread_source": "subagent", "parent_thread_id": an_id(9)}, (True, an_id(9))),
    ("Codex's own", {"source": {"internal": "memory_consolidation"}}, (True, "")),
]


@pytest.mark.parametrize(("kind", "more", "told"), SUBAGENTS, ids=[row[0] for row in SUBAGENTS])
def test_a_sub_agents_thread_is_known(kind: str, more: dict[str, Any], told: tuple[bool, str]) -> None:
    meta = cm.meta_in(NEW.meta(an_id(), **more))
    assert (meta.is_subagent, meta.parent) == told


@pytest.mark.parametrize("version", SHAPES)
def test_the_prompt_is_what_the_person_typed(version: str) -> None:
    shape = Shape(version)
    lines = shape.beginning(an_id(), "fix <div> ü\nplease")
    assert cm.prompt_in(b"".join(lines)) == "fix <div> ü\nplease"
    whole = b"".join([*lines[:-1], shape.prompt("look at this", image=400_000)])
    assert cm.prompt_in(whole[:CUT]) == "look at this"
    only_sent = b"".join([*lines[:-1], shape.says("user", "and now?"), shape.says("user", "or then?")])
    assert (cm.prompt_in(only_sent), cm.prompt_in(only_sent, likely=False)) == ("and now?", "")


def test_a_prompt_is_found_behind_long_instructions(tmp_path: Path) -> None:
    """Codex adds the instructions of a project, which can be long; what is only sent isn't surely a person's."""
    long = [NEW.says("user", "some words that Codex adds"), NEW.says("developer", "x" * 150_000)]
    path = write(tmp_path, an_id(), [NEW.meta(an_id()), *long, NEW.prompt("what I typed")])
    session = cm.Session(NOW, str(path), None)
    assert cm.with_prompt(session).prompt == "what I typed"
    write(tmp_path, an_id(), [NEW.meta(an_id()), *long])
    assert cm.with_prompt(session).prompt == "some words that Codex adds"


def test_a_first_line_that_is_long_before_its_directory_is_read_further(tmp_path: Path) -> None:
    payload = {"id": an_id(), "base_instructions": "x" * 2 * cm.META_HEAD, "cwd": "/w"}
    path = write(tmp_path, an_id(), [NEW.line("session_meta", payload)])
    assert cm.with_meta(cm.Session(NOW, str(path), None)).meta.cwd == "/w"


NO_PROMPT: list[tuple[str, bytes]] = [
    ("nothing", b""),
    ("only what Codex says", b"".join(NEW.says("user", text) for text in INJECTED)),
    ("an empty one", NEW.prompt(" \n")),
    (
        "an instruction of old",
        NEW.line("event_msg", {"type": "user_message", "message": "x", "kind": "environment_context"}),
    ),
    ("another role", NEW.says("assistant", "user_message")),
    ("lists", b'["user"]\n{"payload":["user"]}\n'),
    ("odd content", NEW.line("response_item", {"type": "message", "role": "user", "content": [1, None, {"text": 3}]})),
    ("deeply nested", b'{"type":"user","payload":' + b"[" * 90_000),
    ("zeros", b"\0" * 5000 + b'"user"'),
]


@pytest.mark.parametrize(("kind", "head"), NO_PROMPT, ids=[row[0] for row in NO_PROMPT])
def test_what_nobody_typed_is_no_prompt(kind: str, head: bytes) -> None:
    assert cm.prompt_in(head).strip() == ""


# --- all of them ---


def test_sessions_shows_those_of_all_clones_newest_first(home: Home, clones: dict[str, Path]) -> None:
    for number, (name, prompt, cwd) in enumerate(
        [("work", "one", "/w/a"), ("personal", "two", "/w"), ("work", "three", "/x")]
    ):
        write(clones[name], an_id(number), NEW.beginning(an_id(number), prompt, cwd=cwd), at=NOW + number)
    write(clones["work"], an_id(7), NEW.beginning(an_id(7), "agent", source=SPAWNED), at=NOW + 7)
    write(clones["work"], an_id(8), [b"zst"], at=NOW + 8, ending=".jsonl.zst")
    write(clones["personal"], an_id(9), NEW.beginning(an_id(9), "old\tone", creator=A), at=NOW - 9, day="")
    write(clones["personal"], an_id(5), NEW.beginning(an_id(5)), day="kept/11/22")
    before = tree(home.base)
    rows = [line.split("\t") for line in ask(home, "sessions").out.splitlines()]
    assert [row[0] for row in rows] == [an_id(number) for number in (8, 2, 1, 0, 9)]
    assert rows[1] == [an_id(2), "work", cm.timestamp_text(NOW + 2), "/x", "three"]
    assert rows[0][3:] == ["", "(compressed)"] and rows[4][4] == "old one"
    data = ask(home, "sessions", "personal", "--json").json()
    assert [one["id"] for one in data] == [an_id(1), an_id(9)] and data[0]["account"] is None
    assert data[1] == {
        "id": an_id(9),
        "clone": "personal",
        "cwd": "/w",
        "started": cm.timestamp_text(NOW - 60),
        "updated": cm.timestamp_text(NOW - 9),
        "prompt": "old\tone",
        "archived": True,
        "path": str(clones["personal"] / f"archived_sessions/rollout-2026-11-22T08-00-00-{an_id(9)}.jsonl"),
        "codex": "0.171.0",
        "account": "acc-A",
    }
    assert [one["prompt"] for one in ask(home, "sessions", "--grep", "T", "--json").json()] == ["three", "two"]
    assert [one["cwd"] for one in ask(home, "sessions", "--grep", "w/A", "--json").json()] == ["/w/a"]
    assert len(ask(home, "sessions", "--limit", "2").out.splitlines()) == 2
    assert tree(home.base) == before


def test_here_is_this_directory_and_what_is_below_it(home: Home, clones: dict[str, Path]) -> None:
    here = home.base / "d"
    (here / "deep").mkdir(parents=True)
    (home.base / "link").symlink_to("d")
    for number, cwd in enumerate([here, here / "deep", home.base / "dd", home.base, home.base / "link"]):
        write(clones["work"], an_id(number), NEW.beginning(an_id(number), cwd=str(cwd)), at=NOW + number)

    def found(**env: str) -> list[str]:
        return [one["id"] for one in ask(home, "sessions", "--here", "--json", cwd=here, env=env).json()]

    assert found() == [an_id(1), an_id(0)]
    assert found(PWD=str(home.base / "link")) == [an_id(4), an_id(1), an_id(0)]
    assert found(PWD=str(home.base / "dd")) == [an_id(1), an_id(0)]


def test_on_a_terminal_a_row_fits_and_its_id_tells_it_from_all_others(home: Home, clones: dict[str, Path]) -> None:
    for number in (1, 2):
        lines = NEW.beginning(an_id(number), "words " * 40 + "\x1b[31m", cwd=str(home.home / "a" / ("long" * 9)))
        write(clones["work"], an_id(number), lines, day="" if number == 2 else "2026/11/22", at=NOW + number)
    shown = on_terminal(home, "sessions").out.splitlines()
    assert shown[0].split() == ["WHEN", "CLONE", "DIRECTORY", "PROMPT", "ID"]
    assert max(map(len, shown)) <= 80 and all("~/a/long" in line for line in shown[1:])
    assert [line.split()[-1] for line in shown[1:]] == [an_id(2)[:13], an_id(1)[:13]] and "[archived]" in shown[1]
    assert on_terminal(home, "sessions", "--limit", "1").out.splitlines()[1:] == shown[1:2]


def test_of_thousands_only_those_shown_are_read_whole(
    home: Home, clones: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(300):
        write(clones["work"], an_id(number), NEW.beginning(an_id(number)), at=NOW + number)
    sizes: list[int] = []
    pread = os.pread
    monkeypatch.setattr(os, "pread", lambda *words: sizes.append(words[1]) or pread(*words))
    assert len(cm.newest_sessions([clone_in(home, "work")], 30)) == 30
    assert sorted(sizes) == [cm.META_HEAD] * 30 + [cm.PROMPT_HEADS[0]] * 30


ODD: list[tuple[str, Callable[[Path], object]]] = [
    ("a FIFO", os.mkfifo),
    ("a directory", Path.mkdir),
    ("a link to a session", lambda path: path.symlink_to(f"rollout-2026-11-22T08-00-00-{an_id(1)}.jsonl")),
    ("a link to an endless device", lambda path: path.symlink_to("/dev/zero")),
    ("an empty file", Path.touch),
    ("zeros", lambda path: path.write_bytes(b"\0" * 600_000)),
    (
        "one endless line",
        lambda path: path.write_bytes(b'{"type": "session_meta", "payload": {"x": "' + b"x" * 900_000),
    ),
    ("deeply nested", lambda path: path.write_bytes(b'{"payload":' * 100_000)),
    ("not UTF-8", lambda path: path.write_bytes(b"\xff\xfe" * 9000)),
]


@pytest.mark.parametrize(("kind", "make"), ODD, ids=[row[0] for row in ODD])
def test_an_odd_file_hinders_nobody(
    home: Home, clones: dict[str, Path], kind: str, make: Callable[[Path], object]
) -> None:
    good = write(clones["work"], an_id(1), NEW.beginning(an_id(1)))
    make(good.with_name("rollout-\x1b[2J\nodd.jsonl"))
    before = tree(home.base)
    shown = ask(home, "sessions")
    assert shown.code == 0 and f"{an_id(1)}\twork" in shown.out and tree(home.base) == before
    assert overheard(ask(home, "resume", an_id(1)[:13]).out).argv == [b"resume", an_id(1).encode()]


def test_random_bytes_never_break_the_reading_of_a_head() -> None:
    seed = random.randrange(1 << 32)
    dice = random.Random(seed)
    whole = b"".join(NEW.beginning(an_id(), creator=A))
    for _ in range(300):
        text = bytearray(whole[: dice.randrange(len(whole))])
        for _ in range(dice.randrange(9)):
            if text:
                text[dice.randrange(len(text))] = dice.choice(b'{}[]",:\\\x00\xff ')
        assert cm.meta_in(bytes(text)) is not None and cm.prompt_in(bytes(text)) is not None, seed


# --- going on with one ---


def test_resume_goes_on_in_the_sessions_directory_as_the_clone_that_has_it(home: Home, clones: dict[str, Path]) -> None:
    """The binding of the directory is another one's, which doesn't count."""
    place = home.base / "d"
    place.mkdir()
    write(clones["personal"], an_id(1), NEW.beginning(an_id(1), cwd=str(place)))
    ask(home, "use", "work", place)
    heard = overheard(ask(home, "resume", an_id(1)[:13].upper(), "--", "--model", "x y").out)
    assert heard.argv == [b"resume", an_id(1).encode(), b"--model", b"x y"]
    assert (heard.cwd, heard.env["CODEX_HOME"]) == (str(place), str(clones["personal"]))
    assert cm.resume(caller_in(home), session_id=an_id(1)).program.env["PWD"] == str(place)
    place.rmdir()
    ended = ask(home, "resume", an_id(1))
    assert f"{place} no longer exists; continuing in the current directory" in ended.err
    assert overheard(ended.out).cwd == str(home.home)


def test_last_and_here_choose_the_newest(home: Home, clones: dict[str, Path]) -> None:
    place = home.base / "d"
    place.mkdir()
    write(clones["work"], an_id(1), NEW.beginning(an_id(1), cwd=str(place)), at=NOW)
    write(clones["personal"], an_id(2), NEW.beginning(an_id(2)), at=NOW + 1)
    write(clones["personal"], an_id(3), NEW.beginning(an_id(3), source=SPAWNED), at=NOW + 2)
    write(clones["work"], an_id(4), [b"x"], at=NOW + 3, ending=".jsonl.zst")
    write(clones["work"], an_id(5), NEW.beginning(an_id(5)), at=NOW + 4, day="")
    assert overheard(ask(home, "resume", "--last").out).argv[1] == an_id(2).encode()
    assert overheard(ask(home, "resume", "--here", cwd=place).out).argv[1] == an_id(1).encode()
    assert ask(home, "resume", "--here", cwd=home.bin).code == 3


def test_last_takes_the_copy_that_was_put_there_last_but_none_where_nobody_is_logged_in(
    home: Home, clones: dict[str, Path]
) -> None:
    for name in ("work", "personal"):
        write(clones[name], an_id(3), NEW.beginning(an_id(3)))
    for name, other in (("personal", "work"), ("work", "personal")):
        ended = ask(home, "resume", "--last")
        assert overheard(ended.out).env["CODEX_HOME"] == str(clones[name])
        assert f"that session is also in '{other}'; continuing in '{name}'" in ended.err
        (clones["work"] / "auth.json").write_text(json.dumps({"OPENAI_API_KEY": API_KEYS[0]}))
    os.utime(next(clones["personal"].rglob(f"*{an_id(3)}.jsonl")), (NOW + 9, NOW + 9))
    ended = ask(home, "resume", "--last")
    assert overheard(ended.out).env["CODEX_HOME"] == str(clones["personal"]) and "also in" not in ended.err


REFUSED: list[tuple[tuple[str, ...], int, str]] = [
    (("resume", "01a"), 2, "too short"),
    (("resume", "ffffffff"), 3, "was not found"),
    (("resume", "01a2"), 2, "matches 2 sessions"),
    (("resume", "01a222f7"), 2, "matches 2 sessions"),
    (("resume",), 2, "no session was chosen"),
    (("resume", an_id(3)), 2, "was last written at the same time in"),
    (("handover", "01a222f7-0001"), 2, "missing: NAME"),
    (("handover", "01a222f7", "personal"), 2, "matches 2 sessions"),
    (("handover", an_id(1), "nobody"), 3, "'nobody' was not found"),
    (("resume", an_id(1), "--in", "nobody"), 3, "'nobody' was not found"),
]


def test_what_is_not_clear_is_refused_with_the_candidates(home: Home, clones: dict[str, Path]) -> None:
    write(clones["work"], an_id(1), NEW.beginning(an_id(1)))
    for codex_home in clones.values():
        write(codex_home, an_id(3), NEW.beginning(an_id(3)))
    before = tree(home.base)
    for words, code, said in REFUSED:
        ended = ask(home, *words)
        assert (ended.code, said in ended.err) == (code, True), (words, ended)
    assert {an_id(1), an_id(3)} <= set(ask(home, "resume", "01a222f7").err.split())
    tie = ask(home, "resume", an_id(3)).err
    assert f"resume {an_id(3)} --in work" in tie and f"resume {an_id(3)} --in personal" in tie
    for name, codex_home in clones.items():
        heard = overheard(ask(home, "resume", an_id(3), "--in", name).out)
        assert heard.env["CODEX_HOME"] == str(codex_home)
    os.utime(clones["work"] / f"sessions/2026/11/22/rollout-2026-11-22T08-00-00-{an_id(3)}.jsonl", (NOW + 9, NOW + 9))
    assert overheard(ask(home, "resume", an_id(3)).out).env["CODEX_HOME"] == str(clones["work"])
    assert {
        name: what for name, what in tree(home.base).items() if name in before and not name.startswith("m/lock")
    } == {name: what for name, what in before.items() if not name.startswith("m/lock")}


def test_a_sub_agents_id_makes_no_other_one_unclear(home: Home, clones: dict[str, Path]) -> None:
    write(clones["work"], an_id(1), NEW.beginning(an_id(1)))
    write(clones["work"], an_id(2), NEW.beginning(an_id(2), source=SPAWNED))
    assert overheard(ask(home, "resume", "01a222f7").out).argv[1] == an_id(1).encode()
    assert overheard(ask(home, "resume", an_id(2)).out).argv[1] == an_id(2).encode()


def test_on_a_terminal_resume_lists_the_newest_and_asks_for_a_number(home: Home, clones: dict[str, Path]) -> None:
    for number in range(12):
        write(clones["work"], an_id(number), NEW.beginning(an_id(number), f"prompt {number}"), at=NOW + number)
    shown = on_terminal(home, "resume", typed="2\n").out
    assert "prompt 11" in shown and "prompt 2 " in shown and "prompt 1 " not in shown
    assert overheard(shown).argv == [b"resume", an_id(10).encode()]
    for typed in ("\n", "0\n", "11\n", "x\n", "²\n"):
        ended = on_terminal(home, "resume", typed=typed)
        assert (ended.code, "no session was chosen" in ended.out) == (2, True), typed


def test_a_session_of_another_account_goes_on_in_a_copy(home: Home, clones: dict[str, Path]) -> None:
    """As after an import, or a new login: the account that is there now can't read what the other's server wrote."""
    source = write(clones["work"], an_id(1), [*NEW.beginning(an_id(1), creator=A), *NEW.turn("A:secret")])
    before = source.read_bytes()
    (clones["work"] / "auth.json").write_text(chatgpt_login(*A))
    assert overheard(ask(home, "resume", an_id(1)).out).argv[1] == an_id(1).encode()
    (clones["work"] / "auth.json").write_text(chatgpt_login(*B))
    ended = ask(home, "resume", an_id(1))
    new_id = overheard(ended.out).argv[1].decode()
    assert new_id != an_id(1) and "another account made this session" in ended.err and source.read_bytes() == before
    copy = source.with_name(source.name.replace(an_id(1), new_id))
    assert b"A:secret" not in copy.read_bytes()
    assert (cm.meta_in(copy.read_bytes()).workspace, cm.meta_in(copy.read_bytes()).id) == ("acc-B", new_id)
    assert "already has that session" in ask(home, "handover", an_id(1), "work").err
    forked = ask(home, "handover", an_id(1), "work", "--fork", "--json").json()
    assert forked["id"] not in (an_id(1), new_id) and b"A:secret" not in Path(forked["path"]).read_bytes()


def test_a_copy_that_nobody_can_read_gives_way_to_the_same_session_handed_over(
    home: Home, clones: dict[str, Path]
) -> None:
    for name, who in (("work", B), ("personal", A)):
        own = write(clones[name], an_id(3), [*NEW.beginning(an_id(3), creator=A), *NEW.turn("A:secret")])
        (clones[name] / "auth.json").write_text(chatgpt_login(*who))
    assert overheard(ask(home, "resume", an_id(3), "--in", "work").out).argv[1] == an_id(3).encode()
    [copy] = clones["work"].rglob("rollout-*.jsonl")
    assert b"A:secret" not in copy.read_bytes() and b"A:secret" in own.read_bytes()


def test_a_handlers_functions_serve_others_too(home: Home, clones: dict[str, Path]) -> None:
    """The menu uses these: a list of values, and a deed that says what came of it."""
    write(clones["work"], an_id(1), NEW.beginning(an_id(1)))
    [session] = cm.newest_sessions(cm.read_registry(cm.places_from(home.env)).clones, 10)
    done = cm.hand_over_session(caller_in(home), session.id, "personal")
    assert (done.copy.clone.name, done.source.clone.name, done.is_new, done.unfinished) == (
        "personal",
        "work",
        True,
        (),
    )
    assert json.loads(json.dumps(cm.session_row(session)))["clone"] == "work"
    assert cm.rollouts_of(clone_like(home, "nobody")) == []
