"""Who gets what of a pot, written from the contract (A7, B3, B6) and not from the platform's code.

The fee is rounded down, and so is the studio's share of it. The rest is the places': of those that a team took, by
their shares and the largest remainder. Teams of one rank share what the places that they cover are worth, members of a
team share its prize, and single units that are left over go to whoever stands first. Forfeited teams take no place.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

BPS = 10_000


class Standing(NamedTuple):
    """A team in the end. `score` is what is shown for it: None for none."""

    members: tuple[int, ...]
    rank: int
    forfeit: bool


class Takings(NamedTuple):
    """Of one match, minor units. `pot` is nothing when everybody was refunded."""

    pot: int = 0
    platform: int = 0
    studio: int = 0


NOTHING = Takings()


class Divided(NamedTuple):
    takings: Takings
    prizes: dict[int, int]


def rank(scores: Sequence[Sequence[int | None]], *, low_wins: bool) -> list[tuple[int, bool]]:
    """Rank and forfeit of each team from its members' scores: None is a result that did not come.

    The sum of a team counts. When the lowest wins, a missing result must not be worth a perfect one: who misses fewer
    is in front. A team of which nobody has a result has forfeited. Ties share a rank, written 1,1,3.
    """
    merits: list[tuple[int, int, int]] = []  # the greater, the better
    for team in scores:
        there = [score for score in team if score is not None]
        if not there:
            merits.append((0, 0, 0))
        elif low_wins:
            merits.append((1, len(there), -sum(there)))
        else:
            merits.append((1, 0, sum(there)))
    return [(1 + sum(other > own for other in merits), own[0] == 0) for own in merits]


def divide(
    pot: int, fee_bps: int, studio_share_bps: int, shares: Sequence[int], standings: Sequence[Standing]
) -> Divided | None:
    """Divide a pot; None when nobody played, and everybody is to be refunded."""
    by_rank: dict[int, list[Standing]] = {}
    for team in standings:
        if not team.forfeit:
            by_rank.setdefault(team.rank, []).append(team)
    playing = sum(map(len, by_rank.values()))
    if not playing:
        return None
    fee = pot * fee_bps // BPS
    studio = fee * studio_share_bps // BPS
    worth = in_proportion(pot - fee, shares[:playing])
    prizes: dict[int, int] = {}
    for place in sorted(by_rank):
        teams = by_rank[place]
        together = sum(worth[: len(teams)])
        worth = worth[len(teams) :]
        for team, prize in zip(teams, in_proportion(together, [1] * len(teams)), strict=True):
            own = in_proportion(prize, [1] * len(team.members))
            prizes.update((who, amount) for who, amount in zip(team.members, own, strict=True) if amount)
    return Divided(Takings(pot, fee - studio, studio), prizes)


def in_proportion(total: int, weights: Sequence[int]) -> list[int]:
    """Largest remainder: exact parts rounded down, then a unit each to those who lost most by it, the first first."""
    whole = sum(weights)
    parts = [total * weight // whole for weight in weights]
    lost = [total * weight % whole for weight in weights]
    for _ in range(total - sum(parts)):
        most = lost.index(max(lost))
        parts[most] += 1
        lost[most] = -1
    return parts
