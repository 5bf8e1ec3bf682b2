"""What players are told live, the audit log, idempotency keys, housekeeping."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from oklp.storage import schema, schema_records, sets
from oklp.storage.tx import Row, Tx

e = schema.events
OVER = "over"  # kind of the row that ends a match with money in it


def insert(tx: Tx, rows: list[tuple[str, str | None, str | None, int]]) -> None:
    """Rows are (kind, match_id, user_id, at). Wakes whoever listens."""
    if rows:
        number = tx.number
        columns = ("tx_number", "kind", "match_id", "user_id", "at")
        sets.insert_rows(tx, e, columns, [(number, *row) for row in rows])
        tx.notify("events")


def since(tx: Tx, after: tuple[int, int], below: int, limit: int) -> Sequence[Row]:
    """Events after the cursor (tx_number, seq) and below the horizon, in order."""
    later = sa.tuple_(e.c.tx_number, e.c.seq) > sa.tuple_(*map(sa.literal, after))
    statement = sa.select(e).where(later, e.c.tx_number < below)
    return tx.rows(statement.order_by(e.c.tx_number, e.c.seq).limit(limit))


def news(tx: Tx, after: tuple[int, int], below: int, limit: int) -> Sequence[Row]:
    """As `since`, without what says only that players were told of something."""
    later = sa.tuple_(e.c.tx_number, e.c.seq) > sa.tuple_(*map(sa.literal, after))
    statement = sa.select(e).where(later, e.c.tx_number < below, e.c.kind != "notification")
    return tx.rows(statement.order_by(e.c.tx_number, e.c.seq).limit(limit))


def first_news(tx: Tx, after: tuple[int, int]) -> Row | None:
    """(tx_number, at) of the first thing since, but that players were told of what had happened."""
    later = sa.tuple_(e.c.tx_number, e.c.seq) > sa.tuple_(*map(sa.literal, after))
    statement = sa.select(e.c.tx_number, e.c.at).where(later, e.c.kind != "notification")
    return tx.row(statement.order_by(e.c.tx_number, e.c.seq).limit(1))


def since_for(tx: Tx, user_id: str, after: tuple[int, int], below: int, limit: int) -> Sequence[Row]:
    """The same, for one player: those of his own and of the matches he is or was in."""
    mine = sa.select(schema.seats.c.match_id).where(schema.seats.c.user_id == user_id)
    later = sa.tuple_(e.c.tx_number, e.c.seq) > sa.tuple_(*map(sa.literal, after))
    own = sa.or_(e.c.user_id == user_id, sa.and_(e.c.user_id.is_(None), e.c.match_id.in_(mine)))
    statement = sa.select(e).where(later, e.c.tx_number < below, own)
    return tx.rows(statement.order_by(e.c.tx_number, e.c.seq).limit(limit))


def newest(tx: Tx, below: int) -> tuple[int, int]:
    row = tx.row(
        sa.select(e.c.tx_number, e.c.seq)
        .where(e.c.tx_number < below)
        .order_by(e.c.tx_number.desc(), e.c.seq.desc())
        .limit(1)
    )
    return (int(row[0]), int(row[1])) if row is not None else (0, 0)


def audience(tx: Tx, match_ids: Sequence[str]) -> dict[str, list[str]]:
    """Who is or was in each match."""
    found: dict[str, list[str]] = {}
    for row in sets.select_in(tx, "SELECT DISTINCT match_id, user_id FROM seats WHERE match_id {in}", match_ids):
        found.setdefault(row[0], []).append(row[1])
    return found


# --- audit -----------------------------------------------------------------------------------------------------------


def insert_audit(tx: Tx, *, at: int, actor: str, action: str, subject: str, reason: str | None, detail: str) -> None:
    values = {"at": at, "actor": actor, "action": action, "subject": subject, "reason": reason, "detail": detail}
    tx.execute(schema.audit.insert(), values)


def audit_page(tx: Tx, subject: str | None, before: int | None, limit: int) -> Sequence[Row]:
    t = schema.audit
    statement = sa.select(t)
    if subject is not None:
        statement = statement.where(t.c.subject == subject)
    if before is not None:
        statement = statement.where(t.c.id < before)
    return tx.rows(statement.order_by(t.c.id.desc()).limit(limit))


# --- idempotency -----------------------------------------------------------------------------------------------------


class Key(NamedTuple):
    caller: str
    route: str
    key: str


def answers(tx: Tx, keys: Sequence[Key]) -> dict[Key, Row]:
    """Answers already given. Keys are few: one statement each would do, one for all does better."""
    t = schema.idempotency
    if not keys:
        return {}
    wanted = sa.or_(*(sa.and_(t.c.caller == k.caller, t.c.route == k.route, t.c.key == k.key) for k in keys))
    return {Key(row.caller, row.route, row.key): row for row in tx.rows(sa.select(t).where(wanted))}


def insert_answers(tx: Tx, rows: list[tuple[Any, ...]]) -> None:
    """Rows are (caller, route, key, body_hash, status, answer, created_at)."""
    columns = ("caller", "route", "key", "body_hash", "status", "answer", "created_at")
    sets.insert_rows(tx, schema.idempotency, columns, rows)


def delete_answers(tx: Tx, keys: Sequence[Key]) -> None:
    t = schema.idempotency
    for k in keys:
        tx.execute(t.delete().where(t.c.caller == k.caller, t.c.route == k.route, t.c.key == k.key))


# --- housekeeping ----------------------------------------------------------------------------------------------------


def sweep(tx: Tx, *, idempotency_before: int, failures_before: int, now: int) -> None:
    """Drop what is only kept for a while. Nothing of this is money, a result or a log."""
    tx.execute(schema.idempotency.delete().where(schema.idempotency.c.created_at < idempotency_before))
    tx.execute(schema.sessions.delete().where(schema.sessions.c.expires_at < now))
    tx.execute(schema.login_failures.delete().where(schema.login_failures.c.at < failures_before))
    k = schema.signing_keys
    tx.execute(k.delete().where(k.c.expires_at < now))


def sweep_events(tx: Tx, before: int, most: int) -> bool:
    """Of the `most` oldest those from before; True when half of them went, and there may be more.

    Half: a few that a clock of the future dated stay until then, and hold up nothing.
    """
    old = sa.select(e.c.seq, e.c.tx_number, e.c.at).order_by(e.c.tx_number, e.c.seq).limit(most).subquery()
    # What has to be counted yet stays, however old it is.
    f = schema_records.followers
    read = sa.exists().where(sa.tuple_(old.c.tx_number, old.c.seq) <= sa.tuple_(f.c.tx_number, f.c.seq))
    gone = sa.select(old.c.seq).where(old.c.at < before, read)
    return tx.execute(e.delete().where(e.c.seq.in_(gone))).rowcount * 2 >= most


def sweep_operations(tx: Tx, before: int, most: int) -> bool:
    """As `sweep_events`. The newest stays: numbers go on from it."""
    o = schema.operations
    old = sa.select(o.c.number, o.c.at).order_by(o.c.number).limit(most).subquery()
    newest_number = sa.select(sa.func.max(o.c.number)).scalar_subquery()
    gone = sa.select(old.c.number).where(old.c.at < before, old.c.number < newest_number)
    return tx.execute(o.delete().where(o.c.number.in_(gone))).rowcount * 2 >= most
