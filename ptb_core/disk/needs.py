"""How much room cells need; estimates from the plan alone, and where each number comes from."""

from __future__ import annotations

from collections.abc import Sequence

from ptb_core.disk.space import Need
from ptb_core.plan.model import Plan, Retention
from ptb_core.sandboxing import SealedFile
from ptb_core.sizes import GIB, MIB
from ptb_core.specs import CellSpec, ModelSpec

BYTES_PER_PARAMETER = 2
"""Checkpoints are bfloat16, as all base models of the published plan are."""
WORKING_CHECKPOINTS = 2
"""Checkpoints that an agent is taken to hold at once: the one it submits and one it came from. An
assumption of this project."""
OTHER = Need(bytes=64 * MIB, inodes=2000)
"""Logs, completions, records, harness files and an engine's temporary files of one cell. An
assumption of this project; the quick start's cells take 3 MiB and 100 inodes."""


def checkpoint_bytes(model: ModelSpec) -> int:
    """Return the size of a fine-tuned checkpoint of a model.

    Its download may be smaller (quantised) or larger (other formats beside): the larger counts.
    """
    download = int((model.source.size_gib or 0.0) * GIB)
    return max(download, model.parameters * BYTES_PER_PARAMETER)


def solve_need(plan: Plan, model: ModelSpec) -> Need:
    """Return what an agent is taken to need while it works.

    The plan's ``disk_gib`` makes it less and never more: a generous limit is no reservation.
    """
    limit = plan.sandbox.limits.disk_gib
    working = WORKING_CHECKPOINTS * checkpoint_bytes(model)
    most = working if limit is None else min(working, int(limit * GIB))
    return OTHER + Need(bytes=most, inodes=0)


def seal_need(frozen: Sequence[SealedFile], model: ModelSpec) -> Need:
    """Return what the copy out of the agent's reach takes; an adapter is merged into the base."""
    merged = any(file.path.endswith("/adapter_model.safetensors") for file in frozen)
    copied = sum(file.size for file in frozen if file.type == "file")
    whole = checkpoint_bytes(model) if merged else 0
    return Need(bytes=OTHER.bytes + copied + whole, inodes=OTHER.inodes + len(frozen))


def generate_need() -> Need:
    """Return what a checkpoint's answers and its engine's files take."""
    return OTHER


def live_need(plan: Plan, cell: CellSpec, model: ModelSpec) -> Need:
    """Return what a cell takes at most while it runs: the agent's files, and the sealed copy."""
    if cell.kind == "base":
        return OTHER
    return solve_need(plan, model) + Need(bytes=checkpoint_bytes(model), inodes=0)


def kept_need(retention: Retention, repeats: int, cell: CellSpec, model: ModelSpec) -> Need:
    """Return what stays of a cell, if all goes well, once it is recorded."""
    if cell.kind == "base":
        return Need(bytes=MIB, inodes=100)
    size = checkpoint_bytes(model)
    copies = 2 if retention.workspaces == "whole" else 1
    sealed = {
        "all": copies * size,
        "best": copies * size // repeats,
        "after-verdict": 0,
        "none": 0,
    }[retention.checkpoints]
    return Need(bytes=MIB + sealed, inodes=200)


def least_live_need(model: ModelSpec) -> Need:
    """Return what no agent that submits a whole checkpoint can do without: it, and our copy."""
    return Need(bytes=2 * checkpoint_bytes(model), inodes=0)
