"""Both clients against a platform on a real socket: what a game server relies on."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import Barrier, Event, Thread
from typing import Any

import httpx
import pytest

import oklp.sdk
from oklp.contract import TeamResult
from oklp.sdk import (
    AsyncClient,
    Client,
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
)
from oklp.sdk.requests import TokenCache
from oklp.sdk.transport import SingleFlight
from tests.sdk.stand_in import (
    API,
    CLIENT_SECRET,
    DROPPED,
    FINISHED,
    GAME,
    MATCH_ID,
    OTHER_USER,
    TOKEN_INFO,
    TOKEN_PATH,
    USER,
    Driver,
    FakeTime,
    MakeDriver,
    Platform,
    Reply,
    mock,
    problem,
)

INFO_PATH, FINISH_PATH = f"{API}/token-info", f"{API}/finish"
ONCE = RetryPolicy(attempts=1)


def until(condition: Callable[[], bool]) -> None:
    """Waits for something that another thread is about to do."""
    tick = Event()
    for _ in range(1_000):
        if condition():
            return
        tick.wait(0.01)
    raise AssertionError("it did not come about within 10 seconds")


class Answering(httpx.SyncByteStream, httpx.AsyncByteStream):
    """The body of an answer in `pieces` pieces, each `apart_seconds` after the one before; `taken` were wanted."""

    def __init__(self, piece: bytes, pieces: int, apart_seconds: float = 0.0) -> None:
        self._piece, self._pieces, self._apart_seconds = piece, pieces, apart_seconds
        self.taken = 0

    def __iter__(self) -> Iterator[bytes]:
        for _ in range(self._pieces):
            Event().wait(self._apart_seconds)
            self.taken += 1
            yield self._piece

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for _ in range(self._pieces):
            await asyncio.sleep(self._apart_seconds)
            self.taken += 1
            yield self._piece


def answering(body: Answering) -> httpx.MockTransport:
    """A platform that has a token, and answers every call with `body`."""
    token = {"access_token": "token-1", "expires_in": 300, "token_type": "Bearer"}
    return mock(
        lambda asked: (
            httpx.Response(200, json=token) if asked.url.path == TOKEN_PATH else httpx.Response(200, stream=body)
        )
    )


# --- calls -----------------------------------------------------------------------------------------------------------


def test_a_match_token_is_looked_up_with_an_access_token(platform: Platform, driver: Driver) -> None:
    info = driver.call("token_info", "match-token")
    assert info.model_dump() == TOKEN_INFO
    [token_request] = platform.asked_for(TOKEN_PATH)
    assert token_request.form == {
        "client_id": [GAME],
        "client_secret": [CLIENT_SECRET],
        "grant_type": ["client_credentials"],
        "scope": ["olp-report-api"],
    }
    assert "authorization" not in token_request.headers
    [call] = platform.asked_for(INFO_PATH)
    assert call.json == {"token": "match-token"}
    assert call.headers["authorization"] == "Bearer token-1"
    assert call.headers["content-type"] == "application/json"
    assert call.headers["user-agent"] == f"oklp-python/{oklp.__version__}"


def test_a_player_of_an_asynchronous_game_is_reported_by_score(platform: Platform, driver: Driver) -> None:
    answer = driver.call("finish", MATCH_ID, {USER: 300})
    assert (answer.accepted, answer.match_status) == (True, "finished")
    assert platform.asked_for(FINISH_PATH)[0].json == {
        "match_id": MATCH_ID,
        "participants": [{"id": USER, "score": 300}],
    }


def test_a_synchronous_match_is_reported_with_its_teams(platform: Platform, driver: Driver) -> None:
    teams = [
        TeamResult(id="t1", score=300, ranking=1),
        TeamResult(id="t2", score=100, ranking=2, forfeit=True),
    ]
    driver.call("finish", MATCH_ID, {USER: 300, OTHER_USER: 100}, teams=teams)
    body = platform.asked_for(FINISH_PATH)[0].json
    assert body["participants"] == [{"id": USER, "score": 300}, {"id": OTHER_USER, "score": 100}]
    assert [team["ranking"] for team in body["teams"]] == [1, 2]
    assert body["teams"][1]["forfeit"] is True


def test_a_result_that_was_not_the_first_is_no_error(platform: Platform, driver: Driver) -> None:
    platform.always(FINISH_PATH, Reply(body={**FINISHED, "accepted": False}))
    assert driver.call("finish", MATCH_ID, {USER: 5}).accepted is False


def test_what_cannot_be_right_is_not_sent(platform: Platform, driver: Driver) -> None:
    with pytest.raises(InvalidCallError):
        driver.call("finish", MATCH_ID, {USER: -1})
    assert platform.asked == []


def test_a_match_and_a_user_are_read_by_id(platform: Platform, driver: Driver) -> None:
    match = {"match_id": MATCH_ID, "participants": [], "teams": [], "match_status": "live", "more": "is tolerated"}
    platform.always(f"{API}/matches/{MATCH_ID}", Reply(body=match))
    platform.always(f"{API}/users/{USER}", Reply(body={"user_id": USER, "username": "ann", "avatar_url": None}))
    assert driver.call("match", MATCH_ID).match_status == "live"
    assert driver.call("user", USER).username == "ann"
    with pytest.raises(NotFoundError):
        driver.call("user", "../matches")


def match_page(*numbers: int, cursor: str | None = None) -> Reply:
    matches = [
        {"match_id": f"{number:024x}", "participants": [], "teams": [], "match_status": "live"} for number in numbers
    ]
    return Reply(body={"matches": matches, "next_cursor": cursor} if cursor else {"matches": matches})


def test_all_pages_of_matches_are_read_in_order(platform: Platform, driver: Driver) -> None:
    path = f"{API}/matches"
    platform.script(path, match_page(1, 2, cursor="c1"), match_page(cursor="c2"), match_page(3))
    matches = driver.list_matches(status="live", user_id=USER, page_size=2)
    assert [int(match.match_id, 16) for match in matches] == [1, 2, 3]
    filters = {"status": ["live"], "user_id": [USER], "limit": ["2"]}
    assert [asked.query for asked in platform.asked_for(path)] == [
        filters,
        {**filters, "cursor": ["c1"]},
        {**filters, "cursor": ["c2"]},
    ]


def test_pages_are_fetched_only_when_they_are_reached(platform: Platform) -> None:
    path = f"{API}/matches"
    platform.script(path, match_page(1, 2, cursor="c1"), match_page(3))
    with Client(platform.config()) as client:
        matches = client.matches()
        assert platform.asked == []
        next(matches)
        next(matches)
        assert len(platform.asked_for(path)) == 1
        next(matches)
        assert len(platform.asked_for(path)) == 2


def test_a_list_that_goes_in_a_circle_is_left(platform: Platform, driver: Driver) -> None:
    platform.always(f"{API}/matches", match_page(1, cursor="again"))
    with pytest.raises(UnexpectedAnswerError, match="cursor"):
        driver.list_matches()


# --- refusals --------------------------------------------------------------------------------------------------------


def test_a_refusal_carries_the_fields_of_its_problem(platform: Platform, driver: Driver) -> None:
    faults = [{"field": "teams.0.ranking", "message": "ranks start at 1"}]
    platform.always(FINISH_PATH, problem(422, "invalid-request", "A rank is wrong.", faults))
    with pytest.raises(InvalidRequestError) as caught:
        driver.call("finish", MATCH_ID, {USER: 1})
    assert (caught.value.status, caught.value.code, caught.value.detail) == (422, "invalid-request", "A rank is wrong.")
    assert caught.value.errors[0].field == "teams.0.ranking"
    assert len(platform.asked_for(FINISH_PATH)) == 1


def test_a_state_that_takes_no_result_is_a_conflict(platform: Platform, driver: Driver) -> None:
    platform.always(FINISH_PATH, problem(409, "wrong-state", "The match was aborted."))
    with pytest.raises(ConflictError, match="aborted"):
        driver.call("finish", MATCH_ID, {USER: 1})


def test_wrong_credentials_are_told_at_once_and_not_quoted(platform: Platform, driver: Driver) -> None:
    platform.always(TOKEN_PATH, Reply(401, {"error": "invalid_client", "error_description": "Invalid client."}))
    with pytest.raises(CredentialsError) as caught:
        driver.call("token_info", "mt")
    assert caught.value.code == "invalid_client"
    assert CLIENT_SECRET not in str(caught.value)
    assert platform.token_requests == 1
    assert driver.time.slept == []


def test_a_redirect_is_not_followed_with_the_credentials(platform: Platform, driver: Driver) -> None:
    platform.always(INFO_PATH, Reply(307, headers={"location": f"{platform.url}/elsewhere"}))
    with pytest.raises(UnexpectedAnswerError):
        driver.call("token_info", "mt")
    assert platform.asked_for("/elsewhere") == []


# --- retries ---------------------------------------------------------------------------------------------------------


def test_retry_after_is_waited_for(platform: Platform, driver: Driver) -> None:
    platform.script(FINISH_PATH, problem(503, "match-starting", "The match is starting.", retry_after="3"))
    assert driver.call("finish", MATCH_ID, {USER: 300}).accepted
    assert driver.time.slept == [3.0]


def test_a_result_survives_dropped_connections_and_busy_servers(platform: Platform, driver: Driver) -> None:
    platform.script(FINISH_PATH, DROPPED, Reply(502, b"<html>"), DROPPED, problem(429, "too-many-requests", "Slower."))
    assert driver.call("finish", MATCH_ID, {USER: 300}).accepted
    asked = platform.asked_for(FINISH_PATH)
    assert len(asked) == 5
    assert len({request.body for request in asked}) == 1
    assert driver.time.slept == [0.25, 0.5, 1.0, 2.0]


def test_a_token_request_is_retried_as_well(platform: Platform, driver: Driver) -> None:
    platform.script(TOKEN_PATH, DROPPED, Reply(503, b""))
    assert driver.call("token_info", "mt").user_id == USER
    assert platform.token_requests == 3


def test_a_busy_platform_is_given_up_on_in_the_end(platform: Platform, driver: Driver) -> None:
    platform.always(INFO_PATH, problem(503, "overloaded", "Busy.", retry_after="1"))
    with pytest.raises(UnavailableError) as caught:
        driver.call("token_info", "mt")
    assert (caught.value.code, caught.value.retry_after_seconds) == ("overloaded", 1)
    assert len(platform.asked_for(INFO_PATH)) == RetryPolicy().attempts


def test_a_platform_that_is_not_there_is_unreachable(make_driver: MakeDriver) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        authentication = {"client_id": GAME, "client_secret": "x", "public_key_url": url, "token_url": f"{url}/token"}
        driver = make_driver({"okletsplay_url": url, "authentication": authentication})
        with pytest.raises(UnreachableError) as caught:
            driver.call("token_info", "mt")
    assert caught.value.attempts == RetryPolicy().attempts
    assert isinstance(caught.value.__cause__, httpx.ConnectError)


def test_a_platform_that_hangs_is_not_waited_for(platform: Platform, make_driver: MakeDriver) -> None:
    release = Event()
    platform.always(INFO_PATH, Reply(wait_for=release))
    driver = make_driver(timeout_seconds=0.2, retry=ONCE)
    with pytest.raises(UnreachableError, match="ReadTimeout"):
        driver.call("token_info", "mt")
    release.set()


def test_an_answer_that_cannot_be_decoded_is_asked_for_again(make_driver: MakeDriver) -> None:
    answers = [
        httpx.Response(200, json={"access_token": "token-1", "expires_in": 300}),
        None,
        httpx.Response(200, json=TOKEN_INFO),
    ]

    def handler(request: httpx.Request) -> httpx.Response:
        answer = answers.pop(0)
        if answer is None:
            raise httpx.DecodingError("garbled", request=request)
        return answer

    driver = make_driver(transport=mock(handler))
    assert driver.call("token_info", "mt").user_id == USER


# --- the access token ------------------------------------------------------------------------------------------------


def test_a_token_is_kept_until_shortly_before_it_expires(platform: Platform, driver: Driver) -> None:
    for now in (0, 100, 269):
        driver.time.now = 1_000 + now
        driver.call("token_info", "mt")
    assert platform.token_requests == 1
    driver.time.now = 1_271
    driver.call("token_info", "mt")
    driver.settle()
    assert platform.token_requests == 2
    driver.call("token_info", "mt")
    assert platform.token_requests == 2
    assert platform.asked_for(INFO_PATH)[-1].headers["authorization"] == "Bearer token-2"


def test_a_renewal_ahead_that_fails_costs_nothing(platform: Platform, driver: Driver) -> None:
    driver.call("token_info", "mt")
    platform.always(TOKEN_PATH, Reply(503, b""))
    driver.time.now = 1_280
    for _ in range(5):
        assert driver.call("token_info", "mt").user_id == USER
        driver.settle()
    assert platform.token_requests == 2  # One attempt, and not one for every call.
    assert driver.time.slept == []


def test_an_expired_token_is_never_sent(platform: Platform, driver: Driver) -> None:
    driver.call("token_info", "mt")
    driver.time.now += 300
    driver.call("token_info", "mt")
    assert [asked.headers["authorization"] for asked in platform.asked_for(INFO_PATH)] == [
        "Bearer token-1",
        "Bearer token-2",
    ]


def test_a_revoked_token_is_renewed_once(platform: Platform, driver: Driver) -> None:
    driver.call("token_info", "mt")
    platform.revoked.add("token-1")
    assert driver.call("token_info", "mt").user_id == USER
    assert platform.token_requests == 2
    assert driver.time.slept == []


def test_a_game_that_is_not_let_in_is_told_so_after_one_renewal(platform: Platform, driver: Driver) -> None:
    platform.always(INFO_PATH, problem(401, "unauthenticated", "The game is suspended."))
    with pytest.raises(CredentialsError, match="suspended"):
        driver.call("token_info", "mt")
    assert platform.token_requests == 2


def test_a_token_without_life_is_used_for_the_call_that_asked_for_it(platform: Platform, driver: Driver) -> None:
    platform.token_life_seconds = 0
    driver.call("token_info", "mt")
    driver.call("token_info", "mt")
    assert platform.token_requests == 2


# --- many callers at once --------------------------------------------------------------------------------------------


def test_a_thousand_concurrent_calls_cost_one_token_request(platform: Platform) -> None:
    async def run() -> set[str]:
        async with AsyncClient(platform.config()) as client:
            answers = await asyncio.gather(*(client.token_info(f"mt-{number}") for number in range(1_000)))
        return {answer.user_id for answer in answers}

    assert asyncio.run(run()) == {USER}
    assert platform.token_requests == 1
    # On a slow machine a connection is given up before the request's body has gone, and it goes once more.
    assert len({asked.json["token"] for asked in platform.asked_for(INFO_PATH) if asked.body}) == 1_000


def test_many_threads_cost_one_token_request(platform: Platform) -> None:
    barrier = Barrier(32)

    def call(client: Client) -> str:
        barrier.wait()
        return client.token_info("mt").user_id

    with Client(platform.config()) as client, ThreadPoolExecutor(32) as pool:
        assert set(pool.map(call, [client] * 32)) == {USER}
    assert platform.token_requests == 1


def test_a_caller_who_comes_just_too_late_for_a_token_request_does_not_make_another(
    platform: Platform, driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver.call("token_info", "mt")
    looks: list[str | None] = []
    really_usable = TokenCache.usable

    def usable(cache: TokenCache, now: float) -> str | None:
        # The first look is from a moment before the token came, the second from after.
        looks.append(None if not looks else really_usable(cache, now))
        return looks[-1]

    monkeypatch.setattr(TokenCache, "usable", usable)
    driver.call("token_info", "mt")
    assert looks[:2] == [None, "token-1"]
    assert platform.token_requests == 1


def test_calls_that_are_refused_together_renew_the_token_once(platform: Platform) -> None:
    async def run() -> None:
        async with AsyncClient(platform.config()) as client:
            await client.token_info("mt")
            platform.revoked.add("token-1")
            await asyncio.gather(*(client.token_info("mt") for _ in range(200)))

    asyncio.run(run())
    assert platform.token_requests == 2


def test_threads_that_are_refused_together_renew_the_token_once(platform: Platform) -> None:
    with Client(platform.config()) as client, ThreadPoolExecutor(32) as pool:
        client.token_info("mt")
        platform.revoked.add("token-1")
        assert len(list(pool.map(lambda _: client.token_info("mt"), range(64)))) == 64
    assert platform.token_requests == 2


def test_callers_share_the_failure_of_a_token_request(platform: Platform) -> None:
    platform.always(TOKEN_PATH, Reply(503, b""))
    time = FakeTime()

    async def run() -> list[Any]:
        async with AsyncClient(platform.config(), clock=time.clock, sleep=time.asleep) as client:
            calls = (client.token_info("mt") for _ in range(100))
            return await asyncio.gather(*calls, return_exceptions=True)

    assert {type(result) for result in asyncio.run(run())} == {UnavailableError}
    assert platform.token_requests == RetryPolicy().attempts


@pytest.fixture
def waiting(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Grows by one whenever a thread begins to wait for the work of another."""
    waiting: list[object] = []

    class CountingFuture(Future[str]):
        def result(self, timeout: float | None = None) -> str:
            waiting.append(self)
            return super().result(timeout)

    monkeypatch.setattr("oklp.sdk.transport.Future", CountingFuture)
    return waiting


