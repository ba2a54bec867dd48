"""A session goes on as another account, with the real Codex and a model that refuses what was encrypted for others."""

from __future__ import annotations

import base64
import json
import shutil
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mock_model import MockModel, encrypted_in, items_of, message, mock_model

from helpers import API_KEYS, Result, chatgpt_login, wait_until
from real.kit import House, a_house, answer_until, on_screen, quit_codex
from rooms import cm

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks for processes through /proc"),
]

ACCOUNTS = {"work": ("acc-A", "user-A"), "personal": ("acc-B", "user-B")}
PLAIN = ("-c", "features.enable_request_compression=false", "--skip-git-repo-check")
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


class Accounts:
    """Two clones, each of an account of its own, and the servers of both."""

    def __init__(self, house: House, model: MockModel) -> None:
        self.house, self.model = house, model
        del house.home.env["CODEX_MIRROR_OFFLINE"]
        self.place = house.home.base / "project"
        self.place.mkdir()
        for name in ACCOUNTS:
            house.create(name)
            config = house.codex_home(name) / "config.toml"
            config.write_text(model.account_config + config.read_text())

    def ready(self) -> None:
        """Everybody logged in, no session anywhere, and a model that encrypts for whoever asks."""
        for name, account in ACCOUNTS.items():
            shutil.rmtree(self.house.codex_home(name) / "sessions", ignore_errors=True)
            now = time.time()
            login = chatgpt_login(*account, at=now, expires=now + 86400)
            (self.house.codex_home(name) / "auth.json").write_text(login)
        self.model.organization, self.model.encrypt, self.model.tokens = "{account}:", "{account}:secret", 2
        self.model.answers.clear()
        self.model.requests.clear()

    def says(self, name: str, *words: str, code: int = 0) -> Result:
        """One turn in a clone; the words of the conversation that the model was sent."""
        ended = self.house.codex(name, "exec", *PLAIN, *words, cwd=self.place)
        assert ended.code == code, ended
        return ended

    def hand_over(self, session: str, name: str) -> str:
        return self.house.mirror("handover", session, name, check=True).err

    def session(self) -> str:
        """The id of the newest session."""
        [*_, newest] = self.house.mirror("sessions", "--limit", "1", "--json", check=True).json()
        assert isinstance(newest["id"], str)
        return newest["id"]

    def files(self, name: str) -> list[Path]:
        return sorted((self.house.codex_home(name) / "sessions").rglob("*.jsonl"))

    def sent(self) -> str:
        """What the model was sent last."""
        return json.dumps(items_of(self.model.requests[-1]))


@pytest.fixture(scope="module")
def everybody() -> Iterator[Accounts]:
    with a_house() as house, mock_model() as model:
        yield Accounts(house, model)


@pytest.fixture
def accounts(everybody: Accounts) -> Accounts:
    everybody.ready()
    return everybody


def test_a_session_goes_to_another_account_and_back_and_again(accounts: Accounts) -> None:
    image = accounts.place / "dot.png"
    image.write_bytes(base64.b64decode(PIXEL))
    accounts.says("work", "word one", "-i", str(image))
    session = accounts.session()
    assert "left out, since only the account that made it can read it: 1 reasoning" in accounts.hand_over(
        session, "personal"
    )
    accounts.says("personal", "resume", session, "word two")
    assert "data:image/png" in accounts.sent() and encrypted_in(items_of(accounts.model.requests[-1])) == []
    accounts.says("personal", "resume", "--last", "word three")
    assert len(accounts.files("personal")) == 1
    accounts.hand_over(session, "work")
    accounts.says("work", "resume", "--last", "word four")
    assert set(encrypted_in(items_of(accounts.model.requests[-1]))) == {"acc-A:secret"}
    accounts.hand_over(session, "personal")
    accounts.says("personal", "resume", session, "word five")
    assert set(encrypted_in(items_of(accounts.model.requests[-1]))) == {"acc-B:secret"}
    words = [f"word {number}" for number in ("one", "two", "three", "four", "five")]
    assert [word for word in words if word not in accounts.sent()] == []
    assert [len(accounts.files(name)) for name in ACCOUNTS] == [1, 1]


