"""Nothing is paid twice: kept replies, killed scorings, many questions at once."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from ptb_core.errors import RecordError
from ptb_core.evaluation.checking import CheckedCompletions, Runners, perform_checks
from ptb_core.evaluation.checks import GraderCheck, GraderResult
from ptb_core.evaluation.exchange import Completion, Sample, SampleScore
from ptb_core.grading.replies_cache import request_digest
from ptb_core.interfaces import Task
from ptb_core.testing import task_spec
from ptb_core.testing.grader import (
    CUT_OFF,
    DISCONNECT,
    NO_JSON,
    GraderQuestion,
    ScriptedGrader,
    failing,
    in_turn,
    saying,
)

from .conftest import KEY, Asking, anything, check


class Essays(Task):
    """Each sample's completion is one question to the grader."""

    def samples(self, data: Any) -> Sequence[Sample]:
        return [Sample(id=f"s{n}", input={}, target=None) for n in range(400)]

    def requests(self, sample: Sample, requests: Any) -> Any:
        return ()

    def checks(self, sample: Sample, completion: Completion) -> tuple[GraderCheck, ...]:
        return (check(f"is {sample.id} good?", name="good"),)

    def accepts(self, sample: Sample, check: GraderCheck, reply: str) -> bool:
        return reply in ("yes", "no")

    def score(self, sample: Sample, completions: Any, scoring: Any) -> SampleScore:
        raise NotImplementedError

    def aggregate(self, scores: Any, scoring: Any) -> Any:
        raise NotImplementedError


def essays(n: int) -> tuple[Essays, list[Sample], dict[str, tuple[Completion, ...]]]:
    task = Essays(task_spec(name="essays", needs=("grader",)))
    samples = list(task.samples(None))[:n]
    return task, samples, {sample.id: (Completion(text="x"),) for sample in samples}


def scoring(
    asking: Asking, server: ScriptedGrader, n: int, log: str = "checks.jsonl", **options: Any
) -> CheckedCompletions:
    progress = options.pop("progress", None)
    task, samples, completions = essays(n)
    grader = asking.grader(server, **options)
    try:
        return perform_checks(
            task,
            samples,
            completions,
            Runners(grader=grader),
            asking.folder / log,
            progress=progress,
        )
    finally:
        asking.facts = grader.facts()


def test_a_repeated_scoring_asks_nothing_and_gives_the_same(asking):
    with ScriptedGrader(in_turn(failing(500), saying("maybe"), saying("yes"))) as server:
        first = scoring(asking, server, 20)
        asked = len(server.questions)
        again = scoring(asking, server, 20, log="another.jsonl")
        resumed = scoring(asking, server, 20)
    assert (asked, len(server.questions)) == (60, 60)
    assert first.completions == again.completions == resumed.completions
    assert (again.performed, resumed.performed, resumed.resumed) == (20, 0, 20)
    assert first.completions["s0"][0].checks == {"good": GraderResult(text="yes", tries=2)}


def test_a_repeated_scoring_needs_neither_the_endpoint_nor_a_key(asking, monkeypatch):
    with ScriptedGrader(in_turn(saying("yes"))) as server:
        first = scoring(asking, server, 3)
    monkeypatch.delenv("PTB_TEST_KEY")
    assert scoring(asking, server, 3, log="b.jsonl").completions == first.completions
    assert asking.facts["now"]["kept"] == 3


def test_two_hundred_questions_are_under_way_at_once(asking):
    with ScriptedGrader(in_turn(saying("no")), hold=200) as server:
        found = scoring(asking, server, 400, max_in_flight=200)
    assert server.most_in_flight == 200
    assert len(server.questions) == 400
    assert (found.performed, found.failures) == (400, {})


def test_never_more_questions_are_under_way_than_the_plan_allows(asking):
    with ScriptedGrader(in_turn(saying("no")), hold=3) as server:
        grader = asking.grader(server, max_in_flight=3)

        async def put() -> None:
            async with grader:
                await asyncio.gather(
                    *(grader.ask(check(str(number)), anything) for number in range(30))
                )

        asyncio.run(put())
    assert (server.most_in_flight, len(server.questions)) == (3, 30)


def test_the_same_question_at_the_same_time_is_put_once(asking):
    with ScriptedGrader(in_turn(saying("yes"))) as server:
        grader = asking.grader(server)

        async def put() -> list[GraderResult]:
            async with grader:
                return await asyncio.gather(*(grader.ask(check(), anything) for _ in range(9)))

        results = asyncio.run(put())
    assert results == [GraderResult(text="yes")] * 9
    assert len(server.questions) == 1
    assert grader.facts()["now"]["kept"] == 8


