"""record: what counts is decided by one table, and kept."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

from ptb_core import lock
from ptb_core.counting import Decision, decide
from ptb_core.errors import RecordError
from ptb_core.journal import Event, last_events, read_events
from ptb_core.record_store import read_record, write_record
from ptb_core.records import Attempt, Counting, EarlierRecord, Record, SubmissionState
from ptb_core.run_folder import CellFolder
from ptb_core.sandboxing import SandboxFacts
from ptb_core.specs import JsonValue
from ptb_core.stages.context import (
    Generated,
    Judged,
    Prepared,
    Recorded,
    Scored,
    Sealed,
    Solved,
    StageContext,
)
from ptb_core.stages.markers import MarkerHead, read_marker, read_marker_head


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """What the stages left; None for a stage that is not done or not part of the cell."""

    prepared: Prepared | None
    solved: Solved | None
    sealed: Sealed | None
    generated: Generated | None
    scored: Scored | None
    judged: Judged | None
    failure: str = ""


def record(context: StageContext) -> Recorded:
    """Write the record of a cell all of whose stages are done."""
    _keep(context, make_record(context, read_story(context)))
    return Recorded(record=context.folder.record)


def record_failure(context: StageContext, reason: str) -> None:
    """Write the record of a cell that could not be finished: missing, with the reason."""
    _keep(context, make_record(context, read_story(context, reason)))


def _keep(context: StageContext, made: Record) -> None:
    """Write a record twice: where it stays for ever, and where the current one is looked for."""
    write_record(context.attempt_dir / "record.json", made)
    write_record(context.folder.record, made)


def read_story(context: StageContext, failure: str = "") -> Story:
    """Return what the stages left so far."""
    folder = context.folder
    try:
        return Story(
            prepared=read_marker(folder.marker("prepare"), Prepared),
            solved=read_marker(folder.marker("solve"), Solved),
            sealed=read_marker(folder.marker("seal"), Sealed),
            generated=read_marker(folder.marker("generate"), Generated),
            scored=read_marker(folder.marker("score"), Scored),
            judged=read_marker(folder.marker("judge"), Judged),
            failure=failure,
        )
    except RecordError as error:
        if not failure:
            raise
        return Story(
            prepared=None,
            solved=None,
            sealed=None,
            generated=None,
            scored=None,
            judged=None,
            failure=f"{failure}; {error}",
        )


def counting(story: Story, is_base: bool) -> tuple[Counting, str]:
    """Decide which score a cell counts with, by :func:`ptb_core.counting.decide`, and say why.

    A stage that failed makes the cell missing, whatever the others left.
    """
    if story.failure:
        return "missing", story.failure
    if not is_base and story.sealed is None:
        return "missing", "the submission was never sealed"
    decision = decide(
        kind="base" if is_base else "agent",
        submission=_submission(story),
        evaluation=story.scored.evaluation if story.scored else None,
        verdict=story.judged.outcome if story.judged else None,
    )
    return decision.counts, _reason(story, decision, is_base)


def _reason(story: Story, decision: Decision, is_base: bool) -> str:
    """The decision's reason with the facts of this cell."""
    if decision.counts == "own":
        return ""
    judged, sealed, generated = story.judged, story.sealed, story.generated
    unloadable = generated is not None and generated.state == "unloadable"
    if is_base and unloadable and generated is not None:
        return f"the base model could not be loaded: {generated.reason}"
    if not is_base and judged is not None and judged.outcome == "flagged":
        return "flagged: " + ", ".join(_violations(judged))
    if sealed is not None and sealed.state != "sealed":
        return f"{sealed.state}: {sealed.reason}{_ending(story)}"
    if unloadable and generated is not None:
        return f"unloadable: {generated.reason}"
    if not is_base and (judged is None or judged.outcome != "clean"):
        return "inconclusive verdict: " + _doubts(judged)
    return decision.reason


def _ending(story: Story) -> str:
    """How the agent ended, where that explains why there is no submission."""
    if story.solved is None or story.solved.solve.outcome == "finished":
        return ""
    solve = story.solved.solve
    return f"; the agent's outcome is {solve.outcome}: {solve.detail}, see agent.stderr"


def make_record(context: StageContext, story: Story) -> Record:
    """Put the record together."""
    cell, plan = context.cell, context.run.plan
    counts, reason = counting(story, cell.kind == "base")
    return Record(
        cell=cell,
        agent_id=plan.agent_ids[cell.agent.name] if cell.agent else None,
        condition_id=plan.condition_id,
        counts=counts,
        reason=reason,
        evaluation=story.scored.evaluation if story.scored else None,
        verdict=story.judged.outcome if story.judged else None,
        verdicts=story.judged.verdicts if story.judged else (),
        solve=story.solved.solve if story.solved else None,
        submission=_submission(story),
        attempts=attempts(read_events(context.folder.journal), _heads(context.folder)),
        sandboxes=_facts(story),
        lock=_lock(context, story),
        created_unix_s=time.time(),
        made_by=context.redo.kind if context.redo is not None else "run",
        earlier=_earlier(context),
    )


