"""Journal: one change at a time, all or nothing; here its parts, by themselves."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from helpers import Home, tree
from rooms import ROOT, ask, caller_in, clone_in, clone_like, cm, make_clone, places_of

OTHER = "99999999-2222-4333-8444-555555555555"


@pytest.fixture
def clone(home: Home, codex: Path) -> Any:
    """A clone `work` on the disk."""
    return make_clone(home, "work")


def plan_of(clone: Any, **parts: Any) -> Any:
    return cm.Plan("abcdef12", "test", owners=cm.wrapper_owners(clone), **parts)


# --- whose is it ---


def below(tail: str) -> Callable[[Home], Path]:
    return lambda home: home.mirror / "clones" / "work" / ".codex-mirror" / tail


def linked_runtime(home: Home) -> Path:
    path = below("runtime")(home)
    path.rename(home.base / "runtime")
    path.symlink_to(home.base / "runtime")
    return path / "x"


PROOFS: list[tuple[str, Callable[[Home], Path], bool]] = [
    ("the clone's directory", below(""), True),
    ("its runtime", below("runtime"), True),
    ("something in its runtime", below("runtime/x"), True),
    ("its log", below("logs/events.log"), True),
    ("its home", below("home"), False),
    ("its login", below("home/.codex/auth.json"), False),
    ("a file in its home", below("home/thesis.txt"), False),
    ("a link in its home", below("home/link"), True),
    ("its root", lambda home: home.mirror / "clones" / "work", False),
    ("something in its root", lambda home: home.mirror / "clones" / "work" / "x", False),
    ("all clones", lambda home: home.mirror / "clones", False),
    ("another clone's directory", lambda home: home.mirror / "clones" / "play" / ".codex-mirror", False),
    ("its wrapper", lambda home: home.bin / "work", True),
    ("another clone's wrapper", lambda home: home.bin / "play", False),
    ("a stranger's file", lambda home: home.bin / "stranger", False),
    ("what bears the change's id", lambda home: home.base / "x.gone-abcdef12", True),
    ("what lies below that", lambda home: home.base / "x.gone-abcdef12" / "y", False),
    ("what lies behind a linked runtime", linked_runtime, False),
    ("the registry", lambda home: home.mirror / "registry.json", False),
    ("/", lambda home: Path("/"), False),
]


@pytest.mark.parametrize(("kind", "path", "ours"), PROOFS, ids=[row[0] for row in PROOFS])
def test_what_is_ours_is_proved_before_it_is_touched(
    home: Home, clone: Any, kind: str, path: Callable[[Home], Path], ours: bool
) -> None:
    make_clone(home, "play")
    (home.bin / "stranger").write_text("#!/bin/sh\n")
    for tail in ("runtime/x", "home/thesis.txt"):
        below(tail)(home).write_text("x")
    below("home/link")(home).symlink_to("/etc")
    assert cm.is_plans_own(str(path(home)), plan_of(clone)) == ours


def test_a_directory_whose_id_is_another_is_nobody_s_to_discard(home: Home, clone: Any) -> None:
    row = home.mirror / "clones" / "work" / ".codex-mirror" / "clone.json"
    for content in (json.dumps({"id": OTHER}), "{}", "torn", ""):
        row.write_text(content)
        assert not cm.is_plans_own(cm.base_of(clone), plan_of(clone))
    row.unlink()
    assert not cm.is_plans_own(cm.base_of(clone), plan_of(clone))


# --- recovery ---


def write_journal(home: Home, plan: Any, name: str = "journal.json") -> None:
    (home.mirror / name).write_text(json.dumps(plan._asdict()))


def commit(home: Home, change_id: str = "abcdef12") -> None:
    places = places_of(home)
    cm.write_registry(places, cm.read_registry(places)._replace(last_change=change_id))


def test_an_uncommitted_change_leaves_nothing_and_a_committed_one_is_finished(home: Home, clone: Any) -> None:
    for committed in (False, True):
        made, target = home.base / "made-abcdef12", home.bin / "new"
        staged = cm.StagedFile(cm.staged_name(str(target), "abcdef12"), str(target), False)
        to_delete = below("runtime/old")(home)
        for directory in (made, to_delete, home.base / "parent" / "inner"):
            directory.mkdir(parents=True)
        Path(staged.temporary).write_text("new")
        if committed:
            commit(home)
        parents = (str(home.base / "parent"), str(home.base / "parent" / "inner"))
        write_journal(
            home, plan_of(clone, made=(str(made),), staged=(staged,), to_delete=(str(to_delete),), parents=parents)
        )
        assert cm.recover(places_of(home)) == []
        there = {str(path): path.exists() for path in (made, to_delete, target, home.base / "parent")}
        assert there == {str(made): committed, str(to_delete): not committed, str(target): committed,
                         str(home.base / "parent"): False}  # fmt: skip
        assert not Path(staged.temporary).exists() and not (home.mirror / "journal.json").exists()
        for path in (made, to_delete):
            if path.exists():
                path.rmdir()


PUT_IN_PLACE: list[tuple[str, bool, Callable[[Path], object], bool]] = [
    ("nothing there", False, lambda target: None, True),
    ("a stranger's there", False, lambda target: target.write_text("theirs"), False),
    ("a stranger's there, to be replaced", True, lambda target: target.write_text("theirs"), False),
    ("ours there", True, lambda target: None if target.name == "work" else target.write_text(""), True),
    ("a link there", True, lambda target: target.symlink_to("nowhere"), False),
    ("a directory there", True, lambda target: target.mkdir(), False),
    ("put there already", False, lambda target: os.link(cm.staged_name(str(target), "abcdef12"), target), True),
]


@pytest.mark.parametrize(("kind", "replaces", "occupy", "done"), PUT_IN_PLACE, ids=[row[0] for row in PUT_IN_PLACE])
def test_a_staged_file_takes_no_stranger_s_place(
    home: Home, clone: Any, kind: str, replaces: bool, occupy: Callable[[Path], object], done: bool
) -> None:
    target = home.bin / ("work" if kind == "ours there" else "new")
    staged = cm.StagedFile(cm.staged_name(str(target), "abcdef12"), str(target), replaces)
    Path(staged.temporary).write_text("new")
    occupy(target)
    before = tree(home.bin)
    commit(home)
    write_journal(home, plan_of(clone, staged=(staged,)))
    problems = cm.recover(places_of(home))
    assert not Path(staged.temporary).exists() and bool(problems) != done
    if done:
        assert target.read_text() == "new"
    else:
        assert str(target) in problems[0] and tree(home.bin).get(target.name) == before[target.name]
    assert cm.recover(places_of(home)) == [] and cm.unfinished_plans(places_of(home)) == []


CAME_MEANWHILE: list[tuple[str, bool, str, Callable[[Path], object]]] = [
    ("a login", False, "file", lambda target: target.write_text("theirs")),
    ("a file in the place of a link", True, "link", lambda target: target.write_text("theirs")),
    ("a link in the place of a file", True, "file", lambda target: target.symlink_to("theirs")),
    ("a directory", True, "file", Path.mkdir),
    ("a link on the way", True, "file", lambda target: (
        target.parent.rename(target.parent.with_name("away")), target.parent.symlink_to("away"))),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "replaces", "what", "come"), CAME_MEANWHILE, ids=[row[0] for row in CAME_MEANWHILE])
def test_what_came_into_a_clone_since_its_change_was_planned_is_neither_replaced_nor_written_through(
    home: Home, clone: Any, kind: str, replaces: bool, what: str, come: Callable[[Path], object]
) -> None:
    target = below("home/.codex")(home) / "it"
    temporary = Path(cm.staged_name(str(target), "abcdef12"))
    temporary.symlink_to("nowhere") if what == "link" else temporary.write_text("new")
    come(target)
    before = {path: thing for path, thing in tree(home.clone_home("work")).items() if temporary.name not in path}
    commit(home)
    write_journal(home, plan_of(clone, staged=(cm.StagedFile(str(temporary), str(target), replaces),)))
    problems = cm.recover(places_of(home))
    after = {path: thing for path, thing in tree(home.clone_home("work")).items() if temporary.name not in path}
    assert len(problems) == 1 and after == before and cm.unfinished_plans(places_of(home)) == []


def test_what_took_the_place_of_something_that_was_to_be_deleted_stays(home: Home, clone: Any) -> None:
    path = below("runtime/old")(home)
    path.mkdir()
    plan = plan_of(clone, to_delete=(str(path),), marks=(cm.deletion_mark(str(path)),))
    path.rename(path.with_name("kept"))
    (path / "new").mkdir(parents=True)
    commit(home)
    write_journal(home, plan)
    [problem] = cm.recover(places_of(home))
    assert str(path) in problem and (path / "new").is_dir() and cm.unfinished_plans(places_of(home)) == []


@pytest.mark.skipif(not ROOT, reason="giving a file to another user needs root")
def test_what_another_user_made_is_not_deleted_though_it_bears_the_change_s_id(home: Home, clone: Any) -> None:
    path = below("runtime/old")(home)
    gone = path.with_name("old.gone-abcdef12")
    gone.mkdir()
    os.chown(gone, 12345, 12345)
    commit(home)
    write_journal(home, plan_of(clone, to_delete=(str(path),)))
    [problem] = cm.recover(places_of(home))
    assert str(gone) in problem and gone.is_dir()


def test_an_earlier_program_s_wrapper_is_ours_under_its_own_name_alone(home: Home, clone: Any) -> None:
    for name in ("work", "copy"):
        (home.bin / name).write_text('#!/usr/bin/env bash\nexec "$CODEX_MIRROR_CLI" run \'work\' -- "$@"\n')
        assert cm.wrapper_owner(str(home.bin / name)) == "legacy:work"
        assert cm.is_plans_own(str(home.bin / name), plan_of(clone)) == (name == "work")


def test_what_the_disk_refuses_is_kept_and_tried_again(home: Home, clone: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    to_delete = below("runtime/old")(home)
    to_delete.mkdir()
    commit(home)
    write_journal(home, plan_of(clone, to_delete=(str(to_delete),)))

    def refuse(path: str) -> None:
        raise OSError(5, "Input/output error", path)

    with monkeypatch.context() as patch:
        patch.setattr(cm, "discard", refuse)
        problems = cm.recover(places_of(home))
        assert len(problems) == 1 and "Input/output error" in problems[0]
        assert [Path(path).name for path in cm.unfinished_plans(places_of(home))] == ["finish-abcdef12.json"]
        # The next change is not blocked by it.
        with cm.begin_change(caller_in(home), "next") as change:
            change.commit(change.registry)
        assert [Path(path).name for path in cm.unfinished_plans(places_of(home))] == ["finish-abcdef12.json"]
    assert cm.recover(places_of(home)) == [] and cm.unfinished_plans(places_of(home)) == []
    assert not list(below("runtime")(home).glob("old*"))


def test_what_was_refused_is_done_later_in_the_order_of_the_changes(home: Home, clone: Any) -> None:
    """A wrapper that an earlier change puts in place, a later one takes away, whatever their ids are."""
    wrapper = home.bin / "work"
    for earlier, later in (("00000000", "ffffffff"), ("ffffffff", "00000000")):
        wrapper.unlink(missing_ok=True)
        staged = cm.StagedFile(cm.staged_name(str(wrapper), earlier), str(wrapper), True)
        Path(staged.temporary).write_bytes(cm.wrapper_content(clone, places_of(home)))
        for age, name, plan in (
            (2, f"finish-{earlier}.json", plan_of(clone, staged=(staged,))._replace(id=earlier)),
            (1, f"finish-{later}.json", plan_of(clone, to_delete=(str(wrapper),))._replace(id=later)),
        ):
            write_journal(home, plan, name)
            os.utime(home.mirror / name, (1e9 - age, 1e9 - age))
        assert cm.recover(places_of(home)) == [] and not wrapper.exists()


def replace_file(path: Path) -> None:
    path.with_name("mine").write_text("mine")
    path.with_name("mine").rename(path)


def replace_directory(path: Path) -> None:
    path.rename(path.with_name("aside"))
    path.mkdir()
    (path / "mine").write_text("mine")


LATE: list[tuple[str, Callable[[Home], Path], Callable[[Path], object]]] = [
    ("a wrapper was replaced", lambda home: home.bin / "work", replace_file),
    ("a wrapper was edited", lambda home: home.bin / "work", lambda path: path.open("a").write("mine\n")),
    ("a runtime was replaced", below("runtime/old"), replace_directory),
    ("the clone was replaced", below(""), replace_directory),
    ("a file took its place", below("runtime/old"), lambda path: (path.rename(f"{path}er"), path.write_text("mine"))),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "which", "change"), LATE, ids=[row[0] for row in LATE])
def test_what_comes_between_the_proof_and_the_deletion_is_not_lost(
    home: Home, clone: Any, monkeypatch: pytest.MonkeyPatch, kind: str, which: Callable[[Home], Path],
    change: Callable[[Path], object],
) -> None:  # fmt: skip
    (below("runtime/old")(home)).mkdir()
    path, rename, seen = which(home), os.rename, []

    def late(source: str, target: str) -> None:
        monkeypatch.undo()
        change(path)
        seen.append(tree(path))
        rename(source, target)

    monkeypatch.setattr(os, "rename", late)
    with pytest.raises(cm.MirrorError, match="was changed in the meantime, and was left alone"):
        cm.discard_ours(plan_of(clone), str(path))
    assert seen == [tree(path)] and not list(home.base.rglob("*.gone-*"))


@pytest.mark.parametrize("kind", ["another", "a link to it"])
def test_a_login_that_is_another_meanwhile_is_not_moved(home: Home, clone: Any, kind: str) -> None:
    source, place = home.home / "auth.json", below("home/.codex/auth.json")(home)
    if kind == "another":
        source.write_text("another")
    else:
        (home.base / "shared").write_text("first")
        source.symlink_to(home.base / "shared")
    before = tree(source)
    staged = cm.staged_name(str(place), "abcdef12")
    Path(staged).write_text("first")
    moved = cm.MovedLogin(str(source), f"{source}.aside", cm.digest_of_bytes(b"first"), staged)
    commit(home)
    write_journal(home, plan_of(clone, moved=(moved,), staged=(cm.StagedFile(staged, str(place), False),)))
    [problem] = cm.recover(places_of(home))
    assert "now holds another login" in problem and tree(source) == before
    assert not place.exists() and not Path(staged).exists() and not Path(f"{source}.aside").exists()


def test_a_login_that_can_t_be_moved_stays_and_that_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, aside, staged = (tmp_path / name for name in ("auth.json", "aside", "staged"))
    for path in (source, staged):
        path.write_bytes(b"first")

    def rename(*paths: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(os, "rename", rename)
    with pytest.raises(cm.MirrorError, match="could not be moved, and was left alone: Permission denied"):
        cm.set_login_aside(cm.MovedLogin(str(source), str(aside), cm.digest_of_bytes(b"first"), str(staged)))
    assert [path.exists() for path in (source, aside, staged)] == [True, False, False]


def test_a_registry_that_is_lost_with_a_journal_open_costs_no_login(home: Home, clone: Any) -> None:
    """Killed right behind its commit, used, and then the registry is gone: nothing says any more what was committed."""
    base = home.mirror / "clones" / "work" / ".codex-mirror"
    login = below("home/.codex/auth.json")(home)
    login.write_text("a login")
    write_journal(home, plan_of(clone, made=(str(base),)))
    (home.mirror / "registry.json").write_bytes(b"")
    (home.mirror / "registry.json.previous").unlink(missing_ok=True)
    [done] = cm.rebuild_registry(caller_in(home), cm.inspect_mirror_home(caller_in(home)))
    assert "rebuilt the registry with 1 clone;" in done
    with cm.begin_change(caller_in(home), "next"):
        pass
    assert login.read_text() == "a login" and clone_in(home, "work").id == clone.id
    assert len(list(home.mirror.glob("unreadable-*.journal"))) == 1


def unregistered(home: Home, base: Path) -> None:
    """The registry is of before the change, as a restored one is, and the clone itself is not."""
    places = places_of(home)
    cm.write_registry(places, cm.read_registry(places)._replace(entries=()))


def not_yet_written(home: Home, base: Path) -> None:
    """The registry is of after the change, and the clone's own row of before it."""
    row = json.loads((base / "clone.json").read_text())
    (base / "clone.json").write_text(json.dumps({key: row[key] for key in ("id", "name")}))


