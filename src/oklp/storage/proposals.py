"""What waits for a second operator, and what became of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from oklp.storage import schema
from oklp.storage.schema_proposals import proposals as p
from oklp.storage.tx import Row, Tx

TOPIC = "proposals"


def insert(tx: Tx, **values: Any) -> None:
    tx.execute(p.insert(), values)
    tx.notify(TOPIC)


def get(tx: Tx, proposal_id: str) -> Row | None:
    return tx.row(sa.select(p).where(p.c.id == proposal_id))


def waiting(tx: Tx, now: int, match_id: str | None = None) -> Sequence[Row]:
    """Oldest first: what can still be decided. A match that has ended by itself leaves nothing to decide about it."""
    m = schema.matches
    over = sa.exists().where(m.c.id == p.c.match_id, m.c.status.in_(["finished", "aborted"]), p.c.user_id == "")
    wanted = [p.c.state == "waiting", p.c.expires_at > now, ~over]
    if match_id is not None:
        wanted.append(p.c.match_id == match_id)
    return tx.rows(sa.select(p).where(*wanted).order_by(p.c.proposed_at, p.c.id))


def page(tx: Tx, before: tuple[int, str] | None, limit: int) -> Sequence[Row]:
    """Newest first, whatever became of them."""
    statement = sa.select(p)
    if before is not None:
        statement = statement.where(sa.tuple_(p.c.proposed_at, p.c.id) < sa.tuple_(*map(sa.literal, before)))
    return tx.rows(statement.order_by(p.c.proposed_at.desc(), p.c.id.desc()).limit(limit))


def decide(tx: Tx, proposal_id: str, state: str, decider_id: str, decider: str, reason: str, now: int) -> bool:
    """False when it does not wait any more: of two who decide at once, one does."""
    return _end(tx, proposal_id, state, reason, now, decider_id=decider_id, decider=decider)


def withdraw(tx: Tx, proposal_id: str, proposer_id: str, reason: str, now: int) -> bool:
    """False when it does not wait any more, or is somebody else's. Nobody has decided on it then."""
    return _end(tx, proposal_id, "withdrawn", reason, now, p.c.proposer_id == proposer_id)


def _end(
    tx: Tx, proposal_id: str, state: str, reason: str, now: int, *wanted: sa.ColumnElement[bool], **values: str
) -> bool:
    """One update decides between all who would end it at once."""
    waits = (p.c.id == proposal_id, p.c.state == "waiting", p.c.expires_at > now, *wanted)
    ended = p.update().where(*waits).values(state=state, decided_at=now, decision_reason=reason, **values)
    tx.notify(TOPIC)
    return tx.execute(ended).rowcount == 1


def expire(tx: Tx, now: int) -> None:
    """Those that nobody decided on in time."""
    wanted = (p.c.state == "waiting", p.c.expires_at <= now)
    if tx.execute(p.update().where(*wanted).values(state="expired")).rowcount:
        tx.notify(TOPIC)
