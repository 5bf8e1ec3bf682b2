"""Commands beside a running server, which notices what they changed."""

from __future__ import annotations

import json
from pathlib import Path

import httpx

from tests.harness import PLAYER, GameClient, GameConfig, PlayerClient, Server, enrol, paid_match
from tests.web.staff import log_in


def test_a_game_and_players_made_by_commands_play(served: Server, tmp_path: Path) -> None:
    out = tmp_path / "developer-config.json"
    words = ["--name", f"Tile Rush {served.port}", "--discovery", "pull", "--out", str(out)]
    served.cli("game", "register", *words, "--browser-url", "http://127.0.0.1:9/?t={match-token}")
    game = GameConfig(json.loads(out.read_text()))
    assert game.client_id == f"tile-rush-{served.port}"
    assert game.config["okletsplay_url"] == served.url
    assert out.stat().st_mode & 0o077 == 0
    name = f"cli-{served.port}"
    served.cli(
        "player", "create", "--username", name, "--password", "correct horse", "--balance", "900", "--currency", "XTS"
    )
    session = httpx.post(f"{served.url}{PLAYER}/sessions", json={"username": name, "password": "correct horse"}).json()
    headers = {"Authorization": f"Bearer {session['token']}"}
    wallet = httpx.get(f"{served.url}{PLAYER}/wallet", headers=headers).json()
    assert wallet["balances"] == [{"currency": "XTS", "available": 900, "in_escrow": 0}]
    one, two = PlayerClient(served.url), PlayerClient(served.url)
    match_id = paid_match(one, two, game.client_id)
    client = GameClient(served.url, game)
    assert client.finish(client.report(match_id, one.user_id)).json()["accepted"] is True
    assert "clean" in served.cli("books", "verify").stdout


def test_what_cannot_be_is_said_in_a_line(served: Server, tmp_path: Path) -> None:
    out = str(tmp_path / "out.json")
    for words, said in (
        (["game", "register", "--name", "x", "--out", out], "webhook_url"),
        (["game", "register", "--name", "x", "--out", out, "--webhook-url", "http://10.0.0.1/"], "webhook_url"),
        (
            ["game", "register", "--name", "x", "--out", out, "--discovery", "pull", "--browser-url", "javascript:x"],
            "launch_urls.browser",
        ),
        (["player", "create", "--username", "a b", "--password", "correct horse"], "username"),
        (["player", "create", "--username", "abc", "--password", "short"], "password"),
        (["serve", "--workers", "2", "--database-url", "sqlite:///x.db"], "PostgreSQL"),
        (["serve", "--host", "0.0.0.0", "--sandbox"], "--expose"),
    ):
        done = served.cli(*words, check=False)
        assert done.returncode != 0, words
        assert said in done.stderr, (words, done.stderr)
        assert "Traceback" not in done.stderr


def test_the_last_owner_of_a_studio_gets_back_in(served: Server) -> None:
    owner = served.new_studio()
    name = owner.get("/me").json()["username"]
    enrol(owner)
    done = served.cli("studio", "remove-factors", name, "--reason", "papers seen")
    assert f"{name} has no second factor any more" in done.stdout
    assert owner.get("/me").status_code == 401
    assert log_in(served, "studio", name).get("/me").json()["role"] == "owner"
    [mail, *_] = served.operator.get("/mails", params={"recipient": f"{name}@example.org"}).json()["mails"]
    assert mail["subject"] == "The second factors of your account were removed"


def test_production_refuses_a_sandbox_database(served: Server) -> None:
    env = {**served.env, "OKLP_SANDBOX": "0", "OKLP_SECRET_KEY": "x" * 40}
    from tests.harness import run_cli

    done = run_cli(env, "serve", "--port", "1", check=False)
    assert done.returncode != 0
    assert "sandbox" in done.stderr
