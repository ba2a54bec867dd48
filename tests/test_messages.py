"""Every message is in one table, has been seen, and says what helps where anything does."""

from __future__ import annotations

import ast
import errno
import inspect
import io
import json
import os
import pwd
import ssl
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from helpers import REPO, Home
from messages import MESSAGES, numbered, sites
from rooms import ask, caller_in, clone_in, cm, make_clone, on_terminal, places_of, raw

# Errors without a hint, and why there is no way out that could be named.
A_NOTE = "it is the note of a change that is done"
NO_WAY_OUT = {
    "can't tell which programs are running: ps doesn't even list this one": "who asks names the way that there is then",
    "{} can't be set for a clone: the shell or codex-mirror sets it": "it can't be had",
    "{} still has the old paths of the sessions of '{}': {}": A_NOTE,
    "{} now holds another login, and was left alone": A_NOTE,
    "{} could not be moved, and was left alone: {}": A_NOTE,
    "{} was changed in the meantime, and was left alone": A_NOTE,
    "{} wasn't made by codex-mirror, and was left alone": A_NOTE,
    "{} was changed twice in the meantime; its content is now in {}": A_NOTE,
    "the registry entry of '{}' is nested too deeply to be copied": "nobody knows where those keys come from",
    "{} has no Codex {} for {}": "the next source is asked; when it was the last, the nearest versions are named",
    "{} has no trustworthy digest of Codex {}": "the source would have to be mended",
    "there is no record of the files of '{}'": "doctor then pins the version again",
    "this line can't be read: {}": "the line is still there, and shows where",
    "end": "an interruption, or a bug, which is told with its address",
    "start_error": "the program's own reason: it isn't there, or can't be executed",
}


def test_the_table_has_every_message_of_the_program_as_it_stands_there() -> None:
    table, program = numbered(MESSAGES), numbered(sites())
    assert sorted(set(program) - set(table)) == [] and sorted(set(table) - set(program)) == []
    for key, site in program.items():
        assert table[key].text == (site.text or table[key].text), key
        assert table[key].hint == (site.hint or table[key].hint), key
        assert table[key].code == (site.code or table[key].code), key


def test_every_message_has_a_test_that_makes_it_said() -> None:
    """Whether it does is seen when that test runs."""
    known: dict[str, set[str]] = {}
    for row in MESSAGES:
        file, _, name = row.said_in.partition("::")
        if file not in known:
            tree = ast.parse((REPO / "tests" / file).read_text(encoding="utf-8"))
            known[file] = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        assert name.partition("[")[0] in known[file], row


def test_where_there_is_a_way_out_the_message_names_it() -> None:
    without = [site.text or site.function for site in sites() if not site.has_hint]
    assert sorted(set(without) - set(NO_WAY_OUT)) == [] and sorted(set(NO_WAY_OUT) - set(without)) == []


def test_a_message_is_one_short_clause_and_no_sentence() -> None:
    odd = [site.text for site in sites() if len(site.text) > 110 or site.text.endswith(".") or "\n" in site.text]
    assert odd == []


# --- what no other test says in a process of ours ---


def removed_directory(home: Home) -> None:
    """Asks from a directory that is gone by then."""
    place = home.base / "gone"
    place.mkdir()

    def leave() -> None:
        os.chdir(place)
        place.rmdir()
        os.chdir = lambda path: None  # type: ignore[assignment]

    raw(home, "use", "work", become=leave)


def plan_of(home: Home, **more: Any) -> Any:
    return cm.Plan("0123abcd", "remove work", **more)


def deletion_of_a_strange_thing(home: Home, is_taken_away: bool) -> None:
    """The plan says it is ours, and it bears no mark."""
    path = home.base / "strange"
    plan = plan_of(home, to_delete=(str(path),))
    gone = cm.name_while_deleting(str(path), plan)
    Path(gone if is_taken_away else path).mkdir()
    cm.discard_ours(plan, str(path))


def a_name_taken_twice(home: Home) -> None:
    for name in ("one", "other"):
        (home.base / name).write_text(name)
    cm.give_name_back(str(home.base / "one"), str(home.base / "other"))


def a_row_too_deep(home: Home) -> None:
    clone = clone_in(home, "work")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cm, "clone_row_text", Mock(side_effect=RecursionError))
        cm.write_derived(plan_of(home), clone)


def a_login_that_stays(home: Home) -> None:
    source, staged = home.base / "auth.json", home.base / "staged"
    for path in (source, staged):
        path.write_text("{}")
    aside = str(home.base / "nowhere" / "aside")
    cm.set_login_aside(cm.MovedLogin(str(source), aside, cm.digest_of(str(source)), str(staged)))


