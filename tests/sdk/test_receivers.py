"""Webhook receivers in each framework, over real HTTP with real signatures: what they answer, and what they call."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Event, Lock
from typing import Any

import httpx
import pytest

from oklp.sdk import (
    AsyncWebhookReceiver,
    DeliveryStore,
    MatchAborted,
    MatchRefused,
    MatchStarted,
    MemoryDeliveries,
    SqliteDeliveries,
    StorageError,
    WebhookReceiver,
)
from oklp.sdk import deliveries as deliveries_module
from oklp.sdk.deliveries import HOLD_SECONDS, KEEP_SECONDS
from oklp.sdk.webhooks import MAX_BODY_BYTES
from oklp.signing import new_webhook_secret
from tests.sdk.frameworks import ASGI, WSGI, serving
from tests.sdk.stand_in import JWKS_PATH, MATCH_ID, REALM, Platform, Reply, signing_key
from tests.sdk.test_webhooks import MATCH, SECRET, Delivery, jwks

OTHER_MATCH = {**MATCH, "match_id": "700f369851f450dd3ecb0035"}


class Game:
    """The handlers of a game: they note what they are called with, and can be told to fail or to wait."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []
        self.fails: list[Exception] = []
        self.entered = Event()
        self.may_go_on = Event()
        self.may_go_on.set()
        self._lock = Lock()

    def started(self, event: MatchStarted) -> None:
        self._called("started", event.match_id)

    def aborted(self, event: MatchAborted) -> None:
        self._called("aborted", event.match_id)

    def _called(self, what: str, match_id: str) -> None:
        self.entered.set()
        self.may_go_on.wait(30)
        with self._lock:
            self.calls.append((what, match_id))
            if self.fails:
                raise self.fails.pop(0)


@pytest.fixture
def game() -> Game:
    return Game()


@pytest.fixture(params=[*ASGI, *WSGI])
def framework(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def config(platform: Platform) -> dict[str, Any]:
    return platform.config(client_secret=None, webhook_secret=SECRET)


@pytest.fixture
def address(framework: str, config: dict[str, Any], game: Game) -> Iterator[str]:
    with serving(framework, config, game) as address:
        yield address


@pytest.fixture
def delivery(platform: Platform) -> Delivery:
    platform.always(JWKS_PATH, jwks("first"))
    return Delivery(platform.url + REALM, at=int(time.time()))


def send(address: str, delivery: Delivery, **headers: str) -> httpx.Response:
    return httpx.request(
        delivery.method, address, headers={**delivery.headers, **headers}, content=delivery.body, timeout=30
    )


STARTED = ("started", MATCH_ID)
ABORTED = ("aborted", MATCH_ID)


# --- what is answered ------------------------------------------------------------------------------------------------


def test_a_match_starts_once_however_often_it_is_announced(address: str, delivery: Delivery, game: Game) -> None:
    assert send(address, delivery).status_code == 200
    assert send(address, delivery).status_code == 200  # played back
    assert send(address, replace(delivery, at=delivery.at + 1, jti="j2")).status_code == 200  # a second attempt
    assert game.calls == [STARTED]


def test_a_failed_handler_is_no_start_and_another_attempt_may_succeed(
    address: str, delivery: Delivery, game: Game
) -> None:
    game.fails = [RuntimeError("no such map")]
    failed = send(address, delivery)
    assert failed.status_code == 500
    assert "no such map" not in failed.text
    assert send(address, replace(delivery, at=delivery.at + 1, jti="j2")).status_code == 200
    assert send(address, replace(delivery, at=delivery.at + 1, jti="j3")).status_code == 200
    assert game.calls == [STARTED, STARTED]


def test_a_game_can_refuse_a_match_politely(address: str, delivery: Delivery, game: Game) -> None:
    game.fails = [MatchRefused("No server is free.")]
    refused = send(address, delivery)
    assert refused.status_code == 503
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.json()["detail"] == "No server is free."


def test_a_stranger_is_turned_away(address: str, delivery: Delivery, game: Game) -> None:
    an_hour_ago = delivery.at - 3600
    strangers = {
        "foreign audience": replace(delivery, audience="word-race"),
        "forged key": replace(delivery, key="second"),
        "foreign issuer": replace(delivery, issuer="https://elsewhere.example/auth/realms/oklp"),
        "foreign signature": replace(delivery, secrets=(new_webhook_secret(b"x" * 32),)),
        "old": replace(delivery, at=an_hour_ago),
    }
    assert {name: send(address, each).status_code for name, each in strangers.items()} == dict.fromkeys(strangers, 401)
    expired = signing_key("first").sign(
        {"iss": delivery.issuer, "aud": delivery.audience, "iat": an_hour_ago, "exp": an_hour_ago + 60, "jti": "j"}
    )
    assert send(address, delivery, Authorization=f"Bearer {expired}").status_code == 401
    assert send(address, delivery, Authorization="").status_code == 401
    assert send(address, delivery, Authorization=f"Basic {delivery.token}").status_code == 401
    tampered = httpx.put(address, headers=delivery.headers, content=delivery.body.replace(b"t1", b"t2"))
    assert tampered.status_code == 401
    assert httpx.put(address, json=MATCH).status_code == 401
    assert game.calls == []


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"match_id": 5}', b'{"match_id": "x"}'])
def test_a_body_that_is_not_match_info_is_400(address: str, delivery: Delivery, game: Game, body: bytes) -> None:
    answer = send(address, replace(delivery, match=body))
    assert (answer.status_code, answer.json()["status"]) == (400, 400)
    assert game.calls == []


