"""The suite of each kind, and its checks by name and promise."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ptb_core.specs import Kind
from ptb_core.testing.component import SpecConformance
from ptb_core.testing.engine import EngineConformance
from ptb_core.testing.executor import ExecutorConformance
from ptb_core.testing.judge import JudgeConformance
from ptb_core.testing.model import ModelConformance
from ptb_core.testing.sandbox import SandboxConformance
from ptb_core.testing.scaffold import ScaffoldConformance
from ptb_core.testing.task import TaskConformance

Suite = type[SpecConformance[Any]]

SUITES: Mapping[Kind, Suite] = {
    "task": TaskConformance,
    "model": ModelConformance,
    "scaffold": ScaffoldConformance,
    "sandbox": SandboxConformance,
    "engine": EngineConformance,
    "judge": JudgeConformance,
    "executor": ExecutorConformance,
}
"""Conformance class of each kind."""

PREFIX = "test_"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One named check.

    Attributes:
        method: Its method in the suite.
        promise: What it holds the component to, in one line.
    """

    method: str
    promise: str

    @property
    def name(self) -> str:
        """Its name as a sentence."""
        return self.method.removeprefix(PREFIX).replace("_", " ")


def checks_of(suite: Suite) -> tuple[Check, ...]:
    """Return the checks of a suite, those that all kinds share first, in the order written."""
    methods: dict[str, str] = {}
    for owner in reversed(suite.__mro__):
        for name, method in vars(owner).items():
            if name.startswith(PREFIX) and inspect.isfunction(method):
                methods[name] = (inspect.getdoc(method) or "").partition("\n")[0]
    return tuple(Check(method=name, promise=promise) for name, promise in methods.items())
