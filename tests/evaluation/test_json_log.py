"""Logs of JSON lines survive a kill at any byte."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptb_core.errors import RecordError
from ptb_core.evaluation.json_log import JsonLog, read_log


class Line(msgspec.Struct, frozen=True):
    number: int
    text: str


LINES = [Line(1, "a"), Line(2, "ü\n"), Line(3, "c")]


def write(path: Path, lines: list[Line]) -> None:
    with JsonLog(path, Line, "line") as log:
        for line in lines:
            log.append(line)


@settings(max_examples=60)
@given(cut=st.integers(min_value=0, max_value=70))
def test_a_log_cut_at_any_byte_keeps_its_whole_lines(
    tmp_path_factory: pytest.TempPathFactory, cut: int
) -> None:
    path = tmp_path_factory.mktemp("log") / "log.jsonl"
    write(path, LINES)
    content = path.read_bytes()
    kept = content[: min(cut, len(content))]
    path.write_bytes(kept)
    whole = LINES[: kept.count(b"\n")]
    assert read_log(path, Line, "line") == (whole, kept.rfind(b"\n") + 1)
    with JsonLog(path, Line, "line") as log:
        assert log.entries == whole
        log.append(Line(9, "after"))
    assert read_log(path, Line, "line")[0] == [*whole, Line(9, "after")]


def test_an_absent_log_is_empty(tmp_path: Path) -> None:
    assert read_log(tmp_path / "none.jsonl", Line, "line") == ([], 0)


@pytest.mark.parametrize(
    "damage", [b"{\n", b'{"number": "x", "text": ""}\n', b"\xff\n", b"[" * 9999 + b"\n"]
)
def test_a_damaged_line_before_the_last_is_told_with_its_number(
    tmp_path: Path, damage: bytes
) -> None:
    path = tmp_path / "log.jsonl"
    write(path, LINES[:1])
    path.write_bytes(path.read_bytes() + damage + b'{"number": 2')
    with pytest.raises(RecordError) as caught:
        JsonLog(path, Line, "line")
    assert str(caught.value).startswith(f"{path}, line 2: found damaged JSON (")
    assert str(caught.value).endswith("expected one line; move the log away to generate anew")


def test_a_log_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"the log of lines cannot be read \(Is a directory\)"):
        read_log(tmp_path, Line, "line")
