"""The demo's story: a paid match of each game from registration to payout, whether the money came out right, and then
a match for you.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import secrets
from pathlib import Path

import httpx
from pydantic import ValidationError

from oklp import contract
from oklp.demo import bots
from oklp.demo.games import BOTS_RUN_SECONDS, ONCE_RUN_SECONDS, DemoGame, State, games
from oklp.demo.lounge import BOT, DEPOSIT, ENTRY_FEE, Lounge, outcome
from oklp.demo.payouts import FEE_BPS, Money, payout_faults
from oklp.demo.people import CURRENCY, PASSWORD, OperatorPerson, PlayerPerson, StudioPerson
from oklp.demo.show import Show, Step, money
from oklp.demo.stage import PORT_TRIES, DemoError, PortTaken, Stage

BOT_DEPOSIT = 2_000
GUESTS = ("demo", "demo2")
BOT_NAME = re.compile(rf"(ada|bob|{BOT})-[0-9a-f]{{4}}")
TIDY_SECONDS = 3.0


class Story:
    """Tells it on a stage. `staying` says that the demo is over and the platform stays up. `run_seconds` is how long a
    run of Tile Rush lasts for people.
    """

    def __init__(self, show: Show, stage: Stage, *, once: bool, run_seconds: int) -> None:
        self.staying = False
        self._show = show
        self._stage = stage
        self._once = once
        self._run_seconds = run_seconds
        self._games = games(run_seconds)
        # Nobody wants to watch bots for as long as a person may play.
        self._games_of_bots = games(min(run_seconds, ONCE_RUN_SECONDS if once else BOTS_RUN_SECONDS))
        self._urls: dict[str, str] = {}
        self._open_match: str | None = None
        self._tag = secrets.token_hex(2)
        self._http = httpx.AsyncClient(trust_env=False, timeout=30)
        self._operator = OperatorPerson(self._http, "operator")
        self._studio = StudioPerson(self._http, "studio")
        self._guests = [PlayerPerson(self._http, name) for name in GUESTS]
        self._lounge: Lounge | None = None

    async def tell(self) -> int:
        """All of it. Returns the status to exit with, with `once`; without, it goes on until it is cancelled."""
        folder = self._stage.data_dir
        self._show.title(
            "OKLP demo: paid matches, from registration to payout",
            f"Play money ({CURRENCY}), everything on this machine, kept in {folder}",
        )
        await self._open_platform()
        self._show.chapter("The studio and its games")
        with self._show.step(f"Studio {StudioPerson.STUDIO}") as step:
            step.detail = await self._studio.come()
        for game in self._games_of_bots:
            await self._open_game(game)
            await self._call_off_leftovers(game)
        self._show.chapter("The players")
        for guest in self._guests:
            await self._welcome(guest, DEPOSIT, top_up=True)
        players = [PlayerPerson(self._http, f"{name}-{self._tag}") for name in ("ada", "bob")]
        for player in players:
            await self._welcome(player, BOT_DEPOSIT)
        for game in self._games_of_bots:
            await self._paid_match(game, players)
        await self._verify_books()
        if self._once:
            return 0
        await self._stay()
        return 0

    async def tidy_up(self) -> None:
        """Matches that nobody will end now are called off, so that their entry fees go back."""
        left = [self._open_match] if self._open_match else []
        left += self._lounge.open_matches() if self._lounge else []
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(TIDY_SECONDS):
                for match_id in left:
                    with contextlib.suppress(DemoError, httpx.HTTPError):
                        await self._operator.call_off(match_id, "The demo was ended.")
        await self._http.aclose()

    # --- the platform and the games ----------------------------------------------------------------------------------

    async def _open_platform(self) -> None:
        self._show.chapter("The platform")
        with self._show.step("oklp serve --sandbox") as step:
            await self._stage.start_platform()
            self._http.base_url = httpx.URL(self._stage.platform_url)
            step.detail = self._stage.platform_url
        with self._show.step("Its operator") as step:
            step.detail = "logs in"
            if not await self._operator.log_in():
                await self._make_operator()
                step.detail = "is made by oklp operator create"

    async def _make_operator(self) -> None:
        name = self._operator.name
        status, _, errors = await self._stage.oklp(
            *("operator", "create", "--username", name, "--password", PASSWORD, "--role", "admin"),
            *("--database-url", self._stage.database_url),
        )
        if status != 0:
            raise DemoError(f"oklp operator create ended with status {status}:", errors.splitlines())
        if not await self._operator.log_in():
            raise DemoError("The operator was created and cannot log in.")

    async def _open_game(self, game: DemoGame) -> None:
        for attempt in range(PORT_TRIES):
            url = self._stage.choose_game_url(attempt)
            with self._show.step(f"It registers {game.name}") as step:
                path = await self._register(game, url)
                step.detail = str(path.relative_to(self._stage.data_dir))
            try:
                with self._show.step(f"The game server of {game.name}") as step:
                    await self._start(game, url)
                    step.detail = url
            except PortTaken:
                continue
            self._urls[game.game_id] = url
            return
        raise DemoError(f"No port is free for the game server of {game.name}.")

    async def _start(self, game: DemoGame, url: str) -> None:
        await self._stage.start_game(game.name, game.module, game.game_id, url, game.server_options)

    async def _register(self, game: DemoGame, url: str) -> Path:
        request = contract.NewGame(
            name=game.name,
            game_id=game.game_id,
            webhook_url=f"{url}/oklp/match",
            launch_urls=contract.LaunchTemplates(browser=f"{url}/play?token={{match-token}}"),
            settings=contract.NewGameSettings(
                mode=game.mode, fee_bps=FEE_BPS, teams_min=2, teams_max=2, team_size_min=1, team_size_max=1
            ),
        )
        registered = await self._studio.registered(request)
        if registered.vetting != "approved":
            raise DemoError(f"{game.name} is {registered.vetting}, and the sandbox should have approved it at once.")
        path = self._stage.config_of(game.game_id)
        config = await self._studio.config_of(registered, _kept_config(path))
        path.touch(mode=0o600)
        path.write_text(config.model_dump_json(indent=2, exclude_none=True) + "\n", encoding="utf-8")
        return path

    async def _call_off_leftovers(self, game: DemoGame) -> None:
        """A demo that was killed has left its bots' matches live; they have no players any more."""
        for match in await self._operator.live_matches(game.game_id):
            names = [member.username for team in match.teams for member in team.members]
            if any(BOT_NAME.fullmatch(name) for name in names):
                with self._show.step("A match left over from an earlier demo") as step:
                    await self._operator.call_off(match.match_id, "Left over from an earlier demo.")
                    step.detail = "called off, fees back"

    # --- a paid match ------------------------------------------------------------------------------------------------

    async def _welcome(self, player: PlayerPerson, amount: int, *, top_up: bool = False) -> None:
        """Sign up or log in, and deposit: the amount or, with `top_up`, what is missing to it."""
        with self._show.step(player.name) as step:
            doing = [await player.come()]
            missing = amount - (await player.balance()).available if top_up else amount
            if missing > 0:
                await player.deposit(missing)
                doing.append(f"deposits {money(missing)}")
            step.detail = ", ".join(doing)

    async def _paid_match(self, game: DemoGame, players: list[PlayerPerson]) -> None:
        before = {player.user_id: await player.balance() for player in players}
        figures_before = await self._figures(game)
        self._show.chapter(f"A match of {game.name}")
        match_id = await self._fill(game, *players)
        await self._pay(game, match_id, players)
        await self._play(game, match_id, players)
        with self._show.step("The winner is known") as step:
            match = await players[0].wait_for(match_id, "finished")
            self._open_match = None
            step.detail = outcome(match)
        after = {player.user_id: await player.balance() for player in players}
        faults = payout_faults(match, Money(before, after, figures_before, await self._figures(game)))
        await self._show_payout(match, players, faults)

    async def _figures(self, game: DemoGame) -> contract.CurrencyFigures:
        figures = await self._studio.figures(game.game_id)
        found = next((each for each in figures.money if each.currency == CURRENCY), None)
        return found or contract.CurrencyFigures(currency=CURRENCY, entry_fees=0, prizes=0, fees=0, studio_share=0)

    async def _fill(self, game: DemoGame, creator: PlayerPerson, invited: PlayerPerson) -> str:
        with self._show.step(f"{creator.name} invites {invited.name}") as step:
            match = await creator.create_match(game.game_id, ENTRY_FEE, invited.name)
            self._open_match = match.match_id
            step.detail = f"entry fee {money(match.entry_fee.amount)}, prize {money(match.prize_pool.amount)}"
        with self._show.step(f"{invited.name} joins") as step:
            await invited.join(match.match_id)
            step.detail = f"match {match.match_id}"
        return match.match_id

    async def _pay(self, game: DemoGame, match_id: str, players: list[PlayerPerson]) -> None:
        for player in players:
            with self._show.step(f"{player.name} confirms and pays") as step:
                await player.confirm(match_id)
                balance = await player.balance()
                step.detail = f"{money(balance.in_escrow)} in escrow, {money(balance.available)} left"
        with self._show.step("The platform tells the game; it is live") as step:
            await players[0].wait_for(match_id, "live")
            attempt = (await self._studio.delivery_of(game.game_id, match_id)).log[-1]
            step.detail = f"PUT answered {attempt.status} in {attempt.duration_ms} ms"

    async def _play(self, game: DemoGame, match_id: str, players: list[PlayerPerson]) -> None:
        with self._show.step("Both launch with a match-token each") as step:
            launches = [await player.launch(match_id) for player in players]
            step.detail = launches[0].partition("?")[0]
        with self._show.step("They play, and the game reports") as step:
            await self._bots_play(game, launches, [player.name for player in players], step)

    async def _bots_play(self, game: DemoGame, launches: list[str], names: list[str], step: Step) -> None:
        states: list[State] = [{}, {}]
        playing = list(game.quick_bots if self._once else game.shown_bots)
        # By lot: neither of the two always has the stronger bot.
        if secrets.randbelow(2):
            playing.reverse()

        async def play(number: int) -> None:
            def on_state(state: State) -> None:
                states[number] = state
                step.detail = game.so_far(states[0], states[1], *names)
                step.so_far(step.detail)

            await bots.play(self._stage, game, playing[number], launches[number], on_state)

        await asyncio.gather(play(0), play(1))

    async def _show_payout(self, match: contract.Match, players: list[PlayerPerson], faults: list[str]) -> None:
        if faults:
            raise DemoError("The payout is wrong:", faults)
        by_id = {player.user_id: player for player in players}
        pot = match.entry_fee.amount * len(players)
        for winning in match.winnings:
            winner = by_id[winning.user_id]
            with self._show.step(f"{winner.name} is paid the prize") as step:
                statement = sum(entry.amount for entry in await winner.entries_of(match.match_id))
                if statement != winning.amount - match.entry_fee.amount:
                    raise DemoError(f"The statement of {winner.name} adds up to {money(statement)} for this match.")
                step.detail = f"{money(winning.amount)} = pot {pot // 100}.{pot % 100:02d} less {FEE_BPS // 100} % fee"
        with self._show.step("The wallets are right") as step:
            balances = [f"{player.name} {money((await player.balance()).available)}" for player in players]
            step.detail = ", ".join(balances)

    # --- the books ---------------------------------------------------------------------------------------------------

    async def _verify_books(self) -> None:
        self._show.chapter("The books")
        with self._show.step("oklp books verify") as step:
            command = ("books", "verify", "--json", "--database-url", self._stage.database_url)
            status, output, errors = await self._stage.oklp(*command)
            try:
                books = contract.Books.model_validate_json(output)
            except ValidationError:
                raise DemoError(f"oklp books verify ended with status {status}:", errors.splitlines()) from None
            faults = [f"{fault.check} {fault.row}: {fault.detail}" for fault in books.faults]
            if status != 0 or not books.clean:
                raise DemoError(f"The books are not clean (status {status}):", faults)
            step.detail = f"clean: {books.postings} postings in {books.posting_sets} sets"
        self._show.books(books)

    # --- staying up --------------------------------------------------------------------------------------------------

    async def _stay(self) -> None:
        show, stage, guest = self._show, self._stage, self._guests[0]
        for game, as_played in zip(self._games, self._games_of_bots, strict=True):
            if game.server_options != as_played.server_options:
                show.line()
                with show.step(f"{game.name} starts again, for you") as step:
                    await stage.stop_game(game.name)
                    await self._start(game, self._urls[game.game_id])
                    step.detail = f"runs of {self._run_seconds} seconds"
        show.chapter("Up and running")
        show.pairs(
            [
                ("Platform", stage.platform_url),
                ("API reference", f"{stage.platform_url}/docs"),
                *((game.name, self._urls[game.game_id]) for game in self._games),
                ("Logs", str(stage.data_dir / "*.log")),
            ]
        )
        show.chapter("Log-ins")
        show.pairs(
            [
                ("Players", f"{' and '.join(GUESTS)}, at /api/player/v1/sessions"),
                ("Studio", f"{self._studio.name}, at {stage.platform_url}/studio/log-in or /api/studio/v1/sessions"),
                ("Operator", f"{self._operator.name}, at {stage.platform_url}/operator or /api/operator/v1/sessions"),
                ("Password", f"{PASSWORD}, for all of them"),
            ]
        )
        show.chapter(f"Ask for the wallet of {guest.name}")
        url = f"{stage.platform_url}/api/player/v1/wallet"
        show.line(f"   curl -s {url} -H 'Authorization: Bearer {guest.token}'")
        self._lounge = Lounge(show, stage, self._http, self._operator, guest, self._games)
        async with self._lounge:
            show.chapter(f"Play against a bot, as {guest.name}")
            show.pairs([(game.name, self._lounge.url_of(game)) for game in self._games])
            prize = 2 * ENTRY_FEE * (10_000 - FEE_BPS) // 10_000
            show.line()
            show.line(
                f"   Open a link in a browser: it starts a match, and {money(ENTRY_FEE)} of {guest.name} are in it."
            )
            show.line(f"   Win {money(prize)}, see it here, and open it again for another. Ctrl-C ends all of it.")
            self.staying = True
            await self._lounge.stay()


def _kept_config(path: Path) -> contract.DeveloperConfig | None:
    """The configuration of an earlier demo on this folder, which has the secrets."""
    try:
        return contract.DeveloperConfig.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return None