def test_threads_share_the_failure_of_a_token_request(platform: Platform, waiting: list[object]) -> None:
    release = Event()
    platform.always(TOKEN_PATH, Reply(401, {"error": "invalid_client"}, wait_for=release))
    with Client(platform.config()) as client, ThreadPoolExecutor(8) as pool:
        calls = [pool.submit(client.token_info, "mt") for _ in range(8)]
        # One is at the platform, and seven wait for what it will be told.
        until(lambda: len(waiting) == 7)
        release.set()
        errors = [call.exception(30) for call in calls]
    assert {type(error) for error in errors} == {CredentialsError}
    assert platform.token_requests == 1


def test_an_interrupt_strikes_one_thread_and_not_those_that_wait_for_it(waiting: list[object]) -> None:
    flight: SingleFlight[str] = SingleFlight()
    begun = Event()

    def interrupted() -> str:
        begun.set()
        until(lambda: len(waiting) == 1)
        raise KeyboardInterrupt

    with ThreadPoolExecutor(2) as pool:
        leader = pool.submit(flight.run, interrupted)
        assert begun.wait(10)
        follower = pool.submit(flight.run, lambda: "never done")
        assert isinstance(leader.exception(30), KeyboardInterrupt)
        assert isinstance(follower.exception(30), UnreachableError)
    assert flight.run(lambda: "again") == "again"


