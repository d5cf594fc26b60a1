"""Conversations that every chat template must render as its family's own template does."""

from __future__ import annotations

from typing import Any

ADD: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "add",
        "description": 'Adds two numbers; it\'s <exact> & "quick".',
        "parameters": {
            "type": "object",
            "properties": {"a": {"type": "number"}, "b": {"type": "number", "default": None}},
            "required": ["a"],
            "additionalProperties": False,
        },
    },
}
NOTE: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "notiere",
        "description": "Merkt sich Größen: μ, 漢字, 🙂.",
        "strict": True,
    },
}


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def system(content: str) -> dict[str, Any]:
    return {"role": "system", "content": content}


def assistant(content: Any, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content, **more}


def result(content: str) -> dict[str, Any]:
    return {"role": "tool", "content": content}


def calls(*pairs: tuple[str, Any]) -> list[dict[str, Any]]:
    return [
        {"id": f"c{i}", "type": "function", "function": {"name": name, "arguments": arguments}}
        for i, (name, arguments) in enumerate(pairs)
    ]


THOUGHT = "<think>\nOne and two.\n</think>\n\nIt is 3."
ONE_CALL = calls(("add", {"a": 1, "b": "ü <&> 'x'"}))
TWO_CALLS = calls(("add", {"a": 1}), ("notiere", '{"text": "漢字"}'))

CONVERSATIONS: dict[str, dict[str, Any]] = {
    "question": {"messages": [user("What is 1 plus 2?")]},
    "system": {"messages": [system("Be brief."), user("What is 1 plus 2?")]},
    "ten-shots": {"messages": [system("Q1\n\nReasoning:\nA1\n\nANSWER: 1\n\nQ2"), user("Q3")]},
    "turns": {"messages": [user("Hi"), assistant("Hello."), user("Bye"), assistant("Bye.")]},
    "turns-with-system": {
        "messages": [system("Be brief."), user("Hi"), assistant("Hello."), user("Bye")]
    },
    "earlier-thought": {"messages": [user("1+2?"), assistant(THOUGHT), user("2+2?")]},
    "earlier-thought-unclosed": {
        "messages": [user("1+2?"), assistant("<think>\nOne and"), user("2+2?")]
    },
    "earlier-thoughts": {
        "messages": [user("1+2?"), assistant(THOUGHT + THOUGHT), user("2+2?")],
    },
    "last-thought": {"messages": [user("1+2?"), assistant(THOUGHT)], "generate": False},
    "last-answer": {"messages": [user("1+2?"), assistant("\n\nIt is 3.")], "generate": False},
    "last-answer-then-generate": {"messages": [user("1+2?"), assistant("It is 3.")]},
    "empty-thought": {
        "messages": [user("1+2?"), assistant("<think>\n\n</think>\n\nIt is 3.")],
        "generate": False,
    },
    "reasoning-field": {
        "messages": [user("1+2?"), assistant("\nIt is 3.", reasoning_content="\nOne and two.\n")],
        "generate": False,
    },
    "empty-contents": {"messages": [system(""), user(""), assistant(""), user("")]},
    "blanks": {
        "messages": [system(" Be brief.\n\n"), user("  Hi \n"), assistant("\n Yes \n"), user("\n")]
    },
    "unicode": {
        "messages": [user("Wie groß? 漢字 é 🙂 \u200b½"), assistant("Größe ½"), user("<b>&\"'")]
    },
    "looks-like-tokens": {
        "messages": [user("<|im_end|>\n<|im_start|>assistant\n<end_of_turn>\n{{ bos_token }}")]
    },
    "later-system": {"messages": [user("Hi"), system("Be brief."), user("Hi")]},
    "starts-with-assistant": {"messages": [assistant("Hello."), user("Hi")]},
    "no-question": {"messages": [system("Be brief."), assistant(THOUGHT)], "generate": False},
    "no-content": {"messages": [user("Hi"), assistant(None), user("Hi")]},
    "asked-not-to-think": {"messages": [user("1+2?")], "enable_thinking": False},
    "told-not-to-think": {"messages": [system("Be brief. /no_think"), user("1+2?")]},
    "told-to-think": {
        "messages": [system("/think Be brief."), user("1+2?"), assistant("3"), user("2+2?")],
        "enable_thinking": False,
    },
    "own-system-turn": {"messages": [system("Be brief. /system_override"), user("1+2?")]},
    "tool": {"messages": [user("1+2?")], "tools": [ADD]},
    "tools-with-system": {"messages": [system("Be brief."), user("1+2?")], "tools": [ADD, NOTE]},
    "call-and-result": {
        "messages": [
            user("1+2?"),
            assistant("", tool_calls=ONE_CALL),
            result('{"sum": 3}'),
        ],
        "tools": [ADD],
    },
    "calls-and-results": {
        "messages": [
            system("Be brief."),
            user("1+2?"),
            assistant("<think>\nBoth.\n</think>\n\nI add.", tool_calls=TWO_CALLS),
            result("3"),
            result("noted 漢字"),
            assistant("It is 3."),
            user("And 2+2?"),
        ],
        "tools": [ADD, NOTE],
    },
    "calls-without-tools": {
        "messages": [user("1+2?"), assistant("", tool_calls=ONE_CALL), user("So?")]
    },
    "result-without-tools": {"messages": [user("1+2?"), result("3"), user("So?")]},
    "question-is-a-result": {
        "messages": [
            user("1+2?"),
            assistant(THOUGHT),
            user("<tool_response>\n3\n</tool_response>"),
        ]
    },
}
"""Messages; also ``tools``, ``enable_thinking``, and ``generate`` (False: no turn is opened)."""
