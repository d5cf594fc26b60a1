"""Python, and which extras of this distribution are installed."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from importlib import metadata

from ptb_core.doctor.findings import Finding, ok, problem, warning
from ptb_core.entry_points import OWN_DISTRIBUTION

NOT_FOR_RUNNING = ("dev",)
"""Extras whose absence takes nothing away from anybody who runs plans."""

_REQUIREMENT = re.compile(r"([A-Za-z0-9][\w.-]*).*?;.*?extra\s*==\s*['\"]([\w.-]+)['\"]")


def findings() -> Iterator[Finding]:
    """Yield what is installed; imports none of it."""
    python = sys.version.split()[0]
    own = installed_version(OWN_DISTRIBUTION)
    if own is None:
        advice = "install it: pip install posttrainbench, or pip install -e . in a checkout"
        yield problem(f"Python {python}; {OWN_DISTRIBUTION} is not installed", advice)
        return
    yield ok(f"Python {python}, {OWN_DISTRIBUTION} {own}")
    for extra, names in extras(metadata.requires(OWN_DISTRIBUTION) or []).items():
        if extra not in NOT_FOR_RUNNING:
            yield extra_finding(extra, {name: installed_version(name) for name in names})


def extras(requirements: list[str]) -> dict[str, list[str]]:
    """Return the distributions that each extra asks for."""
    found: dict[str, list[str]] = {}
    for requirement in requirements:
        if match := _REQUIREMENT.match(requirement):
            found.setdefault(match[2], []).append(match[1])
    return found


def extra_finding(extra: str, versions: Mapping[str, str | None]) -> Finding:
    """Return whether an extra is complete, from the version of each of its distributions."""
    there = ", ".join(f"{name} {version}" for name, version in versions.items() if version)
    absent = ", ".join(name for name, version in versions.items() if not version)
    if not absent:
        return ok(f"extra {extra}: {there}")
    verb = "are" if ", " in absent else "is"
    rest = f" ({there} is there)" if there else ""
    advice = f"to use what it brings: pip install 'posttrainbench[{extra}]'"
    return warning(f"extra {extra}: {absent} {verb} not installed{rest}", advice)


def installed_version(name: str) -> str | None:
    """Return the version of an installed distribution, or None."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
