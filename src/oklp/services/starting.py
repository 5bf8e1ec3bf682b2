"""From the first confirmation to a live match: fees into escrow, the game told, its answer acted on (A3, B3)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from oklp import contract
from oklp.domain import ledger as books
from oklp.domain import matches as rules
from oklp.domain.ledger import PostingSet
from oklp.domain.matches import Lobby
from oklp.errors import AccountSuspended, GameSuspended, InsufficientFunds, InvariantBroken, NotFound, OklpError
from oklp.services import idempotency, ledger, matches, views, webhooks
from oklp.services.idempotency import Answer, Claim
from oklp.services.webhooks import Recorded, Reply
from oklp.settings import Settings
from oklp.storage import events, games, players
from oklp.storage import matches as store
from oklp.storage import webhooks as outbox
from oklp.storage.engine import Tx
from oklp.storage.tx import Row


@dataclass(frozen=True, slots=True)
class Confirm:
    """One player's confirmation. `owner` is the process that will send the webhook, should this be the last."""

    settings: Settings
    user_id: str
    match_id: str
    delivery_id: str
    owner: str
    now: int
    claim: Claim | None = None


@dataclass(slots=True)
class _Open:
    """A match while a batch of confirmations is decided."""

    row: Row
    lobby: Lobby
    changed: dict[str, Any] = field(default_factory=dict)

    @property
    def status(self) -> str:
        return str(self.changed.get("status", self.row.status))


@dataclass(slots=True)
class _Batch:
    """What a batch has loaded, and what it will write."""

    matches: dict[str, _Open]
    games: dict[str, Row]
    players: dict[str, Row]
    balances: dict[tuple[str, str], int]
    kept: dict[Any, Row]
    postings: list[PostingSet] = field(default_factory=list)
    told: list[tuple[str, str | None, str | None, int]] = field(default_factory=list)
    starts: list[tuple[dict[str, Any], webhooks.Sending]] = field(default_factory=list)
    answers: dict[Any, tuple[Claim, Answer]] = field(default_factory=dict)


def confirm(tx: Tx, jobs: Sequence[Confirm]) -> list[Answer | OklpError]:
    """Confirm and pay into escrow; the last confirmation of a match starts it. Set-based: jobs are decided in order.

    Refusals: NotFound, WrongState (not joined, not pending), InsufficientFunds, AccountSuspended, GameSuspended.
    Confirming twice pays once and answers the same.
    """
    batch = _load(tx, jobs)
    outcomes: list[Answer | OklpError] = [_decide_once(batch, job) for job in jobs]
    _write(tx, batch, jobs)
    return outcomes


def _load(tx: Tx, jobs: Sequence[Confirm]) -> _Batch:
    claims = [job.claim for job in jobs if job.claim is not None]
    kept = idempotency.find(tx, claims) if claims else {}
    rows = store.lock(tx, [job.match_id for job in jobs])
    seats = store.seats(tx, rows) if rows else {}
    user_ids = {job.user_id for job in jobs}
    return _Batch(
        matches={key: _Open(row, views.lobby(row, seats.get(key, []))) for key, row in rows.items()},
        games=games.games_by_id(tx, [row.game_id for row in rows.values()]) if rows else {},
        players=players.by_ids(tx, user_ids),
        balances={key: held.amount for key, held in ledger.lock(tx, user_ids).items()},
        kept=kept,
    )


def _decide_once(batch: _Batch, job: Confirm) -> Answer | OklpError:
    """Decide, unless the idempotency key has its answer: from before, or from earlier in this batch."""
    claim = job.claim
    if claim is not None:
        earlier = batch.answers.get(claim.key)
        row = batch.kept.get(claim.key)
        try:
            if earlier is not None:
                idempotency.check_body(claim, earlier[0].body_hash)
                return earlier[1]._replace(replayed=True)
            if row is not None:
                return idempotency.replay(claim, row)
        except OklpError as refusal:
            return refusal
    try:
        answer = Answer(200, _decide(batch, job).model_dump_json())
    except InvariantBroken:
        raise
    except OklpError as refusal:
        if claim is None or not idempotency.keepable(refusal):
            return refusal
        answer = Answer(refusal.status, idempotency.problem_json(refusal))
    if claim is not None:
        batch.answers[claim.key] = (claim, answer)
    return answer


def _decide(batch: _Batch, job: Confirm) -> contract.Match:
    match = batch.matches.get(job.match_id)
    if match is None or not matches.visible(match.row, match.lobby, job.user_id):
        raise NotFound(matches.NOT_FOUND)
    player = batch.players.get(job.user_id)
    if player is None or player.status != "active":
        raise AccountSuspended("Your account is suspended.")
    row, lobby = match.row, match.lobby
    own = lobby.active_seat(job.user_id)
    again = own is not None and own.state == rules.CONFIRMED
    if not again or match.status in rules.OVER:
        rules.permit(match.status, "confirm")
    if not again:
        if batch.games[row.game_id].vetting != "approved":
            raise GameSuspended("This game is suspended; its matches cannot begin.")
        _pay(batch, job, match)
        batch.told.append(("match", row.id, None, job.now))
        if row.entry_fee:
            batch.told.append(("wallet", None, job.user_id, job.now))
        if lobby.ready:
            _start(batch, job, match)
    return views.match_for_player(row, lobby.seats, job.user_id, match.changed)


def _pay(batch: _Batch, job: Confirm, match: _Open) -> None:
    row = match.row
    if row.entry_fee:
        key = (job.user_id, row.currency)
        available = batch.balances.get(key, 0)
        own = match.lobby.active_seat(job.user_id)
        if available < row.entry_fee and own is not None and own.state == rules.JOINED:
            raise InsufficientFunds(f"The entry fee is {row.entry_fee}; the balance is {available}.")
    seat = match.lobby.confirm(job.user_id)
    if seat is not None and row.entry_fee:
        batch.balances[key] = available - row.entry_fee
        batch.postings.append(books.hold(row.id, seat.id, job.user_id, row.entry_fee, row.currency))


