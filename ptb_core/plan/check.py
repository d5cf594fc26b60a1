"""The rules of a plan that a schema cannot say, each with a fault that says what to do."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from ptb_core.canonical import short_hash
from ptb_core.component_checks import (
    engine_obstacles,
    execute_obstacles,
    sandbox_obstacles,
    wording_faults,
)
from ptb_core.errors import Fault, PluginError, PtbError, UsageError
from ptb_core.json_paths import path_of
from ptb_core.plan.model import ACCEPT_LOCAL_LLM, SandboxChoice
from ptb_core.settings import check_settings
from ptb_core.specs import (
    AgentSpec,
    ComponentChoice,
    Condition,
    JsonValue,
    Kind,
    ModelSpec,
    ProtocolSpec,
    SandboxSpec,
    ScaffoldSpec,
    TaskSpec,
)
from ptb_core.suggest import did_you_mean

if TYPE_CHECKING:
    from ptb_core.catalogue import Catalogue, Row
    from ptb_core.spec_rules import ComponentSpec


def _a(kind: str) -> str:
    return f"an {kind}" if kind[0] in "aeiou" else f"a {kind}"


def _named(row: Row) -> str:
    """Return a component's kind and name, and the distribution of one that is not ours."""
    brought_by = f" of {row.distribution} {row.version}" if row.is_foreign else ""
    return f"{row.kind} {row.name}{brought_by}"


