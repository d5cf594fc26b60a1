from __future__ import annotations

from pathlib import Path

import pytest

from ptb_core.errors import DataError
from ptb_core.evaluation.exchange import DataDir
from ptb_core.evaluation.wordings import with_judge_prompt


def test_a_plans_wording_stands_among_the_prompts_so_that_its_digest_is_recorded(
    tmp_path: Path,
) -> None:
    own = tmp_path / "own.txt"
    own.write_text("Which is better, é?\n", encoding="utf-8")
    data = DataDir(files={"judge-prompt": tmp_path / "shipped"}, prompts={"grader": "a"})
    changed = with_judge_prompt(data, "essays", own)
    assert changed.prompts == {"grader": "a", "judge-prompt": "Which is better, é?\n"}
    assert changed.files == data.files
    assert data.prompts == {"grader": "a"}


def test_a_task_with_a_fixed_wording_takes_none(tmp_path: Path) -> None:
    own = tmp_path / "own.txt"
    with pytest.raises(DataError) as caught:
        with_judge_prompt(DataDir(files={}), "sums", own)
    assert str(caught.value) == (
        "sums: it takes no judge prompt from a plan, its wording is fixed or it asks no judge; "
        f"found {own}, expected no entry for sums in the plan's grader.prompts"
    )


@pytest.mark.parametrize("content", [None, b"\xff\xfe"])
def test_a_wording_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None) -> None:
    own = tmp_path / "own.txt"
    if content is not None:
        own.write_bytes(content)
    with pytest.raises(
        DataError,
        match=r"essays: the judge prompt .*own\.txt that the plan names cannot be read \(.*\); "
        "name a UTF-8 text file",
    ):
        with_judge_prompt(DataDir(files={"judge-prompt": tmp_path}), "essays", own)
