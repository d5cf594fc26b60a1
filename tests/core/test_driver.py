"""The driver: every cell submitted once, live ones followed, nothing done is repeated.

Supervisors are replaced by an executor in memory; the run folders are real.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from ptb_core import driver, run_watch
from ptb_core.catalogue import Catalogue, load_catalogue
from ptb_core.claims import HeldClaim, take_claim
from ptb_core.driver import (
    Job,
    RunCancelledError,
    cancel,
    drive,
    refuse_obstacles,
    resources_of,
    supervisor_argv,
)
from ptb_core.errors import PluginError
from ptb_core.interfaces import CellCommand, Executor, JobHandle, JobStatus, Resources
from ptb_core.run_folder import Run, RunFolder
from ptb_core.sandboxing import Limits
from ptb_core.specs import CellSpec, ExecutorSpec, JsonValue, ModelSpec
from ptb_core.status import CellStatus, cell_status

from .small_run import BASE, MINE, NULL, finish, small_run

ROUNDS = 50
"""Rounds after which a driver that does not end is taken to hang."""


class MemoryExecutor(Executor):
    """Jobs in a dict; the test moves them on."""

    def __init__(self, slots: int | None = None) -> None:
        super().__init__(ExecutorSpec(name="local", description="-"))
        self.limit = slots
        self.states: dict[str, str] = {}
        self.commands: list[CellCommand] = []
        self.resources: list[Resources] = []
        self.settings: list[Mapping[str, JsonValue]] = []
        self.cancelled: list[str] = []

    def submit(
        self, command: CellCommand, resources: Resources, settings: Mapping[str, JsonValue]
    ) -> JobHandle:
        assert command.log.parent.is_dir(), "the cell's folder must be there for its log"
        self.commands.append(command)
        self.resources.append(resources)
        self.settings.append(settings)
        handle = JobHandle(executor="local", id=f"job-{len(self.commands)}")
        self.states[handle.id] = "running"
        return handle

    def poll(self, job: JobHandle) -> JobStatus:
        return JobStatus(state=cast(Any, self.states.get(job.id, "ended")))

    def cancel(self, job: JobHandle) -> None:
        self.cancelled.append(job.id)

    def slots(self, settings: Mapping[str, JsonValue]) -> int | None:
        self.settings.append(settings)
        return self.limit

    @property
    def submitted(self) -> list[str]:
        return [command.cell for command in self.commands]

    def job_of(self, cell: str) -> str:
        """The job that was submitted last for a cell."""
        return f"job-{len(self.submitted) - self.submitted[::-1].index(cell)}"


class OneExecutor:
    """The only things that the driver asks the catalogue for."""

    def __init__(self, executor: MemoryExecutor) -> None:
        self._executor = executor

    def executor(self, name: str) -> MemoryExecutor:
        assert name == "local"
        return self._executor

    def model(self, name: str) -> ModelSpec:
        return load_catalogue().model(name)


class World:
    """A run, an executor, and what happens between two looks of the driver."""

    def __init__(self, folder: RunFolder, executor: MemoryExecutor) -> None:
        self.folder = folder
        self.run: Run = folder.open()
        self.executor = executor
        self.rounds: list[tuple[CellStatus, ...]] = []

    def drive(self, step: Callable[[int], None]) -> bool:
        """Drive the run; ``step(round)`` is called at each look, counting from 0."""
        self.rounds = []

        def watch(statuses: tuple[CellStatus, ...]) -> None:
            assert len(self.rounds) < ROUNDS, "the driver does not end"
            self.rounds.append(statuses)
            step(len(self.rounds) - 1)

        return drive(self.folder, self.run, self.catalogue, watch)

    @property
    def catalogue(self) -> Catalogue:
        return cast(Catalogue, OneExecutor(self.executor))

    def cancel(self) -> int:
        return cancel(self.folder, self.run, self.catalogue)

    def jobs(self) -> list[tuple[str, str]]:
        lines = self.folder.jobs.read_bytes().splitlines()
        jobs = [msgspec.json.decode(line, type=Job) for line in lines]
        return [(job.cell, job.handle.id) for job in jobs]

    def end(self, *cells: str, state: str = "ended", **changes: Any) -> None:
        """End the jobs of cells, each with its record."""
        for cell in cells:
            finish(self.folder, self.run.cell(cell), **changes)
            self.executor.states[self.executor.job_of(cell)] = state

    def die(self, *cells: str, state: str = "failed") -> None:
        """End the jobs of cells, which leave nothing."""
        for cell in cells:
            self.executor.states[self.executor.job_of(cell)] = state

    def claim(self, cell: str) -> HeldClaim:
        """Hold a cell, as a supervisor of which no job is known."""
        held = take_claim(self.folder.cell(cell).claims)
        assert held is not None
        return held


MakeWorld = Callable[..., World]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeWorld:
    monkeypatch.setattr(driver, "POLL_S", 0.0)
    folder = small_run(tmp_path)

    def make(slots: int | None = None) -> World:
        return World(folder, MemoryExecutor(slots))

    return make


def at(rounds: Mapping[int, Callable[[], None]]) -> Callable[[int], None]:
    return lambda number: rounds.get(number, lambda: None)()


def test_each_cell_is_submitted_once_and_the_run_is_complete(world: MakeWorld) -> None:
    here = world()
    assert here.drive(at({3: lambda: here.end(BASE, MINE, NULL)}))
    assert here.executor.submitted == [BASE, MINE, NULL]
    assert here.jobs() == [(BASE, "job-1"), (MINE, "job-2"), (NULL, "job-3")]
    assert [status.cell.id for status in here.rounds[-1]] == [BASE, MINE, NULL]
    assert all(status.is_complete for status in here.rounds[-1])


def test_a_cell_that_ends_while_the_driver_looks_is_seen_to_have_ended(world: MakeWorld) -> None:
    """Its status was read before it ended, its job is asked after: it is no dead cell."""
    here = world()
    assert here.drive(at({1: lambda: here.end(BASE, MINE), 2: lambda: here.end(NULL)}))
    assert here.executor.submitted == [BASE, MINE, NULL]


def test_a_job_that_has_ended_is_asked_no_more(
    world: MakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = world()
    asked: list[str] = []
    poll = here.executor.poll

    def counted(job: JobHandle) -> JobStatus:
        asked.append(job.id)
        return poll(job)

    monkeypatch.setattr(here.executor, "poll", counted)
    here.drive(at({1: lambda: here.end(BASE, MINE), 4: lambda: here.end(NULL)}))
    assert (asked.count("job-1"), asked.count("job-3")) == (2, 5)


def test_a_recorded_cell_is_read_once_however_long_the_run_goes_on(
    world: MakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = world()
    read: list[str] = []

    def counted(folder: RunFolder, cell: CellSpec) -> CellStatus:
        read.append(cell.id)
        return cell_status(folder, cell)

    monkeypatch.setattr(run_watch, "cell_status", counted)
    finish(here.folder, here.run.cell(BASE))
    here.drive(at({9: lambda: here.end(MINE, NULL)}))
    assert (read.count(BASE), len(here.rounds)) == (1, 11)


def test_a_run_that_is_done_starts_nothing(world: MakeWorld) -> None:
    here = world()
    here.drive(at({1: lambda: here.end(BASE, MINE, NULL)}))
    here.executor.commands.clear()
    assert here.drive(at({}))
    assert (here.executor.submitted, len(here.rounds)) == ([], 1)


def test_the_driver_looks_at_the_run_once_a_poll(
    world: MakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = world()
    slept: list[float] = []
    monkeypatch.setattr(driver, "POLL_S", 0.75)
    monkeypatch.setattr(time, "sleep", slept.append)
    here.drive(at({2: lambda: here.end(BASE, MINE, NULL)}))
    assert slept == [0.75, 0.75, 0.75]


def test_no_more_cells_run_at_once_than_there_are_slots(world: MakeWorld) -> None:
    here = world(1)
    running: list[int] = []

    def step(number: int) -> None:
        running.append(list(here.executor.states.values()).count("running"))
        if number in (2, 4, 6):
            here.end(here.executor.submitted[-1])

    assert here.drive(step)
    assert here.executor.submitted == [BASE, MINE, NULL]
    assert max(running) == 1


def test_a_slot_is_filled_as_soon_as_it_is_free(world: MakeWorld) -> None:
    here = world(2)
    seen: list[list[str]] = []

    def step(number: int) -> None:
        seen.append(here.executor.submitted)
        if number == 2:
            here.end(MINE)
        if number == 4:
            here.end(BASE, NULL)

    assert here.drive(step)
    two, three = [BASE, MINE], [BASE, MINE, NULL]
    assert seen == [[], two, two, two, three, three]


def test_more_live_cells_than_slots_start_no_further_one(world: MakeWorld) -> None:
    here = world(1)
    held = [here.claim(BASE), here.claim(MINE)]

    def step(number: int) -> None:
        if number == 2:
            assert here.executor.submitted == []
            for claim, cell in zip(held, (BASE, MINE), strict=True):
                claim.release()
                finish(here.folder, here.run.cell(cell))
        if number == 4:
            here.end(NULL)

    assert here.drive(step)
    assert here.executor.submitted == [NULL]


def test_a_queued_job_occupies_its_slot(world: MakeWorld) -> None:
    here = world(1)

    def step(number: int) -> None:
        if number == 1:
            here.executor.states["job-1"] = "queued"
        if number == 3:
            assert here.executor.submitted == [BASE]
            here.end(BASE)
        if number == 5:
            here.end(MINE)
        if number == 7:
            here.end(NULL)

    assert here.drive(step)


def test_a_cell_whose_supervisor_died_is_given_another_one(world: MakeWorld) -> None:
    here = world()

    def step(number: int) -> None:
        if number == 1:
            end_two_of_three(here)
        if number == 2:
            here.end(MINE)

    assert here.drive(step)
    assert here.executor.submitted == [BASE, MINE, NULL, MINE]


def test_a_cell_whose_supervisors_keep_dying_is_given_up(world: MakeWorld) -> None:
    here = world()

    def step(number: int) -> None:
        if number == 1:
            here.end(BASE, NULL)
        if number >= 1:
            here.die(MINE)

    assert not here.drive(step)
    assert here.executor.submitted == [BASE, MINE, NULL, MINE, MINE]


def test_a_cell_that_failed_is_left_to_the_next_run(world: MakeWorld) -> None:
    here = world()

    def step(number: int) -> None:
        if number == 1:
            here.end(BASE, NULL)
            fail(here, MINE)

    assert not here.drive(step)
    assert here.executor.submitted == [BASE, MINE, NULL]
    again = world()
    assert again.drive(at({1: lambda: again.end(MINE)}))
    assert again.executor.submitted == [MINE]


def test_the_next_driver_submits_a_dead_cell_again_and_only_that(world: MakeWorld) -> None:
    here = world()
    with pytest.raises(KeyboardInterrupt):
        here.drive(at({1: lambda: end_two_of_three(here, then=interrupt)}))
    again = world()
    assert again.drive(at({1: lambda: again.end(MINE)}))
    assert again.executor.submitted == [MINE]


def fail(here: World, cell: str) -> None:
    """End a cell's job as a supervisor does that gave up: a record, and no marker."""
    here.end(cell, counts="missing", reason="stage solve failed: x")
    here.folder.cell(cell).marker("record").unlink()


