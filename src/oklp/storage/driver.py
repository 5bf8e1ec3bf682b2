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

Parameters = Sequence[str | int | None]

_names = itertools.count(1)  # of statements that connections keep: none is used twice


class Statement(NamedTuple):
    """SQL with its parameters, as the driver takes it.

    PostgreSQL parses and plans one that is `kept` once for a connection: for text that comes again and again. `then` is
    given its rows when the message that it went with is answered, even if a later statement of that failed; not if the
    connection was lost.
    """

    sql: str
    parameters: Parameters = ()
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

    Returns the rows of the last. One that fails ends the message: those behind it are not run. Whatever else goes wrong
    ends the connection, so that nobody takes the answer to one message for that to the next. It is libpq's pipeline
    without psycopg's cursors, which cost more than the rest of a small transaction does here. Raises
    `sqlalchemy.exc.DBAPIError`.
    """
    psycopg = _psycopg()
    session = _driver(connection)
    sql = statements[0].sql
    rows: list[Any] = []
    try:
        results = _exchange(session, [_ready(connection, session, each) for each in statements])
        for statement, result in zip(statements, results, strict=False):
            sql = statement.sql
            _check(result)
            if statement.then is not None:
                statement.then(_rows_of(session, result))
        if len(results) < len(statements):
            session.close()
            raise psycopg.errors.OperationalError("the connection ended before the answer")
        if statements[-1].then is None:
            rows = _rows_of(session, results[-1])
    except Exception as error:
        _fail(connection, sql, error)
    return rows


def outdated(error: BaseException) -> bool:
    """True if a statement that the connection keeps does not hold any more: a new connection has none.

    Its table has another column since, or somebody has made the server forget it.
    """
    orig = getattr(error, "orig", None)
    sqlstate = getattr(orig, "sqlstate", None)
    if sqlstate == "0A000":
        return getattr(getattr(orig, "diag", None), "source_function", None) == "RevalidateCachedQuery"
    return sqlstate == "26000"


def _ready(connection: sa.Connection, session: Any, statement: Statement) -> _Ready:
    """As the server is to have it, which first is told to keep it."""
    sql = _with_numbers(statement.sql, len(statement.parameters))
    given = [_as_text(connection, each) for each in statement.parameters]
    if not statement.kept:
        return _Ready(None, sql, given)
    kept = _kept(connection)
    name = kept.get(sql)
    if name is None:
        name = f"oklp_{next(_names)}".encode()
        session.pgconn.send_prepare(name, sql)
        for result in session.wait(_psycopg().generators.execute(session.pgconn)):
            _check(result)
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
    parameters: list[bytes | None]

    def queue(self, pgconn: Any) -> None:
        if self.name is None:
            pgconn.send_query_params(self.sql, self.parameters)
        else:
            pgconn.send_query_prepared(self.name, self.parameters)


def _exchange(session: Any, statements: Sequence[_Ready]) -> Any:
    """Send them, and gather a result for each, up to one after which the connection was lost."""
    generators = _psycopg().generators
    pgconn = session.pgconn

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

    try:
        if len(statements) == 1:
            statements[0].queue(pgconn)
            return session.wait(generators.execute(pgconn))
        pgconn.enter_pipeline_mode()
        for each in statements:
            each.queue(pgconn)
        pgconn.pipeline_sync()
        results = session.wait(answers())
        if not session.closed:
            pgconn.exit_pipeline_mode()
    except BaseException:
        session.close()
        raise
    return results


def _check(result: Any) -> None:
    psycopg = _psycopg()
    if result.status not in (psycopg.pq.ExecStatus.COMMAND_OK, psycopg.pq.ExecStatus.TUPLES_OK):
        raise psycopg.errors.error_from_result(result)


def _as_text(connection: sa.Connection, value: str | int | None) -> bytes | None:
    if value is None:
        return None
    if not isinstance(value, (str, int)):
        raise TypeError(f"a hot statement takes text and integers, not {type(value).__name__}")
    text = value if isinstance(value, str) else str(value)
    if "\0" in text:  # libpq would take what is before it for the whole
        raise connection.dialect.loaded_dbapi.DataError("PostgreSQL has no text with NUL in it")
    return text.encode()


def _rows_of(session: Any, result: Any) -> list[Any]:
    if not result.nfields:
        return []
    names = tuple([result.fname(n) for n in range(result.nfields)])
    loader = _psycopg().Transformer.from_context(session)
    loader.set_pgresult(result)
    rows: list[Any] = loader.load_rows(0, result.ntuples, _row_maker(names))
    return rows


class _Psycopg(NamedTuple):
    errors: Any
    generators: Any
    pq: Any
    Transformer: Any


@functools.cache
def _psycopg() -> _Psycopg:
    """A server on SQLite needs none of it: it takes an eighth of a second, and 9 MB."""
    from psycopg import errors, generators, pq
    from psycopg.adapt import Transformer

    return _Psycopg(errors, generators, pq, Transformer)


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
