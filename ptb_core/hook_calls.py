"""Check and call the hooks of one plugin module; nothing it does can stop the host."""

from __future__ import annotations

import inspect
import itertools
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import ModuleType

import pluggy

from ptb_core import hookspecs
from ptb_core.errors import PtbError
from ptb_core.importing import words_of
from ptb_core.interfaces import Engine, Executor, Judge, Sandbox, Scaffold, Task
from ptb_core.manifests import FOLDERS, SPEC_TYPES
from ptb_core.specs import KINDS, Kind, ModelSpec, TaskSpec
from ptb_core.suggest import did_you_mean

HOOKS: Mapping[Kind, str] = {kind: f"ptb_register_{FOLDERS[kind]}" for kind in KINDS}
"""Name of each kind's hook."""

MAX_COMPONENTS = 10_000
"""Most components one hook may yield: an endless generator must end somewhere."""

_RESERVED_PREFIX = "ptb_register"

_ALLOWED: Mapping[Kind, tuple[type, ...]] = {
    "task": (Task, TaskSpec),
    "model": (ModelSpec,),
    "scaffold": (Scaffold,),
    "sandbox": (Sandbox,),
    "engine": (Engine,),
    "judge": (Judge,),
    "executor": (Executor,),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class HookResult:
    """What one hook gave.

    Attributes:
        kind: The hook's kind.
        components: Components of the right type, in order; unusable when there is a fault.
        fault: Why the hook is disabled; empty when it is fine.
        traceback: Of the exception, if there was one.
    """

    kind: Kind
    components: tuple[object, ...]
    fault: str = ""
    traceback: str = ""


class HookFaultsError(Exception):
    """A module's hooks break the hook specifications; the text says which and how."""


class HookCaller:
    """Registers plugin modules and calls their hooks one by one."""

    def __init__(self) -> None:
        self._manager = pluggy.PluginManager("ptb")
        self._manager.add_hookspecs(hookspecs)

    def register(self, module: object, name: str) -> bool:
        """Register a module under a unique name.

        Returns:
            False if the module has no hook at all.

        Raises:
            HookFaultsError: If one of its hooks is none, takes arguments or is no plain function.
        """
        found = list(self._hooks_of(module))
        faults = [fault for _, _, fault in found if fault]
        if faults:
            raise HookFaultsError("; ".join(faults))
        try:
            self._manager.register(module, name)
        except (pluggy.PluginValidationError, ValueError) as error:
            raise HookFaultsError(str(error)) from error
        return bool(found)

    def call(self, module: object) -> Iterator[HookResult]:
        """Call every hook of a registered module; never raises an ``Exception``."""
        functions = {hook: getattr(module, name) for name, hook, _ in self._hooks_of(module)}
        for kind in KINDS:
            if HOOKS[kind] in functions:
                yield _call(kind, functions[HOOKS[kind]])

    def _hooks_of(self, module: object) -> Iterator[tuple[str, str, str]]:
        """Yield (attribute, hook, fault) for each attribute that is, or looks like, a hook."""
        for name in dir(module):
            options = self._manager.parse_hookimpl_opts(module, name)
            function = getattr(module, name, None)
            if options is None:
                if name.startswith(_RESERVED_PREFIX) and inspect.isroutine(function):
                    yield name, name, _unmarked(name)
                continue
            hook = options.get("specname") or name
            wraps = bool(options.get("wrapper") or options.get("hookwrapper"))
            yield name, hook, _hook_fault(hook, function, wraps)


def _unmarked(name: str) -> str:
    if name not in HOOKS.values():
        return _unknown(name)
    return f"{name} is not marked: put @hookimpl from ptb_core.api above it"


def _unknown(name: str) -> str:
    known = ", ".join(HOOKS.values())
    return f"unknown hook {name}{did_you_mean(name, HOOKS.values())}; the hooks are {known}"


def _hook_fault(hook: str, function: object, wraps: bool) -> str:
    if hook not in HOOKS.values() or not callable(function):
        return _unknown(hook)
    if wraps:
        return f"{hook} is a wrapper; a hook is a plain function"
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        return f"{hook} is async; a hook is a plain function"
    names = _required_parameters(function)
    arguments = "argument" if len(names) == 1 else "arguments"
    return f"{hook} takes the {arguments} {', '.join(names)}; a hook takes none" if names else ""


def _required_parameters(function: Callable[..., object]) -> list[str]:
    optional = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [
        parameter.name
        for parameter in inspect.signature(function).parameters.values()
        if parameter.default is inspect.Parameter.empty and parameter.kind not in optional
    ]


def _call(kind: Kind, function: Callable[[], object]) -> HookResult:
    collected: list[object] = []
    text = ""
    try:
        fault = _collect(kind, function(), collected)
    except (Exception, SystemExit) as error:
        # Our own errors, such as a manifest's, are whole sentences already.
        words = f": {error}" if isinstance(error, PtbError) else f" raised {words_of(error)}"
        fault = f"{HOOKS[kind]}{words}"
        text = traceback.format_exc()
    return HookResult(kind=kind, components=tuple(collected), fault=fault, traceback=text)


def _collect(kind: Kind, returned: object, collected: list[object]) -> str:
    """Put what a hook returned into ``collected`` and return the first fault, or ''."""
    hook = HOOKS[kind]
    if isinstance(returned, str | bytes | Mapping) or not isinstance(returned, Iterable):
        return f"{hook} returned {_value(returned)}; expected an iterable of {_names(kind)}"
    fault = ""
    for component in itertools.islice(returned, MAX_COMPONENTS + 1):
        if len(collected) == MAX_COMPONENTS:
            collected.clear()  # no list of ten thousand rows that cannot be used
            return f"{hook} yielded more than {MAX_COMPONENTS} components, and may never end"
        wrong = _component_fault(kind, component)
        if not wrong:
            collected.append(component)
        fault = fault or (f"{hook} yielded {wrong}" if wrong else "")
    return fault


def _component_fault(kind: Kind, component: object) -> str:
    if isinstance(component, type) and issubclass(component, _ALLOWED[kind]):
        return f"the class {component.__name__}; expected an instance: {component.__name__}(spec)"
    if not isinstance(component, _ALLOWED[kind]):
        return _wrong_kind(kind, component)
    spec = spec_of(component)
    if not isinstance(spec, SPEC_TYPES[kind]):
        expected = SPEC_TYPES[kind].__name__
        return f"a {type(component).__name__} whose spec is {_value(spec)}; expected a {expected}"
    if not isinstance(getattr(spec, "name", None), str):
        found = _value(getattr(spec, "name", None))
        return f"a {type(component).__name__} whose name is {found}; expected a string"
    return ""


def _wrong_kind(kind: Kind, component: object) -> str:
    for other, allowed in _ALLOWED.items():
        if isinstance(component, allowed):
            name = getattr(spec_of(component), "name", None)
            return (
                f"the {type(component).__name__} {name!r}; expected {_names(kind)}; "
                f"{HOOKS[other]} is the hook for it"
            )
    return f"{_value(component)}; expected {_names(kind)}"


def spec_of(component: object) -> object:
    """Return a component's spec; a bare spec is its own."""
    if isinstance(component, TaskSpec | ModelSpec):
        return component
    return getattr(component, "spec", None)


def _names(kind: Kind) -> str:
    return " or ".join(allowed.__name__ for allowed in _ALLOWED[kind])


def _value(value: object) -> str:
    if isinstance(value, ModuleType):
        return f"the module {value.__name__}"
    try:
        text = repr(value)
    except Exception:  # the repr of a stranger's object may do anything
        text = "a value"
    return f"{text[:60]} ({type(value).__name__})"
