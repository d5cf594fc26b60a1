"""What is asked, in which batches, and what the log keeps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from scripted_server import HoldingServer, ScriptedServer, batches_of, chat_reply

from ptb_core.api import ChatRequest, CompletionRequest, LogLikelihoodRequest
from ptb_core.errors import RecordError
from ptb_core.evaluation import generate as generate_module
from ptb_core.evaluation.client_limits import ClientLimits
from ptb_core.evaluation.completion_log import read_completions
from ptb_core.evaluation.generate import GenerateOptions, SampleRequests, generate
from ptb_core.evaluation.questions import request_body, sample_seed
from ptb_core.specs import Sampling

FAST = ClientLimits(tries=3, backoff_s=0.0)
PUBLISHED = GenerateOptions(requests="published", max_tokens=100, limits=FAST)


def chat(text: str = "hi", **fields: Any) -> ChatRequest:
    return ChatRequest(messages=({"role": "user", "content": text},), **fields)


def samples(count: int) -> list[SampleRequests]:
    return [SampleRequests(id=f"s{i}", requests=(chat(f"q{i}"),)) for i in range(count)]


def echo(_: str, body: dict[str, Any]) -> tuple[int, Any]:
    return 200, chat_reply(body["messages"][0]["content"].upper())


def test_the_seed_of_a_request_is_the_published_one() -> None:
    assert sample_seed(0, "x", 1, 0) == 2001290515


def test_published_requests_send_the_limit_and_nothing_else() -> None:
    assert request_body(chat(), PUBLISHED, 1) == {
        "max_tokens": 100,
        "messages": [{"role": "user", "content": "hi"}],
    }


def test_seeded_requests_fix_sampling_seed_and_turn_end() -> None:
    options = GenerateOptions(
        requests="seeded",
        max_tokens=100,
        sampling=Sampling(seed=3, temperature=0.6, top_p=0.95, top_k=20),
        stop=("<|im_end|>",),
        stop_token_ids=(5,),
    )
    assert request_body(chat(max_tokens=7), options, 11) == {
        "max_tokens": 7,
        "seed": 11,
        "temperature": 0.6,
        "top_p": 0.95,
        "top_k": 20,
        "stop": ["<|im_end|>"],
        "stop_token_ids": [5],
        "messages": [{"role": "user", "content": "hi"}],
    }


def test_the_smaller_of_two_limits_holds() -> None:
    assert request_body(chat(max_tokens=7), PUBLISHED, 1)["max_tokens"] == 7
    assert request_body(chat(max_tokens=700), PUBLISHED, 1)["max_tokens"] == 100


def test_tools_are_offered_automatically() -> None:
    body = request_body(chat(tools=({"type": "function"},)), PUBLISHED, 1)
    assert (body["tools"], body["tool_choice"]) == ([{"type": "function"}], "auto")


def test_a_text_completion_keeps_its_own_stops_and_temperature() -> None:
    request = CompletionRequest(prompt="Q:", stop=("\n",), max_tokens=5)
    options = GenerateOptions(requests="seeded", max_tokens=100, stop=("<|im_end|>",))
    body = request_body(request, options, 1)
    assert body["stop"] == ["\n", "<|im_end|>"]
    assert (body["prompt"], body["max_tokens"], body["temperature"]) == ("Q:", 5, 0.0)
    assert "stop" not in request_body(CompletionRequest(prompt="Q:"), PUBLISHED, 1)


def test_a_log_likelihood_is_asked_in_both_forms() -> None:
    request = LogLikelihoodRequest(context="a b ", continuation="c")
    body = request_body(request, PUBLISHED, 1)
    assert (body["prompt"], body["echo"], body["logprobs"]) == ("a b c", True, 1)
    assert body["ptb_loglikelihood"] == {"context": "a b ", "continuation": "c"}


def test_answers_come_back_by_sample_and_in_request_order(tmp_path: Path) -> None:
    asked = [SampleRequests(id="two", requests=(chat("a"), chat("b"))), *samples(3)]
    with ScriptedServer(echo, max_in_flight=2) as server:
        result = generate(asked, server.endpoint, PUBLISHED, tmp_path / "log.jsonl")
    assert [c.text for c in result.completions["two"]] == ["A", "B"]
    assert result.completions["s2"][0].text == "Q2"
    assert list(result.completions) == ["two", "s0", "s1", "s2"]
    assert (result.summary.requests, result.summary.completion_tokens) == (5, 10)
    assert read_completions(tmp_path / "log.jsonl") == result.completions


def test_fixed_batches_are_cut_by_sample_order(tmp_path: Path) -> None:
    with ScriptedServer(echo, batch_size=2) as server:
        generate(samples(5), server.endpoint, PUBLISHED, tmp_path / "log.jsonl")
    slots = {body["messages"][0]["content"]: body["ptb_batch"] for body in server.bodies}
    assert [
        (slots[f"q{i}"]["id"], slots[f"q{i}"]["index"], slots[f"q{i}"]["size"]) for i in range(5)
    ] == [
        ("round-1-batch-0", 0, 2),
        ("round-1-batch-0", 1, 2),
        ("round-1-batch-1", 0, 2),
        ("round-1-batch-1", 1, 2),
        ("round-1-batch-2", 0, 1),
    ]


@pytest.mark.parametrize(("limit", "n_batches"), [(1, 1), (4, 1), (5, 2), (8, 2), (9, 3)])
def test_a_batch_is_the_same_under_every_limit(tmp_path: Path, limit: int, n_batches: int) -> None:
    every = samples(10)
    told: list[tuple[int, int]] = []
    with ScriptedServer(echo, batch_size=4) as server:
        generate(every, server.endpoint, PUBLISHED, tmp_path / "all.jsonl")
        whole = batches_of(server.bodies)
    with ScriptedServer(echo, batch_size=4) as server:
        result = generate(
            every[:limit],
            server.endpoint,
            PUBLISHED,
            tmp_path / "log.jsonl",
            lambda done, total: told.append((done, total)),
            every[limit:],
        )
        limited = batches_of(server.bodies)
    assert limited == dict(list(whole.items())[:n_batches])
    asked = [f"s{number}" for number in range(limit)]
    assert list(result.completions) == asked
    assert sorted(read_completions(tmp_path / "log.jsonl")) == asked
    assert result.missing == {}
    assert (result.summary.requests, result.summary.completion_tokens) == (limit, 2 * limit)
    assert (told[0], told[-1]) == ((0, limit), (limit, limit))


def test_a_batch_is_filled_by_requests_and_not_by_samples(tmp_path: Path) -> None:
    pairs = [SampleRequests(id=f"p{n}", requests=(chat(f"{n}a"), chat(f"{n}b"))) for n in range(9)]
    with ScriptedServer(echo, batch_size=5) as server:
        result = generate(
            pairs[:1], server.endpoint, PUBLISHED, tmp_path / "log.jsonl", None, pairs[1:]
        )
    assert batches_of(server.bodies) == {"round-1-batch-0": ["0a", "0b", "1a", "1b", "2a"]}
    assert list(result.completions) == ["p0"]
    assert read_completions(tmp_path / "log.jsonl") == result.completions


def test_a_resumed_last_batch_is_filled_again_and_a_whole_one_is_left_alone(tmp_path: Path) -> None:
    log, every = tmp_path / "log.jsonl", samples(6)
    with ScriptedServer(echo, batch_size=4) as server:
        generate(every[:2], server.endpoint, PUBLISHED, log, None, every[2:])
    first, second = log.read_bytes().splitlines(True)
    log.write_bytes(first)
    with ScriptedServer(echo, batch_size=4) as server:
        result = generate(every[:2], server.endpoint, PUBLISHED, log, None, every[2:])
        assert batches_of(server.bodies) == {"round-1-batch-0": ["q0", "q1", "q2", "q3"]}
        assert result.summary.resumed == 1
        n_bodies = len(server.bodies)
        generate(every[:2], server.endpoint, PUBLISHED, log, None, every[2:])
        assert len(server.bodies) == n_bodies
    assert {first, second} == set(log.read_bytes().splitlines(True))


def test_what_only_fills_a_batch_may_fail(tmp_path: Path) -> None:
    every = samples(4)
    with ScriptedServer(failing_at("q3", 99), batch_size=4) as server:
        result = generate(
            every[:2], server.endpoint, PUBLISHED, tmp_path / "log.jsonl", None, every[2:]
        )
    assert (list(result.completions), result.missing) == (["s0", "s1"], {})
    assert len(server.bodies) == 4


def test_a_server_without_fixed_batches_is_asked_nothing_more(tmp_path: Path) -> None:
    with ScriptedServer(echo) as server:
        generate(
            samples(2), server.endpoint, PUBLISHED, tmp_path / "log.jsonl", None, samples(9)[2:]
        )
    assert sorted(body["messages"][0]["content"] for body in server.bodies) == ["q0", "q1"]


@pytest.mark.parametrize(
    ("fields", "count", "open_at_once"),
    [
        ({"max_in_flight": 5}, 12, [5, 5, 2]),
        ({"max_in_flight": 1}, 2, [1, 1]),
        ({}, 70, [64, 6]),
        ({"max_in_flight": 8, "batch_size": 4}, 12, [8, 4]),
        ({"max_in_flight": 7, "batch_size": 4}, 8, [4, 4]),
        ({"max_in_flight": 2, "batch_size": 4}, 8, [4, 4]),
    ],
)
def test_as_many_requests_are_open_as_the_endpoint_allows_and_never_more(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fields: dict[str, int],
    count: int,
    open_at_once: list[int],
) -> None:
    monkeypatch.setattr(generate_module, "HEARTBEAT_S", 0.0)
    with HoldingServer(echo, **fields) as server:
        log = tmp_path / "log.jsonl"
        result = generate(samples(count), server.endpoint, PUBLISHED, log, server.beat)
    assert result.missing == {}
    assert server.held == open_at_once
    assert server.most_open == max(open_at_once)


def test_a_server_without_fixed_batches_is_told_of_none(tmp_path: Path) -> None:
    with ScriptedServer(echo) as server:
        generate(samples(2), server.endpoint, PUBLISHED, tmp_path / "log.jsonl")
    assert all("ptb_batch" not in body for body in server.bodies)


def test_a_resumed_generation_asks_only_for_batches_that_are_not_whole(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    with ScriptedServer(echo, batch_size=2) as server:
        whole = generate(samples(6), server.endpoint, PUBLISHED, log)
    kept = [line for line in log.read_bytes().splitlines(True) if b'"s3"' not in line]
    log.write_bytes(b"".join(kept) + b'{"id":"s3","epo')
    with ScriptedServer(echo, batch_size=2) as server:
        resumed = generate(samples(6), server.endpoint, PUBLISHED, log)
    assert sorted(body["messages"][0]["content"] for body in server.bodies) == ["q2", "q3"]
    assert resumed.completions == whole.completions
    assert resumed.summary.resumed == 5
    assert len(log.read_bytes().splitlines()) == 6


def test_a_finished_log_asks_nothing(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    with ScriptedServer(echo) as server:
        generate(samples(2), server.endpoint, PUBLISHED, log)
        count = len(server.bodies)
        generate(samples(2), server.endpoint, PUBLISHED, log)
    assert len(server.bodies) == count == 2


def test_rounds_share_a_log_without_mixing(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    second = GenerateOptions(requests="published", max_tokens=100, round=2, limits=FAST)
    with ScriptedServer(echo) as server:
        generate(samples(2), server.endpoint, PUBLISHED, log)
        result = generate(samples(2), server.endpoint, second, log)
    assert result.summary.resumed == 0
    assert set(read_completions(log, epoch=2)) == {"s0", "s1"}


def test_a_log_of_other_requests_is_refused(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    with ScriptedServer(echo) as server:
        generate(samples(1), server.endpoint, PUBLISHED, log)
        other = [SampleRequests(id="s0", requests=(chat("another question"),))]
        with pytest.raises(RecordError, match=r"log\.jsonl: the answer of sample 's0', call 0"):
            generate(other, server.endpoint, PUBLISHED, log)


def test_a_damaged_line_before_the_last_is_an_error(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    log.write_bytes(b"{torn\n{}\n")
    with pytest.raises(RecordError, match=r"log\.jsonl, line 1: found damaged JSON"):
        read_completions(log)


def test_a_sample_with_an_answer_missing_is_not_read_back(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    asked = [SampleRequests(id="two", requests=(chat("a"), chat("b")))]
    with ScriptedServer(echo) as server:
        generate(asked, server.endpoint, PUBLISHED, log)
    log.write_bytes(log.read_bytes().splitlines(True)[0])
    assert read_completions(log) == {}


def failing_at(text: str, times: int) -> Callable[[str, dict[str, Any]], tuple[int, Any]]:
    left = times

    def answer(path: str, body: dict[str, Any]) -> tuple[int, Any]:
        nonlocal left
        if path == "/health":
            return 200, {}
        if body["messages"][0]["content"] == text and left > 0:
            left -= 1
            return 500, {"error": {"message": "out of memory"}}
        return echo(path, body)

    return answer


def test_a_fault_that_passes_is_asked_again_with_its_whole_batch(tmp_path: Path) -> None:
    with ScriptedServer(failing_at("q1", 1), batch_size=2) as server:
        result = generate(samples(2), server.endpoint, PUBLISHED, tmp_path / "log.jsonl")
    assert not result.missing
    attempts = sorted(
        (body["ptb_batch"]["attempt"], body["messages"][0]["content"]) for body in server.bodies
    )
    assert attempts == [(1, "q0"), (1, "q1"), (2, "q0"), (2, "q1")]
    assert len((tmp_path / "log.jsonl").read_bytes().splitlines()) == 2


def test_a_fault_that_stays_leaves_its_sample_missing_with_the_reason(tmp_path: Path) -> None:
    with ScriptedServer(failing_at("q1", 99)) as server:
        result = generate(samples(3), server.endpoint, PUBLISHED, tmp_path / "log.jsonl")
    assert result.missing == {"s1": "the server answered status 500: out of memory"}
    assert set(result.completions) == {"s0", "s2"}
    assert len(server.bodies) == 5


def test_a_server_that_is_gone_ends_the_asking(tmp_path: Path) -> None:
    def hang_up(path: str, body: dict[str, Any]) -> tuple[int, Any]:
        return 0, None

    with ScriptedServer(hang_up, max_in_flight=1) as server:
        result = generate(samples(50), server.endpoint, PUBLISHED, tmp_path / "log.jsonl")
    assert len(result.missing) == 50
    assert result.missing["s49"].startswith("the server is gone: the connection broke")
    assert len(server.bodies) == 3


def test_truncated_answers_and_refusals_are_counted(tmp_path: Path) -> None:
    def answer(path: str, body: dict[str, Any]) -> tuple[int, Any]:
        if body["messages"][0]["content"] == "q0":
            return 400, {"error": {"message": "maximum context length is 1"}}
        return 200, chat_reply("...", "length")

    with ScriptedServer(answer) as server:
        result = generate(samples(3), server.endpoint, PUBLISHED, tmp_path / "log.jsonl")
    assert (result.summary.errors, result.summary.truncated) == (1, 2)
    assert result.completions["s0"][0].error == "maximum context length is 1"


def test_progress_counts_up_and_what_it_raises_ends_the_call(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []

    def stop_at_two(done: int, total: int) -> None:
        seen.append((done, total))
        if done == 2:
            raise KeyError("stop")

    log = tmp_path / "log.jsonl"
    with (
        ScriptedServer(echo, max_in_flight=1) as server,
        pytest.raises(KeyError, match="stop"),
    ):
        generate(samples(9), server.endpoint, PUBLISHED, log, stop_at_two)
    assert seen[0] == (0, 9)
    assert len(read_completions(log)) >= 2
