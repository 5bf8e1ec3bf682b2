"""The rules of Tile Rush: a board that follows from random numbers and taps alone. `rules.js` is their twin.

The board has COLUMNS columns of ROWS tiles, of KINDS kinds. A tap clears the group of equal tiles that the tapped one
is in (beside, above and below; at least two), what is above falls, and each column is filled from an endless stack of
its own. The stacks follow from the match, so everybody meets the same tiles in each column, however they play.

- A group of n tiles is worth 5 x n x (n - 1) points, times the multiplier that is shown.
- Four or more raise the multiplier by one, up to MOST; three leave it; two put it back to one.
- Six or more leave a burst where the tap was. A burst that is tapped clears its row and its column, and sets off every
  burst there; each tile of it is worth 15 points, times the multiplier, which it raises.
- On a board without any move the bottom row is taken away, until there is one.

All numbers are whole ones, so that a server and a browser agree to the point.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, TypeAlias

from oklp.sdk import MatchRandom

COLUMNS: Final = 7
ROWS: Final = 8
KINDS: Final = 5
BURST: Final = KINDS

RAISES: Final = 4
LEAVES_BURST: Final = 6
MOST: Final = 5
GROUP_POINTS: Final = 5
BURST_POINTS: Final = 15

# A tap waits for the tiles of the one before to fall: the same for a thumb, a mouse, a keyboard and a program.
GAP_MS: Final = 200

Cell: TypeAlias = tuple[int, int]
"""Column from the left and row from the bottom, both from 0."""


class ImpossibleMoveError(ValueError):
    """A tap that the rules do not know; the text says why."""


@dataclass(frozen=True, slots=True)
class Turn:
    """What a tap did. `cleared` are the cells whose tiles are gone, `burst` the cell where one was left."""

    cleared: frozenset[Cell]
    size: int
    points: int
    multiplier: int
    burst: Cell | None


class Board:
    """A game under way. `random` is what the tiles are drawn from."""

    def __init__(self, random: MatchRandom) -> None:
        self._stacks = [random.stream(f"column {x}") for x in range(COLUMNS)]
        self.columns: list[list[int]] = [[] for _ in range(COLUMNS)]
        self.score = 0
        self.multiplier = 1
        self.turns = 0
        self.largest = 0
        self._fill()
        self._make_playable()

    def tile(self, cell: Cell) -> int:
        return self.columns[cell[0]][cell[1]]

    def group(self, cell: Cell) -> frozenset[Cell]:
        """The tiles that a tap there clears: just the one where there is nothing to clear."""
        return self._blast(cell) if self.tile(cell) == BURST else self._equal(cell)

    def groups(self) -> list[frozenset[Cell]]:
        """Every possible move, once."""
        found: list[frozenset[Cell]] = []
        seen: set[Cell] = set()
        for cell in _cells():
            if self.tile(cell) == BURST:
                found.append(self._blast(cell))
            elif cell not in seen:
                group = self._equal(cell)
                seen |= group
                if len(group) > 1:
                    found.append(group)
        return found

    def where(self, group: frozenset[Cell]) -> list[Cell]:
        """The cells to tap for one of `groups`."""
        return sorted(cell for cell in group if self.tile(cell) == BURST) or sorted(group)

    def tap(self, x: int, y: int) -> Turn:
        """Clear what is there. Raises ImpossibleMoveError, and changes nothing then."""
        if not (0 <= x < COLUMNS and 0 <= y < ROWS):
            raise ImpossibleMoveError("there is no such tile on the board")
        cell = (x, y)
        is_burst = self.tile(cell) == BURST
        group = self.group(cell)
        size = len(group)
        if size < 2:
            raise ImpossibleMoveError("a tile that stands alone cannot be cleared")
        multiplier = self.multiplier
        points = multiplier * (BURST_POINTS * size if is_burst else GROUP_POINTS * size * (size - 1))
        leaves = not is_burst and size >= LEAVES_BURST
        self.score += points
        self.turns += 1
        self.largest = max(self.largest, size)
        if is_burst or size >= RAISES:
            self.multiplier = min(MOST, multiplier + 1)
        elif size == 2:
            self.multiplier = 1
        if leaves:
            self.columns[x][y] = BURST
            group -= {cell}
        self._take_away(group)
        self._make_playable()
        return Turn(group, size, points, multiplier, cell if leaves else None)

    def _make_playable(self) -> None:
        while not self._has_move():
            self._take_away(frozenset((x, 0) for x in range(COLUMNS)))

    def _take_away(self, group: frozenset[Cell]) -> None:
        for x, column in enumerate(self.columns):
            column[:] = [tile for y, tile in enumerate(column) if (x, y) not in group]
        self._fill()

    def _fill(self) -> None:
        for column, stack in zip(self.columns, self._stacks, strict=True):
            while len(column) < ROWS:
                column.append(stack.below(KINDS))

    def _has_move(self) -> bool:
        return any(
            self.tile(cell) == BURST or any(self.tile(cell) == self.tile(other) for other in _beside(cell))
            for cell in _cells()
        )

    def _equal(self, cell: Cell) -> frozenset[Cell]:
        kind = self.tile(cell)
        group, waiting = {cell}, [cell]
        while waiting:
            for other in _beside(waiting.pop()):
                if other not in group and self.tile(other) == kind:
                    group.add(other)
                    waiting.append(other)
        return frozenset(group)

    def _blast(self, cell: Cell) -> frozenset[Cell]:
        group: set[Cell] = set()
        waiting, gone_off = [cell], {cell}
        while waiting:
            at_x, at_y = waiting.pop()
            line = [*((x, at_y) for x in range(COLUMNS)), *((at_x, y) for y in range(ROWS))]
            group.update(line)
            more = {other for other in line if self.tile(other) == BURST} - gone_off
            gone_off |= more
            waiting.extend(more)
        return frozenset(group)


def _cells() -> Iterator[Cell]:
    return ((x, y) for x in range(COLUMNS) for y in range(ROWS))


def _beside(cell: Cell) -> list[Cell]:
    x, y = cell
    around = ((x - 1, y), (x + 1, y), (x, y - 1), (x, y + 1))
    return [(a, b) for a, b in around if 0 <= a < COLUMNS and 0 <= b < ROWS]
