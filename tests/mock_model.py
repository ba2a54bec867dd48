"""A stand-in for the model on loopback: it answers the real Codex with tool calls, and then with "done".

It also is the account server: what is left, and new tokens for old ones."""

from __future__ import annotations

import contextlib
import http.server
import json
import threading
import time
from collections.abc import Iterator
from typing import Any

# What config.toml needs for it; the model's name is one that Codex doesn't know, and so asks nothing about.
CONFIG = """model = "mock"
model_provider = "mock"
[model_providers.mock]
name = "mock"
base_url = "{url}"
wire_api = "responses"
"""
USAGE = {"input_tokens": 1, "input_tokens_details": None, "output_tokens": 1, "output_tokens_details": None}


class MockModel:
    """What it answers, and what it was asked: both may be looked at and changed at any time."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.commands: list[str] = []  # The shell commands of the next turn, one tool call each.
        self.encrypt = ""  # Each answer also carries a reasoning item with this as its encrypted content.
        self.organization = ""  # Encrypted content that doesn't begin with this is refused, as the real server does.
        self.requests: list[dict[str, Any]] = []
        self.answers: list[list[dict[str, Any]]] = []  # The items of the next answers, before anything else.
        self.tokens = 2  # What a turn has taken, so that Codex compacts when it is told to at fewer.
        self.used = 37  # Percent used of the 5 h window; of the week half of it.
        self.status = 200  # With another one the account server refuses.
        self.refreshed: dict[str, str] = {}  # The tokens that it gives for a refresh token.
        self.gate = threading.Event()  # Closed, the account server lets everybody wait.
        self.gate.set()
        self.asked: list[tuple[str, str]] = []  # What the account server was asked, and by which account.

    @property
    def root(self) -> str:
        return self.url.removesuffix("/v1")

    @property
    def account_config(self) -> str:
        """The lines for the top of config.toml with which a ChatGPT login leads to both servers."""
        urls = {"openai_base_url": self.url, "chatgpt_base_url": f"{self.root}/backend-api/"}
        return "".join(f'{key} = "{value}"\n' for key, value in {"model": "mock", **urls}.items())

    def account_server(self, path: str, account: str) -> tuple[int, bytes]:
        """The status and the body for one question to the account server."""
        self.asked.append((path, account))
        self.gate.wait(60)
        if "oauth/token" in path:
            return 200, json.dumps(self.refreshed).encode()
        if "/wham/usage" not in path:
            return 200, b'{"models": [], "data": []}'
        if self.status != 200:
            return self.status, b'{"detail": "no"}'
        now = int(time.time())
        lengths = {"primary_window": 18000, "secondary_window": 604800}
        windows = {
            name: {"limit_window_seconds": size, "reset_after_seconds": size, "reset_at": now + size}
            for name, size in lengths.items()
        }
        windows["primary_window"]["used_percent"], windows["secondary_window"]["used_percent"] = (
            self.used,
            self.used // 2,
        )
        limits = {"allowed": True, "limit_reached": False, **windows}
        return 200, json.dumps({"plan_type": "plus", "rate_limit": limits, "credits": None}).encode()

    @property
    def config(self) -> str:
        """The lines of config.toml that lead to it; they end inside a table."""
        return CONFIG.format(url=self.url)

    @property
    def options(self) -> list[str]:
        """The same as options of the command line."""
        table = f'{{name="mock",base_url="{self.url}",wire_api="responses"}}'
        return ["-c", 'model="mock"', "-c", 'model_provider="mock"', "-c", f"model_providers.mock={table}"]

    @property
    def outputs(self) -> list[str]:
        """What the tool calls printed, in the order in which they were made."""
        items = [item for request in self.requests for item in items_of(request)]
        told = {item.get("call_id"): text_of(item.get("output")) for item in items if is_output(item)}
        return [text.partition("\nOutput:\n")[2] or text for text in told.values()]

    def answer(self, request: dict[str, Any], account: str = "") -> tuple[int, bytes]:
        """The status and the body for one request; `{account}` in what is encrypted, and for whom, is who asks."""
        self.requests.append(request)
        organization, secret = (text.format(account=account) for text in (self.organization, self.encrypt))
        strange = [one for one in encrypted_in(items_of(request)) if not one.startswith(organization)]
        if organization and strange:
            told = "Encrypted content organization_id did not match the target organization"
            error = {"message": told, "type": "invalid_request_error", "code": "invalid_encrypted_content"}
            return 400, json.dumps({"error": error}).encode()
        if items_of(request)[-1:] and items_of(request)[-1]["type"] == "compaction_trigger":
            return 200, as_events([{"type": "compaction", "encrypted_content": secret}], 2)
        if self.answers:
            return 200, as_events(self.answers.pop(0), self.tokens)
        thought = {"type": "reasoning", "id": "t1", "summary": [], "encrypted_content": secret}
        tools = [tool.get("name") for tool in request.get("tools", [])]
        said = tool_call(self.commands.pop(0), tools, len(self.requests)) if self.commands else message("done")
        return 200, as_events([*([thought] if secret else []), said], self.tokens)


def items_of(request: dict[str, Any]) -> list[dict[str, Any]]:
    return [item for item in request.get("input") or [] if isinstance(item, dict)]


def is_output(item: dict[str, Any]) -> bool:
    return str(item.get("type", "")).endswith("_output")


def text_of(output: Any) -> str:
    """The text of a tool call's result, in whichever of the shapes it came."""
    if isinstance(output, list):
        return "".join(text_of(part.get("text", "")) for part in output)
    return output if isinstance(output, str) else json.dumps(output)


