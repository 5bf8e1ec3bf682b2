"""Injected faults: what the game sees of each, and what becomes of the match and the money."""

from __future__ import annotations

import base64
import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from oklp.cli import app
from oklp.contract import TeamResult
from oklp.domain.faults import KINDS
from oklp.errors import OklpError
from oklp.sdk import Client
from oklp.sdk.webhooks import WebhookVerifier
from tests.harness import GameClient, GameConfig, PlayerClient, Server, paid_match
from tests.web.staff import await_delivery
from tests.web.test_studio_api import fields, must
from tests.webhooks.receivers import Receivers, Request

BACKENDS = ("sqlite",)

FEE = 500


def inject(served: Server, game: GameConfig, kind: str, times: int = 1, **options: object) -> dict[str, Any]:
    body = {"kind": kind, "times": times, **options}
    return must(served.studio.post(f"/games/{game.client_id}/faults", json=body), 201)


def listed(served: Server, game: GameConfig) -> list[tuple[str, int, int]]:
    """Kind, how often it has fired, how often it still will."""
    found = must(served.studio.get(f"/games/{game.client_id}/faults"))["faults"]
    return [(each["kind"], each["fired"], each["left"]) for each in found]


def struck(served: Server, game: GameConfig) -> list[tuple[str, list[str | None]]]:
    """What the inspector shows: event and the fault of each attempt, oldest first."""
    rows = must(served.studio.get(f"/games/{game.client_id}/deliveries"))["deliveries"]
    details = [must(served.studio.get(f"/deliveries/{row['delivery_id']}")) for row in reversed(rows)]
    return [(each["event"], [attempt["fault"] for attempt in each["log"]]) for each in details]


class Pair:
    """Two players, and what they had before."""

    def __init__(self, served: Server) -> None:
        self.one, self.two = PlayerClient(served.url), PlayerClient(served.url)

    def pay(self, game: GameConfig) -> str:
        return paid_match(self.one, self.two, game.client_id, FEE)

    def money(self) -> tuple[int, int]:
        return self.one.available(), self.two.available()


@pytest.fixture(scope="module")
def pair(served: Server) -> Pair:
    return Pair(served)


# --- webhooks: the network -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "words", "methods"),
    [
        ("put_timeout", "timed out after 2 s", ["PUT", "DELETE"]),
        ("answer_lost", "before an answer came", ["PUT", "DELETE"]),
        ("put_refused", "connection refused", []),
    ],
)
def test_a_put_without_an_answer_aborts_and_refunds(
    served: Server, receivers: Receivers, pair: Pair, kind: str, words: str, methods: list[str]
) -> None:
    """Its game said yes, and is told to forget the match; unless it never heard of it."""
    url = receivers.url("ok")
    game = served.register(url)
    inject(served, game, kind)
    before = pair.money()
    match = pair.one.await_status(pair.pay(game), "aborted")
    assert match["abort_reason"] == "game-refused"
    assert words in match["abort_detail"]
    assert f"injected fault: {kind}" in match["abort_detail"]
    assert pair.money() == before
    assert [request.method for request in receivers.wait(url, len(methods))] == methods
    assert struck(served, game)[0] == ("match.started", [kind])
    assert listed(served, game) == [(kind, 1, 0)]
    # The next one is as ever.
    pair.one.await_status(pair.pay(game), "live")


def test_a_put_that_timed_out_comes_again_where_starts_are_retried(
    served: Server, receivers: Receivers, pair: Pair
) -> None:
    url = receivers.url("ok")
    game = served.register(url, start_retries=2, start_backoff_seconds=1)
    inject(served, game, "answer_lost", times=2)
    pair.one.await_status(pair.pay(game), "live")
    requests = receivers.wait(url, 3)
    assert {(request.method, request.headers["webhook-id"]) for request in requests} == {
        ("PUT", requests[0].headers["webhook-id"])
    }
    assert struck(served, game) == [("match.started", ["answer_lost", "answer_lost", None])]


@pytest.mark.parametrize("options", [{}, {"delay_seconds": 0.2}])
def test_a_put_comes_twice(served: Server, receivers: Receivers, pair: Pair, options: dict[str, Any]) -> None:
    url = receivers.url("ok")
    game = served.register(url)
    inject(served, game, "duplicate_put", **options)
    pair.one.await_status(pair.pay(game), "live")
    one, two = receivers.wait(url, 2)
    assert (one.method, one.headers, one.body) == (two.method, two.headers, two.body)
    assert struck(served, game) == [("match.started", ["duplicate_put"])]


