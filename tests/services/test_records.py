"""What is kept about players: counted once, from whatever ended, and found without reading it all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command

from oklp import contract
from oklp.errors import NotFound
from oklp.services import housekeeping, ledger, notices, records
from oklp.services.matches import Caller
from oklp.storage import events, migrations, schema_records
from oklp.storage import notices as notices_store
from oklp.storage import records as store
from oklp.storage.engine import Tx, connectable
from tests.services.world import OK, World, refused, sync_result

MATCHES = 100_000


def keep_all(world: World) -> None:
    world.await_horizon()
    while world.run(records.keep, world.posting):
        pass


def finish(world: World, game: str, who: Sequence[Caller], ranks: Sequence[int], forfeits: Sequence[int] = ()) -> str:
    match = world.live(game, who)
    world.now += 1_000
    world.report(game, sync_result(match, ranks, forfeits=forfeits))
    return match.match_id


def test_a_little_at_a_time_and_more_when_it_is_late(world: World) -> None:
    (ada,) = world.players(1, 100)
    keep_all(world)
    count = 2 * records.PAGE
    for late, reads in ((0, 3), (records.LATE_MS + 1, 1)):
        world.run(events.insert, [("wallet", None, ada.user_id, world.now)] * count)
        world.players(1, 100)  # whose posting is later than these
        world.await_horizon()
        posting = world.posting._replace(now=world.now + late)
        assert world.run(records.behind, posting.now) == (True, late, False)
        done = 1
        while world.run(records.keep, posting):
            done += 1
        assert done == reads
        keep_all(world)
        assert world.run(records.behind, posting.now) == (False, 0, False)


@pytest.mark.parametrize("services_url", ["postgresql"], indirect=True)
def test_what_an_open_transaction_keeps_from_being_counted_is_late_all_the_same(world: World) -> None:
    (ada,) = world.players(1, 100)
    keep_all(world)
    with world.db.engine.connect() as other:
        other.exec_driver_sql("BEGIN")
        other.exec_driver_sql("SELECT pg_current_xact_id()")
        world.run(events.insert, [("wallet", None, ada.user_id, world.now)])
        assert world.run(records.behind, world.now + 5_000) == (False, 5_000, True)
        other.exec_driver_sql("ROLLBACK")


def test_wins_draws_losses_and_money_add_up(world: World) -> None:
    game = world.game()
    ada, bea = world.players(2, 10_000)
    won = finish(world, game, [ada, bea], [1, 2])
    keep_all(world)
    finish(world, game, [bea, ada], [1, 1])  # a draw: each has half of what is left of the pot
    finish(world, game, [ada, bea], [2, 1], forfeits=[0])
    finish(world, game, [ada, bea], [1, 2], forfeits=[0, 1])  # nobody played: the fees went back
    for _ in range(2):  # what is in the log once more, or read by another node as well, is counted no second time
        keep_all(world)
        world.run(lambda tx: store.move(tx, (-1, 0)))
    keep_all(world)

    own = world.run(records.record, ada.user_id, ada.username)
    assert (own.matches, own.wins, own.draws, own.losses) == (4, 1, 1, 2)
    assert own.money is not None
    assert [(each.currency, each.paid, each.won) for each in own.money] == [("XTS", 1_500, 900 + 450)]
    assert [each.verdict for each in own.recent] == ["lost", "lost", "drawn", "won"]
    assert own.recent[-1].match_id == won
    assert own.recent[-1].won == contract.Money(amount=900, currency="XTS")

    seen = world.run(records.record, ada.user_id, bea.username.upper())
    assert (seen.matches, seen.wins, seen.draws, seen.losses) == (4, 1, 1, 2)
    assert seen.money is None
    assert {(each.match_id, each.paid, each.won) for each in seen.recent} == {(None, None, None)}


def test_what_is_held_or_confiscated_is_not_won(world: World) -> None:
    game = world.game()
    ada, bea = world.players(2, 10_000)
    finish(world, game, [ada, bea], [1, 2])
    later = [world.live(game, [ada, bea]) for _ in range(2)]
    world.suspend(ada)
    for match in later:
        world.report(game, sync_result(match, [1, 2]))

    def seen() -> tuple[list[tuple[int, int]], list[str]]:
        own = world.run(records.record, ada.user_id, ada.username)
        return [(each.paid, each.won) for each in own.money or []], sorted(str(each.held) for each in own.recent)

    world.run(lambda tx: store.add_money(tx, [(ada.user_id, "XTS", 500, 900)]))
    assert seen() == ([(500, 900)], []), "what was not counted yet is not taken off"
    world.run(lambda tx: store.add_money(tx, [(ada.user_id, "XTS", -500, -900)]))
    keep_all(world)
    assert seen() == ([(1_500, 900)], ["None", "held", "held"])
    for match, decide in zip(later, (ledger.release_held, ledger.confiscate_held), strict=True):
        world.run(decide, match.match_id, ada.user_id, world.now)
    assert seen() == ([(1_500, 1_800)], ["None", "confiscated", "released"])
    others = world.run(records.record, bea.user_id, ada.username)
    assert (others.money, {each.held for each in others.recent}) == (None, {None})


def test_who_keeps_results_private_is_seen_by_himself_alone(world: World) -> None:
    game = world.game()
    ada, bea, cy = world.players(3, 10_000)
    finish(world, game, [ada, bea], [1, 2])
    finish(world, game, [ada, cy], [1, 2])
    finish(world, game, [cy, bea], [1, 2])
    keep_all(world)

    def names() -> list[str]:
        return [each.username for each in world.run(records.best, game).players]

    assert names() == [ada.username, cy.username], "by wins; who never won is no best player"
    world.run(records.set_privacy, ada.user_id, contract.Privacy(private=True))
    assert names() == [cy.username]
    hidden = world.run(records.record, bea.user_id, ada.username)
    assert (hidden.private, hidden.matches, hidden.games, hidden.recent, hidden.money) == (True, 0, [], [], None)
    assert world.run(records.record, ada.user_id, ada.username).matches == 2
    world.run(records.set_privacy, ada.user_id, contract.Privacy(private=False))
    world.suspend(cy)
    assert names() == [ada.username]
    with refused(NotFound):
        world.run(records.record, ada.user_id, "nobody")


def test_what_was_not_counted_yet_outlives_the_log(world: World) -> None:
    game = world.game()
    ada, bea = world.players(2, 10_000)
    finish(world, game, [ada, bea], [1, 2])
    world.now += world.settings.event_retention_seconds * 1000 + 60_000
    world.await_horizon()
    world.run(housekeeping.sweep, world.settings, world.now)
    keep_all(world)
    assert world.run(records.record, ada.user_id, ada.username).wins == 1
    world.run(housekeeping.sweep, world.settings, world.now)
    assert world.count("events", "kind <> 'notification'") == 0


def test_the_best_and_the_latest_are_found_by_an_index_among_a_hundred_thousand_matches(world: World) -> None:
    game = world.game()
    one = world.player()
    _fill(world, game, one.user_id)
    for statement, index in (
        (store.best_statement(game, 10), "ix_standings_best"),
        (store.results_statement(one.user_id, 40), "ix_player_results_user"),
    ):
        plan = _plan(world, statement)
        assert index in plan, plan
        for slow in ("Sort", "TEMP B-TREE", "Seq Scan on standings", "Seq Scan on player_results"):
            assert slow not in plan, plan
    best = world.run(records.best, game).players
    assert [each.wins for each in best] == sorted((each.wins for each in best), reverse=True)
    assert len(best) == 10


def _fill(world: World, game: str, user_id: str) -> None:
    """A hundred thousand matches of two thousand players, each twice in it: by the database itself."""

    def run(tx: Tx) -> None:
        numbers = "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < {})"
        people = f"""
            INSERT INTO players (id, username, username_key, email, password_hash, date_of_birth, country, status,
                verified, created_at)
            {numbers.format(2_000)} SELECT 'u' || n, 'u' || n, 'u' || n, '', '', '1990-01-01', 'DE', 'active', true, 1
            FROM n"""
        results = f"""
            INSERT INTO player_results (match_id, user_id, game_id, at, place, verdict, currency, paid, won)
            {numbers.format(2 * MATCHES)}
            SELECT 'm' || (n / 2), CASE WHEN n % 500 = 0 THEN '{user_id}' ELSE 'u' || (n % 2000 + 1) END,
                '{game}', n, 1 + n % 2, CASE WHEN n % 2 = 0 THEN 'won' ELSE 'lost' END, 'XTS', 0, 0
            FROM n"""
        sums = f"""
            INSERT INTO standings (user_id, game_id, matches, wins, draws)
            SELECT user_id, '{game}', count(*), sum(CASE WHEN verdict = 'won' THEN 1 ELSE 0 END), 0
            FROM player_results GROUP BY user_id"""
        for sql in (people, results, sums):
            tx.execute(sa.text(sql))

    world.run(run)
    with world.db.engine.connect() as connection:
        connection.exec_driver_sql("ANALYZE")


def _plan(world: World, statement: sa.Select[tuple[object, ...]]) -> str:
    with world.db.engine.connect() as connection:
        sql = statement.compile(connection, compile_kwargs={"literal_binds": True})
        word = "EXPLAIN" if world.db.postgres else "EXPLAIN QUERY PLAN"
        return "\n".join(str(row[-1]) for row in connection.exec_driver_sql(f"{word} {sql}"))


def test_who_was_told_is_found_by_an_index_among_all_that_was_told(world: World) -> None:
    def run(tx: Tx) -> None:
        notices_store.insert(
            tx,
            [(f"u{n % 1_000}", f"over:m{n}", "won", f"m{n}", 900, "XTS", None, n, False, None) for n in range(20_000)],
        )

    world.run(run)
    pairs = [(f"u{n}", f"over:m{n}") for n in range(25)] + [("u1", "over:m2")]
    assert world.run(notices_store.known, pairs) == frozenset(pairs[:25])
    with world.db.engine.connect() as connection:
        connection.exec_driver_sql("ANALYZE")
        word = "EXPLAIN" if world.db.postgres else "EXPLAIN QUERY PLAN"
        sql, parameters = notices_store.known_statement(pairs, postgres=world.db.postgres)
        plan = "\n".join(str(row[-1]) for row in connection.exec_driver_sql(f"{word} {sql}", parameters))
    assert "Seq Scan on notices" not in plan, plan
    assert "SCAN n" not in plan, plan


def told(world: World, player: Caller) -> list[tuple[str, int | None]]:
    """A player's notifications, the oldest first: (kind, amount)."""
    found, _ = world.run(notices.page, player.user_id, None, 50)
    return [(each.kind, each.amount.amount if each.amount else None) for each in reversed(found.notifications)]


