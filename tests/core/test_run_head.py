"""run.json: whole, small, and readable line by line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ptb_core.errors import RecordError
from ptb_core.run_head import Run, decode_head, encode_head

from .small_run import BASE, MINE, NULL, small_run

FILE = Path("RUN/run.json")


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return small_run(tmp_path).open()


def test_what_is_written_is_what_is_read(run: Run) -> None:
    assert decode_head(FILE, encode_head(run)) == run
    assert [cell.id for cell in run.cells] == [BASE, MINE, NULL]


def test_every_cell_is_one_line_without_what_the_plan_says(run: Run) -> None:
    assert run.cell(MINE) is run.cells[1]
    text = encode_head(run).decode()
    head = json.loads(text)
    assert list(head) == [
        "schema_version",
        "run_id",
        "created_unix_s",
        "plan_id",
        "software",
        "plan",
        "cells",
    ]
    assert "cells" not in head["plan"]
    assert head["cells"][1] == {
        "id": MINE,
        "kind": "agent",
        "task": "errands",
        "model": "tiny-qwen3",
        "agent": "mine",
        "repeat": 1,
        "base_cell": BASE,
        "seed": run.cells[1].seed,
    }
    assert head["cells"][0]["agent"] is None
    assert [json.loads(line.strip(" ,")) for line in text.splitlines()[-5:-2]] == head["cells"]


def test_cells_of_one_agent_share_its_facts_in_memory(run: Run) -> None:
    read = decode_head(FILE, encode_head(run))
    assert read.cell(MINE).agent is read.plan.agents[0]
    assert read.cell(MINE).condition is read.plan.condition
    assert read.cell(BASE).protocol is read.plan.protocol


def test_a_cell_of_an_agent_that_the_plan_lacks_is_damage(run: Run) -> None:
    content = encode_head(run).replace(b'"agent":"mine"', b'"agent":"ours"')
    with pytest.raises(RecordError) as caught:
        decode_head(FILE, content)
    assert str(caught.value) == (
        "RUN/run.json is damaged (its plan has no agent 'ours'); restore it from a copy, the "
        "cells' records are intact"
    )
