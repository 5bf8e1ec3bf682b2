"""How refusals look: problems, RFC 6749 under /auth, and what HTTP wants beside them (contract B1, A2)."""

from __future__ import annotations

import http.client
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import httpx
import pytest

from tests.harness import PASSWORD, PLAYER, GameClient, PlayerClient, Server

BACKENDS = ("sqlite",)

FORM = {"content-type": "application/x-www-form-urlencoded"}


def _oauth(answer: httpx.Response, status: int, error: str) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    told = answer.json()
    assert told["error"] == error
    assert told["error_description"]
    assert set(told) == {"error", "error_description"}


def test_the_issuer_refuses_as_oauth_does(served: Server) -> None:
    realm = f"{served.url}/auth/realms/oklp"
    endpoint = f"{realm}/protocol/openid-connect"
    for url in (f"{endpoint}/token", f"{endpoint}/token/introspect"):
        _oauth(httpx.post(url, content=b"x" * 300_000, headers=FORM), 413, "invalid_request")
        chunks = (b"x" * 100_000 for _ in range(4))
        _oauth(httpx.post(url, content=chunks, headers=FORM), 413, "invalid_request")
        for method in ("GET", "OPTIONS", "PUT", "DELETE"):
            answer = httpx.request(method, url)
            _oauth(answer, 405, "invalid_request")
            assert answer.headers["allow"] == "POST"
    _oauth(httpx.post(realm), 405, "invalid_request")
    for path in ("/auth", "/auth/", "/auth/nope", f"/auth/realms/oklp{'/x' * 3}"):
        _oauth(httpx.get(f"{served.url}{path}"), 404, "invalid_request")
    _oauth(httpx.get(f"{served.url}/auth/realms/nope"), 404, "invalid_request")
    # A 401 asks for what clients have here, however they have tried (RFC 9110, section 11.6.1).
    grant = {"grant_type": "client_credentials"}
    for answer in (
        httpx.post(f"{endpoint}/token", data={**grant, "client_id": "none", "client_secret": "x"}),
        httpx.post(f"{endpoint}/token", data=grant, auth=("none", "x")),
    ):
        _oauth(answer, 401, "invalid_client")
        assert answer.headers["www-authenticate"] == 'Basic realm="oklp"'
    # And nobody else does.
    answer = httpx.get(f"{served.url}/authors")
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")


def test_a_wrong_method_is_told_all_that_there_are(served: Server) -> None:
    """RFC 9110, section 15.5.6; and HEAD is taken where GET is, but for streams and what makes something."""
    game = served.register(discovery="pull").client_id
    for method, path, allowed in (
        ("PUT", f"/api/studio/v1/games/{game}", "GET, HEAD, PATCH"),
        ("DELETE", f"{PLAYER}/players", "GET, HEAD, POST"),
        ("GET", f"{PLAYER}/sessions/current", "DELETE"),
        ("POST", f"{PLAYER}/events", "GET"),
        ("HEAD", f"{PLAYER}/events", "GET"),
        ("HEAD", f"/api/studio/v1/games/{game}/calls/events", "GET"),
        ("GET", "/api/game/v1/token-info", "OPTIONS, POST"),
        ("POST", "/healthz", "GET, HEAD"),
        ("PUT", f"{PLAYER}/me/email", "POST"),
        ("POST", "/static-offline-docs/swagger-ui.css", "GET, HEAD"),
        ("DELETE", "/log-in", "GET, HEAD, POST"),
        ("HEAD", "/live", "GET"),
        ("HEAD", f"/matches/{'0' * 24}/play", "GET"),
        ("HEAD", "/operator/live", "GET"),
        ("HEAD", f"/studio/games/{game}/webhooks/live", "GET"),
    ):
        for accept in ("application/json", "text/html"):  # as a problem, and as a page
            answer = httpx.request(method, f"{served.url}{path}", headers={"Accept": accept})
            assert (answer.status_code, answer.headers["allow"]) == (405, allowed), (method, path)


def test_head_is_answered_as_get_is_without_a_body(served: Server) -> None:
    player = PlayerClient(served.url, deposit=0)
    token = {"Authorization": player.http.headers["Authorization"]}
    with closing(http.client.HTTPConnection("127.0.0.1", served.port, timeout=30)) as connection:
        for path, headers, status in (
            (f"{PLAYER}/me", token, 200),
            (f"{PLAYER}/me", {}, 401),
            (f"{PLAYER}/matches/{'0' * 24}", token, 404),
            ("/docs", {}, 200),
            ("/", {}, 200),
            ("/wallet", {}, 200),  # with the page that asks to log in
            ("/matches/nowhere", {"Accept": "text/html"}, 200),
            ("/nowhere", {"Accept": "text/html"}, 404),
        ):
            told = []
            for method in ("GET", "HEAD"):  # on one connection: a body would be read as the next answer
                connection.request(method, path, headers=headers)
                answer = connection.getresponse()
                body = answer.read()
                assert bool(body) is (method == "GET")
                told.append((answer.status, answer.headers["content-type"], answer.headers["content-length"]))
            assert told[0] == told[1]
            assert told[0][0] == status


