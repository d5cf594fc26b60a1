"""Golden rows of HumanEval: programs are really run, in sandboxes."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from ptb_core.api import (
    ChatRequest,
    Check,
    Completion,
    DataDir,
    Sample,
    SampleScore,
    Scoring,
)
from ptb_core.catalogue import load_catalogue
from ptb_core.evaluation.checking import Runners, perform_checks
from ptb_core.execution.programs import ProgramSandbox, SandboxProgramRunner
from ptb_core.specs import SCORINGS
from ptb_plugins.sandboxes.local.isolation import bwrap_failure
from ptb_plugins.tasks.exact_tasks import scored_text
from ptb_plugins.tasks.humaneval.code_blocks import published_code
from ptb_plugins.tasks.humaneval.task import HumanEval
from tests.golden.exact import RAISES, completion_of
from tests.golden.material import (
    NO_WORDING,
    Golden,
    Parity,
    Row,
    digest,
    parity,
    task_facts,
    wording,
)

TIMEOUT_S = 12.0
"""Time of each program here; the rows were made with 6 s instead of 30 s."""

Scores = Mapping[str, Mapping[Scoring, SampleScore]]


class Hurried(HumanEval):
    """The task with less time for each program."""

    def checks(self, sample: Sample, completion: Completion) -> tuple[Check, ...]:
        found = super().checks(sample, completion)
        return tuple(msgspec.structs.replace(check, timeout_s=TIMEOUT_S) for check in found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Problems:
    """The task on its real rows."""

    task: HumanEval
    data: DataDir
    samples: Mapping[str, Sample]
    has_wording: bool


def problems(golden: Golden) -> Problems:
    """Return the task with its samples by id."""
    task = Hurried(task_facts("humaneval"))
    text = wording(task.spec.prompts[0])
    data = DataDir(files={"test": golden.data("humaneval")}, prompts={"user": text or ""})
    samples = {sample.id: sample for sample in task.samples(data)}
    return Problems(task=task, data=data, samples=samples, has_wording=text is not None)


def run_answers(known: Problems, answers: Mapping[str, tuple[str, Completion]]) -> Scores:
    """Run and score answers both ways, each by an id of its own with the id of its sample."""
    task = known.task
    samples = [replace(known.samples[name], id=own) for own, (name, _) in answers.items()]
    with tempfile.TemporaryDirectory() as folder:
        place = ProgramSandbox(
            sandbox=load_catalogue().sandbox("local"),
            name=f"golden-{os.getpid()}-{Path(folder).name}",
            root=Path(folder, "programs"),
        )
        checked = perform_checks(
            task,
            samples,
            {own: (completion,) for own, (_, completion) in answers.items()},
            Runners(programs=SandboxProgramRunner(place)),
            Path(folder, "checks.jsonl"),
        )
    if checked.failures:
        raise RuntimeError(f"programs have no result: {dict(checked.failures)}")
    return {
        sample.id: {
            scoring: task.score(sample, checked.completions[sample.id], scoring)
            for scoring in SCORINGS
        }
        for sample in samples
    }


def run_rows(known: Problems, rows: Sequence[Row]) -> Scores:
    """Run and score golden rows both ways."""
    return run_answers(known, {row["id"]: (row["sample"], completion_of(row)) for row in rows})


def agrees(row: Row, score: SampleScore) -> bool:
    """Say whether a published score is the row's verdict."""
    return (
        score.value == float(row["verdict"] == "C")
        and (RAISES in score.marks) == (row["verdict"] == "raises")
        and "unchecked" not in score.marks
    )


def verdict_parity(golden: Golden) -> Parity:
    """Compare every verdict, by running every program; takes minutes on two processors."""
    if (failure := bwrap_failure()) is not None:
        return parity((), skipped=failure)
    rows = golden.rows("humaneval")
    scores = run_rows(problems(golden), rows)
    return parity(
        ((row["id"], agrees(row, scores[row["id"]]["published"])) for row in rows),
        sum(both["published"].value != both["repaired"].value for both in scores.values()),
    )


def code_parity(golden: Golden) -> Parity:
    """Compare the code that is taken from every answer."""
    rows = [row for row in golden.rows("humaneval") if row["verdict"] != "raises"]
    return parity((row["id"], _takes_the_same_code(row)) for row in rows)


def request_parity(golden: Golden) -> Parity:
    """Compare every request."""
    known = problems(golden)
    if not known.has_wording:
        return parity((), skipped=NO_WORDING)
    return parity((row["id"], _asks_the_same(known, row)) for row in golden.requests("humaneval"))


def _takes_the_same_code(row: Row) -> bool:
    code = published_code(scored_text(completion_of(row), "published") or "")
    if "extracted_sha256" in row:
        return hashlib.sha256(code.encode()).hexdigest() == row["extracted_sha256"]
    return code == row["extracted"]


def _asks_the_same(known: Problems, row: Row) -> bool:
    (request,) = known.task.requests(known.samples[row["sample"]], "published")
    assert isinstance(request, ChatRequest)
    fields = {"max_tokens": known.task.spec.max_tokens}
    return digest(request) == row["sha256"] and row["other_fields"] == fields
