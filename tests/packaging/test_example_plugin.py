"""examples/ptb-scaffold-echo, built, installed, run and uninstalled as a stranger would.

The tests build on one another, in the order in which they stand.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from environments import ROOT, Environment

pytestmark = [pytest.mark.packaging, pytest.mark.slow]

CELLS = ("base", "echo--r1", "echo-nothing--r1")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the example, so that building leaves nothing in the checkout."""
    folder = tmp_path_factory.mktemp("example") / "ptb-scaffold-echo"
    ignored = shutil.ignore_patterns(".*_cache", "__pycache__", "dist")
    shutil.copytree(ROOT / "examples" / "ptb-scaffold-echo", folder, ignore=ignored)
    return folder


@pytest.fixture(scope="module")
def built(environment: Environment, project: Path) -> Path:
    return environment.build_and_install(project)


@pytest.fixture(scope="module")
def finished_run(environment: Environment, project: Path, built: Path) -> Path:
    run = project / "run"
    environment.ptb("run", "--plan", "plan.json", "--run-dir", run, cwd=project)
    return run


def record(run: Path, cell: str) -> dict[str, object]:
    path = run / "cells" / f"errands--tiny-qwen3--{cell}" / "record.json"
    return json.loads(path.read_text("utf-8"))


def test_sdist_and_wheel_hold_what_they_should(built: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {
        "README.md",
        "LICENSE",
        "CHANGELOG.md",
        "plan.json",
        "tests/test_conformance.py",
        "src/ptb_scaffold_echo/echo.json",
        "src/ptb_scaffold_echo/agent.py",
    } <= names


def test_the_environment_runs_the_built_product(environment: Environment, built: Path) -> None:
    program = "import ptb_core, ptb_scaffold_echo as e; print(ptb_core.__file__, e.__file__)"
    for path in environment.run("python", "-I", "-c", program).stdout.split():
        assert Path(path).is_relative_to(environment.folder)


def test_ptb_list_shows_it_with_its_distribution(environment: Environment, built: Path) -> None:
    rows = json.loads(environment.ptb("list", "scaffolds", "--json"))
    (row,) = [row for row in rows if row["name"] == "echo"]
    assert row["usable"]
    assert (row["distribution"], row["version"]) == ("ptb-scaffold-echo", "0.1.0")


def test_it_keeps_its_promises(environment: Environment, built: Path) -> None:
    report = json.loads(environment.ptb("check", "ptb-scaffold-echo", "--json"))
    outcomes = [check["outcome"] for check in report["checks"]]
    assert "failed" not in outcomes
    assert outcomes.count("ok") >= 20


def test_its_own_tests_pass(environment: Environment, project: Path, built: Path) -> None:
    done = environment.run("python", "-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=project)
    assert " passed" in done.stdout


def test_it_is_clean_under_ruff_and_mypy(
    environment: Environment, project: Path, built: Path
) -> None:
    environment.run("python", "-m", "mypy", "src", "tests", cwd=project)
    for arguments in (["check"], ["format", "--check"]):
        ruff = [sys.executable, "-m", "ruff", *arguments, "--no-cache", "."]
        subprocess.run(ruff, cwd=project, check=True)


def test_a_plan_runs_it_end_to_end(finished_run: Path) -> None:
    found = {cell: record(finished_run, cell)["counts"] for cell in CELLS}
    assert found == {"base": "own", "echo--r1": "own", "echo-nothing--r1": "base"}
    components = record(finished_run, "echo--r1")["lock"]["components"]  # type: ignore[index]
    assert components["scaffold/echo"]["distribution"] == "ptb-scaffold-echo"


def test_the_base_model_scores_what_the_base_scores(finished_run: Path) -> None:
    def scores(cell: str) -> object:
        return record(finished_run, cell)["evaluation"]["scores"]  # type: ignore[index]

    assert scores("echo--r1") == scores("base")


def test_its_trace_is_read(finished_run: Path) -> None:
    solve = record(finished_run, "echo--r1")["solve"]
    assert solve["outcome"] == "finished"  # type: ignore[index]
    assert solve["usage"]["input_tokens"] > 100  # type: ignore[index]
    cell = finished_run / "cells" / "errands--tiny-qwen3--echo--r1"
    trace = json.loads((cell / "stages/solve/attempt-001/trace.json").read_text("utf-8"))
    kinds = [event["kind"] for event in trace["events"]]
    assert kinds[:5] == ["message"] * 5
    assert set(kinds[5:]) == {"tool-call", "tool-result"}


def test_after_uninstalling_it_its_records_still_open(
    environment: Environment, project: Path, finished_run: Path
) -> None:
    board = environment.ptb("leaderboard", finished_run, "--json")
    environment.run("pip", "uninstall", "-q", "-y", "ptb-scaffold-echo")
    rows = json.loads(environment.ptb("list", "--json"))
    assert "echo" not in {row["name"] for row in rows}
    status = environment.ptb("status", finished_run)
    assert "3 of 3 cells done" in status
    assert environment.ptb("leaderboard", finished_run, "--json") == board
    program = "import sys, pathlib\nfrom ptb_core.record_store import read_record\n"
    program += "print(read_record(pathlib.Path(sys.argv[1])).cell.agent.scaffold)"
    path = finished_run / "cells" / "errands--tiny-qwen3--echo--r1" / "record.json"
    assert environment.run("python", "-c", program, path).stdout == "echo\n"


def test_after_uninstalling_it_a_run_names_the_distribution_that_is_missing(
    environment: Environment, project: Path, finished_run: Path
) -> None:
    words = environment.ptb(
        "run", "--plan", "plan.json", "--run-dir", finished_run, cwd=project, status=2
    )
    assert words == (
        f"ptb: {finished_run} was begun with plugins that are not installed now; nothing was "
        "started:\n"
        "  scaffold echo of ptb-scaffold-echo 0.1.0: pip install 'ptb-scaffold-echo==0.1.0'\n"
        "Its records can be read without them: `ptb status` and `ptb leaderboard`\n"
    )
