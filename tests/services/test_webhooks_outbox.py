"""The outbox: leases, the log of attempts, the DELETE that calls a match off, test events (contract section A3)."""

from __future__ import annotations

import json

import pytest

from oklp import contract
from oklp.errors import NotFound, WrongState
from oklp.services import housekeeping, webhooks
from oklp.services.webhooks import Reply
from tests.services.world import (
    CONNECTION_REFUSED,
    DAY,
    MINUTE,
    OK,
    SECOND,
    TIMED_OUT,
    World,
    answered,
    refused,
)

LEASE = 15 * SECOND


def called_off(world: World) -> str:
    """A match that was live and then aborted: its game must be told. The id of the DELETE's delivery."""
    match = world.live(world.game(), world.players(2, 500))
    world.abort(match.match_id)
    return str(world.deliveries(match.match_id)["match.aborted"].id)


def state_of(world: World, delivery_id: str) -> str:
    (row,) = world.rows("SELECT state FROM deliveries WHERE id = :id", id=delivery_id)
    return str(row.state)


# --- leases ----------------------------------------------------------------------------------------------------------


def test_what_is_claimed_is_leased_with_its_attempt_recorded(world: World) -> None:
    delivery = called_off(world)
    world.now += 5 * SECOND
    (sending,) = world.claim()
    assert (sending.delivery_id, sending.method, sending.attempt) == (delivery, "DELETE", 1)
    (row,) = world.rows("SELECT * FROM deliveries WHERE id = :id", id=delivery)
    assert (row.state, row.lease_owner, row.lease_until) == ("sending", world.db.node, world.now + LEASE)
    (attempt,) = world.attempts(delivery)
    assert (attempt.started_at, attempt.url, attempt.status) == (world.now, sending.url, None)
    assert world.claim() == []
    world.now += LEASE - 1
    assert (world.claim(), world.lapse()) == ([], 0)


def test_a_claim_takes_no_more_than_it_is_asked_to_the_longest_due_first(world: World) -> None:
    expected = []
    for _ in range(3):
        expected.append(called_off(world))
        world.now += SECOND
    first = [each.delivery_id for each in world.claim(limit=2)]
    assert first == expected[:2]
    assert [each.delivery_id for each in world.claim(limit=2)] == expected[2:]


def test_a_delete_whose_sender_was_lost_is_sent_again(world: World) -> None:
    delivery = called_off(world)
    world.claim()
    world.now += LEASE
    assert world.lapse() == 0, "no match changes by it"
    (sending,) = world.claim()
    assert (sending.delivery_id, sending.attempt) == (delivery, 2)
    world.reply(delivery, OK, attempt=1, owner="the lost one")
    assert state_of(world, delivery) == "sending"
    world.reply(delivery, OK, attempt=2)
    assert state_of(world, delivery) == "delivered"


# --- calling a match off ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 202, 204])
def test_any_success_ends_a_delete(world: World, status: int) -> None:
    delivery = called_off(world)
    world.claim()
    world.reply(delivery, answered(status))
    assert state_of(world, delivery) == "delivered"
    world.now += DAY
    assert world.claim() == []


@pytest.mark.parametrize("status", [400, 403, 404, 405, 410, 501])
def test_a_game_that_never_built_the_delete_is_not_asked_again(world: World, status: int) -> None:
    delivery = called_off(world)
    world.claim()
    world.reply(delivery, answered(status))
    assert state_of(world, delivery) == "failed"
    world.now += DAY
    assert world.claim() == []


@pytest.mark.parametrize(
    "reply",
    [answered(500), answered(503), answered(429), answered(302), CONNECTION_REFUSED, TIMED_OUT],
    ids=["500", "503", "429", "302", "connection refused", "timed out"],
)
def test_a_delete_is_tried_again_with_longer_and_longer_pauses(world: World, reply: Reply) -> None:
    delivery = called_off(world)
    for attempt, pause in enumerate([SECOND, 2 * SECOND, 4 * SECOND, 8 * SECOND], 1):
        (sending,) = world.claim()
        assert sending.attempt == attempt
        world.reply(delivery, reply, attempt)
        world.now += pause - 1
        assert world.claim() == []
        world.now += 1
    world.claim()
    world.reply(delivery, OK, 5)
    assert state_of(world, delivery) == "delivered"
    assert [row.error for row in world.attempts(delivery)] == [reply.error] * 4 + [None]


def test_a_delete_is_given_up_after_a_day(world: World) -> None:
    delivery = called_off(world)
    begun = world.now
    attempt = 0
    while state_of(world, delivery) != "failed":
        attempt += 1
        (sending,) = world.claim()
        assert sending.attempt == attempt
        world.reply(delivery, answered(500), attempt)
        (row,) = world.rows("SELECT next_attempt_at FROM deliveries WHERE id = :id", id=delivery)
        if row.next_attempt_at is not None:
            assert row.next_attempt_at - world.now <= 10 * MINUTE
            world.now = row.next_attempt_at
    assert begun + DAY - 10 * MINUTE < world.now <= begun + DAY
    assert attempt < 200


