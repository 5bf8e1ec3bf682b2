"""Work that nobody waits for, when it cannot go on itself, is in nobody's way either."""

from __future__ import annotations

import time
from pathlib import Path

import sqlalchemy as sa

from oklp.storage.engine import connectable
from tests.harness import GameClient, PlayerClient, paid_match, serving
from tests.webhooks.receivers import Receivers

SECONDS = 60
STUCK = "SELECT count(*) FROM pg_locks WHERE relation = 'player_results'::regclass AND NOT granted"


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
            await_count(other, STUCK, 1)
            assert client.finish(reports[1]).json()["accepted"]
            assert one.available() == 10_000 - 2 * 500 + 2 * 900
            assert other.exec_driver_sql(STUCK).scalar_one() == 1
            other.exec_driver_sql("ROLLBACK")
            await_count(other, "SELECT count(*) FROM player_results WHERE verdict = 'won'", 2)
        engine.dispose()
        assert server.books()["clean"]


def await_count(connection: sa.Connection, sql: str, count: int) -> None:
    until = time.monotonic() + SECONDS
    while (found := connection.exec_driver_sql(sql).scalar_one()) != count:
        assert time.monotonic() < until, found
        time.sleep(0.01)
