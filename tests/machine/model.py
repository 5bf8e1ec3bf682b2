"""What the platform should be, in plain objects: who owns what, which match is where, what may be done.

Written from the contract, and knowing nothing of how the platform does it. Each `may_…` gives the refusals of which
one must come; an empty set means that the platform must agree. Effects are separate, so that a batch of requests can be
foretold one after the other.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

from oklp.errors import (
    AccountSuspended,
    Conflict,
    Forbidden,
    GameSuspended,
    InsufficientFunds,
    InvalidRequest,
    MatchFull,
    MatchStarting,
    NotFound,
    OklpError,
    WrongState,
)
from tests.machine.sharing import Standing, fit_ranks, ranks_of_scores, share

Refusals = set[type[OklpError]]

LEASE_MS = 15_000
WINDOW_MS = 60_000
STARTS_BY_MS = 24 * 3_600_000

TAKEN = ("joined", "confirmed")
ACTIVE = ("invited", "joined", "confirmed")


@dataclass
class Player:
    user_id: str
    username: str
    active: bool = True
    balance: int = 0


@dataclass
class Game:
    game_id: str
    mode: str
    low_wins: bool
    pushed: bool
    fee_bps: int
    studio_share_bps: int
    fees: tuple[int, int]
    most_teams: int
    largest_team: int
    retries: int
    backoff_ms: int
    due_ms: int
    open: bool = True


@dataclass
class Seat:
    user_id: str
    team: str
    state: str
    slot: int | None = None
    paid: bool = False  # once: such a seat is never taken again


@dataclass
class Start:
    """The PUT that starts a match. `heard`: the game may know of the match."""

    delivery_id: str
    retries_left: int
    window_ends_at: int
    lease_until: int
    state: str = "sending"
    attempts: int = 1
    heard: bool = False
    next_at: int = 0


@dataclass(frozen=True)
class Report:
    """A report: (user, score) and, of a whole match, (team, rank, forfeit)."""

    participants: tuple[tuple[str, int], ...]
    teams: tuple[tuple[str, int, bool], ...] | None = None

    def same_as(self, other: object) -> bool:
        return (
            isinstance(other, Report)
            and sorted(self.participants) == sorted(other.participants)
            and (self.teams is None) == (other.teams is None)
            and sorted(self.teams or ()) == sorted(other.teams or ())
        )


@dataclass
class Match:
    match_id: str
    game: Game
    fee: int
    teams: list[str]
    size: int
    public: bool
    code: str | None
    creator: str
    shares: list[int] | None
    starts_by: int
    # The rules are those of the game when the match was made.
    seats: list[Seat] = field(default_factory=list)
    status: str = "pending"
    due_at: int = 0
    start: Start | None = None
    delete_at: int | None = None  # when the DELETE may go; None: none is needed
    deleted: bool = False
    accepted: object = None  # the report that ended it
    scores: dict[str, int] = field(default_factory=dict)
    kept_aside: list[Report] = field(default_factory=list)
    reason: str | None = None

    def seat(self, user_id: str) -> Seat | None:
        return next((seat for seat in self.seats if seat.user_id == user_id and seat.state in ACTIVE), None)

    def knows(self, user_id: str, code: bool = False) -> bool:
        return self.public or code or any(seat.user_id == user_id for seat in self.seats)

    def unpaid(self, user_id: str, state: str) -> list[Seat]:
        return [seat for seat in self.seats if seat.user_id == user_id and seat.state == state and not seat.paid]

    def holds(self, user_id: str) -> bool:
        seat = self.seat(user_id)
        return seat is not None and seat.state in TAKEN

    def room(self, team: str) -> list[int]:
        used = {seat.slot for seat in self.seats if seat.team == team and seat.state in TAKEN}
        return [slot for slot in range(self.size) if slot not in used]

    def roster(self) -> list[tuple[str, ...]]:
        """Members of each team, in the order of their seats."""
        taken = [seat for seat in self.seats if seat.state in TAKEN]  # as they came
        return [tuple(seat.user_id for seat in taken if seat.team == team) for team in self.teams]

    @property
    def members(self) -> list[str]:
        return [user for team in self.roster() for user in team]

    @property
    def over(self) -> bool:
        return self.status in ("finished", "aborted")

    @property
    def escrow(self) -> int:
        return 0 if self.over else self.fee * sum(seat.state == "confirmed" for seat in self.seats)


class Model:
    """Everything there is. Times are milliseconds."""

    def __init__(self) -> None:
        self.players: list[Player] = []
        self.games: list[Game] = []
        self.matches: list[Match] = []
        self.platform = 0
        self.studio = 0
        self.held: dict[tuple[str, str], int] = {}  # (match, user), as long as it is undecided
        self.paid_in = 0

    def player(self, user_id: str) -> Player:
        return next(player for player in self.players if player.user_id == user_id)

    # --- making and filling ---

    def may_create(
        self,
        who: Player,
        game: Game,
        fee: int,
        teams: int,
        size: int,
        shares: Sequence[int] | None,
        invited: Iterable[Player],
    ) -> Refusals:
        refusals: Refusals = set()
        if not who.active:
            refusals.add(AccountSuspended)
        if not game.open:
            refusals.add(GameSuspended)
        offered = game.fees[0] <= fee <= game.fees[1] and teams <= game.most_teams and size <= game.largest_team
        invitable = all(player.active and player is not who for player in invited)
        if not offered or len(shares or ()) > teams or not invitable:
            refusals.add(InvalidRequest)
        return refusals

    def _lobby(self, match: Match, user_id: str, code: bool = False) -> Refusals:
        """What stands in the way of anybody who wants to change the roster."""
        if not match.knows(user_id, code):
            return {NotFound}
        return set() if match.status == "pending" else {WrongState}

    def may_invite(self, who: Player, match: Match, invited: Iterable[Player]) -> Refusals:
        refusals = self._lobby(match, who.user_id)
        if NotFound not in refusals:
            refusals |= set() if match.holds(who.user_id) else {Forbidden}
            refusals |= set() if all(player.active for player in invited) else {InvalidRequest}
        return refusals

    def invite(self, match: Match, user_id: str, team: str) -> None:
        left = match.unpaid(user_id, "left")
        once_in = sum(seat.user_id == user_id and seat.state == "left" for seat in match.seats)
        self._line_up(match, match.unpaid(user_id, "declined") or (left if once_in > 1 else []))
        match.seats.append(Seat(user_id, team, "invited"))

    def _line_up(self, match: Match, spare: list[Seat]) -> None:
        """A seat that nothing was ever paid for is taken again, at the end of the line."""
        if spare:
            match.seats.remove(spare[0])

    def may_join(self, who: Player, match: Match, team: str | None, code: bool | None) -> Refusals:
        """`code`: None for none, else whether it is the right one."""
        refusals = self._lobby(match, who.user_id, code is True)
        if not who.active:
            refusals.add(AccountSuspended)
        if NotFound in refusals:
            return refusals
        if not match.public and match.seat(who.user_id) is None and code is not True:
            refusals.add(InvalidRequest)
        if team is not None and team not in match.teams:
            refusals.add(InvalidRequest)
        if match.holds(who.user_id):
            refusals.add(Conflict)
        elif not any(match.room(each) for each in ([team] if team is not None else match.teams)):
            refusals.add(MatchFull)
        return refusals

    def join(self, who: Player, match: Match, team: str) -> None:
        seat = match.seat(who.user_id)
        slot = match.room(team)[0]
        if seat is None:
            self._line_up(match, match.unpaid(who.user_id, "left") or match.unpaid(who.user_id, "declined"))
            match.seats.append(Seat(who.user_id, team, "joined", slot))
        else:
            seat.team, seat.state, seat.slot = team, "joined", slot

    def may_decline(self, who: Player, match: Match) -> Refusals:
        refusals = self._lobby(match, who.user_id)
        seat = match.seat(who.user_id)
        if NotFound not in refusals and (seat is None or seat.state != "invited"):
            refusals.add(WrongState)
        return refusals

    def decline(self, who: Player, match: Match) -> None:
        self._vacate(match, who.user_id, "declined")

    def _vacate(self, match: Match, user_id: str, state: str) -> None:
        seat = match.seat(user_id)
        assert seat is not None
        seat.state, seat.slot = state, None

    def may_leave(self, who: Player, match: Match) -> Refusals:
        refusals = self._lobby(match, who.user_id)
        if NotFound not in refusals and not match.holds(who.user_id):
            refusals.add(WrongState)
        return refusals

    def leave(self, who: Player, match: Match, now: int) -> None:
        seat = match.seat(who.user_id)
        assert seat is not None
        if seat.state == "confirmed":
            who.balance += match.fee
        self._vacate(match, who.user_id, "left")
        if not match.members:
            self.abort(match, "abandoned", now)

    def may_cancel(self, who: Player, match: Match) -> Refusals:
        refusals = self._lobby(match, who.user_id)
        if NotFound not in refusals and not (match.creator == who.user_id and match.holds(who.user_id)):
            refusals.add(Forbidden)
        return refusals

    # --- paying and starting ---

    def may_confirm(self, who: Player, match: Match) -> Refusals:
        if not match.knows(who.user_id):
            return {NotFound}
        refusals: Refusals = set() if who.active else {AccountSuspended}
        seat = match.seat(who.user_id)
        if seat is not None and seat.state == "confirmed" and not match.over:
            return refusals  # confirming twice pays once
        if match.status != "pending":
            refusals.add(WrongState)
        elif not match.game.open:
            refusals.add(GameSuspended)
        if seat is None:
            member = any(each.user_id == who.user_id for each in match.seats)
            refusals.add(WrongState if member else NotFound)
        elif seat.state == "invited":
            refusals.add(WrongState)
        elif who.balance < match.fee:
            refusals.add(InsufficientFunds)
        return refusals

    def confirm(self, who: Player, match: Match, delivery_id: str, now: int) -> None:
        seat = match.seat(who.user_id)
        assert seat is not None
        if seat.state == "confirmed":
            return
        seat.state = "confirmed"
        seat.paid = match.fee > 0
        who.balance -= match.fee
        confirmed = sum(each.state == "confirmed" for each in match.seats)
        if confirmed < len(match.teams) * match.size:
            return
        if match.game.pushed:
            match.status = "starting"
            match.start = Start(delivery_id, match.game.retries, now + WINDOW_MS, now + LEASE_MS)
        else:
            self._go_live(match, now)

    def _go_live(self, match: Match, now: int) -> None:
        match.status = "live"
        match.due_at = now + match.game.due_ms

    def answer(self, match: Match, accepted: bool, heard: bool, now: int) -> None:
        """The game's answer to the PUT, or what came in its place."""
        start = match.start
        assert start is not None
        start.heard = start.heard or heard
        starting = match.status == "starting"
        if match.delete_at is not None:
            match.delete_at = min(match.delete_at, now)
        if heard:
            self.call_off_again(match, now)
        next_at = now + match.game.backoff_ms * 2 ** (start.attempts - 1)
        if accepted:
            start.state = "delivered"
            if starting:
                self._go_live(match, now)
        elif starting and start.retries_left and next_at <= start.window_ends_at:
            start.state, start.next_at = "waiting", next_at
        else:
            start.state = "failed"
            if starting:
                self.abort(match, "game-refused", now)

    def send_again(self, now: int) -> set[tuple[str, int]]:
        """What is due to be sent: starts with the number of their attempt. Those whose time has passed are given up."""
        sent = set()
        for match in self.matches:
            start = match.start
            if start is None or start.state != "waiting" or start.next_at > now:
                continue
            if now > start.window_ends_at:
                self.abort(match, "game-refused", now)
                continue
            start.state, start.attempts, start.lease_until = "sending", start.attempts + 1, now + LEASE_MS
            start.retries_left -= 1
            sent.add((start.delivery_id, start.attempts))
        return sent

    def lose_attempts(self, now: int) -> None:
        for match in self.matches:
            start = match.start
            if start is None or start.state != "sending" or start.lease_until > now:
                continue
            start.state, start.heard = "failed", True
            if match.delete_at is not None:
                match.delete_at = min(match.delete_at, now)
            self.call_off_again(match, now)
            if match.status == "starting":
                self.abort(match, "start-interrupted", now)

    @staticmethod
    def call_off_again(match: Match, now: int) -> None:
        """The game may have heard of a match that is off, after the DELETE or without one."""
        if match.status == "aborted" and (match.deleted or match.delete_at is None):
            match.deleted, match.delete_at = False, now

    # --- ending ---

    def abort(self, match: Match, reason: str, now: int) -> None:
        for seat in match.seats:
            if seat.state == "confirmed":
                self.player(seat.user_id).balance += match.fee
        match.status, match.reason = "aborted", reason
        start = match.start
        if start is None:
            return
        if start.state == "sending":
            match.delete_at = start.lease_until  # it must not overtake what is on the wire
        elif start.heard:
            match.delete_at = now
        if start.state == "waiting":
            start.state = "failed"

    def abort_pending(self, matches: Iterable[Match], reason: str, now: int) -> None:
        for match in matches:
            if match.status == "pending":
                self.abort(match, reason, now)

    def expire(self, now: int) -> None:
        for match in self.matches:
            if match.status == "pending" and match.starts_by <= now:
                self.abort(match, "expired", now)

    def close_overdue(self, now: int) -> None:
        for match in self.matches:
            if match.status != "live" or match.due_at > now:
                continue
            if match.scores:
                self._end_by_scores(match)
            else:
                self.abort(match, "no-results", now)

    def _end_by_scores(self, match: Match) -> None:
        roster = match.roster()
        scores = [[match.scores.get(user) for user in team] for team in roster]
        ranks = ranks_of_scores(scores, low_wins=match.game.low_wins)
        self.end(match, [Standing(team, *rank) for team, rank in zip(roster, ranks, strict=True)])

    def end(self, match: Match, standings: Sequence[Standing]) -> None:
        game = match.game
        pot = match.fee * len(match.members)
        shares = share(pot, game.fee_bps, game.studio_share_bps, match.shares, standings)
        match.status = "finished"
        if shares is None:
            for user in match.members:
                self.player(user).balance += match.fee
            return
        self.platform += shares.platform
        self.studio += shares.studio
        for user, amount in shares.prizes.items():
            if self.player(user).active:
                self.player(user).balance += amount
            else:
                self.held[match.match_id, user] = amount

    # --- results ---

    def is_faulty(self, match: Match, report: Report) -> bool:
        users = [user for user, _ in report.participants]
        if match.game.mode == "async":
            return report.teams is not None or len(users) != 1 or users[0] not in match.members
        if report.teams is None:
            return True
        teams = [team for team, _, _ in report.teams]
        if sorted(users) != sorted(match.members) or sorted(teams) != sorted(match.teams):
            return True
        return not self.fit_teams(report.teams)

    @staticmethod
    def fit_teams(teams: Sequence[tuple[str, int, bool]]) -> bool:
        """Ranks without a gap, and no forfeited team above one that played."""
        worst_played = max((rank for _, rank, forfeit in teams if not forfeit), default=0)
        above = any(forfeit and rank < worst_played for _, rank, forfeit in teams)
        return fit_ranks([rank for _, rank, _ in teams]) and not above

    def may_ask(self, game: Game, about: Match | None = None) -> Refusals:
        """A suspended game asks for nothing once it has nothing left to play, but what became of its results."""
        if about is not None and about.game is game and about.status == "finished":
            return set()
        playing = any(match.game is game and match.status in ("starting", "live") for match in self.matches)
        return set() if game.open or playing else {Forbidden}

    def may_report(self, game: Game, match: Match, report: Report) -> Refusals:
        if match.game is not game:
            return {NotFound}
        match match.status:
            case "starting":
                return {MatchStarting}
            case "pending" | "aborted":
                return {WrongState}
        return {InvalidRequest} if self.is_faulty(match, report) else set()

    def report(self, match: Match, report: Report) -> bool:
        """Whether it is (or was) accepted. A different one is kept, each once."""
        if match.game.mode == "async":
            ((user, score),) = report.participants
            known: object = Report(((user, match.scores[user]),)) if user in match.scores else None
        else:
            known = match.accepted
        if match.status == "finished" or known is not None:
            if report.same_as(known):
                return True
            if not any(report.same_as(other) for other in match.kept_aside):
                match.kept_aside.append(report)
            return False
        if match.game.mode == "async":
            match.scores[user] = score
            if len(match.scores) == len(match.members):
                self._end_by_scores(match)
        else:
            match.accepted = report
            self._end_by_ranks(match, report.teams or ())
        return True

    def _end_by_ranks(self, match: Match, teams: Sequence[tuple[str, int, bool]]) -> None:
        by_team = {team: (rank, forfeit) for team, rank, forfeit in teams}
        pairs = zip(match.teams, match.roster(), strict=True)
        self.end(match, [Standing(members, *by_team[team]) for team, members in pairs])

    def may_settle(self, match: Match, teams: Sequence[tuple[str, int, bool]]) -> Refusals:
        if match.status != "live":
            return {WrongState}
        return set() if self.fit_teams(teams) else {InvalidRequest}

    def settle(self, match: Match, teams: Sequence[tuple[str, int, bool]]) -> None:
        match.accepted = "an operator"
        self._end_by_ranks(match, teams)

    # --- all the money there is ---

    def total(self, users: Collection[str]) -> int:
        balances = sum(player.balance for player in self.players if player.user_id in users)
        return balances + sum(m.escrow for m in self.matches) + sum(self.held.values()) + self.platform + self.studio
