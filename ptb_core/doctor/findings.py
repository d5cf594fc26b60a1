"""What the doctor says, as data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Level: TypeAlias = Literal["ok", "warning", "problem"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line.

    Attributes:
        level: ``warning`` takes something away from plans that need it; ``problem`` is to be
            mended before anything is started.
        fact: What was found.
        details: What belongs to it, a line each.
        advice: What to do; empty for ``ok``.
    """

    level: Level
    fact: str
    details: tuple[str, ...] = ()
    advice: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """Findings about one thing."""

    name: str
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything that was found.

    Attributes:
        sections: In the order in which they are to be read.
        missing: Kinds of which a cell needs one component, and of which none can be used here.
    """

    sections: tuple[Section, ...]
    missing: tuple[str, ...]

    @property
    def can_run(self) -> bool:
        """False when no plan at all can run on this machine."""
        return not self.missing

    def count(self, level: Level) -> int:
        """Return the number of findings of a level."""
        return sum(one.level == level for section in self.sections for one in section.findings)


def ok(fact: str, *details: str) -> Finding:
    """Return a finding that asks for nothing."""
    return Finding(level="ok", fact=fact, details=details)


def warning(fact: str, advice: str, *details: str) -> Finding:
    """Return a finding that some plans suffer from."""
    return Finding(level="warning", fact=fact, advice=advice, details=details)


def problem(fact: str, advice: str, *details: str) -> Finding:
    """Return a finding that is to be mended first."""
    return Finding(level="problem", fact=fact, advice=advice, details=details)
