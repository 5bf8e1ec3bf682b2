"""What a use case holds while it runs: one transaction on one connection."""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from oklp.errors import OklpError
from oklp.storage import driver

# The least that PostgreSQL knows. Its deadlock detector looks after a second.
LOCK_PATIENCE_MS = 1

Row = sa.Row[*tuple[Any, ...]]


class Tx:
    """A transaction, or in a read lane a snapshot. Only `storage` calls its methods; services hand it down.

    `number` orders transactions by commit (see `engine`). After the commit, `topics` wake whoever waits on any node,
    and `handoffs` go to the listeners of this process alone.

    On PostgreSQL writes that give no answer wait for the next statement that does, or for the end, and then go to the
    database as one: for a small set, the way there and back costs more than the write.
    """

    __slots__ = ("_later", "_tables", "connection", "handoffs", "number", "postgres", "topics")

    def __init__(self, connection: sa.Connection, number: int) -> None:
        self.connection = connection
        self.number = number
        self.postgres = connection.dialect.name == "postgresql"
        self.topics: set[str] = set()
        self.handoffs: list[Any] = []
        self._later: list[tuple[str, Sequence[Any]]] = []
        self._tables: set[str] = set()

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

    def driver_run(self, sql: str, parameters: Sequence[Any]) -> None:
        """Run a hot write, as the driver takes it."""
        self.flush()
        driver.execute(self.connection, sql, parameters)

    def fetch(self, sql: str, parameters: Sequence[Any]) -> Sequence[Row]:
        """The rows of a hot query, as the driver takes it."""
        self.flush()
        return driver.fetch(self.connection, sql, parameters)

    def driver_later(self, table: str, sql: str, parameters: Sequence[Any]) -> None:
        """Write to `table` as `driver` would, with the next `flush`. PostgreSQL only, and nothing returned."""
        if table in self._tables:
            self.flush()  # parts of one statement do not see each other's rows
        self._later.append((sql, parameters))
        self._tables.add(table)

    def flush(self) -> None:
        """Send what waits. Raises what the database has against it."""
        if self._later:
            statements, parameters = zip(*self._later, strict=True)
            self._forget()
            driver.execute(self.connection, _as_one(statements), tuple(itertools.chain(*parameters)))

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
            self.connection.exec_driver_sql("ROLLBACK TO SAVEPOINT oklp")
            self.connection.exec_driver_sql("RELEASE SAVEPOINT oklp")
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
