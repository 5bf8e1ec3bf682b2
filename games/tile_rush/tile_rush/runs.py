"""A player's run: the clock, the log of taps, and what makes a log one that cannot have been played.

A run has 75 seconds by the server's clock, after three in which the board is shown. The page sends its taps in pieces,
each tap with the time that the page's clock showed. Nothing in a piece is believed: each tap has to be possible on the
board as replayed here, after the one before, and not later than it is. A piece with one that is not ends the run; what
was taken before counts, and nothing of that piece does.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from oklp.sdk import MatchRandom

from .rules import GAP_MS, Board, ImpossibleMoveError

LEAD_IN_MS: Final = 3_000
# For the last piece to arrive, and for those that wait for a server that was away.
GRACE_MS: Final = 3_000
GRACE_AFTER_RESTART_MS: Final = 15_000
# Two clocks that both run for a minute do not run alike.
CLOCK_SLACK_MS: Final = 250
MOST_IN_A_PIECE: Final = 100

Tap: TypeAlias = tuple[int, int, int]
"""Milliseconds since the run began, column, row."""


class LogRefusedError(Exception):
    """The piece cannot have been played; the text says why, for the player to read."""


class OutOfStepError(Exception):
    """The piece does not continue the log that is here: it is of another window, or something is missing."""


class TooLateError(Exception):
    """The run was over when the piece came."""


@dataclass(slots=True)
class Run:
    """One run. Times ending in `_at` are milliseconds since the epoch; `started_at` is when the clock stood at 0."""

    match_id: str
    user_id: str
    tiles: str
    duration_ms: int
    started_at: int
    taps: list[Tap] = field(default_factory=list)
    ended_at: int | None = None
    refusal: str | None = None
    kept_open_until_at: int = 0
    board: Board = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.board = self._replayed()

    @property
    def score(self) -> int:
        return self.board.score

    def elapsed_ms(self, now: int) -> int:
        """Negative while the board is only shown."""
        return now - self.started_at

    def closes_at(self) -> int:
        """From when on no piece is taken."""
        return max(self.started_at + self.duration_ms + GRACE_MS, self.kept_open_until_at)

    def take(self, tiles: object, start: int, taps: list[Tap], now: int) -> list[Tap]:
        """Take a piece of the log that begins with tap number `start`. Returns the taps that are new; those that are
        known already may be sent again. `tiles` is what the page says it drew its tiles from.

        Raises LogRefusedError, after which the run has to be ended, OutOfStepError and TooLateError.
        """
        if self.ended_at is not None or now >= self.closes_at():
            raise TooLateError
        if tiles != self.tiles:
            raise LogRefusedError("it was played on another board")
        known = self.taps[start : start + len(taps)]
        if start > len(self.taps) or known != taps[: len(known)]:
            raise OutOfStepError
        fresh = taps[len(known) :]
        self._check_times(fresh, now)
        self._play(fresh)
        return fresh

    def end(self, now: int, refusal: str | None = None) -> None:
        self.ended_at = now
        self.refusal = refusal

    def _check_times(self, fresh: list[Tap], now: int) -> None:
        before = self.taps[-1][0] if self.taps else None
        for number, (at, _, _) in enumerate(fresh, len(self.taps) + 1):
            if at < 0:
                raise LogRefusedError(f"tap {number} came before the run began")
            if at > self.duration_ms:
                raise LogRefusedError(f"tap {number} came after the time was up")
            if at > self.elapsed_ms(now) + CLOCK_SLACK_MS:
                raise LogRefusedError(f"tap {number} is from the future, by the clock of the server")
            if before is not None and at < before:
                raise LogRefusedError(f"time runs backwards at tap {number}")
            if before is not None and at < before + GAP_MS:
                raise LogRefusedError(f"tap {number} came faster than tiles fall")
            before = at

    def _play(self, fresh: list[Tap]) -> None:
        """All of them or none, so that a refused piece leaves the score as it was."""
        for number, (_, x, y) in enumerate(fresh, len(self.taps) + 1):
            try:
                self.board.tap(x, y)
            except ImpossibleMoveError as reason:
                self.board = self._replayed()
                raise LogRefusedError(f"tap {number} is impossible: {reason}") from None
        self.taps.extend(fresh)

    def _replayed(self) -> Board:
        board = Board(MatchRandom(self.match_id).stream(self.tiles))
        for _, x, y in self.taps:
            board.tap(x, y)
        return board


def taps_of(body: object) -> list[Tap]:
    """The taps of a request's JSON. Raises ValueError for what is none at all; the rules look at the rest."""
    if not isinstance(body, list) or len(body) > MOST_IN_A_PIECE:
        raise ValueError(f"Send up to {MOST_IN_A_PIECE} taps at a time.")
    return [_tap_of(each) for each in body]


def _tap_of(each: Any) -> Tap:
    if not isinstance(each, list) or len(each) != 3 or any(type(number) is not int for number in each):
        raise ValueError("A tap is a time, a column and a row, all of them whole numbers.")
    if any(abs(number) > 2**31 for number in each):
        raise ValueError("There is no such time, column or row.")
    return each[0], each[1], each[2]
