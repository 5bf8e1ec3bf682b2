"""What a lane promises: batches, isolation, exactly once, answers after the commit, back-pressure, draining."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from oklp.errors import Conflict, InvariantBroken, NotFound, OklpError, Overloaded, Unavailable
from oklp.storage import engine, lanes
from oklp.storage.engine import Database, Tx
from oklp.storage.lanes import Job, Lane

NOW = 1_700_000_000_000
LONG_SECONDS = 30


class Watcher:
    """Counts what a lane tells its observer."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.retries = 0

    def batch(self, lane: str, size: int, seconds: float) -> None:
        if lane == "write":
            self.sizes.append(size)

    def retried(self, lane: str) -> None:
        self.retries += 1


@pytest.fixture
def watcher() -> Watcher:
    return Watcher()


@pytest.fixture
def database(migrated_url: str, watcher: Watcher) -> Iterator[Database]:
    opened = Database(migrated_url, clock=lambda: NOW, batch_limit=50, queue_limit=100, observer=watcher)
    yield opened
    opened.close()


@pytest.fixture
def postgres(postgres_url: str, watcher: Watcher) -> Iterator[Database]:
    engine.migrate(postgres_url, sandbox=True)
    opened = Database(postgres_url, clock=lambda: NOW, observer=watcher)
    yield opened
    opened.close()


def add(tx: Tx, name: str) -> int:
    """The smallest write there is. Returns the number of its transaction."""
    tx.driver(f"INSERT INTO studios (id, name, created_at) VALUES ('{name}', '', {tx.number})")
    tx.handoffs.append(name)
    tx.notify("events")
    return tx.number


def add_all(tx: Tx, names: Sequence[str]) -> list[int | OklpError]:
    outcomes: list[int | OklpError] = []
    for name in names:
        if name == "bug":
            raise ZeroDivisionError
        outcomes.append(NotFound("refused") if name == "refused" else add(tx, name))
    return outcomes


def add_more(tx: Tx, names: Sequence[str]) -> list[int | OklpError]:
    return add_all(tx, names)


def names(tx: Tx) -> list[str]:
    return sorted(str(row[0]) for row in tx.driver("SELECT id FROM studios").all())


def stored(database: Database) -> list[str]:
    """What another connection sees."""
    with database.engine.connect() as connection:
        return names(Tx(connection, 0))


class Gate:
    """A job that holds the write lane inside its transaction until it is opened, so that others queue up behind it."""

    def __init__(self, database: Database) -> None:
        self._entered = threading.Event()
        self._opened = threading.Event()
        self._lane = database.write_lane
        self.job = submit(database, self._hold)
        assert self._entered.wait(LONG_SECONDS)

    def _hold(self, tx: Tx) -> int:
        self._entered.set()
        assert self._opened.wait(LONG_SECONDS)
        return tx.number

    def open(self) -> int:
        self._opened.set()
        return int(self.job.result(LONG_SECONDS))


def submit(database: Database, fn: Callable[..., Any], *args: Any, set_based: bool = False) -> Future[Any]:
    job = Job(fn, args, set_based)
    job.waiter = Future()
    database.write_lane.submit(job)
    return job.waiter


def outcome(future: Future[Any]) -> Any:
    error = future.exception(LONG_SECONDS)
    return error if error is not None else future.result()


# --- batches ---------------------------------------------------------------------------------------------------------


def test_jobs_that_queue_up_during_a_commit_share_one_transaction(database: Database, watcher: Watcher) -> None:
    gate = Gate(database)
    waiting = [submit(database, add, f"s{n:02}") for n in range(20)]
    first = gate.open()
    numbers = {future.result(LONG_SECONDS) for future in waiting}
    assert len(numbers) == 1
    assert first not in numbers
    assert watcher.sizes == [1, 20]
    assert stored(database) == [f"s{n:02}" for n in range(20)]


def test_a_batch_is_bounded_and_keeps_the_order_of_arrival(database: Database, watcher: Watcher) -> None:
    gate = Gate(database)
    waiting = [submit(database, add, f"s{n}") for n in range(90)]
    gate.open()
    numbers = [future.result(LONG_SECONDS) for future in waiting]
    assert watcher.sizes == [1, 50, 40]
    assert numbers == sorted(numbers)


