"""Which methods an address takes: all of them in a 405, and HEAD wherever there is GET (RFC 9110, 9.1 and 15.5.6)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, MutableMapping, Sequence
from typing import Any

from fastapi import APIRouter
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Mount, Route


class GetRoute(Route):
    """An address that answers GET alone: a stream has no end and takes a place, and a way into a game makes a token."""

    def __init__(self, path: str, endpoint: Callable[[Request], Awaitable[Response]]) -> None:
        super().__init__(path, endpoint, methods=["GET"])

    async def handle(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        if scope["method"] != "GET":
            raise HTTPException(405)
        await super().handle(scope, receive, send)


class Methods:
    """What the application's own `routes` say, and those of routers that it includes, each with its prefix."""

    def __init__(self, routes: Sequence[BaseRoute], included: Iterable[tuple[str, APIRouter]]) -> None:
        self._routes = [("", list(routes)), *((prefix, router.routes) for prefix, router in included)]

    def of(self, path: str) -> set[str]:
        """None for an address that no route has."""
        met = self._met(path)
        return _named(met) | ({"HEAD"} if _head_is_get(met) else set())

    def head_is_get(self, path: str) -> bool:
        """Whether HEAD is answered here by what answers GET. Of files it is not: what serves them knows HEAD."""
        return _head_is_get(self._met(path))

    def _met(self, path: str) -> list[Route | Mount]:
        met = [
            route
            for prefix, routes in self._routes
            if path.startswith(prefix)
            for route in routes
            if isinstance(route, Route | Mount) and route.path_regex.match(path.removeprefix(prefix))
        ]
        # Ahead of the pages whose addresses have a part for an id.
        return [each for each in met if isinstance(each, GetRoute)] or met


def _named(met: Iterable[Route | Mount]) -> set[str]:
    # What is mounted are files.
    return set().union(*map(_methods, met))


def _methods(route: Route | Mount) -> set[str]:
    if isinstance(route, GetRoute):
        return {"GET"}
    return {"GET", "HEAD"} if isinstance(route, Mount) else set(route.methods or ())


def _head_is_get(met: Sequence[Route | Mount]) -> bool:
    answering = [each for each in met if isinstance(each, Route) and "GET" in (each.methods or ())]
    return bool(answering) and not any(map(_is_get_alone, answering))


def _is_get_alone(route: Route) -> bool:
    of_api = isinstance(route, APIRoute) and route.response_class is StreamingResponse
    return of_api or isinstance(route, GetRoute)


class Heads:
    """Has HEAD answered as GET is. The server (uvicorn) leaves out the body of whatever answers a HEAD."""

    def __init__(self, app: Any, methods: Methods) -> None:
        self._app = app
        self._methods = methods

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD" or not self._methods.head_is_get(scope["path"]):
            await self._app(scope, receive, send)
            return
        asked = {**scope, "method": "GET"}
        try:
            await self._app(asked, receive, send)
        finally:
            scope.update({**asked, "method": "HEAD"})  # with the route, for those who measure it
