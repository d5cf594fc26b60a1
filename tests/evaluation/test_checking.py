"""What a task has to know about its completions is found out once, and told when it cannot be."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from ptb_core.api import (
    UNCHECKED,
    ChatRequest,
    Check,
    Completion,
    DataDir,
    GraderCheck,
    GraderResult,
    ProgramCheck,
    ProgramResult,
    Request,
    RequestKind,
    Sample,
    SampleScore,
    Scoring,
    Task,
    TaskScore,
    TaskSpec,
    mean_and_stderr,
)
from ptb_core.evaluation.checking import (
    CheckedCompletions,
    CheckError,
    Grader,
    ProgramRunner,
    Runners,
    StopCheckingError,
    perform_checks,
)
from ptb_core.evaluation.score import score_task

SPEC = TaskSpec(
    name="essays", title="Essays", description="-", metric="accuracy", n_samples=3, max_tokens=5
)
SAMPLES = [Sample(id=name, input={}, target=name) for name in "abc"]


class Essays(Task):
    """Each completion is run, and graded; the text ``raise`` breaks the task's own code."""

    def samples(self, data: DataDir) -> Sequence[Sample]:
        return SAMPLES

    def requests(self, sample: Sample, requests: RequestKind) -> tuple[Request, ...]:
        return (ChatRequest(messages=()),)

    def checks(self, sample: Sample, completion: Completion) -> tuple[Check, ...]:
        text = completion.text or ""
        if text == "raise":
            raise ZeroDivisionError("hostile")
        message = {"role": "user", "content": text}
        return (
            ProgramCheck(name="run", program=text),
            GraderCheck(name="grade", messages=(message,), max_completion_tokens=9),
        )

    def accepts(self, sample: Sample, check: GraderCheck, reply: str) -> bool:
        if reply == "raise":
            raise ZeroDivisionError("hostile")
        return reply.isdigit()

    def score(
        self, sample: Sample, completions: Sequence[Completion], scoring: Scoring
    ) -> SampleScore:
        results = completions[0].checks
        if set(results) != {"run", "grade"}:
            return SampleScore(id=sample.id, value=0.0, marks=(UNCHECKED,))
        ran, graded = results["run"], results["grade"]
        assert isinstance(ran, ProgramResult)
        assert isinstance(graded, GraderResult)
        return SampleScore(id=sample.id, value=float(ran.exit_code == 0) * int(graded.text) / 9)

    def aggregate(self, scores: Sequence[SampleScore], scoring: Scoring) -> TaskScore:
        return mean_and_stderr(scores)


class Programs(ProgramRunner):
    max_in_flight = 2

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.most = self.now = 0
        self.entered = self.left = 0

    async def __aenter__(self) -> Programs:
        self.entered += 1
        return self

    async def __aexit__(self, *_: object) -> None:
        self.left += 1

    async def run(self, check: ProgramCheck) -> ProgramResult:
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(0)
        self.now -= 1
        if check.program == "77":
            raise CheckError("the sandbox could not be opened")
        self.ran.append(check.program)
        return ProgramResult(exit_code=0, reason="exit")


class Answers(Grader):
    """Answers with the text that it is asked about, or raises what is given for it."""

    def __init__(self, errors: Mapping[str, Exception] | None = None) -> None:
        self.asked: list[str] = []
        self._errors = errors or {}

    async def ask(self, check: GraderCheck, accepts: Callable[[str], bool]) -> GraderResult:
        text = str(check.messages[0]["content"])
        self.asked.append(text)
        if text in self._errors:
            raise self._errors[text]
        if not accepts(text):
            raise CheckError("the grader gave no verdict in 5 tries")
        return GraderResult(text=text)


def done(*texts: str) -> dict[str, tuple[Completion, ...]]:
    return {
        sample.id: (Completion(text=text, finish_reason="stop"),)
        for sample, text in zip(SAMPLES, texts, strict=True)
    }


def check(
    log: Path, completions: Mapping[str, Sequence[Completion]], runners: Runners, **fields: Any
) -> CheckedCompletions:
    return perform_checks(Essays(SPEC), SAMPLES, completions, runners, log, **fields)


def test_results_reach_the_scorer_with_the_completion(tmp_path: Path) -> None:
    programs, answers = Programs(), Answers()
    found = check(tmp_path / "log", done("9", "0", "9"), Runners(programs=programs, grader=answers))
    scored = score_task(Essays(SPEC), SAMPLES, found.completions, "published")
    assert [sample.value for sample in scored.samples] == [1.0, 0.0, 1.0]
    assert (found.performed, found.resumed, found.failures) == (6, 0, {})
    assert (programs.most, programs.entered, programs.left) == (2, 1, 1)


def test_nothing_is_found_out_twice(tmp_path: Path) -> None:
    log = tmp_path / "log"
    first = check(log, done("1", "2", "3"), Runners(programs=Programs(), grader=Answers()))
    programs, answers = Programs(), Answers()
    again = check(log, done("1", "2", "4"), Runners(programs=programs, grader=answers))
    assert (again.performed, again.resumed) == (2, 4)
    assert (programs.ran, answers.asked) == (["4"], ["4"])
    assert again.completions["a"] == first.completions["a"]


