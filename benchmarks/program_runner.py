"""How many programs a second run in sandboxes of their own, one by one and in the pool.

``python benchmarks/program_runner.py [--programs 60] [--data FILE]`` prints a Markdown table.
The programs are those of HumanEval's own solutions when ``--data`` names its rows
(``humaneval.jsonl.gz``), else one of the same kind. Every program must pass, or there is no table.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from measuring import print_table

from ptb_core.catalogue import load_catalogue
from ptb_core.evaluation.checking import ProgramRunner
from ptb_core.evaluation.checks import ProgramCheck
from ptb_core.evaluation.rows import read_rows
from ptb_core.execution.plain import PlainProgramRunner
from ptb_core.execution.programs import ProgramSandbox, SandboxProgramRunner

PROGRAM = """\
from typing import List


def below_zero(operations: List[int]) -> bool:
    balance = 0
    for operation in operations:
        balance += operation
        if balance < 0:
            return True
    return False


def check(candidate):
    assert candidate([]) == False
    assert candidate([1, 2, -3, 1, 2, -3]) == False
    assert candidate([1, 2, -4, 5, 6]) == True


check(below_zero)
"""

HEADING = ("where", "at once", "programs", "seconds", "programs/s", "times one by one")
_names = (f"benchmark-programs-{os.getpid()}-{number}" for number in itertools.count())


def main() -> None:
    """Run every way and print the table."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--programs", type=int, default=60, help="Programs per row of the table.")
    options.add_argument("--data", type=Path, help="Rows of HumanEval.")
    given = options.parse_args()
    programs = _programs(given.data, given.programs)
    processors = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as folder:
        rows = [
            *_rows("sandbox", lambda n: _sandboxed(Path(folder), n), programs, processors),
            *_rows(
                "beside the caller", lambda n: PlainProgramRunner(None, n), programs, processors
            ),
        ]
    seconds = _published(programs)
    rows.append(("bare `python -c`", "1", *_figures(programs, seconds), ""))
    print(f"{len(programs)} programs on {processors} processors, Python {sys.version.split()[0]}")
    print_table(HEADING, rows)


def _rows(
    where: str,
    runner: Callable[[int], ProgramRunner],
    programs: Sequence[str],
    processors: int,
) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    alone_s = 0.0
    for at_once in sorted({1, processors, 2 * processors}):
        seconds = asyncio.run(_run(runner(at_once), programs))
        alone_s = alone_s or seconds
        figures = _figures(programs, seconds)
        rows.append((where, str(at_once), *figures, f"{alone_s / seconds:.2f}"))
    return rows


def _figures(programs: Sequence[str], seconds: float) -> tuple[str, str, str]:
    return str(len(programs)), f"{seconds:.2f}", f"{len(programs) / seconds:.1f}"


def _sandboxed(folder: Path, at_once: int) -> ProgramRunner:
    name = next(_names)
    sandbox = load_catalogue().sandbox("local")
    place = ProgramSandbox(sandbox=sandbox, name=name, root=folder / name)
    return SandboxProgramRunner(place, at_once)


async def _run(runner: ProgramRunner, programs: Sequence[str]) -> float:
    """Return the seconds for all programs, after one that is not counted."""
    checks = [
        ProgramCheck(name=str(n), program=p, wants_token=True) for n, p in enumerate(programs)
    ]
    left = iter(checks)

    async def work() -> None:
        for check in left:
            result = await runner.run(check)
            if result.exit_code != 0 or not result.token_seen:
                raise RuntimeError(f"program {check.name} did not pass: {result}")

    async with runner:
        await runner.run(checks[0])
        began = time.perf_counter()
        await asyncio.gather(*(work() for _ in range(runner.max_in_flight)))
        return time.perf_counter() - began


def _published(programs: Sequence[str]) -> float:
    began = time.perf_counter()
    for program in programs:
        subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
    return time.perf_counter() - began


def _programs(data: Path | None, count: int) -> list[str]:
    if data is None:
        return [PROGRAM] * count
    rows = itertools.cycle(list(read_rows(data)))
    return [
        f"{row['prompt']}{row['canonical_solution']}\n{row['test']}\ncheck({row['entry_point']})"
        for row in itertools.islice(rows, count)
    ]


if __name__ == "__main__":
    main()
