"""What a server that holds untrusted weights may cost us."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientLimits:
    """Bounds on time, size and patience.

    Attributes:
        reply_bytes: Largest reply.
        head_bytes: Room in a reply besides its tokens.
        token_bytes: Room in a reply for each token that was asked for.
        connect_s: Longest wait for a connection.
        reply_s: Longest time from question to whole answer, waiting in the server's queue
            included.
        stall_s: Longest time without any answer to any question while some are under way.
        tries: Most times that one question is asked.
        backoff_s: Wait before the second try; doubles with each further one.
    """

    reply_bytes: int = 64 * 2**20
    head_bytes: int = 2**20
    token_bytes: int = 512
    connect_s: float = 10.0
    reply_s: float = 4 * 3600.0
    stall_s: float = 3 * 3600.0
    tries: int = 4
    backoff_s: float = 0.5
