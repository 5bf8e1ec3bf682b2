"""A match until it starts: create, invite, join, decline, leave, cancel; lists and reads. And how any match is aborted.

Confirming and starting are in `starting`, results in `results`, launching in `launch`.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from oklp import contract
from oklp.domain import ledger as books
from oklp.domain import matches as rules
from oklp.domain.matches import Lobby
from oklp.errors import (
    AccountSuspended,
    Conflict,
    FieldError,
    Forbidden,
    GameSuspended,
    InvalidRequest,
    NotFound,
    NotVerified,
    invalid,
)
from oklp.services import ledger, views, webhooks
from oklp.settings import Settings
from oklp.storage import events, games, players
from oklp.storage import matches as store
from oklp.storage.engine import Tx
from oklp.storage.tx import Row

NOT_FOUND = "There is no such match."
GAME_SHUT = "This game is suspended."


@dataclass(frozen=True, slots=True)
class Caller:
    """The player who asks."""

    user_id: str
    username: str


def new_id(now: int) -> str:
    """24 lower-case hex digits, for a match, a team, a seat: the time in milliseconds, then 48 random bits.

    Ids that follow time lie side by side in every index, so that a batch touches few pages of it.
    """
    return f"{now:012x}{secrets.token_hex(6)}"


# --- creating --------------------------------------------------------------------------------------------------------


def create(
    tx: Tx,
    settings: Settings,
    caller: Caller,
    request: contract.NewMatch,
    match_id: str,
    new_ids: Callable[[], str],
    now: int,
) -> contract.Match:
    """A new match with its creator in the first team and the others invited."""
    player = _active_player(tx, caller.user_id)
    game = games.share_game(tx, request.game_id)
    if game is None or game.vetting in ("draft", "in-review"):
        raise invalid("game_id", "is not a game that can be played")
    if game.vetting == "suspended":
        raise GameSuspended("This game is suspended; no new matches can be made.")
    game_settings = contract.GameSettings.model_validate_json(game.settings)
    _check_offer(settings, game_settings, request)
    _may_play(settings, player, request.entry_fee.amount)

    team_ids = [new_ids() for _ in range(request.teams)]
    lobby = Lobby(team_ids, request.team_size)
    lobby.join(new_ids(), caller.user_id, caller.username, team_ids[0])
    invited = _invite(tx, None, lobby, request.invite, "invite", new_ids, caller.user_id)
    shares = request.prize_shares_bps
    store.insert(
        tx,
        id=match_id,
        game_id=game.id,
        studio_id=game.studio_id,
        status=rules.PENDING,
        visibility=request.visibility,
        join_code=secrets.token_urlsafe(9) if request.visibility == "private" else None,
        mode=game_settings.mode,
        score_order=game_settings.score_order,
        discovery=game_settings.discovery,
        currency=request.entry_fee.currency,
        entry_fee=request.entry_fee.amount,
        fee_bps=game_settings.fee_bps,
        studio_share_bps=game_settings.studio_share_bps,
        prize_shares_bps=json.dumps(shares) if shares else None,
        team_ids=json.dumps(team_ids),
        team_size=request.team_size,
        results_due_seconds=game_settings.results_due_seconds,
        start_retries=game_settings.start_retries,
        start_backoff_seconds=game_settings.start_backoff_seconds,
        created_by=caller.user_id,
        created_at=now,
        starts_by=now + settings.starts_by_seconds * 1000,
    )
    write_seats(tx, match_id, lobby, now)
    _tell(tx, match_id, invited, now)
    return _view(tx, match_id, caller.user_id)


def _check_offer(settings: Settings, game: contract.GameSettings, request: contract.NewMatch) -> None:
    faults: list[FieldError] = []

    def check(ok: bool, field: str, message: str) -> None:
        if not ok:
            faults.append(FieldError(field, message))

    fee = request.entry_fee
    check(fee.currency == settings.currency, "entry_fee.currency", f"must be {settings.currency}")
    check(
        game.entry_fee_min <= fee.amount <= game.entry_fee_max,
        "entry_fee.amount",
        f"must be between {game.entry_fee_min} and {game.entry_fee_max}",
    )
    check(
        game.teams_min <= request.teams <= game.teams_max,
        "teams",
        f"must be between {game.teams_min} and {game.teams_max}",
    )
    check(
        game.team_size_min <= request.team_size <= game.team_size_max,
        "team_size",
        f"must be between {game.team_size_min} and {game.team_size_max}",
    )
    shares = request.prize_shares_bps
    if shares is not None:
        check(len(shares) <= request.teams, "prize_shares_bps", "must not name more places than there are teams")
        check(sum(shares) == 10_000, "prize_shares_bps", "must sum to 10000")
        check(list(shares) == sorted(shares, reverse=True), "prize_shares_bps", "must not rise from place to place")
    if faults:
        raise InvalidRequest("; ".join(f"{fault.field}: {fault.message}" for fault in faults), errors=tuple(faults))


def _active_player(tx: Tx, user_id: str) -> Row:
    # Shared, until the seat is there to be found by whoever suspends the player.
    player = players.share(tx, user_id)
    if player is None or player.status != "active":
        raise AccountSuspended("Your account is suspended.")
    return player


def _may_play(settings: Settings, player: Row, entry_fee: int) -> None:
    if entry_fee and not player.verified and not settings.sandbox:
        raise NotVerified("Matches with an entry fee are for verified players.")


def _invite(
    tx: Tx,
    row: Row | None,
    lobby: Lobby,
    usernames: Sequence[str],
    field: str,
    new_ids: Callable[[], str],
    creator: str | None = None,
) -> list[str]:
    """`row`: the match, unless it is being made, by `creator`: whoever names himself then meant somebody else."""
    found = players.by_names(tx, [name.lower() for name in usernames]) if usernames else {}
    unpaid = _unpaid(tx, row, lobby, [player.id for player in found.values()]) if row is not None else frozenset()
    faults = []
    invited = []
    for index, name in enumerate(usernames):
        player = found.get(name.lower())
        if player is None or player.status != "active":
            faults.append(FieldError(f"{field}.{index}", f"there is no player {name!r}"))
            continue
        if player.id == creator:
            faults.append(FieldError(f"{field}.{index}", f"{name!r} makes the match, and is in it already"))
            continue
        seat = lobby.invite(new_ids(), player.id, player.username, unpaid)
        if seat is not None:
            invited.append(player.id)
    if faults:
        raise InvalidRequest("; ".join(fault.message for fault in faults), errors=tuple(faults))
    return invited


def _unpaid(tx: Tx, row: Row, lobby: Lobby, user_ids: Iterable[str]) -> frozenset[str]:
    """Seats that these players have left without ever having paid for them."""
    given_up = {seat.id: books.hold_purpose(row.id, seat.id) for seat in lobby.given_up(user_ids)}
    posted = ledger.posted(tx, given_up.values()) if given_up and row.entry_fee else frozenset()
    return frozenset(seat_id for seat_id, purpose in given_up.items() if purpose not in posted)


# --- the lobby -------------------------------------------------------------------------------------------------------


def write_seats(tx: Tx, match_id: str, lobby: Lobby, now: int) -> None:
    """Write the seats that are new or changed."""
    fresh = [
        (each.id, match_id, each.user_id, each.team_id, each.slot, each.state, each.position, now)
        for each in lobby.seats
        if each.fresh
    ]
    changed = [
        (each.team_id, each.slot, each.state, now, each.id) for each in lobby.seats if each.changed and not each.fresh
    ]
    store.insert_seats(tx, fresh)
    store.move_seats(tx, [(each.position, each.id) for each in lobby.seats if each.moved])
    store.update_seats(tx, changed)


def _open(tx: Tx, match_id: str, action: str, caller: Caller, join_code: str | None = None) -> tuple[Row, Lobby]:
    """The match, locked, with its seats: 404 unless the caller may know of it, 409 unless the state allows `action`."""
    row = store.lock(tx, [match_id]).get(match_id)
    if row is None:
        raise NotFound(NOT_FOUND)
    lobby = views.lobby(row, store.seats(tx, [match_id]).get(match_id, []))
    if not visible(row, lobby, caller.user_id, join_code):
        raise NotFound(NOT_FOUND)
    rules.permit(row.status, action)
    return row, lobby


def visible(row: Row, lobby: Lobby, user_id: str, join_code: str | None = None) -> bool:
    """Public matches, one's own, and private ones whose code one knows."""
    if row.visibility == "public" or lobby.is_member(user_id):
        return True
    return _fits(row, join_code)


