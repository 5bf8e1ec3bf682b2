"""Playing and comparing: what each step does to the platform and to the model, and what must hold after it."""

from __future__ import annotations

import contextlib
import json
import random
import sys
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, TypeVar

from hypothesis.stateful import RuleBasedStateMachine, invariant

from oklp import contract
from oklp.errors import OklpError
from oklp.services.matches import Caller
from oklp.services.webhooks import Reply
from tests.machine.model import TAKEN, Game, Match, Model, Player, Refusals, Report, Start
from tests.services.world import (
    CONNECTION_REFUSED,
    CUT_OFF_200,
    DAY,
    OK,
    SECOND,
    TIMED_OUT,
    World,
    answered,
)

T = TypeVar("T")

REPLIES: dict[str, tuple[Reply, bool]] = {  # and whether the game may have heard
    "200": (OK, True),
    "500": (answered(500), False),
    "204": (answered(204), False),
    "refused": (CONNECTION_REFUSED, False),
    "timeout": (TIMED_OUT, True),
    "cut off": (CUT_OFF_200, True),
}
NO_REPLY_YET = "none yet"


class Life(RuleBasedStateMachine):
    """`world` is shared by all examples of a run; each has players, games and matches of its own."""

    world: ClassVar[World]

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        self.tokens: list[tuple[str, Match, Player, int]] = []
        self.fees_before = self._posted("house:fees")
        self.studio_before = self._posted(f"studio:{self.world.studio_id}")
        self.keys_used = 0

    def _add_game(self, mode: str, pushed: bool, low_wins: bool, fee_bps: int, studio_bps: int, retries: int) -> None:
        game_id = self.world.game(
            mode=mode,
            discovery="push" if pushed else "pull",
            score_order="low" if low_wins else "high",
            fee_bps=fee_bps,
            studio_share_bps=studio_bps,
            entry_fee_max=500,
            teams_max=3,
            team_size_max=2,
            start_retries=retries,
            start_backoff_seconds=2,
            results_due_seconds=120,
        )
        game = Game(
            game_id, mode, low_wins, pushed, fee_bps, studio_bps, (0, 500), 3, 2, retries, 2 * SECOND, 120 * SECOND
        )
        self.model.games.append(game)

    # --- asking, and being answered as foretold ---

    def _match(self, back: int, aim: bool = False, *statuses: str) -> Match:
        """One of the newest; with `aim`, of those in these states, if there are any."""
        aimed = [match for match in self.model.matches if match.status in statuses] if aim else []
        matches = aimed or self.model.matches
        return matches[-1 - back % len(matches)]

    def _spot(self, who: int, back: int, aim: bool, status: str, *states: str) -> tuple[Player, Match]:
        """Anybody and any match; with `aim`, one who has such a seat in a match of this status, if there is one."""
        aimed = [
            (self.model.player(seat.user_id), match)
            for match in reversed(self.model.matches)
            if aim and match.status == status
            for seat in match.seats
            if seat.state in states
        ]
        return aimed[(who + back) % len(aimed)] if aimed else (self.model.players[who], self._match(back))

    @staticmethod
    def _caller(player: Player) -> Caller:
        return Caller(player.user_id, player.username)

    @staticmethod
    def _check(refusals: Refusals, outcome: object) -> bool:
        """True if the platform agreed, which it must exactly when the model does."""
        if isinstance(outcome, OklpError):
            assert type(outcome) in refusals, f"{outcome!r}, and not one of {refusals}"
            return False
        assert not refusals, f"agreed to, against {refusals}"
        return True

    def _ask(self, refusals: Refusals, ask: Callable[..., T], *arguments: Any, **options: Any) -> T | None:
        try:
            answer = ask(*arguments, **options)
        except OklpError as refusal:
            self._check(refusals, refusal)
            return None
        self._check(refusals, answer)
        return answer

    @staticmethod
    def _team_of(answer: contract.Match, user_id: str) -> str:
        return next(team.id for team in answer.teams for member in team.members if member.user_id == user_id)

    # --- filling matches, and paying ---

    def _create(
        self,
        who: int,
        game: Game,
        fee: int,
        teams: int,
        size: int,
        public: bool,
        shares: list[int] | None,
        invited: list[int],
    ) -> Match | None:
        player, guests = self.model.players[who], [self.model.players[each] for each in invited]
        answer = self._ask(
            self.model.may_create(player, game, fee, teams, size, shares, guests),
            self.world.create,
            self._caller(player),
            game.game_id,
            fee,
            teams=teams,
            team_size=size,
            invite=[self._caller(guest) for guest in guests],
            visibility="public" if public else "private",
            shares=shares,
        )
        if answer is None:
            return None
        match = Match(
            match_id=answer.match_id,
            game=game,
            fee=fee,
            teams=[team.id for team in answer.teams],
            size=size,
            public=public,
            code=answer.join_code,
            creator=player.user_id,
            shares=shares,
            starts_by=self.world.now + DAY,
        )
        self.model.matches.append(match)
        self.model.join(player, match, match.teams[0])
        self._invited(match, guests, answer)
        return match

    def _invited(self, match: Match, guests: Sequence[Player], answer: contract.Match) -> None:
        for guest in guests:
            if match.seat(guest.user_id) is None:
                self.model.invite(match, guest.user_id, self._team_of(answer, guest.user_id))

    def _join(self, player: Player, match: Match, team: str | None, code: bool | None) -> None:
        known = code if match.code is not None else None
        given = {None: None, True: match.code, False: "a guess"}[known]
        refusals = self.model.may_join(player, match, team, known)
        answer = self._ask(refusals, self.world.join, self._caller(player), match.match_id, team, given)
        if answer is not None:
            taken = self._team_of(answer, player.user_id)
            assert team in (None, taken)
            assert match.room(taken), "it went into a team that has no room"
            self.model.join(player, match, taken)

    def _confirm(self, jobs: Sequence[tuple[Player, Match]]) -> None:
        """In one transaction, decided in order."""
        if not jobs:
            return
        confirmations = [self.world.confirmation(self._caller(player), match.match_id) for player, match in jobs]
        outcomes = self.world.confirm_batch(confirmations)
        for (player, match), confirmation, outcome in zip(jobs, confirmations, outcomes, strict=True):
            if self._check(self.model.may_confirm(player, match), outcome):
                self.model.confirm(player, match, confirmation.delivery_id, self.world.now)

    def _gather(
        self,
        order: list[int],
        game: Game,
        fee: int,
        shape: tuple[int, int],
        shares: list[int] | None,
        until: str,
        reply: str,
    ) -> None:
        """Players meet and pay, the game is told, and they play: as far as `until`. The way to most of the rules."""
        match = self._create(order[0], game, fee, *shape, True, shares, [])
        if match is None:
            return
        everyone = [self.model.players[each] for each in order[: shape[0] * shape[1]]]
        for player in everyone[1:]:
            self._join(player, match, None, None)
        paying = {"joined": [], "all but one paid": everyone[1:]}.get(until, everyone)
        self._confirm([(player, match) for player in paying])
        if match.status == "starting" and reply != NO_REPLY_YET:
            self._answer(match, reply)
        if match.status == "live":
            self._play(match, everyone, until, random.Random(repr((order, fee, shares))))

    def _play(self, match: Match, everyone: Sequence[Player], until: str, rng: random.Random) -> None:
        if until == "won by a suspended":
            for player in everyone:
                if player.active:
                    self._suspend(player)
        if until == "half played" and match.game.mode == "async":
            for player in rng.sample(everyone, rng.randint(0, len(everyone) - 1)):
                self._report([(match.game, match, Report(((player.user_id, rng.randint(0, 3)),)))])
        if until == "half played":
            self.world.now = max(self.world.now, match.due_at)
            self._close_overdue()
        while match.status == "live" and until in ("played", "won by a suspended"):
            self._report([(match.game, match, self._make_report(match, "fit", rng))])

    # --- telling the game ---

    def _sending(self) -> list[tuple[Match, Start]]:
        return [(m, m.start) for m in self.model.matches if m.start is not None and m.start.state == "sending"]

    def _answer(self, match: Match, name: str) -> None:
        reply, heard = REPLIES[name]
        assert match.start is not None
        self.world.reply(match.start.delivery_id, reply, match.start.attempts)
        self.model.answer(match, name == "200", heard, self.world.now)

    def _look(self, done: Reply) -> None:
        """What the worker sends when it looks: starts that are tried again, and DELETEs, which must not be early."""
        expected = self.model.send_again(self.world.now)
        told = {m.match_id for m in self.model.matches if m.delete_at is not None and not m.deleted}
        due = {m.match_id for m in self.model.matches if m.match_id in told and (m.delete_at or 0) <= self.world.now}
        known = {match.match_id for match in self.model.matches}
        starts, deletes = set(), set()
        for sending in self.world.claim():
            match_id = str(json.loads(sending.body)["match_id"])
            if match_id not in known or sending.method == "DELETE":
                self.world.reply(sending.delivery_id, done, sending.attempt)
            if match_id in known and sending.method == "DELETE":
                deletes.add(match_id)
            elif match_id in known:
                starts.add((sending.delivery_id, sending.attempt))
        assert starts == expected
        assert deletes == due
        for match in self.model.matches:
            match.deleted = match.deleted or match.match_id in due

    # --- results ---

    def _report(self, reports: Sequence[tuple[Game, Match, Report]]) -> None:
        """In one transaction, decided in order."""
        outcomes = self.world.report_batch([(game.game_id, self._wire(match, made)) for game, match, made in reports])
        # Before the first of them ends anything.
        shut = [self.model.may_ask(game, match) for game, match, _ in reports]
        for (game, match, made), outcome, forbidden in zip(reports, outcomes, shut, strict=True):
            if not self._check(forbidden or self.model.may_report(game, match, made), outcome):
                continue
            assert isinstance(outcome, contract.FinishAnswer)
            accepted = self.model.report(match, made)
            assert (outcome.accepted, outcome.match_status) == (accepted, match.status)

    def _make_report(self, match: Match, kind: str, rng: random.Random) -> Report:
        if kind == "again" and isinstance(match.accepted, Report):
            known = match.accepted
            return Report(known.participants[::-1], known.teams[::-1] if known.teams is not None else None)
        users = match.members or [match.creator]
        whole = (match.game.mode == "sync") != (kind == "other mode")
        if not whole:
            missing = [user for user in users if user not in match.scores]
            user = "stranger" if kind == "faulty" else rng.choice(missing * 2 + users)
            score = match.scores.get(user, 0) if kind == "again" else rng.randint(0, 3)
            return Report(((user, score),))
        participants = [(user, rng.randint(0, 2)) for user in users]
        teams = self._make_teams(match.teams, rng)
        if kind == "faulty":
            rng.choice([participants.pop, teams.pop, lambda: teams.append(teams[0]), lambda: self._skew(teams)])()
        return Report(tuple(participants) or (("stranger", 0),), tuple(teams))

    @staticmethod
    def _make_teams(team_ids: Sequence[str], rng: random.Random) -> list[tuple[str, int, bool]]:
        """Ranks that fit: ties in either notation, and forfeits behind whoever played."""
        places = [rng.randint(0, 2) for _ in team_ids]
        if rng.random() < 0.5:
            ranks = [len({other for other in places if other < place}) + 1 for place in places]
        else:
            ranks = [sum(other < place for other in places) + 1 for place in places]
        played_until = rng.choice([0, *ranks, 99, 99])
        return [(team, rank, rank > played_until) for team, rank in zip(team_ids, ranks, strict=True)]

    @staticmethod
    def _skew(teams: list[tuple[str, int, bool]]) -> None:
        team, rank, forfeit = teams[0]
        teams[0] = (team, rank + 5, forfeit)

    @staticmethod
    def _wire(match: Match, report: Report) -> contract.FinishRequest:
        return contract.FinishRequest(
            match_id=match.match_id,
            participants=[contract.ParticipantResult(id=user, score=score) for user, score in report.participants],
            teams=None
            if report.teams is None
            else [
                contract.TeamResult(id=team, score=0, ranking=rank, forfeit=forfeit)
                for team, rank, forfeit in report.teams
            ],
        )

    # --- time, and operators ---

    def _lose_attempts(self) -> None:
        self.world.lapse()
        self.model.lose_attempts(self.world.now)

    def _expire(self) -> None:
        self.world.expire()
        self.model.expire(self.world.now)

    def _close_overdue(self) -> None:
        self.world.close_overdue()
        self.model.close_overdue(self.world.now)

    def _suspend(self, player: Player) -> None:
        self.world.suspend(self._caller(player))
        player.active = False
        concerned = [match for match in self.model.matches if match.holds(player.user_id)]
        self.model.abort_pending(concerned, "player-suspended", self.world.now)

    def _reinstate(self, player: Player) -> None:
        self.world.reinstate(self._caller(player))
        player.active = True

    def _approve(self, game: Game) -> None:
        self.world.approve_game(game.game_id)
        game.open = True

    # --- what must hold after every step ---

    def _posted(self, account: str) -> int:
        (row,) = self.world.rows(
            "SELECT coalesce(sum(amount), 0) FROM postings WHERE account = :account", account=account
        )
        return int(row[0])

    @invariant()
    def the_money_is_where_the_model_says(self) -> None:
        model = self.model
        users = {player.user_id: player.balance for player in model.players}
        stored = self.world.rows("SELECT user_id, balance FROM balances WHERE user_id IN :ids", ids=list(users))
        assert {row.user_id: row.balance for row in stored} == users
        told = self.world.rows(
            "SELECT id, status, escrow, abort_reason FROM matches WHERE id IN :ids",
            ids=[m.match_id for m in model.matches],
        )
        assert {row.id: tuple(row)[1:] for row in told} == {
            match.match_id: (match.status, match.escrow, match.reason) for match in model.matches
        }
        assert self._posted("house:fees") - self.fees_before == model.platform
        assert self._posted(f"studio:{self.world.studio_id}") - self.studio_before == model.studio
        assert model.total(list(users)) == model.paid_in, "the model has lost money by itself"
        (row,) = self.world.rows("SELECT coalesce(sum(amount), 0) FROM postings")
        assert row[0] == 0

    # --- the end ---

    def teardown(self) -> None:
        """Every match reaches an end, and every DELETE is sent."""
        if sys.exc_info()[0] is not None:
            # This example has failed, and says so itself. The next one must not stumble over what is left of it.
            for match in self.model.matches:
                with contextlib.suppress(Exception):
                    self.world.abort(match.match_id)
        elif self.model.games:
            self._bring_everything_to_an_end()

    def _bring_everything_to_an_end(self) -> None:
        for end in (self._lose_attempts, self._expire, self._close_overdue):
            self.world.now += 2 * DAY
            self._look(OK)
            end()
        self._close_overdue()
        self._look(OK)
        self.the_money_is_where_the_model_says()
        for match in self.model.matches:
            assert match.over, f"{match.match_id} is {match.status} for ever"
            assert (match.delete_at is not None) == match.deleted
            self._look_at(match)

    def _look_at(self, match: Match) -> None:
        """What is left of a match in the database, beside its money."""
        kept = self.world.count("refused_results", "match_id = :match", match=match.match_id)
        assert kept == len(match.kept_aside)
        seats = self.world.rows(
            "SELECT user_id, team_id, state, slot FROM seats WHERE match_id = :match", match=match.match_id
        )
        assert sorted(tuple(row)[:3] for row in seats) == sorted((s.user_id, s.team, s.state) for s in match.seats)
        taken = {row.user_id: row.slot for row in seats if row.state in TAKEN}
        assert taken == {seat.user_id: seat.slot for seat in match.seats if seat.state in TAKEN}
        told = self.world.rows("SELECT event, state FROM deliveries WHERE match_id = :match", match=match.match_id)
        events = {row.event: row.state for row in told}
        assert ("match.aborted" in events) == match.deleted
        assert events.get("match.started") == (match.start.state if match.start is not None else None)
