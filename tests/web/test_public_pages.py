"""The public pages' own examples, with only the addresses changed, by a program that shares no code with the server."""

from __future__ import annotations

import base64
import json
import subprocess
from typing import Any

import httpx
import pytest

from tests.harness import GameClient, GameConfig, PlayerClient, Server, paid_match

BACKENDS = ("sqlite",)


def curl(*arguments: str) -> tuple[int, Any]:
    done = subprocess.run(
        ["curl", "-s", "-w", "\n%{http_code}", *arguments], capture_output=True, text=True, timeout=30
    )
    body, _, status = done.stdout.rpartition("\n")
    return int(status), json.loads(body) if body else None


@pytest.fixture
def live(served: Server) -> tuple[GameConfig, PlayerClient, PlayerClient, str]:
    game = served.register(discovery="pull")
    one, two = PlayerClient(served.url), PlayerClient(served.url)
    return game, one, two, paid_match(one, two, game.client_id)


Live = tuple[GameConfig, PlayerClient, PlayerClient, str]


def _token(game: GameConfig) -> str:
    status, answer = curl(
        *("-X", "POST", game.auth["token_url"]),
        *("-H", "Content-Type: application/x-www-form-urlencoded"),
        *("-d", f"client_id={game.client_id}", "-d", f"client_secret={game.auth['client_secret']}"),
        *("-d", "grant_type=client_credentials", "-d", "scope=olp-report-api"),
    )
    assert status == 200, answer
    assert (answer["token_type"], answer["expires_in"] > 0) == ("Bearer", True)
    assert {"refresh_expires_in", "not-before-policy", "scope"} <= set(answer)
    return str(answer["access_token"])


def _api(game: GameConfig, path: str, body: object) -> tuple[int, Any]:
    return curl(
        *("-X", "POST", f"{game.config['okletsplay_url']}{path}"),
        *("-H", f"Authorization: Bearer {_token(game)}", "-H", "Content-Type: application/json"),
        *("-d", json.dumps(body)),
    )


def test_token_info(live: Live) -> None:
    game, one, _, match_id = live
    launched = one.act(match_id, "launch", {"platform": "browser"})
    token = launched["launch_url"].split("token=")[1]
    assert 3500 < launched["expires_in"] <= 3600
    expected = {
        "match_id": match_id,
        "user_id": one.user_id,
        "match_status": "live",
        "submissions_total": 1,
        "submissions_left": 1,
    }
    assert _api(game, "/api/game/v1/token-info", {"token": token}) == (200, expected)
    assert _api(game, "/api/game/v1/token-info", {"token": token}) == (200, expected)


@pytest.mark.parametrize("path", ["/api/game/v1/finish", "/api/games/v1/finish"])
def test_synchronous_finish(live: Live, path: str) -> None:
    game, one, two, match_id = live
    teams = {m["user_id"]: team["id"] for team in one.match(match_id)["teams"] for m in team["members"]}
    body = {
        "match_id": match_id,
        "participants": [{"id": one.user_id, "score": 300}, {"id": two.user_id, "score": 100}],
        "teams": [
            {"id": teams[one.user_id], "score": 300, "ranking": 1},
            {"id": teams[two.user_id], "score": 100, "ranking": 2, "forfeit": True},
        ],
    }
    expected = {"match_id": match_id, "accepted": True, "match_status": "finished"}
    assert _api(game, path, body) == (200, expected)
    assert _api(game, path, body) == (200, expected)
    assert (one.available(), two.available()) == (10_000 - 500 + 900, 10_000 - 500)
    assert one.match(match_id)["winnings"] == [{"user_id": one.user_id, "amount": 900}]


@pytest.mark.parametrize("path", ["/api/game/v1/finish", "/api/games/v1/finish"])
def test_asynchronous_finish(served: Server, path: str) -> None:
    game = served.register(discovery="pull", mode="async")
    one, two = PlayerClient(served.url), PlayerClient(served.url)
    match_id = paid_match(one, two, game.client_id)
    body = {"match_id": match_id, "participants": [{"id": one.user_id, "score": 300}]}
    assert _api(game, path, body) == (200, {"match_id": match_id, "accepted": True, "match_status": "live"})
    assert [m.get("score") for t in two.match(match_id)["teams"] for m in t["members"]] == [None, None]
    body["participants"] = [{"id": two.user_id, "score": 301}]
    assert _api(game, path, body) == (200, {"match_id": match_id, "accepted": True, "match_status": "finished"})
    assert (one.available(), two.available()) == (9_500, 10_400)
    assert [t["ranking"] for t in two.match(match_id)["teams"]] == [2, 1]


def test_suspect_credentials(served: Server, live: Live) -> None:
    game = live[0]
    url = game.auth["token_url"]
    good = {
        "client_id": game.client_id,
        "client_secret": game.auth["client_secret"],
        "grant_type": "client_credentials",
    }
    for change, status, error in (
        ({"client_secret": "wrong"}, 401, "invalid_client"),
        ({"client_id": "nobody"}, 401, "invalid_client"),
        ({"client_id": "no\x00body"}, 401, "invalid_client"),
        ({"grant_type": "password"}, 400, "unsupported_grant_type"),
        ({"grant_type": ""}, 400, "invalid_request"),
    ):
        answer = httpx.post(url, data={**good, **change})
        assert (answer.status_code, answer.json()["error"]) == (status, error)
    assert httpx.post(url, json=good).status_code == 400
    twice = httpx.post(
        url,
        content=b"grant_type=client_credentials&grant_type=client_credentials",
        headers={"content-type": "application/x-www-form-urlencoded"},
    )
    assert twice.json()["error"] == "invalid_request"
    secret = base64.b64encode(f"{game.client_id}:{game.auth['client_secret']}".encode()).decode()
    answer = httpx.post(
        url,
        content=b"grant_type=client_credentials&client_secret=&scope=openid",
        headers={
            "Authorization": f"Basic {secret}",
            "content-type": "application/x-www-form-urlencoded; charset=utf-8",
        },
    )
    assert (answer.status_code, answer.json()["scope"]) == (200, "olp-report-api")


def test_tokens_of_another_game_are_worth_nothing(served: Server, live: Live) -> None:
    game, one, _, match_id = live
    other = served.register(discovery="pull")
    token = one.act(match_id, "launch")["launch_url"].split("token=")[1]
    refused = _api(other, "/api/game/v1/token-info", {"token": token})
    unknown = _api(other, "/api/game/v1/token-info", {"token": "unknown"})
    assert refused == unknown
    assert refused[0] == 404
    client = GameClient(served.url, game)
    assert _api(other, "/api/game/v1/finish", client.report(match_id, one.user_id))[0] == 404


def test_rotation_overlaps(served: Server, live: Live) -> None:
    game, _, _, match_id = live
    before = GameClient(served.url, game)
    realm = httpx.get(game.auth["public_key_url"]).json()
    served.cli("keys", "rotate")
    for _ in range(200):
        if httpx.get(game.auth["public_key_url"]).json() != realm:
            break
    else:
        pytest.fail("the server did not notice the new key")
    assert before.match(match_id)["match_id"] == match_id  # the old token still works
    assert GameClient(served.url, game).match(match_id)["match_id"] == match_id
    jwks = httpx.get(f"{game.auth['public_key_url']}/protocol/openid-connect/certs").json()
    assert len(jwks["keys"]) >= 2