def test_jobs_that_still_run_are_followed_by_the_next_driver(world: MakeWorld) -> None:
    here = world()
    with pytest.raises(KeyboardInterrupt):
        here.drive(at({1: interrupt}))
    after = World(here.folder, here.executor)
    assert after.drive(at({2: lambda: after.end(BASE, MINE, NULL)}))
    assert here.executor.submitted == [BASE, MINE, NULL]


def end_two_of_three(here: World, then: Callable[[], None] = lambda: None) -> None:
    here.end(BASE, NULL)
    here.die(MINE)
    then()


def interrupt() -> None:
    raise KeyboardInterrupt


def test_a_live_supervisor_of_which_no_job_is_known_is_followed(world: MakeWorld) -> None:
    here = world()
    held = here.claim(MINE)

    def step(number: int) -> None:
        if number == 1:
            here.end(BASE, NULL)
        if number == 3:
            finish(here.folder, here.run.cell(MINE))
            held.release()

    assert here.drive(step)
    assert here.executor.submitted == [BASE, NULL]


def test_a_followed_supervisor_that_dies_is_replaced(world: MakeWorld) -> None:
    here = world()
    held = here.claim(MINE)

    def step(number: int) -> None:
        if number == 1:
            here.end(BASE, NULL)
        if number == 2:
            held.release()
        if number == 4:
            here.end(MINE)

    assert here.drive(step)
    assert here.executor.submitted == [BASE, NULL, MINE]


