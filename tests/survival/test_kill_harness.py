"""A share of the kill harness, with a fixed seed: every kind of victim, and pairs."""

from __future__ import annotations

from pathlib import Path

import pytest

from .kill_harness import FAMILIES, failure, family_of, play_all, table
from .world import ROLES

pytestmark = pytest.mark.slow

SEED = 1
ROUNDS = (*range(15), 16, 17)
"""All families but those with the real engine, whose start costs several seconds each."""


def test_the_rounds_cover_every_victim_pairs_and_the_deadline() -> None:
    played = [family_of(number) for number in ROUNDS]
    assert {role for family in played for role in family.victims} == set(ROLES)
    assert any(len(family.victims) == 2 for family in played)
    assert any(family.setup.endless for family in played)
    assert any(family.setup.with_base for family in played)
    assert any(family.setup.engine == "transformers" for family in FAMILIES)


def test_a_killed_round_is_resumed_as_if_nothing_had_happened(tmp_path: Path) -> None:
    results = play_all(tmp_path, ROUNDS, SEED, jobs=2)
    faults = [failure(r, SEED, tmp_path) for r in results if r.findings.faults]
    assert not faults, "\n".join(faults)
    assert any(kill.landed for result in results for kill in result.kills)
    print(table(results))
