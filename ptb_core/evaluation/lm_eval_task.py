"""Tasks that lm-eval describes: its data, prompts, filters and metrics, our engine.

lm-eval makes the prompts and reads the answers; core asks the served checkpoint and keeps the
completions, as for every other task. Scores equal those of lm-eval's own ``hf`` model.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Mapping, Sequence
from typing import Any

from ptb_core.errors import DataError
from ptb_core.evaluation.exchange import (
    Completion,
    CompletionRequest,
    DataDir,
    LogLikelihoodRequest,
    Request,
    Sample,
    SampleScore,
    TaskScore,
    count_marks,
)
from ptb_core.interfaces import Task
from ptb_core.specs import JsonValue, RequestKind, Scoring

DEFAULT_MAX_GEN_TOKS = 256
"""Longest answer when the configuration names none. Source: lm-eval's ``hf`` model."""

LIMIT_KEYS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")
"""Names for the longest answer, the first that is there holds. Source: lm-eval."""

LEAST_LOG_PROBABILITY = -1e30
"""Of a continuation that the server could not score, so that any other choice wins."""


class LmEvalTask(Task):
    """A task of output type generate_until or multiple_choice, described by JSON alone.

    The manifest's ``lm_eval`` holds ``{"task": name}`` for a task that ships with lm-eval, or
    ``{"config": {...}}`` with a whole configuration, in which ``{data:name}`` stands for the path
    of a data file. The manifest's ``metric`` names the metric that is the score, with its filter
    where there is more than one: ``exact_match,strict-match``. Both scorings are lm-eval's.
    """

    def unusable_reason(self) -> str | None:
        """Say when lm-eval is not installed."""
        if importlib.util.find_spec("lm_eval") is not None:
            return None
        return "lm-eval not installed: pip install 'posttrainbench[evaluation]'"

    def samples(self, data: DataDir) -> Sequence[Sample]:
        """Return all documents with their prompts, few-shot examples drawn as lm-eval draws them.

        Raises:
            DataError: If lm-eval is absent, refuses the configuration or cannot load the data,
                or the metric is not one of the task's.
        """
        from ptb_core.evaluation import lm_eval_runtime as runtime

        built = runtime.build(self.spec, data)
        choose_metric(self.spec.metric, runtime.metric_keys(built))
        return [
            Sample(
                id=str(doc_id),
                input={
                    "question": runtime.question(built, instances[0].doc),
                    "requests": [list(instance.args) for instance in instances],
                    "repeats": built.config.repeats,
                },
                target=built.doc_to_target(instances[0].doc),
                metadata=runtime.scoring_facts(built, instances[0].doc),
            )
            for doc_id, instances in runtime.instances_by_document(built)
        ]

    def requests(self, sample: Sample, requests: RequestKind) -> tuple[Request, ...]:
        """Return each of lm-eval's requests, as often as the configuration repeats it.

        Raises:
            DataError: If the generation settings ask for what cannot be asked here.
        """
        asked = [_request(arguments) for arguments in sample.input["requests"]]
        return tuple(one for one in asked for _ in range(sample.input["repeats"]))

    def score(
        self, sample: Sample, completions: Sequence[Completion], scoring: Scoring
    ) -> SampleScore:
        """Return every metric of one document under every filter."""
        from ptb_core.evaluation import lm_eval_runtime as runtime

        asked = [one for one in sample.input["requests"] for _ in range(sample.input["repeats"])]
        responses = [_response(*pair) for pair in zip(asked, completions, strict=True)]
        metrics = runtime.sample_metrics(self.spec, sample, responses)
        value = metrics[choose_metric(self.spec.metric, list(metrics))]
        failed = any(completion.finish_reason == "error" for completion in completions)
        return SampleScore(
            id=sample.id,
            value=float(value) if isinstance(value, int | float) else 0.0,
            answer=completions[0].text if completions else None,
            marks=("prompt-too-long",) if failed else (),
            metrics=metrics,
        )

    def aggregate(self, scores: Sequence[SampleScore], scoring: Scoring) -> TaskScore:
        """Return lm-eval's aggregate and standard error of the metric; the others beside it."""
        from ptb_core.evaluation import lm_eval_runtime as runtime

        columns: dict[str, list[JsonValue]] = {}
        for score in scores:
            for key, value in score.metrics.items():
                columns.setdefault(key, []).append(value)
        chosen = choose_metric(self.spec.metric, list(columns))
        value, stderr = runtime.aggregate(self.spec, chosen, columns[chosen], with_stderr=True)
        return TaskScore(
            value=value,
            stderr=stderr,
            n=len(columns[chosen]),
            breakdowns={
                key: runtime.aggregate(self.spec, key, values, with_stderr=False)[0]
                for key, values in columns.items()
                if key != chosen
            },
            marks=count_marks(scores),
        )


def choose_metric(metric: str, keys: Sequence[str]) -> str:
    """Return the key ``metric,filter`` that a manifest's metric means.

    Raises:
        DataError: If there is none, or more than one.
    """
    matches = [key for key in keys if metric in (key, key.rpartition(",")[0])]
    if len(matches) == 1:
        return matches[0]
    found = "no metric" if not matches else f"{len(matches)} metrics"
    raise DataError(
        f"the manifest's metric {metric!r} names {found} of this lm-eval task, expected one of "
        f"{', '.join(keys)}"
    )


def _request(arguments: Sequence[Any]) -> Request:
    context, second = arguments
    if isinstance(second, str):
        return LogLikelihoodRequest(context=context, continuation=second)
    until = second.get("until") or []
    return CompletionRequest(
        prompt=context,
        stop=(until,) if isinstance(until, str) else tuple(until),
        max_tokens=next(
            (int(second[key]) for key in LIMIT_KEYS if second.get(key) is not None),
            DEFAULT_MAX_GEN_TOKS,
        ),
        temperature=_temperature(second),
    )


def _temperature(settings: Mapping[str, Any]) -> float:
    """Return the temperature that lm-eval would use: greedy unless it is told to sample."""
    temperature = float(settings.get("temperature") or 0.0)
    if settings.get("do_sample") is False or temperature == 0.0:
        return 0.0
    known = {"until", "do_sample", "temperature", *LIMIT_KEYS}
    further = sorted(set(settings) - known)
    if further:
        raise DataError(
            f"lm-eval's generation_kwargs set {', '.join(further)} for sampled answers, expected "
            "until, do_sample, temperature and max_gen_toks only"
        )
    return temperature


def _response(arguments: Sequence[Any], completion: Completion) -> str | tuple[float, bool]:
    """Return what lm-eval expects for a request, whatever the server made of it."""
    if not isinstance(arguments[1], str):
        return completion.text or ""
    found = completion.log_probability
    if found is None or math.isnan(found):
        return LEAST_LOG_PROBABILITY, False
    return found, bool(completion.is_greedy)
