"""Receivers of webhooks that misbehave, over real sockets and in a process of their own.

    with Receivers() as receivers:
        url = receivers.url("hang")             # http://127.0.0.1:<port>/hang/<unique>
        ...
        [request] = receivers.wait(url)         # blocks until it has come
        assert request.headers["webhook-id"] == ...

What a receiver does is in the first part of the path, a behaviour with an optional argument (`status:204`); see
BEHAVIOURS. `sequence:ok,close,status:500` does one for each request to that URL in turn, and the last from then on. All
ports behave alike but `reset` (resets at once, nothing is read) and `mute` (accepts and does nothing).
"""

from __future__ import annotations

import asyncio
import datetime
import gzip
import http.client
import itertools
import json
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass, field
from ipaddress import ip_address
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, urlencode, urlsplit

PATIENCE_SECONDS = 20.0
BIG_BYTES = 100 * 1024 * 1024


@dataclass
class Request:
    """One request as it reached a receiver."""

    method: str
    path: str
    headers: dict[str, str]
    body: str
    connection: int  # counted from 1 over all ports
    local: str  # the address it came in on
    left: bool = False  # the client has gone, while it was not answered in full
    sent_bytes: int = 0  # of a long answer, so far


# --- the tests' side -------------------------------------------------------------------------------------------------


class Receivers:
    """Starts the process, knows its ports and asks it what came. Ends with the `with` block, or with its parent."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._process: subprocess.Popen[str] | None = None
        self.ports: dict[str, int] = {}
        self.certificate = ""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        ready = json.loads(self._process.stdout.readline())
        self.ports, self.certificate = ready["ports"], ready["certificate"]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        self._process.communicate()  # closes its input, which ends it

    def url(self, behaviour: str, *, port: str = "http", host: str = "127.0.0.1") -> str:
        """A URL of its own for each call; ports are `http`, `other` (plain as well), `https`, `reset` and `mute`."""
        scheme = "https" if port == "https" else "http"
        return f"{scheme}://{host}:{self.ports[port]}/{behaviour}/{next(self._numbers)}"

    def requests(self, url: str) -> list[Request]:
        """What came to this URL so far, oldest first."""
        return [Request(**row) for row in self._ask("requests", path=urlsplit(url).path)]

    def wait(self, url: str, count: int = 1, *, left: bool = False) -> list[Request]:
        """The same, once `count` have come (with `left`: and been given up by the client)."""
        return [
            Request(**row) for row in self._ask("wait", path=urlsplit(url).path, count=str(count), left=str(int(left)))
        ]

    def wait_for_end(self, connection: int) -> None:
        """Block until this connection has ended; at most 10 s, for after 15 s clients let idle ones go anyway."""
        self._ask("end", connection=str(connection), patience="10")

    def connections(self, port: str) -> int:
        """How many were accepted on this port."""
        count: int = self._ask("connections", port=port)
        return count

    def trust(self) -> ssl.SSLContext:
        """A client's context that trusts the `https` receiver, which is certified for localhost and 127.0.0.1."""
        return ssl.create_default_context(cadata=self.certificate)

    def _ask(self, what: str, **query: str) -> Any:
        control = http.client.HTTPConnection("127.0.0.1", self.ports["control"], timeout=PATIENCE_SECONDS)
        try:
            control.request("GET", f"/{what}?{urlencode(query)}")
            answer = control.getresponse()
            if answer.status != 200:
                raise AssertionError(f"the receivers gave up waiting: {what} {query}")
            return json.load(answer)
        finally:
            control.close()


# --- the process -----------------------------------------------------------------------------------------------------


@dataclass
class _Log:
    """What happened, and a condition that wakes whoever waits for more."""

    requests: list[Request] = field(default_factory=list)
    ended: set[int] = field(default_factory=set)
    accepted: dict[str, int] = field(default_factory=dict)
    numbers: Callable[[], int] = field(default_factory=lambda: itertools.count(1).__next__)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    def of(self, path: str) -> list[Request]:
        return [request for request in self.requests if request.path.partition("?")[0] == path]

    async def tell(self) -> None:
        async with self.changed:
            self.changed.notify_all()


