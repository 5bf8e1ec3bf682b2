"""All that this game says to the platform and hears from it. The rest of the package knows nothing of HTTP to there."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Literal, TypeAlias

from oklp.sdk import (
    AsyncClient,
    AsyncResultOutbox,
    DeveloperConfig,
    InvalidCallError,
    InvalidRequestError,
    MatchAborted,
    MatchStarted,
    NotFoundError,
    SqliteDeliveries,
    TokenInfo,
)
from oklp.sdk.asgi import MatchWebhook, match_webhook

from .matches import Match

Verdict: TypeAlias = Literal["accepted", "not_accepted", "refused"]

_LOOK_AGAIN_SECONDS = 60.0


def webhook(
    config: DeveloperConfig,
    path: str | os.PathLike[str],
    started: Callable[[MatchStarted], Awaitable[None]],
    aborted: Callable[[MatchAborted], Awaitable[None]],
) -> MatchWebhook:
    """The match info webhook: verified, each match started once, and none that was called off."""
    return match_webhook(config, started=started, aborted=aborted, deliveries=SqliteDeliveries(path))


class Platform:
    """The platform as this game uses it. An async context manager; `path` is the file that results wait in."""

    def __init__(self, config: DeveloperConfig, path: str | os.PathLike[str]) -> None:
        self._client = AsyncClient(config)
        self._outbox = AsyncResultOutbox(path, self._client)

    async def __aenter__(self) -> Platform:
        await self._outbox.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._outbox.aclose()
        await self._client.aclose()

    async def holder(self, token: str) -> TokenInfo | None:
        """Whose match-token this is; None when it is worth nothing here. Raises SdkError when that cannot be told."""
        try:
            return await self._client.token_info(token)
        except (NotFoundError, InvalidCallError, InvalidRequestError):
            return None

    async def name_of(self, user_id: str) -> str:
        """Raises SdkError."""
        return (await self._client.user(user_id)).username

    async def report(self, match: Match) -> Verdict:
        """Report a match that is over; returns once the platform has answered. The result is on disk before it is sent,
        and the same match reported again, as after a restart, is the same report. Raises StorageError.
        """
        entry = await self._outbox.put(match.match_id, *match.result())
        while entry.state == "waiting":
            entry = await self._outbox.wait(entry, _LOOK_AGAIN_SECONDS)
        return entry.state