def test_a_batch_holds_one_kind_of_use_case(database: Database) -> None:
    gate = Gate(database)
    kinds = {
        "set": [submit(database, add_all, "a", set_based=True)],
        "single": [submit(database, add, "b")],
        "other": [submit(database, add_more, "c", set_based=True)],
    }
    kinds["set"].append(submit(database, add_all, "d", set_based=True))
    kinds["single"].append(submit(database, add, "e"))
    kinds["other"].append(submit(database, add_more, "f", set_based=True))
    gate.open()
    numbers = {kind: {future.result(LONG_SECONDS) for future in futures} for kind, futures in kinds.items()}
    assert all(len(each) == 1 for each in numbers.values())
    assert len(set.union(*numbers.values())) == 3


# --- isolation -------------------------------------------------------------------------------------------------------


def refuse(tx: Tx, name: str) -> None:
    add(tx, name)
    tx.notify("keys")
    raise Conflict("no")


def test_one_that_is_refused_is_undone_alone(database: Database, watcher: Watcher) -> None:
    heard: list[tuple[set[str], list[Any]]] = []
    database.listen(lambda topics, handoffs: heard.append((set(topics), list(handoffs))))
    gate = Gate(database)
    before, refused, after = (submit(database, *job) for job in ((add, "a"), (refuse, "b"), (add, "c")))
    gate.open()
    assert isinstance(outcome(refused), Conflict)
    assert outcome(before) == outcome(after)
    assert stored(database) == ["a", "c"]
    assert watcher.sizes == [1, 3]
    assert watcher.retries == 0
    assert heard == [({"events"}, ["a", "c"])]


def test_a_refusal_alone_in_its_batch_wakes_nobody(database: Database) -> None:
    heard: list[Any] = []
    database.listen(lambda topics, handoffs: heard.append(topics))
    with pytest.raises(Conflict):
        database.run(refuse, "a")
    assert stored(database) == []
    assert heard == []


def test_set_based_refusals_are_outcomes_of_their_jobs(database: Database, watcher: Watcher) -> None:
    gate = Gate(database)
    futures = [submit(database, add_all, name, set_based=True) for name in ("a", "refused", "b")]
    gate.open()
    first, refused, second = map(outcome, futures)
    assert isinstance(refused, NotFound)
    assert first == second
    assert watcher.retries == 0
    with pytest.raises(NotFound):
        database.run_set(add_all, "refused")


def stumble(tx: Tx, name: str) -> None:
    add(tx, name)
    raise ZeroDivisionError


def break_a_rule(tx: Tx, name: str) -> None:
    add(tx, name)
    add(tx, name)


@pytest.mark.parametrize(("culprit", "error"), [(stumble, ZeroDivisionError), (break_a_rule, sa.exc.IntegrityError)])
def test_an_unforeseen_error_is_paid_for_by_its_job_alone(
    database: Database, watcher: Watcher, culprit: Callable[[Tx, str], None], error: type[Exception]
) -> None:
    gate = Gate(database)
    jobs = [(add, "a"), (culprit, "b"), (add, "c"), (add, "d")]
    futures = [submit(database, *job) for job in jobs]
    gate.open()
    outcomes = [outcome(future) for future in futures]
    assert isinstance(outcomes[1], error)
    assert len({outcomes[0], outcomes[2], outcomes[3]}) == 3  # each in a transaction of its own
    assert stored(database) == ["a", "c", "d"]
    assert watcher.retries == 1
    assert database.run(add, "e") > outcomes[3]


def test_an_unforeseen_error_in_a_set_is_paid_for_by_its_job_alone(database: Database) -> None:
    gate = Gate(database)
    futures = [submit(database, add_all, name, set_based=True) for name in ("a", "bug", "refused", "c")]
    gate.open()
    _, bug, refused, _ = map(outcome, futures)
    assert isinstance(bug, ZeroDivisionError)
    assert isinstance(refused, NotFound)
    assert stored(database) == ["a", "c"]


def broken(tx: Tx, name: str) -> None:
    add(tx, name)
    raise InvariantBroken("a bug")


