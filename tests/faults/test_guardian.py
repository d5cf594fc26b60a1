"""A guardian whose disk is full keeps its promises, and says what happened once there is room."""

from __future__ import annotations

import hashlib
import secrets
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from ptb_core.api import Command, Sandbox, SandboxRequest, Session
from ptb_plugins.sandboxes import ptb_register_sandboxes

from .conftest import fill, free

OpenSession = Callable[..., Session]


@pytest.fixture
def open_session(disk: Path) -> Iterator[OpenSession]:
    """Open sessions whose files lie on the small disk."""
    sandbox: Sandbox = next(iter(ptb_register_sandboxes()))
    with ExitStack() as opened:

        def open_one(**fields: object) -> Session:
            name = f"faults-{secrets.token_hex(4)}"
            given = {"name": name, "role": "solve", "root": disk / name} | fields
            session = sandbox.open(SandboxRequest(settings={"isolation": "none"}, **given))  # type: ignore[arg-type]
            opened.callback(session.close)
            return session

        yield open_one


def eventually(holds: Callable[[], object]) -> None:
    give_up = time.monotonic() + 15
    while not holds():
        assert time.monotonic() < give_up, "waited in vain"
        time.sleep(0.005)


def states_of(token: str) -> set[str]:
    """States of the processes whose environment holds ``token``: ``S``, ``T`` for stopped, ..."""
    states = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if token.encode() in (folder / "environ").read_bytes():
                states.add((folder / "stat").read_text().rpartition(")")[2].split()[0])
        except OSError:
            continue
    return states


def test_a_command_that_ends_on_a_full_disk_is_known_to_have_ended_once_there_is_room(
    open_session: OpenSession, disk: Path
) -> None:
    session = open_session()
    token = secrets.token_hex(8)
    process = session.start(Command(argv=("sleep", "60"), env={"TOKEN": token}))
    fill(disk)
    session.signal(process, signal.SIGTERM)
    eventually(lambda: not states_of(token))
    assert session.poll(process).state == "running", "nobody can know yet"
    assert session.status().state == "running", "the guardian lives on"
    free(disk)
    status = session.wait(process, 15)
    assert (status.state, status.exit_code, status.reason) == ("exited", -signal.SIGTERM, "exit")


def test_a_deadline_on_a_full_disk_kills_in_time_and_keeps_the_seal(
    open_session: OpenSession, disk: Path
) -> None:
    token = secrets.token_hex(8)
    session = open_session(deadline_unix_s=time.time() + 1.5, seal=("final_model",))
    script = "mkdir final_model; echo weights > final_model/model; touch made; sleep 60"
    process = session.start(Command(argv=("sh", "-c", script), env={"TOKEN": token}))
    workspace = Path(session.inside("workspace"))
    eventually((workspace / "made").exists)
    fill(disk)
    eventually(lambda: not states_of(token))
    assert session.poll(process).state == "running", "nobody can know yet"
    free(disk)
    status = session.wait(process, 15)
    assert (status.state, status.reason) == ("exited", "deadline")
    ended = session.status()
    assert (ended.state, ended.deadline_passed) == ("killed", True)
    assert ended.seal is not None
    assert [(file.path, file.sha256) for file in ended.seal] == [
        ("final_model/model", hashlib.sha256(b"weights\n").hexdigest())
    ]


def test_a_freeze_on_a_full_disk_waits_for_room_and_loses_nothing(
    open_session: OpenSession, disk: Path
) -> None:
    token = secrets.token_hex(8)
    session = open_session(seal=("final_model",))
    workspace = Path(session.inside("workspace"))
    (workspace / "final_model").mkdir()
    (workspace / "final_model" / "model").write_bytes(b"weights\n")
    process = session.start(Command(argv=("sleep", "60"), env={"TOKEN": token}))
    fill(disk)
    frozen: list[object] = []
    asking = threading.Thread(target=lambda: frozen.append(session.freeze()))
    asking.start()
    eventually(lambda: states_of(token) == {"T"})
    assert session.status().state == "running", "nobody can know yet"
    free(disk)
    asking.join(15)
    status = session.status()
    assert status.state == "frozen"
    assert frozen == [status]
    assert status.seal is not None
    assert [file.path for file in status.seal] == ["final_model/model"]
    session.kill()
    assert session.poll(process).reason == "killed"
