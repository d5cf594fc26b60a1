"""Terminal, pipe, JSON, CSV and Markdown show the same numbers; the command writes them."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from made_runs import RunMaker

from ptb_core.cli.leaderboard import command
from ptb_core.errors import UsageError
from ptb_core.leaderboard.exports import csv_text, json_text, markdown_text
from ptb_core.leaderboard.loading import load_board
from ptb_core.leaderboard.tables import percent
from ptb_core.leaderboard.terminal import plain_text, print_board
from ptb_core.schemas import faults
from ptb_core.specs import GraderSpec

Maker = Callable[..., RunMaker]


@pytest.fixture
def demo(maker: Maker) -> RunMaker:
    """A small run: an honest agent, a cheat, and one that has not ended."""
    run = maker(agents=("honest", "cheat", "slow"), repeats=2)
    run.add("gsm8k--tiny--base", 0.04)
    run.add("gsm8k--tiny--honest--r1", 0.8)
    run.add("gsm8k--tiny--honest--r2", 0.9)
    run.flag("gsm8k--tiny--cheat--r1", 0.99, "test-data-in-training")
    run.flag("gsm8k--tiny--cheat--r2", 0.99, "test-data-in-training", "harness-edited")
    run.add("gsm8k--tiny--slow--r1", 0.5)
    return run


def test_the_plain_table_of_a_small_run_reads_well(demo: RunMaker) -> None:
    assert plain_text(load_board([demo.folder])) == (
        "condition [c0ffee]: 10 h, 1 GPU, network open, dev evaluation in-sandbox, "
        "prompt default\n"
        "protocol strict: seeded requests, repaired scoring\n"
        "engine transformers\n"
        "1 model: tiny\n"
        f"from: {demo.folder} (run-a)\n"
        "\n"
        "rank  agent          score %       n       gsm8k  cells             marks\n"
        "----  ----------  ----------  ------  ----------  ----------------  "
        "-----------------------------------------------------\n"
        "   1  honest      85.0 ± 7.1       2  85.0 ± 7.1  2 own\n"
        "   2  slow              50.0  1 of 2        50.0  1 own, 1 missing  missing 1/2\n"
        "   3  cheat        4.0 ± 0.0       2   4.0 ± 0.0  2 base            "
        "flagged 2/2: harness-edited, test-data-in-training ×2\n"
        "----  ----------  ----------  ------  ----------  ----------------  "
        "-----------------------------------------------------\n"
        "   –  base model         4.0       1         4.0  1 own\n"
        "\n"
        "note: slow: gsm8k--tiny--slow--r2 is missing: no record yet\n"
    )


def test_a_score_that_is_not_there_is_a_dash_and_zero_is_zero() -> None:
    assert percent(None) == "–"
    assert percent(0.0) == "0.0"
    assert percent(0.2316289994, 0.0180342868) == "23.2 ± 1.8"


def test_the_json_keeps_to_its_schema_and_holds_fractions(demo: RunMaker) -> None:
    document = json.loads(json_text(load_board([demo.folder])))
    assert faults(document, "leaderboard") == ()
    (section,) = document["sections"]
    assert [row["agent"] for row in section["rows"]] == ["honest", "slow", "cheat"]
    assert section["rows"][0]["score"] == pytest.approx(0.85)
    assert section["condition"]["hours"] == 10
    assert section["rows"][2]["cells"][0]["violations"] == ["test-data-in-training"]


def test_the_json_of_the_published_scores_keeps_to_its_schema(test_data: Path) -> None:
    for fallback in (None, "project", "published"):
        board = load_board([test_data / "published_scores.json"], fallback=fallback)
        assert faults(json.loads(json_text(board)), "leaderboard") == ()


def test_the_csv_has_one_line_per_row_with_fractions_and_empty_gaps(demo: RunMaker) -> None:
    lines = list(csv.DictReader(io.StringIO(csv_text(load_board([demo.folder])))))
    assert [line["label"] for line in lines] == ["honest", "slow", "cheat", "base model"]
    assert float(lines[0]["score"]) == pytest.approx(0.85)
    assert (lines[1]["sd"], lines[1]["gsm8k"], lines[1]["n_repeats"]) == ("", "0.5", "1")
    assert lines[2]["violations"] == "harness-edited=1 test-data-in-training=2"
    assert (lines[3]["rank"], lines[3]["kind"]) == ("", "reference")


def test_every_form_names_the_grader(maker: Maker) -> None:
    run = maker(agents=("alice",), grader=GraderSpec(model="a_judge", prompts={"gsm8k": "abc"}))
    run.add("gsm8k--tiny--alice--r1", 0.5)
    board = load_board([run.folder])
    words = "a_judge, own wording sha256 ba7816bf8f01 for gsm8k"
    (section,) = json.loads(json_text(board))["sections"]
    assert section["grader_text"] == words
    assert faults(json.loads(json_text(board)), "leaderboard") == ()
    (line,) = csv.DictReader(io.StringIO(csv_text(board)))
    assert (line["engine"], line["grader"], line["scoring"]) == ("transformers", words, "repaired")
    assert f"\ngrader {words}\n" in plain_text(board)
    escaped = words.replace("_", "\\_")
    assert f"\n- grader {escaped}\n" in markdown_text(board)


def test_without_a_graded_task_no_form_names_a_grader(demo: RunMaker, test_data: Path) -> None:
    for source in (demo.folder, test_data / "published_scores.json"):
        board = load_board([source])
        assert {section.grader_text for section in board.sections} == {""}
        lines = csv.DictReader(io.StringIO(csv_text(board)))
        assert {line["grader"] for line in lines} == {""}
        assert "grader" not in plain_text(board) + markdown_text(board)


def test_the_markdown_is_a_table_with_escaped_names(maker: Maker) -> None:
    run = maker(agents=("a_b|c",))
    run.add("gsm8k--tiny--a_b|c--r1", 0.5)
    lines = markdown_text(load_board([run.folder])).splitlines()
    assert "| rank | agent | score % | n | gsm8k | cells | marks |" in lines
    assert "|---:|:---|---:|---:|---:|:---|:---|" in lines
    assert "| 1 | a\\_b\\|c | 50.0 | 1 | 50.0 | 1 own |  |" in lines


def test_characters_that_steer_a_terminal_are_not_printed(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    cells = [{"task": "a", "model": "m", "agent": "x\u001b[2J\n", "score": 0.5}]
    path.write_text(json.dumps({"name": "n", "cells": cells}))
    text = plain_text(load_board([path]))
    assert "\u001b" not in text
    assert "x\ufffd[2J\ufffd" in text


def test_many_missing_cells_are_told_by_reason(maker: Maker) -> None:
    run = maker(agents=("alice",), repeats=30)
    run.add("gsm8k--tiny--alice--r1", 0.5)
    for repeat in range(2, 10):
        reason = f"reason {repeat}"
        run.add(f"gsm8k--tiny--alice--r{repeat}", counts="missing", reason=reason)
    notes = [line for line in plain_text(load_board([run.folder])).splitlines() if "note" in line]
    assert notes[0] == "note: alice: gsm8k--tiny--alice--r2 is missing: reason 2"
    assert notes[5:] == [
        "note: alice: 24 more missing for other reasons; --json lists every cell",
    ]


def test_cells_missing_for_one_reason_share_a_line(maker: Maker) -> None:
    run = maker(agents=("alice",), repeats=9)
    run.add("gsm8k--tiny--alice--r1", 0.5)
    assert (
        "note: alice: 8 cells are missing, such as gsm8k--tiny--alice--r2: no record yet\n"
    ) in plain_text(load_board([run.folder]))


def test_a_damaged_record_is_told_once(maker: Maker) -> None:
    run = maker(agents=("alice",))
    run.add("gsm8k--tiny--alice--r1", 0.5).write_bytes(b"{")
    text = plain_text(load_board([run.folder]))
    assert text.count("the record is cut off after 1 bytes") == 1


def test_a_terminal_gets_a_coloured_table(demo: RunMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    def printed() -> str:
        screen = Terminal()
        monkeypatch.setattr(sys, "stdout", screen)
        print_board(load_board([demo.folder]))
        monkeypatch.undo()
        return screen.getvalue()

    monkeypatch.delenv("NO_COLOR", raising=False)
    for name, value in {"TERM": "xterm-256color", "COLUMNS": "160"}.items():
        monkeypatch.setenv(name, value)
    text = printed()
    assert "\u001b[33mnote:" in text
    assert "85.0 ± 7.1" in text
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "160")
    assert "\u001b[33m" not in printed()


# The command -----------------------------------------------------------------------------------


def invoke(*arguments: object) -> Any:
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


def test_the_command_prints_the_plain_table_when_piped(demo: RunMaker) -> None:
    result = invoke(demo.folder)
    assert (result.exit_code, result.stdout) == (0, plain_text(load_board([demo.folder])))


@pytest.mark.parametrize(
    ("option", "suffix", "render"),
    [
        ("--json", ".json", json_text),
        ("--csv", ".csv", csv_text),
        ("--markdown", ".md", markdown_text),
    ],
)
def test_the_command_writes_each_form_to_stdout_and_by_suffix_to_a_file(
    demo: RunMaker, tmp_path: Path, option: str, suffix: str, render: Callable[[Any], str]
) -> None:
    expected = render(load_board([demo.folder]))
    assert invoke(demo.folder, option).stdout == expected
    output = tmp_path / f"board{suffix}"
    result = invoke(demo.folder, "-o", output)
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", f"wrote {output}\n")
    assert output.read_text() == expected


def test_an_option_beats_the_suffix(demo: RunMaker, tmp_path: Path) -> None:
    output = tmp_path / "board.json"
    invoke(demo.folder, "--csv", "-o", output)
    assert output.read_text() == csv_text(load_board([demo.folder]))


def test_an_output_that_cannot_be_written_is_an_error(demo: RunMaker, tmp_path: Path) -> None:
    output = tmp_path / "nowhere" / "board.json"
    error = invoke(demo.folder, "-o", output).exception
    assert isinstance(error, UsageError)
    assert str(error) == f"{output}: cannot be written (No such file or directory)"


def test_the_command_needs_a_source() -> None:
    error = invoke().exception
    assert isinstance(error, UsageError)
    assert str(error) == ("name at least one run folder or result set: ptb leaderboard RUN...")


def test_the_command_passes_scoring_fallback_and_check_on(demo: RunMaker) -> None:
    result = invoke(
        demo.folder, "--scoring", "published", "--fallback", "published", "--check", "--json"
    )
    document = json.loads(result.stdout)
    assert (document["scoring"], document["fallback"]) == ("published", "published")
    assert document["sections"][0]["scoring"] == "published"


def test_importing_the_command_loads_nothing_heavy() -> None:
    code = (
        "import sys, ptb_core.cli.leaderboard, ptb_core.leaderboard.loading\n"
        "print([m for m in ('rich', 'jsonschema', 'numpy', 'torch', 'aiohttp') "
        "if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ
    )
    assert done.stdout.strip() == "[]"