@pytest.mark.parametrize("backup", [unregistered, not_yet_written])
def test_a_plan_of_before_its_commit_that_comes_back_deletes_nothing_that_is_in_use(
    home: Home, codex: Path, backup: Callable[[Home, Path], None]
) -> None:
    clone = make_clone(home, "work")
    base = Path(cm.base_of(clone))
    (base / "home/.codex/auth.json").write_text("a login")
    unfinished = base / "runtime" / "0.170.0-abcdef12"
    unfinished.mkdir()
    backup(home, base)
    made = (str(base), os.path.dirname(os.path.dirname(clone.runtime.entry)), str(unfinished))
    write_journal(home, plan_of(clone, made=made, home=os.path.realpath(home.mirror)))
    before = tree(base)
    assert cm.recover(places_of(home)) == [] and not (home.mirror / "journal.json").exists()
    assert {path for path, what in before.items() if tree(base).get(path) != what} == {"runtime/0.170.0-abcdef12"}


@pytest.mark.parametrize("name", ["journal.json", "finish-abcdef12.json", "clear-abcdef12.json"])
@pytest.mark.parametrize("is_committed", [True, False])
def test_a_copy_of_a_mirror_home_carries_out_no_plan_of_the_original(
    home: Home, codex: Path, name: str, is_committed: bool
) -> None:
    """It was copied in the midst of a change: nothing but the plan itself says of which home that is."""
    clone = make_clone(home, "work")
    half = home.bin / ".new.codex-mirror-abcdef12"
    half.write_text("half")
    runtime, base = home.base / "made-abcdef12", home.mirror / "clones" / "work" / ".codex-mirror"
    runtime.mkdir()
    if is_committed:
        commit(home)
    staged = cm.StagedFile(str(half), str(home.bin / "new"), False)
    deleted = (str(base / "logs"),)
    plan = plan_of(clone, made=(str(runtime),), staged=(staged,), to_delete=deleted, home=os.path.realpath(home.mirror))
    shutil.copytree(home.mirror, home.base / "copy", symlinks=True)
    (home.base / "copy" / name).write_text(json.dumps(plan._asdict()))
    before = tree(home.mirror), tree(home.bin), tree(runtime)
    [problem] = cm.recover(places_of(home)._replace(mirror_home=str(home.base / "copy")))
    assert "is of another mirror home" in problem and (tree(home.mirror), tree(home.bin), tree(runtime)) == before
    write_journal(home, plan, name)
    assert cm.recover(places_of(home)) == [] and not half.exists()