def test_a_caller_who_is_cancelled_takes_no_other_along(platform: Platform) -> None:
    release = Event()
    platform.script(TOKEN_PATH, Reply(body={"access_token": "token-1", "expires_in": 300}, wait_for=release))

    async def run() -> str:
        async with AsyncClient(platform.config()) as client:
            first = asyncio.create_task(client.token_info("mt"))
            second = asyncio.create_task(client.token_info("mt"))
            await asyncio.to_thread(until, lambda: platform.token_requests == 1)
            first.cancel()
            with pytest.raises(asyncio.CancelledError):
                await first
            release.set()
            return (await second).user_id

    assert asyncio.run(run()) == USER
    assert platform.token_requests == 1


def test_closing_beneath_a_call_is_an_error_and_no_cancellation(platform: Platform) -> None:
    release = Event()
    platform.always(TOKEN_PATH, Reply(401, b"", wait_for=release))

    async def run() -> None:
        client = AsyncClient(platform.config())
        call = asyncio.create_task(client.token_info("mt"))
        await asyncio.to_thread(until, lambda: platform.token_requests == 1)
        await client.aclose()
        with pytest.raises(SdkError, match="closed"):
            await call

    asyncio.run(run())
    release.set()


def test_no_call_waits_for_a_renewal_ahead_of_time(platform: Platform) -> None:
    release, time = Event(), FakeTime()
    with Client(platform.config(), clock=time.clock, sleep=time.sleep) as client:
        client.token_info("mt")
        renewed = Reply(body={"access_token": "token-new", "expires_in": 300}, wait_for=release)
        platform.script(TOKEN_PATH, renewed)
        time.now += 280
        renewing = Thread(target=client.token_info, args=("mt",))
        renewing.start()
        until(lambda: platform.token_requests == 2)
        # The token endpoint hangs, and the old token is still good.
        assert client.token_info("mt").user_id == USER
        assert platform.asked_for(INFO_PATH)[-1].headers["authorization"] == "Bearer token-1"
        release.set()
        renewing.join(30)
        client.token_info("mt")
    assert platform.asked_for(INFO_PATH)[-1].headers["authorization"] == "Bearer token-new"


