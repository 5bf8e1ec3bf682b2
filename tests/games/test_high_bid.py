"""High Bid: the rules, the clocks, and the server as the platform, players and strangers meet it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from games.high_bid.high_bid import game as game_module
from games.high_bid.high_bid.game import Game
from games.high_bid.high_bid.matches import Match, NotPlayableError, Pace
from games.high_bid.high_bid.rules import CARDS, SEATS, Seat, best, other, play, prize_order
from games.high_bid.high_bid.server import PAGES, create_app
from games.high_bid.high_bid.store import Store
from oklp.contract import FinishRequest
from oklp.sdk import AsyncClient, AsyncWebhookVerifier, MatchInfo, Participant, TeamRef
from oklp.signing import new_webhook_secret, sign_webhook, webhook_claims
from tests.sdk.browser import ORIGIN, open_page
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

SECRET = new_webhook_secret(b"h" * 32)
USERS = (USER, OTHER_USER)
INFO = MatchInfo(
    match_id=MATCH_ID,
    participants=[Participant(id=OTHER_USER, team_id="t2"), Participant(id=USER, team_id="t1")],
    teams=[TeamRef(id="t1"), TeamRef(id="t2")],
)
PACE = Pace(arrival_seconds=100, round_seconds=10)

match_ids = st.text("0123456789abcdef", min_size=24, max_size=24)
hands = st.permutations(CARDS)


# --- rules -----------------------------------------------------------------------------------------------------------


def test_the_order_of_prizes_is_the_published_one() -> None:
    """Anybody can compute it from the match id, so it must never change."""
    assert prize_order(MATCH_ID) == (4, 5, 2, 7, 1, 6, 3)


@given(match_ids)
def test_every_prize_comes_up_once(match_id: str) -> None:
    assert sorted(prize_order(match_id)) == list(CARDS)


@given(match_ids, hands, hands)
def test_no_point_is_made_or_lost_but_by_a_tie_at_the_end(match_id: str, mine: list[int], theirs: list[int]) -> None:
    table = play(prize_order(match_id), zip(mine, theirs, strict=True))
    untaken = table.rounds[-1].stake if table.rounds[-1].taken_by is None else ()
    assert sum(table.points) + sum(untaken) == sum(CARDS)
    assert table.hands == ((), ())


@given(match_ids, hands, hands)
def test_the_seats_are_equal(match_id: str, mine: list[int], theirs: list[int]) -> None:
    """Who sits where changes nothing but who is who."""
    prizes = prize_order(match_id)
    here, there = (play(prizes, zip(*pair, strict=True)) for pair in ((mine, theirs), (theirs, mine)))
    assert here.points == there.points[::-1]
    ahead = best(here)
    assert best(there) == (None if ahead is None else other(ahead))
    assert (ahead is None) == (mine == theirs)


def test_equal_points_are_decided_by_the_most_valuable_prize() -> None:
    level = play((7, 1, 6, 2, 5, 3, 4), [(7, 1), (1, 2), (2, 7), (6, 3), (5, 4), (3, 5), (4, 6)])
    assert level.points == (14, 14)
    assert best(level) == 0


# --- clocks and forfeits ---------------------------------------------------------------------------------------------


def started() -> Match:
    match = Match.of(INFO, 0, PACE)
    for seat in SEATS:
        assert match.arrive(seat, 0, PACE)
    return match


def finish_by_bids(match: Match, cards: tuple[tuple[int, ...], tuple[int, ...]], now: int = 0) -> None:
    for pair in zip(*cards, strict=True):
        for seat in SEATS:
            if match.phase == "playing":
                match.bid(seat, len(match.bids) + 1, pair[seat], now, PACE)


def verdict(match: Match) -> list[tuple[int, bool]]:
    """Ranking and forfeit of each seat's team, from a result that the wire takes."""
    participants, teams = match.result()
    body = FinishRequest.model_validate({"match_id": MATCH_ID, "participants": participants, "teams": teams})
    assert [each.id for each in body.participants] == list(USERS)
    assert body.teams is not None
    assert [team.id for team in body.teams] == ["t1", "t2"]
    return [(team.ranking, team.forfeit) for team in body.teams]


