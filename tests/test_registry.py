"""The shipped facts: complete, consistent with each other and with what was published."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ptb_core.catalogue import Catalogue, load_catalogue
from ptb_core.data import data_dir
from ptb_core.manifests import FOLDERS, load_manifests
from ptb_core.schemas import faults, load_json
from ptb_core.specs import ModelSpec, TaskSpec

REGISTRY = data_dir() / "registry"

MANIFESTS = [
    (kind, path) for kind in FOLDERS for path in sorted((REGISTRY / FOLDERS[kind]).glob("*.json"))
]

OTHERS = [
    ("baseline", REGISTRY / "baselines" / "published.json"),
    ("few-shot", REGISTRY / "baselines" / "few-shot.json"),
    ("prices", REGISTRY / "prices.json"),
    ("plugins", REGISTRY / "plugins.json"),
]

TASKS = {spec.name: spec for spec in load_manifests("tasks", TaskSpec)}
MODELS = {spec.name: spec for spec in load_manifests("models", ModelSpec)}

PAPER_TASKS = {
    "aime2025",
    "arenahardwriting",
    "bfcl",
    "gpqamain",
    "gsm8k",
    "healthbench",
    "humaneval",
}
PAPER_MODELS = {"qwen3-1.7b-base", "qwen3-4b-base", "smollm3-3b-base", "gemma-3-4b-pt"}


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Catalogue]:
    """The catalogue of what is installed, loaded once for all tests here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PTB_CACHE", str(tmp_path_factory.mktemp("cache")))
        load_catalogue.cache_clear()
        yield load_catalogue()
        load_catalogue.cache_clear()


def baselines() -> dict[str, dict[str, dict[str, float]]]:
    published = load_json(REGISTRY / "baselines" / "published.json")
    return {one["name"]: one["scores"] for one in published["sets"]}


@pytest.mark.parametrize(("kind", "path"), [*MANIFESTS, *OTHERS], ids=lambda x: Path(x).stem)
def test_every_shipped_file_keeps_its_schema_and_points_to_it(kind, path):
    data = load_json(path)
    assert faults(data, kind) == ()
    if "$schema" in data:
        schema = data_dir() / "schemas" / f"{kind}.schema.json"
        assert (path.parent / data["$schema"]).resolve() == schema.resolve()


@pytest.mark.parametrize(("kind", "path"), MANIFESTS, ids=lambda x: Path(x).stem)
def test_every_shipped_manifest_is_in_the_catalogue_and_not_broken(catalogue, kind, path):
    assert catalogue.get(kind, path.stem, allow_unusable=True)


def test_no_built_in_plugin_is_broken(catalogue):
    built_in = [one for one in catalogue.broken if one.plugin.distribution == "posttrainbench"]
    assert built_in == []


# Tasks ----------------------------------------------------------------------------------------


def test_the_seven_published_tasks_carry_weights_that_sum_to_one():
    weighted = {name: spec.weight for name, spec in TASKS.items() if spec.weight is not None}
    assert set(weighted) == PAPER_TASKS
    assert sum(weighted.values()) == pytest.approx(1, abs=1e-12)


def test_the_weights_follow_from_the_published_baselines():
    scores = baselines()
    gains = {
        task: 4
        / sum(
            scores["instruct"][model][task] - scores["base-zero-shot"][model][task]
            for model in PAPER_MODELS
        )
        for task in PAPER_TASKS
    }
    for task in PAPER_TASKS:
        assert TASKS[task].weight == pytest.approx(gains[task] / sum(gains.values()), abs=1e-12)


@pytest.mark.parametrize(
    ("name", "score"),
    [
        ("base-zero-shot", 0.0752756853),
        ("base-few-shot", 0.1807764861),
        ("instruct", 0.5113585439),
    ],
)
def test_the_weighted_mean_of_each_baseline_is_the_published_one(name, score):
    scores = baselines()[name]
    assert set(scores) == PAPER_MODELS
    weighted = sum(
        (TASKS[task].weight or 0) * sum(scores[model][task] for model in PAPER_MODELS) / 4
        for task in PAPER_TASKS
    )
    assert weighted == pytest.approx(score, abs=1e-10)