def test_two_hundred_at_once_come_through_faults_of_every_kind(asking):
    faults = (
        failing(429, retry_after="2"),
        failing(503),
        DISCONNECT,
        CUT_OFF,
        NO_JSON,
        saying("ye", finish_reason="length"),
        saying("perhaps"),
    )
    with ScriptedGrader(in_turn(*faults, saying("yes")), hold=200) as server:
        found = scoring(asking, server, 200, max_in_flight=200)
    assert (found.performed, found.failures) == (200, {})
    assert len(server.questions) == 200 * 8
    now = asking.facts["now"]
    assert (now["asked"], now["half_answers"], now["refused_replies"]) == (1600, 600, 200)
    assert now["retries"] == 600


class Interrupted(Exception):
    """What a supervisor raises that is told to stop."""


def test_a_scoring_stopped_half_way_pays_only_for_the_rest(asking):
    def stop(done: int, expected: int) -> None:
        if done * 2 >= expected:
            raise Interrupted

    with ScriptedGrader(in_turn(saying("yes"))) as server:
        with pytest.raises(Interrupted):
            scoring(asking, server, 100, max_in_flight=4, progress=stop)
        assert 50 <= len(server.questions) <= 54
        found = scoring(asking, server, 100, max_in_flight=4)
    assert len(found.completions) == 100
    assert 50 <= found.resumed <= 54
    assert len(server.questions) <= 104


PROGRAM = """
import sys
from pathlib import Path
from tests.grading.test_paying_once import Asking, scoring

class Server:
    base_url = sys.argv[2]

print(scoring(Asking(Path(sys.argv[1])), Server, 100, max_in_flight=4).performed)
"""


def test_a_scoring_killed_half_way_pays_only_for_the_rest_and_for_what_was_under_way(tmp_path):
    running: list[subprocess.Popen[str]] = []

    def start(server: ScriptedGrader) -> subprocess.Popen[str]:
        root = Path(__file__).resolve().parents[2]
        environment = {**os.environ, "PTB_TEST_KEY": KEY, "PYTHONPATH": str(root)}
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(tmp_path), server.base_url],
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        running.append(process)
        return process

    def script(question: GraderQuestion) -> Any:
        if len(server.questions) == 50:
            os.kill(running[0].pid, signal.SIGKILL)
        return saying("yes")

    with ScriptedGrader(script) as server:
        with start(server) as first:
            assert first.wait() == -signal.SIGKILL
        killed_at = len(server.questions)
        with start(server) as second:
            output, _ = second.communicate()
    assert 50 <= killed_at <= 54
    assert 50 <= int(output) <= 54
    assert len(server.questions) <= 104
    kept = [path.read_bytes().count(b"\n") for path in (tmp_path / "replies").iterdir()]
    assert sum(kept) == 100


# What belongs to a request --------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {"messages": ({"role": "system", "content": "which?"},)},
        {"messages": ({"role": "user", "content": "which? "},)},
        {"max_completion_tokens": 101},
        {"reasoning_effort": "medium"},
    ],
)
def test_another_request_is_another_question(asking, changes):
    with ScriptedGrader(in_turn(saying("yes"))) as server:
        asking.ask(server)
        asking.ask(server, check(**changes))
    assert len(server.questions) == 2


def test_the_name_of_a_check_is_no_part_of_the_request(asking):
    with ScriptedGrader(in_turn(saying("yes"))) as server:
        asking.ask(server)
        asking.ask(server, check(name="another", tries=1))
    assert len(server.questions) == 1


def test_another_model_and_another_address_are_other_requests(asking):
    with ScriptedGrader(in_turn(saying("yes"))) as server:
        asking.ask(server)
        asking.ask(server, model="another")
        asking.ask(server, base_url=server.base_url.replace("127.0.0.1", "localhost"))
        asking.ask(server, base_url=f"{server.base_url}/")
    assert len(server.questions) == 3


def test_a_request_digest_is_the_sha256_of_its_canonical_json():
    body = {"model": "m", "messages": [], "max_completion_tokens": 1}
    text = (
        '{"base_url":"https://h/v1","body":{"max_completion_tokens":1,"messages":[],"model":"m"}}'
    )
    assert request_digest("https://h/v1/", body) == hashlib.sha256(text.encode()).hexdigest()


def test_a_reply_that_the_task_refused_is_no_kept_verdict(asking):
    with ScriptedGrader(in_turn(saying("maybe"))) as server:
        asking.ask(server, check(tries=2), accepts=lambda text: text == "yes")
        assert not (asking.folder / "replies").exists()
        asking.ask(server, check(tries=2), accepts=lambda text: text == "yes")
    assert len(server.questions) == 4


