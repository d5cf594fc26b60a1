"""The lock: versions, hashes and revisions that would be needed to repeat a cell."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from ptb_core.errors import UsageError
from ptb_core.specs import JsonValue

if TYPE_CHECKING:
    from ptb_core.catalogue import Catalogue
    from ptb_core.plan.model import Plan
    from ptb_core.run_folder import Run
    from ptb_core.specs import CellSpec, Kind

DISTRIBUTIONS = (
    "posttrainbench",
    "torch",
    "transformers",
    "tokenizers",
    "safetensors",
    "vllm",
    "lm-eval",
    "datasets",
    "peft",
    "numpy",
)
"""Distributions whose version can move a score."""


def software() -> dict[str, JsonValue]:
    """Return versions of Python and of the installed distributions that can move a score."""
    return {
        "python": sys.version.split()[0],
        "distributions": {name: found for name in DISTRIBUTIONS if (found := _version(name))},
    }


def machine() -> dict[str, JsonValue]:
    """Return what this host is: name, kernel, processors, memory, GPUs and their driver."""
    return {
        "host": platform.node(),
        "kernel": platform.release(),
        "cpus": os.cpu_count(),
        "cpu": _cpu_name(),
        "gpus": gpu_lines(),
    }


def components(catalogue: Catalogue, run: Run, cell: CellSpec) -> Mapping[str, JsonValue]:
    """Return distribution, version and manifest digest of every component of the cell.

    None for one that is not installed any more: a cell may be judged again without its scaffold.
    """
    used: list[tuple[Kind, str]] = [
        ("task", cell.task),
        ("model", cell.model),
        *_of_every_cell(run.plan),
    ]
    if cell.agent is not None:
        used.append(("scaffold", cell.agent.scaffold))
    return {f"{kind}/{name}": _provenance(catalogue, kind, name) for kind, name in used}


def plan_components(catalogue: Catalogue, plan: Plan) -> Mapping[str, JsonValue]:
    """Return distribution and version of every component that a plan names."""
    used: list[tuple[Kind, str]] = [
        *(("task", name) for name in plan.tasks),
        *(("model", name) for name in plan.models),
        *(("scaffold", agent.scaffold) for agent in plan.agents),
        *_of_every_cell(plan),
    ]
    found = {f"{kind}/{name}": catalogue.provenance(kind, name) for kind, name in used}
    return {
        key: {"distribution": one.distribution, "version": one.version}
        for key, one in found.items()
    }


def gpu_lines() -> list[str]:
    """Return one line per GPU as the driver lists it; none without a driver."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    query = "--query-gpu=name,uuid,memory.total,driver_version"
    try:
        done = subprocess.run(
            [program, query, "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    return [line.strip() for line in done.stdout.splitlines() if line.strip()]


def _of_every_cell(plan: Plan) -> Iterator[tuple[Kind, str]]:
    """Yield the components that all cells of a plan share."""
    yield "sandbox", plan.sandbox.name
    yield "engine", plan.engine.name
    yield "executor", plan.executor.name
    for judge in plan.judges:
        yield "judge", judge.name


def _provenance(catalogue: Catalogue, kind: Kind, name: str) -> JsonValue:
    try:
        return catalogue.provenance(kind, name)._asdict()
    except UsageError:
        return None


@cache
def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
