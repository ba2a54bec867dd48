"""A mirror home that the earlier program made works here unchanged, and what it wrote and we don't know is kept."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import stat
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import ANY

import pytest

from helpers import (
    API_KEYS,
    CODEX_JS,
    PLATFORM_PACKAGE,
    TRIPLE,
    Home,
    Mirror,
    fake_codex,
    finish,
    make_launcher,
    npm_install,
    overheard,
    run,
    wait_until,
)
from rooms import (
    NEW_MIRROR_HOME,
    ROOT,
    ask,
    at_rest,
    caller_in,
    changes,
    clone_in,
    clone_like,
    cm,
    places_of,
    raw,
    rows_of,
)

# What the earlier program wrote for `create work`, but for its comment lines.
WRAPPER = """\
#!/usr/bin/env bash
set -euo pipefail

if [[ -n "${CODEX_MIRROR_CLI:-}" ]]; then
  exec "$CODEX_MIRROR_CLI" run 'NAME' -- "$@"
fi
exec codex-mirror run 'NAME' -- "$@"
"""

MADE_AT = "2025-11-22T08:00:00.000Z"
needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="needs node on PATH")
kinds = pytest.mark.parametrize("kind", ["binary", pytest.param("npm-package", marks=needs_node)])
with_and_without_clone_json = pytest.mark.parametrize("with_row", [True, False], ids=["clone.json", "no clone.json"])


def make_legacy_home(home: Home, clones: dict[str, str], *, with_row: bool = True) -> list[dict[str, Any]]:
    """Lays out the earlier program's mirror home, with clones of 0.150.0: {name: kind}; the registry's rows."""
    rows = [_make_legacy_clone(home, name, kind, with_row) for name, kind in clones.items()]
    document = {"version": 1, "clones": rows, "theirs": {"kept": True}}
    (home.mirror / "registry.json").write_text(json.dumps(document, indent=2) + "\n")
    (home.mirror / "registry.json").chmod(0o600)
    for directory in [home.mirror, *(path for path in home.mirror.rglob("*") if path.is_dir())]:
        directory.chmod(0o755)
    return rows


def _make_legacy_clone(home: Home, name: str, kind: str, with_row: bool) -> dict[str, Any]:
    base = home.mirror / "clones" / name / ".codex-mirror"
    runtime, wrapper = base / "runtime", home.bin / name
    for directory in (".codex", ".config", ".local/share", ".local/state", ".cache"):
        (base / "home" / directory).mkdir(parents=True)
    (base / "logs").mkdir()
    if kind == "binary":
        fake_codex(runtime, "0.150.0")
        entry = runtime / "bin" / "codex"
    else:
        entry = _make_npm_package(runtime / "package")
    (base / "home" / ".codex" / "auth.json").write_text(json.dumps({"OPENAI_API_KEY": API_KEYS[0]}))
    (base / "home" / ".codex" / "config.toml").write_text('model = "gpt-5"\n')
    wrapper.write_text(WRAPPER.replace("NAME", name))
    wrapper.chmod(0o755)
    row = {
        "id": str(uuid.uuid4()),
        "name": name,
        "rootPath": str(base.parent),
        "runtimePath": str(runtime),
        "runtimeEntryPath": str(entry),
        "runtimeKind": kind,
        "wrapperPath": str(wrapper),
        "codexVersionPinned": "0.150.0",
        "createdAt": MADE_AT,
        "updatedAt": MADE_AT,
        "theirs": {"nobody": ["knows"]},
    }
    if with_row:
        (base / "clone.json").write_text(json.dumps(row, indent=2) + "\n")
    return row


def _make_npm_package(package: Path) -> Path:
    """The whole npm package, with the native one nested, as the earlier program copied it."""
    native = package / "node_modules" / "@openai" / PLATFORM_PACKAGE
    fake_codex(native / "vendor" / TRIPLE, "0.150.0")
    (native / "package.json").write_text(json.dumps({"name": "@openai/codex", "version": "0.150.0-x"}))
    (package / "bin").mkdir()
    (package / "bin" / "codex.js").write_text(CODEX_JS)
    names = {"name": "@openai/codex", "version": "0.150.0", "type": "module"}
    (package / "package.json").write_text(json.dumps(names))
    return package / "bin" / "codex.js"


def node_on_path(home: Home) -> None:
    if node := shutil.which("node"):
        home.put_on_path(Path(node).parent)


def cli(home: Home) -> dict[str, str]:
    """The environment of somebody who has `codex-mirror` on PATH, as the earlier program's wrappers want."""
    home.put_on_path(make_launcher(home.base / "cli" / "codex-mirror").parent)
    return home.env


