"""The demo's story: a paid match from registration to payout, whether the money came out right, and a table for you."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import secrets
from dataclasses import dataclass
from pathlib import Path

import httpx
from pydantic import ValidationError

from oklp import contract
from oklp.demo.bots import Bot, View, bold, steady
from oklp.demo.people import CURRENCY, PASSWORD, OperatorPerson, PlayerPerson, StudioPerson
from oklp.demo.show import Show, money
from oklp.demo.stage import PORT_TRIES, DemoError, PortTaken, Stage

GAME_ID = "high-bid"
GAME_NAME = "High Bid"
ENTRY_FEE = 500
FEE_BPS = 1_000
BPS = 10_000
BOT_DEPOSIT = 2_000
GUEST_DEPOSIT = 10_000
DAY_SECONDS = 24 * 3600
# Somebody who leaves the demo open over lunch can still play the match that waits.
RESULTS_DUE_SECONDS = DAY_SECONDS
ARRIVAL_SECONDS = DAY_SECONDS - 3600
GUESTS = ("demo", "demo2")
BOT_NAME = re.compile(r"(ada|bob|rex)-[0-9a-f]{4}")
TIDY_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Money:
    """What a match did: wallets as (available, in escrow) before the entry fee and after the end, by user id, and the
    game's figures then.
    """

    before: dict[str, contract.Balance]
    after: dict[str, contract.Balance]
    figures_before: contract.CurrencyFigures
    figures_after: contract.CurrencyFigures


def payout_faults(match: contract.Match, money_: Money) -> list[str]:
    """What is off with the money of a finished match; empty when all of it is where it belongs.

    Worked out from the entry fee alone, beside the platform's own arithmetic.
    """
    pot = match.entry_fee.amount * len(match.teams)
    fee = pot * FEE_BPS // BPS
    prize = pot - fee
    winners = [member.user_id for team in match.teams if team.ranking == 1 for member in team.members]
    faults = []

    def check(what: str, is_: object, should: object) -> None:
        if is_ != should:
            faults.append(f"{what} is {is_} and should be {should}")

    check("the status", match.status, "finished")
    check("the prize pool", match.prize_pool.amount, prize)
    check("the number of winners that share the prize", len(winners) in (1, 2), True)
    share = prize // max(len(winners), 1)
    check("what the winners get", {each.user_id: each.amount for each in match.winnings}, dict.fromkeys(winners, share))
    for user_id, before in money_.before.items():
        after = money_.after[user_id]
        change = (share if user_id in winners else 0) - match.entry_fee.amount
        check(f"the change of the wallet of {user_id}", after.available - before.available, change)
        check(f"the money of {user_id} in escrow", after.in_escrow, before.in_escrow)
    first, last = money_.figures_before, money_.figures_after
    check("what the game's figures gained in entry fees", last.entry_fees - first.entry_fees, pot)
    check("what the game's figures gained in prizes", last.prizes - first.prizes, prize)
    fees = last.fees + last.studio_share - first.fees - first.studio_share
    check("what the game's figures gained in fees and studio share", fees, fee)
    return faults


class Story:
    """Tells it on a stage. `staying` says that the demo is over and the platform stays up."""

    def __init__(self, show: Show, stage: Stage, *, once: bool) -> None:
        self.staying = False
        self._show = show
        self._stage = stage
        self._once = once
        self._open_match: str | None = None
        self._tag = secrets.token_hex(2)
        self._http = httpx.AsyncClient(trust_env=False, timeout=30)
        self._operator = OperatorPerson(self._http, "operator")
        self._studio = StudioPerson(self._http, "studio")
        self._guests = [PlayerPerson(self._http, name) for name in GUESTS]

    async def tell(self) -> int:
        """All of it. Returns the status to exit with, with `once`; without, it goes on until it is cancelled."""
        folder = self._stage.data_dir
        self._show.title(
            "OKLP demo: a paid match, from registration to payout",
            f"Play money ({CURRENCY}), everything on this machine, kept in {folder}",
        )
        await self._open_platform()
        await self._open_game()
        await self._call_off_leftovers()
        await self._welcome_guests()
        await self._paid_match()
        await self._verify_books()
        if self._once:
            return 0
        await self._stay()
        return 0

    async def tidy_up(self) -> None:
        """A match that nobody will end now is called off, so that its entry fees go back."""
        if self._open_match is not None:
            with contextlib.suppress(DemoError, httpx.HTTPError, TimeoutError):
                async with asyncio.timeout(TIDY_SECONDS):
                    await self._operator.call_off(self._open_match, "The demo was ended.")
        await self._http.aclose()

    # --- the platform and the game -----------------------------------------------------------------------------------

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
            "operator", "create", "--username", name, "--password", PASSWORD, "--database-url", self._stage.database_url
        )
        if status != 0:
            raise DemoError(f"oklp operator create ended with status {status}:", errors.splitlines())
        if not await self._operator.log_in():
            raise DemoError("The operator was created and cannot log in.")

    async def _open_game(self) -> None:
        self._show.chapter("The studio and its game")
        with self._show.step(f"Studio {StudioPerson.STUDIO}") as step:
            step.detail = await self._studio.come()
        for attempt in range(PORT_TRIES):
            self._stage.choose_game_port(attempt)
            with self._show.step(f"It registers {GAME_NAME}") as step:
                await self._register()
                step.detail = self._stage.config_path.name
            try:
                with self._show.step("Its game server starts") as step:
                    await self._stage.start_game(ARRIVAL_SECONDS)
                    step.detail = self._stage.game_url
            except PortTaken:
                continue
            return
        raise DemoError("No port is free for the game server.")

    async def _register(self) -> None:
        url = self._stage.game_url
        request = contract.NewGame(
            name=GAME_NAME,
            game_id=GAME_ID,
            webhook_url=f"{url}/oklp/match",
            launch_urls=contract.LaunchTemplates(browser=f"{url}/play?token={{match-token}}"),
            settings=contract.GameSettings(
                mode="sync",
                fee_bps=FEE_BPS,
                teams_min=2,
                teams_max=2,
                team_size_min=1,
                team_size_max=1,
                results_due_seconds=RESULTS_DUE_SECONDS,
            ),
        )
        game = await self._studio.registered(request)
        if game.vetting != "approved":
            raise DemoError(f"The game is {game.vetting}, and the sandbox should have approved it at once.")
        path = self._stage.config_path
        config = await self._studio.config_of(game, _kept_config(path))
        path.touch(mode=0o600)
        path.write_text(config.model_dump_json(indent=2, exclude_none=True) + "\n", encoding="utf-8")

    async def _call_off_leftovers(self) -> None:
        """A demo that was killed has left its bots' matches live; they have no players any more."""
        for match in await self._operator.live_matches(GAME_ID):
            names = [member.username for team in match.teams for member in team.members]
            if any(BOT_NAME.fullmatch(name) for name in names):
                with self._show.step("A match left over from an earlier demo") as step:
                    await self._operator.call_off(match.match_id, "Left over from an earlier demo.")
                    step.detail = "called off, fees back"

    # --- the paid match ----------------------------------------------------------------------------------------------

    async def _welcome_guests(self) -> None:
        self._show.chapter("The players")
        for guest in self._guests:
            await self._welcome(guest, GUEST_DEPOSIT, top_up=True)

    async def _welcome(self, player: PlayerPerson, amount: int, *, top_up: bool = False) -> None:
        """Sign up or log in, and deposit: the amount or, with `top_up`, what is missing to it."""
        with self._show.step(player.name) as step:
            doing = [await player.come()]
            missing = amount - (await player.balance()).available if top_up else amount
            if missing > 0:
                await player.deposit(missing)
                doing.append(f"deposits {money(missing)}")
            step.detail = ", ".join(doing)

    async def _paid_match(self) -> None:
        ada, bob = (PlayerPerson(self._http, f"{name}-{self._tag}") for name in ("ada", "bob"))
        players = [ada, bob]
        for player in players:
            await self._welcome(player, BOT_DEPOSIT)
        before = {player.user_id: await player.balance() for player in players}
        figures_before = await self._figures()
        self._show.chapter("The match")
        match_id = await self._fill(ada, bob)
        await self._pay(match_id, players)
        await self._play(match_id, ada, bob)
        with self._show.step("The game reports the result") as step:
            match = await ada.wait_for(match_id, "finished")
            self._open_match = None
            step.detail = f"match {match_id}"
        after = {player.user_id: await player.balance() for player in players}
        faults = payout_faults(match, Money(before, after, figures_before, await self._figures()))
        await self._show_payout(match, players, faults)

    async def _figures(self) -> contract.CurrencyFigures:
        figures = await self._studio.figures(GAME_ID)
        found = next((each for each in figures.money if each.currency == CURRENCY), None)
        return found or contract.CurrencyFigures(currency=CURRENCY, entry_fees=0, prizes=0, fees=0, studio_share=0)

    async def _fill(self, creator: PlayerPerson, invited: PlayerPerson) -> str:
        with self._show.step(f"{creator.name} creates it, invites {invited.name}") as step:
            match = await creator.create_match(GAME_ID, ENTRY_FEE, invited.name)
            self._open_match = match.match_id
            step.detail = f"entry fee {money(match.entry_fee.amount)}, prize {money(match.prize_pool.amount)}"
        with self._show.step(f"{invited.name} joins"):
            await invited.join(match.match_id)
        return match.match_id

    async def _pay(self, match_id: str, players: list[PlayerPerson]) -> None:
        for player in players:
            with self._show.step(f"{player.name} confirms and pays") as step:
                await player.confirm(match_id)
                balance = await player.balance()
                step.detail = f"{money(balance.in_escrow)} in escrow, {money(balance.available)} left"
        with self._show.step("The platform tells the game; it is live") as step:
            await players[0].wait_for(match_id, "live")
            attempt = (await self._studio.delivery_of(GAME_ID, match_id)).log[-1]
            step.detail = f"PUT answered {attempt.status} in {attempt.duration_ms} ms"

    async def _play(self, match_id: str, ada: PlayerPerson, bob: PlayerPerson) -> None:
        with self._show.step("Both launch with a match-token each") as step:
            launches = [await player.launch(match_id) for player in (ada, bob)]
            step.detail = launches[0].partition("?")[0]
        think = (0.02, 0.05) if self._once else (0.25, 0.6)
        shown = 0

        def on_view(view: View) -> None:
            nonlocal shown
            for number, done in enumerate(view["history"][shown:], start=shown + 1):
                taken_by = {"you": f"{ada.name} takes it", "them": f"{bob.name} takes it"}
                outcome = taken_by.get(done["taken_by"], "equal, it stays on the table")
                bids = [(ada.name, done["you"]), (bob.name, done["them"])]
                self._show.round(number, "+".join(map(str, done["stake"])), bids, outcome)
            shown = len(view["history"])

        with self._show.step("They play seven rounds") as step:
            async with asyncio.TaskGroup() as table:
                last = table.create_task(Bot(steady, think).play(launches[0], on_view))
                table.create_task(Bot(bold, think).play(launches[1]))
            view = last.result()
            if view["phase"] != "over":
                raise DemoError("The match was called off while it was being played.")
            step.detail = _score(view, ada.name, bob.name)

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
        show.chapter("Up and running")
        show.pairs(
            [
                ("Platform", stage.platform_url),
                ("API reference", f"{stage.platform_url}/docs"),
                ("Game server", stage.game_url),
                ("Logs", str(stage.data_dir / "*.log")),
            ]
        )
        show.chapter("Log-ins")
        show.pairs(
            [
                ("Players", f"{' and '.join(GUESTS)}, at /api/player/v1/sessions"),
                ("Studio", f"{self._studio.name}, at /api/studio/v1/sessions"),
                ("Operator", f"{self._operator.name}, at /api/operator/v1/sessions"),
                ("Password", f"{PASSWORD}, for all of them"),
            ]
        )
        show.chapter(f"Ask for the wallet of {guest.name}")
        url = f"{stage.platform_url}/api/player/v1/wallet"
        show.line(f"   curl -s {url} -H 'Authorization: Bearer {guest.token}'")
        self.staying = True
        while await self._host(guest):
            await self._welcome(guest, GUEST_DEPOSIT, top_up=True)
        show.line(" [yellow]•[/] Nobody came to play. The platform stays up; a new demo prepares a new match.")
        await asyncio.Event().wait()

    async def _host(self, guest: PlayerPerson) -> bool:
        """A live match between the guest and a bot that waits at the table. False when the guest never came."""
        rex = PlayerPerson(self._http, f"rex-{secrets.token_hex(2)}")
        await rex.come()
        await rex.deposit(BOT_DEPOSIT)
        match = await guest.create_match(GAME_ID, ENTRY_FEE, rex.name)
        self._open_match = match.match_id
        await rex.join(match.match_id)
        await guest.confirm(match.match_id)
        await rex.confirm(match.match_id)
        await rex.wait_for(match.match_id, "live")
        self._show.chapter(f"Play against {rex.name}, as {guest.name}")
        self._show.pairs(
            [
                ("Open", await guest.launch(match.match_id)),
                ("Prize", f"{money(match.prize_pool.amount)}; both have paid {money(ENTRY_FEE)}"),
                ("Ctrl-C", "ends all of it"),
            ]
        )
        view = await Bot(steady, (0.8, 2.0)).play(await rex.launch(match.match_id))
        if view["phase"] != "over":
            self._open_match = None
            self._show.line(" [yellow]•[/] The match was called off, and both have their entry fees back.")
            return False
        finished = await guest.wait_for(match.match_id, "finished", seconds=120, poll_seconds=0.2)
        self._open_match = None
        await self._show_end(finished, view, guest, rex)
        return bool(view["them"]["here"])

    async def _show_end(self, match: contract.Match, view: View, guest: PlayerPerson, rex: PlayerPerson) -> None:
        won = {winning.user_id: winning.amount for winning in match.winnings}
        score = _score(view, rex.name, guest.name)
        paid = " and ".join(
            f"{player.name} is paid {money(won[player.user_id])}" for player in (guest, rex) if player.user_id in won
        )
        wallet = money((await guest.balance()).available)
        self._show.line()
        self._show.line(f" [green]✓[/] {score}. {paid or 'All fees went back'}; {guest.name} now has {wallet}.")


def _score(view: View, you: str, them: str) -> str:
    """How a match ended, from one seat's last view: `ada wins 17 : 11`."""
    points = view["you"]["points"], view["them"]["points"]
    if view["outcome"] == "won":
        return f"{you} wins {points[0]} : {points[1]}"
    if view["outcome"] == "lost":
        return f"{them} wins {points[1]} : {points[0]}"
    return f"a draw, {points[0]} : {points[1]}"


def _kept_config(path: Path) -> contract.DeveloperConfig | None:
    """The configuration of an earlier demo on this folder, which has the secrets."""
    try:
        return contract.DeveloperConfig.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return None
