"""Who holds a cell. At most one supervisor works on a cell; a dead holder is taken over.

A claim is a numbered file in the cell's ``claims/`` folder. The highest number holds the cell: it
is the *fencing number* that every marker of that supervisor carries. Taking over means creating
the next number, which exactly one contender can do (:func:`ptb_core.atomic.create_exclusive`).

A holder is dead when its process is gone (same host and boot), or when its heartbeat file has not
been touched for :data:`LEASE_S` seconds by the *file server's* clock (other host or container). A
file server whose clock jumps may show any age, so taking over waits and looks whether the heart
still beats.

A claim that is damaged is a claim: nobody knows whose, so only its heartbeat says whether the
holder lives. A claim in a copied run folder holds the original, not the copy.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from ptb_core.atomic import create_exclusive
from ptb_core.copies import is_copy
from ptb_core.errors import ClaimLostError
from ptb_core.processes import boot_id, is_same_process, pid_namespace, process_start_time

LEASE_S = 120.0
HEARTBEAT_S = 10.0
HELD = "is held by another supervisor that is alive"
"""What a supervisor says that came second; it is no news of the cell."""
OBSERVE_S = 25.0
"""Longer than two heartbeats: a holder that has not beaten once in this time is dead."""

NUMBER = re.compile(r"[0-9]+")


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
        folder: The claims folder it was made in, against copies; empty in older claims.
        namespace: Where its process id means something: containers of one host may share name
            and boot, and do not see each other's processes. Empty when not known.
    """

    number: int
    host: str
    boot: str
    pid: int
    started: int
    token: str
    folder: str = ""
    namespace: str = ""

    @property
    def holder(self) -> str:
        """Who holds it, in words."""
        return f"{self.host} pid {self.pid}" if self.host else "a claim that is damaged"


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
            holder = current.holder if current else "nobody"
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


def take_claim(folder: Path, *, wait: Callable[[float], object] = time.sleep) -> HeldClaim | None:
    """Claim a cell, taking over from a dead or released holder.

    Takes :data:`OBSERVE_S` seconds where only the heartbeat says that the holder is dead.

    Args:
        folder: The cell's ``claims/`` folder; made if absent.
        wait: Waits for a number of seconds.

    Returns:
        The claim, or None when a living supervisor holds the cell.
    """
    folder.mkdir(parents=True, exist_ok=True)
    while True:
        current = latest_claim(folder)
        if current is not None and (is_alive(folder, current) or _beats(folder, current, wait)):
            return None
        claim = _own_claim(folder, number=1 if current is None else current.number + 1)
        if create_exclusive(_claim_file(folder, claim.number), msgspec.json.encode(claim)):
            return HeldClaim(folder, claim)


def latest_claim(folder: Path) -> Claim | None:
    """Return the claim that holds the cell or held it last, or None if there never was one.

    Of a damaged claim only the number is known; it has neither host nor process.

    Raises:
        OSError: If the disk fails: then nobody can know.
    """
    try:
        numbers = [int(p.stem) for p in folder.glob("*.json") if NUMBER.fullmatch(p.stem)]
    except FileNotFoundError:
        return None
    if not numbers:
        return None
    number = max(numbers)
    try:
        found = msgspec.json.decode(_claim_file(folder, number).read_bytes(), type=Claim)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _damaged(number)
    except (IsADirectoryError, PermissionError):
        return _damaged(number)
    return found if found.number == number else _damaged(number)


def is_alive(folder: Path, claim: Claim) -> bool:
    """Return True while the holder of a claim works on the cell."""
    if _is_released(folder, claim):
        return False
    if is_copy(claim.folder, folder):
        return False
    if _is_of_this_boot(claim):
        return is_same_process(claim.pid, claim.started)
    return abs(_heartbeat_age_s(folder, claim)) < LEASE_S


def _beats(folder: Path, claim: Claim, wait: Callable[[float], object]) -> bool:
    """Look whether a holder that seems dead by the heartbeat's age beats after all."""
    if _is_of_this_boot(claim) or _is_released(folder, claim) or is_copy(claim.folder, folder):
        return False
    before = _last_beat(folder, claim)
    wait(OBSERVE_S)
    return _last_beat(folder, claim) != before and not _is_released(folder, claim)


def _is_of_this_boot(claim: Claim) -> bool:
    here = (socket.gethostname(), boot_id(), pid_namespace())
    return (claim.host, claim.boot, claim.namespace or here[2]) == here


def _is_released(folder: Path, claim: Claim) -> bool:
    return (folder / f"{claim.number:06}.released").exists()


def _damaged(number: int) -> Claim:
    return Claim(number=number, host="", boot="", pid=0, started=0, token="")


def _own_claim(folder: Path, number: int) -> Claim:
    pid = os.getpid()
    return Claim(
        number=number,
        host=socket.gethostname(),
        boot=boot_id(),
        pid=pid,
        started=process_start_time(pid) or 0,
        token=secrets.token_hex(8),
        folder=str(folder),
        namespace=pid_namespace(),
    )


def _claim_file(folder: Path, number: int) -> Path:
    return folder / f"{number:06}.json"


def _heartbeat(folder: Path, claim: Claim) -> Path:
    return folder / f"{claim.number:06}.heartbeat"


def _heartbeat_age_s(folder: Path, claim: Claim) -> float:
    """Age of the heartbeat by the file server's clock: compared with a file touched just now."""
    probe = folder / f".probe-{secrets.token_hex(4)}.tmp"
    try:
        with probe.open("wb") as stream:  # the holder may sweep it away meanwhile
            now = os.fstat(stream.fileno()).st_mtime
    except OSError:  # where nothing can be written nothing can be taken over: only looked at
        now = time.time()
    finally:
        with contextlib.suppress(OSError):
            probe.unlink(missing_ok=True)
    return now - _last_beat(folder, claim)


def _last_beat(folder: Path, claim: Claim) -> float:
    try:
        return _heartbeat(folder, claim).stat().st_mtime
    except FileNotFoundError:
        return _claim_file(folder, claim.number).stat().st_mtime
