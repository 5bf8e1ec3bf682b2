"""When things go wrong around a lane: whatever fails, nothing is done twice, and an answer is true."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from hypothesis import example, given, settings
from hypothesis import strategies as st
from psycopg.conninfo import conninfo_to_dict

from oklp.errors import Conflict, NotFound, OklpError, Unavailable
from oklp.storage import connecting, engine, lanes
from oklp.storage.engine import Database, Tx
from oklp.storage.lanes import Job, Lane
from scripts.postgres import Cluster, find_programs
from scripts.postgres import database_url as cluster_url
from tests.examples import examples
from tests.storage.rig import LONG_SECONDS, NOW, WAITING, Gate, Watcher, add, names, outcome, stored, submit
from tests.storage.wire import Fault, Wire


@pytest.fixture
def watcher() -> Watcher:
    return Watcher()


@pytest.fixture
def postgres(postgres_url: str, watcher: Watcher) -> Iterator[Database]:
    engine.migrate(postgres_url, sandbox=True)
    opened = Database(postgres_url, clock=lambda: NOW, observer=watcher)
    yield opened
    opened.close()


# --- another node, another process -----------------------------------------------------------------------------------


def test_a_deadlock_between_two_nodes_costs_nobody_an_answer(postgres: Database) -> None:
    with closing(Database(postgres.url, clock=lambda: NOW)) as other:
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
    with closing(Database(url, clock=lambda: NOW)) as database:
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
    monkeypatch.setattr(connecting, "BUSY_TIMEOUT_MS", 10)
    monkeypatch.setattr(lanes, "RERUN_PAUSE_SECONDS", 0.0)
    with closing(Database(url, clock=lambda: NOW, observer=watcher)) as database:
        futures = [submit(database, add, f"s{n}") for n in range(30)]
        assert {type(outcome(future)) for future in futures} == {Unavailable}
        assert watcher.retries < lanes.RERUNS
        commit()
        assert database.run(add, "ours")
        assert stored(database) == ["ours", "theirs"]


# --- a connection lost around a COMMIT -------------------------------------------------------------------------------


@pytest.fixture
def wire(postgres: Database) -> Iterator[Wire]:
    stretch = Wire(postgres.url)
    yield stretch
    stretch.close()


def counted(tx: Tx, name: str, runs: list[str]) -> int:
    runs.append(name)
    return add(tx, name)


def counted_all(tx: Tx, jobs: Sequence[tuple[str, list[str]]]) -> list[int | OklpError]:
    return [counted(tx, name, runs) for name, runs in jobs]


@pytest.mark.parametrize("set_based", [False, True])
@pytest.mark.parametrize(("fault", "times"), [("request lost", 2), ("answer lost", 1)])
def test_a_lost_commit_or_answer_is_settled_by_the_operation_id(
    postgres: Database, wire: Wire, fault: Fault, times: int, set_based: bool
) -> None:
    with closing(Database(wire.url, clock=lambda: NOW)) as database:
        heard: list[Any] = []
        database.listen(lambda topics, handoffs: heard.extend(handoffs))
        runs: list[str] = []
        gate = Gate(database)
        futures = [
            submit(database, counted_all, (name, runs), set_based=True)
            if set_based
            else submit(database, counted, name, runs)
            for name in ("a", "b", "c")
        ]
        lane = database.write_lane
        lane._sessions.commit = _once(lambda: wire.lose(fault), after=1, call=lane._sessions.commit)  # type: ignore[method-assign]
        gate.open()
        numbers = {future.result(LONG_SECONDS) for future in futures}
    assert wire.happened.is_set()
    assert len(numbers) == 1
    assert runs == ["a", "b", "c"] * times
    assert stored(postgres) == heard == ["a", "b", "c"]
    created = postgres.run(lambda tx: {row[0] for row in tx.driver("SELECT created_at FROM studios").all()})
    assert created == numbers  # the outcomes are those of the run that was committed


def _once(act: Callable[[], None], *, after: int, call: Callable[..., None]) -> Callable[..., None]:
    """`call`, with `act` before it the time that follows `after` times."""
    left = [after]

    def wrapped(*args: Any) -> None:
        left[0] -= 1
        if left[0] == -1:
            act()
        call(*args)

    return wrapped


@pytest.mark.parametrize("arrives", [True, False])
def test_a_commit_that_is_still_on_its_way_is_waited_for(postgres: Database, wire: Wire, arrives: bool) -> None:
    """The worst case: the first attempt may yet be committed when the rerun begins."""
    with closing(Database(wire.url, clock=lambda: NOW)) as database:
        runs: list[str] = []
        database.run(add, "before")
        wire.lose("request delayed")
        future = submit(database, counted, "a", runs)
        assert wire.happened.wait(LONG_SECONDS)
        while not postgres.run_report(lambda tx: tx.driver(WAITING).scalar_one()):
            assert not future.done()
        (wire.deliver if arrives else wire.drop)()
        number = future.result(LONG_SECONDS)
    assert runs == (["a"] if arrives else ["a", "a"])
    assert stored(postgres) == ["a", "before"]
    assert postgres.run(add, "after") > number


def killed(tx: Tx, name: str, runs: list[str]) -> None:
    add(tx, name)
    runs.append(name)
    if len(runs) == 1:
        tx.driver("SELECT pg_terminate_backend(pg_backend_pid())")


def test_a_backend_that_is_killed_before_the_commit_costs_nobody_an_answer(postgres: Database) -> None:
    gate = Gate(postgres)
    runs: list[str] = []
    futures = [submit(postgres, add, "a"), submit(postgres, killed, "b", runs), submit(postgres, add, "c")]
    gate.open()
    assert all(not isinstance(outcome(future), Exception) for future in futures)
    assert len(runs) == 2
    assert stored(postgres) == ["a", "b", "c"]
    assert len(postgres.run_report(lambda tx: tx.driver("SELECT id FROM operations").all())) == 2


def test_a_savepoint_does_not_hide_that_its_connection_is_gone(postgres: Database) -> None:
    with postgres.engine.connect() as connection:
        connection.exec_driver_sql("BEGIN")
        tx = Tx(connection, 1)
        with pytest.raises(sa.exc.DBAPIError) as lost, tx.savepoint():
            tx.driver("SELECT pg_terminate_backend(pg_backend_pid())")
        assert lost.value.connection_invalidated


def test_a_statement_that_the_database_ends_is_no_error_of_the_platforms(
    postgres: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It took too long, or somebody has ended it by hand: whoever waits is told to come again."""
    monkeypatch.setattr(lanes, "RERUNS", 2)
    with pytest.raises(Unavailable):
        postgres.run_report(lambda tx: tx.driver("SELECT pg_cancel_backend(pg_backend_pid()), pg_sleep(10)"))
    assert postgres.run(add, "a")


