"""Deadline, freeze, kill and close: nothing inside outlives them or writes after them."""

import signal
from pathlib import Path

import pytest
from sandbox_running import OpenSession, eventually, marked, python, shell

from ptb_core.api import (
    Command,
    Sandbox,
    SandboxError,
    SandboxRequest,
    Session,
)
from ptb_core.testing.sandbox.ending import STORM
from ptb_core.testing.watching import marked_processes


def contents(session: Session, folder: str = ".") -> dict[str, bytes]:
    """Return every file below a folder of the workspace."""
    root = Path(session.inside("workspace"), folder)
    return {str(path): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_a_frozen_session_starts_nothing_and_freezing_again_changes_nothing(
    open_session: OpenSession,
) -> None:
    session = open_session()
    process = session.start(Command(argv=("sleep", "60")))
    first = session.freeze()
    assert session.freeze() == first
    with pytest.raises(SandboxError, match=r"cannot start a command: session .* is frozen"):
        session.start(Command(argv=("true",)))
    with pytest.raises(SandboxError, match=r"cannot send a signal: session .* is frozen"):
        session.signal(process, signal.SIGCONT)


def test_a_command_of_a_frozen_session_can_be_stopped(open_session: OpenSession) -> None:
    session = open_session()
    process = session.start(Command(argv=("sleep", "60"), env={"T": marked("frozen-then-stopped")}))
    session.freeze()
    session.stop(process)
    assert session.poll(process).reason == "killed"
    assert marked_processes(marked("frozen-then-stopped")) == []
    assert session.status().state == "frozen"


def test_a_storm_is_stopped_by_a_time_out(open_session: OpenSession) -> None:
    session = open_session()
    process = session.start(python(STORM, env={"T": marked("timed-storm")}, timeout_s=0.6))
    assert session.wait(process, 15).reason == "timeout"
    assert marked_processes(marked("timed-storm")) == []
    assert shell(session, "true").exit_code == 0


def test_a_process_whose_first_thread_has_ended_is_frozen(open_session: OpenSession) -> None:
    code = """
import ctypes, itertools, threading
def write():
    for count in itertools.count():
        with open("count", "w") as file:
            file.write(str(count))
threading.Thread(target=write).start()
ctypes.CDLL(None).pthread_exit(None)
"""
    session = open_session()
    process = session.start(python(code))
    eventually(lambda: contents(session))
    session.freeze()
    before = contents(session)
    session.wait(process, 0.1)
    assert contents(session) == before


def test_links_and_special_files_are_sealed_as_what_they_are(open_session: OpenSession) -> None:
    session = open_session(seal=("final_model", "elsewhere/below", "absent", "one"))
    shell(
        session,
        "mkdir -p final_model/deep; ln -s /etc/passwd final_model/link; mkfifo final_model/fifo;"
        " ln -s / elsewhere; printf a > final_model/deep/ß; printf 1 > one;"
        " touch final_model/$(printf '\\377')",
    )
    seal = session.freeze().seal
    assert seal is not None
    assert [(file.path, file.type) for file in seal] == [
        ("elsewhere", "link"),
        ("final_model/\\xff", "special"),
        ("final_model/deep/ß", "file"),
        ("final_model/fifo", "special"),
        ("final_model/link", "link"),
        ("one", "file"),
    ]
    assert {file.sha256 for file in seal if file.type != "file"} == {""}


def test_kill_ends_everything_and_keeps_files_and_logs(open_session: OpenSession) -> None:
    session = open_session()
    script = "echo said; echo kept > kept; setsid sleep 60 & sleep 60"
    process = session.start(Command(argv=("sh", "-c", script), env={"T": marked("kill-ends")}))
    eventually(lambda: b"kept\n" in contents(session).values())
    session.kill()
    session.kill()
    assert marked_processes(marked("kill-ends")) == []
    assert session.status().state == "killed"
    assert session.poll(process).reason == "killed"
    assert session.logs(process) == b"said\n"
    assert list(contents(session).values()) == [b"kept\n"]
    session.stop(process)
    assert session.freeze().state == "killed"
    with pytest.raises(SandboxError, match=r"cannot start a command: session .* is killed"):
        session.start(Command(argv=("true",)))


def test_close_leaves_no_process_no_socket_and_no_temporary_file(
    open_session: OpenSession, tmp_path: Path
) -> None:
    session = open_session(root=tmp_path / "closing")
    host_path, _ = session.socket("s")
    script = 'mkdir -p "$TMPDIR/a/b"; touch "$TMPDIR/a/b/c"; chmod 0 "$TMPDIR/a"; sleep 60'
    process = session.start(Command(argv=("sh", "-c", script), env={"T": marked("close-leaves")}))
    mark = process.id
    eventually(lambda: marked_processes(mark))
    session.close()
    session.close()
    assert marked_processes(marked("close-leaves")) == []
    assert marked_processes(session.handle.name) == []
    assert not host_path.parent.parent.exists()
    assert not (tmp_path / "closing" / "tmp").exists()
    commands = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
    assert not [line for line in commands if str(tmp_path).encode() in line]
    assert session.status().state == "killed"


def test_two_live_sessions_cannot_share_a_name(open_session: OpenSession, tmp_path: Path) -> None:
    first = open_session(name=tmp_path.name)
    other = tmp_path / "other"
    with pytest.raises(SandboxError, match=f"already named '{tmp_path.name}'"):
        open_session(name=tmp_path.name, root=other)
    assert not other.exists()
    assert shell(first, "true").exit_code == 0
    first.kill()
    second = open_session(name=tmp_path.name, root=other)
    first.close()
    assert shell(second, "true").exit_code == 0


def test_opening_fails_with_a_deadline_in_the_past_and_leaves_nothing(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    request = SandboxRequest(name="late", role="solve", root=root, deadline_unix_s=1.0)
    with pytest.raises(SandboxError, match="session 'late' cannot be opened: its deadline passed"):
        sandbox.open(request)
    assert not root.exists()
