"""The table of an outbox: results that wait, that are being sent, and that were answered. All its SQL, and no network.

A result is *claimed* by one sender for a while. A claim that its sender did not live to end lapses, and another sender
makes the very same report again, which the platform answers as it did the first (contract section A7).
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from oklp.contract import FinishAnswer, FinishRequest, GameMatchStatus
from oklp.errors import FieldError
from oklp.sdk.errors import (
    UNNAMED,
    ApiError,
    DifferentResultError,
    InvalidCallError,
    SdkError,
    StorageError,
)
from oklp.sdk.files import SqliteFile
from oklp.sdk.requests import RetryPolicy

# About as long as one attempt takes at its longest. When one takes longer, another sender's repetition does no harm; a
# longer claim would keep the results of a killed process waiting.
CLAIM_SECONDS: Final = 15
KEEP_SECONDS: Final = 30 * 24 * 3600
_PRUNE_EVERY_SECONDS: Final = 3600
# Whatever a Retry-After says, and whatever a wall clock that was set back makes of a time: no longer than this.
LONGEST_WAIT_SECONDS: Final = 3600.0
# What the platform answers to a report that it will never take (docs/errors.md).
_FINAL: Final = frozenset({400, 404, 409, 413, 422})

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS oklp_results (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    game TEXT NOT NULL,
    match_id TEXT NOT NULL,
    part TEXT NOT NULL,
    submission INTEGER NOT NULL CHECK (submission >= 1),
    body TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('waiting', 'accepted', 'not_accepted', 'refused')),
    attempts INTEGER NOT NULL DEFAULT 0,
    put_at INTEGER NOT NULL,
    next_attempt_at INTEGER NOT NULL,
    answered_at INTEGER,
    match_status TEXT,
    problem TEXT,
    CHECK ((state = 'waiting') = (answered_at IS NULL))
);
CREATE UNIQUE INDEX IF NOT EXISTS oklp_results_once
    ON oklp_results (game, match_id, part, submission) WHERE state <> 'refused';
CREATE INDEX IF NOT EXISTS oklp_results_due ON oklp_results (game, next_attempt_at) WHERE state = 'waiting';
CREATE INDEX IF NOT EXISTS oklp_results_answered ON oklp_results (state, answered_at) WHERE state <> 'waiting';
"""

OutboxState: TypeAlias = Literal["waiting", "accepted", "not_accepted", "refused"]


@dataclass(frozen=True, slots=True)
class OutboxProblem:
    """Why the last attempt did not end in acceptance. `status` is None when neither the platform nor a proxy before it
    refused.

    `code`, `title`, `detail` and `errors` are those of the platform's problem (contract section B1).
    """

    status: int | None
    code: str
    title: str
    detail: str
    errors: tuple[FieldError, ...] = ()


@dataclass(frozen=True, slots=True)
class OutboxEntry:
    """A result in an outbox. Times are milliseconds since the epoch.

    `state` is `waiting` until the platform has answered, then `accepted`; `not_accepted` when another result had been
    accepted before (`"accepted": false`); or `refused`, with the `problem`. An entry that waits has a `problem` too
    once an attempt has failed. `match_status` is of the answer.
    """

    id: int
    match_id: str
    result: FinishRequest
    submission: int
    state: OutboxState
    attempts: int
    put_at: int
    next_attempt_at: int | None
    answered_at: int | None
    match_status: GameMatchStatus | None
    problem: OutboxProblem | None

    @property
    def settled(self) -> bool:
        """Whether the platform has answered for good."""
        return self.state != "waiting"


# --- What comes of an attempt ----------------------------------------------------------------------------------------


def is_refusal(error: SdkError) -> bool:
    """Whether repeating the same report can change nothing: the platform itself has said what is wrong with it.

    It can when the platform was not reached, was busy, did not know this client (401, 403), or was not who answered:
    what stands before it has answers of its own, 404 and 413 among them, while the platform is away or an address is
    wrong. All that is put right in time, and no result should be lost by it.
    """
    if isinstance(error, InvalidCallError):
        return True
    return isinstance(error, ApiError) and error.status in _FINAL and error.code != "" and error.type != UNNAMED


def problem_of(error: Exception) -> OutboxProblem:
    if isinstance(error, ApiError):
        return OutboxProblem(error.status, error.code, error.title, error.detail, error.errors)
    errors = error.errors if isinstance(error, InvalidCallError) else ()
    return OutboxProblem(None, "", type(error).__name__, str(error), errors)


def wait_ms(policy: RetryPolicy, error: Exception, attempts: int, chance: float) -> int:
    """How long to wait after failed attempt number `attempts`."""
    retry_after = error.retry_after_seconds if isinstance(error, ApiError) else None
    return int(1000 * min(policy.wait_seconds(max(1, attempts), chance, retry_after), LONGEST_WAIT_SECONDS))


