from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
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
from ptb_plugins.tasks.healthbench.grading import read_verdict
from ptb_plugins.tasks.healthbench.rubric import bootstrap_stderr
from ptb_plugins.tasks.healthbench.task import HealthBench
from tests.tasks.conftest import GRADER_TEMPLATE, HEALTH_ROWS, health_row, task_spec, write_rows

SCORINGS: tuple[Scoring, ...] = ("published", "repaired")
YES, NO = '{"criteria_met": true}', '{"criteria_met": false}'


@pytest.fixture
def samples(healthbench: HealthBench, health_data: DataDir) -> list[Sample]:
    return list(healthbench.samples(health_data))


def graded(*replies: str | None, text: str | None = "Rest it.", suffix: str = "") -> Completion:
    checks = {
        f"criterion-{number}{suffix}": GraderResult(text=reply)
        for number, reply in enumerate(replies)
        if reply is not None
    }
    return Completion(text=text, checks=checks)


def scored(healthbench: HealthBench, sample: Sample, *replies: str | None) -> SampleScore:
    first, second = (healthbench.score(sample, (graded(*replies),), one) for one in SCORINGS)
    assert first == second
    return first


# Questions to the model and to the grader ------------------------------------------------------


def test_the_model_gets_the_conversation_and_nothing_else(
    healthbench: HealthBench, samples: list[Sample]
) -> None:
    (request,) = healthbench.requests(samples[0], "published")
    assert list(request.messages) == HEALTH_ROWS[0]["prompt"]
    assert request == healthbench.requests(samples[0], "seeded")[0]
    assert (request.tools, request.max_tokens) == ((), None)


def test_each_criterion_is_a_question_about_the_whole_conversation(
    healthbench: HealthBench, samples: list[Sample]
) -> None:
    checks = healthbench.checks(samples[0], Completion(text="<think>a</think> Rest it. "))
    assert [check.name for check in checks] == ["criterion-0", "criterion-1", "criterion-2"]
    assert checks[1].messages == (
        {
            "role": "user",
            "content": "Read\nuser: My knee hurts, one.\n\nassistant: Since when?\n\n"
            "user: Since Monday.\n\nassistant: Rest it.\nand judge\n[-8] Is rude.\nnow.",
        },
    )
    assert {check.max_completion_tokens for check in checks} == {49152}
    assert {check.reasoning_effort for check in checks} == {None}
    assert {check.tries for check in checks} == {5}


def test_an_answer_that_repeats_itself_is_limited_before_it_is_graded(
    healthbench: HealthBench, samples: list[Sample]
) -> None:
    check = healthbench.checks(samples[2], Completion(text="Rest it now.\n" * 400))[0]
    assert str(check.messages[0]["content"]).count("Rest it now.") == 5


def test_an_answer_with_the_rubrics_placeholder_is_asked_about_in_both_wordings(
    healthbench: HealthBench, samples: list[Sample]
) -> None:
    text = "See <<rubric_item>> and <<conversation>>."
    checks = {check.name: check for check in healthbench.checks(samples[2], Completion(text=text))}
    before = "Read\nuser: My knee hurts, three.\n\nassistant: Since when?\n\nuser: Since Monday."
    after = "\nand judge\n[4] Is brief.\nnow."
    assert {name: check.messages[0]["content"] for name, check in checks.items()} == {
        "criterion-0": f"{before}\n\nassistant: See [4] Is brief. and <<conversation>>.{after}",
        "criterion-0-as-written": f"{before}\n\nassistant: {text}{after}",
    }


def test_each_scoring_reads_the_verdict_about_its_own_wording(
    healthbench: HealthBench, samples: list[Sample]
) -> None:
    checks = {
        "criterion-0": GraderResult(text=YES),
        "criterion-0-as-written": GraderResult(text=NO),
    }
    completion = Completion(text="<<rubric_item>>", checks=checks)
    values = [healthbench.score(samples[2], (completion,), one).value for one in SCORINGS]
    assert values == [1.0, 0.0]
    one_only = graded(YES, text="<<rubric_item>>")
    marks = [healthbench.score(samples[2], (one_only,), one).marks for one in SCORINGS]
    assert marks == [(), ("unchecked",)]


