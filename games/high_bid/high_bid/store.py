"""Where matches are kept: one SQLite file, one row a match, written before anything is answered."""

from __future__ import annotations

import json
import secrets
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from .matches import Match


class Store:
    """A match is a few hundred bytes and changes once in some seconds, so it is written whole, in the event loop.

    Full durability: a match that was answered with 200 has players' money on it, and a result has a winner.
    """

    def __init__(self, path: Path | str) -> None:
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.execute("CREATE TABLE IF NOT EXISTS matches (match_id TEXT PRIMARY KEY, body TEXT NOT NULL)")
        self._db.execute("CREATE TABLE IF NOT EXISTS secrets (name TEXT PRIMARY KEY, value BLOB NOT NULL)")

    def close(self) -> None:
        self._db.close()

    def load(self) -> Iterator[Match]:
        for (body,) in self._db.execute("SELECT body FROM matches"):
            yield Match(**json.loads(body))

    def save(self, match: Match) -> None:
        body = json.dumps(match.to_dict(), separators=(",", ":"))
        self._db.execute("INSERT OR REPLACE INTO matches (match_id, body) VALUES (?, ?)", (match.match_id, body))

    def remove(self, match_id: str) -> None:
        self._db.execute("DELETE FROM matches WHERE match_id = ?", (match_id,))

    def secret(self, name: str) -> bytes:
        """32 random bytes, made when first asked for and the same ever after."""
        insert = "INSERT OR IGNORE INTO secrets (name, value) VALUES (?, ?)"
        self._db.execute(insert, (name, secrets.token_bytes(32)))
        (value,) = self._db.execute("SELECT value FROM secrets WHERE name = ?", (name,)).fetchone()
        return bytes(value)
