"""Players, studio members, operators, sessions, failed log-ins."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa

from oklp.storage import schema, sets
from oklp.storage.tx import Row, Tx

PEOPLE = {"player": schema.players, "member": schema.members, "operator": schema.operators}


def email_key(email: str) -> str:
    """By which an address is looked for: case does not count, in whatever script.

    Letter by letter, or what stands beside a letter would count: `lower` makes another sigma at the end of a word. And
    a letter stays one: a whole `casefold` takes `straße` for `strasse`, which are two addresses, even two domains.
    """
    return "".join(one if len(one := letter.casefold()) == 1 else letter.lower() for letter in email)


def _with_key(values: dict[str, Any]) -> dict[str, Any]:
    return {**values, "email_key": email_key(values["email"])} if "email" in values else values


def insert_person(tx: Tx, kind: str, **values: Any) -> None:
    tx.execute(PEOPLE[kind].insert(), _with_key(values))


def person_by_name(tx: Tx, kind: str, username_key: str) -> Row | None:
    table = PEOPLE[kind]
    return tx.row(sa.select(table).where(table.c.username_key == username_key))


def person(tx: Tx, kind: str, person_id: str) -> Row | None:
    table = PEOPLE[kind]
    return tx.row(sa.select(table).where(table.c.id == person_id))


def members_named(tx: Tx, names: Iterable[str]) -> dict[str, Row]:
    """Who of the members has these names now, by `username_key`: username_key, studio_id, created_at."""
    keys = sorted({name.lower() for name in names})
    sql = "SELECT username_key, studio_id, created_at FROM members WHERE username_key {in}"
    return {row.username_key: row for row in sets.select_in(tx, sql, keys)}


def by_email(tx: Tx, kind: str, email: str, limit: int) -> Sequence[Row]:
    """Everybody with this address, whose case does not count."""
    table = PEOPLE[kind]
    wanted = table.c.email_key == email_key(email)
    return tx.rows(sa.select(table).where(wanted).order_by(table.c.username_key).limit(limit))


def lock_person(tx: Tx, kind: str, person_id: str) -> None:
    """Until the transaction ends, who else locks this person waits."""
    table = PEOPLE[kind]
    tx.row(sa.select(table.c.id).where(table.c.id == person_id).with_for_update())


def update_person(tx: Tx, kind: str, person_id: str, **values: Any) -> None:
    table = PEOPLE[kind]
    tx.execute(table.update().where(table.c.id == person_id).values(**_with_key(values)))


def delete_member(tx: Tx, member_id: str) -> None:
    tx.execute(schema.members.delete().where(schema.members.c.id == member_id))


def operators(tx: Tx, *, lock: bool = False) -> Sequence[Row]:
    """All of them, by name. Those who lock them decide one after the other."""
    o = schema.operators
    statement = sa.select(o).order_by(o.c.id)
    rows = tx.rows(statement.with_for_update() if lock else statement)
    return sorted(rows, key=lambda row: str(row.username_key))


def lock_player(tx: Tx, user_id: str) -> Row | None:
    return tx.row(sa.select(schema.players).where(schema.players.c.id == user_id).with_for_update())


def update_player(tx: Tx, user_id: str, **values: Any) -> None:
    update_person(tx, "player", user_id, **values)


def by_names(tx: Tx, username_keys: Iterable[str]) -> dict[str, Row]:
    rows = sets.select_in(
        tx, "SELECT id, username, username_key, status FROM players WHERE username_key {in}", sorted(set(username_keys))
    )
    return {row.username_key: row for row in rows}


def by_ids(tx: Tx, user_ids: Iterable[str]) -> dict[str, Row]:
    rows = sets.select_in(tx, "SELECT id, username, status, verified FROM players WHERE id {in}", sorted(set(user_ids)))
    return {row.id: row for row in rows}


def share(tx: Tx, user_id: str) -> Row | None:
    """The player, locked against a change of his state, but not against others who share him."""
    p = schema.players
    wanted = sa.select(p.c.id, p.c.username, p.c.status, p.c.verified).where(p.c.id == user_id)
    return tx.row(wanted.with_for_update(read=True))


def search(tx: Tx, username_key: str, limit: int) -> Sequence[Row]:
    p = schema.players
    escaped = username_key.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return tx.rows(
        sa.select(p.c.id, p.c.username)
        .where(p.c.username_key.like(f"{escaped}%", escape="\\"), p.c.status == "active")
        .order_by(p.c.username_key)
        .limit(limit)
    )


def page(tx: Tx, username_key: str, after: str, limit: int) -> Sequence[Row]:
    p = schema.players
    escaped = username_key.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return tx.rows(
        sa.select(p)
        .where(p.c.username_key.like(f"{escaped}%", escape="\\"), p.c.username_key > after)
        .order_by(p.c.username_key)
        .limit(limit)
    )


def shares_a_match(tx: Tx, game_id: str, user_id: str) -> bool:
    """True if the player is or was in a match of this game: took a seat, whether or not he gave it back."""
    m, s = schema.matches, schema.seats
    found = tx.row(
        sa.select(s.c.id)
        .join(m, m.c.id == s.c.match_id)
        .where(s.c.user_id == user_id, m.c.game_id == game_id, s.c.state.in_(["joined", "confirmed", "left"]))
        .limit(1)
    )
    return found is not None


# --- sessions --------------------------------------------------------------------------------------------------------


def insert_session(tx: Tx, **values: Any) -> None:
    tx.execute(schema.sessions.insert(), values)


def sessions(tx: Tx, hashes: Sequence[str]) -> dict[str, Row]:
    """Log-ins with whose they are: a player, a studio's member (with its studio and role) or an operator (with its)."""
    rows = sets.select_in(
        tx,
        "SELECT s.token_hash, s.kind, s.subject_id, s.expires_at,"
        " coalesce(p.username, m.username, o.username) AS username, coalesce(p.status, o.status) AS status,"
        " m.studio_id, coalesce(m.role, o.role) AS role,"
        " coalesce(p.second_factor, m.second_factor, o.second_factor) AS second_factor"
        " FROM sessions s LEFT JOIN players p ON s.kind = 'player' AND p.id = s.subject_id"
        " LEFT JOIN members m ON s.kind = 'member' AND m.id = s.subject_id"
        " LEFT JOIN operators o ON s.kind = 'operator' AND o.id = s.subject_id"
        " WHERE s.token_hash {in}",
        hashes,
    )
    return {row.token_hash: row for row in rows}


