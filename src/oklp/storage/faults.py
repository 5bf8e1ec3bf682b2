"""Injected faults, of which each strikes so many times."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import sqlalchemy as sa

from oklp.storage import schema
from oklp.storage.tx import Row, Tx

f = schema.faults
_LEFT = f.c.fired < f.c.times


def insert(tx: Tx, **values: Any) -> Row:
    """The row as it was written, with its id."""
    return tx.execute(f.insert().values(fired=0, **values).returning(f)).one()


def of_game(tx: Tx, game_id: str) -> Sequence[Row]:
    return tx.rows(sa.select(f).where(f.c.game_id == game_id).order_by(f.c.id))


def armed(tx: Tx) -> Sequence[Row]:
    """Rows (game_id, point) of what may still strike."""
    return tx.rows(sa.select(f.c.game_id, f.c.point).where(_LEFT).distinct())


def take(tx: Tx, game_id: str, points: Collection[str], now: int) -> Row | None:
    """One stroke of the oldest fault that has any left at one of these points.

    The fault is locked before it is counted: of those who take at once, each gets a stroke of his own or none.
    """
    oldest = (
        sa.select(f.c.id)
        .where(f.c.game_id == game_id, f.c.point.in_(sorted(points)), _LEFT)
        .order_by(f.c.id)
        .limit(1)
        .with_for_update()
    )
    statement = f.update().where(f.c.id == oldest.scalar_subquery(), _LEFT)
    return tx.row(statement.values(fired=f.c.fired + 1, last_fired_at=now).returning(f))


def delete(tx: Tx, game_id: str, *, fault_id: int | None = None, spent: bool = False) -> int:
    """Drop one of the game's, or all; with `spent` only those that have struck for the last time. Returns how many."""
    statement = f.delete().where(f.c.game_id == game_id)
    if fault_id is not None:
        statement = statement.where(f.c.id == fault_id)
    if spent:
        statement = statement.where(f.c.fired >= f.c.times)
    return tx.execute(statement).rowcount
