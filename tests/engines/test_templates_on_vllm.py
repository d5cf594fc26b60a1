"""vLLM gives the model the same tokens as the transformers engine, in every conversation."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from engine_servers import Serving, http_post
from tiny_gemma import build_reader
from vllm_servers import real_settings, vllm_serving

from ptb_core.data import data_dir
from ptb_core.evaluation.protocol import SEEDED_DATE
from ptb_plugins.engines.transformers.chat import ChatTemplate
from ptb_plugins.engines.transformers.loading import load_tokenizer
from ptb_plugins.engines.transformers.requests import BadRequest, ChatBody
from tests.templates.conversations import CONVERSATIONS
from tests.templates.rendering import REFUSED

pytestmark = pytest.mark.vllm

FAMILIES = ("qwen", "smollm", "gemma")
TEMPLATES = data_dir() / "registry" / "templates"
PARTS = [{"type": "text", "text": "Two parts, "}, {"type": "text", "text": "one turn."}]
ASKED = {
    **{
        name: one
        for name, one in CONVERSATIONS.items()
        if one.get("generate", True) and "enable_thinking" not in one
    },
    "parts": {"messages": [{"role": "user", "content": PARTS}]},
}


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model whose tokenizer knows the turn markers of every family; their templates."""
    folder = build_reader(tmp_path_factory.mktemp("reader"))
    for family in FAMILIES:
        shutil.copy(TEMPLATES / f"{family}.jinja", folder)
    return folder


@pytest.fixture(scope="module", params=FAMILIES)
def served(
    request: pytest.FixtureRequest, reader: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Serving]]:
    family, root = str(request.param), tmp_path_factory.mktemp("serve-reader")
    more = {"template": f"{family}.jinja", "template_date": SEEDED_DATE}
    with vllm_serving(root, reader, real_settings(), **more) as serving:
        yield family, serving


def as_request(conversation: dict[str, Any]) -> dict[str, Any]:
    """Return a conversation in the form that the API asks for: arguments are JSON texts."""
    messages = []
    for message in conversation["messages"]:
        sent = dict(message)
        if message["role"] == "tool":
            sent["tool_call_id"] = "c0"
        if "tool_calls" in message:
            sent["tool_calls"] = [with_text(call) for call in message["tool_calls"]]
        messages.append(sent)
    more = {"tools": conversation["tools"]} if "tools" in conversation else {}
    return {"messages": messages, **more}


def with_text(call: dict[str, Any]) -> dict[str, Any]:
    function = dict(call["function"])
    if not isinstance(function["arguments"], str):
        function["arguments"] = json.dumps(function["arguments"], ensure_ascii=False)
    return {**call, "function": function}


def test_every_prompt_has_the_tokens_that_the_transformers_engine_gives(
    served: tuple[str, Serving], reader: Path
) -> None:
    family, serving = served
    tokenizer = load_tokenizer(reader)
    text = (TEMPLATES / f"{family}.jinja").read_text("utf-8")
    template = ChatTemplate(text=text, date=SEEDED_DATE)
    unlike = {}
    for name, conversation in ASKED.items():
        asked = as_request(conversation)
        try:
            expected = tokenizer.decode(template.render(ChatBody(**asked), tokenizer))
        except BadRequest:
            expected = REFUSED
        status, reply = http_post(serving.endpoint.socket, "/tokenize", asked)
        found = tokenizer.decode(reply["tokens"]) if status == 200 else REFUSED
        if found != expected:
            unlike[name] = (expected, found, reply if status != 200 else None)
    assert not unlike
