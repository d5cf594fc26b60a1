"""A section as a table of short texts, the same for terminal, pipe and Markdown.

Scores are percent with one decimal; a score that is not there is a dash, never 0.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ptb_core.leaderboard.results import Row, Section

NO_VALUE = "–"

MOST_REASONS = 5
"""Reasons for missing cells that are listed per row; JSON has them all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A section in words.

    Attributes:
        head: Lines above the table: condition, protocol, engine, grader, weights, sources.
        columns: Names of the columns.
        numeric: For each column, whether it is aligned to the right.
        rows: Agents' rows, best first.
        references: Rows to compare with.
        notes: Lines below the table.
    """

    head: tuple[str, ...]
    columns: tuple[str, ...]
    numeric: tuple[bool, ...]
    rows: tuple[tuple[str, ...], ...]
    references: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...]


def make_table(section: Section) -> Table:
    """Return a section as a table."""
    columns = ("rank", "agent", "score %", "n", *section.tasks, "cells", "marks")
    return Table(
        head=tuple(_printable(line) for line in _head(section)),
        columns=columns,
        numeric=tuple(name not in {"agent", "cells", "marks"} for name in columns),
        rows=tuple(_texts(row, section) for row in section.rows),
        references=tuple(_texts(row, section) for row in section.references),
        notes=tuple(_printable(line) for line in _notes(section)),
    )


def percent(value: float | None, sd: float | None = None) -> str:
    """Return a fraction as percent with one decimal, with its spread if there is one."""
    if value is None:
        return NO_VALUE
    text = f"{100 * value:.1f}"
    return text if sd is None else f"{text} ± {100 * sd:.1f}"


def _texts(row: Row, section: Section) -> tuple[str, ...]:
    tasks = [row.tasks.get(task) for task in section.tasks]
    texts = (
        NO_VALUE if row.rank is None else str(row.rank),
        row.label,
        percent(row.score, row.sd),
        _repeats(row),
        *(percent(task.mean, task.sd) if task else NO_VALUE for task in tasks),
        _cells(row),
        "; ".join(_marks(row)),
    )
    return tuple(_printable(text) for text in texts)


def _repeats(row: Row) -> str:
    if row.n_repeats is None:
        return "?"
    if row.n_repeats == row.n_repeats_planned:
        return str(row.n_repeats)
    return f"{row.n_repeats} of {row.n_repeats_planned}"


def _cells(row: Row) -> str:
    counts = row.counts
    named = {
        "own": counts.own,
        "given": counts.given,
        "base": counts.base,
        "missing": counts.missing,
    }
    return ", ".join(f"{number} {name}" for name, number in named.items() if number) or NO_VALUE


def _marks(row: Row) -> Iterator[str]:
    total = row.counts.total
    if row.flagged_share:
        kinds = [f"{kind} ×{n}" if n > 1 else kind for kind, n in row.violations.items()]
        named = f": {', '.join(kinds)}" if kinds else ""
        yield f"flagged {_share(row.flagged_share, total)}{named}"
    for state in ("absent", "refused", "unloadable"):
        number = sum(c.submission == state and c.counts == "base" for c in row.cells)
        if number:
            yield f"submission {state} {number}/{total}"
    if row.inconclusive_share:
        yield f"inconclusive {_share(row.inconclusive_share, total)}"
    if row.missing_share and total:
        yield f"missing {_share(row.missing_share, total)}"
    if row.score_basis == "stated":
        yield "score as stated"
    elif row.sd_basis == "stated":
        yield "± as stated"


def _share(share: float, total: int) -> str:
    return f"{round(share * total)}/{total}"


def _head(section: Section) -> Iterator[str]:
    condition = f" [{section.condition_id}]" if section.condition_id else ""
    yield f"condition{condition}: {section.condition_text}"
    yield f"protocol {section.protocol_text}"
    if section.engine_text:
        yield f"engine {section.engine_text}"
    if section.grader_text:
        yield f"grader {section.grader_text}"
    models = "1 model" if len(section.models) == 1 else f"{len(section.models)} models"
    yield f"{models}: {', '.join(section.models)}"
    if len(section.tasks) > 1:
        weights = ", ".join(f"{task} {weight:.4g}" for task, weight in section.weights.items())
        note = f" ({section.weights_note})" if section.weights_note else ""
        yield f"weights: {weights}{note}"
    yield "from: " + ", ".join(f"{source.path} ({source.name})" for source in section.sources)


def _notes(section: Section) -> Iterator[str]:
    """Yield the section's notes, then the rows', one line for rows that share a note."""
    yield from section.notes
    rows = (*section.rows, *section.references)
    sharing: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        for note in row.notes:
            sharing[note].append(row.label)
    yield from (f"{', '.join(labels)}: {note}" for note, labels in sharing.items())
    for row in rows:
        yield from (f"{row.label}: {line}" for line in _missing_lines(row, section.notes))


def _missing_lines(row: Row, told: Sequence[str]) -> Iterator[str]:
    """Yield why cells are missing, one line per reason, but for what notes already told."""
    by_reason: dict[str, list[str]] = defaultdict(list)
    for cell in row.cells:
        if cell.counts == "missing":
            name = cell.cell or f"{cell.task}, {cell.model}, repeat {cell.repeat}"
            by_reason[cell.reason or "no reason given"].append(name)
    untold = [(r, c) for r, c in by_reason.items() if not any(n.endswith(r) for n in told)]
    for reason, cells in untold[:MOST_REASONS]:
        if len(cells) == 1:
            yield f"{cells[0]} is missing: {reason}"
        else:
            yield f"{len(cells)} cells are missing, such as {cells[0]}: {reason}"
    rest = sum(len(cells) for _, cells in untold[MOST_REASONS:])
    if rest:
        yield f"{rest} more missing for other reasons; --json lists every cell"


def _printable(text: str) -> str:
    """Return text without characters that steer a terminal or break a line."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def column_widths(table: Table) -> Sequence[int]:
    """Return the width of each column in characters."""
    lines = (table.columns, *table.rows, *table.references)
    return [max(len(line[index]) for line in lines) for index in range(len(table.columns))]
