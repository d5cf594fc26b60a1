"""Settings that a plan gives to a component, checked against what the component declares."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ptb_core.errors import Fault
from ptb_core.json_paths import shown, type_words
from ptb_core.specs import JsonValue, Setting
from ptb_core.suggest import did_you_mean

_LONGEST_NAME, _LONGEST_PATH = 255, 2048
"""Bytes of one name and of a whole relative path; Linux takes 255 and 4095, folder included."""

_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list, tuple),
    "object": (dict,),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedSettings:
    """Settings with defaults filled in, and what was wrong with them.

    Attributes:
        values: Every declared setting; paths absolute.
        identity: The same for hashing: paths replaced by the sha256 of what they point to.
        faults: What was wrong; values are unusable unless empty.
    """

    values: Mapping[str, JsonValue]
    identity: Mapping[str, JsonValue]
    faults: tuple[Fault, ...]


def check_settings(
    declared: tuple[Setting, ...],
    given: Mapping[str, JsonValue],
    path: str,
    folder: Path,
) -> CheckedSettings:
    """Check the settings given to a component.

    Args:
        declared: What the component declares.
        given: What the plan says.
        path: JSON path of the settings object, for faults.
        folder: Folder that relative paths start from.
    """
    from ptb_core.canonical import tree_sha256

    faults = _unknown(declared, given, path)
    values: dict[str, JsonValue] = {}
    identity: dict[str, JsonValue] = {}
    for setting in declared:
        value = given.get(setting.name, setting.default)
        fault = _fault(setting, value, setting.name in given, f"{path}.{setting.name}")
        if fault is None and setting.is_path and value is not None:
            # Not resolve(): the interpreter of a virtual environment is a link, and known by it.
            resolved = [(folder / item).absolute() for item in _as_list(value)]
            fault = _missing(resolved, f"{path}.{setting.name}")
            if fault is None:
                identity[setting.name] = [tree_sha256(item) for item in resolved]
                texts = [str(item) for item in resolved]
                value = texts[0] if isinstance(value, str) else texts
        if fault is not None:
            faults.append(fault)
            continue
        values[setting.name] = value
        identity.setdefault(setting.name, value)
    return CheckedSettings(values=values, identity=identity, faults=tuple(faults))


def _unknown(
    declared: tuple[Setting, ...], given: Mapping[str, JsonValue], path: str
) -> list[Fault]:
    names = [setting.name for setting in declared]
    known = ", ".join(names) or "no settings at all"
    return [
        Fault(
            path=f"{path}.{name}",
            found=f"unknown setting {name!r}",
            expected=f"one of {known}{did_you_mean(name, names)}",
        )
        for name in given
        if name not in names
    ]


def _fault(setting: Setting, value: JsonValue, is_given: bool, path: str) -> Fault | None:
    if value is None:
        if setting.required:
            return Fault(path=path, found="nothing", expected=f"{setting.description}")
        return None
    if is_given and not _is_type(value, setting.type):
        return Fault(path=path, found=_shown(value), expected=type_words(setting.type))
    if setting.is_path and not all(can_name_a_file(item) for item in _as_list(value)):
        words = "a path" if isinstance(value, str) else "paths, each a text"
        return Fault(path=path, found=shown(value), expected=words)
    if setting.choices and value not in setting.choices:
        choices = ", ".join(str(choice) for choice in setting.choices)
        return Fault(path=path, found=_shown(value), expected=f"one of {choices}")
    return None


def _is_type(value: JsonValue, name: str) -> bool:
    if isinstance(value, bool) and name != "boolean":
        return False
    return isinstance(value, _TYPES[name])


def _as_list(value: JsonValue) -> list[JsonValue]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def can_name_a_file(item: JsonValue) -> bool:
    """True for a text that an operating system takes for a path at all."""
    if not isinstance(item, str) or "\0" in item:
        return False
    try:
        encoded = os.fsencode(item)
    except UnicodeEncodeError:
        return False
    fits = all(len(name) <= _LONGEST_NAME for name in encoded.split(b"/"))
    return bool(encoded) and fits and len(encoded) <= _LONGEST_PATH


def _shown(value: JsonValue) -> str:
    return repr(value)[:60] if isinstance(value, str) else shown(value)


def _missing(paths: list[Path], path: str) -> Fault | None:
    for item in paths:
        if not item.exists():
            return Fault(
                path=path,
                found=f"{item}, which does not exist",
                expected="an existing file, relative to the plan's folder",
            )
    return None
