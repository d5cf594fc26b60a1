"""The folder of golden rows and real data, and what parity says of a file of rows."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ptb_core.api import ChatRequest, DataError, PromptText, TaskSpec, data_dir, load_manifest
from ptb_core.fetch import resolve_prompt

Row = dict[str, Any]
Rows = list[Row]

NO_WORDING = "the prompt's wording is not on this machine; `ptb prefetch` brings it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parity:
    """What comparing this project with the published code gave.

    Attributes:
        rows: Golden rows that were compared.
        mismatches: Ids of rows whose published verdict is another here; must be empty.
        differences: Reason of each deliberate difference by row id: rows whose repaired verdict
            is not the published one. None where there is only one way to score.
        skipped: Why nothing was compared, or None.
    """

    rows: int
    mismatches: tuple[str, ...]
    differences: int | None = None
    skipped: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Golden:
    """The folder that PTB_TEST_DATA names.

    Attributes:
        root: Its path.
        opened: Names of the golden files that were asked for.
    """

    root: Path
    opened: set[str] = field(default_factory=set)

    def rows(self, name: str) -> Rows:
        """Return the rows of ``golden/NAME.jsonl.gz``."""
        return _lines(self.file(name))

    def file(self, name: str) -> Path:
        """Return the path of ``golden/NAME.jsonl.gz``."""
        self.opened.add(name)
        return self.root / "golden" / f"{name}.jsonl.gz"

    def unopened(self) -> list[str]:
        """Return the names of the golden files that nothing asked for."""
        paths = (self.root / "golden").glob("*.jsonl.gz")
        return sorted({path.name.removesuffix(".jsonl.gz") for path in paths} - self.opened)

    def data(self, name: str) -> Path:
        """Return the path of ``data/NAME.jsonl.gz``."""
        return self.root / "data" / f"{name}.jsonl.gz"

    def requests(self, task: str, file: str = "request") -> Rows:
        """Return the rows of a file of request digests that are about one task."""
        return [row for row in self.rows(file) if row["task"] == task]


def joined_bfcl(golden: Golden, folder: Path) -> Path:
    """Write the records of bfcl as the hub holds them, answers joined to questions by id."""
    answers = {row["id"]: row for row in _lines(golden.data("bfcl-exec-simple-answer"))}
    path = folder / "bfcl.jsonl"
    with path.open("w", encoding="utf-8") as stream:
        for row in _lines(golden.data("bfcl-exec-simple-question")):
            stream.write(json.dumps(row | answers[row["id"]]) + "\n")
    return path


def task_facts(name: str) -> TaskSpec:
    """Return the facts of a built-in task."""
    return load_manifest(data_dir() / "registry" / "tasks" / f"{name}.json", TaskSpec)


def wording(prompt: PromptText) -> str | None:
    """Return a prompt's wording, or None when it is neither installed nor in the cache."""
    try:
        return resolve_prompt(prompt, offline=True)[0]
    except DataError:
        return None


def digest(request: ChatRequest) -> str:
    """Return the digest of a request as the golden rows take it."""
    body = {"messages": list(request.messages), "tools": list(request.tools)}
    text = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def parity(
    compared: Iterable[tuple[str, bool]], differences: int | None = None, skipped: str | None = None
) -> Parity:
    """Return what a comparison gave.

    Args:
        compared: Id of each golden row, and whether this project agrees with it.
        differences: Rows whose repaired verdict deliberately is another.
        skipped: Why nothing was compared.
    """
    results = list(compared)
    wrong = tuple(row_id for row_id, agrees in results if not agrees)
    return Parity(rows=len(results), mismatches=wrong, differences=differences, skipped=skipped)


def _lines(path: Path) -> Rows:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]
