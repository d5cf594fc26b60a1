"""The stage `score` of a graded cell: asked once, told in the record, gone on with after a stop."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ptb_core.evaluation.completion_log import LogEntry
from ptb_core.evaluation.exchange import Completion, Sample, SampleScore
from ptb_core.evaluation.json_log import JsonLog
from ptb_core.evaluation.statistics import mean_and_stderr
from ptb_core.records import Evaluation
from ptb_core.redo_request import RedoKind, RedoRequest
from ptb_core.stages.context import Prepared, StageContext
from ptb_core.stages.context import write_marker as write_marker_of
from ptb_core.stages.score import score
from ptb_core.testing.grader import ScriptedGrader, failing, in_turn, saying

from ..core.small_run import write_marker
from .test_paying_once import Essays
from .test_runs import context, graded_run


class ThreeEssays(Essays):
    """Counts a sample whose grader says yes."""

    def samples(self, data: Any) -> Sequence[Sample]:
        return super().samples(data)[:3]

    def score(self, sample: Sample, completions: Any, scoring: Any) -> SampleScore:
        return SampleScore(id=sample.id, value=float(completions[0].checks["good"].text == "yes"))

    def aggregate(self, scores: Any, scoring: Any) -> Any:
        return mean_and_stderr(scores)


def graded_cell(folder: Path, **grader: Any) -> StageContext:
    """Return a cell whose checkpoint has answered, and whose task is :class:`ThreeEssays`."""
    run_folder = graded_run(folder, **grader)
    here = context(run_folder)
    log = here.folder.path / "completions.jsonl"
    with JsonLog(log, LogEntry, "completion") as book:
        for number in range(3):
            completion = Completion(text="an essay")
            book.append(
                LogEntry(
                    id=f"s{number}", epoch=1, call=0, calls=1, request="r", completion=completion
                )
            )
    write_marker(
        here.folder.marker("generate"), "generate", {"state": "done", "completions": str(log)}
    )
    real = here.catalogue

    class OwnTask:
        def __getattr__(self, name: str) -> Any:
            return getattr(real, name)

        def task(self, name: str) -> Any:
            return ThreeEssays(replace(real.task_spec(name), n_samples=3))

    attempt = here.folder.attempt("score", 1)
    attempt.mkdir(parents=True)
    return replace(here, catalogue=OwnTask(), attempt_dir=attempt)  # type: ignore[arg-type]


def scored(here: StageContext) -> Evaluation:
    evaluation = score(here).evaluation
    assert evaluation is not None
    return evaluation


def test_a_graded_cell_is_scored_by_what_the_grader_says_and_the_record_says_by_whom(tmp_path):
    def script(question):
        return saying("yes" if "s1" in question.text else "no")

    with ScriptedGrader(script) as server:
        here = graded_cell(tmp_path, base_url=server.base_url, model="m")
        first = scored(here)
        (here.folder.stage("score") / "checks.jsonl").unlink()
        again = scored(here)
    assert first.complete
    wordings = here.result("prepare", Prepared).prompts
    assert first.details["prompts"] == {
        name: hashlib.sha256(text.encode()).hexdigest() for name, text in wordings.items()
    }
    assert wordings
    assert {scoring: total.value for scoring, total in first.scores.items()} == {
        "published": pytest.approx(1 / 3),
        "repaired": pytest.approx(1 / 3),
    }
    assert first.scores == again.scores
    assert len(server.questions) == 3
    facts = first.details["grader"]
    assert (facts["model"], facts["endpoint"]) == ("m", server.base_url.split("/")[2])
    assert (facts["now"]["asked"], facts["scope"]["replies"]) == (3, 3)
    assert (again.details["grader"]["now"]["asked"], again.details["grader"]["now"]["kept"]) == (
        0,
        3,
    )
    assert again.details["grader"]["scope"]["replies"] == 3


def test_a_missing_verdict_makes_the_evaluation_incomplete_with_its_reason_and_is_asked_for_later(
    tmp_path,
):
    broken = True

    def script(question):
        return failing(400, "flagged") if broken and "s2" in question.text else saying("yes")

    with ScriptedGrader(script) as server:
        here = graded_cell(tmp_path, base_url=server.base_url)
        first = scored(here)
        broken = False
        second = scored(here)
    assert (first.complete, first.n_scored, first.n_expected) == (False, 2, 3)
    assert (
        "refuses the question (status 400: flagged)" in first.details["failures"]["repaired"]["s2"]
    )
    assert second.complete
    assert len(server.questions) == 4


def test_a_spent_budget_leaves_the_evaluation_incomplete_until_it_is_raised(tmp_path):
    from ptb_core.grading.terms import set_terms, terms_of

    with ScriptedGrader(in_turn(saying("yes"))) as server:
        here = graded_cell(tmp_path, base_url=server.base_url, max_in_flight=1)
        price = {"input_usd_per_million_tokens": 1e5, "output_usd_per_million_tokens": 0.0}
        plan = here.run.plan
        assert plan.grader_price is not None
        dear = replace(plan.grader_price, **price)
        poor = replace(plan, grader_price=dear, budgets=replace(plan.budgets, grader_usd=1.5))
        set_terms(here.run_folder, here.run, poor)
        first = scored(here)
        rich = replace(poor, budgets=replace(plan.budgets, grader_usd=9))
        set_terms(here.run_folder, here.run, rich)
        second = scored(here)
    assert terms_of(poor) != terms_of(rich)
    assert (first.complete, first.n_scored) == (False, 2)
    reasons = first.details["failures"]["published"]
    assert reasons["s2"].startswith("the budget for grading is spent: 2 of 1.5 USD; raise ")
    assert second.complete
    assert second.details["grader"]["scope"]["usd"] == 3.0
    assert len(server.questions) == 3


def test_each_scoring_has_its_log_of_checks_and_a_retry_goes_on_with_the_one_it_retries(tmp_path):
    def logs(here: StageContext) -> set[str]:
        return {path.name for path in here.folder.stage("score").glob("checks*.jsonl")}

    def again(here: StageContext, kind: RedoKind, earlier: int) -> StageContext:
        wish = RedoRequest(kind=kind, stages={"score": earlier}, requested_unix_s=0.0)
        attempt = here.folder.attempt("score", earlier + 1)
        attempt.mkdir(parents=True)
        return replace(here, redo=wish, attempt=earlier + 1, attempt_dir=attempt)

    with ScriptedGrader(lambda question: saying("yes")) as server:
        here = graded_cell(tmp_path, base_url=server.base_url)
        write_marker_of(here, "score", score(here))
        assert logs(here) == {"checks.jsonl"}
        rescored = again(here, "rescore", 1)
        write_marker_of(rescored, "score", score(rescored))
        assert logs(here) == {"checks.jsonl", "checks-after-001.jsonl"}
        (here.folder.stage("score") / "checks.jsonl").unlink()
        retried = score(again(here, "retry", 2))
    assert logs(here) == {"checks-after-001.jsonl"}
    assert retried.checks == here.folder.stage("score") / "checks-after-001.jsonl"
    assert retried.evaluation is not None
    assert retried.evaluation.details["checks"] == {"performed": 0, "resumed": 3}
