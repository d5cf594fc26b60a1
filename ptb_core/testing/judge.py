"""What every judge promises: to read, to say what it saw, and never to be clean by accident."""

from __future__ import annotations

import contextlib
import math
import sys
import unittest
from collections.abc import Mapping
from dataclasses import replace

import msgspec

from ptb_core.canonical import tree_sha256
from ptb_core.integrity import Evidence, Verdict
from ptb_core.interfaces import Judge
from ptb_core.json_codec import encodable
from ptb_core.specs import JsonValue
from ptb_core.testing.component import ComponentConformance
from ptb_core.testing.expectation import expect, unraised
from ptb_core.testing.hostile import CANARY, fill_hostile_workspace
from ptb_core.testing.material import EvidenceCase, honest_case
from ptb_core.testing.watching import Deed, watched

_EXCERPT = 300
_OUTCOMES = ("clean", "flagged", "inconclusive")


class JudgeConformance(ComponentConformance[Judge]):
    """Checks of a judge, on evidence made here.

    Attributes:
        settings: What a plan would set; merged over the declared defaults.
    """

    kind = "judge"
    settings: Mapping[str, JsonValue] = {}

    def clean_case(self) -> EvidenceCase:
        """Return evidence in which this judge must find nothing; an honest agent's by default."""
        return honest_case(self.tmp / "honest")

    def unreadable_case(self) -> EvidenceCase:
        """Return evidence in which what this judge must look at cannot be read.

        By default every file of the workspace and of the submission is unreadable: left out of
        the workspace with that reason, and broken in the submission.
        """
        case = honest_case(self.tmp / "unreadable")
        for path in [path for path in case.workspace.rglob("*") if path.is_file()]:
            case.omitted[path.relative_to(case.workspace).as_posix()] = (
                "unreadable: Input/output error"
            )
            path.unlink()
        assert case.submission is not None
        for path in case.submission.glob("*.safetensors"):
            path.write_bytes(b"\xff" * 64)
        return case

    def flagged_case(self) -> EvidenceCase:
        """Return evidence in which this judge must find a violation.

        Raises:
            unittest.SkipTest: By default: which evidence that is, only the judge's author knows.
        """
        raise unittest.SkipTest(
            "no evidence with a violation is given: override flagged_case() in a test class"
        )

    # Verdicts -----------------------------------------------------------------------------

    def test_a_verdict_names_its_judge_and_version(self) -> None:
        """Every verdict carries the judge's name and the version of its rules."""
        verdict = self._judged(self.clean_case())
        spec = self.component.spec
        expect(
            (verdict.judge, verdict.version) == (spec.name, spec.version),
            f"a verdict must name judge {spec.name!r}, version {spec.version!r}; it names "
            f"{verdict.judge!r}, {verdict.version!r}",
        )

    def test_honest_evidence_is_not_flagged(self) -> None:
        """An honest agent's workspace and an untouched submission give no violation."""
        verdict = self._judged(self.clean_case())
        expect(
            verdict.outcome != "flagged",
            f"honest evidence must not be flagged; it was: "
            f"{'; '.join(finding.summary for finding in verdict.findings)}",
        )

    def test_an_empty_workspace_makes_no_judge_raise(self) -> None:
        """An agent that left nothing, not even a submission, is judged."""
        case = EvidenceCase(self.tmp / "empty")
        case.submission = None
        case.test_items = ()
        self._judged(case)

    def test_a_hostile_workspace_makes_no_judge_raise(self) -> None:
        """Binary junk, deep folders, links, unusual names and broken files are judged."""
        self._judged(self._hostile_case())

    def test_a_hostile_submission_makes_no_judge_raise(self) -> None:
        """Broken weights and configuration are judged."""
        for name, content in _BROKEN.items():
            case = honest_case(self.tmp / f"broken-{len(name)}-{name[:4]}")
            assert case.submission is not None
            (case.submission / name).write_bytes(content)
            self._judged(case)

    def test_violations_are_declared_ones(self) -> None:
        """Every finding's violation is one of the manifest's."""
        declared = self.component.spec.violations
        for verdict in self._verdicts():
            for finding in verdict.findings:
                expect(
                    finding.violation in declared,
                    f"violations must be declared ({', '.join(declared)}); the verdict has "
                    f"{finding.violation!r}",
                )

    def test_only_flagged_verdicts_have_findings(self) -> None:
        """A flagged verdict has findings with citations; another has none."""
        for verdict in self._verdicts():
            expect(
                (verdict.outcome == "flagged") == bool(verdict.findings),
                f"a verdict must have findings exactly when it is flagged; it is "
                f"{verdict.outcome} with {len(verdict.findings)}",
            )
            for finding in verdict.findings:
                expect(
                    finding.citations and finding.summary.strip(),
                    f"a finding must have a summary and citations; {finding.violation!r} has not",
                )

    def test_citations_point_into_the_evidence(self) -> None:
        """A citation's path begins with ``workspace/`` or ``submission/`` and leads there."""
        for verdict, case in self._verdicts_with_cases():
            for citation in (c for finding in verdict.findings for c in finding.citations):
                self._expect_citation(citation.path, citation.line, case)
                expect(
                    max(len(citation.excerpt), len(citation.expected)) <= _EXCERPT,
                    f"excerpts have at most {_EXCERPT} characters; one of {citation.path} has more",
                )
                expect(
                    citation.score is None or 0 <= citation.score <= 1,
                    f"a citation's score lies in [0, 1]; it is {citation.score!r}",
                )

    def test_an_inconclusive_verdict_says_why(self) -> None:
        """What could not be looked at stands in the notes."""
        for verdict in self._verdicts():
            expect(
                verdict.outcome != "inconclusive" or any(note.strip() for note in verdict.notes),
                "an inconclusive verdict must say why in its notes; it has none",
            )

    def test_a_violation_is_flagged(self) -> None:
        """Evidence that holds a violation is flagged."""
        verdict = self._judged(self.flagged_case())
        expect(
            verdict.outcome == "flagged",
            f"evidence with a violation must be flagged; the verdict is {verdict.outcome}",
        )

    def test_what_cannot_be_read_is_never_clean(self) -> None:
        """With what it must look at unreadable, a judge fails closed."""
        verdict = self._judged(self.unreadable_case())
        expect(
            verdict.outcome != "clean",
            "a judge that could not read its evidence must fail closed; its verdict is clean",
        )

    def test_verdicts_are_json(self) -> None:
        """A verdict is what JSON can hold, as records keep it."""
        for verdict in self._verdicts():
            unraised(
                "a verdict must be what JSON can hold",
                lambda verdict=verdict: msgspec.json.encode(  # type: ignore[misc]
                    encodable(msgspec.to_builtins(verdict))
                ),
            )
            numbers = [value for value in verdict.facts.values() if isinstance(value, float)]
            expect(
                all(map(math.isfinite, numbers)),
                f"facts of a verdict must be finite numbers; they are {dict(verdict.facts)!r:.200}",
            )

    def test_the_same_evidence_gives_the_same_verdict(self) -> None:
        """A judge that is declared deterministic gives equal verdicts on equal evidence."""
        if not self.component.spec.deterministic:
            raise unittest.SkipTest("its manifest says that it is not deterministic")
        for case in self._cases():
            first, second = self._judged(case), self._judged(case)
            expect(
                first == second,
                "a deterministic judge must give the same verdict twice; it gave "
                f"{first.outcome} and {second.outcome}, or other words",
            )

    # Side effects -------------------------------------------------------------------------

    def test_judging_runs_no_program(self) -> None:
        """No program is run and nothing unpickled; a decoder of its own, isolated, is allowed."""
        case = self._hostile_case()
        evidence = case.evidence()
        self._judge(evidence)  # imports of its own happen here
        _, done = watched(lambda: self._judge(evidence))
        wrong = [deed for deed in done if not self._is_own_decoder(deed)]
        expect(
            not wrong,
            "judging must run no program but its own isolated decoder (python -I); it did "
            f"{'; '.join(map(str, wrong))}",
        )

    def test_judging_executes_nothing_of_the_evidence(self) -> None:
        """Nothing that lies in the evidence is imported, unpickled or run."""
        case = self._hostile_case()
        self._judged(case)
        expect(
            not (case.workspace / CANARY).exists(),
            "judging must execute nothing of the evidence; a file of the workspace was executed",
        )

    def test_judging_changes_no_evidence(self) -> None:
        """Workspace, submission and base model are afterwards as they were."""
        case = self.clean_case()
        evidence = case.evidence()
        before = self._digests(evidence)
        self._judge(evidence)
        expect(self._digests(evidence) == before, "judging must not change evidence; it did")

    def test_judging_works_on_read_only_evidence(self) -> None:
        """Evidence whose folders cannot be written is judged."""
        case = self.clean_case()
        evidence = case.evidence()
        folders = [case.workspace, *(p for p in case.workspace.rglob("*") if p.is_dir())]
        for folder in folders:
            folder.chmod(0o555)
        self._judge(evidence)

    def test_paths_of_the_evidence_do_not_matter(self) -> None:
        """The same evidence elsewhere gives the same outcome."""
        case = self.clean_case()
        first = self._judged(case).outcome
        link = self.tmp / "elsewhere"
        link.symlink_to(case.workspace, target_is_directory=True)
        found = self._judge(replace(case.evidence(), workspace=link)).outcome
        expect(found == first, f"the same evidence must give {first} anywhere; it gave {found}")

    # Parts --------------------------------------------------------------------------------

    def _judge(self, evidence: Evidence) -> Verdict:
        declared = {setting.name: setting.default for setting in self.component.spec.settings}
        verdict = unraised(
            "judge() must return a verdict on any evidence",
            lambda: self.component.judge(evidence, declared | dict(self.settings)),
        )
        expect(
            isinstance(verdict, Verdict),
            f"judge() must return a Verdict; it returned {verdict!r:.80}",
        )
        assert isinstance(verdict, Verdict)
        expect(
            verdict.outcome in _OUTCOMES,
            f"the outcome must be one of {', '.join(_OUTCOMES)}; it is {verdict.outcome!r}",
        )
        return verdict

    def _is_own_decoder(self, deed: Deed) -> bool:
        words = deed.arguments[1] if len(deed.arguments) > 1 else ()
        argv = [str(word) for word in words] if isinstance(words, list | tuple) else []
        return (
            deed.event == "subprocess.Popen"
            and argv[:2] == [sys.executable, "-I"]
            and (len(argv) > 2 and not argv[2].startswith(str(self.tmp)))
        )

    def _judged(self, case: EvidenceCase) -> Verdict:
        return self._judge(case.evidence())

    def _hostile_case(self) -> EvidenceCase:
        case = honest_case(self.tmp / "hostile")
        fill_hostile_workspace(case.workspace)
        return case

    def _cases(self) -> list[EvidenceCase]:
        cases = [self.clean_case(), self._hostile_case(), self.unreadable_case()]
        with contextlib.suppress(unittest.SkipTest):
            cases.append(self.flagged_case())
        return cases

    def _verdicts(self) -> list[Verdict]:
        return [self._judged(case) for case in self._cases()]

    def _verdicts_with_cases(self) -> list[tuple[Verdict, EvidenceCase]]:
        return [(self._judged(case), case) for case in self._cases()]

    def _expect_citation(self, path: str, line: int | None, case: EvidenceCase) -> None:
        place, _, relative = path.partition("/")
        roots = {"workspace": case.workspace, "submission": case.submission}
        root = roots.get(place)
        expect(
            root is not None and relative and ".." not in relative.split("/"),
            f"a citation must point below workspace/ or submission/; it points to {path!r}",
        )
        assert root is not None
        expect(
            (root / relative).exists() or relative in case.omitted,
            f"a citation must point to something in the evidence; {path!r} is not there",
        )
        expect(line is None or line >= 1, f"lines count from 1; a citation says line {line!r}")

    def _digests(self, evidence: Evidence) -> list[str]:
        folders = (evidence.workspace, evidence.submission, evidence.base_model)
        return [tree_sha256(folder) for folder in folders if folder is not None]


_BROKEN: Mapping[str, bytes] = {
    "config.json": b'{"architectures": 7, "num_hidden_layers": "many"',
    "model.safetensors": b"\xff" * 64,
    "model.safetensors.index.json": b'{"weight_map": {"a": "../../etc/passwd"}}',
    "adapter_config.json": b"[]",
    "tokenizer.json": b"\0\xff",
    "chat_template.jinja": b"{% for x in \xff",
}
"""Files of a submission that are not what their names say."""
