"""The match info webhook in each framework, as a studio would write it, served on a real port."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any, Protocol

import uvicorn
from werkzeug.serving import make_server

from oklp.sdk import DeliveryStore, MatchAborted, MatchStarted

PATH = "/oklp/match"


class Handlers(Protocol):
    """What a game does about its webhooks."""

    def started(self, event: MatchStarted) -> None: ...

    def aborted(self, event: MatchAborted) -> None: ...


Build = Callable[[Any, Handlers, "DeliveryStore | None"], Any]


def fastapi_app(config: Any, handlers: Handlers, deliveries: DeliveryStore | None) -> Any:
    from fastapi import FastAPI
    from starlette.routing import Route

    from oklp.sdk.asgi import match_webhook

    async def started(event: MatchStarted) -> None:
        await asyncio.to_thread(handlers.started, event)

    async def aborted(event: MatchAborted) -> None:
        await asyncio.to_thread(handlers.aborted, event)

    app = FastAPI()
    app.routes.append(Route(PATH, match_webhook(config, started=started, aborted=aborted, deliveries=deliveries)))
    return app


def starlette_app(config: Any, handlers: Handlers, deliveries: DeliveryStore | None) -> Any:
    from starlette.applications import Starlette
    from starlette.routing import Route

    from oklp.sdk.asgi import match_webhook

    webhook = match_webhook(config, started=handlers.started, aborted=handlers.aborted, deliveries=deliveries)
    return Starlette(routes=[Route(PATH, webhook)])


def flask_app(config: Any, handlers: Handlers, deliveries: DeliveryStore | None) -> Any:
    from flask import Flask

    from oklp.sdk.flask import match_webhook

    app = Flask(__name__)
    webhook = match_webhook(config, started=handlers.started, aborted=handlers.aborted, deliveries=deliveries)
    app.add_url_rule(PATH, view_func=webhook)
    return app


def _django_site(config: Any, handlers: Handlers, deliveries: DeliveryStore | None) -> None:
    import django
    from django.conf import settings
    from django.urls import path, set_urlconf

    from oklp.sdk.django import match_webhook

    site = ModuleType("site_of_a_test")
    webhook = match_webhook(config, started=handlers.started, aborted=handlers.aborted, deliveries=deliveries)
    site.urlpatterns = [path(PATH.lstrip("/"), webhook)]  # type: ignore[attr-defined]
    if not settings.configured:
        settings.configure(
            ALLOWED_HOSTS=["127.0.0.1"],
            LOGGING_CONFIG=None,
            MIDDLEWARE=["django.middleware.common.CommonMiddleware", "django.middleware.csrf.CsrfViewMiddleware"],
            SECRET_KEY="of no use to anyone",
        )
        django.setup()
    settings.ROOT_URLCONF = site
    set_urlconf(None)


def django_wsgi_app(config: Any, handlers: Handlers, deliveries: DeliveryStore | None) -> Any:
    _django_site(config, handlers, deliveries)
    from django.core.wsgi import get_wsgi_application

    return get_wsgi_application()


def django_asgi_app(config: Any, handlers: Handlers, deliveries: DeliveryStore | None) -> Any:
    _django_site(config, handlers, deliveries)
    from django.core.asgi import get_asgi_application

    return get_asgi_application()


ASGI: dict[str, Build] = {"fastapi": fastapi_app, "starlette": starlette_app, "django-asgi": django_asgi_app}
WSGI: dict[str, Build] = {"flask": flask_app, "django-wsgi": django_wsgi_app}


@contextlib.contextmanager
def serving_asgi(app: Any) -> Iterator[str]:
    """The address of `app` under uvicorn."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", lifespan="off"))
    started = threading.Event()
    whole_startup = server.startup

    async def startup(sockets: Any = None) -> None:
        await whole_startup(sockets)
        started.set()

    server.startup = startup  # type: ignore[method-assign]
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    if not started.wait(30):
        raise AssertionError("uvicorn did not start")
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}{PATH}"
    finally:
        server.should_exit = True
        thread.join(30)


@contextlib.contextmanager
def serving_wsgi(app: Any) -> Iterator[str]:
    """The address of `app` under werkzeug's server, a thread for each request."""
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}{PATH}"
    finally:
        server.shutdown()
        thread.join(30)
        server.server_close()


@contextlib.contextmanager
def serving(framework: str, config: Any, handlers: Handlers, deliveries: DeliveryStore | None = None) -> Iterator[str]:
    """The address of the webhook of a game written with `framework`."""
    build = ASGI.get(framework) or WSGI[framework]
    app = build(config, handlers, deliveries)
    with serving_asgi(app) if framework in ASGI else serving_wsgi(app) as address:
        yield address