@pytest.mark.parametrize("torn", [b'{"cell":"errands--ti', b'{"cell":"\xff"}\n', b"\n"])
def test_a_torn_or_damaged_line_of_jobs_costs_itself_only(world: MakeWorld, torn: bytes) -> None:
    here = world()
    with pytest.raises(KeyboardInterrupt):
        here.drive(at({1: interrupt}))
    first, _, third = here.folder.jobs.read_bytes().splitlines(keepends=True)
    here.folder.jobs.write_bytes(first + third + torn)
    with pytest.raises(KeyboardInterrupt):
        here.drive(at({1: interrupt}))
    assert here.executor.submitted == [BASE, MINE, NULL, MINE]
    with pytest.raises(KeyboardInterrupt):
        here.drive(at({1: interrupt}))
    assert here.executor.submitted == [BASE, MINE, NULL, MINE], "the new job's line is whole"


def test_the_last_job_of_a_cell_is_the_one_that_is_followed(world: MakeWorld) -> None:
    here = world()
    with pytest.raises(KeyboardInterrupt):
        here.drive(at({1: lambda: end_two_of_three(here, then=interrupt)}))
    with pytest.raises(KeyboardInterrupt):
        here.drive(at({1: interrupt}))
    assert here.executor.submitted == [BASE, MINE, NULL, MINE]
    with pytest.raises(KeyboardInterrupt):
        here.drive(at({1: interrupt}))
    assert here.executor.submitted == [BASE, MINE, NULL, MINE]


