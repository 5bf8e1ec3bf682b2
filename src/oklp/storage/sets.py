"""Set-based statements: many rows in one go, the same call for both databases.

SQLite runs a prepared statement a row, in C. PostgreSQL gets one statement with an array a column, which costs a round
trip instead of one a row. Arrays are sent as literals: the driver would type every element of a list by itself.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from oklp.storage.tx import Row, Tx


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
def _insert_sql(table: sa.Table, columns: tuple[str, ...], postgres: bool, ignore: bool) -> str:
    names = ", ".join(_quoted(columns))
    tail = " ON CONFLICT DO NOTHING" if ignore else ""
    if not postgres:
        return f"INSERT INTO {table.name} ({names}) VALUES ({', '.join('?' * len(columns))}){tail}"  # noqa: S608
    arrays = ", ".join(f"%s::{_pg_type(table.c[name])}" for name in columns)
    return f"INSERT INTO {table.name} ({names}) SELECT * FROM unnest({arrays}){tail}"  # noqa: S608


def insert_rows(
    tx: Tx, table: sa.Table, columns: tuple[str, ...], rows: list[tuple[Any, ...]], *, ignore: bool = False
) -> None:
    """Insert rows given as tuples in the order of `columns`. `ignore` leaves existing rows as they are."""
    if not rows:
        return
    sql = _insert_sql(table, columns, tx.postgres, ignore)
    if tx.postgres:
        tx.driver_later(table.name, sql, [array(column) for column in zip(*rows, strict=True)])
    else:
        tx.driver_many(sql, rows)


@functools.cache
def _update_sql(
    table: sa.Table, columns: tuple[str, ...], adds: tuple[str, ...], keys: tuple[str, ...], postgres: bool
) -> str:
    name = table.name
    if not postgres:
        parts = [f'"{c}" = ?' for c in columns] + [f'"{c}" = "{c}" + ?' for c in adds]
        where = " AND ".join(f'"{k}" = ?' for k in keys)
        return f"UPDATE {name} SET {', '.join(parts)} WHERE {where}"  # noqa: S608
    parts = [f'"{c}" = d."{c}"' for c in columns] + [f'"{c}" = {name}."{c}" + d."{c}"' for c in adds]
    every = columns + adds + keys
    arrays = ", ".join(f"%s::{_pg_type(table.c[c])}" for c in every)
    where = " AND ".join(f'{name}."{k}" = d."{k}"' for k in keys)
    return (
        f"UPDATE {name} SET {', '.join(parts)}"  # noqa: S608
        f" FROM unnest({arrays}) AS d ({', '.join(_quoted(every))}) WHERE {where}"
    )


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
    sql = _update_sql(table, columns, adds, keys, tx.postgres)
    if tx.postgres:
        tx.driver_later(table.name, sql, [array(column) for column in zip(*rows, strict=True)])
    else:
        tx.driver_many(sql, rows)


def select_in(tx: Tx, sql: str, values: Sequence[Any]) -> Sequence[Row]:
    """Run `sql`, in which `{in}` stands for "is one of `values`" (strings), once for each database."""
    if tx.postgres:
        return tx.driver(sql.replace("{in}", "= ANY(%s::text[])"), (array(values),)).all()
    return tx.driver(
        sql.replace("{in}", "IN (SELECT value FROM json_each(?))").replace(" FOR UPDATE", ""),
        (json.dumps(list(values)),),
    ).all()