def test_an_asyncio_call_does_not_even_wait_for_the_renewal_that_it_began(platform: Platform) -> None:
    release, time = Event(), FakeTime()

    async def run() -> str:
        async with AsyncClient(platform.config(), clock=time.clock, sleep=time.asleep) as client:
            await client.token_info("mt")
            platform.script(TOKEN_PATH, Reply(503, b"", wait_for=release))
            time.now += 280
            return (await client.token_info("mt")).user_id

    assert asyncio.run(run()) == USER
    release.set()


# --- the package -----------------------------------------------------------------------------------------------------


def test_the_example_in_the_package_works(platform: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "developer-config.json").write_text(json.dumps(platform.config()))
    monkeypatch.chdir(tmp_path)
    lines = (oklp.sdk.__doc__ or "").splitlines()
    example = textwrap.dedent("\n".join(line for line in lines if line.startswith("    ")))
    assert "finish" in example
    exec(compile(example, "example", "exec"), {"match_token": "mt"})
    assert platform.asked_for(FINISH_PATH)[0].json == {
        "match_id": MATCH_ID,
        "participants": [{"id": USER, "score": 300}],
    }


def test_every_public_name_is_there_and_documented() -> None:
    assert sorted(oklp.sdk.__all__) == oklp.sdk.__all__ == sorted(oklp.sdk._HOME)
    for name in oklp.sdk.__all__:
        value = getattr(oklp.sdk, name)
        if getattr(value, "__module__", "").startswith("oklp.sdk"):
            assert value.__doc__, name
    with pytest.raises(AttributeError, match="nonsense"):
        oklp.sdk.nonsense  # noqa: B018 - the access itself is what is tested


