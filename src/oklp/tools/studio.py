"""A studio's member at a platform: the session that every tool works with.

async with connected(url) as studio:
    game_id = await the_game(studio, "")
    page = await studio.call("GET", f"/games/{game_id}/deliveries", contract.DeliveryPage)
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final
from urllib.parse import quote, urlsplit

import httpx

from oklp import __version__, contract
from oklp.person import Person, why
from oklp.tools import login
from oklp.tools.login import Access, KeptSession, ToolError

TIMEOUT_SECONDS: Final = 30.0
USER_AGENT: Final = f"oklp-tools/{__version__}"


class StudioMember(Person):
    """Faults are ToolErrors, one line each; who is no longer logged in is told how to be."""

    def __init__(self, http: httpx.AsyncClient, access: Access, name: str = "") -> None:
        super().__init__(http, "studio", name, access.token)
        self.url = access.url

    def fault(self, message: str, status: int | None = None) -> Exception:
        if status == httpx.codes.UNAUTHORIZED:
            message = f"Your log-in at {self.url} is not valid any more: oklp login --url {self.url}"
        return ToolError(message, status)

    def check(self, answer: httpx.Response) -> None:
        if not answer.is_success:
            raise self.fault(why(answer) or f"{self.url} answered {answer.status_code}.", answer.status_code)


@asynccontextmanager
async def at(access: Access, name: str = "") -> AsyncIterator[StudioMember]:
    """A connection to the platform; `access` may be without a token, before a log-in."""
    # The environment's proxy is not for one's own machine, whatever NO_PROXY forgets.
    trust_env = urlsplit(access.url).hostname not in login.LOOPBACK
    headers = {"user-agent": USER_AGENT}
    async with httpx.AsyncClient(
        base_url=access.url, timeout=TIMEOUT_SECONDS, trust_env=trust_env, headers=headers
    ) as http:
        yield StudioMember(http, access, name)


@asynccontextmanager
async def connected(url: str = "") -> AsyncIterator[StudioMember]:
    """As whoever is logged in (see `login.known`). Raises ToolError when nobody is."""
    async with at(login.known(url)) as studio:
        yield studio


def segment(given: str) -> str:
    """An id as a person types it, as one part of a path: `../me` is then no other page, but an id that there is not."""
    return quote(given, safe="")


async def the_game(studio: StudioMember, game_id: str = "") -> str:
    """The game that is meant: the named one, else the studio's only one. Raises ToolError."""
    if game_id:
        return game_id
    games = (await studio.call("GET", "/games", contract.StudioGamePage)).games
    if not games:
        raise ToolError("Your studio has no game yet.")
    if len(games) > 1:
        listed = ", ".join(game.game_id for game in games[:20]) + (", …" if len(games) > 20 else "")
        raise ToolError(f"Which game? Say --game and one of: {listed}")
    return games[0].game_id


async def log_in(url: str, username: str, password: str) -> contract.StudioProfile:
    """Log in and keep the session for the commands to come. Raises ToolError."""
    where = login.address(url)
    async with at(Access(where, ""), username) as studio:
        answer = await studio.send("POST", "/sessions", {"username": username, "password": password})
        if not answer.is_success:
            raise ToolError(why(answer), answer.status_code)
        try:
            session = contract.Session.model_validate_json(answer.content)
        except ValueError as error:
            raise ToolError(f"{where} answers with something else than OKLP does.") from error
        studio.token = session.token
        profile = await studio.call("GET", "/me", contract.StudioProfile)
    kept = KeptSession(
        token=session.token, username=profile.username, studio=profile.name, expires_at=session.expires_at
    )
    login.keep(where, kept)
    return profile


async def log_out(url: str) -> str:
    """End the session, there and here; returns the address. Raises ToolError when there is none."""
    kept = login.read()
    where = login.address(url) if url else kept.current
    session = kept.sessions.get(where) if where is not None else None
    if where is None or session is None:
        raise ToolError(f"You are not logged in{f' at {where}' if where else ''}.")
    # Here first: a platform that is gone for good must not keep its token on this machine.
    login.forget(where)
    async with at(Access(where, session.token)) as studio:
        answer = await studio.send("DELETE", "/sessions/current")
    if not answer.is_success and answer.status_code != httpx.codes.UNAUTHORIZED:
        raise ToolError(f"Your log-in is forgotten here; {where} did not end it: {why(answer)}")
    return where


async def who_am_i(url: str) -> tuple[str, contract.StudioProfile]:
    async with connected(url) as studio:
        return studio.url, await studio.call("GET", "/me", contract.StudioProfile)
