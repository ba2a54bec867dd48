"""Downloads: a Codex from where the user's npm would get it, or from its releases, checked while it comes."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import re
import shutil
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from depot import CODEX, PLATFORM, TAGS, Answer, Depot, answer_with, archive_of, open_depot

from helpers import Home, Mirror, fake_codex, finish, npm_install, wait_until
from rooms import ask, at_rest, caller_in, changes, clone_in, cm, make_clone, on_terminal, raw

VERSIONS = ("0.167.2", "0.168.0", "0.171.0")
TARBALL = f"/files/codex-0.171.0-{PLATFORM}.tgz"
SECRET = "npm-token-0123456789"
FRESH_HOME = {"m", "m/reserve", "m/.codex-mirror-home", "m/.gitignore"}

# The depot's own thread waits for requests, and holds nothing, while the program is forked.
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


@pytest.fixture
def depot() -> Iterator[Depot]:
    with open_depot() as depot:
        yield depot


@pytest.fixture
def packages(home: Home) -> list[Path]:
    """Three versions of Codex, installed nowhere."""
    return [fake_codex(home.base / "packages" / version, version) for version in VERSIONS]


@pytest.fixture
def registry(home: Home, depot: Depot, packages: list[Path]) -> Depot:
    """A registry with the three versions, which is the one that is asked."""
    depot.fill("npm", *packages)
    return used(home, depot)


def used(home: Home, depot: Depot) -> Depot:
    home.env.update(CODEX_MIRROR_CODEX_URL=depot.url, CODEX_MIRROR_OFFLINE="0")
    return depot


def version_of(home: Home, name: str) -> str:
    """What the clone's own command says, which must be what the registry says."""
    clone = clone_in(home, name)
    answer = cm.capture([clone.wrapper, "--version"], home.env, "/", 20)
    assert answer.out.decode().split()[-1] == clone.runtime.version
    return str(clone.runtime.version)


# --- from nothing ---


@pytest.mark.parametrize("layout", ["npm", "releases"])
def test_without_any_codex_the_newest_is_fetched_and_that_is_said(
    home: Home, depot: Depot, packages: list[Path], layout: str
) -> None:
    depot.fill(layout, *packages)
    used(home, depot)
    before = at_rest(home)
    made = ask(home, "create", "work")
    assert made.code == 0 and "created 'work' with Codex 0.171.0" in made.out
    said = made.err.splitlines()
    assert said[0] == "no Codex is installed here: taking the newest, 0.171.0"
    assert said[1].startswith("fetching Codex 0.171.0 (") and said[1].endswith(" from 127.0.0.1")
    assert version_of(home, "work") == "0.171.0"
    new = {path for path in changes(before, at_rest(home)) if not path.startswith("m/clones/work")}
    assert new == {*FRESH_HOME, "m/clones", "m/registry.json", "bin/work"}
    assert ask(home, "doctor", "--deep", "--json").json()[0]["ok"]
    pins = {path.name: path.stat() for path in Path(clone_in(home, "work").runtime.path).rglob("*") if path.is_file()}
    assert {oct(facts.st_mode & 0o777) for facts in pins.values()} <= {"0o444", "0o555", "0o600"}


def test_on_a_bare_machine_doctor_and_list_say_what_comes_next(home: Home) -> None:
    for shown in (ask(home, "doctor").out, on_terminal(home, "list").out):
        assert shown.splitlines()[-1].startswith("there are no clones yet; next: ") and " create work" in shown


def test_any_version_can_be_had_by_its_number_and_gone_back_from(home: Home, registry: Depot) -> None:
    assert ask(home, "create", "old", "--codex", "0.168.0").code == 0 and version_of(home, "old") == "0.168.0"
    assert "0.168.0 → 0.171.0" in ask(home, "update", "old", "--codex", "latest").out
    assert version_of(home, "old") == "0.171.0"
    assert ask(home, "rollback", "old").code == 0 and version_of(home, "old") == "0.168.0"
    assert ask(home, "update", "old", "--codex", "0.168.0").out == "old: already at 0.168.0\n"


def test_a_version_that_a_clone_has_is_linked_and_nobody_is_asked(home: Home, registry: Depot) -> None:
    ask(home, "create", "one", "--codex", "0.168.0")
    registry.asked.clear()
    assert ask(home, "create", "two", "--codex", "0.168.0", env={"CODEX_MIRROR_OFFLINE": "1"}).code == 0
    assert registry.asked == []
    one, two = (Path(clone_in(home, name).runtime.entry) for name in ("one", "two"))
    assert one.samefile(two)
    ask(home, "create", "three", "--codex", "latest")
    registry.asked.clear()
    assert ask(home, "create", "four", "--codex", "latest").code == 0 and registry.paths == [TAGS]


def test_a_damaged_clone_is_no_source(home: Home, registry: Depot) -> None:
    ask(home, "create", "one", "--codex", "0.168.0")
    entry = Path(clone_in(home, "one").runtime.entry)
    entry.chmod(0o755)
    entry.write_text("#!/bin/sh\necho codex-cli 0.168.0\n")
    registry.asked.clear()
    assert ask(home, "create", "two", "--codex", "0.168.0").code == 0
    assert f"/files/codex-0.168.0-{PLATFORM}.tgz" in registry.paths
    assert not entry.samefile(clone_in(home, "two").runtime.entry)


def test_the_installed_one_is_taken_when_it_is_that_version(home: Home, codex: Path, registry: Depot) -> None:
    assert ask(home, "create", "work", "--codex", "0.169.0").code == 0 and registry.asked == []
    assert ask(home, "create", "plain").code == 0 and registry.asked == []
    assert ask(home, "update", "work", "plain", "--codex", "latest").code == 0
    assert registry.paths.count(TARBALL) == registry.paths.count(TAGS) == 1
    assert version_of(home, "plain") == "0.171.0"
    assert "0.171.0 → 0.169.0" in ask(home, "update", "plain").out