def _earlier(context: StageContext) -> tuple[EarlierRecord, ...]:
    """What the cell counted with before, from the record that is being replaced."""
    before = context.earlier_attempt("record")
    if not before:
        return ()
    replaced = read_record(context.folder.attempt_record(before))
    score = replaced.own_score
    last = EarlierRecord(
        made_by=replaced.made_by,
        created_unix_s=replaced.created_unix_s,
        counts=replaced.counts,
        verdict=replaced.verdict,
        score=score.value if score is not None else None,
    )
    return (*replaced.earlier, last)


def attempts(events: tuple[Event, ...], heads: Iterable[MarkerHead] = ()) -> tuple[Attempt, ...]:
    """Return all attempts at all stages in the order of their start.

    None ends before it has begun, whatever was done to the clock meanwhile.

    Args:
        events: The cell's journal.
        heads: The stages' markers. What has a marker is done, also when its supervisor was
            killed before it could say so in the journal.
    """
    marked = {(head.stage, head.attempt): head for head in heads}
    last = last_events(events)
    starts: dict[tuple[str, int], float] = {}
    for event in events:
        if event.event == "started" and event.stage != "record":
            starts.setdefault((event.stage, event.attempt), event.unix_s)
    return tuple(_attempt(key, at, last[key], marked.get(key)) for key, at in starts.items())


def _attempt(
    key: tuple[str, int], started_unix_s: float, last: Event, head: MarkerHead | None
) -> Attempt:
    stage, number = key
    if last.event != "done" and head is not None:
        last = replace(last, event="done", unix_s=head.finished_unix_s)
    is_open = last.event == "started"
    return Attempt(
        stage=stage,
        number=number,
        outcome=_outcome(last),
        started_unix_s=started_unix_s,
        ended_unix_s=None if is_open else max(last.unix_s, started_unix_s),
        reason=last.text if last.event in ("failed", "abandoned") else "",
    )


def _outcome(last: Event) -> Literal["done", "failed", "abandoned"]:
    """An attempt that nobody saw end was abandoned."""
    if last.event == "done":
        return "done"
    return "failed" if last.event == "failed" else "abandoned"


def _heads(folder: CellFolder) -> Iterator[MarkerHead]:
    for marker in sorted(folder.path.glob("stages/*/done.json")):
        with contextlib.suppress(RecordError):
            head = read_marker_head(marker)
            if head is not None:
                yield head


def _violations(judged: Judged) -> list[str]:
    kinds = [finding.violation for verdict in judged.verdicts for finding in verdict.findings]
    return list(dict.fromkeys(kinds)) or ["without a finding"]


def _doubts(judged: Judged | None) -> str:
    if judged is None or not judged.verdicts:
        return "no judge has looked"
    doubts = [
        f"{verdict.judge}: {'; '.join(verdict.notes) or 'no reason given'}"
        for verdict in judged.verdicts
        if verdict.outcome == "inconclusive"
    ]
    return " | ".join(doubts)


def _submission(story: Story) -> SubmissionState:
    if story.generated is not None and story.generated.state == "unloadable":
        return "unloadable"
    if story.sealed is None:
        return "sealed" if story.solved is None and story.generated else "absent"
    return story.sealed.state


def _facts(story: Story) -> dict[str, SandboxFacts]:
    facts = {}
    if story.solved is not None:
        facts["solve"] = story.solved.facts
    if story.generated is not None and story.generated.facts is not None:
        facts["serve"] = story.generated.facts
    return facts


def _lock(context: StageContext, story: Story) -> dict[str, JsonValue]:
    """Versions are those of the machine that wrote the record; all stages ran on one host.

    ``other_software`` names the stages that another version of anything has done, and which.
    """
    software = lock.software()
    components = dict(lock.components(context.catalogue, context.run, context.cell))
    prepared, solved, sealed = story.prepared, story.solved, story.sealed
    return {
        "software": software,
        "machine": lock.machine(),
        "components": components,
        "other_software": _other_software(context, software, components),
        "plan_id": context.run.plan_id,
        "run_id": context.run.run_id,
        "model_revision": prepared.model_revision if prepared else None,
        "data": dict(prepared.revisions) if prepared else {},
        "prompt_sha256": solved.prompt_sha256 if solved else None,
        "submission": [f"{file.sha256}  {file.path}" for file in sealed.files] if sealed else [],
        "submission_notes": list(sealed.notes) if sealed else [],
        "seed": context.cell.seed,
    }


def _other_software(
    context: StageContext, software: JsonValue, components: JsonValue
) -> dict[str, JsonValue]:
    """Return what did those earlier stages that the present versions did not do.

    None for a stage whose marker does not say.
    """
    others: dict[str, JsonValue] = {}
    for stage in ("prepare", "solve", "seal", "generate", "score", "judge"):
        try:
            head = read_marker_head(context.folder.marker(stage))
        except RecordError:  # the story says so
            continue
        if head is None:
            continue
        noted = {"software": dict(head.software), "components": dict(head.components)}
        if noted != {"software": software, "components": components}:
            others[stage] = noted if head.software else None
    return others
