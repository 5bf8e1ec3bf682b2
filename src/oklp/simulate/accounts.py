"""What all matches add up to, kept small: and the platform's books, wallets and statements beside it."""

from __future__ import annotations

import asyncio
import hashlib
import time
from array import array
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from oklp.simulate.games import GameClient
from oklp.simulate.model import Move
from oklp.simulate.play import Played
from oklp.simulate.players import CURRENCY, Listener, Player
from oklp.simulate.wire import OPERATOR, STUDIO, Wire

PAGE: Final = 200
BOOKS_PATIENCE_SECONDS: Final = 600.0
BOOKS_SECONDS: Final = 0.2  # between two questions whether they are verified
_FIELDS: Final = 1 + len(Move._fields)


@dataclass
class Totals:
    """Money of a game's matches, minor units, and how many ended in which way."""

    pot: int = 0
    prizes: int = 0
    platform: int = 0
    studio: int = 0
    ends: Counter[str] = field(default_factory=Counter)


class Accounts:
    """Everything that was played. A match takes a few dozen bytes a player."""

    def __init__(self, players: int, games: int) -> None:
        self.games = [Totals() for _ in range(games)]
        self.ends: Counter[str] = Counter()
        self.disturbed = 0
        self.struck: Counter[str] = Counter()  # matches that a fault was ordered for
        self.plan_digest = 0
        self.digest = 0
        self.match_ids: dict[str, int] = {}
        self.payments: list[Counter[int]] = [Counter() for _ in range(players)]
        self._moves = [array("q") for _ in range(players)]
        self._members: list[array[int]] = [array("q") for _ in range(players)]

    def add(self, played: Played) -> None:
        number, outcome = played.script.number, played.outcome
        self.match_ids[played.match_id] = number
        totals = self.games[played.script.game.number]
        totals.pot += outcome.takings.pot
        totals.platform += outcome.takings.platform
        totals.studio += outcome.takings.studio
        totals.prizes += sum(outcome.winnings.values())
        totals.ends[outcome.status] += 1
        self.ends[outcome.reason or outcome.status] += 1
        self.disturbed += played.disturbed
        self.struck.update([played.script.fault] if played.script.fault else [])
        for player, move in outcome.moves:
            self._moves[player].extend((number, *move))
        for player in played.members:
            self._members[player].append(number)
        for player, amount in outcome.payments:
            self.payments[player][amount] += 1
        # A sum of hashes: the same whatever the order in which matches end.
        self.plan_digest = (self.plan_digest + _hash("\n".join(played.script.lines()))) % 2**256
        self.digest = (self.digest + _hash(f"{number} {outcome}")) % 2**256

    def moves_of(self, player: int) -> dict[int, Move]:
        """By match."""
        kept = self._moves[player]
        return {kept[at]: Move(*kept[at + 1 : at + _FIELDS]) for at in range(0, len(kept), _FIELDS)}

    def members_of(self, player: int) -> frozenset[int]:
        return frozenset(self._members[player])


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest())


