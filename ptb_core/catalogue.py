"""The catalogue: every component of every installed plugin, usable or with the reason why not."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias, cast, overload

from ptb_core.component_checks import Checked, check_contributions, unusable_reason
from ptb_core.data import data_dir
from ptb_core.entry_points import OWN_DISTRIBUTION, Plugin
from ptb_core.errors import PluginError, UsageError
from ptb_core.interfaces import Engine, Executor, Judge, Sandbox, Scaffold, Task
from ptb_core.manifests import FOLDERS
from ptb_core.plugins import (
    BrokenPlugin,
    Contribution,
    LoadedPlugins,
    PluginLoad,
    load_plugins,
)
from ptb_core.spec_rules import ComponentSpec
from ptb_core.specs import KINDS, Kind, ModelSpec, TaskSpec
from ptb_core.suggest import did_you_mean

RowKind: TypeAlias = Kind | Literal["plugin"]

AnyComponent: TypeAlias = Task | ModelSpec | Scaffold | Sandbox | Engine | Judge | Executor


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of ``ptb list``; broken plugins are rows of kind ``plugin``.

    Attributes:
        kind: Kind of the component.
        name: Its name; of a plugin, its entry point.
        description: One line.
        distribution: Distribution that brought it.
        version: Version of that distribution.
        entry_point: Entry point of that distribution that brought it.
        usable: Whether it can be used on this machine.
        reason: Why not; empty when it can.
    """

    kind: RowKind
    name: str
    description: str
    distribution: str
    version: str
    entry_point: str
    usable: bool
    reason: str

    @property
    def is_foreign(self) -> bool:
        """True for what another distribution than this project's brought."""
        return self.distribution != OWN_DISTRIBUTION


class Provenance(NamedTuple):
    """Where a component came from, for a record's lock.

    Attributes:
        distribution: Name of the distribution.
        version: Its version.
        manifest_sha256: Of the manifest file, or of the spec's canonical JSON without one.
    """

    distribution: str
    version: str
    manifest_sha256: str


@cache
def load_catalogue() -> Catalogue:
    """Load all plugins, once per process, and return what they brought."""
    return Catalogue(load_plugins())


