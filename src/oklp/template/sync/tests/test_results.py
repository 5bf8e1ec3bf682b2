"""What the platform is told of a match."""

from __future__ import annotations

from oklp.sdk.testing import StandIn

from sum_sprint.matches import ARRIVAL_MS
from sum_sprint.rules import GRACE_MS, RUN_MS

from .conftest import Clock, House, Serve


def test_one_result_is_reported_when_everybody_has_played(house: House, platform: StandIn) -> None:
    match = house.started(teams=3)
    house.play(match, 2)
    house.play(match, 0, mistakes=5)
    assert platform.results(match.match_id) == []
    house.play(match, 1, mistakes=2)
    (result,) = platform.wait_for_results(match.match_id)
    assert [team.ranking for team in result.teams or ()] == [3, 2, 1]
    assert not any(team.forfeit for team in result.teams or ())


def test_who_does_not_come_forfeits(house: House, platform: StandIn, clock: Clock) -> None:
    match = house.started()
    house.play(match, 1, mistakes=5)
    clock.ahead_ms += ARRIVAL_MS + RUN_MS + GRACE_MS + 1
    (result,) = platform.wait_for_results(match.match_id)
    assert [(team.ranking, team.forfeit) for team in result.teams or ()] == [(2, True), (1, False)]


def test_a_restart_loses_no_result(serve: Serve, platform: StandIn) -> None:
    with serve() as house:
        match = house.started()
        house.play(match, 0)
        platform.fail_next(1_000, call="finish")
        house.play(match, 1, mistakes=1)
        assert platform.results(match.match_id) == []
    platform.fail_next(0)
    with serve():
        (result,) = platform.wait_for_results(match.match_id, timeout_seconds=30)
    assert [team.ranking for team in result.teams or ()] == [1, 2]
