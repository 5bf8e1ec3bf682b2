"""That a server runs on a database, told by a lock that the kernel or PostgreSQL takes back however the server ends;
and, likewise, that one of them is at what one does at a time.

Only servers hold one: commands come and go beside them. No clock is asked, and nothing is left that could be stale.

SQLite has one server. What another process has under way looks abandoned to a second one, which would abort its
matches; so the second is refused, whatever its port and data folder. The lock is on a file beside the database and,
where the kernel keeps `flock` apart from the locks that SQLite sets on the same file (Linux), on the database as well:
that one follows a database which is renamed under its server, and meets whoever comes to it by another path.

PostgreSQL has any number of servers, so they share an advisory lock, and who wants to know asks whether all of it can
be had. It belongs to a session: the connection that listens to the other nodes takes it too, each time it connects.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sys
import threading
from pathlib import Path
from typing import Protocol

import sqlalchemy as sa

from oklp.errors import Conflict, Unavailable
from oklp.storage.connecting import connectable, path_of
from oklp.storage.tx import Tx

PRESENT_KEY = 0x6F6B6C71
TAKE_PART = f"SELECT pg_advisory_lock_shared({PRESENT_KEY})"
VERIFYING_KEY = PRESENT_KEY + 1  # the books


class Presence(Protocol):
    """Held from before the server touches anything until its process ends."""

    def alone(self) -> bool:
        """True when no other server is present. From any thread, by one at a time."""
        ...

    def relieved(self) -> None:
        """Another connection of this process holds the lock now."""
        ...

    def close(self) -> None: ...


def announce(url: str) -> Presence:
    """Be present at a database. Raises Conflict when it is SQLite's and has a server; OSError, DBAPIError.

    A missing SQLite file is made, empty.
    """
    return _Sole(path_of(url)) if url.startswith("sqlite:") else _Member(url)


class _Sole:
    """The one server of an SQLite file."""

    def __init__(self, path: Path) -> None:
        path = path.resolve()
        path.parent.mkdir(parents=True, exist_ok=True)
        self._locked: list[int] = []
        try:
            self._lock(path.with_name(f"{path.name}.lock"), path)
            if sys.platform == "linux":
                # Not closed before the connections: with a descriptor SQLite's own locks on the file would go.
                self._lock(path, path)
        except BaseException:
            self.close()
            raise

    def _lock(self, file: Path, database: Path) -> None:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._locked.append(descriptor)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Conflict(f"Another server is running on {database}; SQLite has one server process.") from error

    def alone(self) -> bool:
        return True

    def relieved(self) -> None: ...

    def close(self) -> None:
        while self._locked:
            os.close(self._locked.pop())


class _Member:
    """One of the servers on a PostgreSQL database."""

    def __init__(self, url: str) -> None:
        self._engine = connectable(url)
        self._connection: sa.Connection | None = self._engine.connect()
        self._connection.exec_driver_sql(TAKE_PART)

    def alone(self) -> bool:
        if self._connection is None:
            return False
        # A session is not in its own way: it can have the whole lock as long as nobody else has a part of it.
        if not self._connection.exec_driver_sql(f"SELECT pg_try_advisory_lock({PRESENT_KEY})").scalar_one():
            return False
        self._connection.exec_driver_sql(f"SELECT pg_advisory_unlock({PRESENT_KEY})")
        return True

    def relieved(self) -> None:
        self.close()

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
            self._engine.dispose()


class Turn:
    """What one server at a time does, for as long as it likes: nobody's any more when its server has ended.

    On PostgreSQL an advisory lock of a connection of its own; SQLite has one server, which knows by itself. From any
    thread.
    """

    def __init__(self, engine: sa.Engine, key: int) -> None:
        self._engine = engine
        self._key = key
        self._postgres = engine.dialect.name == "postgresql"
        self._mine = threading.Lock()
        self._connection: sa.Connection | None = None

    def take(self) -> bool:
        """False when it is somebody's, be it ours. Raises Unavailable."""
        if not self._mine.acquire(blocking=False):
            return False
        taken = False
        try:
            taken = not self._postgres or self._lock()
        except sa.exc.DBAPIError as error:
            raise Unavailable("The database is not available.", retry_after_seconds=2) from error
        finally:
            if not taken:
                self._mine.release()
        return taken

    def _lock(self) -> bool:
        connection = self._engine.connect()
        locked = False
        try:
            locked = bool(connection.exec_driver_sql(f"SELECT pg_try_advisory_lock({self._key})").scalar_one())
        finally:
            if not locked:
                connection.close()
        if locked:
            self._connection = connection
        return locked

    def leave(self) -> None:
        """Let it be anybody's. It may have been left already."""
        connection, self._connection = self._connection, None
        if connection is not None:
            # Closed and not pooled: the lock goes with it in any case, but only when the server notices.
            with contextlib.suppress(sa.exc.DBAPIError):
                connection.exec_driver_sql(f"SELECT pg_advisory_unlock({self._key})")
            connection.close()
        with contextlib.suppress(RuntimeError):
            self._mine.release()

    def is_taken(self, tx: Tx) -> bool:
        """Whether it is somebody's."""
        if not self._postgres:
            return self._mine.locked()
        return bool(tx.driver(_TAKEN, (self._key,)).scalar_one())


# A key of 64 bits is shown as its two halves, with 1 beside them. Ours fit into the lower.
_TAKEN = """
    SELECT EXISTS (
        SELECT FROM pg_locks WHERE locktype = 'advisory' AND classid = 0 AND objid = %s AND objsubid = 1 AND granted
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    )
"""
