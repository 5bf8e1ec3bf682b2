"""The protocol without I/O: what is sent, when it is sent again, what an answer means."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oklp.contract import ParticipantResult, TeamResult, TokenAnswer
from oklp.errors import InvariantBroken
from oklp.sdk import (
    ApiError,
    ConflictError,
    CredentialsError,
    InvalidCallError,
    InvalidRequestError,
    NotFoundError,
    RetryPolicy,
    SdkError,
    UnavailableError,
    UnexpectedAnswerError,
    UnreachableError,
    load_config,
)
from oklp.sdk.requests import Answer, Authorize, Calls, NoAnswer, Send, Step, TokenCache, Wait, exchange
from tests.sdk.stand_in import FINISHED, MATCH_ID, OTHER_USER, TOKEN_INFO, USER, FakeTime

CONFIG = load_config(
    {
        "okletsplay_url": "https://play.example/",
        "authentication": {
            "client_id": "tile-rush",
            "client_secret": "s&cret=1",
            "public_key_url": "https://play.example/auth/realms/oklp",
            "token_url": "https://login.example/token",
        },
    }
)
CALLS = Calls(CONFIG)
POLICY = RetryPolicy()
INFO = Answer(200, {}, json.dumps(TOKEN_INFO).encode())


def carry_out(replies: list[Answer | NoAnswer], policy: RetryPolicy = POLICY, call: Any = None) -> Any:
    """Runs an exchange against scripted replies; its steps are the first of the pair returned, its result or error the
    second. Tokens are `t1`, `t2`, …
    """
    time = FakeTime()
    steps: list[Step] = []
    running = exchange(call or CALLS.token_info("mt"), policy, time.clock, time.chance)
    reply: Any = None
    tokens = 0
    script = list(replies)
    try:
        while True:
            step = running.send(reply)
            steps.append(step)
            match step:
                case Authorize():
                    tokens += 1
                    reply = f"t{tokens}"
                case Send():
                    reply = script.pop(0)
                case Wait(seconds):
                    reply = time.sleep(seconds)
    except StopIteration as end:
        return steps, end.value
    except SdkError as error:
        return steps, error


def sent(steps: list[Step]) -> list[Send]:
    return [step for step in steps if isinstance(step, Send)]


def waits(steps: list[Step]) -> list[float]:
    return [step.seconds for step in steps if isinstance(step, Wait)]


def error_answer(status: int, body: bytes = b"", **headers: str) -> Answer:
    return Answer(status, {name.replace("_", "-"): value for name, value in headers.items()}, body)


# --- what is sent ----------------------------------------------------------------------------------------------------


def test_a_token_is_asked_for_by_a_form_as_section_a2_has_it() -> None:
    call = CALLS.token()
    assert (call.method, call.url, call.authorized) == ("POST", "https://login.example/token", False)
    assert call.headers(None)["content-type"] == "application/x-www-form-urlencoded"
    assert parse_qs((call.content or b"").decode()) == {
        "client_id": ["tile-rush"],
        "client_secret": ["s&cret=1"],
        "grant_type": ["client_credentials"],
        "scope": ["olp-report-api"],
    }


def test_a_call_does_not_show_its_body() -> None:
    assert "cret" not in repr(CALLS.token())
    assert "secret-token" not in repr(CALLS.token_info("secret-token"))
    assert "secret-token" not in repr(Send("POST", "https://x.example", {"authorization": "Bearer secret-token"}))


def test_the_result_of_a_synchronous_match_has_teams() -> None:
    call = CALLS.finish(
        MATCH_ID,
        [ParticipantResult(id=USER, score=300), ParticipantResult(id=OTHER_USER, score=100)],
        teams=[TeamResult(id="t1", score=300, ranking=1), TeamResult(id="t2", score=100, ranking=2, forfeit=True)],
    )
    assert (call.method, call.url) == ("POST", "https://play.example/api/game/v1/finish")
    assert json.loads(call.content or b"") == {
        "match_id": MATCH_ID,
        "participants": [{"id": USER, "score": 300}, {"id": OTHER_USER, "score": 100}],
        "teams": [
            {"id": "t1", "score": 300, "ranking": 1, "forfeit": False},
            {"id": "t2", "score": 100, "ranking": 2, "forfeit": True},
        ],
    }


def test_the_result_of_a_player_has_no_teams() -> None:
    expected = {"match_id": MATCH_ID, "participants": [{"id": USER, "score": 300}]}
    assert json.loads(CALLS.finish(MATCH_ID, {USER: 300}).content or b"") == expected
    assert json.loads(CALLS.finish(MATCH_ID, iter([ParticipantResult(id=USER, score=300)])).content or b"") == expected


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        (("no-match", {USER: 1}), "match_id"),
        ((MATCH_ID, {}), "participants"),
        ((MATCH_ID, {USER: -1}), "participants.0.score"),
        ((MATCH_ID, {USER: 1.5}), "participants.0.score"),
        ((MATCH_ID, {USER: True}), "participants.0.score"),
        ((MATCH_ID, {USER: "300"}), "participants.0.score"),
        ((MATCH_ID, {USER: 2**53}), "participants.0.score"),
        ((MATCH_ID, {USER: 1}, []), "teams"),
        ((MATCH_ID, {USER: 1}, [{"id": "t", "score": 1, "ranking": 0}]), "teams.0.ranking"),
    ],
)
def test_a_result_that_cannot_be_right_is_refused_before_it_is_sent(arguments: Any, field: str) -> None:
    with pytest.raises(InvalidCallError, match="finish") as caught:
        CALLS.finish(*arguments)
    assert [fault.field for fault in caught.value.errors] == [field]
    assert isinstance(caught.value, ValueError)


def test_a_refused_match_token_is_not_quoted() -> None:
    with pytest.raises(InvalidCallError) as caught:
        CALLS.token_info("secret" * 200)
    assert "secret" not in str(caught.value)


@given(st.text(min_size=1))
def test_an_id_stays_one_segment_of_the_path(value: str) -> None:
    try:
        value.encode()
        url = CALLS.user(value).url
    except (InvalidCallError, UnicodeEncodeError):
        assert value in (".", "..") or any("\ud800" <= c <= "\udfff" for c in value)
        return
    assert urlsplit(url).path.count("/") == "/api/game/v1/users/x".count("/")
    assert urlsplit(url).query == urlsplit(url).fragment == ""


@pytest.mark.parametrize("value", ["", ".", ".."])
def test_what_is_no_id_is_refused(value: str) -> None:
    for build in (CALLS.match, CALLS.user):
        with pytest.raises(InvalidCallError):
            build(value)


def test_only_the_given_filters_are_in_the_query() -> None:
    def query(**given: Any) -> dict[str, list[str]]:
        wanted = {"status": None, "user_id": None, "cursor": None, "limit": None, **given}
        return parse_qs(urlsplit(CALLS.matches(**wanted).url).query)

    assert query() == {}
    assert query(status="live", user_id=USER, cursor="a&b", limit=5) == {
        "status": ["live"],
        "user_id": [USER],
        "cursor": ["a&b"],
        "limit": ["5"],
    }


# --- retries ---------------------------------------------------------------------------------------------------------


def test_a_call_that_succeeds_is_sent_once_with_the_token() -> None:
    steps, result = carry_out([INFO])
    assert result.user_id == USER
    assert [type(step) for step in steps] == [Authorize, Send]
    assert sent(steps)[0].headers["authorization"] == "Bearer t1"


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_a_passing_failure_is_tried_again_with_the_same_body(status: int) -> None:
    finish = CALLS.finish(MATCH_ID, {USER: 300})
    answer = Answer(200, {}, json.dumps(FINISHED).encode())
    steps, result = carry_out([error_answer(status), NoAnswer("reset", retryable=True), answer], call=finish)
    assert result.accepted
    assert len({(request.method, request.url, request.content) for request in sent(steps)}) == 1
    assert waits(steps) == [0.25, 0.5]


@pytest.mark.parametrize("status", [301, 302, 304, 400, 403, 404, 405, 409, 413, 422])
def test_a_refusal_is_not_tried_again(status: int) -> None:
    steps, error = carry_out([error_answer(status)])
    assert len(sent(steps)) == 1
    assert waits(steps) == []
    assert error.status == status


def test_attempts_are_counted_and_the_last_failure_is_raised() -> None:
    policy = RetryPolicy(attempts=3)
    steps, error = carry_out([error_answer(500), error_answer(502), error_answer(503)], policy)
    assert (len(sent(steps)), len(waits(steps))) == (3, 2)
    assert isinstance(error, UnavailableError)
    assert error.status == 503


def test_no_answer_at_all_says_why_and_how_often() -> None:
    cause = OSError("refused")
    _, error = carry_out([NoAnswer("ConnectError: refused", retryable=True, cause=cause)] * 2, RetryPolicy(attempts=2))
    assert isinstance(error, UnreachableError)
    assert error.attempts == 2
    assert "2 attempts: ConnectError: refused" in str(error)
    assert error.__cause__ is cause


def test_a_hopeless_failure_is_raised_at_once() -> None:
    steps, error = carry_out([NoAnswer("UnsupportedProtocol", retryable=False)])
    assert len(sent(steps)) == 1
    assert isinstance(error, UnreachableError)
    assert "1 attempt:" in str(error)


def test_retry_after_is_the_least_wait() -> None:
    steps, _ = carry_out([error_answer(503, retry_after="7"), INFO])
    assert waits(steps) == [7.0]


def test_a_retry_after_date_counts_from_the_answers_own_date() -> None:
    answer = error_answer(503, retry_after="Wed, 21 Oct 2026 07:28:09 GMT", date="Wed, 21 Oct 2026 07:28:00 GMT")
    steps, _ = carry_out([answer, INFO])
    assert waits(steps) == [9.0]


@pytest.mark.parametrize(
    "headers",
    [
        {"retry_after": ""},
        {"retry_after": "soon"},
        {"retry_after": "-5"},
        {"retry_after": "1.5"},
        {"retry_after": "٣"},
        {"retry_after": "9" * 400},
        {"retry_after": "Wed, 21 Oct 2026 07:28:09 GMT"},
        {"retry_after": "Wed, 21 Oct 2026 07:28:09 GMT", "date": "yesterday"},
        {"retry_after": "Wed, 21 Oct 2026 07:28:09", "date": "Wed, 21 Oct 2026 07:28:00 GMT"},
        {"retry_after": "Wed, 21 Oct 2026 07:27:00 GMT", "date": "Wed, 21 Oct 2026 07:28:00 GMT"},
    ],
)
def test_a_retry_after_that_says_nothing_is_no_obstacle(headers: dict[str, str]) -> None:
    steps, result = carry_out(
        [Answer(503, {name.replace("_", "-"): value for name, value in headers.items()}, b""), INFO]
    )
    assert waits(steps) == [0.25]
    assert result.user_id == USER


def test_a_retry_after_in_the_past_is_now() -> None:
    dates = {"retry-after": "Wed, 21 Oct 2026 07:27:00 GMT", "date": "Wed, 21 Oct 2026 07:28:00 GMT"}
    _, error = carry_out([Answer(503, dates, b"")], RetryPolicy(attempts=1))
    assert error.retry_after_seconds == 0


def test_a_wait_beyond_the_budget_is_not_begun() -> None:
    steps, error = carry_out([error_answer(503, retry_after="61")])
    assert waits(steps) == []
    assert isinstance(error, UnavailableError)
    assert error.retry_after_seconds == 61


@given(st.integers(1, 10_000), st.floats(0, 1, exclude_max=True), st.none() | st.floats(0, 1e6), st.floats(0.01, 5))
def test_waits_stay_within_their_bounds(attempt: int, chance: float, retry_after: float | None, first: float) -> None:
    policy = RetryPolicy(first_wait_seconds=first, longest_wait_seconds=8)
    wait = policy.wait_seconds(attempt, chance, retry_after)
    if retry_after is None:
        longest = min(first * 2 ** min(attempt - 1, 50), 8)
        assert longest / 2 <= wait <= longest
    else:
        assert wait >= retry_after
        assert wait <= max(8, retry_after + first)


@pytest.mark.parametrize(
    "wrong", [{"attempts": 0}, {"first_wait_seconds": -1}, {"first_wait_seconds": 9, "longest_wait_seconds": 8}]
)
def test_a_policy_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be"):
        RetryPolicy(**wrong)


def test_a_401_renews_the_token_once_without_a_wait_or_an_attempt() -> None:
    steps, result = carry_out([error_answer(401), INFO], RetryPolicy(attempts=1))
    assert result.user_id == USER
    assert [step for step in steps if isinstance(step, Authorize)] == [Authorize(None), Authorize("t1")]
    assert [request.headers["authorization"] for request in sent(steps)] == ["Bearer t1", "Bearer t2"]
    assert waits(steps) == []


def test_a_second_401_is_final() -> None:
    steps, error = carry_out([error_answer(401), error_answer(401)])
    assert len(sent(steps)) == 2
    assert isinstance(error, CredentialsError)


def test_a_401_of_the_token_endpoint_is_final() -> None:
    body = b'{"error":"invalid_client","error_description":"Invalid client or secret"}'
    steps, error = carry_out([error_answer(401, body)], call=CALLS.token())
    assert len(sent(steps)) == 1
    assert isinstance(error, CredentialsError)
    assert (error.code, error.detail) == ("invalid_client", "Invalid client or secret")


def test_an_exchange_that_is_not_given_what_it_asked_for_is_a_bug_and_says_so() -> None:
    time = FakeTime()
    running = exchange(CALLS.token_info("mt"), RetryPolicy(), time.clock, time.chance)
    next(running)
    with pytest.raises(InvariantBroken):
        running.send(None)
    unauthorized = exchange(CALLS.token(), RetryPolicy(), time.clock, time.chance)
    next(unauthorized)
    with pytest.raises(InvariantBroken):
        unauthorized.send("a token")


# --- what an answer means --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, InvalidRequestError),
        (401, CredentialsError),
        (403, CredentialsError),
        (404, NotFoundError),
        (405, ApiError),
        (408, UnavailableError),
        (409, ConflictError),
        (413, InvalidRequestError),
        (422, InvalidRequestError),
        (425, UnavailableError),
        (429, UnavailableError),
        (500, UnavailableError),
        (503, UnavailableError),
    ],
)
def test_a_problem_becomes_an_error_with_its_fields(status: int, kind: type[ApiError]) -> None:
    body = {
        "type": "https://play.example/docs/errors#invalid-request",
        "title": "A field is not valid",
        "status": status,
        "detail": "teams.0.ranking: ranks start at 1",
        "errors": [{"field": "teams.0.ranking", "message": "ranks start at 1"}],
    }
    answer = error_answer(status, json.dumps(body).encode())
    _, error = carry_out([answer, answer], RetryPolicy(attempts=1))
    assert type(error) is kind
    assert (error.status, error.title, error.type) == (status, body["title"], body["type"])
    assert error.code == "invalid-request"
    assert [(fault.field, fault.message) for fault in error.errors] == [("teams.0.ranking", "ranks start at 1")]
    assert str(error) == f"{status} A field is not valid: teams.0.ranking: ranks start at 1"


@pytest.mark.parametrize(
    ("problem_type", "code"),
    [
        ("https://x.example/errors#not-found", "not-found"),
        ("https://x.example/errors/not-found/", "not-found"),
        ("urn:oklp:not-found", "not-found"),
        ("not-found", "not-found"),
        ("about:blank", "blank"),
    ],
)
def test_the_code_is_the_last_word_of_the_type(problem_type: str, code: str) -> None:
    body = {"type": problem_type, "title": "t", "status": 404, "detail": "d"}
    _, error = carry_out([error_answer(404, json.dumps(body).encode())])
    assert error.code == code


@pytest.mark.parametrize(
    "body", [b"", b"<html>Bad gateway</html>", b"\xff\xfe", b"[1]", b'{"error":5}', b"[" * 100_000]
)
def test_an_error_that_is_no_problem_document_still_has_its_status(body: bytes) -> None:
    _, error = carry_out([error_answer(502, body)], RetryPolicy(attempts=1))
    assert isinstance(error, UnavailableError)
    assert error.status == 502
    assert len(str(error)) < 300
    assert str(error).isprintable()


@pytest.mark.parametrize("body", [b"", b"<html>Log in to this network</html>", b"[]", b'{"user_id": "secret-5"}'])
def test_a_success_that_is_not_of_the_contract_is_told_apart_and_not_quoted(body: bytes) -> None:
    _, error = carry_out([Answer(200, {}, body)])
    assert isinstance(error, UnexpectedAnswerError)
    assert error.status == 200
    assert "secret-5" not in str(error)
    assert error.__cause__ is None


def test_a_redirect_is_not_an_answer() -> None:
    _, error = carry_out([error_answer(302, location="https://evil.example/")])
    assert isinstance(error, UnexpectedAnswerError)
    assert error.status == 302


# --- the token in use ------------------------------------------------------------------------------------------------


def answer(token: str, life: int) -> TokenAnswer:
    return TokenAnswer(access_token=token, expires_in=life)


@given(st.integers(1, 100_000), st.floats(0, 1e6))
def test_a_token_is_renewed_ahead_of_its_end_and_never_used_after_it(life: int, asked_at: float) -> None:
    tokens = TokenCache()
    tokens.store(answer("a", life), asked_at)
    assert tokens.fresh(asked_at + life * 0.74) == "a"
    assert tokens.fresh(asked_at + life * 0.999 if life < 120 else asked_at + life - 29) is None
    assert tokens.usable(asked_at + life * 0.99) == "a"
    assert tokens.usable(asked_at + life) is None
    assert tokens.fresh(asked_at + life) is None


@pytest.mark.parametrize("life", [0, -5])
def test_a_token_without_life_is_never_used_again(life: int) -> None:
    tokens = TokenCache()
    assert tokens.store(answer("a", life), 0) == "a"
    assert tokens.usable(0) is None


def test_a_refused_token_is_forgotten_unless_it_was_replaced_already() -> None:
    tokens = TokenCache()
    tokens.store(answer("a", 300), 0)
    tokens.refuse("a")
    assert tokens.usable(1) is tokens.fresh(1) is None
    tokens.store(answer("b", 300), 1)
    tokens.refuse("a")
    assert tokens.usable(2) == tokens.fresh(2) == "b"
    tokens.refuse("b")
    tokens.refuse("a")
    assert tokens.usable(3) is None


def test_a_failed_renewal_is_put_off_without_losing_the_token() -> None:
    tokens = TokenCache()
    tokens.store(answer("a", 300), 0)
    tokens.postpone(270)
    assert tokens.fresh(277) == "a"
    assert tokens.fresh(278) is None
    assert tokens.usable(299) == "a"
    assert tokens.usable(300) is None


def test_an_empty_cache_has_nothing() -> None:
    tokens = TokenCache()
    tokens.refuse("a")
    tokens.postpone(5)
    checks: list[Callable[[float], str | None]] = [tokens.usable, tokens.fresh]
    assert [check(0) for check in checks] == [None, None]
