"""Reading tokenizer data, generation settings and weights; data only, never code.

Everything read here may come from a submission, so whatever is wrong with it is a
:class:`~ptb_plugins.engines.transformers.config.CheckpointFault` with a reason.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ptb_plugins.engines.transformers.config import CheckpointFault, ServerConfig

PICKLE_PATTERNS = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationDefaults:
    """Values for requests that set none.

    Source: vLLM's use of generation_config.json: ``do_sample`` is not looked at, absent values
    mean temperature 1 over the whole vocabulary, and ``max_new_tokens`` caps every answer.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    max_new_tokens: int | None = None


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
    settings = settings or _ends_of_config(config.generation_config, model.config)
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

    _require_tokenizer(folder)
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


def read_generation_config(folder: str | None) -> dict[str, Any]:
    """Return the content of a folder's generation_config.json; empty when there is none.

    Raises:
        CheckpointFault: If the file is no JSON object.
    """
    if folder is None or not (Path(folder) / "generation_config.json").is_file():
        return {}
    return _read_object(Path(folder) / "generation_config.json")


def generation_defaults(settings: dict[str, Any]) -> GenerationDefaults:
    """Return sampling defaults from the content of a generation_config.json.

    Raises:
        CheckpointFault: If a value is out of its range.
    """
    faults = [
        f"{name} is {settings[name]!r}, expected {expected}"
        for name, (expected, is_valid) in _RANGES.items()
        if settings.get(name) is not None and not is_valid(settings[name])
    ]
    if faults:
        raise CheckpointFault("generation_config.json: " + "; ".join(faults))
    values = {name: settings[name] for name in _RANGES if settings.get(name) is not None}
    if "top_k" in values:
        values["top_k"] = max(0, values["top_k"])
    return GenerationDefaults(**values)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


_RANGES: dict[str, tuple[str, Any]] = {
    "temperature": ("a number of at least 0", lambda v: _is_number(v) and v >= 0),
    "top_p": ("a number in (0, 1]", lambda v: _is_number(v) and 0 < v <= 1),
    "top_k": ("an integer of at least -1", lambda v: _is_integer(v) and v >= -1),
    "min_p": ("a number in [0, 1]", lambda v: _is_number(v) and 0 <= v <= 1),
    "repetition_penalty": ("a number above 0", lambda v: _is_number(v) and v > 0),
    "max_new_tokens": ("an integer of at least 1", lambda v: _is_integer(v) and v >= 1),
}


def _end_ids(tokenizer: Any, settings: dict[str, Any]) -> Iterable[int]:
    """Yield the tokens that end an answer: the tokenizer's, and the declared ones."""
    if tokenizer.eos_token_id is not None:
        yield int(tokenizer.eos_token_id)
    declared: Any = settings.get("eos_token_id")
    for value in declared if isinstance(declared, list) else [declared]:
        if _is_integer(value):
            yield value


def single_token_ids(tokenizer: Any, texts: Iterable[str]) -> set[int]:
    """Return the ids of those texts that are exactly one token of the vocabulary."""
    vocabulary = tokenizer.get_vocab()
    return {int(vocabulary[text]) for text in texts if text in vocabulary}


def _read_object(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text("utf-8"))
    except (ValueError, OSError) as error:
        raise CheckpointFault(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(content, dict):
        raise CheckpointFault(f"{path} holds a {type(content).__name__}, expected a JSON object")
    return content


def _load_model(folder: Path, dtype: str, device: torch.device) -> Any:
    from transformers import AutoModelForCausalLM

    _require_safetensors(folder)
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


def _require_safetensors(folder: Path) -> None:
    if any(folder.glob("*.safetensors")):
        return
    pickles = sorted(path.name for pattern in PICKLE_PATTERNS for path in folder.glob(pattern))
    found = f"; found {', '.join(pickles)}, a pickle, which is never loaded" if pickles else ""
    raise CheckpointFault(f"{folder} holds no .safetensors file{found}")


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


VOCABULARY_FILES = frozenset({"tokenizer.json", "tekken.json", "vocab.txt"})
VOCABULARY_SUFFIXES = (".model", ".tiktoken")
"""Files that each hold a whole vocabulary; vocab.json needs merges.txt beside it."""


def _require_tokenizer(folder: Path) -> None:
    """Refuse a folder without vocabulary, of which transformers makes an empty tokenizer."""
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    single = any(name.endswith(VOCABULARY_SUFFIXES) for name in names)
    if single or names & VOCABULARY_FILES or {"vocab.json", "merges.txt"} <= names:
        return
    raise CheckpointFault(
        f"{folder} holds no tokenizer: expected tokenizer.json, a .model file, or vocab.json with "
        "merges.txt; save it with the tokenizer's save_pretrained"
    )


def _ends_of_config(folder: str | None, config: Any) -> dict[str, Any]:
    """Return the end tokens of config.json for a folder without generation_config.json.

    Source: vLLM and transformers make their generation settings of config.json then.
    """
    from transformers import GenerationConfig

    if folder is None or (Path(folder) / "generation_config.json").is_file():
        return {}
    return {"eos_token_id": GenerationConfig.from_model_config(config).eos_token_id}
