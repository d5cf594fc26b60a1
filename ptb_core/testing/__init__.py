"""Tests that ship with the interface: conformance classes and material for plugin authors.

A plugin's test is a subclass with a name::

    from ptb_core.testing import ScaffoldConformance

    class TestEcho(ScaffoldConformance):
        name = "echo"

pytest runs it, and ``ptb check echo`` runs the same checks without pytest. Where a component
needs more than its name (settings, recorded outputs, data), the attributes and methods of its
kind's class say what can be given.
"""

from ptb_core.testing.engine import EngineConformance
from ptb_core.testing.executor import ExecutorConformance
from ptb_core.testing.expectation import BrokenPromiseError, expect, expect_error
from ptb_core.testing.grader import (
    GraderAnswer,
    GraderQuestion,
    ScriptedGrader,
    failing,
    in_turn,
    saying,
)
from ptb_core.testing.hostile import (
    HOSTILE_TEXTS,
    fill_hostile_workspace,
    hostile_completions,
    hostile_streams,
)
from ptb_core.testing.judge import JudgeConformance
from ptb_core.testing.material import (
    EvidenceCase,
    agent_cell,
    cell_context,
    completion,
    honest_case,
    model_spec,
    python_command,
    task_spec,
    tiny_checkpoint,
    tiny_template,
)
from ptb_core.testing.model import ModelConformance
from ptb_core.testing.sandbox import SandboxConformance
from ptb_core.testing.scaffold import ScaffoldConformance
from ptb_core.testing.task import TaskConformance

__all__ = [
    "HOSTILE_TEXTS",
    "BrokenPromiseError",
    "EngineConformance",
    "EvidenceCase",
    "ExecutorConformance",
    "GraderAnswer",
    "GraderQuestion",
    "JudgeConformance",
    "ModelConformance",
    "SandboxConformance",
    "ScaffoldConformance",
    "ScriptedGrader",
    "TaskConformance",
    "agent_cell",
    "cell_context",
    "completion",
    "expect",
    "expect_error",
    "failing",
    "fill_hostile_workspace",
    "honest_case",
    "hostile_completions",
    "hostile_streams",
    "in_turn",
    "model_spec",
    "python_command",
    "saying",
    "task_spec",
    "tiny_checkpoint",
    "tiny_template",
]
