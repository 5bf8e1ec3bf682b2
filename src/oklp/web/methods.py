"""Which methods an address takes: all of them in a 405, and HEAD wherever there is GET (RFC 9110, 9.1 and 15.5.6)."""

from __future__ import annotations

from collections.abc import Iterable, MutableMapping, Sequence
from typing import Any

from fastapi import APIRouter
from fastapi.routing import APIRoute
from starlette.responses import StreamingResponse
from starlette.routing import BaseRoute, Mount, Route


class Methods:
    """What the application's own `routes` say, and those of routers that it includes, each with its prefix."""

    def __init__(self, routes: Sequence[BaseRoute], included: Iterable[tuple[str, APIRouter]]) -> None:
        self._routes = [("", list(routes)), *((prefix, router.routes) for prefix, router in included)]

    def of(self, path: str) -> set[str]:
        """None for an address that no route has."""
        met = self._met(path)
        return _named(met) | ({"HEAD"} if _head_is_get(met) else set())

    def head_is_get(self, path: str) -> bool:
        """Whether HEAD is answered here by what answers GET, since no route names it."""
        return _head_is_get(self._met(path))

    def _met(self, path: str) -> list[Route | Mount]:
        return [
            route
            for prefix, routes in self._routes
            if path.startswith(prefix)
            for route in routes
            if isinstance(route, Route | Mount) and route.path_regex.match(path.removeprefix(prefix))
        ]


def _named(met: Iterable[Route | Mount]) -> set[str]:
    # What is mounted are files.
    return set().union(*({"GET", "HEAD"} if isinstance(each, Mount) else each.methods or () for each in met))


def _head_is_get(met: Sequence[Route | Mount]) -> bool:
    methods = _named(met)
    if "GET" not in methods or "HEAD" in methods:
        return False
    # A stream has no end, and whoever opens one takes a place.
    return not any(isinstance(each, APIRoute) and each.response_class is StreamingResponse for each in met)


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
