"""The whole life of matches, against an independent model, on both databases.

Hypothesis plays players, games, operators, the worker and the clock. The model foretells what is refused, and with
which error, and what everyone owns; after every step the money in the database is compared with it, to the last unit.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import initialize, precondition, rule, run_state_machine_as_test

from oklp import contract
from oklp.errors import InsufficientFunds, InvalidRequest, NotFound, PaymentsSuspended, WrongState
from oklp.services import idempotency, launch, ledger, operators
from oklp.services.launch import LaunchJob, TokenQuestion
from oklp.services.staff import Operator
from oklp.services.webhooks import Reply
from oklp.signing import hash_token
from tests.machine.life import NO_REPLY_YET, REPLIES, Life
from tests.machine.model import TAKEN, Player, Refusals
from tests.services.world import DAY, OK, SECOND, XTS, World, answered, check_books

OPERATOR = Operator("operator-1", "1", "admin")
PEOPLE = 5
FEES = (0, 1, 7, 333, 500, 500)
SHARES = (None, None, [10_000], [6_000, 4_000], [5_000, 3_000, 2_000], [3_334, 3_333, 3_333])
SHAPES = ((2, 1), (2, 1), (3, 1), (2, 2))
STEPS_MS = (1, *(seconds * SECOND for seconds in (1, 2, 2, 4, 15, 15, 61, 120)), DAY)
STAGES = ("joined", "joined", "all but one paid", "paid", "paid", "half played", "played", "won by a suspended")
ANSWERS = ("200", "200", "200", *REPLIES, NO_REPLY_YET, NO_REPLY_YET)

people = st.integers(0, PEOPLE - 1)
newest = st.integers(0, 5)  # 0 is the newest match
# Most steps go where something can happen; the rest go anywhere, and are mostly refused.
aims = st.sampled_from([True, True, True, True, False])
seeds = st.integers(0, 2**16)
meetings = st.fixed_dictionaries(
    {
        "order": st.permutations(range(PEOPLE)),
        "fee": st.sampled_from(FEES),
        "shape": st.sampled_from(SHAPES),
        "shares": st.sampled_from(SHARES[:4]),
        "until": st.sampled_from(STAGES),
        "reply": st.sampled_from(ANSWERS),
    }
)


class Playing(Life):
    """Who does what, when."""

    @initialize(
        fee_bps=st.sampled_from([0, 1, 1_000, 3_333, 4_000]),
        studio_bps=st.sampled_from([0, 5_000, 6_667, 10_000]),
        retries=st.integers(0, 2),
        low_wins=st.booleans(),
        money=st.lists(st.sampled_from([2_000, 2_000, 5_000, 700, 0]), min_size=PEOPLE, max_size=PEOPLE),
        first=meetings,
        second=meetings,
    )
    def begin(
        self,
        fee_bps: int,
        studio_bps: int,
        retries: int,
        low_wins: bool,
        money: list[int],
        first: dict[str, Any],
        second: dict[str, Any],
    ) -> None:
        for amount in money:
            made = self.world.player(amount)
            self.model.players.append(Player(made.user_id, made.username, balance=amount))
            self.model.paid_in += amount
        self._add_game("sync", True, low_wins, fee_bps, studio_bps, retries)
        self._add_game("async", False, low_wins, 4_000 - fee_bps, studio_bps, 0)
        for game, meeting in zip(self.model.games, (first, second), strict=True):
            self._gather(game=game, **meeting)

    # --- money ---

    @rule(who=people, amount=st.sampled_from([-5_000, -100, -1, 1, 250, 1_000]), with_a_key=st.booleans())
    def money_comes_and_goes(self, who: int, amount: int, with_a_key: bool) -> None:
        player = self.model.players[who]
        refusals: Refusals = set() if player.active else {PaymentsSuspended}
        if with_a_key and amount > 0:
            self._deposit_twice_with_one_key(player, amount, bool(refusals))
            return
        if amount < -player.balance:
            refusals.add(InsufficientFunds)
        ask = self.world.deposit if amount > 0 else self.world.withdraw
        if self._ask(refusals, ask, self._caller(player), abs(amount)):
            player.balance += amount
            self.model.paid_in += amount

    def _deposit_twice_with_one_key(self, player: Player, amount: int, refused: bool) -> None:
        """The second time it is the first answer, refused or not, and no money."""
        self.keys_used += 1
        claim = self.world.key(self._caller(player), "deposits", f"key-{self.keys_used}")
        request = contract.Payment(amount=amount, currency=XTS)
        for again in (False, True):
            arguments = (self.world.settings, player.user_id, self.world.new_uuid(), request, self.world.now)
            answer = self.world.run(idempotency.once, claim, 201, ledger.deposit, *arguments)
            assert (answer.status, answer.replayed) == (409 if refused else 201, again)
        if not refused:
            player.balance += amount
            self.model.paid_in += amount

    # --- filling matches ---

    @rule(
        who=people,
        which_game=st.integers(0, 1),
        fee=st.sampled_from((*FEES, 501)),
        teams=st.sampled_from([2, 2, 2, 3, 4]),
        size=st.sampled_from([1, 1, 2, 3]),
        public=st.booleans(),
        shares=st.sampled_from(SHARES),
        invited=st.lists(people, max_size=3),
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
        # Whoever names himself is refused; that is seen often enough when it is him alone.
        others = [each for each in invited if each != who or len(invited) == 1]
        self._create(who, self.model.games[which_game], fee, teams, size, public, shares, others)

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

    @precondition(lambda self: self.model.matches)
    @rule(who=people, back=newest, aim=aims, how=st.sampled_from(["decline", "leave", "leave", "cancel"]))
    def go(self, who: int, back: int, aim: bool, how: str) -> None:
        states = {"decline": ("invited",), "leave": TAKEN, "cancel": TAKEN}[how]
        player, match = self._spot(who, back, aim, "pending", *states)
        caller, match_id = self._caller(player), match.match_id
        if how == "decline":
            if self._ask(self.model.may_decline(player, match), self.world.decline, caller, match_id):
                self.model.decline(player, match)
        elif how == "leave":
            if self._ask(self.model.may_leave(player, match), self.world.leave, caller, match_id):
                self.model.leave(player, match, self.world.now)
        elif self._ask(self.model.may_cancel(player, match), self.world.cancel, caller, match_id):
            self.model.abort(match, "cancelled", self.world.now)

    # --- paying ---

    @precondition(lambda self: self.model.matches)
    @rule(jobs=st.lists(st.tuples(people, newest), min_size=1, max_size=6), aim=aims)
    def confirm(self, jobs: list[tuple[int, int]], aim: bool) -> None:
        self._confirm([self._spot(who, back, aim, "pending", *TAKEN) for who, back in jobs])

    @precondition(lambda self: any(match.status == "pending" for match in self.model.matches))
    @rule(seed=seeds)
    def everyone_confirms_at_once(self, seed: int) -> None:
        """Whoever has joined anything, in one batch: some have not the money for all of it."""
        open_seats = [
            (self.model.player(seat.user_id), match)
            for match in self.model.matches
            if match.status == "pending"
            for seat in match.seats
            if seat.state == "joined"
        ]
        random.Random(seed).shuffle(open_seats)
        self._confirm(open_seats)

    @rule(which_game=st.integers(0, 1), meeting=meetings)
    def gather(self, which_game: int, meeting: dict[str, Any]) -> None:
        self._gather(game=self.model.games[which_game], **meeting)

    @rule(which_game=st.integers(0, 1), meeting=meetings)
    def gather_again(self, which_game: int, meeting: dict[str, Any]) -> None:
        self._gather(game=self.model.games[which_game], **meeting)

    # --- telling the game ---

    @precondition(lambda self: self._sending())
    @rule(which=st.integers(0, 3), reply=st.sampled_from(list(REPLIES)), at_once=st.booleans())
    def answer(self, which: int, reply: str, at_once: bool) -> None:
        """To a start that is on the wire: in time, or after its match was called off. And perhaps it is tried again."""
        sending = self._sending()
        match, start = sending[which % len(sending)]
        self._answer(match, reply)
        if at_once and start.state == "waiting":
            self.world.now = max(self.world.now, start.next_at)
            self._look(OK)

    @precondition(lambda self: any(m.start is not None for m in self.model.matches))
    @rule(which=st.integers(0, 3), attempt=st.integers(0, 2), mine=st.booleans())
    def answer_that_counts_no_more(self, which: int, attempt: int, mine: bool) -> None:
        """Of an attempt that is over, or of a sender that has lost its lease."""
        started = [(match, match.start) for match in self.model.matches if match.start is not None]
        # Those that are on the wire first: there it would do harm.
        match, start = sorted(started, key=lambda each: each[1].state != "sending")[which % len(started)]
        if mine and start.state == "sending":
            if start.attempts == 1:
                return
            attempt = min(attempt, start.attempts - 2)
        self.world.reply(start.delivery_id, OK, attempt + 1, owner=None if mine else "another node")
        self.model.call_off_again(match, self.world.now)

    @rule(done=st.sampled_from([answered(200), answered(404)]))
    def look(self, done: Reply) -> None:
        self._look(done)

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
        refusals = self.model.may_ask(game) or refusals
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

    # --- time ---

    @rule(step=st.sampled_from(STEPS_MS), swept=st.sets(st.sampled_from(["attempts", "starts", "results"])))
    def time_passes(self, step: int, swept: set[str]) -> None:
        """And the worker comes by, or is late."""
        self.world.now += step
        if "attempts" in swept:
            self._lose_attempts()
        if "starts" in swept:
            self._expire()
        if "results" in swept:
            self._close_overdue()

    # --- operators ---

    @precondition(lambda self: self.model.matches)
    @rule(who=people, aim=aims, what=st.sampled_from(["player", "player", "player", "one game", "other game"]))
    def suspend_or_reinstate(self, who: int, aim: bool, what: str) -> None:
        if what == "player":
            player, _ = self._spot(who, 0, aim, "live", *TAKEN)
            (self._suspend if player.active else self._reinstate)(player)
            return
        game = self.model.games[0 if what == "one game" else 1]
        if not game.open:
            self._approve(game)
            return
        self.world.suspend_game(game.game_id)
        game.open = False
        concerned = [match for match in self.model.matches if match.game is game]
        self.model.abort_pending(concerned, "game-suspended", self.world.now)

    @precondition(lambda self: any(not player.active for player in self.model.players))
    @rule()
    def pardon_everyone(self) -> None:
        """Or soon nobody would play."""
        for player in self.model.players:
            if not player.active:
                self._reinstate(player)
        for game in self.model.games:
            if not game.open:
                self._approve(game)

    @precondition(lambda self: self.model.matches)
    @rule(back=newest, aim=aims, then=st.sampled_from([NO_REPLY_YET, *REPLIES]))
    def an_operator_aborts(self, back: int, aim: bool, then: str) -> None:
        """And where the start is on the wire, its answer may come right behind."""
        match = self._match(back, aim, "starting" if self._sending() else "live")
        request = contract.OperatorReason(reason="because")
        arguments = (self.world.settings, OPERATOR, match.match_id, request, "a proposal", self.world.now)
        if self._ask({WrongState} if match.over else set(), self.world.run, operators.abort, *arguments):
            self.model.abort(match, "operator", self.world.now)
            self._look(OK)
        if match.start is not None and match.start.state == "sending" and then != NO_REPLY_YET:
            self._answer(match, then)

    @precondition(lambda self: any(match.status == "live" for match in self.model.matches))
    @rule(back=newest, aim=aims, skewed=st.sampled_from([False, False, True]), seed=seeds)
    def an_operator_settles(self, back: int, aim: bool, skewed: bool, seed: int) -> None:
        match = self._match(back, aim, "live")
        teams = self._make_teams(match.teams, random.Random(seed))
        if skewed:
            self._skew(teams)
        results = [contract.TeamResult(id=team, score=0, ranking=rank, forfeit=out) for team, rank, out in teams]
        request = contract.SettleRequest(reason="because", teams=results)
        arguments = (self.world.settings, OPERATOR, match.match_id, request, "a proposal", self.world.now)
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
            arguments = (self.world.settings, OPERATOR, user_id, match_id, request, "a proposal", self.world.now)
            self._ask(refusals, self.world.run, operators.decide_held, *arguments)
        if release:
            self.model.player(user_id).balance += amount
        else:
            self.model.platform += amount


@pytest.fixture
def world(migrated_url: str) -> Iterator[World]:
    made = World(migrated_url)
    yield made
    made.close()


def play(world: World, examples: int, steps: int) -> None:
    class Here(Playing):
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
    check_books(world)


def test_the_whole_life_of_matches(world: World) -> None:
    # Far more of them in the soak below; a step takes three times as long on PostgreSQL.
    play(world, examples=20 if world.db.postgres else 60, steps=50)


@pytest.mark.soak
@pytest.mark.timeout(6 * 3_600)
def test_the_whole_life_of_matches_for_long(world: World) -> None:
    play(world, examples=3_000, steps=80)
