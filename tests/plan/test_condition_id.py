"""Everything that a score depends on and a plan can say keeps rows apart."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ptb_core.evaluation.protocol import PAPER_V1, STRICT
from ptb_core.plan.read import condition_id
from ptb_core.specs import Condition, GraderSpec, ProtocolSpec, Sampling

CONDITION = Condition(hours=10, gpus=1)


@pytest.mark.parametrize(
    "protocol",
    [
        PAPER_V1,
        replace(STRICT, scoring="published"),
        replace(STRICT, limit=50),
        replace(STRICT, limit=51),
        replace(STRICT, max_tokens=2000),
        replace(STRICT, sampling=Sampling(seed=1)),
        replace(STRICT, sampling=Sampling(temperature=0.6)),
        replace(STRICT, seeds=(1, 2)),
        replace(STRICT, seeds=(1, 3)),
    ],
)
def test_another_protocol_limit_sampling_or_seed_is_another_condition(
    protocol: ProtocolSpec,
) -> None:
    assert condition_id(CONDITION, protocol) != condition_id(CONDITION, STRICT)


def test_another_grader_or_wording_is_another_condition_and_another_address_is_not() -> None:
    mine = GraderSpec(model="mine")
    ids = {
        condition_id(CONDITION, STRICT, grader)
        for grader in (None, mine, GraderSpec(model="other"), replace(mine, prompts={"t": "x"}))
    }
    assert len(ids) == 4
    elsewhere = replace(mine, base_url="http://localhost:1/v1", api_key_env=None)
    assert condition_id(CONDITION, STRICT, elsewhere) == condition_id(CONDITION, STRICT, mine)
