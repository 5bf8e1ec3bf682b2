"""The sole door to money. Every movement is a balanced posting set with a unique purpose (design, section 4)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from oklp import contract
from oklp.domain import ledger as books
from oklp.domain.ledger import PostingSet
from oklp.errors import (
    Conflict,
    InsufficientFunds,
    InvariantBroken,
    LimitReached,
    NotFound,
    PaymentsSuspended,
    invalid,
)
from oklp.services import views
from oklp.settings import Settings
from oklp.storage import events as event_store
from oklp.storage import ledger as store
from oklp.storage import players as player_store
from oklp.storage.engine import Tx
from oklp.storage.tx import Row

MAX_BALANCE = 10**12
MOST_SUMMED = 20_000  # postings since a roll-up, which the worker makes each minute


def post(tx: Tx, sets: Iterable[PostingSet], now: int) -> dict[str, int]:
    """Write posting sets and move the players' balances with them.

    The balances must be locked (`lock`), so that what was checked is what is changed. Returns the change of each
    match's escrow, which the caller writes with the match's new state in the same transaction: a CHECK holds a match
    that is over to an empty escrow, and `books verify` holds every match to its postings.
    """
    rows: list[tuple[object, ...]] = []
    balances: dict[tuple[str, str], int] = {}
    escrows: dict[str, int] = {}
    for set_id, currency, postings in sets:
        count = len(postings)
        for n, (account, amount) in enumerate(postings):
            rows.append((set_id, n, count, account, currency, amount, now))
            kind, _, owner = account.partition(":")
            if kind == "player":
                key = (owner, currency)
                balances[key] = balances.get(key, 0) + amount
            elif kind == "escrow":
                escrows[owner] = escrows.get(owner, 0) + amount
    store.insert_postings(tx, rows)
    store.add_to_balances(tx, balances)
    return escrows


def posted(tx: Tx, set_ids: Iterable[str]) -> frozenset[str]:
    """Those of the posting sets that were ever written."""
    return store.posted(tx, set_ids)


def lock(tx: Tx, user_ids: Iterable[str]) -> dict[tuple[str, str], store.Balance]:
    """Lock the balances of these players in id order, after their matches."""
    return store.lock_balances(tx, user_ids)


def wallet(tx: Tx, user_id: str, currency: str) -> contract.Wallet:
    """Balances by currency; `currency` is listed even when it was never used."""
    available = {row.currency: int(row.balance) for row in store.balances_of(tx, user_id)}
    escrow, held = store.in_escrow(tx, user_id), store.held(tx, user_id)
    currencies = sorted({currency, *available, *escrow, *held})
    return contract.Wallet(
        balances=[
            contract.Balance(currency=c, available=available.get(c, 0), in_escrow=escrow.get(c, 0), held=held.get(c, 0))
            for c in currencies
        ]
    )


def account_page(
    tx: Tx, account: str, cursor: tuple[int, int] | None, limit: int
) -> tuple[list[contract.LedgerPosting], tuple[int, int] | None]:
    """Postings of any account, newest first, and the cursor (tx_number, seq) of what follows."""
    rows = store.entries_of(tx, account, cursor, limit + 1)
    shown = rows[:limit]
    return [views.posting(row) for row in shown], (shown[-1].tx_number, shown[-1].seq) if len(rows) > limit else None


class Account(NamedTuple):
    """A page of an account's postings, newest first, and the cursor (tx_number, seq) of what follows.

    `balance` is in minor units by currency. It is without the newest postings unless it is `whole`.
    """

    postings: list[contract.LedgerPosting]
    more: tuple[int, int] | None
    balance: dict[str, int]
    whole: bool


def account(tx: Tx, name: str, cursor: tuple[int, int] | None, limit: int) -> Account:
    """A page of an account with its balance, of one snapshot.

    A player's balance is a row. That of any other account is a sum, of which at the most MOST_SUMMED postings are read.
    """
    postings, more = account_page(tx, name, cursor, limit)
    kind, _, owner = name.partition(":")
    if kind == "player":
        return Account(postings, more, {row.currency: int(row.balance) for row in store.balances_of(tx, owner)}, True)
    return Account(postings, more, *store.sum_of(tx, name, MOST_SUMMED))


def payment_postings(tx: Tx, payment_id: str) -> list[contract.LedgerPosting]:
    """What a deposit or a withdrawal moved; nothing where there is no such payment."""
    set_ids = [books.deposit_purpose(payment_id), books.withdrawal_purpose(payment_id)]
    return [views.posting(row) for row in store.postings_of_sets(tx, set_ids)]


def deposit(
    tx: Tx, settings: Settings, user_id: str, payment_id: str, request: contract.Payment, now: int
) -> contract.PaymentAnswer:
    """Money from the provider into the player's balance. The sandbox's provider has always paid already."""
    _check_provider(settings, request.currency)
    _player_may_pay(tx, user_id)
    key = (user_id, request.currency)
    store.ensure_balances(tx, [key])
    balance = lock(tx, [user_id])[key].amount + request.amount
    if balance > MAX_BALANCE:
        raise LimitReached(f"A balance of more than {MAX_BALANCE} minor units is not kept.")
    provider = settings.payment_provider
    post(tx, [books.deposit(payment_id, user_id, request.amount, request.currency, provider)], now)
    return _paid(tx, "deposit", provider, user_id, payment_id, request, balance, now)


def withdraw(
    tx: Tx, settings: Settings, user_id: str, payment_id: str, request: contract.Payment, now: int
) -> contract.PaymentAnswer:
    """Money from the player's balance back to the provider. Raises InsufficientFunds."""
    _check_provider(settings, request.currency)
    _player_may_pay(tx, user_id)
    held = lock(tx, [user_id]).get((user_id, request.currency))
    balance = (held.amount if held is not None else 0) - request.amount
    if balance < 0:
        raise InsufficientFunds(f"The balance is {balance + request.amount}, less than {request.amount}.")
    provider = settings.payment_provider
    post(tx, [books.withdrawal(payment_id, user_id, request.amount, request.currency, provider)], now)
    return _paid(tx, "withdrawal", provider, user_id, payment_id, request, balance, now)


