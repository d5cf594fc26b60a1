"""An evaluation that stands alone: one checkpoint on one task, in a folder of its own.

Serves, asks and scores with the functions that a cell's final evaluation uses, so that the same
checkpoint has the same completions and verdicts. Killed or interrupted, it continues where it
stood: no question is asked twice, no program run twice, no grader paid twice.
"""

from __future__ import annotations

import contextlib
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import msgspec

from ptb_core import lock
from ptb_core.atomic import write_json
from ptb_core.canonical import file_sha256
from ptb_core.errors import RecordError, SandboxElsewhereError, SandboxLostError
from ptb_core.evaluation.completion_log import require_unchanged
from ptb_core.evaluation.engine_mounts import engine_mounts
from ptb_core.evaluation.evaluation_folder import Answered, EvaluationFolder, Summary
from ptb_core.evaluation.exchange import DataDir, Sample
from ptb_core.evaluation.runners import PROGRAMS
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
from ptb_core.hidden import hidden_paths
from ptb_core.interfaces import Engine, Sandbox, Session, Task
from ptb_core.sandboxing import SandboxRequest
from ptb_core.specs import ComponentChoice, JsonValue, ProtocolSpec

if TYPE_CHECKING:
    from ptb_core.evaluation.checking import Runners
    from ptb_core.evaluation.scoring import ScoredCompletions
    from ptb_core.grading.terms import GraderTerms

