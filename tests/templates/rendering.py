"""Rendering as transformers and vLLM render, and telling wording from form."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

DATE = "07 April 2026"
REFUSED = "refused"

_TOOLS = (
    r"(# Tools\n\n).*?(\n+<tools>\n)",
    r"(\n</tools>\n\n).*?(\n<tool_call>\n\{\"name\": <)[^>]*(>, \"arguments\": <)[^>]*(>\})",
)
OWN_WORDING = {
    "qwen": _TOOLS,
    "smollm": (
        *_TOOLS,
        r"(## Custom Instructions\n\n)You are .*?(\n\n(?:<\|im_start\|>user|<\|im_start\|>assistant"
        r"|### Tools))",
    ),
    "gemma": (),
}
"""What a family's template says in free words: all that stands between the groups."""


def render(source: str, conversation: dict[str, Any]) -> str:
    """Return the text of a conversation, or ``refused`` where the template raises."""
    from jinja2.exceptions import TemplateError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    def refuse(message: str) -> None:
        raise TemplateError(message)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
    environment.globals["raise_exception"] = refuse
    environment.globals["strftime_now"] = lambda _: DATE
    more = {name: conversation[name] for name in ("enable_thinking",) if name in conversation}
    try:
        return environment.from_string(source).render(
            messages=conversation["messages"],
            tools=conversation.get("tools"),
            add_generation_prompt=conversation.get("generate", True),
            bos_token="<bos>",
            **more,
        )
    except TemplateError:
        return REFUSED


def without_own_wording(text: str, family: str) -> str:
    """Return a rendering whose free wording is replaced by dots."""
    for pattern in OWN_WORDING[family]:
        text = re.sub(pattern, _joined, text, count=1, flags=re.DOTALL)
    return text


def _joined(match: re.Match[str]) -> str:
    return "…".join(match.groups())


def digest(text: str) -> str:
    """Return what is kept of a rendering: its sha256, or that there is none."""
    return text if text == REFUSED else hashlib.sha256(text.encode()).hexdigest()
