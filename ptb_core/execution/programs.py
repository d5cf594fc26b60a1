"""Programs in sandboxes: each gets a session of its own, several at a time.

A session is opened for one program and closed after it, so nothing that a program leaves (files,
processes, shared memory, a changed limit) can meet the next one. Opening one takes about 0.1 s.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import sys
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType

import msgspec

from ptb_core.errors import SandboxError
from ptb_core.evaluation.checking import CheckError, ProgramRunner, StopCheckingError
from ptb_core.evaluation.checks import ProgramCheck, ProgramResult
from ptb_core.execution.jobs import (
    ENVIRONMENT,
    LauncherJob,
    ProgramLimits,
    UnreportedError,
    job_bytes,
    job_of,
    launcher_argv,
    result_of,
)
from ptb_core.interfaces import Sandbox, Session
from ptb_core.removal import remove_hostile_tree
from ptb_core.sandboxing import Command, ProcessStatus, SandboxFacts, SandboxRequest
from ptb_core.specs import JsonValue

GRACE_S = 15.0
"""Seconds beyond a program's time until the sandbox ends it with its launcher."""

ORPHAN_S = 60.0
"""Seconds beyond a program's time until its session ends by itself, everybody being dead."""

_LOOK_EVERY_S = 0.2

PROBE = """\
import importlib.util, json, platform, sys
known = ("numpy", "scipy", "sympy", "pandas")
print()
print(json.dumps({
    "python": platform.python_version(),
    "implementation": platform.python_implementation(),
    "executable": sys.executable,
    "packages": [name for name in known if importlib.util.find_spec(name) is not None],
}))
"""
"""First program of every runner: shows that programs run to their end here, and under what.

A line of its own tells what; the interpreter may print others (``sitecustomize``, warnings).
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramSandbox:
    """Where programs run.

    Attributes:
        sandbox: The component; its sessions get the role ``execute`` and no network.
        name: Beginning of the sessions' names, unique on this host.
        root: Folder for the sessions' files; made when needed, each program's removed after it.
        hidden: Host paths that no program may see.
        image: Image reference, for sandboxes that use one.
        settings: The plan's settings of the sandbox.
        limits: What each program may use.
    """

    sandbox: Sandbox
    name: str
    root: Path
    hidden: tuple[Path, ...] = ()
    image: str | None = None
    settings: Mapping[str, JsonValue] = field(default_factory=dict)
    limits: ProgramLimits = ProgramLimits()


class SandboxProgramRunner(ProgramRunner):
    """Runs each program in a fresh execute session, as many at a time as there are processors.

    Args:
        place: Where programs run.
        max_in_flight: Programs at a time; None takes the number of processors.
    """

    def __init__(self, place: ProgramSandbox, max_in_flight: int | None = None) -> None:
        self.max_in_flight = max_in_flight or len(os.sched_getaffinity(0))
        self._place = place
        self._numbers = itertools.count()
        self._facts: dict[str, JsonValue] = {}
        self._prepare()

    def _prepare(self) -> None:
        self._threads = ThreadPoolExecutor(self.max_in_flight, "ptb-program")
        self._stopping = threading.Event()
        self._probing: asyncio.Task[None] | None = None

    async def __aenter__(self) -> SandboxProgramRunner:
        """Make ready; a runner may be entered again after it was left."""
        self._prepare()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End what still runs; return once every session is closed."""
        self._stopping.set()
        await asyncio.to_thread(self._threads.shutdown)
        if self._probing is not None:
            await asyncio.gather(self._probing, return_exceptions=True)
        with contextlib.suppress(OSError):
            self._place.root.rmdir()

    async def run(self, check: ProgramCheck) -> ProgramResult:
        """Return how the program ended.

        Raises:
            CheckError: If it could not be run, for a reason that is not the program's.
            StopCheckingError: If no program can be run here.
        """
        if self._probing is None:
            self._probing = asyncio.create_task(self._probe())
        await asyncio.shield(self._probing)
        try:
            return await self._in_thread(check)
        except UnreportedError as error:
            # A program can break its launcher, for instance by taking its files away (prlimit).
            # A model must not be able to make its evaluation incomplete that way: where the next
            # program runs to its end, the machine is sound, and this one has had its result.
            await self._probe()
            return ProgramResult(exit_code=None, reason="killed", output_tail=str(error))

    def facts(self) -> Mapping[str, JsonValue]:
        """Return what programs ran under, for records; empty until one did.

        ``python``, ``executable``, ``packages`` (of some well-known ones, those that a program
        can import), ``limits``, ``environment``, ``at_once`` and what separated programs from the
        host.
        """
        return dict(self._facts)

    async def _probe(self) -> None:
        """Make sure that programs run here at all.

        Raises:
            StopCheckingError: If they do not.
        """
        name = self._place.sandbox.spec.name
        try:
            result = await self._in_thread(
                ProgramCheck(name="probe", program=PROBE, wants_token=True)
            )
        except CheckError as error:
            raise StopCheckingError(f"sandbox {name!r} runs no programs: {error}") from error
        if result.exit_code != 0 or not result.token_seen:
            raise StopCheckingError(
                f"sandbox {name!r} runs no programs: a program that only names its Python ended "
                f"with {result.reason}, exit status {result.exit_code}: {result.output_tail}"
            )
        facts = _facts_in(result.output_tail)
        if facts is None:
            raise StopCheckingError(
                f"sandbox {name!r} runs no programs: a program that names its Python ended well, "
                "but no line that it wrote does so; what its Python prints by itself must not "
                f"hide it: {result.output_tail}"
            )
        self._facts |= msgspec.to_builtins(facts) | {
            "limits": asdict(self._place.limits),
            "environment": ENVIRONMENT,
            "at_once": self.max_in_flight,
        }

    async def _in_thread(self, check: ProgramCheck) -> ProgramResult:
        stop = threading.Event()
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._threads, self._perform, check, stop)
        except asyncio.CancelledError:
            stop.set()
            raise

    def _perform(self, check: ProgramCheck, stop: threading.Event) -> ProgramResult:
        job = job_of(check, self._place.limits, sweep=False)
        number = next(self._numbers)
        folder = self._place.root / f"{number:06}"
        try:
            session = self._place.sandbox.open(self._request(number, folder, check.timeout_s))
            try:
                facts = session.facts()
                self._require_separation(facts)
                self._facts["sandbox"] = msgspec.to_builtins(facts)
                return self._run_in(session, job, stop)
            finally:
                session.close()
        except (SandboxError, OSError) as error:
            raise CheckError(f"its program could not be run: {error}") from error
        finally:
            remove_hostile_tree(folder)

    def _request(self, number: int, folder: Path, timeout_s: float) -> SandboxRequest:
        return SandboxRequest(
            name=f"{self._place.name}-{number}",
            role="execute",
            root=folder,
            hidden=self._place.hidden,
            network="none",
            limits=self._place.limits.of_session(),
            deadline_unix_s=time.time() + timeout_s + ORPHAN_S,
            image=self._place.image,
            settings=self._place.settings,
        )

    def _require_separation(self, facts: SandboxFacts) -> None:
        if facts.isolation == "none" or not facts.network_enforced:
            name = self._place.sandbox.spec.name
            raise StopCheckingError(
                f"programs that a model wrote run only where a sandbox separates them from this "
                f"host and its network; sandbox {name!r} gives isolation {facts.isolation!r}: "
                f"{facts.description}"
            )

    def _run_in(self, session: Session, job: LauncherJob, stop: threading.Event) -> ProgramResult:
        isolation = session.facts().isolation
        process = session.start(
            Command(
                argv=launcher_argv("python3" if isolation == "container" else sys.executable),
                env=ENVIRONMENT,
                stdin=job_bytes(job),
                timeout_s=job.timeout_s + GRACE_S,
            )
        )
        status = ProcessStatus(state="running")
        while status.state == "running":
            if stop.is_set() or self._stopping.is_set():
                raise CheckError("its program was stopped with the scoring")
            status = session.wait(process, _LOOK_EVERY_S)
        stdout, stderr = session.logs(process, "stdout"), session.logs(process, "stderr")
        return result_of(job, status, stdout, stderr)


class _Python(msgspec.Struct, frozen=True, kw_only=True):
    python: str
    implementation: str
    executable: str
    packages: list[str]


def _facts_in(output: str) -> _Python | None:
    """Return what the last line says that the probe wrote."""
    for line in reversed(output.splitlines()):
        with contextlib.suppress(msgspec.DecodeError, UnicodeEncodeError):
            return msgspec.json.decode(line, type=_Python)
    return None
