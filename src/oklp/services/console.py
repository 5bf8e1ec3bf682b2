"""What the operator console shows of the whole platform, and how it finds what somebody has an id or a name of."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from oklp import contract
from oklp.domain import matches as rules
from oklp.services import matches, operators, views, webhooks
from oklp.services.staff import Operator
from oklp.storage import events
from oklp.storage import games as game_store
from oklp.storage import ledger as ledger_store
from oklp.storage import matches as match_store
from oklp.storage import players as player_store
from oklp.storage import webhooks as outbox
from oklp.storage.engine import Tx
from oklp.storage.tx import Row

HOUR_MS = 3_600_000
CHARTED_HOURS = 24
LISTED = 6
FOUND = 20
BOOKS = "platform:books"
MEMBER = "member:"  # how the audit log names members, studios.Member.actor
BEGUN, ENDED = "books.begun", "books.verified"
KEPT_FAULTS = 20
MATCH_ID = re.compile(r"[0-9a-f]{24}")
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class Escrow(NamedTuple):
    """Minor units of the entry fees of matches that are not over."""

    currency: str
    amount: int


class Hour(NamedTuple):
    """How the matches that were made in an hour stand now; `at` is its beginning, milliseconds since the epoch."""

    at: int
    made: int
    aborted: int


class RefusedOf(NamedTuple):
    match_id: str
    result: contract.RefusedResult


class Overview(NamedTuple):
    open_matches: dict[str, int]
    escrow: list[Escrow]
    backlog: operators.Backlog
    hours: list[Hour]
    oldest_live: list[contract.Match]
    failed: list[contract.Delivery]
    refused: list[RefusedOf]
    in_review: list[contract.OperatorGame]


def overview(tx: Tx, currency: str, now: int) -> Overview:
    """How the platform is doing. Every part of it is bounded by an index: open matches, the last day, a few rows."""
    open_matches = dict.fromkeys(("pending", "starting", "live"), 0)
    escrow = {currency: 0}
    for status, of_currency, count, amount in match_store.open_now(tx):
        open_matches[status] += int(count)
        escrow[of_currency] = escrow.get(of_currency, 0) + int(amount)
    refused = [RefusedOf(row.match_id, views.refused_result(row)) for row in match_store.newest_refused(tx, LISTED)]
    failed = outbox.page(tx, outbox.Chosen(state="failed"), None, LISTED)
    return Overview(
        open_matches,
        [Escrow(*each) for each in sorted(escrow.items())],
        operators.backlog(tx, now),
        _hours(tx, now),
        matches.views_of(tx, match_store.oldest(tx, rules.LIVE, LISTED), views.match),
        [views.delivery(row) for row in failed],
        refused,
        operators.review_queue(tx, None, LISTED)[0],
    )


def _hours(tx: Tx, now: int) -> list[Hour]:
    first = now // HOUR_MS - CHARTED_HOURS + 1
    made = dict.fromkeys(range(first, first + CHARTED_HOURS), 0)
    aborted = dict(made)
    for status, hour, count in match_store.made_by_hour(tx, first * HOUR_MS):
        made[int(hour)] = made.get(int(hour), 0) + int(count)
        if status == rules.ABORTED:
            aborted[int(hour)] = int(count)
    return [Hour(hour * HOUR_MS, count, aborted.get(hour, 0)) for hour, count in sorted(made.items())]


class Found(NamedTuple):
    """`kind` is match, player, studio, operator, game, delivery, payment or account.

    The name of a payment is the account of the player whose it is.
    """

    kind: str
    id: str
    name: str


class Search(NamedTuple):
    """`more` says that there is more than `found` shows."""

    found: list[Found]
    more: bool


def find(tx: Tx, text: str) -> Search:
    """What has this id, name or e-mail address, then what has a part of it: players whose name begins so, games.

    At the most FOUND, of which each kind has its share: nobody hides a game behind players that are named after it.
    """
    wanted = text.strip()
    key = wanted.lower()
    exact, partial = _by_id(tx, key), list[Found]()
    if re.fullmatch(r"(house|clearing|studio|player|escrow|held):\S{1,120}", key):
        exact.append(Found("account", key, key))
    if "@" in key:
        exact += _people(tx, {kind: player_store.by_email(tx, kind, wanted, FOUND + 1) for kind in player_store.PEOPLE})
    if key:
        exact += _studios(game_store.studios_named(tx, wanted, FOUND + 1))
    if re.fullmatch(r"[a-z0-9_-]{1,32}", key):
        exact += _people(tx, {kind: [player_store.person_by_name(tx, kind, key)] for kind in player_store.PEOPLE})
        partial += _people(tx, {"player": player_store.page(tx, key, "", FOUND + 1)})
    if key:
        exact += _games([game_store.game(tx, wanted), game_store.game(tx, key)])
        exact += _games(game_store.games_named(tx, wanted, FOUND + 1))
        partial += _games(game_store.games_with(tx, wanted, FOUND + 1))
    everything = dict.fromkeys([*exact, *partial])
    kept = set(list(dict.fromkeys([*_in_turn(exact), *_in_turn(partial)]))[:FOUND])
    return Search([each for each in everything if each in kept], len(everything) > FOUND)


def _by_id(tx: Tx, key: str) -> list[Found]:
    """What has the ids that stand in the text, be it alone or in a link: matches, and what has a UUID."""
    match_ids = MATCH_ID.findall(key)
    found = [Found("match", match_id, match_id) for match_id in match_store.get(tx, match_ids)] if match_ids else []
    uuid = UUID.search(key)
    if uuid is not None:
        found += _people(tx, {kind: [player_store.person(tx, kind, uuid[0])] for kind in player_store.PEOPLE})
        found += _studios([game_store.studio(tx, uuid[0])])
        payment = ledger_store.payment(tx, uuid[0])
        if payment is not None:
            found.append(Found("payment", payment.id, f"player:{payment.user_id}"))
        known = (outbox.get(tx, delivery_id) for delivery_id in (uuid[0], *webhooks.aborts_of(uuid[0])))
        found += [Found("delivery", row.id, row.id) for row in known if row is not None]
    return found


def _in_turn(found: Sequence[Found]) -> list[Found]:
    """One of each kind after the other, for as long as there are any."""
    kinds: dict[str, list[Found]] = {}
    for each in found:
        kinds.setdefault(each.kind, []).append(each)
    turns = itertools.chain.from_iterable(itertools.zip_longest(*kinds.values()))
    return [each for each in turns if each is not None]


def _people(tx: Tx, rows: Mapping[str, Sequence[Row | None]]) -> list[Found]:
    """By kind: players and operators are found themselves, of a member of a studio the studio."""
    players = [Found("player", row.id, row.username) for row in rows.get("player", ()) if row is not None]
    own = [Found("operator", row.id, row.username) for row in rows.get("operator", ()) if row is not None]
    members = [row for row in rows.get("member", ()) if row is not None]
    return players + own + _studios([game_store.studio(tx, row.studio_id) for row in members])


def _studios(rows: Sequence[Row | None]) -> list[Found]:
    return [Found("studio", row.id, row.name) for row in rows if row is not None]


def _games(rows: Sequence[Row | None]) -> list[Found]:
    return [Found("game", row.id, row.name) for row in rows if row is not None]


# --- the audit log --------------------------------------------------------------------------------------------------


class AuditLog(NamedTuple):
    """Newest first. `more` is the entry before which the rest follows; `studios` are those of the members who acted,
    by the entry's id.
    """

    entries: list[contract.AuditEntry]
    more: int | None
    studios: dict[str, str]


def audit_log(tx: Tx, subject: str | None, before: int | None, limit: int) -> AuditLog:
    """As `operators.audit_log`, with whose members it were.

    An entry has the name that somebody had when he acted. Whoever took it since a member was removed is another.
    """
    entries, more = operators.audit_log(tx, subject, before, limit)
    acted = [(each, each.actor.removeprefix(MEMBER).lower()) for each in entries if each.actor.startswith(MEMBER)]
    known = player_store.members_named(tx, (name for _, name in acted))
    there = [(each, known[name]) for each, name in acted if name in known]
    studios = {each.entry_id: row.studio_id for each, row in there if views.when(row.created_at) <= each.at}
    return AuditLog(entries, more, studios)


# --- the books, verified by a job that many processes may ask about --------------------------------------------------


class BooksRun(NamedTuple):
    """The newest run: `books` is None while it goes on, and for ever if its process has ended meanwhile."""

    begun: contract.AuditEntry
    ended: contract.AuditEntry | None
    books: contract.Books | None


def begin_books(tx: Tx, who: Operator, run_id: str, now: int) -> None:
    """Note that a verification begins. Who calls has seen to it that it is the only one. Raises RoleMissing."""
    who.need("books.verify")
    _note(tx, who.actor, BEGUN, json.dumps({"run_id": run_id}), now)


def end_books(tx: Tx, who: Operator, run_id: str, books: contract.Books, now: int) -> None:
    kept = books.model_copy(update={"faults": books.faults[:KEPT_FAULTS]})
    _note(tx, who.actor, ENDED, json.dumps({"run_id": run_id, "books": kept.model_dump(mode="json")}), now)


def last_books(tx: Tx) -> BooksRun | None:
    entries = [views.audit(row) for row in events.audit_page(tx, BOOKS, None, 20)]
    begun = next((each for each in entries if each.action == BEGUN), None)
    if begun is None:
        return None
    run_id = begun.detail["run_id"]
    ended = next((each for each in entries if each.action == ENDED and each.detail["run_id"] == run_id), None)
    return BooksRun(begun, ended, contract.Books.model_validate(ended.detail["books"]) if ended is not None else None)


def _note(tx: Tx, actor: str, action: str, detail: str, now: int) -> None:
    events.insert_audit(tx, at=now, actor=actor, action=action, subject=BOOKS, reason=None, detail=detail)