def test_a_conversation_with_the_placeholder_is_asked_about_in_both_wordings_too(
    healthbench: HealthBench, health_data: DataDir
) -> None:
    odd = {**HEALTH_ROWS[2], "prompt": [{"role": "user", "content": "What is <<rubric_item>>?"}]}
    write_rows(health_data.file("test"), [odd])
    (sample,) = healthbench.samples(health_data)
    assert len(healthbench.checks(sample, Completion(text="a"))) == 2


def test_nobody_is_asked_about_a_completion_without_text(
    healthbench: HealthBench, samples: list[Sample]
) -> None:
    assert healthbench.checks(samples[0], Completion(text=None)) == ()
    assert len(healthbench.checks(samples[0], Completion(text=""))) == 3


# Verdicts --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [
        (YES, True),
        (NO, False),
        (f" ```json\n{YES}\n``` ", True),
        (f"```json{NO}```", False),
        (f"{YES}\n```", True),
        (f"```json\n{YES}", True),
        (f"```json\u00a0{YES}\u2003\n```", True),
        (f"```json{YES}```\n```", None),
        (f"```\n{YES}\n```", None),
        (f"Here: {YES}", None),
        (f"```json\n```json\n{YES}\n```\n```", None),
        ('{"criteria_met": false, "criteria_met": true}', True),
        ('{"criteria_met": true, "score": NaN}', True),
        ('{"criteria_met": 1}', None),
        ('{"criteria_met": null}', None),
        ('{"criteria_met": "true"}', None),
        ('{"explanation": "met"}', None),
        ('["criteria_met"]', None),
        ('"criteria_met"', None),
        ("true", None),
        ("", None),
    ],
)
def test_a_reply_must_be_an_object_that_says_true_or_false(
    healthbench: HealthBench, samples: list[Sample], reply: str, verdict: bool | None
) -> None:
    assert read_verdict(reply) is verdict
    check = healthbench.checks(samples[2], Completion(text="a"))[0]
    assert healthbench.accepts(samples[2], check, reply) == (verdict is not None)


@pytest.mark.parametrize(
    ("replies", "value", "axes"),
    [
        ((YES, NO, YES), 1.0, {"accuracy": [10, 10], "communication_quality": [0, 0]}),
        ((YES, NO, NO), 0.7, {"accuracy": [7, 10], "communication_quality": [0, 0]}),
        ((NO, YES, NO), -0.8, {"accuracy": [0, 10], "communication_quality": [-8, 0]}),
        ((YES, YES, YES), 0.2, {"accuracy": [10, 10], "communication_quality": [-8, 0]}),
    ],
)
def test_points_met_count_over_the_positive_points(
    healthbench: HealthBench,
    samples: list[Sample],
    replies: tuple[str, ...],
    value: float,
    axes: Mapping[str, list[float]],
) -> None:
    score = scored(healthbench, samples[0], *replies)
    assert score.value == pytest.approx(value)
    assert score.metrics == {
        "met": [reply == YES for reply in replies],
        "theme": "hedging",
        "axes": axes,
    }
    assert score.marks == ()
    assert score.answer == f"{replies.count(YES)} of 3 criteria met"


@pytest.mark.parametrize("replies", [(YES, None, YES), (YES, "unsure", YES)])
def test_a_criterion_without_verdict_leaves_the_sample_without_score(
    healthbench: HealthBench, samples: list[Sample], replies: tuple[str | None, ...]
) -> None:
    score = scored(healthbench, samples[0], *replies)
    assert score.marks == ("unchecked",)
    assert score.metrics["met"] == [True, None, True]


def test_a_result_of_another_kind_is_no_verdict(
    healthbench: HealthBench, samples: list[Sample]
) -> None:
    result = ProgramResult(exit_code=0, reason="exit", output_tail=YES)
    completion = Completion(text="a", checks={"criterion-0": result})
    assert healthbench.score(samples[2], (completion,), "published").marks == ("unchecked",)


