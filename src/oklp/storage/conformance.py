"""Conformance reports of games."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from oklp.storage import schema
from oklp.storage.tx import Row, Tx

c = schema.conformance_reports
_NEWEST_FIRST = (c.c.submitted_at.desc(), c.c.id.desc())


def insert(tx: Tx, **values: Any) -> None:
    tx.execute(c.insert(), values)


def summaries(tx: Tx, game_id: str) -> Sequence[Row]:
    return tx.rows(sa.select(c.c.id, c.c.summary).where(c.c.game_id == game_id).order_by(*_NEWEST_FIRST))


def get(tx: Tx, game_id: str, report_id: str) -> Row | None:
    return tx.row(sa.select(c).where(c.c.game_id == game_id, c.c.id == report_id))


def keep_newest(tx: Tx, game_id: str, how_many: int) -> None:
    """Drop the game's others."""
    newest = sa.select(c.c.id).where(c.c.game_id == game_id).order_by(*_NEWEST_FIRST).limit(how_many)
    tx.execute(c.delete().where(c.c.game_id == game_id, c.c.id.not_in(newest)))
