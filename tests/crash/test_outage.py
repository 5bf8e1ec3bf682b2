"""PostgreSQL crashes and comes back under load: nobody is lied to, and nobody has to restart a server."""

from __future__ import annotations

import random

import httpx
import pytest

from tests.crash.client import GAME, PLAYER, TOKEN
from tests.crash.conftest import Rig
from tests.crash.database import cluster_of
from tests.crash.load import Load
from tests.crash.proof import prove
from tests.crash.receiver import Receiver
from tests.harness import PlayerClient, Server, paid_match, run_cli

postgres = pytest.mark.parametrize("database", ["postgresql"], indirect=True)


def ask_everything(load: Load) -> None:
    """Every kind of endpoint says "later" while the database is away, and the process is well."""
    person, game = load.people[0], load.games[0]
    player = {"Authorization": f"Bearer {person.token}"}
    back_end = {"Authorization": f"Bearer {game.token}"}
    payment = {"amount": 1, "currency": "XTS"}
    result = {"match_id": "0" * 24, "participants": [{"id": person.user_id, "score": 1}]}
    form = {"client_id": game.client_id, "client_secret": "wrong", "grant_type": "client_credentials"}
    with httpx.Client(base_url=load.nodes[0], timeout=30) as http:
        for answer in (
            http.get(f"{PLAYER}/wallet", headers=player),
            http.post(f"{PLAYER}/wallet/deposits", json=payment, headers=player),
            http.get(f"{PLAYER}/events", headers=player),
            http.post(f"{PLAYER}/sessions", json={"username": person.name, "password": "not this one"}),
            http.post(f"{GAME}/finish", json=result, headers=back_end),
            http.post(f"{GAME}/token-info", json={"token": "x"}, headers=back_end),
            http.get(f"{GAME}/matches", headers=back_end),
            http.post(TOKEN, data=form),
            http.get("/readyz"),
        ):
            assert answer.status_code == 503, (answer.request.url, answer.status_code, answer.text)
            assert answer.headers["retry-after"].isdigit(), answer.request.url
            if answer.request.url.path.startswith("/api/"):
                assert answer.headers["content-type"] == "application/problem+json"
                assert answer.json()["status"] == 503
        assert http.get("/healthz").status_code == 200
        assert http.get("/auth/realms/oklp").status_code == 200


@postgres
def test_a_database_that_crashes(rig: Rig, receiver: Receiver, seed: int, database: str) -> None:
    rng = random.Random(seed)
    cluster = cluster_of(database)
    server = rig.add()
    with Load(rig.nodes, receiver, seed) as load:
        for asked in (True, False):
            load.wait_for_answers(rng.randint(50, 200))
            cluster.stop()
            if asked:
                ask_everything(load)
            cluster.start()
        load.wait_for_answers(100)
        load.stop()
        ends = prove(load, server, receiver)
        assert load.watch.statuses[503]
    print(load.watch, dict(ends))
    assert server.stop() == 0
    rig.check_logs()


@postgres
def test_a_server_that_is_stopped_meanwhile(rig: Rig, receiver: Receiver, database: str) -> None:
    """What came of a webhook cannot be written down; the process ends for all that. Its lease says the rest later."""
    cluster = cluster_of(database)
    server = rig.add(OKLP_DRAIN_SECONDS="3")
    game = server.register(receiver.url("gate"))
    one, two = PlayerClient(server.url), PlayerClient(server.url)
    match_id = paid_match(one, two, game.client_id)
    receiver.wait(1, method="PUT", match_id=match_id)
    cluster.stop()
    try:
        receiver.release()
        assert server.stop() == 0
    finally:
        cluster.start()
    rig.check_logs()


@postgres
def test_a_command_without_its_database(database: str, tmp_path: object) -> None:
    """One line and status 1 for whoever sits at the terminal."""
    server = Server(database, tmp_path)  # type: ignore[arg-type]
    cluster = cluster_of(database)
    cluster.stop()
    try:
        for command in (["serve", "--port", str(server.port)], ["books", "verify"]):
            done = run_cli(server.env, *command, check=False)
            assert done.returncode == 1
            assert "Traceback" not in done.stderr, done.stderr
            assert "database" in done.stderr
    finally:
        cluster.start()
