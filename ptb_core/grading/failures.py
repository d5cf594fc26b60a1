"""How a question to the grader can fail, by what helps.

==============================  ===================================================
:class:`UnavailableError`       waiting: 408, 409, 425, 429, 5xx, time-out, no connection
:class:`HalfAnswerError`        asking again: cut off, empty, too long, no JSON of the API
``CheckError``                  nothing for this question: it is refused as it stands
``StopCheckingError``           nothing until somebody mends it: key, model, address, quota
==============================  ===================================================
"""

from __future__ import annotations

import json

from ptb_core.evaluation.checking import CheckError, StopCheckingError
from ptb_core.grading.endpoint import Key, named
from ptb_core.grading.prices import TokenUse
from ptb_core.specs import GraderSpec

WAITING_HELPS = frozenset({408, 409, 425, 429})
"""Statuses below 500 after which the same request may be answered later."""

OUT_OF_MONEY = frozenset(
    {
        "insufficient_quota",
        "billing_hard_limit_reached",
        "billing_not_active",
        "account_deactivated",
    }
)
UNKNOWN_MODEL = frozenset({"model_not_found", "invalid_model", "unknown_model"})
UNKNOWN_PARAMETER = frozenset({"unsupported_parameter", "unsupported_value", "unknown_parameter"})

WORDS_CHARACTERS = 400

SCORE_AGAIN = "score again (`ptb retry`, or the same `ptb evaluate`; replies so far are kept)"


class UnavailableError(CheckError):
    """The endpoint does not answer now.

    Attributes:
        retry_after_s: Seconds after which it asks to be tried again, or None.
        is_rate_limit: True when it is well, and only asked too often.
    """

    def __init__(
        self, message: str, retry_after_s: float | None = None, *, is_rate_limit: bool = False
    ) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
        self.is_rate_limit = is_rate_limit


class HalfAnswerError(CheckError):
    """A reply is not whole.

    Attributes:
        use: Tokens that it took all the same, or None when it does not say.
    """

    def __init__(self, message: str, use: TokenUse | None = None) -> None:
        super().__init__(message)
        self.use = use


def failure_of(
    status: int, content: bytes, retry_after_s: float | None, spec: GraderSpec, key: Key
) -> CheckError:
    """Return the error for a reply whose status is not 200.

    Args:
        status: HTTP status.
        content: The reply's body.
        retry_after_s: What the reply says about trying again.
        spec: The grader.
        key: Hidden in whatever the endpoint says.
    """
    code, words = _code_and_words(content)
    said = f"status {status}: {key.hidden_in(words)[:WORDS_CHARACTERS] or 'no words'}"
    who, kept = named(spec), f"{SCORE_AGAIN} after that"
    if status == 402 or code in OUT_OF_MONEY:
        return StopCheckingError(
            f"{who} has no quota left for this account ({said}); fill it up and {kept}"
        )
    if status == 401 or (status == 403 and code not in UNKNOWN_MODEL):
        return StopCheckingError(f"{who} refuses {_key_words(spec)} ({said}); mend that and {kept}")
    if status == 404 or code in UNKNOWN_MODEL:
        return StopCheckingError(
            f"{who} is not there ({said}); name another model or base_url in the plan's `grader`"
        )
    if status in WAITING_HELPS or status >= 500:
        return UnavailableError(
            f"{who} does not answer ({said})", retry_after_s, is_rate_limit=status == 429
        )
    if 300 <= status < 400:
        return StopCheckingError(
            f"{who} sends requests elsewhere ({said}), where no key is taken; name the final "
            "address as base_url in the plan's `grader`"
        )
    if code in UNKNOWN_PARAMETER:
        return StopCheckingError(
            f"{who} does not take the task's requests ({said}); name another model in the plan's "
            "`grader`"
        )
    return CheckError(f"{who} refuses the question ({said})")


def _key_words(spec: GraderSpec) -> str:
    if spec.api_key_env is None:
        return "requests without a key (`api_key_env` is null)"
    return f"the key in {spec.api_key_env}"


def _code_and_words(content: bytes) -> tuple[str, str]:
    """Return an error's code and message; any bytes will do."""
    text = content.decode("utf-8", "replace")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return "", text
    error = value.get("error") if isinstance(value, dict) else None
    if isinstance(error, str):
        return "", error
    if not isinstance(error, dict):
        return "", text
    code = next((c for c in (error.get("code"), error.get("type")) if isinstance(c, str)), "")
    message = error.get("message")
    return code, message if isinstance(message, str) else text
