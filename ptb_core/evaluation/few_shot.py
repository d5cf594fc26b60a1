"""Base models asked with worked examples: the task, the protocol and the template of that.

Source: docs/protocol.md, "Few-shot baselines"; the numbers stand in ``registry/baselines``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import msgspec

from ptb_core.data import data_dir
from ptb_core.errors import DataError, UsageError
from ptb_core.evaluation.checks import Check, GraderCheck
from ptb_core.evaluation.exchange import (
    ChatRequest,
    Completion,
    DataDir,
    Request,
    Sample,
    SampleScore,
    TaskScore,
    TestItem,
)
from ptb_core.interfaces import Task
from ptb_core.specs import ModelSpec, ProtocolSpec, RequestKind, Sampling, Scoring

NAME = "few-shot"
"""Name of the protocol, shown beside every score."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskForm:
    """The few-shot form of one task.

    Attributes:
        shots: Number of worked examples; None when it is not stated.
        shown: ``in-requests``: the task's own requests hold them. ``nowhere``: there are none.
            ``unavailable``: they cannot be had.
        epochs: Evaluations that are averaged; None takes the general number.
        why: Why they cannot be had.
    """

    shots: int | None
    shown: Literal["in-requests", "nowhere", "unavailable"]
    epochs: int | None = None
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FewShotFacts:
    """How few-shot baselines are measured; the schema is ``schemas/few-shot.schema.json``.

    Attributes:
        sampling: Sampling of every request.
        epochs: Evaluations that are averaged, each with a seed of its own.
        shots: Worked examples of tasks that are not listed and offer some.
        plain_families: Families whose base models are asked without chat tokens.
        tasks: What is known of single tasks.
    """

    sampling: Sampling
    epochs: int
    shots: int
    plain_families: tuple[str, ...]
    tasks: Mapping[str, TaskForm] = field(default_factory=dict)


def few_shot_facts(path: Path | None = None) -> FewShotFacts:
    """Read the facts, the shipped ones by default.

    Raises:
        DataError: If they cannot be read.
    """
    file = path or data_dir() / "registry" / "baselines" / "few-shot.json"
    try:
        return msgspec.json.decode(file.read_bytes(), type=FewShotFacts)
    except (OSError, msgspec.DecodeError) as error:
        raise DataError(f"{file} cannot be read ({error}); install ptb anew") from error


def few_shot_task(task: Task, data: DataDir, facts: FewShotFacts) -> Task:
    """Return a task whose requests show worked examples.

    Raises:
        UsageError: If the task has no few-shot form; says why.
    """
    form = facts.tasks.get(task.spec.name)
    if form is not None:
        if form.shown == "unavailable":
            raise UsageError(f"{task.spec.name} has no few-shot form here: {form.why}")
        return task
    shots = tuple(task.shots(data))[: facts.shots]
    if not shots:
        raise UsageError(
            f"{task.spec.name} has no few-shot form: the task offers no worked examples"
        )
    return WithShots(task, shots)


def few_shot_protocol(protocol: ProtocolSpec, task: str, facts: FewShotFacts) -> ProtocolSpec:
    """Return how a base model is asked: seeded, sampled, several times.

    Args:
        protocol: Gives scoring, limit and largest answer, and seeds where it has any.
        task: Name of the task.
        facts: The facts.
    """
    form = facts.tasks.get(task)
    epochs = (form.epochs if form is not None else None) or facts.epochs
    seeds = protocol.seeds or tuple(range(epochs))
    return replace(
        protocol,
        name=NAME,
        requests="seeded",
        sampling=facts.sampling,
        seeds=seeds,
    )


def few_shot_model(model: ModelSpec, facts: FewShotFacts) -> ModelSpec:
    """Return the model with the template that its family is asked with."""
    if model.family not in facts.plain_families:
        return model
    plain = data_dir() / "registry" / "templates" / "plain.jinja"
    return replace(model, chat_template=str(plain))


class WithShots(Task):
    """A task with worked examples in a system message before its own messages."""

    def __init__(self, task: Task, shots: Sequence[str]) -> None:
        super().__init__(task.spec)
        self._task = task
        self._message = {"role": "system", "content": "\n\n".join(shots)}

    def samples(self, data: DataDir) -> Sequence[Sample]:
        """Return the task's samples."""
        return self._task.samples(data)

    def order(self, samples: Sequence[Sample], limit: int | None) -> Sequence[Sample]:
        """Return them in the task's order."""
        return self._task.order(samples, limit)

    def requests(self, sample: Sample, requests: RequestKind) -> tuple[Request, ...]:
        """Return the task's requests, the examples before each chat."""
        return tuple(
            replace(request, messages=(self._message, *request.messages))
            if isinstance(request, ChatRequest)
            else request
            for request in self._task.requests(sample, requests)
        )

    def score(
        self, sample: Sample, completions: Sequence[Completion], scoring: Scoring
    ) -> SampleScore:
        """Score as the task does."""
        return self._task.score(sample, completions, scoring)

    def checks(self, sample: Sample, completion: Completion) -> tuple[Check, ...]:
        """Return the task's checks."""
        return self._task.checks(sample, completion)

    def accepts(self, sample: Sample, check: GraderCheck, reply: str) -> bool:
        """Say what the task says."""
        return self._task.accepts(sample, check, reply)

    def aggregate(self, scores: Sequence[SampleScore], scoring: Scoring) -> TaskScore:
        """Aggregate as the task does."""
        return self._task.aggregate(scores, scoring)

    def contamination_items(self, data: DataDir) -> Iterable[TestItem]:
        """Return the task's items."""
        return self._task.contamination_items(data)
