"""One round: start a real run, kill its victims at their times, resume, prove."""

from __future__ import annotations

import hashlib
import json
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from ptb_core.journal import read_events
from ptb_core.run_folder import CellFolder
from ptb_core.stages.context import Solved
from ptb_core.stages.markers import read_marker

from .proof import Expected, Findings, json_lines, prove
from .world import AGENT_CELL, ROLES, Process, Setup, World, role_of, wait_until

APPEARS_WITHIN_S = 60.0
GAP_S = 1.5
"""Longest time between the two kills of a pair."""
DEADLINE_HOURS = 0.0019
SLACK_S = 1.0
"""The guardian may need this long after the deadline to stop everything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """A kind of round.

    Attributes:
        name: For the table and ``--only``.
        victims: Roles; a role named twice is killed again once it is replaced.
        setup: The kind of run.
    """

    name: str
    victims: tuple[str, ...]
    setup: Setup = field(default_factory=Setup)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill:
    """One kill: who, when after the round's start, in which stage; not landed if gone by then."""

    role: str
    at_s: float
    stage: str
    landed: bool

    def __str__(self) -> str:
        return f"{self.role} at {self.at_s:.3f} s ({self.stage if self.landed else 'missed'})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Undisturbed:
    """What a run without any kill showed.

    Attributes:
        lifetimes: Seconds that each role lived.
        seconds: From start to end of the command line.
        score: The agent cell's score.
    """

    lifetimes: Mapping[str, float]
    seconds: float
    score: float


@dataclass(slots=True, kw_only=True)
class Result:
    """How one round went."""

    number: int
    family: str
    setup: Setup
    kills: list[Kill] = field(default_factory=list)
    findings: Findings = field(default_factory=Findings)
    seconds: float = 0.0
    journal: str = ""


def measure(folder: Path, setup: Setup) -> Undisturbed:
    """Run once without a kill; how long each role lives is where kill times are drawn from."""
    world = World(folder, setup)
    began = time.monotonic()
    seen: dict[str, list[float]] = {}
    process = world.command_line()
    while process.poll() is None:
        for one in world.processes():
            role = role_of(one, AGENT_CELL)
            if role is not None:
                seen.setdefault(role, []).append(time.monotonic())
        time.sleep(0.02)
    seconds = time.monotonic() - began
    findings = prove(world, Expected())
    words = (world.folder / "command-line.log").read_text("utf-8", "replace")[-2000:]
    assert process.returncode == 0, words
    assert not findings.faults, findings.faults
    assert set(seen) == set(ROLES), f"not every role was seen: {sorted(seen)}"
    score = _own_score(world.run_folder.cell(AGENT_CELL))
    world.remove()
    lifetimes = {role: times[-1] - times[0] for role, times in seen.items()}
    return Undisturbed(lifetimes=lifetimes, seconds=seconds, score=score)


def play(
    number: int, family: Family, folder: Path, undisturbed: Undisturbed, rng: random.Random
) -> Result:
    """Play one round and prove what must hold after it."""
    changes = {"isolation": rng.choice(("bwrap", "none")), "batch_size": rng.choice((0, 4))}
    world = World(folder, replace(family.setup, **changes))
    result = Result(number=number, family=family.name, setup=world.setup)
    began = time.monotonic()
    try:
        _Round(world, family, undisturbed, rng, result, began).play()
    except Exception as error:
        result.findings.faults.append(f"the round broke off: {type(error).__name__}: {error}")
    result.seconds = time.monotonic() - began
    result.journal = journal_excerpt(world)
    if not result.findings.faults:
        world.remove()
    else:
        for process in world.processes():
            process.kill()
    return result