def login_of(home: Home, name: str) -> Path:
    return home.clone_home(name) / ".codex" / "auth.json"


@kinds
@with_and_without_clone_json
def test_an_earlier_program_s_clone_is_listed_run_and_examined_and_left_as_it_is(
    home: Home, kind: str, with_row: bool
) -> None:
    node_on_path(home)
    [row] = make_legacy_home(home, {"work": kind}, with_row=with_row)
    before = at_rest(home)
    assert ask(home, "list").out == f"work\t0.150.0\t{row['rootPath']}\n"
    [listed] = ask(home, "list", "--json").json()
    assert {key: listed[key] for key in row} == row
    heard = overheard(raw(home, "run", "work", "--", "a b", "", "$(c)").out)
    assert heard.argv == [b"a b", b"", b"$(c)"] and heard.env["HOME"] == str(home.clone_home("work"))
    assert heard.env["CODEX_HOME"] == str(home.clone_home("work") / ".codex")
    assert [raw(home, "run", "work", "exit", str(code)).code for code in (0, 7)] == [0, 7]
    examined = ask(home, "doctor", "work", "--json").json()[0]
    assert examined["ok"] and examined["authStatus"] == "logged_in", examined
    assert {problem["id"] for problem in examined["problems"]} >= {"directory-open", "pin-loose", "wrapper-outdated"}
    assert changes(before, at_rest(home)) == {}


@kinds
def test_an_earlier_program_s_wrapper_starts_its_clone(home: Home, kind: str) -> None:
    node_on_path(home)
    make_legacy_home(home, {"work": kind})
    env = cli(home)
    heard = overheard(run([home.bin / "work", "a b"], env=env, check=True).out)
    assert heard.argv == [b"a b"] and heard.env["CODEX_MIRROR_CLONE"] == "work"
    direct = {**env, "CODEX_MIRROR_CLI": str(home.base / "cli" / "codex-mirror"), "PATH": "/usr/bin:/bin"}
    node_on_path(home._replace(env=direct))
    assert run([home.bin / "work", "exit", "9"], env=direct).code == 9


@kinds
@with_and_without_clone_json
def test_an_earlier_program_s_clone_is_logged_in_and_out(home: Home, kind: str, with_row: bool) -> None:
    node_on_path(home)
    [row] = make_legacy_home(home, {"work": kind}, with_row=with_row)
    result = raw(home, "login", "work", "--with-api-key", stdin=API_KEYS[1].encode())
    assert result.code == 0, result
    assert json.loads(login_of(home, "work").read_bytes())["OPENAI_API_KEY"] == API_KEYS[1]
    [noted] = rows_of(home)
    assert noted["account"]["kind"] == "api-key" and {key: noted[key] for key in row} == row
    assert ask(home, "logout", "work", "--local", "--yes").code == 0 and not login_of(home, "work").exists()


