"""The whole life of matches, against an independent model, on both databases.

Hypothesis plays players, games, operators, the worker and the clock. The model foretells what is refused, and with
which error, and what everyone owns; after every step the money in the database is compared with it, to the last unit.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import hypothesis.strategies as st
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from oklp import contract
from oklp.errors import InsufficientFunds, InvalidRequest, NotFound, OklpError, WrongState
from oklp.services import idempotency, launch, ledger, operators
from oklp.services.launch import LaunchJob, TokenQuestion
from oklp.services.matches import Caller
from oklp.services.webhooks import Reply
from oklp.signing import hash_token
from tests.machine.model import TAKEN, Game, Match, Model, Player, Refusals, Report, Start
from tests.services.world import (
    CONNECTION_REFUSED,
    CUT_OFF_200,
    DAY,
    OK,
    SECOND,
    TIMED_OUT,
    XTS,
    World,
    answered,
    check_books,
)

T = TypeVar("T")

PEOPLE = 5
FEES = (0, 0, 1, 7, 333, 500)
SHARES = (None, None, [10_000], [6_000, 4_000], [5_000, 3_000, 2_000], [3_334, 3_333, 3_333])
STEPS_MS = (1, *(seconds * SECOND for seconds in (1, 2, 2, 4, 15, 15, 61, 120)), DAY)
DELETES_DONE = (answered(200), answered(404))
REPLIES: dict[str, tuple[Reply, bool]] = {  # and whether the game may have heard
    "200": (OK, True),
    "500": (answered(500), False),
    "204": (answered(204), False),
    "refused": (CONNECTION_REFUSED, False),
    "timeout": (TIMED_OUT, True),
    "cut off": (CUT_OFF_200, True),
}
LIKELY_REPLIES = ("200", "200", "200", *REPLIES)
NO_REPLY_YET = "none yet"

people = st.integers(0, PEOPLE - 1)
several = st.lists(people, max_size=3)
newest = st.integers(0, 5)  # 0 is the newest match
# Most steps go where something can happen; the rest go anywhere, and are mostly refused.
aims = st.sampled_from([True, True, True, True, False])
seeds = st.integers(0, 2**16)


class Life(RuleBasedStateMachine):
    """`world` is shared by all examples of a run; each has players, games and matches of its own."""

    world: World

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        self.tokens: list[tuple[str, Match, Player, int]] = []
        self.connection = self.world.db.engine.connect()
        self.fees_before = self._posted("house:fees")
        self.studio_before = self._posted(f"studio:{self.world.studio_id}")
        self.keys_used = 0

    @initialize(
        fee_bps=st.sampled_from([0, 1, 1_000, 3_333, 4_000]),
        studio_bps=st.sampled_from([0, 5_000, 6_667, 10_000]),
        retries=st.integers(0, 2),
        low_wins=st.booleans(),
        money=st.lists(st.sampled_from([5_000, 5_000, 5_000, 1_000, 499, 0]), min_size=PEOPLE, max_size=PEOPLE),
        fees=st.lists(st.sampled_from(FEES), min_size=2, max_size=2),
        reply=st.sampled_from((*LIKELY_REPLIES, NO_REPLY_YET, NO_REPLY_YET)),
    )
    def begin(
        self,
        fee_bps: int,
        studio_bps: int,
        retries: int,
        low_wins: bool,
        money: list[int],
        fees: list[int],
        reply: str,
    ) -> None:
        for amount in money:
            made = self.world.player(amount)
            self.model.players.append(Player(made.user_id, made.username, balance=amount))
            self.model.paid_in += amount
        self._add_game("sync", True, low_wins, fee_bps, studio_bps, retries)
        self._add_game("async", False, low_wins, 4_000 - fee_bps, studio_bps, 0)
        for which_game, fee in enumerate(fees):
            self._gather(list(range(PEOPLE)), which_game, fee, (2, 2 - which_game), None, "paid", reply)

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

    # --- money ---

    @rule(who=people, amount=st.sampled_from([1, 250, 1_000]))
    def deposit(self, who: int, amount: int) -> None:
        player = self.model.players[who]
        refusals: Refusals = set() if player.active else {WrongState}
        if self._ask(refusals, self.world.deposit, self._caller(player), amount):
            player.balance += amount
            self.model.paid_in += amount

    @rule(who=people, amount=st.sampled_from([1, 100]))
    def deposit_with_a_key_and_again(self, who: int, amount: int) -> None:
        """The second time it is the first answer, refused or not, and no money."""
        player = self.model.players[who]
        self.keys_used += 1
        claim = self.world.key(self._caller(player), "deposits", f"key-{self.keys_used}")
        request = contract.Payment(amount=amount, currency=XTS)
        for again in (False, True):
            arguments = (self.world.settings, player.user_id, self.world.new_uuid(), request, self.world.now)
            answer = self.world.run(idempotency.once, claim, 201, ledger.deposit, *arguments)
            assert (answer.status, answer.replayed) == (201 if player.active else 409, again)
        if player.active:
            player.balance += amount
            self.model.paid_in += amount

    @rule(who=people, amount=st.sampled_from([1, 100, 5_000]))
    def withdraw(self, who: int, amount: int) -> None:
        player = self.model.players[who]
        refusals: Refusals = set()
        if not player.active:
            refusals.add(WrongState)
        if amount > player.balance:
            refusals.add(InsufficientFunds)
        if self._ask(refusals, self.world.withdraw, self._caller(player), amount):
            player.balance -= amount
            self.model.paid_in -= amount

    # --- filling matches ---

    @rule(
        who=people,
        which_game=st.integers(0, 1),
        fee=st.sampled_from((*FEES, 501)),
        teams=st.sampled_from([2, 2, 3, 4]),
        size=st.sampled_from([1, 1, 2, 3]),
        public=st.booleans(),
        shares=st.sampled_from(SHARES),
        invited=several,
    )
    def create(
        self,
        who: int,
        which_game: int,
        fee: int,
        teams: int,
        size: int,
        public: bool,
        shares: list[int] | None,
        invited: list[int],
    ) -> None:
        self._create(who, self.model.games[which_game], fee, teams, size, public, shares, invited)

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

    @precondition(lambda self: self.model.matches)
    @rule(who=people, back=newest, aim=aims, invited=st.lists(people, min_size=1, max_size=2))
    def invite(self, who: int, back: int, aim: bool, invited: list[int]) -> None:
        player, match = self._spot(who, back, aim, "pending", *TAKEN)
        guests = [self.model.players[each] for each in invited]
        refusals = self.model.may_invite(player, match, guests)
        callers = [self._caller(guest) for guest in guests]
        answer = self._ask(refusals, self.world.invite, self._caller(player), match.match_id, *callers)
        if answer is not None:
            self._invited(match, guests, answer)

    @precondition(lambda self: self.model.matches)
    @rule(
        who=people,
        back=newest,
        aim=aims,
        team=st.sampled_from([None, None, 0, 1, 2, "no-such-team"]),
        code=st.sampled_from([None, True, True, False]),
    )
    def join(self, who: int, back: int, aim: bool, team: int | str | None, code: bool | None) -> None:
        match = self._match(back, aim, "pending")
        wanted = match.teams[team % len(match.teams)] if isinstance(team, int) else team
        self._join(self.model.players[who], match, wanted, code)

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

    @precondition(lambda self: self.model.matches)
    @rule(who=people, back=newest, aim=aims)
    def decline(self, who: int, back: int, aim: bool) -> None:
        player, match = self._spot(who, back, aim, "pending", "invited")
        if self._ask(self.model.may_decline(player, match), self.world.decline, self._caller(player), match.match_id):
            self.model.decline(player, match)

    @precondition(lambda self: self.model.matches)
    @rule(who=people, back=newest, aim=aims)
    def leave(self, who: int, back: int, aim: bool) -> None:
        player, match = self._spot(who, back, aim, "pending", *TAKEN)
        if self._ask(self.model.may_leave(player, match), self.world.leave, self._caller(player), match.match_id):
            self.model.leave(player, match, self.world.now)

    @precondition(lambda self: self.model.matches)
    @rule(who=people, back=newest, aim=aims)
    def cancel(self, who: int, back: int, aim: bool) -> None:
        match = self._match(back, aim, "pending")
        player = self.model.player(match.creator) if aim else self.model.players[who]
        if self._ask(self.model.may_cancel(player, match), self.world.cancel, self._caller(player), match.match_id):
            self.model.abort(match, "cancelled", self.world.now)

    # --- paying ---

    @precondition(lambda self: self.model.matches)
    @rule(who=people, back=newest, aim=aims)
    def confirm(self, who: int, back: int, aim: bool) -> None:
        self._confirm([self._spot(who, back, aim, "pending", "joined")])

    @precondition(lambda self: self.model.matches)
    @rule(jobs=st.lists(st.tuples(people, newest), min_size=2, max_size=6), aim=aims)
    def confirm_several(self, jobs: list[tuple[int, int]], aim: bool) -> None:
        self._confirm([self._spot(who, back, aim, "pending", *TAKEN) for who, back in jobs])

    def _confirm(self, jobs: Sequence[tuple[Player, Match]]) -> None:
        """In one transaction, decided in order."""
        if not jobs:
            return
        confirmations = [self.world.confirmation(self._caller(player), match.match_id) for player, match in jobs]
        outcomes = self.world.confirm_batch(confirmations)
        for (player, match), confirmation, outcome in zip(jobs, confirmations, outcomes, strict=True):
            if self._check(self.model.may_confirm(player, match), outcome):
                self.model.confirm(player, match, confirmation.delivery_id, self.world.now)

    @rule(
        order=st.permutations(range(PEOPLE)),
        which_game=st.integers(0, 1),
        fee=st.sampled_from(FEES),
        shape=st.sampled_from([(2, 1), (2, 1), (3, 1), (2, 2)]),
        shares=st.sampled_from(SHARES[:4]),
        until=st.sampled_from(["joined", "all but one paid", "paid", "paid", "played", "played", "won by a suspended"]),
        reply=st.sampled_from((*LIKELY_REPLIES, NO_REPLY_YET, NO_REPLY_YET)),
    )
    def gather(
        self,
        order: list[int],
        which_game: int,
        fee: int,
        shape: tuple[int, int],
        shares: list[int] | None,
        until: str,
        reply: str,
    ) -> None:
        self._gather(order, which_game, fee, shape, shares, until, reply)

    def _gather(
        self,
        order: list[int],
        which_game: int,
        fee: int,
        shape: tuple[int, int],
        shares: list[int] | None,
        until: str,
        reply: str,
    ) -> None:
        """Players meet, pay, and the game is told: the way to most of the rules below."""
        match = self._create(order[0], self.model.games[which_game], fee, *shape, True, shares, [])
        if match is None:
            return
        everyone = [self.model.players[each] for each in order[: shape[0] * shape[1]]]
        for player in everyone[1:]:
            self._join(player, match, None, None)
        paying = {"joined": [], "all but one paid": everyone[1:]}.get(until, everyone)
        self._confirm([(player, match) for player in paying])
        if match.status == "starting" and reply != NO_REPLY_YET:
            self._answer(match, reply)
        if match.status == "live" and until == "won by a suspended":
            for player in everyone:
                if player.active:
                    self._suspend(player)
        if match.status == "live" and until in ("played", "won by a suspended"):
            rng = random.Random(repr((order, fee, shares)))
            while match.status == "live":
                self._report([(match.game, match, self._make_report(match, "fit", rng))])

    # --- telling the game ---

    def _sending(self) -> list[tuple[Match, Start]]:
        return [(m, m.start) for m in self.model.matches if m.start is not None and m.start.state == "sending"]

    @precondition(lambda self: self._sending())
    @rule(which=st.integers(0, 3), reply=st.sampled_from(LIKELY_REPLIES))
    def answer(self, which: int, reply: str) -> None:
        """To a start that is on the wire: in time, or after its match was called off."""
        sending = self._sending()
        self._answer(sending[which % len(sending)][0], reply)

    def _answer(self, match: Match, name: str) -> None:
        reply, heard = REPLIES[name]
        assert match.start is not None
        self.world.reply(match.start.delivery_id, reply, match.start.attempts)
        self.model.answer(match, name == "200", heard, self.world.now)

    @precondition(lambda self: any(m.start is not None for m in self.model.matches))
    @rule(which=st.integers(0, 3), attempt=st.integers(1, 3), mine=st.booleans())
    def answer_that_counts_no_more(self, which: int, attempt: int, mine: bool) -> None:
        """Of an attempt that is over, or of a sender that has lost its lease."""
        started = [match.start for match in self.model.matches if match.start is not None]
        start = started[which % len(started)]
        if mine and start.state == "sending" and start.attempts == attempt:
            return
        self.world.reply(start.delivery_id, OK, attempt, owner=None if mine else "another node")

    @rule(done=st.sampled_from(DELETES_DONE))
    def look(self, done: Reply) -> None:
        """What the worker sends when it looks: starts that are tried again, and DELETEs, which must not be early."""
        expected = self.model.send_again(self.world.now)
        told = {m.match_id for m in self.model.matches if m.delete_at is not None and not m.deleted}
        due = {m.match_id for m in self.model.matches if m.match_id in told and (m.delete_at or 0) <= self.world.now}
        starts, deletes = set(), set()
        for sending in self.world.claim():
            if sending.method == "PUT":
                starts.add((sending.delivery_id, sending.attempt))
            else:
                deletes.add(str(json.loads(sending.body)["match_id"]))
                self.world.reply(sending.delivery_id, done, sending.attempt)
        assert starts == expected
        assert deletes == due
        for match in self.model.matches:
            match.deleted = match.deleted or match.match_id in due

    # --- playing ---

    @precondition(lambda self: self.model.matches)
    @rule(who=people, back=newest, aim=aims, platform=st.sampled_from(["browser", "browser", "steam"]))
    def launch(self, who: int, back: int, aim: bool, platform: str) -> None:
        player, match = self._spot(who, back, aim, "live", *TAKEN)
        refusals: Refusals = set() if match.holds(player.user_id) else {NotFound}
        if not refusals and (match.status != "live" or match.due_at <= self.world.now):
            refusals.add(WrongState)
        if not refusals and platform != "browser":
            refusals.add(InvalidRequest)
        token = self.world.new_id()
        job = LaunchJob(self._caller(player), match.match_id, platform, token, self.world.now)
        if self._ask(refusals, self.world.db.run_set, launch.launch, job):
            self.tokens.append((token, match, player, match.due_at))

    @precondition(lambda self: self.tokens)
    @rule(which=st.integers(0, 5), which_game=st.integers(0, 1))
    def ask_about_a_token(self, which: int, which_game: int) -> None:
        token, match, player, expires_at = self.tokens[which % len(self.tokens)]
        game = self.model.games[which_game]
        refusals: Refusals = {NotFound} if game is not match.game or expires_at <= self.world.now else set()
        question = TokenQuestion(game.game_id, hash_token(token), self.world.now)
        info = self._ask(refusals, self.world.db.run_set, launch.token_info, question)
        if info is not None:
            done = match.over or player.user_id in match.scores
            assert (info.match_id, info.user_id) == (match.match_id, player.user_id)
            assert (info.match_status, info.submissions_left) == (match.status, 0 if done else 1)

    @precondition(lambda self: any(match.status in ("live", "finished") for match in self.model.matches))
    @rule(back=newest, kind=st.sampled_from(["fit", "fit", "fit", "again", "faulty", "other mode"]), seed=seeds)
    def report(self, back: int, kind: str, seed: int) -> None:
        match = self._match(back, True, "live", "finished")
        self._report([(match.game, match, self._make_report(match, kind, random.Random(seed)))])

    @precondition(lambda self: self.model.matches)
    @rule(
        jobs=st.lists(
            st.tuples(newest, st.sampled_from(["fit", "fit", "again", "faulty", "other mode"]), seeds),
            min_size=2,
            max_size=4,
        ),
        aim=aims,
        stranger=st.booleans(),
    )
    def report_several(self, jobs: list[tuple[int, str, int]], aim: bool, stranger: bool) -> None:
        reports = []
        for back, kind, seed in jobs:
            match = self._match(back, aim, "live", "finished")
            game = match.game
            if stranger and seed % 4 == 0:
                game = next(each for each in self.model.games if each is not game)
            reports.append((game, match, self._make_report(match, kind, random.Random(seed))))
        self._report(reports)

    def _report(self, reports: Sequence[tuple[Game, Match, Report]]) -> None:
        """In one transaction, decided in order."""
        outcomes = self.world.report_batch([(game.game_id, self._wire(match, made)) for game, match, made in reports])
        for (game, match, made), outcome in zip(reports, outcomes, strict=True):
            if not self._check(self.model.may_report(game, match, made), outcome):
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

    # --- time ---

    @rule(step=st.sampled_from(STEPS_MS))
    def time_passes(self, step: int) -> None:
        self.world.now += step

    @rule()
    def attempts_are_lost(self) -> None:
        self.world.lapse()
        self.model.lose_attempts(self.world.now)

    @rule()
    def matches_expire(self) -> None:
        self.world.expire()
        self.model.expire(self.world.now)

    @rule()
    def results_are_overdue(self) -> None:
        self.world.close_overdue()
        self.model.close_overdue(self.world.now)

    # --- operators ---

    @precondition(lambda self: self.model.matches)
    @rule(who=people, aim=aims)
    def suspend_or_reinstate_a_player(self, who: int, aim: bool) -> None:
        player, _ = self._spot(who, 0, aim, "live", *TAKEN)
        if not player.active:
            self.world.reinstate(self._caller(player))
            player.active = True
            return
        self._suspend(player)

    def _suspend(self, player: Player) -> None:
        self.world.suspend(self._caller(player))
        player.active = False
        concerned = [match for match in self.model.matches if match.holds(player.user_id)]
        self.model.abort_pending(concerned, "player-suspended", self.world.now)

    @rule(which_game=st.integers(0, 1))
    def suspend_or_approve_a_game(self, which_game: int) -> None:
        game = self.model.games[which_game]
        if not game.open:
            self.world.approve_game(game.game_id)
            game.open = True
            return
        self.world.suspend_game(game.game_id)
        game.open = False
        concerned = [match for match in self.model.matches if match.game is game]
        self.model.abort_pending(concerned, "game-suspended", self.world.now)

    @precondition(lambda self: self.model.matches)
    @rule(back=newest, aim=aims)
    def an_operator_aborts(self, back: int, aim: bool) -> None:
        match = self._match(back, aim, "starting", "live")
        request = contract.OperatorReason(reason="because")
        arguments = (self.world.settings, "operator:1", match.match_id, request, self.world.now)
        if self._ask({WrongState} if match.over else set(), self.world.run, operators.abort, *arguments):
            self.model.abort(match, "operator", self.world.now)

    @precondition(lambda self: self.model.matches)
    @rule(back=newest, aim=aims, skewed=st.sampled_from([False, False, True]), seed=seeds)
    def an_operator_settles(self, back: int, aim: bool, skewed: bool, seed: int) -> None:
        match = self._match(back, aim, "live")
        teams = self._make_teams(match.teams, random.Random(seed))
        if skewed:
            self._skew(teams)
        results = [contract.TeamResult(id=team, score=0, ranking=rank, forfeit=out) for team, rank, out in teams]
        request = contract.SettleRequest(reason="because", teams=results)
        arguments = ("operator:1", match.match_id, request, self.world.now)
        if self._ask(self.model.may_settle(match, teams), self.world.run, operators.settle, *arguments):
            self.model.settle(match, teams)

    @precondition(lambda self: self.model.held)
    @rule(which=st.integers(0, 3), release=st.booleans(), again=st.booleans())
    def held_winnings_are_decided(self, which: int, release: bool, again: bool) -> None:
        undecided = sorted(self.model.held)
        match_id, user_id = undecided[which % len(undecided)]
        amount = self.model.held.pop((match_id, user_id))
        decisions: list[tuple[Any, Refusals]] = [("release" if release else "confiscate", set())]
        if again:
            decisions.append(("confiscate" if release else "release", {WrongState}))
        for decision, refusals in decisions:
            request = contract.HeldDecision(decision=decision, reason="because")
            arguments = ("operator:1", user_id, match_id, request, self.world.now)
            self._ask(refusals, self.world.run, operators.decide_held, *arguments)
        if release:
            self.model.player(user_id).balance += amount
        else:
            self.model.platform += amount

    # --- what must hold after every step ---

    def _rows(self, sql: str, **parameters: Any) -> Sequence[Any]:
        return self.connection.execute(sa.text(sql), parameters).all()

    def _rows_of(self, sql: str, ids: Sequence[str]) -> Sequence[Any]:
        if not ids:
            return []
        return self.connection.execute(sa.text(sql).bindparams(sa.bindparam("ids", list(ids), expanding=True))).all()

    def _posted(self, account: str) -> int:
        (row,) = self._rows("SELECT coalesce(sum(amount), 0) FROM postings WHERE account = :account", account=account)
        return int(row[0])

    @invariant()
    def the_money_is_where_the_model_says(self) -> None:
        model = self.model
        users = {player.user_id: player.balance for player in model.players}
        stored = self._rows_of("SELECT user_id, balance FROM balances WHERE user_id IN :ids", list(users))
        assert {row.user_id: row.balance for row in stored} == users
        told = self._rows_of(
            "SELECT id, status, escrow, abort_reason FROM matches WHERE id IN :ids", [m.match_id for m in model.matches]
        )
        assert {row.id: tuple(row)[1:] for row in told} == {
            match.match_id: (match.status, match.escrow, match.reason) for match in model.matches
        }
        assert self._posted("house:fees") - self.fees_before == model.platform
        assert self._posted(f"studio:{self.world.studio_id}") - self.studio_before == model.studio
        assert model.total(list(users)) == model.paid_in, "the model has lost money by itself"
        (row,) = self._rows("SELECT coalesce(sum(amount), 0) FROM postings")
        assert row[0] == 0

    # --- the end ---

    def teardown(self) -> None:
        """Every match reaches an end, every DELETE is sent, and the books are clean."""
        try:
            if self.model.games:
                self._bring_everything_to_an_end()
        finally:
            self.connection.close()

    def _bring_everything_to_an_end(self) -> None:
        for end in (self.attempts_are_lost, self.matches_expire, self.results_are_overdue):
            self.world.now += 2 * DAY
            self.look(OK)
            end()
        self.results_are_overdue()
        self.look(OK)
        self.the_money_is_where_the_model_says()
        for match in self.model.matches:
            assert match.over, f"{match.match_id} is {match.status} for ever"
            assert (match.delete_at is not None) == match.deleted
            self._look_at(match)
        waiting = self.world.count("deliveries", "state IN ('waiting', 'sending')")
        assert waiting == 0
        check_books(self.world)

    def _look_at(self, match: Match) -> None:
        """What is left of a match in the database, beside its money."""
        kept = self.world.count("refused_results", "match_id = :match", match=match.match_id)
        assert kept == len(match.kept_aside)
        seats = self._rows(
            "SELECT user_id, team_id, state, slot FROM seats WHERE match_id = :match", match=match.match_id
        )
        assert sorted(tuple(row)[:3] for row in seats) == sorted((s.user_id, s.team, s.state) for s in match.seats)
        taken = {row.user_id: row.slot for row in seats if row.state in TAKEN}
        assert taken == {seat.user_id: seat.slot for seat in match.seats if seat.state in TAKEN}
        told = self._rows("SELECT event, state FROM deliveries WHERE match_id = :match", match=match.match_id)
        events = {row.event: row.state for row in told}
        assert ("match.aborted" in events) == match.deleted
        assert events.get("match.started") == (match.start.state if match.start is not None else None)


@pytest.fixture
def world(migrated_url: str) -> Iterator[World]:
    made = World(migrated_url)
    yield made
    made.close()


def live(world: World, examples: int, steps: int) -> None:
    class Here(Life):
        pass

    Here.world = world
    run_state_machine_as_test(
        Here,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_the_whole_life_of_matches(world: World) -> None:
    live(world, examples=80, steps=40)


@pytest.mark.soak
def test_the_whole_life_of_matches_for_long(world: World) -> None:
    live(world, examples=1_500, steps=80)
