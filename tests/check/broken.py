"""A correct little game in one file, and for each check one way to get it wrong.

Highest number wins: every player names a number, and when all have, the match is over. It is written by hand, as a
studio without the SDK would, so that each rule of the contract is one line that can be left out.

One process serves every variant: `/{variant}/oklp/match`, `/{variant}/play?token=…`, `POST /{variant}/move`. A variant
is `correct` or the id of the check that it fails, with `-async` behind it for an asynchronous game. Its configuration
is `{variant}.json` in the folder that is given; `--own-name` serves one variant whose configuration is the given file.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import json
import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey
from standardwebhooks import Webhook, WebhookVerificationError

SLOW_SECONDS = 6.3
ATTEMPTS = 8
FIELDS = {"match_id", "participants", "teams"}


@dataclass
class Match:
    info: dict[str, Any]
    moves: dict[str, int] = field(default_factory=dict)

    @property
    def players(self) -> list[str]:
        return [str(each["id"]) for each in self.info["participants"]]


class Game:
    """One variant."""

    def __init__(self, name: str, config: dict[str, Any], deadline_seconds: float | None) -> None:
        self.is_async = name.endswith("-async")
        self.fault = name.removesuffix("-async")
        self.base = str(config["okletsplay_url"]) + "/api/game/v1"
        self.auth: dict[str, str] = config["authentication"]
        self.matches: dict[str, Match] = {}
        self.used: set[str] = set()
        self.slow = self.fault == "webhook.quick"
        self.deadline_seconds = deadline_seconds
        self.tasks: set[asyncio.Task[None]] = set()
        self._key: RSAKey | None = None
        self._token = ("", 0.0)
        self._http = aiohttp.ClientSession()

    def spawn(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    # --- the webhook -------------------------------------------------------------------------------------------------

    async def webhook(self, request: web.Request) -> web.Response:
        body = await request.read()
        if not await self.authentic(request, body):
            return web.Response(status=401, text="not from the platform")
        try:
            info = json.loads(body)
            match_id, people = info["match_id"], [(each["id"], each["team_id"]) for each in info["participants"]]
            valid = isinstance(match_id, str) and bool(people) and isinstance(info["teams"], list)
        except (ValueError, LookupError, TypeError):
            if self.fault == "webhook.body":
                raise
            valid = False
        if not valid:
            return web.Response(status=422, text="not match info")
        if request.method == "DELETE":
            return self.called_off(match_id)
        return await self.started(info)

    async def started(self, info: dict[str, Any]) -> web.Response:
        if self.slow:
            self.slow = False
            await asyncio.sleep(SLOW_SECONDS)
        if self.fault == "webhook.extra-fields" and set(info) - FIELDS:
            return web.Response(status=400, text="unknown field")
        if self.fault == "webhook.repeat" and info["match_id"] in self.matches:
            return web.Response(status=409, text="known already")
        match = self.matches.setdefault(info["match_id"], Match(info))
        if self.deadline_seconds is not None:
            self.spawn(self.end_by_itself(match))
        return web.Response(status=202 if self.fault == "webhook.start" else 200)

    def called_off(self, match_id: str) -> web.Response:
        if match_id not in self.matches and self.fault == "webhook.delete-unknown":
            return web.Response(status=404)
        if match_id in self.matches and self.fault == "webhook.delete":
            raise RuntimeError("never thought of that")
        if self.fault != "result.called-off":
            self.matches.pop(match_id, None)
        return web.Response(status=200)

    async def authentic(self, request: web.Request, body: bytes) -> bool:
        if self.fault != "webhook.signature":
            try:
                Webhook(self.auth["webhook_secret"]).verify(body, dict(request.headers), json_parse=False)
            except (WebhookVerificationError, ValueError):
                return False
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        if not token:
            return self.fault == "webhook.no-token"
        return await self.trusted(token, request.method)

    async def trusted(self, token: str, method: str) -> bool:
        header, claims = (json.loads(base64.urlsafe_b64decode(part + "==")) for part in token.split(".")[:2])
        unsigned = header["alg"] == "none" and self.fault == "webhook.alg-none"
        unchecked = header["alg"] == "RS256" and self.fault == "webhook.forged"
        if not (unsigned or unchecked):
            try:
                jwt.decode(token, await self.key(), algorithms=["RS256"])
            except (JoseError, ValueError):
                return False
        wrong = {
            "webhook.expired": claims["exp"] < time.time(),
            "webhook.audience": claims["aud"] != self.auth["client_id"],
            "webhook.issuer": claims["iss"] != self.auth["public_key_url"],
            "webhook.method": claims.get("htm") != method,
        }
        return not any(is_wrong for check, is_wrong in wrong.items() if check != self.fault)

    async def key(self) -> RSAKey:
        if self._key is None:
            async with self._http.get(self.auth["public_key_url"]) as answer:
                realm = await answer.json()
            pem = f"-----BEGIN PUBLIC KEY-----\n{realm['public_key']}\n-----END PUBLIC KEY-----\n"
            self._key = RSAKey.import_key(pem)
        return self._key

    # --- the players -------------------------------------------------------------------------------------------------

    async def page(self, request: web.Request) -> web.Response:
        token = request.query.get("token", "")
        info = await self.who(token)
        if info is None and self.fault == "launch.unknown-token":
            raise RuntimeError("no such token")
        if info is None or self.fault == "launch.page":
            return _page("This link is no longer valid. Go back to the platform.", status=404)
        if self.fault == "launch.again" and token in self.used:
            return _page("This link was used already.", status=410)
        self.used.add(token)
        seed = secrets.token_hex(8) if self.fault == "fair.seed" else info["match_id"]
        return _page("Name a number!", f'<meta name="oklp-seed" content="{seed}"><script src="game.js"></script>')

    def script(self) -> web.Response:
        secret = self.auth["client_secret"] if self.fault == "launch.secrets" else ""
        return web.Response(text=f'const secret = "{secret}";', content_type="text/javascript")

    async def who(self, token: str) -> dict[str, Any] | None:
        if self.fault == "token.checked":
            return {"match_id": "", "user_id": ""} if token else None
        if not token:
            return None
        status, info = await self.call("/token-info", {"token": token})
        return info if status == 200 else None

    async def move(self, request: web.Request) -> web.Response:
        body = await request.json()
        if self.fault == "token.checked":
            # Whoever comes is taken for the next one that is missing.
            missing = ((m, user) for m in self.matches.values() for user in m.players if user not in m.moves)
            match, user_id = next(missing, (None, ""))
        else:
            info = await self.who(body["token"])
            match = self.matches.get(info["match_id"]) if info is not None else None
            user_id = info["user_id"] if info is not None else ""
            if info is not None and info["match_status"] != "live" and self.fault != "result.called-off":
                match = None
        if match is None:
            return web.Response(status=409, text="there is nothing to play")
        match.moves[user_id] = int(body["number"])
        if self.is_async:
            await self.report(match, [user_id])
        elif len(match.moves) == len(match.players):
            await self.report(match, match.players)
        return web.Response(status=200)

    async def end_by_itself(self, match: Match) -> None:
        await asyncio.sleep(self.deadline_seconds or 0)
        if self.matches.get(match.info["match_id"]) is match and len(match.moves) < len(match.players):
            await self.report(match, match.players)

    # --- results -----------------------------------------------------------------------------------------------------

    async def report(self, match: Match, users: list[str]) -> None:
        if self.fault == "result.reported":
            return
        await self.call("/finish", self.result(match, users, 0))
        if self.fault == "result.same":
            await self.call("/finish", self.result(match, users, 1))

    def result(self, match: Match, users: Iterable[str], more: int) -> dict[str, Any]:
        scores = {user: match.moves.get(user, 0) + more for user in users}
        people: list[dict[str, Any]] = [{"id": user, "score": score} for user, score in scores.items()]
        body: dict[str, Any] = {"match_id": match.info["match_id"], "participants": people}
        if self.fault == "result.roster":
            people[-1:] = [] if not self.is_async else [{"id": secrets.token_hex(8), "score": 1}]
        if self.fault == "result.shape":
            for person in people:
                person["score"] = str(person["score"])
        if self.is_async != (self.fault == "result.mode"):
            return body
        sums: dict[str, int] = {}
        for person in match.info["participants"]:
            sums[person["team_id"]] = sums.get(person["team_id"], 0) + scores.get(person["id"], 0)
        here = {p["team_id"] for p in match.info["participants"] if p["id"] in match.moves}
        order = sorted(sums.values(), reverse=True)
        body["teams"] = [
            {
                "id": team_id,
                "score": total + (7 if self.fault == "result.scores" else 0),
                "ranking": order.index(total) + (2 if self.fault == "result.ranking" else 1),
                "forfeit": team_id not in here,
            }
            for team_id, total in sums.items()
        ]
        return body

    # --- the platform ------------------------------------------------------------------------------------------------

    async def token(self) -> str:
        token, until = self._token
        if time.monotonic() > until or self.fault == "token.reused":
            form = {name: self.auth[name] for name in ("client_id", "client_secret")}
            form |= {"grant_type": "client_credentials", "scope": "olp-report-api"}
            async with self._http.post(self.auth["token_url"], data=form) as answer:
                given = await answer.json()
            token = given["access_token"]
            self._token = (token, time.monotonic() + given["expires_in"] - 30)
        return token

    async def call(self, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Tries again on 5xx and on lost connections, unless that is what is broken."""
        wait = 0.1
        for _ in range(ATTEMPTS):
            headers = {"authorization": f"Bearer {await self.token()}"}
            try:
                async with self._http.post(self.base + path, json=body, headers=headers) as answer:
                    if answer.status < 500 or self.fault == "result.retry-503":
                        return answer.status, await answer.json()
                    wait = max(wait, float(answer.headers.get("retry-after", "0")))
            except aiohttp.ClientError:
                if self.fault == "result.retry-dropped":
                    break
            await asyncio.sleep(wait)
            wait *= 2
        return 0, {}

    async def close(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await self._http.close()


def _page(text: str, head: str = "", status: int = 200) -> web.Response:
    html = f"<!doctype html><html><head><title>Numbers</title>{head}</head><body><p>{text}</p></body></html>"
    return web.Response(text=html, status=status, content_type="text/html")


def create_app(config: Path, own_name: str, deadline_seconds: float | None) -> web.Application:
    games: dict[str, Game] = {}

    def game_of(request: web.Request) -> Game:
        name = request.match_info["variant"]
        if name not in games:
            path = config if own_name else config / f"{name}.json"
            try:
                games[name] = Game(own_name or name, json.loads(path.read_text()), deadline_seconds)
            except FileNotFoundError:
                raise web.HTTPNotFound from None
        return games[name]

    async def webhook(request: web.Request) -> web.Response:
        return await game_of(request).webhook(request)

    async def page(request: web.Request) -> web.Response:
        return await game_of(request).page(request)

    async def script(request: web.Request) -> web.Response:
        return game_of(request).script()

    async def move(request: web.Request) -> web.Response:
        return await game_of(request).move(request)

    async def health(request: web.Request) -> web.Response:
        return web.Response(text="ok")

    async def close(app: web.Application) -> None:
        for game in games.values():
            await game.close()

    app = web.Application()
    app.router.add_get("/healthz", health)
    app.router.add_route("*", "/{variant}/oklp/match", webhook)
    app.router.add_get("/{variant}/play", page)
    app.router.add_get("/{variant}/game.js", script)
    app.router.add_post("/{variant}/move", move)
    app.on_cleanup.append(close)
    return app


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--own-name", default="")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--deadline-seconds", type=float, default=None)
    given = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        web.run_app(
            create_app(given.config, given.own_name, given.deadline_seconds),
            host="127.0.0.1",
            port=given.port,
            print=None,
            access_log=None,
        )


if __name__ == "__main__":
    main()
