"""So many requests a minute from one caller, and no more (contract section B1). The sandbox has no such limit."""

from __future__ import annotations

import time
from collections.abc import MutableMapping
from typing import Any

from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter

from limits import RateLimitItemPerMinute
from oklp.errors import TooManyRequests
from oklp.signing import hash_token
from oklp.web.problems import problem

LIMITED = ("/api/player/", "/api/studio/", "/api/operator/")


class RequestLimit:
    """Counts by session token, or by address without one. Games are not limited: their load is their players'.

    Each process counts for itself: the limit keeps one caller from crowding out the others, and is no quota.
    """

    def __init__(self, app: Any, requests_per_minute: int) -> None:
        self._app = app
        self._item = RateLimitItemPerMinute(requests_per_minute)
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["path"].startswith(LIMITED):
            caller = _caller(scope)
            if not self._limiter.hit(self._item, caller):
                reset_at = self._limiter.get_window_stats(self._item, caller).reset_time
                wait = max(1, int(reset_at - time.time()) + 1)
                refusal = TooManyRequests("Too many requests; slow down.", retry_after_seconds=wait)
                await problem(refusal)(scope, receive, send)
                return
        await self._app(scope, receive, send)


def _caller(scope: MutableMapping[str, Any]) -> str:
    offered = next((value for name, value in scope["headers"] if name == b"authorization"), None)
    if offered is not None:
        return hash_token(offered.decode("latin-1"))
    client = scope.get("client")
    return str(client[0]) if client else "unknown"
