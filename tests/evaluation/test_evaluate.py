"""ptb evaluate: one score, everything it rests on, and nothing done twice."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import re
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from scripted_server import ScriptedServer, batches_of, chat_reply
from standing_alone import (
    NoSandbox,
    ScriptedEngine,
    folder_of,
    question_of,
    right_for,
    rows,
)

from ptb_core import lock
from ptb_core.atomic import write_json
from ptb_core.catalogue import Catalogue, load_catalogue
from ptb_core.cli.progress_line import ProgressLine
from ptb_core.data import data_dir
from ptb_core.errors import EngineError
from ptb_core.evaluation import evaluation_folder
from ptb_core.evaluation.checks import GraderCheck
from ptb_core.evaluation.exchange import ChatRequest, Sample, SampleScore
from ptb_core.evaluation.protocol import SEEDED_DATE
from ptb_core.evaluation.serving import LiveServer
from ptb_core.evaluation.statistics import mean_and_stderr
from ptb_core.interfaces import Task
from ptb_core.sandboxing import SessionHandle
from ptb_core.schemas import faults

Ptb = Callable[..., tuple[int, str, str]]
TINY = data_dir() / "embedded" / "models" / "tiny-qwen3"
FOUR = ("evaluate", "tiny-qwen3", "--task", "errands", "--limit", "4")


def test_the_score_is_told_both_ways_with_its_terms(
    ptb: Ptb, answering: Any, tmp_path: Path
) -> None:
    def answers(body: dict[str, Any]) -> tuple[int, Any]:
        right = {row["question"]: row["answer"] for row in rows()}[question_of(body)]
        both = question_of(body) == rows()[0]["question"]
        text = f"ANSWER: 1000\nANSWER: {right}" if both else f"ANSWER: {right}"
        return 200, chat_reply(text, "length" if both else "stop")

    with answering(answers):
        code, out, err = ptb(*FOUR)
    folder = folder_of(tmp_path)
    assert re.fullmatch(r"errands--tiny-qwen3--[0-9a-f]{12}", folder.name)
    assert (code, out.splitlines()) == (
        0,
        [
            "errands, tiny-qwen3: 75.00 ± 25.00 % (repaired scoring, 4 samples)",
            "  published scoring: 100.00 ± 0.00 %",
            "  protocol strict: seeded requests, repaired scoring, limit: 4 samples",
            "  engine transformers; at most 64 tokens per answer; isolation none",
            "  truncated 1 of 4 answers, errors 0, several-answer-lines 1",
            f"samples: ptb samples {folder} --wrong",
            f"summary: {folder / 'summary.json'}",
        ],
    )
    assert f"evaluation folder: {folder}\n" in err


def test_the_summary_holds_everything_that_the_score_rests_on(
    ptb: Ptb, answering: Any, tmp_path: Path
) -> None:
    with answering(right_for(3)):
        code, out, _ = ptb(*FOUR, "--json", "--seed", "7", "--max-tokens", "32")
    summary = json.loads((folder_of(tmp_path) / "summary.json").read_text())
    assert code == 0
    assert json.loads(out) == summary
    assert faults(summary, "evaluation") == ()
    assert (summary["task"], summary["model"]) == ("errands", "tiny-qwen3")
    assert summary["protocol"] == {
        "name": "strict",
        "requests": "seeded",
        "scoring": "repaired",
        "sampling": {"seed": 7, "temperature": 0.0, "top_p": 1.0, "top_k": 0},
        "seeds": [],
        "max_tokens": 32,
        "limit": 4,
    }
    assert summary["engine"] == {"name": "transformers", "settings": {"threads": 1}}
    evaluation = summary["evaluation"]
    assert (evaluation["complete"], evaluation["n_scored"]) == (True, 4)
    assert evaluation["scores"]["repaired"] == {
        "value": 0.75, "stderr": 0.25, "n": 4, "breakdowns": {}, "marks": {},
    }  # fmt: skip
    details = evaluation["details"]
    assert details["max_tokens"] == 32
    assert (details["generation"]["truncated"], details["generation"]["errors"]) == (0, 0)
    assert set(details["data"]) == {"test", "train"}
    assert details["protocol"] == summary["protocol"]
    assert details["engine"] == summary["engine"]
    assert details["template_date"] == SEEDED_DATE
    template = Path(load_catalogue().model("tiny-qwen3").chat_template)
    assert details["chat_template_sha256"] == hashlib.sha256(template.read_bytes()).hexdigest()
    assert summary["checkpoint"]["revision"].startswith("sha256:")
    assert set(summary["lock"]["components"]) == {
        "task/errands", "model/tiny-qwen3", "engine/transformers", "sandbox/local",
    }  # fmt: skip
    assert summary["lock"]["software"]["distributions"]["posttrainbench"]


def test_the_samples_file_holds_question_answers_and_scores(
    ptb: Ptb, answering: Any, tmp_path: Path
) -> None:
    with answering(right_for(3)):
        ptb(*FOUR)
    lines = (folder_of(tmp_path) / "samples.jsonl").read_text().splitlines()
    found = [json.loads(line) for line in lines]
    assert [line["id"] for line in found] == [row["id"] for row in rows()[:4]]
    assert [line["target"] for line in found] == [row["answer"] for row in rows()[:4]]
    assert [line["scores"]["repaired"]["value"] for line in found] == [1, 1, 1, 0]
    last = found[-1]
    assert rows()[3]["question"] in last["requests"][0]["messages"][0]["content"]
    assert last["completions"][0]["text"] == "ANSWER: nothing"
    assert last["completions"][0]["finish_reason"] == "stop"
    assert last["completions"][0]["completion_tokens"] == 2
    assert last["scores"]["published"]["answer"] == "nothing"


@pytest.mark.parametrize("protocol", ["strict", "paper-v1"])
def test_a_limit_changes_nothing_of_the_batches_that_it_asks(
    ptb: Ptb, scripted_engine: ScriptedEngine, tmp_path: Path, protocol: str
) -> None:
    batches = []
    for limit in ("5", "160"):
        with ScriptedServer(lambda _, body: right_for(3)(body), batch_size=4) as server:
            scripted_engine.server = server
            code, _, err = ptb(*FOUR[:-1], limit, "--protocol", protocol, "--output", limit)
            assert code == 0, err
            batches.append(batches_of(server.bodies))
    few, every = batches
    assert (len(few), len(every)) == (2, 40)
    assert few == {name: every[name] for name in few}
    lines = (tmp_path / "5" / "completions.jsonl").read_text().splitlines()
    assert {json.loads(line)["id"] for line in lines} == {row["id"] for row in rows()[:5]}
    evaluation = json.loads((tmp_path / "5" / "summary.json").read_text())["evaluation"]
    assert (evaluation["n_expected"], evaluation["details"]["generation"]["requests"]) == (5, 5)


@pytest.mark.parametrize(("also_without_a_limit", "size"), [(True, 4), (False, 1)])
def test_a_last_batch_is_filled_where_the_task_has_one_order_for_all_limits(
    ptb: Ptb,
    scripted_engine: ScriptedEngine,
    monkeypatch: pytest.MonkeyPatch,
    also_without_a_limit: bool,
    size: int,
) -> None:
    def order(self: Task, samples: Sequence[Sample], limit: int | None) -> Sequence[Sample]:
        if limit is None:
            return samples[::-1] if also_without_a_limit else samples
        return samples[::-1][:limit]

    monkeypatch.setattr(type(load_catalogue().task("errands")), "order", order)
    with ScriptedServer(lambda _, body: right_for(3)(body), batch_size=4) as server:
        scripted_engine.server = server
        code, _, err = ptb(*FOUR[:-1], "5")
    assert code == 0, err
    assert [len(batch) for batch in batches_of(server.bodies).values()] == [4, size]


def test_the_same_command_again_asks_nothing_and_serves_nothing(
    ptb: Ptb, answering: Any, sandbox: NoSandbox
) -> None:
    with answering(right_for(3)) as server:
        first = ptb(*FOUR)
        again = ptb(*FOUR)
        assert again[:2] == first[:2]
        assert len(server.bodies) == 4
    assert len(sandbox.opened) == 1


def test_the_same_command_again_leaves_the_result_as_it_is(
    ptb: Ptb, answering: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with answering(right_for(3)):
        first = ptb(*FOUR, "--json")
        file = folder_of(tmp_path) / "summary.json"
        content = file.read_bytes()
        monkeypatch.setattr(lock, "software", lambda: {"python": "9.9", "distributions": {}})
        monkeypatch.setattr(lock, "machine", lambda: {"host": "another"})
        again = ptb(*FOUR, "--json")
    assert again[:2] == first[:2]
    assert file.read_bytes() == content


@pytest.mark.parametrize("left", [None, b"{", b'{"schema_version": 1}'])
def test_a_result_that_is_lost_or_damaged_is_made_again_and_says_what_answered_and_what_scored(
    ptb: Ptb, answering: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: bytes | None
) -> None:
    with answering(right_for(3)):
        ptb(*FOUR)
        file = folder_of(tmp_path) / "summary.json"
        first = json.loads(file.read_bytes())
        assert first["lock"]["other_software"] == {}
        file.unlink() if left is None else file.write_bytes(left)
        other = {"python": "9.9", "distributions": {}}
        monkeypatch.setattr(lock, "software", lambda: other)
        monkeypatch.setattr(lock, "machine", lambda: {"host": "another"})
        code, _, err = ptb(*FOUR)
    assert code == 0, err
    found = json.loads(file.read_bytes())
    score = {"software": other, "components": first["lock"]["components"]}
    assert found["lock"] == {**first["lock"], "other_software": {"score": score}}
    assert found["evaluation"] == first["evaluation"]
    assert faults(found, "evaluation") == ()


def test_another_scoring_of_the_same_answers_is_a_new_result(
    ptb: Ptb, answering: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def zero(self: Task, sample: Sample, *_: object) -> SampleScore:
        return SampleScore(id=sample.id, value=0.0)

    with answering(right_for(3)) as server:
        ptb(*FOUR)
        monkeypatch.setattr(type(load_catalogue().task("errands")), "score", zero)
        monkeypatch.setattr(lock, "software", lambda: {"python": "9.9", "distributions": {}})
        code, out, _ = ptb(*FOUR)
        assert len(server.bodies) == 4
    assert (code, "tiny-qwen3: 0.00 ± 0.00 %" in out) == (0, True)
    found = json.loads((folder_of(tmp_path) / "summary.json").read_text())["lock"]
    assert found["other_software"]["score"]["software"]["python"] == "9.9"
    assert found["software"]["python"] != "9.9"


def test_answers_from_before_their_software_was_kept_are_scored_and_it_is_said(
    ptb: Ptb, answering: Any, tmp_path: Path
) -> None:
    with answering(right_for(3)) as server:
        ptb(*FOUR)
        folder = folder_of(tmp_path)
        answered = json.loads((folder / "generated.json").read_text())
        for key in ("software", "machine", "components"):
            del answered[key]
        (folder / "generated.json").write_text(json.dumps(answered))
        (folder / "summary.json").unlink()
        code, _, err = ptb(*FOUR)
        assert len(server.bodies) == 4
    assert code == 0, err
    found = json.loads((folder / "summary.json").read_text())["lock"]
    assert found["other_software"] == {"generate": None}
    assert found["software"] == lock.software()


def test_nothing_of_a_server_stays_behind(ptb: Ptb, answering: Any, tmp_path: Path) -> None:
    with answering(right_for(3)):
        ptb(*FOUR)
    names = {path.name for path in folder_of(tmp_path).iterdir()}
    assert names == {
        ".lock", "evaluation.json", "completions.jsonl", "generated.json", "samples.jsonl",
        "summary.json",
    }  # fmt: skip


def test_an_interrupt_keeps_what_was_answered_and_says_how_to_go_on(
    ptb: Ptb, answering: Any, sandbox: NoSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = ProgressLine.__call__

    def interrupted(self: ProgressLine, what: str, done: int, total: int) -> None:
        call(self, what, done, total)
        if done == 2:
            signal.raise_signal(signal.SIGINT)

    with answering(right_for(3)) as server:
        monkeypatch.setattr(ProgressLine, "__call__", interrupted)
        code, out, err = ptb(*FOUR, "--limit", "80")
        assert (code, out) == (130, "")
        told = re.search(r"\ninterrupted: (\d+) of 80 answers are kept; the same command", err)
        assert told is not None
        assert sandbox.sessions[-1].status().state == "killed"
        monkeypatch.setattr(ProgressLine, "__call__", call)
        before = len(server.bodies)
        code, out, _ = ptb(*FOUR, "--limit", "80")
        assert len(server.bodies) - before == 80 - int(told[1])
    assert code == 0
    assert "3.75 ± 2.14 % (repaired scoring, 80 samples)" in out


def test_a_missing_answer_makes_no_score_and_is_asked_for_again(
    ptb: Ptb, answering: Any, tmp_path: Path
) -> None:
    def refuses_one(body: dict[str, Any]) -> tuple[int, Any]:
        if question_of(body) == rows()[2]["question"]:
            return 403, {"error": {"message": "not this one"}}
        return right_for(4)(body)

    with answering(refuses_one):
        code, out, err = ptb(*FOUR)
    assert (code, out) == (1, "")
    assert "the evaluation is incomplete: 1 of 4 samples have no answer; the first: " in err
    assert "not this one. 3 of 4 answers are kept; the same command continues from there" in err
    assert not (folder_of(tmp_path) / "summary.json").exists()
    with answering(right_for(4)) as server:
        code, out, _ = ptb(*FOUR)
        assert [question_of(body) for body in server.bodies] == [rows()[2]["question"]]
    assert (code, "100.00 ± 0.00 %" in out) == (0, True)


def test_a_server_that_does_not_start_says_why_and_how_to_go_on(
    ptb: Ptb, scripted_engine: ScriptedEngine, sandbox: NoSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(request: object, session: object) -> None:
        raise EngineError("the server ended with status 1: no memory")

    monkeypatch.setattr(scripted_engine, "serve", fails)
    code, out, err = ptb(*FOUR)
    assert (code, out) == (1, "")
    assert (
        "ptb: the server ended with status 1: no memory. The same command continues from there\n"
    ) in err
    assert sandbox.sessions[-1].status().state == "killed"


def test_several_seeds_are_averaged_and_each_is_shown(
    ptb: Ptb, answering: Any, tmp_path: Path
) -> None:
    seen: list[str] = []

    def second_time_wrong(body: dict[str, Any]) -> tuple[int, Any]:
        seen.append(question_of(body))
        again = seen.count(question_of(body)) > 1
        return 200, chat_reply("ANSWER: nothing") if again else right_for(4)(body)[1]

    with answering(second_time_wrong):
        code, out, _ = ptb(*FOUR, "--seeds", "5, 9", "--temperature", "0.6")
    assert code == 0
    assert "errands, tiny-qwen3: 50.00 ± " in out
    assert "  by seed 5: 100.00, 9: 0.00; spread 70.71\n" in out
    lines = (folder_of(tmp_path) / "samples.jsonl").read_text().splitlines()
    assert [json.loads(line)["seed"] for line in lines] == [5] * 4 + [9] * 4


def test_the_server_may_run_for_8_hours_per_seed(
    ptb: Ptb, answering: Any, sandbox: NoSandbox
) -> None:
    before = time.time()
    with answering(right_for(4)):
        ptb(*FOUR, "--seeds", "5,9", "--temperature", "0.6")
    hours_s = 2 * 8 * 3600
    assert before + hours_s <= sandbox.opened[0].deadline_unix_s <= time.time() + hours_s


class Graded(Task):
    """A task that needs a grader."""

    def samples(self, data: Any) -> list[Sample]:
        return [Sample(id="a", input={}, target=None)]

    def requests(self, sample: Any, requests: Any) -> Any:
        return (ChatRequest(messages=({"role": "user", "content": "x\ny"},)),)

    def checks(self, sample: Any, completion: Any) -> Any:
        return (GraderCheck(name="good", messages=(), max_completion_tokens=5),)

    def score(self, sample: Any, completions: Any, scoring: Any) -> SampleScore:
        return SampleScore(id=sample.id, value=1.0)

    def aggregate(self, scores: Any, scoring: Any) -> Any:
        return mean_and_stderr(scores)


def test_a_sample_without_a_check_result_makes_no_score(
    ptb: Ptb, answering: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = replace(load_catalogue().task_spec("errands"), n_samples=1)
    monkeypatch.setattr(Catalogue, "task", lambda self, name: Graded(spec))
    with answering(right_for(0)):
        code, out, err = ptb("evaluate", "tiny-qwen3", "--task", "errands")
    assert (code, out) == (1, "")
    assert (
        "ptb: the evaluation is incomplete, so there is no score: 1 of 1 samples lack one; the "
        "first, sample 'a': the plan names no grader. The same command tries again what is missing"
    ) in err
    summary = json.loads((folder_of(tmp_path) / "summary.json").read_text())
    assert (summary["evaluation"]["complete"], summary["evaluation"]["scores"]) == (False, {})


def test_a_summary_that_breaks_its_schema_is_not_written(
    ptb: Ptb, answering: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time", lambda: -1.0)
    with answering(right_for(3)):
        code, out, err = ptb(*FOUR)
    assert (code, out) == (1, "")
    assert (
        "summary.json was not written, because it breaks schemas/evaluation.schema.json; this is "
        "a defect of ptb or of a plugin:\n  $.created_unix_s: found -1.0; expected "
    ) in err
    assert not (folder_of(tmp_path) / "summary.json").exists()


# Folders ---------------------------------------------------------------------------------------


def test_a_folder_of_another_evaluation_is_refused_with_the_difference(
    ptb: Ptb, answering: Any, tmp_path: Path
) -> None:
    with answering(right_for(3)):
        ptb(*FOUR, "--output", "mine")
        code, _, err = ptb(*FOUR, "--output", "mine", "--protocol", "paper-v1")
    assert code == 2
    assert f"{tmp_path / 'mine'} belongs to another evaluation: it differs in protocol; " in err
    assert "name another folder with --output, or give the options that it was begun with" in err


def test_a_folder_that_holds_something_else_is_left_alone(ptb: Ptb, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    code, _, err = ptb(*FOUR, "--output", "mine")
    assert code == 2
    assert "is neither empty nor the folder of an evaluation (it has no evaluation.json); " in err
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.tex"]


def test_a_folder_that_cannot_be_made_is_wrong_usage(
    ptb: Ptb, sandbox: NoSandbox, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("x")
    code, out, err = ptb(*FOUR, "--output", "file/mine")
    assert (code, out) == (2, "")
    assert (
        f"{tmp_path / 'file' / 'mine'} cannot be written (Not a directory); name another folder "
        "with --output\n"
    ) in err
    assert sandbox.opened == []


def test_a_folder_that_cannot_be_written_is_wrong_usage(
    ptb: Ptb, sandbox: NoSandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, value: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(evaluation_folder, "write_json", full)
    code, out, err = ptb(*FOUR, "--output", "mine")
    assert (code, out) == (2, "")
    assert f"{tmp_path / 'mine'} cannot be written (Read-only file system); name another" in err
    assert sandbox.opened == []


def test_two_commands_do_not_work_in_one_folder(ptb: Ptb, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    with (tmp_path / "mine" / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        code, _, err = ptb(*FOUR, "--output", "mine")
    assert code == 2
    assert "another `ptb evaluate` is at work in this folder; wait for it, or name another" in err


def test_completions_that_were_changed_are_not_scored(
    ptb: Ptb, answering: Any, tmp_path: Path
) -> None:
    with answering(right_for(3)):
        ptb(*FOUR, "--output", "mine")
        log = tmp_path / "mine" / "completions.jsonl"
        log.write_text(log.read_text().replace("nothing", rows()[3]["answer"]))
        code, out, err = ptb(*FOUR, "--output", "mine")
    assert (code, out) == (1, "")
    assert f"{log} has changed since the checkpoint answered: sha256 " in err
    assert "restore it, or remove generated.json to have the rest asked again" in err


def test_while_answers_are_missing_no_earlier_result_lies_about(
    ptb: Ptb, answering: Any, tmp_path: Path
) -> None:
    with answering(right_for(3)):
        ptb(*FOUR, "--output", "mine")
    folder = tmp_path / "mine"
    for name in ("generated.json", "completions.jsonl"):
        (folder / name).unlink()
    with answering(lambda body: (403, {"error": {"message": "no"}})):
        assert ptb(*FOUR, "--output", "mine")[0] == 1
    assert not (folder / "summary.json").exists()
    assert not (folder / "samples.jsonl").exists()


def test_the_server_of_a_killed_command_is_ended_first(
    ptb: Ptb, answering: Any, sandbox: NoSandbox, tmp_path: Path
) -> None:
    with answering(right_for(3)):
        ptb(*FOUR, "--output", "mine")
        folder = tmp_path / "mine"
        handle = SessionHandle(sandbox="local", name="left", data={})
        write_json(folder / "live.json", LiveServer(session=handle, folder=str(folder)))
        (folder / "server-0").mkdir()
        assert ptb(*FOUR, "--output", "mine")[0] == 0
    assert sandbox.attached == [handle]
    assert not (folder / "live.json").exists()
    assert not (folder / "server-0").exists()


def test_a_copy_of_a_folder_leaves_the_server_of_the_original_alone(
    ptb: Ptb, answering: Any, sandbox: NoSandbox, tmp_path: Path
) -> None:
    with answering(right_for(3)):
        ptb(*FOUR, "--output", "mine")
        handle = SessionHandle(sandbox="local", name="other", data={})
        live = LiveServer(session=handle, folder=str(tmp_path / "original"))
        write_json(tmp_path / "mine" / "live.json", live)
        assert ptb(*FOUR, "--output", "mine")[0] == 0
    assert sandbox.attached == []


def test_the_server_sees_the_checkpoint_and_neither_answers_nor_network(
    ptb: Ptb, answering: Any, sandbox: NoSandbox, tmp_path: Path
) -> None:
    with answering(right_for(3)):
        ptb(*FOUR)
    (request,) = sandbox.opened
    assert (request.role, request.network) == ("serve", "none")
    assert {mount.name: mount.read_only for mount in request.mounts} == {
        "checkpoint": True, "base_model": True, "chat_template": True, "engine_files": True,
    }  # fmt: skip
    assert {folder_of(tmp_path), data_dir() / "embedded"} <= set(request.hidden)
    assert data_dir() / "embedded" / "data" / "errands" / "test.jsonl" in request.hidden


@pytest.mark.parametrize(
    ("arguments", "given", "handed"),
    [((), "2,3", ("2", "3")), (("--gpus", "3"), "2,3", ("3",)), (("--gpus", "none"), "0", ())],
)
def test_the_server_gets_the_gpus_that_it_may_use(
    ptb: Ptb,
    answering: Any,
    sandbox: NoSandbox,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    given: str,
    handed: tuple[str, ...],
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
    with answering(right_for(3)):
        ptb(*FOUR, *arguments)
    assert sandbox.opened[0].devices == handed


@pytest.mark.parametrize(
    ("visible", "asked", "words"),
    [
        ("", "0,1", "--gpus 0,1: this process may use no GPU; say none\n"),
        ("1,3", "0,2", "--gpus 0,2: this process may use no GPU 0 or 2, only 1, 3\n"),
    ],
)
def test_gpus_that_are_not_there_are_refused(
    ptb: Ptb,
    sandbox: NoSandbox,
    monkeypatch: pytest.MonkeyPatch,
    visible: str,
    asked: str,
    words: str,
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    code, out, err = ptb(*FOUR, "--gpus", asked)
    assert (code, out) == (2, "")
    assert words in err
    assert sandbox.opened == []


# What is evaluated -----------------------------------------------------------------------------


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    folder = tmp_path / "mine"
    folder.mkdir()
    for source in TINY.iterdir():
        (folder / source.name).write_bytes(source.read_bytes())
    config = json.loads((TINY / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "note": "mine"}))
    return folder


def test_a_folder_is_evaluated_with_the_template_of_the_model_that_is_named(
    ptb: Ptb, answering: Any, scripted_engine: ScriptedEngine, checkpoint: Path, tmp_path: Path
) -> None:
    with answering(right_for(3)):
        code, out, err = ptb(
            "evaluate", "mine", "--model", "tiny-qwen3", "--task", "errands", "--limit", "4"
        )
    assert code == 0, err
    assert out.startswith(f"errands, {checkpoint} (from tiny-qwen3): 75.00 ± 25.00 %")
    assert re.fullmatch(r"errands--tiny-qwen3--mine--[0-9a-f]{12}", folder_of(tmp_path).name)
    (served,) = scripted_engine.served
    assert served.checkpoint == str(checkpoint)
    assert served.tokenizer == str(TINY)
    assert served.chat_template == load_catalogue().model("tiny-qwen3").chat_template


def test_another_architecture_than_the_models_is_told(
    ptb: Ptb, answering: Any, checkpoint: Path
) -> None:
    (checkpoint / "config.json").write_text('{"architectures": ["Qwen2ForCausalLM"]}')
    with answering(right_for(3)):
        _, _, err = ptb(
            "evaluate", "mine", "--model", "tiny-qwen3", "--task", "errands", "--limit", "4"
        )
    assert (
        "note: config.json says Qwen2ForCausalLM, which is neither tiny-qwen3's architecture nor a "
        "listed equivalent (Qwen3ForCausalLM); a cell's judges would hold that against it"
    ) in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("mine",), "mine is a folder: say with --model which base model it was made from"),
        (("tiny-qwen",), "there is no folder tiny-qwen, and no model of that name (did you mean"),
        (("./none",), "there is no folder ./none"),
        (("mine", "--model", "tiny-qwen"), "there is no model 'tiny-qwen' (did you mean"),
        (
            ("tiny-qwen3", "--model", "smollm2-135m"),
            "tiny-qwen3 is a registered model and has its own template, so --model smollm2-135m "
            "makes no sense; for a folder of that name write ./tiny-qwen3",
        ),
        (("tiny-qwen3", "--setting", "threads"), "--setting threads: expected KEY=VALUE"),
        (
            ("tiny-qwen3", "--setting", "threads=1", "--setting", "threads=2"),
            "--setting threads is given twice",
        ),
        (("tiny-qwen3", "--setting", "thread=1"), "--setting of transformers: 1 fault\n  $.thread"),
        (("tiny-qwen3", "--setting", "threads=x"), "$.threads: found 'x'"),
        (("tiny-qwen3", "--seeds", "1,x"), "--seeds 1,x: expected whole numbers with commas"),
        (("tiny-qwen3", "--seeds", "1,1"), "--seeds 1,1: a seed is given twice"),
        (
            ("tiny-qwen3", "--seeds", "1,2"),
            "the protocol that the options ask for: 1 fault\n  $.protocol.seeds: found 2 seeds at "
            "temperature 0",
        ),
        (
            ("tiny-qwen3", "--protocol", "paper-v1", "--temperature", "0.6"),
            "$.protocol.sampling: found sampling under published requests",
        ),
    ],
)
def test_a_wrong_command_line_says_what_is_wrong_and_starts_nothing(
    ptb: Ptb,
    sandbox: NoSandbox,
    checkpoint: Path,
    arguments: tuple[str, ...],
    words: str,
) -> None:
    code, out, err = ptb("evaluate", *arguments, "--task", "errands")
    assert (code, out) == (2, "")
    assert words in err
    assert sandbox.opened == []


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (("adapter_config.json",), "mine holds a LoRA adapter; merge it into the base model and"),
        (("config.json", "pytorch_model.bin"), "mine holds no .safetensors; expected a checkpoint"),
        ((), "mine holds no config.json and no .safetensors; expected a checkpoint as"),
    ],
)
def test_a_folder_without_a_servable_checkpoint_is_refused(
    ptb: Ptb, tmp_path: Path, files: tuple[str, ...], words: str
) -> None:
    (tmp_path / "mine").mkdir()
    for name in files:
        (tmp_path / "mine" / name).write_text("{}")
    code, _, err = ptb("evaluate", "mine", "--model", "tiny-qwen3", "--task", "errands")
    assert code == 2
    assert words in err
