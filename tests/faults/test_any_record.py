"""Any record at all: refused with a reason, the same score, or a different record that is valid."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptb_core.errors import RecordError
from ptb_core.integrity import Citation, Finding, Verdict
from ptb_core.leaderboard.loading import load_board
from ptb_core.leaderboard.results import CellResult
from ptb_core.record_rules import record_contradictions
from ptb_core.record_store import parse_record, write_record
from ptb_core.records import Attempt, Record, Solve
from ptb_core.run_folder import RunFolder
from ptb_core.sandboxing import SandboxFacts

from ..core.small_run import BASE, MINE, NULL, record_of, small_run
from .documents import broken_files, documents
from .profiles import FEW, MANY
from .sentences import assert_speaks_plainly, run


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run with a record for every cell; MINE is clean, NULL is flagged."""
    folder = small_run(tmp_path_factory.mktemp("whole"))
    plan = folder.open().plan
    for cell in plan.cells:
        agent_id = plan.agent_ids[cell.agent.name] if cell.agent else None
        made = record_of(cell, agent_id=agent_id, condition_id=plan.condition_id)
        if cell.id != BASE:
            made = replace(made, **FULL)
        if cell.id == NULL:
            made = replace(
                made, counts="base", reason="flagged: x", verdict="flagged", verdicts=(FLAGGED,)
            )
        folder.cell(cell.id).path.mkdir(parents=True)
        write_record(folder.cell(cell.id).record, made)
    return folder


CLEAN = Verdict(judge="lineage", version="1", outcome="clean", facts={"files": 2})
FLAGGED = Verdict(
    judge="lineage",
    version="1",
    outcome="flagged",
    findings=(Finding(violation="x", summary="s", citations=(Citation(path="workspace/a"),)),),
)
FULL: dict[str, Any] = {
    "verdict": "clean",
    "verdicts": (CLEAN,),
    "solve": Solve(outcome="finished", detail="d", seconds=2.0, exit_code=0),
    "attempts": (
        Attempt(stage="solve", number=1, outcome="done", started_unix_s=1.0, ended_unix_s=2.0),
    ),
    "sandboxes": {"solve": SandboxFacts(isolation="none", description="d", network_enforced=False)},
    "lock": {"software": {"python": "3.11"}},
}


@contextmanager
def damaged(whole: RunFolder, cell: str, content: bytes) -> Iterator[Path]:
    """The run folder with one record replaced."""
    path = whole.cell(cell).record
    before = path.read_bytes()
    path.write_bytes(content)
    try:
        yield whole.path
    finally:
        path.write_bytes(before)


def results(path: Path) -> dict[str, CellResult]:
    """What every agent's cell contributes to the leaderboard."""
    (section,) = load_board([path]).sections
    return {cell.cell: cell for row in section.rows if row.kind == "agent" for cell in row.cells}


def valid(content: bytes) -> Record | None:
    """The record that a file holds, if it holds one by every rule that there is."""
    try:
        record = parse_record(content, "record.json")
    except RecordError:
        return None
    assert record_contradictions(record) == ()
    return record


def check(whole: RunFolder, before: Mapping[str, CellResult], cell: str, content: bytes) -> None:
    record = valid(content)
    with damaged(whole, cell, content) as path:
        after = results(path)
    for other in set(before) - {cell}:
        assert after[other] == before[other]
    shown = after[cell]
    if shown.score is None:
        assert shown.reason
        assert_speaks_plainly(shown.reason)
    elif shown.score != before[cell].score:
        assert record is not None, "a damaged record has no score"
        original = parse_record(whole.cell(cell).record.read_bytes(), "record.json")
        assert record != original
        own = record.own_score
        assert own is not None
        assert shown.score in (own.value, 0.25)
        assert 0 <= shown.score <= 1


def content_of(whole: RunFolder, cell: str) -> Any:
    return json.loads(whole.cell(cell).record.read_bytes())


def some_records(whole: RunFolder) -> st.SearchStrategy[tuple[str, bytes]]:
    return st.one_of(
        st.tuples(st.just(MINE), broken_files(content_of(whole, MINE))),
        st.tuples(st.just(NULL), broken_files(content_of(whole, NULL))),
        st.tuples(st.just(MINE), documents("record").map(lambda d: json.dumps(d).encode())),
    )


def test_any_record_is_refused_or_gives_a_score_that_its_content_bears_out(
    whole: RunFolder,
) -> None:
    before = results(whole.path)

    @settings(FEW)
    @given(some_records(whole))
    def hold(file: tuple[str, bytes]) -> None:
        check(whole, before, *file)

    hold()


@pytest.mark.slow
def test_any_of_very_many_records_is_refused_or_gives_a_score_that_its_content_bears_out(
    whole: RunFolder,
) -> None:
    before = results(whole.path)

    @settings(MANY)
    @given(some_records(whole))
    def hold(file: tuple[str, bytes]) -> None:
        check(whole, before, *file)

    hold()


def test_a_record_of_an_unmeasured_cell_never_counts_when_it_is_damaged(
    whole: RunFolder, tmp_path: Path
) -> None:
    shutil.copytree(whole.path, tmp_path / "run")
    run_folder = RunFolder(tmp_path / "run")
    record = run_folder.cell(MINE).record
    content = record.read_bytes()
    record.unlink()
    before = results(run_folder.path)
    assert before[MINE].score is None
    for keep in range(0, len(content.rstrip()) - 1, 40):
        record.write_bytes(content[:keep])
        after = results(run_folder.path)
        assert after[MINE].score is None
        assert after[NULL] == before[NULL]


@settings(FEW, max_examples=40)
@given(st.data())
def test_the_leaderboard_command_shows_every_damaged_record_and_never_stops(
    data: st.DataObject,
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        made = small_run(Path(folder))
        plan = made.open().plan
        for cell in plan.cells:
            agent_id = plan.agent_ids[cell.agent.name] if cell.agent else None
            record = record_of(
                cell, agent_id=agent_id, condition_id=plan.condition_id, verdict="clean"
            )
            made.cell(cell.id).path.mkdir(parents=True)
            write_record(made.cell(cell.id).record, record)
        content = data.draw(broken_files(content_of(made, MINE)))
        made.cell(MINE).record.write_bytes(content)
        for options in ([], ["--json"], ["--csv"], ["--markdown"], ["--check"]):
            code, out, err = run(["leaderboard", str(made.path), *options])
            assert code == 0, err
            assert err == ""
            assert "NaN" not in out
            assert "Traceback" not in out
        code, out, err = run(["status", str(made.path)])
        assert (code, err) == (0, "")