# --- The table -------------------------------------------------------------------------------------------------------


class ResultTable:
    """The results of one game in the file at `path`. `clock` gives milliseconds since the epoch.

    Raises StorageError, from every method.
    """

    def __init__(self, path: str | os.PathLike[str], game: str, clock: Callable[[], int]) -> None:
        self._file = SqliteFile(path, SCHEMA)
        self._game = game
        self._clock = clock
        self._pruned_at: int | None = None

    def close(self) -> None:
        self._file.close()

    def put(self, result: FinishRequest, submission: int) -> OutboxEntry:
        """On disk when it returns. The same result again is the entry that there is. Raises DifferentResultError."""
        part = _part(result)
        body = result.model_dump_json(exclude_none=True)
        with self._file.transaction() as db:
            there = db.execute(
                "SELECT * FROM oklp_results WHERE game = ? AND match_id = ? AND part = ? AND submission = ?"
                " AND state <> 'refused'",
                (self._game, result.match_id, part, submission),
            )
            entries = _entries(there)
            if not entries:
                now = self._clock()
                made = db.execute(
                    "INSERT INTO oklp_results (game, match_id, part, submission, body, state, put_at, next_attempt_at)"
                    " VALUES (?, ?, ?, ?, ?, 'waiting', ?, ?)",
                    (self._game, result.match_id, part, submission, body, now, now),
                )
                entries = _entries(_row(db, made.lastrowid))
            elif not _same(entries[0].result, result):
                raise DifferentResultError(
                    f"another result of match {result.match_id} is in the outbox, {entries[0].state}"
                )
            return entries[0]

    def claim(self) -> OutboxEntry | None:
        """The waiting result whose turn it is, for the caller to send within CLAIM_SECONDS; None when there is none."""
        now = self._clock()
        if not self._has_due(now):
            return None
        with self._file.transaction() as db:
            due = db.execute(
                "SELECT id FROM oklp_results WHERE game = ? AND state = 'waiting'"
                " AND (next_attempt_at <= ? OR next_attempt_at > ?) ORDER BY next_attempt_at, id LIMIT 1",
                (self._game, now, _not_before(now)),
            ).fetchone()
            if due is None:
                return None
            db.execute(
                "UPDATE oklp_results SET attempts = attempts + 1, next_attempt_at = ? WHERE id = ?",
                (now + CLAIM_SECONDS * 1000, due["id"]),
            )
            rows = _row(db, due["id"])
        # Read when the claim stands, so that a result which a damaged file has made unreadable holds up no other.
        return _entries(rows)[0]

    def _has_due(self, now: int) -> bool:
        """Looks without writing, so that senders with nothing to do leave the disk alone."""
        with self._file.reading() as db:
            row = db.execute(
                "SELECT EXISTS (SELECT 1 FROM oklp_results WHERE game = ? AND state = 'waiting'"
                " AND (next_attempt_at <= ? OR next_attempt_at > ?))",
                (self._game, now, _not_before(now)),
            ).fetchone()
        return bool(row[0])

    def due_in_ms(self) -> int | None:
        """Milliseconds until the next attempt is due, None when nothing waits."""
        with self._file.reading() as db:
            row = db.execute(
                "SELECT MIN(next_attempt_at) FROM oklp_results WHERE game = ? AND state = 'waiting'", (self._game,)
            ).fetchone()
        return None if row[0] is None else max(0, row[0] - self._clock())

    def answered(self, entry: OutboxEntry, answer: FinishAnswer) -> None:
        """The platform took note of the result."""
        state: OutboxState = "accepted" if answer.accepted else "not_accepted"
        self._settle(entry, state, answer.match_status, None)

    def refused(self, entry: OutboxEntry, problem: OutboxProblem) -> None:
        self._settle(entry, "refused", None, problem)

    def _settle(
        self, entry: OutboxEntry, state: OutboxState, match_status: str | None, problem: OutboxProblem | None
    ) -> None:
        # An entry that a second sender, after a lapsed claim, has settled already stays as it is.
        with self._file.transaction() as db:
            db.execute(
                "UPDATE oklp_results SET state = ?, match_status = ?, problem = ?, answered_at = ?"
                " WHERE id = ? AND state = 'waiting'",
                (state, match_status, _problem_json(problem), self._clock(), entry.id),
            )

    def failed(self, entry: OutboxEntry, problem: OutboxProblem, wait: int) -> None:
        """No answer yet: the next attempt is due in `wait` milliseconds."""
        with self._file.transaction() as db:
            db.execute(
                "UPDATE oklp_results SET problem = ?, next_attempt_at = ? WHERE id = ? AND state = 'waiting'",
                (_problem_json(problem), self._clock() + wait, entry.id),
            )

    def release(self, entry: OutboxEntry) -> None:
        """Its sender was stopped: the result is for another one, now."""
        with self._file.transaction() as db:
            db.execute(
                "UPDATE oklp_results SET next_attempt_at = ? WHERE id = ? AND state = 'waiting'",
                (self._clock(), entry.id),
            )

    def retry(self, entry_id: int) -> OutboxEntry | None:
        """A refused result waits again; None when there is no such refused entry. Raises DifferentResultError."""
        with self._file.transaction() as db:
            try:
                again = db.execute(
                    "UPDATE oklp_results SET state = 'waiting', answered_at = NULL, next_attempt_at = ?"
                    " WHERE id = ? AND game = ? AND state = 'refused'",
                    (self._clock(), entry_id, self._game),
                )
            except sqlite3.IntegrityError:
                raise DifferentResultError("a later result of the same match is in the outbox") from None
            return _entries(_row(db, entry_id))[0] if again.rowcount > 0 else None

    def discard(self, entry_id: int) -> bool:
        """Deletes an entry that the platform has answered. Whether there was one."""
        with self._file.transaction() as db:
            gone = db.execute(
                "DELETE FROM oklp_results WHERE id = ? AND game = ? AND state <> 'waiting'", (entry_id, self._game)
            )
            return gone.rowcount > 0

    def get(self, entry_id: int) -> OutboxEntry | None:
        with self._file.reading() as db:
            found = _entries(db.execute("SELECT * FROM oklp_results WHERE id = ? AND game = ?", (entry_id, self._game)))
        return found[0] if found else None

    def entries(self, state: OutboxState | None, match_id: str | None) -> list[OutboxEntry]:
        """Oldest first."""
        with self._file.reading() as db:
            return _entries(
                db.execute(
                    "SELECT * FROM oklp_results WHERE game = ? AND (? IS NULL OR state = ?)"
                    " AND (? IS NULL OR match_id = ?) ORDER BY id",
                    (self._game, state, state, match_id, match_id),
                )
            )

    def prune(self) -> None:
        """Deletes what was accepted long ago, now and then. What was not accepted stays until somebody discards it."""
        now = self._clock()
        if self._pruned_at is not None and 0 <= now - self._pruned_at < _PRUNE_EVERY_SECONDS * 1000:
            return
        with self._file.transaction() as db:
            db.execute(
                "DELETE FROM oklp_results WHERE game = ? AND state = 'accepted' AND answered_at < ?",
                (self._game, now - KEEP_SECONDS * 1000),
            )
        self._pruned_at = now


