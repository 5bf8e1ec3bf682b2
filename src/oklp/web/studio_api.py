"""What studios call (contract section B4). Viewers read, developers change games, owners change members too."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Path, Query, Request
from pydantic import AwareDatetime
from starlette.responses import Response

from oklp import contract
from oklp.errors import invalid
from oklp.services import accounts, conformance, faults, figures, games, matches, studios, vault, webhooks
from oklp.services.studios import Member
from oklp.web.caller import AsMember, Cursor, Here, Limit, from_cursor, milliseconds, to_cursor
from oklp.web.context import Context, new_draft, new_token, new_uuid
from oklp.web.languages import language_of
from oklp.web.sessions import log_in_as, log_out_of

router = APIRouter(prefix="/api/studio/v1", tags=["studio"])

GamePath = Annotated[contract.GameId, Path()]
DeliveryPath = Annotated[contract.DeliveryId, Path()]
ReportPath = Annotated[contract.ReportId, Path()]
FaultPath = Annotated[contract.FaultId, Path()]

NO_STORE = {"Cache-Control": "no-store"}


async def _member(person: AsMember) -> Member:
    return Member.of(person)


AsViewer = Annotated[Member, Depends(_member)]


async def _developer(member: AsViewer) -> Member:
    member.need(studios.DEVELOPER)
    return member


async def _owner(member: AsViewer) -> Member:
    member.need(studios.OWNER)
    return member


AsDeveloper = Annotated[Member, Depends(_developer)]
AsOwner = Annotated[Member, Depends(_owner)]


def _with_secrets(thing: contract.RegisteredGame | contract.DeveloperConfig) -> Response:
    """What was made, with secrets that are shown this once."""
    return Response(thing.model_dump_json(), 201, NO_STORE, "application/json")


# --- studios, sessions, members --------------------------------------------------------------------------------------


@router.post("/studios", status_code=201, response_model=contract.Studio)
async def sign_up(here: Here, request: Request, body: contract.NewStudio) -> contract.Studio:
    """A new studio, with its first owner."""
    password_hash = await here.in_pool(vault.hash_password, body.password)
    return await here.db.write(
        accounts.sign_up_studio,
        here.settings,
        here.vault,
        new_uuid(),
        new_uuid(),
        body,
        password_hash,
        new_draft(language_of(request)),
        here.clock(),
    )


@router.post("/sessions", status_code=201, response_model=contract.Session)
async def log_in(here: Here, request: Request, body: contract.LogIn) -> contract.Session:
    return await log_in_as(here, request, "member", body)


@router.delete("/sessions/current", status_code=204)
async def log_out(here: Here, request: Request, member: AsViewer) -> Response:
    return await log_out_of(here, request)


@router.get("/me", response_model=contract.StudioProfile)
async def me(here: Here, member: AsViewer) -> contract.StudioProfile:
    return await here.db.read(studios.profile, member.id)


@router.get("/members", response_model=contract.StudioMemberPage)
async def list_members(here: Here, member: AsViewer) -> contract.StudioMemberPage:
    return await here.db.read(studios.members, member.studio_id)


@router.post("/members", status_code=201, response_model=contract.StudioMember)
async def add_member(
    here: Here, request: Request, member: AsOwner, body: contract.NewStudioMember
) -> contract.StudioMember:
    """With a first password, or invited by mail to choose one."""
    password_hash = await here.in_pool(vault.hash_password, body.password or new_token())
    return await here.db.write(
        accounts.add_member,
        here.settings,
        here.vault,
        member.actor,
        member.studio_id,
        new_uuid(),
        body,
        password_hash,
        new_draft(language_of(request)),
        here.clock(),
    )


@router.patch("/members/{member_id}", response_model=contract.StudioMember)
async def change_member(
    here: Here, member: AsOwner, member_id: Annotated[contract.UserId, Path()], body: contract.MemberPatch
) -> contract.StudioMember:
    """Another role. The member's sessions end, unless he changes his own. A studio keeps at least one owner."""
    return await here.db.write(
        studios.change_member, member.actor, member.studio_id, member_id, body.role, here.clock()
    )


@router.delete("/members/{member_id}", status_code=204)
async def remove_member(here: Here, member: AsOwner, member_id: Annotated[contract.UserId, Path()]) -> Response:
    """The member's sessions end with it. A studio keeps at least one owner."""
    await here.db.write(studios.remove_member, member.actor, member.studio_id, member_id, here.clock())
    return Response(status_code=204)


# --- games -----------------------------------------------------------------------------------------------------------


@router.post("/games", status_code=201, response_model=contract.RegisteredGame)
async def register_game(here: Here, member: AsDeveloper, body: contract.NewGame) -> Response:
    """A new game, a draft until it is reviewed (approved at once in the sandbox). Its secrets are shown this once."""
    if body.settings.studio_share_bps != contract.GameSettings().studio_share_bps:
        raise invalid("settings.studio_share_bps", games.NOT_THE_STUDIOS)
    game = await here.db.write(
        games.register, here.settings, here.vault, member.studio_id, body, here.clock(), member.actor
    )
    return _with_secrets(game)