@dataclass
class _Peer:
    """One connection of a client."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    number: int
    log: _Log

    async def write(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()
        # Without this a fast writer would never let the loop learn that the client has gone.
        await asyncio.sleep(0)
        if self.writer.is_closing():
            raise ConnectionResetError

    async def gone(self) -> None:
        """Until the client closes or resets the connection."""
        with suppress(OSError):
            while await self.reader.read(65_536):
                pass

    def reset(self) -> None:
        """End with RST in place of FIN."""
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


# Each answers one request; True keeps the connection for the next.
_Behaviour = Callable[[_Peer, Request, str], Awaitable[bool]]
BEHAVIOURS: dict[str, _Behaviour] = {}


def _behaviour(function: _Behaviour) -> _Behaviour:
    BEHAVIOURS[function.__name__.removeprefix("_").replace("_", "-")] = function
    return function


def _answer(status: int = 200, body: bytes = b"{}", headers: str = "Content-Type: application/json\r\n") -> bytes:
    return f"HTTP/1.1 {status} X\r\n{headers}Content-Length: {len(body)}\r\n\r\n".encode("latin-1") + body


@_behaviour
async def _ok(peer: _Peer, request: Request, argument: str) -> bool:
    """200 with an empty object."""
    await peer.write(_answer())
    return True


@_behaviour
async def _status(peer: _Peer, request: Request, argument: str) -> bool:
    """`status:<code>`, with a body where the code may have one."""
    status = int(argument)
    await peer.write(b"HTTP/1.1 204 X\r\n\r\n" if status == 204 else _answer(status, b'{"status": "as asked"}'))
    return True


@_behaviour
async def _redirect(peer: _Peer, request: Request, argument: str) -> bool:
    """`redirect:<code>`: a redirection to /ok/redirected on the same port."""
    await peer.write(_answer(int(argument), b"", "Location: /ok/redirected\r\n"))
    return True


@_behaviour
async def _cookie(peer: _Peer, request: Request, argument: str) -> bool:
    """200 that sets cookies."""
    await peer.write(_answer(headers="Set-Cookie: a=1; Path=/\r\nSet-Cookie: b=2; Path=/\r\n"))
    return True


@_behaviour
async def _hang(peer: _Peer, request: Request, argument: str) -> bool:
    """Never a byte."""
    return False


@_behaviour
async def _hang_in_head(peer: _Peer, request: Request, argument: str) -> bool:
    """A head that stops in the middle."""
    await peer.write(b"HTTP/1.1 200 OK\r\nContent-")
    return False


@_behaviour
async def _hang_in_body(peer: _Peer, request: Request, argument: str) -> bool:
    """A 200 of 10 bytes, of which 2 come. `hang-in-body:<status>` for another."""
    await peer.write(f"HTTP/1.1 {argument or 200} OK\r\nContent-Length: 10\r\n\r\n12".encode())
    return False


@_behaviour
async def _trickle(peer: _Peer, request: Request, argument: str) -> bool:
    """A 200 whose body goes on for ever, a byte at a time."""
    await peer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        await peer.write(b"1\r\nx\r\n")
        await asyncio.sleep(0.01)


@_behaviour
async def _close(peer: _Peer, request: Request, argument: str) -> bool:
    """Closed without a byte."""
    peer.writer.close()
    return False


@_behaviour
async def _reset(peer: _Peer, request: Request, argument: str) -> bool:
    """Reset without a byte."""
    peer.reset()
    return False


@_behaviour
async def _close_in_head(peer: _Peer, request: Request, argument: str) -> bool:
    """Closed after one byte of a head."""
    await peer.write(b"H")
    peer.writer.close()
    return False


@_behaviour
async def _reset_in_head(peer: _Peer, request: Request, argument: str) -> bool:
    """Reset after half a head, once the client has had time to read it."""
    await peer.write(b"HTTP/1.1 200 OK\r\nContent-Le")
    await asyncio.sleep(0.05)
    peer.reset()
    return False


@_behaviour
async def _close_in_body(peer: _Peer, request: Request, argument: str) -> bool:
    """Closed in the middle of a 200's body."""
    await peer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12")
    peer.writer.close()
    return False


