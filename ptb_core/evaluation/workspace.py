"""What is laid into an agent's workspace: evaluate.py with what it needs, template, timer.

Everything that is laid is hashed; an agent must leave it as it is.
"""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, TypeAlias

import msgspec

from ptb_core.atomic import write_json
from ptb_core.canonical import file_sha256
from ptb_core.data import data_dir
from ptb_core.errors import DataError, Fault, InputFileError
from ptb_core.evaluation.dev_modes import is_scored_outside
from ptb_core.evaluation.exchange import DataDir
from ptb_core.evaluation.laid_questions import lines_of
from ptb_core.evaluation.rows import read_rows, row_suffix
from ptb_core.integrity import HarnessFile
from ptb_core.interfaces import Task
from ptb_core.specs import ComponentChoice, Condition, ModelSpec, ProtocolSpec

SETTINGS = "evaluation/settings.json"
QUESTIONS = "evaluation/questions.jsonl"
EVALUATE = "evaluate.py"
TIMER = "timer.sh"
_FILES = Path(__file__).parent / "harness_files"
TEMPLATES = "templates"
"""Folder of the chat template, which is named after the model's family."""

HarnessRole: TypeAlias = Literal[
    "evaluation", "template", "timer", "evaluation-data", "training-data"
]

_CITED: tuple[HarnessRole, ...] = ("evaluation", "template", "timer")
"""Roles whose original text is kept, so that a judge can cite what was changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HarnessSettings:
    """What evaluate.py reads; paths are relative to the workspace.

    Attributes:
        task: Name of the task.
        model: The base model's spec; its chat template is the one in the workspace.
        protocol: The protocol of the final evaluation.
        engine: The engine with its settings.
        data: Data files by name.
        prompts: Files with prompt wordings by name.
        revisions: What was really used, by data file or prompt name.
        default_limit: Samples taken when no limit is given; None means all.
        scored: Who scores: evaluate.py itself, or the broker.
        questions: File of what each sample asks, where data and answers stay outside; see
            :mod:`ptb_core.evaluation.laid_questions`.
    """

    task: str
    model: ModelSpec
    protocol: ProtocolSpec
    engine: ComponentChoice
    data: Mapping[str, str]
    prompts: Mapping[str, str]
    revisions: Mapping[str, str] = field(default_factory=dict)
    default_limit: int | None = None
    scored: Literal["here", "outside"] = "here"
    questions: str | None = None


def lay_harness(
    folder: Path,
    *,
    task: Task,
    model: ModelSpec,
    condition: Condition,
    protocol: ProtocolSpec,
    engine: ComponentChoice,
    data: DataDir,
    deadline_unix_s: float | None = None,
) -> tuple[HarnessFile, ...]:
    """Write what the condition grants into a workspace and return what was written.

    Args:
        folder: The workspace; exists.
        task: The task.
        model: The base model.
        condition: Decides on development evaluation and training data.
        protocol: The protocol of the final evaluation.
        engine: The engine of the final evaluation.
        data: The task's data on the trusted side.
        deadline_unix_s: When the agent's time ends; None leaves it to ``PTB_DEADLINE_UNIX_S``.

    Raises:
        DataError: If a data file or the template cannot be read.
    """
    laid = _Laid(folder)
    template = f"{TEMPLATES}/{model.family}.jinja"
    laid.copy(template_of(model), template, "template")
    laid.text(_timer(deadline_unix_s), TIMER, "timer")
    if condition.dev_evaluation != "none":
        laid.copy(_FILES / EVALUATE, EVALUATE, "evaluation")
        settings = HarnessSettings(
            task=task.spec.name,
            model=replace(model, chat_template=template),
            protocol=protocol,
            engine=engine,
            data={},
            prompts={},
            revisions=data.revisions,
            default_limit=task.spec.default_limit,
            scored="outside" if is_scored_outside(task.spec, condition) else "here",
        )
        if condition.dev_evaluation == "brokered":
            laid.text(lines_of(task, data, protocol), QUESTIONS, "evaluation-data")
            laid.settings(replace(settings, questions=QUESTIONS))
        else:
            laid.settings(
                replace(settings, data=laid.all_data(data), prompts=laid.all_prompts(data))
            )
    if condition.provide_train_data:
        for file in task.spec.data:
            if file.agents_may_train:
                laid.rows(data.file(file.name), f"data/{file.name}.jsonl")
    return tuple(laid.files)


def read_settings(workspace: Path) -> HarnessSettings:
    """Return the settings that were laid into a workspace.

    Raises:
        InputFileError: If they are missing or damaged.
    """
    path = workspace / SETTINGS
    try:
        return msgspec.json.decode(path.read_bytes(), type=HarnessSettings)
    except (OSError, msgspec.DecodeError, msgspec.ValidationError) as error:
        fault = Fault(path="$", found=str(error), expected="the file as it was laid here")
        raise InputFileError(str(path), (fault,)) from error


def template_of(model: ModelSpec) -> Path:
    """Return the file of a model's chat template; relative ones lie in the shipped data."""
    return data_dir() / model.chat_template


