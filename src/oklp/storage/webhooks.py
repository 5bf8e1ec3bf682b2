"""The outbox: deliveries and their attempts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from oklp.storage import schema, sets
from oklp.storage.tx import Row, Tx

d = schema.deliveries
a = schema.attempts
matches = schema.matches

_DELIVERY = (
    "id",
    "game_id",
    "match_id",
    "event",
    "method",
    "url",
    "body",
    "state",
    "attempts",
    "attempts_left",
    "next_attempt_at",
    "give_up_at",
    "maybe_received",
    "lease_owner",
    "lease_until",
    "created_at",
)


def insert(tx: Tx, rows: list[dict[str, Any]]) -> None:
    sets.insert_rows(tx, d, _DELIVERY, [tuple(row[name] for name in _DELIVERY) for row in rows])


def insert_attempts(tx: Tx, rows: list[tuple[Any, ...]]) -> None:
    """Rows are (delivery_id, attempt, started_at, url)."""
    sets.insert_rows(tx, a, ("delivery_id", "attempt", "started_at", "url"), rows)


def get(tx: Tx, delivery_id: str) -> Row | None:
    return tx.row(sa.select(d).where(d.c.id == delivery_id))


def lock(tx: Tx, delivery_ids: Iterable[str]) -> dict[str, Row]:
    rows = sets.select_in(
        tx, "SELECT * FROM deliveries WHERE id {in} ORDER BY id FOR UPDATE", sorted(set(delivery_ids))
    )
    return {row.id: row for row in rows}


def due(tx: Tx, now: int, limit: int) -> Sequence[Row]:
    """Waiting deliveries whose time has come, locked; those that another node holds are skipped."""
    statement = sa.select(d).where(d.c.state == "waiting", d.c.next_attempt_at <= now)
    return tx.rows(statement.order_by(d.c.next_attempt_at, d.c.id).limit(limit).with_for_update(skip_locked=True))


def too_late(tx: Tx, now: int, limit: int) -> dict[str, Row]:
    """Waiting starts whose window has passed, by match. Not locked: matches are locked before deliveries."""
    m = matches
    statement = (
        sa.select(d.c.id, d.c.match_id, d.c.last_error)
        .join(m, m.c.id == d.c.match_id)
        .where(d.c.state == "waiting", d.c.next_attempt_at <= now, d.c.give_up_at < now)
        .where(m.c.status == "starting", m.c.start_delivery_id == d.c.id)
    )
    return {row.match_id: row for row in tx.rows(statement.order_by(d.c.match_id).limit(limit))}


def lapsed(tx: Tx, now: int, owner: str | None, limit: int) -> Sequence[Row]:
    """Deliveries whose sender has not come back in time; with `owner`, all that others hold (their node is gone).

    Ids and matches alone, and not locked: matches are locked before deliveries.
    """
    gone = d.c.lease_until <= now if owner is None else d.c.lease_owner != owner
    statement = sa.select(d.c.id, d.c.match_id).where(d.c.state == "sending", gone)
    return tx.rows(statement.order_by(d.c.id).limit(limit))


def lease(tx: Tx, rows: list[tuple[Any, ...]]) -> None:
    """Rows are (attempts, attempts_left, lease_owner, lease_until, url, id)."""
    sets.update_rows(
        tx,
        d,
        ("state", "next_attempt_at", "attempts", "attempts_left", "lease_owner", "lease_until", "url"),
        ("id",),
        [("sending", None, *row) for row in rows],
    )


def renew(tx: Tx, delivery_id: str, attempt: int, owner: str, until: int) -> bool:
    """False when the attempt is not its owner's any more."""
    held = (d.c.id == delivery_id, d.c.state == "sending", d.c.attempts == attempt, d.c.lease_owner == owner)
    return tx.execute(d.update().where(*held).values(lease_until=until)).rowcount == 1


def update(tx: Tx, delivery_id: str, **values: Any) -> None:
    tx.execute(d.update().where(d.c.id == delivery_id).values(**values))


def hurry(tx: Tx, match_id: str, now: int) -> None:
    """The abort of this match need not wait any longer for its start to come back."""
    tx.execute(
        d.update()
        .where(d.c.match_id == match_id, d.c.event == "match.aborted", d.c.state == "waiting")
        .values(next_attempt_at=now)
    )


def finish_attempt(tx: Tx, delivery_id: str, attempt: int, **values: Any) -> None:
    tx.execute(a.update().where(a.c.delivery_id == delivery_id, a.c.attempt == attempt).values(**values))


def attempts_of(tx: Tx, delivery_id: str) -> Sequence[Row]:
    return tx.rows(sa.select(a).where(a.c.delivery_id == delivery_id).order_by(a.c.attempt))


def of_match(tx: Tx, match_id: str) -> Sequence[Row]:
    return tx.rows(sa.select(d).where(d.c.match_id == match_id).order_by(d.c.created_at, d.c.id))


class Chosen(NamedTuple):
    """Which deliveries; None: whatever it is."""

    game_id: str | None = None
    state: str | None = None
    event: str | None = None
    match_id: str | None = None
    since: int | None = None  # made then or later …
    until: int | None = None  # … and before this


def page(tx: Tx, chosen: Chosen, before: tuple[int, str] | None, limit: int) -> Sequence[Row]:
    given = {name: value for name, value in chosen._asdict().items() if value is not None}
    since, until = given.pop("since", None), given.pop("until", None)
    statement = sa.select(d).filter_by(**given)
    if since is not None:
        statement = statement.where(d.c.created_at >= since)
    if until is not None:
        statement = statement.where(d.c.created_at < until)
    if before is not None:
        statement = statement.where(sa.tuple_(d.c.created_at, d.c.id) < sa.tuple_(*map(sa.literal, before)))
    return tx.rows(statement.order_by(d.c.created_at.desc(), d.c.id.desc()).limit(limit))


def count(tx: Tx, state: str) -> int:
    """How many deliveries are `waiting`, `sending` or `failed`: each state has an index of its own."""
    return int(tx.execute(sa.select(sa.func.count()).select_from(d).where(d.c.state == state)).scalar_one())


def failed_of_games(tx: Tx, game_ids: Sequence[str], since: int) -> dict[str, int]:
    """How many deliveries of each game, made since then, have failed."""
    statement = (
        sa.select(d.c.game_id, sa.func.count())
        .where(d.c.state == "failed", d.c.created_at >= since, d.c.game_id.in_(game_ids))
        .group_by(d.c.game_id)
    )
    return {row[0]: int(row[1]) for row in tx.rows(statement)}


def earliest(tx: Tx) -> tuple[int | None, int | None]:
    """When the first waiting delivery is due, and when the first lease runs out."""
    due = tx.execute(sa.select(sa.func.min(d.c.next_attempt_at)).where(d.c.state == "waiting")).scalar()
    lapsed = tx.execute(sa.select(sa.func.min(d.c.lease_until)).where(d.c.state == "sending")).scalar()
    return due, lapsed
