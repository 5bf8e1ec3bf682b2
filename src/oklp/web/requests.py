"""Every request: an id, a measurement, and headers that a browser should see."""

from __future__ import annotations

import time
from collections.abc import MutableMapping
from typing import Any

from oklp.observability import begin_request, observe_http

Scope = MutableMapping[str, Any]


class Observed:
    """Gives each request an id (its own `X-Request-ID`, when it is a sane one) and measures it by route."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        offered = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"x-request-id"), None)
        request_id = begin_request(offered).encode()
        started = time.perf_counter()
        status = 500

        async def observed(message: MutableMapping[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [
                    *message["headers"],
                    (b"x-request-id", request_id),
                    (b"x-content-type-options", b"nosniff"),
                ]
            await send(message)

        try:
            await self._app(scope, receive, observed)
        finally:
            route = scope.get("route")
            path = getattr(route, "path", None) or "(none)"
            observe_http(path, scope["method"], status, time.perf_counter() - started)
