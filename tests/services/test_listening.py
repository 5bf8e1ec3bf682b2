"""Listeners and relays: who listens, what is handed over, whose answer counts."""

from __future__ import annotations

from oklp import contract
from oklp.errors import NotFound, WrongState
from oklp.services import listening
from oklp.services.listening import Key
from oklp.services.webhooks import Sending
from tests.services.world import MINUTE, SECOND, World, refused

ONE, TWO = "one", "two"
HEADERS = {"Authorization": "Bearer secret", "webhook-id": "1"}
YES = contract.ForwardedAnswer(status=200, body="yes")
NOTHING: frozenset[tuple[Key, bool]] = frozenset()


def attach(world: World, game_id: str, listener: str, resume: bool = False) -> None:
    world.run(listening.attach, world.settings, game_id, listener, f"member {listener}", resume, world.now)


def started(world: World, game_id: str) -> Sending:
    """A match whose webhook is about to be sent."""
    count = len(world.handed_off)
    world.paid(game_id, world.players(2, 500))
    (sending,) = world.handed_off[count:]
    return sending


def park(world: World, sending: Sending) -> Key:
    key = Key(sending.delivery_id, sending.attempt)
    until = world.now + 10 * SECOND
    assert world.run(listening.park, world.vault, key, sending.game_id, HEADERS, world.now, until)
    return key


def waiting(world: World, game_id: str, listener: str) -> listening.Waiting:
    return world.run(listening.waiting, world.vault, game_id, listener, NOTHING)


def test_deliveries_are_relayed_while_somebody_listens(world: World) -> None:
    game_id = world.game()
    assert not started(world, game_id).relayed
    attach(world, game_id, ONE)
    assert started(world, game_id).relayed
    world.now += listening.LEASE_MS
    assert not started(world, game_id).relayed, "a listener that has gone is not waited for"
    world.run(listening.renew, game_id, ONE, world.now)
    assert started(world, game_id).relayed
    world.run(listening.detach, game_id, TWO, world.now)
    assert started(world, game_id).relayed, "nobody leaves for another"
    world.run(listening.detach, game_id, ONE, world.now)
    last = started(world, game_id)
    assert not last.relayed
    key = Key(last.delivery_id, last.attempt)
    assert not world.run(listening.park, world.vault, key, game_id, HEADERS, world.now, world.now + MINUTE)


def test_a_request_is_offered_until_it_is_answered(world: World) -> None:
    game_id = world.game()
    attach(world, game_id, ONE)
    key = park(world, started(world, game_id))
    for _ in range(2):  # as on two connections
        (relay,) = waiting(world, game_id, ONE).relays
        assert (relay.key, dict(relay.headers), relay.method) == (key, HEADERS, "PUT")
        assert world.run(listening.hand_over, [key], world.now) == {key}
    assert world.run(listening.answer, game_id, key, YES, world.now).counts
    assert world.run(listening.answer, game_id, key, YES, world.now).counts, "the same answer, sent again"
    other = contract.ForwardedAnswer(status=500)
    assert not world.run(listening.answer, game_id, key, other, world.now).counts
    assert waiting(world, game_id, ONE).relays == []
    assert world.run(listening.hand_over, [key], world.now) == set()
    assert world.run(listening.closed, [key]) == {key: listening.Closed(YES, True)}
    assert world.run(listening.expire, key, world.now).answer == YES, "an answer that was faster counts"


def test_credentials_are_not_readable_and_do_not_outlive_the_attempt(world: World) -> None:
    game_id = world.game()
    attach(world, game_id, ONE)
    key = park(world, started(world, game_id))
    (row,) = world.rows("SELECT * FROM relays")
    assert "secret" not in str(row)
    assert row.authorization is not None
    world.run(listening.answer, game_id, key, YES, world.now)
    (row,) = world.rows("SELECT * FROM relays")
    assert row.authorization is None


def test_what_nobody_got_in_time_is_told_as_missed(world: World) -> None:
    game_id = world.game()
    attach(world, game_id, ONE)
    missed, seen = (park(world, started(world, game_id)) for _ in range(2))
    world.run(listening.hand_over, [seen], world.now)
    world.now += 10 * SECOND
    assert world.run(listening.expire, missed, world.now) == listening.Closed(None, False)
    assert world.run(listening.expire, seen, world.now) == listening.Closed(None, True)
    assert not world.run(listening.answer, game_id, seen, YES, world.now).counts, "too late"
    found = waiting(world, game_id, ONE).relays
    assert [(each.key, each.missed) for each in found] == [(missed, True)]
    assert world.run(listening.waiting, world.vault, game_id, ONE, frozenset({(missed, True)})).relays == []
    attach(world, game_id, TWO)
    assert waiting(world, game_id, TWO).relays == [], "what another has missed is not told"


def test_the_last_to_come_listens_and_takes_over_what_is_open(world: World) -> None:
    game_id = world.game()
    attach(world, game_id, ONE)
    key = park(world, started(world, game_id))
    attach(world, game_id, TWO)
    assert waiting(world, game_id, ONE) == listening.Waiting([], "member two")
    assert [each.key for each in waiting(world, game_id, TWO).relays] == [key]
    with refused(WrongState):
        attach(world, game_id, ONE, resume=True)
    world.now += listening.LEASE_MS
    attach(world, game_id, ONE, resume=True)
    assert [each.key for each in waiting(world, game_id, ONE).relays] == [key]


def test_leaving_ends_what_is_open(world: World) -> None:
    game_id = world.game()
    attach(world, game_id, ONE)
    key = park(world, started(world, game_id))
    world.run(listening.detach, game_id, ONE, world.now)
    assert world.run(listening.closed, [key]) == {key: listening.Closed(None, False)}


def test_an_answer_is_for_its_own_game(world: World) -> None:
    game_id, other = world.game(), world.game()
    attach(world, game_id, ONE)
    key = park(world, started(world, game_id))
    with refused(NotFound):
        world.run(listening.answer, other, key, YES, world.now)
    with refused(NotFound):
        world.run(listening.answer, game_id, key._replace(attempt=7), YES, world.now)


def test_production_has_no_listeners(world: World) -> None:
    game_id = world.game()
    production = world.settings.model_copy(update={"sandbox": False})
    with refused(WrongState):
        world.run(listening.attach, production, game_id, ONE, "somebody", False, world.now)
    assert not started(world, game_id).relayed
