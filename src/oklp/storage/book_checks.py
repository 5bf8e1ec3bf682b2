"""What would be wrong with the ledger, as queries that find nothing when the books are clean (`books` runs them).

Each check joins what the tables say happened to what was posted. The statements are for both databases: text is taken
apart by `substr` and `strpos` (SQLite calls it `instr`), and no `%` is written, which to one driver is a parameter.
`$name` stands for one of PIECES, in which a posting has the kind and owner of its account and the movement that it is
part of, taken from the id of its set (see `domain.ledger`).
"""

from __future__ import annotations

from string import Template
from typing import NamedTuple

MAX_AMOUNT = 2**53 - 1


class Check(NamedTuple):
    """`row` and `detail` are formats over the columns that `sql` selects.

    A check that reads JSON has another statement for PostgreSQL, `postgres`. Its one parameter is an array of the ids
    of matches whose `column` is not JSON. `only` names the database that a check is for, if it is for one.
    """

    name: str
    row: str
    detail: str
    sql: str
    column: str = ""
    postgres: str = ""
    only: str = ""


# The casts are for SQLite: it makes an index for a join only of columns that are known to be text.
_LEDGER = """ledger AS NOT MATERIALIZED (
    SELECT set_id, account, currency, amount, tx_number, match_id,
        CAST(substr(account, 1, strpos(account || ':', ':') - 1) AS text) AS kind,
        CAST(substr(account, strpos(account || ':', ':') + 1) AS text) AS owner,
        CASE WHEN match_id IS NOT NULL THEN 'match:' ELSE '' END
            || substr(tail, 1, strpos(tail || ':', ':') - 1) AS movement,
        CAST(substr(tail, strpos(tail || ':', ':') + 1) AS text) AS member
    FROM (
        SELECT set_id, account, currency, amount, tx_number,
            CAST(CASE WHEN substr(set_id, 1, 6) = 'match:'
                THEN substr(set_id, 7, strpos(substr(set_id, 7) || ':', ':') - 1) END AS text) AS match_id,
            CASE WHEN substr(set_id, 1, 6) = 'match:'
                THEN substr(set_id, 7 + strpos(substr(set_id, 7) || ':', ':')) ELSE set_id END AS tail
        FROM postings
    ) AS split_up
)"""


def _moves(name: str, *movements: str) -> str:
    """The sets of some movements: from whom to whom, and how much. A sound one has two parts."""
    listed = ", ".join(f"'{movement}'" for movement in movements)
    return f"""{_LEDGER}, {name} AS (
    SELECT set_id, CAST(min(match_id) AS text) AS match_id, CAST(min(member) AS text) AS member,
        min(currency) AS currency, count(*) AS parts,
        max(CASE WHEN amount < 0 THEN account END) AS source, max(CASE WHEN amount > 0 THEN account END) AS target,
        max(amount) AS amount
    FROM ledger WHERE movement IN ({listed}) GROUP BY set_id
)"""  # noqa: S608


_MATCH_MOVES = _moves("hold", "match:hold") + _moves("refund", "match:refund").removeprefix(_LEDGER)

