"""Session files as Codex 0.120, 0.154 and 0.171 write them, made by hand and small."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any, NamedTuple

NOW = 1_795_334_400.0
A, B = ("acc-A", "user-A"), ("acc-B", "user-B")
NOBODY = ("", "")
SHAPES = ("0.120.0", "0.154.0", "0.171.0")
INJECTED = (
    "<environment_context>\n  <cwd>/w</cwd>\n</environment_context>",
    "<user_instructions>\n\nbe kind\n\n</user_instructions>",
    "# AGENTS.md instructions for /w\n\n<INSTRUCTIONS>\nbe kind\n</INSTRUCTIONS>",
)


def moment(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(seconds))


def an_id(number: int = 1) -> str:
    """A session's id; the first 13 characters tell two of them apart."""
    return f"01a222f7-{number:04x}-7cc3-afeb-{number:012x}"


class Shape(NamedTuple):
    """How one Codex version writes; each method is a line."""

    version: str = "0.171.0"

    @property
    def is_new(self) -> bool:
        return self.version >= "0.154"

    def line(self, kind: str, payload: object, at: float = NOW) -> bytes:
        ordinal = {"ordinal": 7} if self.is_new else {}
        record = {"timestamp": moment(at), **ordinal, "type": kind, "payload": payload}
        return json.dumps(record, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"

    def meta(self, session: str, cwd: str = "/w", creator: tuple[str, str] = NOBODY, **more: Any) -> bytes:
        """The first line, 22 KB of it."""
        payload: dict[str, Any] = {"session_id": session} if self.is_new else {}
        if any(creator):
            payload = {
                "account_scoped": True,
                "creator_user_id": creator[1],
                "creator_account_id": creator[0],
                **payload,
            }
        payload |= {"id": session, "timestamp": moment(NOW - 60), "cwd": cwd, "originator": "codex_exec"}
        payload |= {"cli_version": self.version, "source": "exec", **more}
        return self.line("session_meta", {**payload, "base_instructions": {"text": 'say "ü" ' * 2500}})

    def says(self, role: str, text: str, *parts: object) -> bytes:
        content = [{"type": "output_text" if role == "assistant" else "input_text", "text": text}, *parts]
        return self.line("response_item", {"type": "message", "role": role, "content": content})

    def prompt(self, text: str, image: int = 0) -> bytes:
        """What a person typed, as the model is sent it and as an event; with an image of so many bytes."""
        images = ["data:image/png;base64," + "A" * image] if image else []
        shown = [{"type": "input_image", "image_url": one} for one in images]
        if self.is_new:
            content = [{"type": "text", "text": text}, *({"type": "image", "image_url": one} for one in images)]
            event: dict[str, Any] = {"type": "item_completed", "item": {"type": "UserMessage", "content": content}}
        else:
            event = {"type": "user_message", "message": text, "images": images}
        return self.says("user", text, *shown) + self.line("event_msg", event)

    def thought(self, secret: str | None) -> bytes:
        payload = {"type": "reasoning", "summary": [], "content": None, "encrypted_content": secret}
        return self.line("response_item", payload)

    def limits(self, used: float = 42.0, **more: Any) -> bytes:
        window = {"used_percent": used, "window_minutes": 300, "resets_at": NOW + 3600}
        limits = {
            "limit_id": "codex",
            "primary": window,
            "secondary": None,
            "credits": None,
            "plan_type": "plus",
            **more,
        }
        return self.line("event_msg", {"type": "token_count", "info": None, "rate_limits": limits}, NOW - 30)

    def compacted(self, secret: str = "") -> bytes:
        """A compaction: with a secret it is encrypted, as the server makes them, else in plain text."""
        summary = {"type": "compaction", "encrypted_content": secret} if secret else {"type": "message", "role": "user"}
        return self.line("compacted", {"message": "", "replacement_history": [summary]})

    def beginning(self, session: str, prompt: str = "what is here?", **more: Any) -> list[bytes]:
        """The lines up to the first answer."""
        told = [self.says("developer", "<permissions instructions>…"), *(self.says("user", text) for text in INJECTED)]
        return [self.meta(session, **more), *told, self.prompt(prompt)]

    def turn(self, secret: str | None, text: str = "done") -> list[bytes]:
        """An answer with a thought, and the limits behind it."""
        return [self.thought(secret), self.says("assistant", text), self.limits()]


def write(
    codex_home: Path,
    session: str,
    lines: list[bytes],
    *,
    at: float = NOW,
    day: str = "2026/11/22",
    ending: str = ".jsonl",
) -> Path:
    """A session file, last written at `at`; without a day it is archived."""
    directory = codex_home / (f"sessions/{day}" if day else "archived_sessions")
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"rollout-2026-11-22T08-00-00-{session}{ending}"
    path.write_bytes(b"".join(lines))
    os.utime(path, (at, at))
    return path
