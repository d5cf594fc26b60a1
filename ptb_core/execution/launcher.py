"""What starts one program and watches it; runs beside the program, with the standard library only.

The host hands this file's text to ``python -I -S -c`` and a job, one JSON object, to standard
input. On standard output come two lines of JSON: ``{"started": true}`` when the program runs,
and at its end the report, which repeats the job's ``key``.

The program is what ``python -c PROGRAM`` would run: module ``__main__``, no file, no arguments.
It is handed over in memory, so its length has no bound, and its process gets the limits that the
kernel keeps. The launcher itself refuses to be traced or read (without a sandbox, root may).

**The token.** A program that left early with status 0 looks like one that passed. So after the
program's last statement, its process asks for a secret over a socket, is sent it, and returns it.
Until then the secret is in no memory, file, argument or variable that the program can read, and
only the program's own first process is answered. What was called before the end cannot undo it:
whoever replaces ``print``, ``os.write`` or ``sys.exit`` replaces nothing that is used here.

What remains possible: the program shares its process with the interpreter that asks. A program
written against this very file can find the socket and ask by itself, or change what its tests
compare. No in-process check can rule that out; accidents and ways out such as ``sys.exit(0)``,
``os._exit(0)``, a killed parent or a forked child are told apart for certain.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import select
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterable
from typing import Any, NamedTuple

WATCH_S = 0.1
"""Seconds between two looks at the processes, their processor time and the memory file system."""

TAIL_BYTES = 8192
MESSAGES_AT_ONCE = 1024
END = b"end of program"

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_CHILD_SUBREAPER = 1, 4, 36
_CREDENTIALS = struct.Struct("iii")
_SHARED_MEMORY = "/dev/shm"
_STATE, _PARENT, _USER, _SYSTEM, _WAITED_USER, _WAITED_SYSTEM = 0, 1, 11, 12, 13, 14
_THREADS, _START = 17, 19
"""Fields of ``/proc/PID/stat``, counted from the state."""

BOOT = """\
def boot():
    import os
    read, write, close, fault = os.read, os.write, os.close, OSError
    names = globals()
    del names["boot"]
    for descriptor in DESCRIPTORS:
        os.set_inheritable(descriptor, False)
    parts = []
    while part := read(SOURCE, 1048576):
        parts.append(part)
    close(SOURCE)
    exec(compile(b"".join(parts).decode(), "<string>", "exec", dont_inherit=True), names)
    FINISH
boot()
"""
"""What the program's own process runs; the program's names are those of ``__main__``."""

FINISH = """\
try:
        write(SOCKET, END)
        write(SOCKET, read(SOCKET, 64))
    except fault:
        pass
