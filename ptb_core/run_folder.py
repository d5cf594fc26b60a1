"""Where everything of a run lies.

::

    RUN/run.json                       plan, cells, weights: written once
    RUN/jobs.jsonl                     jobs submitted to the executor
    RUN/cancelled                      nothing new is started, until the next `ptb run`
    RUN/retention.json                 what stays on the disk, when it is not as run.json says
    RUN/grader.json                    how the grader is reached and what it may cost, when it is
                                       not as run.json says
    RUN/grading/                       what grading has cost, a file per writer
    RUN/cells/<cell>/journal.jsonl     the cell's story
    RUN/cells/<cell>/claims/           who holds it
    RUN/cells/<cell>/stages/<stage>/   attempt-001/, attempt-002/, ..., each with the done.json it
                                       left, and done.json: that of the attempt that counts
    RUN/cells/<cell>/graded/           the grader's replies, a file per writer
    RUN/cells/<cell>/record.json       what is kept; earlier ones are in the attempts at `record`
    RUN/cells/<cell>/redo.json         finished stages that are to be done again
    RUN/cells/<cell>/removed.jsonl     what was removed to free the disk, when and why
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import msgspec

from ptb_core.atomic import create_exclusive, is_temporary, sweep
from ptb_core.canonical import short_hash
from ptb_core.damage import unreadable
from ptb_core.errors import UsageError
from ptb_core.plan.model import Plan
from ptb_core.run_head import HEAD_REMEDY, decode_head, encode_head
from ptb_core.run_head import Run as Run
from ptb_core.specs import JsonValue


class RunFolder:
    """Paths of a run folder, and its head."""

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()

    @property
    def head(self) -> Path:
        """The head's file."""
        return self.path / "run.json"

    @property
    def jobs(self) -> Path:
        """Journal of submitted jobs."""
        return self.path / "jobs.jsonl"

    @property
    def cancelled(self) -> Path:
        """Exists from ``ptb cancel`` until the next ``ptb run``: nothing new is started."""
        return self.path / "cancelled"

    @property
    def retention(self) -> Path:
        """What stays on the disk, when a later ``ptb run`` said something else than the head."""
        return self.path / "retention.json"

    @property
    def grader(self) -> Path:
        """How the grader is reached, when a later ``ptb run`` said something else than the head."""
        return self.path / "grader.json"

    @property
    def grading(self) -> Path:
        """Folder of the bookings of what grading has cost."""
        return self.path / "grading"

    def cell(self, cell_id: str) -> CellFolder:
        """Return the folder of a cell."""
        return CellFolder(self.path / f"cells/{cell_id}")

    def create(self, plan: Plan, software: Mapping[str, JsonValue]) -> Run:
        """Write the head, or return the one that is there if it is of the same plan.

        Raises:
            UsageError: If the folder belongs to another plan, or holds foreign files.
        """
        run = Run(
            run_id=secrets.token_hex(6),
            created_unix_s=time.time(),
            plan=plan,
            plan_id=plan_id(plan),
            software=software,
        )
        try:
            return self._create(run)
        except OSError as error:
            raise UsageError(
                f"the run folder {self.path} cannot be written: {error.strerror}; "
                "name another one with --run-dir, or mend that"
            ) from error

    def _create(self, run: Run) -> Run:
        if self.head.exists():
            return self._existing(run)
        if self._holds_something_else():
            raise UsageError(
                f"{self.path} is neither empty nor a run folder (it has no run.json); "
                "name another folder with --run-dir"
            )
        self.path.mkdir(parents=True, exist_ok=True)
        created = create_exclusive(self.head, encode_head(run))
        sweep(self.path)
        return run if created else self._existing(run)

    def _holds_something_else(self) -> bool:
        """A head that another command line is just writing, or was killed writing, is no file."""
        if not self.path.exists():
            return False
        names = {path.name for path in self.path.iterdir() if not is_temporary(path.name)}
        return bool(names) and self.head.name not in names

    def open(self) -> Run:
        """Read the head.

        Raises:
            UsageError: If this is no run folder.
            RecordError: If the head is damaged or of an unknown version.
        """
        try:
            content = self.head.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            raise UsageError(
                f"{self.path} is no run folder: it has no run.json; `ptb run --plan PLAN` makes one"
            ) from None
        except OSError as error:
            raise unreadable(self.head, error, HEAD_REMEDY) from error
        return decode_head(self.head, content)

    def _existing(self, wanted: Run) -> Run:
        found = self.open()
        if found.plan_id != wanted.plan_id:
            raise UsageError(
                f"{self.path} belongs to plan {found.plan.name!r} ({found.plan_id}), not to "
                f"{wanted.plan.name!r} ({wanted.plan_id}) as it stands now; a run keeps its plan: "
                "name another folder with --run-dir, or restore the plan, its programs and plugins"
            )
        return found


