"""The order of commits, waking across nodes, and schemas that know whose they are."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from oklp.errors import Conflict, InvariantBroken
from oklp.opening import check_database
from oklp.settings import Settings
from oklp.storage import engine, events, ledger, migrations, schema
from oklp.storage.engine import Database, Tx, connectable, horizon, inspect_database, migrate
from oklp.storage.tx import Row
from tests.storage.rig import LONG_SECONDS, NOW, WAITING, add, outcome, stored, submit

T = TypeVar("T")


@pytest.fixture
def database(migrated_url: str) -> Iterator[Database]:
    opened = Database(migrated_url, clock=lambda: NOW)
    yield opened
    opened.close()


@pytest.fixture
def nodes(postgres_url: str) -> Iterator[tuple[Database, Database]]:
    """Two nodes on one PostgreSQL."""
    migrate(postgres_url, sandbox=True)
    both = Database(postgres_url, clock=lambda: NOW), Database(postgres_url, clock=lambda: NOW)
    yield both
    for each in both:
        each.close()


def tell(tx: Tx, name: str) -> int:
    events.insert(tx, [("match", name, None, NOW)])
    return tx.number


def in_time(read: Callable[[], T], wanted: T) -> T:
    """What is read once it is what is wanted, or in the end: the horizon is the cluster's, and held back by whatever
    else is under way there.
    """
    until = time.monotonic() + LONG_SECONDS
    while (found := read()) != wanted and time.monotonic() < until:
        time.sleep(0.01)
    return found


# --- the order of commits --------------------------------------------------------------------------------------------


def test_numbers_rise_from_commit_to_commit(database: Database) -> None:
    numbers = [database.run(tell, "m") for _ in range(5)]
    assert numbers == sorted(set(numbers))
    assert in_time(lambda: database.run_report(horizon) > max(numbers), wanted=True)


def test_a_reader_waits_for_what_is_committed_late(nodes: tuple[Database, Database]) -> None:
    slow, fast = nodes
    entered, leave = threading.Event(), threading.Event()

    def dawdle(tx: Tx) -> int:
        number = tell(tx, "early")
        entered.set()
        assert leave.wait(LONG_SECONDS)
        return number

    def unread(tx: Tx) -> list[str]:
        return [row.match_id for row in events.since(tx, (0, 0), horizon(tx), 10)]

    early = submit(slow, dawdle)
    assert entered.wait(LONG_SECONDS)
    late = fast.run(tell, "late")
    assert fast.run_report(unread) == []  # what came first is not there yet, so what came second waits
    leave.set()
    assert outcome(early) < late
    assert in_time(lambda: fast.run_report(unread), ["early", "late"]) == ["early", "late"]


def test_a_reader_that_follows_the_horizon_misses_nothing(nodes: tuple[Database, Database]) -> None:
    """Writers on two nodes whose commits overlap at random, and readers who keep a cursor, as live updates do."""
    seed = random.randrange(2**32)
    written: list[tuple[int, str]] = []
    writers, writes = 4, 40
    until = time.monotonic() + LONG_SECONDS

    def page(tx: Tx, after: tuple[int, int]) -> Sequence[Row]:
        return events.since(tx, after, horizon(tx), 7)

    def work(tx: Tx, name: str, milliseconds: int) -> tuple[int, str]:
        tell(tx, name)
        tx.driver(f"SELECT pg_sleep({milliseconds} / 1000.0)")
        tell(tx, name)
        return tx.number, name

    def write(node: Database, writer: int) -> None:
        chance = random.Random(seed + writer)
        for n in range(writes):
            written.append(node.run(work, f"w{writer}-{n}", chance.choice([0, 0, 1, 5, 20])))

    def follow(node: Database) -> list[tuple[int, str]]:
        seen: list[tuple[int, str]] = []
        cursor = (0, 0)
        # By number, not until nothing comes: transactions elsewhere in the cluster hold the horizon back.
        while len(seen) < 2 * writers * writes and time.monotonic() < until:
            found = node.run_report(page, cursor)
            seen.extend((row.tx_number, row.match_id) for row in found)
            if found:
                cursor = (found[-1].tx_number, found[-1].seq)
        return seen

    with ThreadPoolExecutor() as pool:
        readers = [pool.submit(follow, node) for node in nodes]
        for writer in [pool.submit(write, nodes[n % 2], n) for n in range(writers)]:
            writer.result(LONG_SECONDS)
        expected = sorted([*written, *written])
        for reader in readers:
            assert sorted(reader.result(LONG_SECONDS)) == expected, f"seed {seed}"


def test_a_roll_up_leaves_out_what_its_own_transaction_has_yet_to_post(database: Database) -> None:
    def post(tx: Tx, set_id: str) -> None:
        pair = [(set_id, 0, 2, "house:fees", "XTS", 5, NOW), (set_id, 1, 2, "clearing:grant", "XTS", -5, NOW)]
        ledger.insert_postings(tx, pair)

    def post_around(tx: Tx) -> None:
        post(tx, "grant:b")
        ledger.roll_up(tx, "house:fees")
        post(tx, "grant:c")

    database.run(post, "grant:a")
    database.run(post_around)
    assert database.run_report(ledger.sum_of, "house:fees", 2) == ({"XTS": 15}, True)
    database.run(ledger.roll_up, "house:fees")
    assert database.run_report(ledger.sum_of, "house:fees", 2) == ({"XTS": 15}, True)


OLD_CLUSTER = 10**12


def offset(database: Database) -> int:
    return int(database.run_report(lambda tx: tx.driver("SELECT tx_number_offset FROM platform").scalar_one()))


def test_numbers_go_on_rising_after_a_restore_into_a_young_cluster(nodes: tuple[Database, Database]) -> None:
    url = nodes[0].url
    with connectable(url).connect() as hand:
        hand.exec_driver_sql(f"INSERT INTO operations (number, id, at) VALUES ({OLD_CLUSTER}, 'old', 0)")
        hand.exec_driver_sql(
            f"INSERT INTO events (tx_number, kind, match_id, at) VALUES ({OLD_CLUSTER}, 'match', 'old', 0)"
        )
        hand.exec_driver_sql("BEGIN")
        hand.exec_driver_sql("SELECT id FROM platform FOR UPDATE")
        restored = [Database(url, clock=lambda: NOW) for _ in range(4)]
        first = [submit(node, tell, "new") for node in restored]
        while hand.exec_driver_sql(WAITING).scalar_one() < len(restored):
            assert not any(future.done() for future in first)
        hand.exec_driver_sql("COMMIT")
    for node, future in zip(restored, first, strict=True):
        assert OLD_CLUSTER < outcome(future) < node.run(tell, "new")
    # Nodes that start together lift the offset once between them.
    assert offset(nodes[0]) < OLD_CLUSTER
    wanted = ["old", *["new"] * 8]

    def seen() -> list[str]:
        return nodes[0].run_report(lambda tx: [row.match_id for row in events.since(tx, (0, 0), horizon(tx), 99)])

    assert in_time(seen, wanted) == wanted
    for node in restored:
        node.close()


def test_a_node_that_joins_others_at_work_lifts_nothing(nodes: tuple[Database, Database]) -> None:
    entered, leave = threading.Event(), threading.Event()

    def dawdle(tx: Tx) -> None:
        entered.set()
        assert leave.wait(LONG_SECONDS)

    slow = submit(nodes[0], dawdle)
    assert entered.wait(LONG_SECONDS)
    for _ in range(3):
        nodes[1].run(tell, "m")  # later numbers than one that is still running
    with closing(Database(nodes[0].url, clock=lambda: NOW)) as joining:
        joining.run(tell, "n")
        assert offset(joining) == 0
    leave.set()
    outcome(slow)


# --- operations ------------------------------------------------------------------------------------------------------


def test_an_operation_that_is_in_the_database_is_not_done_again(migrated_url: str) -> None:
    with closing(Database(migrated_url, clock=lambda: NOW, new_operation_id=lambda: "the same")) as database:
        assert database.run(add, "a")
        assert database.run(add, "b") is None
        assert stored(database) == ["a"]


def test_a_database_that_belongs_to_nobody_takes_no_writes(nodes: tuple[Database, Database]) -> None:
    database = nodes[0]
    with database.engine.connect() as connection:
        connection.exec_driver_sql("DELETE FROM platform")
    with pytest.raises(InvariantBroken, match="not migrated"):
        database.run(add, "a")
    assert stored(database) == []


# --- waking ----------------------------------------------------------------------------------------------------------


class Ear:
    """Listens on a node while its `watch` runs."""

    def __init__(self, database: Database) -> None:
        self._loop = asyncio.get_running_loop()
        self._heard: asyncio.Queue[tuple[set[str], list[Any]]] = asyncio.Queue()
        self._task = asyncio.create_task(database.watch())
        database.listen(lambda topics, handoffs: self._put(set(topics), list(handoffs)))

    def _put(self, topics: set[str], handoffs: list[Any]) -> None:
        self._loop.call_soon_threadsafe(self._heard.put_nowait, (topics, handoffs))

    async def next(self) -> tuple[set[str], list[Any]]:
        return await asyncio.wait_for(self._heard.get(), LONG_SECONDS)

    async def stop(self) -> None:
        self._task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await self._task


def hand_over(tx: Tx, what: str) -> None:
    tx.handoffs.append(what)
    tx.notify("keys")


def test_commits_wake_the_other_nodes_by_topic(nodes: tuple[Database, Database]) -> None:
    async def main() -> None:
        here, there = (Ear(node) for node in nodes)
        started: tuple[set[str], list[Any]] = (set(engine.TOPICS), [])  # who knows what was said before
        assert await here.next() == await there.next() == started
        await nodes[0].write(tell, "m")
        assert await here.next() == ({"events"}, [])
        assert await there.next() == ({"events"}, [])
        await nodes[1].write(hand_over, "this")
        assert await there.next() == ({"keys"}, ["this"])
        assert await here.next() == ({"keys"}, [])  # handoffs stay in their process, and nobody hears himself twice
        await here.stop()
        await there.stop()

    asyncio.run(main())


def test_a_node_that_lost_its_ear_listens_again_and_checks_everything(nodes: tuple[Database, Database]) -> None:
    async def main() -> None:
        ear = Ear(nodes[0])
        await ear.next()
        await nodes[1].write(
            lambda tx: tx.driver("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%%'")
        )
        assert await ear.next() == (set(engine.TOPICS), [])
        await nodes[1].write(tell, "m")
        assert await ear.next() == ({"events"}, [])
        await ear.stop()

    asyncio.run(main())


WRITE = """
import sys
from oklp.storage.engine import Database
database = Database(sys.argv[1], clock=lambda: 0)
database.run(lambda tx: tx.driver("INSERT INTO studios (id, name, created_at) VALUES ('theirs', '', 0)"))
database.close()
"""


def run_python(program: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", program, *arguments], stderr=subprocess.PIPE, text=True)


def test_a_command_wakes_the_server_of_an_embedded_database(make_database: Any) -> None:
    url = make_database("sqlite", migrated=True)

    async def main() -> None:
        with closing(Database(url, clock=lambda: NOW)) as database:
            ear = Ear(database)
            await asyncio.sleep(0)  # the watch takes its first look
            command = await asyncio.to_thread(run_python, WRITE, url)
            assert await ear.next() == (set(engine.TOPICS), [])
            assert stored(database) == ["theirs"]
            assert await asyncio.to_thread(command.wait, LONG_SECONDS) == 0
            await ear.stop()

    asyncio.run(main())


def test_the_first_write_of_a_server_does_not_hide_a_command_s_write(
    make_database: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between two looks a command writes, and then the server itself: the newest operation is its own."""
    monkeypatch.setattr(engine, "POLL_SECONDS", 0.5)
    url = make_database("sqlite", migrated=True)

    async def main() -> None:
        with (
            closing(Database(url, clock=lambda: NOW)) as database,
            closing(Database(url, clock=lambda: NOW)) as command,
        ):
            ear = Ear(database)
            await asyncio.sleep(0)
            await command.write(tell, "theirs")
            await database.write(tell, "ours")
            heard = [await ear.next(), await ear.next()]
            assert (set(engine.TOPICS), []) in heard
            await ear.stop()

    asyncio.run(main())