def test_a_cancelled_run_ends_the_driver_with_130_and_starts_nothing_more(
    world: MakeWorld,
) -> None:
    here = world(1)
    with pytest.raises(RunCancelledError) as caught:
        here.drive(at({1: lambda: here.folder.cancelled.touch()}))
    assert caught.value.exit_code == 130
    assert str(caught.value) == (
        f"{here.folder.path} was cancelled by `ptb cancel`; `ptb run` on it continues it"
    )
    assert here.executor.submitted == [BASE]


def test_running_a_cancelled_run_again_continues_it(world: MakeWorld) -> None:
    here = world()
    here.folder.cancelled.touch()
    assert here.drive(at({1: lambda: here.end(BASE, MINE, NULL)}))
    assert not here.folder.cancelled.exists()


def test_cancel_asks_running_and_queued_jobs_only(world: MakeWorld) -> None:
    here = world()
    with pytest.raises(KeyboardInterrupt):
        here.drive(at({1: interrupt}))
    here.executor.states = {"job-1": "ended", "job-2": "queued", "job-3": "running"}
    assert here.cancel() == 2
    assert here.executor.cancelled == ["job-2", "job-3"]
    assert here.folder.cancelled.exists()


def test_cancelling_a_run_without_jobs_asks_nobody(world: MakeWorld) -> None:
    assert world().cancel() == 0