@kinds
@with_and_without_clone_json
def test_the_first_update_takes_the_runtime_over_and_rollback_goes_back_to_it(
    home: Home, kind: str, with_row: bool
) -> None:
    node_on_path(home)
    npm_link = npm_install(home.base / "npm", fake_codex(home.base / "package"))
    home.put_on_path(npm_link.parent)
    rows = make_legacy_home(home, {"work": kind, "play": kind}, with_row=with_row)
    before = at_rest(home)
    updated = ask(home, "update", "work")
    assert (updated.code, updated.out) == (0, "work: 0.150.0 → 0.169.0\n"), updated
    work, play = rows_of(home)
    assert rows[1].items() <= play.items() and work["theirs"] == rows[0]["theirs"]
    assert json.loads((home.mirror / "registry.json").read_text())["theirs"] == {"kept": True}
    assert {"createdAt": MADE_AT, "name": "work", "runtimeKind": "binary", "codexVersionPinned": "0.169.0"}.items() <= (
        work.items()
    )
    # The wrapper is ours now, and starts without us; the legacy runtime has stayed, byte for byte.
    assert run([home.bin / "work", "--version"], env=home.env, check=True).out == "codex-cli 0.169.0\n"
    base = "m/clones/work/.codex-mirror"
    after = at_rest(home)
    old = {path: what for path, what in before.items() if path.startswith(f"{base}/runtime/")}
    assert old.items() <= after.items()
    moved = {path for path in changes(before, after) if not path.startswith((f"{base}/runtime/0.169.0-", "m/r"))}
    assert moved <= {
        *NEW_MIRROR_HOME,
        *(f"{base}/.gitignore", base, f"{base}/home", f"{base}/home/.codex", f"{base}/clone.json", "bin/work"),
        *(f"{base}/logs/events.log", f"{base}/logs", f"{base}/runtime", f"{base}/bin", f"{base}/bin/codex"),
    }, moved
    modes = {after[path][1] for path in ("m", base, f"{base}/home", f"{base}/home/.codex")}
    assert modes == {"0o700"}

    assert ask(home, "rollback", "work").out == "work: 0.169.0 → 0.150.0\n"
    assert run([home.bin / "work", "--version"], env=home.env, check=True).out == "codex-cli 0.150.0\n"
    assert ask(home, "rollback", "work").out == "work: 0.150.0 → 0.169.0\n"
    assert login_of(home, "work").read_bytes() == login_of(home, "play").read_bytes()
    assert ask(home, "doctor", "work", "--json").json()[0]["ok"]


@kinds
def test_a_clone_that_is_made_from_an_earlier_program_s_says_whether_it_needs_node(home: Home, kind: str) -> None:
    node_on_path(home)
    make_legacy_home(home, {"work": kind})
    made = ask(home, "create", "new", "--from", "work")
    note = "no native Codex was found: 'new' has the JavaScript package, and needs node on PATH whenever it runs\n"
    assert made.code == 0 and (note in made.err) == (kind == "npm-package"), made
    assert ("(needs node)" in ask(home, "list", "new", "--full").out) == (kind == "npm-package")


@kinds
def test_the_second_update_discards_the_legacy_runtime(home: Home, kind: str) -> None:
    node_on_path(home)
    make_legacy_home(home, {"work": kind})
    for version in ("0.160.0", "0.169.0"):
        assert ask(home, "update", "work", "--from", fake_codex(home.base / version, version)).code == 0
    runtime = home.mirror / "clones" / "work" / ".codex-mirror" / "runtime"
    names = sorted(re.sub(r"-[0-9a-f]{8}$", "", path.name) for path in runtime.iterdir())
    assert names == ["0.160.0", "0.169.0"]
    assert ask(home, "rollback", "work").out == "work: 0.169.0 → 0.160.0\n"
    assert json.loads(login_of(home, "work").read_bytes())["OPENAI_API_KEY"] == API_KEYS[0]


@kinds
@with_and_without_clone_json
def test_an_earlier_program_s_clone_is_removed_with_its_wrapper_and_the_others_stay(
    home: Home, kind: str, with_row: bool
) -> None:
    rows = make_legacy_home(home, {"work": kind, "play": kind}, with_row=with_row)
    before = at_rest(home)
    refused = ask(home, "remove", "work")
    assert refused.code == 5 and "its login" in refused.err and changes(before, at_rest(home)) == {}
    assert ask(home, "remove", "work", "--yes").code == 0
    gone = {path for path in changes(before, at_rest(home)) if not path.startswith(("m/clones/work", "m/r"))}
    assert gone <= {"bin/work", *NEW_MIRROR_HOME} and not (home.mirror / "clones" / "work").exists()
    [play] = rows_of(home)
    assert rows[1].items() <= play.items()
    assert json.loads((home.mirror / "registry.json").read_text())["theirs"] == {"kept": True}


