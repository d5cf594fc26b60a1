"""Request bodies of the OpenAI API, checked and turned into jobs."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec

from ptb_plugins.engines.generation_config import GenerationDefaults
from ptb_plugins.engines.transformers.batching import BatchSlot
from ptb_plugins.engines.transformers.jobs import GenerationJob, LikelihoodJob, RowSampling
from ptb_plugins.engines.transformers.likelihood import encode_pair, encode_text
from ptb_plugins.engines.transformers.loading import LoadedModel, single_token_ids


class BadRequest(Exception):
    """The request itself is at fault; answered with status 400 and this text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingBody:
    """What chat and text completions have in common; None means the server's default."""

    model: str | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    stop_token_ids: list[int] | None = None
    n: int | None = None
    stream: bool | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logit_bias: dict[str, float] | None = None
    ptb_batch: BatchSlot | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatBody(SamplingBody):
    """Body of ``POST /v1/chat/completions``."""

    messages: list[dict[str, Any]]
    max_completion_tokens: int | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PairBody:
    """The extension ``ptb_loglikelihood``: text to be scored after other text."""

    context: str
    continuation: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletionBody(SamplingBody):
    """Body of ``POST /v1/completions``.

    Attributes:
        prompt: The whole prompt.
        echo: True puts the prompt before the answer.
        logprobs: 0 or 1 asks for log-probabilities of the tokens, and of the likeliest ones.
        ptb_truncate_prompt: True cuts a prompt that is too long at its start, so that
            ``max_tokens`` fit, as lm-eval does.
        ptb_loglikelihood: When given, only the continuation's log-probability is computed.
    """

    prompt: str = ""
    echo: bool = False
    logprobs: int | None = None
    ptb_truncate_prompt: bool = False
    ptb_loglikelihood: PairBody | None = None


BodyT = TypeVar("BodyT", ChatBody, CompletionBody)


def read_body(content: bytes, body_type: type[BodyT]) -> BodyT:
    """Return a checked request body; unknown fields are ignored.

    Raises:
        BadRequest: If it is no JSON, a field has a wrong type, or it asks for what this server
            cannot do.
    """
    try:
        body = msgspec.json.decode(content, type=body_type)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadRequest(f"the request body cannot be read: {error}") from error
    unserved = {
        "n": body.n not in (None, 1),
        "stream": bool(body.stream),
        "presence_penalty": bool(body.presence_penalty),
        "frequency_penalty": bool(body.frequency_penalty),
        "logit_bias": bool(body.logit_bias),
    }
    asked = [name for name, is_asked in unserved.items() if is_asked]
    if asked:
        raise BadRequest(f"this server does not offer: {', '.join(asked)}")
    return body


def row_sampling(body: SamplingBody, defaults: GenerationDefaults, server_seed: int) -> RowSampling:
    """Return the sampling of one request: its own values, else the defaults.

    Raises:
        BadRequest: If a value is out of its range.
    """
    sampling = RowSampling(
        temperature=_first(body.temperature, defaults.temperature),
        top_p=_first(body.top_p, defaults.top_p),
        top_k=max(0, _first(body.top_k, defaults.top_k)),
        min_p=_first(body.min_p, defaults.min_p),
        repetition_penalty=_first(body.repetition_penalty, defaults.repetition_penalty),
        seed=_seed(body, server_seed),
    )
    ranges: Mapping[str, tuple[bool, str]] = {
        "temperature": (0 <= sampling.temperature < float("inf"), "0 or more"),
        "top_p": (0 < sampling.top_p <= 1, "in (0, 1]"),
        "top_k": (_first(body.top_k, 0) >= -1, "-1 or more"),
        "min_p": (0 <= sampling.min_p <= 1, "in [0, 1]"),
        "repetition_penalty": (0 < sampling.repetition_penalty < float("inf"), "above 0"),
        "seed": (-(2**63) <= sampling.seed < 2**63, "a signed 64-bit integer"),
    }
    faults = [
        f"{name} is {getattr(body, name)!r}, expected {expected}"
        for name, (is_valid, expected) in ranges.items()
        if not is_valid
    ]
    if faults:
        raise BadRequest("; ".join(faults))
    return sampling


