"""What repaired scoring does otherwise in the judged tasks, row by row; parity: test_parity.py."""

from __future__ import annotations

from typing import Any

import pytest

from ptb_core.api import Completion
from tests.golden.judged import (
    STAND_IN,
    UNCHECKED,
    JudgedTask,
    arena,
    asked_twice,
    grader_questions,
    healthbench,
    outside_table,
    played,
    score_examples,
    with_failed_gradings,
    without_verdicts,
)
from tests.golden.material import Golden, digest, wording

Row = dict[str, Any]


@pytest.fixture(scope="module")
def arena_task(golden: Golden) -> JudgedTask:
    return arena(golden)


@pytest.fixture(scope="module")
def health_task(golden: Golden) -> JudgedTask:
    return healthbench(golden)


def by_id(rows: list[Row], ids: list[str]) -> list[Row]:
    return [row for row in rows if row["id"] in ids]


def test_a_label_outside_the_table_is_asked_for_again_and_never_a_score(
    golden: Golden, arena_task: JudgedTask
) -> None:
    rows = golden.rows("arenahardwriting-verdict")
    fatal = by_id(rows, outside_table(rows))
    sample = next(iter(arena_task.samples.values()))
    game, _ = arena_task.task.checks(sample, Completion(text="a"))
    for row in rows:
        usable = arena_task.task.accepts(sample, game, row["judge_text"])
        assert usable == (row["label"] is not None and row not in fatal), row["id"]
    for row in fatal:
        completion = played((row["label"], row["label"]))
        marks = {
            scoring: arena_task.task.score(sample, (completion,), scoring).marks
            for scoring in ("published", "repaired")
        }
        assert marks == {
            "published": ("published-code-raises", UNCHECKED),
            "repaired": (UNCHECKED,),
        }, row["id"]
    assert {row["label"] for row in fatal} == {
        *("B", "A", "=", "A==B", "AB", ">", "A>>B>A", "B<B"),
    }


def test_questions_that_the_published_code_drops_make_a_result_incomplete(
    golden: Golden, arena_task: JudgedTask
) -> None:
    rows = golden.rows("arenahardwriting-score")
    incomplete = by_id(rows, without_verdicts(rows))
    for row in rows:
        scores = [
            arena_task.task.score(sample, (played(pair),), "repaired")
            for sample, pair in zip(arena_task.samples.values(), row["games"], strict=False)
        ]
        unchecked = [score for score in scores if UNCHECKED in score.marks]
        assert bool(unchecked) == (row in incomplete), row["id"]
    assert sum("raises" not in row for row in incomplete) == 6


def test_complete_results_are_the_published_ones_under_repaired_scoring(
    golden: Golden, arena_task: JudgedTask, health_task: JudgedTask
) -> None:
    games, examples = golden.rows("arenahardwriting-score"), golden.rows("healthbench-score")
    compared = 0
    for row in games:
        if row["games"] and row["id"] not in without_verdicts(games) and "raises" not in row:
            scores = [
                arena_task.task.score(sample, (played(pair),), "repaired")
                for sample, pair in zip(arena_task.samples.values(), row["games"], strict=False)
            ]
            result = arena_task.task.aggregate(scores, "repaired")
            assert (result.value, result.stderr) == pytest.approx(
                (row["accuracy"], row["stderr"])
            ), row["id"]
            compared += 1
    for row in examples:
        if row["examples"] and row["id"] not in with_failed_gradings(examples):
            scores = score_examples(health_task, row, "repaired")
            result = health_task.task.aggregate(scores, "repaired")
            assert result.value == pytest.approx(row["accuracy"], abs=1e-12), row["id"]
            compared += 1
    assert compared == 80 + 44


def test_failed_gradings_help_the_published_score_and_leave_none_here(
    golden: Golden, health_task: JudgedTask
) -> None:
    rows = golden.rows("healthbench-score")
    for row in by_id(rows, with_failed_gradings(rows)):
        scores = score_examples(health_task, row, "repaired")
        failed = ["x" in pattern for _, pattern in row["examples"]]
        assert [UNCHECKED in score.marks for score in scores] == failed, row["id"]


def test_answers_with_the_rubrics_placeholder_are_asked_about_in_both_wordings(
    golden: Golden, health_task: JudgedTask
) -> None:
    rows = golden.rows("request-healthbench-grader")
    twice = asked_twice(health_task, rows)
    assert twice == [row["id"] for row in rows if row["answer"] == "<<rubric_item>>"]
    assert len(twice) == 8
    template = wording(health_task.task.spec.prompts[0]) or STAND_IN
    for row in by_id(rows, twice):
        name = f"criterion-{row['criterion']}"
        questions = grader_questions(health_task, row)
        asked = str(questions[f"{name}-as-written"].messages[0]["content"])
        assert asked.count("<<rubric_item>>") == 1, row["id"]
        assert len(asked) > len(template), row["id"]
        assert "<<rubric_item>>" not in str(questions[name].messages[0]["content"]), row["id"]


def test_requests_are_the_same_under_both_request_kinds(
    golden: Golden, arena_task: JudgedTask, health_task: JudgedTask
) -> None:
    for row in golden.rows("request-judged"):
        of = arena_task if row["task"] == "arenahardwriting" else health_task
        (request,) = of.task.requests(of.samples[row["sample"]], "seeded")
        assert digest(request) == row["sha256"], row["id"]


def test_the_real_rows_are_those_of_the_published_counts(
    arena_task: JudgedTask, health_task: JudgedTask
) -> None:
    rubrics = [sample.target for sample in health_task.samples.values()]
    points = [one["points"] for rubric in rubrics for one in rubric]
    themes = [sample.metadata["theme"] for sample in health_task.samples.values()]
    assert len(arena_task.samples) == 250
    assert (len(points), sum(point < 0 for point in points)) == (1873, 391)
    assert {theme: themes.count(theme) for theme in set(themes)} == {
        "communication": 75,
        "hedging": 70,
        "global_health": 37,
        "complex_responses": 23,
        "context_seeking": 22,
        "emergency_referrals": 13,
        "health_data_tasks": 5,
    }
