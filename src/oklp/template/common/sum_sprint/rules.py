"""The game, as pure functions. Replace this room with a game of yours.

Everybody in a match gets the same sums and a minute. Each right answer is worth a hundred points, and each second that
is left one more.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeAlias

from oklp.sdk import MatchRandom

SUMS: Final = 5
RUN_MS: Final = 60_000
# For the answer's way here: a page sends it by itself when the time is up.
GRACE_MS: Final = 2_000
POINTS: Final = 100

Sum: TypeAlias = tuple[int, int]


def sums(match_id: str, secret: str) -> list[Sum]:
    """The sums of a match. A match's id is known to its players beforehand, so what they must not foresee comes from
    `secret`, which this server draws for each match.
    """
    random = MatchRandom(match_id).stream(secret)
    return [(random.between(11, 99), random.between(11, 99)) for _ in range(SUMS)]


def score(asked: Sequence[Sum], answers: Sequence[int | None], taken_ms: int) -> int:
    """Points for answers, of which None is one that was left out. `taken_ms` is by the server's clock."""
    if taken_ms > RUN_MS + GRACE_MS:
        return 0
    right = sum(answer == a + b for (a, b), answer in zip(asked, answers, strict=True))
    return right * POINTS + max(0, RUN_MS - taken_ms) // 1000 if right else 0
