"""Receiving webhooks: what is believed, what is refused, and where the keys come from."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from threading import Barrier, Event
from typing import Any

import httpx
import pytest

from oklp.errors import MalformedRequest, OklpError, RequestTooLarge, Unauthenticated, Unavailable
from oklp.sdk import AsyncWebhookVerifier, MatchAborted, MatchStarted, RetryPolicy, TestEvent, WebhookVerifier
from oklp.sdk.webhooks import KEYS_MAX_AGE_SECONDS, LEEWAY_SECONDS, MAX_BODY_BYTES, REFETCH_INTERVAL_SECONDS
from oklp.signing import UnknownKey, access_claims, new_webhook_secret, sign_webhook, webhook_claims
from tests.sdk.stand_in import (
    DROPPED,
    GAME,
    JWKS_PATH,
    MATCH_ID,
    OTHER_USER,
    REALM,
    USER,
    FakeTime,
    Kind,
    Platform,
    Reply,
    signing_key,
)

NOW = 1_800_000_000
SECRET = new_webhook_secret(b"s" * 32)
MATCH = {
    "match_id": MATCH_ID,
    "participants": [{"id": USER, "team_id": "t1"}, {"id": OTHER_USER, "team_id": "t2"}],
    "teams": [{"id": "t1"}, {"id": "t2"}],
}


def jwks(*names: str) -> Reply:
    return Reply(body={"keys": [signing_key(name).public_jwk() for name in names]})


@dataclass
class Delivery:
    """A webhook request as the platform makes it, each part of which a test can make otherwise."""

    issuer: str
    method: str = "PUT"
    match: Any = field(default_factory=lambda: dict(MATCH))
    key: str = "first"
    webhook_id: str = "msg_1"
    at: int = NOW
    jti: str = "j1"
    audience: str = GAME
    secrets: tuple[str, ...] = (SECRET,)

    @property
    def body(self) -> bytes:
        return self.match if isinstance(self.match, bytes) else json.dumps(self.match).encode()

    @property
    def token(self) -> str:
        return signing_key(self.key).sign(webhook_claims(self.issuer, self.audience, self.at, 60, self.jti))

    @property
    def headers(self) -> dict[str, str]:
        return {
            "Content-Type": "application/json",
            "Authorization": f"Bearer {self.token}",
            "webhook-id": self.webhook_id,
            "webhook-timestamp": str(self.at),
            "webhook-signature": sign_webhook(self.secrets, self.webhook_id, self.at, self.body),
        }


class Receiver:
    """A verifier of either kind, called in the same way."""

    def __init__(self, kind: Kind, config: Any, time: FakeTime) -> None:
        self.time = time
        self._loop = asyncio.new_event_loop() if kind == "async" else None
        self.verifier: Any = (
            WebhookVerifier(config, clock=time.clock, sleep=time.sleep, chance=time.chance)
            if kind == "sync"
            else AsyncWebhookVerifier(config, clock=time.clock, sleep=time.asleep, chance=time.chance)
        )

    def take(self, delivery: Delivery, headers: Any = None, **changes: Any) -> Any:
        given = {**delivery.headers, **changes} if headers is None else headers
        return self.verify(delivery.method, given, delivery.body)

    def verify(self, method: str, headers: Any, body: bytes) -> Any:
        return self._done(self.verifier.verify(method, headers, body))

    def warm_up(self) -> None:
        self._done(self.verifier.warm_up())

    def settle(self) -> None:
        if self._loop is not None:
            others = asyncio.all_tasks(self._loop)
            if others:
                self._loop.run_until_complete(asyncio.wait(others))

    def close(self) -> None:
        if self._loop is None:
            self.verifier.close()
        else:
            self._loop.run_until_complete(self.verifier.aclose())
            self._loop.close()

    def _done(self, result: Any) -> Any:
        return result if self._loop is None else self._loop.run_until_complete(result)


@pytest.fixture
def time() -> FakeTime:
    return FakeTime(NOW)


@pytest.fixture
def delivery(platform: Platform) -> Delivery:
    platform.always(JWKS_PATH, jwks("first"))
    return Delivery(platform.url + REALM)


@pytest.fixture
def receiver(kind: Kind, platform: Platform, time: FakeTime) -> Iterator[Receiver]:
    receiver = Receiver(kind, platform.config(client_secret=None, webhook_secret=SECRET), time)
    yield receiver
    receiver.close()


@pytest.fixture
def unsigned(kind: Kind, platform: Platform, time: FakeTime) -> Iterator[Receiver]:
    """A receiver whose configuration holds no webhook secret."""
    receiver = Receiver(kind, platform.config(client_secret=None), time)
    yield receiver
    receiver.close()


def fetches(platform: Platform) -> int:
    return len(platform.asked_for(JWKS_PATH))


# --- what is said ----------------------------------------------------------------------------------------------------


def test_a_put_starts_a_match(receiver: Receiver, delivery: Delivery) -> None:
    event = receiver.take(delivery)
    assert type(event) is MatchStarted
    assert event.match_id == MATCH_ID
    assert [(player.id, player.team_id) for player in event.participants] == [(USER, "t1"), (OTHER_USER, "t2")]
    assert [team.id for team in event.teams] == ["t1", "t2"]
    assert (event.webhook_id, event.duplicate, dict(event.extra)) == ("msg_1", False, {})


def test_a_delete_aborts_it(receiver: Receiver, delivery: Delivery) -> None:
    delivery.method = "DELETE"
    event = receiver.take(delivery)
    assert type(event) is MatchAborted
    assert event.match_id == MATCH_ID


def test_a_put_that_says_so_is_a_test(receiver: Receiver, delivery: Delivery) -> None:
    delivery.match["test"] = True
    assert type(receiver.take(delivery)) is TestEvent
    delivery.match["test"], delivery.webhook_id = False, "msg_2"
    assert type(receiver.take(delivery)) is MatchStarted


def test_fields_of_later_versions_are_passed_on(receiver: Receiver, delivery: Delivery) -> None:
    delivery.match["seed"] = {"value": 7}
    delivery.match["participants"][0]["username"] = "ann"
    event = receiver.take(delivery)
    assert dict(event.extra) == {"seed": {"value": 7}}
    assert event.info.model_dump() == {
        **MATCH,
        "participants": [{"id": USER, "team_id": "t1"}, MATCH["participants"][1]],
    }


def test_method_and_header_names_are_taken_in_any_case(receiver: Receiver, delivery: Delivery) -> None:
    headers = {name.upper(): value for name, value in delivery.headers.items()}
    headers["AUTHORIZATION"] = headers["AUTHORIZATION"].replace("Bearer ", "bearer  ")
    assert type(receiver.verify("put", headers, delivery.body)) is MatchStarted


def test_header_multimappings_of_frameworks_are_taken(receiver: Receiver, delivery: Delivery) -> None:
    headers = httpx.Headers([*delivery.headers.items(), ("accept", "a"), ("accept", "b")])
    assert type(receiver.take(delivery, headers)) is MatchStarted


# --- what is refused -------------------------------------------------------------------------------------------------


class Pairs:
    """Headers in which a name can stand twice."""

    def __init__(self, pairs: Iterable[tuple[str, str]]) -> None:
        self._pairs = list(pairs)

    def items(self) -> list[tuple[str, str]]:
        return self._pairs


def test_a_header_that_is_there_twice_is_refused(receiver: Receiver, delivery: Delivery) -> None:
    for name, other in (("authorization", "Bearer x"), ("Webhook-Id", "msg_2"), ("webhook-timestamp", "1")):
        with pytest.raises(Unauthenticated, match="more than once"):
            receiver.take(delivery, Pairs([*delivery.headers.items(), (name, other)]))


@pytest.mark.parametrize(
    "authorization", ["", "Bearer", "Bearer ", "Basic dGlsZTpydXNo", "Token x", "Bearer not.a.jwt"]
)
def test_a_request_without_a_token_is_refused(receiver: Receiver, delivery: Delivery, authorization: str) -> None:
    with pytest.raises(Unauthenticated) as caught:
        receiver.take(delivery, Authorization=authorization)
    assert caught.value.status == 401


@pytest.mark.parametrize("missing", ["Authorization", "webhook-id", "webhook-timestamp", "webhook-signature"])
def test_each_header_is_needed(receiver: Receiver, delivery: Delivery, missing: str) -> None:
    headers = delivery.headers
    del headers[missing]
    with pytest.raises(Unauthenticated, match="needed"):
        receiver.take(delivery, headers)


def test_a_changed_body_is_refused_without_asking_for_keys(
    platform: Platform, receiver: Receiver, delivery: Delivery
) -> None:
    headers = delivery.headers
    delivery.match["teams"] = []
    with pytest.raises(Unauthenticated, match="signature"):
        receiver.take(delivery, headers)
    delivery.secrets = (new_webhook_secret(b"x" * 32),)
    with pytest.raises(Unauthenticated, match="signature"):
        receiver.take(delivery)
    assert fetches(platform) == 0


def test_either_secret_of_a_rotation_is_enough(receiver: Receiver, delivery: Delivery) -> None:
    delivery.secrets = (new_webhook_secret(b"n" * 32), SECRET)
    assert type(receiver.take(delivery)) is MatchStarted


def test_a_request_that_is_played_back_later_is_refused(receiver: Receiver, delivery: Delivery) -> None:
    receiver.take(delivery)
    receiver.time.now += 301
    with pytest.raises(Unauthenticated, match="timestamp"):
        receiver.take(delivery)


@pytest.mark.parametrize("keep_secret", [True, False])
def test_tokens_that_are_not_for_this_are_refused(
    receiver: Receiver, unsigned: Receiver, delivery: Delivery, keep_secret: bool
) -> None:
    chosen = receiver if keep_secret else unsigned
    issuer = delivery.issuer
    first, stranger = signing_key("first"), signing_key("stranger")
    good = webhook_claims(issuer, GAME, NOW, 60, "j1")
    tokens = {
        "access token": first.sign(access_claims(issuer, GAME, NOW, 60, "j1")),
        "another game's": first.sign({**good, "aud": "another-game"}),
        "another issuer's": first.sign({**good, "iss": issuer + "/"}),
        "another realm's": first.sign({**good, "iss": issuer.replace("oklp", "other")}),
        "expired": first.sign({**good, "iat": NOW - 600, "exp": NOW - LEEWAY_SECONDS}),
        "from the future": first.sign({**good, "iat": NOW + 600, "exp": NOW + 900}),
        "without an end": first.sign({key: value for key, value in good.items() if key != "exp"}),
        "a stranger's": stranger.sign(good),
        "a stranger's under a known name": with_header(stranger.sign(good), kid=first.kid),
        "unsigned": with_header(first.sign(good), alg="none").rpartition(".")[0] + ".",
        "with its own key": with_header(stranger.sign(good), kid=first.kid, jwk=stranger.public_jwk()),
    }
    believed = [name for name, token in tokens.items() if is_believed(chosen, delivery, token)]
    assert believed == []
    assert type(chosen.take(delivery)) is MatchStarted


def is_believed(receiver: Receiver, delivery: Delivery, token: str) -> bool:
    try:
        receiver.take(delivery, Authorization=f"Bearer {token}")
    except Unauthenticated:
        return False
    return True


def with_header(token: str, **changes: Any) -> str:
    header, _, rest = token.partition(".")
    fields = {**json.loads(base64.urlsafe_b64decode(header + "==")), **changes}
    return f"{base64.urlsafe_b64encode(json.dumps(fields).encode()).rstrip(b'=').decode()}.{rest}"


def test_a_little_difference_of_clocks_is_forgiven(receiver: Receiver, delivery: Delivery) -> None:
    claims = {**webhook_claims(delivery.issuer, GAME, NOW, 60, "j1"), "exp": NOW - LEEWAY_SECONDS + 1}
    token = signing_key("first").sign({**claims, "iat": NOW - 90})
    assert receiver.take(delivery, Authorization=f"Bearer {token}")


@pytest.mark.parametrize("method", ["GET", "POST", "PATCH", ""])
def test_other_methods_are_refused(receiver: Receiver, delivery: Delivery, method: str) -> None:
    with pytest.raises(MalformedRequest) as caught:
        receiver.verify(method, delivery.headers, delivery.body)
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"", ""),
        (b"[]", ""),
        (b"{", ""),
        (b"[" * 10_000, ""),
        (json.dumps({**MATCH, "match_id": 5}).encode(), "match_id"),
        (json.dumps({**MATCH, "participants": [{"id": USER}]}).encode(), "participants.0.team_id"),
        (json.dumps({**MATCH, "teams": None}).encode(), "teams"),
        (json.dumps({**MATCH, "test": "yes"}).encode(), "test"),
    ],
)
def test_a_body_that_is_no_match_info_is_refused_by_its_field(
    receiver: Receiver, delivery: Delivery, body: bytes, field: str
) -> None:
    delivery.match = body
    with pytest.raises(MalformedRequest) as caught:
        receiver.take(delivery)
    assert [fault.field for fault in caught.value.errors] == [field]


def test_a_body_that_is_not_text_is_refused(unsigned: Receiver, delivery: Delivery) -> None:
    with pytest.raises(MalformedRequest):
        unsigned.verify("PUT", delivery.headers, b"\xff\xfe")


def test_a_body_that_is_too_large_is_refused(receiver: Receiver, delivery: Delivery) -> None:
    with pytest.raises(RequestTooLarge) as caught:
        receiver.verify("PUT", delivery.headers, b" " * (MAX_BODY_BYTES + 1))
    assert caught.value.status == 413


# --- duplicates ------------------------------------------------------------------------------------------------------


def test_the_same_delivery_is_told_apart_and_still_believed(receiver: Receiver, delivery: Delivery) -> None:
    assert receiver.take(delivery).duplicate is False
    assert receiver.take(delivery).duplicate is True
    # The platform's own second attempt has a timestamp and a token of its own, and the same webhook-id.
    receiver.time.now += 120
    delivery.at, delivery.jti = NOW + 120, "j2"
    assert receiver.take(delivery).duplicate is True
    delivery.webhook_id = "msg_2"
    assert receiver.take(delivery).duplicate is False


def test_a_refused_request_does_not_make_the_right_one_a_duplicate(receiver: Receiver, delivery: Delivery) -> None:
    with pytest.raises(Unauthenticated):
        receiver.take(delivery, Authorization="Bearer x")
    assert receiver.take(delivery).duplicate is False


def test_without_a_secret_a_playback_is_known_by_its_token_and_body(unsigned: Receiver, delivery: Delivery) -> None:
    assert unsigned.take(delivery).duplicate is False
    delivery.webhook_id = "msg_changed_by_a_thief"
    assert unsigned.take(delivery).duplicate is True
    # One token for two matches is the platform's good right.
    delivery.match["match_id"] = "f" * 24
    assert unsigned.take(delivery).duplicate is False
    delivery.method = "DELETE"
    assert unsigned.take(delivery).duplicate is False


def test_deliveries_are_forgotten_once_a_playback_would_be_refused(receiver: Receiver, delivery: Delivery) -> None:
    for number in range(20):
        delivery.webhook_id, delivery.at = f"msg_{number}", NOW + number * 60
        receiver.time.now = delivery.at
        receiver.take(delivery)
    remembered = receiver.verifier._seen._until
    assert 10 <= len(remembered) <= 11


# --- keys ------------------------------------------------------------------------------------------------------------


def test_keys_are_fetched_once(platform: Platform, receiver: Receiver, delivery: Delivery) -> None:
    for number in range(5):
        delivery.webhook_id = f"msg_{number}"
        receiver.take(delivery)
    assert fetches(platform) == 1
    assert "authorization" not in platform.asked_for(JWKS_PATH)[0].headers


def test_keys_can_be_fetched_before_the_first_webhook(
    platform: Platform, receiver: Receiver, delivery: Delivery
) -> None:
    receiver.warm_up()
    assert fetches(platform) == 1
    receiver.take(delivery)
    assert fetches(platform) == 1


def test_an_issuer_without_a_jwk_set_shows_its_key_in_the_realm_document(
    platform: Platform, receiver: Receiver, delivery: Delivery
) -> None:
    platform.always(JWKS_PATH, Reply(404, {"error": "not found"}))
    document = {"realm": "oklp", "public_key": signing_key("first").public_key_base64(), "tokens-not-before": 0}
    platform.always(REALM, Reply(body=document))
    assert type(receiver.take(delivery)) is MatchStarted
    token = with_header(delivery.token, kid="first")  # Not signed so, and thus refused; the name itself is no obstacle.
    with pytest.raises(UnknownKey):
        receiver.take(delivery, Authorization=f"Bearer {token}")


def test_a_new_key_of_the_platform_is_fetched_when_it_is_first_used(
    platform: Platform, receiver: Receiver, delivery: Delivery
) -> None:
    receiver.take(delivery)
    receiver.time.now += REFETCH_INTERVAL_SECONDS
    platform.always(JWKS_PATH, jwks("first", "second"))
    for number in range(3):
        delivery.key, delivery.webhook_id = "second", f"second_{number}"
        assert type(receiver.take(delivery)) is MatchStarted
    delivery.key, delivery.webhook_id = "first", "first_again"
    assert type(receiver.take(delivery)) is MatchStarted
    assert fetches(platform) == 2


def test_made_up_key_ids_do_not_make_the_receiver_ask_again_and_again(
    platform: Platform, unsigned: Receiver, delivery: Delivery
) -> None:
    unsigned.take(delivery)
    delivery.key = "stranger"
    unsigned.time.now += REFETCH_INTERVAL_SECONDS
    for _ in range(10):
        with pytest.raises(UnknownKey):
            unsigned.take(delivery)
    assert fetches(platform) == 2
    unsigned.time.now += REFETCH_INTERVAL_SECONDS
    with pytest.raises(UnknownKey):
        unsigned.take(delivery)
    assert fetches(platform) == 3


@pytest.mark.parametrize(
    "broken",
    [
        DROPPED,
        Reply(503, b""),
        Reply(302, b"", {"location": "/elsewhere"}),
        Reply(200, b"<html>Log in to this network</html>"),
        Reply(200, {"keys": []}),
        Reply(200, []),
    ],
)
def test_without_keys_nothing_is_believed_and_soon_it_is_tried_again(
    platform: Platform, receiver: Receiver, delivery: Delivery, broken: Reply
) -> None:
    platform.always(JWKS_PATH, broken)
    platform.always(REALM, Reply(200, {"realm": "oklp"}))
    with pytest.raises(Unavailable) as caught:
        receiver.take(delivery)
    assert (caught.value.status, caught.value.retry_after_seconds) == (503, 1)
    asked = len(platform.asked)
    with pytest.raises(Unavailable):
        receiver.take(delivery)
    assert len(platform.asked) == asked
    platform.always(JWKS_PATH, jwks("first"))
    receiver.time.now += 1
    assert type(receiver.take(delivery)) is MatchStarted


def test_keys_that_come_in_drops_are_not_waited_for(
    platform: Platform, kind: Kind, time: FakeTime, delivery: Delivery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("oklp.sdk.webhooks._FETCH_LONGEST_SECONDS", 0.1)
    platform.always(JWKS_PATH, replace(jwks("first"), drops=100))
    receiver = Receiver(kind, platform.config(client_secret=None, webhook_secret=SECRET), time)
    with pytest.raises(Unavailable):
        receiver.take(delivery)
    receiver.close()


def test_a_short_failure_of_the_platform_is_bridged(platform: Platform, receiver: Receiver, delivery: Delivery) -> None:
    platform.script(JWKS_PATH, DROPPED, Reply(502, b""))
    assert type(receiver.take(delivery)) is MatchStarted
    assert receiver.time.slept == [0.1, 0.2]


def test_a_withdrawn_key_is_forgotten_in_the_end(platform: Platform, receiver: Receiver, delivery: Delivery) -> None:
    receiver.take(delivery)
    platform.always(JWKS_PATH, jwks("second"))
    receiver.time.now += KEYS_MAX_AGE_SECONDS
    delivery.at = NOW + KEYS_MAX_AGE_SECONDS
    delivery.key, delivery.webhook_id = "second", "msg_2"
    assert type(receiver.take(delivery)) is MatchStarted
    receiver.settle()
    delivery.key = "first"
    with pytest.raises(UnknownKey):
        receiver.take(delivery)


def test_old_keys_are_kept_while_the_platform_cannot_be_asked(
    platform: Platform, receiver: Receiver, delivery: Delivery
) -> None:
    receiver.take(delivery)
    platform.always(JWKS_PATH, Reply(503, b""))
    receiver.time.now += KEYS_MAX_AGE_SECONDS
    delivery.at = NOW + KEYS_MAX_AGE_SECONDS
    for number in range(5):
        delivery.webhook_id = f"later_{number}"
        assert type(receiver.take(delivery)) is MatchStarted
        receiver.settle()
    assert fetches(platform) == 2  # One attempt, and not one for every webhook.


def test_a_clock_that_is_set_back_does_not_lock_new_keys_out(
    platform: Platform, unsigned: Receiver, delivery: Delivery
) -> None:
    unsigned.take(delivery)
    platform.always(JWKS_PATH, jwks("second"))
    unsigned.time.now -= 7_200
    delivery.at, delivery.key = NOW - 7_200, "second"
    assert type(unsigned.take(delivery)) is MatchStarted


# --- many at once ----------------------------------------------------------------------------------------------------


def test_first_webhooks_that_come_together_share_one_fetch(platform: Platform, delivery: Delivery) -> None:
    async def run() -> set[type]:
        config = platform.config(client_secret=None, webhook_secret=SECRET)
        async with AsyncWebhookVerifier(config, clock=FakeTime(NOW).clock) as verifier:
            requests = (verifier.verify("PUT", delivery.headers, delivery.body) for _ in range(50))
            return {type(event) for event in await asyncio.gather(*requests)}

    assert asyncio.run(run()) == {MatchStarted}
    assert fetches(platform) == 1


def test_first_webhooks_on_many_threads_share_one_fetch_and_one_is_no_duplicate(
    platform: Platform, delivery: Delivery
) -> None:
    barrier, headers, body = Barrier(16), delivery.headers, delivery.body
    config = platform.config(client_secret=None, webhook_secret=SECRET)
    with WebhookVerifier(config, clock=FakeTime(NOW).clock) as verifier, ThreadPoolExecutor(16) as pool:

        def take(_: int) -> bool:
            barrier.wait()
            return verifier.verify("PUT", headers, body).duplicate

        duplicates = list(pool.map(take, range(16)))
    assert sorted(duplicates) == [False] + [True] * 15
    assert fetches(platform) == 1


def test_a_webhook_that_comes_just_too_late_for_a_fetch_does_not_make_another(
    platform: Platform, receiver: Receiver, delivery: Delivery
) -> None:
    receiver.take(delivery)
    verifier = receiver.verifier
    # As if it had looked for keys just before they came.
    assert receiver._done(verifier._fetched(RetryPolicy(), lambda: verifier._keys)) is verifier._keys
    assert fetches(platform) == 1


def test_a_refresh_of_old_keys_holds_no_webhook_up(platform: Platform, delivery: Delivery) -> None:
    release, time = Event(), FakeTime(NOW)

    async def run() -> Any:
        config = platform.config(client_secret=None, webhook_secret=SECRET)
        async with AsyncWebhookVerifier(config, clock=time.clock) as verifier:
            await verifier.verify("PUT", delivery.headers, delivery.body)
            platform.always(JWKS_PATH, Reply(503, b"", wait_for=release))
            time.now += KEYS_MAX_AGE_SECONDS
            delivery.at += KEYS_MAX_AGE_SECONDS
            return await verifier.verify("PUT", delivery.headers, delivery.body)

    assert isinstance(asyncio.run(run()), MatchStarted)
    release.set()


def test_every_refusal_has_a_status_to_answer_with(receiver: Receiver, delivery: Delivery) -> None:
    """The three lines of the module's example."""

    def answer(method: str, headers: dict[str, str], body: bytes) -> int:
        try:
            receiver.verify(method, headers, body)
        except OklpError as refusal:
            return refusal.status
        return 200

    assert answer("PUT", delivery.headers, delivery.body) == 200
    assert answer("PUT", {}, delivery.body) == 401
    assert answer("POST", delivery.headers, delivery.body) == 400
