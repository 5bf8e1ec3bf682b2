"""The outbox of mails."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from oklp.storage import schema
from oklp.storage.players import email_key
from oklp.storage.tx import Row, Tx

m = schema.mails


def insert(tx: Tx, **values: Any) -> None:
    """Wakes whoever sends."""
    tx.execute(m.insert(), {**values, "recipient_key": email_key(values["recipient"])})
    tx.notify("mails")


def _in_turn() -> sa.ColumnElement[bool]:
    """Not while another about the same player has been begun: it may be on its way, or wait for its next attempt."""
    other = m.alias()
    begun = sa.exists().where(other.c.about == m.c.about, other.c.state == "waiting", other.c.attempts > 0)
    return sa.or_(m.c.about.is_(None), m.c.attempts > 0, ~begun)


def next_at(tx: Tx) -> int | None:
    """When the first mail is due whose turn it is."""
    found: int | None = tx.execute(
        sa.select(sa.func.min(m.c.next_attempt_at)).where(m.c.next_attempt_at.is_not(None), _in_turn())
    ).scalar()
    return found


def due(tx: Tx, state: str, now: int, limit: int) -> Sequence[Row]:
    """What is due and whose turn it is, locked; what another node has locked is left to it."""
    statement = (
        sa.select(m)
        .where(m.c.state == state, m.c.next_attempt_at <= now, _in_turn())
        .order_by(m.c.next_attempt_at, m.c.id)
        .limit(limit)
    )
    return tx.rows(statement.with_for_update(skip_locked=True))


def update(tx: Tx, mail_id: str, **values: Any) -> None:
    tx.execute(m.update().where(m.c.id == mail_id).values(**values))


def finish(tx: Tx, mail_id: str, attempt: int, **values: Any) -> bool:
    """Record the outcome of an attempt; False when a later one has begun, whose outcome counts."""
    wanted = (m.c.id == mail_id, m.c.attempts == attempt, m.c.state == "waiting")
    return tx.execute(m.update().where(*wanted).values(**values)).rowcount == 1


def delete(tx: Tx, mail_id: str) -> None:
    tx.execute(m.delete().where(m.c.id == mail_id))


def withdraw(tx: Tx, kind: str, about: str) -> bool:
    """Delete a mail of this kind about a player that waits; False when there is none, or when it may have been sent.

    What another node has locked is on its way: its attempt is being begun, or its outcome recorded.
    """
    not_on_its_way = sa.or_(m.c.attempts == 0, m.c.last_error.is_not(None))
    wanted = (m.c.about == about, m.c.kind == kind, m.c.state == "waiting", not_on_its_way, m.c.uncertain.is_(False))
    waiting = tx.rows(sa.select(m.c.id).where(*wanted).with_for_update(skip_locked=True))
    for row in waiting:
        delete(tx, row.id)
    return bool(waiting)


def page(tx: Tx, recipient: str | None, state: str | None, before: tuple[int, str] | None, limit: int) -> Sequence[Row]:
    statement = sa.select(m).where(m.c.state != "asked")
    if recipient is not None:
        statement = statement.where(m.c.recipient_key == email_key(recipient))
    if state is not None:
        statement = statement.where(m.c.state == state)
    if before is not None:
        statement = statement.where(sa.tuple_(m.c.created_at, m.c.id) < sa.tuple_(*map(sa.literal, before)))
    return tx.rows(statement.order_by(m.c.created_at.desc(), m.c.id.desc()).limit(limit))


def sweep(tx: Tx, before: int) -> None:
    """Forget mails that are over."""
    tx.execute(m.delete().where(m.c.created_at < before, m.c.state.in_(["sent", "failed"])))
