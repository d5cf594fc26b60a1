from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptb_core.api import (
    Completion,
    DataDir,
    DataError,
    GraderResult,
    ProgramResult,
    Sample,
    SampleScore,
    Scoring,
)
from ptb_core.testing.hostile import HOSTILE_TEXTS
from ptb_plugins.tasks.arenahardwriting.task import ArenaHardWriting
from ptb_plugins.tasks.arenahardwriting.verdicts import (
    LABELS,
    POINTS_OF_A,
    candidate_points,
    find_label,
)
from tests.tasks.conftest import OPPONENTS, QUESTIONS, task_spec, write_rows

SCORINGS: tuple[Scoring, ...] = ("published", "repaired")
WORDING = (
    "{question}|{answer_a}|{answer_b}|[[A>>B]] [[A>B]] [[A=B]] [[B>A]] [[B>>A]]|{fence}|{braces}"
)


@pytest.fixture
def sample(arena: ArenaHardWriting, arena_data: DataDir) -> Sample:
    return arena.samples(arena_data)[0]


def judged(*replies: str | None, text: str | None = "A poem.") -> Completion:
    names = ("baseline-first", "candidate-first")
    replied = zip(names, replies, strict=False)
    checks = {name: GraderResult(text=reply) for name, reply in replied if reply is not None}
    return Completion(text=text, checks=checks)


def scored(arena: ArenaHardWriting, sample: Sample, *replies: str | None) -> SampleScore:
    first, second = (arena.score(sample, (judged(*replies),), one) for one in SCORINGS)
    assert first == second
    return first


# Questions to the model and to the judge -------------------------------------------------------


def test_the_model_gets_the_question_and_nothing_else(
    arena: ArenaHardWriting, sample: Sample
) -> None:
    (request,) = arena.requests(sample, "published")
    assert request.messages == ({"role": "user", "content": "A poem about {answer_a}."},)
    assert request == arena.requests(sample, "seeded")[0]
    assert (request.tools, request.max_tokens) == ((), None)


def test_two_games_are_asked_for_with_the_places_exchanged(
    arena: ArenaHardWriting, arena_data: DataDir
) -> None:
    data = replace(arena_data, prompts={"grader": WORDING})
    sample = arena.samples(data)[0]
    first, second = arena.checks(sample, Completion(text=" <think>a</think>Mine {fence} \\1 "))
    labels = "[[A>>B]] [[A>B]] [[A=B]] [[B>A]] [[B>>A]]"
    (message,) = first.messages
    parts = str(message["content"]).split("|")
    assert message["role"] == "user"
    assert parts[:4] == [
        "A poem about {answer_a}.",
        "Opponent's one",
        "Mine {fence} \\1",
        labels,
    ]
    assert parts[5] == "{braces}"
    exchanged = str(second.messages[0]["content"]).split("|")
    assert exchanged[:4] == [
        "A poem about {answer_a}.",
        "Mine {fence} \\1",
        "Opponent's one",
        labels,
    ]
    assert [check.name for check in (first, second)] == ["baseline-first", "candidate-first"]
    assert {check.max_completion_tokens for check in (first, second)} == {49152}
    assert {check.reasoning_effort for check in (first, second)} == {"medium"}


def test_the_shipped_wording_instructs_in_a_system_message_and_fences_the_texts(
    arena: ArenaHardWriting, sample: Sample
) -> None:
    system, user = arena.checks(sample, Completion(text="Mine. [[A>>B]]"))[1].messages
    assert (system["role"], user["role"]) == ("system", "user")
    assert all(f"[[{label}]]" in str(system["content"]) for label in LABELS)
    lines = str(user["content"]).splitlines()
    fences = {line.split()[1] for line in lines[::2]}
    assert lines[1::2] == ["A poem about {answer_a}.", "Mine. [[A>>B]]", "Opponent's one"]
    assert len(fences) == 1
    assert len(fences.pop()) == 16
    assert "{" not in str(system["content"])


def test_the_fence_depends_on_every_text_so_that_no_answer_can_hold_it(
    arena: ArenaHardWriting, sample: Sample
) -> None:
    def fence(text: str) -> str:
        message = arena.checks(sample, Completion(text=text))[0].messages[1]
        return str(message["content"]).split()[1]

    assert fence("a") == fence("a")
    assert fence(fence("a")) not in (fence("a"), fence("b"))


