"""How each installed plugin stands: what it brings, what it costs, what is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from ptb_core.catalogue import Catalogue
from ptb_core.component_checks import unusable_reason
from ptb_core.entry_points import normalised
from ptb_core.errors import UsageError
from ptb_core.manifests import FOLDERS
from ptb_core.plugins import BrokenPlugin, Contribution, PluginLoad
from ptb_core.specs import Kind
from ptb_core.suggest import did_you_mean

State: TypeAlias = Literal["loaded", "partly loaded", "not loaded", "switched off"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Brought:
    """One component of a plugin.

    Attributes:
        kind: Its kind.
        name: Its name.
        usable: Whether it can be used on this machine.
        reason: Why not; empty when it can.
    """

    kind: Kind
    name: str
    usable: bool
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """What of a plugin could not be loaded.

    Attributes:
        what: ``the whole plugin``, or ``its tasks`` and the like.
        reason: Why, in words.
        traceback: Of what was raised; empty when nothing was.
    """

    what: str
    reason: str
    traceback: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginReport:
    """One installed plugin.

    Attributes:
        name: Name of its entry point; empty when its distribution's list cannot be read.
        distribution: Name of its distribution.
        version: Version of its distribution.
        value: What the entry point names, ``module`` or ``module:attribute``.
        state: ``partly loaded`` when some of it can be used and some is broken.
        load_s: Time that its import and hooks took, in seconds; None when it was not imported.
        steps: Seconds of its import and of each hook.
        brings: Its components, broken ones included.
        failures: What could not be loaded.
        notes: What its author should change although nothing is broken, as ends of sentences.
    """

    name: str
    distribution: str
    version: str
    value: str
    state: State
    load_s: float | None
    steps: dict[str, float]
    brings: tuple[Brought, ...]
    failures: tuple[Failure, ...]
    notes: tuple[str, ...]


def plugin_reports(catalogue: Catalogue) -> tuple[PluginReport, ...]:
    """Return a report of every installed plugin, by distribution and name."""
    return tuple(_report(catalogue, load) for load in catalogue.loads)


def find_reports(catalogue: Catalogue, name: str) -> tuple[PluginReport, ...]:
    """Return the reports of the plugins whose entry point or distribution is called ``name``.

    Raises:
        UsageError: If none is.
    """
    reports = plugin_reports(catalogue)
    wanted = normalised(name)
    found = [one for one in reports if wanted in map(normalised, (one.name, one.distribution))]
    if found:
        return tuple(found)
    names = dict.fromkeys(
        known for one in reports for known in (one.name, one.distribution) if known
    )
    raise UsageError(
        f"no installed plugin or distribution is called {name!r}{did_you_mean(name, names)}; "
        f"there are: {', '.join(names)}"
    )


def brings_words(report: PluginReport) -> str:
    """Return what a plugin brings in one line, such as ``2 tasks, 1 model``."""
    counts: dict[Kind, int] = {}
    for one in report.brings:
        counts[one.kind] = counts.get(one.kind, 0) + 1
    words = [f"{count} {kind if count == 1 else FOLDERS[kind]}" for kind, count in counts.items()]
    return ", ".join(words) or "nothing"


def _report(catalogue: Catalogue, load: PluginLoad) -> PluginReport:
    plugin = load.plugin
    brought = catalogue.brought_by(plugin)
    broken = [one for one in catalogue.broken if one.plugin == plugin]
    return PluginReport(
        name=plugin.name,
        distribution=plugin.distribution,
        version=plugin.version,
        value=load.value,
        state=_state(brought, broken),
        load_s=sum(seconds for _, seconds in load.steps) if load.steps else None,
        steps=dict(load.steps),
        brings=tuple(_brought(one) for one in brought),
        failures=tuple(_failure(one) for one in broken),
        notes=load.notes,
    )


def _state(brought: tuple[Contribution, ...], broken: list[BrokenPlugin]) -> State:
    if any(one.is_switched_off for one in broken):
        return "switched off"
    if not broken and not any(one.fault for one in brought):
        return "loaded"
    return "partly loaded" if any(not one.fault for one in brought) else "not loaded"


def _brought(contribution: Contribution) -> Brought:
    reason = unusable_reason(contribution)
    return Brought(
        kind=contribution.kind,
        name=contribution.name,
        usable=reason is None,
        reason=reason or "",
    )


def _failure(broken: BrokenPlugin) -> Failure:
    what = f"its {FOLDERS[broken.kind]}" if broken.kind else "the whole plugin"
    return Failure(what=what, reason=broken.reason, traceback=broken.traceback)
