"""Lanes: a thread, a connection and a queue; batches are the unit of work (design, section 3).

A lane takes whatever has queued up while its last commit was under way, runs it in one transaction, commits once, and
only then answers. Before it goes on, the event loop has its turn: to send those answers, and to take in what comes
next. Else both contend for the interpreter, and a small batch begins while the larger part of it is still being read.

Two kinds of use case share a lane, never a batch:

* set-based: `fn(tx, jobs) -> outcomes`, one outcome for each job, a refusal being an outcome that is an `OklpError`;
* one by one: `fn(tx, *args)`, each in a savepoint, so that one that raises is undone alone.

Each job takes its locks in order (matches, then balances, each by id), and so does a set-based batch. Several jobs one
by one do not: the second may want a match whose id is below that of the first's. On PostgreSQL, where other nodes and
lanes hold locks too, such a batch therefore never waits for one. The job that would have to is undone and set aside,
and runs in a transaction of its own once the batch is committed. Whoever waits has taken what he holds in order, or
holds nothing that he did not, and nobody deadlocks.

When a statement or the commit fails for a reason that no job gave, the batch is undone and its jobs run again alone:
nobody pays for a neighbour's error. Each transaction carries an operation id. When the connection dies during COMMIT,
the rerun inserts the same id first: if it is there already, the commit had happened and its outcomes stand. A batch is
never split, nor its id changed, before that is settled.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, Protocol

import sqlalchemy as sa

from oklp.errors import InvariantBroken, OklpError, Overloaded, Unavailable
from oklp.storage import driver
from oklp.storage.tx import Tx

log = logging.getLogger(__name__)

# A batch is tried this often, with pauses that double: 2.5 s in all, enough for a database that restarts quickly.
RERUNS = 8
RERUN_PAUSE_SECONDS = 0.02
RERUN_LIMIT_SECONDS = 10.0
# How often an event loop goes round before the lane that answered goes on, and how long that may take.
LOOP_PASSES = 4
LOOP_PATIENCE_SECONDS = 0.005
# How often a lane that is closed is told to break off.
BREAK_SECONDS = 0.1
LOCK_NOT_AVAILABLE = "55P03"
# 25006: a standby that is not promoted yet; 57014: the database ended a statement that took too long.
RETRYABLE_SQLSTATES = frozenset({"25006", "40001", "40P01", LOCK_NOT_AVAILABLE, "57014", "57P01", "57P02", "57P03"})
RETRYABLE_SQLSTATE_CLASSES = ("08", "53")  # connection, resources
# The primary codes of SQLite for "not now": BUSY, LOCKED, IOERR, FULL, CANTOPEN, PROTOCOL.
RETRYABLE_SQLITE_CODES = frozenset({5, 6, 10, 13, 14, 15})


class Job:
    """One call that waits for its outcome, on an event loop or in a thread."""

    __slots__ = ("args", "fn", "future", "loop", "outcome", "set_based", "waiter")

    def __init__(self, fn: Callable[..., Any], args: tuple[Any, ...], set_based: bool) -> None:
        self.fn = fn
        self.args = args
        self.set_based = set_based
        self.outcome: Any = None
        self.loop: asyncio.AbstractEventLoop | None = None
        self.future: asyncio.Future[Any] | None = None
        self.waiter: Future[Any] | None = None


class Sessions(Protocol):
    """What a lane needs of a database: see `engine`."""

    def connect(self) -> sa.Connection: ...
    def begin(self, connection: sa.Connection, operation_id: str, set_based: bool) -> int | None: ...
    def commit(self, connection: sa.Connection, topics: set[str], set_based: bool) -> None: ...
    def rollback(self, connection: sa.Connection, set_based: bool) -> None: ...
    def committed(self, topics: set[str], handoffs: list[Any]) -> None: ...


class LaneObserver(Protocol):
    """Called in the lane's thread; must return at once."""

    def batch(self, lane: str, size: int, seconds: float) -> None: ...
    def retried(self, lane: str) -> None: ...


