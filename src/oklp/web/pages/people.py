"""Players as others see them: what they played, what they won, and how it went lately."""

from __future__ import annotations

import itertools

from starlette.responses import Response
from starlette.routing import Route

from oklp import contract
from oklp.services import notices, records
from oklp.web.caller import from_cursor, to_cursor
from oklp.web.pages import forms, words
from oklp.web.pages.charts import Point
from oklp.web.pages.frame import go, page, show
from oklp.web.pages.visit import Visit

NOTICES_A_PAGE = 30
_WORTH = {"won": 1, "drawn": 0, "lost": -1}


async def profile(visit: Visit) -> Response:
    username = visit.request.path_params["username"]
    found = await visit.here.db.read(records.record, visit.player.user_id, username)
    past = list(reversed(found.recent))
    balance = itertools.accumulate(_WORTH[each.verdict] for each in past)
    points = [
        Point(words.date(each.finished_at, visit.language), value) for each, value in zip(past, balance, strict=True)
    ]
    return await show(
        visit,
        "player.html",
        player=found,
        own=found.user_id == visit.player.user_id,
        # A chart begins before its first match: one that was won alone goes up.
        points=[Point(points[0].label, 0), *points] if points else [],
    )


async def choose_privacy(visit: Visit) -> Response:
    chosen = contract.Privacy(private=visit.fields.get("private") == "yes")
    await visit.here.db.write(records.set_privacy, visit.player.user_id, chosen)
    said = visit._("Only you see your results now.") if chosen.private else visit._("Others may see your results now.")
    return go(visit, f"/players/{visit.me.username}", said)


async def notifications(visit: Visit) -> Response:
    before = from_cursor(visit.argument("cursor"), int)
    found, more = await visit.here.db.read(
        notices.page, visit.me.id, before[0] if before is not None else None, NOTICES_A_PAGE
    )
    return await show(
        visit,
        "notifications.html",
        notifications=found.notifications,
        unread=found.unread,
        more=to_cursor(more) if more is not None else None,
    )


async def read_all(visit: Visit) -> Response:
    """Up to the newest that the page showed: what came since was not seen."""
    upto = forms.model(contract.ReadNotifications, {"upto": visit.fields.get("upto", "")}).upto
    await visit.here.db.write(notices.mark_read, visit.me.id, int(upto), visit.here.clock())
    return go(visit, "/notifications")


routes: list[Route] = [
    page("/notifications", notifications),
    page("/notifications", read_all, "POST"),
    page("/players/{username}", profile),
    page("/privacy", choose_privacy, "POST"),
]
