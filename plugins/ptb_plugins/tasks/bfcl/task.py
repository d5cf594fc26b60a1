"""The task ``bfcl``.

Source: docs/protocol.md, "bfcl"; compared row by row with what the published code made of recorded
replies.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ptb_core.api import (
    ChatRequest,
    Completion,
    DataDir,
    DataError,
    JsonValue,
    RequestKind,
    Sample,
    SampleScore,
    Scoring,
    Task,
    TaskScore,
    mean_and_stderr,
    read_rows,
)
from ptb_plugins.tasks.bfcl.calls import ReadCall, read_call, read_target, show_call
from ptb_plugins.tasks.bfcl.tools import (
    checked_function,
    default_arguments,
    openai_tool,
    parameter_order,
)
from ptb_plugins.tasks.exact_tasks import RAISES_MARK, completion_marks
from ptb_plugins.tasks.task_data import text_column


class Bfcl(Task):
    """Function calling: one tool is offered, and one call of it with the right arguments counts.

    Marks: ``no-tool-call``, ``several-tool-calls``, ``broken-arguments`` (no JSON, or nothing
    that can be read) and ``bare-arguments`` (a value where an object is expected).
    """

    def samples(self, data: DataDir) -> Sequence[Sample]:
        """Return the records in file order; ids are the records' own.

        Raises:
            DataError: If a record lacks its id, its one conversation, its one function or its
                one right answer.
        """
        rows = list(read_rows(data.file("test")))
        ids = [text_column("bfcl", row, "id", number) for number, row in enumerate(rows)]
        functions = [
            checked_function(row.get("function"), _where(row_id))
            for row_id, row in zip(ids, rows, strict=True)
        ]
        order = parameter_order(functions)
        return [
            _sample(row_id, row, function, order)
            for row_id, row, function in zip(ids, rows, functions, strict=True)
        ]

    def requests(self, sample: Sample, requests: RequestKind) -> tuple[ChatRequest, ...]:
        """Return one request: the record's messages and its tool."""
        return (
            ChatRequest(messages=tuple(sample.input["messages"]), tools=(sample.input["tool"],)),
        )

    def score(
        self, sample: Sample, completions: Sequence[Completion], scoring: Scoring
    ) -> SampleScore:
        """Score 1 if the only tool call has the right name and arguments, else 0.

        Arguments are equal as Python's values are: 1, 1.0 and True are the same. Repaired scoring
        also takes an optional argument with its default value as not given, on both sides, and
        counts a bare value as wrong.
        """
        (completion,) = completions
        first = {sample.target["name"]: sample.metadata["first_parameter"]}
        calls = [read_call(call, first) for call in completion.tool_calls]
        is_right = len(calls) == 1 and _is_right(calls[0], sample, scoring)
        dies = scoring == "published" and any(call.raises for call in calls)
        marks = (*completion_marks(completion), *_call_marks(calls))
        return SampleScore(
            id=sample.id,
            value=float(is_right),
            answer="; ".join(map(show_call, calls[:5])) or None,
            marks=(*marks, RAISES_MARK) if dies else marks,
        )

    def aggregate(self, scores: Sequence[SampleScore], scoring: Scoring) -> TaskScore:
        """Return the accuracy and its standard error, which upstream does not give."""
        return mean_and_stderr(scores)


def _is_right(call: ReadCall, sample: Sample, scoring: Scoring) -> bool:
    given, wanted = call.arguments, sample.target["arguments"]
    if call.raises or call.name != sample.target["name"]:
        return False
    if scoring == "published":
        return bool(given == wanted)
    if call.is_bare:
        return False
    defaults = sample.metadata["defaults"]
    return _without_defaults(given, defaults) == _without_defaults(wanted, defaults)


def _without_defaults(
    arguments: Mapping[str, Any], defaults: Mapping[str, JsonValue]
) -> dict[str, Any]:
    return {
        name: value
        for name, value in arguments.items()
        if name not in defaults or defaults[name] != value
    }


def _call_marks(calls: Sequence[ReadCall]) -> tuple[str, ...]:
    if len(calls) != 1:
        return ("several-tool-calls",) if calls else ("no-tool-call",)
    marks = {"broken-arguments": calls[0].is_broken, "bare-arguments": calls[0].is_bare}
    return tuple(mark for mark, holds in marks.items() if holds)


def _where(row_id: str) -> str:
    return f"bfcl: record {row_id}"


def _sample(
    row_id: str,
    row: Mapping[str, JsonValue],
    function: Mapping[str, JsonValue],
    order: Mapping[str, int],
) -> Sample:
    name, arguments = read_target(_only(row, "ground_truth", row_id, str), _where(row_id))
    if name != function["name"]:
        raise DataError(
            f"{_where(row_id)}: the right answer calls {name!r}, the function is "
            f"{function['name']!r}"
        )
    messages = _messages(_only(row, "question", row_id, list), row_id)
    tool = openai_tool(function, order)
    return Sample(
        id=row_id,
        input={
            "question": "\n".join(message["content"] for message in messages),
            "messages": messages,
            "tool": tool,
        },
        target={"name": name, "arguments": arguments},
        metadata={
            "first_parameter": next(iter(tool["function"]["parameters"]["properties"])),
            "defaults": default_arguments(function),
        },
    )


def _only(row: Mapping[str, JsonValue], column: str, row_id: str, kind: type) -> Any:
    value = row.get(column)
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], kind):
        return value[0]
    expected = "conversation" if kind is list else "text"
    raise DataError(f"{_where(row_id)}: {column!r} must be a list of one {expected}")


def _messages(value: Sequence[JsonValue], row_id: str) -> list[dict[str, str]]:
    messages = []
    for message in value:
        fields = message if isinstance(message, dict) else {}
        role, content = fields.get("role"), fields.get("content")
        if not isinstance(role, str) or not isinstance(content, str):
            raise DataError(f"{_where(row_id)}: a message lacks its role or its content")
        messages.append({"role": role, "content": content})
    return messages
