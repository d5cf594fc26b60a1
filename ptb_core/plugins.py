"""Plugin loading: each entry point and each hook in its own ``try``; nothing is overridden.

pluggy checks hooks against their specifications, but neither its setuptools loading nor its
hook calling is used: both let one broken plugin stop all.
"""

from __future__ import annotations

import inspect
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint
from pathlib import Path

from ptb_core.entry_points import (
    DISABLE_VARIABLE,
    FoundPlugin,
    Plugin,
    disabled_names,
    find_plugins,
    normalised,
)
from ptb_core.errors import PtbError
from ptb_core.hook_calls import HOOKS, HookCaller, HookFaultsError, HookResult, spec_of
from ptb_core.importing import EntryPointError, import_entry_point, words_of
from ptb_core.load_cost import Clock, LoadCost
from ptb_core.manifests import FOLDERS, SPEC_TYPES, load_manifest, manifest_of
from ptb_core.output_capture import captured_output
from ptb_core.specs import KINDS, JsonValue, Kind

MANIFEST_KINDS: tuple[Kind, ...] = ("task", "model")
"""Kinds that a package of JSON files without code can bring."""

_NOTED_CHARACTERS = 120
_NAMED = 5
"""Most disabled components that a sentence names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contribution:
    """One component that a plugin brought.

    Attributes:
        kind: Its kind.
        name: Its name.
        plugin: Who brought it.
        component: The object, or bare spec; None when its manifest cannot be read.
        spec: Its spec; None when its manifest cannot be read.
        manifest: File the spec was read from, if any.
        fault: Why it must not be used; empty when nothing speaks against it so far.
    """

    kind: Kind
    name: str
    plugin: Plugin
    component: object
    spec: object
    manifest: Path | None
    fault: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokenPlugin:
    """A plugin, or one hook of it, that could not be loaded.

    Attributes:
        plugin: Which.
        reason: Why, in words.
        kind: Kind of the hook that is disabled; None when the whole plugin is.
        traceback: For the plugin's author; empty when nothing was raised.
        is_switched_off: True when the user wants it so.
    """

    plugin: Plugin
    reason: str
    kind: Kind | None = None
    traceback: str = ""
    is_switched_off: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginLoad:
    """How the loading of one installed plugin went, broken or not.

    Attributes:
        plugin: Which.
        value: What its entry point names; empty when its distribution's list cannot be read.
        steps: Import and each hook with its time in seconds; empty when it was not imported.
        notes: What its author should change although nothing is broken, as ends of sentences.
    """

    plugin: Plugin
    value: str
    steps: tuple[tuple[str, float], ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedPlugins:
    """What all installed plugins gave.

    Attributes:
        contributions: All components, duplicates and faulty ones included.
        broken: What could not be loaded.
        loads: Every installed plugin, sorted by distribution and name.
        notes: What a user should know although nothing is broken.
    """

    contributions: tuple[Contribution, ...]
    broken: tuple[BrokenPlugin, ...]
    loads: tuple[PluginLoad, ...]
    notes: tuple[str, ...]


def load_plugins(clock: Clock = time.perf_counter) -> LoadedPlugins:
    """Load every installed plugin. Imports them; costs what their imports cost.

    Args:
        clock: Measures how long each plugin takes.
    """
    loader = _Loader(clock)
    found = find_plugins()
    loads = tuple(loader.load(one) for one in found)
    notes = [f"{load.plugin} {note}" for load in loads for note in load.notes]
    return LoadedPlugins(
        contributions=tuple(loader.contributions),
        broken=tuple(loader.broken),
        loads=loads,
        notes=(*notes, *_unknown_disabled(found)),
    )


class _Loader:
    """Collects contributions and broken plugins."""

    def __init__(self, clock: Clock) -> None:
        self.contributions: list[Contribution] = []
        self.broken: list[BrokenPlugin] = []
        self._clock = clock
        self._caller = HookCaller()
        self._modules: dict[int, Plugin] = {}

    def load(self, found: FoundPlugin) -> PluginLoad:
        """Load one plugin; an ``Exception`` or ``SystemExit`` of its code becomes a row."""
        plugin = found.plugin
        if found.entry_point is None:
            self.broken.append(
                BrokenPlugin(
                    plugin=plugin, reason=found.reason, is_switched_off=found.is_switched_off
                )
            )
            return PluginLoad(plugin=plugin, value=found.value)
        cost = LoadCost(self._clock)
        with captured_output() as output:
            notes = self._load_guarded(plugin, found.entry_point, cost)
        if output.text.strip():
            notes.append(_printed(output.text.strip()))
        notes += cost.notes()
        return PluginLoad(
            plugin=plugin, value=found.value, steps=tuple(cost.steps), notes=tuple(notes)
        )

    def _load_guarded(self, plugin: Plugin, entry_point: EntryPoint, cost: LoadCost) -> list[str]:
        try:
            module = import_entry_point(entry_point)
            cost.lap("import")
            return self._load_module(plugin, module, cost)
        except HookFaultsError as error:
            self.broken.append(BrokenPlugin(plugin=plugin, reason=str(error)))
        except EntryPointError as error:
            cost.lap("import")
            text = "".join(traceback.format_exception(error.__cause__ or error))
            self.broken.append(BrokenPlugin(plugin=plugin, reason=str(error), traceback=text))
        except (Exception, SystemExit) as error:
            reason = f"its hooks cannot be looked at: {words_of(error)}"
            text = traceback.format_exc()
            self.broken.append(BrokenPlugin(plugin=plugin, reason=reason, traceback=text))
        return []

    def _load_module(self, plugin: Plugin, module: object, cost: LoadCost) -> list[str]:
        """Take what a module brings; return notes."""
        if fault := _no_place_for_hooks(module):
            raise HookFaultsError(fault)
        if (first := self._modules.setdefault(id(module), plugin)) is not plugin:
            raise HookFaultsError(
                f"names what {first} has brought already, so it is not loaded a second time: "
                "remove one of the two entry points, or give the modules different names"
            )
        if self._caller.register(module, str(plugin)):
            for result in self._caller.call(module):
                cost.lap(f"hook {HOOKS[result.kind]}")
                self._take(plugin, result)
            return []
        folders = [Path(folder) for folder in getattr(module, "__path__", ())]
        brought = [one for folder in folders for one in _manifests_of(plugin, folder)]
        if not brought:
            reason = "brings nothing: it has no hook, and no tasks/*.json or models/*.json"
            self.broken.append(BrokenPlugin(plugin=plugin, reason=reason))
        self.contributions += brought
        return [note for folder in folders for note in _ignored(folder)]

    def _take(self, plugin: Plugin, result: HookResult) -> None:
        fault = f"its hook is disabled: {result.fault}" if result.fault else ""
        for component in result.components:
            spec = spec_of(component)
            self.contributions.append(
                Contribution(
                    kind=result.kind,
                    name=str(getattr(spec, "name", "")),
                    plugin=plugin,
                    component=component,
                    spec=spec,
                    manifest=manifest_of(spec),
                    fault=fault,
                )
            )
        if result.fault:
            self.broken.append(
                BrokenPlugin(
                    plugin=plugin,
                    reason=result.fault + _disabled_too(result),
                    kind=result.kind,
                    traceback=result.traceback,
                )
            )


def _no_place_for_hooks(found: object) -> str:
    """Return why an entry point's value holds no hooks by its kind; '' when it may."""
    name = getattr(found, "__name__", "?")
    if inspect.isclass(found):
        return f"names the class {name}: name an instance of it, or the module"
    if inspect.isroutine(found):
        return f"names the function {name}: name the module that holds it"
    return ""


