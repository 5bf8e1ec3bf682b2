"""Every request: an id, a measurement, and headers that a browser should see. And a short way for the hottest."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from typing import Any, NamedTuple

from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.routing import Route

from oklp.observability import begin_request, observe_http
from oklp.services.calls import CALL, Noted
from oklp.web.caller import GAME, too_large
from oklp.web.context import Asked, Context
from oklp.web.problems import refused

Scope = MutableMapping[str, Any]

NO_SNIFF = (b"x-content-type-options", b"nosniff")
NO_FRAME = (b"x-frame-options", b"DENY")  # whatever is shown, the document of the APIs and the files too
CLIENT_GONE = 499  # counted, never sent
CUT = 503  # the drain is over: whoever cancels the request answers it (oklp/serving.py)


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
        said: bytes | None = None

        async def observed(message: MutableMapping[str, Any]) -> None:
            nonlocal status, said
            if status >= 400 and said is None and message["type"] == "http.response.body":
                said = message.get("body", b"")
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", request_id), NO_SNIFF, NO_FRAME]
            await send(message)

        try:
            await self._app(scope, receive, observed)
        except asyncio.CancelledError:
            status = CUT
            raise
        finally:
            route = scope.get("route")
            path = getattr(route, "path", None) or "(none)"
            seconds = time.perf_counter() - started
            observe_http(path, scope["method"], status, seconds)
            note(scope["app"].state, scope, status, seconds, request_id, said)


def note(
    state: Any, scope: Scope, status: int, seconds: float, request_id: bytes, said: bytes | memoryview | None
) -> None:
    """In the log of the game that called, if one did. `said` is the body of a refusal."""
    game_id = scope.get(GAME)
    if game_id is None:
        return
    context: Context = state.context
    if context.book.has_room(game_id):
        body = bytes(said) if said is not None and status >= 400 else None
        call = (scope["method"], scope["path"], status, round(seconds * 1e6), request_id.decode())
        context.book.note(Noted(game_id, context.clock(), CALL, *call, body=body))


# --- the short way ---------------------------------------------------------------------------------------------------


class ShortRequest:
    """`context.Asked` without the framework: headers decoded once, the body read whole and counted as it comes."""

    __slots__ = ("_limit_bytes", "_receive", "app", "headers", "path_params", "scope")

    def __init__(
        self,
        app: Any,
        scope: Scope,
        headers: Mapping[str, str],
        path_params: Mapping[str, Any],
        receive: Any,
        limit_bytes: int,
    ) -> None:
        self.app = app
        self.scope = scope
        self.headers = headers
        self.path_params = path_params
        self._receive = receive
        self._limit_bytes = limit_bytes

    async def body(self) -> bytes:
        """To be asked for once. Raises RequestTooLarge, ClientDisconnect."""
        message = await self._receive()
        body: bytes = message.get("body", b"")
        while message.get("more_body") and len(body) <= self._limit_bytes:
            message = await self._receive()
            body += message.get("body", b"")
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        if len(body) > self._limit_bytes:
            raise too_large(self._limit_bytes)
        return body


class JsonText(Response):
    """200 with JSON that is text already. Starlette's own works out for each answer what is the same for all."""

    def __init__(self, text: str, headers: Mapping[str, str] | None = None) -> None:
        self.status_code = 200
        self.background = None
        self.body = text.encode()
        self.raw_headers = [(b"content-length", b"%d" % len(self.body)), (b"content-type", b"application/json")]
        if headers:
            named = headers.items()
            self.raw_headers += [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in named]


class Hot(NamedTuple):
    """A plain route at one fixed address."""

    template: str
    path_params: Mapping[str, str]
    handler: Callable[[Asked], Awaitable[Response]]


def hot(routes: Sequence[Route], **path_params: str) -> dict[tuple[str, str], Hot]:
    """POST routes by method and path, with `path_params` filled in."""
    return {
        ("POST", route.path.format(**path_params)): Hot(route.path, path_params, route.endpoint) for route in routes
    }


class Shortcut:
    """Answers the hot addresses before the framework sees them: its layers cost more than these answers do.

    The handlers are those of the plain routes, which stay for what is not hot about them (other methods, other
    spellings of the address). `on_error` answers what a handler raises, as the framework's layers would.
    """

    def __init__(
        self,
        app: Any,
        routes: Mapping[tuple[str, str], Hot],
        body_limit_bytes: int,
        on_error: Callable[[Any, Exception], Awaitable[Response]],
    ) -> None:
        self._app = app
        self._routes = routes
        self._limit_bytes = body_limit_bytes
        self._on_error = on_error

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        found = self._routes.get((scope["method"], scope["path"])) if scope["type"] == "http" else None
        if found is None:
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        # Of a header given twice the first counts, as in the framework.
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in reversed(scope["headers"])}
        request_id = begin_request(headers.get("x-request-id")).encode()
        status = 500
        said: bytes | memoryview | None = None
        try:
            declared = headers.get("content-length", "0")
            if declared.isdigit() and int(declared) > self._limit_bytes:
                response = refused(scope["path"], too_large(self._limit_bytes))
            else:
                request = ShortRequest(self._app, scope, headers, found.path_params, receive, self._limit_bytes)
                try:
                    response = await found.handler(request)
                except ClientDisconnect:
                    status = CLIENT_GONE
                    return
                except Exception as error:
                    response = await self._on_error(request, error)
            status = response.status_code
            said = response.body
            response.raw_headers += ((b"x-request-id", request_id), NO_SNIFF)
            await send({"type": "http.response.start", "status": status, "headers": response.raw_headers})
            await send({"type": "http.response.body", "body": response.body})
        except asyncio.CancelledError:
            status = CUT
            raise
        finally:
            seconds = time.perf_counter() - started
            observe_http(found.template, scope["method"], status, seconds)
            note(self._app.state, scope, status, seconds, request_id, said)
