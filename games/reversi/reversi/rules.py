"""The rules of Reversi, as pure functions on whole numbers of 64 bits.

Bit `8 * row + column` is a square: a1 is bit 0, h1 bit 7, a8 bit 56, h8 bit 63. A set of squares is such a number too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

Seat: TypeAlias = Literal[0, 1]
"""Who plays which colour: black is 0 and begins, white is 1."""

BLACK: Final[Seat] = 0
WHITE: Final[Seat] = 1
SEATS: Final[tuple[Seat, Seat]] = (BLACK, WHITE)
COLOURS: Final = ("black", "white")
SQUARES: Final = tuple(f"{column}{row}" for row in range(1, 9) for column in "abcdefgh")

_ALL: Final = 2**64 - 1
_WITHOUT_EDGES: Final = 0x7E7E_7E7E_7E7E_7E7E
"""Columns b to g: a run that leaves a row sideways would come back in on the other side."""

_SQUARE_OF: Final = {name: square for square, name in enumerate(SQUARES)}


class IllegalMoveError(ValueError):
    """A move that the rules do not allow."""


def other(seat: Seat) -> Seat:
    return WHITE if seat == BLACK else BLACK


def square_of(name: str) -> int:
    """The number of a square, from 0 to 63. Raises IllegalMoveError for a name that is none."""
    try:
        return _SQUARE_OF[name]
    except KeyError:
        raise IllegalMoveError("There is no such square.") from None


def squares(of: int) -> Iterator[int]:
    """The squares of a set, from a1 on."""
    while of:
        lowest = of & -of
        yield lowest.bit_length() - 1
        of ^= lowest


def moves(mine: int, theirs: int) -> int:
    """The squares where a disc of mine would turn some of theirs."""
    sideways = theirs & _WITHOUT_EDGES
    found = 0
    for step, through in ((1, sideways), (8, theirs), (7, sideways), (9, sideways)):
        up = through & (mine << step)
        down = through & (mine >> step)
        # A run is six discs at most: two of the eight squares of a line are the ones that enclose it.
        for _ in range(5):
            up |= through & (up << step)
            down |= through & (down >> step)
        found |= (up << step) | (down >> step)
    return found & ~(mine | theirs) & _ALL


def turned(mine: int, theirs: int, square: int) -> int:
    """The discs of theirs that a disc of mine on this empty square turns; none where the move is not legal."""
    placed = 1 << square
    sideways = theirs & _WITHOUT_EDGES
    found = 0
    for step, through in ((1, sideways), (8, theirs), (7, sideways), (9, sideways)):
        up = through & (placed << step)
        down = through & (placed >> step)
        for _ in range(5):
            up |= through & (up << step)
            down |= through & (down >> step)
        if (up << step) & mine:
            found |= up
        if (down >> step) & mine:
            found |= down
    return found


@dataclass(frozen=True, slots=True)
class Position:
    """Where the discs are, as a set of squares for each seat, and who is to move: None when nobody can."""

    discs: tuple[int, int]
    turn: Seat | None

    @property
    def legal(self) -> int:
        """Where the seat to move may play."""
        if self.turn is None:
            return 0
        return moves(self.discs[self.turn], self.discs[other(self.turn)])

    @property
    def counts(self) -> tuple[int, int]:
        return self.discs[BLACK].bit_count(), self.discs[WHITE].bit_count()

    @property
    def leader(self) -> Seat | None:
        """Who has more discs; None when both have as many."""
        black, white = self.counts
        return None if black == white else (BLACK if black > white else WHITE)

    def turned(self, square: int) -> int:
        """What the seat to move turns by playing there. Raises IllegalMoveError."""
        if self.turn is None:
            raise IllegalMoveError("The game is over.")
        mine, theirs = self.discs[self.turn], self.discs[other(self.turn)]
        if not 0 <= square < 64 or (mine | theirs) >> square & 1:
            raise IllegalMoveError("That square is not free.")
        found = turned(mine, theirs, square)
        if not found:
            raise IllegalMoveError("That move turns no disc.")
        return found

    def play(self, square: int) -> Position:
        """The position after a move of the seat to move. Who cannot move passes, which is nobody's choice: the turn of
        the new position is with the next who can. Raises IllegalMoveError.
        """
        flipped = self.turned(square)
        mover = BLACK if self.turn == BLACK else WHITE
        mine = self.discs[mover] | flipped | 1 << square
        theirs = self.discs[other(mover)] & ~flipped
        turn: Seat | None = other(mover)
        if not moves(theirs, mine):
            turn = mover if moves(mine, theirs) else None
        return Position((mine, theirs) if mover == BLACK else (theirs, mine), turn)


def _at(*names: str) -> int:
    return sum(1 << square_of(name) for name in names)


START: Final = Position((_at("e4", "d5"), _at("d4", "e5")), BLACK)


def perft(position: Position, depth: int) -> int:
    """How many ways there are to play `depth` moves: numbers that are known for the start, to test the rules by."""
    if depth == 0:
        return 1
    if depth == 1:
        return position.legal.bit_count()
    return sum(perft(position.play(square), depth - 1) for square in squares(position.legal))
