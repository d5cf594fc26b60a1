"""Which GPUs a cell is given."""

from __future__ import annotations

import pytest

from ptb_core import gpus
from ptb_core.gpus import gpus_of_condition, visible_gpus


@pytest.fixture(autouse=True)
def four_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(gpus, "gpu_lines", lambda: ["NVIDIA H100"] * 4)


def test_a_cell_has_as_many_as_its_condition_says() -> None:
    assert gpus_of_condition(0) == ()
    assert gpus_of_condition(1) == ("0",)
    assert gpus_of_condition(3) == ("0", "1", "2")


@pytest.mark.parametrize(
    ("given", "expected"), [("2, GPU-8f", ("2", "GPU-8f")), ("3,", ("3",)), ("", ())]
)
def test_what_the_supervisor_may_use_bounds_it(
    monkeypatch: pytest.MonkeyPatch, given: str, expected: tuple[str, ...]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
    assert visible_gpus() == expected
    assert gpus_of_condition(1) == expected[:1]
