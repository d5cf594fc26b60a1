"""The program, run for real in a folder of its own."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
from ptb_core.api import Trace

from ptb_scaffold_echo.scaffold import PROGRAM
from ptb_scaffold_echo.trace import read_trace

PROMPT = "Train the model.\nYou have one hour.\nGood luck.\n"


@pytest.fixture
def base_model(tmp_path: Path) -> Path:
    folder = tmp_path / "base"
    (folder / "a-folder").mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder


def run(
    tmp_path: Path, base_model: Path, prompt: str = PROMPT, left_s: float = 60, **settings: object
) -> tuple[int, Trace]:
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    chosen = {"submit": "base-model", "lines": 2} | settings
    done = subprocess.run(
        [
            sys.executable,
            str(PROGRAM),
            f"--base-model={base_model}",
            f"--deadline={time.time() + left_s}",
            *(f"--{name}={value}" for name, value in chosen.items()),
        ],
        input=prompt.encode(),
        cwd=workspace,
        capture_output=True,
        check=False,
    )
    return done.returncode, read_trace(done.stdout.splitlines(keepends=True))


def test_it_repeats_the_lines_it_is_told_and_submits_the_base_model(
    tmp_path: Path, base_model: Path
) -> None:
    code, trace = run(tmp_path, base_model)
    assert (code, trace.outcome) == (0, "finished")
    messages = [event.text for event in trace.events if event.kind == "message"]
    assert messages == ["Train the model.", "You have one hour."]
    submission = tmp_path / "workspace" / "final_model"
    assert {path.name for path in submission.iterdir()} == {"config.json", "model.safetensors"}
    assert (submission / "model.safetensors").read_bytes() == b"weights"


def test_it_tells_each_file_that_it_copies(tmp_path: Path, base_model: Path) -> None:
    _, trace = run(tmp_path, base_model, lines=0)
    assert [(event.kind, event.name, event.text) for event in trace.events] == [
        ("tool-call", "copy", "config.json"),
        ("tool-result", "copy", "2 bytes"),
        ("tool-call", "copy", "model.safetensors"),
        ("tool-result", "copy", "7 bytes"),
    ]


def test_it_counts_the_words_it_reads_and_writes(tmp_path: Path, base_model: Path) -> None:
    _, trace = run(tmp_path, base_model)
    assert (trace.usage.input_tokens, trace.usage.output_tokens) == (9, 7)
    assert trace.session_id is not None


def test_it_submits_nothing_when_it_is_told_to(tmp_path: Path, base_model: Path) -> None:
    code, trace = run(tmp_path, base_model, submit="nothing")
    assert (code, trace.outcome) == (0, "finished")
    assert not (tmp_path / "workspace" / "final_model").exists()


def test_a_base_model_that_is_not_there_is_a_crash_with_words(tmp_path: Path) -> None:
    code, trace = run(tmp_path, tmp_path / "nowhere")
    assert (code, trace.outcome) == (1, "crash")
    assert "No such file or directory" in trace.events[-1].text


def test_an_empty_prompt_is_refused(tmp_path: Path, base_model: Path) -> None:
    code, trace = run(tmp_path, base_model, prompt=" \n")
    assert (code, trace.outcome, trace.events[-1].text) == (1, "refusal", "the prompt is empty")


def test_it_begins_nothing_when_its_time_is_over(tmp_path: Path, base_model: Path) -> None:
    code, trace = run(tmp_path, base_model, left_s=0)
    assert (code, trace.outcome) == (1, "stopped-early")
    assert trace.events[-1].text == "the deadline is in 0 s: config.json not copied"
