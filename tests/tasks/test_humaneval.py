from __future__ import annotations

import ast
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptb_core.api import (
    Completion,
    DataDir,
    DataError,
    GraderResult,
    ProgramCheck,
    ProgramResult,
    Sample,
    SampleScore,
    Scoring,
    ToolCall,
)
from ptb_plugins.tasks.humaneval.code_blocks import (
    Problem,
    can_run,
    dies_of,
    fenced_block,
    published_code,
    repaired_code,
)
from ptb_plugins.tasks.humaneval.task import HumanEval
from tests.tasks.conftest import task_spec, write_rows

PROMPT = 'def one():\n    """Return 1."""\n'
TEST = "def check(candidate):\n    assert candidate() == 1\n"
ROW = {
    "task_id": "HumanEval/0",
    "prompt": PROMPT,
    "entry_point": "one",
    "canonical_solution": "    return 1\n",
    "test": TEST,
}
PASSED = ProgramResult(exit_code=0, reason="exit", token_seen=True)
LEFT = ProgramResult(exit_code=0, reason="exit")

COMPLETIONS = st.builds(
    Completion,
    text=st.none()
    | st.text()
    | st.lists(st.sampled_from(["```python\n", "```\n", "```", ":\n    ", "x", "\n"])).map("".join),
    tool_calls=st.just(()) | st.just((ToolCall(name=None, arguments="{"),)),
    finish_reason=st.sampled_from(["stop", "length", "tool_calls", "error"]),
    error=st.none() | st.text(),
    http_status=st.sampled_from([200, 400, 500]),
)
RESULTS = st.builds(
    ProgramResult,
    exit_code=st.none() | st.integers(-64, 255),
    reason=st.sampled_from(["exit", "timeout", "out-of-memory", "killed"]),
    token_seen=st.booleans(),
)


@pytest.fixture
def humaneval() -> HumanEval:
    return HumanEval(task_spec("humaneval", "test"))


@pytest.fixture
def humaneval_data(tmp_path: Path) -> DataDir:
    path = write_rows(tmp_path / "test.jsonl", [ROW])
    return DataDir(files={"test": path}, prompts={"wording": "Complete this.\n\n"})


@pytest.fixture
def sample(humaneval: HumanEval, humaneval_data: DataDir) -> Sample:
    (sample,) = humaneval.samples(humaneval_data)
    return sample


def programs(task: HumanEval, sample: Sample, completion: Completion) -> dict[str, str]:
    checks = task.checks(sample, completion)
    assert all(isinstance(check, ProgramCheck) for check in checks)
    return {check.name: check.program for check in checks if isinstance(check, ProgramCheck)}


def scored(
    task: HumanEval, sample: Sample, text: str, result: ProgramResult, scoring: Scoring
) -> SampleScore:
    """Score an answer all of whose programs ended alike."""
    completion = Completion(text=text)
    results = {check.name: result for check in task.checks(sample, completion)}
    assert results
    return task.score(sample, (replace(completion, checks=results),), scoring)


def test_the_request_is_the_instruction_and_the_beginning_of_the_function(
    humaneval: HumanEval, sample: Sample
) -> None:
    (request,) = humaneval.requests(sample, "published")
    assert request.messages == ({"role": "user", "content": "Complete this.\n\n" + PROMPT},)
    assert (request.tools, request.max_tokens) == ((), None)
    assert sample.id == "HumanEval/0"


def test_the_program_is_prompt_code_tests_and_the_call() -> None:
    problem = Problem(prompt=PROMPT, entry_point="one", test=TEST)
    assert problem.program("    return 1\n") == f"{PROMPT}    return 1\n\n{TEST}\ncheck(one)"


