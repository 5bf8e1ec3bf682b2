"""The outbox: what games are told, in the transaction that makes it true (contract section A3; design, section 5).

A delivery is born leased to the process that writes it, with its attempt recorded, so that it is on its way within
milliseconds of the commit and a crash leaves the trace of a request that may have been sent. The worker sends with no
transaction open and records the outcome in another. Nothing here touches the network.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from oklp import contract
from oklp.errors import NotFound, WrongState, invalid
from oklp.services import views
from oklp.settings import Settings
from oklp.storage import games, matches
from oklp.storage import webhooks as store
from oklp.storage.engine import Tx
from oklp.storage.tx import Row

STARTED = "match.started"
ABORTED = "match.aborted"
TEST = "test"

LEASE_MARGIN_MS = 5_000
FIRST_BACKOFF_MS = 1_000
LONGEST_BACKOFF_MS = 600_000
# More attempts of a DELETE than its pauses leave room for: it is given up by the clock.
SPARE_ATTEMPTS = 20
# Answers to a DELETE that will not change: the game never built it.
FINAL_REFUSALS = frozenset(range(400, 500)) - {408, 409, 425, 429} | {501}


class Sending(NamedTuple):
    """One attempt that the worker must make now."""

    delivery_id: str
    game_id: str
    event: str
    method: str
    url: str
    body: str
    attempt: int
    created_at: int
    lease_until: int
    relayed: bool = False  # to whoever listens, in place of the URL


class Reply(NamedTuple):
    """What came of an attempt. It was delivered if, and only if, `error` is None.

    `complete`: the head of an answer came; `sent`: the receiver may have seen the request.
    """

    status: int | None
    headers: Mapping[str, str] | None
    body: str | None
    error: str | None
    duration_ms: int
    complete: bool
    sent: bool
    request_headers: Mapping[str, str]
    url: str | None = None  # where a listener has forwarded it to, in place of the URL of the attempt

    @property
    def maybe_received(self) -> bool:
        """Whether the game may have taken it: accepted, or no complete answer came (contract section A3)."""
        return self.status == 200 or (self.sent and not self.complete)


def lease_ms(settings: Settings) -> int:
    """How long a sender may take: the whole time-out and a margin. After it the attempt counts as lost."""
    return int(settings.webhook_timeout_seconds * 1000) + LEASE_MARGIN_MS


def _row(
    delivery_id: str, game_id: str, match_id: str | None, event: str, url: str, body: str, now: int
) -> dict[str, Any]:
    return {
        "id": delivery_id,
        "game_id": game_id,
        "match_id": match_id,
        "event": event,
        "method": "DELETE" if event == ABORTED else "PUT",
        "url": url,
        "body": body,
        "state": "waiting",
        "attempts": 0,
        "attempts_left": 1,
        "next_attempt_at": now,
        "give_up_at": now,
        "maybe_received": False,
        "lease_owner": None,
        "lease_until": None,
        "created_at": now,
    }


def listened(game: Row, now: int) -> bool:
    """Whether the game's deliveries go to a listener (services/listening.py), which only the sandbox has."""
    return game.listener_until is not None and game.listener_until > now


def start_rows(
    settings: Settings, match: Row, game: Row, delivery_id: str, body: str, owner: str, now: int
) -> tuple[dict[str, Any], Sending]:
    """The delivery that tells a game to start, leased to `owner` with its first attempt on the way."""
    url = game.webhook_url
    row = _row(delivery_id, match.game_id, match.id, STARTED, url, body, now)
    row.update(
        state="sending",
        attempts=1,
        attempts_left=match.start_retries,
        next_attempt_at=None,
        give_up_at=now + settings.start_window_seconds * 1000,
        lease_owner=owner,
        lease_until=now + lease_ms(settings),
    )
    what = (delivery_id, match.game_id, STARTED, "PUT", url, body)
    sending = Sending(*what, 1, now, row["lease_until"], listened(game, now))
    return row, sending