def _fits(row: Row, join_code: str | None) -> bool:
    if join_code is None or row.join_code is None:
        return False
    return secrets.compare_digest(join_code.encode(), row.join_code.encode())


def _tell(tx: Tx, match_id: str, invited: Iterable[str], now: int) -> None:
    told: list[tuple[str, str | None, str | None, int]] = [("match", match_id, None, now)]
    told.extend(("invitation", match_id, user_id, now) for user_id in invited)
    events.insert(tx, told)


def invite(
    tx: Tx, caller: Caller, match_id: str, usernames: Sequence[str], new_ids: Callable[[], str], now: int
) -> contract.Match:
    """Invite more players; those who hold a seat may."""
    row, lobby = _open(tx, match_id, "invite", caller)
    seat = lobby.active_seat(caller.user_id)
    if seat is None or seat.state not in rules.TAKEN:
        raise Forbidden("Only players in this match can invite others.")
    invited = _invite(tx, row, lobby, usernames, "usernames", new_ids)
    write_seats(tx, match_id, lobby, now)
    _tell(tx, match_id, invited, now)
    return views.match_for_player(row, lobby.seats, caller.user_id)


def join(
    tx: Tx, settings: Settings, caller: Caller, match_id: str, request: contract.Join, seat_id: str, now: int
) -> contract.Match:
    """Take a seat: by invitation, from the public list, or with a private match's code.

    Raises MatchFull, LimitReached.
    """
    player = _active_player(tx, caller.user_id)
    row, lobby = _open(tx, match_id, "join", caller, request.join_code)
    _may_play(settings, player, row.entry_fee)
    if row.visibility == "private" and lobby.active_seat(caller.user_id) is None:
        # Someone who declined or left knows the match, and still needs the code (or a new invitation) to come back.
        if request.join_code is None:
            raise invalid("join_code", "is needed to join this match")
        if not _fits(row, request.join_code):
            raise invalid("join_code", "does not fit this match")
    unpaid = _unpaid(tx, row, lobby, [caller.user_id])
    lobby.join(seat_id, caller.user_id, caller.username, request.team_id, unpaid)
    with tx.refusing(Conflict("The seat was taken a moment ago.")):
        write_seats(tx, match_id, lobby, now)
    _tell(tx, match_id, (), now)
    return views.match_for_player(row, lobby.seats, caller.user_id)


