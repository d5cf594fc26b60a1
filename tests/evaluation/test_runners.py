"""ptb evaluate on tasks that ask a grader or run programs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from standing_alone import NoSandbox, ScriptedEngine, folder_of, right_for

from ptb_core.catalogue import Catalogue, load_catalogue
from ptb_core.evaluation.checks import GraderCheck, GraderResult, ProgramCheck, ProgramResult
from ptb_core.evaluation.exchange import ChatRequest, DataDir, Sample, SampleScore
from ptb_core.evaluation.statistics import mean_and_stderr
from ptb_core.interfaces import Session, Task
from ptb_core.sandboxing import SandboxRequest
from ptb_core.specs import TokenPrice
from ptb_core.testing.grader import GraderAnswer, GraderQuestion, ScriptedGrader, failing, saying
from ptb_plugins.sandboxes.local.isolation import bwrap_failure

Ptb = Callable[..., tuple[int, str, str]]
COMMAND = ("evaluate", "tiny-qwen3", "--task", "errands")
KEY = "sk-test-0123456789abcdef"


class Checked(Task):
    """Three samples whose answers are not looked at, with one check each."""

    def samples(self, data: DataDir) -> list[Sample]:
        wording = data.prompts.get("grader", "own wording")
        return [Sample(id=name, input={"wording": wording}, target=None) for name in "abc"]

    def requests(self, sample: Sample, requests: Any) -> tuple[ChatRequest, ...]:
        return (ChatRequest(messages=({"role": "user", "content": f"{sample.id}\n"},)),)

    def aggregate(self, scores: Any, scoring: Any) -> Any:
        return mean_and_stderr(scores)


class Graded(Checked):
    def checks(self, sample: Sample, completion: Any) -> tuple[GraderCheck, ...]:
        message = {"role": "user", "content": f"{sample.input['wording']}: {sample.id}"}
        return (GraderCheck(name="verdict", messages=(message,), max_completion_tokens=9),)

    def score(self, sample: Sample, completions: Any, scoring: Any) -> SampleScore:
        result = completions[0].checks["verdict"]
        assert isinstance(result, GraderResult)
        return SampleScore(id=sample.id, value=float(result.text == "good"))


class Programs(Checked):
    def checks(self, sample: Sample, completion: Any) -> tuple[ProgramCheck, ...]:
        program = {"a": "print('fine')", "b": "raise SystemExit(3)", "c": "open('x', 'w')"}
        return (ProgramCheck(name="run", program=program[sample.id], wants_token=True),)

    def score(self, sample: Sample, completions: Any, scoring: Any) -> SampleScore:
        result = completions[0].checks["run"]
        assert isinstance(result, ProgramResult)
        return SampleScore(id=sample.id, value=float(result.token_seen))


def play(monkeypatch: pytest.MonkeyPatch, task: type[Task], need: str) -> None:
    spec = replace(load_catalogue().task_spec("errands"), n_samples=3, needs=(need,))
    monkeypatch.setattr(Catalogue, "task", lambda self, name: task(spec))


@pytest.fixture
def graded(monkeypatch: pytest.MonkeyPatch) -> None:
    play(monkeypatch, Graded, "grader")
    monkeypatch.setenv("MY_KEY", KEY)


def verdicts(question: GraderQuestion) -> GraderAnswer:
    return saying("bad" if question.text.endswith("b") else "good")


def at(grader: ScriptedGrader) -> tuple[str, ...]:
    return ("--grader-url", grader.base_url, "--grader-key-env", "MY_KEY")


def test_answers_are_graded_once_and_the_summary_says_by_whom(
    ptb: Ptb, answering: Any, graded: None, tmp_path: Path
) -> None:
    with ScriptedGrader(verdicts) as grader, answering(right_for(0)):
        code, out, err = ptb(*COMMAND, *at(grader), "--grader-model", "mine")
        assert code == 0, err
        assert "66.67 ± 33.33 %" in out
        folder = folder_of(tmp_path)
        content = (folder / "summary.json").read_bytes()
        again = ptb(*COMMAND, *at(grader), "--grader-model", "mine")
        assert again[:2] == (0, out)
        assert len(grader.questions) == 3
        assert (folder / "summary.json").read_bytes() == content
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["lock"]["grader"] == {"model": "mine", "prompts": {}}
    assert summary["evaluation"]["details"]["grader"]["model"] == "mine"
    everything = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
    assert KEY.encode() not in everything
    lines = [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]
    assert [line["completions"][0]["checks"]["verdict"]["text"] for line in lines] == [
        "good", "bad", "good",
    ]  # fmt: skip


def test_a_missing_verdict_makes_no_score_and_only_it_is_asked_for_again(
    ptb: Ptb, answering: Any, graded: None, tmp_path: Path
) -> None:
    refused = True

    def first_refuses(question: GraderQuestion) -> GraderAnswer:
        return failing(422) if refused and question.text.endswith("b") else verdicts(question)

    with ScriptedGrader(first_refuses) as grader, answering(right_for(0)):
        code, out, err = ptb(*COMMAND, *at(grader))
        assert (code, out) == (1, "")
        assert "the evaluation is incomplete, so there is no score: 1 of 3 samples lack one" in err
        summary = json.loads((folder_of(tmp_path) / "summary.json").read_text())
        assert (summary["evaluation"]["n_scored"], summary["evaluation"]["scores"]) == (2, {})
        refused, before = False, len(grader.questions)
        code, out, err = ptb(*COMMAND, *at(grader))
        assert [question.text[-1] for question in grader.questions[before:]] == ["b"]
    assert (code, "66.67" in out) == (0, True)


def test_another_server_is_another_evaluation(
    ptb: Ptb, answering: Any, graded: None, tmp_path: Path
) -> None:
    with answering(right_for(0)):
        with ScriptedGrader(verdicts) as grader:
            assert ptb(*COMMAND, *at(grader), "--output", "mine")[0] == 0
            assert ptb(*COMMAND, *at(grader))[0] == 0
        with ScriptedGrader(lambda question: saying("good")) as other:
            code, _, err = ptb(*COMMAND, *at(other), "--output", "mine")
            assert (code, "it differs in grader; " in err) == (2, True)
            code, out, _ = ptb(*COMMAND, *at(other))
            assert (code, "100.00" in out, len(other.questions)) == (0, True, 3)
    assert len(list((tmp_path / "ptb-evaluations").iterdir())) == 2


def test_another_wording_is_another_evaluation(
    ptb: Ptb, answering: Any, graded: None, tmp_path: Path
) -> None:
    (tmp_path / "wording.txt").write_text("in my words")
    with ScriptedGrader(verdicts) as grader, answering(right_for(0)):
        own = ("--output", "mine", *at(grader))
        assert ptb(*COMMAND, *own)[0] == 0
        code, _, err = ptb(*COMMAND, *own, "--grader-prompt", "wording.txt")
        assert code == 2
        assert "it differs in data, grader; " in err
        ptb(*COMMAND, *at(grader), "--grader-prompt", "wording.txt")
        assert {question.text[:-3] for question in grader.questions[3:]} == {"in my words"}


def test_the_result_says_who_graded_by_which_wording_at_what_cost(
    ptb: Ptb, answering: Any, graded: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "wording.txt").write_text("in my words")
    digest = hashlib.sha256(b"in my words").hexdigest()[:12]
    with ScriptedGrader(verdicts) as grader, answering(right_for(0)):
        asked = (*COMMAND, *at(grader), "--grader-model", "mine")
        who = f"\n  grader mine at 127.0.0.1:{urlsplit(grader.base_url).port}"
        assert f"{who}\n" in ptb(*asked)[1]
        price = TokenPrice(input_usd_per_million_tokens=100, output_usd_per_million_tokens=1000)
        monkeypatch.setattr("ptb_core.plan.grader.known_price", lambda spec: price)
        own = (*asked, "--grader-prompt", "wording.txt", "--limit", "3")
        assert f"{who}, own wording sha256 {digest}, $0.0180\n" in ptb(*own)[1]
        assert f"{who}, own wording sha256 {digest}, $0.0180\n" in ptb(*own)[1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ("--grader-key-env", "NO_SUCH_KEY"),
            "its key is read from NO_SUCH_KEY, which is not set; set it where `ptb` is started, "
            "or name another endpoint with --grader-url and --grader-key-env\n",
        ),
        (
            ("--grader-url", "ftp://x"),
            "the grader that the options ask for: 2 faults\n"
            '  --grader-url: found "ftp://x"; expected an address up to and including '
            "the API's version, such as https://api.openai.com/v1, without user or password\n"
            "  --grader-key-env: found nothing beside another --grader-url; OPENAI_API_KEY would "
            "be sent there; expected the name of the environment variable that holds the key of "
            "this endpoint, never the key itself, or none where it needs none\n",
        ),
        (
            ("--grader-url", f"http://me:{KEY}@localhost:1/v1", "--grader-key-env", "none"),
            "  --grader-url: found a user or password in the address of localhost:1; expected an ",
        ),
        (
            ("--grader-key-env", "sk-0123"),
            "  --grader-key-env: found a text that is no name of an environment variable; expected",
        ),
        (
            ("--grader-prompt", "empty.txt"),
            "empty.txt, which is empty; expected a text file in UTF-8 of at most 1 MiB\n",
        ),
        (
            (
                *("--grader-url", "http://localhost:1/v1", "--grader-key-env", "none"),
                *("--grader-usd", "1"),
            ),
            "at localhost:1, whose price is not known; expected no such option: a budget for a "
            "grader whose price is not known needs a plan with prices.grader\n",
        ),
    ],
)
def test_a_grader_that_cannot_be_asked_is_told_before_anything_is_served(
    ptb: Ptb,
    graded: None,
    sandbox: NoSandbox,
    tmp_path: Path,
    arguments: tuple[str, ...],
    words: str,
) -> None:
    (tmp_path / "empty.txt").touch()
    code, _, err = ptb(*COMMAND, *arguments)
    assert code == 2
    assert words in err
    assert not [part for part in ("$.", "the plan's", KEY, "sk-0123") if part in err]
    assert sandbox.opened == []


def test_a_sandbox_that_cannot_separate_programs_is_refused_before_anything_is_asked(
    ptb: Ptb, sandbox: NoSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    play(monkeypatch, Programs, "execute")
    monkeypatch.setattr(sandbox, "execute_obstacles", lambda settings: ("no bubblewrap here",))
    code, _, err = ptb(*COMMAND)
    assert code == 2
    assert (
        "errands cannot be evaluated like this:\n"
        "  sandbox local cannot separate programs that a model writes: no bubblewrap here\n"
    ) in err
    sandbox.spec = replace(sandbox.spec, roles=("serve",))
    assert "  sandbox local: it cannot run programs that a model writes\n" in ptb(*COMMAND)[2]
    assert sandbox.opened == []


def test_what_an_engine_lacks_is_told_before_anything_is_served(
    ptb: Ptb,
    scripted_engine: ScriptedEngine,
    sandbox: NoSandbox,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(scripted_engine, "obstacles", lambda settings: ("no room",))
    code, _, err = ptb(*COMMAND)
    assert code == 2
    assert "errands cannot be evaluated like this:\n  engine transformers: no room\n" in err
    assert sandbox.opened == []


def test_programs_run_in_sandboxes_and_leave_nothing(
    ptb: Ptb,
    answering: Any,
    sandbox: NoSandbox,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if (failure := bwrap_failure()) is not None:
        pytest.skip(failure)
    play(monkeypatch, Programs, "execute")
    real = load_catalogue().get("sandbox", "local")
    served = sandbox.open
    places: list[Path] = []

    def open_session(request: SandboxRequest) -> Session:
        if request.role == "serve":
            return served(request)
        places.append(request.root)
        return real.open(request)

    monkeypatch.setattr(sandbox, "open", open_session)
    with answering(right_for(0)):
        code, out, err = ptb(*COMMAND)
    assert code == 0, err
    assert "66.67 ± 33.33 %" in out
    folder = folder_of(tmp_path)
    assert len(places) >= 3
    assert all(place.is_relative_to(folder) for place in places)
    assert not list(folder.glob("programs-*"))
    details = json.loads((folder / "summary.json").read_text())["evaluation"]["details"]
    assert details["execution"]
