"""What a task promises of its checks: what core must find out before it can score."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import msgspec

from ptb_core.evaluation.checks import (
    Check,
    CheckResult,
    GraderCheck,
    GraderResult,
    ProgramCheck,
    ProgramResult,
)
from ptb_core.evaluation.exchange import UNCHECKED, Completion, Sample, SampleScore
from ptb_core.specs import SCORINGS
from ptb_core.testing.expectation import expect, unraised
from ptb_core.testing.hostile import HOSTILE_TEXTS, hostile_completions
from ptb_core.testing.task_suite import TaskSuite


class CheckPromises(TaskSuite):
    """Checks are pure, named, declared, and their results scored; tasks without any pass."""

    def test_no_completion_makes_checks_raise(self) -> None:
        """``checks()`` returns a tuple of checks whatever the model answered."""
        for sample, completion, name in self._checked():
            found = unraised(
                f"checks() must not raise on the completion {name!r}",
                lambda a=(sample, completion): self.component.checks(*a),  # type: ignore[misc]
            )
            is_right = isinstance(found, tuple) and all(
                isinstance(one, ProgramCheck | GraderCheck) for one in found
            )
            expect(
                is_right,
                f"checks() must return a tuple of checks; on the completion {name!r} it returned "
                f"{found!r:.80}",
            )

    def test_checks_of_one_completion_have_different_names(self) -> None:
        """No two checks of a completion share a name."""
        for sample, completion, name in self._checked():
            names = [check.name for check in self.component.checks(sample, completion)]
            expect(
                len(names) == len(set(names)),
                f"the checks of a completion must have different names; on the completion "
                f"{name!r} they are {', '.join(names)}",
            )

    def test_checks_are_pure_and_json(self) -> None:
        """Equal calls give equal checks, which JSON can hold, and change nothing."""
        for sample, completion, name in self._checked():
            before = repr((sample, completion))
            first = self.component.checks(sample, completion)
            expect(
                first == self.component.checks(sample, completion),
                f"checks() must give the same every time; on the completion {name!r} it did not",
            )
            unraised(
                f"the checks of the completion {name!r} must be what JSON can hold",
                lambda first=first: msgspec.json.encode(first),  # type: ignore[misc]
            )
            unchanged = repr((sample, completion)) == before
            expect(unchanged, f"checks() must not change its arguments; it did on {name!r}")

    def test_what_checks_need_is_declared(self) -> None:
        """The manifest's ``needs`` hold ``execute`` for programs and ``grader`` for questions."""
        spec = self.component.spec
        for sample, completion, name in self._checked():
            for check in self.component.checks(sample, completion):
                is_program = isinstance(check, ProgramCheck)
                need = "execute" if is_program else "grader"
                expect(
                    spec.needs_programs if is_program else spec.needs_grader,
                    f"a task with such a check must say {need!r} in its needs, which are "
                    f"{list(spec.needs)}; on the completion {name!r} it asks for {check.name!r}",
                )

    def test_a_score_without_the_results_of_its_checks_says_so(self) -> None:
        """A completion with checks and no results is marked ``unchecked`` under some scoring."""
        for sample, completion, name in self._checked():
            if self.component.checks(sample, completion):
                answers = (completion,) * len(self.component.requests(sample, "seeded"))
                marks = [self._score(sample, answers, scoring).marks for scoring in SCORINGS]
                expect(
                    any(UNCHECKED in found for found in marks),
                    f"a score without the results of its checks must have the mark {UNCHECKED!r}; "
                    f"on the completion {name!r} the marks are {marks}",
                )

    def test_every_result_of_a_check_can_be_scored(self) -> None:
        """``score()`` takes any result of its checks: a number in range, no longer unchecked."""
        low, high = self.value_range
        for sample, completion, name in self._checked():
            for result, checked in self._with_results(sample, completion):
                answers = (checked,) * len(self.component.requests(sample, "seeded"))
                for scoring in SCORINGS:
                    score = unraised(
                        f"score() must not raise on the completion {name!r} with {result}",
                        lambda a=(sample, answers, scoring): self._score(*a),  # type: ignore[misc]
                    )
                    assert isinstance(score, SampleScore)
                    expect(
                        math.isfinite(score.value) and low <= score.value <= high,
                        f"a score must lie in [{low:g}, {high:g}]; on the completion {name!r} "
                        f"with {result} it is {score.value!r}",
                    )
                    expect(
                        UNCHECKED not in score.marks,
                        f"a score whose checks all have results must not have the mark "
                        f"{UNCHECKED!r}; on the completion {name!r} with {result} it has",
                    )

    def test_no_reply_of_a_grader_makes_accepts_raise(self) -> None:
        """``accepts()`` says yes or no to any reply."""
        for sample, completion, name in self._checked():
            for check in _questions(self.component.checks(sample, completion))[:1]:
                for reply in _REPLIES:
                    found = unraised(
                        f"accepts() must not raise on the reply {reply[:40]!r}",
                        lambda a=(sample, check, reply): self.component.accepts(*a),  # type: ignore[misc]
                    )
                    expect(
                        isinstance(found, bool),
                        f"accepts() must say True or False; on the completion {name!r} and the "
                        f"reply {reply[:40]!r} it returned {found!r:.80}",
                    )

    def _checked(self) -> list[tuple[Sample, Completion, str]]:
        """Return hostile completions and ordinary ones, each for one sample."""
        chosen = self._chosen()
        named = {**hostile_completions(), **{text: Completion(text=text) for text in _ANSWERS}}
        return [
            (chosen[number % len(chosen)], completion, name)
            for number, (name, completion) in enumerate(named.items())
        ]

    def _with_results(
        self, sample: Sample, completion: Completion
    ) -> Iterator[tuple[str, Completion]]:
        """Yield a completion with one kind of result for all its checks, and what kind it is."""
        checks = self.component.checks(sample, completion)
        questions = _questions(checks)
        replies = [
            GraderResult(text=reply)
            for reply in _REPLIES
            if all(self.component.accepts(sample, question, reply) for question in questions)
        ]
        programs = _PROGRAM_RESULTS if len(questions) < len(checks) else ()
        for program, reply in _pairs(programs, replies[:_REPLIES_SCORED] if questions else ()):
            results: dict[str, CheckResult] = {}
            told = []
            for check in checks:
                result = program if isinstance(check, ProgramCheck) else reply
                assert result is not None
                results[check.name] = result
            if program is not None:
                told.append(f"a program's end {program.reason!r} ({program.exit_code})")
            if reply is not None:
                told.append(f"the reply {reply.text[:40]!r}")
            if told:
                yield " and ".join(told), replace(completion, checks=results)


