"""Whatever an endpoint sends: a usable reply, or one of four errors; and every reply is booked."""

from __future__ import annotations

import json
import math
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptb_core.evaluation.checking import CheckError
from ptb_core.evaluation.checks import GraderResult
from ptb_core.grading.endpoint import Key
from ptb_core.grading.failures import HalfAnswerError, failure_of
from ptb_core.grading.patience import GraderLimits, retry_after_s
from ptb_core.grading.replies import read_reply
from ptb_core.specs import GraderSpec, TokenPrice
from ptb_core.testing.grader import (
    CUT_OFF,
    DISCONNECT,
    NO_JSON,
    GraderAnswer,
    ScriptedGrader,
    failing,
    in_turn,
    saying,
)

from .conftest import KEY, Asking, check

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=8,
)
CHOICES = st.fixed_dictionaries(
    {},
    optional={
        "message": JSON | st.fixed_dictionaries({}, optional={"content": JSON, "refusal": JSON}),
        "finish_reason": st.just("stop") | JSON,
    },
)
REPLIES = st.fixed_dictionaries(
    {},
    optional={
        "choices": JSON | st.lists(CHOICES, max_size=2),
        "usage": JSON
        | st.fixed_dictionaries(
            {},
            optional={
                "prompt_tokens": JSON,
                "completion_tokens": JSON,
                "prompt_tokens_details": JSON | st.fixed_dictionaries({"cached_tokens": JSON}),
            },
        ),
        "error": JSON | st.fixed_dictionaries({}, optional={"message": JSON, "code": JSON}),
    },
)
CONTENT = st.binary(max_size=60) | (JSON | REPLIES).map(lambda value: json.dumps(value).encode())


@given(CONTENT)
def test_any_reply_is_read_or_is_a_half_answer(content):
    try:
        reply = read_reply(content, Key(value=""))
    except HalfAnswerError:
        return
    assert reply.text.strip()
    if reply.use is not None:
        assert 0 <= reply.use.cached_tokens <= reply.use.input_tokens
        assert reply.use.output_tokens >= 0


@given(st.integers(201, 999), CONTENT)
def test_any_failure_is_told_in_words_and_without_the_key(status, content):
    error = failure_of(status, content + KEY.encode(), None, GraderSpec(), Key(value=KEY))
    assert isinstance(error, CheckError)
    assert str(error).startswith("the grader gpt-5-mini at api.openai.com ")
    assert KEY not in str(error)


@given(st.text(max_size=40) | st.floats().map(str) | st.integers().map(str))
def test_any_retry_after_is_a_wait_or_says_nothing(header):
    seconds = retry_after_s(header, 1e9)
    assert seconds is None or (seconds >= 0 and math.isfinite(seconds))


PRICE = TokenPrice(input_usd_per_million_tokens=1e5, output_usd_per_million_tokens=0)
METERED = [saying("fine"), saying("bad"), saying("half", finish_reason="length"), saying("")]
UNMETERED = [CUT_OFF, NO_JSON, saying("fine", usage={})]
UNANSWERED = [failing(429), failing(500, retry_after="5"), DISCONNECT]
FINAL = [failing(400), failing(401), failing(404), failing(429, code="insufficient_quota")]
ANSWERS = st.lists(st.sampled_from([*METERED, *UNMETERED, *UNANSWERED, *FINAL]), min_size=1)


@settings(max_examples=40)
@given(ANSWERS)
def test_any_course_of_faults_ends_in_a_verdict_or_an_error_and_every_reply_is_booked(answers):
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.setenv("PTB_TEST_KEY", KEY)
        asking = Asking(Path(folder))
        with ScriptedGrader(in_turn(*answers)) as server:
            (result,) = asking.ask(
                server,
                check(tries=3),
                accepts=lambda text: text == "fine",
                limits=GraderLimits(question_s=400),
                price=PRICE,
            )
            n_asked = len(server.questions)
    seen: list[GraderAnswer] = [answers[min(n, len(answers) - 1)] for n in range(n_asked)]
    expected: Any = GraderResult if seen[-1] in (METERED[0], UNMETERED[2]) else CheckError
    assert isinstance(result, expected), result
    now = asking.facts["now"]
    replies = [answer for answer in seen if answer in METERED or answer in UNMETERED]
    assert now["unmetered_replies"] == sum(answer in UNMETERED for answer in replies)
    assert asking.facts["scope"]["replies"] == len(replies)
    assert now["asked"] == n_asked
    assert len(replies) <= 3
