"""The player API as a client sees it: statuses, problems that name the field, idempotency."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.harness import PLAYER, GameClient, PlayerClient, Server, paid_match

GOOD = {
    "username": "Somebody",
    "email": "somebody@example.org",
    "password": "correct horse",
    "date_of_birth": "1990-05-17",
    "country": "DE",
}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("username", "ab"),
        ("username", "with space"),
        ("username", "x" * 33),
        ("username", 7),
        ("email", "nobody"),
        ("email", "a\u0000b@example.org"),
        ("password", "short"),
        ("password", "x" * 257),
        ("date_of_birth", "yesterday"),
        ("date_of_birth", "2999-01-01"),
        ("date_of_birth", "2024-01-01"),
        ("country", "Germany"),
        ("country", "QQ"),
    ],
)
def test_sign_up_names_the_field(served: Server, field: str, value: object) -> None:
    answer = httpx.post(f"{served.url}{PLAYER}/players", json={**GOOD, field: value})
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert {each["field"] for each in problem["errors"]} == {field}
    assert (problem["status"], bool(problem["title"]), bool(problem["detail"])) == (422, True, True)


def test_names_are_unique_without_regard_to_case(served: Server) -> None:
    player = PlayerClient(served.url, deposit=0)
    again = {**GOOD, "username": player.username.upper(), "email": "other@example.org"}
    answer = httpx.post(f"{served.url}{PLAYER}/players", json=again)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (409, "username")
    credentials = {"username": player.username.upper(), "password": "correct horse"}
    assert httpx.post(f"{served.url}{PLAYER}/sessions", json=credentials).status_code == 201


def test_failed_log_ins_are_limited(served: Server) -> None:
    player = PlayerClient(served.url, deposit=0)
    url = f"{served.url}{PLAYER}/sessions"
    answers = [httpx.post(url, json={"username": player.username, "password": f"guess {n}"}) for n in range(11)]
    assert [answer.status_code for answer in answers] == [401] * 10 + [429]
    assert int(answers[-1].headers["retry-after"]) > 0
    # The right password is not a way around it, and a session that is open goes on.
    assert httpx.post(url, json={"username": player.username, "password": "correct horse"}).status_code == 429
    player.must(200, "GET", "/me")


def test_logging_out_ends_the_session(served: Server) -> None:
    player = PlayerClient(served.url, deposit=0)
    assert player.call("DELETE", "/sessions/current").status_code == 204
    answer = player.call("GET", "/me")
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, 'Bearer error="invalid_token"')


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"game_id": "no-such-game"}, "game_id"),
        ({"entry_fee": {"amount": 5.0, "currency": "XTS"}}, "entry_fee.amount"),
        ({"entry_fee": {"amount": "5", "currency": "XTS"}}, "entry_fee.amount"),
        ({"entry_fee": {"amount": -1, "currency": "XTS"}}, "entry_fee.amount"),
        ({"entry_fee": {"amount": 1_000_001, "currency": "XTS"}}, "entry_fee.amount"),
        ({"entry_fee": {"amount": 10**30, "currency": "XTS"}}, "entry_fee.amount"),
        ({"entry_fee": {"amount": 5, "currency": "USD"}}, "entry_fee.currency"),
        ({"teams": 1}, "teams"),
        ({"teams": 17}, "teams"),
        ({"team_size": 9}, "team_size"),
        ({"invite": ["nobody-of-that-name"]}, "invite.0"),
        ({"visibility": "secret"}, "visibility"),
        ({"prize_shares_bps": [5000, 4000]}, "prize_shares_bps"),
    ],
)
def test_creating_a_match_names_the_field(served: Server, change: dict[str, object], field: str) -> None:
    player = PlayerClient(served.url, deposit=0)
    game = served.register(discovery="pull")
    body = {"game_id": game.client_id, "entry_fee": {"amount": 5, "currency": "XTS"}, **change}
    answer = player.call("POST", "/matches", body)
    assert answer.status_code == 422, answer.text
    assert field in {each["field"] for each in answer.json()["errors"]}


@pytest.mark.parametrize("body", [b"{", b"[" * 100_000, b"\xff\xfe", b'{"game_id": "\\ud800"}', b"NaN", b""])
def test_bodies_that_are_no_json_get_a_4xx(served: Server, body: bytes) -> None:
    player = PlayerClient(served.url, deposit=0)
    for path in (f"{PLAYER}/matches", f"{PLAYER}/sessions"):
        answer = player.http.post(path, content=body, headers={"content-type": "application/json"})
        assert 400 <= answer.status_code < 500, (path, answer.text)
        assert answer.headers["content-type"] == "application/problem+json"


def test_too_large_a_body_is_refused(served: Server) -> None:
    player = PlayerClient(served.url, deposit=0)
    assert player.http.post(f"{PLAYER}/matches", content=b"x" * 300_000).status_code == 413
    chunks = (b"x" * 100_000 for _ in range(4))
    assert player.http.post(f"{PLAYER}/matches", content=chunks).status_code == 413


def test_a_key_makes_a_request_happen_once(served: Server) -> None:
    player = PlayerClient(served.url, deposit=0)
    body = {"amount": 700, "currency": "XTS"}

    def deposit(_: int) -> httpx.Response:
        return player.call("POST", "/wallet/deposits", body, **{"Idempotency-Key": "once"})

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(deposit, range(24)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.text for answer in answers}) == 1
    assert player.available() == 700
    other = player.call("POST", "/wallet/deposits", {**body, "amount": 1}, **{"Idempotency-Key": "once"})
    assert (other.status_code, other.json()["errors"][0]["field"]) == (422, "Idempotency-Key")
    player.must(201, "POST", "/wallet/deposits", body)
    assert player.available() == 1_400


def test_50_identical_and_50_different_results(served: Server) -> None:
    game = served.register(discovery="pull")
    one, two = PlayerClient(served.url), PlayerClient(served.url)
    client = GameClient(served.url, game)
    with ThreadPoolExecutor(50) as pool:
        match_id = paid_match(one, two, game.client_id)
        body = client.report(match_id, one.user_id)
        answers = list(pool.map(client.finish, [body] * 50))
        assert {answer.status_code for answer in answers} == {200}
        assert {answer.json()["accepted"] for answer in answers} == {True}

        match_id = paid_match(one, two, game.client_id)
        bodies = []
        for score in range(50):
            each = client.report(match_id, (one, two)[score % 2].user_id)
            each["participants"][0]["score"] = score
            bodies.append(each)
        answers = list(pool.map(client.finish, bodies))
    assert {answer.status_code for answer in answers} == {200}
    assert sorted(answer.json()["accepted"] for answer in answers) == [False] * 49 + [True]
    accepted = next(body for body, answer in zip(bodies, answers, strict=True) if answer.json()["accepted"])
    shown = {m["user_id"]: m["score"] for team in one.match(match_id)["teams"] for m in team["members"]}
    assert shown == {each["id"]: each["score"] for each in accepted["participants"]}
    assert one.available() + two.available() == 20_000 - 2 * 100  # two matches, each with a fee of 10 %
    served.books()


def test_a_private_match_is_a_404_to_others_and_opens_with_its_code(served: Server) -> None:
    game = served.register(discovery="pull")
    one, two = PlayerClient(served.url), PlayerClient(served.url)
    match_id = one.create(game.client_id)
    assert two.call("GET", f"/matches/{match_id}").status_code == 404
    assert two.call("POST", f"/matches/{match_id}/join").status_code == 404
    assert two.call("POST", f"/matches/{match_id}/join", {"join_code": "wrong"}).status_code == 404
    code = one.match(match_id)["join_code"]
    joined = two.act(match_id, "join", {"join_code": code})
    assert joined["join_code"] == code
    assert [m["state"] for team in joined["teams"] for m in team["members"]] == ["joined", "joined"]


def test_an_empty_parameter_is_none(served: Server) -> None:
    """As clients write those that they have no value for, the first cursor above all."""
    game = served.register(discovery="pull")
    one, two = PlayerClient(served.url), PlayerClient(served.url)
    match_id = paid_match(one, two, game.client_id)
    for path, listed in (("/matches?status=&cursor=", "matches"), ("/wallet/entries?kind=&cursor=", "entries")):
        assert one.must(200, "GET", path)[listed] == one.must(200, "GET", path.partition("?")[0])[listed] != []
    assert one.must(200, "GET", "/players?query=")["players"] == []
    assert one.call("GET", "/matches?status=&cursor=x").status_code == 422
    answer = GameClient(served.url, game).http.get("/api/game/v1/matches?status=live&user_id=&cursor=&limit=")
    assert [each["match_id"] for each in answer.json()["matches"]] == [match_id]


def test_documents_and_health(served: Server) -> None:
    for path in ("/healthz", "/readyz", "/metrics", "/openapi.json", "/docs"):
        assert httpx.get(f"{served.url}{path}").status_code == 200, path
    page = httpx.get(f"{served.url}/docs").text
    assert "https://" not in page.replace("https://127", "")
    assert httpx.put(f"{served.url}/healthz").status_code == 405
    assert httpx.get(f"{served.url}/nowhere").json()["type"] == "urn:oklp:error:not-found"
