"""Hot statements by the driver itself: SQLAlchemy's part of a prepared statement costs more than the driver's.

Errors come out as SQLAlchemy's, so that lanes and refusals need not know which way a statement went.
"""

from __future__ import annotations

import functools
import itertools
from collections import namedtuple
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, NoReturn

import sqlalchemy as sa

Parameters = Sequence[Any]

_names = itertools.count(1)  # of statements that connections keep: none is used twice


class Statement(NamedTuple):
    """SQL for PostgreSQL with its parameters, each of which stands for a `%s` in it.

    One that is `kept` is parsed and planned once for a connection: for text that comes again and again. `then` is given
    its rows as soon as they are there, even if a later statement of the same message fails.
    """

    sql: str
    parameters: Sequence[str | int] = ()
    kept: bool = True
    then: Callable[[list[Any]], None] | None = None


def execute(connection: sa.Connection, sql: str, parameters: Parameters = ()) -> None:
    """Run SQL as the driver takes it. Raises `sqlalchemy.exc.DBAPIError`."""
    if connection.dialect.name == "postgresql":
        send(connection, Statement(sql, parameters))
        return
    try:
        _driver(connection).execute(sql, parameters)
    except Exception as error:
        _fail(connection, sql, error)


def fetch(connection: sa.Connection, sql: str, parameters: Parameters = ()) -> list[Any]:
    """All rows, each a tuple with its columns as attributes: what of SQLAlchemy's rows anybody uses.

    Raises `sqlalchemy.exc.DBAPIError`.
    """
    if connection.dialect.name == "postgresql":
        return send(connection, Statement(sql, parameters))
    try:
        cursor = _driver(connection).execute(sql, parameters)
        rows = cursor.fetchall()
    except Exception as error:
        _fail(connection, sql, error)
    return list(map(_row_maker(tuple([column[0] for column in cursor.description])), rows))


def undo(connection: sa.Connection, *statements: str) -> None:
    """Run what undoes something.

    On PostgreSQL past psycopg, which would have the server forget all statements that it keeps prepared.
    """
    if connection.dialect.name == "postgresql":
        send(connection, *[Statement(sql, kept=False) for sql in statements])
        return
    for sql in statements:
        execute(connection, sql)


def send(connection: sa.Connection, *statements: Statement) -> list[Any]:
    """PostgreSQL: run statements as one message, which saves the way there and back for all but one.

    Returns the rows of the last. One that fails ends the message: those behind it are not run. It is libpq's pipeline
    without psycopg's cursors, which cost more than the rest of a small transaction does here. Raises
    `sqlalchemy.exc.DBAPIError`.
    """
    from psycopg import errors, pq  # a server on SQLite needs none of it: it takes an eighth of a second, and 9 MB

    session = _driver(connection)
    sql = statements[0].sql
    rows: list[Any] = []
    try:
        results = _exchange(session, [_ready(connection, session, each) for each in statements])
        for statement, result in zip(statements, results, strict=False):
            sql = statement.sql
            if result.status not in (pq.ExecStatus.COMMAND_OK, pq.ExecStatus.TUPLES_OK):
                raise errors.error_from_result(result)
            rows = _rows_of(session, result)
            if statement.then is not None:
                statement.then(rows)
        if len(results) < len(statements):
            raise errors.OperationalError("the connection ended before the answer")
    except Exception as error:
        if isinstance(error, errors.InvalidSqlStatementName):
            _kept(connection).clear()  # somebody has made the connection forget them
        _fail(connection, sql, error)
    return rows


