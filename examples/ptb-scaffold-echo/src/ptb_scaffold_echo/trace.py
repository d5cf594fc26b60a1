"""The format ``echo-jsonl``, and how it becomes a trace.

One JSON object per line, in the order in which things happened:

=======================================================  ==========================================
``{"event": "start", "session": id}``                    first line
``{"event": "message", "text": text}``                   what the program says
``{"event": "tool-call", "name": name, "text": text}``   what it does next
``{"event": "tool-result", "name": name, "text": text}`` what came of it
``{"event": "usage", "input": n, "output": n}``          words read and written; echo has no tokens
``{"event": "error", "text": text}``                     what went wrong
``{"event": "end"}``                                     last line of a program that did its work
=======================================================  ==========================================

Anything may stand in an output: a line of another program, half a line, no text at all. A line
that is none of the above is kept as ``output``, and reading never raises.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

from ptb_core.api import JsonValue, OutcomeKind, Trace, TraceEvent, Usage

ERROR_PATTERNS: tuple[tuple[re.Pattern[str], OutcomeKind], ...] = (
    (re.compile(r"cannot allocate memory|out of memory", re.IGNORECASE), "out-of-memory"),
    (re.compile(r"the deadline is in \d+ s"), "stopped-early"),
    (re.compile(r"the prompt is empty"), "refusal"),
    (re.compile(r""), "crash"),
)
"""What an ``error`` means for how the program ended; the first pattern that is found decides."""

MAX_EVENTS = 100_000
"""Events that are kept; the raw output is kept whole beside the trace."""

MAX_NUMBER = 2**53


def read_trace(stream: Iterable[bytes]) -> Trace:
    """Return the events, usage and outcome that an output tells."""
    events: list[TraceEvent] = []
    usage = Usage()
    outcome: OutcomeKind | None = None
    session: str | None = None
    for line in stream:
        text = line.decode("utf-8", "replace").rstrip("\r\n")
        match _parsed(text):
            case {"event": "start", "session": str(session)}:
                continue
            case {"event": "usage"} as told:
                usage = _usage(told)
                continue
            case {"event": "end"}:
                outcome = outcome or "finished"
                continue
            case {"event": "error", "text": str(words)}:
                outcome = outcome_of(words)
                event = TraceEvent(kind="error", text=words)
            case parsed:
                event = _event(parsed, text)
        if len(events) < MAX_EVENTS:
            events.append(event)
    return Trace(events=tuple(events), usage=usage, outcome=outcome, session_id=session)


def outcome_of(error: str) -> OutcomeKind:
    """Return how a program ended that told this error last."""
    return next(outcome for pattern, outcome in ERROR_PATTERNS if pattern.search(error))


def _parsed(text: str) -> JsonValue:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _event(parsed: JsonValue, text: str) -> TraceEvent:
    match parsed:
        case {"event": "message", "text": str(words)}:
            return TraceEvent(kind="message", text=words)
        case {"event": "tool-call", "name": str(name), "text": str(words)}:
            return TraceEvent(kind="tool-call", text=words, name=name)
        case {"event": "tool-result", "name": str(name), "text": str(words)}:
            return TraceEvent(kind="tool-result", text=words, name=name)
    return TraceEvent(kind="output", text=text)


def _usage(told: JsonValue) -> Usage:
    return Usage(input_tokens=_count(told.get("input")), output_tokens=_count(told.get("output")))


def _count(value: JsonValue) -> int | None:
    is_count = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_NUMBER
    return value if is_count else None
