"""Hot statements by the driver itself: SQLAlchemy's part of a prepared statement costs more than the driver's.

Errors come out as SQLAlchemy's, so that lanes and refusals need not know which way a statement went.
"""

from __future__ import annotations

import functools
from collections import namedtuple
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

import sqlalchemy as sa

Parameters = Sequence[Any] | Mapping[str, Any]

CANCEL_SECONDS = 5.0


def execute(connection: sa.Connection, sql: str, parameters: Parameters = ()) -> Any:
    """Run SQL as the driver takes it; returns the driver's cursor. Raises `sqlalchemy.exc.DBAPIError`."""
    try:
        return _driver(connection).execute(sql, parameters)
    except Exception as error:
        _fail(connection, sql, error)


def run_script(connection: sa.Connection, sql: str, parameters: Sequence[str | int] = ()) -> list[tuple[Any, ...]]:
    """PostgreSQL: several statements in one message, which saves the way there and back for all but one.

    Each `%s` stands for one of `parameters`. Returns the rows of the last statement, as text. It is libpq's own call:
    a cursor for it costs four times as much as the rest of a small transaction does here. Raises
    `sqlalchemy.exc.DBAPIError`.
    """
    from psycopg import errors, pq  # a server on SQLite needs none of it: it takes an eighth of a second, and 9 MB

    session = _driver(connection).pgconn
    try:
        quoted = tuple([str(each) if isinstance(each, int) else _quoted(pq, session, each) for each in parameters])
        result = session.exec_((sql % quoted).encode())
        if result.status not in (pq.ExecStatus.COMMAND_OK, pq.ExecStatus.TUPLES_OK):
            raise errors.error_from_result(result)
    except Exception as error:
        _fail(connection, sql, error)
    columns = range(result.nfields)
    return [tuple([_text(result.get_value(n, column)) for column in columns]) for n in range(result.ntuples)]


def _quoted(pq: Any, session: Any, text: str) -> str:
    literal: bytes = pq.Escaping(session).escape_literal(text.encode())
    return literal.decode()


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode()


def fetch(connection: sa.Connection, sql: str, parameters: Parameters = ()) -> list[Any]:
    """All rows, each a tuple with its columns as attributes: what of SQLAlchemy's rows anybody uses."""
    try:
        cursor = _driver(connection).execute(sql, parameters)
        rows = cursor.fetchall()
    except Exception as error:
        _fail(connection, sql, error)
    if connection.dialect.name == "postgresql":
        result = cursor.pgresult  # `description` would make an object of each column
        names = tuple([result.fname(n) for n in range(result.nfields)])
    else:
        names = tuple([column[0] for column in cursor.description])
    return list(map(_row_maker(names), rows))


def breaker(connection: sa.Connection) -> Callable[[], None]:
    """What breaks off the statement that a connection is at, from any thread. It does nothing where there is none."""
    session = _driver(connection)
    if connection.dialect.name == "postgresql":
        return functools.partial(session.cancel_safe, timeout=CANCEL_SECONDS)
    interrupt: Callable[[], None] = session.interrupt
    return interrupt


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