def test_idle_connections_that_were_cut_are_replaced(postgres: Database) -> None:
    postgres.run(add, "a")
    assert postgres.run_report(names) == ["a"]
    postgres.run(
        lambda tx: tx.driver(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    )
    assert postgres.run(add, "b")
    assert postgres.run_report(names) == ["a", "b"]


def test_a_server_that_crashes_and_comes_back_loses_and_doubles_nothing() -> None:
    with Cluster(durable=True) as cluster:
        url = cluster_url(cluster.url, "postgres")
        engine.migrate(url, sandbox=True)
        with closing(Database(url, clock=lambda: NOW, batch_limit=20)) as database:
            accepted: list[tuple[str, Future[Any]]] = []
            crash = threading.Thread(target=restart, args=(cluster.url,))
            for n in range(4_000):
                if n == 1_000:
                    crash.start()
                name = f"s{n:04}"
                accepted.append((name, submit(database, add, name)))
                if n % 40 == 0:
                    outcome(accepted[-1][1])
            crash.join(LONG_SECONDS)
            assert database.run(add, "after")
            outcomes = [(name, outcome(future)) for name, future in accepted]
            kept = set(stored(database))
    for name, answer in outcomes:
        assert isinstance(answer, (int, Unavailable)), answer
        assert name in kept or isinstance(answer, Unavailable)
    assert "after" in kept


def restart(server_url: str) -> None:
    """As after a crash: nobody is let finish, and the log is replayed."""
    folder = Path(str(conninfo_to_dict(server_url)["host"]))
    owner = pwd.getpwuid(folder.stat().st_uid)
    user, group, groups = (None, None, None) if os.geteuid() else (owner.pw_uid, owner.pw_gid, list[int]())
    program = [str(find_programs() / "pg_ctl"), "restart", "-D", str(folder / "data"), "-m", "immediate", "-w"]
    log = ["-l", str(folder / "server.log")]
    subprocess.run([*program, *log], cwd=folder, check=True, user=user, group=group, extra_groups=groups)


# --- every order of faults -------------------------------------------------------------------------------------------


class FakeDatabase:
    """Transactions, savepoints and operation ids in memory; each step asks `fault` whether it goes wrong, and how."""

    def __init__(self, faults: list[str | None]) -> None:
        self.faults = faults[::-1]
        self.operations: list[str] = []
        self.rows: list[int] = []
        self.announced: list[int] = []

    def fault(self) -> str | None:
        return self.faults.pop() if self.faults else None

    # what a lane calls

    def connect(self) -> Any:
        if self.fault() is not None:
            raise _error("gone")
        return FakeConnection(self)

    def begin(self, connection: Any, operation_id: str, set_based: bool) -> int | None:
        how = self.fault()
        connection.check(None if how == "rule" else how)  # claiming an id breaks no rule
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
        connection.check(self.fault())
        connection.rows, connection.operation_id = [], None

    def committed(self, topics: set[str], handoffs: list[Any]) -> None:
        self.announced.extend(handoffs)


class FakeConnection:
    dialect = SimpleNamespace(name="sqlite")

    def __init__(self, database: FakeDatabase) -> None:
        self._database = database
        self.fault = database.fault
        self._savepoints: list[int] = []
        self.invalidated = False
        self.rows: list[int] = []
        self.operation_id: str | None = None

    def die(self) -> None:
        self.invalidated = True
        self.rows, self.operation_id = [], None
        raise _error("gone")

    def check(self, how: str | None) -> None:
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
        self.check(self.fault())
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
    connection.check(connection.fault())
    connection.rows.append(number)
    tx.handoffs.append(number)
    if kind == "refuse":
        raise Conflict("no")
    if kind == "bug":
        raise ZeroDivisionError
    return number


def mark_all(tx: Tx, jobs: Sequence[tuple[int, str]]) -> list[Any]:
    return [NotFound("no") if kind == "refuse" else mark(tx, number, kind) for number, kind in jobs]


def run_all(fake: FakeDatabase, kinds: list[tuple[str, bool]]) -> list[Any]:
    """Outcomes of jobs (what they do, whether set-based) that are all queued before their lane starts."""
    numbers = iter(range(10**6))
    observer = engine.SilentObserver()
    lane = Lane("write", fake, lambda: str(next(numbers)), queue_limit=100, batch_limit=5, observer=observer)
    futures = []
    for number, (kind, set_based) in enumerate(kinds):
        job = Job(mark_all, ((number, kind),), True) if set_based else Job(mark, (number, kind), False)
        job.waiter = Future()
        lane.submit(job)
        futures.append(job.waiter)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lanes, "RERUN_PAUSE_SECONDS", 0.0)
        lane.start()
        lane.close()
    return [outcome(future) for future in futures]


