"""What runs beside the requests: the matches, who is at their boards, their clocks, and the bot of practice matches."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import logging
import random
import secrets
import sqlite3
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final

from oklp.sdk import MatchAborted, MatchRefused, MatchStarted, SdkError, TokenInfo

from .integration import Platform
from .matches import Match, NotPlayableError, Pace
from .rules import SEATS, SQUARES, Seat
from .search import Level, choose
from .store import Store

log = logging.getLogger("reversi")

TICK_SECONDS: Final = 0.1
ALIVE_EVERY_MS: Final = 1_000
FORGET_EVERY_MS: Final = 3_600_000
KEPT_AFTER_THE_END_MS: Final = 30 * 24 * 3_600_000
PRACTICE_AFTER_THE_END_MS: Final = 600_000
SESSION_MS: Final = 24 * 3_600_000
REPORT_AGAIN_SECONDS: Final = 10.0
KEEP_AGAIN_SECONDS: Final = 1.0
WINDOWS_PER_SEAT: Final = 4
PRACTICE_TABLES: Final = 200
# As long as a person takes to see what happened; the search itself is faster.
BOT_THINKS_SECONDS: Final = 0.7


def steady_clock() -> Callable[[], int]:
    """Milliseconds since the epoch, even when the machine's clock is set meanwhile: games are timed by it."""
    began, started = time.time_ns(), time.monotonic_ns()
    return lambda: (began + time.monotonic_ns() - started) // 1_000_000


@dataclass(eq=False, slots=True)
class Window:
    """One open view of a board. `changed` is set when there is something new to show, `ousted` when too many others
    are open.
    """

    changed: asyncio.Event = field(default_factory=asyncio.Event)
    ousted: bool = False


