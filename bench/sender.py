"""Webhook deliveries per second and per CPU-second, by client library, against a receiver on this machine.

    python -m bench.sender [--seconds 3] [--rounds 3] [--in-flight 8 32 256] [--json FILE]

Every client PUTs the same 400-byte body with the same headers over kept connections, on uvloop, and reads the answer.
The receiver, in a process of its own, answers a fixed 200. CPU is that of the sending process alone. Rounds of all
clients are interleaved, and the median is shown. `bare` writes ready bytes and looks for the end of a head: what the
sockets and the loop cost without any HTTP.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

import aiohttp
import httpcore
import httpx
import uvloop

from oklp.exchange import Outgoing
from oklp.sender import WebhookSender

BODY = json.dumps(
    {
        "match_id": "600f369851f450dd3ecb0035",
        "participants": [
            {"id": f"5f0c6a2e-6b1c-4c55-9a59-6f6d3c2b1a0{n}", "team_id": f"5f0c6a2e-6b1c-4c55-9a59-000000000{n:03}"}
            for n in range(3)
        ],
        "teams": [{"id": f"5f0c6a2e-6b1c-4c55-9a59-000000000{n:03}"} for n in range(2)],
    }
).encode()
HEADERS = {
    "Content-Type": "application/json",
    "Authorization": "Bearer " + "e" * 600,
    "webhook-id": "msg_600f369851f450dd3ecb0035",
    "webhook-timestamp": "1700000000",
    "webhook-signature": "v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4=",
}
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"

Deliver = Callable[[], Awaitable[None]]
"""One delivery; raises if it is not answered 200."""
Client = Callable[[str, int], AbstractAsyncContextManager[Deliver]]
"""From a URL and a number of connections to a way to deliver."""


class NotDelivered(Exception):
    """A client was not answered 200: the figures would mean nothing."""


def _expect(status: int) -> None:
    if status != 200:
        raise NotDelivered(status)


# --- clients ---------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def _sender(url: str, connections: int) -> AsyncIterator[Deliver]:
    sender = WebhookSender(
        timeout_seconds=10, allow_loopback=True, concurrency=connections, concurrency_per_host=connections
    )
    outgoing = Outgoing("PUT", url, HEADERS, BODY)

    async def deliver() -> None:
        exchange = await sender.send(outgoing)
        if exchange.error is not None:
            raise NotDelivered(exchange.error)

    yield deliver
    await sender.close()


@asynccontextmanager
async def _aiohttp(url: str, connections: int) -> AsyncIterator[Deliver]:
    connector = aiohttp.TCPConnector(limit=connections, limit_per_host=connections)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def deliver() -> None:
            async with session.put(url, headers=HEADERS, data=BODY) as response:
                await response.read()
                _expect(response.status)

        yield deliver


@asynccontextmanager
async def _httpx(url: str, connections: int) -> AsyncIterator[Deliver]:
    limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
    async with httpx.AsyncClient(limits=limits, timeout=10, trust_env=False) as client:

        async def deliver() -> None:
            response = await client.put(url, headers=HEADERS, content=BODY)
            _expect(response.status_code)

        yield deliver


@asynccontextmanager
async def _httpcore(url: str, connections: int) -> AsyncIterator[Deliver]:
    async with httpcore.AsyncConnectionPool(max_connections=connections, max_keepalive_connections=connections) as pool:
        headers = [*HEADERS.items(), ("Content-Length", str(len(BODY)))]

        async def deliver() -> None:
            response = await pool.request("PUT", url, headers=headers, content=BODY)
            _expect(response.status)

        yield deliver


class _Bare(asyncio.Protocol):
    def __init__(self) -> None:
        self.answered: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but descent

    def data_received(self, data: bytes) -> None:
        if self.answered is not None and b"\r\n\r\n" in data:
            self.answered.set_result(None)


@asynccontextmanager
async def _bare(url: str, connections: int) -> AsyncIterator[Deliver]:
    parsed = httpx.URL(url)
    lines = [f"PUT {parsed.path} HTTP/1.1", f"Host: {parsed.host}:{parsed.port}", f"Content-Length: {len(BODY)}"]
    lines += [f"{name}: {value}" for name, value in HEADERS.items()]
    request = "\r\n".join([*lines, "", ""]).encode() + BODY
    loop = asyncio.get_running_loop()
    idle: list[_Bare] = []

    async def deliver() -> None:
        if idle:
            peer = idle.pop()
        else:
            _, peer = await loop.create_connection(_Bare, parsed.host, parsed.port or 80)
        peer.answered = loop.create_future()
        peer.transport.write(request)
        await peer.answered
        idle.append(peer)

    yield deliver
    for peer in idle:
        peer.transport.close()


CLIENTS: dict[str, Client] = {
    "bare": _bare,
    "aiohttp": _aiohttp,
    "WebhookSender": _sender,
    "httpcore": _httpcore,
    "httpx": _httpx,
}


# --- measuring -------------------------------------------------------------------------------------------------------


@dataclass
class Row:
    client: str
    in_flight: int
    deliveries_per_second: float
    deliveries_per_cpu_second: float
    cpu_seconds_per_1000: float
    p50_ms: float
    p99_ms: float


async def _measure(client: str, url: str, in_flight: int, seconds: float) -> Row:
    times: list[float] = []

    async with CLIENTS[client](url, in_flight) as deliver:

        async def work(until: float, times: list[float]) -> None:
            while (begun := time.perf_counter()) < until:
                await deliver()
                times.append(time.perf_counter() - begun)

        async def all_work(seconds: float, times: list[float]) -> None:
            until = time.perf_counter() + seconds
            async with asyncio.TaskGroup() as group:
                for _ in range(in_flight):
                    group.create_task(work(until, times))

        await all_work(0.3, [])  # connections are made
        cpu, begun = time.process_time(), time.perf_counter()
        await all_work(seconds, times)
        cpu, elapsed = time.process_time() - cpu, time.perf_counter() - begun

    cuts = statistics.quantiles(times, n=100)
    return Row(
        client=client,
        in_flight=in_flight,
        deliveries_per_second=len(times) / elapsed,
        deliveries_per_cpu_second=len(times) / cpu,
        cpu_seconds_per_1000=cpu / len(times) * 1_000,
        p50_ms=cuts[49] * 1_000,
        p99_ms=cuts[98] * 1_000,
    )


def _median(rows: list[Row]) -> Row:
    middle = sorted(rows, key=lambda row: row.deliveries_per_cpu_second)
    return middle[len(middle) // 2]


def measure(url: str, *, seconds: float, rounds: int, in_flight: list[int]) -> list[Row]:
    """The median round of each client at each number in flight."""
    cases = [(client, flight) for flight in in_flight for client in CLIENTS]
    taken: dict[tuple[str, int], list[Row]] = {case: [] for case in cases}
    for _ in range(rounds):
        for client, flight in cases:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                taken[client, flight].append(runner.run(_measure(client, url, flight, seconds)))
    return [_median(rows) for rows in taken.values()]


def _show(rows: list[Row]) -> None:
    print("| client | in flight | deliveries/s | deliveries per CPU-s | CPU-s per 1,000 | p50 / p99 ms |")
    print("|---|---|---|---|---|---|")
    for row in rows:
        cells = (
            row.client,
            str(row.in_flight),
            f"{row.deliveries_per_second:,.0f}",
            f"{row.deliveries_per_cpu_second:,.0f}",
            f"{row.cpu_seconds_per_1000:.3f}",
            f"{row.p50_ms:.1f} / {row.p99_ms:.1f}",
        )
        print("| " + " | ".join(cells) + " |")


# --- the receiver ----------------------------------------------------------------------------------------------------


class _Receiver(asyncio.Protocol):
    """Answers each request of the body's known length, however it is cut into segments."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but descent
        self.pending = b""

    def data_received(self, data: bytes) -> None:
        self.pending += data
        _head, found, rest = self.pending.partition(b"\r\n\r\n")
        if found and len(rest) >= len(BODY):
            self.pending = rest[len(BODY) :]
            self.transport.write(ANSWER)


async def _receive() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(_Receiver, "127.0.0.1", 0, backlog=1_024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


def main() -> None:
    parser = argparse.ArgumentParser(description="Deliveries per CPU-second of the webhook sender and its alternatives")
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--in-flight", type=int, nargs="+", default=[8, 32, 256])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--receive", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.receive:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_receive())
        return
    command = [sys.executable, __file__, "--receive"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as receiver:
        assert receiver.stdout is not None
        url = f"http://127.0.0.1:{int(receiver.stdout.readline())}/oklp/match-info"
        rows = measure(url, seconds=options.seconds, rounds=options.rounds, in_flight=options.in_flight)
        receiver.communicate()
    _show(rows)
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")


if __name__ == "__main__":
    main()
