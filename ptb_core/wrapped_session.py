"""A session that passes everything on to another one: where a sandbox around a sandbox starts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from ptb_core.interfaces import Session
from ptb_core.sandboxing import (
    Command,
    ProcessHandle,
    ProcessStatus,
    SandboxFacts,
    SessionHandle,
    SessionStatus,
    Stream,
)


class WrappedSession(Session):
    """Does what the inner session does, and names the outer sandbox in its handle.

    Override what your sandbox does in another way.

    Args:
        sandbox: Name of the outer sandbox.
        inner: The session that does the work.
    """

    def __init__(self, sandbox: str, inner: Session) -> None:
        self._sandbox = sandbox
        self.inner = inner

    @property
    def handle(self) -> SessionHandle:
        """The inner handle under the outer sandbox's name; :func:`inner_handle` undoes that."""
        inner = self.inner.handle
        data = {"sandbox": inner.sandbox, "data": dict(inner.data)}
        return SessionHandle(sandbox=self._sandbox, name=inner.name, data=data)

    def inside(self, name: str) -> str:
        """Return the inside path of a name."""
        return self.inner.inside(name)

    def socket(self, name: str) -> tuple[Path, str]:
        """Return host path and inside path of a socket."""
        return self.inner.socket(name)

    def start(self, command: Command) -> ProcessHandle:
        """Start a command."""
        return self.inner.start(command)

    def poll(self, process: ProcessHandle) -> ProcessStatus:
        """Return how a command stands."""
        return self.inner.poll(process)

    def wait(self, process: ProcessHandle, timeout_s: float | None = None) -> ProcessStatus:
        """Wait for a command."""
        return self.inner.wait(process, timeout_s)

    def logs(self, process: ProcessHandle, stream: Stream = "stdout", since: int = 0) -> bytes:
        """Return what a command wrote."""
        return self.inner.logs(process, stream, since)

    def signal(self, process: ProcessHandle, number: int) -> None:
        """Send a signal to a command."""
        self.inner.signal(process, number)

    def stop(self, process: ProcessHandle) -> None:
        """Kill a command's process tree."""
        self.inner.stop(process)

    def freeze(self) -> SessionStatus:
        """Stop every process where it stands and hash the sealed paths."""
        return self.inner.freeze()

    def kill(self) -> None:
        """End every process inside."""
        self.inner.kill()

    def close(self) -> None:
        """End the session."""
        self.inner.close()

    def put(self, source: Path, target: str) -> None:
        """Copy a host file or folder into the workspace."""
        self.inner.put(source, target)

    def get(self, source: str, target: Path) -> None:
        """Copy a file or folder from the workspace to the host."""
        self.inner.get(source, target)

    def writable_places(self) -> Mapping[str, Path]:
        """Return host folders that the inside could write to besides its workspace."""
        return self.inner.writable_places()

    def status(self) -> SessionStatus:
        """Return how the session stands."""
        return self.inner.status()

    def facts(self) -> SandboxFacts:
        """Return what separates the inside from the host."""
        return self.inner.facts()


def inner_handle(handle: SessionHandle) -> SessionHandle:
    """Return the inner session's handle from that of a :class:`WrappedSession`."""
    return replace(handle, sandbox=handle.data["sandbox"], data=handle.data["data"])
