"""A login opens the user's own browser, with his home and not the clone's: Codex's, the screen's, an MCP server's."""

from __future__ import annotations

import contextlib
import http.server
import json
import shlex
import shutil
import sys
import threading
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from helpers import wait_until
from real.kit import House, Screen, a_house, answer_until, on_screen, quit_codex

pytestmark = [
    pytest.mark.real,
    pytest.mark.once,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="macOS's open doesn't go by HOME"),
    pytest.mark.skipif(shutil.which("tmux") is None, reason="needs tmux"),
]

# A browser that notes what it was started with, and goes where it is sent when that is on this machine.
BROWSER = """\
#!{python}
import json, os, sys, urllib.request
names = ("HOME", "CODEX_HOME", "XDG_CONFIG_HOME", "BROWSER")
told = {{"url": sys.argv[1], **{{name: os.environ.get(name) for name in names}}}}
with open({noted!r}, "a") as file:
    file.write(json.dumps(told) + "\\n")
if sys.argv[1].startswith("http://127.0.0.1"):
    urllib.request.urlopen(sys.argv[1]).read()
"""


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    """A house with the clone `work`, in which nobody is logged in, and a browser of the user's."""
    with a_house() as house:
        browser = house.home.base / "my browser"
        browser.write_text(BROWSER.format(python=sys.executable, noted=str(house.home.base / "noted")))
        browser.chmod(0o755)
        link = house.home.base / "browser"  # $BROWSER is split at blanks.
        link.symlink_to(browser)
        house.home.env.update({"BROWSER": str(link), "XDG_CONFIG_HOME": str(house.home.base / "xdg")})
        with house.installed() as env:
            house.mirror("create", "work", env=env, check=True, timeout=300)
        yield house


def opened(house: House) -> dict[str, Any]:
    """What the browser was started with, once."""
    noted = house.home.base / "noted"
    wait_until(lambda: noted.exists() and noted.read_text().endswith("\n"), "the browser was opened")
    [line] = noted.read_text().splitlines()
    noted.unlink()
    told = json.loads(line)
    users = {name: house.home.env.get(name) for name in ("HOME", "XDG_CONFIG_HOME", "BROWSER")}
    assert {name: told[name] for name in users} == users and told["CODEX_HOME"] is None
    return told


@contextlib.contextmanager
def screen(house: House, command: str) -> Iterator[Screen]:
    with on_screen(house.home, command, house.home.home) as found:
        yield found


@pytest.mark.parametrize("command", ["codex-mirror login work", "work login"])
def test_a_login_opens_it_and_one_that_is_cancelled_is_told_so(house: House, command: str) -> None:
    with screen(house, command) as seen:
        assert opened(house)["url"].startswith("https://auth.openai.com/")
        if command.startswith("codex-mirror"):
            seen.expect("without a browser: codex-mirror login work --device-auth")
        seen.press("C-c")
        seen.expect("was cancelled; not logged in" if command.startswith("codex-mirror") else "ended with")


def test_the_sign_in_of_the_screen_opens_it(house: House) -> None:
    with screen(house, "work") as seen:
        answer_until(seen, "Finish signing in")
        assert opened(house)["url"].startswith("https://auth.openai.com/")
        seen.press("Escape")
        quit_codex(seen)


class Provider(http.server.BaseHTTPRequestHandler):
    """An MCP server that wants a login, and whom it asks for one."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        url = f"http://127.0.0.1:{self.server.server_address[1]}"
        asked = urllib.parse.urlparse(self.path)
        query = dict(urllib.parse.parse_qsl(asked.query))
        if "oauth-authorization-server" in asked.path:
            names = {f"{name}_endpoint": f"{url}/{name}" for name in ("authorization", "token", "registration")}
            kinds = {"response_types_supported": ["code"], "code_challenge_methods_supported": ["S256"]}
            issuer = url + asked.path.partition("oauth-authorization-server")[2]
            self.reply(200, {"issuer": issuer, **names, **kinds})
        elif asked.path == "/authorization":
            code = urllib.parse.urlencode({"code": "c", "state": query["state"]})
            self.reply(302, {}, location=f"{query['redirect_uri']}?{code}")
        else:
            self.reply(401 if asked.path == "/mcp" else 404, {})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        if self.path == "/registration":
            self.reply(201, {**json.loads(body), "client_id": "me"})
        elif self.path == "/token":
            self.reply(200, {"access_token": "t", "refresh_token": "r", "token_type": "Bearer", "expires_in": 3600})
        else:
            self.reply(401, {})

    def reply(self, status: int, answer: dict[str, Any], location: str = "") -> None:
        body = json.dumps(answer).encode()
        self.send_response(status)
        for name, value in (("Content-Type", "application/json"), ("Content-Length", str(len(body)))):
            self.send_header(name, value)
        if location:
            self.send_header("Location", location)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.mark.parametrize("start", ["work", "codex-mirror exec work -- codex"])
def test_the_login_of_an_mcp_server_opens_it_and_what_comes_back_stays_in_the_clone(house: House, start: str) -> None:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Provider)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    name = "mine" if start == "work" else "other"
    try:
        address = shlex.quote(f"http://127.0.0.1:{server.server_address[1]}/mcp")
        with screen(house, f"{start} mcp add {name} --url {address}; {start} mcp login {name}") as seen:
            assert "/authorization?" in opened(house)["url"]
            seen.expect("ended with 0")
    finally:
        server.shutdown()
        server.server_close()
    kept = house.codex_home("work") / ".credentials.json"
    assert name in kept.read_text() and kept.stat().st_mode & 0o077 == 0
    assert not Path(house.home.home, ".codex").exists()
