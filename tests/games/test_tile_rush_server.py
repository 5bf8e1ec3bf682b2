"""Tile Rush: the server as players, strangers and the platform meet it."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import random
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from itertools import count
from pathlib import Path
from threading import Event
from typing import Any

import httpx
import pytest
from starlette.types import Message

from games.tile_rush.tile_rush import game as game_module
from games.tile_rush.tile_rush.game import Game
from games.tile_rush.tile_rush.integration import Platform as Integration
from games.tile_rush.tile_rush.rules import GAP_MS, Board
from games.tile_rush.tile_rush.runs import GRACE_AFTER_RESTART_MS, GRACE_MS, LEAD_IN_MS, Run
from games.tile_rush.tile_rush.server import PAGES, create_app
from games.tile_rush.tile_rush.store import Store
from oklp.sdk import MatchInfo, MatchRandom, Participant, TeamRef
from oklp.signing import new_webhook_secret, sign_webhook, webhook_claims
from tests.games.tile_rush_logs import DURATION_MS, TILES, some_taps
from tests.sdk.stand_in import (
    API,
    FINISHED,
    GAME,
    JWKS_PATH,
    MATCH_ID,
    OTHER_USER,
    REALM,
    TOKEN_INFO,
    USER,
    Platform,
    Reply,
    problem,
    running_platform,
    signing_key,
)

SECRET = new_webhook_secret(b"t" * 32)
INFO = MatchInfo(
    match_id=MATCH_ID,
    participants=[Participant(id=OTHER_USER, team_id="t2"), Participant(id=USER, team_id="t1")],
    teams=[TeamRef(id="t1"), TeamRef(id="t2")],
)


class Clock:
    """The server's, moved by the test."""

    def __init__(self) -> None:
        self.now = 1_800_000_000_000

    def __call__(self) -> int:
        return self.now

    def start_of_run(self, after_ms: int = 0) -> None:
        self.now += LEAD_IN_MS + after_ms


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(game_module, "wall_clock", clock)
    monkeypatch.setattr(game_module, "TICK_SECONDS", 0.01)
    return clock


@pytest.fixture
def platform() -> Iterator[Platform]:
    with running_platform() as running:
        running.always(JWKS_PATH, Reply(body={"keys": [signing_key("first").public_jwk()]}))
        running.always(f"{API}/matches/{MATCH_ID}", Reply(body={**INFO.model_dump(), "match_status": "live"}))
        yield running


class House:
    """The game server on a stand-in platform, spoken to over ASGI."""

    def __init__(self, platform: Platform, path: Path) -> None:
        config = platform.config(webhook_secret=SECRET)
        self.platform = platform
        self.app = create_app(
            lambda: Game(Store(path), Integration(config, path), DURATION_MS),
            back_url=f"{platform.url}/matches/{{match_id}}",
        )
        self._deliveries = count()

    def client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=httpx.ASGITransport(self.app), base_url="http://game.example")

    async def tell(self, method: str = "PUT", body: Any = None, **headers: str) -> httpx.Response:
        """A webhook as the platform sends it; `headers` replace its own."""
        content = json.dumps(body if body is not None else INFO.model_dump()).encode()
        now, name = int(time.time()), f"msg_{time.time_ns()}_{next(self._deliveries)}"
        token = signing_key("first").sign(webhook_claims(self.platform.url + REALM, GAME, now, 60, name))
        signed = {
            "authorization": f"Bearer {token}",
            "webhook-id": name,
            "webhook-timestamp": str(now),
            "webhook-signature": sign_webhook([SECRET], name, now, content),
        }
        given_ = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.client() as http:
            return await http.request(method, "/oklp/match", content=content, headers={**signed, **given_})

    async def launch(self, http: httpx.AsyncClient, user: str = USER, **info: Any) -> httpx.Response:
        self.platform.script(f"{API}/token-info", Reply(body={**TOKEN_INFO, "user_id": user, **info}))
        return await http.get("/play?token=good")

    @contextlib.asynccontextmanager
    async def seated(self, user: str = USER, **info: Any) -> AsyncIterator[httpx.AsyncClient]:
        """A player who has followed the launch URL; requests go beneath the run's address."""
        async with self.client() as http:
            answer = await self.launch(http, user, **info)
            assert answer.status_code == 303, answer.text
            http.base_url = httpx.URL(f"http://game.example{answer.headers['location']}/")
            yield http


OnHouse = Callable[[House], Awaitable[None]]


