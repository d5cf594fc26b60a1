"""What is kept of a cell: one JSON object, readable without any plugin.

``cells/<id>/record.json`` is the only file that leaderboards and reports need. It is written
atomically and checked against ``schemas/record.schema.json``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from ptb_core.evaluation.exchange import TaskScore
from ptb_core.integrity import Outcome, Verdict
from ptb_core.sandboxing import SandboxFacts
from ptb_core.specs import CellSpec, JsonValue, Scoring
from ptb_core.traces import OutcomeKind, Usage

SCHEMA_VERSION = 1

Counting: TypeAlias = Literal["own", "base", "missing"]
"""Which score a cell counts with: its own, the base model's, or none at all."""

MadeBy: TypeAlias = Literal["run", "retry", "rejudge", "reevaluate", "rescore"]
"""What led to a record: the run itself; a missing cell resolved; judged, answered, scored anew."""

SubmissionState: TypeAlias = Literal["sealed", "absent", "refused", "unloadable"]
"""What became of a submission; the base model's own files count as ``sealed``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One try at a stage.

    Attributes:
        stage: Name of the stage.
        number: Counts from 1 within the stage.
        outcome: ``done``, ``failed`` or ``abandoned`` (its supervisor died).
        started_unix_s: Start, wall clock.
        ended_unix_s: End, wall clock; None when nobody saw it end.
        reason: Why it failed, in one sentence.
    """

    stage: str
    number: int
    outcome: Literal["done", "failed", "abandoned"]
    started_unix_s: float
    ended_unix_s: float | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """The result of the generate and score stages.

    Attributes:
        complete: True when every sample has a completion and a score; a score that is not
            complete is not a score.
        n_expected: Samples that had to be scored.
        n_scored: Samples that were scored.
        scores: Score under both scorings; empty when nothing was scored.
        counted: Which scoring counts under the cell's protocol.
        details: Protocol, prompt hashes, data revisions, sampling, seeds, max tokens, limit,
            truncated answers, errors, engine and its settings.
    """

    complete: bool
    n_expected: int
    n_scored: int
    scores: Mapping[Scoring, TaskScore]
    counted: Scoring
    details: Mapping[str, JsonValue] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Solve:
    """How the agent's time went.

    Attributes:
        outcome: How it ended.
        detail: One sentence.
        seconds: Wall-clock time used.
        usage: Tokens and money.
        exit_code: Of the agent's process.
    """

    outcome: OutcomeKind
    detail: str
    seconds: float
    usage: Usage = Usage()
    exit_code: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlierRecord:
    """What a cell counted with before something of it was done again.

    Attributes:
        made_by: As in :class:`Record`.
        created_unix_s: When that record was written; the file itself is kept, in the attempts at
            the stage ``record``.
        counts: Which score the cell counted with.
        verdict: Combined outcome then.
        score: Own score under the counted scoring then, or None.
    """

    made_by: MadeBy
    created_unix_s: float
    counts: Counting
    verdict: Outcome | None
    score: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What is kept of a cell.

    Attributes:
        schema_version: Version of this form.
        cell: The cell, whole.
        agent_id: Hash of the agent's canonical content and its scaffold's version; None for
            base cells.
        condition_id: Hash of condition and protocol: what results must share to be compared.
        counts: Which score the cell counts with.
        reason: Why, in one sentence; empty for ``own``.
        evaluation: The submission's own evaluation, if any.
        verdict: Combined outcome; None for base cells.
        verdicts: Each judge's verdict.
        solve: How the agent's time went; None for base cells.
        submission: ``sealed``, ``absent``, ``refused`` or ``unloadable``.
        attempts: All attempts at all stages, in order.
        sandboxes: What really separated each role's sandbox from the host.
        lock: Versions, hashes and revisions that would be needed to repeat the cell.
        created_unix_s: When this record was written.
        made_by: What led to it: the run itself, or what was done again of it.
        earlier: What the cell counted with before, oldest first; empty unless something was done
            again.
    """

    cell: CellSpec
    agent_id: str | None
    condition_id: str
    counts: Counting
    reason: str
    evaluation: Evaluation | None
    verdict: Outcome | None
    verdicts: tuple[Verdict, ...]
    solve: Solve | None
    submission: SubmissionState
    attempts: tuple[Attempt, ...]
    sandboxes: Mapping[str, SandboxFacts]
    lock: Mapping[str, JsonValue]
    created_unix_s: float
    made_by: MadeBy = "run"
    earlier: tuple[EarlierRecord, ...] = ()
    schema_version: int = SCHEMA_VERSION

    @property
    def own_score(self) -> TaskScore | None:
        """The submission's own complete score under the counted scoring, or None."""
        if self.evaluation is None or not self.evaluation.complete:
            return None
        return self.evaluation.scores.get(self.evaluation.counted)
