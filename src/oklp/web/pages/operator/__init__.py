"""The operator console (docs/console.md): pages for those who run the platform."""

from __future__ import annotations

from starlette.routing import Route

from oklp.web.pages.doors import doors
from oklp.web.pages.operator import approvals, desk, games, matches, money, people, platform, team
from oklp.web.pages.visit import OPERATOR

routes: list[Route] = [
    *doors(OPERATOR),
    *desk.routes,
    *games.routes,
    *people.routes,
    *matches.routes,
    *money.routes,
    *platform.routes,
    *approvals.routes,
    *team.routes,
]
