"""A real run that is moved once it is finished: everything that can be done again still can."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from ptb_core.record_store import read_record
from ptb_core.run_folder import RunFolder

from ..plan.conftest import PLAN
from ..test_end_to_end import ptb

pytestmark = pytest.mark.slow

NULL = "errands--tiny-qwen3--null--r1"


def test_a_finished_run_that_was_moved_is_judged_and_scored_again_from_its_own_files(
    tmp_path: Path,
) -> None:
    plan = {
        **PLAN,
        "agents": [{"name": "null", "scaffold": "null"}],
        "protocol": {"base": "strict", "limit": 4},
    }
    (tmp_path / "plan.json").write_text(json.dumps(plan), "utf-8")
    run = tmp_path / "run"
    done = ptb("run", "--plan", tmp_path / "plan.json", "--run-dir", run)
    assert done.returncode == 0, done.stderr[-3000:]
    before = read_record(RunFolder(run).cell(NULL).record)
    shutil.move(run, tmp_path / "there")
    there = RunFolder(tmp_path / "there")
    for marker in there.path.rglob("stages/*/done.json"):
        assert str(run) not in marker.read_text("utf-8")
    for command in (("rejudge",), ("reevaluate", "--score-only")):
        done = ptb(*command, there.path)
        assert done.returncode == 0, done.stderr[-3000:]
    after = read_record(there.cell(NULL).record)
    assert (after.verdict, after.counts, after.own_score) == (
        before.verdict,
        before.counts,
        before.own_score,
    )
    assert [earlier.made_by for earlier in after.earlier] == ["run", "rejudge"]
    done = ptb("run", "--plan", tmp_path / "plan.json", "--run-dir", there.path)
    assert done.returncode == 0, done.stderr[-3000:]
