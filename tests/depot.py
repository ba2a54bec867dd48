"""A source of Codex on loopback, with the answers of an npm registry or of OpenAI's releases, and small packages."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import os
import ssl
import tarfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from helpers import NPM_MTIME, PLATFORM_PACKAGE, TRIPLE

PLATFORM = PLATFORM_PACKAGE.removeprefix("codex-")
CODEX = "/@openai%2fcodex"
TAGS = f"/-/package{CODEX}/dist-tags"


class Answer(NamedTuple):
    """What is answered: a status, a body, headers, and how many bytes of it are sent before the connection breaks, or
    stands still until the depot closes."""

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = MappingProxyType({})
    kind: str = "application/octet-stream"
    breaks_after: int = -1
    stalls: bool = False


class Request(NamedTuple):
    """What was asked, of which host, and with which token."""

    path: str
    host: str
    token: str


def answer_with(document: object) -> Answer:
    return Answer(json.dumps(document).encode(), kind="application/json")


class Depot:
    """The answers by path, which tests change as they like, and what was asked."""

    def __init__(self, server: ThreadingHTTPServer) -> None:
        self.server = server
        self.answers: dict[str, Answer | list[Answer]] = {}
        self.asked: list[Request] = []
        self.closing = threading.Event()
        self.scheme = "http"

    @property
    def url(self) -> str:
        return self.url_at("127.0.0.1")

    def url_at(self, host: str) -> str:
        return f"{self.scheme}://{host}:{self.server.server_address[1]}"

    @property
    def paths(self) -> list[str]:
        return [request.path for request in self.asked]

    def answer(self, path: str) -> Answer:
        """The answer to a path; of a list the first, which then is used up."""
        found = self.answers.get(path, Answer(b"no such thing", 404, kind="text/plain"))
        return found.pop(0) if isinstance(found, list) else found

    def fill(self, layout: str, *packages: Path) -> None:
        """Takes these packages, the newest last, into a registry (`npm`) or into releases (`releases`, `old`)."""
        versions = [json.loads((package / "codex-package.json").read_text())["version"] for package in packages]
        for version, package in zip(versions, packages, strict=True):
            (self.add_to_registry if layout == "npm" else self.add_to_releases)(version, archive_of(package, layout))
        if layout == "npm":
            self.answers[TAGS] = answer_with({"latest": versions[-1]})
            names = [name for version in versions for name in (version, f"{version}-{PLATFORM}")]
            tags = {"latest": versions[-1]}
            self.answers[CODEX] = answer_with({"versions": {name: {} for name in names}, "dist-tags": tags})
        else:
            self.answers["/channels/latest"] = answer_with({"tag_name": f"rust-v{versions[-1]}"})

    def add_to_registry(self, version: str, archive: bytes) -> None:
        tarball = f"/files/codex-{version}-{PLATFORM}.tgz"
        digest = base64.b64encode(hashlib.sha512(archive).digest()).decode()
        dist = {
            "tarball": self.url + tarball,
            "integrity": f"sha512-{digest}",
            "shasum": hashlib.sha1(archive).hexdigest(),
        }
        self.answers[f"{CODEX}/{version}-{PLATFORM}"] = answer_with({"version": f"{version}-{PLATFORM}", "dist": dist})
        self.answers[tarball] = Answer(archive)

    def add_to_releases(self, version: str, archive: bytes) -> None:
        name = f"codex-package-{TRIPLE}.tar.gz"
        sums = f"{'0' * 64}  codex-package-another.tar.gz\n{hashlib.sha256(archive).hexdigest()}  {name}\n"
        self.answers[f"/releases/{version}/codex-package_SHA256SUMS"] = Answer(sums.encode(), kind="text/plain")
        self.answers[f"/releases/{version}/{name}"] = Answer(archive)

    def encrypt(self, certificate: Path, key: Path) -> None:
        """From now on speaks TLS."""
        trust = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        trust.load_cert_chain(certificate, key)
        self.server.socket = trust.wrap_socket(self.server.socket, server_side=True)
        self.scheme = "https"


def archive_of(package: Path, layout: str) -> bytes:
    """The package as npm's archive, or as the release's, holds it."""
    top = f"package/vendor/{TRIPLE}/" if layout == "npm" else ""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        if layout == "npm":
            version = json.loads((package / "codex-package.json").read_text())["version"]
            add_bytes(tar, "package/package.json", json.dumps({"version": f"{version}-{PLATFORM}"}).encode())
        for path in sorted(path for path in package.rglob("[!.]*") if path.is_file()):
            add_bytes(tar, top + str(path.relative_to(package)), path.read_bytes(), os.stat(path).st_mode & 0o777)
    return gzip.compress(content.getvalue(), compresslevel=6, mtime=0)


def add_bytes(tar: tarfile.TarFile, name: str, content: bytes, mode: int = 0o644) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode, member.mtime = len(content), mode, NPM_MTIME
    tar.addfile(member, io.BytesIO(content))


class Handler(BaseHTTPRequestHandler):
    """Answers as its depot says; a proxy's CONNECT it refuses."""

    depot: Depot

    def do_GET(self) -> None:
        path = self.path.removeprefix(f"http://{self.headers['Host']}")
        token = self.headers.get("Authorization", "")
        self.depot.asked.append(Request(path, self.headers["Host"].partition(":")[0], token))
        answer = self.depot.answer(path)
        self.send_response(answer.status)
        headers = {"Content-Type": answer.kind, "Content-Length": str(len(answer.body)), **answer.headers}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer.body if answer.breaks_after < 0 else answer.body[: answer.breaks_after])
        if answer.stalls:
            self.wfile.flush()
            self.depot.closing.wait(60)

    def do_CONNECT(self) -> None:
        self.depot.asked.append(Request(f"CONNECT {self.path}", self.path.partition(":")[0], ""))
        self.send_error(403, "not from here")

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def open_depot() -> Iterator[Depot]:
    """A depot that answers as long as the block lasts."""

    class OwnHandler(Handler):
        pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), OwnHandler)
    server.daemon_threads = True
    OwnHandler.depot = depot = Depot(server)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield depot
    finally:
        depot.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()