def test_a_game_that_refuses_the_copy_loses_the_match_and_is_told_so(
    served: Server, receivers: Receivers, pair: Pair
) -> None:
    url = receivers.url("sequence:ok,status:409,ok")
    game = served.register(url)
    inject(served, game, "duplicate_put", delay_seconds=0.2)
    before = pair.money()
    match = pair.one.await_status(pair.pay(game), "aborted")
    assert "409" in match["abort_detail"]
    assert pair.money() == before
    assert [request.method for request in receivers.wait(url, 3)] == ["PUT", "PUT", "DELETE"]


def test_a_late_put_starts_late(served: Server, receivers: Receivers, pair: Pair) -> None:
    game = served.register(receivers.url("ok"))
    inject(served, game, "late_put", delay_seconds=0.5)
    match_id = pair.pay(game)
    assert pair.one.match(match_id)["status"] == "starting"
    pair.one.await_status(match_id, "live")


def test_a_put_later_than_the_timeout_comes_after_its_match_was_called_off(
    served: Server, receivers: Receivers, pair: Pair
) -> None:
    url = receivers.url("ok")
    game = served.register(url)
    inject(served, game, "late_put", delay_seconds=3)
    before = pair.money()
    match_id = pair.pay(game)
    match = pair.one.await_status(match_id, "aborted")
    assert "timed out" in match["abort_detail"]
    delete, put = receivers.wait(url, 2)
    assert (delete.method, put.method) == ("DELETE", "PUT")
    assert pair.one.match(match_id)["status"] == "aborted"
    assert pair.money() == before


def test_a_delete_comes_late_or_twice(served: Server, receivers: Receivers, pair: Pair) -> None:
    url = receivers.url("ok")
    game = served.register(url)
    inject(served, game, "delete_refused")
    inject(served, game, "duplicate_delete")
    before = pair.money()
    match_id = pair.pay(game)
    pair.one.await_status(match_id, "live")
    must(served.operator.post(f"/matches/{match_id}/abort", json={"reason": "to see its DELETE"}))
    assert pair.money() == before
    put, *deletes = receivers.wait(url, 3)
    assert [request.method for request in (put, *deletes)] == ["PUT", "DELETE", "DELETE"]
    assert len({request.headers["webhook-id"] for request in deletes}) == 1
    for request in (put, *deletes):
        claims = request.headers["authorization"].split(".")[1]
        assert json.loads(base64.urlsafe_b64decode(claims + "=="))["htm"] == request.method
    [_, (event, attempts)] = struck(served, game)
    assert (event, attempts) == ("match.aborted", ["delete_refused", "duplicate_delete"])


# --- webhooks: keys and clocks ---------------------------------------------------------------------------------------


def verdict(game: GameConfig, request: Request) -> str:
    """What the SDK's verifier says of a request, as a game's server would."""
    with WebhookVerifier(game.config) as verifier:
        try:
            verifier.verify(request.method, request.headers, request.body.encode())
        except OklpError as refusal:
            return refusal.code
    return "taken"


def test_what_is_forged_is_refused_by_who_looks(served: Server, receivers: Receivers) -> None:
    """Seen by the SDK's verifier; a test event is struck like any PUT."""
    url = receivers.url("ok")
    game = served.register(url)
    forged = ["wrong_signature", "unknown_key", "expired_token", "wrong_audience", "webhook_clock_skew"]
    for kind in forged:
        inject(served, game, kind)
    inject(served, game, "webhook_clock_skew", offset_seconds=-5)
    verdicts = []
    for number in range(len(forged) + 2):
        event = must(served.studio.post(f"/games/{game.client_id}/test-event"), 201)
        await_delivery(served.studio, event["delivery_id"])
        verdicts.append(verdict(game, receivers.wait(url, number + 1)[-1]))
    assert verdicts == ["unauthenticated"] * len(forged) + ["taken", "taken"]
    assert [faults for _, faults in struck(served, game)] == [[kind] for kind in [*forged, "webhook_clock_skew", None]]


def test_a_game_that_refuses_a_forged_put_aborts_the_match(served: Server, receivers: Receivers, pair: Pair) -> None:
    url = receivers.url("status:401")
    game = served.register(url)
    inject(served, game, "unknown_key")
    before = pair.money()
    match = pair.one.await_status(pair.pay(game), "aborted")
    assert "401" in match["abort_detail"]
    assert pair.money() == before
    assert [request.method for request in receivers.requests(url)] == ["PUT"]


