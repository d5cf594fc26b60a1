"""`redo()` and the commands around it: cells are really driven, by supervisors of this process."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import ptb_core.redo
from ptb_core import driver, supervisor
from ptb_core.catalogue import Catalogue, load_catalogue
from ptb_core.claims import take_claim
from ptb_core.cli.main import main
from ptb_core.cli.redo import do_again
from ptb_core.driver import RunCancelledError
from ptb_core.errors import ClaimLostError, EngineError, UsageError
from ptb_core.evaluation.exchange import TaskScore
from ptb_core.integrity import Verdict
from ptb_core.interfaces import CellCommand, JobHandle, JobStatus, Resources
from ptb_core.plugins import load_plugins
from ptb_core.records import Evaluation
from ptb_core.redo import Chosen, choose, redo
from ptb_core.redo_request import RedoKind, read_redo
from ptb_core.run_folder import RunFolder
from ptb_core.specs import CellSpec, JsonValue
from ptb_core.stages.context import Judged, Scored, Sealed, StageContext
from ptb_core.stages.record import record
from ptb_core.supervisor import CellRun, Stage, StageFailedError

from .small_run import BASE, MINE, NULL, small_run

SCORE = TaskScore(value=0.25, stderr=0.1, n=10)
EVALUATION = Evaluation(
    complete=True,
    n_expected=10,
    n_scored=10,
    scores={"published": SCORE, "repaired": SCORE},
    counted="repaired",
)


class InlineExecutor:
    """Runs a supervisor to its end while it is submitted."""

    def __init__(self, run_folder: RunFolder) -> None:
        self.run_folder = run_folder
        self.submitted: list[str] = []

    def submit(self, command: CellCommand, resources: Resources, settings: Any) -> JobHandle:
        self.submitted.append(command.cell)
        run, folder = self.run_folder.open(), self.run_folder.cell(command.cell)
        held = take_claim(folder.claims)
        assert held is not None
        try:
            cell, stopping = run.cell(command.cell), threading.Event()
            CellRun(self.run_folder, run, cell, load_catalogue(), held, stopping).to_the_end()
        except (StageFailedError, ClaimLostError):
            pass
        finally:
            held.release()
        return JobHandle(executor="local", id="1")

    def poll(self, job: JobHandle) -> JobStatus:
        return JobStatus(state="ended")

    def slots(self, settings: JsonValue) -> None:
        return None


class World:
    """A finished run whose judge could not decide about one cell."""

    def __init__(self, run_folder: RunFolder, catalogue: Catalogue) -> None:
        self.run_folder = run_folder
        self.catalogue = catalogue
        self.executor = InlineExecutor(run_folder)
        self.judging: Callable[[StageContext], object] = lambda _: judged("inconclusive")

    def chosen(self, kind: RedoKind, *cells: str) -> Chosen:
        return choose(self.run_folder, self.run_folder.open(), kind, cells)

    def redo(self, chosen: Chosen) -> tuple[ptb_core.redo.Change, ...]:
        return redo(self.run_folder, self.run_folder.open(), self.catalogue, chosen, lambda _: None)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    catalogue = Catalogue(load_plugins())
    made = World(small_run(tmp_path), catalogue)
    monkeypatch.setattr(catalogue, "executor", lambda name: made.executor)
    monkeypatch.setattr(driver, "POLL_S", 0)
    stages = (
        Stage(name="seal", run=sealed),
        Stage(name="score", run=lambda context: Scored(evaluation=EVALUATION)),
        Stage(name="judge", run=lambda context: made.judging(context)),
        Stage(name="record", run=record),
    )
    monkeypatch.setattr(supervisor, "STAGES", stages)
    for cell in made.run_folder.open().cells:
        made.run_folder.cell(cell.id).path.mkdir(parents=True)
        made.executor.submit(command(made.run_folder, cell), None, None)  # type: ignore[arg-type]
    made.executor.submitted.clear()
    return made


def command(run_folder: RunFolder, cell: CellSpec) -> CellCommand:
    return CellCommand(cell=cell.id, argv=(), log=run_folder.cell(cell.id).log)


def sealed(context: StageContext) -> Sealed:
    for name in ("submission", "evidence"):
        (context.attempt_dir / name).mkdir(exist_ok=True)
    return Sealed(
        state="sealed",
        reason="",
        path=context.attempt_dir / "submission",
        files=(),
        notes=(),
        evidence=context.attempt_dir / "evidence",
        omitted={},
    )


def judged(outcome: Any) -> Judged:
    verdict = Verdict(judge="lineage", version="1", outcome=outcome, notes=("unclear",))
    return Judged(outcome=outcome, verdicts=(verdict,))


def failing(_context: StageContext) -> object:
    raise EngineError("the judge's model is gone")


def test_the_chosen_cells_are_done_again_and_no_other(world: World) -> None:
    world.judging = lambda _: judged("clean")
    (change,) = world.redo(world.chosen("retry", NULL))
    assert world.executor.submitted == [NULL]
    assert (change.cell, change.problem, change.is_good) == (NULL, "", True)
    assert change.before is not None
    assert change.after is not None
    assert (change.before.counts, change.after.counts) == ("missing", "own")
    assert world.run_folder.cell(MINE).attempts("judge") == [1]


def test_a_cell_that_is_still_missing_says_why(world: World) -> None:
    (change,) = world.redo(world.chosen("retry", NULL))
    assert change.problem == "inconclusive verdict: lineage: unclear"
    assert not change.is_good
    assert world.run_folder.cell(NULL).attempts("judge") == [1, 2]


def test_a_cell_that_turns_out_flagged_counts_and_is_no_problem(world: World) -> None:
    world.judging = lambda _: judged("flagged")
    (change,) = world.redo(world.chosen("retry", NULL))
    assert change.after is not None
    assert (change.after.counts, change.problem, change.is_good) == ("base", "", True)


def test_a_repetition_that_failed_leaves_the_record_and_says_what_failed_last(
    world: World,
) -> None:
    world.judging = failing
    changes = world.redo(world.chosen("rejudge"))
    assert [change.cell for change in changes] == [MINE, NULL]
    for change in changes:
        assert change.after == change.before
        assert change.problem == "the judge's model is gone"


def test_a_supervisor_that_says_nothing_is_pointed_to_by_its_log(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dead(_context: StageContext) -> object:
        raise ClaimLostError("killed")

    world.judging = dead
    (change,) = world.redo(world.chosen("rejudge", NULL))
    folder = world.run_folder.cell(NULL)
    assert change.problem == f"its supervisor said no more; see {folder.log}"
    assert len(world.executor.submitted) == driver.SUPERVISORS
    assert read_redo(folder) is not None


def test_a_cell_that_came_to_life_meanwhile_is_not_touched(world: World) -> None:
    chosen = world.chosen("rejudge", NULL)
    held = take_claim(world.run_folder.cell(NULL).claims)
    assert held is not None
    try:
        with pytest.raises(UsageError) as caught:
            world.redo(chosen)
    finally:
        held.release()
    assert str(caught.value) == (
        f"{NULL}: a supervisor works on it ({held.claim.holder}); wait until it has ended, or "
        "stop it with `ptb cancel`"
    )
    assert read_redo(world.run_folder.cell(NULL)) is None


def test_a_failed_cell_is_only_continued(world: World) -> None:
    folder = world.run_folder.cell(NULL)
    folder.marker("record").unlink()
    (change,) = world.redo(world.chosen("retry", NULL))
    assert read_redo(folder) is None
    assert folder.attempts("judge") == [1]
    assert folder.attempts("record") == [1, 2]
    assert change.after is not None
    assert change.after.made_by == "run"


# The command ----------------------------------------------------------------------------------


@pytest.fixture
def command_world(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    import ptb_core.catalogue

    monkeypatch.setattr(ptb_core.catalogue, "load_catalogue", lambda: world.catalogue)
    monkeypatch.setattr(ptb_core.redo, "require_components", lambda *_: None)
    return world


def test_the_command_announces_what_it_does_and_prints_what_changed(
    command_world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    command_world.judging = lambda _: judged("clean")
    do_again(command_world.run_folder.path, (), "rejudge")
    out, err = capsys.readouterr()
    assert err.splitlines()[:2] == [
        "2 cells to do again",
        f"left out: {BASE}: it measures the base model, and judges look at agents' cells only",
    ]
    assert out == "".join(
        f"{cell}: missing (own 25.0), inconclusive -> own 25.0, clean\n" for cell in (MINE, NULL)
    )


def test_a_run_with_nothing_to_retry_is_no_error(
    command_world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    command_world.judging = lambda _: judged("clean")
    path = command_world.run_folder.path
    do_again(path, (), "retry")
    capsys.readouterr()
    do_again(path, (), "retry")
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"no cells to do again\nleft out: {BASE}: it counts with its own score")
    assert command_world.executor.submitted == [MINE, NULL]


def test_a_cell_without_a_score_ends_the_command_with_one(
    command_world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["retry", str(command_world.run_folder.path), NULL])
    assert caught.value.code == 1
    out, err = capsys.readouterr()
    assert err.startswith("1 cell to do again\n")
    assert out == (
        f"{NULL}: missing (own 25.0), inconclusive -> missing (own 25.0), inconclusive "
        "(unchanged)\n"
    )


def test_an_interrupted_command_says_what_goes_on(
    command_world: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(ptb_core.redo, "drive", interrupt)
    path = command_world.run_folder.path
    with pytest.raises(SystemExit) as caught:
        do_again(path, (NULL,), "rejudge")
    assert caught.value.code == 130
    assert capsys.readouterr().err.endswith(
        "\ninterrupted: running cells go on in the background; what is still to be done again "
        f"stays asked for.\n  stop them: ptb cancel {path}\n"
    )
    assert read_redo(command_world.run_folder.cell(NULL)) is not None


def test_a_cancelled_repetition_stays_asked_for(
    command_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = command_world.run_folder

    def cancelled(_context: StageContext) -> object:
        folder.cancelled.touch()
        raise ClaimLostError("stopped")

    command_world.judging = cancelled
    with pytest.raises(RunCancelledError):
        command_world.redo(command_world.chosen("rejudge", NULL))
    assert read_redo(folder.cell(NULL)) is not None
