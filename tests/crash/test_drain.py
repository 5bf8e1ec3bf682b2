"""SIGTERM under load: what was taken on is brought to its end, and nothing more is taken on."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from tests.crash.conftest import Rig
from tests.crash.database import left_in_the_air, rows
from tests.crash.load import Load
from tests.crash.proof import prove
from tests.crash.receiver import Receiver
from tests.harness import PLAYER, PlayerClient, paid_match

sqlite = pytest.mark.parametrize("database", ["sqlite"], indirect=True)
postgres = pytest.mark.parametrize("database", ["postgresql"], indirect=True)


@pytest.mark.parametrize(
    ("database", "options"), [("sqlite", ()), ("postgresql", ("--workers", "2"))], indirect=["database"]
)
def test_under_load(rig: Rig, receiver: Receiver, seed: int, database: str, options: tuple[str, ...]) -> None:
    server = rig.add(*options)
    with Load(rig.nodes, receiver, seed) as load:
        load.wait_for_answers(200)
        assert server.stop() == 0
        assert left_in_the_air(database) == []
        server.start(*options)
        load.wait_for_answers(50)
        load.stop()
        assert load.watch.torn == 0
        # A request that met a closing connection may go unanswered, but then it was not done either.
        assert load.watch.replayed == 0, load.watch
        prove(load, server, receiver)
        # Whatever was claimed was sent, once.
        made = dict(rows(database, "SELECT id, attempts FROM deliveries WHERE state <> 'waiting'"))
        came = Counter(each.webhook_id for each in receiver.log() if each.webhook_id in made)
        assert came == made
    print(load.watch)
    assert server.stop() == 0
    rig.check_logs()


@contextmanager
def listening(player: PlayerClient) -> Iterator[threading.Event]:
    """A stream of events that is open; the event is set when it has come to its regular end."""
    opened, ended = threading.Event(), threading.Event()

    def read() -> None:
        with player.http.stream("GET", f"{PLAYER}/events") as answer:
            for _ in answer.iter_lines():
                opened.set()
        ended.set()

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    assert opened.wait(20)
    yield ended
    thread.join(20)


def await_closed(url: str) -> None:
    """Until connections are refused. Those that come in the moment before are cut or answered; either will do."""
    with httpx.Client(base_url=url, headers={"Connection": "close"}) as http:
        while True:
            try:
                http.get("/healthz")
            except httpx.ConnectError:
                return
            except httpx.TransportError:
                continue


@sqlite
def test_streams_end_at_once_and_webhooks_come_back(rig: Rig, receiver: Receiver, database: str) -> None:
    server = rig.add(OKLP_WEBHOOK_TIMEOUT_SECONDS="25", OKLP_DRAIN_SECONDS="30")
    game = server.register(receiver.url("gate"))
    one, two = PlayerClient(server.url), PlayerClient(server.url)
    match_id = paid_match(one, two, game.client_id)
    receiver.wait(1, method="PUT", match_id=match_id)
    assert server.process is not None
    with listening(PlayerClient(server.url)) as ended:
        server.process.terminate()
        assert ended.wait(20), "the stream of events was not ended"
    # The webhook is on its way still, and holds the process, while nobody else gets in.
    await_closed(server.url)
    assert server.process.poll() is None
    receiver.release()
    assert server.process.wait(30) == 0
    assert rows(database, "SELECT status FROM matches") == [("live",)]
    assert rows(database, "SELECT state, last_status FROM deliveries") == [("delivered", 200)]
    rig.check_logs()


@postgres
def test_a_webhook_that_does_not_come_back_in_time(rig: Rig, receiver: Receiver, database: str) -> None:
    """It is given up with the process: what came of it is not known, so the match is aborted and the game is told."""
    server = rig.add(OKLP_WEBHOOK_TIMEOUT_SECONDS="100", OKLP_DRAIN_SECONDS="3")
    game = server.register(receiver.url("mute"))
    one, two = PlayerClient(server.url), PlayerClient(server.url)
    match_id = paid_match(one, two, game.client_id)
    receiver.wait(1, method="PUT", match_id=match_id)
    assert server.stop(30) == 0
    assert left_in_the_air(database) == []
    [(status, detail, escrow)] = rows(database, "SELECT status, abort_detail, escrow FROM matches")
    assert (status, escrow) == ("aborted", 0)
    assert "stopped" in detail
    server.start()
    receiver.wait(1, method="DELETE", match_id=match_id)
    assert (one.available(), two.available()) == (10_000, 10_000)
    server.books()
    assert server.stop() == 0
    rig.check_logs()