def visit(platform: Platform, folder: Path, *visits: OnHouse) -> None:
    """Each visit is to the server as newly started on the same file."""

    async def one(what: OnHouse) -> None:
        house = House(platform, folder / "tile-rush.db")
        async with house.app.router.lifespan_context(house.app):
            await what(house)

    for what in visits:
        asyncio.run(one(what))


async def results(platform: Platform, number: int) -> list[Any]:
    """The results that the platform was sent, once there are so many."""
    async with asyncio.timeout(30):
        while len(platform.asked_for(f"{API}/finish")) < number:  # noqa: ASYNC110 - it is another thread's
            await asyncio.sleep(0.01)
    return [asked.json for asked in platform.asked_for(f"{API}/finish")]


async def settled(http: httpx.AsyncClient) -> dict[str, Any]:
    """The state of a run once the platform has answered its result."""
    async with asyncio.timeout(30):
        while True:
            state: dict[str, Any] = (await http.get("state")).json()
            if state["phase"] == "off" or state.get("report") not in (None, "waiting"):
                return state
            await asyncio.sleep(0.01)


async def start(http: httpx.AsyncClient) -> dict[str, Any]:
    answer = await http.post("start", json={})
    assert answer.status_code == 200, answer.text
    state: dict[str, Any] = answer.json()
    return state


def log_for(state: dict[str, Any], length: int, seed: int = 1, every: int = GAP_MS) -> list[list[int]]:
    board = Board(MatchRandom(state["match_id"]).stream(state["tiles"]))
    taps = some_taps(board, random.Random(seed), length)
    return [[number * every, x, y] for number, (x, y) in enumerate(taps)]


def score_of(state: dict[str, Any], log: list[list[int]]) -> int:
    board = Board(MatchRandom(state["match_id"]).stream(state["tiles"]))
    for _, x, y in log:
        board.tap(x, y)
    return board.score


async def send(
    http: httpx.AsyncClient, state: dict[str, Any], start: int, taps: list[list[int]], **more: Any
) -> httpx.Response:
    return await http.post("log", json={"tiles": state["tiles"], "from": start, "taps": taps, **more})


def test_a_whole_match(platform: Platform, tmp_path: Path, clock: Clock) -> None:
    """Both play the same tiles; what is reported is what the server computed, whatever a page says of its score."""

    async def play(house: House) -> None:
        assert (await house.tell()).status_code == 200
        expected = {}
        async with house.seated(USER) as mine, house.seated(OTHER_USER) as theirs:
            boards = []
            for seed, (user, http) in enumerate(((USER, mine), (OTHER_USER, theirs))):
                before = (await http.get("state")).json()
                assert (before["phase"], "tiles" in before) == ("ready", False)
                state = await start(http)
                assert state["elapsed_ms"] == -LEAD_IN_MS
                boards.append(state["tiles"])
                # What was said before anybody saw the board binds the server to it.
                committed = hashlib.sha256(state["tiles"].encode()).hexdigest()
                assert before["commitment"] == state["commitment"] == committed
                log = log_for(state, 20 + seed, seed)
                expected[user] = score_of(state, log)
                clock.start_of_run(DURATION_MS - 1)
                answer = await send(http, state, 0, log[:9], score=10**9)
                assert (answer.json()["have"], answer.json()["score"]) == (9, score_of(state, log[:9]))
                early = await send(http, state, 9, log[9:], done=True)
                assert early.json()["phase"] == "playing", "a page cannot end a run before its time"
                clock.now += 1
                late = (await send(http, state, len(log), [], done=True)).json()
                assert (late["phase"], late["score"]) == ("over", expected[user])
                assert (await settled(http))["report"] == "accepted"
            assert boards[0] == boards[1]
        sent = await results(platform, 2)
        assert sent == [
            {"match_id": MATCH_ID, "participants": [{"id": user, "score": score}]} for user, score in expected.items()
        ]

    visit(platform, tmp_path, play)


def test_a_run_that_is_left_is_scored_with_what_was_sent(platform: Platform, tmp_path: Path, clock: Clock) -> None:
    async def play(house: House) -> None:
        await house.tell()
        async with house.seated() as http:
            state = await start(http)
            log = log_for(state, 10)
            clock.start_of_run(30_000)
            await send(http, state, 0, log)
            clock.now += DURATION_MS + GRACE_MS - 30_000
            over = await settled(http)
            assert (over["phase"], over["score"], over["have"]) == ("over", score_of(state, log), 10)
            after = (await send(http, state, 10, [[60_000, 0, 0]])).json()
            assert (after["phase"], after["score"], after["refusal"]) == ("over", over["score"], None)

    visit(platform, tmp_path, play)