def _start(batch: _Batch, job: Confirm, match: _Open) -> None:
    """Everyone has paid: tell the game, or go live at once when the game pulls (A4)."""
    row, now = match.row, job.now
    roster = match.lobby.roster()
    match.changed["roster"] = json.dumps(roster)
    game = batch.games[row.game_id]
    if row.discovery == "pull":
        match.changed.update(_live(row, now))
        return
    if game.webhook_url is None:
        raise InvariantBroken(f"game {row.game_id} pushes and has no webhook URL")
    body = views.match_info(row.id, roster)
    batch.starts.append(webhooks.start_rows(job.settings, row, game, job.delivery_id, body, job.owner, now))
    match.changed.update(status=rules.STARTING, start_delivery_id=job.delivery_id)


def _live(row: Row, now: int) -> dict[str, Any]:
    return {"status": rules.LIVE, "started_at": now, "results_due_at": now + row.results_due_seconds * 1000}


def _write(tx: Tx, batch: _Batch, jobs: Sequence[Confirm]) -> None:
    now = jobs[0].now
    touched = [match for match in batch.matches.values() if any(seat.changed for seat in match.lobby.seats)]
    store.update_seats(
        tx,
        [
            (seat.team_id, seat.slot, seat.state, now, seat.id)
            for match in touched
            for seat in match.lobby.seats
            if seat.changed
        ],
    )
    escrows = ledger.post(tx, batch.postings, now) if batch.postings else {}
    store.pay_in(tx, [(amount, match_id) for match_id, amount in sorted(escrows.items())])
    _write_started(tx, [(match.row.id, match.changed) for match in touched if match.changed])
    if batch.starts:
        webhooks.write_starts(tx, batch.starts, now)
    events.insert(tx, batch.told)
    if batch.answers:
        idempotency.keep(tx, list(batch.answers.values()))


def _write_started(tx: Tx, rows: list[tuple[str, dict[str, Any]]]) -> None:
    store.set_started(
        tx,
        [
            (
                changed["status"],
                changed["roster"],
                changed.get("started_at"),
                changed.get("results_due_at"),
                changed.get("start_delivery_id"),
                match_id,
            )
            for match_id, changed in rows
        ],
    )


# --- the worker's side -----------------------------------------------------------------------------------------------


def claim(tx: Tx, settings: Settings, owner: str, now: int, limit: int) -> list[webhooks.Sending]:
    """Lease the deliveries that are due. A start whose window has passed is not sent: its match is aborted (A3)."""
    late = outbox.too_late(tx, now, limit)
    if late:
        locked = store.lock(tx, late)
        matches.lock_refunds(tx, locked.values())
        for match in locked.values():
            delivery = late[match.id]
            if match.status == rules.STARTING and match.start_delivery_id == delivery.id:
                why = delivery.last_error or "no attempt was made"
                detail = f"The time to start the match ran out; the last attempt: {why}."
                matches.abort(tx, settings, [match.id], "game-refused", detail, now)
    if len(late) >= limit:
        return []  # there may be more of them: those first
    return webhooks.claim(tx, settings, owner, now, limit)


# --- the game's answer -----------------------------------------------------------------------------------------------


def record(tx: Tx, settings: Settings, delivery_id: str, attempt: int, owner: str, reply: Reply, now: int) -> Recorded:
    """Record a webhook attempt, and let its match go live or abort it. Guarded on state and attempt (design, 5)."""
    delivery = outbox.get(tx, delivery_id)
    if delivery is None:
        raise NotFound("There is no such delivery.")
    match = store.lock(tx, [delivery.match_id]).get(delivery.match_id) if delivery.match_id is not None else None
    recorded = webhooks.record(tx, delivery_id, attempt, owner, reply, now)
    waiting = match is not None and match.status == rules.STARTING and match.start_delivery_id == delivery_id
    if match is not None and waiting and recorded.started:
        store.update(tx, match.id, **_live(match, now))
        events.insert(tx, [("match", match.id, None, now)])
    elif match is not None and waiting and recorded.failed is not None:
        matches.abort(tx, settings, [match.id], "game-refused", recorded.failed, now)
    elif match is not None and _came_too_late(match, delivery.event, reply):
        webhooks.call_off_again(tx, settings, delivery_id, now)
    return recorded


def _came_too_late(match: Row, event: str, reply: Reply) -> bool:
    """Whether a game may believe that a match which was called off begins: by a start that was sent once more, or taken
    after it had been given up.
    """
    return event == webhooks.STARTED and match.status == rules.ABORTED and reply.maybe_received


def lapse(tx: Tx, settings: Settings, now: int, owner: str | None, limit: int) -> int:
    """Abort the matches whose start was interrupted: nobody knows whether the game heard of them."""
    lapsed = outbox.lapsed(tx, now, owner, limit)
    locked = store.lock(tx, [row.match_id for row in lapsed if row.match_id is not None]) if lapsed else {}
    matches.lock_refunds(tx, [row for row in locked.values() if row.status == rules.STARTING])
    outcomes = webhooks.lapse(tx, [row.id for row in lapsed], now, owner) if lapsed else []
    for each in outcomes:
        match = locked.get(each.match_id) if each.match_id is not None else None
        if match is not None and match.status == rules.STARTING and each.failed is not None:
            matches.abort(tx, settings, [match.id], "start-interrupted", each.failed, now)
        elif match is not None and match.status == rules.ABORTED:
            webhooks.call_off_again(tx, settings, each.delivery_id, now)
    return len(outcomes)
