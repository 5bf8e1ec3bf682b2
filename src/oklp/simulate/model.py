"""What must come of a script: the answers to its steps and, in the end, where the money is.

Written from the contract alone, a second time and on purpose: it shares nothing with `oklp.domain`. A model is given
each step before it is done (`expects`) and after (`apply`), with what was answered; where the contract leaves it to the
moment which of two things happens (a server killed while a match starts, a result that comes as the time runs out), the
answer says which it was, and the model goes on from there. Without answers, `foretell` runs a script by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from oklp.simulate.money import NOTHING, Standing, Takings, divide, rank
from oklp.simulate.script import HARMLESS, UNHEARD, Script, Step

OK: Final = "ok"
ACCEPTED: Final = "accepted"
KEPT_ASIDE: Final = "kept-aside"  # another result had been accepted
STUDIO_SHARE_BPS: Final = 5_000

# Codes of refusals (contract section B1, docs/errors.md).
WRONG_STATE: Final = "wrong-state"
NOT_FOUND: Final = "not-found"
FORBIDDEN: Final = "forbidden"
INVALID: Final = "invalid-request"
CONFLICT: Final = "conflict"
FULL: Final = "match-full"
POOR: Final = "insufficient-funds"
STARTING: Final = "match-starting"
REUSED: Final = "idempotency-reuse"

TAKEN: Final = frozenset({"joined", "confirmed"})
ACTIVE: Final = TAKEN | {"invited"}
OVER: Final = frozenset({"finished", "aborted"})
# What a game says that is refused whatever the match is.
MISSHAPEN: Final = frozenset({"negative", "huge", "nobody"})


@dataclass(slots=True)
class Seat:
    """The seat that a player had last. `place` orders members of a team as they came."""

    team: int
    state: str
    place: int


class Move(NamedTuple):
    """What went over a player's account for one match, minor units: fees held, fees refunded, the prize."""

    held: int = 0
    refunded: int = 0
    prize: int = 0

    @property
    def net(self) -> int:
        return self.refunded + self.prize - self.held


class Seen(NamedTuple):
    """What came of a step: a code, and after `start` and `wait` the match's status with its reason."""

    code: str = OK
    status: str = ""
    reason: str = ""


class Outcome(NamedTuple):
    """The end of a match. `standings` are by team and empty when it was aborted."""

    status: str
    reason: str
    standings: tuple[Standing, ...]
    moves: tuple[tuple[int, Move], ...]
    takings: Takings
    payments: tuple[tuple[int, int], ...]  # in (above zero) and out, of players

    @property
    def winnings(self) -> dict[int, int]:
        return {player: move.prize for player, move in self.moves if move.prize}


