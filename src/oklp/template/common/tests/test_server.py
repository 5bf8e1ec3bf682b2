"""The server, as the platform and its players meet it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from oklp.sdk.testing import StandIn

from sum_sprint.matches import ARRIVAL_MS
from sum_sprint.rules import GRACE_MS, RUN_MS

from .conftest import Clock, House


def test_a_webhook_that_is_not_the_platforms_is_refused(house: House, platform: StandIn) -> None:
    match = platform.new_match()
    told = platform.webhook(match.match_id)
    with StandIn() as stranger:
        assert house.tell(stranger.signed("PUT", told.body)) == 401
    assert house.tell(platform.signed("PUT", told.body, aged_seconds=3_600)) == 401
    assert house.tell(replace(told, body=told.body + b" ")) == 401
    assert house.tell(replace(told, headers={})) == 401
    assert house.tell(told) == 200


def test_the_same_webhook_twice_is_one_match(house: House, platform: StandIn) -> None:
    match = house.started()
    seat = house.begin(match, 0)
    asked = house.http.get(f"{seat}/state").json()["sums"]
    assert house.tell(platform.webhook(match.match_id)) == 200
    assert house.http.get(f"{seat}/state").json()["sums"] == asked


def test_players_see_the_same_sums_and_none_before_their_clock_runs(house: House) -> None:
    match = house.started()
    seen = []
    for number in range(2):
        seat = house.launch(match, number)
        assert "sums" not in house.http.get(f"{seat}/state").json()
        house.http.post(f"{seat}/begin")
        seen.append(house.http.get(f"{seat}/state").json())
    assert seen[0]["sums"] == seen[1]["sums"]
    assert seen[0]["seed"] == seen[1]["seed"]


def test_the_page_is_played_without_a_script(house: House) -> None:
    seat = house.launch(house.started(), 0)
    assert "Start" in house.http.get(seat).text
    page = house.http.post(f"{seat}/begin").text
    assert 'name="sum-4"' in page
    page = house.http.post(f"{seat}/answer", data={"sum-0": "no number"}).text
    assert "<strong>0</strong> points" in page
    assert house.platform.config.okletsplay_url in page


@pytest.mark.parametrize("token", ["", "unknown", "x" * 2_000])
def test_a_link_that_is_worth_nothing_leads_to_a_friendly_page(house: House, token: str) -> None:
    answer = house.http.get("/play", params={"token": token})
    assert answer.status_code == 404
    assert "no longer valid" in answer.text
    assert house.platform.config.okletsplay_url in answer.text


def test_a_seat_is_for_the_one_who_was_let_in(house: House) -> None:
    match = house.started()
    seat = house.launch(match, 0)
    assert house.http.get(f"/match/{match.match_id}/1/state").status_code == 404
    house.http.cookies.clear()
    assert house.http.get(f"{seat}/state").status_code == 404
    assert house.http.post(f"{seat}/begin").status_code == 404


def test_the_first_answers_count(house: House) -> None:
    match = house.started()
    seat = house.begin(match, 0)
    points = house.finish(seat, mistakes=2)
    house.http.post(f"{seat}/answer", data={"sum-0": "1"})
    assert house.http.get(f"{seat}/state").json()["score"] == points > 0


def test_no_answer_counts_after_the_time_is_up(house: House, clock: Clock) -> None:
    seat = house.begin(house.started(), 0)
    clock.ahead_ms += RUN_MS + GRACE_MS + 1
    assert house.http.get(f"{seat}/state").json()["phase"] == "late"
    house.http.post(f"{seat}/answer", data={"sum-0": "1"})
    assert house.http.get(f"{seat}/state").json()["score"] == 0


def test_nobody_begins_a_match_that_is_long_on_its_way(house: House, clock: Clock) -> None:
    seat = house.launch(house.started(), 0)
    clock.ahead_ms += ARRIVAL_MS
    house.http.post(f"{seat}/begin")
    assert house.http.get(f"{seat}/state").json()["phase"] == "late"


def test_a_match_that_was_called_off_is_over_and_not_reported(house: House, platform: StandIn) -> None:
    match = house.started()
    seat = house.begin(match, 0)
    assert house.tell(platform.webhook(match.match_id, "DELETE")) == 200
    assert house.http.post(f"{seat}/answer", data={"sum-0": "1"}).status_code == 200
    assert house.http.get(f"{seat}/state").json()["phase"] == "off"
    assert house.tell(platform.webhook(match.match_id)) == 409
    assert platform.results(match.match_id) == []


def test_a_body_that_is_too_large_is_refused(house: House) -> None:
    seat = house.launch(house.started(), 0)
    assert house.http.post(f"{seat}/answer", content=b"sum-0=" + b"1" * 100_000).status_code == 413


def test_while_the_platform_is_away_players_are_told_to_wait(house: House, platform: StandIn) -> None:
    match = house.started()
    platform.fail_next(3, call="token-info")
    token = platform.match_token(match.match_id, match.participants[0].id)
    answer = house.http.get("/play", params={"token": token})
    assert answer.status_code == 503
    assert "Nothing is lost" in answer.text
