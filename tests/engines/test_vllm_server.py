"""The real vLLM, in a real session, around a tiny trained model."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from engine_servers import Serving, http_post, serving
from tiny_models import (
    ADD,
    CALLS,
    build_unservable_model,
)
from vllm_servers import real_settings, vllm_engine, vllm_serving

from ptb_core.api import ChatRequest, CheckpointError, EngineError, LogLikelihoodRequest
from ptb_core.evaluation.client_limits import ClientLimits
from ptb_core.evaluation.generate import GenerateOptions, SampleRequests, generate
from ptb_plugins.engines.transformers.engine import TransformersEngine

pytestmark = pytest.mark.vllm

CHAT = "/v1/chat/completions"
TEXT = "/v1/completions"
LONGEST = 120

Ask = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def model(taught_model: Path) -> Path:
    return taught_model


@pytest.fixture(scope="module")
def served(vllm_served: Serving) -> Serving:
    return vllm_served


@pytest.fixture(scope="module")
def beside(
    engine: TransformersEngine, model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Serving]:
    """The same checkpoint on transformers."""
    root = tmp_path_factory.mktemp("beside")
    with serving(engine, root, model, max_context_tokens=4096) as server:
        yield server


@pytest.fixture
def ask(served: Serving) -> Ask:
    def post(route: str, **body: Any) -> dict[str, Any]:
        named = {"model": served.endpoint.model_name, "temperature": 0, "max_tokens": 30, **body}
        status, reply = http_post(served.endpoint.socket, route, named)
        assert status == 200, reply
        choice: dict[str, Any] = reply["choices"][0]
        return {**choice, "usage": reply["usage"]}

    return post


def end_id(folder: Path, text: str) -> int:
    from transformers import AutoTokenizer

    return int(AutoTokenizer.from_pretrained(folder).convert_tokens_to_ids(text))


def user(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def options(requests: Any, **fields: Any) -> GenerateOptions:
    limits = ClientLimits(tries=2, backoff_s=0.0)
    return GenerateOptions(requests=requests, max_tokens=200, limits=limits, **fields)


def chats(count: int) -> list[SampleRequests]:
    return [
        SampleRequests(
            id=f"s{i}", requests=(ChatRequest(messages=tuple(user(f"What is {i % 9} plus 4?"))),)
        )
        for i in range(count)
    ]


# Answers --------------------------------------------------------------------------------------


def test_an_end_token_is_seen_by_its_id_and_never_by_its_text(ask: Ask, model: Path) -> None:
    body = {"messages": user("What is 3 plus 4?")}
    by_id = ask(CHAT, **body, stop_token_ids=[end_id(model, "<|im_end|>")])
    assert by_id["message"]["content"].startswith("It is ")
    assert by_id["finish_reason"] == "stop"
    by_text = ask(CHAT, **body, stop=["<|im_end|>"])["message"]["content"]
    assert by_text.startswith(by_id["message"]["content"])
    assert len(by_text) > len(by_id["message"]["content"])


def test_both_engines_give_the_same_greedy_answers_and_stop_alike(
    served: Serving, beside: Serving, model: Path, tmp_path: Path
) -> None:
    asked = options("seeded", stop_token_ids=(end_id(model, "<|im_end|>"),))
    found = [
        generate(chats(9), server.endpoint, asked, tmp_path / name)
        for server, name in ((served, "a"), (beside, "b"))
    ]
    assert not any(result.missing for result in found)
    texts, others = (
        {
            sample: (answer.text, answer.finish_reason, answer.completion_tokens)
            for sample, (answer,) in result.completions.items()
        }
        for result in found
    )
    assert texts == others
    assert {reason for _, reason, _ in texts.values()} == {"stop"}


def test_published_requests_follow_the_generation_config_alone(
    served: Serving, tmp_path: Path
) -> None:
    result = generate(chats(3), served.endpoint, options("published"), tmp_path / "log")
    answers = [answer for (answer,) in result.completions.values()]
    assert len(answers) == 3
    assert all((answer.completion_tokens or 0) <= LONGEST for answer in answers)


def test_a_seed_repeats_its_answer_and_another_gives_another(ask: Ask) -> None:
    body = {"prompt": "5 plus 2 is", "temperature": 1.5, "top_k": 0}
    first, again = (ask(TEXT, **body, seed=7)["text"] for _ in range(2))
    assert first == again
    assert len({ask(TEXT, **body, seed=seed)["text"] for seed in range(5)}) > 1


def test_requests_beyond_what_the_server_takes_wait_and_get_their_own_answers(
    served: Serving, ask: Ask, tmp_path: Path
) -> None:
    assert served.endpoint.max_in_flight == 16
    alone = [ask(CHAT, messages=user(f"What is {i} plus 4?"))["message"] for i in range(9)]

    def again(i: int) -> Any:
        return ask(CHAT, messages=user(f"What is {i % 9} plus 4?"))["message"]

    with ThreadPoolExecutor(40) as pool:
        together = list(pool.map(again, range(45)))
    assert together == alone * 5


def test_tools_are_called_in_hermes_form(ask: Ask, model: Path) -> None:
    end = [end_id(model, "<|im_end|>")]
    body = {"tools": [ADD], "tool_choice": "auto", "max_tokens": 100, "stop_token_ids": end}
    for asked in CALLS:
        choice = ask(CHAT, messages=user(asked), **body)
        assert choice["finish_reason"] == "tool_calls"
        (call,) = choice["message"]["tool_calls"]
        a, b = asked.split()[1:]
        assert call["function"] == {"name": "add", "arguments": f'{{"a": {a}, "b": {b}}}'}


def test_both_engines_read_the_same_tool_calls(
    served: Serving, beside: Serving, model: Path, tmp_path: Path
) -> None:
    requests = [
        SampleRequests(id=asked, requests=(ChatRequest(messages=tuple(user(asked)), tools=(ADD,)),))
        for asked in CALLS
    ]
    asked = options("seeded", stop_token_ids=(end_id(model, "<|im_end|>"),))
    mine, other = (
        generate(requests, server.endpoint, asked, tmp_path / name).completions
        for server, name in ((served, "a"), (beside, "b"))
    )
    for sample in CALLS:
        (one,), (two,) = mine[sample], other[sample]
        assert (one.tool_calls, one.finish_reason) == (two.tool_calls, two.finish_reason)
        assert (one.text or "").strip() == (two.text or "").strip()


def test_log_likelihoods_are_those_of_transformers(
    served: Serving, beside: Serving, tmp_path: Path
) -> None:
    pairs = [("2 plus 3 is", " 5"), ("2 plus 3 is", " 12"), ("1 plus 1 is 2\n4 plus ", "4 is 8")]
    requests = [
        SampleRequests(
            id=str(place),
            requests=(LogLikelihoodRequest(context=context, continuation=continuation),),
        )
        for place, (context, continuation) in enumerate(pairs)
    ]
    mine, other = (
        generate(requests, server.endpoint, options("seeded"), tmp_path / name).completions
        for server, name in ((served, "a"), (beside, "b"))
    )
    assert len(mine) == 3
    for sample, (answer,) in mine.items():
        assert answer.log_probability == pytest.approx(other[sample][0].log_probability, abs=1e-3)
        assert answer.is_greedy == other[sample][0].is_greedy


def test_a_prompt_that_is_too_long_is_an_answer_with_status_400(
    served: Serving, tmp_path: Path
) -> None:
    long = ChatRequest(messages=tuple(user("9 plus 9 is 18\n" * 2000)))
    requests = [SampleRequests(id="long", requests=(long,))]
    result = generate(requests, served.endpoint, options("published"), tmp_path / "log")
    (answer,) = result.completions["long"]
    assert (answer.http_status, answer.finish_reason) == (400, "error")
    assert "maximum context length is 4096 tokens" in str(answer.error)


def test_the_template_prints_the_fixed_date(served: Serving) -> None:
    messages = [{"role": "system", "content": "x"}, *user("hi")]
    body = {"model": served.endpoint.model_name, "messages": messages}
    _, tokens = http_post(served.endpoint.socket, "/tokenize", body)
    body = {"model": served.endpoint.model_name, "tokens": tokens["tokens"]}
    _, text = http_post(served.endpoint.socket, "/detokenize", body)
    assert text["prompt"].startswith("01 January 2026\n<|im_start|>system\nx<|im_end|>")


def test_what_serves_is_told(served: Serving) -> None:
    facts = served.endpoint.facts
    assert (facts["device"], facts["dtype"]) == ("cpu", "float32")
    assert {"vllm", "torch", "transformers", "python"} <= set(facts)


def test_nothing_can_be_fetched_from_inside(served: Serving) -> None:
    """The server saw no network, and its log holds no try to reach one."""
    log = served.session.logs(served.endpoint.process, "stderr")
    assert b"huggingface.co" not in log


# Checkpoints that vLLM cannot serve -------------------------------------------------------------


def test_a_part_of_a_merged_matrix_that_vllm_would_make_up_is_missed(
    model: Path, tmp_path: Path
) -> None:
    """Without the launcher's look at the headers vLLM 0.32 serves these weights."""
    broken = without(model, tmp_path / "broken", "model.layers.1.mlp.up_proj.weight")
    with (
        pytest.raises(CheckpointError, match=r"lack 1 tensors that others need: model.layers.1"),
        vllm_serving(tmp_path / "s", broken, real_settings()),
    ):
        pass


