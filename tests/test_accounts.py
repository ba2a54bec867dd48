"""Accounts: who a clone is logged in as, from its own files."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from helpers import ACCESS_TOKEN, API_KEYS, REFRESH_TOKEN, SECRETS, Home
from rooms import ask, caller_in, cm, make_clone, rows_of

WRITTEN = 1_795_334_400.0


def token(claims: object) -> str:
    """An id_token as the server gives it: three parts, the middle one JSON in base64 without padding."""
    parts = [json.dumps({"alg": "RS256"}).encode(), json.dumps(claims).encode(), b"signature"]
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts)


def chatgpt(claims: object = None, **more: Any) -> dict[str, Any]:
    """`auth.json` as Codex 0.169 writes it after a login in the browser."""
    tokens = {"id_token": token(claims or {}), "access_token": ACCESS_TOKEN, "refresh_token": REFRESH_TOKEN}
    return {"auth_mode": "chatgpt", "OPENAI_API_KEY": None, "tokens": {**tokens, "account_id": "w-1"},
            "last_refresh": "2026-11-22T08:00:05.5Z", **more}  # fmt: skip


AUTH = "https://api.openai.com/auth"
PROFILE = "https://api.openai.com/profile"
CLAIMS = {"email": "a@b.c", AUTH: {"chatgpt_plan_type": "pro", "chatgpt_user_id": "u-1", "chatgpt_account_id": "w-2"}}
FULL = cm.Account("chatgpt", "a@b.c", "pro", "w-2", "u-1", since=WRITTEN + 5)
BY_KEY = cm.Account("api-key", key="sk-…aaaa", since=WRITTEN)
LOGINS: list[tuple[str, Any, Any]] = [
    ("by ChatGPT", chatgpt(CLAIMS), FULL),
    ("an address in the profile", chatgpt({PROFILE: {"email": "x@y.z"}}),
     cm.Account("chatgpt", "x@y.z", workspace="w-1", since=WRITTEN + 5)),
    ("another name of the user", chatgpt({AUTH: {"user_id": "u-2"}}),
     cm.Account("chatgpt", workspace="w-1", user="u-2", since=WRITTEN + 5)),
    ("without claims", chatgpt(), cm.Account("chatgpt", workspace="w-1", since=WRITTEN + 5)),
    ("without a time", {**chatgpt(CLAIMS), "last_refresh": None}, FULL._replace(since=WRITTEN)),
    ("with an odd time", {**chatgpt(CLAIMS), "last_refresh": "soon"}, FULL._replace(since=WRITTEN)),
    ("only a refresh token", {"tokens": {"refresh_token": "x"}}, cm.Account("chatgpt", since=WRITTEN)),
    ("with a key beside", chatgpt(CLAIMS, OPENAI_API_KEY=API_KEYS[0]), FULL),
    ("with a key beside, and no mode", {**chatgpt(CLAIMS, OPENAI_API_KEY=API_KEYS[0]), "auth_mode": None},
     BY_KEY._replace(since=WRITTEN + 5)),
    ("without a mode", {**chatgpt(CLAIMS), "auth_mode": None}, FULL),
    ("by tokens of others", {**chatgpt(CLAIMS), "auth_mode": "chatgptAuthTokens"}, FULL),
    ("by key, with tokens beside", chatgpt(CLAIMS, auth_mode="apikey", OPENAI_API_KEY=API_KEYS[0]),
     BY_KEY._replace(since=WRITTEN + 5)),
    ("by a key that is missing", chatgpt(CLAIMS, auth_mode="apikey"), cm.Account("unknown")),
    ("by tokens that are missing", {"auth_mode": "chatgpt", "OPENAI_API_KEY": API_KEYS[0]},
     cm.Account("chatgpt", since=WRITTEN)),
    ("by tokens of others that are missing", {"auth_mode": "chatgptAuthTokens", "bedrock_api_key": "x"},
     cm.Account("chatgpt", since=WRITTEN)),
    ("by tokens that are none", {"auth_mode": "chatgpt", "tokens": {}, "OPENAI_API_KEY": API_KEYS[0]},
     cm.Account("unknown")),
    ("by Bedrock's keys that are missing", {"auth_mode": "bedrockAccessKeys", "OPENAI_API_KEY": API_KEYS[0]},
     cm.Account("unknown")),
    ("by key", {"auth_mode": "apikey", "OPENAI_API_KEY": API_KEYS[0]}, BY_KEY),
    ("by a short key", {"OPENAI_API_KEY": "sk-12345"}, cm.Account("api-key", key="sk-…", since=WRITTEN)),
    ("by a token of one's own", {"personal_access_token": "x"}, cm.Account("access-token", since=WRITTEN)),
    ("by a token and a key", {"personal_access_token": "x", "OPENAI_API_KEY": API_KEYS[0]},
     cm.Account("access-token", since=WRITTEN)),
    ("as an agent", {"agent_identity": {"x": 1}}, cm.Account("agent-identity", since=WRITTEN)),
    ("as an agent with a key", {"agent_identity": "x", "OPENAI_API_KEY": API_KEYS[0]}, BY_KEY),
    ("by Bedrock's key", {"auth_mode": "bedrockApiKey", "bedrock_api_key": {"api_key": "x"}},
     cm.Account("bedrock-key", since=WRITTEN)),
    ("by Bedrock's keys", {"auth_mode": "bedrockAccessKeys", "bedrock_access_keys": {"access_key_id": "x"}},
     cm.Account("bedrock-access-keys", since=WRITTEN)),
    ("by Bedrock's keys with another", {"bedrock_access_keys": {"x": "y"}, "OPENAI_API_KEY": API_KEYS[0]},
     cm.Account("bedrock-access-keys", since=WRITTEN)),
    ("of another program", {"openai": {"type": "oauth", "refresh": "x"}}, cm.Account("unknown")),
    ("a mode that is no text", {"auth_mode": [1], "OPENAI_API_KEY": API_KEYS[0]}, BY_KEY),
    ("logged out", {"OPENAI_API_KEY": None, "tokens": None, "auth_mode": None}, cm.Account("none")),
    ("nothing", {}, cm.Account("none")),
    ("empty tokens", {"tokens": {}, "OPENAI_API_KEY": ""}, cm.Account("none")),
    ("to come", {"auth_mode": "new", "new_token": "x"}, cm.Account("unknown")),
    ("no object", [], cm.Account("unknown")),
    ("a text", "x", cm.Account("unknown")),
    ("null", None, cm.Account("unknown")),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "login", "account"), LOGINS, ids=[row[0] for row in LOGINS])
def test_a_login_tells_whose_it_is_and_nothing_secret(tmp_path: Path, kind: str, login: Any, account: Any) -> None:
    assert cm.account_from_login(login, WRITTEN) == account
    path = tmp_path / "auth.json"
    path.write_text(json.dumps(login))
    os.utime(path, (WRITTEN, WRITTEN))
    assert cm.account_in_file(str(path)) == account
    shown = repr(account) + cm.account_text(account)
    assert not [secret for secret in SECRETS if secret in shown]


CLAIMED = [
    (token({"a": 1}), {"a": 1}),
    (token({"ä": "日本" * 50}), {"ä": "日本" * 50}),
    (token([1]), {}),
    ("", {}),
    ("a.b", {}),
    ("a.b.c", {}),
    ("a.b.c.d", {}),
    ("a.\u20ac.c", {}),
    ("a." + base64.urlsafe_b64encode(b"\xff\xfe").decode() + ".c", {}),
    ("a." + base64.urlsafe_b64encode(b"[" * 99_999).decode() + ".c", {}),
    ("a." + base64.b64encode(b'{"a":"\xfb\xef?>"}').decode() + ".c", {}),
]


@pytest.mark.parametrize(("text", "claims"), CLAIMED, ids=[ascii(row[0][:20]) for row in CLAIMED])
def test_a_token_s_claims_are_read_or_are_none(text: str, claims: dict[str, Any]) -> None:
    assert cm.claims_in(text) == claims


def test_a_torn_file_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Codex up to 0.154 truncates and writes; a reader may come in between."""
    path, whole = tmp_path / "auth.json", json.dumps(chatgpt(CLAIMS))
    path.write_text(whole[:50])
    slept: list[float] = []

    def finish_writing(seconds: float) -> None:
        slept.append(seconds)
        path.write_text(whole if len(slept) == 2 else "")

    monkeypatch.setattr(cm.time, "sleep", finish_writing)
    assert cm.account_in_file(str(path)).email == "a@b.c" and len(slept) == 2
    path.write_text(whole[:50])
    monkeypatch.setattr(cm.time, "sleep", slept.append)
    assert cm.account_in_file(str(path)) == cm.Account("unknown") and sum(slept) < 1