def test_a_broken_invariant_undoes_the_batch_and_names_its_job(database: Database) -> None:
    gate = Gate(database)
    futures = [submit(database, fn, name) for fn, name in ((add, "a"), (broken, "b"), (add, "c"))]
    gate.open()
    assert isinstance(outcome(futures[1]), InvariantBroken)
    assert stored(database) == ["a", "c"]


def test_a_set_that_forgets_an_outcome_is_a_bug(database: Database) -> None:
    def forgetful(tx: Tx, jobs: Sequence[str]) -> list[int | OklpError]:
        return add_all(tx, jobs)[1:]

    with pytest.raises(InvariantBroken, match="0 outcomes for 1 jobs"):
        database.run_set(forgetful, "a")
    assert stored(database) == []


def swallow(tx: Tx, name: str) -> str:
    add(tx, name)
    try:
        add(tx, name)
    except sa.exc.IntegrityError:
        return "as if nothing had happened"
    return ""


def test_postgresql_does_not_roll_back_in_silence(postgres: Database) -> None:
    with pytest.raises(InvariantBroken, match="went on"):
        postgres.run(swallow, "a")
    assert stored(postgres) == []
    assert postgres.run(add, "b")


@pytest.mark.parametrize("error", [StopIteration(), SystemExit(1), GeneratorExit()])
def test_a_lane_outlives_whatever_a_job_raises(database: Database, error: BaseException) -> None:
    def die(tx: Tx) -> None:
        raise error

    async def main() -> None:
        with pytest.raises((RuntimeError, InvariantBroken)):
            await asyncio.wait_for(database.write(die), LONG_SECONDS)
        await asyncio.wait_for(database.write(add, "a"), LONG_SECONDS)

    asyncio.run(main())
    assert stored(database) == ["a"]


def test_a_listener_that_fails_neither_undoes_nor_repeats_the_work(database: Database) -> None:
    heard: list[Any] = []

    def fail(topics: set[str], handoffs: Sequence[Any]) -> None:
        raise RuntimeError("Event loop is closed")

    database.listen(fail)
    database.listen(lambda topics, handoffs: heard.extend(handoffs))
    gate = Gate(database)
    futures = [submit(database, add, name) for name in "abc"]
    gate.open()
    assert len({outcome(future) for future in futures}) == 1
    assert stored(database) == heard == ["a", "b", "c"]


# --- answers ---------------------------------------------------------------------------------------------------------


class HeldCommit:
    """Stands between the write lane and its database, and keeps each COMMIT back until it is let go."""

    def __init__(self, sessions: Any) -> None:
        self._sessions = sessions
        self.reached = threading.Event()
        self.release = threading.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sessions, name)

    def commit(self, connection: sa.Connection, topics: set[str], set_based: bool) -> None:
        self.reached.set()
        assert self.release.wait(LONG_SECONDS)
        self._sessions.commit(connection, topics, set_based)


def test_nobody_is_answered_or_woken_before_the_commit(database: Database) -> None:
    heard: list[Any] = []
    database.listen(lambda topics, handoffs: heard.extend(handoffs))
    held = HeldCommit(database.write_lane._sessions)
    database.write_lane._sessions = held
    future = submit(database, add, "a")
    assert held.reached.wait(LONG_SECONDS)
    assert not future.done()
    assert heard == []
    assert stored(database) == []
    held.release.set()
    assert future.result(LONG_SECONDS)
    assert heard == stored(database) == ["a"]


def test_what_was_answered_is_seen_by_other_connections(database: Database) -> None:
    async def main() -> None:
        async def one(name: str) -> None:
            await database.write(add, name)
            assert name in stored(database)
            assert name in await database.read(names)

        await asyncio.gather(*(one(f"s{n}") for n in range(40)))

    asyncio.run(main())


def test_a_caller_that_goes_away_does_not_undo_the_work(database: Database) -> None:
    async def main() -> None:
        gate = Gate(database)
        leaving = asyncio.create_task(database.write(add, "a"))
        staying = asyncio.create_task(database.write(add, "b"))
        await asyncio.sleep(0)
        leaving.cancel()
        gate._opened.set()
        assert await staying
        with pytest.raises(asyncio.CancelledError):
            await leaving

    asyncio.run(main())
    assert stored(database) == ["a", "b"]


