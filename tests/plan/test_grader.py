"""A plan's grader: defaults, faults, what of it is part of the condition, and what it will cost."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ptb_core.catalogue import load_catalogue
from ptb_core.driver import refuse_obstacles
from ptb_core.errors import InputFileError, PluginError
from ptb_core.grading.terms import terms_of
from ptb_core.plan import Plan, load_plan
from ptb_core.plan.estimate import describe_plan, estimate_of
from ptb_core.run_folder import plan_id
from ptb_core.specs import GraderSpec, TokenPrice

from .conftest import PlanFile

GRADED = {"tasks": ["healthbench"]}
FAIR = "Be fair. <<conversation>> <<rubric_item>>\n"
KEYLESS = {"base_url": "http://localhost:8000/v1", "api_key_env": None}


@pytest.fixture(autouse=True)
def with_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-secret-secret")


def read(path: Path) -> Plan:
    return load_plan(path, load_catalogue())


def faults(path: Path) -> list[str]:
    with pytest.raises(InputFileError) as caught:
        read(path)
    return [str(fault) for fault in caught.value.faults]


# Defaults and what is read --------------------------------------------------------------------


def test_a_graded_task_has_the_published_grader_unless_the_plan_names_another(
    plan_file: PlanFile,
) -> None:
    plan = read(plan_file(GRADED))
    assert plan.grader == GraderSpec()
    assert plan.grader_price == TokenPrice(
        input_usd_per_million_tokens=0.25,
        output_usd_per_million_tokens=2.0,
        cached_usd_per_million_tokens=0.025,
    )
    given = {"model": "m", **KEYLESS, "max_in_flight": 7, "timeout_s": 30}
    other = read(plan_file({**GRADED, "grader": given}))
    assert other.grader == GraderSpec(
        model="m", base_url="http://localhost:8000/v1", api_key_env=None, max_in_flight=7,
        timeout_s=30,
    )  # fmt: skip
    assert other.grader_price is None


def test_a_plan_without_graded_tasks_has_no_grader_and_its_old_ids(plan_file: PlanFile) -> None:
    plain, with_one = read(plan_file()), read(plan_file({"grader": {"model": "m"}}))
    assert plain.grader is with_one.grader is None
    assert terms_of(plain) is None
    assert plain.condition_id == with_one.condition_id
    assert plan_id(plain) == plan_id(with_one)
    assert plan_id(plain) == plan_id(replace(plain, budgets=replace(plain.budgets, grader_usd=1)))


def test_a_wording_is_read_with_the_plan_and_kept_as_it_stood(plan_file: PlanFile) -> None:
    path = plan_file({**GRADED, "grader": {"prompts": {"healthbench": "judge.txt"}}})
    (path.parent / "judge.txt").write_text(FAIR, "utf-8")
    plan = read(path)
    (path.parent / "judge.txt").write_text("Be kind.\n", "utf-8")
    assert plan.grader is not None
    assert plan.grader.prompts == {"healthbench": FAIR}


# Identity -------------------------------------------------------------------------------------


def test_model_and_wording_are_part_of_the_condition_and_nothing_else_of_the_grader(
    plan_file: PlanFile,
) -> None:
    def plan(**grader: Any) -> Plan:
        return read(plan_file({**GRADED, "grader": grader}))

    folder = plan_file().parent
    for name, text in (("a", "A"), ("b", "B"), ("copy", "A")):
        (folder / name).write_text(text + FAIR, "utf-8")
    base = plan()
    same = [
        plan(max_in_flight=1, timeout_s=5),
        plan(**KEYLESS),
        replace(base, grader_price=None, budgets=replace(base.budgets, grader_usd=3)),
    ]
    for one in same:
        assert (one.condition_id, plan_id(one)) == (base.condition_id, plan_id(base))
    worded = plan(prompts={"healthbench": "a"})
    assert worded.condition_id == plan(prompts={"healthbench": "copy"}).condition_id
    others = [base, plan(model="m"), worded, plan(prompts={"healthbench": "b"})]
    assert len({one.condition_id for one in others}) == 4
    assert len({plan_id(one) for one in others}) == 4


# Faults ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"grader": {"base_url": "ftp://x/v1", "api_key_env": None}},
            '$.grader.base_url: found "ftp://x/v1"; expected an address such as '
            "https://api.openai.com/v1",
        ),
        (
            {"grader": {"base_url": "https://", "api_key_env": None}},
            '$.grader.base_url: found "https://"; expected an address',
        ),
        (
            {"grader": {"base_url": "http://[", "api_key_env": None}},
            '$.grader.base_url: found "http://["; expected an address',
        ),
        (
            {"grader": {"base_url": "http://h:port/v1", "api_key_env": None}},
            '$.grader.base_url: found "http://h:port/v1"; expected an address',
        ),
        *(
            ({"grader": {"base_url": address, "api_key_env": None}}, "; expected an address such")
            for address in ("https://h /v1", "https://h\u00f6/v1", "https://h/v1\n")
        ),
        (
            {"grader": {"base_url": "https://user:pass@h/v1", "api_key_env": None}},
            "$.grader.base_url: found a user or password in the address of h; expected an address "
            "without them, and the key in the variable of $.grader.api_key_env",
        ),
        (
            {"grader": {"base_url": "https://h/v1/chat/completions", "api_key_env": None}},
            '$.grader.base_url: found "https://h/v1/chat/completions"; expected the address up to '
            "and including the API's version, such as https://api.openai.com/v1",
        ),
        (
            {"grader": {"base_url": "https://h/v1?key=x", "api_key_env": None}},
            '$.grader.base_url: found "https://h/v1?key=x"; expected the address up to',
        ),
        (
            {"grader": {"base_url": "https://h/v1"}},
            "$.grader.api_key_env: found nothing beside another base_url; OPENAI_API_KEY would be "
            "sent there; expected the environment variable that holds the key of this endpoint, "
            "or null for none",
        ),
        (
            {"grader": {"api_key_env": "sk-proj-123"}},
            "$.grader.api_key_env: found a text that is no name of an environment variable; "
            "expected the name of the variable that holds the key, such as OPENAI_API_KEY; the "
            "key itself stands in no plan",
        ),
        (
            {"grader": {"prompts": {"helthbench": "judge.txt"}}},
            "$.grader.prompts.helthbench: found a wording for a task that the plan lacks or that "
            "needs no grader; expected one of the plan's graded tasks: healthbench (did you mean "
            "'healthbench'?)",
        ),
        (
            {"grader": {"prompts": {"healthbench": "none.txt"}}},
            "none.txt, which cannot be read (No such file or directory); expected a text file in "
            "UTF-8, relative to the plan's folder",
        ),
        ({"grader": {"prompts": {"healthbench": "empty.txt"}}}, "empty.txt, which is empty; "),
        ({"grader": {"prompts": {"healthbench": "latin.txt"}}}, "latin.txt, which is no UTF-8; "),
        (
            {"grader": {"prompts": {"healthbench": "big.txt"}}},
            "big.txt, which is larger than 1 MiB; ",
        ),
        ({"grader": {"prompts": {"healthbench": "a\0b"}}}, '"a\\u0000b", which is no file; '),
        (
            {"grader": {"model": "m"}, "budgets": {"grader_usd": 5}},
            '$.budgets.grader_usd: found a budget for "m" at api.openai.com, whose price is not '
            "known; expected its price in $.prices.grader (zeros for a server of your own), or no "
            "such budget",
        ),
        (
            {"grader": {"max_in_flight": 0}},
            "$.grader.max_in_flight: found 0; expected a number of at least 1: Questions of one "
            "cell that may be under way at once",
        ),
        (
            {"prices": {"grader": {"input_usd_per_million_tokens": 1}}},
            "$.prices.grader.output_usd_per_million_tokens: found nothing; expected a number",
        ),
        (
            {"grader": {"temperature": 0}},
            "$.grader.temperature: found unknown key 'temperature'; expected one of model, "
            "base_url, api_key_env, max_in_flight, timeout_s, prompts",
        ),
    ],
)
def test_each_fault_of_a_grader_has_its_sentence(
    plan_file: PlanFile, changes: dict[str, Any], expected: str
) -> None:
    path = plan_file({**GRADED, **changes})
    (path.parent / "empty.txt").write_text(" \n", "utf-8")
    (path.parent / "latin.txt").write_bytes(b"\xe4")
    (path.parent / "big.txt").write_bytes(b"x" * (2**20 + 1))
    found = faults(path)
    assert any(expected in fault for fault in found), found
    assert not any("pass@" in fault or "sk-proj" in fault for fault in found)


@pytest.mark.parametrize(
    ("task", "wording", "found"),
    [
        (
            "healthbench",
            "<<conversation>>",
            "it must hold <<rubric_item>> exactly once",
        ),
        (
            "arenahardwriting",
            "{question} {answer_a} [[A>>B]] [[A>B]] [[A=B]] [[B>A]]",
            "it holds {answer_b} 0 times, expected exactly once; it must offer every verdict, and "
            "lacks [[B>>A]]",
        ),
    ],
)
def test_a_wording_that_its_task_cannot_use_is_a_fault_of_the_plan(
    plan_file: PlanFile, task: str, wording: str, found: str
) -> None:
    path = plan_file({"tasks": [task], "grader": {"prompts": {task: "judge.txt"}}})
    file = path.parent / "judge.txt"
    file.write_text(wording, "utf-8")
    assert faults(path) == [
        f"$.grader.prompts.{task}: found {file.resolve()} ({found}); expected a wording in which "
        f"{task} can ask its grader"
    ]


def test_what_goes_wrong_in_a_tasks_own_check_of_wordings_is_told(
    plan_file: PlanFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = plan_file({**GRADED, "grader": {"prompts": {"healthbench": "judge.txt"}}})
    (path.parent / "judge.txt").write_text(FAIR, "utf-8")
    task = type(load_catalogue().task("healthbench"))
    monkeypatch.setattr(task, "wording_faults", lambda self, text: 1 / 0)
    (fault,) = faults(path)
    assert "judge.txt (its wording_faults() raised ZeroDivisionError" in fault
    monkeypatch.setattr(task, "wording_faults", lambda self, text: "no")
    (fault,) = faults(path)
    assert "judge.txt (its wording_faults() returned 'no'; expected sentences)" in fault


def test_a_wording_for_a_task_that_cannot_be_used_here_is_not_looked_into(
    plan_file: PlanFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = plan_file({**GRADED, "grader": {"prompts": {"healthbench": "judge.txt"}}})
    (path.parent / "judge.txt").write_text("Be fair.", "utf-8")
    task = type(load_catalogue().task("healthbench"))
    monkeypatch.setattr(task, "unusable_reason", lambda self: "it needs a tool")
    plan = read(path)
    assert any("task healthbench: it needs a tool" in obstacle for obstacle in plan.obstacles)


def test_faults_of_a_grader_come_with_all_others(plan_file: PlanFile) -> None:
    changes = {**GRADED, "models": ["x"], "grader": {"base_url": "x"}, "engine.name": "y"}
    paths = [fault.split(": ")[0] for fault in faults(plan_file(changes))]
    assert paths == [
        "$.models[0]", "$.engine.name", "$.grader.base_url", "$.grader.api_key_env",
    ]  # fmt: skip
    paths = [fault.split(": ")[0] for fault in faults(plan_file({**changes, "repeats": "3"}))]
    assert paths == [
        "$.repeats", "$.models[0]", "$.engine.name", "$.grader.base_url", "$.grader.api_key_env",
    ]  # fmt: skip


def test_a_price_given_by_the_plan_makes_a_budget_possible(plan_file: PlanFile) -> None:
    price = {"input_usd_per_million_tokens": 0, "output_usd_per_million_tokens": 0}
    changes = {
        **GRADED,
        "grader": {"model": "m", **KEYLESS},
        "budgets": {"grader_usd": 5},
        "prices": {"grader": price},
    }
    plan = read(plan_file(changes))
    terms = terms_of(plan)
    assert terms is not None
    assert terms.price == TokenPrice(
        input_usd_per_million_tokens=0, output_usd_per_million_tokens=0
    )
    assert terms.budget_usd == 5


# A key that is missing ------------------------------------------------------------------------


def test_without_a_key_nothing_is_started(
    plan_file: PlanFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    plan = read(plan_file(GRADED))
    says = (
        "the grader gpt-5-mini at api.openai.com: its key is read from OPENAI_API_KEY, which is "
        "not set; set it where `ptb` is started, or name another endpoint in the plan's `grader`"
    )
    assert says in plan.obstacles
    with pytest.raises(PluginError, match=r"nothing was started:(.|\n)*the grader gpt-5-mini"):
        refuse_obstacles(plan)
    assert f"  {says}" in describe_plan(plan, load_catalogue())
    assert not any("grader" in text for text in read(plan_file()).obstacles)
    keyless = read(plan_file({**GRADED, "grader": KEYLESS}))
    assert not any("its key is read" in text for text in keyless.obstacles)


# The estimate ---------------------------------------------------------------------------------


def test_the_estimate_counts_questions_and_money_of_every_cell(plan_file: PlanFile) -> None:
    plan = read(plan_file({"tasks": ["healthbench", "errands"], "repeats": 2}))
    estimate = estimate_of(plan, load_catalogue()).grader
    assert estimate is not None
    cells = 1 + 2 * 2
    assert estimate.questions == 1873 * cells
    assert estimate.usd == pytest.approx(1873 * cells * (2000 * 0.25 + 700 * 2.0) / 1e6)
    assert estimate.sentence == (
        "grader gpt-5-mini: about 9,365 questions; about 17.79 USD; no limit set "
        "(budgets.grader_usd)"
    )


def test_the_estimate_follows_limit_seeds_price_and_budget(plan_file: PlanFile) -> None:
    protocol = {"base": "strict", "limit": 49, "seeds": [1, 2], "sampling": {"temperature": 1}}
    agents = [{"name": "null", "scaffold": "null"}]
    changes = {**GRADED, "protocol": protocol, "agents": agents, "baselines": "published"}
    path = plan_file({**changes, "budgets": {"grader_usd": 1.5}})
    assert f"  {SENTENCE}" in describe_plan(read(path), load_catalogue())
    poor = estimate_of(
        read(plan_file({**changes, "budgets": {"grader_usd": 1}})), load_catalogue()
    ).grader
    assert poor is not None
    assert poor.sentence.endswith(
        "at most 1.00 USD and what is then under way, likely too little for all"
    )
    unpriced = read(plan_file({**changes, "grader": {"model": "m"}}))
    estimate = estimate_of(unpriced, load_catalogue()).grader
    assert estimate is not None
    assert estimate.sentence == (
        "grader m: about 749 questions; price not known; no limit set (budgets.grader_usd)"
    )


SENTENCE = (
    "grader gpt-5-mini: about 749 questions; about 1.42 USD; at most 1.50 USD and what is then "
    "under way"
)


def test_a_task_that_does_not_say_what_its_grading_takes_is_named(plan_file: PlanFile) -> None:
    catalogue = load_catalogue()

    class Forgetful:
        def __getattr__(self, name: str) -> Any:
            return getattr(catalogue, name)

        def task_spec(self, name: str) -> Any:
            return replace(catalogue.task_spec(name), grading=None)

    estimate = estimate_of(read(plan_file(GRADED)), Forgetful()).grader  # type: ignore[arg-type]
    assert estimate is not None
    assert estimate.questions == 0
    assert "about 0 questions, not counting healthbench; about 0.00 USD" in estimate.sentence


def test_the_shipped_estimates_follow_from_the_published_data() -> None:
    catalogue = load_catalogue()
    found = {name: catalogue.task_spec(name) for name in ("healthbench", "arenahardwriting")}
    assert found["healthbench"].grading is not None
    assert found["healthbench"].grading.questions == 1873
    assert found["arenahardwriting"].grading is not None
    assert found["arenahardwriting"].grading.questions == 2 * 250


def test_a_wording_digest_is_that_of_its_text() -> None:
    from ptb_core.plan.grader import wording_digests

    spec = GraderSpec(prompts={"b": "B", "a": "A"})
    assert wording_digests(spec) == {
        "a": hashlib.sha256(b"A").hexdigest(),
        "b": hashlib.sha256(b"B").hexdigest(),
    }
