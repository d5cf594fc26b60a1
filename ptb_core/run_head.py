"""The head of a run folder, ``run.json``: the plan, and one line for each of its cells.

A cell's line holds what tells it from the others; its agent, condition and protocol stand in the
plan, once. Every supervisor reads the head, so it is kept small: 10,000 cells are 2 MB.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import msgspec

from ptb_core.errors import RecordError, UsageError
from ptb_core.plan.model import Plan
from ptb_core.specs import CellSpec, JsonValue

RUN_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What the head says.

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


def encode_head(run: Run) -> bytes:
    """Return a head as the JSON of its file, one line per cell."""
    head = msgspec.to_builtins(replace(run, plan=replace(run.plan, cells=())))
    del head["plan"]["cells"]
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
            raise RecordError(
                f"{path}: schema_version {version}; this version of ptb reads {RUN_VERSION}; "
                "use the version that wrote it"
            )
        return _run(content)
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError) as error:
        raise RecordError(
            f"{path} is damaged ({error}); restore it from a copy, the cells' records are intact"
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
