"""What only a Mac can tell of the real Codex: its signature, Gatekeeper, and the keychain that a clone sees.

Nobody has run this yet: it is for the first who has a Mac, and for the CI's.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from helpers import run
from real.kit import House, a_house

pytestmark = [
    pytest.mark.real,
    pytest.mark.once,
    pytest.mark.skipif(sys.platform != "darwin", reason="asks macOS about the real Codex"),
]


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    with a_house() as house:
        house.create("work")
        yield house


def test_the_pinned_codex_is_signed_as_openai_s_is_and_not_in_quarantine(house: House) -> None:
    entry = house.rows()["work"]["runtimeEntryPath"]
    signed = run(["/usr/bin/codesign", "-dv", "--verbose=2", entry], env=house.home.env, check=True).err
    assert "Authority=Developer ID Application: OpenAI" in signed and "runtime" in signed, signed
    run(["/usr/bin/codesign", "--verify", "--strict", entry], env=house.home.env, check=True)
    assert "com.apple.quarantine" not in run(["/usr/bin/xattr", entry], env=house.home.env, check=True).out
    rights = run(["/usr/bin/codesign", "-d", "--entitlements", "-", entry], env=house.home.env)
    assert "keychain-access-groups" not in rights.out + rights.err


def test_gatekeeper_lets_the_pinned_codex_start(house: House) -> None:
    said = house.codex("work", "--version", timeout=60)
    assert (said.code, said.out.startswith("codex-cli ")) == (0, True), said


def test_a_clone_sees_the_login_keychain_unless_it_shares_nothing(house: House) -> None:
    house.mirror("create", "alone", "--share", "none", check=True)
    listed = {
        name: house.mirror("exec", name, "--", "/usr/bin/security", "list-keychains", "-d", "user").out
        for name in ("work", "alone")
    }
    keychains = house.home.home / "Library" / "Keychains"
    assert ("login.keychain" in listed["work"]) == keychains.exists(), listed
    assert "login.keychain" not in listed["alone"] or not keychains.exists(), listed
