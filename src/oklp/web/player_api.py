"""What players call (contract section B3)."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Literal

from fastapi import APIRouter, Header, Path, Query, Request
from pydantic import AwareDatetime
from starlette.responses import Response, StreamingResponse

from oklp import contract
from oklp.errors import invalid
from oklp.services import (
    accounts,
    choices,
    games,
    launch,
    ledger,
    matches,
    notices,
    players,
    records,
    starting,
    statement,
    vault,
)
from oklp.services.launch import LaunchJob
from oklp.services.live import Position
from oklp.services.starting import Confirm
from oklp.signing import hash_token
from oklp.web.caller import (
    AsPlayer,
    Cursor,
    Here,
    Limit,
    answered,
    bearer,
    claim_of,
    from_cursor,
    milliseconds,
    once,
    to_cursor,
)
from oklp.web.context import new_draft, new_token, new_uuid
from oklp.web.languages import language_of
from oklp.web.live import event_stream
from oklp.web.sessions import log_in_as, log_out_of

router = APIRouter(prefix="/api/player/v1", tags=["player"])

MatchPath = Annotated[contract.MatchId, Path()]


# --- people ----------------------------------------------------------------------------------------------------------


@router.post("/players", status_code=201, response_model=contract.Player)
async def sign_up(here: Here, request: Request, body: contract.SignUp) -> contract.Player:
    """A new player. Mails are in the language of the request, until another is chosen."""
    now = here.clock()
    players.check_sign_up(here.settings, body, now)
    password_hash = await here.in_pool(vault.hash_password, body.password)
    made = (new_uuid(), body, password_hash, new_draft(language_of(request)), now)
    return await here.db.write(accounts.sign_up_player, here.settings, here.vault, *made)


@router.post("/sessions", status_code=201, response_model=contract.Session)
async def log_in(here: Here, request: Request, body: contract.LogIn) -> contract.Session:
    return await log_in_as(here, request, "player", body)


@router.delete("/sessions/current", status_code=204)
async def log_out(here: Here, request: Request, caller: AsPlayer) -> Response:
    return await log_out_of(here, request)


@router.get("/me", response_model=contract.Profile)
async def me(here: Here, caller: AsPlayer) -> contract.Profile:
    return await here.db.read(players.profile, caller.user_id)


@router.get("/players", response_model=contract.PlayerPage)
async def find_players(
    here: Here,
    caller: AsPlayer,
    query: Annotated[str | None, Query(pattern=r"^[A-Za-z0-9_-]{1,32}$")] = None,
    limit: Limit = 20,
) -> contract.PlayerPage:
    """Players whose name starts so, to invite them; nobody before a name is begun."""
    if query is None:
        return contract.PlayerPage(players=[])
    return await here.db.read(players.search, query, limit)


@router.get("/players/{username}", response_model=contract.PlayerRecord)
async def read_player(
    here: Here, caller: AsPlayer, username: Annotated[contract.Username, Path()]
) -> contract.PlayerRecord:
    """A player's statistics and latest results: one's own with the money in them, others' if they are not private."""
    return await here.db.read(records.record, caller.user_id, username)


@router.put("/me/privacy", response_model=contract.Privacy)
async def choose_privacy(here: Here, caller: AsPlayer, body: contract.Privacy) -> contract.Privacy:
    """Whether others see one's results, and find one among the best players of a game."""
    return await here.db.write(records.set_privacy, caller.user_id, body)


# --- games -----------------------------------------------------------------------------------------------------------


@router.get("/games", response_model=contract.GamePage)
async def list_games(here: Here, caller: AsPlayer, cursor: Cursor = None, limit: Limit = 50) -> contract.GamePage:
    after = from_cursor(cursor, str)
    page = await here.db.read(games.playable, here.settings, after[0] if after is not None else "", limit)
    if page.next_cursor is None:
        return page
    return page.model_copy(update={"next_cursor": to_cursor(page.next_cursor)})


@router.get("/games/{game_id}", response_model=contract.Game)
async def read_game(here: Here, caller: AsPlayer, game_id: Annotated[contract.GameId, Path()]) -> contract.Game:
    return await here.db.read(games.playable_one, here.settings, game_id)


@router.get("/games/{game_id}/best-players", response_model=contract.BestPlayers)
async def best_players(
    here: Here, caller: AsPlayer, game_id: Annotated[contract.GameId, Path()]
) -> contract.BestPlayers:
    """Who won most matches of this game: ten at the most, without those whose results are private."""
    await here.db.read(games.playable_one, here.settings, game_id)
    return await here.db.read(records.best, game_id)