def loaded_by(statement: str) -> set[str]:
    """The top-level packages that a new interpreter has loaded after `statement`."""
    program = f"import sys\n{statement}\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    return set(
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    )


def test_importing_the_kit_loads_nothing_that_is_not_used_yet() -> None:
    assert not loaded_by("import oklp.sdk") & {"httpx", "pydantic", "joserfc", "cryptography", "standardwebhooks"}
    assert not loaded_by("from oklp.sdk import Client") & {"joserfc", "cryptography", "standardwebhooks"}


def test_the_kit_needs_nothing_of_the_server() -> None:
    server = {"fastapi", "starlette", "uvicorn", "sqlalchemy", "alembic", "psycopg", "aiohttp", "typer", "structlog"}
    assert not loaded_by("from oklp.sdk import *") & (server | {"pydantic_settings", "prometheus_client", "jinja2"})


# --- a platform that is none -----------------------------------------------------------------------------------------


def test_of_an_answer_without_end_no_more_is_read_than_any_answer_has(
    platform: Platform, make_driver: MakeDriver
) -> None:
    body = Answering(b" " * 1_000_000, 100)
    with pytest.raises(UnexpectedAnswerError):
        make_driver(platform.config(), transport=answering(body), retry=ONCE).call("token_info", "match-token")
    assert body.taken < 10


