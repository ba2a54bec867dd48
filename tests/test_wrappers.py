"""Wrappers: one command per clone, in a directory that isn't ours."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from helpers import API_KEYS, PROGRAM, Home, fake_codex, finish, npm_install, run, start, tree
from rooms import ROOT, ask, clone_in, clone_like, cm, make_clone, places_of, raw, rows_of

LEGACY = '#!/usr/bin/env bash\nset -e\nexec "$CODEX_MIRROR_CLI" run \'work\' -- "$@"\n'
ID = "11111111-2222-4333-8444-555555555555"
# What a wrapper of 1.0.0 is, whose second line had no digest; its code was the same for all.
OLD_MARK = f"# codex-mirror wrapper of clone {ID} (made by codex-mirror; change the clone with codex-mirror, not here)"
OLD_CODE = r"""
# Below this line every wrapper is the same.
if [ -n "${CODEX_MIRROR_CLI:-}" ]; then
  exec "$CODEX_MIRROR_CLI" run "$cm_clone" -- "$@"
fi
if [ ! -d "$cm_codex_home" ] || [ ! -f "$cm_codex" ]; then
  echo "$cm_clone: a part of this clone is missing; to mend it: codex-mirror doctor $cm_clone --fix" >&2
  exit 1
fi
if [ -t 2 ]; then
  for cm_variable in $cm_logins; do
    eval "cm_value=\${$cm_variable:-}"
    [ -z "$cm_value" ] || echo "$cm_clone: hiding $cm_variable, which would have changed the login" >&2
  done
fi
unset $cm_hidden
if [ -n "$cm_home" ]; then
  export HOME="$cm_home" XDG_CONFIG_HOME="$cm_home/.config" XDG_DATA_HOME="$cm_home/.local/share"
  export XDG_STATE_HOME="$cm_home/.local/state" XDG_CACHE_HOME="$cm_home/.cache"
elif [ -n "${CODEX_MIRROR_USER_HOME:-}" ] && [ "$CODEX_MIRROR_USER_HOME" != "${HOME:-}" ]; then
  export HOME="$CODEX_MIRROR_USER_HOME"
  unset XDG_CONFIG_HOME XDG_DATA_HOME XDG_STATE_HOME XDG_CACHE_HOME
fi
export CODEX_HOME="$cm_codex_home" CODEX_MIRROR_CLONE="$cm_clone" CODEX_MIRROR_HOME="$cm_mirror_home"
export CODEX_MIRROR_BIN_DIR="$cm_bin_dir" CODEX_MIRROR_USER_HOME="$cm_user_home"
if [ -n "$cm_path" ]; then
  export PATH="$cm_path${PATH:+:$PATH}"
