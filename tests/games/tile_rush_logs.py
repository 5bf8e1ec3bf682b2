"""Boards and logs for the tests of Tile Rush."""

from __future__ import annotations

import random

from games.tile_rush.tile_rush.rules import Board
from oklp.sdk import MatchRandom
from tests.sdk.stand_in import MATCH_ID

DURATION_MS = 75_000
TILES = "tiles of a test"


def board_of(seed: object) -> Board:
    return Board(MatchRandom(MATCH_ID).stream(str(seed)))


def some_taps(board: Board, chance: random.Random, length: int) -> list[list[int]]:
    """Columns and rows of possible taps, played on the board."""
    taps = []
    for _ in range(length):
        x, y = chance.choice(board.where(chance.choice(board.groups())))
        board.tap(x, y)
        taps.append([x, y])
    return taps
