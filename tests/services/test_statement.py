"""A player's statement: parts of it, with the balance after each posting; and what a wallet is read from."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from oklp import contract
from oklp.services import ledger, statement
from oklp.services.matches import Caller
from oklp.services.statement import ALL, Place, Wanted
from oklp.storage import ledger as store
from oklp.storage import schema
from oklp.storage.engine import Tx
from tests.services.world import DAY, MINUTE, T0, World

MATCHES = 20_000


def look(world: World, player: Caller, wanted: Wanted, limit: int = 50) -> list[contract.WalletEntry]:
    """All of it, page by page."""
    found: list[contract.WalletEntry] = []
    place: Place | None = None
    while True:
        page, place = world.run(statement.entries, player.user_id, wanted, place, limit)
        found += page.entries
        if place is None:
            return found


def lines(entries: list[contract.WalletEntry]) -> list[tuple[str, int, int]]:
    return [(each.kind, each.amount, each.balance) for each in entries]


@pytest.fixture
def busy(world: World) -> tuple[World, Caller, str]:
    """A player with 20 matches, of which all but the last were called off, and one deposit a minute before each."""
    ann, game = world.player(), world.game()
    match_id = ""
    for n in range(20):
        world.now = T0 + n * DAY
        world.deposit(ann, 1_000)
        world.now += MINUTE
        match_id = world.create(ann, game, fee=300).match_id
        world.confirm(ann, match_id)
        if n < 19:
            world.cancel(ann, match_id)
    return world, ann, match_id


def test_each_line_has_the_balance_after_it_whatever_is_left_out(
    busy: tuple[World, Caller, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    world, ann, last = busy
    everything = lines(look(world, ann, ALL, 7))
    assert len(everything) == 20 + 20 + 19
    balance = 0
    for _, amount, after in reversed(everything):
        balance += amount
        assert after == balance
    assert everything[0] == ("hold", -300, 19_700)

    monkeypatch.setattr(statement, "READ_AT_ONCE", 5)  # what is wanted lies in several readings …
    monkeypatch.setattr(statement, "LOOKED_AT", 10)  # … and looks
    for kinds in ({"deposit"}, {"refund"}, {"hold", "refund"}, {"settle"}):
        for limit in (3, 50):
            told = lines(look(world, ann, Wanted(frozenset(kinds)), limit))
            assert told == [line for line in everything if line[0] in kinds], (kinds, limit)
    days = look(world, ann, Wanted(since=T0 + 3 * DAY, until=T0 + 4 * DAY))
    assert lines(days) == [("refund", 300, 4_000), ("hold", -300, 3_700), ("deposit", 1_000, 4_000)]
    assert lines(look(world, ann, Wanted(frozenset({"hold"}), until=T0 + DAY))) == [("hold", -300, 700)]

    first = days[0].match_id
    assert first is not None
    assert lines(look(world, ann, Wanted(match_id=first), 1)) == [("refund", 300, 4_000), ("hold", -300, 3_700)]
    assert lines(look(world, ann, Wanted(match_id=last))) == [("hold", -300, 19_700)]
    assert look(world, ann, Wanted(match_id="0" * 24)) == []
    assert look(world, world.player(500), Wanted(match_id=last)) == []


def test_a_look_is_bounded_and_says_where_the_next_goes_on(
    busy: tuple[World, Caller, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    world, ann, _ = busy
    monkeypatch.setattr(statement, "READ_AT_ONCE", 5)
    monkeypatch.setattr(statement, "LOOKED_AT", 10)
    page, place = world.run(statement.entries, ann.user_id, Wanted(until=T0 + DAY), None, 50)
    assert page.entries == []
    assert place is not None
    # A page that is full says that there is more only where there is.
    full, more = world.run(statement.entries, ann.user_id, Wanted(since=T0 + 19 * DAY), None, 2)
    assert (len(full.entries), more) == (2, None)


def test_payments_are_listed_the_newest_first(world: World) -> None:
    ann, bob = world.player(), world.player(5)
    for n in range(3):
        world.now += MINUTE
        world.deposit(ann, 100 + n)
    world.withdraw(ann, 50)
    first, more = world.run(ledger.payments, ann.user_id, None, 2)
    rest, end = world.run(ledger.payments, ann.user_id, more, 2)
    told = sorted((each.kind, each.amount) for each in first.payments + rest.payments)
    assert told == [("deposit", 100), ("deposit", 101), ("deposit", 102), ("withdrawal", 50)]
    assert [each.amount for each in rest.payments] == [101, 100]
    assert end is None
    assert world.run(ledger.payments, bob.user_id, None, 2)[0].payments == [], "play money is no payment"


def test_what_is_in_escrow_is_found_without_looking_at_all_seats(world: World) -> None:
    ann, game = world.player(10_000), world.game()
    fees = [world.confirm(ann, world.create(ann, game, fee=fee).match_id).entry_fee.amount for fee in (300, 200)]
    _copy_as_over(world, ann)
    assert world.wallet(ann) == (9_500, sum(fees))
    word = "EXPLAIN" if world.db.postgres else "EXPLAIN QUERY PLAN"
    with world.db.engine.connect() as connection:
        connection.exec_driver_sql("ANALYZE")
        explain = sa.text(f"{word} {store.IN_ESCROW.text}")
        plan = "\n".join(str(row[-1]) for row in connection.execute(explain, {"user_id": ann.user_id}))
    assert "ix_matches_open" in plan, plan
    # From open matches to their seats, or from the first seat that may be in one: never through all of them.
    assert ("(match_id" if world.db.postgres else "AND match_id") in plan, plan
    world.run(_delete_copies)


def _delete_copies(tx: Tx) -> None:
    for table in (schema.seats, schema.matches):
        tx.execute(table.delete().where(table.c.id.like("000000%")))


def _copy_as_over(world: World, player: Caller) -> None:
    """Twenty thousand matches of a player that ended long ago: by the database itself, from the one that is there."""
    hexadecimal = "lpad(to_hex(n), 24, '0')" if world.db.postgres else "printf('%024x', n)"
    changed = {
        "matches": {"id": hexadecimal, "status": "'finished'", "escrow": "0"},
        "seats": {"id": hexadecimal, "match_id": hexadecimal},
    }

    def run(tx: Tx) -> None:
        for table in (schema.matches, schema.seats):
            names = [column.name for column in table.columns]
            values = ", ".join(changed[table.name].get(name, f"one.{name}") for name in names)
            of_player = f"user_id = '{player.user_id}'" if table is schema.seats else "true"
            tx.execute(
                sa.text(
                    f"INSERT INTO {table.name} ({', '.join(names)})"
                    f" WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < {MATCHES})"
                    f" SELECT {values} FROM n, (SELECT * FROM {table.name} WHERE {of_player} LIMIT 1) AS one"
                )
            )

    world.run(run)
