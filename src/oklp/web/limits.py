"""So many requests a minute from one caller, and no more (contract section B1). The sandbox has no such limit."""

from __future__ import annotations

import re
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter
from starlette.requests import Request
from starlette.responses import Response

from limits import RateLimitItemPerMinute
from oklp.errors import TooManyRequests
from oklp.signing import hash_token
from oklp.web.caller import PROVED

FREE = ("/api/game/", "/api/games/", "/auth/", "/assets/", "/healthz", "/readyz", "/metrics")
SESSIONS = re.compile(rb"(?:^|; *)(?:__Host-)?oklp_(?:player|studio|operator)=([^;]+)")
PROVED_SECONDS = 600
MOST_PROVED = 100_000
MOST_OFFERED = 4  # a token, or a cookie of each surface


class RequestLimit:
    """Counts by session (a token or a cookie), or by address without one. APIs of people and pages count together.

    A session counts for itself once a request with it was found to have one: until then, whoever makes up tokens is
    counted by his address, as somebody without any. Games are not limited: their load is their players'.

    Each process counts for itself: the limit keeps one caller from crowding out the others, and is no quota.
    """

    def __init__(
        self, app: Any, requests_per_minute: int, refused: Callable[[Any, Exception], Awaitable[Response]]
    ) -> None:
        self._app = app
        self._refused = refused
        self._item = RateLimitItemPerMinute(requests_per_minute)
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())
        self._proved: OrderedDict[str, float] = OrderedDict()  # until when, the next to end first

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "http" and not scope["path"].startswith(FREE):
            offered = _offered(scope)
            caller = next(filter(self._is_proved, offered), None) or _address(scope)
            if not self._limiter.hit(self._item, caller):
                reset_at = self._limiter.get_window_stats(self._item, caller).reset_time
                wait = max(1, int(reset_at - time.time()) + 1)
                refusal = TooManyRequests("Too many requests; slow down.", retry_after_seconds=wait)
                answer = await self._refused(Request(scope, receive), refusal)
                await answer(scope, receive, send)
                return
            try:
                await self._app(scope, receive, send)
            finally:
                if scope.get(PROVED) in offered:
                    self._remember(scope[PROVED])
            return
        await self._app(scope, receive, send)

    def _is_proved(self, session: str) -> bool:
        return self._proved.get(session, 0.0) > time.monotonic()

    def _remember(self, session: str) -> None:
        self._proved[session] = time.monotonic() + PROVED_SECONDS
        self._proved.move_to_end(session)
        while len(self._proved) > MOST_PROVED:
            self._proved.popitem(last=False)


def _offered(scope: MutableMapping[str, Any]) -> list[str]:
    """The hashes of the tokens and cookies that the request has, whatever they are worth."""
    found: list[bytes] = []
    for name, value in scope["headers"]:
        if name == b"authorization":
            found.append(value.partition(b" ")[2].strip())
        elif name == b"cookie":
            found += SESSIONS.findall(value)
    return [hash_token(each.decode("latin-1")) for each in found[:MOST_OFFERED]]


def _address(scope: MutableMapping[str, Any]) -> str:
    client = scope.get("client")
    return str(client[0]) if client else "unknown"
