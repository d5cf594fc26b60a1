"""``ptb validate PLAN``: is the plan right, what will it take, can it run here?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ptb_core.catalogue import Catalogue
    from ptb_core.plan import Plan

DEFAULT_RUNS = Path("ptb-runs")


@click.command()
@click.argument("plan")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(plan: str, as_json: bool) -> None:
    """Check PLAN (a file, or the name of a shipped plan) and print what it will take.

    Every error of the plan is shown at once; exit status 2. A plan that is right but cannot run
    on this machine is valid: what is missing is listed.
    """
    from ptb_core.catalogue import load_catalogue
    from ptb_core.plan import load_plan
    from ptb_core.plan.estimate import describe_plan, estimate_of

    catalogue = load_catalogue()
    loaded = load_plan(plan, catalogue)
    if as_json:
        import msgspec

        facts = {
            "plan": loaded.name,
            "estimate": msgspec.to_builtins(estimate_of(loaded, catalogue)),
            "obstacles": list(loaded.obstacles),
            "disk": _disk_lines(loaded, catalogue),
        }
        click.echo(json.dumps(facts, indent=2))
        return
    for line in describe_plan(loaded, catalogue):
        click.echo(line)
    for line in _disk_lines(loaded, catalogue):
        click.echo(f"  {line}")


def _disk_lines(plan: Plan, catalogue: Catalogue) -> list[str]:
    """Nothing where the plan needs a component that cannot be loaded: that is said elsewhere."""
    from ptb_core.disk.outlook import describe_outlook, outlook
    from ptb_core.errors import PtbError

    try:
        return describe_outlook(outlook(plan, catalogue, DEFAULT_RUNS))
    except PtbError:
        return []