def _part(result: FinishRequest) -> str:
    """Whose result it is: of the whole match, or of these players. There is one for each."""
    return "" if result.teams is not None else " ".join(sorted(participant.id for participant in result.participants))


def _same(one: FinishRequest, other: FinishRequest) -> bool:
    """Whether they say the same, in whatever order."""

    def said(result: FinishRequest) -> object:
        participants = {participant.id: participant for participant in result.participants}
        return participants, None if result.teams is None else {team.id: team for team in result.teams}

    return said(one) == said(other)


def _not_before(now: int) -> int:
    """A time later than this was never meant: the clock has been set back since, and the result is due."""
    return now + int(LONGEST_WAIT_SECONDS * 1000)


def _row(db: sqlite3.Connection, entry_id: int | None) -> list[sqlite3.Row]:
    """What a statement of this transaction has just written. Not by its RETURNING, which SQLite has from 3.35 on:
    Python 3.11 is content with less, and RHEL 9 has 3.34.
    """
    return db.execute("SELECT * FROM oklp_results WHERE id = ?", (entry_id,)).fetchall()


def _entries(rows: Iterable[sqlite3.Row]) -> list[OutboxEntry]:
    return [_entry(row) for row in rows]


def _entry(row: sqlite3.Row) -> OutboxEntry:
    state: OutboxState = row["state"]
    return OutboxEntry(
        id=row["id"],
        match_id=row["match_id"],
        result=_result(row),
        submission=row["submission"],
        state=state,
        attempts=row["attempts"],
        put_at=row["put_at"],
        next_attempt_at=row["next_attempt_at"] if state == "waiting" else None,
        answered_at=row["answered_at"],
        match_status=row["match_status"],
        problem=_problem(row["problem"]),
    )


def _result(row: sqlite3.Row) -> FinishRequest:
    try:
        return FinishRequest.model_validate_json(row["body"])
    except ValueError:
        raise StorageError(f"result {row['id']} of match {row['match_id']} in the outbox cannot be read") from None


def _problem_json(problem: OutboxProblem | None) -> str | None:
    if problem is None:
        return None
    errors = [[fault.field, fault.message] for fault in problem.errors]
    return json.dumps([problem.status, problem.code, problem.title, problem.detail, errors])


def _problem(text: str | None) -> OutboxProblem | None:
    if text is None:
        return None
    status, code, title, detail, errors = json.loads(text)
    return OutboxProblem(status, code, title, detail, tuple(FieldError(*fault) for fault in errors))
