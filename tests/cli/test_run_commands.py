"""validate, run --dry-run, status and cancel, as a user meets them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

PLAN = {
    "name": "small",
    "tasks": ["errands"],
    "models": ["tiny-qwen3"],
    "agents": [{"name": "null", "scaffold": "null"}],
    "condition": {"hours": 0.5, "gpus": 0},
    "sandbox": {"name": "local"},
    "engine": {"name": "transformers"},
    "judges": [{"name": "lineage"}],
    "protocol": "strict",
}


def ptb(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ptb_core.cli.main", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    path = tmp_path / "small.json"
    path.write_text(json.dumps(PLAN), "utf-8")
    return path


def test_validate_says_what_a_plan_will_take(plan: Path) -> None:
    done = ptb("validate", plan)
    assert done.returncode == 0, done.stderr
    assert "plan small: valid" in done.stdout
    assert "1 agent cells + 1 base cells; up to 0.50 agent hours" in done.stdout
    assert "protocol strict: seeded requests, repaired scoring" in done.stdout


@pytest.mark.parametrize("command", [["validate"], ["run", "--dry-run", "--plan"]])
def test_a_plans_head_shows_the_protocols_changes(plan: Path, command: list[str]) -> None:
    changed = {"base": "strict", "limit": 4, "max_tokens": 32}
    plan.write_text(json.dumps({**PLAN, "protocol": changed}), "utf-8")
    done = ptb(*command, plan)
    assert done.returncode == 0, done.stderr
    assert (
        "  protocol strict: seeded requests, repaired scoring, max tokens 32, limit: 4 samples\n"
    ) in done.stdout


def test_validate_estimates_gpu_hours_and_money_of_the_paper_plan() -> None:
    done = ptb("validate", "paper", "--json")
    facts = json.loads(done.stdout)
    estimate = facts["estimate"]
    assert (estimate["agent_cells"], estimate["base_cells"]) == (84, 28)
    assert estimate["gpu_hours"] == 84 * 10 + 112
    assert estimate["gpu_usd"] == pytest.approx(952 * 3.0)


def test_a_wrong_plan_exits_with_two_and_lists_every_fault(plan: Path) -> None:
    plan.write_text(json.dumps({**PLAN, "tasks": ["erands"], "models": ["x"]}), "utf-8")
    done = ptb("validate", plan)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "2 faults" in done.stderr
    assert "(did you mean 'errands'?)" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_plan_that_is_no_json_is_named_with_line_and_column(plan: Path) -> None:
    plan.write_text('{"name": "small",\n "tasks": [}', "utf-8")
    done = ptb("run", "--plan", plan)
    assert done.returncode == 2
    assert "small.json" in done.stderr
    assert "line 2" in done.stderr


def test_a_dry_run_lists_cells_and_starts_nothing(plan: Path, tmp_path: Path) -> None:
    done = ptb("run", "--plan", plan, "--dry-run", "--run-dir", tmp_path / "run")
    assert done.returncode == 0
    assert "errands--tiny-qwen3--null--r1" in done.stdout
    assert not (tmp_path / "run").exists()


def test_a_plan_that_cannot_run_here_starts_nothing(tmp_path: Path) -> None:
    done = ptb("run", "--plan", "paper", "--run-dir", tmp_path / "run")
    assert done.returncode == 2
    assert "the plan 'paper' cannot run here; nothing was started:" in done.stderr
    assert "sandbox local: " in done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("place", ["/proc/x", "/dev/null", "/dev/null/x"])
def test_a_run_folder_that_cannot_be_made_is_a_usage_error(plan: Path, place: str) -> None:
    done = ptb("run", "--plan", plan, "--run-dir", place)
    assert done.returncode == 2
    assert f"the run folder {place} cannot be written: " in done.stderr
    assert "name another one with --run-dir" in done.stderr


def test_the_paper_plan_names_the_missing_gpu_and_memory() -> None:
    done = ptb("validate", "paper")
    assert "sandbox local: the condition asks for 1 GPUs whose name matches 'H100'" in done.stdout


def test_output_that_cannot_be_written_is_no_bug() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "ptb_core.cli.main", "list"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert "ptb: No space left on device" in done.stderr
    assert "bug" not in done.stderr


def test_status_of_a_folder_that_is_no_run_says_so(tmp_path: Path) -> None:
    done = ptb("status", tmp_path)
    assert done.returncode == 2
    assert "is no run folder: it has no run.json; `ptb run --plan PLAN` makes one" in done.stderr


def test_status_of_a_fresh_run_lists_waiting_cells(plan: Path, tmp_path: Path) -> None:
    from ptb_core.catalogue import load_catalogue
    from ptb_core.plan import load_plan
    from ptb_core.run_folder import RunFolder

    RunFolder(tmp_path / "run").create(load_plan(plan, load_catalogue()), {})
    done = ptb("status", tmp_path / "run")
    assert [line.split() for line in done.stdout.splitlines()] == [
        ["errands--tiny-qwen3--base", "waiting"],
        ["errands--tiny-qwen3--null--r1", "waiting"],
        ["0", "of", "2", "cells", "done"],
    ]
    rows = json.loads(ptb("status", tmp_path / "run", "--json").stdout)
    assert [row["stage"] for row in rows] == ["waiting", "waiting"]
    assert ptb("cancel", tmp_path / "run").stdout == "asked 0 running cells to stop\n"