def _pairs(
    programs: Sequence[ProgramResult], replies: Sequence[GraderResult]
) -> Iterator[tuple[ProgramResult | None, GraderResult | None]]:
    """Yield every pair; None stands for a kind of check that there is none of."""
    return itertools.product(programs or (None,), replies or (None,))


def _questions(checks: Sequence[Check]) -> list[GraderCheck]:
    return [check for check in checks if isinstance(check, GraderCheck)]


_REPLIES_SCORED = 12

_ANSWERS = ("42", "    return 42\n", "```python\ndef f():\n    return 42\n```")

_REPLIES = (
    "[[A>B]]",
    "[[B>>A]] and then [[A=B]]",
    '```json\n{"explanation": "", "criteria_met": true}\n```',
    '{"explanation": "", "criteria_met": false}',
    '{"criteria_met": "true"}',
    "yes",
    *(text for text in HOSTILE_TEXTS.values() if text is not None),
)
"""What a grader may reply: verdicts in several forms, and anything else."""

_PROGRAM_RESULTS = (
    ProgramResult(exit_code=0, reason="exit", token_seen=True),
    ProgramResult(exit_code=0, reason="exit"),
    ProgramResult(exit_code=1, reason="exit", output_tail="\ud800Traceback"),
    ProgramResult(exit_code=-9, reason="timeout", token_seen=True),
    ProgramResult(exit_code=-9, reason="killed"),
    ProgramResult(exit_code=None, reason="out-of-memory"),
)
"""Every way in which a program may end."""
