"""The interfaces that plugins implement, each with its contract and a smallest example.

``__init__(spec)`` is fixed for all kinds. Implementations hold no state besides their spec, so
that core may build them anew in another process at any time.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, Literal, TypeVar

from ptb_core.evaluation.checks import Check, GraderCheck
from ptb_core.evaluation.exchange import (
    Completion,
    DataDir,
    Request,
    Sample,
    SampleScore,
    TaskScore,
    TestItem,
)
from ptb_core.integrity import Evidence, Verdict
from ptb_core.sandboxing import (
    Command,
    Limits,
    ProcessHandle,
    ProcessStatus,
    SandboxFacts,
    SandboxRequest,
    SessionHandle,
    SessionStatus,
    Stream,
)
from ptb_core.specs import (
    CellSpec,
    Condition,
    EngineSpec,
    ExecutorSpec,
    JsonValue,
    JudgeSpec,
    ModelSpec,
    RequestKind,
    SandboxSpec,
    ScaffoldSpec,
    Scoring,
    TaskSpec,
)
from ptb_core.traces import Trace

SpecT = TypeVar("SpecT")


class Component(ABC, Generic[SpecT]):
    """What all kinds share: a spec, and a word on whether this machine can use it."""

    def __init__(self, spec: SpecT) -> None:
        self.spec = spec

    def unusable_reason(self) -> str | None:
        """Return why this component cannot be used on this machine, or None when it can.

        Cheap (no heavy import, no network, under 10 ms): it fills the "usable" column of
        ``ptb list``. The sentence says what to install or do.
        """
        return None


# Tasks ----------------------------------------------------------------------------------------


class Task(Component[TaskSpec]):
    """What is to be improved on.

    All methods are pure functions of their arguments and run on the trusted side. Smallest
    example::

        class Capitals(Task):
            def samples(self, data):
                rows = map(json.loads, data.file("test").read_text("utf-8").splitlines())
                return [Sample(id=r["id"], input={"q": r["q"]}, target=r["a"]) for r in rows]

            def requests(self, sample, requests):
                return (ChatRequest(messages=({"role": "user", "content": sample.input["q"]},)),)

            def score(self, sample, completions, scoring):
                text = (completions[0].text or "").strip()
                return SampleScore(id=sample.id, value=float(text == sample.target), answer=text)

            def aggregate(self, scores, scoring):
                return mean_and_stderr(scores)
    """

    @abstractmethod
    def samples(self, data: DataDir) -> Sequence[Sample]:
        """Return all test samples in the published order, answers included.

        Raises:
            DataError: If a file lacks what the task needs.
        """

    def order(self, samples: Sequence[Sample], limit: int | None) -> Sequence[Sample]:
        """Return the samples to evaluate under a limit; the first ``limit`` by default."""
        return samples if limit is None else samples[:limit]

    @abstractmethod
    def requests(self, sample: Sample, requests: RequestKind) -> tuple[Request, ...]:
        """Return what the model is asked for this sample; usually one request."""

    def shots(self, data: DataDir) -> Sequence[str]:
        """Return worked examples for few-shot baselines, best first; none by default.

        Each is a question with its answer as text. Only data that agents may train on may be
        shown.
        """
        return ()

    @abstractmethod
    def score(
        self, sample: Sample, completions: Sequence[Completion], scoring: Scoring
    ) -> SampleScore:
        """Score one sample; ``completions`` are in the order of its requests.

        Never raises on any completion: model output is hostile input. A task with checks finds
        their results in each completion's ``checks``; where one is absent it returns a score
        with the mark ``unchecked``, which never counts.
        """

    def checks(self, sample: Sample, completion: Completion) -> tuple[Check, ...]:
        """Return what core must find out about a completion before ``score``; none by default.

        Pure, never raises on any completion. Tasks with programs declare ``execute`` in their
        manifest's ``needs``, tasks with questions to a grader ``grader``.
        """
        return ()

    def accepts(self, sample: Sample, check: GraderCheck, reply: str) -> bool:
        """Say whether a grader's reply holds a verdict; one that does not is asked for again."""
        return True

    def wording_faults(self, text: str) -> tuple[str, ...]:
        """Return why the grader cannot be asked in a wording that a plan names; none by default.

        Sentences such as ``it must hold {answer} exactly once``. Asked when a plan is read,
        before there is any data; ``samples`` finds the same text under ``GRADER_PROMPT``.
        """
        return ()

    @abstractmethod
    def aggregate(self, scores: Sequence[SampleScore], scoring: Scoring) -> TaskScore:
        """Return value, standard error, n and breakdowns over at least one sample."""

    def contamination_items(self, data: DataDir) -> Iterable[TestItem]:
        """Return what judges search for, and the texts that are allowed.

        The default takes each sample's ``input["question"]`` where it is a string.
        """
        for sample in self.samples(data):
            question = sample.input.get("question")
            if isinstance(question, str):
                yield TestItem(id=sample.id, text=question)


