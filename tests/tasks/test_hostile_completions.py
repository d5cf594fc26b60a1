"""What models write in the worst case, against all exact tasks: no score may raise or explode."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptb_core.api import Completion, Sample, Task, ToolCall
from ptb_plugins.tasks.gsm8k.task import Gsm8k
from tests.tasks.invented import (
    AIME,
    BFCL,
    GPQA,
    aime_data,
    bfcl_data,
    both,
    call,
    calling,
    facts,
    gpqa_data,
    score,
)

GSM8K = Gsm8k(facts("gsm8k"))
GSM8K_SAMPLES = [
    Sample(id="gsm8k-0", input={}, target=target) for target in ("2", "2,125", "-3", "0")
]


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> dict[Task, list[Sample]]:
    folder: Path = tmp_path_factory.mktemp("rows")
    return {
        GSM8K: GSM8K_SAMPLES,
        AIME: list(AIME.samples(aime_data(folder))),
        GPQA: list(GPQA.samples(gpqa_data(folder))),
        BFCL: list(BFCL.samples(bfcl_data(folder))),
    }


# Property tests -------------------------------------------------------------------------------

PIECES = st.sampled_from(
    [
        *("ANSWER:", "answer: ", "ANSWER : ", "\\boxed{", "}", "{", "<think>", "</think>"),
        *('<think signature="', '">', "#### ", "2", "049", "-3", "2,125", "1.", ".5", "½", "二"),
        *("²", "①", "٣", "１", "−", "$", "*", "A", "B.", "C)", "D", "é", "\n", " ", "\t", "\r\n"),
        *("\u2028", "\ufeff", "\0", "\ud800", "e", "1e5", "0x1f", "NaN", "∞", "兆", "万", "."),
    ]
)
TEXTS = st.none() | st.text() | st.lists(PIECES, max_size=12).map("".join)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
ARGUMENTS = (
    TEXTS
    | st.dictionaries(st.sampled_from(["numbers", "reverse", "note", ""]), JSON).map(
        lambda value: json.dumps(value)
    )
    | st.text(st.sampled_from('{}[]":,0123456789.eE-+ntrufalsN& *!|>\n'))
)
CALLS = st.lists(
    st.builds(ToolCall, name=st.sampled_from(["sort_numbers", "", None, "\ud800"]),
              arguments=ARGUMENTS),
    max_size=2,
).map(tuple)  # fmt: skip
COMPLETIONS = st.builds(
    Completion,
    text=TEXTS,
    tool_calls=CALLS,
    finish_reason=st.sampled_from(["stop", "length", "tool_calls", "error"]),
    error=st.none() | TEXTS,
    http_status=st.sampled_from([200, 200, 200, 400, 500]),
)


@given(COMPLETIONS)
def test_no_completion_makes_a_scorer_raise(
    samples: dict[Task, list[Sample]], completion: Completion
) -> None:
    for task, own in samples.items():
        for sample in own:
            assert set(both(task, sample, completion)) <= {0.0, 1.0}


@given(COMPLETIONS)
def test_a_request_that_failed_is_never_right_when_repaired(
    samples: dict[Task, list[Sample]], completion: Completion
) -> None:
    if completion.error is None and completion.http_status == 200:
        return
    for task, own in samples.items():
        if task is not BFCL:
            assert score(task, own[0], completion, "repaired").value == 0.0


# Tables ---------------------------------------------------------------------------------------

MANY = 20_000
LONG_TEXTS: dict[str, Callable[[str], str]] = {
    "the answer thousands of times": lambda line: f"{line}\n" * MANY,
    "thousands of lines before it": lambda line: "hmm, let me see\n" * MANY + line,
    "thousands of blanks before it": lambda line: " " * MANY + line,
    "thousands of think blocks, of which the first goes": lambda line: (
        "<think>a</think>" * MANY + f"\n{line}"
    ),
    "thousands of openings before one closing": lambda line: (
        "<think>" * MANY + f"ANSWER: 5</think>\n{line}"
    ),
    "thousands of closings": lambda line: "</think>" * MANY + f"\n{line}",
    "an opening of thousands of blanks": lambda line: "<think" + " " * MANY + f"\n{line}",
    "a signature without end": lambda line: '<think signature="' * MANY + f"\n{line}",
    "thousands of braces": lambda line: "{" * MANY + f"\n{line}",
    "thousands of boxes": lambda line: "\\boxed{" * MANY + "}" * MANY + f"\n{line}",
    "thousands of marks": lambda line: "$*_," * MANY + f"\n{line}",
    "thousands of dots": lambda line: "." * MANY + f"\n{line}",
    "thousands of digits": lambda line: "9" * MANY + f"\n{line}",
    "thousands of Chinese decimals": lambda line: "四." + "5" * MANY + f"\n{line}",
    "thousands of exponents": lambda line: "9" + "⁹" * MANY + f"\n{line}",
    "thousands of NULs": lambda line: "\0" * MANY + f"\n{line}",
    "an unclosed think block around it": lambda line: f"<think>\nhmm\n{line}",
    "nothing": lambda line: line,
}


@pytest.mark.parametrize("name", LONG_TEXTS)
@pytest.mark.parametrize("task", [GSM8K, AIME, GPQA], ids=lambda task: task.spec.name)
def test_a_right_last_line_is_found_behind_anything(
    samples: dict[Task, list[Sample]], task: Task, name: str
) -> None:
    sample = samples[task][0]
    text = LONG_TEXTS[name](f"ANSWER: {sample.target}")
    assert both(task, sample, text) == (1.0, 1.0)


@pytest.mark.parametrize(
    ("text", "published", "repaired", "raises"),
    [
        ("9" * MANY, 0, 0, False),
        ("9" * MANY + "2", 0, 0, False),
        ("1" + "0" * 400 + "2", 0, 0, False),
        ("2." + "0" * MANY, 1, 0, False),
        ("0" * MANY + "2", 1, 0, False),
        ("四." + "5" * MANY, 0, 0, False),
        ("9" + "⁹" * 30, 0, 0, True),
        ("½" * MANY, 0, 0, True),
        ("二" * MANY, 0, 0, True),
        ("兆" * MANY, 0, 0, False),
        ("." * MANY, 0, 0, False),
        ("２", 1, 1, False),
        ("٢", 1, 1, False),
        ("②", 1, 1, False),
        ("二", 1, 1, False),
        ("Ⅱ", 1, 1, False),
        ("2²", 0, 0, False),
        ("NaN", 0, 0, False),
        ("inf", 0, 0, False),
        ("1e309", 0, 0, False),
        ("0b10", 0, 0, False),
        ("2" * 2 + "\0", 0, 0, False),
        ("2\0", 0, 0, False),
        ("\ud800 2", 1, 1, False),
    ],
)
def test_odd_and_enormous_numbers_are_read_or_wrong(
    text: str, published: int, repaired: int, raises: bool
) -> None:
    sample = GSM8K_SAMPLES[0]
    assert both(GSM8K, sample, text) == (published, repaired)
    marks = score(GSM8K, sample, text, "published").marks
    assert marks == (("published-code-raises",) if raises else ())


DEEP = "[" * MANY
HOSTILE_CALLS: dict[str, ToolCall] = {
    "deep lists": call('{"numbers": ' + DEEP),
    "deep closed lists": call('{"numbers": ' + DEEP + "]" * MANY + "}"),
    "deep objects": call('{"numbers": ' * MANY),
    "deep YAML": call(DEEP),
    "a YAML bomb": call("a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\nd: [*c, *c]"),
    "a YAML bomb of merges": call("a: &a {x: 1}\nb: &b {<<: [*a, *a]}\nc: {<<: [*b, *b]}"),
    "a YAML list that holds itself": call("&a [*a]"),
    "a YAML object of Python": call("!!python/object/apply:os._exit [1]"),
    "a huge text": call('{"numbers": "' + "x" * 1_000_000 + '"}'),
    "a huge bare text": call("x" * 1_000_000),
    "a huge integer": call('{"numbers": [' + "9" * 1_000_000 + "]}"),
    "a huge float": call('{"numbers": [' + "9" * MANY + ".5]}"),
    "an infinite number": call('{"numbers": [1e999, -Infinity, NaN]}'),
    "thousands of keys": call("{" + ",".join(f'"k{i}": 1' for i in range(MANY)) + "}"),
    "thousands of equal keys": call("{" + '"numbers": 1,' * MANY + '"numbers": 2}'),
    "thousands of opened objects": call("{" * MANY),
    "lone surrogates": call('{"numbers": "\\ud800", "\\udfff": 1}', "\ud800"),
    "NULs": call("\0" * MANY, "\0"),
    "a name of a megabyte": call("{}", "n" * 1_000_000),
    "no name": call("{}", None),
    "nothing": call(None, None),
}


@pytest.mark.parametrize("name", HOSTILE_CALLS)
def test_hostile_calls_are_wrong_and_shown_in_a_line(
    samples: dict[Task, list[Sample]], name: str
) -> None:
    for sample in samples[BFCL]:
        for completion in (calling(HOSTILE_CALLS[name]), calling(HOSTILE_CALLS[name], call("{}"))):
            assert both(BFCL, sample, completion) == (0.0, 0.0)
            answer = score(BFCL, sample, completion, "published").answer
            assert answer is not None
            assert len(answer.encode()) < 5000
            assert "\n" not in answer


def test_thousands_of_calls_are_wrong(samples: dict[Task, list[Sample]]) -> None:
    completion = calling(*[call('{"numbers": [3, 1.5]}')] * MANY)
    found = score(BFCL, samples[BFCL][0], completion, "published")
    assert (found.value, found.marks) == (0.0, ("several-tool-calls",))