def encrypted_in(value: Any) -> list[str]:
    """Every encrypted_content anywhere in a request."""
    if isinstance(value, dict):
        own = [value["encrypted_content"]] if value.get("encrypted_content") else []
        return own + [one for item in value.values() for one in encrypted_in(item)]
    return [one for item in value for one in encrypted_in(item)] if isinstance(value, list) else []


def tool_call(command: str, tools: list[str], number: int) -> dict[str, Any]:
    """The call of a shell command by the tool that this Codex offers (seen with 0.169 and 0.171)."""
    call = {"id": f"c{number}", "call_id": f"k{number}"}
    if "exec" in tools:
        script = f"const r = await tools.exec_command({{cmd: {json.dumps(command)}}}); text(r.output);"
        return {**call, "type": "custom_tool_call", "name": "exec", "input": script}
    return {**call, "type": "function_call", "name": "exec_command", "arguments": json.dumps({"cmd": command})}


def message(text: str) -> dict[str, Any]:
    content = [{"type": "output_text", "text": text}]
    return {"type": "message", "role": "assistant", "id": "m1", "content": content}


def as_events(items: list[dict[str, Any]], tokens: int) -> bytes:
    """A whole answer of the model as server-sent events."""
    told = [{"type": "response.created", "response": {"id": "r1"}}]
    told += [{"type": "response.output_item.done", "item": item} for item in items]
    told += [{"type": "response.completed", "response": {"id": "r1", "usage": {**USAGE, "total_tokens": tokens}}}]
    return "".join(f"event: {one['type']}\ndata: {json.dumps(one)}\n\n" for one in told).encode()


@contextlib.contextmanager
def mock_model() -> Iterator[MockModel]:
    """The model on a port of its own, for as long as the `with` block lasts."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if self.path.startswith("/v1/responses"):  # A web socket is asked for first.
                self.reply(426, b"{}")
            else:
                self.reply(*model.account_server(self.path, self.account))

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self.path.endswith("/responses"):
                self.reply(*model.answer(json.loads(body), self.account))
            elif "oauth/token" in self.path:
                self.reply(*model.account_server(self.path, ""))
            else:
                self.reply(404, b"{}")

        @property
        def account(self) -> str:
            return self.headers.get("chatgpt-account-id") or ""

        def reply(self, status: int, body: bytes) -> None:
            kind = "text/event-stream" if body.startswith(b"event:") else "application/json"
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    model = MockModel(f"http://127.0.0.1:{server.server_port}/v1")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield model
    finally:
        model.gate.set()
        server.shutdown()
        server.server_close()
        thread.join()
