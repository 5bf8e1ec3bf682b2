"""The match info webhook for FastAPI, Starlette and everything else that speaks ASGI. Needs none of them.

    from fastapi import FastAPI
    from oklp.sdk.asgi import match_webhook
    from starlette.routing import Route

    app = FastAPI()
    app.routes.append(Route("/oklp/match", match_webhook(started=start_match, aborted=forget_match)))

Handlers may be coroutine functions. `oklp.sdk.receiver` has the rules.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, TypeAlias

from oklp.sdk.config import ConfigSource
from oklp.sdk.deliveries import DeliveryStore
from oklp.sdk.receiver import AsyncAborted, AsyncStarted, AsyncWebhookReceiver, WebhookAnswer
from oklp.sdk.webhooks import MAX_BODY_BYTES

__all__ = ["MatchWebhook", "match_webhook"]

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]


def match_webhook(
    config: ConfigSource = None,
    *,
    started: AsyncStarted,
    aborted: AsyncAborted,
    deliveries: DeliveryStore | None = None,
) -> MatchWebhook:
    """An ASGI application that takes the webhook; arguments as for `AsyncWebhookReceiver`. Raises ConfigError."""
    return MatchWebhook(AsyncWebhookReceiver(config, started=started, aborted=aborted, deliveries=deliveries))


class MatchWebhook:
    """An ASGI application around a receiver."""

    def __init__(self, receiver: AsyncWebhookReceiver) -> None:
        self._receiver = receiver

    def close(self) -> None:
        """As `AsyncWebhookReceiver.close`: for the end of an application, as in its lifespan."""
        self._receiver.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        body = await _body(receive)
        if body is None:
            return
        await _send(send, await self._receiver.handle(scope["method"], _Headers(scope), body))


async def _body(receive: Receive) -> bytes | None:
    """As much of the body as shows whether it is too large, or None when the client went away."""
    body = bytearray()
    while len(body) <= MAX_BODY_BYTES:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        if not message.get("more_body", False):
            break
    return bytes(body)


class _Headers:
    """The headers of a request, with those that are there more than once."""

    def __init__(self, scope: Scope) -> None:
        self._pairs: Iterable[tuple[bytes, bytes]] = scope["headers"]

    def items(self) -> Iterable[tuple[str, str]]:
        return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in self._pairs]


async def _send(send: Send, answer: WebhookAnswer) -> None:
    headers = {**answer.headers, "content-length": str(len(answer.body))}
    encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": answer.status, "headers": encoded})
    await send({"type": "http.response.body", "body": answer.body})