def test_a_kept_reply_that_the_task_does_not_accept_any_more_is_asked_for_anew(asking):
    with ScriptedGrader(in_turn(saying("yes"), saying("no"))) as server:
        asking.ask(server)
        (result,) = asking.ask(server, accepts=lambda text: text == "no")
        (again,) = asking.ask(server, accepts=lambda text: text == "no")
    assert result == again == GraderResult(text="no")
    assert len(server.questions) == 2


def test_a_line_torn_by_a_crash_costs_that_reply_only(asking):
    with ScriptedGrader(in_turn(saying("yes"))) as server:
        asking.ask(server, check("a"), check("b"))
        (file,) = (asking.folder / "replies").iterdir()
        file.write_bytes(file.read_bytes()[:-5])
        asking.ask(server, check("a"), check("b"))
    assert [question.text for question in server.questions] == ["a", "b", "b"]


def test_damaged_replies_are_told_with_file_and_line(asking):
    with ScriptedGrader(in_turn(saying("yes"))) as server:
        asking.ask(server, check("a"), check("b"))
        (file,) = (asking.folder / "replies").iterdir()
        file.write_bytes(b"{oh}\n" + file.read_bytes())
        with pytest.raises(RecordError, match=r"\.jsonl, line 1: found damaged JSON .* one grader"):
            asking.ask(server)


def test_two_at_once_in_one_folder_lose_no_reply(asking):
    with ScriptedGrader(in_turn(saying("yes"))) as server:

        async def put() -> None:
            async with asking.grader(server) as one, asking.grader(server) as other:
                await one.ask(check("a"), anything)
                await other.ask(check("b"), anything)

        asyncio.run(put())
        asking.ask(server, check("a"), check("b"))
    assert len(server.questions) == 2


def test_a_grader_may_be_entered_once_per_round_and_counts_all_of_them(asking):
    with ScriptedGrader(in_turn(saying("yes"))) as server:
        grader = asking.grader(server)

        async def put(text: str) -> None:
            async with grader:
                await grader.ask(check(text), anything)

        for text in ("a", "b", "a"):
            asyncio.run(put(text))
        again = asking.grader(server)
    assert len(server.questions) == 2
    facts = grader.facts()
    assert (facts["now"]["asked"], facts["now"]["kept"], facts["scope"]["replies"]) == (2, 1, 2)

    async def enter() -> None:
        async with again:
            pass

    asyncio.run(enter())
    assert again.facts()["scope"] == facts["scope"]
    assert again.facts()["now"]["asked"] == 0


def test_facts_know_what_earlier_attempts_cost_though_nothing_is_asked_any_more(asking):
    with ScriptedGrader(in_turn(saying("yes"))) as server:
        scoring(asking, server, 3)
        scoring(asking, server, 3)
    assert asking.facts["now"]["asked"] == asking.facts["now"]["kept"] == 0
    assert asking.facts["scope"]["replies"] == 3
    (file,) = (asking.folder / "ledger").iterdir()
    file.write_bytes(b"{}\n")
    assert asking.grader(server).facts()["scope"] is None


def test_facts_are_json_and_tell_prompts_by_digest(asking):
    with ScriptedGrader(in_turn(saying("yes"))) as server:
        asking.ask(server, prompts={"grader": "Be fair."})
    assert json.loads(json.dumps(asking.facts)) == {
        "model": "gpt-5-mini",
        "endpoint": server.base_url.split("/")[2],
        "prompts": {"grader": hashlib.sha256(b"Be fair.").hexdigest()},
        "price": None,
        "budget_usd": None,
        "max_in_flight": 32,
        "now": {
            "asked": 1,
            "kept": 0,
            "retries": 0,
            "half_answers": 0,
            "refused_replies": 0,
            "missing": 0,
            "unmetered_replies": 0,
            "input_tokens": 10,
            "cached_tokens": 0,
            "output_tokens": 5,
            "usd": None,
        },
        "scope": {
            "replies": 1,
            "input_tokens": 10,
            "cached_tokens": 0,
            "output_tokens": 5,
            "usd": None,
        },
    }


def test_an_address_with_a_password_is_told_without_it(asking):
    with ScriptedGrader(in_turn(failing(400))) as server:
        address = server.base_url.replace("//", "//user:password@")
        (error,) = asking.ask(server, base_url=address)
    assert "password" not in f"{error}{asking.facts}"