def test_a_registry_is_rebuilt_under_the_lock(home: Home, clone: Any) -> None:
    (home.mirror / "registry.json").write_bytes(b"")
    impatient = caller_in(home, {"CODEX_MIRROR_LOCK_TIMEOUT": "0"})
    facts = cm.inspect_mirror_home(impatient)
    with cm.hold_lock(cm.lock_file(places_of(home)), "another", 0, lambda holder: None):
        with pytest.raises(cm.MirrorError, match="'another'") as caught:
            cm.rebuild_registry(impatient, facts)
        assert caught.value.code == cm.BUSY


@pytest.mark.parametrize(
    "rest", ['{"version": 1, "lastChange": "abcdef12", "clo', '{"version": 1, "lastChange": "1234']
)
def test_a_torn_registry_that_still_names_its_last_change_has_that_finished(home: Home, clone: Any, rest: str) -> None:
    """Where it doesn't, nobody knows whether the change was committed, and all that it made stays."""
    for number in ("11111111", "22222222"):
        commit(home, number)
    target, is_named = home.bin / "new", "abcdef12" in rest
    staged = cm.StagedFile(cm.staged_name(str(target), "abcdef12"), str(target), False)
    Path(staged.temporary).write_text("new")
    write_journal(home, plan_of(clone, staged=(staged,)))
    (home.mirror / "registry.json").write_text(rest)
    cm.doctor(caller_in(home), fix=True)
    assert (target.exists(), Path(staged.temporary).exists()) == (is_named, not is_named)
    assert not (home.mirror / "journal.json").exists() and clone_in(home, "work")


