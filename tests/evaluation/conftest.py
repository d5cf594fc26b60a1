"""A command line in this process, on a scripted server and without a sandbox."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from scripted_server import ScriptedServer
from standing_alone import Answers, NoSandbox, ScriptedEngine

from ptb_core.catalogue import Catalogue
from ptb_core.cli.main import main

Ptb = Callable[..., tuple[int, str, str]]


@pytest.fixture
def scripted_engine() -> ScriptedEngine:
    return ScriptedEngine()


@pytest.fixture
def sandbox() -> NoSandbox:
    return NoSandbox()


@pytest.fixture
def ptb(
    scripted_engine: ScriptedEngine,
    sandbox: NoSandbox,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Ptb:
    """Run the command line in this process; return exit code, output and diagnostics."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Catalogue, "engine", lambda self, name: scripted_engine)
    monkeypatch.setattr(Catalogue, "sandbox", lambda self, name: sandbox)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        try:
            code: Any = main([str(argument) for argument in arguments])
        except SystemExit as left:
            code = left.code
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def answering(scripted_engine: ScriptedEngine) -> Callable[[Answers], Any]:
    """Let the engine's server answer in some way for the length of a block."""

    @contextmanager
    def serve(answers: Answers) -> Iterator[ScriptedServer]:
        with ScriptedServer(lambda _, body: answers(body)) as server:
            scripted_engine.server = server
            yield server

    return serve
