"""How this project compares with the published code, over every golden row.

``PTB_TEST_DATA=FOLDER python -m tests.golden.parity`` prints one line for each kind of row and
names the files that it leaves out. It ends with status 1 when a verdict or request is another than
the published one. A task adds its lines to ``COMPARISONS``.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from tests.golden import humaneval, judged
from tests.golden.exact import EXACT_TASKS, metrics_parity, request_parity, verdict_parity
from tests.golden.material import Golden, Parity

COMPARISONS: dict[str, Callable[[Golden], Parity]] = {
    **{name: partial(verdict_parity, name) for name in EXACT_TASKS},
    **{f"{name}: requests": partial(request_parity, name) for name in EXACT_TASKS},
    "humaneval": humaneval.verdict_parity,
    "humaneval: code": humaneval.code_parity,
    "humaneval: requests": humaneval.request_parity,
    "metrics": metrics_parity,
    "arenahardwriting: verdicts": judged.verdict_parity,
    "arenahardwriting": judged.arena_score_parity,
    "healthbench: grader's replies": judged.grader_parity,
    "healthbench": judged.healthbench_score_parity,
    "healthbench: grader's questions": judged.grader_request_parity,
    "judged tasks: answers": judged.judged_answer_parity,
    "judged tasks: repetitions": judged.repetition_parity,
    **{
        f"{name}: {what}": partial(compare, name)
        for name in ("arenahardwriting", "healthbench")
        for what, compare in (("requests", judged.request_parity), ("order", judged.order_parity))
    },
}
"""What is compared, by the name of its line."""

SLOW = frozenset({"humaneval"})
"""What takes minutes: its programs are run."""


def compare_all(golden: Golden) -> dict[str, Parity]:
    """Return every comparison."""
    return {name: compare(golden) for name, compare in COMPARISONS.items()}


def parity_table(results: Mapping[str, Parity]) -> str:
    """Return the comparisons as text: line, rows, mismatches, deliberate differences."""
    width = max(map(len, results))
    lines = [f"{'golden rows':{width}}  rows  mismatches  deliberate differences"]
    for name, result in results.items():
        if result.skipped is not None:
            lines.append(f"{name:{width}}  not compared: {result.skipped}")
            continue
        differences = "–" if result.differences is None else str(result.differences)
        counts = f"{result.rows:4}  {len(result.mismatches):10}  {differences:>22}"
        lines.append(f"{name:{width}}  {counts}")
        lines += [f"  {row_id}" for row_id in result.mismatches[:10]]
    return "\n".join(lines)


def main() -> int:
    """Print the table; see the module."""
    folder = os.environ.get("PTB_TEST_DATA")
    if not folder:
        print(
            "parity: PTB_TEST_DATA is not set; it names the folder with golden/ and data/",
            file=sys.stderr,
        )
        return 2
    golden = Golden(root=Path(folder))
    results = compare_all(golden)
    print(parity_table(results))
    if left_out := golden.unopened():
        print(f"left out: {', '.join(left_out)}")
    return 1 if any(result.mismatches for result in results.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
