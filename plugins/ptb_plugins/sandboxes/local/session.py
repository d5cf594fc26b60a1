"""A live local session, as any supervisor sees it.

Everything that is asked often is read from files that the guardian keeps, so it never waits, and
it stays readable after the guardian has ended in an orderly way. Only what changes something is
asked of the guardian itself.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from ptb_core.api import (
    Command,
    ProcessHandle,
    ProcessStatus,
    SandboxElsewhereError,
    SandboxError,
    SandboxFacts,
    SandboxLostError,
    Session,
    SessionHandle,
    SessionStatus,
    Stream,
    remove_hostile_tree,
)
from ptb_plugins.sandboxes.local import command_files, transfer
from ptb_plugins.sandboxes.local.channel import GuardianGoneError, ask
from ptb_plugins.sandboxes.local.guard.files import read_json, sweep
from ptb_plugins.sandboxes.local.opening import OpenedSession
from ptb_plugins.sandboxes.local.runtime import (
    CONTROL_SOCKET,
    SOCKETS,
    end_lost,
    guardian_lives,
    release,
)
from ptb_plugins.sandboxes.local.survivors import kill_survivors

_SOCKET_NAME_CHARACTERS = 40
_SHORTEST_PAUSE_S = 0.002
_LONGEST_PAUSE_S = 0.2
_PAUSE_SHARE = 0.02
"""Of a command's age: what has run for hours need not be looked at every few milliseconds."""


