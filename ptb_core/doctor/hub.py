"""The model hub: whether there is a token, never which; whether it answers, only on request."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Iterator
from urllib.parse import urlsplit

from ptb_core.doctor.findings import Finding, ok, warning

TIMEOUT_S = 5


def findings(*, ask: bool) -> Iterator[Finding]:
    """Yield whether gated and public things can be fetched.

    Args:
        ask: True sends one request to the hub, without a token.
    """
    from ptb_core.fetch.hub import endpoint, token_source

    source = token_source()
    if source is None:
        advice = "for gated models and data, set HF_TOKEN to a token that may read them, or run "
        yield warning("there is no token of the hub", f"{advice}`hf auth login`")
    else:
        yield ok(f"a token of the hub is there: {source}")
    if ask:
        yield network_finding(endpoint())
    else:
        yield ok(f"{shown(endpoint())} was not asked; `ptb doctor --network` does")


def network_finding(address: str) -> Finding:
    """Ask an address for an answer, whichever."""
    request = urllib.request.Request(shown(address), method="HEAD")
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S):
            pass
    except urllib.error.HTTPError:
        pass  # an answer all the same
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        words = getattr(reason, "strerror", None) or str(reason)
        advice = "look at network and proxy (HTTPS_PROXY), name another hub with HF_ENDPOINT, or "
        advice += "fetch from a folder: ptb prefetch PLAN --mirror DIR"
        return warning(f"{shown(address)} does not answer: {words}", advice)
    return ok(f"{shown(address)} answers")


def shown(address: str) -> str:
    """Return an address without the user and password that it may hold."""
    parts = urlsplit(address)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
