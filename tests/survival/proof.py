"""What must hold after a round, whatever was killed: each fault is a sentence, none is fine."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from ptb_core.claims import is_alive, latest_claim
from ptb_core.data import data_dir
from ptb_core.evaluation.completion_log import read_completions
from ptb_core.journal import read_events
from ptb_core.record_store import read_record
from ptb_core.records import Record
from ptb_core.run_folder import CellFolder
from ptb_core.stages.context import Sealed, Solved
from ptb_core.stages.markers import read_marker, read_marker_head
from ptb_core.supervisor import stages_of

from .plugin.ptb_engine_double.server import answer
from .world import SAMPLES, World, wait_until

INSTRUCTION = "\nEnd with a line ANSWER: value."
QUIET_WITHIN_S = 10.0
TRASH = ".trash"
FOREIGN = ("workspace", "evidence", "home", "tmp", "outside-workspace")
"""Folders that hold what an agent made; whatever lies there is its own and evidence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What the kills of a round explain.

    Attributes:
        score: The undisturbed score; None when the agent was killed or never ends.
        agent_killed: The agent itself was killed.
        lost_sandboxes: How many guardians of solve were killed.
        broken_servers: How many engines and guardians of serve sessions were killed.
        outcome: How the agent must have ended, or None.
        late: The weights were changed after the deadline: they must be refused.
    """

    score: float | None = None
    agent_killed: bool = False
    lost_sandboxes: int = 0
    broken_servers: int = 0
    outcome: str | None = None
    late: bool = False


@dataclass(slots=True)
class Findings:
    """Faults of one round, and how its cell ended."""

    faults: list[str] = field(default_factory=list)
    outcome: str = ""

    def expect(self, holds: object, fault: str) -> None:
        if not holds:
            self.faults.append(fault)


def prove(world: World, expected: Expected) -> Findings:
    """Look at everything that a finished round left."""
    found = Findings()
    _nothing_runs(world, found)
    _nothing_is_left_in_tmp(world, found)
    for path in stray_files(world.run):
        found.faults.append(f"a stray temporary file: {path.relative_to(world.run)}")
    run = world.run_folder.open()
    present = sorted(path.name for path in (world.run / "cells").iterdir())
    found.expect(present == sorted(world.cells), f"cells are {present}")
    for cell in run.cells:
        folder = world.run_folder.cell(cell.id)
        if not folder.record.exists():
            found.faults.append(f"{cell.id} has no record")
            continue
        record = read_record(folder.record)
        _claims_are_free(folder, found)
        stages = [stage.name for stage in stages_of(cell)]
        _attempts_are_explained(folder, record, stages, expected, found)
        _answers_are_counted_once(world, folder, record, found)
        if cell.kind == "agent":
            _the_agent_ran_once(folder, record, expected, found)
            _the_score_is_the_submissions(world, folder, record, expected, found)
    return found


def expected_score(digest: str) -> float:
    """Return the score of the checkpoint whose weights have this digest, by the engine double."""
    right = 0
    for row in _test_rows()[:SAMPLES]:
        text = answer(digest, row["question"] + INSTRUCTION)
        right += text.rpartition("ANSWER: ")[2] == row["answer"]
    return right / SAMPLES


def starts_of(folder: CellFolder) -> dict[int, list[dict[str, Any]]]:
    """Return what the agent noted at each of its starts, by attempt."""
    return {
        number: json_lines(folder.attempt("solve", number) / "workspace" / "starts.jsonl")
        for number in folder.attempts("solve")
    }


def json_lines(path: Path) -> list[dict[str, Any]]:
    """Return all whole lines of a file; none if it does not exist."""
    if not path.exists():
        return []
    lines = path.read_bytes().split(b"\n")[:-1]
    return [json.loads(line) for line in lines]


def stray_files(folder: Path) -> Iterator[Path]:
    """Yield what a killed writer left below a folder: hidden files and folders of ours.

    The place where removals go stays; what lies in it is left over.
    """
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name not in FOREIGN]
        for name in (*files, *folders):
            path = Path(place, name)
            is_empty_trash = name == TRASH and not any(path.iterdir())
            if name.startswith(".") and not is_empty_trash:
                yield path


@cache
def _test_rows() -> list[dict[str, str]]:
    path = data_dir() / "embedded" / "data" / "errands" / "test.jsonl"
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def _nothing_runs(world: World, found: Findings) -> None:
    if not wait_until(lambda: not world.processes(), QUIET_WITHIN_S):
        for process in world.processes():
            found.faults.append(f"an orphan process: {process.pid} {' '.join(process.argv)[-200:]}")


def _nothing_is_left_in_tmp(world: World, found: Findings) -> None:
    run_id = world.run_id()
    base = Path(f"/tmp/ptb-{os.getuid()}")
    for head in base.glob("*/session.json"):
        try:
            name = json.loads(head.read_bytes())["name"]
        except OSError:  # of another run, gone meanwhile
            continue
        found.expect(not name.startswith(f"{run_id}-"), f"a session folder is left: {name}")
    for folder in Path("/tmp").glob("ptb-evidence-*"):
        links = [path for path in folder.glob("*") if path.is_symlink()]
        ours = [path for path in links if str(path.readlink()).startswith(str(world.folder))]
        found.expect(not ours, f"a judge's temporary folder is left: {folder}")


def _claims_are_free(folder: CellFolder, found: Findings) -> None:
    claim = latest_claim(folder.claims)
    found.expect(
        claim is not None and not is_alive(folder.claims, claim),
        f"{folder.path.name} is still claimed: {claim}",
    )
    fences = [event.fence for event in read_events(folder.journal) if event.event == "claimed"]
    found.expect(
        fences == sorted(set(fences)), f"{folder.path.name}: fences of the journal are {fences}"
    )


def _attempts_are_explained(
    folder: CellFolder, record: Record, stages: list[str], expected: Expected, found: Findings
) -> None:
    cell = folder.path.name
    failed: Counter[str] = Counter()
    for stage in stages:
        head = read_marker_head(folder.marker(stage))
        if head is None:
            found.faults.append(f"{cell}: stage {stage} has no marker")
            continue
        if stage == "record":
            continue
        attempts = [attempt for attempt in record.attempts if attempt.stage == stage]
        done = [attempt.number for attempt in attempts if attempt.outcome == "done"]
        found.expect(
            done == [head.attempt],
            f"{cell}: the record says that attempts {done} of {stage} are done, "
            f"the marker says {head.attempt}",
        )
        found.expect(
            not attempts or attempts[-1].number == head.attempt,
            f"{cell}: {stage} went on after it was done",
        )
        numbers = [attempt.number for attempt in attempts]
        found.expect(numbers == sorted(set(numbers)), f"{cell}: attempts of {stage}: {numbers}")
        failed[stage] += sum(attempt.outcome == "failed" for attempt in attempts)
    early = sum("died before the agent was started" in a.reason for a in record.attempts)
    allowed = {"solve": expected.lost_sandboxes + early, "generate": expected.broken_servers}
    for stage, count in failed.items():
        reasons = [a.reason for a in record.attempts if a.stage == stage and a.reason]
        found.expect(
            count <= allowed.get(stage, 0),
            f"{cell}: {count} failed attempts at {stage} that no kill explains: {reasons}",
        )


def _answers_are_counted_once(
    world: World, folder: CellFolder, record: Record, found: Findings
) -> None:
    log = folder.stage("generate") / "completions.jsonl"
    if record.evaluation is None:
        return
    rows = json_lines(log)
    ids = Counter((row["id"], row["call"], row["epoch"]) for row in rows)
    twice = [key for key, count in ids.items() if count > 1]
    found.expect(not twice, f"{folder.path.name}: answers kept twice: {twice}")
    counted = len(read_completions(log))
    found.expect(
        counted == len(ids) == SAMPLES == record.evaluation.n_scored,
        f"{folder.path.name}: {counted} samples answered, {record.evaluation.n_scored} scored",
    )
    if world.setup.engine == "double":
        origins = {row["completion"]["text"].split("\n")[0] for row in rows}
        found.expect(
            len(origins) == 1, f"{folder.path.name}: answers of {len(origins)} checkpoints"
        )


def _the_agent_ran_once(
    folder: CellFolder, record: Record, expected: Expected, found: Findings
) -> None:
    starts = starts_of(folder)
    head = read_marker_head(folder.marker("solve"))
    counts = {number: len(lines) for number, lines in starts.items()}
    found.expect(
        head is not None and counts.get(head.attempt) == 1,
        f"the agent started {counts} times, by attempt; attempt {head and head.attempt} counts",
    )
    total = sum(counts.values())
    found.expect(
        1 <= total <= 1 + expected.lost_sandboxes,
        f"the agent started {total} times in all ({counts}), and "
        f"{expected.lost_sandboxes} sandboxes were lost",
    )
    nonces = {line["nonce"] for lines in starts.values() for line in lines}
    found.expect(len(nonces) == total, "two starts of the agent have one nonce")
    for attempt in record.attempts:
        if attempt.stage == "solve" and head is not None and attempt.number < head.attempt:
            wordless = counts.get(attempt.number) and "is lost" not in attempt.reason
            found.expect(
                not wordless, f"attempt {attempt.number} at solve was dropped without a word"
            )


def _the_score_is_the_submissions(
    world: World, folder: CellFolder, record: Record, expected: Expected, found: Findings
) -> None:
    solved = read_marker(folder.marker("solve"), Solved)
    sealed = read_marker(folder.marker("seal"), Sealed)
    if solved is None or sealed is None:
        return
    outcome = solved.solve.outcome
    wanted = expected.outcome or ("finished" if not expected.agent_killed else None)
    if wanted is not None:
        found.expect(outcome == wanted, f"the agent's outcome is {outcome}, expected {wanted}")
    else:
        found.expect(outcome in ("finished", "crash"), f"a killed agent's outcome is {outcome}")
    found.outcome = f"{record.counts} {outcome}" + (", written late" if expected.late else "")
    if expected.late:
        found.expect(sealed.state == "refused", f"late weights are {sealed.state}")
    found.expect(record.verdict == "clean", f"the verdict is {record.verdict}")
    score = record.own_score.value if record.own_score else None
    if sealed.state != "sealed":
        found.expect(record.counts == "base", f"{sealed.state}, but counts as {record.counts}")
        found.expect(expected.score is None, f"{sealed.state}: {sealed.reason}")
        return
    frozen = {file.path: file.sha256 for file in solved.seal}
    digest = next(file.sha256 for file in sealed.files if file.path == "model.safetensors")
    found.expect(
        digest == frozen.get("final_model/model.safetensors"), "the sealed weights are others"
    )
    assert sealed.path is not None
    now = hashlib.sha256((sealed.path / "model.safetensors").read_bytes()).hexdigest()
    found.expect(now == digest, "the sealed weights have changed since")
    if world.setup.engine == "double":
        right = expected_score(digest)
        found.expect(score == right, f"the score is {score}, of this checkpoint it is {right}")
    if expected.score is not None:
        found.expect(score == expected.score, f"score {score}, undisturbed {expected.score}")
