"""The composition root: settings → database, keys, worker, routes."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi_offline import FastAPIOffline
from pydantic import ValidationError
from pydantic.warnings import UnsupportedFieldAttributeWarning
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from oklp import __version__, observability
from oklp.errors import InvariantBroken, MalformedRequest, MethodNotAllowed, NotFound, OklpError
from oklp.observability import get_logger
from oklp.opening import open_database, tell_replaced, wall_clock
from oklp.postman import Postman
from oklp.services import auth
from oklp.services.vault import Vault, open_vault
from oklp.settings import Settings
from oklp.signing import generate_key
from oklp.storage.engine import Database, inspect_database
from oklp.storage.presence import Presence, announce
from oklp.web import (
    account_api,
    calls,
    console_api,
    factor_api,
    game_api,
    listeners,
    oidc,
    openapi,
    operator_api,
    player_api,
    problems,
    studio_api,
)
from oklp.web.caller import KINDS, BodyLimit, EmptyParameters
from oklp.web.context import Context, new_token
from oklp.web.methods import Heads, Methods
from oklp.web.pages import frame
from oklp.web.pages import routes as page_routes
from oklp.web.requests import Observed, Shortcut, hot
from oklp.worker import Worker

log = get_logger(__name__)

# FastAPI silences this where it makes its fields; those of the wire are built after that, when first used.
warnings.simplefilter("ignore", UnsupportedFieldAttributeWarning)

POOL_THREADS = 2
RELOAD_PAUSE_SECONDS = 1.0
TRAFFIC = frozenset({"calls", "deliveries", "events", "games", "outcomes", "proposals"})


def create_app(settings: Settings, clock: Callable[[], int] = wall_clock, presence: Presence | None = None) -> FastAPI:
    """The whole platform as an ASGI application. The database is opened when it starts (`lifespan`).

    `presence` is that of this process, if it has announced itself already.
    """

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        vault = open_vault(settings)
        here = presence or announce(settings.database_url)
        with contextlib.closing(here):
            db = open_database(settings, clock)
            try:
                async with running(app, settings, db, vault, here, clock):
                    yield
            finally:
                await asyncio.get_running_loop().run_in_executor(None, db.close)

    app: FastAPI = FastAPIOffline(
        title="OKLP",
        version=__version__,
        summary="An open, self-hostable skill-match platform.",
        lifespan=lifespan,
        redoc_url=None,
        redirect_slashes=False,  # a redirect would go to whatever host the request names
        strict_content_type=False,
        exception_handlers=handlers(),
    )
    app.state.settings = settings
    app.router.routes.extend([*oidc.routes, *game_api.routes, *_health_routes(), *page_routes])
    plain = list(app.router.routes)
    included = []
    for module in (game_api, player_api, studio_api, listeners, calls, operator_api, console_api):
        app.include_router(module.router)
        included.append(("", module.router))
    for name in KINDS:
        for shared in (account_api, factor_api):
            app.include_router(shared.router, prefix=f"/api/{name}/v1", tags=[name])
            included.append((f"/api/{name}/v1", shared.router))
    openapi.describe(app)
    app.state.methods = Methods(plain, included)
    app.add_middleware(Heads, methods=app.state.methods)
    app.add_middleware(EmptyParameters)
    app.add_middleware(BodyLimit, limit_bytes=settings.body_limit_bytes, refused=refused)
    if not settings.sandbox:
        from oklp.web.limits import RequestLimit  # its library is loaded where it is used

        app.add_middleware(RequestLimit, requests_per_minute=settings.requests_per_minute, refused=refused)
    app.add_middleware(Observed)
    return app


def create_server(
    settings: Settings, clock: Callable[[], int] = wall_clock, presence: Presence | None = None
) -> Shortcut:
    """`create_app`, with a short way to the three hot endpoints. What a server process serves."""
    routes = {
        **hot([oidc.token_route], realm=settings.realm),
        **hot([game_api.token_info_route, *game_api.finish_routes]),
    }
    return Shortcut(create_app(settings, clock, presence), routes, settings.body_limit_bytes, refused)


def handlers() -> dict[Any, Any]:
    return {
        OklpError: _as_page(problems.on_oklp_error),
        RequestValidationError: problems.on_validation_error,
        ValidationError: problems.on_validation_error,
        HTTPException: _as_page(problems.on_http_exception),
        RecursionError: problems.on_recursion,
        Exception: _as_page(problems.on_unforeseen),
    }


def _as_page(answer: Callable[[Request, Exception], Awaitable[Response]]) -> Callable[..., Awaitable[Response]]:
    """What programs get as a problem, people get as a page."""

    async def told(request: Request, error: Exception) -> Response:
        made = await answer(request, error)
        # The short way's requests are no whole ones, and none of a page.
        if not isinstance(request, Request) or not frame.wants_page(request):
            return made
        if isinstance(error, OklpError) and not isinstance(error, InvariantBroken):
            return await frame.lost(request, error)
        kinds = {404: NotFound, 405: MethodNotAllowed, 500: InvariantBroken}
        kind: type[OklpError] = kinds.get(made.status_code, MalformedRequest)
        page = await frame.lost(request, kind("For people, the page has its own words."))
        if "allow" in made.headers:
            page.headers["Allow"] = made.headers["allow"]
        return page

    return told


async def refused(request: Any, error: Exception) -> Response:
    """What the handler for the nearest kind of `error` answers."""
    known = handlers()
    kind = next(kind for kind in type(error).__mro__ if kind in known)
    answer: Response = await known[kind](request, error)
    return answer


@contextlib.asynccontextmanager
async def running(
    app: FastAPI, settings: Settings, db: Database, vault: Vault, presence: Presence, clock: Callable[[], int]
) -> AsyncIterator[Context]:
    """Keys, worker, event hub and the ear for other processes, for as long as the context is open."""
    with ThreadPoolExecutor(POOL_THREADS, thread_name_prefix="oklp-pool") as pool:
        tell_replaced(await db.write(auth.prepare, settings, vault, generate_key, clock(), presence.alone))
        context = await Context.open(settings, db, vault, clock, pool)
        app.state.context = context
        worker = Worker(settings, db, vault, clock, lambda: context.keys, lambda: context.armed, context.book)
        postman = Postman(settings, db, vault, clock, new_token)
        loop = asyncio.get_running_loop()
        stale_keys, stale_games, stale_faults = asyncio.Event(), asyncio.Event(), asyncio.Event()

        def heard(topics: set[str], handoffs: Sequence[Any]) -> None:
            worker.heard(topics, handoffs)
            if "events" in topics:
                context.hub.wake()
            if "listeners" in topics:
                context.listeners.ring()
            if "calls" in topics:
                context.calls.ring()
            if not TRAFFIC.isdisjoint(topics):
                context.traffic.ring()
            if "keys" in topics:
                stale_keys.set()
            if "games" in topics:
                stale_games.set()
            if "faults" in topics and settings.sandbox:
                stale_faults.set()
            if "mails" in topics:
                postman.wake()

        def from_any_thread(topics: set[str], handoffs: Sequence[Any]) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is gone: the rows are there, and leases lapse
                loop.call_soon_threadsafe(heard, topics, list(handoffs))

        db.listen(from_any_thread)
        await worker.start()
        postman.start()
        followers = [
            asyncio.create_task(each)
            for each in (
                db.watch(presence.relieved),
                context.hub.run(),
                _each_second(context, stale_keys),
                _keep_fresh(stale_keys, context.reload_keys),
                _keep_fresh(stale_games, context.reload_games),
                _keep_fresh(stale_faults, context.reload_faults),
            )
        ]
        stop = StopSignal(loop, context.close_streams)
        if settings.sandbox:
            log.warning("sandbox", note="play money, loopback webhooks, instant approval and payments")
        try:
            yield context
        finally:
            context.close_streams()
            for follower in followers:
                follower.cancel()
            await asyncio.gather(*followers, return_exceptions=True)
            # Requests have had their part of the time to drain; webhooks have what is left of it.
            until = (stop.heard_at or loop.time()) + settings.drain_seconds
            await asyncio.gather(worker.stop(until), postman.stop(until))
            await context.signer.close()


class StopSignal:
    """Hears SIGTERM and SIGINT before uvicorn does, which waits for open requests: streams of events would never end.

    `heard_at` is the time of the first, on the loop's clock; None when the end comes in another way.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, heard: Callable[[], None]) -> None:
        self.heard_at: float | None = None
        self._loop = loop
        self._heard = heard
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, partial(self._handle, signal.getsignal(number)))

    def _handle(self, before: Any, number: int, frame: Any) -> None:
        if self.heard_at is None:
            self.heard_at = self._loop.time()
        self._loop.call_soon_threadsafe(self._heard)
        if callable(before):
            before(number, frame)


