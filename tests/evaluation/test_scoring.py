"""From a log of completions to an evaluation, over one seed and several."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from test_score import SAMPLES, SPEC, Letters

from ptb_core.api import (
    Check,
    Completion,
    GraderCheck,
    GraderResult,
    Sample,
    SampleScore,
    Scoring,
)
from ptb_core.evaluation.checking import Grader, Runners
from ptb_core.evaluation.completion_log import LogEntry
from ptb_core.evaluation.protocol import PAPER_V1, STRICT
from ptb_core.evaluation.scoring import ScoredCompletions, score_completions
from ptb_core.specs import JsonValue, ProtocolSpec

TWO = replace(STRICT, seeds=(5, 6))


class Graded(Letters):
    def checks(self, sample: Sample, completion: Completion) -> tuple[Check, ...]:
        return (GraderCheck(name="grade", messages=(), max_completion_tokens=1),)


def write_log(path: Path, *rounds: str) -> Path:
    with path.open("wb") as stream:
        for number, texts in enumerate(rounds, start=1):
            for sample, text in zip(SAMPLES, texts, strict=False):
                entry = LogEntry(
                    id=sample.id,
                    epoch=number,
                    call=0,
                    calls=1,
                    request="",
                    completion=Completion(text=text, finish_reason="stop"),
                )
                stream.write(msgspec.json.encode(entry) + b"\n")
    return path


def score(tmp_path: Path, protocol: ProtocolSpec, *rounds: str, task: Letters) -> ScoredCompletions:
    return score_completions(
        task,
        SAMPLES,
        protocol,
        write_log(tmp_path / "completions.jsonl", *rounds),
        Runners(),
        tmp_path / "checks.jsonl",
        details={"engine": "e"},
    )


def rows(scored: ScoredCompletions) -> Sequence[dict[str, object]]:
    return [json.loads(line) for line in scored.lines().splitlines()]


def test_one_round_is_scored_both_ways(tmp_path: Path) -> None:
    scored = score(tmp_path, PAPER_V1, "aBx", task=Letters(SPEC))
    evaluation = scored.evaluation
    assert evaluation.complete
    assert {s: round(t.value, 3) for s, t in evaluation.scores.items()} == {
        "published": 0.333,
        "repaired": 0.667,
    }
    assert evaluation.counted == "published"
    assert evaluation.details == {"engine": "e"}
    assert [(row["scoring"], row["id"]) for row in rows(scored)] == [
        *(("published", name) for name in "abc"),
        *(("repaired", name) for name in "abc"),
    ]
    assert "seed" not in rows(scored)[0]


def test_several_seeds_are_averaged_and_shown(tmp_path: Path) -> None:
    scored = score(tmp_path, TWO, "abc", "axx", task=Letters(SPEC))
    evaluation = scored.evaluation
    assert evaluation.complete
    assert (evaluation.n_expected, evaluation.n_scored) == (3, 3)
    assert evaluation.scores["repaired"].value == pytest.approx(2 / 3)
    assert evaluation.scores["repaired"].n == 3
    assert [one["seed"] for one in evaluation.details["seeds"]["per_seed"]] == [5, 6]
    assert len(rows(scored)) == 12
    assert [row["seed"] for row in rows(scored)][::6] == [5, 6]


def test_a_sample_that_one_seed_lacks_makes_the_evaluation_incomplete(tmp_path: Path) -> None:
    evaluation = score(tmp_path, TWO, "abc", "ab", task=Letters(SPEC)).evaluation
    assert not evaluation.complete
    assert (evaluation.n_expected, evaluation.n_scored) == (3, 2)
    assert evaluation.details["failures"]["repaired"] == {"c": "seed 6: it has no completion"}


def test_a_seed_without_any_score_leaves_no_average(tmp_path: Path) -> None:
    evaluation = score(tmp_path, TWO, "abc", task=Letters(SPEC)).evaluation
    assert evaluation.scores == {}
    assert (evaluation.complete, evaluation.n_scored) == (False, 0)


def test_a_seed_that_lacks_samples_shows_no_value_of_its_own(tmp_path: Path) -> None:
    evaluation = score(tmp_path, TWO, "abc", "a", task=Letters(SPEC)).evaluation
    assert evaluation.scores == {}
    values = {"published": 1.0, "repaired": 1.0}
    assert evaluation.details["seeds"] == {
        "per_seed": [{"seed": 5, "values": values}, {"seed": 6, "values": {}}],
        "spread": {},
    }


def test_an_answer_that_is_no_unicode_can_be_written_down(tmp_path: Path) -> None:
    class Odd(Letters):
        def score(
            self, sample: Sample, completions: Sequence[Completion], scoring: Scoring
        ) -> SampleScore:
            return SampleScore(id=sample.id, value=0.0, answer="\ud800")

    (first, *_) = rows(score(tmp_path, STRICT, "abc", task=Odd(SPEC)))
    assert first["answer"] == "\\ud800"


def test_missing_verdicts_make_the_evaluation_incomplete_with_how_much(tmp_path: Path) -> None:
    evaluation = score(tmp_path, STRICT, "ab", task=Graded(SPEC)).evaluation
    assert not evaluation.complete
    assert (evaluation.n_expected, evaluation.n_scored) == (3, 0)
    assert evaluation.details["failures"]["published"] == {
        "a": "the plan names no grader",
        "b": "the plan names no grader",
        "c": "it has no completion",
    }


class Telling(Grader):
    def __init__(self, **known: JsonValue) -> None:
        self._known = known

    def facts(self) -> dict[str, JsonValue]:
        return dict(self._known)

    async def ask(self, check: GraderCheck, accepts: Callable[[str], bool]) -> GraderResult:
        return GraderResult(text="yes")


def test_the_record_says_who_performed_the_checks_also_after_a_resumption(tmp_path: Path) -> None:
    def details(grader: Grader) -> Mapping[str, JsonValue]:
        scored = score_completions(
            Graded(SPEC),
            SAMPLES,
            STRICT,
            write_log(tmp_path / "completions.jsonl", "abc"),
            Runners(grader=grader),
            tmp_path / "checks.jsonl",
            details={},
        )
        assert scored.evaluation.complete
        return scored.evaluation.details

    assert details(Telling(model="m")) == {
        "checks": {"performed": 3, "resumed": 0},
        "grader": {"model": "m"},
    }
    assert details(Telling()) == {
        "checks": {"performed": 0, "resumed": 3},
        "grader": {"model": "m"},
    }