Progress: TypeAlias = Callable[[str, int, int], None]
"""Told what is under way, such as ``answers``, and the numbers done and expected."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationJob:
    """What is evaluated, and how.

    Attributes:
        subject: The checkpoint.
        revision: What identifies its weights: a hub commit, or ``sha256:`` and a digest.
        base_revision: The same of the base model.
        origin: Where the checkpoint comes from, for readers.
        task: The task.
        data: Its data.
        protocol: The protocol.
        engine: The engine.
        engine_choice: Its name and settings, defaults filled in.
        sandbox: The sandbox that serves the checkpoint.
        sandbox_choice: Its name and settings.
        components: Where task, model, engine and sandbox come from.
        devices: GPUs handed to the engine.
        grader: Which grader is asked, where the task needs one.
        notes: What a reader must know besides.
    """

    subject: Subject
    revision: str
    base_revision: str
    origin: str
    task: Task
    data: DataDir
    protocol: ProtocolSpec
    engine: Engine
    engine_choice: ComponentChoice
    sandbox: Sandbox
    sandbox_choice: ComponentChoice
    components: Mapping[str, JsonValue]
    devices: tuple[str, ...] = ()
    grader: GraderTerms | None = None
    notes: tuple[str, ...] = ()

    @property
    def identity(self) -> dict[str, JsonValue]:
        """Everything that an answer or a score depends on and a user can choose."""
        return {
            "task": self.task.spec.name,
            "data": dict(self.data.revisions),
            "model": self.subject.model.name,
            "checkpoint": self.revision,
            "base model": self.base_revision,
            "template": file_sha256(Path(self.subject.model.chat_template)),
            "protocol": msgspec.to_builtins(self.protocol),
            "engine": msgspec.to_builtins(self.engine_choice),
            "sandbox": self.sandbox_choice.name,
            "grader": self._grader_asked,
        }

    @property
    def _grader_asked(self) -> JsonValue:
        """Who grades and where: another server's verdicts are not taken for this one's."""
        from ptb_core.grading.endpoint import host_of

        if self.grader is None:
            return None
        return {**self.grader_identity, "endpoint": host_of(self.grader.grader.base_url)}

    @property
    def grader_identity(self) -> JsonValue:
        """Who grades, by which wording; None where nobody does."""
        from ptb_core.plan.grader import grader_identity

        return None if self.grader is None else grader_identity(self.grader.grader)


def evaluate(
    job: EvaluationJob, folder: EvaluationFolder, runners: Runners, progress: Progress
) -> Summary:
    """Evaluate a checkpoint, or go on with it, and leave samples and summary in the folder.

    Args:
        job: What to evaluate.
        folder: Where; new, or one in which the same evaluation was begun.
        runners: Who performs the task's checks.
        progress: Told how far it is, at least every second. What it raises ends the call.

    Returns:
        The summary; its evaluation is complete only when every sample has a score. Where all was
        done before, the earlier one, as it is.

    Raises:
        UsageError: If the folder holds another evaluation, or another process works in it.
        CheckpointError: If the checkpoint cannot be loaded.
        EngineError: If the server failed, or samples stayed without an answer.
        RecordError: If a file of the folder is damaged or was changed.
    """
    with folder.claimed(job.identity):
        _end_earlier_server(job, folder)
        samples = samples_of(job.task, job.data, job.protocol.limit)
        answered = folder.read_answered() or _generate(job, folder, samples, progress)
        require_unchanged(
            folder.completions,
            answered.completions_sha256,
            f"restore it, or remove {folder.answered.name} to have the rest asked again",
        )
        scored = _score(job, folder, samples, answered, runners, progress)
        _remove(folder, PROGRAMS)
        is_new = _write_samples(job, folder, samples, scored)
        earlier = None if is_new else _earlier_summary(folder, scored)
        if earlier is not None:
            return earlier
        summary = _summary(job, answered, scored)
        folder.write_summary(summary)
        return summary


def _generate(
    job: EvaluationJob, folder: EvaluationFolder, samples: Sequence[Sample], progress: Progress
) -> Answered:
    for earlier in (folder.summary, folder.samples):
        earlier.unlink(missing_ok=True)
    with _serving(job, folder) as session:
        request = serve_request(job.subject, job.protocol, job.engine_choice.settings, session)
        endpoint = job.engine.serve(request, session)
        results = ask_everything(
            job.task,
            job.data,
            samples,
            job.subject,
            job.protocol,
            endpoint,
            folder.completions,
            lambda done, total: progress("answers", done, total),
        )
        end = end_of(job.engine, session, endpoint, results)
        facts = session.facts()
    require_all(results, end)
    answered = Answered(
        completions_sha256=file_sha256(folder.completions),
        details=answer_details(
            job.task.spec,
            job.subject.model,
            job.protocol,
            job.engine_choice,
            results,
            endpoint.facts,
        ),
        facts=facts,
        software=lock.software(),
        machine=lock.machine(),
        components=job.components,
    )
    write_json(folder.answered, answered)
    return answered


@contextlib.contextmanager
def _serving(job: EvaluationJob, folder: EvaluationFolder) -> Iterator[Session]:
    """Open a session for the server; its files go when the block ends well."""
    root = folder.path / f"server-{secrets.token_hex(4)}"
    root.mkdir()
    engine_files = root / "engine"
    lay_engine_files(engine_files, job.subject)
    session = job.sandbox.open(
        SandboxRequest(
            name=f"evaluate-{job.task.spec.name}-{root.name}",
            role="serve",
            root=root / "sandbox",
            mounts=serve_mounts(
                job.subject,
                engine_files,
                engine_mounts(job.engine, job.engine_choice.settings, None),
            ),
            hidden=hidden_paths(folder.path, job.data.files.values()),
            network="none",
            devices=job.devices,
            deadline_unix_s=deadline_unix_s(job.protocol),
            settings=job.sandbox_choice.settings,
        )
    )
    try:
        write_json(folder.live, LiveServer(session=session.handle, folder=str(folder.path)))
        yield session
    finally:
        session.close()
        folder.live.unlink(missing_ok=True)
    shutil.rmtree(root, ignore_errors=True)


def _end_earlier_server(job: EvaluationJob, folder: EvaluationFolder) -> None:
    """End what a killed process left behind; its completions are in the log."""
    live = folder.read_live()
    if live is not None and live.folder == str(folder.path):
        with contextlib.suppress(SandboxLostError, SandboxElsewhereError):
            job.sandbox.attach(live.session).close()
    folder.live.unlink(missing_ok=True)
    _remove(folder, "server-*")
    _remove(folder, PROGRAMS)


def _remove(folder: EvaluationFolder, pattern: str) -> None:
    for left in folder.path.glob(pattern):
        shutil.rmtree(left, ignore_errors=True)


def _score(
    job: EvaluationJob,
    folder: EvaluationFolder,
    samples: Sequence[Sample],
    answered: Answered,
    runners: Runners,
    progress: Progress,
) -> ScoredCompletions:
    from ptb_core.evaluation.scoring import data_details, score_completions

    return score_completions(
        job.task,
        samples,
        job.protocol,
        folder.completions,
        runners,
        folder.checks,
        details={**answered.details, **data_details(job.data)},
        progress=lambda done, total: progress("checks", done, total),
    )


def _write_samples(
    job: EvaluationJob,
    folder: EvaluationFolder,
    samples: Sequence[Sample],
    scored: ScoredCompletions,
) -> bool:
    """Write the samples; return whether any differs from what was written before."""
    from ptb_core.evaluation.sample_lines import lines_of_rounds, write_sample_lines

    lines = lines_of_rounds(
        job.task, samples, job.protocol, folder.completions, folder.checks, scored.rounds
    )
    earlier = file_sha256(folder.samples) if folder.samples.is_file() else None
    write_sample_lines(folder.samples, lines)
    return earlier not in (None, file_sha256(folder.samples))


def _earlier_summary(folder: EvaluationFolder, scored: ScoredCompletions) -> Summary | None:
    """Return the folder's summary if it is complete and this call found out nothing new."""
    try:
        summary = folder.read_summary()
    except RecordError:  # it is written anew
        return None
    if summary is None or not summary.evaluation.complete:
        return None
    performed = scored.evaluation.details.get("checks", {}).get("performed", 0)
    is_same = summary.evaluation.scores == scored.evaluation.scores
    return summary if is_same and not performed else None


def _summary(job: EvaluationJob, answered: Answered, scored: ScoredCompletions) -> Summary:
    evaluation = scored.evaluation
    if not evaluation.complete:
        evaluation = replace(evaluation, scores={})
    return Summary(
        task=job.task.spec.name,
        model=job.subject.model.name,
        checkpoint={
            "path": str(job.subject.checkpoint),
            "revision": job.revision,
            "origin": job.origin,
            "base_model_revision": job.base_revision,
        },
        protocol=job.protocol,
        engine=job.engine_choice,
        sandbox=job.sandbox_choice,
        facts=answered.facts,
        evaluation=evaluation,
        lock=_lock(job, answered),
        created_unix_s=time.time(),
        notes=job.notes,
    )


def _lock(job: EvaluationJob, answered: Answered) -> dict[str, JsonValue]:
    """Return what the checkpoint answered under.

    ``other_software`` names what other versions of anything have done, and which; None where that
    was not kept.
    """
    now = {"software": lock.software(), "components": dict(job.components)}
    then = {"software": dict(answered.software), "components": dict(answered.components)}
    others: dict[str, JsonValue] = {}
    if not answered.software:
        then, others = now, {"generate": None}
    elif now != then:
        others = {"score": now}
    return {
        **then,
        "machine": dict(answered.machine) or lock.machine(),
        "other_software": others,
        "grader": job.grader_identity,
    }
