"""The prompt tells what the published rules tell, with the cell's facts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ptb_core.errors import UsageError
from ptb_core.prompt import prompt_sha256, render_prompt
from ptb_core.specs import Condition, FileSource, ModelSpec, TaskSpec

TASK = TaskSpec(
    name="t", title="The Task", description="", metric="accuracy", n_samples=9, max_tokens=8
)
MODEL = ModelSpec(
    name="m",
    title="The Model",
    description="",
    source=FileSource(packaged="x"),
    family="f",
    chat_template="c",
    turn_end_tokens=("<e>",),
    architectures=("A",),
    parameters=1,
    context_tokens=1,
)
CONDITION = Condition(hours=10, gpus=1, gpu_name="H100")


def prompt(condition: Condition = CONDITION, template: str = "default") -> str:
    return render_prompt(template, TASK, MODEL, condition, "/models/base")


def test_the_prompt_holds_the_facts_of_the_cell() -> None:
    text = prompt()
    assert "Benchmark: The Task" in text
    assert "The Model, in the folder `/models/base`" in text
    assert "10 hours of wall-clock time" in text
    assert "1 GPU (H100)" in text
    assert "the internet is reachable" in text
    assert "python evaluate.py" in text
    assert "$" not in text


def test_short_times_and_missing_hardware_are_said_in_words() -> None:
    text = prompt(replace(CONDITION, hours=0.05, gpus=0, gpu_name=None, network="none"))
    assert "3 minutes of wall-clock time" in text
    assert "no GPU; training and evaluation run on the processor" in text
    assert "there is no network" in text


def test_every_rule_of_the_benchmark_is_told() -> None:
    text = prompt()
    for words in (
        "No test data",
        "Fine-tune only the base model",
        "Leave `evaluate.py`",
        "Work only in this folder",
        "it is for grading only",
        "All processes must have ended",
        "It must load in the environment you start in",
    ):
        assert words in text


def test_training_data_is_named_only_when_it_is_given() -> None:
    assert "lies in `data/`" not in prompt()
    assert "lies in `data/`" in prompt(replace(CONDITION, provide_train_data=True))


def test_a_cell_without_development_evaluation_is_told_so() -> None:
    text = prompt(replace(CONDITION, dev_evaluation="none"))
    assert "there is no evaluation script" in text
    assert "python evaluate.py" not in text


def test_scores_that_are_given_outside_are_announced_with_their_number() -> None:
    outside = "its answers are scored outside, only numbers come back, and every score asked for"
    assert outside not in prompt()
    brokered = replace(CONDITION, dev_evaluation="brokered")
    assert outside in prompt(brokered)
    assert "scores are given" not in prompt(brokered)
    assert "At most 20 scores are given." in prompt(replace(brokered, dev_calls=20))


def test_a_graded_task_is_scored_outside_in_both_modes() -> None:
    graded = replace(TASK, needs=("grader",))
    for mode in ("in-sandbox", "brokered"):
        condition = replace(CONDITION, dev_evaluation=mode)
        text = render_prompt("default", graded, MODEL, condition, "/models/base")
        assert "its answers are scored outside" in text


def test_another_wording_uses_the_same_names(tmp_path: Path) -> None:
    other = tmp_path / "mine.md"
    other.write_text("Improve $model_name on $task_name for $$5.", "utf-8")
    assert prompt(template=str(other)) == "Improve m on t for $5."
    assert prompt_sha256(str(other)) != prompt_sha256("default")


def test_an_unknown_placeholder_is_named_with_the_known_ones(tmp_path: Path) -> None:
    other = tmp_path / "mine.md"
    other.write_text("$modle_name", "utf-8")
    with pytest.raises(UsageError, match=r"placeholder 'modle_name'; known are \$task_title"):
        prompt(template=str(other))


def test_a_missing_template_is_named() -> None:
    with pytest.raises(UsageError, match=r"prompt template /no/such cannot be read"):
        prompt(template="/no/such")
