"""What is read beside the weights: where an answer ends, and whether there is a tokenizer."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from ptb_core.data import data_dir
from ptb_plugins.engines.transformers.config import ServerConfig
from ptb_plugins.engines.transformers.loading import CheckpointFault, load, load_tokenizer

END_OF_TEXT = 0
"""The end token that the tiny model's tokenizer declares."""


def copy_of_tiny_model(tmp_path: Path, config: dict[str, Any]) -> Path:
    source = data_dir() / "embedded" / "models" / "tiny-qwen3"
    folder = Path(shutil.copytree(source, tmp_path / "checkpoint"))
    content = json.loads((folder / "config.json").read_text("utf-8"))
    return write(folder, "config.json", **content | config)


def server_config(folder: Path, generation_config: str | None) -> ServerConfig:
    return ServerConfig(
        socket="",
        model_name="tiny",
        checkpoint=str(folder),
        tokenizer=str(folder),
        generation_config=generation_config,
        chat_template="",
        max_context_tokens=64,
        device="cpu",
    )


def write(folder: Path, name: str, **content: Any) -> Path:
    (folder / name).write_text(json.dumps(content), "utf-8")
    return folder


@pytest.mark.parametrize(
    ("saved", "config", "ends"),
    [
        ({}, {"eos_token_id": 2}, set()),
        ({"temperature": 0.6}, {"eos_token_id": 2}, set()),
        ({"eos_token_id": [1, 2]}, {"eos_token_id": 0}, {1, 2}),
        (None, {"eos_token_id": 2}, {2}),
        (None, {"eos_token_id": [1, 2]}, {1, 2}),
        (None, {"eos_token_id": None}, set()),
    ],
)
def test_config_json_says_where_answers_end_if_there_is_no_generation_config(
    tmp_path: Path, saved: dict[str, Any] | None, config: dict[str, Any], ends: set[int]
) -> None:
    folder = copy_of_tiny_model(tmp_path, config)
    (folder / "generation_config.json").unlink()
    if saved is not None:
        write(folder, "generation_config.json", **saved)
    loaded = load(server_config(folder, generation_config=str(folder)))
    assert loaded.end_ids == {END_OF_TEXT, *ends}


def test_without_a_folder_of_generation_settings_the_tokenizer_alone_declares_an_end(
    tmp_path: Path,
) -> None:
    folder = copy_of_tiny_model(tmp_path, {"eos_token_id": 2})
    loaded = load(server_config(folder, generation_config=None))
    assert loaded.end_ids == {END_OF_TEXT}


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