def test_seats_follow_the_teams_whatever_the_order_of_participants() -> None:
    assert Match.of(INFO, 0, PACE).users == list(USERS)


@pytest.mark.parametrize("team_ids", [["t1", "t1"], ["t1"], ["t1", "t2", "t3"]])
def test_only_one_against_one_is_taken(team_ids: list[str]) -> None:
    participants = [Participant(id=f"u{number}", team_id=team) for number, team in enumerate(team_ids)]
    info = MatchInfo(match_id=MATCH_ID, participants=participants, teams=[TeamRef(id=team) for team in set(team_ids)])
    with pytest.raises(ValueError, match="one against one"):
        Match.of(info, 0, PACE)


def test_the_first_round_waits_for_both_players() -> None:
    match = Match.of(INFO, 0, PACE)
    assert match.arrive(0, 50_000, PACE)
    assert not match.arrive(0, 50_001, PACE)
    with pytest.raises(NotPlayableError):
        match.bid(0, 1, 3, 50_002, PACE)
    assert match.arrive(1, 60_000, PACE)
    assert not match.tick(69_999, PACE)
    assert match.tick(70_000, PACE)


@pytest.mark.parametrize(
    ("came", "expected", "outcomes"),
    [
        ([0], [(1, False), (2, True)], ["won", "lost"]),
        ([1], [(2, True), (1, False)], ["lost", "won"]),
        ([], [(1, True), (1, True)], ["off", "off"]),
    ],
)
def test_who_does_not_come_forfeits(came: list[Seat], expected: list[tuple[int, bool]], outcomes: list[str]) -> None:
    match = Match.of(INFO, 0, PACE)
    for seat in came:
        match.arrive(seat, 0, PACE)
    assert not match.tick(99_999, PACE)
    assert match.tick(100_000, PACE)
    assert match.phase == "over"
    assert verdict(match) == expected
    assert [match.view(seat, 0, PACE)["outcome"] for seat in SEATS] == outcomes


def test_a_round_that_is_let_pass_plays_the_lowest_card_and_the_second_in_a_row_forfeits() -> None:
    match = started()
    match.bid(0, 1, 4, 0, PACE)
    assert match.tick(10_000, PACE)
    assert match.bids == [[4, 1]]
    match.bid(0, 2, 5, 10_001, PACE)
    match.bid(1, 2, 7, 10_001, PACE)
    for number in (3, 4):
        assert match.phase == "playing"
        match.bid(0, number, 4 + number - 1, match.deadline_at, PACE)
        assert match.tick(match.deadline_at, PACE)
    assert match.phase == "over"
    assert verdict(match) == [(1, False), (2, True)]


def test_when_neither_plays_on_both_forfeit() -> None:
    match = started()
    for _ in range(2):
        match.tick(match.deadline_at, PACE)
    assert verdict(match) == [(1, True), (1, True)]


def test_a_card_is_played_once_in_its_round_and_only_from_the_hand() -> None:
    match = started()
    assert match.bid(0, 1, 7, 0, PACE)
    assert not match.bid(0, 1, 7, 0, PACE)
    for seat, number, card in ((0, 1, 6), (1, 2, 6), (1, 1, 8), (1, 0, 1)):
        with pytest.raises(NotPlayableError):
            match.bid(seat, number, card, 0, PACE)  # type: ignore[arg-type]
    match.bid(1, 1, 5, 0, PACE)
    assert not match.bid(0, 1, 7, 0, PACE), "a repeated request for a round that is over changes nothing"
    with pytest.raises(NotPlayableError, match="hand"):
        match.bid(0, 2, 7, 0, PACE)


def test_a_chosen_card_is_not_shown_to_the_other_player() -> None:
    match = started()
    match.bid(0, 1, 7, 0, PACE)
    theirs = match.view(1, 0, PACE)
    assert theirs["them"]["ready"] is True
    assert theirs["them"]["hand"] == list(CARDS)
    assert "choice" not in theirs["them"]
    assert match.view(0, 0, PACE)["you"]["choice"] == 7


