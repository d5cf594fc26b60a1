"""Time-outs, stop, freeze, kill and close: nothing inside outlives them."""

from __future__ import annotations

import hashlib
import signal
import time
from collections.abc import Callable

from ptb_core.errors import SandboxError
from ptb_core.interfaces import Session
from ptb_core.sandboxing import Command, SealedFile
from ptb_core.testing.expectation import expect, expect_error
from ptb_core.testing.material import python_command
from ptb_core.testing.sandbox.sessions import SandboxChecks

DETACHED = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        open("detached-" + os.environ.get("PTB_CHECK_MARK", ""), "w").close()
        time.sleep(60)
    os._exit(0)
os.wait()
time.sleep(float(sys.argv[1]))
"""
"""A daemon as they are made: forked twice, in a session of its own, its parent dead."""

DEAF = """
import os, signal, time
for number in range(1, 32):
    if number not in (signal.SIGKILL, signal.SIGSTOP):
        signal.signal(number, signal.SIG_IGN)
if os.fork() == 0:
    os.setsid()
print("deaf", flush=True)
time.sleep(60)
"""

WRITERS = """
import os, time
os.makedirs("final_model", exist_ok=True)
for number in range(3):
    if os.fork() == 0:
        os.setsid()
        with open(f"final_model/part-{number}", "ab", buffering=0) as file:
            file.write(b"begun")
            open(f"started-{number}", "w").close()
            while True:
                file.write(b".")
                time.sleep(0.0005)
time.sleep(60)
"""

STORM = """
import os, time
end = time.monotonic() + 20
for chain in range(8):
    if os.fork() == 0:
        break
else:
    open("storm", "w").close()
    time.sleep(60)
while time.monotonic() < end:
    if os.fork():
        os._exit(0)
    open(f"chain-{chain}", "a").write(".")
