"""Carrying a command's output from its pipe to a file that the inside never holds open.

A program could cut a file that is its own standard output short; what went through a pipe it can
no longer take back.

A stream that grows beyond its bound keeps its beginning and its end: the beginning is in the file
as it comes, the end is held in memory and written behind it when the stream ends, with a line that
says how much was left out between them. A program cannot fill the host's disk by talking.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path

_BURST_BYTES = 8 * 2**20
_PIPE_BYTES = 2**20
END_BYTES = 4 * 2**20
"""What is kept of the end of a stream that grew beyond its bound."""


class Pump:
    """One output stream of one command.

    Attributes:
        write_end: Descriptor for the command; the guardian closes it once handed over.
        open: False once every writer has closed its end.
        registered: True while somebody waits on it.
        omitted_bytes: What was left out between beginning and end, so far.
    """

    def __init__(self, target: Path, bound_bytes: int | None = None) -> None:
        self._read_end, self.write_end = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._read_end, False)
        with contextlib.suppress(OSError):  # the host's pipe-user-pages limit
            fcntl.fcntl(self._read_end, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        self._file = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self.open = True
        self.registered = False
        self._write_failed = False
        self._room = bound_bytes
        self._end = bytearray()
        self._is_concluded = False
        self.omitted_bytes = 0

    def fileno(self) -> int:
        """Return the descriptor to wait on."""
        return self._read_end

    def move(self, limit: int = _BURST_BYTES) -> None:
        """Carry what lies in the pipe now, ``limit`` bytes at most; notice the end."""
        while limit > 0 and self.open:
            try:
                moved = self._move_some(limit)
            except BlockingIOError:
                return
            if moved == 0:
                self.open = False
            limit -= moved

    def drain(self) -> None:
        """Carry all that was written before now; a live writer cannot hold this up."""
        self.move(max(_PIPE_BYTES, fcntl.fcntl(self._read_end, fcntl.F_GETPIPE_SZ)))

    def add(self, text: str) -> None:
        """Write a line of the guardian's own behind what was carried so far."""
        self.conclude()
        self._write(text.encode())

    def conclude(self) -> None:
        """Write the end that was held back; call it when all that counts was carried.

        What still comes then, from a process that outlives its command, is left out.
        """
        if self._is_concluded:
            return
        self._is_concluded = bool(self._end)
        if self.omitted_bytes:
            words = f"sandbox: {self.omitted_bytes} bytes of output are left out here"
            self._write(f"\n{words}\n".encode())
        self._write(bytes(self._end))
        self._end.clear()

    def close(self) -> None:
        """Close pipe and file."""
        self.conclude()
        self.open = False
        os.close(self._read_end)
        os.close(self._file)

    def _move_some(self, limit: int) -> int:
        if self._room is not None:
            limit = min(limit, self._room) if self._room else limit
        if not self._write_failed and self._room != 0:
            try:
                moved = os.splice(self._read_end, self._file, limit, flags=os.SPLICE_F_NONBLOCK)
            except BlockingIOError:
                raise
            except OSError:  # a full disk, or a file system without splice
                self._write_failed = True
            else:
                self._take_room(moved)
                return moved
        content = os.read(self._read_end, min(limit, _PIPE_BYTES))
        if self._room == 0:
            self._hold(content)
        else:
            self._write(content)
            self._take_room(len(content))
        return len(content)

    def _take_room(self, size: int) -> None:
        if self._room is not None:
            self._room -= size

    def _hold(self, content: bytes) -> None:
        """Keep the last bytes only; none once the end is written."""
        if self._is_concluded:
            self.omitted_bytes += len(content)
            return
        self._end += content
        surplus = len(self._end) - END_BYTES
        if surplus > 0:
            del self._end[:surplus]
            self.omitted_bytes += surplus

    def _write(self, content: bytes) -> None:
        with contextlib.suppress(OSError):  # lost on a full disk; the command must not hang
            os.write(self._file, content)
