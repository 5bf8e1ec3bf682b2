"""A second server on an SQLite database: what the first has under way would look abandoned to it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.crash.conftest import Rig
from tests.crash.database import rows
from tests.crash.receiver import Receiver
from tests.harness import PlayerClient, Server, free_port, paid_match, run_cli


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_it_is_refused_and_changes_nothing(rig: Rig, receiver: Receiver, database: str, tmp_path: Path) -> None:
    server = rig.add(OKLP_WEBHOOK_TIMEOUT_SECONDS="60")
    game = server.register(receiver.url("gate"))
    one, two = PlayerClient(server.url), PlayerClient(server.url)
    match_id = paid_match(one, two, game.client_id)
    receiver.wait(1, method="PUT", match_id=match_id)
    path = Path(database.removeprefix("sqlite:///"))
    link = path.with_name("link.db")
    link.symlink_to(path)
    elsewhere = {"OKLP_DATA_DIR": str(tmp_path / "elsewhere")}
    for port, env, said in (
        (server.port, {}, "already in use"),
        (free_port(), {}, "Another server"),
        (free_port(), elsewhere, "Another server"),
        (free_port(), {**elsewhere, "OKLP_DATABASE_URL": f"sqlite:///{link}"}, "Another server"),
    ):
        refuse(server, {"OKLP_PUBLIC_URL": "http://other.example", **env}, port, said)
    moved = path.with_name("moved.db")
    path.rename(moved)
    refuse(server, {"OKLP_DATABASE_URL": f"sqlite:///{moved}"}, free_port(), "Another server")
    moved.rename(path)

    assert rows(database, "SELECT public_url FROM platform") == [(server.url,)]
    assert one.match(match_id)["status"] == "starting"
    receiver.release()
    one.await_status(match_id, "live")
    assert "clean" in server.cli("books", "verify").stdout
    rig.check_logs()

    server.kill()
    again = rig.add()
    assert again.stop() == 0
    path.rename(moved)
    again.start()
    assert rows(database, "SELECT count(*) FROM matches") == [(0,)]


def refuse(server: Server, env: dict[str, str], port: int, said: str) -> None:
    done = run_cli({**server.env, **env}, "serve", "--port", str(port), check=False)
    assert done.returncode == 1, done.stderr
    assert said in done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
