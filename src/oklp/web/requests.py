"""Every request: an id, a measurement, and headers that a browser should see. And a short way for the hottest."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from typing import Any, NamedTuple

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from oklp.observability import begin_request, observe_http
from oklp.web.caller import counted, too_large
from oklp.web.problems import problem

Scope = MutableMapping[str, Any]

NO_SNIFF = (b"x-content-type-options", b"nosniff")


class Direct(NamedTuple):
    """A plain route that is answered without the framework's layers, for one fixed address."""

    route: Route
    path_params: Mapping[str, str]
    handler: Callable[[Request], Awaitable[Response]]


def direct(routes: Sequence[Route], **path_params: str) -> dict[tuple[str, str], Direct]:
    """By method and path, `path_params` filled in. HEAD and OPTIONS take the long way."""
    return {
        (method, route.path.format(**path_params)): Direct(route, path_params, route.endpoint)
        for route in routes
        for method in sorted((route.methods or set()) - {"HEAD", "OPTIONS"})
    }


class Observed:
    """Gives each request an id (its own `X-Request-ID`, when it is a sane one) and measures it by route.

    Requests for `hot` addresses are handled right here: routing, exit stacks and exception layers cost more than
    answering does. Their handlers are those of the plain routes, which stay for all that is not hot about them (other
    methods, other spellings of the address); `on_error` answers what they raise, as the layers would.
    """

    def __init__(
        self,
        app: Any,
        hot: Mapping[tuple[str, str], Direct],
        body_limit_bytes: int,
        on_error: Callable[[Request, Exception], Awaitable[Response]],
    ) -> None:
        self._app = app
        self._hot = hot
        self._body_limit_bytes = body_limit_bytes
        self._on_error = on_error

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        offered = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"x-request-id"), None)
        added = ((b"x-request-id", begin_request(offered).encode()), NO_SNIFF)
        found = self._hot.get((scope["method"], scope["path"]))
        if found is not None:
            await self._answer(found, scope, receive, send, added, started)
        else:
            await self._pass_on(scope, receive, send, added, started)

    async def _answer(
        self, found: Direct, scope: Scope, receive: Any, send: Any, added: Sequence[tuple[bytes, bytes]], started: float
    ) -> None:
        scope["path_params"] = found.path_params
        request = Request(scope, counted(receive, self._body_limit_bytes))
        refusal = too_large(scope, self._body_limit_bytes)
        status = 500
        try:
            try:
                response = await found.handler(request) if refusal is None else problem(refusal)
            except Exception as error:
                response = await self._on_error(request, error)
            status = response.status_code
            response.raw_headers.extend(added)
            await response(scope, receive, send)
        finally:
            observe_http(found.route.path, scope["method"], status, time.perf_counter() - started)

    async def _pass_on(
        self, scope: Scope, receive: Any, send: Any, added: Sequence[tuple[bytes, bytes]], started: float
    ) -> None:
        status = 500

        async def observed(message: MutableMapping[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], *added]
            await send(message)

        try:
            await self._app(scope, receive, observed)
        finally:
            route = scope.get("route")
            path = getattr(route, "path", None) or "(none)"
            observe_http(path, scope["method"], status, time.perf_counter() - started)
