"""The engine gives the model the very tokens of a template's rendering, in every conversation."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from tiny_gemma import tokenizer_for_templates

from ptb_core.data import data_dir
from ptb_core.evaluation.protocol import SEEDED_DATE
from ptb_plugins.engines.transformers.chat import ChatTemplate
from ptb_plugins.engines.transformers.requests import BadRequest, ChatBody
from tests.templates.conversations import CONVERSATIONS
from tests.templates.rendering import REFUSED, render

FAMILIES = ("gemma", "qwen", "smollm", "smollm2")
ASKABLE = {
    name: one
    for name, one in CONVERSATIONS.items()
    if one.get("generate", True) and "enable_thinking" not in one
}
"""Conversations that can be put into a request; the others are for templates alone."""


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return tokenizer_for_templates()


def source(family: str) -> str:
    return (data_dir() / "registry" / "templates" / f"{family}.jinja").read_text("utf-8")


def tokens(tokenizer: Any, text: str) -> tuple[int, ...]:
    return tuple(tokenizer(text, add_special_tokens=False)["input_ids"])


def seeded(text: str) -> str:
    """Return a rendering of :func:`render` with the date of seeded requests."""
    date = datetime.date.fromisoformat(SEEDED_DATE)
    return text.replace("07 April 2026", date.strftime("%d %B %Y"))


def as_the_engine_gives_it(conversation: dict[str, Any]) -> dict[str, Any]:
    """Return a conversation with a text in each message and all fields in each tool."""
    messages = [{**one, "content": one["content"] or ""} for one in conversation["messages"]]
    empty = {"name": None, "description": None, "parameters": None}
    tools = [
        {**tool, "function": {**empty, **tool["function"]}}
        for tool in conversation.get("tools", [])
    ]
    return {**conversation, "messages": messages, "tools": tools or None}


@pytest.mark.parametrize("name", ASKABLE)
@pytest.mark.parametrize("family", FAMILIES)
def test_the_prompt_has_the_tokens_of_the_rendering(family: str, name: str, tokenizer: Any) -> None:
    expected = render(source(family), as_the_engine_gives_it(CONVERSATIONS[name]))
    body = ChatBody(
        messages=CONVERSATIONS[name]["messages"], tools=CONVERSATIONS[name].get("tools")
    )
    template = ChatTemplate(text=source(family), date=SEEDED_DATE)
    if expected == REFUSED:
        with pytest.raises(BadRequest, match="the messages do not fit the chat template: "):
            template.render(body, tokenizer)
    else:
        prompt = template.render(body, tokenizer)
        assert prompt == tokens(tokenizer, seeded(expected)), tokenizer.decode(prompt)


def test_markers_of_turns_are_single_tokens_also_where_users_write_them(tokenizer: Any) -> None:
    body = ChatBody(messages=CONVERSATIONS["looks-like-tokens"]["messages"])
    prompt = ChatTemplate(text=source("qwen")).render(body, tokenizer)
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert prompt.count(end) == 2


@pytest.mark.parametrize("family", FAMILIES)
def test_without_a_fixed_date_only_smollm3_prints_one_and_it_is_todays(
    family: str, tokenizer: Any
) -> None:
    body = ChatBody(messages=CONVERSATIONS["system"]["messages"])
    before = datetime.datetime.now().strftime("%d %B %Y")
    text = tokenizer.decode(ChatTemplate(text=source(family)).render(body, tokenizer))
    after = datetime.datetime.now().strftime("%d %B %Y")
    assert (before in text or after in text) is (family == "smollm")
