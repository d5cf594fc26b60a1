"""Real cells, one ``ptb cell`` process each: what they cost beside the engine, and at rest."""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from measuring import Bench, Run, ptb

from ptb_core.journal import read_events
from ptb_core.run_folder import CellFolder, RunFolder

REST_S = 3.0
"""How long a supervisor at rest is watched."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CellCost:
    """What one cell took.

    Attributes:
        run: The whole process of its supervisor.
        engine_s: Life of the engine's process, from the sandbox's own files: loading torch and
            the weights, and answering.
        steps: Seconds by step; ``generate`` without the engine's life.
    """

    run: Run
    engine_s: float
    steps: dict[str, float]

    @property
    def orchestration_s(self) -> float:
        """All that was not the engine."""
        return self.run.wall_s - self.engine_s


def run_cell(bench: Bench, run_folder: RunFolder, cell: str) -> CellCost:
    """Take a cell to its end as an executor does."""
    began = time.time()
    run = bench.once(ptb("cell", str(run_folder.path), cell))
    ended = time.time()
    folder = run_folder.cell(cell)
    engine_s = _engine_s(folder)
    steps = dict(_steps(folder, began, ended))
    steps["generate"] -= engine_s
    return CellCost(run=run, engine_s=engine_s, steps=steps)


def _engine_s(folder: CellFolder) -> float:
    found = folder.attempt("generate", 1).glob("sandbox-*/control/processes/*/status.json")
    (status,) = (json.loads(path.read_bytes()) for path in found)
    lived: float = status["ended_unix_s"] - status["started_unix_s"]
    return lived


def _steps(folder: CellFolder, began: float, ended: float) -> Iterator[tuple[str, float]]:
    """Yield the time of each step; what lies between two stages belongs to the later one."""
    last = began
    for event in read_events(folder.journal):
        if event.event == "claimed":
            yield "start: interpreter, imports, run.json, claim", event.unix_s - last
        elif event.event == "started" and event.stage == "prepare":
            yield "plugins", event.unix_s - last
        elif event.event == "done":
            yield event.stage, event.unix_s - last
        else:
            continue
        last = event.unix_s
    yield "end of the process", ended - last


def step_rows(costs: Sequence[CellCost]) -> list[tuple[str, ...]]:
    """Return a table row for each step: median, minimum, maximum."""
    rows: list[tuple[str, ...]] = []
    for step in costs[0].steps:
        times = [cost.steps[step] for cost in costs]
        name = f"{step} without the engine" if step == "generate" else step
        rows.append((name, *spread(times)))
    return rows


def spread(values: Sequence[float]) -> tuple[str, str, str]:
    """Return median, minimum and maximum as cells of a table."""
    return f"{statistics.median(values):.3f}", f"{min(values):.3f}", f"{max(values):.3f}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Resting:
    """A process while the agent sleeps; ``cpu_share`` is of one processor."""

    name: str
    rss_mb: float
    pss_mb: float
    cpu_share: float


def rest(bench: Bench, run_folder: RunFolder, cell: str) -> list[Resting]:
    """Start a cell whose agent sleeps, look at its processes, and stop it."""
    supervisor = subprocess.Popen(
        [sys.executable, *ptb("cell", str(run_folder.path), cell)],
        env=bench.environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        guardian = _guardian(run_folder.cell(cell), supervisor)
        processes = {"supervisor": supervisor.pid, **dict(_tree(guardian))}
        before = {name: _cpu_s(pid) for name, pid in processes.items()}
        time.sleep(REST_S)
        return [
            Resting(
                name=name,
                rss_mb=_memory_mb(pid, "Rss"),
                pss_mb=_memory_mb(pid, "Pss"),
                cpu_share=(_cpu_s(pid) - before[name]) / REST_S,
            )
            for name, pid in processes.items()
        ]
    finally:
        supervisor.send_signal(signal.SIGTERM)
        supervisor.wait()


def _guardian(folder: CellFolder, supervisor: subprocess.Popen[bytes]) -> int:
    """Wait until the agent works and return the pid of its guardian."""
    attempt = folder.attempt("solve", 1)
    while supervisor.poll() is None:
        running = list(attempt.glob("sandbox/control/processes/*/status.json"))
        if running and (attempt / "live.json").exists():
            time.sleep(1.0)  # what it has to do right after the start is done then
            pid: int = json.loads((attempt / "sandbox/control/guardian.json").read_bytes())["pid"]
            return pid
        time.sleep(0.05)
    raise RuntimeError(f"the supervisor of {folder.path.name} ended with {supervisor.returncode}")


def _tree(guardian: int) -> Iterator[tuple[str, int]]:
    """Yield the sandbox's own processes: each starts the next, the last starts the agent."""
    names = iter(("spawner", "shepherd of the agent"))
    yield "guardian", guardian
    pid = guardian
    while children := _children(pid):
        pid = children[0]
        if Path(f"/proc/{pid}/comm").read_text().startswith("bwrap"):
            yield "bubblewrap", pid
            continue
        name = next(names, None)
        if name is None:
            return
        yield name, pid


def _children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in text.split()]


def _memory_mb(pid: int, entry: str) -> float:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith(f"{entry}:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"/proc/{pid}/smaps_rollup has no {entry}")


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
