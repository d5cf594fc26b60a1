"""From paths on the command line to a board."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from ptb_core.baselines import Baselines, load_baselines
from ptb_core.errors import UsageError
from ptb_core.garbage import collection_paused
from ptb_core.leaderboard.aggregation import build_section
from ptb_core.leaderboard.cell_results import Rules
from ptb_core.leaderboard.groups import Group
from ptb_core.leaderboard.outside import outside_group, read_result_set
from ptb_core.leaderboard.published import is_published_form, published_group
from ptb_core.leaderboard.results import Board, Fallback
from ptb_core.leaderboard.run_groups import run_groups
from ptb_core.leaderboard.run_results import RunResults, read_run, require_distinct
from ptb_core.schemas import load_json
from ptb_core.specs import Scoring

LABEL_ID_DIGITS = 8
"""Digits of an agent's id shown after ``#`` when several agents have one name."""


def load_board(
    paths: Sequence[Path],
    *,
    scoring: Scoring | None = None,
    fallback: Fallback | None = None,
    check: bool = False,
    allow_empty: bool = False,
) -> Board:
    """Read run folders and outside result sets and compute their leaderboard.

    Args:
        paths: Run folders and JSON files, in any order; at least one.
        scoring: Which scoring counts in run folders; None leaves it to each protocol.
        fallback: Rule for cells without own score; None takes ``project`` for run folders and
            leaves outside sets as they stand.
        check: Hold every record against its full schema too.
        allow_empty: True shows runs of which no cell has a record yet.

    Raises:
        UsageError: If a path is no run folder and no result set, something is given twice, or
            nothing has a result yet.
        InputFileError: If a result set breaks its schema or rules.
        RecordError: If a run's head is damaged.
    """
    with collection_paused():
        return _load(paths, scoring, fallback, check=check, allow_empty=allow_empty)


def _load(
    paths: Sequence[Path],
    scoring: Scoring | None,
    fallback: Fallback | None,
    *,
    check: bool,
    allow_empty: bool,
) -> Board:
    _require_once(paths)
    runs = [read_run(path, check=check) for path in paths if path.is_dir()]
    require_distinct(runs)
    if len(paths) == len(runs) and not allow_empty:
        _require_records(runs)
    groups = run_groups(
        runs, _baselines(runs), Rules(scoring=scoring, fallback=fallback or "project")
    )
    groups += [_outside(path, scoring, fallback) for path in paths if not path.is_dir()]
    groups.sort(key=_order)
    labels = _labels(groups)
    return Board(
        fallback=fallback,
        scoring=scoring,
        sections=tuple(build_section(group, labels) for group in groups),
    )


def _require_once(paths: Sequence[Path]) -> None:
    seen: dict[Path, Path] = {}
    for path in paths:
        first = seen.setdefault(path.resolve(), path)
        if first is not path:
            raise UsageError(f"{path} is given twice (also as {first}); name it once")


def _require_records(runs: Sequence[RunResults]) -> None:
    if any(run.records or run.damaged for run in runs):
        return
    named = ", ".join(f"{run.path} ({len(run.run.cells)} cells)" for run in runs)
    raise UsageError(
        f"nothing to rank: no cell has a record yet in {named}; "
        f"`ptb status {runs[0].path}` shows where it stands"
    )


def _outside(path: Path, scoring: Scoring | None, fallback: Fallback | None) -> Group:
    document = load_json(path)
    if is_published_form(document):
        group = published_group(document, path, fallback)
    else:
        group = outside_group(read_result_set(document, str(path)), path, fallback)
    if scoring is not None and group.scoring != scoring:
        raise UsageError(
            f"{path}: its scores were made under {group.scoring or 'unstated'} scoring and cannot "
            f"be shown under {scoring}; leave --scoring out, or leave this file out"
        )
    return group


def _baselines(runs: Iterable[RunResults]) -> Baselines:
    declared = any(run.run.plan.baselines == "published" for run in runs)
    return load_baselines() if declared else Baselines()


def _labels(groups: Iterable[Group]) -> dict[tuple[str, str | None], str]:
    """Name each agent; with ``#`` and its id where one name has several."""
    ids: dict[str, set[str]] = defaultdict(set)
    for group in groups:
        for entry in group.entries:
            if entry.agent_id is not None:
                ids[entry.agent].add(entry.agent_id)
    labels: dict[tuple[str, str | None], str] = {}
    for agent, known in ids.items():
        cut = {agent_id[:LABEL_ID_DIGITS] for agent_id in known}
        for agent_id in known:
            shown = agent_id[:LABEL_ID_DIGITS] if len(cut) == len(known) else agent_id
            labels[agent, agent_id] = f"{agent}#{shown}" if len(known) > 1 else agent
    return labels


def _order(group: Group) -> tuple[str, ...]:
    return (
        group.sources[0].kind,
        group.condition_id or "",
        group.sources[0].name,
        group.sources[0].path,
        *(f"{task}/{model}" for task, model in sorted(group.grid)),
    )
