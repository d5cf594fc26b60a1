"""HumanEval against the published code, by really running the programs."""

from __future__ import annotations

import ast

import pytest

from ptb_core.api import Completion, read_rows
from tests.execution.conftest import needs_bubblewrap
from tests.golden.humaneval import Problems, agrees, problems, run_answers, run_rows
from tests.golden.material import Golden

DEFAULT_NOTES = {
    "raw body",
    "body in fence",
    "full in plain fence",
    "lone carriage return",
    "nul character",
    "program just under 128 KiB",
    "os._exit(0)",
    "exit(None)",
    "server answers 400, context too long",
    "wrong: return None",
    "body with nested colon first",
    "equal to everything",
}
"""Notes of which the default suite runs one row each; the marked suite runs every row."""

LOST = {
    "humaneval-00052": "sys.exit(0)",
    "humaneval-00140": "os._exit(0)",
    "humaneval-00157": "raise SystemExit",
    "humaneval-00179": "exit(None)",
    "humaneval-00183": "check shadowed at end by exit at module level",
    "humaneval-00188": "raise SystemExit",
    "humaneval-00206": "raise SystemExit",
    "humaneval-00224": "sys.exit(0) raw",
}
"""Right as published, wrong as repaired: the program left before its tests ended."""

WON = {
    "humaneval-00014": "body in fence",
    "humaneval-00053": "body in fence",
    "humaneval-00084": "body in fence",
    "humaneval-00133": "body with nested colon first",
    "humaneval-00134": "body in plain fence",
    "humaneval-00135": "body with nested colon first",
    "humaneval-00150": "two space indent",
    "humaneval-00152": "two space indent",
    "humaneval-00155": "body in fence, extra newline",
    "humaneval-00204": "body in fence, extra newline",
    "humaneval-00225": "comment after colon",
    "humaneval-00279": "body in fence, extra newline",
    "humaneval-00292": "comment after colon",
    "humaneval-00319": "blank line after signature",
}
"""Wrong as published, right as repaired: the published cut spoilt a right block."""


@pytest.fixture(scope="module")
def known(golden: Golden) -> Problems:
    return problems(golden)


def test_programs_run_here_end_with_the_published_verdict(known: Problems, golden: Golden) -> None:
    needs_bubblewrap()
    chosen = {r["note"]: r for r in golden.rows("humaneval") if r["note"] in DEFAULT_NOTES}
    scores = run_rows(known, list(chosen.values()))
    for row in chosen.values():
        both = scores[row["id"]]
        assert agrees(row, both["published"]), (row["id"], row["note"])
        difference = both["repaired"].value - both["published"].value
        assert difference == (row["id"] in WON) - (row["id"] in LOST), row["id"]
    assert chosen.keys() == DEFAULT_NOTES


@pytest.mark.slow
def test_every_row_has_the_published_verdict_and_repaired_scoring_differs_where_listed(
    known: Problems, golden: Golden
) -> None:
    needs_bubblewrap()
    rows = golden.rows("humaneval")
    scores = run_rows(known, rows)
    lost, won = {}, {}
    for row in rows:
        both = scores[row["id"]]
        assert agrees(row, both["published"]), (row["id"], row["note"])
        if both["repaired"].value < both["published"].value:
            lost[row["id"]] = row["note"]
        if both["repaired"].value > both["published"].value:
            won[row["id"]] = row["note"]
        if row["verdict"] == "raises":
            assert (both["repaired"].value, both["repaired"].marks) == (0.0, ()), row["id"]
    assert (lost, won) == (LOST, WON)
    assert len(rows) == 186


@pytest.mark.slow
def test_every_canonical_solution_passes_as_body_and_as_function_under_both(
    known: Problems,
) -> None:
    needs_bubblewrap()
    answers = {}
    for row in read_rows(known.data.file("test")):
        name, solution = row["task_id"], row["canonical_solution"]
        answers[f"{name} body"] = (name, Completion(text=solution))
        block = f"```python\n{row['prompt']}{solution}```"
        answers[f"{name} function"] = (name, Completion(text=f"Here it is.\n{block}\nDone."))
    scores = run_answers(known, answers)
    assert len(scores) == 2 * 164
    for own, both in scores.items():
        assert {score.value for score in both.values()} == {1.0}, own
        assert {score.marks for score in both.values()} == {()}, own


def test_every_prompt_is_a_whole_program_that_a_function_can_follow(known: Problems) -> None:
    for sample in known.samples.values():
        assert sample.input["prompt"].endswith("\n"), sample.id
        ast.parse(sample.input["prompt"])
    assert len(known.samples) == 164
