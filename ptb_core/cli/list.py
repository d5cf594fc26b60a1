"""``ptb list``: every component of every installed plugin."""

from __future__ import annotations

import itertools

import click

from ptb_core.catalogue import Catalogue, Row, RowKind, load_catalogue
from ptb_core.cli.output import emphasised, indented, print_json
from ptb_core.manifests import FOLDERS
from ptb_core.specs import KINDS

PLURALS: dict[str, RowKind] = {**{FOLDERS[kind]: kind for kind in KINDS}, "plugins": "plugin"}
"""What a user may ask for, and the kind it means."""


@click.command("list")
@click.argument("kind", required=False, type=click.Choice(list(PLURALS)), metavar="[KIND]")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array of objects.")
def command(kind: str | None, as_json: bool) -> None:
    """List every component, usable or why not.

    KIND narrows the list: tasks, models, scaffolds, sandboxes, engines, judges, executors, or
    plugins for what could not be loaded.
    """
    catalogue = load_catalogue()
    wanted = PLURALS[kind] if kind else None
    rows = catalogue.rows(wanted)
    notes = (*catalogue.notes, *_left_out(catalogue, wanted))
    if as_json:
        print_json(rows)
        for note in notes:
            click.echo(f"note: {note}", err=True)
        return
    for line in lines(rows, notes):
        click.echo(line)


def _left_out(catalogue: Catalogue, wanted: RowKind | None) -> list[str]:
    """A narrowed list shows no plugins: say which of them may belong to it."""
    if wanted is None or wanted == "plugin":
        return []
    plugins = catalogue.not_loaded(wanted)
    if not plugins:
        return []
    return [f"not loaded, and perhaps missing above: {', '.join(plugins)}; `ptb plugins` says why"]


def lines(rows: tuple[Row, ...], notes: tuple[str, ...]) -> list[str]:
    """Return the list as lines of text."""
    text: list[str] = []
    width = max((len(row.name) for row in rows), default=0)
    for kind, group in itertools.groupby(rows, key=lambda row: row.kind):
        text += ["", emphasised(_heading(kind))] if text else [emphasised(_heading(kind))]
        for row in group:
            text += _row_lines(row, width)
    if any(row.kind == "plugin" for row in rows):
        text += ["", "`ptb plugins NAME --traceback` shows where a plugin failed."]
    if not rows:
        text.append("nothing to list")
    return [*text, *(f"note: {note}" for note in notes)]


def _heading(kind: RowKind) -> str:
    return "plugins that are not loaded" if kind == "plugin" else FOLDERS[kind]


def _row_lines(row: Row, width: int) -> list[str]:
    usable = "usable  " if row.usable else "unusable"
    first = f"  {row.name or '?':<{width}}  {usable}  {row.description}{_package(row)}"
    return [first] if row.usable else [first, *indented(row.reason, 2 + width + 2 + 10)]


def _package(row: Row) -> str:
    """Say who brought a row, unless it is one of our own components."""
    if row.kind != "plugin" and not row.is_foreign:
        return ""
    return f"  [{row.distribution} {row.version}, entry point {row.entry_point or '?'}]"
