"""`ptb retry`, `ptb rejudge` and `ptb reevaluate` on a real run: real engine, judges, records."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ptb_core.record_store import read_record
from ptb_core.records import Record
from ptb_core.run_folder import CellFolder, RunFolder

pytestmark = pytest.mark.slow

CELL = "errands--tiny-qwen3--null--r1"
BASE = "errands--tiny-qwen3--base"

PLAN = {
    "name": "again",
    "tasks": ["errands"],
    "models": ["tiny-qwen3"],
    "agents": [{"name": "null", "scaffold": "null"}],
    "condition": {"hours": 0.05, "gpus": 0},
    "sandbox": {"name": "local"},
    "engine": {"name": "transformers", "settings": {"threads": 1}},
    "judges": [{"name": "lineage"}, {"name": "moody"}],
    "protocol": {"base": "strict", "limit": 8},
}

JUDGE = """
import os
from pathlib import Path
from ptb_core.api import Judge, JudgeSpec, Verdict, hookimpl

MOOD = Path(__file__).with_name("mood")

class Moody(Judge):
    def judge(self, evidence, settings):
        outcome = MOOD.read_text().strip()
        return Verdict(judge="moody", version="1", outcome=outcome, notes=("as the file says",))

@hookimpl
def ptb_register_judges():
    return [Moody(JudgeSpec(name="moody", description="Says what a file says.", version="1",
                            violations=("mood",), deterministic=False))]
"""


class Here:
    """A run folder, and a judge whose mind the test changes."""

    def __init__(self, folder: Path) -> None:
        self.site = folder / "site"
        info = self.site / "ptb_moody-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: ptb-moody\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text("[ptb.v1]\nmoody = ptb_moody\n")
        (self.site / "ptb_moody.py").write_text(JUDGE)
        self.plan = folder / "again.json"
        self.plan.write_text(json.dumps(PLAN))
        self.run = RunFolder(folder / "run")

    @property
    def cell(self) -> CellFolder:
        return self.run.cell(CELL)

    @property
    def record(self) -> Record:
        return read_record(self.cell.record)

    def mood(self, outcome: str) -> None:
        (self.site / "mood").write_text(outcome)

    def ptb(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.argv(*arguments),
            env=self.env(),
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    def argv(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "ptb_core.cli.main", *arguments]

    def env(self) -> dict[str, str]:
        known = os.environ.get("PYTHONPATH")
        return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(self.site), known]))}


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Here:
    """A run whose judge could not make up its mind."""
    made = Here(tmp_path_factory.mktemp("again"))
    made.mood("inconclusive")
    done = made.ptb("run", "--plan", str(made.plan), "--run-dir", str(made.run.path))
    assert done.returncode == 1, done.stderr
    assert made.record.counts == "missing"
    return made


def test_a_retry_resolves_an_inconclusive_verdict_and_repeats_nothing_else(here: Here) -> None:
    here.mood("clean")
    solved = here.cell.marker("solve").read_bytes()
    done = here.ptb("retry", str(here.run.path))
    assert done.returncode == 0, done.stderr
    assert done.stdout == (f"{CELL}: missing (own 0.0), inconclusive -> own 0.0, clean\n")
    assert (
        f"left out: {BASE}: it counts with its own score, and results are never the best of several"
    ) in done.stderr
    assert here.record.made_by == "retry"
    assert here.cell.attempts("judge") == [1, 2]
    assert here.cell.attempts("generate") == [1]
    assert here.cell.marker("solve").read_bytes() == solved
    assert here.ptb("retry", str(here.run.path), CELL).returncode == 2


def test_a_new_verdict_changes_what_counts_and_the_earlier_one_stays(here: Here) -> None:
    here.mood("flagged")
    before = here.record
    done = here.ptb("rejudge", str(here.run.path), CELL)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{CELL}: own 0.0, clean -> base (own 0.0), flagged\n"
    after = here.record
    assert (after.verdict, after.counts, after.made_by) == ("flagged", "base", "rejudge")
    assert after.earlier[-1].created_unix_s == before.created_unix_s
    assert here.cell.attempt_record(here.cell.attempts("record")[-2]).exists()
    board = here.ptb("leaderboard", str(here.run.path)).stdout
    assert "1 cell was judged or evaluated again" in " ".join(board.split())


def test_scoring_again_reads_the_completions_that_are_there(here: Here) -> None:
    here.mood("clean")
    assert here.ptb("rejudge", str(here.run.path), CELL).returncode == 0
    done = here.ptb("reevaluate", str(here.run.path), "--score-only", CELL)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{CELL}: own 0.0, clean -> own 0.0, clean (unchanged)\n"
    assert here.record.made_by == "rescore"
    assert here.cell.attempts("generate") == [1]


def test_evaluating_again_asks_the_checkpoint_anew_and_gives_the_same_answers(here: Here) -> None:
    first = here.cell.stage("generate") / "completions.jsonl"
    before = first.read_bytes()
    done = here.ptb("reevaluate", str(here.run.path))
    assert done.returncode == 0, done.stderr
    assert done.stdout == (
        f"{BASE}: own 0.0 -> own 0.0 (unchanged)\n"
        f"{CELL}: own 0.0, clean -> own 0.0, clean (unchanged)\n"
    )
    assert first.read_bytes() == before
    again = here.cell.stage("generate") / "completions-after-001.jsonl"
    assert texts(again) == texts(first)


def test_a_killed_evaluation_is_continued_by_the_run_and_never_loses_the_record(
    here: Here,
) -> None:
    before = here.record
    process = subprocess.Popen(
        here.argv("reevaluate", str(here.run.path), CELL),
        env=here.env(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    live = here.cell.stage("generate") / "live.json"
    until = time.monotonic() + 60
    stamp = live.stat().st_mtime_ns
    while live.stat().st_mtime_ns == stamp:
        assert time.monotonic() < until, "the evaluation did not start"
        time.sleep(0.05)
    claims = sorted(here.cell.claims.glob("*.json"))
    supervisor = json.loads(claims[-1].read_text("utf-8"))["pid"]
    process.kill()
    process.wait()
    os.kill(supervisor, signal.SIGKILL)
    assert here.record == before
    status = here.ptb("status", str(here.run.path)).stdout
    assert "to be done again: generate, score, record (`ptb run` does it)" in status
    done = here.ptb("run", "--plan", str(here.plan), "--run-dir", str(here.run.path))
    assert done.returncode == 0, done.stderr
    assert here.record.made_by == "reevaluate"
    assert here.record.earlier[-1].created_unix_s == before.created_unix_s
    assert not here.cell.redo.exists()


def texts(log: Path) -> list[str]:
    """Return a log's answers without their times, in the order of their samples."""
    rows = [json.loads(line) for line in log.read_text("utf-8").splitlines()]
    kept = [{key: value for key, value in row.items() if not key.endswith("_s")} for row in rows]
    return sorted(json.dumps(row, sort_keys=True) for row in kept)
