"""What `oklp listen` calls: a stream of the requests to forward, and the way back for what came of them (B4).

The stream is of states, not of a log: whatever is open is sent anew on each connection, so that nothing has to be
remembered here for a listener that comes back.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response, StreamingResponse

from oklp import contract
from oklp.errors import Unavailable
from oklp.services import listening, studios
from oklp.services.listening import Key, Relayed
from oklp.web.bell import Ear
from oklp.web.caller import Here, still_valid
from oklp.web.context import Context
from oklp.web.studio_api import AsDeveloper, DeliveryPath, GamePath

router = APIRouter(prefix="/api/studio/v1", tags=["studio"])

ListenerId = Annotated[
    contract.UserId, Query(description="Of this listener, made by itself: the same on reconnecting.")
]
AttemptPath = Annotated[int, Path(ge=1, le=2**31)]

STREAM = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


def event(kind: str, data: Any) -> str:
    return f"event: {kind}\ndata: {json.dumps(data)}\n\n"


@router.get("/games/{game_id}/listen", response_class=StreamingResponse)
async def listen(
    here: Here,
    request: Request,
    member: AsDeveloper,
    game_id: GamePath,
    listener: ListenerId,
    resume: Annotated[bool, Query(description="Not in place of somebody who has come since.")] = False,
) -> StreamingResponse:
    """The sandbox: receive the game's deliveries in place of its URL, as server-sent events.

    `ready`, then a `delivery` for each request to forward (again on each connection, until it is answered or its time
    is out), `missed` for one whose time was out before it could be handed over, `replaced` when somebody else listens.
    """
    url = await here.db.write(
        studios.of_game,
        member.studio_id,
        game_id,
        listening.attach,
        here.settings,
        game_id,
        listener,
        member.username,
        resume,
        here.clock(),
    )

    async def stream() -> AsyncIterator[str]:
        timeout_ms = round(here.settings.webhook_timeout_seconds * 1_000)
        ready = {"game_id": game_id, "webhook_url": url, "timeout_ms": timeout_ms}
        yield f"retry: 500\n{event('ready', ready)}"
        with here.listeners.ear() as ear:
            async for part in _handing(here, request, ear, game_id, listener):
                yield part

    return StreamingResponse(stream(), headers=STREAM, media_type="text/event-stream")


async def _handing(here: Context, request: Request, ear: Ear, game_id: str, listener: str) -> AsyncIterator[str]:
    """One connection's share. Ends when the server does, the session, or this one's turn to listen."""
    known: frozenset[tuple[Key, bool]] = frozenset()
    renewed_at = here.clock()
    while not ear.closing:
        ear.forget()
        pause_seconds = listening.RENEW_SECONDS - (here.clock() - renewed_at) / 1_000
        try:
            if pause_seconds <= 0:
                await here.db.write(listening.renew, game_id, listener, here.clock())
                renewed_at, pause_seconds = here.clock(), listening.RENEW_SECONDS
                yield ": still here\n\n"
                if not await still_valid(here, request):
                    return
            found = await here.db.read(listening.waiting, here.vault, game_id, listener, known)
            if found.replaced_by is not None:
                yield event("replaced", {"by": found.replaced_by})
                return
            handed = await _handed(here, found.relays)
        except Unavailable:  # the database is away; the stream is held
            await ear.wait(1)
            continue
        known |= {(each.key, each.missed) for each in found.relays}
        yield "".join(_event_of(here, each) for each in found.relays if each.missed or each.key in handed)
        if not found.relays:
            await ear.wait(pause_seconds)


async def _handed(here: Context, relays: list[Relayed]) -> set[Key]:
    """What may leave now: that it has is written down before it does, as with every attempt."""
    keys = [each.key for each in relays if not each.missed]
    return await here.db.write(listening.hand_over, keys, here.clock()) if keys else set()


def _event_of(here: Context, relayed: Relayed) -> str:
    about = {
        "delivery_id": relayed.key.delivery_id,
        "attempt": relayed.key.attempt,
        "copy": relayed.key.copy,
        "event": relayed.event,
        "match_id": relayed.match_id,
        "method": relayed.method,
    }
    if relayed.missed:
        return event("missed", about)
    request = {
        "url": relayed.url,
        "headers": dict(relayed.headers),
        "body": relayed.body,
        "timeout_ms": max(relayed.expires_at - here.clock(), 0),
    }
    return event("delivery", {**about, **request})


@router.delete("/games/{game_id}/listen", status_code=204)
async def stop_listening(here: Here, member: AsDeveloper, game_id: GamePath, listener: ListenerId) -> Response:
    """Deliveries go to the game's URL again; what was handed over and not answered has failed."""
    await here.db.write(studios.of_game, member.studio_id, game_id, listening.detach, game_id, listener, here.clock())
    return Response(status_code=204)


@router.post("/games/{game_id}/listen/{delivery_id}/{attempt}", response_model=contract.Forwarded)
async def answer(
    here: Here,
    member: AsDeveloper,
    game_id: GamePath,
    delivery_id: DeliveryPath,
    attempt: AttemptPath,
    body: contract.ForwardedAnswer,
    copy: Annotated[int, Query(ge=1, le=2**31, description="As the stream has it: injected faults make copies.")] = 1,
) -> contract.Forwarded:
    """What came of a request that was forwarded. It is the outcome of the attempt, if it is the first and in time."""
    key = Key(delivery_id, attempt, copy)
    return await here.db.write(
        studios.of_game, member.studio_id, game_id, listening.answer, game_id, key, body, here.clock()
    )
