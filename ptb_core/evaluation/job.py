"""From names on a command line to an evaluation that can be started."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ptb_core.canonical import short_hash
from ptb_core.component_checks import engine_obstacles, execute_obstacles
from ptb_core.errors import InputFileError, UsageError
from ptb_core.evaluation.evaluate import EvaluationJob
from ptb_core.evaluation.runners import GraderOptions, grader_terms, require_key
from ptb_core.evaluation.serving import Subject
from ptb_core.gpus import visible_gpus
from ptb_core.interfaces import Engine
from ptb_core.settings import check_settings
from ptb_core.specs import (
    ComponentChoice,
    FileSource,
    JsonValue,
    Kind,
    ModelSpec,
    ProtocolSpec,
    Setting,
)
from ptb_core.stages.prepare import with_plans_wording
from ptb_core.suggest import did_you_mean

if TYPE_CHECKING:
    from ptb_core.catalogue import Catalogue
    from ptb_core.fetch import ModelFiles
    from ptb_core.grading.terms import GraderTerms

DEFAULT_ENGINE = "transformers"
DEFAULT_SANDBOX = "local"


@dataclass(frozen=True, slots=True, kw_only=True)
class JobOptions:
    """What the user asked for besides checkpoint and task.

    Attributes:
        protocol: The protocol with its changes.
        engine: Name of the engine.
        settings: Settings of the engine.
        sandbox: Name of the sandbox.
        sandbox_settings: Settings of the sandbox.
        devices: GPUs to hand to the engine; None takes all that this process may use.
        grader: The grader of tasks that need one.
        terms: The grader and what it may cost, as a plan says it, in place of ``grader``.
        mirror: Folder with local copies of data and weights.
    """

    protocol: ProtocolSpec
    engine: str = DEFAULT_ENGINE
    settings: Mapping[str, JsonValue] = field(default_factory=dict)
    sandbox: str = DEFAULT_SANDBOX
    sandbox_settings: Mapping[str, JsonValue] = field(default_factory=dict)
    devices: tuple[str, ...] | None = None
    grader: GraderOptions = GraderOptions()
    terms: GraderTerms | None = None
    mirror: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """A checkpoint that is on this machine.

    Attributes:
        subject: It, with its base model.
        revision: What identifies its weights.
        base_revision: The same of the base model.
        origin: Where it comes from, for readers.
        notes: What a reader must know of it.
    """

    subject: Subject
    revision: str
    base_revision: str
    origin: str
    notes: tuple[str, ...] = ()


def find_weights(
    catalogue: Catalogue, named: str, model: str | None, mirror: Path | None
) -> Weights:
    """Return the weights that a user names.

    Args:
        catalogue: Components.
        named: A registered model, or the folder of a checkpoint.
        model: The base model that a folder's checkpoint was made from.
        mirror: Folder with local copies.

    Raises:
        UsageError: If there is no such model or folder, or the folder holds no checkpoint.
        DataError: If weights cannot be had.
    """
    if named in catalogue.names("model") and model in (None, named):
        return base_weights(catalogue.model(named), mirror)
    if named in catalogue.names("model"):
        raise UsageError(
            f"{named} is a registered model and has its own template, so --model {model} makes no "
            f"sense; for a folder of that name write ./{named}"
        )
    folder = Path(named)
    if not folder.is_dir():
        raise UsageError(f"there is no folder {named}{_no_model(catalogue, named)}")
    if model is None:
        raise UsageError(
            f"{named} is a folder: say with --model which base model it was made from, which gives "
            f"template, turn end and context; the models are {', '.join(catalogue.names('model'))}"
        )
    return folder_weights(folder, catalogue.model(model), mirror)


def base_weights(model: ModelSpec, mirror: Path | None) -> Weights:
    """Return the untouched base model; raises DataError if it cannot be had."""
    from ptb_core.fetch import ensure_model

    files = ensure_model(model, mirror)
    return _weights(model, files, files)


def folder_weights(folder: Path, model: ModelSpec, mirror: Path | None) -> Weights:
    """Return a folder's checkpoint.

    Raises:
        UsageError: If the folder holds none that can be served.
        DataError: If the base model cannot be had.
    """
    from ptb_core.fetch import ensure_model
    from ptb_core.fetch.models import local_files

    _require_checkpoint(folder)
    return _weights(model, local_files(folder.resolve()), ensure_model(model, mirror))


def twin_weights(model: ModelSpec, mirror: Path | None) -> Weights:
    """Return the official instruct form of a base model.

    Raises:
        UsageError: If the model's manifest names none.
        DataError: If it cannot be had.
    """
    from ptb_core.fetch import ensure_model

    if not model.forbidden_twins:
        raise UsageError(
            f"{model.name} has no instruct twin: its manifest lists none under forbidden_twins"
        )
    twin = model.forbidden_twins[0]
    source = FileSource(hub=twin)
    files = ensure_model(replace(model, name=f"{model.name}-instruct", source=source), mirror)
    return _weights(model, files, ensure_model(model, mirror))


def make_job(
    catalogue: Catalogue, weights: Weights, task: str, options: JobOptions
) -> EvaluationJob:
    """Return the evaluation of a checkpoint on a task.

    Raises:
        UsageError: If a name or setting is wrong, or this machine lacks something for it.
        PluginError: If a component cannot be used on this machine.
        DataError: If the task's data cannot be had.
    """
    from ptb_core.fetch import ensure_data

    evaluated = catalogue.task(task)
    engine, sandbox = catalogue.engine(options.engine), catalogue.sandbox(options.sandbox)
    if "serve" not in sandbox.spec.roles:
        raise UsageError(f"the sandbox {options.sandbox} cannot serve a checkpoint; name another")
    devices = _devices(options.devices)
    model = weights.subject.model
    data = ensure_data(evaluated.spec, options.mirror)
    terms = None
    if evaluated.spec.needs_grader:
        terms = options.terms or grader_terms(options.grader, task)
        require_key(terms, of_a_plan=options.terms is not None)
    job = EvaluationJob(
        subject=weights.subject,
        revision=weights.revision,
        base_revision=weights.base_revision,
        origin=weights.origin,
        task=evaluated,
        data=with_plans_wording(data, terms.grader if terms else None, task),
        grader=terms,
        protocol=options.protocol,
        engine=engine,
        engine_choice=chosen_engine(engine, options),
        sandbox=sandbox,
        sandbox_choice=_choice(
            sandbox.spec.name,
            sandbox.spec.settings,
            options.sandbox_settings,
            "--sandbox-setting",
        ),
        components=_components(
            catalogue,
            ("task", task),
            ("model", model.name),
            ("engine", options.engine),
            ("sandbox", options.sandbox),
        ),
        devices=devices if sandbox.spec.gpus else (),
        notes=weights.notes,
    )
    _refuse_obstacles(job)
    return job


def _refuse_obstacles(job: EvaluationJob) -> None:
    """Refuse before anything is started what would fail after hours of answers."""
    engine, sandbox = job.engine_choice, job.sandbox_choice
    found = [
        f"engine {engine.name}: {text}" for text in engine_obstacles(job.engine, engine.settings)
    ]
    if job.task.spec.needs_tools and job.subject.model.tool_parser is None:
        found.append(
            f"model {job.subject.model.name}: the task offers tools, and its manifest names no "
            "tool_parser"
        )
    if job.task.spec.needs_programs:
        if "execute" not in job.sandbox.spec.roles:
            found.append(f"sandbox {sandbox.name}: it cannot run programs that a model writes")
        else:
            found += [
                f"sandbox {sandbox.name} cannot separate programs that a model writes: {text}"
                for text in execute_obstacles(job.sandbox, sandbox.settings)
            ]
    if found:
        listed = "\n".join(f"  {text}" for text in found)
        raise UsageError(f"{job.task.spec.name} cannot be evaluated like this:\n{listed}")


def default_folder(job: EvaluationJob) -> Path:
    """Return where an evaluation goes when the user names no folder; the same for the same job."""
    name = job.subject.checkpoint.name if job.revision != job.base_revision else ""
    parts = (job.task.spec.name, job.subject.model.name, name, short_hash(job.identity))
    return Path("ptb-evaluations") / "--".join(part for part in parts if part)


def _devices(given: tuple[str, ...] | None) -> tuple[str, ...]:
    visible = visible_gpus()
    if given is None:
        return visible
    missing = [name for name in given if name not in visible]
    if not missing:
        return given
    which = f" {' or '.join(missing)}, only {', '.join(visible)}" if visible else "; say none"
    raise UsageError(f"--gpus {','.join(given)}: this process may use no GPU{which}")


def _weights(model: ModelSpec, files: ModelFiles, base: ModelFiles) -> Weights:
    found = architectures(files.path)
    notes: tuple[str, ...] = ()
    if found and not set(found) <= set(model.architectures):
        notes = (
            f"config.json says {', '.join(found)}, which is neither {model.name}'s architecture "
            f"nor a listed equivalent ({', '.join(model.architectures)}); a cell's judges would "
            "hold that against it",
        )
    return Weights(
        subject=Subject(checkpoint=files.path, base_model=base.path, model=model),
        revision=files.revision,
        base_revision=base.revision,
        origin=files.origin,
        notes=notes,
    )


def architectures(folder: Path) -> tuple[str, ...]:
    """Return the architectures that a checkpoint's config.json names; damaged ones name none."""
    try:
        config = json.loads((folder / "config.json").read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return ()
    named = config.get("architectures") if isinstance(config, dict) else None
    return tuple(str(item) for item in named) if isinstance(named, list) else ()


def _no_model(catalogue: Catalogue, named: str) -> str:
    if os.sep in named:
        return ""
    names = catalogue.names("model")
    return f", and no model of that name{did_you_mean(named, names)}; models: {', '.join(names)}"


def _require_checkpoint(folder: Path) -> None:
    if (folder / "adapter_config.json").is_file() and not (folder / "config.json").is_file():
        raise UsageError(
            f"{folder} holds a LoRA adapter; merge it into the base model and save the whole model "
            "first (the seal of a cell merges adapters by itself)"
        )
    missing = [
        words
        for pattern, words in (("config.json", "config.json"), ("*.safetensors", ".safetensors"))
        if not any(folder.glob(pattern))
    ]
    if missing:
        raise UsageError(
            f"{folder} holds no {' and no '.join(missing)}; expected a checkpoint as "
            "`save_pretrained` writes it"
        )


def chosen_engine(engine: Engine, options: JobOptions) -> ComponentChoice:
    """Return an engine with the settings asked for, defaults filled in.

    Raises:
        InputFileError: If a setting is wrong.
    """
    return _choice(engine.spec.name, engine.spec.settings, options.settings, "--setting")


def _choice(
    name: str, declared: tuple[Setting, ...], given: Mapping[str, JsonValue], option: str
) -> ComponentChoice:
    checked = check_settings(declared, given, "$", Path.cwd())
    if checked.faults:
        raise InputFileError(f"{option} of {name}", checked.faults)
    return ComponentChoice(name=name, settings=checked.values)


def _components(catalogue: Catalogue, *used: tuple[Kind, str]) -> dict[str, JsonValue]:
    return {f"{kind}/{name}": catalogue.provenance(kind, name)._asdict() for kind, name in used}