# --- migrations ------------------------------------------------------------------------------------------------------

MIGRATE = """
import sys
from oklp.storage.engine import migrate
migrate(sys.argv[1], sandbox=sys.argv[2] == "sandbox", now=7)
"""


def test_migrating_again_changes_nothing(database_url: str) -> None:
    assert inspect_database(database_url) == (False, False, None, False)
    migrate(database_url, sandbox=True, now=1)
    before = contents(database_url)
    assert inspect_database(database_url) == (True, True, True, False)
    migrate(database_url, sandbox=True, now=2)
    assert contents(database_url) == before


def contents(url: str) -> dict[str, list[tuple[Any, ...]]]:
    with connectable(url).connect() as connection:
        tables = sorted(sa.inspect(connection).get_table_names())
        return {name: [tuple(row) for row in connection.exec_driver_sql(f"SELECT * FROM {name}")] for name in tables}


def test_looking_leaves_a_missing_file_missing(tmp_path: Path) -> None:
    assert inspect_database(f"sqlite:///{tmp_path / 'none.db'}") == (False, False, None, False)
    assert not (tmp_path / "none.db").exists()


def test_processes_that_migrate_at_once_all_succeed(database_url: str) -> None:
    processes = [run_python(MIGRATE, database_url, "sandbox") for _ in range(4)]
    assert [(process.wait(LONG_SECONDS * 2), process.communicate()[1]) for process in processes] == [(0, "")] * 4
    assert inspect_database(database_url) == (True, True, True, False)