def decline(tx: Tx, caller: Caller, match_id: str, now: int) -> contract.Match:
    row, lobby = _open(tx, match_id, "decline", caller)
    lobby.decline(caller.user_id)
    write_seats(tx, match_id, lobby, now)
    _tell(tx, match_id, (), now)
    return views.match_for_player(row, lobby.seats, caller.user_id)


def leave(tx: Tx, settings: Settings, caller: Caller, match_id: str, now: int) -> contract.Match:
    """Give the seat up before the match starts; a paid fee goes back. The last to leave ends the match."""
    row, lobby = _open(tx, match_id, "leave", caller)
    seat, paid = lobby.leave(caller.user_id)
    if paid and row.entry_fee:
        ledger.lock(tx, [caller.user_id])
        refund = books.refund(match_id, seat.id, caller.user_id, row.entry_fee, row.currency)
        escrow = ledger.post(tx, [refund], now)
        store.pay_in(tx, [(escrow[match_id], match_id)])
        events.insert(tx, [("wallet", None, caller.user_id, now)])
    write_seats(tx, match_id, lobby, now)
    if lobby.empty:
        abort(tx, settings, [match_id], "abandoned", "Everyone left.", now)
        return _view(tx, match_id, caller.user_id)
    _tell(tx, match_id, (), now)
    return views.match_for_player(row, lobby.seats, caller.user_id)


def cancel(tx: Tx, settings: Settings, caller: Caller, match_id: str, now: int) -> contract.Match:
    """The creator calls an unstarted match off, as long as he is in it; all fees go back."""
    row, lobby = _open(tx, match_id, "cancel", caller)
    seat = lobby.active_seat(caller.user_id)
    if row.created_by != caller.user_id or seat is None or seat.state not in rules.TAKEN:
        raise Forbidden("Only the player who made the match, and is in it, can cancel it.")
    abort(tx, settings, [match_id], "cancelled", "The player who made the match cancelled it.", now)
    return _view(tx, match_id, caller.user_id)