def test_players_are_told_once_what_happened_to_them_and_their_money(world: World) -> None:
    game = world.game()
    ada, bea, cy = world.players(3, 10_000)
    match = world.create(ada, game, fee=500, invite=[bea])
    keep_all(world)
    assert (told(world, bea), told(world, ada)) == ([("invited", 500)], [])
    world.join(bea, match.match_id)
    for player in (ada, bea):
        world.confirm(player, match.match_id)
    world.reply(world.start_of(match.match_id).id, OK)
    keep_all(world)
    world.report(game, sync_result(world.read(ada, match.match_id), [1, 2]))
    off = world.paid(game, [ada, cy], 300).match_id
    world.abort(off)
    keep_all(world)
    world.run(lambda tx: store.move(tx, (-1, 0)))
    keep_all(world)
    assert told(world, ada) == [("began", None), ("won", 900), ("refunded", 300)]
    assert told(world, bea) == [("invited", 500), ("began", None), ("lost", 0)]
    assert ("refunded", 300) in told(world, cy)

    page, more = world.run(notices.page, ada.user_id, None, 2)
    assert (page.unread, len(page.notifications)) == (3, 2)
    assert more is not None
    older = page.notifications[-1].notification_id
    assert world.run(notices.mark_read, ada.user_id, int(older), world.now).unread == 1
    rest, none = world.run(notices.page, ada.user_id, more, 2)
    assert [each.read for each in rest.notifications] == [True]
    assert none is None
    assert world.run(notices.unread, bea.user_id) == 3, "each reads his own"