def test_a_loop_that_was_closed_does_not_stop_the_lane(database: Database) -> None:
    async def leave() -> None:
        job = Job(add, ("a",), False)
        job.loop = asyncio.get_running_loop()
        job.future = job.loop.create_future()
        database.write_lane.submit(job)

    gate = Gate(database)
    asyncio.run(leave())
    gate.open()
    assert database.run(add, "b")
    assert stored(database) == ["a", "b"]


def test_many_threads_and_a_loop_share_a_lane(database: Database) -> None:
    async def many() -> None:
        await asyncio.gather(*(database.write_set(add_all, f"l{n:02}") for n in range(40)))

    with ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(database.run, add, f"t{n:02}") for n in range(40)]
        asyncio.run(many())
        assert all(future.result(LONG_SECONDS) for future in futures)
    assert stored(database) == [f"l{n:02}" for n in range(40)] + [f"t{n:02}" for n in range(40)]


# --- bounds ----------------------------------------------------------------------------------------------------------


def test_a_full_queue_says_when_to_come_back(database: Database) -> None:
    gate = Gate(database)
    waiting = [submit(database, add, f"s{n:03}") for n in range(100)]
    with pytest.raises(Overloaded) as refusal:
        submit(database, add, "too-many")
    assert refusal.value.status == 503
    assert refusal.value.retry_after_seconds == 1
    gate.open()
    assert all(future.result(LONG_SECONDS) for future in waiting)
    assert stored(database) == [f"s{n:03}" for n in range(100)]


def test_closing_finishes_what_is_queued_and_takes_no_more(migrated_url: str) -> None:
    database = Database(migrated_url, clock=lambda: NOW, batch_limit=4)
    gate = Gate(database)
    waiting = [submit(database, add, f"s{n}") for n in range(10)]
    closer = threading.Thread(target=database.close)
    closer.start()
    while not database.write_lane._closing:
        threading.Event().wait(0.001)
    with pytest.raises(Unavailable) as refusal:
        submit(database, add, "late")
    assert refusal.value.retry_after_seconds == 2
    gate.open()
    closer.join(LONG_SECONDS)
    assert not closer.is_alive()
    assert all(future.done() for future in waiting)
    assert stored(database) == [f"s{n}" for n in range(10)]
    database.close()  # once more does no harm


# --- another node, another process -----------------------------------------------------------------------------------


def test_a_deadlock_between_two_nodes_costs_nobody_an_answer(postgres: Database) -> None:
    with Database(postgres.url, clock=lambda: NOW) as other:
        for name in ("a", "b"):
            postgres.run(add, name)
        both = threading.Barrier(2)
        runs: list[str] = []

        def cross(tx: Tx, first: str, second: str) -> None:
            runs.append(first)
            tx.driver(f"UPDATE studios SET name = name || '{first}' WHERE id = '{first}'")
            if runs.count(first) == 1:
                both.wait(LONG_SECONDS)
            tx.driver(f"UPDATE studios SET name = name || '{first}' WHERE id = '{second}'")

        futures = [submit(postgres, cross, "a", "b"), submit(other, cross, "b", "a")]
        assert [outcome(future) for future in futures] == [None, None]
        assert len(runs) == 3
        written = postgres.run(lambda tx: [row[0] for row in tx.driver("SELECT name FROM studios ORDER BY id").all()])
        assert sorted(written[0]) == sorted(written[1]) == ["a", "b"]


def test_a_serialization_failure_is_run_again(postgres: Database, watcher: Watcher) -> None:
    runs: list[int] = []

    def unlucky(tx: Tx) -> int:
        runs.append(tx.number)
        add(tx, "a")
        if len(runs) < 3:
            tx.driver("DO $$ BEGIN RAISE EXCEPTION 'try again' USING ERRCODE = 'serialization_failure'; END $$")
        return len(runs)

    assert postgres.run(unlucky) == 3
    assert watcher.retries == 2
    assert stored(postgres) == ["a"]


