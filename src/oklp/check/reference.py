"""The built-in game, `oklp check --builtin`: what a game must do, on the SDK, in one file; and somebody to play it.

Guess the number: it is between 1 and 100, the same for all players of a match, and the nearest guess wins. Who has not
guessed in time forfeits. Matches are kept in memory: a restart forgets those that are under way, and their players are
refunded when results are due. Results survive in an outbox.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from oklp.check.run import Seat
from oklp.sdk import (
    AsyncClient,
    AsyncResultOutbox,
    DeveloperConfig,
    MatchAborted,
    MatchInfo,
    MatchRandom,
    MatchStarted,
    NotFoundError,
    SdkError,
    SqliteDeliveries,
    TeamResult,
    TokenInfo,
    load_config,
)
from oklp.sdk.asgi import match_webhook

HIGHEST = 100
WEBHOOK = "/oklp/match"
LAUNCH = "/play?token={match-token}"

_PAGE = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Guess the number</title>{head}
<style>:root {{ color-scheme: light dark }} body {{ font: 1.1rem system-ui; max-width: 32rem; margin: 4rem auto;
padding: 0 1rem }} input, button {{ font: inherit; padding: .4rem .8rem }}</style></head>
<body><h1>Guess the number</h1><p>{text}</p>{form}</body>
</html>
"""
_FORM = """<form action="guess" method="post"><input type="hidden" name="token" value="{token}">
<input name="number" type="number" min="1" max="100" required autofocus aria-label="Your guess"> <button>Guess</button>
</form>"""


@dataclass(slots=True)
class Match:
    info: MatchInfo
    guesses: dict[str, int] = field(default_factory=dict)
    over: bool = False


class Game:
    """All matches of this server."""

    def __init__(self, client: AsyncClient, outbox: AsyncResultOutbox, deadline_seconds: float) -> None:
        self._client = client
        self._outbox = outbox
        self._deadline_seconds = deadline_seconds
        self._matches: dict[str, Match] = {}
        self._clocks: dict[str, asyncio.Task[None]] = {}

    async def started(self, event: MatchStarted) -> None:
        if event.match_id not in self._matches:
            self._matches[event.match_id] = Match(event.info)
            self._clocks[event.match_id] = asyncio.create_task(self._clock(event.match_id))

    async def aborted(self, event: MatchAborted) -> None:
        self._forget(event.match_id)

    async def admitted(self, token: str) -> tuple[Match, TokenInfo] | None:
        """Whose seat this is; None when there is nothing to play with it. Raises SdkError."""
        if not token:
            return None
        try:
            info = await self._client.token_info(token)
        except NotFoundError:
            return None
        match = self._matches.get(info.match_id)
        return (match, info) if match is not None and info.match_status == "live" else None

    async def guess(self, match: Match, user_id: str, number: int) -> None:
        """The first guess of a player counts."""
        match.guesses.setdefault(user_id, number)
        if len(match.guesses) == len(match.info.participants):
            await self._end(match)

    async def close(self) -> None:
        for clock in self._clocks.values():
            clock.cancel()
        await asyncio.gather(*self._clocks.values(), return_exceptions=True)

    async def _clock(self, match_id: str) -> None:
        await asyncio.sleep(self._deadline_seconds)
        match = self._matches.get(match_id)
        if match is not None:
            await self._end(match)

    def _forget(self, match_id: str) -> None:
        self._matches.pop(match_id, None)
        clock = self._clocks.pop(match_id, None)
        if clock is not None and clock is not asyncio.current_task():
            clock.cancel()

    async def _end(self, match: Match) -> None:
        if match.over:
            return
        match.over = True
        wanted = MatchRandom(match.info.match_id).stream("number").between(1, HIGHEST)
        scores = {
            each.id: HIGHEST - abs(match.guesses[each.id] - wanted) if each.id in match.guesses else 0
            for each in match.info.participants
        }
        members = {
            team.id: [each.id for each in match.info.participants if each.team_id == team.id]
            for team in match.info.teams
        }
        forfeits = {team_id: not any(each in match.guesses for each in users) for team_id, users in members.items()}
        sums = {team_id: sum(scores[each] for each in users) for team_id, users in members.items()}
        # Who forfeited is last, whatever the others scored.
        order = sorted((forfeits[team_id], -total) for team_id, total in sums.items())
        teams = [
            TeamResult(
                id=team_id,
                score=total,
                ranking=order.index((forfeits[team_id], -total)) + 1,
                forfeit=forfeits[team_id],
            )
            for team_id, total in sums.items()
        ]
        await self._outbox.put(match.info.match_id, scores, teams)
        self._forget(match.info.match_id)


