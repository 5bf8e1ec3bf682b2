"""Statements that go to PostgreSQL together: what fails in the middle, and what a connection keeps."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import Any

import pytest
import sqlalchemy as sa

from oklp.errors import Conflict, InvariantBroken, OklpError, Unavailable
from oklp.storage import driver, lanes, schema, sets
from oklp.storage.driver import Statement
from oklp.storage.engine import Database, Tx
from tests.storage.rig import LONG_SECONDS, NOW, Gate, add, outcome, stored, submit
from tests.storage.wire import Way, Wire

COLUMNS = ("id", "name", "created_at")


@pytest.fixture
def postgres(migrated_postgres_url: str) -> Iterator[Database]:
    opened = Database(migrated_postgres_url, clock=lambda: NOW)
    yield opened
    opened.close()


def visit(tx: Tx, names: Sequence[str]) -> list[str | OklpError]:
    """Lock these studios first, and last of all count the visits in their names; their names before it."""
    rows = sets.select_in(tx, "SELECT id, name FROM studios WHERE id {in} ORDER BY id FOR UPDATE", sorted(set(names)))
    sets.update_rows(tx, schema.studios, ("name",), ("id",), [(row.name + "+", row.id) for row in rows])
    found = {row.id: row.name for row in rows}
    tx.handoffs.extend(found.values())
    return [found.get(name, "nobody") for name in names]


def found(tx: Tx, ids: Sequence[str]) -> list[str | OklpError]:
    """Only write: studios of these ids, which must be new."""
    sets.insert_rows(tx, schema.studios, COLUMNS, [(each, "", NOW) for each in ids])
    return list(ids)


def everything(tx: Tx, ids: Sequence[str]) -> list[int | OklpError]:
    """The columns of a studio, as many as there are."""
    rows = sets.select_in(tx, "SELECT * FROM studios WHERE id {in}", ids)
    return [len(rows[0]) for _ in ids]


def kept(tx: Tx) -> int:
    return int(tx.driver("SELECT count(*) FROM pg_prepared_statements WHERE name LIKE 'oklp%%'").scalar_one())


def test_each_reads_what_the_one_before_it_has_committed(postgres: Database) -> None:
    postgres.run(add, "a")
    assert [postgres.run_set(visit, "a") for _ in range(8)] == ["+" * n for n in range(8)]
    assert postgres.run_set(visit, "b") == "nobody"


def test_nobody_pays_for_a_lock_that_only_his_neighbour_needs(
    postgres: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first statement fails in the message that began: it is a job's statement all the same."""
    monkeypatch.setattr(lanes, "RERUNS", 2)
    for name in ("taken", "free"):
        postgres.run(add, name)
    postgres.run(lambda tx: tx.driver("SET lock_timeout = 50"))
    with postgres.engine.connect() as other:
        other.exec_driver_sql("BEGIN")
        other.exec_driver_sql("SELECT 1 FROM studios WHERE id = 'taken' FOR UPDATE")
        gate = Gate(postgres)
        futures = {name: submit(postgres, visit, name, set_based=True) for name in ("taken", "free", "unknown")}
        gate.open()
        answers = {name: outcome(future) for name, future in futures.items()}
    assert isinstance(answers.pop("taken"), Unavailable)
    assert answers == {"free": "", "unknown": "nobody"}
    assert postgres.run_set(visit, "free") == "+"


def test_nobody_pays_for_a_rule_that_his_neighbour_breaks_at_the_very_end(postgres: Database) -> None:
    """The last writes fail in the message that would have committed."""
    postgres.run(add, "a")
    gate = Gate(postgres)
    futures = [submit(postgres, found, name, set_based=True) for name in ("b", "a", "c")]
    gate.open()
    first, broken, last = [future.exception(LONG_SECONDS) or future.result() for future in futures]
    assert (first, last) == ("b", "c")
    assert isinstance(broken, sa.exc.IntegrityError)
    assert stored(postgres) == ["a", "b", "c"]


def test_what_is_planned_outlasts_what_is_undone(postgres: Database) -> None:
    def refuse(tx: Tx) -> None:
        add(tx, "nobody")
        raise Conflict("no")

    postgres.run(add, "a")
    for _ in range(8):  # psycopg keeps its own from the sixth time on, and would have all forgotten by a rollback
        postgres.run_set(visit, "a")
        postgres.run(add, f"b{_}")
    before = postgres.run(kept)
    gate = Gate(postgres)
    refused = [submit(postgres, refuse) for _ in range(2)]
    gate.open()
    assert {type(outcome(future)) for future in refused} == {Conflict}
    with pytest.raises(Conflict):
        postgres.run(refuse)
    postgres.run(add, "c")
    assert postgres.run(kept) == before > 0


