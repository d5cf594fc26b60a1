"""solve: the agent works until it ends or the deadline; then everything in its sandbox is dead.

The agent's session outlives this supervisor. Its handle is durable before the agent starts, so a
later supervisor attaches to the same agent and waits on; nothing is repeated. When the sandbox
itself is lost, the attempt is over and the next one starts from nothing.
"""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from ptb_core.atomic import write_json
from ptb_core.broker.calls import CALLS
from ptb_core.broker.keeper import brokered
from ptb_core.broker.messages import SOCKET_NAME, SOCKET_VARIABLE
from ptb_core.broker.process import FOLDER as DEVELOPMENT
from ptb_core.disk.faults import disk_fault
from ptb_core.disk.needs import solve_need
from ptb_core.disk.waiting import wait_for_room
from ptb_core.errors import (
    ClaimLostError,
    SandboxElsewhereError,
    SandboxError,
    SandboxLostError,
)
from ptb_core.evaluation.dev_modes import is_scored_outside
from ptb_core.evaluation.workspace import lay_harness
from ptb_core.evidence import collect_workspace
from ptb_core.gpus import gpus_of_condition
from ptb_core.hidden import hidden_paths
from ptb_core.integrity import HarnessFile
from ptb_core.interfaces import CellContext, Scaffold, Session
from ptb_core.prompt import render_prompt
from ptb_core.records import Solve
from ptb_core.sandboxing import (
    Command,
    Mount,
    ProcessHandle,
    ProcessStatus,
    SandboxRequest,
    SessionHandle,
    SessionStatus,
)
from ptb_core.sizes import in_words
from ptb_core.specs import AgentSpec
from ptb_core.stages.context import Prepared, Solved, StageContext
from ptb_core.stages.live import read_live
from ptb_core.stages.prepare import data_dir_of
from ptb_core.traces import OutcomeKind, Trace

POLL_S = 0.5
ELSEWHERE_S = 600.0
"""A sandbox on another host that left no seal this long after its deadline has died with it."""
SUBMISSION = "final_model"
OUTSIDE_WORKSPACE = "outside-workspace"
"""Folder of the attempt, and of the evidence, for what the agent wrote elsewhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveAgent:
    """What is needed to find the agent again; ``live.json`` in the attempt's folder."""

    session: SessionHandle
    process: ProcessHandle | None
    started_unix_s: float
    deadline_unix_s: float
    harness: tuple[HarnessFile, ...]
    prompt: str
    folder: str = ""


def solve(context: StageContext) -> Solved:
    """Start the agent, or attach to the one that runs, and wait until it has ended.

    Raises:
        SandboxLostError: If the sandbox was lost; the attempt cannot be continued.
        SandboxElsewhereError: If the agent works on another host.
        CellStoppedError: If the supervisor was asked to stop; the agent is then ended.
    """
    found = find_live(context.attempt_dir)
    if found is None:
        session, live = _begin(context)
    else:
        session, live = _attach(context, found)
    try:
        solved = _follow(context, session, live)
    except ClaimLostError:
        raise  # the agent now belongs to another supervisor: leave it alone
    except BaseException as error:
        if disk_fault(error) is None:  # else a later supervisor finds the session and goes on
            session.close()
        raise
    session.close()
    return solved


def _follow(context: StageContext, session: Session, live: LiveAgent) -> Solved:
    assert live.process is not None
    with brokered(context, session) as look:
        process = _wait(context, session, live.process, look)
    status = _freeze(session)
    session.kill()
    return _conclude(context, session, live, process, status)


def find_live(attempt_dir: Path) -> LiveAgent | None:
    """Return the agent that an earlier supervisor started in this attempt, if it did.

    Raises:
        RecordError: If what it left is damaged.
    """
    return read_live(attempt_dir / "live.json", LiveAgent, "agent")