class _Round:
    def __init__(
        self,
        world: World,
        family: Family,
        undisturbed: Undisturbed,
        rng: random.Random,
        result: Result,
        began: float,
    ) -> None:
        self._world, self._family, self._undisturbed = world, family, undisturbed
        self._rng, self._result, self._began = rng, result, began
        self._cell = rng.choice(world.cells)
        self._folder = world.run_folder.cell(AGENT_CELL)

    def play(self) -> None:
        command_line = self._world.command_line()
        expected = Expected()
        if self._family.setup.endless:
            self._kill_all_supervisors()
            command_line.wait()
            expected = self._after_the_deadline()
        else:
            self._kill_victims()
        code = 0 if command_line.poll() is None else command_line.returncode
        if code == 0:
            code = command_line.wait(240)
        if code != 0 or self._rng.random() < 0.25:
            code = self._world.finish(240)
        findings = self._result.findings
        if code != 0:
            log = (self._world.folder / "command-line.log").read_text("utf-8", "replace")
            findings.faults.append(f"the last `ptb run` ended with {code}: {log[-600:]}")
        proved = prove(self._world, self._expected(expected))
        findings.faults += proved.faults
        findings.outcome = proved.outcome

    # Kills ----------------------------------------------------------------------------------

    def _kill_victims(self) -> None:
        first, *others = self._order()
        anchor = min(self._family.victims, key=lambda role: self._undisturbed.lifetimes[role])
        lifetime = self._undisturbed.lifetimes[anchor]
        if anchor == "command-line":
            lifetime = self._undisturbed.seconds
        offset = self._rng.uniform(0, lifetime)
        gap = self._rng.choice((0.0, self._rng.uniform(0, GAP_S)))
        wait_until(lambda: self._find(anchor), APPEARS_WITHIN_S)
        time.sleep(offset)
        before = self._find(first)
        self._kill(first)
        for role in others:
            if role == first:
                wait_until(lambda: self._is_replaced(first, before), APPEARS_WITHIN_S)
            time.sleep(gap)
            self._kill(role)
        if "command-line" in self._family.victims:
            time.sleep(self._rng.uniform(0, 0.5))

    def _order(self) -> list[str]:
        order = list(self._family.victims)
        self._rng.shuffle(order)
        return order

    def _is_replaced(self, role: str, before: Process | None) -> bool:
        now = self._find(role)
        if now is not None and (before is None or now.pid != before.pid):
            return True
        return self._folder.marker("record").exists()

    def _find(self, role: str) -> Process | None:
        return self._world.find(role, self._cell)

    def _kill(self, role: str) -> None:
        stage = self._stage()
        victim = self._find(role)
        landed = victim is not None and victim.kill()
        at_s = time.monotonic() - self._began
        self._result.kills.append(Kill(role=role, at_s=at_s, stage=stage, landed=landed))

    def _stage(self) -> str:
        for event in reversed(read_events(self._world.run_folder.cell(self._cell).journal)):
            if event.stage:
                return event.stage if event.event == "started" else f"after {event.stage}"
        return "start"

    # The deadline ---------------------------------------------------------------------------

    def _kill_all_supervisors(self) -> None:
        """Leave the agent alone in the world: no supervisor and no command line lives."""
        versions = self._folder.attempt("solve", 1) / "workspace" / "versions.jsonl"
        wait_until(lambda: json_lines(versions) and self._deadline(), APPEARS_WITHIN_S)
        left = self._deadline() - time.time()
        time.sleep(self._rng.uniform(0, max(0.0, left - 0.5)))
        for role in ("command-line", "supervisor"):  # or the first would replace the second
            self._kill(role)

    def _deadline(self) -> float:
        live = self._folder.attempt("solve", 1) / "live.json"
        try:
            return float(json.loads(live.read_bytes())["deadline_unix_s"])
        except OSError:
            return 0.0

    def _after_the_deadline(self) -> Expected:
        """Nobody looks until the deadline is over; then all must be dead, hashed and unchanged."""
        expect = self._result.findings.expect
        deadline = self._deadline()
        supervisors = ("command-line", "supervisor")
        dead = wait_until(lambda: not any(map(self._world.find, supervisors)), 2.0)
        expect(dead, "a command line or supervisor is still alive")
        alive = {role_of(process, AGENT_CELL) for process in self._world.processes()}
        expect({"agent", "solve-guardian"} <= alive, f"only {alive} outlived the supervisors")
        gone = wait_until(lambda: not self._world.processes(), deadline - time.time() + 15)
        expect(gone, "something lives after the deadline")
        attempt = self._folder.attempt("solve", 1)
        state = json.loads((attempt / "sandbox" / "control" / "state.json").read_bytes())
        expect(state["ended"] and state["deadline_passed"], f"the guardian's last word: {state}")
        frozen = float(state["frozen_unix_s"])
        expect(deadline <= frozen <= deadline + SLACK_S, f"frozen {frozen - deadline:+.3f} s late")
        for name in ("versions.jsonl", "heartbeats.jsonl"):
            last = json_lines(attempt / "workspace" / name)[-1]["unix_s"]
            expect(last <= frozen, f"{name} was written {last - frozen:.3f} s after the freeze")
        weights = attempt / "workspace" / "final_model" / "model.safetensors"
        listed = {entry["path"]: entry["sha256"] for entry in state["seal"]}
        digest = hashlib.sha256(weights.read_bytes()).hexdigest()
        expect(listed["final_model/model.safetensors"] == digest, "the seal has another digest")
        is_late = self._rng.random() < 0.5
        if is_late:  # whoever writes now, it must not count
            with weights.open("ab") as stream:
                stream.write(b"written after the deadline")
        return Expected(outcome="timeout", late=is_late)

    # Afterwards -----------------------------------------------------------------------------

    def _expected(self, base: Expected) -> Expected:
        landed = [kill.role for kill in self._result.kills if kill.landed]
        killed = "agent" in landed
        whole = not killed and base.outcome is None
        return replace(
            base,
            score=self._undisturbed.score if whole else None,
            agent_killed=killed,
            lost_sandboxes=landed.count("solve-guardian"),
            broken_servers=landed.count("engine") + landed.count("serve-guardian"),
        )


def _own_score(folder: CellFolder) -> float:
    record = json.loads(folder.record.read_bytes())
    return float(record["evaluation"]["scores"]["repaired"]["value"])


def journal_excerpt(world: World) -> str:
    """Return the agent cell's story, a line per event, and how its agent ended."""
    path = world.run_folder.cell(AGENT_CELL).journal
    if not path.exists():
        return "(no journal)"
    events = read_events(path)
    start = events[0].unix_s if events else 0.0
    lines = [
        f"{e.unix_s - start:7.3f} s  fence {e.fence}  {e.event:9} {e.stage} {e.attempt} {e.text}"
        for e in events
    ]
    solved = read_marker(world.run_folder.cell(AGENT_CELL).marker("solve"), Solved)
    ending = f"solve: {solved.solve.outcome}, {solved.solve.detail}" if solved else "not solved"
    return "\n".join([*lines, ending])
