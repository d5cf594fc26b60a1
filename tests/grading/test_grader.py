"""What a grader makes of every kind of reply, without ever waiting for real."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ptb_core.evaluation.checking import CheckError, StopCheckingError
from ptb_core.evaluation.checks import GraderResult
from ptb_core.grading.client import proxy_for
from ptb_core.grading.patience import GraderLimits
from ptb_core.testing.grader import (
    CUT_OFF,
    DISCONNECT,
    HANG,
    NO_JSON,
    GraderAnswer,
    ScriptedGrader,
    failing,
    in_turn,
    saying,
)

from .conftest import KEY, Asking, check

FINE = saying("[[A>B]]")


def outcome(asking: Asking, *answers: GraderAnswer, **options: Any) -> tuple[Any, int]:
    """Ask one question; return what came of it and the number of requests."""
    with ScriptedGrader(in_turn(*answers)) as server:
        (result,) = asking.ask(server, options.pop("check", check()), **options)
    return result, len(server.questions)


# What is sent ---------------------------------------------------------------------------------


def test_a_request_holds_what_the_published_graders_are_sent_and_nothing_else(asking):
    with ScriptedGrader(in_turn(FINE)) as server:
        asking.ask(server, check("a"), check("b", reasoning_effort="medium"), model="some-model")
    first, second = server.questions
    assert first.path == "/v1/chat/completions"
    assert first.body == {
        "model": "some-model",
        "messages": [{"role": "user", "content": "a"}],
        "max_completion_tokens": 100,
    }
    assert second.body == {
        **first.body,
        "messages": [{"role": "user", "content": "b"}],
        "reasoning_effort": "medium",
    }
    assert first.headers["authorization"] == f"Bearer {KEY}"


def test_an_endpoint_without_a_key_is_sent_none(asking):
    with ScriptedGrader(in_turn(FINE)) as server:
        assert asking.ask(server, api_key_env=None) == [GraderResult(text="[[A>B]]")]
    assert "authorization" not in server.questions[0].headers


# Waiting helps --------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 502, 503, 504, 529])
def test_a_busy_endpoint_is_asked_again_after_a_while(asking, status):
    assert outcome(asking, failing(status), failing(status), FINE) == (
        GraderResult(text="[[A>B]]"),
        3,
    )
    assert asking.clock.waits == [0.75, 1.5]
    assert asking.facts["now"]["retries"] == 2


@pytest.mark.parametrize(
    ("retry_after", "wait_s"),
    [
        ("7", 7.5),
        ("0.5", 1.0),
        ("0", 0.5),
        ("-3", 0.5),
        ("9999999", 120.5),
        ("Sun, 09 Sep 2001 01:47:00 GMT", 20.5),
        ("Sun, 09 Sep 2001 01:40:00 GMT", 0.5),
        ("Sun, 09 Sep 2091 01:40:00 GMT", 120.5),
        ("soon", 0.75),
        ("inf", 0.75),
        ("nan", 0.75),
    ],
)
def test_retry_after_is_kept_in_both_forms_up_to_a_cap(asking, retry_after, wait_s):
    result, n_requests = outcome(asking, failing(429, retry_after=retry_after), FINE)
    assert (result.text, n_requests) == ("[[A>B]]", 2)
    assert asking.clock.waits[0] == wait_s


def test_a_wait_that_one_question_is_told_holds_for_all(asking):
    def script(question):
        return failing(503, retry_after="60") if question.text == "a" else FINE

    with ScriptedGrader(script) as server:
        first, second = asking.ask(server, check("a"), check("b"), limits=GraderLimits(requests=2))
    assert isinstance(first, CheckError)
    assert second == GraderResult(text="[[A>B]]")
    assert asking.clock.waits == [60.5, 60.5]


def test_a_connection_that_breaks_is_made_again(asking):
    assert outcome(asking, DISCONNECT, FINE) == (GraderResult(text="[[A>B]]"), 2)


def test_a_reply_that_does_not_come_is_asked_for_again(asking):
    result, n_requests = outcome(asking, HANG, FINE, timeout_s=0.5)
    assert result.text == "[[A>B]]"
    assert n_requests >= 2
    assert asking.facts["now"]["retries"] >= 1


def test_a_reply_that_comes_byte_by_byte_is_read(asking):
    assert outcome(asking, saying("slow", fault="drip")) == (GraderResult(text="slow"), 1)


def test_patience_ends_after_a_number_of_requests_without_any_reply(asking):
    result, n_requests = outcome(asking, failing(503, "overloaded"))
    assert (type(result).__name__, n_requests) == ("UnavailableError", 8)
    host = asking.facts["endpoint"]
    assert str(result) == (
        f"the grader gpt-5-mini at {host} does not answer (status 503: overloaded)"
    )
    assert asking.facts["now"]["missing"] == 1


def test_being_asked_too_often_is_no_failure_however_often_it_is_said(asking):
    busy = [failing(429)] * 30
    result, n_requests = outcome(asking, *busy, failing(503), FINE, limits=GraderLimits(requests=2))
    assert (result.text, n_requests) == ("[[A>B]]", 32)


def test_patience_ends_when_the_time_for_a_question_is_over(asking):
    limits = GraderLimits(question_s=100, requests=1000)
    result, n_requests = outcome(asking, failing(429, retry_after="30"), limits=limits)
    assert isinstance(result, CheckError)
    assert n_requests == 4
    assert asking.clock.seconds <= 1100


def test_no_endpoint_at_all_is_said_with_its_address(asking):
    with ScriptedGrader(in_turn(FINE)) as server:
        pass
    (error,) = asking.ask(server)
    assert str(error).startswith(
        f"the grader gpt-5-mini at {asking.facts['endpoint']} cannot be reached: Cannot connect to "
    )
    assert asking.facts["now"]["retries"] == 7


def test_many_questions_in_a_row_without_an_answer_end_the_grading(asking):
    limits = GraderLimits(requests=2, unanswered=3)
    with ScriptedGrader(in_turn(failing(500, "down"))) as server:
        errors = asking.ask(server, *map(check, "abcde"), limits=limits)
    assert [isinstance(error, StopCheckingError) for error in errors] == [
        False, False, True, True, True,
    ]  # fmt: skip
    assert str(errors[2]).endswith(
        "does not answer (status 500: down); 3 questions in a row went unanswered, so no further "
        "one is put: score again (`ptb retry`, or the same `ptb evaluate`; replies so far are "
        "kept) when it answers"
    )
    assert len(server.questions) == 6


def test_one_answer_in_between_begins_the_count_of_unanswered_questions_anew(asking):
    def script(question):
        return FINE if question.text == "c" else failing(500)

    with ScriptedGrader(script) as server:
        errors = asking.ask(
            server, *map(check, "abcde"), limits=GraderLimits(requests=1, unanswered=3)
        )
    assert not any(isinstance(error, StopCheckingError) for error in errors)


def refusing(words: Any) -> GraderAnswer:
    choice = {"message": {"content": None, "refusal": words}, "finish_reason": "stop"}
    return GraderAnswer(content=json.dumps({"choices": [choice]}).encode())


# Asking again helps ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (CUT_OFF, "its reply was cut off"),
        (NO_JSON, "its reply is no JSON (JSON is malformed: invalid character (byte 0))"),
        (GraderAnswer(content=b""), "its reply is no JSON (Input data was truncated)"),
        (GraderAnswer(content=b"\xff\xfe{}"), "its reply is no JSON ("),
        (GraderAnswer(content=b"[" * 100_000), "its reply is no JSON ("),
        (GraderAnswer(content=b"[]"), "its reply has not the form of chat completions: []"),
        (GraderAnswer(content=b'{"choices": []}'), 'completions: {"choices":[]}'),
        (GraderAnswer(content=b'{"choices": [{"message": 5}]}'), "has not the form"),
        (GraderAnswer(content=b'{"error": {"message": "x"}}'), "has not the form"),
        (
            saying("half", finish_reason="length"),
            "its reply ended for the reason 'length', not 'stop'",
        ),
        (saying("x", finish_reason="content_filter"), "the reason 'content_filter', not"),
        (saying("x", finish_reason=None), "the reason None, not"),
        (saying(""), "its reply is empty"),
        (saying(" \n"), "its reply is empty"),
        (saying(None), "its reply is empty"),
        (refusing("I will not"), "its reply is empty: it refuses (I will not)"),
        (refusing(""), "the last: its reply is empty"),
        (refusing(5), "the last: its reply is empty"),
    ],
)
def test_a_half_answer_is_asked_for_again_and_is_an_error_in_the_end(asking, answer, says):
    assert outcome(asking, answer, answer, FINE)[0] == GraderResult(text="[[A>B]]", tries=3)
    assert asking.facts["now"]["half_answers"] == 2
    result, n_requests = outcome(asking, answer, check=check("another", tries=3))
    assert (type(result), n_requests) == (CheckError, 3)
    assert "gave no usable reply to 'game-1' in 3 tries; the last: " in str(result)
    assert says in str(result)


def test_a_reply_without_end_is_cut(asking):
    result, n_requests = outcome(
        asking,
        saying("x" * 5000),
        limits=GraderLimits(reply_bytes=1000),
        check=check(tries=2),
    )
    assert n_requests == 2
    assert str(result).endswith("the last: its reply is longer than 1000 bytes")


def test_a_reply_without_verdict_is_asked_for_again_and_is_an_error_in_the_end(asking):
    def holds_verdict(text: str) -> bool:
        return text == "[[A>B]]"

    result, _ = outcome(asking, saying("I am not sure"), FINE, accepts=holds_verdict)
    assert result == GraderResult(text="[[A>B]]", tries=2)
    assert asking.facts["now"]["refused_replies"] == 1
    assert asking.clock.waits == []
    result, n_requests = outcome(
        asking, saying("not\nsure"), accepts=holds_verdict, check=check("b", tries=4)
    )
    assert n_requests == 4
    assert str(result).endswith(
        "gave no usable reply to 'game-1' in 4 tries; the last: the task finds no verdict in "
        r"'not\\nsure'"
    )


def test_faults_of_every_kind_one_after_the_other_end_in_the_verdict(asking):
    result, n_requests = outcome(
        asking,
        failing(429, retry_after="1"),
        failing(500),
        DISCONNECT,
        CUT_OFF,
        NO_JSON,
        saying("half", finish_reason="length"),
        saying("no verdict"),
        FINE,
        accepts=lambda text: "[[" in text,
    )
    assert (result, n_requests) == (GraderResult(text="[[A>B]]", tries=5), 8)


# Nothing helps --------------------------------------------------------------------------------

AGAIN = "score again (`ptb retry`, or the same `ptb evaluate`; replies so far are kept) after that"


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (
            failing(401, "bad key"),
            f"refuses the key in PTB_TEST_KEY (status 401: bad key); mend that and {AGAIN}",
        ),
        (failing(403, "not you"), "refuses the key in PTB_TEST_KEY (status 403: not you)"),
        (
            failing(404, "gone"),
            "is not there (status 404: gone); name another model or base_url in the plan's "
            "`grader`",
        ),
        (failing(400, "?", code="model_not_found"), "is not there (status 400: ?)"),
        (failing(403, "?", code="model_not_found"), "is not there (status 403: ?)"),
        (
            failing(429, "pay", code="insufficient_quota"),
            f"has no quota left for this account (status 429: pay); fill it up and {AGAIN}",
        ),
        (failing(400, "pay", code="insufficient_quota"), "has no quota left for this account"),
        (failing(402, "pay"), "has no quota left for this account (status 402: pay)"),
        (
            failing(400, "no effort", code="unsupported_parameter"),
            "does not take the task's requests (status 400: no effort); name another model in the "
            "plan's `grader`",
        ),
        (
            GraderAnswer(status=300),
            "sends requests elsewhere (status 300: no words), where no key is taken",
        ),
        (
            GraderAnswer(status=307, headers={"Location": "http://127.0.0.1:1/"}),
            "sends requests elsewhere (status 307: no words), where no key is taken; name the "
            "final address as base_url in the plan's `grader`",
        ),
    ],
)
def test_what_no_question_can_pass_ends_the_grading_with_what_to_do(asking, answer, says):
    with ScriptedGrader(in_turn(answer)) as server:
        first, second = asking.ask(server, check("a"), check("b"))
    assert isinstance(first, StopCheckingError)
    assert f"the grader gpt-5-mini at {asking.facts['endpoint']} {says}" in str(first)
    assert str(second) == str(first)
    assert len(server.questions) == 1


def test_a_server_that_wants_a_key_and_was_given_none_is_told_so(asking):
    result, _ = outcome(asking, failing(401), api_key_env=None)
    assert "refuses requests without a key (`api_key_env` is null) (status 401: no)" in str(result)


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_question_that_is_refused_as_it_stands_fails_alone_and_at_once(asking, status):
    def script(question):
        return failing(status, "too long") if question.text == "a" else FINE

    with ScriptedGrader(script) as server:
        first, second = asking.ask(server, check("a"), check("b"))
    assert str(first) == (
        f"the grader gpt-5-mini at {asking.facts['endpoint']} refuses the question (status "
        f"{status}: too long)"
    )
    assert not isinstance(first, StopCheckingError)
    assert second == GraderResult(text="[[A>B]]")
    assert len(server.questions) == 2


@pytest.mark.parametrize("content", [b"", b"\xff", b'{"error": 5}', b'{"error": "w"}', b"[" * 9000])
def test_an_error_of_any_form_is_told(asking, content):
    result, _ = outcome(asking, GraderAnswer(status=400, content=content))
    assert "refuses the question (status 400: " in str(result)


# The key --------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [400, 401, 404, 429, 500])
def test_a_server_that_echoes_the_key_does_not_bring_it_out(asking, status, tmp_path):
    def script(question):
        return failing(status, f"you sent {question.headers['authorization']}, ha")

    with ScriptedGrader(script) as server:
        (error,) = asking.ask(server)
    assert "you sent Bearer [key], ha" in str(error)
    shown = f"{error!r}{error.__cause__!r}{error.__context__!r}{asking.facts!r}"
    assert KEY not in shown
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert KEY.encode() not in kept


def test_a_reply_that_echoes_the_key_is_kept_without_it(asking, tmp_path):
    def script(question):
        return saying(question.headers["authorization"])

    with ScriptedGrader(script) as server:
        assert asking.ask(server) == [GraderResult(text="Bearer [key]")]
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*.jsonl"))
    assert b"Bearer [key]" in kept
    assert KEY.encode() not in kept


def test_a_half_answer_that_echoes_the_key_does_not_bring_it_out(asking):
    def script(question):
        return GraderAnswer(content=json.dumps([question.headers["authorization"]]).encode())

    with ScriptedGrader(script) as server:
        (error,) = asking.ask(server)
    assert 'completions: ["Bearer [key]"]' in str(error)


def malformed(words: str) -> GraderAnswer:
    return GraderAnswer(content=json.dumps([words]).encode())


def refusing(words: str) -> GraderAnswer:
    message = {"content": None, "refusal": words}
    choice = {"message": message, "finish_reason": "stop"}
    return GraderAnswer(content=json.dumps({"choices": [choice]}).encode())


def ended_because(words: str) -> GraderAnswer:
    return saying("half", finish_reason=words)


@pytest.mark.parametrize("key", [KEY, 'sk-"quoted"-and-\\-0123456789'])
@pytest.mark.parametrize(
    ("answer", "cut", "says"),
    [
        (malformed, 400, "its reply has not the form of chat completions"),
        (refusing, 200, "its reply is empty: it refuses"),
        (ended_because, 400, "its reply ended for the reason"),
        (lambda words: failing(400, words), 400, "refuses the question (status 400"),
    ],
    ids=["malformed", "refusing", "ended", "failing"],
)
def test_no_part_of_a_key_comes_out_where_a_long_text_is_cut(
    asking, monkeypatch, answer, cut, says, key
):
    monkeypatch.setenv("PTB_TEST_KEY", key)
    for place in range(cut - len(key) - 8, cut + 1):
        error, _ = outcome(asking, answer("." * place + key + "." * 100))
        assert says in str(error)
        assert "sk-" not in str(error)
        assert str(error).count(".") > place - 10


@pytest.mark.parametrize(
    ("key", "text"),
    [("EMPTY", "EMPTY words"), ("x" * 15, "x" * 15 + " words"), ("x" * 16, "[key] words")],
)
def test_a_stand_in_for_a_key_is_an_ordinary_word_in_replies(asking, monkeypatch, key, text):
    monkeypatch.setenv("PTB_TEST_KEY", key)
    assert outcome(asking, saying(f"{key} words"))[0] == GraderResult(text=text)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (
            None,
            "its key is read from PTB_TEST_KEY, which is not set; set it where `ptb` is started",
        ),
        ("  ", "its key is read from PTB_TEST_KEY, which is not set"),
        ("sk-a b", "its key is read from PTB_TEST_KEY, which holds blanks, line breaks or other"),
        ("sk-ä", "which holds blanks, line breaks or other characters that no key has"),
        ("sk\r\nX: y", "which holds blanks, line breaks or other characters that no key has"),
    ],
)
def test_a_key_that_cannot_be_one_is_told_without_it_and_nothing_is_asked(
    asking, monkeypatch, value, says
):
    if value is None:
        monkeypatch.delenv("PTB_TEST_KEY")
    else:
        monkeypatch.setenv("PTB_TEST_KEY", value)
    result, n_requests = outcome(asking, FINE)
    assert isinstance(result, StopCheckingError)
    assert (n_requests, says in str(result)) == (0, True)
    assert value is None or not value.strip() or value not in str(result)


def test_blanks_around_a_key_are_no_part_of_it(asking, monkeypatch):
    monkeypatch.setenv("PTB_TEST_KEY", f" {KEY}\n")
    with ScriptedGrader(in_turn(FINE)) as server:
        asking.ask(server)
    assert server.questions[0].headers["authorization"] == f"Bearer {KEY}"


# Proxies --------------------------------------------------------------------------------------


def test_a_proxy_is_taken_from_the_environment_and_never_for_this_machine(monkeypatch):
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    assert proxy_for("https://api.example/v1") is None
    monkeypatch.setenv("https_proxy", "http://proxy.example:3128")
    monkeypatch.setenv("no_proxy", "inner.example")
    assert proxy_for("https://api.example/v1") == "http://proxy.example:3128"
    assert proxy_for("http://api.example/v1") is None
    assert proxy_for("https://inner.example/v1") is None
    for host in ("localhost", "127.0.0.1", "[::1]"):
        assert proxy_for(f"https://{host}:8000/v1") is None
