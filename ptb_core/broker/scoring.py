"""Scoring completions that a sandbox has posted, by the code of the final evaluation."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from ptb_core.broker.calls import CallLog
from ptb_core.broker.messages import DevScore
from ptb_core.broker.received import Expected, Received, receive
from ptb_core.errors import PtbError
from ptb_core.evaluation.checking import Runners
from ptb_core.evaluation.exchange import DataDir, Sample
from ptb_core.evaluation.laid_questions import laid_names
from ptb_core.evaluation.rounds import rounds_of
from ptb_core.evaluation.samples import samples_of
from ptb_core.evaluation.scoring import score_completions
from ptb_core.interfaces import Task
from ptb_core.records import Evaluation
from ptb_core.specs import ProtocolSpec


class RefusedError(PtbError):
    """There is no score; the text says why and tells nothing of an answer."""


class UnscoredError(RefusedError):
    """Samples stayed without a score.

    Attributes:
        told: What the sandbox may know: how many, and not why, because a reason may quote an
            answer.
    """

    def __init__(self, lacking: int, n_all: int, reason: str) -> None:
        super().__init__(f"{lacking} of {n_all} samples could not be scored: {reason}")
        self.told = (
            f"{lacking} of {n_all} samples could not be scored; the operator's log says why. It "
            "may help to ask again later"
        )


@dataclass(frozen=True, kw_only=True)
class Scorer:
    """Scores posted completions.

    Attributes:
        task: The task.
        data: Its data, answers included.
        protocol: The protocol of the final evaluation; its limit is not used.
        runners: Makes those who perform the task's checks; called once per scoring.
        folder: Private folder for what is being scored.
        log: What is kept of every call.
        most_calls: Most different sets of completions that are scored; None for no bound.
        answers_outside: True where the sandbox holds no answers: neither ids of samples nor
            breakdowns and marks are told then.
    """

    task: Task
    data: DataDir
    protocol: ProtocolSpec
    runners: Callable[[], Runners]
    folder: Path
    log: CallLog
    most_calls: int | None
    answers_outside: bool

    def ids(self, limit: int | None) -> tuple[str, ...]:
        """Return the samples that a limit takes, in order, by their names in the sandbox.

        Raises:
            RefusedError: If the limit makes no sense.
        """
        return tuple(self._names[sample.id] for sample in self._chosen(limit))

    def score(
        self, posted: Path, limit: int | None, progress: Callable[[int, int], None]
    ) -> DevScore:
        """Score posted completions and note it.

        Args:
            posted: What was posted.
            limit: Number of samples; None means all.
            progress: Told checks done and expected, at least every second while there are any.

        Raises:
            ReceivedError: If the completions are not those that were asked for.
            RefusedError: If there is no score.
        """
        samples = self._chosen(limit)
        completions = self.folder / "completions.jsonl"
        expected = {
            self._names[sample.id]: Expected(id=sample.id, calls=self._calls[sample.id])
            for sample in samples
        }
        try:
            received = receive(posted, completions, expected, len(rounds_of(self.protocol)))
            number = self._accept(limit, received)
            began = time.monotonic()
            try:
                score = self._score(samples, limit, completions, received.digest, progress)
            except BaseException as error:
                reason = str(error)[:500] or type(error).__name__
                self.log.failed(number, reason, time.monotonic() - began)
                raise
            self.log.scored(number, score.value, time.monotonic() - began)
            return score
        finally:
            completions.unlink(missing_ok=True)

    def _score(
        self,
        samples: Sequence[Sample],
        limit: int | None,
        completions: Path,
        digest: str,
        progress: Callable[[int, int], None],
    ) -> DevScore:
        # What was found out before a broker died is not found out again: it may have cost money.
        checks = self.folder / f"checks-{digest}.jsonl"
        scored = score_completions(
            self.task,
            samples,
            replace(self.protocol, limit=limit),
            completions,
            self.runners(),
            checks,
            details={},
            progress=progress,
        )
        score = self._told(scored.evaluation)
        checks.unlink(missing_ok=True)
        return score

    def _accept(self, limit: int | None, received: Received) -> int:
        if (
            self.most_calls is not None
            and self.log.distinct >= self.most_calls
            and not self.log.knows(received.digest)
        ):
            raise RefusedError(
                f"all {self.most_calls} scores that this run grants have been given; the same "
                "completions can be asked for again"
            )
        return self.log.asked(limit, received.digest, received.samples)

    def _chosen(self, limit: int | None) -> Sequence[Sample]:
        if limit is not None and limit < 1:
            raise RefusedError(f"a limit of {limit} takes no sample")
        return self.task.order(self._samples, limit)

    def _told(self, evaluation: Evaluation) -> DevScore:
        score = evaluation.scores.get(evaluation.counted)
        if score is None or not evaluation.complete:
            lacking = evaluation.n_expected - evaluation.n_scored
            failures: Mapping[str, Mapping[str, str]] = evaluation.details.get("failures", {})
            reasons = [reason for found in failures.values() for reason in found.values()]
            raise UnscoredError(lacking, evaluation.n_expected, next(iter(reasons), ""))
        return DevScore(
            value=score.value,
            stderr=score.stderr,
            n=score.n,
            breakdowns={} if self.answers_outside else score.breakdowns,
            marks={} if self.answers_outside else score.marks,
        )

    @cached_property
    def _samples(self) -> Sequence[Sample]:
        samples_of(self.task, self.data)  # refuses data that are not whole
        return self.task.samples(self.data)

    @cached_property
    def _names(self) -> Mapping[str, str]:
        if self.answers_outside:
            return laid_names(self._samples)
        return {sample.id: sample.id for sample in self._samples}

    @cached_property
    def _calls(self) -> Mapping[str, int]:
        kind = self.protocol.requests
        return {sample.id: len(self.task.requests(sample, kind)) for sample in self._samples}
