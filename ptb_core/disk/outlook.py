"""Before a run: does its disk have room for it?"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ptb_core.cache import cache_root
from ptb_core.disk.needs import checkpoint_bytes, kept_need, least_live_need, live_need
from ptb_core.disk.space import NOTHING, Need, Space, space_at
from ptb_core.errors import UsageError
from ptb_core.plan.model import Plan
from ptb_core.run_folder import RunFolder
from ptb_core.sizes import in_words
from ptb_core.specs import CellSpec, ModelSpec

if TYPE_CHECKING:
    from ptb_core.catalogue import Catalogue


class DiskTooSmallError(UsageError):
    """The disk cannot hold what the plan will leave; nothing was started."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What the rest of a run needs, beside what is free.

    Attributes:
        plan: The plan.
        place: The run folder, or where it would be made.
        space: Room at the run folder.
        cells: Agent cells that are still to run.
        live: What the largest of them takes while it runs.
        kept: What stays of all of them.
        least: Below this the run cannot come to its end.
        likely: Below this it may have to wait for room.
        cache: Models that are to be fetched yet; zero when none are.
        cache_space: Room at the cache.
    """

    plan: Plan
    place: Path
    space: Space
    cells: int
    live: Need
    kept: Need
    least: Need
    likely: Need
    cache: Need
    cache_space: Space

    @property
    def sentence(self) -> str:
        """The outlook in one line."""
        rule = self.plan.retention.checkpoints
        fetched = f"; models to fetch {in_words(self.cache.bytes)}" if self.cache.bytes else ""
        return (
            f"disk: up to {in_words(self.live.bytes)} for a cell while it runs, "
            f"{in_words(self.kept.bytes)} stay of {self.cells} agent cells (checkpoints {rule})"
            f"{fetched}; {in_words(self.space.bytes)} free at {self.space.path}"
        )

    @property
    def refusal(self) -> str:
        """Why the run cannot come to its end; empty when it can."""
        short = self._whole(self.least).shortage(self.space)
        if short:
            return f"the run {short}; {self._remedy}"
        short = "" if self._is_one_disk else self.cache.shortage(self.cache_space)
        if short:
            return f"fetching its models {short}; free space, or name another cache with PTB_CACHE"
        return ""

    @property
    def warning(self) -> str:
        """Why it may have to wait for room; empty when it need not."""
        short = self._whole(self.likely).shortage(self.space)
        if self.refusal or not short:
            return ""
        return f"the disk is tight: the run {short} when all goes well; cells wait while it is full"

    @property
    def _remedy(self) -> str:
        less = (
            "let checkpoints go with retention.checkpoints, "
            if self.plan.retention.checkpoints in ("all", "best")
            else ""
        )
        return f"{less}free space, or name a larger disk with --run-dir"

    def _whole(self, need: Need) -> Need:
        return need + self.cache if self._is_one_disk else need

    @property
    def _is_one_disk(self) -> bool:
        return self.space.device == self.cache_space.device


def outlook(
    plan: Plan, catalogue: Catalogue, place: Path, done: Collection[str] = ()
) -> Outlook | None:
    """Weigh what a plan needs against what is free.

    Args:
        plan: The plan.
        catalogue: Components.
        place: The run folder; need not exist.
        done: Cells that take no more room than they do.

    Returns:
        None when a file system cannot be asked.

    Raises:
        PluginError: If a component of the plan cannot be loaded.
    """
    cells = [cell for cell in plan.cells if cell.id not in done]
    models = {name: catalogue.model(name) for name in plan.models}
    lives = [live_need(plan, cell, models[cell.model]) for cell in cells]
    kept = _kept(plan, cells, models)
    slots = catalogue.executor(plan.executor.name).slots(plan.executor.settings)
    try:
        space, cache_space = space_at(place), space_at(cache_root())
    except OSError:
        return None
    most = _largest(lives)
    return Outlook(
        plan=plan,
        place=place,
        space=space,
        cells=sum(cell.kind == "agent" for cell in cells),
        live=most,
        kept=kept,
        least=_with_last(kept, plan, cells, models),
        likely=kept + most.times(len(cells) if slots is None else min(slots, len(cells))),
        cache=_to_fetch(plan, models),
        cache_space=cache_space,
    )


def settled_cells(run_folder: RunFolder, plan: Plan) -> frozenset[str]:
    """Return the cells of a run folder, which need not exist, that are sealed or recorded."""
    return frozenset(
        cell.id
        for cell in plan.cells
        if any(run_folder.cell(cell.id).marker(stage).exists() for stage in ("seal", "record"))
    )


def describe_outlook(outlook: Outlook | None) -> list[str]:
    """Return what `ptb validate` and `ptb run` print about the disk; nothing if none is needed."""
    if outlook is None:
        return ["disk: its file system does not say how much room there is"]
    if not (outlook.live.bytes or outlook.cache.bytes):
        return []
    return [outlook.sentence, *filter(None, (outlook.refusal, outlook.warning))]


def refuse_too_small(outlook: Outlook) -> None:
    """Make sure that the run can come to its end.

    Raises:
        DiskTooSmallError: If its disk is clearly too small.
    """
    if outlook.refusal:
        raise DiskTooSmallError(
            f"the plan {outlook.plan.name!r} does not fit on the disk; nothing was started: "
            f"{outlook.refusal}. `--ignore-disk` runs it all the same, and cells then wait for room"
        )


def _kept(plan: Plan, cells: list[CellSpec], models: dict[str, ModelSpec]) -> Need:
    needs = (kept_need(plan.retention, plan.repeats, c, models[c.model]) for c in cells)
    return sum(needs, NOTHING)


def _with_last(kept: Need, plan: Plan, cells: list[CellSpec], models: dict[str, ModelSpec]) -> Need:
    """Return what the last cell takes while it runs, beside what stays of the others."""
    agents = [cell for cell in cells if cell.kind == "agent"]
    if not agents:
        return NOTHING
    sizes = [
        least_live_need(models[cell.model]).bytes
        - kept_need(plan.retention, plan.repeats, cell, models[cell.model]).bytes
        for cell in agents
    ]
    return Need(bytes=max(0, kept.bytes + min(sizes)), inodes=kept.inodes)


def _largest(needs: list[Need]) -> Need:
    return max(needs, key=lambda need: need.bytes, default=NOTHING)


def _to_fetch(plan: Plan, models: dict[str, ModelSpec]) -> Need:
    """Models that come from the hub or a wheel and of which the cache holds nothing yet."""
    size = 0
    for name in plan.models:
        source = models[name].source
        places = [cache_root() / "converted" / name]
        places += [cache_root() / "hub" / "models" / source.hub] if source.hub else []
        if source.packaged is None and not any(place.is_dir() for place in places):
            size += checkpoint_bytes(models[name])
    return Need(bytes=size, inodes=0)