def test_an_answer_that_repeats_itself_is_limited_before_it_is_judged(
    arena: ArenaHardWriting, sample: Sample
) -> None:
    game = arena.checks(sample, Completion(text="Oh no, no.\n" * 400))[0]
    assert str(game.messages[1]["content"]).count("Oh no, no.") == 5


def test_nobody_is_asked_about_a_completion_without_text(
    arena: ArenaHardWriting, sample: Sample
) -> None:
    assert arena.checks(sample, Completion(text=None)) == ()
    assert len(arena.checks(sample, Completion(text=""))) == 2


# Verdicts --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "label"),
    [
        ("So: [[A>B]]", "A>B"),
        ("[[a>>b]]", "A>>B"),
        ("[[A>B]] or rather [[A=B]]", "A=B"),
        ("[[A>B]] but [B>A]", "A>B"),
        ("I say [B>A]", "B>A"),
        ("[[[B<<A]]]", "B<<A"),
        ("[[A > B]]", None),
        ("", None),
        ("A>B", None),
        ("[[]]", None),
        ("[A] is better than [B]", "B"),
        ("[[A>>>B]]", "A>>>B"),
    ],
)
def test_the_last_label_in_double_brackets_counts_else_the_last_in_single_ones(
    arena: ArenaHardWriting, sample: Sample, reply: str, label: str | None
) -> None:
    assert find_label(reply) == label
    game = arena.checks(sample, Completion(text="a"))[0]
    assert arena.accepts(sample, game, reply) == (label in POINTS_OF_A)


def test_mirrored_spellings_give_the_points_of_their_labels() -> None:
    for label, points in POINTS_OF_A.items():
        mirrored = label[::-1].translate(str.maketrans("<>", "><"))
        assert POINTS_OF_A[mirrored] == points
        assert candidate_points(label, True) == points
        assert candidate_points(label, False) == tuple(1 - point for point in points)
    assert candidate_points("A", True) is None
    assert candidate_points("A", False) is None


@pytest.mark.parametrize(
    ("replies", "value", "points"),
    [
        (("[[A>B]]", "[[B>A]]"), 0.0, [[0.0], [0.0]]),
        (("[[B>>A]]", "[[A>>B]]"), 1.0, [[1.0] * 3, [1.0] * 3]),
        (("[[A>>B]]", "[[A>B]]"), 0.25, [[0.0] * 3, [1.0]]),
        (("[[A=B]]", "[[A<B]]"), 0.25, [[0.5], [0.0]]),
        (("[[B=A]]", "[[B<<A]]"), 0.875, [[0.5], [1.0] * 3]),
    ],
)
def test_a_question_scores_the_mean_of_its_points(
    arena: ArenaHardWriting,
    sample: Sample,
    replies: tuple[str, str],
    value: float,
    points: list[list[float]],
) -> None:
    score = scored(arena, sample, *replies)
    assert (score.value, score.metrics["points"], score.marks) == (value, points, ())


def test_the_labels_are_told_to_readers(arena: ArenaHardWriting, sample: Sample) -> None:
    assert scored(arena, sample, "[[A>B]]", "[[b>>a]]").answer == (
        "baseline-first: A>B, candidate-first: B>>A"
    )


@pytest.mark.parametrize("replies", [(), ("[[A>B]]",), (None, "[[A>B]]"), ("none", "[[A>B]]")])
def test_a_question_without_both_verdicts_has_no_score(
    arena: ArenaHardWriting, sample: Sample, replies: tuple[str | None, ...]
) -> None:
    score = scored(arena, sample, *replies)
    assert (score.value, score.marks, score.metrics) == (0.0, ("unchecked",), {"points": []})


def test_a_label_outside_the_table_is_no_verdict_and_kills_the_published_code(
    arena: ArenaHardWriting, sample: Sample
) -> None:
    completion = judged("[[A>B]]", "[A]")
    published, repaired = (arena.score(sample, (completion,), one) for one in SCORINGS)
    assert published.marks == ("published-code-raises", "unchecked")
    assert repaired.marks == ("unchecked",)


