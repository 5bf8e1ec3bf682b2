"""Listeners: in the sandbox, a game's deliveries by way of a developer's own machine (decision 0009).

A game has one listener at the most, who holds it for a while and renews. Whatever is to be sent meanwhile is parked as
a *relay*: the request, encrypted where it is a credential. It is handed to the listener over and over, until somebody
answers it or its time is out; so a connection that is cut loses nothing. What came of it is the outcome of the attempt,
as if the platform had reached the game itself.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from oklp import contract
from oklp.errors import NotFound, WrongState
from oklp.services.vault import Vault
from oklp.settings import Settings
from oklp.storage import games, relays
from oklp.storage.engine import Tx
from oklp.storage.relays import Key
from oklp.storage.tx import Row

__all__ = ["Key", "answer", "attach", "closed", "detach", "expire", "hand_over", "park", "renew", "waiting"]

LEASE_MS = 15_000
RENEW_SECONDS = 5.0
KEPT_MS = 600_000
BATCH = 200
SANDBOX_ONLY = "Listeners are the sandbox's: in production the platform calls each game at its own URL."


class Relayed(NamedTuple):
    """A request to forward or, when `missed`, one that nobody got in time."""

    key: Key
    event: str
    match_id: str | None
    method: str
    url: str
    headers: Mapping[str, str]
    body: str
    expires_at: int
    missed: bool


class Waiting(NamedTuple):
    """What is there for a listener; `replaced_by` is who listens in his place."""

    relays: list[Relayed]
    replaced_by: str | None


class Closed(NamedTuple):
    """A relay that is over. Without an answer the time was out, or the listener left."""

    answer: contract.ForwardedAnswer | None
    handed: bool


# --- who listens -----------------------------------------------------------------------------------------------------


def attach(tx: Tx, settings: Settings, game_id: str, listener_id: str, by: str, resume: bool, now: int) -> str | None:
    """Listen to a game, in place of whoever did; returns its webhook URL. Raises WrongState outside of the sandbox.

    With `resume` somebody else who listens by now keeps the game: WrongState too.
    """
    if not settings.sandbox:
        raise WrongState(SANDBOX_ONLY)
    row = games.lock_game(tx, game_id)
    if row is None:
        raise NotFound("There is no such game.")
    if resume and row.listener_id not in (None, listener_id) and _held(row, now):
        raise WrongState(f"{row.listener_by} listens to {game_id} now.")
    games.update_game(tx, game_id, listener_id=listener_id, listener_by=by, listener_until=now + LEASE_MS)
    tx.notify("listeners")
    return None if row.webhook_url is None else str(row.webhook_url)


def _held(row: Row, now: int) -> bool:
    return row.listener_until is not None and row.listener_until > now


def renew(tx: Tx, game_id: str, listener_id: str, now: int) -> None:
    """Go on listening; without effect for one who was replaced."""
    relays.renew_listener(tx, game_id, listener_id, now + LEASE_MS)


def detach(tx: Tx, game_id: str, listener_id: str, now: int) -> None:
    """Listen no longer: deliveries go to the game's URL again, and what was not answered yet has failed."""
    if relays.renew_listener(tx, game_id, listener_id, None):
        relays.close_all_of(tx, game_id, listener_id, now)
        tx.notify("listeners")
        tx.notify("answers")


# --- the sender's side -----------------------------------------------------------------------------------------------


def park(tx: Tx, vault: Vault, key: Key, game_id: str, headers: Mapping[str, str], now: int, expires_at: int) -> bool:
    """Leave a request for the listener; False if there is none any more.

    Its `Authorization` is encrypted, and forgotten when it is over.
    """
    row = relays.listener(tx, game_id)
    if row is None or not _held(row, now):
        return False
    authorization = headers.get("Authorization")
    relays.insert(
        tx,
        **key._asdict(),
        game_id=game_id,
        listener_id=row.listener_id,
        headers=json.dumps({name: value for name, value in headers.items() if name != "Authorization"}),
        authorization=None if authorization is None else vault.encrypt(authorization),
        created_at=now,
        expires_at=expires_at,
    )
    tx.notify("listeners")
    return True


def closed(tx: Tx, keys: Sequence[Key]) -> dict[Key, Closed]:
    """Those of the relays that are over."""
    return {key: _closed(row) for key, row in relays.closed(tx, keys).items()}


def expire(tx: Tx, key: Key, now: int) -> Closed:
    """Close a relay whose time is out. An answer that was faster counts."""
    row = relays.lock(tx, key)
    if row is None:
        raise NotFound("There is no such relay.")
    relays.close(tx, key, None, now)
    tx.notify("listeners")
    return _closed(row)


def _closed(row: Row) -> Closed:
    given = None if row.answer is None else contract.ForwardedAnswer.model_validate_json(row.answer)
    return Closed(given, row.handed_at is not None)


# --- the listener's side ---------------------------------------------------------------------------------------------


def waiting(tx: Tx, vault: Vault, game_id: str, listener_id: str, known: frozenset[tuple[Key, bool]]) -> Waiting:
    """What is there to forward, or was missed, but for what is `known` already."""
    row = relays.listener(tx, game_id)
    if row is None or row.listener_id != listener_id:
        return Waiting([], row.listener_by if row is not None and row.listener_by is not None else "somebody else")
    rows = relays.open_or_missed(tx, game_id, listener_id)
    fresh = [row for row in rows if _name(row) not in known][:BATCH]
    return Waiting([_relayed(vault, row) for row in fresh], None)


def _name(row: Row) -> tuple[Key, bool]:
    return Key(row.delivery_id, row.attempt, row.copy), row.closed_at is not None


def _relayed(vault: Vault, row: Row) -> Relayed:
    headers: dict[str, str] = json.loads(row.headers)
    if row.authorization is not None:
        headers["Authorization"] = vault.decrypt(row.authorization)
    key, missed = _name(row)
    return Relayed(key, row.event, row.match_id, row.method, row.url, headers, row.body, int(row.expires_at), missed)


def hand_over(tx: Tx, keys: Sequence[Key], now: int) -> set[Key]:
    """Before requests leave for a listener: those of them that are still to be forwarded."""
    return relays.hand_over(tx, keys, now)


def answer(tx: Tx, game_id: str, key: Key, given: contract.ForwardedAnswer, now: int) -> contract.Forwarded:
    """What came of a request that was forwarded. The first answer in time counts. Raises NotFound."""
    row = relays.lock(tx, key)
    if row is None or row.game_id != game_id:
        raise NotFound("There is no such delivery on its way to a listener.")
    text = given.model_dump_json()
    if row.closed_at is not None:
        return contract.Forwarded(counts=row.answer == text)
    relays.close(tx, key, text, now)
    tx.notify("answers")
    return contract.Forwarded(counts=True)
