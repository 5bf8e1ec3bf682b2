"""Connections to SQLite and PostgreSQL, each made ready the same way for whoever opens one."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from oklp.storage.checkpoints import LOG_PAGES

BUSY_TIMEOUT_MS = 30_000
STATEMENT_TIMEOUT_MS = 30_000
# With a PostgreSQL server that is not there any more, and says nothing: seconds.
PATIENCE: dict[str, Any] = {
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 25_000,  # milliseconds: while something is on its way, no keepalive is sent
}


def path_of(url: str) -> Path:
    """The file of an SQLite URL."""
    return Path(url.removeprefix("sqlite:///"))


def connectable(url: str) -> sa.Engine:
    """An engine whose connections are in autocommit: lanes say BEGIN and COMMIT themselves.

    SQLite: WAL, `synchronous=FULL`, foreign keys, 30 s busy time-out. PostgreSQL: psycopg 3, bounded statements.
    Raises ArgumentError when the URL is none, OSError when an SQLite file cannot be made.
    """
    if url.startswith("sqlite:"):
        _make_private(path_of(url))
        engine = sa.create_engine(
            url,
            poolclass=sa.pool.NullPool,
            hide_parameters=True,  # they hold password hashes, and errors go to logs
            connect_args={
                "timeout": BUSY_TIMEOUT_MS / 1000,
                "check_same_thread": False,
                "isolation_level": None,
                "cached_statements": 512,
            },
            isolation_level="AUTOCOMMIT",
        )
        sa.event.listen(engine, "connect", _prepare_sqlite)
        return engine
    return sa.create_engine(
        _postgres_address(url),
        poolclass=sa.pool.NullPool,
        hide_parameters=True,
        isolation_level="AUTOCOMMIT",
        connect_args={
            **PATIENCE,
            "application_name": "oklp",
            "options": (
                f"-c statement_timeout={STATEMENT_TIMEOUT_MS} -c lock_timeout=10000 -c timezone=UTC"
                " -c idle_in_transaction_session_timeout=60000 -c client_min_messages=warning"
            ),
        },
    )


def _postgres_address(url: str) -> sa.URL:
    for prefix in ("postgresql://", "postgres://"):
        url = url.replace(prefix, "postgresql+psycopg://", 1)
    try:
        return sa.make_url(url)
    except ValueError as error:  # a port that is no number; whatever else is wrong is an ArgumentError already
        raise sa.exc.ArgumentError(f"not the address of a database: {error}") from error


def _make_private(path: Path) -> None:
    """A new file is its owner's alone: it will hold e-mail addresses and hashes. Its `-wal` and `-shm` follow it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Where the file is there already it is not opened: closing it again would undo SQLite's locks in this process.
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))


def _prepare_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.execute(f"PRAGMA wal_autocheckpoint={LOG_PAGES}")
    cursor.execute("PRAGMA cache_size=-16000")
    # A statement that writes many rows keeps what it would need to undo itself: in memory, not in a file.
    cursor.execute("PRAGMA temp_store=MEMORY")
    cursor.close()
