"""Clones of the real Codex keep to themselves, go on without what they were made from, and go away whole.

All but the making happens while Codex is uninstalled and Node is not on PATH.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from helpers import API_KEYS, Process, Result, finish, run, start, tree, wait_until
from real.kit import House, a_house, is_running, listening_server, on_screen

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks for processes through /proc"),
]

OTHER = "two"
SEEN = ["***aaaaa", "***bbbbb"]  # What Codex shows of the two keys.


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    """The clones `work` and `two`, logged in with two keys."""
    with a_house() as house:
        for name, key in zip(("work", OTHER), API_KEYS, strict=True):
            house.create(name)
            house.log_in(name, key)
        yield house


@pytest.fixture
def third(house: House) -> Iterator[str]:
    """One more clone, logged in, for a test that removes it."""
    house.create("third")
    yield "third"
    if "third" in house.rows():
        house.mirror("remove", "third", "--yes", "--force", check=True)


def native(house: House, *args: Any) -> Result:
    """The pinned binary of `work` itself, with the clone's environment and nothing of ours between."""
    row = house.rows()["work"]
    own = house.home.clone_home("work")
    env = {**house.home.env, "HOME": str(own), "CODEX_HOME": str(own / ".codex")}
    return run([row["runtimeEntryPath"], *args], env=env, cwd=house.home.home)


def started(house: House, name: str, *args: str, **more: Any) -> Process:
    """A clone started by its wrapper, with an open pipe on stdin; returns when it is the real Codex."""
    options = {"stdin": subprocess.PIPE, "env": house.home.env, "cwd": house.home.home, **more}
    process = start([house.home.bin / name, *args], **options)
    wait_until(lambda: process.pid in house.running(name), "the process is Codex")
    return process


# --- logins ---


@pytest.mark.parametrize("others", [{}, {"CODEX_API_KEY": "1", "OPENAI_API_KEY": "1"}, {"CODEX_ACCESS_TOKEN": "x.y.z"}])
def test_each_clone_sees_its_own_login_only(house: House, others: dict[str, str]) -> None:
    for name, other, seen, unseen in (("work", 1, *SEEN), (OTHER, 0, *SEEN[::-1])):
        env = {
            **house.home.env,
            **{variable: value.replace("1", API_KEYS[other]) for variable, value in others.items()},
        }
        for argv in ([house.home.bin / name], house.mirror.argv("run", name)):
            result = run([*argv, "login", "status"], env=env, cwd=house.home.home)
            assert (result.code, seen in result.err, unseen in result.err) == (0, True, False)
        assert API_KEYS[other] not in (house.codex_home(name) / "auth.json").read_text()
    health = {one["name"]: one["authStatus"] for one in house.mirror("doctor", "--json").json()}
    assert health == {"work": "logged_in", OTHER: "logged_in"}
    assert not (house.home.home / ".codex").exists()


def test_each_clone_shows_the_server_its_own_key_whatever_the_environment_says(house: House) -> None:
    for name, other in (("work", 1), (OTHER, 0)):
        env = {**house.home.env, "CODEX_API_KEY": API_KEYS[other], "OPENAI_API_KEY": API_KEYS[other]}
        with listening_server() as (address, shown):
            words = ["exec", "--skip-git-repo-check", "-c", f'openai_base_url="{address}"', "hello"]
            process = start([house.home.bin / name, *words], env=env, cwd=house.home.home)
            wait_until(lambda shown=shown: shown, "a request")
            process.kill()
            finish(process)
        assert set(shown) == {f"Bearer {API_KEYS[1 - other]}"}


def test_logout_of_one_clone_leaves_the_other_logged_in(house: House, third: str) -> None:
    assert house.mirror("logout", third, "--yes").code == 0
    assert "Not logged in" in house.codex(third, "login", "status").err
    house.log_in(third, API_KEYS[0])
    assert house.mirror("logout", third, "--local", "--yes").code == 0
    assert "Not logged in" in house.codex(third, "login", "status").err
    assert SEEN[0] in house.codex("work", "login", "status").err


# --- the command is Codex ---