def _retryable(error: BaseException) -> bool:
    """True if running the same work again may succeed: the database's state was to blame, not the work."""
    if not isinstance(error, sa.exc.DBAPIError):
        return False
    if error.connection_invalidated:
        return True
    sqlstate = getattr(error.orig, "sqlstate", None)
    if sqlstate is not None:
        return sqlstate in RETRYABLE_SQLSTATES or sqlstate.startswith(RETRYABLE_SQLSTATE_CLASSES)
    if isinstance(error.orig, sqlite3.Error):
        return getattr(error.orig, "sqlite_errorcode", 0) & 0xFF in RETRYABLE_SQLITE_CODES
    return isinstance(error, sa.exc.OperationalError)  # PostgreSQL cannot be reached, and gave no code


def _would_wait(error: sa.exc.DBAPIError) -> bool:
    """True if the statement found a lock taken, and was not to wait for it."""
    return getattr(error.orig, "sqlstate", None) == LOCK_NOT_AVAILABLE


def _overtaken(error: BaseException) -> bool:
    """True if another node's commit may be to blame: it wrote the row that this work had looked for and not found.

    The rerun finds it. Should it fail again, the work is wrong.
    """
    return isinstance(error, sa.exc.IntegrityError)


def _deliver(loop: asyncio.AbstractEventLoop, jobs: list[Job], answered: threading.Event) -> None:
    """On the loop: give the jobs their outcomes, and say so once those who waited had their turn."""
    _settle(jobs)
    _pass(loop, LOOP_PASSES, answered)


def _pass(loop: asyncio.AbstractEventLoop, left: int, done: threading.Event) -> None:
    if left:
        loop.call_soon(_pass, loop, left - 1, done)
    else:
        done.set()


def _settle(jobs: list[Job]) -> None:
    for job in jobs:
        future = job.future
        if future is None or future.done():
            continue
        if isinstance(job.outcome, BaseException):
            future.set_exception(job.outcome)
        else:
            future.set_result(job.outcome)