@kinds
@with_and_without_clone_json
def test_an_earlier_program_s_clone_is_renamed_and_mended(home: Home, kind: str, with_row: bool) -> None:
    node_on_path(home)
    make_legacy_home(home, {"work": kind}, with_row=with_row)
    content = login_of(home, "work").read_bytes()
    assert ask(home, "rename", "work", "office").code == 0
    assert run([home.bin / "office", "--version"], env=home.env, check=True).out == "codex-cli 0.150.0\n"
    assert not (home.bin / "work").exists() and login_of(home, "work").read_bytes() == content
    private = [home.mirror, home.clone_home("work"), home.clone_home("work") / ".codex", home.clone_home("work").parent]
    assert {path.stat().st_mode & 0o777 for path in private} == {0o700}
    mended = ask(home, "doctor", "--fix")
    assert mended.code == 0, mended
    [examined] = [row for row in ask(home, "doctor", "--json").json() if row["name"] == "office"]
    assert examined["ok"] and not [one for one in examined["problems"] if one["severity"] != "info"]
    config = (home.clone_home("work") / ".codex" / "config.toml").read_text()
    assert 'model = "gpt-5"' in config and "check_for_update_on_startup = false" in config


def test_wrappers_are_written_again_by_wrapper_install(home: Home) -> None:
    make_legacy_home(home, {"work": "binary", "play": "binary"})
    assert ask(home, "wrapper", "install").code == 0
    for name in ("work", "play"):
        assert (home.bin / name).read_text().splitlines()[1].startswith(cm.WRAPPER_MARK + clone_in(home, name).id)
        assert run([home.bin / name, "--version"], env=home.env, check=True).out == "codex-cli 0.150.0\n"


STRANGERS: list[tuple[str, Callable[[str], str]]] = [
    ("of another name", lambda text: text.replace("'work'", "'play'")),
    ("without its line", lambda text: text.replace('exec "$CODEX_MIRROR_CLI"', "exec codex-mirror")),
    ("with its line in a comment", lambda text: text.replace("  exec", "  # exec")),
    ("with its line quoted", lambda text: "#!/bin/bash\necho '" + text.replace("'", '"') + "'\n"),
    ("of another shell", lambda text: text.replace("#!/usr/bin/env bash", "#!/usr/bin/env python3")),
    ("without a shell", lambda text: text.split("\n", 1)[1]),
    ("with other arguments", lambda text: text.replace('-- "$@"', '"$@"')),
]


@pytest.mark.parametrize(("kind", "spoil"), STRANGERS, ids=[row[0] for row in STRANGERS])
def test_a_script_of_another_shape_is_not_an_earlier_program_s_wrapper(
    home: Home, kind: str, spoil: Callable[[str], str]
) -> None:
    make_legacy_home(home, {"work": "binary", "play": "binary"})
    wrapper = home.bin / "work"
    wrapper.write_text(spoil(WRAPPER.replace("NAME", "work")))
    content = wrapper.read_bytes()
    assert not cm.is_wrapper_of(clone_in(home, "work"), str(wrapper))
    assert ask(home, "doctor", "work", "--fix").code == 1
    assert ask(home, "wrapper", "install").code == 1
    assert ask(home, "remove", "work", "--yes").code == 0
    assert wrapper.read_bytes() == content


def test_what_the_earlier_program_left_behind_is_named_by_doctor_and_in_nobody_s_way(home: Home) -> None:
    make_legacy_home(home, {"work": "binary"})
    base = home.mirror / "clones" / "work" / ".codex-mirror"
    left = [home.mirror / "registry.json.lock", home.mirror / "registry.json.tmp-4711-1732262400000"]
    for path in left:
        path.write_text("4711")
    shutil.copytree(base / "runtime", base / "runtime.backup-1732262400000")
    os.utime(left[0], (time.time() - 61,) * 2)
    before = at_rest(home)
    examined = ask(home, "doctor", "--json")
    problems = [problem for row in examined.json() for problem in row["problems"]]
    [named] = [problem for problem in problems if problem["id"] == "legacy-leftovers"]
    for path in [*left, base / "runtime.backup-1732262400000"]:
        assert str(path) in named["what"]
    assert changes(before, at_rest(home)) == {}
    assert ask(home, "update", "work", "--from", fake_codex(home.base / "new")).code == 0
    assert ask(home, "doctor", "--fix").code in (0, 1)
    assert not left[0].exists(), "the lock of a dead one goes, as it does with the earlier program"
    assert left[1].exists() and (base / "runtime.backup-1732262400000" / "bin" / "codex").exists()
    assert ask(home, "remove", "work", "--yes").code == 0 and not base.exists()
    assert left[1].exists()