def test_the_lock_is_the_same_file_ever_after(home: Home, clone: Any) -> None:
    before = (home.mirror / "lock").stat().st_ino
    with cm.begin_change(caller_in(home), "next"):
        pass
    assert (home.mirror / "lock").stat().st_ino == before


def test_a_directory_in_the_way_of_logins_alone_is_told_by_doctor_and_blocks_nothing_else(
    home: Home, clone: Any
) -> None:
    (home.mirror / "login.lock").mkdir()
    house = cm.inspect_mirror_home(caller_in(home))
    assert "login.lock is in the way" in str(cm.diagnose(house))
    cm.remove_clone(caller_in(home), "work")


@pytest.mark.parametrize("name", ["lock", "reserve", "registry.json.new", "registry.json.previous", "journal.json.new"])
def test_a_directory_in_the_way_is_named_before_anything_is_tried(home: Home, clone: Any, name: str) -> None:
    (home.mirror / name).unlink(missing_ok=True)
    (home.mirror / name).mkdir()
    before = tree(home.base)
    with pytest.raises(cm.MirrorError, match=f"{name} is in the way") as caught:
        cm.remove_clone(caller_in(home), "work")
    assert caught.value.hint == "move it away" and tree(home.base) == before
    house = cm.inspect_mirror_home(caller_in(home))
    assert f"{name} is in the way" in str(cm.diagnose(house))


