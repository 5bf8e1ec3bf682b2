"""From the pot to fees and prizes, in integer minor units.

    pot ─┬─ fee: fee_bps of the pot, rounded down ─┬─ studio_fee: studio_share_bps of the fee, rounded down
         │                                         └─ platform_fee: the rest
         └─ prizes: by place, then by team, then by member

Nothing is ever lost to rounding: whatever is rounded off one part is in another, and the parts are added up before they
leave here. Bad input to this module is a bug of the caller and raises InvariantBroken.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from oklp.domain.ledger import MAX_AMOUNT
from oklp.domain.results import Ranking, TeamStanding
from oklp.errors import InvariantBroken

BPS = 10_000
_WINNER_TAKES_ALL = (1,)


class Payout(NamedTuple):
    """Who gets what, in minor units: pot == platform_fee + studio_fee + prizes, unless `refunds` is true.

    `prizes` are (user id, amount) in the order of teams and members, without those who get nothing. With `refunds` no
    one played: fees and prizes are nil, and every entry fee goes back.
    """

    pot: int
    platform_fee: int
    studio_fee: int
    prizes: tuple[tuple[str, int], ...]
    refunds: bool


def entry_pot(entry_fee: int, players: int) -> int:
    """What `players` entry fees (minor units) add up to."""
    _check_range("entry fee", entry_fee, MAX_AMOUNT)
    _check_range("number of players", players, MAX_AMOUNT)
    pot = entry_fee * players
    _check_range("pot", pot, MAX_AMOUNT)
    return pot


def pay_out(
    pot: int,
    fee_bps: int,
    studio_share_bps: int,
    prize_shares_bps: Sequence[int] | None,
    ranking: Ranking,
) -> Payout:
    """Divide a pot by a ranking.

    `fee_bps` is the fee in basis points of the pot, `studio_share_bps` the studio's share in basis points of the fee.
    `prize_shares_bps` are the weights of the places, best first; None is winner takes all. Forfeited teams take no
    place. When fewer teams played than there are shares, the shares of the places that nobody took go to the others in
    proportion. Ranks only order the teams, so dense and competition ranks come to the same.
    """
    _check_range("pot", pot, MAX_AMOUNT)
    _check_range("fee in basis points", fee_bps, BPS)
    _check_range("studio share in basis points", studio_share_bps, BPS)
    if not ranking.teams:
        raise InvariantBroken("a ranking without teams cannot be paid out")
    if all(team.forfeit for team in ranking.teams):
        return Payout(pot, 0, 0, (), True)

    fee = pot * fee_bps // BPS
    studio_fee = fee * studio_share_bps // BPS
    platform_fee = fee - studio_fee
    pool = pot - fee
    weights = _WINNER_TAKES_ALL if prize_shares_bps is None else prize_shares_bps
    team_prizes = _team_prizes(pool, weights, ranking.teams)
    if sum(team_prizes) != pool:
        raise InvariantBroken(f"the teams' prizes {team_prizes} do not sum to the prize pool of {pool}")

    prizes: list[tuple[str, int]] = []
    paid = 0
    for team, prize in zip(ranking.teams, team_prizes, strict=True):
        if not prize:
            continue
        members = team.user_ids
        if len(members) == 1:
            prizes.append((members[0], prize))
            paid += prize
            continue
        for user_id, amount in zip(members, _split_evenly(prize, len(members)), strict=True):
            if amount:
                prizes.append((user_id, amount))
                paid += amount
    if platform_fee + studio_fee + paid != pot:
        raise InvariantBroken(f"{platform_fee} + {studio_fee} + prizes of {paid} is not the pot of {pot}")
    return Payout(pot, platform_fee, studio_fee, tuple(prizes), False)


def _team_prizes(pool: int, weights: Sequence[int], teams: Sequence[TeamStanding]) -> list[int]:
    """The prize of each team, in the order of `teams`. Tied teams share what the places they cover are worth."""
    places = [index for index, team in enumerate(teams) if not team.forfeit]
    places.sort(key=lambda index: teams[index].ranking)  # stable: tied teams stay in team order
    worths = apportion(pool, weights[: len(places)])
    prizes = [0] * len(teams)
    start = 0
    while start < len(worths):
        ranking = teams[places[start]].ranking
        end = start + 1
        while end < len(places) and teams[places[end]].ranking == ranking:
            end += 1
        if end == start + 1:
            prizes[places[start]] = worths[start]
            start = end
            continue
        # Of the last teams in the money some places may be worth nothing: the slice is then shorter than the tie.
        shares = _split_evenly(sum(worths[start:end]), end - start)
        for index, share in zip(places[start:end], shares, strict=True):
            prizes[index] = share
        start = end
    return prizes


def apportion(total: int, weights: Sequence[int]) -> list[int]:
    """Divide `total` in proportion to `weights` (each above zero) by largest remainder.

    Each part is its exact quota rounded down or up, and they sum to `total`. Of equal remainders the earlier part is
    rounded up first, so that descending weights never give a later part more than an earlier one.
    """
    _check_range("total", total, MAX_AMOUNT)
    for weight in weights:
        if type(weight) is not int or weight <= 0:
            raise InvariantBroken(f"the weight {weight!r} is not a positive integer")
    if not weights:
        raise InvariantBroken("a total cannot be divided among no weights")
    if len(weights) == 1:
        return [total]
    whole = sum(weights)
    divided = [divmod(total * weight, whole) for weight in weights]
    parts = [quotient for quotient, _ in divided]
    leftover = total - sum(parts)
    if leftover:
        by_remainder = sorted(range(len(parts)), key=lambda index: -divided[index][1])
        for index in by_remainder[:leftover]:
            parts[index] += 1
    return parts


def _split_evenly(total: int, count: int) -> list[int]:
    """`count` parts that differ by one minor unit at the most; the earlier ones have it."""
    if count < 1:
        raise InvariantBroken(f"{total} cannot be split among nobody")
    share, leftover = divmod(total, count)
    return [share + 1] * leftover + [share] * (count - leftover)


def _check_range(what: str, value: int, maximum: int) -> None:
    if type(value) is not int or not 0 <= value <= maximum:
        raise InvariantBroken(f"the {what} is {value!r}, and must be an integer from 0 to {maximum}")
