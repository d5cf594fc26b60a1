from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ptb_core.api import Completion, DataError, Sample
from tests.tasks.invented import AIME, AIME_ROWS, aime_data, both, score


@pytest.fixture
def samples(tmp_path: Path) -> list[Sample]:
    return list(AIME.samples(aime_data(tmp_path)))


def test_the_request_is_the_problem_in_the_template(samples: list[Sample]) -> None:
    (request,) = AIME.requests(samples[0], "published")
    text = "Solve it. Use no \\boxed{} command.\n\nWhat is {prompt} of $1+1$?"
    assert request.messages == ({"role": "user", "content": text},)
    assert (request.tools, request.max_tokens) == ((), None)
    assert AIME.requests(samples[0], "seeded") == (request,)


def test_samples_carry_the_ids_and_answers_of_their_rows(samples: list[Sample]) -> None:
    assert [sample.id for sample in samples] == ["aime2025-0", "aime2025-1", "aime2025-2"]
    assert [sample.target for sample in samples] == ["2", "049", "336^\\circ"]


@pytest.mark.parametrize(
    ("answer", "number", "unit"),
    [(" 70 ", "70", ""), ("007", "7", ""), ("000", "0", ""), ("336^\\circ", "336", "^\\circ")],
)
def test_the_whole_number_of_an_answer_is_what_repaired_scoring_asks_for(
    tmp_path: Path, answer: str, number: str, unit: str
) -> None:
    (sample,) = AIME.samples(aime_data(tmp_path, [{**AIME_ROWS[0], "answer": answer}]))
    assert sample.target == answer
    assert sample.metadata == {"number": number, "unit": unit}


def test_ids_and_answers_may_be_numbers(tmp_path: Path) -> None:
    row = {"id": 7, "problem": "What?", "answer": 70}
    (sample,) = AIME.samples(aime_data(tmp_path, [row]))
    assert (sample.id, sample.target) == ("aime2025-7", "70")


@pytest.mark.parametrize(
    ("number", "text", "published", "repaired"),
    [
        (0, "ANSWER: \\boxed{2}", 1.0, 1.0),
        (0, "ANSWER: $\\boxed{2}$.", 1.0, 1.0),
        (0, "ANSWER: \\boxed{\\boxed{2}}", 0.0, 1.0),
        (0, "\\boxed{1} and \\boxed{2}", 1.0, 1.0),
        (0, "\\boxed{\n2\n}", 1.0, 1.0),
        (0, "<think>3</think>\n2", 1.0, 1.0),
        (0, "<think>3\n2", 1.0, 1.0),
        (0, "ANSWER: 12", 1.0, 0.0),
        (0, "2 or 3", 0.0, 0.0),
        (0, "ANSWER: ２", 1.0, 1.0),
        (1, "ANSWER: 49", 1.0, 1.0),
        (1, "ANSWER: 049", 1.0, 1.0),
        (1, "ANSWER: 490", 0.0, 0.0),
        (2, "ANSWER: 336", 0.0, 1.0),
        (2, "ANSWER: 336^\\circ", 1.0, 1.0),
        (2, "ANSWER: $\\boxed{336^\\circ}$", 1.0, 1.0),
        (2, "ANSWER: 1336", 0.0, 0.0),
    ],
)
def test_a_completion_is_scored_both_ways(
    samples: list[Sample], number: int, text: str, published: float, repaired: float
) -> None:
    assert both(AIME, samples[number], text) == (published, repaired)


def test_what_is_boxed_is_shown_unwrapped(samples: list[Sample]) -> None:
    assert score(AIME, samples[0], "so \\boxed{17}", "repaired").answer == "17"


def test_a_word_that_kills_the_published_scorer_is_marked_there_only(
    samples: list[Sample],
) -> None:
    published, repaired = (
        score(AIME, samples[0], "\\boxed{½½}", kind) for kind in ("published", "repaired")
    )
    assert (published.value, published.marks) == (0.0, ("published-code-raises",))
    assert (repaired.value, repaired.marks) == (0.0, ())


def test_a_prompt_that_is_too_long_is_answered_by_the_server_only_when_published(
    samples: list[Sample],
) -> None:
    refused = Completion(text=None, error="limit is 2", http_status=400, finish_reason="error")
    assert both(AIME, samples[0], refused) == (1.0, 0.0)


def test_accuracy_and_standard_error_are_over_samples(samples: list[Sample]) -> None:
    scores = [score(AIME, sample, "2", "repaired") for sample in samples]
    total = AIME.aggregate(scores, "repaired")
    assert (total.value, total.n) == (pytest.approx(1 / 3), 3)
    assert total.stderr == pytest.approx((1 / 3 * 2 / 3 / 2) ** 0.5)


def test_problems_are_what_judges_search_for(tmp_path: Path) -> None:
    items = list(AIME.contamination_items(aime_data(tmp_path)))
    assert [(item.id, item.text, item.allowed) for item in items] == [
        (f"aime2025-{row['id']}", row["problem"], False) for row in AIME_ROWS
    ]


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"id": "0", "answer": "1"}, "aime2025: row 0 has no text 'problem'; its columns are id"),
        ({"problem": "a", "answer": "1"}, "aime2025: row 0 has no text 'id'; its columns are"),
        ({"id": True, "problem": "a", "answer": "1"}, "aime2025: row 0 has no text 'id'"),
        ({"id": "0", "problem": "a", "answer": 1.5}, "aime2025: row 0 has no text 'answer'"),
        ({"id": "0", "problem": "a", "answer": "x"}, "row 0 has the answer 'x', expected a whole"),
        ({"id": "0", "problem": "a", "answer": "-3"}, "row 0 has the answer '-3', expected"),
        ({"id": "0", "problem": "a", "answer": "1.5"}, "row 0 has the answer '1.5', expected"),
        ({"id": "0", "problem": "a", "answer": "1000"}, "row 0 has the answer '1000', expected"),
        ({"id": "0", "problem": "a", "answer": 1000}, "number from 0 to 999"),
    ],
)
def test_a_row_that_is_no_problem_is_refused(
    tmp_path: Path, row: dict[str, Any], says: str
) -> None:
    with pytest.raises(DataError, match=says):
        AIME.samples(aime_data(tmp_path, [row]))


def test_a_wording_without_a_place_for_the_problem_is_refused(tmp_path: Path) -> None:
    data = replace(aime_data(tmp_path), prompts={"user": "Solve it."})
    with pytest.raises(DataError, match=r"aime2025: .* must hold \{prompt\} exactly once"):
        AIME.samples(data)
