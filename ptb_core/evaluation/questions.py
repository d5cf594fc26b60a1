"""What is sent for a request, and in which batches."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ptb_core.canonical import canonical_json
from ptb_core.evaluation.client_limits import ClientLimits
from ptb_core.evaluation.exchange import (
    ChatRequest,
    CompletionRequest,
    LogLikelihoodRequest,
    Request,
)
from ptb_core.specs import JsonValue, RequestKind, Sampling


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleRequests:
    """What is asked for one sample; ids are unique in a task.

    Attributes:
        id: The sample's id, or a name that stands for it where the id must not be known.
        requests: Its requests.
        seeds: Seeds of the requests under each seed of the evaluation, where ``id`` is such a
            name; otherwise they follow from the id.
    """

    id: str
    requests: tuple[Request, ...]
    seeds: Mapping[int, tuple[int, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateOptions:
    """How the model is asked.

    Attributes:
        requests: ``published`` sends the limit of the answer and nothing else; ``seeded`` fixes
            sampling, and a seed for each request.
        max_tokens: Longest answer; a request's own smaller limit holds.
        sampling: For seeded requests.
        stop: Strings that end the answers of seeded requests, such as the family's turn-end
            token; an engine treats a string that is one token as that token.
        stop_token_ids: Further tokens that end the answers of seeded requests.
        epoch: Counts repetitions of the whole task under one seed, from 1.
        round: Counts all evaluations of the task whose answers are in one log, from 1.
        limits: What the server may cost.
    """

    requests: RequestKind
    max_tokens: int
    sampling: Sampling = Sampling()
    stop: tuple[str, ...] = ()
    stop_token_ids: tuple[int, ...] = ()
    epoch: int = 1
    round: int = 1
    limits: ClientLimits = field(default_factory=ClientLimits)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One request of one sample, ready to be sent.

    Attributes:
        sample: The sample's id.
        call: Place among the sample's requests, from 0.
        calls: Number of the sample's requests.
        request: The request.
        body: What is sent, without the model's name and the batch.
        digest: First 16 hex digits of the sha256 of ``body``.
    """

    sample: str
    call: int
    calls: int
    request: Request
    body: dict[str, JsonValue]
    digest: str


def questions(samples: Sequence[SampleRequests], options: GenerateOptions) -> list[Question]:
    """Return all requests of all samples, in order."""
    asked = []
    for sample in samples:
        for call, request in enumerate(sample.requests):
            given = sample.seeds.get(options.sampling.seed)
            if given is None:
                seed = sample_seed(options.sampling.seed, sample.id, options.epoch, call)
            else:
                seed = given[call]
            body = request_body(request, options, seed)
            digest = hashlib.sha256(canonical_json(body)).hexdigest()[:16]
            asked.append(
                Question(
                    sample=sample.id,
                    call=call,
                    calls=len(sample.requests),
                    request=request,
                    body=body,
                    digest=digest,
                )
            )
    return asked


def sample_seed(seed: int, sample_id: str, epoch: int, call: int) -> int:
    """Return the seed of one request.

    Source: seeded requests of the protocol: the first four bytes, little-endian, of the sha256
    of ``seed:id:epoch:call``, without the highest bit.
    """
    text = f"{seed}:{sample_id}:{epoch}:{call}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "little") & 0x7FFFFFFF


def request_body(request: Request, options: GenerateOptions, seed: int) -> dict[str, JsonValue]:
    """Return what is sent for one request, without the model's name."""
    if isinstance(request, LogLikelihoodRequest):
        return _likelihood_body(request)
    own = request.max_tokens
    limit = options.max_tokens if own is None else min(own, options.max_tokens)
    body: dict[str, JsonValue] = {"max_tokens": limit}
    if options.requests == "seeded":
        body |= _sampling(options, seed)
    if isinstance(request, ChatRequest):
        body["messages"] = list(request.messages)
        if request.tools:
            body |= {"tools": list(request.tools), "tool_choice": "auto"}
        return body
    return body | _completion_fields(request, body.get("stop", []))


def split_pair(request: LogLikelihoodRequest) -> tuple[str, str]:
    """Return context and continuation, white space at the context's end moved to the latter.

    Source: lm-eval's ``TemplateLM._encode_pair``.
    """
    context = request.context.rstrip()
    return context, request.context[len(context) :] + request.continuation


def _sampling(options: GenerateOptions, seed: int) -> dict[str, JsonValue]:
    sampling = options.sampling
    fields: dict[str, JsonValue] = {
        "seed": seed,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
    }
    if options.stop:
        fields["stop"] = list(options.stop)
    if options.stop_token_ids:
        fields["stop_token_ids"] = list(options.stop_token_ids)
    return fields


def _completion_fields(request: CompletionRequest, stop: list[str]) -> dict[str, JsonValue]:
    """Return what a text completion adds; its own temperature holds."""
    fields: dict[str, JsonValue] = {"prompt": request.prompt, "ptb_truncate_prompt": True}
    if request.temperature is not None:
        fields["temperature"] = request.temperature
    if request.stop or stop:
        fields["stop"] = list(dict.fromkeys([*request.stop, *stop]))
    return fields


def _likelihood_body(request: LogLikelihoodRequest) -> dict[str, JsonValue]:
    """Return the question in our extension and, for other servers, in OpenAI's older form."""
    context, continuation = split_pair(request)
    return {
        "prompt": context + continuation,
        "max_tokens": 1,
        "temperature": 0.0,
        "echo": True,
        "logprobs": 1,
        "ptb_loglikelihood": {
            "context": request.context,
            "continuation": request.continuation,
        },
    }
