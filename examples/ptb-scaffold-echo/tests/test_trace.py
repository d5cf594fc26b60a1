"""Reading the program's output: whole, torn, and not its own."""

from __future__ import annotations

import pytest
from ptb_core.api import Trace

from ptb_scaffold_echo import trace as module
from ptb_scaffold_echo.trace import outcome_of, read_trace


def read(*lines: str) -> Trace:
    return read_trace(f"{line}\n".encode() for line in lines)


def test_a_whole_output_gives_events_usage_session_and_outcome() -> None:
    trace = read(
        '{"event": "start", "session": "abc"}',
        '{"event": "message", "text": "hello"}',
        '{"event": "usage", "input": 3, "output": 1}',
        '{"event": "end"}',
    )
    assert [(event.kind, event.text) for event in trace.events] == [("message", "hello")]
    assert (trace.usage.input_tokens, trace.usage.output_tokens) == (3, 1)
    assert (trace.session_id, trace.outcome) == ("abc", "finished")


def test_without_a_last_line_the_exit_status_decides() -> None:
    assert read('{"event": "message", "text": "hello"}').outcome is None


def test_an_error_is_not_undone_by_an_end() -> None:
    assert read('{"event": "error", "text": "disk"}', '{"event": "end"}').outcome == "crash"


@pytest.mark.parametrize(
    ("words", "outcome"),
    [
        ("[Errno 12] Cannot allocate memory", "out-of-memory"),
        ("out of memory", "out-of-memory"),
        ("the deadline is in 1 s: config.json not copied", "stopped-early"),
        ("the prompt is empty", "refusal"),
        ("[Errno 28] No space left on device", "crash"),
        ("", "crash"),
    ],
)
def test_an_error_says_how_the_program_ended(words: str, outcome: str) -> None:
    assert outcome_of(words) == outcome


@pytest.mark.parametrize(
    "line",
    ["", "plain words", '{"event": "message"', "[1, 2]", '{"event": 5}', '{"text": "x"}', "NaN"],
)
def test_a_line_that_is_none_of_its_own_is_kept_as_output(line: str) -> None:
    trace = read(line, '{"event": "end"}')
    assert [(event.kind, event.text) for event in trace.events] == [("output", line)]
    assert trace.outcome == "finished"


@pytest.mark.parametrize("value", ['"3"', "-1", "true", "1e400", "null", "9" * 30])
def test_a_usage_that_is_no_count_is_none(value: str) -> None:
    assert read(f'{{"event": "usage", "input": {value}}}').usage.input_tokens is None


def test_bytes_that_are_no_text_are_kept_readable() -> None:
    (event,) = read_trace([b"\xff\x00\n"]).events
    assert event.text == "�\x00"


def test_a_flood_of_events_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_EVENTS", 2)
    trace = read("a", "b", "c", '{"event": "end"}')
    assert ([event.text for event in trace.events], trace.outcome) == (["a", "b"], "finished")
