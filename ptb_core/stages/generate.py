"""generate: the sealed checkpoint answers, in a sandbox with no keys and no network.

Completions are appended to one log as they arrive, over all attempts, so a killed generation
continues where it stood. A generation that is done again has a log of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

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
from ptb_core.evaluation.exchange import Sample
from ptb_core.evaluation.rounds import alone, rounds_of
from ptb_core.evaluation.samples import samples_of
from ptb_core.evaluation.serving import (
    LiveServer,
    Subject,
    answer_details,
    ask_everything,
    deadline_unix_s,
    end_of,
    lay_engine_files,
    require_all,
    serve_mounts,
    serve_request,
)
from ptb_core.gpus import gpus_of_condition
from ptb_core.hidden import hidden_paths
from ptb_core.interfaces import Endpoint, Engine, Session
from ptb_core.retention.notes import refuse_removed_checkpoint
from ptb_core.sandboxing import SandboxFacts, SandboxRequest
from ptb_core.specs import ProtocolSpec
from ptb_core.stages.context import Generated, Prepared, Sealed, StageContext
from ptb_core.stages.control import checkpoints_fault
from ptb_core.stages.live import read_live
from ptb_core.stages.prepare import data_dir_of
from ptb_core.stages.progress import progress_of

if TYPE_CHECKING:
    from ptb_core.evaluation.generate import GenerateResult


CONTROL_SAMPLES = 8
"""Samples that the base model is asked as a control."""

ROOTS = {"serve": "sandbox", "control": "sandbox-control"}
"""Beginning of the name of the session's folder, by what the session is for."""


def generate(context: StageContext) -> Generated:
    """Serve the checkpoint and collect its answers.

    Raises:
        EngineError: If the server could not be started or died for a reason that is not the
            checkpoint's, as far as is known; the attempt may be repeated.
        CellStoppedError: If the supervisor was asked to stop.
    """
    checkpoint = checkpoint_of(context)
    if checkpoint is None:
        return Generated(state="skipped", reason="there is no submission to serve")
    _end_earlier_session(context)
    wait_for_room(context, "generate", generate_need())
    session = _open(context, checkpoint)
    facts = session.facts()
    try:
        return _answer(context, checkpoint, session, facts)
    except (CheckpointError, EngineError) as error:
        fault = checkpoints_fault(context, error, lambda: _ask_base_model(context))
        if fault is None:
            raise
        return Generated(state="unloadable", reason=fault, facts=facts)


def _answer(
    context: StageContext, checkpoint: Path, session: Session, facts: SandboxFacts
) -> Generated:
    """Serve and ask; the session is closed when this returns or raises."""
    log, progress = _log(context), progress_of(context, "generate")
    try:
        endpoint = _serve(context, session, checkpoint)
        protocol = context.run.plan.protocol
        results = _ask(context, endpoint, checkpoint, protocol, _samples(context), log, progress)
        end = end_of(_engine(context), session, endpoint, results)
    finally:
        session.close()
    context.raise_if_stopping()
    require_all(results, end)
    return Generated(
        state="done",
        completions=log,
        completions_sha256=file_sha256(log),
        details=answer_details(
            context.catalogue.task(context.cell.task).spec,
            context.catalogue.model(context.cell.model),
            context.run.plan.protocol,
            context.run.plan.engine,
            results,
            endpoint.facts,
        ),
        facts=facts,
    )


def _ask_base_model(context: StageContext) -> int:
    """Serve the base model and ask it what has no answer yet; return how much it answered.

    It is asked in one round only. The number is that of its answers, of which a sample can need
    several.
    """
    context.raise_if_stopping()
    base_model = context.result("prepare", Prepared).base_model
    protocol, waiting = _unanswered(context)
    log = context.attempt_dir / f"control-{context.fence}.jsonl"
    session = _open(context, base_model, "control")
    try:
        endpoint = _serve(context, session, base_model)
        results = _ask(
            context,
            endpoint,
            base_model,
            protocol,
            waiting[:CONTROL_SAMPLES],
            log,
            lambda *_: context.raise_if_stopping(),
        )
        end = end_of(_engine(context), session, endpoint, results)
    except CheckpointError as error:
        raise EngineError(f"the base model cannot be served: {error}") from error
    finally:
        session.close()
    require_all(results, end)
    return sum(result.summary.requests for result in results)


def _unanswered(context: StageContext) -> tuple[ProtocolSpec, Sequence[Sample]]:
    """Return the samples that lack answers in the first round that does, and that round's protocol.

    Rounds follow each other, so it is the one that failed. All samples of the first round where
    nothing is lacking.
    """
    from ptb_core.evaluation.generate import read_completions

    protocol, samples = context.run.plan.protocol, _samples(context)
    rounds = rounds_of(protocol)
    if _log(context).exists():
        for one in rounds:
            answered = read_completions(_log(context), one.number)
            waiting = [sample for sample in samples if sample.id not in answered]
            if waiting:
                return alone(one, protocol), waiting
    return alone(rounds[0], protocol), samples


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
    subject = _subject(context, checkpoint)
    engine_files = context.attempt_dir / "engine"
    lay_engine_files(engine_files, subject)
    session = context.catalogue.sandbox(plan.sandbox.name).open(
        SandboxRequest(
            name=(
                f"{context.run.run_id}-{context.cell.id}-{purpose}-{context.fence}-"
                f"{context.attempt}"
            ),
            role="serve",
            root=context.attempt_dir / f"{ROOTS[purpose]}-{context.fence}",
            mounts=serve_mounts(
                subject,
                engine_files,
                engine_mounts(_engine(context), plan.engine.settings, plan.sandbox.image),
            ),
            hidden=hidden_paths(context.run_folder.path, prepared.data_files.values()),
            network="none",
            devices=gpus_of_condition(plan.condition.gpus),
            deadline_unix_s=deadline_unix_s(plan.protocol),
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
    subject = _subject(context, checkpoint)
    request = serve_request(subject, plan.protocol, plan.engine.settings, session)
    return _engine(context).serve(request, session)


def _subject(context: StageContext, checkpoint: Path) -> Subject:
    return Subject(
        checkpoint=checkpoint,
        base_model=context.result("prepare", Prepared).base_model,
        model=context.catalogue.model(context.cell.model),
    )


def _ask(
    context: StageContext,
    endpoint: Endpoint,
    checkpoint: Path,
    protocol: ProtocolSpec,
    samples: Sequence[Sample],
    log: Path,
    progress: Callable[[int, int], None],
) -> Sequence[GenerateResult]:
    return ask_everything(
        context.catalogue.task(context.cell.task),
        data_dir_of(context.result("prepare", Prepared)),
        samples,
        _subject(context, checkpoint),
        protocol,
        endpoint,
        log,
        progress,
    )


def _samples(context: StageContext) -> Sequence[Sample]:
    task = context.catalogue.task(context.cell.task)
    data = data_dir_of(context.result("prepare", Prepared))
    return samples_of(task, data, context.run.plan.protocol.limit)


def _engine(context: StageContext) -> Engine:
    return context.catalogue.engine(context.run.plan.engine.name)


def _log(context: StageContext) -> Path:
    earlier = context.earlier_attempt("generate")
    name = f"completions-after-{earlier:03}.jsonl" if earlier else "completions.jsonl"
    return context.folder.stage("generate") / name


def _live(context: StageContext) -> Path:
    return context.folder.stage("generate") / "live.json"
