from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptb_core.api import (
    Completion,
    DataDir,
    DataError,
    Sample,
    TaskSpec,
    data_dir,
    load_manifest,
)
from ptb_core.fetch.prompts import text_of
from ptb_plugins.tasks.errands.task import INSTRUCTION, Errands
from tests.tasks.conftest import task_spec, write_rows

SAMPLE = Sample(id="a", input={"question": "Who?"}, target="Ada Lovelace")


def shipped() -> tuple[Errands, DataDir]:
    spec = load_manifest(data_dir() / "registry" / "tasks" / "errands.json", TaskSpec)
    files = {file.name: data_dir() / str(file.source.packaged) for file in spec.data}
    return Errands(spec), DataDir(files=files)


def values(errands: Errands, text: str) -> tuple[float, float]:
    completion = Completion(text=text)
    return (
        errands.score(SAMPLE, (completion,), "published").value,
        errands.score(SAMPLE, (completion,), "repaired").value,
    )


def test_the_request_is_the_question_and_the_instruction(errands: Errands) -> None:
    (request,) = errands.requests(SAMPLE, "seeded")
    assert request.messages == ({"role": "user", "content": f"Who?\n{INSTRUCTION}"},)


def test_the_shipped_training_programs_use_the_same_words() -> None:
    program = data_dir() / "embedded" / "programs" / "finetune.py"
    assert text_of(program, "USER_MESSAGE") == "{question}\n" + INSTRUCTION


@pytest.mark.parametrize(
    ("text", "published", "repaired"),
    [
        ("ANSWER: Ada Lovelace", 1.0, 1.0),
        ("So it is.\n  answer:  ada lovelace \n", 1.0, 1.0),
        ("ANSWER: AdaLovelace\nANSWER: Ada Lovelace\n", 1.0, 1.0),
        ("ANSWER: Bob\nANSWER: Ada Lovelace", 1.0, 0.0),
        ("ANSWER: Ada Lovelace\nANSWER: Bob", 0.0, 0.0),
        ("<think>ANSWER: Bob</think>ANSWER: Ada Lovelace", 1.0, 1.0),
        ("The ANSWER: Ada Lovelace", 0.0, 0.0),
        ("ANSWER: Ada Lovelace.", 0.0, 0.0),
        ("Ada Lovelace", 0.0, 0.0),
        ("", 0.0, 0.0),
    ],
)
def test_the_last_answer_line_counts_and_repaired_scoring_wants_one_answer(
    errands: Errands, text: str, published: float, repaired: float
) -> None:
    assert values(errands, text) == (published, repaired)


def test_several_answers_are_marked(errands: Errands) -> None:
    completion = Completion(text="ANSWER: 1\nANSWER: 2")
    assert errands.score(SAMPLE, (completion,), "published").marks == ("several-answer-lines",)


@given(st.none() | st.text(st.characters() | st.sampled_from("ANSWER:\n ")))
def test_no_completion_makes_scoring_raise(text: str | None) -> None:
    errands = Errands(task_spec("errands"))
    for scoring in ("published", "repaired"):
        score = errands.score(SAMPLE, (Completion(text=text),), scoring)
        assert score.value in (0.0, 1.0)


def test_the_shipped_rows_are_complete_and_answerable() -> None:
    errands, data = shipped()
    samples = errands.samples(data)
    assert len(samples) == errands.spec.n_samples
    perfect = [
        errands.score(s, (Completion(text=f"ANSWER: {s.target}"),), "repaired") for s in samples
    ]
    assert errands.aggregate(perfect, "repaired").value == 1.0


def test_shipped_test_stories_are_searched_for_and_train_stories_are_allowed() -> None:
    errands, data = shipped()
    items = list(errands.contamination_items(data))
    forbidden = {item.id for item in items if not item.allowed}
    assert forbidden == {sample.id for sample in errands.samples(data)}
    assert any(item.allowed for item in items)
    assert len({item.text for item in items}) == len(items)


def test_a_row_without_its_parts_is_refused(errands: Errands, tmp_path: Path) -> None:
    path = write_rows(tmp_path / "test.jsonl", [{"id": "a", "question": "b"}])
    with pytest.raises(
        DataError, match="row 1 must hold the texts id, question and answer; found the columns id"
    ):
        errands.samples(DataDir(files={"test": path}))


def test_worked_examples_come_from_the_train_split_and_end_as_the_instruction_asks() -> None:
    errands, data = shipped()
    shots = errands.shots(data)
    asked = {sample.input["question"] for sample in errands.samples(data)}
    assert len(shots) == 10
    for shot in shots:
        question, instruction, blank, answer = shot.split("\n")
        assert question not in asked
        assert (instruction, blank) == (INSTRUCTION, "")
        assert answer.startswith("ANSWER: ")
