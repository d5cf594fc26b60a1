"""What is read beside the weights: where an answer ends, and whether there is a tokenizer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ptb_plugins.engines.faults import CheckpointFault
from ptb_plugins.engines.transformers.loading import load_tokenizer, read_generation_config


def write(folder: Path, name: str, **content: Any) -> Path:
    (folder / name).write_text(json.dumps(content), "utf-8")
    return folder


def test_a_generation_config_hides_the_end_tokens_of_config_json(tmp_path: Path) -> None:
    write(tmp_path, "config.json", eos_token_id=2)
    assert read_generation_config(str(tmp_path)) == {"eos_token_id": 2}
    write(tmp_path, "generation_config.json", temperature=0.6)
    assert read_generation_config(str(tmp_path)) == {"temperature": 0.6}


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"eos_token_id": [1, 106]}, {"eos_token_id": [1, 106]}),
        ({"text_config": {"eos_token_id": 106}}, {"eos_token_id": 106}),
        ({"eos_token_id": 1, "text_config": {"eos_token_id": 106}}, {"eos_token_id": 1}),
        ({"temperature": 3.0, "text_config": None}, {}),
    ],
)
def test_without_generation_config_only_the_end_tokens_of_config_json_count(
    tmp_path: Path, config: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert read_generation_config(str(write(tmp_path, "config.json", **config))) == expected


def test_without_any_file_nothing_is_declared(tmp_path: Path) -> None:
    assert read_generation_config(str(tmp_path)) == {}
    assert read_generation_config(None) == {}


@pytest.mark.parametrize("names", [(), ("config.json",), ("tokenizer_config.json", "vocab.json")])
def test_a_folder_without_vocabulary_holds_no_tokenizer(
    tmp_path: Path, names: tuple[str, ...]
) -> None:
    """Transformers makes an empty tokenizer of some of these, which encodes any text to nothing."""
    for name in names:
        write(tmp_path, name, model_type="qwen3")
    with pytest.raises(CheckpointFault) as caught:
        load_tokenizer(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path} holds no tokenizer: expected tokenizer.json, a .model file, or vocab.json "
        "with merges.txt; save it with the tokenizer's save_pretrained"
    )
