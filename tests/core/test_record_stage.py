"""The record stage: everything the stages left, put together and explained."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ptb_core.catalogue import load_catalogue
from ptb_core.errors import RecordError
from ptb_core.integrity import Verdict
from ptb_core.journal import Event, append_event
from ptb_core.record_store import read_record
from ptb_core.records import Evaluation, Solve
from ptb_core.run_folder import RunFolder
from ptb_core.sandboxing import SandboxFacts, SealedFile
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
from ptb_core.stages.markers import MarkerHead
from ptb_core.stages.record import Story, attempts, counting, make_record, record, record_failure

from .small_run import BASE, NULL, record_of, small_run, write_marker

SOLVE_FACTS = SandboxFacts(isolation="bwrap", description="solve", network_enforced=True)
SERVE_FACTS = SandboxFacts(isolation="none", description="serve", network_enforced=False)
PREPARED = Prepared(
    base_model=Path("/base"),
    model_revision="abc",
    data_files={},
    prompts={},
    revisions={"test": "r1"},
)
SOLVED = Solved(
    solve=Solve(outcome="finished", detail="It ended.", seconds=3.0),
    workspace=Path("/w"),
    seal=(),
    harness=(),
    trace=Path("/t"),
    prompt_sha256="p" * 64,
    facts=SOLVE_FACTS,
)
SEALED = Sealed(
    state="sealed",
    reason="",
    path=Path("/s"),
    files=(SealedFile(path="config.json", size=2, sha256="d" * 64),),
    notes=("merged",),
    evidence=Path("/e"),
    omitted={},
)
GENERATED = Generated(state="done", facts=SERVE_FACTS)
CLEAN = Judged(outcome="clean", verdicts=(Verdict(judge="j", version="1", outcome="clean"),))


def story(**changes: Any) -> Story:
    facts: dict[str, Any] = {
        "prepared": PREPARED,
        "solved": SOLVED,
        "sealed": SEALED,
        "generated": GENERATED,
        "scored": Scored(evaluation=evaluation()),
        "judged": CLEAN,
    }
    return Story(**(facts | changes))


def evaluation(**changes: Any) -> Evaluation:
    found = record_of_any().evaluation
    assert found is not None
    return replace(found, **changes)


def record_of_any() -> Any:
    return record_of(None)  # type: ignore[arg-type]


NOTHING = Story(
    prepared=None,
    solved=None,
    sealed=None,
    generated=None,
    scored=None,
    judged=None,
    failure="stage prepare failed: x",
)


@pytest.fixture
def run_folder(tmp_path: Path) -> RunFolder:
    return small_run(tmp_path)


def context(run_folder: RunFolder, cell_id: str) -> StageContext:
    run = run_folder.open()
    folder = run_folder.cell(cell_id)
    folder.attempt("record", 1).mkdir(parents=True, exist_ok=True)
    return StageContext(
        run=run,
        run_folder=run_folder,
        folder=folder,
        cell=run.cell(cell_id),
        catalogue=load_catalogue(),
        fence=1,
        attempt=1,
        attempt_dir=folder.attempt("record", 1),
        check_claim=lambda: None,
        stopping=threading.Event(),
    )


def test_the_record_of_an_agent_cell_holds_what_every_stage_left(run_folder: RunFolder) -> None:
    here = context(run_folder, NULL)
    append_event(here.folder.journal, "started", 1, stage="solve", attempt=1)
    append_event(here.folder.journal, "done", 1, stage="solve", attempt=1)
    before = time.time()
    made = make_record(here, story())
    assert before <= made.created_unix_s <= time.time()
    assert (made.cell, made.condition_id) == (here.cell, here.run.plan.condition_id)
    assert made.agent_id == here.run.plan.agent_ids["null"]
    assert (made.counts, made.reason, made.verdict) == ("own", "", "clean")
    assert (made.evaluation, made.verdicts) == (evaluation(), CLEAN.verdicts)
    assert (made.solve, made.submission) == (SOLVED.solve, "sealed")
    assert made.sandboxes == {"solve": SOLVE_FACTS, "serve": SERVE_FACTS}
    assert [(a.stage, a.outcome) for a in made.attempts] == [("solve", "done")]


def test_the_lock_says_what_would_repeat_the_cell(run_folder: RunFolder) -> None:
    here = context(run_folder, NULL)
    lock = make_record(here, story()).lock
    assert lock["software"]["python"]
    assert lock["machine"]["host"]
    assert "scaffold/null" in lock["components"]
    del lock["software"], lock["machine"], lock["components"]  # type: ignore[attr-defined]
    assert lock == {
        "plan_id": here.run.plan_id,
        "run_id": here.run.run_id,
        "model_revision": "abc",
        "data": {"test": "r1"},
        "other_software": {},
        "prompt_sha256": "p" * 64,
        "submission": ["d" * 64 + "  config.json"],
        "submission_notes": ["merged"],
        "seed": here.cell.seed,
    }


def test_a_cell_of_which_nothing_is_known_has_an_empty_record(run_folder: RunFolder) -> None:
    here = context(run_folder, NULL)
    made = make_record(here, NOTHING)
    assert (made.counts, made.reason) == ("missing", "stage prepare failed: x")
    assert (made.evaluation, made.verdict, made.verdicts, made.solve) == (None, None, (), None)
    assert (made.submission, made.sandboxes, made.attempts) == ("absent", {}, ())
    for name, empty in {
        "model_revision": None,
        "data": {},
        "prompt_sha256": None,
        "submission": [],
        "submission_notes": [],
    }.items():
        assert made.lock[name] == empty


def test_a_base_cell_has_no_agent_and_the_base_model_as_its_submission(
    run_folder: RunFolder,
) -> None:
    told = story(solved=None, sealed=None, judged=None)
    made = make_record(context(run_folder, BASE), told)
    assert (made.agent_id, made.verdict, made.solve) == (None, None, None)
    assert (made.counts, made.submission) == ("own", "sealed")
    assert made.sandboxes == {"serve": SERVE_FACTS}
    assert not [name for name in made.lock["components"] if name.startswith("scaffold/")]


@pytest.mark.parametrize(
    ("told", "submission"),
    [
        (story(generated=Generated(state="unloadable", reason="x")), "unloadable"),
        (story(sealed=replace(SEALED, state="refused"), generated=None), "refused"),
        (story(sealed=replace(SEALED, state="absent"), generated=None), "absent"),
        (story(generated=None), "sealed"),
        (story(sealed=None, generated=None), "absent"),
        (story(solved=None, sealed=None, generated=None), "absent"),
        (story(sealed=None), "absent"),
    ],
)
def test_a_submission_is_called_what_became_of_it(
    run_folder: RunFolder, told: Story, submission: str
) -> None:
    assert make_record(context(run_folder, NULL), told).submission == submission


def test_a_server_that_never_ran_has_no_facts(run_folder: RunFolder) -> None:
    told = story(generated=Generated(state="skipped"))
    assert make_record(context(run_folder, NULL), told).sandboxes == {"solve": SOLVE_FACTS}


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (story(scored=None), ("missing", "there is no evaluation")),
        (
            story(scored=Scored(evaluation=None)),
            ("missing", "there is no evaluation"),
        ),
        (story(judged=None), ("missing", "inconclusive verdict: no judge has looked")),
        (
            story(judged=Judged(outcome="flagged", verdicts=())),
            ("base", "flagged: without a finding"),
        ),
        (
            story(
                judged=Judged(
                    outcome="inconclusive",
                    verdicts=(
                        Verdict(judge="a", version="1", outcome="clean", notes=("fine",)),
                        Verdict(judge="b", version="1", outcome="inconclusive"),
                        Verdict(judge="c", version="1", outcome="inconclusive", notes=("x", "y")),
                    ),
                )
            ),
            ("missing", "inconclusive verdict: b: no reason given | c: x; y"),
        ),
        (
            story(failure="stage judge failed", judged=Judged(outcome="flagged", verdicts=())),
            ("missing", "stage judge failed"),
        ),
    ],
)
def test_doubts_and_failures_are_told(told: Story, expected: tuple[str, str]) -> None:
    assert counting(told, is_base=False) == expected


def test_a_base_cell_is_never_counted_as_flagged() -> None:
    told = story(judged=Judged(outcome="flagged", verdicts=()))
    assert counting(told, is_base=True) == ("own", "")


def test_a_base_cell_with_an_incomplete_evaluation_is_missing() -> None:
    told = story(judged=None, scored=Scored(evaluation=evaluation(complete=False, n_scored=7)))
    assert counting(told, is_base=True) == (
        "missing",
        "the evaluation is incomplete: 7 of 10 samples are scored",
    )


def test_the_record_is_written_and_named(run_folder: RunFolder) -> None:
    here = context(run_folder, NULL)
    write_marker(here.folder.marker("score"), "score", Scored(evaluation=evaluation()))
    write_marker(here.folder.marker("judge"), "judge", CLEAN)
    write_marker(here.folder.marker("seal"), "seal", SEALED)
    write_marker(here.folder.marker("prepare"), "prepare", PREPARED)
    write_marker(here.folder.marker("solve"), "solve", SOLVED)
    write_marker(here.folder.marker("generate"), "generate", GENERATED)
    assert record(here) == Recorded(record=here.folder.record)
    written, expected = read_record(here.folder.record), make_record(here, story())
    assert replace(written, created_unix_s=0) == replace(expected, created_unix_s=0)


def test_a_damaged_marker_stops_the_record_but_not_the_record_of_a_failure(
    run_folder: RunFolder,
) -> None:
    here = context(run_folder, NULL)
    write_marker(here.folder.marker("prepare"), "prepare", PREPARED)
    write_marker(here.folder.marker("judge"), "judge", {"outcome": 1})
    with pytest.raises(RecordError, match=r"done\.json is damaged"):
        record(here)
    assert not here.folder.record.exists()
    record_failure(here, "stage score failed: x")
    written = read_record(here.folder.record)
    assert written.counts == "missing"
    assert written.reason.startswith("stage score failed: x; ")
    assert "done.json is damaged" in written.reason
    assert written.lock["model_revision"] is None


def test_events_of_the_cell_and_of_the_record_itself_are_no_attempts() -> None:
    events = (
        Event(event="claimed", unix_s=1.0, fence=1),
        Event(event="done", unix_s=1.0, fence=1, stage="solve", attempt=1),
        Event(event="started", unix_s=2.0, fence=1, stage="solve", attempt=2),
        Event(event="note", unix_s=3.0, fence=1, stage="solve", attempt=2, text="hello"),
        Event(event="abandoned", unix_s=4.0, fence=1, stage="solve", attempt=2, text="stopped"),
        Event(event="started", unix_s=5.0, fence=2, stage="record", attempt=1),
    )
    (only,) = attempts(events)
    assert (only.stage, only.number, only.outcome) == ("solve", 2, "abandoned")
    assert (only.started_unix_s, only.ended_unix_s, only.reason) == (2.0, 4.0, "stopped")


def test_an_attempt_that_is_done_needs_no_reason() -> None:
    (only,) = attempts(
        (
            Event(event="started", unix_s=1.0, fence=1, stage="seal", attempt=1),
            Event(event="done", unix_s=2.0, fence=1, stage="seal", attempt=1, text="fine"),
        )
    )
    assert (only.outcome, only.reason) == ("done", "")


def test_attempts_are_in_the_order_of_their_start() -> None:
    started = [("prepare", 1), ("solve", 1), ("prepare", 2), ("solve", 2)]
    events = tuple(
        Event(event="started", unix_s=float(i), fence=1, stage=stage, attempt=number)
        for i, (stage, number) in enumerate(started)
    )
    assert [(a.stage, a.number) for a in attempts(events)] == started


def test_a_missing_submission_is_explained_by_how_the_agent_ended() -> None:
    sealed = replace(SEALED, state="absent", reason="no final_model")
    timed_out = replace(SOLVED, solve=replace(SOLVED.solve, outcome="timeout", detail="10 h"))
    assert counting(story(solved=timed_out, sealed=sealed), is_base=False) == (
        "base",
        "absent: no final_model; the agent's outcome is timeout: 10 h, see agent.stderr",
    )
    for solved in (SOLVED, None):
        assert counting(story(solved=solved, sealed=sealed), is_base=False) == (
            "base",
            "absent: no final_model",
        )


def test_what_has_a_marker_is_done_though_its_supervisor_died_before_saying_so() -> None:
    events = (
        Event(event="started", unix_s=1.0, fence=1, stage="solve", attempt=1),
        Event(event="failed", unix_s=2.0, fence=1, stage="solve", attempt=1, text="lost"),
        Event(event="started", unix_s=3.0, fence=1, stage="solve", attempt=2),
        Event(event="started", unix_s=9.0, fence=2, stage="seal", attempt=1),
    )
    head = MarkerHead(
        stage="solve", attempt=2, fence=1, finished_unix_s=5.0, result=msgspec.Raw(b"{}")
    )
    first, second, third = attempts(events, [head])
    assert (first.outcome, first.reason) == ("failed", "lost")
    assert (second.outcome, second.ended_unix_s, second.reason) == ("done", 5.0, "")
    assert third.outcome == "abandoned"


def test_the_record_takes_its_attempts_from_journal_and_markers(run_folder: RunFolder) -> None:
    here = context(run_folder, NULL)
    append_event(here.folder.journal, "started", 1, stage="prepare", attempt=1)
    write_marker(here.folder.marker("prepare"), "prepare", PREPARED)
    write_marker(here.folder.marker("judge"), "judge", CLEAN)
    here.folder.marker("judge").write_text("damaged", "utf-8")
    (only,) = make_record(here, NOTHING).attempts
    assert (only.stage, only.outcome) == ("prepare", "done")
    assert only.ended_unix_s == only.started_unix_s, "the marker's 1.0 lies before its start"


def test_the_last_word_on_an_attempt_is_its_last_supervisors() -> None:
    events = (
        Event(event="started", unix_s=1.0, fence=1, stage="solve", attempt=1),
        Event(event="started", unix_s=2.0, fence=2, stage="solve", attempt=1),
        Event(event="done", unix_s=3.0, fence=2, stage="solve", attempt=1),
        Event(event="failed", unix_s=4.0, fence=1, stage="solve", attempt=1, text="overtaken"),
    )
    (only,) = attempts(events)
    assert (only.outcome, only.ended_unix_s, only.reason) == ("done", 3.0, "")