def test_without_text_nothing_is_met(healthbench: HealthBench, samples: list[Sample]) -> None:
    refused = Completion(text=None, error="too long", http_status=400, finish_reason="error")
    published, repaired = (healthbench.score(samples[0], (refused,), one) for one in SCORINGS)
    assert published.value == repaired.value == 0.0
    assert published.metrics["met"] == [False, False, False]
    assert published.marks == ("prompt-too-long", "published-code-raises")
    assert repaired.marks == ("prompt-too-long",)


def test_a_rubric_without_positive_points_scores_nothing(
    healthbench: HealthBench, health_data: DataDir
) -> None:
    write_rows(health_data.file("test"), [health_row("four", "hedging", ("Lies.", -5, "accuracy"))])
    (sample,) = healthbench.samples(health_data)
    assert scored(healthbench, sample, YES).value == 0.0


# Aggregation -----------------------------------------------------------------------------------


def test_the_score_is_the_clipped_mean_with_themes_and_axes_beside_it(
    healthbench: HealthBench, samples: list[Sample]
) -> None:
    scores = [
        scored(healthbench, samples[0], YES, YES, NO),
        scored(healthbench, samples[1], NO, YES),
        scored(healthbench, samples[2], YES),
    ]
    values = [-0.1, -2.0, 1.0]
    assert [score.value for score in scores] == pytest.approx(values)
    for scoring in SCORINGS:
        result = healthbench.aggregate(scores, scoring)
        assert result.value == 0.0
        assert result.stderr == bootstrap_stderr([score.value for score in scores])
        assert result.n == 3
        assert result.breakdowns == pytest.approx(
            {
                "theme:global_health": 1.0,
                "theme:hedging": 0.0,
                "axis:accuracy": 0.0,
                "axis:communication_quality": 0.0,
                "axis:completeness": 0.0,
            }
        )


def test_axes_pool_the_points_of_all_samples(
    healthbench: HealthBench, samples: list[Sample]
) -> None:
    scores = [
        scored(healthbench, samples[0], YES, NO, NO),
        scored(healthbench, samples[1], YES, NO),
        scored(healthbench, samples[2], YES),
    ]
    result = healthbench.aggregate(scores, "published")
    assert result.value == pytest.approx(2.7 / 3)
    assert result.breakdowns == pytest.approx(
        {
            "theme:global_health": 1.0,
            "theme:hedging": 0.85,
            "axis:accuracy": 0.7,
            "axis:communication_quality": 1.0,
            "axis:completeness": 1.0,
        }
    )


def test_an_axis_without_positive_points_is_left_out(
    healthbench: HealthBench, samples: list[Sample]
) -> None:
    result = healthbench.aggregate([scored(healthbench, samples[0], YES, YES, YES)], "repaired")
    assert "axis:communication_quality" not in result.breakdowns


def test_the_standard_error_is_that_of_a_thousand_clipped_means_in_a_fixed_order() -> None:
    assert bootstrap_stderr([0.3]) == 0.0
    assert bootstrap_stderr([0.4, 0.4, 0.4]) == pytest.approx(0.0, abs=1e-12)
    assert bootstrap_stderr([1.1, 1.5, 1.9]) == 0.0
    assert bootstrap_stderr([-5.0, -6.0, -7.0]) == 0.0
    spread = bootstrap_stderr([0.0, 1.0] * 50)
    assert spread == pytest.approx(0.05, rel=0.1)
    assert spread == bootstrap_stderr([0.0, 1.0] * 50)
    assert spread != bootstrap_stderr([1.0] * 50 + [0.0] * 50)


def test_scores_read_back_from_json_give_the_same_total(
    healthbench: HealthBench, samples: list[Sample]
) -> None:
    score = scored(healthbench, samples[0], YES, YES, NO)
    metrics = json.loads(json.dumps(score.metrics))
    again = SampleScore(id=score.id, value=score.value, metrics=metrics)
    assert healthbench.aggregate([again], "published") == healthbench.aggregate(
        [score], "published"
    )