@given(hands, hands)
def test_every_match_ends_with_a_result_and_survives_being_stored(mine: list[int], theirs: list[int]) -> None:
    match = started()
    finish_by_bids(match, (tuple(mine), tuple(theirs)))
    assert match.phase == "over"
    assert sorted(verdict(match)) in ([(1, False), (2, False)], [(1, False), (1, False)])
    again = Match(**json.loads(json.dumps(match.to_dict())))
    assert again.result() == match.result()


# --- the server ------------------------------------------------------------------------------------------------------


@pytest.fixture
def platform() -> Iterator[Platform]:
    with running_platform() as running:
        running.always(JWKS_PATH, Reply(body={"keys": [signing_key("first").public_jwk()]}))
        for name, user in (("marlene", USER), ("otto", OTHER_USER)):
            running.always(f"{API}/users/{user}", Reply(body={"user_id": user, "username": name}))
        yield running


class House:
    """The game server on a stand-in platform, spoken to over ASGI. `seats` are the players' clients once they came."""

    def __init__(self, platform: Platform, path: Path, pace: Pace) -> None:
        config = platform.config(webhook_secret=SECRET)
        self.platform = platform
        self.app = create_app(
            lambda: Game(Store(path), AsyncClient(config), AsyncWebhookVerifier(config), pace),
            back_url=f"{platform.url}/matches/{{match_id}}",
        )
        self._deliveries = count()

    def client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=httpx.ASGITransport(self.app), base_url="http://game.example")

    async def tell(self, method: str = "PUT", body: Any = None, **headers: str) -> httpx.Response:
        """A webhook as the platform sends it; `headers` replace its own."""
        content = json.dumps(body if body is not None else INFO.model_dump()).encode()
        now, name = int(time.time()), f"msg_{next(self._deliveries)}"
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

    @contextlib.asynccontextmanager
    async def seated(self, user: str) -> AsyncIterator[httpx.AsyncClient]:
        """A player who has followed the launch URL; requests go beneath the table's address."""
        self.platform.script(f"{API}/token-info", Reply(body={**TOKEN_INFO, "user_id": user}))
        async with self.client() as http:
            answer = await http.get("/play?token=good")
            assert answer.status_code == 303
            http.base_url = httpx.URL(f"http://game.example{answer.headers['location']}/")
            yield http


OnHouse = Callable[[House], Awaitable[None]]


def run(platform: Platform, folder: Path, *visits: OnHouse, pace: Pace = PACE) -> None:
    """Each visit is to the server as newly started on the same file."""

    async def visit(what: OnHouse) -> None:
        house = House(platform, folder / "high-bid.db", pace)
        async with house.app.router.lifespan_context(house.app):
            await what(house)

    for what in visits:
        asyncio.run(visit(what))


async def results(platform: Platform, number: int) -> list[Any]:
    """The results that the platform was sent, once there are so many."""
    async with asyncio.timeout(20):
        while len(platform.asked_for(f"{API}/finish")) < number:  # noqa: ASYNC110 - it is another thread's
            await asyncio.sleep(0.01)
    return [asked.json for asked in platform.asked_for(f"{API}/finish")]


async def named(http: httpx.AsyncClient) -> Any:
    """The view of a seat, once the game has asked for its opponent's name."""
    async with asyncio.timeout(20):
        while not (view := (await http.get("state")).json())["them"]["name"]:  # noqa: ASYNC110 - it is asked of a server
            await asyncio.sleep(0.01)
    return view


async def play_all(mine: httpx.AsyncClient, theirs: httpx.AsyncClient) -> None:
    """One plays 1 to 7, the other 2 to 7 and then 1; the last card of each needs no bid."""
    for http in (mine, theirs):
        assert (await http.get("state")).status_code == 200
    for number in range(1, 7):
        for http, card in ((mine, number), (theirs, number + 1)):
            answer = await http.post("bid", json={"round": number, "card": card})
            assert answer.status_code == 200, answer.text


