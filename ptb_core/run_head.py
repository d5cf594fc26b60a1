"""The head of a run folder, ``run.json``: the plan, and one line for each of its cells.

A cell's line holds what tells it from the others; its agent, condition and protocol stand in the
plan, once. Every supervisor reads the head, so it is kept small: 10,000 cells are 2 MB.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import msgspec

from ptb_core.damage import other_version
from ptb_core.errors import RecordError, UsageError
from ptb_core.plan.model import Plan
from ptb_core.specs import CellSpec, JsonValue

RUN_VERSION = 1
HEAD_REMEDY = "restore it from a copy, the cells' records are intact"
CELL_ID = re.compile(r"[^./\0][^/\0]*")
"""What a cell may be called: nothing that leads out of the run folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What the head says.

    Attributes:
        schema_version: Version of this form.
        run_id: Random id of the run.
        created_unix_s: When the run was created.
        plan: The plan, defaults filled in.
        plan_id: Hash of the plan's content, files by their content; a run folder takes one plan.
        software: Versions of this project and Python at creation, and under ``components`` the
            distribution and version of every component that the plan names.
    """

    run_id: str
    created_unix_s: float
    plan: Plan
    plan_id: str
    software: Mapping[str, JsonValue]
    schema_version: int = RUN_VERSION
    _by_id: dict[str, CellSpec] = field(
        default_factory=dict, init=False, repr=False, compare=False, hash=False
    )

    @property
    def cells(self) -> tuple[CellSpec, ...]:
        """All cells of the run."""
        return self.plan.cells

    def cell(self, cell_id: str) -> CellSpec:
        """Return a cell by its id.

        Raises:
            UsageError: If the run has no such cell.
        """
        if not self._by_id:
            self._by_id.update({cell.id: cell for cell in self.cells})
        if cell_id in self._by_id:
            return self._by_id[cell_id]
        from ptb_core.suggest import did_you_mean

        hint = did_you_mean(cell_id, self._by_id)
        raise UsageError(f"the run {self.plan.name} has no cell {cell_id!r}{hint}")


def encode_head(run: Run) -> bytes:
    """Return a head as the JSON of its file, one line per cell."""
    plan = msgspec.to_builtins(replace(run.plan, cells=()))
    del plan["cells"]
    head = {
        "schema_version": run.schema_version,
        "run_id": run.run_id,
        "created_unix_s": run.created_unix_s,
        "plan_id": run.plan_id,
        "software": run.software,
        "plan": plan,
    }
    text = msgspec.json.format(msgspec.json.encode(head), indent=2).removesuffix(b"\n}")
    lines = b",\n    ".join(msgspec.json.encode(_line(cell, run.plan)) for cell in run.cells)
    return text + b',\n  "cells": [\n    ' + lines + b"\n  ]\n}\n"


def decode_head(path: Path, content: bytes) -> Run:
    """Return what a head's file holds.

    Args:
        path: The file, for messages.
        content: All of it.

    Raises:
        RecordError: If it is damaged or of an unknown version.
    """
    try:
        version = msgspec.json.decode(content, type=_Version).schema_version
        if version != RUN_VERSION:
            raise other_version(path, version, RUN_VERSION)
        return _sound(_run(content))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RecordError(f"{path} is damaged ({error}); {HEAD_REMEDY}") from error
    except KeyError as error:
        raise RecordError(
            f"{path} is damaged (its plan has no agent {error}); {HEAD_REMEDY}"
        ) from error


class _Version(msgspec.Struct):
    schema_version: int


class _Line(msgspec.Struct, gc=False):
    """One cell; ``agent`` is a name of the plan's agents, None for base cells."""

    id: str
    kind: Literal["agent", "base"]
    task: str
    model: str
    agent: str | None
    repeat: int
    base_cell: str | None
    seed: int


class _Head(msgspec.Struct):
    run_id: str
    created_unix_s: float
    plan: msgspec.Raw
    plan_id: str
    software: dict[str, JsonValue]
    schema_version: int
    cells: list[_Line]


def _sound(run: Run) -> Run:
    """Make sure that no cell's id leads out of the run folder.

    Raises:
        msgspec.ValidationError: If one does.
    """
    for cell in run.cells:
        if not CELL_ID.fullmatch(cell.id):
            raise msgspec.ValidationError(f"{cell.id[:60]!r} is no id of a cell")
    return run


def _line(cell: CellSpec, plan: Plan) -> _Line:
    assert (cell.condition, cell.protocol) == (plan.condition, plan.protocol)
    return _Line(
        id=cell.id,
        kind=cell.kind,
        task=cell.task,
        model=cell.model,
        agent=cell.agent.name if cell.agent else None,
        repeat=cell.repeat,
        base_cell=cell.base_cell,
        seed=cell.seed,
    )


def _run(content: bytes) -> Run:
    head = msgspec.json.decode(content, type=_Head)
    plan = msgspec.convert({**msgspec.json.decode(head.plan), "cells": ()}, Plan)
    agents = {agent.name: agent for agent in plan.agents}
    cells = tuple(
        CellSpec(
            id=line.id,
            kind=line.kind,
            task=line.task,
            model=line.model,
            agent=None if line.agent is None else agents[line.agent],
            repeat=line.repeat,
            condition=plan.condition,
            protocol=plan.protocol,
            base_cell=line.base_cell,
            seed=line.seed,
        )
        for line in head.cells
    )
    return Run(
        run_id=head.run_id,
        created_unix_s=head.created_unix_s,
        plan=replace(plan, cells=cells),
        plan_id=head.plan_id,
        software=head.software,
        schema_version=head.schema_version,
    )
