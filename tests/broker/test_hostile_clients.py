"""Whoever holds the broker's socket wastes an own turn and nothing else."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from ptb_core.broker.calls import read_calls
from ptb_core.broker.client import BrokerClient, BrokerError
from ptb_core.broker.messages import BODY_BYTES, HEAD_BYTES, AskScore, line_of
from ptb_core.broker.server import HANDLERS, BrokerServer
from ptb_core.evaluation.exchange import DataDir

from .conftest import ANSWERS, PATIENCE, Broker, StartBroker, answers

Log = Callable[[bytes], Path]


@contextlib.contextmanager
def connected(broker: Broker) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as link:
        link.settimeout(20)
        link.connect(str(broker.socket))
        yield link


def reply_to(broker: Broker, content: bytes) -> dict[str, object]:
    """Send bytes, and return the last line that comes back."""
    with connected(broker) as link:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            link.sendall(content)
        last = b""
        with link.makefile("rb") as stream, contextlib.suppress(ConnectionResetError):
            for line in stream:  # what was not read of a question resets the connection
                last = line
    found: dict[str, object] = msgspec.json.decode(last)
    return found


def still_works(broker: Broker, log: Log) -> bool:
    client = broker.client
    return client.score(1, log(answers({"q3": ANSWERS["q3"]})), lambda *_: None).value == 1.0


@pytest.mark.parametrize(
    "content",
    [
        b"\n",
        b"\x00\xff\x80junk\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"[" * (HEAD_BYTES - 1) + b"\n",
        b'{"ask":"everything"}\n',
        b'{"ask":"samples","limit":"ten"}\n',
        b'{"ask":"score","limit":1}\n',
    ],
)
def test_junk_is_refused_in_a_sentence(start: StartBroker, log: Log, content: bytes) -> None:
    broker = start()
    reply = reply_to(broker, content)
    assert reply["reply"] == "refusal"
    assert str(reply["reason"]).startswith("the question cannot be read (")
    assert still_works(broker, log)


def test_a_question_without_an_end_is_refused(start: StartBroker, log: Log) -> None:
    broker = start()
    reply = reply_to(broker, b"x" * 10 * HEAD_BYTES)
    assert reply["reason"] == f"the question is longer than {HEAD_BYTES} bytes"
    assert still_works(broker, log)


@pytest.mark.parametrize("size", [0, -5, BODY_BYTES + 1, 2**62])
def test_a_size_that_makes_no_sense_is_refused_before_anything_is_read(
    start: StartBroker, log: Log, size: int
) -> None:
    broker = start()
    reply = reply_to(broker, line_of(AskScore(limit=1, size=size)))
    assert reply["reason"] == (f"completions of {size} bytes; the broker accepts 1 to {BODY_BYTES}")
    assert still_works(broker, log)


def test_more_than_was_announced_is_refused(start: StartBroker, log: Log) -> None:
    broker = start()
    reply = reply_to(broker, line_of(AskScore(limit=1, size=1)) + b"xx")
    assert reply["reason"] == "more than the 1 bytes of completions that were announced"
    assert still_works(broker, log)


@pytest.mark.parametrize("begun", [b"", line_of(AskScore(limit=1, size=10_000))])
def test_slow_clients_hold_their_place_for_a_bounded_time_only(
    start: StartBroker, log: Log, begun: bytes
) -> None:
    """More of them than the broker reads at once drip their question, or their completions."""
    broker = start()
    stop = threading.Event()

    def drip(link: socket.socket) -> None:
        with contextlib.suppress(OSError):
            link.sendall(begun)
            while not stop.wait(0.1):
                link.sendall(b" ")

    with contextlib.ExitStack() as stack:
        links = [stack.enter_context(connected(broker)) for _ in range(2 * HANDLERS)]
        drippers = [threading.Thread(target=drip, args=(link,)) for link in links]
        for thread in drippers:
            thread.start()
        try:
            assert still_works(broker, log)
        finally:
            stop.set()
            for thread in drippers:
                thread.join()


def test_clients_that_hang_up_anywhere_leave_nothing_behind(start: StartBroker, log: Log) -> None:
    broker = start()
    content = line_of(AskScore(limit=1, size=500)) + answers({"q3": "x"})
    for length in (0, 1, 10, len(content) - 3):
        with connected(broker) as link:
            link.sendall(content[:length])
    assert still_works(broker, log)
    patience_s = time.monotonic() + 60
    while left := list(broker.folder.glob("posted-*")):  # the last handler may be at its end yet
        assert time.monotonic() < patience_s, left
        time.sleep(0.01)


def test_a_client_that_leaves_before_its_score_costs_nobody_else_anything(
    start: StartBroker, log: Log
) -> None:
    broker = start()
    body = answers({"q3": "x"})
    for _ in range(5):
        with connected(broker) as link:
            link.sendall(line_of(AskScore(limit=1, size=len(body))) + body)
    assert still_works(broker, log)


def test_more_connections_than_are_read_at_once_are_all_answered(
    start: StartBroker, log: Log
) -> None:
    broker = start()
    replies: list[object] = []

    def ask() -> None:
        body = answers({"q3": ANSWERS["q3"]})
        replies.append(reply_to(broker, line_of(AskScore(limit=1, size=len(body))) + body)["value"])

    threads = [threading.Thread(target=ask) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert replies == [1.0] * 12


def test_a_bound_on_one_scoring_is_kept_by_the_kernel_alone(
    start: StartBroker, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pattern that runs away holds the interpreter, so nothing in it could end the scoring."""
    alarms: list[int] = []
    monkeypatch.setattr(signal, "alarm", alarms.append)
    broker = start(patience=replace(PATIENCE, scoring_s=77))
    assert still_works(broker, log)
    assert alarms == [77, 0]
    assert signal.getsignal(signal.SIGALRM) == signal.SIG_DFL


