"""Postings, balances, roll-ups and payments. Only `services.ledger` and `services.books` call these."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from oklp.domain.ledger import held_purpose, player_account
from oklp.storage import schema, sets
from oklp.storage.engine import horizon
from oklp.storage.tx import Row, Tx

_POSTING = ("set_id", "n", "of", "account", "currency", "amount", "at", "tx_number")


class Balance(NamedTuple):
    amount: int
    held: bool  # winnings go to the held account: the player is suspended


def insert_postings(tx: Tx, rows: list[tuple[Any, ...]]) -> None:
    """Rows are (set_id, n, of, account, currency, amount, at). A set that exists already breaks a UNIQUE."""
    number = tx.number
    sets.insert_rows(tx, schema.postings, _POSTING, [(*row, number) for row in rows])


def posted(tx: Tx, set_ids: Iterable[str]) -> frozenset[str]:
    """Those of the sets that are there."""
    rows = sets.select_in(tx, "SELECT set_id FROM postings WHERE n = 0 AND set_id {in}", sorted(set_ids))
    return frozenset(row[0] for row in rows)


def ensure_balances(tx: Tx, keys: Iterable[tuple[str, str]]) -> None:
    """Make the balance rows of (user_id, currency) that are not there yet; a suspended player's start as held."""
    for user_id, currency in sorted(set(keys)):
        tx.execute(_ENSURE_BALANCE, {"user_id": user_id, "currency": currency})


# SQLite reads ON after a bare SELECT as a join constraint: it wants a WHERE before it.
_ENSURE_BALANCE = sa.text("""
    INSERT INTO balances (user_id, currency, balance, held)
    SELECT CAST(:user_id AS text), CAST(:currency AS text), 0,
        EXISTS (SELECT 1 FROM players WHERE id = :user_id AND status = 'suspended')
    WHERE true
    ON CONFLICT DO NOTHING
""")


def lock_balances(tx: Tx, user_ids: Iterable[str]) -> dict[tuple[str, str], Balance]:
    """Lock every balance of these players, in id order."""
    wanted = sorted(set(user_ids))
    if not wanted:
        return {}
    rows = sets.select_in(
        tx,
        "SELECT user_id, currency, balance, held FROM balances WHERE user_id {in}"
        " ORDER BY user_id, currency FOR UPDATE",
        wanted,
    )
    return {(row[0], row[1]): Balance(row[2], bool(row[3])) for row in rows}


def add_to_balances(tx: Tx, deltas: Mapping[tuple[str, str], int]) -> None:
    rows = [(amount, user_id, currency) for (user_id, currency), amount in sorted(deltas.items()) if amount]
    sets.update_rows(tx, schema.balances, (), ("user_id", "currency"), rows, adds=("balance",))


def hold_winnings_of(tx: Tx, user_id: str, held: bool) -> None:
    tx.execute(schema.balances.update().where(schema.balances.c.user_id == user_id).values(held=held))


def balances_of(tx: Tx, user_id: str) -> Sequence[Row]:
    b = schema.balances
    return tx.rows(sa.select(b.c.currency, b.c.balance).where(b.c.user_id == user_id).order_by(b.c.currency))


def in_escrow(tx: Tx, user_id: str) -> dict[str, int]:
    """What the player has paid into matches that are not over, by currency.

    Every page shows a balance, and somebody may have had a hundred thousand seats: only those are looked at that are
    in matches from the oldest open one on. Ids follow time, and even if they did not, none would be left out.
    """
    return {row[0]: int(row[1]) for row in tx.rows(IN_ESCROW, {"user_id": user_id})}


# The states stand in the text, so that both databases know the index on open matches to be meant.
IN_ESCROW = sa.text("""
    SELECT m.currency, sum(m.entry_fee) FROM seats s JOIN matches m ON m.id = s.match_id
    WHERE s.user_id = :user_id AND s.state = 'confirmed' AND m.status IN ('pending', 'starting', 'live')
        AND s.match_id >= (SELECT min(id) FROM matches WHERE status IN ('pending', 'starting', 'live'))
    GROUP BY m.currency
""")


def held(tx: Tx, user_id: str) -> dict[str, int]:
    """Winnings of the player about which an operator has yet to decide, by currency."""
    h = schema.held_winnings
    mine = sa.select(h.c.currency, sa.func.sum(h.c.amount)).where(h.c.user_id == user_id, h.c.state == "held")
    return {row[0]: int(row[1]) for row in tx.execute(mine.group_by(h.c.currency))}


