"""Certificates: those of the system, of the user's network, of a file, and of a Mac's keychain, which curl knows."""

from __future__ import annotations

import os
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from depot import CODEX, PLATFORM, TAGS, Answer, Depot, open_depot

from darwin import Mac
from helpers import Home, fake_codex
from rooms import ask, clone_in, cm, raw

linux = pytest.mark.skipif(sys.platform != "linux", reason="a Mac is imitated on Linux only")
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
TOKEN = "npm_secret_of_the_registry"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of this machine that nobody has signed but itself; its key lies beside."""
    path = tmp_path_factory.mktemp("tls") / "cert.pem"
    words = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1"
    try:
        argv = ["openssl", *words.split(), "-keyout", path.with_name("key.pem"), "-out", path]
        made = subprocess.run(argv, check=False, capture_output=True).returncode == 0
    except FileNotFoundError:
        made = False
    if not made:
        pytest.skip("needs openssl")
    return path


@pytest.fixture
def registry(home: Home, certificate: Path) -> Iterator[Depot]:
    """A registry that speaks TLS, with a Codex, and a token for it in ~/.npmrc."""
    with open_depot() as depot:
        depot.encrypt(certificate, certificate.with_name("key.pem"))
        depot.fill("npm", fake_codex(home.base / "package", "0.171.0"))
        home.env.update(CODEX_MIRROR_CODEX_URL=depot.url, CODEX_MIRROR_OFFLINE="0")
        (home.home / ".npmrc").write_text(f"{depot.url.removeprefix('https:')}/:_authToken={TOKEN}\n")
        yield depot


NOBODY = {"SSL_CERT_FILE": "/nonexistent", "SSL_CERT_DIR": "/nonexistent"}


class MacWithCurl:
    """A Mac whose curl trusts a certificate as if the keychain had it, and writes down its words."""

    def __init__(self, home: Home, mac: Mac, trusted: Path | None) -> None:
        self.home, self.mac, self.words = home, mac, home.base / "t" / "words"
        trust = f"--cacert '{trusted}'" if trusted else ""
        script = f"""printf '%s\\n' "$*" >>'{self.words}'; env >>'{self.words}'
