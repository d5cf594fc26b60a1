"""A run folder keeps its plan and refuses what is not its own."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from ptb_core.baselines import Baselines
from ptb_core.canonical import short_hash
from ptb_core.catalogue import load_catalogue
from ptb_core.errors import RecordError, UsageError
from ptb_core.plan import Plan, load_plan
from ptb_core.run_folder import CellFolder, RunFolder, plan_id

from ..plan.conftest import PLAN


def plan(tmp_path: Path, **changes: object) -> Plan:
    (tmp_path / "agent.py").write_text("", "utf-8")
    (tmp_path / "plan.json").write_text(json.dumps({**PLAN, **changes}), "utf-8")
    return load_plan(tmp_path / "plan.json", load_catalogue())


def test_the_same_plan_finds_its_run_again(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    first = folder.create(plan(tmp_path), {"python": "3"})
    again = folder.create(plan(tmp_path), {"python": "4"})
    assert again == first
    assert folder.open() == first


def test_another_plan_or_an_edited_program_is_refused(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.create(plan(tmp_path), {})
    with pytest.raises(UsageError, match=r"belongs to plan 'small' .* a run keeps its plan"):
        folder.create(plan(tmp_path, repeats=2), {})
    (tmp_path / "agent.py").write_text("print('edited')", "utf-8")
    edited = load_plan(tmp_path / "plan.json", load_catalogue())
    with pytest.raises(UsageError, match="restore the plan, its programs and plugins"):
        folder.create(edited, {})


def test_a_foreign_folder_is_not_written_into(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.tex").write_text("", "utf-8")
    with pytest.raises(UsageError, match=r"is neither empty nor a run folder \(it has no run"):
        RunFolder(tmp_path / "run").create(plan(tmp_path), {})


def test_a_folder_without_head_is_no_run_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"is no run folder: it has no run\.json"):
        RunFolder(tmp_path).open()


def test_a_damaged_or_newer_head_is_named(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.create(plan(tmp_path), {})
    content = folder.head.read_text("utf-8")
    folder.head.write_text(content[:100], "utf-8")
    with pytest.raises(RecordError, match=r"run\.json is damaged"):
        folder.open()
    newer = content.replace('"schema_version": 1', '"schema_version": 9')
    folder.head.write_text(newer, "utf-8")
    with pytest.raises(RecordError, match=r"schema_version 9; this version of ptb reads 1"):
        folder.open()


def test_an_unknown_cell_is_answered_with_the_nearest(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run").create(plan(tmp_path), {})
    with pytest.raises(UsageError, match=r"no cell 'errands--tiny-qwen3--null' \(did you mean"):
        run.cell("errands--tiny-qwen3--null")


def test_an_interrupted_creation_is_repeated_and_an_empty_folder_is_used(tmp_path: Path) -> None:
    (tmp_path / "deep" / "run").mkdir(parents=True)
    run = RunFolder(tmp_path / "deep" / "run").create(plan(tmp_path), {"python": "3"})
    assert run.software == {"python": "3"}
    assert len(run.run_id) == 12
    nested = RunFolder(tmp_path / "not" / "yet" / "there")
    assert nested.create(plan(tmp_path), {}).run_id != run.run_id


def test_the_message_about_another_plan_names_both(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    first = folder.create(plan(tmp_path), {})
    with pytest.raises(UsageError) as caught:
        folder.create(plan(tmp_path, name="other"), {})
    assert str(caught.value).startswith(
        f"{folder.path} belongs to plan 'small' ({first.plan_id}), not to 'other' ("
    )
    assert str(caught.value).endswith(
        ") as it stands now; a run keeps its plan: name another folder with --run-dir, or restore "
        "the plan, its programs and plugins"
    )


def test_what_this_machine_lacks_and_where_the_plan_lies_is_no_part_of_its_identity(
    tmp_path: Path,
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    assert plan_id(plan(here)) == plan_id(plan(there))
    lacking = replace(plan(here), obstacles=("engine vllm: no GPU",))
    assert plan_id(lacking) == plan_id(plan(here))
    fewer = replace(plan(here), cells=plan(here).cells[:1])
    assert plan_id(fewer) != plan_id(plan(here))


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{}", b'{"schema_version":1}', b'{"schema_version":"\xff"}']
)
def test_a_garbled_head_is_damaged(tmp_path: Path, content: bytes) -> None:
    folder = RunFolder(tmp_path)
    folder.head.write_bytes(content)
    with pytest.raises(RecordError) as caught:
        folder.open()
    assert str(caught.value).startswith(f"{folder.head} is damaged (")
    assert str(caught.value).endswith("); restore it from a copy, the cells' records are intact")


def test_a_run_folder_that_is_a_file_is_no_run_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", "utf-8")
    with pytest.raises(UsageError, match=r"`ptb run --plan PLAN` makes one"):
        RunFolder(tmp_path / "file").open()


def test_a_cell_is_found_by_its_id(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run").create(plan(tmp_path), {})
    for cell in run.cells:
        assert run.cell(cell.id) is cell


def test_attempts_are_listed_by_number_and_other_files_are_not(tmp_path: Path) -> None:
    cell = CellFolder(tmp_path)
    for number in (10, 2, 1000):
        cell.attempt("solve", number).mkdir(parents=True)
    (cell.stage("solve") / "attempt-003").write_text("", "utf-8")
    assert cell.attempts("solve") == [2, 10, 1000]
    assert cell.attempts("judge") == []
    assert cell.attempt("solve", 2).name == "attempt-002"


def test_everything_has_its_place(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "a" / ".." / "run")
    assert folder.path == tmp_path / "run"
    cell = folder.cell("c")
    places = [folder.head, folder.jobs, folder.cancelled, cell.journal, cell.claims]
    places += [cell.record, cell.log, cell.marker("seal"), cell.attempt("seal", 1)]
    assert [place.relative_to(folder.path).as_posix() for place in places] == [
        "run.json",
        "jobs.jsonl",
        "cancelled",
        "cells/c/journal.jsonl",
        "cells/c/claims",
        "cells/c/record.json",
        "cells/c/supervisor.log",
        "cells/c/stages/seal/done.json",
        "cells/c/stages/seal/attempt-001",
    ]


def test_a_creation_that_was_killed_does_not_make_the_folder_a_foreign_one(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / ".run.json.0a1b2c3d.tmp").write_text("{", "utf-8")
    run = RunFolder(folder).create(plan(tmp_path), {})
    assert [path.name for path in folder.iterdir()] == ["run.json"]
    assert RunFolder(folder).open() == run


def test_two_command_lines_that_create_one_run_at_once_share_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second looks while the first has a temporary file there, and loses the race."""
    folder, found = tmp_path / "run", []
    link = os.link

    def second_wins(source: Path, target: Path) -> None:
        monkeypatch.setattr("os.link", link)
        found.append(RunFolder(folder).create(plan(tmp_path), {}))
        link(source, target)

    monkeypatch.setattr("os.link", second_wins)
    assert [RunFolder(folder).create(plan(tmp_path), {})] == found
    assert [path.name for path in folder.iterdir()] == ["run.json"]


