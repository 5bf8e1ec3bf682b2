"""Commands that write to an SQLite database while a server on it is under load."""

from __future__ import annotations

import json

import httpx
import pytest

from tests.crash.client import GAME, TOKEN
from tests.crash.conftest import Rig
from tests.crash.load import Load
from tests.crash.proof import prove
from tests.crash.receiver import Receiver
from tests.crash.test_nodes import await_kid, kids
from tests.harness import PLAYER


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_commands_are_noticed(rig: Rig, receiver: Receiver, seed: int) -> None:
    server = rig.add()
    before = kids(server.url)
    with Load(rig.nodes, receiver, seed, tables=4) as load:
        load.wait_for_answers(50)
        server.cli("player", "create", "--username", "latecomer", "--password", "correct horse", "--balance", "1234")
        out = server.folder / "late.json"
        template = "http://127.0.0.1:8123/play?token={match-token}"
        server.cli(
            "game",
            "register",
            "--name",
            "Late game",
            "--browser-url",
            template,
            "--discovery",
            "pull",
            "--out",
            str(out),
        )
        kid = server.cli("keys", "rotate").stdout.split()[-1].rstrip(".")
        await_kid(server.url, kid)
        assert kids(server.url) == before | {kid}
        with httpx.Client(base_url=server.url) as http:
            check_player(http)
            check_game(http, json.loads(out.read_text())["authentication"])
        load.wait_for_answers(50)  # the tokens that the old key signed are good as long as they live
        load.stop()
        grant = 1_234
        prove(load, server, receiver, granted=grant)
    assert server.stop() == 0
    rig.check_logs()


def check_player(http: httpx.Client) -> None:
    credentials = {"username": "latecomer", "password": "correct horse"}
    session = http.post(f"{PLAYER}/sessions", json=credentials).raise_for_status().json()
    wallet = http.get(f"{PLAYER}/wallet", headers={"Authorization": f"Bearer {session['token']}"}).json()
    assert wallet["balances"] == [{"currency": "XTS", "available": 1_234, "in_escrow": 0}]


def check_game(http: httpx.Client, auth: dict[str, str]) -> None:
    form = {"client_id": auth["client_id"], "client_secret": auth["client_secret"], "grant_type": "client_credentials"}
    token = http.post(TOKEN, data=form).raise_for_status().json()["access_token"]
    bearer = {"Authorization": f"Bearer {token}"}
    assert http.get(f"{GAME}/matches", headers=bearer).json() == {"matches": [], "next_cursor": None}
    origin = {"Origin": "http://127.0.0.1:8123"}
    asked = http.post(f"{GAME}/token-info", json={"token": "unknown"}, headers={**bearer, **origin})
    assert asked.status_code == 404
    assert asked.headers["access-control-allow-origin"] == origin["Origin"]
