"""What must be true once a load has stopped, whatever was killed meanwhile.

The expected amounts come from the load's own records and from arithmetic written here a second time, on purpose: from
the public rules of the platform (10 % fee rounded down, half of it the studio's, the winners share the rest evenly, odd
units to those who are listed first), not from its code.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from tests.crash.client import GAME, PLAYER, Client, new_session
from tests.crash.database import rows
from tests.crash.load import FEE_BPS, Load, Person, Played
from tests.crash.receiver import Receiver, Told
from tests.harness import Server

END_SECONDS = 60
STUDIO_SHARE_BPS = 5_000


@dataclass
class Findings:
    """What is wrong, and what the ledger's totals must be."""

    faults: list[str] = field(default_factory=list)
    ends: Counter[str] = field(default_factory=Counter)
    # user → match → the sum of the player's entries for it
    moved: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    fees: Counter[str] = field(default_factory=Counter)

    def check(self, ok: bool, sentence: str) -> None:
        if not ok:
            self.faults.append(sentence)


def prove(load: Load, server: Server, receiver: Receiver, *, granted: int = 0) -> Counter[str]:
    """Fails with every sentence that is not true. Returns how many matches ended in which way.

    `granted` is play money that others have been given by the command line, minor units.
    """
    findings = asyncio.run(_inspect(load, receiver))
    _check_attempts(findings, server, receiver)
    books = server.books()
    [totals] = books["totals"]
    paid_in = granted + sum(sum(each.deposits) - sum(each.withdrawals) for each in load.people)
    expected = {
        "currency": "XTS",
        "players": paid_in - sum(findings.fees.values()),
        "escrow": 0,
        "held": 0,
        "platform_fees": findings.fees["platform"],
        "studios": findings.fees["studio"],
        "clearing": -paid_in,
    }
    findings.check(totals == expected, f"the books' totals are {totals}, and should be {expected}")
    findings.check(books["matches"] == len(load.matches), f"{books['matches']} matches, {len(load.matches)} were made")
    assert not findings.faults, "\n".join([str(load.watch), *findings.faults[:30]])
    return findings.ends


async def _inspect(load: Load, receiver: Receiver) -> Findings:
    findings = Findings()
    async with new_session() as session:
        client = Client(session, load.nodes, load.watch, random.Random(0))
        matches = {each.match_id: each for each in load.matches}
        views: dict[str, dict[str, Any]] = {}
        for part in _parts(list(matches.values()), 16):
            views.update(await asyncio.gather(*(_end_of(client, each) for each in part)))
        for told in receiver.log():
            if told.match_id in matches:  # odd units go to those who are named first
                for _, members in matches[told.match_id].teams:
                    members.sort(key=told.roster.index)
        for match_id, view in views.items():
            await _check_match(findings, client, matches[match_id], view)
        for person in load.people:
            await _check_person(findings, client, person)
        await _check_receiver(findings, receiver, matches, views)
        await _check_events(findings, load, views)
    findings.faults.extend(load.watch.faults)
    return findings


def _parts(items: list[Played], size: int) -> Iterable[list[Played]]:
    return (items[at : at + size] for at in range(0, len(items), size))


async def _end_of(client: Client, played: Played) -> tuple[str, dict[str, Any]]:
    """The match once it is over, which every match must be at its last deadline."""
    until = time.monotonic() + END_SECONDS
    path = f"{PLAYER}/matches/{played.match_id}"
    while True:
        view = await client.must(200, "GET", path, token=played.creator.token)
        if view["status"] in ("finished", "aborted"):
            return played.match_id, view
        if time.monotonic() > until:
            raise AssertionError(f"match {played.match_id} is {view['status']} after {END_SECONDS} s: {view}")
        await asyncio.sleep(0.1)


# --- matches ---------------------------------------------------------------------------------------------------------


