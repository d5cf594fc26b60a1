"""What became of each sample, one JSON line each: asked, answered, found out, scored both ways."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from ptb_core.atomic import write_bytes
from ptb_core.errors import RecordError
from ptb_core.evaluation.checking import CheckEntry, check_digest
from ptb_core.evaluation.checks import CheckResult
from ptb_core.evaluation.completion_log import read_completions
from ptb_core.evaluation.exchange import Completion, Sample, SampleScore
from ptb_core.evaluation.json_log import read_log
from ptb_core.interfaces import Task
from ptb_core.json_codec import encodable
from ptb_core.specs import JsonValue, ProtocolSpec, Scoring

if TYPE_CHECKING:
    from ptb_core.evaluation.scoring import ScoredRound


class SampleLine(msgspec.Struct, frozen=True, kw_only=True):
    """One sample of one evaluation.

    Attributes:
        id: The sample's id.
        counted: Which scoring counts under the protocol.
        requests: What was asked, in order: messages and tools, or a prompt. Empty where the
            task's data is not at hand any more.
        target: The right answer, as the task's data has it.
        completions: What came back, in the order of the requests, with tokens, the reason why
            each ended, and the results of its checks.
        scores: Value, answer, marks and further metrics under each scoring.
        failures: Why there is no score, by scoring.
        seed: Seed of the round; None when there is only one.
    """

    id: str
    counted: Scoring
    requests: tuple[Mapping[str, JsonValue], ...] = ()
    target: JsonValue = None
    completions: tuple[Completion, ...] = ()
    scores: Mapping[Scoring, SampleScore] = {}
    failures: Mapping[Scoring, str] = {}
    seed: int | None = None


def lines_of_rounds(
    task: Task,
    samples: Sequence[Sample],
    protocol: ProtocolSpec,
    completions: Path,
    checks: Path,
    rounds: Sequence[ScoredRound],
) -> Iterator[SampleLine]:
    """Yield one line per round and sample, in order.

    Args:
        task: The task.
        samples: The samples that had to be scored.
        protocol: How they were asked, and which scoring counts.
        completions: The log of completions.
        checks: The log of checks; may be absent.
        rounds: Scores of each round.

    Raises:
        RecordError: If a log is damaged.
    """
    for one in rounds:
        answers = read_completions(completions, one.round.number)
        checked = with_logged_checks(task, samples, answers, (checks,), one.round.number)
        results = {
            scoring: {score.id: score for score in found.samples}
            for scoring, found in one.scored.items()
        }
        for sample in samples:
            yield SampleLine(
                id=sample.id,
                counted=protocol.scoring,
                requests=asked(task, sample, protocol),
                target=msgspec.to_builtins(sample.target),
                completions=checked.get(sample.id, ()),
                scores={s: by_id[sample.id] for s, by_id in results.items() if sample.id in by_id},
                failures={
                    scoring: found.failures[sample.id]
                    for scoring, found in one.scored.items()
                    if sample.id in found.failures
                },
                seed=one.round.seed if len(rounds) > 1 else None,
            )


def asked(
    task: Task, sample: Sample, protocol: ProtocolSpec
) -> tuple[Mapping[str, JsonValue], ...]:
    """Return what is asked for a sample, as JSON."""
    requests = task.requests(sample, protocol.requests)
    return tuple(msgspec.to_builtins(request) for request in requests)


def with_logged_checks(
    task: Task,
    samples: Sequence[Sample],
    completions: Mapping[str, Sequence[Completion]],
    logs: Sequence[Path],
    number: int,
) -> Mapping[str, tuple[Completion, ...]]:
    """Return completions with those results of their checks that logs hold; performs none.

    Args:
        task: The task, which says what had to be found out.
        samples: The samples.
        completions: By sample id, as the checkpoint gave them.
        logs: Logs of checks, later ones over earlier ones; may be absent.
        number: The round.

    Raises:
        RecordError: If a log is damaged.
    """
    known: dict[tuple[str, int, str], CheckResult] = {
        (entry.sample, entry.call, entry.check): entry.result
        for log in logs
        for entry in read_log(log, CheckEntry, "check")[0]
        if entry.epoch == number
    }
    if not known:
        return {sample: tuple(answers) for sample, answers in completions.items()}
    by_id = {sample.id: sample for sample in samples}
    found: dict[str, tuple[Completion, ...]] = {}
    for sample_id, answers in completions.items():
        sample = by_id.get(sample_id)
        found[sample_id] = tuple(
            answer if sample is None else _with_checks(task, sample, call, answer, known)
            for call, answer in enumerate(answers)
        )
    return found


def _with_checks(
    task: Task,
    sample: Sample,
    call: int,
    answer: Completion,
    known: Mapping[tuple[str, int, str], CheckResult],
) -> Completion:
    try:
        checks = task.checks(sample, answer)
    except Exception:  # the sample's failure says so already
        return answer
    keys = {check.name: (sample.id, call, check_digest(check)) for check in checks}
    return replace(answer, checks={name: known[key] for name, key in keys.items() if key in known})


def write_sample_lines(path: Path, lines: Iterator[SampleLine]) -> None:
    """Write a samples file, atomically."""
    encode = msgspec.json.encode
    write_bytes(path, b"".join(encode(encodable(msgspec.to_builtins(ln))) + b"\n" for ln in lines))


def read_sample_lines(path: Path) -> Iterator[SampleLine]:
    """Yield the lines of a samples file one after the other.

    Raises:
        RecordError: If the file cannot be read, or a line is no sample.
    """
    try:
        with path.open("rb") as stream:
            for number, line in enumerate(stream, start=1):
                yield _line(path, number, line)
    except OSError as error:
        raise RecordError(f"{path} cannot be read ({error.strerror})") from error


def _line(path: Path, number: int, line: bytes) -> SampleLine:
    try:
        return msgspec.json.decode(line, type=SampleLine)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RecordError(
            f"{path}, line {number}: found {error}, expected one sample as `ptb evaluate` writes "
            "it; give its samples.jsonl, its folder, or a cell's folder"
        ) from error
