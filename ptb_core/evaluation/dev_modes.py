"""How an agent may measure itself, as a condition and a task decide it together."""

from __future__ import annotations

from ptb_core.specs import Condition, TaskSpec


def is_scored_outside(task: TaskSpec, condition: Condition) -> bool:
    """Say whether evaluate.py has its completions scored by the broker.

    Under ``brokered`` always; under ``in-sandbox`` where a grader is asked, because its key never
    enters a sandbox.
    """
    if condition.dev_evaluation == "brokered":
        return True
    return condition.dev_evaluation == "in-sandbox" and task.needs_grader