def statement(tx: Tx, user_id: str, before: tuple[int, int] | None, limit: int) -> Sequence[Row]:
    """Postings of a player, newest first, from before the place (tx_number, seq).

    `balance` of the first one in a currency is what there was after it: today's balance, less what came since. It is
    of the same statement, so that nothing is posted between the two.
    """
    p, b = schema.postings, schema.balances
    mine = p.c.account == player_account(user_id)
    balance: sa.ColumnElement[int] = b.c.balance
    source: sa.FromClause = p.join(b, sa.and_(b.c.user_id == user_id, b.c.currency == p.c.currency))
    wanted = [mine]
    if before is not None:
        place, at = sa.tuple_(p.c.tx_number, p.c.seq), sa.tuple_(*map(sa.literal, before))
        newer = (
            sa.select(p.c.currency, sa.func.sum(p.c.amount).label("moved"))
            .where(mine, place >= at)
            .group_by(p.c.currency)
            .cte("newer")
        )
        source = source.outerjoin(newer, newer.c.currency == p.c.currency)
        balance = b.c.balance - sa.func.coalesce(newer.c.moved, 0)
        wanted.append(place < at)
    statement = sa.select(p, balance.label("balance")).select_from(source).where(*wanted)
    return tx.rows(statement.order_by(p.c.tx_number.desc(), p.c.seq.desc()).limit(limit))


def seats_of(tx: Tx, user_id: str, match_id: str) -> list[str]:
    """Every seat that a player has ever had in a match."""
    s = schema.seats
    return [row[0] for row in tx.rows(sa.select(s.c.id).where(s.c.user_id == user_id, s.c.match_id == match_id))]


def places_of(tx: Tx, account: str, set_ids: Sequence[str]) -> Sequence[Row]:
    """(tx_number, seq) of an account's postings in these sets."""
    p = schema.postings
    return tx.rows(sa.select(p.c.tx_number, p.c.seq).where(p.c.set_id.in_(set_ids), p.c.account == account))


def entries_of(tx: Tx, account: str, before: tuple[int, int] | None, limit: int) -> Sequence[Row]:
    """Postings of an account, newest first, from before the cursor (tx_number, seq)."""
    p = schema.postings
    statement = sa.select(p).where(p.c.account == account)
    if before is not None:
        statement = statement.where(sa.tuple_(p.c.tx_number, p.c.seq) < sa.tuple_(*map(sa.literal, before)))
    return tx.rows(statement.order_by(p.c.tx_number.desc(), p.c.seq.desc()).limit(limit))


def postings_of_match(tx: Tx, match_id: str) -> Sequence[Row]:
    """Oldest first. By its escrow's account, for which there is an index, and the sets that moved what was held."""
    p, h = schema.postings, schema.held_winnings
    through_escrow = tx.rows(sa.select(p.c.set_id).where(p.c.account == f"escrow:{match_id}").distinct())
    held = tx.rows(sa.select(h.c.user_id).where(h.c.match_id == match_id))
    set_ids = [row[0] for row in through_escrow] + [held_purpose(match_id, row[0]) for row in held]
    return postings_of_sets(tx, set_ids) if set_ids else []


def insert_payment(tx: Tx, **values: Any) -> None:
    tx.execute(schema.payments.insert(), values)


def payment(tx: Tx, payment_id: str) -> Row | None:
    y = schema.payments
    return tx.row(sa.select(y).where(y.c.id == payment_id))


def postings_of_sets(tx: Tx, set_ids: Sequence[str]) -> Sequence[Row]:
    """Oldest first."""
    p = schema.postings
    return tx.rows(sa.select(p).where(p.c.set_id.in_(set_ids)).order_by(p.c.tx_number, p.c.seq))


def payments_of(tx: Tx, user_id: str, before: tuple[int, str] | None, limit: int) -> Sequence[Row]:
    """Newest first, from before (created_at, id)."""
    y = schema.payments
    statement = sa.select(y).where(y.c.user_id == user_id)
    if before is not None:
        statement = statement.where(sa.tuple_(y.c.created_at, y.c.id) < sa.tuple_(*map(sa.literal, before)))
    return tx.rows(statement.order_by(y.c.created_at.desc(), y.c.id.desc()).limit(limit))


