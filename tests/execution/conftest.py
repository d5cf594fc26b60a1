"""Programs to run, in sandboxes where bubblewrap works and beside the tests."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from ptb_core.catalogue import load_catalogue
from ptb_core.evaluation.checking import CheckError, ProgramRunner
from ptb_core.evaluation.checks import ProgramCheck, ProgramResult
from ptb_core.execution.jobs import ProgramLimits
from ptb_core.execution.programs import ProgramSandbox, SandboxProgramRunner
from ptb_plugins.sandboxes.local.isolation import bwrap_failure

Outcomes = Mapping[str, ProgramResult | CheckError]
_numbers = itertools.count()

TIGHT = ProgramLimits(
    memory_gib=0.25, address_gib=4.0, disk_gib=0.05, file_gib=0.02, processes=32, open_files=64
)


def needs_bubblewrap() -> None:
    if (failure := bwrap_failure()) is not None:
        pytest.skip(failure)


def place_of(
    root: Path,
    hidden: tuple[Path, ...] = (),
    limits: ProgramLimits = TIGHT,
    isolation: str = "bwrap",
) -> ProgramSandbox:
    return ProgramSandbox(
        sandbox=load_catalogue().sandbox("local"),
        name=f"test-programs-{root.name}-{next(_numbers)}",
        root=root / "programs",
        hidden=hidden,
        settings={"isolation": isolation},
        limits=limits,
    )


def in_sandboxes(
    root: Path, programs: Mapping[str, str], timeout_s: float = 20.0, hidden: tuple[Path, ...] = ()
) -> Outcomes:
    """Run programs by name, each with a token, in sandboxes with tight limits."""
    needs_bubblewrap()
    return outcomes(SandboxProgramRunner(place_of(root, hidden)), programs, timeout_s)


def outcomes(
    runner: ProgramRunner, programs: Mapping[str, str], timeout_s: float = 20.0
) -> Outcomes:
    async def one(check: ProgramCheck) -> ProgramResult | CheckError:
        try:
            return await runner.run(check)
        except CheckError as error:
            return error

    async def every() -> list[ProgramResult | CheckError]:
        async with runner:
            checks = [
                ProgramCheck(name=name, program=text, timeout_s=timeout_s, wants_token=True)
                for name, text in programs.items()
            ]
            return await asyncio.gather(*map(one, checks))

    return dict(zip(programs, asyncio.run(every()), strict=True))


def result(found: ProgramResult | CheckError) -> ProgramResult:
    assert isinstance(found, ProgramResult), found
    return found


Run = Callable[[str], ProgramResult]
