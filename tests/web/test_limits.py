"""So many requests a minute, of the APIs and the pages together: without a server, whose sandbox knows no limit."""

from __future__ import annotations

import asyncio
import contextlib
from types import SimpleNamespace
from typing import Any

import httpx
from starlette.requests import Request
from starlette.responses import PlainTextResponse

from oklp.errors import Unauthenticated
from oklp.services.auth import Person, SessionQuestion
from oklp.settings import Settings
from oklp.signing import hash_token
from oklp.web.caller import person_of
from oklp.web.limits import RequestLimit
from oklp.web.pages.visit import Visit, realm_of

SESSIONS = {hash_token("one"): "player", hash_token("two"): "member", hash_token("three"): "player"}


class Sessions:
    """Of a database the part that knows sessions."""

    async def read_set(self, _of: object, question: SessionQuestion) -> Person:
        kind = SESSIONS.get(question.token_hash)
        if kind is None:
            raise Unauthenticated("There is no such session.")
        return Person(kind, "id", "name", None, None, None)

    async def read(self, _what: object) -> str:
        return "0.0"


CONTEXT: Any = SimpleNamespace(settings=Settings(public_url="https://oklp.test"), db=Sessions(), clock=lambda: 0)


async def _app(scope: Any, receive: Any, send: Any) -> None:
    """Recognises whoever asks, as the APIs and the pages do."""
    scope["app"] = SimpleNamespace(state=SimpleNamespace(context=CONTEXT))
    request = Request(scope, receive)
    with contextlib.suppress(Unauthenticated):
        if scope["path"].startswith("/api/"):
            await person_of(request, CONTEXT)
        else:
            await Visit.begin(request, realm_of(scope["path"])).recognise()
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
    mine, theirs = {"Cookie": "theme=x; __Host-oklp_player=one"}, {"Cookie": "__Host-oklp_studio=two"}
    told = asyncio.run(
        _statuses(
            # The first with each proves the session: by then the address has had two.
            *[("/wallet", mine), ("/studio", theirs)],
            *[("/wallet", mine), ("/matches", mine), ("/api/player/v1/me", mine)],
            *[("/studio", theirs), ("/studio", theirs), ("/studio", theirs)],
            *[("/", {}), ("/games", {})],
        )
    )
    assert told == [200, 200, 200, 200, 429, 200, 200, 429, 429, 429]


def test_a_session_is_the_same_by_token_and_by_any_of_its_cookies() -> None:
    token, cookie = {"Authorization": "Bearer one"}, {"Cookie": "__Host-oklp_studio=made-up; __Host-oklp_player=one"}
    told = asyncio.run(
        _statuses(("/api/player/v1/me", token), ("/api/player/v1/me", token), ("/wallet", cookie), ("/wallet", cookie))
    )
    assert told == [200, 200, 200, 429]


def test_made_up_sessions_are_counted_by_address() -> None:
    """Whoever sends a new token with each request would have no limit otherwise."""
    made_up = [("/wallet", {"Cookie": f"__Host-oklp_player=made-up-{n}"}) for n in range(3)]
    made_up += [("/api/player/v1/me", {"Authorization": f"Bearer made-up-{n}"}) for n in range(3)]
    assert asyncio.run(_statuses(*made_up)) == [200, 200, 429, 429, 429, 429]


def test_games_files_and_health_are_not_counted() -> None:
    free = ["/api/game/v1/finish", "/api/games/v1/finish", "/auth/realms/oklp", "/assets/x/site.css", "/healthz"]
    told = asyncio.run(_statuses(*[(path, {}) for path in free * 3]))
    assert told == [200] * 15
