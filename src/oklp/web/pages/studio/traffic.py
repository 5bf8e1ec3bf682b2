"""What happens in a game: its matches, the log of its calls, its figures."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from urllib.parse import quote

from starlette.responses import Response
from starlette.routing import Route

from oklp import contract
from oklp.services import calls, matches, studios
from oklp.services import figures as game_figures
from oklp.web.caller import from_cursor, to_cursor
from oklp.web.pages import words
from oklp.web.pages.charts import Point
from oklp.web.pages.studio import live
from oklp.web.pages.studio.desk import GAME, game_id_of, member_of, of_game, show_game, studio_page
from oklp.web.pages.visit import Visit

A_PAGE = 30
ONE_MATCH = f"{GAME}/matches/{{match_id}}"
MATCHES, LOG, FIGURES = f"{GAME}/matches", f"{GAME}/log", f"{GAME}/figures"
STATUSES = ("pending", "starting", "live", "finished", "aborted")


def _status(visit: Visit) -> str | None:
    given = visit.argument("status")
    return given if given in STATUSES else None


def _query(visit: Visit) -> str:
    """A match's id, or a player's id or name."""
    return (visit.argument("q") or "").strip()[:64]


async def _matches(visit: Visit) -> tuple[list[contract.Match], tuple[int, str] | None]:
    before = from_cursor(visit.argument("cursor"), int, str)
    wanted = (game_id_of(visit), _status(visit), before, A_PAGE, _query(visit))
    return await of_game(visit, matches.list_newest, *wanted)


async def all_matches(visit: Visit) -> Response:
    found, more = await _matches(visit)
    status, query = _status(visit), _query(visit)
    kept = {"status": status or "", "q": query}
    return await show_game(
        visit,
        "matches.html",
        matches=found,
        more=to_cursor(*more) if more is not None else None,
        status=status or "",
        q=query,
        statuses=STATUSES,
        kept="".join(f"{name}={quote(text)}&" for name, text in kept.items() if text),
        live=live.address(visit),
    )


async def _match(visit: Visit) -> studios.MatchAtAGlance:
    studio_id, match_id = member_of(visit).studio_id, visit.request.path_params["match_id"]
    return await of_game(visit, studios.match, studio_id, game_id_of(visit), match_id)


async def one_match(visit: Visit) -> Response:
    return await show_game(visit, "match.html", found=await _match(visit), live=live.address(visit))


def _failed(visit: Visit) -> bool:
    return visit.argument("show") == "failed"


async def _calls(visit: Visit) -> tuple[list[contract.ApiCall], tuple[int, int] | None]:
    before = from_cursor(visit.argument("cursor"), int, int)
    return await of_game(visit, calls.page, game_id_of(visit), _failed(visit), before, A_PAGE)


async def log(visit: Visit) -> Response:
    found, more = await _calls(visit)
    return await show_game(
        visit,
        "log.html",
        calls=found,
        more=to_cursor(*more) if more is not None else None,
        failed=_failed(visit),
        kept="show=failed&" if _failed(visit) else "",
        live=live.address(visit),
    )


PERIODS = (7, 30, 90, 365)
USUAL_DAYS = 30


def _period(visit: Visit) -> tuple[int, date, date]:
    """So many days up to today."""
    given = visit.argument("days") or ""
    days = int(given) if given in {str(each) for each in PERIODS} else USUAL_DAYS
    today = datetime.fromtimestamp(visit.here.clock() / 1000, UTC).date()
    return days, today - timedelta(days=days - 1), today


async def _figures(visit: Visit) -> contract.GameFigures:
    game_id, member = game_id_of(visit), member_of(visit)
    _, since, until = _period(visit)
    return await visit.here.db.report(
        studios.of_game, member.studio_id, game_id, game_figures.of_game, game_id, since, until
    )


async def figures(visit: Visit) -> Response:
    found = await _figures(visit)
    days, since, until = _period(visit)
    currency = visit.here.settings.currency
    by_day = {each.day: each for each in found.days}
    all_days = [since + timedelta(days=n) for n in range((until - since).days + 1)]
    labels = {day: words.day(day, visit.language) for day in all_days}
    made = [Point(labels[day], by_day[day].matches if day in by_day else 0) for day in all_days]
    shares = {each.day: money.studio_share for each in found.days for money in each.money if money.currency == currency}
    earned = [Point(labels[day], shares.get(day, 0)) for day in all_days]
    nothing = contract.CurrencyFigures(currency=currency, entry_fees=0, prizes=0, fees=0, studio_share=0)
    return await show_game(
        visit,
        "figures.html",
        figures=found,
        money=found.money or [nothing],
        made=made,
        earned=earned,
        days=days,
        periods=PERIODS,
        as_money=lambda amount: visit.money(amount, currency),
    )


async def figures_csv(visit: Visit) -> Response:
    headers = {"Content-Disposition": 'attachment; filename="figures.csv"', "Cache-Control": "private, no-store"}
    return Response(game_figures.as_csv(await _figures(visit)), 200, headers, "text/csv")


routes: list[Route] = [
    studio_page(MATCHES, all_matches),
    live.live_route(MATCHES, _matches),
    studio_page(ONE_MATCH, one_match),
    live.live_route(ONE_MATCH, _match),
    studio_page(LOG, log),
    live.live_route(LOG, _calls),
    studio_page(FIGURES, figures),
    studio_page(f"{GAME}/figures.csv", figures_csv),
]