def a_codex_without_a_place(home: Home) -> None:
    """It answers as Codex does, and shows nothing of where it is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cm, "package_of_command", lambda path: None)
        patch.setattr(cm, "package_by_probing", lambda *words: None)
        ask(home, "create", "other")


def a_codex_that_stays(home: Home) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cm, "running_codex", lambda clone: ([7], []))
        patch.setattr(cm, "servers_of", lambda clone: [])
        patch.setattr(cm, "stop_processes", lambda pids: pids)
        cm.stop_codex(clone_in(home, "work"), "codex-mirror update work", True)


def a_linked_profile(home: Home) -> None:
    profile = Path(cm.codex_home_of(clone_in(home, "work"))) / "fast.config.toml"
    (home.base / "elsewhere.toml").write_text(f'[projects."{home.home}"]\ntrust_level = "trusted"\n')
    profile.symlink_to(home.base / "elsewhere.toml")
    ask(home, "doctor", "work", "--fix")


def a_linked_config(home: Home) -> None:
    make_clone(home, "other")
    config = Path(cm.config_file(cm.codex_home_of(clone_in(home, "work"))))
    (home.base / "config.toml").write_bytes(config.read_bytes())
    config.unlink()
    config.symlink_to(home.base / "config.toml")
    ask(home, "set", "work", "--settings-from", "other")


def a_second_login(home: Home) -> None:
    with cm.hold_lock(f"{home.mirror}/login.lock", "login other", 0, lambda holder: None):
        ask(home, "login", "work")


def a_command_of_that_name(home: Home) -> None:
    there = home.base / "there"
    there.mkdir()
    (there / "office").write_text("#!/bin/sh\n")
    (there / "office").chmod(0o755)
    home.put_on_path(there)
    ask(home, "create", "office")


def a_command_from_before(home: Home) -> None:
    """An older backup was put over a clone that has another name by now."""
    wrapper = home.bin / "work"
    before = wrapper.read_bytes()
    ask(home, "rename", "work", "job")
    wrapper.write_bytes(before)
    wrapper.chmod(0o755)
    ask(home, "create", "work")


def a_clone_that_is_gone(home: Home) -> None:
    """As on a disk that isn't mounted."""
    base = Path(cm.base_of(clone_in(home, "work")))
    base.rename(home.base / "aside")
    ask(home, "set", "work", "--env", "A=b")


def a_wrapper_in_the_way(home: Home) -> None:
    (home.bin / "office").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cm, "refuse_taken_command", lambda *words: None)
        ask(home, "rename", "work", "office")


def a_home_that_cannot_be_written(home: Home) -> None:
    other = codex_home_with_login(home)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "access", lambda path, mode, **more: False)
        cm.refuse_unmovable_login(str(other))


def codex_home_with_login(home: Home) -> Path:
    other = home.home / ".codex-other"
    other.mkdir()
    (other / "config.toml").write_text("")
    (other / "auth.json").write_text(json.dumps({"OPENAI_API_KEY": "sk-of-nobody-at-all-0001"}))
    return other


def in_the_keyring(home: Home, *words: str) -> None:
    config = Path(cm.config_file(cm.codex_home_of(clone_in(home, "work"))))
    config.write_text('cli_auth_credentials_store = "keyring"\n')
    ask(home, *words)


def an_unfinished_handover(home: Home) -> None:
    done = Mock(unfinished=("/s could not be written",))
    cm.report_handover(*[done] * len(inspect.signature(cm.report_handover).parameters))


def a_pipe_without_end(home: Home) -> None:
    cm.spool(io.BytesIO(b"x" * 100), 10)


def a_read_only_place(home: Home) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cm, "complaint_about_writing", lambda places: ("/m can't be written", "chmod u+rwx /m"))
        next(cm.rehearsed_change(caller_in(home), "create x"))


def a_place_in_a_cloud(home: Home) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cm, "told_in_cloud", lambda path, places: [(f"{path} is synchronised", "use another place")])
        cm.refuse_unfit_volume(str(home.base), places_of(home))


def a_directory_that_came_first(home: Home) -> None:
    root = home.base / "root"
    with pytest.MonkeyPatch.context() as patch:
        write_new = cm.write_new

        def write_and_come_first(path: str, *words: Any) -> None:
            write_new(path, *words)
            if path.startswith(str(root)):
                (root / ".codex-mirror").mkdir(exist_ok=True)

        patch.setattr(cm, "write_new", write_and_come_first)
        ask(home, "create", "other", "--root", root)


