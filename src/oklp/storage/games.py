"""Studios, games, their secrets; signing keys."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa

from oklp.storage import schema, sets
from oklp.storage.tx import Row, Tx


def insert_studio(tx: Tx, *, name: str, **values: Any) -> None:
    tx.execute(schema.studios.insert(), {"name": name, "name_key": name.casefold(), **values})


def studio(tx: Tx, studio_id: str) -> Row | None:
    return tx.row(sa.select(schema.studios).where(schema.studios.c.id == studio_id))


def studios_named(tx: Tx, name: str, limit: int) -> Sequence[Row]:
    """Those with exactly this name, of which the case does not count."""
    s = schema.studios
    return tx.rows(sa.select(s).where(s.c.name_key == name.casefold()).order_by(s.c.id).limit(limit))


def lock_studio(tx: Tx, studio_id: str) -> Row | None:
    return tx.row(sa.select(schema.studios).where(schema.studios.c.id == studio_id).with_for_update())


def members_of(tx: Tx, studio_id: str) -> Sequence[Row]:
    m = schema.members
    return tx.rows(sa.select(m).where(m.c.studio_id == studio_id).order_by(m.c.created_at, m.c.id))


def insert_game(tx: Tx, *, name: str, **values: Any) -> None:
    tx.execute(schema.games.insert(), {"name": name, "name_key": name.casefold(), **values})


def update_game(tx: Tx, game_id: str, **values: Any) -> None:
    if "name" in values:
        values["name_key"] = values["name"].casefold()
    tx.execute(schema.games.update().where(schema.games.c.id == game_id).values(**values))


def _with_studio() -> sa.Select[Any]:
    g, s = schema.games, schema.studios
    return sa.select(g, s.c.name.label("studio_name")).join(s, s.c.id == g.c.studio_id)


def game(tx: Tx, game_id: str) -> Row | None:
    return tx.row(_with_studio().where(schema.games.c.id == game_id))


def lock_game(tx: Tx, game_id: str) -> Row | None:
    # Not FOR UPDATE: whoever starts a match of this game holds the match, and its foreign key must not wait for us.
    statement = _with_studio().where(schema.games.c.id == game_id)
    return tx.row(statement.with_for_update(of=schema.games, key_share=True))


def share_game(tx: Tx, game_id: str) -> Row | None:
    """The game, locked against a change of its state, but not against others who share it."""
    return tx.row(_with_studio().where(schema.games.c.id == game_id).with_for_update(of=schema.games, read=True))


def games_by_id(tx: Tx, game_ids: Sequence[str]) -> dict[str, Row]:
    rows = sets.select_in(tx, "SELECT * FROM games WHERE id {in}", sorted(set(game_ids)))
    return {row.id: row for row in rows}


def not_shut(tx: Tx, game_ids: Iterable[str]) -> set[str]:
    """Those of the games that are not suspended, or are and have matches that are starting or live."""
    rows = sets.select_in(
        tx,
        "SELECT g.id FROM games g WHERE g.id {in} AND (g.vetting <> 'suspended' OR EXISTS"
        " (SELECT 1 FROM matches m WHERE m.game_id = g.id AND m.status IN ('starting', 'live')))",
        sorted(set(game_ids)),
    )
    return {row[0] for row in rows}


def games_of_studio(tx: Tx, studio_id: str) -> Sequence[Row]:
    g = schema.games
    return tx.rows(_with_studio().where(g.c.studio_id == studio_id).order_by(g.c.created_at, g.c.id))


def approved(tx: Tx, after: str, limit: int) -> Sequence[Row]:
    g = schema.games
    return tx.rows(_with_studio().where(g.c.vetting == "approved", g.c.id > after).order_by(g.c.id).limit(limit))


def by_vetting(tx: Tx, vetting: str | None, after: str, limit: int, studio_id: str | None = None) -> Sequence[Row]:
    """All games, or those of a studio, in the order of their ids."""
    g = schema.games
    statement = _with_studio().where(g.c.id > after)
    if vetting is not None:
        statement = statement.where(g.c.vetting == vetting)
    if studio_id is not None:
        statement = statement.where(g.c.studio_id == studio_id)
    return tx.rows(statement.order_by(g.c.id).limit(limit))


def games_named(tx: Tx, name: str, limit: int) -> Sequence[Row]:
    """Those with exactly this name, of which the case does not count."""
    g = schema.games
    return tx.rows(sa.select(g).where(g.c.name_key == name.casefold()).order_by(g.c.id).limit(limit))


def games_with(tx: Tx, part: str, limit: int) -> Sequence[Row]:
    """Those with this in their name or id, whatever its case, in the order of their ids.

    No index helps with the middle of a name. The names of all games are read at the worst, and `limit` rows come.
    """
    g, key = schema.games, part.casefold()
    there = g.c.name_key.contains(key, autoescape=True) | g.c.id.contains(key, autoescape=True)
    return tx.rows(sa.select(g).where(there).order_by(g.c.id).limit(limit))


def in_review(tx: Tx, after: tuple[int, str] | None, limit: int) -> Sequence[Row]:
    """In the order in which they were submitted, from after (vetting_at, id)."""
    g = schema.games
    statement = _with_studio().where(g.c.vetting == "in-review")
    if after is not None:
        statement = statement.where(sa.tuple_(g.c.vetting_at, g.c.id) > sa.tuple_(*map(sa.literal, after)))
    return tx.rows(statement.order_by(g.c.vetting_at, g.c.id).limit(limit))


def templates(tx: Tx) -> Sequence[Row]:
    return tx.rows(sa.select(schema.games.c.id, schema.games.c.launch_urls))


# --- secrets ---------------------------------------------------------------------------------------------------------


def insert_secret(tx: Tx, **values: Any) -> None:
    tx.execute(schema.game_secrets.insert(), values)


def expire_secrets(tx: Tx, game_id: str, expires_at: int) -> None:
    """The secrets in use until now work until `expires_at`; those already expiring keep their earlier end."""
    s = schema.game_secrets
    tx.execute(s.update().where(s.c.game_id == game_id, s.c.expires_at.is_(None)).values(expires_at=expires_at))


def secrets_of(tx: Tx, game_ids: Sequence[str], kind: str, now: int) -> dict[str, list[str]]:
    """Values of the secrets that work now, newest first, by game."""
    rows = sets.select_in(
        tx,
        "SELECT game_id, kind, value, created_at, expires_at FROM game_secrets WHERE game_id {in}"
        " ORDER BY created_at DESC, id",
        sorted(set(game_ids)),
    )
    found: dict[str, list[str]] = {}
    for row in rows:
        if row.kind == kind and (row.expires_at is None or row.expires_at > now):
            found.setdefault(row.game_id, []).append(row.value)
    return found


# --- signing keys ----------------------------------------------------------------------------------------------------


def signing_keys(tx: Tx) -> Sequence[Row]:
    k = schema.signing_keys
    return tx.rows(sa.select(k).order_by(k.c.created_at.desc(), k.c.kid))


def insert_signing_key(tx: Tx, **values: Any) -> None:
    tx.execute(schema.signing_keys.insert(), values)


def retire_signing_keys(tx: Tx, now: int, expires_at: int) -> None:
    k = schema.signing_keys
    tx.execute(k.update().where(k.c.retired_at.is_(None)).values(retired_at=now, expires_at=expires_at))


def delete_signing_keys(tx: Tx) -> None:
    tx.execute(schema.signing_keys.delete())


def delete_webhook_secrets(tx: Tx) -> list[str]:
    """Games that lose their webhook secrets, because the key that encrypted them is gone."""
    s = schema.game_secrets
    rows = tx.rows(s.delete().where(s.c.kind == "webhook").returning(s.c.game_id))
    return sorted({row[0] for row in rows})


def platform(tx: Tx) -> Row | None:
    return tx.row(sa.select(schema.platform))


def update_platform(tx: Tx, **values: Any) -> None:
    tx.execute(schema.platform.update().values(**values))


def platform_is_free(tx: Tx) -> bool:
    """Lock the platform as `lock_platform` does, unless somebody else has: False then."""
    return bool(tx.rows(sa.select(schema.platform.c.id).with_for_update(skip_locked=True)))


def lock_platform(tx: Tx) -> None:
    tx.rows(sa.select(schema.platform.c.id).with_for_update())
