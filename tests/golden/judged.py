"""Golden rows of the judged tasks: what is compared, and how."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ptb_core.api import (
    ChatRequest,
    Completion,
    DataDir,
    GraderCheck,
    GraderResult,
    Sample,
    SampleScore,
    Scoring,
    Task,
    data_dir,
)
from ptb_plugins.tasks.arenahardwriting.task import GAMES, ArenaHardWriting
from ptb_plugins.tasks.arenahardwriting.verdicts import candidate_points, find_label
from ptb_plugins.tasks.healthbench.grading import read_verdict
from ptb_plugins.tasks.healthbench.task import TRIES, HealthBench
from ptb_plugins.tasks.judged_tasks import judged_text, missing_text_marks
from ptb_plugins.tasks.repetitions import limit_repetitions
from tests.golden.material import (
    NO_WORDING,
    Golden,
    Parity,
    Row,
    digest,
    parity,
    task_facts,
    wording,
)

RAISES = "published-code-raises"
UNCHECKED = "unchecked"
STAND_IN = "<<conversation>> <<rubric_item>>"
"""Stands for the grader's wording where it is not on this machine: enough to score, not to ask."""

PATTERN = {"1": '{"criteria_met": true}', "0": '{"criteria_met": false}', "x": None}
"""Grader's reply by the character of a golden pattern; None where it never gave a usable one."""

CLOSE = 1e-12


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedTask:
    """A task with its samples by id, in file order."""

    task: Task
    samples: Mapping[str, Sample]


def arena(golden: Golden) -> JudgedTask:
    """Return arenahardwriting with its real rows and the shipped judge prompt."""
    task = ArenaHardWriting(task_facts("arenahardwriting"))
    files = {
        "test": golden.data("arena-hard-writing-question"),
        "baseline": golden.data("arena-hard-writing-baseline-qwen3-1.7b"),
        "judge-prompt": data_dir() / "registry" / "prompts" / "arenahardwriting-judge.txt",
    }
    return _with_samples(task, DataDir(files=files))


def healthbench(golden: Golden) -> JudgedTask:
    """Return healthbench with its real rows, and the grader's wording or what stands for it."""
    task = HealthBench(task_facts("healthbench"))
    text = wording(task.spec.prompts[0]) or STAND_IN
    files = {"test": golden.data("healthbench-easy")}
    return _with_samples(task, DataDir(files=files, prompts={"grader": text}))


def _with_samples(task: Task, data: DataDir) -> JudgedTask:
    return JudgedTask(task=task, samples={sample.id: sample for sample in task.samples(data)})


def graded(replies: Mapping[str, str | None]) -> Completion:
    """Return a completion with what graders replied, by check; None for no usable reply."""
    checks = {name: GraderResult(text=text) for name, text in replies.items() if text is not None}
    return Completion(text="An answer.", checks=checks)


# What is judged --------------------------------------------------------------------------------


def judged_answer_parity(golden: Golden) -> Parity:
    """Compare the text that is judged."""
    return parity((row["id"], _keeps(row)) for row in golden.rows("judged-answer"))


def _keeps(row: Row) -> bool:
    completion = Completion(text=row["completion"])
    dies = judged_text(completion) is None and RAISES in missing_text_marks(completion, "published")
    return judged_text(completion) == row["kept"] and dies == ("raises" in row)


def repetition_parity(golden: Golden) -> Parity:
    """Compare texts with their repetitions limited."""
    rows = golden.rows("limit-repetitions")
    return parity((row["id"], limit_repetitions(row["input"]) == row["output"]) for row in rows)


def request_parity(name: str, golden: Golden) -> Parity:
    """Compare what the model is asked."""
    of = arena(golden) if name == "arenahardwriting" else healthbench(golden)
    rows = golden.requests(name, "request-judged")
    return parity((row["id"], _asks(of, row)) for row in rows)


