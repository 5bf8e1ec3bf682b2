"""A durable outbox for results: what is put into it is reported, also when the game server dies before it could.

    from oklp.sdk import Client, ResultOutbox

    outbox = ResultOutbox("results.db", Client("developer-config.json"))
    outbox.put(match_id, {"user-1": 300})

`put` returns when the result is on disk. From then on it is reported until the platform has answered: by this process,
or by the next one that opens the file. Put a result as soon as it is known; the platform's answer to a second one that
says something else is no, so an outbox refuses that one itself.

Threads and processes may share a file. A report may then be made more than once, always the same, which the platform
answers in the same way (contract section A7). What the platform refuses is kept aside, with its reason, for somebody to
look at: `outbox.entries("refused")`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from threading import Condition, Event, Thread
from types import TracebackType
from typing import Any, Final, Protocol, TypeVar

from oklp.contract import DeveloperConfig, FinishAnswer, FinishRequest, ParticipantResult, TeamResult
from oklp.sdk.errors import SdkError, StorageError
from oklp.sdk.files import now_ms
from oklp.sdk.outbox_table import (
    OutboxEntry,
    OutboxProblem,
    OutboxState,
    ResultTable,
    is_refusal,
    problem_of,
    wait_ms,
)
from oklp.sdk.requests import Participants, RetryPolicy, finish_request

__all__ = ["AsyncResultOutbox", "OutboxEntry", "OutboxProblem", "OutboxState", "ResultOutbox"]

T = TypeVar("T")

log = logging.getLogger("oklp.sdk.outbox")

# `attempts` and the budget do not count here: an outbox does not give up.
OUTBOX_RETRY: Final = RetryPolicy(first_wait_seconds=1.0, longest_wait_seconds=60.0)
# The waits between attempts are the outbox's own, and on disk.
_ONCE: Final = RetryPolicy(attempts=1)
# How soon a result is seen that another process put into the file, or left there.
_LOOK_EVERY_SECONDS: Final = 1.0
_WATCH_EVERY_SECONDS: Final = 0.1


class Reporter(Protocol):
    """What an outbox needs of a `Client`."""

    config: DeveloperConfig

    def finish(
        self,
        match_id: str,
        participants: Iterable[ParticipantResult],
        teams: Iterable[TeamResult] | None = None,
        *,
        retry: RetryPolicy | None = None,
    ) -> FinishAnswer: ...


class AsyncReporter(Protocol):
    """What an outbox needs of an `AsyncClient`."""

    config: DeveloperConfig

    def finish(
        self,
        match_id: str,
        participants: Iterable[ParticipantResult],
        teams: Iterable[TeamResult] | None = None,
        *,
        retry: RetryPolicy | None = None,
    ) -> Coroutine[Any, Any, FinishAnswer]: ...


class _Core:
    """What both outboxes have in common: the file, and what becomes of an attempt."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        config: DeveloperConfig,
        retry: RetryPolicy,
        senders: int,
        clock: Callable[[], int],
        chance: Callable[[], float],
    ) -> None:
        if senders < 1:
            raise ValueError("senders must be at least 1")
        self._table = ResultTable(path, config.authentication.client_id, clock)
        self._retry = retry
        self._senders = senders
        self._chance = chance

    def _answered(self, entry: OutboxEntry, answer: FinishAnswer) -> None:
        if not answer.accepted:
            log.warning("match %s: another result was accepted before this one", entry.match_id)
        self._table.answered(entry, answer)

    def _failed(self, entry: OutboxEntry, error: Exception) -> None:
        problem = problem_of(error)
        if isinstance(error, SdkError) and is_refusal(error):
            log.error("match %s: the result is refused: %s", entry.match_id, error)
            self._table.refused(entry, problem)
            return
        wait = wait_ms(self._retry, error, entry.attempts, self._chance())
        unforeseen = None if isinstance(error, SdkError) else error
        log.warning(
            "match %s: not reported yet, again in %.1f s: %s", entry.match_id, wait / 1000, error, exc_info=unforeseen
        )
        self._table.failed(entry, problem, wait)

    def _cannot_work(self, error: Exception) -> None:
        # A full disk is no reason for a traceback; what nobody foresaw is.
        known = isinstance(error, StorageError)
        log.error("the outbox cannot be worked on: %s", error, exc_info=None if known else error)

    def _idle_seconds(self) -> float:
        due = self._table.due_in_ms()
        return _LOOK_EVERY_SECONDS if due is None else min(_LOOK_EVERY_SECONDS, due / 1000 + 0.001)

    def _latest(self, entry: OutboxEntry) -> OutboxEntry:
        latest = self._table.get(entry.id)
        if latest is None:
            raise LookupError(f"entry {entry.id} is no longer in the outbox")
        return latest


