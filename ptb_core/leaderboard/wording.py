"""Conditions, protocols, engines and graders in words, every change and limit beside the name."""

from __future__ import annotations

from ptb_core.json_paths import shown
from ptb_core.plan.grader import wording_digests
from ptb_core.specs import (
    ComponentChoice,
    Condition,
    GraderSpec,
    ProtocolSpec,
    Sampling,
    Scoring,
)


def condition_words(condition: Condition) -> str:
    """Return a condition in words, such as ``10 h, 1 GPU (H100), network open, ...``."""
    gpus = "no GPU" if condition.gpus == 0 else f"{condition.gpus} GPU"
    if condition.gpus > 1:
        gpus += "s"
    if condition.gpu_name:
        gpus += f" ({condition.gpu_name})"
    parts = [
        f"{condition.hours:g} h",
        gpus,
        f"network {condition.network}",
        _dev_words(condition),
        f"prompt {condition.prompt}",
    ]
    if condition.provide_train_data:
        parts.append("training data provided")
    return ", ".join(parts)


def _dev_words(condition: Condition) -> str:
    bound = "" if condition.dev_calls is None else f" (at most {condition.dev_calls} scores)"
    return f"dev evaluation {condition.dev_evaluation}{bound}"


def protocol_words(protocol: ProtocolSpec, scoring: Scoring | None = None) -> str:
    """Return a protocol in words, such as ``strict: seeded requests, ..., limit: 50 samples``.

    Args:
        protocol: The protocol.
        scoring: The scoring that the user asked for instead of the protocol's, if any.
    """
    parts = [f"{protocol.requests} requests", f"{scoring or protocol.scoring} scoring"]
    if scoring is not None and scoring != protocol.scoring:
        parts[-1] += f" (asked for; the protocol counts {protocol.scoring})"
    if protocol.requests == "seeded":
        parts.extend(_sampling_words(protocol.sampling))
        if protocol.seeds:
            parts.append(f"mean of seeds {', '.join(map(str, protocol.seeds))}")
    if protocol.max_tokens is not None:
        parts.append(f"max tokens {protocol.max_tokens}")
    if protocol.limit is not None:
        parts.append(f"limit: {protocol.limit} samples")
    return f"{protocol.name}: {', '.join(parts)}"


def engine_words(engine: ComponentChoice) -> str:
    """Return an engine in words, such as ``transformers: batch_size 16, threads 2``."""
    given = sorted((name, value) for name, value in engine.settings.items() if value is not None)
    settings = ", ".join(f"{name} {shown(value)}" for name, value in given)
    return f"{engine.name}: {settings}" if settings else engine.name


def grader_words(grader: GraderSpec | None) -> str:
    """Return a grader in words, such as ``gpt-5-mini, own wording sha256 0123456789ab for tiny``.

    Address, pace and key are left out: they are no part of what results must share.

    Args:
        grader: Who grades; None, where no task needs it, has no words.
    """
    if grader is None:
        return ""
    wordings = (
        f"own wording sha256 {sha256[:12]} for {task}"
        for task, sha256 in wording_digests(grader).items()
    )
    return ", ".join((grader.model, *wordings))


def _sampling_words(sampling: Sampling) -> list[str]:
    standard = Sampling()
    values = {
        "seed": (sampling.seed, standard.seed),
        "temperature": (sampling.temperature, standard.temperature),
        "top-p": (sampling.top_p, standard.top_p),
        "top-k": (sampling.top_k, standard.top_k),
    }
    return [f"{name} {now:g}" for name, (now, usual) in values.items() if now != usual]
