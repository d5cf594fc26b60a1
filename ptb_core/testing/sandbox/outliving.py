"""Deadlines, attaching, lost sessions, names: a session lives by itself, not by its supervisor."""

from __future__ import annotations

import shutil
import time
import unittest

import msgspec

from ptb_core.errors import SandboxError, SandboxLostError
from ptb_core.interfaces import Session
from ptb_core.sandboxing import Command, ProcessHandle, SessionHandle
from ptb_core.testing.elsewhere import Attaching, Opened, Opening, blueprint_of, do_elsewhere
from ptb_core.testing.expectation import expect, expect_error
from ptb_core.testing.material import python_command
from ptb_core.testing.sandbox.ending import DEAF, DETACHED, sealed_file
from ptb_core.testing.sandbox.sessions import SandboxChecks, refused

_SUBMISSION = ("final_model",)


class OutlivingChecks(SandboxChecks):
    """A session needs no supervisor: it keeps its deadline, and another one can attach.

    Attributes:
        deadline_s: Seconds from a session's opening to its deadline, where one is checked; long
            enough for a few commands to start.
    """

    deadline_s: float = 2.0

    # Deadline -----------------------------------------------------------------------------

    def test_a_deadline_holds_without_any_supervisor(self) -> None:
        """With the opener dead the guardian freezes, seals and kills at the deadline."""
        handle, process = self._abandoned(seconds=self.deadline_s)
        session = self.component.attach(handle)
        self.after.callback(session.close)
        self.eventually(
            lambda: session.status().state == "killed",
            "a session whose supervisor is dead must be killed at its deadline",
        )
        self.expect_none_living("the deadline")
        status = session.status()
        expect(status.deadline_passed, "the status must say deadline_passed after the deadline")
        expect(
            status.seal == (sealed_file("final_model/model", b"weights"),),
            f"the deadline must seal what was there; the seal is {status.seal!r:.200}",
        )
        ended = session.poll(process)
        expect(
            (ended.state, ended.reason) == ("exited", "deadline"),
            f"a command at the deadline must end so; it is {ended.state}, {ended.reason!r}",
        )

    def test_a_deadline_ends_what_ignores_or_stops_everything(self) -> None:
        """Deaf and stopped processes end at the deadline, reason ``deadline``."""
        session = self.open(deadline_unix_s=time.time() + self.deadline_s)
        deaf = self.start_marked(session, python_command(DEAF))
        stopped = self.start_marked(session, Command(argv=("sh", "-c", "kill -STOP $$")))
        for process in (deaf, stopped):
            found = session.wait(process, self.patience_s).reason
            expect(found == "deadline", f"a command at the deadline must end so; it is {found!r}")
        self.eventually(
            lambda: session.status().state == "killed", "a session must be killed at its deadline"
        )
        self.expect_none_living("the deadline")

    def test_a_deadline_kills_a_frozen_session_and_keeps_its_seal(self) -> None:
        """The deadline holds for a frozen session too."""
        session = self.open(deadline_unix_s=time.time() + self.deadline_s, seal=("file",))
        self.shell(session, "printf x > file")
        frozen = session.freeze()
        self.eventually(
            lambda: session.status().state == "killed", "a frozen session must end at its deadline"
        )
        found = session.status()
        expect(
            found.seal == frozen.seal and found.frozen_unix_s == frozen.frozen_unix_s,
            "the deadline must keep the seal of an earlier freeze; it did not",
        )

    def test_a_deadline_in_the_past_cannot_be_opened(self) -> None:
        """open() with a deadline that has passed raises SandboxError and leaves nothing."""
        request = self.request(deadline_unix_s=time.time() - 60)
        expect_error(
            SandboxError,
            "open() with a deadline in the past",
            lambda: self.component.open(request),
        )
        expect(
            not request.root.exists() or not any(request.root.iterdir()),
            f"an opening that fails must leave nothing; {request.root} is not empty",
        )

    # Supervisors --------------------------------------------------------------------------

    def test_its_handle_is_json(self) -> None:
        """A session's handle, written as JSON and read again, is the same."""
        handle = self.shared().handle
        again = msgspec.json.decode(msgspec.json.encode(handle), type=type(handle))
        expect(
            again == handle, f"the handle must survive JSON; {handle!r:.100} became {again!r:.100}"
        )
        expect(
            handle.sandbox == self.component.spec.name,
            f"the handle must name its sandbox {self.component.spec.name!r}; it names "
            f"{handle.sandbox!r}",
        )

    def test_another_process_attaches_and_drives_the_session(self) -> None:
        """A session can be used from its handle alone, in another process."""
        session = self.shared()
        command = Command(argv=("sh", "-c", "echo from afar; exit 9"))
        facts = Attaching(
            sandbox=blueprint_of(self._component, "sandbox"),
            session=session.handle,
            command=command,
        )
        process = msgspec.json.decode(do_elsewhere("attach", facts).result, type=ProcessHandle)
        found = (session.poll(process).exit_code, session.logs(process))
        expect(
            found == (9, b"from afar\n"),
            f"a command that another supervisor started must be visible here; got {found}",
        )

    def test_a_session_outlives_its_supervisor(self) -> None:
        """A session goes on when the process that opened it ends."""
        handle, process = self._abandoned(seconds=60.0)
        session = self.component.attach(handle)
        self.after.callback(session.close)
        found = (session.status().state, session.poll(process).state)
        expect(
            found == ("running", "running"),
            f"a session must outlive its supervisor; session and command are {found}",
        )

    def test_a_session_that_is_gone_is_a_lost_one(self) -> None:
        """attach() to a session of which nothing is left raises SandboxLostError."""
        request = self.request()
        session = self.component.open(request)
        handle = session.handle
        session.close()
        shutil.rmtree(request.root, ignore_errors=True)
        expect_error(
            SandboxLostError,
            "attach() to a session of which nothing is left",
            lambda: self.component.attach(handle).status(),
        )

    def test_a_session_without_guardian_is_lost(self) -> None:
        """With its guardian killed, a session raises SandboxLostError and nothing runs on."""
        session = self.open()
        process = self.start_marked(session, python_command(DETACHED, "60"))
        self.await_living(2)
        self.lose(session)
        expect_error(
            SandboxLostError,
            "wait() in a lost session",
            lambda: session.wait(process, self.patience_s),
        )
        self.eventually(lambda: self.living() == 0, "what ran in a lost session must be stopped")
        expect_error(
            SandboxLostError,
            "attach() to a lost session",
            lambda: self.component.attach(session.handle).status(),
        )

    def lose(self, session: Session) -> None:
        """Kill what guards a session; override it to have the check of lost sessions run."""
        raise unittest.SkipTest(
            "how to kill this sandbox's guardian is not known: override lose() in a test class"
        )

    def test_two_live_sessions_cannot_share_a_name(self) -> None:
        """open() with the name of a live session raises SandboxError and leaves nothing."""
        first = self.open()
        request = self.request(name=first.handle.name)
        expect_error(
            SandboxError, "open() with a live session's name", lambda: self.component.open(request)
        )
        left = request.root.exists() and any(request.root.iterdir())
        expect(not left, f"an opening that fails must leave nothing; {request.root} is not empty")
        expect(not refused(first), "a refused namesake must not hurt the first session")

    def test_the_name_of_an_ended_session_is_free(self) -> None:
        """A name can be used again once its session is closed."""
        first = self.open()
        first.close()
        second = self.open(name=first.handle.name)
        found = self.shell(second, "echo fine").stdout
        expect(found == b"fine\n", f"a second session of a name must work; got {found!r}")

    # Parts --------------------------------------------------------------------------------

    def _abandoned(self, seconds: float) -> tuple[SessionHandle, ProcessHandle]:
        script = (
            "mkdir -p final_model; printf weights > final_model/model; setsid sleep 60 & sleep 60"
        )
        command = Command(argv=("sh", "-c", script), env={"PTB_CHECK_MARK": self.mark})
        facts = Opening(
            sandbox=blueprint_of(self._component, "sandbox"),
            request=self.request(seal=_SUBMISSION),
            deadline_s=seconds,
            command=command,
        )
        opened = msgspec.json.decode(do_elsewhere("open", facts).result, type=Opened)
        return opened.session, opened.process