def _attach(context: StageContext, live: LiveAgent) -> tuple[Session, LiveAgent]:
    sandbox = context.catalogue.sandbox(context.run.plan.sandbox.name)
    try:
        session = sandbox.attach(live.session)
    except SandboxElsewhereError as error:
        if time.time() < live.deadline_unix_s + ELSEWHERE_S:
            raise  # the agent may still be working there
        raise SandboxLostError(f"{error}; its deadline has passed and it left no seal") from error
    if live.process is None:
        live = _adopt(context, session, live)
    context.note("solve", "attached to the agent that was already running")
    return session, live


def _adopt(context: StageContext, session: Session, live: LiveAgent) -> LiveAgent:
    """Find the agent of a supervisor that died just when it started it.

    Raises:
        SandboxLostError: If it had not been started; the session is then ended.
    """
    started = session.processes()
    if not started:
        session.close()
        raise SandboxLostError("the supervisor died before the agent was started")
    live = replace(live, process=started[0])
    write_json(context.attempt_dir / "live.json", live)
    return live


def _begin(context: StageContext) -> tuple[Session, LiveAgent]:
    plan = context.run.plan
    prepared = context.result("prepare", Prepared)
    wait_for_room(context, "solve", solve_need(plan, context.catalogue.model(context.cell.model)))
    workspace = context.attempt_dir / "workspace"
    workspace.mkdir()
    started = time.time()
    deadline = started + plan.condition.hours * 3600
    harness = lay_harness(
        workspace,
        task=context.catalogue.task(context.cell.task),
        model=context.catalogue.model(context.cell.model),
        condition=plan.condition,
        protocol=plan.protocol,
        engine=plan.engine,
        data=data_dir_of(prepared),
        deadline_unix_s=deadline,
    )
    sandbox = context.catalogue.sandbox(plan.sandbox.name)
    session = sandbox.open(_sandbox_request(context, prepared, workspace, deadline))
    try:
        live = _start(context, session, started, deadline, harness)
    except BaseException:
        session.close()
        raise
    return session, live


def _sandbox_request(
    context: StageContext, prepared: Prepared, workspace: Path, deadline: float
) -> SandboxRequest:
    plan = context.run.plan
    return SandboxRequest(
        name=f"{context.run.run_id}-{context.cell.id}-solve-{context.attempt}",
        role="solve",
        root=context.attempt_dir / "sandbox",
        workspace=workspace,
        mounts=(Mount(name="base_model", source=prepared.base_model),),
        hidden=hidden_paths(context.run_folder.path, prepared.data_files.values()),
        network=plan.condition.network,
        devices=gpus_of_condition(plan.condition.gpus),
        limits=plan.sandbox.limits,
        deadline_unix_s=deadline,
        seal=(SUBMISSION,),
        image=plan.sandbox.image,
        settings=plan.sandbox.settings,
    )


def _start(
    context: StageContext,
    session: Session,
    started: float,
    deadline: float,
    harness: tuple[HarnessFile, ...],
) -> LiveAgent:
    cell = context.cell
    agent = _agent(context)
    plan = context.run.plan
    base_model = session.inside("base_model")
    task = context.catalogue.task(cell.task).spec
    model = context.catalogue.model(cell.model)
    prompt = render_prompt(plan.condition.prompt, task, model, plan.condition, base_model)
    live = LiveAgent(
        session=session.handle,
        process=None,
        started_unix_s=started,
        deadline_unix_s=deadline,
        harness=harness,
        prompt=prompt,
        folder=str(context.attempt_dir),
    )
    write_json(context.attempt_dir / "live.json", live)
    command = _with_broker(
        context,
        session,
        _scaffold(context).start(
            CellContext(
                cell=cell,
                prompt=prompt,
                settings=agent.settings,
                workspace=session.inside("workspace"),
                home=session.inside("home"),
                base_model=base_model,
                deadline_unix_s=deadline,
            )
        ),
    )
    context.check_claim()
    live = replace(live, process=session.start(command))
    write_json(context.attempt_dir / "live.json", live)
    return live