class ResultOutbox(_Core):
    """The blocking outbox, with threads of its own that report through `client`. Threads may share one.

    It opens the file at `path`, which is made when it is not there, and begins to report what it finds in it. `retry`
    says how the waits between attempts grow; attempts go on until there is an answer. `senders` is how many reports may
    be under way at once. `clock` (milliseconds since the epoch) and `chance` (0 up to 1) can be replaced in tests.
    Raises StorageError.

    After a fork the child's results are reported by the processes that opened an outbox on the file; open one in each
    worker process.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        client: Reporter,
        *,
        retry: RetryPolicy = OUTBOX_RETRY,
        senders: int = 2,
        clock: Callable[[], int] = now_ms,
        chance: Callable[[], float] = random.random,
    ) -> None:
        super().__init__(path, client.config, retry, senders, clock, chance)
        self._client = client
        self._process = os.getpid()
        self._changed = Condition()
        self._changes = 0
        self._closing = Event()
        self._threads = [Thread(target=self._send, name=f"oklp-outbox-{n}", daemon=True) for n in range(senders)]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> ResultOutbox:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self, timeout_seconds: float = 10.0) -> None:
        """Ends reporting; reports under way may take `timeout_seconds` more. What waits, waits on disk."""
        self._closing.set()
        self._notify()
        until = time.monotonic() + timeout_seconds
        if os.getpid() == self._process:
            for thread in self._threads:
                thread.join(max(0.0, until - time.monotonic()))
        self._table.close()

    def put(
        self,
        match_id: str,
        participants: Participants,
        teams: Iterable[TeamResult] | None = None,
        *,
        submission: int = 1,
    ) -> OutboxEntry:
        """A result to report, as `Client.finish` takes it. It is on disk when this returns.

        The same result put again is the entry that there is. In a tournament with more than one submission a player,
        `submission` says which one this is. Raises InvalidCallError for what the platform would refuse at sight,
        DifferentResultError when another result of the same match (or of the same player, in an asynchronous game) is
        in the outbox already, StorageError when the file cannot be written.
        """
        entry = self._table.put(finish_request(match_id, participants, teams), submission)
        self._notify()
        return entry

    def wait(self, entry: OutboxEntry, timeout_seconds: float) -> OutboxEntry:
        """The entry as it is once the platform has answered, or after `timeout_seconds`, whichever comes first."""

        def settled() -> OutboxEntry | None:
            latest = self._latest(entry)
            return latest if latest.settled else None

        return self._until(settled, timeout_seconds) or self._latest(entry)

    def flush(self, timeout_seconds: float) -> bool:
        """Waits until every result has been answered, or for `timeout_seconds`. Whether every one has."""
        return self._until(lambda: self._table.due_in_ms() is None or None, timeout_seconds) is not None

    def entries(self, state: OutboxState | None = None, *, match_id: str | None = None) -> list[OutboxEntry]:
        """What is in the outbox, oldest first. Accepted results stay for 30 days, others until they are discarded."""
        return self._table.entries(state, match_id)

    def retry(self, entry: OutboxEntry) -> OutboxEntry:
        """Report a refused result again, because the reason is gone. Raises LookupError when it is not refused."""
        again = self._table.retry(entry.id)
        if again is None:
            raise LookupError(f"entry {entry.id} is not a refused result of this outbox")
        self._notify()
        return again

    def discard(self, entry: OutboxEntry) -> None:
        """Forget a result that has been answered. Raises LookupError when it has not."""
        if not self._table.discard(entry.id):
            raise LookupError(f"entry {entry.id} is not an answered result of this outbox")

    def _until(self, reached: Callable[[], T | None], timeout_seconds: float) -> T | None:
        """What `reached` gives once it gives something. It is asked again after each report, and now and then for the
        sake of other processes.
        """
        until = time.monotonic() + timeout_seconds
        while (found := reached()) is None:
            left = until - time.monotonic()
            if left <= 0:
                return None
            self._pause(min(left, _WATCH_EVERY_SECONDS))
        return found

    # In a forked child the condition may be locked for ever, by a thread that only its parent has.

    def _pause(self, seconds: float) -> None:
        if os.getpid() != self._process:
            time.sleep(seconds)
            return
        with self._changed:
            self._changed.wait(seconds)

    def _notify(self) -> None:
        if os.getpid() == self._process:
            with self._changed:
                self._changes += 1
                self._changed.notify_all()

    def _send(self) -> None:
        """The life of a sender."""
        while not self._closing.is_set():
            # Read first, so that a result put from here on ends the wait before it begins.
            changes = self._changes
            try:
                idle_seconds = 0.0 if self._send_one() else self._idle_seconds()
            except Exception as error:
                if self._closing.is_set():
                    return
                self._cannot_work(error)
                idle_seconds = _LOOK_EVERY_SECONDS
            with self._changed:
                if self._changes == changes:
                    self._changed.wait(idle_seconds)

    def _send_one(self) -> bool:
        """Whether there was something to send."""
        entry = self._table.claim()
        if entry is None:
            self._table.prune()
            return False
        result = entry.result
        try:
            answer = self._client.finish(result.match_id, result.participants, result.teams, retry=_ONCE)
        except Exception as error:  # whatever it was, the result is not lost by it
            self._failed(entry, error)
        else:
            self._answered(entry, answer)
        self._notify()
        return True


class AsyncResultOutbox(_Core):
    """As `ResultOutbox`, for asyncio and an `AsyncClient`: tasks in place of threads. It belongs to one event loop.

    Reporting begins with `start`, with the first `put`, or with `async with`. No method keeps the event loop waiting
    for the disk.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        client: AsyncReporter,
        *,
        retry: RetryPolicy = OUTBOX_RETRY,
        senders: int = 2,
        clock: Callable[[], int] = now_ms,
        chance: Callable[[], float] = random.random,
    ) -> None:
        super().__init__(path, client.config, retry, senders, clock, chance)
        self._client = client
        self._changed = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> AsyncResultOutbox:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def start(self) -> None:
        """Begin to report what is in the file."""
        if not self._tasks:
            self._tasks = [asyncio.create_task(self._send()) for _ in range(self._senders)]

    async def aclose(self) -> None:
        """Ends reporting at once. What waits, waits on disk."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        self._table.close()

    async def put(
        self,
        match_id: str,
        participants: Participants,
        teams: Iterable[TeamResult] | None = None,
        *,
        submission: int = 1,
    ) -> OutboxEntry:
        """As `ResultOutbox.put`."""
        request: FinishRequest = finish_request(match_id, participants, teams)
        await self.start()
        entry = await asyncio.to_thread(self._table.put, request, submission)
        self._notify()
        return entry

    async def wait(self, entry: OutboxEntry, timeout_seconds: float) -> OutboxEntry:
        """As `ResultOutbox.wait`."""

        async def settled() -> bool:
            return (await asyncio.to_thread(self._latest, entry)).settled

        await self._until(settled, timeout_seconds)
        return await asyncio.to_thread(self._latest, entry)

    async def flush(self, timeout_seconds: float) -> bool:
        """As `ResultOutbox.flush`."""

        async def empty() -> bool:
            return await asyncio.to_thread(self._table.due_in_ms) is None

        return await self._until(empty, timeout_seconds)

    async def entries(self, state: OutboxState | None = None, *, match_id: str | None = None) -> list[OutboxEntry]:
        """As `ResultOutbox.entries`."""
        return await asyncio.to_thread(self._table.entries, state, match_id)

    async def retry(self, entry: OutboxEntry) -> OutboxEntry:
        """As `ResultOutbox.retry`."""
        again = await asyncio.to_thread(self._table.retry, entry.id)
        if again is None:
            raise LookupError(f"entry {entry.id} is not a refused result of this outbox")
        self._notify()
        return again

    async def discard(self, entry: OutboxEntry) -> None:
        """As `ResultOutbox.discard`."""
        if not await asyncio.to_thread(self._table.discard, entry.id):
            raise LookupError(f"entry {entry.id} is not an answered result of this outbox")

    async def _until(self, reached: Callable[[], Awaitable[bool]], timeout_seconds: float) -> bool:
        until = time.monotonic() + timeout_seconds
        while not await reached():
            left = until - time.monotonic()
            if left <= 0:
                return False
            await _wait(self._changed, min(left, _WATCH_EVERY_SECONDS))
        return True

    def _notify(self) -> None:
        # Whoever waits for a change waits on the event that was there then; the next change has one of its own.
        self._changed.set()
        self._changed = asyncio.Event()

    async def _send(self) -> None:
        while True:
            changed = self._changed
            try:
                idle_seconds = 0.0 if await self._send_one() else await asyncio.to_thread(self._idle_seconds)
            except Exception as error:
                self._cannot_work(error)
                idle_seconds = _LOOK_EVERY_SECONDS
            if idle_seconds:
                await _wait(changed, idle_seconds)

    async def _send_one(self) -> bool:
        entry = await self._claim()
        if entry is None:
            await asyncio.to_thread(self._table.prune)
            return False
        result = entry.result
        try:
            answer = await self._client.finish(result.match_id, result.participants, result.teams, retry=_ONCE)
        except asyncio.CancelledError:
            self._let_go(entry)
            raise
        except Exception as error:  # whatever it was, the result is not lost by it
            await _to_its_end(self._failed, entry, error)
        else:
            await _to_its_end(self._answered, entry, answer)
        self._notify()
        return True

    async def _claim(self) -> OutboxEntry | None:
        claiming = asyncio.ensure_future(asyncio.to_thread(self._table.claim))
        try:
            return await asyncio.shield(claiming)
        except asyncio.CancelledError:
            # The thread goes on; a claim that nobody is left to act on would keep the result from others.
            with contextlib.suppress(Exception):
                entry = await claiming
                if entry is not None:
                    self._let_go(entry)
            raise

    def _let_go(self, entry: OutboxEntry) -> None:
        """Before a cancellation goes on, which an error must not take the place of: the sender would go on instead, and
        whoever closes the outbox wait for it. A claim that could not be given back lapses by itself.
        """
        with contextlib.suppress(Exception):
            self._table.release(entry)


async def _wait(changed: asyncio.Event, timeout_seconds: float) -> None:
    # Not `wait_for`, which in Python 3.11 loses a cancellation that comes together with the event.
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(timeout_seconds):
            await changed.wait()


async def _to_its_end(work: Callable[[OutboxEntry, T], None], entry: OutboxEntry, outcome: T) -> None:
    """Runs `work` in a thread. When the caller is cancelled meanwhile it is so only afterwards."""
    running = asyncio.ensure_future(asyncio.to_thread(work, entry, outcome))
    try:
        await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        raise
