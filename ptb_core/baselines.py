"""Scores of untouched and instruct models: the published ones that ship, and measured ones.

They stand in for base scores that a run measures only where a plan declares them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import msgspec

from ptb_core.canonical import short_hash
from ptb_core.data import data_dir
from ptb_core.errors import DataError
from ptb_core.evaluation.exchange import TaskScore
from ptb_core.schemas import check, load_json
from ptb_core.specs import ComponentChoice, JsonValue, ProtocolSpec, Scoring

Pair: TypeAlias = tuple[str, str]
"""Names of a task and a base model."""

BASE_SET = "base-zero-shot"
"""Name of the set that holds base scores; the others are references only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """How one score was measured.

    Attributes:
        protocol: The protocol, with its limit and seeds.
        engine: What served the model.
        scores: Score under each scoring.
        max_tokens: Longest answer in tokens.
        checkpoint_revision: What identifies the weights.
        data: Revision or digest of each data file and prompt of the task.
        software: Versions that can move a score.
        grader: The grader of tasks that need one.
        created_unix_s: When.
    """

    protocol: ProtocolSpec
    engine: ComponentChoice
    scores: Mapping[Scoring, TaskScore]
    max_tokens: int
    checkpoint_revision: str
    data: Mapping[str, str]
    software: Mapping[str, JsonValue]
    created_unix_s: float
    grader: Mapping[str, JsonValue] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineSet:
    """Scores of one kind.

    Attributes:
        name: Kind of score.
        protocol: Protocol of the measurement.
        scores: By base model, then by task, in [0, 1].
        description: What was measured.
        measurements: How each score was measured, by base model, then by task; empty for
            published ones.
    """

    name: str
    protocol: str
    scores: Mapping[str, Mapping[str, float]]
    description: str = ""
    measurements: Mapping[str, Mapping[str, Measurement]] = field(default_factory=dict)

    @property
    def pairs(self) -> dict[Pair, float]:
        """Scores by task and model."""
        return {(task, model): s for model, row in self.scores.items() for task, s in row.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Baselines:
    """All published sets; empty where no plan declares them."""

    sets: tuple[BaselineSet, ...] = field(default=())

    @property
    def base(self) -> Mapping[Pair, float]:
        """Base scores by task and model."""
        return next((each.pairs for each in self.sets if each.name == BASE_SET), {})

    @property
    def base_measurements(self) -> Mapping[Pair, Measurement]:
        """How base scores were measured, by task and model; empty for published ones."""
        found = next((each.measurements for each in self.sets if each.name == BASE_SET), {})
        return {(task, model): m for model, row in found.items() for task, m in row.items()}

    def unfit(
        self,
        task: str,
        model: str,
        protocol: ProtocolSpec,
        engine: ComponentChoice,
        grader: JsonValue,
    ) -> str | None:
        """Return why no measured base score can stand in for a run's own, or None.

        Args:
            task: The task.
            model: The base model.
            protocol: Protocol of the cells that it would count for.
            engine: Their engine.
            grader: What their graders share, or None; tasks that need none ignore it.
        """
        found = self.base_measurements.get((task, model))
        if found is None:
            return f"no measured base score of {model} on {task}"
        if found.protocol != protocol:
            return f"a base score of {model} on {task} under another protocol or limit"
        if engine_key(found.engine) != engine_key(engine):
            return f"a base score of {model} on {task} on another engine or other settings of it"
        if found.grader is not None and found.grader != grader:
            return f"a base score of {model} on {task} by another grader or wording"
        return None

    @property
    def references(self) -> tuple[BaselineSet, ...]:
        """The sets to compare with."""
        return tuple(each for each in self.sets if each.name != BASE_SET)


def engine_key(engine: ComponentChoice) -> tuple[str, str]:
    """Return what is equal for engines whose scores may be compared: name and settings.

    A setting without a value is as good as one that its version of the engine did not have.
    """
    given = {name: value for name, value in engine.settings.items() if value is not None}
    return engine.name, short_hash(given)


def read_baselines(path: Path) -> Baselines:
    """Read a file that ``ptb baseline`` wrote.

    Raises:
        UsageError: If there is none, or it breaks its schema.
    """
    content = load_json(path)
    check(content, "baseline", path)
    return msgspec.convert(content, Baselines)


def load_baselines(path: Path | None = None) -> Baselines:
    """Read the published baselines.

    Args:
        path: The file; the shipped ``registry/baselines/published.json`` by default.

    Raises:
        DataError: If the file is absent or damaged.
    """
    file = path or data_dir() / "registry" / "baselines" / "published.json"
    try:
        return msgspec.json.decode(file.read_bytes(), type=Baselines)
    except (OSError, msgspec.DecodeError, msgspec.ValidationError) as error:
        raise DataError(
            f"{file}: the published baselines, which a plan declares, cannot be read ({error}); "
            'install ptb anew, or measure base scores with `"baselines": "measured"`'
        ) from error
