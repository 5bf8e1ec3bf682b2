"""Whether a match's money came out right, worked out beside the platform's own arithmetic."""

from __future__ import annotations

from dataclasses import dataclass

from oklp import contract

FEE_BPS = 1_000
BPS = 10_000


@dataclass(frozen=True, slots=True)
class Money:
    """What a match did: wallets as (available, in escrow) before the entry fee and after the end, by user id, and the
    game's figures then.
    """

    before: dict[str, contract.Balance]
    after: dict[str, contract.Balance]
    figures_before: contract.CurrencyFigures
    figures_after: contract.CurrencyFigures


def payout_faults(match: contract.Match, money_: Money) -> list[str]:
    """What is off with the money of a finished match; empty when all of it is where it belongs.

    Worked out from the entry fee alone, beside the platform's own arithmetic.
    """
    pot = match.entry_fee.amount * len(match.teams)
    fee = pot * FEE_BPS // BPS
    prize = pot - fee
    winners = [member.user_id for team in match.teams if team.ranking == 1 for member in team.members]
    faults = []

    def check(what: str, is_: object, should: object) -> None:
        if is_ != should:
            faults.append(f"{what} is {is_} and should be {should}")

    check("the status", match.status, "finished")
    check("the prize pool", match.prize_pool.amount, prize)
    check("the number of winners that share the prize", len(winners) in (1, 2), True)
    share = prize // max(len(winners), 1)
    check("what the winners get", {each.user_id: each.amount for each in match.winnings}, dict.fromkeys(winners, share))
    for user_id, before in money_.before.items():
        after = money_.after[user_id]
        change = (share if user_id in winners else 0) - match.entry_fee.amount
        check(f"the change of the wallet of {user_id}", after.available - before.available, change)
        check(f"the money of {user_id} in escrow", after.in_escrow, before.in_escrow)
    first, last = money_.figures_before, money_.figures_after
    check("what the game's figures gained in entry fees", last.entry_fees - first.entry_fees, pot)
    check("what the game's figures gained in prizes", last.prizes - first.prizes, prize)
    fees = last.fees + last.studio_share - first.fees - first.studio_share
    check("what the game's figures gained in fees and studio share", fees, fee)
    return faults
