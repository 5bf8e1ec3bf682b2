"""What a lane promises: batches, isolation, answers after the commit, back-pressure, draining."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import sqlalchemy as sa

from oklp.errors import Conflict, InvariantBroken, NotFound, OklpError, Overloaded, Unavailable
from oklp.storage import engine
from oklp.storage.engine import Database, Tx
from oklp.storage.lanes import Job
from tests.storage.rig import LONG_SECONDS, NOW, Gate, Watcher, add, add_all, names, outcome, stored, submit


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


def add_more(tx: Tx, names: Sequence[str]) -> list[int | OklpError]:
    return add_all(tx, names)


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


def test_a_lane_goes_on_without_an_event_loop_that_is_stuck(database: Database) -> None:
    async def stuck() -> None:
        first = asyncio.ensure_future(database.write(add, "a"))
        await asyncio.sleep(0)  # the job is in the lane's queue
        submit(database, add, "b").result(LONG_SECONDS)  # the loop stands still meanwhile
        await first

    asyncio.run(stuck())
    assert stored(database) == ["a", "b"]


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


# A constraint is tried once more: another node's row, committed a moment ago, may be to blame.
@pytest.mark.parametrize(
    ("culprit", "error", "retries"), [(stumble, ZeroDivisionError, 1), (break_a_rule, sa.exc.IntegrityError, 2)]
)
def test_an_unforeseen_error_is_paid_for_by_its_job_alone(
    database: Database, watcher: Watcher, culprit: Callable[[Tx, str], None], error: type[Exception], retries: int
) -> None:
    gate = Gate(database)
    jobs = [(add, "a"), (culprit, "b"), (add, "c"), (add, "d")]
    futures = [submit(database, *job) for job in jobs]
    gate.open()
    outcomes = [outcome(future) for future in futures]
    assert isinstance(outcomes[1], error)
    assert len({outcomes[0], outcomes[2], outcomes[3]}) == 3  # each in a transaction of its own
    assert stored(database) == ["a", "c", "d"]
    assert watcher.retries == retries
    assert database.run(add, "e") > outcomes[3]


def test_an_unforeseen_error_in_a_set_is_paid_for_by_its_job_alone(database: Database) -> None:
    gate = Gate(database)
    futures = [submit(database, add_all, name, set_based=True) for name in ("a", "bug", "refused", "c")]
    gate.open()
    _, bug, refused, _ = map(outcome, futures)
    assert isinstance(bug, ZeroDivisionError)
    assert isinstance(refused, NotFound)
    assert stored(database) == ["a", "c"]


def test_a_mistake_in_a_statement_is_not_taken_for_a_busy_database(database: Database, watcher: Watcher) -> None:
    with pytest.raises(sa.exc.DBAPIError):
        database.run(lambda tx: tx.driver("SELECT no_such_column FROM studios").all())
    assert watcher.retries == 0


def broken(tx: Tx, name: str) -> None:
    add(tx, name)
    raise InvariantBroken("a bug")


def test_a_broken_invariant_undoes_the_batch_and_names_its_job(database: Database) -> None:
    gate = Gate(database)
    futures = [submit(database, fn, name) for fn, name in ((add, "a"), (broken, "b"), (add, "c"))]
    gate.open()
    first, bug, last = map(outcome, futures)
    assert isinstance(bug, InvariantBroken)
    assert first != last  # who knows what the bug has touched: nobody shares a transaction with it
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


# --- in the background -----------------------------------------------------------------------------------------------


def test_what_was_written_in_the_background_is_stored_and_announced(database: Database) -> None:
    heard: list[Any] = []
    database.listen(lambda topics, handoffs: heard.extend(handoffs))
    assert (database.background_lane is database.write_lane) == (not database.postgres)
    number = asyncio.run(database.write_in_background(add, "a"))
    assert heard == stored(database) == ["a"]
    assert database.run(add, "b") > number


def test_on_postgresql_the_background_holds_up_nobody_and_is_finished_before_the_end(postgres: Database) -> None:
    entered, go_on = threading.Event(), threading.Event()

    def linger(tx: Tx) -> None:
        add(tx, "slow")
        entered.set()
        assert go_on.wait(LONG_SECONDS)

    with ThreadPoolExecutor(2) as pool:
        slow = pool.submit(asyncio.run, postgres.write_in_background(linger))
        try:
            assert entered.wait(LONG_SECONDS)
            assert postgres.run(add, "a")
            assert stored(postgres) == ["a"]
            closing = pool.submit(postgres.close)
            while not postgres.background_lane._closing:
                assert not closing.done()
        finally:
            go_on.set()
        closing.result(LONG_SECONDS)
        assert stored(postgres) == ["a", "slow"]
        slow.result(LONG_SECONDS)


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