NO_PLANS: list[bytes] = [
    b"",
    b"torn {",
    b"[]",
    b"\xff",
    b"[" * 100_000,
    b'{"id": "../../x", "what": "x"}',
    b'{"id": 7}',
    b'{"id": "abcdef12", "what": "x", "staged": [["a"]]}',
    b'{"id": "abcdef12", "what": "x", "staged": 7}',
    b'{"id": "abcdef12", "what": "x", "marks": [["/a", 1e999, 0]]}',
    b'{"id": "abcdef12", "what": "x", "made": ["relative"]}',
    b'{"id": "abcdef12", "what": "x", "doomed": ["/a\\u0000b"]}',
    b'{"id": "abcdef12", "what": "x", "made": ["/a\\ud800b"]}',
]


@pytest.mark.parametrize("content", NO_PLANS, ids=[ascii(content[:40]) for content in NO_PLANS])
def test_a_journal_that_is_none_is_set_aside_and_blocks_nothing(home: Home, clone: Any, content: bytes) -> None:
    (home.mirror / "journal.json").write_bytes(content)
    [problem] = cm.recover(places_of(home))
    assert "could not be read" in problem
    [aside] = home.mirror.glob("unreadable-*.journal")
    assert aside.read_bytes() == content and cm.recover(places_of(home)) == []


