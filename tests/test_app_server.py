"""App server: what is left, asked of each clone's own Codex, which is never ended while a login could be lost."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from rollouts import NOW, A, B, Shape, an_id, write

from helpers import API_KEYS, Home, chatgpt_login, wait_until
from rooms import ask, at_rest, cm, make_clone

SOON = int(time.time()) + 86400


def answer(used: int = 37, **more: Any) -> str:
    """What the app server of Codex 0.171 says to our three lines, with a notice in between."""
    window = {"usedPercent": used, "windowDurationMins": 300, "resetsAt": SOON}
    week = {"usedPercent": used // 2, "windowDurationMins": 10080, "resetsAt": SOON + 9}
    limits = {"limitId": "codex", "primary": week, "secondary": window, "credits": None, "planType": "plus", **more}
    lines = [
        {"id": 1, "result": {"userAgent": "codex"}},
        {"method": "account/updated", "params": {"id": 2}},
        {"id": 2, "result": {"rateLimits": limits, "rateLimitsByLimitId": {"codex": limits, "other": None}}},
    ]
    return "\n".join(map(json.dumps, lines))


def says(text: str, then: str = "cat >/dev/null") -> str:
    """An app server that reads its three lines, says this and goes on until its stdin is closed."""
    return f"""read -r one; read -r two; read -r three
