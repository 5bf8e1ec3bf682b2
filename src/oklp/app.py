"""The composition root: settings → database, keys, worker, routes."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi_offline import FastAPIOffline
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from oklp import __version__, observability
from oklp.errors import Conflict, OklpError
from oklp.observability import get_logger
from oklp.services import auth
from oklp.services.vault import Vault, open_vault
from oklp.settings import Settings
from oklp.signing import generate_key
from oklp.storage.engine import Database, inspect_database, migrate
from oklp.web import game_api, oidc, openapi, operator_api, player_api, problems, studio_api
from oklp.web.caller import BodyLimit
from oklp.web.context import Context
from oklp.web.limits import RequestLimit
from oklp.web.requests import Observed, direct
from oklp.worker import Worker

log = get_logger(__name__)

POOL_THREADS = 2


def wall_clock() -> int:
    """Milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


def check_database(settings: Settings) -> None:
    """Make the database ready, or say why it is not. Sandbox databases are migrated here, production's never.

    Raises Conflict.
    """
    if settings.sandbox:
        migrate(settings.database_url, sandbox=True)
        return
    state = inspect_database(settings.database_url)
    if not state.initialised or not state.current:
        raise Conflict("The database is not at the current schema; run `oklp migrate` first.")
    if state.sandbox:
        raise Conflict("This is a sandbox database, and the server runs in production mode.")


def open_database(settings: Settings, clock: Callable[[], int]) -> Database:
    return Database(
        settings.database_url,
        clock=clock,
        queue_limit=settings.queue_limit,
        batch_limit=settings.batch_limit,
        observer=observability.LaneMetrics(),
    )


def create_app(settings: Settings, clock: Callable[[], int] = wall_clock) -> FastAPI:
    """The whole platform as an ASGI application. The database is opened when it starts (`lifespan`)."""

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        vault = open_vault(settings)
        db = open_database(settings, clock)
        try:
            async with running(app, settings, db, vault, clock):
                yield
        finally:
            await asyncio.get_running_loop().run_in_executor(None, db.close)

    app: FastAPI = FastAPIOffline(
        title="OKLP",
        version=__version__,
        summary="An open, self-hostable skill-match platform.",
        lifespan=lifespan,
        redoc_url=None,
        strict_content_type=False,
        exception_handlers=handlers(),
    )
    app.state.settings = settings
    app.router.routes.extend([*oidc.routes, *game_api.routes, *_health_routes()])
    for module in (game_api, player_api, studio_api, operator_api):
        app.include_router(module.router)
    openapi.describe(app)
    app.add_middleware(BodyLimit, limit_bytes=settings.body_limit_bytes)
    if not settings.sandbox:
        app.add_middleware(RequestLimit, requests_per_minute=settings.requests_per_minute)
    hot = {
        **direct([oidc.token_route], realm=settings.realm),
        **direct([game_api.token_info_route, *game_api.finish_routes]),
    }
    app.add_middleware(Observed, hot=hot, body_limit_bytes=settings.body_limit_bytes, on_error=refused)
    return app


def handlers() -> dict[Any, Any]:
    return {
        OklpError: problems.on_oklp_error,
        RequestValidationError: problems.on_validation_error,
        ValidationError: problems.on_validation_error,
        HTTPException: problems.on_http_exception,
        RecursionError: problems.on_recursion,
        Exception: problems.on_unforeseen,
    }


async def refused(request: Request, error: Exception) -> Response:
    """The answer of the handler for the nearest kind of `error`. What nobody foresaw is raised again."""
    known = handlers()
    for kind in type(error).__mro__:
        if kind in known and kind is not Exception:
            answer: Response = await known[kind](request, error)
            return answer
    raise error


@contextlib.asynccontextmanager
async def running(
    app: FastAPI, settings: Settings, db: Database, vault: Vault, clock: Callable[[], int]
) -> AsyncIterator[Context]:
    """Keys, worker, event hub and the ear for other processes, for as long as the context is open."""
    with ThreadPoolExecutor(POOL_THREADS, thread_name_prefix="oklp-pool") as pool:
        for replaced in await db.write(auth.prepare, settings, vault, generate_key, clock()):
            log.warning("replaced_because_the_key_does_not_fit", what=replaced)
        context = await Context.open(settings, db, vault, clock, pool)
        app.state.context = context
        worker = Worker(settings, db, vault, clock, lambda: context.keys)
        loop = asyncio.get_running_loop()
        tasks: set[asyncio.Task[Any]] = set()

        def heard(topics: set[str], handoffs: Sequence[Any]) -> None:
            worker.heard(topics, handoffs)
            if "events" in topics:
                context.hub.wake()
            if "keys" in topics:
                _spawn(tasks, context.reload_keys())
            if "games" in topics:
                _spawn(tasks, context.reload_games())

        def from_any_thread(topics: set[str], handoffs: Sequence[Any]) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is gone: the rows are there, and leases lapse
                loop.call_soon_threadsafe(heard, topics, list(handoffs))

        db.listen(from_any_thread)
        await worker.start()
        followers = [asyncio.create_task(db.watch()), asyncio.create_task(context.hub.run())]
        _close_on_signal(loop, context.hub.close)
        if settings.sandbox:
            log.warning("sandbox", note="play money, loopback webhooks, instant approval and payments")
        try:
            yield context
        finally:
            context.hub.close()
            for follower in followers:
                follower.cancel()
            await asyncio.gather(*followers, *tasks, return_exceptions=True)
            await worker.stop(settings.drain_seconds)


def _close_on_signal(loop: asyncio.AbstractEventLoop, close: Callable[[], None]) -> None:
    """End event streams as soon as the server is told to stop: it waits for open requests before it shuts down."""
    if threading.current_thread() is not threading.main_thread():
        return
    for number in (signal.SIGTERM, signal.SIGINT):
        before = signal.getsignal(number)

        def handle(signum: int, frame: Any, before: Any = before) -> None:
            loop.call_soon_threadsafe(close)
            if callable(before):
                before(signum, frame)

        signal.signal(number, handle)


def _spawn(tasks: set[asyncio.Task[Any]], work: Any) -> None:
    task = asyncio.get_running_loop().create_task(work)
    tasks.add(task)
    task.add_done_callback(tasks.discard)


# --- health ----------------------------------------------------------------------------------------------------------


def _health_routes() -> list[Route]:
    return [
        Route("/", home, methods=["GET"]),
        Route("/healthz", healthz, methods=["GET"]),
        Route("/readyz", readyz, methods=["GET"]),
        Route("/metrics", metrics, methods=["GET"]),
    ]


async def home(_request: Request) -> Response:
    """Until there are pages, the API's own."""
    return RedirectResponse("/docs")


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
    if not state.current:
        return JSONResponse({"status": "database not migrated"}, 503, {"Retry-After": "2"})
    return JSONResponse({"status": "ready"})


async def metrics(request: Request) -> Response:
    context: Context = request.app.state.context
    for lane in (context.db.write_lane, context.db.read_lane, context.db.browse_lane, context.db.report_lane):
        observability.lane_queue_jobs.labels(lane.name).set(len(lane))
    return Response(observability.render_metrics(), media_type="text/plain; version=0.0.4; charset=utf-8")
