"""Webhook requests that the checker makes itself, each wrong in one way and right in all others."""

from __future__ import annotations

import json
import time
import uuid
from typing import Any, Final

from oklp.check.catalogue import Grades
from oklp.check.proxy import Proxy, Registered
from oklp.check.wire import Reply, new_match_id
from oklp.contract import MatchInfo

LONG_AGO_SECONDS: Final = 3_600
REFUSALS: Final = frozenset({401, 403})


class Prober:
    """`info` is of a real match: what is sent differs from it in the match's id, so that nothing is known already."""

    def __init__(self, proxy: Proxy, game: Registered, info: MatchInfo, grades: Grades) -> None:
        self._proxy = proxy
        self._game = game
        self._info = info
        self._grades = grades

    async def probe(self) -> None:
        await self._tokens()
        await self._signature()
        await self._bodies()
        await self._deletes()

    # --- tokens ------------------------------------------------------------------------------------------------------

    async def _tokens(self) -> None:
        issuer, client_id = self._proxy.issuer, self._game.game_id
        past = int(time.time()) - LONG_AGO_SECONDS
        await self._refused("webhook.no-token", None, "Without a token")
        for how, forged in issuer.forged(client_id, "PUT").items():
            await self._refused("webhook.forged", forged, f"With {how}")
        await self._refused("webhook.alg-none", issuer.unsigned(client_id, "PUT"), "With alg none")
        expired = issuer.token(client_id, "PUT", iat=past, exp=past + 60)
        await self._refused("webhook.expired", expired, "With a token that expired an hour ago")
        foreign = issuer.token(client_id, "PUT", aud=f"not-{client_id}")
        await self._refused("webhook.audience", foreign, "With a token for another game")
        elsewhere = issuer.token(client_id, "PUT", iss="https://platform.example/auth/realms/other")
        await self._refused("webhook.issuer", elsewhere, "With a token of another issuer")

    async def _refused(self, check_id: str, token: str | None, how: str) -> None:
        body = self._body()
        reply = await self._proxy.push(self._game, "PUT", body, token=token)
        if reply.status in REFUSALS:
            self._grades.give(check_id, "pass", "Refused.")
        elif reply.status is not None and 400 <= reply.status < 500:
            self._grades.give(check_id, "warn", f"{how} the game {reply.said}, where 401 says what is wrong.")
        else:
            self._grades.give(check_id, "fail", f"{how} the game {reply.said}.")
        await self._forget(body, reply)

    async def _signature(self) -> None:
        """Games that were integrated before there was a signature do not look at it, so this is a warning."""
        body = self._body()
        reply = await self._proxy.push(self._game, "PUT", body, signed_body=self._body())
        if reply.status is not None and 400 <= reply.status < 500:
            self._grades.give("webhook.signature", "pass", "Refused.")
        else:
            self._grades.give("webhook.signature", "warn", f"With the signature of another body the game {reply.said}.")
        await self._forget(body, reply)

    # --- bodies ------------------------------------------------------------------------------------------------------

    async def _bodies(self) -> None:
        whole = json.loads(self._body())
        broken: dict[str, Any] = {
            "a body that is cut off": self._body()[:-9],
            "a JSON list": b"[]",
            "no match_id": _dumped({name: value for name, value in whole.items() if name != "match_id"}),
            "a number as match_id": _dumped({**whole, "match_id": 12}),
            "text as participants": _dumped({**whole, "participants": "everybody"}),
        }
        for what, body in broken.items():
            reply = await self._proxy.push(self._game, "PUT", body)
            if reply.status is not None and 400 <= reply.status < 500:
                self._grades.give("webhook.body", "pass", "Refused.")
            else:
                self._grades.give("webhook.body", "fail", f"With {what} the game {reply.said}.")

    # --- calling off -------------------------------------------------------------------------------------------------

    async def _deletes(self) -> None:
        """Of matches that the game was never told of: one with all as it should be, one with the token of a PUT."""
        unknown = await self._proxy.push(self._game, "DELETE", self._body())
        if unknown.ok:
            self._grades.give("webhook.delete-unknown", "pass", f"The game {unknown.said}.")
        else:
            gone = unknown.status is not None and 400 <= unknown.status < 500
            detail = f"DELETE of a match that it was never told of: the game {unknown.said}."
            self._grades.give("webhook.delete-unknown", "warn" if gone else "fail", detail)
        await self._method(unknown)

    async def _method(self, unknown: Reply) -> None:
        """`htm` is a claim that a game may pass over, so this is a warning. `unknown` is what a DELETE with a token of
        its own was answered: to be refused in the same way says nothing about the token.
        """
        token = self._proxy.issuer.token(self._game.game_id, "PUT")
        reply = await self._proxy.push(self._game, "DELETE", self._body(), token=token)
        if reply.status is None or not 400 <= reply.status < 500:
            self._grades.give("webhook.method", "warn", f"With the token of a PUT the game {reply.said} to a DELETE.")
        elif reply.status == unknown.status:
            detail = f"Whatever the token, the game {reply.said} to a DELETE of a match that it does not know."
            self._grades.give("webhook.method", "not-seen", detail)
        else:
            self._grades.give("webhook.method", "pass", "Refused.")

    def _body(self) -> bytes:
        """Match info that is all right, of a match that does not exist."""
        return self._info.model_copy(update={"match_id": new_match_id()}).model_dump_json().encode("utf-8")

    async def _forget(self, body: bytes, reply: Reply) -> None:
        """A match that the game has started on a forgery is called off again."""
        if reply.ok:
            await self._proxy.push(self._game, "DELETE", body, webhook_id=str(uuid.uuid4()))


def _dumped(body: dict[str, Any]) -> bytes:
    return json.dumps(body, separators=(",", ":")).encode("utf-8")