def test_a_whole_match(platform: Platform, tmp_path: Path) -> None:
    async def visit(house: House) -> None:
        assert (await house.tell()).status_code == 200
        async with house.seated(USER) as mine, house.seated(OTHER_USER) as theirs:
            await play_all(mine, theirs)
            (sent,) = await results(platform, 1)
            points = play(prize_order(MATCH_ID), [*((n, n + 1) for n in range(1, 7)), (7, 1)]).points
            assert sent["match_id"] == MATCH_ID
            assert sent["participants"] == [
                {"id": user, "score": score} for user, score in zip(USERS, points, strict=True)
            ]
            assert [team["ranking"] for team in sent["teams"]] == [2, 1]
            view = await named(mine)
            assert (view["outcome"], view["them"]["name"]) == ("lost", "otto")
            assert view["back_url"] == f"{platform.url}/matches/{MATCH_ID}"

    run(platform, tmp_path, visit)


def test_a_result_is_sent_until_it_is_answered(platform: Platform, tmp_path: Path) -> None:
    platform.script(f"{API}/finish", Reply(503, headers={"retry-after": "0"}), Reply(close=True))

    async def visit(house: House) -> None:
        await house.tell()
        async with house.seated(USER) as mine, house.seated(OTHER_USER) as theirs:
            await play_all(mine, theirs)
            first, second, third = await results(platform, 3)
            assert first == second == third

    run(platform, tmp_path, visit)