def create_app(config: DeveloperConfig, data: Path, deadline_seconds: float) -> Starlette:
    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with AsyncClient(config) as client, AsyncResultOutbox(data, client) as outbox:
            app.state.game = Game(client, outbox, deadline_seconds)
            yield
            await app.state.game.close()

    async def started(event: MatchStarted) -> None:
        await app.state.game.started(event)

    async def aborted(event: MatchAborted) -> None:
        await app.state.game.aborted(event)

    webhook = match_webhook(config, started=started, aborted=aborted, deliveries=SqliteDeliveries(data))
    app = Starlette(
        routes=[
            Route("/healthz", lambda _request: JSONResponse({"status": "ok"})),
            Route(WEBHOOK, webhook),
            Route("/play", play),
            Route("/guess", guess, methods=["POST"]),
        ],
        lifespan=lifespan,
    )
    return app


async def play(request: Request) -> Response:
    token = request.query_params.get("token", "")
    try:
        seat = await request.app.state.game.admitted(token)
    except SdkError:
        return page("The platform does not answer right now. Nothing is lost: try again in a moment.", 503)
    if seat is None:
        return page("This link is no longer valid. Go back to your match and press Play again.", 404)
    head = f'<meta name="oklp-seed" content="{escape(seat[0].info.match_id)}">'
    return page("It is between 1 and 100. You have one guess.", 200, head, _FORM.format(token=escape(token)))


async def guess(request: Request) -> Response:
    async with request.form(max_files=0, max_fields=4) as form:
        token, number = str(form.get("token", "")), str(form.get("number", ""))
    if not (number.isascii() and number.isdigit() and 1 <= int(number[:4]) <= HIGHEST):
        return page("That is no number from 1 to 100.", 422)
    try:
        seat = await request.app.state.game.admitted(token)
    except SdkError:
        return page("The platform does not answer right now. Nothing is lost: try again in a moment.", 503)
    if seat is None:
        return page("There is nothing left to play.", 409)
    match, info = seat
    await request.app.state.game.guess(match, info.user_id, int(number))
    return page("Thank you. Your result is at the platform when everybody has guessed.", 200)


def page(text: str, status: int, head: str = "", form: str = "") -> Response:
    return HTMLResponse(_PAGE.format(text=escape(text), head=head, form=form), status)


async def player(launch_url: str, seat: Seat) -> str | None:
    """Somebody who plays it, as `oklp.check.run.PlayFunction`."""
    base, _, token = launch_url.partition("/play?token=")
    async with httpx.AsyncClient(trust_env=False, timeout=30) as http:
        answer = await http.post(f"{base}/guess", data={"token": token, "number": str(20 * seat.number)})
    return None if answer.is_success else f"was answered {answer.status_code}"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="oklp.check.reference", description="The built-in game of `oklp check`.")
    parser.add_argument("--config", type=Path, default=None, help="developer-config.json; else OKLP_DEVELOPER_CONFIG")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--data", type=Path, required=True, help="file that deliveries and results are kept in")
    parser.add_argument("--deadline-seconds", type=float, default=600.0)
    given = parser.parse_args(argv)
    app = create_app(load_config(given.config), given.data, given.deadline_seconds)
    uvicorn.run(app, host="127.0.0.1", port=given.port, access_log=False, log_level="warning", ws="none")
    return 0


if __name__ == "__main__":
    sys.exit(main())