SLOW_WRITER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
connection.execute("INSERT INTO studios (id, name, created_at) VALUES ('theirs', '', 0)")
print("locked", flush=True)
sys.stdin.readline()
connection.execute("COMMIT")
"""


@pytest.fixture
def slow_writer(make_database: Any) -> Iterator[tuple[str, Callable[[], None]]]:
    """A migrated SQLite file in the hands of another process, and how to make that one commit."""
    url = make_database("sqlite", migrated=True)
    command = [sys.executable, "-c", SLOW_WRITER, url.removeprefix("sqlite:///")]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stdout.readline() == "locked\n"

    def commit() -> None:
        process.communicate("go on\n", LONG_SECONDS)

    yield url, commit
    if process.poll() is None:
        commit()


def test_a_busy_sqlite_file_is_waited_for(slow_writer: tuple[str, Callable[[], None]]) -> None:
    url, commit = slow_writer
    with Database(url, clock=lambda: NOW) as database:
        future = submit(database, add, "ours")
        assert database.run_report(names) == []  # readers do not wait
        assert not future.done()
        commit()
        assert future.result(LONG_SECONDS)
        assert stored(database) == ["ours", "theirs"]


def test_a_sqlite_file_that_stays_busy_is_reported_once_for_the_batch(
    slow_writer: tuple[str, Callable[[], None]], monkeypatch: pytest.MonkeyPatch, watcher: Watcher
) -> None:
    url, commit = slow_writer
    monkeypatch.setattr(engine, "BUSY_TIMEOUT_MS", 10)
    monkeypatch.setattr(lanes, "RERUN_PAUSE_SECONDS", 0.0)
    with Database(url, clock=lambda: NOW, observer=watcher) as database:
        futures = [submit(database, add, f"s{n}") for n in range(30)]
        assert {type(outcome(future)) for future in futures} == {Unavailable}
        assert watcher.retries < lanes.RERUNS
        commit()
        assert database.run(add, "ours")
        assert stored(database) == ["ours", "theirs"]


def test_a_mistake_in_a_statement_is_not_taken_for_a_busy_database(database: Database, watcher: Watcher) -> None:
    with pytest.raises(sa.exc.DBAPIError):
        database.run(lambda tx: tx.driver("SELECT no_such_column FROM studios").all())
    assert watcher.retries == 0


# --- every order of faults -------------------------------------------------------------------------------------------


class FakeDatabase:
    """Transactions, savepoints and operation ids in memory; each step asks `fault` whether it goes wrong, and how."""

    def __init__(self, faults: list[str | None]) -> None:
        self._faults = faults
        self.operations: list[str] = []
        self.rows: list[int] = []
        self.announced: list[int] = []

    def fault(self) -> str | None:
        return self._faults.pop() if self._faults else None

    # what a lane calls

    def connect(self) -> Any:
        if self.fault() is not None:
            raise _error("gone")
        return FakeConnection(self)

    def begin(self, connection: Any, operation_id: str, set_based: bool) -> int | None:
        connection.check()
        connection.rows = []
        if operation_id in self.operations:
            return None
        connection.operation_id = operation_id
        return len(self.operations) + 1

    def commit(self, connection: Any, topics: set[str], set_based: bool) -> None:
        how = self.fault()
        if how == "lost-after" and connection.operation_id is not None:
            connection.write()
            connection.die()
        connection.check(how)
        if connection.operation_id is not None:
            connection.write()

    def rollback(self, connection: Any, set_based: bool) -> None:
        connection.check()
        connection.rows, connection.operation_id = [], None

    def committed(self, topics: set[str], handoffs: list[Any]) -> None:
        self.announced.extend(handoffs)


class FakeConnection:
    dialect = SimpleNamespace(name="sqlite")

    def __init__(self, database: FakeDatabase) -> None:
        self._database = database
        self._savepoints: list[int] = []
        self.invalidated = False
        self.rows: list[int] = []
        self.operation_id: str | None = None

    def die(self) -> None:
        self.invalidated = True
        self.rows, self.operation_id = [], None
        raise _error("gone")

    def check(self, how: str | None = None) -> None:
        how = how or self._database.fault()
        if self.invalidated or how in ("lost", "lost-after"):
            self.die()
        if how is not None:
            raise _error(how)

    def write(self) -> None:
        assert self.operation_id is not None
        self._database.operations.append(self.operation_id)
        self._database.rows.extend(self.rows)
        self.rows, self.operation_id = [], None

    def exec_driver_sql(self, sql: str) -> None:
        self.check()
        if sql.startswith("SAVEPOINT"):
            self._savepoints.append(len(self.rows))
        elif sql.startswith("ROLLBACK TO"):
            del self.rows[self._savepoints[-1] :]
        else:
            self._savepoints.pop()

    def invalidate(self) -> None: ...

    def close(self) -> None: ...


class Deadlock(Exception):
    sqlstate = "40P01"


class Rule(Exception):
    sqlstate = "23505"


def _error(how: str) -> sa.exc.DBAPIError:
    if how == "gone":
        return sa.exc.OperationalError("", None, Exception("gone"), connection_invalidated=True)
    if how == "retry":
        return sa.exc.OperationalError("", None, Deadlock())
    return sa.exc.IntegrityError("", None, Rule())


def mark(tx: Tx, number: int, kind: str) -> int:
    connection: Any = tx.connection
    connection.check()
    connection.rows.append(number)
    tx.handoffs.append(number)
    if kind == "refuse":
        raise Conflict("no")
    if kind == "bug":
        raise ZeroDivisionError
    return number


def mark_all(tx: Tx, jobs: Sequence[tuple[int, str]]) -> list[Any]:
    return [NotFound("no") if kind == "refuse" else mark(tx, number, kind) for number, kind in jobs]


@given(
    kinds=st.lists(st.tuples(st.sampled_from(["work", "refuse", "bug"]), st.booleans()), min_size=1, max_size=12),
    faults=st.lists(st.sampled_from([None, None, None, "lost", "lost-after", "retry", "rule"]), max_size=60),
)
def test_whatever_fails_nothing_is_done_twice_and_answers_are_true(
    kinds: list[tuple[str, bool]], faults: list[str | None]
) -> None:
    fake = FakeDatabase(list(faults))
    numbers = iter(range(10**6))
    lane = Lane(
        "write", fake, lambda: str(next(numbers)), queue_limit=100, batch_limit=5, observer=engine.SilentObserver()
    )
    jobs = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lanes, "RERUN_PAUSE_SECONDS", 0.0)
        for number, (kind, set_based) in enumerate(kinds):
            job = Job(mark_all, ((number, kind),), True) if set_based else Job(mark, (number, kind), False)
            job.waiter = Future()
            lane.submit(job)
            jobs.append(job.waiter)
        lane.start()
        lane.close()
    for number, ((kind, _), future) in enumerate(zip(kinds, jobs, strict=True)):
        answer, times = outcome(future), fake.rows.count(number)
        assert times <= 1
        assert fake.announced.count(number) <= times
        if not isinstance(answer, Exception):
            assert kind == "work"
            assert answer == number
            assert times == 1
            assert fake.announced.count(number) == 1  # what hangs on the commit is set going, also after a lost answer
        elif not isinstance(answer, Unavailable):
            assert times == 0
        if not faults:
            assert type(answer) is {"work": int, "refuse": type(answer), "bug": ZeroDivisionError}[kind]
            assert not isinstance(answer, Unavailable)


def test_the_driver_is_the_one_the_faults_were_made_for(postgres: Database) -> None:
    """The fakes above stand for this: a killed backend is a lost connection, a deadlock has its code."""
    with pytest.raises(sa.exc.DBAPIError) as lost, postgres.engine.connect() as connection:
        connection.exec_driver_sql("SELECT pg_terminate_backend(pg_backend_pid())")
    assert lost.value.connection_invalidated
    with pytest.raises(sa.exc.DBAPIError) as refused, postgres.engine.connect() as connection:
        connection.exec_driver_sql("DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = 'deadlock_detected'; END $$")
    assert not refused.value.connection_invalidated
    assert isinstance(refused.value.orig, psycopg.Error)
    assert refused.value.orig.sqlstate == Deadlock.sqlstate
