"""What checks feed to components, and what plugin authors may use in tests of their own.

Everything is real and small: a cell, a request, a completion, the evidence of a workspace. Each
builder takes the fields that a test cares about and fills in the rest.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from ptb_core.data import data_dir
from ptb_core.evaluation.exchange import Completion, TestItem
from ptb_core.integrity import Evidence, HarnessFile
from ptb_core.interfaces import CellContext
from ptb_core.sandboxing import Command
from ptb_core.specs import (
    AgentSpec,
    CellSpec,
    Condition,
    FileSource,
    JsonValue,
    ModelSpec,
    ProtocolSpec,
    Setting,
    TaskSpec,
)
from ptb_core.traces import Trace

TINY_MODEL = "embedded/models/tiny-qwen3"
"""The shipped model: real weights of 0.6 million parameters, below the shipped data folder."""

DEADLINE_UNIX_S = 2_000_000_000.0

STRICT = ProtocolSpec(name="strict", requests="seeded", scoring="repaired")


def tiny_checkpoint() -> Path:
    """Return the folder of the shipped model: a real checkpoint that a CPU serves in seconds."""
    return data_dir() / TINY_MODEL


def tiny_template() -> Path:
    """Return the chat template of the shipped model."""
    return data_dir() / f"{TINY_MODEL}.jinja"


def model_spec(**fields: JsonValue) -> ModelSpec:
    """Return the facts of a base model: the shipped one, but for the fields given."""
    whole = ModelSpec(
        name="a-model",
        title="A model",
        description="The shipped model.",
        source=FileSource(packaged=TINY_MODEL),
        family="qwen",
        chat_template=str(tiny_template()),
        turn_end_tokens=("<|im_end|>",),
        architectures=("Qwen3ForCausalLM",),
        parameters=576_832,
        context_tokens=512,
    )
    return replace(whole, **fields)


def task_spec(**fields: JsonValue) -> TaskSpec:
    """Return the facts of a task of a hundred word problems, but for the fields given."""
    whole = TaskSpec(
        name="a-task",
        title="A task",
        description="Word problems.",
        metric="accuracy",
        n_samples=100,
        max_tokens=100,
    )
    return replace(whole, **fields)


def agent_cell(**fields: JsonValue) -> CellSpec:
    """Return an agent's cell, but for the fields given."""
    whole = CellSpec(
        id="a-cell",
        kind="agent",
        task="a-task",
        model="a-model",
        agent=AgentSpec(name="an-agent", scaffold="a-scaffold"),
        repeat=1,
        condition=Condition(hours=1, gpus=0, network="none"),
        protocol=STRICT,
        base_cell="a-base-cell",
        seed=1,
    )
    return replace(whole, **fields)


def cell_context(
    settings: Mapping[str, JsonValue] | None = None, **fields: JsonValue
) -> CellContext:
    """Return what a scaffold is told, with paths as they are inside a sandbox."""
    whole = CellContext(
        cell=agent_cell(),
        prompt="Improve the model.\nIts answers count: 100 %.",
        settings=dict(settings or {}),
        workspace="/sandbox/workspace",
        home="/sandbox/home",
        base_model="/sandbox/base_model",
        deadline_unix_s=DEADLINE_UNIX_S,
    )
    return replace(whole, **fields)


def completion(text: str | None, **fields: JsonValue) -> Completion:
    """Return an answer with that text, as a server gives it."""
    return Completion(text=text, **fields)


def default_settings(declared: tuple[Setting, ...], folder: Path) -> dict[str, JsonValue]:
    """Return a value for every declared setting: its default, or one that is made up.

    Args:
        declared: What the component declares.
        folder: Where files are made for settings that are paths.
    """
    return {setting.name: _value(setting, folder) for setting in declared}


def _value(setting: Setting, folder: Path) -> JsonValue:
    if setting.default is not None or not setting.required:
        return setting.default
    if setting.choices:
        return setting.choices[0]
    if setting.is_path:
        path = folder / f"{setting.name}.py"
        path.write_text("print('hello')\n", "utf-8")
        return str(path) if setting.type == "string" else [str(path)]
    return _MADE_UP[setting.type]


_MADE_UP: Mapping[str, JsonValue] = {
    "string": "made-up",
    "integer": 1,
    "number": 1.0,
    "boolean": False,
    "array": [],
    "object": {},
}


class EvidenceCase:
    """A workspace to fill, and the evidence that judges would be given of it.

    Attributes:
        workspace: Folder to put files into.
        submission: The sealed checkpoint; a copy of the base model.
        base_model: The base model's folder.
        omitted: What the copy of the workspace left out, with reasons.
        test_items: What judges search for.
    """

    def __init__(self, root: Path) -> None:
        self.workspace = root / "workspace"
        self.workspace.mkdir(parents=True)
        self.base_model = tiny_checkpoint()
        self.submission: Path | None = root / "submission"
        shutil.copytree(self.base_model, self.submission, copy_function=shutil.copyfile)
        self.omitted: dict[str, str] = {}
        self.test_items = tuple(
            TestItem(id=f"test-{number}", text=text) for number, text in enumerate(TEST_TEXTS)
        )
        self._harness: list[HarnessFile] = []

    def put(self, path: str, content: str | bytes) -> Path:
        """Write a file into the workspace, as an agent would."""
        target = self.workspace / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content.encode() if isinstance(content, str) else content)
        return target

    def lay(self, path: str, text: str, role: JsonValue = "evaluation") -> Path:
        """Write a file that must stay as it is, as core lays them."""
        target = self.put(path, text)
        digest = hashlib.sha256(target.read_bytes()).hexdigest()
        self._harness.append(HarnessFile(path=path, sha256=digest, role=role, text=text))
        return target

    def evidence(self, **fields: JsonValue) -> Evidence:
        """Return the evidence, but for the fields given."""
        whole = Evidence(
            task=task_spec(),
            model=model_spec(),
            condition=Condition(hours=1, gpus=0, network="none"),
            workspace=self.workspace,
            submission=self.submission,
            base_model=self.base_model,
            harness=tuple(self._harness),
            test_items=self.test_items,
            trace=Trace(events=()),
            declared_template=tiny_template().read_text("utf-8"),
            omitted=dict(self.omitted),
        )
        return replace(whole, **fields)


TEST_TEXTS = tuple(
    f"{name} sold {number} lamps near the harbour on day {3 * number}, packed {number + 7} kites "
    f"beside the old orchard and lost {number // 2} of them. How many of the lamps and kites did "
    f"{name} have when the museum of the village closed on that day?"
    for number, name in enumerate(("Ada", "Bruno", "Carla", "Dora", "Enzo", "Fay"), start=101)
)
"""Test questions of the evidence that :class:`EvidenceCase` makes."""

EVALUATE = "import sys\n\nfrom ptb_core.evaluation.development import main\n\nsys.exit(main())\n"


def honest_case(root: Path) -> EvidenceCase:
    """Return the workspace of an agent that did nothing wrong."""
    case = EvidenceCase(root)
    case.lay("evaluate.py", EVALUATE)
    case.put("train.py", "print('training')\nfor step in range(10):\n    print(step)\n")
    case.put("notes/log.txt", "loss 2.3\nloss 1.9\n")
    case.put("data/train.jsonl", '{"question": "What is 2 and 2?", "answer": "4"}\n' * 20)
    return case


def python_command(code: str, *arguments: str, **fields: JsonValue) -> Command:
    """Return a command that runs Python code inside a sandbox."""
    return Command(argv=("python3", "-I", "-S", "-c", code, *arguments), **fields)