cat <<'END'
{text}
END
{then}
"""


def fails(message: str) -> str:
    return says(json.dumps({"id": 2, "error": {"code": -32603, "message": message}}))


@pytest.fixture
def clones(home: Home, codex: Path) -> dict[str, Path]:
    """The Codex homes of two clones, each logged in for a day to come, each with an app server that answers."""
    del home.env["CODEX_MIRROR_OFFLINE"]
    homes = {name: home.clone_home(name) / ".codex" for name in ("work", "personal")}
    for (name, codex_home), account in zip(homes.items(), (A, B), strict=True):
        make_clone(home, name)
        (codex_home / "auth.json").write_text(login(account))
        (codex_home / "app-server").write_text(says(answer()))
    return homes


def login(account: tuple[str, str] = A, expires: float = 86400) -> str:
    return chatgpt_login(*account, at=time.time() - 60, expires=time.time() + expires)


def test_fresh_figures_are_the_servers_and_of_now(home: Home, clones: dict[str, Path]) -> None:
    write(clones["work"], an_id(), [Shape().meta(an_id(), creator=A), Shape().limits(99.0)], at=NOW)
    before = at_rest(home)
    rows = ask(home, "usage", "--fresh", "--json").json()
    assert at_rest(home) == before
    for row in rows:
        assert (row["fresh"], row["error"], row["why"], row["left"], row["plan"]) == (True, None, None, 63.0, "plus")
        assert [(one["name"], one["used"]) for one in row["windows"]] == [("5 h", 37.0), ("week", 18.0)]
        assert abs(cm.timestamp_from(row["asOf"]) - time.time()) < 60
    assert [row["account"]["workspace"] for row in rows] == ["acc-A", "acc-B"]
    shown = [line.split("\t") for line in ask(home, "usage", "--fresh").out.splitlines()]
    assert [(row[0], row[1], row[-2]) for row in shown] == [("work", "63 %", "now"), ("personal", "63 %", "now")]
    assert ask(home, "usage", "--json").json()[0]["fresh"] is False


def test_a_clones_own_codex_is_asked_in_its_environment(home: Home, clones: dict[str, Path]) -> None:
    note = home.base / "note"
    script = f"env >{note}; pwd >>{note}; tee -a {note} | {{ {says(answer())}\n}}"
    (clones["work"] / "app-server").write_text(script)
    env = {"CODEX_ACCESS_TOKEN": "x", "OPENAI_ORGANIZATION": "x", "HTTPS_PROXY": "http://127.0.0.1:9"}
    assert ask(home, "usage", "work", "--fresh", env=env).code == 0
    heard = note.read_text()
    assert f"CODEX_HOME={clones['work']}\n" in heard and f"HOME={home.clone_home('work')}\n" in heard
    assert "HTTPS_PROXY=" in heard and not re.search("^(CODEX_ACCESS_TOKEN|OPENAI_ORGANIZATION)=", heard, re.MULTILINE)
    *_, place, one, two, three = heard.splitlines()
    assert place == "/" and [json.loads(line).get("id") for line in (one, two, three)] == [1, None, 2]


def test_clones_are_asked_side_by_side(home: Home, clones: dict[str, Path]) -> None:
    """Each answers only when the other one has been asked, too."""
    for name, other in (("work", "personal"), ("personal", "work")):
        wait = f"touch {home.base}/{name}; while [ ! -e {home.base}/{other} ]; do sleep 0.02; done\n"
        (clones[name] / "app-server").write_text(wait + says(answer()))
    ended = ask(home, "usage", "--fresh", "--timeout", "60", "--json")
    assert (ended.code, [row["fresh"] for row in ended.json()]) == (0, [True, True])


def test_nobody_is_asked_who_cant_answer_or_must_not(home: Home, clones: dict[str, Path]) -> None:
    """The figures of the session files are shown then, and why; that is no failure."""
    write(clones["work"], an_id(), [Shape().meta(an_id(), creator=A), Shape().limits(42.0, primary=None)], at=NOW)
    note = home.base / "asked"
    (clones["work"] / "app-server").write_text(f"touch {note}\n" + says(answer()))
    key = json.dumps({"auth_mode": "apikey", "OPENAI_API_KEY": API_KEYS[0]})
    cases: list[tuple[str | None, dict[str, str], str]] = [
        (None, {}, "not asked: not logged in"),
        (key, {}, "not asked: an API key has no such limits"),
        ("{", {}, "not asked: its login can't be read"),
        (login(), {"CODEX_MIRROR_OFFLINE": "1"}, "not asked: CODEX_MIRROR_OFFLINE is set"),
    ]
    for content, env, why in cases:
        (clones["work"] / "auth.json").unlink(missing_ok=True)
        if content:
            (clones["work"] / "auth.json").write_text(content)
        ended = ask(home, "usage", "work", "--fresh", env=env)
        assert (ended.code, f"work: {why}" in ended.err, note.exists()) == (0, True, False), ended


def test_a_codex_or_a_login_that_runs_there_is_left_alone(home: Home, clones: dict[str, Path]) -> None:
    note = home.base / "asked"
    (clones["work"] / "app-server").write_text(f"touch {note}\n" + says(answer()))
    running = {**home.env, "CODEX_HOME": str(clones["work"])}
    # Not /bin/sleep under another name: macOS hides the environment of Apple's own programs.
    pretended = home.base / "codex"
    pretended.symlink_to(os.path.realpath(sys.executable))
    with subprocess.Popen([pretended, "-I", "-S", "-c", "import time; time.sleep(300)"], env=running) as process:
        ended = ask(home, "usage", "--fresh")
        process.kill()
    assert f"work: not asked: its Codex is running (pid {process.pid})" in ended.err and not note.exists()
    assert ended.out.splitlines()[1].startswith("personal\t63 %") and ended.code == 0


FAILURES: list[tuple[str, str, str]] = [
    (
        "401",
        fails("failed to fetch codex rate limits: 401 Unauthorized; content-type=x; body=secret\n"),
        "401 Unauthorized",
    ),
    ("offline", fails("failed to fetch codex rate limits: error sending request"), "error sending request"),
    ("nothing said", "exit 0", "its Codex exited with code 0"),
    (
        "a crash",
        "echo 'WARNING: x' >&2; echo 'thread main panicked' >&2; exit 101",
        "exited with code 101: thread main panicked",
    ),
    ("noise", "head -c 300000 /dev/zero; echo; echo '[1]'; echo '{\"id\": 2'; exit 3", "its Codex exited with code 3"),
    ("a strange answer", says('{"id": 2, "error": {"message": 7}}'), "its Codex exited with code 0"),
    ("an escape", fails("\x1b[2J\nred"), r"red"),
]


@pytest.mark.parametrize(("kind", "script", "said"), FAILURES, ids=[row[0] for row in FAILURES])
def test_an_error_is_one_line_and_the_exit_code_1(
    home: Home, clones: dict[str, Path], kind: str, script: str, said: str
) -> None:
    (clones["personal"] / "app-server").write_text(script)
    ended = ask(home, "usage", "--fresh", "--json")
    rows = {row["name"]: row for row in ended.json()}
    assert (ended.code, rows["work"]["fresh"], rows["personal"]["fresh"]) == (1, True, False)
    assert rows["work"]["error"] is None and said in rows["personal"]["error"] and "secret" not in ended.out
    [line] = [line for line in ended.err.splitlines() if line.startswith("personal:")]
    assert said in line


def test_an_answer_without_limits_stays_unknown(home: Home, clones: dict[str, Path]) -> None:
    write(clones["work"], an_id(), [Shape().meta(an_id(), creator=A), Shape().limits(42.0)], at=NOW)
    (clones["work"] / "app-server").write_text(says(answer(primary=None, secondary=None)))
    ended = ask(home, "usage", "work", "--fresh", "--json")
    [row] = ended.json()
    assert (ended.code, row["left"], row["why"], row["fresh"]) == (0, None, "the server named no limits", True)
    reached = {"rateLimitReachedType": "workspace_member_credits_depleted", "primary": None, "secondary": None}
    (clones["work"] / "app-server").write_text(says(answer(**reached)))
    assert "work: credits used up" in ask(home, "usage", "work", "--fresh").err


HANGS = """echo $$ >"$CODEX_HOME/pid"
cat >/dev/null
touch "$CODEX_HOME/closed"
while [ ! -e "$CODEX_HOME/go" ]; do sleep 0.02; done
echo still here && echo here too >&2 && touch "$CODEX_HOME/finished"
"""


@pytest.mark.parametrize(
    ("kind", "expires", "killed"),
    [("a token for a day", 86400, True), ("one for four minutes", 240, False), ("an expired one", -60, False)],
)
def test_past_the_limit_it_is_killed_only_where_no_refresh_can_be_due(
    home: Home, clones: dict[str, Path], kind: str, expires: float, killed: bool
) -> None:
    """A refresh token works once: who cuts off a refresh may lose the login."""
    (clones["work"] / "auth.json").write_text(login(expires=expires))
    (clones["work"] / "app-server").write_text(HANGS)
    ended = ask(home, "usage", "work", "--fresh", "--timeout", "0.5")
    assert ended.code == 1 and "work: no answer within 0.5 s" in ended.err
    pid = int((clones["work"] / "pid").read_text())
    if killed:
        wait_until(lambda: not cm.is_alive(pid), "it was killed")
        return
    wait_until((clones["work"] / "closed").exists, "its stdin is closed")
    assert cm.is_alive(pid)
    (clones["work"] / "go").touch()
    wait_until((clones["work"] / "finished").exists, "it could say what it had to say, and end by itself")


def test_a_token_that_was_not_renewed_for_long_is_not_trusted(home: Home, clones: dict[str, Path]) -> None:
    """Codex renews one after eight days, whatever it says of itself."""
    clone = cm.clone_named(cm.read_registry(cm.places_from(home.env)), "work")
    assert cm.may_be_killed(clone)
    old = chatgpt_login(*A, at=time.time() - 8 * 86400, expires=time.time() + 86400)
    for content in (old, "{}", "", '{"tokens": {"access_token": "opaque"}}'):
        (clones["work"] / "auth.json").write_text(content)
        assert not cm.may_be_killed(clone)


def test_best_prints_one_name_and_nothing_else(home: Home, clones: dict[str, Path]) -> None:
    ended = ask(home, "usage", "--best")
    assert (ended.code, ended.out) == (1, "") and "usage --best --fresh" in ended.err
    assert ask(home, "usage", "--best", "--fresh").out == "work\n"  # As much is left in both.
    (clones["work"] / "app-server").write_text(says(answer(used=80)))
    ended = ask(home, "usage", "--best", "--fresh")
    assert (ended.code, ended.out, ended.err) == (0, "personal\n", "")
    (clones["personal"] / "app-server").write_text(fails("offline"))
    ended = ask(home, "usage", "--best", "--fresh")
    assert (ended.code, ended.out) == (1, "work\n") and "personal: offline" in ended.err
    assert ask(home, "usage", "work", "--best", "--fresh").code == 0, "only who was asked counts"
    (clones["work"] / "auth.json").write_text(json.dumps({"auth_mode": "apikey", "OPENAI_API_KEY": API_KEYS[0]}))
    assert ask(home, "usage", "--best", "--fresh").code == 1
    write(clones["personal"], an_id(), [Shape().meta(an_id(), creator=B), Shape().limits(42.0)], at=NOW)
    assert (ask(home, "usage", "--best").out, ask(home, "usage", "--best", "--json").json()) == (
        "personal\n",
        {"name": "personal"},
    )


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "1e9", "soon"])
def test_a_limit_that_is_none_is_refused(home: Home, clones: dict[str, Path], seconds: str) -> None:
    assert ask(home, "usage", "--fresh", "--timeout", seconds).code == 2
