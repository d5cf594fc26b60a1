"""Whatever a run holds and whatever the rule: what must stay stays, to the byte."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from ptb_core.catalogue import load_catalogue
from ptb_core.claims import HeldClaim, take_claim
from ptb_core.journal import append_event
from ptb_core.plan.model import Retention
from ptb_core.retention.collect import Collector
from ptb_core.run_folder import CellFolder

from ..core.small_run import small_run
from .conftest import World
from .made_cells import cite_earlier, citing, content, gone, mark, recorded, weights, work

MAY_GO = re.compile(
    r"stages/("
    r"seal/attempt-\d+/submission(/.*)?"
    r"|seal/attempt-\d+/\.submission\.partial(/.*)?"
    r"|solve/attempt-\d+/workspace/final_model/.*\.safetensors"
    r"|(solve/attempt-\d+/workspace|seal/attempt-\d+/evidence/workspace)/step-\d+/weights"
    r"|solve/attempt-\d+/sandbox(/.*)?"
    r"|[a-z]+/\.done\.json\.[0-9a-f]{8}\.tmp"
    r")"
)
"""All that may ever go, written down here anew and not taken from the code."""

COUNTS = ("own", "base", "missing")


@dataclass(frozen=True)
class Made:
    """How one cell is made."""

    state: str
    counts: str
    score: float
    steps: int
    cites: tuple[str, ...]
    link: str
    has_lost_attempt: bool


cells = st.builds(
    Made,
    state=st.sampled_from(("recorded", "recorded", "recorded", "unfinished", "failed", "live")),
    counts=st.sampled_from(COUNTS),
    score=st.floats(0, 1),
    steps=st.integers(0, 2),
    cites=st.lists(
        st.sampled_from(
            ("workspace/step-1/weights", "workspace/train.py", "submission/config.json")
        ),
        max_size=2,
        unique=True,
    ).map(tuple),
    link=st.sampled_from(("", "", "submission", "final_model", "step")),
    has_lost_attempt=st.booleans(),
)
rules = st.builds(
    Retention,
    checkpoints=st.sampled_from(("all", "best", "after-verdict", "none")),
    workspaces=st.sampled_from(("whole", "without-copies", "without-weights")),
)


def make(world: World, repeat: int, made: Made, outside: Path) -> CellFolder:
    cell = world.cell(repeat)
    changes: dict[str, Any] = {
        "counts": made.counts,
        "verdict": {"own": "clean", "base": "flagged", "missing": "inconclusive"}[made.counts],
    }
    if made.counts == "base" and made.cites:
        changes["verdicts"] = (citing(*made.cites),)
    if made.state == "unfinished":
        folder = work(world.folder, cell)
    else:
        folder = recorded(world.folder, cell, made.score, **changes)
    for number in range(1, made.steps + 1):
        step = folder.attempt("solve", 1) / "workspace" / f"step-{number}"
        step.mkdir()
        (step / "weights").write_bytes(weights(bytes([number])))
    shutil.rmtree(folder.attempt("seal", 1) / "evidence")
    mark(folder)
    if made.cites and made.counts != "base":
        cite_earlier(folder, *made.cites)
    if made.state == "failed":
        folder.marker("record").unlink()
    if made.has_lost_attempt:
        lose_an_attempt(folder)
    replace_by_link(folder, made.link, outside)
    return folder


def lose_an_attempt(folder: CellFolder) -> None:
    """The first seal was cut off, the third try at solve is the one that counts."""
    (folder.attempt("seal", 2) / ".submission.partial").mkdir(parents=True)
    (folder.stage("seal") / ".done.json.01ab23cd.tmp").write_text("half", "utf-8")
    lost = folder.attempt("solve", 0) / "sandbox" / "home"
    lost.mkdir(parents=True)
    (lost / "cache").write_bytes(b"-" * 5000)
    append_event(folder.journal, "started", 1, stage="solve", attempt=0)


def replace_by_link(folder: CellFolder, what: str, outside: Path) -> None:
    place = {
        "submission": folder.attempt("seal", 1) / "submission",
        "final_model": folder.attempt("solve", 1) / "workspace" / "final_model",
        "step": folder.attempt("solve", 1) / "workspace" / "step-1",
    }.get(what)
    if place is not None and place.exists():
        shutil.rmtree(place)
        place.symlink_to(outside)


def held(world: World, made: tuple[Made, ...]) -> Iterator[HeldClaim]:
    for repeat, each in enumerate(made, start=1):
        if each.state == "live":
            claim = take_claim(world.folder.cell(world.cell(repeat).id).claims)
            assert claim is not None
            yield claim


@settings(max_examples=15, deadline=None)
@given(made=st.tuples(cells, cells, cells), rule=rules)
def test_nothing_goes_that_must_stay(made: tuple[Made, ...], rule: Retention) -> None:
    with TemporaryDirectory() as temporary:
        root = Path(temporary).resolve()
        outside = root / "outside"
        (outside / "step-1").mkdir(parents=True)
        for name in ("model.safetensors", "config.json", "weights", "step-1/weights"):
            (outside / name).write_bytes(weights(b"o"))
        world = World(small_run(root, agents=[{"name": "null", "scaffold": "null"}], repeats=3))
        folders = [make(world, n, each, outside) for n, each in enumerate(made, start=1)]
        claims = list(held(world, made))
        kept, before = content(outside), [content(folder.path) for folder in folders]
        collector = Collector(
            world.folder, world.run, CATALOGUE, rule, by="test", with_leftovers=True
        )
        for repeat in (1, 2, 3):
            collector.clean(world.cell(repeat))
        assert content(outside) == kept
        for each, folder, was in zip(made, folders, before, strict=True):
            check(each, rule, gone(was, content_without_notes(folder)), was)
        survivors = [bool(e.counts == "own" and e.state == "recorded") for e in made]
        if rule.checkpoints == "best" and any(survivors):
            check_best(made, folders)
        for claim in claims:
            claim.release()


def content_without_notes(folder: CellFolder) -> dict[str, object]:
    return {key: value for key, value in content(folder.path).items() if key != "removed.jsonl"}


def check(made: Made, rule: Retention, went: set[str], was: dict[str, object]) -> None:
    assert all(MAY_GO.fullmatch(path) for path in went), went
    sealed = {path for path in was if path.startswith("stages/seal/attempt-001/submission/")}
    assert not sealed & went or sealed <= went, "a submission is whole or gone"
    weights_gone = {path for path in went if path.endswith(("safetensors", "weights"))}
    if made.state == "live":
        assert went == set()
    if made.state in ("unfinished", "failed"):
        assert weights_gone == set()
    if "submission/config.json" in made.cites and made.state != "unfinished":
        assert not sealed & went
    if "workspace/step-1/weights" in made.cites and made.state != "unfinished":
        assert not {path for path in went if path.endswith("step-1/weights")}
    if made.counts != "own" and rule.checkpoints != "none":
        assert not sealed & went
    if rule.checkpoints == "all":
        assert not sealed & went


def check_best(made: tuple[Made, ...], folders: list[CellFolder]) -> None:
    """The best of those that count with their own scores is always there."""
    own = [
        (each.score, folder)
        for each, folder in zip(made, folders, strict=True)
        if each.counts == "own" and each.state == "recorded"
    ]
    best = max(score for score, _ in own)
    assert any(
        (folder.attempt("seal", 1) / "submission").exists()
        for score, folder in own
        if score == best
    )


CATALOGUE = load_catalogue()