def a_root_of_others(home: Home) -> None:
    (home.base / "theirs").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cm, "refuse_hazards", lambda *words: None)
        patch.setattr(os, "geteuid", lambda: 4711)
        request = cm.NewClone("other", str(home.base / "theirs"))
        cm.root_for(request, "0123", cm.Registry(), places_of(home))


def a_link_in_a_clone(home: Home) -> None:
    codex_home = Path(cm.codex_home_of(clone_in(home, "work")))
    (codex_home / "sessions").symlink_to(home.base)
    cm.refuse_strange_way(str(codex_home / "sessions" / "2026"))


def a_certificate_of_nobody(home: Home) -> None:
    why = ssl.SSLCertVerificationError("x")
    why.verify_message = "self-signed certificate"
    cm.failure_of_connection(why, "codex.example", "")


def user_without_a_home(home: Home) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pwd, "getpwuid", Mock(side_effect=KeyError))
        cm.home_from({})


def no_place_for_commands(home: Home) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cm, "place_not_writable", lambda directory: "/")
        cm.refuse_unwritable_commands("/b")


def a_copy(home: Home) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cm, "place_before_move", lambda clone, places: "")
        patch.setattr(cm, "home_claiming", lambda clone, places: "/m")
        cm.refuse_copy(clone_in(home, "work"), places_of(home))


def a_change_under_a_deletion(home: Home) -> None:
    path = home.base / "strange"
    path.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cm, "is_plans_own", Mock(side_effect=[True, False]))
        cm.discard_ours(plan_of(home, to_delete=(str(path),)), str(path))


def fetched_from(home: Home, archive: Any) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cm, "answer_of", lambda *words: {})
        patch.setattr(cm, "archive_in", lambda *words: archive)
        source = Mock(kind="npm", address="https://codex.example", host="codex.example")
        cm.fetch_archive(caller_in(home), "0.171.0", "/nowhere", (), source)


def no_such_version(home: Home) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cm, "ask_sources", Mock(side_effect=cm.FetchError("offline", "x")))
        raise cm.unknown_version(caller_in(home), "0.170.5")


def a_share_with_the_real_home(home: Home) -> None:
    (home.home / ".npmrc").touch()
    ask(home, "create", "other", "--home", "shared", "--share", ".npmrc")


def a_share_below_another(home: Home) -> None:
    (home.home / ".config" / "tool").mkdir(parents=True)
    clone = clone_in(home, "work")._replace(shared=(".config",))
    request = cm.CloneChanges(share=(".config/tool",), unshare=(".config",))
    cm.changed_shares(clone, request, caller_in(home), cm.read_registry(places_of(home)))


def done_in_the_menu(error: Exception) -> None:
    effects = [one for one in vars(cm).values() if isinstance(one, type) and "perform" in vars(one)]
    effects[0].perform(Mock(), Mock(), Mock(side_effect=error))


def a_codex_that_cannot_be_started(home: Home) -> None:
    raw(
        home,
        "run",
        "work",
        become=lambda: setattr(cm, "replace_process", Mock(side_effect=OSError(8, "Exec format error"))),
    )


def a_codex_at_work(home: Home) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cm, "user_of_home", lambda *words: "pid 7")
        cm.refuse_running_in(clone_in(home, "work"))


def sessions_by_their_old_place(home: Home) -> None:
    clone = clone_in(home, "work")
    (Path(cm.codex_home_of(clone)) / "state_5.sqlite").write_bytes(b"no table" * 200)
    cm.mend_session_paths(clone)


def unreadable_registry(home: Home) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cm, "check_mirror_home", lambda places: None)
        patch.setattr(cm, "read_or_none", Mock(side_effect=PermissionError(errno.EACCES, "Permission denied")))
        cm.read_registry(places_of(home))


def a_path_that_never_ends(home: Home) -> object:
    (home.base / "loop").symlink_to("loop")
    return ask(home, "create", "other", "--root", home.base / "loop" / "other")


