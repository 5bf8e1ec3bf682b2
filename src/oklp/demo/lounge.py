"""Where a person plays: a lasting link for each game, which opens a paid match against a bot when it is followed."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType

import httpx
from aiohttp import web

from oklp import contract
from oklp.demo import bots
from oklp.demo.games import DemoGame
from oklp.demo.people import OperatorPerson, PlayerPerson
from oklp.demo.show import Show, money
from oklp.demo.stage import HOST, DemoError, Stage

BOT = "rex"
ENTRY_FEE = 500
DEPOSIT = 10_000
POLL_SECONDS = 0.2


def outcome(match: contract.Match) -> str:
    """How a finished match ended: `ada wins 41 : 23`, and `, bob forfeits` where it was so."""
    teams = sorted(match.teams, key=lambda team: team.ranking or 0)
    names = [" and ".join(member.username for member in team.members) for team in teams]
    scores = " : ".join(f"{team.score or 0:,}" for team in teams)
    forfeits = "".join(f", {name} forfeits" for name, team in zip(names, teams, strict=True) if team.forfeit)
    if sum(team.ranking == 1 for team in teams) > 1:
        return f"a draw, {scores}{forfeits}"
    return f"{names[0]} wins {scores}{forfeits}"


@dataclass(slots=True)
class _Table:
    """The match that a game's link leads to until it is over. `filling` is held by who makes one."""

    game: DemoGame
    filling: asyncio.Lock = field(default_factory=asyncio.Lock)
    match_id: str = ""


class Lounge:
    """Serves the links on a port of its own, beside the platform. An async context manager, that `stay`s."""

    def __init__(
        self,
        show: Show,
        stage: Stage,
        http: httpx.AsyncClient,
        operator: OperatorPerson,
        guest: PlayerPerson,
        games: Sequence[DemoGame],
    ) -> None:
        self._show = show
        self._stage = stage
        self._http = http
        self._operator = operator
        self._guest = guest
        self._tables = {game.game_id: _Table(game) for game in games}
        self._matches: set[str] = set()
        self._hosting: asyncio.Queue[tuple[_Table, str, PlayerPerson]] = asyncio.Queue()
        app = web.Application()
        app.router.add_get("/", self._front)
        app.router.add_get("/{game_id}", self._enter)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        self._port = 0

    async def __aenter__(self) -> Lounge:
        await self._runner.setup()
        self._port = self._stage.choose_play_port()
        await web.TCPSite(self._runner, HOST, self._port).start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._runner.cleanup()

    def url_of(self, game: DemoGame) -> str:
        return f"http://{HOST}:{self._port}/{game.game_id}"

    def open_matches(self) -> list[str]:
        """Matches that are not over."""
        return sorted(self._matches)

    async def stay(self) -> None:
        """Bring a bot to each match that is opened, and tell how it ends. Goes on until it is cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                group.create_task(self._host(*await self._hosting.get()))

    # --- the links ---------------------------------------------------------------------------------------------------

    async def _front(self, _request: web.Request) -> web.Response:
        lines = [f"{table.game.name}: {self.url_of(table.game)}" for table in self._tables.values()]
        return web.Response(text="\n".join(["Play for play money, against a bot:", *lines, ""]))

    async def _enter(self, request: web.Request) -> web.Response:
        """Into the match that is on, or into a new one: never two at a time, however often a link is opened."""
        table = self._tables.get(request.match_info["game_id"])
        # Another site's name that was made to point here is not this address.
        if table is None or request.host.rpartition(":")[0] not in (HOST, "localhost"):
            return web.Response(status=404, text="There is no such game here.\n")
        try:
            async with table.filling:
                # A demo may stay up for longer than a session.
                await self._guest.come()
                if not await self._is_on(table):
                    await self._open(table)
                url = await self._guest.launch(table.match_id)
        except (DemoError, httpx.HTTPError) as error:
            self._show.note(f"{table.game.name} cannot be opened: {error}")
            return web.Response(status=503, text=f"The match could not be opened: {error}\nOpen the link again.\n")
        headers = {"location": url, "cache-control": "no-store", "referrer-policy": "no-referrer"}
        return web.Response(status=303, headers=headers)

    async def _is_on(self, table: _Table) -> bool:
        return bool(table.match_id) and (await self._guest.match(table.match_id)).status == "live"

    async def _open(self, table: _Table) -> None:
        """A live match between the guest and a new bot, both of whom have paid."""
        guest, rex = self._guest, PlayerPerson(self._http, f"{BOT}-{secrets.token_hex(2)}")
        await rex.come()
        await rex.deposit(ENTRY_FEE)
        if (await guest.balance()).available < ENTRY_FEE:
            await guest.deposit(DEPOSIT)
            self._show.note(f"{guest.name} has run out of play money, and deposits {money(DEPOSIT)}.")
        match_id = (await guest.create_match(table.game.game_id, ENTRY_FEE, rex.name)).match_id
        self._matches.add(match_id)
        try:
            await rex.join(match_id)
            await guest.confirm(match_id)
            await rex.confirm(match_id)
            await rex.wait_for(match_id, "live")
        except DemoError:
            # Where the game did not take it, the platform was faster.
            with contextlib.suppress(DemoError):
                await self._operator.call_off(match_id, "It could not be filled.")
            self._matches.discard(match_id)
            raise
        table.match_id = match_id
        self._show.line()
        self._show.note(f"{table.game.name}: {guest.name} against {rex.name}, each has paid {money(ENTRY_FEE)}")
        self._hosting.put_nowait((table, match_id, rex))

    # --- the match ---------------------------------------------------------------------------------------------------

    async def _host(self, table: _Table, match_id: str, rex: PlayerPerson) -> None:
        """Have the bot play, and tell how it ends. A match whose bot fails is called off."""
        game = table.game
        playing = asyncio.create_task(self._play(game, match_id, rex))
        try:
            match = await self._guest.wait_for(match_id, "finished", seconds=None, poll_seconds=POLL_SECONDS)
            self._matches.discard(match_id)
            await self._tell_end(game, match)
        except (DemoError, httpx.HTTPError) as error:
            self._matches.discard(match_id)
            self._show.note(f"{game.name}: {error} Entry fees went back.")
        finally:
            # Cancelled at the end of the demo, it is one of the open matches still, to be called off.
            playing.cancel()
            await asyncio.gather(playing, return_exceptions=True)

    async def _play(self, game: DemoGame, match_id: str, rex: PlayerPerson) -> None:
        try:
            await bots.play(self._stage, game, game.host_options, await rex.launch(match_id))
        except (DemoError, httpx.HTTPError) as error:
            await self._operator.call_off(match_id, f"The bot cannot play: {error}"[:200])

    async def _tell_end(self, game: DemoGame, match: contract.Match) -> None:
        names = {member.user_id: member.username for team in match.teams for member in team.members}
        paid = " and ".join(f"{names[won.user_id]} is paid {money(won.amount)}" for won in match.winnings)
        wallet = money((await self._guest.balance()).available)
        self._show.done(f"{game.name}: {outcome(match)}")
        self._show.line(f"   {paid}; {self._guest.name} has {wallet}. The link opens another match.")