def test_a_body_that_is_too_large_is_413(address: str, delivery: Delivery, game: Game) -> None:
    assert send(address, replace(delivery, match=b" " * (MAX_BODY_BYTES + 1))).status_code == 413
    assert game.calls == []


def test_no_other_method_is_taken(address: str, game: Game) -> None:
    for method in ("GET", "POST", "PATCH"):
        answer = httpx.request(method, address)
        assert answer.status_code == 405
        assert {name.strip() for name in answer.headers["allow"].split(",")} == {"PUT", "DELETE"}
    assert game.calls == []


def test_a_test_is_answered_and_starts_nothing(address: str, delivery: Delivery, game: Game) -> None:
    assert send(address, replace(delivery, match={**MATCH, "test": True})).status_code == 200
    assert game.calls == []


def test_while_the_platform_has_no_keys_to_show_nothing_is_believed(
    address: str, delivery: Delivery, game: Game, platform: Platform
) -> None:
    platform.always(JWKS_PATH, Reply(404))
    answer = send(address, delivery)
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) >= 1
    assert game.calls == []


# --- in what order ---------------------------------------------------------------------------------------------------


def called_off(delivery: Delivery) -> Delivery:
    return replace(delivery, method="DELETE", webhook_id="msg_1-abort", jti="j9")


def test_a_match_that_is_called_off_is_aborted_once_and_never_starts_again(
    address: str, delivery: Delivery, game: Game
) -> None:
    assert send(address, delivery).status_code == 200
    assert send(address, called_off(delivery)).status_code == 200
    assert send(address, called_off(delivery)).status_code == 200
    late = send(address, replace(delivery, webhook_id="msg_2", jti="j2"))
    assert late.status_code == 409
    assert game.calls == [STARTED, ABORTED]
    assert send(address, replace(delivery, match=OTHER_MATCH, webhook_id="msg_3", jti="j3")).status_code == 200


def test_a_delete_that_overtakes_its_put_keeps_the_match_from_starting(
    address: str, delivery: Delivery, game: Game
) -> None:
    assert send(address, called_off(delivery)).status_code == 200
    assert send(address, delivery).status_code == 409
    assert game.calls == [ABORTED]


def test_deliveries_of_a_match_wait_for_each_other(address: str, delivery: Delivery, game: Game) -> None:
    game.may_go_on.clear()
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(send, address, delivery)
        assert game.entered.wait(30)
        again = pool.submit(send, address, replace(delivery, at=delivery.at + 1, jti="j2"))
        # Another match is not kept waiting by this one.
        game.entered.clear()
        other = pool.submit(send, address, replace(delivery, match=OTHER_MATCH, webhook_id="msg_5", jti="j5"))
        assert game.entered.wait(30)
        assert not first.done()
        assert not again.done()
        game.may_go_on.set()
        assert [future.result().status_code for future in (first, again, other)] == [200, 200, 200]
    assert sorted(game.calls) == [STARTED, ("started", OTHER_MATCH["match_id"])]


# --- what is remembered ----------------------------------------------------------------------------------------------


def test_a_restart_forgets_nothing_with_a_store_on_disk(
    framework: str, config: dict[str, Any], delivery: Delivery, game: Game, tmp_path: Path
) -> None:
    for _ in range(2):
        store = SqliteDeliveries(tmp_path / "game.db")
        with serving(framework, config, game, store) as address:
            assert send(address, delivery).status_code == 200
        store.close()
    assert game.calls == [STARTED]


def receive(receiver: WebhookReceiver, delivery: Delivery) -> int:
    return receiver.handle(delivery.method, delivery.headers, delivery.body).status


def test_without_a_secret_equal_requests_are_one(platform: Platform, delivery: Delivery, game: Game) -> None:
    """Their webhook-id could be anyone's."""
    receiver = WebhookReceiver(platform.config(client_secret=None), started=game.started, aborted=game.aborted)
    assert receive(receiver, delivery) == 200
    assert receive(receiver, replace(delivery, webhook_id="msg_2", jti="j2")) == 200
    assert game.calls == [STARTED]
    assert receive(receiver, replace(delivery, match=OTHER_MATCH)) == 200
    assert len(game.calls) == 2