def _asks(of: JudgedTask, row: Row) -> bool:
    (request,) = of.task.requests(of.samples[row["sample"]], "published")
    assert isinstance(request, ChatRequest)
    return (
        digest(request) == row["sha256"]
        and request.max_tokens is None
        and row["other_fields"] == {"max_tokens": of.task.spec.max_tokens}
    )


def order_parity(name: str, golden: Golden) -> Parity:
    """Compare the order of samples under limits; -1 and none take all."""
    of = arena(golden) if name == "arenahardwriting" else healthbench(golden)
    key = "uids" if name == "arenahardwriting" else "prompt_ids"
    rows = golden.rows(f"{name}-order")
    return parity((row["id"], _ordered(of, row["limit"]) == row[key]) for row in rows)


def _ordered(of: JudgedTask, limit: int | None) -> list[str]:
    samples = tuple(of.samples.values())
    return [sample.id for sample in of.task.order(samples, None if limit == -1 else limit)]


# arenahardwriting ------------------------------------------------------------------------------


def verdict_parity(golden: Golden) -> Parity:
    """Compare labels and points; a label that the published code dies of gives none here."""
    rows = golden.rows("arenahardwriting-verdict")
    return parity(((row["id"], _reads(row)) for row in rows), len(outside_table(rows)))


def outside_table(rows: Sequence[Row]) -> list[str]:
    """Return the rows of verdicts that the published code dies of."""
    return [row["id"] for row in rows if row.get("points_game1") == "raises KeyError"]


def _reads(row: Row) -> bool:
    label = find_label(row["judge_text"])
    if label != row["label"]:
        return False
    if label is None:
        return "points_game1" not in row
    points = [_listed(candidate_points(label, is_a)) for is_a in GAMES.values()]
    return points == [row["points_game1"], row["points_game2"]]


def _listed(points: Sequence[float] | None) -> list[float] | str:
    return "raises KeyError" if points is None else list(points)


def arena_score_parity(golden: Golden) -> Parity:
    """Compare accuracy and standard error.

    The published code drops questions without both verdicts, so they have the mark ``unchecked``
    here and no points; it dies where no question is left, or of an unknown label.
    """
    of = arena(golden)
    samples = tuple(of.samples.values())
    rows = golden.rows("arenahardwriting-score")
    compared = ((row["id"], _arena_agrees(of.task, samples, row)) for row in rows)
    return parity(compared, len(without_verdicts(rows)))


def without_verdicts(rows: Sequence[Row]) -> list[str]:
    """Return the rows whose result is incomplete here: a question has no verdict."""
    return [
        row["id"]
        for row in rows
        if any(pair is None or len(pair) < len(GAMES) or None in pair for pair in row["games"])
    ]


def _arena_agrees(task: Task, samples: Sequence[Sample], row: Row) -> bool:
    scores = [
        task.score(sample, (played(pair),), "published")
        for sample, pair in zip(samples, row["games"], strict=False)
    ]
    used = [score for score in scores if UNCHECKED not in score.marks]
    if "raises" in row:
        return not used
    result = task.aggregate(scores, "published")
    return (
        _close(result.value, row["accuracy"])
        and _close(result.stderr, row["stderr"])
        and len(used) == row["n_questions_used"]
        and sum(len(game) for score in used for game in _games(score)) == row["n_points"]
    )


def played(pair: Sequence[str | None] | None) -> Completion:
    """Return a completion whose games ended with these labels, as a judge writes them."""
    labels = dict(zip(GAMES, pair or (), strict=False))
    return graded(
        {name: None if label is None else f"Verdict: [[{label}]]" for name, label in labels.items()}
    )


def _games(score: SampleScore) -> list[list[float]]:
    games = score.metrics["points"]
    assert isinstance(games, list)
    return games


# healthbench -----------------------------------------------------------------------------------


def grader_parity(golden: Golden) -> Parity:
    """Compare what counts as the grader's verdict, and how often it is asked for."""
    return parity((row["id"], _verdict_agrees(row)) for row in golden.rows("healthbench-grader"))


