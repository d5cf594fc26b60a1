"""Time the core: start-up, large plans and runs, the driver's turn, a cell without its engine.

Usage: ``python benchmarks/core.py [--quick] [--peers] [--cells N] [--runs N]``. Prints Markdown for
docs/benchmarks.md. ``--quick`` makes everything small and measures once: it shows that the script
works, its figures mean nothing. ``--peers`` times the lists of other harnesses, too, where they are
installed. Needs the extra ``evaluation``; takes a few minutes and 2 GB below the folder for
temporary files.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import cast

from measuring import TIMES, Bench, Run, print_table, ptb, times_row
from real_cells import Resting, rest, run_cell, spread, step_rows
from run_folders import BASE_CELL, MODEL, TASK, create, fill, large_plan, read_pattern, small_plan

from ptb_core import driver
from ptb_core.catalogue import Catalogue
from ptb_core.interfaces import Executor, JobHandle, JobStatus
from ptb_core.progress import watcher
from ptb_core.run_folder import RunFolder
from ptb_core.run_head import Run as RunHead
from ptb_core.status import CellStatus, cell_status

PEERS = (
    ("harbor", "1.5", ()),
    ("inspect_ai", "4.3", ("-m", "inspect_ai", "list", "tasks")),
    ("lm_eval", "22.8", ("-m", "lm_eval", "ls", "tasks")),
)
"""Lists of the same sort: package, seconds by this project's design notes, command."""

INTERRUPTED = 8
TURNS = 10
HEAD_PROBE = """
import sys, time
import ptb_core.supervisor
from pathlib import Path
from ptb_core.run_folder import RunFolder

def peak_kib():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))

before, began = peak_kib(), time.process_time()
RunFolder(Path(sys.argv[1])).open().cell(sys.argv[2])
print(time.process_time() - began, (peak_kib() - before) / 1024)
"""
"""Run in a process of its own: seconds and MB that reading a run's head takes a supervisor."""


def main() -> None:
    arguments = _arguments()
    with tempfile.TemporaryDirectory(prefix="ptb-core-") as name:
        work = Path(name)
        bench = Bench(cache=work / "cache", bytecode=work / "bytecode", runs=arguments.runs)
        print(_machine())
        print("\n## Start-up")
        start_up(bench, work, with_peers=arguments.peers)
        print("\n## Core")
        measure_runs(bench, work, arguments.cells)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--peers", action="store_true")
    parser.add_argument("--cells", type=int)
    parser.add_argument("--runs", type=int)
    found = parser.parse_args()
    found.cells = found.cells or (400 if found.quick else 10_000)
    found.runs = found.runs or (1 if found.quick else 5)
    return found


def _machine() -> str:
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return (
        f"{os.cpu_count()} processors, Python {platform.python_version()}, kernel "
        f"{platform.release()}, load average {load} at the start."
    )


# Start-up -------------------------------------------------------------------------------------


def start_up(bench: Bench, work: Path, *, with_peers: bool) -> None:
    """Print how long ``ptb list`` and other light commands take, and what peers take."""
    rows = [
        times_row("`ptb list`", "0.3", bench.time(ptb("list"))),
        times_row("`ptb list --json`", "0.3", bench.time(ptb("list", "--json"))),
        times_row("`ptb show task gsm8k`", "", bench.time(ptb("show", "task", "gsm8k"))),
        times_row("`ptb --help`", "", bench.time(ptb("--help"))),
        times_row("`ptb list`, no manifest checked yet", "", _cold(bench, work, compiled=True)),
        times_row(
            "`ptb list`, and no module compiled either, not even Python's",
            "",
            _cold(bench, work, compiled=False),
        ),
    ]
    print_table(TIMES, rows)
    peer_rows = [_peer_row(bench, *peer, measure=with_peers) for peer in PEERS]
    print_table(("list of a peer", "stated s", *TIMES[2:]), peer_rows)


def _cold(bench: Bench, work: Path, *, compiled: bool) -> list[Run]:
    runs = []
    for number in range(bench.runs):
        cold = replace(bench, cache=work / f"cold-{compiled}-{number}")
        if not compiled:
            cold = replace(cold, bytecode=work / f"cold-bytecode-{number}")
        runs.append(cold.once(ptb("list")))
    return runs


