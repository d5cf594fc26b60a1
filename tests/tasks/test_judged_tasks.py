from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptb_core.api import Completion, ToolCall
from ptb_core.testing.hostile import hostile_completions
from ptb_plugins.tasks.judged_tasks import has_text, judged_text, missing_text_marks

REFUSED = Completion(text=None, error="too long", http_status=400, finish_reason="error")


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (" A poem.\n", "A poem."),
        ("<think>plan</think>\n A poem.", "A poem."),
        ("\n <think>plan</think> A poem.", "A poem."),
        ("<think>a</think> B <think>c</think> D", "B <think>c</think> D"),
        ("<think>a</think></think> B", "</think> B"),
        ("<think>never closed", "<think>never closed"),
        ("First. <think>a</think> B", "First. <think>a</think> B"),
        ("<THINK>a</THINK> B", "<THINK>a</THINK> B"),
        ('<think signature="a">a</think> B', '<think signature="a">a</think> B'),
        ("<think>a</think>", ""),
        ("", ""),
        ("<think>" + "la\n" * 9 + "</think>" + "so\n" * 9, "so\nso\nso\nso\nso"),
        ("la \ud800 la", "la \ufffd la"),
        ("\ud83d\ude00", "\U0001f600"),
    ],
)
def test_what_is_judged_is_stripped_thought_out_and_limited(text: str, kept: str) -> None:
    assert judged_text(Completion(text=text)) == kept


@pytest.mark.parametrize(
    ("completion", "mark"),
    [
        (Completion(text=None), "no-answer"),
        (Completion(text=None, tool_calls=(ToolCall(name="f", arguments="{}"),)), "no-answer"),
        (Completion(text="part", error="died", finish_reason="error"), "no-answer"),
        (Completion(text="part", http_status=500), "no-answer"),
        (REFUSED, "prompt-too-long"),
    ],
)
def test_a_completion_without_text_is_not_judged_and_kills_the_published_code(
    completion: Completion, mark: str
) -> None:
    assert judged_text(completion) is None
    assert missing_text_marks(completion, "published") == (mark, "published-code-raises")
    assert missing_text_marks(completion, "repaired") == (mark,)


@given(st.lists(st.text() | st.sampled_from(["<think>", "</think>", "\n", "\ud800", "\udc00"])))
def test_whatever_is_judged_can_be_sent_and_is_no_longer_than_what_was_written(
    pieces: list[str],
) -> None:
    kept = judged_text(Completion(text="".join(pieces)))
    assert kept is not None
    kept.encode("utf-8")
    assert len(kept) <= len("".join(pieces).strip())


@pytest.mark.parametrize("name", hostile_completions())
def test_hostile_completions_are_judged_or_have_no_text(name: str) -> None:
    completion = hostile_completions()[name]
    kept = judged_text(completion)
    assert (kept is not None) == has_text(completion)
    (kept or "").encode("utf-8")
