"""Posting sets balance whatever goes in, and names and purposes mean one thing each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oklp.domain import ledger
from oklp.domain.ledger import MAX_AMOUNT, Posting, PostingSet, posting_set
from oklp.errors import InvariantBroken

properties = settings(deadline=None)

MATCH = "600f369851f450dd3ecb0035"
amounts = st.integers(1, MAX_AMOUNT)
signed_amounts = st.integers(-MAX_AMOUNT, MAX_AMOUNT)
plain_ids = st.text("abc019-_", min_size=1, max_size=6)
any_ids = st.text("ab:", min_size=1, max_size=6)
entry_lists = st.lists(st.tuples(st.sampled_from("abcde"), st.integers(-50, 50)), max_size=8)


def balances(made: PostingSet) -> dict[str, int]:
    return dict(made.postings)


def balanced(entries: list[tuple[str, int]]) -> list[tuple[str, int]]:
    """The same entries and one more, on an account of its own, that brings the sum to zero."""
    return [*entries, ("rest", -sum(amount for _, amount in entries))]


# --- posting_set -----------------------------------------------------------------------------------------------------


@properties
@given(entry_lists)
def test_a_set_is_the_sum_of_its_entries_by_account(entries: list[tuple[str, int]]) -> None:
    entries = balanced(entries)
    expected: Counter[str] = Counter()
    for account, amount in entries:
        expected[account] += amount
    moved = {account: amount for account, amount in expected.items() if amount != 0}
    if not moved:
        with pytest.raises(InvariantBroken):
            posting_set("s", "XTS", entries)
        return

    made = posting_set("s", "XTS", iter(entries))

    assert (made.set_id, made.currency) == ("s", "XTS")
    assert balances(made) == moved
    assert len(made.postings) == len(moved) >= 2
    assert sum(posting.amount for posting in made.postings) == 0
    order = [account for account, _ in entries]
    positions = [order.index(posting.account) for posting in made.postings]
    assert positions == sorted(positions)


@properties
@given(entry_lists, signed_amounts.filter(bool))
def test_entries_that_do_not_sum_to_zero_are_refused(entries: list[tuple[str, int]], excess: int) -> None:
    with pytest.raises(InvariantBroken, match="sum to"):
        posting_set("s", "XTS", [*balanced(entries), ("more", excess)])


@pytest.mark.parametrize("amount", [True, False, 1.0, 0.0, Decimal(1), "1", None])
def test_only_integers_are_amounts(amount: Any) -> None:
    with pytest.raises(InvariantBroken, match="not an integer"):
        posting_set("s", "XTS", [("a", amount), ("b", -1)])


@pytest.mark.parametrize("entries", [[], [("a", 0)], [("a", 0), ("b", 0)], [("a", 5), ("a", -5)]])
def test_a_set_that_moves_nothing_is_refused(entries: list[tuple[str, int]]) -> None:
    with pytest.raises(InvariantBroken, match="nothing moves"):
        posting_set("s", "XTS", entries)


def test_postings_stay_within_what_json_keeps_exact() -> None:
    assert MAX_AMOUNT == 2**53 - 1
    largest = posting_set("s", "XTS", [("a", MAX_AMOUNT), ("b", -MAX_AMOUNT)])
    assert largest.postings == (Posting("a", MAX_AMOUNT), Posting("b", -MAX_AMOUNT))
    for sign in (1, -1):
        with pytest.raises(InvariantBroken, match="out of range"):
            posting_set("s", "XTS", [("a", sign * 2**53), ("b", sign * -1), ("c", sign * -MAX_AMOUNT)])
    with pytest.raises(InvariantBroken, match="out of range"):
        posting_set("s", "XTS", [("a", MAX_AMOUNT), ("a", 1), ("b", -MAX_AMOUNT), ("c", -1)])


# --- Accounts and purposes -------------------------------------------------------------------------------------------


@properties
@given(any_ids)
def test_an_account_splits_into_what_it_was_made_of(owner: str) -> None:
    made = {
        "player": ledger.player_account(owner),
        "escrow": ledger.escrow_account(owner),
        "held": ledger.held_account(owner),
        "studio": ledger.studio_account(owner),
        "clearing": ledger.clearing_account(owner),
    }
    for kind, account in made.items():
        assert account == f"{kind}:{owner}"
        assert ledger.split_account(account) == (kind, owner)


def test_the_platforms_fees_are_a_house_account() -> None:
    assert ledger.PLATFORM_FEES == "house:fees"
    assert ledger.split_account(ledger.PLATFORM_FEES) == ("house", "fees")


@pytest.mark.parametrize("account", ["", ":", "player", "player:", ":u1", "bank:1", "Player:u1", "match:m:settle"])
def test_what_is_no_account_does_not_split(account: str) -> None:
    with pytest.raises(InvariantBroken):
        ledger.split_account(account)


@pytest.mark.parametrize(
    ("set_id", "text", "kind", "match_id"),
    [
        (ledger.hold_purpose(MATCH, "s1"), f"match:{MATCH}:hold:s1", "hold", MATCH),
        (ledger.refund_purpose(MATCH, "s1"), f"match:{MATCH}:refund:s1", "refund", MATCH),
        (ledger.settle_purpose(MATCH), f"match:{MATCH}:settle", "settle", MATCH),
        (ledger.held_purpose(MATCH, "u1"), f"match:{MATCH}:held:u1", "held", MATCH),
        (ledger.deposit_purpose("p1"), "deposit:p1", "deposit", None),
        (ledger.withdrawal_purpose("p1"), "withdrawal:p1", "withdrawal", None),
        (ledger.grant_purpose("g1"), "grant:g1", "grant", None),
    ],
)
def test_a_purpose_says_its_kind_and_match(set_id: str, text: str, kind: str, match_id: str | None) -> None:
    assert set_id == text
    assert ledger.kind_of(set_id) == kind
    assert ledger.match_of(set_id) == match_id


of_members = {"hold": ledger.hold_purpose, "refund": ledger.refund_purpose, "held": ledger.held_purpose}
of_payments = {
    "deposit": ledger.deposit_purpose,
    "withdrawal": ledger.withdrawal_purpose,
    "grant": ledger.grant_purpose,
}
purposes = st.one_of(
    st.tuples(st.sampled_from(sorted(of_members)), st.text("ab", min_size=1, max_size=2), any_ids),
    st.tuples(st.just("settle"), st.text("ab", min_size=1, max_size=2), st.none()),
    st.tuples(st.sampled_from(sorted(of_payments)), st.none(), any_ids),
)


def written(purpose: tuple[str, str | None, str | None]) -> str:
    kind, match_id, member = purpose
    if kind in of_payments:
        return of_payments[kind](member or "")
    return ledger.settle_purpose(match_id or "") if member is None else of_members[kind](match_id or "", member)


@properties
@given(purposes, purposes)
def test_two_purposes_never_share_an_id(
    one: tuple[str, str | None, str | None], other: tuple[str, str | None, str | None]
) -> None:
    assert (written(one) == written(other)) == (one == other)
    assert (ledger.kind_of(written(one)), ledger.match_of(written(one))) == one[:2]


@pytest.mark.parametrize(
    "set_id",
    [
        "",
        "deposit",
        "deposit:",
        "hold:s1",
        "payment:p1",
        "match",
        "match:",
        "match:m",
        "match:m:",
        "match:m:hold",
        "match:m:hold:",
        "match:m:settle:",
        "match:m:settle:s1",
        "match::settle",
        "match::hold:s1",
        "match:m:deposit:p1",
        "Match:m:settle",
    ],
)
def test_what_is_no_purpose_has_no_kind_and_no_match(set_id: str) -> None:
    with pytest.raises(InvariantBroken):
        ledger.kind_of(set_id)
    with pytest.raises(InvariantBroken):
        ledger.match_of(set_id)


@pytest.mark.parametrize(
    "make",
    [
        lambda: ledger.settle_purpose(""),
        lambda: ledger.settle_purpose("m:hold:s1"),
        lambda: ledger.hold_purpose("m:hold", "s1"),
        lambda: ledger.hold_purpose("m", ""),
        lambda: ledger.deposit_purpose(""),
        lambda: ledger.player_account(""),
    ],
)
def test_ids_that_would_blur_a_name_are_refused(make: Callable[[], str]) -> None:
    with pytest.raises(InvariantBroken):
        make()


# --- Movements -------------------------------------------------------------------------------------------------------

movements: dict[str, tuple[Callable[[int], PostingSet], str, str, str]] = {
    "hold": (
        lambda amount: ledger.hold(MATCH, "s1", "u1", amount, "EUR"),
        f"match:{MATCH}:hold:s1",
        "player:u1",
        f"escrow:{MATCH}",
    ),
    "refund": (
        lambda amount: ledger.refund(MATCH, "s1", "u1", amount, "EUR"),
        f"match:{MATCH}:refund:s1",
        f"escrow:{MATCH}",
        "player:u1",
    ),
    "deposit": (
        lambda amount: ledger.deposit("p1", "u1", amount, "EUR", "sandbox"),
        "deposit:p1",
        "clearing:sandbox",
        "player:u1",
    ),
    "withdrawal": (
        lambda amount: ledger.withdrawal("p1", "u1", amount, "EUR", "sandbox"),
        "withdrawal:p1",
        "player:u1",
        "clearing:sandbox",
    ),
    "grant": (
        lambda amount: ledger.grant("g1", "u1", amount, "EUR"),
        "grant:g1",
        "clearing:grant",
        "player:u1",
    ),
}


@pytest.mark.parametrize("name", movements)
@properties
@given(amount=amounts)
def test_a_movement_takes_from_one_account_what_it_gives_to_another(name: str, amount: int) -> None:
    make, set_id, source, target = movements[name]
    assert make(amount) == PostingSet(set_id, "EUR", (Posting(source, -amount), Posting(target, amount)))
    assert ledger.kind_of(set_id) == name


@pytest.mark.parametrize("name", movements)
@pytest.mark.parametrize("amount", [0, -1, -MAX_AMOUNT, MAX_AMOUNT + 1, True, 1.0, None])
def test_a_movement_of_anything_but_a_positive_amount_is_refused(name: str, amount: Any) -> None:
    with pytest.raises(InvariantBroken):
        movements[name][0](amount)


def test_a_hold_and_its_refund_leave_nothing_behind() -> None:
    taken, given_back = ledger.hold(MATCH, "s1", "u1", 500, "EUR"), ledger.refund(MATCH, "s1", "u1", 500, "EUR")
    total = Counter(balances(taken))
    total.update(balances(given_back))
    assert set(total.values()) == {0}
    assert taken.set_id != given_back.set_id


# --- settle ----------------------------------------------------------------------------------------------------------


@properties
@given(
    st.integers(0, 10**6),
    st.integers(0, 10**6),
    st.lists(st.tuples(st.sampled_from(["u1", "u2", "u3", "u4"]), st.integers(0, 10**6)), max_size=6),
    st.frozensets(st.sampled_from(["u1", "u2", "u3", "u4"])),
)
def test_settling_empties_the_escrow_to_those_it_belongs_to(
    platform_fee: int, studio_fee: int, prizes: list[tuple[str, int]], held: frozenset[str]
) -> None:
    pot = platform_fee + studio_fee + sum(amount for _, amount in prizes)
    if not pot:
        with pytest.raises(InvariantBroken):
            ledger.settle(MATCH, "EUR", pot, platform_fee, "st", studio_fee, prizes, held)
        return

    made = ledger.settle(MATCH, "EUR", pot, platform_fee, "st", studio_fee, iter(prizes), held)

    won: Counter[str] = Counter()
    for user_id, amount in prizes:
        won[user_id] += amount
    expected = {f"escrow:{MATCH}": -pot, "house:fees": platform_fee, "studio:st": studio_fee}
    expected |= {f"held:{user_id}" if user_id in held else f"player:{user_id}": won[user_id] for user_id in won}
    assert balances(made) == {account: amount for account, amount in expected.items() if amount}
    assert made.set_id == f"match:{MATCH}:settle"
    assert made.currency == "EUR"


@properties
@given(st.integers(1, 1000), st.integers(0, 300), st.integers(0, 300), st.integers(0, 600))
def test_settling_pays_out_the_pot_and_nothing_else(pot: int, platform_fee: int, studio_fee: int, prize: int) -> None:
    if platform_fee + studio_fee + prize == pot:
        pot += 1
    with pytest.raises(InvariantBroken, match="pot"):
        ledger.settle(MATCH, "EUR", pot, platform_fee, "st", studio_fee, [("u1", prize)])


@pytest.mark.parametrize(
    ("pot", "platform_fee", "studio_fee", "prizes"),
    [
        (100, -10, 10, [("u1", 100)]),
        (100, 10, -10, [("u1", 100)]),
        (100, 0, 0, [("u1", 150), ("u2", -50)]),
        (0, 0, 0, []),
        (-100, 0, 0, [("u1", -100)]),
        (100.0, 0, 0, [("u1", 100)]),
        (100, 10.0, 0, [("u1", 90)]),
        (100, 0, 10.0, [("u1", 90)]),
        (100, 10, 0, [("u1", 90.0)]),
        (1, 0, 0, [("u1", True)]),
        (True, 0, 0, [("u1", 1)]),
        (MAX_AMOUNT + 1, 1, 0, [("u1", MAX_AMOUNT)]),
    ],
)
def test_settling_with_wrong_amounts_is_refused(
    pot: Any, platform_fee: Any, studio_fee: Any, prizes: list[tuple[str, Any]]
) -> None:
    with pytest.raises(InvariantBroken):
        ledger.settle(MATCH, "EUR", pot, platform_fee, "st", studio_fee, prizes)