# Scaffolds ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class CellContext:
    """What a scaffold is told about the cell; all paths are inside the sandbox.

    Attributes:
        cell: The cell.
        prompt: The whole prompt.
        settings: The agent's settings, defaults filled in, paths absolute on the host.
        workspace: Working directory; ``final_model/`` is expected below it.
        home: Home directory, private to the agent.
        base_model: Folder of the base model, read-only.
        deadline_unix_s: When the guardian ends everything.
        gateway_url: Loopback URL of the gateway's relay, or None when the agent needs none.
    """

    cell: CellSpec
    prompt: str
    settings: Mapping[str, JsonValue]
    workspace: str
    home: str
    base_model: str
    deadline_unix_s: float
    gateway_url: str | None = None


class Scaffold(Component[ScaffoldSpec]):
    """A CLI agent program: how it is installed, started and read.

    Starts nothing itself; core runs the commands it returns. Smallest example::

        class Echo(Scaffold):
            def start(self, cell):
                return Command(argv=("sh", "-c", "echo hello"))

            def read_trace(self, stream):
                return Trace(events=tuple(TraceEvent(kind="output", text=b.decode("utf-8",
                    "replace")) for b in stream))
    """

    def install(self) -> tuple[Command, ...]:
        """Return commands that install the pinned program into an image; none by default."""
        return ()

    @abstractmethod
    def start(self, cell: CellContext) -> Command:
        """Return the command that starts the agent.

        Raises:
            PtbError: If the settings name something that is not there.
        """

    def resume(self, cell: CellContext, session_id: str, prompt: str) -> Command | None:
        """Return the command that continues an ended session, or None when it cannot."""
        return None

    @abstractmethod
    def read_trace(self, stream: Iterable[bytes]) -> Trace:
        """Read the program's standard output, line by line; never raises on any bytes."""


# Sandboxes ------------------------------------------------------------------------------------