# --- both programs at once ---


class EarlierProgram(NamedTuple):
    """How the earlier program writes its registry: under a file that must be new, all of it, and in no other way."""

    registry: Path

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        lock = self.registry.with_name("registry.json.lock")
        wait_until(lambda: self.is_taken(lock), "the lock of the registry")
        before = lock.stat().st_ino
        try:
            yield
        finally:
            assert lock.stat().st_ino == before
            lock.unlink()

    @staticmethod
    def is_taken(lock: Path) -> bool:
        with contextlib.suppress(FileExistsError), open(lock, "x") as file:
            return bool(file.write(f"{os.getpid()}\n{int(time.time() * 1000)}\n"))
        return False

    def update(self, home: Home, row: dict[str, Any], version: str) -> dict[str, Any]:
        """What it makes of a clone in an update: another Codex in the same directory, and its own wrapper."""
        shutil.rmtree(row["runtimePath"])
        fake_codex(Path(row["runtimePath"]), version)
        entry = os.path.join(row["runtimePath"], "bin", "codex")
        updated = {**row, "runtimeEntryPath": entry, "codexVersionPinned": version}
        Path(row["wrapperPath"]).write_text(WRAPPER.replace("NAME", row["name"]))
        Path(row["rootPath"], ".codex-mirror", "clone.json").write_text(json.dumps(updated))
        self.upsert(updated)
        return updated

    def upsert(self, row: dict[str, Any]) -> None:
        with self.locked():
            self.write_with(row)

    def write_with(self, row: dict[str, Any]) -> None:
        document = json.loads(self.registry.read_bytes())
        document["clones"] = [*(one for one in document["clones"] if one["name"] != row["name"]), row]
        new = self.registry.with_name(f"registry.json.tmp-{os.getpid()}-x")
        new.write_text(json.dumps(document, indent=2) + "\n")
        new.rename(self.registry)


def test_both_programs_at_once_lose_nobody_s_clone(home: Home, codex: Path) -> None:
    rows = make_legacy_home(home, {f"old{number}": "binary" for number in range(15)})
    earlier, mirror = EarlierProgram(home.mirror / "registry.json"), Mirror(home)
    earlier.registry.write_text(json.dumps({"version": 1, "clones": []}))
    home.put_on_path(home.bin)
    patient = {"CODEX_MIRROR_LOCK_TIMEOUT": "600"}
    ours = [mirror.start("create", f"new{number}", env=patient) for number in range(15)]
    for row in rows:
        earlier.upsert(row)
    assert [finish(one) for one in ours] == [(0, ANY, "") for _ in ours]
    registry = cm.read_registry(places_of(home))
    assert sorted(clone.name for clone in registry.clones) == sorted(
        [*(row["name"] for row in rows), *(f"new{n}" for n in range(15))]
    )
    assert not registry.bad_rows and not earlier.registry.with_name("registry.json.lock").exists()


def test_what_the_earlier_program_writes_while_a_change_is_under_way_stays(home: Home) -> None:
    work, play, late = make_legacy_home(home, {"work": "binary", "play": "binary", "late": "binary"})
    earlier = EarlierProgram(home.mirror / "registry.json")
    earlier.registry.write_text(json.dumps({"version": 1, "clones": [work, play], "theirs": 1}))
    with cm.begin_clone_change(caller_in(home), "test", "work") as (change, clone):
        earlier.upsert(late)
        earlier.upsert({**play, "codexVersionPinned": "0.151.0"})
        change.commit(cm.with_clone(change.registry, clone._replace(is_default=True)))
    registry = cm.read_registry(places_of(home))
    found = {one.name: (one.runtime.version, one.is_default) for one in registry.clones}
    assert found == {"work": ("0.150.0", True), "play": ("0.151.0", False), "late": ("0.150.0", False)}
    assert registry.last_change == change.id and registry.extra == {"theirs": 1}


