"""Built-in tasks: facts under ``registry/tasks``, evaluation code beside this file."""

from __future__ import annotations

from collections.abc import Iterable

from ptb_core.api import Task, TaskSpec, data_dir, hookimpl, load_manifests
from ptb_plugins.tasks.aime2025.task import Aime2025
from ptb_plugins.tasks.arenahardwriting.task import ArenaHardWriting
from ptb_plugins.tasks.bfcl.task import Bfcl
from ptb_plugins.tasks.errands.task import Errands
from ptb_plugins.tasks.gpqamain.task import GpqaMain
from ptb_plugins.tasks.gsm8k.task import Gsm8k
from ptb_plugins.tasks.healthbench.task import HealthBench
from ptb_plugins.tasks.humaneval.task import HumanEval

EVALUABLE: dict[str, type[Task]] = {
    "aime2025": Aime2025,
    "arenahardwriting": ArenaHardWriting,
    "bfcl": Bfcl,
    "errands": Errands,
    "gpqamain": GpqaMain,
    "gsm8k": Gsm8k,
    "healthbench": HealthBench,
    "humaneval": HumanEval,
}
"""Class of each task that this version can evaluate; the others are described only."""


@hookimpl
def ptb_register_tasks() -> Iterable[Task | TaskSpec]:
    """Return every task described under ``registry/tasks``."""
    for spec in load_manifests("tasks", TaskSpec, data_dir() / "registry"):
        task = EVALUABLE.get(spec.name)
        yield task(spec) if task is not None else spec
