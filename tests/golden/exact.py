"""Golden rows of the exact tasks: what is compared, and how."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ptb_core.api import (
    ChatRequest,
    Completion,
    DataDir,
    Sample,
    SampleScore,
    Scoring,
    Task,
    mean_and_stderr,
)
from ptb_plugins.tasks.gsm8k.task import Gsm8k
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

RAISES = "published-code-raises"
PLACEHOLDER = "{prompt}"
"""Stands for a wording that is not on this machine: enough to score, not to ask."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExactTask:
    """A task with its samples, and how golden rows name them.

    Attributes:
        task: The task.
        has_wording: True when requests are the published ones.
        sample: The sample that a golden row is about.
    """

    task: Task
    has_wording: bool
    sample: Callable[[Row], Sample]

    def score(self, row: Row, scoring: Scoring) -> SampleScore:
        """Score the completion of a golden row."""
        return self.task.score(self.sample(row), (completion_of(row),), scoring)

    def agrees(self, row: Row) -> bool:
        """Say whether published scoring gives the row's verdict, and looks at the same answer."""
        score = self.score(row, "published")
        return (
            score.value == float(row["verdict"] == "C")
            and (RAISES in score.marks) == (row["verdict"] == "raises")
            and score.answer == row.get("extracted")
        )

    def differs(self, row: Row) -> bool:
        """Say whether repaired scoring deliberately gives another verdict, or no mark."""
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


EXACT_TASKS: dict[str, Callable[[Golden], ExactTask]] = {"gsm8k": gsm8k}


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