# Data ------------------------------------------------------------------------------------------


def test_samples_are_in_file_order_and_shuffled_for_every_evaluation(
    healthbench: HealthBench, samples: list[Sample]
) -> None:
    assert [sample.id for sample in samples] == ["one", "two", "three"]
    assert [sample.id for sample in healthbench.order(samples, None)] == ["two", "one", "three"]
    assert [sample.id for sample in healthbench.order(samples, 2)] == ["two", "one"]
    assert [sample.id for sample in samples] == ["one", "two", "three"]


def test_samples_without_tags_have_an_unknown_theme_and_axis(
    healthbench: HealthBench, health_data: DataDir
) -> None:
    plain = {
        **HEALTH_ROWS[2],
        "example_tags": [],
        "rubrics": [{"criterion": "Is brief.", "points": 4}],
    }
    write_rows(health_data.file("test"), [plain])
    (sample,) = healthbench.samples(health_data)
    result = healthbench.aggregate([scored(healthbench, sample, YES)], "published")
    assert result.breakdowns == {"theme:unknown": 1.0, "axis:unknown": 1.0}


def test_conversations_rubrics_and_ideal_answers_are_searched_for(
    healthbench: HealthBench, health_data: DataDir
) -> None:
    items = [(item.id, item.text) for item in healthbench.contamination_items(health_data)]
    assert items[:3] == [
        ("one", "My knee hurts, one.\nSince when?\nSince Monday."),
        ("one", "Says to rest.\nIs rude.\nAsks about swelling."),
        ("one", "Rest it, one."),
    ]
    assert len(items) == 9


@pytest.mark.parametrize("ideal", [None, {}, {"ideal_completion": 5}, {"ideal_completion": " "}])
def test_a_row_without_an_ideal_answer_has_two_items(
    healthbench: HealthBench, health_data: DataDir, ideal: dict[str, Any] | None
) -> None:
    write_rows(health_data.file("test"), [{**HEALTH_ROWS[2], "ideal_completions_data": ideal}])
    assert len(list(healthbench.contamination_items(health_data))) == 2


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"prompt": "Hello."}, "Expected `array`, got `str` - at `$.prompt`"),
        (
            {"prompt": [{"role": "user"}]},
            "Object missing required field `content` - at `$.prompt[0]`",
        ),
        (
            {"rubrics": [{"criterion": "x"}]},
            "Object missing required field `points` - at `$.rubrics[0]`",
        ),
        (
            {"rubrics": [{"criterion": "x", "points": True}]},
            "Expected `float`, got `bool` - at `$.rubrics[0].points`",
        ),
        (
            {"rubrics": [{"criterion": "x", "points": float("nan")}]},
            "Expected `float` >= -1000000.0 - at `$.rubrics[0].points`",
        ),
        (
            {"rubrics": [{"criterion": "x", "points": float("inf")}]},
            "Expected `float` <= 1000000.0 - at `$.rubrics[0].points`",
        ),
    ],
)
def test_a_row_without_its_parts_is_refused(
    healthbench: HealthBench, health_data: DataDir, change: dict[str, Any], problem: str
) -> None:
    path = write_rows(health_data.file("test"), [HEALTH_ROWS[0], {**HEALTH_ROWS[1], **change}])
    with pytest.raises(DataError) as caught:
        healthbench.samples(health_data)
    assert str(caught.value) == (
        f"healthbench: {path}, row 2: {problem}; expected prompt_id, prompt (turns with role and "
        "content) and rubrics (criterion, points, tags)"
    )


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"prompt_id": "one"}, "'one', 3 turns, 2 criteria"),
        ({"prompt": []}, "'two', 0 turns, 2 criteria"),
        ({"rubrics": []}, "'two', 3 turns, 0 criteria"),
    ],
)
def test_a_row_with_nothing_to_ask_or_a_known_name_is_refused(
    healthbench: HealthBench, health_data: DataDir, change: dict[str, Any], found: str
) -> None:
    path = write_rows(health_data.file("test"), [HEALTH_ROWS[0], {**HEALTH_ROWS[1], **change}])
    with pytest.raises(DataError) as caught:
        healthbench.samples(health_data)
    assert str(caught.value) == (
        f"healthbench: {path}, row 2 must hold a prompt_id of its own, turns and criteria; found "
        f"{found}"
    )


