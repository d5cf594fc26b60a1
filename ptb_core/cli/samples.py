"""``ptb samples PATH``: what was asked and answered, sample by sample."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ptb_core.errors import UsageError

if TYPE_CHECKING:
    from ptb_core.evaluation.sample_lines import SampleLine
    from ptb_core.specs import Scoring


@click.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.argument("cells", metavar="[CELL]...", nargs=-1)
@click.option("--wrong", is_flag=True, help="Samples with a value under 0.5.")
@click.option("--truncated", is_flag=True, help="Samples of which an answer hit its limit.")
@click.option("--differ", is_flag=True, help="Samples whose two scorings differ.")
@click.option("--marks", multiple=True, metavar="MARK", help="Samples with a mark; repeatable.")
@click.option("--search", metavar="TEXT", help="Samples that hold a text, in any case.")
@click.option("--scoring", type=click.Choice(["published", "repaired"]), help="Whose values.")
@click.option("--id", "sample_id", metavar="ID", help="One sample, whole.")
@click.option("--n", "most", type=click.IntRange(min=1), help="At most so many.")
@click.option("--json", "as_json", is_flag=True, help="Print whole samples, one JSON line each.")
def command(
    path: Path,
    cells: tuple[str, ...],
    wrong: bool,
    truncated: bool,
    differ: bool,
    marks: tuple[str, ...],
    search: str | None,
    scoring: Scoring | None,
    sample_id: str | None,
    most: int | None,
    as_json: bool,
) -> None:
    """Show samples of an evaluation.

    PATH is a samples file, a folder of `ptb evaluate`, the folder of a cell, or a run folder, of
    which CELL names cells (all scored ones by default). Conditions add up. The scoring that counts
    under the protocol is meant unless --scoring says otherwise.
    """
    from ptb_core.evaluation.sample_view import Choice

    choice = Choice(
        id=sample_id,
        wrong=wrong,
        truncated=truncated,
        differ=differ,
        marks=marks,
        search=search,
        scoring=scoring,
    )
    seen = fitting = 0
    for cell, line in _lines(path, cells):
        seen += 1
        if choice.takes(line):
            fitting += 1
            _show(cell, line, choice.scoring, whole=sample_id is not None, as_json=as_json)
            if fitting == most:
                click.echo(f"the first {most} that fit; there may be more", err=True)
                return
    if sample_id is not None and not fitting:
        raise UsageError(f"{path} has no sample {sample_id!r} that fits; it has {seen} samples")
    click.echo(f"{fitting} of {seen} samples", err=True)


def _show(
    cell: str, line: SampleLine, scoring: Scoring | None, *, whole: bool, as_json: bool
) -> None:
    import msgspec

    from ptb_core.evaluation.sample_view import short_lines, whole_lines
    from ptb_core.json_codec import encodable

    if as_json:
        data = encodable(msgspec.to_builtins(line))
        click.echo(msgspec.json.encode({**({"cell": cell} if cell else {}), **data}))
        return
    lines = whole_lines(line, scoring) if whole else short_lines(line, scoring)
    for number, text in enumerate(lines):
        click.echo(f"{cell}  {text}" if cell and number == 0 else text)
    click.echo()


def _lines(path: Path, cells: tuple[str, ...]) -> Iterator[tuple[str, SampleLine]]:
    """Yield samples with the name of their cell; empty where there is only one evaluation."""
    from ptb_core.evaluation.sample_lines import read_sample_lines

    if (path / "run.json").is_file():
        yield from _lines_of_cells(path, cells)
    elif (path.resolve().parent.parent / "run.json").is_file() and (path / "stages").is_dir():
        _refuse_cells(path, cells)
        yield from _lines_of_cells(path.resolve().parent.parent, (path.resolve().name,))
    elif path.is_dir():
        _refuse_cells(path, cells)
        yield from (("", line) for line in read_sample_lines(_samples_file(path)))
    elif path.is_file():
        _refuse_cells(path, cells)
        yield from (("", line) for line in read_sample_lines(path))
    else:
        raise UsageError(f"{path}: there is no such file or folder")


def _lines_of_cells(run: Path, names: tuple[str, ...]) -> Iterator[tuple[str, SampleLine]]:
    from ptb_core.catalogue import load_catalogue
    from ptb_core.cell_samples import cell_lines, cells_of
    from ptb_core.run_folder import RunFolder

    catalogue = load_catalogue()
    found = cells_of(RunFolder(run), names)
    if not found:
        raise UsageError(f"no cell of {run} has scored answers; `ptb status {run}` says more")
    for files in found:
        label = files.cell.id if len(found) > 1 else ""
        lines = cell_lines(files, catalogue, lambda text: click.echo(f"ptb: {text}", err=True))
        yield from ((label, line) for line in lines)


def _refuse_cells(path: Path, cells: tuple[str, ...]) -> None:
    if cells:
        raise UsageError(f"{path} is no run folder, so no cell can be named beside it")


def _samples_file(folder: Path) -> Path:
    file = folder / "samples.jsonl"
    if file.is_file():
        return file
    if (folder / "evaluation.json").is_file():
        raise UsageError(
            f"{folder} has no samples yet: its evaluation is not complete; run the same "
            "`ptb evaluate` again to go on with it"
        )
    raise UsageError(
        f"{folder} holds no samples: expected a folder of `ptb evaluate`, a cell's folder or a run "
        "folder"
    )
