"""The site: pages for people, made on the server, which call the same services as the APIs."""

from __future__ import annotations

from starlette.routing import Route

from oklp.web.pages import assets, doors, entrance, lobby, people, purse, rooms, security, stream, studio
from oklp.web.pages.frame import page
from oklp.web.pages.visit import OPERATOR

routes: list[Route] = [
    *entrance.routes,
    *lobby.routes,
    *rooms.routes,
    *people.routes,
    *purse.routes,
    *stream.routes,
    *studio.routes,
    *doors.doors(OPERATOR),
    page(OPERATOR.home, security.home, realm=OPERATOR),
    Route(f"{assets.PREFIX}/{{version}}/{{name}}", assets.asset, methods=["GET"]),
]
