"""Who acts in the demo: players, a studio, an operator. Each does what it does by the public HTTP APIs alone."""

from __future__ import annotations

import asyncio
from typing import Any, TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from oklp import contract
from oklp.demo.stage import DemoError

Model = TypeVar("Model", bound=BaseModel)

PASSWORD = "demo-password"  # noqa: S105 - printed for everybody to use
CURRENCY = "XTS"
SIGNED_UP = "signs up"
LOGGED_IN = "logs in"
STATUS_SECONDS = 30.0
POLL_SECONDS = 0.02


class Person:
    """Somebody with a name and, once logged in, a session. `api` is player, studio or operator."""

    def __init__(self, http: httpx.AsyncClient, api: str, name: str) -> None:
        self.name = name
        self.token = ""
        self._http = http
        self._base = f"/api/{api}/v1"

    async def call(self, method: str, path: str, model: type[Model], body: Any = None) -> Model:
        """Call the API; DemoError with the platform's own words when it refuses."""
        answer = await self._send(method, path, body)
        if not answer.is_success:
            raise DemoError(f"{self.name}: {method} {self._base}{path} answered {answer.status_code}: {_why(answer)}")
        return model.model_validate_json(answer.content)

    async def log_in(self) -> bool:
        """False when there is no such person with the demo's password."""
        answer = await self._send("POST", "/sessions", {"username": self.name, "password": PASSWORD})
        if answer.status_code == httpx.codes.UNAUTHORIZED:
            return False
        if not answer.is_success:
            raise DemoError(f"{self.name} cannot log in: {_why(answer)}")
        self.token = contract.Session.model_validate_json(answer.content).token
        return True

    async def _send(self, method: str, path: str, body: Any) -> httpx.Response:
        headers = {"authorization": f"Bearer {self.token}"} if self.token else {}
        return await self._http.request(method, self._base + path, json=body, headers=headers)


class PlayerPerson(Person):
    def __init__(self, http: httpx.AsyncClient, name: str) -> None:
        super().__init__(http, "player", name)
        self.user_id = ""

    async def come(self) -> str:
        """Log in, and sign up first where that is needed. Returns which of the two it was."""
        how = LOGGED_IN
        if not await self.log_in():
            how = SIGNED_UP
            sign_up = {
                "username": self.name,
                "email": f"{self.name}@players.example",
                "password": PASSWORD,
                "date_of_birth": "1990-01-01",
                "country": "DE",
            }
            await self.call("POST", "/players", contract.Player, sign_up)
            if not await self.log_in():
                raise DemoError(f"{self.name} signed up and cannot log in.")
        self.user_id = (await self.call("GET", "/me", contract.Profile)).user_id
        return how

    async def deposit(self, amount: int) -> None:
        await self.call("POST", "/wallet/deposits", contract.PaymentAnswer, _money(amount))

    async def balance(self) -> contract.Balance:
        wallet = await self.call("GET", "/wallet", contract.Wallet)
        found = next((balance for balance in wallet.balances if balance.currency == CURRENCY), None)
        return found or contract.Balance(currency=CURRENCY, available=0, in_escrow=0)

    async def entries_of(self, match_id: str) -> list[contract.WalletEntry]:
        """The statement's lines for one match, which is among the latest."""
        page = await self.call("GET", "/wallet/entries", contract.WalletEntryPage)
        return [entry for entry in page.entries if entry.match_id == match_id]

    async def create_match(self, game_id: str, entry_fee: int, invited: str) -> contract.Match:
        request = {"game_id": game_id, "entry_fee": _money(entry_fee), "teams": 2, "team_size": 1, "invite": [invited]}
        return await self.call("POST", "/matches", contract.Match, request)

    async def join(self, match_id: str) -> contract.Match:
        return await self.call("POST", f"/matches/{match_id}/join", contract.Match)

    async def confirm(self, match_id: str) -> contract.Match:
        return await self.call("POST", f"/matches/{match_id}/confirm", contract.Match)

    async def launch(self, match_id: str) -> str:
        answer = await self.call("POST", f"/matches/{match_id}/launch", contract.LaunchAnswer, {"platform": "browser"})
        return answer.launch_url

    async def match(self, match_id: str) -> contract.Match:
        return await self.call("GET", f"/matches/{match_id}", contract.Match)

    async def wait_for(
        self, match_id: str, status: str, *, seconds: float | None = STATUS_SECONDS, poll_seconds: float = POLL_SECONDS
    ) -> contract.Match:
        """Read the match until it has this status. DemoError when it is over in another way, or it takes too long."""
        match = await self.match(match_id)
        try:
            async with asyncio.timeout(seconds):
                while match.status != status:
                    if match.status in ("finished", "aborted"):
                        why = f": {match.abort_detail or match.abort_reason}" if match.status == "aborted" else ""
                        raise DemoError(f"The match should be {status} and is {match.status}{why}")
                    await asyncio.sleep(poll_seconds)
                    match = await self.match(match_id)
        except TimeoutError:
            message = f"The match should be {status} and is still {match.status} after {seconds} seconds."
            raise DemoError(message) from None
        return match


