"""What every sandbox promises, in groups from commands to limits."""

from __future__ import annotations

from ptb_core.testing.sandbox.commands import CommandChecks
from ptb_core.testing.sandbox.ending import EndingChecks
from ptb_core.testing.sandbox.limits import LimitChecks
from ptb_core.testing.sandbox.outliving import OutlivingChecks
from ptb_core.testing.sandbox.separation import SeparationChecks
from ptb_core.testing.sandbox.transfer import TransferChecks


class SandboxConformance(
    CommandChecks,
    EndingChecks,
    OutlivingChecks,
    TransferChecks,
    SeparationChecks,
    LimitChecks,
):
    """Checks of a sandbox; each opens sessions of its own.

    What is isolated only somewhere is checked where ``facts()`` claims it, so that facts which
    claim too much fail here. Set ``settings`` for a variant (another isolation, an image), and
    override ``lose(session)`` so that the check of lost sessions can run.
    """
