"""From the first confirmation to a live match, or to everyone's money back (contract sections A3, A4 and B3)."""

from __future__ import annotations

import json

import pytest

from oklp import contract
from oklp.errors import AccountSuspended, GameSuspended, InsufficientFunds, NotFound, OklpError, WrongState
from oklp.services import webhooks
from oklp.services.idempotency import Answer
from oklp.services.webhooks import Reply
from tests.services.world import (
    CONNECTION_REFUSED,
    CUT_OFF_200,
    HOUR,
    MINUTE,
    OK,
    SECOND,
    TIMED_OUT,
    World,
    answered,
    refused,
    sync_result,
)

LEASE = 15 * SECOND  # the time-out of 10 s and 5 s


def matches_in(outcomes: list[Answer | OklpError]) -> list[contract.Match | type[OklpError]]:
    return [
        type(outcome) if isinstance(outcome, OklpError) else contract.Match.model_validate_json(outcome.body)
        for outcome in outcomes
    ]


# --- confirming ------------------------------------------------------------------------------------------------------


def test_a_confirmation_pays_into_escrow(world: World) -> None:
    ann, bob = world.players(2, 800)
    match = world.filled(world.game(), [ann, bob], 500)
    after = world.confirm(ann, match.match_id)
    assert after.status == "pending"
    assert after.teams[0].members[0].state == "confirmed"
    assert world.wallet(ann) == (300, 500)
    assert world.wallet(bob) == (800, 0)


def test_confirming_before_the_roster_is_full_is_allowed(world: World) -> None:
    ann, bob = world.players(2, 500)
    match = world.create(ann, world.game(discovery="pull"))
    assert world.confirm(ann, match.match_id).status == "pending"
    world.join(bob, match.match_id)
    assert world.confirm(bob, match.match_id).status == "live"


def test_confirming_twice_pays_once_and_answers_the_same(world: World) -> None:
    ann, bob = world.players(2, 1_000)
    game = world.game(discovery="pull")
    match = world.filled(game, [ann, bob])
    first = world.confirm(ann, match.match_id)
    assert world.confirm(ann, match.match_id) == first
    live = world.confirm(bob, match.match_id)
    for player in (ann, bob):
        assert world.confirm(player, match.match_id) == live.model_copy(update={"join_code": None})
    assert [world.wallet(player) for player in (ann, bob)] == [(500, 500)] * 2
    assert world.count("postings") == 4 + 4, "two grants and two holds"
    world.suspend_game(game)
    assert world.confirm(ann, match.match_id).status == "live"


def test_who_cannot_confirm(world: World) -> None:
    ann, bob, cem, dan, eve = world.players(5, 500)
    match = world.filled(world.game(), [ann, bob], invite=[cem, dan])
    with refused(NotFound):
        world.confirm(eve, match.match_id)
    with refused(NotFound):
        world.confirm(ann, "0" * 24)
    with refused(WrongState):
        world.confirm(cem, match.match_id)
    world.decline(dan, match.match_id)
    with refused(WrongState):
        world.confirm(dan, match.match_id)
    world.leave(bob, match.match_id)
    with refused(WrongState):
        world.confirm(bob, match.match_id)
    assert world.available(ann, bob, cem, dan, eve) == [500] * 5


def test_a_fee_that_cannot_be_paid_is_refused_until_it_can(world: World) -> None:
    ann, bob = world.player(499), world.player()
    match = world.filled(world.game(), [ann, bob])
    for player in (ann, bob):
        with refused(InsufficientFunds):
            world.confirm(player, match.match_id)
    world.deposit(ann, 1)
    world.confirm(ann, match.match_id)
    assert world.wallet(ann) == (0, 500)


