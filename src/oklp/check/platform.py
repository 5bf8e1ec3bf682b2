"""The throw-away platform: `oklp serve --sandbox` as a process of its own behind the proxy, and people who use it."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final

import httpx
from pydantic import ValidationError

from oklp import contract, person
from oklp.check.proxy import WEBHOOK_PATH, Proxy, Registered
from oklp.check.wire import CheckError, Issuer
from oklp.person import why
from oklp.processes import Child, free_port, oklp_command, start
from oklp.signing import SigningKey, UnusableKey, generate_key

START_SECONDS: Final = 60.0
MATCH_SECONDS: Final = 60.0
POLL_SECONDS: Final = 0.02
PORT_TRIES: Final = 5
NAME: Final = "oklp-check"
CONFIG_NAME: Final = "developer-config.json"


class TemplateRefused(Exception):
    """The platform does not take the launch templates; the message is its own."""


class Person(person.Person):
    """Somebody at the throw-away platform."""

    user_id = ""

    def fault(self, message: str, status: int | None = None) -> Exception:
        return CheckError(f"The throw-away platform: {message}")


class Platform:
    """The platform and the proxy before it. An async context manager; leaving it ends both.

    `folder` holds the database, the keys and the game's configuration: an empty one is a new platform, a kept one the
    same platform as before.
    """

    def __init__(self, folder: Path, *, host: str = "127.0.0.1", port: int = 0, public_url: str | None = None) -> None:
        self.folder = folder
        self.proxy = Proxy(host, port, public_url)
        self.players: list[Person] = []
        self._stack = AsyncExitStack()
        self._http: httpx.AsyncClient | None = None
        self._child: Child | None = None
        self._operator: Person | None = None
        self._studio: Person | None = None
        self._password = ""
        self._people = asyncio.Lock()

    async def __aenter__(self) -> Platform:
        try:
            self._stack.enter_context(locked(self.folder))
            self._password = _kept(self.folder / "password", lambda: secrets.token_urlsafe(24))
            await self._stack.enter_async_context(self.proxy)
            self.proxy.issuer = await asyncio.to_thread(self._open_issuer)
            await self._start()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    def _open_issuer(self) -> Issuer:
        try:
            key = SigningKey(_kept(self.folder / "issuer.pem", generate_key))
        except UnusableKey as error:
            raise CheckError(f"{self.folder / 'issuer.pem'}: {error}") from error
        return Issuer(key, SigningKey(generate_key()), self.proxy.issuer_url)

    # --- the process -------------------------------------------------------------------------------------------------

    def environment(self) -> dict[str, str]:
        """The caller's, without any setting of OKLP: a check must not end up on somebody's real database."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("OKLP_")}
        return {
            **kept,
            "NO_PROXY": "127.0.0.1,localhost",
            "no_proxy": "127.0.0.1,localhost",
            "OKLP_DATA_DIR": str(self.folder),
            "OKLP_DATABASE_URL": f"sqlite:///{self.folder / 'oklp.db'}",
            "OKLP_PUBLIC_URL": self.proxy.public_url,
            "OKLP_SANDBOX": "1",
            # Longer than the proxy waits for the game, so that the proxy is who sees the time-out.
            "OKLP_WEBHOOK_TIMEOUT_SECONDS": "20",
            "OKLP_START_WINDOW_SECONDS": "30",
            "PYTHONUNBUFFERED": "1",
        }

    async def _start(self) -> None:
        """Between finding a free port and listening on it somebody may be faster."""
        for _ in range(PORT_TRIES):
            port = free_port()
            command = oklp_command("serve", "--sandbox", "--host", "127.0.0.1", "--port", str(port))
            child = await start("throw-away platform", command, self.folder / "platform.log", self.environment())
            self._stack.push_async_callback(child.stop)
            url = f"http://127.0.0.1:{port}"
            http = httpx.AsyncClient(base_url=url, trust_env=False, timeout=30)
            self._stack.push_async_callback(http.aclose)
            if await _answers(http, child):
                self._child, self._http, self.proxy.upstream = child, http, url
                return
        raise CheckError("No port is free for the throw-away platform.")

    def check_alive(self) -> None:
        """Raises ProcessError when the platform has ended by itself."""
        if self._child is not None and self._child.status is not None:
            raise self._child.death()

    @property
    def _client(self) -> httpx.AsyncClient:
        if self._http is None:
            raise CheckError("The throw-away platform is not running.")
        return self._http

    # --- games -------------------------------------------------------------------------------------------------------

    async def register(
        self,
        name: str,
        webhook_url: str,
        launch_urls: contract.LaunchTemplates,
        settings: contract.GameSettings,
        game_id: str | None = None,
    ) -> Registered:
        """The game, known to this platform: registered now or, in a kept folder, changed to this.

        The platform is told the proxy's address, and the proxy the game's. Raises TemplateRefused, CheckError.
        """
        studio = await self._the_studio()
        kept = self._kept_config(game_id or NAME)
        body: dict[str, Any] = {
            "name": name,
            "launch_urls": launch_urls.model_dump(exclude_none=True),
            "settings": settings.model_dump(exclude={"studio_share_bps"}),
        }
        game_id = game_id or NAME
        webhook = f"{self.proxy.url}{WEBHOOK_PATH}/{game_id}"
        if kept is None:
            answer = await studio.send("POST", "/games", {**body, "game_id": game_id, "webhook_url": webhook})
        else:
            answer = await studio.send("PATCH", f"/games/{game_id}", {**body, "webhook_url": webhook})
        if answer.status_code == httpx.codes.UNPROCESSABLE_ENTITY and "launch_urls" in answer.text:
            raise TemplateRefused(why(answer))
        if not answer.is_success:
            raise CheckError(f"The platform does not register the game: {why(answer)}")
        if kept is None:
            config = contract.RegisteredGame.model_validate_json(answer.content).developer_config
        else:
            config = await self._config_with(studio, game_id, kept)
        write_config(config, self._config_path(game_id))
        game = Registered(config, webhook_url)
        self.proxy.games[game_id] = game
        return game

    def _config_path(self, game_id: str) -> Path:
        return self.folder / (CONFIG_NAME if game_id == NAME else f"{game_id}.json")

    def _kept_config(self, game_id: str) -> contract.DeveloperConfig | None:
        path = self._config_path(game_id)
        try:
            return contract.DeveloperConfig.model_validate_json(path.read_bytes()) if path.exists() else None
        except (ValidationError, OSError) as error:
            raise CheckError(f"{path} cannot be read; remove the folder to start anew.") from error

    async def _config_with(
        self, studio: Person, game_id: str, kept: contract.DeveloperConfig
    ) -> contract.DeveloperConfig:
        """The configuration with the addresses of now and the secrets that the game has had all along."""
        now = await studio.call("GET", f"/games/{game_id}/developer-config", contract.DeveloperConfig)
        own = {
            "client_secret": kept.authentication.client_secret,
            "webhook_secret": kept.authentication.webhook_secret,
        }
        return now.model_copy(update={"authentication": now.authentication.model_copy(update=own)})

    # --- people ------------------------------------------------------------------------------------------------------

    async def _the_studio(self) -> Person:
        async with self._people:
            if self._studio is None:
                studio = Person(self._client, "studio", NAME)
                if not await studio.log_in(self._password):
                    sign_up = {
                        "name": NAME,
                        "username": NAME,
                        "email": "check@oklp.example",
                        "password": self._password,
                    }
                    await studio.call("POST", "/studios", contract.Studio, sign_up)
                    if not await studio.log_in(self._password):
                        raise CheckError("The studio of the check cannot log in.")
                self._studio = studio
            return self._studio

    async def _the_operator(self) -> Person:
        async with self._people:
            if self._operator is None:
                operator = Person(self._client, "operator", NAME)
                if not await operator.log_in(self._password):
                    await self._make_operator()
                    if not await operator.log_in(self._password):
                        raise CheckError("The operator of the check cannot log in.")
                self._operator = operator
            return self._operator

    async def _make_operator(self) -> None:
        command = oklp_command(
            "operator", "create", "--username", NAME, "--password", self._password, "--role", "finance"
        )
        child = await start("command", command, self.folder / "operator.log", self.environment())
        try:
            if await child.wait(START_SECONDS) != 0:
                raise child.death()
        finally:
            await child.stop()

    async def seat(self, count: int) -> list[Person]:
        """So many players, who are the same in every match."""
        async with self._people:
            while len(self.players) < count:
                self.players.append(await self._new_player(f"check-{secrets.token_hex(6)}"))
            return self.players[:count]

    async def _new_player(self, name: str) -> Person:
        player = Person(self._client, "player", name)
        sign_up = {
            "username": name,
            "email": f"{name}@players.example",
            "password": self._password,
            "date_of_birth": "1990-01-01",
            "country": "DE",
        }
        player.user_id = (await player.call("POST", "/players", contract.Player, sign_up)).user_id
        if not await player.log_in(self._password):
            raise CheckError("A player of the check cannot log in.")
        return player

    # --- matches -----------------------------------------------------------------------------------------------------

    async def new_match(self, game_id: str, teams: int, team_size: int) -> contract.Match:
        """A free match in which everybody sits and nobody has confirmed."""
        first, *others = await self.seat(teams * team_size)
        request = {
            "game_id": game_id,
            "entry_fee": {"amount": 0, "currency": "XTS"},
            "teams": teams,
            "team_size": team_size,
            "invite": [other.name for other in others],
        }
        match = await first.call("POST", "/matches", contract.Match, request)
        for number, other in enumerate(others, 1):
            seat = {"team_id": match.teams[number // team_size].id}
            match = await other.call("POST", f"/matches/{match.match_id}/join", contract.Match, seat)
        return match

    async def start_match(self, match: contract.Match) -> contract.Match:
        """Everybody confirms, and the game is told. Returns the match once it is live, or off."""
        path = f"/matches/{match.match_id}"
        people = self.players[: sum(len(team.members) for team in match.teams)]
        for player in people:
            match = await player.call("POST", f"{path}/confirm", contract.Match)
        until = time.monotonic() + MATCH_SECONDS
        while match.status in ("pending", "starting"):
            if time.monotonic() > until:
                raise CheckError(f"The match is still {match.status} after {MATCH_SECONDS:.0f} seconds.")
            await asyncio.sleep(POLL_SECONDS)
            match = await people[0].call("GET", path, contract.Match)
        return match

    async def launch_url(self, player: Person, match_id: str) -> str | None:
        """With a fresh match-token; None when the match is over already."""
        answer = await player.send("POST", f"/matches/{match_id}/launch", {"platform": "browser"})
        if answer.status_code == httpx.codes.CONFLICT:
            return None
        if not answer.is_success:
            raise CheckError(f"The platform launches nobody: {why(answer)}")
        return contract.LaunchAnswer.model_validate_json(answer.content).launch_url

    async def call_off(self, match_id: str) -> None:
        """As an operator does: everybody is refunded, and the game gets a DELETE."""
        operator = await self._the_operator()
        body = {"reason": "A check of the integration: the match is called off."}
        await operator.call("POST", f"/matches/{match_id}/abort", contract.OperatorMatch, body)


# --- beneath ---------------------------------------------------------------------------------------------------------


def write_config(config: contract.DeveloperConfig, path: Path) -> None:
    """Replaced as a whole, as a server may be reading it; for its owner alone, as there are secrets in it."""
    text = config.model_dump_json(indent=2, exclude_none=True) + "\n"
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch(mode=0o600)
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        raise CheckError(f"{path} cannot be written: {error.strerror}") from error


def _kept(path: Path, make: Callable[[], str]) -> str:
    """What is in the file, which is made the first time."""
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(make(), encoding="utf-8")
    return path.read_text(encoding="utf-8")


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """One check at a time in a folder."""
    lock: IO[str] | None = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / "check.lock").open("w")
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise CheckError(f"Another check is running on {folder}; --data names another folder.") from error
    except OSError as error:
        raise CheckError(f"The folder {folder} cannot be used: {error.strerror}") from error
    try:
        yield
    finally:
        lock.close()


async def _answers(http: httpx.AsyncClient, child: Child) -> bool:
    """Wait for the platform; False when somebody else has its port. Raises CheckError."""
    until = time.monotonic() + START_SECONDS
    while True:
        if child.status is not None:
            if "address already in use" in "\n".join(child.last_lines()).lower():
                return False
            raise child.death()
        with contextlib.suppress(httpx.TransportError):
            if (await http.get("/readyz")).status_code == httpx.codes.OK and child.status is None:
                return True
        if time.monotonic() > until:
            raise CheckError(f"The throw-away platform is not ready after {START_SECONDS:.0f} s:", child.last_lines())
        await asyncio.sleep(POLL_SECONDS)
