"""What the tests of lanes share: small writes, a way to hold a lane, and to see what others see."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

from oklp.errors import NotFound, OklpError
from oklp.storage.engine import Database, Tx
from oklp.storage.lanes import Job

NOW = 1_700_000_000_000
LONG_SECONDS = 30
# PostgreSQL: how many locks are waited for in this database.
WAITING = (
    "SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE NOT granted AND datname = current_database()"
)


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
