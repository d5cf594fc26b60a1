"""What is common to all kinds: wrong components, and how pytest and python -O take the classes."""

from __future__ import annotations

import subprocess
import sys
import time
import unittest
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ptb_core.api import Command, Scaffold, ScaffoldSpec, Trace
from ptb_core.testing import BrokenPromiseError, ScaffoldConformance, expect, expect_error
from ptb_core.testing.suites import SUITES, checks_of
from tests.testing.running import broken, checked

SPEC = ScaffoldSpec(name="wrong", description="Wrong.", version="1", runs_outside_llm=False)


class Right(Scaffold):
    """The smallest scaffold."""

    def start(self, cell):
        return Command(argv=("true",))

    def read_trace(self, stream):
        return Trace(events=())


class Stateful(Right):
    """Remembers something."""

    def __init__(self, spec):
        super().__init__(spec)
        self.cache = {}


class Demanding(Right):
    """Wants more than its spec."""

    def __init__(self, spec, key):
        super().__init__(spec)


class Forging(Right):
    """Changes the spec it is given."""

    def __init__(self, spec):
        super().__init__(replace(spec, version=spec.version + ".1"))


class Loud(Right):
    """Prints when it is made."""

    def __init__(self, spec):
        super().__init__(spec)
        print("hello")


class Heavy(Right):
    """Imports NumPy to say whether it is usable."""

    def unusable_reason(self):
        import numpy

        return None if numpy else "never"


class Vague(Right):
    """Says nothing in an empty sentence."""

    def unusable_reason(self):
        return ""


class Slow(Right):
    """Takes its time."""

    def unusable_reason(self):
        time.sleep(0.06)


class Asking(Right):
    """Runs a program to know whether it is usable."""

    def unusable_reason(self):
        subprocess.run(["true"], check=True)


class Unusable(Right):
    """Never usable."""

    def unusable_reason(self):
        return "needs a moon landing; wait"


CASES = {
    "state": (
        Stateful,
        "test_it_holds_no_state_besides_its_spec",
        "tests.testing.test_conformance_component.Stateful must hold nothing but its spec, "
        "because core builds it anew at any time; it also holds cache",
    ),
    "a key": (
        lambda spec: Demanding(spec, "key"),
        "test_it_can_be_built_in_another_process_from_its_spec_alone",
        "another process must be able to build the component from its spec alone (probe); it "
        "ended with status 1: TypeError: ",
    ),
    "another spec": (
        Forging,
        "test_it_can_be_built_in_another_process_from_its_spec_alone",
        "tests.testing.test_conformance_component.Forging built from a spec must hold that very "
        "spec; it holds {",
    ),
    "a print": (
        Loud,
        "test_loading_it_prints_nothing",
        "loading tests.testing.test_conformance_component.Loud must print nothing; it printed "
        "'hello\\n'",
    ),
    "a heavy import": (
        Heavy,
        "test_loading_it_imports_nothing_heavy",
        "loading tests.testing.test_conformance_component.Heavy must import nothing heavy; it "
        "imports numpy. Import it inside the method that needs it",
    ),
    "an empty reason": (
        Vague,
        "test_unusable_reason_returns_a_sentence_or_none",
        "unusable_reason() must return a sentence or None; it returned ''",
    ),
    "a slow reason": (
        Slow,
        "test_unusable_reason_is_cheap",
        "unusable_reason() must take under 10 ms; at its fastest it took 60 ms",
    ),
    "a program": (
        Asking,
        "test_unusable_reason_asks_neither_network_nor_programs",
        "unusable_reason() must use neither the network nor other programs; it did: "
        "subprocess.Popen",
    ),
    "a bad name": (
        lambda spec: Right(replace(spec, name="My Scaffold")),
        "test_its_facts_pass_the_schema_and_the_rules",
        'its facts must pass the schema and rules of a scaffold; $.name: found "My Scaffold"; ',
    ),
}


@pytest.mark.parametrize(("make", "method", "sentence"), CASES.values(), ids=CASES)
def test_a_wrong_component_fails_with_a_sentence(
    make: Callable[[ScaffoldSpec], Scaffold], method: str, sentence: str
) -> None:
    if "numpy" in sentence:
        pytest.importorskip("numpy")
    assert broken(ScaffoldConformance, make(SPEC), method)[: len(sentence)] == sentence


@pytest.mark.parametrize("method", sorted({method for _, method, _ in CASES.values()}))
def test_a_right_component_passes_the_same_checks(method: str) -> None:
    checked(ScaffoldConformance, Right(SPEC), method)


def test_a_component_must_have_the_name_it_is_registered_under() -> None:
    sentence = broken(
        ScaffoldConformance,
        Right(SPEC),
        "test_it_is_registered_under_the_name_of_its_spec",
        name="right",
    )
    assert sentence == ("the component 'right' must state its own name; its spec says 'wrong'")


def test_a_class_without_name_says_what_it_needs() -> None:
    with pytest.raises(BrokenPromiseError, match="Nameless must set name, or override make"):
        type("Nameless", (ScaffoldConformance,), {})().make()


def test_an_unusable_component_is_skipped_with_its_own_reason() -> None:
    with pytest.raises(unittest.SkipTest) as skipped:
        checked(ScaffoldConformance, Unusable(SPEC), "test_start_returns_a_command")
    assert str(skipped.value) == "not usable on this machine: needs a moon landing; wait"


def test_every_check_says_its_promise_in_one_line() -> None:
    for suite in SUITES.values():
        for check in checks_of(suite):
            assert check.promise.endswith("."), f"{suite.__name__}.{check.method}"
            assert len(check.name.split()) >= 3 or check.method.endswith("_json")


def test_an_expectation_holds_under_python_o() -> None:
    code = "from ptb_core.testing import expect\nexpect(1 == 2, 'one must be two')"
    done = subprocess.run([sys.executable, "-O", "-c", code], capture_output=True, check=False)
    assert done.returncode == 1
    assert done.stderr.decode().endswith("BrokenPromiseError: one must be two\n")


def test_an_expected_error_must_come_and_be_of_its_kind() -> None:
    assert expect_error(ValueError, "int() of a word", lambda: int("word")).startswith("invalid")
    with pytest.raises(BrokenPromiseError) as caught:
        expect_error(ValueError, "int() of 3", lambda: int("3"))
    assert str(caught.value) == "int() of 3 must raise ValueError; it returned 3"
    with pytest.raises(BrokenPromiseError) as caught:
        expect_error(KeyError, "int() of a word", lambda: int("word"))
    assert str(caught.value).startswith(
        "int() of a word must raise KeyError; it raised ValueError: invalid literal"
    )
    expect(True, "nothing is raised for what holds")


SUITE = """
from ptb_core.testing import ScaffoldConformance

class TestNull(ScaffoldConformance):
    name = "null"

class TestAbsent(ScaffoldConformance):
    name = "nul"
"""


def test_pytest_runs_a_subclass_and_reports_skips_as_skipped(tmp_path: Path) -> None:
    (tmp_path / "test_them.py").write_text(SUITE)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, "-k", "cwd or truncated or its_files"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "1 passed, 1 skipped" in done.stdout, done.stdout
    assert "2 errors" in done.stdout
    assert "there is no scaffold 'nul' (did you mean 'null'?)" in done.stdout
