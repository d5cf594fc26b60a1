"""Clocks that jump: no holder is doubled, no attempt ends before it began."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from ptb_core.claims import LEASE_S, OBSERVE_S, Claim, is_alive, latest_claim, take_claim
from ptb_core.journal import append_event, read_events
from ptb_core.stages.record import attempts

YEAR_S = 365 * 86400.0
REMOTE = Claim(number=1, host="elsewhere", boot="another", pid=7, started=1, token="t")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A claims folder whose holder is on another host; its heartbeat was just now."""
    claims = tmp_path / "cell" / "claims"
    claims.mkdir(parents=True)
    (claims / "000001.json").write_bytes(msgspec.json.encode(REMOTE))
    (claims / "000001.heartbeat").touch()
    return claims


def shift_heartbeat(folder: Path, seconds: float) -> None:
    """What a jump of the file server's clock by minus ``seconds`` looks like."""
    stamp = time.time() + seconds
    os.utime(folder / "000001.heartbeat", (stamp, stamp))


class Waiting:
    """Stands for the time that passes while a heart is listened to."""

    def __init__(self, folder: Path, beats: bool) -> None:
        self.waited: list[float] = []
        self._folder, self._beats = folder, beats

    def __call__(self, seconds: float) -> None:
        self.waited.append(seconds)
        if self._beats:
            (self._folder / "000001.heartbeat").touch()


@pytest.mark.parametrize("jump_s", [-YEAR_S, YEAR_S])
def test_a_living_holder_is_not_taken_over_when_the_file_servers_clock_jumps(
    folder: Path, jump_s: float
) -> None:
    shift_heartbeat(folder, jump_s)
    waiting = Waiting(folder, beats=True)
    assert take_claim(folder, wait=waiting) is None
    assert waiting.waited == [OBSERVE_S]
    assert latest_claim(folder) == REMOTE


@pytest.mark.parametrize("jump_s", [-LEASE_S - 1, LEASE_S + 1, -YEAR_S, YEAR_S])
def test_a_dead_holder_is_taken_over_whatever_its_heartbeats_age_seems_to_be(
    folder: Path, jump_s: float
) -> None:
    shift_heartbeat(folder, jump_s)
    held = take_claim(folder, wait=Waiting(folder, beats=False))
    assert held is not None
    assert held.claim.number == 2
    held.release()


def test_a_fresh_heartbeat_is_believed_without_waiting(folder: Path) -> None:
    waiting = Waiting(folder, beats=False)
    assert take_claim(folder, wait=waiting) is None
    assert waiting.waited == []


def test_a_released_claim_is_taken_without_waiting(folder: Path) -> None:
    (folder / "000001.released").touch()
    waiting = Waiting(folder, beats=False)
    held = take_claim(folder, wait=waiting)
    assert held is not None
    assert waiting.waited == []
    held.release()


@pytest.mark.parametrize("jump_s", [-YEAR_S, YEAR_S])
def test_this_hosts_clock_decides_nothing_about_holders(
    folder: Path, jump_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + jump_s)
    assert is_alive(folder, REMOTE)
    own = take_claim(folder.parent / "own")
    assert own is not None
    assert is_alive(folder.parent / "own", own.claim)
    own.release()


def test_a_listening_time_outlasts_two_heartbeats() -> None:
    from ptb_core.claims import HEARTBEAT_S

    assert OBSERVE_S > 2 * HEARTBEAT_S


# Damaged claims: nobody knows whose -----------------------------------------------------------


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\0" * 80, b"[1]", b'{"number": 1}', b'"\xff"', b"[" * 100_000]
)
def test_a_damaged_claim_is_held_as_long_as_its_heart_beats(folder: Path, content: bytes) -> None:
    (folder / "000001.json").write_bytes(content)
    assert take_claim(folder, wait=Waiting(folder, beats=False)) is None
    shift_heartbeat(folder, -LEASE_S - 1)
    assert take_claim(folder, wait=Waiting(folder, beats=True)) is None
    shift_heartbeat(folder, -LEASE_S - 1)
    held = take_claim(folder, wait=Waiting(folder, beats=False))
    assert held is not None
    assert held.claim.number == 2
    held.release()


def test_a_claim_that_is_a_folder_or_has_another_number_is_damaged(folder: Path) -> None:
    (folder / "000001.json").write_bytes(msgspec.json.encode(replace(REMOTE, number=7)))
    found = latest_claim(folder)
    assert found is not None
    assert (found.number, found.host) == (1, "")
    (folder / "000001.json").unlink()
    (folder / "000001.json").mkdir()
    assert latest_claim(folder) == found


def test_a_holder_whose_own_claim_is_damaged_stops_without_writing(tmp_path: Path) -> None:
    from ptb_core.errors import ClaimLostError

    held = take_claim(tmp_path / "cell" / "claims")
    assert held is not None
    (tmp_path / "cell" / "claims" / "000001.json").write_bytes(b"")
    with pytest.raises(ClaimLostError) as caught:
        held.check()
    assert str(caught.value) == (
        "cell: claim 1 was lost; the cell is now held by a claim that is damaged, so this "
        "supervisor stops without writing"
    )
    held.release()
    again = take_claim(tmp_path / "cell" / "claims")
    assert again is not None, "it was released in order, so nobody has to wait"
    again.release()


# Records --------------------------------------------------------------------------------------


def test_no_attempt_ends_before_it_has_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = tmp_path / "journal.jsonl"
    clock = iter([1000.0, 400.0, 2000.0, 2001.0])
    monkeypatch.setattr(time, "time", lambda: next(clock))
    for stage in ("prepare", "solve"):
        append_event(journal, "started", 1, stage=stage, attempt=1)
        append_event(journal, "done", 1, stage=stage, attempt=1)
    first, second = attempts(read_events(journal))
    assert (first.started_unix_s, first.ended_unix_s) == (1000.0, 1000.0)
    assert (second.started_unix_s, second.ended_unix_s) == (2000.0, 2001.0)
