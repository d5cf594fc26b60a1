"""Cells that several versions have worked on are named."""

from __future__ import annotations

from collections.abc import Callable

from made_runs import RunMaker

from ptb_core.leaderboard.loading import load_board

Maker = Callable[..., RunMaker]


def test_a_note_names_the_cells_that_another_version_began(maker: Maker) -> None:
    run = maker()
    run.add("gsm8k--tiny--base", 0.1, lock={"other_software": {}})
    run.add("gsm8k--tiny--alice--r1", 0.5, lock={"other_software": {"solve": None}})
    run.add("gsm8k--tiny--bob--r1", 0.5)
    (section,) = load_board([run.folder]).sections
    assert section.notes == (
        f"{run.folder}: 1 cell was begun with other versions of ptb, plugins or libraries "
        "(gsm8k--tiny--alice--r1); each record says under `lock.other_software` which stages",
    )