def test_what_both_programs_change_at_once_is_changed_by_one(home: Home) -> None:
    work, late = make_legacy_home(home, {"work": "binary", "late": "binary"})
    earlier = EarlierProgram(home.mirror / "registry.json")
    earlier.registry.write_text(json.dumps({"version": 1, "clones": [work]}))
    changes_of_both: list[tuple[dict[str, Any], Callable[[Any, Any], Any]]] = [
        ({**work, "codexVersionPinned": "0.151.0"}, lambda now, one: cm.with_clone(now, one._replace(is_default=True))),
        ({**work, "codexVersionPinned": "0.152.0"}, cm.without_clone),
        (late, lambda now, one: cm.with_clone(now, clone_like(home, "late"))),
    ]
    for row, wanted in changes_of_both:
        with (
            pytest.raises(cm.MirrorError, match=f"changed '{row['name']}' in the meantime") as caught,
            cm.begin_clone_change(caller_in(home), "test", "work") as (change, clone),
        ):
            earlier.upsert(row)
            change.commit(wanted(change.registry, clone))
        assert caught.value.code == cm.BUSY and row in rows_of(home)
        assert not list(home.mirror.glob("registry.json.lock*"))


def test_a_clone_of_ours_that_the_earlier_program_updates_is_a_clone_still_and_doctor_says_so(
    home: Home, codex: Path
) -> None:
    assert ask(home, "create", "work").code == 0
    [row] = rows_of(home)
    earlier = EarlierProgram(home.mirror / "registry.json")
    updated = earlier.update(home, row, "0.170.0")
    assert ask(home, "list").out.startswith("work\t0.170.0\t") and raw(home, "run", "work", "--version").code == 0
    found = {one["id"]: one for one in ask(home, "doctor", "work", "--json").json()[0]["problems"]}
    assert f"{row['runtimePath']} contains Codex 0.170.0" in found["runtime-misnamed"]["what"]
    assert found["runtime-misnamed"]["fix"].endswith("update work")
    assert "error" not in {one["severity"] for one in found.values()}
    assert ask(home, "update", "work", "--from", fake_codex(home.base / "new", "0.170.0")).code == 0
    [now] = rows_of(home)
    assert now["runtimePath"] != updated["runtimePath"] and "0.170.0-" in now["runtimePath"]
    again = ask(home, "doctor", "work", "--fix")
    assert "runtime-misnamed" not in again.out and again.code == 0, again


DEAD = b"999999999\n1\n"  # No system has so many processes.
LOCKS_LEFT = [
    ("the earlier program's, a minute old", DEAD, 61, ""),
    ("the earlier program's, that may be at work", b"%d\n1\n" % os.getpid(), 50, "is still running"),
    ("the earlier program's, which was killed", DEAD, 20, r"left a lock, which expires in [234]\d s"),
    ("the earlier program's, of tomorrow", DEAD, -86_400, r"left a lock, which expires in 1 d"),
    ("one that isn't written yet", b"", 0, "is still running"),
    ("ours, of a killed change", DEAD + b"codex-mirror\n", 0, ""),
]


@pytest.mark.parametrize(
    ("content", "age", "told"), [row[1:] for row in LOCKS_LEFT], ids=[row[0] for row in LOCKS_LEFT]
)
def test_the_earlier_program_s_lock_is_waited_for_unless_a_dead_one_left_it(
    home: Home, content: bytes, age: float, told: str
) -> None:
    make_legacy_home(home, {"work": "binary"})
    lock = home.mirror / "registry.json.lock"
    lock.write_bytes(content)
    os.utime(lock, (time.time() - age,) * 2)
    result = ask(home, "rename", "work", "office", env={"CODEX_MIRROR_LOCK_TIMEOUT": "0.1"})
    assert (result.code, lock.exists()) == ((6, True) if told else (0, False)), result
    if told:
        assert lock.read_bytes() == content and re.search(told, result.err) and f"remove {lock}" in result.err
        assert f"waiting for the {'lock that the ' * ('left' in told)}earlier codex-mirror (pid" in result.err
        assert ask(home, "list").out.startswith("work\t") and ask(home, "doctor").code in (0, 1)