class Catalogue:
    """Finds components by kind and name.

    Attributes:
        broken: Plugins, or hooks of plugins, that could not be loaded.
        loads: How the loading of each installed plugin went.
        notes: What a user should know although nothing is broken.
    """

    def __init__(self, loaded: LoadedPlugins) -> None:
        self.broken: tuple[BrokenPlugin, ...] = loaded.broken
        self.loads: tuple[PluginLoad, ...] = loaded.loads
        self.notes: tuple[str, ...] = loaded.notes
        self._checked = check_contributions(loaded.contributions)

    def rows(self, kind: RowKind | None = None) -> tuple[Row, ...]:
        """Return all rows, or those of one kind, by kind and name; broken plugins come last."""
        components = [
            _row(one.contribution) for one in self._checked if kind in (None, one.contribution.kind)
        ]
        components.sort(key=lambda row: (KINDS.index(cast("Kind", row.kind)), row.name))
        broken = [_broken_row(one) for one in self.broken] if kind in (None, "plugin") else []
        return (*components, *broken)

    def brought_by(self, plugin: Plugin) -> tuple[Contribution, ...]:
        """Return everything that a plugin brought, faulty things included, by kind and name."""
        brought = [one.contribution for one in self._checked if one.contribution.plugin == plugin]
        brought.sort(key=lambda one: (KINDS.index(one.kind), one.name))
        return tuple(brought)

    def not_loaded(self, kind: Kind) -> tuple[str, ...]:
        """Return the plugins that may bring components of a kind and could not be loaded."""
        return tuple(str(one.plugin) for one in self.broken if one.kind in (None, kind))

    def names(self, kind: Kind) -> tuple[str, ...]:
        """Return the names of a kind, sorted, unusable ones included."""
        return tuple(sorted({one.contribution.name for one in self._of(kind)}))

    @overload
    def get(self, kind: Literal["task"], name: str, *, allow_unusable: bool = ...) -> Task: ...

    @overload
    def get(
        self, kind: Literal["model"], name: str, *, allow_unusable: bool = ...
    ) -> ModelSpec: ...

    @overload
    def get(
        self, kind: Literal["scaffold"], name: str, *, allow_unusable: bool = ...
    ) -> Scaffold: ...

    @overload
    def get(
        self, kind: Literal["sandbox"], name: str, *, allow_unusable: bool = ...
    ) -> Sandbox: ...

    @overload
    def get(self, kind: Literal["engine"], name: str, *, allow_unusable: bool = ...) -> Engine: ...

    @overload
    def get(self, kind: Literal["judge"], name: str, *, allow_unusable: bool = ...) -> Judge: ...

    @overload
    def get(
        self, kind: Literal["executor"], name: str, *, allow_unusable: bool = ...
    ) -> Executor: ...

    @overload
    def get(self, kind: Kind, name: str, *, allow_unusable: bool = ...) -> AnyComponent: ...

    def get(self, kind: Kind, name: str, *, allow_unusable: bool = False) -> AnyComponent:
        """Return a component.

        Args:
            kind: Its kind.
            name: Its name.
            allow_unusable: True also returns one that works, but not on this machine.

        Raises:
            UsageError: If no plugin brought such a name.
            PluginError: If it is broken, brought twice, or cannot be used on this machine; the
                message says why.
        """
        contribution = self._find(kind, name).contribution
        reason = contribution.fault
        if not allow_unusable:
            reason = unusable_reason(contribution) or ""
        if reason:
            plugin = contribution.plugin
            raise PluginError(f"the {kind} {name!r} of {plugin} cannot be used: {reason}")
        return cast("AnyComponent", contribution.component)

    def unusable_reason(self, kind: Kind, name: str) -> str | None:
        """Return why a component cannot be used on this machine, or None when it can.

        Raises:
            UsageError: If no plugin brought such a name.
        """
        return unusable_reason(self._find(kind, name).contribution)

    def spec(self, kind: Kind, name: str) -> ComponentSpec:
        """Return the facts of a component, usable or not.

        Raises:
            UsageError: If no plugin brought such a name.
            PluginError: If its manifest cannot be read.
        """
        contribution = self._find(kind, name).contribution
        if contribution.spec is None:
            raise PluginError(
                f"the {kind} {name!r} of {contribution.plugin} cannot be read: {contribution.fault}"
            )
        return cast("ComponentSpec", contribution.spec)

    def row(self, kind: Kind, name: str) -> Row:
        """Return the row of a component; raises ``UsageError`` like :meth:`get`."""
        return _row(self._find(kind, name).contribution)

    def manifest(self, kind: Kind, name: str) -> Path | None:
        """Return a component's manifest, or None for one described in code."""
        return self._find(kind, name).contribution.manifest

    def provenance(self, kind: Kind, name: str) -> Provenance:
        """Return where a component came from; raises ``UsageError`` like :meth:`get`."""
        checked = self._find(kind, name)
        plugin = checked.contribution.plugin
        return Provenance(
            plugin.distribution, plugin.version, hashlib.sha256(checked.content).hexdigest()
        )

    def task(self, name: str) -> Task:
        """Return a task that can be evaluated; raises like :meth:`get`."""
        return self.get("task", name)

    def task_spec(self, name: str) -> TaskSpec:
        """Return a task's facts, also of one that cannot be evaluated; raises like :meth:`spec`."""
        return cast("TaskSpec", self.spec("task", name))

    def model(self, name: str) -> ModelSpec:
        """Return a base model, its chat template absolute; raises like :meth:`get`."""
        return self.get("model", name)

    def scaffold(self, name: str) -> Scaffold:
        """Return a scaffold; raises like :meth:`get`."""
        return self.get("scaffold", name)

    def sandbox(self, name: str) -> Sandbox:
        """Return a sandbox; raises like :meth:`get`."""
        return self.get("sandbox", name)

    def engine(self, name: str) -> Engine:
        """Return an engine; raises like :meth:`get`."""
        return self.get("engine", name)

    def judge(self, name: str) -> Judge:
        """Return a judge; raises like :meth:`get`."""
        return self.get("judge", name)

    def executor(self, name: str) -> Executor:
        """Return an executor; raises like :meth:`get`."""
        return self.get("executor", name)

    def _of(self, kind: Kind) -> list[Checked]:
        return [one for one in self._checked if one.contribution.kind == kind]

    def _find(self, kind: Kind, name: str) -> Checked:
        found = [one for one in self._of(kind) if one.contribution.name == name]
        if found:  # of namesakes, one that could be loaded stands before those that could not
            return found[0]
        raise UsageError(self._unknown(kind, name))

    def _unknown(self, kind: Kind, name: str) -> str:
        names = self.names(kind)
        known = ", ".join(names) or "none"
        text = f"there is no {kind} {name!r}{did_you_mean(name, names)}; the {FOLDERS[kind]} "
        text += f"are: {known}"
        suspects = self.not_loaded(kind)
        if suspects:
            text += (
                f". It may belong to a plugin that is not loaded ({', '.join(suspects)}): "
                "`ptb plugins` says why"
            )
        return text + _known_elsewhere(kind, name)


def _row(contribution: Contribution) -> Row:
    reason = unusable_reason(contribution)
    return Row(
        kind=contribution.kind,
        name=contribution.name,
        description=str(getattr(contribution.spec, "description", "")),
        distribution=contribution.plugin.distribution,
        version=contribution.plugin.version,
        entry_point=contribution.plugin.name,
        usable=reason is None,
        reason=reason or "",
    )


def _broken_row(broken: BrokenPlugin) -> Row:
    return Row(
        kind="plugin",
        name=broken.plugin.name,
        description=f"its {FOLDERS[broken.kind]}" if broken.kind else "the whole plugin",
        distribution=broken.plugin.distribution,
        version=broken.plugin.version,
        entry_point=broken.plugin.name,
        usable=False,
        reason=broken.reason,
    )


def _known_elsewhere(kind: Kind, name: str) -> str:
    """Say which known distribution brings a component, if the registry knows one."""
    from ptb_core.schemas import load_json

    wanted = {"kind": kind, "name": name}
    for plugin in load_json(data_dir() / "registry" / "plugins.json")["plugins"]:
        if wanted in plugin["brings"]:
            return f". {plugin['distribution']} brings it ({plugin['url']})"
    return ""
