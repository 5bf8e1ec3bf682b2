"""Second factors: time-based codes, recovery codes, passkeys; and the challenges that passkeys answer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa

from oklp.storage import schema, sets
from oklp.storage.tx import Row, Tx

t = schema.totp
r = schema.recovery_codes
p = schema.passkeys
c = schema.challenges

# --- time-based codes ------------------------------------------------------------------------------------------------


def totp_of(tx: Tx, person_id: str) -> Row | None:
    return tx.row(sa.select(t).where(t.c.person_id == person_id))


def put_totp(tx: Tx, person_id: str, secret: str, now: int) -> None:
    """A secret that has yet to be confirmed, in the place of one that was not."""
    tx.execute(t.delete().where(t.c.person_id == person_id, t.c.confirmed_at.is_(None)))
    tx.execute(t.insert(), {"person_id": person_id, "secret": secret, "last_step": 0, "created_at": now})


def confirm_totp(tx: Tx, person_id: str, now: int) -> None:
    tx.execute(t.update().where(t.c.person_id == person_id).values(confirmed_at=now))


def use_step(tx: Tx, person_id: str, step: int) -> bool:
    """Use up the code of this time step; False when it, or a later one, was used before."""
    wanted = (t.c.person_id == person_id, t.c.last_step < step)
    return tx.execute(t.update().where(*wanted).values(last_step=step)).rowcount == 1


def delete_totp(tx: Tx, person_id: str) -> bool:
    """False when there was none that is confirmed."""
    wanted = (t.c.person_id == person_id, t.c.confirmed_at.is_not(None))
    return tx.execute(t.delete().where(*wanted)).rowcount == 1


# --- recovery codes --------------------------------------------------------------------------------------------------


def codes_left(tx: Tx, person_id: str) -> int:
    return int(tx.execute(sa.select(sa.func.count()).where(r.c.person_id == person_id)).scalar_one())


def replace_codes(tx: Tx, person_id: str, hashes: Iterable[str]) -> None:
    tx.execute(r.delete().where(r.c.person_id == person_id))
    sets.insert_rows(tx, r, ("person_id", "code_hash"), [(person_id, each) for each in hashes])


def use_code(tx: Tx, person_id: str, code_hash: str) -> bool:
    return tx.execute(r.delete().where(r.c.person_id == person_id, r.c.code_hash == code_hash)).rowcount == 1


# --- passkeys --------------------------------------------------------------------------------------------------------


def insert_passkey(tx: Tx, **values: Any) -> None:
    tx.execute(p.insert(), values)


def passkeys_of(tx: Tx, person_id: str) -> Sequence[Row]:
    return tx.rows(sa.select(p).where(p.c.person_id == person_id).order_by(p.c.created_at, p.c.id))


def passkey(tx: Tx, kind: str, credential_id: str) -> Row | None:
    return tx.row(sa.select(p).where(p.c.kind == kind, p.c.credential_id == credential_id))


def use_passkey(tx: Tx, passkey_id: str, sign_count: int, now: int) -> bool:
    """Record a use; False when its count is not above the last one: two devices have the same key, or it is a replay.

    Authenticators that do not count always say 0.
    """
    risen = sa.or_(p.c.sign_count < sign_count, sa.and_(p.c.sign_count == 0, sa.literal(sign_count) == 0))
    done = tx.execute(p.update().where(p.c.id == passkey_id, risen).values(sign_count=sign_count, last_used_at=now))
    return done.rowcount == 1


def delete_passkey(tx: Tx, person_id: str, passkey_id: str) -> bool:
    return tx.execute(p.delete().where(p.c.person_id == person_id, p.c.id == passkey_id)).rowcount == 1


def delete_all(tx: Tx, person_id: str) -> None:
    """Every second factor of a person."""
    for table in (t, r, p):
        tx.execute(table.delete().where(table.c.person_id == person_id))


def forget_apps(tx: Tx) -> int:
    """Every authenticator app: the key that its secret was encrypted with is gone. Returns of how many people.

    Passkeys and recovery codes stay. Who has neither has no second factor any more.
    """
    rows = tx.rows(t.delete().returning(t.c.confirmed_at))
    left = sa.union(sa.select(p.c.person_id), sa.select(r.c.person_id))
    for people in (schema.players, schema.members, schema.operators):
        without = sa.and_(people.c.second_factor, people.c.id.not_in(left))
        tx.execute(people.update().where(without).values(second_factor=False))
    return sum(row[0] is not None for row in rows)


# --- challenges ------------------------------------------------------------------------------------------------------


def insert_challenge(tx: Tx, **values: Any) -> None:
    tx.execute(c.insert(), values)


def take_challenge(tx: Tx, challenge_hash: str, purpose: str, kind: str, now: int) -> Row | None:
    """The challenge, which is used up by this."""
    wanted = (c.c.challenge_hash == challenge_hash, c.c.purpose == purpose, c.c.kind == kind, c.c.expires_at > now)
    row = tx.row(sa.select(c).where(*wanted))
    if row is None:
        return None
    return row if tx.execute(c.delete().where(c.c.challenge_hash == challenge_hash)).rowcount == 1 else None


def sweep(tx: Tx, now: int) -> None:
    tx.execute(c.delete().where(c.c.expires_at < now))