def _verdict_agrees(row: Row) -> bool:
    verdict = read_verdict(row["grader_text"])
    tries = TRIES if verdict is None else 1
    return ("failed" if verdict is None else verdict, tries) == (row["verdict"], row["calls"])


def healthbench_score_parity(golden: Golden) -> Parity:
    """Compare accuracy, standard error, and scores by example, theme and axis.

    Where the grader failed the published code counts "not met"; here such an example has that
    value too, but with the mark ``unchecked`` it is no score.
    """
    of = healthbench(golden)
    rows = golden.rows("healthbench-score")
    compared = ((row["id"], _healthbench_agrees(of, row)) for row in rows)
    return parity(compared, len(with_failed_gradings(rows)))


def with_failed_gradings(rows: Sequence[Row]) -> list[str]:
    """Return the rows whose result is incomplete here: a criterion has no verdict."""
    return [row["id"] for row in rows if any("x" in pattern for _, pattern in row["examples"])]


def _healthbench_agrees(of: JudgedTask, row: Row) -> bool:
    scores = score_examples(of, row, "published")
    if not scores:
        return bool(row["accuracy"] == 0.0)
    result = of.task.aggregate(scores, "published")
    parts = {f"theme:{name}": value for name, value in row["by_theme"].items()}
    parts |= {f"axis:{name}": value for name, value in row["by_axis"].items()}
    values = row.get("example_scores", [score.value for score in scores])
    failed = [("x" in pattern) for _, pattern in row["examples"]]
    return (
        _close(result.value, row["accuracy"])
        and _close(result.stderr, row["stderr"])
        and result.n == row["n_examples"]
        and result.breakdowns.keys() == parts.keys()
        and all(_close(value, parts[name]) for name, value in result.breakdowns.items())
        and all(_close(score.value, value) for score, value in zip(scores, values, strict=True))
        and [UNCHECKED in score.marks for score in scores] == failed
    )


def score_examples(of: JudgedTask, row: Row, scoring: Scoring) -> list[SampleScore]:
    """Score the examples of a row by their patterns."""
    return [
        of.task.score(of.samples[prompt_id], (graded(dict(_replies(pattern))),), scoring)
        for prompt_id, pattern in row["examples"]
    ]


def _replies(pattern: str) -> Iterator[tuple[str, str | None]]:
    for number, sign in enumerate(pattern):
        yield f"criterion-{number}", PATTERN[sign]


def grader_request_parity(golden: Golden) -> Parity:
    """Compare what the grader is asked under published scoring."""
    of = healthbench(golden)
    if wording(of.task.spec.prompts[0]) is None:
        return parity([], skipped=NO_WORDING)
    rows = golden.rows("request-healthbench-grader")
    return parity(
        ((row["id"], _asks_grader(of, row)) for row in rows),
        len(asked_twice(of, rows)),
    )


def grader_questions(of: JudgedTask, row: Row) -> dict[str, GraderCheck]:
    """Return the questions about the criterion of a row, by their names."""
    checks = of.task.checks(of.samples[row["sample"]], Completion(text=row["answer"]))
    number = row["criterion"]
    names = (f"criterion-{number}", f"criterion-{number}-as-written")
    return {
        check.name: check
        for check in checks
        if isinstance(check, GraderCheck) and check.name in names
    }


def _asks_grader(of: JudgedTask, row: Row) -> bool:
    check = grader_questions(of, row)[f"criterion-{row['criterion']}"]
    others = {"model": "gpt-5-mini", "max_completion_tokens": check.max_completion_tokens}
    return (
        digest(ChatRequest(messages=check.messages)) == row["sha256"]
        and check.reasoning_effort is None
        and row["other_fields"] == others
    )


def asked_twice(of: JudgedTask, rows: Sequence[Row]) -> list[str]:
    """Return the rows whose question repaired scoring puts in other words."""
    return [row["id"] for row in rows if len(grader_questions(of, row)) > 1]


def _close(found: float | None, expected: float) -> bool:
    return found is not None and abs(found - expected) <= CLOSE
