"""What a use case holds while it runs: one transaction on one connection."""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from oklp.errors import InvariantBroken, OklpError
from oklp.storage import driver
from oklp.storage.driver import Parameters, Statement

# The least that PostgreSQL knows. Its deadlock detector looks after a second.
LOCK_PATIENCE_MS = 1

Row = sa.Row[*tuple[Any, ...]]
Begin = Callable[[Statement | None], Sequence[Row]]


def _never(first: Statement | None) -> Sequence[Row]:
    """For a transaction that could not begin: what came after would be in none."""
    raise InvariantBroken("a use case went on in a transaction that could not begin")


class Tx:
    """A transaction, or in a read lane a snapshot. Only `storage` calls its methods; services hand it down.

    `number` orders transactions by commit (see `engine`). After the commit, `topics` wake whoever waits on any node,
    and `handoffs` go to the listeners of this process alone.

    On PostgreSQL, for a small set, the way there and back costs more than what is done there. Writes that give no
    answer therefore wait for the next statement that does, or for the end, and then go to the database as one. So does
    the beginning, which the first statement takes with it, and the end, which takes the last writes.
    """

    __slots__ = ("_begin", "_failed", "_later", "_number", "_tables", "connection", "handoffs", "postgres", "topics")

    def __init__(self, connection: sa.Connection, number: int = 0, begin: Begin | None = None) -> None:
        """What has begun, with its number; or else `begin` is called with the first statement, and gives its rows."""
        self.connection = connection
        self._number = number
        self._begin = begin
        self._failed = False  # to begin
        self.postgres = connection.dialect.name == "postgresql"
        self.topics: set[str] = set()
        self.handoffs: list[Any] = []
        self._later: list[tuple[str, Parameters]] = []
        self._tables: set[str] = set()

    @property
    def number(self) -> int:
        self.open()
        return self._number

    @property
    def was_sent(self) -> bool:
        """Whether it began, or tried to: there may be something to undo."""
        return self._begin is None or self._failed

    def open(self, first: Statement | None = None) -> Sequence[Row]:
        """Begin, if that is still to be done, and run the first statement with it."""
        begin, self._begin = self._begin, None
        if begin is None:
            return ()
        try:
            return begin(first)
        except BaseException:
            self._begin, self._failed = _never, True
            raise

    def began(self, number: int) -> None:
        self._number = number

    def execute(self, statement: sa.Executable, parameters: Any = None) -> sa.CursorResult[*tuple[Any, ...]]:
        """Run a Core statement; `parameters` is a mapping, or a list of mappings for many rows."""
        self.flush()
        return self.connection.execute(statement, parameters)

    def rows(self, statement: sa.Executable, parameters: Any = None) -> Sequence[Row]:
        return self.execute(statement, parameters).all()

    def row(self, statement: sa.Executable, parameters: Any = None) -> Row | None:
        return self.execute(statement, parameters).first()

    def driver(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> sa.CursorResult[*tuple[Any, ...]]:
        """Run SQL as the driver takes it: for the few hot statements that exist once for each database."""
        self.flush()
        return self.connection.exec_driver_sql(sql, tuple(parameters) if isinstance(parameters, list) else parameters)

    def driver_run(self, sql: str, parameters: Parameters) -> None:
        """Run a hot write, as the driver takes it."""
        self.flush()
        driver.execute(self.connection, sql, parameters)

    def fetch(self, sql: str, parameters: Parameters) -> Sequence[Row]:
        """The rows of a hot query, as the driver takes it."""
        if self._begin is not None and not self._later:
            return self.open(Statement(sql, parameters))
        self.flush()
        return driver.fetch(self.connection, sql, parameters)

    def driver_later(self, table: str, sql: str, parameters: Parameters) -> None:
        """Write to `table` as `driver` would, with the next `flush`. PostgreSQL only, and nothing returned."""
        if table in self._tables:
            self.flush()  # parts of one statement do not see each other's rows
        self._later.append((sql, parameters))
        self._tables.add(table)

    def flush(self) -> None:
        """Send what waits. Raises what the database has against it."""
        self.open()
        last = self.rest()
        if last is not None:
            driver.execute(self.connection, last.sql, last.parameters)

    def rest(self) -> Statement | None:
        """What waits, for whoever sends it."""
        if not self._later:
            return None
        statements, parameters = zip(*self._later, strict=True)
        self._forget()
        return Statement(_as_one(statements), tuple(itertools.chain(*parameters)))

    def _forget(self) -> None:
        self._later.clear()
        self._tables.clear()

    def notify(self, topic: str) -> None:
        """Wake whoever waits for `topic`, on this node and the others, once the commit is on disk."""
        self.topics.add(topic)

    @contextlib.contextmanager
    def savepoint(self) -> Iterator[None]:
        """What fails inside is undone alone; the error goes on."""
        self.flush()
        self.connection.exec_driver_sql("SAVEPOINT oklp")
        topics = set(self.topics)
        handoffs = len(self.handoffs)
        try:
            yield
            self.flush()
        except BaseException:
            self._forget()
            if self.connection.invalidated:
                raise  # it went with the transaction: do not hide why
            driver.undo(self.connection, "ROLLBACK TO SAVEPOINT oklp", "RELEASE SAVEPOINT oklp")
            self.topics = topics
            del self.handoffs[handoffs:]
            raise
        self.connection.exec_driver_sql("RELEASE SAVEPOINT oklp")

    @contextlib.contextmanager
    def without_waiting(self) -> Iterator[None]:
        """PostgreSQL: what is inside fails with 55P03 where it would have to wait for somebody else's lock.

        Not so the commit, in which all nodes that notify one another take turns.
        """
        if not self.postgres:
            yield
            return
        self.driver(f"SET LOCAL lock_timeout = {LOCK_PATIENCE_MS}")
        yield
        self.driver("SET LOCAL lock_timeout TO DEFAULT")

    @contextlib.contextmanager
    def refusing(self, refusal: OklpError) -> Iterator[None]:
        """Turn the database's no (a UNIQUE or CHECK) into `refusal`. The enclosing job must not go on after it."""
        self.flush()
        try:
            yield
            self.flush()
        except sa.exc.IntegrityError as error:
            raise refusal from error


@functools.cache
def _as_one(statements: tuple[str, ...]) -> str:
    """Writes to different tables as one statement, the last of them in front of the others."""
    *before, last = statements
    if not before:
        return last
    return f"WITH {', '.join(f'w{n} AS ({sql})' for n, sql in enumerate(before))} {last}"
