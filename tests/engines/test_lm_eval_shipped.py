"""Tasks that ship with lm-eval, run by a manifest alone, beside lm-eval's own ``hf`` model.

A distribution of JSON files names each task and brings rows in the form of its hub data. Nothing
is fetched: the rows replace the hub's data set on both sides.
"""

from __future__ import annotations

import json
import random
import shutil
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from engine_servers import Serving, serving

from ptb_core.api import Completion
from ptb_core.catalogue import load_catalogue
from ptb_core.evaluation.client_limits import ClientLimits
from ptb_core.evaluation.generate import GenerateOptions, SampleRequests, generate
from ptb_core.fetch import ensure_data
from ptb_core.records import Evaluation
from ptb_plugins.engines.transformers.engine import TransformersEngine
from tests.scored import evaluate_both

pytestmark = pytest.mark.slow

CONTEXT_TOKENS = 3000
COUNTS = {"train": 8, "validation": 24, "test": 24}

Row = dict[str, Any]


def sum_row(a: int, b: int, rng: random.Random) -> Row:
    return {"question": f"What is {a} plus {b}?", "answer": f"{a} plus {b} is\n#### {a + b}"}


def arc_row(a: int, b: int, rng: random.Random) -> Row:
    texts, gold = choices(a, b, rng)
    answers = {"text": texts, "label": ["A", "B", "C", "D"]}
    return {"question": f"{a} plus {b} is?", "choices": answers, "answerKey": "ABCD"[gold]}


def truthful_row(a: int, b: int, rng: random.Random) -> Row:
    texts, gold = choices(a, b, rng)
    texts = [texts[gold], *(text for text in texts if text != texts[gold])]
    one = {"choices": texts, "labels": [1, 0, 0, 0]}
    several = {"choices": texts, "labels": [1, 1, 0, 0]}
    return {"question": f"What is {a} plus {b}?", "mc1_targets": one, "mc2_targets": several}


def choices(a: int, b: int, rng: random.Random) -> tuple[list[str], int]:
    texts = [f"{n}" for n in rng.sample([n for n in range(2, 19) if n != a + b], 3)]
    gold = rng.randrange(4)
    texts.insert(gold, f"{a + b}")
    return texts, gold


TASKS: dict[str, dict[str, Any]] = {
    "gsm8k": {
        "metric": "exact_match,flexible-extract",
        "splits": ("train", "test"),
        "row": sum_row,
    },
    "arc_easy": {
        "metric": "acc_norm",
        "splits": ("train", "validation", "test"),
        "row": arc_row,
    },
    "truthfulqa_mc1": {"metric": "acc", "splits": ("validation",), "row": truthful_row},
    "truthfulqa_mc2": {"metric": "acc", "splits": ("validation",), "row": truthful_row},
}
COUNTED = ("gsm8k", "arc_easy", "truthfulqa_mc1")
"""Tasks whose metrics count documents; the other one adds up probabilities."""