class Checker:
    """Checks the parts of a plan and collects what is wrong.

    Attributes:
        catalogue: Components that the plan may name.
        faults: What is wrong with the plan.
        obstacles: Why this machine cannot run it though it is right.
        agent_ids: Id of each agent checked so far, by name.
    """

    def __init__(self, catalogue: Catalogue, folder: Path) -> None:
        self.catalogue = catalogue
        self.faults: list[Fault] = []
        self.obstacles: list[str] = []
        self.agent_ids: dict[str, str] = {}
        self._folder = folder

    def fault(self, path: str, found: str, expected: str) -> None:
        """Add a fault."""
        self.faults.append(Fault(path=path, found=found, expected=expected))

    def names(self, kind: Kind, names: Sequence[str], path: str) -> tuple[str, ...]:
        """Check a list of component names."""
        for index, name in enumerate(names):
            self.component(kind, name, f"{path}[{index}]")
        return tuple(names)

    def component(self, kind: Kind, name: str, path: str) -> ComponentSpec | None:
        """Return a component's facts, or None after noting why they cannot be had."""
        spec = self._spec(kind, name)
        if spec is None:
            self.fault(path, repr(name), f"{_a(kind)} that can be loaded; {self._why(kind, name)}")
            return None
        row = self.catalogue.row(kind, name)
        if not row.usable:
            self.obstacles.append(f"{_named(row)}: {row.reason}")
        return spec

    def choice(self, kind: Kind, data: Mapping[str, JsonValue], path: str) -> ComponentChoice:
        """Check a component with its settings."""
        given = data.get("settings", {})
        spec = self.component(kind, data["name"], f"{path}.name")
        if spec is None or isinstance(spec, TaskSpec | ModelSpec):
            return ComponentChoice(name=data["name"], settings=given)
        checked = check_settings(spec.settings, given, f"{path}.settings", self._folder)
        self.faults.extend(checked.faults)
        return ComponentChoice(name=data["name"], settings=checked.values)

    def judges(self, data: Sequence[Mapping[str, JsonValue]]) -> tuple[ComponentChoice, ...]:
        """Check the judges; each may be named once."""
        self._unique([judge["name"] for judge in data], "$.judges", "judge")
        return tuple(
            self.choice("judge", judge, f"$.judges[{index}]") for index, judge in enumerate(data)
        )

    def agents(self, data: Sequence[Mapping[str, JsonValue]]) -> tuple[AgentSpec, ...]:
        """Check the agents and give each its id."""
        self._unique([agent["name"] for agent in data], "$.agents", "agent")
        return tuple(self.agent(agent, f"$.agents[{i}]") for i, agent in enumerate(data))

    def agent(self, data: Mapping[str, JsonValue], path: str) -> AgentSpec:
        """Check an agent and give it its id."""
        agent = msgspec.convert(data, AgentSpec)
        spec = self.component("scaffold", agent.scaffold, f"{path}.scaffold")
        if not isinstance(spec, ScaffoldSpec):
            return agent
        checked = check_settings(spec.settings, agent.settings, f"{path}.settings", self._folder)
        self.faults.extend(checked.faults)
        if spec.runs_outside_llm and (agent.llm is None or agent.auth == "none"):
            self.fault(
                path,
                f"no llm or no auth for scaffold {agent.scaffold!r}, which runs an outside LLM",
                "llm: {provider, model} and auth: gateway or subscription",
            )
        if not spec.runs_outside_llm and (agent.llm is not None or agent.auth != "none"):
            self.fault(
                path,
                f"an llm or auth for scaffold {agent.scaffold!r}, which runs no LLM",
                "neither llm nor auth",
            )
        identity = {
            "name": agent.name,
            "scaffold": agent.scaffold,
            "version": spec.version,
            "llm": msgspec.to_builtins(agent.llm),
            "settings": dict(checked.identity),
            "auth": agent.auth,
        }
        self.agent_ids[agent.name] = short_hash(identity)
        return msgspec.convert({**data, "settings": checked.values}, AgentSpec)

    def graded(self, tasks: Sequence[str]) -> tuple[str, ...]:
        """Return those of some tasks that need a grader; what cannot be loaded needs none."""
        return self._tasks_that(lambda spec: spec.needs_grader, tasks)

    def _tasks_that(
        self, need: Callable[[TaskSpec], bool], tasks: Sequence[str]
    ) -> tuple[str, ...]:
        specs = {name: self._spec("task", name) for name in tasks}
        return tuple(n for n, spec in specs.items() if isinstance(spec, TaskSpec) and need(spec))

    def wording_faults(self, task: str, text: str) -> tuple[str, ...]:
        """Return why a task cannot ask its grader in a wording; nothing of one that is unusable."""
        try:
            found = self.catalogue.task(task)
        except PtbError:
            return ()  # said where the plan names it
        return wording_faults(found, text)

    def sandbox(
        self, sandbox: SandboxChoice, condition: Condition, agents: Sequence[AgentSpec]
    ) -> None:
        """Check that the sandbox can do what condition and agents ask for."""
        spec = self._spec("sandbox", sandbox.name)
        if not isinstance(spec, SandboxSpec):
            return
        missing = {"solve", "serve"} - set(spec.roles)
        if missing:
            self.fault(
                "$.sandbox.name",
                f"{sandbox.name!r}, which lacks the roles {', '.join(sorted(missing))}",
                "a sandbox with the roles solve and serve",
            )
        if condition.network not in spec.network_policies:
            known = ", ".join(spec.network_policies)
            self.fault(
                "$.condition.network",
                f"{condition.network!r}, which sandbox {sandbox.name!r} does not offer",
                f"one of {known}, or another sandbox",
            )
        if condition.gpus and not spec.gpus:
            self.fault(
                "$.condition.gpus",
                f"{condition.gpus}, but sandbox {sandbox.name!r} hands out no GPUs",
                "0, or another sandbox",
            )
        if condition.dev_calls is not None and condition.dev_evaluation != "brokered":
            self.fault(
                "$.condition.dev_calls",
                f"{condition.dev_calls}, but dev_evaluation is {condition.dev_evaluation!r}, whose "
                "scores nobody counts",
                'no dev_calls, or "dev_evaluation": "brokered"',
            )
        row = self.catalogue.row("sandbox", sandbox.name)
        if row.usable:
            found = sandbox_obstacles(
                self.catalogue.sandbox(sandbox.name), condition, sandbox.limits, sandbox.settings
            )
            self.obstacles.extend(f"{_named(row)}: {text}" for text in found)
        self._outside_llms(sandbox, spec.isolates_untrusted_code, agents)

    def programs(self, sandbox: SandboxChoice, tasks: Sequence[str]) -> None:
        """Check that the sandbox can run what a model writes, when a task runs that."""
        running = self._tasks_that(lambda spec: spec.needs_programs, tasks)
        spec = self._spec("sandbox", sandbox.name)
        if not running or not isinstance(spec, SandboxSpec):
            return
        what = f"programs that a model writes (task {', '.join(running)})"
        if "execute" not in spec.roles or "none" not in spec.network_policies:
            lacking = "the role execute" if "execute" not in spec.roles else "network 'none'"
            self.fault(
                "$.sandbox.name",
                f"{sandbox.name!r}, which lacks {lacking} for {what}",
                "a sandbox with the role execute and network 'none', or other tasks",
            )
            return
        row = self.catalogue.row("sandbox", sandbox.name)
        if row.usable:
            found = execute_obstacles(self.catalogue.sandbox(sandbox.name), sandbox.settings)
            self.obstacles.extend(
                f"{_named(row)} cannot separate {what} from this host: {text}" for text in found
            )

    def tools(self, tasks: Sequence[str], models: Sequence[str]) -> None:
        """Check that models whose tasks offer tools say how their tool calls are written."""
        offering = self._tasks_that(lambda spec: spec.needs_tools, tasks)
        for index, name in enumerate(models):
            spec = self._spec("model", name)
            if offering and isinstance(spec, ModelSpec) and spec.tool_parser is None:
                self.fault(
                    f"$.models[{index}]",
                    f"{name!r}, whose manifest names no tool_parser, for the task "
                    f"{', '.join(offering)}, which offers tools",
                    "a model with a tool_parser, or other tasks",
                )

    def engine(self, data: Mapping[str, JsonValue], *, in_image: bool) -> ComponentChoice:
        """Check the engine; servers in an image are not looked for on this machine."""
        choice = self.choice("engine", data, "$.engine")
        spec = self._spec("engine", choice.name)
        if spec is not None and not in_image:
            row = self.catalogue.row("engine", choice.name)
            if row.usable:
                found = engine_obstacles(self.catalogue.engine(choice.name), choice.settings)
                self.obstacles.extend(f"{_named(row)}: {text}" for text in found)
        return choice

    def _outside_llms(
        self, sandbox: SandboxChoice, isolates: bool, agents: Sequence[AgentSpec]
    ) -> None:
        if isolates or ACCEPT_LOCAL_LLM in sandbox.accept:
            return
        for index, agent in enumerate(agents):
            spec = self._spec("scaffold", agent.scaffold)
            if isinstance(spec, ScaffoldSpec) and spec.runs_outside_llm:
                self.fault(
                    f"$.agents[{index}]",
                    f"scaffold {agent.scaffold!r}, which runs an outside LLM, in sandbox "
                    f"{sandbox.name!r}, which does not isolate it from this host",
                    f'a sandbox that isolates, or in $.sandbox: "accept": ["{ACCEPT_LOCAL_LLM}"]',
                )

    def protocol(self, data: JsonValue, protocol: ProtocolSpec) -> None:
        """Check a protocol's changes."""
        if not isinstance(data, dict):
            return
        if protocol.requests == "published":
            for key in ("sampling", "seeds"):
                if key in data:
                    self.fault(
                        f"$.protocol.{key}",
                        f"{key} under published requests, which send none",
                        f"no {key}, or base: strict",
                    )
        elif len(protocol.seeds) > 1 and protocol.sampling.temperature == 0:
            self.fault(
                "$.protocol.seeds",
                f"{len(protocol.seeds)} seeds at temperature 0, where every seed gives the same",
                "one seed, or a temperature above 0 in $.protocol.sampling",
            )
        if "seeds" in data and "seed" in data.get("sampling", {}):
            self.fault(
                "$.protocol.sampling.seed",
                "a seed beside $.protocol.seeds, which take its place",
                "one of the two",
            )

    def selectors(self, data: Mapping[str, JsonValue]) -> None:
        """Check that include and exclude name what the plan has."""
        known = {
            "task": list(data["tasks"]),
            "model": list(data["models"]),
            "agent": [agent["name"] for agent in data["agents"]],
        }
        for key in ("include", "exclude"):
            for index, selector in enumerate(data.get(key, [])):
                for field, names in known.items():
                    name = selector.get(field)
                    if name is not None and name not in names:
                        hint = did_you_mean(name, names)
                        self.fault(
                            f"$.{key}[{index}].{field}",
                            repr(name),
                            f"one of the plan's own: {', '.join(names)}{hint}",
                        )

    def weights(self, data: Mapping[str, JsonValue]) -> None:
        """Check that weights name the plan's tasks, all of them."""
        weights = data.get("weights")
        if weights is None:
            return
        for name in weights:
            if name not in data["tasks"]:
                hint = did_you_mean(name, data["tasks"])
                path = path_of(("weights", name))
                self.fault(path, "a task that is not in the plan", f"one of $.tasks{hint}")
        for name in data["tasks"]:
            if name not in weights:
                self.fault("$.weights", f"no weight for {name!r}", "a weight for every task")

    def _spec(self, kind: Kind, name: str) -> ComponentSpec | None:
        try:
            return self.catalogue.spec(kind, name)
        except (UsageError, PluginError):
            return None

    def _why(self, kind: Kind, name: str) -> str:
        try:
            self.catalogue.spec(kind, name)
        except PtbError as error:
            return str(error)
        return "a name from `ptb list`"

    def _unique(self, names: Sequence[str], path: str, what: str) -> None:
        seen: dict[str, int] = {}
        for index, name in enumerate(names):
            first = seen.setdefault(name.casefold(), index)
            if first != index:
                self.fault(
                    f"{path}[{index}].name",
                    f"{name!r}, which {path}[{first}] has already",
                    f"a different name for each {what}",
                )
