"""Statements that go to PostgreSQL together: what fails in the middle, and what a connection keeps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
import sqlalchemy as sa

from oklp.errors import Conflict, OklpError, Unavailable
from oklp.storage import driver, engine, lanes, schema, sets
from oklp.storage.driver import Statement
from oklp.storage.engine import Database, Tx
from tests.storage.rig import LONG_SECONDS, NOW, Gate, add, outcome, stored, submit

COLUMNS = ("id", "name", "created_at")


@pytest.fixture
def postgres(postgres_url: str) -> Iterator[Database]:
    engine.migrate(postgres_url, sandbox=True)
    opened = Database(postgres_url, clock=lambda: NOW)
    yield opened
    opened.close()


def visit(tx: Tx, names: Sequence[str]) -> list[str | OklpError]:
    """Lock these studios first, and last of all count the visits in their names."""
    rows = sets.select_in(tx, "SELECT id, name FROM studios WHERE id {in} ORDER BY id FOR UPDATE", sorted(set(names)))
    sets.update_rows(tx, schema.studios, ("name",), ("id",), [(row.name + "+", row.id) for row in rows])
    found = {row.id: row.name for row in rows}
    return [found.get(name, "nobody") for name in names]


def found(tx: Tx, ids: Sequence[str]) -> list[str | OklpError]:
    """Only write: studios of these ids, which must be new."""
    sets.insert_rows(tx, schema.studios, COLUMNS, [(each, "", NOW) for each in ids])
    return list(ids)


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