def test_without_a_file_nobody_is_logged_in(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("nowhere")
    for name in ("auth.json", "no/auth.json", "file/auth.json", "link"):
        assert cm.account_in_file(str(tmp_path / name)) == cm.Account("none")


ONE = cm.Account("chatgpt", "a@b.c", "pro", "w", "u")
PAIRS = [
    ("the same", ONE, ONE._replace(plan="free", since=5.0, email="other@b.c"), True),
    ("another workspace of the same person", ONE, ONE._replace(workspace="w2"), False),
    ("another member of the same team", ONE, ONE._replace(user="u2"), False),
    ("without a user", ONE._replace(user=""), ONE._replace(user=""), False),
    ("without a workspace", ONE._replace(workspace=""), ONE._replace(workspace=""), False),
    ("by the same key", cm.Account("api-key", key="sk-…1234"), cm.Account("api-key", key="sk-…1234"), False),
    ("nobody twice", cm.Account("none"), cm.Account("none"), False),
    ("unknown twice", cm.Account("unknown"), cm.Account("unknown"), False),
]


@pytest.mark.parametrize(("kind", "one", "other", "answer"), PAIRS, ids=[row[0] for row in PAIRS])
def test_two_logins_are_one_account_when_workspace_and_user_are_equal(
    kind: str, one: Any, other: Any, answer: bool
) -> None:
    assert cm.is_same_account(one, other) == cm.is_same_account(other, one) == answer


TEXTS = [
    (ONE._replace(workspace="5f0c1a2b-3c4d"), "a@b.c (pro, 5f0c1a2b)"),
    (ONE._replace(workspace=""), "a@b.c (pro)"),
    (ONE._replace(plan="", workspace=""), "a@b.c"),
    (ONE._replace(email="", workspace=""), "ChatGPT (pro)"),
    (cm.Account("chatgpt"), "ChatGPT"),
    (cm.Account("keyring"), "kept in the keyring"),
    (cm.Account("api-key", key="sk-…1234"), "API key sk-…1234"),
    (cm.Account("api-key"), "API key"),
    (cm.Account("access-token"), "personal access token"),
    (cm.Account("agent-identity"), "agent identity"),
    (cm.Account("bedrock-key"), "Amazon Bedrock API key"),
    (cm.Account("bedrock-access-keys"), "Amazon Bedrock access keys"),
    (cm.Account("other"), "other login"),
    (cm.Account("none"), "not logged in"),
    (cm.Account("unknown"), "unknown"),
    (cm.Account("from the future"), "unknown"),
]


@pytest.mark.parametrize(("account", "text"), TEXTS)
def test_an_account_is_told_in_a_few_words(account: Any, text: str) -> None:
    assert cm.account_text(account) == text


# --- the account that a login leaves in the registry ---

MEANWHILE: list[tuple[str, Callable[[Home], object], dict[str, bool]]] = [
    ("nothing", lambda home: None, {"work": True}),
    ("it was renamed", lambda home: cm.rename_clone(caller_in(home), "work", "play"), {"play": True}),
    (
        "it was renamed and its name taken",
        lambda home: (cm.rename_clone(caller_in(home), "work", "play"), make_clone(home, "work")),
        {"play": True, "work": False},
    ),
    (
        "it was removed and its name taken",
        lambda home: (cm.remove_clone(caller_in(home), "work"), make_clone(home, "work")),
        {"work": False},
    ),
]


@pytest.mark.parametrize(("kind", "change", "known"), MEANWHILE, ids=[row[0] for row in MEANWHILE])
def test_the_account_of_a_login_goes_to_the_clone_that_was_logged_in_whatever_its_name_is_by_then(
    home: Home, codex: Path, monkeypatch: pytest.MonkeyPatch, kind: str, change: Callable[[Home], object],
    known: dict[str, bool],
) -> None:  # fmt: skip
    clone = make_clone(home, "work")

    def login(program: Any, *directory: str) -> int:
        change(home)
        Path(cm.codex_home_of(clone)).mkdir(parents=True, exist_ok=True)
        Path(cm.codex_home_of(clone), "auth.json").write_text(json.dumps({"OPENAI_API_KEY": API_KEYS[0]}))
        return 0

    monkeypatch.setattr(cm, "run_child", login)
    outcome = cm.log_in(caller_in(home), name="work", arguments=("--with-api-key",))
    rows = {row["name"]: row["account"] is not None for row in rows_of(home)}
    assert rows == known and ("was removed in the meantime" in str(outcome.notes)) == ("removed" in kind)


def test_a_key_asks_before_it_replaces_one_with_a_chatgpt_login_beside_it(home: Home, codex: Path) -> None:
    clone = make_clone(home, "work")
    login = Path(cm.login_file(cm.codex_home_of(clone)))
    for mode in ({}, {"auth_mode": "apikey"}):
        both = {**mode, "OPENAI_API_KEY": "sk-1234567890", "tokens": {"refresh_token": "r", "access_token": "a"}}
        login.write_text(json.dumps(both))
        refused = ask(home, "login", "work", "--with-api-key", stdin=b"sk-0987654321\n")
        assert refused.code == 5 and "--yes" in refused.err and json.loads(login.read_text()) == both
    login.write_text('{"auth_mode": "apikey", "OPENAI_API_KEY": "sk-1234567890"}')
    assert ask(home, "login", "work", "--with-api-key", stdin=b"sk-0987654321\n").code == 0, "a key for a key"


def test_an_export_reads_through_no_link(home: Home, codex: Path) -> None:
    clone = make_clone(home, "work")
    own = Path(cm.codex_home_of(clone))
    own.rename(own.with_name("moved"))
    (home.home / ".codex").mkdir()
    own.symlink_to(home.home / ".codex")
    assert ask(home, "export", "work", "-o", home.base / "x.tgz").code == 5
    assert not (home.base / "x.tgz").exists()