class Hall:
    """All matches of this server. Belongs to one event loop; use it as an async context manager."""

    def __init__(self, store: Store, platform: Platform, pace: Pace, clock: Callable[[], int] | None = None) -> None:
        self._store = store
        self._platform = platform
        self._pace = pace
        self._now = clock or steady_clock()
        self._session_secret = store.secret("sessions")
        self._matches: dict[str, Match] = {}
        # Those that have changed since they were last written.
        self._unkept: dict[str, Match] = {}
        self._windows: dict[tuple[str, Seat], list[Window]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._thinking: set[str] = set()
        # One at a time, so that people at practice take no more than one thread from matches with money on them.
        self._thinker = ThreadPoolExecutor(1, "reversi-bot")
        self._chance = random.Random()
        self._alive_at = self._forgot_at = 0
        self.closing = False

    async def __aenter__(self) -> Hall:
        await self._platform.__aenter__()
        now = self._now()
        down_at = self._store.last_alive()
        for match in self._store.unfinished():
            self._matches[match.match_id] = match
            if match.resume(now if down_at is None else min(down_at, now), now):
                self._store.save(match)
                self._spawn(self._find_names(match))
            else:
                self._spawn(self._report(match))
        self._store.alive(now)
        self._spawn(self._run_clocks())
        self._spawn(self._keep_again())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._thinker.shutdown(wait=False, cancel_futures=True)
        await self._platform.__aexit__(None, None, None)
        self._store.alive(self._now())
        self._store.close()

    def close(self) -> None:
        """Send everybody away. What is stored goes on after a restart."""
        self.closing = True
        for windows in self._windows.values():
            for window in windows:
                window.changed.set()

    # --- the platform's side -----------------------------------------------------------------------------------------

    async def started(self, event: MatchStarted) -> None:
        """Take a match in. Raises MatchRefused for one that cannot be played here."""
        known = self.find(event.match_id)
        if known is not None:
            if known.phase == "aborted":
                raise MatchRefused("The match was called off.")
            return
        try:
            match = Match.of(event.info, self._now(), self._pace)
        except ValueError as error:
            raise MatchRefused(str(error)) from None
        # On disk first: the 200 that follows is what the players' money waits for.
        self._store.save(match)
        self._matches[match.match_id] = match
        self._keep_alive()
        self._spawn(self._find_names(match))
        log.info("match %s starts", match.match_id)

    async def aborted(self, event: MatchAborted) -> None:
        match = self.find(event.match_id)
        if match is None:
            return
        if match.abort(self._now()):
            self._changed(match)
            log.info("match %s is called off", match.match_id)
        elif match.match_id in self._unkept:
            # Told once more, since it could not be written the last time: the 200 says that it is.
            self._changed(match)

    async def admit(self, token: str) -> tuple[TokenInfo | None, Match | None, Seat | None]:
        """What a match-token is for: what the platform says of it, and the match and seat here, if there are any.
        Raises SdkError when the platform cannot be asked.
        """
        info = await self._platform.holder(token)
        match = self.find(info.match_id) if info is not None else None
        seat = match.seat_of(info.user_id) if info is not None and match is not None else None
        return info, match, seat

    # --- the players' side -------------------------------------------------------------------------------------------

    def find(self, match_id: str) -> Match | None:
        return self._matches.get(match_id) or self._store.get(match_id)

    def session(self, match_id: str, seat: Seat) -> str:
        """What the holder of a seat shows from now on, for a day. It outlives a restart, and is for this seat alone."""
        expires_at = self._now() + SESSION_MS
        return f"{expires_at}.{self._signature(match_id, seat, expires_at)}"

    def at_seat(self, match_id: str, seat: Seat, session: str) -> Match | None:
        """The match, for who has a session of that seat."""
        expires, _, signature = session.partition(".")
        if not expires.isascii() or not expires.isdigit() or len(expires) > 15 or int(expires) < self._now():
            return None
        expected = self._signature(match_id, seat, int(expires))
        return self.find(match_id) if hmac.compare_digest(expected.encode(), signature.encode()) else None

    def _signature(self, match_id: str, seat: Seat, expires_at: int) -> str:
        text = f"{match_id}:{seat}:{expires_at}"
        return hmac.new(self._session_secret, text.encode(), hashlib.sha256).hexdigest()

    def enter(self, match: Match, seat: Seat) -> Window:
        """Somebody opens the board; opening it is arriving."""
        windows = self._windows.setdefault((match.match_id, seat), [])
        window = Window()
        windows.append(window)
        window.changed.set()
        for old in windows[:-WINDOWS_PER_SEAT]:
            old.ousted = True
            old.changed.set()
        if match.arrive(seat, self._now()):
            self._keep(match)
        else:
            self._show(match)
        return window

    def leave(self, match: Match, seat: Seat, window: Window) -> None:
        windows = self._windows.get((match.match_id, seat), [])
        if window in windows:
            windows.remove(window)
        if not windows:
            self._windows.pop((match.match_id, seat), None)
            self._show(match)

    def view(self, match: Match, seat: Seat) -> dict[str, Any]:
        here = [(match.match_id, each) in self._windows for each in SEATS]
        if match.level is not None:
            here[match.bot_seat] = True
        return match.view(seat, self._now(), (here[0], here[1]))

    def move(self, match: Match, seat: Seat, number: int, square: str) -> None:
        """Raises NotPlayableError."""
        self._tick(match)
        if match.move(seat, number, square, self._now()):
            self._changed(match)

    def resign(self, match: Match, seat: Seat) -> None:
        """Raises NotPlayableError."""
        self._tick(match)
        if match.resign(seat, self._now()):
            self._changed(match)

    # --- practice ----------------------------------------------------------------------------------------------------

    def practise(self, level: Level) -> tuple[Match, Seat] | None:
        """A practice match and the person's seat in it; None when there are too many. It is in memory only.

        A table that nobody is at makes room, the oldest first: who asks for hundreds and plays at none takes them from
        nobody.
        """
        tables = [match for match in self._matches.values() if match.level is not None]
        if len(tables) >= PRACTICE_TABLES:
            left = next((each for each in tables if not self._is_watched(each)), None)
            if left is None:
                return None
            del self._matches[left.match_id]
        match = Match.practice(secrets.token_hex(12), level, self._now(), self._pace)
        self._matches[match.match_id] = match
        return match, SEATS[1 - match.bot_seat]

    async def _think(self, match: Match, level: Level) -> None:
        began = time.monotonic()
        loop = asyncio.get_running_loop()
        chance = random.Random(self._chance.random())
        square = await loop.run_in_executor(self._thinker, choose, match.position, level, chance)
        await asyncio.sleep(max(0.0, began + BOT_THINKS_SECONDS - time.monotonic()))
        self._thinking.discard(match.match_id)
        # The clock or the person may have ended it meanwhile.
        with contextlib.suppress(NotPlayableError):
            self.move(match, match.bot_seat, len(match.moves) + 1, SQUARES[square])

    # --- beside ------------------------------------------------------------------------------------------------------

    def _changed(self, match: Match) -> None:
        """Keep a match as it is now, show it, and report it when it is over. Raises sqlite3.Error when it cannot be
        kept, as on a disk that is full for a moment; then `_keep_again` does all that.
        """
        if match.level is None:
            self._unkept[match.match_id] = match
            self._store.save(match)
            del self._unkept[match.match_id]
            if match.phase == "over":
                self._spawn(self._report(match))
            elif match.phase in ("reported", "aborted"):
                self._matches.pop(match.match_id, None)
        elif (
            match.phase == "playing" and match.position.turn == match.bot_seat and match.match_id not in self._thinking
        ):
            self._thinking.add(match.match_id)
            self._spawn(self._think(match, match.level))
        self._show(match)

    def _show(self, match: Match) -> None:
        for seat in SEATS:
            for window in self._windows.get((match.match_id, seat), ()):
                window.changed.set()

    def _is_watched(self, match: Match) -> bool:
        return any((match.match_id, seat) in self._windows for seat in SEATS)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _find_names(self, match: Match) -> None:
        for seat in SEATS:
            if not match.names[seat]:
                with contextlib.suppress(SdkError):
                    match.names[seat] = await self._platform.name_of(match.users[seat])
        # Also of a match that was over by then: its board is looked at afterwards.
        self._store.save(match)
        self._show(match)

    async def _report(self, match: Match) -> None:
        while match.phase == "over":
            try:
                verdict = await self._platform.report(match)
            except SdkError:
                # A full disk, say. The match is still over when there is room again.
                log.exception("the result of match %s cannot be kept", match.match_id)
                await asyncio.sleep(REPORT_AGAIN_SECONDS)
                continue
            log.info("match %s: the result is %s", match.match_id, verdict.replace("_", " "))
            if match.report_answered(verdict):
                self._keep(match)

    async def _keep_again(self) -> None:
        """A change that could not be written is written later. Nothing else would do it: a match that is over has no
        clock that runs, and nobody moves in it.
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

    async def _run_clocks(self) -> None:
        while True:
            await asyncio.sleep(TICK_SECONDS)
            for match in list(self._matches.values()):
                try:
                    self._tick(match)
                except Exception:
                    # One match that cannot be stored must not stop the clocks of all the others.
                    log.exception("the clock of match %s", match.match_id)
            try:
                self._keep_house()
            except Exception:
                log.exception("the database")

    def _tick(self, match: Match) -> None:
        if match.tick(self._now()):
            self._changed(match)

    def _keep_alive(self) -> None:
        self._alive_at = self._now()
        self._store.alive(self._alive_at)

    def _keep_house(self) -> None:
        now = self._now()
        for match in [match for match in self._matches.values() if match.level is not None and match.ended_at]:
            if now - (match.ended_at or now) > PRACTICE_AFTER_THE_END_MS:
                del self._matches[match.match_id]
        if now - self._alive_at >= ALIVE_EVERY_MS and any(m.open and m.level is None for m in self._matches.values()):
            self._keep_alive()
        if now - self._forgot_at >= FORGET_EVERY_MS:
            self._forgot_at = now
            self._store.forget_ended(now - KEPT_AFTER_THE_END_MS)
