"""How a server process says why it ends. Needs nothing but Python: it runs where engines run."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable

CHECKPOINT_EXIT_CODE = 65
"""Exit status of a server whose checkpoint cannot be loaded (``EX_DATAERR``)."""

FAULT_KEY = "ptb_engine_fault"
"""Key of the JSON line on standard error that says why the server ends."""


class CheckpointFault(Exception):
    """The checkpoint, its tokenizer data or its generation_config.json cannot be served."""


def exit_status(work: Callable[[], None]) -> int:
    """Do the work of a server process and return its exit status.

    The last line of standard error is a JSON object with the reason when the work fails; the
    status is :data:`CHECKPOINT_EXIT_CODE` when the checkpoint is at fault and 1 otherwise.
    """
    try:
        work()
    except CheckpointFault as fault:
        return _report(str(fault), CHECKPOINT_EXIT_CODE)
    except Exception as error:
        return _report(f"{type(error).__name__}: {error}", 1)
    return 0


def _report(reason: str, exit_code: int) -> int:
    print(json.dumps({FAULT_KEY: reason}), file=sys.stderr, flush=True)
    return exit_code
