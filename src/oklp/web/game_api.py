"""What games call: token-info and finish (A6, A7) as plain routes, reads (A4) as described ones."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Path, Query, Request
from starlette.responses import Response
from starlette.routing import Route

from oklp import contract
from oklp.errors import OklpError
from oklp.observability import count, result_reports
from oklp.services import launch, matches, players, results
from oklp.services.launch import TokenQuestion
from oklp.services.results import Report
from oklp.signing import hash_token
from oklp.web import faults
from oklp.web.caller import Here, Limit, from_cursor, game_of, parsed, to_cursor
from oklp.web.context import Asked, Context, context_behind, context_of
from oklp.web.problems import problem
from oklp.web.requests import JsonText

PREFIX = "/api/game/v1"


# --- hot -------------------------------------------------------------------------------------------------------------


def _cors(request: Asked, context: Context, game_id: str | None) -> dict[str, str]:
    """CORS headers for the origins of the game's own browser templates; a preflight does not say which game."""
    origin = request.headers.get("origin")
    if origin is None:
        return {}
    games = context.origins.get(origin.lower(), frozenset())
    if not games or (game_id is not None and game_id not in games):
        return {"Vary": "Origin"}
    return {"Access-Control-Allow-Origin": origin, "Vary": "Origin"}


async def token_info(request: Asked) -> Response:
    """What a match-token stands for (A6)."""
    context = context_behind(request)
    game_id = None
    try:
        game_id = game_of(request, context)
        body = await parsed(request, contract.TokenInfoRequest)
        question = TokenQuestion(game_id, hash_token(body.token), context.clock())
        info = await context.db.read_set(launch.token_info, question)
        context.book.ask(question.token_hash, question.now)
    except OklpError as refusal:
        return problem(refusal, _cors(request, context, game_id))
    return JsonText(info.model_dump_json(), _cors(request, context, game_id))


async def token_info_preflight(request: Request) -> Response:
    headers = _cors(request, context_of(request), None)
    if "Access-Control-Allow-Origin" in headers:
        headers["Access-Control-Allow-Methods"] = "POST"
        headers["Access-Control-Allow-Headers"] = "Authorization, Content-Type"
        headers["Access-Control-Max-Age"] = "600"
    return Response(None, 204, headers)


async def finish(request: Asked) -> Response:
    """A result (A7). The answer leaves when the payout is on disk."""
    context = context_behind(request)
    try:
        game_id = game_of(request, context)
        body = await parsed(request, contract.FinishRequest)
        answer = await context.db.write_set(results.finish, Report(game_id, body, context.clock()))
    except OklpError as refusal:
        count(result_reports, refusal.code)
        return problem(refusal)
    count(result_reports, "accepted" if answer.accepted else "kept-aside")
    return JsonText(answer.model_dump_json())


token_info_route = Route(f"{PREFIX}/token-info", faults.at(faults.INFO, token_info, _cors), methods=["POST"])
_finish = faults.at(faults.FINISH, finish)
finish_routes = [Route(f"{base}/finish", _finish, methods=["POST"]) for base in (PREFIX, "/api/games/v1")]
routes = [
    token_info_route,
    Route(f"{PREFIX}/token-info", token_info_preflight, methods=["OPTIONS"]),
    *finish_routes,
]


# --- reads -----------------------------------------------------------------------------------------------------------

router = APIRouter(prefix=PREFIX, tags=["game"])


async def _reader(request: Request) -> str:
    """The game that reads. A suspended game reads as long as it has matches to finish."""
    context = context_of(request)
    game_id = game_of(request, context)
    stroke = await faults.strike(context, game_id, faults.READ)
    if stroke is not None and (refusal := faults.refusal_of(stroke)) is not None:
        raise refusal
    await context.db.read(matches.check_not_shut, game_id)
    return game_id


AsGame = Annotated[str, Depends(_reader)]


@router.get("/matches", response_model=contract.GameMatchPage)
async def list_matches(
    here: Here,
    game_id: AsGame,
    status: Annotated[Literal["pending", "live", "finished", "aborted"] | None, Query()] = None,
    user_id: Annotated[contract.UserId | None, Query()] = None,
    cursor: Annotated[str | None, Query(max_length=200)] = None,
    limit: Limit = 50,
) -> contract.GameMatchPage:
    """The game's own matches, oldest first (A4)."""
    after = from_cursor(cursor, int, str)
    found, more = await here.db.read(matches.list_for_game, game_id, status, user_id, after, limit)
    return contract.GameMatchPage(matches=found, next_cursor=to_cursor(*more) if more is not None else None)


@router.get("/matches/{match_id}", response_model=contract.GameMatch)
async def read_match(here: Here, game_id: AsGame, match_id: Annotated[contract.MatchId, Path()]) -> contract.GameMatch:
    return await here.db.read(matches.read_for_game, game_id, match_id)


@router.get("/users/{user_id}", response_model=contract.GameUser)
async def read_user(here: Here, game_id: AsGame, user_id: Annotated[contract.UserId, Path()]) -> contract.GameUser:
    """A player who is or was in this game's matches."""
    return await here.db.read(players.game_user, game_id, user_id)
