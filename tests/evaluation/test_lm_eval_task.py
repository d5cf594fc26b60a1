"""Tasks described by lm-eval: finding them, refusing them, filling in data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ptb_core.api import (
    Completion,
    CompletionRequest,
    DataDir,
    DataError,
    DataFile,
    FileSource,
    LmEvalTask,
    LogLikelihoodRequest,
    SampleScore,
    TaskSpec,
)
from ptb_core.evaluation.lm_eval_task import choose_metric

lm_eval = pytest.importorskip("lm_eval")

QUIZ: dict[str, Any] = {
    "dataset_path": "json",
    "dataset_kwargs": {"data_files": {"test": "{data:test}"}},
    "test_split": "test",
    "output_type": "generate_until",
    "doc_to_text": "Q: {{q}}\nA:",
    "doc_to_target": "{{a}}",
    "generation_kwargs": {"until": ["\n"], "max_gen_toks": 8},
    "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
}


def spec(lm_eval: dict[str, Any], metric: str = "exact_match", **fields: Any) -> TaskSpec:
    return TaskSpec(
        name="quiz",
        title="Quiz",
        description="-",
        metric=metric,
        n_samples=3,
        max_tokens=20,
        lm_eval=lm_eval,
        **fields,
    )


@pytest.fixture
def data(tmp_path: Path) -> DataDir:
    rows = [{"q": f"question {i}", "a": f"answer {i}"} for i in range(3)]
    (tmp_path / "test.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows), "utf-8")
    return DataDir(files={"test": tmp_path / "test.jsonl"})


def quiz(**changes: Any) -> LmEvalTask:
    return LmEvalTask(spec({"config": {**QUIZ, **changes}}))


@pytest.mark.slow
def test_documents_become_samples_with_questions_and_requests(data: DataDir) -> None:
    task = quiz()
    samples = task.samples(data)
    assert [(s.id, s.input["question"], s.target) for s in samples[:2]] == [
        ("0", "Q: question 0\nA:", "answer 0"),
        ("1", "Q: question 1\nA:", "answer 1"),
    ]
    assert task.requests(samples[2], "published") == (
        CompletionRequest(prompt="Q: question 2\nA:", stop=("\n",), max_tokens=8),
    )
    assert [item.text for item in task.contamination_items(data)][1] == "Q: question 1\nA:"


@pytest.mark.slow
def test_answers_are_cached_in_the_projects_cache_and_nowhere_else(
    data: DataDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets

    monkeypatch.setenv("PTB_CACHE", str(tmp_path / "own"))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "users")
    quiz().samples(data)
    assert list((tmp_path / "own").rglob("*.arrow"))
    assert not (tmp_path / "users").exists()


@pytest.mark.slow
def test_scoring_needs_neither_the_data_nor_the_object_that_made_the_samples(
    data: DataDir,
) -> None:
    samples = quiz().samples(data)
    data.file("test").unlink()
    score = quiz().score(samples[0], [Completion(text="answer 0")], "published")
    assert (score.value, score.metrics) == (1.0, {"exact_match,none": 1.0})
    assert quiz().score(samples[0], [Completion(text=None)], "published").value == 0.0


@pytest.mark.slow
def test_repeated_requests_are_asked_and_voted_on(data: DataDir) -> None:
    vote = {"name": "vote", "filter": [{"function": "majority_vote"}, {"function": "take_first"}]}
    task = quiz(repeats=3, filter_list=[vote])
    sample = task.samples(data)[0]
    assert len(task.requests(sample, "published")) == 3
    answers = [Completion(text=text) for text in ("wrong", "answer 0", "answer 0")]
    assert task.score(sample, answers, "published").value == 1.0


@pytest.mark.slow
def test_a_shipped_task_takes_its_data_from_the_manifests_files(tmp_path: Path) -> None:
    rows = [{"question": f"What is {i} + 1?", "answer": f"#### {i + 1}"} for i in range(9)]
    for name in ("train", "test"):
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (tmp_path / f"{name}.jsonl").write_text(text, "utf-8")
    files = {name: tmp_path / f"{name}.jsonl" for name in ("train", "test")}
    listed = tuple(DataFile(name=name, source=FileSource(path=name)) for name in files)
    task = LmEvalTask(spec({"task": "gsm8k"}, "exact_match,strict-match", data=listed))
    sample = task.samples(DataDir(files=files))[3]
    request = task.requests(sample, "published")[0]
    assert isinstance(request, CompletionRequest)
    assert request.prompt.count("Question:") == 6
    assert request.prompt.endswith("Question: What is 3 + 1?\nAnswer:")
    right = task.score(sample, [Completion(text=" 3 + 1 = 4\n#### 4")], "published")
    loose = task.score(sample, [Completion(text=" it is 4.")], "published")
    assert (right.value, loose.value) == (1.0, 0.0)
    assert loose.metrics["exact_match,flexible-extract"] == 1.0


@pytest.mark.slow
def test_choices_become_one_log_likelihood_each(data: DataDir) -> None:
    config = {
        **{key: QUIZ[key] for key in ("dataset_path", "dataset_kwargs", "test_split")},
        "output_type": "multiple_choice",
        "doc_to_text": "{{q}}",
        "doc_to_choice": ["yes", "no way"],
        "doc_to_target": "{{0}}",
        "metric_list": [{"metric": name} for name in ("acc", "acc_norm")],
    }
    task = LmEvalTask(spec({"config": config}, "acc_norm"))
    sample = task.samples(data)[0]
    assert task.requests(sample, "seeded") == (
        LogLikelihoodRequest(context="question 0", continuation=" yes"),
        LogLikelihoodRequest(context="question 0", continuation=" no way"),
    )
    answers = [
        Completion(text="", log_probability=-1.0, is_greedy=True),
        Completion(text="", log_probability=-1.5, is_greedy=False),
    ]
    score = task.score(sample, answers, "repaired")
    assert score.metrics == {"acc,none": 1.0, "acc_norm,none": 0.0}
    assert score.value == 0.0


@pytest.mark.slow
def test_the_total_is_lm_evals_with_its_standard_error() -> None:
    scores = [
        SampleScore(id=str(i), value=v, metrics={"exact_match,none": v})
        for i, v in enumerate((1.0, 0.0, 0.0, 1.0, 1.0))
    ]
    total = quiz().aggregate(scores, "published")
    assert (total.value, total.n) == (0.6, 5)
    assert total.stderr == pytest.approx(0.2449489743)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("described", "words"),
    [
        ({"task": "gsm8kk"}, "lm-eval ships no task 'gsm8kk' .did you mean 'gsm8k'"),
        ({"task": "humaneval"}, "lm-eval would run model-written code on this machine"),
        ({"task": "squadv2"}, "lm-eval describes it in Python"),
        ({"task": "lambada_openai"}, "output type is 'loglikelihood', expected one of"),
        ({"config": {**QUIZ, "test_split": "nope"}}, "lm-eval cannot build task 'quiz'"),
        (
            {"config": {**QUIZ, "dataset_kwargs": {"data_files": "{data:other}"}}},
            "lists no data file 'other'",
        ),
    ],
)
def test_what_cannot_be_evaluated_here_is_refused_with_the_reason(
    data: DataDir, described: dict[str, Any], words: str
) -> None:
    with pytest.raises(DataError, match=words):
        LmEvalTask(spec(described)).samples(data)


@pytest.mark.slow
def test_sampling_settings_that_cannot_be_sent_are_refused(data: DataDir) -> None:
    kwargs = {"until": ["\n"], "do_sample": True, "temperature": 0.6, "top_p": 0.9}
    task = quiz(generation_kwargs=kwargs)
    sample = task.samples(data)[0]
    with pytest.raises(DataError, match="generation_kwargs set top_p for sampled answers"):
        task.requests(sample, "published")


KEYS = ["exact_match,strict", "exact_match,flexible", "acc,strict"]


def test_a_metric_is_named_with_its_filter_where_there_are_several() -> None:
    assert choose_metric("acc", KEYS) == "acc,strict"
    assert choose_metric("exact_match,flexible", KEYS) == "exact_match,flexible"


@pytest.mark.parametrize(
    ("metric", "found"), [("exact_match", "2 metrics"), ("accuracy", "no metric")]
)
def test_a_metric_that_is_not_clear_is_refused(metric: str, found: str) -> None:
    with pytest.raises(DataError, match=f"'{metric}' names {found} of this lm-eval task") as error:
        choose_metric(metric, KEYS)
    assert "exact_match,strict, exact_match,flexible, acc,strict" in str(error.value)


def test_a_reply_is_read_by_what_was_asked_whatever_the_server_sent():
    from ptb_core.evaluation.lm_eval_task import LEAST_LOG_PROBABILITY, _response

    text, likelihood = ("a prompt", {"until": []}), ("context", " continuation")
    both = Completion(text="words", log_probability=-1.5, is_greedy=True)
    assert _response(text, both) == "words"
    assert _response(likelihood, both) == (-1.5, True)
    for worthless in (Completion(text="words"), Completion(text="", log_probability=float("nan"))):
        assert _response(likelihood, worthless) == (LEAST_LOG_PROBABILITY, False)
