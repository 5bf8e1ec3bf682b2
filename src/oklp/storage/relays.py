"""Deliveries on their way to a listener, and what came back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from oklp.storage import schema
from oklp.storage.tx import Row, Tx

r = schema.relays
d = schema.deliveries
g = schema.games
_KEY = (r.c.delivery_id, r.c.attempt, r.c.copy)


class Key(NamedTuple):
    """A request. Of an attempt there is one, and copies only where an injected fault makes them."""

    delivery_id: str
    attempt: int
    copy: int = 1


def _is(key: Key) -> sa.ColumnElement[bool]:
    return sa.and_(*(column == value for column, value in zip(_KEY, key, strict=True)))


def _one_of(keys: Sequence[Key]) -> sa.ColumnElement[bool]:
    return sa.tuple_(*_KEY).in_(keys)


def listener(tx: Tx, game_id: str) -> Row | None:
    statement = sa.select(g.c.listener_id, g.c.listener_by, g.c.listener_until, g.c.webhook_url)
    return tx.row(statement.where(g.c.id == game_id))


def renew_listener(tx: Tx, game_id: str, listener_id: str, until: int | None) -> bool:
    """True if it is (still) this one who listens."""
    statement = g.update().where(g.c.id == game_id, g.c.listener_id == listener_id)
    return tx.execute(statement.values(listener_until=until)).rowcount == 1


def insert(tx: Tx, **values: Any) -> None:
    tx.execute(r.insert(), values)


def lock(tx: Tx, key: Key) -> Row | None:
    return tx.row(sa.select(r).where(_is(key)).with_for_update())


def open_or_missed(tx: Tx, game_id: str, listener_id: str) -> Sequence[Row]:
    """What is to be forwarded, and what this listener was to have and never got; with its delivery, oldest first."""
    missed = sa.and_(
        r.c.closed_at.is_not(None), r.c.handed_at.is_(None), r.c.answer.is_(None), r.c.listener_id == listener_id
    )
    statement = (
        sa.select(r, d.c.match_id, d.c.event, d.c.method, d.c.body, d.c.url)
        .join(d, d.c.id == r.c.delivery_id)
        .where(r.c.game_id == game_id, sa.or_(r.c.closed_at.is_(None), missed))
    )
    return tx.rows(statement.order_by(r.c.created_at, *_KEY))


def hand_over(tx: Tx, keys: Sequence[Key], now: int) -> set[Key]:
    """Those of them that are still open, and from now on may have been received."""
    rows = tx.rows(sa.select(*_KEY).where(_one_of(keys), r.c.closed_at.is_(None)).order_by(*_KEY).with_for_update())
    found = [Key(*row) for row in rows]
    if found:
        tx.execute(r.update().where(_one_of(found), r.c.handed_at.is_(None)).values(handed_at=now))
    return set(found)


def close(tx: Tx, key: Key, answer: str | None, now: int) -> None:
    tx.execute(
        r.update().where(_is(key), r.c.closed_at.is_(None)).values(answer=answer, closed_at=now, authorization=None)
    )


def close_all_of(tx: Tx, game_id: str, listener_id: str, now: int) -> None:
    theirs = sa.and_(r.c.game_id == game_id, r.c.listener_id == listener_id, r.c.closed_at.is_(None))
    tx.execute(r.update().where(theirs).values(closed_at=now, authorization=None))


def closed(tx: Tx, keys: Sequence[Key]) -> dict[Key, Row]:
    rows = tx.rows(sa.select(r).where(_one_of(keys), r.c.closed_at.is_not(None))) if keys else []
    return {Key(row.delivery_id, row.attempt, row.copy): row for row in rows}


def sweep(tx: Tx, before: int) -> None:
    tx.execute(r.delete().where(r.c.created_at < before))