def test_a_cells_sweep_takes_half_written_files_and_leaves_what_an_agent_made(
    tmp_path: Path,
) -> None:
    cell = CellFolder(tmp_path)
    workspace = cell.attempt("solve", 1) / "workspace"
    evidence = cell.attempt("seal", 1) / "evidence" / "workspace"
    for folder in (workspace, evidence, cell.claims, cell.attempt("generate", 2) / "engine"):
        folder.mkdir(parents=True)
    theirs = [workspace / ".mine.tmp", evidence / ".mine.partial"]
    ours = [
        cell.path / ".record.json.01234567.tmp",
        cell.claims / ".000002.json.01234567.tmp",
        cell.stage("seal") / ".done.json.01234567.tmp",
        cell.attempt("solve", 1) / ".live.json.01234567.tmp",
        cell.attempt("generate", 2) / "engine" / ".generation_config.json.01234567.tmp",
    ]
    for path in (*theirs, *ours):
        path.write_text("", "utf-8")
    (cell.attempt("seal", 1) / ".submission.partial").mkdir()
    cell.sweep()
    left = [path for path in tmp_path.rglob("*") if path.name.startswith(".")]
    assert sorted(left) == sorted(theirs)


def test_what_older_plans_could_not_say_leaves_the_id_as_it_was(tmp_path: Path) -> None:
    made = plan(tmp_path)
    content = msgspec.to_builtins(replace(made, cells=()))
    for name in ("declared", "obstacles", "retention", "grader", "grader_price"):
        del content[name]
    del content["budgets"]["grader_usd"]
    del content["protocol"]["seeds"]
    for agent in content["agents"]:
        agent["settings"] = made.agent_ids[agent["name"]]
    content["cells"] = [cell.id for cell in made.cells]
    assert plan_id(made) == short_hash(content)
    seeded = replace(made, protocol=replace(made.protocol, seeds=(1,)))
    assert plan_id(seeded) != plan_id(made)
    assert plan_id(replace(made, declared=Baselines())) != plan_id(made)
