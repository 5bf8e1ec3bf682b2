"""Proving the ledger (design, section 4). Run it on a snapshot: `Database.report` or `run_report`."""

from __future__ import annotations

from oklp import contract
from oklp.storage import books as store
from oklp.storage.engine import Tx

CUT = f"… and more: only the first {store.MOST_FAULTS} are shown"


def verify(tx: Tx) -> contract.Books:
    """Everything sums to zero, balances equal their postings, what is over holds no escrow, every set is whole."""
    found = []
    for check in store.CHECKS:
        if not store.applies(tx, check):
            continue
        rows = store.faults(tx, check)
        found.extend(contract.BookFault(check=check.name, row=str(row[0]), detail=str(row[1])) for row in rows)
        if len(rows) == store.MOST_FAULTS:
            found.append(contract.BookFault(check=check.name, row=CUT, detail=""))
    postings, sets, matches = store.counts(tx)
    sums: dict[str, dict[str, int]] = {}
    for currency, kind, amount in store.totals(tx):
        sums.setdefault(currency, {})[kind] = int(amount)
    kinds = ("players", "escrow", "held", "platform_fees", "studios", "clearing")
    return contract.Books(
        clean=not found,
        postings=postings,
        posting_sets=sets,
        matches=matches,
        totals=[
            contract.BookTotals(currency=currency, **{kind: by_kind.get(kind, 0) for kind in kinds})
            for currency, by_kind in sorted(sums.items())
        ],
        faults=found,
    )