async def _check_match(findings: Findings, client: Client, played: Played, view: dict[str, Any]) -> None:
    which = f"match {played.match_id} of {played.game.client_id}"
    status = view["status"]
    findings.ends[status if status == "finished" else view["abort_reason"]] += 1
    states = {each["user_id"]: each["state"] for team in view["teams"] for each in team["members"]}
    confirmed = {user for user, state in states.items() if state == "confirmed"}
    told = {user for user, seat in played.seats.items() if seat.confirmed}
    findings.check(confirmed == told, f"{which}: confirmed are {confirmed}, and {told} were told so")
    if played.cancelled:
        findings.check(status == "aborted", f"{which}: cancelled, and now {status}")
    if played.accepted:
        findings.check(status == "finished", f"{which}: a result was accepted, and now it is {status}")
    if status == "aborted":
        findings.check(not view.get("winnings"), f"{which}: aborted, with winnings {view.get('winnings')}")
        return
    findings.check(bool(played.accepted), f"{which}: finished, and no result was accepted")
    if not played.accepted:
        return
    _check_payout(findings, which, played, view)
    if played.game.mode == "sync":
        body = played.accepted[""]
        again = await client.ask("POST", f"{GAME}/finish", body, token=played.game.token)
        findings.check(again.body.get("accepted") is True, f"{which}: its accepted result is now {again}")
        other = {**body, "participants": [{**each, "score": each["score"] + 1} for each in body["participants"]]}
        reply = await client.ask("POST", f"{GAME}/finish", other, token=played.game.token)
        findings.check(reply.body.get("accepted") is False, f"{which}: another result is answered with {reply}")


def _standings(played: Played) -> dict[str, tuple[int, bool]]:
    """team → (rank, forfeited), from what was accepted."""
    if played.game.mode == "sync":
        return {each["id"]: (each["ranking"], False) for each in played.accepted[""]["teams"]}
    scores = {user: int(body["participants"][0]["score"]) for user, body in played.accepted.items()}
    standings = {}
    for team, [user] in played.teams:
        better = sum(score > scores[user] for score in scores.values()) if user in scores else len(scores)
        standings[team] = (better + 1, user not in scores)
    return standings


