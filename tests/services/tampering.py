"""Ways to tamper with the ledger of a busy day, and which checks each sets off."""

from __future__ import annotations

from typing import NamedTuple

from oklp import contract
from oklp.services import housekeeping, ledger
from oklp.services.matches import Caller
from tests.services.world import XTS, World, answered, player_result, sync_result


class Scene(NamedTuple):
    """What happened, for tampering with it."""

    ann: str
    bob: str
    dan: str
    payment: str  # a deposit of ann's
    withdrawal: str
    won: str  # finished: 3 teams, prizes for two places
    free: str
    forfeited: str  # finished: nobody played, all went back
    cancelled: str  # aborted before it started
    refused: str  # aborted by its game
    pending: str  # ann has confirmed, left, and confirmed again
    starting: str
    live: str  # asynchronous, one result in
    held: str
    released: str
    confiscated: str
    studio: str
    seat: str  # ann's in `won`
    left_seat: str  # ann's first in `pending`
    cancelled_seat: str
    players: tuple[Caller, ...]

    def ids(self) -> dict[str, str]:
        return {name: value for name, value in self._asdict().items() if isinstance(value, str)}


def busy_day(world: World) -> Scene:
    ann, bob, cid, dan = world.players(4, 10_000)
    payment = world.deposit(ann, 700).payment_id
    withdrawal = world.withdraw(bob, 300).payment_id
    sync, scored = world.game(fee_bps=1_250), world.game(mode="async", discovery="pull")

    won = world.live(sync, [ann, bob, cid], 333, teams=3, shares=[7_000, 3_000])
    world.report(sync, sync_result(won, [1, 3, 2]))
    free = world.live(sync, [ann, bob], 0)
    world.report(sync, sync_result(free, [1, 2]))
    forfeited = world.live(sync, [ann, bob], 100)
    world.report(sync, sync_result(forfeited, [1, 1], forfeits=[0, 1]))
    refused = world.paid(sync, [cid, dan], 250)
    world.reply(world.start_of(refused.match_id).id, answered(500))
    cancelled = world.filled(sync, [ann, bob], 200)
    world.confirm(ann, cancelled.match_id)
    world.cancel(ann, cancelled.match_id)
    pending = world.filled(sync, [bob, ann], 150)
    world.confirm(ann, pending.match_id)
    world.leave(ann, pending.match_id)
    world.join(ann, pending.match_id)
    world.confirm(ann, pending.match_id)
    starting = world.paid(sync, [ann, bob], 50)
    live = world.paid(scored, [ann, bob, cid, dan], 60, team_size=2)
    world.report(scored, player_result(live.match_id, ann.user_id, 7))

    wins = [world.live(sync, [dan, cid], fee) for fee in (400, 500, 600)]
    world.suspend(dan)
    for match in wins:
        world.report(sync, sync_result(match, [1, 2]))
    world.run(ledger.release_held, wins[1].match_id, dan.user_id, world.now)
    world.run(ledger.confiscate_held, wins[2].match_id, dan.user_id, world.now)
    world.await_horizon()
    for account in world.run(housekeeping.accounts):
        world.run(housekeeping.roll_up, account)
    late = world.live(sync, [ann, bob], 80)
    world.report(sync, sync_result(late, [2, 1]))

    def seat(match: contract.Match, state: str) -> str:
        where = "match_id = :match AND user_id = :user AND state = :state"
        (row,) = world.rows(f"SELECT id FROM seats WHERE {where}", match=match.match_id, user=ann.user_id, state=state)
        return str(row.id)

    held, released, confiscated = (match.match_id for match in wins)
    return Scene(
        ann=ann.user_id,
        bob=bob.user_id,
        dan=dan.user_id,
        payment=payment,
        withdrawal=withdrawal,
        won=won.match_id,
        free=free.match_id,
        forfeited=forfeited.match_id,
        cancelled=cancelled.match_id,
        refused=refused.match_id,
        pending=pending.match_id,
        starting=starting.match_id,
        live=live.match_id,
        held=held,
        released=released,
        confiscated=confiscated,
        studio=world.studio_id,
        seat=seat(won, "confirmed"),
        left_seat=seat(pending, "left"),
        cancelled_seat=seat(cancelled, "confirmed"),
        players=(ann, bob, cid, dan),
    )


