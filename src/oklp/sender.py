"""The network half of webhooks (contract section A3): one request out, what came of it back.

It knows no database, no match and no signature. Everything that a receiver can do wrong ends as an `Exchange`, within
the time-out and with bounded memory: receivers belong to other people.

An address is judged where the socket is made (`_Connector`), not when a name was looked up or a URL registered.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import ssl
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import lru_cache

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.connector import AddrInfoType, Connection
from aiohttp.tracing import Trace
from yarl import URL

from oklp.addresses import URL_CHARACTERS, ForbiddenAddress, address_allowed
from oklp.errors import InvariantBroken
from oklp.exchange import Exchange, Outgoing, as_text, brief, judged, kept_headers

READ_LIMIT_BYTES = 64 * 1024
HEADER_LINE_LIMIT_BYTES = 8_190
# What is parsed of one answer at the most. Reading stops at READ_LIMIT_BYTES of a body, but heads, interim answers and
# the framing of chunks have no end either, where a receiver wants it so, and parsing them costs everyone's time.
WIRE_LIMIT_BYTES = 128 * 1024
ADDRESSES_TRIED = 8
LOOKUPS_AT_ONCE = 512

Lookup = Callable[[str], Awaitable[Sequence[str]]]
"""From a host name to its numeric addresses, best first; raises OSError."""

_log = logging.getLogger(__name__)


# --- connections -----------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Call:
    """What is known of one `send` so far; the time-out may end it at any point."""

    connected: bool = False
    reused: bool = False
    fresh_only: bool = False
    tap: _Tap | None = None
    status: int | None = None
    headers: dict[str, str] | None = None
    body: bytearray = field(default_factory=bytearray)

    @property
    def answered(self) -> bool:
        """At least one byte of an answer came on the last connection."""
        return self.tap is not None and self.tap.received_bytes > 0

    @property
    def overflowed(self) -> bool:
        return self.tap is not None and self.tap.received_bytes > WIRE_LIMIT_BYTES


_current: ContextVar[_Call] = ContextVar("oklp_webhook_call")


class _Tap(asyncio.Protocol):
    """Sits between a transport and aiohttp's protocol, and counts the bytes of the answer under way.

    The client library does not tell "closed in silence" from "closed within the head", which decide on sending again.
    What comes when nothing was asked is no answer: left in place, it would be taken for the next one.
    """

    def __init__(self, inner: asyncio.Protocol, transport: asyncio.Transport) -> None:
        self._inner = inner
        self._transport = transport
        self._busy = False
        self.received_bytes = 0

    def begin(self) -> None:
        self._busy = True
        self.received_bytes = 0

    def end(self) -> None:
        self._busy = False

    def data_received(self, data: bytes) -> None:
        room = WIRE_LIMIT_BYTES - self.received_bytes
        if not self._busy or room < 0:
            self._transport.abort()
            return
        self.received_bytes += len(data)
        self._inner.data_received(data[:room])
        if len(data) > room:
            self._transport.abort()

    def eof_received(self) -> bool | None:
        return self._inner.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._inner.connection_lost(exc)

    def pause_writing(self) -> None:
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._inner.resume_writing()


class _Connector(aiohttp.TCPConnector):
    """Makes sockets to allowed addresses alone, and notes for the current call which connection it got."""

    def __init__(
        self, *, lookup: Lookup, allow_loopback: bool, limit: int, limit_per_host: int, tls: ssl.SSLContext | bool
    ) -> None:
        self._allow_loopback = allow_loopback
        super().__init__(
            resolver=_AllowedAddresses(lookup, allow_loopback),
            socket_factory=self._make_socket,
            limit=limit,
            limit_per_host=limit_per_host,
            ssl=tls,
        )

    def _make_socket(self, address: AddrInfoType) -> socket.socket:
        """The last place before the network: what is passed here is what is connected to."""
        family, kind, protocol, _, (host, *_rest) = address
        if not address_allowed(str(host), allow_loopback=self._allow_loopback):
            raise ForbiddenAddress(str(host))
        return socket.socket(family, kind, protocol)

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - its name
    ) -> Connection:
        call = _current.get()
        while True:
            connection = await super().connect(req, traces, timeout)
            transport = connection.transport
            tap = transport.get_protocol() if transport is not None else None
            # Once one kept connection has turned out to be dead, its idle neighbours are no better.
            if not (call.fresh_only and isinstance(tap, _Tap)):
                break
            connection.close()
        call.connected = True
        call.reused = isinstance(tap, _Tap)
        call.tap = tap if isinstance(tap, _Tap) else None
        if call.tap is None and transport is not None:
            if not isinstance(tap, asyncio.Protocol):
                raise InvariantBroken("the transport of a webhook has no protocol")
            call.tap = _Tap(tap, transport)
            transport.set_protocol(call.tap)
        if call.tap is not None:
            call.tap.begin()
            connection.add_callback(call.tap.end)
        return connection


class _AllowedAddresses(AbstractResolver):
    """Names to those of their addresses that may be connected to. The connector caches and joins look-ups."""

    def __init__(self, lookup: Lookup, allow_loopback: bool) -> None:
        self._lookup = lookup
        self._allow_loopback = allow_loopback

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        addresses = list(dict.fromkeys(await self._lookup(host)))
        if not addresses:
            raise OSError(errno.EADDRNOTAVAIL, "it has no address")
        allowed = [one for one in addresses if address_allowed(one, allow_loopback=self._allow_loopback)]
        if not allowed:
            raise ForbiddenAddress(addresses[0])
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST,
            )
            for address in allowed[:ADDRESSES_TRIED]
        ]

    async def close(self) -> None:
        """Nothing is held: a look-up under way ends by itself."""


class _SystemLookup:
    """`getaddrinfo`, each in a thread of its own.

    The event loop's few shared threads would let a handful of names with dead name servers hold up all the others. The
    threads are daemons, for a look-up cannot be called off and must not hold up the end of the process.
    """

    def __init__(self) -> None:
        self._running = 0

    async def __call__(self, host: str) -> list[str]:
        if self._running >= LOOKUPS_AT_ONCE:
            raise OSError(errno.EAGAIN, "too many look-ups are under way")
        loop = asyncio.get_running_loop()
        found: asyncio.Future[list[str]] = loop.create_future()

        def settle(addresses: list[str], fault: OSError | None) -> None:
            self._running -= 1
            if found.done():  # the caller has gone
                return
            if fault is None:
                found.set_result(addresses)
            else:
                found.set_exception(fault)

        def work() -> None:
            addresses: list[str] = []
            fault: OSError | None = None
            try:
                addresses = [str(info[4][0]) for info in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)]
            except OSError as exc:
                fault = exc
            except UnicodeError:
                fault = OSError(errno.EINVAL, "it is not a valid name")
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(settle, addresses, fault)

        threading.Thread(target=work, name="webhook-lookup", daemon=True).start()
        self._running += 1
        return await found


# --- sending ---------------------------------------------------------------------------------------------------------


class _Unanswered(Exception):
    """The connection ended before the whole head of an answer. Not a kind that aiohttp sends again of its own accord:
    it would do so on new connections and after half an answer too."""


async def _once(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientConnectionError, OSError) as exc:
        raise _Unanswered from exc


class WebhookSender:
    """Sends webhooks over kept-alive connections. It belongs to the event loop in which it first sends.

    timeout_seconds        for a whole exchange: waiting for a connection, look-up, TLS, request, answer with its body
    allow_loopback         the sandbox's: loopback addresses beside public ones
    concurrency            exchanges in flight; more wait their turn, within their time-out
    concurrency_per_host   of them to one host and port
    lookup                 the system's name look-up by default
    tls                    a context with other roots of trust than the system's
    monotonic              clock of `duration_ms`, in seconds
    """

    def __init__(
        self,
        *,
        timeout_seconds: float,
        allow_loopback: bool,
        concurrency: int,
        concurrency_per_host: int,
        lookup: Lookup | None = None,
        tls: ssl.SSLContext | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._timeout_seconds = timeout_seconds
        self._allow_loopback = allow_loopback
        self._concurrency = concurrency
        self._concurrency_per_host = concurrency_per_host
        self._lookup = lookup or _SystemLookup()
        self._tls = tls
        self._monotonic = monotonic
        self._session: aiohttp.ClientSession | None = None
        self._closed = False

    async def send(self, outgoing: Outgoing) -> Exchange:
        """One exchange, or on a kept connection that had died, a second try on a new one. Raises only CancelledError.

        A first try that died in silence still counts as `sent`: the receiver may have read it.
        """
        started = self._monotonic()
        call = _Call()
        token = _current.set(call)
        try:
            async with asyncio.timeout(self._timeout_seconds) as limit:
                await self._deliver(outgoing, call)
            error = _judgement(call)
        except Exception as exc:
            if limit.expired():
                error = self._timed_out(call)
            elif call.status is not None and call.overflowed:
                error = _judgement(call)
            else:
                error = _explanation(exc, call)
        finally:
            _current.reset(token)
        return Exchange(
            status=call.status,
            headers=call.headers,
            body=as_text(call.body) if call.status is not None else None,
            error=error,
            duration_ms=round((self._monotonic() - started) * 1_000),
            complete=call.status is not None,
            sent=call.connected,
        )

    async def close(self) -> None:
        """Drop all connections; exchanges in flight end with an error. Closing twice does nothing."""
        self._closed = True
        if self._session is not None:
            await self._session.close()

    async def _deliver(self, outgoing: Outgoing, call: _Call) -> None:
        if self._closed:
            raise _NotSendable("the sender is closed")
        url = _sendable(outgoing.url)
        try:
            await self._exchange(outgoing, url, call)
        except _Unanswered:
            if not call.reused or call.answered:
                raise
            call.fresh_only = True
            await self._exchange(outgoing, url, call)

    async def _exchange(self, outgoing: Outgoing, url: URL, call: _Call) -> None:
        response = await self._open_session().request(
            outgoing.method,
            url,
            headers=outgoing.headers,
            data=outgoing.body,
            allow_redirects=False,
        )
        try:
            call.status = response.status
            call.headers = kept_headers(response.headers.items())
            # Reading until the end, or the limit, is what lets a connection be used again.
            while len(call.body) < READ_LIMIT_BYTES and not response.content.at_eof():
                call.body += await response.content.readany()
        finally:
            response.close()  # drops the connection unless the answer has been read to its end

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=_Connector(
                    lookup=self._lookup,
                    allow_loopback=self._allow_loopback,
                    limit=self._concurrency,
                    limit_per_host=self._concurrency_per_host,
                    tls=self._tls or True,
                ),
                # Compressed answers are neither asked for nor unpacked: 64 KB can hold gigabytes.
                headers={"Accept-Encoding": "identity", "User-Agent": "oklp-webhooks"},
                skip_auto_headers=("Content-Type",),
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
                timeout=aiohttp.ClientTimeout(total=None),
                max_line_size=HEADER_LINE_LIMIT_BYTES,
                max_field_size=HEADER_LINE_LIMIT_BYTES,
                middlewares=(_once,),
            )
        return self._session

    def _timed_out(self, call: _Call) -> str:
        if not call.connected:
            phase = "not connected"
        elif call.status is None:
            phase = "no answer"
        else:
            phase = "the answer did not end"
        return f"timed out after {self._timeout_seconds:g} s ({phase})"


# --- telling people --------------------------------------------------------------------------------------------------


class _NotSendable(Exception):
    """The request was not tried; the message says why."""


@lru_cache(maxsize=1_024)
def _sendable(url: str) -> URL:
    """As it stands: encoding it anew would change paths and queries that mean something to the receiver."""
    try:
        parsed = URL(url, encoded=True)
        valid = URL_CHARACTERS.fullmatch(url) and parsed.host and parsed.port and parsed.user is None
    except ValueError:
        valid = None
    if not valid:
        raise _NotSendable("the URL is not valid")
    return parsed


def _judgement(call: _Call) -> str | None:
    if call.status is None:
        raise InvariantBroken("a webhook ended with neither an answer nor a fault")
    return judged(call.status)


def _explanation(exc: Exception, call: _Call) -> str:
    """A sentence for whatever ended the call."""
    match exc:
        case _NotSendable():
            return str(exc)
        case aiohttp.ClientConnectorCertificateError():
            reason = getattr(exc.certificate_error, "verify_message", "") or str(exc.certificate_error)
            return f"the TLS certificate is not valid: {brief(reason)}"
        case aiohttp.ClientConnectorSSLError():
            return f"the TLS handshake failed: {brief(getattr(exc.os_error, 'reason', None) or str(exc.os_error))}"
        case aiohttp.ClientConnectorError():
            return _not_connected(exc)
        case _Unanswered() if not call.overflowed:
            reset = isinstance(exc.__cause__, OSError) and exc.__cause__.errno == errno.ECONNRESET
            when = "within the head of an answer" if call.answered else "before an answer came"
            return f"the connection was {'reset' if reset else 'closed'} {when}"
        case aiohttp.InvalidURL() | aiohttp.NonHttpUrlClientError():
            return "the URL is not valid"
        case aiohttp.ClientResponseError() | _Unanswered():
            return "the head of the answer is not valid HTTP, or too large"
        case aiohttp.ClientError() | OSError() if call.status is not None:
            return "the connection was lost within the answer"
        case _:
            _log.error("a webhook could not be sent", exc_info=exc)
            return f"could not be sent: {type(exc).__name__}"


def _not_connected(exc: aiohttp.ClientConnectorError) -> str:
    cause = exc.os_error
    if isinstance(cause, ForbiddenAddress):
        return str(cause.strerror)
    reason = brief(cause.strerror or str(cause))
    if isinstance(exc, aiohttp.ClientConnectorDNSError):
        return f"the name {exc.host} could not be looked up: {reason}"
    if cause.errno == errno.ECONNREFUSED:
        return "connection refused"
    return f"could not connect: {reason}"
