"""Limits that the facts call enforced: they hold, and what passes one is told."""

from __future__ import annotations

import unittest

from ptb_core.interfaces import Session
from ptb_core.sandboxing import Command, Limits, ProcessHandle
from ptb_core.testing.expectation import expect
from ptb_core.testing.material import python_command
from ptb_core.testing.sandbox.sessions import SandboxChecks

HOG = """
import os, time
if os.fork() == 0:
    os.setsid()
    block = bytearray(os.urandom(1)) * 150_000_000
    time.sleep(60)
time.sleep(60)
"""
_FILE_LIMIT_GIB = 0.001


class LimitChecks(SandboxChecks):
    """Memory, processes, size of files and of the disk."""

    def test_too_much_memory_ends_the_command_that_took_it(self) -> None:
        """Over ``memory_gib`` a command dies with reason ``out-of-memory``, tree and all."""
        session = self._limited("memory_gib", Limits(memory_gib=0.1))
        modest = session.start(Command(argv=("sleep", "60")))
        hog = self.start_marked(session, python_command(HOG))
        status = session.wait(hog, self.patience_s)
        expect(
            (status.state, status.reason) == ("exited", "out-of-memory"),
            "a command over the memory limit must end with reason 'out-of-memory'; it is "
            f"{status.state}, {status.reason!r}",
        )
        self.expect_none_living("the memory limit")
        found = session.poll(modest).state
        expect(found == "running", f"a modest command must go on; it has {found}")
        self._expect_words(session, hog)

    def test_too_many_processes_are_refused_or_ended(self) -> None:
        """Over ``processes`` no further one lives, and the command is told."""
        session = self._limited("processes", Limits(processes=20))
        script = "for i in $(seq 60); do sleep 60 & done; wait"
        process = self.start_marked(session, Command(argv=("sh", "-c", script), timeout_s=20))
        status = session.wait(process, self.patience_s)
        expect(
            status.state == "exited" and self.living() <= 20,
            f"over the limit of 20 processes a command must end; it is {status.state} with "
            f"{self.living()} processes",
        )
        self._expect_words(session, process)

    def test_no_file_grows_over_its_limit(self) -> None:
        """Over ``file_gib`` no file grows; output is no file."""
        session = self._limited("file_gib", Limits(file_gib=_FILE_LIMIT_GIB))
        done = self.shell(session, "head -c 2000000 /dev/zero > big; wc -c < big")
        size, limit = int(done.stdout), int(_FILE_LIMIT_GIB * 2**30)
        expect(size <= limit, f"no file may grow over {limit} bytes; one grew to {size}")
        output = self.shell(session, "head -c 2000000 /dev/zero").stdout
        expect(
            len(output) == 2_000_000,
            f"a limit on files must not cut output of 2000000 bytes; {len(output)} came",
        )

    def test_a_full_disk_is_reported(self) -> None:
        """Over ``disk_gib`` writing fails or the commands end, and they are told."""
        session = self._limited("disk_gib", Limits(disk_gib=0.01))
        script = 'head -c 20000000 /dev/urandom > "$TMPDIR/big" && sleep 60'
        process = session.start(Command(argv=("sh", "-c", script)))
        status = session.wait(process, self.patience_s)
        expect(
            status.state == "exited" and status.exit_code != 0,
            f"over the disk limit a command must fail; it is {status.state}, exit code "
            f"{status.exit_code}",
        )
        self._expect_words(session, process)

    def _limited(self, name: str, limits: Limits) -> Session:
        session = self.open(limits=limits)
        if name not in session.facts().enforced_limits:
            raise unittest.SkipTest(f"its facts do not call the limit {name} enforced")
        return session

    def _expect_words(self, session: Session, process: ProcessHandle) -> None:
        words = session.logs(process, "stderr").decode("utf-8", "replace")
        expect(words.strip(), "standard error must say which limit was passed; it says nothing")
