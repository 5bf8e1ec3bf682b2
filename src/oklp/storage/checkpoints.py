"""SQLite's checkpoints, beside the write lane.

A commit appends to the log; a checkpoint copies the log's pages into the database file, and waits for the disk twice.
Left to itself SQLite does it within the commit that takes the log above a thousand pages, which under load is every
third batch, while its requests wait. Here a thread of its own does it all the time, and the commits that find the log
long have little left to copy. Nothing is less durable: a commit is on disk in the log before it is answered.

A log that grows costs each commit twice the wait, since the file's new length must be on disk as well. SQLite writes a
log over from its start once all of it was copied, but a server begins with none. The same thread therefore makes the
file as long as it will be, once, by a transaction that is undone.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import threading
from pathlib import Path

log = logging.getLogger(__name__)

# Pages of the log (4 KB each) after which a commit checkpoints by itself: it bounds the log when this thread is slow.
LOG_PAGES = 8_000
PAUSE_SECONDS = 0.05


class Checkpointer:
    """A thread that copies the log of one database whenever there was a commit."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._committed = threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="oklp-checkpoints", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def commit_happened(self) -> None:
        self._committed.set()

    def close(self) -> None:
        """From any thread. The last connection to leave the database checkpoints it whole."""
        self._closing.set()
        self._committed.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        try:
            with contextlib.closing(sqlite3.connect(self._path, timeout=0, isolation_level=None)) as connection:
                if self._committed.wait() and not self._closing.is_set():
                    lengthen_log(connection)
                while self._committed.wait() and not self._closing.is_set():
                    self._committed.clear()
                    # Passive: nobody waits for it, and what a reader still needs is left for the next time.
                    try:
                        connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
                    except sqlite3.OperationalError as error:  # so is what another process has locked
                        log.info("a checkpoint is left for the next time: %r", error)
                    self._closing.wait(PAUSE_SECONDS)
        except sqlite3.Error as error:
            # Commits then do it themselves, as they would without this thread.
            log.warning("checkpoints are left to commits: %r", error)


def lengthen_log(connection: sqlite3.Connection) -> None:
    """Have SQLite write so much that does not fit into its cache that the log is as long as it will be; undo it."""
    cache = None
    try:
        (page_bytes,) = connection.execute("PRAGMA page_size").fetchone()
        (cache,) = connection.execute("PRAGMA cache_size").fetchone()
        connection.execute("PRAGMA cache_size=10")
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("CREATE TABLE filler (bytes BLOB)")
        connection.execute("INSERT INTO filler VALUES (zeroblob(?))", (LOG_PAGES * page_bytes,))
    except sqlite3.OperationalError as error:  # another process writes, or the disk is nearly full
        log.info("the log stays as it is: %r", error)
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        if cache is not None:
            connection.execute(f"PRAGMA cache_size={cache}")
