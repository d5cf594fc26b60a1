"""Tasks whose checks break a promise fail the check of that promise, in words."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace

import pytest

from ptb_core.api import (
    UNCHECKED,
    ChatRequest,
    GraderCheck,
    GraderResult,
    ProgramCheck,
    ProgramResult,
    Sample,
    SampleScore,
    Task,
    mean_and_stderr,
)
from ptb_core.testing import TaskConformance, task_spec
from tests.testing.running import broken, checked

RUN = ProgramCheck(name="run", program="print(1)")
ASK = GraderCheck(name="ask", messages=(), max_completion_tokens=1)


class Checked(Task):
    """A right task with a program and a question, of which the wrong ones differ in one thing."""

    def samples(self, data):
        return [
            Sample(id=f"q{number}", input={"question": str(number)}, target="") for number in "12"
        ]

    def requests(self, sample, requests):
        return (ChatRequest(messages=()),)

    def checks(self, sample, completion):
        return (RUN, ASK) if completion.text else ()

    def accepts(self, sample, check, reply):
        return "[[" in reply

    def score(self, sample, completions, scoring):
        (completion,) = completions
        if not self.checks(sample, completion):
            return SampleScore(id=sample.id, value=0.0)
        run, ask = completion.checks.get("run"), completion.checks.get("ask")
        if not isinstance(run, ProgramResult) or not isinstance(ask, GraderResult):
            return SampleScore(id=sample.id, value=0.0, marks=(UNCHECKED,))
        return SampleScore(id=sample.id, value=float(run.exit_code == 0 and "A>B" in ask.text))

    def aggregate(self, scores, scoring):
        return mean_and_stderr(scores)


SPEC = replace(task_spec(n_samples=2), needs=("execute", "grader"))
counter = itertools.count()


def wrong(**methods: Callable[..., object]) -> Task:
    return type("Wrong", (Checked,), methods)(SPEC)


def giving(*checks: object) -> Task:
    return wrong(checks=lambda self, sample, completion: checks)


def scoring(score: Callable[..., SampleScore]) -> Task:
    """A task that scores by the results of its checks with ``score(run, ask)``."""

    def scored(self, sample, completions, scoring):
        found = completions[0].checks
        if "run" not in found:
            return SampleScore(id=sample.id, value=0.0, marks=(UNCHECKED,))
        return replace(score(found["run"], found["ask"]), id=sample.id)

    return wrong(score=scored)


CASES = {
    "checks that raise": (
        wrong(checks=lambda self, sample, completion: completion.text.split() and ()),
        "test_no_completion_makes_checks_raise",
        "checks() must not raise on the completion 'no text'; it raised AttributeError: "
        "'NoneType' object has no attribute 'split'",
    ),
    "checks in a list": (
        wrong(checks=lambda self, sample, completion: [RUN]),
        "test_no_completion_makes_checks_raise",
        "checks() must return a tuple of checks; on the completion 'no text' it returned "
        "[ProgramCheck(",
    ),
    "a check that is a program's text": (
        giving("print(1)"),
        "test_no_completion_makes_checks_raise",
        "checks() must return a tuple of checks; on the completion 'no text' it returned "
        "('print(1)',)",
    ),
    "two checks of one name": (
        giving(RUN, ProgramCheck(name="run", program="2")),
        "test_checks_of_one_completion_have_different_names",
        "the checks of a completion must have different names; on the completion 'no text' they "
        "are run, run",
    ),
    "checks that vary": (
        wrong(
            checks=lambda self, sample, completion: (
                ProgramCheck(name="run", program=str(next(counter))),
            )
        ),
        "test_checks_are_pure_and_json",
        "checks() must give the same every time; on the completion 'no text' it did not",
    ),
    "checks that are no JSON": (
        giving(ProgramCheck(name="run", program="x = '\ud800'")),
        "test_checks_are_pure_and_json",
        "the checks of the completion 'no text' must be what JSON can hold; it raised "
        "UnicodeEncodeError: ",
    ),
    "checks that change the sample": (
        wrong(
            checks=lambda self, sample, completion: (
                sample.input.update(seen=next(counter)) or (RUN,)
            )
        ),
        "test_checks_are_pure_and_json",
        "checks() must not change its arguments; it did on 'no text'",
    ),
    "a program that is not declared": (
        Checked(replace(SPEC, needs=("grader",))),
        "test_what_checks_need_is_declared",
        "a task with such a check must say 'execute' in its needs, which are ['grader']; on the "
        "completion 'blanks' it asks for 'run'",
    ),
    "a question that is not declared": (
        Checked(replace(SPEC, needs=("execute",))),
        "test_what_checks_need_is_declared",
        "a task with such a check must say 'grader' in its needs, which are ['execute']; on the "
        "completion 'blanks' it asks for 'ask'",
    ),
    "a wrong answer where there is no result": (
        wrong(score=lambda self, sample, answers, scoring: SampleScore(id=sample.id, value=0.0)),
        "test_a_score_without_the_results_of_its_checks_says_so",
        "a score without the results of its checks must have the mark 'unchecked'; on the "
        "completion 'blanks' the marks are [(), ()]",
    ),
    "a score that knows no signal": (
        scoring(lambda run, ask: SampleScore(id="", value=1.0 / (run.exit_code + 9))),
        "test_every_result_of_a_check_can_be_scored",
        "score() must not raise on the completion 'blanks' with a program's end 'timeout' (-9) and "
        "the reply '[[A>B]]'; it raised ZeroDivisionError: ",
    ),
    "a score out of range for one result": (
        scoring(lambda run, ask: SampleScore(id="", value=float(run.exit_code or 0))),
        "test_every_result_of_a_check_can_be_scored",
        "a score must lie in [0, 1]; on the completion 'blanks' with a program's end 'timeout' "
        "(-9) and the reply '[[A>B]]' it is -9.0",
    ),
    "a score that never counts": (
        scoring(lambda run, ask: SampleScore(id="", value=0.0, marks=(UNCHECKED,))),
        "test_every_result_of_a_check_can_be_scored",
        "a score whose checks all have results must not have the mark 'unchecked'; on the "
        "completion 'blanks' with a program's end 'exit' (0) and the reply '[[A>B]]' it has",
    ),
    "an acceptance that raises": (
        wrong(accepts=lambda self, sample, check, reply: bool(reply[0])),
        "test_no_reply_of_a_grader_makes_accepts_raise",
        "accepts() must not raise on the reply ''; it raised IndexError: ",
    ),
    "an acceptance that is a text": (
        wrong(
            checks=lambda self, sample, completion: (ASK,),
            accepts=lambda self, sample, check, reply: reply[:1],
        ),
        "test_no_reply_of_a_grader_makes_accepts_raise",
        "accepts() must say True or False; on the completion 'no text' and the reply '[[A>B]]' "
        "it returned '['",
    ),
}


@pytest.mark.parametrize(("task", "method", "sentence"), CASES.values(), ids=CASES)
def test_a_task_with_wrong_checks_fails_with_a_sentence(
    task: Task, method: str, sentence: str
) -> None:
    assert broken(TaskConformance, task, method).startswith(sentence)


@pytest.mark.parametrize("method", sorted({method for _, method, _ in CASES.values()}))
def test_a_task_with_right_checks_passes(method: str) -> None:
    checked(TaskConformance, Checked(SPEC), method)