PIECES = {
    "ledger": _LEDGER,
    "holds": _moves("hold", "match:hold"),
    "holds_refunds": _MATCH_MOVES,
    "decisions": _moves("decision", "match:held"),
    "payments": _moves("payment", "deposit", "withdrawal"),
    "grants": _moves("given", "grant"),
    "settlements": """settlement AS (
    SELECT set_id, CAST(min(match_id) AS text) AS match_id,
        CAST(-sum(CASE WHEN kind = 'escrow' THEN amount ELSE 0 END) AS bigint) AS pot,
        CAST(sum(CASE WHEN kind = 'house' THEN amount ELSE 0 END) AS bigint) AS platform,
        CAST(sum(CASE WHEN kind = 'studio' THEN amount ELSE 0 END) AS bigint) AS studio,
        CAST(sum(CASE WHEN kind IN ('player', 'held') THEN amount ELSE 0 END) AS bigint) AS prizes
    FROM ledger WHERE movement = 'match:settle' GROUP BY set_id
)""",
    "escrows": f"""{_LEDGER}, escrow AS (
    SELECT owner AS match_id, currency, sum(amount) AS posted
    FROM ledger WHERE kind = 'escrow' GROUP BY owner, currency
)""",  # noqa: S608
    "seated": """seated AS (
    SELECT match_id, count(*) AS seats FROM seats WHERE state = 'confirmed' GROUP BY match_id
)""",
    "started": "m.status IN ('starting', 'live', 'finished')",
    # A fee stays in escrow while the match goes on, and is paid out when it is settled; in all other cases it goes back
    "stays": """(s.state = 'confirmed'
    AND (m.status IN ('pending', 'starting', 'live') OR p.match_id IS NOT NULL))""",
    "max_amount": str(MAX_AMOUNT),
    # JSON that may be read, whatever is there: what cannot be is found by itself.
    "outcome": "CASE WHEN json_valid(m.outcome) THEN m.outcome ELSE '{}' END",
    "roster": "CASE WHEN json_valid(m.roster) THEN m.roster ELSE '[]' END",
    "team_ids": "CASE WHEN json_valid(m.team_ids) THEN m.team_ids ELSE '[]' END",
    "pg_outcome": "CASE WHEN m.id = ANY(%s::text[]) THEN '{}' ELSE coalesce(m.outcome, '{}')::json END",
    "pg_roster": "CASE WHEN m.id = ANY(%s::text[]) THEN '[]' ELSE coalesce(m.roster, '[]')::json END",
    "pg_team_ids": "CASE WHEN m.id = ANY(%s::text[]) THEN '[]' ELSE m.team_ids::json END",
}


def _sql(text: str) -> str:
    return Template(text).substitute(PIECES)


def _check(name: str, row: str, detail: str, sql: str, *, column: str = "", postgres: str = "") -> Check:
    return Check(name, row, detail, _sql(sql), column, _sql(postgres))


# --- the ledger by itself --------------------------------------------------------------------------------------------

LEDGER = (
    _check(
        "posting-set-not-whole",
        "{set_id}",
        "It has {found} postings, numbered {first} to {last}, which say they are of {least} (at the most {most}).",
        """SELECT set_id, count(*) AS found, min(n) AS first, max(n) AS last, min("of") AS least, max("of") AS most
        FROM postings GROUP BY set_id
        HAVING count(*) <> max("of") OR min("of") <> max("of") OR min(n) <> 0 OR max(n) <> count(*) - 1""",
    ),
    _check(
        "posting-set-mixed",
        "{set_id}",
        "Its postings are in {one} to {other}, at {first} to {last}, of the transactions {least} to {most}.",
        """SELECT set_id, min(currency) AS one, max(currency) AS other, min(at) AS first, max(at) AS last,
            min(tx_number) AS least, max(tx_number) AS most
        FROM postings GROUP BY set_id
        HAVING min(currency) <> max(currency) OR min(at) <> max(at) OR min(tx_number) <> max(tx_number)""",
    ),
    _check(
        "posting-set-unbalanced",
        "{set_id}",
        "Its postings sum to {total} {currency} and not to zero.",
        """SELECT set_id, currency, sum(amount) AS total
        FROM postings GROUP BY set_id, currency HAVING sum(amount) <> 0""",
    ),
    _check(
        "ledger-unbalanced",
        "{currency}",
        "All postings in {currency} sum to {total} and not to zero.",
        "SELECT currency, sum(amount) AS total FROM postings GROUP BY currency HAVING sum(amount) <> 0",
    ),
    _check(
        "purpose-unknown",
        "{set_id}",
        "It is not the id of any movement of money; {found} postings have it.",
        """WITH $ledger SELECT set_id, count(*) AS found FROM ledger
        WHERE NOT CASE movement
            WHEN 'match:hold' THEN match_id <> '' AND member <> ''
            WHEN 'match:settle' THEN match_id <> '' AND set_id = 'match:' || match_id || ':settle'
            WHEN 'match:refund' THEN match_id <> '' AND member <> ''
            WHEN 'match:held' THEN match_id <> '' AND member <> ''
            WHEN 'deposit' THEN member <> ''
            WHEN 'withdrawal' THEN member <> ''
            WHEN 'grant' THEN member <> ''
            ELSE false END
        GROUP BY set_id""",
    ),
    _check(
        "account-unknown",
        "{account}",
        "It is not an account; {found} postings give it {total} {currency}.",
        """WITH $ledger SELECT account, currency, sum(amount) AS total, count(*) AS found FROM ledger
        WHERE account <> 'house:fees'
            AND NOT (kind IN ('player', 'escrow', 'held', 'studio', 'clearing') AND owner <> '')
        GROUP BY account, currency""",
    ),
    _check(
        "account-of-nobody",
        "{account}",
        "It has postings of {total} {currency}, and there is nobody whose account it is.",
        """WITH $ledger SELECT a.account, a.currency, a.total FROM (
            SELECT account, currency, kind, owner, sum(amount) AS total
            FROM ledger GROUP BY account, currency, kind, owner
        ) AS a
        LEFT JOIN players p ON p.id = a.owner LEFT JOIN matches m ON m.id = a.owner
        LEFT JOIN studios s ON s.id = a.owner
        WHERE (a.kind IN ('player', 'held') AND p.id IS NULL) OR (a.kind = 'escrow' AND m.id IS NULL)
            OR (a.kind = 'studio' AND s.id IS NULL)""",
    ),
    _check(
        "account-overdrawn",
        "{account}",
        "Its balance is {total} {currency}; only the accounts of payment providers go below zero.",
        """WITH $ledger SELECT account, currency, sum(amount) AS total FROM ledger
        WHERE kind <> 'clearing' GROUP BY account, currency HAVING sum(amount) < 0""",
    ),
    _check(
        "grant-differs",
        "{set_id}",
        "It moves {amount} from {source} to {target} in {parts} postings, and is not a grant to one player.",
        """WITH $grants SELECT set_id, source, target, amount, parts FROM given
        WHERE parts <> 2 OR coalesce(source, '') <> 'clearing:grant'
            OR substr(coalesce(target, ''), 1, 7) <> 'player:'""",
    ),
)