@pytest.mark.parametrize(
    ("text", "block"),
    [
        ("    return 1\n", None),
        ("```python\nx\n```", "x\n"),
        ("```\nx\n```", "x\n"),
        ("```\na\n```\n```python\nx\n```", "x\n"),
        ("```python\nx\n```\n```python\ny\n```", "x\n"),
        ("```python\nx", None),
        ("```py\nx\n```", None),
        ("```py\nx\n```\n", None),
        ("```py\nx\n```\ny\n```", "y\n"),
        ("```python \nx\n```", None),
        ("```Python\nx\n```", None),
        ("```python\r\nx\r\n```", None),
        ("```python\n```python\nx\n```", ""),
        ("~~~python\nx\n~~~", None),
        ("```\n```python\nx", ""),
    ],
)
def test_a_block_is_the_first_one_fenced_as_python_else_the_first_plain_one(
    text: str, block: str | None
) -> None:
    assert fenced_block(text) == block


@pytest.mark.parametrize(
    ("text", "published", "repaired"),
    [
        ("    return 1\n", "    return 1\n", "    return 1\n"),
        (
            "```python\nimport os\ndef one():\n    return 1\n```",
            "    return 1\n",
            "import os\ndef one():\n    return 1\n",
        ),
        ("```python\n    return 1\n```", "   return 1\n", "    return 1\n"),
        ("```python\n    if x:\n        y\n```", "        y\n", "    if x:\n        y\n"),
        ("```python\ndef one():\n  return 1\n```", "ef one():\n  return 1\n", None),
        ("```python\n```", "", ""),
    ],
)
def test_code_is_cut_as_published_and_whole_as_repaired(
    text: str, published: str, repaired: str | None
) -> None:
    assert published_code(text) == published
    assert repaired_code(text) == (text[10:-3] if repaired is None else repaired)


def test_one_program_serves_both_scorings_where_they_read_the_same_code(
    humaneval: HumanEval, sample: Sample
) -> None:
    (check,) = humaneval.checks(sample, Completion(text="    return 1\n"))
    assert check == ProgramCheck(
        name="program",
        program=f"{PROMPT}    return 1\n\n{TEST}\ncheck(one)",
        timeout_s=30.0,
        wants_token=True,
    )


def test_two_programs_are_run_where_the_scorings_read_different_code(
    humaneval: HumanEval, sample: Sample
) -> None:
    found = programs(humaneval, sample, Completion(text="```python\n    return 1\n```"))
    assert found == {
        "published-program": f"{PROMPT}   return 1\n\n{TEST}\ncheck(one)",
        "repaired-program": f"{PROMPT}    return 1\n\n{TEST}\ncheck(one)",
    }


def test_each_scoring_looks_at_its_own_program(humaneval: HumanEval, sample: Sample) -> None:
    completion = Completion(
        text="```python\n    return 1\n```",
        checks={
            "published-program": ProgramResult(exit_code=1, reason="exit"),
            "repaired-program": PASSED,
        },
    )
    published = humaneval.score(sample, (completion,), "published")
    repaired = humaneval.score(sample, (completion,), "repaired")
    assert (published.value, published.answer) == (0.0, "   return 1\n")
    assert (repaired.value, repaired.answer) == (1.0, "    return 1\n")


def test_status_0_passes_as_published_and_only_with_the_token_as_repaired(
    humaneval: HumanEval, sample: Sample
) -> None:
    text = "    raise SystemExit\n"
    for result, published, repaired, marks in (
        (PASSED, 1.0, 1.0, ()),
        (LEFT, 1.0, 0.0, ("left-before-the-tests-ended",)),
    ):
        first = scored(humaneval, sample, text, result, "published")
        second = scored(humaneval, sample, text, result, "repaired")
        assert (first.value, second.value) == (published, repaired)
        assert first.marks == second.marks == marks


@pytest.mark.parametrize(
    ("result", "marks"),
    [
        (ProgramResult(exit_code=1, reason="exit"), ()),
        (ProgramResult(exit_code=1, reason="exit", token_seen=True), ()),
        (ProgramResult(exit_code=-11, reason="exit"), ()),
        (ProgramResult(exit_code=None, reason="killed"), ()),
        (ProgramResult(exit_code=-9, reason="killed"), ()),
        (ProgramResult(exit_code=-9, reason="timeout", token_seen=True), ("program-timed-out",)),
        (ProgramResult(exit_code=0, reason="timeout", token_seen=True), ("program-timed-out",)),
        (ProgramResult(exit_code=-9, reason="out-of-memory"), ("program-out-of-memory",)),
    ],
)
def test_every_other_end_is_wrong_under_both(
    humaneval: HumanEval, sample: Sample, result: ProgramResult, marks: tuple[str, ...]
) -> None:
    for scoring in ("published", "repaired"):
        score = scored(humaneval, sample, "    return 1\n", result, scoring)
        assert (score.value, score.marks) == (0.0, marks)


