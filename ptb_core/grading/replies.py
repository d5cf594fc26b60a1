"""Reading the grader's replies: whole, or a half answer that must be asked for again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from ptb_core.grading.endpoint import Key
from ptb_core.grading.failures import WORDS_CHARACTERS, HalfAnswerError
from ptb_core.grading.prices import TokenUse
from ptb_core.specs import JsonValue

REFUSAL_CHARACTERS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class GraderReply:
    """A whole reply.

    Attributes:
        text: What it says; never empty.
        use: Tokens that it took; None when it does not say.
    """

    text: str
    use: TokenUse | None


def read_reply(content: bytes, key: Key) -> GraderReply:
    """Return what a reply of status 200 says.

    Args:
        content: The reply's body.
        key: Hidden in whatever the endpoint says, before that is cut to a length one can read.

    Raises:
        HalfAnswerError: If it is no JSON, lacks the form of the API, was cut off, or is empty.
    """
    try:
        value = msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise HalfAnswerError(f"its reply is no JSON ({key.hidden_in(str(error))})") from None
    use = _use(value)
    choice = _first_choice(value)
    message = choice.get("message") if choice else None
    if not isinstance(choice, dict) or not isinstance(message, dict):
        shown = key.hidden_in(msgspec.json.encode(value).decode())[:WORDS_CHARACTERS]
        raise HalfAnswerError(f"its reply has not the form of chat completions: {shown}", use)
    reason = choice.get("finish_reason")
    if reason != "stop":
        words = key.hidden_in(reason) if isinstance(reason, str) else reason
        shown = key.hidden_in(repr(words))[:WORDS_CHARACTERS]
        raise HalfAnswerError(f"its reply ended for the reason {shown}, not 'stop'", use)
    text = message.get("content")
    if not isinstance(text, str) or not text.strip():
        refusal = message.get("refusal")
        words = key.hidden_in(refusal)[:REFUSAL_CHARACTERS] if isinstance(refusal, str) else ""
        why = f": it refuses ({words})" if words else ""
        raise HalfAnswerError(f"its reply is empty{why}", use)
    return GraderReply(text=key.hidden_in_reply(text), use=use)


def _first_choice(value: JsonValue) -> Mapping[str, JsonValue] | None:
    choices = value.get("choices") if isinstance(value, dict) else None
    if not isinstance(choices, list) or len(choices) != 1 or not isinstance(choices[0], dict):
        return None
    return choices[0]


def _use(value: JsonValue) -> TokenUse | None:
    usage = value.get("usage") if isinstance(value, dict) else None
    if not isinstance(usage, dict):
        return None
    given, made = _count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens"))
    if given is None or made is None:
        return None
    details = usage.get("prompt_tokens_details")
    cached = _count(details.get("cached_tokens")) if isinstance(details, dict) else None
    return TokenUse(input_tokens=given, cached_tokens=min(cached or 0, given), output_tokens=made)


def _count(value: JsonValue) -> int | None:
    is_count = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    return value if is_count else None