# --- integers --------------------------------------------------------------------------------------------------------


class _Column(NamedTuple):
    """A column that holds an integer; money has a least amount as well."""

    table: str
    row: str
    name: str
    least: int | None = None


_SET = "set_id"
_MATCH = "'match:' || id"
_COLUMNS = (
    _Column("postings", _SET, "n"),
    _Column("postings", _SET, '"of"'),
    _Column("postings", _SET, "amount", -MAX_AMOUNT),
    _Column("postings", _SET, "at"),
    _Column("postings", _SET, "tx_number"),
    _Column("balances", "'player:' || user_id", "balance", 0),
    _Column("matches", _MATCH, "entry_fee", 0),
    _Column("matches", _MATCH, "escrow", 0),
    _Column("matches", _MATCH, "fee_bps"),
    _Column("matches", _MATCH, "studio_share_bps"),
    _Column("matches", _MATCH, "team_size"),
    _Column("payments", "kind || ':' || id", "amount", 1),
    _Column("held_winnings", "'match:' || match_id || ':held:' || user_id", "amount", 1),
    _Column("rollups", "account", "balance", -MAX_AMOUNT),
    _Column("rollups", "account", "below_tx_number"),
)

INTEGERS = (
    # SQLite keeps in a column whatever it is given.
    Check(
        "amount-not-an-integer",
        "{row_name}",
        "Its {what} is the {kind} {value}.",
        " UNION ALL ".join(
            f"SELECT {c.row} AS row_name, '{c.name}' AS what, typeof({c.name}) AS kind,"  # noqa: S608
            f" CAST({c.name} AS text) AS value FROM {c.table} WHERE typeof({c.name}) <> 'integer'"
            for c in _COLUMNS
        ),
        only="sqlite",
    ),
    Check(
        "amount-out-of-range",
        "{row_name}",
        f"Its {{what}} is {{value}}, and must be between {{least}} and {MAX_AMOUNT}.",
        " UNION ALL ".join(
            f"SELECT {c.row} AS row_name, '{c.name}' AS what, {c.name} AS value, {c.least} AS least"  # noqa: S608
            f" FROM {c.table} WHERE {c.name} < {c.least} OR {c.name} > {MAX_AMOUNT}"
            for c in _COLUMNS
            if c.least is not None
        ),
    ),
)

