"""A match before it is played: states, who may do what in which, seats and deadlines (contract sections B3 and A3).

`TRANSITIONS` is the whole truth about states: every state and action that is not in it is refused. Time is an
argument, in milliseconds since the epoch.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from oklp.errors import Conflict, LimitReached, MatchFull, MatchStarting, NotFound, WrongState, invalid

PENDING: Final = "pending"
STARTING: Final = "starting"
LIVE: Final = "live"
FINISHED: Final = "finished"
ABORTED: Final = "aborted"
STATUSES: Final = (PENDING, STARTING, LIVE, FINISHED, ABORTED)
OVER: Final = frozenset({FINISHED, ABORTED})
IN_PLAY: Final = frozenset({STARTING, LIVE})

INVITED: Final = "invited"
JOINED: Final = "joined"
CONFIRMED: Final = "confirmed"
DECLINED: Final = "declined"
LEFT: Final = "left"
TAKEN: Final = frozenset({JOINED, CONFIRMED})
ACTIVE: Final = frozenset({INVITED, JOINED, CONFIRMED})

# A match keeps every seat that was ever paid for, and would fill up with those who come and go. Each bound keeps one
# player, or one who invites, from using up what is there for everybody.
MAX_INVITATIONS: Final = 400  # open and declined ones
MAX_RETURNS: Final = 20  # of one player who has paid and left
MAX_SEATS: Final = 2_000

# (state, action) → the states it may lead to.
TRANSITIONS: Final[Mapping[tuple[str, str], frozenset[str]]] = {
    (PENDING, "invite"): frozenset({PENDING}),
    (PENDING, "join"): frozenset({PENDING}),
    (PENDING, "decline"): frozenset({PENDING}),
    (PENDING, "leave"): frozenset({PENDING, ABORTED}),  # aborted when nobody is left
    (PENDING, "confirm"): frozenset({PENDING, STARTING, LIVE}),  # live at once when the game pulls
    (PENDING, "cancel"): frozenset({ABORTED}),
    (PENDING, "expire"): frozenset({ABORTED}),
    (PENDING, "abort"): frozenset({ABORTED}),
    (STARTING, "accept"): frozenset({LIVE}),
    (STARTING, "refuse"): frozenset({ABORTED}),
    (STARTING, "abort"): frozenset({ABORTED}),
    (LIVE, "launch"): frozenset({LIVE}),
    (LIVE, "report"): frozenset({LIVE, FINISHED}),
    (LIVE, "deadline"): frozenset({FINISHED, ABORTED}),
    (LIVE, "settle"): frozenset({FINISHED}),
    (LIVE, "abort"): frozenset({ABORTED}),
    (FINISHED, "report"): frozenset({FINISHED}),  # accepted if identical, else kept aside
}
ACTIONS: Final = frozenset(action for _, action in TRANSITIONS)

_DONE: Final[Mapping[str, str]] = {
    "invite": "invite to it",
    "join": "join it",
    "decline": "decline it",
    "leave": "leave it",
    "confirm": "confirm it",
    "cancel": "cancel it",
    "launch": "launch it",
    "report": "report a result",
    "settle": "settle it",
    "abort": "abort it",
}


def allowed(status: str, action: str) -> bool:
    return (status, action) in TRANSITIONS


def permit(status: str, action: str) -> None:
    """Raises WrongState when the state does not allow the action; for results of a starting match, MatchStarting."""
    if (status, action) in TRANSITIONS:
        return
    if status == STARTING and action == "report":
        raise MatchStarting("The match is starting; its game is being told. Try again.", retry_after_seconds=1)
    raise WrongState(f"The match is {status}: it is not possible to {_DONE.get(action, action)}.")


@dataclass(slots=True)
class Seat:
    """A player's place in a match.

    Money is held for a seat: once it has been, whoever comes back gets another, so that the two are never confused. A
    seat that nothing was ever paid for is taken again, at the end of the line.
    """

    id: str
    user_id: str
    username: str
    team_id: str
    slot: int | None
    state: str
    position: int
    changed: bool = False
    fresh: bool = False
    moved: bool = False  # `position` is new

    def become(self, state: str) -> None:
        self.state = state
        self.changed = True
        if state not in TAKEN:
            self.slot = None


@dataclass(slots=True)
class Lobby:
    """Teams and seats of one match while it fills."""

    team_ids: Sequence[str]
    team_size: int
    seats: list[Seat] = field(default_factory=list)

    def active_seat(self, user_id: str) -> Seat | None:
        """The player's seat that counts: invited, joined or confirmed."""
        return next((seat for seat in self.seats if seat.user_id == user_id and seat.state in ACTIVE), None)

    def is_member(self, user_id: str) -> bool:
        return any(seat.user_id == user_id for seat in self.seats)

    def taken(self, team_id: str) -> list[Seat]:
        return [seat for seat in self.seats if seat.team_id == team_id and seat.state in TAKEN]

    def _free_slot(self, team_id: str) -> int | None:
        used = {seat.slot for seat in self.taken(team_id)}
        return next((slot for slot in range(self.team_size) if slot not in used), None)

    def _emptiest(self, *, with_invited: bool) -> str:
        """The team with the fewest members, the earlier one first."""
        states = ACTIVE if with_invited else TAKEN
        counts = dict.fromkeys(self.team_ids, 0)
        for seat in self.seats:
            if seat.state in states:
                counts[seat.team_id] += 1
        return min(self.team_ids, key=lambda team_id: counts[team_id])

    def given_up(self, user_ids: Iterable[str]) -> list[Seat]:
        """Seats that these players have left."""
        wanted = frozenset(user_ids)
        return [seat for seat in self.seats if seat.user_id in wanted and seat.state == LEFT]

    def _seat(self, spare: Seat | None, seat_id: str, user_id: str, username: str) -> Seat:
        """`spare`, moved to the end of the line, or a new seat there. Its team and state are the caller's to set."""
        position = 1 + max((seat.position for seat in self.seats), default=-1)
        if spare is not None:
            spare.position, spare.moved = position, True
            return spare
        if len(self.seats) >= MAX_SEATS:
            raise MatchFull("Too many players have come and gone in this match.")
        seat = Seat(seat_id, user_id, username, "", None, INVITED, position, fresh=True)
        self.seats.append(seat)
        return seat

    def _declined(self, user_id: str) -> Seat | None:
        return next((seat for seat in self.seats if seat.user_id == user_id and seat.state == DECLINED), None)

    def invite(self, seat_id: str, user_id: str, username: str, unpaid: Collection[str] = ()) -> Seat | None:
        """Invite a player; None if there is nothing to do, because he is invited or in already.

        `unpaid` are those given-up seats that nothing was ever paid for. One is left as it is: it says that the player
        was in this match.
        """
        if self.active_seat(user_id) is not None:
            return None
        spare = self._declined(user_id)
        if spare is None and sum(seat.state in (INVITED, DECLINED) for seat in self.seats) >= MAX_INVITATIONS:
            raise MatchFull("This match has had too many invitations.")
        left = self.given_up([user_id])
        if spare is None and len(left) > 1:
            spare = next((seat for seat in left if seat.id in unpaid), None)
        team_id = self._emptiest(with_invited=True)
        seat = self._seat(spare, seat_id, user_id, username)
        seat.team_id = team_id
        seat.become(INVITED)
        return seat

    def join(
        self, seat_id: str, user_id: str, username: str, team_id: str | None, unpaid: Collection[str] = ()
    ) -> Seat:
        """Take a seat in `team_id`, else in the team one was invited to, else in the emptiest.

        `unpaid` are those given-up seats that nothing was ever paid for; one of them is taken again.

        Raises InvalidRequest for an unknown team, Conflict when in already, MatchFull when no seat is free,
        LimitReached for a player who has paid and left too often.
        """
        if team_id is not None and team_id not in self.team_ids:
            raise invalid("team_id", "is not a team of this match")
        seat = self.active_seat(user_id)
        if seat is not None and seat.state in TAKEN:
            raise Conflict("You are in this match already.")
        if team_id is not None:
            wanted = [team_id]
        else:
            first = seat.team_id if seat is not None else self._emptiest(with_invited=False)
            wanted = [first, self._emptiest(with_invited=False)]
        for candidate in wanted:
            slot = self._free_slot(candidate)
            if slot is not None:
                break
        else:
            raise MatchFull(
                "No seat is free in this team." if team_id is not None else "No seat is free in this match."
            )
        left = self.given_up([user_id])
        if sum(each.id not in unpaid for each in left) >= MAX_RETURNS:
            raise LimitReached("You have paid for this match and left it too often.")
        if seat is None:
            spare = next((each for each in left if each.id in unpaid), None) or self._declined(user_id)
            seat = self._seat(spare, seat_id, user_id, username)
        seat.team_id, seat.slot = candidate, slot
        seat.become(JOINED)
        return seat

    def decline(self, user_id: str) -> Seat:
        seat = self.active_seat(user_id)
        if seat is None or seat.state != INVITED:
            raise WrongState("There is no open invitation to decline.")
        seat.become(DECLINED)
        return seat

    def leave(self, user_id: str) -> tuple[Seat, bool]:
        """Give the seat up; True if its entry fee was paid and goes back. An invitation is left by declining it."""
        seat = self.active_seat(user_id)
        if seat is None or seat.state not in TAKEN:
            raise WrongState("You are not in this match.")
        paid = seat.state == CONFIRMED
        seat.become(LEFT)
        return seat, paid

    def confirm(self, user_id: str) -> Seat | None:
        """Confirm; None if it was confirmed already (confirming twice pays once)."""
        seat = self.active_seat(user_id)
        if seat is None:
            raise (
                NotFound("You are not in this match.")
                if not self.is_member(user_id)
                else WrongState("You are not in this match any more.")
            )
        if seat.state == INVITED:
            raise WrongState("Join the match before you confirm.")
        if seat.state == CONFIRMED:
            return None
        seat.become(CONFIRMED)
        return seat

    @property
    def empty(self) -> bool:
        return not any(seat.state in TAKEN for seat in self.seats)

    @property
    def ready(self) -> bool:
        """Every seat is taken and confirmed."""
        confirmed = sum(seat.state == CONFIRMED for seat in self.seats)
        return confirmed == len(self.team_ids) * self.team_size

    def roster(self) -> list[list[object]]:
        """The frozen roster, `[[team_id, [[user_id, seat_id], …]], …]`: teams in order, members as they came."""
        frozen: list[list[object]] = []
        for team_id in self.team_ids:
            members = sorted(self.taken(team_id), key=lambda seat: seat.position)
            frozen.append([team_id, [[seat.user_id, seat.id] for seat in members]])
        return frozen

    def invited_usernames(self) -> Iterable[str]:
        return (seat.username for seat in self.seats if seat.state == INVITED)


def as_game_sees(status: str) -> Any:
    """`starting` is ours; on the game's side of the wire a match is `pending` until it is live (B3)."""
    return PENDING if status == STARTING else status