def test_weights_that_lack_a_tensor_are_refused_with_vllms_reason(
    model: Path, tmp_path: Path
) -> None:
    broken = without(model, tmp_path / "broken", "model.layers.1.input_layernorm.weight")
    with (
        pytest.raises(EngineError) as caught,
        vllm_serving(tmp_path / "s", broken, real_settings()),
    ):
        pass
    assert "the vLLM server ended with status 1: ValueError: " in str(caught.value)
    assert "input_layernorm" in str(caught.value)


def test_a_crash_on_the_first_question_is_told_with_its_cause(model: Path, tmp_path: Path) -> None:
    """vLLM's build for CPUs loads a head of 16 numbers and dies when it has to use it."""
    engine = vllm_engine()
    fatal = build_unservable_model(model, tmp_path / "fatal")
    with vllm_serving(tmp_path / "s", fatal, real_settings()) as server:
        result = generate(chats(40), server.endpoint, options("seeded"), tmp_path / "log")
        ended = server.session.wait(server.endpoint.process, 60)
        why = engine.why_ended(server.endpoint, server.session)
    assert len(result.missing) == 40
    assert ended.state == "exited"
    assert "head_dim=16" in why


def without(source: Path, folder: Path, name: str) -> Path:
    from safetensors.torch import load_file, save_file

    shutil.copytree(source, folder)
    tensors = load_file(folder / "model.safetensors")
    del tensors[name]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder
