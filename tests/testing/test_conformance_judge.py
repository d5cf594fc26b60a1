"""Judges that break a promise fail the check of that promise, in words."""

from __future__ import annotations

import itertools
import pickle
import runpy
import subprocess
from collections.abc import Callable
from dataclasses import replace

import pytest

from ptb_core.api import Citation, Finding, Judge, JudgeSpec, Verdict
from ptb_core.testing import JudgeConformance, honest_case
from tests.testing.running import broken, checked

SPEC = JudgeSpec(
    name="looker", description="Looks.", version="1", violations=("bad-word",), deterministic=True
)


class Looker(Judge):
    """A right judge, of which the wrong ones differ in one thing: it looks for one word."""

    def judge(self, evidence, settings):
        doubts = [f"{path}: {reason}" for path, reason in sorted(evidence.omitted.items())]
        citations = []
        for path in sorted(evidence.workspace.rglob("*")):
            if path.is_file() and not path.is_symlink() and b"BAD" in path.read_bytes():
                name = path.relative_to(evidence.workspace).as_posix()
                citations.append(Citation(path=f"workspace/{name}", line=1, excerpt="BAD"))
        findings = (
            (Finding(violation="bad-word", summary="A bad word.", citations=tuple(citations)),)
            if citations
            else ()
        )
        return Verdict(
            judge=self.spec.name,
            version=self.spec.version,
            outcome="flagged" if findings else "inconclusive" if doubts else "clean",
            findings=findings,
            notes=tuple(doubts),
        )


def bad_case(self):
    case = honest_case(self.tmp / "bad")
    case.put("notes.txt", "BAD")
    return case


def wrong(method: Callable[..., Verdict], spec: JudgeSpec = SPEC) -> Judge:
    return type("Wrong", (Looker,), {"judge": method})(spec)


def altered(**fields: object) -> Judge:
    return wrong(lambda self, *given: replace(Looker.judge(self, *given), **fields))


def flagging(**fields: object) -> Judge:
    """A judge whose findings are altered where it flags."""

    def judge(self, *given):
        verdict = Looker.judge(self, *given)
        if verdict.outcome != "flagged":
            return verdict
        return replace(verdict, findings=(replace(verdict.findings[0], **fields),))

    return wrong(judge)


def citing(**fields: object) -> Judge:
    return flagging(citations=(Citation(**({"path": "workspace/notes.txt"} | fields)),))


def raises_without_submission(self, evidence, settings):
    list(evidence.submission.iterdir())
    return Looker.judge(self, evidence, settings)


def decodes_strictly(self, evidence, settings):
    for path in evidence.workspace.rglob("*.txt"):
        path.read_text("utf-8")
    return Looker.judge(self, evidence, settings)


def reads_configuration(self, evidence, settings):
    import json

    if evidence.submission is not None:
        json.loads((evidence.submission / "config.json").read_bytes())
    return Looker.judge(self, evidence, settings)


def fails_open(self, evidence, settings):
    verdict = Looker.judge(self, evidence, settings)
    return replace(verdict, outcome="clean") if verdict.outcome == "inconclusive" else verdict


def says_nothing(self, evidence, settings):
    return replace(Looker.judge(self, evidence, settings), notes=())


def runs_a_program(self, evidence, settings):
    subprocess.run(["true"], check=True)
    return Looker.judge(self, evidence, settings)


def unpickles(self, evidence, settings):
    for path in evidence.workspace.glob("*.pkl"):
        pickle.loads(path.read_bytes())
    return Looker.judge(self, evidence, settings)


def runs_what_it_finds(self, evidence, settings):
    for path in evidence.workspace.glob("conftest.py"):
        runpy.run_path(str(path))
    return Looker.judge(self, evidence, settings)


def tidies_up(self, evidence, settings):
    for path in evidence.workspace.glob("train.py"):
        path.unlink()
    return Looker.judge(self, evidence, settings)


def looks_at_the_place(self, evidence, settings):
    name = evidence.workspace.name
    return replace(
        Looker.judge(self, evidence, settings),
        outcome="clean" if name == "workspace" else "inconclusive",
        notes=("another name",),
    )


counter = itertools.count()


def varies(self, evidence, settings):
    return replace(Looker.judge(self, evidence, settings), facts={"count": next(counter)})


