"""Sending by way of a listener: what `WebhookSender` is for a URL, for a game that somebody listens to.

The request is parked in the database, where the listener's stream finds it on whatever node that is; the answer comes
back the same way. Time-outs are those of every webhook. See services/listening.py.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from itertools import count

from oklp import contract
from oklp.errors import OklpError
from oklp.exchange import Exchange, Outgoing, Way, judged, kept_headers, kept_text
from oklp.observability import get_logger
from oklp.services import listening
from oklp.services.listening import Closed, Key
from oklp.services.vault import Vault
from oklp.services.webhooks import Sending
from oklp.storage.engine import Database

log = get_logger(__name__)

LOOK_SECONDS = 1.0  # should a wake have been missed
LEFT = "the listener left before the answer came"
STOPPED = "the server was stopped"


class Relay:
    """Of one process, on its event loop. `direct` sends what turns out to have no listener any more."""

    def __init__(
        self,
        db: Database,
        vault: Vault,
        clock: Callable[[], int],
        timeout_seconds: float,
        direct: Way,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._db = db
        self._vault = vault
        self._clock = clock
        self._timeout_seconds = timeout_seconds
        self._direct = direct
        self._monotonic = monotonic
        self._waiting: dict[Key, asyncio.Future[Closed]] = {}
        self._woken = asyncio.Event()
        self._follower: asyncio.Task[None] | None = None
        self._closed = False

    def heard(self) -> None:
        """There may be answers."""
        self._woken.set()

    def close(self) -> None:
        """What is still on its way ends with an error."""
        self._closed = True
        for future in self._waiting.values():
            future.cancel()

    def way_of(self, sending: Sending) -> Callable[[Outgoing], Awaitable[Exchange]]:
        """As `WebhookSender.send`, for this attempt. It may be used more than once, for requests that are the same."""
        copies = count(1)
        return lambda outgoing: self.send(sending, outgoing, next(copies))

    async def send(self, sending: Sending, outgoing: Outgoing, copy: int = 1) -> Exchange:
        """One exchange by way of whoever listens to the game. Raises OklpError when the database is away."""
        started = self._monotonic()
        key = Key(sending.delivery_id, sending.attempt, copy)
        now = self._clock()
        until = now + round(self._timeout_seconds * 1_000)
        answered: asyncio.Future[Closed] = asyncio.get_running_loop().create_future()
        self._waiting[key] = answered
        try:
            if not await self._db.write(
                listening.park, self._vault, key, sending.game_id, outgoing.headers, now, until
            ):
                return await self._direct(outgoing)
            self._follow()
            closed, error = await self._outcome(key, answered, started)
        finally:
            del self._waiting[key]
        return _exchange(closed, error, round((self._monotonic() - started) * 1_000))

    async def _outcome(self, key: Key, answered: asyncio.Future[Closed], started: float) -> tuple[Closed, str]:
        left = self._timeout_seconds - (self._monotonic() - started)
        try:
            if self._closed:
                answered.cancel()
            async with asyncio.timeout(left):
                return await answered, LEFT
        except TimeoutError:
            closed = await self._db.write(listening.expire, key, self._clock())
            phase = "no answer by the listener" if closed.handed else "the listener was away"
            return closed, f"timed out after {self._timeout_seconds:g} s ({phase})"
        except asyncio.CancelledError:
            if not self._closed:
                raise
            return await self._db.write(listening.expire, key, self._clock()), STOPPED

    # --- answers ---

    def _follow(self) -> None:
        """Look for answers, for as long as any is waited for."""
        self._woken.set()  # it may be there already
        if self._follower is None or self._follower.done():
            self._follower = asyncio.get_running_loop().create_task(self._look())

    async def _look(self) -> None:
        while self._waiting:
            try:
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._woken.wait()
            except TimeoutError:
                pass
            self._woken.clear()
            open_ones = [key for key, future in self._waiting.items() if not future.done()]
            try:
                found = await self._db.read(listening.closed, open_ones)
            except OklpError as refusal:
                log.warning("cannot_look_for_answers", detail=refusal.detail)
                continue
            for key, closed in found.items():
                future = self._waiting.get(key)
                if future is not None and not future.done():
                    future.set_result(closed)


def _exchange(closed: Closed, error: str, duration_ms: int) -> Exchange:
    """`error` is why there is none, when there is no answer."""
    given = closed.answer
    if given is None:
        return Exchange(None, None, None, error, duration_ms, complete=False, sent=closed.handed)
    exchange = Exchange(
        status=given.status,
        headers=kept_headers(given.headers.items()) if given.status is not None else None,
        body=kept_text(given.body) if given.status is not None else None,
        error=_judged(given),
        duration_ms=given.duration_ms,
        complete=given.status is not None,
        sent=given.sent or given.status is not None,
    )
    return exchange if given.forwarded_to is None else replace(exchange, url=given.forwarded_to)


def _judged(given: contract.ForwardedAnswer) -> str | None:
    if given.error is not None or given.status is None:
        return given.error
    return judged(given.status)
