"""A wording of the plan's own for the question that a task asks its judge.

A task whose question's wording is free ships one as the data file :data:`JUDGE_PROMPT`. A plan may
name a file with another (``grader.prompts``); its text then stands among the task's prompts under
the same name, so that the record holds its digest. Where the wording is a published one it stays.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace

from ptb_core.evaluation.exchange import DataDir
from ptb_core.specs import GraderSpec, TaskSpec

JUDGE_PROMPT = "judge-prompt"


def takes_wording(task: TaskSpec) -> bool:
    """Return whether a plan may bring its own wording for a task's grader."""
    return "grader" in task.needs and any(file.name == JUDGE_PROMPT for file in task.data)


def with_plans_wording(data: DataDir, grader: GraderSpec | None, task: str) -> DataDir:
    """Return a task's data with the wording that the plan has for it, if it has one.

    The text is taken as it stands; the task's ``samples`` says what is wrong with it.
    """
    text = grader.prompts.get(task) if grader is not None else None
    if text is None:
        return data
    sha256 = hashlib.sha256(text.encode()).hexdigest()
    revisions = {**data.revisions, JUDGE_PROMPT: f"the plan's, sha256 {sha256[:12]}"}
    return replace(data, prompts={**data.prompts, JUDGE_PROMPT: text}, revisions=revisions)


def grading_wordings(data: DataDir) -> Mapping[str, str]:
    """Return the texts that a graded task's questions are made from, by name.

    Raises:
        OSError: If the shipped wording cannot be read.
    """
    if JUDGE_PROMPT in data.prompts or JUDGE_PROMPT not in data.files:
        return data.prompts
    return {**data.prompts, JUDGE_PROMPT: data.files[JUDGE_PROMPT].read_text("utf-8")}