@pytest.mark.parametrize("checks", [{}, {"program": GraderResult(text="yes")}, {"other": PASSED}])
def test_without_the_programs_result_a_score_does_not_count(
    humaneval: HumanEval, sample: Sample, checks: dict[str, ProgramResult | GraderResult]
) -> None:
    completion = Completion(text="    return 1\n", checks=checks)
    for scoring in ("published", "repaired"):
        score = humaneval.score(sample, (completion,), scoring)
        assert (score.value, score.marks) == (0.0, ("unchecked",))


def test_a_think_block_is_removed_before_the_code_is_read(
    humaneval: HumanEval, sample: Sample
) -> None:
    text = "<think>\n```python\nno\n```</think>```python\n    return 1\n```"
    found = programs(humaneval, sample, Completion(text=text))
    assert found["repaired-program"].startswith(f"{PROMPT}    return 1\n")


def test_a_servers_refusal_is_a_program_only_when_published(
    humaneval: HumanEval, sample: Sample
) -> None:
    refused = Completion(text=None, error="too long", http_status=400, finish_reason="error")
    found = programs(humaneval, sample, refused)
    assert found == {"published-program": f"{PROMPT}too long\n{TEST}\ncheck(one)"}
    checked = replace(refused, checks={"published-program": PASSED})
    published = humaneval.score(sample, (checked,), "published")
    repaired = humaneval.score(sample, (checked,), "repaired")
    assert (published.value, published.marks) == (1.0, ("prompt-too-long",))
    assert (repaired.value, repaired.marks, repaired.answer) == (0.0, ("prompt-too-long",), None)


def test_a_failed_request_has_no_program(humaneval: HumanEval, sample: Sample) -> None:
    failed = Completion(text=None, error="broken", http_status=500, finish_reason="error")
    assert humaneval.checks(sample, failed) == ()
    score = humaneval.score(sample, (failed,), "published")
    assert (score.value, score.marks) == (0.0, ("no-answer",))


def test_no_text_is_an_empty_program_body(humaneval: HumanEval, sample: Sample) -> None:
    found = programs(humaneval, sample, Completion(text=None))
    assert found == {"program": f"{PROMPT}\n{TEST}\ncheck(one)"}


@pytest.mark.parametrize(
    ("program", "dies", "runs"),
    [
        ("x", False, True),
        ("x\0", True, False),
        ("'\ud800'", True, False),
        ("'\udc80'", False, False),
        ("x" * 131_071, False, True),
        ("x" * 131_072, True, True),
        ("ü" * 65_536, True, True),
        ("ü" * 65_535, False, True),
    ],
)
def test_what_no_argument_can_hold_kills_the_published_code(
    program: str, dies: bool, runs: bool
) -> None:
    assert (dies_of(program), can_run(program)) == (dies, runs)


def test_a_program_that_kills_the_published_code_is_marked_and_wrong(
    humaneval: HumanEval, sample: Sample
) -> None:
    for text in ("    x = 1\0\n", "    x = '\ud800'\n"):
        completion = Completion(text=text)
        assert humaneval.checks(sample, completion) == ()
        published = humaneval.score(sample, (completion,), "published")
        repaired = humaneval.score(sample, (completion,), "repaired")
        assert (published.value, published.answer) == (0.0, None)
        assert published.marks == ("published-code-raises",)
        assert (repaired.value, repaired.marks) == (0.0, ())


