"""What `ptb new` writes, built and installed with pip, all kinds in one environment."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from environments import ROOT, Environment

from ptb_core.specs import KINDS

pytestmark = [pytest.mark.packaging, pytest.mark.slow]

LEAST_OK = {
    "task": 25, "model": 9, "scaffold": 20, "sandbox": 30, "engine": 21, "judge": 20,
    "executor": 15,
}  # fmt: skip
"""Checks that a generated component of each kind must pass, none of them skipped."""

FEW = {"sandbox": "facts or handle or exit_code", "engine": "facts or reason or probabilities"}
"""Kinds whose whole suite takes long; `ptb check` runs it, pytest a part of it."""


TUTORIAL = (
    "ptb new task capitals",
    "cd ptb-task-capitals",
    'pip install -e ".[dev]"',
    "ptb list tasks",
    "ptb check capitals",
    "pytest",
    "ptb validate plan.json",
    "ptb run --plan plan.json --run-dir first-run",
    "ptb status first-run",
    "ptb leaderboard first-run",
)
"""The shell commands of "A plugin in ten minutes" in CONTRIBUTING.md."""


@pytest.fixture(scope="module")
def projects(environment: Environment, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One distribution of every kind, generated and installed, by kind."""
    parent = tmp_path_factory.mktemp("generated")
    for kind in KINDS:
        environment.ptb("new", kind, f"my-{kind}", "--dir", parent)
    for kind in ("task", "model"):
        environment.ptb("new", kind, f"bare-{kind}", "--manifest-only", "--dir", parent)
    found = {kind: parent / f"ptb-{kind}-my-{kind}" for kind in KINDS}
    found |= {f"bare-{kind}": parent / f"ptb-{kind}-bare-{kind}" for kind in ("task", "model")}
    environment.install(*found.values())
    return found


def test_all_of_them_are_listed_as_usable(
    environment: Environment, projects: dict[str, Path]
) -> None:
    rows = json.loads(environment.ptb("list", "--json"))
    mine = {row["name"]: row["usable"] for row in rows if row["distribution"] != "posttrainbench"}
    names = [f"my-{kind}" for kind in KINDS] + ["bare-task", "bare-model"]
    assert mine == dict.fromkeys(names, True)


@pytest.mark.parametrize("kind", KINDS)
def test_a_generated_distribution_passes_ptb_check(
    environment: Environment, projects: dict[str, Path], kind: str
) -> None:
    report = json.loads(environment.ptb("check", f"ptb-{kind}-my-{kind}", "--json"))
    outcomes = [check["outcome"] for check in report["checks"]]
    assert "failed" not in outcomes
    assert outcomes.count("ok") >= LEAST_OK[kind]


@pytest.mark.parametrize("kind", ["task", "model"])
def test_a_distribution_without_code_passes_ptb_check(
    environment: Environment, projects: dict[str, Path], kind: str
) -> None:
    report = json.loads(environment.ptb("check", f"bare-{kind}", "--json"))
    outcomes = [check["outcome"] for check in report["checks"]]
    assert "failed" not in outcomes
    assert outcomes.count("ok") >= 5


@pytest.mark.parametrize("kind", KINDS)
def test_the_tests_of_a_generated_distribution_pass(
    environment: Environment, projects: dict[str, Path], kind: str
) -> None:
    chosen = ["-k", FEW[kind]] if kind in FEW else []
    done = environment.run(
        "python", "-m", "pytest", "-q", "-p", "no:cacheprovider", *chosen, cwd=projects[kind]
    )
    assert " passed" in done.stdout


def test_generated_code_is_clean_under_strict_mypy(
    environment: Environment, projects: dict[str, Path]
) -> None:
    folders = [projects[kind] / name for kind in KINDS for name in ("src", "tests")]
    settings = projects["engine"] / "pyproject.toml"
    done = environment.run(
        "python", "-m", "mypy", "--config-file", settings, *folders, cwd=projects["engine"]
    )
    assert done.stdout.startswith("Success: no issues found")


def test_generated_parts_run_a_cell_together(
    environment: Environment, projects: dict[str, Path], tmp_path: Path
) -> None:
    plan = json.loads((projects["task"] / "plan.json").read_text("utf-8"))
    plan |= {
        "tasks": ["my-task"],
        "models": ["my-model"],
        "agents": [{"name": "mine", "scaffold": "my-scaffold"}],
        "sandbox": {"name": "my-sandbox"},
        "engine": {"name": "my-engine"},
        "executor": {"name": "my-executor", "settings": {"max_cells": 2}},
        "judges": [{"name": "my-judge"}],
        "condition": {**plan["condition"], "dev_evaluation": "in-sandbox"},
    }
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    environment.ptb("run", "--plan", "plan.json", "--run-dir", "run", cwd=tmp_path)
    records = {
        path.parent.name: json.loads(path.read_text("utf-8"))
        for path in (tmp_path / "run" / "cells").glob("*/record.json")
    }
    mine, base = records["my-task--my-model--mine--r1"], records["my-task--my-model--base"]
    assert (mine["counts"], mine["verdict"]) == ("own", "clean")
    assert mine["evaluation"]["scores"] == base["evaluation"]["scores"]
    assert mine["evaluation"]["n_scored"] == 8
    assert mine["solve"]["outcome"] == "finished"


def test_the_commands_of_the_tutorial_lead_from_nothing_to_a_score(
    environment: Environment, tmp_path: Path
) -> None:
    script = tmp_path / "tutorial.sh"
    # An environment's own pytest comes with `.[dev]`; here it is lent, so it has no script.
    lent = 'pytest() { python -m pytest "$@"; }'
    script.write_text("\n".join(["set -e", lent, *TUTORIAL]))
    done = environment.run("/bin/bash", script, cwd=tmp_path)
    assert "2 of 2 cells done" in done.stdout
    assert "null" in done.stdout


def test_the_tutorial_shows_the_commands_that_are_run_here() -> None:
    _, found, text = (ROOT / "CONTRIBUTING.md").read_text("utf-8").partition("in ten minutes\n")
    if not found:
        pytest.skip("CONTRIBUTING.md has no section 'A plugin in ten minutes'")
    section = text.partition("\n## ")[0]
    blocks = section.split("```sh\n")[1:]
    shown = [line for block in blocks for line in block.partition("```")[0].splitlines()]
    assert tuple(line for line in shown if line) == TUTORIAL