@given(
    kinds=st.lists(st.tuples(st.sampled_from(["work", "refuse", "bug"]), st.booleans()), min_size=1, max_size=12),
    faults=st.lists(st.sampled_from([None, None, None, "lost", "lost-after", "retry", "rule"]), max_size=60),
)
@example(kinds=[("work", False)] * 3, faults=[None] * 11 + ["lost-after"])
@example(kinds=[("work", True)] * 3, faults=[None] * 5 + ["lost-after"])
@settings(max_examples=examples(100))
def test_whatever_fails_nothing_is_done_twice_and_answers_are_true(
    kinds: list[tuple[str, bool]], faults: list[str | None]
) -> None:
    fake = FakeDatabase(faults)
    for number, ((kind, _), answer) in enumerate(zip(kinds, run_all(fake, kinds), strict=True)):
        times = fake.rows.count(number)
        assert times <= 1
        assert fake.announced.count(number) <= times
        if not isinstance(answer, Exception):
            assert kind == "work"
            assert answer == number
            assert times == 1
            assert fake.announced.count(number) == 1  # what hangs on the commit is set going, also after a lost answer
        elif not isinstance(answer, Unavailable):
            assert times == 0
        if not any(faults):
            assert isinstance(answer, {"work": int, "refuse": OklpError, "bug": ZeroDivisionError}[kind])


def test_a_connection_that_dies_while_undoing_is_not_the_work_s_fault() -> None:
    connect, begin, commit = None, None, None
    script = [connect, begin, "rule", "lost"]  # the statement fails, and then the rollback
    fake = FakeDatabase([*script, connect, begin, None, commit])
    assert run_all(fake, [("work", False)]) == [0]
    fake = FakeDatabase(script * lanes.RERUNS)
    assert isinstance(run_all(fake, [("work", False)])[0], Unavailable)


def test_while_the_database_is_away_each_batch_finds_out_once() -> None:
    fake = FakeDatabase(["lost"] * 1_000)
    answers = run_all(fake, [("work", False)] * 30)
    assert {type(answer) for answer in answers} == {Unavailable}
    assert 1_000 - len(fake.faults) == lanes.RERUNS + 5  # six batches of five, and only the first insists


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