def test_play_money_and_money_never_share_a_database(database_url: str, make_database: Any) -> None:
    migrate(database_url, sandbox=True)
    with pytest.raises(Conflict, match="sandbox"):
        migrate(database_url, sandbox=False)
    production = make_database("sqlite", migrated=True, sandbox=False)
    with pytest.raises(Conflict, match="production"):
        migrate(production, sandbox=True)
    assert inspect_database(database_url).sandbox is True
    assert inspect_database(production).sandbox is False


def test_of_two_modes_that_migrate_at_once_one_wins(database_url: str) -> None:
    modes = ["sandbox", "production"] * 2
    processes = [run_python(MIGRATE, database_url, mode) for mode in modes]
    ends = [(process.wait(LONG_SECONDS * 2), process.communicate()[1]) for process in processes]
    winner = "sandbox" if inspect_database(database_url).sandbox else "production"
    for mode, (status, errors) in zip(modes, ends, strict=True):
        assert (status == 0) == (mode == winner)
        assert mode == winner or "Conflict" in errors


@pytest.mark.parametrize("backend", ["sqlite", "postgresql"])
def test_an_older_version_says_that_the_schema_is_newer(backend: str, make_database: Any) -> None:
    """To migrate is no advice for whoever has gone back to an older version."""
    url = make_database(backend, migrated=True, sandbox=False)
    with connectable(url).connect() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(Conflict, match="newer schema"):
        check_database(Settings(database_url=url, sandbox=False))
    with pytest.raises(Conflict, match="newer schema"):
        migrate(url, sandbox=False)


