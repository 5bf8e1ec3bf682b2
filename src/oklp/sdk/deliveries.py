"""What a webhook receiver remembers: which deliveries it has handled, and which match it is at.

`MemoryDeliveries` is for one process, `SqliteDeliveries` for any number on one machine and for restarts; its file may
be the one of a `ResultOutbox`. Whoever has a database already can give a receiver a `DeliveryStore` on that.
"""

from __future__ import annotations

import os
import secrets
from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from typing import Final, Protocol

from oklp.sdk.files import SqliteFile, now_ms

_CAPACITY: Final = 100_000
KEEP_SECONDS: Final = 30 * 24 * 3600
# The platform has long since stopped waiting for an answer.
HOLD_SECONDS: Final = 60

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS oklp_deliveries (name TEXT PRIMARY KEY, handled_at INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS oklp_deliveries_handled ON oklp_deliveries (handled_at);
CREATE TABLE IF NOT EXISTS oklp_held (
    match_id TEXT PRIMARY KEY, key TEXT NOT NULL, held_until INTEGER NOT NULL
) WITHOUT ROWID;
"""


class DeliveryStore(Protocol):
    """What a receiver needs to keep. Threads call it; a method may raise, and the platform is then answered 503."""

    def hold(self, match_id: str) -> str | None:
        """Take the match, so that its deliveries are handled one at a time: a key, or None while another has it."""

    def let_go(self, match_id: str, key: str) -> None:
        """Give the match back, if `key` is still the one that holds it."""

    def seen(self, name: str) -> bool:
        """Whether `name` was remembered."""

    def remember(self, *names: str) -> None:
        """From now on all of `names` are seen, and stay so for as long as a resend is likely."""


class MemoryDeliveries:
    """In the memory of this process: the last 100,000 names."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._names: OrderedDict[str, None] = OrderedDict()
        self._held: dict[str, str] = {}

    def hold(self, match_id: str) -> str | None:
        key = secrets.token_hex(8)
        with self._lock:
            return key if self._held.setdefault(match_id, key) == key else None

    def let_go(self, match_id: str, key: str) -> None:
        with self._lock:
            if self._held.get(match_id) == key:
                del self._held[match_id]

    def seen(self, name: str) -> bool:
        with self._lock:
            return name in self._names

    def remember(self, *names: str) -> None:
        with self._lock:
            self._names.update(dict.fromkeys(names))
            while len(self._names) > _CAPACITY:
                self._names.popitem(last=False)


class SqliteDeliveries:
    """In the SQLite file at `path`, for 30 days. Threads, processes and restarts share it. Raises StorageError.

    What a process was holding when it was killed is free again after 60 seconds. `clock` gives milliseconds since the
    epoch.
    """

    def __init__(self, path: str | os.PathLike[str], *, clock: Callable[[], int] = now_ms) -> None:
        self._file = SqliteFile(path, _SCHEMA)
        self._clock = clock

    def close(self) -> None:
        self._file.close()

    def hold(self, match_id: str) -> str | None:
        key = secrets.token_hex(8)
        now = self._clock()
        until = now + HOLD_SECONDS * 1000
        with self._file.transaction() as db:
            # A time beyond any that is written now comes of a clock that was set back since.
            taken = db.execute(
                "INSERT INTO oklp_held (match_id, key, held_until) VALUES (?, ?, ?)"
                " ON CONFLICT (match_id) DO UPDATE SET key = excluded.key, held_until = excluded.held_until"
                " WHERE held_until <= ? OR held_until > ?",
                (match_id, key, until, now, until),
            )
            return key if taken.rowcount > 0 else None

    def let_go(self, match_id: str, key: str) -> None:
        with self._file.transaction() as db:
            db.execute("DELETE FROM oklp_held WHERE match_id = ? AND key = ?", (match_id, key))

    def seen(self, name: str) -> bool:
        with self._file.reading() as db:
            found = db.execute("SELECT 1 FROM oklp_deliveries WHERE name = ?", (name,)).fetchone()
        return found is not None

    def remember(self, *names: str) -> None:
        now = self._clock()
        with self._file.transaction() as db:
            db.executemany("INSERT OR IGNORE INTO oklp_deliveries VALUES (?, ?)", [(name, now) for name in names])
            db.execute("DELETE FROM oklp_deliveries WHERE handled_at < ?", (now - KEEP_SECONDS * 1000,))
