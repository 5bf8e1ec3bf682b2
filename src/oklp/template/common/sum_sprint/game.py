"""The matches of this server: taken in, played, scored here and nowhere else, and reported."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final

from oklp.sdk import (
    AsyncClient,
    AsyncResultOutbox,
    DeveloperConfig,
    InvalidCallError,
    InvalidRequestError,
    MatchAborted,
    MatchRefused,
    MatchStarted,
    NotFoundError,
    RetryPolicy,
    SdkError,
    SqliteDeliveries,
    TokenInfo,
)
from oklp.sdk.asgi import MatchWebhook, match_webhook

from . import results, rules
from .matches import Match, Result
from .store import Store

log = logging.getLogger("sum_sprint")

TICK_SECONDS: Final = 0.5


def wall_clock() -> int:
    """Milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


class NotPlayableError(Exception):
    """The match does not allow it now; the text is for the player."""


class Game:
    """All matches. An async context manager, which belongs to one event loop. `path` is its file: what is in it goes on
    after a restart. Raises StorageError and sqlite3.Error when it cannot be used.
    """

    def __init__(self, config: DeveloperConfig, path: Path, clock: Callable[[], int] = wall_clock) -> None:
        self._clock = clock
        self._store = Store(path)
        # Players wait for it at their launch, so not for long. Results are the outbox's, which is patient.
        self._client = AsyncClient(config, retry=RetryPolicy(attempts=3))
        self._outbox = AsyncResultOutbox(path, self._client)
        self._deliveries = SqliteDeliveries(path)
        # What of a match is in the outbox already. Nothing is lost with this: the outbox knows its own results again.
        self._handed_on: dict[str, list[Result]] = {}
        self._ticking: asyncio.Task[None] | None = None
        self.webhook: MatchWebhook = match_webhook(
            config, started=self._started, aborted=self._aborted, deliveries=self._deliveries
        )

    async def __aenter__(self) -> Game:
        await self._outbox.start()
        self._ticking = asyncio.create_task(self._tick())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._ticking is not None:
            self._ticking.cancel()
            await asyncio.gather(self._ticking, return_exceptions=True)
        await self._outbox.aclose()
        await self._client.aclose()
        self.webhook.close()
        self._deliveries.close()
        self._store.close()

    # --- the platform's side -----------------------------------------------------------------------------------------

    async def _started(self, event: MatchStarted) -> None:
        """On disk before the platform has its 200: from then on there is money on this match."""
        match = self._store.match(event.match_id)
        if match is not None and match.is_off:
            raise MatchRefused("The match was called off.")
        self._store.add(event.info, self._clock())
        log.info("match %s is on", event.match_id)

    async def _aborted(self, event: MatchAborted) -> None:
        self._store.call_off(event.match_id)
        log.info("match %s is called off", event.match_id)

    async def holder(self, token: str) -> TokenInfo | None:
        """Whom a match-token is for; None when it is worth nothing. Raises SdkError when that cannot be told."""
        try:
            return await self._client.token_info(token)
        except (NotFoundError, InvalidCallError, InvalidRequestError):
            return None

    # --- the players' side -------------------------------------------------------------------------------------------

    def match(self, match_id: str) -> Match | None:
        return self._store.match(match_id)

    def let_in(self, match: Match, user_id: str) -> str:
        """The key of a player's session."""
        return self._store.new_session(match.match_id, user_id)

    def player(self, key: str) -> tuple[Match, str] | None:
        """The match and the user of a session."""
        found = self._store.session(key)
        if found is None:
            return None
        match = self._store.match(found[0])
        return None if match is None else (match, found[1])

    def elapsed_ms(self, match: Match, user_id: str) -> int:
        """Since the player began, who has to have begun."""
        return self._clock() - match.began[user_id]

    def may_begin(self, match: Match) -> bool:
        return match.may_begin(self._clock())

    def begin(self, match: Match, user_id: str) -> None:
        """Start the player's clock, unless it runs. Raises NotPlayableError."""
        if user_id in match.began:
            return
        if not self.may_begin(match):
            raise NotPlayableError("This match is over, or was called off.")
        self._store.begin(match.match_id, user_id, self._clock())

    async def answer(self, match: Match, user_id: str, answers: Sequence[int | None]) -> None:
        """Score a player's answers, the first time. Raises NotPlayableError, and StorageError when the result cannot be
        kept yet; it is tried again without the player.
        """
        if match.is_off or user_id not in match.began:
            raise NotPlayableError("There is nothing to answer.")
        if user_id in match.scores or results.is_over(match, self._clock()):
            return
        asked = rules.sums(match.match_id, match.secret)
        score = rules.score(asked, answers, self.elapsed_ms(match, user_id))
        self._store.score(match.match_id, user_id, score)
        await self._report(match.match_id)

    # --- results -----------------------------------------------------------------------------------------------------

    async def _report(self, match_id: str) -> None:
        """Hand on what is due; the outbox reports it until it is answered."""
        match = self._store.match(match_id)
        if match is None or match.is_over or match.is_off:
            return
        now = self._clock()
        handed_on = self._handed_on.setdefault(match_id, [])
        for result in results.due(match, now):
            if result not in handed_on:
                await self._outbox.put(match_id, result.scores, result.teams)
                handed_on.append(result)
        if results.is_over(match, now):
            self._store.close_match(match_id)
            self._handed_on.pop(match_id, None)

    async def _tick(self) -> None:
        """Reports what is due by the clock, and what a crash kept from being handed on."""
        while True:
            try:
                for match_id in self._store.open_matches():
                    await self._report(match_id)
            except (SdkError, sqlite3.Error):
                # A full disk, say. What is due is still due when there is room again.
                log.exception("results cannot be handed on")
            await asyncio.sleep(TICK_SECONDS)
