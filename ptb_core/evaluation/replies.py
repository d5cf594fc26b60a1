"""Reading a server's replies: typed, and never trusting their form."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Annotated, Literal, TypeAlias

import msgspec

from ptb_core.evaluation.exchange import (
    Completion,
    LogLikelihoodRequest,
    Request,
    ToolCall,
)
from ptb_core.evaluation.questions import split_pair

ERROR_CHARACTERS = 2000

_TOO_LONG = re.compile(
    r"maximum (?:context|model) length|max_tokens must be at least 1|leaves no room for a prompt",
    re.IGNORECASE,
)


class UnreadableReplyError(ValueError):
    """A reply lacks the form of the OpenAI API; the text continues "the server's answer"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Function:
    name: str | None = None
    arguments: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Call:
    function: _Function


@dataclass(frozen=True, slots=True, kw_only=True)
class _Message:
    content: str | None = None
    tool_calls: tuple[_Call, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _LogProbs:
    tokens: tuple[str, ...]
    token_logprobs: tuple[float | None, ...]
    text_offset: tuple[int, ...]
    top_logprobs: tuple[dict[str, float] | None, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Likelihood:
    log_probability: float
    is_greedy: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Choice:
    message: _Message | None = None
    text: str | None = None
    finish_reason: str | None = None
    logprobs: _LogProbs | None = None
    ptb_loglikelihood: _Likelihood | None = None


_Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=2**40)]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Usage:
    prompt_tokens: _Count | None = None
    completion_tokens: _Count | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reply:
    choices: tuple[_Choice, ...]
    usage: _Usage | None = None


def read_reply(content: bytes, request: Request) -> Completion:
    """Return the completion that a reply of status 200 holds.

    Raises:
        UnreadableReplyError: If it is no JSON or lacks what the request asked for.
    """
    try:
        reply = msgspec.json.decode(content, type=_Reply)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UnreadableReplyError(f"cannot be read: {error}") from error
    if len(reply.choices) != 1:
        raise UnreadableReplyError(f"holds {len(reply.choices)} choices, expected 1")
    choice, usage = reply.choices[0], reply.usage or _Usage()
    likelihood = None
    if isinstance(request, LogLikelihoodRequest):
        likelihood = choice.ptb_loglikelihood or _from_log_probs(request, choice.logprobs)
    message = choice.message or _Message(content=choice.text)
    return Completion(
        text=message.content,
        tool_calls=tuple(
            ToolCall(name=call.function.name, arguments=call.function.arguments)
            for call in message.tool_calls or ()
        ),
        finish_reason=_finish_reason(choice.finish_reason),
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        log_probability=likelihood.log_probability if likelihood else None,
        is_greedy=likelihood.is_greedy if likelihood else None,
    )


def read_error(content: bytes) -> str:
    """Return the server's words for an error, shortened; any bytes will do."""
    text = content.decode("utf-8", "replace")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    for candidate in (value.get("error"), value) if isinstance(value, dict) else ():
        if isinstance(candidate, dict) and isinstance(candidate.get("message"), str):
            text = candidate["message"].encode("utf-8", "replace").decode()
            break
    return text[:ERROR_CHARACTERS]


def says_too_long(error: str) -> bool:
    """Say whether a refusal is about the length of the prompt.

    Source: the words of vLLM 0.11 to 0.32 and of this project's own engine.
    """
    return _TOO_LONG.search(error) is not None


def _finish_reason(reason: str | None) -> Literal["stop", "length", "tool_calls"]:
    if reason == "stop":
        return "stop"
    if reason == "length":
        return "length"
    if reason == "tool_calls":
        return "tool_calls"
    raise UnreadableReplyError(f"ended for the reason {reason!r}, expected stop or length")


def _from_log_probs(request: LogLikelihoodRequest, table: _LogProbs | None) -> _Likelihood:
    """Sum the log-probabilities of the tokens that begin inside the continuation.

    For servers without our extension. Source: the split at white space follows lm-eval.
    """
    if table is None:
        raise UnreadableReplyError("holds no log-probabilities")
    context, continuation = split_pair(request)
    start, end = len(context), len(context) + len(continuation)
    places = [i for i, offset in enumerate(table.text_offset) if start <= offset < end]
    top = table.top_logprobs or (None,) * len(table.tokens)
    if not places or not len(table.tokens) == len(table.token_logprobs) == len(top) > places[-1]:
        raise UnreadableReplyError("holds log-probabilities that do not fit the continuation")
    own = [table.token_logprobs[place] for place in places]
    best = [max((top[place] or {"": float("inf")}).values()) for place in places]
    known = [score for score in own if score is not None]
    if len(known) != len(own):
        raise UnreadableReplyError("lacks the log-probability of a continuation's token")
    return _Likelihood(
        log_probability=sum(known),
        is_greedy=all(score >= highest for score, highest in zip(known, best, strict=True)),
    )
