"""What has to be found out about completions before a task can score them.

A task stays pure: it says which programs must be run and what a grader must be asked
(:meth:`~ptb_core.interfaces.Task.checks`), core finds it out, and the results reach
:meth:`~ptb_core.interfaces.Task.score` with the completion.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import msgspec

from ptb_core.specs import JsonValue


class ProgramCheck(msgspec.Struct, frozen=True, kw_only=True, tag="program", tag_field="kind"):
    """A Python program to run in an execute sandbox: no network, no keys, hard limits.

    Attributes:
        name: Unique among the checks of one completion.
        program: The whole program; may be written by a model.
        timeout_s: Wall-clock seconds until its whole process tree is killed.
        wants_token: True appends a statement that prints a secret, which tells a program that
            ran to its end from one that left early with status 0.
    """

    name: str
    program: str
    timeout_s: float = 30.0
    wants_token: bool = False


class GraderCheck(msgspec.Struct, frozen=True, kw_only=True, tag="grader", tag_field="kind"):
    """A question to the plan's grader.

    Attributes:
        name: Unique among the checks of one completion.
        messages: OpenAI-form messages.
        max_completion_tokens: Longest reply, reasoning included.
        reasoning_effort: As the API names it; None leaves it to the grader.
        tries: Most times that it is asked until the task accepts a reply.
    """

    name: str
    messages: tuple[Mapping[str, JsonValue], ...]
    max_completion_tokens: int
    reasoning_effort: str | None = None
    tries: int = 5


Check: TypeAlias = ProgramCheck | GraderCheck


class ProgramResult(msgspec.Struct, frozen=True, kw_only=True, tag="program", tag_field="kind"):
    """How a program ended; whatever it did is an answer.

    Attributes:
        exit_code: Exit status; minus the signal's number when a signal ended it.
        reason: ``exit``, ``timeout``, ``out-of-memory`` or ``killed``.
        token_seen: True when the secret was printed: the program ran to its end.
        output_tail: Last characters of what it wrote, for readers.
    """

    exit_code: int | None
    reason: str
    token_seen: bool = False
    output_tail: str = ""


class GraderResult(msgspec.Struct, frozen=True, kw_only=True, tag="grader", tag_field="kind"):
    """A reply of the grader that the task accepts.

    Attributes:
        text: The reply.
        tries: Times it was asked, this reply included.
    """

    text: str
    tries: int = 1


CheckResult: TypeAlias = ProgramResult | GraderResult
