"""Work that nobody waits for, when it cannot go on itself, is in nobody's way either."""

from __future__ import annotations

from pathlib import Path

from oklp.storage.engine import connectable
from tests.harness import GameClient, PlayerClient, paid_match, serving
from tests.web.listening import await_true
from tests.webhooks.receivers import Receivers

SECONDS = 60
STUCK = (
    "SELECT pid, waitstart FROM pg_locks WHERE relation = 'player_results'::regclass AND NOT granted"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)
COUNTED = "SELECT count(*) FROM player_results WHERE verdict = 'won'"


def test_results_are_paid_out_while_the_counting_of_earlier_ones_is_stuck(
    postgres_url: str, tmp_path: Path, receivers: Receivers
) -> None:
    with serving(postgres_url, tmp_path) as server:
        game = server.register(receivers.url("ok"))
        one, two = PlayerClient(server.url), PlayerClient(server.url)
        client = GameClient(server.url, game)
        first, second = (paid_match(one, two, game.client_id) for _ in range(2))
        for match_id in (first, second):
            one.await_status(match_id, "live")
        reports = [client.report(match_id, one.user_id) for match_id in (first, second)]
        engine = connectable(postgres_url)
        with engine.connect() as other:
            other.exec_driver_sql("BEGIN")
            other.exec_driver_sql("LOCK TABLE player_results IN SHARE MODE")  # counting writes there, paying does not
            assert client.finish(reports[0]).json()["accepted"]
            await_true(lambda: bool(other.exec_driver_sql(STUCK).all()))
            stuck = other.exec_driver_sql(STUCK).all()
            assert client.finish(reports[1]).json()["accepted"]
            assert one.available() == 10_000 - 2 * 500 + 2 * 900
            assert other.exec_driver_sql(STUCK).all() == stuck, "it has waited all the time"
            other.exec_driver_sql("ROLLBACK")
            await_true(lambda: other.exec_driver_sql(COUNTED).scalar_one() == 2)
        engine.dispose()
        assert server.books()["clean"]


def test_a_call_that_an_older_transaction_holds_up_is_shown_soon_after_its_end(
    postgres_url: str, tmp_path: Path
) -> None:
    """Nobody rings once more at its end: the stream's own heartbeat would be the next occasion."""
    with serving(postgres_url, tmp_path) as server:
        game = server.register(discovery="pull")
        engine = connectable(postgres_url)
        with (
            engine.connect() as other,
            server.studio.stream("GET", f"/games/{game.client_id}/calls/events", timeout=SECONDS) as stream,
        ):
            lines = stream.iter_lines()
            assert "event: ready" in lines
            other.exec_driver_sql("BEGIN")
            other.exec_driver_sql("SELECT pg_current_xact_id()")
            GameClient(server.url, game)
            await_true(lambda: other.exec_driver_sql("SELECT count(*) FROM calls").scalar_one() == 1)
            other.exec_driver_sql("ROLLBACK")
            assert next(line for line in lines if line.startswith((":", "event"))) == "event: call"
        engine.dispose()
