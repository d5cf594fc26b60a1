"""Which cells can be done again, what the command says, and what it shows afterwards."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ptb_core.catalogue import load_catalogue
from ptb_core.claims import take_claim
from ptb_core.cli.main import main
from ptb_core.cli.redo import describe_change
from ptb_core.errors import PluginError, UsageError
from ptb_core.evaluation.exchange import TaskScore
from ptb_core.lock import components
from ptb_core.records import Evaluation
from ptb_core.redo import Change, Chosen, choose, require_components
from ptb_core.redo_request import RedoKind, write_redo
from ptb_core.retention.notes import Removal, note_removal
from ptb_core.run_folder import RunFolder
from ptb_core.sandboxing import SealedFile

from .small_run import BASE, MINE, NULL, finish, record_of, small_run, write_marker


@pytest.fixture
def run_folder(tmp_path: Path) -> RunFolder:
    return small_run(tmp_path)


def ended(run_folder: RunFolder, cell_id: str, **changes: Any) -> None:
    finish(run_folder, run_folder.open().cell(cell_id), **changes)


def leave(run_folder: RunFolder, cell_id: str, stage: str, result: Any) -> None:
    write_marker(run_folder.cell(cell_id).marker(stage), stage, result)


def sealed(run_folder: RunFolder, cell_id: str, *, there: bool = True, **changes: Any) -> Path:
    """Leave a seal marker; its folders exist when ``there``."""
    folder = run_folder.cell(cell_id).attempt("seal", 1)
    for name in ("submission", "evidence"):
        if there:
            (folder / name).mkdir(parents=True)
    facts = {
        "state": "sealed",
        "reason": "",
        "path": str(folder / "submission"),
        "files": [],
        "notes": [],
        "evidence": str(folder / "evidence"),
        "omitted": {},
    }
    leave(run_folder, cell_id, "seal", facts | changes)
    return folder


def chosen(run_folder: RunFolder, kind: RedoKind, *wanted: str) -> Chosen:
    return choose(run_folder, run_folder.open(), kind, wanted)


def refusal(run_folder: RunFolder, kind: RedoKind, *wanted: str) -> str:
    with pytest.raises(UsageError) as caught:
        chosen(run_folder, kind, *wanted)
    return str(caught.value)


# Retry ----------------------------------------------------------------------------------------

INCOMPLETE = Evaluation(complete=False, n_expected=10, n_scored=9, scores={}, counted="repaired")


@pytest.mark.parametrize(
    ("changes", "stages"),
    [
        ({"verdict": "inconclusive"}, ("judge", "record")),
        ({"verdict": "inconclusive", "evaluation": INCOMPLETE}, ("score", "judge", "record")),
        ({"verdict": "clean", "evaluation": INCOMPLETE}, ("score", "record")),
        ({"verdict": "clean", "evaluation": None}, ("generate", "score", "record")),
        (
            {"verdict": None, "evaluation": None, "submission": "unloadable"},
            ("generate", "score", "judge", "record"),
        ),
    ],
)
def test_a_retry_repeats_what_left_the_cell_without_a_score(
    run_folder: RunFolder, changes: dict[str, Any], stages: tuple[str, ...]
) -> None:
    ended(run_folder, NULL, counts="missing", reason="x", **changes)
    assert chosen(run_folder, "retry", NULL).stages == {NULL: stages}


def test_a_base_cell_that_could_not_be_loaded_is_measured_again(run_folder: RunFolder) -> None:
    ended(run_folder, BASE, counts="missing", evaluation=None, submission="unloadable")
    assert chosen(run_folder, "retry").stages == {BASE: ("generate", "score", "record")}


def test_a_failed_cell_is_continued_where_it_failed(run_folder: RunFolder) -> None:
    ended(run_folder, NULL, counts="missing")
    run_folder.cell(NULL).marker("record").unlink()
    assert chosen(run_folder, "retry", NULL).stages == {NULL: ()}


@pytest.mark.parametrize(
    ("counts", "words"), [("own", "its own score"), ("base", "the base score")]
)
def test_a_cell_that_counts_is_never_retried(
    run_folder: RunFolder, counts: str, words: str
) -> None:
    ended(run_folder, NULL, counts=counts)
    assert refusal(run_folder, "retry", NULL) == (
        f"retrying is not possible; nothing was changed:\n  {NULL}: it counts with {words}, and "
        "results are never the best of several; `ptb rejudge` and `ptb reevaluate` look again at "
        "the same sealed submission"
    )


def test_a_cell_that_is_not_finished_is_left_to_the_run(run_folder: RunFolder) -> None:
    assert refusal(run_folder, "retry", NULL) == (
        f"retrying is not possible; nothing was changed:\n  {NULL}: it is not finished (stage "
        "waiting); `ptb run` on the run folder continues it"
    )


def test_a_cell_that_is_worked_on_is_left_alone(run_folder: RunFolder) -> None:
    ended(run_folder, NULL, counts="missing")
    held = take_claim(run_folder.cell(NULL).claims)
    assert held is not None
    try:
        text = refusal(run_folder, "retry", NULL)
    finally:
        held.release()
    assert text == (
        f"retrying is not possible; nothing was changed:\n  {NULL}: a supervisor works on it "
        f"({held.claim.host} pid {held.claim.pid}); wait until it has ended, or stop it with "
        "`ptb cancel`"
    )


# Judging and evaluating again -----------------------------------------------------------------


def test_every_agent_cell_is_judged_again_when_none_is_named(run_folder: RunFolder) -> None:
    for cell in (BASE, MINE, NULL):
        ended(run_folder, cell)
    sealed(run_folder, NULL)
    sealed(run_folder, MINE)
    found = chosen(run_folder, "rejudge")
    assert found.stages == {MINE: ("judge", "record"), NULL: ("judge", "record")}
    assert found.left_out == {
        BASE: "it measures the base model, and judges look at agents' cells only"
    }


def test_a_checkpoint_is_evaluated_again_or_only_scored(run_folder: RunFolder) -> None:
    ended(run_folder, NULL)
    sealed(run_folder, NULL)
    log = run_folder.cell(NULL).stage("generate") / "completions.jsonl"
    leave(run_folder, NULL, "generate", {"state": "done", "completions": str(log)})
    log.write_text("", "utf-8")
    assert chosen(run_folder, "reevaluate", NULL).stages[NULL] == ("generate", "score", "record")
    assert chosen(run_folder, "rescore", NULL).stages[NULL] == ("score", "record")


def test_what_was_removed_or_never_there_cannot_be_looked_at_again(run_folder: RunFolder) -> None:
    ended(run_folder, NULL)
    folder = sealed(run_folder, NULL, there=False)
    gone = "is not there any more ({}); restore it from a copy"
    assert refusal(run_folder, "rejudge", NULL).endswith(
        f"the evidence {gone.format(folder / 'evidence')}"
    )
    assert refusal(run_folder, "reevaluate", NULL).endswith(
        f"the sealed checkpoint {gone.format(folder / 'submission')}"
    )
    log = run_folder.cell(NULL).stage("generate") / "gone.jsonl"
    leave(run_folder, NULL, "generate", {"state": "done", "completions": str(log)})
    assert refusal(run_folder, "rescore", NULL).endswith(f"its completions {gone.format(log)}")


@pytest.mark.parametrize("kind", ["retry", "rejudge", "reevaluate"])
def test_a_checkpoint_that_went_by_rule_is_named_before_anything_starts(
    run_folder: RunFolder, kind: RedoKind
) -> None:
    ended(run_folder, NULL, counts="missing", verdict="inconclusive")
    shutil.rmtree(sealed(run_folder, NULL) / "submission")
    removal = Removal(
        what="checkpoint",
        path="stages/seal/attempt-001/submission",
        why="the cell is recorded",
        by="retention none",
        removed_unix_s=0.0,
        freed_bytes=1,
        files=(SealedFile(path="model.safetensors", size=1, sha256="d" * 64),),
    )
    note_removal(run_folder.cell(NULL), removal)
    assert refusal(run_folder, kind, NULL).endswith(
        f"\n  {NULL}: its checkpoint was removed on 1970-01-01 00:00 UTC by retention none, "
        "because the cell is recorded; it can neither answer nor be judged by its weights again. "
        f"It was: model.safetensors with sha256 {'d' * 64}"
    )


def test_a_cell_without_a_submission_has_nothing_to_evaluate(run_folder: RunFolder) -> None:
    ended(run_folder, NULL, counts="base", submission="absent", evaluation=None)
    sealed(run_folder, NULL, state="absent", reason="there is no final_model", path=None)
    leave(run_folder, NULL, "generate", {"state": "skipped", "reason": "nothing to serve"})
    assert refusal(run_folder, "reevaluate", NULL).endswith(
        "it has no submission to evaluate (absent: there is no final_model)"
    )
    assert refusal(run_folder, "rescore", NULL).endswith(
        "it has no completions to score (skipped: nothing to serve)"
    )


def test_a_base_model_that_is_gone_from_the_cache_cannot_be_evaluated_again(
    run_folder: RunFolder, tmp_path: Path
) -> None:
    ended(run_folder, BASE)
    facts = {"model_revision": "r", "data_files": {}, "prompts": {}, "revisions": {}}
    leave(run_folder, BASE, "prepare", {"base_model": str(tmp_path / "gone"), **facts})
    assert refusal(run_folder, "reevaluate", BASE).endswith(
        f"the base model is not there any more ({tmp_path / 'gone'}); restore it from a copy"
    )
    leave(run_folder, BASE, "prepare", {"base_model": str(tmp_path), **facts})
    assert chosen(run_folder, "reevaluate", BASE).stages


def test_what_was_asked_for_and_not_done_yet_can_be_asked_for_again(run_folder: RunFolder) -> None:
    ended(run_folder, NULL)
    sealed(run_folder, NULL)
    write_redo(run_folder.cell(NULL), "rejudge", ("record",))
    assert chosen(run_folder, "rejudge", NULL).stages == {NULL: ("judge", "record")}
    assert chosen(run_folder, "retry", NULL).stages == {NULL: ()}


def test_one_cell_that_cannot_be_done_refuses_all_that_were_named(run_folder: RunFolder) -> None:
    ended(run_folder, NULL)
    sealed(run_folder, NULL)
    assert refusal(run_folder, "rejudge", NULL, BASE).startswith(
        f"judging again is not possible; nothing was changed:\n  {BASE}: it is not finished"
    )
    assert not run_folder.cell(NULL).redo.exists()


# The command line -----------------------------------------------------------------------------


def test_a_cell_may_be_named_by_the_path_of_its_folder(
    run_folder: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    ended(run_folder, NULL)
    path = str(run_folder.cell(NULL).path) + "/"
    assert main(["retry", str(run_folder.path), path]) == 2
    assert f"{NULL}: it counts with its own score" in capsys.readouterr().err


def test_an_unknown_cell_exits_with_two_and_a_suggestion(
    run_folder: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["rejudge", str(run_folder.path), "errands--tiny-qwen3--nul--r1"]) == 2
    assert capsys.readouterr().err == (
        f"ptb: the run small has no cell 'errands--tiny-qwen3--nul--r1' (did you mean '{NULL}'?)\n"
    )


def test_a_plugin_that_is_missing_stops_before_anything_is_changed(
    run_folder: RunFolder, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ended(run_folder, NULL)
    sealed(run_folder, NULL)
    monkeypatch.setenv("PTB_DISABLE_PLUGINS", "builtin-judges")
    load_catalogue.cache_clear()
    try:
        assert main(["rejudge", str(run_folder.path), NULL]) == 2
    finally:
        load_catalogue.cache_clear()
    text = capsys.readouterr().err
    assert text.startswith(
        "ptb: judging again needs what is not usable here; nothing was changed:\n"
        "  there is no judge 'lineage'"
    )
    assert not run_folder.cell(NULL).redo.exists()


@pytest.mark.parametrize(
    ("kind", "unneeded"),
    [
        ("rejudge", "builtin-engines"),
        ("reevaluate", "builtin-judges"),
        ("rescore", "builtin-engines"),
    ],
)
def test_what_the_work_does_not_need_may_be_missing(
    run_folder: RunFolder, kind: RedoKind, unneeded: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended(run_folder, NULL)
    sealed(run_folder, NULL)
    log = run_folder.cell(NULL).stage("generate") / "completions.jsonl"
    leave(run_folder, NULL, "generate", {"state": "done", "completions": str(log)})
    log.write_text("", "utf-8")
    monkeypatch.setenv("PTB_DISABLE_PLUGINS", f"{unneeded},builtin-scaffolds")
    load_catalogue.cache_clear()
    try:
        require_components(run_folder.open(), load_catalogue(), chosen(run_folder, kind, NULL))
    finally:
        load_catalogue.cache_clear()


def test_the_change_of_a_cell_is_one_line(run_folder: RunFolder) -> None:
    cell = run_folder.open().cell(NULL)
    before = record_of(cell, verdict="clean")
    flagged = replace(before, verdict="flagged", counts="base", created_unix_s=2.0)
    missing = replace(before, verdict="inconclusive", counts="missing", created_unix_s=2.0)
    better = replace(
        before,
        created_unix_s=2.0,
        evaluation=replace(
            before.evaluation, scores={"repaired": TaskScore(value=0.5, stderr=0.1, n=10)}
        ),
    )
    lines = [
        (Change(cell="c", before=before, after=better), "own 25.0, clean -> own 50.0, clean"),
        (
            Change(cell="c", before=before, after=flagged),
            "own 25.0, clean -> base (own 25.0), flagged",
        ),
        (Change(cell="c", before=None, after=before), "no record -> own 25.0, clean"),
        (
            Change(cell="c", before=before, after=replace(before, created_unix_s=2.0)),
            "own 25.0, clean -> own 25.0, clean (unchanged)",
        ),
        (
            Change(cell="c", before=before, after=before, problem="no disk"),
            "not done again: no disk",
        ),
        (
            Change(cell="c", before=before, after=missing, problem="inconclusive verdict"),
            "own 25.0, clean -> missing (own 25.0), inconclusive",
        ),
    ]
    assert [describe_change(change) for change, _ in lines] == [f"c: {text}" for _, text in lines]
    assert [change.is_good for change, _ in lines] == [True, True, True, True, False, False]


def test_a_failed_cell_may_need_every_plugin_of_its_life(
    run_folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended(run_folder, NULL, counts="missing")
    run_folder.cell(NULL).marker("record").unlink()
    wanted = chosen(run_folder, "retry", NULL)
    for plugin, lacking in {
        "builtin-scaffolds": "scaffold 'null'",
        "builtin-sandboxes": "sandbox 'local'",
        "builtin-engines": "engine 'transformers'",
        "builtin-judges": "judge 'lineage'",
    }.items():
        monkeypatch.setenv("PTB_DISABLE_PLUGINS", plugin)
        load_catalogue.cache_clear()
        with pytest.raises(PluginError, match=f"there is no {lacking}"):
            require_components(run_folder.open(), load_catalogue(), wanted)
    load_catalogue.cache_clear()


def test_the_lock_names_a_component_that_is_not_installed_any_more(
    run_folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_folder.open()
    monkeypatch.setenv("PTB_DISABLE_PLUGINS", "builtin-scaffolds")
    load_catalogue.cache_clear()
    try:
        found = components(load_catalogue(), run, run.cell(NULL))
    finally:
        load_catalogue.cache_clear()
    assert found["scaffold/null"] is None
    assert found["task/errands"]["distribution"] == "posttrainbench"
