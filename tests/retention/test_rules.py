"""Which checkpoints go under which rule, and which never do."""

from __future__ import annotations

import pytest

from ptb_core.claims import take_claim

from .conftest import World
from .made_cells import cite_earlier, content, flagged, gone, recorded, work

SUBMISSION = {
    "stages/seal/attempt-001/submission",
    "stages/seal/attempt-001/submission/config.json",
    "stages/seal/attempt-001/submission/model.safetensors",
}
OWN = {"stages/solve/attempt-001/workspace/final_model/model.safetensors"}
RULES = ("all", "best", "after-verdict", "none")


def why(world: World, rule: str, repeat: int = 1) -> str:
    survey = {each.cell.id: each for each in world.collector(rule).survey()}
    return survey[world.cell(repeat).id].stays


def test_a_clean_cells_checkpoint_goes_after_the_verdict_with_the_agents_own_copy(
    world: World,
) -> None:
    folder = recorded(world.folder, world.cell())
    before = content(folder.path)
    world.clean("after-verdict")
    assert gone(before, content(folder.path)) == SUBMISSION | OWN


def test_under_all_every_checkpoint_stays(world: World) -> None:
    folder = recorded(world.folder, world.cell())
    before = content(folder.path)
    assert world.clean("all") == []
    assert content(folder.path) == before
    assert why(world, "all") == "every checkpoint stays"


@pytest.mark.parametrize("rule", ["best", "after-verdict"])
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (
            {"counts": "missing", "reason": "inconclusive verdict: x", "verdict": "inconclusive"},
            "it counts as missing and may be resolved: inconclusive verdict: x",
        ),
        (
            {"counts": "base", "reason": "flagged: y", "verdict": "flagged"},
            "it counts as base, this is the evidence: flagged: y",
        ),
        (
            {"counts": "base", "reason": "unloadable: z", "submission": "unloadable"},
            "it counts as base, this is the evidence: unloadable: z",
        ),
    ],
)
def test_a_checkpoint_that_is_needed_or_is_evidence_stays(
    world: World, rule: str, changes: dict[str, str], reason: str
) -> None:
    folder = recorded(world.folder, world.cell(), **changes)
    before = content(folder.path)
    assert world.clean(rule) == []
    assert content(folder.path) == before
    assert why(world, rule) == reason


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"counts": "missing", "verdict": "inconclusive"},
        {"counts": "base", "verdict": "flagged"},
        {"counts": "base", "submission": "unloadable"},
    ],
)
def test_under_none_it_goes_whatever_the_cell_counts_with(
    world: World, changes: dict[str, str]
) -> None:
    folder = recorded(world.folder, world.cell(), **changes)
    before = content(folder.path)
    world.clean("none")
    assert gone(before, content(folder.path)) == SUBMISSION | OWN


@pytest.mark.parametrize("rule", RULES)
def test_a_checkpoint_that_the_record_cites_stays_under_every_rule(world: World, rule: str) -> None:
    folder = flagged(world.folder, world.cell(), "submission/model.safetensors")
    before = content(folder.path)
    world.clean(rule)
    assert content(folder.path) == before
    assert why(world, "none") == "a verdict cites it"


@pytest.mark.parametrize("rule", RULES)
def test_a_checkpoint_that_an_earlier_verdict_cites_stays(world: World, rule: str) -> None:
    folder = recorded(world.folder, world.cell())
    cite_earlier(folder, "submission/config.json")
    before = content(folder.path)
    world.clean(rule)
    assert content(folder.path) == before


@pytest.mark.parametrize("rule", RULES)
def test_a_cell_that_is_not_recorded_keeps_everything(world: World, rule: str) -> None:
    folder = work(world.folder, world.cell())
    before = content(folder.path)
    assert world.clean(rule, "without-weights") == []
    assert content(folder.path) == before
    assert why(world, "none") == "it is not recorded yet (waiting)"


@pytest.mark.parametrize("rule", RULES)
def test_a_cell_whose_stage_failed_keeps_everything(world: World, rule: str) -> None:
    """Its record says missing, and the next `ptb run` goes on at the stage that failed."""
    folder = recorded(world.folder, world.cell(), counts="missing", reason="stage generate failed")
    folder.marker("record").unlink()
    before = content(folder.path)
    assert world.clean(rule, "without-weights") == []
    assert content(folder.path) == before
    assert why(world, "none") == "it is not recorded yet (failed)"


