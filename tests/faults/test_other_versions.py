"""Run folders that several versions of the code have worked on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ptb_core import lock
from ptb_core.cli.main import main
from ptb_core.errors import RecordError
from ptb_core.record_store import read_record
from ptb_core.stages.context import StageContext
from ptb_core.stages.markers import read_marker_head
from ptb_core.stages.record import record

from ..core.small_run import BASE, NULL, finish, small_run
from ..plan.conftest import PLAN
from .conftest import Supervised, done

OLD = {"python": "3.11.0", "distributions": {"posttrainbench": "0.0.9", "torch": "2.0.0"}}


@pytest.fixture
def older(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], None]], None]:
    """Do something with another version of this project."""

    def run(work: Callable[[], None]) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(lock, "software", lambda: OLD)
            work()

    return run


def recorded(cell: Supervised) -> dict[str, Any]:
    cell.supervise(judge=done, record=record)
    return dict(read_record(cell.folder.record).lock)


def test_a_cell_that_another_version_began_is_continued_and_its_record_says_so(
    supervised: Supervised, older: Callable[[Callable[[], None]], None]
) -> None:
    older(lambda: supervised.supervise(judge=done))
    found = recorded(supervised)
    assert supervised.calls == ["judge-1", "record-1"]
    assert found["software"] == json.loads(json.dumps(lock.software()))
    assert list(found["other_software"]) == ["judge"]
    assert found["other_software"]["judge"]["software"] == OLD
    assert "scaffold/null" in found["other_software"]["judge"]["components"]


def test_a_plugin_of_another_version_or_manifest_is_noted_by_stage(
    supervised: Supervised, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        other = {"judge/lineage": {"distribution": "d", "version": "7", "manifest_sha256": "0"}}
        patch.setattr(lock, "components", lambda *_: other)
        supervised.supervise(judge=done)
    found = recorded(supervised)
    assert found["other_software"]["judge"]["components"] == other
    assert found["components"]["judge/lineage"]["distribution"] == "posttrainbench"


def test_a_cell_that_one_version_did_throughout_notes_no_other(supervised: Supervised) -> None:
    supervised.supervise(judge=done)
    assert recorded(supervised)["other_software"] == {}


def test_a_marker_that_does_not_say_is_not_claimed_for_the_present_version(
    supervised: Supervised,
) -> None:
    supervised.supervise(judge=done)
    marker = supervised.folder.marker("judge")
    document = json.loads(marker.read_bytes())
    del document["software"], document["components"]
    marker.write_text(json.dumps(document), "utf-8")
    assert recorded(supervised)["other_software"] == {"judge": None}


def test_a_marker_says_what_did_the_stage(supervised: Supervised) -> None:
    supervised.supervise(judge=done)
    head = read_marker_head(supervised.folder.marker("judge"))
    assert head is not None
    assert head.software == json.loads(json.dumps(lock.software()))
    assert head.components["task/errands"]["distribution"] == "posttrainbench"


def test_a_stage_marker_of_a_newer_version_is_refused_and_nothing_is_repeated(
    supervised: Supervised,
) -> None:
    supervised.supervise(judge=done)
    marker = supervised.folder.marker("judge")
    document = json.loads(marker.read_bytes())
    marker.write_text(json.dumps({**document, "schema_version": 2}), "utf-8")

    def never(_context: StageContext) -> object:
        raise AssertionError("nothing may run")

    with pytest.raises(RecordError) as caught:
        supervised.supervise(judge=never)
    assert str(caught.value) == (
        f"{marker}: schema_version 2; this version of ptb reads 1; use the version that wrote it"
    )


@pytest.mark.parametrize("command", ["run", "status", "leaderboard", "cancel", "cell"])
def test_a_run_folder_of_a_newer_version_is_refused_by_every_command(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = small_run(tmp_path)
    finish(run, run.open().cell(BASE))
    record_before = run.cell(BASE).record.read_bytes()
    document = json.loads(run.head.read_bytes())
    run.head.write_text(json.dumps({**document, "schema_version": 2, "new": 1}), "utf-8")
    head_before = run.head.read_bytes()
    arguments = {
        "run": ["run", "--plan", str(tmp_path / "plan.json"), "--run-dir", str(run.path)],
        "cell": ["cell", str(run.path), NULL],
    }
    assert main(arguments.get(command, [command, str(run.path)])) == 1
    assert capsys.readouterr().err == (
        f"ptb: {run.head}: schema_version 2; this version of ptb reads 1; use the version that "
        "wrote it\n"
    )
    assert (run.head.read_bytes(), run.cell(BASE).record.read_bytes()) == (
        head_before,
        record_before,
    )


def test_a_program_that_changed_is_another_agent_and_not_mixed_into_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = small_run(tmp_path)
    (tmp_path / "agent.py").write_text("print('another')", "utf-8")
    arguments = ["run", "--plan", str(tmp_path / "plan.json"), "--run-dir", str(run.path)]
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert f"ptb: {run.path} belongs to plan {PLAN['name']!r} (" in said
    assert said.endswith(
        "a run keeps its plan: name another folder with --run-dir, or restore the plan, its "
        "programs and plugins\n"
    )