SITUATIONS: dict[str, Callable[[Home], object]] = {
    "no name": lambda home: ask(home, "create"),
    "fewer sessions than none": lambda home: ask(home, "sessions", "--limit", "-1"),
    "no change": lambda home: ask(home, "set", "work"),
    "a clone as a command": lambda home: ask(home, "work"),
    "a command of others": lambda home: ask(home, "self-update"),
    "an option misspelled": lambda home: ask(home, "set", "work", "--no-evn", "A"),
    "a topic misspelled": lambda home: ask(home, "help", "exit-code"),
    "an option before its command": lambda home: ask(home, "--name=work"),
    "an option that names the menu": lambda home: ask(home, "--menu"),
    "a command with dashes": lambda home: ask(home, "--list"),
    "an empty command": lambda home: ask(home, ""),
    "a quoted command": lambda home: ask(home, "remove work"),
    "an export typed": lambda home: on_terminal(home, "import", "-"),
    "an export shown": lambda home: on_terminal(home, "export", "work", "-o", "-"),
    "no directory": removed_directory,
    "a strange thing": lambda home: deletion_of_a_strange_thing(home, False),
    "a strange thing, taken away": lambda home: deletion_of_a_strange_thing(home, True),
    "a name taken twice": a_name_taken_twice,
    "a row too deep": a_row_too_deep,
    "a login that stays": a_login_that_stays,
    "a Codex without a place": a_codex_without_a_place,
    "a Codex that stays": a_codex_that_stays,
    "a linked profile": a_linked_profile,
    "a linked config": a_linked_config,
    "a second login": a_second_login,
    "a command of that name": a_command_of_that_name,
    "a wrapper in the way": a_wrapper_in_the_way,
    "a command from before": a_command_from_before,
    "a clone that is gone": a_clone_that_is_gone,
    "a home that can't be written": a_home_that_cannot_be_written,
    "a keyring kept": lambda home: in_the_keyring(home, "logout", "work", "--local"),
    "a keyring exported": lambda home: in_the_keyring(home, "export", "work", "--with-login", "-o", "x.tar.gz"),
    "an unfinished handover": an_unfinished_handover,
    "a pipe without end": a_pipe_without_end,
    "a read-only place": a_read_only_place,
    "a place in a cloud": a_place_in_a_cloud,
    "a directory that came first": a_directory_that_came_first,
    "a root of others": a_root_of_others,
    "a link in a clone": a_link_in_a_clone,
    "a certificate of nobody": a_certificate_of_nobody,
    "a proxy that refuses": lambda home: cm.failure_of_status(407, "codex.example", Mock(kind="npm")),
    "no such version": lambda home: ask(home, "create", "other", "--codex", "9.9.9", env={"CODEX_MIRROR_OFFLINE": "1"}),
    "a HOME that is shared": a_share_with_the_real_home,
    "an account nobody knows": lambda home: ask(home, "set", "work", "--accept-account"),
    "a variable it doesn't see": lambda home: ask(home, "set", "work", "--no-keep-env", "CODEX_API_KEY"),
    "a share it hasn't": lambda home: ask(home, "set", "work", "--unshare", ".npmrc"),
    "an export that is there": lambda home: [ask(home, "export", "work", "-o", "x.tar.gz") for _ in range(2)],
    "a home without HOME": user_without_a_home,
    "no place for commands": no_place_for_commands,
    "a copy of a mirror home": a_copy,
    "a thing changed while it went": a_change_under_a_deletion,
    "no archive": lambda home: fetched_from(home, None),
    "no such version, its neighbours unknown": no_such_version,
    "a share below another": a_share_below_another,
    "a line that isn't one": lambda home: cm.complete_line("set work --env 'x", "work", ["work"]),
    "a full disk in the menu": lambda home: done_in_the_menu(OSError(errno.ENOSPC, "No space left on device")),
    "a bug in the menu": lambda home: done_in_the_menu(ValueError("x")),
    "a Codex that can't be started": a_codex_that_cannot_be_started,
    "a Codex at work in a home": a_codex_at_work,
    "sessions by their old place": sessions_by_their_old_place,
    "a registry that can't be read": unreadable_registry,
    "a program that isn't there": lambda home: raw(home, "exec", "work", "--", "/nowhere"),
    "a path that never ends": a_path_that_never_ends,
    "an end": lambda home: raw(
        home, "list", "--json", become=lambda: setattr(cm, "command_named", Mock(side_effect=KeyError))
    ),
}


def test_a_login_that_cannot_be_locked_says_so_and_nothing_of_a_second_one(
    home: Home, codex: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clone, error = make_clone(home, "work"), cm.MirrorError("/m/login.lock can't be locked", "mount it with locks")
    monkeypatch.setattr(cm, "hold_lock", Mock(side_effect=error))
    with pytest.raises(cm.MirrorError) as raised, cm.login_turn(caller_in(home), clone):
        pass
    assert raised.value is error


@pytest.mark.parametrize("kind", SITUATIONS)
def test_a_situation_makes_it_said(home: Home, codex: Path, kind: str) -> None:
    """What is said is looked at when it has ended, by the table."""
    make_clone(home, "work")
    with suppress(cm.MirrorError):
        SITUATIONS[kind](home)
