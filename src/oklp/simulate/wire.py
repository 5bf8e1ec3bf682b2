"""Requests of the population: repeated when they can be, measured, and waited with while a server is down."""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp

from oklp.simulate.model import OK, STARTING

PATIENCE_SECONDS: Final = 120.0
REQUEST_SECONDS: Final = 30.0
PAUSE_SECONDS: Final = 0.05
LONGEST_PAUSE_SECONDS: Final = 1.0
# Shorter than servers keep idle connections, so that no request meets one that is being closed.
KEEP_SECONDS: Final = 2.0
CUT_SECONDS: Final = 0.004

PLAYER: Final = "/api/player/v1"
STUDIO: Final = "/api/studio/v1"
OPERATOR: Final = "/api/operator/v1"
GAME: Final = "/api/game/v1"

_GROWTH: Final = math.log(1.05)
_LEAST_MS: Final = 0.05


class Lost(Exception):
    """No answer came, and the request cannot be repeated; or none came for as long as anybody waits."""


@dataclass(slots=True)
class Latencies:
    """Times in buckets that grow by 5 %, so that a million of them take no more room than a few."""

    buckets: Counter[int] = field(default_factory=Counter)
    count: int = 0
    longest_ms: float = 0.0

    def add(self, seconds: float) -> None:
        ms = seconds * 1_000
        self.buckets[math.ceil(math.log(max(ms, _LEAST_MS) / _LEAST_MS) / _GROWTH)] += 1
        self.count += 1
        self.longest_ms = max(self.longest_ms, ms)

    def at(self, share: float) -> float:
        """Milliseconds that `share` (0 to 1) of them did not exceed, 5 % too many at the most."""
        left = share * self.count
        for bucket in sorted(self.buckets):
            left -= self.buckets[bucket]
            if left <= 0:
                return min(_LEAST_MS * math.exp(bucket * _GROWTH), self.longest_ms)
        return self.longest_ms


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer. `replayed`: the server said that this key's answer had been given before."""

    status: int
    body: Any
    replayed: bool = False

    @property
    def code(self) -> str:
        """`ok`, or the code of a refusal."""
        if self.status < 300:
            return OK
        kind = self.body.get("type", "") if isinstance(self.body, dict) else ""
        return str(kind).rpartition(":")[2] or f"status {self.status}"

    @property
    def later(self) -> bool:
        """Nothing was done, and the request is to be sent again. What is under `/auth` has no code of ours."""
        return self.status == 429 or (self.status == 503 and self.code != STARTING)

    def __str__(self) -> str:
        said = self.body.get("detail", "") if isinstance(self.body, dict) else self.body
        return f"{self.status} {self.code} {said}".strip()


@dataclass(slots=True)
class Gate:
    """Whether the server is there. `epoch` is even while it is, and grows with each change."""

    up: asyncio.Event = field(default_factory=asyncio.Event)
    epoch: int = 0
    changed: Callable[[], None] = lambda: None

    def shut(self) -> None:
        self._change()
        self.up.clear()

    def open(self) -> None:
        if self.epoch % 2:
            self._change()
        self.up.set()

    def _change(self) -> None:
        self.epoch += 1
        self.changed()


class Wire:
    """Kept connections to one server. `calls` are latencies by kind of request, `trouble` counts what went wrong."""

    def __init__(self, base_url: str, gate: Gate) -> None:
        self.base_url = base_url
        self.gate = gate
        self.calls: defaultdict[str, Latencies] = defaultdict(Latencies)
        self.trouble: Counter[str] = Counter()
        self.refusals: Counter[str] = Counter()
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_SECONDS),
            timeout=aiohttp.ClientTimeout(total=REQUEST_SECONDS, sock_connect=5),
        )

    async def close(self) -> None:
        await self._session.close()

    async def ask(
        self,
        kind: str,
        method: str,
        path: str,
        body: object = None,
        *,
        token: str = "",
        key: str = "",
        form: dict[str, str] | None = None,
        repeatable: bool = False,
    ) -> Reply:
        """The first whole answer that does not say "later". Raises Lost.

        A request that got none is sent again when it has a key, when it is `repeatable`, or when it was never sent.
        """
        until = time.monotonic() + PATIENCE_SECONDS
        pause = PAUSE_SECONDS
        safe = bool(key) or repeatable or method == "GET"
        while True:
            await self.gate.up.wait()
            started = time.perf_counter()
            try:
                reply = await self._once(method, path, body, token, key, form)
            except aiohttp.ClientConnectorError as error:
                self.trouble["connection refused"] += 1
                why = str(error)
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                self.trouble["answer lost" if not isinstance(error, TimeoutError) else "no answer in time"] += 1
                why = f"{type(error).__name__} {error}"
                if not safe:
                    raise Lost(f"{method} {path}: {why}, and without a key it cannot be repeated") from error
            else:
                if not reply.later:
                    self.calls[kind].add(time.perf_counter() - started)
                    if reply.status >= 400:
                        self.refusals[reply.code] += 1
                    return reply
                self.trouble[reply.code] += 1
                why = str(reply)
            if time.monotonic() > until:
                raise Lost(f"{method} {path}: {why}, for {PATIENCE_SECONDS:.0f} s")
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, LONGEST_PAUSE_SECONDS)

    async def cut(self, method: str, path: str, body: object, *, token: str, key: str) -> None:
        """Send a request and cut the connection: it may or may not have come, and been done."""
        self.trouble["cut on purpose"] += 1
        try:
            await asyncio.wait_for(self._once(method, path, body, token, key, None), CUT_SECONDS)
        except (aiohttp.ClientError, TimeoutError, OSError):
            return

    async def _once(
        self, method: str, path: str, body: object, token: str, key: str, form: dict[str, str] | None
    ) -> Reply:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        if key:
            headers["Idempotency-Key"] = key
        data: bytes | dict[str, str] | None = form
        if body is not None:
            headers["Content-Type"] = "application/json"
            data = json.dumps(body).encode()
        async with self._session.request(method, self.base_url + path, data=data, headers=headers) as answer:
            content = await answer.read()
            try:
                found = json.loads(content) if content else None
            except ValueError:
                found = content[:300].decode(errors="replace")
            return Reply(answer.status, found, "idempotent-replayed" in answer.headers)

    async def must(self, kind: str, method: str, path: str, body: object = None, **options: Any) -> Any:
        """The body of an answer that cannot be a refusal. Raises Lost."""
        reply = await self.ask(kind, method, path, body, **options)
        if reply.status >= 300:
            raise Lost(f"{method} {path} was refused: {reply}")
        return reply.body

    def stream(self, path: str, token: str, last_event_id: str) -> Any:
        """An endless answer, as a context manager."""
        headers = {"Authorization": f"Bearer {token}", **({"Last-Event-ID": last_event_id} if last_event_id else {})}
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=90)
        return self._session.get(self.base_url + path, headers=headers, timeout=timeout)
