"""The grader behind any endpoint that speaks OpenAI's chat completions."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

import msgspec

from ptb_core.errors import RecordError, printable
from ptb_core.evaluation.checking import CheckError, Grader, StopCheckingError
from ptb_core.evaluation.checks import GraderCheck, GraderResult
from ptb_core.grading.client import GraderClient, request_body
from ptb_core.grading.endpoint import host_of, named
from ptb_core.grading.failures import SCORE_AGAIN, HalfAnswerError, UnavailableError
from ptb_core.grading.ledger import Ledger
from ptb_core.grading.patience import GraderLimits, Patience, Timing
from ptb_core.grading.prices import TokenUse, cost_usd
from ptb_core.grading.replies import GraderReply
from ptb_core.grading.replies_cache import KeptReply, RepliesCache, request_digest
from ptb_core.grading.terms import GraderTerms
from ptb_core.specs import JsonValue

SHOWN_CHARACTERS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class GraderPlace:
    """Where a grader keeps what it was told and what that cost.

    Attributes:
        replies: Folder of kept replies.
        ledger: Folder of bookings, shared by all that spend from one budget.
        scope: What is spent on, such as a cell's id.
    """

    replies: Path
    ledger: Path
    scope: str


@dataclass(slots=True)
class _Counts:
    asked: int = 0
    cached: int = 0
    half: int = 0
    refused: int = 0
    unmetered: int = 0
    missing: int = 0
    unanswered_in_a_row: int = 0


@dataclass(slots=True)
class _Open:
    """What is open between entering and leaving."""

    client: GraderClient
    cache: RepliesCache
    ledger: Ledger
    patience: Patience
    slots: asyncio.Semaphore
    asking: dict[str, asyncio.Lock] = field(default_factory=dict)


class OpenAiGrader(Grader):
    """Asks one model; use as an asynchronous context manager, as often as there are rounds.

    A question that was ever answered to a task's liking is not put again: its reply is kept.

    Args:
        terms: Which grader, and what it may cost.
        place: Where replies and costs are kept.
        prompts: Wordings that the task's questions are made from, by name; only their digests
            are used, for :meth:`facts`.
        limits: Bounds on time, size and patience.
        timing: Clocks.
    """

    def __init__(
        self,
        terms: GraderTerms,
        place: GraderPlace,
        *,
        prompts: Mapping[str, str] | None = None,
        limits: GraderLimits | None = None,
        timing: Timing | None = None,
    ) -> None:
        self.max_in_flight = terms.grader.max_in_flight
        self._terms, self._spec, self._place = terms, terms.grader, place
        self._limits, self._timing = limits or GraderLimits(), timing or Timing()
        self._prompts = {
            name: hashlib.sha256(text.encode()).hexdigest()
            for name, text in sorted((prompts or {}).items())
        }
        self._counts = _Counts()
        self._stopped: StopCheckingError | None = None
        self._open: _Open | None = None
        self._cache: RepliesCache | None = None
        self._ledger: Ledger | None = None
        self._patience = Patience(self._limits, self._timing)

    async def __aenter__(self) -> OpenAiGrader:
        """Read what is kept, and the key.

        Nothing is asked yet, and a missing key is no error until it is needed: everything may be
        kept already.

        Raises:
            RecordError: If kept replies or bookings are damaged.
        """
        if self._cache is None or self._ledger is None:
            self._cache = RepliesCache(self._place.replies)
            self._ledger = Ledger(self._place.ledger, self._place.scope, self._timing.now)
        client = GraderClient(self._spec, self._limits, self._timing)
        try:
            await client.__aenter__()
        except StopCheckingError as error:
            self._stopped = error
        self._open = _Open(
            client=client,
            cache=self._cache,
            ledger=self._ledger,
            patience=self._patience,
            slots=asyncio.Semaphore(max(1, self.max_in_flight)),
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close connections and files."""
        if self._open is None:
            return
        here, self._open = self._open, None
        try:
            await here.client.__aexit__(kind, error, trace)
        finally:
            here.cache.close()
            here.ledger.close()

    async def ask(self, check: GraderCheck, accepts: Callable[[str], bool]) -> GraderResult:
        """Return the first reply that ``accepts`` takes, kept or asked for.

        Raises:
            CheckError: If there is none after the check's tries, or within the time for a
                question.
            StopCheckingError: If no further question can be asked: no key, a refused one, no such
                model, no quota, no answer to many in a row, or the budget is spent.
            OSError: If a reply cannot be kept.
        """
        here = self._open
        assert here is not None, "a grader is asked between entering and leaving it"
        body = request_body(self._spec, check)
        request = request_digest(self._spec.base_url, body)
        async with here.asking.setdefault(request, asyncio.Lock()):
            kept = here.cache.get(request, accepts)
            if kept is not None:
                self._counts.cached += 1
                return GraderResult(text=kept.text, tries=kept.tries)
            async with here.slots:
                try:
                    result = await self._until_accepted(here, check, body, accepts)
                except StopCheckingError as error:
                    self._stopped = error
                    raise
                except CheckError:
                    self._counts.missing += 1
                    raise
            here.cache.put(KeptReply(request=request, text=result.text, tries=result.tries))
            return result

    def facts(self) -> dict[str, JsonValue]:
        """Return what a record keeps of the grading; never a key.

        ``now`` counts what this grader did, ``scope`` what was ever booked on its scope, earlier
        attempts included, also when all replies were there already. Costs are None when the price
        is not known, the scope when its bookings are damaged.
        """
        counts, ledger = self._counts, self._booked()
        now = ledger.own if ledger else None
        scope = ledger.of_scope() if ledger else None
        is_priced = self._terms.price is not None
        return {
            "model": self._spec.model,
            "endpoint": host_of(self._spec.base_url),
            "prompts": dict(self._prompts),
            "price": msgspec.to_builtins(self._terms.price),
            "budget_usd": self._terms.budget_usd,
            "max_in_flight": self.max_in_flight,
            "now": {
                "asked": counts.asked,
                "kept": counts.cached,
                "retries": self._patience.retries,
                "half_answers": counts.half,
                "refused_replies": counts.refused,
                "missing": counts.missing,
                "unmetered_replies": counts.unmetered,
                **_sums(now, is_priced),
            },
            "scope": {"replies": scope.replies, **_sums(scope, is_priced)} if scope else None,
        }

    def _booked(self) -> Ledger | None:
        try:
            return self._ledger or Ledger(self._place.ledger, self._place.scope, self._timing.now)
        except RecordError:
            return None

    async def _until_accepted(
        self,
        here: _Open,
        check: GraderCheck,
        body: Mapping[str, JsonValue],
        accepts: Callable[[str], bool],
    ) -> GraderResult:
        deadline_s = self._timing.now() + self._limits.question_s
        last = ""
        for number in range(1, max(1, check.tries) + 1):
            if number > 1 and self._timing.now() >= deadline_s:
                last += f", and the {self._limits.question_s:g} s for one question are over"
                break
            try:
                reply = await self._answer(here, body, deadline_s)
            except HalfAnswerError as error:
                self._counts.half += 1
                last = str(error)
                if number < check.tries:
                    await self._timing.sleep(here.patience.wait_s(number))
                continue
            if accepts(reply.text):
                return GraderResult(text=reply.text, tries=number)
            self._counts.refused += 1
            last = f"the task finds no verdict in {printable(reply.text[:SHOWN_CHARACTERS])!r}"
        raise CheckError(
            f"{named(self._spec)} gave no usable reply to {check.name!r} in {number} tries; the "
            f"last: {last}"
        )

    async def _answer(
        self, here: _Open, body: Mapping[str, JsonValue], deadline_s: float
    ) -> GraderReply:
        try:
            reply = await here.patience.until_answered(
                lambda: self._once(here, body, deadline_s), deadline_s
            )
        except UnavailableError as error:
            self._counts.unanswered_in_a_row += 1
            if self._counts.unanswered_in_a_row >= self._limits.unanswered:
                raise StopCheckingError(
                    f"{error}; {self._counts.unanswered_in_a_row} questions in a row went "
                    f"unanswered, so no further one is put: {SCORE_AGAIN} when it answers"
                ) from None
            raise
        self._counts.unanswered_in_a_row = 0
        return reply

    async def _once(
        self, here: _Open, body: Mapping[str, JsonValue], deadline_s: float
    ) -> GraderReply:
        self._raise_if_stopped(here.ledger)
        left_s = deadline_s - self._timing.now()
        if left_s <= 0:
            raise UnavailableError(
                f"{named(self._spec)} gave no answer in the {self._limits.question_s:g} s for one "
                "question"
            )
        self._counts.asked += 1
        try:
            reply = await here.client.ask(body, min(self._spec.timeout_s, left_s))
        except HalfAnswerError as error:
            self._counts.unanswered_in_a_row = 0
            self._book(here.ledger, error.use, body)
            raise
        self._book(here.ledger, reply.use, body)
        return reply

    def _raise_if_stopped(self, ledger: Ledger) -> None:
        if self._stopped is not None:
            raise StopCheckingError(str(self._stopped))
        budget = self._terms.budget_usd
        if budget is None:
            return
        try:
            spent = ledger.spent_usd()
        except (RecordError, OSError) as error:
            raise StopCheckingError(
                f"what grading has cost cannot be told, so nothing more is spent: {error}"
            ) from error
        if spent >= budget:
            raise StopCheckingError(
                f"the budget for grading is spent: {spent:.4g} of {budget:g} USD; raise "
                "`budgets.grader_usd`, in a plan's case call `ptb run` on its run folder, and "
                f"{SCORE_AGAIN}"
            )

    def _book(self, ledger: Ledger, use: TokenUse | None, body: Mapping[str, JsonValue]) -> None:
        """Book a reply; one that does not say what it took is booked at the most it can take."""
        if use is None:
            self._counts.unmetered += 1
            use = TokenUse(
                input_tokens=len(msgspec.json.encode(body)),
                output_tokens=int(body["max_completion_tokens"]),
            )
        price = self._terms.price
        ledger.book(use, 0.0 if price is None else cost_usd(use, price))


def _sums(spending: object, is_priced: bool) -> dict[str, JsonValue]:
    facts = msgspec.to_builtins(spending) if spending is not None else {}
    sums = {name: facts.get(name, 0) for name in ("input_tokens", "cached_tokens", "output_tokens")}
    return {**sums, "usd": facts.get("usd", 0.0) if is_priced else None}
