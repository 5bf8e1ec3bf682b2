"""A whole start, from the last confirmation to live or refunded, against receivers that do what receivers do."""

from __future__ import annotations

import base64
import json
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.harness import GameClient, PlayerClient, Server, paid_match
from tests.webhooks.receivers import Receivers


def _log(served: Server, game_id: str) -> list[dict[str, Any]]:
    """What the operator's API says of a game's deliveries."""
    return served.operator.get("/deliveries", params={"game_id": game_id}).json()["deliveries"]  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("behaviour", "words", "told_to_forget"),
    [
        ("status:201", "201", False),
        ("status:204", "204", False),
        ("status:302", "302", False),
        ("status:500", "500", False),
        ("hang", "timed out", True),
        ("reset", "reset", True),
        ("hang-in-body", "timed out", True),
    ],
)
def test_anything_but_a_200_aborts_and_refunds(
    served: Server, receivers: Receivers, behaviour: str, words: str, told_to_forget: bool
) -> None:
    url = receivers.url(behaviour)
    game = served.register(url)
    one, two = PlayerClient(served.url), PlayerClient(served.url)
    match_id = paid_match(one, two, game.client_id)
    match = one.await_status(match_id, "aborted")
    assert match["abort_reason"] == "game-refused"
    assert words in match["abort_detail"]
    assert (one.available(), two.available()) == (10_000, 10_000)
    first = receivers.wait(url, 2 if told_to_forget else 1)
    assert [request.method for request in first] == (["PUT", "DELETE"] if told_to_forget else ["PUT"])
    started = next(each for each in _log(served, game.client_id) if each["event"] == "match.started")
    assert (started["state"], started["attempts"]) == ("failed", 1)
    assert words in started["last_error"]


def test_a_refused_connection_aborts_and_is_not_called_off(served: Server, receivers: Receivers) -> None:
    game = served.register("http://127.0.0.1:9/match")
    one, two = PlayerClient(served.url), PlayerClient(served.url)
    match = one.await_status(paid_match(one, two, game.client_id), "aborted")
    assert "refused" in match["abort_detail"]
    assert [each["event"] for each in _log(served, game.client_id)] == ["match.started"]


def test_a_200_starts_and_its_token_verifies_in_another_language(
    served: Server, receivers: Receivers, tmp_path: Path
) -> None:
    """The public pages' recipe: wrap `public_key` in PEM armour and verify RS256 with it. Here by openssl."""
    url = receivers.url("ok")
    game = served.register(url)
    one, two = PlayerClient(served.url), PlayerClient(served.url)
    match_id = paid_match(one, two, game.client_id)
    one.await_status(match_id, "live")
    [request] = receivers.wait(url)
    body = json.loads(request.body)
    assert body["match_id"] == match_id
    assert {each["id"] for each in body["participants"]} == {one.user_id, two.user_id}
    assert [each["team_id"] for each in body["participants"]] == [each["id"] for each in body["teams"]]

    scheme, token = request.headers["authorization"].split(" ")
    head, payload, signature = token.split(".")
    realm = httpx.get(game.auth["public_key_url"]).json()
    lines = [realm["public_key"][at : at + 64] for at in range(0, len(realm["public_key"]), 64)]
    (tmp_path / "key.pem").write_text("\n".join(["-----BEGIN PUBLIC KEY-----", *lines, "-----END PUBLIC KEY-----", ""]))
    (tmp_path / "signed").write_text(f"{head}.{payload}")
    (tmp_path / "signature").write_bytes(_unbase64(signature))
    files = ["-verify", "key.pem", "-signature", "signature", "signed"]
    done = subprocess.run(["openssl", "dgst", "-sha256", *files], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.strip() == "Verified OK"
    claims = json.loads(_unbase64(payload))
    assert (scheme, claims["iss"], claims["aud"]) == ("Bearer", game.auth["public_key_url"], game.client_id)
    assert "scope" not in claims
    assert claims["exp"] > claims["iat"]


def _unbase64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def test_a_webhook_token_opens_nothing(served: Server, receivers: Receivers) -> None:
    url = receivers.url("ok")
    game = served.register(url)
    one, two = PlayerClient(served.url), PlayerClient(served.url)
    match_id = paid_match(one, two, game.client_id)
    one.await_status(match_id, "live")
    stolen = receivers.wait(url)[0].headers["authorization"]
    for path, body in (("token-info", {"token": "x"}), ("finish", {"match_id": match_id, "participants": []})):
        answer = httpx.post(f"{served.url}/api/game/v1/{path}", json=body, headers={"Authorization": stolen})
        assert answer.status_code == 401, answer.text


def test_retries_inside_the_start_window(served: Server, receivers: Receivers) -> None:
    url = receivers.url("sequence:status:503,status:500,ok")
    game = served.register(url, start_retries=3)
    one, two = PlayerClient(served.url), PlayerClient(served.url)
    match_id = paid_match(one, two, game.client_id)
    one.await_status(match_id, "live")
    requests = receivers.wait(url, 3)
    assert len({request.headers["webhook-id"] for request in requests}) == 1
    assert len({request.body for request in requests}) == 1


def test_hundreds_of_slow_receivers_do_not_delay_a_fast_one(served: Server, receivers: Receivers) -> None:
    slow = served.register(receivers.url("hang"))
    fast = served.register(receivers.url("ok"))
    pairs = [(PlayerClient(served.url, deposit=0), PlayerClient(served.url, deposit=0)) for _ in range(4)]
    each = 50 if served.database_url.startswith("sqlite") else 12  # the sender is the same
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda pair: [paid_match(pair[0], pair[1], slow.client_id, 0) for _ in range(each)], pairs))
    one, two = pairs[0]
    match_id = paid_match(one, two, fast.client_id, 0)
    one.await_status(match_id, "live", seconds=1.5)  # the slow ones take two seconds


def test_a_game_that_pulls_is_live_when_paid(served: Server) -> None:
    game = served.register(discovery="pull")
    one, two = PlayerClient(served.url), PlayerClient(served.url)
    match_id = paid_match(one, two, game.client_id)
    assert one.match(match_id)["status"] == "live"
    client = GameClient(served.url, game)
    page = client.http.get("/api/game/v1/matches", params={"status": "live"}).json()
    assert [each["match_id"] for each in page["matches"]] == [match_id]
    assert client.match(match_id)["match_status"] == "live"
    user = client.http.get(f"/api/game/v1/users/{one.user_id}").json()
    assert user["username"] == one.username
    stranger = PlayerClient(served.url, deposit=0)
    assert client.http.get(f"/api/game/v1/users/{stranger.user_id}").status_code == 404


def test_an_operator_abort_tells_the_game(served: Server, receivers: Receivers) -> None:
    url = receivers.url("ok")
    game = served.register(url)
    one, two = PlayerClient(served.url), PlayerClient(served.url)
    match_id = paid_match(one, two, game.client_id)
    one.await_status(match_id, "live")
    answer = served.operator.post(f"/matches/{match_id}/abort", json={"reason": "the table caught fire"})
    assert answer.status_code == 200, answer.text
    put, delete = receivers.wait(url, 2)
    assert (put.method, delete.method) == ("PUT", "DELETE")
    assert put.body == delete.body
    assert (one.available(), two.available()) == (10_000, 10_000)
