"""Who holds a cell. At most one supervisor works on a cell; a dead holder is taken over.

A claim is a numbered file in the cell's ``claims/`` folder. The highest number holds the cell: it
is the *fencing number* that every marker of that supervisor carries. Taking over means creating
the next number, which exactly one contender can do (:func:`ptb_core.atomic.create_exclusive`).

A holder is dead when its process is gone (same host and boot), or when its heartbeat file has not
been touched for :data:`LEASE_S` seconds by the *file server's* clock (other host).
"""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import threading
from dataclasses import dataclass
from pathlib import Path

import msgspec

from ptb_core.atomic import create_exclusive
from ptb_core.errors import ClaimLostError
from ptb_core.processes import boot_id, is_same_process, process_start_time

LEASE_S = 120.0
HEARTBEAT_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One claim on a cell.

    Attributes:
        number: Fencing number, counting from 1.
        host: Host name of the holder.
        boot: Boot id of that host.
        pid: Process id of the holder.
        started: Start time of that process in clock ticks since boot, against pid reuse.
        token: Random, to recognise one's own claim.
    """

    number: int
    host: str
    boot: str
    pid: int
    started: int
    token: str


class HeldClaim:
    """A claim that this process holds; keeps its heartbeat until released."""

    def __init__(self, folder: Path, claim: Claim) -> None:
        self.claim = claim
        self._folder = folder
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        _heartbeat(folder, claim).touch()
        self._thread.start()

    def check(self) -> None:
        """Make sure that the claim still holds; call it before every durable step.

        Raises:
            ClaimLostError: If another supervisor has taken the cell over, or the claim was
                removed.
        """
        current = latest_claim(self._folder)
        if current != self.claim:
            holder = f"{current.host} pid {current.pid}" if current else "nobody"
            raise ClaimLostError(
                f"{self._folder.parent.name}: claim {self.claim.number} was lost; "
                f"the cell is now held by {holder}, so this supervisor stops without writing"
            )

    def release(self) -> None:
        """Stop the heartbeat and say that the holder left in order."""
        self._stopped.set()
        self._thread.join()
        with contextlib.suppress(OSError):  # on a full disk the end of the process says it, too
            (self._folder / f"{self.claim.number:06}.released").touch()

    def _beat(self) -> None:
        while not self._stopped.wait(HEARTBEAT_S):
            try:
                _heartbeat(self._folder, self.claim).touch()
            except OSError:
                continue


def take_claim(folder: Path) -> HeldClaim | None:
    """Claim a cell, taking over from a dead or released holder.

    Args:
        folder: The cell's ``claims/`` folder; made if absent.

    Returns:
        The claim, or None when a living supervisor holds the cell.
    """
    folder.mkdir(parents=True, exist_ok=True)
    while True:
        current = latest_claim(folder)
        if current is not None and is_alive(folder, current):
            return None
        claim = _own_claim(number=1 if current is None else current.number + 1)
        if create_exclusive(_claim_file(folder, claim.number), msgspec.json.encode(claim)):
            return HeldClaim(folder, claim)


def latest_claim(folder: Path) -> Claim | None:
    """Return the claim that holds the cell or held it last, or None if there never was one."""
    try:
        numbers = [int(p.stem) for p in folder.glob("*.json") if p.stem.isdigit()]
    except FileNotFoundError:
        return None
    if not numbers:
        return None
    content = _claim_file(folder, max(numbers)).read_bytes()
    return msgspec.json.decode(content, type=Claim)


def is_alive(folder: Path, claim: Claim) -> bool:
    """Return True while the holder of a claim works on the cell."""
    if (folder / f"{claim.number:06}.released").exists():
        return False
    if claim.host == socket.gethostname() and claim.boot == boot_id():
        return is_same_process(claim.pid, claim.started)
    return _heartbeat_age_s(folder, claim) < LEASE_S


def _own_claim(number: int) -> Claim:
    pid = os.getpid()
    return Claim(
        number=number,
        host=socket.gethostname(),
        boot=boot_id(),
        pid=pid,
        started=process_start_time(pid) or 0,
        token=secrets.token_hex(8),
    )


def _claim_file(folder: Path, number: int) -> Path:
    return folder / f"{number:06}.json"


def _heartbeat(folder: Path, claim: Claim) -> Path:
    return folder / f"{claim.number:06}.heartbeat"


def _heartbeat_age_s(folder: Path, claim: Claim) -> float:
    """Age of the heartbeat by the file server's clock: compared with a file touched just now."""
    probe = folder / f".probe-{secrets.token_hex(4)}"
    probe.touch()
    try:
        now = probe.stat().st_mtime
    finally:
        probe.unlink(missing_ok=True)
    try:
        last = _heartbeat(folder, claim).stat().st_mtime
    except FileNotFoundError:
        last = _claim_file(folder, claim.number).stat().st_mtime
    return now - last
