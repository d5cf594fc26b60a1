"""The journal survives torn lines."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from ptb_core.journal import append_event, last_events, read_events


def test_events_come_back_in_order_with_their_facts(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    append_event(path, "claimed", 1, text="host")
    append_event(path, "started", 1, stage="solve", attempt=1, data={"n": 3})
    first, second = read_events(path)
    assert (first.event, first.text) == ("claimed", "host")
    assert (second.stage, second.attempt, second.data) == ("solve", 1, {"n": 3})


def test_a_torn_last_line_costs_itself_only(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    append_event(path, "claimed", 1)
    with path.open("ab") as stream:
        stream.write(b'{"event":"started","unix_s":1')
    append_event(path, "done", 2, stage="solve", attempt=1)
    assert [event.event for event in read_events(path)] == ["claimed", "done"]


def test_a_missing_journal_is_empty(tmp_path: Path) -> None:
    assert read_events(tmp_path / "none.jsonl") == ()


def test_a_garbled_line_costs_itself_only(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    append_event(path, "claimed", 1)
    with path.open("ab") as stream:
        stream.write(b'{"event":"note","unix_s":1,"fence":1,"text":"\xff"}\n{"event":"party"}\n')
    append_event(path, "started", 1, stage="solve", attempt=1)
    assert [event.event for event in read_events(path)] == ["claimed", "started"]


def test_text_that_is_no_valid_unicode_is_spelt_out(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    append_event(path, "failed", 1, text="no \udcff.bin", data={"\udcfe": ["\udcfd"]})
    (event,) = read_events(path)
    assert (event.text, event.data) == ("no \\udcff.bin", {"\\udcfe": ["\\udcfd"]})


def test_an_event_says_when_and_by_whom(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    before = time.time()
    append_event(path, "claimed", 7)
    (event,) = read_events(path)
    assert before <= event.unix_s <= time.time()
    assert (event.fence, event.stage, event.attempt, event.text) == (7, "", 0, "")


def test_every_event_is_on_its_own_line_and_none_is_empty(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    for _ in range(3):
        append_event(path, "claimed", 1)
    assert [bool(line) for line in path.read_bytes().split(b"\n")] == [True, True, True, False]


def test_an_event_is_on_the_disk_when_it_is_appended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "journal.jsonl"
    synced: list[int] = []

    def fsync(descriptor: int) -> None:
        synced.append(os.fstat(descriptor).st_size)

    monkeypatch.setattr("os.fsync", fsync)
    append_event(path, "claimed", 1)
    assert synced == [path.stat().st_size]


def test_appending_keeps_no_file_open(tmp_path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        append_event(tmp_path / "journal.jsonl", "claimed", 1)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_an_attempt_stands_as_its_last_supervisor_says(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    append_event(path, "started", 1, stage="solve", attempt=1)
    append_event(path, "started", 2, stage="solve", attempt=1)
    append_event(path, "abandoned", 1, stage="solve", attempt=1)
    append_event(path, "note", 2, stage="solve", attempt=1)
    append_event(path, "started", 2, stage="seal", attempt=1)
    append_event(path, "done", 2, stage="seal", attempt=1)
    last = last_events(read_events(path))
    standing = {key: (event.event, event.fence) for key, event in last.items()}
    assert standing == {("solve", 1): ("started", 2), ("seal", 1): ("done", 2)}
