"""The same checkpoint through our socket and through lm-eval's own ``hf`` model."""

from __future__ import annotations

import json
import random
import warnings
from pathlib import Path
from typing import Any

import pytest
from engine_servers import Serving

from ptb_core.api import Completion, DataDir, LmEvalTask, TaskSpec
from ptb_core.evaluation.client_limits import ClientLimits
from ptb_core.evaluation.generate import GenerateOptions, SampleRequests, generate
from ptb_core.records import Evaluation
from tests.scored import evaluate_both

pytestmark = pytest.mark.slow

SUMS: dict[str, Any] = {
    "task": "tiny-sums-text",
    "dataset_path": "json",
    "dataset_kwargs": {"data_files": {"test": "{data:test}", "train": "{data:train}"}},
    "test_split": "test",
    "training_split": "train",
    "fewshot_split": "train",
    "num_fewshot": 3,
    "fewshot_delimiter": "\n",
    "target_delimiter": " ",
    "output_type": "generate_until",
    "doc_to_text": "{{a}} plus {{b}} is",
    "doc_to_target": "{{a + b}}",
    "generation_kwargs": {"until": ["\n", "<|im_end|>"], "max_gen_toks": 8, "do_sample": False},
    "filter_list": [
        {
            "name": "number",
            "filter": [
                {"function": "regex", "regex_pattern": "(-?[0-9]+)"},
                {"function": "take_first"},
            ],
        },
        {"name": "raw", "filter": [{"function": "take_first"}]},
    ],
    "metric_list": [
        {"metric": "exact_match", "aggregation": "mean", "higher_is_better": True},
    ],
    "metadata": {"version": 1.0},
}
CHOICES: dict[str, Any] = {
    "task": "tiny-sums-choice",
    "dataset_path": "json",
    "dataset_kwargs": {"data_files": {"test": "{data:test}", "train": "{data:train}"}},
    "test_split": "test",
    "fewshot_split": "train",
    "num_fewshot": 2,
    "fewshot_delimiter": "\n",
    "output_type": "multiple_choice",
    "doc_to_text": "{{a}} plus {{b}} is ",
    "target_delimiter": "",
    "doc_to_choice": "{{choices}}",
    "doc_to_target": "{{gold}}",
    "metric_list": [
        {"metric": "acc", "aggregation": "mean", "higher_is_better": True},
        {"metric": "acc_norm", "aggregation": "mean", "higher_is_better": True},
        {"metric": "brier_score", "aggregation": "brier_score", "higher_is_better": False},
    ],
    "metadata": {"version": 1.0},
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DataDir:
    folder = tmp_path_factory.mktemp("sums")
    rng = random.Random(5)
    for name, count in (("test", 30), ("train", 12)):
        rows = [row(rng) for _ in range(count)]
        text = "".join(json.dumps(one) + "\n" for one in rows)
        (folder / f"{name}.jsonl").write_text(text, "utf-8")
    return DataDir(files={name: folder / f"{name}.jsonl" for name in ("test", "train")})


def row(rng: random.Random) -> dict[str, Any]:
    a, b = rng.randint(1, 9), rng.randint(1, 9)
    wrong = rng.sample([n for n in range(2, 19) if n != a + b], 3)
    gold = rng.randint(0, 3)
    choices = [str(n) for n in wrong]
    choices.insert(gold, f"{a + b}")
    return {"a": a, "b": b, "choices": choices, "gold": gold}


def spec(config: dict[str, Any], metric: str) -> TaskSpec:
    return TaskSpec(
        name=config["task"],
        title="Sums",
        description="Small sums.",
        metric=metric,
        n_samples=30,
        max_tokens=256,
        lm_eval={"config": config},
    )


def ours(
    task: LmEvalTask, data: DataDir, served: Serving, log: Path
) -> tuple[Evaluation, list[tuple[Completion, ...]]]:
    samples = task.samples(data)
    asked = [SampleRequests(id=s.id, requests=task.requests(s, "published")) for s in samples]
    options = GenerateOptions(requests="published", max_tokens=256, limits=ClientLimits(tries=1))
    result = generate(asked, served.endpoint, options, log)
    assert not result.missing
    fresh = LmEvalTask(task.spec)
    evaluation = evaluate_both(fresh, samples, result.completions, counted="published")
    return evaluation, [result.completions[sample.id] for sample in samples]


def theirs(
    config: dict[str, Any], data: DataDir, model: Path, folder: Path
) -> tuple[dict[str, float | str], list[Any]]:
    import lm_eval
    import yaml
    from lm_eval.tasks import TaskManager

    text = yaml.safe_dump(config)
    for name, path in data.files.items():
        text = text.replace(f"{{data:{name}}}", str(path))
    (folder / "task.yaml").write_text(text, "utf-8")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results = lm_eval.simple_evaluate(
            model="hf",
            model_args={"pretrained": str(model), "dtype": "float32"},
            tasks=[config["task"]],
            task_manager=TaskManager(include_path=str(folder), include_defaults=False),
            device="cpu",
            batch_size=4,
        )
    assert results is not None
    metrics: dict[str, float | str] = results["results"][config["task"]]
    name = "number" if config is SUMS else "none"
    rows = [one for one in results["samples"][config["task"]] if one["filter"] == name]
    return metrics, [one["resps"] for one in sorted(rows, key=lambda one: one["doc_id"])]


def test_generated_answers_score_as_lm_eval_scores_them(
    served: Serving, tiny_model: Path, data: DataDir, tmp_path: Path
) -> None:
    task = LmEvalTask(spec(SUMS, "exact_match,number"))
    mine, answers = ours(task, data, served, tmp_path / "log.jsonl")
    reference, responses = theirs(SUMS, data, tiny_model, tmp_path)
    assert [answer[0].text for answer in answers] == [texts[0][0] for texts in responses]
    assert mine.complete
    for score in mine.scores.values():
        assert score.n == 30
        assert score.value == reference["exact_match,number"]
        assert score.stderr == reference["exact_match_stderr,number"]
        assert score.breakdowns == {"exact_match,raw": reference["exact_match,raw"]}
    assert 0 < mine.scores["published"].value < 1
    assert mine.scores["published"].value != reference["exact_match,raw"]


def test_multiple_choice_scores_as_lm_eval_scores_it(
    served: Serving, tiny_model: Path, data: DataDir, tmp_path: Path
) -> None:
    task = LmEvalTask(spec(CHOICES, "acc_norm"))
    mine, answers = ours(task, data, served, tmp_path / "log.jsonl")
    reference, responses = theirs(CHOICES, data, tiny_model, tmp_path)
    own = [(one.log_probability, one.is_greedy) for answer in answers for one in answer]
    other = [pair[0] for choices in responses for pair in choices]
    assert [one[0] for one in own] == pytest.approx([one[0] for one in other], abs=1e-4)
    assert [one[1] for one in own] == [one[1] for one in other]
    assert mine.complete
    score = mine.scores["repaired"]
    assert score.value == reference["acc_norm,none"]
    assert score.stderr == reference["acc_norm_stderr,none"]
    assert score.breakdowns["acc,none"] == reference["acc,none"]
    assert score.breakdowns["brier_score,none"] == pytest.approx(
        reference["brier_score,none"], abs=1e-5
    )
    assert 0 < score.value < 1
