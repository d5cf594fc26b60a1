"""Serving a checkpoint to be evaluated: what its session sees and what the engine is told.

The same for the final evaluation of a cell and for an evaluation that stands alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from ptb_core.atomic import write_json
from ptb_core.canonical import file_sha256
from ptb_core.errors import EngineError
from ptb_core.evaluation.exchange import DataDir, Sample
from ptb_core.evaluation.protocol import (
    generate_options,
    longest_answer_tokens,
    seeded_generation_config,
    template_date,
    tokenizer_source,
)
from ptb_core.evaluation.rounds import rounds_of
from ptb_core.evaluation.samples import samples_after
from ptb_core.interfaces import Endpoint, Engine, ServeRequest, Session, Task
from ptb_core.sandboxing import Mount, SessionHandle
from ptb_core.specs import ComponentChoice, JsonValue, ModelSpec, ProtocolSpec, TaskSpec

if TYPE_CHECKING:
    from ptb_core.evaluation.generate import GenerateResult
    from ptb_core.evaluation.questions import SampleRequests

LIMIT_HOURS = 8.0
"""Longest generation of one round. Source: the published evaluation allows 8 hours per try."""

END_SEEN_S = 1.0
"""Longest time until the end of a server whose connection broke is seen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What is evaluated.

    Attributes:
        checkpoint: Folder of the checkpoint.
        base_model: Folder of the base model, which gives the tokenizer where the protocol or the
            checkpoint asks for that.
        model: The base model's spec; gives family, template and context.
    """

    checkpoint: Path
    base_model: Path
    model: ModelSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveServer:
    """What is needed to end the server that a dead process left behind."""

    session: SessionHandle
    folder: str


def deadline_unix_s(protocol: ProtocolSpec) -> float:
    """Return when a serving session that is opened now must end, whose rounds follow each other.

    Args:
        protocol: In how many rounds everything is asked.
    """
    return time.time() + LIMIT_HOURS * 3600 * len(rounds_of(protocol))


def lay_engine_files(folder: Path, subject: Subject) -> None:
    """Make the folder that :func:`serve_mounts` shows as ``engine_files``."""
    folder.mkdir(exist_ok=True)
    config = seeded_generation_config(subject.checkpoint, subject.base_model)
    write_json(folder / "generation_config.json", config)


def serve_mounts(
    subject: Subject, engine_files: Path, engine_folders: tuple[Mount, ...] = ()
) -> tuple[Mount, ...]:
    """Return what a serving session sees of the host.

    Args:
        subject: What is evaluated.
        engine_files: Folder of :func:`lay_engine_files`; seeded requests are served with it.
        engine_folders: What the engine itself needs, as
            :func:`~ptb_core.evaluation.engine_mounts.engine_mounts` says.
    """
    return (
        Mount(name="checkpoint", source=subject.checkpoint),
        Mount(name="base_model", source=subject.base_model),
        Mount(name="chat_template", source=Path(subject.model.chat_template)),
        Mount(name="engine_files", source=engine_files),
        *engine_folders,
    )


def serve_request(
    subject: Subject, protocol: ProtocolSpec, settings: Mapping[str, JsonValue], session: Session
) -> ServeRequest:
    """Return what the engine is told.

    Args:
        subject: What is evaluated.
        protocol: Whose tokenizer, which sampling, which date.
        settings: The engine's.
        session: Gives the inside paths of :func:`serve_mounts`.
    """
    own = tokenizer_source(subject.checkpoint, protocol) == "checkpoint"
    published = protocol.requests == "published"
    return ServeRequest(
        checkpoint=session.inside("checkpoint"),
        tokenizer=session.inside("checkpoint" if own else "base_model"),
        generation_config=session.inside("checkpoint" if published else "engine_files"),
        chat_template=session.inside("chat_template"),
        model=subject.model,
        max_context_tokens=subject.model.context_tokens,
        template_date=template_date(protocol),
        settings=settings,
    )


def ask_everything(
    task: Task,
    data: DataDir,
    samples: Sequence[Sample],
    subject: Subject,
    protocol: ProtocolSpec,
    endpoint: Endpoint,
    log: Path,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[GenerateResult, ...]:
    """Ask a served checkpoint what the log does not hold yet; one result per round.

    Args:
        task: The task.
        data: Its data, which hold the samples that complete the last fixed batch.
        samples: The samples to ask, in order.
        subject: What is evaluated.
        protocol: How it is asked, and in how many rounds.
        endpoint: The ready server.
        log: The log of completions.
        progress: As for :func:`ptb_core.evaluation.generate.generate`.

    Raises:
        DataError: If the data lack what the task needs.
        RecordError: If the log is damaged or belongs to other requests.
    """
    following = samples_after(task, data, samples) if endpoint.batch_size else ()
    return ask_requests(
        task.spec,
        requests_of(task, protocol, samples),
        requests_of(task, protocol, following),
        subject,
        protocol,
        endpoint,
        log,
        progress,
    )


def ask_requests(
    task: TaskSpec,
    asked: Sequence[SampleRequests],
    following: Sequence[SampleRequests],
    subject: Subject,
    protocol: ProtocolSpec,
    endpoint: Endpoint,
    log: Path,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[GenerateResult, ...]:
    """Do what :func:`ask_everything` does with requests that are there already.

    Args:
        task: The task; its limit of an answer holds unless the protocol has another.
        asked: What is asked for the samples, in order.
        following: What completes the last fixed batch.
        subject: As for :func:`ask_everything`, like all below.
        protocol: See there.
        endpoint: See there.
        log: See there.
        progress: See there.

    Raises:
        RecordError: If the log is damaged or belongs to other requests.
    """
    from ptb_core.evaluation.generate import generate_rounds

    return generate_rounds(
        rounds_of(protocol),
        asked,
        endpoint,
        generate_options(
            protocol,
            task.max_tokens,
            subject.model,
            checkpoint=subject.checkpoint,
            base_model=subject.base_model,
        ),
        log,
        progress,
        following,
    )


def requests_of(
    task: Task, protocol: ProtocolSpec, samples: Sequence[Sample]
) -> list[SampleRequests]:
    """Return what a protocol asks for samples."""
    from ptb_core.evaluation.questions import SampleRequests

    return [
        SampleRequests(id=sample.id, requests=task.requests(sample, protocol.requests))
        for sample in samples
    ]


def answer_details(
    task: TaskSpec,
    model: ModelSpec,
    protocol: ProtocolSpec,
    engine: ComponentChoice,
    results: Sequence[GenerateResult],
    server: Mapping[str, JsonValue] | None = None,
) -> dict[str, JsonValue]:
    """Return what a record says about how answers came about.

    Args:
        task: The task.
        model: The base model's spec.
        protocol: The protocol.
        engine: The engine with its settings.
        results: Of the rounds.
        server: What the endpoint says of its server.
    """
    from ptb_core.evaluation.generate import sum_up

    template = Path(model.chat_template)
    return {
        "protocol": msgspec.to_builtins(protocol),
        "engine": msgspec.to_builtins(engine),
        "server": dict(server or {}),
        "chat_template_sha256": file_sha256(template) if template.is_file() else None,
        "template_date": template_date(protocol) or time.strftime("%Y-%m-%d"),
        "max_tokens": longest_answer_tokens(protocol, task.max_tokens, model),
        "generation": msgspec.to_builtins(sum_up([result.summary for result in results])),
    }


def require_all(results: Sequence[GenerateResult], end: str = "") -> None:
    """Make sure that every sample is answered in every round.

    Args:
        results: Of the rounds.
        end: How the server ended, to be added to the message.

    Raises:
        EngineError: If not; says how many are missing, and why the first is.
    """
    reasons = [reason for result in results for reason in result.missing.values()]
    if not reasons:
        return
    n_all = sum(len(result.missing) + len(result.completions) for result in results)
    raise EngineError(
        f"the evaluation is incomplete: {len(reasons)} of {n_all} samples have no answer; the "
        f"first: {reasons[0]}{end}"
    )


def end_of(
    engine: Engine, session: Session, endpoint: Endpoint, results: Sequence[GenerateResult]
) -> str:
    """Say how the server ended when answers are missing; empty while it runs."""
    if not any(result.missing for result in results):
        return ""
    status = session.wait(endpoint.process, END_SEEN_S)
    if status.state == "running":
        return ""
    reason = "" if status.reason in (None, "exit") else f" ({status.reason})"
    why = engine.why_ended(endpoint, session)
    words = f": {why}" if why else ""
    return f"; the server had ended with status {status.exit_code}{reason}{words}"
