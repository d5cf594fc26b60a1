"""Golden rows of the exact tasks: what is compared, and how."""

from __future__ import annotations

import ast
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from ptb_core.api import (
    ChatRequest,
    Completion,
    DataDir,
    Sample,
    SampleScore,
    Scoring,
    Task,
    ToolCall,
    mean_and_stderr,
)
from ptb_plugins.tasks.aime2025.task import Aime2025
from ptb_plugins.tasks.bfcl.calls import read_call
from ptb_plugins.tasks.bfcl.task import Bfcl
from ptb_plugins.tasks.gpqamain.task import GpqaMain, in_order
from ptb_plugins.tasks.gsm8k.task import Gsm8k
from tests.golden.material import (
    NO_WORDING,
    Golden,
    Parity,
    Row,
    digest,
    joined_bfcl,
    parity,
    task_facts,
    wording,
)

RAISES = "published-code-raises"
PLACEHOLDER = "{prompt}"
GPQA_PLACEHOLDER = "{letters} {question} {choices}"
"""Stand for wordings that are not on this machine: enough to score, not to ask."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExactTask:
    """A task with its samples, and how golden rows name them.

    Attributes:
        task: The task.
        has_wording: True when requests are the published ones.
        sample: The sample that a golden row is about.
        same_answer: Says whether a score looks at the same answer as a golden row.
    """

    task: Task
    has_wording: bool
    sample: Callable[[Row], Sample]
    same_answer: Callable[[Row, Sample, SampleScore], bool] = field(
        default=lambda row, sample, score: score.answer == row.get("extracted")
    )

    def score(self, row: Row, scoring: Scoring) -> SampleScore:
        """Score the completion of a golden row."""
        return self.task.score(self.sample(row), (completion_of(row),), scoring)

    def agrees(self, row: Row) -> bool:
        """Say whether published scoring gives the row's verdict, and looks at the same answer."""
        score, sample = self.score(row, "published"), self.sample(row)
        return (
            row.get("target", sample.target) == sample.target
            and score.value == float(row["verdict"] == "C")
            and (RAISES in score.marks) == (row["verdict"] == "raises")
            and self.same_answer(row, sample, score)
        )

    def differs(self, row: Row) -> bool:
        """Say whether repaired scoring deliberately gives another verdict."""
        published, repaired = (self.score(row, kind) for kind in ("published", "repaired"))
        return published.value != repaired.value

    def asks(self, row: Row) -> bool:
        """Say whether the request is the one whose digest the row holds."""
        (request,) = self.task.requests(self.sample(row), "published")
        assert isinstance(request, ChatRequest)
        return digest(request) == row["sha256"] and request.max_tokens is None


def completion_of(row: Row) -> Completion:
    """Return what the server sent, as a golden row has it."""
    if row.get("http_status") == 400:
        return Completion(
            text=None, error=row["completion"], http_status=400, finish_reason="error"
        )
    if "tool_calls" in row:
        calls = (ToolCall(name=c["name"], arguments=c["arguments"]) for c in _calls(row))
        return Completion(text=row["content"], tool_calls=tuple(calls))
    return Completion(text=row["completion"])


def gsm8k(golden: Golden) -> ExactTask:
    """Return gsm8k on its real rows."""
    task = Gsm8k(task_facts("gsm8k"))
    text = wording(task.spec.prompts[0])
    files = {name: golden.data(f"gsm8k-{name}") for name in ("test", "train")}
    samples = task.samples(DataDir(files=files, prompts={"user": text or PLACEHOLDER}))
    return ExactTask(
        task=task, has_wording=text is not None, sample=lambda row: samples[row["sample"]]
    )


def aime2025(golden: Golden) -> ExactTask:
    """Return aime2025 on the invented rows, which have the form of the real ones."""
    task = Aime2025(task_facts("aime2025"))
    text = wording(task.spec.prompts[0])
    files = {"test": golden.file("invented-aime-rows")}
    samples = task.samples(DataDir(files=files, prompts={"user": text or PLACEHOLDER}))
    known = {sample.id: sample for sample in samples}
    return ExactTask(
        task=task,
        has_wording=text is not None,
        sample=lambda row: known[f"aime2025-{row['sample']}"],
    )


def gpqamain(golden: Golden) -> ExactTask:
    """Return gpqamain on the invented rows, each shown in the order that the golden row gives."""
    task = GpqaMain(task_facts("gpqamain"))
    text = wording(task.spec.prompts[0])
    files = {"test": golden.file("invented-gpqa-rows")}
    samples = task.samples(DataDir(files=files, prompts={"user": text or GPQA_PLACEHOLDER}))
    known = {sample.id: sample for sample in samples}
    return ExactTask(
        task=task,
        has_wording=text is not None,
        sample=lambda row: in_order(known[row["sample"]], row["order"]),
    )


def bfcl(golden: Golden) -> ExactTask:
    """Return bfcl on its real records."""
    task = Bfcl(task_facts("bfcl"))
    with tempfile.TemporaryDirectory() as folder:
        files = {"test": joined_bfcl(golden, Path(folder))}
        known = {sample.id: sample for sample in task.samples(DataDir(files=files))}
    return ExactTask(
        task=task,
        has_wording=True,
        sample=lambda row: known[row["sample"]],
        same_answer=_reads_the_same_calls,
    )


def _reads_the_same_calls(row: Row, sample: Sample, score: SampleScore) -> bool:
    """Compare calls as read with what the published client made of them, NaN by its text."""
    first = {sample.target["name"]: sample.metadata["first_parameter"]}
    read = [read_call(call, first) for call in completion_of(row).tool_calls]
    if len(read) == 1:
        shown = ", ".join(f"{name}={value}" for name, value in read[0].arguments.items())
        if f"{read[0].name}({shown})" != ast.literal_eval(row["extracted"]):
            return False
    if not isinstance(row["parsed_calls"], list):
        return "NaN" in row["parsed_calls"]
    return row["parsed_calls"] == [
        {"function": call.name, "arguments": call.arguments, "parse_error": call.is_broken}
        for call in read
    ]


def _calls(row: Row) -> list[Row]:
    calls: list[Row] = row["tool_calls"] or []
    return calls


EXACT_TASKS: dict[str, Callable[[Golden], ExactTask]] = {
    "aime2025": aime2025,
    "bfcl": bfcl,
    "gpqamain": gpqamain,
    "gsm8k": gsm8k,
}


def verdict_parity(name: str, golden: Golden) -> Parity:
    """Compare every verdict of a task."""
    exact, rows = EXACT_TASKS[name](golden), golden.rows(name)
    return parity(((row["id"], exact.agrees(row)) for row in rows), sum(map(exact.differs, rows)))


def request_parity(name: str, golden: Golden) -> Parity:
    """Compare every request of a task."""
    exact = EXACT_TASKS[name](golden)
    if not exact.has_wording:
        return parity((), skipped=NO_WORDING)
    return parity((row["id"], exact.asks(row)) for row in golden.requests(name))


def metrics_parity(golden: Golden) -> Parity:
    """Compare accuracy and standard error of the exact tasks."""
    return parity((row["id"], _same_metrics(row)) for row in golden.rows("metrics"))


def _same_metrics(row: Row) -> bool:
    values = [float(i < row["n_correct"]) for i in range(row["n"])]
    result = mean_and_stderr([SampleScore(id=str(i), value=v) for i, v in enumerate(values)])
    assert result.stderr is not None
    return max(abs(result.value - row["accuracy"]), abs(result.stderr - row["stderr"])) < 1e-15