def test_when_everybody_forfeits_all_are_told_that_their_money_is_back(world: World) -> None:
    game = world.game()
    ada, bea = world.players(2, 10_000)
    for fee in (500, 0):
        match = world.live(game, [ada, bea], fee)
        world.report(game, sync_result(match, [1, 1], forfeits=[0, 1]))
    keep_all(world)
    for player in (ada, bea):
        assert told(world, player) == [("refunded", 500), ("lost", 0)]
    newest = world.run(notices.page, ada.user_id, None, 4)[0].notifications
    assert [each.reason for each in newest if each.kind == "refunded"] == ["all-forfeited"]


def test_the_log_is_swept_in_pieces_from_its_beginning(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A statement that takes too long is ended, and everything would wait for it meanwhile."""
    monkeypatch.setattr(housekeeping, "AT_ONCE", 3)
    earlier = int(world.rows("SELECT coalesce(max(number), 0) FROM operations")[0][0])  # of other tests, of other times
    game = world.game()
    for _ in range(3):
        finish(world, game, world.players(2, 500), [1, 2])
    keep_all(world)
    world.now += world.settings.event_retention_seconds * 1000 + 60_000
    world.await_horizon()
    since = world.now
    finish(world, game, world.players(2, 500), [1, 2])
    keep_all(world)
    kept = world.count("events", "at >= :since", since=since)
    assert kept > 0
    before, pieces = world.count("events"), 0
    while world.run(housekeeping.sweep, world.settings, world.now):
        left = world.count("events")
        assert before - left <= 3
        before, pieces = left, pieces + 1
    assert pieces >= 3
    assert world.count("events") == kept
    monkeypatch.setattr(housekeeping, "AT_ONCE", 1_000)  # each look at the horizon was an operation: there may be many
    while world.run(housekeeping.sweep, world.settings, world.now):
        pass
    assert world.count("operations", "at < :since AND number > :earlier", since=since, earlier=earlier) == 0


@pytest.mark.parametrize(
    ("decide", "kind"), [(ledger.release_held, "released"), (ledger.confiscate_held, "confiscated")]
)
def test_winnings_that_are_held_are_told_of_and_so_is_what_is_decided(
    world: World, decide: Callable[..., int], kind: str
) -> None:
    game = world.game()
    ada, bea = world.players(2, 10_000)
    match = world.live(game, [ada, bea])
    world.suspend(ada)
    world.report(game, sync_result(match, [1, 2]))
    keep_all(world)
    assert told(world, ada)[-1] == ("held", 900)
    (balance,) = world.run(ledger.wallet, ada.user_id, "XTS").balances
    assert (balance.available, balance.in_escrow, balance.held) == (9_500, 0, 900)
    world.run(decide, match.match_id, ada.user_id, world.now)
    keep_all(world)
    assert told(world, ada)[-1] == (kind, 900)
    (balance,) = world.run(ledger.wallet, ada.user_id, "XTS").balances
    assert (balance.available, balance.held) == (10_400 if kind == "released" else 9_500, 0)
    newest = world.run(notices.page, ada.user_id, None, 1)[0].notifications
    # Nor is it told again when all that was told of that day is forgotten, and money moves.
    world.now += housekeeping.NOTICES_KEPT_MS + 1
    world.run(housekeeping.sweep, world.settings, world.now)
    world.run(events.insert, [("wallet", None, ada.user_id, world.now)])
    keep_all(world)
    assert world.run(notices.page, ada.user_id, None, 9)[0].notifications == newest


def test_the_migration_that_knows_of_winnings_kept_back_keeps_what_was_told(world: World) -> None:
    game, (ada, bea) = world.game(), world.players(2, 10_000)
    match = world.live(game, [ada, bea])
    world.suspend(ada)
    world.report(game, sync_result(match, [1, 2]))
    keep_all(world)
    world.run(ledger.confiscate_held, match.match_id, ada.user_id, world.now)
    keep_all(world)
    table, config = schema_records.notices, migrations.alembic_config()
    with connectable(world.settings.database_url).connect() as connection:

        def kept() -> list[tuple[Any, ...]]:
            return [tuple(row) for row in connection.execute(sa.select(table).order_by(table.c.id))]

        before = kept()
        config.attributes["connection"] = connection
        command.downgrade(config, "0016")
        rest = [row for row in before if "confiscated" not in row]
        assert (kept(), len(rest)) == (rest, len(before) - 1)
        command.upgrade(config, "head")
        assert kept() == rest
    world.run(events.insert, [("wallet", None, ada.user_id, world.now)])
    keep_all(world)
    assert told(world, ada)[-1] == ("confiscated", 900)