# --- matches ---------------------------------------------------------------------------------------------------------


@router.post("/matches", status_code=201, response_model=contract.Match)
async def create_match(here: Here, request: Request, caller: AsPlayer, body: contract.NewMatch) -> Response:
    now = here.clock()
    work = (here.settings, caller, body, matches.new_id(now), partial(matches.new_id, now), now)
    return await once(here, request, caller.user_id, 201, matches.create, *work)


@router.get("/matches", response_model=contract.MatchPage)
async def list_matches(
    here: Here,
    caller: AsPlayer,
    status: Annotated[contract.MatchStatus | None, Query()] = None,
    scope: Annotated[Literal["all", "mine", "open"], Query()] = "all",
    cursor: Cursor = None,
    limit: Limit = 50,
) -> contract.MatchPage:
    """Newest first: one's own matches, and public ones that have not started (some may be full)."""
    before = from_cursor(cursor, int, str)
    found, more = await here.db.read(matches.list_for_player, caller.user_id, status, scope, before, limit)
    return contract.MatchPage(matches=found, next_cursor=to_cursor(*more) if more is not None else None)


@router.get("/matches/{match_id}", response_model=contract.Match)
async def read_match(
    here: Here,
    caller: AsPlayer,
    match_id: MatchPath,
    join_code: Annotated[str | None, Query(max_length=64)] = None,
) -> contract.Match:
    return await here.db.read(matches.read, caller.user_id, match_id, join_code)


@router.post("/matches/{match_id}/invitations", response_model=contract.Match)
async def invite(
    here: Here, request: Request, caller: AsPlayer, match_id: MatchPath, body: contract.Invite
) -> Response:
    now = here.clock()
    work = (caller, match_id, body.usernames, partial(matches.new_id, now), now)
    return await once(here, request, caller.user_id, 200, matches.invite, *work)


@router.post("/matches/{match_id}/join", response_model=contract.Match)
async def join(
    here: Here, request: Request, caller: AsPlayer, match_id: MatchPath, body: contract.Join | None = None
) -> Response:
    now = here.clock()
    work = (here.settings, caller, match_id, body or contract.Join(), matches.new_id(now), now)
    return await once(here, request, caller.user_id, 200, matches.join, *work)


@router.post("/matches/{match_id}/decline", response_model=contract.Match)
async def decline(here: Here, request: Request, caller: AsPlayer, match_id: MatchPath) -> Response:
    return await once(here, request, caller.user_id, 200, matches.decline, caller, match_id, here.clock())


@router.post("/matches/{match_id}/leave", response_model=contract.Match)
async def leave(here: Here, request: Request, caller: AsPlayer, match_id: MatchPath) -> Response:
    """Leave before the match starts; a paid entry fee goes back."""
    return await once(here, request, caller.user_id, 200, matches.leave, here.settings, caller, match_id, here.clock())


@router.post("/matches/{match_id}/confirm", response_model=contract.Match)
async def confirm(here: Here, request: Request, caller: AsPlayer, match_id: MatchPath) -> Response:
    """Confirm and pay the entry fee into escrow; the last confirmation starts the match."""
    claim = await claim_of(request, caller.user_id)
    job = Confirm(here.settings, caller.user_id, match_id, new_uuid(), here.db.node, here.clock(), claim)
    return answered(await here.db.write_set(starting.confirm, job))


@router.post("/matches/{match_id}/cancel", response_model=contract.Match)
async def cancel(here: Here, request: Request, caller: AsPlayer, match_id: MatchPath) -> Response:
    return await once(here, request, caller.user_id, 200, matches.cancel, here.settings, caller, match_id, here.clock())


@router.post("/matches/{match_id}/launch", response_model=contract.LaunchAnswer)
async def launch_match(
    here: Here, caller: AsPlayer, match_id: MatchPath, body: contract.Launch | None = None
) -> contract.LaunchAnswer:
    """A fresh match-token in the game's URL for this platform."""
    platform = body.platform if body is not None else "browser"
    return await here.db.write_set(launch.launch, LaunchJob(caller, match_id, platform, new_token(), here.clock()))


# --- wallet ----------------------------------------------------------------------------------------------------------


@router.get("/wallet", response_model=contract.Wallet)
async def wallet(here: Here, caller: AsPlayer) -> contract.Wallet:
    return await here.db.read(ledger.wallet, caller.user_id, here.settings.currency)


