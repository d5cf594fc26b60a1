"""Reading a plan: defaults, identities, and one clear sentence per fault, all at once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from ptb_core.catalogue import Catalogue, load_catalogue
from ptb_core.data import data_dir
from ptb_core.errors import InputFileError, PluginError, UsageError
from ptb_core.evaluation.protocol import PAPER_V1
from ptb_core.plan import Plan, load_plan
from ptb_core.plan.model import ACCEPT_LOCAL_LLM
from ptb_core.plan.read import condition_id
from ptb_core.specs import Condition, ScaffoldSpec

from .conftest import PlanFile


def faults(path: Path, catalogue: Catalogue | None = None) -> list[str]:
    with pytest.raises(InputFileError) as caught:
        load_plan(path, catalogue or load_catalogue())
    assert caught.value.exit_code == 2
    return [str(fault) for fault in caught.value.faults]


def read(path: Path) -> Plan:
    return load_plan(path, load_catalogue())


def test_a_plan_expands_to_base_cells_first_then_every_agent(plan_file: PlanFile) -> None:
    plan = read(plan_file({"repeats": 2}))
    assert [cell.id for cell in plan.cells] == [
        "errands--tiny-qwen3--base",
        "errands--tiny-qwen3--mine--r1",
        "errands--tiny-qwen3--null--r1",
        "errands--tiny-qwen3--mine--r2",
        "errands--tiny-qwen3--null--r2",
    ]
    assert {cell.base_cell for cell in plan.cells[1:]} == {"errands--tiny-qwen3--base"}
    assert len({cell.seed for cell in plan.cells}) == 5


def test_include_and_exclude_choose_cells(plan_file: PlanFile) -> None:
    plan = read(
        plan_file({"repeats": 2, "include": [{"repeat": 2}], "exclude": [{"agent": "null"}]})
    )
    assert [cell.id for cell in plan.cells][1:] == ["errands--tiny-qwen3--mine--r2"]


def test_a_plan_without_cells_is_refused(plan_file: PlanFile) -> None:
    found = faults(plan_file({"exclude": [{"task": "errands"}]}))
    assert found == ["$: found no cell left; expected include and exclude to leave some"]


def test_an_agents_id_follows_its_programs_content_not_its_place(plan_file: PlanFile) -> None:
    path = plan_file()
    before = read(path).agent_ids["mine"]
    (path.parent / "copy.py").write_text("print('work')", "utf-8")
    same = read(plan_file({"agents.0.settings.program": "copy.py"})).agent_ids["mine"]
    (path.parent / "copy.py").write_text("print('other work')", "utf-8")
    other = read(path).agent_ids["mine"]
    assert before == same
    assert other != before


def test_conditions_differ_when_anything_differs_that_results_must_share(
    plan_file: PlanFile,
) -> None:
    def identity(changes: dict[str, Any]) -> str:
        return read(plan_file(changes)).condition_id

    ids = [
        identity({}),
        identity({"condition.hours": 0.2}),
        identity({"condition.dev_evaluation": "none"}),
        identity({"condition.dev_evaluation": "brokered"}),
        identity({"condition.dev_evaluation": "brokered", "condition.dev_calls": 9}),
        identity({"protocol": "paper-v1"}),
        identity({"protocol": {"base": "strict", "limit": 5}}),
        identity({"condition.provide_train_data": True}),
        identity({"protocol": {"base": "strict", "seeds": [1]}}),
        identity({"protocol": {"base": "strict", "seeds": [2]}}),
    ]
    assert len(set(ids)) == len(ids)
    assert identity({"seed": 7, "repeats": 3}) == ids[0]


def test_conditions_of_runs_from_before_there_were_seeds_keep_their_id() -> None:
    assert condition_id(Condition(hours=10, gpus=1), PAPER_V1) == "dd22e6285988"


def test_paths_of_settings_start_at_the_plans_folder(plan_file: PlanFile) -> None:
    path = plan_file()
    assert read(path).agents[0].settings["program"] == str(path.parent / "agent.py")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"tasks": ["gsm8l"]},
            "$.tasks[0]: found 'gsm8l'; expected a task that can be loaded; there is no task "
            "'gsm8l' (did you mean 'gsm8k'?); the tasks are:",
        ),
        (
            {"agents.0.settings": {"programme": "agent.py"}},
            "$.agents[0].settings.programme: found unknown setting 'programme'; expected one of "
            "program, files, interpreter, arguments (did you mean 'program'?)",
        ),
        (
            {"agents.0.settings": {}},
            "$.agents[0].settings.program: found nothing; expected The program's file",
        ),
        (
            {"agents.0.settings.program": "none.py"},
            "none.py, which does not exist; expected an existing file, relative to the plan's",
        ),
        (
            {"agents.0.settings.program": 3},
            "$.agents[0].settings.program: found 3; expected a string",
        ),
        (
            {"agents.1.name": "MINE"},
            '$.agents[1].name: found "MINE"; expected lower-case letters and digits',
        ),
        (
            {"agents.1.name": "mine"},
            "$.agents[1].name: found 'mine', which $.agents[0] has already; expected a different "
            "name for each agent",
        ),
        (
            {"agents.1.llm": {"provider": "p", "model": "m"}},
            "$.agents[1]: found an llm or auth for scaffold 'null', which runs no LLM; expected "
            "neither llm nor auth",
        ),
        (
            {"judges": [{"name": "lineage"}, {"name": "lineage"}]},
            "$.judges[1].name: found 'lineage', which $.judges[0] has already",
        ),
        (
            {"condition.network": "gateway"},
            "$.condition.network: found 'gateway', which sandbox 'local' does not offer; "
            "expected one of",
        ),
        (
            {"condition.dev_calls": 3},
            "$.condition.dev_calls: found 3, but dev_evaluation is 'in-sandbox', whose scores "
            'nobody counts; expected no dev_calls, or "dev_evaluation": "brokered"',
        ),
        (
            {"condition.prompt": "mine.md"},
            "mine.md, which is no file; expected `default`, or a file relative to the plan's",
        ),
        (
            {"protocol": {"base": "paper-v1", "sampling": {"temperature": 0.5}}},
            "$.protocol.sampling: found sampling under published requests, which send none; "
            "expected no sampling, or base: strict",
        ),
        (
            {"tasks": ["errands", "bfcl"]},
            "$.models[0]: found 'tiny-qwen3', whose manifest names no tool_parser, for the task "
            "bfcl, which offers tools; expected a model with a tool_parser, or other tasks",
        ),
        (
            {"protocol": {"base": "paper-v1", "seeds": [1]}},
            "$.protocol.seeds: found seeds under published requests, which send none; "
            "expected no seeds, or base: strict",
        ),
        (
            {"protocol": {"base": "strict", "seeds": [1, 2]}},
            "$.protocol.seeds: found 2 seeds at temperature 0, where every seed gives the same; "
            "expected one seed, or a temperature above 0 in $.protocol.sampling",
        ),
        (
            {"protocol": {"base": "strict", "seeds": [1], "sampling": {"seed": 2}}},
            "$.protocol.sampling.seed: found a seed beside $.protocol.seeds, which take its "
            "place; expected one of the two",
        ),
        (
            {"include": [{"agent": "mne"}]},
            "$.include[0].agent: found 'mne'; expected one of the plan's own: mine, null "
            "(did you mean 'mine'?)",
        ),
        (
            {"weights": {"errand": 1.0}},
            "$.weights.errand: found a task that is not in the plan; expected one of $.tasks "
            "(did you mean 'errands'?)",
        ),
    ],
)
def test_each_fault_has_its_sentence(
    plan_file: PlanFile, changes: dict[str, Any], expected: str
) -> None:
    found = faults(plan_file(changes))
    assert any(expected in fault for fault in found), found


def test_all_faults_are_shown_at_once(plan_file: PlanFile) -> None:
    found = faults(plan_file({"tasks": ["a"], "models": ["b"], "engine.name": "c"}))
    assert [fault.split(":")[0] for fault in found] == [
        "$.tasks[0]",
        "$.models[0]",
        "$.engine.name",
    ]


def test_schema_faults_are_shown_at_once_with_path_and_remedy(plan_file: PlanFile) -> None:
    path = plan_file({"condition.hours": -1, "condition.gpu": 1, "engine": None, "repeats": "3"})
    found = faults(path)
    assert len(found) == 4
    assert any(fault.startswith("$.condition.hours: found -1") for fault in found)
    assert any("$.condition" in fault and "'gpus'" in fault for fault in found)


class WithLlmScaffold:
    """The real catalogue plus one scaffold that runs an outside LLM."""

    SPEC = ScaffoldSpec(name="cli", description="", version="1", runs_outside_llm=True)

    def __init__(self) -> None:
        self._real = load_catalogue()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def spec(self, kind: Any, name: str) -> Any:
        if (kind, name) == ("scaffold", "cli"):
            return self.SPEC
        return self._real.spec(kind, name)

    def row(self, kind: Any, name: str) -> Any:
        if (kind, name) == ("scaffold", "cli"):
            return self._real.row("scaffold", "null")
        return self._real.row(kind, name)


LLM_AGENT = {
    "name": "llm",
    "scaffold": "cli",
    "llm": {"provider": "p", "model": "m"},
    "auth": "gateway",
}


def test_an_outside_llm_in_an_open_sandbox_needs_the_very_words(plan_file: PlanFile) -> None:
    catalogue = cast(Catalogue, WithLlmScaffold())
    (fault,) = faults(plan_file({"agents.1": LLM_AGENT}), catalogue)
    assert ACCEPT_LOCAL_LLM in fault
    assert "which does not isolate it from this host" in fault
    accepted = plan_file({"agents.1": LLM_AGENT, "sandbox.accept": [ACCEPT_LOCAL_LLM]})
    assert load_plan(accepted, catalogue).agents[1].name == "llm"
    wrong = plan_file({"agents.1": LLM_AGENT, "sandbox.accept": ["yes"]})
    assert len(faults(wrong, catalogue)) == 1


def test_an_outside_llm_must_be_named_with_its_authentication(plan_file: PlanFile) -> None:
    catalogue = cast(Catalogue, WithLlmScaffold())
    path = plan_file(
        {"agents.1": {"name": "llm", "scaffold": "cli"}, "sandbox.accept": [ACCEPT_LOCAL_LLM]}
    )
    (fault,) = faults(path, catalogue)
    assert "no llm or no auth for scaffold 'cli', which runs an outside LLM" in fault


def test_what_cannot_run_here_is_an_obstacle_and_no_fault(plan_file: PlanFile) -> None:
    from ptb_core.driver import refuse_obstacles

    plan = read(plan_file({"condition.gpus": 64, "condition.gpu_name": "H9000"}))
    (obstacle,) = plan.obstacles
    assert obstacle.startswith("sandbox local: ")
    with pytest.raises(PluginError, match=r"cannot run here; nothing was started:\n  sandbox loc"):
        refuse_obstacles(plan)


class WithPoorSandbox:
    """The real catalogue, in which the sandbox lacks something."""

    def __init__(self, **changes: object) -> None:
        self._real = load_catalogue()
        self._changes = changes

    def __getattr__(self, name: str) -> object:
        return getattr(self._real, name)

    def spec(self, kind: Any, name: str) -> object:
        found = self._real.spec(kind, name)
        return replace(cast(Any, found), **self._changes) if kind == "sandbox" else found


def test_programs_of_a_model_need_a_sandbox_that_executes_without_network(
    plan_file: PlanFile,
) -> None:
    path = plan_file({"tasks": ["errands", "humaneval"]})
    catalogue = cast(Catalogue, WithPoorSandbox(roles=("solve", "serve")))
    assert faults(path, catalogue) == [
        "$.sandbox.name: found 'local', which lacks the role execute for programs that a model "
        "writes (task humaneval); expected a sandbox with the role execute and network 'none', or "
        "other tasks"
    ]
    catalogue = cast(Catalogue, WithPoorSandbox(network_policies=("open",)))
    (fault,) = faults(path, catalogue)
    assert "which lacks network 'none' for programs that a model writes" in fault
    assert load_plan(plan_file(), catalogue).cells


def test_without_isolation_a_plan_whose_task_runs_programs_cannot_run_here(
    plan_file: PlanFile,
) -> None:
    changes = {"sandbox.settings": {"isolation": "none"}}
    (obstacle,) = read(plan_file({"tasks": ["humaneval"], **changes})).obstacles
    assert obstacle == (
        "sandbox local cannot separate programs that a model writes (task humaneval) from this "
        "host: its setting isolation is 'none'; set it to auto or bwrap"
    )
    assert read(plan_file(changes)).obstacles == ()


def test_what_a_sandbox_raises_about_programs_is_an_obstacle(
    plan_file: PlanFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ptb_plugins.sandboxes.local.sandbox import LocalSandbox

    def raising(self: object, settings: object) -> tuple[str, ...]:
        raise ValueError("no idea")

    monkeypatch.setattr(LocalSandbox, "execute_obstacles", raising)
    (obstacle,) = read(plan_file({"tasks": ["humaneval"]})).obstacles
    assert "its execute_obstacles() raised ValueError: no idea" in obstacle


def test_an_engine_says_before_the_start_why_it_cannot_serve_here(plan_file: PlanFile) -> None:
    engine = {"name": "vllm", "settings": {"python": "/nowhere", "max_num_seqs": 0}}
    faults, missing = read(plan_file({"engine": engine})).obstacles
    assert faults == "engine vllm: the engine's setting max_num_seqs is 0, expected 1 or more"
    assert missing.startswith(
        "engine vllm: the engine's setting python names /nowhere, which cannot be run: "
    )


def test_an_engine_in_an_image_is_not_looked_for_on_this_machine(plan_file: PlanFile) -> None:
    engine = {"name": "vllm", "settings": {"python": "/nowhere"}}
    assert read(plan_file({"engine": engine, "sandbox.image": "i"})).obstacles == ()


def test_an_engine_that_raises_instead_of_saying_so_is_an_obstacle(
    plan_file: PlanFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: object, settings: object) -> tuple[str, ...]:
        raise ValueError("no idea")

    engine = type(load_catalogue().engine("transformers"))
    monkeypatch.setattr(engine, "obstacles", broken)
    (obstacle,) = read(plan_file()).obstacles
    assert obstacle == "engine transformers: its obstacles() raised ValueError: no idea"


def test_weights_are_the_published_ones_and_sum_to_one(plan_file: PlanFile) -> None:
    plan = read(plan_file({"tasks": ["gsm8k", "humaneval"]}))
    assert sum(plan.weights.values()) == pytest.approx(1)
    assert plan.weights["gsm8k"] / plan.weights["humaneval"] == pytest.approx(
        0.0935882347031865 / 0.106148554819225
    )
    assert plan.weights_note == "published, renormalised to the plan's tasks"
    assert read(plan_file()).weights_note == "equal: not all tasks have one"


def test_a_missing_plan_names_the_shipped_ones(plan_file: PlanFile) -> None:
    with pytest.raises(UsageError, match=r"no plan file quickstrat \(did you mean 'quickstart'"):
        load_plan("quickstrat", load_catalogue())


@pytest.mark.parametrize(
    "path", sorted((data_dir() / "plans").glob("*.json")), ids=lambda p: p.stem
)
def test_every_shipped_plan_is_valid_and_found_by_its_name(path: Path) -> None:
    plan = load_plan(path.stem, load_catalogue())
    assert plan.name == path.stem
    assert plan.cells


def test_the_paper_plan_is_the_published_matrix() -> None:
    plan = load_plan("paper", load_catalogue())
    pairs = {(cell.task, cell.model) for cell in plan.cells if cell.kind == "agent"}
    assert (len(plan.tasks), len(plan.models), len(pairs)) == (7, 4, 28)
    assert (plan.condition.hours, plan.condition.gpus, plan.repeats) == (10, 1, 3)
    assert plan.protocol.name == "paper-v1"
    assert sum(plan.weights.values()) == pytest.approx(1)
    assert plan.weights_note == "published"


def test_wrong_names_are_told_together_with_faults_of_form(plan_file: PlanFile) -> None:
    path = plan_file(
        {
            "tasks": ["errands", 7, "erands"],
            "agents.0.scaffold": "scrpt",
            "agents.1.name": "No Kebab",
            "condition.hours": -1,
            "engine.name": "transfomers",
            "judges.0.name": "linage",
            "sandbox.name": "locl",
            "weights": {"errand": 1},
        }
    )
    with pytest.raises(InputFileError) as caught:
        load_plan(path, load_catalogue())
    assert [fault.path for fault in caught.value.faults] == [
        "$.tasks[1]",
        "$.agents[1].name",
        "$.condition.hours",
        "$.tasks[2]",
        "$.agents[0].scaffold",
        "$.sandbox.name",
        "$.engine.name",
        "$.judges[0].name",
    ]
    assert "did you mean 'errands'?" in str(caught.value)


def test_rules_that_need_two_parts_wait_until_both_have_the_right_form(
    plan_file: PlanFile,
) -> None:
    path = plan_file({"repeats": "many", "condition.gpus": 4, "condition.network": "gateway"})
    with pytest.raises(InputFileError) as caught:
        load_plan(path, load_catalogue())
    assert [fault.path for fault in caught.value.faults] == [
        "$.repeats",
        "$.condition.network",
    ]


def test_a_plan_that_is_no_object_has_no_rules_to_break(tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text("[]", "utf-8")
    with pytest.raises(InputFileError) as caught:
        load_plan(tmp_path / "plan.json", load_catalogue())
    assert [fault.path for fault in caught.value.faults] == ["$"]
