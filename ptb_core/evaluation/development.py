"""evaluate.py: the agent measures a checkpoint in its own sandbox.

The same requests, engine and scoring code as in the final evaluation, on the samples that the
limit takes. Where answers or a grader's key stay outside, the broker scores. Test items and
completions are neither printed nor kept; what is reported here never counts.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ptb_core.atomic import write_json
from ptb_core.broker.client import broker_client
from ptb_core.broker.messages import DevScore
from ptb_core.errors import EngineError, PtbError, UsageError
from ptb_core.evaluation.exchange import DataDir, Sample
from ptb_core.evaluation.plain_session import PlainSession
from ptb_core.evaluation.questions import SampleRequests
from ptb_core.evaluation.serving import (
    Subject,
    ask_requests,
    lay_engine_files,
    requests_of,
    serve_mounts,
    serve_request,
)
from ptb_core.evaluation.workspace import HarnessSettings, read_settings
from ptb_core.interfaces import Endpoint, Task
from ptb_core.output_files import reason_of, require_writable
from ptb_core.specs import ProtocolSpec

if TYPE_CHECKING:
    from ptb_core.evaluation.checking import ProgramRunner

PROGRESS_EVERY_S = 10.0
SHORT_TMP = "/tmp"
"""Where the private folder lies; a socket's path must stay under 108 bytes."""

GPU_MEMORY_SETTING = "gpu_memory_utilization"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the command line of evaluate.py says.

    Attributes:
        model_path: Folder of the checkpoint.
        limit: Samples to take; None takes the task's default, -1 all.
        json_output_file: File to write the metrics to, or None.
        max_tokens: Longest answer; None keeps the protocol's.
        max_connections: Requests under way at once; None keeps the engine's.
        gpu_memory_utilization: Fraction of GPU memory; None keeps the engine's.
        templates_dir: Folder of the chat template; None takes the one that was laid.
        engine: Name of another engine, or None.
    """

    model_path: Path
    limit: int | None
    json_output_file: Path | None
    max_tokens: int | None
    max_connections: int | None
    gpu_memory_utilization: float | None
    templates_dir: Path | None
    engine: str | None


@click.command()
@click.option("--model-path", default="final_model", show_default=True, help="Checkpoint folder.")
@click.option("--limit", type=int, help="Number of samples; -1 takes all.")
@click.option("--json-output-file", help="Write the metrics to this file, as JSON.")
@click.option("--max-tokens", type=click.IntRange(min=1), help="Longest answer in tokens.")
@click.option("--max-connections", type=click.IntRange(min=1), help="Requests at once.")
@click.option(
    "--gpu-memory-utilization",
    type=click.FloatRange(0, 1, min_open=True),
    help="Fraction of GPU memory that the engine may take.",
)
@click.option("--templates-dir", help="Folder of the chat template; templates by default.")
@click.option("--engine", help="Another engine than the final evaluation's.")
def command(
    model_path: str,
    limit: int | None,
    json_output_file: str | None,
    max_tokens: int | None,
    max_connections: int | None,
    gpu_memory_utilization: float | None,
    templates_dir: str | None,
    engine: str | None,
) -> None:
    """Measure a checkpoint on this workspace's benchmark, as the final evaluation does."""
    workspace = Path(sys.argv[0]).resolve().parent
    options = Options(
        model_path=Path(model_path),
        limit=limit,
        json_output_file=Path(json_output_file) if json_output_file else None,
        max_tokens=max_tokens,
        max_connections=max_connections,
        gpu_memory_utilization=gpu_memory_utilization,
        templates_dir=Path(templates_dir).absolute() if templates_dir else None,
        engine=engine,
    )
    evaluate(workspace, options, click.echo)


