"""What grading costs: prices, bookings of many writers, the budget they share."""

from __future__ import annotations

from typing import Any

import pytest

from ptb_core.errors import RecordError
from ptb_core.evaluation.checking import StopCheckingError
from ptb_core.evaluation.checks import GraderResult
from ptb_core.grading.ledger import REFRESH_S, Ledger
from ptb_core.grading.prices import TokenUse, cost_usd, known_price
from ptb_core.specs import GraderSpec, TokenPrice
from ptb_core.testing.grader import CUT_OFF, ScriptedGrader, in_turn, saying

from .conftest import Asking, check

PRICE = TokenPrice(
    input_usd_per_million_tokens=100_000.0,
    output_usd_per_million_tokens=200_000.0,
    cached_usd_per_million_tokens=10_000.0,
)
"""A reply of the scripted grader (10 + 5 tokens) costs 2 USD."""


def test_cached_tokens_have_their_own_price_or_that_of_others():
    use = TokenUse(input_tokens=1000, cached_tokens=400, output_tokens=50)
    assert cost_usd(use, PRICE) == pytest.approx(60 + 4 + 10)
    plain = TokenPrice(input_usd_per_million_tokens=100_000, output_usd_per_million_tokens=200_000)
    assert cost_usd(use, plain) == pytest.approx(100 + 10)


def test_the_default_graders_price_is_known_at_its_own_address_only():
    price = known_price(GraderSpec())
    assert price is not None
    assert cost_usd(TokenUse(input_tokens=10**6, output_tokens=10**6), price) == 2.25
    assert known_price(GraderSpec(base_url="https://elsewhere.example/v1")) is None
    assert known_price(GraderSpec(model="gpt-7")) is None


# Bookings -------------------------------------------------------------------------------------


def test_writers_see_what_others_booked_and_each_cell_its_own_sum(tmp_path):
    time = [0.0]
    one, other = (Ledger(tmp_path, scope, lambda: time[0]) for scope in ("a", "b"))
    one.book(TokenUse(input_tokens=3, output_tokens=4), 0.5)
    other.book(TokenUse(input_tokens=1, cached_tokens=1, output_tokens=2), 0.25)
    assert (one.spent_usd(), other.spent_usd()) == (0.5, 0.25)
    time[0] = REFRESH_S
    assert (one.spent_usd(), other.spent_usd()) == (0.75, 0.75)
    other.book(TokenUse(), 4.0)
    assert one.spent_usd() == 0.75
    time[0] = 1.5 * REFRESH_S
    assert one.spent_usd() == 0.75
    time[0] = 2 * REFRESH_S
    assert one.spent_usd() == 4.75
    one.close()
    other.close()
    third = Ledger(tmp_path, "a", lambda: time[0])
    assert third.spent_usd() == 4.75
    assert third.of_scope() == one.own


def test_a_closed_ledger_leaves_one_line_with_the_sum(tmp_path):
    ledger = Ledger(tmp_path, "a", lambda: 0.0)
    for _ in range(1000):
        ledger.book(TokenUse(input_tokens=1, output_tokens=2), 0.5)
    ledger.close()
    (file,) = tmp_path.iterdir()
    assert file.read_bytes() == (
        b'{"scope":"a","replies":1000,"input_tokens":1000,"cached_tokens":0,"output_tokens":2000,'
        b'"usd":500.0}\n'
    )


def test_others_are_looked_at_less_often_where_looking_takes_long(tmp_path):
    """A folder of ten thousand files on a slow file server must not stop the grading."""
    time = [0.0]
    looks: list[float] = []

    def now() -> float:
        time[0] += 1.0
        return time[0]

    ledger = Ledger(tmp_path, "a", now)
    other = Ledger(tmp_path, "b", lambda: 0.0)
    for usd in range(1, 60):
        other.book(TokenUse(), 1.0)
        if ledger.spent_usd() == usd:
            looks.append(time[0])
    other.close()
    assert len(looks) == 2
    assert looks[1] - looks[0] >= 20


def test_nothing_booked_leaves_no_file(tmp_path):
    Ledger(tmp_path / "none", "a", lambda: 0.0).close()
    assert not (tmp_path / "none").exists()


def test_the_bookings_of_a_killed_writer_count_up_to_its_last_whole_line(tmp_path):
    ledger = Ledger(tmp_path, "a", lambda: 0.0)
    for _ in range(3):
        ledger.book(TokenUse(), 1.0)
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-4])
    assert Ledger(tmp_path, "b", lambda: 0.0).spent_usd() == 2.0
    ledger.close()


def test_a_damaged_booking_is_told_with_file_and_line(tmp_path):
    (tmp_path / "x.jsonl").write_text('{"scope": 5}\n', "utf-8")
    with pytest.raises(RecordError, match=r"x\.jsonl, line 1: found damaged JSON .* one booking"):
        Ledger(tmp_path, "a", lambda: 0.0)


# The budget -----------------------------------------------------------------------------------


def spend(asking: Asking, n: int, budget_usd: float, **options: Any) -> list[Any]:
    answer = options.pop("answer", saying("fine"))
    with ScriptedGrader(in_turn(answer)) as server:
        options = {"price": PRICE, "budget_usd": budget_usd, **options}
        return asking.ask(server, *(check(str(number)) for number in range(n)), **options)


