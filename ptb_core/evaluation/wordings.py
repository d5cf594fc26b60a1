"""A wording of the plan's own for the question that a task asks its judge.

A task whose question's wording is free ships one as the data file ``judge-prompt``. A plan may
name a file with another; it then stands among the task's prompts under the same name, so that the
record holds its digest.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ptb_core.errors import DataError
from ptb_core.evaluation.exchange import DataDir

JUDGE_PROMPT = "judge-prompt"


def with_judge_prompt(data: DataDir, task: str, path: Path) -> DataDir:
    """Return a task's data with the wording that a file holds in place of the shipped one.

    The text is taken as it stands; the task's ``samples`` says what is wrong with it.

    Args:
        data: The task's data.
        task: The task's name, for errors.
        path: A UTF-8 text.

    Raises:
        DataError: If the task's wording is fixed, or the file cannot be read.
    """
    if JUDGE_PROMPT not in data.files:
        raise DataError(
            f"{task}: it takes no judge prompt from a plan, its wording is fixed or it asks no "
            f"judge; found {path}, expected no entry for {task} in the plan's grader.prompts"
        )
    try:
        text = path.read_text("utf-8")
    except (OSError, ValueError) as error:
        raise DataError(
            f"{task}: the judge prompt {path} that the plan names cannot be read ({error}); name "
            "a UTF-8 text file"
        ) from error
    return replace(data, prompts={**data.prompts, JUDGE_PROMPT: text})
