"""Which components to check, and the checks of each as ``ptb check`` runs them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import msgspec

from ptb_core.catalogue import Catalogue, Row
from ptb_core.entry_points import normalised
from ptb_core.errors import PluginError, UsageError
from ptb_core.specs import Kind
from ptb_core.suggest import did_you_mean
from ptb_core.testing.suites import PREFIX, SUITES, checks_of
from ptb_core.testing.warden import Job, Outcome

LOADS = "it can be loaded"
"""Name of the check that a component or plugin which cannot be loaded fails."""

USABLE = "it is usable on this machine"
"""Name of the check that is skipped for a component which this machine cannot use."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """How one check of one component went.

    Attributes:
        kind: Kind of the component, or ``plugin``.
        name: Its name.
        distribution: Who brought it.
        check: The check's name, as a sentence.
        promise: What it holds the component to.
        outcome: ``ok``, ``failed`` or ``skipped``.
        reason: What was expected and found, or why it was skipped.
        seconds: How long it took.
    """

    kind: str
    name: str
    distribution: str
    check: str
    outcome: str
    promise: str = ""
    reason: str = ""
    seconds: float = 0.0


def wanted_rows(catalogue: Catalogue, names: Sequence[str], kind: Kind | None) -> tuple[Row, ...]:
    """Return what to check: components of those names, or all that those distributions bring.

    Args:
        catalogue: Everything that is installed.
        names: Names of components or distributions; none means everything.
        kind: Only components of this kind; None means any.

    Raises:
        UsageError: If nothing has one of the names.
    """
    rows = [row for row in catalogue.rows() if kind in (None, row.kind) or row.kind == "plugin"]
    if not names:
        return tuple(row for row in rows if kind is None or row.kind == kind)
    chosen: dict[Row, None] = {}
    for name in names:
        found = [row for row in rows if _is_called(row, name)]
        if not found:
            raise UsageError(_unknown(rows, name, kind))
        chosen.update(dict.fromkeys(found))
    return tuple(chosen)


def run_checks(
    catalogue: Catalogue, row: Row, limit_s: float | None = None
) -> Iterator[CheckResult]:
    """Run the suite of one component and yield how each check went, as soon as it is known.

    Args:
        catalogue: Everything that is installed.
        row: The component; a broken plugin's row gives one failed check.
        limit_s: Seconds for each check; None takes the suite's own.
    """
    obstacle = _obstacle(catalogue, row)
    if obstacle is not None:
        yield obstacle
        return
    kind: Kind = row.kind  # type: ignore[assignment]
    promises = {check.method: check.promise for check in checks_of(SUITES[kind])}
    job = Job(
        path=tuple(sys.path), kind=kind, name=row.name, methods=tuple(promises), limit_s=limit_s
    )
    for outcome in _outcomes(job):
        yield CheckResult(
            kind=row.kind,
            name=row.name,
            distribution=row.distribution,
            check=outcome.check.removeprefix(PREFIX).replace("_", " "),
            promise=promises.get(outcome.check, ""),
            outcome=outcome.outcome,
            reason=outcome.reason,
            seconds=outcome.seconds,
        )


def _is_called(row: Row, name: str) -> bool:
    return name == row.name or normalised(name) == normalised(row.distribution)


def _unknown(rows: Sequence[Row], name: str, kind: Kind | None) -> str:
    known = sorted({row.name for row in rows} | {row.distribution for row in rows})
    what = f"{kind} or distribution" if kind else "component or distribution"
    return (
        f"there is no {what} {name!r}{did_you_mean(name, known)}; `ptb list` shows all components"
    )


def _obstacle(catalogue: Catalogue, row: Row) -> CheckResult | None:
    """Return the one result of a row that has no suite to run, or None."""
    if row.usable:
        return None
    is_broken = row.kind == "plugin"
    if row.kind != "plugin":
        try:
            catalogue.get(row.kind, row.name, allow_unusable=True)
        except PluginError:
            is_broken = True
    return CheckResult(
        kind=row.kind,
        name=row.name,
        distribution=row.distribution,
        check=LOADS if is_broken else USABLE,
        outcome="failed" if is_broken else "skipped",
        reason=row.reason,
    )


def _outcomes(job: Job) -> Iterator[Outcome]:
    warden = subprocess.Popen(
        [sys.executable, "-m", "ptb_core.testing.warden"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert warden.stdin is not None
    assert warden.stdout is not None
    try:
        with warden.stdin as stdin:
            stdin.write(msgspec.json.encode(job))
        with warden.stdout as stdout:
            for line in stdout:
                yield msgspec.json.decode(line, type=Outcome)
    finally:
        if warden.poll() is None:
            warden.terminate()
        warden.wait()
