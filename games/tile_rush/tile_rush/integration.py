"""All that Tile Rush has to do with the platform. The rest of the game knows nothing of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from oklp.sdk import (
    AsyncClient,
    AsyncResultOutbox,
    ConfigSource,
    InvalidCallError,
    InvalidRequestError,
    MatchAborted,
    MatchInfo,
    MatchStarted,
    NotFoundError,
    OutboxEntry,
    SqliteDeliveries,
    TokenInfo,
)
from oklp.sdk.asgi import MatchWebhook, match_webhook


class Platform:
    """`path` is the SQLite file of results on their way and of webhooks that were handled."""

    def __init__(self, config: ConfigSource, path: Path) -> None:
        self._config = config
        self._client = AsyncClient(config)
        self._outbox = AsyncResultOutbox(path, self._client)
        self._deliveries = SqliteDeliveries(path)

    async def __aenter__(self) -> Platform:
        await self._outbox.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._outbox.aclose()
        self._deliveries.close()
        await self._client.aclose()

    def webhook(self, take_in: Callable[[MatchInfo], None], call_off: Callable[[str], None]) -> MatchWebhook:
        """The match info webhook: whoever has the match's 200 may start it."""

        async def started(event: MatchStarted) -> None:
            take_in(event.info)

        async def aborted(event: MatchAborted) -> None:
            call_off(event.match_id)

        return match_webhook(self._config, started=started, aborted=aborted, deliveries=self._deliveries)

    async def admit(self, token: str) -> TokenInfo | None:
        """Whom a match-token is for, None when it is worth nothing. Raises SdkError while that cannot be told."""
        try:
            return await self._client.token_info(token)
        except (NotFoundError, InvalidCallError, InvalidRequestError):
            return None

    async def match(self, match_id: str) -> MatchInfo | None:
        """A match that is on, None for any other. Raises SdkError while that cannot be told."""
        try:
            match = await self._client.match(match_id)
        except NotFoundError:
            return None
        return match if match.match_status == "live" else None

    async def report(self, match_id: str, user_id: str, score: int) -> None:
        """On disk when it returns, and then sent until it is answered. The same again is the same result."""
        await self._outbox.put(match_id, {user_id: score})

    async def answer_to(self, match_id: str, user_id: str) -> OutboxEntry | None:
        """What the platform said to a player's result."""
        entries = await self._outbox.entries(match_id=match_id)
        return next((entry for entry in entries if entry.result.participants[0].id == user_id), None)
