"""Matches under way: who has come, whose clock runs, and the result to report. No I/O; times are milliseconds."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, Literal, TypeAlias

from oklp.sdk import MatchInfo, MatchRandom, ParticipantResult, TeamResult

from .rules import BLACK, COLOURS, SEATS, SQUARES, START, IllegalMoveError, Position, Seat, other, square_of, squares
from .search import Level

Phase: TypeAlias = Literal["waiting", "playing", "over", "reported", "aborted"]
Ending: TypeAlias = Literal["", "counted", "resigned", "flag", "absent"]
Answer: TypeAlias = Literal["", "accepted", "not_accepted", "refused"]

# After a restart of the server the clock of who is to move stands until they are back, and no longer than this.
RETURN_MS = 10_000


class NotPlayableError(Exception):
    """A move that the state does not allow; the message says why, to a person."""


@dataclass(frozen=True, slots=True)
class Pace:
    """A side's time for the whole match, what each move adds to it, and how long players have to come."""

    base_seconds: int = 180
    increment_seconds: int = 2
    arrival_seconds: int = 300


@dataclass(slots=True)
class Match:
    """One match. Lists are by seat: black, white. `clocks_ms` is what each side had left at `turn_at`, when the clock
    of who is to move began to run; that lies ahead while it stands still. `deadline_at` is when the wait for players
    ends. `level` is the bot's in a practice match, which has white or black for a bot and is never reported.

    What changes it returns True when there is something new to keep and to show.
    """

    match_id: str
    users: list[str]
    teams: list[str]
    base_ms: int
    increment_ms: int
    deadline_at: int
    names: list[str] = field(default_factory=lambda: ["", ""])
    phase: Phase = "waiting"
    here: list[bool] = field(default_factory=lambda: [False, False])
    moves: list[str] = field(default_factory=list)
    clocks_ms: list[int] = field(default_factory=list)
    turn_at: int = 0
    ending: Ending = ""
    forfeits: list[bool] = field(default_factory=lambda: [False, False])
    ended_at: int | None = None
    answer: Answer = ""
    level: Level | None = None
    # What follows from the moves.
    position: Position = field(init=False, default=START, repr=False, compare=False)
    played: list[tuple[Seat, int]] = field(init=False, default_factory=list, repr=False, compare=False)

    def __post_init__(self) -> None:
        self.clocks_ms = self.clocks_ms or [self.base_ms, self.base_ms]
        for name in self.moves:
            self._place(square_of(name))

    @classmethod
    def of(cls, info: MatchInfo, now: int, pace: Pace) -> Match:
        """A match that starts; who has black follows from its id. Raises ValueError when it is not one against one."""
        players = {participant.team_id: participant.id for participant in info.participants}
        teams = [team.id for team in info.teams]
        if len(info.participants) != 2 or len(teams) != 2 or set(players) != set(teams):
            raise ValueError("Reversi is played one against one.")
        if MatchRandom(info.match_id).stream("who begins").below(2) == 1:
            teams.reverse()
        return cls._at(info.match_id, [players[team] for team in teams], teams, now, pace)

    @classmethod
    def practice(cls, match_id: str, level: Level, now: int, pace: Pace) -> Match:
        """A match of nobody against the bot, which is there already."""
        match = cls._at(match_id, ["", ""], ["", ""], now, pace)
        match.level = level
        seat = match.bot_seat
        match.names[seat] = f"Bot ({level})"
        match.here[seat] = True
        return match

    @classmethod
    def _at(cls, match_id: str, users: list[str], teams: list[str], now: int, pace: Pace) -> Match:
        deadline_at = now + pace.arrival_seconds * 1000
        return cls(match_id, users, teams, pace.base_seconds * 1000, pace.increment_seconds * 1000, deadline_at)

    def to_dict(self) -> dict[str, Any]:
        return {each.name: getattr(self, each.name) for each in fields(self) if each.init}

    @property
    def bot_seat(self) -> Seat:
        """In a practice match: the seat that the bot has, by lot as in every match."""
        return other(BLACK) if MatchRandom(self.match_id).stream("who begins").below(2) == 0 else BLACK

    @property
    def open(self) -> bool:
        return self.phase in ("waiting", "playing")

    def seat_of(self, user_id: str) -> Seat | None:
        return next((seat for seat in SEATS if self.users[seat] == user_id and user_id), None)

    def left_ms(self, seat: Seat, now: int) -> int:
        """What a side has left on its clock."""
        running = self.phase == "playing" and self.position.turn == seat
        return max(0, self.clocks_ms[seat] - (max(0, now - self.turn_at) if running else 0))

    # --- what happens ------------------------------------------------------------------------------------------------

    def arrive(self, seat: Seat, now: int) -> bool:
        """A player is at the board; when both have come, black's clock begins to run."""
        if self.phase == "playing" and self.position.turn == seat and self.turn_at > now:
            self.turn_at = now
            return True
        if self.phase != "waiting" or self.here[seat]:
            return False
        self.here[seat] = True
        if all(self.here):
            self.phase = "playing"
            self.turn_at = now
        return True

    def move(self, seat: Seat, number: int, name: str, now: int) -> bool:
        """Play move `number`, counted from 1 through both sides. The same one again, as after a lost connection,
        changes nothing. Call `tick` first, for a clock that has run out. Raises NotPlayableError.
        """
        try:
            square = square_of(name)
        except IllegalMoveError as error:
            raise NotPlayableError(str(error)) from None
        if 1 <= number <= len(self.played) and self.played[number - 1] == (seat, square):
            return False
        if self.phase != "playing":
            raise NotPlayableError("The match is not being played.")
        if self.position.turn != seat:
            raise NotPlayableError("It is not your turn.")
        if number != len(self.played) + 1:
            raise NotPlayableError("The board has changed meanwhile.")
        left = self.left_ms(seat, now)
        try:
            self._place(square)
        except IllegalMoveError as error:
            raise NotPlayableError(str(error)) from None
        self.moves.append(name)
        self.clocks_ms[seat] = left + self.increment_ms
        self.turn_at = now
        if self.position.turn is None:
            self._end(now, "counted")
        return True

    def resign(self, seat: Seat, now: int) -> bool:
        """Give the match up. Raises NotPlayableError when there is none to give up."""
        if not self.open:
            raise NotPlayableError("The match is not being played.")
        self.forfeits[seat] = True
        self._end(now, "resigned")
        return True

    def tick(self, now: int) -> bool:
        """What time does: it ends the wait for players, and the match of who has none left."""
        if self.phase == "waiting" and now >= self.deadline_at:
            self.forfeits = [not here for here in self.here]
            self._end(now, "absent")
            return True
        turn = self.position.turn
        if self.phase == "playing" and turn is not None and self.left_ms(turn, now) == 0:
            self.forfeits[turn] = True
            self._end(now, "flag")
            return True
        return False

    def resume(self, down_at: int, now: int) -> bool:
        """The server was down from `down_at` until `now`: no clock has run in that time. The one that did then stands
        still until its player is back, for RETURN_MS at most.
        """
        away = max(0, now - down_at)
        if self.phase == "waiting":
            self.deadline_at += away
        elif self.phase == "playing" and self.position.turn is not None:
            turn = self.position.turn
            self.clocks_ms[turn] = max(1, self.left_ms(turn, min(down_at, now)))
            self.turn_at = now + RETURN_MS
        return self.open

    def abort(self, now: int) -> bool:
        """The platform has called the match off. A result that it has accepted stays."""
        if self.phase == "aborted" or self.answer == "accepted":
            return False
        self._end(now, "")
        self.phase = "aborted"
        return True

    def report_answered(self, answer: Answer) -> bool:
        if self.phase != "over":
            return False
        self.phase = "reported"
        self.answer = answer
        return True

    def _place(self, square: int) -> None:
        turn = self.position.turn
        self.position = self.position.play(square)
        if turn is not None:
            self.played.append((turn, square))

    def _end(self, now: int, ending: Ending) -> None:
        if self.phase == "playing" and self.position.turn is not None:
            turn = self.position.turn
            self.clocks_ms[turn] = self.left_ms(turn, now)
        self.phase = "over"
        self.ending = ending
        self.ended_at = now

    # --- what came of it ---------------------------------------------------------------------------------------------

    @property
    def winner(self) -> Seat | None:
        """Of a match that is over: None for a draw, and when neither player has come."""
        if any(self.forfeits):
            return next((seat for seat in SEATS if not self.forfeits[seat]), None)
        return self.position.leader

    def result(self) -> tuple[list[ParticipantResult], list[TeamResult]]:
        """The result as the platform wants it (contract section A7): discs are the scores, and a draw is a shared rank.
        Where both have forfeited they share it too, and the platform sends all entry fees back.
        """
        discs, winner = self.position.counts, self.winner
        participants = [ParticipantResult(id=self.users[seat], score=discs[seat]) for seat in SEATS]
        teams = [
            TeamResult(
                id=self.teams[seat],
                score=discs[seat],
                ranking=1 if winner in (None, seat) else 2,
                forfeit=self.forfeits[seat],
            )
            for seat in SEATS
        ]
        return participants, teams

    # --- what a player sees ------------------------------------------------------------------------------------------

    def view(self, seat: Seat, now: int, connected: tuple[bool, bool]) -> dict[str, Any]:
        """The match as one player sees it. There are no secrets in Reversi but whose turn it is to think."""
        turn = self.position.turn if self.phase == "playing" else None
        ended = self.phase in ("over", "reported")
        return {
            "type": "state",
            "match_id": self.match_id,
            "phase": "over" if ended else self.phase,
            "practice": self.level,
            "board": self._board(),
            "turn": None if turn is None else ("you" if turn == seat else "them"),
            "legal": [SQUARES[square] for square in squares(self.position.legal)] if turn == seat else [],
            "moves": [[COLOURS[mover], SQUARES[square]] for mover, square in self.played],
            "passed": self._passed(seat),
            "paused_ms": max(0, self.turn_at - now) if turn is not None else 0,
            "arrival_ms": max(0, self.deadline_at - now) if self.phase == "waiting" else 0,
            "increment_ms": self.increment_ms,
            "you": self._side(seat, now, connected),
            "them": self._side(other(seat), now, connected),
            "outcome": self._outcome(seat) if ended else None,
            "ending": self.ending,
            "answer": self.answer,
        }

    def _side(self, seat: Seat, now: int, connected: tuple[bool, bool]) -> dict[str, Any]:
        return {
            "colour": COLOURS[seat],
            "name": self.names[seat],
            "discs": self.position.counts[seat],
            "clock_ms": self.left_ms(seat, now),
            "arrived": self.here[seat],
            "here": connected[seat],
            "forfeit": self.forfeits[seat],
        }

    def _board(self) -> str:
        """64 letters from a1 to h8: `b`, `w`, or `.` for a free square."""
        black, white = self.position.discs
        return "".join("b" if black >> at & 1 else "w" if white >> at & 1 else "." for at in range(64))

    def _passed(self, seat: Seat) -> str | None:
        """Who could not answer the last move, and so passed."""
        if not self.played or self.position.turn is None or self.played[-1][0] != self.position.turn:
            return None
        return "them" if self.position.turn == seat else "you"

    def _outcome(self, seat: Seat) -> str:
        if all(self.forfeits):
            return "off"
        if self.winner is None:
            return "draw"
        return "won" if self.winner == seat else "lost"
