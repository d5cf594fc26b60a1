"""The task ``humaneval``: functions are written from their docstrings and tested by running.

Source: docs/protocol.md, "humaneval"; compared row by row with what the published code made of
recorded completions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ptb_core.api import (
    SCORINGS,
    UNCHECKED,
    ChatRequest,
    Check,
    Completion,
    DataDir,
    JsonValue,
    ProgramCheck,
    ProgramResult,
    RequestKind,
    Sample,
    SampleScore,
    Scoring,
    Task,
    TaskScore,
    TestItem,
    mean_and_stderr,
    read_rows,
)
from ptb_plugins.tasks.exact_tasks import RAISES_MARK, completion_marks, scored_text
from ptb_plugins.tasks.humaneval.code_blocks import (
    Problem,
    can_run,
    dies_of,
    published_code,
    repaired_code,
)
from ptb_plugins.tasks.task_data import KNOWN_BY_WORDS, text_column

TIMEOUT_S = 30.0
"""Seconds that a program may take. Source: docs/protocol.md, "humaneval"."""

TIMED_OUT_MARK = "program-timed-out"
OUT_OF_MEMORY_MARK = "program-out-of-memory"
LEFT_EARLY_MARK = "left-before-the-tests-ended"
"""Mark of a program with exit status 0 that gave no sign of having come to its end."""


class HumanEval(Task):
    """Python functions from signature and docstring, one try each."""

    def samples(self, data: DataDir) -> Sequence[Sample]:
        """Return the problems in file order, by their ``task_id``.

        Raises:
            DataError: If a row lacks a part of its program.
        """
        instruction = data.prompt(self.spec.prompts[0].name)
        return [
            Sample(
                id=_text(row, "task_id", number),
                input={
                    "instruction": instruction,
                    "prompt": _text(row, "prompt", number),
                },
                target={
                    "entry_point": _text(row, "entry_point", number),
                    "test": _text(row, "test", number),
                },
            )
            for number, row in enumerate(_rows(data))
        ]

    def requests(self, sample: Sample, requests: RequestKind) -> tuple[ChatRequest, ...]:
        """Return one request: the instruction and the beginning of the function."""
        content = sample.input["instruction"] + sample.input["prompt"]
        return (ChatRequest(messages=({"role": "user", "content": content},)),)

    def checks(self, sample: Sample, completion: Completion) -> tuple[Check, ...]:
        """Return the programs to run: one where both scorings read the same code, else two."""
        programs: dict[str, ProgramCheck] = {}
        for scoring in SCORINGS:
            check = _check(sample, completion, scoring)
            if check is not None:
                programs[check.name] = check
        return tuple(programs.values())

    def score(
        self, sample: Sample, completions: Sequence[Completion], scoring: Scoring
    ) -> SampleScore:
        """Score 1 if the program passes its tests, else 0.

        Published scoring asks for exit status 0. Repaired scoring also asks for the token that
        tells a program that ran to its end from one that left before.
        """
        (completion,) = completions
        marks = completion_marks(completion)
        code = _code(completion, scoring)
        if code is None:
            return SampleScore(id=sample.id, value=0.0, marks=marks)
        program = _problem(sample).program(code)
        if scoring == "published" and dies_of(program):
            return SampleScore(id=sample.id, value=0.0, marks=(*marks, RAISES_MARK))
        check = _check(sample, completion, scoring)
        if check is None:
            return SampleScore(id=sample.id, value=0.0, answer=code, marks=marks)
        result = completion.checks.get(check.name)
        if not isinstance(result, ProgramResult):
            return SampleScore(id=sample.id, value=0.0, answer=code, marks=(*marks, UNCHECKED))
        passed = result.exit_code == 0 and result.reason == "exit"
        if scoring == "repaired":
            passed = passed and result.token_seen
        return SampleScore(
            id=sample.id,
            value=float(passed),
            answer=code,
            marks=(*marks, *_program_marks(result)),
        )

    def aggregate(self, scores: Sequence[SampleScore], scoring: Scoring) -> TaskScore:
        """Return pass@1 and its standard error."""
        return mean_and_stderr(scores)

    def contamination_items(self, data: DataDir) -> Iterable[TestItem]:
        """Return problems, and solutions long enough to be known by; there is no train split.

        They are apart, so that a solution under a renamed function is found.
        """
        for number, row in enumerate(_rows(data)):
            name = _text(row, "task_id", number)
            solution = _text(row, "canonical_solution", number)
            yield TestItem(id=name, text=_text(row, "prompt", number))
            if len(solution.split()) >= KNOWN_BY_WORDS:
                yield TestItem(id=name, text=solution)


def _rows(data: DataDir) -> list[Mapping[str, JsonValue]]:
    """Return the rows, their file closed whatever becomes of them."""
    return list(read_rows(data.file("test")))


def _code(completion: Completion, scoring: Scoring) -> str | None:
    text = scored_text(completion, scoring)
    if text is None:
        return None
    return published_code(text) if scoring == "published" else repaired_code(text)


def _check(sample: Sample, completion: Completion, scoring: Scoring) -> ProgramCheck | None:
    """Return the program of one scoring, or None when that has none that can run.

    Both scorings give it one name when it is the same program. Published scoring has no use for
    the token but to count who left early; it is asked for after the end and changes no status.
    """
    codes: dict[Scoring, str | None] = {one: _code(completion, one) for one in SCORINGS}
    code = codes[scoring]
    program = None if code is None else _problem(sample).program(code)
    if program is None or not can_run(program) or (scoring == "published" and dies_of(program)):
        return None
    is_shared = codes["published"] == codes["repaired"]
    name = "program" if is_shared else f"{scoring}-program"
    return ProgramCheck(name=name, program=program, timeout_s=TIMEOUT_S, wants_token=True)


def _problem(sample: Sample) -> Problem:
    return Problem(prompt=sample.input["prompt"], **sample.target)


def _program_marks(result: ProgramResult) -> tuple[str, ...]:
    if result.reason == "timeout":
        return (TIMED_OUT_MARK,)
    if result.reason == "out-of-memory":
        return (OUT_OF_MEMORY_MARK,)
    left_early = result.exit_code == 0 and not result.token_seen
    return (LEFT_EARLY_MARK,) if left_early else ()


def _text(row: Mapping[str, JsonValue], column: str, number: int) -> str:
    return text_column("humaneval", row, column, number)
