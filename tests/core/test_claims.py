"""Claims: one holder, dead holders taken over, lost claims noticed."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from ptb_core import claims
from ptb_core.atomic import sweep
from ptb_core.claims import LEASE_S, Claim, is_alive, latest_claim, take_claim
from ptb_core.errors import ClaimLostError
from ptb_core.processes import boot_id, pid_namespace, process_start_time

TAKE_AND_HANG = """
import sys, time
from pathlib import Path
from ptb_core.claims import take_claim
held = take_claim(Path(sys.argv[1]))
print("held" if held else "refused", flush=True)
time.sleep(60)
"""


def holder(folder: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", TAKE_AND_HANG, str(folder)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_living_holder_keeps_its_cell(tmp_path: Path) -> None:
    process = holder(tmp_path / "claims")
    try:
        assert take_claim(tmp_path / "claims") is None
    finally:
        process.kill()
        process.communicate()


def test_a_killed_holder_is_taken_over_at_once_with_the_next_number(tmp_path: Path) -> None:
    process = holder(tmp_path / "claims")
    process.kill()
    process.communicate()
    held = take_claim(tmp_path / "claims")
    assert held is not None
    assert held.claim.number == 2
    held.check()
    held.release()


def test_a_released_claim_can_be_taken_while_its_process_lives(tmp_path: Path) -> None:
    first = take_claim(tmp_path / "claims")
    assert first is not None
    first.release()
    second = take_claim(tmp_path / "claims")
    assert second is not None
    assert second.claim.number == 2
    second.release()


def test_a_holder_that_was_taken_over_finds_out_before_it_writes(tmp_path: Path) -> None:
    folder = tmp_path / "claims"
    held = take_claim(folder)
    assert held is not None
    usurper = replace(held.claim, number=2, host="elsewhere", pid=7, token="other")
    (folder / "000002.json").write_bytes(msgspec.json.encode(usurper))
    with pytest.raises(ClaimLostError, match=r"claim 1 was lost; .* held by elsewhere pid 7"):
        held.check()
    held.release()


def test_of_many_contenders_exactly_one_wins(tmp_path: Path) -> None:
    script = TAKE_AND_HANG.replace("time.sleep(60)", "sys.stdin.read()")
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path / "claims")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(6)
    ]
    try:
        answers = [process.stdout.readline() for process in processes if process.stdout]
    finally:
        for process in processes:
            process.communicate("")
    assert sorted(answers) == ["held\n"] + ["refused\n"] * 5


def test_a_holder_on_another_host_lives_as_long_as_its_heartbeat_is_fresh(tmp_path: Path) -> None:
    folder = tmp_path / "claims"
    held = take_claim(folder)
    assert held is not None
    remote = replace(held.claim, number=2, host="elsewhere", token="other")
    (folder / "000002.json").write_bytes(msgspec.json.encode(remote))
    heartbeat = folder / "000002.heartbeat"
    heartbeat.touch()
    assert is_alive(folder, remote)
    stale = time.time() - LEASE_S - 1
    os.utime(heartbeat, (stale, stale))
    assert not is_alive(folder, remote)
    held.release()


def test_a_reused_pid_is_not_taken_for_the_holder(tmp_path: Path) -> None:
    folder = tmp_path / "claims"
    held = take_claim(folder)
    assert held is not None
    reused = replace(held.claim, started=held.claim.started - 1)
    assert not is_alive(folder, reused)
    assert latest_claim(folder) == held.claim
    held.release()


def test_a_claim_that_was_removed_is_lost_to_nobody(tmp_path: Path) -> None:
    held = take_claim(tmp_path / "cell" / "claims")
    assert held is not None
    (tmp_path / "cell" / "claims" / "000001.json").unlink()
    with pytest.raises(ClaimLostError) as caught:
        held.check()
    assert str(caught.value) == (
        "cell: claim 1 was lost; the cell is now held by nobody, so this supervisor stops "
        "without writing"
    )
    held.release()


def test_a_claim_of_the_same_number_with_another_token_is_not_ones_own(tmp_path: Path) -> None:
    held = take_claim(tmp_path)
    assert held is not None
    twin = replace(held.claim, token="other")
    (tmp_path / "000001.json").write_bytes(msgspec.json.encode(twin))
    with pytest.raises(ClaimLostError):
        held.check()
    held.release()


def test_a_claim_says_who_holds_the_cell(tmp_path: Path) -> None:
    held = take_claim(tmp_path / "claims")
    assert held is not None
    claim = held.claim
    assert (claim.number, claim.host, claim.pid) == (1, socket.gethostname(), os.getpid())
    assert claim.started == process_start_time(os.getpid())
    assert (tmp_path / "claims" / "000001.heartbeat").exists()
    held.release()
    assert (tmp_path / "claims" / "000001.released").exists()


def test_a_holder_keeps_its_heartbeat_fresh_until_it_leaves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "HEARTBEAT_S", 0.001)
    held = take_claim(tmp_path)
    assert held is not None
    heartbeat = tmp_path / "000001.heartbeat"
    os.utime(heartbeat, (1.0, 1.0))
    until = time.monotonic() + 10
    while heartbeat.stat().st_mtime == 1.0:
        assert time.monotonic() < until, "no heartbeat came"
    held.release()
    os.utime(heartbeat, (1.0, 1.0))
    assert not any(thread.name == "heartbeat" for thread in threading.enumerate())
    assert heartbeat.stat().st_mtime == 1.0


def test_a_heartbeat_that_cannot_be_written_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "HEARTBEAT_S", 0.001)
    folder = tmp_path / "claims"
    held = take_claim(folder)
    assert held is not None
    folder.rename(tmp_path / "away")
    tried = threading.Event()
    touch = Path.touch

    def noted(path: Path, *arguments: bool) -> None:
        if not folder.exists():
            tried.set()
        touch(path, *arguments)

    monkeypatch.setattr(Path, "touch", noted)
    assert tried.wait(10)
    (tmp_path / "away").rename(folder)
    os.utime(folder / "000001.heartbeat", (1.0, 1.0))
    until = time.monotonic() + 10
    while (folder / "000001.heartbeat").stat().st_mtime == 1.0:
        assert time.monotonic() < until, "the heartbeat has stopped"
    held.release()


def test_a_remote_holder_without_a_heartbeat_is_as_old_as_its_claim(tmp_path: Path) -> None:
    held = take_claim(tmp_path)
    assert held is not None
    remote = replace(held.claim, number=2, host="elsewhere")
    path = tmp_path / "000002.json"
    path.write_bytes(msgspec.json.encode(remote))
    assert is_alive(tmp_path, remote)
    stale = time.time() - LEASE_S - 1
    os.utime(path, (stale, stale))
    assert not is_alive(tmp_path, remote)
    assert not list(tmp_path.glob(".probe-*"))
    held.release()


def test_a_holder_before_this_boot_is_judged_by_its_heartbeat(tmp_path: Path) -> None:
    held = take_claim(tmp_path)
    assert held is not None
    before = replace(held.claim, boot="another", pid=2**22 + 1)
    assert is_alive(tmp_path, before)
    held.release()


def test_a_lease_outlasts_several_heartbeats() -> None:
    assert LEASE_S == 120
    assert claims.HEARTBEAT_S == 10


def test_files_that_are_no_claims_are_ignored(tmp_path: Path) -> None:
    assert latest_claim(tmp_path / "none") is None
    (tmp_path / "notes.json").write_text("{}", "utf-8")
    assert latest_claim(tmp_path) is None


@pytest.mark.parametrize("content", [b"", b'{"number":2,"ho', b"\0" * 40, b"[]", b"\xff"])
def test_a_claim_that_a_failing_disk_damaged_counts_until_its_heartbeat_is_stale(
    tmp_path: Path, content: bytes
) -> None:
    held = take_claim(tmp_path)
    assert held is not None
    path = tmp_path / "000002.json"
    path.write_bytes(content)
    with pytest.raises(ClaimLostError, match="now held by a claim that is damaged"):
        held.check()
    assert take_claim(tmp_path) is None
    stale = time.time() - LEASE_S - 1
    os.utime(path, (stale, stale))
    third = take_claim(tmp_path, wait=lambda _: None)
    assert third is not None
    assert third.claim.number == 3
    third.release()
    held.release()


def test_a_holder_that_died_before_its_first_heartbeat_is_taken_over(tmp_path: Path) -> None:
    gone = Claim(
        number=1, host=socket.gethostname(), boot=boot_id(), pid=2**22 + 1, started=1, token="t"
    )
    (tmp_path / "000001.json").write_bytes(msgspec.json.encode(gone))
    held = take_claim(tmp_path)
    assert held is not None
    assert held.claim.number == 2
    held.release()


def test_a_look_at_a_heartbeat_survives_the_holders_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = take_claim(tmp_path)
    assert held is not None
    remote = replace(held.claim, number=2, host="elsewhere", token="other")
    (tmp_path / "000002.json").write_bytes(msgspec.json.encode(remote))
    fstat = os.fstat

    def swept_before(descriptor: int) -> os.stat_result:
        sweep(tmp_path)
        return fstat(descriptor)

    monkeypatch.setattr("os.fstat", swept_before)
    assert is_alive(tmp_path, remote)
    assert not list(tmp_path.glob(".probe-*"))
    held.release()


def test_a_holder_in_another_container_of_this_host_is_judged_by_its_heartbeat(
    tmp_path: Path,
) -> None:
    held = take_claim(tmp_path)
    assert held is not None
    assert held.claim.namespace == pid_namespace()
    elsewhere = replace(held.claim, namespace="pid:[1]", pid=2**22 + 1)
    assert is_alive(tmp_path, elsewhere)
    assert not is_alive(tmp_path, replace(elsewhere, namespace=""))
    held.release()