"""

_SUBMISSION = ("final_model",)


class EndingChecks(SandboxChecks):
    """What ends commands and sessions ends all of them."""

    # One command --------------------------------------------------------------------------

    def test_a_time_out_kills_the_command(self) -> None:
        """A command over its ``timeout_s`` is killed, reason ``timeout``."""
        session = self.shared()
        status = session.wait(
            session.start(Command(argv=("sleep", "60"), timeout_s=0.3)), self.patience_s
        )
        found = (status.state, status.exit_code, status.reason)
        expect(
            found == ("exited", -signal.SIGKILL, "timeout"),
            f"a command over its timeout_s must be killed, reason 'timeout'; it is {found}",
        )

    def test_a_time_out_kills_detached_children_too(self) -> None:
        """A daemon, forked twice in a session of its own, dies with its command's time-out."""
        session = self.shared()
        self.skip_unless_seen(session)
        process = self.start_marked(session, python_command(DETACHED, "60", timeout_s=0.7))
        session.wait(process, self.patience_s)
        expect(
            self.has(session, f"detached-{self.mark}"),
            "a daemon must have 0.7 s to start; it had not",
        )
        self.expect_none_living("a command's time-out")

    def test_a_time_out_kills_what_ignores_signals(self) -> None:
        """Processes that ignore every signal they can die of a time-out all the same."""
        session = self.shared()
        self.skip_unless_seen(session)
        process = self.start_marked(session, python_command(DEAF, timeout_s=0.7))
        status = session.wait(process, self.patience_s)
        expect(
            status.reason == "timeout",
            f"a deaf command over its timeout_s must end so; it is {status.state}, "
            f"reason {status.reason!r}",
        )
        self.expect_none_living("a deaf command's time-out")

    def test_a_time_out_kills_what_has_stopped_itself(self) -> None:
        """A command that sends itself SIGSTOP is ended by its time-out."""
        session = self.shared()
        command = Command(argv=("sh", "-c", "kill -STOP $$"), timeout_s=0.3)
        found = session.wait(session.start(command), self.patience_s).reason
        expect(found == "timeout", f"a stopped command must end by time-out; reason is {found!r}")

    def test_a_time_out_ends_no_other_command(self) -> None:
        """The session and its other commands go on."""
        session = self.shared()
        bystander = session.start(Command(argv=("sleep", "60")))
        session.wait(session.start(Command(argv=("sleep", "60"), timeout_s=0.3)), self.patience_s)
        found = session.poll(bystander).state
        expect(found == "running", f"a time-out must end its own command only; another is {found}")

    def test_a_command_has_exited_when_only_its_detached_children_live(self) -> None:
        """What a command left running does not keep it from having exited."""
        session = self.shared()
        process = self.start_marked(session, python_command(DETACHED, "0"))
        status = session.wait(process, self.patience_s)
        found = (status.state, status.exit_code, status.reason)
        expect(
            found == ("exited", 0, "exit"),
            f"a command that left a daemon behind has exited with 0; it is {found}",
        )

    def test_stop_kills_what_an_ended_command_left_running(self) -> None:
        """stop() of a command that has exited kills its detached children."""
        session = self.shared()
        process = self.start_marked(session, python_command(DETACHED, "0"))
        session.wait(process, self.patience_s)
        self.await_living(1)
        session.stop(process)
        self.expect_none_living("stop()")
        found = session.poll(process).reason
        expect(found == "exit", f"its reason must stay 'exit' after stop(); it is {found!r}")

    def test_stop_kills_the_whole_tree(self) -> None:
        """stop() kills command and detached children, reason ``killed``."""
        session = self.shared()
        process = self.start_marked(session, python_command(DEAF))
        self.await_living(2)
        session.stop(process)
        status = session.poll(process)
        expect(
            (status.state, status.reason) == ("exited", "killed"),
            f"a stopped command must have exited, reason 'killed'; it is {status.state}, "
            f"{status.reason!r}",
        )
        self.expect_none_living("stop()")

    def test_stop_ends_one_command_and_no_other(self) -> None:
        """stop() touches the processes of its own command only."""
        session = self.shared()
        victim = session.start(python_command(DETACHED, "60"))
        self.start_marked(session, python_command(DETACHED, "60"))
        self.await_living(2)
        session.stop(victim)
        found = self.living()
        expect(found == 2, f"stop() must leave the other command's 2 processes; {found} live")

    def test_stop_is_idempotent(self) -> None:
        """Stopping again changes nothing."""
        session = self.shared()
        process = session.start(Command(argv=("sleep", "60")))
        session.stop(process)
        first = session.poll(process)
        session.stop(process)
        expect(session.poll(process) == first, "stop() of a stopped command must change nothing")

    # Freeze -------------------------------------------------------------------------------

    def test_nothing_changes_after_a_freeze(self) -> None:
        """After freeze() no process inside writes, detached ones included."""
        session = self._writing()
        pace_s = self._pace(lambda: self._parts(session))
        session.freeze()
        before = self._parts(session)
        time.sleep(pace_s)
        expect(self._parts(session) == before, "after freeze() no file may change; some did")

    def test_a_freeze_hashes_what_is_sealed(self) -> None:
        """The seal lists size and sha256 of every file below the sealed paths, as they stay."""
        session = self._writing()
        status = session.freeze()
        expect(status.state == "frozen", f"freeze() must return 'frozen'; it is {status.state!r}")
        wanted = tuple(
            sealed_file(f"final_model/part-{number}", content)
            for number, content in enumerate(self._parts(session))
        )
        expect(
            status.seal is not None and tuple(sorted(status.seal, key=lambda f: f.path)) == wanted,
            f"the seal must hold the files as they are at the freeze; it is {status.seal!r:.300}",
        )

    def test_freezing_again_changes_nothing(self) -> None:
        """freeze() is idempotent."""
        session = self.open()
        first = session.freeze()
        expect(session.freeze() == first, "freeze() of a frozen session must change nothing")

    def test_a_frozen_session_starts_nothing(self) -> None:
        """start() in a frozen session raises SandboxError."""
        session = self.open()
        session.freeze()
        expect_error(
            SandboxError,
            "start() in a frozen session",
            lambda: session.start(Command(argv=("true",))),
        )

    def test_output_written_before_the_freeze_is_complete(self) -> None:
        """What a command wrote before the freeze is in its logs."""
        session = self.open()
        script = "head -c 300000 /dev/zero; touch done; sleep 60"
        process = session.start(Command(argv=("sh", "-c", script)))
        self.await_files(session, "done")
        session.freeze()
        found = len(session.logs(process))
        expect(
            found == 300_000, f"300000 bytes written before the freeze must be kept; got {found}"
        )

    def test_links_and_special_files_are_sealed_as_what_they_are(self) -> None:
        """The seal follows no link: links and special files are listed without a digest."""
        session = self.open(seal=("final_model", "elsewhere/below", "absent"))
        script = (
            "mkdir -p final_model/deep; ln -s /etc/passwd final_model/link; ln -s / elsewhere;"
            " mkfifo final_model/fifo; printf a > final_model/deep/ß"
        )
        self.shell(session, script)
        seal = session.freeze().seal or ()
        found = {file.path: file.type for file in seal}
        wanted = {
            "elsewhere": "link",
            "final_model/deep/ß": "file",
            "final_model/fifo": "special",
            "final_model/link": "link",
        }
        expect(found == wanted, f"the seal must list {wanted}; it lists {found}")
        digests = {file.sha256 for file in seal if file.type != "file"}
        expect(digests == {""}, f"links and special files must have no digest; they have {digests}")

    def test_a_fork_storm_is_frozen_and_killed(self) -> None:
        """Processes that fork all the time are frozen and killed to the last one."""
        session = self.open()
        self.start_marked(session, python_command(STORM))
        chains = [f"chain-{number}" for number in range(8)]
        self.await_files(session, "storm", *chains)

        def written() -> list[bytes]:
            return [self.fetch(session, chain) for chain in chains]

        pace_s = self._pace(written)
        session.freeze()
        before = written()
        time.sleep(pace_s)
        expect(written() == before, "a frozen fork storm must write nothing; it did")
        session.kill()
        self.expect_none_living("kill() of a frozen fork storm")

    # Kill and close -----------------------------------------------------------------------

    def test_kill_ends_everything_and_keeps_files_and_logs(self) -> None:
        """After kill() nothing runs; files and logs stay readable."""
        session = self.open()
        script = "echo said; echo kept > kept; setsid sleep 60 & sleep 60"
        process = self.start_marked(session, Command(argv=("sh", "-c", script)))
        self.await_files(session, "kept")
        session.kill()
        self.expect_none_living("kill()")
        status = session.poll(process)
        found = (session.status().state, status.state, status.reason)
        expect(
            found == ("killed", "exited", "killed"),
            f"after kill() session and command must be killed and exited; they are {found}",
        )
        kept = (session.logs(process), self.fetch(session, "kept"))
        expect(kept == (b"said\n", b"kept\n"), f"kill() must keep files and logs; got {kept}")

    def test_kill_is_idempotent(self) -> None:
        """Killing again changes nothing."""
        session = self.open()
        session.kill()
        first = session.status()
        session.kill()
        expect(session.status() == first, "kill() of a killed session must change nothing")

    def test_a_killed_session_starts_nothing(self) -> None:
        """start() in a killed session raises SandboxError."""
        session = self.open()
        session.kill()
        expect_error(
            SandboxError,
            "start() in a killed session",
            lambda: session.start(Command(argv=("true",))),
        )

    def test_a_frozen_session_can_be_killed(self) -> None:
        """kill() after freeze() ends the stopped processes and changes no file."""
        session = self._writing()
        status = session.freeze()
        before = self._parts(session)
        session.kill()
        self.expect_none_living("kill() of a frozen session")
        expect(self._parts(session) == before, "kill() after freeze() must change no file")
        expect(session.status().seal == status.seal, "kill() must keep the seal of the freeze")

    def test_a_session_ends_without_touching_its_neighbour(self) -> None:
        """kill() of one session leaves another's processes alone."""
        first, second = self.open(), self.open()
        process = self.start_marked(second, Command(argv=("sleep", "60")))
        first.start(Command(argv=("sleep", "60")))
        first.close()
        found = second.poll(process).state
        expect(found == "running", f"a session's end must not touch another's; it is {found}")

    def test_close_leaves_no_process_socket_or_temporary_file(self) -> None:
        """close() ends everything and removes sockets and temporary files."""
        session = self.open()
        host_path, _ = session.socket("some.sock")
        listen = "import os,socket,sys,time\ns=socket.socket(socket.AF_UNIX)\ns.bind(sys.argv[1])\n"
        code = listen + "d=os.environ['TMPDIR']+'/a'\nos.mkdir(d)\nopen(d+'/b','w').close()\n"
        code += "os.chmod(d,0)\nopen('up','w').close()\ntime.sleep(60)"
        self.start_marked(session, python_command(code, session.socket("some.sock")[1]))
        self.await_files(session, "up")
        places = session.writable_places()
        session.close()
        self.expect_none_living("close()")
        expect(not host_path.exists(), f"close() must remove the socket {host_path}; it is there")
        tmp = places.get("tmp")
        expect(
            tmp is None or not tmp.exists() or not any(tmp.iterdir()),
            f"close() must remove private temporary files; {tmp} still holds some",
        )

    def test_close_is_idempotent(self) -> None:
        """Closing again changes nothing and raises nothing."""
        session = self.open()
        session.close()
        session.close()

    # Parts --------------------------------------------------------------------------------

    def _writing(self) -> Session:
        """Return a session in which three detached processes rewrite the submission."""
        session = self.open(seal=_SUBMISSION)
        self.start_marked(session, python_command(WRITERS))
        self.await_files(session, "started-0", "started-1", "started-2")
        return session

    def _pace(self, look: Callable[[], object]) -> float:
        """Return how long one must look at what is being written to be sure to see a change."""
        began = time.monotonic()
        for _ in range(3):
            first = look()
            self.eventually(
                lambda first=first: look() != first,  # type: ignore[misc]
                "processes that write all the time must change their files",
            )
        return max(0.05, 2 * (time.monotonic() - began))

    def _parts(self, session: Session) -> list[bytes]:
        return [self.fetch(session, f"final_model/part-{number}") for number in range(3)]


def sealed_file(path: str, content: bytes) -> SealedFile:
    """Return how a file with this content is to be listed in a seal."""
    digest = hashlib.sha256(content).hexdigest()
    return SealedFile(path=path, size=len(content), sha256=digest)