@pytest.mark.parametrize(
    ("task", "n_samples", "metric", "default_limit", "max_tokens"),
    [
        ("aime2025", 30, "accuracy", None, 16000),
        ("arenahardwriting", 250, "win rate", 32, 16384),
        ("bfcl", 100, "accuracy", None, 16000),
        ("gpqamain", 448, "accuracy", 50, 16000),
        ("gsm8k", 1319, "accuracy", 150, 4000),
        ("healthbench", 245, "rubric score", 32, 16384),
        ("humaneval", 164, "pass@1", 150, 4000),
    ],
)
def test_sizes_and_limits_are_the_published_ones(
    task, n_samples, metric, default_limit, max_tokens
):
    spec = TASKS[task]
    assert (spec.n_samples, spec.metric) == (n_samples, metric)
    assert (spec.default_limit, spec.max_tokens) == (default_limit, max_tokens)


@pytest.mark.parametrize("name", TASKS)
def test_every_task_has_test_data_and_only_train_splits_may_be_trained_on(name):
    files = {file.name: file for file in TASKS[name].data}
    assert "test" in files
    assert [file.name for file in files.values() if file.agents_may_train] in ([], ["train"])


def test_the_train_splits_of_gsm8k_and_errands_may_be_trained_on():
    allowed = {name for name, spec in TASKS.items() if any(f.agents_may_train for f in spec.data)}
    assert allowed == {"gsm8k", "errands"}


@pytest.mark.parametrize("name", TASKS)
def test_data_from_outside_is_pinned_by_revision_or_digest(name):
    for file in TASKS[name].data:
        source = file.source
        if source.hub == "Idavidrein/gpqa":  # gated; none published: pinned at prefetch
            assert source.revision is None
        else:
            assert source.packaged or source.revision or source.sha256


@pytest.mark.parametrize("name", TASKS)
def test_packaged_data_is_there_with_its_columns_and_its_number_of_rows(name):
    spec = TASKS[name]
    for file in spec.data:
        if file.source.packaged is None:
            continue
        content = (data_dir() / file.source.packaged).read_bytes()
        assert content.strip()
        assert file.source.sha256 in (None, hashlib.sha256(content).hexdigest())
        if not file.columns:
            continue
        lines = content.decode("utf-8").splitlines()
        assert set(file.columns) <= set(json.loads(lines[0]))
        if file.name == "test":
            assert len(lines) == spec.n_samples


def test_real_copies_of_the_data_have_the_digests_of_the_manifests(test_data):
    import gzip

    copies = {
        ("arenahardwriting", "test"): "arena-hard-writing-question.jsonl.gz",
        ("arenahardwriting", "baseline"): "arena-hard-writing-baseline-qwen3-1.7b.jsonl.gz",
        ("healthbench", "test"): "healthbench-easy.jsonl.gz",
    }
    for (task, name), copy in copies.items():
        (file,) = [file for file in TASKS[task].data if file.name == name]
        content = gzip.decompress((test_data / "data" / copy).read_bytes())
        assert hashlib.sha256(content).hexdigest() == file.source.sha256
        rows = [json.loads(line) for line in content.splitlines()]
        assert set(file.columns) <= set(rows[0])
        assert len(rows) == TASKS[task].n_samples


# Models and templates -------------------------------------------------------------------------


def test_each_published_model_forbids_its_instruct_twin():
    twins = {name: spec.forbidden_twins for name, spec in MODELS.items() if name in PAPER_MODELS}
    assert twins == {
        "qwen3-1.7b-base": ("Qwen/Qwen3-1.7B",),
        "qwen3-4b-base": ("Qwen/Qwen3-4B",),
        "smollm3-3b-base": ("HuggingFaceTB/SmolLM3-3B",),
        "gemma-3-4b-pt": ("google/gemma-3-4b-it",),
    }


@pytest.mark.parametrize("name", MODELS)
def test_the_chat_template_of_every_model_ships_with_the_project(name):
    assert (data_dir() / MODELS[name].chat_template).is_file()


def safetensors_parameters(path: Path) -> int:
    content = path.read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    header.pop("__metadata__", None)
    return sum(math.prod(tensor["shape"]) for tensor in header.values())


@pytest.mark.parametrize("name", MODELS)
def test_packaged_weights_ship_with_the_project(name):
    packaged = MODELS[name].source.packaged
    if packaged is None:
        pytest.skip("comes from outside")
    folder = data_dir() / packaged
    assert (folder / "model.safetensors").is_file()
    config: dict[str, Any] = load_json(folder / "config.json")
    assert tuple(config["architectures"]) == MODELS[name].architectures[:1]
    assert config["max_position_embeddings"] >= MODELS[name].context_tokens
    assert safetensors_parameters(folder / "model.safetensors") == MODELS[name].parameters