@pytest.mark.parametrize("placeholder", ["<<conversation>>", "<<rubric_item>>"])
def test_a_wording_without_its_placeholders_is_refused(
    healthbench: HealthBench, health_data: DataDir, placeholder: str
) -> None:
    for text in (GRADER_TEMPLATE.replace(placeholder, ""), GRADER_TEMPLATE + placeholder):
        fault = f"it must hold {placeholder} exactly once"
        assert healthbench.wording_faults(text) == (fault,)
        data = DataDir(files=health_data.files, prompts={"grader": text})
        with pytest.raises(DataError) as caught:
            healthbench.samples(data)
        assert str(caught.value) == (f"healthbench: the grader's wording cannot be used: {fault}")


def test_it_says_what_is_missing_where_numpy_is(
    healthbench: HealthBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert healthbench.unusable_reason() is None
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert healthbench.unusable_reason() == (
        "its standard error needs numpy; run `pip install 'posttrainbench[evaluation]'`"
    )


# Hostile input ---------------------------------------------------------------------------------

HOSTILE_REPLIES: Mapping[str, str] = {
    "nested objects": '{"criteria_met": ' + '{"a":' * 100_000,
    "nested lists": '{"criteria_met": true, "x": ' + "[" * 100_000 + "]" * 100_000 + "}",
    "huge": '{"explanation": "' + "a" * 1_000_000 + '", "criteria_met": true}',
    "a huge number": '{"criteria_met": true, "x": ' + "9" * 10_000 + "}",
    "infinity": '{"criteria_met": Infinity}',
    "repeated keys": "{" + '"criteria_met": true, ' * 20_000 + '"criteria_met": 0}',
    "blanks": "```json" + " " * 500_000 + "```",
    "fences": "```json" * 50_000 + "```" * 50_000,
    "surrogates": '{"criteria_met": true, "x": "\\ud800"}',
    **{name: text for name, text in HOSTILE_TEXTS.items() if text is not None},
}


@pytest.mark.parametrize("name", HOSTILE_REPLIES)
def test_hostile_replies_give_a_verdict_or_none(
    healthbench: HealthBench, samples: list[Sample], name: str
) -> None:
    reply = HOSTILE_REPLIES[name]
    check = healthbench.checks(samples[2], Completion(text="a"))[0]
    for scoring in SCORINGS:
        score = healthbench.score(samples[2], (graded(reply),), scoring)
        is_usable = healthbench.accepts(samples[2], check, reply)
        assert is_usable == ("unchecked" not in score.marks)
        assert is_usable == (name in ("huge", "surrogates"))


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.just("criteria_met") | st.text(), inner),
)


@given(
    st.lists(st.none() | st.text() | JSON.map(json.dumps), max_size=3),
    st.none() | st.text() | st.just("<<rubric_item>>"),
    st.sampled_from(["", "-as-written"]),
)
def test_no_reply_and_no_completion_makes_scoring_raise(
    replies: list[str | None], text: str | None, suffix: str
) -> None:
    healthbench = HealthBench(task_spec("healthbench"))
    sample = Sample(
        id="one",
        input={"messages": HEALTH_ROWS[0]["prompt"]},
        target=HEALTH_ROWS[0]["rubrics"],
        metadata={"theme": "hedging", "template": GRADER_TEMPLATE},
    )
    completion = graded(*replies, text=text, suffix=suffix)
    checks = healthbench.checks(sample, completion)
    assert len({check.name for check in checks}) == len(checks)
    for check in checks:
        for reply in replies:
            assert isinstance(healthbench.accepts(sample, check, reply or ""), bool)
    for scoring in SCORINGS:
        score = healthbench.score(sample, (completion,), scoring)
        result = healthbench.aggregate([score], scoring)
        assert -0.8 <= score.value <= 1
        assert 0 <= result.value <= 1
