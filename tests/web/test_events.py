"""Server-sent events as a browser reads them: ids, resuming, and ending with the session."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from queue import Queue
from typing import Any, NamedTuple

import httpx

from tests.harness import PLAYER, GameClient, PlayerClient, Server, paid_match


class Event(NamedTuple):
    id: str
    event: str
    data: Any


@contextmanager
def listening(player: PlayerClient, last_event_id: str | None = None) -> Iterator[Queue[Event]]:
    """Events of a player, read by a thread until the block ends."""
    events: Queue[Event] = Queue()
    opened = threading.Event()
    headers = {"Last-Event-ID": last_event_id} if last_event_id is not None else {}
    http = httpx.Client(base_url=player.http.base_url, timeout=30, headers={**player.http.headers, **headers})

    def read() -> None:
        seen = ""
        fields: dict[str, str] = {}
        try:
            with http.stream("GET", f"{PLAYER}/events") as answer:
                assert answer.headers["content-type"].startswith("text/event-stream")
                for line in answer.iter_lines():
                    opened.set()
                    if line:
                        name, _, value = line.partition(":")
                        fields[name] = value.strip()
                        continue
                    seen = fields.get("id", seen)
                    if "event" in fields:
                        events.put(Event(seen, fields["event"], json.loads(fields["data"])))
                    fields = {}
        except httpx.HTTPError:
            pass
        finally:
            opened.set()

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    assert opened.wait(10)
    try:
        yield events
    finally:
        http.close()  # the thread ends with the next line that comes


def _until(events: Queue[Event], event: str, **expected: object) -> Event:
    while True:
        found = events.get(timeout=10)
        if found.event == event and expected.items() <= found.data.items():
            return found


def test_an_invitation_a_match_and_the_money_arrive_live(served: Server) -> None:
    game = served.register(discovery="pull")
    one, two = PlayerClient(served.url), PlayerClient(served.url)
    with listening(two) as events:
        match_id = paid_match(one, two, game.client_id)
        _until(events, "invitation", match_id=match_id)
        _until(events, "match", match_id=match_id, status="live")
        client = GameClient(served.url, game)
        assert client.finish(client.report(match_id, two.user_id)).status_code == 200
        wallet = _until(events, "wallet", balances=[{"currency": "XTS", "available": 10_400, "in_escrow": 0}])
        over = _until(events, "match", match_id=match_id, status="finished")
    assert over.data["winnings"] == [{"user_id": two.user_id, "amount": 900}]
    assert wallet.data["balances"]


def test_resuming_leaves_no_gap_and_repeats_nothing(served: Server) -> None:
    game = served.register(discovery="pull")
    one, two = PlayerClient(served.url), PlayerClient(served.url)
    with listening(one) as events:
        match_id = one.create(game.client_id, 0, invite=[two.username])
        first = _until(events, "match", match_id=match_id)
    two.act(match_id, "join")  # while nobody listens
    one.act(match_id, "confirm")
    with listening(one, first.id) as events:
        two.act(match_id, "confirm")
        ids: list[Event] = []
        while not ids or ids[-1].data["status"] != "live":
            found = events.get(timeout=10)
            if found.event == "match":
                ids.append(found)
    positions = [tuple(map(int, each.id.split("-"))) for each in ids]
    assert positions == sorted(set(positions))
    assert all(position > tuple(map(int, first.id.split("-"))) for position in positions)


def test_nobody_hears_of_others(served: Server) -> None:
    game = served.register(discovery="pull")
    one, two, third = (PlayerClient(served.url) for _ in range(3))
    with listening(third) as events:
        paid_match(one, two, game.client_id)
        third.must(201, "POST", "/wallet/deposits", {"amount": 1, "currency": "XTS"})
        # On PostgreSQL the deposit of the sign-up may still be under way: another word about one's own wallet.
        heard: list[int] = []
        while 10_001 not in heard or not events.empty():
            found = events.get(timeout=10)
            assert found.event == "wallet"
            heard.append(found.data["balances"][0]["available"])
        assert set(heard) <= {10_000, 10_001}


def test_an_id_that_is_none_is_refused(served: Server) -> None:
    player = PlayerClient(served.url, deposit=0)
    answer = player.http.get(f"{PLAYER}/events", headers={"Last-Event-ID": "yesterday"})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "Last-Event-ID"
