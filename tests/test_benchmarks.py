"""The benchmark of the core runs and prints every figure; what it measures is asserted nowhere."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ptb_plugins.sandboxes.local.isolation import bwrap_failure

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"

FIGURES = (
    "`ptb list`",
    "`ptb list --json`",
    "`ptb list`, no manifest checked yet",
    "`ptb validate PLAN`",
    "`ptb run --plan PLAN --dry-run`",
    "`ptb status RUN`",
    "`ptb status RUN --json`",
    "`ptb status RUN`, half done",
    "`ptb leaderboard RUN`",
    "`ptb leaderboard RUN --json`",
    "none begun",
    "half recorded",
    "all but one recorded",
    "**all, target 1 s**",
    "plugins",
    "prepare",
    "solve",
    "seal",
    "generate without the engine",
    "score",
    "judge",
    "record",
    "supervisor",
    "guardian",
    "spawner",
    "shepherd of the agent",
)


@pytest.mark.slow
def test_the_benchmark_of_the_core_prints_every_figure() -> None:
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / "core.py"), "--quick"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rows = [line.strip("| ").split(" | ") for line in done.stdout.splitlines() if "|" in line]
    assert set(FIGURES) - {row[0] for row in rows} == set()
    assert "`run.json` of 401 cells is" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "rows"),
    [
        ("evaluation.py", ("arenahardwriting", "bfcl", "humaneval")),
        ("grading.py", ("arenahardwriting",)),
    ],
)
@pytest.mark.skipif("PTB_TEST_DATA" not in os.environ, reason="PTB_TEST_DATA names no real rows")
def test_the_benchmarks_of_evaluation_measure_every_task_whose_rows_are_here(
    script: str, rows: tuple[str, ...]
) -> None:
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / script), "--quick"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = {
        cells[0]: cells[1:]
        for line in done.stdout.splitlines()
        if "|" in line
        for cells in [line.strip("| ").split(" | ")]
    }
    for task in rows:
        assert found[task][0].isdecimal(), found[task]


@pytest.mark.slow
def test_the_benchmark_of_programs_measures_sandboxes_and_what_they_are_held_against() -> None:
    if (failure := bwrap_failure()) is not None:
        pytest.skip(failure)
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / "program_runner.py"), "--programs", "4"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rows = [line.strip("| ").split(" | ") for line in done.stdout.splitlines() if "|" in line]
    rates = [(row[0], float(row[4])) for row in rows if row[2:3] == ["4"]]
    assert {where for where, _ in rates} == {"sandbox", "beside the caller", "bare `python -c`"}
    assert all(rate > 0 for _, rate in rates)