# --- what the game calls ---------------------------------------------------------------------------------------------


@pytest.fixture
def game(served: Server) -> GameConfig:
    return served.register(discovery="pull")


def launched(served: Server, pair: Pair, game: GameConfig) -> tuple[GameClient, str, str]:
    match_id = pair.pay(game)
    token = pair.one.act(match_id, "launch")["launch_url"].partition("token=")[2]
    return GameClient(served.url, game), match_id, token


def seen(answer: httpx.Response) -> tuple[int, str | None, str | None]:
    return answer.status_code, answer.headers.get("OKLP-Fault"), answer.headers.get("Retry-After")


def test_token_info_is_struck_in_order_and_only_so_often(served: Server, pair: Pair, game: GameConfig) -> None:
    client, _, token = launched(served, pair, game)
    inject(served, game, "token_info_503", times=2, retry_after_seconds=7)
    inject(served, game, "match_token_expired")
    inject(served, game, "token_info_slow", delay_seconds=0.3)
    inject(served, game, "finish_503")
    origin = {"Origin": "http://127.0.0.1:9"}

    def ask() -> httpx.Response:
        return client.http.post("/api/game/v1/token-info", json={"token": token}, headers=origin)

    answers = [ask() for _ in range(3)]
    began = time.monotonic()
    answers.append(ask())
    took = time.monotonic() - began
    answers.append(ask())
    assert [seen(each) for each in answers] == [
        (503, "token_info_503", "7"),
        (503, "token_info_503", "7"),
        (404, "match_token_expired", None),
        (200, "token_info_slow", None),
        (200, None, None),
    ]
    assert took >= 0.3
    # A browser may read the refusals as well.
    assert {each.headers["Access-Control-Allow-Origin"] for each in answers} == {origin["Origin"]}
    unknown = client.http.post("/api/game/v1/token-info", json={"token": "unknown"})
    assert answers[2].json() == unknown.json()
    assert listed(served, game)[-1] == ("finish_503", 0, 1)


def test_a_result_that_got_503_is_not_taken(served: Server, pair: Pair, game: GameConfig) -> None:
    client, match_id, _ = launched(served, pair, game)
    inject(served, game, "finish_503")
    report = client.report(match_id, pair.one.user_id)
    assert seen(client.finish(report, "/api/games/v1/finish")) == (503, "finish_503", "1")
    assert pair.one.match(match_id)["status"] == "live"
    assert client.finish(report).json()["accepted"] is True
    assert pair.one.match(match_id)["status"] == "finished"


def test_a_result_whose_answer_is_lost_is_taken_once(served: Server, pair: Pair, game: GameConfig) -> None:
    client, match_id, _ = launched(served, pair, game)
    inject(served, game, "finish_answer_lost", times=2)
    before = pair.money()
    report = client.report(match_id, pair.one.user_id)
    for _ in range(2):
        with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
            client.finish(report)
        assert pair.one.match(match_id)["status"] == "finished"
    assert client.finish(report).json()["accepted"] is True
    assert pair.money() == (before[0] + 900, before[1])


def test_a_slow_result_is_taken_all_the_same(served: Server, pair: Pair, game: GameConfig) -> None:
    client, match_id, _ = launched(served, pair, game)
    inject(served, game, "finish_slow", delay_seconds=0.5)
    report = client.report(match_id, pair.one.user_id)
    client.http.timeout = httpx.Timeout(0.2)
    with pytest.raises(httpx.ReadTimeout):
        client.finish(report)
    client.http.timeout = httpx.Timeout(30)
    assert pair.one.match(match_id)["status"] == "finished"
    assert client.finish(report).json()["accepted"] is True


def test_any_call_may_be_limited_or_find_its_token_expired(served: Server, pair: Pair, game: GameConfig) -> None:
    client, match_id, token = launched(served, pair, game)
    report = client.report(match_id, pair.one.user_id)
    inject(served, game, "rate_limited", retry_after_seconds=3, call="finish")
    inject(served, game, "access_token_expired")
    inject(served, game, "rate_limited")
    answer = client.http.get(f"/api/game/v1/matches/{match_id}")
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'
    assert seen(client.http.post("/api/game/v1/token-info", json={"token": token})) == (429, "rate_limited", "1")
    assert client.http.get("/api/game/v1/matches").status_code == 200
    assert seen(client.finish(report)) == (429, "rate_limited", "3")
    assert client.finish(report).status_code == 200