def test_a_lock_that_grows_old_while_it_is_waited_for_is_taken(home: Home) -> None:
    lock = home.base / "registry.json.lock"
    lock.with_name("registry.json.lock.new").write_text("ours")
    for age, is_taken in ((cm.EARLIER_LOCK_AGE - 30, False), (cm.EARLIER_LOCK_AGE + 30, True)):
        lock.write_text("4711\n")
        os.utime(lock, (time.time() - age,) * 2)
        if ROOT:  # Another user's stays, however old it is.
            os.chown(lock, 4711, 4711)
            assert not cm.take_earlier_lock(str(lock))
            os.chown(lock, 0, 0)
        assert cm.take_earlier_lock(str(lock)) == is_taken and lock.read_text() == ("ours" if is_taken else "4711\n")


def test_the_earlier_program_s_lock_is_held_while_the_registry_is_written(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_legacy_home(home, {"work": "binary"})
    held, write = [], cm.write_registry

    def looking(*args: Any, **more: Any) -> None:
        lock = home.mirror / "registry.json.lock"
        held.append((lock.read_text().split()[0], stat.S_IMODE(lock.stat().st_mode)))
        write(*args, **more)

    monkeypatch.setattr(cm, "write_registry", looking)
    cm.rename_clone(caller_in(home), "work", "office")
    (home.mirror / "registry.json.lock.new").write_text("of one of ours that was killed")
    (home.mirror / "registry.json").write_bytes(b"")
    cm.rebuild_registry(caller_in(home), cm.inspect_mirror_home(caller_in(home)))
    assert held == [(str(os.getpid()), 0o600)] * 2 and not list(home.mirror.glob("registry.json.lock*"))


def test_a_second_clone_is_made_beside_an_earlier_program_s(home: Home, codex: Path) -> None:
    [row] = make_legacy_home(home, {"work": "binary"})
    assert ask(home, "create", "play").code == 0
    assert row.items() <= rows_of(home)[0].items() and ask(home, "create", "WORK").code == 5
    assert ask(home, "update", "--all").code == 0
    assert [clone.runtime.version for clone in cm.read_registry(places_of(home)).clones] == ["0.169.0", "0.169.0"]


def test_a_newer_registry_is_refused_and_never_overwritten(home: Home, codex: Path) -> None:
    rows = make_legacy_home(home, {"work": "binary"})
    document = {"version": 2, "profiles": {row["name"]: row for row in rows}, "clones": rows}
    (home.mirror / "registry.json").write_text(json.dumps(document))
    before = at_rest(home)
    for words in (["list"], ["create", "play"], ["update", "--all"], ["remove", "work", "--yes"],
                  ["rename", "work", "x"], ["wrapper", "install"], ["rollback", "work"], ["login", "work"],
                  ["run", "work"]):  # fmt: skip
        result = ask(home, *words)
        assert result.code == 1 and "has version 2, but this" in result.err, (words, result)
        assert "hint: if a newer codex-mirror wrote it, upgrade this one; else to rebuild it" in result.err, words
        kept = {path for path in changes(before, at_rest(home)) if path not in NEW_MIRROR_HOME}
        assert kept == set() and home.mirror.stat().st_mode & 0o777 in (0o700, 0o755), words


def test_its_rows_stay_readable_for_the_earlier_program(home: Home, codex: Path) -> None:
    """Someone goes back to it: every field that it wrote is there, of the same type, also for our own clones."""
    [row] = make_legacy_home(home, {"work": "binary"})
    assert ask(home, "create", "play").code == 0 and ask(home, "update", "work").code == 0
    document = json.loads((home.mirror / "registry.json").read_bytes())
    assert document["version"] == 1
    for written in document["clones"]:
        for key in row.keys() - {"theirs"}:
            assert isinstance(written[key], str) and written[key], key
        assert os.path.isfile(written["runtimeEntryPath"]) and os.path.isdir(written["runtimePath"])
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", written["updatedAt"])
