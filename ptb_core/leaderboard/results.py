"""What a leaderboard is: the board, its sections, rows and cells.

These classes are the JSON form too (``schemas/leaderboard.schema.json``). Scores, weights and
shares are fractions, scores in the task's metric, usually [0, 1]; None is "not known", never 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from ptb_core.integrity import Outcome
from ptb_core.records import SubmissionState
from ptb_core.specs import Condition, ProtocolSpec, Scoring

BOARD_VERSION = 1

Fallback: TypeAlias = Literal["project", "published"]
"""Which rule turns a cell without own score into the base score: ``project`` does so for flagged,
absent, refused and unloadable submissions, ``published`` (upstream's rule) for every cell that
ended without a valid result."""

CellCounts: TypeAlias = Literal["own", "base", "missing", "given"]
"""What a cell counts with; ``given`` when an outside set does not say how its score arose."""

Pair: TypeAlias = tuple[str, str]
"""A task and a base model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where results come from.

    Attributes:
        name: Run id, or name of the outside set.
        path: As the user named it.
        kind: ``run`` folder, outside ``results`` or the ``published`` scores' own form.
    """

    name: str
    path: str
    kind: Literal["run", "results", "published"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CellResult:
    """What one cell contributes.

    Attributes:
        source: Name of its source.
        cell: Id of the cell; empty for outside sets, which have none.
        task: Name of the task.
        model: Name of the base model.
        repeat: Counts from 1 within the source.
        counts: What it counts with.
        score: The score that counts; None exactly when ``counts`` is ``missing``.
        reason: Why it does not count with its own score.
        verdict: The judges' combined outcome, if known.
        violations: Kinds of violation found, sorted.
        submission: What became of the submission, if known.
        sd: Sample standard deviation over runs, for a cell of an outside set that is itself a
            mean over runs.
    """

    source: str
    cell: str
    task: str
    model: str
    repeat: int
    counts: CellCounts
    score: float | None
    reason: str = ""
    verdict: Outcome | None = None
    violations: tuple[str, ...] = ()
    submission: SubmissionState | None = None
    sd: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RepeatScore:
    """The benchmark score of one repeat.

    Attributes:
        source: Name of its source.
        repeat: Counts from 1 within the source.
        score: None when a cell of the repeat is missing.
        missing: Number of missing cells.
    """

    source: str
    repeat: int
    score: float | None
    missing: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskMean:
    """One task's column of a row.

    Attributes:
        mean: Mean over repeats of the mean over models; None when no repeat has the task whole.
        sd: Mean over models of the sample standard deviation (n - 1) of the cell over repeats,
            as in the published table; None for fewer than two repeats.
        n_repeats: Repeats that have the task whole.
    """

    mean: float | None
    sd: float | None
    n_repeats: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CellTally:
    """How many cells of a row count with what."""

    total: int
    own: int
    base: int
    missing: int
    given: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One agent, or one reference, under one condition.

    Attributes:
        rank: From 1, equal scores share it; None for references and rows without a score.
        kind: ``agent`` or ``reference``.
        agent: Name of the agent or reference.
        agent_id: Its id; None for references and outside sets.
        label: What tables show: the name, with ``#`` and the id's beginning where several agents
            have the name.
        score: Benchmark score: mean over repeats of the weighted mean; None when no repeat is
            whole.
        sd: Sample standard deviation (n - 1) of the repeats' scores; None for fewer than two.
        score_basis: ``cells`` when computed here, ``stated`` when taken from the source.
        sd_basis: ``repeats`` when computed here, ``stated`` when taken from the source.
        n_repeats: Repeats that have a benchmark score; None when the source does not say.
        n_repeats_planned: Repeats that should have one; None when the source does not say.
        repeats: Each repeat's score.
        tasks: Each task's column.
        counts: Cells by what they count with.
        flagged_share: Share of cells with a flagged verdict, in [0, 1].
        inconclusive_share: Share of cells with an inconclusive verdict, in [0, 1].
        missing_share: Share of missing cells, in [0, 1].
        violations: Number of cells by kind of violation.
        notes: What a reader must know besides.
        cells: Every cell.
    """

    rank: int | None
    kind: Literal["agent", "reference"]
    agent: str
    agent_id: str | None
    label: str
    score: float | None
    sd: float | None
    score_basis: Literal["cells", "stated"] | None
    sd_basis: Literal["repeats", "stated"] | None
    n_repeats: int | None
    n_repeats_planned: int | None
    repeats: tuple[RepeatScore, ...]
    tasks: Mapping[str, TaskMean]
    counts: CellTally
    flagged_share: float
    inconclusive_share: float
    missing_share: float
    violations: Mapping[str, int]
    notes: tuple[str, ...]
    cells: tuple[CellResult, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """Rows that may be compared: same condition, protocol, engine, grader, tasks, models, weights.

    Attributes:
        condition_id: Hash of condition, protocol and grader; None for outside sets.
        condition: The condition; None for outside sets.
        condition_text: The condition in words.
        protocol: The protocol; None for outside sets.
        protocol_text: The protocol in words, with every change and limit.
        engine_text: The engine with its settings, in words; empty for outside sets.
        grader_text: Who graded, with every wording of the plan's own; empty where no task is
            graded, and for outside sets.
        scoring: Which scoring counts; None when an outside set does not say.
        sources: Where the rows come from.
        tasks: Names of the tasks, in the order of columns.
        models: Names of the base models.
        weights: Weight of each task, in (0, 1], summing to 1.
        weights_note: How the weights came about.
        rows: Agents, best first, those without a score last.
        references: Base models and other rows to compare with; never ranked.
        notes: What a reader must know besides.
    """

    condition_id: str | None
    condition: Condition | None
    condition_text: str
    protocol: ProtocolSpec | None
    protocol_text: str
    engine_text: str
    grader_text: str
    scoring: Scoring | None
    sources: tuple[Source, ...]
    tasks: tuple[str, ...]
    models: tuple[str, ...]
    weights: Mapping[str, float]
    weights_note: str
    rows: tuple[Row, ...]
    references: tuple[Row, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """A whole leaderboard.

    Attributes:
        schema_version: Version of this form.
        fallback: The rule asked for; None leaves run folders to ``project`` and outside sets as
            they stand.
        scoring: The scoring asked for; None leaves it to each protocol.
        sections: One per condition, protocol, engine, grader, set of cells and weights.
    """

    fallback: Fallback | None
    scoring: Scoring | None
    sections: tuple[Section, ...]
    schema_version: int = BOARD_VERSION