shift; exec curl -q {trust} "$@"
"""
        self.curl = mac.tool("curl", script)

    def __call__(self, *words: Any, **env: str) -> Any:
        def become() -> None:
            self.mac.become()
            cm.CURL = str(self.curl)
            # The packages of the depot are those of this machine.
            cm.MACHINES = {**cm.MACHINES, ("Darwin", "arm64"): cm.MACHINES[LINUX]}

        return raw(self.home, *words, env=env, become=become)


LINUX = (os.uname().sysname, os.uname().machine)


# --- the ladder ---

KNOWN: list[tuple[str | None, str | None, bool]] = [
    ("/etc/ssl/cert.pem", None, True),
    (None, "full", True),
    (None, "empty", False),
    (None, "nowhere", False),
    (None, None, False),
]


@pytest.mark.parametrize(("cafile", "capath", "known"), KNOWN)
def test_whether_a_python_knows_certificates(
    tmp_path: Path, cafile: str | None, capath: str | None, known: bool
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a.0").touch()
    paths = SimpleNamespace(cafile=cafile, capath=capath and str(tmp_path / capath))
    assert cm.knows_certificates(paths) == known


def test_certificates_are_those_of_a_variable_else_the_system_s_file(
    home: Home, registry: Depot, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = ask(home, "create", "one")
    assert refused.code == 1 and "SSL_CERT_FILE" in refused.err and "isn't trusted" in refused.err
    assert ask(home, "create", "two", env={"SSL_CERT_FILE": str(certificate)}).code == 0
    monkeypatch.setattr(cm, "SYSTEM_CERTIFICATES", str(certificate))
    assert ask(home, "versions", env=NOBODY).out.startswith("0.171.0\t")
    with_others = {"SSL_CERT_FILE": ssl.get_default_verify_paths().openssl_cafile}
    if os.path.isfile(with_others["SSL_CERT_FILE"]):
        assert "isn't trusted" in ask(home, "versions", env=with_others).err, "the user's own choice stands"


@linux
def test_on_a_mac_curl_is_the_last_way_and_its_digest_is_checked_as_ever(
    home: Home, registry: Depot, certificate: Path, mac: Mac
) -> None:
    there = MacWithCurl(home, mac, certificate)
    (home.home / ".curlrc").write_text("url = http://127.0.0.1:9/\n")
    made = there("create", "work", SSL_CERT_FILE="/nonexistent")
    assert made.code == 0, made.err
    assert clone_in(home, "work").runtime.version == "0.171.0"
    assert {request.token for request in registry.asked} == {f"Bearer {TOKEN}"}
    assert len(registry.asked) == 3  # The newest, its description, the archive; not one of them twice.
    words = there.words.read_text()
    assert TOKEN not in words and "SSL_CERT_FILE" not in words and words.startswith("-q -K -\n")
    there("remove", "work", "--yes")
    [archive] = [path for path in registry.answers if path.endswith(".tgz")]
    answer = registry.answers[archive]
    assert isinstance(answer, Answer)
    registry.answers[archive] = answer._replace(body=answer.body[:-1] + b"x")
    changed = there("create", "other")
    assert changed.code == 1 and "was expected" in changed.err and not [*(home.mirror / "clones").iterdir()]


@linux
def test_where_the_keychain_knows_nothing_either_the_hint_is_the_same(home: Home, registry: Depot, mac: Mac) -> None:
    (home.home / ".curlrc").write_text("insecure\n")
    there = MacWithCurl(home, mac, None)
    for is_there in (True, False):
        there.curl.chmod(0o755 if is_there else 0o644)
        told = there("versions")
        assert told.code == 1 and "isn't trusted" in told.err and "SSL_CERT_FILE" in told.err
        assert there.words.exists() == is_there
        there.words.unlink(missing_ok=True)
    assert registry.asked == []


def test_elsewhere_curl_is_never_asked(home: Home, registry: Depot, certificate: Path, mac: Mac) -> None:
    there = MacWithCurl(home, mac, certificate)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cm, "CURL", str(there.curl))
        assert ask(home, "versions").code == 1 and not there.words.exists()


FAILURES: list[tuple[str, Answer, str]] = [
    ("absent", Answer(b"no", 404), "there is no Codex 0.171.0"),
    ("forbidden", Answer(b"no", 403), "(403)"),
    ("broken", Answer(b"x" * 1000, breaks_after=10), "broke after 10"),
    ("a web page", Answer(b"<html>", kind="text/html"), "with a web page"),
    ("endless headers", Answer(headers={"X": "x" * 70_000}), "isn't trusted"),
    ("http", Answer(status=302, headers={"Location": "http://example.org/x"}), "can't fetch from http:"),
    ("in circles", Answer(status=302, headers={"Location": f"{CODEX}/0.171.0-{PLATFORM}"}), "isn't trusted"),
]


@linux
@pytest.mark.parametrize(("kind", "answer", "says"), FAILURES, ids=[row[0] for row in FAILURES])
def test_what_goes_wrong_behind_curl_is_said_as_ever(
    home: Home, registry: Depot, certificate: Path, mac: Mac, kind: str, answer: Answer, says: str
) -> None:
    registry.answers[f"{CODEX}/0.171.0-{PLATFORM}"] = answer
    told = MacWithCurl(home, mac, certificate)("create", "work", "--codex", "0.171.0")
    assert told.code == 1 and says in told.err, told
    assert not (home.mirror / "clones").exists() or not [*(home.mirror / "clones").iterdir()]


@linux
def test_behind_curl_too_a_redirect_elsewhere_loses_the_token(
    home: Home, registry: Depot, certificate: Path, mac: Mac
) -> None:
    with open_depot() as other:
        other.encrypt(certificate, certificate.with_name("key.pem"))
        other.answers["/moved"] = Answer(status=302, headers={"Location": f"{registry.url}/back"})
        registry.answers["/back"] = registry.answers[TAGS]
        registry.answers[TAGS] = Answer(status=302, headers={"Location": f"{other.url}/moved"})
        registry.answers["/here"] = registry.answers[CODEX]
        registry.answers[CODEX] = Answer(status=301, headers={"Location": "/here"})
        there = MacWithCurl(home, mac, certificate)
        assert there("versions").out.startswith("0.171.0\t")
        made = there("create", "work")
        assert made.code == 0, made.err
        tokens = {(request.path == "/back", request.token) for request in registry.asked}
        assert tokens == {(True, ""), (False, f"Bearer {TOKEN}")}, "what was elsewhere has no token any more"
        assert {request.token for request in other.asked} == {""} and other.paths