class LocalSession(Session):
    """One session of the sandbox ``local``.

    ``close`` and ``logs`` are the two methods that work on a lost session too: the first cleans
    up after it, the second reads what it had written.

    Args:
        sandbox: Name of the sandbox component.
        opened: What its control folder says of it.
    """

    def __init__(self, sandbox: str, opened: OpenedSession) -> None:
        self._sandbox = sandbox
        self._opened = opened
        self._control = Path(opened.control)
        self._processes = self._control / "processes"
        self._runtime = Path(opened.runtime)
        self._workspace = Path(opened.workspace)

    @property
    def handle(self) -> SessionHandle:
        """JSON-able handle; the control folder says the rest."""
        return SessionHandle(
            sandbox=self._sandbox,
            name=self._opened.name,
            data={"control": self._opened.control, "host": os.uname().nodename},
        )

    def inside(self, name: str) -> str:
        """Return an inside path by name."""
        return self._opened.inside[name]

    def socket(self, name: str) -> tuple[Path, str]:
        """Return (host path, inside path) of a socket's place."""
        plain = name.replace("-", "").replace("_", "").replace(".", "")
        if not plain.isascii() or not plain.isalnum() or len(name) > _SOCKET_NAME_CHARACTERS:
            raise SandboxError(
                f"sandbox local: {name!r} cannot name a socket; expected at most"
                f" {_SOCKET_NAME_CHARACTERS} ASCII letters, digits, '-', '_' and '.'"
            )
        return self._runtime / SOCKETS / name, f"{self._opened.sockets_inside}/{name}"

    # Commands -----------------------------------------------------------------------------

    def start(self, command: Command) -> ProcessHandle:
        """Start a command; returns once its process exists."""
        self._require("running", "start a command")
        command_files.check(command)
        self._copying(lambda: self._write_files(command))
        identifier, _ = command_files.write(
            self._processes, command, self.inside("workspace"), self._opened.env
        )
        self._ask({"do": "start", "id": identifier, "timeout_s": command.timeout_s})
        return ProcessHandle(session=self._opened.name, id=identifier)

    def processes(self) -> tuple[ProcessHandle, ...]:
        """Return the commands that the guardian has started, oldest first."""
        started = []
        for path in self._processes.glob("*/status.json"):
            status = read_json(path)
            if status is not None:
                started.append((status["started_unix_s"], path.parent.name))
        return tuple(
            ProcessHandle(session=self._opened.name, id=identifier)
            for _, identifier in sorted(started)
        )

    def _write_files(self, command: Command) -> None:
        for path, content in command.files.items():
            transfer.put_bytes(self._workspace, content, path)

    def poll(self, process: ProcessHandle) -> ProcessStatus:
        """Return how a command stands."""
        status = self._read_status(process)
        if status.state == "exited" or self._lives():
            return status
        return self._read_status(process)

    def wait(self, process: ProcessHandle, timeout_s: float | None = None) -> ProcessStatus:
        """Wait for a command; looks every 2 ms at first and 5 times a second in the long run."""
        started = time.monotonic()
        while True:
            status = self.poll(process)
            waited = time.monotonic() - started
            if status.state == "exited" or (timeout_s is not None and waited >= timeout_s):
                return status
            pause = _pause_s(status, waited)
            time.sleep(pause if timeout_s is None else min(pause, timeout_s - waited))

    def logs(self, process: ProcessHandle, stream: Stream = "stdout", since: int = 0) -> bytes:
        """Return output from byte ``since`` on."""
        with (self._folder(process) / stream).open("rb") as file:
            file.seek(since)
            return file.read()

    def signal(self, process: ProcessHandle, number: int) -> None:
        """Send a signal to the command itself."""
        if self.poll(process).state == "running":
            self._require("running", "send a signal")
            self._ask({"do": "signal", "id": process.id, "number": number})

    def stop(self, process: ProcessHandle) -> None:
        """Kill a command's whole tree; returns once it is dead."""
        self._folder(process)
        if self._lives():
            self._ask({"do": "stop", "id": process.id}, gone_is_done=True)
            self.wait(process)

    # The session --------------------------------------------------------------------------

    def freeze(self) -> SessionStatus:
        """Stop everything where it stands and hash the sealed paths."""
        if self._lives():
            self._ask({"do": "freeze"}, gone_is_done=True)
        return self.status()

    def kill(self) -> None:
        """End every process inside."""
        if self._lives():
            self._ask({"do": "kill"}, gone_is_done=True)
            self._await_end()

    def close(self) -> None:
        """Kill, then remove sockets and temporary files; cleans up a lost session as well."""
        with contextlib.suppress(SandboxLostError):
            self.kill()
        release(self._runtime, self._opened.mark)
        sweep(self._control)
        remove_hostile_tree(Path(self._opened.tmp))

    def put(self, source: Path, target: str) -> None:
        """Copy into the workspace."""
        self._copying(lambda: transfer.put(self._workspace, source, target))

    def get(self, source: str, target: Path) -> None:
        """Copy out of the workspace; links and special files below a folder are left out."""
        self._copying(lambda: transfer.get(self._workspace, source, target))

    def writable_places(self) -> Mapping[str, Path]:
        """Return home and temporary folder; inside and host path of the home are the same."""
        places = {"home": Path(self._opened.inside["home"]), "tmp": Path(self._opened.tmp)}
        return {name: place for name, place in places.items() if place.is_dir()}

    def status(self) -> SessionStatus:
        """Return how the session stands."""
        self._lives()
        state = self._state()
        keep = ("state", "deadline_passed", "frozen_unix_s", "seal")
        return msgspec.convert({name: state[name] for name in keep}, SessionStatus)

    def facts(self) -> SandboxFacts:
        """Return what really separates the inside from the host."""
        return self._opened.facts

    # Files of the guardian ----------------------------------------------------------------

    def _state(self) -> dict[str, Any]:
        state = read_json(self._control / "state.json")
        if state is None:
            raise self._lost("its control folder is gone")
        return state

    def _folder(self, process: ProcessHandle) -> Path:
        folder = self._processes / process.id
        if process.session != self._opened.name or not folder.is_dir():
            raise SandboxError(
                f"sandbox local: session {self._opened.name!r} has no process {process.id!r}"
                f" (the handle names session {process.session!r})"
            )
        return folder

    def _read_status(self, process: ProcessHandle) -> ProcessStatus:
        content = read_json(self._folder(process) / "status.json") or {"state": "running"}
        content.pop("processes", None)
        return msgspec.convert(content, ProcessStatus)

    # The guardian -------------------------------------------------------------------------

    def _lives(self) -> bool:
        """Return whether the session still runs; False once it has ended in an orderly way.

        Raises:
            SandboxLostError: If its guardian is gone; what ran inside is killed first.
        """
        lives = bool(guardian_lives(self._control))
        state = self._state()
        if state["lost"]:
            raise self._lost(state["lost"])
        if state["ended"]:
            return False
        if not lives:
            gone = kill_survivors(self._control, self._opened.mark)
            raise self._lost("its guardian was killed or stopped", everything_dead=gone)
        return True

    def _lost(self, why: str, *, everything_dead: bool = True) -> SandboxLostError:
        rest = "what ran inside was killed" if everything_dead else "some of it would not end"
        return SandboxLostError(
            f"sandbox local: session {self._opened.name!r} is lost: {why}; {rest}."
            f" Its files are in {self._control.parent}"
        )

    def _require(self, state: str, purpose: str) -> None:
        self._lives()
        found = self._state()["state"]
        if found != state:
            raise SandboxError(
                f"sandbox local: cannot {purpose}: session {self._opened.name!r} is {found}"
            )

    def _ask(self, request: dict[str, Any], *, gone_is_done: bool = False) -> None:
        """Ask the guardian; ``gone_is_done`` accepts that the session ended by itself meanwhile."""
        try:
            refusal = ask(
                self._runtime / CONTROL_SOCKET,
                request,
                lambda: bool(guardian_lives(self._control)),
            )
        except GuardianGoneError as error:
            if self._await_end() and gone_is_done:
                return
            raise SandboxError(
                f"sandbox local: cannot {request['do']}: session {self._opened.name!r} ended"
                f" meanwhile ({error})"
            ) from error
        if refusal is not None:
            raise SandboxError(
                f"sandbox local: session {self._opened.name!r} refused to {request['do']}:"
                f" {refusal}"
            )

    def _await_end(self) -> bool:
        """Wait until the guardian has written its last word; return True."""
        while self._lives():
            time.sleep(_SHORTEST_PAUSE_S)
        return True

    def _copying(self, copy: Callable[[], None]) -> None:
        self._lives()
        try:
            copy()
        except FileNotFoundError:
            raise
        except OSError as error:
            raise SandboxError(
                f"sandbox local: cannot copy to or from the workspace of session"
                f" {self._opened.name!r}: {error}"
            ) from error