class StudioPerson(Person):
    """The owner of the studio that the demo's games belong to."""

    STUDIO = "Lantern Works"

    def __init__(self, http: httpx.AsyncClient, name: str) -> None:
        super().__init__(http, "studio", name)

    async def come(self) -> str:
        """As PlayerPerson.come."""
        if await self.log_in():
            return LOGGED_IN
        sign_up = {
            "name": self.STUDIO,
            "username": self.name,
            "email": f"{self.name}@lantern-works.example",
            "password": PASSWORD,
        }
        await self.call("POST", "/studios", contract.Studio, sign_up)
        if not await self.log_in():
            raise DemoError("The studio signed up and cannot log in.")
        return SIGNED_UP

    async def registered(self, game: contract.NewGame) -> contract.StudioGame | contract.RegisteredGame:
        """The game, with these addresses and settings: registered now, or changed to them."""
        games = (await self.call("GET", "/games", contract.StudioGamePage)).games
        known = next((found for found in games if found.game_id == game.game_id), None)
        body = game.model_dump(mode="json", exclude_unset=True)
        if known is None:
            return await self.call("POST", "/games", contract.RegisteredGame, body)
        del body["game_id"]
        return await self.call("PATCH", f"/games/{known.game_id}", contract.StudioGame, body)

    async def config_of(
        self, game: contract.StudioGame | contract.RegisteredGame, kept: contract.DeveloperConfig | None
    ) -> contract.DeveloperConfig:
        """The developer configuration with its secrets, which the platform shows once: at registration, or anew."""
        if isinstance(game, contract.RegisteredGame):
            return game.developer_config
        path = f"/games/{game.game_id}"
        if kept is None or not kept.authentication.client_secret or not kept.authentication.webhook_secret:
            return await self.call("POST", f"{path}/secrets", contract.DeveloperConfig)
        # The addresses are those of now, as the platform may have another port than the last time.
        now = await self.call("GET", f"{path}/developer-config", contract.DeveloperConfig)
        secrets = {
            "client_secret": kept.authentication.client_secret,
            "webhook_secret": kept.authentication.webhook_secret,
        }
        return now.model_copy(update={"authentication": now.authentication.model_copy(update=secrets)})

    async def figures(self, game_id: str) -> contract.GameFigures:
        return await self.call("GET", f"/games/{game_id}/figures", contract.GameFigures)

    async def delivery_of(self, game_id: str, match_id: str) -> contract.DeliveryDetail:
        """What the game was told of a match, with every attempt."""
        page = await self.call("GET", f"/games/{game_id}/deliveries", contract.DeliveryPage)
        for delivery in page.deliveries:
            if delivery.match_id == match_id and delivery.method == "PUT":
                return await self.call("GET", f"/deliveries/{delivery.delivery_id}", contract.DeliveryDetail)
        raise DemoError("There is no delivery for the match.")


class OperatorPerson(Person):
    def __init__(self, http: httpx.AsyncClient, name: str) -> None:
        super().__init__(http, "operator", name)

    async def live_matches(self, game_id: str) -> list[contract.Match]:
        query = f"/matches?status=live&game_id={game_id}"
        return (await self.call("GET", query, contract.OperatorMatchPage)).matches

    async def call_off(self, match_id: str, reason: str) -> None:
        await self.log_in()  # a demo may stay up for longer than a session
        await self.call("POST", f"/matches/{match_id}/abort", contract.OperatorMatch, {"reason": reason})


def _money(amount: int) -> dict[str, Any]:
    return {"amount": amount, "currency": CURRENCY}


def _why(answer: httpx.Response) -> str:
    try:
        return contract.Problem.model_validate_json(answer.content).detail
    except ValidationError:
        return answer.text[:300]