# --- what is kept beside the ledger ----------------------------------------------------------------------------------

BALANCES = (
    _check(
        "balance-differs",
        "player:{user_id}",
        "The balance is {kept} {currency}, and its postings sum to {posted}.",
        """WITH $ledger SELECT user_id, currency, sum(kept) AS kept, sum(posted) AS posted FROM (
            SELECT user_id, currency, balance AS kept, 0 AS posted FROM balances
            UNION ALL SELECT owner, currency, 0, amount FROM ledger WHERE kind = 'player'
        ) AS both_sides GROUP BY user_id, currency HAVING sum(kept) <> sum(posted)""",
    ),
    _check(
        "balance-missing",
        "{account}",
        "There are postings of {posted} {currency}, and no balance.",
        """WITH $ledger SELECT l.account, l.currency, sum(l.amount) AS posted FROM ledger l
        LEFT JOIN balances b ON b.user_id = l.owner AND b.currency = l.currency
        WHERE l.kind = 'player' AND b.user_id IS NULL GROUP BY l.account, l.currency""",
    ),
    _check(
        "rollup-differs",
        "{account}",
        "The roll-up is {balance} {currency}, and the postings below {below_tx_number} sum to {posted}.",
        """SELECT r.account, r.currency, r.balance, r.below_tx_number, coalesce(sum(p.amount), 0) AS posted
        FROM rollups r LEFT JOIN postings p
            ON p.account = r.account AND p.currency = r.currency AND p.tx_number < r.below_tx_number
        GROUP BY r.account, r.currency, r.balance, r.below_tx_number HAVING r.balance <> coalesce(sum(p.amount), 0)""",
    ),
    _check(
        "rollup-missing",
        "{account}",
        "The account is rolled up below {below}, and postings of {posted} {currency} there are in no roll-up.",
        # A balance is the roll-ups of its account and the postings since: all its currencies must end at one number.
        """SELECT p.account, p.currency, sum(p.amount) AS posted, max(r.below) AS below FROM postings p
        JOIN (SELECT account, max(below_tx_number) AS below FROM rollups GROUP BY account) r ON r.account = p.account
        LEFT JOIN rollups o ON o.account = p.account AND o.currency = p.currency AND o.below_tx_number = r.below
        WHERE p.tx_number < r.below AND o.account IS NULL GROUP BY p.account, p.currency""",
    ),
    _check(
        "payment-not-posted",
        "{kind}:{id}",
        "The payment of {amount} {currency} by player {user_id} through {provider} was posted as {posted}"
        " from {source} to {target}.",
        """WITH $payments SELECT y.kind, y.id, y.user_id, y.amount, y.currency, y.provider,
            coalesce(v.amount, 0) AS posted, v.source, v.target
        FROM payments y LEFT JOIN payment v ON v.set_id = y.kind || ':' || y.id
        WHERE v.set_id IS NULL OR v.parts <> 2 OR v.amount <> y.amount OR v.currency <> y.currency
            OR coalesce(v.source, '') <>
                CASE y.kind WHEN 'deposit' THEN 'clearing:' || y.provider ELSE 'player:' || y.user_id END
            OR coalesce(v.target, '') <>
                CASE y.kind WHEN 'deposit' THEN 'player:' || y.user_id ELSE 'clearing:' || y.provider END""",
    ),
    _check(
        "posting-of-no-payment",
        "{set_id}",
        "It moves {amount} {currency}, and there is no such payment.",
        """WITH $payments SELECT v.set_id, v.amount, v.currency FROM payment v LEFT JOIN payments y ON y.id = v.member
        WHERE y.id IS NULL OR v.set_id <> y.kind || ':' || y.id""",
    ),
)

# --- matches while they go on ----------------------------------------------------------------------------------------