@router.get("/wallet/entries", response_model=contract.WalletEntryPage)
async def wallet_entries(
    here: Here,
    caller: AsPlayer,
    kind: Annotated[list[contract.EntryKind] | None, Query(max_length=7, description="Of these kinds alone.")] = None,
    since: Annotated[AwareDatetime | None, Query(description="Posted then or later.")] = None,
    until: Annotated[AwareDatetime | None, Query(description="Posted before then.")] = None,
    match_id: Annotated[contract.MatchId | None, Query(description="Of this match alone.")] = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> contract.WalletEntryPage:
    """The statement: postings on the player's account, newest first, each with the balance after it.

    Filtered, a page may hold fewer than `limit`, even none, and have a `next_cursor`: the end is where there is none.
    """
    before = from_cursor(cursor, int, int)
    wanted = statement.Wanted(frozenset(kind or ()), milliseconds(since), milliseconds(until), match_id)
    place = statement.Place(*before) if before is not None else None
    page, more = await here.db.read(statement.entries, caller.user_id, wanted, place, limit)
    return page.model_copy(update={"next_cursor": to_cursor(*more)}) if more is not None else page


@router.get("/wallet/payments", response_model=contract.PaymentPage)
async def wallet_payments(
    here: Here, caller: AsPlayer, cursor: Cursor = None, limit: Limit = 50
) -> contract.PaymentPage:
    """Deposits and withdrawals, newest first."""
    page, more = await here.db.read(ledger.payments, caller.user_id, from_cursor(cursor, int, str), limit)
    return page.model_copy(update={"next_cursor": to_cursor(*more)}) if more is not None else page


@router.post("/wallet/deposits", status_code=201, response_model=contract.PaymentAnswer)
async def deposit(here: Here, request: Request, caller: AsPlayer, body: contract.Payment) -> Response:
    return await once(
        here,
        request,
        caller.user_id,
        201,
        ledger.deposit,
        here.settings,
        caller.user_id,
        new_uuid(),
        body,
        here.clock(),
    )


@router.post("/wallet/withdrawals", status_code=201, response_model=contract.PaymentAnswer)
async def withdraw(here: Here, request: Request, caller: AsPlayer, body: contract.Payment) -> Response:
    return await once(
        here,
        request,
        caller.user_id,
        201,
        ledger.withdraw,
        here.settings,
        caller.user_id,
        new_uuid(),
        body,
        here.clock(),
    )


# --- notifications ---------------------------------------------------------------------------------------------------


@router.get("/notifications", response_model=contract.NotificationPage)
async def list_notifications(
    here: Here, caller: AsPlayer, cursor: Cursor = None, limit: Limit = 50
) -> contract.NotificationPage:
    """Newest first: invitations, matches that began or ended, money that came or came back."""
    before = from_cursor(cursor, int)
    page, more = await here.db.read(notices.page, caller.user_id, before[0] if before is not None else None, limit)
    return page.model_copy(update={"next_cursor": to_cursor(more)}) if more is not None else page


@router.post("/notifications/read", response_model=contract.Unread)
async def read_notifications(here: Here, caller: AsPlayer, body: contract.ReadNotifications) -> contract.Unread:
    """All up to one, itself included."""
    return await here.db.write(notices.mark_read, caller.user_id, int(body.upto), here.clock())


@router.get("/me/notification-choices", response_model=contract.NotificationChoices)
async def notification_choices(here: Here, caller: AsPlayer) -> contract.NotificationChoices:
    """What one is told on the site, and what by mail, in which language."""
    return await here.db.read(choices.read, caller.user_id)


@router.put("/me/notification-choices", response_model=contract.NotificationChoices)
async def choose_notifications(
    here: Here, caller: AsPlayer, body: contract.NotificationChoices
) -> contract.NotificationChoices:
    """Topics that are left out stay as they are. Mails go to addresses that were confirmed."""
    return await here.db.write(choices.choose, caller.user_id, body)


# --- live ------------------------------------------------------------------------------------------------------------


@router.get("/events", response_class=StreamingResponse)
async def events(
    here: Here,
    request: Request,
    caller: AsPlayer,
    last_event_id: Annotated[str | None, Header(max_length=64)] = None,
) -> StreamingResponse:
    """Server-sent events: invitations, matches and the wallet as they change. `Last-Event-ID` resumes."""
    start = Position.parse(last_event_id) if last_event_id else None
    if last_event_id and start is None:
        raise invalid("Last-Event-ID", "is not the id of an event")
    return await event_stream(here, caller.user_id, hash_token(bearer(request)), start)