# --- accounts without a balance row -----------------------------------------------------------------------------------


def sum_of(tx: Tx, account: str, most: int) -> tuple[dict[str, int], bool]:
    """Balance of an account by currency: its roll-up and the postings since, and whether these are in it.

    Of the postings since, `most` are read, in the order of the index on accounts: an account that was never rolled up,
    or not for long, may have millions of them. Where there are more, the balance is that of the roll-up, and False.
    """
    p, r = schema.postings, schema.rollups
    totals: dict[str, int] = {}
    below = 0
    for row in tx.rows(sa.select(r).where(r.c.account == account)):
        totals[row.currency] = int(row.balance)
        below = row.below_tx_number
    since = (
        sa.select(p.c.currency, p.c.amount)
        .where(p.c.account == account, p.c.tx_number >= below)
        .order_by(p.c.tx_number, p.c.seq)
        .limit(most + 1)
        .subquery()
    )
    sums = sa.select(since.c.currency, sa.func.sum(since.c.amount), sa.func.count()).group_by(since.c.currency)
    rows = tx.rows(sums)
    if sum(row[2] for row in rows) > most:
        return totals, False
    for currency, amount, _ in rows:
        totals[currency] = totals.get(currency, 0) + int(amount)
    return totals, True


def roll_up(tx: Tx, account: str) -> None:
    """Fold postings below the horizon into the roll-up: nothing can be committed below it any more."""
    p, r = schema.postings, schema.rollups
    upto = horizon(tx)
    rows = tx.rows(sa.select(r).where(r.c.account == account).with_for_update())
    below = rows[0].below_tx_number if rows else 0
    if upto <= below:
        return
    fresh = {
        row[0]: int(row[1])
        for row in tx.rows(
            sa.select(p.c.currency, sa.func.sum(p.c.amount))
            .where(p.c.account == account, p.c.tx_number >= below, p.c.tx_number < upto)
            .group_by(p.c.currency)
        )
    }
    known = {row.currency for row in rows}
    for currency in known | set(fresh):
        values = {"balance": fresh.get(currency, 0), "below_tx_number": upto}
        if currency in known:
            tx.execute(
                r.update()
                .where(r.c.account == account, r.c.currency == currency)
                .values(balance=r.c.balance + values["balance"], below_tx_number=upto)
            )
        else:
            tx.execute(r.insert().values(account=account, currency=currency, **values))


# From each provider to the next by the index: there are few of them, and a row for every payment ever made.
_PROVIDERS = sa.text("""
    WITH RECURSIVE known (provider) AS (
        SELECT min(provider) FROM payments
        UNION ALL
        SELECT (SELECT min(provider) FROM payments WHERE provider > known.provider)
        FROM known WHERE known.provider IS NOT NULL
    )
    SELECT provider FROM known WHERE provider IS NOT NULL
""")


def house_accounts(tx: Tx) -> list[str]:
    """Accounts that have postings but no balance row: fees, clearing of grants and of each provider, studios."""
    clearing = [f"clearing:{row[0]}" for row in tx.rows(_PROVIDERS)]
    studios = [f"studio:{row[0]}" for row in tx.rows(sa.select(schema.studios.c.id))]
    return ["house:fees", "clearing:grant", *clearing, *studios]


# --- winnings held for suspended players -----------------------------------------------------------------------------


def insert_held(tx: Tx, rows: list[tuple[str, str, int, str]]) -> None:
    sets.insert_rows(
        tx,
        schema.held_winnings,
        ("match_id", "user_id", "amount", "currency", "state"),
        [(*row, "held") for row in rows],
    )


def held_of(tx: Tx, user_ids: Iterable[str]) -> Sequence[Row]:
    """What is or was held of these players' winnings, by player and match."""
    sql = "SELECT * FROM held_winnings WHERE user_id {in} ORDER BY user_id, match_id"
    return sets.select_in(tx, sql, sorted(set(user_ids)))


def decide_held(tx: Tx, match_id: str, user_id: str, state: str) -> Row | None:
    """Guarded: None when nothing is held there (any more)."""
    h = schema.held_winnings
    return tx.row(
        h.update()
        .where(h.c.match_id == match_id, h.c.user_id == user_id, h.c.state == "held")
        .values(state=state)
        .returning(h)
    )
