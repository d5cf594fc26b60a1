"""One examination: every section in turn; one that fails is itself a finding."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ptb_core.catalogue import Catalogue
from ptb_core.doctor.findings import Finding, Report, Section, problem
from ptb_core.importing import words_of


def examine(catalogue: Catalogue, *, network: bool = False) -> Report:
    """Look at this machine; changes nothing and takes about a second.

    Args:
        catalogue: Components of the installed plugins.
        network: True also asks the hub for an answer, within five seconds.
    """
    from ptb_core.doctor import components, gpus, grader, hub, machine, packages, places, plans

    sections = (
        _section("python and packages", packages.findings),
        _section("plugins", lambda: components.plugin_findings(catalogue)),
        _section("components", lambda: components.component_findings(catalogue)),
        _section("isolation", lambda: components.sandbox_findings(catalogue)),
        _section("processors, memory, limits", machine.findings),
        _section("clocks", machine.clock_findings),
        _section("folders", places.findings),
        _section("GPUs", gpus.findings),
        _section("hub", lambda: hub.findings(ask=network)),
        _section("grader", grader.findings),
        _section("shipped plans", lambda: plans.findings(catalogue)),
    )
    return Report(sections=sections, missing=components.missing_kinds(catalogue))


def _section(name: str, look: Callable[[], Iterable[Finding]]) -> Section:
    try:
        findings = tuple(look())
    except Exception as error:  # whatever is odd about this machine, the other sections go on
        advice = "report this with the output of `ptb doctor`; the other sections stand"
        findings = (problem(f"this could not be looked at: {words_of(error)}", advice),)
    return Section(name=name, findings=findings)