class Session(ABC):
    """A live sandbox. All methods may be called from any supervisor that is attached.

    Raises (all methods): SandboxLostError if the guardian is gone; whatever ran inside has then
    been stopped as far as it can be found.
    """

    @property
    @abstractmethod
    def handle(self) -> SessionHandle:
        """JSON-able handle for :meth:`Sandbox.attach`."""

    @abstractmethod
    def inside(self, name: str) -> str:
        """Return the inside path of ``workspace``, ``home``, ``tmp`` or a mount by its name.

        Raises:
            KeyError: If there is no such name.
        """

    @abstractmethod
    def socket(self, name: str) -> tuple[Path, str]:
        """Return (host path, inside path) of a unix socket that both sides can reach.

        The file does not exist until somebody binds it. Host paths are short enough for
        ``sockaddr_un`` (under 100 bytes).
        """

    @abstractmethod
    def start(self, command: Command) -> ProcessHandle:
        """Start a command and return at once.

        Raises:
            SandboxError: If the session is frozen or killed. A program that cannot be executed
                is no error here: it exits with 127 (not found) or 126 (not executable) and says
                so on its standard error.
        """

    def processes(self) -> tuple[ProcessHandle, ...]:
        """Return the commands started so far, oldest first, whoever started them.

        Lets a supervisor find what another had started and was killed before it could note it.
        The default knows of none: such a session then counts as lost.
        """
        return ()

    @abstractmethod
    def poll(self, process: ProcessHandle) -> ProcessStatus:
        """Return how a command stands; never blocks."""

    @abstractmethod
    def wait(self, process: ProcessHandle, timeout_s: float | None = None) -> ProcessStatus:
        """Wait until a command has exited or ``timeout_s`` is over; return how it stands."""

    @abstractmethod
    def logs(self, process: ProcessHandle, stream: Stream = "stdout", since: int = 0) -> bytes:
        """Return what the command wrote from byte ``since`` on; complete once it has exited."""

    @abstractmethod
    def signal(self, process: ProcessHandle, number: int) -> None:
        """Send a signal to the command itself; nothing happens when it has exited."""

    @abstractmethod
    def stop(self, process: ProcessHandle) -> None:
        """Kill a command's whole process tree, detached children included."""

    @abstractmethod
    def freeze(self) -> SessionStatus:
        """Stop every process inside where it stands, hash the sealed paths; idempotent."""

    @abstractmethod
    def kill(self) -> None:
        """End every process inside; idempotent. Files stay."""

    @abstractmethod
    def close(self) -> None:
        """Kill, end the guardian, remove sockets and private temporary files; idempotent."""

    @abstractmethod
    def put(self, source: Path, target: str) -> None:
        """Copy a host file or folder to a path relative to the workspace.

        Raises:
            FileNotFoundError: If the source is missing.
            SandboxError: If the target leaves the workspace.
        """

    @abstractmethod
    def get(self, source: str, target: Path) -> None:
        """Copy a file or folder from below the workspace to the host; links are not followed.

        Raises:
            FileNotFoundError: If the source is missing.
            SandboxError: If the source leaves the workspace.
        """

    def writable_places(self) -> Mapping[str, Path]:
        """Return host folders that the inside could write to besides its workspace, by name.

        They are evidence: call it after :meth:`kill` and before :meth:`close`.
        """
        return {}

    @abstractmethod
    def status(self) -> SessionStatus:
        """Return how the session stands, deadline included."""

    @abstractmethod
    def facts(self) -> SandboxFacts:
        """Return what really separates the inside from the host."""


class Sandbox(Component[SandboxSpec]):
    """Where untrusted things run.

    Contract: nothing that runs inside outlives ``kill`` or the deadline; the deadline holds when
    every supervisor is dead; processes of other users, sessions and cells are never touched.
    """

    def obstacles(
        self, condition: Condition, limits: Limits, settings: Mapping[str, JsonValue]
    ) -> tuple[str, ...]:
        """Return why this machine cannot give what a plan's condition asks for; empty if it can.

        Called before anything is started. One sentence each: what is missing and what to do.
        """
        return ()

    def execute_obstacles(self, settings: Mapping[str, JsonValue]) -> tuple[str, ...]:
        """Return why this machine cannot separate programs that a model wrote; empty if it can.

        Called, before anything is started, for plans whose tasks run such programs: in sessions
        of role ``execute``, without network, apart from the host's processes and files.
        """
        return ()

    @abstractmethod
    def open(self, request: SandboxRequest) -> Session:
        """Open a session.

        Until its first command is started nobody else can know of it, so it ends by itself when
        the process that opened it ends.

        Raises:
            SandboxError: If it cannot be opened; nothing is left behind.
        """

    @abstractmethod
    def attach(self, handle: SessionHandle) -> Session:
        """Attach to a live session.

        Raises:
            SandboxLostError: If its guardian is gone.
            SandboxElsewhereError: If it was opened where this process cannot see it; the cell
                then waits for a supervisor there, or for the deadline.
        """


