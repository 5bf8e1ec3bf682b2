"""What keeps an open page up to date: the player's events, by the cookie of his session."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from oklp.errors import OklpError, Unauthenticated
from oklp.services.live import Position
from oklp.signing import hash_token
from oklp.web.live import event_stream
from oklp.web.methods import GetRoute
from oklp.web.pages.visit import Visit
from oklp.web.problems import problem


async def events(request: Request) -> Response:
    """Server-sent events, as `GET /api/player/v1/events`; a position that cannot be read begins anew."""
    visit = Visit.begin(request)
    try:
        visit.check_origin()
        await visit.recognise()
        if visit.person is None or visit.session is None:
            raise Unauthenticated("Log in first.")
        start = Position.parse(request.headers.get("last-event-id") or visit.argument("since") or "")
        return await event_stream(visit.here, visit.person.id, hash_token(visit.session), start)
    except OklpError as refusal:
        return problem(refusal)


routes: list[Route] = [GetRoute("/live", events)]
