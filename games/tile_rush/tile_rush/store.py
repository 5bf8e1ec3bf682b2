"""Where matches and runs are kept: one SQLite file, written before anything is answered.

What is written is small and the file is local, so it is done in the event loop. Full durability: a match that was
answered with 200 has players' money on it, and each tap is worth points.
"""

from __future__ import annotations

import contextlib
import secrets
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .runs import Run, Tap

SCHEMA = """
CREATE TABLE IF NOT EXISTS matches (
    match_id TEXT PRIMARY KEY,
    duration_ms INTEGER NOT NULL,
    is_off INTEGER NOT NULL,
    known_at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS players (
    match_id TEXT NOT NULL REFERENCES matches ON DELETE CASCADE,
    seat INTEGER NOT NULL,
    user_id TEXT NOT NULL,
    PRIMARY KEY (match_id, seat),
    UNIQUE (match_id, user_id)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS runs (
    match_id TEXT NOT NULL REFERENCES matches ON DELETE CASCADE,
    user_id TEXT NOT NULL,
    tiles TEXT NOT NULL,
    started_at INTEGER NOT NULL,
    ended_at INTEGER,
    refusal TEXT,
    is_reported INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (match_id, user_id)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS runs_under_way ON runs (started_at) WHERE ended_at IS NULL;
CREATE INDEX IF NOT EXISTS runs_unreported ON runs (match_id) WHERE NOT is_reported;
CREATE TABLE IF NOT EXISTS taps (
    match_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    number INTEGER NOT NULL,
    at_ms INTEGER NOT NULL,
    x INTEGER NOT NULL,
    y INTEGER NOT NULL,
    PRIMARY KEY (match_id, user_id, number),
    FOREIGN KEY (match_id, user_id) REFERENCES runs ON DELETE CASCADE
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS secrets (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class Match:
    """`users` are in the order of their seats. A match that was called off may be one that was never known."""

    match_id: str
    users: tuple[str, ...]
    duration_ms: int
    is_off: bool

    def seat_of(self, user_id: str) -> int | None:
        return self.users.index(user_id) if user_id in self.users else None


class Store:
    """Raises sqlite3.Error. For one thread."""

    def __init__(self, path: Path | str) -> None:
        self._db = sqlite3.connect(path, isolation_level=None, timeout=30)
        for setting in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
            self._db.execute(f"PRAGMA {setting}")
        self._db.executescript(SCHEMA)

    def close(self) -> None:
        self._db.close()

    def secret(self, name: str) -> bytes:
        """32 random bytes, made when first asked for and the same ever after."""
        insert = "INSERT OR IGNORE INTO secrets (name, value) VALUES (?, ?)"
        self._db.execute(insert, (name, secrets.token_bytes(32)))
        (value,) = self._db.execute("SELECT value FROM secrets WHERE name = ?", (name,)).fetchone()
        return bytes(value)

    # --- matches -----------------------------------------------------------------------------------------------------

    def take_in(self, match_id: str, users: list[str], duration_ms: int, now: int) -> None:
        """Know a match; one that is known already stays as it is."""
        with self._transaction():
            insert = "INSERT OR IGNORE INTO matches VALUES (?, ?, 0, ?)"
            if self._db.execute(insert, (match_id, duration_ms, now)).rowcount:
                seats = [(match_id, seat, user_id) for seat, user_id in enumerate(sorted(set(users)))]
                self._db.executemany("INSERT INTO players VALUES (?, ?, ?)", seats)

    def call_off(self, match_id: str, now: int) -> None:
        self._db.execute(
            "INSERT INTO matches VALUES (?, 0, 1, ?) ON CONFLICT (match_id) DO UPDATE SET is_off = 1", (match_id, now)
        )

    def match(self, match_id: str) -> Match | None:
        found = self._db.execute("SELECT duration_ms, is_off FROM matches WHERE match_id = ?", (match_id,)).fetchone()
        if found is None:
            return None
        users = self._db.execute("SELECT user_id FROM players WHERE match_id = ? ORDER BY seat", (match_id,))
        return Match(match_id, tuple(user_id for (user_id,) in users), found[0], bool(found[1]))

    def forget_before(self, known_at: int) -> None:
        """Forget the matches that were known before this, unless a result of theirs is still to be reported."""
        self._db.execute(
            "DELETE FROM matches WHERE known_at < ? AND NOT EXISTS (SELECT 1 FROM runs"
            " WHERE runs.match_id = matches.match_id AND NOT is_reported AND NOT is_off)",
            (known_at,),
        )

    # --- runs --------------------------------------------------------------------------------------------------------

    def start(self, run: Run) -> None:
        """Keep a new run, unless the player has one in this match."""
        self._db.execute(
            "INSERT OR IGNORE INTO runs (match_id, user_id, tiles, started_at) VALUES (?, ?, ?, ?)",
            (run.match_id, run.user_id, run.tiles, run.started_at),
        )

    def run(self, match_id: str, user_id: str) -> Run | None:
        found = self._db.execute(
            "SELECT tiles, duration_ms, started_at, ended_at, refusal"
            " FROM runs JOIN matches USING (match_id) WHERE match_id = ? AND user_id = ?",
            (match_id, user_id),
        ).fetchone()
        if found is None:
            return None
        tiles, duration_ms, started_at, ended_at, refusal = found
        taps = self._db.execute(
            "SELECT at_ms, x, y FROM taps WHERE match_id = ? AND user_id = ? ORDER BY number", (match_id, user_id)
        )
        return Run(match_id, user_id, tiles, duration_ms, started_at, taps.fetchall(), ended_at, refusal)

    def timed_out(self, now: int) -> list[tuple[str, str]]:
        """Match and player of those whose time is up and that have not ended, in matches that are on."""
        return self._keys("ended_at IS NULL AND started_at + duration_ms <= ?", now)

    def unreported(self) -> list[tuple[str, str]]:
        """Match and player of those that have ended, and whose result is not in the outbox."""
        return self._keys("ended_at IS NOT NULL AND NOT is_reported")

    def add(self, run: Run, fresh: list[Tap]) -> None:
        """Keep the last taps of a run."""
        first = len(run.taps) - len(fresh)
        rows = [(run.match_id, run.user_id, number, *tap) for number, tap in enumerate(fresh, first)]
        with self._transaction():
            self._db.executemany("INSERT INTO taps VALUES (?, ?, ?, ?, ?, ?)", rows)

    def end(self, match_id: str, user_id: str, ended_at: int, refusal: str | None) -> None:
        self._db.execute(
            "UPDATE runs SET ended_at = ?, refusal = ? WHERE match_id = ? AND user_id = ?",
            (ended_at, refusal, match_id, user_id),
        )

    def reported(self, run: Run) -> None:
        """The result is in the outbox."""
        self._db.execute(
            "UPDATE runs SET is_reported = 1 WHERE match_id = ? AND user_id = ?", (run.match_id, run.user_id)
        )

    def _keys(self, where: str, *values: int) -> list[tuple[str, str]]:
        return self._db.execute(
            f"SELECT match_id, user_id FROM runs JOIN matches USING (match_id) WHERE NOT is_off AND {where}",  # noqa: S608
            values,
        ).fetchall()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")
