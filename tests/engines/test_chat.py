"""Tool calls in an answer's text."""

from __future__ import annotations

import pytest

from ptb_plugins.engines.transformers.chat import ChatTemplate, parse_tool_calls
from ptb_plugins.engines.transformers.requests import BadRequest, ChatBody

CALL = '<tool_call>\n{"name": "add", "arguments": {"a": 1, "b": "é"}}\n</tool_call>'


def test_text_without_calls_stays_as_it_is() -> None:
    assert parse_tool_calls("It is 7.") == ("It is 7.", [])


def test_a_call_becomes_name_and_raw_arguments() -> None:
    content, calls = parse_tool_calls(f"Let me add.\n{CALL}")
    assert content == "Let me add.\n"
    assert calls == [{"name": "add", "arguments": '{"a": 1, "b": "é"}'}]


def test_several_calls_keep_their_order_and_no_text_is_none() -> None:
    content, calls = parse_tool_calls(CALL + "\n" + CALL.replace("add", "sub"))
    assert content is None
    assert [call["name"] for call in calls] == ["add", "sub"]


def test_the_last_call_may_lack_its_end() -> None:
    _, calls = parse_tool_calls(CALL.removesuffix("</tool_call>"))
    assert [call["name"] for call in calls] == ["add"]


@pytest.mark.parametrize(
    "broken",
    [
        "<tool_call>not json</tool_call>",
        '<tool_call>{"name": "add"}</tool_call>',
        '<tool_call>{"name": 7, "arguments": {}}</tool_call>',
        "<tool_call>[1]</tool_call>",
        "<tool_call>",
    ],
)
def test_text_with_a_broken_call_stays_as_it_is(broken: str) -> None:
    assert parse_tool_calls(broken) == (broken, [])


class Echo:
    """Stands in for a tokenizer: keeps what a template would be given."""

    def apply_chat_template(self, messages: object, **more: object) -> str:
        self.messages, self.tools = messages, more["tools"]
        return ""

    def __call__(self, text: str, **_: object) -> dict[str, list[int]]:
        return {"input_ids": []}


def test_templates_get_tools_in_one_order_with_absent_fields_as_none() -> None:
    tools = [{"function": {"strict": True, "parameters": {"b": 1, "a": 2}, "name": "add"}}]
    echo = Echo()
    ChatTemplate(text="").render(ChatBody(messages=[], tools=tools), echo)
    assert repr(echo.tools) == (
        "[{'type': 'function', 'function': {'name': 'add', 'description': None, "
        "'parameters': {'b': 1, 'a': 2}, 'strict': True}}]"
    )


def test_templates_get_texts_whatever_form_the_content_has() -> None:
    parts = [{"type": "text", "text": "Hi"}, {"type": "text", "text": "there"}]
    contents = ["Hi", None, parts]
    echo = Echo()
    body = ChatBody(messages=[{"role": "user", "content": content} for content in contents])
    ChatTemplate(text="").render(body, echo)
    assert [message["content"] for message in echo.messages] == ["Hi", "", "Hi\nthere"]
    assert echo.tools is None


def test_a_tool_without_a_function_is_refused() -> None:
    with pytest.raises(BadRequest, match="each tool is an object with a function"):
        ChatTemplate(text="").render(ChatBody(messages=[], tools=[{"type": "x"}]), Echo())
