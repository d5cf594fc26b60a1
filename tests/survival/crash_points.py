"""Death at every durable step of a cell: ``python -m tests.survival.crash_points --help``.

Where random times rarely hit, this goes one by one: the supervisor, the command line or a
guardian kills itself just before its first, second, third ... change of a file, start of a
process or connection (see ``doomed.py``), until one gets through alive. Each time the cell is
resumed, and the same must hold as after any kill.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from ptb_core.journal import read_events
from ptb_plugins.sandboxes.local import opening

from .kill_harness import columns, counted
from .proof import Expected, prove
from .rounds import journal_excerpt, measure
from .world import AGENT_CELL, Setup, World

VICTIMS = ("supervisor", "command-line", "solve-guardian", "serve-guardian")
SETUP = Setup(work_s=0.2, batch_s=0.02)
TIMEOUT_S = 120.0
MOST_STEPS = 2000


@dataclass(slots=True, kw_only=True)
class Point:
    """One death.

    Attributes:
        victim: Who died.
        step: Before which of its durable steps, counting from 1; see ``doomed.py``.
        died: False when it had fewer steps: the sweep is over.
        what: The step.
        stage: Stage of the cell at that time.
        faults: What was found after the cell was resumed.
        journal: The cell's story.
    """

    victim: str
    step: str
    died: bool = False
    what: str = ""
    stage: str = ""
    faults: list[str] = field(default_factory=list)
    journal: str = ""


class Sweep:
    """All points of one kind of run.

    Args:
        folder: Where the rounds' folders are made.
        isolation: Isolation of the sessions.
    """

    def __init__(self, folder: Path, isolation: str) -> None:
        self._folder = folder
        self._setup = Setup(
            isolation=isolation, work_s=SETUP.work_s, batch_s=SETUP.batch_s, batch_size=4
        )
        self._score = measure(folder / f"undisturbed-{isolation}", self._setup).score
        self._head = self._make_head()

    def _make_head(self) -> str:
        """Return a run's head; copied with another run id it saves each point the first half."""
        world = World(self._folder / f"head-{self._setup.isolation}", self._setup)
        process = world.command_line()
        while world.run_id() is None and process.poll() is None:
            time.sleep(0.01)
        head = (world.run / "run.json").read_text("utf-8")
        process.kill()
        process.wait()
        for left in world.processes():
            left.kill()
        return head

    def point(self, victim: str, step: str) -> Point:
        """Let one victim die before one step, resume, prove."""
        name = "".join(c if c.isalnum() else "-" for c in step)
        folder = self._folder / f"{self._setup.isolation}-{victim}-{name}"
        world = World(folder, self._setup)
        point = Point(victim=victim, step=step)
        self._doom(world, point)
        if point.died:
            code = self._resume(world, victim)
            if code != 0:
                log = (world.folder / "command-line.log").read_text("utf-8", "replace")
                point.faults.append(f"resuming ended with {code}: {log[-800:]}")
            point.faults += prove(world, self._expected(victim)).faults
        point.journal = journal_excerpt(world)
        if point.faults:
            for process in world.processes():
                process.kill()
        else:
            world.remove()
        return point

    def _doom(self, world: World, point: Point) -> None:
        guardian = point.victim.removesuffix("-guardian") if "guardian" in point.victim else None
        trail = world.folder / "trail"
        env = dict(world.env)
        if guardian is not None:
            env["PTB_SURVIVAL_DOOMED_GUARDIAN"] = "1"
            (world.folder / "armed").touch()
            doom = {
                "guardian": str(opening._GUARDIAN),
                "stage": {"solve": "solve", "serve": "generate"}[guardian],
                "step": point.step,
                "trail": str(trail),
            }
            (world.folder / "doom.json").write_text(json.dumps(doom), "utf-8")
        arguments = ["run", "--plan", str(world.plan), "--run-dir", str(world.run)]
        if point.victim != "command-line":
            self._lay_head(world)
            arguments = ["cell", str(world.run), AGENT_CELL]
        watched = [str(world.run), f"/tmp/ptb-{os.getuid()}", tempfile.gettempdir() + "/ptb-"]
        step = "0" if guardian is not None else point.step
        argv = [sys.executable, "-m", "tests.survival.doomed", step, str(trail), *watched]
        with (world.folder / "doomed.log").open("wb") as log:
            done = subprocess.run(
                [*argv, "--", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=env,
                timeout=TIMEOUT_S,
                check=False,
            )
        point.died = trail.exists()
        if point.died:
            point.what = trail.read_text("utf-8").replace(str(world.folder), "")
        point.stage = _stage(world) if guardian is None else doom["stage"]
        killed = done.returncode == -signal.SIGKILL
        if not (killed if guardian is None and point.died else done.returncode == 0):
            words = (world.folder / "doomed.log").read_text("utf-8", "replace")[-500:]
            point.faults.append(f"the doomed command ended with {done.returncode}: {words}")

    def _lay_head(self, world: World) -> None:
        run_id = json.loads(self._head)["run_id"]
        world.run.mkdir()
        text = self._head.replace(run_id, secrets.token_hex(6))
        (world.run / "run.json").write_text(text, "utf-8")

    def _resume(self, world: World, victim: str) -> int:
        return world.finish(TIMEOUT_S) if victim == "command-line" else world.supervise(TIMEOUT_S)

    def _expected(self, victim: str) -> Expected:
        return Expected(
            score=self._score,
            lost_sandboxes=victim == "solve-guardian",
            broken_servers=victim == "serve-guardian",
        )

    def points(self, victim: str, first: int, every: int, jobs: int) -> Iterator[Point]:
        """Yield every ``every``-th point from ``first`` on until the victim gets through alive."""
        steps = itertools.count(first, every)
        with ThreadPoolExecutor(jobs) as pool:
            while True:
                chunk = list(itertools.islice(steps, jobs))
                found = list(pool.map(lambda step: self.point(victim, str(step)), chunk))
                yield from (point for point in found if point.died or point.faults)
                if not all(point.died for point in found) or chunk[-1] > MOST_STEPS:
                    return


def _stage(world: World) -> str:
    for event in reversed(read_events(world.run_folder.cell(AGENT_CELL).journal)):
        if event.stage:
            return event.stage if event.event == "started" else f"after {event.stage}"
    return "start"


def describe(point: Point) -> str:
    """Return all that is needed to understand a point that failed, and to repeat it."""
    lines = [
        f"FAILED {point.victim} before step {point.step} ({point.stage}): {point.what}",
        f"  again: python -m tests.survival.crash_points --victim {point.victim} "
        f"--one '{point.step}'",
        *(f"  FAULT {fault}" for fault in point.faults),
        *(f"  | {line}" for line in point.journal.splitlines()),
    ]
    return "\n".join(lines)


def table(points: Iterable[Point]) -> str:
    """Return one line per victim: its steps by stage, and failures."""
    grouped: dict[str, list[Point]] = {}
    for point in points:
        grouped.setdefault(point.victim, []).append(point)
    rows = [("victim", "steps", "died while in", "failures")]
    for victim, group in grouped.items():
        stages = Counter(point.stage for point in group)
        failures = sum(bool(point.faults) for point in group)
        rows.append((victim, str(len(group)), counted(stages), str(failures)))
    return columns(rows)


def main() -> int:
    """Go through all points, print the table; exit status 1 when anything was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--victim", choices=VICTIMS, action="append")
    parser.add_argument("--isolation", choices=("bwrap", "none"), default="bwrap")
    parser.add_argument("--first", type=int, default=1, help="the first step to die before")
    parser.add_argument("--every", type=int, default=1, help="take every N-th step alone")
    parser.add_argument("--one", metavar="STEP", help="this step alone: N, or N:TEXT")
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="ptb-survival-"))
    began = time.monotonic()
    sweep = Sweep(folder, options.isolation)
    points = []
    for victim in options.victim or VICTIMS:
        found = sweep.points(victim, options.first, options.every, options.jobs)
        for point in [sweep.point(victim, options.one)] if options.one else found:
            points.append(point)
            if point.faults:
                print(describe(point), file=sys.stderr, flush=True)
    print(table(points))
    print(f"{len(points)} points, {options.isolation}: {time.monotonic() - began:.0f} s")
    failed = any(point.faults for point in points) or not points
    for victim in set(options.victim or VICTIMS) - {point.victim for point in points}:
        print(f"FAILED {victim}: it never died", file=sys.stderr)
        failed = True
    if not failed:
        shutil.rmtree(folder, ignore_errors=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
