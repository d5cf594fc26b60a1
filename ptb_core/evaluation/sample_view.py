"""Choosing samples, and showing them to people: short in lists, whole when one is asked for."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ptb_core.errors import printable
from ptb_core.evaluation.checks import GraderResult
from ptb_core.evaluation.exchange import Completion, SampleScore
from ptb_core.evaluation.sample_lines import SampleLine
from ptb_core.specs import SCORINGS, JsonValue, Scoring

RIGHT_FROM = 0.5
"""Value from which a sample is not wrong; the values of exact tasks are 0 and 1."""

SHORT_CHARACTERS = 300
"""Characters of a question or an answer that a list shows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Which samples to show; all that is given must hold.

    Attributes:
        id: Of one sample; it is shown whole.
        wrong: Value under 0.5.
        truncated: An answer ended at its limit.
        differ: The two scorings give different values.
        marks: Marks that it must carry.
        search: Text in question, answer or right answer, without regard to case.
        scoring: Which value and marks are meant; None takes the scoring that counts.
    """

    id: str | None = None
    wrong: bool = False
    truncated: bool = False
    differ: bool = False
    marks: tuple[str, ...] = ()
    search: str | None = None
    scoring: Scoring | None = None

    def takes(self, line: SampleLine) -> bool:
        """Say whether a sample is to be shown."""
        score = line.scores.get(self.scoring or line.counted)
        return not (
            (self.id is not None and line.id != self.id)
            or (self.wrong and (score is None or score.value >= RIGHT_FROM))
            or (self.truncated and all(c.finish_reason != "length" for c in line.completions))
            or (self.differ and len({score.value for score in line.scores.values()}) < 2)
            or not set(self.marks) <= set(score.marks if score else ())
            or (self.search is not None and not _holds(line, self.search.casefold()))
        )


def short_lines(line: SampleLine, scoring: Scoring | None) -> Iterator[str]:
    """Yield a sample in a few lines."""
    yield _head(line, scoring)
    question = _last_words(line)
    if question:
        yield f"  asked     {_shortened(question)}"
    for completion in line.completions:
        yield f"  answered  {_shortened(_said(completion), from_end=True)}"
    yield from _verdict(line, scoring)


def whole_lines(line: SampleLine, scoring: Scoring | None) -> Iterator[str]:
    """Yield everything about a sample; texts keep their line breaks."""
    yield _head(line, scoring)
    for number, request in enumerate(line.requests):
        if len(line.requests) > 1:
            yield f"-- request {number + 1} of {len(line.requests)}"
        yield from _request(request)
    for completion in line.completions:
        yield f"-- answered ({_ending(completion)})"
        yield from _text(_said(completion))
        for name, result in completion.checks.items():
            yield f"-- check {name}"
            if isinstance(result, GraderResult):
                yield from _text(result.text)
            else:
                token = ", ran to its end" if result.token_seen else ""
                yield f"exit code {result.exit_code} ({result.reason}{token})"
                yield from _text(result.output_tail)
    if len(_shown(line.target)) > SHORT_CHARACTERS:
        yield "-- right answer"
        yield from _text(_shown(line.target))
    yield "-- scored"
    yield from _verdict(line, scoring)
    for one, score in line.scores.items():
        if score.metrics:
            yield f"  {one} metrics  {_shown(dict(score.metrics))}"


def _head(line: SampleLine, scoring: Scoring | None) -> str:
    wanted = scoring or line.counted
    order = (wanted, *(one for one in SCORINGS if one != wanted))
    values = [
        f"{one} {line.scores[one].value:g}" if one in line.scores else f"{one} not scored"
        for one in order
    ]
    tokens = [c.completion_tokens for c in line.completions if c.completion_tokens is not None]
    parts = [line.id, *([f"seed {line.seed}"] if line.seed is not None else []), *values]
    marks = line.scores[wanted].marks if wanted in line.scores else ()
    parts += [f"[{mark}]" for mark in marks]
    parts += [f"{sum(tokens)} tokens"] if tokens else []
    return printable("  ".join(parts))


def _verdict(line: SampleLine, scoring: Scoring | None) -> Iterator[str]:
    score = line.scores.get(scoring or line.counted)
    if score is not None:
        yield f"  answer    {_answer(score)}   right: {_shortened(_shown(line.target))}"
    for one, reason in line.failures.items():
        yield f"  not scored ({one}): {printable(reason)}"


def _answer(score: SampleScore) -> str:
    return "none found" if score.answer is None else _shortened(score.answer)


def _request(request: Mapping[str, JsonValue]) -> Iterator[str]:
    for message in request.get("messages", ()):
        yield f"-- {message.get('role')}"
        content = message.get("content")
        yield from _text(content if isinstance(content, str) else _shown(content))
    for key in ("prompt", "context", "continuation"):
        if key in request:
            yield f"-- {key}"
            yield from _text(str(request[key]))
    for tool in request.get("tools", ()):
        yield f"-- tool {_shown(tool)}"


def _ending(completion: Completion) -> str:
    tokens = completion.completion_tokens
    return completion.finish_reason + (f", {tokens} tokens" if tokens is not None else "")


def _said(completion: Completion) -> str:
    """Return what came back as text: the answer, the tool calls, or the server's error."""
    if completion.error is not None:
        return f"(error) {completion.error}"
    calls = [f"(calls {call.name} with {call.arguments})" for call in completion.tool_calls]
    if completion.log_probability is not None:
        calls.append(f"(log-probability {completion.log_probability:.4f})")
    return "\n".join([*([completion.text] if completion.text else []), *calls]) or "(nothing)"


def _last_words(line: SampleLine) -> str:
    """Return the last text that was asked."""
    if not line.requests:
        return ""
    request = line.requests[-1]
    messages = request.get("messages")
    if messages:
        content = messages[-1].get("content")
        return content if isinstance(content, str) else _shown(content)
    return str(request.get("prompt", request.get("context", "")))


def _holds(line: SampleLine, wanted: str) -> bool:
    texts = [_said(completion) for completion in line.completions]
    texts += [_shown(request) for request in line.requests]
    texts += ["\n".join(_request(request)) for request in line.requests]
    texts += [score.answer for score in line.scores.values() if score.answer is not None]
    return any(wanted in text.casefold() for text in (*texts, _shown(line.target)))


def _shortened(text: str, *, from_end: bool = False) -> str:
    """Return a text on one line, its end or its beginning only when it is long."""
    one_line = printable(" ".join(text.split()))
    if len(one_line) <= SHORT_CHARACTERS:
        return one_line
    return f"…{one_line[-SHORT_CHARACTERS:]}" if from_end else f"{one_line[:SHORT_CHARACTERS]}…"


def _text(text: str) -> Iterator[str]:
    """Yield the lines of a text, without characters that steer a terminal."""
    yield from (printable(part.replace("\t", "    ")) for part in text.split("\n"))


def _shown(value: JsonValue) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
