"""One loop a process: webhook deliveries, deadlines, housekeeping (design, sections 1 and 5).

Everything it must do is a row with a time, so a restart forgets nothing. Deliveries written by this process come to it
as hand-offs, already leased, and are on the wire within milliseconds of the commit; everything else is found by
looking. Sending happens with no transaction open; its outcome is recorded in another.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from oklp import signing
from oklp.errors import OklpError
from oklp.exchange import Exchange, Outgoing
from oklp.faults import Credentials, FaultyNetwork
from oklp.observability import counting_lag_seconds, get_logger, observe_delivery, worker_lag_seconds
from oklp.relay import Relay
from oklp.retries import while_away
from oklp.services import auth, calls, faults, housekeeping, matches, records, results, starting, webhooks
from oklp.services.auth import KeyRing
from oklp.services.calls import CallBook, Noted
from oklp.services.faults import Armed, Stroke
from oklp.services.notices import Posting
from oklp.services.vault import Vault
from oklp.services.webhooks import Reply, Sending
from oklp.settings import Settings
from oklp.storage.engine import Database

if TYPE_CHECKING:
    from oklp.sender import WebhookSender

log = get_logger(__name__)

LOOK_SECONDS = 1.0
SWEEP_LIMIT = 200
LAPSE_LIMIT = 20  # called off one by one, with all that a call-off takes
HOUSEKEEPING_SECONDS = 60.0
CALLS_SECONDS = 1.0
# Between one page of the event log and the next: what is counted later leaves the processor, and on SQLite the lane, to
# what cannot wait.
RECORDS_PAUSE_SECONDS = 0.05
RECORDS_HELD_SECONDS = 0.1  # until a transaction that holds up the log may have ended
# So many times as long as counting took, its wait for the lane included, and so many seconds at the most: what games
# ask goes first, the more so while the counts are not late.
RECORDS_REST = (10, 1.0)
RECORDS_LATE_REST = (3, 0.25)
# With less than this of its lease left beyond the time-out, an attempt asks for more before it is made.
LEASE_SPARE_MS = 3_000
# Of the time to drain, what is kept for writing down those webhooks that did not come back in it.
CUT_SECONDS = 1.0
CUT = "the server was stopped before the answer came"
USER_AGENT = "oklp-webhooks/1"


class _LateSender:
    """A `WebhookSender` that is made for the first webhook: its client library is a tenth of a server's start, and of
    its memory.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._making: asyncio.Task[WebhookSender] | None = None

    async def send(self, outgoing: Outgoing) -> Exchange:
        if self._making is None:
            self._making = asyncio.create_task(asyncio.to_thread(self._make))
        sender = await asyncio.shield(self._making)
        return await sender.send(outgoing)

    async def close(self) -> None:
        if self._making is not None:
            await (await self._making).close()

    def _make(self) -> WebhookSender:
        from oklp.sender import WebhookSender

        return WebhookSender(
            timeout_seconds=self._settings.webhook_timeout_seconds,
            allow_loopback=self._settings.sandbox,
            concurrency=self._settings.webhook_concurrency,
            # Games may share a host: a limit a host would let a slow game hold up its neighbours.
            concurrency_per_host=self._settings.webhook_concurrency,
        )


