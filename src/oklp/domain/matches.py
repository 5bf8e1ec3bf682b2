"""A match before it is played: states, who may do what in which, seats and deadlines (contract sections B3 and A3).

`TRANSITIONS` is the whole truth about states: every state and action that is not in it is refused. Time is an
argument, in milliseconds since the epoch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from oklp.errors import Conflict, MatchFull, MatchStarting, NotFound, WrongState, invalid

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

MAX_INVITATIONS: Final = 400

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
    """A player's place in a match; a new one at each join, so that money held for it is never confused."""

    id: str
    user_id: str
    username: str
    team_id: str
    slot: int | None
    state: str
    position: int
    changed: bool = False
    fresh: bool = False

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

    def _add(self, seat: Seat) -> Seat:
        seat.fresh = True
        self.seats.append(seat)
        return seat

    def invite(self, seat_id: str, user_id: str, username: str) -> Seat | None:
        """Invite a player; None if there is nothing to do, because he is invited or in already."""
        if self.active_seat(user_id) is not None:
            return None
        if len(self.seats) >= MAX_INVITATIONS:
            raise MatchFull("This match has had too many invitations.")
        team_id = self._emptiest(with_invited=True)
        return self._add(Seat(seat_id, user_id, username, team_id, None, INVITED, len(self.seats)))

    def join(self, seat_id: str, user_id: str, username: str, team_id: str | None) -> Seat:
        """Take a seat in `team_id`, else in the team one was invited to, else in the emptiest.

        Raises InvalidRequest for an unknown team, Conflict when in already, MatchFull when no seat is free.
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
        if seat is None:
            if len(self.seats) >= MAX_INVITATIONS:
                raise MatchFull("Too many players have come and gone in this match.")
            return self._add(Seat(seat_id, user_id, username, candidate, slot, JOINED, len(self.seats)))
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
