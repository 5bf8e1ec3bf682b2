"""So many requests a minute from one caller, and no more (contract section B1). The sandbox has no such limit."""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter
from starlette.requests import Request
from starlette.responses import Response

from limits import RateLimitItemPerMinute
from oklp.errors import TooManyRequests
from oklp.signing import hash_token

FREE = ("/api/game/", "/api/games/", "/auth/", "/assets/", "/healthz", "/readyz", "/metrics")
SESSIONS = re.compile(rb"(?:^|; *)(?:__Host-)?oklp_(?:player|studio|operator)=([^;]+)")


class RequestLimit:
    """Counts by session (a token or a cookie), or by address without one. APIs of people and pages count together.

    Games are not limited: their load is their players'.

    Each process counts for itself: the limit keeps one caller from crowding out the others, and is no quota.
    """

    def __init__(
        self, app: Any, requests_per_minute: int, refused: Callable[[Any, Exception], Awaitable[Response]]
    ) -> None:
        self._app = app
        self._refused = refused
        self._item = RateLimitItemPerMinute(requests_per_minute)
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "http" and not scope["path"].startswith(FREE):
            caller = _caller(scope)
            if not self._limiter.hit(self._item, caller):
                reset_at = self._limiter.get_window_stats(self._item, caller).reset_time
                wait = max(1, int(reset_at - time.time()) + 1)
                refusal = TooManyRequests("Too many requests; slow down.", retry_after_seconds=wait)
                answer = await self._refused(Request(scope, receive), refusal)
                await answer(scope, receive, send)
                return
        await self._app(scope, receive, send)


def _caller(scope: MutableMapping[str, Any]) -> str:
    offered = next((value for name, value in scope["headers"] if name == b"authorization"), None)
    if offered is None:
        cookies = next((value for name, value in scope["headers"] if name == b"cookie"), b"")
        session = SESSIONS.search(cookies)
        offered = session.group(1) if session is not None else None
    if offered is not None:
        return hash_token(offered.decode("latin-1"))
    client = scope.get("client")
    return str(client[0]) if client else "unknown"