def test_the_issuer_is_struck_once_the_client_is_known(served: Server, game: GameConfig) -> None:
    inject(served, game, "token_endpoint_503", retry_after_seconds=2)
    inject(served, game, "token_clock_skew", offset_seconds=-3_600)
    form = {key: game.auth[key] for key in ("client_id", "client_secret")} | {"grant_type": "client_credentials"}
    assert httpx.post(game.auth["token_url"], data={**form, "client_secret": "wrong"}).status_code == 401
    unavailable = httpx.post(game.auth["token_url"], data=form)
    assert (unavailable.status_code, unavailable.headers["Retry-After"]) == (503, "2")
    assert unavailable.json()["error"] == "temporarily_unavailable"
    skewed = httpx.post(game.auth["token_url"], data=form).json()
    assert skewed["expires_in"] == 300
    headers = {"Authorization": f"Bearer {skewed['access_token']}"}
    assert httpx.get(f"{served.url}/api/game/v1/matches", headers=headers).status_code == 401
    fresh = httpx.post(game.auth["token_url"], data=form).json()["access_token"]
    headers = {"Authorization": f"Bearer {fresh}"}
    assert httpx.get(f"{served.url}/api/game/v1/matches", headers=headers).status_code == 200


def test_the_sdk_gets_through_all_of_them(served: Server, pair: Pair, game: GameConfig) -> None:
    """A game on the SDK does nothing about any of this, and its player is paid once."""
    match_id = pair.pay(game)
    token = pair.one.act(match_id, "launch")["launch_url"].partition("token=")[2]
    report = GameClient(served.url, game).report(match_id, pair.one.user_id)
    for kind in ("token_endpoint_503", "token_clock_skew", "token_info_503", "finish_503", "finish_answer_lost"):
        inject(served, game, kind)
    for kind in ("access_token_expired", "rate_limited"):
        inject(served, game, kind, call="finish")
    before = pair.money()
    with Client(game.config) as client:
        assert client.token_info(token).user_id == pair.one.user_id
        scores = {each["id"]: each["score"] for each in report["participants"]}
        assert client.finish(match_id, scores, [TeamResult.model_validate(each) for each in report["teams"]]).accepted
    assert pair.money() == (before[0] + 900, before[1])
    assert all(left == 0 for _, _, left in listed(served, game))


def test_many_calls_at_once_are_struck_just_as_often_as_asked(served: Server, pair: Pair, game: GameConfig) -> None:
    client, _, token = launched(served, pair, game)
    inject(served, game, "token_info_503", times=7)
    inject(served, game, "match_token_expired", times=5)

    def ask(_: int) -> int:
        return client.http.post("/api/game/v1/token-info", json={"token": token}).status_code

    with ThreadPoolExecutor(16) as pool:
        statuses = list(pool.map(ask, range(48)))
    assert {status: statuses.count(status) for status in set(statuses)} == {503: 7, 404: 5, 200: 36}


# --- setting and clearing --------------------------------------------------------------------------------------------


def test_every_kind_can_be_set_with_its_defaults(served: Server, game: GameConfig) -> None:
    for kind, about in KINDS.items():
        made = inject(served, game, kind, times=3)
        assert (made["kind"], made["times"], made["fired"], made["left"]) == (kind, 3, 0, 3)
        names = ("delay_seconds", "offset_seconds", "retry_after_seconds", "call")
        assert {name: made[name] for name in names if made[name] is not None} == about.options
    shown = must(served.studio.get(f"/games/{game.client_id}/faults"))["faults"]
    assert [each["kind"] for each in shown] == list(KINDS)
    assert served.studio.delete(f"/games/{game.client_id}/faults").status_code == 204
    assert listed(served, game) == []


@pytest.mark.parametrize(
    ("body", "at_fault"),
    [
        ({}, "kind"),
        ({"kind": "no_such_kind"}, "kind"),
        ({"kind": "finish_503", "times": 0}, "times"),
        ({"kind": "finish_503", "times": 1_001}, "times"),
        ({"kind": "finish_503", "times": "2"}, "times"),
        ({"kind": "finish_503", "delay_seconds": 1}, "delay_seconds"),
        ({"kind": "finish_slow", "delay_seconds": 61}, "delay_seconds"),
        ({"kind": "finish_slow", "delay_seconds": -1}, "delay_seconds"),
        ({"kind": "webhook_clock_skew", "offset_seconds": 86_401}, "offset_seconds"),
        ({"kind": "rate_limited", "call": "token"}, "call"),
        ({"kind": "finish_503", "call": "finish"}, "call"),
    ],
)
def test_what_is_no_fault_is_refused_by_its_field(
    served: Server, game: GameConfig, body: dict[str, object], at_fault: str
) -> None:
    assert fields(served.studio.post(f"/games/{game.client_id}/faults", json=body)) == {at_fault}
    assert listed(served, game) == []