@_behaviour
async def _until_close(peer: _Peer, request: Request, argument: str) -> bool:
    """A 200 without a length, whose body ends with the connection."""
    await peer.write(b"HTTP/1.1 200 OK\r\n\r\nthe end")
    peer.writer.close()
    return False


@_behaviour
async def _big(peer: _Peer, request: Request, argument: str) -> bool:
    """A 200 of 100 MB, as fast as it is taken. `big:<bytes>` for another size."""
    size = int(argument or BIG_BYTES)
    await peer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n".encode())
    block = b"0123456789abcdef" * 4_096
    while request.sent_bytes < size:
        part = block[: size - request.sent_bytes]
        await peer.write(part)
        request.sent_bytes += len(part)
    return True


@_behaviour
async def _stall(peer: _Peer, request: Request, argument: str) -> bool:
    """`stall:<bytes>`: a 200 of 100 MB that stops there."""
    await peer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {BIG_BYTES}\r\n\r\n".encode() + b"." * int(argument))
    return False


@_behaviour
async def _gzip_bomb(peer: _Peer, request: Request, argument: str) -> bool:
    """A few KB on the wire that unpack to 20 MB."""
    bomb = gzip.compress(b"unpacked" * 2_500_000, mtime=0)
    await peer.write(_answer(200, bomb, "Content-Encoding: gzip\r\n"))
    return True


