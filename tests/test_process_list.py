"""Who is running which Codex: real processes, as /proc shows them, and as the `ps` of a pretended Mac does."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest.mock import Mock

import pytest

from darwin import Mac
from helpers import API_KEYS, Home, fake_codex, finish, npm_install, start, wait_until
from rooms import ask, at_rest, changes, clone_in, cm, make_clone

linux = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")

# --- who is running what ---


def is_under_way(pid: int, path: Path, env: dict[str, str]) -> bool:
    """Does /proc show the program, its words and its variables? Its exec brings them there one after the other."""
    seen = [Path(f"/proc/{pid}/{name}").read_bytes() for name in ("cmdline", "environ")]
    there = os.readlink(f"/proc/{pid}/exe") == os.path.realpath(path) and seen[0].endswith(b"\x001000\0")
    return there and set(seen[1].split(b"\0")[:-1]) == {os.fsencode(f"{key}={value}") for key, value in env.items()}


@pytest.fixture
def started(home: Home) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts copies of a real binary under other names; all are ended afterwards."""
    processes: list[subprocess.Popen[bytes]] = []

    def begin(path: Path, *words: str, cwd: Path = Path("/"), **env: str) -> subprocess.Popen[bytes]:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy("/bin/sleep", path)
        process = subprocess.Popen([path, *words, "1000"], env=env, cwd=cwd)
        processes.append(process)
        wait_until(lambda: is_under_way(process.pid, path, env), "the program is under way")
        return process

    yield begin
    for process in processes:
        process.kill()
        process.wait()


@linux
def test_a_codex_is_known_by_its_program_or_by_its_home(
    home: Home, started: Callable[..., subprocess.Popen[bytes]]
) -> None:
    runtime, codex_home = home.base / "runtime", home.base / "codex-home"
    codex_home.mkdir()
    (home.base / "link").symlink_to(codex_home)
    elsewhere = home.base / "usr" / "codex"
    ours = [
        started(runtime / "0.169.0-abcdef12" / "bin" / "codex"),
        started(runtime / "0.169.0-abcdef12" / "codex-path" / "rg"),
        started(elsewhere, CODEX_HOME=str(codex_home)),
        started(elsewhere, CODEX_HOME=str(home.base / "link")),
    ]
    started(elsewhere, CODEX_HOME=str(home.base / "other"))
    started(elsewhere, CODEX_HOME=f"{codex_home}x")
    started(elsewhere)
    started(home.base / "usr" / "codex-mirror", CODEX_HOME=str(codex_home))
    started(home.base / "usr" / "vim", CODEX_HOME=str(codex_home))
    started(home.base / "runtime2" / "codex")
    assert cm.codex_pids_in(str(runtime), str(codex_home)) == sorted(process.pid for process in ours)
    assert cm.codex_pids_in(str(runtime), "") == sorted(process.pid for process in ours[:2])
    ours[0].kill()
    # A zombie runs no more.
    wait_until(lambda: ours[0].pid not in cm.codex_pids_in(str(runtime), ""), "it ended")


@linux
def test_a_codex_without_codex_home_uses_the_one_in_its_home(
    home: Home, started: Callable[..., subprocess.Popen[bytes]]
) -> None:
    process = started(home.base / "usr" / "codex", HOME=str(home.home))
    empty = started(home.base / "usr" / "codex", HOME=str(home.home), CODEX_HOME="")
    assert cm.codex_pids_in("/nowhere", str(home.home / ".codex")) == sorted([process.pid, empty.pid])
    assert cm.codex_pids_in("/nowhere", "") == []


