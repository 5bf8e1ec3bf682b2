"""The HTTP side: webhook, launch, pages, play API (see the README)."""

from __future__ import annotations

import contextlib
import json
import logging
import sqlite3
from collections.abc import AsyncIterator, Callable
from html import escape
from pathlib import Path
from string import Template
from typing import Any, Final

from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from oklp.sdk import SdkError
from oklp.sdk.randomness import JAVASCRIPT

from .game import Game, NotPlayableError
from .runs import OutOfStepError, taps_of
from .store import Match

log = logging.getLogger("tile_rush")

PAGES: Final = Path(__file__).parent / "pages"
SEAT_COOKIE: Final = "seat"
SEAT_COOKIE_SECONDS: Final = 7 * 24 * 3600
LARGEST_BODY: Final = 16_384
LONGEST_SEAT: Final = 3
AGAIN_SECONDS: Final = 2

SECURITY_HEADERS: Final = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "cross-origin-opener-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}

# What a player who cannot play is told: title, text.
NOTHING_TO_PLAY: Final = {
    "pending": (
        "Not yet",
        "This match has not begun: it begins when everybody in it has confirmed. Then press Play again.",
    ),
    "aborted": ("Match called off", "This match was called off, and all entry fees went back to the players."),
    "finished": ("This match is over", "There is nothing left to play in it. Your match has the result."),
    "played": ("You have played", "Your result for this match is in, and there is one run a player."),
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
    """The server of the game. `back_url` leads from a run to the match at the platform, with an optional
    `{match_id}`. The game is opened when the server starts.
    """

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with open_game() as game:
            app.state.game = game
            yield

    run = "/match/{match_id}/{seat}"
    app = Starlette(
        routes=[
            Route("/", home),
            Route("/healthz", healthz),
            Route("/oklp/match", Webhook()),
            Route("/practice", practice),
            Route("/play", launch),
            Route(run, page),
            Route(f"{run}/state", state),
            Route(f"{run}/start", start, methods=["POST"]),
            Route(f"{run}/log", take, methods=["POST"]),
            Route("/static/oklp-random.js", oklp_random),
            Mount("/static", StaticFiles(directory=PAGES / "static")),
        ],
        lifespan=lifespan,
        exception_handlers={HTTPException: on_http_exception, sqlite3.Error: on_unavailable, SdkError: on_unavailable},
    )
    app.state.back_url = back_url
    app.state.secure_cookies = secure_cookies
    app.add_middleware(SecurityHeaders)
    return app


def game_of(request: Request) -> Game:
    game: Game = request.app.state.game
    return game


class Webhook:
    """The receiver of the SDK, which is opened with the game."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await scope["app"].state.game.webhook(scope, receive, send)


# --- coming in -------------------------------------------------------------------------------------------------------


async def launch(request: Request) -> Response:
    """Where the platform sends a player: match-token in, seat out."""
    game = game_of(request)
    try:
        admitted = await game.admit(request.query_params.get("token", ""))
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
    match, user_id, status = admitted
    if status != "live" and (status == "aborted" or not game.has_run(match, user_id)):
        title, text = NOTHING_TO_PLAY[status]
        return say(request, 409, title, text, link=back_link(request, match.match_id), label="Back to the match")
    return into(request, match, user_id)


def into(request: Request, match: Match, user_id: str) -> Response:
    """To the player's run, with the key to it."""
    seat = match.seat_of(user_id) or 0
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


def seated(request: Request) -> tuple[Match, str]:
    """The match and the player of a request. Raises HTTPException 404 without the key to the seat."""
    key, number = request.cookies.get(SEAT_COOKIE, ""), request.path_params["seat"]
    # Not every row of digits is a number that Python reads.
    seat = int(number) if number.isascii() and number.isdecimal() and len(number) <= LONGEST_SEAT else None
    found = None if seat is None else game_of(request).at_seat(request.path_params["match_id"], seat, key)
    if found is None:
        raise HTTPException(404)
    return found


def back_link(request: Request, match_id: str) -> str:
    template: str = request.app.state.back_url
    return template.replace("{match_id}", match_id)


# --- playing ---------------------------------------------------------------------------------------------------------


async def page(request: Request) -> Response:
    try:
        seated(request)
    except HTTPException:
        return say(
            request,
            404,
            "This run is not yours",
            "The match is long over, or this browser has not been let in. Go back to your match and press Play again.",
        )
    return HTMLResponse((PAGES / "game.html").read_text(encoding="utf-8"))


async def state(request: Request) -> Response:
    match, user_id = seated(request)
    return await shown(request, match, user_id, with_log=True)


async def start(request: Request) -> Response:
    match, user_id = seated(request)
    await json_of(request)
    try:
        await game_of(request).start(match, user_id, request.is_disconnected)
    except NotPlayableError as refusal:
        raise HTTPException(409, str(refusal)) from None
    return await shown(request, match, user_id, with_log=True)


async def take(request: Request) -> Response:
    """A piece of the log: 200 with how the run stands, which may be that it is over, or that the log is refused."""
    match, user_id = seated(request)
    body = await json_of(request)
    try:
        first, taps = body["from"], taps_of(body["taps"])
        if type(first) is not int or first < 0:
            raise ValueError("From is the number of taps before these.")
    except KeyError as missing:
        raise HTTPException(422, f"There is no {missing}.") from None
    except ValueError as fault:
        raise HTTPException(422, str(fault)) from None
    try:
        await game_of(request).take(match, user_id, body.get("tiles"), first, taps, body.get("done") is True)
    except OutOfStepError:
        return await shown(request, match, user_id, with_log=True, status=409)
    except NotPlayableError as refusal:
        raise HTTPException(409, str(refusal)) from None
    return await shown(request, match, user_id)


async def shown(
    request: Request, match: Match, user_id: str, *, with_log: bool = False, status: int = 200
) -> JSONResponse:
    view = await game_of(request).view(match, user_id, with_log=with_log)
    return JSONResponse({**view, "back_url": back_link(request, match.match_id)}, status)


async def json_of(request: Request) -> dict[str, Any]:
    """The JSON of a request. A form on somebody else's page cannot send this type, so it is always our own page's."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise HTTPException(415, "Send JSON.")
    content = b""
    async for chunk in request.stream():
        content += chunk
        if len(content) > LARGEST_BODY:
            raise HTTPException(413, "That is too long.")
    try:
        body = json.loads(content or b"{}")
    except (ValueError, RecursionError):
        raise HTTPException(422, "Send JSON.") from None
    if not isinstance(body, dict):
        raise HTTPException(422, "Send a JSON object.")
    return body


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
    template = Template((PAGES / "message.html").read_text(encoding="utf-8"))
    fields = {"title": title, "text": text, "link": link, "label": label}
    return HTMLResponse(template.substitute({name: escape(value) for name, value in fields.items()}), status)


async def home(request: Request) -> Response:
    return say(
        request,
        200,
        "Tile Rush",
        "Seventy-five seconds, one board, and the same tiles for everybody in the match. "
        "You get into a run from a match at the platform.",
    )


async def practice(_request: Request) -> Response:
    """The same page without a match: nothing is sent, nothing counts."""
    return HTMLResponse((PAGES / "game.html").read_text(encoding="utf-8"))


async def oklp_random(_request: Request) -> Response:
    return FileResponse(JAVASCRIPT, media_type="text/javascript")


async def healthz(_request: Request) -> Response:
    return JSONResponse({"status": "ok"})


async def on_http_exception(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    detail = error.detail if isinstance(error, HTTPException) else ""
    if request.method == "GET" and "text/html" in request.headers.get("accept", ""):
        return say(request, status, "There is nothing here", "The address may be mistyped, or the match long over.")
    return JSONResponse({"detail": detail}, status, headers=getattr(error, "headers", None))


async def on_unavailable(_request: Request, error: Exception) -> Response:
    """The disk or the platform does not answer; the page tries again."""
    log.error("not available: %s", error)
    headers = {"retry-after": str(AGAIN_SECONDS)}
    return JSONResponse({"detail": "Not available right now. Please try again."}, 503, headers=headers)