@pytest.mark.parametrize("is_lost", [False, True], ids=["unreadable", "its registry lost"])
def test_a_journal_that_doctor_sets_aside_is_told_and_removed_by_the_next_fix_alone(
    home: Home, clone: Any, is_lost: bool
) -> None:
    if is_lost:
        write_journal(home, plan_of(clone))
        (home.mirror / "registry.json").write_bytes(b"")
    else:
        (home.mirror / "journal.json").write_bytes(b"torn")
    told = ask(home, "doctor", "--fix")
    [aside] = home.mirror.glob("unreadable-*.journal")
    assert f"set aside an unfinished change: {aside}\n" in told.err and "finished or cleared" not in told.err
    assert f"left over by a killed change: {aside} [leftovers]\n" in told.out
    told = ask(home, "doctor", "--fix")
    assert f"removed {aside}\n" in told.err and not aside.exists() and "leftovers" not in told.out


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


@pytest.mark.parametrize("made", [os.mkfifo, Path.mkdir, make_socket])
def test_a_journal_that_is_no_file_blocks_nothing(home: Home, clone: Any, made: Callable[[Path], object]) -> None:
    made(home.mirror / "journal.json")
    with cm.begin_change(caller_in(home), "next") as change:
        change.commit(change.registry)
    assert clone_in(home, "work").id == clone.id


def test_a_plan_is_read_as_it_was_written() -> None:
    plan = cm.Plan(
        "abcdef12", "x", ("/a\udcff",), ("/b",), (), (cm.StagedFile("/c-abcdef12", "/d", True),), ("/e",), ("o",)
    )
    assert cm.plan_from(json.dumps(plan._asdict()).encode()) == plan


# A field of a plan of the change abcdef12, and a value that no change of ours would write there.
NO_PLACES: list[tuple[str, Any]] = [
    *((field, [path]) for field in ("made", "parents", "to_delete") for path in ("m/x", "", "/m/\0x")),
    ("staged", [["c-abcdef12", "/d", True, ""]]),
    ("staged", [["/c-abcdef12", "d", True, ""]]),
    ("staged", [["/c", "/d", True, ""]]),
    ("moved", [["a", "/b", "", "/c-abcdef12"]]),
    ("moved", [["/a", "b", "", "/c-abcdef12"]]),
    ("moved", [["/a", "/b", "", "c-abcdef12"]]),
    ("moved", [["/a", "/b", "", "/c"]]),
]