@pytest.mark.parametrize(
    "words", [["--version"], ["login", "status"], ["--no-such-option"], ["sandbox"], ["exec", "--help"]]
)
def test_run_and_wrapper_end_as_the_program_itself_and_say_the_same(house: House, words: list[str]) -> None:
    expected = native(house, *words)
    assert house.mirror("run", "work", *words) == expected
    assert house.codex("work", *words) == expected


@pytest.mark.parametrize("argument", ["a b", "'", '"', "a\nb\n", "", "$(x) `x` $HOME \\ *", "--", "naïve 名前"])
def test_arguments_reach_codex_as_they_are(house: House, argument: str) -> None:
    words = ["exec", "--color", argument]
    expected = native(house, *words)
    assert expected.code == 2 and argument in expected.err
    assert house.mirror("run", "work", *words) == expected
    assert house.codex("work", *words) == expected


def test_arguments_that_are_not_utf8_get_codexs_own_answer(house: House) -> None:
    expected = native(house, "exec", b"\xff")
    assert expected.code == 2 and "invalid UTF-8" in expected.err
    assert house.mirror("run", "work", "exec", b"\xff") == expected
    assert house.codex("work", "exec", b"\xff") == expected


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGHUP, signal.SIGTERM])
def test_a_signal_reaches_codex_and_nobody_is_left_behind(house: House, number: signal.Signals) -> None:
    ends = set()
    for argv in (
        [house.home.bin / "work"],
        house.mirror.argv("run", "work"),
        [house.rows()["work"]["runtimeEntryPath"]],
    ):
        env = {**house.home.env, "CODEX_HOME": str(house.codex_home("work"))}
        process = start([*argv, "app-server"], env=env, cwd=house.home.home, stdin=subprocess.PIPE)
        wait_until(lambda process=process: process.pid in house.running("work"), "the process is Codex")
        assert says_hello(process)["codexHome"] == str(house.codex_home("work"))
        process.send_signal(number)
        assert process.stdin
        ends.add(process.wait(30))
        process.communicate()
        assert house.running("work") == {}
    assert len(ends) == 1


def says_hello(process: Process) -> dict[str, Any]:
    """The answer of an app-server to its first question: what it reads on stdin, and what comes out on stdout."""
    assert process.stdin and process.stdout
    hello = {"id": 1, "method": "initialize", "params": {"clientInfo": {"name": "test", "version": "1"}}}
    process.stdin.write(json.dumps(hello).encode() + b"\n")
    process.stdin.flush()
    answer: dict[str, Any] = json.loads(process.stdout.readline())["result"]
    return answer


@pytest.mark.parametrize("shell", ["sh", "bash", "zsh", "dash", "fish", "busybox"])
def test_the_wrapper_starts_from_every_shell(house: House, shell: str) -> None:
    if not shutil.which(shell):
        pytest.skip(f"needs {shell}")
    words = [shutil.which(shell), *(["ash"] if shell == "busybox" else []), "-c", "work --version; two login status"]
    result = run(words, env=house.home.env, cwd=house.home.home)
    version = house.rows()["work"]["codexVersionPinned"]
    assert (result.code, result.out) == (0, f"codex-cli {version}\n")
    assert SEEN[1] in result.err and SEEN[0] not in result.err


# --- nested ---


def test_inside_a_clones_shell_wrappers_and_the_program_work_as_outside(house: House) -> None:
    line = "two login status; codex-mirror list; codex-mirror run two login status; work --version"
    result = house.mirror("exec", "work", "sh", "-c", line)
    assert result.code == 0
    assert result.err.count(SEEN[1]) == 2 and SEEN[0] not in result.err
    assert result.out.startswith(house.mirror("list").out)
    deeper = house.mirror("exec", "work", "codex-mirror", "exec", "two", "sh", "-c", 'echo "$HOME"; work login status')
    assert deeper.out == f"{house.home.clone_home(OTHER)}\n" and SEEN[0] in deeper.err