fi
exec $cm_interpreter "$cm_codex" "$@"
"""
OLD_DATA = "cm_clone='work'\ncm_codex='/a'\\''b\n/$(c)'\ncm_path=''"


def sealed(body: bytes = b"cm_clone='work'\necho\n", owner: str = ID) -> str:
    """A wrapper with this body, as one of ours is sealed."""
    return os.fsdecode(os.fsencode(cm.wrapper_head(owner, cm.seal_of(body))) + body)


OURS = sealed()
OLD = f"#!/bin/sh\n{OLD_MARK}\n{OLD_DATA}{OLD_CODE}"

OWNERS: list[tuple[str, Callable[[Path], object], str]] = [
    ("ours", lambda path: path.write_text(OURS), ID),
    ("ours, not UTF-8", lambda path: path.write_bytes(os.fsencode(sealed(b"cm_path='\xff\xfe'\n"))), ID),
    ("ours, read-only", lambda path: (path.write_text(OURS), path.chmod(0o555)), ID),
    ("ours of 1.0.0", lambda path: path.write_text(OLD), ID),
    ("ours of 1.0.0, of another clone", lambda path: path.write_text(OLD.replace("'work'", "'play'")), ID),
    ("ours, without more", lambda path: path.write_text(OURS.partition(" (")[0]), ""),
    ("ours, with a line more", lambda path: path.write_text(OURS + "echo more\n"), ""),
    ("ours, with other data", lambda path: path.write_text(OURS.replace("'work'", "'play'")), ""),
    ("ours, for another shell", lambda path: path.write_text(OURS.replace("#!/bin/sh", "#!/bin/bash")), ""),
    ("ours, with two lines kept", lambda path: path.write_text(OURS[: OURS.index("cm_")] + "rm -rf /\n"), ""),
    ("ours of 1.0.0, with a line more", lambda path: path.write_text(OLD + "echo more\n"), ""),
    ("ours of 1.0.0, with code in its data", lambda path: path.write_text(OLD.replace("cm_path=''", "echo")), ""),
    ("ours of 1.0.0, with two lines kept", lambda path: path.write_text(f"#!/bin/sh\n{OLD_MARK}\nrm -rf /\n"), ""),
    ("ours, but the group may write it", lambda path: (path.write_text(OURS), path.chmod(0o775)), ""),
    ("ours, but anyone may write it", lambda path: (path.write_text(OURS), path.chmod(0o757)), ""),
    ("of 1.0.0, but anyone may write it", lambda path: (path.write_text(OLD), path.chmod(0o757)), ""),
    ("an earlier program's", lambda path: path.write_text(LEGACY), "legacy:work"),
    ("an earlier program's, indented", lambda path: path.write_text(LEGACY.replace("exec", "  exec")), "legacy:work"),
    ("an earlier program's for sh", lambda path: path.write_text(LEGACY.replace("env bash", "env sh")), "legacy:work"),
    ("the mark on another line", lambda path: path.write_text("\n" + OURS), ""),
    ("the mark on the first line", lambda path: path.write_text(OURS.split("\n", 1)[1]), ""),
    ("the mark in a line", lambda path: path.write_text(OURS.replace("# codex", "echo # codex")), ""),
    ("nothing in it", lambda path: path.write_text(""), ""),
    ("another script", lambda path: path.write_text("#!/bin/sh\necho\n"), ""),
    ("a script that talks of it", lambda path: path.write_text(LEGACY.replace("exec", "echo exec")), ""),
    ("one for python", lambda path: path.write_text(LEGACY.replace("env bash", "env python3")), ""),
    ("a big file", lambda path: path.write_bytes(OURS.encode() + b"#" * (1 << 20)), ""),
    ("a directory", Path.mkdir, ""),
    ("a FIFO", os.mkfifo, ""),
    ("a link to ours", lambda path: (Path(f"{path}2").write_text(OURS), path.symlink_to(f"{path}2")), ""),
    ("a link to nothing", lambda path: path.symlink_to("nowhere"), ""),
    ("nothing", lambda path: None, ""),
]  # fmt: skip
STRANGER = 65533
as_root = pytest.mark.skipif(not ROOT, reason="needs root, to be two users")


def test_a_file_of_empty_lines_is_known_as_none_in_a_time_that_grows_as_it_does() -> None:
    assert cm.wrapper_from(b'#!/bin/sh\n# exec "$CODEX_MIRROR_CLI" run \n' + b"\n" * 1_000_000) is None


@as_root
@pytest.mark.parametrize("text", [OURS, OLD, LEGACY], ids=["ours", "1.0.0", "earlier"])
def test_a_wrapper_that_another_user_wrote_is_nobodys(tmp_path: Path, text: str) -> None:
    (tmp_path / "work").write_text(text)
    assert cm.wrapper_owner(str(tmp_path / "work"))
    os.chown(tmp_path / "work", STRANGER, -1)
    assert not cm.wrapper_owner(str(tmp_path / "work")) and not cm.wrapper_at(str(tmp_path / "work"))
    assert cm.claimed_owner(str(tmp_path / "work"))


@pytest.mark.parametrize(("kind", "make", "owner"), OWNERS, ids=[row[0] for row in OWNERS])
def test_the_owner_of_a_wrapper_is_the_one_on_its_second_line(
    tmp_path: Path, kind: str, make: Callable[[Path], object], owner: str
) -> None:
    make(tmp_path / "it")
    assert cm.wrapper_owner(str(tmp_path / "it")) == owner


def test_a_wrapper_is_ours_only_with_our_id_or_in_the_old_shape_and_under_our_name(home: Home) -> None:
    clone = clone_like(home, "work", id=ID)
    for name, content, ours in (
        ("work", OURS, True),
        ("play", OURS, False),
        ("work", OURS.replace(ID, ID[:-1]), False),
        ("work", LEGACY, True),
        ("play", LEGACY, False),
        ("work", LEGACY.replace("'work'", "'work2'"), False),
        ("work", LEGACY.replace("'work'", "'play'"), False),
    ):
        path = home.bin / name
        path.write_text(content)
        assert cm.is_wrapper_of(clone, str(path)) == ours, (name, content)
        path.unlink()


def test_what_we_write_is_known_again_and_holds_no_secret(home: Home) -> None:
    for clone in (
        clone_like(home),
        clone_like(home, "play", home="shared"),
        clone_like(home, "x", root="/a'\n$(b)\udcff"),
    ):
        path = home.bin / clone.name
        path.write_bytes(cm.wrapper_content(clone, places_of(home)))
        assert cm.wrapper_owner(str(path)) == clone.id and cm.is_wrapper_of(clone, str(path))
        assert cm.wrapper_content(clone, places_of(home)) == path.read_bytes()


COMMANDS: list[tuple[str, Callable[[Home], object], str]] = [
    ("free", lambda home: None, ""),
    ("a stranger's file", lambda home: (home.bin / "work").write_text("x"), "wasn't made by codex-mirror"),
    ("a link", lambda home: (home.bin / "work").symlink_to("nowhere"), "wasn't made by codex-mirror"),
    ("a directory", lambda home: (home.bin / "work").mkdir(), "wasn't made by codex-mirror"),
    ("a wrapper of nobody", lambda home: (home.bin / "work").write_text(OURS), "isn't in the registry"),
    ("a command of the same name", lambda home: command(home, "work", "x"), "is already a command"),
    ("a file that is no command", lambda home: command(home, "work", "x", 0o644), ""),
    ("a wrapper of ours elsewhere on PATH", lambda home: command(home, "work", OURS), ""),
]


def test_a_command_of_another_mirror_home_is_named_with_it(home: Home) -> None:
    elsewhere = places_of(home)._replace(mirror_home=str(home.base / "elsewhere"))
    (home.bin / "work").write_bytes(cm.wrapper_content(clone_like(home, "work"), elsewhere))
    with pytest.raises(cm.MirrorError) as caught:
        cm.refuse_taken_command("work", places_of(home), home.env["PATH"], ())
    assert f"the registry of {home.mirror}, which is that of {home.base}/elsewhere" in caught.value.message
    (home.bin / "work").write_bytes(cm.wrapper_content(clone_like(home, "work"), places_of(home)))
    with pytest.raises(cm.MirrorError) as caught:
        cm.refuse_taken_command("work", places_of(home), home.env["PATH"], ())
    assert caught.value.message.endswith(f"isn't in the registry of {home.mirror}")


def command(home: Home, name: str, content: str, mode: int = 0o755) -> None:
    directory = home.base / "commands"
    directory.mkdir()
    (directory / name).write_text(content)
    (directory / name).chmod(mode)
    home.put_on_path(directory)


@pytest.mark.parametrize(("kind", "occupy", "says"), COMMANDS, ids=[row[0] for row in COMMANDS])
def test_a_name_that_would_replace_or_be_shadowed_by_something_is_refused(
    home: Home, kind: str, occupy: Callable[[Home], object], says: str
) -> None:
    occupy(home)
    before = tree(home.base)
    if says:
        with pytest.raises(cm.MirrorError, match=says) as caught:
            cm.refuse_taken_command("work", places_of(home), home.env["PATH"], ())
        assert caught.value.code == cm.REFUSED
    else:
        cm.refuse_taken_command("work", places_of(home), home.env["PATH"], ())
    assert tree(home.base) == before


def test_the_commands_of_the_machine_are_refused(home: Home) -> None:
    for name in ("env", "ls", "cat"):
        assert shutil.which(name, path=home.env["PATH"])
        with pytest.raises(cm.MirrorError, match="is already a command"):
            cm.refuse_taken_command(name, places_of(home), home.env["PATH"], ())


# --- what others wrote, and what was edited ---

SPOIL = "#!/bin/sh\n{0}\ntouch {1}/pwned\n"


def spoiled(home: Home) -> str:
    """The clone's wrapper with its first two lines kept, and a program of somebody else's below."""
    return SPOIL.format((home.bin / "work").read_text().split("\n")[1], home.base)


def of_a_stranger(home: Home) -> None:
    (home.bin / "work").write_text(spoiled(home))
    os.chown(home.bin / "work", STRANGER, -1)


EDITED: list[tuple[str, Callable[[Home], object], str]] = [
    ("two lines kept", lambda home: (home.bin / "work").write_text(spoiled(home)), "was edited"),
    ("a line more", lambda home: (home.bin / "work").open("a").write(f"touch {home.base}/pwned\n"), "was edited"),
    ("other data", lambda home: edit(home, "cm_path=''", "cm_path='/x'"), "was edited"),
    ("open to all", lambda home: (home.bin / "work").chmod(0o757), "is writable by others"),
    ("open to a group", lambda home: (home.bin / "work").chmod(0o775), "is writable by others"),
    pytest.param("a stranger's", of_a_stranger, "isn't its command", marks=as_root),
]  # type: ignore[list-item]


def edit(home: Home, old: str, new: str) -> None:
    text = (home.bin / "work").read_text()
    assert old in text
    (home.bin / "work").write_text(text.replace(old, new))


@pytest.mark.parametrize(("kind", "spoil", "says"), EDITED)
def test_a_wrapper_that_is_not_as_we_wrote_it_is_neither_run_nor_replaced_nor_removed(
    home: Home, codex: Path, kind: str, spoil: Callable[[Home], object], says: str
) -> None:
    clone = make_clone(home, "work")
    spoil(home)
    before = tree(home.bin)
    told = ask(home, "doctor", "--json")
    [problem] = [one for row in told.json() for one in row["problems"] if one["id"] == "wrapper"]
    assert told.code == 1 and says in problem["what"]
    assert ("chmod go-w" if "others" in says else "move that file away") in problem["fix"]
    for words in (("doctor", "--fix"), ("wrapper", "install"), ("set", "work", "--keep-env", "CODEX_CI")):
        ask(home, *words)
        assert tree(home.bin) == before, words
    removed = ask(home, "remove", "work", "--yes")
    assert tree(home.bin) == before and clone.wrapper in removed.err and not (home.base / "pwned").exists()
    ask(home, "doctor", "--fix")
    assert tree(home.bin) == before


OLDER = [("1.0.0", OLD), ("another version", None)]


@pytest.mark.parametrize(("kind", "text"), OLDER, ids=[row[0] for row in OLDER])
@pytest.mark.parametrize(
    "words",
    [
        *(("doctor", "--fix"), ("wrapper", "install"), ("set", "work", "--keep-env", "CODEX_CI")),
        *(("use", "work", "."), ("login", "work", "--with-api-key"), ("update", "work"), ("rename", "work", "play")),
    ],
    ids=" ".join,
)
def test_an_older_wrapper_is_ours_and_written_anew(
    home: Home, codex: Path, kind: str, text: str | None, words: tuple[str, ...]
) -> None:
    clone = make_clone(home, "work")
    old = text.replace(ID, clone.id) if text else sealed(b"cm_clone='work'\nexec true\n", clone.id)
    (home.bin / "work").write_text(old)
    told = ask(home, "doctor", "--json").json()
    assert [one["id"] for row in told for one in row["problems"] if "wrapper" in one["id"]] == ["wrapper-outdated"]
    npm_install(home.base / "npm", fake_codex(home.base / "newer", "0.171.0"))
    assert ask(home, *words, stdin=API_KEYS[0].encode()).code == 0
    [row] = rows_of(home)
    now = cm.clone_from_row(row, places_of(home))
    assert Path(now.wrapper).read_bytes() == cm.wrapper_content(now, places_of(home))
    assert [path.name for path in home.bin.iterdir()] == [now.name]


def make_home_of_1_0_0(home: Home) -> None:
    """What 1.0.0 left: wrappers without a digest, no marks, no copies of wrappers, and rows with the keys of then."""
    keys = ("clone", "codex", "interpreter", "path", "home", "codex_home", "mirror_home", "bin_dir", "user_home")
    for row in rows_of(home):
        wrapper, base = Path(row["wrapperPath"]), Path(row["rootPath"], ".codex-mirror")
        text = wrapper.read_text()
        data = [f"cm_{key}={cm.shell_quote(cm.wrapper_setting(text, key))}" for key in (*keys, "hidden", "logins")]
        mark = OLD_MARK.replace(ID, row["id"])
        wrapper.write_text("\n".join(["#!/bin/sh", mark, *data]) + OLD_CODE)
        shutil.rmtree(base / "bin")
        (base / ".gitignore").unlink()
    for name in (".codex-mirror-home", ".gitignore"):
        (home.mirror / name).unlink()


def test_a_home_of_1_0_0_goes_on_and_is_brought_up_to_date_without_losing_anything(home: Home, codex: Path) -> None:
    home.put_on_path(home.bin)
    make_clone(home, "work")
    elsewhere = make_clone(home, "play", root=str(home.home / "play"))
    own = {}
    for root in (home.mirror / "clones" / "work", Path(elsewhere.root)):
        codex_home = root / ".codex-mirror/home/.codex"
        (codex_home / "sessions").mkdir()
        (codex_home / "sessions" / "rollout-x.jsonl").write_text("{}\n")
        (codex_home / "auth.json").write_text(json.dumps({"OPENAI_API_KEY": API_KEYS[0]}))
        own[codex_home] = {tail: (codex_home / tail).read_text() for tail in ("auth.json", "sessions/rollout-x.jsonl")}
    make_home_of_1_0_0(home)
    assert [row[0] for row in map(str.split, ask(home, "list").out.splitlines())] == ["work", "play"]
    for name in ("work", "play"):
        assert finish(start([home.bin / name, "exit", "4"], env=home.env)).code == 4
        assert raw(home, "run", name, "exit", "5").code == 5
    told = [one["id"] for row in ask(home, "doctor", "--json").json() for one in row["problems"]]
    assert told.count("wrapper-outdated") == 2 and "wrapper" not in told and "orphan-wrapper" not in told
    assert ask(home, "doctor", "--fix").code == 0
    for row in rows_of(home):
        clone = cm.clone_from_row(row, places_of(home))
        assert Path(clone.wrapper).read_bytes() == cm.wrapper_content(clone, places_of(home))
    for codex_home, files in own.items():
        assert {tail: (codex_home / tail).read_text() for tail in files} == files
    for name in ("work", "play"):
        assert finish(start([home.bin / name, "exit", "4"], env=home.env)).code == 4
        assert ask(home, "remove", name, "--yes").code == 0
    assert not list(home.bin.iterdir()) and not list((home.mirror / "clones").iterdir())


@as_root
def test_a_strangers_file_with_our_mark_leads_to_no_clone(home: Home, codex: Path) -> None:
    make_clone(home, "work")
    row = rows_of(home)[0]
    theirs = home.base / "theirs"
    base = theirs / ".codex-mirror"
    base.mkdir(parents=True)
    own = {**row, "id": ID, "name": "bait", "rootPath": str(theirs), "wrapperPath": str(home.bin / "bait")}
    moved = json.dumps(own).replace(row["rootPath"], str(theirs))
    (base / "clone.json").write_text(moved)
    bait = cm.clone_from_row(json.loads(moved), places_of(home))
    (home.bin / "bait").write_bytes(cm.wrapper_content(bait, places_of(home)))
    for path in (home.bin / "bait", theirs, base, base / "clone.json"):
        os.chown(path, STRANGER, -1)
    (home.mirror / "registry.json").unlink()
    before = tree(home.bin), tree(theirs)
    for words in (("doctor", "--json"), ("doctor", "--fix"), ("doctor", "--fix")):
        assert "bait" not in ask(home, *words).out, words
    assert [row["name"] for row in rows_of(home)] == ["work"] and before == (tree(home.bin), tree(theirs))


# --- whose clone it is ---


def codex_of(home: Home) -> Path:
    return Path(rows_of(home)[0]["runtimeEntryPath"])


def open_all(home: Home) -> None:
    for path, names, _ in os.walk(home.base):
        for name in names:
            os.chmod(os.path.join(path, name), 0o755)


def file_for_home(home: Home) -> None:
    codex_home = home.clone_home("work") / ".codex"
    codex_home.rename(home.base / "x")
    codex_home.touch()
    os.chown(codex_home, 65532, 65532)


CALLERS: list[tuple[str, int, Callable[[Home], object], int, str]] = [
    ("its owner", 65532, lambda home: None, 4, ""),
    ("root with the owner's HOME", 0, lambda home: None, 5, "belongs to another user"),
    ("root, and a part is missing", 0, lambda home: codex_of(home).unlink(), 5, "belongs to another user"),
    ("another user", STRANGER, lambda home: None, 5, "belongs to another user"),
    ("another user, and all is open", STRANGER, open_all, 5, "belongs to another user"),
    ("another user, and it is gone", STRANGER, lambda home: home.mirror.rename(home.base / "x"), 5, "another user"),
    ("its owner, without a program", 65532, lambda home: codex_of(home).unlink(), 1, "is missing"),
    ("its owner, without a home", 65532, lambda home: home.mirror.rename(home.base / "x"), 1, "is missing"),
    ("its owner, with a file there", 65532, file_for_home, 1, "is missing"),
]


@as_root
@pytest.mark.parametrize(("who", "uid", "change", "code", "says"), CALLERS, ids=[row[0] for row in CALLERS])
def test_a_wrapper_starts_the_callers_own_clone_and_tells_others_that_it_is_not_theirs(
    home: Home, codex: Path, who: str, uid: int, change: Callable[[Home], object], code: int, says: str
) -> None:
    make_clone(home, "work")
    for path, names, files in os.walk(home.base):
        for name in (".", *names, *files):
            os.chown(os.path.join(path, name), 65532, 65532, follow_symlinks=False)
    for path in (home.base, home.bin):
        path.chmod(0o755)
    change(home)
    before = tree(home.base)
    ended = finish(start([home.bin / "work", "exit", "4"], env=home.env, user=uid, group=uid, extra_groups=[]))
    assert (ended.code, ended.out) == (code, "") and says in ended.err
    assert code == 4 or (len(ended.err.splitlines()) == 1 and tree(home.base) == before)


# --- what doctor may remove ---


def test_a_clone_on_a_disk_that_is_not_mounted_is_not_forgotten(home: Home, codex: Path) -> None:
    """Its wrapper may be the only lead to it, and an unmounted disk leaves an empty directory."""
    disk = home.base / "disk"
    disk.mkdir(mode=0o700)
    clone = make_clone(home, "work", root=str(disk / "work"))
    make_clone(home, "play")
    (disk / "work" / ".codex-mirror/home/.codex/auth.json").write_text(json.dumps({"OPENAI_API_KEY": API_KEYS[0]}))
    disk.rename(home.base / "aside")
    disk.mkdir(mode=0o700)
    for lost in (["registry.json"], ["registry.json", "registry.json.previous"]):
        for name in lost:
            (home.mirror / name).write_text("broken")
            (home.mirror / name).chmod(0o600)
        for words in (("doctor", "--fix"), ("doctor", "--fix")):
            ask(home, *words)
        assert Path(clone.wrapper).exists() and ("work" in ask(home, "list").out) == (len(lost) == 1)
    disk.rmdir()
    (home.base / "aside").rename(disk)
    ask(home, "doctor", "--fix")
    assert {row["name"]: row["id"] for row in rows_of(home)}["work"] == clone.id
    assert (disk / "work" / ".codex-mirror/home/.codex/auth.json").exists() and Path(clone.wrapper).exists()


ORPHANS: list[tuple[str, str, Callable[[Home, str], object], str]] = [
    ("of a clone that is gone", "gone", lambda home, text: None, ""),
    ("an edited one", "gone", lambda home, text: (home.bin / "gone").write_text(text + "# mine\n"), "it was edited"),
    ("an edited copy", "gone-proxy", lambda home, text: (home.bin / "gone-proxy").write_text(text + "#\n"), "edited"),
    ("a copy", "gone2", lambda home, text: (home.bin / "gone").rename(home.bin / "gone2"), "it is a copy"),
    ("the lead to a disk", "gone", lambda home, text: lead(home, home.base / "disk"), "isn't mounted"),
    (
        "to a mount point",
        "gone",
        lambda home, text: (lead(home, home.base), (home.base / "x").mkdir()),
        "isn't mounted",
    ),
    (
        "an empty mirror home",
        "gone",
        lambda home, text: (home.mirror.rename(home.base / "away"), home.mirror.mkdir(mode=0o700)),
        "isn't mounted",
    ),
    ("an empty root", "gone", lambda home, text: (home.mirror / "clones" / "gone").mkdir(), "isn't mounted"),
]


def lead(home: Home, directory: Path) -> None:
    clone = clone_like(home, "gone", root=str(directory / "x"))
    (home.bin / "gone").write_bytes(cm.wrapper_content(clone, places_of(home)))


@pytest.mark.parametrize(("kind", "name", "change", "stays"), ORPHANS, ids=[row[0] for row in ORPHANS])
def test_only_an_unedited_wrapper_of_a_clone_that_is_surely_gone_is_removed_and_the_others_are_named(
    home: Home, codex: Path, kind: str, name: str, change: Callable[[Home, str], object], stays: str
) -> None:
    make_clone(home, "work")
    text = os.fsdecode(cm.wrapper_content(clone_like(home, "gone"), places_of(home)))
    (home.bin / "gone").write_text(text)
    (home.bin / "gone").chmod(0o755)
    change(home, text)
    before = tree(home.bin)
    told = ask(home, "doctor", "--json").json()
    found = [one["what"] for row in told for one in row["problems"] if one["id"] == "orphan-wrapper"]
    assert any(str(home.bin / name) in what and stays in what for what in found), told
    ask(home, "doctor", "--fix")
    assert {path: what for path, what in before.items() if path != "gone" or (stays and name == "gone")}.items() <= (
        tree(home.bin).items()
    )
    assert (home.bin / name).exists() == bool(stays)


# --- what a killed change left, and what only looks so ---

LEFT: list[tuple[str, bool]] = [
    ("m/scratch-abcdef12/0123abcd/package", True),
    ("m/scratch-20251128/notes.txt", False),
    ("m/scratch-20251128/0123abcd.txt", False),
    ("m/unreadable-abcdef12.journal", True),
    ("m/unreadable-20251128.journal/notes.txt", False),
    ("m/clones/work/.codex-mirror/runtime/0.1.0-abcdef12.gone-0123abcd/bin/codex", True),
    ("m/clones/work/.codex-mirror/runtime/codex-path.gone-0123abcd/rg", True),
    ("m/clones/work/.codex-mirror/runtime/photos.gone-20251128/one.jpg", False),
    ("m/clones/work/.codex-mirror/runtime/my-patched.gone-20251128/bin/codex", False),
    ("m/clones/work/.codex-mirror/notes.gone-20251128", False),
    ("m/clones/work/.codex-mirror/.clone.json.codex-mirror-abcdef12", True),
    ("m/clones/work/.codex-mirror/home/.codex/auth.json.gone-20251128", False),
    ("m/clones/work/.codex-mirror.gone-abcdef12/clone.json", True),
    ("m/clones/work/.codex-mirror.gone-20251128/notes.txt", False),
    ("m/clones/work.gone-20251128/notes.txt", False),
    ("bin/.work.codex-mirror-abcdef12", True),
    ("bin/work.gone-abcdef12", True),
    ("bin/notes.gone-20251128", False),
    ("bin/.notes.codex-mirror-20251128", False),
]


@pytest.mark.parametrize(("tail", "goes"), LEFT, ids=[row[0] for row in LEFT])
def test_what_a_killed_change_left_goes_and_what_only_has_such_a_name_stays(
    home: Home, codex: Path, tail: str, goes: bool
) -> None:
    clone = make_clone(home, "work")
    path = home.base / tail
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    text = '{"id": "x"}' if path.name == "clone.json" else sealed(owner=clone.id) if "work" in path.name else "mine"
    path.write_text(text)
    told = str([one["what"] for row in ask(home, "doctor", "--json").json() for one in row["problems"]])
    assert ("left over by a killed change" in told) == goes
    ask(home, "doctor", "--fix")
    ask(home, "update", "work")
    assert path.exists() != goes


def test_nothing_that_lies_behind_a_linked_clone_is_a_leftover(home: Home, codex: Path) -> None:
    make_clone(home, "work")
    base, stuff = home.mirror / "clones/work/.codex-mirror", home.base / "stuff"
    base.rename(stuff)
    base.symlink_to(stuff)
    (stuff / ".clone.json.codex-mirror-abcdef12").write_text("mine")
    (stuff / "runtime/0.1.0-abcdef12.gone-0123abcd").mkdir()
    assert list(cm.find_leftovers(places_of(home), cm.read_registry(places_of(home)))) == []


# --- a command that its clone no longer has ---


@pytest.mark.parametrize("with_commands", [True, False], ids=["with the commands", "without them"])
def test_a_command_that_a_restored_backup_brings_back_or_leaves_is_named_and_taken_away(
    home: Home, codex: Path, with_commands: bool
) -> None:
    make_clone(home, "work")
    backup = home.base / "backup"
    shutil.copytree(home.mirror, backup / "m", symlinks=True)
    shutil.copytree(home.bin, backup / "bin", symlinks=True)
    assert ask(home, "rename", "work", "job").code == 0
    shutil.copytree(backup / "m", home.mirror, symlinks=True, dirs_exist_ok=True, copy_function=over)
    if with_commands:
        shutil.copytree(backup / "bin", home.bin, symlinks=True, dirs_exist_ok=True, copy_function=over)
    (home.bin / "job2").write_bytes((home.bin / "job").read_bytes())  # A copy of the user's own, which is his.
    told = ask(home, "doctor", "--json").json()
    [stale] = [one for row in told for one in row["problems"] if one["id"] == "stale-command"]
    assert f"{home.bin}/job (of 'work')" in stale["what"] and "job2" not in stale["what"] and "--fix" in stale["fix"]
    refused = ask(home, "create", "job")
    assert refused.code == 5 and "an old command of 'work'" in refused.err and "doctor --fix" in refused.err
    fixed = ask(home, "doctor", "--fix")
    assert f"removed {home.bin}/job" in fixed.err and {path.name for path in home.bin.iterdir()} == {"work", "job2"}
    assert not [
        one for row in ask(home, "doctor", "--json").json() for one in row["problems"] if "command" in one["id"]
    ]
    assert raw(home, "run", "work", "exit", "3").code == 3 and ask(home, "create", "job").code == 0


def over(source: str, target: str) -> None:
    """As tar unpacks a file: a new one in the place of the one that is there."""
    Path(target).unlink(missing_ok=True)
    shutil.copy2(source, target, follow_symlinks=False)


def test_a_command_that_is_the_only_one_or_by_another_name_of_its_directory_is_not_stale(
    home: Home, codex: Path
) -> None:
    clone = make_clone(home, "work")
    clones, link = [clone], home.base / "link"
    link.symlink_to(home.bin)
    other = home.base / "other"
    other.mkdir()
    (other / "work").write_bytes((home.bin / "work").read_bytes())
    assert [cm.stale_owner(str(path / "work"), clones) for path in (home.bin, link, other)] == ["", "", "work"]
    places, registry = places_of(home)._replace(bin_dir=str(other)), cm.Registry((clone,))
    assert cm.find_stale_wrappers(registry, places) == {str(other / "work"): "work"}
    old = clone._replace(name="old", wrapper=str(home.bin / "old"))
    (home.bin / "old").write_bytes(cm.wrapper_content(old, places))
    assert cm.find_stale_wrappers(registry, places)[old.wrapper] == "work"
    unsure = cm.Registry((clone, cm.BadRow({"name": "x"}, "its id is not valid")))
    assert cm.find_stale_wrappers(unsure, places) == {}
    (home.bin / "work").unlink()
    assert cm.stale_owner(str(other / "work"), clones) == ""


def test_what_a_wrapper_says_can_be_typed_where_it_stands(home: Home, codex: Path) -> None:
    """By the name of the program where a shell finds it, else by the file that wrote the wrapper, quoted if need be.
    A wrapper by another checkout is no older one."""
    clone = make_clone(home, "work")
    other = home.base / "it's a checkout"
    other.mkdir()
    shutil.copy(PROGRAM, other)
    Path(clone.runtime.entry).unlink()
    for program in (PROGRAM, other / PROGRAM.name):
        assert (
            run([sys.executable, "-I", program, "set", "work", "--env", f"X={program.parent}"], env=home.env).code == 0
        )
        said = [run([shell, clone.wrapper], env=home.env).err for shell in ("sh", "bash")]
        [hint] = {one.partition("to fix it: ")[2].strip() for one in said}
        assert shlex.split(hint) == ["python3", str(program), "doctor", "work", "--fix"]
        assert cm.is_wrapper_current(clone_in(home, "work"), places_of(home))
    named = home.base / "tools" / "codex-mirror"
    named.parent.mkdir()
    named.write_text("#!/bin/sh\n")
    named.chmod(0o755)
    home.put_on_path(named.parent)
    assert "to fix it: codex-mirror doctor work --fix\n" in run(["sh", clone.wrapper], env=home.env).err
