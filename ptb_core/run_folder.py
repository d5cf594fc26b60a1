"""Where everything of a run lies.

::

    RUN/run.json                       plan, cells, weights: written once
    RUN/jobs.jsonl                     jobs submitted to the executor
    RUN/cancelled                      nothing new is started, until the next `ptb run`
    RUN/cells/<cell>/journal.jsonl     the cell's story
    RUN/cells/<cell>/claims/           who holds it
    RUN/cells/<cell>/stages/<stage>/   attempt-001/, attempt-002/, ..., each with the done.json it
                                       left, and done.json: that of the attempt that counts
    RUN/cells/<cell>/record.json       what is kept; earlier ones are in the attempts at `record`
    RUN/cells/<cell>/redo.json         finished stages that are to be done again
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from ptb_core.atomic import create_exclusive, is_temporary
from ptb_core.canonical import short_hash
from ptb_core.damage import other_version, unreadable
from ptb_core.errors import RecordError, UsageError
from ptb_core.plan.model import Plan
from ptb_core.specs import CellSpec, JsonValue

RUN_VERSION = 1
HEAD_REMEDY = "restore it from a copy, the cells' records are intact"
CELL_ID = re.compile(r"[^./\0][^/\0]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """The head of a run folder, ``run.json``.

    Attributes:
        schema_version: Version of this form.
        run_id: Random id of the run.
        created_unix_s: When the run was created.
        plan: The plan, defaults filled in.
        plan_id: Hash of the plan's content, files by their content; a run folder takes one plan.
        software: Versions of this project and Python at creation.
    """

    run_id: str
    created_unix_s: float
    plan: Plan
    plan_id: str
    software: Mapping[str, JsonValue]
    schema_version: int = RUN_VERSION

    @property
    def cells(self) -> tuple[CellSpec, ...]:
        """All cells of the run."""
        return self.plan.cells

    def cell(self, cell_id: str) -> CellSpec:
        """Return a cell by its id.

        Raises:
            UsageError: If the run has no such cell.
        """
        for cell in self.cells:
            if cell.id == cell_id:
                return cell
        from ptb_core.suggest import did_you_mean

        hint = did_you_mean(cell_id, [cell.id for cell in self.cells])
        raise UsageError(f"the run {self.plan.name} has no cell {cell_id!r}{hint}")


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

    def cell(self, cell_id: str) -> CellFolder:
        """Return the folder of a cell."""
        return CellFolder(self.path / "cells" / cell_id)

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
        if self.path.exists() and self._has_foreign_files():
            raise UsageError(
                f"{self.path} is neither empty nor a run folder (it has no run.json); "
                "name another folder with --run-dir"
            )
        self.path.mkdir(parents=True, exist_ok=True)
        encoded = msgspec.json.format(msgspec.json.encode(run), indent=2)
        if not create_exclusive(self.head, encoded):
            return self._existing(run)
        return run

    def _has_foreign_files(self) -> bool:
        return any(not is_temporary(path) for path in self.path.iterdir())

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
        return _decode_head(self.head, content)

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

    def stage(self, name: str) -> Path:
        """Folder of a stage."""
        return self.path / "stages" / name

    def marker(self, stage: str) -> Path:
        """The stage's durable marker, that of the attempt that counts; exists once it is done."""
        return self.stage(stage) / "done.json"

    def attempt(self, stage: str, number: int) -> Path:
        """Folder of one attempt at a stage."""
        return self.stage(stage) / f"attempt-{number:03}"

    def attempt_marker(self, stage: str, number: int) -> Path:
        """The marker that an attempt left; never written again."""
        return self.attempt(stage, number) / "done.json"

    def attempt_record(self, number: int) -> Path:
        """The record that an attempt at the stage ``record`` wrote; never written again."""
        return self.attempt("record", number) / "record.json"

    def attempts(self, stage: str) -> list[int]:
        """Numbers of the attempts that were begun, in order."""
        folders = self.stage(stage).glob("attempt-*")
        return sorted(int(p.name.removeprefix("attempt-")) for p in folders if p.is_dir())


def run_path_of(marker: Path) -> Path:
    """Return the run folder that a stage's marker lies in."""
    stages = next(folder for folder in marker.parents if folder.name == "stages")
    return stages.parents[2]


def plan_id(plan: Plan) -> str:
    """Return the hash of a plan's content; files that agents name count by their content."""
    content = msgspec.to_builtins(plan)
    content.pop("cells")
    for agent in content["agents"]:
        agent["settings"] = plan.agent_ids[agent["name"]]
    content["cells"] = [cell.id for cell in plan.cells]
    content.pop("obstacles", None)
    return short_hash(content)


def _decode_head(path: Path, content: bytes) -> Run:
    try:
        version = msgspec.json.decode(content)["schema_version"]
        if version != RUN_VERSION:
            raise other_version(path, version, RUN_VERSION)
        return _sound(msgspec.json.decode(content, type=Run))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RecordError(f"{path} is damaged ({error}); {HEAD_REMEDY}") from error
    except (KeyError, TypeError) as error:
        raise RecordError(f"{path} is damaged (it has no schema_version); {HEAD_REMEDY}") from error


def _sound(run: Run) -> Run:
    """Make sure that no cell's id leads out of the run folder.

    Raises:
        msgspec.ValidationError: If one does.
    """
    for cell in run.cells:
        if not CELL_ID.fullmatch(cell.id):
            raise msgspec.ValidationError(f"{cell.id[:60]!r} is no id of a cell")
    return run
