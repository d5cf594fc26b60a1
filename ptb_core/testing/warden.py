"""Runs the checks of one component in a process of its own, each within its time.

Two processes for each component. The *runner* makes the component and runs check after check. A
check over its time is interrupted by an alarm, so that its clean-up still runs and closes what it
opened. The *warden* above it does not trust that: when an alarm is not heeded, it kills the
runner with everything that descends from it, reports the check as failed and goes on with the
next one in a new runner. It is the reaper of its descendants (``PR_SET_CHILD_SUBREAPER``), so
that daemons, however detached, stay findable; whatever lives at the end is reported and killed.

Threads would be lighter, but nothing can end a thread that hangs, and a process per check would
load the plugin, and an engine's model, for every single one.

Run as ``python -m ptb_core.testing.warden``; the job comes as JSON on standard input, outcomes go
as JSON lines to standard output.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import sys
import tempfile
import time
import traceback
import unittest
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO, Any, Literal

import msgspec

from ptb_core.specs import Kind
from ptb_core.testing.component import SpecConformance
from ptb_core.testing.expectation import BrokenPromiseError

GRACE_VARIABLE, GRACE_S = "PTB_CHECK_GRACE_S", 30.0
"""How long a check that was interrupted may take for its clean-up."""

FAREWELL_VARIABLE, FAREWELL_S = "PTB_CHECK_FAREWELL_S", 5.0
"""How long what a component started may take to end by itself after the last check."""

LOADING_S = 60.0
"""How long a runner may take between two checks, loading the plugin included."""

LEFT_BEHIND = "nothing is left running"
"""Name of the warden's own check."""

_LOOK_EVERY_S = 0.1
_SUBREAPER = 36
_LAST_WORDS = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What a warden is told.

    Attributes:
        path: ``sys.path`` to import from.
        kind: Kind of the component.
        name: Its registered name.
        methods: Checks to run, in order.
        limit_s: Seconds for each check; None takes the suite's own.
    """

    path: tuple[str, ...]
    kind: Kind
    name: str
    methods: tuple[str, ...]
    limit_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How one check went.

    Attributes:
        check: Method of the check, or :data:`LEFT_BEHIND`.
        outcome: ``ok``, ``failed`` or ``skipped``.
        reason: What was expected and found, or why it was skipped; empty when ok.
        seconds: How long it took.
    """

    check: str
    outcome: Literal["ok", "failed", "skipped"]
    reason: str = ""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Started:
    """A runner's word that it begins a check."""

    started: str
    limit_s: float


class CheckTimeoutError(BaseException):
    """The alarm of a check; no ``Exception``, so that a component's own handlers let it pass."""


# The runner -----------------------------------------------------------------------------------


def run_checks(suite: type[SpecConformance[Any]], methods: tuple[str, ...], limit_s: float | None,
               words: IO[bytes]) -> None:  # fmt: skip
    """Run checks one after the other and write how each went."""
    signal.signal(signal.SIGALRM, _interrupt)
    limit = suite.limit_s if limit_s is None else limit_s
    for method in methods:
        _say(words, _Started(started=method, limit_s=limit))
        _say(words, run_check(suite, method, limit))
    teardown = getattr(suite, "teardown_class", None)
    if teardown is not None:
        teardown()


def run_check(suite: type[SpecConformance[Any]], method: str, limit_s: float) -> Outcome:
    """Run one check, its preparation and its clean-up, and return how it went."""
    began = time.monotonic()
    outcome, reason = _ran(suite, method, limit_s)
    seconds = round(time.monotonic() - began, 3)
    return Outcome(check=method, outcome=outcome, reason=reason, seconds=seconds)


def _ran(
    suite: type[SpecConformance[Any]], method: str, limit_s: float
) -> tuple[Literal["ok", "failed", "skipped"], str]:
    signal.setitimer(signal.ITIMER_REAL, limit_s)
    try:
        check = suite()
        check.setup_method()
        try:
            getattr(check, method)()
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            check.teardown_method()
    except unittest.SkipTest as skip:
        return "skipped", str(skip)
    except CheckTimeoutError:
        return "failed", f"it must end within {limit_s:g} s; it was still running and was ended"
    except BrokenPromiseError as broken:
        return "failed", str(broken)
    except BaseException as error:
        return "failed", _unforeseen(error)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return "ok", ""


def _unforeseen(error: BaseException) -> str:
    """Say what was raised and where, for errors that no check foresaw."""
    frames = traceback.extract_tb(error.__traceback__)
    place = next(
        (f for f in reversed(frames) if Path(f.filename).parent.name != "testing"), frames[-1]
    )
    where = f"{Path(place.filename).name}, line {place.lineno}, in {place.name}"
    return f"it raised {type(error).__name__}: {error} ({where})"


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise CheckTimeoutError


def _say(words: IO[bytes], value: object) -> None:
    words.write(msgspec.json.encode(value) + b"\n")
    words.flush()


# The warden -----------------------------------------------------------------------------------


