"""Limits: which hold, and what a command that passes one is told."""

import os
import signal

from sandbox_running import OpenSession, eventually, marked, python, shell

from ptb_core.api import Command, Limits
from ptb_core.testing.sandbox.limits import HOG
from ptb_core.testing.watching import marked_processes


def test_a_session_over_its_memory_loses_its_biggest_command(open_session: OpenSession) -> None:
    session = open_session(limits=Limits(memory_gib=0.1))
    modest = session.start(Command(argv=("sleep", "60")))
    hog = session.start(python(HOG, env={"T": marked("memory-hog")}))
    status = session.wait(hog, 20)
    assert (status.exit_code, status.reason) == (-signal.SIGKILL, "out-of-memory")
    assert marked_processes(marked("memory-hog")) == []
    assert session.poll(modest).state == "running"
    message = session.logs(hog, "stderr").decode()
    assert "sandbox: killed: the session used " in message
    assert f"bytes of memory, its limit is {int(0.1 * 2**30)}" in message


def test_memory_that_processes_share_counts_once(open_session: OpenSession) -> None:
    code = """
import mmap, os, time
block = mmap.mmap(-1, 60_000_000)
block[:] = bytes(60_000_000)
for child in range(5):
    if os.fork() == 0:
        sum(block[::4096])
        open(str(child), "w").close()
        time.sleep(60)
time.sleep(60)
"""
    session = open_session(limits=Limits(memory_gib=0.15))
    process = session.start(python(code))
    eventually(lambda: shell(session, "ls").stdout.split() == [b"0", b"1", b"2", b"3", b"4"])
    assert session.wait(process, 0.6).state == "running"


def test_too_many_processes_end_the_command_that_has_most(open_session: OpenSession) -> None:
    session = open_session(limits=Limits(processes=20))
    script = "for i in $(seq 40); do sleep 60 & done; wait"
    process = session.start(Command(argv=("sh", "-c", script), env={"T": marked("many-processes")}))
    status = session.wait(process, 20)
    assert (status.exit_code, status.reason) == (-signal.SIGKILL, "killed")
    assert marked_processes(marked("many-processes")) == []
    message = session.logs(process, "stderr").decode()
    assert "processes and threads, its limit is 20" in message


def test_too_much_on_the_disk_ends_every_command(open_session: OpenSession) -> None:
    session = open_session(limits=Limits(disk_gib=0.01))
    script = 'head -c 20000000 /dev/urandom > "$TMPDIR/big"; sleep 60'
    process = session.start(Command(argv=("sh", "-c", script)))
    assert session.wait(process, 20).reason == "killed"
    message = session.logs(process, "stderr").decode()
    assert "workspace, home, temporary files and output hold over 10737418 bytes" in message


def test_no_file_grows_over_its_limit(open_session: OpenSession) -> None:
    session = open_session(limits=Limits(file_gib=0.001))
    run = shell(session, "head -c 2000000 /dev/zero > big; ls -l big | cut -d' ' -f5")
    assert int(run.stdout) <= int(0.001 * 2**30)
    long = shell(session, "head -c 2000000 /dev/zero")
    assert len(long.stdout) == 2_000_000


def test_processors_are_set_but_never_called_enforced(open_session: OpenSession) -> None:
    session = open_session(limits=Limits(cpus=0.5, memory_gib=64))
    assert shell(session, "nproc").stdout == b"1\n"
    assert session.facts().enforced_limits == ("memory_gib",)


def test_the_facts_name_the_limits_that_hold(open_session: OpenSession, isolation: str) -> None:
    limits = Limits(cpus=1, memory_gib=64, disk_gib=64, processes=9999, file_gib=1)
    enforced = open_session(limits=limits).facts().enforced_limits
    file_limit = ("file_gib",) if isolation == "bwrap" or os.getuid() != 0 else ()
    assert enforced == ("memory_gib", "disk_gib", "processes", *file_limit)
