"""Measuring baselines: the untouched base model, with worked examples, and its instruct twin."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from ptb_core.atomic import write_bytes
from ptb_core.baselines import Baselines
from ptb_core.errors import UsageError
from ptb_core.evaluation.baseline_terms import BaselineKind, BaselineTerms, asked_protocol
from ptb_core.evaluation.evaluate import EvaluationJob
from ptb_core.evaluation.few_shot import (
    few_shot_facts,
    few_shot_model,
    few_shot_task,
)
from ptb_core.evaluation.job import JobOptions, base_weights, make_job, twin_weights
from ptb_core.output_files import require_writable
from ptb_core.schemas import check, load_json
from ptb_core.specs import JsonValue

if TYPE_CHECKING:
    from ptb_core.catalogue import Catalogue
    from ptb_core.evaluation.evaluation_folder import Summary

KINDS: Mapping[BaselineKind, tuple[str, str]] = {
    "zero-shot": ("base-zero-shot", "The untouched base model, asked as a submission is."),
    "few-shot": (
        "base-few-shot",
        "The untouched base model with worked examples, sampled and averaged over seeds.",
    ),
    "instruct": (
        "instruct",
        "The official instruct form of the base model, asked as a submission.",
    ),
}
"""Name of the set of each kind in a baseline file, and what it holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineFile:
    """A baseline file that grows with every measurement.

    Attributes:
        path: The file; need not exist.
    """

    path: Path

    def read(self) -> dict[str, JsonValue]:
        """Return the file's content, or that of a new file.

        Raises:
            InputFileError: If the file breaks its schema.
            UsageError: If its name cannot be that of a baseline file, or it cannot be read.
        """
        if self.path.exists():
            content: dict[str, JsonValue] = load_json(self.path)
            check(content, "baseline", self.path)
            return content
        return {
            "name": self.path.name.removesuffix(".json"),
            "description": "Baselines measured by `ptb baseline`.",
            "source": "Measured on this project's own evaluator; each measurement says how.",
            "sets": [],
        }

    def require_usable(self, kinds: Iterable[BaselineKind], terms: BaselineTerms) -> None:
        """Make sure before anything is measured that the file can take it; make its folder.

        Args:
            kinds: Kinds of scores that are about to be measured.
            terms: How.

        Raises:
            InputFileError: If the file breaks its schema.
            UsageError: If its name cannot be that of a baseline file, a set of one of these kinds
                was measured in another way, or the file cannot be written.
        """
        content = self.read()
        if not content["sets"]:
            probe = {"name": "n", "description": "d", "protocol": "p", "scores": {"m": {"t": 0}}}
            check({**content, "sets": [probe]}, "baseline", self.path)
        elif any("measurements" not in one for one in content["sets"]):
            raise UsageError(
                f"{self.path} holds scores that `ptb baseline` did not measure; name another file "
                "with --out"
            )
        for kind in kinds:
            self._require_alike(content, kind, terms)
        require_writable(self.path, "--out")

    def _require_alike(self, content: JsonValue, kind: BaselineKind, terms: BaselineTerms) -> None:
        name, _ = KINDS[kind]
        known = (one for one in msgspec.convert(content, Baselines).sets if one.name == name)
        for model, row in ((m, row) for one in known for m, row in one.measurements.items()):
            for task, found in row.items():
                differing = terms.difference(kind, task, found)
                if differing is not None:
                    earlier, now = differing
                    raise UsageError(
                        f"{self.path}: in its set {name}, {model} on {task} was measured "
                        f"{earlier}; now it would be {now}. Give the options of then, or name "
                        "another file with --out"
                    )

    def add(self, kind: BaselineKind, summary: Summary) -> None:
        """Put a complete evaluation into the set of its kind, in place of an earlier one.

        Raises:
            UsageError: If the file's set of this kind was measured under another protocol name.
        """
        content = self.read()
        name, description = KINDS[kind]
        found = next((one for one in content["sets"] if one["name"] == name), None)
        if found is None:
            found = {
                "name": name,
                "description": description,
                "protocol": summary.protocol.name,
                "scores": {},
                "measurements": {},
            }
            content["sets"].append(found)
        if found["protocol"] != summary.protocol.name:
            raise UsageError(
                f"{self.path}: its set {name} was measured under {found['protocol']}, not "
                f"{summary.protocol.name}; name another file with --out"
            )
        evaluation = summary.evaluation
        value = evaluation.scores[evaluation.counted].value
        found["scores"].setdefault(summary.model, {})[summary.task] = value
        found["measurements"].setdefault(summary.model, {})[summary.task] = measurement(summary)
        encoded = msgspec.json.encode(content)
        check(msgspec.json.decode(encoded), "baseline", self.path)
        write_bytes(self.path, msgspec.json.format(encoded, indent=2) + b"\n")


def baseline_job(
    catalogue: Catalogue, kind: BaselineKind, model: str, task: str, options: JobOptions
) -> EvaluationJob:
    """Return the evaluation that measures one baseline.

    Raises:
        UsageError: If the task has no few-shot form, or the model no instruct twin.
        DataError: If data or weights cannot be had.
        PluginError: If a component cannot be used on this machine.
    """
    spec = catalogue.model(model)
    if kind == "instruct":
        return make_job(catalogue, twin_weights(spec, options.mirror), task, options)
    weights = base_weights(spec, options.mirror)
    if kind == "zero-shot":
        return make_job(catalogue, weights, task, options)
    facts = few_shot_facts()
    asked = replace(options, protocol=asked_protocol(kind, options.protocol, task))
    job = make_job(catalogue, weights, task, asked)
    shown = few_shot_task(job.task, job.data, facts)
    subject = replace(job.subject, model=few_shot_model(spec, facts))
    return replace(job, task=shown, subject=subject)


def measurement(summary: Summary) -> dict[str, JsonValue]:
    """Return how a score was measured, for a baseline file."""
    evaluation = summary.evaluation
    details = evaluation.details
    return {
        "protocol": msgspec.to_builtins(summary.protocol),
        "engine": msgspec.to_builtins(summary.engine),
        "scores": {
            scoring: {"value": score.value, "stderr": score.stderr, "n": score.n}
            for scoring, score in evaluation.scores.items()
        },
        "max_tokens": details["max_tokens"],
        "checkpoint_revision": summary.checkpoint["revision"],
        "data": dict(details["data"]),
        "software": summary.lock["software"],
        "grader": summary.lock.get("grader"),
        "created_unix_s": summary.created_unix_s,
    }
