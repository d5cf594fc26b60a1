"""``ptb doctor``: what this machine can run, and what to do about the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ptb_core.cli.output import emphasised, indented, print_json

if TYPE_CHECKING:
    from ptb_core.doctor import Finding, Report

WIDTH = 9
"""Columns of the level, its blank included."""


@click.command("doctor")
@click.option("--network", is_flag=True, help="Also ask the model hub for an answer.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(network: bool, as_json: bool) -> int:
    """Say what this machine can and cannot run, and what to do about it.

    Nothing is changed, and without --network nothing is sent. Exit status 1 when no plan at all
    can run here, 0 otherwise.
    """
    from ptb_core.catalogue import load_catalogue
    from ptb_core.doctor import examine

    report = examine(load_catalogue(), network=network)
    if as_json:
        print_json(
            {
                "can_run": report.can_run,
                "missing": report.missing,
                "sections": report.sections,
            }
        )
    else:
        for line in lines(report):
            click.echo(line)
    return 0 if report.can_run else 1


def lines(report: Report) -> list[str]:
    """Return a report as lines of text."""
    text: list[str] = []
    for section in report.sections:
        text.append(emphasised(section.name))
        for finding in section.findings:
            text += _finding_lines(finding)
    return [*text, "", _summary(report)]


def _finding_lines(finding: Finding) -> list[str]:
    first = f"  {finding.level:<{WIDTH}}{finding.fact}"
    text = [first, *(line for one in finding.details for line in indented(one, 4 + WIDTH))]
    return [*text, *indented(f"-> {finding.advice}", 2 + WIDTH)] if finding.advice else text


def _summary(report: Report) -> str:
    counts = ", ".join(
        f"{count} {level}{'' if count == 1 or level == 'ok' else 's'}"
        for level in ("ok", "warning", "problem")
        if (count := report.count(level))
    )
    if report.can_run:
        return f"plans can run here; {counts}"
    return f"no plan can run here: no usable {' or '.join(report.missing)}; {counts}"
