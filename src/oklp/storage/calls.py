"""The log of games' traffic, kept for a while."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from oklp.storage import schema, sets
from oklp.storage.tx import Row, Tx

c = schema.calls
_COLUMNS = (
    "tx_number",
    "at",
    "game_id",
    "kind",
    "method",
    "path",
    "status",
    "duration_us",
    "reference",
    "match_id",
    "code",
    "detail",
)


def insert(tx: Tx, rows: list[tuple[Any, ...]]) -> None:
    """Rows are all columns after `tx_number`."""
    sets.insert_rows(tx, c, _COLUMNS, [(tx.number, *row) for row in rows])


def newest(tx: Tx, game_id: str, failed: bool, before: tuple[int, int] | None, limit: int) -> Sequence[Row]:
    """Newest first. `failed`: what was refused, or not delivered."""
    statement = sa.select(c).where(c.c.game_id == game_id)
    if failed:
        statement = statement.where(sa.or_(c.c.status >= 400, c.c.status.is_(None)), c.c.kind != "left-out")
    if before is not None:
        statement = statement.where(sa.tuple_(c.c.tx_number, c.c.id) < sa.tuple_(*map(sa.literal, before)))
    return tx.rows(statement.order_by(c.c.tx_number.desc(), c.c.id.desc()).limit(limit))


def since(tx: Tx, game_id: str, after: tuple[int, int], below: int, limit: int) -> Sequence[Row]:
    later = sa.tuple_(c.c.tx_number, c.c.id) > sa.tuple_(*map(sa.literal, after))
    statement = sa.select(c).where(c.c.game_id == game_id, later, c.c.tx_number < below)
    return tx.rows(statement.order_by(c.c.tx_number, c.c.id).limit(limit))


def sweep(tx: Tx, before: int, most: int) -> bool:
    """Of the `most` oldest those from before; True when all of them went, and there may be more."""
    old = sa.select(c.c.id, c.c.at).order_by(c.c.id).limit(most).subquery()
    return tx.execute(c.delete().where(c.c.id.in_(sa.select(old.c.id).where(old.c.at < before)))).rowcount >= most
