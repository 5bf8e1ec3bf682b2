"""How the bot chooses: alpha-beta, deeper with each level, and to the very end where few squares are left.

Work is bounded by positions looked at, not by time, so that a level plays equally well on a slow machine.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, get_args

from .rules import Position, Seat, moves, other, squares, turned

Level: TypeAlias = Literal["easy", "medium", "hard"]
LEVELS: Final[tuple[Level, ...]] = get_args(Level)


@dataclass(frozen=True, slots=True)
class Strength:
    """`depth` moves ahead, `ending` empty squares that are played to the end, `positions` looked at in all. One move in
    `slip` (0: none) is any legal one.
    """

    depth: int
    ending: int
    positions: int
    slip: int


STRENGTHS: Final[dict[Level, Strength]] = {
    "easy": Strength(depth=1, ending=0, positions=500, slip=3),
    "medium": Strength(depth=3, ending=6, positions=4_000, slip=0),
    "hard": Strength(depth=6, ending=10, positions=12_000, slip=0),
}

# A corner cannot be taken back, and the squares beside an empty one give it away.
_WEIGHTS: Final = (
    (100, -20, 10, 5, 5, 10, -20, 100),
    (-20, -45, -2, -2, -2, -2, -45, -20),
    (10, -2, 3, 1, 1, 3, -2, 10),
    (5, -2, 1, 1, 1, 1, -2, 5),
)
_WEIGHT: Final = tuple(weight for row in (*_WEIGHTS, *reversed(_WEIGHTS)) for weight in row)
# Squares that weigh the same, so that an evaluation counts bits and walks over none.
_GROUPS: Final = tuple(
    (weight, sum(1 << square for square in range(64) if _WEIGHT[square] == weight)) for weight in sorted(set(_WEIGHT))
)
_MOBILITY: Final = 8
_DECIDED: Final = 10_000
_ENDLESS: Final = 10**9


class _OutOfPositionsError(Exception):
    """The budget is used up: what was found a move shallower stands."""


class _Search:
    def __init__(self, positions: int) -> None:
        self._left = positions

    def best(self, mine: int, theirs: int, depth: int, order: list[int]) -> list[int]:
        """The moves of `order`, the best first. Raises _OutOfPositionsError."""
        alpha = -_ENDLESS
        values: dict[int, int] = {}
        for square in order:
            flipped = turned(mine, theirs, square)
            value = -self._value(theirs & ~flipped, mine | flipped | 1 << square, depth - 1, -_ENDLESS, -alpha, False)
            values[square] = value
            alpha = max(alpha, value)
        # Stable, so of equal ones, which past the first are only bounds, the one that came first stays first.
        return sorted(order, key=lambda square: -values[square])

    def _value(self, mine: int, theirs: int, depth: int, alpha: int, beta: int, passed: bool) -> int:
        """What the position is worth to who is to move, in a window of what matters."""
        self._left -= 1
        if self._left < 0:
            raise _OutOfPositionsError
        legal = moves(mine, theirs)
        if not legal:
            if passed:
                return _DECIDED * _sign(margin := mine.bit_count() - theirs.bit_count()) + margin
            return -self._value(theirs, mine, depth, -beta, -alpha, True)
        if depth <= 0:
            return _worth(mine, theirs, legal)
        for square in sorted(squares(legal), key=_WEIGHT.__getitem__, reverse=True):
            flipped = turned(mine, theirs, square)
            value = -self._value(theirs & ~flipped, mine | flipped | 1 << square, depth - 1, -beta, -alpha, False)
            if value >= beta:
                return value
            alpha = max(alpha, value)
        return alpha


def _sign(number: int) -> int:
    return (number > 0) - (number < 0)


def _worth(mine: int, theirs: int, legal: int) -> int:
    """A guess at how it will end: good squares, and having more to choose from."""
    total = _MOBILITY * (legal.bit_count() - moves(theirs, mine).bit_count())
    for weight, group in _GROUPS:
        total += weight * ((mine & group).bit_count() - (theirs & group).bit_count())
    return total


def choose(position: Position, level: Level, chance: random.Random) -> int:
    """A legal square for who is to move. Raises ValueError when nobody is."""
    if position.turn is None:
        raise ValueError("the game is over")
    mover: Seat = position.turn
    mine, theirs = position.discs[mover], position.discs[other(mover)]
    strength = STRENGTHS[level]
    # Of moves that are equally good any one may be played, so that no two games are alike.
    order = list(squares(position.legal))
    chance.shuffle(order)
    if len(order) == 1 or (strength.slip and chance.randrange(strength.slip) == 0):
        return order[0]
    empty = 64 - (mine | theirs).bit_count()
    deepest = empty if empty <= strength.ending else min(strength.depth, empty)
    search = _Search(strength.positions)
    try:
        for depth in range(1, deepest + 1):
            order = search.best(mine, theirs, depth, order)
    except _OutOfPositionsError:
        """The order of the last depth that was finished."""
    return order[0]
