"""The agent program: repeats its prompt and submits the base model, or nothing.

It runs inside the sandbox, with the workspace as its working directory and the prompt on its
standard input, and tells what it does on its standard output, one JSON object per line
(``echo-jsonl``, described in ``trace.py``). The standard library is all that it needs, so it works
in any image that has a Python.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import sys
import time
from pathlib import Path

SUBMISSION = Path("final_model")
LEAST_S = 2
"""Seconds before the deadline in which nothing is begun any more."""


class GaveUpError(Exception):
    """The work cannot be done; the text says why."""


def main() -> int:
    """Do the work; return 0 when it is done, 1 when not."""
    arguments = parsed_arguments()
    prompt = sys.stdin.read()
    session = hashlib.sha256(f"{time.time_ns()}{prompt}".encode()).hexdigest()[:12]
    tell(event="start", session=session)
    try:
        written = echo(prompt, arguments.lines)
        if arguments.submit == "base-model":
            submit(arguments.base_model, arguments.deadline)
    except (GaveUpError, OSError, MemoryError) as error:
        tell(event="error", text=str(error) or "out of memory")
        return 1
    tell(event="usage", input=len(prompt.split()), output=written)
    tell(event="end")
    return 0


def parsed_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base-model", type=Path, required=True)
    parser.add_argument("--deadline", type=float, required=True, help="seconds since 1970")
    parser.add_argument("--submit", choices=["base-model", "nothing"], required=True)
    parser.add_argument("--lines", type=int, required=True)
    return parser.parse_args()


def echo(prompt: str, lines: int) -> int:
    """Repeat the prompt's first lines and return the number of words repeated."""
    if not prompt.strip():
        raise GaveUpError("the prompt is empty")
    repeated = prompt.splitlines()[:lines]
    for line in repeated:
        tell(event="message", text=line)
    return sum(len(line.split()) for line in repeated)


def submit(base_model: Path, deadline: float) -> None:
    """Copy the base model's files into ``final_model/``, one told step each."""
    SUBMISSION.mkdir(exist_ok=True)
    for path in sorted(path for path in base_model.iterdir() if path.is_file()):
        left = deadline - time.time()
        if left < LEAST_S:
            raise GaveUpError(f"the deadline is in {max(0, left):.0f} s: {path.name} not copied")
        tell(event="tool-call", name="copy", text=path.name)
        shutil.copyfile(path, SUBMISSION / path.name)
        size = (SUBMISSION / path.name).stat().st_size
        tell(event="tool-result", name="copy", text=f"{size} bytes")


def tell(**event: str | int) -> None:
    """Print one event at once, so that a killed program has told what it did."""
    print(json.dumps(event), flush=True)


if __name__ == "__main__":
    sys.exit(main())