class CellFolder:
    """Paths of one cell's folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def journal(self) -> Path:
        """The cell's story."""
        return self.path / "journal.jsonl"

    @property
    def claims(self) -> Path:
        """Who holds the cell."""
        return self.path / "claims"

    @property
    def graded(self) -> Path:
        """Folder of the grader's replies."""
        return self.path / "graded"

    @property
    def record(self) -> Path:
        """What is kept of the cell."""
        return self.path / "record.json"

    @property
    def redo(self) -> Path:
        """Exists while finished stages are to be done again."""
        return self.path / "redo.json"

    @property
    def log(self) -> Path:
        """The supervisor's output."""
        return self.path / "supervisor.log"

    @property
    def removed(self) -> Path:
        """What was removed to free the disk; see :mod:`ptb_core.retention`."""
        return self.path / "removed.jsonl"

    @property
    def trash(self) -> Path:
        """Where a thing lies between its removal from its place and its end."""
        return self.path / ".trash"

    def stage(self, name: str) -> Path:
        """Folder of a stage."""
        return self.path / f"stages/{name}"

    def marker(self, stage: str) -> Path:
        """The stage's durable marker, that of the attempt that counts; exists once it is done."""
        return self.path / f"stages/{stage}/done.json"

    def attempt(self, stage: str, number: int) -> Path:
        """Folder of one attempt at a stage."""
        return self.stage(stage) / f"attempt-{number:03}"

    def attempt_marker(self, stage: str, number: int) -> Path:
        """The marker that an attempt left; never written again."""
        return self.attempt(stage, number) / "done.json"

    def attempt_record(self, number: int) -> Path:
        """The record that an attempt at the stage ``record`` wrote; never written again."""
        return self.attempt("record", number) / "record.json"

    def sweep(self) -> None:
        """Remove what a killed supervisor left half written; only the cell's holder may do so.

        What an agent made is never looked at: it lies deeper.
        """
        places = [self.path, self.claims, *self.path.glob("stages/*")]
        for place in (*places, *self.path.glob("stages/*/attempt-*")):
            sweep(place)
            sweep(place / "engine")

    def attempts(self, stage: str) -> list[int]:
        """Numbers of the attempts that were begun, in order."""
        folders = self.stage(stage).glob("attempt-*")
        return sorted(int(p.name.removeprefix("attempt-")) for p in folders if p.is_dir())


def run_path_of(marker: Path) -> Path:
    """Return the run folder that a stage's marker lies in."""
    stages = next(folder for folder in marker.parents if folder.name == "stages")
    return stages.parents[2]


def plan_id(plan: Plan) -> str:
    """Return the hash of a plan's content; files that agents name count by their content.

    What may change from one ``ptb run`` to the next is no part of it: what stays on the disk, how
    the grader is reached and what it may cost.
    """
    content = msgspec.to_builtins(replace(plan, cells=()))
    for agent in content["agents"]:
        agent["settings"] = plan.agent_ids[agent["name"]]
    content["cells"] = [cell.id for cell in plan.cells]
    for name in ("obstacles", "retention", "grader", "grader_price"):
        content.pop(name, None)
    content["budgets"].pop("grader_usd", None)
    if plan.grader is not None:
        content["grader"] = {"model": plan.grader.model, "prompts": plan.grader.prompts}
    # As in the ids of runs from before plans could say so:
    if plan.declared is None:
        del content["declared"]
    if not plan.protocol.seeds:
        del content["protocol"]["seeds"]
    return short_hash(content)