def test_an_answer_that_comes_in_drops_is_not_waited_for(platform: Platform, make_driver: MakeDriver) -> None:
    """Each drop comes within the time-out, and a result would wait behind it for ever."""
    body = Answering(b" ", 500, apart_seconds=0.01)
    driver = make_driver(platform.config(), transport=answering(body), retry=ONCE, timeout_seconds=0.05)
    with pytest.raises(UnreachableError, match="not complete after"):
        driver.call("token_info", "match-token")
    assert body.taken < 500


@pytest.mark.parametrize("path", [TOKEN_PATH, INFO_PATH])
def test_headers_that_come_in_drops_are_not_waited_for(platform: Platform, make_driver: MakeDriver, path: str) -> None:
    """On a connection that is new, and on one that served the call before."""
    body = {"access_token": "token-1", "expires_in": 300, "token_type": "Bearer", **TOKEN_INFO}
    platform.always(path, Reply(body=body, drops=200))
    driver = make_driver(retry=ONCE, timeout_seconds=0.1)
    with pytest.raises(UnreachableError, match=r"not complete after 0\.3 s"):
        driver.call("token_info", "match-token")


def test_a_token_that_no_header_can_hold_is_refused(platform: Platform, driver: Driver) -> None:
    platform.always(TOKEN_PATH, Reply(body={"access_token": "t\u00f6ken", "expires_in": 300, "token_type": "Bearer"}))
    with pytest.raises(UnexpectedAnswerError):
        driver.call("token_info", "match-token")


def test_a_token_that_lives_longer_than_anyone_can_count_is_used(platform: Platform, driver: Driver) -> None:
    platform.script(TOKEN_PATH, Reply(body=b'{"access_token": "token-1", "expires_in": 1%s}' % (b"0" * 400)))
    assert driver.call("token_info", "match-token").match_id == MATCH_ID


def test_an_id_that_is_no_text_is_not_sent(platform: Platform, driver: Driver) -> None:
    with pytest.raises(InvalidCallError, match="match_id"):
        driver.call("match", "\ud800")
    assert platform.asked == []


def test_a_client_that_was_closed_says_so(platform: Platform) -> None:
    client = Client(platform.config())
    client.close()
    with pytest.raises(SdkError, match="closed"):
        client.token_info("match-token")

    async def closed() -> None:
        client = AsyncClient(platform.config())
        await client.aclose()
        await client.token_info("match-token")

    with pytest.raises(SdkError, match="closed"):
        asyncio.run(closed())