def test_a_spent_budget_ends_the_grading_and_what_was_paid_is_kept(asking):
    results = spend(asking, 5, 5.0)
    assert [isinstance(result, GraderResult) for result in results] == [True] * 3 + [False] * 2
    assert isinstance(results[3], StopCheckingError)
    assert str(results[3]) == (
        "the budget for grading is spent: 6 of 5 USD; raise `budgets.grader_usd`, in a plan's case "
        "call `ptb run` on its run folder, and score again (`ptb retry`, or the same `ptb "
        "evaluate`; replies so far are kept)"
    )
    assert asking.facts["now"]["usd"] == asking.facts["scope"]["usd"] == 6.0
    assert asking.facts["price"]["output_usd_per_million_tokens"] == 200_000.0
    assert asking.facts["budget_usd"] == 5.0


def test_kept_replies_cost_nothing_when_the_budget_is_spent(asking):
    with ScriptedGrader(in_turn(saying("fine"))) as server:
        options = {"price": PRICE, "budget_usd": 2.0}
        asking.ask(server, check("a"), **options)
        kept, refused = asking.ask(server, check("a"), check("b"), **options)
    assert kept == GraderResult(text="fine")
    assert isinstance(refused, StopCheckingError)


def test_cells_share_one_budget(asking):
    assert len([r for r in spend(asking, 2, 5.0) if isinstance(r, GraderResult)]) == 2
    results = spend(asking, 3, 5.0, scope="another", replies="of-another")
    assert [isinstance(result, GraderResult) for result in results] == [True, False, False]
    assert asking.facts["scope"]["usd"] == 2.0


def test_a_budget_of_nothing_lets_nothing_be_asked(asking):
    (result,) = spend(asking, 1, 0.0)
    assert isinstance(result, StopCheckingError)
    assert asking.facts["now"]["asked"] == 0


def test_what_is_under_way_when_the_budget_ends_is_all_that_can_pass_it(asking):
    import asyncio

    with ScriptedGrader(in_turn(saying("fine")), hold=7) as server:
        grader = asking.grader(server, price=PRICE, budget_usd=1.0, max_in_flight=7)

        async def put() -> None:
            async with grader:
                await asyncio.gather(
                    *(grader.ask(check(str(n)), lambda _: True) for n in range(50)),
                    return_exceptions=True,
                )

        asyncio.run(put())
    assert len(server.questions) == 7
    assert grader.facts()["now"]["usd"] == 14.0


@pytest.mark.parametrize(
    "answer",
    [
        CUT_OFF,
        saying("fine", usage={}),
        saying("fine", usage={"prompt_tokens": 5}),
        saying("fine", usage={"completion_tokens": 5}),
        saying("fine", usage={"prompt_tokens": -1, "completion_tokens": 5}),
        saying("fine", usage={"prompt_tokens": 5, "completion_tokens": True}),
        saying("fine", usage={"prompt_tokens": "5", "completion_tokens": 5.0}),
    ],
)
def test_a_reply_that_does_not_say_what_it_took_is_booked_at_the_most_it_can_take(asking, answer):
    (_,) = spend(asking, 1, 100.0, answer=answer)
    facts = asking.facts["now"]
    assert facts["unmetered_replies"] == facts["asked"] >= 1
    assert facts["output_tokens"] == 100 * facts["asked"]
    assert facts["input_tokens"] > 50 * facts["asked"]


def test_half_answers_are_booked_as_well(asking):
    (result,) = spend(asking, 1, 100.0, answer=saying("ha", finish_reason="length"))
    assert "ended for the reason 'length'" in str(result)
    assert asking.facts["now"]["usd"] == 10.0
    assert asking.facts["now"]["unmetered_replies"] == 0


def test_a_reply_that_says_it_took_nothing_is_booked_at_nothing(asking):
    usage = {"prompt_tokens": 0, "completion_tokens": 0}
    spend(asking, 1, 100.0, answer=saying("fine", usage=usage))
    assert (asking.facts["now"]["unmetered_replies"], asking.facts["now"]["usd"]) == (0, 0.0)


def test_tokens_from_the_endpoints_cache_are_booked_at_their_price(asking):
    usage = {
        "prompt_tokens": 10,
        "completion_tokens": 5,
        "prompt_tokens_details": {"cached_tokens": 10},
    }
    spend(asking, 1, 100.0, answer=saying("fine", usage=usage))
    assert asking.facts["now"]["usd"] == pytest.approx(1.1)


def test_bookings_damaged_meanwhile_stop_the_spending(asking):
    def script(question):
        (asking.folder / "ledger" / "x.jsonl").write_text("{}\n", "utf-8")
        asking.clock.seconds += REFRESH_S
        return saying("fine")

    (asking.folder / "ledger").mkdir()
    with ScriptedGrader(script) as server:
        _, second = asking.ask(server, check("a"), check("b"), price=PRICE, budget_usd=9.0)
    assert isinstance(second, StopCheckingError)
    assert "what grading has cost cannot be told, so nothing more is spent: " in str(second)
