"""The HTTP side: the webhook, the launch, and the pages."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs

from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse, RedirectResponse, Response
from fastapi.staticfiles import StaticFiles
from fastapi.templating import Jinja2Templates
from oklp.sdk import DeveloperConfig, SdkError
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from . import rules
from .game import Game, NotPlayableError, wall_clock
from .matches import Match

log = logging.getLogger("sum_sprint")

PAGES: Final = Path(__file__).parent / "pages"
COOKIE: Final = "seat"
COOKIE_SECONDS: Final = 24 * 3600
LARGEST_FORM: Final = 2_048

SECURITY_HEADERS: Final = {
    "cache-control": "no-store",
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; base-uri 'none'; form-action 'self'; "
        "frame-ancestors 'none'"
    ),
    # The launch URL has a match-token in it.
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}

pages = Jinja2Templates(PAGES)


def create_app(config: DeveloperConfig, path: Path, clock: Callable[[], int] = wall_clock) -> FastAPI:
    """The server of the game. `path` is its file; `clock` gives milliseconds since the epoch."""

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with Game(config, path, clock) as game:
            app.state.game = game
            yield

    app = FastAPI(title="Sum Sprint", lifespan=lifespan, openapi_url=None)
    app.state.platform_url = f"{config.okletsplay_url.rstrip('/')}/"
    app.routes.append(Route("/oklp/match", Webhook()))
    app.add_api_route("/healthz", healthz)
    app.add_api_route("/play", launch, response_model=None)
    seat = "/match/{match_id}/{seat}"
    app.add_api_route(seat, page, response_model=None)
    app.add_api_route(f"{seat}/state", state)
    app.add_api_route(f"{seat}/begin", begin, methods=["POST"], response_model=None)
    app.add_api_route(f"{seat}/answer", answer, methods=["POST"], response_model=None)
    app.mount("/static", StaticFiles(directory=PAGES / "static"))
    app.add_exception_handler(StarletteHTTPException, on_http_exception)
    app.add_exception_handler(SdkError, on_unavailable)
    app.add_exception_handler(sqlite3.Error, on_unavailable)
    app.middleware("http")(with_security_headers)
    return app


class Webhook:
    """The SDK's receiver, which is opened with the game."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await scope["app"].state.game.webhook(scope, receive, send)


async def with_security_headers(request: Request, proceed: Callable[[Request], Awaitable[Response]]) -> Response:
    response = await proceed(request)
    response.headers.update(SECURITY_HEADERS)
    return response


def game_of(request: Request) -> Game:
    game: Game = request.app.state.game
    return game


# --- coming in -------------------------------------------------------------------------------------------------------


async def launch(request: Request, token: str = "") -> Response:
    """Where the platform sends a player: match-token in, a session out, so that the token stays in no address."""
    game = game_of(request)
    info = await game.holder(token)
    if info is None:
        return say(
            request,
            404,
            "This link is no longer valid",
            "A link into a match is made for one player and works for a limited time. "
            "Go back to your match and press Play there to get a new one.",
        )
    match = game.match(info.match_id)
    if match is None or info.user_id not in match.users:
        text = "It has not begun, or it is long over. Your match at the platform says more."
        return say(request, 404, "This match is not here", text)
    path = f"/match/{match.match_id}/{match.users.index(info.user_id)}"
    answer = RedirectResponse(path, 303)
    answer.set_cookie(
        COOKIE,
        game.let_in(match, info.user_id),
        max_age=COOKIE_SECONDS,
        path=path,
        secure=request.url.scheme == "https",
        httponly=True,
        # A form on somebody else's page is sent without it.
        samesite="lax",
    )
    return answer


def seated(request: Request, match_id: str, seat: str) -> tuple[Match, str]:
    """The match and the player of a request. Raises HTTPException 404 for who has not been let in to this seat."""
    found = game_of(request).player(request.cookies.get(COOKIE, ""))
    if found is None or (found[0].match_id, str(found[0].users.index(found[1]))) != (match_id, seat):
        raise HTTPException(404, "This seat is not yours. Go back to your match and press Play there.")
    return found


