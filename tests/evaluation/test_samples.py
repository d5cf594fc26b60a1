"""ptb samples: which samples are shown, and how."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ptb_core.cli.main import main
from ptb_core.evaluation.checks import GraderResult, ProgramResult
from ptb_core.evaluation.exchange import Completion, SampleScore, ToolCall
from ptb_core.evaluation.sample_lines import SampleLine, read_sample_lines, write_sample_lines

Show = Callable[..., tuple[int, str, str]]


def line(name: str, **changes: Any) -> SampleLine:
    score = SampleScore(id=name, value=1.0, answer="4")
    facts: dict[str, Any] = {
        "id": name,
        "counted": "repaired",
        "requests": ({"messages": [{"role": "user", "content": f"What is two\nand {name}?"}]},),
        "target": "4",
        "completions": (Completion(text=f"It is four, {name}.", completion_tokens=6),),
        "scores": {"published": score, "repaired": score},
    }
    return SampleLine(**(facts | changes))


def scored(name: str, published: float, repaired: float, *marks: str) -> dict[str, SampleScore]:
    return {
        "published": SampleScore(id=name, value=published, answer="p"),
        "repaired": SampleScore(id=name, value=repaired, answer="r", marks=marks),
    }


LINES = (
    line("right"),
    line("wrong", scores=scored("wrong", 0.0, 0.0, "odd", "truncated")),
    line("lucky", scores=scored("lucky", 1.0, 0.0, "odd")),
    line("cut", completions=(Completion(text="Well", finish_reason="length"),)),
    line("unscored", scores={}, failures={"published": "no verdict", "repaired": "no verdict"}),
)


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    write_sample_lines(tmp_path / "samples.jsonl", iter(LINES))
    return tmp_path / "samples.jsonl"


@pytest.fixture
def show(samples: Path, capsys: pytest.CaptureFixture[str]) -> Show:
    def run(*arguments: str | Path) -> tuple[int, str, str]:
        return main(["samples", *map(str, arguments)]), *capsys.readouterr()

    return run


def test_what_is_written_is_read_again(samples: Path) -> None:
    rich = line(
        "rich",
        completions=(
            Completion(
                text=None,
                tool_calls=(ToolCall(name="f", arguments="{}"),),
                finish_reason="tool_calls",
                checks={
                    "run": ProgramResult(exit_code=0, reason="exit"),
                    "ask": GraderResult(text="[[A]]"),
                },
            ),
        ),
        seed=3,
    )
    write_sample_lines(samples, iter([rich]))
    assert list(read_sample_lines(samples)) == [rich]


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        ((), ["right", "wrong", "lucky", "cut", "unscored"]),
        (("--wrong",), ["wrong", "lucky"]),
        (("--wrong", "--scoring", "published"), ["wrong"]),
        (("--truncated",), ["cut"]),
        (("--differ",), ["lucky"]),
        (("--marks", "odd"), ["wrong", "lucky"]),
        (("--marks", "odd", "--marks", "truncated"), ["wrong"]),
        (("--marks", "odd", "--scoring", "published"), []),
        (("--search", "AND CUT?"), ["cut"]),
        (("--search", "four, lucky"), ["lucky"]),
        (("--search", "two\nand right"), ["right"]),
        (("--n", "2"), ["right", "wrong"]),
        (("--wrong", "--search", "lucky", "--n", "5"), ["lucky"]),
    ],
)
def test_samples_are_chosen_by_every_condition_at_once(
    show: Show, samples: Path, arguments: tuple[str, ...], names: list[str]
) -> None:
    code, out, _ = show(samples, *arguments, "--json")
    assert code == 0
    assert [json.loads(text)["id"] for text in out.splitlines()] == names


@pytest.mark.parametrize(
    ("arguments", "footer"),
    [
        (("--n", "2"), "the first 2 that fit; there may be more\n"),
        (("--wrong", "--n", "1", "--json"), "the first 1 that fit; there may be more\n"),
        (("--wrong", "--n", "3"), "2 of 5 samples\n"),
        (("--marks", "none", "--n", "2"), "0 of 5 samples\n"),
    ],
)
def test_a_list_cut_short_says_so(
    show: Show, samples: Path, arguments: tuple[str, ...], footer: str
) -> None:
    code, _, err = show(samples, *arguments)
    assert (code, err) == (0, footer)


def test_half_a_point_is_not_wrong_and_less_is(show: Show, samples: Path) -> None:
    values = {"half": 0.5, "less": 0.49}
    made = [line(name, scores=scored(name, value, value)) for name, value in values.items()]
    write_sample_lines(samples, iter(made))
    _, out, _ = show(samples, "--wrong", "--json")
    assert [json.loads(text)["id"] for text in out.splitlines()] == ["less"]


def test_a_list_shows_each_sample_in_a_few_lines(show: Show, samples: Path) -> None:
    _, out, err = show(samples, "--search", "lucky")
    assert out.splitlines() == [
        "lucky  repaired 0  published 1  [odd]  6 tokens",
        "  asked     What is two and lucky?",
        "  answered  It is four, lucky.",
        "  answer    r   right: 4",
        "",
    ]
    assert err == "1 of 5 samples\n"


def test_a_sample_without_a_score_says_why(show: Show, samples: Path) -> None:
    _, out, _ = show(samples, "--id", "unscored")
    assert "unscored  repaired not scored  published not scored  6 tokens\n" in out
    assert "  not scored (repaired): no verdict\n" in out


def test_long_texts_are_shortened_in_lists_and_whole_for_one(show: Show, samples: Path) -> None:
    question, answer = "q" * 400 + "END", "START" + "a" * 400 + "42"
    message = {"role": "user", "content": question}
    long = line(
        "long",
        requests=({"messages": [{"role": "system", "content": "Be brief."}, message]},),
        completions=(Completion(text=answer),),
    )
    write_sample_lines(samples, iter([long]))
    listed, whole = show(samples)[1], show(samples, "--id", "long")[1]
    assert f"  asked     {'q' * 300}…\n" in listed
    assert f"  answered  …{'a' * 298}42\n" in listed
    assert f"-- system\nBe brief.\n-- user\n{question}\n-- answered (stop)\n{answer}\n" in whole


def test_a_long_right_answer_is_shortened_in_lists_and_whole_for_one(
    show: Show, samples: Path
) -> None:
    write_sample_lines(samples, iter([line("long", target="t" * 400 + "\x1bEND")]))
    listed, whole = show(samples)[1], show(samples, "--id", "long")[1]
    assert f"right: {'t' * 300}…\n" in listed
    assert f"-- right answer\n{'t' * 400}\\x1bEND\n-- scored\n" in whole
    assert "END" not in listed


def test_calls_checks_errors_and_further_requests_are_shown(show: Show, samples: Path) -> None:
    checks = {
        "program": ProgramResult(exit_code=1, reason="exit", output_tail="Assertion"),
        "game": GraderResult(text="I prefer [[B]]"),
    }
    odd = line(
        "odd",
        requests=({"prompt": "1 + 1 ="}, {"messages": [], "tools": [{"name": "f"}]}),
        completions=(
            Completion(text=None, tool_calls=(ToolCall(name="f", arguments="{1"),), checks=checks),
            Completion(text=None, finish_reason="error", error="too long", http_status=400),
        ),
    )
    write_sample_lines(samples, iter([odd]))
    _, out, _ = show(samples, "--id", "odd")
    assert out.splitlines()[1:-3] == [
        "-- request 1 of 2", "-- prompt", "1 + 1 =", "-- request 2 of 2", '-- tool {"name": "f"}',
        "-- answered (stop)", "(calls f with {1)",
        "-- check program", "exit code 1 (exit)", "Assertion",
        "-- check game", "I prefer [[B]]",
        "-- answered (error)", "(error) too long",
    ]  # fmt: skip


def test_nothing_that_a_model_wrote_steers_the_terminal(show: Show, samples: Path) -> None:
    hostile = line("h", completions=(Completion(text="\x1b[2J\rgone\x07\u202e"),))
    write_sample_lines(samples, iter([hostile]))
    for out in (show(samples)[1], show(samples, "--id", "h")[1]):
        assert not {"\x1b", "\r", "\x07", "\u202e"} & set(out)
        assert "\\x1b[2J" in out


def test_an_unknown_sample_is_an_error(show: Show, samples: Path) -> None:
    code, out, err = show(samples, "--id", "nobody")
    assert (code, out) == (2, "")
    assert f"{samples} has no sample 'nobody' that fits; it has 5 samples" in err


def test_a_folder_of_ptb_evaluate_is_as_good_as_its_file(show: Show, samples: Path) -> None:
    assert show(samples.parent)[1] == show(samples)[1]


def test_the_folder_of_an_evaluation_under_way_says_that_it_is(show: Show, tmp_path: Path) -> None:
    folder = tmp_path / "begun"
    folder.mkdir()
    (folder / "evaluation.json").write_text("{}")
    code, _, err = show(folder)
    assert code == 2
    assert f"{folder} has no samples yet: its evaluation is not complete; run the same " in err


@pytest.mark.parametrize(
    ("name", "cells", "words"),
    [
        ("none", (), "there is no such file or folder"),
        ("", (), "holds no samples: expected a folder of `ptb evaluate`, a cell's folder or a run"),
        ("samples.jsonl", ("cell",), "is no run folder, so no cell can be named beside it"),
    ],
)
def test_what_holds_no_samples_is_refused(
    show: Show, samples: Path, tmp_path: Path, name: str, cells: tuple[str, ...], words: str
) -> None:
    if not name:
        samples.unlink()
    code, _, err = show(tmp_path / name, *cells)
    assert code == 2
    assert words in err


def test_a_damaged_line_is_named(show: Show, samples: Path) -> None:
    samples.write_bytes(samples.read_bytes() + b'{"id": 3}\n')
    code, out, err = show(samples)
    assert code == 1
    assert "right  repaired 1" in out
    assert f"{samples}, line 6: found " in err
    assert "expected one sample as `ptb evaluate` writes it" in err


def test_a_reader_that_stops_early_is_no_error(samples: Path) -> None:
    write_sample_lines(samples, iter(LINES * 2000))
    process = subprocess.Popen(
        [sys.executable, "-m", "ptb_core.cli.main", "samples", str(samples)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(timeout=60) == 141