@_behaviour
async def _text(peer: _Peer, request: Request, argument: str) -> bool:
    """A body and a header that a database or a terminal would choke on."""
    body = b"a\x00b\x1bc\x7fd\xc2\x85e\tf\ng\r\nh\xffi\xed\xa0\x80" + "ü€😀".encode()
    await peer.write(b"HTTP/1.1 200 OK\r\nX-Odd: \xff\xfe\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    return True


@_behaviour
async def _wide(peer: _Peer, request: Request, argument: str) -> bool:
    """A body in which the 4,096th byte falls within a character."""
    await peer.write(_answer(200, b"xx" + "€".encode() * 3_000))
    return True


@_behaviour
async def _invalid(peer: _Peer, request: Request, argument: str) -> bool:
    """Bytes that are no HTTP."""
    await peer.write(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")
    return False


@_behaviour
async def _two_lengths(peer: _Peer, request: Request, argument: str) -> bool:
    """A head that contradicts itself."""
    await peer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}")
    return False


@_behaviour
async def _informational(peer: _Peer, request: Request, argument: str) -> bool:
    """100, 102 and 103 before the 200."""
    await peer.write(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n")
    await peer.write(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + _answer())
    return True


@_behaviour
async def _informational_forever(peer: _Peer, request: Request, argument: str) -> bool:
    """100 again and again, as fast as it is taken."""
    while True:
        await peer.write(b"HTTP/1.1 100 Continue\r\n\r\n" * 1_000)


@_behaviour
async def _upgrade(peer: _Peer, request: Request, argument: str) -> bool:
    """101, and then another protocol."""
    await peer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nhello")
    return False


@_behaviour
async def _huge_header(peer: _Peer, request: Request, argument: str) -> bool:
    """One header of 100 KB."""
    await peer.write(_answer(headers=f"X-Huge: {'h' * 100_000}\r\n"))
    return True


@_behaviour
async def _many_headers(peer: _Peer, request: Request, argument: str) -> bool:
    """`many-headers:<count>` of 100 bytes each."""
    await peer.write(_answer(headers="".join(f"X-{n:05}: {'h' * 90}\r\n" for n in range(int(argument)))))
    return True


@_behaviour
async def _endless_head(peer: _Peer, request: Request, argument: str) -> bool:
    """Headers that never stop."""
    await peer.write(b"HTTP/1.1 200 OK\r\n")
    for number in itertools.count():
        await peer.write(b"".join(b"X-%d-%d: y\r\n" % (number, n) for n in range(1_000)))
    return False


@_behaviour
async def _twice(peer: _Peer, request: Request, argument: str) -> bool:
    """Answers 500, and once that has been read, sends a 200 that nobody asked for."""
    await peer.write(_answer(500))
    await asyncio.sleep(0.05)
    await peer.write(_answer(200))
    return True


@_behaviour
async def _together(peer: _Peer, request: Request, argument: str) -> bool:
    """`together:<count>`: 200 to each, once so many are there."""
    async with peer.log.changed:
        await peer.log.changed.wait_for(lambda: len(peer.log.of(request.path)) >= int(argument))
    await peer.write(_answer())
    return True


@_behaviour
async def _sequence(peer: _Peer, request: Request, argument: str) -> bool:
    """`sequence:<behaviour>,<behaviour>…`, one for each request to this URL."""
    steps = argument.split(",")
    step = steps[min(len(peer.log.of(request.path)), len(steps)) - 1]
    name, _, step_argument = step.partition(":")
    return await BEHAVIOURS[name](peer, request, step_argument)


async def _read_request(peer: _Peer) -> Request | None:
    try:
        head = (await peer.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        start, *lines = head.strip().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        body = await peer.reader.readexactly(int(headers.get("content-length", "0")))
    except (asyncio.IncompleteReadError, OSError):
        return None
    method, path, _version = start.split(" ")
    local = str(peer.writer.get_extra_info("sockname")[0])
    return Request(method, path, headers, body.decode(), peer.number, local)


async def _converse(peer: _Peer) -> None:
    """Requests one after another, until one side ends the connection."""
    while (request := await _read_request(peer)) is not None:
        peer.log.requests.append(request)
        await peer.log.tell()
        name, _, argument = request.path.split("/")[1].partition(":")
        kept = False
        with suppress(OSError):
            kept = await BEHAVIOURS[name](peer, request, argument)
        if not kept:
            await peer.gone()
            request.left = True
            await peer.log.tell()
            return


@asynccontextmanager
async def _connection(
    log: _Log, port: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> AsyncIterator[_Peer]:
    log.accepted[port] = log.accepted.get(port, 0) + 1
    peer = _Peer(reader, writer, log.numbers(), log)
    try:
        yield peer
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
        log.ended.add(peer.number)
        await log.tell()


async def _control(log: _Log, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    address = urlsplit(head.split(" ")[1])
    query = dict(parse_qsl(address.query))
    path = query.get("path", "")

    def enough() -> bool:
        if address.path == "/end":
            return int(query["connection"]) in log.ended
        if address.path == "/wait":
            seen = [request for request in log.of(path) if request.left or query["left"] == "0"]
            return len(seen) >= int(query["count"])
        return True

    status = 200
    try:
        async with asyncio.timeout(float(query.get("patience", PATIENCE_SECONDS)) - 1), log.changed:
            await log.changed.wait_for(enough)
    except TimeoutError:
        status = 504
    found: object = [asdict(request) for request in log.of(path)]
    if address.path == "/connections":
        found = log.accepted.get(query["port"], 0)
    writer.write(_answer(status, json.dumps(found).encode()))
    await writer.drain()
    writer.close()


def _certify(folder: Path) -> tuple[ssl.SSLContext, str]:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "receivers")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))]), False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    file = folder / "receivers.pem"
    file.write_bytes(
        pem
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(file)
    return context, pem.decode()


async def _serve() -> None:
    log = _Log()

    def behaving(port: str) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            async with _connection(log, port, reader, writer) as peer:
                if port == "reset":
                    peer.reset()
                elif port == "mute":
                    await peer.gone()
                else:
                    await _converse(peer)

        return accept

    async def control(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _control(log, reader, writer)

    with tempfile.TemporaryDirectory() as folder:
        context, certificate = _certify(Path(folder))
    # `http` answers on a second address too, for names that point now here, now there.
    servers = {
        port: await asyncio.start_server(
            behaving(port),
            ["127.0.0.1"],
            0,
            ssl=context if port == "https" else None,
            backlog=1_024,
        )
        for port in ("http", "other", "https", "reset", "mute")
    }
    servers["control"] = await asyncio.start_server(control, "127.0.0.1", 0)
    ports = {port: server.sockets[0].getsockname()[1] for port, server in servers.items()}
    servers["second"] = await asyncio.start_server(behaving("second"), "127.0.0.2", ports["http"])
    print(json.dumps({"ports": ports, "certificate": certificate}), flush=True)
    loop = asyncio.get_running_loop()
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(_serve())
