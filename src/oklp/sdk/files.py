"""One small SQLite file that threads, processes and forks share, and in which a commit is on disk.

What stands on it (`oklp.sdk.outbox`, `oklp.sdk.deliveries`) keeps tables of its own, so that both may share a file.
"""

from __future__ import annotations

import os
import sqlite3
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Final

from oklp.sdk.errors import StorageError

_BUSY_TIMEOUT_SECONDS: Final = 30.0
_OPEN: weakref.WeakSet[SqliteFile] = weakref.WeakSet()


def now_ms() -> int:
    """Milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


class SqliteFile:
    """A connection to the file at `path`, made with `schema` (`CREATE … IF NOT EXISTS`) when it is not there yet.

    Write-ahead log and `synchronous=FULL`: a transaction that has ended survives the end of the process and of the
    machine's power. Keep the file on a local disk; the log needs memory that all processes share, which network file
    systems do not have. Everything raises StorageError.
    """

    def __init__(self, path: str | os.PathLike[str], schema: str) -> None:
        self.path = Path(path)
        self._schema = schema
        self._lock = Lock()
        self._connection: sqlite3.Connection | None = None
        self._inherited: sqlite3.Connection | None = None
        self._closed = False
        _OPEN.add(self)
        with self.transaction():
            """Whoever cannot write should learn it now, and not at the end of a match."""

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """The connection in a transaction that writes: alone in the file from the beginning, on disk at the end."""
        with self._lock, self._errors():
            connection = self._connected()
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                connection.rollback()
                raise

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """The connection outside of a transaction, for one statement."""
        with self._lock, self._errors():
            yield self._connected()

    def close(self) -> None:
        with self._lock:
            self._closed = True
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def forget_connection(self) -> None:
        """In a forked child: the connection is the parent's. It is kept from being closed, since closing it here would
        touch files that the parent works on, and a new one is made when it is needed.
        """
        self._inherited, self._connection = self._connection, None
        self._lock = Lock()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise StorageError(f"{self.path}: {error}") from error

    def _connected(self) -> sqlite3.Connection:
        if self._closed:
            raise StorageError(f"{self.path}: is closed")
        if self._connection is None:
            self._connection = self._connect()
        return self._connection

    def _connect(self) -> sqlite3.Connection:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"{self.path}: {error.strerror or error}") from error
        connection = sqlite3.connect(
            self.path, timeout=_BUSY_TIMEOUT_SECONDS, isolation_level=None, check_same_thread=False
        )
        connection.row_factory = sqlite3.Row
        try:
            _use_write_ahead_log(connection)
            connection.execute("PRAGMA synchronous = FULL")
            connection.executescript(self._schema)
        except BaseException:
            connection.close()
            raise
        return connection


def _use_write_ahead_log(connection: sqlite3.Connection) -> None:
    """SQLite does not wait for its busy time-out when two processes turn a new file into one with a log at once."""
    until = time.monotonic() + _BUSY_TIMEOUT_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > until:
                raise
            time.sleep(0.01)


def _after_fork() -> None:
    for file in list(_OPEN):
        file.forget_connection()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