# Engines --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeRequest:
    """What an engine must serve; paths are inside the session.

    Attributes:
        checkpoint: Folder of the checkpoint (safetensors).
        tokenizer: Folder whose tokenizer data is used (the submission's or the base model's).
        generation_config: Folder whose generation_config.json gives default sampling and end
            tokens, or None for none.
        chat_template: Path of the Jinja chat template; always ours.
        model: The base model's spec.
        max_context_tokens: Longest prompt plus answer.
        template_date: ISO date that templates print as today's; None for the real date.
        settings: The plan's settings of this engine, defaults filled in.
    """

    checkpoint: str
    tokenizer: str
    generation_config: str | None
    chat_template: str
    model: ModelSpec
    max_context_tokens: int
    template_date: str | None = None
    settings: Mapping[str, JsonValue] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A ready server.

    Attributes:
        socket: Host path of the unix socket speaking OpenAI HTTP.
        process: The server's process in its session.
        model_name: Value for the requests' ``model`` field.
        batch_size: Size of fixed batches, or None when the server batches as it likes.
        max_in_flight: Most requests the evaluator may have open; None for no bound.
        facts: What the record keeps of the server: versions, device, number type.
    """

    socket: Path
    process: ProcessHandle
    model_name: str
    batch_size: int | None = None
    max_in_flight: int | None = None
    facts: Mapping[str, JsonValue] = field(default_factory=dict)


class Engine(Component[EngineSpec]):
    """Serves a checkpoint inside a session of role serve.

    The server speaks ``POST /v1/chat/completions``, ``POST /v1/completions`` (with ``echo`` and
    ``logprobs`` when ``log_probabilities`` is declared) and ``GET /health``.
    """

    def obstacles(self, settings: Mapping[str, JsonValue]) -> tuple[str, ...]:
        """Return why this machine cannot serve with a plan's settings; empty if it can.

        Called before anything is started, unless servers run in an image. One sentence each: what
        is missing and what to do.
        """
        return ()

    def host_folders(self, settings: Mapping[str, JsonValue]) -> tuple[Path, ...]:
        """Return folders of this machine that the server reads, such as an environment of its own.

        Core shows them to the session, read-only, unless servers run in an image.
        """
        return ()

    @abstractmethod
    def serve(self, request: ServeRequest, session: Session) -> Endpoint:
        """Start the server and return when it is ready.

        Raises:
            CheckpointError: If the checkpoint itself cannot be loaded.
            EngineError: If the server died or did not become ready for any other reason.
        """

    def why_ended(self, endpoint: Endpoint, session: Session) -> str:
        """Return in a few words why a server that had been ready has ended; empty if not known."""
        return ""


# Judges ---------------------------------------------------------------------------------------


class Judge(Component[JudgeSpec]):
    """Decides on integrity from evidence alone.

    Fail-closed: what could not be looked at makes the verdict ``inconclusive``, never ``clean``.
    A judge that raises counts as inconclusive.
    """

    @abstractmethod
    def judge(self, evidence: Evidence, settings: Mapping[str, JsonValue]) -> Verdict:
        """Return the verdict; reads only what ``evidence`` points to."""


# Executors ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """What a cell needs.

    Attributes:
        gpus: Number of GPUs.
        cpus: Number of processors.
        memory_gib: Memory.
        hours: Longest wall-clock time of the whole cell.
    """

    gpus: int
    cpus: float
    memory_gib: float
    hours: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CellCommand:
    """The supervisor's command line for one cell.

    Attributes:
        cell: The cell's id.
        argv: The command line.
        log: Host file that takes its output.
    """

    cell: str
    argv: tuple[str, ...]
    log: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class JobHandle:
    """A submitted job; JSON-able.

    Attributes:
        executor: Name of the executor.
        id: The executor's own id of the job.
        data: What else it needs to find the job again.
    """

    executor: str
    id: str
    data: Mapping[str, JsonValue] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobStatus:
    """How a job stands; ``reason`` explains ``failed`` in one sentence."""

    state: Literal["queued", "running", "ended", "failed"]
    exit_code: int | None = None
    reason: str = ""


class Executor(Component[ExecutorSpec]):
    """Where cells are placed. Jobs outlive the command line that submitted them."""

    @abstractmethod
    def submit(
        self, command: CellCommand, resources: Resources, settings: Mapping[str, JsonValue]
    ) -> JobHandle:
        """Submit a supervisor and return at once.

        Raises:
            PtbError: If it cannot be submitted.
        """

    @abstractmethod
    def poll(self, job: JobHandle) -> JobStatus:
        """Return how a job stands; a job that cannot be found any more has ``ended``."""

    @abstractmethod
    def cancel(self, job: JobHandle) -> None:
        """Ask a job to end in order (SIGTERM or the like); idempotent."""

    def slots(self, settings: Mapping[str, JsonValue]) -> int | None:
        """Return how many cells may be placed at once; None leaves queueing to the executor."""
        return None
