"""A player's statement: every posting on the account, newest first, with the balance after each; all of it, or a part.

What a posting is for is in the id of its set, so that a part is found by looking at all of them from the newest on. One
look reads LOOKED_AT postings at the most: after that it says where the next goes on, whatever it has found.
"""

from __future__ import annotations

from typing import NamedTuple

from oklp import contract
from oklp.domain import ledger as books
from oklp.services import views
from oklp.storage import ledger as store
from oklp.storage.engine import Tx
from oklp.storage.tx import Row

READ_AT_ONCE = 1_000
LOOKED_AT = 10_000
# Clocks of nodes differ, and postings stand in the order of their transactions.
CLOCKS_MS = 3_600_000


class Wanted(NamedTuple):
    """Which postings: of these kinds (none: of all), from `since` on and before `until` (milliseconds), of a match."""

    kinds: frozenset[str] = frozenset()
    since: int | None = None
    until: int | None = None
    match_id: str | None = None

    def takes(self, row: Row) -> bool:
        return (
            (not self.kinds or books.kind_of(row.set_id) in self.kinds)
            and (self.since is None or row.at >= self.since)
            and (self.until is None or row.at < self.until)
            and (self.match_id is None or books.match_of(row.set_id) == self.match_id)
        )


ALL = Wanted()


class Place(NamedTuple):
    """Up to which posting somebody has looked, that one included."""

    tx_number: int
    seq: int


def entries(
    tx: Tx, user_id: str, wanted: Wanted, before: Place | None, limit: int
) -> tuple[contract.WalletEntryPage, Place | None]:
    """At most `limit` postings, newest first, and the place after which the rest is, None at the end.

    There may be fewer than `limit`, even none, and more after the place: see the module.
    """
    found: list[contract.WalletEntry] = []
    place, oldest = before, Place(0, 0)
    if wanted.match_id is not None:
        span = _span(tx, user_id, wanted.match_id)
        if span is None:
            return contract.WalletEntryPage(entries=[]), None
        newest, oldest = span
        above = Place(newest.tx_number, newest.seq + 1)
        place = above if before is None or above < before else before
    after = place  # the last that was found
    at_once = limit + 1 if wanted == ALL else READ_AT_ONCE
    for _ in range(LOOKED_AT // at_once):
        rows = store.statement(tx, user_id, place, at_once)
        balances: dict[str, int] = {}
        for row in rows:
            place = Place(row.tx_number, row.seq)
            if place < oldest or (wanted.since is not None and row.at < wanted.since - CLOCKS_MS):
                return contract.WalletEntryPage(entries=found), None
            balance = balances.get(row.currency, int(row.balance))
            balances[row.currency] = balance - row.amount
            if not wanted.takes(row):
                continue
            if len(found) == limit:
                return contract.WalletEntryPage(entries=found), after
            found.append(_entry(row, balance))
            after = place
        if len(rows) < at_once:
            return contract.WalletEntryPage(entries=found), None
    return contract.WalletEntryPage(entries=found), after if len(found) == limit else place


def _span(tx: Tx, user_id: str, match_id: str) -> tuple[Place, Place] | None:
    """The newest and the oldest posting of a player for a match."""
    seats = store.seats_of(tx, user_id, match_id)
    purposes = [make(match_id, seat) for seat in seats for make in (books.hold_purpose, books.refund_purpose)]
    purposes += [books.settle_purpose(match_id), books.held_purpose(match_id, user_id)]
    places = [Place(*row) for row in store.places_of(tx, books.player_account(user_id), purposes)]
    return (max(places), min(places)) if places else None


def _entry(row: Row, balance: int) -> contract.WalletEntry:
    return contract.WalletEntry(
        entry_id=str(row.seq),
        kind=books.kind_of(row.set_id),
        amount=row.amount,
        currency=row.currency,
        balance=balance,
        match_id=books.match_of(row.set_id),
        created_at=views.when(row.at),
    )