def _pause_s(status: ProcessStatus, waited_s: float) -> float:
    """Return how long to wait before the next look at a command that runs."""
    age_s = time.time() - status.started_unix_s if status.started_unix_s else waited_s
    return min(_LONGEST_PAUSE_S, max(_SHORTEST_PAUSE_S, _PAUSE_SHARE * age_s))


def attach_session(sandbox: str, handle: SessionHandle) -> LocalSession:
    """Return the session of a handle, live or ended in an orderly way.

    Raises:
        SandboxElsewhereError: If it lives on another host.
        SandboxLostError: If its guardian is gone; what it left is then removed.
    """
    host, here = handle.data["host"], os.uname().nodename
    control = Path(str(handle.data["control"]))
    state = read_json(control / "state.json")
    if host != here and not (state and state["ended"]):
        raise SandboxElsewhereError(
            f"sandbox local: session {handle.name!r} was opened on host {host} and this is"
            f" {here}; use `ptb run` there"
        )
    try:
        opened = msgspec.convert(json.loads((control / "session.json").read_bytes()), OpenedSession)
    except FileNotFoundError:
        if host == here:
            end_lost(handle.name, control)
        raise SandboxLostError(
            f"sandbox local: session {handle.name!r} is lost: its control folder {control} is gone,"
            " as after moving a run folder; what ran inside was killed"
        ) from None
    session = LocalSession(sandbox, opened)
    try:
        session.status()
    except SandboxLostError:
        session.close()  # nobody will hold it again
        raise
    return session