# --- aborting --------------------------------------------------------------------------------------------------------


def abort(tx: Tx, settings: Settings, match_ids: Iterable[str], reason: str, detail: str, now: int) -> list[str]:
    """Abort matches that are not over: every fee in escrow goes back, and a game that may know is told.

    `reason` is a code (`cancelled`, `expired`, `game-refused`, …), `detail` a sentence. Returns the aborted ids.
    """
    rows = {key: row for key, row in store.lock(tx, match_ids).items() if row.status not in rules.OVER}
    if not rows:
        return []
    seats = store.seats(tx, rows)
    webhooks.call_off(tx, settings, rows.values(), now)
    refund(tx, rows.values(), seats, now)
    store.set_over(
        tx, [(rules.ABORTED, now, None, None, reason, detail[:1_000], match_id) for match_id in sorted(rows)]
    )
    events.insert(tx, [(ending(rows[match_id]), match_id, None, now) for match_id in sorted(rows)])
    return sorted(rows)


def ending(row: Row) -> str:
    """The kind of event that ends a match: with money in it, one that tells of the wallets as well."""
    return events.OVER if row.escrow else "match"


def abort_pending(
    tx: Tx,
    settings: Settings,
    reason: str,
    detail: str,
    now: int,
    *,
    game_id: str | None = None,
    user_id: str | None = None,
) -> list[str]:
    """Abort what has not started, of a game or of a player who is in it. What is starting or live goes on (B4).

    The balances of `user_id` are locked then, with those of all who are refunded.
    """
    rows = store.lock(tx, store.ids_of(tx, status=rules.PENDING, game_id=game_id, user_id=user_id))
    # Somebody else's last confirmation may have come between the look and the lock.
    pending = {key: row for key, row in rows.items() if row.status == rules.PENDING}
    lock_refunds(tx, pending.values(), [user_id] if user_id is not None else [])
    return abort(tx, settings, pending, reason, detail, now)


def lock_refunds(tx: Tx, rows: Iterable[Row], others: Iterable[str] = ()) -> None:
    """Lock every balance that aborting these matches will change, and those of `others`: in one go, so in id order.

    For whoever aborts matches one after the other, or changes further balances besides; `abort` alone needs it not.
    """
    paid = {row.id for row in rows if row.entry_fee}
    seats = store.seats(tx, paid) if paid else {}
    refunded = {each.user_id for taken in seats.values() for each in taken if each.state == rules.CONFIRMED}
    ledger.lock(tx, refunded.union(others))


def refund(tx: Tx, rows: Iterable[Row], seats: dict[str, list[Row]], now: int) -> None:
    """Every confirmed seat's fee goes from escrow back to its player."""
    paid = [
        (row, each) for row in rows if row.entry_fee for each in seats.get(row.id, ()) if each.state == rules.CONFIRMED
    ]
    ledger.lock(tx, [each.user_id for _, each in paid])
    ledger.post(
        tx, [books.refund(row.id, each.id, each.user_id, row.entry_fee, row.currency) for row, each in paid], now
    )


def expire(tx: Tx, settings: Settings, now: int, limit: int) -> int:
    """Abort matches that did not start by their time. Returns how many."""
    late = store.ids_overdue(tx, rules.PENDING, now, limit)
    return len(abort(tx, settings, late, "expired", "The match did not start in time.", now)) if late else 0


# --- reading ---------------------------------------------------------------------------------------------------------


def _view(tx: Tx, match_id: str, user_id: str) -> contract.Match:
    row = store.get(tx, [match_id])[match_id]
    seats = [views.seat(each) for each in store.seats(tx, [match_id]).get(match_id, [])]
    return views.match_for_player(row, seats, user_id)


def read(tx: Tx, user_id: str, match_id: str, join_code: str | None = None) -> contract.Match:
    """One match, if the player may know of it."""
    row = store.get(tx, [match_id]).get(match_id)
    if row is None:
        raise NotFound(NOT_FOUND)
    lobby = views.lobby(row, store.seats(tx, [match_id]).get(match_id, []))
    if not visible(row, lobby, user_id, join_code):
        raise NotFound(NOT_FOUND)
    return views.match_for_player(row, lobby.seats, user_id)