def _peer_row(
    bench: Bench, package: str, stated_s: str, arguments: Sequence[str], *, measure: bool
) -> tuple[str, ...]:
    if not measure or not arguments or importlib.util.find_spec(package) is None:
        return (package, stated_s, "not measured here", *("" for _ in TIMES[3:]))
    name = f"`python {' '.join(arguments)}`"
    return times_row(name, stated_s, replace(bench, runs=1).time(arguments))


# Large plans and runs -------------------------------------------------------------------------


def measure_runs(bench: Bench, work: Path, cells: int) -> None:
    """Print everything that depends on the number of cells of a run."""
    plan = large_plan(work, cells)
    run_folder, _ = create(work / "real", small_plan(work, max(bench.runs, cells // 100)))
    ids = {kind: f"{TASK}--{MODEL}--{kind}--r1" for kind in ("clean", "cheat")}
    for cell in (BASE_CELL, *ids.values()):
        bench.once(ptb("cell", str(run_folder.path), cell))
    patterns = {
        kind: read_pattern(run_folder, cell) for kind, cell in {"base": BASE_CELL, **ids}.items()
    }
    full, run = create(work / "full", plan)
    fill(full, run, patterns, recorded=cells)
    _require_sound(full, run)
    half, run = create(work / "half", plan)
    fill(half, run, patterns, recorded=cells // 2, interrupted=INTERRUPTED)
    waiting, _ = create(work / "waiting", plan)
    _print_commands(bench, plan, full, half, cells)
    full.cell(run.cells[-1].id).record.unlink()  # else a driver has nothing to wait for
    _print_turns(
        {"none begun": waiting, "half recorded": half, "all but one recorded": full}, cells
    )
    _print_head(bench, run_folder)
    _print_cells(bench, run_folder)
    _print_rest(bench, run_folder)


def _require_sound(run_folder: RunFolder, run: RunHead) -> None:
    for cell in run.cells:
        status = cell_status(run_folder, cell)
        if not status.is_complete:
            raise RuntimeError(f"{cell.id} was made wrongly: {status.stage}, {status.problem}")


def _print_commands(bench: Bench, plan: Path, full: RunFolder, half: RunFolder, cells: int) -> None:
    few = replace(bench, runs=1)
    board = ("leaderboard", str(full.path))
    sizes = [path.stat().st_size for path in full.path.glob("cells/*/record.json")]
    mean_kib = sum(sizes) / len(sizes) / 1024
    print(f"\nA plan of {cells:,} cells, and runs of it; records of {mean_kib:.1f} KiB on average.")
    rows = [
        times_row("`ptb validate PLAN`", "2", bench.time(ptb("validate", str(plan)))),
        times_row(
            "`ptb run --plan PLAN --dry-run`",
            "2",
            bench.time(ptb("run", "--plan", str(plan), "--dry-run")),
        ),
        times_row("`ptb status RUN`", "2", bench.time(ptb("status", str(full.path)))),
        times_row(
            "`ptb status RUN --json`", "2", bench.time(ptb("status", str(full.path), "--json"))
        ),
        times_row("`ptb status RUN`, half done", "2", bench.time(ptb("status", str(half.path)))),
        times_row("`ptb leaderboard RUN`", "2", bench.time(ptb(*board))),
        times_row("`ptb leaderboard RUN --json`", "2", bench.time(ptb(*board, "--json"))),
        times_row(
            "`ptb leaderboard RUN --check`: every record against its schema",
            "",
            few.time(ptb(*board, "--check")),
        ),
    ]
    print_table(TIMES, rows)


# The driver -----------------------------------------------------------------------------------


class _FullMachine(Executor):
    """An executor with no free place, so that a driver looks and starts nothing."""

    def __init__(self) -> None:
        pass

    def submit(self, *_: object) -> JobHandle:
        raise AssertionError("nothing is started here")

    def poll(self, job: JobHandle) -> JobStatus:
        return JobStatus(state="ended")

    def cancel(self, job: JobHandle) -> None:
        raise AssertionError("nothing is cancelled here")

    def slots(self, settings: object) -> int:
        return 0

    def executor(self, name: str) -> Executor:
        """Stand in for the catalogue, too: this is all that a driver asks it for."""
        return self


class _EnoughError(Exception):
    """Ends a driver that would wait for ever."""


def _print_turns(runs: dict[str, RunFolder], cells: int) -> None:
    print(
        f"\nOne turn of `ptb run` over {cells:,} cells, once a second: processor time of the driver"
        " with its progress lines."
    )
    rows = []
    for state, run_folder in runs.items():
        turns = turn_times(run_folder)
        later = turns[3:] or turns
        rows.append(
            (
                state,
                f"{1000 * turns[0]:.1f}",
                f"{1000 * statistics.median(later):.1f}",
                f"{1000 * max(later):.1f}",
            )
        )
    print_table(("cells", "first turn ms", "later turns median ms", "maximum ms"), rows)


def turn_times(run_folder: RunFolder) -> list[float]:
    """Return the processor time of each of a driver's turns, in seconds."""
    run = run_folder.open()
    began = [time.process_time()]
    with (
        Path(os.devnull).open("w") as nowhere,
        contextlib.redirect_stderr(nowhere),
        watcher() as show,
    ):

        def watch(statuses: tuple[CellStatus, ...]) -> None:
            show(statuses)
            began.append(time.process_time())
            if len(began) > TURNS:
                raise _EnoughError

        pause, driver.POLL_S = driver.POLL_S, 0.01
        try:
            driver.drive(run_folder, run, cast(Catalogue, _FullMachine()), watch)
        except _EnoughError:
            pass
        finally:
            driver.POLL_S = pause
    return [later - earlier for earlier, later in pairwise(began)]


# One cell -------------------------------------------------------------------------------------


def _print_head(bench: Bench, run_folder: RunFolder) -> None:
    cell = f"{TASK}--{MODEL}--null--r1"
    found = [_head_cost(bench, run_folder, cell) for _ in range(bench.runs)]
    print(
        f"\n`run.json` of {len(run_folder.open().cells):,} cells is "
        f"{run_folder.head.stat().st_size / 1e6:.1f} MB; reading it takes every supervisor "
        f"{1000 * statistics.median(s for s, _ in found):.0f} ms of processor time and adds "
        f"{max(mb for _, mb in found):.0f} MB to its largest memory."
    )


def _head_cost(bench: Bench, run_folder: RunFolder, cell: str) -> tuple[float, float]:
    done = subprocess.run(
        [sys.executable, "-c", HEAD_PROBE, str(run_folder.path), cell],
        env=bench.environment(),
        capture_output=True,
        check=True,
    )
    seconds, megabytes = done.stdout.split()
    return float(seconds), float(megabytes)


def _print_cells(bench: Bench, run_folder: RunFolder) -> None:
    print(
        "\nOne cell whose agent does nothing (`null`, sandbox `local`, three judges), in that run. "
        "The engine's process, from its start to its end, is left out."
    )
    costs = [
        run_cell(bench, run_folder, f"{TASK}--{MODEL}--null--r{number}")
        for number in range(1, bench.runs + 1)
    ]
    rows: list[tuple[str, ...]] = [
        ("**all, target 1 s**", *spread([cost.orchestration_s for cost in costs]))
    ]
    rows += step_rows(costs)
    rows.append(("processor time of the supervisor", *spread([c.run.cpu_s for c in costs])))
    rows.append(("the engine, left out above", *spread([cost.engine_s for cost in costs])))
    print_table(("step", "median s", "minimum s", "maximum s"), rows)


def _print_rest(bench: Bench, run_folder: RunFolder) -> None:
    print("\nProcesses of that run's cell while its agent sleeps.")
    resting = rest(bench, run_folder, f"{TASK}--{MODEL}--sleeper--r1")
    print_table(
        ("process", "target Rss MB", "Rss MB", "Pss MB", "share of a processor"),
        [_rest_row(one) for one in resting],
    )


def _rest_row(one: Resting) -> tuple[str, ...]:
    target = "60" if one.name == "supervisor" else ""
    share = f"{100 * one.cpu_share:.1f} %"
    return (one.name, target, f"{one.rss_mb:.1f}", f"{one.pss_mb:.1f}", share)


if __name__ == "__main__":
    main()