@linux
def test_what_a_codex_names_is_seen_from_where_it_is(
    home: Home, started: Callable[..., subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """From its own directory, not from ours; and of a user whose HOME is unset from what the user database says."""
    elsewhere = home.base / "elsewhere"
    for directory in (elsewhere, home.home):
        (directory / ".codex").mkdir(parents=True)
    relative = started(home.base / "usr" / "codex", cwd=elsewhere, CODEX_HOME=".codex")
    started(home.base / "usr" / "codex", cwd=elsewhere)
    monkeypatch.chdir(home.home)
    assert cm.codex_pids_in("/nowhere", str(home.home / ".codex")) == []
    assert cm.codex_pids_in("/nowhere", str(elsewhere / ".codex")) == [relative.pid]
    uid = os.getuid()
    monkeypatch.setattr(pwd, "getpwuid", {uid: Mock(pw_dir="/home/ada")}.__getitem__)
    assert cm.codex_home_from(["A=b", "CODEX_HOME=", "HOME="], "/x", uid) == "/home/ada/.codex"
    assert cm.codex_home_from(["CODEX_HOME=../c"], "/x", uid) == "/x/../c"
    monkeypatch.setattr(pwd, "getpwuid", Mock(side_effect=KeyError))
    assert cm.codex_home_from([], "/x", uid) == ""


@linux
def test_a_codex_whose_runtime_was_discarded_is_still_seen(
    home: Home, started: Callable[..., subprocess.Popen[bytes]]
) -> None:
    process = started(home.base / "runtime" / "bin" / "codex")
    shutil.rmtree(home.base / "runtime")
    assert cm.codex_pids_in(str(home.base / "runtime"), "") == [process.pid]


@linux
def test_a_script_of_node_is_looked_for_where_node_was_started(
    home: Home, started: Callable[..., subprocess.Popen[bytes]]
) -> None:
    (home.base / "codex.js").touch()
    (home.base / "w").mkdir()
    (home.base / "w" / "1").symlink_to("../codex.js")
    process = started(home.base / "usr" / "node", "1", cwd=home.base / "w", CODEX_HOME="/c")
    assert cm.codex_pids_in("/nowhere", "/c") == [process.pid]


@linux
def test_a_codex_behind_a_script_of_node_is_seen(home: Home, started: Callable[..., subprocess.Popen[bytes]]) -> None:
    # `sleep` adds its words up, so the name of the script must be a number to it.
    started(home.base / "usr" / "node", "1", CODEX_HOME="/c")
    assert cm.codex_pids_in("/nowhere", "/c") == []
    assert not cm.is_codex_command([], "/") and not cm.is_codex_command([""], "/")


# What Node runs, whatever its own options are; and whether that is a Codex.
SCRIPTS: list[tuple[str, str, bool]] = [
    ("/usr/bin/node /x/../r/package/bin/codex.js exec", "/r/package/bin/codex.js", True),
    ("node --no-warnings --max-old-space-size=4096 /x/bin/codex", "/x/bin/codex", True),
    ("node --require /x/hook.js -r /y.js --import=z /x/codex.js", "/x/codex.js", True),
    ("bun /x/codex.js", "/x/codex.js", True),
    ("/usr/bin/node /x/server.js codex", "/x/server.js", False),
    ("/usr/bin/python3 /r/codex", "", False),
    ("node --version", "", False),
    ("node -r", "", False),
    ("node", "", False),
]


@pytest.mark.parametrize(("words", "script", "is_codex"), SCRIPTS, ids=[row[0] for row in SCRIPTS])
def test_the_script_of_node_is_what_follows_its_options(words: str, script: str, is_codex: bool) -> None:
    assert cm.node_script_in(words.split(" "), "/r") == script
    assert cm.is_codex_command(words.split(" "), "/r") == is_codex
    assert cm.node_script_in(["node", "../bin/codex.js"], "/r/package") == "/r/bin/codex.js"


@linux
def test_a_codex_of_javascript_is_known_by_where_its_script_lies(
    home: Home, started: Callable[..., subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    script = home.base / "runtime" / "package" / "bin" / "codex.js"
    script.parent.mkdir(parents=True)
    script.touch()
    node = started(home.base / "usr" / "node", "1")
    monkeypatch.setattr(
        cm, "node_script_in", lambda words, *_: str(script) if words[0] == str(home.base / "usr" / "node") else ""
    )
    assert cm.codex_pids_in(str(home.base / "runtime"), "") == [node.pid]


# --- as ps tells it ---

BASE = "/Users/ann/.codex-mirror/clones/work/.codex-mirror"
CODEX = f"{BASE}/runtime/0.169.0-abcdef12/bin/codex"
CODEX_HOME = f"CODEX_HOME={BASE}/home/.codex"
# What runs, the environment that `ps -E` shows behind it, and whether that is a Codex of the clone.
LISTED: list[tuple[str, str, str, bool]] = [
    ("its native binary", f"{CODEX} exec fix it", "HOME=/Users/ann TERM=xterm", True),
    ("without words or environment", CODEX, "", True),
    ("its helper", f"{BASE}/runtime/0.169.0-abcdef12/bin/codex-code-mode-host", "", True),
    ("its rg", f"{BASE}/runtime/0.169.0-abcdef12/codex-path/rg -n x", "", True),
    ("another clone's", CODEX.replace("/work/", "/play/"), "HOME=/Users/ann CODEX_HOME=/Users/ann/x", False),
    ("a clone of a longer name", CODEX.replace("/work/", "/work2/"), "HOME=/Users/ann", False),
    ("the global one in its home", "/opt/homebrew/bin/codex", f"HOME=/Users/ann {CODEX_HOME}", True),
    ("a global one in a directory with a blank", "/Volumes/My Disk/bin/codex exec", f"{CODEX_HOME} A=b", True),
    ("at the end of the line", "codex", f"TERM=xterm {CODEX_HOME}", True),
    ("followed by more", "codex", f"{CODEX_HOME} SHELL=/bin/zsh", True),
    ("with a slash at its end", "codex", f"{CODEX_HOME}/ SHELL=/bin/zsh", True),
    ("of a longer home", "codex", f"{CODEX_HOME}2 SHELL=/bin/zsh", False),
    ("of a home with a blank", "codex", f"{CODEX_HOME} 2 SHELL=/bin/zsh", False),
    ("of the home of HOME", "codex", f"A=b HOME={BASE}/home C=d", True),
    ("of the home of HOME, CODEX_HOME being empty", "codex", f"CODEX_HOME= HOME={BASE}/home C=d", True),
    ("of another home than that of HOME", "codex", f"CODEX_HOME=/x HOME={BASE}/home C=d", False),
    ("of the user's home", "codex exec", "HOME=/Users/ann C=d", False),
    ("with an environment that is hidden", "codex exec", "", True),
    ("with the variable in its words", f"codex exec say {CODEX_HOME} A=b", "HOME=/Users/ann", False),
    ("node with codex.js", "node /x/bin/codex.js", f"HOME=/Users/ann {CODEX_HOME}", True),
    ("node with an option", "/usr/local/bin/node --no-warnings -r /y.js /x/bin/codex.js exec", CODEX_HOME, True),
    ("node with blanks", "/Users/ann/My Tools/node --x /Volumes/My Disk/codex.js exec", CODEX_HOME, True),
    ("node with the clone's own codex.js", f"node --x {BASE}/runtime/package/bin/codex.js exec", "", True),
    ("node with another clone's", f"node {BASE.replace('/work/', '/play/')}/runtime/codex.js", "HOME=/Users/a", False),
    ("node with something else", "node server.js codex", CODEX_HOME, False),
    ("a shell in the clone", "-zsh -c codex", CODEX_HOME, False),
    ("an editor on its file", f"vim {CODEX}", CODEX_HOME, False),
    ("a system's program on its file", f"/usr/bin/env {CODEX}", CODEX_HOME, False),
    ("the tool itself", "codex-mirror run work", CODEX_HOME, False),
    ("its variable in a word", f"grep {CODEX_HOME}", "", False),
    ("one that is just ending", "(codex)", "", False),
]


@linux
def test_the_codex_of_a_clone_is_found_at_the_end_of_a_listing_of_300_kb(
    home: Home, mac: Mac, monkeypatch: pytest.MonkeyPatch
) -> None:
    mac.list(*((9000 + number, *row[1:3]) for number, row in enumerate(LISTED)), size=300_000)
    mac.become(monkeypatch)
    assert len(cm.system_output("ps", "-xww", "-A", "-o", "pid=,command=")) > 300_000
    found = [LISTED[pid - 9000][0] for pid in cm.codex_pids_in(BASE, f"{BASE}/home/.codex")]
    assert found == [row[0] for row in LISTED if row[3]]
    assert cm.codex_pids_in("/nowhere", "") == []


# Directories whose names stand otherwise in a listing, or are written in two ways.
ODD = ["/Volumes/My Disk/c A=b", "/Users/José/ÅÄ", "/Users/M-CM-)/x", "/Users/日本/^x", "/Users/tab\there\nline"]


@linux
@pytest.mark.parametrize("base", ODD)
def test_a_directory_is_known_however_ps_prints_its_name(
    home: Home, mac: Mac, monkeypatch: pytest.MonkeyPatch, base: str
) -> None:
    mac.list(
        (7, f"{base}/codex/bin/codex exec", "HOME=/h"),
        (8, "codex", f"HOME=/h CODEX_HOME={base}/codex/home/.codex TERM=x"),
        (9, "codex", f"HOME=/h CODEX_HOME={base}2/codex/home/.codex TERM=x"),
    )
    mac.become(monkeypatch)
    assert cm.codex_pids_in(f"{base}/codex", f"{base}/codex/home/.codex") == [7, 8]


def test_each_byte_is_printed_as_vis_prints_it() -> None:
    # Recorded by others on macOS 26 in the C locale.
    assert cm.text_in_ps("a \\b/é\t\n\x01\x7f") == "a \\b/M-CM-)\\011\\012^A^?"
    assert cm.text_in_ps(os.fsdecode(b"\x80\x9f\xa0\xa1\xff")) == "M^@M^_\\240M-!M^?"


@linux
def test_programs_behind_a_link_and_homes_of_another_spelling_are_found(
    home: Home, mac: Mac, started: Callable[..., subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    real, link = home.base / "disk" / "é m", home.base / "link"
    (real / "codex-home").mkdir(parents=True)
    link.symlink_to(real)
    (home.base / "link2").symlink_to(real)
    ours = [
        started(real / "codex-runtime" / "bin" / "codex"),
        started(link / "codex-runtime" / "bin" / "codex"),
        started(home.base / "link2" / "codex-runtime" / "bin" / "rg"),
        started(home.base / "My Tools" / "codex", CODEX_HOME=str(link / "codex-home")),
        started(home.base / "My Tools" / "codex", A="b c=", HOME="/x y", CODEX_HOME=str(real / "codex-home")),
        started(home.base / "usr" / "codex", CODEX_HOME=f"{home.base}/link2/codex-home"),
    ]
    others = [
        started(home.base / "usr" / "codex", CODEX_HOME=str(real / "other")),
        started(home.base / "usr" / "vim", CODEX_HOME=str(real / "codex-home")),
    ]
    mac.become(monkeypatch)
    for spelling in (real, link):
        found = cm.codex_pids_in(str(spelling / "codex-runtime"), str(spelling / "codex-home"))
        assert found == sorted(process.pid for process in ours)
    monkeypatch.undo()
    assert not {process.pid for process in others} & {*cm.codex_pids_in(str(link), str(link / "codex-home"))}


BROKEN_PS: list[tuple[str, str, str]] = [
    ("fails", "exit 1", "it ended with 1"),
    ("may not be started", "echo 'ps: Operation not permitted' >&2; exit 126", "Operation not permitted"),
    ("is killed", "kill -9 $$", "it ended with -9"),
    ("says nothing", "exit 0", "ps doesn't even list this one"),
    ("says something else", "echo usage: ps; echo '1 codex'", "ps doesn't even list this one"),
    ("is cut off", "echo '    1 /sbin/launchd'; echo '  501 /usr/libexec/x'", "ps doesn't even list this one"),
    ("isn't there", "", "No such file or directory"),
]
# What would pull a home from under a running Codex; the rest is told, and done.
CHANGES = [
    ("remove", "work", "--yes"),
    ("logout", "work", "--local", "--yes"),
    ("import", "H", "--name", "new", "--move-login"),
]


@linux
@pytest.mark.parametrize(("kind", "script", "says"), BROKEN_PS, ids=[row[0] for row in BROKEN_PS])
def test_where_nobody_can_tell_what_is_running_nothing_is_pulled_away(
    home: Home, codex: Path, mac: Mac, monkeypatch: pytest.MonkeyPatch, kind: str, script: str, says: str
) -> None:
    make_clone(home, "work")
    login_in(home.clone_home("work") / ".codex")
    theirs = login_in(home.home / ".codex")
    if script:
        mac.tool("ps", script)
    else:
        (mac.tools / "ps").unlink()
        monkeypatch.setattr(cm, "SYSTEM_PATH", str(mac.tools))
    before = at_rest(home)
    for words in CHANGES:
        told = mac(*(str(theirs) if word == "H" else word for word in words))
        assert told.code == 6 and says in told.err and "can't tell which programs are running" in told.err, words
        assert changes(before, at_rest(home)) == {}, words
    assert "with --force" in mac("remove", "work", "--yes").err
    assert mac("list").code == 0 and "not asked" in mac("usage", "work", "--fresh").err + mac("usage", "work").out
    told = mac("remove", "work", "--yes", "--force")
    assert told.code == 0 and not home.clone_home("work").exists()


@linux
def test_an_update_where_nobody_can_tell_keeps_the_runtime_of_before_and_says_so(
    home: Home, codex: Path, mac: Mac
) -> None:
    for version in ("0.169.0", "0.170.0", "0.171.0"):
        npm_install(home.base / "npm", fake_codex(home.base / f"p{version}", version))
        if version == "0.169.0":
            make_clone(home, "work")
            mac.tool("ps", "exit 1")
        else:
            told = mac("update", "work")
            assert told.code == 0 and "a Codex that is running in it stays on" in told.out + told.err
    assert len(list((home.clone_home("work").parent / "runtime").iterdir())) == 3
    assert clone_in(home, "work").runtime.version == "0.171.0"


@linux
@pytest.mark.parametrize("how", ["its program", "its home"])
def test_what_would_pull_a_home_from_under_a_running_codex_is_refused_on_a_mac(
    home: Home, codex: Path, mac: Mac, started: Callable[..., subprocess.Popen[bytes]], how: str
) -> None:
    real = home.base / "disk" / "m"
    real.parent.mkdir()
    home.mirror.symlink_to(real)
    real.mkdir(mode=0o700)
    clone = make_clone(home, "work")
    login_in(Path(cm.codex_home_of(clone)))
    theirs = login_in(home.home / ".codex")
    pids = []
    if how == "its program":
        pids += [started(real / "clones/work/.codex-mirror/runtime/old/bin/codex", HOME="/x").pid]
        pids += [started(theirs / "packages" / "codex").pid]
    else:
        pids += [started(home.base / "My Tools" / "codex", CODEX_HOME=cm.codex_home_of(clone)).pid]
        pids += [started(home.base / "My Tools" / "codex", HOME=str(home.home)).pid]
    mac.list(size=300_000)
    before = at_rest(home)
    for words in CHANGES:
        told = mac(*(str(theirs) if word == "H" else word for word in words))
        assert told.code == 6 and f"pid {pids[words[0] == 'import']}" in told.err, words
        assert changes(before, at_rest(home)) == {}, words


@linux
def test_who_has_a_file_open_is_told_by_lsof_and_by_nobody_where_that_fails(
    home: Home, mac: Mac, monkeypatch: pytest.MonkeyPatch
) -> None:
    mac.become(monkeypatch)
    mac.tool("lsof", f"[ \"$*\" = '-t -- /a b' ] && echo 7 && echo {os.getpid()} && echo 5")
    assert cm.pids_with_open("/a b") == [5, 7]
    mac.tool("lsof", "exit 1")  # As it ends where nobody has.
    assert cm.pids_with_open("/a b") == []
    mac.tool("lsof", "exit 2")
    with pytest.raises(cm.UnseenProcessesError, match="lsof"):
        cm.pids_with_open("/a b")


def login_in(codex_home: Path) -> Path:
    """A Codex home with a login; the same path."""
    codex_home.mkdir(mode=0o700, exist_ok=True)
    (codex_home / "config.toml").touch()
    (codex_home / "auth.json").write_text(json.dumps({"OPENAI_API_KEY": API_KEYS[0]}))
    return codex_home


@linux
def test_a_codex_that_ps_doesn_t_show_is_known_by_its_lock(home: Home, codex: Path, mac: Mac) -> None:
    make_clone(home, "work")
    with locked(home.clone_home("work") / ".codex/tmp/arg0-macos/codex-arg0x/.lock"):
        told = mac("remove", "work", "--yes")
        assert told.code == 6 and "running in 'work' (which ps doesn't show)" in told.err
    assert mac("remove", "work", "--yes").code == 0


# --- a Codex that can't be seen ---

LOCKS: list[tuple[str, str, bool]] = [
    ("0.171", "tmp/arg0-linux/codex-arg0i6PBOk/.lock", True),
    ("an older one", "tmp/arg0/codex-arg0abc/.lock", True),
    ("another file", "tmp/arg0-linux/codex-arg0i6PBOk/apply_patch", False),
    ("another directory", "tmp/other/codex-arg0abc/.lock", False),
    ("our own lock", "lock", False),
]


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs /proc: without it every process can be seen")
@pytest.mark.parametrize(("kind", "tail", "counts"), LOCKS, ids=[row[0] for row in LOCKS])
def test_a_codex_in_another_container_is_known_by_its_lock(tmp_path: Path, kind: str, tail: str, counts: bool) -> None:
    with locked(tmp_path / tail):
        assert cm.is_codex_elsewhere(str(tmp_path), []) == counts
        assert cm.is_codex_elsewhere(str(tmp_path), [os.getpid() + 1, 1 << 30]) == counts
        assert not cm.is_codex_elsewhere(str(tmp_path), [os.getpid()])  # This one holds it, and can be seen.
    assert not cm.is_codex_elsewhere(str(tmp_path), [])


def test_one_that_can_be_seen_hides_none_that_can_t(tmp_path: Path) -> None:
    hold = "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.flock(f, 2); print(flush=True); sys.stdin.read()"
    ours, theirs = (tmp_path / "tmp" / "arg0" / name / ".lock" for name in ("codex-arg0a", "codex-arg0b"))
    theirs.parent.mkdir(parents=True)
    with locked(ours):
        child = start([sys.executable, "-c", hold, theirs], env=os.environ, stdin=subprocess.PIPE)
        assert child.stdout and child.stdout.readline() == b"\n"
        assert cm.is_codex_elsewhere(str(tmp_path), [os.getpid()])
        assert not cm.is_codex_elsewhere(str(tmp_path), [os.getpid(), child.pid])
        finish(child, stdin=b"")


REFUSED_WHILE_USED: list[tuple[tuple[str, ...], str]] = [
    (("remove", "work", "--yes"), "running in 'work' (in another container)"),
    (("logout", "work", "--local", "--yes"), "running in 'work' (in another container)"),
    (("import", "H", "--name", "new", "--move-login"), "(in another container)"),
]


@pytest.mark.parametrize(("words", "says"), REFUSED_WHILE_USED, ids=[row[0][0] for row in REFUSED_WHILE_USED])
def test_what_would_pull_a_home_from_under_a_codex_in_another_container_is_refused(
    home: Home, codex: Path, words: tuple[str, ...], says: str
) -> None:
    make_clone(home, "work")
    codex_home = home.clone_home("work") / ".codex"
    if words[0] == "import":
        codex_home = home.home / ".codex"
        codex_home.mkdir(mode=0o700)
        (codex_home / "config.toml").write_text("")
    (codex_home / "auth.json").write_text(json.dumps({"OPENAI_API_KEY": API_KEYS[0]}))
    before = at_rest(home)
    with locked(codex_home / "tmp/arg0-linux/codex-arg0x/.lock"):
        told = ask(home, *(str(codex_home) if word == "H" else word for word in words))
        assert told.code == 6 and says in told.err
        assert changes(before, at_rest(home)) == {}
    assert ask(home, *(str(codex_home) if word == "H" else word for word in words)).code == 0


def test_an_update_keeps_the_runtimes_of_a_codex_in_another_container_and_says_so(home: Home, codex: Path) -> None:
    clone = make_clone(home, "work")
    for version in ("0.170.0", "0.171.0"):
        npm_install(home.base / "npm", fake_codex(home.base / f"p{version}", version))
        with locked(home.clone_home("work") / ".codex/tmp/arg0-linux/codex-arg0x/.lock"):
            told = ask(home, "update", "work")
        assert told.code == 0 and "the running Codex (in another container) stays on" in told.err
        assert Path(clone.runtime.entry).is_file()
    assert ask(home, "doctor", "--fix").code == 0 and not Path(clone.runtime.path).exists()