class Warden:
    """Runs a job's checks in runners, and ends what does not end."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._remaining = list(job.methods)
        self._statuses: dict[int, int] = {}
        self._grace_s = float(os.environ.get(GRACE_VARIABLE, GRACE_S))
        self._farewell_s = float(os.environ.get(FAREWELL_VARIABLE, FAREWELL_S))

    def outcomes(self) -> Generator[Outcome, None, None]:
        """Yield how every check went, as soon as it is known, and the warden's own at the end."""
        try:
            while self._remaining:
                yield from self._run()
            yield self._farewell()
        finally:
            self._kill_all()

    def _run(self) -> Iterator[Outcome]:
        """Run the remaining checks until all are done or the runner is gone."""
        reading, writing = os.pipe()
        with tempfile.TemporaryFile() as log:
            pid = os.fork()
            if pid == 0:
                os.close(reading)
                self._be_runner(writing, log)
            os.close(writing)
            with os.fdopen(reading, "rb", buffering=0) as pipe:
                yield from self._follow(pid, pipe, log)

    def _be_runner(self, writing: int, log: IO[bytes]) -> None:
        """Become the runner; never returns."""
        from ptb_core.testing.suites import SUITES

        status = 1
        try:
            os.setsid()
            signal.signal(signal.SIGINT, signal.default_int_handler)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
            base = SUITES[self._job.kind]
            suite = type(base.__name__, (base,), {"name": self._job.name})
            with os.fdopen(writing, "wb") as words:
                run_checks(suite, tuple(self._remaining), self._job.limit_s, words)
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(status)

    def _follow(self, pid: int, pipe: IO[bytes], log: IO[bytes]) -> Iterator[Outcome]:
        """Yield a runner's outcomes; what it owes when it is gone is a failure of its check."""
        give_up = time.monotonic() + LOADING_S
        began = time.monotonic()
        current = self._remaining[0]
        limit = 0.0
        rest = b""
        while True:
            self._reap()
            if time.monotonic() > give_up:
                self._kill_all()
                words = f"it must end within {limit:g} s; it would not end and was killed"
                break
            if not select.select([pipe], [], [], _LOOK_EVERY_S)[0]:
                continue
            chunk = os.read(pipe.fileno(), 65536)
            if not chunk:
                words = self._last_words(pid, log)
                break
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                said = msgspec.json.decode(line)
                if "started" in said:
                    current, limit, began = said["started"], said["limit_s"], time.monotonic()
                    give_up = began + limit + self._grace_s
                    continue
                self._remaining.remove(said["check"])
                give_up = time.monotonic() + LOADING_S
                yield msgspec.convert(said, Outcome)
        if self._remaining:
            self._remaining.remove(current)
            took = round(time.monotonic() - began, 3)
            yield Outcome(check=current, outcome="failed", reason=words, seconds=took)

    def _last_words(self, pid: int, log: IO[bytes]) -> str:
        give_up = time.monotonic() + self._farewell_s
        while pid not in self._statuses and time.monotonic() < give_up:
            self._reap()
            time.sleep(_LOOK_EVERY_S / 10)
        log.seek(0)
        lines = log.read().decode("utf-8", "replace").strip()[-_LAST_WORDS:].splitlines()
        code = os.waitstatus_to_exitcode(self._statuses.get(pid, 0))
        last = f"; its last words: {lines[-1]}" if lines else ""
        return f"it must end with an outcome; it ended the whole process (status {code}){last}"

    def _farewell(self) -> Outcome:
        """Wait a little for what is still running, then report it."""
        began = time.monotonic()
        while (left := self._descendants()) and time.monotonic() < began + self._farewell_s:
            time.sleep(_LOOK_EVERY_S)
            self._reap()
        if not left:
            return Outcome(check=LEFT_BEHIND, outcome="ok")
        names = "; ".join(sorted({_command_line(pid) for pid in left}))[:200]
        reason = f"after the last check no process of it may live; {len(left)} live: {names}"
        return Outcome(check=LEFT_BEHIND, outcome="failed", reason=reason)

    def _reap(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return
                self._statuses[pid] = status

    def _kill_all(self) -> None:
        """Kill every descendant until none is left; forking ones are stopped first."""
        for _ in range(100):
            self._reap()
            left = self._descendants()
            if not left:
                return
            for number in (signal.SIGSTOP, signal.SIGKILL):
                for pid in left:
                    with contextlib.suppress(ProcessLookupError, PermissionError):
                        os.kill(pid, number)
            time.sleep(_LOOK_EVERY_S / 10)

    def _descendants(self) -> list[int]:
        parents = _parents()
        found = []
        for pid in parents:
            above = parents.get(pid)
            while above and above != os.getpid():
                above = parents.get(above)
            if above:
                found.append(pid)
        return found


def _parents() -> dict[int, int]:
    """Return the parent of every living process; zombies left out."""
    parents = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                text = (folder / "stat").read_text(errors="replace")
                state, parent, *_ = text.rpartition(")")[2].split()
                if state not in "ZX":
                    parents[int(folder.name)] = int(parent)
    return parents


def _command_line(pid: int) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ")
    except OSError:
        return "(gone)"
    return words.decode("utf-8", "replace").strip()[:80] or f"process {pid}"


def _leave(number: int, frame: FrameType | None) -> None:
    """Leave once: the clean-up that follows must not be interrupted by a second signal.

    A handler that does nothing, not SIG_IGN: Python complains of a signal that had already arrived.
    """
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, lambda *_: None)
    raise KeyboardInterrupt


def main() -> None:
    """Run the job on standard input."""
    job = msgspec.json.decode(sys.stdin.buffer.read(), type=Job)
    sys.path[:] = job.path
    ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _leave)
    with (
        contextlib.suppress(KeyboardInterrupt, BrokenPipeError),
        contextlib.closing(Warden(job).outcomes()) as outcomes,
    ):
        for outcome in outcomes:
            sys.stdout.buffer.write(msgspec.json.encode(outcome) + b"\n")
            sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
