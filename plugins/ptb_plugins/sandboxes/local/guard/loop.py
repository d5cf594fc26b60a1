"""The guardian: the one process that a session lives and ends by.

It is started before anything untrusted, lives in a session of its own outside the isolation, and
needs nobody: it enforces time-outs, limits and the deadline with every supervisor dead. What it
knows it writes to the control folder, so that whoever attaches later reads files and never waits.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import selectors
import signal
import socket
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .commands import Commands
from .deadline import Deadline
from .files import is_disk_fault, write_json
from .kernel import adopt_orphans, go_first, harden
from .limits import DiskWatch, Excess, Limits, ProcessWatch
from .pump import Pump
from .sealing import seal
from .tree import Tree, is_alive, kill_all, read, send, stop_all

_READY_WITHIN_S = 30.0
_CLOCK_CHECK_S = 1.0
_DISK_CHECK_S = 1.0
_REQUEST_WITHIN_S = 5.0


class StartError(Exception):
    """The session could not be set up; the text says why."""


class Guardian:
    """One session.

    Args:
        config: What :mod:`ptb_plugins.sandboxes.local.opening` wrote for it.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._config = config
        self._control = Path(config["control"])
        self._deadline = Deadline(config["deadline_unix_s"])
        limits = Limits(**config["limits"])
        self._process_watch = ProcessWatch(limits)
        self._disk_watch = DiskWatch(limits, config["disk_folders"])
        self._selector = selectors.DefaultSelector()
        self._waiting: dict[str, socket.socket] = {}
        self._opener: int | None = None
        self._done = False
        self._state: dict[str, Any] = {
            "state": "running",
            "ended": False,
            "lost": None,
            "deadline_passed": False,
            "frozen_unix_s": None,
            "seal": None,
        }

    # Setting up ---------------------------------------------------------------------------

    def open(self) -> None:
        """Start the inside and listen.

        Raises:
            StartError: If the inside did not come up; nothing is left running.
        """
        harden("ptb-guardian")
        adopt_orphans()
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        self._listener.bind(self._config["socket"])
        self._listener.listen(16)
        self._selector.register(self._listener, selectors.EVENT_READ, self._serve_request)
        channel, theirs = _channel()
        self._commands = Commands(
            channel,
            self._selector,
            self._control / "processes",
            self._config["file_bytes"],
            self._config["output_bytes"],
        )
        try:
            self._start_inside(theirs)
            self._await_ready(channel)
            go_first()
        except BaseException:
            self._kill_everything()
            raise
        self._selector.register(channel, selectors.EVENT_READ, self._serve_message)
        self._write_state()
        self._write_identity()
        self._watch_opener()

    def _watch_opener(self) -> None:
        """Until a command is started, nobody but the opener can know that this session exists."""
        opener = self._config["opener"]
        try:
            self._opener = os.pidfd_open(opener["pid"])
        except OSError:
            self._finish("killed")
            return
        if is_alive(opener["pid"], opener["start"]):
            self._selector.register(self._opener, selectors.EVENT_READ, self._opener_ended)
        else:
            self._finish("killed")

    def _opener_ended(self) -> None:
        if self._opener is not None:
            self._finish("killed")

    def _forget_opener(self) -> None:
        if self._opener is not None:
            self._selector.unregister(self._opener)
            os.close(self._opener)
            self._opener = None

    def _start_inside(self, theirs: socket.socket) -> None:
        argv = [*self._config["inside_argv"], str(theirs.fileno())]
        devnull = (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)
        try:
            child = os.posix_spawn(
                argv[0], argv, self._config["inside_env"], file_actions=[devnull]
            )
        except OSError as error:
            raise StartError(f"cannot execute {argv[0]}: {error.strerror}") from error
        finally:
            theirs.close()
        self._selector.register(os.pidfd_open(child), selectors.EVENT_READ, self._child_ended)

    def _await_ready(self, channel: socket.socket) -> None:
        select.select([channel], [], [], _READY_WITHIN_S)
        self._commands.receive()
        if self._commands.spawner is not None:
            return
        log = (self._control / "guardian.log").read_text("utf-8", "replace").strip()
        raise StartError(f"the inside did not start: {log[-500:] or 'no message'}")

    def _write_identity(self) -> None:
        me = read(os.getpid())
        assert me is not None
        boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        spawner = self._commands.spawner
        processes = [list(spawner.identity)] if spawner is not None else []
        identity = {"pid": me.pid, "start": me.start, "boot_id": boot_id, "processes": processes}
        write_json(self._control / "guardian.json", identity, durable=True)

    # The loop -----------------------------------------------------------------------------

    def run(self) -> None:
        """Serve until the session has ended; an own failure ends the session as lost."""
        try:
            while not self._done:
                self._turn()
        except Exception as error:
            self._lose(f"its guardian failed: {error!r}")
            raise

    def _turn(self) -> None:
        for key, _ in self._selector.select(self._pause_s()):
            if self._done:
                return
            if isinstance(key.data, Pump):
                self._commands.carry(key.data)
            else:
                key.data()
        if self._done:
            return
        if self._commands.unsaved:
            self._commands.save()
        if self._deadline.passed:
            self._end_at_deadline()
        elif not self._commands.frozen:
            self._commands.end_expired()
            self._watch()

    def _pause_s(self) -> float | None:
        remaining = self._deadline.remaining_s()
        times = [
            None if remaining is None else min(max(remaining, 0.0), _CLOCK_CHECK_S),
            self._commands.due_in_s(),
            _DISK_CHECK_S if self._commands.unsaved else None,
        ]
        if not self._commands.frozen:
            if self._process_watch.wanted:
                times.append(self._process_watch.due_in_s())
            if self._disk_watch.wanted:
                times.append(self._disk_watch.due_in_s())
        known = [seconds for seconds in times if seconds is not None]
        return min(known) if known else None

    def _watch(self) -> None:
        if self._process_watch.wanted and self._process_watch.due_in_s() == 0:
            self._punish(self._process_watch.look(self._commands.groups()))
        if self._disk_watch.wanted and self._disk_watch.due_in_s() == 0:
            self._punish(self._disk_watch.look())

    def _punish(self, excess: Excess | None) -> None:
        if excess is None:
            return
        if excess.command:
            self._commands.end(excess.command, excess.reason, excess.text)
        elif excess.command is None:
            self._commands.end_all(excess.reason, excess.text)
        else:
            self._commands.end_orphans()

    def _serve_message(self) -> None:
        started = self._commands.receive()
        connection = self._waiting.pop(started or "", None)
        if connection is not None:
            _reply(connection, {"ok": True})

    def _child_ended(self) -> None:
        self._lose("the process that starts its commands was killed")

    # Requests -----------------------------------------------------------------------------

    def _serve_request(self) -> None:
        connection, _ = self._listener.accept()
        try:
            connection.settimeout(_REQUEST_WITHIN_S)
            with connection.makefile("rb") as file:
                request = json.loads(file.readline())
        except (OSError, ValueError):
            connection.close()
            return
        try:
            error = self._do(request, connection)
        except (KeyError, TypeError, OSError) as failure:
            error = f"the request {request!r} failed: {failure!r}"
        if error is not None or request["do"] != "start":
            _reply(connection, {"ok": error is None, "error": error})

    def _do(self, request: dict[str, Any], connection: socket.socket) -> str | None:
        """Do what a supervisor asks; return why not, or None."""
        wanted, identifier = request["do"], request.get("id", "")
        if wanted in ("start", "signal") and self._commands.frozen:
            return "it is frozen"
        if wanted == "start":
            self._forget_opener()
            self._waiting[identifier] = connection
            self._commands.start(identifier, request["timeout_s"])
        elif wanted == "signal":
            self._commands.signal(identifier, request["number"])
        elif wanted == "stop":
            self._commands.end(identifier, "killed")
        elif wanted == "freeze":
            self._freeze()
        elif wanted == "kill":
            self._finish("killed")
        else:
            return f"the guardian knows no request {wanted!r}"
        return None

    # Ending -------------------------------------------------------------------------------

    def _freeze(self, reason: str = "killed") -> None:
        if self._commands.frozen:
            return
        self._commands.frozen = True
        spawner = self._commands.spawner
        assert spawner is not None
        stopped = stop_all(Tree({spawner.pid}, include_roots=True))
        if not stopped:
            print("guardian: not everything could be stopped, so it is killed", file=sys.stderr)
            self._kill_everything()
        self._state["frozen_unix_s"] = time.time()
        self._commands.receive_all()
        self._commands.drain_all()
        self._state["seal"] = seal(self._config["workspace"], self._config["seal"])
        self._state["state"] = "frozen"
        self._keep_state()
        if not stopped:
            self._finish(reason)

    def _end_at_deadline(self) -> None:
        self._state["deadline_passed"] = True
        self._freeze("deadline")
        self._finish("deadline")

    def _finish(self, reason: str | None) -> None:
        """End the session; commands that still ran get ``reason``, or none in a lost session."""
        if self._done:
            return
        self._commands.receive_all()
        self._kill_everything()
        self._commands.drain_all()
        if reason is not None:
            self._commands.mark_all_ended(reason)
        self._stop_listening()
        self._state["state"] = "killed"
        self._state["ended"] = True
        self._keep_state()
        for connection in self._waiting.values():
            _reply(connection, {"ok": False, "error": "it was killed meanwhile"})
        self._done = True

    def _stop_listening(self) -> None:
        """Free the socket's path before anybody can learn that the name is free."""
        self._listener.close()
        Path(self._config["socket"]).unlink(missing_ok=True)

    def _lose(self, why: str) -> None:
        self._state["lost"] = why
        self._finish(None)

    def _kill_everything(self) -> None:
        """Kill all that ever came from this session, and return once it is gone.

        Under bubblewrap the kernel does it: with its process 1, the whole process namespace ends.
        """
        spawner = self._commands.spawner
        if self._config["isolation"] == "bwrap" and spawner is not None:
            send(spawner, signal.SIGKILL)
        below = Tree({os.getpid()}, include_roots=False)
        while below.running():
            stop_all(below, patience_s=2)
            kill_all(below, patience_s=2)
            _reap()
        _reap()

    def _keep_state(self) -> None:
        """Write the state, waiting for a disk that takes nothing: what was sealed is not lost.

        Nothing inside runs meanwhile, and past the deadline nothing inside is left.
        """
        while True:
            try:
                self._commands.save()
                if not self._commands.unsaved:
                    self._write_state()
                    return
            except OSError as error:
                if not is_disk_fault(error):
                    raise
            if self._deadline.passed:
                self._kill_everything()
            time.sleep(_DISK_CHECK_S)

    def _write_state(self) -> None:
        write_json(self._control / "state.json", self._state, durable=True)


def _channel() -> tuple[socket.socket, socket.socket]:
    """Return both ends of the socket to the inside; ours is told each sender."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    theirs.set_inheritable(True)
    return ours, theirs


def _reap() -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0] != 0:
            pass


def _reply(connection: socket.socket, answer: Mapping[str, Any]) -> None:
    with contextlib.suppress(OSError), connection:
        connection.sendall(json.dumps(answer).encode() + b"\n")