@pytest.mark.parametrize("over", ["cancelled", "finished"])
def test_a_match_that_is_over_cannot_be_confirmed(world: World, over: str) -> None:
    ann, bob = world.players(2, 500)
    match = world.paid(world.game(discovery="pull"), [ann, bob])
    if over == "finished":
        world.report(match.game_id, sync_result(match, [1, 2]))
    else:
        world.abort(match.match_id)
    with refused(WrongState):
        world.confirm(ann, match.match_id)


def test_suspended_players_and_games_start_nothing(world: World) -> None:
    ann, bob, cem = world.players(3, 500)
    match = world.filled(world.game(), [ann, bob], invite=[cem])
    world.suspend(cem)
    with refused(AccountSuspended):
        world.confirm(cem, match.match_id)
    # A match can be pending in a suspended game: made a moment before it was.
    world.run(lambda tx: tx.driver("UPDATE games SET vetting = 'suspended'"))
    with refused(GameSuspended):
        world.confirm(ann, match.match_id)
    assert world.available(ann, bob) == [500, 500]


# --- several at once -------------------------------------------------------------------------------------------------


def test_the_last_two_confirmations_of_one_batch_start_a_match_once(world: World) -> None:
    who = world.players(4, 500)
    match = world.filled(world.game(), who, teams=2, team_size=2)
    outcomes = matches_in(world.confirm_batch([world.confirmation(player, match.match_id) for player in who]))
    assert [each.status for each in outcomes if isinstance(each, contract.Match)] == ["pending"] * 3 + ["starting"]
    assert world.count("deliveries") == 1
    assert [world.wallet(player) for player in who] == [(0, 500)] * 4


def test_one_batch_spends_no_money_twice_and_harms_no_neighbour(world: World) -> None:
    ann, bob, cem = world.player(700), world.player(500), world.player(500)
    game = world.game()
    one, two = (world.filled(game, [ann, other]) for other in (bob, cem))
    jobs = [
        world.confirmation(ann, one.match_id),
        world.confirmation(ann, two.match_id),
        world.confirmation(ann, one.match_id),
        world.confirmation(cem, two.match_id),
        world.confirmation(bob, two.match_id),
        world.confirmation(bob, one.match_id),
    ]
    outcomes = matches_in(world.confirm_batch(jobs))
    assert [each.status if isinstance(each, contract.Match) else each for each in outcomes] == [
        "pending",
        InsufficientFunds,
        "pending",
        "pending",
        NotFound,
        "starting",
    ]
    assert [world.wallet(player) for player in (ann, bob, cem)] == [(200, 500), (0, 500), (0, 500)]


# --- telling the game ------------------------------------------------------------------------------------------------


def test_a_game_that_pulls_is_live_when_it_is_paid(world: World) -> None:
    who = world.players(2, 500)
    match = world.paid(world.game(discovery="pull", results_due_seconds=90), who)
    assert match.status == "live"
    assert match.started_at is not None
    assert match.results_due_at is not None
    assert (match.results_due_at - match.started_at).total_seconds() == 90
    assert world.count("deliveries") == 0


