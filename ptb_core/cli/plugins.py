"""``ptb plugins``: every installed plugin, what it brings, and where it failed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from ptb_core.cli.output import emphasised, indented, print_json

if TYPE_CHECKING:
    from ptb_core.plugin_reports import Brought, PluginReport


@click.command("plugins")
@click.argument("name", required=False)
@click.option("--traceback", "with_traceback", is_flag=True, help="Show what was raised, whole.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array of objects.")
def command(name: str | None, with_traceback: bool, as_json: bool) -> None:
    """List every installed plugin, or show one.

    NAME is an entry point or a distribution. PTB_DISABLE_PLUGINS, with such names separated by
    commas, leaves plugins out; what is switched off is not imported.
    """
    from ptb_core.catalogue import load_catalogue
    from ptb_core.plugin_reports import find_reports, plugin_reports

    catalogue = load_catalogue()
    reports = plugin_reports(catalogue) if name is None else find_reports(catalogue, name)
    if as_json:
        print_json(reports)
        return
    lines = table_lines(reports) if name is None else list(_shown(reports, with_traceback))
    if name is None and with_traceback:
        for one in reports:
            lines += _failure_lines(one, True)
    for line in lines:
        click.echo(line)


def table_lines(reports: tuple[PluginReport, ...]) -> list[str]:
    """Return one line per plugin, and below it what is wrong with it."""
    from ptb_core.plugin_reports import brings_words

    rows = [("plugin", "distribution", "state", "load s", "brings")]
    rows += [
        (
            one.name or "?",
            f"{one.distribution} {one.version}",
            one.state,
            _seconds(one.load_s),
            brings_words(one),
        )
        for one in reports
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = [emphasised(_row(rows[0], widths))]
    for row, one in zip(rows[1:], reports, strict=True):
        lines.append(_row(row, widths))
        lines += [line for failure in one.failures for line in indented(failure.reason, 4)]
        lines += [f"    note: {note}" for note in one.notes]
    if any(one.failures for one in reports):
        lines += ["", "`ptb plugins NAME --traceback` shows where a plugin failed."]
    return lines


def _row(cells: tuple[str, ...], widths: list[int]) -> str:
    name, distribution, state, seconds, brings = cells
    return (
        f"{name:<{widths[0]}}  {distribution:<{widths[1]}}  {state:<{widths[2]}}  "
        f"{seconds:>{widths[3]}}  {brings}"
    )


def _shown(reports: tuple[PluginReport, ...], with_traceback: bool) -> Iterator[str]:
    for index, one in enumerate(reports):
        if index:
            yield ""
        yield emphasised(f"plugin {one.name or '?'}")
        yield f"  from     {one.distribution} {one.version}"
        yield f"  names    {one.value or '-'}"
        yield f"  state    {one.state}"
        steps = ", ".join(f"{step} {_seconds(seconds)}" for step, seconds in one.steps.items())
        yield f"  load s   {_seconds(one.load_s)}" + (f" ({steps})" if steps else "")
        yield "  brings   nothing" if not one.brings else "  brings"
        for brought in one.brings:
            yield from _brought_lines(brought)
        yield from (f"  note: {note}" for note in one.notes)
        yield from _failure_lines(one, with_traceback)


def _brought_lines(brought: Brought) -> list[str]:
    first = f"    {brought.kind} {brought.name}"
    return [first] if brought.usable else [f"{first}: unusable", *indented(brought.reason, 6)]


def _failure_lines(report: PluginReport, with_traceback: bool) -> list[str]:
    lines: list[str] = []
    for failure in report.failures:
        lines += [f"  not loaded: {failure.what} of {report.distribution} {report.version}"]
        lines += indented(failure.reason, 4)
        if failure.traceback and with_traceback:
            lines += ["", *indented(failure.traceback.rstrip(), 4), ""]
        elif failure.traceback:
            lines.append(f"    (`ptb plugins {report.name} --traceback` shows where)")
    return lines


def _seconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds:.3f}"
