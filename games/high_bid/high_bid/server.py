"""The HTTP side: webhook, launch, table, play API (see the README)."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import AsyncIterator, Callable
from html import escape
from pathlib import Path
from string import Template
from typing import Any, Final

from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from oklp.sdk import OklpError, SdkError

from .game import Game
from .matches import Match, NotPlayableError
from .rules import Seat

log = logging.getLogger("high_bid")

PAGES = Path(__file__).parent / "pages"
SEAT_COOKIE = "seat"
SEAT_COOKIE_SECONDS = 24 * 3600
LARGEST_BODY: Final = 262_144

SECURITY_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "cross-origin-opener-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


class SecurityHeaders:
    """On every answer. What is not a file of the page is never kept by a browser or a proxy."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(SECURITY_HEADERS)
                headers["cache-control"] = "no-cache" if scope["path"].startswith("/static/") else "no-store"
            await send(message)

        await self._app(scope, receive, with_headers if scope["type"] == "http" else send)


def create_app(open_game: Callable[[], Game], *, back_url: str, secure_cookies: bool = False) -> Starlette:
    """The server of the game. `back_url` leads from the table to the match at the platform, with an optional
    `{match_id}`. The game is opened when the server starts.
    """

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with open_game() as game:
            app.state.game = game
            yield

    app = Starlette(
        routes=[
            Route("/", home),
            Route("/healthz", healthz),
            Route("/oklp/match", match_info, methods=["PUT", "DELETE"]),
            Route("/play", launch),
            Route("/match/{match_id}/{seat}", table),
            Route("/match/{match_id}/{seat}/state", state),
            Route("/match/{match_id}/{seat}/events", events),
            Route("/match/{match_id}/{seat}/bid", bid, methods=["POST"]),
            Mount("/static", StaticFiles(directory=PAGES / "static")),
        ],
        lifespan=lifespan,
        exception_handlers={HTTPException: on_http_exception},
    )
    app.state.back_url = back_url
    app.state.secure_cookies = secure_cookies
    app.add_middleware(SecurityHeaders)
    return app


def game_of(request: Request) -> Game:
    game: Game = request.app.state.game
    return game