def test_a_run_that_was_never_started_is_not_reported(platform: Platform, tmp_path: Path, clock: Clock) -> None:
    async def play(house: House) -> None:
        await house.tell()
        async with house.seated(OTHER_USER) as theirs, house.seated() as mine:
            clock.now += 10 * DURATION_MS
            assert (await theirs.get("state")).json()["phase"] == "ready"
            await start(mine)
            clock.now += 10 * DURATION_MS
            await settled(mine)
        (sent,) = await results(platform, 1)
        assert sent["participants"] == [{"id": USER, "score": 0}]

    visit(platform, tmp_path, play)


def test_a_seat_that_is_no_number_is_nobodys(platform: Platform, tmp_path: Path) -> None:
    async def play(house: House) -> None:
        async with house.client() as http:
            for seat in ("9" * 5_000, "999", "-1", "x", "\u0661"):
                assert (await http.get(f"/match/{MATCH_ID}/{seat}/state")).status_code == 404, seat[:9]

    visit(platform, tmp_path, play)


def test_a_refused_log_ends_the_run_and_what_came_before_counts(
    platform: Platform, tmp_path: Path, clock: Clock
) -> None:
    async def play(house: House) -> None:
        await house.tell()
        async with house.seated() as http:
            state = await start(http)
            log = log_for(state, 10)
            clock.start_of_run(10_000)
            await send(http, state, 0, log[:5])
            bad = (await send(http, state, 5, [*log[5:], [9_000, 99, 99]])).json()
            counts = score_of(state, log[:5])
            assert (bad["phase"], bad["have"], bad["score"]) == ("over", 5, counts)
            assert bad["refusal"] == "tap 11 is impossible: there is no such tile on the board"
            good = (await send(http, state, 5, log[5:])).json()
            assert (good["phase"], good["score"]) == ("over", counts)
            assert (await settled(http))["refusal"] == bad["refusal"]
        (sent,) = await results(platform, 1)
        assert sent["participants"] == [{"id": USER, "score": counts}]

    visit(platform, tmp_path, play)


def test_a_restart_forgets_no_run_no_seat_and_no_result(platform: Platform, tmp_path: Path, clock: Clock) -> None:
    """The clock goes on meanwhile, and taps that waited for the server still count."""
    kept: dict[str, Any] = {}
    platform.always(f"{API}/finish", Reply(503, headers={"retry-after": "0"}))

    async def first(house: House) -> None:
        await house.tell()
        async with house.seated() as http:
            kept.update(state=await start(http), cookies=http.cookies, url=http.base_url)
            kept["log"] = log_for(kept["state"], 12)
            clock.start_of_run(10_000)
            await send(http, kept["state"], 0, kept["log"][:7])

    async def second(house: House) -> None:
        async with house.client() as http:
            http.cookies, http.base_url = kept["cookies"], kept["url"]
            state = (await http.get("state")).json()
            assert (state["phase"], state["log"]) == ("playing", kept["log"][:7])
            assert state["elapsed_ms"] == DURATION_MS + GRACE_MS + 10_000
            piece = await send(http, state, 7, kept["log"][7:], done=True)
            assert (piece.json()["phase"], piece.json()["have"]) == ("over", 12)
            await results(platform, 1)

    async def third(house: House) -> None:
        platform.always(f"{API}/finish", Reply(body=FINISHED))
        async with house.client() as http:
            http.cookies, http.base_url = kept["cookies"], kept["url"]
            over = await settled(http)
            assert (over["report"], over["score"]) == ("accepted", score_of(over, kept["log"]))

    visit(platform, tmp_path, first)
    clock.now += DURATION_MS + GRACE_MS
    visit(platform, tmp_path, second, third)
    sent = asyncio.run(results(platform, 1))
    assert all(each == sent[0] for each in sent)


def test_a_run_whose_time_was_up_while_the_server_was_away_is_ended(
    platform: Platform, tmp_path: Path, clock: Clock
) -> None:
    async def first(house: House) -> None:
        await house.tell()
        async with house.seated() as http:
            await start(http)

    async def second(house: House) -> None:
        clock.now += GRACE_AFTER_RESTART_MS
        (sent,) = await results(platform, 1)
        assert sent["participants"] == [{"id": USER, "score": 0}]

    visit(platform, tmp_path, first)
    clock.now += 10 * DURATION_MS
    visit(platform, tmp_path, second)


