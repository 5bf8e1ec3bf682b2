"""The site: pages for people, made on the server, which call the same services as the APIs."""

from __future__ import annotations

from starlette.routing import Route

from oklp.web.pages import assets, choosing, entrance, lobby, operator, people, purse, rooms, stream, studio

routes: list[Route] = [
    *entrance.routes,
    *lobby.routes,
    *rooms.routes,
    *people.routes,
    *choosing.routes,
    *purse.routes,
    *stream.routes,
    *studio.routes,
    *operator.routes,
    Route(f"{assets.PREFIX}/{{version}}/{{name}}", assets.asset, methods=["GET"]),
]
