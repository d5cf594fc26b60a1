"""A grader on this machine, asked without waiting for real."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ptb_core.evaluation.checks import GraderCheck, GraderResult
from ptb_core.grading.grader import GraderPlace, OpenAiGrader
from ptb_core.grading.patience import GraderLimits, Timing
from ptb_core.grading.terms import GraderTerms
from ptb_core.specs import GraderSpec
from ptb_core.testing.grader import PatientClock, ScriptedGrader

KEY = "sk-test-0123456789abcdef"


def check(text: str = "which?", **changes: Any) -> GraderCheck:
    facts: dict[str, Any] = {
        "name": "game-1",
        "messages": ({"role": "user", "content": text},),
        "max_completion_tokens": 100,
    }
    return GraderCheck(**facts | changes)


def anything(_: str) -> bool:
    return True


class Asking:
    """Makes graders in one folder, and asks them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = PatientClock()
        self.facts: dict[str, Any] = {}

    def grader(
        self,
        server: ScriptedGrader,
        *,
        limits: GraderLimits | None = None,
        scope: str = "cell",
        replies: str = "replies",
        price: Any = None,
        budget_usd: float | None = None,
        prompts: dict[str, str] | None = None,
        **spec: Any,
    ) -> OpenAiGrader:
        fields = {"base_url": server.base_url, "api_key_env": "PTB_TEST_KEY", **spec}
        return OpenAiGrader(
            GraderTerms(grader=GraderSpec(**fields), price=price, budget_usd=budget_usd),
            GraderPlace(replies=self.folder / replies, ledger=self.folder / "ledger", scope=scope),
            prompts=prompts,
            limits=limits,
            timing=Timing(
                now=self.clock.now,
                wall=lambda: 1_000_000_000.0,
                sleep=self.clock.sleep,
                chance=lambda: 0.5,
            ),
        )

    def ask(
        self,
        server: ScriptedGrader,
        *checks: GraderCheck,
        accepts: Callable[[str], bool] = anything,
        **options: Any,
    ) -> list[GraderResult | Exception]:
        """Put questions one after the other to a new grader."""
        grader = self.grader(server, **options)

        async def put() -> list[GraderResult | Exception]:
            found: list[GraderResult | Exception] = []
            async with grader:
                for one in checks or (check(),):
                    try:
                        found.append(await grader.ask(one, accepts))
                    except Exception as error:
                        found.append(error)
            return found

        results = asyncio.run(put())
        self.facts = grader.facts()
        return results


@pytest.fixture
def asking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Asking:
    monkeypatch.setenv("PTB_TEST_KEY", KEY)
    return Asking(tmp_path)