class Lane:
    """See the module. `submit` and `close` may be called from any thread; everything else runs in the lane's own.

    A lane `for_hours` is for reads as long as that, which are seldom: its connection, and the memory that it takes, are
    given back after each batch, and `close` does not wait for one but breaks it off. A batch that fails fails for all.
    """

    def __init__(
        self,
        name: str,
        sessions: Sessions,
        new_operation_id: Callable[[], str],
        *,
        queue_limit: int,
        batch_limit: int,
        observer: LaneObserver,
        for_hours: bool = False,
    ) -> None:
        self.name = name
        self._for_hours = for_hours
        self._sessions = sessions
        self._new_operation_id = new_operation_id
        self._queue_limit = queue_limit
        self._batch_limit = batch_limit
        self._observer = observer
        self._waiting: deque[Job] = deque()
        self._condition = threading.Condition()
        self._closing = False
        self._connection: sa.Connection | None = None
        self._break_off: Callable[[], None] | None = None  # what the connection is doing
        self._tx: Tx | None = None  # of the last attempt that claimed its operation id
        self._claimed = False  # whether the current attempt did
        self._aside: list[Job] = []  # of the last attempt: those that would have had to wait for a lock
        self._available = True
        self._thread = threading.Thread(target=self._run, name=f"oklp-lane-{name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def __len__(self) -> int:
        return len(self._waiting)

    def submit(self, job: Job) -> None:
        """Queue a job. Raises Overloaded when the queue is full, Unavailable when the lane is closing."""
        with self._condition:
            if self._closing:
                raise Unavailable("The server is shutting down.", retry_after_seconds=2)
            if len(self._waiting) >= self._queue_limit:
                raise Overloaded("Too much is queued; try again shortly.", retry_after_seconds=1)
            self._waiting.append(job)
            self._condition.notify()

    def close(self) -> None:
        """Refuse new jobs, finish those that wait (or refuse them too, see the class), end the thread."""
        with self._condition:
            self._closing = True
            self._condition.notify()
        while self._for_hours and self._thread.is_alive():
            break_off = self._break_off
            if break_off is not None:
                with contextlib.suppress(Exception):  # it may have come to its end just now
                    break_off()
            self._thread.join(BREAK_SECONDS)
        if self._thread.is_alive():
            self._thread.join()

    # --- in the lane's thread ---

    def _run(self) -> None:
        while (batch := self._take()) is not None:
            started = time.perf_counter()
            # The lane must outlive whatever happens to a batch: nobody else would ever answer the next one.
            try:
                self._run_batch(batch)
            except BaseException as error:
                log.exception("lane %s failed", self.name)
                for job in batch:
                    job.outcome = InvariantBroken(f"lane {self.name} failed: {error!r}")
            try:
                self._observer.batch(self.name, len(batch), time.perf_counter() - started)
            except Exception:
                log.exception("lane %s: its observer failed", self.name)
            if self._for_hours:
                self._drop_connection()
            self._answer(batch)
        self._drop_connection()

    def _take(self) -> list[Job] | None:
        with self._condition:
            while not self._waiting:
                if self._closing:
                    return None
                self._condition.wait()
            waiting = self._waiting
            head = waiting.popleft()
            batch = [head]
            kept: list[Job] = []
            while waiting and len(batch) < self._batch_limit:
                job = waiting.popleft()
                same = job.fn is head.fn if head.set_based else not job.set_based
                (batch if same else kept).append(job)
            waiting.extendleft(reversed(kept))
            return batch

    def _answer(self, batch: list[Job]) -> None:
        by_loop: dict[asyncio.AbstractEventLoop, list[Job]] = {}
        for job in batch:
            if job.waiter is not None:
                if isinstance(job.outcome, BaseException):
                    job.waiter.set_exception(job.outcome)
                else:
                    job.waiter.set_result(job.outcome)
            elif job.loop is not None:
                by_loop.setdefault(job.loop, []).append(job)
        turns = []
        for loop, jobs in by_loop.items():
            answered = threading.Event()
            try:
                loop.call_soon_threadsafe(_deliver, loop, jobs, answered)
                turns.append(answered)
            except RuntimeError:  # the loop was closed: nobody waits any more
                log.warning("lane %s: %d answers had nobody waiting", self.name, len(jobs))
        for answered in turns:
            answered.wait(LOOP_PATIENCE_SECONDS)

    def _run_batch(self, batch: list[Job]) -> None:
        """Run the batch until it is committed or somebody is to blame.

        A lost connection leaves open whether the commit happened, so the same operation runs again whole: its id in
        the database answers. The same goes for what fails before the id is claimed, which is no job's doing. Any other
        failure undid everything, and the jobs run again alone.
        """
        operation_id = self._new_operation_id()
        give_up_at = time.monotonic() + RERUN_LIMIT_SECONDS
        # While the database is away, each batch finds out once: waiting again for each would only fill the queue.
        reruns = RERUNS if self._available else 1
        self._tx = None
        self._aside = []
        overtaken = False
        for rerun in range(1, reruns + 1):
            try:
                self._attempt(batch, operation_id)
                self._available = True
                self._announce()
            except Exception as error:
                last_error = error
            else:
                aside = self._aside
                for job in aside:
                    self._run_batch([job])
                return
            if self._for_hours and self._closing:
                for job in batch:
                    job.outcome = Unavailable("The server is shutting down.", retry_after_seconds=2)
                return
            lost = self._connection is None
            log.info("lane %s: a batch of %d failed: %r", self.name, len(batch), last_error)
            if len(batch) > 1 and self._claimed and not lost and not self._for_hours:
                self._observer.retried(self.name)
                for job in batch:
                    self._run_batch([job])
                return
            if not lost and not _retryable(last_error):
                if overtaken or not _overtaken(last_error):
                    break
                overtaken = True
            if rerun == reruns or time.monotonic() > give_up_at:
                self._available = self._claimed and not lost
                break
            self._observer.retried(self.name)
            time.sleep(RERUN_PAUSE_SECONDS * 2 ** (rerun - 1))
        for job in batch:
            self._blame(job, last_error, lost)

    def _blame(self, job: Job, error: Exception, lost: bool) -> None:
        if isinstance(error, OklpError):
            job.outcome = error
        elif lost or _retryable(error):
            log.error("lane %s: database not available: %r", self.name, error)
            job.outcome = Unavailable("The database is not available.", retry_after_seconds=2)
        else:
            name = getattr(job.fn, "__qualname__", job.fn)
            log.error("lane %s: %s failed", self.name, name, exc_info=error)
            # A future takes no StopIteration.
            job.outcome = RuntimeError(f"{name}: {error!r}") if isinstance(error, StopIteration) else error

    def _announce(self) -> None:
        """Wake whoever waits for the commit. It has happened: whatever goes wrong here, nothing may run again."""
        tx = self._tx
        if tx is not None and (tx.topics or tx.handoffs):
            try:
                self._sessions.committed(tx.topics, tx.handoffs)
            except Exception:
                log.exception("lane %s: announcing a commit failed", self.name)

    def _attempt(self, batch: list[Job], operation_id: str) -> None:
        """One transaction for the batch. On any raise, nothing of it is in the database, or the connection is gone."""
        self._claimed = False
        connection = self._connection
        if connection is None:
            connection = self._connection = self._sessions.connect()
            if self._for_hours:
                self._break_off = driver.breaker(connection)
        set_based = batch[0].set_based
        try:
            number = self._sessions.begin(connection, operation_id, set_based)
            if number is None:
                # An earlier attempt was committed: the outcomes it left stand, and what it has to announce.
                self._sessions.commit(connection, set(), set_based)
                return
            self._claimed = True
            tx = self._tx = Tx(connection, number)
            if set_based:
                self._run_set(tx, batch)
            elif len(batch) == 1:
                batch[0].outcome = batch[0].fn(tx, *batch[0].args)
            else:
                self._run_each(tx, batch)
            tx.flush()
            self._sessions.commit(connection, tx.topics, set_based)
        except BaseException as error:
            self._undo(connection, error, set_based)
            if isinstance(error, OklpError) and len(batch) == 1:
                batch[0].outcome = error
                self._tx = None
                return
            raise

    @staticmethod
    def _run_set(tx: Tx, batch: list[Job]) -> None:
        outcomes: Sequence[Any] = batch[0].fn(tx, [job.args[0] for job in batch])
        if len(outcomes) != len(batch):
            raise InvariantBroken(f"{batch[0].fn!r} gave {len(outcomes)} outcomes for {len(batch)} jobs")
        for job, outcome in zip(batch, outcomes, strict=True):
            job.outcome = outcome

    def _run_each(self, tx: Tx, batch: list[Job]) -> None:
        self._aside = []
        with tx.without_waiting():
            for job in batch:
                try:
                    with tx.savepoint():
                        job.outcome = job.fn(tx, *job.args)
                except InvariantBroken:
                    raise
                except OklpError as refusal:
                    job.outcome = refusal
                except sa.exc.DBAPIError as error:
                    if not _would_wait(error):
                        raise
                    self._aside.append(job)

    def _undo(self, connection: sa.Connection, error: BaseException, set_based: bool) -> None:
        if isinstance(error, sa.exc.DBAPIError) and error.connection_invalidated:
            self._drop_connection()
            return
        try:
            self._sessions.rollback(connection, set_based)
        except Exception:
            self._drop_connection()

    def _drop_connection(self) -> None:
        connection, self._connection = self._connection, None
        self._break_off = None
        if connection is not None:
            try:
                connection.invalidate()
                connection.close()
            except Exception:
                log.debug("closing a broken connection failed", exc_info=True)