MATCHES = (
    _check(
        "escrow-differs",
        "match:{id}",
        "The escrow is {escrow} {currency}, and its postings sum to {posted}.",
        """WITH $escrows SELECT m.id, m.escrow, m.currency, coalesce(e.posted, 0) AS posted FROM matches m
        LEFT JOIN escrow e ON e.match_id = m.id AND e.currency = m.currency WHERE m.escrow <> coalesce(e.posted, 0)""",
    ),
    _check(
        "escrow-in-another-currency",
        "match:{id}",
        "The match is in {currency}, and its escrow has postings of {posted} {other}.",
        """WITH $escrows SELECT m.id, m.currency, e.currency AS other, e.posted
        FROM escrow e JOIN matches m ON m.id = e.match_id WHERE e.currency <> m.currency""",
    ),
    _check(
        "escrow-after-the-end",
        "match:{id}",
        "The match is {status}, and its escrow still holds {posted} {currency}.",
        """WITH $escrows SELECT m.id, m.status, e.posted, e.currency
        FROM escrow e JOIN matches m ON m.id = e.match_id
        WHERE m.status IN ('finished', 'aborted') AND e.posted <> 0""",
    ),
    _check(
        "escrow-not-the-fees",
        "match:{id}",
        "The match is {status} with {escrow} in escrow, and {seats} confirmed seats pay {entry_fee} each.",
        """WITH $seated SELECT m.id, m.status, m.escrow, m.entry_fee, coalesce(c.seats, 0) AS seats
        FROM matches m LEFT JOIN seated c ON c.match_id = m.id
        WHERE m.status IN ('pending', 'starting', 'live') AND m.escrow <> m.entry_fee * coalesce(c.seats, 0)""",
    ),
    _check(
        "seats-not-full",
        "match:{id}",
        "The match is {status} with {seats} confirmed seats, and has {teams} teams of {team_size}.",
        """WITH $seated SELECT id, status, seats, teams, team_size FROM (
            SELECT m.id, m.status, m.team_size, coalesce(c.seats, 0) AS seats, json_array_length($team_ids) AS teams
            FROM matches m LEFT JOIN seated c ON c.match_id = m.id WHERE $started
        ) AS started WHERE seats <> teams * team_size""",
        column="team_ids",
        postgres="""WITH $seated SELECT id, status, seats, teams, team_size FROM (
            SELECT m.id, m.status, m.team_size, coalesce(c.seats, 0) AS seats, json_array_length($pg_team_ids) AS teams
            FROM matches m LEFT JOIN seated c ON c.match_id = m.id WHERE $started
        ) AS started WHERE seats <> teams * team_size""",
    ),
    _check(
        "roster-differs",
        "match:{match_id}",
        "The seat {seat_id} of player {user_id} in team {team_id} is in the {side} alone.",
        """SELECT match_id, team_id, user_id, seat_id, CASE WHEN sum(n) > 0 THEN 'roster' ELSE 'seats' END AS side
        FROM (
            SELECT m.id AS match_id, CASE t.type WHEN 'array' THEN json_extract(t.value, '$$[0]') END AS team_id,
                CASE p.type WHEN 'array' THEN json_extract(p.value, '$$[0]') END AS user_id,
                CASE p.type WHEN 'array' THEN json_extract(p.value, '$$[1]') END AS seat_id, 1 AS n
            FROM matches m, json_each($roster) t,
                json_each(CASE t.type WHEN 'array' THEN t.value ELSE '[]' END, '$$[1]') p WHERE $started
            UNION ALL
            SELECT s.match_id, s.team_id, s.user_id, s.id, -1 FROM seats s JOIN matches m ON m.id = s.match_id
            WHERE s.state = 'confirmed' AND $started
        ) AS both_sides GROUP BY match_id, team_id, user_id, seat_id HAVING sum(n) <> 0""",
        column="roster",
        postgres="""SELECT match_id, team_id, user_id, seat_id,
            CASE WHEN sum(n) > 0 THEN 'roster' ELSE 'seats' END AS side
        FROM (
            SELECT d.id AS match_id, t ->> 0 AS team_id, p ->> 0 AS user_id, p ->> 1 AS seat_id, 1 AS n
            FROM (SELECT m.id, $pg_roster AS roster FROM matches m WHERE $started) AS d
            CROSS JOIN LATERAL json_array_elements(
                CASE json_typeof(d.roster) WHEN 'array' THEN d.roster ELSE '[]' END) AS t
            CROSS JOIN LATERAL json_array_elements(
                CASE json_typeof(t -> 1) WHEN 'array' THEN t -> 1 ELSE '[]' END) AS p
            UNION ALL
            SELECT s.match_id, s.team_id, s.user_id, s.id, -1 FROM seats s JOIN matches m ON m.id = s.match_id
            WHERE s.state = 'confirmed' AND $started
        ) AS both_sides GROUP BY match_id, team_id, user_id, seat_id HAVING sum(n) <> 0""",
    ),
    _check(
        "hold-missing",
        "match:{match_id}",
        "The seat {id} is confirmed, and its fee of {entry_fee} {currency} was never held.",
        """WITH $holds SELECT s.id, m.id AS match_id, m.entry_fee, m.currency
        FROM seats s JOIN matches m ON m.id = s.match_id
        LEFT JOIN hold h ON h.set_id = 'match:' || m.id || ':hold:' || s.id
        WHERE s.state = 'confirmed' AND m.entry_fee > 0 AND h.set_id IS NULL""",
    ),
    _check(
        "hold-differs",
        "{set_id}",
        "It moves {amount} {currency} from {source} to {target}; the seat is of player {user_id} and the fee is"
        " {entry_fee}.",
        """WITH $holds SELECT h.set_id, h.source, h.target, h.amount, h.currency, s.user_id, m.entry_fee
        FROM hold h LEFT JOIN matches m ON m.id = h.match_id
        LEFT JOIN seats s ON s.id = h.member AND s.match_id = h.match_id
        WHERE m.id IS NULL OR s.id IS NULL OR h.parts <> 2 OR h.amount <> m.entry_fee OR h.currency <> m.currency
            OR coalesce(h.source, '') <> 'player:' || s.user_id OR coalesce(h.target, '') <> 'escrow:' || m.id""",
    ),
    _check(
        "refund-differs",
        "{set_id}",
        "It moves {amount} {currency} from {source} to {target}, and {held} was held for this seat.",
        """WITH $holds_refunds SELECT r.set_id, r.amount, r.currency, r.source, r.target, coalesce(h.amount, 0) AS held
        FROM refund r LEFT JOIN hold h ON h.set_id = 'match:' || r.match_id || ':hold:' || r.member
        WHERE h.set_id IS NULL OR r.parts <> 2 OR r.amount <> h.amount OR r.currency <> h.currency
            OR coalesce(r.source, '') <> h.target OR coalesce(r.target, '') <> h.source""",
    ),
    _check(
        "refund-missing",
        "{set_id}",
        "{amount} {currency} was held and never went back; the seat is {state}, the match {status} and {settled}.",
        """WITH $holds_refunds, $settlements SELECT h.set_id, h.amount, h.currency, s.state, m.status,
            CASE WHEN p.match_id IS NULL THEN 'not settled' ELSE 'settled' END AS settled
        FROM hold h JOIN seats s ON s.id = h.member AND s.match_id = h.match_id JOIN matches m ON m.id = h.match_id
        LEFT JOIN refund r ON r.set_id = 'match:' || h.match_id || ':refund:' || h.member
        LEFT JOIN settlement p ON p.match_id = h.match_id WHERE r.set_id IS NULL AND NOT $stays""",
    ),
    _check(
        "refund-undue",
        "{set_id}",
        "{amount} {currency} went back; the seat is {state}, the match {status} and {settled}.",
        """WITH $holds_refunds, $settlements SELECT r.set_id, r.amount, r.currency, s.state, m.status,
            CASE WHEN p.match_id IS NULL THEN 'not settled' ELSE 'settled' END AS settled
        FROM refund r JOIN seats s ON s.id = r.member AND s.match_id = r.match_id JOIN matches m ON m.id = r.match_id
        LEFT JOIN settlement p ON p.match_id = r.match_id WHERE $stays""",
    ),
)

