"""The samples of an evaluation: all that the manifest promises, each with an id of its own.

Besides, those that would come next: what an engine of fixed batches is asked along with them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from ptb_core.errors import DataError
from ptb_core.evaluation.exchange import DataDir, Sample
from ptb_core.interfaces import Task


def samples_of(task: Task, data: DataDir, limit: int | None = None) -> Sequence[Sample]:
    """Return the samples to evaluate, in order.

    Args:
        task: The task.
        data: Its data.
        limit: Number of samples; None takes all.

    Raises:
        DataError: If the data lack what the task needs, hold another number of samples than the
            task's manifest says, or name two samples alike.
    """
    samples = task.samples(data)
    name, stated = task.spec.name, task.spec.n_samples
    files = ", ".join(str(path) for path in data.files.values())
    if len(samples) != stated:
        raise DataError(
            f"{name}: its data hold {len(samples)} samples, expected {stated}, the n_samples of "
            f"its manifest; a copy that was cut or changed gives other scores, so replace it: "
            f"{files}"
        )
    ((most, count),) = Counter(sample.id for sample in samples).most_common(1)
    if count > 1:
        raise DataError(
            f"{name}: {count} samples have the id {most!r}, expected every id once; look into "
            f"{files}"
        )
    return task.order(samples, limit)


def samples_after(task: Task, data: DataDir, chosen: Sequence[Sample]) -> Sequence[Sample]:
    """Return the samples that follow the chosen ones when there is no limit, in order.

    None follow where the chosen ones are not the first of that order, as for a task that orders
    its samples otherwise under a limit.

    Args:
        task: The task.
        data: Its data.
        chosen: Samples of :func:`samples_of`.

    Raises:
        DataError: As :func:`samples_of`.
    """
    if len(chosen) >= task.spec.n_samples:
        return ()
    every = samples_of(task, data)
    first = [sample.id for sample in every[: len(chosen)]]
    return every[len(chosen) :] if first == [sample.id for sample in chosen] else ()