def main() -> int:
    """Run the command line of evaluate.py; return the exit status."""
    # `timeout` and its like must not leave a server behind that holds the GPU.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        command(standalone_mode=False)
    except PtbError as error:
        print(f"evaluate.py: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        print(f"evaluate.py: {place}{reason_of(error)}", file=sys.stderr)
        return 1
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.exceptions.Abort:
        return 130
    return 0


def evaluate(workspace: Path, options: Options, tell: Callable[[str], None]) -> None:
    """Measure a checkpoint and report the score.

    Args:
        workspace: Folder with ``evaluation/settings.json``.
        options: The command line.
        tell: Told the result in one line.

    Raises:
        UsageError: If an option or the workspace makes no sense.
        CheckpointError: If the checkpoint cannot be loaded.
        EngineError: If the server failed, or samples stayed without an answer.
        BrokerError: If the completions are scored outside and there is no score.
    """
    from ptb_core.catalogue import load_catalogue

    settings = read_settings(workspace)
    task = load_catalogue().task(settings.task)
    protocol = _protocol(settings, options, task)
    if options.json_output_file is not None:
        require_writable(options.json_output_file, "--json-output-file")
    private = Path(tempfile.mkdtemp(prefix="ptb-", dir=SHORT_TMP))
    try:
        items = _items(workspace, settings, protocol, task)
        log = _answer(workspace, settings, options, protocol, task, items, private)
        score = items.score(log)
    finally:
        shutil.rmtree(private, ignore_errors=True)
    _report(score, settings, protocol, items.n_all, options, tell)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Items:
    """What is asked, and who knows what the answers are worth.

    Attributes:
        asked: The samples in order.
        following: Those that come next without a limit.
        n_all: Number of samples of the whole task.
        score: Returns the score of a log of completions.
    """

    asked: Sequence[SampleRequests]
    following: Sequence[SampleRequests]
    n_all: int
    score: Callable[[Path], DevScore]


def _items(
    workspace: Path, settings: HarnessSettings, protocol: ProtocolSpec, task: Task
) -> _Items:
    from ptb_core.evaluation.samples import samples_after, samples_of

    if settings.questions is not None:
        return _laid_items(workspace / settings.questions, protocol, task)
    data = _data(workspace, settings)
    samples = samples_of(task, data, protocol.limit)
    items = _Items(
        asked=requests_of(task, protocol, samples),
        following=requests_of(task, protocol, samples_after(task, data, samples)),
        n_all=task.spec.n_samples,
        score=lambda log: _score_here(task, samples, protocol, log),
    )
    return items if settings.scored == "here" else replace(items, score=_score_outside(protocol))


def _laid_items(path: Path, protocol: ProtocolSpec, task: Task) -> _Items:
    from ptb_core.evaluation.laid_questions import read_questions

    laid, client = read_questions(path), broker_client()
    ids, every = client.samples(protocol.limit), client.samples(None)
    following = every[len(ids) :] if every[: len(ids)] == ids else ()
    lost = [sample for sample in every if sample not in laid]
    if lost:
        raise UsageError(
            f"{path} lacks {len(lost)} of {len(every)} samples, the first {lost[0]!r}; it was "
            "laid here and must stay as it was"
        )
    return _Items(
        asked=[laid[sample] for sample in ids],
        following=[laid[sample] for sample in following],
        n_all=task.spec.n_samples,
        score=_score_outside(protocol),
    )


def _score_outside(protocol: ProtocolSpec) -> Callable[[Path], DevScore]:
    client = broker_client()
    return lambda log: client.score(protocol.limit, log, _progress("checks"))


def _score_here(
    task: Task, samples: Sequence[Sample], protocol: ProtocolSpec, log: Path
) -> DevScore:
    from ptb_core.evaluation.checking import Runners
    from ptb_core.evaluation.scoring import score_completions

    result = score_completions(
        task,
        samples,
        protocol,
        log,
        Runners(programs=_programs(task)),
        log.with_name("checks.jsonl"),
        details={},
        progress=_progress("checks"),
    ).evaluation
    score = result.scores.get(result.counted)
    if not result.complete or score is None:
        failures = result.details.get("failures", {}).get(result.counted, {})
        reason = next(iter(failures.values()), "nothing could be scored")
        raise PtbError(f"there is no score: {reason}")
    return DevScore(
        value=score.value,
        stderr=score.stderr,
        n=score.n,
        breakdowns=score.breakdowns,
        marks=score.marks,
    )


def _protocol(settings: HarnessSettings, options: Options, task: Task) -> ProtocolSpec:
    limit = settings.default_limit if options.limit is None else options.limit
    if limit is not None and (limit == 0 or limit < -1):
        raise UsageError(f"--limit {limit}: give a number of samples, or -1 for all of them")
    return replace(
        settings.protocol,
        limit=None if limit == -1 else limit,
        max_tokens=options.max_tokens or settings.protocol.max_tokens or task.spec.max_tokens,
    )


def _data(workspace: Path, settings: HarnessSettings) -> DataDir:
    try:
        prompts = {
            name: (workspace / path).read_text("utf-8") for name, path in settings.prompts.items()
        }
    except OSError as error:
        raise UsageError(f"{error.filename} is missing; it was laid here and must stay") from error
    return DataDir(
        files={name: workspace / path for name, path in settings.data.items()},
        prompts=prompts,
        revisions=settings.revisions,
    )


def _programs(task: Task) -> ProgramRunner | None:
    """Return who runs programs here: this sandbox is what separates them from everything."""
    from ptb_core.execution.plain import PlainProgramRunner

    return PlainProgramRunner() if task.spec.needs_programs else None


def _answer(
    workspace: Path,
    settings: HarnessSettings,
    options: Options,
    protocol: ProtocolSpec,
    task: Task,
    items: _Items,
    private: Path,
) -> Path:
    """Serve the checkpoint, ask it everything, and return the log of its completions."""
    subject = _subject(workspace, settings, options)
    engine_files = private / "engine"
    lay_engine_files(engine_files, subject)
    paths = {mount.name: mount.source for mount in serve_mounts(subject, engine_files)}
    session = PlainSession(private / "session", paths)
    log = private / "completions.jsonl"
    try:
        endpoint = _serve(settings, options, subject, protocol, session)
        results = ask_requests(
            task.spec,
            items.asked,
            items.following,
            subject,
            protocol,
            endpoint,
            log,
            _progress("answers"),
        )
    finally:
        session.close()
    missing = [reason for result in results for reason in result.missing.values()]
    if missing:
        raise EngineError(
            f"{len(missing)} of {len(items.asked)} samples have no answer, so there is no score; "
            f"the first: {missing[0]}"
        )
    return log


def _checkpoint(path: Path) -> Path:
    if (path / "config.json").is_file():
        return path.resolve()
    if (path / "adapter_config.json").is_file():
        raise UsageError(
            f"{path} holds a LoRA adapter; evaluate.py measures merged weights only, so merge it "
            "into the base model first (the final evaluation merges adapters by itself)"
        )
    raise UsageError(f"{path} holds no config.json; give the folder of a checkpoint (--model-path)")


def _subject(workspace: Path, settings: HarnessSettings, options: Options) -> Subject:
    return Subject(
        checkpoint=_checkpoint(options.model_path),
        base_model=_base_model(),
        model=replace(settings.model, chat_template=str(_template(workspace, settings, options))),
    )


def _template(workspace: Path, settings: HarnessSettings, options: Options) -> Path:
    laid = Path(settings.model.chat_template)
    template = workspace / (options.templates_dir or laid.parent) / laid.name
    if not template.is_file():
        raise UsageError(f"{template} is missing; templates were laid here and must stay")
    return template


def _base_model() -> Path:
    folder = os.environ.get("PTB_BASE_MODEL", "")
    if not folder or not Path(folder).is_dir():
        raise UsageError(
            f"PTB_BASE_MODEL names no folder (found {folder!r}); evaluate.py takes the base "
            "model's tokenizer from there"
        )
    return Path(folder)


def _serve(
    settings: HarnessSettings,
    options: Options,
    subject: Subject,
    protocol: ProtocolSpec,
    session: PlainSession,
) -> Endpoint:
    from ptb_core.catalogue import load_catalogue

    name = options.engine or settings.engine.name
    engine = load_catalogue().engine(name)
    values = dict(settings.engine.settings) if name == settings.engine.name else {}
    if options.gpu_memory_utilization is not None:
        if GPU_MEMORY_SETTING in {setting.name for setting in engine.spec.settings}:
            values[GPU_MEMORY_SETTING] = options.gpu_memory_utilization
        else:
            note = f"--gpu-memory-utilization has no meaning for the engine {name}; left out"
            print(note, file=sys.stderr)
    endpoint = engine.serve(serve_request(subject, protocol, values, session), session)
    if options.max_connections is None:
        return endpoint
    bound = min(options.max_connections, endpoint.max_in_flight or options.max_connections)
    return replace(endpoint, max_in_flight=bound)


def _progress(what: str) -> Callable[[int, int], None]:
    last = time.monotonic()

    def report(done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last >= PROGRESS_EVERY_S:
            last = time.monotonic()
            # Nothing is expected yet while the broker scores what others have posted.
            words = f"{done} of {total} {what}" if total else "waiting for another score"
            print(words, file=sys.stderr, flush=True)

    return report


def _report(
    score: DevScore,
    settings: HarnessSettings,
    protocol: ProtocolSpec,
    n_all: int,
    options: Options,
    tell: Callable[[str], None],
) -> None:
    from ptb_core.leaderboard.wording import protocol_words

    spread = "" if score.stderr is None else f" ± {score.stderr:.4f}"
    # How many samples were taken stands before it; the task's own limit on an answer is no change.
    changed = options.max_tokens or settings.protocol.max_tokens
    words = protocol_words(replace(protocol, limit=None, max_tokens=changed))
    tell(
        f"{settings.task}: {score.value:.4f}{spread} ({score.n} of {n_all} samples, protocol "
        f"{words})"
    )
    if options.json_output_file is not None:
        metrics = {
            "accuracy": score.value,
            "stderr": score.stderr,
            "n": score.n,
            "task": settings.task,
            "protocol": protocol.name,
            "scoring": protocol.scoring,
            "max_tokens": protocol.max_tokens,
            "breakdowns": dict(score.breakdowns),
            "marks": dict(score.marks),
        }
        write_json(options.json_output_file, metrics)
