"""What the doctor says of plugins, components, sandboxes and plans."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Iterator
from importlib.metadata import version

import pytest

import ptb_core.catalogue
from ptb_core.catalogue import load_catalogue
from ptb_core.data import data_dir
from ptb_core.doctor import Finding, components, examine, plans
from ptb_core.plugins import load_plugins
from ptb_core.testing.installed import Site, temporary_site
from ptb_plugins.tasks import EVALUABLE

OURS = f"posttrainbench {version('posttrainbench')}"

SANDBOX = """
from ptb_core.api import Sandbox, SandboxSpec, hookimpl

class Odd(Sandbox):
    def open(self, request): raise NotImplementedError
    def attach(self, handle): raise NotImplementedError
    def obstacles(self, condition, limits, settings):
        return () if condition.network == "open" else ("the program odd-wall is missing",)

@hookimpl
def ptb_register_sandboxes():
    return [Odd(SandboxSpec(name="odd", description="D.", roles=("solve", "serve"),
        network_policies=("open", "none", "gateway"), isolates_untrusted_code=True, gpus=False))]
"""


@pytest.fixture
def site(monkeypatch) -> Iterator[Site]:
    """A site folder, and a clock that stands still."""
    frozen = functools.partial(load_plugins, clock=lambda: 0.0)
    monkeypatch.setattr(ptb_core.catalogue, "load_plugins", frozen)
    with temporary_site() as one:
        yield one


def told(findings: Iterable[Finding]) -> list[str]:
    return [
        " | ".join(filter(None, (one.level, one.fact, *one.details, one.advice)))
        for one in findings
    ]


def test_plugins_that_are_all_well_are_one_line(site):
    assert told(components.plugin_findings(load_catalogue())) == [
        "ok | 7 of 7 installed plugins are loaded"
    ]


def test_a_broken_plugin_is_a_problem_with_three_ways_out(site):
    site.install("ptb-bad", {"bad.py": "1 / 0\n"}, {"bad": "bad"})
    assert told(components.plugin_findings(load_catalogue())) == [
        "ok | 7 of 8 installed plugins are loaded",
        "problem | ptb-bad 1.0 (entry point bad): the whole plugin is not loaded | bad cannot be "
        "imported: ZeroDivisionError: division by zero | update or uninstall ptb-bad, or switch "
        "it off with PTB_DISABLE_PLUGINS=bad; `ptb plugins bad --traceback` shows where it failed",
    ]


def test_a_plugin_that_is_switched_off_is_as_its_user_wants_it(site, monkeypatch):
    site.install("ptb-bad", {"bad.py": "1 / 0\n"}, {"bad": "bad"})
    monkeypatch.setenv("PTB_DISABLE_PLUGINS", "bad")
    assert told(components.plugin_findings(load_catalogue()))[1] == (
        "ok | ptb-bad 1.0 (entry point bad): switched off by PTB_DISABLE_PLUGINS"
    )


def test_a_note_about_a_plugin_is_a_warning(site):
    site.install("ptb-loud", {"loud.py": "print('hi')\n" + SANDBOX}, {"loud": "loud"})
    assert told(components.plugin_findings(load_catalogue()))[1] == (
        "warning | ptb-loud 1.0 (entry point loud) printed while it was loaded, and should not: "
        "'hi' | tell its author; nothing is broken"
    )


def test_components_that_cannot_be_used_are_grouped_by_their_reason(site, monkeypatch):
    described = ("aime2025", "bfcl", "arenahardwriting", "healthbench", "humaneval", "gpqamain")
    for name in described:
        monkeypatch.delitem(EVALUABLE, name, raising=False)
    found = told(components.component_findings(load_catalogue()))
    assert found[:2] == [
        "ok | tasks: 2 of 8 usable: errands, gsm8k",
        "warning | tasks aime2025, arenahardwriting, bfcl, gpqamain, healthbench, humaneval: "
        f"unusable | described only: its evaluation code is not part of {OURS} | leave them out "
        "of plans, or mend what it names",
    ]


def test_a_kind_of_which_nothing_can_be_used_is_a_problem(site, monkeypatch):
    monkeypatch.setenv("PTB_DISABLE_PLUGINS", "builtin-executors,builtin-judges")
    found = told(components.component_findings(load_catalogue()))
    assert found[-2:] == [
        "warning | judges: 0 of 0 usable | install a plugin that brings judges, or mend what "
        "stands below",
        "problem | executors: 0 of 0 usable | install a plugin that brings executors, or mend "
        "what stands below",
    ]
    assert components.missing_kinds(load_catalogue()) == ("executors",)


def test_a_sandbox_is_asked_about_each_network_policy(site):
    site.install("ptb-odd", {"odd.py": SANDBOX}, {"odd": "odd"})
    found = told(components.sandbox_findings(load_catalogue()))
    assert found[-2:] == [
        "ok | sandbox odd: network open; isolates untrusted code",
        "warning | sandbox odd cannot offer network none and gateway here | the program odd-wall "
        "is missing | do as it says, or keep to plans without network none and gateway in this "
        "sandbox",
    ]


def test_a_shipped_plan_says_what_it_lacks_or_that_nothing_must_be_fetched(site, monkeypatch):
    monkeypatch.delitem(EVALUABLE, "bfcl")
    found = dict(text.split(": ", 1) for text in told(plans.findings(load_catalogue())))
    assert found["ok | quickstart"] == "can run here, with nothing to fetch"
    assert found["ok | smollm2-cpu"] == (
        "can run here, once `ptb prefetch smollm2-cpu` has found its models and data"
    )
    paper = next(text for name, text in found.items() if name.endswith("| paper"))
    assert paper.startswith("cannot run here, for ")
    assert f"| task bfcl: described only: its evaluation code is not part of {OURS} |" in paper
    assert paper.endswith("| do as each says, or write a plan with what is usable: `ptb list`")


def test_a_shipped_plan_whose_plugins_are_gone_names_what_is_not_here(site, monkeypatch):
    monkeypatch.setenv("PTB_DISABLE_PLUGINS", "builtin-engines")
    path = data_dir() / "plans" / "quickstart.json"
    (text,) = told([plans.plan_finding(path, load_catalogue())])
    assert text.startswith("warning | quickstart: names what is not here | ")
    assert "there is no engine 'transformers'" in text
    assert text.endswith(" | bring back the plugins that it needs: `ptb plugins` lists them")


def test_every_warning_and_problem_says_what_to_do_and_no_other_line_does(site, monkeypatch):
    site.install("ptb-bad", {"bad.py": "1 / 0\n"}, {"bad": "bad"})
    monkeypatch.setenv("PTB_DISABLE_PLUGINS", "builtin-engines")
    report = examine(load_catalogue())
    for section in report.sections:
        assert section.findings, section.name
        for finding in section.findings:
            assert bool(finding.advice) == (finding.level != "ok"), finding
    assert json.dumps([section.name for section in report.sections])
    assert not report.can_run
