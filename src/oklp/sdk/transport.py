"""What carries an exchange out: over httpx, blocking or on an event loop. And how many callers share one piece of
work.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from concurrent.futures import Future
from threading import Lock, local
from typing import Any, Generic, TypeVar

import httpx

from oklp.sdk.errors import SdkError, UnreachableError
from oklp.sdk.requests import Answer, Authorize, Exchange, NoAnswer, Send, Wait

T = TypeVar("T")

_CONNECT_TIMEOUT_SECONDS = 5.0
# Servers drop an idle connection after 5 seconds at the earliest (uvicorn's default). Letting go of it first saves the
# requests that would be sent into a connection about to be closed.
_KEEPALIVE_SECONDS = 4.0
_LIMITS = httpx.Limits(max_connections=100, max_keepalive_connections=100, keepalive_expiry=_KEEPALIVE_SECONDS)
# A page of matches, the longest answer of the contract, is far below it. More is read from nobody: what is cut off is
# not of the contract any more, and refused as such.
MAX_ANSWER_BYTES = 8 * 1024 * 1024
# Each read has the time-out to itself, so headers or a body that come in drops would start it anew with each. The whole
# of one attempt has so many time-outs, of which waiting for a connection, beside a thousand other calls, takes one at
# most.
TIMEOUTS_FOR_AN_ATTEMPT = 3
# What went wrong is in the request itself; sending it again would change nothing.
_HOPELESS = (httpx.UnsupportedProtocol, httpx.LocalProtocolError, httpx.TooManyRedirects)


class SyncTransport:
    """Runs exchanges in the calling thread. Threads may share it.

    `timeout_seconds` is for each step of an attempt, `longest_seconds` for the whole of it.
    """

    def __init__(
        self,
        *,
        timeout_seconds: float,
        longest_seconds: float,
        transport: httpx.BaseTransport | None,
        sleep: Callable[[float], None],
    ) -> None:
        self._http = httpx.Client(timeout=_timeout(timeout_seconds), limits=_LIMITS, transport=transport)
        self._longest_seconds = longest_seconds
        self._ends = _Ends(longest_seconds)
        self._sleep = sleep

    def run(self, exchange: Exchange[T], authorize: Callable[[str | None], str] | None = None) -> T:
        """The result of `exchange`; `authorize` gives a token other than its argument. Raises SdkError."""
        reply: Answer | NoAnswer | str | None = None
        while True:
            try:
                step = exchange.send(reply)
            except StopIteration as end:
                result: T = end.value
                return result
            match step:
                case Send():
                    reply = self._send(step)
                case Wait(seconds):
                    self._sleep(seconds)
                    reply = None
                case Authorize(refused):
                    reply = authorize(refused) if authorize is not None else None

    def close(self) -> None:
        self._http.close()

    def _send(self, step: Send) -> Answer | NoAnswer:
        if self._http.is_closed:
            raise SdkError("the client is closed")
        self._ends.begin()
        try:
            with self._http.stream(
                step.method,
                step.url,
                headers=dict(step.headers),
                content=step.content,
                extensions={"trace": self._ends.on_step},
            ) as response:
                body = bytearray()
                for chunk in response.iter_bytes():
                    body += chunk
                    if len(body) > MAX_ANSWER_BYTES:
                        break
                    self._ends.left_seconds()
                return _answer(response, body)
        except httpx.RequestError as error:
            return _no_answer(error)


class _Ends:
    """When the attempt that this thread makes is to end at the latest.

    httpx bounds each read of a blocking client and not their sum, and has the headers read before it lets go of the
    answer. What it does have is a hook that is given each new connection; from then on that one's reads end in time,
    whichever thread's attempt it serves.
    """

    def __init__(self, longest_seconds: float) -> None:
        self._longest_seconds = longest_seconds
        self._thread = local()

    def begin(self) -> None:
        self._thread.until = time.monotonic() + self._longest_seconds

    def left_seconds(self) -> float:
        """More than none. Raises httpx.ReadTimeout when there are none left."""
        left: float = self._thread.until - time.monotonic()
        if left <= 0:
            raise httpx.ReadTimeout(_too_slow(self._longest_seconds))
        return left

    def on_step(self, name: str, info: Mapping[str, Any]) -> None:
        """The hook `trace`: https://www.encode.io/httpcore/extensions/#trace"""
        if name.endswith((".connect_tcp.complete", ".start_tls.complete")):
            stream = info["return_value"]
            read = stream.read

            def read_in_time(max_bytes: int, timeout: float | None = None) -> Any:
                left = self.left_seconds()
                try:
                    return read(max_bytes, left if timeout is None else min(timeout, left))
                except Exception:
                    self.left_seconds()
                    raise

            stream.read = read_in_time


