"""The proof after a round finds what it is there to find."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ptb_core.claims import take_claim

from .proof import Expected, prove
from .world import AGENT_CELL, Setup, World

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> World:
    world = World(tmp_path_factory.mktemp("proof") / "world", Setup(work_s=0.2, batch_s=0.02))
    assert world.finish(120) == 0
    return world


@pytest.fixture
def cell(finished: World) -> Iterator[Path]:
    """The finished cell; what the test spoils is put back."""
    path = finished.run / "cells" / AGENT_CELL
    shutil.copytree(path, finished.folder / "kept", symlinks=True)
    yield path
    shutil.rmtree(path)
    (finished.folder / "kept").rename(path)


def faults(world: World, expected: Expected | None = None) -> str:
    return "\n".join(prove(world, expected or Expected()).faults)


def test_an_undisturbed_run_has_no_fault(finished: World, cell: Path) -> None:
    assert faults(finished) == ""


def test_a_second_start_of_the_agent_is_found(finished: World, cell: Path) -> None:
    starts = cell / "stages" / "solve" / "attempt-001" / "workspace" / "starts.jsonl"
    starts.write_bytes(starts.read_bytes() * 2)
    assert "the agent started {1: 2} times" in faults(finished)


def test_an_answer_kept_twice_is_found(finished: World, cell: Path) -> None:
    log = cell / "stages" / "generate" / "completions.jsonl"
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join([*lines, lines[0]]))
    assert "answers kept twice" in faults(finished)


def test_an_answer_of_another_checkpoint_is_found(finished: World, cell: Path) -> None:
    log = cell / "stages" / "generate" / "completions.jsonl"
    log.write_text(log.read_text("utf-8").replace("from ", "from x", 1), "utf-8")
    assert "answers of 2 checkpoints" in faults(finished)


def test_another_score_is_found(finished: World, cell: Path) -> None:
    record = json.loads((cell / "record.json").read_bytes())
    record["evaluation"]["scores"]["repaired"]["value"] = 0.9375
    (cell / "record.json").write_text(json.dumps(record), "utf-8")
    assert "the score is 0.9375, of this checkpoint it is" in faults(finished)
    assert "score 0.9375, undisturbed 0.5" in faults(finished, Expected(score=0.5))


def test_changed_sealed_weights_are_found(finished: World, cell: Path) -> None:
    weights = cell / "stages" / "seal" / "attempt-001" / "submission" / "model.safetensors"
    weights.chmod(0o644)
    weights.write_bytes(weights.read_bytes() + b"x")
    assert "the sealed weights have changed since" in faults(finished)


def test_a_stray_file_is_found(finished: World, cell: Path) -> None:
    (cell / "claims" / ".000001.json.0a1b2c3d.tmp").touch()
    assert "a stray temporary file: cells/" in faults(finished)


def test_a_claim_that_is_still_held_is_found(finished: World, cell: Path) -> None:
    held = take_claim(cell / "claims")
    assert held is not None
    assert "is still claimed" in faults(finished)
    held.release()


def test_a_lost_record_and_a_lost_cell_are_found(finished: World, cell: Path) -> None:
    (cell / "record.json").unlink()
    assert f"{AGENT_CELL} has no record" in faults(finished)


def test_a_failed_attempt_that_no_kill_explains_is_found(finished: World, cell: Path) -> None:
    record = json.loads((cell / "record.json").read_bytes())
    first = next(a for a in record["attempts"] if a["stage"] == "generate")
    failed = {**first, "outcome": "failed", "reason": "the server died"}
    record["attempts"].insert(record["attempts"].index(first), failed)
    first["number"] = 2
    marker = cell / "stages" / "generate" / "done.json"
    marker.write_text(marker.read_text("utf-8").replace('"attempt": 1', '"attempt": 2'), "utf-8")
    (cell / "record.json").write_text(json.dumps(record), "utf-8")
    assert "1 failed attempts at generate that no kill explains: ['the server died']" in faults(
        finished
    )
    assert faults(finished, Expected(broken_servers=1)) == ""


def test_a_session_folder_and_a_judges_folder_are_found(finished: World, cell: Path) -> None:
    session = Path(f"/tmp/ptb-{os.getuid()}") / "survival-proof"
    judges = Path("/tmp/ptb-evidence-survival-proof")
    session.mkdir(parents=True, mode=0o700)
    session.parent.chmod(0o700)
    judges.mkdir()
    try:
        name = f"{finished.run_id()}-x"
        opener = {"pid": os.getpid(), "start": 0, "boot_id": "-", "namespace": "-"}
        head = {"name": name, "mark": "m", "control": "/nowhere", "opener": opener}
        (session / "session.json").write_text(json.dumps(head), "utf-8")
        (judges / "workspace").symlink_to(finished.folder)
        found = faults(finished)
    finally:
        shutil.rmtree(session)
        shutil.rmtree(judges)
    assert f"a session folder is left: {name}" in found
    assert f"a judge's temporary folder is left: {judges}" in found


def test_an_orphan_is_found_by_environment_argument_or_folder(
    finished: World, cell: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.survival.proof.QUIET_WITHIN_S", 0.2)
    sleep = [sys.executable, "-c", "import time; time.sleep(60)"]
    session = {"PTB_SESSION": f"{finished.run_id()}-x"}
    for argv, env, cwd in (
        (sleep, {**os.environ, **session}, None),
        ([*sleep, str(finished.run)], None, None),
        (sleep, None, cell),
    ):
        with subprocess.Popen(argv, env=env, cwd=cwd) as orphan:
            assert f"an orphan process: {orphan.pid}" in faults(finished)
            orphan.kill()