async def _keep_fresh(stale: asyncio.Event, reload: Callable[[], Awaitable[None]]) -> None:
    """Reload what others have changed; until it has worked, for the database may be away just then."""
    while True:
        await stale.wait()
        stale.clear()
        try:
            await reload()
        except OklpError as refusal:
            log.warning("cannot_reload", what=reload.__name__, detail=refusal.detail)
            stale.set()
            await asyncio.sleep(RELOAD_PAUSE_SECONDS)
        except Exception:
            log.exception("cannot_reload", what=reload.__name__)
            stale.set()
            await asyncio.sleep(RELOAD_PAUSE_SECONDS)


# --- health ----------------------------------------------------------------------------------------------------------


def _health_routes() -> list[Route]:
    return [
        Route("/healthz", healthz, methods=["GET"]),
        Route("/readyz", readyz, methods=["GET"]),
        Route("/metrics", metrics, methods=["GET"]),
    ]


async def healthz(_request: Request) -> Response:
    """The process answers."""
    return JSONResponse({"status": "ok"})


async def readyz(request: Request) -> Response:
    """The database is reachable, and its schema is the one this code knows."""
    settings: Settings = request.app.state.settings
    try:
        state = await asyncio.get_running_loop().run_in_executor(None, inspect_database, settings.database_url)
    except Exception as error:
        log.warning("not_ready", error=str(error))
        return JSONResponse({"status": "database not reachable"}, 503, {"Retry-After": "2"})
    if state.newer:
        return JSONResponse({"status": "database is at a newer schema"}, 503, {"Retry-After": "2"})
    if not state.current:
        return JSONResponse({"status": "database not migrated"}, 503, {"Retry-After": "2"})
    return JSONResponse({"status": "ready"})


def _tell_queues(db: Database) -> None:
    for lane in db.lanes:
        observability.lane_queue_jobs.labels(lane.name).set(len(lane))


async def _each_second(context: Context, stale_keys: asyncio.Event) -> None:
    """Each process tells of its own queues: the one that is asked for figures does not know those of the others.

    And it lets go of keys whose time is over, of which nobody else tells it.
    """
    while True:
        _tell_queues(context.db)
        ends_at = context.keys.ends_at
        if ends_at is not None and ends_at <= context.clock():
            stale_keys.set()
        await asyncio.sleep(1)


async def metrics(request: Request) -> Response:
    context: Context = request.app.state.context
    _tell_queues(context.db)
    return Response(observability.render_metrics(), media_type="text/plain; version=0.0.4; charset=utf-8")