def _with_broker(context: StageContext, session: Session, command: Command) -> Command:
    """Tell the agent's programs where the broker is, if it needs one."""
    task = context.catalogue.task(context.cell.task).spec
    if not is_scored_outside(task, context.run.plan.condition):
        return command
    _, inside = session.socket(SOCKET_NAME)
    return replace(command, env={**command.env, SOCKET_VARIABLE: inside})


def _wait(
    context: StageContext, session: Session, process: ProcessHandle, look: Callable[[], None]
) -> ProcessStatus:
    while True:
        status = session.wait(process, timeout_s=POLL_S)
        if status.state == "exited":
            return status
        context.check_claim()
        context.raise_if_stopping()
        look()


def _freeze(session: Session) -> SessionStatus:
    status = session.status()
    if status.seal is None:
        status = session.freeze()
    if status.seal is None:
        raise SandboxError("the sandbox froze without listing the submission; this is a bug in it")
    return status


def _conclude(
    context: StageContext,
    session: Session,
    live: LiveAgent,
    process: ProcessStatus,
    status: SessionStatus,
) -> Solved:
    assert live.process is not None
    assert status.seal is not None
    stdout = _save_logs(context, session, live.process)
    _keep_other_places(context, session)
    with stdout.open("rb") as stream:
        trace = _scaffold(context).read_trace(stream)
    write_json(context.attempt_dir / "trace.json", trace)
    ended = process.ended_unix_s or status.frozen_unix_s or time.time()
    outcome, detail = classify(trace, process, status)
    return Solved(
        solve=Solve(
            outcome=outcome,
            detail=detail + _left_out(process),
            seconds=max(0.0, ended - live.started_unix_s),
            usage=trace.usage,
            exit_code=process.exit_code,
        ),
        workspace=context.attempt_dir / "workspace",
        seal=status.seal,
        harness=live.harness,
        trace=context.attempt_dir / "trace.json",
        prompt_sha256=hashlib.sha256(live.prompt.encode()).hexdigest(),
        facts=session.facts(),
        development=_calls(context),
    )


def _calls(context: StageContext) -> Path | None:
    path = context.attempt_dir / DEVELOPMENT / CALLS
    return path if path.exists() else None


def _keep_other_places(context: StageContext, session: Session) -> None:
    """Keep what the agent wrote outside its workspace: it is evidence, too.

    What an earlier supervisor has kept whole stays: it may have died while it removed the place.
    """
    for name, place in session.writable_places().items():
        target = context.attempt_dir / OUTSIDE_WORKSPACE / name
        partial = target.with_name(f".{name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        if not target.exists():
            collect_workspace(place, partial, SUBMISSION)
            partial.rename(target)


def classify(
    trace: Trace, process: ProcessStatus, status: SessionStatus
) -> tuple[OutcomeKind, str]:
    """Say how the agent ended: our own clock first, then its own word, then its exit status."""
    if status.deadline_passed or process.reason == "deadline":
        return "timeout", "stopped at the deadline"
    if process.reason == "out-of-memory":
        return "out-of-memory", "stopped because its memory limit was reached"
    if trace.outcome is not None:
        return trace.outcome, "by the program's own account"
    if process.exit_code == 0:
        return "finished", "ended by itself with exit status 0"
    return "crash", f"ended with exit status {process.exit_code} and no terminal event"


def _left_out(process: ProcessStatus) -> str:
    size = process.omitted_output_bytes
    return f"; {in_words(size)} of its output were left out" if size else ""


def _save_logs(context: StageContext, session: Session, process: ProcessHandle) -> Path:
    for stream in ("stdout", "stderr"):
        path = context.attempt_dir / f"agent.{stream}"
        with path.open("wb") as target:
            since = 0
            while chunk := session.logs(process, stream, since):
                target.write(chunk)
                since += len(chunk)
    return context.attempt_dir / "agent.stdout"


def _agent(context: StageContext) -> AgentSpec:
    agent = context.cell.agent
    assert agent is not None, "only agent cells are solved"
    return agent


def _scaffold(context: StageContext) -> Scaffold:
    return context.catalogue.scaffold(_agent(context).scaffold)