def test_a_cleared_fault_strikes_no_more(served: Server, pair: Pair, game: GameConfig) -> None:
    client, _, token = launched(served, pair, game)
    first = inject(served, game, "token_info_503", times=5)
    inject(served, game, "match_token_expired", times=5)
    path = f"/games/{game.client_id}/faults"

    def ask() -> int:
        return client.http.post("/api/game/v1/token-info", json={"token": token}).status_code

    assert ask() == 503
    assert served.studio.delete(f"{path}/{first['fault_id']}").status_code == 204
    assert served.studio.delete(f"{path}/{first['fault_id']}").status_code == 404
    assert ask() == 404
    assert served.studio.delete(path).status_code == 204
    assert ask() == 200
    audit = must(served.operator.get("/audit", params={"subject": f"game:{game.client_id}"}))["entries"]
    assert [each["action"] for each in audit if each["action"].startswith("fault.")] == [
        "fault.clear",
        "fault.clear",
        "fault.inject",
        "fault.inject",
    ]


def test_a_fault_is_one_games_alone(served: Server, pair: Pair, game: GameConfig) -> None:
    other = served.register(discovery="pull")
    inject(served, other, "token_info_503")
    client, _, token = launched(served, pair, game)
    assert client.http.post("/api/game/v1/token-info", json={"token": token}).status_code == 200
    fault_id = must(served.studio.get(f"/games/{other.client_id}/faults"))["faults"][0]["fault_id"]
    assert served.studio.delete(f"/games/{game.client_id}/faults/{fault_id}").status_code == 404
    assert listed(served, other) == [("token_info_503", 0, 1)]


# --- the command line ------------------------------------------------------------------------------------------------


def test_faults_from_the_command_line(served: Server, pair: Pair, game: GameConfig) -> None:
    token = str(served.studio.headers["Authorization"]).removeprefix("Bearer ")
    env = {"OKLP_URL": served.url, "OKLP_STUDIO_TOKEN": token}
    at = ("--game", game.client_id)

    def oklp(*words: str, status: int = 0) -> str:
        done = CliRunner().invoke(app, ["faults", *words], env=env)
        assert done.exit_code == status, (words, done.output)
        return done.output

    shown = oklp("kinds")
    assert all(kind in shown for kind in KINDS)
    said = oklp("set", "token_info_503", "--times", "2", "--retry-after-seconds", "9", *at)
    assert f"token_info_503 strikes {game.client_id} the next 2 times" in said
    oklp("set", "webhook_clock_skew", "--offset-seconds", "-90", *at)
    client, _, launch = launched(served, pair, game)
    assert seen(client.http.post("/api/game/v1/token-info", json={"token": launch})) == (503, "token_info_503", "9")
    first, second = json.loads(oklp("list", "--json", *at))["faults"]
    assert (first["fired"], first["left"], second["offset_seconds"]) == (1, 1, -90)
    lines = oklp("list", *at).splitlines()
    assert "token_info_503  --retry-after-seconds 9  fired 1, left 1, last at 20" in lines[0]
    assert "webhook_clock_skew  --offset-seconds -90  fired 0, left 1" in lines[1]
    oklp("clear", first["fault_id"], *at)
    assert [kind for kind, _, _ in listed(served, game)] == ["webhook_clock_skew"]
    oklp("clear", *at)
    assert "Nothing is ordered." in oklp("list", *at)
    # What is wrong is one line, here or there.
    assert "must be one of" in oklp("set", "nonsense", *at, status=1)
    assert "delay_seconds" in oklp("set", "finish_slow", "--delay-seconds", "61", *at, status=1)
    assert "delay_seconds" in oklp("set", "finish_503", "--delay-seconds", "1", *at, status=1)
    assert "no such fault" in oklp("clear", "999999999", *at, status=1)
    assert "no such game" in oklp("list", "--game", "nobody-s", status=1)


def test_the_books_are_clean(served: Server) -> None:
    books = must(served.operator.get("/books"))
    assert books["clean"], books["faults"]
