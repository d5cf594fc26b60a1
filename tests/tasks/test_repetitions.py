from __future__ import annotations

import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptb_plugins.tasks.repeated_strings import SPANS, limit_repeated_strings
from ptb_plugins.tasks.repetitions import limit_repetitions

# Small alphabets repeat by chance; pieces of every span repeat on purpose.
LETTERS = st.text(st.sampled_from("ab\n"), max_size=60)
PIECES = st.lists(
    st.tuples(
        st.text(st.sampled_from("abc \n漢\ud800"), min_size=1, max_size=9), st.integers(1, 9)
    ),
    max_size=9,
).map(lambda pieces: "".join(text * times for text, times in pieces))
NESTED = st.tuples(PIECES, st.integers(1, 8), LETTERS, st.integers(1, 8)).map(
    lambda parts: ((parts[0] * parts[1]) + parts[2]) * parts[3]
)
TEXTS = LETTERS | PIECES | NESTED
LINES = st.lists(
    st.tuples(
        st.lists(st.sampled_from(["a", "b", "ab", " a", "", " ", "abc"]), min_size=1, max_size=7),
        st.integers(1, 8),
    ),
    max_size=5,
).map(lambda blocks: "\n".join(line for lines, times in blocks for line in lines * times))


def strings_by_regex(text: str) -> str:
    while True:
        before = text
        for least, most in ((3, 30), (30, 60), (60, 120), (120, 250), (250, 500)):
            pattern = re.compile(rf"(.{{{least},{most}}}?)\1{{5,}}", re.DOTALL)
            text = pattern.sub(lambda found: found[1] * 5, text)
        if text == before:
            return text


def lines_by_counting(lines: list[str]) -> list[str]:
    kept: list[str] = []
    for line in lines:
        if kept[-5:] != [line] * 5:
            kept.append(line)
    return kept


def blocks_by_counting(lines: list[str]) -> list[str]:
    for size in range(2, min(30, len(lines) // 5 + 1)):
        for start in range(len(lines)):
            block = lines[start : start + size]
            end = start
            while len(block) == size and lines[end : end + size] == block:
                end += size
            if end - start > 5 * size:
                return lines[:start] + block * 5 + rest_by_rule(lines[end:], block)
    return lines


def rest_by_rule(rest: list[str], block: list[str]) -> list[str]:
    for number, line in enumerate(rest):
        if number == len(block):
            return rest
        model = block[number]
        begins = line.strip() and model.startswith(line.strip())
        goes_on = model.strip() and line.startswith(model.strip())
        if not (line == model or begins or goes_on):
            return rest
    return []


def limit_slowly(text: str) -> str:
    for _ in range(10):
        before = text
        lines = blocks_by_counting(lines_by_counting(text.split("\n")))
        text = strings_by_regex("\n".join(lines))
        if text == before:
            break
    return text


@given(TEXTS)
def test_strings_are_found_as_a_regular_expression_finds_them(text: str) -> None:
    assert limit_repeated_strings(text, 5) == strings_by_regex(text)


@given(
    length=st.sampled_from([29, 30, 31, 59, 60, 119, 121, 249, 250, 499, 500, 501]),
    place=st.integers(0, 1100),
    copies=st.integers(5, 8),
    rest=st.integers(0, 9),
    seed=st.integers(0, 9),
)
@settings(max_examples=40)
def test_strings_at_the_ends_of_spans_are_found_wherever_they_begin(
    length: int, place: int, copies: int, rest: int, seed: int
) -> None:
    before = "".join(map(chr, range(0x4E00, 0x4E00 + place)))
    unit = "".join(random.Random(seed).choices("abcdefgh\n", k=length))
    text = before + unit * copies + unit[:rest] + "."
    assert limit_repeated_strings(text, 5) == strings_by_regex(text)


@given(TEXTS | LINES)
def test_a_whole_text_is_limited_as_the_rules_say_in_so_many_words(text: str) -> None:
    assert limit_repetitions(text) == limit_slowly(text)


@given(LINES)
def test_limiting_never_makes_a_text_longer_and_keeps_one_without_repetition(text: str) -> None:
    assert len(limit_repetitions(text)) <= len(text)
    plain = "\n".join(f"{number} {line}" for number, line in enumerate(text.split("\n")))
    assert limit_repetitions(plain) == plain


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("", ""),
        ("a\n" * 9, "a\na\na\na\na\n"),
        ("ab" * 11, "ab" * 11),
        ("ab" * 12, "ab" * 10),
        ("abc" * 6 + "x", "abc" * 5 + "x"),
        ("x" * 17, "x" * 17),
        ("x" * 18, "x" * 15),
        ("漢字。" * 40, "漢字。" * 5),
        ("😀😀😀" * 6, "😀" * 15),
        ("\ud800bc" * 6, "\ud800bc" * 5),
        ("ab\ncd\n" * 6 + " a", "ab\ncd\n" * 4 + "ab\ncd"),
        (" ab\ncd\n" * 6 + "abX", " ab\ncd\n" * 4 + " ab\ncd"),
        ("ab\ncd\n" * 6 + "ab\nc", "ab\ncd\n" * 4 + "ab\ncd"),
        ("ab\ncd\n" * 6 + "  ", "ab\ncd\n" * 5 + "  "),
        ("ab\ncd\n" * 6 + "ab\ncd\ne", "ab\ncd\n" * 5 + "e"),
        ("ab\ncd\n" * 6 + "e\ncd", "ab\ncd\n" * 5 + "e\ncd"),
    ],
)
def test_five_copies_are_left(text: str, kept: str) -> None:
    assert limit_repetitions(text) == kept


