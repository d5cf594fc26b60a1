"""A small task whose answers can be searched for, and a broker for it on a real socket."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import pytest

from ptb_core.broker.calls import CALLS, CallEvent, CallLog, read_calls
from ptb_core.broker.client import BrokerClient
from ptb_core.broker.scoring import Scorer
from ptb_core.broker.server import BrokerServer, Patience
from ptb_core.evaluation.checking import CheckError, Grader, Runners
from ptb_core.evaluation.checks import Check, GraderCheck, GraderResult
from ptb_core.evaluation.completion_log import LogEntry
from ptb_core.evaluation.exchange import (
    ChatRequest,
    Completion,
    DataDir,
    Sample,
    SampleScore,
    TaskScore,
)
from ptb_core.evaluation.protocol import PROTOCOLS
from ptb_core.evaluation.statistics import mean_and_stderr
from ptb_core.interfaces import Task
from ptb_core.specs import DataFile, FileSource, ProtocolSpec, RequestKind, Scoring, TaskSpec

N = 4
PATIENCE = Patience(head_s=0.5, body_s=0.8, silence_s=0.5, pause_s=0.0)
ANSWERS = {f"q{i}": f"secret-{i:04}" for i in range(N)}


class Riddles(Task):
    """Right is what equals the answer; a limit takes the last samples first."""

    asks_grader = False

    def samples(self, data: DataDir) -> Sequence[Sample]:
        rows = map(json.loads, data.file("test").read_text("utf-8").splitlines())
        return [Sample(id=r["id"], input={"q": r["q"]}, target=r["a"]) for r in rows]

    def order(self, samples: Sequence[Sample], limit: int | None) -> Sequence[Sample]:
        return samples if limit is None else samples[::-1][:limit]

    def requests(self, sample: Sample, requests: RequestKind) -> tuple[ChatRequest, ...]:
        return (ChatRequest(messages=({"role": "user", "content": sample.input["q"]},)),)

    def checks(self, sample: Sample, completion: Completion) -> tuple[Check, ...]:
        if not self.asks_grader:
            return ()
        content = f"{sample.target} = {completion.text}?"
        message = {"role": "user", "content": content}
        return (GraderCheck(name="same", messages=(message,), max_completion_tokens=8),)

    def score(
        self, sample: Sample, completions: Sequence[Completion], scoring: Scoring
    ) -> SampleScore:
        (completion,) = completions
        if completion.text == "raise":
            raise ValueError(f"the target was {sample.target}")
        if self.asks_grader:
            found = completion.checks.get("same")
            assert isinstance(found, GraderResult)
            return SampleScore(id=sample.id, value=float(found.text == "yes"))
        return SampleScore(id=sample.id, value=float(completion.text == sample.target))

    def aggregate(self, scores: Sequence[SampleScore], scoring: Scoring) -> TaskScore:
        return replace(mean_and_stderr(scores), breakdowns={"easy": 1.0}, marks={"odd": 1})


class Graded(Riddles):
    asks_grader = True


class ScriptedGrader(Grader):
    """Says yes where both sides of the question are equal; counts."""

    def __init__(self, failure: CheckError | None = None) -> None:
        self.asked: list[str] = []
        self.failure = failure

    async def ask(self, check: GraderCheck, accepts: Callable[[str], bool]) -> GraderResult:
        if self.failure is not None:
            raise self.failure
        content = str(check.messages[0]["content"])
        self.asked.append(content)
        target, _, answer = content.removesuffix("?").partition(" = ")
        return GraderResult(text="yes" if target == answer else "no")


def riddles_spec(needs: tuple[str, ...] = ()) -> TaskSpec:
    return TaskSpec(
        name="riddles",
        title="Riddles",
        description="",
        metric="accuracy",
        n_samples=N,
        max_tokens=16,
        default_limit=2,
        data=(DataFile(name="test", source=FileSource(packaged="x")),),
        needs=needs,
    )


@pytest.fixture
def data(tmp_path: Path) -> DataDir:
    path = tmp_path / "test.jsonl"
    rows = [{"id": i, "q": f"Riddle {i}\u2028?", "a": a} for i, a in ANSWERS.items()]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return DataDir(files={"test": path})


@dataclass
class Broker:
    """A broker that a test has started."""

    server: BrokerServer
    client: BrokerClient
    socket: Path
    folder: Path

    def calls(self) -> list[CallEvent]:
        return read_calls(self.folder / CALLS)


StartBroker = Callable[..., Broker]


@pytest.fixture
def start(tmp_path: Path, data: DataDir) -> Iterator[StartBroker]:
    """Start a broker; settings of the scorer and the patience may be given."""
    short = Path(tempfile.mkdtemp(prefix="ptb-t-", dir="/tmp"))
    servers: list[BrokerServer] = []
    logs: list[CallLog] = []

    def begin(
        task: Task | None = None,
        *,
        patience: Patience = PATIENCE,
        most_calls: int | None = None,
        answers_outside: bool = False,
        grader: Grader | None = None,
        protocol: ProtocolSpec = PROTOCOLS["strict"],
    ) -> Broker:
        folder = tmp_path / "development"
        folder.mkdir(exist_ok=True)
        logs.append(CallLog(folder / CALLS))
        scorer = Scorer(
            task=task or Riddles(riddles_spec()),
            data=data,
            protocol=protocol,
            runners=lambda: Runners(grader=grader),
            folder=folder,
            log=logs[-1],
            most_calls=most_calls,
            answers_outside=answers_outside,
        )
        path = short / "s"
        server = BrokerServer(path, scorer, patience)
        servers.append(server)
        server.__enter__()
        return Broker(server, BrokerClient(path, patience_s=0.0), path, folder)

    yield begin
    for server in servers:
        server.__exit__()
    for log in logs:
        log.close()
    shutil.rmtree(short)


def entry(sample: str, text: str, **fields: object) -> LogEntry:
    plain = {"id": sample, "epoch": 1, "call": 0, "calls": 1, "request": ""}
    return LogEntry(**{**plain, "completion": Completion(text=text), **fields})  # type: ignore[arg-type]


def lines(entries: Sequence[LogEntry]) -> bytes:
    return b"".join(msgspec.json.encode(one) + b"\n" for one in entries)


def answers(given: Mapping[str, str]) -> bytes:
    return lines([entry(sample, text) for sample, text in given.items()])


@pytest.fixture
def log(tmp_path: Path) -> Callable[[bytes], Path]:
    """Write a log of completions."""

    def write(content: bytes) -> Path:
        path = tmp_path / "mine.jsonl"
        path.write_bytes(content)
        return path

    return write
