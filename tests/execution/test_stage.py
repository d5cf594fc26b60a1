"""Whose programs a cell's scoring runs, and where."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from ptb_core.catalogue import load_catalogue
from ptb_core.execution import stage
from ptb_core.execution.programs import ProgramSandbox
from ptb_core.execution.stage import programs_of
from ptb_core.plan.model import SandboxChoice
from ptb_core.stages.context import Prepared, StageContext


def context_of(task: str, root: Path) -> StageContext:
    """A context with the parts that choosing a runner looks at."""
    prepared = Prepared(
        base_model=root,
        model_revision="",
        data_files={"test": root / "answers.jsonl"},
        prompts={},
        revisions={},
    )
    sandbox = SandboxChoice(name="local", image="image", settings={"isolation": "bwrap"})
    return cast(
        StageContext,
        SimpleNamespace(
            catalogue=load_catalogue(),
            cell=SimpleNamespace(task=task, id="a--cell"),
            run=SimpleNamespace(run_id="run7", plan=SimpleNamespace(sandbox=sandbox)),
            run_folder=SimpleNamespace(path=root / "run"),
            attempt_dir=root / "attempt",
            fence=3,
            attempt=2,
            result=lambda name, kind: prepared,
        ),
    )


def test_a_task_without_programs_has_no_runner(tmp_path: Path) -> None:
    assert programs_of(context_of("gsm8k", tmp_path)) is None


def test_programs_run_in_the_plans_sandbox_which_hides_run_and_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places: list[Any] = []
    monkeypatch.setattr(stage, "SandboxProgramRunner", places.append)
    programs_of(context_of("humaneval", tmp_path))
    (place,) = places
    assert isinstance(place, ProgramSandbox)
    assert place.sandbox.spec.name == "local"
    assert place.name == "run7-a--cell-execute-3-2"
    assert place.root == tmp_path / "attempt" / "programs-3"
    assert (place.image, place.settings) == ("image", {"isolation": "bwrap"})
    assert {tmp_path / "run", tmp_path / "answers.jsonl"} <= set(place.hidden)