def test_a_delete_is_sent_for_as_long_as_the_platform_is_told_to(world: World) -> None:
    world.settings = world.settings.model_copy(update={"abort_retry_seconds": 30 * DAY // 1000})
    delivery = called_off(world)
    (row,) = world.rows("SELECT attempts_left FROM deliveries WHERE id = :id", id=delivery)
    assert row.attempts_left * 10 * MINUTE > 30 * DAY


def test_calling_off_does_not_wait_for_the_game(world: World) -> None:
    ann, bob = world.players(2, 500)
    match = world.live(world.game(), [ann, bob])
    world.abort(match.match_id)
    assert world.available(ann, bob) == [500, 500]
    world.claim()
    world.reply(world.deliveries(match.match_id)["match.aborted"].id, answered(500))
    assert world.available(ann, bob) == [500, 500]


# --- the log ---------------------------------------------------------------------------------------------------------


def test_an_attempt_is_logged_with_what_was_sent_and_answered(world: World) -> None:
    match = world.paid(world.game(), world.players(2, 500))
    start = world.start_of(match.match_id)
    reply = Reply(
        status=418,
        headers={"content-type": "text/plain"},
        body='short and stout \\ "quoted" {NULL} é',
        error="answered 418, not 200",
        duration_ms=37,
        complete=True,
        sent=True,
        request_headers={"webhook-id": start.id, "Authorization": "Bearer secret"},
    )
    world.reply(start.id, reply)
    detail = world.run(webhooks.detail, start.id)
    assert (detail.event, detail.method, detail.state) == ("match.started", "PUT", "failed")
    assert (detail.attempts, detail.last_status, detail.last_error) == (1, 418, reply.error)
    assert detail.request_body == json.loads(start.body)
    (attempt,) = detail.log
    assert (attempt.status, attempt.response_body, attempt.duration_ms) == (418, reply.body, 37)
    assert attempt.response_headers == reply.headers
    assert attempt.request_headers == {"webhook-id": start.id}, "never the credentials"
    with refused(NotFound):
        world.run(webhooks.detail, "no such delivery")


# --- test events -----------------------------------------------------------------------------------------------------


def test_a_test_event_is_a_put_that_no_match_stands_behind(world: World) -> None:
    world.game()
    (game,) = world.rows("SELECT * FROM games")
    world.run(webhooks.test_event, game, "delivery-1", "f" * 24, contract.TestEvent(), world.now)
    (sending,) = world.claim()
    body = json.loads(sending.body)
    assert (sending.method, sending.event, sending.url) == ("PUT", "test", game.webhook_url)
    assert body["test"] is True
    assert {each["team_id"] for each in body["participants"]} == {each["id"] for each in body["teams"]}
    assert world.reply("delivery-1", answered(500)).match_id is None
    assert state_of(world, "delivery-1") == "failed"
    world.resend("delivery-1")
    world.claim()
    world.reply("delivery-1", OK, 2)
    assert state_of(world, "delivery-1") == "delivered"


def test_a_game_without_a_webhook_has_no_test_event(world: World) -> None:
    world.game(discovery="pull")
    (game,) = world.rows("SELECT * FROM games")
    with refused(WrongState):
        world.run(webhooks.test_event, game, "delivery-1", "f" * 24, contract.TestEvent(), world.now)


# --- what the worker looks for ---------------------------------------------------------------------------------------


def test_the_agenda_says_what_is_due_and_when_the_next_thing_is(world: World) -> None:
    assert world.run(housekeeping.agenda, world.now) == (False, False, False, False, 0, None)
    game = world.game(start_retries=1, start_backoff_seconds=7, results_due_seconds=100)
    who = world.players(2, 500)
    match = world.filled(game, who)
    (row,) = world.rows("SELECT starts_by FROM matches")
    assert world.run(housekeeping.agenda, world.now).next_at == row.starts_by
    assert world.run(housekeeping.agenda, row.starts_by + 5)[:5] == (False, False, True, False, 5)

    for player in who:
        world.confirm(player, match.match_id)
    assert world.run(housekeeping.agenda, world.now).next_at == world.now + LEASE
    assert world.run(housekeeping.agenda, world.now + LEASE)[:4] == (False, True, False, False)
    start = world.start_of(match.match_id).id
    world.reply(start, answered(500))
    assert world.run(housekeeping.agenda, world.now).next_at == world.now + 7 * SECOND
    assert world.run(housekeeping.agenda, world.now + 7 * SECOND)[:4] == (True, False, False, False)
    world.now += 7 * SECOND
    world.claim()
    world.reply(start, OK, 2)
    assert world.run(housekeeping.agenda, world.now).next_at == world.now + 100 * SECOND
    assert world.run(housekeeping.agenda, world.now + 100 * SECOND)[:4] == (False, False, False, True)