def payments(
    tx: Tx, user_id: str, before: tuple[int, str] | None, limit: int
) -> tuple[contract.PaymentPage, tuple[int, str] | None]:
    """A player's deposits and withdrawals, newest first, and the cursor (created_at, id) of what follows."""
    rows = store.payments_of(tx, user_id, before, limit + 1)
    shown = rows[:limit]
    page = contract.PaymentPage(
        payments=[
            contract.PaymentRecord(
                payment_id=row.id,
                kind=row.kind,
                amount=row.amount,
                currency=row.currency,
                created_at=views.when(row.created_at),
            )
            for row in shown
        ]
    )
    return page, (shown[-1].created_at, shown[-1].id) if len(rows) > limit else None


def grant(tx: Tx, grant_id: str, user_id: str, amount: int, currency: str, now: int) -> None:
    """Play money of the sandbox."""
    if not 0 < amount <= MAX_BALANCE:
        raise invalid("balance", f"must be between 1 and {MAX_BALANCE}")
    store.ensure_balances(tx, [(user_id, currency)])
    lock(tx, [user_id])
    post(tx, [books.grant(grant_id, user_id, amount, currency)], now)


def release_held(tx: Tx, match_id: str, user_id: str, now: int) -> int:
    """Pay winnings that were held for a suspended player. Returns the amount, minor units."""
    row = store.decide_held(tx, match_id, user_id, "released")
    if row is None:
        raise NotFound("Nothing is held for this player from this match.")
    store.ensure_balances(tx, [(user_id, row.currency)])
    lock(tx, [user_id])
    _move_held(tx, match_id, user_id, books.player_account(user_id), row, now)
    event_store.insert(tx, [("wallet", None, user_id, now)])
    return int(row.amount)


def confiscate_held(tx: Tx, match_id: str, user_id: str, now: int) -> int:
    """Keep winnings of a suspended player: they go to the platform's fees, where the audit log says why."""
    row = store.decide_held(tx, match_id, user_id, "confiscated")
    if row is None:
        raise NotFound("Nothing is held for this player from this match.")
    _move_held(tx, match_id, user_id, books.PLATFORM_FEES, row, now)
    event_store.insert(tx, [("wallet", None, user_id, now)])  # his wallet shows what is held
    return int(row.amount)


def held_winnings(tx: Tx, user_id: str) -> dict[str, str]:
    """What became of a player's winnings that were held: `held`, `released` or `confiscated`, by match."""
    return {row.match_id: row.state for row in store.held_of(tx, [user_id])}


def _move_held(tx: Tx, match_id: str, user_id: str, target: str, row: Row, now: int) -> None:
    moved = books.posting_set(
        books.held_purpose(match_id, user_id),
        row.currency,
        [(books.held_account(user_id), -row.amount), (target, row.amount)],
    )
    post(tx, [moved], now)


def _check_provider(settings: Settings, currency: str) -> None:
    if not settings.payment_provider:
        raise Conflict("No payment provider is configured.")
    if currency != settings.currency:
        raise invalid("currency", f"must be {settings.currency}")


def _player_may_pay(tx: Tx, user_id: str) -> None:
    player = player_store.lock_player(tx, user_id)
    if player is None:
        raise InvariantBroken(f"player {user_id} has a session and no row")
    if player.status != "active":
        raise PaymentsSuspended("Payments of a suspended player wait for an operator.")


def _paid(
    tx: Tx,
    kind: str,
    provider: str,
    user_id: str,
    payment_id: str,
    request: contract.Payment,
    balance: int,
    now: int,
) -> contract.PaymentAnswer:
    store.insert_payment(
        tx,
        id=payment_id,
        user_id=user_id,
        kind=kind,
        provider=provider,
        amount=request.amount,
        currency=request.currency,
        created_at=now,
    )
    event_store.insert(tx, [("wallet", None, user_id, now)])
    return contract.PaymentAnswer(
        payment_id=payment_id,
        kind="deposit" if kind == "deposit" else "withdrawal",
        amount=request.amount,
        currency=request.currency,
        status="completed",
        balance=balance,
    )
