"""Who gets what of a pot, worked out a second time, in fractions and from the words of the contract.

The fee is `fee_bps` of the pot, the studio's share is `studio_share_bps` of the fee, both rounded down. The rest is for
the places: the shares of those that are taken, by largest remainder. Ties share the prizes of the places they cover, a
team's prize is split evenly, and what is left over goes in team order. Forfeited teams take nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import groupby
from math import floor
from typing import NamedTuple


class Standing(NamedTuple):
    """A team in the end: its members in the order of their seats, its rank, and whether it gave up."""

    members: tuple[str, ...]
    rank: int
    forfeit: bool


class Shares(NamedTuple):
    platform: int
    studio: int
    prizes: dict[str, int]


def evenly(amount: int, parts: int) -> list[int]:
    return [amount // parts + (1 if index < amount % parts else 0) for index in range(parts)]


def by_largest_remainder(amount: int, weights: Sequence[int]) -> list[int]:
    quotas = [Fraction(amount * weight, sum(weights)) for weight in weights]
    parts = [floor(quota) for quota in quotas]
    neediest = sorted(range(len(quotas)), key=lambda index: (parts[index] - quotas[index], index))
    for index in neediest[: amount - sum(parts)]:
        parts[index] += 1
    return parts


def share(
    pot: int, fee_bps: int, studio_share_bps: int, weights: Sequence[int] | None, standings: Sequence[Standing]
) -> Shares | None:
    """None when nobody played: then everyone is refunded."""
    playing = sorted((team for team in standings if not team.forfeit), key=lambda team: team.rank)
    if not playing:
        return None
    fee = pot * fee_bps // 10_000
    studio = fee * studio_share_bps // 10_000
    places = by_largest_remainder(pot - fee, list(weights or [1])[: len(playing)])
    places += [0] * (len(playing) - len(places))
    prizes: dict[str, int] = {}
    for _, tied in groupby(playing, key=lambda team: team.rank):
        teams = list(tied)
        worth, places = sum(places[: len(teams)]), places[len(teams) :]
        for team, prize in zip(teams, evenly(worth, len(teams)), strict=True):
            prizes.update(zip(team.members, evenly(prize, len(team.members)), strict=True))
    return Shares(fee - studio, studio, {user: amount for user, amount in prizes.items() if amount})


def fit_ranks(ranks: Sequence[int]) -> bool:
    """Ties share a rank, written 1,1,2 or 1,1,3; nothing else leaves a gap, and the first is 1."""
    dense = [len({other for other in ranks if other < rank}) + 1 for rank in ranks]
    competition = [sum(other < rank for other in ranks) + 1 for rank in ranks]
    return list(ranks) in (dense, competition)


def ranks_of_scores(scores: Sequence[Sequence[int | None]], *, low_wins: bool) -> list[tuple[int, bool]]:
    """Rank and forfeit of each team, from its members' scores (None: no result), written 1,1,3.

    A team's score is the sum of its members'. Nobody's result is missing to their advantage: where the lowest score
    wins, the team that misses more of them is behind. A team without any result has forfeited and is last.
    """
    keys: list[tuple[int, ...]] = []
    for team in scores:
        known = [score for score in team if score is not None]
        missing = len(team) - len(known)
        if not known:
            keys.append((1,))
        else:
            keys.append((0, missing, sum(known)) if low_wins else (0, 0, -sum(known)))
    return [(sum(other < key for other in keys) + 1, key == (1,)) for key in keys]