def test_a_result_of_another_kind_is_no_verdict(arena: ArenaHardWriting, sample: Sample) -> None:
    result = ProgramResult(exit_code=0, reason="exit", output_tail="[[A>B]]")
    completion = Completion(
        text="a", checks={"baseline-first": result, "candidate-first": GraderResult(text="[[A=B]]")}
    )
    assert arena.score(sample, (completion,), "repaired").marks == ("unchecked",)


def test_without_text_both_games_are_clearly_lost(arena: ArenaHardWriting, sample: Sample) -> None:
    refused = Completion(text=None, error="too long", http_status=400, finish_reason="error")
    published, repaired = (arena.score(sample, (refused,), one) for one in SCORINGS)
    assert published.value == repaired.value == 0.0
    assert published.metrics == repaired.metrics == {"points": [[0.0] * 3, [0.0] * 3]}
    assert published.marks == ("prompt-too-long", "published-code-raises")
    assert repaired.marks == ("prompt-too-long",)


# Aggregation -----------------------------------------------------------------------------------


def test_the_win_rate_counts_clear_verdicts_three_times(
    arena: ArenaHardWriting, sample: Sample
) -> None:
    scores = [
        scored(arena, sample, "[[B>>A]]", "[[A>>B]]"),
        scored(arena, sample, "[[A>B]]", "[[B>A]]"),
        scored(arena, sample, "[[A=B]]", "[[B>A]]"),
    ]
    for scoring in SCORINGS:
        result = arena.aggregate(scores, scoring)
        points = [1.0] * 6 + [0.0, 0.0] + [0.5, 0.0]
        mean = sum(points) / 10
        deviation = math.sqrt(sum((point - mean) ** 2 for point in points) / 9)
        assert result.value == pytest.approx(0.65)
        assert result.stderr == pytest.approx(deviation / math.sqrt(10))
        assert result.n == 3
        assert result.breakdowns == pytest.approx(
            {
                "question-mean": (1 + 0 + 0.25) / 3,
                "question-stderr": math.sqrt(0.2708333333333333 / 3),
                "baseline-first": 3.5 / 5,
                "candidate-first": 3 / 5,
            }
        )


def test_one_question_has_no_spread_between_questions(
    arena: ArenaHardWriting, sample: Sample
) -> None:
    result = arena.aggregate([scored(arena, sample, "[[A=B]]", "[[A>B]]")], "published")
    assert result.breakdowns["question-stderr"] == 0.0
    assert (result.value, result.stderr) == (0.75, 0.25)


def test_questions_without_verdict_are_counted_but_have_no_points(
    arena: ArenaHardWriting, sample: Sample
) -> None:
    scores = [scored(arena, sample, "[[B>A]]", "[[A>B]]"), scored(arena, sample)]
    result = arena.aggregate(scores, "published")
    assert (result.value, result.n, result.marks) == (1.0, 2, {"unchecked": 1})
    assert result.breakdowns["question-mean"] == 1.0
    nothing = arena.aggregate(scores[1:], "repaired")
    assert (nothing.value, nothing.stderr, nothing.n) == (0.0, None, 1)
    assert nothing.marks == {"unchecked": 1}


# Data ------------------------------------------------------------------------------------------


def test_samples_are_in_file_order_with_the_opponents_answer_as_target(
    arena: ArenaHardWriting, arena_data: DataDir
) -> None:
    samples = arena.samples(arena_data)
    assert [sample.id for sample in samples] == ["one", "two", "three"]
    assert [sample.target for sample in samples] == [
        "Opponent's one",
        "Opponent's two",
        "Opponent's three",
    ]


def test_questions_are_shuffled_under_a_limit_only(
    arena: ArenaHardWriting, arena_data: DataDir
) -> None:
    samples = arena.samples(arena_data)
    assert arena.order(samples, None) == samples
    assert [sample.id for sample in arena.order(samples, 3)] == ["two", "one", "three"]
    assert [sample.id for sample in arena.order(samples, 1)] == ["two"]


