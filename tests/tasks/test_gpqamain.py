from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptb_core.api import Completion, DataError, Sample
from ptb_plugins.tasks.gpqamain.task import CHOICES, in_order, seeded_order
from tests.tasks.invented import GPQA, GPQA_ROWS, both, gpqa_data, score


@pytest.fixture
def samples(tmp_path: Path) -> list[Sample]:
    return list(GPQA.samples(gpqa_data(tmp_path)))


@pytest.fixture
def sample(samples: list[Sample]) -> Sample:
    """The first question, its right choice under B."""
    return in_order(samples[0], (2, 0, 3, 1))


def test_the_request_shows_lettered_choices_in_their_order(sample: Sample) -> None:
    (request,) = GPQA.requests(sample, "published")
    assert request.messages == (
        {
            "role": "user",
            "content": (
                "End with 'ANSWER: $LETTER', one of A,B,C,D.\n\nWhat is 0 and {choices} one?\n\n"
                "A) wrong {question}\nB) right 0\nC) wrong 3\nD) wrong\nin two lines"
            ),
        },
    )
    assert (request.tools, request.max_tokens) == ((), None)
    assert GPQA.requests(sample, "seeded") == (request,)


def test_the_order_follows_from_the_record_id_by_sha256() -> None:
    digests = [hashlib.sha256(f"gpqamain:rec0:{place}".encode()).hexdigest() for place in range(4)]
    assert [digests[place] for place in seeded_order("rec0")] == sorted(digests)


def test_records_are_shown_in_all_orders_about_equally_often() -> None:
    counts = Counter(seeded_order(f"rec{number}") for number in range(2400))
    assert counts.keys() == set(permutations(range(4)))
    assert all(60 <= count <= 140 for count in counts.values())


def test_samples_are_shown_in_the_order_of_their_record(samples: list[Sample]) -> None:
    assert [sample.id for sample in samples] == ["rec0", "rec1", "rec2"]
    for sample, row in zip(samples, GPQA_ROWS, strict=True):
        order = seeded_order(sample.id)
        assert sample.metadata["order"] == list(order)
        assert sample.input["choices"] == [row[CHOICES[place]] for place in order]
        assert sample.target == "ABCD"[order.index(0)]


@given(st.permutations(range(4)), st.permutations(range(4)))
def test_an_order_replaces_any_other(first: list[int], second: list[int]) -> None:
    sample = Sample(
        id="a",
        input={"choices": ["c0", "c1", "c2", "c3"]},
        target="A",
        metadata={"order": [0, 1, 2, 3]},
    )
    shown = in_order(in_order(sample, first), second)
    assert shown == in_order(sample, second)
    assert shown.input["choices"] == [f"c{place}" for place in second]
    assert shown.input["choices"]["ABCD".index(shown.target)] == "c0"


@pytest.mark.parametrize(
    ("text", "value", "letter"),
    [
        ("ANSWER: B", 1.0, "B"),
        ("ANSWER: A", 0.0, "A"),
        ("ANSWER: b", 0.0, ""),
        ("ANSWER: right 0", 0.0, ""),
        ("ANSWER: D\nANSWER: B", 0.0, "D"),
        ("ANSWER: none yet\nANSWER: B", 0.0, ""),
        ("<think>ANSWER: A</think>\nANSWER: B", 1.0, "B"),
        ("<think>\nANSWER: A\nANSWER: B", 0.0, "A"),
        ("", 0.0, ""),
    ],
)
def test_the_letter_behind_the_label_counts_under_both_scorings(
    sample: Sample, text: str, value: float, letter: str
) -> None:
    assert both(GPQA, sample, text) == (value, value)
    assert score(GPQA, sample, text, "repaired").answer == letter


def test_a_prompt_that_is_too_long_is_answered_by_the_server_only_when_published(
    sample: Sample,
) -> None:
    refused = Completion(text=None, error="ANSWER: B", http_status=400, finish_reason="error")
    assert both(GPQA, sample, refused) == (1.0, 0.0)
    repaired = score(GPQA, sample, refused, "repaired")
    assert (repaired.answer, repaired.marks) == (None, ("prompt-too-long",))


def test_accuracy_and_standard_error_are_over_samples(sample: Sample) -> None:
    scores = [score(GPQA, sample, text, "repaired") for text in ("ANSWER: B", "ANSWER: A")]
    total = GPQA.aggregate(scores, "repaired")
    assert (total.value, total.stderr, total.n) == (0.5, 0.5, 2)


def test_questions_are_what_judges_search_for(tmp_path: Path) -> None:
    items = list(GPQA.contamination_items(gpqa_data(tmp_path)))
    assert [(item.id, item.text, item.allowed) for item in items] == [
        (row["Record ID"], row["Question"], False) for row in GPQA_ROWS
    ]


@pytest.mark.parametrize("column", ["Record ID", "Question", *CHOICES])
def test_a_missing_column_is_named_with_what_is_there(tmp_path: Path, column: str) -> None:
    rows = [{key: text for key, text in GPQA_ROWS[0].items() if key != column}]
    says = f"gpqamain: row 0 has no text '{column}'; its columns are {', '.join(rows[0])}"
    with pytest.raises(DataError, match=says):
        GPQA.samples(gpqa_data(tmp_path, rows))


def test_an_empty_record_id_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="gpqamain: row 1 has an empty 'Record ID'"):
        GPQA.samples(gpqa_data(tmp_path, [GPQA_ROWS[0], {**GPQA_ROWS[1], "Record ID": ""}]))


@pytest.mark.parametrize("place", ["letters", "question", "choices"])
def test_a_wording_without_one_of_its_places_is_refused(tmp_path: Path, place: str) -> None:
    data = gpqa_data(tmp_path)
    text = data.prompt("user").replace(f"{{{place}}}", "")
    with pytest.raises(DataError, match=rf"gpqamain: .* must hold \{{{place}\}} exactly once"):
        GPQA.samples(replace(data, prompts={"user": text}))
