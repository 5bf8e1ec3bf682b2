"""What keeps open pages of studios and operators up to date.

A page that follows has, below its own address, the address of a stream. It is of states, not of a log: whatever wakes
it, what the page shows is read again, and an event says that it has changed. So nothing can be missed, and a page that
was away for a while is right again with the first event.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from oklp.errors import NotFound, OklpError, Unauthenticated, Unavailable
from oklp.signing import hash_token
from oklp.web.live import session_holds
from oklp.web.methods import GetRoute
from oklp.web.pages.visit import STUDIO, Realm, Visit
from oklp.web.problems import problem

HEARTBEAT_SECONDS = 15.0
PAUSE_SECONDS = 0.3  # at the most so often is the database asked for one page
STREAM = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}

Look = Callable[[Visit], Awaitable[object]]


def address(visit: Visit) -> str:
    """Of the stream of the page that is being shown."""
    if visit.address:
        return f"{visit.address}/live"
    return f"{visit.at}/live{f'?{visit.query}' if visit.query else ''}"


def digest(found: object) -> str:
    """What a page shows, told apart by its representation alone."""
    return hashlib.sha256(repr(found).encode()).hexdigest()


def live_route(path: str, look: Look, realm: Realm = STUDIO) -> Route:
    """The stream of the page at `path`. Of what the page has `?seen=`, as `digest` names it, nothing is said."""

    async def endpoint(request: Request) -> Response:
        visit = Visit.begin(request, realm)
        try:
            visit.check_address()
            visit.check_origin()
            await visit.recognise()
            if visit.person is None or visit.session is None:
                raise Unauthenticated("Log in first.")
            await look(visit)  # of somebody else's game: a refusal, and no stream
        except OklpError as refusal:
            return problem(refusal)
        return StreamingResponse(_changes(visit, visit.session, look), headers=STREAM, media_type="text/event-stream")

    return GetRoute(f"{path}/live", endpoint)


async def _changes(visit: Visit, session: str, look: Look) -> AsyncIterator[str]:
    yield "retry: 1000\n\n"
    shown = visit.argument("seen") or ""
    with visit.here.traffic.ear() as ear:
        while not ear.closing:
            ear.forget()
            if not await session_holds(visit.here, hash_token(session)):
                return
            try:
                found = digest(await look(visit))
            except Unavailable:  # the database is away; the stream is held
                await ear.wait(1)
                continue
            except NotFound:
                return
            if found != shown:
                shown = found
                yield "event: change\ndata: {}\n\n"
            if not await ear.wait(HEARTBEAT_SECONDS):
                yield ": still here\n\n"
            await asyncio.sleep(PAUSE_SECONDS)
