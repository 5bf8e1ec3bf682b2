"""What would be wrong with the ledger, as queries that find nothing when the books are clean.

Each check is one statement over a snapshot. It returns the rows that are off as (row, detail), so that nothing but
faults leaves the database.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from oklp.storage.tx import Row, Tx

MOST_FAULTS = 200


class Check(NamedTuple):
    """`sql` selects (row, detail); `only` names the one database it is for, if it is for one."""

    name: str
    sql: str
    only: str | None = None


# A match's sets are named match:<24 hex digits>:<kind>[:<seat or user>].
_MATCH = "substr(set_id, 7, 24)"

CHECKS: tuple[Check, ...] = (
    Check(
        "posting-set-not-whole",
        "SELECT set_id, count(*) || ' of ' || max(\"of\") || ' postings are there' FROM postings GROUP BY set_id"
        ' HAVING count(*) <> max("of") OR min("of") <> max("of") OR min(n) <> 0 OR max(n) <> count(*) - 1'
        " OR count(DISTINCT currency) <> 1 OR count(DISTINCT tx_number) <> 1 OR count(DISTINCT at) <> 1",
    ),
    Check(
        "posting-set-unbalanced",
        "SELECT set_id, 'sums to ' || sum(amount) || ' ' || currency FROM postings"
        " GROUP BY set_id, currency HAVING sum(amount) <> 0",
    ),
    Check(
        "ledger-unbalanced",
        "SELECT currency, 'all postings sum to ' || sum(amount) FROM postings GROUP BY currency HAVING sum(amount) <> 0",
    ),
    Check(
        "account-unknown",
        "SELECT set_id, 'posts to ' || account FROM postings WHERE account <> 'house:fees'"
        " AND account NOT LIKE 'player:%' AND account NOT LIKE 'escrow:%' AND account NOT LIKE 'held:%'"
        " AND account NOT LIKE 'studio:%' AND account NOT LIKE 'clearing:%'",
    ),
    Check(
        "purpose-unknown",
        "SELECT DISTINCT set_id, 'is no purpose' FROM postings WHERE set_id NOT LIKE 'deposit:%'"
        " AND set_id NOT LIKE 'withdrawal:%' AND set_id NOT LIKE 'grant:%' AND set_id NOT LIKE 'match:%:settle'"
        " AND set_id NOT LIKE 'match:%:hold:%' AND set_id NOT LIKE 'match:%:refund:%'"
        " AND set_id NOT LIKE 'match:%:held:%'",
    ),
    Check(
        "amount-not-an-integer",
        "SELECT set_id, 'has ' || typeof(amount) || ' ' || amount FROM postings WHERE typeof(amount) <> 'integer'"
        " UNION ALL SELECT user_id, 'balance is ' || typeof(balance) FROM balances WHERE typeof(balance) <> 'integer'"
        " UNION ALL SELECT id, 'escrow is ' || typeof(escrow) FROM matches WHERE typeof(escrow) <> 'integer'",
        only="sqlite",
    ),
    Check(
        "balance-differs",
        "SELECT 'player:' || b.user_id, 'balance ' || b.balance || ', postings ' || coalesce(p.total, 0) || ' '"
        " || b.currency FROM balances b LEFT JOIN (SELECT account, currency, sum(amount) AS total FROM postings"
        " WHERE account LIKE 'player:%' GROUP BY account, currency) p"
        " ON p.account = 'player:' || b.user_id AND p.currency = b.currency WHERE b.balance <> coalesce(p.total, 0)",
    ),
    Check(
        "balance-missing",
        "SELECT p.account, 'has postings of ' || sum(p.amount) || ' ' || p.currency || ' and no balance' FROM postings p"
        " LEFT JOIN balances b ON p.account = 'player:' || b.user_id AND p.currency = b.currency"
        " WHERE p.account LIKE 'player:%' AND b.user_id IS NULL GROUP BY p.account, p.currency",
    ),
    Check(
        "escrow-differs",
        "SELECT 'match:' || m.id, 'escrow ' || m.escrow || ', postings ' || coalesce(p.total, 0) FROM matches m"
        " LEFT JOIN (SELECT account, currency, sum(amount) AS total FROM postings WHERE account LIKE 'escrow:%'"
        " GROUP BY account, currency) p ON p.account = 'escrow:' || m.id AND p.currency = m.currency"
        " WHERE m.escrow <> coalesce(p.total, 0)",
    ),
    Check(
        "escrow-of-nothing",
        "SELECT DISTINCT p.account, 'has no match in ' || p.currency FROM postings p LEFT JOIN matches m"
        " ON p.account = 'escrow:' || m.id AND p.currency = m.currency"
        " WHERE p.account LIKE 'escrow:%' AND m.id IS NULL",
    ),
    Check(
        "escrow-after-the-end",
        "SELECT 'match:' || id, status || ' with ' || escrow || ' in escrow' FROM matches"
        " WHERE status IN ('finished', 'aborted') AND escrow <> 0",
    ),
    Check(
        "escrow-not-the-fees",
        "SELECT 'match:' || m.id, m.status || ' with ' || m.escrow || ' in escrow and ' || count(s.id)"
        " || ' confirmed seats of ' || m.entry_fee FROM matches m"
        " LEFT JOIN seats s ON s.match_id = m.id AND s.state = 'confirmed'"
        " WHERE m.status IN ('pending', 'starting', 'live') GROUP BY m.id, m.status, m.escrow, m.entry_fee"
        " HAVING m.escrow <> m.entry_fee * count(s.id)",
    ),
    Check(
        "hold-missing",
        "SELECT 'match:' || m.id, 'seat ' || s.id || ' is confirmed and was never paid for' FROM seats s"
        " JOIN matches m ON m.id = s.match_id LEFT JOIN postings p"
        " ON p.set_id = 'match:' || m.id || ':hold:' || s.id AND p.n = 0"
        " WHERE s.state = 'confirmed' AND m.entry_fee > 0 AND p.set_id IS NULL",
    ),
    Check(
        "hold-of-no-seat",
        "SELECT p.set_id, 'names no seat of its match' FROM postings p LEFT JOIN seats s"
        " ON p.set_id = 'match:' || s.match_id || ':hold:' || s.id WHERE p.set_id LIKE 'match:%:hold:%'"
        " AND p.n = 0 AND s.id IS NULL",
    ),
    Check(
        "refund-without-hold",
        "SELECT r.set_id, 'refunds what was not held' FROM postings r LEFT JOIN postings h"
        " ON h.set_id = replace(r.set_id, ':refund:', ':hold:') AND h.n = 0 AND h.currency = r.currency"
        " AND abs(h.amount) = abs(r.amount)"
        " WHERE r.set_id LIKE 'match:%:refund:%' AND r.n = 0 AND h.set_id IS NULL",
    ),
    Check(
        "aborted-not-refunded",
        "SELECT h.set_id, 'was held for an aborted match and not refunded' FROM postings h JOIN matches m"
        " ON m.id = substr(h.set_id, 7, 24) LEFT JOIN postings r"
        " ON r.set_id = replace(h.set_id, ':hold:', ':refund:') AND r.n = 0"
        " WHERE h.set_id LIKE 'match:%:hold:%' AND h.n = 0 AND m.status = 'aborted' AND r.set_id IS NULL",
    ),
    Check(
        "settled-and-not-finished",
        f"SELECT p.set_id, 'settles a match that is ' || coalesce(m.status, 'unknown') FROM postings p"  # noqa: S608
        f" LEFT JOIN matches m ON m.id = {_MATCH} WHERE p.set_id LIKE 'match:%:settle' AND p.n = 0"
        " AND coalesce(m.status, '') <> 'finished'",
    ),
    Check(
        "finished-and-not-settled",
        "SELECT 'match:' || m.id, 'is finished, and neither settled nor refunded whole' FROM matches m"
        " LEFT JOIN postings p ON p.set_id = 'match:' || m.id || ':settle' AND p.n = 0"
        " WHERE m.status = 'finished' AND m.entry_fee > 0 AND p.set_id IS NULL"
        " AND EXISTS (SELECT 1 FROM seats s LEFT JOIN postings r"
        " ON r.set_id = 'match:' || m.id || ':refund:' || s.id AND r.n = 0"
        " WHERE s.match_id = m.id AND s.state = 'confirmed' AND r.set_id IS NULL)",
    ),
    Check(
        "settled-and-refunded",
        "SELECT r.set_id, 'refunds a seat of a settled match' FROM postings r JOIN postings p"
        " ON p.set_id = 'match:' || substr(r.set_id, 7, 24) || ':settle' AND p.n = 0"
        " JOIN seats s ON r.set_id = 'match:' || s.match_id || ':refund:' || s.id"
        " WHERE r.set_id LIKE 'match:%:refund:%' AND r.n = 0 AND s.state = 'confirmed'",
    ),
    Check(
        "settlement-arithmetic",
        "SELECT 'match:' || m.id, 'a pot of ' || -p.pot || ' was settled with ' || p.fee || ' in fees'"
        " FROM matches m JOIN (SELECT set_id,"
        " sum(CASE WHEN account LIKE 'escrow:%' THEN amount ELSE 0 END) AS pot,"
        " sum(CASE WHEN account = 'house:fees' OR account LIKE 'studio:%' THEN amount ELSE 0 END) AS fee,"
        " sum(CASE WHEN account LIKE 'studio:%' THEN amount ELSE 0 END) AS studio"
        " FROM postings WHERE set_id LIKE 'match:%:settle' GROUP BY set_id) p ON p.set_id = 'match:' || m.id || ':settle'"
        # Rounded down by taking the remainder off: sums are NUMERIC on one database and integers on the other.
        " WHERE p.fee * 10000 <> -p.pot * m.fee_bps - (-p.pot * m.fee_bps) % 10000"
        " OR p.studio * 10000 <> p.fee * m.studio_share_bps - (p.fee * m.studio_share_bps) % 10000"
        " OR -p.pot <> m.entry_fee * (SELECT count(*) FROM seats s WHERE s.match_id = m.id AND s.state = 'confirmed')",
    ),
    Check(
        "winnings-differ",
        "SELECT 'match:' || m.id, 'winnings and postings differ' FROM matches m JOIN (SELECT set_id, sum(amount) AS paid"
        " FROM postings WHERE set_id LIKE 'match:%:settle' AND (account LIKE 'player:%' OR account LIKE 'held:%')"
        " GROUP BY set_id) p ON p.set_id = 'match:' || m.id || ':settle' WHERE p.paid <>"
        " (SELECT coalesce(sum(json_extract(w.value, '$.amount')), 0) FROM json_each(m.outcome, '$.winnings') w)",
        only="sqlite",
    ),
    Check(
        "winnings-differ",
        "SELECT 'match:' || m.id, 'winnings and postings differ' FROM matches m JOIN (SELECT set_id, sum(amount) AS paid"
        " FROM postings WHERE set_id LIKE 'match:%:settle' AND (account LIKE 'player:%' OR account LIKE 'held:%')"
        " GROUP BY set_id) p ON p.set_id = 'match:' || m.id || ':settle' WHERE p.paid <>"
        " (SELECT coalesce(sum((w->>'amount')::bigint), 0)"
        " FROM jsonb_array_elements(m.outcome::jsonb->'winnings') w)",
        only="postgresql",
    ),
    Check(
        "held-winnings-differ",
        "SELECT 'held:' || coalesce(h.user_id, p.user_id), 'held ' || coalesce(h.total, 0) || ', postings '"
        " || coalesce(p.total, 0) FROM"
        " (SELECT user_id, sum(amount) AS total FROM held_winnings WHERE state = 'held' GROUP BY user_id) h"
        " FULL JOIN (SELECT substr(account, 6) AS user_id, sum(amount) AS total FROM postings"
        " WHERE account LIKE 'held:%' GROUP BY account) p ON p.user_id = h.user_id"
        " WHERE coalesce(h.total, 0) <> coalesce(p.total, 0)",
    ),
    Check(
        "payment-not-posted",
        "SELECT y.kind || ':' || y.id, 'a payment of ' || y.amount || ' is not in the ledger so' FROM payments y"
        " LEFT JOIN postings p ON p.set_id = y.kind || ':' || y.id AND p.account = 'player:' || y.user_id"
        " AND p.currency = y.currency"
        " AND p.amount = CASE WHEN y.kind = 'deposit' THEN y.amount ELSE -y.amount END WHERE p.set_id IS NULL",
    ),
    Check(
        "posting-of-no-payment",
        "SELECT p.set_id, 'has no payment' FROM postings p LEFT JOIN payments y ON p.set_id = y.kind || ':' || y.id"
        " WHERE (p.set_id LIKE 'deposit:%' OR p.set_id LIKE 'withdrawal:%') AND p.n = 0 AND y.id IS NULL",
    ),
    Check(
        "rollup-differs",
        "SELECT r.account, 'rolled up ' || r.balance || ', postings ' || coalesce(sum(p.amount), 0) || ' ' || r.currency"
        " FROM rollups r LEFT JOIN postings p ON p.account = r.account AND p.currency = r.currency"
        " AND p.tx_number < r.below_tx_number GROUP BY r.account, r.currency, r.balance"
        " HAVING r.balance <> coalesce(sum(p.amount), 0)",
    ),
)


def faults(tx: Tx, check: Check) -> Sequence[Row]:
    """The rows that are off by one check, MOST_FAULTS at the most, as (row, detail)."""
    sql = f"SELECT * FROM ({check.sql}) AS f (row_name, detail) ORDER BY 1 LIMIT {MOST_FAULTS}"  # noqa: S608
    if not tx.postgres:
        # SQLite has no names for the columns of a subquery, and needs none.
        sql = f"SELECT * FROM ({check.sql}) ORDER BY 1 LIMIT {MOST_FAULTS}"  # noqa: S608
    return _run(tx, sql)


def _run(tx: Tx, sql: str) -> Sequence[Row]:
    """psycopg takes a lone % for a parameter."""
    return tx.driver(sql.replace("%", "%%") if tx.postgres else sql).all()


def applies(tx: Tx, check: Check) -> bool:
    return check.only is None or check.only == ("postgresql" if tx.postgres else "sqlite")


def counts(tx: Tx) -> tuple[int, int, int]:
    """Postings, posting sets, matches."""
    row = tx.driver(
        "SELECT (SELECT count(*) FROM postings), (SELECT count(DISTINCT set_id) FROM postings),"
        " (SELECT count(*) FROM matches)"
    ).one()
    return int(row[0]), int(row[1]), int(row[2])


def totals(tx: Tx) -> Sequence[Row]:
    """Sums of the postings as (currency, kind of account, amount)."""
    return _run(
        tx,
        "SELECT currency, CASE WHEN account = 'house:fees' THEN 'platform_fees'"
        " WHEN account LIKE 'player:%' THEN 'players' WHEN account LIKE 'escrow:%' THEN 'escrow'"
        " WHEN account LIKE 'held:%' THEN 'held' WHEN account LIKE 'studio:%' THEN 'studios'"
        " ELSE 'clearing' END AS kind, sum(amount) FROM postings GROUP BY 1, 2 ORDER BY 1, 2",
    )
