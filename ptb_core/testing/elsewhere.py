"""What conformance checks do in another process: build a component anew from its spec and use it.

Run as ``python -m ptb_core.testing.elsewhere DEED``; facts come as JSON on standard input, the
answer goes as one line of JSON to standard output.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import msgspec

from ptb_core.interfaces import CellCommand, Component, Executor, JobHandle, Resources, Sandbox
from ptb_core.json_codec import from_json, to_builtins
from ptb_core.load_cost import HEAVY_MODULES
from ptb_core.manifests import SPEC_TYPES
from ptb_core.sandboxing import Command, ProcessHandle, SandboxRequest, SessionHandle
from ptb_core.specs import JsonValue, Kind
from ptb_core.testing.expectation import expect

_WATCHED = ("socket.connect", "socket.getaddrinfo", "subprocess.Popen", "os.system")
_ASKED_TIMES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Blueprint:
    """All that is needed to build a component in another process.

    Attributes:
        path: ``sys.path`` to import from.
        module: Module of its class.
        qualname: Name of its class in that module.
        kind: Its kind.
        spec: Its spec as JSON holds it.
    """

    path: tuple[str, ...]
    module: str
    qualname: str
    kind: Kind
    spec: JsonValue


@dataclass(frozen=True, slots=True, kw_only=True)
class Probed:
    """What another process saw of a component.

    Attributes:
        spec: The rebuilt component's spec, as JSON holds it.
        attributes: Names of what it holds besides its spec.
        heavy: Heavy packages that were imported.
        reason: What ``unusable_reason()`` returned, or its type's name in brackets.
        reason_s: Shortest time that ``unusable_reason()`` took.
        reached: Network addresses and programs that ``unusable_reason()`` asked for.
    """

    spec: JsonValue
    attributes: tuple[str, ...]
    heavy: tuple[str, ...]
    reason: str | None
    reason_s: float
    reached: tuple[str, ...]


def blueprint_of(component: Component[object], kind: Kind) -> Blueprint:
    """Return what another process needs to build a component like this one."""
    return Blueprint(
        path=tuple(sys.path),
        module=type(component).__module__,
        qualname=type(component).__qualname__,
        kind=kind,
        spec=to_builtins(component.spec),
    )


def rebuild(blueprint: Blueprint) -> Component[object]:
    """Build a component as core would in a new process."""
    sys.path[:] = blueprint.path
    found: object = importlib.import_module(blueprint.module)
    for name in blueprint.qualname.split("."):
        found = getattr(found, name)
    spec: object = msgspec.convert(blueprint.spec, SPEC_TYPES[blueprint.kind])
    assert isinstance(found, type)
    built = found(spec)
    assert isinstance(built, Component)
    return built


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What another process had to say.

    Attributes:
        result: The deed's result as JSON holds it.
        printed: What was printed while the deed was done.
    """

    result: msgspec.Raw
    printed: str


def do_elsewhere(deed: str, facts: object, timeout_s: float = 60) -> Answer:
    """Do a deed in a new process, with the facts it needs; see :data:`DEEDS`.

    Raises:
        BrokenPromiseError: If that process failed; its last words are in the text.
    """
    done = subprocess.run(
        [sys.executable, "-m", "ptb_core.testing.elsewhere", deed],
        input=msgspec.json.encode(to_builtins(facts)),
        capture_output=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        timeout=timeout_s,
        check=False,
    )
    lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
    expect(
        done.returncode == 0,
        f"another process must be able to build the component from its spec alone ({deed}); "
        f"it ended with status {done.returncode}: {lines[-1] if lines else '(no words)'}",
    )
    return msgspec.json.decode(done.stdout, type=Answer)


# Deeds ----------------------------------------------------------------------------------------


def probe(content: bytes) -> Probed:
    """Build a component and ask it for its ``unusable_reason()`` a few times."""
    blueprint = from_json(content, Blueprint)
    before = set(sys.modules)
    component = rebuild(blueprint)
    reached: list[str] = []
    is_asking = True

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        if is_asking and event in _WATCHED:
            reached.append(f"{event} {arguments[-1]!r:.60}")

    sys.addaudithook(watch)
    times = []
    reason: object = None
    for _ in range(_ASKED_TIMES):
        started = time.perf_counter()
        reason = component.unusable_reason()
        times.append(time.perf_counter() - started)
    is_asking = False
    imported = {name.partition(".")[0] for name in set(sys.modules) - before}
    return Probed(
        spec=to_builtins(component.spec),
        attributes=tuple(sorted(set(getattr(component, "__dict__", ())) - {"spec"})),
        heavy=tuple(sorted(imported.intersection(HEAVY_MODULES))),
        reason=reason if reason is None or isinstance(reason, str) else f"({reason!r})",
        reason_s=min(times),
        reached=tuple(dict.fromkeys(reached)),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """A session for another process to open, and what to start in it.

    Attributes:
        sandbox: The sandbox.
        request: What to open; ``deadline_unix_s`` is counted from the opening.
        deadline_s: Seconds from the opening to the deadline.
        command: What to start.
    """

    sandbox: Blueprint
    request: SandboxRequest
    deadline_s: float
    command: Command


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A session that another process opened, and the command it started."""

    session: SessionHandle
    process: ProcessHandle


def open_session(content: bytes) -> Opened:
    """Open a session and start a command in it."""
    opening = from_json(content, Opening)
    sandbox = rebuild(opening.sandbox)
    assert isinstance(sandbox, Sandbox)
    deadline = time.time() + opening.deadline_s
    session = sandbox.open(replace(opening.request, deadline_unix_s=deadline))
    return Opened(session=session.handle, process=session.start(opening.command))


@dataclass(frozen=True, slots=True, kw_only=True)
class Attaching:
    """A live session for another process to attach to, and what to run in it."""

    sandbox: Blueprint
    session: SessionHandle
    command: Command


def attach(content: bytes) -> ProcessHandle:
    """Attach to a session, run a command in it to its end and return the command's handle."""
    attaching = from_json(content, Attaching)
    sandbox = rebuild(attaching.sandbox)
    assert isinstance(sandbox, Sandbox)
    session = sandbox.attach(attaching.session)
    process = session.start(attaching.command)
    session.wait(process, 60)
    return process


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """A job for another process to submit."""

    executor: Blueprint
    command: CellCommand
    resources: Resources
    settings: dict[str, JsonValue]


def submit(content: bytes) -> JobHandle:
    """Submit a job and return its handle."""
    submission = from_json(content, Submission)
    executor = rebuild(submission.executor)
    assert isinstance(executor, Executor)
    return executor.submit(submission.command, submission.resources, submission.settings)


DEEDS: dict[str, Callable[[bytes], object]] = {
    "probe": probe,
    "open": open_session,
    "attach": attach,
    "submit": submit,
}
"""What can be done elsewhere, by the name on the command line."""


def main() -> None:
    """Do one deed; what is printed meanwhile is kept apart from the answer."""
    answer = os.dup(1)
    with tempfile.TemporaryFile() as printed:
        os.dup2(printed.fileno(), 1)
        result = DEEDS[sys.argv[1]](sys.stdin.buffer.read())
        sys.stdout.flush()
        printed.seek(0)
        text = printed.read().decode("utf-8", "replace")
    os.write(answer, msgspec.json.encode({"printed": text, "result": to_builtins(result)}))


if __name__ == "__main__":
    main()