@dataclass(slots=True)
class Model:
    """One match. `guests` are players without money."""

    script: Script
    guests: frozenset[int] = frozenset()
    status: str = ""
    reason: str = ""
    # A server died while it started: nobody can know what the game heard.
    disturbed: bool = False
    seats: dict[int, Seat] = field(default_factory=dict)
    moves: dict[int, Move] = field(default_factory=dict)
    standings: tuple[Standing, ...] = ()
    takings: Takings = NOTHING
    payments: list[tuple[int, int]] = field(default_factory=list)
    launched: set[int] = field(default_factory=set)
    scores: dict[int, int] = field(default_factory=dict)
    result: tuple[object, ...] | None = None
    _places: int = 0

    # --- who is where ---

    def holds(self, player: int) -> bool:
        return player in self.seats and self.seats[player].state in TAKEN

    def room(self, team: int) -> int:
        """Seats that are free in a team."""
        return self.script.size - sum(seat.team == team and seat.state in TAKEN for seat in self.seats.values())

    def members(self, team: int) -> tuple[int, ...]:
        taken = [player for player, seat in self.seats.items() if seat.team == team and seat.state in TAKEN]
        return tuple(sorted(taken, key=lambda player: self.seats[player].place))

    @property
    def roster(self) -> list[tuple[int, ...]]:
        return [self.members(team) for team in range(self.script.teams)]

    @property
    def full(self) -> bool:
        return all(not self.room(team) for team in range(self.script.teams))

    @property
    def over(self) -> bool:
        return self.status in OVER

    def outcome(self) -> Outcome:
        return Outcome(
            self.status,
            self.reason,
            self.standings,
            tuple(sorted(self.moves.items())),
            self.takings,
            tuple(self.payments),
        )

    def must_call_off(self, answered: Sequence[str]) -> bool:
        """Whether the game, which has answered so to the PUT, must be told that the match is off (A3)."""
        return self.status == "aborted" and any(answer not in UNHEARD for answer in answered)

    # --- what must be answered ---

    def expects(self, step: Step) -> frozenset[str]:
        """The codes of which one must come."""
        match step.do:
            case "create" | "deposit" | "withdraw" | "start" | "wait" | "stop-short":
                return frozenset({OK})
            case "misplan":
                return frozenset({INVALID})
            case "overdraw":
                return frozenset({POOR})
            case "invite" | "join" | "decline" | "leave" | "cancel":
                return self._lobby(step)
            case "confirm":
                return frozenset().union(*(self._confirming(player) for player in step.whom or (step.who,)))
            case "launch":
                return self._launching(step.who)
            case "token-info":
                known = step.how == "" and step.who in self.launched
                return frozenset({OK if known else NOT_FOUND} | ({NOT_FOUND} if self.script.game.brief else set()))
            case "report":
                return self._reporting(step)
            case "settle":
                return frozenset({OK if self.status == "live" else WRONG_STATE} | self._maybe_over)
            case "call-off":
                return frozenset({WRONG_STATE if self.over else OK} | self._maybe_over)

    def _knows(self, step: Step) -> bool:
        right = step.do == "join" and step.how == "code"
        return self.script.public or step.who in self.seats or right

    def _lobby(self, step: Step) -> frozenset[str]:
        if not self._knows(step):
            return frozenset({NOT_FOUND})
        refusals = set() if self.status == "pending" else {WRONG_STATE}
        seat = self.seats.get(step.who)
        state = seat.state if seat is not None else ""
        match step.do:
            case "invite":
                refusals |= set() if state in TAKEN else {FORBIDDEN}
                refusals |= {INVALID} if step.how == "nobody" else set()
            case "join":
                refusals |= self._joining(step, state)
            case "decline":
                refusals |= set() if state == "invited" else {WRONG_STATE}
            case "leave":
                refusals |= set() if state in TAKEN else {WRONG_STATE}
            case "cancel":
                refusals |= set() if step.who == self.script.creator and state in TAKEN else {FORBIDDEN}
        return frozenset(refusals or {OK})

    def _joining(self, step: Step, state: str) -> set[str]:
        refusals = set()
        if state in TAKEN:
            refusals.add(CONFLICT)
        if not self.script.public and state not in ACTIVE and step.how != "code":
            refusals.add(INVALID)
        if step.how == "no-team":
            refusals.add(INVALID)
        elif state not in TAKEN and not any(self.room(team) for team in self._wanted(step)):
            refusals.add(FULL)
        return refusals

    def _wanted(self, step: Step) -> Iterable[int]:
        return [step.team] if step.team >= 0 else range(self.script.teams)

    def _confirming(self, player: int) -> frozenset[str]:
        seat = self.seats.get(player)
        if seat is None:
            strangers = {NOT_FOUND, WRONG_STATE} if self.script.public and self.status != "pending" else {NOT_FOUND}
            return frozenset(strangers)
        if seat.state == "confirmed" and not self.over:
            return frozenset({OK} | self._maybe_over)  # twice pays once
        if self.status != "pending" or seat.state != "joined":
            return frozenset({WRONG_STATE})
        return frozenset({POOR if player in self.guests and self.script.fee else OK})

    @property
    def _adrift(self) -> bool:
        return self.status == "starting" and self.disturbed

    @property
    def _maybe_over(self) -> frozenset[str]:
        """The refusal that may come because the match has ended meanwhile."""
        brief = self.status == "live" and self.script.game.brief
        return frozenset({WRONG_STATE} if brief or self._adrift else ())

    def _launching(self, player: int) -> frozenset[str]:
        if not self.holds(player):
            public = {NOT_FOUND} if self.status == "live" else {NOT_FOUND, WRONG_STATE}
            return frozenset(public)
        return frozenset({OK if self.status == "live" else WRONG_STATE} | self._maybe_over)

    def _reporting(self, step: Step) -> frozenset[str]:
        if step.how == "foreign":
            return frozenset({NOT_FOUND})
        refusals = {INVALID} if step.how in MISSHAPEN else set()
        if self.status in ("", "pending", "aborted"):
            refusals.add(WRONG_STATE)
        elif self.status == "starting":
            refusals |= {STARTING, WRONG_STATE} if self.disturbed else {STARTING}
        elif step.how and step.how not in MISSHAPEN:
            refusals.add(INVALID)
        if refusals:
            return frozenset(refusals | self._maybe_over)
        usual = ACCEPTED if self._takes(step) else KEPT_ASIDE
        return frozenset({usual} | (self._maybe_over and {WRONG_STATE, KEPT_ASIDE}))

    def _takes(self, step: Step) -> bool:
        if self.script.game.mode == "sync":
            return self.result is None or self.result == _result(step)
        [(player, score)] = step.scores
        if self.status == "finished":
            return self.scores.get(player) == score
        return self.scores.get(player, score) == score

    # --- what it does ---

    def apply(self, step: Step, seen: Seen | None = None) -> None:
        """Go on from a step that was answered with `seen`; without it, as foreseen."""
        if seen is None:
            seen = self._foreseen(step)
        if step.do in ("start", "wait"):
            self._ended_up(step, seen)
            return
        if seen.code not in (OK, ACCEPTED):
            return
        match step.do:
            case "create":
                self.status = "pending"
                self._seat(step.who, 0, "joined")
                self._invite(step.whom)
            case "invite":
                self._invite(step.whom)
            case "join":
                self._join(step)
            case "decline":
                self.seats[step.who].state = "declined"
            case "confirm":
                for player in step.whom or (step.who,):
                    self._confirm(player)
            case "leave":
                self._leave(step.who)
            case "cancel":
                self._abort("cancelled")
            case "call-off":
                self._abort("operator")
            case "launch":
                self.launched.add(step.who)
            case "report" if self.status == "live":
                self._report(step)
            case "settle":
                self._end_by_ranks(step)
            case "deposit":
                self.payments.append((step.who, step.amount))
            case "withdraw":
                self.payments.append((step.who, -step.amount))

    def _foreseen(self, step: Step) -> Seen:
        if step.do == "start":
            return self._start_foreseen()
        if step.do == "wait":
            return Seen(OK, *self.after_wait())
        expected = self.expects(step)
        usual = next((code for code in (OK, ACCEPTED) if code in expected), None)
        return Seen(usual or min(expected), self.status, self.reason)

    def _start_foreseen(self) -> Seen:
        if self.status != "starting":
            return Seen(OK, self.status, self.reason)
        if "200" in self.script.answers and self.script.fault in HARMLESS | {""}:
            return Seen(OK, "live")
        return Seen(OK, "aborted", "game-refused")

    def after_wait(self) -> tuple[str, str]:
        """Status and reason once results are due: who has none has forfeited, and without any it is off."""
        if self.status != "live":
            return self.status, self.reason
        return ("finished", "") if self.scores else ("aborted", "no-results")

    def allowed_after_start(self) -> frozenset[tuple[str, str]]:
        """Statuses, with their reasons, of which one must be found after `start`."""
        foreseen = self._start_foreseen()
        allowed = {(foreseen.status, foreseen.reason)}
        if self._adrift:
            allowed |= {("aborted", "start-interrupted"), ("aborted", "game-refused")}
        if self.script.game.brief and ("live", "") in allowed:
            allowed |= {("aborted", "no-results")}  # it took long to look
        return frozenset(allowed)

    def _ended_up(self, step: Step, seen: Seen) -> None:
        if seen.status == "aborted" and self.status != "aborted":
            self._abort(seen.reason)
        elif step.do == "start" and self.status == "starting":
            self.status = seen.status
        elif step.do == "wait" and seen.status == "finished" and self.status == "live":
            self._end_by_scores()

    def _seat(self, player: int, team: int, state: str) -> None:
        self.seats[player] = Seat(team, state, self._places)
        self._places += 1

    def _invite(self, players: Iterable[int]) -> None:
        for player in players:
            if player not in self.seats or self.seats[player].state not in ACTIVE:
                self._seat(player, -1, "invited")

    def _join(self, step: Step) -> None:
        team = next(each for each in self._wanted(step) if self.room(each))
        seat = self.seats.get(step.who)
        if seat is not None and seat.state == "invited":
            seat.team, seat.state = team, "joined"
        else:
            self._seat(step.who, team, "joined")

    def _confirm(self, player: int) -> None:
        seat = self.seats[player]
        if seat.state == "confirmed":
            return
        seat.state = "confirmed"
        self._move(player, held=self.script.fee)
        if self.full and all(each.state not in TAKEN or each.state == "confirmed" for each in self.seats.values()):
            self.status = "live" if self.script.game.pull else "starting"

    def _leave(self, player: int) -> None:
        seat = self.seats[player]
        if seat.state == "confirmed":
            self._move(player, refunded=self.script.fee)
        seat.state = "left"
        if not any(self.roster):
            self._abort("abandoned")

    def _move(self, player: int, held: int = 0, refunded: int = 0, prize: int = 0) -> None:
        if held or refunded or prize:
            before = self.moves.get(player, Move())
            self.moves[player] = Move(before.held + held, before.refunded + refunded, before.prize + prize)

    # --- how it ends ---

    def _abort(self, reason: str) -> None:
        self._refund()
        self.status, self.reason = "aborted", reason

    def _refund(self) -> None:
        for player, seat in self.seats.items():
            if seat.state == "confirmed":
                self._move(player, refunded=self.script.fee)

    def _report(self, step: Step) -> None:
        if self.script.game.mode == "sync":
            self._end_by_ranks(step)
            return
        self.scores.update(step.scores)
        if len(self.scores) == self.script.teams * self.script.size:
            self._end_by_scores()

    def _end_by_ranks(self, step: Step) -> None:
        self.result = _result(step)
        self.scores = dict(step.scores)
        self._end([Standing(members, *place) for members, place in zip(self.roster, step.ranks, strict=True)])

    def _end_by_scores(self) -> None:
        scores = [[self.scores.get(player) for player in team] for team in self.roster]
        places = rank(scores, low_wins=self.script.game.low_wins)
        self._end([Standing(members, *place) for members, place in zip(self.roster, places, strict=True)])

    def _end(self, standings: Sequence[Standing]) -> None:
        script = self.script
        pot = script.fee * script.teams * script.size
        divided = divide(pot, script.game.fee_bps, STUDIO_SHARE_BPS, script.shares or (1,), standings)
        self.status, self.standings = "finished", tuple(standings)
        if divided is None:
            self._refund()
            return
        self.takings = divided.takings
        for player, amount in divided.prizes.items():
            self._move(player, prize=amount)


def _result(step: Step) -> tuple[object, ...]:
    """A result, whatever order its lists come in."""
    return (step.do, tuple(sorted(step.scores)), step.ranks)


def foretell(script: Script, guests: frozenset[int]) -> Model:
    """The model after the whole script, with nothing unforeseen."""
    model = Model(script, guests)
    for step in script.steps:
        model.apply(step)
    return model