def test_a_result_outlives_a_disk_that_is_full_for_a_moment(
    platform: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last card is played, and cannot be written down: nobody plays another that would do it."""
    is_full = False
    save = Store.save

    def save_if_there_is_room(store: Store, match: Match) -> None:
        if is_full:
            raise sqlite3.OperationalError("database or disk is full")
        save(store, match)

    monkeypatch.setattr(Store, "save", save_if_there_is_room)
    monkeypatch.setattr(game_module, "KEEP_AGAIN_SECONDS", 0.01)

    async def visit(house: House) -> None:
        nonlocal is_full
        await house.tell()
        async with house.seated(USER) as mine, house.seated(OTHER_USER) as theirs:
            looks_on = asyncio.create_task(mine.get("events"))
            for http in (mine, theirs):
                await named(http)
            for number in range(1, 6):
                for http in (mine, theirs):
                    await http.post("bid", json={"round": number, "card": number})
            await mine.post("bid", json={"round": 6, "card": 6})
            is_full = True
            with pytest.raises(sqlite3.Error):
                await theirs.post("bid", json={"round": 6, "card": 7})
            assert platform.asked_for(f"{API}/finish") == []
            is_full = False
            await results(platform, 1)
            async with asyncio.timeout(20):
                shown = [json.loads(line[6:]) for line in (await looks_on).text.split("\n") if line[:6] == "data: "]
            assert (shown[-1]["outcome"], shown[-1]["reported"]) == ("lost", True)
        store = Store(tmp_path / "high-bid.db")
        assert [match.phase for match in store.load()] == ["reported"]
        store.close()

    run(platform, tmp_path, visit)


def test_a_quiet_table_is_shown_again_and_again(
    platform: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page hears of no comments, so without it a dead stream looks like an opponent who thinks."""
    page_waits_ms = re.search(r"SILENCE_MS = ([\d_]+);", (PAGES / "static" / "table.js").read_text(encoding="utf-8"))
    assert page_waits_ms is not None
    assert int(page_waits_ms[1]) > 2_000 * game_module.STATE_EVERY_SECONDS
    monkeypatch.setattr(game_module, "STATE_EVERY_SECONDS", 0.01)

    async def visit(house: House) -> None:
        await house.tell()
        game: Game = house.app.state.game
        match = game.at_seat(MATCH_ID, 0, game.seat_key(MATCH_ID, 0))
        assert match is not None
        async with asyncio.timeout(20), contextlib.aclosing(game.views(match, 0)) as views:
            shown = [await anext(views) for _ in range(5)]
        assert {view["phase"] for view in shown} == {"waiting"}

    run(platform, tmp_path, visit)


# In place of a browser's: it opens, and says nothing but what a test has it say.
STREAM = """
window.streams = [];
window.EventSource = class {
  static CLOSED = 2;
  readyState = 1;
  constructor() { window.streams.push(this); }
  close() { this.readyState = 2; }
};
"""


def test_a_stream_that_died_without_a_word_is_given_up() -> None:
    view = {**started().view(0, 0, PACE), "back_url": "/"}
    files = {"table": PAGES / "table.html", **{f"static/{file.name}": file for file in (PAGES / "static").iterdir()}}
    with open_page(files) as page:

        def hear(number: int, **news: Any) -> None:
            script = "([number, view]) => streams[number].onmessage({ data: JSON.stringify(view) })"
            page.evaluate(script, [number, {**view, **news}])

        def streams() -> list[int]:
            """What becomes of each: 1 is open, 2 closed."""
            states: list[int] = page.evaluate("streams.map((stream) => stream.readyState)")
            return states

        page.clock.install()
        page.add_init_script(STREAM)
        page.goto(f"{ORIGIN}/table")
        offline = page.locator('[data-id="offline"]')
        for _ in range(3):
            hear(0)
            page.clock.fast_forward(20_000)
        assert (streams(), offline.is_visible()) == ([1], False), "quiet, and not dead"
        page.clock.fast_forward(6_000)
        assert (streams(), offline.is_visible()) == ([2, 1], True)
        hear(1)
        assert not offline.is_visible()
        page.evaluate("dispatchEvent(new Event('online'))")
        assert streams() == [2, 2, 1]
        hear(2)
        page.clock.fast_forward(13_000)
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        assert streams() == [2, 2, 2, 1]
        hear(3, phase="over", outcome="won", reported=True)
        page.clock.fast_forward(60_000)
        assert streams() == [2, 2, 2, 1], "nothing more will be said"


def test_a_restart_forgets_no_match_no_seat_and_no_result(platform: Platform, tmp_path: Path) -> None:
    cookies: list[httpx.Cookies] = []
    platform.always(f"{API}/finish", Reply(500))

    async def first(house: House) -> None:
        await house.tell()
        async with house.seated(USER) as mine, house.seated(OTHER_USER) as theirs:
            for http in (mine, theirs):
                await http.get("state")
                cookies.append(http.cookies)
            await mine.post("bid", json={"round": 1, "card": 7})

    async def second(house: House) -> None:
        async with house.client() as mine, house.seated(OTHER_USER) as theirs:
            mine.cookies = cookies[0]
            view = (await mine.get(f"/match/{MATCH_ID}/0/state")).json()
            assert view["you"]["choice"] == 7
            await theirs.post("bid", json={"round": 1, "card": 1})
            for number in range(2, 7):
                await mine.post(f"/match/{MATCH_ID}/0/bid", json={"round": number, "card": number})
                await theirs.post("bid", json={"round": number, "card": number})
            await results(platform, 1)

    async def third(house: House) -> None:
        before = len(platform.asked_for(f"{API}/finish"))
        platform.always(f"{API}/finish", Reply(body=FINISHED))
        sent = await results(platform, before + 1)
        assert sent[-1] == sent[0]

    run(platform, tmp_path, first, second, third)


def test_the_same_webhook_twice_is_the_same_match(platform: Platform, tmp_path: Path) -> None:
    async def visit(house: House) -> None:
        await house.tell()
        async with house.seated(USER) as mine, house.seated(OTHER_USER) as theirs:
            for http in (mine, theirs):
                await http.get("state")
            await mine.post("bid", json={"round": 1, "card": 4})
            assert (await house.tell()).status_code == 200
            assert (await mine.get("state")).json()["you"]["choice"] == 4

    run(platform, tmp_path, visit)


def test_a_match_that_is_called_off_is_forgotten_and_never_comes_back(platform: Platform, tmp_path: Path) -> None:
    async def visit(house: House) -> None:
        await house.tell()
        async with house.seated(USER) as mine, house.seated(OTHER_USER) as theirs:
            for http in (mine, theirs):
                await http.get("state")
            assert (await house.tell("DELETE")).status_code == 200
            view = (await mine.get("state")).json()
            assert (view["phase"], view["history"]) == ("aborted", [])
            assert (await mine.post("bid", json={"round": 1, "card": 1})).status_code == 409
            assert (await house.tell("PUT")).status_code == 422
        assert (await house.tell("DELETE", {**INFO.model_dump(), "match_id": "f" * 24})).status_code == 200
        assert platform.asked_for(f"{API}/finish") == []

    run(platform, tmp_path, visit)


def test_what_the_webhook_refuses(platform: Platform, tmp_path: Path) -> None:
    forged = signing_key("second").sign(webhook_claims(platform.url + REALM, GAME, int(time.time()), 60, "x"))
    crowd = {"match_id": MATCH_ID, "participants": [{"id": USER, "team_id": "t1"}], "teams": [{"id": "t1"}]}

    async def visit(house: House) -> None:
        assert (await house.tell(authorization="")).status_code == 401
        assert (await house.tell(authorization=f"Bearer {forged}")).status_code == 401
        assert (await house.tell(webhook_signature="v1,AAAA")).status_code == 401
        assert (await house.tell(body=crowd)).status_code == 422
        assert (await house.tell(body=["nonsense"])).status_code == 400
        async with house.client() as http:
            assert (await http.get("/oklp/match")).status_code == 405
            assert (await http.put("/oklp/match", content=b"x" * 300_000)).status_code == 413
        platform.script(f"{API}/token-info", Reply(body=TOKEN_INFO))
        async with house.client() as http:
            assert (await http.get("/play?token=good")).status_code == 404, "nothing of all that started a match"

    run(platform, tmp_path, visit)


def test_a_seat_is_for_the_one_who_was_let_in(platform: Platform, tmp_path: Path) -> None:
    async def visit(house: House) -> None:
        await house.tell()
        async with house.seated(USER) as mine, house.client() as stranger:
            cookie = mine.cookies["seat"]
            assert (await mine.get("state")).status_code == 200
            for seat in ("1", "2", "7", "9" * 5_000):
                answer = await stranger.get(f"/match/{MATCH_ID}/{seat}/state", headers={"cookie": f"seat={cookie}"})
                assert answer.status_code == 404
            assert (await stranger.get(f"/match/{MATCH_ID}/0/state")).status_code == 404
            page = await stranger.get(f"/match/{MATCH_ID}/0", headers={"accept": "text/html"})
            assert page.status_code == 404
            assert "not yours" in page.text
            for body, status in (
                ({"round": 1, "card": "7"}, 422),
                ({"round": True, "card": 7}, 422),
                ([], 422),
                ({"round": 1, "card": 7}, 409),
            ):
                assert (await mine.post("bid", json=body)).status_code == status
            assert (await mine.post("bid", data={"round": "1", "card": "7"})).status_code == 415

    run(platform, tmp_path, visit)


def test_an_old_link_leads_back_and_a_silent_platform_is_not_the_players_fault(
    platform: Platform, tmp_path: Path
) -> None:
    platform.script(f"{API}/token-info", problem(404, "not-found", "The token is worth nothing."))

    async def visit(house: House) -> None:
        async with house.client() as http:
            for token in ("old", "", "x" * 600):
                page = await http.get(f"/play?token={token}")
                assert page.status_code == 404
                assert "no longer valid" in page.text
                assert f'href="{platform.url}/matches/"' in page.text
            platform.always(f"{API}/token-info", Reply(301))
            page = await http.get("/play?token=good")
            assert page.status_code == 503
            assert "One moment" in page.text

    run(platform, tmp_path, visit)


def test_pages_ask_nobody_else_for_anything(platform: Platform, tmp_path: Path) -> None:
    for path in (each for each in PAGES.rglob("*") if each.is_file()):
        found = set(re.findall(r"(?:https?:)?//[\w.]+\.\w+", path.read_text(encoding="utf-8")))
        assert found <= {"http://www.w3.org"}, path
        assert not re.search(r"\son\w+=|style=|<style|<script>", path.read_text(encoding="utf-8")), path

    async def visit(house: House) -> None:
        async with house.client() as http:
            for path in ("/", "/static/style.css", "/play", "/nowhere", "/healthz"):
                headers = (await http.get(path)).headers
                assert "default-src 'none'" in headers["content-security-policy"]
                assert "unsafe" not in headers["content-security-policy"]
                assert headers["x-content-type-options"] == "nosniff"

    run(platform, tmp_path, visit)
