"""Plugins and their components: what can be used here, what cannot, and what sandboxes offer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ptb_core.catalogue import Catalogue, Row
from ptb_core.component_checks import sandbox_obstacles
from ptb_core.doctor.findings import Finding, ok, problem, warning
from ptb_core.entry_points import DISABLE_VARIABLE, OWN_DISTRIBUTION
from ptb_core.interfaces import Sandbox
from ptb_core.manifests import FOLDERS
from ptb_core.plugin_reports import PluginReport, plugin_reports
from ptb_core.sandboxing import Limits
from ptb_core.settings import check_settings
from ptb_core.specs import KINDS, Condition, Kind

NEEDED: tuple[Kind, ...] = ("task", "model", "scaffold", "sandbox", "engine", "executor")
"""Kinds of which every plan names at least one component."""


def missing_kinds(catalogue: Catalogue) -> tuple[str, ...]:
    """Return the kinds that every plan needs and of which nothing can be used here."""
    return tuple(
        FOLDERS[kind] for kind in NEEDED if not any(row.usable for row in catalogue.rows(kind))
    )


# Plugins --------------------------------------------------------------------------------------


def plugin_findings(catalogue: Catalogue) -> Iterator[Finding]:
    """Yield how many plugins are loaded, and each that is broken, costly or switched off."""
    reports = plugin_reports(catalogue)
    loaded = sum(one.state == "loaded" for one in reports)
    yield ok(f"{loaded} of {len(reports)} installed plugins are loaded")
    for report in reports:
        yield from _plugin_findings(report)


def _plugin_findings(report: PluginReport) -> Iterator[Finding]:
    name = f"{report.distribution} {report.version} (entry point {report.name or '?'})"
    if report.state == "switched off":
        yield ok(f"{name}: switched off by {DISABLE_VARIABLE}")
        return
    for failure in report.failures:
        fact = f"{name}: {failure.what} is not loaded"
        yield problem(fact, _plugin_advice(report), *failure.reason.splitlines())
    for note in report.notes:
        yield warning(f"{name} {note}", "tell its author; nothing is broken")


def _plugin_advice(report: PluginReport) -> str:
    if report.distribution == OWN_DISTRIBUTION:
        return "this is a bug, or a damaged installation: install posttrainbench again"
    name = report.name or report.distribution
    return (
        f"update or uninstall {report.distribution}, or switch it off with "
        f"{DISABLE_VARIABLE}={name}; `ptb plugins {name} --traceback` shows where it failed"
    )


# Components -----------------------------------------------------------------------------------


def component_findings(catalogue: Catalogue) -> Iterator[Finding]:
    """Yield the usable components of each kind, then the others grouped by their reason."""
    for kind in KINDS:
        rows = catalogue.rows(kind)
        usable = [row.name for row in rows if row.usable]
        count = f"{FOLDERS[kind]}: {len(usable)} of {len(rows)} usable"
        if usable:
            yield ok(f"{count}: {', '.join(usable)}")
        else:
            advice = f"install a plugin that brings {FOLDERS[kind]}, or mend what stands below"
            yield problem(count, advice) if kind in NEEDED else warning(count, advice)
        yield from _unusable(kind, [row for row in rows if not row.usable])


def _unusable(kind: Kind, rows: tuple[Row, ...] | list[Row]) -> Iterator[Finding]:
    by_reason: dict[str, list[str]] = {}
    for row in rows:
        by_reason.setdefault(row.reason, []).append(row.name)
    for reason, names in by_reason.items():
        words = kind if len(names) == 1 else FOLDERS[kind]
        advice = f"leave {'it' if len(names) == 1 else 'them'} out of plans, or mend what it names"
        yield warning(f"{words} {', '.join(names)}: unusable", advice, *reason.splitlines())


# Sandboxes ------------------------------------------------------------------------------------


def sandbox_findings(catalogue: Catalogue) -> Iterator[Finding]:
    """Yield what each usable sandbox offers here, asking it about each network policy."""
    for name in catalogue.names("sandbox"):
        if not catalogue.row("sandbox", name).usable:
            continue
        sandbox = catalogue.sandbox(name)
        offered, refused = _policies(sandbox)
        isolates = "isolates" if sandbox.spec.isolates_untrusted_code else "does not isolate"
        if offered:
            yield ok(f"sandbox {name}: network {', '.join(offered)}; {isolates} untrusted code")
        for obstacle, policies in refused.items():
            policy = f"network {' and '.join(policies)}"
            advice = f"do as it says, or keep to plans without {policy} in this sandbox"
            yield warning(f"sandbox {name} cannot offer {policy} here", advice, obstacle)


def _policies(sandbox: Sandbox) -> tuple[list[str], dict[str, list[str]]]:
    """Return the network policies that a sandbox offers here, and those it lacks by obstacle."""
    spec = sandbox.spec
    settings = check_settings(spec.settings, {}, "$", Path()).values
    offered: list[str] = []
    refused: dict[str, list[str]] = {}
    for policy in spec.network_policies:
        condition = Condition(hours=1.0, gpus=0, network=policy)
        obstacles = sandbox_obstacles(sandbox, condition, Limits(), settings)
        if not obstacles:
            offered.append(policy)
        for obstacle in obstacles:
            refused.setdefault(obstacle, []).append(policy)
    return offered, refused
