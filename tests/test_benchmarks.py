"""The benchmarks run and print every figure; how fast anything is, is asserted nowhere."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ptb_core.catalogue import load_catalogue
from ptb_plugins.sandboxes.local.isolation import bwrap_failure

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"

IN_FLIGHT = 7
PUBLISHED_TASKS = (
    "aime2025",
    "arenahardwriting",
    "bfcl",
    "gpqamain",
    "gsm8k",
    "healthbench",
    "humaneval",
)
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


def measured(script: str, *arguments: str) -> dict[str, dict[str, str]]:
    """Run a benchmark in small; return its rows by their first cell, each by its headings."""
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / script), "--quick", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    heading, _, *rows = (
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in done.stdout.splitlines()
        if line.startswith("|")
    )
    return {row[0]: dict(zip(heading, row, strict=True)) for row in rows}


@pytest.fixture(scope="module")
def asking() -> dict[str, dict[str, str]]:
    return measured("evaluation.py", "--in-flight", str(IN_FLIGHT))


@pytest.mark.slow
@pytest.mark.skipif("PTB_TEST_DATA" not in os.environ, reason="PTB_TEST_DATA names no real rows")
@pytest.mark.parametrize("task", PUBLISHED_TASKS)
def test_the_benchmark_of_evaluation_asks_every_published_task_with_all_slots_in_use(
    asking: dict[str, dict[str, str]], task: str
) -> None:
    row = asking[task]
    if row["samples"].startswith("not measured: "):
        assert load_catalogue().task(task).spec.prompts, row
        pytest.skip(f"the prompts cannot be had here: {row['samples']}")
    assert (row["samples"], row["most in flight"]) == ("20", str(IN_FLIGHT))


@pytest.mark.slow
@pytest.mark.skipif("PTB_TEST_DATA" not in os.environ, reason="PTB_TEST_DATA names no real rows")
def test_the_benchmark_of_grading_measures_the_task_whose_rows_are_here() -> None:
    row = list(measured("grading.py")["arenahardwriting"].values())
    assert row[1].isdecimal(), row


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
