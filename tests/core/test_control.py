"""Whose fault it is that a checkpoint is not evaluated."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from ptb_core.canonical import file_sha256
from ptb_core.errors import CheckpointError, EngineError
from ptb_core.journal import append_event
from ptb_core.run_folder import CellFolder
from ptb_core.sandboxing import SealedFile
from ptb_core.stages.context import StageContext
from ptb_core.stages.control import checkpoints_fault

FAILURE = EngineError("the server is gone")
REFUSAL = CheckpointError("the checkpoint cannot be served: model.safetensors: Stale file handle")


def context(tmp_path: Path, kind: str = "agent", attempt: int = 2) -> StageContext:
    notes: list[str] = []
    folder = CellFolder(tmp_path)

    def note(stage: str, text: str, data: Any = None) -> None:
        append_event(
            folder.journal, "note", 1, stage=stage, attempt=made.attempt, text=text, data=data
        )
        notes.append(f"{stage}: {text}")

    checkpoint = tmp_path / "submission"
    checkpoint.mkdir()
    (checkpoint / "model.safetensors").write_bytes(b"weights")
    digest = file_sha256(checkpoint / "model.safetensors")
    files = (SealedFile(path="model.safetensors", size=7, sha256=digest),)
    made: Any = SimpleNamespace(
        cell=SimpleNamespace(kind=kind),
        folder=folder,
        attempt=attempt,
        notes=notes,
        note=note,
        result=lambda stage, _: {"seal": SimpleNamespace(path=checkpoint, files=files)}[stage],
    )
    return cast(StageContext, made)


def failed(here: StageContext, stage: str, attempt: int) -> None:
    append_event(here.folder.journal, "failed", 1, stage=stage, attempt=attempt, text="x")


def never() -> int:
    raise AssertionError("the base model must not be asked")


def no_gpu() -> int:
    raise EngineError("no GPU")


def test_the_first_failure_blames_nobody(tmp_path: Path) -> None:
    here = context(tmp_path, attempt=1)
    assert checkpoints_fault(here, FAILURE, never) is None


def test_a_try_that_was_only_interrupted_does_not_count(tmp_path: Path) -> None:
    here = context(tmp_path)
    append_event(here.folder.journal, "abandoned", 1, stage="generate", attempt=1, text="x")
    failed(here, "solve", 1)
    assert checkpoints_fault(here, FAILURE, never) is None


def test_the_base_model_has_no_control(tmp_path: Path) -> None:
    here = context(tmp_path, kind="base")
    failed(here, "generate", 1)
    assert checkpoints_fault(here, FAILURE, never) is None


def test_what_the_base_model_answers_and_the_checkpoint_twice_does_not_is_its_fault(
    tmp_path: Path,
) -> None:
    here = context(tmp_path)
    failed(here, "generate", 1)
    assert checkpoints_fault(here, FAILURE, lambda: 8) == (
        "the evaluation failed twice: the server is gone; the base model, served in the same "
        "way, answered 8 of those questions"
    )
    assert cast(Any, here).notes == [
        "generate: failed again (the server is gone); now the base model is asked, as a control"
    ]


def test_a_base_model_that_is_not_served_either_acquits_the_checkpoint(tmp_path: Path) -> None:
    here = context(tmp_path)
    failed(here, "generate", 1)
    with pytest.raises(EngineError) as caught:
        checkpoints_fault(here, FAILURE, no_gpu)
    assert str(caught.value) == (
        "the server is gone; the base model is not served either, so the machine is at fault: "
        "no GPU"
    )


def test_a_checkpoint_that_the_engine_refuses_is_at_fault_while_the_base_model_answers(
    tmp_path: Path,
) -> None:
    here = context(tmp_path, attempt=1)
    answers = iter([8])
    assert checkpoints_fault(here, REFUSAL, lambda: next(answers)) == str(REFUSAL)
    assert not list(answers)
    assert cast(Any, here).notes == [
        f"generate: the checkpoint was refused ({REFUSAL}); now the base model is asked, as a "
        "control"
    ]


def test_a_machine_that_serves_nothing_is_not_laid_at_a_refused_checkpoints_door(
    tmp_path: Path,
) -> None:
    here = context(tmp_path, attempt=1)
    with pytest.raises(EngineError) as caught:
        checkpoints_fault(here, REFUSAL, no_gpu)
    assert str(caught.value) == (
        f"{REFUSAL}; the base model is not served either, so the machine is at fault: no GPU"
    )


def test_a_base_model_that_the_engine_refuses_needs_no_control(tmp_path: Path) -> None:
    here = context(tmp_path, kind="base", attempt=1)
    assert checkpoints_fault(here, REFUSAL, never) == str(REFUSAL)


@pytest.mark.parametrize("failure", [FAILURE, REFUSAL])
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read (No such file or directory)"),
        (b"rotten!", "has changed since the seal: sha256 9a129038d9a0 then, 5e019a9c26fa now"),
    ],
)
def test_files_that_are_not_as_they_were_sealed_are_the_machines_fault(
    tmp_path: Path, content: bytes | None, words: str, failure: EngineError
) -> None:
    here: Any = context(tmp_path)
    failed(here, "generate", 1)
    path = tmp_path / "submission" / "model.safetensors"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(EngineError) as caught:
        checkpoints_fault(here, failure, never)
    assert str(caught.value) == f"{failure}; {path} {words}, so the machine is at fault"
    failed(here, "generate", 2)
    here.attempt = 3
    assert checkpoints_fault(here, FAILURE, never) is None


def test_a_failure_that_a_control_put_down_to_the_machine_does_not_count(tmp_path: Path) -> None:
    here: Any = context(tmp_path, attempt=1)
    with pytest.raises(EngineError, match="the machine is at fault"):
        checkpoints_fault(here, REFUSAL, no_gpu)
    failed(here, "generate", 1)
    here.attempt = 2
    assert checkpoints_fault(here, FAILURE, never) is None
    failed(here, "generate", 2)
    here.attempt = 3
    assert checkpoints_fault(here, FAILURE, lambda: 8) is not None