@pytest.mark.parametrize(("size", "copies"), [(2, 5), (29, 5), (30, 6)])
def test_blocks_of_two_to_twenty_nine_lines_are_cut(size: int, copies: int) -> None:
    letters = random.Random(size)
    lines = ["".join(letters.choices("abcdefgh", k=600 // size)) for _ in range(size)]
    block = "\n".join(lines) + "\n"
    assert limit_repetitions("first\n" + block * 6 + "last") == f"first\n{block * copies}last"


def test_one_block_is_cut_in_a_round_and_ten_rounds_are_gone_through() -> None:
    random_lines = random.Random(0)
    blocks = []
    for number in range(11):
        lines = ["".join(random_lines.choices("abcdefgh", k=300)) for _ in range(2)]
        blocks.append("\n".join((f"{number} {lines[0]}", f"{number} {lines[1]}")) + "\n")
    text = "".join(block * 6 + f"end of {number}\n" for number, block in enumerate(blocks))
    kept = limit_repetitions(text)
    assert [kept.count(block) for block in blocks] == [5] * 10 + [6]


def fibonacci(length: int) -> str:
    first, second = "a", "ab"
    while len(second) < length:
        first, second = second, second + first
    return second[:length]


HOSTILE = {
    "a letter": "a" * 100_000,
    "two letters": "ab" * 50_000,
    "near repetitions": "".join(f"{'abcdefghij' * 5}{number}" for number in range(1900)),
    "five copies each": "".join(f"{chr(200 + i % 5000) * 2}x" * 5 for i in range(6600)),
    "a Fibonacci word": fibonacci(100_000),
    "two letters at random": "".join(random.Random(0).choices("ab", k=100_000)),
    "numbered lines": "\n".join(map(str, range(18_000))),
    "blocks that nearly repeat": ("a\nb\nc\nd\n" * 5 + "e\n") * 2400,
    "line ends": "\n" * 100_000,
    "two kinds of line": "a\nb\n" * 25_000,
    "one broken copy of a long unit": ("a" * 499 + "b") * 5 + "a" * 97_000 + "c",
    "signs of three bytes": "漢字😀" * 33_000,
    "towers": "".join((("ab" * 5 + "c") * 5 + "d") * 5 + chr(1000 + i) for i in range(340)),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hundred_kilobytes_of_anything_are_limited_once_and_for_all(name: str) -> None:
    kept = limit_repetitions(HOSTILE[name])
    assert len(kept) <= len(HOSTILE[name])
    assert limit_repetitions(kept) == kept


def test_the_work_on_hostile_text_is_bounded_by_passes_not_by_its_copies(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from ptb_plugins.tasks import repeated_strings

    searches: list[int] = []
    search = repeated_strings._limit_one_span

    def counted(text: str, shortest: int, longest: int, most: int) -> str:
        searches.append(len(text))
        return search(text, shortest, longest, most)

    monkeypatch.setattr(repeated_strings, "_limit_one_span", counted)
    for text in HOSTILE.values():
        searches.clear()
        limit_repetitions(text)
        assert len(searches) <= 10 * len(SPANS)