class Worker:
    """Started once a process, on its event loop. `keys` gives the key ring of the moment, `armed` the faults."""

    def __init__(
        self,
        settings: Settings,
        db: Database,
        vault: Vault,
        clock: Callable[[], int],
        keys: Callable[[], KeyRing],
        armed: Callable[[], Armed],
        book: CallBook,
    ) -> None:
        self._settings = settings
        self._db = db
        self._vault = vault
        self._clock = clock
        self._keys = keys
        self._armed = armed
        self._book = book
        self._sender = _LateSender(settings)
        self._faulty = FaultyNetwork(self._sender.send, settings.webhook_timeout_seconds)
        self._relay = Relay(db, vault, clock, settings.webhook_timeout_seconds, self._sender.send)
        self._sending: set[asyncio.Task[None]] = set()
        self._woken = asyncio.Event()
        self._stopping = False
        self._cut = False
        self._follower: asyncio.Task[None] | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._clerk: asyncio.Task[None] | None = None
        self._recorder: asyncio.Task[None] | None = None
        self._told = asyncio.Event()  # something happened that is worth keeping

    # --- life ---

    async def start(self) -> None:
        """Take over what an earlier process left, then follow the clock."""
        if self._settings.embedded:
            # An embedded database has one server: whatever is leased to another was interrupted.
            await self._db.write(starting.lapse, self._settings, self._clock(), self._db.node, 10_000)
        self._follower = asyncio.create_task(self._follow())
        self._keeper = asyncio.create_task(self._keep_house())
        self._clerk = asyncio.create_task(self._keep_calls())
        self._recorder = asyncio.create_task(self._keep_records())

    async def stop(self, until: float) -> None:
        """Take nothing more on, and let what is on the wire come back until then, a time of the loop's clock.

        What does not is cut off, and recorded as an attempt of which nobody knows what came.
        """
        self._stopping = True
        self._woken.set()
        # The follower is not cancelled: it may be about to hear which deliveries it has just claimed.
        await self._ended(self._follower, until - CUT_SECONDS)
        await self._ended(self._keeper, 0)
        self._faulty.hold_nothing_up()
        await self._ended(self._recorder, 0)
        await self._all_sent(until - CUT_SECONDS)
        self._cut = True
        self._faulty.close()
        self._relay.close()
        await self._sender.close()  # exchanges in flight end with an error
        await self._all_sent(until)
        for task in self._sending:
            task.cancel()
        await asyncio.gather(*self._sending, return_exceptions=True)
        await self._ended(self._clerk, 0)
        await self._write_calls()

    @staticmethod
    async def _ended(task: asyncio.Task[None] | None, until: float) -> None:
        if task is not None:
            await asyncio.wait([task], timeout=max(until - asyncio.get_running_loop().time(), 0))
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _all_sent(self, until: float) -> None:
        while self._sending and (left := until - asyncio.get_running_loop().time()) > 0:
            await asyncio.wait(self._sending, timeout=left)

    def heard(self, topics: set[str], handoffs: Sequence[Any]) -> None:
        """From the event loop, after a commit."""
        for handoff in handoffs:
            if isinstance(handoff, Sending):
                self._send_soon(handoff)
        if "deliveries" in topics:
            self._woken.set()
        if "answers" in topics:
            self._relay.heard()
        if "events" in topics:
            self._told.set()

    # --- the clock ---

    async def _follow(self) -> None:
        while not self._stopping:
            self._woken.clear()
            pause_seconds = LOOK_SECONDS
            try:
                pause_seconds = await self._look()
            except OklpError as refusal:
                log.warning("worker_cannot_look", detail=refusal.detail)
            except Exception:
                log.exception("worker_failed")
            if pause_seconds > 0:
                await self._sleep(pause_seconds)

    async def _sleep(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._woken.wait()
        except TimeoutError:
            pass

    async def _look(self) -> float:
        """Do what is due. Returns after how many seconds to look again: at once when there may be more of it."""
        now = self._clock()
        settings = self._settings
        room = settings.webhook_concurrency - len(self._sending)
        agenda = await self._db.read(housekeeping.agenda, now)
        worker_lag_seconds.set(agenda.lag_ms / 1000)
        sendings: list[Sending] = []
        if agenda.due and room > 0:
            limit = min(room, SWEEP_LIMIT)
            sendings = await self._db.write(starting.claim, settings, self._db.node, now, limit)
            for sending in sendings:
                self._send_soon(sending)
        done = 0
        if agenda.lapsed:
            done += await self._db.write(starting.lapse, settings, now, None, LAPSE_LIMIT)
        if agenda.unstarted:
            done += await self._db.write(matches.expire, settings, now, SWEEP_LIMIT)
        if agenda.unreported:
            done += await self._db.write(results.close_overdue, settings, now, SWEEP_LIMIT)
        if sendings or done > 0:
            return 0
        until_next = LOOK_SECONDS if agenda.next_at is None else (agenda.next_at - self._clock()) / 1000
        return min(max(until_next, 0.01), LOOK_SECONDS)

    async def _keep_house(self) -> None:
        while True:
            for work in (self._sweep, self._roll_up):
                try:
                    await work()
                except OklpError as refusal:
                    log.warning("housekeeping_failed", detail=refusal.detail)
                except Exception:
                    log.exception("housekeeping_failed")
            await asyncio.sleep(HOUSEKEEPING_SECONDS)

    async def _sweep(self) -> None:
        """In pieces: what cannot wait for long goes between them."""
        while await self._db.write_in_background(housekeeping.sweep, self._settings, self._clock()):
            pass

    async def _roll_up(self) -> None:
        for account in await self._db.read(housekeeping.accounts):
            await self._db.write_in_background(housekeeping.roll_up, account)

    async def _keep_records(self) -> None:
        """Count results behind the work that pays them out."""
        now = asyncio.get_running_loop().time
        while True:
            self._told.clear()
            more, began, late, held = False, now(), False, False
            try:
                behind = await self._db.read(records.behind, self._clock())
                counting_lag_seconds.set(behind.lag_ms / 1000)
                late, held = behind.lag_ms > records.LATE_MS, behind.held
                if behind.due:
                    posting = Posting(self._settings, self._vault, self._clock())
                    more = await self._db.write_in_background(records.keep, posting)
            except OklpError as refusal:
                log.warning("records_not_kept", detail=refusal.detail)
            except Exception:
                log.exception("records_not_kept")
            times, longest = RECORDS_LATE_REST if late else RECORDS_REST
            await asyncio.sleep(min(max(RECORDS_PAUSE_SECONDS, times * (now() - began)), longest))
            if not more:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(RECORDS_HELD_SECONDS if held else LOOK_SECONDS):
                        await self._told.wait()

    async def _keep_calls(self) -> None:
        while True:
            await asyncio.sleep(CALLS_SECONDS)
            await self._write_calls()

    async def _write_calls(self) -> None:
        """Write down what was noted; a database that is away costs those lines, and no call."""
        noted, left_out = self._book.take()
        asked = self._book.take_asked()
        try:
            if noted or left_out:
                await self._db.write_in_background(calls.keep, noted, left_out, self._clock())
            if asked:
                await self._db.write_in_background(calls.keep_asked, asked)
        except OklpError as refusal:
            log.warning("calls_not_kept", detail=refusal.detail)
        except Exception:
            log.exception("calls_not_kept")

    # --- sending ---

    def _send_soon(self, sending: Sending) -> None:
        task = asyncio.get_running_loop().create_task(self._deliver(sending))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def _deliver(self, sending: Sending) -> None:
        try:
            stroke = await while_away(lambda: self._stroke(sending), self._seconds_of(sending))
            made = await while_away(lambda: self._ready(sending, stroke), self._seconds_of(sending))
            if made is None:
                log.warning("delivery_too_late", delivery=sending.delivery_id)
                return
            sending, outgoing = made
            way = self._relay.way_of(sending) if sending.relayed else self._sender.send
            exchange = await (way(outgoing) if stroke is None else self._faulty.send(stroke, outgoing, way))
            if self._cut and exchange.error is not None:
                exchange = replace(exchange, error=CUT)
            await self._record(sending, outgoing, exchange, stroke)
        except OklpError as refusal:
            # The lease lapses, and the sweep treats the attempt as lost.
            log.error("delivery_not_recorded", delivery=sending.delivery_id, detail=refusal.detail)
        except Exception:
            log.exception("delivery_failed", delivery=sending.delivery_id)

    def _seconds_of(self, sending: Sending) -> float:
        """What is left of its lease."""
        return (sending.lease_until - self._clock()) / 1000

    async def _ready(self, sending: Sending, stroke: Stroke | None) -> tuple[Sending, Outgoing] | None:
        """The request of an attempt, with time enough for it; None when another process has given it up.

        Time goes by while a lane is busy, and what is given up may be called off at the game at the same moment.
        """
        outgoing = await self._request(sending, stroke)
        if self._seconds_of(sending) * 1000 < self._settings.webhook_timeout_seconds * 1000 + LEASE_SPARE_MS:
            args = (self._settings, sending, self._db.node, self._clock())
            renewed = await self._db.write(webhooks.renew, *args)
            return None if renewed is None else (renewed, outgoing)
        return sending, outgoing

    async def _stroke(self, sending: Sending) -> Stroke | None:
        """The injected fault that strikes this attempt: the sandbox's alone, and only where some are armed."""
        point = faults.DELETE if sending.method == "DELETE" else faults.PUT
        if point not in self._armed().get(sending.game_id, ()):
            return None
        attempt = (sending.delivery_id, sending.attempt)
        return await self._db.write(faults.strike_webhook, sending.game_id, point, *attempt, self._clock())

    async def _request(self, sending: Sending, stroke: Stroke | None) -> Outgoing:
        now_seconds = self._clock() // 1000
        body = sending.body.encode()
        known = await self._db.read(auth.webhook_secrets, self._vault, sending.game_id, self._clock())
        credentials = Credentials(self._keys().current, tuple(known), sending.game_id, now_seconds, now_seconds)
        if stroke is not None:
            credentials = await self._faulty.forge(stroke, credentials)
        life = int(self._settings.webhook_timeout_seconds) + 60
        claims = signing.webhook_claims(
            self._settings.issuer,
            credentials.audience,
            credentials.issued_at,
            life,
            secrets.token_hex(16),
            sending.method,
        )
        headers = {
            "Authorization": f"Bearer {credentials.key.sign(claims)}",
            "Content-Type": "application/json",
            "User-Agent": USER_AGENT,
            "webhook-id": sending.delivery_id,
            "webhook-timestamp": str(credentials.timestamp),
        }
        if credentials.secrets:
            headers["webhook-signature"] = signing.sign_webhook(
                credentials.secrets, sending.delivery_id, credentials.timestamp, body
            )
        return Outgoing(sending.method, sending.url, headers, body)

    async def _record(self, sending: Sending, outgoing: Outgoing, exchange: Exchange, stroke: Stroke | None) -> None:
        reply = Reply(
            status=exchange.status,
            headers=exchange.headers,
            body=exchange.body,
            error=exchange.error,
            duration_ms=exchange.duration_ms,
            complete=exchange.complete,
            sent=exchange.sent,
            request_headers={name: value for name, value in outgoing.headers.items() if name != "Authorization"},
            url=exchange.url,
        )
        arguments = (self._settings, sending.delivery_id, sending.attempt, self._db.node, reply)
        # The outcome is known here alone: it is written down for as long as the attempt is ours.
        recorded = await while_away(
            lambda: self._db.write(starting.record, *arguments, self._clock()), self._seconds_of(sending)
        )
        outcome = "delivered" if exchange.error is None else "failed"
        observe_delivery(sending.event, outcome, exchange.duration_ms / 1000)
        self._note(sending, recorded.match_id, outgoing, exchange)
        log.info(
            "webhook",
            event_type=sending.event,
            game=sending.game_id,
            match=recorded.match_id,
            delivery=sending.delivery_id,
            attempt=sending.attempt,
            status=exchange.status,
            error=exchange.error,
            duration_ms=exchange.duration_ms,
            aborted=recorded.failed is not None,
            **({} if stroke is None else {"fault": stroke.kind}),
        )

    def _note(self, sending: Sending, match_id: str | None, outgoing: Outgoing, exchange: Exchange) -> None:
        if self._book.has_room(sending.game_id):
            self._book.note(
                Noted(
                    sending.game_id,
                    self._clock(),
                    calls.DELIVERY,
                    sending.method,
                    exchange.url or outgoing.url,
                    exchange.status,
                    exchange.duration_ms * 1_000,
                    sending.delivery_id,
                    match_id=match_id,
                    detail=exchange.error,
                )
            )
