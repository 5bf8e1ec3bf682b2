"""`oklp listen`: a game that the platform cannot reach gets its webhooks all the same, each of them once."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.harness import PlayerClient, Server, paid_match, serving
from tests.web.conftest import fresh_database
from tests.web.listening import Listening, Proxy
from tests.web.staff import await_delivery
from tests.web.test_login import refusal
from tests.webhooks.receivers import Receivers

NOWHERE = "http://127.0.0.1:9/match-info"  # as a machine behind a router: nobody answers there
CUTS = 5


@pytest.fixture
def patient(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    """A server with a time-out that no load of the test machine comes near."""
    server = request.getfixturevalue("postgres_server") if request.param == "postgresql" else ""
    with serving(fresh_database(request.param, tmp_path, server), tmp_path, OKLP_WEBHOOK_TIMEOUT_SECONDS="60") as made:
        yield made


@pytest.mark.parametrize(("patient", "deliveries"), [("sqlite", 500), ("postgresql", 100)], indirect=["patient"])
def test_every_delivery_arrives_once_while_the_connection_is_cut(
    patient: Server, receivers: Receivers, deliveries: int
) -> None:
    game, local = patient.register(NOWHERE), receivers.url("ok")
    proxy = Proxy(patient.port)
    event = f"/games/{game.client_id}/test-event"
    with Listening(
        patient, "listen", "--game", game.client_id, "--forward-to", local, "--json", url=proxy.url
    ) as listening:
        listening.await_ready()
        with ThreadPoolExecutor(8) as pool:
            sent = [pool.submit(patient.studio.post, event) for _ in range(deliveries)]
            for number in range(1, CUTS + 1):
                # Between two cuts there is a connection again, on which some more come.
                listening.await_results(number * deliveries // (CUTS + 2))
                assert proxy.cut() > 0
                listening.until(lambda n=number: sum("connected again" in line for line in listening.notices) >= n)
        posted = {answer.result().json()["delivery_id"] for answer in sent}
        results = listening.await_results(deliveries)
        assert listening.stop() == 0
    proxy.close()
    assert len(posted) == deliveries
    assert sorted(each["delivery_id"] for each in results) == sorted(posted)
    assert {(each["status"], each["counts"], each["error"]) for each in results} == {(200, True, None)}
    forwarded = [request.headers["webhook-id"] for request in receivers.requests(local)]
    assert sorted(forwarded) == sorted(posted)
    page = patient.studio.get(f"/games/{game.client_id}/deliveries", params={"state": "delivered", "limit": 200})
    states = page.json()["deliveries"]
    while cursor := page.json()["next_cursor"]:
        page = patient.studio.get(page.url.copy_set_param("cursor", cursor))
        states += page.json()["deliveries"]
    assert {each["delivery_id"] for each in states} == posted
    assert {(each["attempts"], each["last_status"]) for each in states} == {(1, 200)}


def test_what_the_local_game_answers_decides_on_the_match(served: Server, receivers: Receivers) -> None:
    """And the local game gets the very request: token, signature and body."""
    game, local = served.register(NOWHERE), receivers.url("sequence:ok,status:500,ok,ok")
    one, two = PlayerClient(served.url), PlayerClient(served.url)
    with Listening(served, "listen", "--game", game.client_id, "--forward-to", local, "--json") as listening:
        listening.await_ready()
        started = paid_match(one, two, game.client_id)
        assert one.await_status(started, "live", "aborted")["status"] == "live"
        refused = paid_match(one, two, game.client_id)
        match = one.await_status(refused, "live", "aborted")
        assert (match["status"], match["abort_detail"]) == ("aborted", "answered 500, not 200")
        first, second = listening.await_results(2)
        assert (first["event"], first["match_id"], first["status"]) == ("match.started", started, 200)
        assert (second["match_id"], second["status"]) == (refused, 500)
        # Resending goes the same way, and changes no match.
        again = served.studio.post(f"/deliveries/{second['delivery_id']}/resend")
        assert again.status_code == 200
        assert listening.await_results(3)[2] == {
            **second,
            **{name: listening.results()[2][name] for name in ("at", "duration_ms")},
            "attempt": 2,
            "status": 200,
        }
        assert one.match(refused)["status"] == "aborted"
        detail = await_delivery(served.studio, second["delivery_id"])
        assert [(each["status"], each["url"]) for each in detail["log"]] == [(500, local), (200, local)]
        # A start that was taken after all is called off.
        called_off = listening.await_results(4)[3]
        assert (called_off["event"], called_off["match_id"]) == ("match.aborted", refused)
        assert "authorization" not in json.dumps(detail).lower()
        assert listening.stop(signal.SIGTERM) == 0
    received = receivers.requests(local)
    assert [each.method for each in received] == ["PUT", "PUT", "PUT", "DELETE"]
    request = received[0]
    assert json.loads(request.body)["match_id"] == started
    certs = httpx.get(f"{game.auth['public_key_url']}").json()
    assert certs["public_key"]
    assert request.headers["authorization"].startswith("Bearer ey")
    assert request.headers["webhook-id"] == first["delivery_id"]
    assert request.headers["webhook-signature"].startswith("v1,")
    assert request.headers["host"] == local.split("/")[2]
    # The listener has left: the platform calls the URL itself again, at once.
    assert one.await_status(paid_match(one, two, game.client_id), "live", "aborted")["status"] == "aborted"
    assert len(receivers.requests(local)) == 4


def test_what_a_listener_did_not_get_in_time_aborts_and_is_shown(served: Server, receivers: Receivers) -> None:
    """A listener that is killed holds the game for a while: what was not handed over was surely not received."""
    game, local = served.register(NOWHERE), receivers.url("hang")
    one, two = PlayerClient(served.url), PlayerClient(served.url)
    words = ("listen", "--game", game.client_id, "--forward-to", local, "--json")
    with Listening(served, *words) as listening:
        listening.await_ready()
        slow = one.await_status(paid_match(one, two, game.client_id), "live", "aborted")
        assert "timed out" in slow["abort_detail"]
        # It was handed over and may have been received: the game is told to forget it, the same way.
        listening.await_results(1)
        started, aborted, *_ = receivers.wait(local, 2)
        assert (started.method, aborted.method) == ("PUT", "DELETE")
        listening.process.kill()
    away = one.await_status(paid_match(one, two, game.client_id), "live", "aborted")
    assert "the listener was away" in away["abort_detail"]
    log = served.studio.get(f"/games/{game.client_id}/deliveries", params={"match_id": away["match_id"]}).json()
    assert [each["event"] for each in log["deliveries"]] == ["match.started"], "no DELETE: nobody had the PUT"
    assert (one.available(), two.available()) == (10_000, 10_000)


def test_the_last_to_come_listens(served: Server, receivers: Receivers) -> None:
    game, local = served.register(NOWHERE), receivers.url("ok")
    words = ("listen", "--game", game.client_id, "--forward-to", local)
    with Listening(served, *words) as first:
        first.await_ready()
        with Listening(served, *words) as second:
            second.await_ready()
            assert first.ended() == 1
            assert first.notices[-1].endswith(f"listens to {game.client_id} now; this listener has ended.")
            assert second.stop() == 0


def test_why_nobody_can_listen_is_told_in_a_line(served: Server) -> None:
    token = str(served.studio.headers["Authorization"]).removeprefix("Bearer ")
    env = {**served.env, "OKLP_URL": served.url, "OKLP_STUDIO_TOKEN": token}
    served.register(NOWHERE)
    served.register(NOWHERE)
    for changes, words, said in (
        ({"OKLP_STUDIO_TOKEN": "none"}, ["--game", "x"], "not valid any more"),
        ({"OKLP_URL": "http://127.0.0.1:1"}, ["--game", "x"], "does not answer"),
        ({}, ["--game", "no-such-game"], "There is no such game."),
        ({}, [], "Which game?"),
        ({}, ["--game", "x", "--forward-to", "ftp://x"], "is no address to forward to"),
        ({}, ["--game", "x", "--forward-to", "http://xn--a/"], "is no address to forward to"),
        ({}, ["--game", "x", "--forward-to", "http://127.0.0.1:9/\t"], "is no address to forward to"),
    ):
        assert said in refusal({**env, **changes}, "listen", "--forward-to", "http://127.0.0.1:9", *words)


def test_injected_faults_strike_what_a_listener_gets(served: Server, receivers: Receivers) -> None:
    game, local = served.register(NOWHERE), receivers.url("ok")
    one, two = PlayerClient(served.url), PlayerClient(served.url)
    assert served.studio.post(f"/games/{game.client_id}/faults", json={"kind": "duplicate_put"}).status_code == 201
    with Listening(served, "listen", "--game", game.client_id, "--forward-to", local, "--json") as listening:
        listening.await_ready()
        match_id = paid_match(one, two, game.client_id)
        assert one.await_status(match_id, "live", "aborted")["status"] == "live"
        results = listening.await_results(2)
        assert sorted(each["copy"] for each in results) == [1, 2]
    first, second = receivers.wait(local, 2)
    assert (first.body, first.headers["webhook-id"]) == (second.body, second.headers["webhook-id"])
