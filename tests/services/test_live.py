"""Events of a player: each with an id of its own, from which a reader resumes with no gap and no repetition."""

from __future__ import annotations

import json

import pytest

from oklp.services import live
from oklp.services.live import Event, Position
from oklp.services.matches import Caller
from tests.services.world import World, sync_result


def told(world: World, player: Caller, after: Position) -> list[Event]:
    world.await_horizon()
    return world.run(live.since, world.settings, player.user_id, after)


def names(events: list[Event]) -> list[str]:
    """`wallet`, or the state of the match."""
    return [json.loads(each.data).get("status", each.event) for each in events]


START = Position(0, 0)


def test_the_end_of_a_paid_match_is_the_wallet_and_the_match_once(world: World) -> None:
    ann, bob = world.players(2, 500)
    game = world.game(discovery="pull", fee_bps=0)
    first = world.live(game, [ann, bob])
    before = told(world, ann, START)[-1].position
    world.report(game, sync_result(first, [1, 2]))
    end = told(world, ann, before)
    assert names(end) == ["wallet", "finished"]
    assert json.loads(end[0].data)["balances"] == [{"currency": "XTS", "available": 1_000, "in_escrow": 0}]
    # Whoever was cut off between the two is sent the second alone; after that, nothing.
    assert told(world, ann, end[0].position) == end[1:]
    assert told(world, ann, end[1].position) == []
    # All that is remembered of a match shows it as it is now, and still only its end tells of the wallet.
    everything = told(world, ann, START)
    confirmations = 1
    assert names(everything).count("wallet") == confirmations + 1
    assert len({str(each.position) for each in everything}) == len(everything)
    for index, each in enumerate(everything):
        assert Position.parse(str(each.position)) == each.position
        assert told(world, ann, each.position) == everything[index + 1 :]


def test_a_refund_is_told_as_well_and_a_free_match_has_no_wallet(world: World) -> None:
    ann, bob, cem = world.players(3, 500)
    game = world.game(discovery="pull")
    match = world.filled(game, [ann, bob]).match_id
    world.invite(ann, match, cem)
    world.confirm(ann, match)
    world.confirm(bob, match)
    positions = {player: told(world, player, START)[-1].position for player in (ann, cem)}
    world.abort(match)
    assert names(told(world, ann, positions[ann])) == ["wallet", "aborted"]
    assert names(told(world, cem, positions[cem])) == ["aborted"], "it was not his money"
    free = world.live(game, [ann, bob], 0)
    before = told(world, ann, START)[-1].position
    world.report(game, sync_result(free, [1, 2]))
    assert names(told(world, ann, before)) == ["finished"]


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("7-8", Position(7, 8)),
        ("7-8-1", Position(7, 8, 1)),
        ("0-0-0", Position(0, 0, 0)),
        (f"{10**20}-8", Position(2**62, 8)),
        ("7", None),
        ("7-8-1-2", None),
        ("7-", None),
        ("-7-8", None),
        ("7-8-x", None),
        ("7-²", None),
        ("9" * 40 + "-1", None),
    ],
)
def test_an_id_is_read_as_it_was_written(text: str, position: Position | None) -> None:
    assert Position.parse(text) == position