async def body_of(request: Request) -> bytes:
    """The body, as long as it is of a sensible size."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > LARGEST_BODY:
            raise HTTPException(413)
    return body


# --- the platform's side ---------------------------------------------------------------------------------------------


async def match_info(request: Request) -> Response:
    """The match info webhook: 200 starts the match, anything else sends the entry fees back."""
    try:
        await game_of(request).webhook(request.method, request.headers, await body_of(request))
    except OklpError as refusal:
        log.warning("a webhook is refused: %s", refusal.detail)
        return JSONResponse({"detail": refusal.detail}, refusal.status)
    except ValueError as refusal:
        return JSONResponse({"detail": str(refusal)}, 422)
    return JSONResponse({"ok": True})


async def launch(request: Request) -> Response:
    """Where the platform sends a player: match-token in, seat out."""
    try:
        admitted = await game_of(request).admit(request.query_params.get("token", ""))
    except SdkError as error:
        log.warning("a match-token cannot be checked: %s", error)
        return say(
            request,
            503,
            "One moment, please",
            "The platform does not answer right now, so your seat cannot be checked. Nothing is lost. "
            "Try again in a few seconds.",
            link="",
            label="Try again",
        )
    if admitted is None:
        return say(
            request,
            404,
            "This link is no longer valid",
            "Links into a match are made for one player and work for a limited time. "
            "Go back to your match and press Play again to get a new one.",
        )
    match, seat = admitted
    path = f"/match/{match.match_id}/{seat}"
    answer = RedirectResponse(path, 303)
    answer.set_cookie(
        SEAT_COOKIE,
        game_of(request).seat_key(match.match_id, seat),
        max_age=SEAT_COOKIE_SECONDS,
        path=path,
        secure=request.app.state.secure_cookies,
        httponly=True,
        samesite="lax",
    )
    return answer


# --- the players' side -----------------------------------------------------------------------------------------------


def seated(request: Request) -> tuple[Match, Seat]:
    """The match and seat of a request. Raises HTTPException 404 without the key to it."""
    number = request.path_params["seat"]
    seat: Seat = 1 if number == "1" else 0
    key = request.cookies.get(SEAT_COOKIE, "")
    match = game_of(request).at_seat(request.path_params["match_id"], seat, key)
    if match is None or number not in ("0", "1"):
        raise HTTPException(404)
    return match, seat


def back_link(request: Request, match_id: str) -> str:
    template: str = request.app.state.back_url
    return template.replace("{match_id}", match_id)


def shown(request: Request, view: dict[str, Any]) -> dict[str, Any]:
    return {**view, "back_url": back_link(request, view["match_id"])}


async def table(request: Request) -> Response:
    try:
        seated(request)
    except HTTPException:
        return say(
            request,
            404,
            "This seat is not yours",
            "The match is over for good, or this browser has not been let in. "
            "Go back to your match and press Play again.",
        )
    return HTMLResponse((PAGES / "table.html").read_text(encoding="utf-8"))


async def state(request: Request) -> Response:
    match, seat = seated(request)
    return JSONResponse(shown(request, game_of(request).view(match, seat)))


async def bid(request: Request) -> Response:
    match, seat = seated(request)
    # A form on somebody else's page cannot send this type, so a bid is always the page's own.
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise HTTPException(415, "Send JSON.")
    try:
        body = json.loads(await body_of(request))
        round_number, card = body["round"], body["card"]
    except (ValueError, RecursionError, TypeError, KeyError):
        raise HTTPException(422, "Send a round and a card.") from None
    if type(round_number) is not int or type(card) is not int:
        raise HTTPException(422, "Round and card are whole numbers.")
    try:
        return JSONResponse(shown(request, game_of(request).bid(match, seat, round_number, card)))
    except NotPlayableError as refusal:
        raise HTTPException(409, str(refusal)) from None


async def events(request: Request) -> Response:
    """Server-sent events: the state, now, after each change and every ten seconds."""
    match, seat = seated(request)
    views = game_of(request).views(match, seat)
    try:
        first = await anext(views)
    except NotPlayableError as refusal:
        raise HTTPException(429, str(refusal)) from None

    async def stream() -> AsyncIterator[str]:
        try:
            yield f"retry: 1000\ndata: {json.dumps(shown(request, first))}\n\n"
            async for view in views:
                yield f"data: {json.dumps(shown(request, view))}\n\n"
        finally:
            await views.aclose()

    return StreamingResponse(stream(), media_type="text/event-stream", headers={"x-accel-buffering": "no"})


# --- pages and the rest ----------------------------------------------------------------------------------------------


def say(
    request: Request,
    status: int,
    title: str,
    text: str,
    *,
    link: str | None = None,
    label: str = "Back to the platform",
) -> Response:
    """A page with one message, and the way on: to `link`, where empty is this address, or else back."""
    if link is None:
        link = request.app.state.back_url.partition("{match_id}")[0]
    page = Template((PAGES / "message.html").read_text(encoding="utf-8"))
    fields = {"title": title, "text": text, "link": link, "label": label}
    return HTMLResponse(page.substitute({name: escape(value) for name, value in fields.items()}), status)


async def home(request: Request) -> Response:
    return say(
        request,
        200,
        "High Bid",
        "A card duel for two. Seven prizes, seven cards each, nothing left to luck. "
        "You get to the table from a match at the platform.",
    )


async def healthz(_request: Request) -> Response:
    return JSONResponse({"status": "ok"})


async def on_http_exception(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    detail = error.detail if isinstance(error, HTTPException) else ""
    if request.method == "GET" and "text/html" in request.headers.get("accept", ""):
        return say(request, status, "There is nothing here", "The address may be mistyped, or the match long over.")
    headers = getattr(error, "headers", None)
    return JSONResponse({"detail": detail}, status, headers=headers)
