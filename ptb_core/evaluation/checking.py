"""Performing the checks of all completions, many at a time, nothing twice.

Results are appended to one log as they arrive, so that a killed scoring continues where it
stood. What cannot be found out is told with its reason: such a sample has no score.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType

import msgspec

from ptb_core.errors import PtbError
from ptb_core.evaluation.checks import (
    Check,
    CheckResult,
    GraderCheck,
    GraderResult,
    ProgramCheck,
    ProgramResult,
)
from ptb_core.evaluation.exchange import Completion, Sample
from ptb_core.evaluation.heartbeat import HEARTBEAT_S, work_with_heart
from ptb_core.evaluation.json_log import JsonLog
from ptb_core.interfaces import Task
from ptb_core.specs import JsonValue


class CheckError(PtbError):
    """A check has no result; the text says why."""


class StopCheckingError(CheckError):
    """No further check of this kind can have a result, such as when a budget is spent."""


class CheckRunner:
    """Performs checks; an asynchronous context manager, entered once per scoring.

    Attributes:
        max_in_flight: Checks that may be under way at once.
    """

    max_in_flight: int = 1

    def facts(self) -> Mapping[str, JsonValue]:
        """Return what records keep about it, without any secret; empty before its first check."""
        return {}

    async def __aenter__(self) -> CheckRunner:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return None


class ProgramRunner(CheckRunner, ABC):
    """Runs programs in execute sandboxes."""

    @abstractmethod
    async def run(self, check: ProgramCheck) -> ProgramResult:
        """Return how the program ended.

        Raises:
            CheckError: If it could not be run, for a reason that is not the program's.
        """


class Grader(CheckRunner, ABC):
    """Asks an outside LLM."""

    @abstractmethod
    async def ask(self, check: GraderCheck, accepts: Callable[[str], bool]) -> GraderResult:
        """Return the first reply that ``accepts`` holds to be usable.

        Raises:
            CheckError: If there is none after all tries.
            StopCheckingError: If no further question can be asked.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Runners:
    """Who performs checks; None where the task needs none or the plan gives none."""

    programs: ProgramRunner | None = None
    grader: Grader | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedCompletions:
    """Completions with the results of their checks.

    Attributes:
        completions: By sample, in request order.
        failures: Why samples lack a result, by sample id; they must not be scored.
        performed: Number of checks that were performed now.
        resumed: Number of checks whose result was in the log already.
    """

    completions: Mapping[str, tuple[Completion, ...]]
    failures: Mapping[str, str]
    performed: int
    resumed: int


class CheckEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the log; ``check`` is the sha256 of what was to be found out."""

    sample: str
    epoch: int
    call: int
    check: str
    result: ProgramResult | GraderResult


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    sample: Sample
    call: int
    check: Check
    digest: str


def perform_checks(
    task: Task,
    samples: Sequence[Sample],
    completions: Mapping[str, Sequence[Completion]],
    runners: Runners,
    log: Path,
    *,
    epoch: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> CheckedCompletions:
    """Perform all checks that the log does not hold yet.

    Args:
        task: The task.
        samples: Samples in order.
        completions: By sample id, in request order; samples without any are left out.
        runners: Who performs the checks.
        log: JSON lines; created only if there is a check, or continued.
        epoch: Which repetition of the task the completions are, from 1.
        progress: Told the number of checks done and expected, at least every second. What it
            raises ends the call; results so far are in the log.

    Raises:
        RecordError: If the log is damaged.
    """
    found: dict[tuple[str, int], dict[str, CheckResult]] = {}
    failures: dict[str, str] = {}
    jobs = _jobs(task, samples, completions, failures)
    if not jobs:
        checked = {s: tuple(answers) for s, answers in completions.items() if s not in failures}
        return CheckedCompletions(completions=checked, failures=failures, performed=0, resumed=0)
    with JsonLog(log, CheckEntry, "check") as book:
        known = {(e.sample, e.epoch, e.call, e.check): e.result for e in book.entries}
        open_jobs = []
        for job in jobs:
            result = known.get((job.sample.id, epoch, job.call, job.digest))
            if result is None:
                open_jobs.append(job)
            else:
                found.setdefault((job.sample.id, job.call), {})[job.check.name] = result

        def keep(job: _Job, result: CheckResult) -> None:
            book.append(
                CheckEntry(
                    sample=job.sample.id,
                    epoch=epoch,
                    call=job.call,
                    check=job.digest,
                    result=result,
                )
            )
            found.setdefault((job.sample.id, job.call), {})[job.check.name] = result

        work = _Work(task, open_jobs, len(jobs), runners, keep, progress)
        asyncio.run(work.do_all())
    failures |= work.failures
    return CheckedCompletions(
        completions={
            sample: tuple(
                replace(answer, checks=found.get((sample, call), {}))
                for call, answer in enumerate(answers)
            )
            for sample, answers in completions.items()
            if sample not in failures
        },
        failures=failures,
        performed=work.done,
        resumed=len(jobs) - len(open_jobs),
    )


def _jobs(
    task: Task,
    samples: Sequence[Sample],
    completions: Mapping[str, Sequence[Completion]],
    failures: dict[str, str],
) -> list[_Job]:
    jobs: list[_Job] = []
    for sample in samples:
        for call, completion in enumerate(completions.get(sample.id, ())):
            try:
                jobs += [
                    _Job(sample=sample, call=call, check=check, digest=check_digest(check))
                    for check in task.checks(sample, completion)
                ]
            except Exception as error:
                failures[sample.id] = (
                    f"task {task.spec.name!r} raised in checks: {type(error).__name__}: {error}"
                )
    return jobs


def check_digest(check: Check) -> str:
    """Return the sha256 of everything that a check asks."""
    return hashlib.sha256(msgspec.json.encode(check, order="sorted")).hexdigest()


class _Work:
    """One call of :func:`perform_checks`."""

    def __init__(
        self,
        task: Task,
        jobs: Sequence[_Job],
        n_all: int,
        runners: Runners,
        keep: Callable[[_Job, CheckResult], None],
        progress: Callable[[int, int], None] | None,
    ) -> None:
        self.done = 0
        self.failures: dict[str, str] = {}
        self._task, self._jobs, self._n_all = task, jobs, n_all
        self._runners, self._keep, self._progress = runners, keep, progress
        self._stopped: dict[type[Check], str] = {}

    async def do_all(self) -> None:
        """Perform what is open; what ``progress`` or the log raises ends it."""
        programs = [job for job in self._jobs if isinstance(job.check, ProgramCheck)]
        questions = [job for job in self._jobs if isinstance(job.check, GraderCheck)]
        async with contextlib.AsyncExitStack() as stack:
            workers = []
            for jobs, runner, missing in (
                (programs, self._runners.programs, "there is no sandbox to run its program in"),
                (questions, self._runners.grader, "the plan names no grader"),
            ):
                if jobs and runner is None:
                    self.failures |= {job.sample.id: missing for job in jobs}
                elif jobs and runner is not None:
                    await stack.enter_async_context(runner)
                    left = iter(jobs)
                    n_workers = min(max(1, runner.max_in_flight), len(jobs))
                    workers += [self._worker(left, runner) for _ in range(n_workers)]
            await work_with_heart(workers, self._beat())
        self._report()

    async def _worker(self, jobs: Iterator[_Job], runner: CheckRunner) -> None:
        for job in jobs:
            stopped = self._stopped.get(type(job.check))
            if stopped is not None:
                self.failures.setdefault(job.sample.id, stopped)
                continue
            try:
                result = await self._perform(job, runner)
            except CheckError as error:
                self.failures.setdefault(job.sample.id, str(error))
                if isinstance(error, StopCheckingError):
                    self._stopped[type(job.check)] = str(error)
                continue
            self._keep(job, result)
            self.done += 1
            self._report()

    async def _perform(self, job: _Job, runner: CheckRunner) -> CheckResult:
        if isinstance(job.check, ProgramCheck):
            assert isinstance(runner, ProgramRunner)
            return await runner.run(job.check)
        assert isinstance(runner, Grader)
        check = job.check
        return await runner.ask(check, lambda text: self._accepts(job.sample, check, text))

    def _accepts(self, sample: Sample, check: GraderCheck, reply: str) -> bool:
        try:
            return self._task.accepts(sample, check, reply)
        except Exception as error:
            raise CheckError(
                f"task {self._task.spec.name!r} raised in accepts: {type(error).__name__}: {error}"
            ) from error

    async def _beat(self) -> None:
        while True:
            self._report()
            await asyncio.sleep(HEARTBEAT_S)

    def _report(self) -> None:
        if self._progress is not None:
            done = self._n_all - len(self._jobs) + self.done
            self._progress(done, self._n_all)
