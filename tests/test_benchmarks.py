"""The benchmark of the core runs and prints every figure; what it measures is asserted nowhere."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

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
