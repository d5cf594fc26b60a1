from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptb_plugins.tasks.gpqamain.answer_line import answer_text
from ptb_plugins.tasks.gpqamain.task import given_letter

PIECES = [
    *("ANSWER", "Answer", "ANſWER", "ANSWER:", "ANSWER: ", "\nANSWER:", "ANSWER :\n", ":"),
    *("A", "B", "d", "E", "AB", "7", "٣", "ſ", "İ", "ı", "K", "é", "Ａ", "_", " "),
    *("\n", "\r", "\t", "\x0b", "\x1c", "\x85", "\xa0", "\u2028", "\u200b", ".", ",", "!", "("),
]

WHOLE_LINE = re.compile(r"(?i)^ANSWER\s*:\s*([A-Za-z\d ,]+)\s*(?:$|\n|\.)", re.MULTILINE)
ANYWHERE = re.compile(r"(?i)ANSWER\s*:\s*([A-Za-z\d ,]+)(?:[^\w]|\n|$|\.)")


def by_regular_expressions(text: str) -> str | None:
    match = WHOLE_LINE.search(text) or ANYWHERE.search(text)
    return None if match is None else match[1].strip()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("ANSWER: B", "B"),
        ("thinking\nANSWER: B.\nANSWER: C", "B"),
        ("ANSWER:\n\nB\n", "B"),
        ("ANSWER:B, C", "B, C"),
        ("ANSWER: none yet\nANSWER: C", "none yet"),
        ("ANSWER: (x)\nANSWER: C", "C"),
        ("ANSWER: A because I say so!", "A because I say so"),
        ("so ANSWER: A, B_", "A,"),
        ("so ANSWER: AB_", None),
        ("so ANSWER: A_", None),
        ("so ANSWER: ,A_", ""),
        ("so ANSWER: \tA_", ""),
        ("so ANSWER:\tA_", None),
        ("ANSWER: \n", ""),
        ("ANSWER:\n", None),
        ("ANSWER: ", ""),
        ("ANSWER: .", ""),
        ("ANSWER: \nA_", ""),
        ("ANSWER:\n A_", None),
        ("ANSWER: A \n_", "A"),
        ("ANSWER: .\nANSWER: B", ""),
        ("ANSWER: \n \t!\nANSWER: B", ""),
        ("ANSWER: \n A_\nANSWER: B", ""),
        ("so ANSWER:  é, ANSWER: B", ""),
        ("so ANSWER: é, ANSWER: B", "B"),
        ("ANSWER", None),
        ("", None),
    ],
)
def test_the_text_behind_the_label_is_found(text: str, found: str | None) -> None:
    assert answer_text(text) == found
    assert by_regular_expressions(text) == found


@settings(max_examples=200)
@given(st.lists(st.sampled_from(PIECES), max_size=9).map("".join))
def test_it_agrees_with_the_two_regular_expressions(text: str) -> None:
    assert answer_text(text) == by_regular_expressions(text)


@settings(max_examples=200)
@given(st.lists(st.sampled_from(PIECES), max_size=6).map("".join))
def test_it_agrees_behind_a_label(tail: str) -> None:
    for text in (f"ANSWER:{tail}", f"x ANSWER:{tail}", f"ANSWER: {tail}"):
        assert answer_text(text) == by_regular_expressions(text)


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("ANSWER:" + " " * 300_000 + "!", ""),
        ("ANSWER:" + " \n" * 150_000 + "!", ""),
        ("ANSWER: " + "A " * 150_000 + "_", ""),
        ("ANSWER: A" + " \t" * 150_000 + "_", "A"),
        ("ANSWER" + " " * 300_000, ""),
        ("ANSWER:" * 50_000, ""),
        ("ANSWER: A_\n" * 30_000, ""),
        ("ANSWER: A_\n" * 30_000 + "ANSWER: C", "C"),
        ("\n" * 300_000, ""),
    ],
)
def test_no_completion_takes_quadratic_time(text: str, letter: str) -> None:
    assert given_letter(text) == letter


@pytest.mark.parametrize("text", ["ANSWER: E", "ANSWER: b", "ANSWER: Ａ", "ANSWER: AB", "A", ""])
def test_what_is_no_capital_of_the_choices_is_no_letter(text: str) -> None:
    assert given_letter(text) == ""