@dataclass
class Audit:
    """Compares. `faults` are sentences; those of one match name it by its number."""

    wire: Wire
    accounts: Accounts
    players: Sequence[Player]
    games: Sequence[GameClient]
    faults: list[str] = field(default_factory=list)

    def _check(self, what: str, expected: object, found: object) -> None:
        if expected != found:
            self.faults.append(f"{what}: expected {expected}, found {found}")

    async def wallets(self) -> None:
        """Every wallet, and every line of every statement."""
        for player in self.players:
            await self._wallet(player)

    async def _wallet(self, player: Player) -> None:
        moves = self.accounts.moves_of(player.number)
        found: defaultdict[str, Counter[str]] = defaultdict(Counter)
        prizes: Counter[str] = Counter()
        payments: Counter[int] = Counter()
        async for entry in self._statement(player):
            kind, amount = entry["kind"], entry["amount"]
            if kind in ("deposit", "withdrawal"):
                payments[amount] += 1
                continue
            found[entry["match_id"]][kind] += amount
            prizes[entry["match_id"]] += kind == "settle"
        expected_payments = Counter(self.accounts.payments[player.number])
        expected_payments.update([player.deposited // player.deposits] * player.deposits if player.deposits else [])
        self._check(f"{player.name}: payments", expected_payments, payments)
        for match_id, sums in found.items():
            number = self.accounts.match_ids.get(match_id, -1)
            move = moves.pop(number, Move())
            seen = Move(-sums.pop("hold", 0), sums.pop("refund", 0), sums.pop("settle", 0))
            self._check(f"{player.name}: match {number} ({match_id})", move, seen)
            self._check(f"{player.name}: match {number} ({match_id}): other entries", Counter(), sums)
            self._check(f"{player.name}: match {number} ({match_id}): prizes", True, prizes[match_id] <= 1)
        for number, move in moves.items():
            self._check(f"{player.name}: match {number}", move, "nothing in the statement")
        balance = player.deposited + sum(a * n for a, n in self.accounts.payments[player.number].items())
        balance += sum(move.net for move in self.accounts.moves_of(player.number).values())
        wallet = await player.read("wallet", "/wallet")
        expected = [{"currency": CURRENCY, "available": balance, "in_escrow": 0}]
        self._check(f"{player.name}: the wallet", expected, wallet.body.get("balances"))

    async def _statement(self, player: Player) -> AsyncIterator[Mapping[str, Any]]:
        cursor = ""
        while True:
            page = (await player.read("statement", f"/wallet/entries?limit={PAGE}{cursor}")).body
            for entry in page["entries"]:
                yield entry
            if not page.get("next_cursor"):
                return
            cursor = f"&cursor={page['next_cursor']}"

    async def figures(self, studio_token: str) -> None:
        """What the studio is told of its games: counts of matches, prizes, the platform's fees and its share."""
        for game in self.games:
            totals = self.accounts.games[game.game.number]
            path = f"{STUDIO}/games/{game.client_id}/figures"
            found = await self.wire.must("figures", "GET", path, token=studio_token)
            ends = {status: found["matches"][status] for status in found["matches"] if found["matches"][status]}
            self._check(f"game {game.game.number}: matches", dict(totals.ends), ends)
            [money] = found["money"] or [{"entry_fees": 0, "prizes": 0, "fees": 0, "studio_share": 0}]
            seen = (money["entry_fees"], money["prizes"], money["fees"], money["studio_share"])
            expected = (totals.pot, totals.prizes, totals.platform, totals.studio)
            self._check(f"game {game.game.number}: money", expected, seen)

    async def books(self, operator_token: str) -> None:
        """The whole ledger of a database that nobody else has used.

        It is proved by the job: that takes as long as the ledger is large, and longer than one request waits.
        """
        path = f"{OPERATOR}/books/verification"
        begun = await self.wire.ask("begin books", "POST", path, token=operator_token, repeatable=True)
        if begun.status not in (202, 409):  # 409: begun by the same request, the answer to which was lost
            self.faults.append(f"the books are not verified: {begun}")
            return
        until = time.monotonic() + BOOKS_PATIENCE_SECONDS
        while True:
            run = await self.wire.must("books", "GET", path, token=operator_token)
            if run["state"] != "running" or time.monotonic() > until:
                break
            await asyncio.sleep(BOOKS_SECONDS)
        self._check("the books' verification", "done", run["state"])
        if (books := run["books"]) is None:
            return
        self._check("the books' faults", [], books["faults"])
        self._check("the books' matches", len(self.accounts.match_ids), books["matches"])
        paid_in = sum(player.deposited for player in self.players)
        paid_in += sum(amount * n for each in self.accounts.payments for amount, n in each.items())
        platform = sum(each.platform for each in self.accounts.games)
        studios = sum(each.studio for each in self.accounts.games)
        expected = {
            "currency": CURRENCY,
            "players": paid_in - platform - studios,
            "escrow": 0,
            "held": 0,
            "platform_fees": platform,
            "studios": studios,
            "clearing": -paid_in,
        }
        self._check("the books' totals", [expected], books["totals"])

    def heard(self, listeners: Sequence[Listener]) -> None:
        """Whoever followed the events was told how each match of theirs ended, and nothing twice."""
        for listener in listeners:
            self._check(f"{listener.player.name}: events that came twice", [], listener.twice[:5])
            missing = self.unheard(listener)
            self._check(f"{listener.player.name}: matches whose end was not told", [], sorted(missing)[:5])

    def unheard(self, listener: Listener) -> frozenset[int]:
        told = {self.accounts.match_ids[match_id] for match_id in listener.ended if match_id in self.accounts.match_ids}
        return self.accounts.members_of(listener.player.number) - told

    async def open_matches(self) -> None:
        """No match of anybody is without an end."""
        for player in self.players:
            for status in ("pending", "starting", "live"):
                page = await player.read("list matches", f"/matches?scope=mine&status={status}&limit=5")
                left = [each["match_id"] for each in page.body["matches"]]
                self._check(f"{player.name}: matches that are {status}", [], left)
