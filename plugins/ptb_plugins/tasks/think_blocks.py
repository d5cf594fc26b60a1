"""Think blocks: what a reasoning model writes for itself and scoring does not read."""

from __future__ import annotations

import re

_OPENING = re.compile(r'<think(?:\s+signature="[^"]*")?(?:\s+redacted="true")?\s*>')
_CLOSING = "</think>"


def without_think_block(text: str) -> str:
    """Return the text without its first complete think block, stripped at both ends.

    The block may stand anywhere; the text before and after it is joined. Only lower-case tags
    count, and of attributes only ``signature="..."`` and ``redacted="true"``, in this order. A
    text without a complete block comes back as it is, unstripped.

    Source: docs/protocol.md, "Requests to the model server"; golden rows ``think-*``.
    """
    last_closing = text.rfind(_CLOSING)
    opening = _OPENING.search(text, 0, max(last_closing, 0))
    if opening is None:
        return text
    closing = text.index(_CLOSING, opening.end())
    return (text[: opening.start()] + text[closing + len(_CLOSING) :]).strip()
