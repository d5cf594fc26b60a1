"""The commands of one session, as the guardian keeps them."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import socket
import struct
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .files import is_disk_fault, read_json, write_json
from .kernel import seconds_since_boot
from .pump import Pump
from .tree import Proc, Tree, is_alive, kill_all, read, send, stop_all

_CREDENTIALS = struct.Struct("iii")
KILLED = -signal.SIGKILL


@dataclass(slots=True)
class Running:
    """One command and what belongs to it; ``pending`` is why the guardian is killing it."""

    id: str
    folder: Path
    started_unix_s: float
    expires_s: float | None
    stdout: Pump
    stderr: Pump
    shepherd: Proc | None = None
    main: Proc | None = None
    main_inside: int | None = None
    exit_code: int | None = None
    pending: str | None = None

    @property
    def shepherd_alive(self) -> bool:
        """True while its whole tree hangs below its shepherd."""
        return self.shepherd is not None and is_alive(*self.shepherd.identity)

    def status(self, reason: str | None = None) -> dict[str, Any]:
        """Return how the command stands, with all that is needed to find it without us."""
        ended = self.exit_code is not None
        return {
            "state": "exited" if ended else "running",
            "exit_code": self.exit_code,
            "reason": reason,
            "started_unix_s": self.started_unix_s,
            "ended_unix_s": time.time() if ended else None,
            "omitted_output_bytes": self.stdout.omitted_bytes + self.stderr.omitted_bytes,
            "processes": [list(p.identity) for p in (self.shepherd, self.main) if p is not None],
        }


class Commands:
    """Starts commands through the spawner, follows them and ends them.

    Args:
        channel: Socket to the spawner; the kernel tells the sender of every message.
        selector: Where output pipes are registered.
        folder: Control folder of all commands.
        file_bytes: Largest file a command may write, or None.
        output_bytes: What is kept of the beginning of each output stream; None for all of it.
    """

    def __init__(
        self,
        channel: socket.socket,
        selector: selectors.BaseSelector,
        folder: Path,
        file_bytes: int | None,
        output_bytes: int | None = None,
    ) -> None:
        self._channel = channel
        self._output_bytes = output_bytes
        self._selector = selector
        self._folder = folder
        self._file_bytes = file_bytes
        self._running: dict[str, Running] = {}
        self._unsaved: dict[Path, dict[str, Any]] = {}
        self.spawner: Proc | None = None
        self.frozen = False

    # Starting and following ---------------------------------------------------------------

    def start(self, identifier: str, timeout_s: float | None) -> None:
        """Ask the spawner to start the command that lies in its control folder."""
        folder = self._folder / identifier
        running = Running(
            id=identifier,
            folder=folder,
            started_unix_s=time.time(),
            expires_s=None if timeout_s is None else seconds_since_boot() + timeout_s,
            stdout=Pump(folder / "stdout", self._output_bytes),
            stderr=Pump(folder / "stderr", self._output_bytes),
        )
        self._running[identifier] = running
        for pump in (running.stdout, running.stderr):
            self._selector.register(pump, selectors.EVENT_READ, pump)
            pump.registered = True
        write_json(folder / "status.json", running.status())
        self._hand_over(running)

    def _hand_over(self, running: Running) -> None:
        command = os.open(running.folder / "command.json", os.O_RDONLY | os.O_CLOEXEC)
        stdin_path = running.folder / "stdin"
        stdin = os.open(stdin_path if stdin_path.exists() else os.devnull, os.O_RDONLY)
        ours = [command, stdin, running.stdout.write_end, running.stderr.write_end]
        request = {"start": running.id, "file_bytes": self._file_bytes}
        try:
            content = json.dumps(request).encode()
            socket.send_fds(self._channel, [content], ours, socket.MSG_DONTWAIT)
        finally:
            for descriptor in ours:
                os.close(descriptor)

    def receive(self) -> str | None:
        """Take one message from inside, if there is one; return the id of a command that started.

        Nothing in the guardian ever waits for the inside: it might never answer.
        """
        room = socket.CMSG_SPACE(_CREDENTIALS.size)
        try:
            content, ancillary, _, _ = self._channel.recvmsg(4096, room, socket.MSG_DONTWAIT)
        except (BlockingIOError, ConnectionResetError):
            return None
        if not content:
            return None
        sender = next(
            (
                _CREDENTIALS.unpack(data[: _CREDENTIALS.size])[0]
                for level, kind, data in ancillary
                if level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS
            ),
            0,
        )
        return self._take(json.loads(content), sender)

    def receive_all(self) -> None:
        """Take every message that has already arrived."""
        with contextlib.suppress(BlockingIOError, ConnectionResetError):
            while self._channel.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT):
                self.receive()

    def _take(self, message: dict[str, Any], sender: int) -> str | None:
        if "ready" in message:
            self.spawner = read(sender)
        elif "reaped" in message:
            self._take_reaped(message["reaped"], message["code"])
        elif (running := self._running.get(message.get("shepherd", ""))) is not None:
            running.shepherd = read(sender)
        elif (running := self._running.get(message.get("main", ""))) is not None:
            running.main, running.main_inside = read(sender), message["pid"]
            self._keep(running)
            return running.id
        elif (running := self._running.get(message.get("exit", ""))) is not None:
            self._exited(running, message["code"])
            return running.id
        return None

    def _take_reaped(self, inside_pid: int, code: int) -> None:
        """Note the end of a command whose shepherd somebody inside had killed."""
        for running in self._running.values():
            if running.main_inside == inside_pid and running.exit_code is None:
                self._exited(running, code)
                break
        self.forget_ended()

    def _exited(self, running: Running, code: int) -> None:
        if running.exit_code is not None:
            return
        running.exit_code = code
        for pump in (running.stdout, running.stderr):
            pump.drain()
            pump.conclude()
        self._keep(running, running.pending or "exit")

    # What is known of them, on the disk -----------------------------------------------------

    def _keep(self, running: Running, reason: str | None = None) -> None:
        """Write how a command stands; on a disk that takes nothing, later."""
        self._unsaved[running.folder / "status.json"] = running.status(reason)
        self.save()

    @property
    def unsaved(self) -> bool:
        """True while the disk has not taken all that is known."""
        return bool(self._unsaved)

    def save(self) -> None:
        """Write what could not be written yet, as far as the disk takes it."""
        for path, status in list(self._unsaved.items()):
            try:
                write_json(path, status)
            except OSError as error:
                if not is_disk_fault(error):
                    raise
                return
            del self._unsaved[path]

    # Looking ------------------------------------------------------------------------------

    def get(self, identifier: str) -> Running | None:
        """Return a command that still has anything running, or None."""
        return self._running.get(identifier)

    def due_in_s(self) -> float | None:
        """Return the seconds until the next time-out, or None."""
        if self.frozen:
            return None
        times = [r.expires_s for r in self._running.values() if r.expires_s is not None]
        return max(0.0, min(times) - seconds_since_boot()) if times else None

    def groups(self) -> dict[str, list[Proc]]:
        """Return all processes by the id of their command; ``""`` for orphans of none."""
        if self.spawner is None:
            return {}
        names = {r.shepherd.pid: r.id for r in self._running.values() if r.shepherd is not None}
        groups: dict[str, list[Proc]] = {"": []}
        tree = Tree({self.spawner.pid, *names}, include_roots=False)
        for process, root in tree.members_with_root():
            groups.setdefault(names.get(root, ""), []).append(process)
        return groups

    # Ending -------------------------------------------------------------------------------

    def signal(self, identifier: str, number: int) -> None:
        """Send a signal to a command itself."""
        running = self._running.get(identifier)
        if running is None or running.exit_code is not None or running.main is None:
            return
        if number == signal.SIGKILL:
            running.pending = running.pending or "killed"
        send(running.main, number)

    def end(self, identifier: str, reason: str, note: str = "") -> None:
        """Kill a command's whole tree; its status will give ``reason``."""
        running = self._running.get(identifier)
        if running is None:
            return
        running.expires_s = None
        if running.exit_code is None:
            running.pending = running.pending or reason
        had_shepherd = running.shepherd_alive
        if had_shepherd:
            self._end_below(running)
        # Its own tree may have killed the shepherd meanwhile: then it hangs below the spawner,
        # perhaps stopped already, and the look below the shepherd has missed it.
        if orphans := self._orphans(running.id, unmarked=not had_shepherd):
            kill_all(Tree(orphans, include_roots=True))
        if note:
            running.stderr.drain()
            running.stderr.add(f"sandbox: {note}\n")
        if self.frozen:
            self._exited(running, KILLED)

    def end_all(self, reason: str, note: str = "") -> None:
        """Kill every command's tree."""
        for identifier in list(self._running):
            self.end(identifier, reason, note)

    def end_expired(self) -> None:
        """Kill what has passed its own time limit."""
        now = seconds_since_boot()
        for running in list(self._running.values()):
            known = running.main is not None or running.exit_code is not None
            if known and running.expires_s is not None and running.expires_s <= now:
                self.end(running.id, "timeout")

    def _end_below(self, running: Running) -> None:
        assert running.shepherd is not None
        root = {running.shepherd.pid}
        stop_all(Tree(root, include_roots=True))
        kill_all(Tree(root, include_roots=False))
        if not self.frozen:
            send(running.shepherd, signal.SIGCONT)

    def end_orphans(self) -> None:
        """Kill what hangs below no shepherd and bears no command's mark."""
        if orphans := self._orphans(None, unmarked=True):
            kill_all(Tree(orphans, include_roots=True))

    def _orphans(self, identifier: str | None, *, unmarked: bool) -> set[int]:
        """Return the roots of what a killed shepherd left: so marked, or also without a mark."""
        if self.spawner is None:
            return set()
        wanted = {identifier, None} if unmarked else {identifier}
        shepherds = {r.shepherd.pid for r in self._running.values() if r.shepherd is not None}
        below = Tree({self.spawner.pid}, include_roots=False)
        orphans = [p for p in below.members() if p.ppid == self.spawner.pid]
        return {p.pid for p in orphans if p.pid not in shepherds and _command_mark(p.pid) in wanted}

    def mark_all_ended(self, reason: str) -> None:
        """Write the status of everything that was killed together with the session."""
        for running in list(self._running.values()):
            running.pending = running.pending or reason
            self._exited(running, KILLED)

    # Output -------------------------------------------------------------------------------

    def carry(self, pump: Pump) -> None:
        """Carry output; forget a command once nothing of it is left."""
        pump.move()
        if not pump.open:
            self._unregister(pump)
        self.forget_ended()

    def drain_all(self) -> None:
        """Carry all output that was written until now."""
        for running in self._running.values():
            running.stdout.drain()
            running.stderr.drain()

    def forget_ended(self) -> None:
        """Let go of commands that have ended with all they started."""
        for running in list(self._running.values()):
            pumps = (running.stdout, running.stderr)
            over = running.exit_code is not None and not running.shepherd_alive
            if over and not any(pump.open for pump in pumps):
                for pump in pumps:
                    self._unregister(pump)
                    pump.close()
                del self._running[running.id]

    def _unregister(self, pump: Pump) -> None:
        if pump.registered:
            self._selector.unregister(pump)
            pump.registered = False


def _command_mark(pid: int) -> str | None:
    try:
        content = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return None
    for entry in content.split(b"\0"):
        if entry.startswith(b"PTB_COMMAND="):
            return entry.partition(b"=")[2].decode("ascii", "replace")
    return None


def recorded_processes(folder: Path) -> set[tuple[int, int]]:
    """Return (number, start time) of all shepherds and commands that were ever noted."""
    found: set[tuple[int, int]] = set()
    for path in folder.glob("*/status.json"):
        status = read_json(path) or {}
        found.update((pid, start) for pid, start in status.get("processes", ()))
    return found
