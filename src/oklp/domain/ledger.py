"""Double entry in integer minor units: names of accounts and purposes, and posting sets that balance by construction.

A posting set is one movement of money in one currency. Its id says what the movement is for and is unique in the
database, so that doing the same thing twice is impossible. Balances follow from postings: a player's, an escrow's and
a house account's balance is the sum of what was posted to it. Money enters and leaves through `clearing:` accounts,
whose negative balance is what the outside world has paid in and not yet got back.

    account                 holds
    player:<user>           what a player may spend
    escrow:<match>          entry fees of a match that is not over; zero once it is
    held:<user>             winnings of a suspended player, until an operator decides
    studio:<studio>         a studio's share of the fees
    clearing:<provider>     the other side of deposits, withdrawals and grants
    house:fees              the platform's fees

A wrong amount here is a bug and never a player's mistake, so every check raises InvariantBroken; whether a player can
afford something is decided before a set is built.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from typing import NamedTuple

from oklp.errors import InvariantBroken

# The largest integer that every JSON reader keeps exact (contract sections A7 and B2).
MAX_AMOUNT = 2**53 - 1

PLATFORM_FEES = "house:fees"
_ACCOUNT_KINDS = frozenset({"player", "escrow", "held", "studio", "clearing", "house"})

_PAYMENT_KINDS = frozenset({"deposit", "withdrawal", "grant"})
_MEMBER_KINDS = frozenset({"hold", "refund", "held"})


class Posting(NamedTuple):
    """One line of a set: signed minor units, positive when the account's balance grows."""

    account: str
    amount: int


class PostingSet(NamedTuple):
    """A movement of money: its postings sum to zero, name each account once and are never zero."""

    set_id: str
    currency: str
    postings: tuple[Posting, ...]


# --- Accounts --------------------------------------------------------------------------------------------------------


def player_account(user_id: str) -> str:
    return f"player:{_given(user_id)}"


def escrow_account(match_id: str) -> str:
    return f"escrow:{_given(match_id)}"


def held_account(user_id: str) -> str:
    return f"held:{_given(user_id)}"


def studio_account(studio_id: str) -> str:
    return f"studio:{_given(studio_id)}"


def clearing_account(provider: str) -> str:
    return f"clearing:{_given(provider)}"


def split_account(account: str) -> tuple[str, str]:
    """The kind and the id of an account, as in the table above. InvariantBroken for anything that is not an account."""
    kind, _, owner = account.partition(":")
    if kind not in _ACCOUNT_KINDS or not owner:
        raise InvariantBroken(f"{account!r} is not an account")
    return kind, owner


# --- Purposes --------------------------------------------------------------------------------------------------------


def hold_purpose(match_id: str, seat_id: str) -> str:
    return _member_purpose(match_id, "hold", seat_id)


def refund_purpose(match_id: str, seat_id: str) -> str:
    return _member_purpose(match_id, "refund", seat_id)


def held_purpose(match_id: str, user_id: str) -> str:
    """For releasing or confiscating what `settle` held. One purpose for both, so that only one of them can happen."""
    return _member_purpose(match_id, "held", user_id)


def settle_purpose(match_id: str) -> str:
    return f"match:{_plain(match_id)}:settle"


def deposit_purpose(payment_id: str) -> str:
    return f"deposit:{_given(payment_id)}"


def withdrawal_purpose(payment_id: str) -> str:
    return f"withdrawal:{_given(payment_id)}"


def grant_purpose(grant_id: str) -> str:
    return f"grant:{_given(grant_id)}"


def kind_of(set_id: str) -> str:
    """What a set is for: hold, refund, settle, deposit, withdrawal, grant or held. InvariantBroken for another id."""
    return _read_purpose(set_id)[0]


def match_of(set_id: str) -> str | None:
    """The match that a set belongs to, None for payments and grants. InvariantBroken for an id that is no purpose."""
    return _read_purpose(set_id)[1]


def _read_purpose(set_id: str) -> tuple[str, str | None]:
    # A seat or payment id is the last part and may itself contain colons; a match id may not.
    scope, _, rest = set_id.partition(":")
    if scope in _PAYMENT_KINDS and rest:
        return scope, None
    if scope == "match":
        match_id, _, rest = rest.partition(":")
        kind, _, member = rest.partition(":")
        if match_id and ((kind in _MEMBER_KINDS and member) or rest == "settle"):
            return kind, match_id
    raise InvariantBroken(f"{set_id!r} is not the id of a posting set")


def _member_purpose(match_id: str, kind: str, member_id: str) -> str:
    return f"match:{_plain(match_id)}:{kind}:{_given(member_id)}"


def _given(name: str) -> str:
    if not name:
        raise InvariantBroken("an empty id cannot name an account or a posting set")
    return name