def test_a_clone_made_inside_a_clones_shell_is_an_ordinary_one(house: House) -> None:
    before = house.rows()
    with house.installed() as env:
        result = house.mirror("exec", "work", "codex-mirror", "create", "nested", env=env, timeout=300)
    assert result.code == 0, result
    try:
        row = house.rows()["nested"]
        assert row["rootPath"] == str(house.home.mirror / "clones" / "nested")
        assert row["wrapperPath"] == str(house.home.bin / "nested")
        assert house.codex("nested", "login", "status").err == "Not logged in\n"
        assert "cm_user_home='" + str(house.home.home) in (house.home.bin / "nested").read_text()
    finally:
        house.mirror("exec", "work", "codex-mirror", "remove", "nested", "--yes", check=True)
    assert house.rows() == before


# --- without what they were made from ---


def test_the_clones_work_without_the_installed_codex_and_without_node(house: House) -> None:
    path = house.home.env["PATH"]
    assert not shutil.which("node", path=path) and not shutil.which("codex", path=path)
    row = house.rows()["work"]
    assert house.codex("work", "--version").out == f"codex-cli {row['codexVersionPinned']}\n"
    assert SEEN[0] in house.codex("work", "login", "status").err
    checks = json.loads(house.codex("work", "doctor", "--json").out)["checks"]
    runtime = row["runtimePath"]
    assert checks["runtime.provenance"]["details"]["current executable"] == row["runtimeEntryPath"]
    assert checks["runtime.search"]["details"]["search command"] == f"{runtime}/codex-path/rg"
    assert checks["installation"]["status"] == "ok" and checks["config.load"]["status"] == "ok"
    assert checks["updates.status"]["details"]["check for update on startup"] == "false"
    assert checks["app_server.status"]["summary"] == "background server is not running"
    helpers = ["bin/codex-code-mode-host", "codex-path/rg", "codex-resources/bwrap"]
    for helper in helpers:
        facts = os.stat(os.path.join(runtime, helper))
        assert facts.st_size > 100_000 and facts.st_mode & 0o777 == 0o555
    assert run([f"{runtime}/codex-path/rg", "--version"], env=house.home.env).out.startswith("ripgrep")


def test_our_doctor_finds_nothing_wrong_and_changes_nothing(house: House) -> None:
    def ours() -> dict[str, Any]:
        found = tree(house.home.mirror)
        return {path: what for path, what in found.items() if "/.codex" not in path.replace("/.codex-mirror", "")}

    before = ours()
    result = house.mirror("doctor", "--deep")
    assert (result.code, result.err, ours()) == (0, "", before)


# --- remove ---


def test_remove_names_a_running_codex_and_refuses(house: House, third: str) -> None:
    process = started(house, "third", "app-server")
    before = tree(house.base_of("third") / "runtime")
    for words in (["remove", "third", "--yes"], ["logout", "third", "--yes"]):
        result = house.mirror(*words)
        assert (result.code, result.out) == (6, "")
        assert f"pid {process.pid}" in result.err and "--force" in result.err
    assert "third" in house.rows() and tree(house.base_of("third") / "runtime") == before
    assert house.mirror("doctor", "third").code == 0
    process.stdin.close()  # type: ignore[union-attr]
    assert process.wait(30) == 0
    process.stdin = None
    process.communicate()
    assert house.mirror("remove", "third", "--yes").code == 0
    assert not (house.home.mirror / "clones" / "third").exists() and not (house.home.bin / "third").exists()


@pytest.mark.skipif(shutil.which("unshare") is None or os.geteuid() != 0, reason="needs unshare, and root")
def test_a_codex_in_another_container_is_seen_by_its_lock(house: House, third: str) -> None:
    """What runs in one PID namespace has no process in another; a volume that both have is all that they share."""
    process = started(house, "third", "app-server")
    elsewhere = ["unshare", "--pid", "--fork", "--mount-proc", *map(os.fspath, house.mirror.argv())]
    for words in (["remove", "third", "--yes"], ["logout", "third", "--local", "--yes"]):
        result = run([*elsewhere, *words], env=house.home.env, cwd=house.home.home)
        if "unshare failed" in result.err:
            pytest.skip("no PID namespaces here")
        assert result.code == 6 and "running in 'third' (in another container)" in result.err
    assert "third" in house.rows() and (house.home.clone_home("third") / ".codex/auth.json").exists()
    process.stdin.close()  # type: ignore[union-attr]
    assert process.wait(30) == 0
    process.stdin = None
    process.communicate()
    assert run([*elsewhere, "remove", "third", "--yes"], env=house.home.env, cwd=house.home.home).code == 0