def test_questions_and_the_opponents_answers_are_searched_for(
    arena: ArenaHardWriting, arena_data: DataDir
) -> None:
    items = [(item.id, item.text) for item in arena.contamination_items(arena_data)]
    assert ("two", "A sonnet.") in items
    assert ("two", "Opponent's two") in items
    assert len(items) == 6
    assert not any(item.allowed for item in arena.contamination_items(arena_data))


def test_an_opponent_that_wrote_nothing_is_not_searched_for(
    arena: ArenaHardWriting, arena_data: DataDir, tmp_path: Path
) -> None:
    silent = {"uid": "one", "messages": [{"role": "assistant", "content": {"answer": " \n"}}]}
    write_rows(tmp_path / "baseline.jsonl", [silent, *OPPONENTS[:1]])
    items = [(item.id, item.text) for item in arena.contamination_items(arena_data)]
    assert items == [
        ("one", "A poem about {answer_a}."),
        ("two", "A sonnet."),
        ("three", "A limerick."),
        ("three", "Opponent's three"),
    ]


def test_a_question_without_opponent_is_refused(
    arena: ArenaHardWriting, arena_data: DataDir, tmp_path: Path
) -> None:
    write_rows(tmp_path / "baseline.jsonl", OPPONENTS[1:])
    with pytest.raises(DataError) as caught:
        arena.samples(arena_data)
    assert str(caught.value) == (
        f"arenahardwriting: {arena_data.file('baseline')} has no answer to question 'three' of "
        f"{arena_data.file('test')}"
    )


@pytest.mark.parametrize(
    "row",
    [
        {"uid": "four"},
        {"uid": "four", "prompt": " "},
        {"uid": "one", "prompt": "Twice."},
        {"uid": 4, "prompt": "A number. " * 9},
    ],
)
def test_a_question_without_its_parts_is_refused(
    arena: ArenaHardWriting, arena_data: DataDir, tmp_path: Path, row: dict[str, Any]
) -> None:
    path = write_rows(tmp_path / "test.jsonl", [*QUESTIONS, row])
    found = f"uid {str(row['uid'])!r}, prompt {str(row.get('prompt'))[:40]!r}"
    with pytest.raises(DataError) as caught:
        arena.samples(arena_data)
    assert str(caught.value) == (
        f"arenahardwriting: {path}, row 4 must hold a uid of its own and a prompt; found {found}"
    )


@pytest.mark.parametrize(
    "messages", [[], "text", [{"role": "assistant", "content": "plain"}], [{"content": {}}], None]
)
def test_an_opponents_row_without_answer_is_refused(
    arena: ArenaHardWriting, arena_data: DataDir, tmp_path: Path, messages: object
) -> None:
    row = {"uid": "one", "messages": messages}
    path = write_rows(tmp_path / "baseline.jsonl", [row])
    with pytest.raises(DataError) as caught:
        arena.samples(arena_data)
    assert str(caught.value) == (
        f"arenahardwriting: {path}, row 1 must hold a uid and messages of which the last has "
        f"content.answer; found uid 'one', messages {str(messages)[:40]!r}"
    )


# The judge prompt ------------------------------------------------------------------------------

HEADINGS = (
    "it must begin with the line [system] and have a later line [user] with text below, or have "
    "neither line"
)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("{question}", "", "it holds {question} 0 times, expected exactly once"),
        (
            "{answer_b}",
            "{answer_b} {answer_b}",
            "it holds {answer_b} 2 times, expected exactly once",
        ),
        ("[[A=B]] [[B>A]]", "[[A==B]]", "it must offer every verdict, and lacks [[A=B]], [[B>A]]"),
        ("{answer_a}", "\n[user]\n{answer_a}", HEADINGS),
        ("{question}", "[user]\n{question}\n[system]\n", HEADINGS),
        ("{braces}", "\n[system]", HEADINGS),
    ],
)
def test_a_wording_that_cannot_work_is_refused(
    arena: ArenaHardWriting, arena_data: DataDir, old: str, new: str, problem: str
) -> None:
    wording = WORDING.replace(old, new)
    assert arena.wording_faults(f"\n{wording}\n") == (problem,)
    data = replace(arena_data, prompts={"grader": wording})
    with pytest.raises(DataError) as caught:
        arena.samples(data)
    expected = f"arenahardwriting: the judge prompt that the plan names cannot be used: {problem}"
    assert str(caught.value) == expected


