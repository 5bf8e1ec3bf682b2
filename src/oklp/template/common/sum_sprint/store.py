"""One SQLite file: matches, runs and sessions, so that a restart forgets none.

Each statement is on disk when it returns.
"""

from __future__ import annotations

import hashlib
import secrets
import sqlite3
from pathlib import Path

from oklp.sdk import MatchInfo

from .matches import Match

SCHEMA = """
CREATE TABLE IF NOT EXISTS matches (
    match_id TEXT PRIMARY KEY,
    info TEXT NOT NULL,
    secret TEXT NOT NULL,
    live_at INTEGER NOT NULL,
    is_over INTEGER NOT NULL DEFAULT 0,
    is_off INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS open_matches ON matches (match_id) WHERE is_over = 0 AND is_off = 0;
CREATE TABLE IF NOT EXISTS runs (
    match_id TEXT NOT NULL REFERENCES matches,
    user_id TEXT NOT NULL,
    began_at INTEGER NOT NULL,
    score INTEGER,
    PRIMARY KEY (match_id, user_id)
);
CREATE TABLE IF NOT EXISTS sessions (
    key_hash TEXT PRIMARY KEY,
    match_id TEXT NOT NULL REFERENCES matches,
    user_id TEXT NOT NULL
);
"""


class Store:
    """Belongs to one thread. Raises sqlite3.Error when the file cannot be used."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.executescript(SCHEMA)

    def close(self) -> None:
        self._db.close()

    def add(self, info: MatchInfo, now: int) -> None:
        """Take a match in, once."""
        self._db.execute(
            "INSERT INTO matches (match_id, info, secret, live_at) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
            (info.match_id, info.model_dump_json(), secrets.token_hex(16), now),
        )

    def match(self, match_id: str) -> Match | None:
        row = self._db.execute(
            "SELECT info, secret, live_at, is_over, is_off FROM matches WHERE match_id = ?", (match_id,)
        ).fetchone()
        if row is None:
            return None
        info, secret, live_at, is_over, is_off = row
        runs = self._db.execute(
            "SELECT user_id, began_at, score FROM runs WHERE match_id = ? ORDER BY began_at, user_id", (match_id,)
        ).fetchall()
        return Match(
            info=MatchInfo.model_validate_json(info),
            secret=secret,
            live_at=live_at,
            is_over=bool(is_over),
            is_off=bool(is_off),
            began={user_id: began_at for user_id, began_at, _ in runs},
            scores={user_id: score for user_id, _, score in runs if score is not None},
        )

    def open_matches(self) -> list[str]:
        """Those of which another result may come."""
        return [row[0] for row in self._db.execute("SELECT match_id FROM matches WHERE is_over = 0 AND is_off = 0")]

    def call_off(self, match_id: str) -> None:
        self._db.execute("UPDATE matches SET is_off = 1 WHERE match_id = ?", (match_id,))

    def close_match(self, match_id: str) -> None:
        self._db.execute("UPDATE matches SET is_over = 1 WHERE match_id = ?", (match_id,))

    def begin(self, match_id: str, user_id: str, now: int) -> None:
        """The first time counts."""
        self._db.execute(
            "INSERT INTO runs (match_id, user_id, began_at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
            (match_id, user_id, now),
        )

    def score(self, match_id: str, user_id: str, score: int) -> None:
        """The first score counts."""
        self._db.execute(
            "UPDATE runs SET score = ? WHERE match_id = ? AND user_id = ? AND score IS NULL", (score, match_id, user_id)
        )

    def new_session(self, match_id: str, user_id: str) -> str:
        """A key for a player's browser. Only its hash is kept."""
        key = secrets.token_urlsafe(32)
        self._db.execute("INSERT INTO sessions VALUES (?, ?, ?)", (_hash(key), match_id, user_id))
        return key

    def session(self, key: str) -> tuple[str, str] | None:
        """The match and the player of a key."""
        row = self._db.execute("SELECT match_id, user_id FROM sessions WHERE key_hash = ?", (_hash(key),)).fetchone()
        return None if row is None else (row[0], row[1])


def _hash(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()