def write_starts(tx: Tx, starts: Sequence[tuple[dict[str, Any], Sending]], now: int) -> None:
    store.insert(tx, [row for row, _ in starts])
    store.insert_attempts(tx, [(sending.delivery_id, 1, now, sending.url) for _, sending in starts])
    tx.handoffs.extend(sending for _, sending in starts)


def test_event(tx: Tx, game: Row, delivery_id: str, match_id: str, event: contract.TestEvent, now: int) -> None:
    """What a real match would send, with `"test": true` and a match that does not exist, to see a receiver work.

    Raises WrongState, InvalidRequest. A match that does exist is refused: its game would believe what it is told.
    """
    if game.webhook_url is None:
        raise WrongState("This game has no match info webhook URL.")
    if matches.get(tx, [match_id]):
        raise invalid("match_id", "is a match that exists; a test event is about none")
    teams = [f"test-{n}" for n in range(1, event.teams + 1)]
    body = {
        "match_id": match_id,
        "participants": [
            {"id": f"00000000-0000-4000-8000-{n + 1:012}", "team_id": teams[n * event.teams // event.participants]}
            for n in range(event.participants)
        ],
        "teams": [{"id": team} for team in teams],
        "test": True,
    }
    row = _row(delivery_id, game.id, None, TEST, game.webhook_url, json.dumps(body), now)
    row["method"] = "DELETE" if event.event == ABORTED else "PUT"
    store.insert(tx, [row])
    tx.notify("deliveries")


def call_off(tx: Tx, settings: Settings, rows: Iterable[Row], now: int) -> None:
    """For matches about to be aborted: stop what would start them, and tell each game that may know of its match."""
    told = {row.start_delivery_id: row for row in rows if row.start_delivery_id is not None}
    if not told:
        return
    aborts = []
    for delivery_id, delivery in store.lock(tx, told).items():
        match = told[delivery_id]
        after = now
        if delivery.state == "sending":
            # The start is on the wire. The abort must come after it, or the game would keep the match.
            after = delivery.lease_until
            # Should it fail, it is not tried again: the match will never be played.
            store.update(tx, delivery_id, attempts_left=0)
        elif delivery.state == "waiting":
            store.update(tx, delivery_id, state="failed", next_attempt_at=None, last_error="The match was aborted.")
        if delivery.maybe_received or delivery.state == "sending":
            abort_id = aborts_of(delivery_id)[0]  # it goes where the start went: there the match is known
            row = _row(abort_id, match.game_id, match.id, ABORTED, delivery.url, delivery.body, now)
            aborts.append(row | _until_heard(settings, after))
    store.insert(tx, aborts)
    if aborts:
        tx.notify("deliveries")


def call_off_again(tx: Tx, settings: Settings, delivery_id: str, now: int) -> None:
    """For a start that may have reached its game when its match was aborted already.

    Whatever the game was told before, the last that it hears is that there is no such match.
    """
    aborts = aborts_of(delivery_id)
    locked = store.lock(tx, [delivery_id, *aborts])
    start = locked[delivery_id]
    for abort_id in aborts:
        abort = locked.get(abort_id)
        if abort is None:
            row = _row(abort_id, start.game_id, start.match_id, ABORTED, start.url, start.body, now)
            store.insert(tx, [row | _until_heard(settings, now)])
        elif abort.state == "sending":
            continue  # it may come before the start: another one follows it
        elif abort.state != "waiting":
            store.update(tx, abort_id, state="waiting", **_until_heard(settings, now))
        tx.notify("deliveries")
        return


def aborts_of(delivery_id: str) -> tuple[str, str]:
    """The ids of the DELETEs that a start may be followed by: the first, and one for when that may have been early."""
    return f"{delivery_id}-abort", f"{delivery_id}-abort-again"


def _until_heard(settings: Settings, after: int) -> dict[str, Any]:
    """Of a DELETE: when it is sent first, how often, and until when."""
    attempts = settings.abort_retry_seconds * 1000 // LONGEST_BACKOFF_MS + SPARE_ATTEMPTS
    until = after + settings.abort_retry_seconds * 1000
    return {"next_attempt_at": after, "attempts_left": attempts, "give_up_at": until}


# --- the worker's side -----------------------------------------------------------------------------------------------


def claim(tx: Tx, settings: Settings, owner: str, now: int, limit: int) -> list[Sending]:
    """Lease the deliveries that are due; each one's attempt is recorded before it is made."""
    rows = store.due(tx, now, limit)
    known = games.games_by_id(tx, [row.game_id for row in rows])
    until = now + lease_ms(settings)
    sendings = []
    for row in rows:
        game = known[row.game_id]
        # The studio may have corrected its URL since. Aborts go where the start went.
        url = row.url if row.event == ABORTED else game.webhook_url or row.url
        attempt = row.attempts + 1
        sendings.append(
            Sending(
                row.id,
                row.game_id,
                row.event,
                row.method,
                url,
                row.body,
                attempt,
                row.created_at,
                until,
                listened(game, now),
            )
        )
    left = {row.id: max(row.attempts_left - 1, 0) for row in rows}
    store.lease(
        tx, [(each.attempt, left[each.delivery_id], owner, until, each.url, each.delivery_id) for each in sendings]
    )
    store.insert_attempts(tx, [(each.delivery_id, each.attempt, now, each.url) for each in sendings])
    return sendings


def renew(tx: Tx, settings: Settings, sending: Sending, owner: str, now: int) -> Sending | None:
    """The attempt with the time that a whole exchange takes; None when it is lost already, and must not be made."""
    until = now + lease_ms(settings)
    held = store.renew(tx, sending.delivery_id, sending.attempt, owner, until)
    return sending._replace(lease_until=until) if held else None


class Recorded(NamedTuple):
    """What recording an attempt means for the match of a start: the caller acts on it in the same transaction."""

    match_id: str | None
    started: bool = False
    failed: str | None = None
    delivery_id: str = ""


def record(tx: Tx, delivery_id: str, attempt: int, owner: str, reply: Reply, now: int) -> Recorded:
    """Record an attempt's outcome, and decide what follows: delivered, another attempt, or given up.

    An attempt that lost its lease is still logged, and decides nothing. The match, if any, is locked by the caller.
    """
    delivery = store.lock(tx, [delivery_id])[delivery_id]
    tx.notify("outcomes")
    store.finish_attempt(
        tx,
        delivery_id,
        attempt,
        duration_ms=reply.duration_ms,
        request_headers=json.dumps(dict(reply.request_headers)),
        status=reply.status,
        response_headers=None if reply.headers is None else json.dumps(dict(reply.headers)),
        response_body=reply.body,
        error=reply.error,
        **({} if reply.url is None else {"url": reply.url}),
    )
    if delivery.state != "sending" or delivery.attempts != attempt or delivery.lease_owner != owner:
        return Recorded(delivery.match_id)
    changes: dict[str, Any] = {
        "lease_owner": None,
        "lease_until": None,
        "last_status": reply.status,
        "last_error": reply.error,
        "maybe_received": delivery.maybe_received or reply.maybe_received,
    }
    return _decide(tx, delivery, reply, changes, now)


def _decide(tx: Tx, delivery: Row, reply: Reply, changes: dict[str, Any], now: int) -> Recorded:
    aborting = delivery.method == "DELETE"
    status = reply.status
    if reply.error is None or (aborting and status is not None and 200 <= status < 300):
        changes["last_error"] = None
        store.update(tx, delivery.id, state="delivered", next_attempt_at=None, **changes)
        _release_abort(tx, delivery, now)
        return Recorded(delivery.match_id, started=delivery.event == STARTED)
    next_at = now + _backoff_ms(tx, delivery)
    if aborting and status in FINAL_REFUSALS:
        next_at = delivery.give_up_at + 1
    if delivery.attempts_left > 0 and next_at <= delivery.give_up_at:
        store.update(tx, delivery.id, state="waiting", next_attempt_at=next_at, **changes)
        tx.notify("deliveries")
        return Recorded(delivery.match_id)
    store.update(tx, delivery.id, state="failed", next_attempt_at=None, **changes)
    _release_abort(tx, delivery, now)
    why = reply.error or f"The game answered {status}."
    return Recorded(delivery.match_id, failed=why if delivery.event == STARTED else None)


def _release_abort(tx: Tx, delivery: Row, now: int) -> None:
    """A start has come back: an abort that waited for it may go."""
    if delivery.event == STARTED and delivery.match_id is not None:
        store.hurry(tx, delivery.match_id, now)
        tx.notify("deliveries")


def _backoff_ms(tx: Tx, delivery: Row) -> int:
    if delivery.event == STARTED:
        match = matches.get(tx, [delivery.match_id])[delivery.match_id]
        return int(match.start_backoff_seconds * 1000 * 2 ** min(delivery.attempts - 1, 6))
    return int(min(FIRST_BACKOFF_MS * 2 ** min(delivery.attempts - 1, 20), LONGEST_BACKOFF_MS))


def lapse(tx: Tx, delivery_ids: Sequence[str], now: int, owner: str | None) -> list[Recorded]:
    """Attempts whose sender never came back (a crash): starts have failed, and may have been received.

    With `owner`, every attempt of another owner counts as lost: an embedded database has one server. The matches are
    locked by the caller.
    """
    outcomes = []
    for row in store.lock(tx, delivery_ids).values():
        gone = row.state == "sending" and (row.lease_until <= now if owner is None else row.lease_owner != owner)
        if not gone:
            continue  # its sender came back, or another node found it first
        error = "The attempt was interrupted; what came of it is not known."
        store.finish_attempt(tx, row.id, row.attempts, error=error)
        changes = {"lease_owner": None, "lease_until": None, "last_error": error, "maybe_received": True}
        if row.event == ABORTED and row.attempts_left > 0 and now <= row.give_up_at:
            store.update(tx, row.id, state="waiting", next_attempt_at=now, **changes)
            tx.notify("deliveries")
        else:
            store.update(tx, row.id, state="failed", next_attempt_at=None, **changes)
            _release_abort(tx, row, now)
            if row.event == STARTED:
                outcomes.append(Recorded(row.match_id, failed=error, delivery_id=row.id))
    return outcomes


# --- the inspector ---------------------------------------------------------------------------------------------------


def resend(tx: Tx, delivery_id: str, now: int) -> Row:
    """One more attempt of a delivery that is over. It never changes a match: the match has moved on."""
    row = store.lock(tx, [delivery_id]).get(delivery_id)
    if row is None:
        raise NotFound("There is no such delivery.")
    if row.state in ("waiting", "sending"):
        raise WrongState("This delivery is on its way.")
    store.update(tx, delivery_id, state="waiting", next_attempt_at=now, attempts_left=1, give_up_at=now)
    tx.notify("deliveries")
    found = store.get(tx, delivery_id)
    if found is None:
        raise NotFound("There is no such delivery.")
    return found


Chosen = store.Chosen


def page(
    tx: Tx, chosen: Chosen, before: tuple[int, str] | None, limit: int
) -> tuple[list[contract.Delivery], tuple[int, str] | None]:
    """Newest first, of one game or of all, and the cursor (created_at, id) of what follows."""
    rows = store.page(tx, chosen, before, limit + 1)
    shown = rows[:limit]
    more = (int(shown[-1].created_at), str(shown[-1].id)) if len(rows) > limit else None
    return [views.delivery(row) for row in shown], more


def detail(tx: Tx, delivery_id: str) -> contract.DeliveryDetail:
    """A delivery with its attempts."""
    row = store.get(tx, delivery_id)
    if row is None:
        raise NotFound("There is no such delivery.")
    return views.delivery_detail(row, store.attempts_of(tx, delivery_id))
