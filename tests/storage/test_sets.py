"""Set-based statements: whatever goes in comes out, on both databases."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import example, given
from hypothesis import strategies as st

from oklp.errors import Conflict, OklpError
from oklp.storage import schema, sets
from oklp.storage.engine import Database, Tx

NOW = 1_700_000_000_000
d = schema.deliveries
COLUMNS = (
    "id",
    "game_id",
    "match_id",
    "event",
    "method",
    "url",
    "body",
    "state",
    "attempts",
    "attempts_left",
    "next_attempt_at",
    "give_up_at",
    "maybe_received",
    "created_at",
)

# All of Unicode that UTF-8 can carry, but for NUL, which PostgreSQL refuses; and all that means something in an array.
texts = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20),
    st.text(st.sampled_from("\"'\\{},%$?:;()[] \t\n\r\x01NULnul\u2028\u00e9\U0001f3b2"), max_size=12),
    st.sampled_from(["", "NULL", "null", "\\", '"', '\\"', "{}", '{"a"}', "%s", "%(x)s", ":x", "?", "\\N", "a,b", " "]),
)
big = st.integers(-(2**63), 2**63 - 1)
rows_of_values = st.lists(
    st.tuples(texts, st.none() | texts, texts, texts, big, st.none() | big, st.booleans()), min_size=1, max_size=8
)


@pytest.fixture
def database(migrated_url: str) -> Iterator[Database]:
    opened = Database(migrated_url, clock=lambda: NOW)
    yield opened
    opened.close()


def everything(tx: Tx) -> list[tuple[Any, ...]]:
    found = tx.rows(sa.select(*(d.c[name] for name in COLUMNS)).order_by(d.c.created_at))
    return [tuple(row) for row in found]


def as_row(key: str, at: int, values: tuple[Any, ...]) -> tuple[Any, ...]:
    game_id, match_id, url, body, attempts, next_at, received = values
    return (key, game_id, match_id, "test", "PUT", url, body, "waiting", attempts, 1, next_at, 0, received, at)


def test_rows_come_out_as_they_went_in(database: Database) -> None:
    def both(tx: Tx, rows: list[tuple[Any, ...]], changed: list[tuple[Any, ...]]) -> None:
        tx.execute(d.delete())
        sets.insert_rows(tx, d, COLUMNS, rows)
        assert everything(tx) == rows
        columns = ("game_id", "match_id", "url", "body", "attempts", "next_attempt_at", "maybe_received")
        sets.update_rows(tx, d, columns, ("id",), changed)
        expected = {row[-1]: row[:-1] for row in changed}
        assert everything(tx) == [as_row(row[0], row[-1], expected[row[0]]) for row in rows]

    @given(st.lists(texts, min_size=8, max_size=8, unique=True), rows_of_values, rows_of_values)
    def check(keys: list[str], values: list[tuple[Any, ...]], others: list[tuple[Any, ...]]) -> None:
        rows = [as_row(key, at, each) for at, (key, each) in enumerate(zip(keys, values, strict=False))]
        changed = [(*others[at % len(others)], row[0]) for at, row in enumerate(rows)]
        database.run(both, rows, changed)

    check()


def test_rows_are_found_by_any_key(database: Database) -> None:
    def find(tx: Tx, keys: list[str], wanted: list[str]) -> None:
        tx.execute(d.delete())
        empty = ("", None, "", "", 0, None, False)
        sets.insert_rows(tx, d, COLUMNS, [as_row(key, at, empty) for at, key in enumerate(keys)])
        for tail in ("", " FOR UPDATE"):
            found = sets.select_in(tx, f"SELECT id FROM deliveries WHERE id {{in}} ORDER BY created_at{tail}", wanted)
            assert [row[0] for row in found] == [key for key in keys if key in wanted]

    @given(st.lists(texts, max_size=8, unique=True), st.lists(texts, max_size=3))
    @example(["a", "b"], ["b", "a", "b"])
    def check(keys: list[str], strangers: list[str]) -> None:
        database.run(find, keys, strangers + keys[::2])

    check()


def test_amounts_are_added_row_by_row(database: Database) -> None:
    start = st.integers(0, 2**52)

    def add(tx: Tx, balances: dict[str, int], deltas: dict[str, int]) -> None:
        b = schema.balances
        tx.execute(b.delete())
        rows = [(user, "XTS", amount) for user, amount in balances.items()]
        sets.insert_rows(tx, b, ("user_id", "currency", "balance"), rows)
        sets.insert_rows(tx, b, ("user_id", "currency", "balance"), [(user, "USD", 7) for user in balances])
        changes = [(delta, user, "XTS") for user, delta in deltas.items()]
        sets.update_rows(tx, b, (), ("user_id", "currency"), changes, adds=("balance",))
        found = {(row.user_id, row.currency): row.balance for row in tx.rows(sa.select(b))}
        expected = {(user, "XTS"): amount + deltas.get(user, 0) for user, amount in balances.items()}
        assert found == expected | {(user, "USD"): 7 for user in balances}

    @given(st.dictionaries(texts, st.tuples(start, st.integers(0, 2**52), st.booleans()), max_size=6))
    def check(users: dict[str, tuple[int, int, bool]]) -> None:
        deltas = {user: delta - balance for user, (balance, delta, moved) in users.items() if moved}
        database.run(add, {user: balance for user, (balance, _, _) in users.items()}, deltas)

    check()


def test_existing_rows_are_left_alone_only_on_request(database: Database) -> None:
    columns = ("id", "name", "created_at")

    def insert(tx: Tx, ignore: bool) -> None:
        sets.insert_rows(tx, schema.studios, columns, [("a", "new", 2), ("b", "new", 2)], ignore=ignore)

    database.run(lambda tx: sets.insert_rows(tx, schema.studios, columns, [("a", "old", 1)]))
    with pytest.raises(sa.exc.IntegrityError):
        database.run(insert, False)
    database.run(insert, True)
    found = database.run(lambda tx: {row.id: row.name for row in tx.rows(sa.select(schema.studios))})
    assert found == {"a": "old", "b": "new"}


def test_nothing_is_no_statement(database: Database) -> None:
    def nothing(tx: Tx) -> None:
        sets.insert_rows(tx, d, COLUMNS, [])
        sets.update_rows(tx, d, ("url",), ("id",), [])
        assert sets.select_in(tx, "SELECT id FROM deliveries WHERE id {in}", []) == []

    database.run(nothing)


# --- writes that wait for one another (PostgreSQL) --------------------------------------------------------------------

STUDIO = ("id", "name", "created_at")
GAME = ("id", "studio_id", "name", "launch_urls", "settings", "vetting", "created_at")


def studios(tx: Tx, *rows: tuple[str, str, int]) -> None:
    sets.insert_rows(tx, schema.studios, STUDIO, list(rows))


def game(tx: Tx, game_id: str, studio_id: str) -> None:
    sets.insert_rows(tx, schema.games, GAME, [(game_id, studio_id, "", "{}", "{}", "draft", 1)])


def rename(tx: Tx, name: str, studio_id: str) -> None:
    sets.update_rows(tx, schema.studios, ("name",), ("id",), [(name, studio_id)])


def test_a_statement_sees_the_writes_before_it(database: Database) -> None:
    def work(tx: Tx) -> list[tuple[str, str]]:
        studios(tx, ("a", "one", 1))
        game(tx, "g", "a")
        rename(tx, "two", "a")
        rename(tx, tx.rows(sa.select(schema.studios.c.name))[0][0] + "+", "a")
        studios(tx, ("b", "three", 1))
        return [(row.id, row.name) for row in tx.rows(sa.select(schema.studios).order_by(schema.studios.c.id))]

    assert database.run(work) == [("a", "two+"), ("b", "three")]
    found = database.run_report(lambda tx: tx.rows(sa.select(schema.games.c.studio_id)))
    assert [row[0] for row in found] == ["a"]


def test_writes_that_still_wait_at_the_end_are_committed_with_the_rest(database: Database) -> None:
    def both(tx: Tx, jobs: Sequence[str]) -> list[str | OklpError]:
        studios(tx, *((job, "", 1) for job in jobs))
        game(tx, "g", jobs[0])
        return list(jobs)

    assert database.run_set(both, "a") == "a"
    assert database.run_report(lambda tx: [row[0] for row in tx.rows(sa.select(schema.games.c.studio_id))]) == ["a"]


def test_what_waits_in_a_savepoint_is_undone_with_it(database: Database) -> None:
    def work(tx: Tx) -> None:
        studios(tx, ("a", "kept", 1))
        with suppress(Conflict), tx.savepoint():
            rename(tx, "lost", "a")
            game(tx, "g", "a")
            raise Conflict("no")
        studios(tx, ("b", "kept", 1))

    database.run(work)
    names = database.run_report(lambda tx: [row[0] for row in tx.rows(sa.select(schema.studios.c.name))])
    assert names == ["kept", "kept"]
    assert database.run_report(lambda tx: tx.rows(sa.select(schema.games))) == []


def test_the_database_s_no_is_turned_into_the_refusal_of_the_write_that_it_is_about(database: Database) -> None:
    def work(tx: Tx) -> None:
        studios(tx, ("a", "", 1))
        with tx.refusing(Conflict("there already")):
            studios(tx, ("a", "", 2))

    def earlier_fault(tx: Tx) -> None:
        game(tx, "g", "nobody")
        with tx.refusing(Conflict("not this one")):
            studios(tx, ("a", "", 1))

    with pytest.raises(Conflict, match="there already"):
        database.run(work)
    with pytest.raises(sa.exc.IntegrityError):
        database.run(earlier_fault)
    assert database.run_report(lambda tx: tx.rows(sa.select(schema.studios))) == []
