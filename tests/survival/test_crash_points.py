"""Death before durable steps, one by one: a thinned sweep; the whole one is a command."""

from __future__ import annotations

import pytest

from .crash_points import Sweep, describe

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    return Sweep(tmp_path_factory.mktemp("sweep"), "none")


@pytest.mark.parametrize(
    ("victim", "steps"),
    [
        ("supervisor", (3, 31, 47, 62, 88, 121)),
        ("command-line", (2, 9)),
        ("solve-guardian", (5, 14)),
        ("serve-guardian", (9,)),
    ],
)
def test_a_cell_survives_a_death_before_any_durable_step(
    sweep: Sweep, victim: str, steps: tuple[int, ...]
) -> None:
    points = [sweep.point(victim, step) for step in steps]
    assert all(point.died for point in points), "fewer steps than this test takes points from"
    faults = [describe(point) for point in points if point.faults]
    assert not faults, "\n".join(faults)
