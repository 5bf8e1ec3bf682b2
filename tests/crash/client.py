"""How a careful client talks to servers that may die: it repeats what got no answer, with the same key, and counts."""

from __future__ import annotations

import asyncio
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp

PLAYER = "/api/player/v1"
GAME = "/api/game/v1"
STUDIO = "/api/studio/v1"
TOKEN = "/auth/realms/oklp/protocol/openid-connect/token"

REQUEST_SECONDS = 20
PATIENCE_SECONDS = 90
PAUSE_SECONDS = 0.05
# People think, a little. Without it the clients would take the processors from servers that are starting again.
THINKING_SECONDS = 0.03


class GaveUp(Exception):
    """No answer in PATIENCE_SECONDS: the servers are gone for good."""


@dataclass(frozen=True)
class Reply:
    """A whole answer. `replayed`: the server said that this key's answer had been given before."""

    status: int
    body: Any
    replayed: bool = False

    @property
    def code(self) -> str:
        """Of a refusal, the last part of its `type`: `wrong-state`, `insufficient-funds`."""
        return str(self.body.get("type", "")).rpartition(":")[2] if isinstance(self.body, dict) else ""


@dataclass
class Watch:
    """What the clients of a load have seen together. Read by the test's thread."""

    faults: list[str] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    refused: int = 0  # connections: nothing was sent
    lost: int = 0  # sent, and not answered in full
    torn: int = 0  # of them those of which a part of the answer came
    replayed: int = 0  # answers to repeated requests that had been done before they were repeated
    hopeless: bool = False  # the test has failed: nobody need be patient any more
    _answers: int = 0
    _more: threading.Condition = field(default_factory=threading.Condition)

    def fault(self, sentence: str) -> None:
        self.faults.append(sentence)

    def answered(self, status: int) -> None:
        with self._more:
            self.statuses[status] += 1
            if status < 500:
                self._answers += 1
                self._more.notify_all()

    def wait_for_answers(self, count: int, seconds: float = 60) -> None:
        """Until `count` more requests have had an answer other than a 5xx."""
        with self._more:
            goal = self._answers + count
            if not self._more.wait_for(lambda: self._answers >= goal or bool(self.faults), seconds):
                raise AssertionError(f"{goal - self._answers} of {count} answers did not come in {seconds} s")

    def __str__(self) -> str:
        seen = ", ".join(f"{count} x {status}" for status, count in sorted(self.statuses.items()))
        return (
            f"answers: {seen}; lost: {self.lost}, of which done: {self.replayed}; refused connections: {self.refused}"
        )


class Client:
    """Asks any of `nodes`, which the test may change, until one answers."""

    def __init__(self, session: aiohttp.ClientSession, nodes: Sequence[str], watch: Watch, rng: random.Random) -> None:
        self._session = session
        self._nodes = nodes
        self._rng = rng
        self.watch = watch

    async def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        token: str = "",
        key: str = "",
        form: dict[str, str] | None = None,
        params: dict[str, str] | None = None,
        twin: bool = False,
    ) -> Reply:
        """The first whole answer that is not a 503. `twin`: another request with the same key is under way.

        Refused connections, lost answers and 503s are repeated. What is wrong with an answer is noted as a fault.
        """
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        if key:
            headers["Idempotency-Key"] = key
        until = time.monotonic() + PATIENCE_SECONDS
        unsure = False
        if not twin:
            await asyncio.sleep(self._rng.random() * THINKING_SECONDS)
        while time.monotonic() < until and not self.watch.hopeless:
            url = self._rng.choice(self._nodes) + path
            try:
                async with self._session.request(
                    method, url, json=body, data=form, params=params, headers=headers
                ) as answer:
                    reply = self._read(f"{method} {path}", answer, await answer.read())
            except aiohttp.ClientConnectorError:
                self.watch.refused += 1
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                self.watch.lost += 1
                self.watch.torn += isinstance(error, aiohttp.ClientPayloadError)
                unsure = True
            else:
                self.watch.answered(reply.status)
                if reply.status != 503:
                    self.watch.replayed += reply.replayed and not twin
                    if reply.replayed and not unsure and not twin:
                        self.watch.fault(f"{method} {path}: replayed, and this was the first request with its key")
                    return reply
                unsure = True
            await asyncio.sleep(PAUSE_SECONDS)
        raise GaveUp(f"{method} {path} had no answer in {PATIENCE_SECONDS} s")

    def _read(self, what: str, answer: aiohttp.ClientResponse, content: bytes) -> Reply:
        status = answer.status
        kind = answer.content_type
        if kind not in ("application/json", "application/problem+json"):
            self.watch.fault(f"{what}: {status} with a body of type {kind}: {content[:200]!r}")
            return Reply(status, {})
        if status >= 400 and not what.endswith(TOKEN) and kind != "application/problem+json":
            self.watch.fault(f"{what}: {status} is no problem document: {content[:200]!r}")
        if status >= 500 and status != 503:
            self.watch.fault(f"{what}: {status} {content[:300]!r}")
        if status == 503 and not answer.headers.get("Retry-After", "").isdigit():
            self.watch.fault(f"{what}: 503 without Retry-After: {content[:300]!r}")
        return Reply(status, json.loads(content), "idempotent-replayed" in answer.headers)

    async def must(self, status: int, method: str, path: str, body: object = None, **options: Any) -> Any:
        """The body of an answer that can only be `status`."""
        reply = await self.ask(method, path, body, **options)
        if reply.status != status:
            self.watch.fault(f"{method} {path}: {reply.status} in place of {status}: {reply.body}")
            raise GaveUp(f"{method} {path} was refused: {reply.body}")
        return reply.body


def new_session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=REQUEST_SECONDS, sock_connect=5)
    )