@pytest.mark.parametrize(("field", "value"), NO_PLACES, ids=[ascii(row) for row in NO_PLACES])
def test_a_plan_whose_paths_depend_on_where_one_stands_is_none(field: str, value: Any) -> None:
    whole = {"id": "abcdef12", "what": "x", "staged": [["/c-abcdef12", "/d", True, ""]]}
    whole["moved"] = [["/a", "/b", "", "/c-abcdef12"]]
    assert cm.plan_from(json.dumps(whole).encode())
    with pytest.raises(ValueError, match="not a"):
        cm.plan_from(json.dumps({**whole, field: value}).encode())


# --- a change ---


def test_a_change_without_a_commit_changes_nothing(home: Home, clone: Any) -> None:
    before = tree(home.base)
    with pytest.raises(KeyError), cm.begin_change(caller_in(home), "test") as change:
        change.make_room(str(home.base / "new" / "room"))
        change.stage(str(home.base / "new" / "room" / "file"), b"x", 0o644, False)
        Path(change.scratch(), "x").write_text("x")
        raise KeyError
    after = tree(home.base)
    assert {path for path in {**before, **after} if before.get(path) != after.get(path)} <= {"m/lock"}


def test_two_changes_never_run_at_once_and_the_second_says_for_whom_it_waits(home: Home, clone: Any) -> None:
    told: list[str] = []
    with cm.begin_change(caller_in(home), "first"):
        context = caller_in(
            home, {"CODEX_MIRROR_LOCK_TIMEOUT": "0"}, report=lambda what, done, total: told.append(what)
        )
        with (
            pytest.raises(cm.MirrorError, match=r"'first' \(pid \d+\) is still running") as caught,
            cm.begin_change(context, "second"),
        ):
            raise AssertionError("two at once")
        assert caught.value.code == cm.BUSY


def test_a_waiting_change_tells_for_whom(home: Home, clone: Any) -> None:
    told: list[str] = []
    with cm.begin_change(caller_in(home), "first"):
        context = caller_in(
            home, {"CODEX_MIRROR_LOCK_TIMEOUT": "0.1"}, report=lambda what, done, total: told.append(what)
        )
        with pytest.raises(cm.MirrorError), cm.begin_change(context, "second"):
            raise AssertionError("two at once")
    assert len(told) == 1 and re.fullmatch(r"waiting for 'first' \(pid \d+\)", told[0])


TIMEOUTS = [("30", 30.0), ("0", 0.0), ("0.5", 0.5), (" 7 ", 7.0)]


@pytest.mark.parametrize(("text", "seconds"), TIMEOUTS)
def test_the_time_to_wait_is_read(text: str, seconds: float) -> None:
    assert cm.lock_seconds({"CODEX_MIRROR_LOCK_TIMEOUT": text}) == seconds and cm.lock_seconds({}) == 30.0


@pytest.mark.parametrize("text", ["", "x", "nan", "inf", "-1", "1e99", "30s", "\x1b"])
def test_a_time_to_wait_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(cm.MirrorError, match="not a number of seconds") as caught:
        cm.lock_seconds({"CODEX_MIRROR_LOCK_TIMEOUT": text})
    assert caught.value.code == cm.USAGE


# --- what is derived ---


def test_clone_json_is_written_again_from_the_registry_and_only_where_it_is_ours(home: Home, clone: Any) -> None:
    path = below("clone.json")(home)
    path.write_text("{}")
    cm.write_derived(plan_of(clone), clone)
    assert path.read_bytes() == cm.clone_row_text(clone)
    theirs = json.dumps({"id": OTHER})
    path.write_text(theirs)
    cm.write_derived(plan_of(clone), clone)
    assert path.read_text() == theirs
    path.write_text("{}")
    if ROOT:
        os.chown(path.parent, 12345, 12345)
        cm.write_derived(plan_of(clone), clone)
        os.chown(path.parent, 0, 0)
        assert path.read_text() == "{}"
    gone = clone_like(home, "gone")
    cm.write_derived(plan_of(gone), gone)
    assert not (home.mirror / "clones" / "gone").exists()


