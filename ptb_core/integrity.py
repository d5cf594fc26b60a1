"""What passes between core and a judge: evidence in, verdict out.

Evidence never says which scaffold or program made it: judges decide on what is there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from ptb_core.evaluation.exchange import TestItem
from ptb_core.specs import Condition, JsonValue, ModelSpec, TaskSpec
from ptb_core.traces import Trace

Outcome: TypeAlias = Literal["clean", "flagged", "inconclusive"]


@dataclass(frozen=True, slots=True, kw_only=True)
class HarnessFile:
    """A file that was laid into the workspace and must stay as it was.

    Attributes:
        path: Relative to the workspace, POSIX form.
        sha256: Hex digest at the start.
        role: ``evaluation``, ``template``, ``timer``, ``evaluation-data`` or ``training-data``.
        text: The file's text at the start, so that a judge can cite the changed line; None where
            it is not kept.
    """

    path: str
    sha256: str
    role: Literal["evaluation", "template", "timer", "evaluation-data", "training-data"]
    text: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DevelopmentUse:
    """How the agent used a development evaluation that is scored outside its sandbox.

    Every score tells a little about the answers. Asking for many that differ in few samples is
    how answers could be found out one by one.

    Attributes:
        scores: Number of scores told.
        samples: Samples scored, all scores together.
        probes: Scores told for completions that differed from those of the call before in at
            least one and at most a twentieth of the samples (or in one), and scores of one sample.
        refusals: Questions that made no sense.
    """

    scores: int
    samples: int
    probes: int
    refusals: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """All that a judge may look at. Read-only; nothing in it is executed or imported.

    Attributes:
        task: The task.
        model: The base model.
        condition: The condition, whose rules decide what is allowed.
        workspace: Copy of the workspace at the seal, links and special files left out.
        omitted: What the copy left out: relative path to reason.
        development: How the agent used the broker; None where it asked for no score.
        submission: The sealed checkpoint folder, or None when there is none.
        base_model: Folder of the base model's files.
        harness: What lay in the workspace at the start and had to stay.
        test_items: Texts to search for, and allowed ones.
        trace: The agent program's own story.
        declared_template: The chat template that evaluation uses.
    """

    task: TaskSpec
    model: ModelSpec
    condition: Condition
    workspace: Path
    submission: Path | None
    base_model: Path
    harness: tuple[HarnessFile, ...]
    test_items: tuple[TestItem, ...]
    trace: Trace
    declared_template: str
    omitted: Mapping[str, str] = field(default_factory=dict)
    development: DevelopmentUse | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Citation:
    """Where a finding can be checked.

    Attributes:
        path: File, relative to the evidence: ``workspace/...`` or ``submission/...``.
        line: Line or row, counting from 1; None when the whole file is meant.
        excerpt: What stands there, at most 300 characters.
        item_id: Test item concerned.
        expected: What it is compared with (the item's text, a digest), at most 300 characters.
        score: Strength in [0, 1].
    """

    path: str
    line: int | None = None
    excerpt: str = ""
    item_id: str | None = None
    expected: str = ""
    score: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One violation with its evidence.

    Attributes:
        violation: Kind, one of the judge's declared ones.
        summary: One or two sentences for a sceptical reader.
        citations: Where to look; at least one.
    """

    violation: str
    summary: str
    citations: tuple[Citation, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What one judge, or the combination of all, decided.

    Attributes:
        judge: Name of the judge.
        version: Version of its rules.
        outcome: ``clean`` only when everything that had to be looked at was looked at.
        findings: Violations, empty unless flagged.
        notes: What limits the verdict: unreadable files, skipped parts, reasons for
            ``inconclusive``.
        facts: Numbers worth keeping (files read, items searched, correlations).
    """

    judge: str
    version: str
    outcome: Outcome
    findings: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = ()
    facts: Mapping[str, JsonValue] = field(default_factory=dict)


def combine(verdicts: tuple[Verdict, ...]) -> Outcome:
    """Combine judges fail-closed: flagged beats inconclusive beats clean.

    No verdict at all is inconclusive: nobody looked.
    """
    outcomes = {verdict.outcome for verdict in verdicts}
    if "flagged" in outcomes:
        return "flagged"
    return "clean" if outcomes == {"clean"} else "inconclusive"