def _plain(match_id: str) -> str:
    # A colon would let two different purposes share one id, and the second of them would be taken for done.
    if not match_id or ":" in match_id:
        raise InvariantBroken(f"{match_id!r} cannot be the match of a posting set")
    return match_id


# --- Posting sets ----------------------------------------------------------------------------------------------------


def posting_set(set_id: str, currency: str, entries: Iterable[tuple[str, int]]) -> PostingSet:
    """Build a set from (account, signed minor units) pairs; the only way in which sets are made.

    Entries of one account become one posting, accounts that come out at zero are left out, and the order is that of
    first appearance. Raises InvariantBroken when an amount is not an int (a bool is none), when a posting is larger
    than MAX_AMOUNT, when the sum is not zero, and when nothing would move.
    """
    amounts: dict[str, int] = {}
    for account, amount in entries:
        if type(amount) is not int:
            raise InvariantBroken(f"{set_id}: {amount!r} for {account} is not an integer amount")
        amounts[account] = amounts.get(account, 0) + amount
    postings = tuple([Posting(account, amount) for account, amount in amounts.items() if amount])
    for account, amount in postings:
        if not -MAX_AMOUNT <= amount <= MAX_AMOUNT:
            raise InvariantBroken(f"{set_id}: {amount} for {account} is out of range")
    total = sum(amounts.values())
    if total:
        raise InvariantBroken(f"{set_id}: the postings sum to {total} and not to zero")
    if len(postings) < 2:
        raise InvariantBroken(f"{set_id}: nothing moves; a movement needs two accounts")
    return PostingSet(set_id, currency, postings)


def _move(set_id: str, currency: str, source: str, target: str, amount: int) -> PostingSet:
    """Move a positive amount: with a negative one a hold would be a refund, under a hold's name."""
    _check_positive(set_id, amount)
    return posting_set(set_id, currency, ((source, -amount), (target, amount)))


def _check_positive(set_id: str, amount: int) -> None:
    if type(amount) is not int or amount <= 0:
        raise InvariantBroken(f"{set_id}: {amount!r} is not a positive integer amount")


def hold(match_id: str, seat_id: str, user_id: str, amount: int, currency: str) -> PostingSet:
    """An entry fee goes from a player into the match's escrow. Free matches post nothing: `amount` is above zero."""
    purpose = hold_purpose(match_id, seat_id)
    return _move(purpose, currency, player_account(user_id), escrow_account(match_id), amount)


def refund(match_id: str, seat_id: str, user_id: str, amount: int, currency: str) -> PostingSet:
    """The entry fee held for the same seat goes back."""
    purpose = refund_purpose(match_id, seat_id)
    return _move(purpose, currency, escrow_account(match_id), player_account(user_id), amount)


def deposit(payment_id: str, user_id: str, amount: int, currency: str, provider: str) -> PostingSet:
    """Money that a payment provider took from a player becomes spendable."""
    purpose = deposit_purpose(payment_id)
    return _move(purpose, currency, clearing_account(provider), player_account(user_id), amount)


def withdrawal(payment_id: str, user_id: str, amount: int, currency: str, provider: str) -> PostingSet:
    """Money leaves through a payment provider."""
    purpose = withdrawal_purpose(payment_id)
    return _move(purpose, currency, player_account(user_id), clearing_account(provider), amount)


def grant(grant_id: str, user_id: str, amount: int, currency: str) -> PostingSet:
    """Play money from nowhere; `clearing:grant` tells how much of it there is."""
    return _move(grant_purpose(grant_id), currency, clearing_account("grant"), player_account(user_id), amount)


def settle(
    match_id: str,
    currency: str,
    pot: int,
    platform_fee: int,
    studio_id: str,
    studio_fee: int,
    prizes: Iterable[tuple[str, int]],
    held: Container[str] = (),
) -> PostingSet:
    """Empty a match's escrow: fees to the platform and the studio, prizes to players.

    `prizes` are (user id, minor units); those of users in `held` go to their held account. Raises InvariantBroken
    unless pot == platform_fee + studio_fee + prizes, the pot is above zero and nothing else is below it.
    """
    set_id = settle_purpose(match_id)
    _check_positive(set_id, pot)
    entries = [
        (escrow_account(match_id), -pot),
        (PLATFORM_FEES, platform_fee),
        (studio_account(studio_id), studio_fee),
    ]
    for user_id, amount in prizes:
        entries.append((held_account(user_id) if user_id in held else player_account(user_id), amount))
    paid = 0
    for account, amount in entries[1:]:
        if amount < 0:
            raise InvariantBroken(f"{set_id}: {amount} for {account} would take money out of it")
        paid += amount
    if paid != pot:
        raise InvariantBroken(f"{set_id}: {paid} would be paid out of a pot of {pot}")
    return posting_set(set_id, currency, entries)
