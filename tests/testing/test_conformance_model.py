"""Models that break a promise fail the check of that promise, in words."""

from __future__ import annotations

import json
import shutil
import unittest
from dataclasses import replace
from pathlib import Path

import pytest

from ptb_core.api import FileSource, ModelSpec
from ptb_core.testing import ModelConformance, model_spec, tiny_checkpoint
from tests.testing.running import broken, checked

RIGHT = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TEMPLATES = {
    "no Jinja": (
        "{% for m in %}",
        "test_its_template_renders_a_question",
        "the chat template must render plain conversations; it raised TemplateSyntaxError: ",
    ),
    "words changed": (
        RIGHT.replace("m.content", "m.content | upper"),
        "test_its_template_renders_a_question",
        "the chat template must print the user's words unchanged; it printed ",
    ),
    "no system message": (
        RIGHT.replace("for m in messages", "for m in messages if m.role != 'system'"),
        "test_its_template_renders_a_system_message",
        "the chat template must print the system message, then the user's; it printed ",
    ),
    "only the last turn": (
        RIGHT.replace("in messages", "in messages[-1:]"),
        "test_its_template_renders_several_turns_in_order",
        "the chat template must print all turns in order; it printed ",
    ),
    "no generation prompt": (
        RIGHT.partition("{% if")[0],
        "test_its_template_ends_with_the_generation_prompt",
        "the chat template must add a generation prompt after the last turn; with and without it "
        "ends ",
    ),
    "another end of turns": (
        RIGHT.replace("<|im_end|>", "</s>"),
        "test_its_template_ends_turns_with_a_declared_token",
        "an assistant's turn must end with one of <|im_end|>; the template prints '</s>",
    ),
}


@pytest.mark.parametrize(("text", "method", "sentence"), TEMPLATES.values(), ids=TEMPLATES)
def test_a_wrong_template_fails_with_a_sentence(
    text: str, method: str, sentence: str, tmp_path: Path
) -> None:
    pytest.importorskip("jinja2")
    template = tmp_path / "template.jinja"
    template.write_text(text)
    model = model_spec(chat_template=str(template))
    assert broken(ModelConformance, model, method).startswith(sentence)


@pytest.mark.parametrize("method", sorted({method for _, method, _ in TEMPLATES.values()}))
def test_a_right_template_passes_the_same_checks(method: str, tmp_path: Path) -> None:
    pytest.importorskip("jinja2")
    template = tmp_path / "template.jinja"
    template.write_text(RIGHT)
    checked(ModelConformance, model_spec(chat_template=str(template)), method)


FACTS = {
    "an unknown token": (
        model_spec(turn_end_tokens=("<|im_end|>", "<|eot|>")),
        "test_its_turn_end_tokens_are_known_to_its_tokenizer",
        "turn_end_tokens must be single tokens of the tokenizer; <|eot|> is none",
    ),
    "another architecture": (
        model_spec(architectures=("LlamaForCausalLM",)),
        "test_its_architecture_is_that_of_its_config",
        "the first architecture must be that of config.json, ['Qwen3ForCausalLM']; the manifest "
        "says ['LlamaForCausalLM']",
    ),
    "more context than positions": (
        model_spec(context_tokens=1_000_000),
        "test_its_context_fits_its_config",
        "context_tokens must be at most config.json's ",
    ),
    "a bad name": (
        model_spec(name="My Model"),
        "test_its_facts_pass_the_schema_and_the_rules",
        'its facts must pass the schema and rules of a model; $.name: found "My Model"; ',
    ),
    "a fraction where JSON has a whole number": (
        model_spec(parameters=1.5),
        "test_its_facts_pass_the_schema_and_the_rules",
        "its facts must pass the schema and rules of a model; $.parameters: found 1.5 ",
    ),
}


@pytest.mark.parametrize(("model", "method", "sentence"), FACTS.values(), ids=FACTS)
def test_wrong_facts_fail_with_a_sentence(model: ModelSpec, method: str, sentence: str) -> None:
    assert broken(ModelConformance, model, method).startswith(sentence)


def test_facts_that_do_not_survive_json_fail() -> None:
    sentence = broken(
        ModelConformance, model_spec(turn_end_tokens=["a"]), "test_its_facts_survive_json"
    )
    assert sentence.startswith("its spec must survive JSON; ModelSpec(")


def test_absent_weights_are_skipped_with_the_command_that_brings_them() -> None:
    model = model_spec(name="far-away", source=FileSource(hub="nobody/nothing"))
    with pytest.raises(unittest.SkipTest) as skipped:
        checked(ModelConformance, model, "test_its_architecture_is_that_of_its_config")
    assert str(skipped.value) == (
        "its weights are not on this machine: run `ptb prefetch --model far-away`"
    )


def test_the_models_files_can_be_given_by_the_author(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_checkpoint(), folder, copy_function=shutil.copyfile)
    (folder / "config.json").write_text(json.dumps({"architectures": ["GemmaForCausalLM"]}))
    model = replace(model_spec(), source=FileSource(hub="nobody/nothing"))
    sentence = broken(
        ModelConformance,
        model,
        "test_its_architecture_is_that_of_its_config",
        files=lambda self: folder,
    )
    assert "['GemmaForCausalLM']" in sentence
