"""Run folders to rows: what counts, where base scores come from, what is never mixed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from made_runs import RunMaker, evaluation, verdict

from ptb_core.baselines import Baselines, BaselineSet, Measurement
from ptb_core.errors import RecordError, UsageError
from ptb_core.evaluation.exchange import TaskScore
from ptb_core.evaluation.protocol import PAPER_V1, PROTOCOLS
from ptb_core.leaderboard import print_leaderboard
from ptb_core.leaderboard.loading import load_board
from ptb_core.leaderboard.results import CellResult, Row, Section
from ptb_core.leaderboard.terminal import plain_text
from ptb_core.records import EarlierRecord
from ptb_core.specs import ComponentChoice, GraderSpec, ProtocolSpec, Scoring

Maker = Callable[..., RunMaker]
ALICE = "gsm8k--tiny--alice--r1"
BOB = "gsm8k--tiny--bob--r1"
BASE = "gsm8k--tiny--base"


def only(run: RunMaker, **options: object) -> Section:
    (section,) = load_board([run.folder], **options).sections  # type: ignore[arg-type]
    return section


def row_of(section: Section, agent: str) -> Row:
    (row,) = [row for row in (*section.rows, *section.references) if row.agent == agent]
    return row


def cell_of(section: Section, cell: str) -> CellResult:
    (found,) = [c for row in section.rows for c in row.cells if c.cell == cell]
    return found


def test_a_clean_complete_cell_counts_with_its_own_score(maker: Maker) -> None:
    run = maker()
    run.add(BASE, 0.1)
    run.add(ALICE, 0.625)
    row = row_of(only(run), "alice")
    assert (row.rank, row.score, row.sd, row.n_repeats) == (1, 0.625, None, 1)
    assert (row.counts.own, row.counts.base, row.counts.missing) == (1, 0, 0)
    assert (row.score_basis, row.sd_basis) == ("cells", None)


def test_a_flagged_cell_counts_with_the_base_score_and_is_marked(maker: Maker) -> None:
    run = maker()
    run.add(BASE, 0.125)
    run.flag(ALICE, 0.9, "test-data-in-training", "harness-edited")
    section = only(run)
    row = row_of(section, "alice")
    assert (row.score, row.flagged_share, row.counts.base) == (0.125, 1.0, 1)
    assert row.violations == {"harness-edited": 1, "test-data-in-training": 1}
    assert cell_of(section, ALICE).reason == (
        "flagged: test-data-in-training, harness-edited; base score: measured by gsm8k--tiny--base"
    )


@pytest.mark.parametrize("submission", ["absent", "refused", "unloadable"])
def test_a_submission_that_cannot_be_evaluated_counts_with_the_base_score(
    maker: Maker, submission: str
) -> None:
    run = maker()
    run.add(BASE, 0.125)
    run.add(ALICE, counts="base", reason=f"{submission}: so it was", submission=submission)
    row = row_of(only(run), "alice")
    assert (row.score, row.counts.base, row.flagged_share) == (0.125, 1, 0.0)
    assert f"submission {submission} 1/1" in plain_text(load_board([run.folder]))


def test_a_cell_that_failed_before_the_seal_is_not_marked_as_absent(maker: Maker) -> None:
    run = maker()
    run.add(BASE, 0.125)
    run.add(ALICE, counts="missing", reason="stage prepare failed: x", submission="absent")
    text = plain_text(load_board([run.folder]))
    assert "missing 1/1" in text
    assert "submission absent" not in text


def test_a_base_score_of_zero_is_a_score(maker: Maker) -> None:
    run = maker()
    run.add(BASE, 0.0)
    run.flag(ALICE, 0.9, "x")
    assert row_of(only(run), "alice").score == 0.0


def test_a_flagged_cell_without_a_base_score_is_missing_and_never_zero(maker: Maker) -> None:
    run = maker()
    run.flag(ALICE, 0.9, "x")
    section = only(run)
    assert row_of(section, "alice").score is None
    assert cell_of(section, ALICE).reason == (
        "flagged: x; base score: gsm8k--tiny--base has no complete score yet"
    )


def test_an_inconclusive_cell_is_missing_and_its_share_is_shown(maker: Maker) -> None:
    run = maker()
    run.add(BASE, 0.1)
    run.add(ALICE, 0.7, counts="missing", reason="inconclusive verdict", verdict="inconclusive")
    row = row_of(only(run), "alice")
    assert (row.rank, row.score) == (None, None)
    assert (row.inconclusive_share, row.missing_share) == (1.0, 1.0)


def test_a_cell_without_a_record_is_missing(maker: Maker) -> None:
    run = maker()
    run.add(BASE, 0.1)
    run.add(ALICE, 0.5)
    section = only(run)
    assert row_of(section, "bob").score is None
    assert cell_of(section, BOB).reason == "no record yet"
    assert [row.agent for row in section.rows] == ["alice", "bob"]


def test_upstreams_rule_gives_an_ended_cell_without_a_score_the_base_score(maker: Maker) -> None:
    run = maker()
    run.add(BASE, 0.125)
    run.add(ALICE, counts="missing", reason="the machine failed")
    section = only(run, fallback="published")
    assert row_of(section, "alice").score == 0.125
    assert cell_of(section, ALICE).counts == "base"
    assert row_of(section, "bob").score is None, "a cell that has not ended is no result"
    assert any(note.startswith("fallback as published:") for note in section.notes)


@pytest.mark.parametrize(
    ("changes", "said", "ruled"),
    [
        ({"verdict": "flagged", "verdicts": (verdict("flagged", "x"),)}, "own", "base"),
        ({"verdict": "inconclusive"}, "own", "missing"),
        ({"submission": "absent"}, "own", "base"),
        ({"counts": "base"}, "base", "own"),
        ({"evaluation": evaluation(0.9, complete=False, n_scored=4)}, "own", "missing"),
    ],
)
def test_a_record_that_contradicts_itself_counts_as_missing(
    maker: Maker, changes: dict[str, object], said: str, ruled: str
) -> None:
    run = maker()
    run.add(BASE, 0.1)
    run.add(ALICE, 0.9, **changes)
    section = only(run)
    assert row_of(section, "alice").score is None
    reason = cell_of(section, ALICE).reason
    assert f"it says that the cell counts with '{said}', but it can only be '{ruled}'" in reason


def test_a_damaged_record_makes_its_cell_missing_and_is_named(maker: Maker) -> None:
    run = maker()
    run.add(BASE, 0.1)
    run.add(BOB, 0.5)
    path = run.add(ALICE, 0.5)
    path.write_bytes(path.read_bytes()[:100])
    section = only(run)
    assert row_of(section, "alice").score is None
    assert row_of(section, "bob").score == 0.5
    (note,) = section.notes
    assert note.startswith(f"counted as missing: {path}: the record is cut off after 100 bytes")


def test_a_record_of_another_cell_in_the_wrong_place_does_not_count(maker: Maker) -> None:
    run = maker()
    shutil.copytree(run.add(ALICE, 0.5).parent, run.folder / "cells" / BOB)
    section = only(run)
    assert row_of(section, "bob").score is None
    assert f"found the record of cell {ALICE}" in cell_of(section, BOB).reason


def test_a_record_of_another_agent_id_does_not_count(maker: Maker) -> None:
    run = maker()
    run.add(ALICE, 0.5, agent_id="another")
    assert "found agent id another and condition id c0ffee; expected id-of-alice" in (
        cell_of(only(run), ALICE).reason
    )


def test_a_record_that_the_plan_does_not_list_is_left_out_and_named(maker: Maker) -> None:
    run = maker()
    shutil.copytree(run.add(ALICE, 0.5).parent, run.folder / "cells" / "other")
    assert only(run).notes == (
        f"{run.folder / 'cells' / 'other'}/record.json is left out: run.json lists no cell other",
    )


def test_the_check_option_finds_what_reading_lets_pass(maker: Maker) -> None:
    run = maker()
    path = run.add(ALICE, 0.5)
    document = json.loads(path.read_text())
    document["extra"] = 1
    path.write_text(json.dumps(document))
    assert row_of(only(run), "alice").score == 0.5
    section = only(run, check=True)
    assert row_of(section, "alice").score is None
    assert "breaks schemas/record.schema.json: $.extra" in cell_of(section, ALICE).reason


def test_a_missing_cell_takes_only_its_own_repeats_score(maker: Maker) -> None:
    run = maker(repeats=3, agents=("alice",))
    for repeat, score in ((1, 0.2), (3, 0.6)):
        run.add(f"gsm8k--tiny--alice--r{repeat}", score)
    run.add("gsm8k--tiny--alice--r2", counts="missing", reason="the machine failed")
    row = row_of(only(run), "alice")
    assert [repeat.score for repeat in row.repeats] == [0.2, None, 0.6]
    assert (row.n_repeats, row.n_repeats_planned) == (2, 3)
    assert row.score == pytest.approx(0.4)
    assert row.sd == pytest.approx(0.2 * 2**0.5)
    assert row.missing_share == pytest.approx(1 / 3)


def test_the_benchmark_score_is_the_weighted_sum_of_means_over_models(maker: Maker) -> None:
    run = maker(
        tasks=("a", "b"), models=("m", "n"), agents=("alice",), weights={"a": 0.25, "b": 0.75}
    )
    for task, model, score in (("a", "m", 0.2), ("a", "n", 0.4), ("b", "m", 0.6), ("b", "n", 1.0)):
        run.add(f"{task}--{model}--alice--r1", score)
    row = row_of(only(run), "alice")
    assert row.score == pytest.approx(0.25 * 0.3 + 0.75 * 0.8)
    assert {task: column.mean for task, column in row.tasks.items()} == pytest.approx(
        {"a": 0.3, "b": 0.8}
    )


def test_weights_are_renormalised_over_the_runs_tasks_and_that_is_said(maker: Maker) -> None:
    run = maker(tasks=("a", "b"), agents=("alice",), weights={"a": 0.1, "b": 0.3})
    run.add("a--tiny--alice--r1", 0.5)
    section = only(run)
    assert section.weights == pytest.approx({"a": 0.25, "b": 0.75})
    assert section.weights_note == "renormalised to 1 over these tasks (they summed to 0.4)"


def test_tasks_without_a_weight_make_all_weights_equal_and_that_is_said(maker: Maker) -> None:
    run = maker(tasks=("a", "b"), agents=("alice",), weights={"a": 0.1})
    run.add("a--tiny--alice--r1", 0.5)
    section = only(run)
    assert section.weights == {"a": 0.5, "b": 0.5}
    assert section.weights_note == "equal: no weight for b"


def test_the_spread_per_task_is_the_mean_over_models_of_the_cells_spread(maker: Maker) -> None:
    run = maker(models=("m", "n"), agents=("alice",), repeats=2)
    for model, repeat, score in (("m", 1, 0.2), ("m", 2, 0.4), ("n", 1, 0.5), ("n", 2, 0.1)):
        run.add(f"gsm8k--{model}--alice--r{repeat}", score)
    row = row_of(only(run), "alice")
    half = 2**0.5 / 2
    assert row.tasks["gsm8k"].sd == pytest.approx((0.2 * half + 0.4 * half) / 2)
    assert row.sd == pytest.approx(abs(0.35 - 0.25) * half), "not the mean of the cells' spreads"


def test_the_base_model_is_a_reference_row_without_a_rank(maker: Maker) -> None:
    run = maker()
    run.add(BASE, 0.9)
    run.add(ALICE, 0.5)
    section = only(run)
    assert [row.agent for row in section.references] == ["base model"]
    assert (section.references[0].score, section.references[0].rank) == (0.9, None)
    assert row_of(section, "alice").rank == 1


def test_equal_scores_share_a_rank(maker: Maker) -> None:
    run = maker(agents=("a", "b", "c"))
    for agent, score in (("a", 0.5), ("b", 0.7), ("c", 0.5)):
        run.add(f"gsm8k--tiny--{agent}--r1", score)
    assert [(row.agent, row.rank) for row in only(run).rows] == [("b", 1), ("a", 2), ("c", 2)]


# Several runs ----------------------------------------------------------------------------------


def test_runs_of_the_same_agent_and_condition_are_repeats(maker: Maker) -> None:
    runs = [maker(run_id=f"run-{i}", created_unix_s=float(i)) for i in range(3)]
    for run, score in zip(runs, (0.1, 0.2, 0.3), strict=True):
        run.add(ALICE, score)
    (section,) = load_board([run.folder for run in runs]).sections
    row = row_of(section, "alice")
    assert row.score == pytest.approx(0.2)
    assert row.sd == pytest.approx(0.1)
    assert (row.n_repeats, row.agent_id, row.label) == (3, "id-of-alice", "alice")


def test_equal_names_with_different_ids_are_never_averaged(maker: Maker) -> None:
    old = maker(run_id="old", agents=("alice",), agent_ids={"alice": "aaaaaaaa1111"})
    new = maker(
        run_id="new", agents=("alice",), agent_ids={"alice": "bbbbbbbb2222"}, created_unix_s=2.0
    )
    old.add(ALICE, 0.2)
    new.add(ALICE, 0.8)
    (section,) = load_board([old.folder, new.folder]).sections
    assert [(row.label, row.score) for row in section.rows] == [
        ("alice#bbbbbbbb", 0.8),
        ("alice#aaaaaaaa", 0.2),
    ]


@pytest.mark.parametrize(
    "other",
    [
        {"condition_id": "other", "hours": 1},
        {"weights": {"gsm8k": 1.0}, "tasks": ("gsm8k", "b")},
        {"models": ("tiny", "small")},
    ],
)
def test_what_must_not_be_compared_is_shown_apart(maker: Maker, other: dict[str, object]) -> None:
    first = maker(run_id="first", agents=("alice",))
    second = maker(run_id="second", agents=("alice",), created_unix_s=2.0, **other)
    first.add(ALICE, 0.2)
    second.add(ALICE, 0.8)
    sections = load_board([first.folder, second.folder]).sections
    assert len(sections) == 2
    assert {source.name for section in sections for source in section.sources} == {
        "first",
        "second",
    }
    assert all(len(section.sources) == 1 for section in sections)


def test_agents_with_other_cells_in_one_run_are_shown_apart(maker: Maker) -> None:
    run = maker(tasks=("a", "b"), exclude=({"agent": "bob", "task": "b"},))
    run.add("a--tiny--alice--r1", 0.5)
    run.add("b--tiny--alice--r1", 0.5)
    run.add("a--tiny--bob--r1", 0.9)
    sections = load_board([run.folder]).sections
    assert [[row.agent for row in s.rows] for s in sections] == [["bob"], ["alice"]]
    assert [s.tasks for s in sections] == [("a",), ("a", "b")]


def test_a_repeat_from_which_the_plan_leaves_a_cell_out_has_no_score(maker: Maker) -> None:
    run = maker(
        tasks=("a", "b"), agents=("alice",), repeats=2, exclude=({"task": "b", "repeat": 2},)
    )
    for cell in run.cells:
        run.add(cell, 0.5)
    row = row_of(only(run), "alice")
    assert [repeat.score for repeat in row.repeats] == [0.5, None]
    assert "the plan leaves this cell out of this repeat" in {cell.reason for cell in row.cells}


def test_a_base_score_is_taken_from_another_run_of_the_same_protocol_and_engine(
    maker: Maker,
) -> None:
    home = maker(run_id="home")
    other = maker(run_id="other", hours=1, condition_id="other", created_unix_s=2.0)
    home.flag(ALICE, 0.9, "x")
    other.add(BASE, 0.125)
    sections = load_board([home.folder, other.folder]).sections
    (cell,) = [c for s in sections for r in s.rows for c in r.cells if c.cell == ALICE and c.score]
    assert (cell.source, cell.score) == ("home", 0.125)
    assert cell.reason.endswith("measured by gsm8k--tiny--base of run other")


@pytest.mark.parametrize(
    "other",
    [
        {"engine": "vllm"},
        {"protocol": ProtocolSpec(name="paper-v1", requests="published", scoring="published")},
        {"protocol": ProtocolSpec(name="strict", requests="seeded", scoring="repaired", limit=5)},
    ],
)
def test_a_base_score_of_another_protocol_or_engine_is_not_taken(
    maker: Maker, other: dict[str, object]
) -> None:
    home = maker(run_id="home")
    away = maker(run_id="away", condition_id="other", created_unix_s=2.0, **other)
    home.flag(ALICE, 0.9, "x")
    away.add(BASE, 0.125, evaluation=evaluation(0.125, counted=away.protocol.scoring))
    board = load_board([home.folder, away.folder])
    scores = [r.score for s in board.sections for r in s.rows if s.sources[0].name == "home"]
    assert scores == [None, None]


@pytest.mark.parametrize(
    ("details", "grader", "score"),
    [
        ({"grader": {"model": "mine"}}, GraderSpec(model="mine", base_url="http://x/v1"), 0.125),
        ({"grader": {"model": "other"}}, GraderSpec(model="other"), None),
        ({"grader": {"model": "mine"}}, GraderSpec(model="mine", prompts={"gsm8k": "x"}), None),
        ({}, GraderSpec(model="other"), 0.125),
        ({}, None, 0.125),
    ],
)
def test_a_base_score_by_another_grader_is_not_taken(
    maker: Maker, details: dict[str, object], grader: GraderSpec | None, score: float | None
) -> None:
    home = maker(run_id="home", grader=GraderSpec(model="mine"))
    away = maker(run_id="away", condition_id="other", created_unix_s=2.0, grader=grader)
    home.flag(ALICE, 0.9, "x")
    away.add(BASE, 0.125, evaluation=evaluation(0.125, details=details))
    board = load_board([home.folder, away.folder])
    found = [
        row.score
        for section in board.sections
        for row in section.rows
        if section.sources[0].name == "home" and row.agent == "alice"
    ]
    assert found == [score]


def test_the_own_runs_base_score_comes_first(maker: Maker) -> None:
    home = maker(run_id="z-home")
    other = maker(run_id="a-other", created_unix_s=2.0)
    home.flag(ALICE, 0.9, "x")
    home.add(BASE, 0.5)
    other.add(BASE, 0.25)
    (section,) = load_board([other.folder, home.folder]).sections
    row = row_of(section, "alice")
    assert [cell.score for cell in row.cells if cell.source == "z-home"] == [0.5]
    base = row_of(section, "base model")
    assert (base.score, base.n_repeats) == (0.375, 2)


def test_published_baselines_count_only_where_the_plan_declares_them(maker: Maker) -> None:
    facts: dict[str, object] = {
        "models": ("qwen3-4b-base",),
        "agents": ("alice",),
        "protocol": PAPER_V1,
    }
    declared = maker(run_id="declared", baselines="published", **facts)
    declared.flag("gsm8k--qwen3-4b-base--alice--r1", 0.9, "x")
    section = only(declared)
    assert row_of(section, "alice").score == 0.4184988627748294
    assert {row.agent: row.score for row in section.references} == {
        "base model": 0.4184988627748294,
        "base-few-shot (paper-few-shot)": 0.7438210765731573,
        "instruct (paper-v1)": 0.9378316906747536,
    }
    assert any("published baselines (paper-v1)" in note for note in section.notes)
    measured = maker(run_id="measured", **facts)
    measured.flag("gsm8k--qwen3-4b-base--alice--r1", 0.9, "x")
    assert row_of(only(measured), "alice").score is None


def test_a_published_baseline_that_does_not_exist_leaves_the_cell_missing(maker: Maker) -> None:
    run = maker(baselines="published", agents=("alice",), protocol=PAPER_V1)
    run.flag(ALICE, 0.9, "x")
    assert cell_of(only(run), ALICE).reason == (
        "flagged: x; base score: registry/baselines/published.json has no score of tiny on gsm8k"
    )


@pytest.mark.parametrize(
    ("protocol", "scoring", "words"),
    [
        (PAPER_V1, "repaired", "exist under published scoring only"),
        (PROTOCOLS["strict"], None, "exist under published scoring only"),
        (
            PROTOCOLS["strict"],
            "published",
            "were made with published requests, not with seeded ones",
        ),
        (
            replace(PAPER_V1, limit=50),
            None,
            "were made with all samples and the published number of tokens",
        ),
        (
            replace(PAPER_V1, max_tokens=2000),
            None,
            "were made with all samples and the published number of tokens",
        ),
    ],
)
def test_published_baselines_are_not_mixed_with_what_was_asked_or_scored_in_another_way(
    maker: Maker, protocol: ProtocolSpec, scoring: Scoring | None, words: str
) -> None:
    run = maker(
        baselines="published", models=("qwen3-4b-base",), agents=("alice",), protocol=protocol
    )
    run.flag("gsm8k--qwen3-4b-base--alice--r1", 0.9, "x")
    section = only(run, scoring=scoring)
    assert row_of(section, "alice").score is None
    assert row_of(section, "alice").cells[0].reason == (
        f"flagged: x; base score: published baselines {words}"
    )
    assert section.references == ()
    assert (
        "the published baselines, which the plan declares, are not comparable and left out: they "
        f"{words}"
    ) in section.notes


def test_engines_and_their_settings_are_never_mixed_in_one_row(maker: Maker) -> None:
    scores = {"one": ("a", {"x": 1}), "two": ("a", {"x": 2}), "three": ("b", {"x": 1})}
    runs = [
        maker(run_id=name, agents=("alice",), engine=engine, created_unix_s=float(number))
        for number, (name, engine) in enumerate(scores.items())
    ]
    same = maker(run_id="four", agents=("alice",), engine=("a", {"x": 1, "y": None}))
    for number, run in enumerate((*runs, same)):
        run.add(ALICE, number / 10, created_unix_s=float(number))
    board = load_board([run.folder for run in (*runs, same)])
    found = {
        (section.engine_text, tuple(source.name for source in section.sources))
        for section in board.sections
    }
    assert found == {("a: x 1", ("four", "one")), ("a: x 2", ("two",)), ("b: x 1", ("three",))}
    assert [row.n_repeats for section in board.sections for row in section.rows] == [2, 1, 1]
    assert "\nengine a: x 2\n" in plain_text(board)


def test_sections_that_differ_by_grader_or_wording_say_so(maker: Maker) -> None:
    """The text and its digest are written out: nothing here is computed as the code does it."""
    graders = {
        "one": GraderSpec(),
        "two": GraderSpec(model="other"),
        "three": GraderSpec(prompts={"gsm8k": "abc", "another": ""}),
        "four": None,
    }
    runs = [
        maker(run_id=name, condition_id=name, agents=("alice",), grader=grader)
        for name, grader in graders.items()
    ]
    elsewhere = maker(
        run_id="five",
        condition_id="one",
        agents=("alice",),
        grader=GraderSpec(base_url="http://elsewhere.example/v1", api_key_env="ELSEWHERE"),
    )
    for number, run in enumerate((*runs, elsewhere)):
        run.add(ALICE, number / 10, created_unix_s=float(number))
    board = load_board([run.folder for run in (*runs, elsewhere)])
    wordings = (
        "own wording sha256 e3b0c44298fc for another, own wording sha256 ba7816bf8f01 for gsm8k"
    )
    assert {
        (section.grader_text, tuple(source.name for source in section.sources))
        for section in board.sections
    } == {
        ("gpt-5-mini", ("five", "one")),
        ("other", ("two",)),
        (f"gpt-5-mini, {wordings}", ("three",)),
        ("", ("four",)),
    }
    text = plain_text(board)
    assert "\nengine transformers\ngrader other\n" in text
    assert f"\nengine transformers\ngrader gpt-5-mini, {wordings}\n" in text
    assert text.count("\ngrader ") == 3
    assert "elsewhere" not in text.lower()


def measured(
    protocol: ProtocolSpec,
    engine: str = "transformers",
    grader: dict[str, object] | None = None,
) -> Baselines:
    found = Measurement(
        protocol=protocol,
        engine=ComponentChoice(name=engine),
        scores={
            "published": TaskScore(value=0.25, stderr=0.1, n=10),
            "repaired": TaskScore(value=0.125, stderr=0.1, n=10),
        },
        max_tokens=64,
        checkpoint_revision="r",
        data={},
        software={},
        created_unix_s=1.0,
        grader=grader,
    )
    one = BaselineSet(
        name="base-zero-shot",
        protocol=protocol.name,
        scores={"tiny": {"gsm8k": 0.125}},
        measurements={"tiny": {"gsm8k": found}},
    )
    return Baselines(sets=(one,))


@pytest.mark.parametrize(("scoring", "score"), [(None, 0.125), ("published", 0.25)])
def test_baselines_of_a_declared_file_count_as_the_cells_were_scored(
    maker: Maker, scoring: Scoring | None, score: float
) -> None:
    run = maker(baselines="declared", declared=measured(PROTOCOLS["strict"]), agents=("alice",))
    run.flag(ALICE, 0.9, "x")
    section = only(run, scoring=scoring)
    assert row_of(section, "alice").score == score
    assert row_of(section, "base model").score == score
    assert cell_of(section, ALICE).reason == (
        "flagged: x; base score: measured by `ptb baseline`, as the plan declares"
    )
    note = "base scores that no run measured are those of a file that the plan declares"
    assert note in section.notes


@pytest.mark.parametrize(
    ("declared", "words"),
    [
        (Baselines(), "no measured base score of tiny on gsm8k"),
        (measured(PAPER_V1), "a base score of tiny on gsm8k under another protocol or limit"),
        (
            measured(PROTOCOLS["strict"], "other"),
            "a base score of tiny on gsm8k on another engine or other settings of it",
        ),
        (
            measured(PROTOCOLS["strict"], grader={"model": "other", "prompts": {}}),
            "a base score of tiny on gsm8k by another grader or wording",
        ),
    ],
)
def test_a_declared_file_counts_only_for_the_same_protocol_and_engine(
    maker: Maker, declared: Baselines, words: str
) -> None:
    run = maker(baselines="declared", declared=declared, agents=("alice",))
    run.flag(ALICE, 0.9, "x")
    assert cell_of(only(run), ALICE).reason == (
        f"flagged: x; base score: the plan's file of baselines has {words}"
    )


# Scoring, limits -------------------------------------------------------------------------------


def test_another_scoring_counts_for_submissions_and_base_models_alike(maker: Maker) -> None:
    run = maker()
    run.add(BASE, evaluation=evaluation(0.1, published=0.2))
    run.add(ALICE, evaluation=evaluation(0.5, published=0.6))
    run.flag(BOB, 0.9, "x")
    section = only(run, scoring="published")
    assert row_of(section, "alice").score == 0.6
    assert row_of(section, "bob").score == 0.2
    assert section.scoring == "published"
    assert section.protocol_text == (
        "strict: seeded requests, published scoring (asked for; the protocol counts repaired)"
    )


def test_a_record_without_the_other_scoring_is_missing_under_it(maker: Maker) -> None:
    run = maker(agents=("alice",))
    scores = {"repaired": evaluation(0.5).scores["repaired"]}
    run.add(ALICE, evaluation=evaluation(0.5, scores=scores))
    assert row_of(only(run), "alice").score == 0.5
    assert cell_of(only(run, scoring="published"), ALICE).reason == (
        "no complete score under published scoring"
    )


def test_protocol_changes_and_limits_stand_beside_the_score(maker: Maker) -> None:
    protocol = ProtocolSpec(
        name="strict",
        requests="seeded",
        scoring="repaired",
        seeds=(72332, 87681),
        max_tokens=512,
        limit=50,
    )
    run = maker(protocol=protocol)
    run.add(ALICE, 0.5)
    section = only(run)
    assert section.protocol_text == (
        "strict: seeded requests, repaired scoring, mean of seeds 72332, 87681, max tokens 512, "
        "limit: 50 samples"
    )
    assert section.condition_text == (
        "10 h, 1 GPU, network open, dev evaluation in-sandbox, prompt default"
    )


def test_cells_evaluated_with_fewer_tokens_are_named(maker: Maker) -> None:
    run = maker(agents=("alice", "bob", "carol"))
    for agent, tokens in (("alice", 4000), ("bob", 2000), ("carol", 4000)):
        details = {"max_tokens": tokens}
        run.add(f"gsm8k--tiny--{agent}--r1", evaluation=evaluation(0.5, details=details))
    assert only(run).notes == (f"gsm8k: max tokens 2000 instead of 4000 in {BOB}",)


# Refusals --------------------------------------------------------------------------------------


def test_a_run_without_any_record_says_that_there_is_nothing_to_rank(maker: Maker) -> None:
    run = maker()
    with pytest.raises(UsageError) as error:
        load_board([run.folder])
    assert str(error.value) == (
        f"nothing to rank: no cell has a record yet in {run.folder} (3 cells); "
        f"`ptb status {run.folder}` shows where it stands"
    )


def test_after_a_run_the_table_is_printed_even_when_nothing_has_a_record(
    maker: Maker, capsys: pytest.CaptureFixture[str]
) -> None:
    run = maker()
    print_leaderboard([run.folder])
    out = capsys.readouterr().out
    assert "alice" in out
    assert "none of its 3 cells has a usable record yet" in out


def test_a_run_without_a_record_beside_others_is_named(maker: Maker) -> None:
    full, empty = maker(run_id="full"), maker(run_id="none-yet", created_unix_s=2.0)
    full.add(ALICE, 0.5)
    (section,) = load_board([full.folder, empty.folder]).sections
    assert any(note.startswith(f"{empty.folder}: none of its 3 cells") for note in section.notes)
    assert row_of(section, "alice").n_repeats_planned == 2


def test_the_same_folder_twice_is_refused(maker: Maker) -> None:
    run = maker()
    run.add(ALICE, 0.5)
    again = run.folder / ".." / run.folder.name
    with pytest.raises(UsageError, match=r"is given twice \(also as .*\); name it once"):
        load_board([run.folder, again])


def test_a_copy_of_a_run_is_refused(maker: Maker, tmp_path: Path) -> None:
    run = maker()
    run.add(ALICE, 0.5)
    shutil.copytree(run.folder, tmp_path / "copy")
    with pytest.raises(UsageError) as error:
        load_board([run.folder, tmp_path / "copy"])
    assert str(error.value) == (
        f"{run.folder} and {tmp_path / 'copy'} are the same run (run-a), so each of its cells "
        f"would count twice (the first is {BASE}); name it once"
    )


def test_a_record_copied_into_another_run_is_refused(maker: Maker) -> None:
    first, second = maker(run_id="first"), maker(run_id="second")
    first.add(ALICE, 0.5)
    second.add(ALICE, 0.5)
    with pytest.raises(UsageError, match=f"hold the same record of cell {ALICE}, which would"):
        load_board([first.folder, second.folder])


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"is no run folder: it has no run\.json"):
        load_board([tmp_path])


def test_a_damaged_head_is_refused(maker: Maker) -> None:
    run = maker()
    (run.folder / "run.json").write_text("{")
    with pytest.raises(RecordError, match=r"run.json is damaged"):
        load_board([run.folder])


def test_cells_whose_result_is_not_their_first_are_named(maker: Maker) -> None:
    before = EarlierRecord(
        made_by="run", created_unix_s=1.0, counts="missing", verdict="inconclusive", score=0.5
    )
    run = maker()
    run.add(ALICE, 0.5, made_by="retry", earlier=(before,))
    run.add(BOB, 0.25)
    assert only(run).notes == (
        f"{run.folder}: 1 cell was judged or evaluated again ({ALICE}); each record lists under "
        "`earlier` what the cell counted with before",
    )
