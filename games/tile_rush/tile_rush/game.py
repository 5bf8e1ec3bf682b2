"""The runs of all matches: who may play, what has been played, when it is over, and that the result is reported."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import sqlite3
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Final

from oklp.sdk import MatchInfo, MatchRefused, SdkError

from .integration import Platform
from .runs import (
    GRACE_AFTER_RESTART_MS,
    LEAD_IN_MS,
    LogRefusedError,
    OutOfStepError,
    Run,
    Tap,
    TooLateError,
)
from .store import Match, Store

log = logging.getLogger("tile_rush")

TICK_SECONDS: Final = 0.25
# The page gives a start up after five seconds (`log.js`). What it has given up must not begin a run behind its back.
START_SECONDS: Final = 3.0
KEPT_MS: Final = 7 * 24 * 3600 * 1000
FORGET_EVERY_MS: Final = 3600 * 1000
RUNS_IN_MEMORY: Final = 1_000


class NotPlayableError(Exception):
    """The match does not allow it now; the text is for the player."""


def wall_clock() -> int:
    return time.time_ns() // 1_000_000


class Game:
    """All runs of this server. Belongs to one event loop; use it as an async context manager."""

    def __init__(self, store: Store, platform: Platform, duration_ms: int) -> None:
        self._store = store
        self._platform = platform
        self._duration_ms = duration_ms
        self._secrets = {name: store.secret(name) for name in ("seats", "tiles")}
        self._runs: OrderedDict[tuple[str, str], Run] = OrderedDict()
        self._opened_at = wall_clock()
        self._forgot_at = 0
        self._clock: asyncio.Task[None] | None = None
        self.webhook = platform.webhook(self._take_in, self._call_off)

    async def __aenter__(self) -> Game:
        await self._platform.__aenter__()
        self._clock = asyncio.create_task(self._run_clock())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._clock is not None:
            self._clock.cancel()
            await asyncio.gather(self._clock, return_exceptions=True)
        await self._platform.__aexit__(kind, error, trace)
        self.webhook.close()
        self._store.close()

    # --- the platform's side -----------------------------------------------------------------------------------------

    def _take_in(self, info: MatchInfo) -> None:
        match = self._store.match(info.match_id)
        if match is not None and match.is_off:
            raise MatchRefused("The match was called off.")
        users = [participant.id for participant in info.participants]
        self._store.take_in(info.match_id, users, self._duration_ms, wall_clock())
        log.info("match %s is on", info.match_id)

    def _call_off(self, match_id: str) -> None:
        self._store.call_off(match_id, wall_clock())
        log.info("match %s is called off", match_id)

    async def admit(self, token: str) -> tuple[Match, str, str] | None:
        """The match, the player, and how the platform says that things are: `live` when there is something to play,
        else `pending`, `played`, `finished` or `aborted`. None when the token is worth nothing here. Raises SdkError.
        """
        info = await self._platform.admit(token)
        if info is None:
            return None
        match = self._store.match(info.match_id)
        if match is None and info.match_status == "live":
            # No webhook told of it: the game is registered for pulling.
            pulled = await self._platform.match(info.match_id)
            if pulled is not None and self._store.match(info.match_id) is None:
                self._take_in(pulled)
            match = self._store.match(info.match_id)
        match = match or Match(info.match_id, (info.user_id,), self._duration_ms, is_off=False)
        if match.is_off:
            return match, info.user_id, "aborted"
        if info.user_id not in match.users:
            return None
        played = info.match_status == "live" and info.submissions_left == 0
        return match, info.user_id, "played" if played else info.match_status

    # --- the players' side -------------------------------------------------------------------------------------------

    def seat_key(self, match_id: str, seat: int) -> str:
        """What the holder of a seat shows with each request. It outlives a restart, and is for this seat alone."""
        return self._of_secret("seats", f"{match_id}:{seat}")

    def at_seat(self, match_id: str, seat: int, key: str) -> tuple[Match, str] | None:
        """The match and the player who sits there."""
        if not hmac.compare_digest(self.seat_key(match_id, seat).encode(), key.encode()):
            return None
        match = self._store.match(match_id)
        return (match, match.users[seat]) if match is not None and seat < len(match.users) else None

    def has_run(self, match: Match, user_id: str) -> bool:
        return self._run(match.match_id, user_id) is not None

    async def start(self, match: Match, user_id: str, gave_up: Callable[[], Awaitable[bool]]) -> None:
        """Start the player's clock, unless it has been, or the page, as `gave_up` says, waits for it no longer. Raises
        NotPlayableError, and SdkError when the platform cannot be asked soon enough whether the match is still on.
        """
        if self.has_run(match, user_id):
            return
        if match.is_off or not await self._is_on(match):
            raise NotPlayableError("This match is over, or was called off.")
        if await gave_up():
            raise NotPlayableError("Nobody waits for this start any more.")
        # The tiles must not be known before the clock runs, or somebody could rehearse them: so not by the id alone.
        tiles = self._tiles_of(match)
        run = Run(match.match_id, user_id, tiles, match.duration_ms, wall_clock() + LEAD_IN_MS)
        self._store.start(run)
        log.info("match %s: a run starts", match.match_id)

    async def take(self, match: Match, user_id: str, tiles: object, start: int, taps: list[Tap], done: bool) -> None:
        """Take a piece of a player's log. `done` says that nothing more will come. Raises OutOfStepError, and
        NotPlayableError where there is no run to continue. A piece that is refused ends the run.
        """
        run = self._run(match.match_id, user_id)
        if run is None or match.is_off:
            raise NotPlayableError("There is no run under way.")
        now = wall_clock()
        try:
            fresh = run.take(tiles, start, taps, now)
        except LogRefusedError as refusal:
            log.warning("match %s: a log is refused: %s", run.match_id, refusal)
            await self._end(run, now, str(refusal))
        except TooLateError:
            if run.ended_at is None:
                await self._end(run, now)
        else:
            self._keep(run, fresh)
            if done and run.elapsed_ms(now) >= run.duration_ms:
                await self._end(run, now)

    async def view(self, match: Match, user_id: str, *, with_log: bool) -> dict[str, Any]:
        """What a player's page needs to know."""
        run = self._run(match.match_id, user_id)
        if run is None:
            phase = "off" if match.is_off else "ready"
            return {
                "phase": phase,
                "match_id": match.match_id,
                "duration_ms": match.duration_ms,
                "commitment": self._commitment_to(match),
            }
        ended = run.ended_at is not None
        answer = await self._platform.answer_to(match.match_id, user_id) if ended else None
        view = {
            "phase": "off" if match.is_off else "over" if ended else "playing",
            "match_id": run.match_id,
            "tiles": run.tiles,
            "commitment": self._commitment_to(match),
            "duration_ms": run.duration_ms,
            "elapsed_ms": run.elapsed_ms(wall_clock()),
            "have": len(run.taps),
            "score": run.score,
            "largest": run.board.largest,
            "refusal": run.refusal,
            "report": None if not ended else "waiting" if answer is None else answer.state,
        }
        return {**view, "log": run.taps} if with_log else view

    # --- beside ------------------------------------------------------------------------------------------------------

    async def _is_on(self, match: Match) -> bool:
        try:
            async with asyncio.timeout(START_SECONDS):
                return await self._platform.match(match.match_id) is not None
        except TimeoutError:
            raise SdkError(f"match {match.match_id} could not be looked up in {START_SECONDS:g} s") from None

    def _of_secret(self, name: str, text: str) -> str:
        return hmac.new(self._secrets[name], text.encode(), hashlib.sha256).hexdigest()

    def _tiles_of(self, match: Match) -> str:
        return self._of_secret("tiles", match.match_id)[:32]

    def _commitment_to(self, match: Match) -> str:
        """Binds the server to one board for all players of a match before any of them has seen it. It tells nobody
        anything of the board, and afterwards anyone can hash `tiles` and compare.
        """
        return hashlib.sha256(self._tiles_of(match).encode()).hexdigest()

    def _run(self, match_id: str, user_id: str) -> Run | None:
        """The run, replayed once and then kept in memory. What is on disk is the same."""
        key = (match_id, user_id)
        run = self._runs.get(key)
        if run is None:
            run = self._store.run(*key)
            if run is None:
                return None
            if run.started_at < self._opened_at:
                # Pieces may have been waiting for this server to come back.
                run.kept_open_until_at = self._opened_at + GRACE_AFTER_RESTART_MS
            self._runs[key] = run
        self._runs.move_to_end(key)
        while len(self._runs) > RUNS_IN_MEMORY:
            self._runs.popitem(last=False)
        return run

    def _keep(self, run: Run, fresh: list[Tap]) -> None:
        if not fresh:
            return
        try:
            self._store.add(run, fresh)
        except sqlite3.Error:
            # What could not be written has not been taken: the page sends it again.
            del self._runs[run.match_id, run.user_id]
            raise

    async def _end(self, run: Run, now: int, refusal: str | None = None) -> None:
        self._store.end(run.match_id, run.user_id, now, refusal)
        run.end(now, refusal)
        log.info("match %s: a run ends with %d points", run.match_id, run.score)
        await self._report(run)

    async def _report(self, run: Run) -> None:
        """From here on it is the outbox's. If this process ends in between, the next one does it again."""
        await self._platform.report(run.match_id, run.user_id, run.score)
        self._store.reported(run)

    async def _run_clock(self) -> None:
        while True:
            try:
                await self._tick(wall_clock())
            except (SdkError, sqlite3.Error):
                log.exception("the clock")
            await asyncio.sleep(TICK_SECONDS)

    async def _tick(self, now: int) -> None:
        for key in self._store.timed_out(now):
            run = self._run(*key)
            if run is not None and run.ended_at is None and now >= run.closes_at():
                await self._end(run, now)
        for key in self._store.unreported():
            run = self._run(*key)
            if run is not None:
                await self._report(run)
        if now - self._forgot_at > FORGET_EVERY_MS:
            self._store.forget_before(now - KEPT_MS)
            self._forgot_at = now


__all__ = ["Game", "NotPlayableError", "OutOfStepError", "wall_clock"]
