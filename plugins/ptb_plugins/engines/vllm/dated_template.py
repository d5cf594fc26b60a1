"""A chat template that prints a fixed date, for a server that knows the real one only."""

from __future__ import annotations

import datetime

CODES = "aAbBcdDeFgGhHIjklmMnpPrRsStTuUVwWxXyYzZ%"
FLAGS = ("", "-", "_", "0", "^", "#")
"""Format codes and flags of ``strftime`` that templates may use (C library of Linux)."""


def with_date(template: str, date: str) -> str:
    """Return the template with ``strftime_now`` bound to a date.

    A macro of that name covers the function that transformers gives to templates. What it
    prints for every code is worked out here, so the server's clock plays no part. The line break
    after it is taken away by ``trim_blocks``, which templates of chat models are rendered with.

    Args:
        template: A Jinja template.
        date: ISO date.
    """
    moment = datetime.datetime.fromisoformat(date)
    known = [f"%{flag}{code}" for code in CODES for flag in FLAGS]
    rows = ", ".join(f"{_quoted(one)}: {_quoted(moment.strftime(one))}" for one in known)
    return (
        "{%- macro strftime_now(format) -%}"
        f"{{%- set table = {{{rows}}} -%}}"
        "{%- set at = namespace(code='') -%}"
        "{%- for letter in format -%}"
        "{%- set at.code = at.code ~ letter -%}"
        "{%- if at.code in table -%}{{- table[at.code] -}}{%- set at.code = '' -%}"
        "{%- elif at.code[:1] != '%' or at.code[-1:] not in '%-_0^#' -%}"
        "{{- at.code -}}{%- set at.code = '' -%}"
        "{%- endif -%}"
        "{%- endfor -%}"
        "{{- at.code -}}"
        "{%- endmacro %}\n" + template
    )


def _quoted(text: str) -> str:
    pairs = (("\\", "\\\\"), ("'", "\\'"), ("\n", "\\n"), ("\t", "\\t"))
    for plain, escaped in pairs:
        text = text.replace(plain, escaped)
    return f"'{text}'"
