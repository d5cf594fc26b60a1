"""Reading tokenizer data, generation settings and weights; data only, never code.

Everything read here may come from a submission, so whatever is wrong with it is a
:class:`~ptb_plugins.engines.faults.CheckpointFault` with a reason.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ptb_plugins.engines.faults import CheckpointFault
from ptb_plugins.engines.generation_config import (
    GenerationDefaults,
    declared_end_ids,
    generation_defaults,
    read_generation_config,
)
from ptb_plugins.engines.tokenizer_files import require_tokenizer
from ptb_plugins.engines.transformers.config import ServerConfig
from ptb_plugins.engines.weights import require_safetensors


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedModel:
    """What is served.

    Attributes:
        model: A transformers causal LM in evaluation mode.
        tokenizer: A transformers tokenizer, never asked to pad or truncate.
        device: Where the model's inputs go.
        defaults: Sampling defaults.
        end_ids: Tokens that end every answer.
        vocabulary_size: Number of rows of the input embedding; larger token ids cannot be read.
    """

    model: Any
    tokenizer: Any
    device: torch.device
    defaults: GenerationDefaults
    end_ids: frozenset[int]
    vocabulary_size: int


def load(config: ServerConfig) -> LoadedModel:
    """Load all that a server needs.

    Raises:
        CheckpointFault: If weights, tokenizer or generation settings cannot be used.
        RuntimeError: If the device is absent or too small.
    """
    device = _device(config.device)
    tokenizer = load_tokenizer(Path(config.tokenizer))
    settings = read_generation_config(config.generation_config)
    model = _load_model(Path(config.checkpoint), config.dtype, device)
    return LoadedModel(
        model=model,
        tokenizer=tokenizer,
        device=device,
        defaults=generation_defaults(settings),
        end_ids=frozenset(_end_ids(tokenizer, settings)),
        vocabulary_size=int(model.get_input_embeddings().weight.shape[0]),
    )


def load_tokenizer(folder: Path) -> Any:
    """Load tokenizer data from a folder.

    Raises:
        CheckpointFault: If there is none, it cannot be loaded, or it makes no tokens of plain text.
    """
    from transformers import AutoTokenizer

    require_tokenizer(folder)
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            str(folder), local_files_only=True, trust_remote_code=False
        )
        tokens = tokenizer("warm up", add_special_tokens=False)["input_ids"]
    except Exception as error:
        raise CheckpointFault(f"tokenizer data in {folder} cannot be loaded: {error}") from error
    if not tokens:
        raise CheckpointFault(f"the tokenizer in {folder} makes no tokens of the text 'warm up'")
    return tokenizer


def _end_ids(tokenizer: Any, settings: dict[str, Any]) -> Iterable[int]:
    """Yield the tokens that end an answer: the tokenizer's, and the declared ones."""
    if tokenizer.eos_token_id is not None:
        yield int(tokenizer.eos_token_id)
    yield from declared_end_ids(settings)


def single_token_ids(tokenizer: Any, texts: Iterable[str]) -> set[int]:
    """Return the ids of those texts that are exactly one token of the vocabulary."""
    vocabulary = tokenizer.get_vocab()
    return {int(vocabulary[text]) for text in texts if text in vocabulary}


def _load_model(folder: Path, dtype: str, device: torch.device) -> Any:
    from transformers import AutoModelForCausalLM

    require_safetensors(folder)
    try:
        model, facts = AutoModelForCausalLM.from_pretrained(
            str(folder),
            dtype=dtype if dtype == "auto" else getattr(torch, dtype),
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise CheckpointFault(f"the weights in {folder} cannot be loaded: {reason}") from error
    _require_complete(folder, sorted(map(str, facts["missing_keys"])))
    return model.eval().to(device)


def _require_complete(folder: Path, missing: list[str]) -> None:
    """Refuse weights that transformers would fill up with random numbers."""
    if missing:
        shown = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
        raise CheckpointFault(f"the weights in {folder} lack {len(missing)} tensors: {shown}")


def _device(name: str) -> torch.device:
    has_gpu = torch.cuda.is_available()
    if name == "cuda" and not has_gpu:
        raise RuntimeError("device cuda was asked for, but torch sees no GPU in this session")
    return torch.device("cuda" if name != "cpu" and has_gpu else "cpu")
