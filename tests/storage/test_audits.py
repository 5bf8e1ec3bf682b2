"""Reads of the whole ledger: in nobody's way, shared by all who ask, broken off at the end; one job on all servers."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future

import pytest

from oklp.errors import Unavailable
from oklp.storage.engine import Database, Tx, connectable
from oklp.storage.lanes import Job
from oklp.storage.presence import VERIFYING_KEY, Turn
from tests.conftest import MakeDatabase
from tests.storage.rig import LONG_SECONDS, NOW, add, names

HOLD = """
import sys
from oklp.storage.engine import connectable
from oklp.storage.presence import VERIFYING_KEY, Turn
print(Turn(connectable(sys.argv[1]), VERIFYING_KEY).take(), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def database(migrated_url: str) -> Iterator[Database]:
    opened = Database(migrated_url, clock=lambda: NOW)
    yield opened
    opened.close()


class Audit:
    """A read that looks, waits until it is told to go on, and looks again."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self._entered = threading.Semaphore(0)
        self._go_on = threading.Semaphore(0)

    def __call__(self, tx: Tx, jobs: Sequence[str]) -> list[tuple[str, list[str], list[str]]]:
        before = names(tx)
        self.batches.append(len(jobs))
        self._entered.release()
        assert self._go_on.acquire(timeout=LONG_SECONDS)
        return [(job, before, names(tx)) for job in jobs]

    def await_entry(self) -> None:
        assert self._entered.acquire(timeout=LONG_SECONDS)

    def go_on(self) -> None:
        self._go_on.release()


def submit(database: Database, audit: Audit, who: str) -> Future[tuple[str, list[str], list[str]]]:
    job = Job(audit, (who,), True)
    job.waiter = Future()
    database.audit_lane.submit(job)
    return job.waiter


def test_it_holds_nobody_and_sees_one_snapshot(database: Database) -> None:
    audit = Audit()
    database.run(add, "a")
    answer = submit(database, audit, "olga")
    audit.await_entry()
    database.run(add, "b")
    assert database.run_report(names) == ["a", "b"]
    audit.go_on()
    assert answer.result(LONG_SECONDS) == ("olga", ["a"], ["a"])


def test_who_asks_while_one_goes_on_shares_the_next(database: Database) -> None:
    audit = Audit()
    first = submit(database, audit, "first")
    audit.await_entry()
    database.run(add, "a")
    others = [submit(database, audit, who) for who in ("second", "third", "fourth")]
    audit.go_on()
    audit.go_on()
    assert first.result(LONG_SECONDS)[1:] == ([], [])
    answers = [each.result(LONG_SECONDS) for each in others]
    assert answers == [(who, ["a"], ["a"]) for who in ("second", "third", "fourth")]
    assert audit.batches == [1, 3]


def test_one_that_fails_fails_for_all_and_is_not_run_for_each(database: Database) -> None:
    held, runs = Audit(), []

    def fail(tx: Tx, jobs: Sequence[str]) -> list[str]:
        runs.append(len(jobs))
        raise ZeroDivisionError

    submit(database, held, "first")
    held.await_entry()
    waiting = []
    for who in ("second", "third"):
        job = Job(fail, (who,), True)
        job.waiter = Future()
        database.audit_lane.submit(job)
        waiting.append(job.waiter)
    held.go_on()
    for each in waiting:
        assert isinstance(each.exception(LONG_SECONDS), ZeroDivisionError)
    assert runs == [2]


def test_its_connection_is_given_back(make_database: MakeDatabase) -> None:
    database = Database(make_database("postgresql", migrated=True), clock=lambda: NOW)

    def connections(tx: Tx) -> int:
        return int(tx.driver("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()").scalar_one())

    def count(tx: Tx, jobs: Sequence[None]) -> list[int]:
        return [connections(tx)] * len(jobs)

    without = database.run_report(connections)
    job = Job(count, (None,), True)
    job.waiter = Future()
    database.audit_lane.submit(job)
    assert job.waiter.result(LONG_SECONDS) == without + 1
    until = time.monotonic() + LONG_SECONDS  # the server notices the end of a connection in its own time
    while database.run_report(connections) != without:
        assert time.monotonic() < until
        time.sleep(0.01)
    database.close()


def endless(tx: Tx, jobs: Sequence[threading.Event]) -> list[int]:
    for job in jobs:
        job.set()
    # A year, or for ever.
    tx.driver(
        "SELECT pg_sleep(31536000)"
        if tx.postgres
        else "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i FROM n) SELECT count(*) FROM n"
    )
    return [1] * len(jobs)


def test_the_end_of_the_server_waits_for_none(migrated_url: str) -> None:
    database = Database(migrated_url, clock=lambda: NOW)
    answers = []
    begun = threading.Event()
    for each in (begun, threading.Event()):
        job = Job(endless, (each,), True)
        job.waiter = Future()
        database.audit_lane.submit(job)
        answers.append(job.waiter)
        assert begun.wait(LONG_SECONDS)
    closing = threading.Thread(target=database.close)
    closing.start()
    closing.join(LONG_SECONDS)
    assert not closing.is_alive()
    for answer in answers:
        with pytest.raises(Unavailable, match="shutting down"):
            answer.result(0)


# --- one job on all servers ------------------------------------------------------------------------------------------


def test_a_turn_is_had_by_one_at_a_time(database: Database) -> None:
    turn = database.verifying
    assert not database.run_report(turn.is_taken)
    assert turn.take()
    assert not turn.take()
    assert database.run_report(turn.is_taken)
    turn.leave()
    turn.leave()
    for _ in range(100):  # at once, and not when the server has noticed that its connection ended
        assert not database.run_report(turn.is_taken)
        assert turn.take()
        turn.leave()


def test_whether_it_is_ones_turn_is_not_known_without_the_database() -> None:
    turn = Turn(connectable("postgresql://nobody@127.0.0.1:1/none"), VERIFYING_KEY)
    for _ in range(2):  # and it is not kept by who could not take it
        with pytest.raises(Unavailable):
            turn.take()


def test_servers_of_a_cluster_know_whose_turn_it_is(postgres_url: str) -> None:
    engine = connectable(postgres_url)
    here = Turn(engine, VERIFYING_KEY)

    def is_taken() -> bool:
        with engine.connect() as connection:
            return here.is_taken(Tx(connection, 0))

    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, postgres_url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "True\n"
        assert is_taken()
        assert not here.take()
    finally:
        process.kill()
        process.communicate(timeout=LONG_SECONDS)
    # The server notices that the connection has ended in its own time.
    until = time.monotonic() + LONG_SECONDS
    while not here.take():
        assert time.monotonic() < until
        time.sleep(0.01)
    assert is_taken()
    here.leave()
    engine.dispose()
