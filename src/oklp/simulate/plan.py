"""The plan of a run: from a seed to the script of each match. Pure: the same options give the same scripts.

Every match is planned by itself, from the seed and its number, and takes nothing for granted of the others but that
players can pay. So it does not matter which of them are played at the same time.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Final, Literal, TypeAlias

from oklp.simulate.model import Model, Outcome
from oklp.simulate.script import CUT, PUT_FAULTS, REUSE, TWIN, Action, Answer, Game, Manner, Script, Step

FEWEST_PLAYERS: Final = 24
LARGEST_ROSTER: Final = 16

# How much of each kind of game is played; those that wait for their deadline take their time.
_GAMES: Final[Sequence[tuple[Game, float]]] = (
    (Game(0, fee_bps=1_000), 20),
    (Game(0, mode="async"), 14),
    (Game(0, retries=2, fee_bps=333), 8),
    (Game(0, mode="async", low_wins=True, fee_bps=2_500), 10),
    (Game(0, pull=True, fee_bps=0), 10),
    (Game(0, mode="async", pull=True, fee_bps=1), 6),
    (Game(0, brief=True, fee_bps=777), 1),
    (Game(0, mode="async", brief=True, fee_bps=4_000), 2),
    (Game(0, mode="async", low_wins=True, brief=True, fee_bps=50), 2),
    (Game(0, fee_bps=3_999), 8),
    (Game(0, mode="async", pull=True, low_wins=True, brief=True, fee_bps=1_250), 1),
    (Game(0, retries=2, fee_bps=4_000), 6),
    (Game(0, struck=True, fee_bps=100), 0.6),
    (Game(0, mode="async", struck=True, fee_bps=1_111), 0.6),
)
KINDS_OF_GAMES: Final = len(_GAMES)

_SHAPES: Final = ((2, 1), (2, 2), (3, 1), (4, 1), (2, 3), (3, 2), (5, 1), (2, 4), (6, 1), (8, 1), (4, 2), (4, 4))
_SHAPE_WEIGHTS: Final = (82, 5, 5, 2.5, 1.5, 1.5, 0.7, 0.5, 0.4, 0.4, 0.3, 0.2)

Fate: TypeAlias = Literal[
    "play", "refused", "cut", "late", "retried", "cancelled", "abandoned", "called-off", "settled"
]
_FATES: Final[Sequence[tuple[Fate, float]]] = (
    ("play", 80),
    ("refused", 4),
    ("cut", 1.5),
    ("late", 0.5),
    ("retried", 3),
    ("cancelled", 4),
    ("abandoned", 2),
    ("called-off", 2),
    ("settled", 2),
)
_REFUSALS: Final[Sequence[Answer]] = ("500", "404", "201", "204", "302")


@dataclass(frozen=True)
class World:
    """What is planned for. `operators`: there is one, who may settle matches and call them off."""

    seed: int
    players: int = 200
    games: int = KINDS_OF_GAMES
    careful: bool = False  # every request can be repeated, as a server that is restarted needs it
    operators: bool = True
    faults: bool = True  # the sandbox makes faults when it is told to

    @cached_property
    def all_games(self) -> tuple[Game, ...]:
        return tuple(replace(_GAMES[number % KINDS_OF_GAMES][0], number=number) for number in range(self.games))

    @cached_property
    def game_weights(self) -> tuple[float, ...]:
        kinds = [_GAMES[number % KINDS_OF_GAMES] for number in range(self.games)]
        return tuple(0.0 if game.struck and not self.faults else weight for game, weight in kinds)

    @cached_property
    def guests(self) -> frozenset[int]:
        """Players who never have any money."""
        return frozenset(range(self.players - max(2, self.players // 20), self.players))

    @cached_property
    def payers(self) -> Sequence[int]:
        return range(self.players - len(self.guests))

    def plan(self, number: int) -> tuple[Script, Outcome]:
        """The script of a match, from 0 on, and its outcome if nothing unforeseen happens."""
        return _Writer(self, number).write()


@dataclass
class _Writer:
    """Writes one script, a step at a time, and follows it on a model so as to know what is possible."""

    world: World
    number: int
    steps: list[Step] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rng = rng = random.Random(f"{self.world.seed}/{self.number}")
        game = rng.choices(self.world.all_games, self.world.game_weights)[0]
        teams, size = rng.choices(_SHAPES, _SHAPE_WEIGHTS)[0]
        self.people = rng.sample(self.world.payers, teams * size)
        self.fate = self._fate(game)
        self.script = Script(
            number=self.number,
            game=game,
            creator=self.people[0],
            teams=teams,
            size=size,
            fee=self._fee(),
            shares=self._shares(teams),
            public=rng.random() < 0.5,
            keyed=self.world.careful or rng.random() < 0.4,
            answers=self._answers(game),
            deaf=rng.random() < 0.2,
            fault=rng.choice(PUT_FAULTS) if game.struck else "",
        )
        self.model = Model(self.script, self.world.guests)

    def write(self) -> tuple[Script, Outcome]:
        self._create()
        self._fill()
        if not self.model.over:
            self._start()
        if self.model.status == "live":
            self._play()
        self._linger()
        return replace(self.script, steps=tuple(self.steps)), self.model.outcome()

    # --- what is decided once ---

    def chance(self, probability: float) -> bool:
        return self.rng.random() < probability

    def _fate(self, game: Game) -> Fate:
        fate = self.rng.choices([fate for fate, _ in _FATES], [weight for _, weight in _FATES])[0]
        if game.struck:
            return "play"
        if game.pull and fate in ("refused", "cut", "late", "retried"):
            return "play"
        if fate == "retried" and not game.retries:
            return "refused"
        if fate in ("called-off", "settled") and not self.world.operators:
            return "play"
        return fate

    def _fee(self) -> int:
        rng = self.rng
        kind = rng.random()
        if kind < 0.12:
            return 0
        if kind < 0.3:
            return rng.randint(1, 13)
        if kind < 0.85:
            return rng.choice((50, 100, 333, 500, 777, 1_000, rng.randint(1, 5_000)))
        return rng.randint(5_000, 50_000) if kind < 0.995 else 1_000_000

    def _shares(self, teams: int) -> tuple[int, ...]:
        if self.chance(0.7):
            return ()
        places = self.rng.randint(1, teams)
        cuts = sorted(self.rng.sample(range(1, 10_000), places - 1))
        parts = [end - start for start, end in zip([0, *cuts], [*cuts, 10_000], strict=True)]
        return tuple(sorted(parts, reverse=True))

    def _answers(self, game: Game) -> tuple[Answer, ...]:
        refuse: Answer = self.rng.choice(_REFUSALS)
        cut: Answer = "cut"
        late: Answer = "late"
        match self.fate:
            case "refused":
                return (refuse,) * (1 + game.retries)
            case "cut":
                return (cut,) * (1 + game.retries)
            case "late":
                return (late, *(refuse,) * game.retries)
            case "retried":
                failed: tuple[Answer, ...] = ("500", "404", "cut")
                last: Answer = "200"
                return (self.rng.choice(failed), last)
            case _:
                return ("200",)

    # --- steps ---

    def do(self, action: Action, who: int = -1, *, whom: Sequence[int] = (), team: int = -1, how: str = "") -> None:
        self.add(Step(action, who, tuple(whom), team, how, self._manner(action, how)))

    def add(self, step: Step) -> None:
        self.steps.append(step)
        self.model.apply(step)

    def _manner(self, action: Action, how: str) -> Manner:
        if how or not self.script.keyed or action not in ("create", "join", "decline", "confirm", "leave", "cancel"):
            return ""
        kind = self.rng.random()
        if kind < 0.04:
            return TWIN
        if kind < 0.07:
            return CUT
        return REUSE if kind < 0.08 and action == "join" else ""

    def stranger(self) -> int:
        """A player with money who is not in this match."""
        while (player := self.rng.choice(self.world.payers)) in self.people:
            pass
        return player

    def guest(self) -> int:
        return self.rng.choice(sorted(self.world.guests))

    # --- the lobby ---

    def _create(self) -> None:
        if self.chance(0.03):
            self.do("misplan", self.script.creator, how=self.rng.choice(("fee", "teams", "size", "shares", "nobody")))
        others = self.people[1:]
        share = self.rng.choice((0.0, 0.5, 1.0))
        invited = [player for player in others if self.chance(share)]
        if self.chance(0.05):
            invited.append(self.guest())
        self.do("create", self.script.creator, whom=invited)

    def _fill(self) -> None:
        """Everybody comes, some by detours; unless it is called off or abandoned half-way."""
        teams = [team for team in range(self.script.teams) for _ in range(self.script.size)][1:]
        self.rng.shuffle(teams)
        comers = list(zip(self.people[1:], teams, strict=True))
        stays = len(comers)
        if self.fate in ("cancelled", "abandoned") or (self.fate == "called-off" and self.chance(0.4)):
            stays = self.rng.randrange(stays + 1)
        early = self.rng.choice((0.0, 0.3, 1.0))
        waiting: list[int] = []
        for player, team in [(self.people[0], 0), *comers[:stays]]:
            self._come(player, team)
            self._stray_in_lobby()
            if self.chance(early) and not self._would_start(player):
                self.do("confirm", player)
            else:
                waiting.append(player)
        if not self._come_to_nothing(stays < len(comers)):
            self._confirm(waiting)

    def _come(self, player: int, team: int) -> None:
        if player == self.script.creator:
            return
        seat = self.model.seats.get(player)
        if seat is not None and self.chance(0.06):
            self.do("decline", player)
            self._invite(player)
        elif seat is None and not self.script.public and self.chance(0.5):
            self._invite(player)
        self._join(player, team)
        if self.chance(0.06):
            if self.chance(0.6) and not self._would_start(player):
                self.do("confirm", player)
            self.do("leave", player)
            if self.chance(0.5):
                self._invite(player)
            self._join(player, team)

    def _would_start(self, player: int) -> bool:
        """Whether a confirmation would be the last. It comes by itself, in the end: what follows it is `start`."""
        others = (seat.state for each, seat in self.model.seats.items() if each != player)
        return self.model.full and "joined" not in others

    def _invite(self, *players: int) -> None:
        self.do("invite", self.script.creator, whom=players)

    def _join(self, player: int, team: int) -> None:
        seat = self.model.seats.get(player)
        invited = seat is not None and seat.state == "invited"
        free = [each for each in range(self.script.teams) if self.model.room(each)]
        anywhere = len(free) == 1 and self.chance(0.5)
        how = "" if invited or self.script.public else "code"
        self.do("join", player, team=-1 if anywhere else team, how=how)

    def _confirm(self, waiting: list[int]) -> None:
        self.rng.shuffle(waiting)
        if self.chance(0.3) and len(waiting) > 1:
            self.do("confirm", whom=waiting)
            return
        for player in waiting:
            self.do("confirm", player)
            if self.model.status == "pending" and self.chance(0.04):
                self.do("confirm", player)  # twice pays once

    def _come_to_nothing(self, unfilled: bool) -> bool:
        """Whether the match ends before it starts."""
        if self.fate == "abandoned":
            for player in self.rng.sample(self.people, len(self.people)):
                if self.model.holds(player):
                    self.do("leave", player)
                if player == self.script.creator and self.chance(0.3):
                    self.do("cancel", player)  # it is not his any more
        elif self.fate == "cancelled":
            self.do("cancel", self.script.creator)
        elif unfilled:
            self.do("call-off")
        return self.model.over

    def _stray_in_lobby(self) -> None:
        """Requests that are refused, and guests."""
        if self.chance(0.75):
            return
        rng, creator = self.rng, self.script.creator
        match rng.randrange(12):
            case 0 if not self.script.public:
                self.do("join", self.stranger(), how="wrong-code")
            case 1:
                self.do("join", rng.choice(self.people), team=rng.randrange(self.script.teams), how="no-team")
            case 2 if self.model.holds(creator):
                self.do("join", creator, team=0)
            case 3:
                self.do("cancel", self.stranger())
            case 4:
                self.do("confirm", self.stranger())
            case 5:
                self.do("launch", creator)
            case 6:
                self.do("invite", creator, how="nobody")
            case 7:
                self._report_early()
            case 8:
                self._guest_tries()
            case 9:
                self.do("overdraw", self.guest())
            case 10:
                self.add(Step("withdraw", rng.choice(self.people), amount=rng.randint(1, 2_000)))
            case 11:
                self.add(Step("deposit", rng.choice(self.people), amount=rng.randint(1, 2_000)))

    def _guest_tries(self) -> None:
        """Somebody without money takes a seat that is free just now, cannot pay, and goes."""
        free = [team for team in range(self.script.teams) if self.model.room(team)]
        guest = self.guest()
        if not free or not self.script.fee or self.model.holds(guest):
            return
        seat = self.model.seats.get(guest)
        invited = seat is not None and seat.state == "invited"
        how = "" if self.script.public or invited else "code"
        self.do("join", guest, team=self.rng.choice(free), how=how)
        self.do("confirm", guest)
        self.do("leave", guest)

    # --- starting ---

    def _start(self) -> None:
        called_off = self.fate == "called-off" and self.chance(0.4)
        if self.model.status == "starting" and not self.script.fault and (called_off or self.chance(0.06)):
            self.do("stop-short")
            for _ in range(self.rng.randint(1, 2)):
                match self.rng.randrange(5):
                    case 0:
                        self.do("leave", self.rng.choice(self.people))
                    case 1:
                        self.do("cancel", self.script.creator)
                    case 2:
                        self._report_early()
                    case 3:
                        self.do("confirm", self.rng.choice(self.people))
                    case 4:
                        self.do("join", self.stranger())
            if called_off:
                self.do("call-off")
        self.do("start")

    # --- playing ---

    def _play(self) -> None:
        if self.fate == "called-off":
            self.do("call-off")
            return
        self._launch()
        self._stray_in_play()
        if self.fate == "settled":
            self.add(Step("settle", ranks=self._ranks()))
        elif self.script.game.mode == "sync":
            self._play_sync()
        else:
            self._play_async()
        if self.model.status == "live":
            self.do("wait")

    def _launch(self) -> None:
        for index, player in enumerate(self.rng.sample(self.people, len(self.people))):
            if index and self.chance(0.8):
                continue
            self.do("launch", player)
            if self.chance(0.7):
                self.do("token-info", player)
            if self.chance(0.03):
                self.do("token-info", player, how=self.rng.choice(("foreign", "garbage")))

    def _stray_in_play(self) -> None:
        if self.chance(0.8):
            return
        match self.rng.randrange(6):
            case 0:
                self.do("leave", self.rng.choice(self.people))
            case 1:
                self.do("cancel", self.script.creator)
            case 2:
                self.do("launch", self.stranger())
            case 3:
                self.do("confirm", self.rng.choice(self.people))
            case 4:
                self.do("join", self.stranger(), how="wrong-code")
            case 5:
                self.add(self._faulty())

    def _play_sync(self) -> None:
        if self.script.game.brief and self.chance(0.6):
            return
        if self.chance(0.08):
            self.add(self._faulty())
        result = self._result()
        if self.chance(0.06):
            result = replace(result, manner=TWIN if self.chance(0.5) else CUT)
        self.add(result)

    def _play_async(self) -> None:
        players = self.rng.sample(self.people, len(self.people))
        if self.script.game.brief:
            players = players[: self.rng.randrange(len(players))]
        tie = self.rng.randrange(300) if self.chance(0.15) else None
        for player in players:
            result = self._score(player, tie)
            if self.chance(0.04):
                self.add(self._faulty())
            self.add(replace(result, manner=self.rng.choice((TWIN, CUT))) if self.chance(0.04) else result)
            if self.chance(0.05):
                self.add(result)
            if self.chance(0.05):
                self.add(self._score(player, None))

    def _score(self, player: int, tie: int | None) -> Step:
        score = tie if tie is not None else self._some_score()
        return Step("report", scores=((player, score),))

    def _some_score(self) -> int:
        return self.rng.randrange(1_000) if self.chance(0.97) else self.rng.choice((0, 2**53 - 1))

    def _result(self) -> Step:
        scores = tuple((player, self._some_score()) for team in self.model.roster for player in team)
        return Step("report", scores=scores, ranks=self._ranks())

    def _ranks(self) -> tuple[tuple[int, bool], ...]:
        """Ranks of all teams: ties written 1,1,2 or 1,1,3, and those who forfeited behind those who played."""
        rng, count = self.rng, self.script.teams
        if self.chance(0.01):
            return ((1, True),) * count
        forfeits = rng.randint(1, count - 1) if self.chance(0.12) else 0
        order = rng.sample(range(count), count)
        dense, ranks, place = self.chance(0.5), [(0, False)] * count, 0
        for position, team in enumerate(order):
            forfeit = position >= count - forfeits
            tied = position > 0 and self.chance(0.15) and forfeit == ranks[order[position - 1]][1]
            if not tied:
                place = place + 1 if dense else position + 1
            ranks[team] = (place, forfeit)
        return tuple(ranks)

    def _faulty(self) -> Step:
        """A result that must be refused as a whole."""
        how = self.rng.choice(("foreign", "negative", "huge", "nobody", "wrong-mode", "stranger"))
        if self.script.game.mode == "sync" and self.chance(0.5):
            how = self.rng.choice(("missing", "gap", "forfeit-above", "twice"))
        result = self._result() if self.script.game.mode == "sync" else self._score(self.people[0], None)
        return replace(result, how=how)

    def _report_early(self) -> None:
        """Before the match is live: of those who are meant to play, in the teams as they are."""
        sync = self.script.game.mode == "sync"
        scores = tuple((player, self._some_score()) for player in self.people)
        self.add(Step("report", scores=scores if sync else scores[:1], ranks=self._ranks() if sync else ()))

    # --- afterwards ---

    def _linger(self) -> None:
        """Who has not noticed that it is over."""
        finals = [step for step in self.steps if step.do == "report" and not step.how]
        if finals and self.chance(0.12):
            self.add(replace(finals[-1], manner=""))
        if finals and self.model.roster and self.chance(0.08):
            again = self._result() if self.script.game.mode == "sync" else self._score(self.people[-1], None)
            if self.model.full:
                self.add(again)
        if self.chance(0.05):
            self.do(self.rng.choice(("leave", "confirm", "launch")), self.rng.choice(self.people))
        if self.chance(0.03):
            self.do("cancel", self.script.creator)
        launched = sorted(self.model.launched)
        if launched and self.chance(0.05):
            self.do("token-info", self.rng.choice(launched))
