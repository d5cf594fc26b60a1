"""Which plugins are installed: entry points of the groups ``ptb.v*``, found without importing."""

from __future__ import annotations

import importlib.metadata
import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from ptb_core.hookspecs import GROUP

DISABLE_VARIABLE = "PTB_DISABLE_PLUGINS"
"""Environment variable: comma-separated entry-point or distribution names to leave out."""

OWN_DISTRIBUTION = "posttrainbench"
"""The distribution of this project; its built-in plugins come through the same door."""

_OTHER_VERSION = re.compile(r"ptb\.v\S*")
_MISSPELT_GROUP = re.compile(r"ptb(?:[._-].*)?", re.IGNORECASE)
_GROUP_MARK = "[ptb"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plugin:
    """One entry point of an installed distribution.

    Attributes:
        name: Name of the entry point; empty when its distribution's list cannot be read.
        distribution: Name of the distribution.
        version: Version of the distribution.
    """

    name: str
    distribution: str
    version: str

    def __str__(self) -> str:
        return f"{self.distribution} {self.version} (entry point {self.name or '?'})"


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundPlugin:
    """An entry point, and why it must not be loaded, if so.

    Attributes:
        plugin: Whose it is.
        entry_point: What to load; None when it must not be.
        value: What it names, ``module`` or ``module:attribute``.
        reason: Why it must not be loaded; empty when it may.
        is_switched_off: True when the user has switched it off.
    """

    plugin: Plugin
    entry_point: importlib.metadata.EntryPoint | None
    value: str = ""
    reason: str = ""
    is_switched_off: bool = False


def find_plugins() -> tuple[FoundPlugin, ...]:
    """Return all installed plugins, sorted by distribution and name; imports none of them."""
    switched_off = disabled_names()
    found = [one for distribution in _distributions() for one in _plugins_of(distribution)]
    found.sort(key=lambda one: (one.plugin.distribution.lower(), one.plugin.name))
    return tuple(_unless_disabled(one, switched_off) for one in found)


def disabled_names() -> frozenset[str]:
    """Return the names in ``PTB_DISABLE_PLUGINS``, in normalised form."""
    names = os.environ.get(DISABLE_VARIABLE, "").split(",")
    return frozenset(normalised(name) for name in names if name.strip())


def normalised(name: str) -> str:
    """Return a name in the form in which distribution names are compared."""
    return re.sub(r"[-_.]+", "-", name.strip()).lower()


def _unless_disabled(found: FoundPlugin, switched_off: frozenset[str]) -> FoundPlugin:
    names = {normalised(found.plugin.name), normalised(found.plugin.distribution)}
    if found.reason or not names & switched_off:
        return found
    reason = f"switched off by {DISABLE_VARIABLE}"
    return replace(found, entry_point=None, reason=reason, is_switched_off=True)


def _distributions() -> Iterator[importlib.metadata.Distribution]:
    # Asking every distribution for its text is faster than importlib.metadata.entry_points(),
    # and one damaged distribution that is none of ours cannot spoil the list.
    seen: set[str] = set()
    for distribution in importlib.metadata.distributions():
        if _GROUP_MARK not in _text(distribution).lower():
            continue
        name = normalised(_name(distribution))
        if name not in seen:
            seen.add(name)
            yield distribution


def _text(distribution: importlib.metadata.Distribution) -> str:
    """Return the text of a distribution's entry points; what is no UTF-8 is read all the same."""
    try:
        return distribution.read_text("entry_points.txt") or ""
    except UnicodeDecodeError as error:
        return error.object.decode("utf-8", "replace")
    except (OSError, ValueError):
        return ""


def _plugins_of(distribution: importlib.metadata.Distribution) -> Iterator[FoundPlugin]:
    name, version = _name(distribution), _version(distribution)
    try:
        entry_points = list(distribution.entry_points)
    except Exception as error:  # a malformed file raises whatever its parser met
        plugin = Plugin(name="", distribution=name, version=version)
        reason = f"its entry_points.txt cannot be read ({_damage(distribution, error)}): build and "
        reason += f"install {name} again, or uninstall it"
        yield FoundPlugin(plugin=plugin, entry_point=None, reason=reason)
        return
    named = Counter(entry_point.name for entry_point in entry_points if entry_point.group == GROUP)
    for entry_point in entry_points:
        plugin = Plugin(name=entry_point.name, distribution=name, version=version)
        reason = _group_fault(entry_point.group, name)
        if not reason and named[entry_point.name] > 1:
            reason = f"{name} has {named[entry_point.name]} entry points of that name, so none of "
            reason += "them is loaded: give each a name of its own in its pyproject.toml"
        if reason or entry_point.group == GROUP:
            loadable = None if reason else entry_point
            yield FoundPlugin(
                plugin=plugin, entry_point=loadable, value=entry_point.value, reason=reason
            )


def _group_fault(group: str, distribution: str) -> str:
    """Return why the members of a group are not loaded; '' for our group and those of others."""
    if group == GROUP:
        return ""
    if _OTHER_VERSION.fullmatch(group):
        return (
            f"written for the plugin interface {group}, and this version has {GROUP}: install a "
            f"version of {distribution} for {GROUP}, or another posttrainbench"
        )
    if _MISSPELT_GROUP.fullmatch(group):
        return (
            f"stands in the entry-point group {group!r}, which nothing reads: name the group "
            f"{GROUP!r} in its pyproject.toml and install it again"
        )
    return ""


def _damage(distribution: importlib.metadata.Distribution, error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return f"its byte 0x{error.object[error.start]:02x} is no UTF-8"
    for number, line in enumerate(_text(distribution).splitlines(), 1):
        if line.strip() and not line.lstrip().startswith(("[", "#", ";")) and "=" not in line:
            return f"line {number} is {line.strip()!r}, which is not `name = module`"
    return f"{type(error).__name__}: {error}"


def _name(distribution: importlib.metadata.Distribution) -> str:
    return _metadata(distribution, "Name") or "unknown"


def _version(distribution: importlib.metadata.Distribution) -> str:
    return _metadata(distribution, "Version") or "unknown"


def _metadata(distribution: importlib.metadata.Distribution, key: str) -> str:
    """Return a field of a distribution's METADATA, or what its folder's name says of it."""
    try:
        value = distribution.metadata[key]
    except Exception:  # a file that is missing or damaged raises what its parser met
        value = None
    if value:
        return str(value)
    folder = getattr(distribution, "_path", None)
    name, _, version = Path(str(folder or "")).stem.partition("-")
    return name.replace("_", "-") if key == "Name" else version