def _split(total: int, parts: int) -> list[int]:
    return [total // parts + (1 if n < total % parts else 0) for n in range(parts)]


def _check_payout(findings: Findings, which: str, played: Played, view: dict[str, Any]) -> None:
    standings = _standings(played)
    pot = played.fee * sum(len(members) for _, members in played.teams)
    fee = pot * FEE_BPS // 10_000
    studio = fee * STUDIO_SHARE_BPS // 10_000
    findings.fees.update(studio=studio, platform=fee - studio)
    first = [members for team, members in played.teams if standings[team] == (1, False)]
    prizes: Counter[str] = Counter()
    for members, prize in zip(first, _split(pot - fee, len(first)), strict=True):
        prizes.update(dict(zip(members, _split(prize, len(members)), strict=True)))
    expected = {user: prize for user, prize in prizes.items() if prize}
    paid = {each["user_id"]: each["amount"] for each in view["winnings"]}
    findings.check(paid == expected, f"{which}: winnings {paid}, and {expected} by {played.accepted}")
    for _, members in played.teams:
        for user in members:
            findings.moved[user][played.match_id] += expected.get(user, 0) - played.fee
    ranks = {team["id"]: (team["ranking"], bool(team["forfeit"])) for team in view["teams"]}
    if played.game.mode == "sync":
        findings.check(ranks == standings, f"{which}: ranks {ranks}, and {standings} were accepted")


# --- money -----------------------------------------------------------------------------------------------------------


async def _check_person(findings: Findings, client: Client, person: Person) -> None:
    entries: list[dict[str, Any]] = []
    params = {"limit": "200"}
    while True:
        page = await client.must(200, "GET", f"{PLAYER}/wallet/entries", token=person.token, params=params)
        entries += page["entries"]
        if not page.get("next_cursor"):
            break
        params["cursor"] = page["next_cursor"]
    by_kind: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for each in entries:
        by_kind[each["kind"]].append(each)
    who = person.name
    deposits = Counter(each["amount"] for each in by_kind.pop("deposit", []))
    findings.check(deposits == Counter(person.deposits), f"{who}: deposits {_apart(deposits, person.deposits)}")
    withdrawals = Counter(-each["amount"] for each in by_kind.pop("withdrawal", []))
    findings.check(
        withdrawals == Counter(person.withdrawals), f"{who}: withdrawals {_apart(withdrawals, person.withdrawals)}"
    )
    _check_moves(findings, person, by_kind)
    expected = sum(person.deposits) - sum(person.withdrawals) + sum(findings.moved[person.user_id].values())
    wallet = await client.must(200, "GET", f"{PLAYER}/wallet", token=person.token)
    balance = {"currency": "XTS", "available": expected, "in_escrow": 0}
    findings.check(wallet["balances"] == [balance], f"{who}: {wallet['balances']}, and by our own books {balance}")
    total = sum(each["amount"] for each in entries)
    findings.check(total == expected, f"{who}: the statement adds up to {total}, and by our own books to {expected}")


def _apart(found: Counter[int], told: list[int]) -> str:
    expected = Counter(told)
    return f"in the statement alone {dict(found - expected)}, answered alone {dict(expected - found)}"


def _check_moves(findings: Findings, person: Person, by_kind: dict[str, list[dict[str, Any]]]) -> None:
    """Holds, refunds and prizes of each match."""
    moved: Counter[str] = Counter()
    for kind, entries in by_kind.items():
        findings.check(kind in ("hold", "refund", "settle"), f"{person.name}: entries of kind {kind}")
        for each in entries:
            moved[each["match_id"]] += each["amount"]
    expected = findings.moved[person.user_id]
    for match_id in moved.keys() | expected.keys():
        findings.check(
            moved[match_id] == expected[match_id],
            f"{person.name}: match {match_id} moved {moved[match_id]}, and {expected[match_id]} by our own books",
        )
    prizes = Counter(each["match_id"] for each in by_kind.get("settle", []))
    findings.check(all(count == 1 for count in prizes.values()), f"{person.name}: paid twice: {prizes}")


# --- what games were told --------------------------------------------------------------------------------------------


async def _check_receiver(
    findings: Findings, receiver: Receiver, matches: dict[str, Played], views: dict[str, dict[str, Any]]
) -> None:
    until = time.monotonic() + END_SECONDS
    while True:
        told: dict[str, list[Told]] = defaultdict(list)
        for each in receiver.log():
            told[each.match_id].append(each)
        faults = [fault for match_id, played in matches.items() for fault in _told_wrong(played, views, told[match_id])]
        faults += [f"match {match_id} is none of ours, and was told of" for match_id in told.keys() - matches.keys()]
        # DELETEs are retried, with pauses that grow.
        if not faults or time.monotonic() > until:
            findings.faults.extend(faults)
            return
        await asyncio.sleep(0.3)


def _told_wrong(played: Played, views: dict[str, dict[str, Any]], told: list[Told]) -> Iterable[str]:
    """What is wrong with the requests that a game had about a match."""
    which = f"match {played.match_id} of {played.game.client_id}"
    status = views[played.match_id]["status"]
    said = ", ".join(f"{each.method} {each.answer}" for each in told)
    puts = [each for each in told if each.method == "PUT"]
    deletes = [each for each in told if each.method == "DELETE"]
    if not played.game.temper:
        if told:
            yield f"{which} pulls, and was told: {said}"
        return
    if (status == "finished" or played.seen_live) and not any(each.answer in ("200", "late") for each in puts):
        yield f"{which} went live, and was told: {said}"
    if len({each.webhook_id for each in puts}) > 1:
        yield f"{which}: PUTs with different ids: {puts}"
    if len(puts) > 1 + played.game.retries:
        yield f"{which}: {len(puts)} PUTs: {said}"
    if status == "finished" and deletes:
        yield f"{which} is finished, and was called off: {said}"
    if status == "aborted" and any(each.may_have_been_taken for each in puts):
        if not any(each.answer == "200" for each in deletes):
            yield f"{which} is aborted, and was not called off: {said}"
        elif min(each.number for each in deletes) < max(each.number for each in puts):
            yield f"{which} was called off before it was told: {said}"


def _check_attempts(findings: Findings, server: Server, receiver: Receiver) -> None:
    """Every request was an attempt that had been recorded first; two nodes never made the same one."""
    came = Counter(each.webhook_id for each in receiver.log())
    made = dict(rows(server.database_url, "SELECT id, attempts FROM deliveries"))
    for webhook_id, count in came.items():
        attempts = made.get(webhook_id, 0)
        findings.check(count <= attempts, f"delivery {webhook_id} came {count} times, with {attempts} attempts")


async def _check_events(findings: Findings, load: Load, views: dict[str, dict[str, Any]]) -> None:
    """Whoever followed the events through all the crashes has heard the end of every match of theirs."""
    for person in load.people[: load.readers]:
        mine = {each.match_id for each in load.matches if person.user_id in each.seats}
        until = time.monotonic() + END_SECONDS
        while mine - person.ended and time.monotonic() < until:  # noqa: ASYNC110 - another thread reads them
            await asyncio.sleep(0.1)
        findings.check(
            mine <= person.ended, f"{person.name} was not told how these ended: {sorted(mine - person.ended)}"
        )