@router.get("/games", response_model=contract.StudioGamePage)
async def list_games(here: Here, member: AsViewer) -> contract.StudioGamePage:
    return await here.db.read(games.of_studio, member.studio_id)


@router.get("/games/{game_id}", response_model=contract.StudioGame)
async def read_game(here: Here, member: AsViewer, game_id: GamePath) -> contract.StudioGame:
    return await here.db.read(studios.of_game, member.studio_id, game_id, games.get, game_id)


@router.patch("/games/{game_id}", response_model=contract.StudioGame)
async def change_game(
    here: Here, member: AsDeveloper, game_id: GamePath, body: contract.GamePatch
) -> contract.StudioGame:
    """Change what is given; `launch_urls` are replaced as a whole. Matches keep the rules they were made with."""
    return await here.db.write(
        studios.of_game,
        member.studio_id,
        game_id,
        games.update,
        here.settings,
        member.actor,
        game_id,
        body,
        here.clock(),
    )


@router.post("/games/{game_id}/secrets", status_code=201, response_model=contract.DeveloperConfig)
async def rotate_secrets(here: Here, member: AsDeveloper, game_id: GamePath) -> Response:
    """New client and webhook secrets, shown this once. The old ones work until the overlap ends."""
    return _with_secrets(
        await here.db.write(
            studios.of_game,
            member.studio_id,
            game_id,
            games.rotate_secrets,
            here.settings,
            here.vault,
            member.actor,
            game_id,
            here.clock(),
        )
    )


@router.get("/games/{game_id}/developer-config", response_model=contract.DeveloperConfig)
async def developer_config(here: Here, member: AsViewer, game_id: GamePath) -> Response:
    """developer-config.json (A1), without the secrets."""
    await here.db.read(studios.of_game, member.studio_id, game_id, games.get, game_id)
    text = games.developer_config(here.settings, game_id).model_dump_json(indent=2, exclude_none=True)
    headers = {"Content-Disposition": 'attachment; filename="developer-config.json"'}
    return Response(text, 200, headers, "application/json")


@router.post("/games/{game_id}/review", response_model=contract.StudioGame)
async def submit_for_review(here: Here, member: AsDeveloper, game_id: GamePath) -> contract.StudioGame:
    """A draft goes to the operators."""
    return await here.db.write(
        studios.of_game, member.studio_id, game_id, games.submit, member.actor, game_id, here.clock()
    )


@router.post("/games/{game_id}/conformance-reports", status_code=201, response_model=contract.ConformanceSummary)
async def submit_conformance_report(
    here: Here, member: AsDeveloper, game_id: GamePath, body: contract.ConformanceReport
) -> contract.ConformanceSummary:
    """Hand in what `oklp check --json` wrote; vetting sees the newest. The last 50 are kept."""
    return await here.db.write(
        studios.of_game,
        member.studio_id,
        game_id,
        conformance.submit,
        member.actor,
        game_id,
        new_uuid(),
        body,
        here.clock(),
    )


@router.get("/games/{game_id}/conformance-reports", response_model=contract.ConformancePage)
async def list_conformance_reports(here: Here, member: AsViewer, game_id: GamePath) -> contract.ConformancePage:
    return await here.db.read(studios.of_game, member.studio_id, game_id, conformance.of_game, game_id)


@router.get("/games/{game_id}/conformance-reports/{report_id}", response_model=contract.ConformanceDetail)
async def read_conformance_report(
    here: Here, member: AsViewer, game_id: GamePath, report_id: ReportPath
) -> contract.ConformanceDetail:
    return await here.db.read(studios.of_game, member.studio_id, game_id, conformance.read, game_id, report_id)


@router.get("/games/{game_id}/matches", response_model=contract.StudioMatchPage)
async def list_matches(
    here: Here,
    member: AsViewer,
    game_id: GamePath,
    status: Annotated[contract.MatchStatus | None, Query()] = None,
    query: Annotated[str, Query(max_length=64, pattern=r"^[^\x00]*$")] = "",
    cursor: Cursor = None,
    limit: Limit = 50,
) -> contract.StudioMatchPage:
    """Newest first. `query` is a match's id, or the id or the whole name of somebody who plays."""
    found, more = await here.db.read(
        studios.of_game,
        member.studio_id,
        game_id,
        matches.list_newest,
        game_id,
        status,
        from_cursor(cursor, int, str),
        limit,
        query.strip(),
    )
    return contract.StudioMatchPage(matches=found, next_cursor=to_cursor(*more) if more is not None else None)


