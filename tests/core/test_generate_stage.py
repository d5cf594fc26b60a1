"""generate: what it leaves behind when it loses the cell or the disk."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from ptb_core.atomic import write_json
from ptb_core.errors import ClaimLostError, SandboxElsewhereError, SandboxLostError
from ptb_core.evaluation.completion_log import CompletionLog
from ptb_core.evaluation.exchange import ChatRequest, Completion, Sample
from ptb_core.evaluation.protocol import PAPER_V1, STRICT
from ptb_core.evaluation.questions import Question
from ptb_core.run_folder import CellFolder, RunFolder
from ptb_core.sandboxing import SandboxRequest, SessionHandle
from ptb_core.specs import ProtocolSpec
from ptb_core.stages import generate as generate_stage
from ptb_core.stages.context import StageContext
from ptb_core.stages.progress import progress_of

REQUEST = ChatRequest(messages=())


class OpenedSession:
    def __init__(self) -> None:
        self.handle = SessionHandle(sandbox="local", name="s", data={})
        self.closed = False

    def close(self) -> None:
        self.closed = True


def context(tmp_path: Path, session: OpenedSession | None = None, **fields: Any) -> StageContext:
    folder = CellFolder(tmp_path / "cells" / "c")
    attempt_dir = folder.attempt("generate", 1)
    attempt_dir.mkdir(parents=True)
    sandbox = SimpleNamespace(open=lambda request: session)
    model = SimpleNamespace(chat_template=str(tmp_path / "t.jinja"))
    plan = SimpleNamespace(
        condition=SimpleNamespace(gpus=0),
        sandbox=SimpleNamespace(name="local", image=None, settings={}),
        protocol=STRICT,
        engine=SimpleNamespace(name="e", settings={}),
    )
    engine = SimpleNamespace(host_folders=lambda settings: ())
    made: Any = SimpleNamespace(
        folder=folder,
        run_folder=RunFolder(tmp_path),
        run=SimpleNamespace(run_id="r", plan=plan),
        cell=SimpleNamespace(id="c", model="m"),
        catalogue=SimpleNamespace(
            model=lambda name: model, sandbox=lambda name: sandbox, engine=lambda name: engine
        ),
        attempt=1,
        fence=1,
        attempt_dir=attempt_dir,
        stopping=threading.Event(),
        raise_if_stopping=lambda: None,
        check_claim=lambda: None,
        result=lambda stage, kind: SimpleNamespace(base_model=tmp_path, data_files={}),
        **fields,
    )
    return cast(StageContext, made)


def test_a_supervisor_that_lost_its_claim_stops_writing_to_the_log(tmp_path: Path) -> None:
    """Its successor appends to the same log of completions."""
    here: Any = context(tmp_path)

    def lost() -> None:
        raise ClaimLostError("taken")

    report = progress_of(here, "generate")
    report(1, 2)
    here.check_claim = lost
    with pytest.raises(ClaimLostError, match="taken"):
        report(2, 2)


def test_a_session_whose_handle_cannot_be_kept_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = OpenedSession()
    here = context(tmp_path, session)
    write_json = generate_stage.write_json

    def full(path: Path, value: object) -> None:
        if path.name == "live.json":
            raise OSError(28, "No space left on device")
        write_json(path, value)

    monkeypatch.setattr(generate_stage, "write_json", full)
    with pytest.raises(OSError, match="No space left"):
        generate_stage._open(here, tmp_path)
    assert session.closed


@pytest.mark.parametrize(
    ("protocol", "n_rounds"),
    [(PAPER_V1, 1), (STRICT, 1), (replace(STRICT, seeds=(3, 4, 5)), 3)],
)
def test_a_server_may_run_for_8_hours_per_seed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, protocol: ProtocolSpec, n_rounds: int
) -> None:
    opened: list[SandboxRequest] = []

    def remember(request: SandboxRequest) -> OpenedSession:
        opened.append(request)
        return OpenedSession()

    here: Any = context(tmp_path)
    here.run.plan.protocol = protocol
    here.catalogue.sandbox = lambda name: SimpleNamespace(open=remember)
    here.folder.stage("generate").mkdir(parents=True, exist_ok=True)
    before = time.time()
    generate_stage._open(here, tmp_path)
    hours_s = n_rounds * 8 * 3600
    assert before + hours_s <= opened[0].deadline_unix_s <= time.time() + hours_s


@pytest.mark.parametrize(
    ("answered", "seed", "waiting"),
    [
        ({}, 5, "abc"),
        ({1: "ab"}, 5, "c"),
        ({1: "abc"}, 9, "abc"),
        ({1: "abc", 2: "b"}, 9, "ac"),
        ({1: "abc", 2: "abc"}, 5, "abc"),
    ],
)
def test_the_control_asks_what_has_no_answer_in_the_round_that_failed(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    answered: dict[int, str],
    seed: int,
    waiting: str,
) -> None:
    samples = [Sample(id=name, input={}, target="") for name in "abc"]
    monkeypatch.setattr(generate_stage, "_samples", lambda _: samples)
    here: Any = context(tmp_path)
    here.earlier_attempt = lambda stage: 0
    here.run.plan.protocol = replace(STRICT, seeds=(5, 9))
    for number, names in answered.items():
        with CompletionLog(here.folder.stage("generate") / "completions.jsonl", number) as log:
            for name in names:
                log.append(
                    Question(sample=name, call=0, calls=1, request=REQUEST, body={}, digest=""),
                    Completion(text="7"),
                )
    protocol, found = generate_stage._unanswered(here)
    assert (protocol.seeds, "".join(one.id for one in found)) == ((seed,), waiting)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (SandboxLostError("gone"), "the earlier server was already gone"),
        (
            SandboxElsewhereError("far"),
            "the earlier server is on another host and nobody asks it",
        ),
    ],
)
def test_an_earlier_server_that_cannot_be_ended_hinders_nobody(
    tmp_path: Path, error: Exception, words: str
) -> None:
    def attach(_handle: SessionHandle) -> OpenedSession:
        raise error

    notes: list[str] = []
    here: Any = context(tmp_path, note=lambda stage, text: notes.append(text))
    here.catalogue.sandbox = lambda name: SimpleNamespace(attach=attach)
    stage = here.folder.stage("generate")
    live = generate_stage.LiveServer(session=OpenedSession().handle, folder=str(stage))
    write_json(stage / "live.json", live)
    generate_stage._end_earlier_session(here)
    assert notes == [words]
