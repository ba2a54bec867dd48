"""Weeks of use with the real Codex."""

from __future__ import annotations

import pytest
from weeks import SLOWER, live

from helpers import Home, Mirror
from real.kit import a_house

pytestmark = [pytest.mark.real, pytest.mark.slow]


def found_by_doctor(home: Home) -> list[str]:
    """What doctor has to complain of; but for the account, which is the same in all."""
    found = [one for row in Mirror(home)("doctor", "--json").json() for one in row["problems"]]
    return [one["what"] for one in found if one["severity"] != "info" and one["id"] != "same-account"]


def test_weeks_of_use_leave_nothing_lose_nothing_and_slow_nothing_down() -> None:
    with a_house() as old, a_house() as young, old.installed() as env, young.installed() as other:
        old.home.env.update(env)
        young.home.env.update(other)
        wrong, compared = live(old.home, young.home, [f"{old.prefix}/bin/codex"], 40, found_by_doctor)
    assert wrong == []
    assert {words: ratio for words, ratio in compared.items() if ratio > SLOWER} == {}