def test_a_result_that_was_not_handed_on_before_a_crash_is_handed_on_after_it(
    platform: Platform, tmp_path: Path, clock: Clock
) -> None:
    async def first(house: House) -> None:
        await house.tell()
        async with house.seated() as http:
            await start(http)

    visit(platform, tmp_path, first)
    # As a server leaves it that is killed between the end of the run and the outbox.
    store = Store(tmp_path / "tile-rush.db")
    store.end(MATCH_ID, USER, clock.now, None)
    assert store.unreported() == [(MATCH_ID, USER)]
    store.close()

    async def second(house: House) -> None:
        (sent,) = await results(platform, 1)
        assert sent["participants"] == [{"id": USER, "score": 0}]

    visit(platform, tmp_path, second)


def test_a_second_start_is_the_first_one(platform: Platform, tmp_path: Path, clock: Clock) -> None:
    async def play(house: House) -> None:
        await house.tell()
        assert (await house.tell()).status_code == 200, "the same match, told again"
        async with house.seated() as http:
            first, second = await asyncio.gather(start(http), start(http))
            assert first == second
            clock.start_of_run(5_000)
            assert (await start(http))["elapsed_ms"] == 5_000
        async with house.seated() as http:
            assert (await http.get("state")).json()["elapsed_ms"] == 5_000, "launched again, the clock has gone on"

    visit(platform, tmp_path, play)