CONVERSATION = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "<think>\nhm\n</think>\n\nYo"},
    {"role": "user", "content": "Bye"},
]

TOOLS = [{"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}]

TOOL_TURNS = [
    {"role": "user", "content": "1+2?"},
    {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}],
    },
    {"role": "tool", "content": "3"},
]


def render(family: str, messages: list[Any], **options: Any) -> str:
    import jinja2.sandbox

    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    environment.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
    environment.globals["strftime_now"] = lambda _: "07 April 2026"
    template = environment.from_string((REGISTRY / "templates" / f"{family}.jinja").read_text())
    return template.render(
        messages=messages, add_generation_prompt=True, bos_token="<bos>", **options
    )


def test_the_qwen_template_drops_think_blocks_of_earlier_turns_only():
    assert render("qwen", CONVERSATION) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
        "<|im_start|>assistant\nYo<|im_end|>\n<|im_start|>user\nBye<|im_end|>\n"
        "<|im_start|>assistant\n"
    )
    thinking = [*TOOL_TURNS[:1], {**TOOL_TURNS[1], "content": "<think>\nadd\n</think>\n\n"}]
    assert "<think>\nadd\n</think>\n\n<tool_call>" in render("qwen", [*thinking, TOOL_TURNS[2]])


def test_a_repeated_question_counts_as_the_later_one():
    again = [*CONVERSATION[1:3], CONVERSATION[1]]
    assert "<think>" not in render("qwen", again)


@pytest.mark.parametrize("family", ["qwen", "gemma"])
def test_tools_are_listed_and_calls_and_results_rendered_in_hermes_form(family):
    text = render(family, TOOL_TURNS, tools=TOOLS)
    listed = json.dumps(TOOLS[0])
    assert f"<tools>\n{listed}\n</tools>" in text
    assert '<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call>' in text
    assert text.index("</tool_call>") < text.rindex("3")


def test_the_smollm_template_prints_tools_as_python_does_and_leaves_earlier_calls_out():
    text = render("smollm", TOOL_TURNS, tools=TOOLS)
    assert f"<tools>\n{TOOLS[0]}\n</tools>" in text
    assert text.endswith(
        "<|im_start|>user\n1+2?<|im_end|>\n<|im_start|>assistant\n<|im_end|>\n"
        "<|im_start|>user\n3<|im_end|>\n<|im_start|>assistant\n"
    )


def test_results_of_parallel_calls_share_one_turn_in_the_qwen_template():
    text = render("qwen", [*TOOL_TURNS, TOOL_TURNS[2]], tools=TOOLS)
    response = "\n<tool_response>\n3\n</tool_response>"
    assert f"<|im_start|>user{response}{response}<|im_end|>\n" in text


def test_the_gemma_template_folds_the_system_text_into_the_first_user_turn():
    assert render("gemma", CONVERSATION).startswith(
        "<bos><start_of_turn>user\nBe brief.\n\nHi<end_of_turn>\n<start_of_turn>model\n"
    )


def test_the_smollm_template_prints_the_date_and_the_instructions():
    assert render("smollm", CONVERSATION[:2]) == (
        "<|im_start|>system\n## Metadata\n\nKnowledge Cutoff Date: June 2025\n"
        "Today Date: 07 April 2026\nReasoning Mode: /think\n\n## Custom Instructions\n\n"
        "Be brief.\n\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    )


def test_the_smollm2_template_is_plain_chatml():
    assert render("smollm2", CONVERSATION[:2]) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
        "<|im_start|>assistant\n"
    )


@pytest.mark.parametrize("family", ["qwen", "smollm", "smollm2", "gemma"])
def test_content_in_parts_renders_like_the_same_text(family):
    parts = [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}]
    assert render(family, parts) == render(family, [{"role": "user", "content": "Hi"}])


@pytest.mark.parametrize("name", MODELS)
def test_every_turn_of_the_assistant_ends_with_a_declared_token(name):
    template = Path(MODELS[name].chat_template)
    if template.parent.name != "templates":
        pytest.skip("its template is not in the registry")
    text = render(template.stem, [*CONVERSATION[1:3], CONVERSATION[3]])
    assert any(f"Yo{token}\n" in text for token in MODELS[name].turn_end_tokens)