@pytest.mark.parametrize("outcome", ["missing", "base"])
def test_a_run_is_complete_unless_a_cell_is_missing(world: MakeWorld, outcome: str) -> None:
    here = world()

    def step(number: int) -> None:
        if number == 1:
            here.end(BASE, NULL)
            here.end(MINE, counts=outcome, reason="because")

    assert here.drive(step) is (outcome == "base")


def test_a_record_that_was_moved_away_is_made_again(world: MakeWorld) -> None:
    here = world()
    here.drive(at({1: lambda: here.end(BASE, MINE, NULL)}))
    here.folder.cell(MINE).record.unlink()
    again = world()
    assert again.drive(at({1: lambda: again.end(MINE)}))
    assert again.executor.submitted == [MINE]


def test_a_supervisor_gets_its_cell_its_log_and_the_executors_settings(world: MakeWorld) -> None:
    here = world()
    here.drive(at({1: lambda: here.end(BASE, MINE, NULL)}))
    command = here.executor.commands[1]
    assert command == CellCommand(
        cell=MINE,
        argv=(sys.executable, "-m", "ptb_core.cli.main", "cell", str(here.folder.path), MINE),
        log=here.folder.cell(MINE).log,
    )
    assert command.argv == supervisor_argv(here.folder.path, here.run.cell(MINE))
    assert here.executor.settings
    assert all(settings == {"max_cells": 1} for settings in here.executor.settings)


def test_a_jobs_line_says_when_it_was_submitted(world: MakeWorld) -> None:
    here = world()
    before = time.time()
    here.drive(at({1: lambda: here.end(BASE, MINE, NULL)}))
    job = msgspec.json.decode(here.folder.jobs.read_bytes().splitlines()[0], type=Job)
    assert before <= job.submitted_unix_s <= time.time()


def test_only_an_agent_cell_needs_the_agents_hours_besides_those_of_evaluation(
    world: MakeWorld,
) -> None:
    here = world()
    here.drive(at({1: lambda: here.end(BASE, MINE, NULL)}))
    base, mine, _ = here.executor.resources
    assert base == Resources(gpus=0, cpus=1.0, memory_gib=4.0, hours=9.0)
    assert mine == Resources(gpus=0, cpus=1.0, memory_gib=4.0, hours=9.1)


def test_resources_follow_the_plans_limits_and_gpus(world: MakeWorld) -> None:
    run = world().run
    plan = replace(
        run.plan,
        condition=replace(run.plan.condition, gpus=2, hours=10),
        sandbox=replace(run.plan.sandbox, limits=Limits(cpus=8, memory_gib=64)),
    )
    assert resources_of(plan, run.cell(NULL)) == Resources(
        gpus=2, cpus=8, memory_gib=64, hours=19.0
    )


def test_a_plan_that_cannot_run_here_is_refused_with_every_reason(world: MakeWorld) -> None:
    plan = world().run.plan
    refuse_obstacles(plan)
    with pytest.raises(PluginError) as caught:
        refuse_obstacles(replace(plan, obstacles=("engine vllm: no GPU", "judge llm: no key")))
    assert caught.value.exit_code == 2
    assert str(caught.value) == (
        "the plan 'small' cannot run here; nothing was started:\n"
        "  engine vllm: no GPU\n  judge llm: no key"
    )


def test_a_supervisor_killed_while_it_tries_a_failed_cell_again_is_replaced(
    world: MakeWorld,
) -> None:
    here = world()

    def step(number: int) -> None:
        if number == 1:
            here.end(BASE, NULL)
            fail(here, MINE)

    assert not here.drive(step)
    again = world()

    def die_once(number: int) -> None:
        if number == 1:
            again.die(MINE)
        if number == 3:
            again.end(MINE)

    assert again.drive(die_once)
    assert again.executor.submitted == [MINE, MINE]
