"""`oklp logs tail`: what a game asked and was told, with why it was refused, across cuts of the connection."""

from __future__ import annotations

import json
from typing import Any

import httpx

from tests.harness import PASSWORD, GameClient, PlayerClient, Server, paid_match, run_cli
from tests.web.listening import Listening, Proxy, await_true
from tests.web.test_deliveries_tools import printed, shell
from tests.webhooks.receivers import Receivers

BACKENDS = ("sqlite",)


def rows(listening: Listening) -> list[dict[str, Any]]:
    return [json.loads(line) for line in list(listening.lines)]


def test_calls_and_deliveries_are_seen_as_they_happen(served: Server, receivers: Receivers) -> None:
    game = served.register(receivers.url("ok"))
    proxy = Proxy(served.port)
    with Listening(served, "logs", "tail", "--game", game.client_id, "--json", url=proxy.url) as tail:
        client = GameClient(served.url, game)
        one, two = PlayerClient(served.url), PlayerClient(served.url)
        match_id = paid_match(one, two, game.client_id)
        one.await_status(match_id, "live")
        tail.until(lambda: any(each["kind"] == "delivery" for each in rows(tail)))
        assert proxy.cut() > 0
        report = client.report(match_id, one.user_id)
        assert client.finish({**report, "participants": []}).status_code == 422
        answer = client.finish(report)
        assert answer.json()["accepted"]
        forged = {"Authorization": client.http.headers["Authorization"] + "x"}
        assert client.http.post("/api/game/v1/token-info", json={"token": "x"}, headers=forged).status_code == 401
        form = {"client_id": game.client_id, "client_secret": "wrong", "grant_type": "client_credentials"}
        assert httpx.post(game.auth["token_url"], data=form).status_code == 401
        tail.until(lambda: len(rows(tail)) >= 7)
        found = rows(tail)
        assert tail.stop() == 0
    proxy.close()
    finish = "/api/game/v1/finish"
    told = [(each["kind"], each["method"], each["path"], each["status"], each["code"]) for each in found]
    assert sorted(told, key=str) == sorted(
        [
            ("call", "POST", "/auth/realms/oklp/protocol/openid-connect/token", 200, None),
            ("delivery", "PUT", found[1]["path"], 200, None),
            ("call", "GET", f"/api/game/v1/matches/{match_id}", 200, None),
            ("call", "POST", finish, 422, "invalid-request"),
            ("call", "POST", finish, 200, None),
            ("call", "POST", "/api/game/v1/token-info", 401, "unauthenticated"),
            ("call", "POST", "/auth/realms/oklp/protocol/openid-connect/token", 401, "invalid_client"),
        ],
        key=str,
    ), "each once, across the cut"
    refused = next(each for each in found if each["status"] == 422)
    assert "participants" in refused["detail"]
    accepted = next(each for each in found if each["path"] == finish and each["status"] == 200)
    assert accepted["request_id"] == answer.headers["x-request-id"]
    assert next(each for each in found if each["kind"] == "delivery")["match_id"] == match_id
    # What is there already is shown without following, too.
    env, words = shell(served), ("logs", "tail", "--no-follow", "--game", game.client_id)
    assert printed(run_cli(env, *words, "--json").stdout) == found
    failed = run_cli(env, *words, "--failed").stdout.splitlines()
    assert len(failed) == 3
    assert all(str(status) in line for status, line in zip((422, 401, 401), failed, strict=True))
    assert len(run_cli(env, *words, "--lines", "2").stdout.splitlines()) == 2
    everything = json.dumps(found)
    assert game.auth["client_secret"] not in everything
    assert "Bearer" not in everything


def test_a_stream_says_nothing_more_once_its_session_is_over(served: Server) -> None:
    """However much there is to say: a busy stream was once never asked whose it is."""
    game = served.register(discovery="pull")
    credentials = {"username": served.studio.get("/me").json()["username"], "password": PASSWORD}
    with httpx.Client(base_url=f"{served.url}/api/studio/v1", timeout=20) as other:
        session = other.post("/sessions", json=credentials).json()
        other.headers["Authorization"] = f"Bearer {session['token']}"
        with other.stream("GET", f"/games/{game.client_id}/calls/events") as stream:
            lines = stream.iter_lines()
            client = GameClient(served.url, game)
            assert "event: call" in lines
            assert httpx.delete(f"{other.base_url}sessions/current", headers=other.headers).status_code == 204
            assert client.http.get("/api/game/v1/matches").status_code == 200
            assert "event: call" not in lines, "and it ends"


def test_of_a_flood_the_number_is_kept(served: Server) -> None:
    game = served.register(discovery="pull")
    client = GameClient(served.url, game)
    calls = 400
    for _ in range(calls):
        assert client.http.get("/api/game/v1/matches").status_code == 200
    wanted = {"limit": 200}

    def counted() -> tuple[int, int]:
        kept = left_out = 0
        page = served.studio.get(f"/games/{game.client_id}/calls", params=wanted).json()
        while True:
            for each in page["calls"]:
                kept += each["kind"] == "call"
                left_out += int(each["detail"].split()[0]) if each["kind"] == "left-out" else 0
            if page["next_cursor"] is None:
                return kept, left_out
            params = {**wanted, "cursor": page["next_cursor"]}
            page = served.studio.get(f"/games/{game.client_id}/calls", params=params).json()

    await_true(lambda: sum(counted()) == calls + 1)
    assert counted()[1] > 0
