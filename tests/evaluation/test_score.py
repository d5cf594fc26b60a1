"""From completions to an evaluation, and what makes one incomplete."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptb_core.api import (
    ChatRequest,
    Completion,
    DataDir,
    Request,
    RequestKind,
    Sample,
    SampleScore,
    Scoring,
    Task,
    TaskScore,
    TaskSpec,
    mean_and_stderr,
)
from ptb_core.evaluation.score import score_task
from tests.scored import evaluate_both

SPEC = TaskSpec(
    name="letters", title="Letters", description="-", metric="accuracy", n_samples=3, max_tokens=5
)
SAMPLES = [Sample(id=letter, input={}, target=letter) for letter in "abc"]


class Letters(Task):
    """Repaired scoring ignores case; the answers ``raise`` and ``nan`` break the scorer."""

    def samples(self, data: DataDir) -> Sequence[Sample]:
        return SAMPLES

    def requests(self, sample: Sample, requests: RequestKind) -> tuple[Request, ...]:
        return (ChatRequest(messages=()),)

    def score(
        self, sample: Sample, completions: Sequence[Completion], scoring: Scoring
    ) -> SampleScore:
        text = completions[0].text or ""
        if text == "raise" and scoring == "published":
            raise ZeroDivisionError("hostile")
        if text == "nan":
            return SampleScore(id=sample.id, value=math.nan)
        same = text == sample.target or (scoring == "repaired" and text.lower() == sample.target)
        return SampleScore(id=sample.id, value=float(same), answer=text)

    def aggregate(self, scores: Sequence[SampleScore], scoring: Scoring) -> TaskScore:
        if any(score.answer == "no total" for score in scores):
            raise ValueError("cannot add up")
        return mean_and_stderr(scores)


def completions(*texts: str) -> dict[str, tuple[Completion, ...]]:
    return {letter: (Completion(text=text),) for letter, text in zip("abc", texts, strict=False)}


def test_both_scorings_are_computed_and_one_counts() -> None:
    evaluation = evaluate_both(
        Letters(SPEC), SAMPLES, completions("a", "B", "x"), counted="repaired", details={"k": 1}
    )
    assert evaluation.complete
    assert (evaluation.n_expected, evaluation.n_scored) == (3, 3)
    assert evaluation.scores["published"].value == pytest.approx(1 / 3)
    assert evaluation.scores["repaired"].value == pytest.approx(2 / 3)
    assert evaluation.counted == "repaired"
    assert evaluation.details == {"k": 1}


def test_a_missing_completion_makes_the_evaluation_incomplete() -> None:
    evaluation = evaluate_both(Letters(SPEC), SAMPLES, completions("a", "b"), counted="published")
    assert not evaluation.complete
    assert evaluation.n_scored == 2
    assert evaluation.details["failures"]["published"] == {"c": "it has no completion"}


def test_a_task_that_raises_is_named_and_makes_the_evaluation_incomplete() -> None:
    evaluation = evaluate_both(
        Letters(SPEC), SAMPLES, completions("a", "raise", "c"), counted="published"
    )
    assert not evaluation.complete
    assert evaluation.n_scored == 2
    reason = evaluation.details["failures"]["published"]["b"]
    assert reason.startswith("task 'letters' (")
    assert reason.endswith("Letters) raised in score: ZeroDivisionError: hostile")
    assert evaluation.details["failures"]["repaired"] == {}
    assert evaluation.scores["repaired"].n == 3


def test_a_score_that_is_no_number_is_a_failure_and_not_a_score() -> None:
    scored = score_task(Letters(SPEC), SAMPLES, completions("a", "b", "nan"), "published")
    assert "the score nan is no number" in scored.failures["c"]
    assert scored.total is not None
    assert scored.total.value == 1.0


def test_an_aggregate_that_raises_leaves_no_score() -> None:
    evaluation = evaluate_both(
        Letters(SPEC), SAMPLES, completions("a", "b", "no total"), counted="published"
    )
    assert not evaluation.complete
    assert evaluation.scores == {}
    assert (
        "raised in aggregate: ValueError: cannot add up"
        in (evaluation.details["failures"]["published"][""])
    )


def test_nothing_to_score_is_not_complete() -> None:
    evaluation = evaluate_both(Letters(SPEC), [], {}, counted="published")
    assert (evaluation.complete, evaluation.scores) == (False, {})


def test_answers_cut_at_their_limit_are_marked_and_counted() -> None:
    cut = {**completions("a", "b", "c"), "b": (Completion(text="b", finish_reason="length"),)}
    scored = score_task(Letters(SPEC), SAMPLES, cut, "published")
    assert [score.marks for score in scored.samples] == [(), ("truncated",), ()]
    assert scored.total is not None
    assert scored.total.marks == {"truncated": 1}


@given(st.lists(st.sampled_from([0.0, 1.0]), min_size=2, max_size=60))
def test_the_standard_error_of_zeros_and_ones_is_the_published_formula(
    values: list[float],
) -> None:
    total = mean_and_stderr([SampleScore(id=str(i), value=v) for i, v in enumerate(values)])
    p, n = sum(values) / len(values), len(values)
    assert total.value == pytest.approx(p, abs=1e-15)
    assert total.stderr == pytest.approx(math.sqrt(p * (1 - p) / (n - 1)), abs=1e-12)
    assert total.n == n


def test_one_sample_has_no_standard_error_and_none_has_no_mean() -> None:
    assert mean_and_stderr([SampleScore(id="a", value=1.0)]).stderr == 0.0
    with pytest.raises(ValueError, match="at least one sample"):
        mean_and_stderr([])


def test_a_mark_that_a_task_has_set_itself_is_not_set_twice() -> None:
    class Marking(Letters):
        def score(
            self, sample: Sample, completions: Sequence[Completion], scoring: Scoring
        ) -> SampleScore:
            return SampleScore(id=sample.id, value=1.0, marks=("odd", "truncated"))

    cut = {letter: (Completion(text="x", finish_reason="length"),) for letter in "abc"}
    scored = score_task(Marking(SPEC), SAMPLES, cut, "published")
    assert {score.marks for score in scored.samples} == {("odd", "truncated")}


def test_one_cut_answer_of_several_marks_its_sample() -> None:
    several = {
        letter: (Completion(text="x"), Completion(text="x", finish_reason="length"))
        for letter in "abc"
    }
    scored = score_task(Letters(SPEC), SAMPLES, several, "published")
    assert {score.marks for score in scored.samples} == {("truncated",)}


def test_one_bad_sample_does_not_end_the_others() -> None:
    scored = score_task(Letters(SPEC), SAMPLES, completions("raise", "b", "c"), "published")
    assert [score.id for score in scored.samples] == ["b", "c"]
    only_last = {"c": (Completion(text="c"),)}
    scored = score_task(Letters(SPEC), SAMPLES, only_last, "published")
    assert [score.id for score in scored.samples] == ["c"]
    assert list(scored.failures) == ["a", "b"]


def test_nothing_that_could_be_scored_has_no_total_and_no_failed_total() -> None:
    scored = score_task(Letters(SPEC), SAMPLES, {}, "published")
    assert (scored.samples, scored.total, list(scored.failures)) == ((), None, ["a", "b", "c"])
