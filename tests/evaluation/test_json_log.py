"""Logs of JSON lines survive a kill at any byte."""

from __future__ import annotations

import errno
import io
import os
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptb_core.errors import RecordError
from ptb_core.evaluation import json_log as module
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


def fill_disk_at(patch: pytest.MonkeyPatch, written: int) -> None:
    """Let the next line be written up to some byte only."""

    def write(descriptor: int, content: bytes) -> None:
        patch.undo()
        os.write(descriptor, content[:written])
        raise OSError(errno.ENOSPC, "No space left on device")

    patch.setattr(module, "write_all", write)


@pytest.mark.parametrize("written", [0, 1, 12, len(b'{"number":2,"text":"b"}')])
def test_a_line_that_the_disk_took_a_part_of_damages_none_after_it(
    tmp_path: Path, written: int
) -> None:
    path = tmp_path / "log.jsonl"
    write(path, LINES[:1])
    with JsonLog(path, Line, "line") as log, pytest.MonkeyPatch.context() as patch:
        log.append(LINES[1])
        fill_disk_at(patch, written)
        with pytest.raises(OSError, match="No space left on device") as caught:
            log.append(Line(2, "b"))
        assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(path))
        assert read_log(path, Line, "line") == (LINES[:2], path.stat().st_size)
        log.append(LINES[2])
    assert read_log(path, Line, "line") == (LINES, path.stat().st_size)


def test_a_log_whose_torn_line_cannot_be_cut_off_takes_no_further_one(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    with JsonLog(path, Line, "line") as log, pytest.MonkeyPatch.context() as patch:
        log.append(LINES[0])
        fill_disk_at(patch, 5)
        log._stream = Uncuttable(log._stream)
        with pytest.raises(OSError, match="No space left on device") as first:
            log.append(LINES[1])
        with pytest.raises(OSError, match="No space left on device") as second:
            log.append(LINES[1])
        assert second.value is first.value
    assert path.read_bytes().endswith(b'\n{"num')
    write(path, LINES[1:])
    assert read_log(path, Line, "line")[0] == LINES


class Uncuttable(io.RawIOBase):
    """A stream that cannot be made shorter."""

    def __init__(self, stream: io.RawIOBase) -> None:
        self.stream = stream

    def fileno(self) -> int:
        return self.stream.fileno()

    def truncate(self, size: int | None = None) -> int:
        raise OSError(errno.EIO, "Input/output error")

    def close(self) -> None:
        self.stream.close()