@pytest.mark.parametrize("rule", RULES)
def test_a_cell_whose_record_is_damaged_keeps_everything(world: World, rule: str) -> None:
    folder = recorded(world.folder, world.cell())
    folder.record.write_bytes(folder.record.read_bytes()[:40])
    before = content(folder.path)
    assert world.clean(rule, "without-weights") == []
    assert content(folder.path) == before
    assert why(world, "none").startswith("its record cannot be read: ")


def test_a_cell_whose_wish_to_be_done_again_is_damaged_keeps_everything(world: World) -> None:
    folder = recorded(world.folder, world.cell())
    folder.redo.write_text("{", "utf-8")
    before = content(folder.path)
    assert world.clean("none", "without-weights") == []
    assert content(folder.path) == before
    assert why(world, "none").startswith("something of it cannot be read: ")


@pytest.mark.parametrize("rule", RULES)
def test_a_cell_that_is_worked_on_keeps_everything(world: World, rule: str) -> None:
    folder = recorded(world.folder, world.cell())
    held = take_claim(folder.claims)
    assert held is not None
    before = content(folder.path)
    findings = world.collector(rule, "without-weights", with_leftovers=True).clean(world.cell())
    assert findings.problem == "left alone: it is being worked on"
    assert content(folder.path) == before
    (shown,) = world.collector(rule).survey()
    assert (shown.problem, shown.found) == ("left alone: it is being worked on", ())
    held.release()


def test_of_repeats_the_best_stays(world: World) -> None:
    folders = [
        recorded(world.folder, world.cell(repeat), score)
        for repeat, score in ((1, 0.2), (2, 0.9), (3, 0.5))
    ]
    world.clean("best")
    assert [(f.attempt("seal", 1) / "submission").exists() for f in folders] == [False, True, False]
    assert why(world, "best", 2) == "the best of its repeats"


def test_of_two_equals_the_earlier_repeat_stays(world: World) -> None:
    folders = [recorded(world.folder, world.cell(repeat), 0.5) for repeat in (1, 2, 3)]
    world.clean("best")
    assert [(f.attempt("seal", 1) / "submission").exists() for f in folders] == [True, False, False]


def test_a_flagged_repeat_is_not_the_best_and_stays_all_the_same(world: World) -> None:
    recorded(world.folder, world.cell(1), 0.2)
    flagged(world.folder, world.cell(2), "workspace/train.py")
    recorded(world.folder, world.cell(3), 0.1)
    world.clean("best")
    stays = [
        (world.folder.cell(world.cell(n).id).attempt("seal", 1) / "submission").exists()
        for n in (1, 2, 3)
    ]
    assert stays == [True, True, False]


def test_where_lower_is_better_the_lowest_score_is_the_best(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = [
        recorded(world.folder, world.cell(repeat), score)
        for repeat, score in ((1, 0.2), (2, 0.9), (3, 0.1))
    ]
    collector = world.collector("best")
    monkeypatch.setattr(collector, "_higher_is_better", lambda task: False)
    for repeat in (1, 2, 3):
        collector.clean(world.cell(repeat))
    assert [(f.attempt("seal", 1) / "submission").exists() for f in folders] == [False, False, True]


def test_when_nobody_knows_which_score_is_better_all_stay(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for repeat in (1, 2, 3):
        recorded(world.folder, world.cell(repeat), 0.1 * repeat)
    collector = world.collector("best")
    monkeypatch.setattr(collector, "_higher_is_better", lambda task: None)
    findings = list(collector.survey())
    assert [each.found for each in findings] == [(), (), ()]
    assert {each.stays for each in findings} == {
        "which score is better is unknown while its task is not installed"
    }


def test_nothing_goes_while_the_repeat_that_would_stay_is_worked_on(world: World) -> None:
    """Its record may change at any moment, and then the other one may be the best."""
    worse = recorded(world.folder, world.cell(1), 0.2)
    better = recorded(world.folder, world.cell(2), 0.9)
    held = take_claim(better.claims)
    assert held is not None
    before = content(worse.path / "stages")
    findings = world.collector("best").clean(world.cell(1))
    assert findings.problem == (
        f"left alone: {world.cell(2).id}, which would stay instead, is being worked on"
    )
    assert content(worse.path / "stages") == before
    held.release()


def test_a_repeat_that_is_missing_does_not_keep_the_others(world: World) -> None:
    recorded(world.folder, world.cell(1), 0.2)
    recorded(world.folder, world.cell(2), 0.4)
    work(world.folder, world.cell(3))
    assert [each.cell.repeat for each in world.clean("best")] == [1]
