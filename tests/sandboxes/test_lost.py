"""What happens when the guardian itself is killed or stopped."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from sandbox_running import OpenSession, eventually, marked, shell

from ptb_core.api import Command, ProcessHandle, Sandbox, SandboxLostError, Session, SessionHandle
from ptb_core.testing.watching import marked_processes
from ptb_plugins.sandboxes.local import runtime
from ptb_plugins.sandboxes.local.guard.tree import read
from ptb_plugins.sandboxes.local.survivors import kill_survivors


def guardian_pid(session: Session) -> int:
    control = Path(str(session.handle.data["control"]))
    return int(json.loads((control / "guardian.json").read_bytes())["pid"])


def strike(session: Session, number: int = signal.SIGKILL) -> None:
    """Send the guardian a signal and wait until it has had its effect."""
    pid = guardian_pid(session)
    os.kill(pid, number)
    eventually(lambda: (found := read(pid)) is None or found.state in "ZXT")


def busy(session: Session, token: str) -> None:
    """Start something that is not easily found: detached, with a child of its own."""
    script = "echo said; setsid sh -c 'sleep 60 & sleep 60' & sleep 60"
    process = session.start(Command(argv=("sh", "-c", script), env={"T": token}))
    eventually(lambda: len(marked_processes(token)) >= 4 and session.logs(process))


def test_a_killed_guardian_leaves_no_survivors_even_with_nobody_looking(
    open_session: OpenSession,
) -> None:
    session = open_session()
    busy(session, "unwatched")
    strike(session)
    eventually(lambda: marked_processes(marked("unwatched")) == [])


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_killed_or_stopped_guardian_is_a_lost_session(
    open_session: OpenSession, sandbox: Sandbox, number: signal.Signals
) -> None:
    session = open_session()
    busy(session, f"lost-{number}")
    strike(session, number)
    with pytest.raises(SandboxLostError, match="guardian was killed or stopped; what ran inside"):
        session.status()
    assert marked_processes(f"lost-{number}") == []
    with pytest.raises(SandboxLostError, match="is lost"):
        sandbox.attach(session.handle)
    with pytest.raises(SandboxLostError, match="is lost"):
        session.start(Command(argv=("true",)))
    session.close()
    assert not session.socket("s")[0].parent.parent.exists()


def test_a_lost_session_is_noticed_while_waiting(open_session: OpenSession) -> None:
    session = open_session()
    process = session.start(Command(argv=("sleep", "60")))
    strike(session)
    with pytest.raises(SandboxLostError):
        session.wait(process, 20)


def test_the_name_of_a_lost_session_is_free_again_once_swept(
    open_session: OpenSession, tmp_path: Path
) -> None:
    first = open_session(name=tmp_path.name)
    busy(first, "swept")
    strike(first)
    second = open_session(name=tmp_path.name)
    assert marked_processes(marked("swept")) == []
    assert shell(second, "true").exit_code == 0


def test_no_one_inside_reaches_the_guardian_or_the_session_is_lost(
    open_session: OpenSession, isolation: str
) -> None:
    session = open_session()
    command = Command(argv=("sh", "-c", f"kill -9 {guardian_pid(session)} && sleep 60"))
    if isolation == "bwrap":
        process = session.start(command)
        assert session.wait(process, 10).exit_code == 1
        assert b"No such process" in session.logs(process, "stderr")
        assert session.status().state == "running"
        return
    with pytest.raises(SandboxLostError):
        session.wait(session.start(command), 10)


def test_killing_the_process_that_starts_commands_ends_the_session(
    open_session: OpenSession, isolation: str, sandbox: Sandbox
) -> None:
    session = open_session()
    find_spawner = "kill -9 $(awk '/^PPid/ {print $2}' /proc/$PPID/status)"
    process = session.start(Command(argv=("sh", "-c", f"{find_spawner}; exec sleep 60")))
    if isolation == "bwrap":
        assert session.wait(process, 0.3).state == "running"
        return
    with pytest.raises(SandboxLostError, match="process that starts its commands was killed"):
        session.wait(process, 10)
    with pytest.raises(SandboxLostError):
        sandbox.attach(session.handle)


def test_asking_signals_do_not_end_a_guardian(open_session: OpenSession) -> None:
    session = open_session()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        os.kill(guardian_pid(session), number)
    assert shell(session, "true").exit_code == 0


def test_survivors_are_known_by_start_time_and_mark_and_nothing_else_is_touched(
    open_session: OpenSession, tmp_path: Path
) -> None:
    bystander = open_session()
    process = bystander.start(Command(argv=("sleep", "60")))
    eventually(lambda: marked_processes(process.id))
    pid = marked_processes(process.id)[0]
    control = tmp_path / "control"
    (control / "processes" / "p").mkdir(parents=True)
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    identity = {"pid": pid, "start": 1, "boot_id": boot_id, "processes": [[pid, 2]]}
    (control / "guardian.json").write_text(json.dumps(identity))
    (control / "processes" / "p" / "status.json").write_text(json.dumps({"processes": [[pid, 3]]}))
    assert kill_survivors(control, "a-mark-that-nobody-bears")
    assert bystander.poll(process).state == "running"


# When the process that opened it is killed ------------------------------------------------------

OPENER = """
import os, signal, sys
from pathlib import Path
import msgspec
from ptb_core.api import Command, SandboxRequest
from ptb_plugins.sandboxes import ptb_register_sandboxes
(local,) = ptb_register_sandboxes()
root, isolation, starts = sys.argv[1:]
request = SandboxRequest(
    name=Path(root).parent.name, role="solve", root=Path(root), settings={"isolation": isolation}
)
session = local.open(request)
commands = [session.start(Command(argv=("sleep", "60"))) for _ in range(int(starts))]
print(msgspec.json.encode((session.handle, commands)).decode(), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def opened_and_killed(
    folder: Path, isolation: str, starts: int
) -> tuple[SessionHandle, list[ProcessHandle]]:
    """Return the session of a process that opened it, started commands in it and was killed."""
    argv = [sys.executable, "-c", OPENER, str(folder / "root"), isolation, str(starts)]
    done = subprocess.run(argv, stdout=subprocess.PIPE, check=False)
    assert done.returncode == -signal.SIGKILL
    return msgspec.json.decode(done.stdout, type=tuple[SessionHandle, list[ProcessHandle]])


def test_a_session_in_which_nothing_was_started_ends_with_its_opener(
    sandbox: Sandbox, isolation: str, tmp_path: Path
) -> None:
    handle, _ = opened_and_killed(tmp_path, isolation, starts=0)
    eventually(lambda: sandbox.attach(handle).status().state == "killed")
    eventually(lambda: marked_processes(f"PTB_SESSION={tmp_path.name}:") == [])
    session = sandbox.attach(handle)
    assert session.processes() == ()
    session.close()


def test_whoever_attaches_finds_the_commands_that_a_killed_opener_had_started(
    sandbox: Sandbox, isolation: str, tmp_path: Path
) -> None:
    handle, started = opened_and_killed(tmp_path, isolation, starts=2)
    session = sandbox.attach(handle)
    assert session.status().state == "running"
    assert session.processes() == tuple(started)
    session.close()
    assert marked_processes(f"PTB_SESSION={tmp_path.name}:") == []


def test_the_next_session_removes_the_folder_of_one_that_nobody_will_close(
    open_session: OpenSession, sandbox: Sandbox, isolation: str, tmp_path: Path
) -> None:
    handle, _ = opened_and_killed(tmp_path, isolation, starts=0)
    folder = sandbox.attach(handle).socket("s")[0].parent.parent
    eventually(lambda: sandbox.attach(handle).status().state == "killed")
    assert folder.is_dir()
    open_session()
    assert not folder.exists()


def test_folders_of_processes_that_cannot_be_seen_from_here_are_left_alone(
    open_session: OpenSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In another container with the same /tmp its opener and guardian seem not to exist."""
    session = open_session()
    head = session.socket("s")[0].parent.parent / "session.json"
    content = json.loads(head.read_bytes())
    content["opener"] |= {"pid": 2**22 + 1, "namespace": "pid:[1]"}
    content["control"] = "/nowhere/control"
    head.write_text(json.dumps(content), "utf-8")
    open_session().close()
    assert head.exists()
    content["opener"]["namespace"] = runtime.identity()["namespace"]
    head.write_text(json.dumps(content), "utf-8")
    open_session()
    assert not head.exists()


def test_a_live_session_whose_opener_was_killed_keeps_its_folder(
    open_session: OpenSession, sandbox: Sandbox, isolation: str, tmp_path: Path
) -> None:
    handle, _ = opened_and_killed(tmp_path, isolation, starts=1)
    open_session().close()
    session = sandbox.attach(handle)
    assert session.status().state == "running"
    assert session.socket("s")[0].parent.is_dir()
    session.close()


def test_a_folder_that_was_half_made_or_half_removed_is_removed(open_session: OpenSession) -> None:
    session = open_session()
    base = session.socket("s")[0].parent.parent.parent
    for name, content in (("no-head", None), ("empty-head", "")):
        (base / f"test-{name}").mkdir()
        if content is not None:
            (base / f"test-{name}" / "session.json").write_text(content, "utf-8")
    open_session().close()
    assert not list(base.glob("test-*"))


def test_attaching_to_a_lost_session_removes_what_it_left(
    open_session: OpenSession, sandbox: Sandbox
) -> None:
    session = open_session()
    busy(session, "attached")
    control = Path(str(session.handle.data["control"]))
    (control / ".state.json.1.tmp").write_text("{", "utf-8")
    strike(session)
    with pytest.raises(SandboxLostError, match="is lost"):
        sandbox.attach(session.handle)
    assert marked_processes(marked("attached")) == []
    assert not session.socket("s")[0].parent.parent.exists()
    assert not (control / ".state.json.1.tmp").exists()
