"""What every stage is given, and what each leaves in its marker."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

from ptb_core import lock
from ptb_core.atomic import write_json
from ptb_core.errors import PtbError, RecordError
from ptb_core.integrity import HarnessFile, Outcome, Verdict
from ptb_core.journal import append_event
from ptb_core.json_codec import to_builtins
from ptb_core.records import Evaluation, Solve
from ptb_core.redo_request import RedoRequest
from ptb_core.run_folder import CellFolder, Run, RunFolder
from ptb_core.sandboxing import SandboxFacts, SealedFile
from ptb_core.specs import CellSpec, JsonValue
from ptb_core.stages.markers import read_marker

if TYPE_CHECKING:
    from ptb_core.catalogue import Catalogue

ResultT = TypeVar("ResultT")


class CellStoppedError(PtbError):
    """The supervisor was asked to stop; the cell can be continued later."""

    exit_code = 130


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """Everything a cell needs is on this machine.

    Attributes:
        base_model: Folder of the base model's files.
        model_revision: What identifies the weights: hub commit or sha256.
        data_files: Path of each data file of the task.
        prompts: Text of each prompt of the task.
        revisions: What was really used, by data file or prompt name.
    """

    base_model: Path
    model_revision: str
    data_files: Mapping[str, Path]
    prompts: Mapping[str, str]
    revisions: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Solved:
    """The agent has ended, nothing in its sandbox runs any more.

    Attributes:
        solve: How its time went.
        workspace: Host path of the workspace as it was left.
        seal: Files of ``final_model/`` at the freeze.
        harness: What lay in the workspace at the start and had to stay.
        trace: File holding the trace as JSON.
        prompt_sha256: Digest of the whole prompt as given.
        facts: What really separated the agent from the host.
        development: Log of the scores that the broker told the agent, if it was asked at all.
    """

    solve: Solve
    workspace: Path
    seal: tuple[SealedFile, ...]
    harness: tuple[HarnessFile, ...]
    trace: Path
    prompt_sha256: str
    facts: SandboxFacts
    development: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealed:
    """The submission and the evidence are out of the agent's reach.

    Attributes:
        state: What became of the submission.
        reason: Why there is none, or why it was refused.
        path: Folder of the sealed checkpoint, or None.
        files: Its files with their digests.
        notes: What was left out or merged.
        evidence: Copy of the workspace for judges.
        omitted: What that copy left out, with reasons.
    """

    state: Literal["sealed", "absent", "refused"]
    reason: str
    path: Path | None
    files: tuple[SealedFile, ...]
    notes: tuple[str, ...]
    evidence: Path
    omitted: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Generated:
    """The checkpoint has answered.

    Attributes:
        state: ``done``, ``unloadable``, or ``skipped`` when there was nothing to serve.
        reason: Why not ``done``.
        completions: File of completions, one JSON line each.
        completions_sha256: Digest of that file; empty in markers that did not note it.
        details: Requests, sampling, engine, time, tokens, truncated answers, errors.
        facts: What separated the checkpoint from the host.
    """

    state: Literal["done", "unloadable", "skipped"]
    reason: str = ""
    completions: Path | None = None
    completions_sha256: str = ""
    details: Mapping[str, JsonValue] = field(default_factory=dict)
    facts: SandboxFacts | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """The completions are scored both ways.

    Attributes:
        evaluation: None when there were no completions.
        checks: The log of checks that it rests on, or None when the task has none or the marker
            did not note it.
    """

    evaluation: Evaluation | None
    checks: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """All judges have spoken."""

    outcome: Outcome
    verdicts: tuple[Verdict, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """The record is written."""

    record: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class StageContext:
    """What a stage is given.

    Attributes:
        run: The run's head.
        run_folder: The run's folder.
        folder: The cell's folder.
        cell: The cell.
        catalogue: Components.
        fence: Fencing number of this supervisor.
        attempt: Number of this attempt.
        attempt_dir: Folder of this attempt; exists.
        check_claim: Raises ClaimLostError when the cell was taken over.
        stopping: Set when the supervisor was asked to stop.
        redo: What is being done again, if anything is.
    """

    run: Run
    run_folder: RunFolder
    folder: CellFolder
    cell: CellSpec
    catalogue: Catalogue
    fence: int
    attempt: int
    attempt_dir: Path
    check_claim: Callable[[], None]
    stopping: threading.Event
    redo: RedoRequest | None = None

    def earlier_attempt(self, stage: str) -> int:
        """Return the attempt at a stage that counted until it was to be done again; 0 for none."""
        return self.redo.stages.get(stage, 0) if self.redo is not None else 0

    def result(self, stage: str, result_type: type[ResultT]) -> ResultT:
        """Return what an earlier stage left.

        Raises:
            RecordError: If its marker is absent or damaged.
        """
        result = read_marker(self.folder.marker(stage), result_type)
        if result is None:
            raise RecordError(f"{self.cell.id}: stage {stage} has no marker; run the plan again")
        return result

    def note(self, stage: str, text: str, data: Mapping[str, JsonValue] | None = None) -> None:
        """Write a line into the cell's journal."""
        append_event(
            self.folder.journal,
            "note",
            self.fence,
            stage=stage,
            attempt=self.attempt,
            text=text,
            data=data,
        )

    def raise_if_stopping(self) -> None:
        """Raise CellStoppedError when the supervisor was asked to stop, or the run cancelled.

        A supervisor whose command line was killed before it could note the job is reached by
        ``ptb cancel`` through the run folder alone.
        """
        if self.stopping.is_set() or self.run_folder.cancelled.exists():
            raise CellStoppedError(f"{self.cell.id} was stopped; `ptb run` continues it")


def write_marker(context: StageContext, stage: str, result: object) -> None:
    """Leave a stage's marker: in its attempt for ever, and as the one that counts.

    Raises:
        OSError: If it cannot be written; the stage is then not done.
    """
    head: dict[str, JsonValue] = {
        "schema_version": 1,
        "stage": stage,
        "attempt": context.attempt,
        "fence": context.fence,
        "finished_unix_s": time.time(),
        "software": lock.software(),
        "components": dict(lock.components(context.catalogue, context.run, context.cell)),
        "result": to_builtins(result, context.run_folder.path),
    }
    write_json(context.folder.attempt_marker(stage, context.attempt), head)
    write_json(context.folder.marker(stage), head)
