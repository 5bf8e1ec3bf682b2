"""The log of a game's traffic for its studio: pages of it, and a stream as it is written (decision 0010)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request
from starlette.responses import StreamingResponse

from oklp import contract
from oklp.errors import Unavailable, invalid
from oklp.services import calls, studios
from oklp.services.live import Position
from oklp.web.caller import Cursor, Here, Limit, from_cursor, still_valid, to_cursor
from oklp.web.context import Context
from oklp.web.studio_api import AsViewer, GamePath

router = APIRouter(prefix="/api/studio/v1", tags=["studio"])

HEARTBEAT_SECONDS = 10.0
# After a ring a line may still be above the horizon, held up by an older transaction: look again shortly.
LOOK_AGAIN_SECONDS = 0.5
STREAM = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


@router.get("/games/{game_id}/calls", response_model=contract.ApiCallPage)
async def list_calls(
    here: Here,
    member: AsViewer,
    game_id: GamePath,
    failed: Annotated[bool, Query(description="What was refused or not delivered, alone.")] = False,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> contract.ApiCallPage:
    """The game's calls of the API and the deliveries to it, newest first. Kept for `OKLP_CALL_LOG_SECONDS`."""
    before = from_cursor(cursor, int, int)
    found, more = await here.db.read(
        studios.of_game, member.studio_id, game_id, calls.page, game_id, failed, before, limit
    )
    return contract.ApiCallPage(calls=found, next_cursor=to_cursor(*more) if more is not None else None)


@router.get("/games/{game_id}/calls/events", response_class=StreamingResponse)
async def tail(
    here: Here,
    request: Request,
    member: AsViewer,
    game_id: GamePath,
    lines: Annotated[int, Query(ge=0, le=200, description="Of what is there already, so many first.")] = 0,
    last_event_id: Annotated[str | None, Header(max_length=64)] = None,
) -> StreamingResponse:
    """The same as server-sent events, as it is written down. `Last-Event-ID` resumes without a gap."""
    start = await here.db.read(studios.of_game, member.studio_id, game_id, calls.start, game_id, lines)
    if last_event_id:
        resumed = Position.parse(last_event_id)
        if resumed is None:
            raise invalid("Last-Event-ID", "is not the id of an event")
        start = resumed
    return StreamingResponse(_lines(here, request, game_id, start), headers=STREAM, media_type="text/event-stream")


async def _lines(here: Context, request: Request, game_id: str, position: Position) -> AsyncIterator[str]:
    # An id of its own, so that a client that is cut off before the first line resumes from here too.
    yield f"retry: 1000\nid: {position}\nevent: ready\ndata: {{}}\n\n"
    now = asyncio.get_running_loop().time
    with here.calls.ear() as ear:
        silent_until, rang = now() + HEARTBEAT_SECONDS, False
        while not ear.closing:
            ear.forget()
            try:
                found = await here.db.read(calls.since, game_id, position)
            except Unavailable:  # the database is away; the stream is held
                await ear.wait(1)
                continue
            silent_for = silent_until - now()
            if not found and silent_for > 0:
                # It rings for the calls of all games.
                rang = await ear.wait(min(silent_for, LOOK_AGAIN_SECONDS) if rang else silent_for)
                continue
            # Before each batch, or a stream that always has something to say would outlive its session.
            if not await still_valid(here, request):
                return
            silent_until = now() + HEARTBEAT_SECONDS
            if not found:
                yield ": still here\n\n"
                continue
            position = found[-1][0]
            yield "".join(f"id: {at}\nevent: call\ndata: {call.model_dump_json()}\n\n" for at, call in found)
