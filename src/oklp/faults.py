"""What injected faults do to webhooks: the network, the clock and the keys misbehave, the platform's rules never.

Each fault is played around a real exchange, and gives what the sender would have reported had it happened. What is
recorded, and whether a match aborts, is decided by whoever decides it for every other exchange. The sandbox's alone.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

from oklp import signing
from oklp.exchange import Exchange, Outgoing, Way
from oklp.services.faults import Stroke

log = logging.getLogger("oklp.faults")

EXPIRED_SECONDS = 3_600


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a webhook is signed with. Times are seconds: `issued_at` of the token, `timestamp` of the header."""

    key: signing.SigningKey
    secrets: Sequence[str]
    audience: str
    issued_at: int
    timestamp: int


class FaultyNetwork:
    """Stands between the worker and its sender for those attempts that a fault strikes."""

    def __init__(self, direct: Way, timeout_seconds: float) -> None:
        self._direct = direct
        self._timeout_seconds = timeout_seconds
        self._under_way: set[asyncio.Task[Exchange]] = set()
        self._closed = asyncio.Event()
        self._foreign_key: asyncio.Task[signing.SigningKey] | None = None

    # --- credentials ---

    async def forge(self, stroke: Stroke, credentials: Credentials) -> Credentials:
        match stroke.kind:
            case "wrong_signature":
                return replace(credentials, secrets=(signing.new_webhook_secret(secrets.token_bytes(32)),))
            case "unknown_key":
                return replace(credentials, key=await self._unknown_key())
            case "expired_token":
                return replace(credentials, issued_at=credentials.issued_at - EXPIRED_SECONDS)
            case "wrong_audience":
                return replace(credentials, audience=f"not-{credentials.audience}")
            case "webhook_clock_skew":
                off = stroke.offset_seconds or 0
                return replace(
                    credentials, issued_at=credentials.issued_at + off, timestamp=credentials.timestamp + off
                )
            case _:
                return credentials

    async def _unknown_key(self) -> signing.SigningKey:
        """Made once a process, off the event loop: it takes a while."""
        if self._foreign_key is None:
            self._foreign_key = asyncio.create_task(asyncio.to_thread(_new_key))
        return await asyncio.shield(self._foreign_key)

    # --- the network ---

    async def send(self, stroke: Stroke, outgoing: Outgoing, way: Way | None = None) -> Exchange:
        """As `WebhookSender.send`, and like it within the time-out: after it the attempt's lease would run out.

        `way` is how the real exchanges are made: by the sender, or by way of a listener.
        """
        way = way or self._direct
        plays: dict[str, Callable[[Stroke, Outgoing, Way], Awaitable[Exchange]]] = {
            "put_refused": self._refused,
            "delete_refused": self._refused,
            "put_timeout": self._unheard,
            "answer_lost": self._lost,
            "late_put": self._late,
            "duplicate_put": self._twice,
            "duplicate_delete": self._twice,
        }
        play = plays.get(stroke.kind)
        return await (way(outgoing) if play is None else play(stroke, outgoing, way))

    def hold_nothing_up(self) -> None:
        """From now on no attempt waits for a time-out that is played, as a server that stops must not: what came of it
        is settled.
        """
        self._closed.set()

    def close(self) -> None:
        """Hold nothing up any longer, and send nothing that is not on its way."""
        self.hold_nothing_up()
        for task in (*self._under_way, self._foreign_key):
            if task is not None:
                task.cancel()

    async def _refused(self, stroke: Stroke, outgoing: Outgoing, way: Way) -> Exchange:
        return _without_answer(_said(stroke, "connection refused"), 0, sent=False)

    async def _unheard(self, stroke: Stroke, outgoing: Outgoing, way: Way) -> Exchange:
        began = asyncio.get_running_loop().time()
        exchange = await way(outgoing)
        if not exchange.complete:
            return exchange
        await self._pause(self._timeout_seconds - (asyncio.get_running_loop().time() - began))
        return self._timed_out(stroke)

    async def _lost(self, stroke: Stroke, outgoing: Outgoing, way: Way) -> Exchange:
        exchange = await way(outgoing)
        if not exchange.complete:
            return exchange
        error = _said(stroke, "the connection was closed before an answer came")
        return _without_answer(error, exchange.duration_ms, sent=True)

    async def _late(self, stroke: Stroke, outgoing: Outgoing, way: Way) -> Exchange:
        late = self._send_later(stroke.delay_seconds or 0, outgoing, way)
        return await self._come_back(late, self._timeout_seconds) or self._timed_out(stroke)

    async def _twice(self, stroke: Stroke, outgoing: Outgoing, way: Way) -> Exchange:
        """Two that are the same. Both must be answered 200, as far as the second comes back within the time-out."""
        until = asyncio.get_running_loop().time() + self._timeout_seconds
        copy = self._send_later(stroke.delay_seconds or 0, outgoing, way)
        first = await way(outgoing)
        second = await self._come_back(copy, until - asyncio.get_running_loop().time())
        if second is None or (first.error is None and second.error is None):
            return first
        bad, other = (first, second) if first.error is not None else (second, first)
        if other.error is None or _may_have_been_received(other):
            # The game may have taken one of the two: that is what decides whether it must be told of an abort.
            return replace(other, error=_said(stroke, f"of two the same, one failed: {bad.error}"))
        return bad

    # --- time ---

    def _send_later(self, delay_seconds: float, outgoing: Outgoing, way: Way) -> asyncio.Task[Exchange]:
        """On its way whether or not anyone waits for it, as what a network has taken."""

        async def later() -> Exchange:
            if delay_seconds:
                await asyncio.sleep(delay_seconds)
            return await way(outgoing)

        task = asyncio.create_task(later())
        self._under_way.add(task)
        task.add_done_callback(self._arrived)
        return task

    def _arrived(self, task: asyncio.Task[Exchange]) -> None:
        """Whoever waits for it hears of an error too. When nobody does any longer, it is for the log."""
        self._under_way.discard(task)
        fault = None if task.cancelled() else task.exception()
        if fault is not None:
            log.warning("a webhook that a fault held back could not be sent", exc_info=fault)

    async def _come_back(self, task: asyncio.Task[Exchange], seconds: float) -> Exchange | None:
        """None when it does not in that time, or is cut off."""
        done, _ = await asyncio.wait([task], timeout=max(seconds, 0))
        return task.result() if task in done and not task.cancelled() else None

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(max(seconds, 0)):
                await self._closed.wait()
        except TimeoutError:
            pass

    def _timed_out(self, stroke: Stroke) -> Exchange:
        error = _said(stroke, f"timed out after {self._timeout_seconds:g} s (no answer)")
        return _without_answer(error, round(self._timeout_seconds * 1000), sent=True)


def _new_key() -> signing.SigningKey:
    return signing.SigningKey(signing.generate_key())


def _said(stroke: Stroke, error: str) -> str:
    return f"{error} [injected fault: {stroke.kind}]"


def _without_answer(error: str, duration_ms: int, *, sent: bool) -> Exchange:
    return Exchange(
        status=None, headers=None, body=None, error=error, duration_ms=duration_ms, complete=False, sent=sent
    )


def _may_have_been_received(exchange: Exchange) -> bool:
    return exchange.sent and not exchange.complete
