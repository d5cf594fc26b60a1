"""Asking a served checkpoint everything that a task asks, and keeping every answer.

Requests run many at a time. An endpoint with fixed batches gets its requests cut into batches by
sample order; the last one is filled with what would follow, and a batch that is not wholly in the
log is asked again whole. So its composition, and with it every greedy answer, is the same under
every limit and whatever was interrupted.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from ptb_core.evaluation.client import EngineClient, ReplyError, with_tries
from ptb_core.evaluation.completion_log import CompletionLog
from ptb_core.evaluation.completion_log import read_completions as read_completions
from ptb_core.evaluation.exchange import Completion
from ptb_core.evaluation.heartbeat import HEARTBEAT_S, work_with_heart
from ptb_core.evaluation.questions import GenerateOptions as GenerateOptions
from ptb_core.evaluation.questions import Question, questions
from ptb_core.evaluation.questions import SampleRequests as SampleRequests
from ptb_core.evaluation.rounds import Round, options_of, over_rounds
from ptb_core.interfaces import Endpoint
from ptb_core.specs import JsonValue

DEFAULT_IN_FLIGHT = 64
"""Open requests when the endpoint names no bound."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateSummary:
    """Numbers over the answers of one round.

    Attributes:
        requests: Requests asked for, all samples together.
        resumed: Answers that were in the log already.
        truncated: Answers that ended at the limit.
        errors: Answers that are an error of status 400, such as a prompt that is too long.
        prompt_tokens: As told by the server.
        completion_tokens: As told by the server.
        seconds: Wall-clock time of this call.
    """

    requests: int
    resumed: int
    truncated: int
    errors: int
    prompt_tokens: int
    completion_tokens: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateResult:
    """What came back.

    Attributes:
        completions: By sample, in request order; only samples whose requests are all answered.
        missing: The other samples, and why.
        summary: Numbers.
    """

    completions: Mapping[str, tuple[Completion, ...]]
    missing: Mapping[str, str]
    summary: GenerateSummary


def generate(
    task_requests: Sequence[SampleRequests],
    endpoint: Endpoint,
    options: GenerateOptions,
    log: Path,
    progress: Callable[[int, int], None] | None = None,
    following: Sequence[SampleRequests] = (),
) -> GenerateResult:
    """Ask everything that the log does not hold yet, and return all answers.

    Args:
        task_requests: The samples in order.
        endpoint: The ready server.
        options: How to ask.
        log: JSON lines; created, or continued.
        progress: Told the answered and the expected number of requests, at least every second.
            What it raises ends the call; answers so far are in the log.
        following: The samples that come next without a limit. The last fixed batch is filled with
            their requests, whose answers are neither kept nor counted.

    Raises:
        RecordError: If the log is damaged or belongs to other requests.
    """
    started = time.monotonic()
    asked = questions(task_requests, options)
    with CompletionLog(log, options.round) as book:
        fillers = _fillers(following, options, -len(asked) % (endpoint.batch_size or 1))
        run = _Run(asked, fillers, endpoint, options, book, progress)
        asyncio.run(run.ask_all())
    return _result(task_requests, asked, run, time.monotonic() - started)


def generate_rounds(
    rounds: Sequence[Round],
    task_requests: Sequence[SampleRequests],
    endpoint: Endpoint,
    options: GenerateOptions,
    log: Path,
    progress: Callable[[int, int], None] | None = None,
    following: Sequence[SampleRequests] = (),
) -> tuple[GenerateResult, ...]:
    """Call :func:`generate` once per round, with one log and one count of progress.

    A round that lacks answers ends the call: its server is not asked for more.
    """
    results: list[GenerateResult] = []
    for place, one in enumerate(rounds):
        tell = over_rounds(progress, place, len(rounds))
        how = options_of(one, options)
        results.append(generate(task_requests, endpoint, how, log, tell, following))
        if results[-1].missing:
            break
    return tuple(results)


