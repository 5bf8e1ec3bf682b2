"""Matches under way: who has come, whose clock runs, and the result to report. No I/O; times are milliseconds."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypeAlias

from oklp.sdk import MatchInfo, ParticipantResult, TeamResult

from .rules import CARDS, SEATS, Seat, Table, best, other, play, prize_order

Phase: TypeAlias = Literal["waiting", "playing", "over", "reported", "aborted"]

# The page shows the cards of a round for a moment before it goes on; that is not taken off the next round's clock.
REVEAL_SECONDS = 3
MISSES_ALLOWED = 1


class NotPlayableError(Exception):
    """A bid that the state does not allow; the message says why, to a person."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How long players have: to come, and to choose a card."""

    arrival_seconds: int = 600
    round_seconds: int = 30


@dataclass(slots=True)
class Match:
    """One match. `chosen` are the cards of the round that is being played, `missed` how many rounds in a row each
    player let pass, `deadline_at` when the wait or the round ends.

    What changes it returns True when there is something new to store and to show.
    """

    match_id: str
    users: list[str]
    teams: list[str]
    deadline_at: int
    phase: Phase = "waiting"
    names: list[str] = field(default_factory=lambda: ["", ""])
    bids: list[list[int]] = field(default_factory=list)
    chosen: list[int | None] = field(default_factory=lambda: [None, None])
    missed: list[int] = field(default_factory=lambda: [0, 0])
    here: list[bool] = field(default_factory=lambda: [False, False])
    forfeits: list[bool] = field(default_factory=lambda: [False, False])
    ended_at: int | None = None
    accepted: bool = False

    @classmethod
    def of(cls, info: MatchInfo, now: int, pace: Pace) -> Match:
        """A match that starts. Raises ValueError when it is not one against one."""
        seats = {participant.team_id: participant.id for participant in info.participants}
        if len(info.participants) != 2 or len(info.teams) != 2 or len(seats) != 2:
            raise ValueError("High Bid is played one against one")
        teams = [team.id for team in info.teams]
        return cls(info.match_id, [seats[team] for team in teams], teams, now + pace.arrival_seconds * 1000)

    @classmethod
    def forgotten(cls, match_id: str, now: int) -> Match:
        """What is left of a match that was called off: its id, so that a late start of it is not taken up."""
        return cls(match_id, ["", ""], ["", ""], now, phase="aborted", ended_at=now)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def table(self) -> Table:
        return play(prize_order(self.match_id), [(first, second) for first, second in self.bids])

    def seat_of(self, user_id: str) -> Seat | None:
        return next((seat for seat in SEATS if self.users[seat] == user_id and user_id), None)

    # --- what happens ------------------------------------------------------------------------------------------------

    def arrive(self, seat: Seat, now: int, pace: Pace) -> bool:
        """A player is at the table; with both there, the first round begins."""
        if self.phase != "waiting" or self.here[seat]:
            return False
        self.here[seat] = True
        if all(self.here):
            self.phase = "playing"
            self.deadline_at = now + pace.round_seconds * 1000
        return True

    def bid(self, seat: Seat, round_number: int, card: int, now: int, pace: Pace) -> bool:
        """Choose a card; the second choice ends the round. A repeated request changes nothing.

        Raises NotPlayableError.
        """
        if 1 <= round_number <= len(self.bids) and self.bids[round_number - 1][seat] == card:
            return False
        if self.phase != "playing":
            raise NotPlayableError("The match is not being played.")
        if round_number != len(self.bids) + 1:
            raise NotPlayableError("That round is not being played.")
        if self.chosen[seat] is not None and self.chosen[seat] != card:
            raise NotPlayableError("A card is chosen already.")
        if card not in self.table.hands[seat]:
            raise NotPlayableError("That card is not in the hand.")
        if self.chosen[seat] == card:
            return False
        self.chosen[seat] = card
        self.missed[seat] = 0
        self._end_round(now, pace)
        return True

    def tick(self, now: int, pace: Pace) -> bool:
        """What the clock does: it ends the wait, plays for those who let a round pass, and in the end forfeits."""
        if self.phase not in ("waiting", "playing") or now < self.deadline_at:
            return False
        if self.phase == "waiting":
            self.forfeits = [not here for here in self.here]
            self._end(now)
            return True
        hands = self.table.hands
        for seat in SEATS:
            if self.chosen[seat] is None:
                self.missed[seat] += 1
                self.forfeits[seat] = self.missed[seat] > MISSES_ALLOWED
                self.chosen[seat] = min(hands[seat])
        if any(self.forfeits):
            self.chosen = [None, None]
            self._end(now)
        else:
            self._end_round(now, pace)
        return True

    def abort(self, now: int) -> None:
        """The platform has called the match off: nothing of it is kept but its id and the two seats, so that a player
        who looks is told.
        """
        self.phase = "aborted"
        self.bids = []
        self.chosen = [None, None]
        self.ended_at = now

    def _end_round(self, now: int, pace: Pace) -> None:
        first, second = self.chosen
        if first is None or second is None:
            return
        self.bids.append([first, second])
        self.chosen = [None, None]
        self.deadline_at = now + (pace.round_seconds + REVEAL_SECONDS) * 1000
        hands = self.table.hands
        if len(hands[0]) == 1:
            # With one card each there is nothing left to choose.
            self.bids.append([hands[0][0], hands[1][0]])
        if len(self.bids) == len(CARDS):
            self._end(now)

    def _end(self, now: int) -> None:
        self.phase = "over"
        self.ended_at = now

    # --- what came of it ---------------------------------------------------------------------------------------------

    @property
    def winner(self) -> Seat | None:
        """Of a match that is over: None for a draw, and when neither player has played."""
        if any(self.forfeits):
            return next((seat for seat in SEATS if not self.forfeits[seat] and self.forfeits[other(seat)]), None)
        return best(self.table)

    def result(self) -> tuple[list[ParticipantResult], list[TeamResult]]:
        """The result as the platform wants it: participants and teams (contract section A7)."""
        points = self.table.points
        winner = self.winner
        ranking = [1 if winner in (None, seat) else 2 for seat in SEATS]
        return (
            [ParticipantResult(id=self.users[seat], score=points[seat]) for seat in SEATS],
            [
                TeamResult(id=self.teams[seat], score=points[seat], ranking=ranking[seat], forfeit=self.forfeits[seat])
                for seat in SEATS
            ],
        )

    def view(self, seat: Seat, now: int, pace: Pace) -> dict[str, Any]:
        """What one player may see: everything but the card that the other has chosen for this round."""
        table = self.table
        opponent = other(seat)
        ended = self.phase in ("over", "reported")

        def side(of: Seat) -> dict[str, Any]:
            return {
                "name": self.names[of],
                "points": table.points[of],
                "hand": list(table.hands[of]),
                "here": self.here[of],
                "ready": self.chosen[of] is not None,
                "forfeit": self.forfeits[of],
            }

        return {
            "match_id": self.match_id,
            "phase": "over" if ended else self.phase,
            "reported": self.phase == "reported",
            "accepted": self.accepted,
            "round": len(self.bids) + 1,
            "rounds": len(CARDS),
            "prize": table.prize,
            "carried": list(table.carried),
            "round_seconds": pace.round_seconds,
            "seconds_left": max(0, self.deadline_at - now) / 1000,
            "you": {**side(seat), "choice": self.chosen[seat]},
            "them": side(opponent),
            "history": [
                {
                    "stake": list(done.stake),
                    "you": done.bids[seat],
                    "them": done.bids[opponent],
                    "taken_by": None if done.taken_by is None else ("you" if done.taken_by == seat else "them"),
                }
                for done in table.rounds
            ],
            "outcome": self._outcome(seat) if ended else None,
        }

    def _outcome(self, seat: Seat) -> str:
        if all(self.forfeits):
            return "off"
        if self.winner is None:
            return "draw"
        return "won" if self.winner == seat else "lost"
