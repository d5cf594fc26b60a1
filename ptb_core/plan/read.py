"""Read a plan: its form, names and rules, every fault at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from ptb_core.baselines import Baselines, read_baselines
from ptb_core.canonical import short_hash
from ptb_core.data import data_dir
from ptb_core.errors import Fault, InputFileError, UsageError
from ptb_core.evaluation.protocol import PROTOCOLS
from ptb_core.grading.endpoint import key_obstacle
from ptb_core.json_paths import shown
from ptb_core.plan.check import Checker
from ptb_core.plan.expand import Matrix, expand
from ptb_core.plan.grader import GraderReader, grader_identity
from ptb_core.plan.model import Budgets, Plan, Retention, SandboxChoice
from ptb_core.plan.sound import SoundParts
from ptb_core.plan.weights import plan_weights
from ptb_core.prompt import prompt_sha256
from ptb_core.schemas import faults, load_json
from ptb_core.settings import can_name_a_file
from ptb_core.specs import (
    ComponentChoice,
    Condition,
    GraderSpec,
    JsonValue,
    ProtocolSpec,
    Sampling,
    TokenPrice,
)
from ptb_core.suggest import did_you_mean

if TYPE_CHECKING:
    from ptb_core.catalogue import Catalogue


def find_plan(name: str) -> Path:
    """Return the file of a plan: the path itself, or a shipped plan by its bare name.

    Raises:
        UsageError: If there is neither.
    """
    if not can_name_a_file(name):
        raise UsageError(f"no plan file: {shown(name)} cannot be the path of one")
    path = Path(name)
    if path.is_file():
        return path
    shipped = {p.stem: p for p in sorted((data_dir() / "plans").glob("*.json"))}
    if name in shipped:
        return shipped[name]
    hint = did_you_mean(path.stem, shipped)
    raise UsageError(
        f"no plan file {name}{hint}; shipped plans, by name: {', '.join(shipped) or 'none'}"
    )


def load_plan(name: str | Path, catalogue: Catalogue) -> Plan:
    """Read, check and expand a plan.

    Args:
        name: Path of the plan's file, or name of a shipped plan.
        catalogue: Components that the plan may name.

    Raises:
        InputFileError: If the plan is wrong; lists every fault.
        UsageError: If there is no such file.
    """
    path = find_plan(str(name))
    data = load_json(path)
    found = faults(data, "plan")
    reader = _Reader(path, data, catalogue)
    if found:
        raise InputFileError(str(path), (*found, *reader.rule_faults(found)))
    return reader.plan()


class _Reader:
    """Turns a plan's JSON, already held against its schema, into a :class:`Plan`."""

    def __init__(self, path: Path, data: Mapping[str, JsonValue], catalogue: Catalogue) -> None:
        self._path = path
        self._data = data
        self._folder = path.resolve().parent
        self._checker = Checker(catalogue, self._folder)

    def rule_faults(self, found: Sequence[Fault]) -> tuple[Fault, ...]:
        """Return which names and rules those parts of the plan break whose form is right.

        Args:
            found: Everything in which the plan breaks its schema.
        """
        if isinstance(self._data, Mapping):
            self._check_sound_parts(SoundParts(self._data, found))
        return tuple(self._checker.faults)

    def _check_sound_parts(self, sound: SoundParts) -> None:
        data, checker = self._data, self._checker
        condition = self._condition() if sound.has("condition") else None
        if sound.has("protocol"):
            checker.protocol(data["protocol"], read_protocol(data["protocol"]))
        for path, name in sound.items("tasks"):
            checker.component("task", name, path)
        for path, name in sound.items("models"):
            checker.component("model", name, path)
        if sound.has("tasks") and sound.has("models"):
            checker.tools(data["tasks"], data["models"])
        agents = tuple(checker.agent(agent, path) for path, agent in sound.items("agents"))
        if sound.has("sandbox"):
            sandbox = self._sandbox()
            if condition is not None and sound.has("agents"):
                checker.sandbox(sandbox, condition, agents)
            checker.programs(sandbox, [name for _, name in sound.items("tasks")])
        if sound.has("engine"):
            checker.engine(data["engine"], in_image=self._in_image())
        if sound.has("executor"):
            checker.choice("executor", data["executor"], "$.executor")
        for path, judge in sound.items("judges"):
            checker.choice("judge", judge, path)
        if all(sound.has(key) for key in ("tasks", "models", "agents")):
            checker.selectors({key: data[key] for key in data if sound.has(key)})
        if sound.has("tasks") and sound.has("weights"):
            checker.weights(data)
        if sound.has("tasks") and sound.may_read("grader", "budgets", "prices"):
            self._grader(data["tasks"])

    def plan(self) -> Plan:
        data, checker = self._data, self._checker
        condition = self._condition()
        protocol = read_protocol(data["protocol"])
        checker.protocol(data["protocol"], protocol)
        tasks = checker.names("task", data["tasks"], "$.tasks")
        models = checker.names("model", data["models"], "$.models")
        checker.tools(tasks, models)
        agents = checker.agents(data["agents"])
        sandbox = self._sandbox()
        checker.sandbox(sandbox, condition, agents)
        checker.programs(sandbox, tasks)
        engine = checker.engine(data["engine"], in_image=self._in_image())
        executor = checker.choice("executor", data.get("executor", {"name": "local"}), "$.executor")
        judges = checker.judges(data["judges"])
        checker.selectors(data)
        checker.weights(data)
        grader, grader_price = self._grader(tasks)
        baselines, declared = self._baselines(protocol, engine, grader)
        if checker.faults:
            raise InputFileError(str(self._path), tuple(checker.faults))
        specs = [checker.catalogue.task_spec(name) for name in tasks]
        weights, note = plan_weights(specs, data.get("weights"))
        matrix = Matrix(
            tasks=tasks,
            models=models,
            agents=agents,
            repeats=data.get("repeats", 1),
            include=data.get("include", []),
            exclude=data.get("exclude", []),
            condition=condition,
            protocol=protocol,
            seed=data.get("seed", 0),
            measure_base=baselines == "measured",
        )
        cells = expand(matrix)
        if not cells:
            fault = Fault(
                path="$", found="no cell left", expected="include and exclude to leave some"
            )
            raise InputFileError(str(self._path), (fault,))
        return Plan(
            name=data["name"],
            description=data.get("description", ""),
            tasks=tasks,
            models=models,
            agents=agents,
            agent_ids=checker.agent_ids,
            repeats=matrix.repeats,
            condition=condition,
            condition_id=condition_id(condition, protocol, grader),
            sandbox=sandbox,
            engine=engine,
            executor=executor,
            judges=judges,
            protocol=protocol,
            budgets=msgspec.convert(data.get("budgets", {}), Budgets),
            baselines=baselines,
            declared=declared,
            weights=weights,
            weights_note=note,
            gpu_hour_usd=self._gpu_hour_usd(),
            seed=matrix.seed,
            cells=cells,
            obstacles=tuple(dict.fromkeys(checker.obstacles)),
            retention=msgspec.convert(data.get("retention", {}), Retention),
            grader=grader,
            grader_price=grader_price,
        )

    def _baselines(
        self, protocol: ProtocolSpec, engine: ComponentChoice, grader: GraderSpec | None
    ) -> tuple[Literal["measured", "published", "declared"], Baselines | None]:
        given = self._data.get("baselines", "measured")
        if given in ("measured", "published"):
            return given, None
        pairs = [(task, model) for task in self._data["tasks"] for model in self._data["models"]]
        try:
            found = read_baselines(self._folder / given)
        except UsageError as error:
            self._checker.fault("$.baselines", str(error), "a file that `ptb baseline` wrote")
            return "declared", None
        for task, model in pairs:
            identity = None if grader is None else grader_identity(grader)
            why = found.unfit(task, model, protocol, engine, identity)
            if why is not None:
                self._checker.fault(
                    "$.baselines",
                    why,
                    "scores of every task and model under the plan's protocol and engine; "
                    "`ptb baseline PLAN --out FILE` measures them",
                )
                break
        return "declared", found

    def _condition(self) -> Condition:
        condition = msgspec.convert(self._data["condition"], Condition)
        if condition.prompt == "default":
            return condition
        is_path = can_name_a_file(condition.prompt)
        prompt = (self._folder / condition.prompt).resolve() if is_path else self._folder
        if not prompt.is_file():
            self._checker.fault(
                "$.condition.prompt",
                f"{prompt if is_path else shown(condition.prompt)}, which is no file",
                "`default`, or a file relative to the plan's folder",
            )
            return replace(condition, prompt="default")
        return replace(condition, prompt=str(prompt))

    def _sandbox(self) -> SandboxChoice:
        data = self._data["sandbox"]
        choice = self._checker.choice(
            "sandbox", {k: data[k] for k in ("name", "settings") if k in data}, "$.sandbox"
        )
        made = msgspec.convert(data, SandboxChoice)
        return replace(made, settings=choice.settings)

    def _grader(self, tasks: Sequence[str]) -> tuple[GraderSpec | None, TokenPrice | None]:
        """Return grader and price; a grader that no task needs is checked and left out."""
        graded = self._checker.graded(tasks)
        reader = GraderReader(
            self._data, self._folder, self._checker.fault, self._checker.wording_faults
        )
        spec = reader.grader(graded)
        if not graded:
            return None, None
        obstacle = key_obstacle(spec)
        if obstacle is not None:
            self._checker.obstacles.append(obstacle)
        return spec, reader.price(spec)

    def _in_image(self) -> bool:
        sandbox = self._data.get("sandbox")
        return isinstance(sandbox, dict) and bool(sandbox.get("image"))

    def _gpu_hour_usd(self) -> float:
        given = self._data.get("prices", {}).get("gpu_hour_usd")
        if given is not None:
            return float(given)
        prices = load_json(data_dir() / "registry" / "prices.json")
        return float(prices["gpu_hours"][0]["usd_per_hour"])


