"""Notifications of players."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from oklp.storage import schema_records, sets
from oklp.storage.tx import Row, Tx

n = schema_records.notices
c = schema_records.notice_choices
_COLUMNS = ("user_id", "occasion", "kind", "match_id", "amount", "currency", "reason", "at", "hidden", "read_at")
DECISIONS = ("released", "confiscated")  # about winnings that were held; kinds that are called as these are


def insert(tx: Tx, rows: list[tuple[Any, ...]]) -> None:
    """Rows have what _COLUMNS names; one that is there stays."""
    sets.insert_rows(tx, n, _COLUMNS, rows, ignore=True)


# By pairs, for which there is an index: of occasions alone there is none, and the table has half a year in it.
_KNOWN_ON_POSTGRES = """
    SELECT n.user_id, n.occasion FROM unnest(%s::text[], %s::text[]) AS w (user_id, occasion)
    JOIN notices n ON n.user_id = w.user_id AND n.occasion = w.occasion
"""
_KNOWN_ON_SQLITE = """
    SELECT n.user_id, n.occasion FROM json_each(?) AS w
    CROSS JOIN notices n ON n.user_id = json_extract(w.value, '$[0]') AND n.occasion = json_extract(w.value, '$[1]')
"""


def known(tx: Tx, told: Iterable[tuple[str, str]]) -> frozenset[tuple[str, str]]:
    """Those of them, as (user_id, occasion), that were told before."""
    pairs = sorted(set(told))
    rows = tx.fetch(*known_statement(pairs, postgres=tx.postgres)) if pairs else ()
    return frozenset((row[0], row[1]) for row in rows)


def known_statement(pairs: Sequence[tuple[str, str]], *, postgres: bool) -> tuple[str, tuple[str, ...]]:
    """Reads the index of (user_id, occasion) once for each pair."""
    if not postgres:
        return _KNOWN_ON_SQLITE, (json.dumps(pairs),)
    users, occasions = zip(*pairs, strict=True)
    return _KNOWN_ON_POSTGRES, (sets.array(users), sets.array(occasions))


def page(tx: Tx, user_id: str, before: int | None, limit: int) -> Sequence[Row]:
    """Newest first."""
    statement = sa.select(n).where(n.c.user_id == user_id, n.c.hidden.is_(False))
    if before is not None:
        statement = statement.where(n.c.id < before)
    return tx.rows(statement.order_by(n.c.id.desc()).limit(limit))


def unread(tx: Tx, user_id: str, most: int) -> int:
    """How many, and no more than `most`: they are not counted any further."""
    some = sa.select(n.c.id).where(n.c.user_id == user_id, n.c.read_at.is_(None)).limit(most).subquery()
    return int(tx.execute(sa.select(sa.func.count()).select_from(some)).scalar_one())


def mark_read(tx: Tx, user_id: str, upto: int, now: int) -> None:
    tx.execute(n.update().where(n.c.user_id == user_id, n.c.id <= upto, n.c.read_at.is_(None)).values(read_at=now))


def choices(tx: Tx, user_ids: Iterable[str]) -> Sequence[Row]:
    """What these players have chosen."""
    sql = "SELECT user_id, topic, on_site, by_mail FROM notice_choices WHERE user_id {in}"
    return sets.select_in(tx, sql, sorted(set(user_ids)))


def choose(tx: Tx, user_id: str, topics: Mapping[str, tuple[bool, bool]]) -> None:
    """By topic: on the site, by mail."""
    for topic, (on_site, by_mail) in sorted(topics.items()):
        tx.execute(c.delete().where(c.c.user_id == user_id, c.c.topic == topic))
        tx.execute(c.insert(), {"user_id": user_id, "topic": topic, "on_site": on_site, "by_mail": by_mail})


def reachable(tx: Tx, user_ids: Iterable[str]) -> dict[str, Row]:
    """Those of the players whose e-mail address was proved."""
    sql = (
        "SELECT id, username, email, language FROM players"
        " WHERE email_verified_at IS NOT NULL AND email <> '' AND id {in}"
    )
    return {row.id: row for row in sets.select_in(tx, sql, sorted(set(user_ids)))}


def sweep(tx: Tx, before: int) -> None:
    # What was decided about winnings is read from what they are, not from an event of its own: the row is what says
    # that it was told, and without it the next movement of money would tell it again.
    tx.execute(n.delete().where(n.c.at < before, n.c.kind.not_in(DECISIONS)))
