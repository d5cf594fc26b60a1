"""generate: the sealed checkpoint answers, in a sandbox with no keys and no network.

Completions are appended to one log as they arrive, over all attempts, so a killed generation
continues where it stood. A generation that is done again has a log of its own.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from ptb_core.atomic import write_json
from ptb_core.canonical import file_sha256
from ptb_core.disk.needs import generate_need
from ptb_core.disk.waiting import wait_for_room
from ptb_core.errors import (
    CheckpointError,
    EngineError,
    SandboxElsewhereError,
    SandboxLostError,
)
from ptb_core.evaluation.engine_mounts import engine_mounts
from ptb_core.evaluation.protocol import (
    generate_options,
    longest_answer_tokens,
    seeded_generation_config,
    template_date,
    tokenizer_source,
)
from ptb_core.evaluation.rounds import rounds_of
from ptb_core.evaluation.samples import samples_of
from ptb_core.interfaces import Endpoint, ServeRequest, Session
from ptb_core.retention.notes import refuse_removed_checkpoint
from ptb_core.sandboxing import Mount, SandboxRequest, SessionHandle
from ptb_core.specs import JsonValue
from ptb_core.stages.context import Generated, Prepared, Sealed, StageContext
from ptb_core.stages.control import checkpoints_fault
from ptb_core.stages.live import read_live
from ptb_core.stages.prepare import data_dir_of, hidden_paths
from ptb_core.stages.progress import progress_of

if TYPE_CHECKING:
    from ptb_core.evaluation.generate import GenerateOptions, GenerateResult, SampleRequests

LIMIT_HOURS = 8.0
"""Longest generation. Source: the published evaluation allows 8 hours per try."""

CONTROL_SAMPLES = 8
"""Samples that the base model is asked as a control."""

END_SEEN_S = 1.0
"""Longest time until the end of a server whose connection broke is seen."""

ROOTS = {"serve": "sandbox", "control": "control"}
"""Name of the session's folder by what it is for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveServer:
    """What is needed to end the server of a dead supervisor; ``live.json`` of the stage."""

    session: SessionHandle
    folder: str


def generate(context: StageContext) -> Generated:
    """Serve the checkpoint and collect its answers.

    Raises:
        EngineError: If the server could not be started or died for a reason that is not the
            checkpoint's, as far as is known; the attempt may be repeated.
    """
    checkpoint = checkpoint_of(context)
    if checkpoint is None:
        return Generated(state="skipped", reason="there is no submission to serve")
    _end_earlier_session(context)
    wait_for_room(context, "generate", generate_need())
    try:
        return _answer(context, checkpoint)
    except EngineError as error:
        fault = checkpoints_fault(context, error, lambda: _ask_base_model(context))
        if fault is None:
            raise
        return Generated(state="unloadable", reason=fault)


def _answer(context: StageContext, checkpoint: Path) -> Generated:
    session = _open(context, checkpoint)
    facts = session.facts()
    try:
        endpoint = _serve(context, session, checkpoint)
        results = _generate(context, endpoint, checkpoint)
        end = _end_of(context, session, endpoint, results)
    except CheckpointError as error:
        return Generated(state="unloadable", reason=str(error), facts=facts)
    finally:
        session.close()
    context.raise_if_stopping()
    require_all(results, end)
    return Generated(
        state="done",
        completions=_log(context),
        completions_sha256=file_sha256(_log(context)),
        details=_details(context, results, endpoint),
        facts=facts,
    )


def _ask_base_model(context: StageContext) -> int:
    """Serve the base model and ask it what has no answer yet; return how much was answered."""
    from ptb_core.evaluation.generate import generate as ask_all

    base_model = context.result("prepare", Prepared).base_model
    waiting = _unanswered(context)[:CONTROL_SAMPLES]
    session = _open(context, base_model, "control")
    try:
        endpoint = _serve(context, session, base_model)
        log = context.attempt_dir / f"control-{context.fence}.jsonl"
        options = _options(context, base_model)
        result = ask_all(waiting, endpoint, options, log, lambda *_: context.raise_if_stopping())
        end = _end_of(context, session, endpoint, [result])
    except CheckpointError as error:
        raise EngineError(f"the base model cannot be served: {error}") from error
    finally:
        session.close()
    require_all([result], end)
    return len(waiting)


def _unanswered(context: StageContext) -> Sequence[SampleRequests]:
    from ptb_core.evaluation.generate import read_completions

    requests = _requests(context)
    answered = read_completions(_log(context)) if _log(context).exists() else {}
    return [one for one in requests if one.id not in answered] or requests


def _end_of(
    context: StageContext,
    session: Session,
    endpoint: Endpoint,
    results: Sequence[GenerateResult],
) -> str:
    """Say how the server ended when answers are missing; empty while it runs."""
    if not any(result.missing for result in results):
        return ""
    status = session.wait(endpoint.process, END_SEEN_S)
    if status.state == "running":
        return ""
    reason = "" if status.reason in (None, "exit") else f" ({status.reason})"
    why = context.catalogue.engine(context.run.plan.engine.name).why_ended(endpoint, session)
    words = f": {why}" if why else ""
    return f"; the server had ended with status {status.exit_code}{reason}{words}"