def test_what_a_connection_has_forgotten_is_planned_again(postgres: Database) -> None:
    postgres.run(add, "a")
    assert postgres.run_set(visit, "a") == ""
    postgres.run(lambda tx: tx.driver("DEALLOCATE ALL"))
    assert postgres.run_set(visit, "a") == "+"


@pytest.mark.parametrize("lane", ["write", "read"])
def test_a_table_that_has_another_column_since_is_read_again(postgres: Database, lane: str) -> None:
    postgres.run(add, "a")
    ask = postgres.run_set if lane == "write" else functools.partial(read_set, postgres)
    columns = ask(everything, "a")
    with postgres.engine.connect() as other:
        other.exec_driver_sql("ALTER TABLE studios ADD COLUMN motto text")
    assert ask(everything, "a") == columns + 1


def read_set(database: Database, fn: Callable[[Tx, Sequence[str]], Sequence[Any]], job: str) -> Any:
    return asyncio.run(database.read_set(fn, job))


@pytest.mark.parametrize("way", ["there", "back"])
def test_wherever_a_message_is_cut_nothing_is_done_twice_and_answers_are_true(
    postgres: Database, monkeypatch: pytest.MonkeyPatch, way: Way
) -> None:
    monkeypatch.setattr(lanes, "RERUN_PAUSE_SECONDS", 0.001)
    postgres.run(add, "a")
    wire = Wire(postgres.url)
    heard: list[str] = []
    with closing(Database(wire.url, clock=lambda: NOW)) as database:
        database.listen(lambda topics, handoffs: heard.extend(handoffs))
        for n in range(2):
            assert database.run_set(visit, "a") == "+" * n  # all is kept now, and the next shows the size of it
        before = wire.passed[way]
        assert database.run_set(visit, "a") == "++"
        size = wire.passed[way] - before
        visits = 3
        for place in range(0, size, max(1, size // 24)):
            wire.cut_after(way, place)
            assert database.run_set(visit, "a") == "+" * visits
            assert wire.happened.is_set()
            assert database.run_set(visit, "a") == "+" * (visits + 1)
            visits += 2
    wire.close()
    assert visits > 40
    assert heard == ["+" * n for n in range(visits)]


def test_a_message_that_cannot_be_sent_ends_the_connection(postgres: Database) -> None:
    """Else the rest of it would be there, and its answers taken for those to the next."""
    many = Statement(f"SELECT {', '.join(['%s'] * 70_000)}", tuple(range(70_000)), kept=False)
    with postgres.engine.connect() as connection, pytest.raises(sa.exc.DBAPIError) as failed:
        driver.send(connection, Statement("BEGIN", kept=False), many)
    assert failed.value.connection_invalidated


def test_a_hot_statement_takes_text_and_integers_and_nothing_for_nothing(postgres: Database) -> None:
    with postgres.engine.connect() as connection:
        assert driver.send(connection, Statement("SELECT %s::text, %s::bigint", (None, 1))) == [(None, 1)]
        with pytest.raises(TypeError, match="bytes"):
            driver.send(connection, Statement("SELECT %s::text", (b"x",)))  # type: ignore[arg-type]


def test_nobody_pays_for_text_of_his_neighbour_that_postgresql_cannot_hold(postgres: Database) -> None:
    postgres.run(add, "a")
    gate = Gate(postgres)
    futures = [submit(postgres, visit, name, set_based=True) for name in ("a", "a\0b", "b")]
    gate.open()
    first, broken, last = [future.exception(LONG_SECONDS) or future.result() for future in futures]
    assert (first, last) == ("", "nobody")
    assert isinstance(broken, sa.exc.DBAPIError)


def test_nothing_is_written_outside_a_transaction_that_could_not_begin(postgres: Database) -> None:
    def careless(tx: Tx, names: Sequence[str]) -> list[str | OklpError]:
        with contextlib.suppress(sa.exc.DBAPIError):
            visit(tx, ["a\0b"])
        return [str(add(tx, name)) for name in names]

    with pytest.raises(InvariantBroken):
        postgres.run_set(careless, "c")
    assert stored(postgres) == []


def test_text_that_postgresql_cannot_hold_is_refused_and_not_cut(postgres: Database) -> None:
    with pytest.raises(sa.exc.DBAPIError, match="NUL"):
        postgres.run_set(found, "a\0b")
    assert stored(postgres) == []


@pytest.mark.parametrize("text", ["it's", 'a "b"', "back\\slash", "%s %% %(x)s", "$1 ; COMMIT", "{a,b}", "é\n\t€🂡", ""])
def test_any_other_text_comes_back_as_it_went(postgres: Database, text: str) -> None:
    with postgres.engine.connect() as connection:
        for is_kept in (False, True):
            rows = driver.send(connection, Statement("SELECT %s::text AS it, %s + 1", (text, 41), kept=is_kept))
            assert rows == [(text, 42)]
            assert rows[0].it == text
    assert postgres.run_set(found, text) == text
    assert stored(postgres) == [text]