# --- matches at their end --------------------------------------------------------------------------------------------

ENDS = (
    _check(
        "settled-and-not-finished",
        "{set_id}",
        "It pays out {pot}, and the match is {status} with a fee of {entry_fee}.",
        """WITH $ledger, $settlements SELECT p.set_id, p.pot, coalesce(m.status, 'unknown') AS status,
            coalesce(m.entry_fee, 0) AS entry_fee
        FROM settlement p LEFT JOIN matches m ON m.id = p.match_id
        WHERE coalesce(m.status, '') <> 'finished' OR m.entry_fee = 0""",
    ),
    _check(
        "finished-and-not-paid-out",
        "match:{id}",
        "The match is finished and was not settled, and {back} of {seats} fees went back.",
        """WITH $holds_refunds, $settlements, $seated, refunded AS (
            SELECT r.match_id, count(*) AS seats FROM refund r
            JOIN seats s ON s.id = r.member AND s.match_id = r.match_id AND s.state = 'confirmed' GROUP BY r.match_id
        ) SELECT m.id, coalesce(c.seats, 0) AS seats, coalesce(b.seats, 0) AS back FROM matches m
        LEFT JOIN settlement p ON p.match_id = m.id LEFT JOIN seated c ON c.match_id = m.id
        LEFT JOIN refunded b ON b.match_id = m.id
        WHERE m.status = 'finished' AND m.entry_fee > 0 AND p.match_id IS NULL
            AND coalesce(b.seats, 0) < coalesce(c.seats, 1)""",
    ),
    _check(
        "finished-without-outcome",
        "match:{id}",
        "The match is finished, and nothing says how.",
        "SELECT id FROM matches WHERE status = 'finished' AND outcome IS NULL",
    ),
    _check(
        "settlement-arithmetic",
        "{set_id}",
        "Of a pot of {pot}, the platform got {platform}, the studio {studio} and players {prizes}; {seats} seats paid"
        " {entry_fee} each, the fee is {fee_bps} and the studio's share of it {studio_share_bps} basis points.",
        """WITH $ledger, $settlements, $seated SELECT p.set_id, p.pot, p.platform, p.studio, p.prizes,
            coalesce(c.seats, 0) AS seats, m.entry_fee, m.fee_bps, m.studio_share_bps
        FROM settlement p JOIN matches m ON m.id = p.match_id LEFT JOIN seated c ON c.match_id = m.id
        WHERE p.pot <> m.entry_fee * coalesce(c.seats, 0) OR p.pot <> p.platform + p.studio + p.prizes
            OR p.platform + p.studio <> p.pot * m.fee_bps / 10000
            OR p.studio <> (p.platform + p.studio) * m.studio_share_bps / 10000""",
    ),
    _check(
        "settlement-of-strangers",
        "{set_id}",
        "It posts {amount} {currency} to {account}, which has no such part in this match.",
        """WITH $ledger SELECT l.set_id, l.account, l.amount, l.currency
        FROM ledger l JOIN matches m ON m.id = l.match_id WHERE l.movement = 'match:settle'
            AND (l.currency <> m.currency OR NOT CASE
                WHEN l.account = 'escrow:' || m.id THEN l.amount < 0
                WHEN l.account = 'house:fees' OR l.account = 'studio:' || m.studio_id THEN l.amount > 0
                WHEN l.kind IN ('player', 'held') THEN l.amount > 0 AND EXISTS (
                    SELECT 1 FROM seats s WHERE s.match_id = m.id AND s.user_id = l.owner AND s.state = 'confirmed')
                ELSE false END)""",
    ),
    _check(
        "winnings-differ",
        "match:{match_id}",
        "A prize of {amount} for player {user_id} is in the {side} alone.",
        """WITH $ledger
        SELECT match_id, user_id, amount, CASE WHEN sum(n) > 0 THEN 'outcome' ELSE 'ledger' END AS side FROM (
            SELECT m.id AS match_id, CASE w.type WHEN 'object' THEN json_extract(w.value, '$$.user_id') END AS user_id,
                CASE w.type WHEN 'object' THEN CAST(json_extract(w.value, '$$.amount') AS text) END AS amount, 1 AS n
            FROM matches m, json_each($outcome, '$$.winnings') w
            UNION ALL SELECT match_id, owner, CAST(amount AS text), -1 FROM ledger
            WHERE movement = 'match:settle' AND kind IN ('player', 'held')
        ) AS both_sides GROUP BY match_id, user_id, amount HAVING sum(n) <> 0""",
        column="outcome",
        postgres="""WITH $ledger
        SELECT match_id, user_id, amount, CASE WHEN sum(n) > 0 THEN 'outcome' ELSE 'ledger' END AS side FROM (
            SELECT d.id AS match_id, w ->> 'user_id' AS user_id, w ->> 'amount' AS amount, 1 AS n
            FROM (SELECT m.id, $pg_outcome -> 'winnings' AS winnings FROM matches m) AS d
            CROSS JOIN LATERAL json_array_elements(
                CASE json_typeof(d.winnings) WHEN 'array' THEN d.winnings ELSE '[]' END) AS w
            UNION ALL SELECT match_id, owner, CAST(amount AS text), -1 FROM ledger
            WHERE movement = 'match:settle' AND kind IN ('player', 'held')
        ) AS both_sides GROUP BY match_id, user_id, amount HAVING sum(n) <> 0""",
    ),
)

