"""`books verify`: clean after everything that players do, and whatever is tampered with is found and named."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from oklp import contract
from oklp.services import books, housekeeping
from oklp.storage import books as store
from oklp.storage.book_checks import CHECKS
from oklp.storage.tx import Tx
from tests.examples import examples
from tests.services.tampering import SQLITE_TAMPERINGS, TAMPERINGS, busy_day
from tests.services.world import XTS, World, sync_result

_DROP_RULES = """DO $$ DECLARE rule record; BEGIN
    FOR rule IN SELECT conrelid::regclass AS place, conname FROM pg_constraint
        WHERE contype IN ('c', 'f') AND connamespace = 'public'::regnamespace AND conrelid <> 0
    LOOP EXECUTE 'ALTER TABLE ' || rule.place || ' DROP CONSTRAINT ' || quote_ident(rule.conname); END LOOP;
END $$"""


def verify(world: World) -> contract.Books:
    return world.db.run_report(books.verify)


class Tamperer:
    """Somebody with access to the database, whom its rules do not stop. Nothing of what he does stays."""

    def __init__(self, connection: sa.Connection, postgres: bool) -> None:
        self._connection = connection
        self._postgres = postgres

    def report(self, *statements: str) -> contract.Books:
        """The books after these changes, which are undone again."""
        tx = Tx(self._connection, 0)
        self._connection.exec_driver_sql("SAVEPOINT tampering")
        try:
            for statement in statements:
                changed = tx.driver(statement.replace("%", "%%") if self._postgres else statement)
                assert changed.rowcount > 0, statement
            return books.verify(tx)
        finally:
            self._connection.exec_driver_sql("ROLLBACK TO SAVEPOINT tampering")


@contextmanager
def tampering(world: World) -> Iterator[Tamperer]:
    with world.db.engine.connect() as connection:
        if not world.db.postgres:
            connection.exec_driver_sql("PRAGMA ignore_check_constraints = ON")
            connection.exec_driver_sql("PRAGMA foreign_keys = OFF")
        connection.exec_driver_sql("BEGIN")
        try:
            if world.db.postgres:
                connection.exec_driver_sql(_DROP_RULES)
            yield Tamperer(connection, world.db.postgres)
        finally:
            connection.exec_driver_sql("ROLLBACK")


# --- clean -----------------------------------------------------------------------------------------------------------


def test_who_verifies_is_told_how_far_it_is(world: World) -> None:
    told: list[tuple[int, int]] = []
    world.db.run_report(books.verify, lambda made, of: told.append((made, of)))
    checks = told[-1][0]
    assert told == [(made, checks) for made in range(1, checks + 1)]
    assert checks > 10


def test_books_without_entries_are_clean(world: World) -> None:
    assert verify(world) == contract.Books(clean=True, postings=0, posting_sets=0, matches=0, totals=[], faults=[])


def test_books_are_clean_after_a_busy_day_and_add_up(world: World) -> None:
    scene = busy_day(world)
    report = verify(world)
    assert report.faults == []
    assert report.clean
    assert report.matches == world.count("matches") == 12
    assert report.postings == world.count("postings")
    assert report.posting_sets == len(world.rows("SELECT DISTINCT set_id FROM postings"))
    (totals,) = report.totals
    wallets = [world.wallet(player) for player in scene.players]
    assert totals == contract.BookTotals(
        currency=XTS,
        players=sum(available for available, _ in wallets),
        escrow=sum(in_escrow for _, in_escrow in wallets),
        held=700,  # two entry fees of 400 less 12.5 %
        platform_fees=world.house("house:fees"),
        studios=world.house(f"studio:{scene.studio}"),
        clearing=-(4 * 10_000 + 700 - 300),
    )
    assert sum(totals.model_dump(exclude={"currency"}).values()) == 0


def test_books_are_proved_on_one_snapshot_while_others_play(world: World) -> None:
    game = world.game(discovery="pull")
    ann, bob = world.players(2, 100_000)
    done = threading.Event()
    played: list[str] = []

    def play() -> None:
        while not done.is_set():
            match = world.paid(game, [ann, bob], 10)
            world.report(game, sync_result(match, [1, 2]))
            played.append(match.match_id)

    seen: list[contract.Books] = []
    with ThreadPoolExecutor(1) as pool:
        playing = pool.submit(play)
        try:
            while not playing.done() and (len(seen) < 10 or len(played) < 3):
                seen.append(verify(world))
        finally:
            done.set()
        playing.result()
    assert [report.faults for report in seen] == [[]] * len(seen)
    for report in seen:
        # Counts and totals are of one moment: two grants, three sets for a fee of 1, a hold for each 10 in escrow.
        (totals,) = report.totals
        assert report.posting_sets == 2 + 3 * totals.platform_fees + totals.escrow // 10
    assert seen[0].postings < verify(world).postings


# --- not clean -------------------------------------------------------------------------------------------------------


def test_whatever_is_tampered_with_is_found_and_named(world: World) -> None:
    scene = busy_day(world)
    ids = scene.ids()
    wrong = []
    with tampering(world) as tamperer:
        for each in TAMPERINGS if world.db.postgres else TAMPERINGS + SQLITE_TAMPERINGS:
            report = tamperer.report(*(statement.format(**ids) for statement in each.statements))
            row = each.row.format(**ids)
            named = any(fault.check == each.check and row in fault.row for fault in report.faults)
            found = {fault.check for fault in report.faults}
            if report.clean or not named or (each.others is not None and found - {each.check} != each.others):
                wrong.append((each, report.faults))
    assert wrong == []
    assert verify(world).clean


def test_there_is_a_tampering_for_every_check() -> None:
    names = [check.name for check in CHECKS]
    assert len(names) == len(set(names))
    assert {each.check for each in TAMPERINGS + SQLITE_TAMPERINGS} == {*names, store.MALFORMED, "totals"}


def test_a_fault_says_what_is_off_in_numbers(world: World) -> None:
    ids = busy_day(world).ids()
    change = "UPDATE balances SET balance = balance + 5 WHERE user_id = '{ann}'".format(**ids)
    with tampering(world) as tamperer:
        (fault,) = tamperer.report(change).faults
    (kept,) = world.rows("SELECT balance FROM balances WHERE user_id = :user", user=ids["ann"])
    assert fault == contract.BookFault(
        check="balance-differs",
        row=f"player:{ids['ann']}",
        detail=f"The balance is {kept.balance + 5} XTS, and its postings sum to {kept.balance}.",
    )


def test_a_long_list_of_faults_is_cut_and_says_so(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "MOST_FAULTS", 3)
    world.players(5, 100)
    with tampering(world) as tamperer:
        report = tamperer.report("UPDATE balances SET balance = balance + 1")
    found = [fault for fault in report.faults if fault.check == "balance-differs"]
    assert len(found) == 4
    assert found[-1].row == "…"
    assert "only the first 3 are listed" in found[-1].detail


_KEYS = {
    "postings": ["seq"],
    "balances": ["user_id", "currency"],
    "payments": ["id"],
    "held_winnings": ["match_id", "user_id"],
    "rollups": ["account", "currency"],
    "matches": ["id"],
}
_TAMPERED = [
    *(("postings", column) for column in ("set_id", "n", "of", "account", "currency", "amount", "at", "tx_number")),
    *(("balances", column) for column in ("user_id", "currency", "balance")),
    *(("payments", column) for column in ("id", "user_id", "kind", "provider", "amount", "currency")),
    *(("held_winnings", column) for column in ("match_id", "user_id", "amount", "currency", "state")),
    *(("matches", column) for column in ("entry_fee", "escrow")),
    ("rollups", "balance"),
]
_DELETED = ["postings", "balances", "payments", "held_winnings"]


def _where(table: str, row: dict[str, Any]) -> str:
    return " AND ".join(f"{key} = '{row[key]}'" for key in _KEYS[table])


def test_no_single_value_can_be_changed_or_removed_unnoticed(world: World) -> None:
    busy_day(world)
    tables = {
        table: [dict(row._mapping) for row in world.rows(f"SELECT * FROM {table} ORDER BY {', '.join(keys)}")]
        for table, keys in _KEYS.items()
    }

    def change(data: st.DataObject) -> str:
        if data.draw(st.integers(0, 9)) == 0:
            table = data.draw(st.sampled_from(_DELETED))
            return f"DELETE FROM {table} WHERE {_where(table, data.draw(st.sampled_from(tables[table])))}"
        table, column = data.draw(st.sampled_from(_TAMPERED))
        row = data.draw(st.sampled_from(tables[table]))
        if isinstance(row[column], int):
            value = str(row[column] + data.draw(st.integers(-1_000, 1_000).filter(bool)))
        else:
            others = sorted({other[column] for other in tables[table]} - {row[column]})
            value = data.draw(st.sampled_from([*others, "USD"]))
        return f"UPDATE {table} SET \"{column}\" = '{value}' WHERE {_where(table, row)}"

    with tampering(world) as tamperer:

        @settings(max_examples=examples(30 if world.db.postgres else 100))
        @given(st.data())
        def check(data: st.DataObject) -> None:
            statement = change(data)
            with suppress(sa.exc.IntegrityError):  # the database itself said no
                assert not tamperer.report(statement).clean, statement

        check()


# --- accounts that are sums ------------------------------------------------------------------------------------------


def test_the_clearing_account_of_every_provider_is_rolled_up(world: World) -> None:
    """Of whichever provider there was a payment: settings change, and the books do not."""
    player = world.player()
    expected = {"house:fees", "clearing:grant", f"studio:{world.studio_id}"}
    assert set(world.run(housekeeping.accounts)) == expected
    deposited: list[str] = []
    for provider in ("sandbox", "abacus", "zebra", "abacus"):
        payment = world.deposit(player, 100).payment_id
        deposited.append(payment)
        world.run(lambda tx, provider=provider, payment=payment: _say_who(tx, provider, payment))
    found = world.run(housekeeping.accounts)
    assert set(found) == {*expected, "clearing:sandbox", "clearing:abacus", "clearing:zebra"}
    assert len(found) == len(set(found))
    world.run(lambda tx: [_say_who(tx, "sandbox", payment) for payment in deposited])


def _say_who(tx: Tx, provider: str, payment_id: str) -> None:
    tx.execute(sa.text("UPDATE payments SET provider = :by WHERE id = :id"), {"by": provider, "id": payment_id})
