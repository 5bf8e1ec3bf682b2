"""Running the checks of `book_checks` over a snapshot, and the sums of the ledger."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, NoReturn

import sqlalchemy as sa

from oklp.storage import schema, sets
from oklp.storage.book_checks import CHECKS, JSON_COLUMNS, Check
from oklp.storage.tx import Row, Tx

MOST_FAULTS = 1_000  # of each check
MALFORMED = "json-malformed"
_CHUNK = 1_000
_SQLITE_ERROR = 1  # "integer overflow", "malformed JSON": what rows can bring a statement to


class Fault(NamedTuple):
    """A row that is off: which check found it, what it is, and a sentence with the numbers."""

    check: str
    row: str
    detail: str


class Counts(NamedTuple):
    postings: int
    posting_sets: int
    matches: int


def faults(tx: Tx, done: Callable[[int, int], None]) -> list[Fault]:
    """Everything that is off, MOST_FAULTS of each check at the most and a note where there is more.

    After each check `done` is told how many of how many are made.
    """
    if tx.postgres:
        # Nothing is known beforehand about parts of ids, and a nested loop chosen on a guess takes hours.
        tx.driver("SET LOCAL enable_nestloop = off")
        # A loop that cannot be avoided then counts as endless, and statements are compiled for it: seconds for nothing.
        tx.driver("SET LOCAL jit = off")
        tx.driver("SET LOCAL work_mem = '64MB'")
    malformed = malformed_json(tx)
    found = [
        Fault(MALFORMED, f"match:{match_id}", f"What it keeps in {column} is not JSON.")
        for match_id, column in malformed[:MOST_FAULTS]
    ]
    if len(malformed) > MOST_FAULTS:
        found.append(_cut(MALFORMED, len(malformed)))
    checks = [each for each in CHECKS if not each.only or tx.postgres == (each.only == "postgresql")]
    for number, check in enumerate(checks, 1):
        with _guarded(tx, check.name, found):
            found.extend(_run(tx, check, [match_id for match_id, column in malformed if column == check.column]))
        done(number, len(checks))
    return found


def _run(tx: Tx, check: Check, malformed: list[str]) -> list[Fault]:
    sql = check.sql
    parameters: tuple[str, ...] = ()
    if tx.postgres and check.postgres:
        sql, parameters = check.postgres, (sets.array(malformed),)
    rows = _all(tx, f"{sql} ORDER BY 1 LIMIT {MOST_FAULTS + 1}", parameters)
    found = []
    for row in rows[:MOST_FAULTS]:
        values = {name: "nothing" if value is None else value for name, value in row._mapping.items()}
        found.append(Fault(check.name, check.row.format(**values), check.detail.format(**values)))
    if len(rows) > MOST_FAULTS:
        found.append(_cut(check.name))
    return found


def _all(tx: Tx, sql: str, parameters: tuple[str, ...] = ()) -> Sequence[Row]:
    return tx.driver(sql if tx.postgres else sql.replace("strpos(", "instr("), parameters).all()


def _cut(check: str, total: int | None = None) -> Fault:
    how_many = "more" if total is None else f"{total}"
    return Fault(check, "…", f"There are {how_many} of these; only the first {MOST_FAULTS} are listed.")


@contextlib.contextmanager
def _guarded(tx: Tx, check: str, found: list[Fault]) -> Iterator[None]:
    """When what is in the rows breaks the statement itself, that is the fault: nothing is proved."""
    try:
        with tx.savepoint():
            yield
    except sa.exc.DBAPIError as error:
        if not _caused_by_data(error):
            raise
        found.append(Fault(check, "…", f"It could not be run: {str(error.orig).splitlines()[0]}."))


def _caused_by_data(error: sa.exc.DBAPIError) -> bool:
    if isinstance(error.orig, sqlite3.Error):
        return getattr(error.orig, "sqlite_errorcode", 0) == _SQLITE_ERROR
    return str(getattr(error.orig, "sqlstate", None) or "").startswith("22")


# --- JSON ------------------------------------------------------------------------------------------------------------


def malformed_json(tx: Tx) -> list[tuple[str, str]]:
    """(match id, column) wherever a match keeps text that is not JSON, in order.

    PostgreSQL knows only by trying. Where the whole table casts, that was all; else the rows are looked at one by one.
    """
    if not tx.postgres:
        each = (
            f"SELECT id, '{column}' FROM matches WHERE {column} IS NOT NULL AND NOT json_valid({column})"  # noqa: S608
            for column in JSON_COLUMNS
        )
        return [(row[0], row[1]) for row in tx.driver(" UNION ALL ".join(each) + " ORDER BY 1, 2").all()]
    cast = ", ".join(f"count({column}::json)" for column in JSON_COLUMNS)
    broken: list[Fault] = []
    with _guarded(tx, MALFORMED, broken):
        tx.driver(f"SELECT {cast} FROM matches").all()  # noqa: S608
    if not broken:
        return []
    m = schema.matches
    columns = [m.c[name] for name in JSON_COLUMNS]
    found: list[tuple[str, str]] = []
    after = ""
    while rows := tx.rows(sa.select(m.c.id, *columns).where(m.c.id > after).order_by(m.c.id).limit(_CHUNK)):
        found.extend((row.id, name) for row in rows for name in JSON_COLUMNS if not _is_json(row._mapping[name]))
        after = rows[-1].id
    return found


def _is_json(text: str | None) -> bool:
    def refuse(constant: str) -> NoReturn:
        raise ValueError(constant)

    try:
        json.loads("null" if text is None else text, parse_constant=refuse)  # NaN is JSON to Python alone
    except (ValueError, RecursionError):
        return False
    return True


# --- sums ------------------------------------------------------------------------------------------------------------


def counts(tx: Tx) -> Counts:
    row = tx.driver(
        "SELECT (SELECT count(*) FROM postings), (SELECT count(DISTINCT set_id) FROM postings),"
        " (SELECT count(*) FROM matches)"
    ).one()
    return Counts(*map(int, row))


def totals(tx: Tx, found: list[Fault]) -> list[tuple[str, str, int]]:
    """Sums of the postings as (currency, kind of account, amount), in order. What keeps them from being is found."""
    sql = (
        "SELECT currency, substr(account, 1, strpos(account || ':', ':') - 1) AS kind, sum(amount) AS amount"
        " FROM postings GROUP BY 1, 2 ORDER BY 1, 2"
    )
    sums: list[tuple[str, str, int]] = []
    with _guarded(tx, "totals", found):
        sums.extend((row[0], row[1], int(row[2])) for row in _all(tx, sql))
    return sums
