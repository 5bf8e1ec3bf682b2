"""Servers to compare with, under the platform's own uvicorn settings.

    python -m bench.plain PORT fixed
    python -m bench.plain PORT token-info FILE

`fixed` answers ready bytes without reading the request: the ceiling of the load generator. `token-info` is the route of
the same name with no database behind it and nothing around it: verify the cached access token, parse the body, look
the match-token up in a dictionary, answer. FILE is JSON with `issuer`, `public_key` and `tokens` (hash → answer).
`receiver` answers 200 to whatever comes: a game that is told of its matches.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from oklp import contract
from oklp.signing import SCOPE, VerifiedTokens, VerifyingKeys, hash_token


def _fixed() -> Any:
    async def app(scope: Any, _receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            return
        headers = [(b"content-type", b"application/json"), (b"content-length", b"2")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"{}"})

    return app


def _token_info(file: str) -> Starlette:
    given = json.loads(Path(file).read_text(encoding="utf-8"))
    issuer = given["issuer"]
    verified = VerifiedTokens(
        VerifyingKeys.from_public_keys([given["public_key"]]), issuer=issuer, audience=issuer, scope=SCOPE
    )
    answers = {key: contract.TokenInfo(**answer) for key, answer in given["tokens"].items()}

    async def token_info(request: Request) -> Response:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            return Response(status_code=401)
        verified.verify(token.strip(), time.time_ns() // 1_000_000 / 1000)
        asked = contract.TokenInfoRequest.model_validate_json(await request.body())
        info = answers.get(hash_token(asked.token))
        if info is None:
            return Response(status_code=404)
        return Response(info.model_dump_json(), media_type="application/json")

    async def home(_request: Request) -> Response:
        return Response("ok")

    return Starlette(routes=[Route("/api/game/v1/token-info", token_info, methods=["POST"]), Route("/", home)])


def main() -> None:
    port, kind, *rest = sys.argv[1:]
    uvicorn.run(
        _token_info(rest[0]) if kind == "token-info" else _fixed(),
        port=int(port),
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="warning",
        server_header=False,
    )


if __name__ == "__main__":
    main()
