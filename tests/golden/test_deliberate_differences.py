"""Where repaired scoring gives another verdict than the published one, row by row and why.

``differences.json`` lists them by task and reason: whether publication counts the rows as right,
and of each row the target and what repaired scoring takes as the answer (of bfcl the function).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ptb_core.api import SampleScore
from tests.golden.exact import EXACT_TASKS, RAISES, ExactTask
from tests.golden.material import Golden, Row, Rows

TABLE: dict[str, list[dict[str, Any]]] = json.loads(
    Path(__file__).with_name("differences.json").read_text("utf-8")
)


@pytest.fixture(scope="module", params=EXACT_TASKS)
def exact(request: pytest.FixtureRequest, golden: Golden) -> ExactTask:
    return EXACT_TASKS[request.param](golden)


@pytest.fixture
def rows(exact: ExactTask, golden: Golden) -> Rows:
    return golden.rows(exact.task.spec.name)


def told(row: Row, score: SampleScore) -> str:
    if row["task"] == "bfcl":
        return str(score.answer).partition("(")[0]
    return f"{row['target']}: {'no answer' if score.answer is None else score.answer}"


def test_repaired_verdicts_differ_on_the_listed_rows_and_no_others(
    exact: ExactTask, rows: Rows
) -> None:
    found = {}
    for row in rows:
        if exact.differs(row):
            repaired = exact.score(row, "repaired")
            found[row["id"]] = (row["verdict"] == "C", repaired.value, told(row, repaired))
    assert found == {
        row_id: (group["published"], float(not group["published"]), answer)
        for group in TABLE[exact.task.spec.name]
        for row_id, answer in group["rows"].items()
    }


def test_what_kills_the_published_scorer_is_plainly_wrong_when_repaired(
    exact: ExactTask, rows: Rows
) -> None:
    for row in rows:
        if row["verdict"] == "raises":
            score = exact.score(row, "repaired")
            assert (score.value, score.marks) == (0.0, ()), row["id"]


def test_repaired_scoring_never_carries_the_mark_of_a_dying_scorer(
    exact: ExactTask, rows: Rows
) -> None:
    assert not [row["id"] for row in rows if RAISES in exact.score(row, "repaired").marks]


def test_a_refused_prompt_is_marked_and_wrong_when_repaired(exact: ExactTask, rows: Rows) -> None:
    for row in rows:
        if row.get("http_status") == 400:
            score = exact.score(row, "repaired")
            assert (score.value, score.marks) == (0.0, ("prompt-too-long",)), row["id"]


def test_every_reason_is_told_once_and_has_rows() -> None:
    assert TABLE.keys() == EXACT_TASKS.keys()
    for groups in TABLE.values():
        reasons = [group["reason"] for group in groups]
        assert len(set(reasons)) == len(reasons)
        assert all(group["rows"] for group in groups)
