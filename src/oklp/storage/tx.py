"""What a use case holds while it runs: one transaction on one connection."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from oklp.errors import OklpError

Row = sa.Row[*tuple[Any, ...]]


class Tx:
    """A transaction, or in a read lane a snapshot. Only `storage` calls its methods; services hand it down.

    `number` orders transactions by commit (see `engine`). After the commit, `topics` wake whoever waits on any node,
    and `handoffs` go to the listeners of this process alone.
    """

    __slots__ = ("connection", "handoffs", "number", "postgres", "topics")

    def __init__(self, connection: sa.Connection, number: int) -> None:
        self.connection = connection
        self.number = number
        self.postgres = connection.dialect.name == "postgresql"
        self.topics: set[str] = set()
        self.handoffs: list[Any] = []

    def execute(self, statement: sa.Executable, parameters: Any = None) -> sa.CursorResult[*tuple[Any, ...]]:
        """Run a Core statement; `parameters` is a mapping, or a list of mappings for many rows."""
        return self.connection.execute(statement, parameters)

    def rows(self, statement: sa.Executable, parameters: Any = None) -> Sequence[Row]:
        return self.connection.execute(statement, parameters).all()

    def row(self, statement: sa.Executable, parameters: Any = None) -> Row | None:
        return self.connection.execute(statement, parameters).first()

    def driver(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> sa.CursorResult[*tuple[Any, ...]]:
        """Run SQL as the driver takes it: for the few hot statements that exist once for each database."""
        return self.connection.exec_driver_sql(sql, tuple(parameters) if isinstance(parameters, list) else parameters)

    def driver_many(self, sql: str, rows: list[tuple[Any, ...]]) -> None:
        if rows:
            self.connection.exec_driver_sql(sql, rows)

    def notify(self, topic: str) -> None:
        """Wake whoever waits for `topic`, on this node and the others, once the commit is on disk."""
        self.topics.add(topic)

    @contextlib.contextmanager
    def savepoint(self) -> Iterator[None]:
        """What fails inside is undone alone; the error goes on."""
        self.connection.exec_driver_sql("SAVEPOINT oklp")
        topics = set(self.topics)
        handoffs = len(self.handoffs)
        try:
            yield
        except BaseException:
            if self.connection.invalidated:
                raise  # it went with the transaction: do not hide why
            self.connection.exec_driver_sql("ROLLBACK TO SAVEPOINT oklp")
            self.connection.exec_driver_sql("RELEASE SAVEPOINT oklp")
            self.topics = topics
            del self.handoffs[handoffs:]
            raise
        self.connection.exec_driver_sql("RELEASE SAVEPOINT oklp")

    @contextlib.contextmanager
    def refusing(self, refusal: OklpError) -> Iterator[None]:
        """Turn the database's no (a UNIQUE or CHECK) into `refusal`. The enclosing job must not go on after it."""
        try:
            yield
        except sa.exc.IntegrityError as error:
            raise refusal from error
