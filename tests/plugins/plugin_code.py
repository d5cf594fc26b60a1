"""Code and manifests of small plugins, to be changed and broken."""

from __future__ import annotations

import json
from typing import Any

MINE = "[ptb.v1]\nmine = my_plugin\n"
FACTS = "[ptb.v1]\nfacts = my_facts\n"

ONE_MODEL = """
from ptb_core.api import FileSource, ModelSpec, hookimpl

def model(name, **changes):
    facts = dict(
        name=name, title="A", description="A model.", source=FileSource(hub="a/b"),
        family="qwen", chat_template=__file__, turn_end_tokens=("<e>",), architectures=("A",),
        parameters=1, context_tokens=1,
    )
    return ModelSpec(**{**facts, **changes})
"""

ONE_TASK = """
from ptb_core.api import Task, TaskScore, TaskSpec, SampleScore, hookimpl

class Capitals(Task):
    def samples(self, data): return []
    def requests(self, sample, requests): return ()
    def score(self, sample, completions, scoring): return SampleScore(id=sample.id, value=0.0)
    def aggregate(self, scores, scoring): return TaskScore(value=0.0, stderr=None, n=1)

def spec(name):
    return TaskSpec(name=name, title="T", description="D.", metric="accuracy", n_samples=1,
                    max_tokens=1)
"""

MODEL: dict[str, Any] = {
    "name": "tiny",
    "title": "Tiny",
    "description": "A model.",
    "source": {"hub": "someone/tiny"},
    "family": "tiny",
    "chat_template": "tiny.jinja",
    "turn_end_tokens": ["<end>"],
    "architectures": ["LlamaForCausalLM"],
    "parameters": 10,
    "context_tokens": 128,
}

TASK: dict[str, Any] = {
    "name": "riddles",
    "title": "Riddles",
    "description": "Riddles.",
    "metric": "accuracy",
    "n_samples": 3,
    "max_tokens": 8,
}


def model(**changes: Any) -> str:
    return json.dumps({**MODEL, **changes})


def task(**changes: Any) -> str:
    return json.dumps({**TASK, **changes})
