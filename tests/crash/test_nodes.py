"""Two server processes ("nodes") on one PostgreSQL."""

from __future__ import annotations

import json
import threading
from queue import Queue
from typing import Any

import httpx
import pytest

from tests.crash.conftest import Rig
from tests.crash.receiver import Receiver
from tests.harness import PLAYER, PlayerClient, paid_match
from tests.web.listening import Listening, Proxy

pytestmark = pytest.mark.parametrize("database", ["postgresql"], indirect=True)


def at(node: str, player: PlayerClient) -> PlayerClient:
    """The same player with the same session, at another node."""
    other = object.__new__(PlayerClient)
    other.username, other.user_id = player.username, player.user_id
    other.http = httpx.Client(base_url=node, timeout=30, headers=player.http.headers)
    return other


def test_the_other_node_takes_over(rig: Rig, receiver: Receiver) -> None:
    """A node dies with a webhook on the wire: once its lease is over, the other aborts, refunds and calls off."""
    doomed, other = rig.add(wait=False), rig.add()
    doomed.await_ready()
    game = doomed.register(receiver.url("mute"))
    one, two = PlayerClient(doomed.url), PlayerClient(doomed.url)
    match_id = paid_match(one, two, game.client_id)
    receiver.wait(1, method="PUT", match_id=match_id)
    doomed.kill()
    one, two = at(other.url, one), at(other.url, two)
    match = one.await_status(match_id, "aborted", seconds=30)
    assert match["abort_reason"] == "start-interrupted"
    assert (one.available(), two.available()) == (10_000, 10_000)
    put, delete = receiver.wait(2, match_id=match_id)
    assert (put.method, delete.method) == ("PUT", "DELETE")
    other.books()
    rig.check_logs()


def test_what_one_node_does_the_other_knows(rig: Rig, receiver: Receiver) -> None:
    here, there = rig.add(wait=False), rig.add()
    here.await_ready()
    game = there.register(receiver.url("steady"))
    one, two = PlayerClient(here.url), PlayerClient(there.url)
    events: Queue[tuple[str, Any]] = Queue()

    def read() -> None:
        kind = ""
        with one.http.stream("GET", f"{PLAYER}/events", timeout=60) as answer:
            for line in answer.iter_lines():
                name, _, value = line.partition(": ")
                if name == "retry":
                    events.put(("open", None))
                elif name == "event":
                    kind = value
                elif name == "data":
                    events.put((kind, json.loads(value)))

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    assert events.get(timeout=20)[0] == "open"
    match_id = two.create(game.client_id, invite=[one.username])
    kind, data = events.get(timeout=20)
    while kind != "invitation":
        kind, data = events.get(timeout=20)
    assert data["match_id"] == match_id

    at(there.url, one).act(match_id, "join")
    two.act(match_id, "confirm")
    at(there.url, one).act(match_id, "confirm")
    while not (kind == "match" and data["status"] == "live"):
        kind, data = events.get(timeout=20)

    old, new = kids(here.url), there.cli("keys", "rotate").stdout.split()[-1].rstrip(".")
    assert new not in old
    for node in rig.nodes:
        await_kid(node, new)
        assert old < kids(node)
    assert [each.stop() for each in rig.servers] == [0, 0]
    thread.join(20)
    assert not thread.is_alive()
    rig.check_logs()


def kids(node: str) -> set[str]:
    keys = httpx.get(f"{node}/auth/realms/oklp/protocol/openid-connect/certs").json()["keys"]
    return {key["kid"] for key in keys}


def await_kid(node: str, kid: str) -> None:
    """Nobody promises at which moment, so ask until it is there; pytest's own time-out is the limit."""
    while kid not in kids(node):
        pass


def test_a_listener_at_one_node_gets_what_the_other_sends_and_outlives_its_own(rig: Rig, receiver: Receiver) -> None:
    """The listener's node is killed: it goes on at the other, by the address that both are behind."""
    doomed, other = rig.add(wait=False, OKLP_WEBHOOK_TIMEOUT_SECONDS="30"), rig.add(OKLP_WEBHOOK_TIMEOUT_SECONDS="30")
    doomed.await_ready()
    game, local = other.register("http://127.0.0.1:9/match-info"), receiver.url("steady")
    one, two = PlayerClient(other.url), PlayerClient(other.url)
    proxy = Proxy(doomed.port)
    words = ("listen", "--game", game.client_id, "--forward-to", local, "--json")
    with Listening(other, *words, url=proxy.url) as listening:
        listening.await_ready()
        assert one.await_status(paid_match(one, two, game.client_id), "live", "aborted")["status"] == "live"
        doomed.kill()
        proxy.cut()
        match_id = paid_match(one, two, game.client_id)
        proxy.upstream = other.port
        assert one.await_status(match_id, "live", "aborted", seconds=40)["status"] == "live"
        assert [each["status"] for each in listening.await_results(2)] == [200, 200]
        assert listening.stop() == 0
    proxy.close()
    rig.check_logs()
