"""Faults that a studio injects into what passes between the sandbox and its game (docs/faults.md).

Setting one is all that changes anything here: what a fault does to a request is `oklp/faults.py` for webhooks and
`web/faults.py` for calls, and both take it in a transaction, so that it strikes just as often as was asked, however
many processes there are.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from oklp import contract
from oklp.domain import faults as rules
from oklp.errors import Conflict, LimitReached, NotFound
from oklp.services import views
from oklp.settings import Settings
from oklp.storage import events
from oklp.storage import faults as store
from oklp.storage import webhooks as outbox
from oklp.storage.engine import Tx
from oklp.storage.tx import Row

KINDS = rules.KINDS
PUT, DELETE = rules.PUT, rules.DELETE
ISSUER, INFO, FINISH, READ, ANY = rules.ISSUER, rules.INFO, rules.FINISH, rules.READ, rules.ANY

Armed = Mapping[str, frozenset[str]]
"""Game → the points at which faults of its may still strike."""


class Stroke(NamedTuple):
    """A fault that strikes now. Options that its kind does not take are None."""

    kind: str
    delay_seconds: float | None = None
    offset_seconds: int | None = None
    retry_after_seconds: int | None = None


# --- the studio's side -----------------------------------------------------------------------------------------------


def inject(
    tx: Tx, settings: Settings, actor: str, game_id: str, request: contract.NewFault, now: int
) -> contract.Fault:
    """From now on the fault strikes, as often as it says. Those set before it come first.

    Raises Conflict in production, InvalidRequest (kind, options), LimitReached.
    """
    _check_sandbox(settings)
    options = contract.FaultOptions.model_validate(request.model_dump(include=set(contract.FaultOptions.model_fields)))
    chosen = rules.choose(request.kind, options.model_dump(exclude_none=True))
    if len(store.of_game(tx, game_id)) >= rules.MAX_A_GAME and not store.delete(tx, game_id, spent=True):
        raise LimitReached(f"A game has at most {rules.MAX_A_GAME} faults; clear some.")
    row = store.insert(
        tx,
        game_id=game_id,
        kind=chosen.kind,
        point=chosen.point,
        options=json.dumps(chosen.options),
        times=request.times,
        created_by=actor,
        created_at=now,
    )
    _audit(tx, actor, "fault.inject", game_id, {"kind": chosen.kind, "times": request.times, **chosen.options}, now)
    tx.notify("faults")
    return _fault(row)


def of_game(tx: Tx, settings: Settings, game_id: str) -> contract.FaultList:
    _check_sandbox(settings)
    return contract.FaultList(faults=[_fault(row) for row in store.of_game(tx, game_id)])


def clear(tx: Tx, settings: Settings, actor: str, game_id: str, fault_id: str | None, now: int) -> None:
    """Drop one fault, or all of the game's. What has struck is not undone. Raises Conflict in production, NotFound."""
    _check_sandbox(settings)
    gone = store.delete(tx, game_id, fault_id=None if fault_id is None else int(fault_id))
    if fault_id is not None and not gone:
        raise NotFound("There is no such fault.")
    _audit(tx, actor, "fault.clear", game_id, {"fault_id": fault_id, "cleared": gone}, now)
    tx.notify("faults")


def _check_sandbox(settings: Settings) -> None:
    if not settings.sandbox:
        raise Conflict("Faults are injected in the sandbox only; this is a production server.")


def _fault(row: Row) -> contract.Fault:
    return contract.Fault(
        fault_id=str(row.id),
        game_id=row.game_id,
        kind=row.kind,
        times=row.times,
        fired=row.fired,
        left=row.times - row.fired,
        created_by=row.created_by,
        created_at=views.when(row.created_at),
        last_fired_at=views.maybe_when(row.last_fired_at),
        **json.loads(row.options),
    )


def _audit(tx: Tx, actor: str, action: str, game_id: str, detail: Mapping[str, Any], now: int) -> None:
    events.insert_audit(
        tx, at=now, actor=actor, action=action, subject=f"game:{game_id}", reason=None, detail=json.dumps(detail)
    )


# --- striking --------------------------------------------------------------------------------------------------------


def armed(tx: Tx) -> Armed:
    """What every process keeps in memory, so that a game without faults costs it one look."""
    found: dict[str, set[str]] = {}
    for game_id, point in store.armed(tx):
        found.setdefault(game_id, set()).add(point)
    return {game_id: frozenset(points) for game_id, points in found.items()}


def strike_call(tx: Tx, game_id: str, point: str, now: int) -> Stroke | None:
    """The fault that a call of the game's meets, if it meets one."""
    points = {point} if point == ISSUER else {point, ANY}
    return _strike(tx, game_id, points, now)


def strike_webhook(tx: Tx, game_id: str, point: str, delivery_id: str, attempt: int, now: int) -> Stroke | None:
    """The fault that an attempt of a delivery meets, if it meets one. The attempt's record says so from here on."""
    stroke = _strike(tx, game_id, {point}, now)
    if stroke is not None:
        outbox.finish_attempt(tx, delivery_id, attempt, fault=stroke.kind)
    return stroke


def _strike(tx: Tx, game_id: str, points: set[str], now: int) -> Stroke | None:
    row = store.take(tx, game_id, points, now)
    if row is None:
        return None
    if row.fired == row.times:
        tx.notify("faults")
    options = json.loads(row.options)
    return Stroke(row.kind, *(options.get(name) for name in Stroke._fields[1:]))
