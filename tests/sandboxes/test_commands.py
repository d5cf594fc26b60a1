"""How commands start, end and speak; the checks know nothing of this very sandbox."""

import signal
import sys

import pytest
from sandbox_running import OpenSession, Run, eventually, marked, shell

from ptb_core.api import Command, ProcessHandle, SandboxError, Session
from ptb_core.testing.watching import marked_processes


def test_a_missing_program_exits_with_127_and_says_so(session: Session) -> None:
    run = Run(session, Command(argv=("no-such-program",)))
    assert run.exit_code == 127
    assert "program 'no-such-program' was not found (PATH is " in run.stderr


def test_a_file_that_is_no_program_exits_with_126_and_says_so(session: Session) -> None:
    run = Run(session, Command(argv=("/etc/passwd",)))
    assert run.exit_code == 126
    assert "program '/etc/passwd' cannot be executed: Permission denied" in run.stderr


def test_a_missing_working_directory_exits_with_126_and_says_so(session: Session) -> None:
    run = shell(session, "true", cwd="nowhere")
    assert run.exit_code == 126
    assert "nowhere': No such file or directory" in run.stderr


def test_an_argument_over_the_kernels_limit_exits_with_126_and_says_what_to_do(
    session: Session,
) -> None:
    run = Run(session, Command(argv=("true", "x" * 200_000)))
    assert run.exit_code == 126
    assert "its longest argument has 200000 bytes, Linux takes 131071 for one" in run.stderr


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (Command(argv=()), "names no program"),
        (Command(argv=("a\0b",)), "holds a NUL character"),
        (Command(argv=("true",), env={"A": "b\0"}), "holds a NUL character"),
        (Command(argv=("true",), env={"A=B": "c"}), "'A=B' cannot be the name of a variable"),
        (Command(argv=("true", "\ud800")), "cannot be encoded as UTF-8"),
        (Command(argv=("true",), timeout_s=0), "timeout_s is 0; expected more than 0"),
    ],
)
def test_what_no_kernel_takes_is_refused(session: Session, command: Command, words: str) -> None:
    with pytest.raises(SandboxError, match=words):
        session.start(command)


def test_nothing_is_inherited_from_the_host(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_API_KEY", "do-not-pass-on")
    lines = shell(session, "env", env={"MINE": "1"}).stdout.decode().splitlines()
    names = {line.partition("=")[0] for line in lines}
    own = {"HOME", "PATH", "TMPDIR", "LANG", "USER", "PTB_SESSION", "PTB_COMMAND"}
    gpus = {"CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"}
    assert names <= own | gpus | {"MINE", "PWD", "SHLVL", "_", "OLDPWD"}
    assert {"HOME", "PATH", "TMPDIR", "LANG=C.UTF-8"} <= names | set(lines)


def test_the_hosts_interpreter_and_its_packages_work_inside(session: Session) -> None:
    code = "import sys, msgspec; print(sys.prefix)"
    run = Run(session, Command(argv=("python3", "-c", code)))
    assert run.stdout.decode().strip() == sys.prefix, run.stderr


def test_a_signal_that_kills_gives_its_number(session: Session) -> None:
    process = session.start(Command(argv=("sleep", "60")))
    session.signal(process, signal.SIGTERM)
    status = session.wait(process, 10)
    assert (status.exit_code, status.reason) == (-signal.SIGTERM, "exit")


def test_a_command_that_stops_itself_is_stopped_for_good(session: Session) -> None:
    process = session.start(Command(argv=("sh", "-c", "echo up; kill -STOP $$"), timeout_s=0.5))
    assert session.wait(process, 15).reason == "timeout"
    assert session.logs(process) == b"up\n"


def test_a_command_whose_parent_inside_is_killed_is_still_followed(session: Session) -> None:
    script = "kill -9 $PPID; sleep 0.1; echo alive; exit 4"
    run = shell(session, script)
    assert (run.exit_code, run.stdout) == (4, b"alive\n")
    process = session.start(
        Command(argv=("sh", "-c", "kill -9 $PPID; echo up; sleep 60"), env={"T": marked("orphan")})
    )
    eventually(lambda: session.logs(process) == b"up\n")
    session.stop(process)
    assert session.poll(process).reason == "killed"
    assert marked_processes(marked("orphan")) == []


def test_a_command_that_kills_its_parent_while_it_is_stopped_leaves_nothing(
    session: Session,
) -> None:
    for delay in (0.0, 0.0, 0.0, 0.002, 0.005, 0.01):
        process = session.start(
            Command(
                argv=("sh", "-c", f"echo up; sleep {delay}; kill -9 $PPID; sleep 60"),
                env={"T": marked("patricide")},
            )
        )
        eventually(lambda process=process: session.logs(process) == b"up\n")
        session.stop(process)
        assert session.poll(process).reason == "killed"
        assert marked_processes(marked("patricide")) == []


def test_the_handle_of_another_session_is_refused(open_session: OpenSession) -> None:
    first, second = open_session(), open_session()
    process = first.start(Command(argv=("true",)))
    with pytest.raises(SandboxError, match=f"has no process '{process.id}'"):
        second.poll(process)
    with pytest.raises(SandboxError, match="has no process 'nonsense'"):
        first.logs(ProcessHandle(session=first.handle.name, id="nonsense"))
