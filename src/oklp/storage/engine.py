"""The database: lanes over SQLite or PostgreSQL, their connections, and waking across nodes.

Order of commits. Sequences are drawn before a commit and may become visible out of order, so whoever reads "all rows
after N" would miss one that was committed late. Each write transaction therefore has a `number`: on PostgreSQL its
transaction id plus an offset (kept in `platform`, so that a dump restored into a young cluster still counts up), on
SQLite, where one writer commits at a time, a plain count. Rows below `horizon()` are all visible, for good.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Concatenate, NamedTuple, ParamSpec, TypeVar, cast

import sqlalchemy as sa

from oklp.errors import Conflict, InvariantBroken, OklpError
from oklp.storage import driver, migrations
from oklp.storage.checkpoints import Checkpointer
from oklp.storage.connecting import PATIENCE, connectable, path_of
from oklp.storage.lanes import Job, Lane, LaneObserver
from oklp.storage.presence import TAKE_PART, VERIFYING_KEY, Turn
from oklp.storage.tx import Tx

if TYPE_CHECKING:
    import psycopg

__all__ = ["Database", "SilentObserver", "Tx", "connectable", "horizon", "inspect_database", "migrate"]

log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")
J = TypeVar("J")

Listener = Callable[[set[str], Sequence[Any]], None]

CHANNEL = "oklp"
PQTRANS_INERROR = 3  # libpq's word for a transaction that has failed
POLL_SECONDS = 0.1
NEWER = "The database is at a newer schema than this version knows; run that version, or restore a backup."
TOPICS = frozenset({"answers", "calls", "deliveries", "events", "faults", "games", "keys", "listeners", "mails"})


class SilentObserver:
    """Observes lanes for nobody."""

    def batch(self, lane: str, size: int, seconds: float) -> None: ...

    def retried(self, lane: str) -> None: ...


def horizon(tx: Tx) -> int:
    """Every row with a smaller `tx_number` is committed and visible; no such row will be added."""
    if tx.postgres:
        return int(
            tx.driver(
                "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint + (SELECT tx_number_offset FROM platform)"
            ).scalar_one()
        )
    # In a write transaction its own number: what it has yet to write is no more visible than what it has written.
    return tx.number or int(tx.driver("SELECT coalesce(max(number), 0) + 1 FROM operations").scalar_one())


class DatabaseState(NamedTuple):
    """What is at an address: no schema yet, an older, the current, or a `newer` one; and whose database it is."""

    initialised: bool
    current: bool
    sandbox: bool | None
    newer: bool = False


def inspect_database(url: str) -> DatabaseState:
    """Look without changing anything (a missing SQLite file stays missing)."""
    if url.startswith("sqlite:") and not path_of(url).exists():
        return DatabaseState(initialised=False, current=False, sandbox=None)
    engine = connectable(url)
    try:
        with engine.connect() as connection:
            if not sa.inspect(connection).has_table("platform"):
                return DatabaseState(initialised=False, current=False, sandbox=None)
            sandbox = connection.exec_driver_sql("SELECT sandbox FROM platform").scalar()
            current, newer = migrations.schema_is_current(connection), migrations.schema_is_newer(connection)
            return DatabaseState(True, current, None if sandbox is None else bool(sandbox), newer)
    finally:
        engine.dispose()


def migrate(url: str, *, sandbox: bool, now: int | None = None) -> None:
    """Bring a database to the current schema and mark whose it is (contract section B6).

    Raises Conflict when it is marked as the other mode's: play money and money never share a database; and when its
    schema is newer than this code.
    """
    state = inspect_database(url)
    if state.newer:
        raise Conflict(NEWER)
    if state.sandbox is not None:
        _check_mode(state.sandbox, sandbox)
    if state.current and state.sandbox is not None:
        return
    engine = connectable(url)
    try:
        with engine.connect() as connection:
            migrations.migrate(connection)
            connection.execute(
                sa.text(
                    "INSERT INTO platform (id, sandbox, tx_number_offset, created_at)"
                    " VALUES (1, :sandbox, 0, :now) ON CONFLICT (id) DO NOTHING"
                ),
                {"sandbox": sandbox, "now": int(time.time() * 1000) if now is None else now},
            )
            marked = connection.exec_driver_sql("SELECT sandbox FROM platform").scalar_one()
            _check_mode(bool(marked), sandbox)  # somebody may have been faster
    finally:
        engine.dispose()


def _check_mode(marked: bool, sandbox: bool) -> None:
    if marked != sandbox:
        whose = "a sandbox" if marked else "a production"
        raise Conflict(f"This is {whose} database, which the other mode refuses.")


class _WriteSessions:
    """How a lane that writes begins and ends a transaction."""

    def __init__(self, engine: sa.Engine, clock: Callable[[], int], wake: Listener, node: str):
        self._engine = engine
        self._clock = clock
        self._wake = wake
        self._node = node
        if engine.dialect.name == "postgresql":
            self._claim = (
                "INSERT INTO operations (number, id, at) SELECT pg_current_xact_id()::text::bigint + tx_number_offset,"
                " %s, %s FROM platform ON CONFLICT (id) DO NOTHING RETURNING number"
            )
        else:
            self._claim = (
                "INSERT INTO operations (number, id, at) SELECT coalesce(max(number), 0) + 1, ?, ? FROM operations"
                " WHERE true ON CONFLICT (id) DO NOTHING RETURNING number"
            )
        # SQLite: the newest number claimed here. Others' commits show as numbers that this process did not give.
        self.newest = 0
        self._newest_before = 0
        self.after_commit: Callable[[], None] | None = None

    def connect(self) -> sa.Connection:
        connection = self._engine.connect()
        try:
            if connection.dialect.name == "postgresql":
                _keep_numbers_rising(connection)
        except BaseException:
            connection.invalidate()
            connection.close()
            raise
        return connection

    def begin(self, connection: sa.Connection, operation_id: str, set_based: bool) -> int | None:
        self._newest_before = self.newest
        given = (operation_id, self._clock())
        if connection.dialect.name == "postgresql":
            claimed = driver.run_script(connection, f"BEGIN; {self._claim}", given)
        else:
            driver.execute(connection, "BEGIN IMMEDIATE")
            claimed = driver.fetch(connection, self._claim, given)
        if claimed:
            number = int(claimed[0][0])
            if connection.dialect.name == "sqlite":
                self._notice(number)
            return number
        if connection.execute(_OPERATION, {"id": operation_id}).first() is None:
            raise InvariantBroken("the database is not marked as anybody's: it was not migrated to the end")
        return None

    def _notice(self, number: int) -> None:
        if self.newest < number - 1:  # before the first claim here, nobody knows whose the numbers are
            self._wake(set(TOPICS), ())
        self.newest = number

    def commit(self, connection: sa.Connection, topics: set[str], set_based: bool) -> None:
        if connection.dialect.name == "postgresql" and _has_failed(connection):
            # PostgreSQL would answer COMMIT by rolling back, and not call it an error.
            raise InvariantBroken("a use case went on after a statement of its had failed")
        if topics and connection.dialect.name == "postgresql":
            # Node and topics are our own words, so they can stand in the text; both statements go in one message.
            payload = f"{self._node} {' '.join(sorted(topics))}"
            driver.run_script(connection, f"SELECT pg_notify('{CHANNEL}', '{payload}'); COMMIT")
        else:
            driver.execute(connection, "COMMIT")
            if self.after_commit is not None:
                self.after_commit()

    def rollback(self, connection: sa.Connection, set_based: bool) -> None:
        self.newest = self._newest_before  # another process may be given the number now
        if not (connection.dialect.name == "sqlite" and not _in_transaction(connection)):
            driver.execute(connection, "ROLLBACK")

    def committed(self, topics: set[str], handoffs: list[Any]) -> None:
        self._wake(topics, handoffs)


class _ReadSessions:
    """A read lane: one statement for a set, in autocommit; one snapshot for a batch of single reads.

    With `whole`, sets have a snapshot too: theirs are many statements.
    """

    def __init__(self, engine: sa.Engine, statement_timeout_ms: int | None = None, *, whole: bool = False):
        self._engine = engine
        self._statement_timeout_ms = statement_timeout_ms
        self._whole = whole
        postgres = engine.dialect.name == "postgresql"
        self._begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY" if postgres else "BEGIN"

    def connect(self) -> sa.Connection:
        connection = self._engine.connect()
        if self._statement_timeout_ms is not None and connection.dialect.name == "postgresql":
            connection.exec_driver_sql(f"SET statement_timeout = {self._statement_timeout_ms}")
        return connection

    def begin(self, connection: sa.Connection, operation_id: str, set_based: bool) -> int | None:
        if self._whole or not set_based:
            connection.exec_driver_sql(self._begin)
        return 0

    def commit(self, connection: sa.Connection, topics: set[str], set_based: bool) -> None:
        if self._whole or not set_based:
            connection.exec_driver_sql("COMMIT")

    def rollback(self, connection: sa.Connection, set_based: bool) -> None:
        if connection.dialect.name == "postgresql" or _in_transaction(connection):
            connection.exec_driver_sql("ROLLBACK")

    def committed(self, topics: set[str], handoffs: list[Any]) -> None: ...


def _in_transaction(connection: sa.Connection) -> bool:
    return bool(getattr(connection.connection.driver_connection, "in_transaction", False))


def _has_failed(connection: sa.Connection) -> bool:
    session = cast("psycopg.Connection[Any]", connection.connection.driver_connection)
    return session.pgconn.transaction_status == PQTRANS_INERROR


_OPERATION = sa.text("SELECT number FROM operations WHERE id = :id")

# How far the next number would be below those already given. A snapshot sees no transaction at or above its xmax, so
# this is never above zero while one cluster counts, however many nodes are writing.
_GAP = (
    "SELECT coalesce((SELECT max(number) FROM operations), 0) + 1"
    " - pg_snapshot_xmax(pg_current_snapshot())::text::bigint - tx_number_offset FROM platform"
)


def _keep_numbers_rising(connection: sa.Connection) -> None:
    """After a restore into another cluster, transaction ids start low again: lift the offset above what is stored."""
    if not sa.inspect(connection).has_table("operations") or (connection.exec_driver_sql(_GAP).scalar() or 0) <= 0:
        return
    # Nodes that start together must not lift twice: horizons would run ahead of those already writing.
    connection.exec_driver_sql("BEGIN")
    connection.exec_driver_sql("SELECT id FROM platform FOR UPDATE")
    gap = connection.exec_driver_sql(_GAP).scalar_one()
    connection.execute(
        sa.text("UPDATE platform SET tx_number_offset = tx_number_offset + :gap WHERE :gap > 0"), {"gap": gap}
    )
    connection.exec_driver_sql("COMMIT")


class Database:
    """A database opened for service: a lane for writes, and on PostgreSQL another for those that nobody waits for; and
    for reads a lane for what is hot, one for reports, one for what reads the whole ledger, and one for all others.

    `write`, `read` and their set-based forms are awaited on an event loop; `run` is for threads without one.
    """

    def __init__(
        self,
        url: str,
        *,
        clock: Callable[[], int],
        queue_limit: int = 2_000,
        batch_limit: int = 256,
        observer: LaneObserver | None = None,
        new_operation_id: Callable[[], str] = lambda: uuid.uuid4().hex,
    ) -> None:
        self.url = url
        self.node = uuid.uuid4().hex[:12]
        self.engine = connectable(url)
        self.postgres = self.engine.dialect.name == "postgresql"
        self._listeners: list[Listener] = []
        observer = observer or SilentObserver()

        def lane(name: str, sessions: Any, *, for_hours: bool = False) -> Lane:
            return Lane(
                name,
                sessions,
                new_operation_id,
                queue_limit=queue_limit,
                batch_limit=batch_limit,
                observer=observer,
                for_hours=for_hours,
            )

        self._write_sessions = _WriteSessions(self.engine, clock, self.wake, self.node)
        self.write_lane = self.background_lane = lane("write", self._write_sessions)
        self.writing_lanes: tuple[Lane, ...] = (self.write_lane,)
        if self.postgres:  # SQLite has one writer, and so one lane that writes
            self.background_lane = lane("background", _WriteSessions(self.engine, clock, self.wake, self.node))
            self.writing_lanes = (self.write_lane, self.background_lane)
        self.read_lane = lane("read", _ReadSessions(self.engine))
        self.browse_lane = lane("browse", _ReadSessions(self.engine))
        self.report_lane = lane("report", _ReadSessions(self.engine, statement_timeout_ms=0))
        whole = _ReadSessions(self.engine, statement_timeout_ms=0, whole=True)
        self.audit_lane = lane("audit", whole, for_hours=True)
        self.lanes = (*self.writing_lanes, self.read_lane, self.browse_lane, self.report_lane, self.audit_lane)
        self.verifying = Turn(self.engine, VERIFYING_KEY)
        self._checkpointer = None if self.postgres else Checkpointer(path_of(url))
        if self._checkpointer is not None:
            self._write_sessions.after_commit = self._checkpointer.commit_happened
            self._checkpointer.start()
        for each in self.lanes:
            each.start()

    # --- waking ---

    def listen(self, listener: Listener) -> None:
        """Call `listener(topics, handoffs)` after commits, here or (topics alone) on another node.

        From any thread; it must return at once.
        """
        self._listeners.append(listener)

    def wake(self, topics: set[str], handoffs: Sequence[Any] = ()) -> None:
        for listener in self._listeners:
            try:
                listener(topics, handoffs)
            except Exception:  # a listener whose loop is closed must not keep the others from hearing
                log.exception("a listener failed")

    async def watch(self, listening: Callable[[], None] = lambda: None) -> None:
        """Hear commits of other processes until cancelled: LISTEN on PostgreSQL, the newest operation on SQLite.

        `listening` is called each time that it begins: this process is present by its own connection then.
        """
        while True:
            try:
                await (self._watch_postgres(listening) if self.postgres else self._watch_sqlite(listening))
            except Exception as error:  # whatever it was: a node that is deaf goes on with keys that were retired
                log.warning("listening to other nodes failed, trying again: %r", error)
            await asyncio.sleep(1)

    async def _watch_postgres(self, listening: Callable[[], None]) -> None:
        import psycopg  # a server on SQLite has no use for it

        url = self.engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
        async with await psycopg.AsyncConnection.connect(url, autocommit=True, **PATIENCE) as connection:
            await connection.execute(TAKE_PART.encode())
            await connection.execute(f"LISTEN {CHANNEL}")
            listening()
            self.wake(set(TOPICS))  # whatever was said while nobody listened
            async for notification in connection.notifies():
                node, *topics = notification.payload.split()
                if node != self.node:
                    self.wake(set(topics))

    async def _watch_sqlite(self, listening: Callable[[], None]) -> None:
        """Look for operations that this process did not do: each of ours would wake everybody for nothing."""
        listening()
        connection = sqlite3.connect(path_of(self.url), timeout=1)
        try:
            seen = None
            while True:
                newest = connection.execute("SELECT coalesce(max(number), 0) FROM operations").fetchone()[0]
                # Read after the database was: what is committed here has been claimed here before.
                ours = self._write_sessions.newest
                if seen is not None and newest > max(seen, ours):
                    self.wake(set(TOPICS))
                seen = newest
                await asyncio.sleep(POLL_SECONDS)
        finally:
            connection.close()

    # --- work ---

    async def write(self, fn: Callable[Concatenate[Tx, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `fn(tx, *args)` in the write lane; the result is on disk when this returns. Raises what `fn` raises."""
        return await self._submit(self.write_lane, fn, args, kwargs)

    async def write_set(self, fn: Callable[[Tx, Sequence[J]], Sequence[T | OklpError]], job: J) -> T:
        """Run a set-based use case for one job, together with whatever else is queued for it."""
        return cast(T, await self._submit_set(self.write_lane, fn, job))

    async def write_in_background(self, fn: Callable[Concatenate[Tx, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """`write` for what nobody waits for: on PostgreSQL no other write queues up behind it."""
        return await self._submit(self.background_lane, fn, args, kwargs)

    async def read(self, fn: Callable[Concatenate[Tx, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._submit(self.browse_lane, fn, args, kwargs)

    async def read_set(self, fn: Callable[[Tx, Sequence[J]], Sequence[T | OklpError]], job: J) -> T:
        return cast(T, await self._submit_set(self.read_lane, fn, job))

    async def report(self, fn: Callable[Concatenate[Tx, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """A long read on one snapshot, out of everybody's way."""
        return await self._submit(self.report_lane, fn, args, kwargs)

    async def audit(self, fn: Callable[[Tx, Sequence[J]], Sequence[T | OklpError]], job: J) -> T:
        """A set-based read of very much, on one snapshot. Whoever asks while one goes on shares the next.

        Raises Unavailable when the server is stopped: that does not wait for it.
        """
        return cast(T, await self._submit_set(self.audit_lane, fn, job))

    def run(self, fn: Callable[Concatenate[Tx, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """`write` for a thread without an event loop (the command line, tests)."""
        return self._wait(self.write_lane, fn, args, kwargs, set_based=False)

    def run_set(self, fn: Callable[[Tx, Sequence[J]], Sequence[T | OklpError]], job: J) -> T:
        return cast(T, self._wait(self.write_lane, fn, (job,), {}, set_based=True))

    def run_report(self, fn: Callable[Concatenate[Tx, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        return self._wait(self.report_lane, fn, args, kwargs, set_based=False)

    def _wait(
        self, lane: Lane, fn: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any], *, set_based: bool
    ) -> T:
        job = Job(_bind(fn, kwargs), args, set_based)
        job.waiter = Future()
        lane.submit(job)
        result: T = job.waiter.result()
        return result

    async def _submit(self, lane: Lane, fn: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any]) -> T:
        job = Job(_bind(fn, kwargs), args, False)
        job.loop = asyncio.get_running_loop()
        job.future = job.loop.create_future()
        lane.submit(job)
        # A caller that goes away does not undo the work: the job runs, and its answer is dropped.
        result: T = await job.future
        return result

    async def _submit_set(self, lane: Lane, fn: Callable[..., Any], argument: Any) -> Any:
        job = Job(fn, (argument,), True)
        job.loop = asyncio.get_running_loop()
        job.future = job.loop.create_future()
        lane.submit(job)
        return await job.future

    def close(self) -> None:
        """Finish what is queued, but for audits, then close. From any thread but a lane's."""
        closers = [threading.Thread(target=lane.close) for lane in self.lanes]
        for closer in closers:
            closer.start()
        for closer in closers:
            closer.join()
        if self._checkpointer is not None:
            self._checkpointer.close()
        self.verifying.leave()
        self.engine.dispose()


def _bind(fn: Callable[..., T], kwargs: dict[str, Any]) -> Callable[..., T]:
    if not kwargs:
        return fn

    def bound(tx: Tx, *args: Any) -> T:
        return fn(tx, *args, **kwargs)

    return bound
