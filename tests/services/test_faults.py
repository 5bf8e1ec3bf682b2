"""Injected faults in the database: who takes a stroke, and that none is taken twice."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from oklp import contract
from oklp.domain.faults import MAX_A_GAME
from oklp.errors import Conflict, LimitReached, NotFound
from oklp.services import faults
from tests.services.world import World, refused

ACTOR = "member:somebody"


def inject(world: World, game_id: str, kind: str, times: int = 1, **options: Any) -> contract.Fault:
    request = contract.NewFault(kind=kind, times=times, **options)
    return world.run(faults.inject, world.settings, ACTOR, game_id, request, world.now)


def of_game(world: World, game_id: str) -> list[contract.Fault]:
    return world.run(faults.of_game, world.settings, game_id).faults


def test_a_fault_strikes_as_often_as_asked_whoever_takes_it(world: World) -> None:
    """Many at once, on every node there is."""
    game_id = world.game()
    inject(world, game_id, "finish_503", times=30)
    inject(world, game_id, "finish_slow", times=20)
    nodes = [world.db, world.another_node(), world.another_node()]

    def take(number: int) -> str | None:
        stroke = nodes[number % len(nodes)].run(faults.strike_call, game_id, faults.FINISH, world.now)
        return None if stroke is None else stroke.kind

    with ThreadPoolExecutor(12) as pool:
        taken = list(pool.map(take, range(90)))
    assert {kind: taken.count(kind) for kind in set(taken)} == {"finish_503": 30, "finish_slow": 20, None: 40}
    assert [(each.fired, each.left) for each in of_game(world, game_id)] == [(30, 0), (20, 0)]


def test_the_oldest_that_fits_strikes_first(world: World) -> None:
    game_id, other = world.game(), world.game()
    inject(world, game_id, "token_info_503")
    inject(world, game_id, "rate_limited", times=2)
    inject(world, game_id, "finish_503")
    inject(world, other, "finish_slow")

    def take(point: str) -> str | None:
        stroke = world.run(faults.strike_call, game_id, point, world.now)
        return None if stroke is None else stroke.kind

    taken = [take(point) for point in (faults.FINISH, faults.ISSUER, faults.FINISH, faults.FINISH, faults.FINISH)]
    assert taken == ["rate_limited", None, "rate_limited", "finish_503", None]
    assert take(faults.INFO) == "token_info_503"
    assert world.run(faults.armed) == {other: {faults.FINISH}}


def test_used_up_faults_make_room_and_others_do_not(world: World) -> None:
    game_id = world.game()
    for _ in range(MAX_A_GAME):
        inject(world, game_id, "finish_503")
    with refused(LimitReached):
        inject(world, game_id, "finish_503")
    world.run(faults.strike_call, game_id, faults.FINISH, world.now)
    inject(world, game_id, "token_info_503")
    kinds = [each.kind for each in of_game(world, game_id)]
    assert (len(kinds), kinds[-1]) == (MAX_A_GAME, "token_info_503")


def test_production_has_none(world: World) -> None:
    game_id = world.game()
    production = world.settings.model_copy(update={"sandbox": False})
    request = contract.NewFault(kind="finish_503")
    with refused(Conflict):
        world.run(faults.inject, production, ACTOR, game_id, request, world.now)
    with refused(Conflict):
        world.run(faults.of_game, production, game_id)
    with refused(Conflict):
        world.run(faults.clear, production, ACTOR, game_id, None, world.now)
    with refused(NotFound):
        world.run(faults.clear, world.settings, ACTOR, game_id, "1", world.now)