def test_a_program_too_long_to_be_an_argument_runs_when_repaired(
    humaneval: HumanEval, sample: Sample
) -> None:
    text = "    return 1\n    #" + "x" * 131_072
    (check,) = humaneval.checks(sample, Completion(text=text))
    published = scored(humaneval, sample, text, PASSED, "published")
    repaired = scored(humaneval, sample, text, PASSED, "repaired")
    assert check.name == "program"
    assert (published.value, published.marks) == (0.0, ("published-code-raises",))
    assert (repaired.value, repaired.marks) == (1.0, ())


def test_a_program_that_publication_could_not_start_is_not_run_for_it(
    humaneval: HumanEval, sample: Sample
) -> None:
    block = "    return 1\n    #" + "x" * 131_072
    found = programs(humaneval, sample, Completion(text=f"```python\n{block}\n```"))
    assert list(found) == ["repaired-program"]


def test_a_byte_that_is_no_utf8_is_wrong_without_a_program(
    humaneval: HumanEval, sample: Sample
) -> None:
    completion = Completion(text="    x = '\udc80'\n")
    assert humaneval.checks(sample, completion) == ()
    for scoring in ("published", "repaired"):
        score = humaneval.score(sample, (completion,), scoring)
        assert (score.value, score.marks) == (0.0, ())


def test_marks_are_counted_with_pass_at_1(humaneval: HumanEval, sample: Sample) -> None:
    scores = [
        scored(humaneval, sample, "    return 1\n", result, "published")
        for result in (PASSED, LEFT, ProgramResult(exit_code=-9, reason="timeout"), PASSED)
    ]
    total = humaneval.aggregate(scores, "published")
    assert (total.value, total.n) == (0.75, 4)
    assert total.stderr == pytest.approx((0.75 * 0.25 / 3) ** 0.5)
    assert total.marks == {"left-before-the-tests-ended": 1, "program-timed-out": 1}


def test_problems_and_long_solutions_are_searched_for_and_nothing_is_allowed(
    humaneval: HumanEval, humaneval_data: DataDir, tmp_path: Path
) -> None:
    short = "    return " + " + ".join(["1"] * 12) + "\n"
    rows = [
        {**ROW, "canonical_solution": short},
        {**ROW, "task_id": "HumanEval/1", "canonical_solution": f"    x\n{short}"},
    ]
    path = write_rows(tmp_path / "two.jsonl", rows)
    items = list(humaneval.contamination_items(replace(humaneval_data, files={"test": path})))
    assert [(item.id, item.text) for item in items] == [
        ("HumanEval/0", PROMPT),
        ("HumanEval/1", PROMPT),
        ("HumanEval/1", f"    x\n{short}"),
    ]
    assert (len(short.split()), len(f"    x\n{short}".split())) == (24, 25)
    assert not any(item.allowed for item in items)


@pytest.mark.parametrize("column", ["task_id", "prompt", "entry_point", "test"])
def test_a_missing_column_is_named_with_what_is_there(
    humaneval: HumanEval, humaneval_data: DataDir, tmp_path: Path, column: str
) -> None:
    row = {name: value for name, value in ROW.items() if name != column}
    path = write_rows(tmp_path / "renamed.jsonl", [row])
    with pytest.raises(DataError) as caught:
        humaneval.samples(replace(humaneval_data, files={"test": path}))
    assert str(caught.value) == (
        f"humaneval: row 0 has no text {column!r}; its columns are {', '.join(row)}"
    )


@given(COMPLETIONS, RESULTS)
def test_no_completion_and_no_result_makes_scoring_raise(
    completion: Completion, result: ProgramResult
) -> None:
    task = HumanEval(task_spec("humaneval"))
    target = {"entry_point": "one", "test": TEST}
    sample = Sample(id="a", input={"prompt": PROMPT, "instruction": ""}, target=target)
    results = {check.name: result for check in task.checks(sample, completion)}
    for checks in ({}, results):
        for scoring in ("published", "repaired"):
            answer = replace(completion, checks=checks)
            assert task.score(sample, (answer,), scoring).value in (0.0, 1.0)


def test_the_prompt_alone_is_a_whole_function() -> None:
    ast.parse(PROMPT)  # what lets a block that defines the function follow it