# --- winnings of suspended players -----------------------------------------------------------------------------------

HELD = (
    _check(
        "held-winnings-differ",
        "match:{match_id}",
        "Held winnings of {kept} {currency} are noted for player {user_id}, and {posted} was posted.",
        """WITH $ledger SELECT match_id, user_id, currency, sum(kept) AS kept, sum(posted) AS posted FROM (
            SELECT match_id, user_id, currency, amount AS kept, 0 AS posted FROM held_winnings
            UNION ALL SELECT match_id, owner, currency, 0, amount FROM ledger
            WHERE movement = 'match:settle' AND kind = 'held'
        ) AS both_sides GROUP BY match_id, user_id, currency HAVING sum(kept) <> sum(posted)""",
    ),
    _check(
        "held-account-differs",
        "held:{user_id}",
        "Winnings of {kept} {currency} are held, and the account's postings sum to {posted}.",
        """WITH $ledger SELECT user_id, currency, sum(kept) AS kept, sum(posted) AS posted FROM (
            SELECT user_id, currency, amount AS kept, 0 AS posted FROM held_winnings WHERE state = 'held'
            UNION ALL SELECT owner, currency, 0, amount FROM ledger WHERE kind = 'held'
        ) AS both_sides GROUP BY user_id, currency HAVING sum(kept) <> sum(posted)""",
    ),
    _check(
        "held-decision-differs",
        "match:{match_id}",
        "Winnings of {amount} {currency} for player {user_id} are {state}, and {moved} was moved to {target}.",
        """WITH $decisions SELECT h.match_id, h.user_id, h.state, h.amount, h.currency,
            coalesce(v.amount, 0) AS moved, v.target
        FROM held_winnings h
        LEFT JOIN decision v ON v.set_id = 'match:' || h.match_id || ':held:' || h.user_id
        WHERE (h.state = 'held') = (v.set_id IS NOT NULL)
            OR v.parts <> 2 OR v.amount <> h.amount OR v.currency <> h.currency
            OR coalesce(v.source, 'held:' || h.user_id) <> 'held:' || h.user_id
            OR coalesce(v.target, '') <> CASE h.state WHEN 'released' THEN 'player:' || h.user_id
                WHEN 'confiscated' THEN 'house:fees' ELSE '' END""",
    ),
    _check(
        "held-decision-of-nothing",
        "{set_id}",
        "It moves {amount} {currency} to {target}, and no such winnings were held.",
        """WITH $decisions SELECT v.set_id, v.amount, v.currency, v.target FROM decision v
        LEFT JOIN held_winnings h ON h.match_id = v.match_id AND h.user_id = v.member WHERE h.match_id IS NULL""",
    ),
)

CHECKS: tuple[Check, ...] = (*LEDGER, *INTEGERS, *BALANCES, *MATCHES, *ENDS, *HELD)
JSON_COLUMNS = ("outcome", "roster", "team_ids", "prize_shares_bps")
