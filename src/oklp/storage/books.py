"""What would be wrong with the ledger, as queries that find nothing when the books are clean.

Each check is one statement over a snapshot, for both databases: it joins what the tables say happened to what was
posted, and returns the rows that are off. Nothing but faults leaves the database. Text is taken apart by `substr` and
`strpos` (SQLite calls it `instr`), as a `%` is a parameter to one driver and not to the other.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, NoReturn, TypeVar

import sqlalchemy as sa

from oklp.storage import schema, sets
from oklp.storage.tx import Row, Tx

T = TypeVar("T")

MOST_FAULTS = 1_000  # of each check
MAX_AMOUNT = 2**53 - 1
_CHUNK = 1_000


class Check(NamedTuple):
    """`row` and `detail` are formats over the columns that `sql` selects.

    `postgres` is the statement for PostgreSQL where JSON makes it another; its one parameter is the list of the ids of
    matches whose JSON cannot be read. `only` names the database that a check is for, if it is for one.
    """

    name: str
    sql: str
    row: str
    detail: str
    postgres: str | None = None
    only: str | None = None


class Fault(NamedTuple):
    check: str
    row: str
    detail: str


# --- posting sets, taken apart ---------------------------------------------------------------------------------------

# match:<match>:settle, match:<match>:<kind>:<seat or user>; see domain.ledger.
_MATCH = "substr(set_id, 7, strpos(substr(set_id, 7) || ':', ':') - 1)"
_PURPOSE = "substr(set_id, 7 + strpos(substr(set_id, 7) || ':', ':'))"
_SETTLES = f"substr(set_id, 1, 6) = 'match:' AND {_PURPOSE} = 'settle'"


def _starts(column: str, *prefixes: str) -> str:
    return "(" + " OR ".join(f"substr({column}, 1, {len(prefix)}) = '{prefix}'" for prefix in prefixes) + ")"


def _moves(name: str, where: str, match: str, member: str) -> str:
    """A common table of the sets of one kind: from whom to whom, and how much. A sound one has two parts."""
    return (
        f"{name} AS (SELECT set_id, {match} AS match_id, {member} AS member, min(currency) AS currency,"  # noqa: S608
        " count(*) AS parts, max(CASE WHEN amount < 0 THEN account END) AS source,"
        " max(CASE WHEN amount > 0 THEN account END) AS target, max(amount) AS amount"
        f" FROM postings WHERE {where} GROUP BY set_id)"
    )


def _of_match(kind: str) -> str:
    where = f"substr(set_id, 1, 6) = 'match:' AND {_starts(_PURPOSE, f'{kind}:')}"
    return _moves(kind, where, _MATCH, f"substr({_PURPOSE}, {len(kind) + 2})")


_HOLDS = _of_match("hold")
_REFUNDS = _of_match("refund")
_DECISIONS = _of_match("held")
_PAYMENTS = _moves(
    "moves", _starts("set_id", "deposit:", "withdrawal:"), "NULL", "substr(set_id, strpos(set_id, ':') + 1)"
)
_GRANTS = _moves("moves", _starts("set_id", "grant:"), "NULL", "substr(set_id, 7)")


def _share(of: str) -> str:
    return f"CAST(sum(CASE WHEN {of} THEN amount ELSE 0 END) AS bigint)"


_SETTLEMENTS = (
    f"settled AS (SELECT set_id, {_MATCH} AS match_id, -{_share(_starts('account', 'escrow:'))} AS pot,"  # noqa: S608
    f" {_share("account = 'house:fees'")} AS platform, {_share(_starts('account', 'studio:'))} AS studio,"
    f" {_share(_starts('account', 'player:', 'held:'))} AS prizes FROM postings WHERE {_SETTLES} GROUP BY set_id)"
)
_CONFIRMED = "confirmed AS (SELECT match_id, count(*) AS seats FROM seats WHERE state = 'confirmed' GROUP BY match_id)"
_ESCROWS = (
    "escrows AS (SELECT substr(account, 8) AS match_id, currency, sum(amount) AS posted FROM postings"
    f" WHERE {_starts('account', 'escrow:')} GROUP BY account, currency)"
)

# --- the ledger by itself --------------------------------------------------------------------------------------------

_LEDGER = (
    Check(
        "posting-set-not-whole",
        'SELECT set_id, count(*) AS found, min(n) AS first, max(n) AS last, min("of") AS least, max("of") AS most'
        ' FROM postings GROUP BY set_id HAVING count(*) <> max("of") OR min("of") <> max("of") OR min(n) <> 0'
        " OR max(n) <> count(*) - 1",
        "{set_id}",
        "It has {found} postings, numbered {first} to {last}, that say they are of {least} (at the most {most}).",
    ),
    Check(
        "posting-set-mixed",
        "SELECT set_id, min(currency) AS one, max(currency) AS other, min(at) AS first, max(at) AS last,"
        " min(tx_number) AS least, max(tx_number) AS most FROM postings GROUP BY set_id HAVING"
        " min(currency) <> max(currency) OR min(at) <> max(at) OR min(tx_number) <> max(tx_number)",
        "{set_id}",
        "Its postings are in {one} to {other}, at {first} to {last}, of the transactions {least} to {most}.",
    ),
    Check(
        "posting-set-unbalanced",
        "SELECT set_id, currency, sum(amount) AS total FROM postings GROUP BY set_id, currency HAVING sum(amount) <> 0",
        "{set_id}",
        "Its postings sum to {total} {currency} and not to zero.",
    ),
    Check(
        "ledger-unbalanced",
        "SELECT currency, sum(amount) AS total FROM postings GROUP BY currency HAVING sum(amount) <> 0",
        "{currency}",
        "All postings in {currency} sum to {total} and not to zero.",
    ),
    Check(
        "purpose-unknown",
        "SELECT set_id, count(*) AS found FROM postings WHERE NOT (CASE"
        f" WHEN {_starts('set_id', 'deposit:')} THEN length(set_id) > 8"
        f" WHEN {_starts('set_id', 'withdrawal:')} THEN length(set_id) > 11"
        f" WHEN {_starts('set_id', 'grant:')} THEN length(set_id) > 6"
        f" WHEN {_starts('set_id', 'match:')} THEN {_MATCH} <> '' AND ({_PURPOSE} = 'settle'"
        f" OR ({_starts(_PURPOSE, 'hold:', 'held:')} AND length({_PURPOSE}) > 5)"
        f" OR ({_starts(_PURPOSE, 'refund:')} AND length({_PURPOSE}) > 7)) ELSE 1 = 0 END) GROUP BY set_id",
        "{set_id}",
        "It is not the id of any movement of money; {found} postings have it.",
    ),
    Check(
        "account-unknown",
        "SELECT account, currency, sum(amount) AS total, count(*) AS found FROM postings WHERE account <> 'house:fees'"
        f" AND NOT ({_starts('account', 'player:', 'escrow:', 'held:', 'studio:', 'clearing:')}"
        " AND length(account) > strpos(account, ':')) GROUP BY account, currency",
        "{account}",
        "It is not an account; {found} postings give it {total} {currency}.",
    ),
    Check(
        "account-of-nobody",
        "SELECT account, currency, sum(amount) AS total FROM postings WHERE"
        f" ({_starts('account', 'player:')}"
        " AND NOT EXISTS (SELECT 1 FROM players p WHERE p.id = substr(account, 8)))"
        f" OR ({_starts('account', 'held:')}"
        " AND NOT EXISTS (SELECT 1 FROM players p WHERE p.id = substr(account, 6)))"
        f" OR ({_starts('account', 'escrow:')}"
        " AND NOT EXISTS (SELECT 1 FROM matches m WHERE m.id = substr(account, 8)))"
        f" OR ({_starts('account', 'studio:')}"
        " AND NOT EXISTS (SELECT 1 FROM studios s WHERE s.id = substr(account, 8)))"
        " GROUP BY account, currency",
        "{account}",
        "It has postings of {total} {currency}, and there is nobody whose account it is.",
    ),
    Check(
        "account-overdrawn",
        "SELECT account, currency, sum(amount) AS total FROM postings"
        f" WHERE NOT {_starts('account', 'clearing:')} GROUP BY account, currency HAVING sum(amount) < 0",
        "{account}",
        "Its balance is {total} {currency}; only the accounts of payment providers go below zero.",
    ),
    Check(
        "grant-differs",
        f"WITH {_GRANTS} SELECT set_id, source, target, amount, parts FROM moves WHERE parts <> 2"  # noqa: S608
        f" OR coalesce(source, '') <> 'clearing:grant' OR NOT {_starts("coalesce(target, '')", 'player:')}",
        "{set_id}",
        "It moves {amount} from {source} to {target} in {parts} postings, and is not a grant to one player.",
    ),
)

# SQLite keeps in a column whatever it is given.
_AMOUNTS = (
    ("postings", "set_id", ("n", '"of"', "amount", "at", "tx_number")),
    ("balances", "'player:' || user_id", ("balance",)),
    ("matches", "'match:' || id", ("entry_fee", "escrow", "fee_bps", "studio_share_bps", "team_size")),
    ("payments", "kind || ':' || id", ("amount",)),
    ("held_winnings", "'match:' || match_id || ':held:' || user_id", ("amount",)),
    ("rollups", "account", ("balance", "below_tx_number")),
)
_NOT_INTEGERS = " UNION ALL ".join(
    f"SELECT {key} AS row_name, '{column.strip('"')}' AS what, typeof({column}) AS kind,"  # noqa: S608
    f" CAST({column} AS text) AS value FROM {table} WHERE typeof({column}) <> 'integer'"
    for table, key, columns in _AMOUNTS
    for column in columns
)
_TOO_LARGE = " UNION ALL ".join(
    f"SELECT {key} AS row_name, '{column}' AS what, {column} AS value FROM {table}"  # noqa: S608
    f" WHERE {column} > {MAX_AMOUNT} OR {column} < -{MAX_AMOUNT}"
    for table, key, columns in _AMOUNTS
    for column in columns
    if column in ("amount", "balance", "entry_fee", "escrow")
)

_NUMBERS = (
    Check("amount-not-an-integer", _NOT_INTEGERS, "{row_name}", "Its {what} is the {kind} {value}.", only="sqlite"),
    Check(
        "amount-too-large",
        _TOO_LARGE,
        "{row_name}",
        f"Its {{what}} is {{value}}, and nothing beyond {MAX_AMOUNT} is ever posted.",
    ),
)

# --- what is kept beside the ledger ----------------------------------------------------------------------------------

_ACCOUNTS = (
    Check(
        "balance-differs",
        "SELECT user_id, currency, sum(kept) AS kept, sum(posted) AS posted FROM ("
        "SELECT user_id, currency, balance AS kept, 0 AS posted FROM balances UNION ALL"
        f" SELECT substr(account, 8), currency, 0, amount FROM postings WHERE {_starts('account', 'player:')}"
        ") AS both_sides GROUP BY user_id, currency HAVING sum(kept) <> sum(posted)",
        "player:{user_id}",
        "The balance is {kept} {currency}, and its postings sum to {posted}.",
    ),
    Check(
        "balance-missing",
        "SELECT p.account, p.currency, sum(p.amount) AS posted FROM postings p LEFT JOIN balances b"
        " ON b.user_id = substr(p.account, 8) AND b.currency = p.currency"
        f" WHERE {_starts('p.account', 'player:')} AND b.user_id IS NULL GROUP BY p.account, p.currency",
        "{account}",
        "There are postings of {posted} {currency}, and no balance.",
    ),
    Check(
        "rollup-differs",
        "SELECT r.account, r.currency, r.balance, r.below_tx_number, coalesce(sum(p.amount), 0) AS posted"
        " FROM rollups r LEFT JOIN postings p ON p.account = r.account AND p.currency = r.currency"
        " AND p.tx_number < r.below_tx_number GROUP BY r.account, r.currency, r.balance, r.below_tx_number"
        " HAVING r.balance <> coalesce(sum(p.amount), 0)",
        "{account}",
        "The roll-up is {balance} {currency}, and the postings below {below_tx_number} sum to {posted}.",
    ),
    Check(
        "rollup-missing",
        # The balance of an account is its roll-ups and the postings since: all its currencies end at one number.
        "SELECT p.account, p.currency, sum(p.amount) AS posted, max(r.below) AS below FROM postings p JOIN"
        " (SELECT account, max(below_tx_number) AS below FROM rollups GROUP BY account) r ON r.account = p.account"
        " LEFT JOIN rollups o ON o.account = p.account AND o.currency = p.currency AND o.below_tx_number = r.below"
        " WHERE p.tx_number < r.below AND o.account IS NULL GROUP BY p.account, p.currency",
        "{account}",
        "The account is rolled up below {below}, and postings of {posted} {currency} are in no roll-up there.",
    ),
    Check(
        "payment-not-posted",
        f"WITH {_PAYMENTS} SELECT y.kind, y.id, y.user_id, y.amount, y.currency, y.provider,"  # noqa: S608
        " coalesce(v.amount, 0) AS posted, v.source, v.target FROM payments y LEFT JOIN moves v"
        " ON v.set_id = y.kind || ':' || y.id WHERE v.set_id IS NULL OR v.parts <> 2 OR v.amount <> y.amount"
        " OR v.currency <> y.currency OR coalesce(v.source, '') <> CASE y.kind WHEN 'deposit'"
        " THEN 'clearing:' || y.provider ELSE 'player:' || y.user_id END OR coalesce(v.target, '') <> CASE y.kind"
        " WHEN 'deposit' THEN 'player:' || y.user_id ELSE 'clearing:' || y.provider END",
        "{kind}:{id}",
        "The payment of {amount} {currency} by player {user_id} through {provider} was posted as {posted}"
        " from {source} to {target}.",
    ),
    Check(
        "posting-of-no-payment",
        f"WITH {_PAYMENTS} SELECT v.set_id, v.amount, v.currency FROM moves v LEFT JOIN payments y"  # noqa: S608
        " ON y.id = v.member WHERE y.id IS NULL OR v.set_id <> y.kind || ':' || y.id",
        "{set_id}",
        "It moves {amount} {currency}, and there is no such payment.",
    ),
)

# --- matches ---------------------------------------------------------------------------------------------------------

_MATCHES = (
    Check(
        "escrow-differs",
        f"WITH {_ESCROWS} SELECT m.id, m.escrow, coalesce(e.posted, 0) AS posted, m.currency FROM matches m"  # noqa: S608
        " LEFT JOIN escrows e ON e.match_id = m.id AND e.currency = m.currency WHERE m.escrow <> coalesce(e.posted, 0)",
        "match:{id}",
        "The escrow is {escrow} {currency}, and its postings sum to {posted}.",
    ),
    Check(
        "escrow-in-another-currency",
        f"WITH {_ESCROWS} SELECT m.id, m.currency, e.currency AS other, e.posted FROM escrows e"  # noqa: S608
        " JOIN matches m ON m.id = e.match_id WHERE e.currency <> m.currency",
        "match:{id}",
        "The match is in {currency}, and its escrow has postings of {posted} {other}.",
    ),
    Check(
        "escrow-after-the-end",
        f"WITH {_ESCROWS} SELECT m.id, m.status, e.posted, e.currency FROM matches m JOIN escrows e"  # noqa: S608
        " ON e.match_id = m.id WHERE m.status IN ('finished', 'aborted') AND e.posted <> 0",
        "match:{id}",
        "The match is {status}, and its escrow still holds {posted} {currency}.",
    ),
    Check(
        "escrow-not-the-fees",
        f"WITH {_CONFIRMED} SELECT m.id, m.status, m.escrow, m.entry_fee, coalesce(c.seats, 0) AS seats"  # noqa: S608
        " FROM matches m LEFT JOIN confirmed c ON c.match_id = m.id WHERE m.status IN ('pending', 'starting', 'live')"
        " AND m.escrow <> m.entry_fee * coalesce(c.seats, 0)",
        "match:{id}",
        "The match is {status} with {escrow} in escrow, and {seats} confirmed seats pay {entry_fee} each.",
    ),
    Check(
        "hold-missing",
        f"WITH {_HOLDS} SELECT s.id, m.id AS match_id, m.entry_fee, m.currency FROM seats s"  # noqa: S608
        " JOIN matches m ON m.id = s.match_id LEFT JOIN hold h ON h.set_id = 'match:' || m.id || ':hold:' || s.id"
        " WHERE s.state = 'confirmed' AND m.entry_fee > 0 AND h.set_id IS NULL",
        "match:{match_id}",
        "The seat {id} is confirmed, and its fee of {entry_fee} {currency} was never held.",
    ),
    Check(
        "hold-differs",
        f"WITH {_HOLDS} SELECT h.set_id, h.source, h.target, h.amount, h.currency, s.user_id, m.entry_fee"  # noqa: S608
        " FROM hold h LEFT JOIN matches m ON m.id = h.match_id LEFT JOIN seats s ON s.id = h.member"
        " AND s.match_id = h.match_id WHERE m.id IS NULL OR s.id IS NULL OR h.parts <> 2 OR h.amount <> m.entry_fee"
        " OR h.currency <> m.currency OR coalesce(h.source, '') <> 'player:' || s.user_id"
        " OR coalesce(h.target, '') <> 'escrow:' || m.id",
        "{set_id}",
        "It moves {amount} {currency} from {source} to {target}; the seat is of player {user_id} and the fee is"
        " {entry_fee}.",
    ),
    Check(
        "refund-differs",
        f"WITH {_HOLDS}, {_REFUNDS} SELECT r.set_id, r.amount, r.currency, r.source, r.target,"  # noqa: S608
        " coalesce(h.amount, 0) AS held FROM refund r LEFT JOIN hold h ON h.match_id = r.match_id"
        " AND h.member = r.member WHERE h.set_id IS NULL OR r.parts <> 2 OR r.amount <> h.amount"
        " OR r.currency <> h.currency OR coalesce(r.source, '') <> h.target OR coalesce(r.target, '') <> h.source",
        "{set_id}",
        "It moves {amount} {currency} from {source} to {target}, and {held} was held for this seat.",
    ),
)


def _refund_check(name: str, condition: str, detail: str) -> Check:
    """A fee stays in escrow while the match goes on and once it is settled; in all other cases it has gone back."""
    keeps = "(s.state = 'confirmed' AND (m.status IN ('pending', 'starting', 'live') OR p.match_id IS NOT NULL))"
    return Check(
        name,
        f"WITH {_HOLDS}, {_REFUNDS}, {_SETTLEMENTS} SELECT h.set_id, h.amount, h.currency, s.state, m.status,"  # noqa: S608
        " CASE WHEN p.match_id IS NULL THEN 'not settled' ELSE 'settled' END AS end_of_it FROM hold h"
        " JOIN seats s ON s.id = h.member AND s.match_id = h.match_id JOIN matches m ON m.id = h.match_id"
        " LEFT JOIN refund r ON r.match_id = h.match_id AND r.member = h.member"
        f" LEFT JOIN settled p ON p.match_id = h.match_id WHERE {condition.format(keeps=keeps)}",
        "{set_id}",
        detail,
    )


_ENDS = (
    _refund_check(
        "refund-missing",
        "r.set_id IS NULL AND NOT {keeps}",
        "{amount} {currency} was held and never went back; the seat is {state}, the match {status} and {end_of_it}.",
    ),
    _refund_check(
        "refund-undue",
        "r.set_id IS NOT NULL AND {keeps}",
        "{amount} {currency} went back; the seat is {state}, the match {status} and {end_of_it}.",
    ),
    Check(
        "settled-and-not-finished",
        f"WITH {_SETTLEMENTS} SELECT p.set_id, p.pot, coalesce(m.status, 'unknown') AS status"  # noqa: S608
        " FROM settled p LEFT JOIN matches m ON m.id = p.match_id WHERE coalesce(m.status, '') <> 'finished'"
        " OR m.entry_fee = 0",
        "{set_id}",
        "It pays out {pot}, and the match is {status}.",
    ),
    Check(
        "finished-and-not-paid-out",
        f"WITH {_SETTLEMENTS}, {_CONFIRMED}, {_REFUNDS}, refunded AS (SELECT r.match_id, count(*) AS seats"  # noqa: S608
        " FROM refund r JOIN seats s ON s.id = r.member AND s.match_id = r.match_id AND s.state = 'confirmed'"
        " GROUP BY r.match_id) SELECT m.id, coalesce(c.seats, 0) AS seats, coalesce(b.seats, 0) AS back"
        " FROM matches m LEFT JOIN settled p ON p.match_id = m.id LEFT JOIN confirmed c ON c.match_id = m.id"
        " LEFT JOIN refunded b ON b.match_id = m.id WHERE m.status = 'finished' AND m.entry_fee > 0"
        " AND p.match_id IS NULL AND coalesce(b.seats, 0) < coalesce(c.seats, 1)",
        "match:{id}",
        "The match is finished and was not settled, and {back} of {seats} fees went back.",
    ),
    Check(
        "settlement-arithmetic",
        f"WITH {_SETTLEMENTS}, {_CONFIRMED} SELECT p.set_id, p.pot, p.platform, p.studio, p.prizes,"  # noqa: S608
        " coalesce(c.seats, 0) AS seats, m.entry_fee, m.fee_bps, m.studio_share_bps FROM settled p"
        " JOIN matches m ON m.id = p.match_id LEFT JOIN confirmed c ON c.match_id = m.id"
        " WHERE p.pot <> m.entry_fee * coalesce(c.seats, 0) OR p.pot <> p.platform + p.studio + p.prizes"
        " OR p.platform + p.studio <> p.pot * m.fee_bps / 10000"
        " OR p.studio <> (p.platform + p.studio) * m.studio_share_bps / 10000",
        "{set_id}",
        "Of a pot of {pot}, the platform got {platform}, the studio {studio} and players {prizes}; {seats} seats paid"
        " {entry_fee} each, the fee is {fee_bps} and the studio's share of it {studio_share_bps} basis points.",
    ),
    Check(
        "settlement-of-strangers",
        f"SELECT p.set_id, p.account, p.amount, p.currency FROM (SELECT {_MATCH} AS match_id, set_id, account,"  # noqa: S608
        f" amount, currency FROM postings WHERE {_SETTLES}) AS p JOIN matches m ON m.id = p.match_id"
        " WHERE p.currency <> m.currency OR NOT CASE WHEN p.account = 'escrow:' || m.id THEN p.amount < 0"
        " WHEN p.account = 'house:fees' OR p.account = 'studio:' || m.studio_id THEN p.amount > 0"
        f" WHEN {_starts('p.account', 'player:', 'held:')} THEN p.amount > 0 AND EXISTS (SELECT 1 FROM seats s"
        " WHERE s.match_id = m.id AND s.state = 'confirmed'"
        " AND s.user_id = substr(p.account, strpos(p.account, ':') + 1)) ELSE 1 = 0 END",
        "{set_id}",
        "It posts {amount} {currency} to {account}, which has no such part in this match.",
    ),
    Check(
        "finished-without-outcome",
        "SELECT id FROM matches WHERE status = 'finished' AND outcome IS NULL",
        "match:{id}",
        "The match is finished, and nobody knows how.",
    ),
)

# --- winnings of suspended players -----------------------------------------------------------------------------------

_HELD = (
    Check(
        "held-winnings-differ",
        "SELECT match_id, user_id, currency, sum(kept) AS kept, sum(posted) AS posted FROM ("
        "SELECT match_id, user_id, currency, amount AS kept, 0 AS posted FROM held_winnings UNION ALL"
        f" SELECT {_MATCH}, substr(account, 6), currency, 0, amount FROM postings WHERE {_SETTLES}"  # noqa: S608
        f" AND {_starts('account', 'held:')}) AS both_sides GROUP BY match_id, user_id, currency"
        " HAVING sum(kept) <> sum(posted)",
        "match:{match_id}",
        "Held winnings of {kept} {currency} are noted for player {user_id}, and {posted} was posted.",
    ),
    Check(
        "held-decision-differs",
        f"WITH {_DECISIONS} SELECT coalesce(h.match_id, v.match_id) AS match_id,"  # noqa: S608
        " coalesce(h.user_id, v.member) AS user_id, coalesce(h.state, 'not noted') AS state,"
        " coalesce(h.amount, 0) AS amount, coalesce(v.amount, 0) AS moved, v.target FROM held_winnings h"
        " FULL JOIN held v ON v.match_id = h.match_id AND v.member = h.user_id WHERE h.match_id IS NULL"
        " OR (h.state = 'held') = (v.set_id IS NOT NULL) OR v.parts <> 2 OR v.amount <> h.amount"
        " OR v.currency <> h.currency OR v.source <> 'held:' || h.user_id"
        " OR v.target <> CASE h.state WHEN 'released' THEN 'player:' || h.user_id ELSE 'house:fees' END",
        "match:{match_id}",
        "Winnings of {amount} held for player {user_id} are {state}, and {moved} was moved to {target}.",
    ),
    Check(
        "held-account-differs",
        "SELECT user_id, currency, sum(kept) AS kept, sum(posted) AS posted FROM ("
        "SELECT user_id, currency, amount AS kept, 0 AS posted FROM held_winnings WHERE state = 'held' UNION ALL"
        f" SELECT substr(account, 6), currency, 0, amount FROM postings WHERE {_starts('account', 'held:')}"
        ") AS both_sides GROUP BY user_id, currency HAVING sum(kept) <> sum(posted)",
        "held:{user_id}",
        "Winnings of {kept} {currency} are held, and the account's postings sum to {posted}.",
    ),
)

# --- what matches keep as JSON ---------------------------------------------------------------------------------------

_JSON_COLUMNS = ("outcome", "roster", "team_ids", "prize_shares_bps")


def _readable(column: str, otherwise: str) -> tuple[str, str]:
    """JSON that may be cast or read, for SQLite and for PostgreSQL: what is no JSON is `json-malformed` already."""
    return (
        f"CASE WHEN json_valid(m.{column}) THEN m.{column} ELSE '{otherwise}' END",
        f"CASE WHEN m.id = ANY(%s::text[]) THEN '{otherwise}'::json ELSE coalesce(m.{column}, '{otherwise}')::json END",
    )


_PRIZES = (
    f"SELECT {_MATCH}, substr(account, strpos(account, ':') + 1), CAST(amount AS text), -1 FROM postings"  # noqa: S608
    f" WHERE {_SETTLES} AND {_starts('account', 'player:', 'held:')}"
)
_PAID_DIFFERENTLY = (
    ") AS both_sides GROUP BY match_id, user_id, amount HAVING sum(n) <> 0"  # each prize is once on either side
)
_WINNINGS = "SELECT match_id, user_id, amount, CASE WHEN sum(n) > 0 THEN 'outcome' ELSE 'ledger' END AS side FROM ("
_SEATED = (
    "SELECT s.match_id, s.team_id, s.user_id, s.id, -1 FROM seats s JOIN matches m ON m.id = s.match_id"
    " WHERE s.state = 'confirmed' AND m.status IN ('starting', 'live', 'finished')"
)
_ROSTER = (
    "SELECT match_id, team_id, user_id, seat_id, CASE WHEN sum(n) > 0 THEN 'roster' ELSE 'confirmed seats' END AS side"
    " FROM ("
)
_SEATED_DIFFERENTLY = ") AS both_sides GROUP BY match_id, team_id, user_id, seat_id HAVING sum(n) <> 0"
_STARTED = "m.status IN ('starting', 'live', 'finished')"
_FULL = (
    f"WITH {_CONFIRMED} SELECT id, status, seats, teams, team_size FROM (SELECT m.id, m.status, m.team_size,"  # noqa: S608
    " coalesce(c.seats, 0) AS seats, {teams} AS teams FROM matches m LEFT JOIN confirmed c ON c.match_id = m.id"
    f" WHERE {_STARTED}) AS started WHERE seats <> teams * team_size"
)


def _json_checks() -> Iterator[Check]:
    lite, post = _readable("outcome", "{}")
    yield Check(
        "winnings-differ",
        f"{_WINNINGS} SELECT m.id AS match_id, CASE w.type WHEN 'object' THEN json_extract(w.value, '$.user_id') END"
        " AS user_id, CASE w.type WHEN 'object' THEN CAST(json_extract(w.value, '$.amount') AS text) END AS amount,"
        f" 1 AS n FROM matches m, json_each({lite}, '$.winnings') w UNION ALL {_PRIZES}{_PAID_DIFFERENTLY}",
        "match:{match_id}",
        "A prize of {amount} for player {user_id} is in the {side} alone.",
        postgres=f"{_WINNINGS} SELECT d.id AS match_id, w->>'user_id' AS user_id, w->>'amount' AS amount, 1 AS n"
        f" FROM (SELECT m.id, {post} -> 'winnings' AS winnings FROM matches m) AS d CROSS JOIN LATERAL"
        " json_array_elements(CASE json_typeof(d.winnings) WHEN 'array' THEN d.winnings ELSE '[]' END) AS w"
        f" UNION ALL {_PRIZES}{_PAID_DIFFERENTLY}",
    )
    lite, post = _readable("roster", "[]")
    yield Check(
        "roster-differs",
        f"{_ROSTER} SELECT m.id AS match_id, CASE t.type WHEN 'array' THEN json_extract(t.value, '$[0]') END AS team_id,"
        " CASE p.type WHEN 'array' THEN json_extract(p.value, '$[0]') END AS user_id,"
        " CASE p.type WHEN 'array' THEN json_extract(p.value, '$[1]') END AS seat_id, 1 AS n"
        f" FROM matches m, json_each({lite}) t,"
        f" json_each(CASE t.type WHEN 'array' THEN t.value ELSE '[]' END, '$[1]') p WHERE {_STARTED}"
        f" UNION ALL {_SEATED}{_SEATED_DIFFERENTLY}",
        "match:{match_id}",
        "The seat {seat_id} of player {user_id} in team {team_id} is in the {side} alone.",
        postgres=f"{_ROSTER} SELECT d.id AS match_id, t->>0 AS team_id, p->>0 AS user_id, p->>1 AS seat_id, 1 AS n"
        f" FROM (SELECT m.id, {post} AS roster FROM matches m WHERE {_STARTED}) AS d CROSS JOIN LATERAL"
        " json_array_elements(CASE json_typeof(d.roster) WHEN 'array' THEN d.roster ELSE '[]' END) AS t"
        " CROSS JOIN LATERAL json_array_elements(CASE json_typeof(t->1) WHEN 'array' THEN t->1 ELSE '[]' END) AS p"
        f" UNION ALL {_SEATED}{_SEATED_DIFFERENTLY}",
    )
    lite, post = _readable("team_ids", "[]")
    yield Check(
        "seats-not-full",
        _FULL.replace("{teams}", f"json_array_length({lite})"),
        "match:{id}",
        "The match is {status} with {seats} confirmed seats, and has {teams} teams of {team_size}.",
        postgres=_FULL.replace("{teams}", f"(SELECT count(*) FROM json_array_elements_text({post}))"),
    )


CHECKS: tuple[Check, ...] = (*_LEDGER, *_NUMBERS, *_ACCOUNTS, *_MATCHES, *_ENDS, *_HELD, *_json_checks())
MALFORMED = "json-malformed"
