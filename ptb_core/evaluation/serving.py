"""Serving a checkpoint to be evaluated: what its session sees and what the engine is told.

The same for the final evaluation of a cell and for an evaluation that stands alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ptb_core.evaluation.exchange import Sample
from ptb_core.evaluation.protocol import template_date, tokenizer_source
from ptb_core.interfaces import ServeRequest, Session, Task
from ptb_core.sandboxing import Mount, SessionHandle
from ptb_core.specs import JsonValue, ModelSpec, ProtocolSpec

if TYPE_CHECKING:
    from ptb_core.evaluation.questions import SampleRequests

LIMIT_HOURS = 8.0
"""Longest generation. Source: the published evaluation allows 8 hours per try."""


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


def serve_mounts(subject: Subject, engine_files: Path) -> tuple[Mount, ...]:
    """Return what a serving session sees of the host.

    Args:
        subject: What is evaluated.
        engine_files: Folder with the generation_config.json of seeded requests.
    """
    return (
        Mount(name="checkpoint", source=subject.checkpoint),
        Mount(name="base_model", source=subject.base_model),
        Mount(name="chat_template", source=Path(subject.model.chat_template)),
        Mount(name="engine_files", source=engine_files),
    )


def serve_request(
    subject: Subject, protocol: ProtocolSpec, settings: Mapping[str, JsonValue], session: Session
) -> ServeRequest:
    """Return what the engine is told.

    Args:
        subject: What is evaluated.
        protocol: Whose tokenizer, which sampling, which date.
        settings: The engine's.
        session: Opened with :func:`serve_mounts`.
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


def sample_requests(
    task: Task, samples: Sequence[Sample], protocol: ProtocolSpec
) -> list[SampleRequests]:
    """Return what is asked for each sample, in order."""
    from ptb_core.evaluation.questions import SampleRequests

    return [
        SampleRequests(id=sample.id, requests=task.requests(sample, protocol.requests))
        for sample in samples
    ]