def test_a_request_that_is_cancelled_is_handled_to_its_end(
    config: dict[str, Any], delivery: Delivery, game: Game
) -> None:
    """Some servers cancel a request when its client goes away. The match must neither be half started nor stay held."""

    async def scene() -> int:
        receiver = AsyncWebhookReceiver(config, started=game.started, aborted=game.aborted)
        game.may_go_on.clear()
        request = asyncio.create_task(receiver.handle(delivery.method, delivery.headers, delivery.body))
        await asyncio.to_thread(game.entered.wait, 30)
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        game.may_go_on.set()
        again = called_off(delivery)
        return (await receiver.handle(again.method, again.headers, again.body)).status

    assert asyncio.run(scene()) == 200
    assert game.calls == [STARTED, ABORTED]


class BrokenStore(MemoryDeliveries):
    def remember(self, *names: str) -> None:
        raise StorageError("the disk is full")


def test_what_cannot_be_remembered_is_not_taken(
    config: dict[str, Any], delivery: Delivery, game: Game, caplog: pytest.LogCaptureFixture
) -> None:
    receiver = WebhookReceiver(config, started=game.started, aborted=game.aborted, deliveries=BrokenStore())
    with caplog.at_level(logging.ERROR):
        answer = receiver.handle(delivery.method, delivery.headers, delivery.body)
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    assert "the disk is full" in caplog.text
    assert b"disk" not in answer.body


def test_one_that_waits_too_long_for_its_turn_is_told_to_come_back(
    config: dict[str, Any], delivery: Delivery, game: Game, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("oklp.sdk.receiver._TURN_SECONDS", 0.01)
    store = MemoryDeliveries()
    assert store.hold(MATCH_ID) is not None
    receiver = WebhookReceiver(config, started=game.started, aborted=game.aborted, deliveries=store)
    assert receive(receiver, delivery) == 503
    assert game.calls == []


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000_000

    def __call__(self) -> int:
        return self.now


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[DeliveryStore]:
    if request.param == "memory":
        yield MemoryDeliveries()
    else:
        kept = SqliteDeliveries(tmp_path / "game.db")
        yield kept
        kept.close()


def test_a_match_is_held_by_one_at_a_time(store: DeliveryStore) -> None:
    key = store.hold("m1")
    assert key is not None
    assert store.hold("m1") is None
    assert store.hold("m2") is not None
    store.let_go("m1", "another key")
    assert store.hold("m1") is None
    store.let_go("m1", key)
    assert store.hold("m1") is not None


def test_names_are_remembered_together(store: DeliveryStore) -> None:
    assert not store.seen("a")
    store.remember("a", "b")
    store.remember("a")
    assert (store.seen("a"), store.seen("b"), store.seen("c")) == (True, True, False)


def test_one_of_many_threads_holds_a_match(store: DeliveryStore) -> None:
    with ThreadPoolExecutor(8) as pool:
        keys = list(pool.map(store.hold, ["m1"] * 40))
    assert len([key for key in keys if key is not None]) == 1


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deliveries_module, "_CAPACITY", 10)
    store = MemoryDeliveries()
    store.remember(*map(str, range(25)))
    assert [name for name in map(str, range(25)) if store.seen(name)] == [str(n) for n in range(15, 25)]


def test_what_a_killed_process_held_is_free_in_the_end(tmp_path: Path) -> None:
    clock = Clock()
    dead = SqliteDeliveries(tmp_path / "game.db", clock=clock)
    alive = SqliteDeliveries(tmp_path / "game.db", clock=clock)
    lost = dead.hold("m1")
    assert lost is not None
    clock.now += HOLD_SECONDS * 1000 - 1
    assert alive.hold("m1") is None
    clock.now += 1
    mine = alive.hold("m1")
    assert mine is not None
    dead.let_go("m1", lost)
    assert dead.hold("m1") is None
    clock.now -= 24 * 3600 * 1000
    assert dead.hold("m1") is not None, "a clock that was set back must not hold a match for a day"
    dead.close()
    alive.close()


def test_old_deliveries_are_forgotten(tmp_path: Path) -> None:
    clock = Clock()
    store = SqliteDeliveries(tmp_path / "game.db", clock=clock)
    store.remember("old")
    clock.now += KEEP_SECONDS * 1000 + 1
    store.remember("new")
    assert (store.seen("old"), store.seen("new")) == (False, True)
    store.close()


# --- what is imported ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "may_import"),
    [
        ("oklp.sdk.asgi", set()),
        ("oklp.sdk.flask", {"flask", "werkzeug"}),
        ("oklp.sdk.django", {"django", "asgiref"}),
        ("oklp.sdk.receiver", set()),
    ],
)
def test_a_receiver_imports_no_framework_but_its_own(module: str, may_import: set[str]) -> None:
    code = (
        f"import {module}, sys; print(*{{name.partition('.')[0] for name in sys.modules}} & "
        "{'fastapi', 'starlette', 'uvicorn', 'flask', 'werkzeug', 'django', 'asgiref'})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) <= may_import