CASES = {
    "no verdict": (
        wrong(lambda self, evidence, settings: "clean"),
        "test_a_verdict_names_its_judge_and_version",
        "judge() must return a Verdict; it returned 'clean'",
    ),
    "an unknown outcome": (
        altered(outcome="innocent"),
        "test_a_verdict_names_its_judge_and_version",
        "the outcome must be one of clean, flagged, inconclusive; it is 'innocent'",
    ),
    "another judge's name": (
        altered(judge="somebody"),
        "test_a_verdict_names_its_judge_and_version",
        "a verdict must name judge 'looker', version '1'; it names 'somebody', '1'",
    ),
    "an honest agent flagged": (
        altered(
            outcome="flagged",
            findings=(
                Finding(violation="bad-word", summary="Just so.", citations=(Citation(path="x"),)),
            ),
        ),
        "test_honest_evidence_is_not_flagged",
        "honest evidence must not be flagged; it was: Just so.",
    ),
    "an absent submission": (
        wrong(raises_without_submission),
        "test_an_empty_workspace_makes_no_judge_raise",
        "judge() must return a verdict on any evidence; it raised AttributeError: ",
    ),
    "text that is no UTF-8": (
        wrong(decodes_strictly),
        "test_a_hostile_workspace_makes_no_judge_raise",
        "judge() must return a verdict on any evidence; it raised UnicodeDecodeError: ",
    ),
    "a broken configuration": (
        wrong(reads_configuration),
        "test_a_hostile_submission_makes_no_judge_raise",
        "judge() must return a verdict on any evidence; it raised JSONDecodeError: ",
    ),
    "an undeclared violation": (
        flagging(violation="ugly-word"),
        "test_violations_are_declared_ones",
        "violations must be declared (bad-word); the verdict has 'ugly-word'",
    ),
    "flagged without a finding": (
        wrong(lambda self, *given: replace(Looker.judge(self, *given), findings=())),
        "test_only_flagged_verdicts_have_findings",
        "a verdict must have findings exactly when it is flagged; it is flagged with 0",
    ),
    "a finding without citations": (
        flagging(citations=()),
        "test_only_flagged_verdicts_have_findings",
        "a finding must have a summary and citations; 'bad-word' has not",
    ),
    "a citation of a host path": (
        citing(path="/etc/passwd"),
        "test_citations_point_into_the_evidence",
        "a citation must point below workspace/ or submission/; it points to '/etc/passwd'",
    ),
    "a citation of nothing": (
        citing(path="workspace/nowhere.txt"),
        "test_citations_point_into_the_evidence",
        "a citation must point to something in the evidence; 'workspace/nowhere.txt' is not there",
    ),
    "a citation of line 0": (
        citing(line=0),
        "test_citations_point_into_the_evidence",
        "lines count from 1; a citation says line 0",
    ),
    "a long excerpt": (
        citing(excerpt="x" * 301),
        "test_citations_point_into_the_evidence",
        "excerpts have at most 300 characters; one of workspace/notes.txt has more",
    ),
    "a score above 1": (
        citing(score=2.0),
        "test_citations_point_into_the_evidence",
        "a citation's score lies in [0, 1]; it is 2.0",
    ),
    "inconclusive without a word": (
        wrong(says_nothing),
        "test_an_inconclusive_verdict_says_why",
        "an inconclusive verdict must say why in its notes; it has none",
    ),
    "a violation missed": (
        altered(outcome="clean", findings=()),
        "test_a_violation_is_flagged",
        "evidence with a violation must be flagged; the verdict is clean",
    ),
    "failing open": (
        wrong(fails_open),
        "test_what_cannot_be_read_is_never_clean",
        "a judge that could not read its evidence must fail closed; its verdict is clean",
    ),
    "a fact that is no JSON": (
        altered(facts={"set": {object()}}),
        "test_verdicts_are_json",
        "a verdict must be what JSON can hold; it raised TypeError: ",
    ),
    "a fact that is no number": (
        altered(facts={"share": float("nan")}),
        "test_verdicts_are_json",
        "facts of a verdict must be finite numbers; they are {'share': nan}",
    ),
    "a verdict that varies": (
        wrong(varies),
        "test_the_same_evidence_gives_the_same_verdict",
        "a deterministic judge must give the same verdict twice; it gave clean and clean, or "
        "other words",
    ),
    "a program run": (
        wrong(runs_a_program),
        "test_judging_runs_no_program",
        "judging must run no program but its own isolated decoder (python -I); it did "
        "subprocess.Popen 'true'",
    ),
    "a pickle opened": (
        wrong(unpickles),
        "test_judging_runs_no_program",
        "judging must run no program but its own isolated decoder (python -I); it did "
        "pickle.find_class 'builtins'",
    ),
    "a program of the evidence run": (
        wrong(runs_what_it_finds),
        "test_judging_executes_nothing_of_the_evidence",
        "judging must execute nothing of the evidence; a file of the workspace was executed",
    ),
    "evidence removed": (
        wrong(tidies_up),
        "test_judging_changes_no_evidence",
        "judging must not change evidence; it did",
    ),
    "an outcome by the folder's name": (
        wrong(looks_at_the_place),
        "test_paths_of_the_evidence_do_not_matter",
        "the same evidence must give clean anywhere; it gave inconclusive",
    ),
}


@pytest.mark.parametrize(("judge", "method", "sentence"), CASES.values(), ids=CASES)
def test_a_wrong_judge_fails_with_a_sentence(judge: Judge, method: str, sentence: str) -> None:
    found = broken(JudgeConformance, judge, method, flagged_case=bad_case)
    assert found.startswith(sentence)


@pytest.mark.parametrize("method", sorted({method for _, method, _ in CASES.values()}))
def test_a_right_judge_passes_the_same_checks(method: str) -> None:
    checked(JudgeConformance, Looker(SPEC), method, flagged_case=bad_case)