def test_a_start_that_the_page_has_given_up_begins_no_run_later(
    platform: Platform, tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The platform takes its time, the page waits no longer, and its player is told that no clock runs. So none must
    begin to when the platform does answer.
    """
    page_waits_ms = re.search(r"TIMEOUT_MS = (\d+);", (PAGES / "static" / "log.js").read_text(encoding="utf-8"))
    assert page_waits_ms is not None
    assert int(page_waits_ms[1]) - 1000 >= 1000 * game_module.START_SECONDS
    platform_answers = Event()

    async def play(house: House) -> None:
        await house.tell()
        async with house.seated() as http:
            late = Reply(body={**INFO.model_dump(), "match_status": "live"}, wait_for=platform_answers)
            platform.script(f"{API}/matches/{MATCH_ID}", late)
            with monkeypatch.context() as impatient:
                impatient.setattr(game_module, "START_SECONDS", 0.1)
                assert (await http.post("start", json={})).status_code == 503
            platform_answers.set()
            assert (await http.get("state")).json()["phase"] == "ready"
            assert (await start(http))["elapsed_ms"] == -LEAD_IN_MS

    visit(platform, tmp_path, play)


def test_a_start_that_nobody_waits_for_begins_no_run(platform: Platform, tmp_path: Path, clock: Clock) -> None:
    """It was so long on its way that the page has hung up meanwhile."""

    async def play(house: House) -> None:
        await house.tell()
        async with house.seated() as http:
            await send_and_hang_up(house, http.build_request("POST", "start", json={}))
            assert (await http.get("state")).json()["phase"] == "ready"
            await start(http)
            await send_and_hang_up(house, http.build_request("POST", "start", json={}))
            assert (await http.get("state")).json()["phase"] == "playing", "what runs, runs"

    visit(platform, tmp_path, play)


async def send_and_hang_up(house: House, request: httpx.Request) -> None:
    messages: Iterator[Message] = iter([{"type": "http.request", "body": request.content, "more_body": False}])

    async def receive() -> Message:
        return next(messages, {"type": "http.disconnect"})

    async def send(message: Message) -> None:
        """Nobody reads it."""

    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": request.method,
        "path": request.url.path,
        "query_string": b"",
        "headers": [(name.lower(), value) for name, value in request.headers.raw],
    }
    await house.app(scope, receive, send)


def test_two_windows_cannot_both_write_the_log(platform: Platform, tmp_path: Path, clock: Clock) -> None:
    async def play(house: House) -> None:
        await house.tell()
        async with house.seated() as http:
            state = await start(http)
            clock.start_of_run(10_000)
            mine, other = (log_for(state, 4, seed) for seed in (1, 5))
            assert mine[0] != other[0]
            await send(http, state, 0, mine)
            answer = await send(http, state, 0, other)
            assert (answer.status_code, answer.json()["log"]) == (409, mine)
            assert answer.json()["phase"] == "playing"

    visit(platform, tmp_path, play)


def test_a_match_that_is_called_off_is_over_at_once_and_never_comes_back(
    platform: Platform, tmp_path: Path, clock: Clock
) -> None:
    async def play(house: House) -> None:
        await house.tell()
        async with house.seated() as mine, house.seated(OTHER_USER) as theirs:
            state = await start(mine)
            clock.start_of_run(1_000)
            assert (await house.tell("DELETE")).status_code == 200
            assert (await send(mine, state, 0, log_for(state, 1))).status_code == 409
            assert (await theirs.post("start", json={})).status_code == 409
            for http in (mine, theirs):
                assert (await http.get("state")).json()["phase"] == "off"
            assert (await house.tell("PUT")).status_code == 409
            assert (await house.tell("DELETE", {**INFO.model_dump(), "match_id": "f" * 24})).status_code == 200
        async with house.client() as http:
            page = await house.launch(http, match_status="aborted")
            assert page.status_code == 409
            assert "called off" in page.text
        clock.now += 10 * DURATION_MS
        await asyncio.sleep(0.1)  # some ticks of the clock, in which nothing must be reported
        assert platform.asked_for(f"{API}/finish") == []

    visit(platform, tmp_path, play)


def test_what_the_webhook_refuses(platform: Platform, tmp_path: Path, clock: Clock) -> None:
    forged = signing_key("second").sign(webhook_claims(platform.url + REALM, GAME, int(time.time()), 60, "x"))

    async def play(house: House) -> None:
        assert (await house.tell(authorization="")).status_code == 401
        assert (await house.tell(authorization=f"Bearer {forged}")).status_code == 401
        assert (await house.tell(webhook_signature="v1,AAAA")).status_code == 401
        assert (await house.tell(body=["nonsense"])).status_code == 400
        async with house.client() as http:
            assert (await http.get("/oklp/match")).status_code == 405
            assert (await http.put("/oklp/match", content=b"x" * 300_000)).status_code == 413

    visit(platform, tmp_path, play)


LAUNCHES = [
    ({"match_status": "pending"}, 409, "has not begun"),
    ({"match_status": "finished", "submissions_left": 0}, 409, "is over"),
    ({"match_status": "aborted"}, 409, "called off"),
    ({"submissions_left": 0}, 409, "one run a player"),
    ({"user_id": "0b8f2d0e-8a3f-4f0e-9a70-333333333333"}, 404, "no longer valid"),
]


@pytest.mark.parametrize(("info", "status", "text"), LAUNCHES)
def test_a_launch_with_nothing_to_play_is_told_so(
    platform: Platform, tmp_path: Path, clock: Clock, info: dict[str, Any], status: int, text: str
) -> None:
    async def play(house: House) -> None:
        await house.tell()
        async with house.client() as http:
            page = await house.launch(
                http, **{"user": USER, **info} if "user_id" not in info else {"user": info["user_id"]}
            )
            assert (page.status_code, text in page.text) == (status, True), page.text
            if status == 409:
                assert f"{platform.url}/matches/{MATCH_ID}" in page.text

    visit(platform, tmp_path, play)


def test_tokens_that_are_worth_nothing_or_cannot_be_checked(platform: Platform, tmp_path: Path, clock: Clock) -> None:
    async def play(house: House) -> None:
        async with house.client() as http:
            assert (await http.get("/play")).status_code == 404
            platform.script(f"{API}/token-info", problem(404, "not-found", "There is no such token."))
            page = await http.get("/play?token=old")
            assert page.status_code == 404
            assert "no longer valid" in page.text
            platform.always(f"{API}/token-info", problem(401, "unauthenticated", "no"))
            page = await http.get("/play?token=good")
            assert page.status_code == 503
            assert "Try again" in page.text

    visit(platform, tmp_path, play)


def test_a_played_run_can_be_looked_at_again_and_a_finished_match_is_not_started(
    platform: Platform, tmp_path: Path, clock: Clock
) -> None:
    async def play(house: House) -> None:
        await house.tell()
        async with house.seated() as mine, house.seated(OTHER_USER) as theirs:
            await start(mine)
            clock.now += 2 * DURATION_MS
            await settled(mine)
            async with house.seated(match_status="finished", submissions_left=0) as again:
                assert (await again.get("state")).json()["phase"] == "over"
            finished = {**INFO.model_dump(), "match_status": "finished"}
            platform.always(f"{API}/matches/{MATCH_ID}", Reply(body=finished))
            assert (await theirs.post("start", json={})).status_code == 409
            platform.always(f"{API}/matches/{MATCH_ID}", problem(401, "unauthenticated", "no"))
            assert (await theirs.post("start", json={})).status_code == 503
            assert (await theirs.get("state")).json()["phase"] == "ready", "no clock runs where none could be started"

    visit(platform, tmp_path, play)


def test_a_game_that_pulls_its_matches_needs_no_webhook(platform: Platform, tmp_path: Path, clock: Clock) -> None:
    async def play(house: House) -> None:
        async with house.seated() as http:
            assert (await start(http))["phase"] == "playing"

    visit(platform, tmp_path, play)


def test_a_seat_is_for_the_one_who_was_let_in(platform: Platform, tmp_path: Path, clock: Clock) -> None:
    async def play(house: House) -> None:
        await house.tell()
        async with house.seated() as mine, house.client() as stranger:
            seat = str(mine.base_url.path).rstrip("/")
            other = seat[:-1] + ("1" if seat.endswith("0") else "0")
            for path in (seat, other, f"{seat[:-1]}7", f"/match/{'e' * 24}/0"):
                assert (await stranger.get(f"{path}/state")).status_code == 404
                assert (await stranger.post(f"{path}/start", json={})).status_code == 404
            (key,) = [cookie.value for cookie in mine.cookies.jar]
            answer = await stranger.get(f"{other}/state", headers={"cookie": f"seat={key}"})
            assert answer.status_code == 404, "the key of one seat opens no other"
            page = await stranger.get(seat, headers={"accept": "text/html"})
            assert (page.status_code, "not yours" in page.text) == (404, True)

    visit(platform, tmp_path, play)


def test_what_is_no_piece_of_a_log_changes_nothing(platform: Platform, tmp_path: Path, clock: Clock) -> None:
    async def play(house: House) -> None:
        await house.tell()
        async with house.seated() as http:
            good = {"tiles": "", "from": 0, "taps": []}
            assert (await http.post("log", json=good)).status_code == 409, "before the start"
            state = await start(http)
            for body in ({}, {**good, "from": -1}, {**good, "from": True}, {**good, "taps": [[1, 2]]}, [1]):
                assert (await http.post("log", json=body)).status_code == 422
            assert (await http.post("log", content=b"{")).status_code == 415
            as_json = {"content-type": "application/json"}
            assert (await http.post("log", content=b"{", headers=as_json)).status_code == 422
            assert (await http.post("log", content=b"[" * 10_000, headers=as_json)).status_code == 422
            assert (await http.post("log", content=b" " * 20_000, headers=as_json)).status_code == 413
            assert (await http.post("start", content=b"x=1")).status_code == 415, "as a form elsewhere would send"
            fresh = (await http.get("state")).json()
            assert (fresh["phase"], fresh["refusal"], fresh["tiles"]) == ("playing", None, state["tiles"])

    visit(platform, tmp_path, play)


def test_nothing_of_a_page_comes_from_elsewhere(platform: Platform, tmp_path: Path, clock: Clock) -> None:
    async def play(house: House) -> None:
        async with house.client() as http:
            for path in ("/", "/practice", "/nowhere", "/static/game.js", "/static/oklp-random.js", "/healthz"):
                answer = await http.get(path, headers={"accept": "text/html"})
                assert "default-src 'none'" in answer.headers["content-security-policy"]
                assert "unsafe" not in answer.headers["content-security-policy"]
        for file in PAGES.rglob("*.*"):
            text = file.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
            assert "http:" not in text, file
            assert "https:" not in text, file
            assert " style=" not in text, file
            assert " on" not in {word[:3] for word in text.split("<") if 'onclick="' in word}, file

    visit(platform, tmp_path, play)


def test_matches_of_long_ago_are_forgotten_but_for_their_results(
    platform: Platform, tmp_path: Path, clock: Clock
) -> None:
    store = Store(tmp_path / "tile-rush.db")
    for number, is_reported in enumerate((True, False)):
        match_id = f"{number:024x}"
        store.take_in(match_id, [USER], DURATION_MS, 0)
        run = Run(match_id, USER, TILES, DURATION_MS, 0)
        store.start(run)
        run.take(TILES, 0, [(0, *min(run.board.groups()[0]))], DURATION_MS)
        store.add(run, run.taps)
        store.end(match_id, USER, DURATION_MS, None)
        if is_reported:
            store.reported(run)
    store.forget_before(1)
    assert store.match(f"{0:024x}") is None
    kept = store.run(f"{1:024x}", USER)
    assert kept is not None
    assert len(kept.taps) == 1
    store.close()
