"""Fill the prompt template with the facts of a cell.

A plan may name another template; it uses the same ``$names``. The rules follow those told to
agents in the published benchmark (arXiv 2603.08640), in our own words.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from string import Template

from ptb_core.errors import UsageError
from ptb_core.evaluation.dev_modes import is_scored_outside
from ptb_core.specs import Condition, ModelSpec, TaskSpec

_NETWORK = {
    "open": "the internet is reachable",
    "gateway": "only the model provider and the hub are reachable, through a gateway",
    "none": "there is no network",
}


def render_prompt(
    template: str, task: TaskSpec, model: ModelSpec, condition: Condition, base_model: str
) -> str:
    """Return the whole prompt.

    Args:
        template: ``default``, or the path of another template.
        task: The task.
        model: The base model.
        condition: The condition.
        base_model: Path of the base model inside the sandbox.

    Raises:
        UsageError: If the template cannot be read or uses an unknown ``$name``.
    """
    try:
        return Template(_template_text(template)).substitute(
            task_title=task.title,
            task_name=task.name,
            model_title=model.title,
            model_name=model.name,
            base_model=base_model,
            hours_words=_hours_words(condition.hours),
            gpu_words=_gpu_words(condition),
            network_words=_NETWORK[condition.network],
            dev_words=_dev_words(task, condition),
            data_words=_data_words(condition),
        )
    except (KeyError, ValueError) as error:
        raise UsageError(
            f"prompt template {template}: unknown or malformed placeholder {error}; known are "
            "$task_title $task_name $model_title $model_name $base_model $hours_words $gpu_words "
            "$network_words $dev_words $data_words ($$ for a dollar sign)"
        ) from error


def prompt_sha256(template: str) -> str:
    """Return the hex sha256 of a template's text; part of the condition's identity."""
    return hashlib.sha256(_template_text(template).encode()).hexdigest()


def _template_text(template: str) -> str:
    path = Path(__file__).with_name("default.md") if template == "default" else Path(template)
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"prompt template {path} cannot be read: {error}") from error


def _hours_words(hours: float) -> str:
    if hours >= 1:
        return f"{hours:g} hour{'' if hours == 1 else 's'}"
    return f"{hours * 60:.3g} minutes"


def _gpu_words(condition: Condition) -> str:
    if condition.gpus == 0:
        return "no GPU; training and evaluation run on the processor"
    name = f" ({condition.gpu_name})" if condition.gpu_name else ""
    return f"{condition.gpus} GPU{'' if condition.gpus == 1 else 's'}{name}"


def _dev_words(task: TaskSpec, condition: Condition) -> str:
    if condition.dev_evaluation == "none":
        return "Evaluation: there is no evaluation script; build your own measure of progress."
    limit = "all samples" if task.default_limit is None else f"{task.default_limit} samples"
    words = (
        "Evaluation: `python evaluate.py --model-path final_model` measures a checkpoint on the "
        f"benchmark ({limit} by default; see --help) with the chat template in `templates/`."
    )
    if not is_scored_outside(task, condition):
        return words
    words += (
        " The checkpoint answers on this machine; its answers are scored outside, only numbers "
        "come back, and every score asked for is written down."
    )
    if condition.dev_calls is not None:
        words += f" At most {condition.dev_calls} scores are given."
    return words


def _data_words(condition: Condition) -> str:
    if not condition.provide_train_data:
        return ""
    return "- Data: the benchmark's own training split, which you may use, lies in `data/`.\n"
