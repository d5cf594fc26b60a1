"""What a task promises about its checks: what core must find out before a score counts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from ptb_core.evaluation.checks import Check, GraderCheck, ProgramCheck
from ptb_core.evaluation.exchange import UNCHECKED, Completion, Sample
from ptb_core.interfaces import Task
from ptb_core.specs import SCORINGS
from ptb_core.testing.component import ComponentConformance
from ptb_core.testing.expectation import expect, unraised
from ptb_core.testing.hostile import HOSTILE_TEXTS, hostile_completions

NEEDS: dict[type[Check], str] = {ProgramCheck: "execute", GraderCheck: "grader"}
"""What a manifest declares for each kind of check."""


class CheckPromises(ComponentConformance[Task]):
    """Checks of a task's checks; a task without any keeps all of them."""

    def test_no_completion_makes_checks_raise(self) -> None:
        """``checks()`` returns a tuple that JSON can hold, whatever the model answered."""
        for sample, completion, name in self._hostile_answers():
            found = self._checks(sample, completion, name)
            unraised(
                f"checks of the completion {name!r} must be what JSON can hold",
                lambda found=found: msgspec.json.encode(found),  # type: ignore[misc]
            )

    def test_checks_of_a_completion_have_names_of_their_own(self) -> None:
        """No two checks of one completion share a name."""
        for sample, completion, name in self._hostile_answers():
            names = [check.name for check in self._checks(sample, completion, name)]
            repeated = sorted({one for one in names if names.count(one) > 1})[:3]
            expect(
                not repeated,
                f"checks of one completion must have names of their own; on {name!r} repeated "
                f"are {', '.join(repeated)}",
            )

    def test_checks_are_the_same_in_every_call(self) -> None:
        """Equal calls give equal checks: a scoring that was killed goes on with its results."""
        for sample, completion, name in self._hostile_answers():
            first = self._checks(sample, completion, name)
            expect(
                first == self._checks(sample, completion, name),
                f"checks() must give the same every time; on the completion {name!r} it did not",
            )

    def test_kinds_of_checks_are_declared(self) -> None:
        """A task with programs needs ``execute``, one with questions needs ``grader``."""
        for sample, completion, name in self._hostile_answers():
            for check in self._checks(sample, completion, name):
                need = NEEDS[type(check)]
                expect(
                    need in self.component.spec.needs,
                    f"a task with a {type(check).__name__} must declare {need!r} in its needs; "
                    f"it declares {', '.join(self.component.spec.needs) or 'none'}",
                )

    def test_no_reply_makes_accepts_raise(self) -> None:
        """``accepts()`` says True or False to whatever a grader replies."""
        for sample, check in self._questions():
            for name, reply in HOSTILE_TEXTS.items():
                said = unraised(
                    f"accepts() must not raise on the reply {name!r}",
                    lambda a=(sample, check, reply or ""): self.component.accepts(*a),  # type: ignore[misc]
                )
                expect(
                    isinstance(said, bool),
                    f"accepts() must return True or False; on the reply {name!r} it returned "
                    f"{said!r:.80}",
                )

    def test_a_score_without_the_results_of_its_checks_is_marked(self) -> None:
        """What could not be found out leaves a sample ``unchecked``, under both scorings."""
        for sample, completion, name in self._hostile_answers():
            if not self._checks(sample, completion, name):
                continue
            completions = (completion,) * len(self.component.requests(sample, "published"))
            for scoring in SCORINGS:
                score = self.component.score(sample, completions, scoring)
                expect(
                    UNCHECKED in score.marks,
                    f"a score without the results of its checks must have the mark {UNCHECKED!r}; "
                    f"on the completion {name!r} under {scoring} scoring it has "
                    f"{', '.join(score.marks) or 'none'}",
                )

    def _chosen(self) -> Sequence[Sample]:
        """Return samples to check on."""
        raise NotImplementedError

    def _hostile_answers(self) -> Iterator[tuple[Sample, Completion, str]]:
        samples = self._chosen()
        for number, (name, completion) in enumerate(hostile_completions().items()):
            yield samples[number % len(samples)], completion, name

    def _checks(self, sample: Sample, completion: Completion, name: str) -> tuple[Check, ...]:
        found = unraised(
            f"checks() must not raise on the completion {name!r}",
            lambda: self.component.checks(sample, completion),
        )
        expect(
            isinstance(found, tuple) and all(type(one) in NEEDS for one in found),
            f"checks() must return a tuple of checks; on the completion {name!r} it returned "
            f"{found!r:.80}",
        )
        assert isinstance(found, tuple)
        return found

    def _questions(self) -> Iterator[tuple[Sample, GraderCheck]]:
        """Yield the first question that each sample gives."""
        for sample in self._chosen():
            found = self._checks(sample, Completion(text="42"), "42")
            for check in [one for one in found if isinstance(one, GraderCheck)][:1]:
                yield sample, check
