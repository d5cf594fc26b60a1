"""What grading has cost so far, over all cells of a run and everybody who works on them.

Every reply is booked before its text is used. Before each request a writer adds up what all have
booked; others' bookings are looked at every :data:`REFRESH_S` seconds, less often where looking
takes long. The limit can therefore be
passed by the requests that are under way at that moment in all processes together, and by what
others booked within those seconds: never by more questions than that.

Requests that break off or time out without a whole reply are not booked, though the endpoint may
bill them: nobody but the endpoint knows at what.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from ptb_core.grading.prices import TokenUse
from ptb_core.grading.shared_log import SharedLog

REFRESH_S = 2.0
RESTS = 20
"""Looking at others' bookings takes at most one part in so many of the time."""


class Spending(msgspec.Struct, frozen=True, kw_only=True):
    """One booking, or the sum of several.

    Attributes:
        scope: What it was spent on: the id of a cell.
        replies: Replies.
        input_tokens: Prompt tokens, cached ones included.
        cached_tokens: Those of them that the endpoint took from its cache.
        output_tokens: Answer tokens, reasoning included.
        usd: What they cost; 0 when the price is not known.
    """

    scope: str
    replies: int = 0
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    usd: float = 0.0


def total(scope: str, entries: Iterable[Spending]) -> Spending:
    """Return the sum of bookings, booked on ``scope``."""
    each = tuple(entries)
    return Spending(
        scope=scope,
        replies=sum(one.replies for one in each),
        input_tokens=sum(one.input_tokens for one in each),
        cached_tokens=sum(one.cached_tokens for one in each),
        output_tokens=sum(one.output_tokens for one in each),
        usd=sum(one.usd for one in each),
    )


class Ledger:
    """The bookings in a folder.

    Args:
        folder: Where all writers book.
        scope: What this one spends on.
        now: Seconds that only grow.

    Attributes:
        own: What this writer has booked.

    Raises:
        RecordError: If a file in the folder is damaged.
    """

    def __init__(self, folder: Path, scope: str, now: Callable[[], float]) -> None:
        self.own = Spending(scope=scope)
        self._log = SharedLog(folder, Spending, "booking")
        self._now = now
        self._others: dict[Path, tuple[tuple[int, int, int], list[Spending]]] = {}
        self._read()

    def book(self, use: TokenUse, usd: float) -> None:
        """Book one reply.

        Raises:
            OSError: If it cannot be written.
        """
        entry = Spending(
            scope=self.own.scope,
            replies=1,
            input_tokens=use.input_tokens,
            cached_tokens=use.cached_tokens,
            output_tokens=use.output_tokens,
            usd=usd,
        )
        self._log.append(entry)
        self.own = total(self.own.scope, (self.own, entry))

    def spent_usd(self) -> float:
        """Return what all have spent, as far as it is known here.

        Raises:
            RecordError: If another's file is damaged.
        """
        if self._now() - self._read_at >= self._rest_s:
            self._read()
        return self._others_usd + self.own.usd

    def of_scope(self) -> Spending:
        """Return what was ever spent on this writer's scope, as far as it is known here."""
        others = (entry for _, entries in self._others.values() for entry in entries)
        scope = self.own.scope
        return total(scope, (self.own, *(entry for entry in others if entry.scope == scope)))

    def close(self) -> None:
        """End writing, and leave the sum in place of the bookings."""
        self._log.close(self.own)

    def _read(self) -> None:
        begun = self._now()
        for path, state in self._log.files():
            known = self._others.get(path)
            if known is None or known[0] != state:
                self._others[path] = (state, self._log.read(path))
        self._read_at = self._now()
        self._rest_s = max(REFRESH_S, RESTS * (self._read_at - begun))
        self._others_usd = sum(
            entry.usd for _, entries in self._others.values() for entry in entries
        )
