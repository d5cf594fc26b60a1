from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from ptb_core.fetch import resolve_prompt
from tests.golden import material, parity
from tests.golden.material import Golden, Parity
from tests.golden.parity import COMPARISONS, SLOW, main, parity_table

LINES = [
    pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in COMPARISONS
]


@pytest.fixture(scope="module", params=LINES)
def result(request: pytest.FixtureRequest, golden: Golden) -> Parity:
    return COMPARISONS[request.param](golden)


def test_every_golden_row_agrees(result: Parity) -> None:
    if result.skipped is not None:
        pytest.skip(result.skipped)
    assert result.mismatches == ()
    assert result.rows > 0


NEED_WORDINGS = (
    "aime2025: requests",
    "gpqamain: requests",
    "gsm8k: requests",
    "healthbench: grader's questions",
    "humaneval: requests",
)


@pytest.mark.network
@pytest.mark.parametrize("name", NEED_WORDINGS)
def test_requests_agree_once_the_wordings_are_fetched(name: str, golden: Golden) -> None:
    for prompt in material.task_facts(name.partition(":")[0]).prompts:
        resolve_prompt(prompt)
    result = COMPARISONS[name](golden)
    assert result.skipped is None
    assert result.mismatches == ()
    assert result.rows > 0


def test_the_table_shows_rows_mismatches_and_deliberate_differences() -> None:
    results = {
        "gsm8k": Parity(rows=655, mismatches=(), differences=45),
        "metrics": Parity(rows=22, mismatches=("metrics-1",)),
        "gsm8k: requests": Parity(rows=0, mismatches=(), skipped="no wording"),
    }
    assert parity_table(results).splitlines() == [
        "golden rows      rows  mismatches  deliberate differences",
        "gsm8k             655           0                      45",
        "metrics            22           1                       –",
        "  metrics-1",
        "gsm8k: requests  not compared: no wording",
    ]


@pytest.mark.parametrize(("mismatches", "status"), [((), 0), (("a",), 1)])
def test_a_mismatch_is_a_failure(
    mismatches: tuple[str, ...],
    status: int,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    result = Parity(rows=1, mismatches=mismatches)
    monkeypatch.setattr(parity, "COMPARISONS", {"line": lambda golden: result})
    monkeypatch.setenv("PTB_TEST_DATA", str(tmp_path))
    assert main() == status
    assert capsys.readouterr().out == parity_table({"line": result}) + "\n"


def test_files_that_no_line_reads_are_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "golden").mkdir()
    for name in ("one", "two", "three"):
        (tmp_path / "golden" / f"{name}.jsonl.gz").write_bytes(gzip.compress(b'{"id": "a"}\n'))
    lines = {"line": lambda golden: material.parity((r["id"], True) for r in golden.rows("two"))}
    monkeypatch.setattr(parity, "COMPARISONS", lines)
    monkeypatch.setenv("PTB_TEST_DATA", str(tmp_path))
    assert main() == 0
    assert capsys.readouterr().out.endswith("\nleft out: one, three\n")


def test_without_the_folder_of_rows_it_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("PTB_TEST_DATA", raising=False)
    assert main() == 2
    assert capsys.readouterr().err == (
        "parity: PTB_TEST_DATA is not set; it names the folder with golden/ and data/\n"
    )
