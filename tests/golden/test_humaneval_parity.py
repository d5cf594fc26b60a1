"""HumanEval against the published code, by really running the programs."""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from ptb_core.api import (
    Completion,
    DataDir,
    DataError,
    Sample,
    SampleScore,
    Scoring,
    TaskSpec,
    data_dir,
    load_manifest,
    read_rows,
)
from ptb_core.evaluation.checking import Runners, perform_checks
from ptb_core.execution.jobs import ProgramLimits
from ptb_core.execution.programs import SandboxProgramRunner
from ptb_core.fetch import resolve_prompt
from ptb_plugins.tasks.humaneval import task as module
from ptb_plugins.tasks.humaneval.code_blocks import published_code
from ptb_plugins.tasks.humaneval.task import HumanEval
from ptb_plugins.tasks.think_blocks import without_think_block
from tests.execution.conftest import needs_bubblewrap, place_of

Row = dict[str, Any]
Rows = Callable[[str], list[Row]]

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


@dataclass(frozen=True)
class Published:
    task: HumanEval
    samples: Mapping[str, Sample]
    data: DataDir


@pytest.fixture(scope="module")
def published(real_data: Path) -> Published:
    spec = load_manifest(data_dir() / "registry" / "tasks" / "humaneval.json", TaskSpec)
    try:
        text, _ = resolve_prompt(spec.prompts[0], offline=True)
    except DataError:
        text = ""
    files = {"test": real_data / "data" / "humaneval.jsonl.gz"}
    data = DataDir(files=files, prompts={"user": text})
    task = HumanEval(spec)
    return Published(task, {sample.id: sample for sample in task.samples(data)}, data)


def completion_of(row: Row) -> Completion:
    if row.get("http_status") == 400:
        return Completion(
            text=None, error=row["completion"], http_status=400, finish_reason="error"
        )
    return Completion(text=row["completion"])


Scores = Mapping[str, Mapping[Scoring, SampleScore]]


def run(
    published: Published, answers: Mapping[str, tuple[str, Completion]], folder: Path
) -> Scores:
    """Run and score answers, each by its own id and the id of its sample."""
    needs_bubblewrap()
    samples = [replace(published.samples[name], id=one) for one, (name, _) in answers.items()]
    checked = perform_checks(
        published.task,
        samples,
        {one: (completion,) for one, (_, completion) in answers.items()},
        Runners(programs=SandboxProgramRunner(place_of(folder, limits=ProgramLimits()))),
        folder / "checks.jsonl",
    )
    assert checked.failures == {}
    return {
        sample.id: {
            "published": published.task.score(sample, checked.completions[sample.id], "published"),
            "repaired": published.task.score(sample, checked.completions[sample.id], "repaired"),
        }
        for sample in samples
    }


def run_rows(published: Published, rows: Sequence[Row], folder: Path) -> Scores:
    return run(published, {row["id"]: (row["sample"], completion_of(row)) for row in rows}, folder)


def expect_published(rows: Sequence[Row], scores: Scores) -> None:
    for row in rows:
        score = scores[row["id"]]["published"]
        assert score.value == float(row["verdict"] == "C"), (row["id"], row["note"])
        raises = row["verdict"] == "raises"
        assert ("published-code-raises" in score.marks) == raises, row["id"]
        assert "unchecked" not in score.marks, row["id"]


def test_the_code_is_the_one_that_the_published_scorer_took(golden_rows: Rows) -> None:
    rows = [row for row in golden_rows("humaneval") if row["verdict"] != "raises"]
    for row in rows:
        text = row["completion"]
        code = published_code(text if row.get("http_status") == 400 else without_think_block(text))
        if "extracted_sha256" in row:
            assert hashlib.sha256(code.encode()).hexdigest() == row["extracted_sha256"], row["id"]
        else:
            assert code == row["extracted"], row["id"]
    assert len(rows) == 183


def test_requests_have_the_published_digests(published: Published, golden_rows: Rows) -> None:
    if not published.data.prompt("user"):
        pytest.skip("the prompt's wording is not on this machine; `ptb prefetch` brings it")
    rows = [row for row in golden_rows("request") if row["task"] == "humaneval"]
    for row in rows:
        (request,) = published.task.requests(published.samples[row["sample"]], "published")
        body = {"messages": list(request.messages), "tools": list(request.tools)}
        text = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        assert hashlib.sha256(text.encode()).hexdigest() == row["sha256"], row["id"]
        assert row["other_fields"] == {"max_tokens": published.task.spec.max_tokens}, row["id"]
    assert rows


def test_programs_run_here_end_with_the_published_verdict(
    published: Published, golden_rows: Rows, tmp_path: Path
) -> None:
    rows = list(
        {r["note"]: r for r in golden_rows("humaneval") if r["note"] in DEFAULT_NOTES}.values()
    )
    scores = run_rows(published, rows, tmp_path)
    expect_published(rows, scores)
    for row in rows:
        difference = scores[row["id"]]["repaired"].value - scores[row["id"]]["published"].value
        assert difference == (row["id"] in WON) - (row["id"] in LOST), row["id"]
    assert len(rows) == len(DEFAULT_NOTES)


@pytest.mark.slow
def test_every_row_has_the_published_verdict_and_repaired_scoring_differs_where_listed(
    published: Published,
    golden_rows: Rows,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "TIMEOUT_S", 12.0)  # the rows were made with 6 s
    rows = golden_rows("humaneval")
    scores = run_rows(published, rows, tmp_path)
    expect_published(rows, scores)
    changes = {
        row["id"]: scores[row["id"]]["repaired"].value - scores[row["id"]]["published"].value
        for row in rows
    }
    notes = {row["id"]: row["note"] for row in rows}
    assert {one: notes[one] for one, change in changes.items() if change < 0} == LOST
    assert {one: notes[one] for one, change in changes.items() if change > 0} == WON
    for row in rows:
        if row["verdict"] == "raises":
            repaired = scores[row["id"]]["repaired"]
            assert (repaired.value, repaired.marks) == (0.0, ()), row["id"]
    assert len(rows) == 186


@pytest.mark.slow
def test_every_canonical_solution_passes_as_body_and_as_function_under_both(
    published: Published, tmp_path: Path
) -> None:
    answers = {}
    for row in read_rows(published.data.file("test")):
        name, solution = row["task_id"], row["canonical_solution"]
        answers[f"{name} body"] = (name, Completion(text=solution))
        block = f"```python\n{row['prompt']}{solution}```"
        answers[f"{name} function"] = (name, Completion(text=f"Here it is.\n{block}\nDone."))
    scores = run(published, answers, tmp_path)
    assert len(scores) == 2 * 164
    wrong = {
        (one, scoring)
        for one, both in scores.items()
        for scoring, score in both.items()
        if score.value != 1.0
    }
    # The published cut takes the first helper of these prompts for the function.
    assert wrong == set()
    assert not any(score.marks for both in scores.values() for score in both.values())


def test_every_prompt_is_a_whole_program_that_a_function_can_follow(
    published: Published,
) -> None:
    for sample in published.samples.values():
        assert sample.input["prompt"].endswith("\n"), sample.id
        ast.parse(sample.input["prompt"])
    assert len(published.samples) == 164
