"""The whole receiving end of match info webhooks (contract section A3): from a raw request to the answer to give.

    from oklp.sdk import WebhookReceiver

    receiver = WebhookReceiver("developer-config.json", started=start_match, aborted=forget_match)
    answer = receiver.handle(request.method, request.headers, request.body)

`oklp.sdk.asgi`, `oklp.sdk.flask` and `oklp.sdk.django` put it into the frameworks. The rules:

- The platform hears 200 when the handler has returned, and only then: 200 starts the match, with people's money in it.
- A delivery that was handled is not handled again, whether the platform repeats it or somebody plays it back. One whose
  handler failed is, so that a second attempt of the platform can succeed.
- The deliveries of one match are handled one at a time, and a match that was called off is not started afterwards,
  though the two requests may overtake each other on their way.
"""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import json
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeAlias, TypeVar

from oklp.errors import MethodNotAllowed, OklpError, Unavailable, WrongState
from oklp.sdk.config import ConfigSource
from oklp.sdk.deliveries import DeliveryStore, MemoryDeliveries
from oklp.sdk.webhooks import Headers, MatchAborted, MatchStarted, TestEvent, WebhookEvent, WebhookVerifier

E = TypeVar("E", MatchStarted, MatchAborted)

log = logging.getLogger("oklp.sdk.receiver")

METHODS: Final = ("PUT", "DELETE")
# The platform waits ten seconds for an answer.
_TURN_SECONDS: Final = 8.0
_LOOK_EVERY_SECONDS: Final = 0.05


class MatchRefused(Exception):
    """Raised by a handler that cannot take a match now: the platform hears 503 with the text, and refunds everyone."""


class _HandlerFailed(Exception):
    """Whatever else a handler raised; it is the cause."""


class Verifier(Protocol):
    """What a receiver needs of a `WebhookVerifier`."""

    @property
    def signed(self) -> bool: ...

    def verify(self, method: str, headers: Headers, body: bytes) -> WebhookEvent: ...