def test_without_a_handover_the_server_refuses(accounts: Accounts) -> None:
    """What the model of these tests is worth: a file that is just copied fails."""
    accounts.says("work", "word one")
    [path] = accounts.files("work")
    target = accounts.house.codex_home("personal") / path.relative_to(accounts.house.codex_home("work"))
    target.parent.mkdir(parents=True)
    shutil.copy(path, target)
    accounts.says("personal", "resume", accounts.session(), "word two", code=1)


@pytest.mark.parametrize("encrypted", [True, False])
def test_compactions_of_both_kinds_are_carried_rightly(accounts: Accounts, encrypted: bool) -> None:
    """An encrypted one is left out, and the history before it is sent; one in plain text is used by everybody."""
    options = () if encrypted else tuple(accounts.model.options)
    accounts.model.organization = "{account}:" if encrypted else ""
    accounts.model.tokens = 1000
    accounts.says("work", *options, "word one")
    accounts.model.answers = [] if encrypted else [[message("in short: a word")]]
    accounts.says("work", *options, "-c", "model_auto_compact_token_limit=500", "resume", "--last", "word two")
    [path] = accounts.files("work")
    assert path.read_text().count('"type":"compacted"') == 1
    accounts.model.tokens = 2
    said = accounts.hand_over(accounts.session(), "personal")
    assert ("1 compacted" in said) is encrypted
    accounts.says("personal", *options, "resume", accounts.session(), "word three")
    assert ("in short: a word" in accounts.sent()) is not encrypted
    assert all(word in accounts.sent() for word in ("word one", "word two", "word three"))


def test_sub_agents_threads_are_not_carried_and_the_session_goes_on(accounts: Accounts) -> None:
    arguments = json.dumps({"message": "a word for the child", "agent_type": "default"})
    call: dict[str, Any] = {"type": "function_call", "id": "c1", "call_id": "k1", "arguments": arguments}
    accounts.model.answers = [[{**call, "name": "spawn_agent", "namespace": "multi_agent_v1"}]]
    accounts.says("work", "word one")
    wait_until(lambda: len(accounts.files("work")) == 2, "the child's thread was written")
    listed = accounts.house.mirror("sessions", "--json", check=True).json()
    assert [one["prompt"] for one in listed] == ["word one"]
    assert "1 thread of its sub-agents stayed in 'work'" in accounts.hand_over(listed[0]["id"], "personal")
    accounts.says("personal", "resume", listed[0]["id"], "word two")
    assert "word one" in accounts.sent() and len(accounts.files("personal")) == 1


def test_a_fork_is_a_session_of_its_own(accounts: Accounts) -> None:
    accounts.says("work", "word one")
    done = accounts.house.mirror("handover", accounts.session(), "personal", "--fork", "--json", check=True).json()
    accounts.says("personal", "resume", done["id"], "word two")
    assert "word one" in accounts.sent() and accounts.files("personal") == [Path(done["path"])]


def test_resume_opens_it_as_the_other_account_and_it_is_known_to_be_open(accounts: Accounts) -> None:
    """With an API key: for a ChatGPT login its screen wants to know a server that speaks HTTPS."""
    accounts.says("work", "word one")
    key = json.dumps({"auth_mode": "apikey", "OPENAI_API_KEY": API_KEYS[1]})
    (accounts.house.codex_home("personal") / "auth.json").write_text(key)
    accounts.model.organization = ""
    session = accounts.session()
    command = f"codex-mirror resume {session[:18]} --in personal"
    with on_screen(accounts.house.home, command, accounts.house.home.home) as screen:
        answer_until(screen, "word one")
        [path] = accounts.files("personal")
        assert cm.pids_with_open(str(path))
        accounts.says("work", "resume", session, "word two")
        refused = accounts.house.mirror("handover", session, "personal")
        assert refused.code == 6 and "is open in 'personal'" in refused.err
        quit_codex(screen)
    accounts.hand_over(session, "personal")
    accounts.says("personal", "resume", session, "word three")
    assert all(word in accounts.sent() for word in ("word one", "word two", "word three"))