def generation_job(
    body: SamplingBody,
    prompt_ids: tuple[int, ...],
    loaded: LoadedModel,
    *,
    max_context: int,
    server_seed: int,
    keep_special_tokens: bool = False,
) -> GenerationJob:
    """Return the job of one completion.

    Raises:
        BadRequest: If the prompt leaves no room, is empty, or holds tokens the model lacks.
    """
    require_prompt(prompt_ids, loaded, max_context)
    asked = getattr(body, "max_completion_tokens", None) or body.max_tokens
    if asked is not None and asked < 1:
        raise BadRequest(f"max_tokens is {asked}, expected 1 or more")
    limits = (asked, loaded.defaults.max_new_tokens, max_context - len(prompt_ids))
    stop = (body.stop,) if isinstance(body.stop, str) else tuple(body.stop or ())
    stop_ids = loaded.end_ids | single_token_ids(loaded.tokenizer, stop)
    return GenerationJob(
        prompt_ids=prompt_ids,
        max_tokens=min(limit for limit in limits if limit is not None),
        sampling=row_sampling(body, loaded.defaults, server_seed),
        stop=tuple(text for text in stop if text),
        stop_ids=stop_ids | frozenset(body.stop_token_ids or ()),
        keep_special_tokens=keep_special_tokens,
    )


def completion_prompt(
    body: CompletionBody, loaded: LoadedModel, max_context: int
) -> tuple[int, ...]:
    """Return a text completion's prompt tokens, cut at the start where the request allows it.

    Raises:
        BadRequest: If the prompt may be cut but ``max_tokens`` leaves no room for any of it.
    """
    ids = encode_text(loaded.tokenizer, body.prompt)
    if not body.ptb_truncate_prompt or body.max_tokens is None:
        return ids
    room = max_context - body.max_tokens
    if room < 1:
        raise BadRequest(
            f"max_tokens is {body.max_tokens}, which leaves no room for a prompt: the context "
            f"holds {max_context} tokens"
        )
    return ids[-room:]


def likelihood_job(pair: PairBody, loaded: LoadedModel, max_context: int) -> LikelihoodJob:
    """Return the job of one log-likelihood; a context that is too long is cut at its start.

    Raises:
        BadRequest: If the continuation is empty or alone too long.
    """
    context, continuation = encode_pair(loaded.tokenizer, pair.context, pair.continuation)
    if not context or not continuation or len(continuation) > max_context:
        raise BadRequest(
            f"the continuation has {len(continuation)} tokens, expected 1 to {max_context} "
            f"after at least one token of context"
        )
    require_known(context + continuation, loaded)
    room = max_context + 1 - len(continuation)
    return LikelihoodJob(context_ids=context[-room:], continuation_ids=continuation)


def require_prompt(ids: tuple[int, ...], loaded: LoadedModel, max_context: int) -> None:
    """Refuse prompts that are empty, leave no room for an answer, or hold unknown tokens.

    Raises:
        BadRequest: With the reason.
    """
    if not ids:
        raise BadRequest("the prompt has no tokens")
    if len(ids) >= max_context:
        raise BadRequest(
            f"This model's maximum context length is {max_context} tokens. However, your request "
            f"has {len(ids)} input tokens. Please reduce the length of the input messages."
        )
    require_known(ids, loaded)


def require_known(ids: tuple[int, ...], loaded: LoadedModel) -> None:
    """Refuse tokens beyond the embedding, which would end the process on a GPU.

    Raises:
        BadRequest: With the largest token id.
    """
    if max(ids) >= loaded.vocabulary_size:
        raise BadRequest(
            f"the prompt holds token {max(ids)}, but the model's vocabulary ends at "
            f"{loaded.vocabulary_size - 1}: its tokenizer does not fit its weights"
        )


NumberT = TypeVar("NumberT", int, float)


def _first(value: NumberT | None, default: NumberT) -> NumberT:
    return default if value is None else value


def _seed(body: SamplingBody, server_seed: int) -> int:
    """Return the request's seed; without one, a fixed batch repeats and others do not."""
    if body.seed is not None:
        return body.seed
    if body.ptb_batch is None:
        return secrets.randbits(62)
    place = f"{server_seed}:{body.ptb_batch.id}:{body.ptb_batch.index}"
    return int.from_bytes(hashlib.sha256(place.encode()).digest()[:7], "little")
