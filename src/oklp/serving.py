"""Around the server: its sockets, its processes, and what uvicorn does to requests at the end."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import gc
import multiprocessing
import os
import resource
import signal
import socket
import threading
from collections.abc import Sequence
from typing import Any

import uvicorn
from uvicorn.config import STARTUP_FAILURE

from oklp import observability
from oklp.app import create_server
from oklp.errors import Unavailable
from oklp.settings import Settings
from oklp.storage.presence import Presence
from oklp.web.connections import Connection
from oklp.web.faults import SEVER
from oklp.web.problems import refused

log = observability.get_logger(__name__)

BACKLOG = 2_048
ANY = ("", "0.0.0.0", "::")  # noqa: S104 - compared with, never bound by itself


# --- sockets ---------------------------------------------------------------------------------------------------------


def bind(host: str, port: int) -> list[socket.socket]:
    """Sockets on every address of a host, not yet listening; port 0 is the same free one on all. Raises OSError."""
    found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    sockets: list[socket.socket] = []
    missing = OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))
    try:
        for family, kind, protocol, _, address in dict.fromkeys(found):
            if port == 0 and sockets:
                address = (address[0], port_of(sockets), *address[2:])
            try:
                sockets.append(_bound(family, kind, protocol, address))
            except OSError as error:
                # `localhost` may have an IPv6 address on a machine that has no IPv6.
                if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                    raise
                missing = error
        if not sockets:
            raise missing
    except BaseException:
        close(sockets)
        raise
    return sockets


def _bound(family: int, kind: int, protocol: int, address: Any) -> socket.socket:
    made = socket.socket(family, kind, protocol)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind(address)
    except BaseException:
        made.close()
        raise
    return made


def listen(sockets: Sequence[socket.socket]) -> None:
    """From now on clients wait for their answer. Raises OSError when somebody else listens by now."""
    for each in sockets:
        each.listen(BACKLOG)


def port_of(sockets: Sequence[socket.socket]) -> int:
    return int(sockets[0].getsockname()[1])


def url_of(host: str, port: int) -> str:
    """How this machine reaches a server on that host and port."""
    name = "127.0.0.1" if host in ANY else host
    return f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}"


def close(sockets: Sequence[socket.socket]) -> None:
    for each in sockets:
        each.close()


# --- processes -------------------------------------------------------------------------------------------------------


def run(app: Any, settings: Settings, sockets: list[socket.socket], workers: int) -> int:
    """Serve what the factory `app` makes until SIGTERM or SIGINT. Returns the status to exit with.

    `app` is a function, or for several workers its name, since each is a process that starts from nothing.
    """
    config = uvicorn.Config(
        app,
        factory=True,
        workers=workers,
        loop="uvloop",
        http=functools.partial(Connection, settings.arrival_seconds),  # type: ignore[arg-type]
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        date_header=True,
        timeout_graceful_shutdown=max(settings.drain_seconds - 1, 1),  # the last second is for what is cut off then
        timeout_keep_alive=75,
        # A worker cannot answer before it has started, and one that is killed for it will never have.
        timeout_worker_healthcheck=30,
        backlog=BACKLOG,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=settings.trusted_proxies or None,
    )
    if workers > 1:
        from uvicorn.supervisors import Multiprocess

        supervisor = Multiprocess(config, sockets)
        supervisor.run()
        # uvicorn stops the others when one cannot start, and says so to the log alone.
        failed = any(each.process.exitcode == STARTUP_FAILURE for each in supervisor.processes)
        return STARTUP_FAILURE if failed else 0
    server = uvicorn.Server(config)
    with contextlib.suppress(KeyboardInterrupt):  # raised again by uvicorn, once it has drained
        server.run(sockets)
    return 0 if server.started else STARTUP_FAILURE


def app_of(settings: Settings, presence: Presence) -> Any:
    """The factory for a server that is this process."""
    return functools.partial(_make, settings, presence)


def app_of_worker() -> Any:
    """The factory for one of several processes: the settings are in the environment."""
    settings = Settings()
    observability.configure_logging(level=settings.log_level)
    _end_with_parent()
    return _make(settings)


WORKER = f"{__name__}:{app_of_worker.__name__}"


def _make(settings: Settings, presence: Presence | None = None) -> Any:
    server: Any = Cut(create_server(settings, presence=presence))
    if settings.sandbox:
        server = Severable(server)
    # What has been loaded by now stays: the collector need not look at it again and again, which took a tenth of the
    # time under load. Requests leave few cycles behind, so it may look less often as well.
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    return server


def _end_with_parent() -> None:
    """One of several workers: without its parent it would keep the port, and nobody could tell it to stop."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def follow() -> None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=follow, name="oklp-parent", daemon=True).start()


def allow_many_connections() -> None:
    """Slow webhook receivers each hold a connection: lift the soft limit of open files as far as we may."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


# --- the end of the drain --------------------------------------------------------------------------------------------


class Cut:
    """Answers requests that outlast the drain. uvicorn cancels them, and would log each as an error of ours."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await self._app(scope, receive, send)
        except asyncio.CancelledError:
            if scope["type"] != "http":
                raise
            log.warning("request_cut", method=scope["method"], path=scope["path"])
            # Whether it was carried out is open: a job that was handed over is finished before the process ends.
            refusal = Unavailable("The server is stopping. What was asked may have been done.", retry_after_seconds=2)
            with contextlib.suppress(RuntimeError):  # the answer had begun
                await refused(scope["path"], refusal)(scope, receive, send)


# --- faults ----------------------------------------------------------------------------------------------------------


class Severable:
    """Lets a request's connection be broken, as an injected fault may have it (`web/faults.py`).

    ASGI has no word for that: it takes the transport of uvicorn's, whose cycle `send` is a method of.
    """

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        transport = getattr(getattr(send, "__self__", None), "transport", None)
        if transport is not None:
            scope[SEVER] = transport.abort
        await self._app(scope, receive, send)
