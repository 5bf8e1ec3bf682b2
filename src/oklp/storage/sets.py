"""Set-based statements: many rows in one go, the same call for both databases.

PostgreSQL gets one statement with an array a column, which costs a round trip instead of one a row. Arrays are sent as
literals: the driver would type every element of a list by itself. SQLite gets statements for many rows as well: each
that is run lets go of the interpreter and waits to have it back, and under load others are in line for it.
"""

from __future__ import annotations

import functools
import itertools
import json
from collections.abc import Iterator, Sequence
from typing import Any

import sqlalchemy as sa

from oklp.storage.tx import Row, Tx

# Rows of one statement of SQLite: few sizes, so that there are few statements to keep prepared. What is left of a
# statement's rows is NULL, which is neither inserted nor found.
SIZES = (1, 2, 4, 8, 16, 32, 64)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _element(value: Any) -> str:
    if value is None:
        return "NULL"
    return f'"{_escaped(value)}"' if isinstance(value, str) else str(value)


def array(values: Sequence[Any]) -> str:
    """A PostgreSQL array literal of strings, integers, booleans and None.

    A column that is all strings or all integers is done in a few calls, whatever its length: one for each element would
    cost more than all else that is done about the rows.
    """
    kinds = set(map(type, values))
    if kinds == {int}:
        return "{" + ",".join(map(str, values)) + "}"
    if kinds == {str}:
        joined = "\0".join(values)  # a character that is in no text of PostgreSQL's
        if joined.count("\0") == len(values) - 1:
            return '{"' + _escaped(joined).replace("\0", '","') + '"}'
    return "{" + ",".join(map(_element, values)) + "}"


def _pg_type(column: sa.Column[Any]) -> str:
    if isinstance(column.type, sa.Boolean):
        return "boolean[]"
    return "bigint[]" if isinstance(column.type, sa.Integer) else "text[]"


def _quoted(names: Sequence[str]) -> list[str]:
    return [f'"{name}"' for name in names]


@functools.cache
def _insert_sql(
    table: sa.Table, columns: tuple[str, ...], ignore: bool, adds: tuple[str, ...], rows: int | None
) -> str:
    """For so many rows of SQLite; None: for PostgreSQL."""
    names = ", ".join(_quoted(columns))
    tail = " ON CONFLICT DO NOTHING" if ignore else ""
    if adds:
        keys = ", ".join(_quoted([column.name for column in table.primary_key]))
        sums = ", ".join(f'"{name}" = {table.name}."{name}" + excluded."{name}"' for name in adds)
        tail = f" ON CONFLICT ({keys}) DO UPDATE SET {sums}"
    if rows is not None:
        given = f"SELECT * FROM ({_values(len(columns), rows)})"  # noqa: S608
        return f"INSERT INTO {table.name} ({names}) {given} WHERE column{_never_null(table, columns)} IS NOT NULL{tail}"
    arrays = ", ".join(f"%s::{_pg_type(table.c[name])}" for name in columns)
    return f"INSERT INTO {table.name} ({names}) SELECT * FROM unnest({arrays}){tail}"  # noqa: S608


def insert_rows(
    tx: Tx,
    table: sa.Table,
    columns: tuple[str, ...],
    rows: list[tuple[Any, ...]],
    *,
    ignore: bool = False,
    adds: tuple[str, ...] = (),
) -> None:
    """Insert rows given as tuples in the order of `columns`.

    `ignore` leaves existing rows as they are; `adds` adds these columns to what they have.
    """
    if not rows:
        return
    if tx.postgres:
        sql = _insert_sql(table, columns, ignore, adds, None)
        tx.driver_later(table.name, sql, [array(column) for column in zip(*rows, strict=True)])
        return
    for size, values in _parts(rows):
        tx.driver_run(_insert_sql(table, columns, ignore, adds, size), values)


@functools.cache
def _update_sql(
    table: sa.Table, columns: tuple[str, ...], adds: tuple[str, ...], keys: tuple[str, ...], rows: int | None
) -> str:
    """For so many rows of SQLite; None: for PostgreSQL."""
    name = table.name
    every = columns + adds + keys
    if rows is not None:
        given = {column: f"d.column{n}" for n, column in enumerate(every, 1)}
        source = f"({_values(len(every), rows)}) AS d"
    else:
        given = {column: f'd."{column}"' for column in every}
        arrays = ", ".join(f"%s::{_pg_type(table.c[c])}" for c in every)
        source = f"unnest({arrays}) AS d ({', '.join(_quoted(every))})"
    parts = [f'"{c}" = {given[c]}' for c in columns] + [f'"{c}" = {name}."{c}" + {given[c]}' for c in adds]
    where = " AND ".join(f'{name}."{k}" = {given[k]}' for k in keys)
    return f"UPDATE {name} SET {', '.join(parts)} FROM {source} WHERE {where}"  # noqa: S608


def update_rows(
    tx: Tx,
    table: sa.Table,
    columns: tuple[str, ...],
    keys: tuple[str, ...],
    rows: list[tuple[Any, ...]],
    *,
    adds: tuple[str, ...] = (),
) -> None:
    """Update rows given as tuples (values of `columns`, amounts for `adds`, then `keys`). Keys must be distinct.

    Whoever calls has locked the rows in key order: an UPDATE with many rows promises no order of its own.
    """
    if not rows:
        return
    if tx.postgres:
        sql = _update_sql(table, columns, adds, keys, None)
        tx.driver_later(table.name, sql, [array(column) for column in zip(*rows, strict=True)])
        return
    for size, values in _parts(rows):
        tx.driver_run(_update_sql(table, columns, adds, keys, size), values)


def _values(columns: int, rows: int) -> str:
    row = f"({', '.join('?' * columns)})"
    return f"VALUES {', '.join([row] * rows)}"


def _never_null(table: sa.Table, columns: tuple[str, ...]) -> int:
    """Which of the columns, counted from 1, tells a row from what only fills its statement."""
    return next(n for n, name in enumerate(columns, 1) if not table.c[name].nullable)


def _parts(rows: list[tuple[Any, ...]]) -> Iterator[tuple[int, tuple[Any, ...]]]:
    """The rows as statements for so many of them, and the values of each statement, filled up with NULL."""
    most = SIZES[-1]
    for start in range(0, len(rows), most):
        part = rows[start : start + most]
        size = next(each for each in SIZES if each >= len(part))
        missing = (None,) * ((size - len(part)) * len(part[0]))
        yield size, (*itertools.chain.from_iterable(part), *missing)


def select_in(tx: Tx, sql: str, values: Sequence[Any]) -> Sequence[Row]:
    """Run `sql`, in which `{in}` stands for "is one of `values`" (strings), once for each database."""
    wanted = array(values) if tx.postgres else json.dumps(list(values))
    return tx.fetch(_select_sql(sql, tx.postgres), (wanted,))


@functools.cache
def _select_sql(sql: str, postgres: bool) -> str:
    if postgres:
        return sql.replace("{in}", "= ANY(%s::text[])")
    return sql.replace("{in}", "IN (SELECT value FROM json_each(?))").replace(" FOR UPDATE", "")
