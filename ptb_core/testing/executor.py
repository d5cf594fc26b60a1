"""What every executor promises: jobs that end in order and outlive their submitter."""

from __future__ import annotations

import secrets
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ClassVar

import msgspec

from ptb_core.interfaces import CellCommand, Executor, JobHandle, JobStatus, Resources
from ptb_core.specs import JsonValue
from ptb_core.testing.component import ComponentConformance
from ptb_core.testing.elsewhere import Submission, blueprint_of, do_elsewhere
from ptb_core.testing.expectation import expect, unraised

_ENDED = ("ended", "failed")
_STATES = ("queued", "running", *_ENDED)

_WORK = """
import pathlib, signal, sys, time
folder = pathlib.Path(sys.argv[1])

def end(number, frame):
    (folder / "ended-in-order").touch()
    print("asked to end", flush=True)
    sys.exit(0)

signal.signal(signal.SIGTERM, end)
print("started", flush=True)
(folder / "started").touch()
give_up = time.monotonic() + float(sys.argv[2])
while not (folder / "end").exists() and time.monotonic() < give_up:
    time.sleep(0.01)
print("ended", file=sys.stderr, flush=True)
(folder / "finished").touch()
sys.exit(int(sys.argv[3]))
"""


class ExecutorConformance(ComponentConformance[Executor]):
    """Checks of an executor; jobs are small Python programs, not supervisors.

    Attributes:
        settings: What a plan would set; merged over the declared defaults.
        patience_s: How long a job may wait in a queue until it runs, and until it is seen ended.
    """

    kind = "executor"
    settings: Mapping[str, JsonValue] = {}
    patience_s: float = 60.0
    limit_s: ClassVar[float] = 300

    resources = Resources(gpus=0, cpus=1, memory_gib=1, hours=0.1)

    def test_submit_returns_while_the_job_runs(self) -> None:
        """submit() does not wait for the job; poll() says queued or running, without exit code."""
        job = self.submit()
        status = self._poll(job)
        expect(
            status.state in ("queued", "running") and status.exit_code is None,
            f"a submitted job must be queued or running; it is {status.state!r}, exit code "
            f"{status.exit_code}",
        )

    def test_a_job_runs(self) -> None:
        """A submitted job's command line is run."""
        job = self.submit()
        self._await_file("started")
        self._await_state(job, "running")

    def test_a_job_that_ends_is_polled_as_ended(self) -> None:
        """A job whose command exits with 0 has ended, for ever."""
        job = self.submit()
        self._end(job)
        status = self._poll(job)
        expect(
            status.state == "ended" and status.exit_code in (0, None),
            f"a job that exits with 0 must have ended; it is {status.state!r}, exit code "
            f"{status.exit_code}",
        )
        again = self._poll(job)
        expect(again.state == "ended", f"an ended job must stay so; it is {again.state!r}")

    def test_an_exit_code_that_is_told_is_the_right_one(self) -> None:
        """poll() tells a job's exit code where it knows it, and no other."""
        job = self.submit(exit_code=7)
        self._end(job)
        found = self._last
        expect(
            found.exit_code in (7, None),
            f"a job that exits with 7 must be told so or not at all; told is {found.exit_code}",
        )

    def test_the_log_is_complete(self) -> None:
        """What a job writes to both streams is in its log."""
        job = self.submit()
        self._end(job)
        expect(self._log.is_file(), "the log must hold both streams of the job; there is no log")
        text = self._log.read_text("utf-8", "replace")
        expect(
            "started\n" in text and "ended\n" in text,
            f"the log must hold both streams of the job; it holds {text!r:.200}",
        )

    def test_the_log_is_appended_to(self) -> None:
        """What is in the log already stays."""
        self._log.write_text("from before\n")
        self._end(self.submit())
        text = self._log.read_text("utf-8", "replace")
        expect(text.startswith("from before\n"), f"a log must be kept; it begins {text[:40]!r}")

    def test_cancel_ends_a_job_in_order(self) -> None:
        """cancel() lets the command end itself: SIGTERM or the like, not SIGKILL."""
        job = self.submit()
        self._await_file("started")
        self.component.cancel(job)
        self._await_state(job, *_ENDED)
        expect(
            (self.tmp / "ended-in-order").exists(),
            "cancel() must ask a job to end in order (SIGTERM); it ended without being asked",
        )

    def test_cancel_is_idempotent(self) -> None:
        """Cancelling again, or after the end, changes and raises nothing."""
        job = self.submit()
        self._await_file("started")
        self.component.cancel(job)
        self._await_state(job, *_ENDED)
        unraised(
            "cancel() of a job that has ended must change nothing",
            lambda: self.component.cancel(job),
        )
        found = self._poll(job).state
        expect(found in _ENDED, f"a cancelled job must stay ended; it is {found!r}")

    def test_cancel_touches_no_other_job(self) -> None:
        """Another job goes on."""
        other = self.submit()
        self._await_file("started")
        (self.tmp / "started").unlink()
        job = self.submit()
        self._await_file("started")
        self.component.cancel(job)
        self._await_state(job, *_ENDED)
        found = self._poll(other).state
        expect(found == "running", f"cancel() must end its own job only; another is {found!r}")

    def test_an_unknown_job_has_ended(self) -> None:
        """A job that cannot be found any more has ended, and can be cancelled."""
        job = self.submit()
        self._end(job)
        unknown = JobHandle(executor=job.executor, id=self.unknown_id(), data=job.data)
        found = self._poll(unknown).state
        expect(found == "ended", f"a job that cannot be found must be 'ended'; it is {found!r}")
        self.component.cancel(unknown)

    def unknown_id(self) -> str:
        """Return an id, of this executor's form, that no job has."""
        return "999999999"

    def test_its_handle_is_json(self) -> None:
        """A job's handle, written as JSON and read again, finds the same job."""
        job = self.submit()
        self._await_file("started")
        again = msgspec.json.decode(msgspec.json.encode(job), type=JobHandle)
        found = self._poll(again).state
        expect(again == job, f"the handle must survive JSON; {job!r:.100} became {again!r:.100}")
        expect(
            job.executor == self.component.spec.name,
            f"the handle must name its executor {self.component.spec.name!r}, not {job.executor!r}",
        )
        expect(found == "running", f"a job must be found by its handle; it is {found!r}")

    def test_a_job_outlives_its_submitter(self) -> None:
        """A job goes on when the command line that submitted it ends."""
        facts = Submission(
            executor=blueprint_of(self._component, "executor"),
            command=self._command(0),
            resources=self.resources,
            settings=self._settings(),
        )
        job = msgspec.json.decode(do_elsewhere("submit", facts).result, type=JobHandle)
        self.after.callback(self._clean, job)
        (self.tmp / "end").touch()
        self._await(
            (self.tmp / "finished").exists, "a job must outlive its submitter and do its work"
        )

    def test_slots_are_a_number_or_none(self) -> None:
        """slots() says how many cells may be placed at once: at least one, or None."""
        found: object = self.component.slots(self._settings())
        is_number = isinstance(found, int) and not isinstance(found, bool) and found >= 1
        expect(found is None or is_number, f"slots() must be 1 or more, or None; it is {found!r}")

    # Parts --------------------------------------------------------------------------------

    def submit(self, exit_code: int = 0) -> JobHandle:
        """Submit a job that ends when the file ``end`` appears; it is cleaned up afterwards."""
        job = self.component.submit(self._command(exit_code), self.resources, self._settings())
        expect(
            isinstance(job, JobHandle), f"submit() must return a JobHandle; it returned {job!r:.80}"
        )
        self.after.callback(self._clean, job)
        return job

    @property
    def _log(self) -> Path:
        return self.tmp / "job.log"

    def _settings(self) -> dict[str, JsonValue]:
        declared = {setting.name: setting.default for setting in self.component.spec.settings}
        return declared | dict(self.settings)

    def _command(self, exit_code: int) -> CellCommand:
        argv = (sys.executable, "-c", _WORK, str(self.tmp), str(self.limit_s), str(exit_code))
        return CellCommand(cell=f"check-{secrets.token_hex(4)}", argv=argv, log=self._log)

    def _poll(self, job: JobHandle) -> JobStatus:
        status: object = self.component.poll(job)
        expect(
            isinstance(status, JobStatus) and status.state in _STATES,
            f"poll() must return a JobStatus of a known state; it returned {status!r:.80}",
        )
        assert isinstance(status, JobStatus)
        return status

    def _end(self, job: JobHandle) -> None:
        self._await_file("started")
        (self.tmp / "end").touch()
        self._await_state(job, *_ENDED)
        self._await_file("finished")

    def _await_state(self, job: JobHandle, *states: str) -> None:
        def stands() -> bool:
            self._last = self._poll(job)
            return self._last.state in states

        self._await(stands, f"a job must come to be {' or '.join(states)}")

    def _await_file(self, name: str) -> None:
        self._await((self.tmp / name).exists, f"a job's command line must be run ({name!r})")

    def _await(self, holds: Callable[[], bool], sentence: str) -> None:
        give_up = time.monotonic() + self.patience_s
        while not holds():
            expect(
                time.monotonic() < give_up, f"{sentence}; it did not within {self.patience_s:g} s"
            )
            time.sleep(0.01)

    def _clean(self, job: JobHandle) -> None:
        """Let every job of this check end; the file reaches those that cannot be cancelled."""
        (self.tmp / "end").touch()
        give_up = time.monotonic() + self.patience_s
        while self.component.poll(job).state not in _ENDED and time.monotonic() < give_up:
            time.sleep(0.01)
