"""How far a long command is, on a terminal and elsewhere."""

from __future__ import annotations

import sys

import pytest

from ptb_core.cli import progress_line
from ptb_core.cli.progress_line import ProgressLine


def test_elsewhere_the_beginning_the_end_and_a_line_now_and_then_are_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [0.0]
    monkeypatch.setattr(progress_line.time, "monotonic", lambda: now[0])
    with ProgressLine() as progress:
        for done, at_s in ((0, 1), (1, 5), (2, 12), (2, 60), (3, 61), (4, 62)):
            now[0] = at_s
            progress("answers", done, 4)
        progress("checks", 0, 2)
    assert capsys.readouterr().err.splitlines() == [
        "0 of 4 answers", "2 of 4 answers", "3 of 4 answers", "4 of 4 answers", "0 of 2 checks",
    ]  # fmt: skip
    assert progress.last == ("checks", 0, 2)


def test_on_a_terminal_there_is_a_bar_for_each_kind_of_work(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with ProgressLine() as progress:
        progress("answers", 1, 4)
        progress("answers", 4, 4)
        progress("checks", 2, 2)
    shown = capsys.readouterr().err
    assert "answers" in shown
    assert "4/4" in shown
    assert "checks" in shown
    assert "2/2" in shown
