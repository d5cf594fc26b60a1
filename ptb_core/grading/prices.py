"""What the grader's tokens cost."""

from __future__ import annotations

from dataclasses import dataclass

from ptb_core.data import data_dir
from ptb_core.grading.endpoint import host_of
from ptb_core.schemas import load_json
from ptb_core.specs import GraderSpec, TokenPrice

MILLION = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenUse:
    """Tokens of one request or of several.

    Attributes:
        input_tokens: Prompt tokens, cached ones included.
        cached_tokens: Those of them that the endpoint took from its own cache.
        output_tokens: Answer tokens, reasoning included.
    """

    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0


def known_price(spec: GraderSpec) -> TokenPrice | None:
    """Return the price that ``registry/prices.json`` has for a model at its endpoint.

    The same name at another host is another offer, so its price is not known.
    """
    prices = load_json(data_dir() / "registry" / "prices.json")
    host = host_of(spec.base_url)
    for entry in prices["llm_tokens"]:
        if entry["model"] == spec.model and host in entry.get("hosts", ()):
            return TokenPrice(
                input_usd_per_million_tokens=entry["input_usd_per_million_tokens"],
                cached_usd_per_million_tokens=entry.get("cached_usd_per_million_tokens"),
                output_usd_per_million_tokens=entry["output_usd_per_million_tokens"],
            )
    return None


def cost_usd(use: TokenUse, price: TokenPrice) -> float:
    """Return what tokens cost, in US dollars."""
    fresh = use.input_tokens - use.cached_tokens
    cached = price.cached_usd_per_million_tokens
    if cached is None:
        cached = price.input_usd_per_million_tokens
    return (
        fresh * price.input_usd_per_million_tokens
        + use.cached_tokens * cached
        + use.output_tokens * price.output_usd_per_million_tokens
    ) / MILLION
