"""What every task promises: pure, deterministic, and deaf to hostile completions."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence

import msgspec

from ptb_core.evaluation.exchange import (
    ChatRequest,
    Completion,
    CompletionRequest,
    LogLikelihoodRequest,
    Request,
    Sample,
    SampleScore,
    TaskScore,
    TestItem,
)
from ptb_core.specs import SCORINGS, RequestKind, Scoring
from ptb_core.testing.expectation import expect, unraised
from ptb_core.testing.hostile import hostile_completions
from ptb_core.testing.task_checks import CheckPromises

REQUEST_KINDS: tuple[RequestKind, ...] = ("published", "seeded")
_REQUEST_TYPES = (ChatRequest, CompletionRequest, LogLikelihoodRequest)


class TaskConformance(CheckPromises):
    """Checks of a task, on its own data.

    Attributes:
        samples_checked: Samples that requests and scores are checked on, spread over the task.
        value_range: Least and greatest score of one sample and of the task.
    """

    # Samples ------------------------------------------------------------------------------

    def test_samples_are_samples_and_there_is_one_at_least(self) -> None:
        """``samples()`` returns at least one ``Sample``."""
        samples = self._samples()
        wrong = [sample for sample in samples if not isinstance(sample, Sample)]
        expect(samples, "samples() must return at least one sample; it returned none")
        expect(not wrong, f"samples() must return Sample objects; it returned {wrong[:1]!r:.80}")

    def test_samples_are_as_many_as_its_facts_say(self) -> None:
        """The manifest's ``n_samples`` is the number of test samples."""
        found, stated = len(self._samples()), self.component.spec.n_samples
        expect(
            found == stated,
            f"samples() must return n_samples = {stated} samples; it returned {found}",
        )

    def test_sample_ids_are_unique(self) -> None:
        """No two samples share an id."""
        ids = [sample.id for sample in self._samples()]
        repeated = sorted({one for one in ids if ids.count(one) > 1})[:3]
        expect(not repeated, f"sample ids must be unique; repeated are {', '.join(repeated)}")

    def test_samples_are_the_same_in_every_call(self) -> None:
        """Two calls give equal samples in the same order."""
        data = self.data()
        first, second = list(self.component.samples(data)), list(self.component.samples(data))
        expect(first == second, "samples() must give equal samples in the same order every time")

    def test_samples_are_json(self) -> None:
        """Input, target and metadata are what JSON can hold."""
        for sample in self._chosen():
            unraised(
                f"sample {sample.id!r} must be what JSON can hold",
                lambda sample=sample: msgspec.json.encode(sample),  # type: ignore[misc]
            )

    def test_a_limit_takes_that_many_samples_and_none_twice(self) -> None:
        """``order(samples, limit)`` gives ``limit`` of the samples, each once."""
        samples = self._samples()
        known = {sample.id for sample in samples}
        for limit in sorted({1, 2, len(samples) // 2, len(samples), len(samples) + 7} - {0}):
            ids = [sample.id for sample in self.component.order(samples, limit)]
            wanted = min(limit, len(samples))
            expect(
                len(ids) == wanted and len(set(ids)) == wanted and set(ids) <= known,
                f"order() under limit {limit} must give {wanted} of the samples, each once; it "
                f"gave {len(ids)}, of which {len(set(ids) & known)} are different samples",
            )

    def test_a_larger_limit_begins_with_the_smaller_one(self) -> None:
        """Samples under a limit are the first ones under any larger limit."""
        samples = self._samples()
        whole = [sample.id for sample in self.component.order(samples, len(samples))]
        for limit in (1, 3, len(samples) // 2):
            ids = [sample.id for sample in self.component.order(samples, limit)]
            expect(
                ids == whole[: len(ids)],
                f"order() under limit {limit} must be the beginning of order() under a larger "
                f"limit; it begins {ids[:3]} and the larger one {whole[:3]}",
            )

    def test_without_a_limit_every_sample_is_evaluated(self) -> None:
        """``order(samples, None)`` gives all samples."""
        samples = self._samples()
        ids = sorted(sample.id for sample in self.component.order(samples, None))
        expect(
            ids == sorted(sample.id for sample in samples),
            f"order() without a limit must give all {len(samples)} samples; it gave {len(ids)}",
        )

    # Requests -----------------------------------------------------------------------------

    def test_every_sample_has_requests(self) -> None:
        """``requests()`` returns a tuple of at least one request, published and seeded."""
        for sample in self._chosen():
            for kind in REQUEST_KINDS:
                asked: object = self.component.requests(sample, kind)
                is_right = isinstance(asked, tuple) and len(asked) > 0
                expect(
                    is_right and all(isinstance(one, _REQUEST_TYPES) for one in self._of(asked)),
                    f"requests() must return a tuple of requests; for sample {sample.id!r}, "
                    f"{kind}, it returned {asked!r:.80}",
                )

    def test_requests_are_pure_and_json(self) -> None:
        """Equal calls give equal requests, which JSON can hold, and change no sample."""
        for sample in self._chosen():
            before = copy.deepcopy(sample)
            for kind in REQUEST_KINDS:
                first = self.component.requests(sample, kind)
                expect(
                    first == self.component.requests(sample, kind),
                    f"requests() must give the same every time; for {sample.id!r} it did not",
                )
                unraised(
                    f"requests of {sample.id!r} must be what JSON can hold",
                    lambda first=first: msgspec.json.encode(first),  # type: ignore[misc]
                )
            expect(sample == before, f"requests() must not change the sample {sample.id!r}")

    # Scores -------------------------------------------------------------------------------

    def test_no_completion_makes_score_raise(self) -> None:
        """``score()`` returns under both scorings whatever the model answered."""
        for sample, completions, name, scoring in self._hostile():
            unraised(
                f"score() must not raise on the completion {name!r} under {scoring} scoring",
                lambda a=(sample, completions, scoring): self.component.score(*a),  # type: ignore[misc]
            )

    def test_every_score_is_finite_and_in_range(self) -> None:
        """A sample's value is a finite number in the metric's range, whatever was answered."""
        low, high = self.value_range
        for sample, completions, name, scoring in self._hostile():
            score = self._score(sample, completions, scoring)
            expect(
                score.id == sample.id,
                f"score() must carry the sample's id {sample.id!r}; it carries {score.id!r}",
            )
            expect(
                math.isfinite(score.value) and low <= score.value <= high,
                f"a score must lie in [{low:g}, {high:g}]; on the completion {name!r} under "
                f"{scoring} scoring it is {score.value!r}",
            )

    def test_scoring_is_pure(self) -> None:
        """Equal calls give equal scores and change neither sample nor completions."""
        for sample, completions, name, scoring in self._hostile():
            before = copy.deepcopy((sample, completions))
            first = self._score(sample, completions, scoring)
            second = self._score(sample, completions, scoring)
            expect(
                first == second,
                f"score() must give the same every time; on the completion {name!r} it gave "
                f"{first.value} and then {second.value}",
            )
            unchanged = repr((sample, completions)) == repr(before)
            expect(unchanged, f"score() must not change its arguments; it did on {name!r}")

    def test_scores_are_json(self) -> None:
        """Scores are what JSON can hold, as records keep them."""
        from ptb_core.json_codec import encodable

        for sample, completions, name, scoring in self._hostile():
            score = self._score(sample, completions, scoring)
            unraised(
                f"the score of the completion {name!r} must be what JSON can hold",
                lambda score=score: msgspec.json.encode(  # type: ignore[misc]
                    encodable(msgspec.to_builtins(score))
                ),
            )

    def test_one_sample_can_be_aggregated(self) -> None:
        """``aggregate()`` takes a single score."""
        for scoring in SCORINGS:
            self._expect_aggregate(self._scores(scoring)[:1], scoring)

    def test_many_samples_can_be_aggregated(self) -> None:
        """``aggregate()`` gives a finite value in range and counts every sample."""
        for scoring in SCORINGS:
            self._expect_aggregate(self._scores(scoring), scoring)

    def test_the_order_of_samples_does_not_move_the_score(self) -> None:
        """``aggregate()`` gives the same value for the same scores in any order."""
        for scoring in SCORINGS:
            scores = self._scores(scoring)
            first = self.component.aggregate(scores, scoring)
            second = self.component.aggregate(scores[::-1], scoring)
            expect(
                math.isclose(first.value, second.value, rel_tol=1e-9, abs_tol=1e-12),
                f"aggregate() must not depend on the order of samples; it gave {first.value} and "
                f"reversed {second.value}",
            )

    # Contamination ------------------------------------------------------------------------

    def test_contamination_items_have_texts_and_known_ids(self) -> None:
        """Items to search for carry a sample's id and a text that is not empty."""
        known = {sample.id for sample in self._samples()}
        for item in self._items():
            if not item.allowed:
                expect(
                    item.id in known,
                    f"contamination_items() must name samples; {item.id!r} is none",
                )
            expect(item.text.strip(), f"the contamination item {item.id!r} must have a text")

    def test_no_test_text_is_allowed(self) -> None:
        """No text that is searched for equals one whose use is allowed."""
        items = self._items()
        allowed = {item.text for item in items if item.allowed}
        both = [item.id for item in items if not item.allowed and item.text in allowed]
        expect(
            not both,
            f"no text to search for may equal an allowed one; {len(both)} do, such as "
            f"{both[0] if both else ''!r}",
        )

    def test_contamination_items_are_the_same_in_every_call(self) -> None:
        """Two calls give equal items."""
        expect(self._items() == self._items(), "contamination_items() must give the same items")

    # Parts --------------------------------------------------------------------------------

    def _of(self, asked: object) -> Sequence[object]:
        return asked if isinstance(asked, tuple) else ()

    def _hostile(self) -> list[tuple[Sample, tuple[Completion, ...], str, Scoring]]:
        """Return every hostile completion under both scorings, for one sample each."""
        chosen = self._chosen()
        cases = []
        for number, (name, completion) in enumerate(hostile_completions().items()):
            sample = chosen[number % len(chosen)]
            asked = self.component.requests(sample, REQUEST_KINDS[number % 2])
            for scoring in SCORINGS:
                cases.append((sample, (completion,) * len(asked), name, scoring))
        return cases

    def _scores(self, scoring: Scoring) -> list[SampleScore]:
        return [
            self._score(sample, self._answers(sample, text), scoring)
            for sample in self._chosen()
            for text in ("42", f"ANSWER: {sample.target}", f"#### {sample.target}")
        ]

    def _answers(self, sample: Sample, text: str) -> tuple[Completion, ...]:
        asked: tuple[Request, ...] = self.component.requests(sample, "seeded")
        return tuple(
            Completion(text=None, log_probability=-1.0 - number, is_greedy=False)
            if isinstance(request, LogLikelihoodRequest)
            else Completion(text=text)
            for number, request in enumerate(asked)
        )

    def _expect_aggregate(self, scores: Sequence[SampleScore], scoring: Scoring) -> None:
        low, high = self.value_range
        result: object = self.component.aggregate(scores, scoring)
        expect(
            isinstance(result, TaskScore),
            f"aggregate() must return a TaskScore; it returned {result!r:.80}",
        )
        assert isinstance(result, TaskScore)
        expect(
            result.n == len(scores),
            f"aggregate() of {len(scores)} samples must say n = {len(scores)}; it says {result.n}",
        )
        expect(
            math.isfinite(result.value) and low <= result.value <= high,
            f"the task's score must lie in [{low:g}, {high:g}]; it is {result.value!r}",
        )
        expect(
            result.stderr is None or (math.isfinite(result.stderr) and result.stderr >= 0),
            f"the standard error must be None or 0 or more; it is {result.stderr!r}",
        )

    def _items(self) -> list[TestItem]:
        return list(self.component.contamination_items(self.data()))
