"""Tasks that break a promise fail the check of that promise, in words."""

from __future__ import annotations

import itertools
import unittest
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from ptb_core.api import (
    ChatRequest,
    DataDir,
    DataFile,
    FileSource,
    Sample,
    SampleScore,
    Task,
    TaskScore,
    TestItem,
    mean_and_stderr,
)
from ptb_core.testing import TaskConformance, task_spec
from tests.testing.running import broken, checked


class Capitals(Task):
    """A right task, of which the wrong ones differ in one thing."""

    def samples(self, data):
        rows = (("France", "Paris"), ("Peru", "Lima"), ("Mali", "Bamako"), ("Fiji", "Suva"))
        return [
            Sample(id=f"q{number}", input={"question": f"Capital of {land}?"}, target=city)
            for number, (land, city) in enumerate(rows)
        ]

    def requests(self, sample, requests):
        return (ChatRequest(messages=({"role": "user", "content": sample.input["question"]},)),)

    def score(self, sample, completions, scoring):
        text = (completions[0].text or "").strip()
        value = float(text.endswith(str(sample.target)))
        return SampleScore(id=sample.id, value=value, answer=text[:20])

    def aggregate(self, scores, scoring):
        return mean_and_stderr(scores)


SPEC = task_spec(n_samples=4)


def wrong(**methods: Callable[..., object]) -> Task:
    return type("Wrong", (Capitals,), methods)(SPEC)


counter = itertools.count()


def scored(value: float) -> Callable[..., SampleScore]:
    return lambda self, sample, completions, scoring: SampleScore(id=sample.id, value=value)


def raising_on_no_text(self, sample, completions, scoring):
    return SampleScore(id=sample.id, value=float(completions[0].text.strip() == sample.target))


def changing_the_sample(self, sample, completions, scoring):
    sample.input["seen"] = True
    return SampleScore(id=sample.id, value=0.0)


def item(**fields: object) -> Callable[..., Iterable[TestItem]]:
    given = {"id": "q0", "text": "Capital of France?"}
    return lambda self, data: [TestItem(id="q1", text="Peru"), TestItem(**(given | fields))]


