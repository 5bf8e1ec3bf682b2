"""Signing access tokens, beside the event loop.

An RSA signature takes as long as everything else about a token request together, and lets go of the interpreter
meanwhile: threads of their own sign on other cores, or on what the loop leaves of its own. As in a lane, whatever has
queued up is signed in one go and the loop is woken once for it, which costs a fraction of a hop for each.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Mapping
from typing import Any, NamedTuple

from oklp.errors import Unavailable
from oklp.signing import SigningKey

# So many signatures (a quarter of a millisecond each) before the first of them is handed over.
BATCH = 4
# One is idle whenever the loop is busy with what it has signed.
THREADS = 2


class _Job(NamedTuple):
    key: SigningKey
    claims: Mapping[str, Any]
    future: asyncio.Future[str]


class Signer:
    """Threads that sign for one event loop. Made and closed on it."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[_Job] = deque()
        self._woken = threading.Condition()
        self._closing = False
        self._threads = [
            threading.Thread(target=self._run, name=f"oklp-signer-{number}", daemon=True) for number in range(THREADS)
        ]
        for thread in self._threads:
            thread.start()

    async def sign(self, key: SigningKey, claims: Mapping[str, Any]) -> str:
        """As `SigningKey.sign`. Raises Unavailable when the server is closing."""
        future: asyncio.Future[str] = self._loop.create_future()
        with self._woken:
            if self._closing:
                raise Unavailable("The server is shutting down.", retry_after_seconds=2)
            self._waiting.append(_Job(key, claims, future))
            self._woken.notify()
        return await future

    async def close(self) -> None:
        """Sign what waits, then end the threads."""
        with self._woken:
            self._closing = True
            self._woken.notify_all()
        for thread in self._threads:
            await self._loop.run_in_executor(None, thread.join)

    # --- in a thread ---

    def _run(self) -> None:
        while jobs := self._take():
            signed: list[tuple[asyncio.Future[str], str | Exception]] = []
            for job in jobs:
                # The thread must outlive whatever happens: nobody else would ever sign the next one.
                try:
                    signed.append((job.future, job.key.sign(job.claims)))
                except Exception as error:
                    signed.append((job.future, error))
            try:
                self._loop.call_soon_threadsafe(_deliver, signed)
            except RuntimeError:  # the loop was closed: nobody waits any more
                return

    def _take(self) -> list[_Job]:
        """Up to a batch; empty when all is signed and the server closes."""
        with self._woken:
            while not self._waiting and not self._closing:
                self._woken.wait()
            return [self._waiting.popleft() for _ in range(min(len(self._waiting), BATCH))]


def _deliver(signed: list[tuple[asyncio.Future[str], str | Exception]]) -> None:
    for future, outcome in signed:
        if future.done():  # whoever asked has gone
            continue
        if isinstance(outcome, Exception):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)