# --- what is left, asked now ---


def refreshing(accounts: Accounts) -> dict[str, str]:
    """The variable that sends refreshes to the stand-in, which `work` may see."""
    accounts.house.mirror("set", "work", "--keep-env", "CODEX_REFRESH_TOKEN_URL_OVERRIDE", check=True)
    return {**accounts.house.home.env, "CODEX_REFRESH_TOKEN_URL_OVERRIDE": f"{accounts.model.root}/oauth/token"}


def test_an_expired_token_is_refreshed_once_and_written_once(accounts: Accounts) -> None:
    now = time.time()
    path = accounts.house.codex_home("work") / "auth.json"
    path.write_text(chatgpt_login(*ACCOUNTS["work"], at=now - 9 * 86400, expires=now - 60))
    new = json.loads(chatgpt_login(*ACCOUNTS["work"], expires=now + 86400, refresh="the-second"))["tokens"]
    accounts.model.refreshed = {key: new[key] for key in ("id_token", "access_token", "refresh_token")}
    accounts.model.asked.clear()
    env = refreshing(accounts)
    rows = accounts.house.mirror("usage", "--fresh", "--json", env=env, check=True).json()
    assert [(row["fresh"], row["left"]) for row in rows] == [(True, 63.0), (True, 63.0)]
    assert json.loads(path.read_text())["tokens"]["refresh_token"] == "the-second"
    stamp = path.stat()
    assert accounts.house.mirror("usage", "work", "--fresh", env=env).code == 0
    assert [path for path, _ in accounts.model.asked].count("/oauth/token") == 1
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == (stamp.st_mtime_ns, stamp.st_ino)


def test_a_session_goes_on_after_its_home_got_another_name_and_again_after_it_got_it_back(accounts: Accounts) -> None:
    accounts.says("work", "word one")
    session, here = accounts.session(), accounts.house.home.mirror
    for now, before in ((here.with_name("m2"), here), (here, here.with_name("m2"))):
        before.rename(now)
        moved = accounts.house.mirror("move-home", "--json", env={"CODEX_MIRROR_HOME": str(now)}, check=True).json()
        assert [row["name"] for row in moved["moved"]] == [*ACCOUNTS]
        accounts.says("work", "resume", session, f"word by id in {now.name}")
        accounts.says("work", "resume", "--last", f"word at last in {now.name}")
    words = ["word one", *(f"word {how} in {name}" for name in ("m2", here.name) for how in ("by id", "at last"))]
    assert [word for word in words if word not in accounts.sent()] == [] and len(accounts.files("work")) == 1
    assert not list(accounts.house.codex_home("work").glob("state_*.sqlite-wal"))


def test_a_refusal_a_hanging_server_and_none_at_all_are_told(accounts: Accounts) -> None:
    accounts.model.status = 401
    ended = accounts.house.mirror("usage", "--fresh")
    accounts.model.status = 200
    assert ended.code == 1 and "401" in ended.err and len(ended.err.splitlines()) == 2
    accounts.model.gate.clear()
    ended = accounts.house.mirror("usage", "work", "--fresh", "--timeout", "1")
    accounts.model.gate.set()
    assert (ended.code, "work: no answer within 1 s" in ended.err) == (1, True)
    wait_until(lambda: not accounts.house.running(), "the Codex that was given up is gone")
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        config = accounts.house.codex_home("work") / "config.toml"
        before = config.read_text()
        config.write_text(before.replace(accounts.model.root, f"http://127.0.0.1:{nobody.getsockname()[1]}"))
        ended = accounts.house.mirror("usage", "work", "--fresh")
        config.write_text(before)
    assert ended.code == 1 and "failed to fetch codex rate limits" in ended.err
