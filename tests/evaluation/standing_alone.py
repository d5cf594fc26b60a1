"""What `ptb evaluate` needs in a test: a server that is scripted, a sandbox that is none."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from scripted_server import ScriptedServer, chat_reply

from ptb_core.data import data_dir
from ptb_core.errors import SandboxLostError
from ptb_core.evaluation.plain_session import PlainSession
from ptb_core.interfaces import Endpoint, Engine, Sandbox, ServeRequest, Session
from ptb_core.sandboxing import Command, SandboxRequest, SessionHandle
from ptb_core.specs import EngineSpec, SandboxSpec, Setting

Answers = Callable[[dict[str, Any]], tuple[int, Any]]


class ScriptedEngine(Engine):
    """Hands out a server that a test scripts."""

    def __init__(self) -> None:
        setting = Setting(name="threads", description="Number.", type="integer", default=1)
        super().__init__(EngineSpec(name="transformers", description="", settings=(setting,)))
        self.server: ScriptedServer | None = None
        self.served: list[ServeRequest] = []

    def serve(self, request: ServeRequest, session: Session) -> Endpoint:
        assert self.server is not None
        self.served.append(request)
        process = session.start(Command(argv=("sleep", "600")))
        return replace(self.server.endpoint, process=process)


class NoSandbox(Sandbox):
    """Opens sessions that separate nothing, and remembers for what."""

    def __init__(self) -> None:
        super().__init__(
            SandboxSpec(
                name="local",
                description="",
                roles=("serve", "execute"),
                network_policies=("none",),
                isolates_untrusted_code=False,
                gpus=True,
            )
        )
        self.opened: list[SandboxRequest] = []
        self.attached: list[SessionHandle] = []
        self.sessions: list[PlainSession] = []

    def open(self, request: SandboxRequest) -> Session:
        self.opened.append(request)
        paths = {mount.name: mount.source for mount in request.mounts}
        self.sessions.append(PlainSession(request.root, paths))
        return self.sessions[-1]

    def attach(self, handle: SessionHandle) -> Session:
        self.attached.append(handle)
        raise SandboxLostError("its guardian is gone")


def rows() -> list[dict[str, str]]:
    """Return the test rows of the shipped task."""
    text = (data_dir() / "embedded" / "data" / "errands" / "test.jsonl").read_text("utf-8")
    return [json.loads(line) for line in text.splitlines()]


def question_of(body: dict[str, Any]) -> str:
    question: str = body["messages"][-1]["content"].rpartition("\n")[0]
    return question


def right_for(count: int) -> Answers:
    """Answer the first rows rightly and all others with nothing."""
    answers = {row["question"]: row["answer"] for row in rows()[:count]}

    def answer(body: dict[str, Any]) -> tuple[int, Any]:
        return 200, chat_reply(f"ANSWER: {answers.get(question_of(body), 'nothing')}")

    return answer


def folder_of(tmp_path: Path) -> Path:
    """Return the only evaluation folder below ``ptb-evaluations``."""
    (found,) = (tmp_path / "ptb-evaluations").iterdir()
    return found
