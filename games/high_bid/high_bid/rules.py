"""The game as pure functions. Seats are 0 and 1; a match is the order of its prizes and the bids of each round."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

CARDS = (1, 2, 3, 4, 5, 6, 7)
Seat: TypeAlias = Literal[0, 1]
SEATS: tuple[Seat, Seat] = (0, 1)


def other(seat: Seat) -> Seat:
    return 1 if seat == 0 else 0


def prize_order(match_id: str) -> tuple[int, ...]:
    """The prizes of a match: 1 to 7, in the order of SHA-256 of `match_id:prize`.

    Nothing but the match id goes in, so that both players meet the same game, and either can check it in any language.
    """
    return tuple(sorted(CARDS, key=lambda prize: hashlib.sha256(f"{match_id}:{prize}".encode()).digest()))


@dataclass(frozen=True, slots=True)
class Round:
    """A finished round: the prizes that were at stake (the new one last), the two bids, and who took them."""

    stake: tuple[int, ...]
    bids: tuple[int, int]
    taken_by: Seat | None


@dataclass(frozen=True, slots=True)
class Table:
    """Where a match stands. `carried` are prizes of tied rounds that wait for the next one; `prize` is the next prize,
    or None when all rounds are played.
    """

    rounds: tuple[Round, ...]
    hands: tuple[tuple[int, ...], tuple[int, ...]]
    points: tuple[int, int]
    carried: tuple[int, ...]
    prize: int | None


def play(prizes: Sequence[int], bids: Iterable[tuple[int, int]]) -> Table:
    """The table after these rounds. Raises ValueError for a card that is not in the hand, or a round too many."""
    rounds: list[Round] = []
    hands = [list(CARDS), list(CARDS)]
    points = [0, 0]
    carried: tuple[int, ...] = ()
    for pair in bids:
        if len(rounds) == len(prizes):
            raise ValueError("all rounds are played")
        for seat in SEATS:
            if pair[seat] not in hands[seat]:
                raise ValueError("the card is not in the hand")
            hands[seat].remove(pair[seat])
        stake = (*carried, prizes[len(rounds)])
        taken_by: Seat | None = None if pair[0] == pair[1] else (0 if pair[0] > pair[1] else 1)
        if taken_by is not None:
            points[taken_by] += sum(stake)
        carried = stake if taken_by is None else ()
        rounds.append(Round(stake, (pair[0], pair[1]), taken_by))
    over = len(rounds) == len(prizes)
    return Table(
        rounds=tuple(rounds),
        hands=(tuple(hands[0]), tuple(hands[1])),
        points=(points[0], points[1]),
        carried=() if over else carried,
        prize=None if over else prizes[len(rounds)],
    )


def best(table: Table) -> Seat | None:
    """Who is ahead: by points, then by the most valuable prize taken. None only when nobody has taken anything."""
    if table.points[0] != table.points[1]:
        return 0 if table.points[0] > table.points[1] else 1
    taken = [(max(round_.stake), round_.taken_by) for round_ in table.rounds if round_.taken_by is not None]
    return max(taken)[1] if taken else None
