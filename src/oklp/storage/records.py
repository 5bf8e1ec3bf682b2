"""What is kept about players, and how far the event log was read for it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from oklp.storage import schema, schema_records, sets
from oklp.storage.tx import Row, Tx

FOLLOWER = "records"
START = (-1, 0)  # before the first event of a log
_RESULT = ("match_id", "user_id", "game_id", "at", "place", "verdict", "currency", "paid", "won")

r = schema_records.player_results
t = schema_records.standings
p = schema.players
h = schema.held_winnings


def place(tx: Tx, *, lock: bool = False) -> tuple[int, int] | None:
    """How far the log was read, as (tx_number, seq). With `lock`, None while another node reads on."""
    f = schema_records.followers
    statement = sa.select(f.c.tx_number, f.c.seq).where(f.c.name == FOLLOWER)
    row = tx.row(statement.with_for_update(skip_locked=True) if lock else statement)
    return (int(row[0]), int(row[1])) if row is not None else None


def begin(tx: Tx) -> None:
    """Read the log from its start on, unless somebody does already."""
    sql = "INSERT INTO followers (name, tx_number, seq) VALUES (:name, :tx_number, :seq) ON CONFLICT DO NOTHING"
    tx.execute(sa.text(sql), {"name": FOLLOWER, "tx_number": START[0], "seq": START[1]})


def move(tx: Tx, to: tuple[int, int]) -> None:
    f = schema_records.followers
    tx.execute(f.update().where(f.c.name == FOLLOWER).values(tx_number=to[0], seq=to[1]))


class Kept(NamedTuple):
    """What a match was to a player; `paid` and `won` in minor units. Whose fee went back has paid nothing."""

    verdict: str
    paid: int
    won: int


def of_matches(tx: Tx, match_ids: Iterable[str]) -> dict[tuple[str, str], Kept]:
    """Kept results by (match_id, user_id)."""
    sql = "SELECT match_id, user_id, verdict, paid, won FROM player_results WHERE match_id {in}"
    rows = sets.select_in(tx, sql, sorted(set(match_ids)))
    return {(row.match_id, row.user_id): Kept(row.verdict, row.paid, row.won) for row in rows}


def insert_results(tx: Tx, rows: list[tuple[Any, ...]]) -> None:
    """Rows are (match_id, user_id, game_id, at, place, verdict, currency, paid, won)."""
    sets.insert_rows(tx, r, _RESULT, rows)


def add_standings(tx: Tx, rows: list[tuple[str, str, int, int, int]]) -> None:
    """Add to what is there: (user_id, game_id, matches, wins, draws), each pair of the first two once."""
    sums = ("matches", "wins", "draws")
    sets.insert_rows(tx, t, ("user_id", "game_id", *sums), rows, adds=sums)


def add_money(tx: Tx, rows: list[tuple[str, str, int, int]]) -> None:
    """Add to what is there: (user_id, currency, paid, won), in minor units, each pair of the first two once."""
    sums = ("paid", "won")
    sets.insert_rows(tx, schema_records.player_money, ("user_id", "currency", *sums), rows, adds=sums)


# --- looking ---------------------------------------------------------------------------------------------------------


def best(tx: Tx, game_id: str, limit: int) -> Sequence[Row]:
    """By wins, then by how few matches they took; without those who are suspended or keep their results private."""
    return tx.rows(best_statement(game_id, limit))


def best_statement(game_id: str, limit: int) -> sa.Select[Any]:
    """Reads the index of standings from its first entry on, and no further than it must."""
    return (
        sa.select(t.c.user_id, p.c.username, t.c.matches, t.c.wins, t.c.draws)
        .join(p, p.c.id == t.c.user_id)
        .where(t.c.game_id == game_id, t.c.wins > 0, p.c.status == "active", p.c.private_results.is_(False))
        .order_by(t.c.wins.desc(), t.c.matches, t.c.user_id)
        .limit(limit)
    )


def standings_of(tx: Tx, user_id: str) -> Sequence[Row]:
    """Of each game, the one played most first."""
    g = schema.games
    statement = sa.select(t, g.c.name).join(g, g.c.id == t.c.game_id).where(t.c.user_id == user_id)
    return tx.rows(statement.order_by(t.c.matches.desc(), t.c.game_id))


def results_of(tx: Tx, user_id: str, limit: int) -> Sequence[Row]:
    """The newest first; `held` is what became of winnings that were held, None where none were."""
    return tx.rows(results_statement(user_id, limit))


def results_statement(user_id: str, limit: int) -> sa.Select[Any]:
    g = schema.games
    return (
        sa.select(r, g.c.name, h.c.state.label("held"))
        .join(g, g.c.id == r.c.game_id)
        .join(h, sa.and_(h.c.match_id == r.c.match_id, h.c.user_id == r.c.user_id), isouter=True)
        .where(r.c.user_id == user_id)
        .order_by(r.c.at.desc(), r.c.match_id.desc())
        .limit(limit)
    )


def money_of(tx: Tx, user_id: str) -> Sequence[Row]:
    """By currency: `paid`, `won`, and `unpaid`, the part of `won` that is held, or was kept by the platform."""
    m = schema_records.player_money
    # What was held is counted a moment after it is: until then it is in neither of the two sums.
    counted = sa.and_(r.c.match_id == h.c.match_id, r.c.user_id == h.c.user_id)
    unpaid = (
        sa.select(sa.func.coalesce(sa.func.sum(h.c.amount), 0))
        .join(r, counted)
        .where(h.c.user_id == m.c.user_id, h.c.currency == m.c.currency, h.c.state != "released")
        .correlate(m)
        .scalar_subquery()
    )
    return tx.rows(sa.select(m, unpaid.label("unpaid")).where(m.c.user_id == user_id).order_by(m.c.currency))