def read_protocol(value: JsonValue) -> ProtocolSpec:
    """Return the protocol a plan names, with its changes."""
    if isinstance(value, str):
        return PROTOCOLS[value]
    base = PROTOCOLS[value["base"]]
    return replace(
        base,
        sampling=msgspec.convert(value.get("sampling", {}), Sampling),
        seeds=tuple(value.get("seeds", ())),
        max_tokens=value.get("max_tokens"),
        limit=value.get("limit"),
    )


def condition_id(
    condition: Condition, protocol: ProtocolSpec, grader: GraderSpec | None = None
) -> str:
    """Return the id that results must share to be compared; a prompt counts by its text.

    Args:
        condition: The condition.
        protocol: The protocol.
        grader: Who grades; None when no task needs it, which leaves the id as it was.
    """
    content = msgspec.to_builtins(condition)
    content["prompt"] = prompt_sha256(condition.prompt)
    if condition.dev_calls is None:
        del content["dev_calls"]  # as in the ids of runs from before it could be bounded
    asked = msgspec.to_builtins(protocol)
    if not protocol.seeds:
        del asked["seeds"]  # as in the ids of runs from before there were seeds
    shared = [content, asked]
    if grader is not None:
        shared.append(grader_identity(grader))
    return short_hash(shared)