def test_a_refused_token_is_told_from_none(served: Server) -> None:
    """RFC 6750, section 3.1: by this, clients know that asking for a new token will help."""
    player = PlayerClient(served.url, deposit=0)
    game = GameClient(served.url, served.register(discovery="pull"))
    ended = player.http.headers["Authorization"]
    player.call("DELETE", "/sessions/current")
    access = game.http.headers["Authorization"]
    finish = "/api/game/v1/finish"
    for method, path, tokens in (
        ("GET", f"{PLAYER}/me", (ended, access, "Bearer nonsense", f"Bearer {'x' * 9_000}")),
        ("GET", "/api/game/v1/matches", (ended, access[:-4] + "AAAA", "Bearer a.b.c")),
        ("POST", finish, (ended, access[:-4] + "AAAA", "Bearer a.b.c")),
    ):
        for headers in ({}, {"Authorization": "Bearer"}, {"Authorization": "Basic dTpw"}):
            answer = httpx.request(method, served.url + path, headers=headers)
            assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer"), (path, headers)
        for token in tokens:
            answer = httpx.request(method, served.url + path, headers={"Authorization": token})
            expected = (401, 'Bearer error="invalid_token"')
            assert (answer.status_code, answer.headers["www-authenticate"]) == expected, (path, token[:20])


@pytest.mark.parametrize(
    "path", [f"{PLAYER}/me/", f"{PLAYER}/players/", "/api/game/v1/matches/", "/healthz/", "/docs/"]
)
def test_no_redirect_follows_the_host_header(served: Server, path: str) -> None:
    with closing(http.client.HTTPConnection("127.0.0.1", served.port, timeout=20)) as connection:
        connection.request("GET", path, headers={"Host": "evil.example"})
        answer = connection.getresponse()
        assert (answer.status, answer.getheader("location")) == (404, None)


def test_a_body_that_is_no_json_is_told_to_be_json(served: Server) -> None:
    player = PlayerClient(served.url, deposit=0)
    for body in (b'{"amount": 5, "currency": "XTS"}', b"amount=5&currency=XTS"):
        for kind in ("application/x-www-form-urlencoded", "text/plain"):
            answer = player.http.post(f"{PLAYER}/wallet/deposits", content=body, headers={"content-type": kind})
            assert answer.status_code == 400, answer.text
            assert "Content-Type: application/json" in answer.json()["detail"]
            assert "errors" not in answer.json()
    assert player.http.post(f"{PLAYER}/wallet/deposits", json=["amount"]).status_code == 422
    assert player.available() == 0


def test_a_number_that_is_too_long_to_be_read_is_named(served: Server) -> None:
    game = GameClient(served.url, served.register(discovery="pull"))
    result = '{"match_id": "%s", "participants": [{"id": "u", "score": %s}]}'
    for score in ("9" * 4_000, "9" * 5_000, "-" + "9" * 5_000, "9" * 5_000 + ".5"):
        answer = game.http.post("/api/game/v1/finish", content=result % ("0" * 24, score))
        assert answer.status_code == 422, answer.text
        assert [each["field"] for each in answer.json()["errors"]] == ["participants.0.score"]
    torn = game.http.post("/api/game/v1/finish", content=(result % ("0" * 24, "9" * 5_000))[:-1])
    assert (torn.status_code, torn.json()["detail"]) == (400, "The body is not valid JSON.")
    player = PlayerClient(served.url, deposit=0)
    for body, why in ((b'{"amount": %s}' % (b"9" * 5_000), "digits"), (b'{"currency": "\xff"}', "UTF-8")):
        headers = {"content-type": "application/json"}
        answer = player.http.post(f"{PLAYER}/wallet/deposits", content=body, headers=headers)
        assert answer.status_code == 400, answer.text
        assert why in answer.json()["detail"]


def test_a_byte_order_mark_before_json_is_passed_over(served: Server) -> None:
    game = GameClient(served.url, served.register(discovery="pull"))
    player = PlayerClient(served.url, deposit=0)
    for client, path, body in (
        (game.http, "/api/game/v1/token-info", b'{"token": "none"}'),
        (player.http, f"{PLAYER}/wallet/deposits", b'{"amount": 5, "currency": "XTS"}'),
    ):
        headers = {"content-type": "application/json"}
        plain, marked = (client.post(path, content=mark + body, headers=headers) for mark in (b"", b"\xef\xbb\xbf"))
        assert plain.status_code in (201, 404), plain.text
        assert marked.status_code == plain.status_code, marked.text


def test_right_log_ins_at_once_all_get_in(served: Server) -> None:
    player = PlayerClient(served.url, deposit=0)
    credentials = {"username": player.username, "password": PASSWORD}
    with ThreadPoolExecutor(30) as pool:
        url = f"{served.url}{PLAYER}/sessions"
        answers = list(pool.map(lambda _: httpx.post(url, json=credentials, timeout=60), range(30)))
    assert {answer.status_code for answer in answers} == {201}


def test_guesses_at_once_are_limited_as_one_by_one(served: Server) -> None:
    player = PlayerClient(served.url, deposit=0)
    url = f"{served.url}{PLAYER}/sessions"
    guesses = [{"username": player.username, "password": f"guess {n}"} for n in range(30)]
    with ThreadPoolExecutor(30) as pool:
        answers = list(pool.map(lambda guess: httpx.post(url, json=guess, timeout=60), guesses))
    assert sorted(answer.status_code for answer in answers) == [401] * 10 + [429] * 20


def test_signing_up_does_not_tell_whose_addresses_are_known(served: Server) -> None:
    player = PlayerClient(served.url, deposit=0)
    address = player.must(200, "GET", "/me")["email"]
    known = {"password": PASSWORD, "date_of_birth": "1990-05-17", "country": "DE"}
    answers = [
        httpx.post(f"{served.url}{PLAYER}/players", json={**known, "username": f"{player.username[:20]}-{n}", **email})
        for n, email in enumerate([{"email": address}, {"email": address.upper()}, {"email": "new@example.org"}])
    ]
    assert [(answer.status_code, sorted(answer.json())) for answer in answers] == [(201, ["user_id", "username"])] * 3