@router.get("/games/{game_id}/figures", response_model=contract.GameFigures)
async def read_figures(
    here: Here,
    member: AsViewer,
    game_id: GamePath,
    since: Annotated[date | None, Query(description="First day, in UTC.")] = None,
    until: Annotated[date | None, Query(description="Last day.")] = None,
    form: Annotated[
        Literal["json", "csv"], Query(alias="format", description="csv: day by day, for a spreadsheet.")
    ] = "json",
) -> contract.GameFigures | Response:
    """Matches, players and money, altogether and day by day: of a period, or since the registration."""
    found = await here.db.report(studios.of_game, member.studio_id, game_id, figures.of_game, game_id, since, until)
    if form == "csv":
        headers = {"Content-Disposition": 'attachment; filename="figures.csv"'}
        return Response(figures.as_csv(found), 200, headers, "text/csv")
    return found


# --- deliveries ------------------------------------------------------------------------------------------------------


@router.get("/games/{game_id}/deliveries", response_model=contract.DeliveryPage)
async def list_deliveries(
    here: Here,
    member: AsViewer,
    game_id: GamePath,
    state: Annotated[contract.DeliveryState | None, Query()] = None,
    event: Annotated[contract.DeliveryEvent | None, Query()] = None,
    match_id: Annotated[contract.MatchId | None, Query()] = None,
    since: Annotated[AwareDatetime | None, Query(description="Made then or later.")] = None,
    until: Annotated[AwareDatetime | None, Query(description="Made before then.")] = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> contract.DeliveryPage:
    """What the game was told, newest first."""
    chosen = webhooks.Chosen(game_id, state, event, match_id, milliseconds(since), milliseconds(until))
    found, more = await here.db.read(
        studios.of_game, member.studio_id, game_id, webhooks.page, chosen, from_cursor(cursor, int, str), limit
    )
    return contract.DeliveryPage(deliveries=found, next_cursor=to_cursor(*more) if more is not None else None)


@router.get("/deliveries/{delivery_id}", response_model=contract.DeliveryDetail)
async def read_delivery(here: Here, member: AsViewer, delivery_id: DeliveryPath) -> contract.DeliveryDetail:
    """A delivery with each of its attempts: what was sent, what came back."""
    return await here.db.read(studios.of_delivery, member.studio_id, delivery_id, webhooks.detail, delivery_id)


@router.post("/deliveries/{delivery_id}/resend", response_model=contract.Delivery)
async def resend(here: Here, member: AsDeveloper, delivery_id: DeliveryPath) -> contract.Delivery:
    """Send it once more. That never changes a match."""
    return await here.db.write(
        studios.of_delivery, member.studio_id, delivery_id, studios.resend, member.actor, delivery_id, here.clock()
    )


@router.post("/games/{game_id}/test-event", status_code=201, response_model=contract.Delivery)
async def send_test_event(
    here: Here, member: AsDeveloper, game_id: GamePath, body: contract.TestEvent | None = None
) -> contract.Delivery:
    """Send the game a PUT or DELETE with `"test": true`, for a match that does not exist. It moves no money."""
    now = here.clock()
    return await here.db.write(
        studios.of_game,
        member.studio_id,
        game_id,
        studios.send_test_event,
        member.actor,
        game_id,
        new_uuid(),
        matches.new_id(now),
        body or contract.TestEvent(),
        now,
    )


# --- faults (sandbox) ------------------------------------------------------------------------------------------------


@router.post("/games/{game_id}/faults", status_code=201, response_model=contract.Fault)
async def inject_fault(here: Here, member: AsDeveloper, game_id: GamePath, body: contract.NewFault) -> contract.Fault:
    """Have the sandbox misbehave towards the game, the next `times` that it can (docs/faults.md). Production: 409."""
    fault = await here.db.write(
        studios.of_game,
        member.studio_id,
        game_id,
        faults.inject,
        here.settings,
        member.actor,
        game_id,
        body,
        here.clock(),
    )
    await here.reload_faults()  # whoever has this answer finds it armed
    return fault


@router.get("/games/{game_id}/faults", response_model=contract.FaultList)
async def list_faults(here: Here, member: AsViewer, game_id: GamePath) -> contract.FaultList:
    """Oldest first, the order in which they strike: how often each has, and how often it still will."""
    return await here.db.read(studios.of_game, member.studio_id, game_id, faults.of_game, here.settings, game_id)


async def _clear_faults(here: Context, member: Member, game_id: str, fault_id: str | None) -> Response:
    await here.db.write(
        studios.of_game,
        member.studio_id,
        game_id,
        faults.clear,
        here.settings,
        member.actor,
        game_id,
        fault_id,
        here.clock(),
    )
    await here.reload_faults()
    return Response(status_code=204)


@router.delete("/games/{game_id}/faults/{fault_id}", status_code=204)
async def clear_fault(here: Here, member: AsDeveloper, game_id: GamePath, fault_id: FaultPath) -> Response:
    """What it has done is not undone."""
    return await _clear_faults(here, member, game_id, fault_id)


@router.delete("/games/{game_id}/faults", status_code=204)
async def clear_faults(here: Here, member: AsDeveloper, game_id: GamePath) -> Response:
    """All of the game's."""
    return await _clear_faults(here, member, game_id, None)