# --- playing ---------------------------------------------------------------------------------------------------------


async def page(request: Request, match_id: str, seat: str) -> Response:
    match, user_id = seated(request, match_id, seat)
    context = {"view": view(request, match, user_id), "back": request.app.state.platform_url, "path": request.url.path}
    return pages.TemplateResponse(request, "play.html", context)


async def state(request: Request, match_id: str, seat: str) -> dict[str, Any]:
    """What the page shows, for programs."""
    return view(request, *seated(request, match_id, seat))


async def begin(request: Request, match_id: str, seat: str) -> Response:
    match, user_id = seated(request, match_id, seat)
    with contextlib.suppress(NotPlayableError):  # the page says why
        game_of(request).begin(match, user_id)
    return RedirectResponse(f"/match/{match_id}/{seat}", 303)


async def answer(request: Request, match_id: str, seat: str) -> Response:
    match, user_id = seated(request, match_id, seat)
    form = await form_of(request)
    answers = [number(form.get(f"sum-{index}", "")) for index in range(rules.SUMS)]
    with contextlib.suppress(NotPlayableError):
        await game_of(request).answer(match, user_id, answers)
    return RedirectResponse(f"/match/{match_id}/{seat}", 303)


def view(request: Request, match: Match, user_id: str) -> dict[str, Any]:
    """A player's side of a match. The sums are in it once the clock runs, never before."""
    game = game_of(request)
    shown: dict[str, Any] = {"phase": "ready", "seed": match.commitment, "seconds": rules.RUN_MS // 1000}
    if match.is_off:
        return {**shown, "phase": "off"}
    if user_id in match.scores:
        return {**shown, "phase": "played", "score": match.scores[user_id]}
    if user_id not in match.began:
        return shown if game.may_begin(match) else {**shown, "phase": "late"}
    left_ms = rules.RUN_MS - game.elapsed_ms(match, user_id)
    if match.is_over or left_ms <= -rules.GRACE_MS:
        return {**shown, "phase": "late"}
    asked = rules.sums(match.match_id, match.secret)
    return {**shown, "phase": "playing", "seconds": max(0, left_ms // 1000), "sums": asked}


async def form_of(request: Request) -> dict[str, str]:
    """A small form. Raises HTTPException 413 for a large one, before it is in memory."""
    content = b""
    async for chunk in request.stream():
        content += chunk
        if len(content) > LARGEST_FORM:
            raise HTTPException(413, "That is too long.")
    fields = parse_qs(content.decode("utf-8", "replace"), max_num_fields=2 * rules.SUMS)
    return {name: values[0] for name, values in fields.items()}


def number(text: str) -> int | None:
    """A whole number of up to six digits, else None."""
    text = text.strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 6 else None


# --- pages and the rest ----------------------------------------------------------------------------------------------


def say(request: Request, status: int, title: str, text: str) -> Response:
    """A page with one message, and the way back."""
    context = {"title": title, "text": text, "back": request.app.state.platform_url}
    return pages.TemplateResponse(request, "message.html", context, status)


async def healthz() -> dict[str, str]:
    return {"status": "ok"}


async def on_http_exception(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, StarletteHTTPException) else 500
    detail = error.detail if isinstance(error, StarletteHTTPException) else ""
    if request.method == "GET" and "text/html" in request.headers.get("accept", ""):
        return say(request, status, "There is nothing here", detail)
    return JSONResponse({"detail": detail}, status)


async def on_unavailable(request: Request, error: Exception) -> Response:
    """The platform or the disk does not answer. Nothing is lost by trying again."""
    log.error("not available: %s", error)
    text = "The platform does not answer right now. Nothing is lost: try again in a few seconds."
    answer = say(request, 503, "One moment, please", text)
    answer.headers["retry-after"] = "2"
    return answer