"""


def main() -> None:
    """Run the job that stands on standard input."""
    _prctl(_PR_SET_DUMPABLE, 0)
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    job = json.loads(sys.stdin.buffer.read())
    report = Launch(job).run()
    if job["sweep"]:
        end_descendants()
    print(json.dumps({"key": job["key"], **report}), flush=True)


class Launch:
    """One run of one program.

    Args:
        job: ``program``; ``token``, the secret, or None where none is wanted; ``timeout_s``;
            ``address_bytes``, ``file_bytes`` and ``open_files`` for the kernel; ``processes`` and
            ``shared_bytes`` for the looks; ``cpu_s`` for both: the kernel keeps each process to
            it, the looks keep all processes together to it.
    """

    def __init__(self, job: dict[str, Any]) -> None:
        self._job = job
        self._token = None if job["token"] is None else job["token"].encode()
        self._was_asked = False
        self._token_seen = False
        self._tail = b""
        self._ours, self._theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._shared_before = _shared_memory_bytes()
        self._own_ticks: dict[tuple[int, int], int] = {}

    def run(self) -> dict[str, Any]:
        """Start the program, wait for its end or make it, and say how it ended."""
        self._process = self._start()
        self._theirs.close()
        print('{"started": true}', flush=True)
        reason = self._watch()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        exit_code = self._process.wait()
        self._take_messages()
        self._take_output(chunks=32)
        return {
            "exit_code": exit_code,
            "reason": reason or "exit",
            "token_seen": self._token_seen,
            "output": self._tail.decode("utf-8", "replace"),
        }

    def _start(self) -> subprocess.Popen[bytes]:
        source = os.memfd_create("program")
        with open(source, "wb", closefd=False) as file:
            file.write(self._job["program"].encode())
        os.lseek(source, 0, os.SEEK_SET)
        descriptors = [source] if self._token is None else [source, self._theirs.fileno()]
        process = subprocess.Popen(
            [sys.executable, "-c", _boot(descriptors)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            bufsize=0,
            pass_fds=descriptors,
            start_new_session=True,
            preexec_fn=self._limit,
        )
        os.close(source)
        assert process.stdout is not None
        self._output = process.stdout.fileno()
        os.set_blocking(self._output, False)
        return process

    def _limit(self) -> None:
        """Set what the kernel keeps, in the program's process before it is the program."""
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
            signal.signal(number, signal.SIG_DFL)
        for kind, wanted in (
            (resource.RLIMIT_AS, self._job["address_bytes"]),
            (resource.RLIMIT_CPU, self._job["cpu_s"]),
            (resource.RLIMIT_FSIZE, self._job["file_bytes"]),
            (resource.RLIMIT_NOFILE, self._job["open_files"]),
            (resource.RLIMIT_CORE, 0),
        ):
            _, hard = resource.getrlimit(kind)
            bound = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
            resource.setrlimit(kind, (bound, bound))

    def _watch(self) -> str | None:
        """Return when the program has ended (None), or with why it must be ended."""
        ends_s = time.monotonic() + self._job["timeout_s"]
        next_look_s = time.monotonic() + WATCH_S
        ended = os.pidfd_open(self._process.pid)
        self._poll = select.poll()
        for descriptor in (ended, self._output, self._ours.fileno()):
            self._poll.register(descriptor, select.POLLIN)
        try:
            while True:
                now_s = time.monotonic()
                if now_s >= ends_s:
                    return "timeout"
                if now_s >= next_look_s:
                    if excess := self._excess():
                        return excess
                    next_look_s = time.monotonic() + WATCH_S
                wait_s = min(ends_s, next_look_s) - time.monotonic()
                ready = {found for found, _ in self._poll.poll(max(0.0, wait_s) * 1000)}
                if self._output in ready:
                    self._take_output(chunks=16)
                if self._ours.fileno() in ready:
                    self._take_messages()
                if ended in ready:
                    return None
        finally:
            os.close(ended)

    def _excess(self) -> str | None:
        found = descendants()
        if sum(process.threads for process in found.values()) > self._job["processes"]:
            return "killed"
        # A child that is waited for while the looks go on may be seen twice: itself, and in its
        # parent. A second look says the truth.
        if self._has_used_its_time(found) and self._has_used_its_time(descendants()):
            return "timeout"
        if _shared_memory_bytes() - self._shared_before > self._job["shared_bytes"]:
            return "out-of-memory"
        return None

    def _has_used_its_time(self, found: dict[int, Process]) -> bool:
        """Say whether all processes together took more processor time than the program has.

        Those that ended count: by what their parent took over when it waited for them or, where
        nobody waits, by what they had taken at the last look.
        """
        for pid, process in found.items():
            self._own_ticks[pid, process.start] = process.own_ticks
        waited = sum(process.own_ticks + process.waited_ticks for process in found.values())
        ticks = max(waited, sum(self._own_ticks.values()))
        cpu_s: int = self._job["cpu_s"]
        return ticks > cpu_s * os.sysconf("SC_CLK_TCK")

    def _take_output(self, chunks: int) -> None:
        """Read what was written, keeping its end; a program cannot fill anything by talking."""
        for _ in range(chunks):
            try:
                chunk = os.read(self._output, 65536)
            except BlockingIOError:
                return
            if not chunk:
                self._forget(self._output)
                return
            self._tail = (self._tail + chunk)[-TAIL_BYTES:]

    def _take_messages(self) -> None:
        """Answer the program's own process, and nobody else, when it asks for the secret."""
        room = socket.CMSG_SPACE(_CREDENTIALS.size)
        for _ in range(MESSAGES_AT_ONCE):
            try:
                message, ancillary, _, _ = self._ours.recvmsg(256, room, socket.MSG_DONTWAIT)
            except (BlockingIOError, ConnectionResetError):
                return
            if not message and not ancillary:
                self._forget(self._ours.fileno())
                return
            if self._token is None or _sender(ancillary) != self._process.pid:
                continue
            if message == END and not self._was_asked:
                self._was_asked = True
                with contextlib.suppress(OSError):
                    self._ours.send(self._token, socket.MSG_DONTWAIT)
            elif message == self._token:
                self._token_seen = self._was_asked

    def _forget(self, descriptor: int) -> None:
        with contextlib.suppress(KeyError):
            self._poll.unregister(descriptor)


