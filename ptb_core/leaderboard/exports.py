"""The leaderboard as JSON, CSV and Markdown."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

import msgspec

from ptb_core.leaderboard.results import Board, Row, Section
from ptb_core.leaderboard.tables import Table, make_table

CSV_COLUMNS = (
    "section",
    "condition_id",
    "condition",
    "protocol",
    "engine",
    "grader",
    "scoring",
    "rank",
    "kind",
    "agent",
    "agent_id",
    "label",
    "score",
    "sd",
    "score_basis",
    "sd_basis",
    "n_repeats",
    "n_repeats_planned",
    "cells",
    "own",
    "given",
    "base",
    "missing",
    "flagged_share",
    "inconclusive_share",
    "missing_share",
    "violations",
)
"""Columns of the CSV before those of the tasks, which are ``TASK`` and ``TASK_sd``."""


def json_text(board: Board) -> str:
    """Return a board as JSON of the form ``schemas/leaderboard.schema.json``; fractions."""
    return msgspec.json.format(msgspec.json.encode(board), indent=2).decode() + "\n"


def csv_text(board: Board) -> str:
    """Return a board as CSV, one line per row; fractions, empty where there is no value."""
    tasks = list(dict.fromkeys(task for section in board.sections for task in section.tasks))
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([*CSV_COLUMNS, *(name for task in tasks for name in (task, f"{task}_sd"))])
    for number, section in enumerate(board.sections, start=1):
        for row in (*section.rows, *section.references):
            writer.writerow([*_facts(number, section, row), *_task_values(row, tasks)])
    return stream.getvalue()


def markdown_text(board: Board) -> str:
    """Return a board as Markdown; percent with one decimal."""
    return (
        "\n\n".join("\n".join(_markdown_lines(make_table(section))) for section in board.sections)
        + "\n"
    )


def _facts(number: int, section: Section, row: Row) -> list[object]:
    counts = row.counts
    return [
        number,
        section.condition_id,
        section.condition_text,
        section.protocol_text,
        section.engine_text,
        section.grader_text,
        section.scoring,
        row.rank,
        row.kind,
        row.agent,
        row.agent_id,
        row.label,
        row.score,
        row.sd,
        row.score_basis,
        row.sd_basis,
        row.n_repeats,
        row.n_repeats_planned,
        counts.total,
        counts.own,
        counts.given,
        counts.base,
        counts.missing,
        row.flagged_share,
        row.inconclusive_share,
        row.missing_share,
        " ".join(f"{kind}={n}" for kind, n in row.violations.items()),
    ]


def _task_values(row: Row, tasks: list[str]) -> Iterator[float | None]:
    for task in tasks:
        column = row.tasks.get(task)
        yield column.mean if column else None
        yield column.sd if column else None


def _markdown_lines(table: Table) -> Iterator[str]:
    yield from (f"- {_escaped(line)}" for line in table.head)
    yield ""
    yield _markdown_line(table.columns)
    yield "|" + "|".join("---:" if right else ":---" for right in table.numeric) + "|"
    for row in table.rows:
        yield _markdown_line(row)
    for row in table.references:
        yield _markdown_line(tuple(f"*{_escaped(text)}*" if text else "" for text in row), raw=True)
    if table.notes:
        yield ""
    yield from (f"- note: {_escaped(note)}" for note in table.notes)


def _markdown_line(texts: tuple[str, ...], *, raw: bool = False) -> str:
    shown = texts if raw else tuple(_escaped(text) for text in texts)
    return "| " + " | ".join(shown) + " |"


def _escaped(text: str) -> str:
    for mark in "\\`*_[]<>|":
        text = text.replace(mark, f"\\{mark}")
    return text
