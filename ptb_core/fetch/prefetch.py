"""Bringing everything that a plan needs onto this machine, and saying what came and what failed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ptb_core.errors import DataError
from ptb_core.evaluation.exchange import DataDir
from ptb_core.fetch.context import Progress, silent
from ptb_core.fetch.data import ensure_data
from ptb_core.fetch.models import ensure_model
from ptb_core.specs import ModelSpec, TaskSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class PrefetchItem:
    """One model, or the data of one task.

    Attributes:
        kind: ``model`` or ``task``.
        name: Its name.
        state: ``there`` (nothing had to be fetched), ``fetched`` or ``failed``.
        size_bytes: Size on disk of its files.
        revisions: What identifies each part, by name.
        reason: Why it failed; empty otherwise.
    """

    kind: Literal["model", "task"]
    name: str
    state: Literal["there", "fetched", "failed"]
    size_bytes: int = 0
    revisions: Mapping[str, str] = field(default_factory=dict)
    reason: str = ""


def prefetch(
    tasks: Sequence[TaskSpec],
    models: Sequence[ModelSpec],
    mirror: Path | None = None,
    offline: bool | None = None,
    progress: Progress = silent,
    look_at: Callable[[TaskSpec, DataDir], object] | None = None,
) -> Iterator[PrefetchItem]:
    """Fetch models, data and prompt wordings one after the other; one that fails stops no other.

    Args:
        tasks: Tasks whose data and wordings are needed.
        models: Base models that are needed.
        mirror: Folder with local copies; ``$PTB_MIRROR`` by default.
        offline: True forbids the network; ``$PTB_OFFLINE`` by default.
        progress: Who is told how downloads stand.
        look_at: Looks at each task's data once they are there; raises DataError when something
            is wrong with them.

    Yields:
        One item per model and task, as soon as it is known how it stands.
    """
    for model in models:
        yield _model(model, mirror, offline, progress)
    for task in tasks:
        yield _task(task, mirror, offline, progress, look_at)


class _Watch:
    """Passes progress on and remembers whether there was any."""

    def __init__(self, progress: Progress) -> None:
        self.is_fetched = False
        self._progress = progress

    def __call__(self, what: str, done: int, total: int | None) -> None:
        self.is_fetched = True
        self._progress(what, done, total)

    @property
    def state(self) -> Literal["there", "fetched"]:
        return "fetched" if self.is_fetched else "there"


def _model(
    model: ModelSpec, mirror: Path | None, offline: bool | None, progress: Progress
) -> PrefetchItem:
    watch = _Watch(progress)
    try:
        files = ensure_model(model, mirror, offline, watch)
    except DataError as error:
        return PrefetchItem(kind="model", name=model.name, state="failed", reason=str(error))
    return PrefetchItem(
        kind="model",
        name=model.name,
        state=watch.state,
        size_bytes=_size(files.path / name for name in files.sha256s),
        revisions={"weights": files.revision},
    )


def _task(
    task: TaskSpec,
    mirror: Path | None,
    offline: bool | None,
    progress: Progress,
    look_at: Callable[[TaskSpec, DataDir], object] | None,
) -> PrefetchItem:
    watch = _Watch(progress)
    try:
        data = ensure_data(task, mirror, offline, watch)
        if look_at is not None:
            look_at(task, data)
    except DataError as error:
        return PrefetchItem(kind="task", name=task.name, state="failed", reason=str(error))
    return PrefetchItem(
        kind="task",
        name=task.name,
        state=watch.state,
        size_bytes=_size(data.files.values()),
        revisions=data.revisions,
    )


def _size(paths: Iterable[Path]) -> int:
    return sum(path.stat().st_size for path in paths)
