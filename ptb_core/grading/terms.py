"""The terms under which a run is graded: as its plan said, or as a later ``ptb run`` said.

A run keeps its plan, but an address, a key's name, a price or a budget decide nothing about its
results: only whether they can be had. Whoever runs out of budget raises it and goes on.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from ptb_core.atomic import write_json
from ptb_core.errors import RecordError
from ptb_core.plan.model import Plan
from ptb_core.run_folder import Run, RunFolder
from ptb_core.specs import GraderSpec, TokenPrice


@dataclass(frozen=True, slots=True, kw_only=True)
class GraderTerms:
    """Which grader is asked, and what it may cost.

    Attributes:
        grader: The grader.
        price: Its price, or None when it is not known.
        budget_usd: What all grading of a run may cost together; None sets no limit. Needs a
            price. Requests without a reply are not booked, though they may be billed: see
            :mod:`ptb_core.grading.ledger`.
    """

    grader: GraderSpec
    price: TokenPrice | None = None
    budget_usd: float | None = None


def terms_of(plan: Plan) -> GraderTerms | None:
    """Return a plan's terms, or None when none of its tasks is graded."""
    if plan.grader is None:
        return None
    return GraderTerms(
        grader=plan.grader, price=plan.grader_price, budget_usd=plan.budgets.grader_usd
    )


def terms_in_force(run_folder: RunFolder, run: Run) -> GraderTerms | None:
    """Return what the last ``ptb run`` on a run folder said.

    Raises:
        RecordError: If its file cannot be read.
    """
    path = run_folder.grader
    try:
        return msgspec.json.decode(path.read_bytes(), type=GraderTerms)
    except FileNotFoundError:
        return terms_of(run.plan)
    except (msgspec.DecodeError, UnicodeDecodeError, OSError) as error:
        raise RecordError(
            f"{path} is damaged ({error}), so nothing is graded; delete it and run `ptb run` on "
            "the run folder again"
        ) from error


def set_terms(run_folder: RunFolder, run: Run, plan: Plan) -> None:
    """Put a plan's terms in force; it has the run's grader and wordings.

    Raises:
        OSError: If they cannot be written.
    """
    terms = terms_of(plan)
    if terms is not None and (terms != terms_of(run.plan) or run_folder.grader.exists()):
        write_json(run_folder.grader, terms)