@dataclass(frozen=True, slots=True)
class WebhookAnswer:
    """What to answer the platform. The body of a refusal is a problem (RFC 9457), shown with the delivery."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


Started: TypeAlias = Callable[[MatchStarted], object]
Aborted: TypeAlias = Callable[[MatchAborted], object]
AsyncStarted: TypeAlias = Callable[[MatchStarted], Awaitable[object] | object]
AsyncAborted: TypeAlias = Callable[[MatchAborted], Awaitable[object] | object]


class _Core:
    """What both receivers have in common: checking, deciding, answering."""

    def __init__(self, config: ConfigSource, deliveries: DeliveryStore | None, verifier: Verifier | None) -> None:
        self._verifier = verifier if verifier is not None else WebhookVerifier(config)
        self._is_own = verifier is None
        self._deliveries = deliveries if deliveries is not None else MemoryDeliveries()

    def close(self) -> None:
        """Closes the connection by which the platform's keys are fetched. What was given to the receiver is the
        caller's to close.
        """
        if self._is_own and isinstance(self._verifier, WebhookVerifier):
            self._verifier.close()

    def _verified(self, method: str, headers: Headers, body: bytes) -> tuple[WebhookEvent, str]:
        """The event and the name of its delivery. Raises OklpError."""
        if method.upper() not in METHODS:
            raise MethodNotAllowed("A match info webhook is a PUT or a DELETE.")
        event = self._verifier.verify(method, headers, body)
        if self._verifier.signed:
            return event, f"id:{event.webhook_id}"
        # Without a signature anyone could write a webhook-id. Equal requests are one delivery then.
        return event, f"body:{hashlib.sha256(method.upper().encode('ascii') + body).hexdigest()}"

    def _is_new(self, event: WebhookEvent, name: str) -> bool:
        """Whether the handler is to be called. Raises WrongState for a match that was called off before."""
        if self._deliveries.seen(name):
            return False
        if isinstance(event, MatchStarted) and self._deliveries.seen(_off(event.match_id)):
            raise WrongState("The match was called off.")
        return True

    def _remember(self, event: WebhookEvent, name: str) -> None:
        if isinstance(event, MatchAborted):
            self._deliveries.remember(name, _off(event.match_id))
        else:
            self._deliveries.remember(name)

    def _let_go(self, match_id: str, key: str) -> None:
        try:
            self._deliveries.let_go(match_id, key)
        except Exception:
            # The answer is decided already, and a store lets go by itself after a while.
            log.exception("match %s: cannot be let go", match_id)


class WebhookReceiver(_Core):
    """Answers webhook requests by calling `started` or `aborted`. Threads may share one.

    `config` is as for `WebhookVerifier`. `deliveries` remembers what was handled: by default this process does
    (`MemoryDeliveries`). `verifier` replaces the one made from `config`. A handler that returns has taken the event;
    one that raises has not, `MatchRefused` being the polite way. Raises ConfigError.
    """

    def __init__(
        self,
        config: ConfigSource = None,
        *,
        started: Started,
        aborted: Aborted,
        deliveries: DeliveryStore | None = None,
        verifier: Verifier | None = None,
    ) -> None:
        super().__init__(config, deliveries, verifier)
        self._started = started
        self._aborted = aborted

    def handle(self, method: str, headers: Headers, body: bytes) -> WebhookAnswer:
        """The answer to a request. `body` is the raw body, as it came. Raises nothing."""
        try:
            event, name = self._verified(method, headers, body)
            if not isinstance(event, TestEvent):
                self._take(event, name)
        except Exception as error:
            return answer_of(error)
        return taken()

    def _take(self, event: MatchStarted | MatchAborted, name: str) -> None:
        until = time.monotonic() + _TURN_SECONDS
        while (key := self._deliveries.hold(event.match_id)) is None:
            if time.monotonic() > until:
                raise _busy()
            time.sleep(_LOOK_EVERY_SECONDS)
        try:
            if self._is_new(event, name):
                self._call(event)
                self._remember(event, name)
        finally:
            self._let_go(event.match_id, key)

    def _call(self, event: MatchStarted | MatchAborted) -> None:
        try:
            if isinstance(event, MatchStarted):
                self._started(event)
            else:
                self._aborted(event)
        except MatchRefused:
            raise
        except Exception as error:
            raise _HandlerFailed from error


class AsyncWebhookReceiver(_Core):
    """As `WebhookReceiver`, for asyncio. Handlers may be coroutine functions; others are called in a thread.

    Checking a request and remembering it happen in threads too, so that the event loop waits for no disk, and so that
    one receiver serves any number of event loops: test clients start a new one with each request.
    """

    def __init__(
        self,
        config: ConfigSource = None,
        *,
        started: AsyncStarted,
        aborted: AsyncAborted,
        deliveries: DeliveryStore | None = None,
        verifier: Verifier | None = None,
    ) -> None:
        super().__init__(config, deliveries, verifier)
        self._started = started
        self._aborted = aborted
        self._under_way: set[asyncio.Task[None]] = set()

    async def handle(self, method: str, headers: Headers, body: bytes) -> WebhookAnswer:
        """As `WebhookReceiver.handle`."""
        try:
            event, name = await asyncio.to_thread(self._verified, method, headers, body)
            if not isinstance(event, TestEvent):
                await self._to_its_end(event, name)
        except Exception as error:
            return answer_of(error)
        return taken()

    async def _to_its_end(self, event: MatchStarted | MatchAborted, name: str) -> None:
        """As a task of its own: a server that cancels a request whose client went away must not leave a match half
        started, and held for ever.
        """
        task = asyncio.create_task(self._take(event, name))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        await asyncio.shield(task)

    async def _take(self, event: MatchStarted | MatchAborted, name: str) -> None:
        until = time.monotonic() + _TURN_SECONDS
        while (key := await asyncio.to_thread(self._deliveries.hold, event.match_id)) is None:
            if time.monotonic() > until:
                raise _busy()
            await asyncio.sleep(_LOOK_EVERY_SECONDS)
        try:
            if await asyncio.to_thread(self._is_new, event, name):
                await self._call(event)
                await asyncio.to_thread(self._remember, event, name)
        finally:
            await asyncio.to_thread(self._let_go, event.match_id, key)

    async def _call(self, event: MatchStarted | MatchAborted) -> None:
        try:
            if isinstance(event, MatchStarted):
                await _called(self._started, event)
            else:
                await _called(self._aborted, event)
        except MatchRefused:
            raise
        except Exception as error:
            raise _HandlerFailed from error


async def _called(handler: Callable[[E], object], event: E) -> None:
    result = handler(event) if inspect.iscoroutinefunction(handler) else await asyncio.to_thread(handler, event)
    if inspect.isawaitable(result):
        await result


# --- Answers ---------------------------------------------------------------------------------------------------------


def taken() -> WebhookAnswer:
    return WebhookAnswer(200, {"content-type": "application/json"}, b'{"ok":true}')


def answer_of(error: Exception) -> WebhookAnswer:
    """The answer to a request that was not taken."""
    if isinstance(error, OklpError) and error.status < 500:
        log.warning("a webhook is refused: %s %s", error.status, error.detail)
        return _problem(error.status, error.code, error.title, error.detail, allow=error.status == 405)
    if isinstance(error, MatchRefused):
        log.warning("a match is refused: %s", error)
        return _problem(503, "match-refused", "The game cannot take this match now", str(error))
    if isinstance(error, Unavailable):
        log.warning("a webhook cannot be taken now: %s", error.detail)
        return _problem(503, error.code, error.title, error.detail, error.retry_after_seconds)
    if isinstance(error, _HandlerFailed):
        # What went wrong in there is the studio's own affair, and in its own log.
        log.error("the handler of a webhook failed", exc_info=error.__cause__)
        return _problem(500, "internal", "The game's server failed", "The handler of this webhook failed.")
    log.error("a webhook cannot be remembered, so it is not taken", exc_info=error)
    return _problem(503, "unavailable", "Not available right now", "The game's server cannot remember deliveries.", 1)


def _problem(
    status: int, code: str, title: str, detail: str, retry_after_seconds: int | None = None, *, allow: bool = False
) -> WebhookAnswer:
    headers = {"content-type": "application/problem+json"}
    if retry_after_seconds is not None:
        headers["retry-after"] = str(retry_after_seconds)
    if allow:
        headers["allow"] = ", ".join(METHODS)
    problem = {"type": f"urn:oklp:error:{code}", "title": title, "status": status, "detail": detail}
    return WebhookAnswer(status, headers, json.dumps(problem).encode("utf-8"))


def _busy() -> Unavailable:
    return Unavailable("Another delivery of this match is still being handled.", retry_after_seconds=1)


def _off(match_id: str) -> str:
    return f"off:{match_id}"
