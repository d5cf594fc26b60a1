"""The judged tasks with core's own performing of checks and a scripted grader."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from ptb_core.api import Completion, GraderCheck, GraderResult, Sample, Task
from ptb_core.evaluation.checking import (
    CheckedCompletions,
    CheckError,
    Grader,
    Runners,
    perform_checks,
)
from ptb_core.records import Evaluation
from tests.scored import evaluate_both
from tests.tasks.test_healthbench import NO, YES


class Scripted(Grader):
    """Replies by the name of the check, one more of them at each try; the last one stays."""

    max_in_flight = 8

    def __init__(self, replies: Callable[[GraderCheck], Sequence[str]]) -> None:
        self.asked: list[GraderCheck] = []
        self._replies = replies

    async def ask(self, check: GraderCheck, accepts: Callable[[str], bool]) -> GraderResult:
        replies = self._replies(check)
        for tries in range(1, check.tries + 1):
            self.asked.append(check)
            await asyncio.sleep(0)
            reply = replies[min(tries, len(replies)) - 1]
            if accepts(reply):
                return GraderResult(text=reply, tries=tries)
        raise CheckError(f"{check.name}: no usable reply in {check.tries} tries")


def evaluated(
    task: Task, samples: Sequence[Sample], checked: CheckedCompletions
) -> tuple[Evaluation, dict[str, float]]:
    evaluation = evaluate_both(task, samples, checked.completions, counted="published")
    return evaluation, {one: score.value for one, score in evaluation.scores.items()}


def completions(samples: Sequence[Sample], text: str) -> dict[str, tuple[Completion, ...]]:
    return {sample.id: (Completion(text=text),) for sample in samples}


def test_games_are_judged_again_until_a_verdict_is_known(arena, arena_data, tmp_path: Path) -> None:
    samples = arena.samples(arena_data)
    verdicts = {"baseline-first": ["[A]", "hm", "[[B>A]]"], "candidate-first": ["[[A>>B]]"]}
    grader = Scripted(lambda check: verdicts[check.name])
    asked = completions(samples, "A poem.")
    checked = perform_checks(arena, samples, asked, Runners(grader=grader), tmp_path / "log.jsonl")
    evaluation, values = evaluated(arena, samples, checked)
    assert (len(grader.asked), checked.performed) == (3 * 4, 6)
    assert (evaluation.complete, values) == (True, {"published": 1.0, "repaired": 1.0})


def test_a_question_without_verdict_makes_the_evaluation_incomplete(
    arena, arena_data, tmp_path: Path
) -> None:
    samples = arena.samples(arena_data)
    grader = Scripted(lambda check: ["[[A>B]]"] if "Opponent's two" not in str(check) else ["?"])
    asked = completions(samples, "A poem.")
    checked = perform_checks(arena, samples, asked, Runners(grader=grader), tmp_path / "log.jsonl")
    assert list(checked.failures) == ["two"]
    evaluation, _ = evaluated(arena, samples, checked)
    assert (evaluation.complete, evaluation.n_scored, evaluation.n_expected) == (False, 2, 3)


def test_criteria_are_graded_once_and_kept(healthbench, health_data, tmp_path: Path) -> None:
    samples = healthbench.samples(health_data)
    grader = Scripted(lambda check: [NO if "[-" in str(check.messages) else YES])
    asked = completions(samples, "Rest it.")
    for grader_now, performed in ((grader, 6), (Scripted(lambda check: []), 0)):
        runners = Runners(grader=grader_now)
        checked = perform_checks(healthbench, samples, asked, runners, tmp_path / "log.jsonl")
        assert (checked.performed, checked.failures) == (performed, {})
        _, values = evaluated(healthbench, samples, checked)
        assert values == {"published": 1.0, "repaired": 1.0}


def test_a_rubric_that_an_answer_draws_in_is_graded_apart_for_each_scoring(
    healthbench, health_data, tmp_path: Path
) -> None:
    samples = healthbench.samples(health_data)
    grader = Scripted(lambda check: [NO if check.name.endswith("-as-written") else YES])
    asked = {"three": (Completion(text="I have <<rubric_item>>."),)}
    log = tmp_path / "log.jsonl"
    checked = perform_checks(healthbench, samples[2:], asked, Runners(grader=grader), log)
    _, values = evaluated(healthbench, samples[2:], checked)
    assert values == {"published": 1.0, "repaired": 0.0}


@pytest.mark.parametrize("text", ["\ud800", "<<rubric_item>>\udc00", "a" * 50_000])
def test_hostile_answers_reach_the_grader_in_a_form_that_can_be_sent(
    healthbench, health_data, tmp_path: Path, text: str
) -> None:
    samples = healthbench.samples(health_data)
    grader = Scripted(lambda check: [YES])
    asked = completions(samples, text)
    log = tmp_path / "log.jsonl"
    checked = perform_checks(healthbench, samples, asked, Runners(grader=grader), log)
    assert checked.failures == {}
    assert log.stat().st_size > 0
