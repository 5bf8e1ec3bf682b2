"""Proving the ledger (design, section 4). Run it on a snapshot: `Database.audit` or `run_report`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from oklp import contract
from oklp.storage import books as store
from oklp.storage.engine import Tx

# Kind of account → the total it counts in. A posting to any other account is a fault, and in no total.
_TOTALS = {
    "player": "players",
    "escrow": "escrow",
    "held": "held",
    "house": "platform_fees",
    "studio": "studios",
    "clearing": "clearing",
}


Progress = Callable[[int, int], None]


def _unwatched(made: int, of: int) -> None:
    pass


def verify_watched(tx: Tx, watchers: Sequence[Progress]) -> list[contract.Books]:
    """`verify`, set-based."""
    return [verify(tx, done) for done in watchers]


def verify(tx: Tx, done: Progress = _unwatched) -> contract.Books:
    """Prove the books, or name every row that is off. `done` is told, from the lane's thread, how many of how many
    checks are made.

    Every set is whole and sums to zero, as does each currency; what players, escrows, held winnings, roll-ups and
    payments say is what was posted; every fee of every seat is in escrow, paid out or gone back, and never two of
    these; settlements add up, and pay whom the outcomes name.
    """
    faults = store.faults(tx, done)
    counts = store.counts(tx)
    sums: dict[str, dict[str, int]] = {}
    for currency, kind, amount in store.totals(tx, faults):
        of_currency = sums.setdefault(currency, dict.fromkeys(_TOTALS.values(), 0))
        if kind in _TOTALS:
            of_currency[_TOTALS[kind]] = amount
    return contract.Books(
        clean=not faults,
        postings=counts.postings,
        posting_sets=counts.posting_sets,
        matches=counts.matches,
        totals=[contract.BookTotals(currency=currency, **amounts) for currency, amounts in sums.items()],
        faults=[contract.BookFault(check=fault.check, row=fault.row, detail=fault.detail) for fault in faults],
    )
