"""Only data that hold what the manifest promises are evaluated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from test_score import SAMPLES, SPEC, Letters

from ptb_core.api import DataDir, Sample
from ptb_core.errors import DataError
from ptb_core.evaluation.samples import samples_of

DATA = DataDir(files={"test": Path("rows.jsonl")})


class Twice(Letters):
    def samples(self, data: DataDir) -> Sequence[Sample]:
        return [*SAMPLES[:2], SAMPLES[1]]


class Backwards(Letters):
    def order(self, samples: Sequence[Sample], limit: int | None) -> Sequence[Sample]:
        return list(reversed(samples))[:limit]


def test_the_tasks_own_order_holds() -> None:
    assert [sample.id for sample in samples_of(Backwards(SPEC), DATA, 2)] == ["c", "b"]


def test_data_of_another_size_are_refused() -> None:
    with pytest.raises(DataError) as caught:
        samples_of(Letters(replace(SPEC, n_samples=4)), DATA)
    assert str(caught.value) == (
        "letters: its data hold 3 samples, expected 4, the n_samples of its manifest; a copy "
        "that was cut or changed gives other scores, so replace it: rows.jsonl"
    )


def test_two_samples_with_one_id_are_refused() -> None:
    with pytest.raises(DataError) as caught:
        samples_of(Twice(SPEC), DATA)
    assert str(caught.value) == (
        "letters: 2 samples have the id 'b', expected every id once; look into rows.jsonl"
    )
