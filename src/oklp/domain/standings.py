"""Who won a match, for what is kept about players: a win, a draw or a loss each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

Verdict = Literal["won", "drawn", "lost"]


def verdicts(teams: Sequence[tuple[int, bool]]) -> list[Verdict]:
    """For each team, given as (rank, whether it forfeited), what it made of the match.

    The first place wins, also when it is shared; when nobody is behind it, the match is drawn. Whoever forfeited lost.
    """
    best = min((rank for rank, forfeit in teams if not forfeit), default=0)
    drawn = all(rank == best and not forfeit for rank, forfeit in teams)

    def of(rank: int, forfeit: bool) -> Verdict:
        if forfeit or rank != best:
            return "lost"
        return "drawn" if drawn else "won"

    return [of(rank, forfeit) for rank, forfeit in teams]
