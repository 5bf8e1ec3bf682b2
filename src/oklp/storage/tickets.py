"""One-time tokens that stand for somebody: of password resets, of proofs of an e-mail address. Kept as hashes."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from oklp.storage import schema
from oklp.storage.tx import Row, Tx

t = schema.tickets


def insert(tx: Tx, **values: Any) -> None:
    tx.execute(t.insert(), values)


def find(tx: Tx, purpose: str, kind: str, token_hash: str, now: int) -> Row | None:
    """The ticket, while it is good."""
    wanted = (t.c.token_hash == token_hash, t.c.purpose == purpose, t.c.kind == kind, t.c.expires_at > now)
    return tx.row(sa.select(t).where(*wanted))


def take(tx: Tx, purpose: str, kind: str, token_hash: str, now: int) -> Row | None:
    """The ticket, which is used up by this; None when it was before."""
    row = find(tx, purpose, kind, token_hash, now)
    if row is None:
        return None
    return row if tx.execute(t.delete().where(t.c.token_hash == token_hash)).rowcount == 1 else None


def delete_of(tx: Tx, subject_id: str, *purposes: str) -> None:
    """Those of one person, for these purposes."""
    tx.execute(t.delete().where(t.c.subject_id == subject_id, t.c.purpose.in_(purposes)))


def delete_of_addresses(tx: Tx, subject_id: str, purpose: str, but: str) -> None:
    """Those of one person that stand for another address than this one."""
    tx.execute(t.delete().where(t.c.subject_id == subject_id, t.c.purpose == purpose, t.c.email != but))


def delete_all(tx: Tx, subject_id: str) -> None:
    """Those of one person, for whatever."""
    tx.execute(t.delete().where(t.c.subject_id == subject_id))


def sweep(tx: Tx, now: int) -> None:
    tx.execute(t.delete().where(t.c.expires_at < now))
