"""Who performs a task's checks in an evaluation that stands alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ptb_core.specs import JsonValue, TaskSpec

if TYPE_CHECKING:
    from ptb_core.evaluation.checking import Runners


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerChoice:
    """What a task's checks are performed with.

    Attributes:
        runners: They; None in it where the task needs none.
        asked_of: Facts about them that a score depends on.
    """

    runners: Runners
    asked_of: Mapping[str, JsonValue] = field(default_factory=dict)


def runners_for(task: TaskSpec) -> RunnerChoice:
    """Return who performs the checks of a task."""
    from ptb_core.evaluation.checking import Runners

    return RunnerChoice(runners=Runners())