def test_the_newest_revision_is_known_by_name() -> None:
    script = ScriptDirectory.from_config(migrations.alembic_config())
    assert script.get_heads() == [migrations.HEAD]


def test_the_migrations_lead_to_the_schema(migrated_url: str) -> None:
    with connectable(migrated_url).connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), schema.metadata) == []


def _sqlite_schema(connection: sa.Connection) -> list[Any]:
    rows = connection.exec_driver_sql("SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL")
    # Each lists the constraints of a table in an order of its own.
    return sorted((row[0], row[1], sorted(row[2].replace(",", " ").split())) for row in rows)


_POSTGRES_SCHEMA = """
    SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid)
    FROM pg_constraint WHERE connamespace = 'public'::regnamespace AND conrelid <> 0
    UNION ALL
    SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'
    UNION ALL
    SELECT table_name, column_name, data_type || is_nullable || coalesce(column_default, '')
    FROM information_schema.columns WHERE table_schema = 'public'
"""


def _postgres_schema(connection: sa.Connection) -> list[Any]:
    return sorted(tuple(row) for row in connection.exec_driver_sql(_POSTGRES_SCHEMA))


@pytest.mark.parametrize(("backend", "read"), [("sqlite", _sqlite_schema), ("postgresql", _postgres_schema)])
def test_checks_and_partial_indexes_are_those_of_the_schema(
    make_database: Any, backend: str, read: Callable[[sa.Connection], list[Any]]
) -> None:
    """What Alembic's comparison does not look at."""

    def without_alembic(found: list[Any]) -> list[Any]:
        return [each for each in found if "alembic_version" not in str(each)]

    with connectable(make_database(backend)).connect() as connection:
        schema.metadata.create_all(connection)
        expected = read(connection)
    with connectable(make_database(backend, migrated=True)).connect() as connection:
        assert without_alembic(read(connection)) == expected
    assert len(expected) > 40