def renew_session(tx: Tx, token_hash: str, new_hash: str) -> bool:
    """False when there is no such session."""
    s = schema.sessions
    return tx.execute(s.update().where(s.c.token_hash == token_hash).values(token_hash=new_hash)).rowcount == 1


def delete_session(tx: Tx, token_hash: str) -> None:
    tx.execute(schema.sessions.delete().where(schema.sessions.c.token_hash == token_hash))


def delete_sessions_of(tx: Tx, subject_id: str, but: str | None = None) -> None:
    """All of a person's, but the one with this hash."""
    s = schema.sessions
    wanted = s.c.subject_id == subject_id
    tx.execute(s.delete().where(wanted if but is None else sa.and_(wanted, s.c.token_hash != but)))


def sessions_of(tx: Tx, subject_id: str, now: int) -> Sequence[Row]:
    """Newest first."""
    s = schema.sessions
    wanted = (s.c.subject_id == subject_id, s.c.expires_at > now)
    return tx.rows(sa.select(s).where(*wanted).order_by(s.c.created_at.desc(), s.c.token_hash))


def insert_failure(tx: Tx, key: str, now: int) -> None:
    tx.execute(schema.login_failures.insert(), {"key": key, "at": now})


def failures_since(tx: Tx, key: str, since: int) -> tuple[int, int | None]:
    """How many, and when the oldest of them was."""
    f = schema.login_failures
    row = tx.rows(sa.select(sa.func.count(), sa.func.min(f.c.at)).where(f.c.key == key, f.c.at > since))[0]
    return int(row[0]), row[1]


def clear_failures(tx: Tx, key: str) -> None:
    tx.execute(schema.login_failures.delete().where(schema.login_failures.c.key == key))
