"""What runs beside the requests: the matches, who watches them, their clocks, and the results on their way out."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import logging
import sqlite3
import time
from collections.abc import AsyncGenerator, Coroutine
from types import TracebackType
from typing import Any

from oklp.sdk import (
    AsyncClient,
    AsyncWebhookVerifier,
    ConflictError,
    InvalidCallError,
    InvalidRequestError,
    MatchAborted,
    MatchStarted,
    NotFoundError,
    OklpError,
    SdkError,
    WebhookEvent,
)

from .matches import Match, NotPlayableError, Pace
from .rules import SEATS, Seat
from .store import Store

log = logging.getLogger("high_bid")

TICK_SECONDS = 0.25
# Scripts never hear of comments in a stream, so a page tells a quiet one from a dead one by this (`table.js`).
STATE_EVERY_SECONDS = 10.0
REPORT_AGAIN_SECONDS = 10.0
KEEP_AGAIN_SECONDS = 1.0
KEPT_AFTER_THE_END_MS = 24 * 3600 * 1000
STREAMS_PER_SEAT = 8


def wall_clock() -> int:
    return time.time_ns() // 1_000_000


class Game:
    """All matches of this server. Belongs to one event loop; use it as an async context manager."""

    def __init__(self, store: Store, client: AsyncClient, verifier: AsyncWebhookVerifier, pace: Pace) -> None:
        self._store = store
        self._client = client
        self._verifier = verifier
        self._pace = pace
        self._matches = {match.match_id: match for match in store.load()}
        # Those that have changed since they were last written.
        self._unkept: dict[str, Match] = {}
        self._watchers: dict[tuple[str, Seat], set[asyncio.Event]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._seat_secret = store.secret("seats")
        self.closing = False

    async def __aenter__(self) -> Game:
        self._spawn(self._warm_up())
        self._spawn(self._run_clocks())
        self._spawn(self._keep_again())
        for match in self._matches.values():
            if match.phase == "over":
                self._spawn(self._report(match))
            elif match.phase in ("waiting", "playing"):
                self._spawn(self._find_names(match))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._verifier.aclose()
        await self._client.aclose()
        self._store.close()

    def close(self) -> None:
        """End all streams. What is stored goes on after a restart."""
        self.closing = True
        for watchers in self._watchers.values():
            for watcher in watchers:
                watcher.set()

    # --- the platform's side -----------------------------------------------------------------------------------------

    async def webhook(self, method: str, headers: Any, body: bytes) -> WebhookEvent:
        """Take a match in, or forget it. Raises OklpError, whose status is the answer, and ValueError for a match
        that cannot be played here.
        """
        event = await self._verifier.verify(method, headers, body)
        now = wall_clock()
        known = self._matches.get(event.match_id)
        if isinstance(event, MatchStarted) and known is None:
            match = Match.of(event.info, now, self._pace)
            # On disk first: the 200 that follows is what the players' money waits for.
            self._store.save(match)
            self._matches[match.match_id] = match
            self._spawn(self._find_names(match))
            log.info("match %s starts", match.match_id)
        elif isinstance(event, MatchStarted) and known is not None and known.phase == "aborted":
            raise ValueError("the match was called off")
        elif isinstance(event, MatchAborted):
            match = known or Match.forgotten(event.match_id, now)
            match.abort(now)
            self._matches[match.match_id] = match
            self._changed(match)
            log.info("match %s is called off", match.match_id)
        return event

    async def admit(self, token: str) -> tuple[Match, Seat] | None:
        """Whose seat a match-token is for; None when it is worth nothing here. Raises SdkError when the platform
        cannot be asked.
        """
        try:
            info = await self._client.token_info(token)
        except (NotFoundError, InvalidCallError, InvalidRequestError):
            return None
        match = self._matches.get(info.match_id)
        seat = match.seat_of(info.user_id) if match is not None else None
        return (match, seat) if match is not None and seat is not None else None

    # --- the players' side -------------------------------------------------------------------------------------------

    def seat_key(self, match_id: str, seat: Seat) -> str:
        """What the holder of a seat shows with each request. It outlives a restart, and is for this seat alone."""
        return hmac.new(self._seat_secret, f"{match_id}:{seat}".encode(), hashlib.sha256).hexdigest()

    def at_seat(self, match_id: str, seat: Seat, key: str) -> Match | None:
        if not hmac.compare_digest(self.seat_key(match_id, seat).encode(), key.encode()):
            return None
        return self._matches.get(match_id)

    def view(self, match: Match, seat: Seat) -> dict[str, Any]:
        """What a player sees now. Looking is arriving."""
        now = wall_clock()
        if match.arrive(seat, now, self._pace):
            self._changed(match)
        return match.view(seat, now, self._pace)

    def bid(self, match: Match, seat: Seat, round_number: int, card: int) -> dict[str, Any]:
        """Choose a card. Raises NotPlayableError."""
        now = wall_clock()
        if match.bid(seat, round_number, card, now, self._pace):
            self._changed(match)
        return match.view(seat, now, self._pace)

    async def views(self, match: Match, seat: Seat) -> AsyncGenerator[dict[str, Any], None]:
        """What a player sees, now, after each change, and when nothing has happened for a while. It ends when nothing
        more will happen.
        """
        watchers = self._watchers.setdefault((match.match_id, seat), set())
        if len(watchers) >= STREAMS_PER_SEAT:
            raise NotPlayableError("This seat is open in too many windows.")
        changed = asyncio.Event()
        watchers.add(changed)
        try:
            yield self.view(match, seat)
            while not self.closing and match.phase not in ("reported", "aborted"):
                # Not `wait_for`, which in Python 3.11 loses a cancellation that comes together with the event.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(STATE_EVERY_SECONDS):
                        await changed.wait()
                changed.clear()
                if not self.closing:
                    yield match.view(seat, wall_clock(), self._pace)
        finally:
            watchers.discard(changed)
            if not watchers:
                self._watchers.pop((match.match_id, seat), None)

    # --- beside ------------------------------------------------------------------------------------------------------

    def _changed(self, match: Match) -> None:
        """Keep a match as it is now, show it, and report it when it is over. Raises sqlite3.Error when it cannot be
        kept, as on a disk that is full for a moment; then `_keep_again` does all that.
        """
        self._unkept[match.match_id] = match
        self._store.save(match)
        del self._unkept[match.match_id]
        for seat in SEATS:
            for watcher in self._watchers.get((match.match_id, seat), ()):
                watcher.set()
        if match.phase == "over":
            self._spawn(self._report(match))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _warm_up(self) -> None:
        """Have the platform's keys before the first webhook; it may not be up yet, and then that one fetches them."""
        with contextlib.suppress(OklpError):
            await self._verifier.warm_up()

    async def _find_names(self, match: Match) -> None:
        for seat in SEATS:
            if match.users[seat] and not match.names[seat]:
                with contextlib.suppress(SdkError):
                    match.names[seat] = (await self._client.user(match.users[seat])).username
        if match.phase in ("waiting", "playing"):
            self._changed(match)

    async def _run_clocks(self) -> None:
        while True:
            await asyncio.sleep(TICK_SECONDS)
            now = wall_clock()
            for match in list(self._matches.values()):
                try:
                    if match.tick(now, self._pace):
                        self._changed(match)
                    elif match.ended_at is not None and now - match.ended_at > KEPT_AFTER_THE_END_MS:
                        self._forget(match)
                except Exception:
                    # One match that cannot be stored must not stop the clocks of all the others.
                    log.exception("the clock of match %s", match.match_id)

    def _forget(self, match: Match) -> None:
        if match.phase != "over":  # a result that is still on its way stays
            del self._matches[match.match_id]
            self._unkept.pop(match.match_id, None)
            self._store.remove(match.match_id)

    async def _report(self, match: Match) -> None:
        """Send the result until it is answered. The client retries for a minute by itself; after that, and when the
        credentials are being put right, this goes on.
        """
        participants, teams = match.result()
        while match.phase == "over":
            try:
                answer = await self._client.finish(match.match_id, participants, teams)
            except (ConflictError, InvalidRequestError, NotFoundError) as refusal:
                # Said for good: the match was called off, or has been decided by somebody else.
                log.error("the result of match %s is refused: %s", match.match_id, refusal)
            except SdkError as error:
                log.warning("the result of match %s is not sent yet: %s", match.match_id, error)
                await asyncio.sleep(REPORT_AGAIN_SECONDS)
                continue
            else:
                match.accepted = answer.accepted
                log.info("match %s: result %s", match.match_id, "accepted" if answer.accepted else "not accepted")
            if match.phase == "over":
                match.phase = "reported"
                self._keep(match)

    async def _keep_again(self) -> None:
        """A change that could not be written is written later. Nothing else would do it: a match that is over has no
        clock that runs, and nobody bids in it.
        """
        while True:
            await asyncio.sleep(KEEP_AGAIN_SECONDS)
            for match in list(self._unkept.values()):
                self._keep(match)

    def _keep(self, match: Match) -> None:
        try:
            self._changed(match)
        except sqlite3.Error:
            log.exception("match %s cannot be kept yet", match.match_id)