def test_where_none_is_installed_update_takes_the_newest_for_all(home: Home, registry: Depot) -> None:
    for name in ("one", "two"):
        ask(home, "create", name, "--codex", "0.167.2")
    registry.asked.clear()
    assert ask(home, "update", "--all").code == 0
    assert [version_of(home, name) for name in ("one", "two")] == ["0.171.0"] * 2
    assert registry.paths.count(TARBALL) == 1


def test_an_import_takes_a_version_too(home: Home, registry: Depot) -> None:
    ask(home, "create", "work", "--codex", "0.168.0")
    ask(home, "export", "work", "-o", str(home.home / "x.tar.gz"))
    assert ask(home, "import", str(home.home / "x.tar.gz"), "--name", "new", "--codex", "0.167.2").code == 0
    own = home.clone_home("work") / ".codex"
    assert ask(home, "import", own, "--name", "own", "--codex", "latest").code == 5  # It is a clone.
    shutil.copytree(own, home.home / ".codex")
    assert ask(home, "import", home.home / ".codex", "--name", "own", "--codex", "latest").code == 0
    assert [version_of(home, name) for name in ("new", "own")] == ["0.167.2", "0.171.0"]


def test_a_fetched_codex_is_moved_into_the_clone_and_its_archive_gone_before(
    home: Home, registry: Depot, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch: list[list[str]] = []
    pin_files = cm.pin_files

    def looking(*rest: Any) -> Any:
        scratch.append([path.name for path in home.mirror.glob("scratch-*/**/*.tgz")])
        return pin_files(*rest)

    monkeypatch.setattr(cm, "pin_files", looking)
    monkeypatch.setattr(cm, "copy_pinned_file", None)
    home.env["PATH"] = "/usr/bin:/bin"
    clone = make_clone(home, "work", codex=cm.Wanted(codex="0.168.0"))
    assert scratch == [[]]
    pinned = [path for path in Path(clone.runtime.path).rglob("*") if path.is_file() and path.name != cm.MANIFEST]
    assert {path.stat().st_mode & 0o777 for path in pinned} == {0o444, 0o555}


def test_nobody_waits_for_a_download_and_a_killed_one_is_cleared_away(home: Home, codex: Path, registry: Depot) -> None:
    whole = registry.answers[TARBALL]
    assert isinstance(whole, Answer)
    registry.answers[TARBALL] = whole._replace(breaks_after=999, stalls=True)
    make_clone(home, "work")
    for number, (kill, code) in enumerate([(signal.SIGKILL, -9), (signal.SIGTERM, 143), (signal.SIGINT, 130)]):
        before = at_rest(home)
        fetching = Mirror(home).start("create", "slow", "--codex", "0.171.0")
        wait_until(lambda: list(home.mirror.glob("scratch-*/*/codex.tgz")), "a download begins")
        for words in (
            ("rename", "work", f"w{number}"),
            ("use", "--default", f"w{number}"),
            ("rename", f"w{number}", "work"),
        ):
            done = ask(home, *words, env={"CODEX_MIRROR_LOCK_TIMEOUT": "0"})
            assert done.code == 0 and "waiting" not in done.err, done
        assert list(home.mirror.glob("scratch-*/*/codex.tgz")), "it is somebody's who lives"
        assert not {"unsettled", "leftovers"} & {one["id"] for one in problems_of_home(home)}
        fetching.send_signal(kill)
        ended = finish(fetching)
        assert ended.code == code and ("interrupted: 'create slow' was not done" in ended.err) == (code == 130), ended
        left = {path for path in changes(before, at_rest(home)) if re.match("m/(scratch|clear|journal)", path)}
        assert bool(left) == (kill == signal.SIGKILL), left
        assert ("unsettled" in {one["id"] for one in problems_of_home(home)}) == bool(left)
        ask(home, "use", "--default", "--unset")
        left = set(changes(before, at_rest(home)))
        assert not [
            path for path in left if not path.startswith(("m/clones/work/", "m/registry", "m/events.log", "bin/work"))
        ], left


def problems_of_home(home: Home) -> list[dict[str, str]]:
    rows = ask(home, "doctor", "--json").json()
    return [problem for row in rows if row["name"] == "codex-mirror" for problem in row["problems"]]


def test_what_was_checked_before_a_download_is_checked_again_after_it(home: Home, codex: Path, registry: Depot) -> None:
    """The other one took the name meanwhile; what was fetched for the first is gone."""
    whole = registry.answers[TARBALL]
    assert isinstance(whole, Answer)
    taken: list[int] = []

    def answer(path: str) -> Answer:
        if path == TARBALL and not taken:
            taken.append(ask(home, "create", "new").code)
        return Depot.answer(registry, path)

    registry.answer = answer  # type: ignore[method-assign]
    result = ask(home, "create", "new", "--codex", "0.171.0")
    assert (result.code, taken) == (5, [0]) and "clone 'new' already exists" in result.err
    assert clone_in(home, "new").runtime.version == "0.169.0"
    assert [path.name for path in home.mirror.iterdir() if path.name.startswith(("scratch", "clear", "journal"))] == []


def test_an_import_from_a_pipe_is_read_once_though_its_codex_is_fetched(
    home: Home, codex: Path, registry: Depot
) -> None:
    make_clone(home, "work")
    (home.clone_home("work") / ".codex/AGENTS.md").write_text("be kind")
    export = os.fsencode(raw(home, "export", "work", "-o", "-").out)
    done = ask(home, "import", "-", "--name", "new", "--codex", "0.168.0", "--yes", stdin=export)
    assert done.code == 0 and version_of(home, "new") == "0.168.0", done
    assert (home.clone_home("new") / ".codex/AGENTS.md").read_text() == "be kind"


def test_a_fetched_codex_is_nobody_s_installation(home: Home, registry: Depot) -> None:
    home.put_on_path(home.bin)
    ask(home, "create", "work")
    assert shutil.which("codex", path=home.env["PATH"]) is None
    assert list(cm.installed_commands(home.env)) == []


WORDS = [
    (("create", "new", "--codex", "latest", "--from", "work"), 2, "--codex and --from"),
    (("create", "new", "--codex", "٣.1.0"), 2, "is not a version of Codex"),
    (("update", "work", "--codex", "latest", "--from", "work"), 2, "--codex and --from"),
    (("create", "new", "--codex", "../../x"), 2, "is not a version"),
    (("create", "new", "--codex", "newest"), 2, "is not a version"),
    (("create", "new", "--codex", ""), 2, "--codex"),
]


@pytest.mark.parametrize(("words", "code", "says"), WORDS, ids=[" ".join(row[0]) for row in WORDS])
def test_what_is_no_version_is_not_asked_for(
    home: Home, registry: Depot, words: tuple[str, ...], code: int, says: str
) -> None:
    result = ask(home, *words)
    assert result.code == code and says in result.err and registry.asked == []


def test_an_installed_codex_that_cannot_be_pinned_stays_an_error(home: Home, registry: Depot) -> None:
    command = npm_install(home.base / "npm", fake_codex(home.base / "package"))
    home.put_on_path(command.parent)
    for helper in (home.base / "npm").rglob("rg"):
        helper.unlink()
    result = ask(home, "create", "work")
    assert result.code == 5 and "is incomplete; missing: codex-path/rg" in result.err
    assert "--codex latest" in result.err and registry.asked == []
    assert ask(home, "create", "work", "--codex", "latest").code == 0


# --- what was lost ---


def lose(home: Home, name: str) -> None:
    shutil.rmtree(Path(clone_in(home, name).runtime.path).parent)


@pytest.mark.parametrize(
    "words", [("doctor", "--fix"), ("doctor", "work", "--fix"), ("update", "work"), ("update", "--all")], ids=" ".join
)
@pytest.mark.parametrize("where", ["another clone", "installed", "fetched"])
def test_a_lost_runtime_comes_back_as_exactly_the_version_it_was(
    home: Home, registry: Depot, packages: list[Path], words: tuple[str, ...], where: str
) -> None:
    ask(home, "create", "work", "--codex", "0.167.2")
    if where == "another clone":
        ask(home, "create", "other", "--from", "work")
    lose(home, "work")
    assert ask(home, "run", "work").code == 1
    home.put_on_path(npm_install(home.base / "npm", packages[0 if where == "installed" else 2]).parent)
    registry.asked.clear()
    result = ask(home, *words)
    assert result.code == 0 or words[0] == "doctor", result
    assert version_of(home, "work") == "0.167.2"
    assert clone_in(home, "work").previous is None
    assert bool(registry.asked) == (where == "fetched")
    assert ask(home, "doctor", "work", "--json").json()[0]["ok"]


@pytest.mark.parametrize("words", [("doctor", "--fix", "--deep"), ("update", "work")], ids=" ".join)
def test_a_damaged_runtime_is_fetched_again_where_no_whole_one_is(
    home: Home, registry: Depot, words: tuple[str, ...]
) -> None:
    for name in ("work", "other"):
        ask(home, "create", name, "--codex", "0.168.0")
    entry = Path(clone_in(home, "work").runtime.entry)
    entry.chmod(0o755)
    entry.write_text("#!/bin/sh\nexit 9\n")
    ask(home, *words)
    assert version_of(home, "work") == "0.168.0"
    assert ask(home, "doctor", "--fix").code in (0, 1)
    assert [version_of(home, name) for name in ("work", "other")] == ["0.168.0"] * 2
    assert [row["ok"] for row in ask(home, "doctor", "--deep", "--json").json()[:2]] == [True, True]


def test_what_cannot_be_got_back_now_is_said_with_what_helps(home: Home, registry: Depot) -> None:
    ask(home, "create", "work", "--codex", "0.168.0")
    lose(home, "work")
    result = ask(home, "doctor", "--fix", env={"CODEX_MIRROR_OFFLINE": "1"})
    assert result.code == 1 and "network requests are turned off by CODEX_MIRROR_OFFLINE" in result.err
    assert "(unset it, or python3 " in result.err and " update work --from PATH)" in result.err
    assert ask(home, "update", "work", "--from", home.base / "packages/0.168.0").code == 0
    lose(home, "work")
    ask(home, "create", "other", "--codex", "0.171.0")
    ask(home, "update", "other", "--codex", "0.167.2")
    shutil.rmtree(clone_in(home, "other").previous.path)
    assert "update other --codex 0.171.0" in ask(home, "rollback", "other").err


# --- what goes wrong ---


def set_up(path: str, answer: Answer | list[Answer]) -> Callable[[Depot], object]:
    return lambda depot: depot.answers.__setitem__(path, answer)


def broken(depot: Depot, **how: Any) -> Answer:
    whole = depot.answers[TARBALL]
    assert isinstance(whole, Answer)
    return whole._replace(**how)


def of_another(depot: Depot) -> None:
    """The archive of 0.168.0 with its right digest, under the name of 0.171.0."""
    depot.answers[f"{CODEX}/0.171.0-{PLATFORM}"] = depot.answers[f"{CODEX}/0.168.0-{PLATFORM}"]


def without_digest(depot: Depot) -> None:
    depot.answers[f"{CODEX}/0.171.0-{PLATFORM}"] = answer_with(
        {"dist": {"tarball": depot.url + TARBALL, "shasum": "0" * 40}}
    )


def not_an_archive(depot: Depot) -> None:
    depot.add_to_registry("0.171.0", b"\x1f\x8bno archive")


def elsewhere(address: str) -> Callable[[Depot], None]:
    def change(depot: Depot) -> None:
        dist = {"tarball": address, "integrity": "sha512-" + "A" * 86 + "=="}
        depot.answers[f"{CODEX}/0.171.0-{PLATFORM}"] = answer_with({"dist": dist})

    return change


def away(depot: Depot) -> None:
    depot.server.socket.close()
    depot.server.socket = socket.socket()  # Which is closed in the end.


FAULTS: list[tuple[str, Callable[[Depot], object], str, str]] = [
    ("401", set_up(TAGS, Answer(b"", 401)), "127.0.0.1 asks for a login (401)", "_authToken of 127.0.0.1"),
    ("403", set_up(TAGS, Answer(b"", 403)), "127.0.0.1 denies access (403)", "_authToken"),
    ("HTML", set_up(TAGS, Answer(b"<html>", kind="text/html; charset=x")), "answered with a web page", "login page"),
    (
        "HTML that says it is JSON",
        set_up(TAGS, Answer(b"\n<!doctype html>", kind="application/json")),
        "a web page",
        "",
    ),
    ("HTML for the archive", set_up(TARBALL, Answer(b"<p>", kind="text/html")), "answered with a web page", ""),
    ("no JSON", set_up(TAGS, Answer(b"[1, 2")), "doesn't say which Codex is the newest", "--codex"),
    ("a strange newest", set_up(TAGS, answer_with({"latest": "../../x"})), "doesn't say which", ""),
    ("500", set_up(TAGS, Answer(b"", 500)), "127.0.0.1 answered 500", "later"),
    ("another archive", set_up(TARBALL, Answer(b"x")), "has the wrong digest: its sha512 is ", "somebody"),
    ("no digest", without_digest, "has no trustworthy digest", ""),
    ("another version inside", of_another, "should be Codex 0.171.0, but contains Codex 0.168.0", ""),
    ("no archive", not_an_archive, "this is not a .tar.gz archive", ""),
    ("no archive there", set_up(TARBALL, Answer(b"", 404)), "there is no Codex 0.171.0", "the nearest: "),
    (
        "too large",
        lambda depot: set_up(TARBALL, broken(depot, body=b"x" * 200_000))(depot),
        "sent more than 100 kB",
        "",
    ),
    ("broken", lambda d: set_up(TARBALL, broken(d, breaks_after=99))(d), "broke after 99 B", "try again"),
    (
        "standing still",
        lambda d: set_up(TARBALL, broken(d, breaks_after=7, stalls=True))(d),
        "stalled after 7 B",
        "",
    ),
    ("not https", elsewhere("http://example.com/x.tgz"), "can't fetch from http://example.com/x.tgz", "https"),
    ("a file", elsewhere("file:///etc/passwd"), "can't fetch from file:///etc/passwd", ""),
    (
        "a user name and password",
        elsewhere("https://me:secret@example.com/x"),
        "can't fetch from https://example.com/x",
        "",
    ),
    ("unreachable", away, "127.0.0.1 can't be reached", "--from"),
]


@pytest.mark.parametrize(("name", "spoil", "says", "helps"), FAULTS, ids=[row[0] for row in FAULTS])
def test_whatever_goes_wrong_is_one_clear_line_and_nothing_is_left(
    home: Home, registry: Depot, monkeypatch: pytest.MonkeyPatch, name: str, spoil: Any, says: str, helps: str
) -> None:
    monkeypatch.setattr(cm, "STALL_SECONDS", 0.2 if name == "standing still" else 20)
    monkeypatch.setattr(cm, "CONNECT_SECONDS", 300)  # Whoever is connected has the other limit.
    if name == "too large":
        monkeypatch.setattr(cm, "ARCHIVE_LIMIT", 100_000)
    spoil(registry)
    ask(home, "list", "--json")
    before = at_rest(home)
    result = ask(home, "create", "work")
    errors = [line for line in result.err.splitlines() if line.startswith("codex_mirror.py: ")]
    assert result.code in (1, 5) and len(errors) == 1 and says in errors[0], result
    assert f"hint: {helps}" in result.err or helps in result.err.split("hint: ")[-1], result
    left = set(changes(before, at_rest(home)))
    assert left <= FRESH_HOME, left


def test_a_wrong_digest_names_both(home: Home, registry: Depot) -> None:
    registry.answers[TARBALL] = Answer(b"x")
    integrity = json.loads(registry.answer(f"{CODEX}/0.171.0-{PLATFORM}").body)["dist"]["integrity"]
    announced = base64.b64decode(integrity.removeprefix("sha512-")).hex()
    said = ask(home, "create", "work").err
    assert f"its sha512 is {hashlib.sha512(b'x').hexdigest()}, but {announced} was expected" in said


def test_what_breaks_once_is_tried_once_more(home: Home, registry: Depot) -> None:
    whole = registry.answers[TARBALL]
    assert isinstance(whole, Answer)
    registry.answers[TARBALL] = [whole._replace(breaks_after=99), whole]
    assert ask(home, "create", "work").code == 0 and registry.paths.count(TARBALL) == 2
    registry.asked.clear()
    registry.answers[TARBALL] = Answer(b"", 403)
    assert ask(home, "create", "other", "--codex", "0.9.9").code == 1
    assert max(map(registry.paths.count, registry.paths)) == 1


NEAREST = [
    ("0.170.0", ["0.167.2", "0.168.0", "0.171.0"]),
    ("9.0.0", ["0.168.0", "0.171.0"]),
    ("0.1.0", ["0.167.2", "0.168.0"]),
    ("0.168", ["0.167.2", "0.168.0", "0.171.0"]),
    ("0.171.0-alpha.1", ["0.168.0", "0.171.0-alpha.2", "0.171.0"]),
]


@pytest.mark.parametrize(("asked", "near"), NEAREST, ids=[row[0] for row in NEAREST])
def test_an_unknown_version_is_told_with_the_nearest_by_number(asked: str, near: list[str]) -> None:
    found = cm.nearest_versions(asked, [*VERSIONS, "0.171.0-alpha.2"])
    assert set(near) <= set(found) and len(found) <= 4, found


def test_an_unknown_version_is_no_other_one(home: Home, registry: Depot) -> None:
    result = ask(home, "create", "work", "--codex", "0.170.0")
    assert result.code == 1 and f"there is no Codex 0.170.0 for {PLATFORM}" in result.err
    assert "hint: the nearest: 0.167.2, 0.168.0, 0.171.0; " in result.err
    document = json.loads(registry.answer(CODEX).body)
    document["versions"] |= {"0.170.0": {}, "0.170.0-win32-x64": {}}
    registry.answers[CODEX] = answer_with(document)
    assert "the nearest: 0.167.2, 0.168.0, 0.171.0; " in ask(home, "create", "work", "--codex", "0.170.0").err


def test_a_machine_without_packages_is_told_so(home: Home, registry: Depot, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cm, "platform_names", lambda: ("sunos-sparc", "sparc-sun-solaris"))
    result = ask(home, "create", "work", "--codex", "0.168.0")
    assert result.code == 1 and "there is no Codex for sunos-sparc" in result.err and registry.asked == []


def test_a_full_disk_is_seen_before_the_download(home: Home, registry: Depot, monkeypatch: pytest.MonkeyPatch) -> None:
    size = len(archive_of(home.base / "packages/0.171.0", "npm"))
    whole = registry.answers[TARBALL]
    assert isinstance(whole, Answer)
    registry.answers[TARBALL] = whole._replace(breaks_after=0, stalls=True)
    monkeypatch.setattr(cm, "free_bytes", lambda path: size * 2)
    result = ask(home, "create", "work")
    assert result.code == 1 and "not enough disk space" in result.err and "fetching" not in result.err


def test_a_proxy_that_refuses_is_named(home: Home, depot: Depot) -> None:
    address = depot.url.removeprefix("http://")
    home.env.update(CODEX_MIRROR_OFFLINE="0", CODEX_MIRROR_CODEX_URL="https://codex.invalid", https_proxy=depot.url)
    result = ask(home, "create", "work")
    assert result.code == 1 and f"codex.invalid can't be reached through the proxy {address}: " in result.err
    assert "403" in result.err and "hint: check the proxy" in result.err
    assert depot.paths == ["CONNECT codex.invalid:443"] * 2


def test_offline_nothing_is_asked_and_the_way_out_is_said(home: Home, registry: Depot) -> None:
    home.env["CODEX_MIRROR_OFFLINE"] = "1"
    for words in (("create", "work"), ("create", "work", "--codex", "latest"), ("create", "work", "--codex", "0.1.0")):
        result = ask(home, *words)
        assert result.code == 1 and "hint: unset it, or name a local Codex with --from" in result.err
    assert registry.asked == []


def test_what_only_drips_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    class Drip(io.BytesIO):
        headers: ClassVar[dict[str, str]] = {"Content-Length": "1000000"}

        def read1(self, size: int | None = -1) -> bytes:
            return b"x"

    clock = iter(range(10_000))
    monkeypatch.setattr(cm.time, "monotonic", lambda: next(clock))
    with pytest.raises(cm.FetchError, match="stalled after 31 B"):
        list(cm.read_parts(Drip(), 1 << 20, "codex.example"))


# --- whom to ask, and whom to trust ---


ASKED: list[tuple[list[str], tuple[str, ...], str, list[int]]] = [
    (["unreachable", ""], ("unreachable",), "2", [0, 0, 1]),
    (["absent", ""], ("unreachable",), "absent", [0]),
    (["refused", ""], ("unreachable", "absent"), "refused", [0]),
    (["absent", ""], ("absent",), "2", [0, 1]),
    (["unreachable", "unreachable"], ("unreachable",), "unreachable", [0, 0, 1, 1]),
    (["unreachable"], (), "unreachable", [0, 0]),
]


@pytest.mark.parametrize(("failures", "passes_on", "wanted", "asked"), ASKED)
def test_the_next_source_is_asked_only_when_the_one_before_may_be_passed(
    home: Home,
    monkeypatch: pytest.MonkeyPatch,
    failures: list[str],
    passes_on: tuple[str, ...],
    wanted: str,
    asked: list[int],
) -> None:
    sources = [cm.Source("npm", f"https://r{number}", {}, passes_on) for number in range(len(failures))]
    monkeypatch.setattr(cm, "codex_sources", lambda context: iter(sources))
    seen: list[int] = []

    def question(source: Any) -> str:
        seen.append(sources.index(source))
        if failures[seen[-1]]:
            raise cm.FetchError(failures[seen[-1]], f"{source.host} fails")
        return str(seen[-1] + 1)

    context = caller_in(home, {"CODEX_MIRROR_OFFLINE": "0"})
    try:
        answer = cm.ask_sources(context, question)
    except cm.FetchError as error:
        answer = error.kind
        assert error.message == "; ".join(f"r{number} fails" for number in dict.fromkeys(asked))
    assert (answer, seen) == (wanted, asked)


SETTINGS: list[tuple[str, dict[str, str], str, dict[str, str]]] = [
    ("none", {}, "", {}),
    (
        "plain",
        {},
        "registry=https://a/\n; a note\n# another\nproxy = http://p:1\n",
        {"registry": "https://a/", "proxy": "http://p:1"},
    ),
    ("a scope", {}, "@openai:registry = https://b/x/", {"@openai:registry": "https://b/x/"}),
    ("a variable wins", {"npm_config_registry": "https://c"}, "registry=https://a", {"registry": "https://c"}),
    ("in capitals", {"NPM_CONFIG_REGISTRY": "https://c"}, "registry=https://a", {"registry": "https://c"}),
    ("small ones win", {"NPM_CONFIG_REGISTRY": "C", "npm_config_registry": "c"}, "", {"registry": "c"}),
    ("an empty one doesn't", {"npm_config_registry": ""}, "registry=https://a", {"registry": "https://a"}),
    ("with a dash", {"npm_config_https_proxy": "http://p"}, "", {"https-proxy": "http://p"}),
    ("a token", {"T": "t0"}, "//a/:_authToken=${T}", {"//a/:_authToken": "t0"}),
    ("a token in quotes", {"T": "t0"}, '//a/:_authToken="${T}"', {"//a/:_authToken": "t0"}),
    ("a variable that isn't set", {}, "//a/:_authToken=${T}", {"//a/:_authToken": "${T}"}),
    ("one that may be missing", {}, "//a/:_authToken=${T?}", {"//a/:_authToken": ""}),
    ("one that is escaped", {"T": "t0"}, "x=\\${T}", {"x": "${T}"}),
    ("one in a key", {"H": "a"}, "//${H}/:_authToken=t", {"//a/:_authToken": "t"}),
    ("a note behind", {}, "registry=https://a ; here", {"registry": "https://a"}),
    ("a certificate", {}, "cafile=~/ca.pem", {"cafile": "HOME/ca.pem"}),
    ("no file of the user's", {"NPM_CONFIG_USERCONFIG": os.devnull}, "registry=https://a", {"userconfig": os.devnull}),
    ("Node's certificate", {"NODE_EXTRA_CA_CERTS": "/ca.pem"}, "", {"cafile": "/ca.pem"}),
]


@pytest.mark.parametrize(("name", "env", "text", "wanted"), SETTINGS, ids=[row[0] for row in SETTINGS])
def test_the_settings_of_npm_are_read_as_npm_reads_them(
    home: Home, name: str, env: dict[str, str], text: str, wanted: dict[str, str]
) -> None:
    (home.home / ".npmrc").write_text(text)
    found = cm.npm_settings(env, str(home.home))
    wanted = {key: value.replace("HOME", str(home.home)) for key, value in wanted.items()}
    assert {key: value for key, value in found.items() if value or key != "cafile"} == wanted


def npm_that_says(home: Home, address: str, default: str = "") -> None:
    """An npm that knows its registry, unless it is asked without anybody's settings, and where it was asked."""
    script = home.base / "npm-bin" / "npm"
    script.parent.mkdir()
    script.write_text(
        f"#!/bin/sh\npwd >>{home.base}/asked\n"
        f"case $* in *userconfig*) echo {default or address} ;; *) echo {address} ;; esac\n"
    )
    script.chmod(0o755)
    home.put_on_path(script.parent)


SOURCES: list[tuple[str, dict[str, str], str, tuple[str, str], list[tuple[str, str]]]] = [
    ("no npm", {}, "", ("", ""), [("releases", cm.OPENAI), ("github", cm.GITHUB)]),
    (
        "npm's default",
        {},
        "",
        ("https://n", ""),
        [("npm", "https://n"), ("releases", cm.OPENAI), ("github", cm.GITHUB)],
    ),
    ("npm's, configured elsewhere", {}, "", ("https://n", "https://d"), [("npm", "https://n")]),
    ("the user's", {}, "registry=https://u/", ("https://n", ""), [("npm", "https://u")]),
    ("a variable", {"npm_config_registry": "https://v/"}, "registry=https://u", ("", ""), [("npm", "https://v")]),
    (
        "of the scope",
        {"npm_config_registry": "https://v"},
        "@openai:registry=https://s",
        ("", ""),
        [("npm", "https://s")],
    ),
    (
        "a mirror",
        {"CODEX_MIRROR_CODEX_URL": "https://m/"},
        "registry=https://u",
        ("", ""),
        [("npm", "https://m"), ("releases", "https://m")],
    ),
]


@pytest.mark.parametrize(("name", "env", "text", "npm", "wanted"), SOURCES, ids=[row[0] for row in SOURCES])
def test_the_registry_of_the_user_is_asked_and_no_other(
    home: Home, name: str, env: dict[str, str], text: str, npm: tuple[str, str], wanted: list[tuple[str, str]]
) -> None:
    home.env["PATH"] = str(home.base / "empty")
    if npm[0]:
        npm_that_says(home, *npm)
        home.env["PATH"] += ":/usr/bin:/bin"
    (home.home / ".npmrc").write_text(text)
    found = list(cm.codex_sources(caller_in(home, env)))
    assert [(source.kind, source.address) for source in found] == wanted
    asked = home.base / "asked"
    assert not asked.exists() or set(asked.read_text().split()) == {"/"}
    assert asked.exists() == bool(npm[0] and not text and not env)


def test_the_settings_in_the_current_directory_are_a_stranger_s(home: Home, registry: Depot) -> None:
    here = home.base / "project"
    here.mkdir()
    (here / ".npmrc").write_text("registry=https://evil.invalid/\n")
    (home.home / ".npmrc").write_text(f"registry={registry.url}/\n")
    assert ask(home, "create", "work", cwd=here, env={"CODEX_MIRROR_CODEX_URL": None}).code == 0


def test_a_token_goes_to_its_own_registry_alone_and_never_behind_a_redirect_elsewhere(
    home: Home, registry: Depot
) -> None:
    place = registry.url.removeprefix("http:")
    (home.home / ".npmrc").write_text(f"registry={registry.url}\n{place}/:_authToken={SECRET}\n")
    whole, other = registry.answers[TARBALL], registry.url_at("localhost")
    registry.answers |= {
        TARBALL: Answer(b"", 302, {"Location": "/same", "Content-Length": "9000000"}, stalls=True),
        "/same": Answer(b"", 308, {"Location": f"{other}/other"}),
        "/other": Answer(b"", 307, {"Location": f"{registry.url}/back"}),
        "/back": whole,
    }
    result = ask(home, "create", "work", env={"CODEX_MIRROR_CODEX_URL": None})
    assert result.code == 0 and SECRET not in result.err
    tokens = {request.path: (request.host, request.token) for request in registry.asked}
    bearer = f"Bearer {SECRET}"
    assert {path: tokens[path] for path in (TAGS, TARBALL, "/same", "/other", "/back")} == {
        **dict.fromkeys((TAGS, TARBALL, "/same"), ("127.0.0.1", bearer)),
        "/other": ("localhost", ""),
        "/back": ("127.0.0.1", ""),
    }
    registry.asked.clear()
    dist = json.loads(registry.answer(f"{CODEX}/0.168.0-{PLATFORM}").body)["dist"]
    elsewhere = {**dist, "tarball": dist["tarball"].replace(registry.url, other)}
    registry.answers[f"{CODEX}/0.168.0-{PLATFORM}"] = answer_with({"dist": elsewhere})
    assert ask(home, "create", "two", "--codex", "0.168.0", env={"CODEX_MIRROR_CODEX_URL": None}).code == 0
    assert [(request.host, bool(request.token)) for request in registry.asked] == [
        ("127.0.0.1", True),
        ("localhost", False),
    ]


AUTHORIZATIONS: list[tuple[str, str, dict[str, str], str]] = [
    ("https://r/npm", "https://r/npm/x", {"//r/npm/:_authToken": "t"}, "Bearer t"),
    ("https://r/npm", "https://r/npm/x", {"//r/:_authToken": "t"}, "Bearer t"),
    ("https://r/npm", "https://r/npm/x", {"//r/:_auth": "dTpw"}, "Basic dTpw"),
    ("https://r/npm", "https://r/npm/x", {"//r/other/:_authToken": "t"}, ""),
    ("https://r/npm", "https://r/npm/x", {"_authToken": "t"}, ""),
    ("https://r", "https://files.r/x", {"//r/:_authToken": "t", "//files.r/:_authToken": "u"}, ""),
    ("https://r", "https://r:8443/x", {"//r/:_authToken": "t"}, ""),
    ("https://r:8443", "https://r:8443/x", {"//r:8443/:_authToken": "t"}, "Bearer t"),
]


@pytest.mark.parametrize(("registry_", "address", "settings", "wanted"), AUTHORIZATIONS)
def test_a_token_is_that_of_the_registry_s_own_address(
    registry_: str, address: str, settings: dict[str, str], wanted: str
) -> None:
    assert cm.authorization_for(address, cm.Source("npm", registry_, settings)) == wanted


ADDRESSES = [
    ("https://codex.example/x", True),
    ("http://127.0.0.1:80/x", True),
    ("http://127.9.9.9", True),
    ("http://[::1]:8/x", True),
    ("http://localhost/x", True),
    ("http://codex.example/x", False),
    ("http://127.0.0.1.example/x", False),
    ("http://localhost.example", False),
    ("ftp://127.0.0.1/x", False),
    ("https:///x", False),
    ("https://me@codex.example/x", False),
    ("https://codex.example:port/x", False),
    ("", False),
]


@pytest.mark.parametrize(("address", "allowed"), ADDRESSES, ids=[row[0] for row in ADDRESSES])
def test_without_tls_only_this_machine_is_asked(address: str, allowed: bool) -> None:
    try:
        cm.origin_of(address)
    except cm.FetchError as error:
        assert not allowed and error.kind == "refused"
    else:
        assert allowed
    if allowed and address.startswith("http:"):
        with pytest.raises(cm.FetchError, match="isn't https"):
            cm.request_for(address, cm.Source("npm", "https://codex.example"))


# --- what sources say ---


SHA = "ab" * 32
TRIPLE = cm.platform_names()[1]
WHOLE = f"codex-package-{TRIPLE}.tar.gz"
ARCHIVES: list[tuple[str, object, str, tuple[str, str, str] | None]] = [
    ("npm", {"dist": {"tarball": "T", "integrity": "sha512-q83v"}}, "", ("T", "sha512", "abcdef")),
    (
        "npm, the strongest",
        {"dist": {"tarball": "T", "integrity": "sha1-AAAA sha256-AAAA sha512-q83v?x"}},
        "",
        ("T", "sha512", "abcdef"),
    ),
    ("npm, too weak", {"dist": {"tarball": "T", "integrity": "sha1-AAAA"}}, "", ("T", "", "")),
    ("npm, torn", {"dist": {"tarball": "T", "integrity": "sha512-q83vA"}}, "", ("T", "sha512", "")),
    ("npm, strange", {"dist": {"tarball": 7, "integrity": ["x"]}}, "", ("", "", "")),
    ("sums", f"{SHA}  {WHOLE}\n{'0' * 64}  other\n", f"A/{WHOLE}", (f"A/{WHOLE}", "sha256", SHA)),
    ("sums of others", f"{SHA}  other.tar.gz\n", f"A/{WHOLE}", None),
    (
        "assets",
        {"assets": [{"name": WHOLE, "digest": f"sha256:{SHA}", "browser_download_url": "U"}]},
        "",
        ("U", "sha256", SHA),
    ),
    (
        "assets of old",
        {
            "assets": [
                {
                    "name": f"codex-npm-{PLATFORM}-0.9.0.tgz",
                    "digest": f"sha256:{SHA.upper()}",
                    "browser_download_url": "U",
                }
            ]
        },
        "",
        ("U", "sha256", SHA),
    ),
    ("assets without digests", {"assets": [{"name": WHOLE, "digest": None, "browser_download_url": "U"}, 7]}, "", None),
    ("assets that are none", {"assets": 7}, "", None),
    ("nothing", [], "", None),
    ("a number", 7, "", None),
]


@pytest.mark.parametrize(("name", "answer", "address", "wanted"), ARCHIVES, ids=[row[0] for row in ARCHIVES])
def test_the_archive_in_an_answer(name: str, answer: object, address: str, wanted: tuple[str, str, str] | None) -> None:
    content = answer.encode() if isinstance(answer, str) else json.dumps(answer).encode()
    assert cm.archive_in(content, address, "0.9.0") == (cm.Archive(*wanted) if wanted else None)


LATEST = [
    ({"latest": "0.171.0", "beta": "1.0.0"}, "0.171.0"),
    ({"dist-tags": {"latest": "0.171.0"}, "versions": {}}, "0.171.0"),
    ({"tag_name": "rust-v0.171.0"}, "0.171.0"),
    ({"latest": 7}, ""),
    ({"latest": "0.1.0/../x"}, ""),
    ({"latest": "1" * 5000 + ".0.0"}, ""),
    ([], ""),
    ({"dist-tags": []}, ""),
]


@pytest.mark.parametrize(("answer", "wanted"), LATEST)
def test_the_newest_in_an_answer(answer: object, wanted: str) -> None:
    assert cm.latest_in(json.dumps(answer).encode()) == wanted


LISTS = [
    (
        {"versions": {"0.9.0": {}, f"0.9.0-{PLATFORM}": {}, f"0.10.0-{PLATFORM}": {}, "0.11.0-win32-x64": {}}},
        ["0.10.0", "0.9.0"],
    ),
    (
        [{"ref": "refs/tags/rust-v0.9.0"}, {"ref": "refs/tags/rust-v0.10.0-alpha.1"}, {"ref": "x"}, 7],
        ["0.10.0-alpha.1", "0.9.0"],
    ),
    ([{"ref": f"refs/tags/rust-v{'1' * 5000}.0.0"}], []),
    ({"versions": [7]}, []),
    (None, []),
]


@pytest.mark.parametrize(("answer", "wanted"), LISTS)
def test_the_versions_in_an_answer(answer: object, wanted: list[str]) -> None:
    assert cm.versions_in(json.dumps(answer).encode()) == wanted


def test_a_registry_without_the_small_answer_is_asked_for_the_large_one(home: Home, registry: Depot) -> None:
    del registry.answers[TAGS]
    assert ask(home, "create", "work").code == 0 and registry.paths[:2] == [TAGS, CODEX]


# --- versions ---


def test_the_versions_are_shown_with_whose_they_are(home: Home, codex: Path, registry: Depot) -> None:
    for name, version in (("work", "0.168.0"), ("play", "0.168.0"), ("here", "0.169.0")):
        ask(home, "create", name, "--codex", version)
    piped = ask(home, "versions")
    assert piped.out == "0.171.0\t\tlatest\n0.169.0\there\tinstalled\n0.168.0\twork, play\t\n0.167.2\t\t\n"
    assert ask(home, "versions", "--json").json() == {
        "latest": "0.171.0",
        "installed": "0.169.0",
        "platform": PLATFORM,
        "versions": [
            {"version": "0.171.0", "pinnedBy": []},
            {"version": "0.169.0", "pinnedBy": ["here"]},
            {"version": "0.168.0", "pinnedBy": ["work", "play"]},
            {"version": "0.167.2", "pinnedBy": []},
        ],
    }
    shown = on_terminal(home, "versions").out.splitlines()
    assert shown[0].split() == ["VERSION", "PINNED", "BY"] and shown[1].split() == ["0.171.0", "latest"]


def test_the_newest_15_are_shown_and_all_where_that_is_asked(home: Home, registry: Depot) -> None:
    names = [f"0.{minor}.0{rest}-{PLATFORM}" for minor in range(100, 140) for rest in ("", "-alpha.1")]
    document = {"versions": {name: {} for name in names}, "dist-tags": {"latest": "0.139.0"}}
    registry.answers[CODEX] = answer_with(document)
    ask(home, "create", "old", "--codex", "0.167.2")
    rows = [line.split("\t")[0] for line in ask(home, "versions").out.splitlines()]
    assert rows == ["0.167.2", *(f"0.{minor}.0" for minor in range(139, 124, -1))]
    assert len(ask(home, "versions", "--all").out.splitlines()) == 81


@pytest.mark.parametrize("how", ["offline", "unreachable"])
def test_without_a_network_the_versions_that_are_here_are_shown(home: Home, registry: Depot, how: str) -> None:
    ask(home, "create", "work", "--codex", "0.168.0")
    if how == "offline":
        home.env["CODEX_MIRROR_OFFLINE"] = "1"
    else:
        away(registry)
    result = ask(home, "versions")
    assert (result.code, result.out, len(result.err.splitlines())) == (0, "0.168.0\twork\t\n", 1)
    assert result.err.startswith("other versions aren't known: ")
    assert ask(home, "versions", "--json").json()["latest"] is None


def test_a_source_that_refuses_is_no_missing_network(home: Home, registry: Depot) -> None:
    registry.answers[CODEX] = Answer(b"", 401)
    result = ask(home, "versions")
    assert (result.code, result.out) == (1, "") and "asks for a login (401)" in result.err


# --- the line on a terminal ---


def test_progress_is_one_line_with_percent_size_and_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    class Screen(io.StringIO):
        def isatty(self) -> bool:
            return True

    screen, clock = Screen(), iter([100.0, 100.01, 102.0, 103.0])
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr(cm.time, "monotonic", lambda: next(clock))
    monkeypatch.setenv("TERM", "xterm")
    console = cm.Console("codex-mirror")
    for done in (1_000_000, 2_000_000, 40_000_000, 160_000_000):
        console.report("fetching Codex 0.171.0", done, 160_000_000)
    lines = screen.getvalue().replace("\x1b[K", "").split("\r")[1:]
    assert [line.partition(": ")[2] for line in lines][1:] == [
        "25 %, 40 MB of 160 MB, 20 MB/s",
        "100 %, 160 MB of 160 MB, 53 MB/s",
    ]
