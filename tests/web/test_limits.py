"""So many requests a minute, of the APIs and the pages together: without a server, whose sandbox knows no limit."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
from starlette.responses import PlainTextResponse

from oklp.web.limits import RequestLimit


async def _app(scope: Any, receive: Any, send: Any) -> None:
    await PlainTextResponse("in")(scope, receive, send)


async def _refused(_request: Any, error: Exception) -> PlainTextResponse:
    wait: int = error.retry_after_seconds  # type: ignore[attr-defined]
    return PlainTextResponse("slow down", 429, {"Retry-After": str(wait)})


async def _statuses(*requests: tuple[str, dict[str, str]]) -> list[int]:
    limited = RequestLimit(_app, 2, _refused)
    transport = httpx.ASGITransport(app=limited)
    async with httpx.AsyncClient(transport=transport, base_url="http://oklp.test") as http:
        return [(await http.get(path, headers=headers)).status_code for path, headers in requests]


def test_pages_and_apis_count_together_for_whoever_has_a_session() -> None:
    mine, theirs = {"Cookie": "theme=x; oklp_player=one"}, {"Cookie": "__Host-oklp_studio=two"}
    token = {"Authorization": "Bearer three"}
    told = asyncio.run(
        _statuses(
            *[("/wallet", mine), ("/matches", mine), ("/wallet", mine)],
            *[("/studio", theirs), ("/studio", theirs), ("/api/player/v1/me", token)],
            *[("/", {}), ("/games", {}), ("/games", {})],
        )
    )
    assert told == [200, 200, 429, 200, 200, 200, 200, 200, 429]


def test_games_files_and_health_are_not_counted() -> None:
    free = ["/api/game/v1/finish", "/api/games/v1/finish", "/auth/realms/oklp", "/assets/x/site.css", "/healthz"]
    told = asyncio.run(_statuses(*[(path, {}) for path in free * 3]))
    assert told == [200] * 15