@pytest.mark.parametrize("occupy", [os.mkfifo, Path.mkdir, lambda path: path.symlink_to("/dev/zero")])
def test_a_log_that_is_no_file_hinders_no_change(home: Home, clone: Any, occupy: Callable[[Path], object]) -> None:
    log = below("logs/events.log")(home)
    log.unlink()
    occupy(log)
    with cm.begin_change(caller_in(home), "next") as change:
        change.extend_plan(clones=[clone])
        change.commit(cm.with_clone(change.registry, clone._replace(updated="2027-01-01T00:00:00.000Z")))
    assert clone_in(home, "work").updated == "2027-01-01T00:00:00.000Z"


def test_a_plan_of_1_0_0_whose_list_has_its_old_name_is_read() -> None:
    assert cm.plan_from(b'{"id": "abcdef12", "what": "x", "doomed": ["/a"]}').to_delete == ("/a",)


# --- a drive with a cache of its own, as below macOS ---


@pytest.fixture
def deeds(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """What is done that a power cut could undo: `sync` and `flush` of a path, and `rename` to one, in order."""
    done: list[tuple[str, str]] = []
    path_of = lambda file: os.readlink(f"/proc/self/fd/{file}")  # noqa: E731
    fsync, replace, control = os.fsync, os.replace, fcntl.fcntl

    def note(kind: str, path: str, then: Callable[[], Any] = lambda: None) -> Any:
        done.append((kind, path))
        return then()

    def full_or_not(file: int, command: int, *more: Any) -> Any:
        return note("flush", path_of(file)) if command == FULL else control(file, command, *more)

    monkeypatch.setattr(fcntl, "F_FULLFSYNC", FULL, raising=False)
    monkeypatch.setattr(fcntl, "fcntl", full_or_not)
    monkeypatch.setattr(os, "fsync", lambda file: note("sync", path_of(file), lambda: fsync(file)))
    monkeypatch.setattr(os, "replace", lambda a, b: note("rename", os.fspath(b), lambda: replace(a, b)))
    return done


FULL = 51  # As macOS numbers it.


@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="needs /proc, to know an open file by its path")
def test_the_drive_is_flushed_once_before_the_commit_and_once_after(
    home: Home, codex: Path, elsewhere: Path, deeds: list[tuple[str, str]]
) -> None:
    mirror = str(home.mirror)
    commit = ("rename", f"{mirror}/registry.json")
    make_clone(home, "work")
    now = deeds.index(commit)
    flushes = [number for number, (kind, _) in enumerate(deeds) if kind == "flush"]
    assert flushes == [now - 1, now + 2]
    assert deeds[now + 1 : now + 3] == [("sync", mirror), ("flush", mirror)]
    before = {path for kind, path in deeds[: now - 1] if kind == "sync"}
    runtime = clone_in(home, "work").runtime.path
    assert {str(path) for path in Path(runtime).rglob("*") if path.is_file()} <= before
    assert f"{mirror}/registry.json.new" in before

    deeds.clear()
    make_clone(home, "other", root=str(elsewhere / "other"))
    now = deeds.index(commit)
    drives = [os.stat(path).st_dev for kind, path in deeds[:now] if kind == "flush"]
    assert sorted(drives) == sorted([elsewhere.stat().st_dev, home.mirror.stat().st_dev])
    assert [path for kind, path in deeds[now:] if kind == "flush"] == [mirror]


@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="needs /proc, to know an open file by its path")
def test_what_is_done_without_the_registry_is_flushed_at_its_end(
    home: Home, clone: Any, deeds: list[tuple[str, str]]
) -> None:
    caller, export, rc = caller_in(home), home.base / "x.tar.gz", home.base / "rc"
    changes: list[tuple[Path, Callable[[], object]]] = [
        (export, lambda: cm.export_to_file(caller, "work", str(export), False)),
        (rc, lambda: cm.edit_rc_files(caller, "path setup", [str(rc)], lambda _: ["x"])),
    ]
    for path, change in changes:
        deeds.clear()
        change()
        assert path.exists()
        flushes = [number for number, (kind, _) in enumerate(deeds) if kind == "flush"]
        assert len(flushes) == 1
        assert ("sync", str(path.parent)) in deeds[: flushes[0]]


def test_a_drive_that_knows_no_full_flush_is_no_trouble(
    home: Home, codex: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fcntl, "F_FULLFSYNC", 9999, raising=False)
    make_clone(home, "work")
    assert clone_in(home, "work").name == "work"
