"""What the broker answers to evaluate.py, what it keeps to itself, and what it writes down."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ptb_core.broker.calls import REFUSALS_KEPT, CallEvent, CallLog, read_calls, use_of
from ptb_core.broker.client import BrokerClient, BrokerError, broker_client
from ptb_core.broker.messages import DevScore
from ptb_core.errors import UsageError
from ptb_core.evaluation.checking import CheckError
from ptb_core.evaluation.checks import GraderResult
from ptb_core.evaluation.exchange import Completion
from ptb_core.evaluation.protocol import PROTOCOLS
from ptb_core.specs import Sampling

from .conftest import ANSWERS, Graded, ScriptedGrader, StartBroker, answers, entry, lines
from .conftest import riddles_spec as spec

Log = Callable[[bytes], Path]


def quiet(*_: int) -> None:
    pass


def test_the_score_of_all_completions_is_that_of_the_task(start: StartBroker, log: Log) -> None:
    broker = start()
    given = {**ANSWERS, "q0": "wrong"}
    score = broker.client.score(None, log(answers(given)), quiet)
    assert (score.value, score.n) == (0.75, 4)
    assert score.stderr == pytest.approx(0.25)


def test_the_samples_of_a_limit_are_told_in_the_tasks_own_order(start: StartBroker) -> None:
    broker = start()
    assert broker.client.samples(2) == ("q3", "q2")
    assert broker.client.samples(None) == tuple(ANSWERS)


def test_a_limit_is_scored_on_its_own_samples(start: StartBroker, log: Log) -> None:
    broker = start()
    score = broker.client.score(2, log(answers({"q3": ANSWERS["q3"], "q2": "no"})), quiet)
    assert (score.value, score.n) == (0.5, 2)


def test_only_numbers_come_back_and_no_breakdown_where_answers_stay_outside(
    start: StartBroker, log: Log
) -> None:
    broker = start(answers_outside=True)
    named = dict(zip(broker.client.samples(None), ANSWERS.values(), strict=True))
    score = broker.client.score(None, log(answers(named)), quiet)
    assert score == DevScore(value=1.0, stderr=0.0, n=4)


def test_samples_bear_no_ids_where_answers_stay_outside(start: StartBroker, log: Log) -> None:
    """An id can give the answer away, such as when the order of choices follows from it."""
    broker = start(answers_outside=True)
    assert broker.client.samples(2) == ("0004", "0003")
    with pytest.raises(BrokerError, match="'q3' is none of the 1 samples that the limit takes"):
        broker.client.score(1, log(answers({"q3": ANSWERS["q3"]})), quiet)
    assert broker.client.score(1, log(answers({"0004": ANSWERS["q3"]})), quiet).value == 1.0


def test_breakdowns_and_marks_are_told_where_the_data_lie_in_the_sandbox(
    start: StartBroker, log: Log
) -> None:
    score = start().client.score(None, log(answers(ANSWERS)), quiet)
    assert (score.breakdowns, score.marks) == ({"easy": 1.0}, {"odd": 1})


def test_every_round_of_a_protocol_with_seeds_counts(start: StartBroker, log: Log) -> None:
    seeded = replace(PROTOCOLS["strict"], seeds=(1, 2), sampling=Sampling(temperature=0.5))
    broker = start(protocol=seeded)
    right, wrong = lines([entry("q3", ANSWERS["q3"])]), lines([entry("q3", "no", epoch=2)])
    assert broker.client.score(1, log(right + wrong), quiet).value == 0.5
    with pytest.raises(BrokerError, match="1 of 2 completions are missing"):
        broker.client.score(1, log(right), quiet)


# Graders --------------------------------------------------------------------------------------


def test_a_grader_is_asked_outside_and_only_its_verdicts_come_back(
    start: StartBroker, log: Log
) -> None:
    grader = ScriptedGrader()
    broker = start(Graded(spec(("grader",))), grader=grader)
    assert (
        broker.client.score(2, log(answers({"q3": ANSWERS["q3"], "q2": "no"})), quiet).value == 0.5
    )
    assert sorted(grader.asked) == ["secret-0002 = no?", "secret-0003 = secret-0003?"]


def test_results_that_stand_in_the_posted_completions_count_for_nothing(
    start: StartBroker, log: Log
) -> None:
    """An agent cannot grade itself."""
    forged = Completion(text="no", checks={"same": GraderResult(text="yes")})
    broker = start(Graded(spec()), grader=ScriptedGrader())
    assert (
        broker.client.score(1, log(lines([entry("q3", "", completion=forged)])), quiet).value == 0
    )


def test_what_the_grader_fails_at_is_told_without_its_words(start: StartBroker, log: Log) -> None:
    grader = ScriptedGrader(CheckError("no key for https://inside.example"))
    broker = start(Graded(spec()), grader=grader)
    with pytest.raises(BrokerError) as caught:
        broker.client.score(1, log(answers({"q3": "x"})), quiet)
    assert str(caught.value) == (
        "there is no score: 1 of 1 samples could not be scored; the operator's log says why. It "
        "may help to ask again later"
    )
    assert broker.calls()[-1].reason == (
        "1 of 1 samples could not be scored: no key for https://inside.example"
    )


def test_checks_that_were_performed_before_a_failure_are_not_paid_again(
    start: StartBroker, log: Log
) -> None:
    grader = ScriptedGrader()
    broker = start(Graded(spec()), grader=grader)
    half = answers({"q3": "x", "q2": "raise"})
    with pytest.raises(BrokerError, match="1 of 2 samples could not be scored"):
        broker.client.score(2, log(half), quiet)
    with pytest.raises(BrokerError, match="1 of 2 samples could not be scored"):
        broker.client.score(2, log(half), quiet)
    assert len(grader.asked) == 2


def test_what_a_task_raises_is_kept_from_the_sandbox(start: StartBroker, log: Log) -> None:
    broker = start()
    with pytest.raises(BrokerError) as caught:
        broker.client.score(1, log(answers({"q3": "raise"})), quiet)
    assert "secret" not in str(caught.value)
    assert "the target was secret-0003" in str(broker.calls()[-1].reason)


# What is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limit", "posted", "words"),
    [
        (2, answers({"q3": "x"}), "1 of 2 completions are missing; a score needs all of the"),
        (2, answers({"q3": "x", "q0": "x"}), "line 2 .*'q0' is none of the 2 samples that the"),
        (None, answers({"zz": "x"}), "line 1 of the completions: 'zz' is none of the 4 samples"),
        (1, answers({"q3": "x"}) * 2, "line 2 .* call 0 of sample 'q3' stands there twice"),
        (1, lines([entry("q3", "x", call=1)]), "found call 1 of 1, expected one of 1 from 0"),
        (1, lines([entry("q3", "x", call=-1)]), "found call -1 of 1, expected one of 1 from 0"),
        (1, lines([entry("q3", "x", calls=2)]), "found call 0 of 2, expected one of 1 from 0"),
        (1, lines([entry("q3", "x", epoch=2)]), "found round 2, expected one of 1 from 1"),
        (1, b"{}\n", "line 1 of the completions cannot be read .*missing required field `id`"),
        (1, b"\xff\xfe\n", "line 1 of the completions cannot be read"),
        (1, b"[" * 100_000 + b"\n", "line 1 of the completions cannot be read"),
        (0, answers({}) + b"\n", "a limit of 0 takes no sample"),
        (-1, b"x", "a limit of -1 takes no sample"),
    ],
)
def test_completions_that_are_not_those_asked_for_are_refused(
    start: StartBroker, log: Log, limit: int | None, posted: bytes, words: str
) -> None:
    broker = start()
    with pytest.raises(BrokerError, match=f"there is no score: .*{words}"):
        broker.client.score(limit, log(posted), quiet)
    (event,) = broker.calls()
    assert event.event == "refused"
    assert broker.client.score(1, log(answers({"q3": ANSWERS["q3"]})), quiet).value == 1.0


def test_a_line_of_unheard_length_is_refused(
    start: StartBroker, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ptb_core.broker.received.LINE_BYTES", 100)
    with pytest.raises(BrokerError, match="a line of the completions is longer than 100 bytes"):
        start().client.score(1, log(answers({"q3": "x" * 200})), quiet)


def test_more_completions_than_the_broker_accepts_are_not_sent(
    start: StartBroker, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ptb_core.broker.client.BODY_BYTES", 10)
    with pytest.raises(BrokerError, match=r"the broker accepts 10; give a smaller --limit or"):
        start().client.score(1, log(answers({"q3": "x"})), quiet)


def test_scores_beyond_the_plans_number_are_refused_but_for_known_completions(
    start: StartBroker, log: Log
) -> None:
    broker = start(most_calls=2)
    first = answers({"q3": "a"})
    for text in ("a", "b"):
        broker.client.score(1, log(answers({"q3": text})), quiet)
    with pytest.raises(BrokerError, match="all 2 scores that this run grants have been given"):
        broker.client.score(1, log(answers({"q3": "c"})), quiet)
    assert broker.client.score(1, log(first), quiet).value == 0.0


def test_forged_results_make_no_other_completions_of_known_ones(
    start: StartBroker, log: Log
) -> None:
    broker = start(Graded(spec()), grader=ScriptedGrader(), most_calls=1)
    for checks in ({}, {"same": GraderResult(text="yes")}):
        forged = Completion(text="no", checks=checks)
        posted = log(lines([entry("q3", "", completion=forged)]))
        assert broker.client.score(1, posted, quiet).value == 0.0
    first, second = (e.completions for e in broker.calls() if e.event == "asked")
    assert first == second


def test_the_number_of_scores_outlives_the_broker(start: StartBroker, log: Log) -> None:
    first = start(most_calls=1)
    first.client.score(1, log(answers({"q3": "a"})), quiet)
    first.server.__exit__()
    second = start(most_calls=1)
    with pytest.raises(BrokerError, match="all 1 scores that this run grants"):
        second.client.score(1, log(answers({"q3": "b"})), quiet)


def test_a_sandbox_without_a_broker_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PTB_BROKER", raising=False)
    with pytest.raises(UsageError, match=r"PTB_BROKER names no socket; evaluate.py has its"):
        broker_client()


def test_a_broker_that_never_answers_is_waited_for_and_then_named(tmp_path: Path) -> None:
    client = BrokerClient(tmp_path / "none", patience_s=0.0)
    with pytest.raises(BrokerError, match=r"none gives no answer \(No such file or directory\)"):
        client.samples(1)


# What is written down -------------------------------------------------------------------------


def test_every_score_is_written_down_with_what_it_was_for(start: StartBroker, log: Log) -> None:
    broker = start()
    for middle in ("b", ANSWERS["q2"]):
        given = {"q3": "a", "q2": middle, "q1": "c"}
        broker.client.score(3, log(answers(given)), quiet)
    asked_1, scored_1, asked_2, scored_2 = broker.calls()
    assert [e.event for e in (asked_1, scored_1)] == ["asked", "scored"]
    assert (asked_1.number, asked_1.limit, asked_1.n, asked_1.changed) == (1, 3, 3, None)
    assert (asked_2.number, asked_2.changed) == (2, 1)
    assert asked_1.completions != asked_2.completions
    assert (scored_1.value, scored_2.value) == (0.0, 1 / 3)
    text = (broker.folder / "calls.jsonl").read_text()
    assert not any(answer in text for answer in ANSWERS.values())


def test_nothing_that_was_posted_stays(start: StartBroker, log: Log) -> None:
    broker = start(Graded(spec()), grader=ScriptedGrader())
    broker.client.score(1, log(answers({"q3": "a"})), quiet)
    assert [path.name for path in broker.folder.iterdir()] == ["calls.jsonl"]


def test_a_flood_of_refusals_fills_no_disk(tmp_path: Path) -> None:
    log = CallLog(tmp_path / "calls.jsonl")
    for _ in range(REFUSALS_KEPT + 50):
        log.refused("nonsense")
    log.close()
    events = read_calls(tmp_path / "calls.jsonl")
    assert len(events) == REFUSALS_KEPT
    assert events[-1].reason == "nonsense; further refusals are not written down"


def test_a_line_that_a_full_disk_cut_off_spoils_no_later_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "calls.jsonl"
    log = CallLog(path)
    log.refused("one")

    def torn(descriptor: int, content: bytes) -> None:
        os.write(descriptor, content[:7])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("ptb_core.evaluation.json_log.write_all", torn)
        with pytest.raises(OSError, match="No space left"):
            log.refused("two")
    log.refused("three")
    log.close()
    assert [event.reason for event in read_calls(path)] == ["one", "three"]


def call(number: int, n: int, changed: int | None) -> list[CallEvent]:
    return [
        CallEvent(event="asked", unix_s=0, number=number, n=n, changed=changed),
        CallEvent(event="scored", unix_s=0, number=number, value=0.5),
    ]


@pytest.mark.parametrize(
    ("n", "changed", "is_probe"),
    [
        (32, None, False),
        (32, 0, False),
        (32, 1, True),
        (32, 2, False),
        (100, 5, True),
        (100, 6, False),
        (1, None, True),
        (1, 0, True),
    ],
)
def test_scores_asked_as_one_asks_an_oracle_are_counted(
    n: int, changed: int | None, is_probe: bool
) -> None:
    use = use_of(call(1, n, changed))
    assert (use.scores, use.samples, use.probes) == (1, n, int(is_probe))


def test_only_scores_that_were_told_count_as_use() -> None:
    refused = CallEvent(event="refused", unix_s=0, reason="x")
    failed = CallEvent(event="failed", unix_s=0, number=2, reason="x")
    use = use_of([*call(1, 4, None), call(2, 4, 1)[0], failed, refused])
    assert (use.scores, use.samples, use.probes, use.refusals) == (1, 4, 0, 1)


def test_the_log_is_plain_json(start: StartBroker, log: Log) -> None:
    broker = start()
    broker.client.score(1, log(answers({"q3": "a"})), quiet)
    rows = [json.loads(row) for row in (broker.folder / "calls.jsonl").read_text().splitlines()]
    assert [row["event"] for row in rows] == ["asked", "scored"]
