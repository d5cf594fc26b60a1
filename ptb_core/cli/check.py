"""``ptb check``: hold components to the promises of their kind, outside pytest."""

from __future__ import annotations

import sys

import click

from ptb_core.specs import KINDS, Kind


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--kind", type=click.Choice(KINDS), help="Only components of this kind.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option(
    "--limit", "limit_s", type=click.FloatRange(min=0.1), metavar="SECONDS",
    help="Time for each check; what takes longer is ended and failed.",
)  # fmt: skip
def command(names: tuple[str, ...], kind: Kind | None, as_json: bool, limit_s: float | None) -> int:
    """Run the conformance checks of components.

    NAME is a component, of any kind, or a distribution, which means all that it brings; without
    NAME everything that is installed is checked. Exit status 1 when a check failed, 2 when
    nothing has such a name.
    """
    from ptb_core.catalogue import load_catalogue
    from ptb_core.testing.check import CheckResult, run_checks, wanted_rows

    catalogue = load_catalogue()
    results: list[CheckResult] = []
    for row in wanted_rows(catalogue, names, kind):
        if not as_json:
            _print_heading(row.kind, row.name, f"{row.distribution} {row.version}")
        for result in run_checks(catalogue, row, limit_s):
            results.append(result)
            if not as_json:
                _print_result(result.outcome, result.check, result.reason)
    counts = {
        outcome: sum(result.outcome == outcome for result in results)
        for outcome in ("ok", "failed", "skipped")
    }
    _print_end(results, counts, as_json)
    return 1 if counts["failed"] else 0


def _print_heading(kind: str, name: str, origin: str) -> None:
    from ptb_core.cli.output import emphasised

    click.echo(emphasised(f"{kind} {name}") + f"  [{origin}]")


def _print_result(outcome: str, check: str, reason: str) -> None:
    first, *others = reason.splitlines() or [""]
    click.echo(f"  {outcome:<8} {check}" + (f": {first}" if first else ""))
    for line in others:
        click.echo(f"             {line}")
    sys.stdout.flush()


def _print_end(results: object, counts: dict[str, int], as_json: bool) -> None:
    if as_json:
        from ptb_core.cli.output import print_json

        print_json({"checks": results, **counts})
        return
    total = sum(counts.values())
    click.echo(
        f"{total} checks: {counts['ok']} ok, {counts['failed']} failed, {counts['skipped']} skipped"
    )
