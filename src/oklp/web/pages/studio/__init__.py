"""The studio portal (docs/studio-portal.md): pages for those who make games."""

from __future__ import annotations

from starlette.routing import Route

from oklp.web.pages.doors import doors
from oklp.web.pages.studio import entrance, game, inspector, members, proving, registering, traffic
from oklp.web.pages.visit import STUDIO

routes: list[Route] = [
    *doors(STUDIO),
    *entrance.routes,
    *registering.routes,
    *game.routes,
    *inspector.routes,
    *traffic.routes,
    *proving.routes,
    *members.routes,
]