def _disabled_too(result: HookResult) -> str:
    names = [str(getattr(spec_of(component), "name", "")) for component in result.components]
    if not names:
        return ""
    listed = ", ".join(names[:_NAMED]) + (" ..." if len(names) > _NAMED else "")
    return f"; what else it yielded is disabled too: {listed}"


def _manifests_of(plugin: Plugin, folder: Path) -> Iterator[Contribution]:
    for kind in MANIFEST_KINDS:
        for path in sorted((folder / FOLDERS[kind]).glob("*.json")):
            empty = Contribution(
                kind=kind, name=path.stem, plugin=plugin, component=None, spec=None, manifest=path
            )
            try:
                spec: JsonValue = load_manifest(path, SPEC_TYPES[kind])
            except PtbError as error:
                yield replace(empty, fault=str(error))
                continue
            yield replace(empty, name=spec.name, component=spec, spec=spec)


def _ignored(folder: Path) -> Iterator[str]:
    for kind in KINDS:
        if kind not in MANIFEST_KINDS and any((folder / FOLDERS[kind]).glob("*.json")):
            yield (
                f"has JSON files under {FOLDERS[kind]}/ that are ignored: a {kind} needs code and "
                "a hook"
            )


def _printed(text: str) -> str:
    first = text if len(text) <= _NOTED_CHARACTERS else text[:_NOTED_CHARACTERS] + "..."
    return f"printed while it was loaded, and should not: {first!r}"


def _unknown_disabled(found: tuple[FoundPlugin, ...]) -> list[str]:
    names = {normalised(one.plugin.name) for one in found}
    names |= {normalised(one.plugin.distribution) for one in found}
    return [
        f"{DISABLE_VARIABLE} names {name!r}, and no plugin or distribution is called so"
        for name in sorted(disabled_names() - names)
    ]
