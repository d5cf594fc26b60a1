"""The samples of a cell's final evaluation, put together from what its stages left.

Reads only. What the task's plugin or data would add (what was asked, the right answer) is left
out where they are not at hand any more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from ptb_core.errors import PtbError, UsageError
from ptb_core.evaluation.completion_log import read_completions
from ptb_core.evaluation.exchange import Sample, SampleScore
from ptb_core.evaluation.json_log import read_log
from ptb_core.evaluation.rounds import rounds_of
from ptb_core.evaluation.sample_lines import SampleLine, asked, with_logged_checks
from ptb_core.evaluation.samples import samples_of
from ptb_core.interfaces import Task
from ptb_core.run_folder import CellFolder, Run, RunFolder
from ptb_core.specs import CellSpec, JsonValue, ProtocolSpec, Scoring
from ptb_core.stages.context import Generated, Prepared, Scored
from ptb_core.stages.markers import read_marker, read_marker_head
from ptb_core.stages.prepare import data_dir_of

if TYPE_CHECKING:
    from ptb_core.catalogue import Catalogue


class ScoreLine(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a cell's ``samples.jsonl``: a sample's score under one scoring."""

    id: str
    scoring: Scoring
    value: float
    answer: str | None = None
    marks: tuple[str, ...] = ()
    metrics: Mapping[str, JsonValue] = {}
    seed: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CellFiles:
    """Where the samples of one cell come from.

    Attributes:
        run: The head of its run.
        cell: The cell.
        folder: Its folder.
    """

    run: Run
    cell: CellSpec
    folder: CellFolder

    @property
    def is_scored(self) -> bool:
        """True once the cell's answers have been scored."""
        return self.folder.marker("score").exists() and self.folder.marker("generate").exists()


def cells_of(run_folder: RunFolder, names: Sequence[str]) -> list[CellFiles]:
    """Return the cells of a run that are named; all scored ones when none is.

    Raises:
        UsageError: If this is no run folder, or it has no such cell.
        RecordError: If the run's head is damaged.
    """
    run = run_folder.open()
    files = [
        CellFiles(run=run, cell=cell, folder=run_folder.cell(cell.id))
        for cell in ([run.cell(name) for name in names] or run.cells)
    ]
    return files if names else [one for one in files if one.is_scored]


def cell_lines(
    files: CellFiles, catalogue: Catalogue, tell: Callable[[str], None]
) -> Iterator[SampleLine]:
    """Yield the samples of a cell, in order.

    Args:
        files: The cell.
        catalogue: Components; the cell's task may be gone.
        tell: Told what is left out, and why.

    Raises:
        UsageError: If the cell has no scored answers.
        RecordError: If something of it is damaged.
    """
    generated = read_marker(files.folder.marker("generate"), Generated)
    head = read_marker_head(files.folder.marker("score"))
    if generated is None or head is None or generated.completions is None:
        raise UsageError(
            f"cell {files.cell.id} has no scored answers; `ptb status` shows how it stands"
        )
    scores = _scores(files.folder.attempt("score", head.attempt) / "samples.jsonl")
    scored = read_marker(files.folder.marker("score"), Scored)
    failures = _failures(scored)
    logs = _check_logs(files.folder, scored)
    known = _known(files, catalogue, tell)
    protocol = files.cell.protocol
    rounds = rounds_of(protocol)
    for one in rounds:
        seed = one.seed if len(rounds) > 1 else None
        completions = read_completions(generated.completions, one.number)
        if known is not None:
            completions = with_logged_checks(
                known.task, known.samples, completions, logs, one.number
            )
        for sample_id in known.ids if known is not None else completions:
            own = scores.get((sample_id, seed), {})
            yield SampleLine(
                id=sample_id,
                counted=protocol.scoring,
                requests=() if known is None else known.asked(sample_id, protocol),
                target=None if known is None else known.target(sample_id),
                completions=tuple(completions.get(sample_id, ())),
                scores=own,
                failures={
                    scoring: found[sample_id]
                    for scoring, found in failures.items()
                    if sample_id in found and scoring not in own
                },
                seed=seed,
            )


class _Known:
    """What the task's plugin and data say about the samples."""

    def __init__(self, task: Task, samples: Sequence[Sample]) -> None:
        self.task, self.samples = task, samples
        self.ids = {sample.id: sample for sample in samples}

    def asked(self, sample_id: str, protocol: ProtocolSpec) -> tuple[Mapping[str, JsonValue], ...]:
        return asked(self.task, self.ids[sample_id], protocol)

    def target(self, sample_id: str) -> JsonValue:
        return msgspec.to_builtins(self.ids[sample_id].target)


def _known(files: CellFiles, catalogue: Catalogue, tell: Callable[[str], None]) -> _Known | None:
    prepared = read_marker(files.folder.marker("prepare"), Prepared)
    try:
        task = catalogue.task(files.cell.task)
        if prepared is None:
            raise UsageError("its stage prepare has no marker")
        samples = samples_of(task, data_dir_of(prepared), files.cell.protocol.limit)
    except (PtbError, OSError) as error:
        tell(f"{files.cell.id}: questions and right answers are left out: {error}")
        return None
    return _Known(task, samples)


def _scores(path: Path) -> Mapping[tuple[str, int | None], dict[Scoring, SampleScore]]:
    """Return the scores of a cell by sample and seed, then scoring."""
    found: dict[tuple[str, int | None], dict[Scoring, SampleScore]] = {}
    for line in read_log(path, ScoreLine, "sample score")[0]:
        found.setdefault((line.id, line.seed), {})[line.scoring] = SampleScore(
            id=line.id,
            value=line.value,
            answer=line.answer,
            marks=line.marks,
            metrics=line.metrics,
        )
    return found


def _failures(scored: Scored | None) -> Mapping[Scoring, Mapping[str, str]]:
    """Return why samples have no score, by scoring and sample."""
    if scored is None or scored.evaluation is None:
        return {}
    failures: Mapping[Scoring, Mapping[str, str]] = scored.evaluation.details.get("failures", {})
    return failures


def _check_logs(folder: CellFolder, scored: Scored | None) -> Sequence[Path]:
    """Return the log of checks that the scores rest on.

    Where the marker does not name it: all there are, the one written last at the end.
    """
    if scored is not None and scored.checks is not None:
        return (scored.checks,)
    logs = folder.stage("score").glob("checks*.jsonl")
    return sorted(logs, key=lambda path: (path.stat().st_mtime_ns, path.name != "checks.jsonl"))
