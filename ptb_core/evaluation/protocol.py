"""How a protocol asks a checkpoint: the same rules for final and development evaluation.

Published requests use the submission's own tokenizer data and generation_config.json and send
``max_tokens`` only. Seeded requests use the base model's tokenizer, fixed sampling, and stop at
the end tokens that the submission declares as well as at the family's turn-end token. Such a
token is asked for by its id: a server that leaves special tokens out of its text never finds one
there. The chat template is always ours. Source: design page, "Protocols".
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ptb_core.json_codec import encodable
from ptb_core.seal_files import is_whole_tokenizer
from ptb_core.specs import JsonValue, ModelSpec, ProtocolSpec

if TYPE_CHECKING:
    from ptb_core.evaluation.generate import GenerateOptions

SEEDED_DATE = "2026-01-01"
"""Date that templates print under seeded requests (SmolLM3's prints today's)."""

END_TOKEN_CHARACTERS = 200
"""Longest text that is taken as an end token."""

PAPER_V1 = ProtocolSpec(name="paper-v1", requests="published", scoring="published")
STRICT = ProtocolSpec(name="strict", requests="seeded", scoring="repaired")
PROTOCOLS: Mapping[str, ProtocolSpec] = {p.name: p for p in (PAPER_V1, STRICT)}


@dataclass(frozen=True, slots=True, kw_only=True)
class EndTokens:
    """What a checkpoint declares as ends of an answer: token ids, and tokens by their text."""

    ids: tuple[int, ...]
    texts: tuple[str, ...]


def declared_end_tokens(checkpoint: Path) -> EndTokens:
    """Return the end tokens that a checkpoint's own files declare; damaged files declare none.

    A text that is no Unicode, or longer than any token, declares none either: it would go into
    every request.
    """
    ids: list[int] = []
    for name in ("generation_config.json", "config.json"):
        value = _json_object(checkpoint / name).get("eos_token_id")
        found = value if isinstance(value, list) else [value]
        ids += [item for item in found if isinstance(item, int) and not isinstance(item, bool)]
    token = _json_object(checkpoint / "tokenizer_config.json").get("eos_token")
    text = token.get("content") if isinstance(token, dict) else token
    return EndTokens(
        ids=tuple(dict.fromkeys(ids)),
        texts=(text,) if isinstance(text, str) and _can_be_a_token(text) else (),
    )


def _can_be_a_token(text: str) -> bool:
    return len(text) <= END_TOKEN_CHARACTERS and encodable(text) == text


def seeded_generation_config(checkpoint: Path, base_model: Path) -> dict[str, JsonValue]:
    """Return the generation_config.json for seeded requests: end tokens and nothing else."""
    ids = (*declared_end_tokens(checkpoint).ids, *declared_end_tokens(base_model).ids)
    return {"eos_token_id": list(dict.fromkeys(ids))}


def tokenizer_source(checkpoint: Path, protocol: ProtocolSpec) -> Literal["checkpoint", "base"]:
    """Say whose tokenizer is used; a submission without one is read with the base model's."""
    if protocol.requests == "seeded":
        return "base"
    own = is_whole_tokenizer({path.name for path in checkpoint.glob("*")})
    return "checkpoint" if own else "base"


def template_date(protocol: ProtocolSpec) -> str | None:
    """Return the date that templates print: fixed under seeded requests, else the real one."""
    return SEEDED_DATE if protocol.requests == "seeded" else None


def longest_answer_tokens(protocol: ProtocolSpec, task_max_tokens: int, model: ModelSpec) -> int:
    """Return the ``max_tokens`` that requests send: never more than the model's whole context.

    vLLM refuses such requests with status 400 before it looks at the prompt.
    """
    return min(protocol.max_tokens or task_max_tokens, model.context_tokens)


def generate_options(
    protocol: ProtocolSpec,
    task_max_tokens: int,
    model: ModelSpec,
    *,
    checkpoint: Path,
    base_model: Path,
) -> GenerateOptions:
    """Return how the model is asked.

    Args:
        protocol: The protocol.
        task_max_tokens: The task's own limit, used unless the protocol sets another.
        model: The base model's spec, whose family gives the turn-end token.
        checkpoint: The checkpoint, which declares further end tokens.
        base_model: Folder of the base model, whose tokenizer reads seeded requests.
    """
    from ptb_core.evaluation.generate import GenerateOptions

    ends: tuple[str, ...] = ()
    if protocol.requests == "seeded":
        ends = (*model.turn_end_tokens, *declared_end_tokens(checkpoint).texts)
    ids = token_ids(base_model, ends)
    return GenerateOptions(
        requests=protocol.requests,
        sampling=protocol.sampling,
        max_tokens=longest_answer_tokens(protocol, task_max_tokens, model),
        stop=tuple(text for text in dict.fromkeys(ends) if text and text not in ids),
        stop_token_ids=tuple(dict.fromkeys(ids.values())),
    )


def token_ids(tokenizer: Path, texts: Iterable[str]) -> Mapping[str, int]:
    """Return the ids of those texts that are exactly one token.

    Args:
        tokenizer: Folder of tokenizer data; ``tokenizer.json``, ``added_tokens.json`` and
            ``tokenizer_config.json`` are looked at, and damaged ones name no token.
        texts: Texts of tokens.
    """
    wanted = tuple(dict.fromkeys(texts))
    if not wanted:
        return {}
    known: dict[str, int] = {}
    for vocabulary in _vocabularies(tokenizer):
        known |= {text: vocabulary[text] for text in wanted if text in vocabulary}
    return {text: known[text] for text in wanted if text in known}


def _vocabularies(tokenizer: Path) -> Iterator[Mapping[str, int]]:
    """Yield tables from a token's text to its id; added tokens, which win, come last."""
    data = _json_object(tokenizer / "tokenizer.json")
    model = data.get("model")
    plain = model.get("vocab") if isinstance(model, dict) else None
    if isinstance(plain, list):  # Unigram: pairs of text and score, by id
        yield _table((row[0], n) for n, row in enumerate(plain) if isinstance(row, list) and row)
    else:
        yield _table(_items(plain))
    config = _json_object(tokenizer / "tokenizer_config.json")
    yield _table(
        (row.get("content"), int(key))
        for key, row in _items(config.get("added_tokens_decoder"))
        if isinstance(row, dict) and key.isdecimal()
    )
    yield _table(_items(_json_object(tokenizer / "added_tokens.json")))
    added = data.get("added_tokens")
    rows = added if isinstance(added, list) else []
    yield _table((row.get("content"), row.get("id")) for row in rows if isinstance(row, dict))


def _table(pairs: Iterable[tuple[JsonValue, JsonValue]]) -> Mapping[str, int]:
    return {text: number for text, number in pairs if isinstance(text, str) and _is_id(number)}


def _items(value: JsonValue) -> Iterable[tuple[str, JsonValue]]:
    return value.items() if isinstance(value, dict) else ()


def _is_id(value: JsonValue) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _json_object(path: Path) -> Mapping[str, JsonValue]:
    try:
        value = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
