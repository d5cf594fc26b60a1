"""What passes between core and a task during an evaluation.

``Sample -> Request -> Completion -> SampleScore -> TaskScore``. Samples hold answers and stay on
the trusted side; only requests reach the engine that serves untrusted weights.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, TypeAlias

from ptb_core.errors import DataError
from ptb_core.evaluation.checks import CheckResult
from ptb_core.specs import JsonValue

GRADER_PROMPT = "grader"
"""Name of the prompt that a graded task's questions are made from. A plan may give another wording
(``grader.prompts``): it then takes the place of the manifest's prompt of this name, and is there
also when the manifest has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataDir:
    """The data of one task on the trusted side, complete and checked.

    Attributes:
        files: Path of each data file by its name in the task's manifest.
        prompts: Text of each prompt by its name in the task's manifest; :data:`GRADER_PROMPT` may
            be the plan's.
        revisions: What was really used, by data file or prompt name: a revision or sha256.
    """

    files: Mapping[str, Path]
    prompts: Mapping[str, str] = field(default_factory=dict)
    revisions: Mapping[str, str] = field(default_factory=dict)

    def file(self, name: str) -> Path:
        """Return the path of the data file ``name``.

        Raises:
            DataError: If the manifest has no such file.
        """
        if name not in self.files:
            raise DataError(f"the task's manifest lists no data file {name!r}")
        return self.files[name]

    def prompt(self, name: str) -> str:
        """Return the prompt text ``name``.

        Raises:
            DataError: If the manifest has no such prompt.
        """
        if name not in self.prompts:
            raise DataError(f"the task's manifest lists no prompt {name!r}")
        return self.prompts[name]

    def with_grader_prompt(self, text: str) -> DataDir:
        """Return the same data with the plan's wording for the grader."""
        sha256 = hashlib.sha256(text.encode()).hexdigest()
        return replace(
            self,
            prompts={**self.prompts, GRADER_PROMPT: text},
            revisions={**self.revisions, GRADER_PROMPT: f"the plan's, sha256 {sha256[:12]}"},
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One test sample.

    Attributes:
        id: Unique in the task, stable over versions.
        input: What the request is made from.
        target: The answer; never leaves the trusted side.
        metadata: Anything that scoring or breakdowns need.
    """

    id: str
    input: Mapping[str, JsonValue]
    target: JsonValue
    metadata: Mapping[str, JsonValue] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatRequest:
    """One chat completion to ask for. Core adds model, sampling, seed and end tokens.

    Attributes:
        messages: OpenAI-form messages.
        tools: OpenAI-form tools; empty for none.
        max_tokens: Largest answer; None takes the task's limit.
    """

    messages: tuple[Mapping[str, JsonValue], ...]
    tools: tuple[Mapping[str, JsonValue], ...] = ()
    max_tokens: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletionRequest:
    """A plain text completion without chat template (lm-eval's ``generate_until``).

    Attributes:
        prompt: The whole prompt.
        stop: Strings that end the completion; they are not part of it.
        max_tokens: Largest completion.
        temperature: 0 is greedy; None takes the server's default.
    """

    prompt: str
    stop: tuple[str, ...] = ()
    max_tokens: int | None = None
    temperature: float | None = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLikelihoodRequest:
    """The log-probability of ``continuation`` after ``context`` (lm-eval's ``loglikelihood``)."""

    context: str
    continuation: str


UNCHECKED = "unchecked"
"""Mark of a sample that was scored without the result of one of its checks; it never counts."""

Request: TypeAlias = ChatRequest | CompletionRequest | LogLikelihoodRequest

FinishReason: TypeAlias = Literal["stop", "length", "tool_calls", "error"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """One tool call as the server sends it; ``arguments`` is the raw string."""

    name: str | None
    arguments: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """What the server made of one request.

    Attributes:
        text: The content; None when the server sent none.
        tool_calls: Tool calls.
        finish_reason: Why it ended; ``error`` when there is no answer.
        prompt_tokens: Tokens of the prompt, if told.
        completion_tokens: Tokens of the answer, if told.
        error: The server's words for an error, else None.
        http_status: Status of the reply; 400 with ``error`` is a prompt that is too long.
        log_probability: Natural logarithm, for log-likelihood requests.
        is_greedy: True when the continuation is what greedy decoding gives.
        checks: What was found out about it afterwards, by the name of each of the task's checks;
            empty as it comes from the server.
    """

    text: str | None
    tool_calls: tuple[ToolCall, ...] = ()
    finish_reason: FinishReason = "stop"
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    error: str | None = None
    http_status: int = 200
    log_probability: float | None = None
    is_greedy: bool | None = None
    checks: Mapping[str, CheckResult] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleScore:
    """The score of one sample.

    Attributes:
        id: The sample's id.
        value: Score of the sample; 0 or 1 for exact tasks, may be negative for rubric tasks.
        answer: What was taken as the answer, for readers.
        marks: Facts worth counting, such as ``truncated``, ``prompt-too-long``,
            ``published-code-raises``. A score with the mark ``unchecked`` is none: a check of
            the task has no result.
        metrics: Further numbers per sample, for tasks with more than one metric.
    """

    id: str
    value: float
    answer: str | None = None
    marks: tuple[str, ...] = ()
    metrics: Mapping[str, JsonValue] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskScore:
    """The score of a task on one set of completions.

    Attributes:
        value: A fraction in [0, 1]: the scores of tasks are averaged.
        stderr: Standard error over samples by the task's published formula; None if it has none.
        n: Number of samples scored.
        breakdowns: Further numbers by name.
        marks: How many samples carry each mark.
    """

    value: float
    stderr: float | None
    n: int
    breakdowns: Mapping[str, float] = field(default_factory=dict)
    marks: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class TestItem:
    """A text that judges search for in what an agent left behind.

    Attributes:
        id: The sample's id.
        text: Question, with or without its answer: long enough to mean something when found.
        allowed: True for texts whose use in training the rules allow; a hit that is also in an
            allowed text is no hit.
    """

    __test__ = False

    id: str
    text: str
    allowed: bool = False


def count_marks(scores: Sequence[SampleScore]) -> dict[str, int]:
    """Count how many samples carry each mark."""
    counts: dict[str, int] = {}
    for score in scores:
        for mark in score.marks:
            counts[mark] = counts.get(mark, 0) + 1
    return dict(sorted(counts.items()))
