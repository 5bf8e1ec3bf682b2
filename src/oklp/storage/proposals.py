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
    return tx.row(_proposals().where(p.c.id == proposal_id))


def _proposals() -> sa.Select[Any]:
    """With `match_over`: nothing was left to decide about a match that ended by itself, while it could be."""
    return sa.select(p, _match_over().label("match_over"))


def _match_over() -> sa.ColumnElement[bool]:
    m = schema.matches
    over = (m.c.status.in_(["finished", "aborted"]), m.c.finished_at < p.c.expires_at)
    return sa.exists().where(m.c.id == p.c.match_id, *over, p.c.user_id == "")


def _waits(now: int) -> sa.ColumnElement[bool]:
    """What can still be decided."""
    return sa.and_(p.c.state == "waiting", p.c.expires_at > now, ~_match_over())


def waiting(
    tx: Tx,
    now: int,
    after: tuple[int, str] | None,
    limit: int,
    match_id: str | None = None,
    user_id: str | None = None,
) -> Sequence[Row]:
    """Oldest first: what can still be decided; all of it, or what is about one match or the winnings of one player."""
    statement = _proposals().where(_waits(now))
    if match_id is not None:
        statement = statement.where(p.c.match_id == match_id)
    if user_id is not None:
        statement = statement.where(p.c.user_id == user_id)
    if after is not None:
        statement = statement.where(sa.tuple_(p.c.proposed_at, p.c.id) > sa.tuple_(*map(sa.literal, after)))
    return tx.rows(statement.order_by(p.c.proposed_at, p.c.id).limit(limit))


def waiting_ids(tx: Tx, now: int, limit: int) -> list[str]:
    """Of the oldest that can still be decided."""
    statement = sa.select(p.c.id).where(_waits(now)).order_by(p.c.proposed_at, p.c.id).limit(limit)
    return [str(row.id) for row in tx.rows(statement)]


def count_for(tx: Tx, operator_id: str, actions: Sequence[str], now: int, limit: int) -> int:
    """How many of these actions somebody else has proposed, for this operator to decide on; no more than `limit`."""
    wanted = (_waits(now), p.c.proposer_id != operator_id, p.c.action.in_(actions))
    some = sa.select(p.c.id).where(*wanted).limit(limit).subquery()
    row = tx.row(sa.select(sa.func.count()).select_from(some))
    return int(row[0]) if row is not None else 0


def page(tx: Tx, before: tuple[int, str] | None, limit: int, over_at: int | None = None) -> Sequence[Row]:
    """Newest first, whatever became of them; with `over_at` those alone that nobody could decide on any more then."""
    statement = _proposals()
    if over_at is not None:
        statement = statement.where(~_waits(over_at))
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
    ended = (
        p.update()
        .where(p.c.id == proposal_id, _waits(now), *wanted)
        .values(state=state, decided_at=now, decision_reason=reason, **values)
    )
    tx.notify(TOPIC)
    return tx.execute(ended).rowcount == 1


def expire(tx: Tx, now: int) -> None:
    """Those that nobody decided on in time."""
    wanted = (p.c.state == "waiting", p.c.expires_at <= now)
    if tx.execute(p.update().where(*wanted).values(state="expired")).rowcount:
        tx.notify(TOPIC)