class Tampering(NamedTuple):
    """`row` and `statements` are formats over the ids of the scene.

    `check` must name `row`; `others` are all the checks that go off with it, None where it does not matter.
    """

    check: str
    row: str
    statements: tuple[str, ...]
    others: frozenset[str] | None


def by(check: str, row: str, *statements: str, also: str | None = "") -> Tampering:
    return Tampering(check, row, statements, None if also is None else frozenset(also.split()))


def new_set(
    set_id: str, source: str, target: str, amount: int = 5, currency: str = XTS, tx_number: int = 10**15
) -> str:
    """SQL for a set that is whole and balanced."""
    columns = 'set_id, n, "of", account, currency, amount, at, tx_number'
    rows = (
        f"('{set_id}', {n}, 2, '{account}', '{currency}', {signed}, 7, {tx_number})"
        for n, (account, signed) in enumerate(((source, -amount), (target, amount)))
    )
    return f"INSERT INTO postings ({columns}) VALUES {', '.join(rows)}"


ONE = "set_id = 'match:{won}:settle'"
HOLD = "set_id = 'match:{won}:hold:{seat}'"
REFUND = "set_id = 'match:{cancelled}:refund:{cancelled_seat}'"
NOBODY = "11111111-1111-4111-8111-111111111111"

TAMPERINGS = (
    # the ledger by itself
    by(
        "posting-set-not-whole",
        "match:{won}:settle",
        f"DELETE FROM postings WHERE {ONE} AND account = 'house:fees'",
        also="ledger-unbalanced posting-set-unbalanced rollup-differs settlement-arithmetic",
    ),
    by("posting-set-not-whole", "match:{won}:settle", f"UPDATE postings SET n = 9 WHERE {ONE} AND n = 1"),
    by("posting-set-not-whole", "match:{won}:settle", f'UPDATE postings SET "of" = "of" + 1 WHERE {ONE} AND n = 1'),
    by("posting-set-not-whole", "match:{won}:settle", f'UPDATE postings SET "of" = "of" + 1 WHERE {ONE}'),
    by("posting-set-mixed", "match:{won}:settle", f"UPDATE postings SET at = at + 1 WHERE {ONE} AND n = 1"),
    by("posting-set-mixed", "match:{won}:settle", f"UPDATE postings SET tx_number = 1 WHERE {ONE} AND n = 0"),
    by(
        "posting-set-mixed",
        "match:{won}:hold",
        f"UPDATE postings SET currency = 'USD' WHERE {HOLD} AND amount > 0",
        also="account-overdrawn escrow-after-the-end escrow-differs escrow-in-another-currency hold-differs"
        " ledger-unbalanced posting-set-unbalanced",
    ),
    by(
        "posting-set-unbalanced",
        "match:{won}:settle",
        f"UPDATE postings SET amount = amount + 1 WHERE {ONE} AND account = 'house:fees'",
        also="ledger-unbalanced rollup-differs settlement-arithmetic",
    ),
    by(
        "ledger-unbalanced",
        "XTS",
        f"UPDATE postings SET amount = amount + 1 WHERE {ONE} AND account = 'house:fees'",
        also="posting-set-unbalanced rollup-differs settlement-arithmetic",
    ),
    by("purpose-unknown", "gift:1", new_set("gift:1", "clearing:grant", "clearing:other")),
    by("purpose-unknown", "grant:", new_set("grant:", "clearing:grant", "player:{ann}"), also="balance-differs"),
    by(
        "purpose-unknown",
        "match:{won}:settle:",
        new_set("match:{won}:settle:", "clearing:a", "clearing:b"),
        also="settlement-arithmetic settlement-of-strangers",
    ),
    by("purpose-unknown", "match:{won}:gift:x", new_set("match:{won}:gift:x", "clearing:a", "clearing:b")),
    by("purpose-unknown", "match::hold:x", new_set("match::hold:x", "clearing:a", "clearing:b"), also="hold-differs"),
    by("account-unknown", "house:rent", new_set("grant:x", "clearing:grant", "house:rent"), also="grant-differs"),
    by(
        "account-unknown",
        "player:",
        new_set("grant:x", "clearing:grant", "player:"),
        also="account-of-nobody balance-differs balance-missing",
    ),
    by("account-unknown", "pocket", new_set("grant:x", "clearing:grant", "pocket"), also="grant-differs"),
    by(
        "account-of-nobody",
        f"player:{NOBODY}",
        new_set("grant:x", "clearing:grant", f"player:{NOBODY}"),
        f"INSERT INTO balances (user_id, currency, balance) VALUES ('{NOBODY}', 'XTS', 5)",
    ),
    by(
        "account-of-nobody",
        f"held:{NOBODY}",
        new_set("grant:x", "clearing:grant", f"held:{NOBODY}"),
        also="grant-differs held-account-differs",
    ),
    by("account-of-nobody", "escrow:gone", new_set("grant:x", "clearing:grant", "escrow:gone"), also="grant-differs"),
    by("account-of-nobody", "studio:gone", new_set("grant:x", "clearing:grant", "studio:gone"), also="grant-differs"),
    by(
        "account-overdrawn",
        "player:{ann}",
        new_set("grant:x", "player:{ann}", "clearing:grant", 20_000),
        "UPDATE balances SET balance = balance - 20000 WHERE user_id = '{ann}'",
        also="amount-out-of-range grant-differs",
    ),
    by(
        "account-overdrawn",
        "house:fees",
        new_set("grant:x", "house:fees", "clearing:grant", 20_000),
        also="grant-differs",
    ),
    by("grant-differs", "grant:x", new_set("grant:x", "clearing:grant", "house:fees")),
    by("grant-differs", "grant:x", new_set("grant:x", "clearing:sandbox", "player:{ann}"), also="balance-differs"),
    # integers
    by(
        "amount-out-of-range",
        "player:{ann}",
        "UPDATE balances SET balance = 9007199254740992 WHERE user_id = '{ann}'",
        also="balance-differs",
    ),
    by(
        "amount-out-of-range",
        "match:{won}:settle",
        f"UPDATE postings SET amount = -9007199254740992 WHERE {ONE} AND n = 0",
        also="account-overdrawn escrow-after-the-end escrow-differs ledger-unbalanced posting-set-unbalanced"
        " settlement-arithmetic",
    ),
    # balances, roll-ups, payments
    by("amount-out-of-range", "match:{free}", "UPDATE matches SET entry_fee = -1 WHERE id = '{free}'"),
    by("balance-differs", "player:{ann}", "UPDATE balances SET balance = balance + 1 WHERE user_id = '{ann}'"),
    by("balance-differs", "player:{ann}", new_set("grant:x", "clearing:grant", "player:{ann}")),
    by("balance-missing", "player:{ann}", "DELETE FROM balances WHERE user_id = '{ann}'", also="balance-differs"),
    by(
        "balance-missing",
        "player:{ann}",
        new_set("grant:x", "clearing:grant", "player:{ann}", 5, "USD"),
        also="balance-differs",
    ),
    by(
        "balance-differs",
        "player:{ann}",
        "INSERT INTO balances (user_id, currency, balance) VALUES ('{ann}', 'USD', 1)",
    ),
    by("rollup-differs", "house:fees", "UPDATE rollups SET balance = balance + 1 WHERE account = 'house:fees'"),
    by("rollup-differs", "house:fees", "UPDATE rollups SET below_tx_number = 1 WHERE account = 'house:fees'"),
    by(
        "rollup-missing",
        "clearing:grant",
        new_set("grant:x", "clearing:grant", "clearing:sandbox", 5, "USD", 1),
        also="grant-differs",
    ),
    by("payment-not-posted", "deposit:{payment}", "UPDATE payments SET amount = amount + 1 WHERE id = '{payment}'"),
    by("payment-not-posted", "deposit:{payment}", "UPDATE payments SET user_id = '{bob}' WHERE id = '{payment}'"),
    by("payment-not-posted", "deposit:{payment}", "UPDATE payments SET provider = 'other' WHERE id = '{payment}'"),
    by(
        "payment-not-posted",
        "withdrawal:{payment}",
        "UPDATE payments SET kind = 'withdrawal' WHERE id = '{payment}'",
        also="posting-of-no-payment",
    ),
    by(
        "payment-not-posted",
        "withdrawal:{withdrawal}",
        "DELETE FROM postings WHERE set_id = 'withdrawal:{withdrawal}'",
        also="balance-differs rollup-differs",
    ),
    by("posting-of-no-payment", "deposit:{payment}", "DELETE FROM payments WHERE id = '{payment}'"),
    by(
        "posting-of-no-payment",
        "deposit:x",
        new_set("deposit:x", "clearing:sandbox", "player:{ann}"),
        also="balance-differs",
    ),
    # matches while they go on
    by(
        "escrow-differs",
        "match:{live}",
        "UPDATE matches SET escrow = escrow + 60 WHERE id = '{live}'",
        also="escrow-not-the-fees",
    ),
    by("escrow-differs", "match:{live}", new_set("grant:x", "escrow:{live}", "clearing:grant"), also="grant-differs"),
    by(
        "escrow-in-another-currency",
        "match:{live}",
        new_set("grant:x", "clearing:grant", "escrow:{live}", 5, "USD"),
        also="grant-differs",
    ),
    by(
        "escrow-after-the-end",
        "match:{won}",
        new_set("grant:x", "clearing:grant", "escrow:{won}"),
        also="escrow-differs grant-differs",
    ),
    by(
        "escrow-not-the-fees",
        "match:{live}",
        "UPDATE matches SET entry_fee = 61 WHERE id = '{live}'",
        also="hold-differs",
    ),
    by(
        "escrow-not-the-fees",
        "match:{starting}",
        "UPDATE seats SET state = 'left', slot = NULL WHERE match_id = '{starting}' AND user_id = '{ann}'",
        also="refund-missing roster-differs seats-not-full",
    ),
    by(
        "escrow-not-the-fees",
        "match:{pending}",
        "UPDATE seats SET state = 'confirmed' WHERE match_id = '{pending}' AND user_id = '{bob}'",
        also="hold-missing",
    ),
    by("seats-not-full", "match:{live}", "UPDATE matches SET team_size = 3 WHERE id = '{live}'"),
    by("seats-not-full", "match:{won}", "UPDATE matches SET team_ids = '[]' WHERE id = '{won}'"),
    by("seats-not-full", "", "UPDATE matches SET team_ids = '{{}}' WHERE id = '{live}'"),
    by(
        "roster-differs",
        "match:{won}",
        "UPDATE matches SET roster = replace(roster, '{ann}', '{bob}') WHERE id = '{won}'",
    ),
    by("roster-differs", "match:{live}", "UPDATE matches SET roster = NULL WHERE id = '{live}'"),
    by("roster-differs", "match:{live}", "UPDATE matches SET roster = '[1, [2, 3], [4, [5, 6]]]' WHERE id = '{live}'"),
    by(
        "hold-missing",
        "match:{live}",
        "DELETE FROM postings WHERE set_id LIKE 'match:{live}:hold:%'",
        also="balance-differs escrow-differs",
    ),
    by(
        "hold-differs",
        "match:{won}:hold:{seat}",
        f"UPDATE postings SET account = 'player:{{bob}}' WHERE {HOLD} AND amount < 0",
        also="balance-differs",
    ),
    by(
        "hold-differs",
        "match:{won}:hold:{seat}",
        f"UPDATE postings SET amount = CASE WHEN amount > 0 THEN 334 ELSE -334 END WHERE {HOLD}",
        also="balance-differs escrow-after-the-end escrow-differs",
    ),
    by(
        "hold-differs",
        "match:{free}:hold:",
        "UPDATE postings SET set_id = replace(set_id, '{won}', '{free}') WHERE set_id LIKE 'match:{won}:hold:%'",
        also="hold-missing",
    ),
    by(
        "hold-differs",
        "match:{won}:hold:nobody",
        new_set("match:{won}:hold:nobody", "player:{ann}", "escrow:{won}"),
        also="balance-differs escrow-after-the-end escrow-differs",
    ),
    by(
        "refund-differs",
        "match:{cancelled}:refund:{cancelled_seat}",
        f"UPDATE postings SET account = 'player:{{bob}}' WHERE {REFUND} AND amount > 0",
        also="balance-differs",
    ),
    by(
        "refund-differs",
        "match:{won}:refund:nobody",
        new_set("match:{won}:refund:nobody", "escrow:{won}", "player:{ann}"),
        also="account-overdrawn balance-differs escrow-after-the-end escrow-differs",
    ),
    by(
        "refund-missing",
        "match:{cancelled}:hold:{cancelled_seat}",
        f"DELETE FROM postings WHERE {REFUND}",
        also="balance-differs escrow-after-the-end escrow-differs",
    ),
    by(
        "refund-missing",
        "match:{pending}:hold:{left_seat}",
        "DELETE FROM postings WHERE set_id = 'match:{pending}:refund:{left_seat}'",
        also="balance-differs escrow-differs",
    ),
    by(
        "refund-missing",
        "match:{live}:hold:",
        "UPDATE matches SET status = 'aborted' WHERE id = '{live}'",
        also="escrow-after-the-end",
    ),
    by(
        "refund-undue",
        "match:{won}:refund:{seat}",
        new_set("match:{won}:refund:{seat}", "escrow:{won}", "player:{ann}", 333),
        also="account-overdrawn balance-differs escrow-after-the-end escrow-differs",
    ),
    by(
        "refund-undue",
        "match:{cancelled}:refund:",
        "UPDATE matches SET status = 'live' WHERE id = '{cancelled}'",
        also="escrow-not-the-fees roster-differs seats-not-full",
    ),
    # matches at their end
    by("settled-and-not-finished", "match:{won}:settle", "UPDATE matches SET status = 'aborted' WHERE id = '{won}'"),
    by(
        "settled-and-not-finished",
        "match:{free}:settle",
        new_set("match:{free}:settle", "escrow:{free}", "house:fees"),
        also="account-overdrawn escrow-after-the-end escrow-differs settlement-arithmetic",
    ),
    by(
        "settled-and-not-finished",
        "match:{live}:settle",
        new_set("match:{live}:settle", "escrow:{live}", "house:fees"),
        also="escrow-differs settlement-arithmetic",
    ),
    by(
        "settled-and-not-finished",
        "match:gone:settle",
        new_set("match:gone:settle", "escrow:gone", "house:fees"),
        also="account-of-nobody account-overdrawn",
    ),
    by(
        "finished-and-not-paid-out",
        "match:{won}",
        f"DELETE FROM postings WHERE {ONE}",
        also="balance-differs escrow-after-the-end escrow-differs refund-missing rollup-differs winnings-differ",
    ),
    by(
        "finished-and-not-paid-out",
        "match:{forfeited}",
        "DELETE FROM postings WHERE set_id LIKE 'match:{forfeited}:refund:%'",
        also="balance-differs escrow-after-the-end escrow-differs refund-missing",
    ),
    by("finished-without-outcome", "match:{free}", "UPDATE matches SET outcome = NULL WHERE id = '{free}'"),
    by(
        "settlement-arithmetic",
        "match:{won}:settle",
        f"UPDATE postings SET amount = amount + 1 WHERE {ONE} AND account = 'house:fees'",
        f"UPDATE postings SET amount = amount - 1 WHERE {ONE} AND account = 'studio:{{studio}}'",
        also="rollup-differs",
    ),
    by("settlement-arithmetic", "match:{won}:settle", "UPDATE matches SET fee_bps = 1300 WHERE id = '{won}'"),
    by("settlement-arithmetic", "match:{won}:settle", "UPDATE matches SET studio_share_bps = 0 WHERE id = '{won}'"),
    by(
        "settlement-arithmetic",
        "match:{won}:settle",
        f"UPDATE postings SET amount = amount - 1 WHERE {ONE} AND account = 'player:{{ann}}'",
        f"UPDATE postings SET amount = amount + 1 WHERE {ONE} AND account = 'house:fees'",
        also="balance-differs rollup-differs winnings-differ",
    ),
    by(
        "settlement-of-strangers",
        "match:{won}:settle",
        f"UPDATE postings SET account = 'player:{{dan}}' WHERE {ONE} AND account = 'house:fees'",
        also="balance-differs rollup-differs settlement-arithmetic winnings-differ",
    ),
    by(
        "settlement-of-strangers",
        "match:{won}:settle",
        f"UPDATE postings SET account = 'clearing:x' WHERE {ONE} AND account = 'studio:{{studio}}'",
        also="rollup-differs settlement-arithmetic",
    ),
    by(
        "settlement-of-strangers",
        "match:{held}:settle",
        "UPDATE postings SET account = 'player:{ann}' WHERE set_id = 'match:{held}:settle' AND account LIKE 'held:%'",
        also="balance-differs held-account-differs held-winnings-differ winnings-differ",
    ),
    by(
        "settlement-of-strangers",
        "match:{won}:settle",
        f"UPDATE postings SET currency = 'USD' WHERE {ONE}",
        also="account-overdrawn balance-differs balance-missing escrow-after-the-end escrow-differs"
        " escrow-in-another-currency rollup-differs rollup-missing",
    ),
    by(
        "winnings-differ",
        "match:{won}",
        "UPDATE matches SET outcome = replace(outcome, '\"winnings\":[', '\"winnings\":[7,') WHERE id = '{won}'",
    ),
    by("winnings-differ", "match:{won}", "UPDATE matches SET outcome = '[1]' WHERE id = '{won}'"),
    by(
        "winnings-differ",
        "match:{won}",
        "UPDATE matches SET outcome = replace(outcome, '{ann}', '{bob}') WHERE id = '{won}'",
    ),
    by(
        "winnings-differ",
        "match:{free}",
        'UPDATE matches SET outcome = \'{{"winnings": [{{"user_id": "x", "amount": 5}}]}}\' WHERE id = \'{free}\'',
    ),
    by(
        "json-malformed",
        "match:{won}",
        "UPDATE matches SET outcome = '{{not JSON' WHERE id = '{won}'",
        also="winnings-differ",
    ),
    by(
        "json-malformed",
        "match:{live}",
        "UPDATE matches SET roster = '[NaN]' WHERE id = '{live}'",
        also="roster-differs",
    ),
    by("json-malformed", "match:{live}", "UPDATE matches SET team_ids = '' WHERE id = '{live}'", also="seats-not-full"),
    # winnings of suspended players
    by(
        "held-winnings-differ",
        "match:{held}",
        "UPDATE held_winnings SET amount = amount + 1 WHERE match_id = '{held}'",
        also="held-account-differs",
    ),
    by(
        "held-winnings-differ",
        "match:{released}",
        "DELETE FROM held_winnings WHERE match_id = '{released}'",
        also="held-decision-of-nothing",
    ),
    by(
        "held-account-differs",
        "held:",
        "UPDATE held_winnings SET state = 'held' WHERE match_id = '{released}'",
        also="held-decision-differs",
    ),
    by(
        "held-decision-differs",
        "match:{held}",
        "UPDATE held_winnings SET state = 'released' WHERE match_id = '{held}'",
        also="held-account-differs",
    ),
    by(
        "held-decision-differs",
        "match:{released}",
        "UPDATE held_winnings SET state = 'confiscated' WHERE match_id = '{released}'",
    ),
    by(
        "held-decision-differs",
        "match:{confiscated}",
        "UPDATE postings SET account = 'player:{ann}' WHERE set_id LIKE 'match:{confiscated}:held:%' AND amount > 0",
        also="balance-differs rollup-differs",
    ),
    by(
        "held-decision-of-nothing",
        "match:{won}:held:{ann}",
        new_set("match:{won}:held:{ann}", "held:{ann}", "player:{ann}"),
        also="account-overdrawn balance-differs held-account-differs",
    ),
)

SQLITE_TAMPERINGS = (
    by(
        "amount-not-an-integer",
        "match:{won}:settle",
        f"UPDATE postings SET amount = amount + 0.5 WHERE {ONE} AND n = 1",
        also="ledger-unbalanced posting-set-unbalanced rollup-differs",
    ),
    by(
        "amount-not-an-integer",
        "player:{ann}",
        "UPDATE balances SET balance = 'much' WHERE user_id = '{ann}'",
        also="amount-out-of-range balance-differs",
    ),
    by("amount-not-an-integer", "match:{live}", "UPDATE matches SET fee_bps = 0.5 WHERE id = '{live}'"),
    by(
        "amount-not-an-integer",
        "house:fees",
        "UPDATE rollups SET balance = x'00' WHERE account = 'house:fees'",
        also="amount-out-of-range rollup-differs",
    ),
    by("totals", "…", "UPDATE postings SET amount = 9223372036854775807 WHERE amount > 0", also=None),
)
