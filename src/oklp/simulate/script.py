"""What a run is written in: games, and matches as lists of steps. Players, teams and games go by their number.

A line of a script is one step: `confirm 17 cut` is player 17 confirming over a connection that is cut before the answer
comes, and again with the same idempotency key. `docs/simulate.md` lists the actions.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Final, Literal, TypeAlias

Action: TypeAlias = Literal[
    "create",
    "misplan",  # create what cannot be: refused, and nothing is there
    "invite",
    "join",
    "decline",
    "confirm",
    "leave",
    "cancel",
    "stop-short",  # the game has the PUT, and answers it only at `start`
    "start",
    "launch",
    "token-info",
    "report",
    "wait",  # until results are due
    "settle",  # an operator ends it
    "call-off",  # an operator aborts it
    "deposit",
    "withdraw",
    "overdraw",
]

# How a step is done, where the usual way is not meant.
TWIN: Final = "twin"  # twice at once with one idempotency key
CUT: Final = "cut"  # the connection is cut before the answer, and the request repeated with its key
REUSE: Final = "reuse"  # and again with the same key and another body

Manner: TypeAlias = Literal["", "twin", "cut", "reuse"]

# What a game answers to the PUT that starts a match (contract section A3).
Answer: TypeAlias = Literal["200", "201", "204", "302", "404", "500", "cut", "late"]
# Faults of the sandbox (docs/faults.md) that strike the PUT, and those after which the match starts all the same.
PUT_FAULTS: Final = (
    "put_timeout",
    "put_refused",
    "answer_lost",
    "duplicate_put",
    "wrong_signature",
    "unknown_key",
    "expired_token",
    "wrong_audience",
    "webhook_clock_skew",
)
HARMLESS: Final = frozenset({"duplicate_put"})

UNHEARD: Final = frozenset({"201", "204", "302", "404", "500"})  # a refusal that was understood


@dataclass(frozen=True, slots=True)
class Step:
    """`who` acts, upon `whom` for invitations and for actions of many at once. `how` is a variant of the action.

    `team` is a seat's team; `scores` are by player, `ranks` by team: the rank, and whether it forfeited; `amount` is a
    payment's, in minor units.
    """

    do: Action
    who: int = -1
    whom: tuple[int, ...] = ()
    team: int = -1
    how: str = ""
    manner: Manner = ""
    scores: tuple[tuple[int, int], ...] = ()
    ranks: tuple[tuple[int, bool], ...] = ()
    amount: int = 0

    def __str__(self) -> str:
        parts: list[object] = [self.do]
        if self.who >= 0:
            parts.append(self.who)
        if self.whom:
            parts.append("+".join(map(str, self.whom)))
        if self.team >= 0:
            parts.append(f"team={self.team + 1}")
        parts.extend(word for word in (self.how, self.manner) if word)
        if self.scores:
            parts.append(f"scores={_pairs(self.scores)}")
        if self.ranks:
            parts.append("ranks=" + ",".join(f"{rank}{'f' if forfeit else ''}" for rank, forfeit in self.ranks))
        if self.amount:
            parts.append(self.amount)
        return " ".join(map(str, parts))


def _pairs(pairs: Iterable[tuple[int, int]]) -> str:
    return ",".join(f"{name}:{value}" for name, value in pairs)


@dataclass(frozen=True, slots=True)
class Game:
    """A game of the run, as it is registered."""

    number: int
    mode: Literal["sync", "async"] = "sync"
    low_wins: bool = False
    pull: bool = False
    fee_bps: int = 1_000
    retries: int = 0
    brief: bool = False  # results are due a few seconds after the start
    struck: bool = False  # a fault strikes each of its PUTs, one match after the other


@dataclass(frozen=True, slots=True)
class Script:
    """One match from its making to its end. `answers` are the game's to each attempt to start it.

    `keyed`: requests carry idempotency keys. Without, one that is lost cannot be repeated. `deaf`: should the match be
    called off, the game fails to take the first DELETE. `fault`: what strikes the PUT.
    """

    number: int
    game: Game
    creator: int
    teams: int
    size: int
    fee: int
    shares: tuple[int, ...] = ()
    public: bool = False
    keyed: bool = True
    answers: tuple[Answer, ...] = ("200",)
    deaf: bool = False
    fault: str = ""
    steps: tuple[Step, ...] = ()

    def lines(self) -> list[str]:
        game = ", ".join(f"{each.name}={getattr(self.game, each.name)}" for each in fields(self.game))
        head = (
            f"match {self.number}: {self.teams} x {self.size}, fee {self.fee}, "
            f"shares {'/'.join(map(str, self.shares)) or 'winner takes all'}, "
            f"{'public' if self.public else 'private'}, {'keyed' if self.keyed else 'no keys'}, "
            f"PUT {'/'.join(self.answers)}{', deaf' if self.deaf else ''}"
            f"{self.fault and f', {self.fault}'}; game {game}"
        )
        return [head, *(f"{line}. {step}" for line, step in enumerate(self.steps, 1))]

    @property
    def players(self) -> frozenset[int]:
        return frozenset({self.creator}.union(*({step.who, *step.whom} for step in self.steps)) - {-1})
