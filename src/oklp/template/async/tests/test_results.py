"""What the platform is told of a match."""

from __future__ import annotations

from oklp.sdk.testing import StandIn

from .conftest import House, Serve


def test_each_score_is_reported_as_soon_as_there_is_one(house: House, platform: StandIn) -> None:
    match = house.started()
    last, first = house.play(match, 1, mistakes=1), house.play(match, 0)
    assert first > last
    results = platform.wait_for_results(match.match_id, 2)
    assert {each.id: each.score for result in results for each in result.participants} == {
        match.participants[0].id: first,
        match.participants[1].id: last,
    }


def test_a_restart_loses_no_result(serve: Serve, platform: StandIn) -> None:
    with serve() as house:
        match = house.started()
        platform.fail_next(1_000, call="finish")
        house.play(match, 0)
        assert platform.results(match.match_id) == []
    platform.fail_next(0)
    with serve():
        (result,) = platform.wait_for_results(match.match_id, timeout_seconds=30)
    assert result.participants[0].id == match.participants[0].id
