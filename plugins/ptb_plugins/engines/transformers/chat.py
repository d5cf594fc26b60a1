"""From messages to a prompt, and from an answer's text to tool calls."""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ptb_plugins.engines.transformers.requests import BadRequest, ChatBody

TOOL_CALL = re.compile(r"<tool_call>(.*?)</tool_call>|<tool_call>(.*)", re.DOTALL)
"""Tool calls in hermes form; the last one may lack its end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatTemplate:
    """The chat template that requests are rendered with.

    Attributes:
        text: The Jinja template.
        date: ISO date that the template prints as today's; None for the real date.
    """

    text: str
    date: str | None = None

    def render(self, body: ChatBody, tokenizer: Any) -> tuple[int, ...]:
        """Return the prompt's tokens; the template alone brings special tokens.

        Raises:
            BadRequest: If the messages do not fit the template.
        """
        messages = [_normalised(message) for message in body.messages]
        more: dict[str, Any] = {}
        if self.date is not None:
            more["strftime_now"] = datetime.datetime.fromisoformat(self.date).strftime
        try:
            prompt = tokenizer.apply_chat_template(
                messages,
                tools=[_listed(tool) for tool in body.tools or []] or None,
                chat_template=self.text,
                add_generation_prompt=True,
                tokenize=False,
                **more,
            )
        except Exception as error:
            raise BadRequest(f"the messages do not fit the chat template: {error}") from error
        return tuple(tokenizer(prompt, add_special_tokens=False)["input_ids"])


def parse_tool_calls(text: str) -> tuple[str | None, list[dict[str, str]]]:
    """Return what stands before the first tool call, and the calls' names and arguments.

    Text whose calls are no JSON objects with a name is returned whole, without calls.

    Source: vLLM's parser ``hermes``.
    """
    if "<tool_call>" not in text:
        return text, []
    try:
        calls = [_tool_call(closed or opened) for closed, opened in TOOL_CALL.findall(text)]
    except (ValueError, KeyError, TypeError):
        return text, []
    before = text[: text.index("<tool_call>")]
    return before or None, calls


def _tool_call(content: str) -> dict[str, str]:
    call = json.loads(content)
    name, arguments = call["name"], call["arguments"]
    if not isinstance(name, str):
        raise TypeError("a tool's name is a string")
    return {"name": name, "arguments": json.dumps(arguments, ensure_ascii=False)}


def _normalised(message: Mapping[str, Any]) -> dict[str, Any]:
    """Return a message with plain text content and tool arguments as objects.

    Source: vLLM gives templates the same; without content they get an empty text.
    """
    normalised = dict(message)
    content = message.get("content")
    if content is None or isinstance(content, list):
        normalised["content"] = "\n".join(_text(part) for part in content or [])
    if message.get("tool_calls"):
        normalised["tool_calls"] = [_with_object(call) for call in message["tool_calls"]]
    return normalised


def _listed(tool: Mapping[str, Any]) -> dict[str, Any]:
    """Return a tool as vLLM gives it to templates: fields in one order, absent ones as None."""
    function = tool.get("function")
    if not isinstance(function, Mapping):
        raise BadRequest("each tool is an object with a function")
    first = {name: function.get(name) for name in ("name", "description", "parameters")}
    return {"type": "function", **tool, "function": {**first, **function}}


def _text(part: object) -> str:
    if isinstance(part, Mapping) and isinstance(part.get("text"), str):
        return str(part["text"])
    raise BadRequest("only text can stand in a message's content")


def _with_object(call: Any) -> Any:
    try:
        function = dict(call["function"])
        if isinstance(function.get("arguments"), str):
            function["arguments"] = json.loads(function["arguments"])
    except (ValueError, KeyError, TypeError) as error:
        raise BadRequest(f"a message's tool call cannot be read: {error}") from error
    return {**call, "function": function}
