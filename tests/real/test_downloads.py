"""From nothing: the real Codex fetched from where this machine's npm gets it, on a PATH without any Codex."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers import Home, Mirror, discard, make_home, run
from real.installers import nodeless_directory
from rooms import caller_in, cm

pytestmark = [
    pytest.mark.once,
    pytest.mark.skipif(
        os.environ.get("CODEX_MIRROR_TEST_FETCH") != "1" or not shutil.which("npm"),
        reason="fetches 500 MB: set CODEX_MIRROR_TEST_FETCH=1 where an npm is",
    ),
]
# What a network may need: proxies, certificates, and what npm is told.
KEPT = ("http_proxy", "https_proxy", "no_proxy", "ssl_cert_file", "ssl_cert_dir", "node_extra_ca_certs")


@pytest.fixture
def home() -> Iterator[Home]:
    """On a disk, with npm and Node on PATH, and no Codex."""
    base = Path(os.path.realpath("/var/tmp")) / f"c{secrets.token_hex(3)}"
    base.mkdir(mode=0o700)
    try:
        home = make_home(base)
        tools = base / "tools"
        tools.mkdir()
        for name in ("npm", "node"):
            (tools / name).symlink_to(os.path.realpath(shutil.which(name) or name))
        home.env["PATH"] = f"{home.bin}:{tools}:{nodeless_directory(base)}"
        home.env["CODEX_MIRROR_OFFLINE"] = "0"
        kept = {name for name in os.environ if name.lower() in KEPT or name.lower().startswith("npm_config_")}
        home.env.update({name: os.environ[name] for name in kept})
        assert shutil.which("codex", path=home.env["PATH"]) is None
        yield home
    finally:
        discard(base)


def test_any_real_codex_is_had_by_its_number_gone_back_from_and_restored(home: Home) -> None:
    mirror = Mirror(home)

    def said(name: str = "old") -> str:
        return run([home.bin / name, "--version"], env=home.env, check=True).out.split()[-1]

    made = mirror("create", "old", "--codex", "0.168.0", check=True, timeout=600)
    assert "fetching Codex 0.168.0 (" in made.err and said() == "0.168.0"
    assert "0.168.0 → 0.171.0" in mirror("update", "old", "--codex", "0.171.0", check=True, timeout=600).out
    assert said() == "0.171.0"
    mirror("rollback", "old", check=True)
    assert said() == "0.168.0"
    shutil.rmtree(home.mirror / "clones/old/.codex-mirror/runtime")
    assert mirror("run", "old", "--version").code == 1
    fixed = mirror("doctor", "--fix", timeout=600)
    assert "old: pinned Codex 0.168.0 again" in fixed.err and said() == "0.168.0"
    assert mirror("doctor", "--deep", "--json", timeout=300).json()[0]["ok"]
    status = run([home.bin / "old", "login", "status"], env=home.env)
    assert (status.code, status.err.splitlines()[-1]) == (1, "Not logged in")
    assert shutil.which("codex", path=home.env["PATH"]) is None


def test_the_real_versions_are_listed_with_the_newest(home: Home) -> None:
    listed = Mirror(home)("versions", "--json", check=True).json()
    assert listed["installed"] is None and len(listed["versions"]) >= 15
    assert listed["latest"] in [row["version"] for row in listed["versions"]]


def test_what_npm_has_for_a_mac_is_fetched_and_known(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "uname", lambda: os.uname_result(("Darwin", "mac", "25.1.0", "", "arm64")))
    found = cm.fetch_package(caller_in(home), "0.171.0", str(home.base))
    assert (found.entry, found.kind, found.version, found.missing) == ("bin/codex", "binary", "0.171.0", ())
    with open(os.path.join(found.package, found.entry), "rb") as file:
        assert file.read(4) == b"\xcf\xfa\xed\xfe"  # A Mach-O file of 64 bits.
