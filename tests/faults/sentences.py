"""What every message to a user keeps to, whatever was wrong."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Sequence

from ptb_core.cli.main import main

NOISE = re.compile(
    r"Traceback|internal error|<class|object at 0x|<function|\bptb_core\.|dataclass|"
    r"msgspec|jsonschema|Error\("
)
FAULT = re.compile(r"  \$\S.*: found .+; expected .+|  \$: found .+; expected .+")
CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f\u2028\u2029]")


def run(arguments: Sequence[str]) -> tuple[int, str, str]:
    """Run ``ptb`` in this process; return exit code, standard output and standard error."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(arguments)
    return code, out.getvalue(), err.getvalue()


def assert_speaks_plainly(text: str) -> None:
    """No Python in it, and nothing that a terminal would obey."""
    shown = text.replace("<class 'object'>", "")  # one of the values that tests put in
    assert not NOISE.search(shown), text
    assert not CONTROL.search(shown), text


def assert_lists_faults(text: str, file: str) -> None:
    """``file: N faults`` and one line for each of them, with path, found and expected."""
    first, *faults = text.rstrip("\n").split("\n")
    count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
    assert first == f"ptb: {file}: {count}", text
    assert faults, text
    for fault in faults:
        assert FAULT.fullmatch(fault), fault
        assert_speaks_plainly(fault)
        assert len(fault) < 1000, fault
