"""One round per seed: what is asked, and how scores are averaged."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from scripted_server import ScriptedServer, chat_reply

from ptb_core.api import ChatRequest, TaskScore
from ptb_core.evaluation.client_limits import ClientLimits
from ptb_core.evaluation.completion_log import read_completions
from ptb_core.evaluation.generate import (
    GenerateOptions,
    SampleRequests,
    generate,
    generate_rounds,
    sum_up,
)
from ptb_core.evaluation.protocol import PAPER_V1, STRICT
from ptb_core.evaluation.questions import sample_seed
from ptb_core.evaluation.rounds import Round, average, options_of, rounds_of, seed_table
from ptb_core.specs import Sampling, Scoring

SEEDED = GenerateOptions(
    requests="seeded",
    max_tokens=9,
    sampling=Sampling(seed=1, temperature=1.0),
    limits=ClientLimits(tries=1),
)
SAMPLES = [
    SampleRequests(id=name, requests=(ChatRequest(messages=({"role": "user", "content": name},)),))
    for name in "ab"
]


def tell_seed(_: str, body: dict[str, Any]) -> tuple[int, Any]:
    return 200, chat_reply(str(body["seed"]))


@pytest.mark.parametrize(
    ("protocol", "expected"),
    [
        (PAPER_V1, (Round(number=1, seed=None),)),
        (STRICT, (Round(number=1, seed=42),)),
        (replace(STRICT, seeds=(7,)), (Round(number=1, seed=7),)),
        (replace(STRICT, seeds=(7, 5)), (Round(number=1, seed=7), Round(number=2, seed=5))),
    ],
)
def test_a_protocol_has_one_round_per_seed(protocol: Any, expected: tuple[Round, ...]) -> None:
    assert rounds_of(protocol) == expected


def test_a_seed_gives_the_same_alone_and_beside_others(tmp_path: Path) -> None:
    rounds = rounds_of(replace(STRICT, seeds=(72332, 87681)))
    with ScriptedServer(tell_seed) as server:
        both = generate_rounds(rounds, SAMPLES, server.endpoint, SEEDED, tmp_path / "both.jsonl")
        alone = generate(
            SAMPLES,
            server.endpoint,
            options_of(Round(number=1, seed=87681), SEEDED),
            tmp_path / "alone.jsonl",
        )
    assert both[1].completions == alone.completions
    assert both[0].completions["a"][0].text == str(sample_seed(72332, "a", 1, 0))
    for number, result in enumerate(both, start=1):
        assert read_completions(tmp_path / "both.jsonl", number) == result.completions


def test_rounds_resume_and_count_progress_over_all_of_them(tmp_path: Path) -> None:
    rounds = rounds_of(replace(STRICT, seeds=(1, 2)))
    told: list[tuple[int, int]] = []

    def stop_after_three(done: int, total: int) -> None:
        told.append((done, total))
        if done == 3:
            raise KeyboardInterrupt

    log = tmp_path / "log.jsonl"
    with ScriptedServer(tell_seed) as server:
        with pytest.raises(KeyboardInterrupt):
            generate_rounds(rounds, SAMPLES, server.endpoint, SEEDED, log, stop_after_three)
        results = generate_rounds(rounds, SAMPLES, server.endpoint, SEEDED, log)
    assert {total for _, total in told} == {4}
    assert sum_up([result.summary for result in results]).resumed == 3
    assert sum_up([result.summary for result in results]).requests == 4


def test_a_round_without_answers_ends_the_call(tmp_path: Path) -> None:
    rounds = rounds_of(replace(STRICT, seeds=(1, 2)))
    with ScriptedServer(lambda _, body: (404, {"message": "none"})) as server:
        results = generate_rounds(rounds, SAMPLES, server.endpoint, SEEDED, tmp_path / "log.jsonl")
    assert len(results) == 1
    assert set(results[0].missing) == {"a", "b"}


def score(value: float, stderr: float | None, **fields: Any) -> TaskScore:
    return TaskScore(value=value, stderr=stderr, n=4, **fields)


def test_the_average_is_the_mean_with_the_error_of_one_evaluation() -> None:
    found = average(
        [
            score(0.25, 0.3, breakdowns={"easy": 1.0, "hard": 0.5}, marks={"truncated": 1}),
            score(0.75, 0.4, breakdowns={"easy": 0.0}, marks={"truncated": 2, "odd": 1}),
        ]
    )
    assert found == score(
        0.5,
        math.sqrt((0.09 + 0.16) / 2),
        breakdowns={"easy": 0.5, "hard": 0.5},
        marks={"odd": 1, "truncated": 3},
    )


def test_an_average_has_no_error_where_none_of_its_scores_has() -> None:
    assert average([score(0.2, None), score(0.4, None)]).stderr is None
    assert average([score(0.2, 0.1)]) == score(0.2, 0.1)


def test_the_record_shows_each_seed_and_their_spread() -> None:
    rounds = (Round(number=1, seed=3), Round(number=2, seed=4))
    first: dict[Scoring, TaskScore] = {"published": score(0.2, 0.1), "repaired": score(0.1, 0.1)}
    table = seed_table(rounds, [first, {"published": score(0.4, 0.1)}])
    assert table["per_seed"] == [
        {"seed": 3, "values": {"published": 0.2, "repaired": 0.1}},
        {"seed": 4, "values": {"published": 0.4}},
    ]
    assert table["spread"] == {"published": pytest.approx(math.sqrt(0.02))}