def test_scorings_begin_with_a_pause_between_them(
    start: StartBroker, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    broker = start(patience=replace(PATIENCE, pause_s=50.0))
    monkeypatch.setattr(broker.server._closing, "wait", lambda s: bool(waits.append(s)))
    assert all(still_works(broker, log) for _ in range(3))
    assert waits[0] == 0.0
    assert all(40.0 < wait <= 50.0 for wait in waits[1:])


def test_a_socket_that_a_dead_broker_left_is_replaced(start: StartBroker, log: Log) -> None:
    first = start()
    first.server.__exit__()
    assert first.socket.exists()
    first.socket.with_name("s.new").touch()  # of one that died just when it began
    assert still_works(start(), log)


def test_a_broker_that_closes_leaves_nobody_waiting(start: StartBroker) -> None:
    broker = start(patience=replace(PATIENCE, head_s=60.0, silence_s=60.0))
    with connected(broker) as link:
        link.sendall(b"half a que")
        broker.server.__exit__()
        with contextlib.suppress(ConnectionResetError):  # of what was not read
            assert link.recv(10) == b""
    assert not any(thread.is_alive() for thread in broker.server._threads)


def test_a_full_disk_is_the_brokers_own_failure(
    start: StartBroker, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: BrokerServer, *_: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(BrokerServer, "_read_body", full)
    broker = start()
    body = answers({"q3": "x"})
    reply = reply_to(broker, line_of(AskScore(limit=1, size=len(body))) + body)
    assert reply["reason"] == "the broker failed; the operator's log says why"
    assert broker.calls()[-1].reason == "OSError: [Errno 28] No space left on device"


RUNAWAY = """
import sys, re, tempfile
from dataclasses import replace
from pathlib import Path
from ptb_core.broker.calls import CallLog
from ptb_core.broker.scoring import Scorer
from ptb_core.broker.server import BrokerServer
from ptb_core.evaluation.checking import Runners
from ptb_core.evaluation.exchange import DataDir
from ptb_core.evaluation.protocol import PROTOCOLS
from tests.broker.conftest import PATIENCE, Riddles, riddles_spec

class Pattern(Riddles):
    def score(self, sample, completions, scoring):
        re.match("(a+)+$", completions[0].text)

folder, data = map(Path, sys.argv[1:])
scorer = Scorer(
    task=Pattern(riddles_spec()), data=DataDir(files={"test": data}), protocol=PROTOCOLS["strict"],
    runners=Runners, folder=folder, log=CallLog(folder / "calls.jsonl"), most_calls=None,
    answers_outside=False,
)
with BrokerServer(folder / "s", scorer, replace(PATIENCE, scoring_s=1)):
    print("ready", flush=True)
    sys.stdin.read()
"""


@pytest.mark.slow
def test_a_completion_on_which_a_pattern_runs_away_costs_the_broker_its_life_and_no_more(
    tmp_path: Path, data: DataDir, log: Log
) -> None:
    folder = Path(tempfile.mkdtemp(prefix="ptb-t-", dir="/tmp"))
    process = subprocess.Popen(
        [sys.executable, "-c", RUNAWAY, str(folder), str(data.file("test"))],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    client = BrokerClient(folder / "s", patience_s=0.0)
    with pytest.raises(BrokerError, match="gives no answer"):
        client.score(1, log(answers({"q3": "a" * 64 + "b"})), lambda *_: None)
    assert process.wait(60) == -signal.SIGALRM
    process.communicate()
    assert [event.event for event in read_calls(folder / "calls.jsonl")] == ["asked"]
    shutil.rmtree(folder)
