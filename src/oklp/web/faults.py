"""What injected faults do to a game's calls (sandbox only): they are answered wrongly, late or not at all.

A handler that may be struck is wrapped once, where its route is made. Where nothing is armed, that costs one look.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Mapping

from starlette.responses import Response

from oklp.errors import NotFound, OklpError, TooManyRequests, Unauthenticated, Unavailable
from oklp.services import faults
from oklp.services.faults import FINISH, INFO, ISSUER, READ, Stroke
from oklp.web.caller import game_of
from oklp.web.context import Asked, Context, context_behind
from oklp.web.problems import problem

__all__ = ["FINISH", "INFO", "ISSUER", "READ", "SEVER", "at", "refusal_of", "strike"]

HEADER = "OKLP-Fault"
# In a request's scope: a function without arguments that breaks its connection. Not every server has one.
SEVER = "oklp.sever"
GONE_SECONDS = 0.05

Handler = Callable[[Asked], Awaitable[Response]]
Headers = Callable[[Asked, Context, str], Mapping[str, str]]


async def strike(context: Context, game_id: str, point: str) -> Stroke | None:
    """The fault that this call of the game's meets. Nearly always None, without asking the database."""
    points = context.armed.get(game_id)
    if points is None or not (point in points or (point != ISSUER and faults.ANY in points)):
        return None
    return await context.db.write(faults.strike_call, game_id, point, context.clock())


def refusal_of(stroke: Stroke) -> OklpError | None:
    """What a struck call is answered with in place of its answer; None when the fault is of another sort."""
    after = stroke.retry_after_seconds
    match stroke.kind:
        case "token_info_503" | "finish_503" | "token_endpoint_503":
            return Unavailable(f"Not available right now (injected fault: {stroke.kind}).", retry_after_seconds=after)
        case "rate_limited":
            return TooManyRequests("Too many requests (injected fault: rate_limited).", retry_after_seconds=after)
        case "access_token_expired":
            return Unauthenticated("The token has expired (injected fault).", token_refused=True)
        case "match_token_expired":
            return NotFound("There is no such match-token.")
        case _:
            return None


def at(point: str, handler: Handler, headers: Headers | None = None) -> Handler:
    """The handler, struck by what is armed at `point`. `headers` are those that its refusals have as well."""

    @functools.wraps(handler)
    async def struck(request: Asked) -> Response:
        context = context_behind(request)
        if not context.armed:
            return await handler(request)
        try:
            game_id = game_of(request, context)
            stroke = await strike(context, game_id, point)
        except OklpError:
            return await handler(request)  # which refuses it by itself
        if stroke is None:
            return await handler(request)
        refusal = refusal_of(stroke)
        if refusal is not None:
            response = problem(refusal, headers(request, context, game_id) if headers is not None else None)
        else:
            response = await _answered(stroke, handler, request)
        response.headers[HEADER] = stroke.kind
        return response

    return struck


async def _answered(stroke: Stroke, handler: Handler, request: Asked) -> Response:
    response = await handler(request)
    if stroke.delay_seconds is not None:
        await asyncio.sleep(stroke.delay_seconds)
    if stroke.kind != "finish_answer_lost":
        return response
    sever = request.scope.get(SEVER)
    if sever is None:
        return problem(Unavailable("The answer was lost (injected fault).", retry_after_seconds=1))
    sever()
    # The server notices at its next turn of the loop, and then drops what it is given to send.
    await asyncio.sleep(GONE_SECONDS)
    return response
