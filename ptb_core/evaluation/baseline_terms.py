"""What the scores of one set of a baseline file share: asked, served and graded alike.

Compared before anything is measured, so that no set holds scores that no plan can take together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from ptb_core.baselines import Measurement, engine_key
from ptb_core.evaluation.few_shot import few_shot_facts, few_shot_protocol
from ptb_core.evaluation.job import JobOptions, chosen_engine
from ptb_core.evaluation.runners import grader_terms
from ptb_core.leaderboard.wording import engine_words, protocol_words
from ptb_core.plan.grader import grader_identity
from ptb_core.specs import ComponentChoice, JsonValue, ProtocolSpec

if TYPE_CHECKING:
    from ptb_core.catalogue import Catalogue

BaselineKind: TypeAlias = Literal["zero-shot", "few-shot", "instruct"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineTerms:
    """How baselines are about to be measured.

    Attributes:
        options: What the user asked for.
        engine: The engine, defaults filled in.
        graded: Those of the tasks that need a grader.
    """

    options: JobOptions
    engine: ComponentChoice
    graded: tuple[str, ...]

    def protocol(self, kind: BaselineKind, task: str) -> ProtocolSpec:
        """Return how a task is asked for a kind of score."""
        return asked_protocol(kind, self.options.protocol, task)

    def difference(
        self, kind: BaselineKind, task: str, found: Measurement
    ) -> tuple[str, str] | None:
        """Return a measured score's terms and those it would have now, or None where all agree.

        Args:
            kind: Kind of the score.
            task: Its task.
            found: How it was measured.
        """
        protocol = self.protocol(kind, task)
        if found.protocol != protocol:
            return (
                f"under the protocol {protocol_words(found.protocol)}",
                f"under {protocol_words(protocol)}",
            )
        if engine_key(found.engine) != engine_key(self.engine):
            return f"on the engine {engine_words(found.engine)}", f"on {engine_words(self.engine)}"
        if found.grader is None or not self.graded:
            return None
        grader = self._grader(task)
        if found.grader != grader:
            return f"by the grader {_grader_words(found.grader)}", f"by {_grader_words(grader)}"
        return None

    def _grader(self, task: str) -> JsonValue:
        terms = self.options.terms
        if terms is None:
            wanted = task if task in self.graded else self.graded[0]
            terms = grader_terms(self.options.grader, wanted)
        return grader_identity(terms.grader)


def baseline_terms(
    catalogue: Catalogue, options: JobOptions, tasks: Sequence[str]
) -> BaselineTerms:
    """Return how some tasks are about to be measured.

    Raises:
        UsageError: If the engine or one of its settings is wrong.
        PluginError: If a component cannot be used on this machine.
    """
    return BaselineTerms(
        options=options,
        engine=chosen_engine(catalogue.engine(options.engine), options),
        graded=tuple(name for name in tasks if "grader" in catalogue.task_spec(name).needs),
    )


def asked_protocol(kind: BaselineKind, protocol: ProtocolSpec, task: str) -> ProtocolSpec:
    """Return the protocol that a kind of score is measured under.

    Args:
        kind: The kind.
        protocol: The protocol that the user named, with its changes.
        task: Name of the task.
    """
    if kind != "few-shot":
        return protocol
    return few_shot_protocol(protocol, task, few_shot_facts())


def _grader_words(identity: JsonValue) -> str:
    """Return who grades in words, wordings by the start of their digests."""
    prompts = sorted(identity.get("prompts", {}).items())
    wordings = ", ".join(f"{task}, sha256 {digest[:12]}" for task, digest in prompts)
    model = str(identity.get("model"))
    return f"{model} with a wording of the user's for {wordings}" if wordings else model