CASES = {
    "no samples": (
        wrong(samples=lambda self, data: []),
        "test_samples_are_samples_and_there_is_one_at_least",
        "samples() must return at least one sample; it returned none",
    ),
    "fewer samples than stated": (
        Capitals(task_spec(n_samples=9)),
        "test_samples_are_as_many_as_its_facts_say",
        "samples() must return n_samples = 9 samples; it returned 4",
    ),
    "repeated ids": (
        wrong(samples=lambda self, data: Capitals.samples(self, data) * 2),
        "test_sample_ids_are_unique",
        "sample ids must be unique; repeated are q0, q1, q2",
    ),
    "samples that change": (
        wrong(
            samples=lambda self, data: [Sample(id=str(next(counter)), input={}, target="")],
        ),
        "test_samples_are_the_same_in_every_call",
        "samples() must give equal samples in the same order every time",
    ),
    "samples that are no JSON": (
        wrong(samples=lambda self, data: [Sample(id="a", input={"question": object()}, target="")]),
        "test_samples_are_json",
        "sample 'a' must be what JSON can hold; it raised TypeError: Encoding objects of type "
        "object is unsupported",
    ),
    "a limit that repeats": (
        wrong(order=lambda self, samples, limit: [samples[0]] * (limit or 1)),
        "test_a_limit_takes_that_many_samples_and_none_twice",
        "order() under limit 2 must give 2 of the samples, each once; it gave 2, of which 1 are "
        "different samples",
    ),
    "a limit that takes the last": (
        wrong(order=lambda self, samples, limit: samples[-(limit or len(samples)) :]),
        "test_a_larger_limit_begins_with_the_smaller_one",
        "order() under limit 1 must be the beginning of order() under a larger limit; it begins "
        "['q3'] and the larger one ['q0', 'q1', 'q2']",
    ),
    "no limit that drops": (
        wrong(order=lambda self, samples, limit: samples[: limit or 2]),
        "test_without_a_limit_every_sample_is_evaluated",
        "order() without a limit must give all 4 samples; it gave 2",
    ),
    "requests in a list": (
        wrong(requests=lambda self, sample, kind: []),
        "test_every_sample_has_requests",
        "requests() must return a tuple of requests; for sample 'q0', published, it returned []",
    ),
    "requests that change": (
        wrong(
            requests=lambda self, sample, kind: (
                ChatRequest(messages=({"role": "user", "content": str(next(counter))},)),
            )
        ),
        "test_requests_are_pure_and_json",
        "requests() must give the same every time; for 'q0' it did not",
    ),
    "a score that raises": (
        wrong(score=raising_on_no_text),
        "test_no_completion_makes_score_raise",
        "score() must not raise on the completion 'no text' under published scoring; it raised "
        "AttributeError: 'NoneType' object has no attribute 'strip'",
    ),
    "a score that is no number": (
        wrong(score=scored(float("nan"))),
        "test_every_score_is_finite_and_in_range",
        "a score must lie in [0, 1]; on the completion 'no text' under published scoring it is nan",
    ),
    "a score out of range": (
        wrong(score=scored(100.0)),
        "test_every_score_is_finite_and_in_range",
        "a score must lie in [0, 1]; on the completion 'no text' under published scoring it is "
        "100.0",
    ),
    "a score of another sample": (
        wrong(score=lambda self, sample, completions, scoring: SampleScore(id="x", value=0.0)),
        "test_every_score_is_finite_and_in_range",
        "score() must carry the sample's id 'q0'; it carries 'x'",
    ),
    "a score that is a float": (
        wrong(score=lambda self, sample, completions, scoring: 0.0),
        "test_every_score_is_finite_and_in_range",
        "score() must return a SampleScore; it returned 0.0",
    ),
    "a score that varies": (
        wrong(
            score=lambda self, sample, completions, scoring: SampleScore(
                id=sample.id, value=float(next(counter) % 2)
            )
        ),
        "test_scoring_is_pure",
        "score() must give the same every time; on the completion 'no text' it gave ",
    ),
    "a score that changes its sample": (
        wrong(score=changing_the_sample),
        "test_scoring_is_pure",
        "score() must not change its arguments; it did on 'no text'",
    ),
    "a wrong n": (
        wrong(aggregate=lambda self, scores, scoring: TaskScore(value=0.0, stderr=None, n=7)),
        "test_one_sample_can_be_aggregated",
        "aggregate() of 1 samples must say n = 1; it says 7",
    ),
    "an aggregate that is a sum": (
        wrong(
            aggregate=lambda self, scores, scoring: TaskScore(
                value=sum(score.value for score in scores), stderr=None, n=len(scores)
            )
        ),
        "test_many_samples_can_be_aggregated",
        "the task's score must lie in [0, 1]; it is 8.0",
    ),
    "an aggregate that depends on the order": (
        wrong(
            aggregate=lambda self, scores, scoring: TaskScore(
                value=scores[0].value, stderr=None, n=len(scores)
            )
        ),
        "test_the_order_of_samples_does_not_move_the_score",
        "aggregate() must not depend on the order of samples; it gave 0.0 and reversed 1.0",
    ),
    "an item of no sample": (
        wrong(contamination_items=item(id="zz")),
        "test_contamination_items_have_texts_and_known_ids",
        "contamination_items() must name samples; 'zz' is none",
    ),
    "an empty item": (
        wrong(contamination_items=item(text=" ")),
        "test_contamination_items_have_texts_and_known_ids",
        "the contamination item 'q0' must have a text",
    ),
    "an allowed test text": (
        wrong(contamination_items=item(text="Peru", allowed=True)),
        "test_no_test_text_is_allowed",
        "no text to search for may equal an allowed one; 1 do, such as 'q1'",
    ),
}


@pytest.mark.parametrize(("task", "method", "sentence"), CASES.values(), ids=CASES)
def test_a_wrong_task_fails_with_a_sentence(task: Task, method: str, sentence: str) -> None:
    assert broken(TaskConformance, task, method).startswith(sentence)


@pytest.mark.parametrize("method", sorted({method for _, method, _ in CASES.values()}))
def test_a_right_task_passes_the_same_checks(method: str) -> None:
    checked(TaskConformance, Capitals(SPEC), method)


def test_absent_data_is_skipped_with_the_command_that_brings_it(tmp_path: Path) -> None:
    source = FileSource(hub="nobody/nothing", path="test.jsonl")
    spec = replace(SPEC, name="far-away", data=(DataFile(name="test", source=source),))
    with pytest.raises(unittest.SkipTest) as skipped:
        checked(TaskConformance, Capitals(spec), "test_sample_ids_are_unique")
    assert str(skipped.value) == (
        "its data is not on this machine: run `ptb prefetch --task far-away`"
    )


def test_data_can_be_given_by_the_author(tmp_path: Path) -> None:
    asked = []

    def samples(self, data):
        asked.append(data)
        return Capitals.samples(self, data)

    given = DataDir(files={"test": tmp_path})
    task = wrong(samples=samples)
    checked(TaskConformance, task, "test_sample_ids_are_unique", data=lambda self: given)
    assert asked == [given]