def test_a_codex_on_somebodys_screen_is_running_too(house: House, third: str) -> None:
    with on_screen(house.home, "third", house.home.home):
        wait_until(lambda: house.running("third"), "Codex on the screen")
        first = min(house.running("third"))  # It starts other programs of its own, too.
        result = house.mirror("remove", "third", "--yes")
        assert result.code == 6 and str(first) in result.err.split("(pid ")[1]
        # It has only just started, and would go on making files.
        assert house.mirror("remove", "third", "--yes", "--force").code == 0
        assert not is_running(first)
    assert not (house.home.mirror / "clones" / "third").exists()


def test_remove_stops_the_background_server_and_its_updater(house: House, third: str) -> None:
    settings = house.codex_home("third") / "app-server-daemon" / "settings.json"
    settings.write_text('{"updater":{"autoUpdateEnabled":true}}')
    assert house.codex("third", "app-server", "daemon", "start", timeout=120).code == 0
    daemon = house.codex_home("third") / "app-server-daemon"
    wait_until(lambda: len(house.running("third")) == 2 and (daemon / "daemon-updater.pid").exists(), "both servers")
    pids = {json.loads((daemon / name).read_text())["pid"] for name in ("daemon.pid", "daemon-updater.pid")}
    assert pids == set(house.running("third"))
    result = house.mirror("remove", "third", "--yes")
    assert result.code == 0, result
    assert not any(map(is_running, pids)) and not (house.home.mirror / "clones" / "third").exists()


@pytest.mark.parametrize("words", [["doctor", "third", "--fix"], ["update", "third"]], ids=lambda words: words[0])
def test_a_background_server_is_told_with_its_version_and_ended(house: House, third: str, words: list[str]) -> None:
    settings = house.codex_home("third") / "app-server-daemon" / "settings.json"
    settings.write_text('{"updater":{"autoUpdateEnabled":true}}')
    version = house.rows()["third"]["codexVersionPinned"]
    assert house.codex("third", "app-server", "daemon", "start", timeout=120).code == 0
    wait_until(lambda: len(house.running("third")) == 2, "both servers")
    [told] = [
        one["what"] for one in house.mirror("doctor", "third", "--json").json()[0]["problems"] if "server" in one["id"]
    ]
    for pid, line in house.running("third").items():
        assert f"{'updater' if 'pid-update-loop' in line else 'server'} {version} (pid {pid})" in told
    with house.installed() as env:
        result = house.mirror(*words, env=env, timeout=300)
    assert (result.code, result.err.count("third: stopped its ")) == (0, 2), result
    assert house.running("third") == {}


def test_remove_deletes_a_module_cache_and_follows_no_link(house: House, third: str) -> None:
    cache = house.home.clone_home("third") / "go" / "pkg" / "mod" / "example.org@v1.0.0" / "deep"
    cache.mkdir(parents=True)
    (cache / "file.go").write_text("package deep\n")
    (cache / "file.go").chmod(0o444)
    (cache / "out").symlink_to(house.base_of("work"))
    for directory in (cache, *list(cache.parents)[:4]):
        directory.chmod(0o555)
    before = tree(house.base_of("work") / "runtime"), (house.codex_home("work") / "auth.json").read_bytes()
    assert house.mirror("remove", "third", "--yes").code == 0
    after = tree(house.base_of("work") / "runtime"), (house.codex_home("work") / "auth.json").read_bytes()
    assert after == before
    assert sorted(os.listdir(house.home.mirror / "clones")) == [OTHER, "work"]


def test_a_removed_name_starts_without_the_old_login(house: House, third: str) -> None:
    house.mirror("remove", "third", "--yes", check=True)
    with house.installed() as env:
        house.mirror("create", "third", env=env, check=True)
    assert house.codex("third", "login", "status").err == "Not logged in\n"
    house.mirror("remove", "third", check=True)
    assert Path(house.home.bin / "third").exists() is False
