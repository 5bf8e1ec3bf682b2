"""A lobby keeps room for others, whatever one player does with his own seat or with invitations."""

from __future__ import annotations

from itertools import count
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oklp.domain import matches as rules
from oklp.domain.matches import Lobby
from oklp.errors import LimitReached, MatchFull, OklpError


class Table:
    """A public match that `ann` has made; who pays for a seat is remembered, as the ledger does."""

    def __init__(self, teams: int = 2, size: int = 1) -> None:
        self._ids = count()
        self.lobby = Lobby([f"t{n}" for n in range(teams)], size)
        self.paid: set[str] = set()
        self.join("ann")

    def unpaid(self, *names: str) -> frozenset[str]:
        return frozenset(seat.id for seat in self.lobby.given_up(names)) - self.paid

    def join(self, name: str) -> None:
        self.lobby.join(f"s{next(self._ids)}", name, name, None, self.unpaid(name))

    def invite(self, name: str) -> None:
        self.lobby.invite(f"s{next(self._ids)}", name, name, self.unpaid(name))

    def pay(self, name: str) -> None:
        seat = self.lobby.confirm(name)
        assert seat is not None
        self.paid.add(seat.id)

    def leave(self, name: str) -> None:
        self.lobby.leave(name)

    def rows(self, name: str) -> int:
        return sum(seat.user_id == name for seat in self.lobby.seats)


def test_coming_and_going_without_paying_takes_no_room() -> None:
    table = Table()
    for _ in range(3 * rules.MAX_SEATS):
        table.join("eve")
        table.leave("eve")
    assert table.rows("eve") == 1
    table.join("bob")
    assert [seat.user_id for seat in table.lobby.taken("t1")] == ["bob"]


def test_paying_and_leaving_is_bounded_for_the_one_who_does_it() -> None:
    table = Table()
    for _ in range(rules.MAX_RETURNS):
        table.join("eve")
        table.pay("eve")
        table.leave("eve")
    assert len(table.paid) == rules.MAX_RETURNS == table.rows("eve"), "money is held for each seat once"
    with pytest.raises(LimitReached):
        table.join("eve")
    table.invite("eve")
    with pytest.raises(LimitReached):
        table.join("eve")
    table.join("bob")


def test_invitations_take_no_room_from_those_who_join() -> None:
    table = Table(size=2)
    table.join("eve")
    for n in range(rules.MAX_INVITATIONS):
        table.invite(f"friend-{n}")
    with pytest.raises(MatchFull):
        table.invite("one-more")
    table.leave("eve")
    table.join("bob")
    table.join("friend-7")


def test_declining_and_being_invited_anew_takes_no_room() -> None:
    table = Table(size=2)
    for _ in range(3 * rules.MAX_INVITATIONS):
        table.invite("eve")
        table.lobby.decline("eve")
    for _ in range(3 * rules.MAX_SEATS):
        table.invite("eve")
        table.join("eve")
        table.leave("eve")
    assert table.rows("eve") <= 3
    assert any(seat.state == rules.LEFT for seat in table.lobby.seats), "that she was in the match is not forgotten"
    table.join("bob")


def test_who_comes_back_stands_last() -> None:
    table = Table(teams=2, size=2)
    table.join("bob")
    table.leave("ann")
    table.join("cem")
    table.join("ann")
    roster: list[Any] = table.lobby.roster()
    assert [[user for user, _ in members] for _, members in roster] == [["cem", "ann"], ["bob"]]


NAMES = ["ann", "bob", "eve"]
ACTS = ["join", "leave", "invite", "decline", "pay"]


@given(st.lists(st.tuples(st.sampled_from(ACTS), st.sampled_from(NAMES)), max_size=60))
def test_whatever_is_done_seats_stay_as_the_database_wants_them(acts: list[tuple[str, str]]) -> None:
    table = Table(teams=2, size=2)
    for act, name in acts:
        try:
            table.lobby.decline(name) if act == "decline" else getattr(table, act)(name)
        except (OklpError, AssertionError):
            continue
        seats = table.lobby.seats
        assert len({seat.position for seat in seats}) == len(seats) == len({seat.id for seat in seats})
        assert all((seat.state in rules.TAKEN) == (seat.slot is not None) for seat in seats)
        active = [seat.user_id for seat in seats if seat.state in rules.ACTIVE]
        assert len(set(active)) == len(active)
        assert all(seat.state in (rules.LEFT, rules.CONFIRMED) for seat in seats if seat.id in table.paid)
        for other in NAMES:
            assert table.rows(other) <= 3 + sum(seat.user_id == other and seat.id in table.paid for seat in seats)
