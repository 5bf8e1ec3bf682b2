"""Where matches are kept: one row a match, with its moves and clocks, written before anybody is told."""

from __future__ import annotations

import json
import secrets
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from .matches import Match

_SCHEMA = """
CREATE TABLE IF NOT EXISTS matches (
    match_id TEXT PRIMARY KEY, phase TEXT NOT NULL, ended_at INTEGER, body TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS matches_unfinished ON matches (phase) WHERE phase IN ('waiting', 'playing', 'over');
CREATE INDEX IF NOT EXISTS matches_ended ON matches (ended_at) WHERE ended_at IS NOT NULL;
CREATE TABLE IF NOT EXISTS secrets (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS alive (one INTEGER PRIMARY KEY CHECK (one = 1), at INTEGER NOT NULL);
"""

# The SDK keeps deliveries and results in the same file, from threads of its own.
_BUSY_SECONDS = 5.0


class Store:
    """A match is a kilobyte and changes once in some seconds, so it is written whole, in the event loop.

    Full durability: a match that was answered with 200 has players' money on it. Raises sqlite3.Error.
    """

    def __init__(self, path: Path | str) -> None:
        self._db = sqlite3.connect(path, isolation_level=None, timeout=_BUSY_SECONDS)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.executescript(_SCHEMA)

    def close(self) -> None:
        self._db.close()

    def unfinished(self) -> Iterator[Match]:
        """Matches that are played, or whose result has not been answered."""
        query = "SELECT body FROM matches WHERE phase IN ('waiting', 'playing', 'over')"
        for (body,) in self._db.execute(query).fetchall():
            yield Match(**json.loads(body))

    def get(self, match_id: str) -> Match | None:
        row = self._db.execute("SELECT body FROM matches WHERE match_id = ?", (match_id,)).fetchone()
        return None if row is None else Match(**json.loads(row[0]))

    def save(self, match: Match) -> None:
        body = json.dumps(match.to_dict(), separators=(",", ":"))
        self._db.execute(
            "INSERT OR REPLACE INTO matches (match_id, phase, ended_at, body) VALUES (?, ?, ?, ?)",
            (match.match_id, match.phase, match.ended_at, body),
        )

    def forget_ended(self, before: int) -> None:
        """Removes matches that ended before that time, except where a result is still on its way."""
        self._db.execute("DELETE FROM matches WHERE ended_at < ? AND phase IN ('reported', 'aborted')", (before,))

    # --- the server's own --------------------------------------------------------------------------------------------

    def alive(self, now: int) -> None:
        """The server runs. What it finds here when it starts again is when it did last."""
        self._db.execute("INSERT OR REPLACE INTO alive (one, at) VALUES (1, ?)", (now,))

    def last_alive(self) -> int | None:
        row = self._db.execute("SELECT at FROM alive").fetchone()
        return None if row is None else int(row[0])

    def secret(self, name: str) -> bytes:
        """32 random bytes, made when first asked for and the same ever after."""
        insert = "INSERT OR IGNORE INTO secrets (name, value) VALUES (?, ?)"
        self._db.execute(insert, (name, secrets.token_bytes(32)))
        (value,) = self._db.execute("SELECT value FROM secrets WHERE name = ?", (name,)).fetchone()
        return bytes(value)
