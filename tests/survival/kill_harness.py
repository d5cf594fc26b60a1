"""Kills at random times, over short real runs: ``python -m tests.survival.kill_harness --help``.

Kill times are uniform over the time for which the victim lives in an undisturbed run, measured
first; victims are found in /proc by the marks of their round alone. A round is a function of
seed and number, so ``--seed S --round N`` plays it again (processes still race as they like).
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .rounds import DEADLINE_HOURS, Family, Result, Undisturbed, measure, play
from .world import Setup

DOUBLE = Setup()
REAL = Setup(engine="transformers")
TWO_CELLS = Setup(with_base=True)
ENDLESS = Setup(endless=True, hours=DEADLINE_HOURS)

FAMILIES = (
    Family(name="supervisor", victims=("supervisor",)),
    Family(name="command line", victims=("command-line",)),
    Family(name="agent", victims=("agent",)),
    Family(name="solve guardian", victims=("solve-guardian",)),
    Family(name="engine", victims=("engine",)),
    Family(name="serve guardian", victims=("serve-guardian",)),
    Family(name="command line + supervisor", victims=("command-line", "supervisor")),
    Family(name="supervisor + agent", victims=("supervisor", "agent")),
    Family(name="supervisor + solve guardian", victims=("supervisor", "solve-guardian")),
    Family(name="supervisor + engine", victims=("supervisor", "engine")),
    Family(name="supervisor + serve guardian", victims=("supervisor", "serve-guardian")),
    Family(name="supervisor + its successor", victims=("supervisor", "supervisor")),
    Family(name="agent + solve guardian", victims=("agent", "solve-guardian")),
    Family(
        name="deadline, all supervisors dead",
        victims=("command-line", "supervisor"),
        setup=ENDLESS,
    ),
    Family(name="two cells: supervisor", victims=("supervisor",), setup=TWO_CELLS),
    Family(name="real engine: engine", victims=("engine",), setup=REAL),
    Family(name="command line + supervisor", victims=("command-line", "supervisor")),
    Family(name="supervisor", victims=("supervisor",)),
    Family(
        name="deadline, all supervisors dead",
        victims=("command-line", "supervisor"),
        setup=ENDLESS,
    ),
    Family(name="real engine: supervisor", victims=("supervisor",), setup=REAL),
)
"""Round N plays family N modulo their number: real engines take a tenth of the rounds."""


def main() -> int:
    """Play rounds, print the table; exit status 1 when anything was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", metavar="FAMILY", help="play rounds of this family alone")
    parser.add_argument("--round", type=int, metavar="N", help="play this one round again")
    options = parser.parse_args()
    numbers = list(range(options.rounds)) if options.round is None else [options.round]
    if options.only:
        numbers = [n for n in numbers if options.only in family_of(n).name]
    folder = Path(tempfile.mkdtemp(prefix="ptb-survival-"))
    began = time.monotonic()
    results = play_all(folder, numbers, options.seed, options.jobs)
    print(table(results))
    print(f"{len(results)} rounds, seed {options.seed}: {time.monotonic() - began:.0f} s")
    failed = [result for result in results if result.findings.faults]
    if not failed:
        shutil.rmtree(folder, ignore_errors=True)
    return 1 if failed else 0


def play_all(folder: Path, numbers: Sequence[int], seed: int, jobs: int) -> list[Result]:
    """Measure each kind of run undisturbed, then play all rounds."""
    setups = {family_of(number).setup for number in numbers}
    known = {
        setup: measure(folder / f"undisturbed-{place}", setup)
        for place, setup in enumerate(sorted(setups - {ENDLESS}, key=repr))
    }
    known[ENDLESS] = Undisturbed(lifetimes={}, seconds=0.0, score=0.0)

    def one(number: int) -> Result:
        family = family_of(number)
        rng = random.Random(f"{seed}:{number}")
        place = folder / f"round-{number}"
        result = play(number, family, place, known[family.setup], rng)
        if result.findings.faults:
            print(failure(result, seed, place), file=sys.stderr, flush=True)
        return result

    with ThreadPoolExecutor(jobs) as pool:
        return list(pool.map(one, numbers))


def family_of(number: int) -> Family:
    """Return the family of a round."""
    return FAMILIES[number % len(FAMILIES)]


def failure(result: Result, seed: int, folder: Path) -> str:
    """Return all that is needed to understand a failed round and to play it again."""
    lines = [
        f"FAILED round {result.number} ({result.family}), {result.setup.isolation}, "
        f"batches of {result.setup.batch_size or 1}",
        f"  again: python -m tests.survival.kill_harness --seed {seed} --round {result.number}",
        f"  files: {folder}",
        *(f"  killed {kill}" for kill in result.kills),
        *(f"  FAULT {fault}" for fault in result.findings.faults),
        *(f"  | {line}" for line in result.journal.splitlines()),
    ]
    return "\n".join(lines)


def table(results: Iterable[Result]) -> str:
    """Return one line per family: rounds, stages hit, how cells ended, failures."""
    grouped: dict[str, list[Result]] = {}
    for result in results:
        grouped.setdefault(result.family, []).append(result)
    rows = [("victims", "rounds", "killed while in", "cells ended", "failures")]
    for name, group in grouped.items():
        hit = Counter(kill.stage for result in group for kill in result.kills if kill.landed)
        missed = sum(not kill.landed for result in group for kill in result.kills)
        ended = Counter(result.findings.outcome or "?" for result in group)
        failures = sum(bool(result.findings.faults) for result in group)
        stages = counted(hit) + (f", {missed} too late" if missed else "")
        rows.append((name, str(len(group)), stages, counted(ended), str(failures)))
    return columns(rows)


def columns(rows: Sequence[Sequence[str]]) -> str:
    """Return rows of cells in aligned columns."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    lines = ("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)
    return "\n".join(lines)


def counted(counts: Mapping[str, int]) -> str:
    """Return names with their numbers in one line."""
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))


if __name__ == "__main__":
    sys.exit(main())