def test_the_attempt_is_recorded_and_leased_before_it_is_sent(world: World) -> None:
    who = world.players(4, 500)
    match = world.paid(world.game(), who, teams=2, team_size=2)
    assert (match.status, match.started_at, match.results_due_at) == ("starting", None, None)
    start = world.start_of(match.match_id)
    assert (start.state, start.attempts, start.lease_owner) == ("sending", 1, world.db.node)
    assert start.lease_until == world.now + LEASE
    (attempt,) = world.attempts(start.id)
    assert (attempt.attempt, attempt.started_at, attempt.status, attempt.error) == (1, world.now, None, None)
    (sending,) = world.handed_off
    assert (sending.delivery_id, sending.method, sending.attempt) == (start.id, "PUT", 1)
    assert json.loads(sending.body) == {
        "match_id": match.match_id,
        "participants": [
            {"id": player.user_id, "team_id": match.teams[index // 2].id} for index, player in enumerate(who)
        ],
        "teams": [{"id": team.id} for team in match.teams],
    }
    assert world.claim() == [], "nobody else sends it"


def test_the_game_is_told_where_it_listens_at_that_moment(world: World) -> None:
    who = world.players(2, 500)
    match = world.filled(world.game(), who)
    world.run(lambda tx: tx.driver("UPDATE games SET webhook_url = 'http://127.0.0.1:10/moved'"))
    for player in who:
        world.confirm(player, match.match_id)
    assert world.handed_off[0].url == "http://127.0.0.1:10/moved"


def test_a_game_that_has_moved_since_is_told_of_the_end_where_it_was_told_of_the_start(world: World) -> None:
    match = world.paid(world.game(), world.players(2, 500))
    world.reply(world.start_of(match.match_id).id, OK)
    world.run(lambda tx: tx.driver("UPDATE games SET webhook_url = 'http://127.0.0.1:10/moved'"))
    world.abort(match.match_id)
    (sending,) = world.claim()
    assert (sending.method, sending.url) == ("DELETE", world.handed_off[0].url)


def test_200_makes_a_match_live(world: World) -> None:
    ann, bob = world.players(2, 500)
    match = world.paid(world.game(results_due_seconds=120), [ann, bob])
    world.now += 3 * SECOND
    recorded = world.reply(world.start_of(match.match_id).id, OK)
    assert (recorded.match_id, recorded.started) == (match.match_id, True)
    live = world.read(ann, match.match_id)
    assert live.status == "live"
    assert live.started_at is not None
    assert int(live.started_at.timestamp() * 1000) == world.now
    assert live.results_due_at is not None
    assert int(live.results_due_at.timestamp() * 1000) == world.now + 2 * MINUTE
    assert world.wallet(ann) == (0, 500)
    assert world.start_of(match.match_id).state == "delivered"


@pytest.mark.parametrize(
    ("reply", "told"),
    [
        (answered(201), False),
        (answered(204), False),
        (answered(302), False),
        (answered(404), False),
        (answered(500), False),
        (CONNECTION_REFUSED, False),
        (TIMED_OUT, True),
        (CUT_OFF_200, True),
    ],
    ids=["201", "204", "302", "404", "500", "connection refused", "timed out", "200 cut off"],
)
def test_anything_else_aborts_and_refunds_and_who_may_have_heard_is_told(
    world: World, reply: Reply, told: bool
) -> None:
    ann, bob = world.players(2, 500)
    match = world.paid(world.game(), [ann, bob])
    start = world.start_of(match.match_id)
    assert world.reply(start.id, reply).failed == reply.error
    after = world.read(ann, match.match_id)
    assert (after.status, after.abort_reason, after.abort_detail) == ("aborted", "game-refused", reply.error)
    assert [world.wallet(player) for player in (ann, bob)] == [(500, 0)] * 2
    assert world.start_of(match.match_id).state == "failed"

    sendings = world.claim()
    assert [(each.method, each.event) for each in sendings] == ([("DELETE", "match.aborted")] if told else [])
    for sending in sendings:
        assert sending.body == start.body, "the same JSON"
        assert sending.url == start.url


# --- trying again inside the start window ----------------------------------------------------------------------------


def test_retries_back_off_and_a_later_200_starts_the_match(world: World) -> None:
    ann, bob = world.players(2, 500)
    match = world.paid(world.game(start_retries=3, start_backoff_seconds=2), [ann, bob])
    start = world.start_of(match.match_id).id
    for attempt, backoff in ((1, 2 * SECOND), (2, 4 * SECOND)):
        assert world.reply(start, answered(500), attempt).failed is None
        assert world.read(ann, match.match_id).status == "starting"
        assert (world.start_of(match.match_id).state, len(world.attempts(start))) == ("waiting", attempt)
        world.now += backoff - 1
        assert world.claim() == []
        world.now += 1
        (sending,) = world.claim()
        assert (sending.delivery_id, sending.attempt, sending.method) == (start, attempt + 1, "PUT")
        assert world.start_of(match.match_id).lease_until == world.now + LEASE
        assert [row.attempt for row in world.attempts(start)] == list(range(1, attempt + 2)), "before it is sent"
    world.reply(start, OK, 3)
    assert world.read(ann, match.match_id).status == "live"
    assert [row.status for row in world.attempts(start)] == [500, 500, 200]


def test_when_no_retry_is_left_the_match_is_aborted(world: World) -> None:
    ann, bob = world.players(2, 500)
    match = world.paid(world.game(start_retries=1, start_backoff_seconds=1), [ann, bob])
    start = world.start_of(match.match_id).id
    world.reply(start, CONNECTION_REFUSED)
    world.now += SECOND
    world.claim()
    assert world.reply(start, answered(503), 2).failed == "answered 503, not 200"
    assert world.read(ann, match.match_id).status == "aborted"
    assert world.available(ann, bob) == [500, 500]
    assert "match.aborted" not in world.deliveries(match.match_id)


def test_no_attempt_is_planned_for_after_the_start_window(world: World) -> None:
    ann, bob = world.players(2, 500)
    match = world.paid(world.game(start_retries=10, start_backoff_seconds=30), [ann, bob])
    start = world.start_of(match.match_id).id
    world.reply(start, answered(500))
    world.now += 30 * SECOND
    world.claim()
    assert world.reply(start, answered(500), 2).failed is not None, "30 s and 60 s are more than the window of 60 s"
    assert world.read(ann, match.match_id).status == "aborted"


def test_a_server_that_was_away_sends_no_attempt_after_the_start_window(world: World) -> None:
    ann, bob = world.players(2, 500)
    match = world.paid(world.game(start_retries=3, start_backoff_seconds=2), [ann, bob])
    start = world.start_of(match.match_id).id
    world.reply(start, answered(500))
    world.now += MINUTE + 1
    assert world.claim() == []
    after = world.read(ann, match.match_id)
    assert (after.status, after.abort_reason) == ("aborted", "game-refused")
    assert "answered 500" in (after.abort_detail or "")
    assert world.available(ann, bob) == [500, 500]
    assert len(world.attempts(start)) == 1
    assert "match.aborted" not in world.deliveries(match.match_id)


def test_an_attempt_that_may_have_been_heard_is_called_off_however_the_others_went(world: World) -> None:
    ann, bob = world.players(2, 500)
    match = world.paid(world.game(start_retries=1, start_backoff_seconds=1), [ann, bob])
    start = world.start_of(match.match_id).id
    world.reply(start, TIMED_OUT)
    world.now += SECOND
    world.claim()
    world.reply(start, answered(500), 2)
    assert world.read(ann, match.match_id).status == "aborted"
    assert [each.method for each in world.claim()] == ["DELETE"]


# --- what comes late -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reply", [OK, answered(500), TIMED_OUT], ids=["200", "500", "timed out"])
def test_an_answer_after_the_abort_changes_nothing(world: World, reply: Reply) -> None:
    ann, bob = world.players(2, 500)
    match = world.paid(world.game(), [ann, bob])
    start = world.start_of(match.match_id)
    world.now += SECOND
    assert world.abort(match.match_id) == [match.match_id]
    aborted = world.read(ann, match.match_id)
    assert world.available(ann, bob) == [500, 500]
    assert world.claim() == [], "the DELETE must not overtake the PUT that is on the wire"

    world.now += 2 * SECOND
    recorded = world.reply(start.id, reply)
    assert recorded.failed is None or reply is not OK
    assert world.read(ann, match.match_id) == aborted
    assert world.available(ann, bob) == [500, 500]
    assert [each.method for each in world.claim()] == ["DELETE"], "the start is back: now it may go"
    assert world.attempts(start.id)[0].status == reply.status


def test_the_delete_goes_when_a_start_does_not_come_back(world: World) -> None:
    who = world.players(2, 500)
    match = world.paid(world.game(), who)
    world.abort(match.match_id)
    world.now += LEASE - 1
    assert world.claim() == []
    world.now += 1
    assert [each.method for each in world.claim()] == ["DELETE"]


def test_an_attempt_that_was_lost_aborts_and_tells(world: World) -> None:
    ann, bob = world.players(2, 500)
    match = world.paid(world.game(start_retries=5), [ann, bob])
    start = world.start_of(match.match_id)
    world.now += LEASE - 1
    assert world.lapse() == 0
    world.now += 1
    assert world.lapse() == 1
    after = world.read(ann, match.match_id)
    assert (after.status, after.abort_reason) == ("aborted", "start-interrupted")
    assert world.available(ann, bob) == [500, 500]
    assert "interrupted" in world.attempts(start.id)[0].error
    assert [each.method for each in world.claim()] == ["DELETE"]
    assert world.lapse() == 0

    # Its sender was alive after all. The answer is logged, and nothing else.
    world.reply(start.id, OK)
    assert world.attempts(start.id)[0].status == 200
    assert world.read(ann, match.match_id) == after
    assert world.start_of(match.match_id).state == "failed"


def test_one_server_takes_over_what_another_left(world: World) -> None:
    ann, bob = world.players(2, 500)
    match = world.paid(world.game(), [ann, bob])
    assert world.lapse(owner=world.db.node) == 0, "its own are on their way"
    assert world.lapse(owner="another") == 1
    assert world.read(ann, match.match_id).status == "aborted"
    assert world.available(ann, bob) == [500, 500]


def test_only_the_holder_of_the_lease_decides_and_only_by_the_attempt_it_holds(world: World) -> None:
    ann, bob = world.players(2, 500)
    match = world.paid(world.game(start_retries=1, start_backoff_seconds=1), [ann, bob])
    start = world.start_of(match.match_id).id
    world.reply(start, OK, owner="somebody else")
    assert world.read(ann, match.match_id).status == "starting"
    world.reply(start, answered(500))
    world.now += SECOND
    world.claim()
    world.reply(start, OK, attempt=1)
    world.reply(start, TIMED_OUT, attempt=1)
    assert world.read(ann, match.match_id).status == "starting"
    world.reply(start, OK, attempt=2)
    assert world.read(ann, match.match_id).status == "live"
    with refused(NotFound):
        world.reply("no such delivery", OK)


def test_an_answer_counts_once(world: World) -> None:
    ann, bob = world.players(2, 500)
    match = world.paid(world.game(), [ann, bob])
    start = world.start_of(match.match_id).id
    world.reply(start, OK)
    live = world.read(ann, match.match_id)
    world.now += SECOND
    world.reply(start, OK)
    world.reply(start, answered(500))
    assert world.read(ann, match.match_id) == live


# --- sending again by hand -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["live", "aborted", "finished"])
@pytest.mark.parametrize("reply", [OK, answered(500), TIMED_OUT], ids=["200", "500", "timed out"])
def test_resending_never_changes_a_match(world: World, status: str, reply: Reply) -> None:
    ann, bob = world.players(2, 500)
    game = world.game(start_retries=3)
    match = world.paid(game, [ann, bob])
    start = world.start_of(match.match_id).id
    if status == "aborted":
        world.abort(match.match_id)
        world.reply(start, answered(500))
    else:
        world.reply(start, OK)
    if status == "finished":
        world.report(game, sync_result(match, [1, 2]))
    world.now += HOUR // 2
    before = (world.read(ann, match.match_id), world.available(ann, bob))
    assert before[0].status == status

    world.resend(start)
    with refused(WrongState):
        world.resend(start)
    world.now += 5 * SECOND
    again = [each for each in world.claim() if each.delivery_id == start]
    assert [(each.method, each.attempt) for each in again] == [("PUT", 2)]
    with refused(WrongState):
        world.resend(start)
    world.reply(start, reply, attempt=2)
    assert (world.read(ann, match.match_id), world.available(ann, bob)) == before
    assert world.start_of(match.match_id).state == ("delivered" if reply is OK else "failed"), "one attempt, no more"


@pytest.mark.parametrize("told", [False, True], ids=["never told of its end", "told of it before"])
@pytest.mark.parametrize("reply", [OK, TIMED_OUT], ids=["200", "timed out"])
def test_a_game_that_is_told_to_start_what_was_called_off_is_told_of_its_end_after_it(
    world: World, reply: Reply, told: bool
) -> None:
    match = world.paid(world.game(), world.players(2, 500))
    start = world.start_of(match.match_id).id
    world.reply(start, TIMED_OUT if told else CONNECTION_REFUSED)
    if told:
        world.claim()
        world.reply(f"{start}-abort", OK)
    assert ("match.aborted" in world.deliveries(match.match_id)) is told
    world.now += HOUR
    world.resend(start)
    assert [each.method for each in world.claim()] == ["PUT"]
    world.reply(start, reply, attempt=2)
    (delete,) = world.claim()
    assert (delete.method, delete.url, delete.attempt) == ("DELETE", world.start_of(match.match_id).url, 1 + told)
    world.reply(delete.delivery_id, answered(503), delete.attempt)
    world.now += MINUTE
    assert [each.method for each in world.claim()] == ["DELETE"], "until it is heard"


def test_a_resend_that_was_lost_is_called_off_too(world: World) -> None:
    match = world.paid(world.game(), world.players(2, 500))
    start = world.start_of(match.match_id).id
    world.reply(start, CONNECTION_REFUSED)
    world.resend(start)
    world.claim()
    world.now += LEASE
    world.lapse()
    assert [each.method for each in world.claim()] == ["DELETE"]


def test_a_start_that_is_taken_after_it_was_given_up_is_called_off_after_that(world: World) -> None:
    """Its DELETE may be on the wire at that moment, and overtake it."""
    match = world.paid(world.game(), world.players(2, 500))
    start = world.start_of(match.match_id).id
    world.now += LEASE
    assert world.lapse() == 1
    (first,) = world.claim()
    assert first.method == "DELETE"
    world.reply(start, OK)
    (second,) = world.claim()
    assert (second.method, second.body, second.delivery_id) == ("DELETE", first.body, f"{start}-abort-again")
    world.reply(start, OK)
    assert world.claim() == [], "both are on the wire"
    world.reply(first.delivery_id, OK)
    world.reply(start, answered(500))
    assert world.claim() == [], "a game that has refused it has nothing to forget"


def test_an_attempt_that_took_long_to_make_has_its_time_anew_while_it_is_held(world: World) -> None:
    world.paid(world.game(), world.players(2, 500))
    (sending,) = world.handed_off
    world.now += LEASE - 1
    again = world.run(webhooks.renew, world.settings, sending, world.db.node, world.now)
    assert again == sending._replace(lease_until=world.now + LEASE)
    world.now += LEASE - 1
    assert world.lapse() == 0
    assert world.run(webhooks.renew, world.settings, sending, "another node", world.now) is None
    world.now += 1
    assert world.lapse() == 1
    assert world.run(webhooks.renew, world.settings, sending, world.db.node, world.now) is None


def test_a_resend_that_is_lost_changes_nothing_either(world: World) -> None:
    ann, bob = world.players(2, 500)
    match = world.live(world.game(), [ann, bob])
    world.resend(world.start_of(match.match_id).id)
    world.claim()
    world.now += LEASE
    assert world.lapse() == 1
    assert world.read(ann, match.match_id) == match


def test_what_is_on_its_way_or_unknown_cannot_be_resent(world: World) -> None:
    match = world.paid(world.game(), world.players(2, 500))
    with refused(WrongState):
        world.resend(world.start_of(match.match_id).id)
    with refused(NotFound):
        world.resend("no such delivery")