def checkpoint_of(context: StageContext) -> Path | None:
    """Return the folder to evaluate: the base model's for base cells, else the submission's.

    Raises:
        RemovedError: If the submission was removed to free the disk.
    """
    if context.cell.kind == "base":
        return context.result("prepare", Prepared).base_model
    refuse_removed_checkpoint(context.folder)
    return context.result("seal", Sealed).path


def _open(context: StageContext, checkpoint: Path, purpose: str = "serve") -> Session:
    plan = context.run.plan
    prepared = context.result("prepare", Prepared)
    base_model = prepared.base_model
    model = context.catalogue.model(context.cell.model)
    engine = context.catalogue.engine(plan.engine.name)
    engine_files = context.attempt_dir / "engine"
    engine_files.mkdir(exist_ok=True)
    write_json(
        engine_files / "generation_config.json", seeded_generation_config(checkpoint, base_model)
    )
    session = context.catalogue.sandbox(plan.sandbox.name).open(
        SandboxRequest(
            name=(
                f"{context.run.run_id}-{context.cell.id}-{purpose}-{context.fence}-"
                f"{context.attempt}"
            ),
            role="serve",
            root=context.attempt_dir / f"{ROOTS[purpose]}-{context.fence}",
            mounts=(
                Mount(name="checkpoint", source=checkpoint),
                Mount(name="base_model", source=base_model),
                Mount(name="chat_template", source=Path(model.chat_template)),
                Mount(name="engine_files", source=engine_files),
                *engine_mounts(engine, plan.engine.settings, plan.sandbox.image),
            ),
            hidden=hidden_paths(context.run_folder.path, prepared),
            network="none",
            deadline_unix_s=time.time() + LIMIT_HOURS * 3600,
            image=plan.sandbox.image,
            settings=plan.sandbox.settings,
        )
    )
    live = LiveServer(session=session.handle, folder=str(_live(context).parent))
    try:
        write_json(_live(context), live)
    except BaseException:
        session.close()
        raise
    return session


def _end_earlier_session(context: StageContext) -> None:
    """End the server that a dead supervisor left behind; its completions are in the log."""
    live = read_live(_live(context), LiveServer, "server")
    if live is None:
        return
    handle = live.session
    try:
        context.catalogue.sandbox(handle.sandbox).attach(handle).close()
    except SandboxLostError:
        context.note("generate", "the earlier server was already gone")
    except SandboxElsewhereError:
        context.note("generate", "the earlier server is on another host and nobody asks it")


def _serve(context: StageContext, session: Session, checkpoint: Path) -> Endpoint:
    plan = context.run.plan
    model = context.catalogue.model(context.cell.model)
    own = tokenizer_source(checkpoint, plan.protocol) == "checkpoint"
    published = plan.protocol.requests == "published"
    return context.catalogue.engine(plan.engine.name).serve(
        ServeRequest(
            checkpoint=session.inside("checkpoint"),
            tokenizer=session.inside("checkpoint" if own else "base_model"),
            generation_config=session.inside("checkpoint" if published else "engine_files"),
            chat_template=session.inside("chat_template"),
            model=model,
            max_context_tokens=model.context_tokens,
            template_date=template_date(plan.protocol),
            settings=plan.engine.settings,
        ),
        session,
    )


def _generate(
    context: StageContext, endpoint: Endpoint, checkpoint: Path
) -> Sequence[GenerateResult]:
    from ptb_core.evaluation.generate import generate_rounds

    return generate_rounds(
        rounds_of(context.run.plan.protocol),
        _requests(context),
        endpoint,
        _options(context, checkpoint),
        _log(context),
        progress_of(context, "generate"),
    )


def _requests(context: StageContext) -> Sequence[SampleRequests]:
    from ptb_core.evaluation.generate import SampleRequests

    protocol = context.run.plan.protocol
    task = context.catalogue.task(context.cell.task)
    data = data_dir_of(context.result("prepare", Prepared))
    return [
        SampleRequests(id=sample.id, requests=task.requests(sample, protocol.requests))
        for sample in samples_of(task, data, protocol.limit)
    ]


def _options(context: StageContext, checkpoint: Path) -> GenerateOptions:
    return generate_options(
        context.run.plan.protocol,
        context.catalogue.task(context.cell.task).spec.max_tokens,
        context.catalogue.model(context.cell.model),
        checkpoint=checkpoint,
        base_model=context.result("prepare", Prepared).base_model,
    )


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


def _log(context: StageContext) -> Path:
    earlier = context.earlier_attempt("generate")
    name = f"completions-after-{earlier:03}.jsonl" if earlier else "completions.jsonl"
    return context.folder.stage("generate") / name


def _live(context: StageContext) -> Path:
    return context.folder.stage("generate") / "live.json"


def _details(
    context: StageContext, results: Sequence[GenerateResult], endpoint: Endpoint
) -> Mapping[str, JsonValue]:
    from ptb_core.evaluation.generate import sum_up

    plan = context.run.plan
    task = context.catalogue.task(context.cell.task)
    model = context.catalogue.model(context.cell.model)
    return {
        "protocol": msgspec.to_builtins(plan.protocol),
        "engine": msgspec.to_builtins(plan.engine),
        "server": dict(endpoint.facts),
        "template_date": template_date(plan.protocol) or time.strftime("%Y-%m-%d"),
        "max_tokens": longest_answer_tokens(plan.protocol, task.spec.max_tokens, model),
        "generation": msgspec.to_builtins(sum_up([result.summary for result in results])),
    }
