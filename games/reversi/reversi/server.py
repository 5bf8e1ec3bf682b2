"""The HTTP side: webhook, launch, board, practice (see the README)."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from functools import cache
from html import escape
from pathlib import Path
from string import Template
from typing import Any, Final, TypeGuard

from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from oklp.sdk import DeveloperConfig, MatchAborted, MatchStarted, SdkError

from .hall import SESSION_MS, Hall
from .integration import Platform, webhook
from .matches import Match, Pace
from .rules import BLACK, COLOURS, WHITE, Seat
from .search import LEVELS, Level
from .sockets import POLICY, serve
from .store import Store

log = logging.getLogger("reversi")

PAGES: Final = Path(__file__).parent / "pages"
COOKIE: Final = "seat"

SECURITY_HEADERS: Final = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=()",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


@dataclass(frozen=True, slots=True)
class Options:
    """How a server is run. `data` is its file. `public_url` is where players reach it, without a path; empty means
    wherever they say they do, which is for development. `back_url` leads to the match at the platform, with an optional
    `{match_id}`; empty means the platform's front page. `clock` gives milliseconds since the epoch.
    """

    config: DeveloperConfig
    data: str | os.PathLike[str]
    pace: Pace = field(default_factory=Pace)
    public_url: str = ""
    back_url: str = ""
    clock: Callable[[], int] | None = None

    @property
    def rematch_url(self) -> str:
        return f"{self.config.okletsplay_url.rstrip('/')}/"

    def back_to(self, match_id: str) -> str:
        return (self.back_url or self.rematch_url).replace("{match_id}", match_id)


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


def create_app(options: Options) -> Starlette:
    """The server of the game. Raises StorageError when its file cannot be used."""

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        platform = Platform(options.config, options.data)
        async with Hall(Store(Path(options.data)), platform, options.pace, options.clock) as hall:
            app.state.hall = hall
            yield

    async def started(event: MatchStarted) -> None:
        await app.state.hall.started(event)

    async def aborted(event: MatchAborted) -> None:
        await app.state.hall.aborted(event)

    app = Starlette(
        routes=[
            Route("/", home),
            Route("/healthz", healthz),
            Route("/oklp/match", webhook(options.config, options.data, started, aborted)),
            Route("/play", launch),
            Route("/practice", practise, methods=["POST"]),
            Route("/match/{match_id}/{colour}", board),
            WebSocketRoute("/match/{match_id}/{colour}/socket", socket),
            Mount("/static", StaticFiles(directory=PAGES / "static")),
        ],
        lifespan=lifespan,
        exception_handlers={HTTPException: on_http_exception},
    )
    app.state.options = options
    app.add_middleware(SecurityHeaders)
    return app


def hall_of(connection: HTTPConnection) -> Hall:
    hall: Hall = connection.app.state.hall
    return hall


def options_of(connection: HTTPConnection) -> Options:
    options: Options = connection.app.state.options
    return options


# --- coming in -------------------------------------------------------------------------------------------------------


async def launch(request: Request) -> Response:
    """Where the platform sends a player: match-token in, session out. The token does not stay in the address."""
    try:
        info, match, seat = await hall_of(request).admit(request.query_params.get("token", ""))
    except SdkError as error:
        log.warning("a match-token cannot be checked: %s", error)
        text = "The platform does not answer right now, so your seat cannot be checked. Nothing is lost."
        again = {"link": "", "label": "Try again"}
        return say(request, 503, "One moment, please", f"{text} Try again in a few seconds.", **again)
    if info is None:
        return say(
            request,
            404,
            "This link is no longer valid",
            "A link into a match is made for one player and works for a limited time. "
            "Go back to your match and press Play there to get a new one.",
        )
    if match is not None and seat is not None:
        # Also when it is over: the board then shows how it ended.
        return seated(request, match, seat)
    back = {"link": options_of(request).back_to(info.match_id), "label": "Back to the match"}
    if info.match_status == "pending":
        return say(request, 409, "Not started yet", "The match begins once everybody has paid.", **back)
    if info.match_status == "live":
        text = "The platform says that it is being played, but this server was never told of it. "
        return say(request, 404, "This match is not here", f"{text}Please tell the people who run the game.", **back)
    return say(
        request, 410, "This match is over", "Its board is no longer kept here. Your match has the result.", **back
    )


async def practise(request: Request) -> Response:
    """A match against the bot, without a token and without money."""
    level = request.query_params.get("level", "")
    if not is_level(level):
        raise HTTPException(422, "The level is easy, medium or hard.")
    table = hall_of(request).practise(level)
    if table is None:
        text = "All practice boards are taken at the moment. Try again in a few minutes."
        return say(request, 503, "Many are practising", text, link="/", label="Back")
    return seated(request, *table)


def is_level(word: str) -> TypeGuard[Level]:
    return word in LEVELS


def seated(request: Request, match: Match, seat: Seat) -> Response:
    """To the board, with a session for that one seat: a browser may hold both seats of a match, in two windows."""
    path = f"/match/{match.match_id}/{COLOURS[seat]}"
    answer = RedirectResponse(path, 303)
    answer.set_cookie(
        COOKIE,
        hall_of(request).session(match.match_id, seat),
        max_age=SESSION_MS // 1000,
        path=path,
        secure=origin_of(request).startswith("https:"),
        httponly=True,
        samesite="lax",
    )
    return answer


def origin_of(connection: HTTPConnection) -> str:
    """The origin that pages of this server have."""
    public_url = options_of(connection).public_url.rstrip("/")
    return public_url or f"http://{connection.headers.get('host', '')}"


# --- at the board ----------------------------------------------------------------------------------------------------


def seat_held(connection: HTTPConnection) -> tuple[Match, Seat] | None:
    """The match and seat that a request has the session of."""
    colour = connection.path_params["colour"]
    if colour not in COLOURS:
        return None
    seat = BLACK if colour == COLOURS[BLACK] else WHITE
    session = connection.cookies.get(COOKIE, "")
    match = hall_of(connection).at_seat(connection.path_params["match_id"], seat, session)
    return None if match is None else (match, seat)


async def board(request: Request) -> Response:
    held = seat_held(request)
    if held is None:
        return say(
            request,
            404,
            "This seat is not yours",
            "The match is over for good, or this browser has not been let in. "
            "Go back to your match and press Play there.",
        )
    match, _ = held
    options = options_of(request)
    if match.level is not None:
        links = ("/", "Leave practice"), ("/", "Play again"), (options.rematch_url, "To the platform")
    else:
        back = options.back_to(match.match_id), "Back to the match"
        links = back, back, (options.rematch_url, "Rematch on the platform")
    # For whoever checks that both players are shown the same lot.
    fields = {"seed": match.match_id}
    for name, (link, label) in zip(("back", "first", "second"), links, strict=True):
        fields |= {name: link, f"{name}_label": label}
    return HTMLResponse(page("board.html", **fields))


async def socket(websocket: WebSocket) -> None:
    held = seat_held(websocket)
    if held is None or websocket.headers.get("origin", "") != origin_of(websocket):
        # Before it is accepted, so the answer is 403.
        await websocket.close(POLICY)
        return
    await serve(websocket, hall_of(websocket), *held)


# --- pages and the rest ----------------------------------------------------------------------------------------------


@cache
def template(name: str) -> Template:
    return Template((PAGES / name).read_text(encoding="utf-8"))


def page(name: str, **fields: str) -> str:
    return template(name).substitute({field: escape(value) for field, value in fields.items()})


def say(
    request: Request,
    status: int,
    title: str,
    text: str,
    *,
    link: str | None = None,
    label: str = "Back to the platform",
) -> Response:
    """A page with one message, and the way on: to `link`, where empty is this address, or else to the platform."""
    if link is None:
        link = options_of(request).rematch_url
    return HTMLResponse(page("message.html", title=title, text=text, link=link, label=label), status)


async def home(request: Request) -> Response:
    pace = options_of(request).pace
    times = {"base": duration(pace.base_seconds), "increment": duration(pace.increment_seconds)}
    return HTMLResponse(page("home.html", **times, link=options_of(request).rematch_url))


def duration(seconds: int) -> str:
    """For people: in minutes where they are whole."""
    number, unit = (seconds // 60, "minute") if seconds and seconds % 60 == 0 else (seconds, "second")
    return f"{number} {unit}{'' if number == 1 else 's'}"


async def healthz(_request: Request) -> Response:
    return JSONResponse({"status": "ok"})


async def on_http_exception(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    detail = error.detail if isinstance(error, HTTPException) else ""
    headers: dict[str, Any] | None = getattr(error, "headers", None)
    if wants_html(request.headers) and request.method == "GET":
        return say(request, status, "There is nothing here", "The address may be mistyped, or the match long over.")
    return JSONResponse({"detail": detail}, status, headers=headers)


def wants_html(headers: Headers) -> bool:
    return "text/html" in headers.get("accept", "")