class _Laid:
    """Writes files into a workspace and remembers their digests."""

    def __init__(self, workspace: Path) -> None:
        self.files: list[HarnessFile] = []
        self._workspace = workspace

    def copy(self, source: Path, target: str, role: HarnessRole) -> str:
        try:
            shutil.copyfile(source, self._path(target))
        except OSError as error:
            raise DataError(f"{source} cannot be copied into the workspace ({error})") from error
        return self._remember(target, role)

    def text(self, text: str, target: str, role: HarnessRole) -> str:
        self._path(target).write_text(text, encoding="utf-8")
        return self._remember(target, role)

    def settings(self, settings: HarnessSettings) -> None:
        write_json(self._path(SETTINGS), settings)
        self._remember(SETTINGS, "evaluation")

    def all_data(self, data: DataDir) -> dict[str, str]:
        """Copy the data files and return their paths by name."""
        return {
            name: self.data(path, f"evaluation/data/{name}")
            for name, path in sorted(data.files.items())
        }

    def all_prompts(self, data: DataDir) -> dict[str, str]:
        """Write the prompt wordings and return their paths by name."""
        return {
            name: self.text(text, f"evaluation/prompts/{name}.txt", "evaluation")
            for name, text in data.prompts.items()
        }

    def data(self, source: Path, stem: str) -> str:
        """Copy a data file, unpacked, in the form that it has."""
        suffix = row_suffix(source) or source.suffix
        target = stem + suffix.removesuffix(".gz")
        if not suffix.endswith(".gz"):
            return self.copy(source, target, "evaluation-data")
        try:
            with gzip.open(source) as packed, self._path(target).open("wb") as stream:
                shutil.copyfileobj(packed, stream)
        except (OSError, EOFError) as error:
            raise DataError(f"{source} cannot be unpacked ({error})") from error
        return self._remember(target, "evaluation-data")

    def rows(self, source: Path, target: str) -> str:
        """Write a data file's rows as JSON lines, whatever form it has."""
        with self._path(target).open("w", encoding="ascii") as stream:
            for row in read_rows(source):
                # Escaped, so that no line separator of Unicode stands in a row.
                stream.write(json.dumps(row) + "\n")
        return self._remember(target, "training-data")

    def _path(self, target: str) -> Path:
        path = self._workspace / target
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def _remember(self, target: str, role: HarnessRole) -> str:
        path = self._workspace / target
        text = path.read_text("utf-8") if role in _CITED else None
        file = HarnessFile(path=target, sha256=file_sha256(path), role=role, text=text)
        self.files.append(file)
        return target


def _timer(deadline_unix_s: float | None) -> str:
    deadline = "" if deadline_unix_s is None else str(int(deadline_unix_s))
    return (_FILES / TIMER).read_text("utf-8").replace("@DEADLINE@", deadline)