@pytest.fixture(scope="module")
def long_model(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with room for few-shot prompts."""
    folder = Path(shutil.copytree(tiny_model, tmp_path_factory.mktemp("long") / "model"))
    config = json.loads((folder / "config.json").read_text("utf-8"))
    config["max_position_embeddings"] = CONTEXT_TOKENS
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    return folder


@pytest.fixture(scope="module")
def long_served(
    engine: TransformersEngine, long_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Serving]:
    root = tmp_path_factory.mktemp("serve-long")
    with serving(engine, root, long_model, max_context_tokens=CONTEXT_TOKENS) as server:
        yield server


@pytest.fixture
def exams(install: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Install the manifests and rows, and forbid the network."""
    files = {}
    for name, facts in TASKS.items():
        rng = random.Random(11)
        for split in facts["splits"]:
            pairs = [(rng.randint(1, 9), rng.randint(1, 9)) for _ in range(COUNTS[split])]
            rows = [facts["row"](a, b, rng) for a, b in pairs]
            text = "".join(json.dumps(row) + "\n" for row in rows)
            files[f"exams/tasks/{name}-{split}.jsonl"] = text
        files[f"exams/tasks/{kebab(name)}.json"] = json.dumps(manifest(name, facts))
    install("ptb-exams", files, "[ptb.v1]\nexams = exams\n")
    for variable in ("PTB_OFFLINE", "HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"):
        monkeypatch.setenv(variable, "1")


def kebab(name: str) -> str:
    return f"exam-{name.replace('_', '-')}"


def manifest(name: str, facts: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": kebab(name),
        "title": name,
        "description": f"lm-eval's {name} with other rows.",
        "metric": facts["metric"],
        "n_samples": COUNTS[facts["splits"][-1]],
        "max_tokens": 256,
        "data": [
            {"name": split, "source": {"packaged": f"{name}-{split}.jsonl"}}
            for split in facts["splits"]
        ],
        "lm_eval": {"task": name},
    }


def ours(name: str, served: Serving, log: Path) -> tuple[Evaluation, list[tuple[Completion, ...]]]:
    task = load_catalogue().task(kebab(name))
    samples = task.samples(ensure_data(task.spec))
    asked = [SampleRequests(id=s.id, requests=task.requests(s, "published")) for s in samples]
    options = GenerateOptions(requests="published", max_tokens=256, limits=ClientLimits(tries=1))
    result = generate(asked, served.endpoint, options, log)
    assert not result.missing
    evaluation = evaluate_both(task, samples, result.completions, counted="published")
    assert evaluation.complete
    return evaluation, [result.completions[sample.id] for sample in samples]


def theirs(name: str, model: Path, folder: Path) -> tuple[dict[str, Any], list[Any]]:
    """Return lm-eval's metrics, and its model's responses by document."""
    import lm_eval
    import yaml
    from lm_eval.tasks import TaskManager

    task = load_catalogue().task(kebab(name))
    shipped = Path(lm_eval.__file__).parent / "tasks"
    (path,) = (p for p in shipped.rglob("*.yaml") if f"\ntask: {name}\n" in f"\n{p.read_text()}")
    files = {split: str(file) for split, file in ensure_data(task.spec).files.items()}
    config = {
        "include": str(path),
        "task": "reference",
        "tag": [],
        "dataset_path": "json",
        "dataset_name": None,
        "dataset_kwargs": {"data_files": files},
    }
    (folder / "reference.yaml").write_text(yaml.safe_dump(config), "utf-8")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results = lm_eval.simple_evaluate(
            model="hf",
            model_args={"pretrained": str(model), "dtype": "float32"},
            tasks=["reference"],
            task_manager=TaskManager(include_path=str(folder), include_defaults=False),
            device="cpu",
            batch_size=1,  # in larger ones a row goes on behind its stop token till all have ended
        )
    assert results is not None
    rows = results["samples"]["reference"]
    rows = [row for row in rows if row["filter"] == rows[0]["filter"]]
    responses = [row["resps"] for row in sorted(rows, key=lambda row: row["doc_id"])]
    return results["results"]["reference"], responses


def chosen(name: str, metrics: dict[str, Any]) -> str:
    """Return lm-eval's key of the manifest's metric, whose filter it may leave out."""
    metric = TASKS[name]["metric"]
    (key,) = (key for key in metrics if metric in (key, key.rpartition(",")[0]))
    return key


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.usefixtures("exams")
def test_a_shipped_task_scores_as_lm_eval_scores_it(
    name: str, long_served: Serving, long_model: Path, tmp_path: Path
) -> None:
    mine, answers = ours(name, long_served, tmp_path / "log.jsonl")
    reference, responses = theirs(name, long_model, tmp_path)
    if isinstance(responses[0][0][0], str):
        assert [answer[0].text for answer in answers] == [texts[0][0] for texts in responses]
    else:
        own = [one.log_probability for answer in answers for one in answer]
        other = [pair[0][0] for pairs in responses for pair in pairs]
        assert own == pytest.approx(other, abs=1e-3)
    key = chosen(name, reference)
    metric, _, filter_name = key.partition(",")
    tolerance = 1e-9 if name in COUNTED else 1e-5
    for score in mine.scores.values():
        assert score.n == COUNTS[TASKS[name]["splits"][-1]]
        assert score.value == pytest.approx(reference[key], abs=tolerance)
        stderr = reference[f"{metric}_stderr,{filter_name}"]
        assert score.stderr == pytest.approx(stderr, abs=tolerance)
        others = {k: v for k, v in reference.items() if k in score.breakdowns}
        assert score.breakdowns == pytest.approx(others, abs=tolerance)
    assert 0 < mine.scores["published"].value < 1, (
        "rows that are all right or all wrong show little"
    )