def _boot(descriptors: list[int]) -> str:
    """Return the first program for a source's descriptor and, for a token, the socket's."""
    source, *sockets = descriptors
    finish = FINISH.replace("SOCKET", str(sockets[0])).replace("END", repr(END)) if sockets else ""
    boot = BOOT.replace("DESCRIPTORS", repr(descriptors)).replace("SOURCE", str(source))
    return boot.replace("FINISH", finish)


def _sender(ancillary: list[tuple[int, int, bytes]]) -> int | None:
    for level, kind, content in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS:
            pid: int = _CREDENTIALS.unpack(content[: _CREDENTIALS.size])[0]
            return pid
    return None


def end_descendants(patience_s: float = 10.0) -> None:
    """Kill all that the program left; whatever detached itself hangs below this process.

    First all are stopped, so that none can start another, then all are killed.
    """
    until_s = time.monotonic() + patience_s
    while time.monotonic() < until_s:
        stopped: set[int] = set()
        while fresh := descendants().keys() - stopped:
            _send(fresh, signal.SIGSTOP)
            stopped |= fresh
        _send(stopped, signal.SIGKILL)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        time.sleep(0.002)


class Process(NamedTuple):
    """One process, running or ended and not yet waited for.

    Attributes:
        start: Clock tick at which it began; with its number, it names it for good.
        threads: Threads; 0 when it has ended.
        own_ticks: Processor time of all its threads, in clock ticks.
        waited_ticks: Processor time of the children that it waited for, and of theirs.
    """

    start: int
    threads: int
    own_ticks: int
    waited_ticks: int


def descendants() -> dict[int, Process]:
    """Return every process that descends from this one, by its number."""
    children: dict[int, list[int]] = {}
    processes: dict[int, Process] = {}
    with os.scandir("/proc") as entries:
        names = [entry.name for entry in entries if entry.name.isdigit()]
    for name in names:
        if (fields := _stat(name)) is not None:
            children.setdefault(int(fields[_PARENT]), []).append(int(name))
            processes[int(name)] = _process(fields)
    found: dict[int, Process] = {}
    waiting = list(children.get(os.getpid(), ()))
    while waiting:
        pid = waiting.pop()
        if pid not in found:
            found[pid] = processes[pid]
            waiting += children.get(pid, ())
    return found


def _process(fields: list[bytes]) -> Process:
    threads = int(fields[_THREADS])
    # A process whose first thread has ended looks like a dead one while other threads go on.
    has_ended = fields[_STATE] in (b"Z", b"X") and threads < 2
    return Process(
        start=int(fields[_START]),
        threads=0 if has_ended else threads,
        own_ticks=int(fields[_USER]) + int(fields[_SYSTEM]),
        waited_ticks=int(fields[_WAITED_USER]) + int(fields[_WAITED_SYSTEM]),
    )


def _stat(pid: str) -> list[bytes] | None:
    """Return the fields of a process behind its name; None for one that is gone."""
    try:
        descriptor = os.open(f"/proc/{pid}/stat", os.O_RDONLY)
    except OSError:
        return None
    try:
        return os.read(descriptor, 4096).rpartition(b")")[2].split()
    except OSError:
        return None
    finally:
        os.close(descriptor)


def _send(pids: Iterable[int], number: int) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def _shared_memory_bytes() -> int:
    try:
        found = os.statvfs(_SHARED_MEMORY)
    except OSError:
        return 0
    return (found.f_blocks - found.f_bfree) * found.f_frsize


def _prctl(option: int, argument: int) -> None:
    if ctypes.CDLL(None).prctl(option, ctypes.c_ulong(argument), 0, 0, 0) != 0:
        raise OSError(f"prctl({option}) is refused")


if __name__ == "__main__":
    main()
