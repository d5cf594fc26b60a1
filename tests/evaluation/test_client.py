"""What a hostile or broken server can do to us: nothing but fail."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from scripted_server import (
    Raw,
    chat_reply,
    endpoint,
    http_reply,
    raw_server,
    read_request,
    socket_folder,
)

from ptb_core.api import (
    ChatRequest,
    Completion,
    CompletionRequest,
    LogLikelihoodRequest,
    Request,
    ToolCall,
)
from ptb_core.evaluation.client import EngineClient, ReplyError, with_tries
from ptb_core.evaluation.client_limits import ClientLimits

CHAT = ChatRequest(messages=({"role": "user", "content": "hi"},))
LIMITS = ClientLimits(reply_bytes=10_000, connect_s=5, reply_s=5, backoff_s=0)


def ask(behave: Raw, request: Request = CHAT, limits: ClientLimits = LIMITS) -> Completion:
    async def run() -> Completion:
        async with raw_server(behave) as place, EngineClient(place, limits) as client:
            return await client.ask(request, {"max_tokens": 5})

    return asyncio.run(run())


def answering(status: int, content: Any) -> Raw:
    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(http_reply(status, content))
        await writer.drain()

    return behave


def failure(behave: Raw, request: Request = CHAT, limits: ClientLimits = LIMITS) -> ReplyError:
    with pytest.raises(ReplyError) as caught:
        ask(behave, request, limits)
    return caught.value


def test_a_chat_reply_becomes_a_completion() -> None:
    assert ask(answering(200, chat_reply("It is 7."))) == Completion(
        text="It is 7.", finish_reason="stop", prompt_tokens=3, completion_tokens=2
    )


def test_tool_calls_keep_their_raw_arguments() -> None:
    call = {"id": "x", "type": "function", "function": {"name": "add", "arguments": "{not json"}}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    reply = {"choices": [{"message": message, "finish_reason": "tool_calls"}]}
    completion = ask(answering(200, reply))
    assert completion.tool_calls == (ToolCall(name="add", arguments="{not json"),)
    assert (completion.text, completion.finish_reason) == (None, "tool_calls")


TOO_LONG = "This model's maximum context length is 9 tokens."


@pytest.mark.parametrize(
    "body", [{"error": {"message": TOO_LONG}}, {"message": TOO_LONG}, TOO_LONG]
)
def test_a_prompt_that_is_too_long_is_an_answer_with_the_servers_words(body: Any) -> None:
    completion = ask(answering(400, body.encode() if isinstance(body, str) else body))
    assert completion == Completion(
        text=None, finish_reason="error", error=TOO_LONG, http_status=400
    )


@pytest.mark.parametrize(
    "words",
    [
        "max_tokens must be at least 1, got -2",
        "The decoder prompt (length 9) is longer than the maximum model length of 8.",
        "max_tokens is 9, which leaves no room for a prompt: the context holds 8 tokens",
    ],
)
def test_every_servers_words_for_a_prompt_that_is_too_long_are_known(words: str) -> None:
    assert ask(answering(400, {"error": {"message": words}})).error == words


@pytest.mark.parametrize(
    "words",
    [
        '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set',
        "the messages do not fit the chat template: roles must alternate",
    ],
)
def test_any_other_refusal_is_no_answer(words: str) -> None:
    """Else a server that was started wrongly would make every sample a wrong answer."""
    error = failure(answering(400, {"error": {"message": words}}))
    assert error.is_transient is False
    assert str(error) == f"the server answered status 400: {words}"


def test_an_endless_error_text_is_shortened() -> None:
    completion = ask(answering(400, TOO_LONG.encode() + b"x" * 9000))
    assert completion.error == (TOO_LONG + "x" * 9000)[:2000]


def test_an_error_text_that_is_no_unicode_can_be_written_down() -> None:
    body = b'{"error": {"message": "%s \\ud800"}}' % TOO_LONG.encode()
    assert ask(answering(400, body)).error == f"{TOO_LONG} ?"


@pytest.mark.parametrize("count", [10**300, -1, 2**41, 1.5, "7"])
def test_a_count_of_tokens_that_no_server_can_have_makes_the_reply_unreadable(count: Any) -> None:
    reply = {**chat_reply("It is 7."), "usage": {"completion_tokens": count}}
    error = failure(answering(200, reply))
    assert str(error).startswith("the server's answer cannot be read: ")


@pytest.mark.parametrize(("status", "is_transient"), [(500, True), (503, True), (429, True)])
def test_a_servers_own_fault_may_be_asked_again(status: int, is_transient: bool) -> None:
    error = failure(answering(status, {"error": {"message": "out of memory"}}))
    assert error.is_transient is is_transient
    assert str(error) == f"the server answered status {status}: out of memory"


def test_an_unknown_route_is_not_asked_again() -> None:
    assert failure(answering(404, b"no such route")).is_transient is False


def test_a_reply_larger_than_the_bound_is_cut_off() -> None:
    error = failure(answering(200, chat_reply("x" * 20_000)))
    assert str(error) == "the server's answer is larger than 10000 bytes"


def test_an_endless_reply_is_cut_off() -> None:
    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            writer.write(b"400\r\n" + b"x" * 1024 + b"\r\n")
            await writer.drain()

    assert "larger than 10000 bytes" in str(failure(behave))


def test_a_compressed_bomb_is_not_unpacked() -> None:
    import gzip

    packed = gzip.compress(b" " * 50_000_000, compresslevel=9)[:9_000]

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(packed)}"
        writer.write(head.encode() + b"\r\n\r\n" + packed)
        await writer.drain()

    assert "the server's answer cannot be read" in str(failure(behave))


def test_a_reply_that_drips_is_given_up() -> None:
    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
        await writer.drain()
        await reader.read()

    error = failure(behave, limits=ClientLimits(reply_s=0.05))
    assert str(error) == "the server gave no answer within 0.05 s"
    assert error.is_transient is False


def test_a_reply_that_breaks_off_may_be_asked_again() -> None:
    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
        await writer.drain()

    error = failure(behave)
    assert error.is_transient is True
    assert "the connection broke" in str(error)


def test_a_redirect_is_not_followed() -> None:
    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(
            b"HTTP/1.1 307 Go\r\nLocation: http://example.org/\r\nContent-Length: 0\r\n\r\n"
        )
        await writer.drain()

    assert "status 307" in str(failure(behave))


def test_a_server_that_is_not_there_may_be_asked_again() -> None:
    async def run() -> bool:
        with socket_folder() as folder:
            async with EngineClient(endpoint(folder / "none"), LIMITS) as client:
                assert not await client.is_alive()
                with pytest.raises(ReplyError, match="the connection broke") as caught:
                    await client.ask(CHAT, {})
                return caught.value.is_transient

    assert asyncio.run(run()) is True


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"<html>", "cannot be read"),
        (b"\xff\xfe", "cannot be read"),
        (b"[" * 5000, "cannot be read"),
        (b'{"choices": []}', "holds 0 choices, expected 1"),
        (b'{"choices": [{}, {}]}', "holds 2 choices, expected 1"),
        (b'{"choices": [{"message": {"content": 7}}]}', "cannot be read"),
        (b'{"choices": [{"text": "a", "finish_reason": "abort"}]}', "ended for the reason 'abort'"),
    ],
)
def test_garbage_is_no_answer(content: bytes, words: str) -> None:
    error = failure(answering(200, content))
    assert words in str(error)
    assert error.is_transient is False


PAIR = LogLikelihoodRequest(context="2 plus 3 is ", continuation="5")


def table(**changes: Any) -> dict[str, Any]:
    log_probs = {
        "tokens": ["2 plus 3", " is", " 5", "\n"],
        "token_logprobs": [None, -0.5, -1.25, -3.0],
        "top_logprobs": [None, {" is": -0.5}, {" 5": -1.25, " 6": -2.0}, {"\n": -3.0}],
        "text_offset": [0, 8, 11, 13],
    }
    choice = {"text": "", "finish_reason": "length", "logprobs": {**log_probs, **changes}}
    return {"choices": [choice]}


def test_log_probabilities_of_other_servers_are_summed_over_the_continuation() -> None:
    completion = ask(answering(200, table()), PAIR)
    assert (completion.log_probability, completion.is_greedy) == (-1.25, True)


def test_a_likelier_token_makes_a_continuation_not_greedy() -> None:
    top = [None, {" is": -0.5}, {" 6": -1.0, " 5": -1.25}, {"\n": -3.0}]
    completion = ask(answering(200, table(top_logprobs=top)), PAIR)
    assert completion.is_greedy is False


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"text_offset": [0, 1, 2, 3]}, "do not fit the continuation"),
        ({"token_logprobs": [None, -0.5]}, "do not fit the continuation"),
        ({"token_logprobs": [None, -0.5, None, -1.0]}, "lacks the log-probability"),
    ],
)
def test_log_probabilities_that_do_not_fit_are_no_answer(
    changes: dict[str, Any], words: str
) -> None:
    assert words in str(failure(answering(200, table(**changes)), PAIR))


def test_a_log_likelihood_needs_log_probabilities() -> None:
    reply = {"choices": [{"text": "", "finish_reason": "stop"}]}
    assert "holds no log-probabilities" in str(failure(answering(200, reply), PAIR))


def test_text_completions_use_their_own_route() -> None:
    seen: list[tuple[str, dict[str, Any]]] = []

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await read_request(reader))
        writer.write(http_reply(200, {"choices": [{"text": " 5", "finish_reason": "stop"}]}))
        await writer.drain()

    assert ask(behave, CompletionRequest(prompt="2 plus 3 is")).text == " 5"
    assert seen == [("/v1/completions", {"model": "scripted", "max_tokens": 5})]


def test_tries_end_with_the_last_failure_and_stop_at_an_answer() -> None:
    tried: list[int] = []

    async def answer_third(attempt: int) -> str:
        tried.append(attempt)
        if attempt < 3:
            raise ReplyError("busy", is_transient=True)
        return "answer"

    async def fail_for_good(attempt: int) -> str:
        tried.append(attempt)
        raise ReplyError("garbage", is_transient=False)

    assert asyncio.run(with_tries(answer_third, LIMITS)) == "answer"
    with pytest.raises(ReplyError, match="garbage"):
        asyncio.run(with_tries(fail_for_good, LIMITS))
    assert tried == [1, 2, 3, 1]


def test_a_reply_in_utf_8_arrives_whole() -> None:
    text = "π ≈ 3.14 \U0001f600"
    reply = json.dumps(chat_reply(text), ensure_ascii=False).encode()
    assert ask(answering(200, reply)).text == text
