"""SQLite's log is made long once, and nobody notices but the clock."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from time import monotonic, sleep

import pytest

from oklp.storage import checkpoints


def _open(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, timeout=0)
    connection.execute("PRAGMA journal_mode=WAL")
    return connection


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    made = tmp_path / "a.db"
    with closing(_open(made)) as connection:  # while it is open, the log stays
        connection.execute("CREATE TABLE t (x)")
        connection.execute("INSERT INTO t VALUES (1)")
        yield made


def test_the_log_is_long_and_nothing_is_in_it(path: Path) -> None:
    log = path.with_name("a.db-wal")
    length = path.stat().st_size
    with closing(_open(path)) as connection:
        checkpoints.lengthen_log(connection)
        assert log.stat().st_size > checkpoints.LOG_PAGES * 4096
        assert path.stat().st_size == length
        connection.execute("INSERT INTO t VALUES (2)")
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("t",)]
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    with closing(_open(path)) as connection:
        assert connection.execute("SELECT x FROM t").fetchall() == [(1,), (2,)]


def test_while_another_process_writes_the_log_stays_as_it_is(path: Path) -> None:
    log = path.with_name("a.db-wal")
    with closing(_open(path)) as writer, closing(_open(path)) as connection:
        writer.execute("BEGIN IMMEDIATE")
        length = log.stat().st_size
        checkpoints.lengthen_log(connection)
        assert not connection.in_transaction
        assert log.stat().st_size == length


def test_a_database_that_is_locked_for_a_moment_is_copied_with_the_next_commit(tmp_path: Path) -> None:
    path = tmp_path / "b.db"
    checkpointer = checkpoints.Checkpointer(path)
    with closing(sqlite3.connect(path, isolation_level=None, timeout=0)) as owner:
        owner.execute("PRAGMA locking_mode=EXCLUSIVE")
        owner.execute("PRAGMA journal_mode=WAL")
        owner.execute("CREATE TABLE t (x)")
        checkpointer.start()
        checkpointer.commit_happened()
        checkpointer._thread.join(0.2)
        assert checkpointer._thread.is_alive(), "locked out, and waiting"
    with closing(_open(path)) as connection:
        length = path.stat().st_size
        connection.execute("INSERT INTO t VALUES (zeroblob(100000))")
        until = monotonic() + 20
        while path.stat().st_size == length and monotonic() < until:
            checkpointer.commit_happened()
            sleep(0.01)
        assert path.stat().st_size > length
        checkpointer.close()
