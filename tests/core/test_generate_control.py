"""A submission that brings its server down, next to a base model that does not.

Sessions, sockets, processes and the stage are real; the server is the stand-in for vLLM.
"""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pytest

from ptb_core.catalogue import load_catalogue
from ptb_core.data import data_dir
from ptb_core.errors import EngineError
from ptb_core.evaluation import serving
from ptb_core.evaluation.client_limits import ClientLimits
from ptb_core.evaluation.completion_log import read_completions
from ptb_core.journal import append_event
from ptb_core.run_folder import RunFolder
from ptb_core.stages import generate as generate_stage
from ptb_core.stages.context import Generated, Prepared, Sealed, StageContext, write_marker

from ..vllm_stand_in import make_checkpoint, make_environment
from .small_run import BASE, MINE, small_run

ENDED = "; the server had ended with status 1: RuntimeError: device-side assert triggered$"
pytestmark = pytest.mark.slow

PROTOCOL = {"base": "strict", "limit": 12}


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the client's limits down to what a test can wait for."""
    made = serving.generate_options
    limits = ClientLimits(tries=2, backoff_s=0.0, reply_bytes=2**20, stall_s=2.0)
    monkeypatch.setattr(
        serving, "generate_options", lambda *a, **k: replace(made(*a, **k), limits=limits)
    )


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    settings = {"python": str(make_environment(tmp_path / "environment")), "max_num_seqs": 1}
    return small_run(tmp_path, engine={"name": "vllm", "settings": settings}, protocol=PROTOCOL)


def attempt(run: RunFolder, cell_id: str, number: int, base: Path, own: Path) -> StageContext:
    """Begin an attempt at generate, with what the stages before it leave."""
    opened, folder = run.open(), run.cell(cell_id)
    attempt_dir = folder.attempt("generate", number)
    attempt_dir.mkdir(parents=True)
    here = StageContext(
        run=opened,
        run_folder=run,
        folder=folder,
        cell=opened.cell(cell_id),
        catalogue=load_catalogue(),
        fence=1,
        attempt=number,
        attempt_dir=attempt_dir,
        check_claim=lambda: None,
        stopping=threading.Event(),
    )
    for stage in ("prepare", "seal"):
        folder.attempt(stage, number).mkdir(parents=True)
    task = load_catalogue().task("errands")
    data_files = {one.name: data_dir() / str(one.source.packaged) for one in task.spec.data}
    write_marker(
        here,
        "prepare",
        Prepared(
            base_model=base,
            model_revision="r",
            data_files=data_files,
            prompts={},
            revisions={},
        ),
    )
    write_marker(
        here,
        "seal",
        Sealed(state="sealed", reason="", path=own, files=(), notes=(), evidence=own, omitted={}),
    )
    return here


def generate(here: StageContext) -> Generated:
    """Try as the supervisor does, which writes down what fails."""
    try:
        return generate_stage.generate(here)
    except EngineError as error:
        append_event(
            here.folder.journal,
            "failed",
            1,
            stage="generate",
            attempt=here.attempt,
            text=str(error),
        )
        raise


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("crash", "the vLLM server ended with status 1: ValueError: weights were not initialized"),
        ("die", "the connection broke"),
        ("stop-answering", "the server hangs: it has answered nothing for 2 s"),
        ("flood", "the server's answer is larger than 1048576 bytes"),
    ],
)
def test_what_fails_twice_while_the_base_model_answers_is_a_failed_evaluation(
    run: RunFolder, tmp_path: Path, fault: str, words: str
) -> None:
    base, own = make_checkpoint(tmp_path / "base"), make_checkpoint(tmp_path / "own", fault)
    with pytest.raises(EngineError) as first:
        generate(attempt(run, MINE, 1, base, own))
    assert words in str(first.value)
    result = generate(attempt(run, MINE, 2, base, own))
    assert result.state == "unloadable"
    assert words in result.reason
    assert "the base model, served in the same way, answered " in result.reason
    assert result.facts is not None


def test_a_refused_checkpoint_has_failed_at_once_when_the_base_model_answers(
    run: RunFolder, tmp_path: Path
) -> None:
    base, own = make_checkpoint(tmp_path / "base"), make_checkpoint(tmp_path / "own")
    (own / "config.json").write_text("[]", "utf-8")
    here = attempt(run, MINE, 1, base, own)
    result = generate(here)
    assert result.state == "unloadable"
    assert result.reason == (
        f"the checkpoint cannot be served: {own}/config.json holds a list, expected a JSON object"
    )
    assert result.facts is not None
    assert len(read_completions(here.attempt_dir / "control-1.jsonl")) == 8


