"""Where the grader is reached, and the key that opens it.

The key is read from the environment of the trusted side at the moment it is needed. Nothing that
is shown, raised or kept holds it: what an endpoint says goes through :meth:`Key.hidden_in`.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from ptb_core.specs import GraderSpec

HIDDEN = "[key]"
SECRET_CHARACTERS = 16
"""Keys at least this long are secrets. A shorter one is a stand-in that a server of one's own
takes, such as ``EMPTY``, and may be a word of an honest reply."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """A key that no representation shows.

    Attributes:
        value: The key; empty where the endpoint needs none.
    """

    value: str = field(repr=False)

    def hidden_in(self, text: str) -> str:
        """Return a text of the endpoint's, such as an error, without the key.

        Only a whole key is found, so a text is cut after this, never before. Within JSON a key
        may be spelled with backslashes.
        """
        if not self.value:
            return text
        return text.replace(json.dumps(self.value)[1:-1], HIDDEN).replace(self.value, HIDDEN)

    def hidden_in_reply(self, text: str) -> str:
        """Return a graded reply without the key, if the key is a secret at all."""
        return self.hidden_in(text) if len(self.value) >= SECRET_CHARACTERS else text


def host_of(base_url: str) -> str:
    """Return host and port of an address, never its user or password; empty if it has none."""
    try:
        return urlsplit(base_url).netloc.rpartition("@")[2]
    except ValueError:
        return ""


def named(spec: GraderSpec) -> str:
    """Return how messages call a grader."""
    return f"the grader {spec.model} at {host_of(spec.base_url)}"


def read_key(spec: GraderSpec) -> Key:
    """Return the key that the environment holds now; an empty one where none is needed."""
    if spec.api_key_env is None:
        return Key(value="")
    return Key(value=os.environ.get(spec.api_key_env, "").strip())


def key_obstacle(spec: GraderSpec, named_where: str = "in the plan's `grader`") -> str | None:
    """Return why this machine has no key for a grader, or None when it has or needs none.

    Args:
        spec: The grader.
        named_where: Where another endpoint would be named, in words.
    """
    if spec.api_key_env is None:
        return None
    key = read_key(spec).value
    where = f"{named(spec)}: its key is read from {spec.api_key_env}"
    if not key:
        return (
            f"{where}, which is not set; set it where `ptb` is started, or name another endpoint "
            f"{named_where}"
        )
    if not re.fullmatch(r"[!-~]+", key):
        return (
            f"{where}, which holds blanks, line breaks or other characters that no key has; set "
            "it to the key alone"
        )
    return None
