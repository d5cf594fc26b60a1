"""The served model, asked over its socket."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

Ask = Callable[..., tuple[int, dict[str, Any]]]
CHAT = "/v1/chat/completions"
TEXT = "/v1/completions"


def user(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def choice(answer: tuple[int, dict[str, Any]]) -> dict[str, Any]:
    status, reply = answer
    assert status == 200, reply
    first: dict[str, Any] = reply["choices"][0]
    return first


def test_a_chat_is_answered_through_our_template(ask: Ask) -> None:
    body = {"messages": user("What is 3 plus 4?"), "temperature": 0, "max_tokens": 20}
    first = choice(ask(CHAT, {**body, "stop": ["<|im_end|>"]}))
    assert first["message"]["content"].startswith("It is ")
    assert first["finish_reason"] == "stop"


def test_a_stop_string_that_is_one_token_ends_the_answer_as_that_token(ask: Ask) -> None:
    body = {"messages": user("What is 3 plus 4?"), "temperature": 0, "max_tokens": 40}
    stopped = choice(ask(CHAT, {**body, "stop": ["<|im_end|>"]}))["message"]["content"]
    running = choice(ask(CHAT, body))["message"]["content"]
    assert running.startswith(stopped)
    assert len(running) > len(stopped)


def test_a_stop_token_ends_the_answer_and_is_no_part_of_it(ask: Ask, tiny_model: Path) -> None:
    from transformers import AutoTokenizer

    end = AutoTokenizer.from_pretrained(tiny_model).convert_tokens_to_ids("<|im_end|>")
    body = {"messages": user("What is 3 plus 4?"), "temperature": 0, "max_tokens": 40}
    by_id = choice(ask(CHAT, {**body, "stop_token_ids": [end]}))
    by_text = choice(ask(CHAT, {**body, "stop": ["<|im_end|>"]}))
    assert by_id["finish_reason"] == "stop"
    assert by_id["message"] == by_text["message"]
    assert "<|im_end|>" not in by_id["message"]["content"]


def test_a_stop_string_is_cut_out_of_the_text(ask: Ask) -> None:
    body = {"prompt": "1 plus 2 is 3\n2 plus 2 is", "temperature": 0, "max_tokens": 40}
    whole = choice(ask(TEXT, body))["text"]
    assert "plus" in whole
    stopped = choice(ask(TEXT, {**body, "stop": ["plus", "never there"]}))
    assert stopped["text"] == whole[: whole.index("plus")]
    assert stopped["finish_reason"] == "stop"


def test_an_answer_that_reaches_its_limit_says_so(ask: Ask) -> None:
    status, reply = ask(TEXT, {"prompt": "1 plus 2 is", "temperature": 0, "max_tokens": 3})
    assert (status, reply["choices"][0]["finish_reason"]) == (200, "length")
    assert reply["usage"]["completion_tokens"] == 3


def test_a_prompt_that_leaves_no_room_is_answered_with_400(ask: Ask) -> None:
    status, reply = ask(TEXT, {"prompt": "7 plus 7 is 14\n" * 100, "max_tokens": 5})
    assert status == 400
    assert "maximum context length is 256 tokens" in reply["error"]["message"]


def test_max_tokens_beyond_the_context_is_cut_to_it(ask: Ask) -> None:
    body = {"prompt": "1 plus 2 is", "temperature": 0, "max_tokens": 10_000, "stop_token_ids": []}
    status, reply = ask(TEXT, body)
    assert status == 200
    assert reply["usage"]["total_tokens"] <= 256


def test_a_seeded_answer_does_not_depend_on_its_batch_mates(ask: Ask) -> None:
    import asyncio

    body = {"prompt": "5 plus 2 is", "temperature": 1.5, "max_tokens": 24, "seed": 7}
    alone = choice(ask(TEXT, body))["text"]
    other = {"prompt": "1 plus 1 is 2\n9 plus", "temperature": 2.0, "max_tokens": 60, "seed": 1}

    async def together() -> dict[str, Any]:
        batch = [
            {**request, "ptb_batch": {"id": "mates", "size": 3, "index": place}}
            for place, request in enumerate([other, body, {**other, "seed": 2}])
        ]
        answers = await asyncio.gather(*(asyncio.to_thread(ask, TEXT, one) for one in batch))
        return choice(answers[1])

    assert asyncio.run(together())["text"] == alone
    assert choice(ask(TEXT, {**body, "seed": 8}))["text"] != alone


def test_unseeded_members_of_a_fixed_batch_repeat_exactly(ask: Ask) -> None:
    body = {"prompt": "5 plus 2 is", "temperature": 1.5, "max_tokens": 24}
    slot = {"id": "repeat", "size": 1, "index": 0}
    texts = {
        choice(ask(TEXT, {**body, "ptb_batch": {**slot, "attempt": attempt}}))["text"]
        for attempt in (1, 2)
    }
    assert len(texts) == 1


def test_repetition_penalty_top_k_and_top_p_of_one_candidate_are_greedy(ask: Ask) -> None:
    body = {"prompt": "3 plus 3 is", "max_tokens": 16, "seed": 3}
    greedy = choice(ask(TEXT, {**body, "temperature": 0}))["text"]
    assert choice(ask(TEXT, {**body, "temperature": 3, "top_k": 1}))["text"] == greedy
    assert choice(ask(TEXT, {**body, "temperature": 1, "top_p": 1e-9}))["text"] == greedy
    assert choice(ask(TEXT, {**body, "temperature": 1, "min_p": 1.0}))["text"] == greedy
    penalised = {**body, "temperature": 0, "repetition_penalty": 50.0}
    assert choice(ask(TEXT, penalised))["text"] != greedy


def test_log_probabilities_of_an_echoed_prompt_fit_the_extension(ask: Ask) -> None:
    pair = {"context": "2 plus 3 is", "continuation": " 5"}
    own = choice(ask(TEXT, {"prompt": "", "ptb_loglikelihood": pair}))["ptb_loglikelihood"]
    body = {"prompt": "2 plus 3 is 5", "max_tokens": 0, "echo": True, "logprobs": 1}
    table = choice(ask(TEXT, body))["logprobs"]
    assert "".join(table["tokens"]) == "2 plus 3 is 5"
    inside = [place for place, at in enumerate(table["text_offset"]) if at >= 11]
    total = sum(table["token_logprobs"][place] for place in inside)
    assert own["log_probability"] == pytest.approx(total, abs=1e-4)
    is_best = all(
        table["token_logprobs"][place] == max(table["top_logprobs"][place].values())
        for place in inside
    )
    assert own["is_greedy"] == is_best
    assert table["token_logprobs"][0] is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"temperature": -1}, "temperature is -1.0, expected 0 or more"),
        ({"top_p": 0}, "top_p is 0.0, expected in (0, 1]"),
        ({"n": 2, "stream": True}, "this server does not offer: n, stream"),
        ({"max_tokens": 0}, "max_tokens is 0, expected 1 or more"),
        ({"prompt": ["a"]}, "Expected `str`"),
        ({"prompt": ""}, "the prompt has no tokens"),
    ],
)
def test_a_request_that_cannot_be_served_is_answered_with_400(
    ask: Ask, change: dict[str, Any], words: str
) -> None:
    status, reply = ask(TEXT, {"prompt": "1 plus", **change})
    assert status == 400
    assert words in reply["error"]["message"]


def test_messages_that_break_the_template_are_answered_with_400(ask: Ask) -> None:
    status, reply = ask(CHAT, {"messages": [{"role": "user", "content": [{"type": "image"}]}]})
    assert status == 400
    assert "only text" in reply["error"]["message"]


def test_a_second_claim_on_a_place_in_a_batch_is_refused(ask: Ask) -> None:
    slot = {"id": "bad", "size": 9, "index": 0}
    status, reply = ask(TEXT, {"prompt": "1", "ptb_batch": slot})
    assert status == 409
    assert "a batch holds at most 4 requests" in reply["error"]["message"]


def test_tool_definitions_reach_the_prompt(ask: Ask) -> None:
    body = {"messages": user("hi"), "max_tokens": 1, "temperature": 0}
    tools = [{"type": "function", "function": {"name": "add", "parameters": {}}}]
    _, plain = ask(CHAT, body)
    _, tooled = ask(CHAT, {**body, "tools": tools})
    assert tooled["usage"]["prompt_tokens"] > plain["usage"]["prompt_tokens"] + 10
