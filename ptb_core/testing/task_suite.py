"""What the checks of a task have in common: its data, samples and scores."""

from __future__ import annotations

import unittest

from ptb_core.errors import DataError
from ptb_core.evaluation.exchange import Completion, DataDir, Sample, SampleScore
from ptb_core.interfaces import Task
from ptb_core.specs import Scoring
from ptb_core.testing.component import ComponentConformance
from ptb_core.testing.expectation import expect


class TaskSuite(ComponentConformance[Task]):
    """A task on its own data.

    Attributes:
        samples_checked: Samples that requests and scores are checked on, spread over the task.
        value_range: Least and greatest score of one sample and of the task.
    """

    kind = "task"
    samples_checked: int = 5
    value_range: tuple[float, float] = (0.0, 1.0)

    def data(self) -> DataDir:
        """Return the task's data; by default what is on this machine already.

        Raises:
            unittest.SkipTest: If it is not.
        """
        from ptb_core.fetch import ensure_data

        try:
            return ensure_data(self.component.spec, offline=True)
        except DataError as error:
            name = self.component.spec.name
            raise unittest.SkipTest(
                f"its data is not on this machine: run `ptb prefetch --task {name}`"
            ) from error

    def _samples(self) -> list[Sample]:
        return list(self.component.samples(self.data()))

    def _chosen(self) -> list[Sample]:
        samples = self._samples()
        step = max(1, len(samples) // self.samples_checked)
        return samples[::step][: self.samples_checked]

    def _score(
        self, sample: Sample, completions: tuple[Completion, ...], scoring: Scoring
    ) -> SampleScore:
        score: object = self.component.score(sample, completions, scoring)
        expect(
            isinstance(score, SampleScore),
            f"score() must return a SampleScore; it returned {score!r:.80}",
        )
        assert isinstance(score, SampleScore)
        return score