class AsyncTransport:
    """As `SyncTransport`, on an asyncio event loop, always the same one."""

    def __init__(
        self,
        *,
        timeout_seconds: float,
        longest_seconds: float,
        transport: httpx.AsyncBaseTransport | None,
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self._http = httpx.AsyncClient(timeout=_timeout(timeout_seconds), limits=_LIMITS, transport=transport)
        self._longest_seconds = longest_seconds
        self._sleep = sleep

    async def run(self, exchange: Exchange[T], authorize: Callable[[str | None], Awaitable[str]] | None = None) -> T:
        """As `SyncTransport.run`."""
        reply: Answer | NoAnswer | str | None = None
        while True:
            try:
                step = exchange.send(reply)
            except StopIteration as end:
                result: T = end.value
                return result
            match step:
                case Send():
                    reply = await self._send(step)
                case Wait(seconds):
                    await self._sleep(seconds)
                    reply = None
                case Authorize(refused):
                    reply = await authorize(refused) if authorize is not None else None

    async def aclose(self) -> None:
        await self._http.aclose()

    async def _send(self, step: Send) -> Answer | NoAnswer:
        if self._http.is_closed:
            raise SdkError("the client is closed")
        try:
            async with (
                asyncio.timeout(self._longest_seconds),
                self._http.stream(step.method, step.url, headers=dict(step.headers), content=step.content) as response,
            ):
                body = bytearray()
                async for chunk in response.aiter_bytes():
                    body += chunk
                    if len(body) > MAX_ANSWER_BYTES:
                        break
                return _answer(response, body)
        except httpx.RequestError as error:
            return _no_answer(error)
        except TimeoutError:
            return _no_answer(httpx.ReadTimeout(_too_slow(self._longest_seconds)))


class SingleFlight(Generic[T]):
    """Work that many threads want at once and one does: the others wait for it and share its result or its error."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._flight: Future[T] | None = None

    @property
    def busy(self) -> bool:
        return self._flight is not None

    def run(self, work: Callable[[], T]) -> T:
        """`work` must look first whether there is still something to do: its caller may have come just too late to
        share the flight that did it.
        """
        with self._lock:
            shared = self._flight
            if shared is None:
                mine = self._flight = Future[T]()
        if shared is not None:
            return shared.result()
        try:
            result = work()
        except BaseException as error:
            self._land()
            # An interrupt is for the thread that it struck, not for those that wait on it.
            mine.set_exception(error if isinstance(error, Exception) else UnreachableError("interrupted", 0))
            raise
        self._land()
        mine.set_result(result)
        return result

    def _land(self) -> None:
        with self._lock:
            self._flight = None


class AsyncSingleFlight(Generic[T]):
    """As SingleFlight, for tasks. The work is a task of its own, so that a caller who is cancelled cancels no other."""

    def __init__(self) -> None:
        self._task: asyncio.Task[T] | None = None

    @property
    def busy(self) -> bool:
        return self._task is not None and not self._task.done()

    def start(self, work: Callable[[], Coroutine[Any, Any, T]]) -> asyncio.Task[T]:
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(work())
            self._task.add_done_callback(_take_exception)
        return self._task

    async def run(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        task = self.start(work)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            current = asyncio.current_task()
            if task.cancelled() and current is not None and not current.cancelling():
                # The client was closed beneath this caller, who was not cancelled and must not look so.
                raise SdkError("the client was closed") from None
            raise

    async def cancel(self) -> None:
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait([self._task])


def _take_exception(task: asyncio.Task[Any]) -> None:
    # When every caller has been cancelled no one is left to see the error, and asyncio would complain of it.
    if not task.cancelled():
        task.exception()


def _timeout(timeout_seconds: float) -> httpx.Timeout:
    return httpx.Timeout(timeout_seconds, connect=min(timeout_seconds, _CONNECT_TIMEOUT_SECONDS))


def _answer(response: httpx.Response, body: bytearray) -> Answer:
    return Answer(response.status_code, response.headers, bytes(body[:MAX_ANSWER_BYTES]))


def _too_slow(seconds: float) -> str:
    return f"the answer was not complete after {seconds:g} s"


def _no_answer(error: httpx.RequestError) -> NoAnswer:
    reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return NoAnswer(reason, retryable=not isinstance(error, _HOPELESS), cause=error)