def _ready(connection: sa.Connection, session: Any, statement: Statement) -> _Ready:
    """As the server is to have it, which first is told to keep it."""
    sql = _with_numbers(statement.sql, len(statement.parameters))
    given = [_as_text(connection, each) for each in statement.parameters]
    if not statement.kept:
        return _Ready(None, sql, given)
    kept = _kept(connection)
    name = kept.get(sql)
    if name is None:
        from psycopg import errors, generators, pq

        name = f"oklp_{next(_names)}".encode()
        session.pgconn.send_prepare(name, sql)
        for result in session.wait(generators.execute(session.pgconn)):
            if result.status != pq.ExecStatus.COMMAND_OK:
                raise errors.error_from_result(result)
        kept[sql] = name
    return _Ready(name, sql, given)


def _kept(connection: sa.Connection) -> dict[bytes, bytes]:
    """Statements that the server has planned for this connection, and their names. They outlast whatever is undone."""
    kept: dict[bytes, bytes] = connection.info.setdefault("oklp_kept", {})
    return kept


@functools.cache
def _with_numbers(sql: str, parameters: int) -> bytes:
    return (sql % tuple([f"${n}" for n in range(1, parameters + 1)])).encode()


class _Ready(NamedTuple):
    """A statement as libpq takes it: by the name of one that the server keeps, or else with its text."""

    name: bytes | None
    sql: bytes
    parameters: list[bytes]

    def queue(self, pgconn: Any) -> None:
        if self.name is None:
            pgconn.send_query_params(self.sql, self.parameters)
        else:
            pgconn.send_query_prepared(self.name, self.parameters)


def _exchange(session: Any, statements: Sequence[_Ready]) -> Any:
    """Send them, and gather a result for each, up to one after which the connection was lost."""
    from psycopg import generators, pq

    pgconn = session.pgconn
    if len(statements) == 1:
        statements[0].queue(pgconn)
        return session.wait(generators.execute(pgconn))

    def answers() -> Any:
        yield from generators.send(pgconn)
        results: list[Any] = []
        for _ in statements:
            found = yield from generators.fetch_many(pgconn)
            if not found:
                return results
            results += found
        yield from generators.fetch_many(pgconn)  # the end of the message
        return results

    pgconn.enter_pipeline_mode()
    try:
        for each in statements:
            each.queue(pgconn)
        pgconn.pipeline_sync()
        return session.wait(answers())
    finally:
        if pgconn.status == pq.ConnStatus.OK:
            pgconn.exit_pipeline_mode()


def _as_text(connection: sa.Connection, value: str | int) -> bytes:
    text = str(value)
    if "\0" in text:  # libpq would take what is before it for the whole
        raise connection.dialect.loaded_dbapi.DataError("PostgreSQL has no text with NUL in it")
    return text.encode()


def _rows_of(session: Any, result: Any) -> list[Any]:
    if not result.nfields:
        return []
    from psycopg.adapt import Transformer

    names = tuple([result.fname(n) for n in range(result.nfields)])
    loader: Any = Transformer.from_context(session)
    loader.set_pgresult(result)
    rows: list[Any] = loader.load_rows(0, result.ntuples, _row_maker(names))
    return rows


def _driver(connection: sa.Connection) -> Any:
    return connection.connection.driver_connection


@functools.cache
def _row_maker(names: tuple[str | bytes, ...]) -> Callable[[Sequence[Any]], Any]:
    texts = [name.decode() if isinstance(name, bytes) else name for name in names]
    row_type: Any = namedtuple("Row", texts, rename=True)  # type: ignore[misc]
    make: Callable[[Sequence[Any]], Any] = row_type._make
    return make


def _fail(connection: sa.Connection, sql: str, error: Exception) -> NoReturn:
    """Raise a driver's error as SQLAlchemy's; a connection that it ended is invalidated."""
    dialect = connection.dialect
    base = dialect.loaded_dbapi.Error
    if not isinstance(error, base):
        raise error
    lost = dialect.is_disconnect(error, _driver(connection), None)
    if lost:
        connection.invalidate(error)
    raise sa.exc.DBAPIError.instance(
        sql, None, error, base, hide_parameters=True, connection_invalidated=lost, dialect=dialect
    ) from error
