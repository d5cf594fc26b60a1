"""Whole processes, timed as a user has them, and Markdown tables of what came out."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What one run of a process took.

    Attributes:
        wall_s: From before its start until it was reaped.
        cpu_s: Processor time of it and of the children that it waited for: what the wall clock
            comes to where nothing else runs.
    """

    wall_s: float
    cpu_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """How processes are started: the checkout stays clean, and bytecode is kept as usual.

    Attributes:
        cache: Folder of the project's cache.
        bytecode: Folder of compiled modules, the interpreter's own included.
        runs: How often each figure is measured, after one run that is not counted.
    """

    cache: Path
    bytecode: Path
    runs: int

    def environment(self) -> Mapping[str, str]:
        """Return the environment of a measured process."""
        kept = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        return {**kept, "PTB_CACHE": str(self.cache), "PYTHONPYCACHEPREFIX": str(self.bytecode)}

    def time(self, arguments: Sequence[str]) -> list[Run]:
        """Time ``python ARGUMENTS`` several times, after one run that fills caches."""
        self.once(arguments)
        return [self.once(arguments) for _ in range(self.runs)]

    def once(self, arguments: Sequence[str]) -> Run:
        """Time ``python ARGUMENTS`` once.

        Raises:
            RuntimeError: If it fails.
        """
        began = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, *arguments],
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        assert process.stderr is not None
        words = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        wall_s = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        process.stderr.close()
        if process.returncode != 0:
            raise RuntimeError(f"{' '.join(arguments)} failed: {words.decode(errors='replace')}")
        return Run(wall_s=wall_s, cpu_s=usage.ru_utime + usage.ru_stime)


def in_own_process(script: str, order: Mapping[str, object]) -> dict[str, Any]:
    """Run ``SCRIPT --client ORDER`` and return the JSON object in its last line.

    Raises:
        RuntimeError: If it fails.
    """
    done = subprocess.run(
        [sys.executable, script, "--client", json.dumps(order)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"{order}: {done.stderr}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def ptb(*arguments: str) -> tuple[str, ...]:
    """Return the arguments of ``python`` for a ``ptb`` command."""
    return ("-m", "ptb_core.cli.main", *arguments)


TIMES = ("figure", "target s", "median s", "minimum s", "maximum s", "CPU s", "runs")


def times_row(figure: str, target: str, runs: Sequence[Run]) -> tuple[str, ...]:
    """Return a row of a table headed :data:`TIMES`."""
    walls = [run.wall_s for run in runs]
    return (
        figure,
        target,
        f"{statistics.median(walls):.3f}",
        f"{min(walls):.3f}",
        f"{max(walls):.3f}",
        f"{statistics.median(run.cpu_s for run in runs):.3f}",
        f"{len(runs)}",
    )


def print_table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a Markdown table."""
    print(f"\n| {' | '.join(heading)} |")
    print("|" + "---|" * len(heading))
    for row in rows:
        print(f"| {' | '.join(row)} |", flush=True)