def code_fits(tx: Tx, match_id: str, join_code: str) -> bool:
    """Whether this is the code of that private match."""
    row = store.get(tx, [match_id]).get(match_id)
    return row is not None and _fits(row, join_code)


def views_of(tx: Tx, rows: Sequence[Row], view: Callable[[Any, Sequence[rules.Seat]], Any]) -> list[Any]:
    """Each match with its seats through `view`, in the order of `rows`."""
    seats = store.seats(tx, [row.id for row in rows]) if rows else {}
    return [view(row, [views.seat(each) for each in seats.get(row.id, [])]) for row in rows]


def list_for_player(
    tx: Tx,
    user_id: str,
    status: str | None,
    scope: str,
    before: tuple[int, str] | None,
    limit: int,
    game_id: str | None = None,
) -> tuple[list[contract.Match], tuple[int, str] | None]:
    """Newest first: one's own (`mine`), public ones to join (`open`), both (`all`); of one game, or of every."""
    rows = store.page_for_player(tx, user_id, status, scope, before, limit + 1, game_id)
    return page(tx, rows, limit, lambda row, seats: views.match_for_player(row, seats, user_id))


def list_newest(
    tx: Tx, game_id: str | None, status: str | None, before: tuple[int, str] | None, limit: int, query: str = ""
) -> tuple[list[contract.Match], tuple[int, str] | None]:
    """All matches, or a game's, for those who run it. `query` is the id of one, or a player's id or whole name."""
    match_id, user_id = _looked_for(tx, query.lower()) if query else (None, None)
    return page(tx, store.page_newest(tx, game_id, status, before, limit + 1, match_id, user_id), limit, views.match)


def _looked_for(tx: Tx, key: str) -> tuple[str | None, str | None]:
    """A match's id or a player's; of what is neither an id that nobody has."""
    if store.get(tx, [key]):
        return key, None
    player = players.person(tx, "player", key) or players.person_by_name(tx, "player", key)
    return None, player.id if player is not None else ""


def page(
    tx: Tx, rows: Sequence[Row], limit: int, view: Callable[[Any, Sequence[rules.Seat]], Any]
) -> tuple[list[Any], tuple[int, str] | None]:
    """The first `limit` of `rows` as views, and the cursor (created_at, id) of what follows."""
    shown = rows[:limit]
    more = (int(shown[-1].created_at), str(shown[-1].id)) if len(rows) > limit and shown else None
    return views_of(tx, shown, view), more


# --- what games read (A4) --------------------------------------------------------------------------------------------

_STATUSES_OF_GAMES = {
    "pending": (rules.PENDING, rules.STARTING),
    "live": (rules.LIVE,),
    "finished": (rules.FINISHED,),
    "aborted": (rules.ABORTED,),
}


def shut_games(tx: Tx, game_ids: Collection[str]) -> frozenset[str]:
    """Those of the games that are suspended and have nothing left to play: whatever they ask is refused (A2, B4).

    Read at each request, so that neither a token nor anything else outlives a suspension. As long as a match of a
    suspended game is starting or live, the game is told all that it needs to finish it.
    """
    return frozenset(game_ids) - games.not_shut(tx, game_ids) if game_ids else frozenset()


def check_not_shut(tx: Tx, game_id: str) -> None:
    """Raises Forbidden."""
    if shut_games(tx, [game_id]):
        raise Forbidden(GAME_SHUT)


def list_for_game(
    tx: Tx, game_id: str, status: str | None, user_id: str | None, after: tuple[int, str] | None, limit: int
) -> tuple[list[contract.GameMatch], tuple[int, str] | None]:
    """A game's matches, oldest first."""
    statuses = _STATUSES_OF_GAMES[status] if status is not None else None
    rows = store.page_for_game(tx, game_id, statuses, user_id, after, limit + 1)
    return page(tx, rows, limit, views.game_match)


def read_for_game(tx: Tx, game_id: str, match_id: str) -> contract.GameMatch:
    row = store.get(tx, [match_id]).get(match_id)
    if row is None or row.game_id != game_id:
        raise NotFound("There is no such match of this game.")
    found: contract.GameMatch = views_of(tx, [row], views.game_match)[0]
    return found