def test_rounds_keep_results_of_their_own(tmp_path: Path) -> None:
    runners = Runners(programs=Programs(), grader=Answers())
    check(tmp_path / "log", done("1", "1", "1"), runners)
    assert check(tmp_path / "log", done("1", "1", "1"), runners, epoch=2).performed == 6


def test_a_killed_scoring_goes_on_where_it_stood(tmp_path: Path) -> None:
    def stop(finished: int, total: int) -> None:
        assert total == 6
        if finished == 5:
            raise KeyboardInterrupt

    log = tmp_path / "log"
    programs, answers = Programs(), Answers()
    with pytest.raises(KeyboardInterrupt):
        check(log, done("1", "2", "3"), Runners(programs=programs, grader=answers), progress=stop)
    assert (programs.entered, programs.left) == (1, 1)
    log.write_bytes(log.read_bytes() + b'{"sample": "c", "ep')
    resumed = check(log, done("1", "2", "3"), Runners(programs=Programs(), grader=Answers()))
    assert (resumed.performed, resumed.resumed, resumed.failures) == (1, 5, {})


def test_without_checks_there_is_no_log(tmp_path: Path) -> None:
    found = check(tmp_path / "log", {}, Runners())
    assert (found.completions, found.performed) == ({}, 0)
    assert not (tmp_path / "log").exists()


@pytest.mark.parametrize(
    ("text", "errors", "reason"),
    [
        ("raise", {}, "task 'essays' raised in checks: ZeroDivisionError: hostile"),
        ("77", {}, "the sandbox could not be opened"),
        ("yes", {}, "the grader gave no verdict in 5 tries"),
        ("1", {"1": CheckError("it is silent")}, "it is silent"),
    ],
)
def test_a_sample_that_cannot_be_checked_has_a_reason_and_no_score(
    tmp_path: Path, text: str, errors: Mapping[str, Exception], reason: str
) -> None:
    runners = Runners(programs=Programs(), grader=Answers(errors))
    found = check(tmp_path / "log", done("2", text, "3"), runners)
    assert found.failures == {"b": reason}
    assert set(found.completions) == {"a", "c"}
    scored = score_task(Essays(SPEC), SAMPLES, found.completions, "repaired", found.failures)
    assert scored.failures == {"b": reason}
    assert [sample.id for sample in scored.samples] == ["a", "c"]


def test_where_no_check_is_left_what_raised_is_still_no_score(tmp_path: Path) -> None:
    completions = {"a": done("raise", "2", "3")["a"] * 2}
    found = check(tmp_path / "log", completions, Runners())
    assert found.failures == {"a": "task 'essays' raised in checks: ZeroDivisionError: hostile"}
    assert (found.completions, found.performed) == ({}, 0)


def test_what_a_task_raises_over_a_reply_names_the_task(tmp_path: Path) -> None:
    class Raising(Answers):
        async def ask(self, check: GraderCheck, accepts: Callable[[str], bool]) -> GraderResult:
            return GraderResult(text=str(accepts("raise")))

    runners = Runners(programs=Programs(), grader=Raising())
    found = check(tmp_path / "log", done("1", "2", "3"), runners)
    assert set(found.failures.values()) == {
        "task 'essays' raised in accepts: ZeroDivisionError: hostile"
    }


def test_when_no_question_can_be_answered_none_is_asked_any_more(tmp_path: Path) -> None:
    class OneByOne(Answers):
        max_in_flight = 1

    answers = OneByOne({"2": StopCheckingError("the budget is spent")})
    programs = Programs()
    found = check(tmp_path / "log", done("1", "2", "3"), Runners(programs=programs, grader=answers))
    assert answers.asked == ["1", "2"]
    assert found.failures == dict.fromkeys("bc", "the budget is spent")
    assert programs.ran == ["1", "2", "3"]


@pytest.mark.parametrize(
    ("runners", "reason"),
    [
        (Runners(grader=Answers()), "there is no sandbox to run its program in"),
        (Runners(programs=Programs()), "the plan names no grader"),
    ],
)
def test_without_a_runner_there_is_no_score(tmp_path: Path, runners: Runners, reason: str) -> None:
    found = check(tmp_path / "log", done("1", "2", "3"), runners)
    assert found.failures == dict.fromkeys("abc", reason)


def test_what_a_runner_raises_that_is_no_check_error_gets_out(tmp_path: Path) -> None:
    runners = Runners(programs=Programs(), grader=Answers({"1": MemoryError()}))
    with pytest.raises(MemoryError):
        check(tmp_path / "log", done("1", "2", "3"), runners)


def test_a_score_made_without_its_checks_never_counts() -> None:
    scored = score_task(Essays(SPEC), SAMPLES, done("1", "2", "3"), "published")
    assert scored.samples == ()
    assert scored.failures == dict.fromkeys(
        "abc", "a check that its score depends on has no result"
    )