def sum_up(summaries: Sequence[GenerateSummary]) -> GenerateSummary:
    """Return the numbers over all rounds."""
    return GenerateSummary(
        **{
            field.name: sum(getattr(summary, field.name) for summary in summaries)
            for field in fields(GenerateSummary)
        }
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Unit:
    """What is asked together: a fixed batch, or one question.

    Attributes:
        number: Place among all units, from 0.
        asked: Questions whose answers are kept.
        fillers: Questions behind them that only complete the batch.
    """

    number: int
    asked: Sequence[Question]
    fillers: Sequence[Question]


class _Run:
    """One call of :func:`generate`."""

    def __init__(
        self,
        asked: Sequence[Question],
        fillers: Sequence[Question],
        endpoint: Endpoint,
        options: GenerateOptions,
        book: CompletionLog,
        progress: Callable[[int, int], None] | None,
    ) -> None:
        self.answers: dict[tuple[str, int], Completion] = {}
        self.failures: dict[tuple[str, int], str] = {}
        self._asked, self._fillers = asked, fillers
        self._endpoint, self._options = endpoint, options
        self._book, self._progress = book, progress
        self._gone: str | None = None
        self._last_answer_s = time.monotonic()
        for question in asked:
            if (answer := book.find(question)) is not None:
                self.answers[question.sample, question.call] = answer
        self.resumed = len(self.answers)

    async def ask_all(self) -> None:
        """Ask all that has no answer yet; what ``progress`` raises ends it."""
        units = self._units()
        workers = self._workers()
        async with EngineClient(self._endpoint, self._options.limits) as client:
            asking = [self._work(client, units) for _ in range(workers)]
            await work_with_heart(asking, self._beat())
        self._report()

    def _units(self) -> Iterator[_Unit]:
        """Yield the units that lack an answer."""
        size = self._endpoint.batch_size or 1
        for number, start in enumerate(range(0, len(self._asked), size)):
            asked = self._asked[start : start + size]
            if any((q.sample, q.call) not in self.answers for q in asked):
                is_last = start + size >= len(self._asked)
                yield _Unit(number=number, asked=asked, fillers=self._fillers if is_last else ())

    def _workers(self) -> int:
        in_flight = self._endpoint.max_in_flight or DEFAULT_IN_FLIGHT
        return max(1, in_flight // (self._endpoint.batch_size or 1))

    async def _work(self, client: EngineClient, units: Iterator[_Unit]) -> None:
        for unit in units:
            await self._ask_unit(client, unit)
            if self._gone is not None:
                return

    async def _ask_unit(self, client: EngineClient, unit: _Unit) -> None:
        async def ask(attempt: int) -> None:
            outcomes = await asyncio.gather(
                *(
                    self._ask(client, question, self._slot(unit, place, attempt))
                    for place, question in enumerate(unit.asked)
                ),
                *(
                    self._fill(client, question, self._slot(unit, place, attempt))
                    for place, question in enumerate(unit.fillers, start=len(unit.asked))
                ),
            )
            failed = [error for error in outcomes if error is not None]
            if failed:
                raise next((e for e in failed if e.is_transient), failed[0])

        try:
            await with_tries(ask, self._options.limits)
        except ReplyError as error:
            if error.is_transient and not await client.is_alive():
                self._gone = f"the server is gone: {error}"

    def _slot(self, unit: _Unit, place: int, attempt: int) -> dict[str, JsonValue]:
        if self._endpoint.batch_size is None:
            return {}
        name = f"round-{self._options.round}-batch-{unit.number}"
        size = len(unit.asked) + len(unit.fillers)
        return {"ptb_batch": {"id": name, "size": size, "index": place, "attempt": attempt}}

    async def _ask(
        self, client: EngineClient, question: Question, slot: Mapping[str, JsonValue]
    ) -> ReplyError | None:
        """Ask one question, keep the answer, and return the failure if there is none."""
        key = (question.sample, question.call)
        try:
            answer = await client.ask(question.request, {**question.body, **slot})
        except ReplyError as error:
            if key in self.answers:
                return None
            self.failures[key] = str(error)
            return error
        if key not in self.answers:
            self._book.append(question, answer)
            self.answers[key] = answer
            self._last_answer_s = time.monotonic()
            self.failures.pop(key, None)
            self._report()
        return None

    async def _fill(
        self, client: EngineClient, question: Question, slot: Mapping[str, JsonValue]
    ) -> None:
        """Ask a question that completes a batch; what becomes of it does not matter."""
        with contextlib.suppress(ReplyError):
            await client.ask(question.request, {**question.body, **slot})

    async def _beat(self) -> None:
        """Tell the progress; return when the server has stopped answering."""
        stall_s = self._options.limits.stall_s
        while time.monotonic() - self._last_answer_s <= stall_s:
            self._report()
            await asyncio.sleep(min(HEARTBEAT_S, stall_s))
        self._gone = f"the server hangs: it has answered nothing for {stall_s:g} s"

    def _report(self) -> None:
        if self._progress is not None:
            self._progress(len(self.answers), len(self._asked))

    def reason(self, question: Question) -> str:
        """Say why a question has no answer."""
        own = self.failures.get((question.sample, question.call))
        return own or self._gone or "it was not asked"


def _fillers(
    following: Sequence[SampleRequests], options: GenerateOptions, count: int
) -> list[Question]:
    """Return the first ``count`` questions of the samples that follow, or all there are."""
    found: list[Question] = []
    for sample in following:
        if len(found) >= count:
            break
        found += questions([sample], options)
    return found[:count]


def _result(
    samples: Sequence[SampleRequests], asked: Sequence[Question], run: _Run, seconds: float
) -> GenerateResult:
    missing: dict[str, str] = {}
    for question in asked:
        if (question.sample, question.call) not in run.answers:
            missing.setdefault(question.sample, run.reason(question))
    answers = run.answers.values()
    return GenerateResult(
        completions={
            sample.id: tuple(run.answers[sample.id, call] for call in range(len(sample.requests)))
            for sample in samples
            if sample.id not in missing
        },
        missing=missing,
        summary=GenerateSummary(
            requests=len(asked),
            resumed=run.resumed,
            truncated=sum(answer.finish_reason == "length" for answer in answers),
            errors=sum(answer.finish_reason == "error" for answer in answers),
            prompt_tokens=sum(answer.prompt_tokens or 0 for answer in answers),
            completion_tokens=sum(answer.completion_tokens or 0 for answer in answers),
            seconds=round(seconds, 3),
        ),
    )