def test_blank_lines_around_a_wording_and_its_sections_say_nothing(
    arena: ArenaHardWriting, arena_data: DataDir, tmp_path: Path
) -> None:
    path = tmp_path / "judge.txt"
    path.write_text(f"\n[system]\n\nJudge.\n\n[user]\n\n{WORDING}\n\n")
    files = {**arena_data.files, "judge-prompt": path}
    (sample, *_) = arena.samples(replace(arena_data, files=files))
    assert sample.metadata["judge_prompt"] == {"system": "Judge.", "user": WORDING}
    prompts = {"grader": f"\n{WORDING}\n"}
    (sample, *_) = arena.samples(replace(arena_data, prompts=prompts))
    assert sample.metadata["judge_prompt"] == {"user": WORDING}


def test_a_shipped_wording_that_is_damaged_is_named(
    arena: ArenaHardWriting, arena_data: DataDir, tmp_path: Path
) -> None:
    path = tmp_path / "judge.txt"
    data = replace(arena_data, files={**arena_data.files, "judge-prompt": path})
    with pytest.raises(
        DataError, match=r"^arenahardwriting: the judge prompt .*judge\.txt cannot be read \("
    ):
        arena.samples(data)
    path.write_bytes(b"\xff")
    with pytest.raises(
        DataError, match=r"judge\.txt cannot be read \(.*\); install posttrainbench again$"
    ):
        arena.samples(data)
    path.write_text("[system]\n[user]\n{question}{answer_a}{answer_b}")
    words = r"the judge prompt /.*judge\.txt cannot be used: it must offer every verdict"
    with pytest.raises(DataError, match=words):
        arena.samples(data)


# Hostile input ---------------------------------------------------------------------------------

HOSTILE_REPLIES: Mapping[str, str] = {
    "no verdict": "Both are fine.",
    "two verdicts": "[[A>B]] [[B>A]]",
    "huge": "[[" * 100_000 + "A>B" + "]]" * 100_000,
    "unclosed": "[[A>B" * 50_000,
    "every label sign": "[[" + "AB<>=" * 40_000 + "]]",
    "deep JSON": "[" * 100_000,
    "letters that grow in upper case": "ẚßŉ" * 50_000 + "[[ẚ>B]]",
    **{name: text for name, text in HOSTILE_TEXTS.items() if text is not None},
}


@pytest.mark.parametrize("name", HOSTILE_REPLIES)
def test_hostile_replies_give_a_verdict_or_none(
    arena: ArenaHardWriting, sample: Sample, name: str
) -> None:
    reply = HOSTILE_REPLIES[name]
    score = scored_either_way(arena, sample, reply)
    game = arena.checks(sample, Completion(text="a"))[0]
    assert arena.accepts(sample, game, reply) == ("unchecked" not in score.marks)


def scored_either_way(arena: ArenaHardWriting, sample: Sample, reply: str) -> SampleScore:
    published, repaired = (arena.score(sample, (judged(reply, reply),), one) for one in SCORINGS)
    assert published.value == repaired.value
    assert 0 <= published.value <= 1
    return repaired


@given(
    st.text() | st.text(st.sampled_from("[]AB<>=ab \n")),
    st.text() | st.text(st.sampled_from("[]AB<>=ab \n")),
    st.none() | st.text(),
)
def test_no_reply_and_no_completion_makes_scoring_raise(
    first: str, second: str, text: str | None
) -> None:
    arena = ArenaHardWriting(task_spec("arenahardwriting"))
    wording = {"system": "{fence}", "user": WORDING}
    sample = Sample(id="a", input={"question": "q"}, target="o", metadata={"judge_prompt": wording})
    completion = judged(first, second, text=text)
    for check in arena.checks(sample, completion):
        arena.accepts(sample, check, first)
    for scoring in SCORINGS:
        score = arena.score(sample, (completion,), scoring)
        result = arena.aggregate([score], scoring)
        assert 0 <= score.value <= 1
        assert 0 <= result.value <= 1