@pytest.mark.parametrize("fault", ["no-memory", "refused"])
def test_a_checkpoint_refused_by_a_machine_that_serves_nothing_may_be_tried_again(
    run: RunFolder, tmp_path: Path, fault: str
) -> None:
    base, own = make_checkpoint(tmp_path / "base", fault), make_checkpoint(tmp_path / "own")
    sound = own.joinpath("config.json").read_text("utf-8")
    (own / "config.json").write_text("[]", "utf-8")
    if fault == "refused":
        (base / "config.json").write_text("[]", "utf-8")
    with pytest.raises(EngineError) as caught:
        generate(attempt(run, MINE, 1, base, own))
    assert str(caught.value).startswith(
        f"the checkpoint cannot be served: {own}/config.json holds a list"
    )
    assert "is not served either, so the machine is at fault" in str(caught.value)
    for folder in (base, own):
        (folder / "config.json").write_text(sound, "utf-8")
        (folder / "fault.txt").write_text("", "utf-8")
    assert generate(attempt(run, MINE, 2, base, own)).state == "done"


def test_the_base_model_is_asked_what_the_failed_round_lacks_and_no_other_round(
    tmp_path: Path,
) -> None:
    """Three answers per try: the first round's five are there when the second try fails."""
    settings = {"python": str(make_environment(tmp_path / "environment")), "max_num_seqs": 1}
    protocol = {
        "base": "strict", "limit": 5, "seeds": [5, 9], "sampling": {"temperature": 1},
    }  # fmt: skip
    engine = {"name": "vllm", "settings": settings}
    run = small_run(tmp_path, engine=engine, protocol=protocol)
    base, own = make_checkpoint(tmp_path / "base"), make_checkpoint(tmp_path / "own", "die")
    with pytest.raises(EngineError):
        generate(attempt(run, MINE, 1, base, own))
    here = attempt(run, MINE, 2, base, own)
    result = generate(here)
    assert result.reason.endswith("answered 4 of those questions")
    log = here.folder.stage("generate") / "completions.jsonl"
    first, second = set(read_completions(log, 1)), set(read_completions(log, 2))
    assert set(read_completions(here.attempt_dir / "control-1.jsonl")) == first - second
    assert (len(first), len(second)) == (5, 1)


def test_how_a_dead_server_ended_is_told(run: RunFolder, tmp_path: Path) -> None:
    base, own = make_checkpoint(tmp_path / "base"), make_checkpoint(tmp_path / "own", "die")
    with pytest.raises(EngineError, match=ENDED):
        generate(attempt(run, MINE, 1, base, own))


def test_what_the_base_model_cannot_do_either_is_the_machines_fault(
    run: RunFolder, tmp_path: Path
) -> None:
    base, own = (make_checkpoint(tmp_path / name, "no-memory") for name in ("base", "own"))
    for number in (1, 2):
        with pytest.raises(EngineError) as caught:
            generate(attempt(run, MINE, number, base, own))
    assert "is not served either, so the machine is at fault" in str(caught.value)
    assert "Free memory on the device, or lower the engine's settings" in str(caught.value)


def test_the_base_models_own_failure_is_never_the_checkpoints(
    run: RunFolder, tmp_path: Path
) -> None:
    base = make_checkpoint(tmp_path / "base", "crash")
    for number in (1, 2):
        with pytest.raises(EngineError) as caught:
            generate(attempt(run, BASE, number, base, base))
    assert "base model" not in str(caught.value)


def test_what_was_answered_before_the_fault_is_not_asked_again(
    run: RunFolder, tmp_path: Path
) -> None:
    base, own = make_checkpoint(tmp_path / "base"), make_checkpoint(tmp_path / "own", "die")
    with pytest.raises(EngineError):
        generate(attempt(run, MINE, 1, base, own))
    (own / "fault.txt").write_text("", "utf-8")
    result = generate(attempt(run, MINE, 2, base, own))
    assert result.state == "done"
    assert result.details["generation"]["resumed"] == 3
    assert result.details["server"] == {
        "python": result.details["server"]["python"],
        "vllm": "0.32.0",
        "device": "cuda",
        "dtype": "bfloat16",
    }
