"""Games to play, and making a match of one."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from functools import partial

from starlette.responses import Response
from starlette.routing import Route

from oklp import contract
from oklp.errors import NotFound, OklpError
from oklp.services import games, matches, records
from oklp.web.caller import from_cursor, to_cursor
from oklp.web.pages import doors, forms, words
from oklp.web.pages.forms import Form
from oklp.web.pages.frame import go, page, show
from oklp.web.pages.visit import Visit

GAMES_A_PAGE = 30
OPEN_MATCHES = 20
USUAL_FEE = 500  # minor units
NEW_MATCH = "/matches/new"


async def all_games(visit: Visit) -> Response:
    after = from_cursor(visit.argument("cursor"), str)
    found = await visit.here.db.read(
        games.playable, visit.here.settings, after[0] if after is not None else "", GAMES_A_PAGE
    )
    more = to_cursor(found.next_cursor) if found.next_cursor is not None else None
    return await show(visit, "games.html", games=found.games, more=more)


async def one_game(visit: Visit) -> Response:
    """What it is, what it costs, and who waits for an opponent; of a suspended one, that it is not offered."""
    db, game_id = visit.here.db, visit.request.path_params["game_id"]
    game, offered = await db.read(games.known_one, visit.here.settings, game_id)
    if not offered:
        return await _not_offered(visit, game)
    waiting: list[contract.Match] = []
    best: list[contract.BestPlayer] = []
    if visit.person is not None:
        waiting, _ = await db.read(
            matches.list_for_player, visit.person.id, "pending", "open", None, OPEN_MATCHES, game_id
        )
        best = (await db.read(records.best, game_id)).players
    return await show(visit, "game.html", game=game, waiting=waiting, best=best)


async def _not_offered(visit: Visit, game: contract.Game) -> Response:
    """Rooms, histories and shared results lead here, and what they lead to there is: a 404 or 410 would call it gone,
    though it may be back tomorrow. But no search engine should send people to what they cannot play.
    """
    answer = await show(visit, "game_not_offered.html", game=game)
    answer.headers["X-Robots-Tag"] = "noindex"
    return answer


async def new_match_page(visit: Visit) -> Response:
    """The form, filled in from the address: a game's page names the game, a rematch the fee and the opponents."""
    names = ("game", "teams", "team_size", "visibility", "invite")
    given = {name: visit.argument(name) for name in names} | {"fee": forms.amount_in_address(visit, "fee")}
    return await show_new_match(visit, Form({name: value for name, value in given.items() if value is not None}))


async def show_new_match(visit: Visit, form: Form, status: int = 200) -> Response:
    here = visit.here
    found = await here.db.read(games.playable, here.settings, "", 200)
    listed = found.games
    game = next((each for each in listed if each.game_id == form["game"]), None)
    if game is None and form["game"]:
        try:  # of more than are listed
            game = await here.db.read(games.playable_one, here.settings, form["game"])
            listed = [game, *listed]
        except NotFound:
            # A rematch may be of a game that is suspended by now. It is not made of another one that nobody chose.
            form.errors = {**form.errors, "game": visit._("This game cannot be played just now. Choose another.")}
    elif game is None and len(listed) == 1:
        game = listed[0]
    fees = {each.game_id: _fee(visit, each) for each in listed}
    if game is not None and "fee" not in form.values:
        form.values["fee"] = fees[game.game_id]["usual"]
    shape = _shape([game] if game is not None else listed)
    shapes = {each.game_id: _shape([each]) for each in listed}
    shown = {"form": form, "games": listed, "game": game, "shape": shape, "shapes": shapes, "fees": fees}
    return await show(visit, "new_match.html", status, **shown)


def _fee(visit: Visit, game: contract.Game) -> dict[str, str]:
    """What a game lets its players pay, and what they do if they ask for nothing else; in their words."""
    fee, _ = game.entry_fee, visit._
    least, most = (visit.money(amount, fee.currency) for amount in (fee.minimum, fee.maximum))
    if fee.minimum < fee.maximum:
        parts = [_("From %(least)s to %(most)s.", least=least, most=most)]
    else:
        parts = [_("Always %(only)s.", only=most)]
    if fee.minimum == 0:
        parts.append(_("0 is a free match."))
    if fee.maximum > 0:
        percent = words.percent(game.fee_bps, visit.language)
        parts.append(_("The winner has the pot, less %(percent)s.", percent=percent))
    usual = min(max(USUAL_FEE, fee.minimum), fee.maximum)
    return {"hint": " ".join(parts), "usual": words.plain_money(usual, fee.currency, visit.language)}


def _shape(of: Sequence[contract.Game]) -> dict[str, tuple[int, int]]:
    """The fewest and the most teams, and players in one, that these games take; by the name of the field."""
    ranges = {"teams": [game.teams for game in of], "team_size": [game.team_size for game in of]}
    return {
        name: (min(each.minimum for each in found), max(each.maximum for each in found))
        for name, found in ranges.items()
        if found
    }


async def create_match(visit: Visit) -> Response:
    here, fields = visit.here, visit.fields
    try:
        invited = words.names_in(fields.get("invite", ""))
        fewest = await _fewest(visit)
        body = forms.model(
            contract.NewMatch,
            {
                "game_id": fields.get("game", ""),
                "entry_fee": {"amount": forms.amount(visit, "fee"), "currency": here.settings.currency},
                "teams": forms.number(visit, "teams", fewest["teams"]),
                "team_size": forms.number(visit, "team_size", fewest["team_size"]),
                "invite": invited,
                "visibility": "public" if fields.get("visibility") == "public" else "private",
            },
        )
        now = here.clock()
        work = (here.settings, visit.player, body, matches.new_id(now), partial(matches.new_id, now), now)
        match = await forms.once(visit, contract.Match, matches.create, *work)
    except OklpError as refusal:
        if refusal.status >= 500:
            raise
        form = forms.refused(visit, refusal)
        form.errors |= await _bounds(visit, form)
        renamed = {"entry_fee": "fee", "game_id": "game"}
        form.errors = {renamed.get(name, name): text for name, text in form.errors.items()}
        return await show_new_match(visit, form, refusal.status)
    return go(visit, f"/matches/{match.match_id}")


async def _fewest(visit: Visit) -> dict[str, int]:
    """What an emptied field stands for: the fewest teams, and players in one, that the chosen game takes."""
    fewest = {"teams": 2, "team_size": 1}
    if not all(visit.fields.get(name) for name in fewest):
        with contextlib.suppress(NotFound):  # it is refused for that
            game = await visit.here.db.read(games.playable_one, visit.here.settings, visit.fields.get("game", ""))
            fewest = {name: least for name, (least, _) in _shape([game]).items()}
    return fewest


async def _bounds(visit: Visit, form: Form) -> dict[str, str]:
    """What the game that was chosen allows, for each of the fields in which something else was asked for."""
    wrong = {"entry_fee", "teams", "team_size"} & form.errors.keys()
    if not wrong:
        return {}
    try:
        game = await visit.here.db.read(games.playable_one, visit.here.settings, form["game"])
    except NotFound:
        return {}
    fee, _ = game.entry_fee, visit._

    def said(least: object, most: object) -> str:
        if least == most:
            return _("This game takes %(only)s.", only=least)
        return _("This game takes from %(least)s to %(most)s.", least=least, most=most)

    bounds = {
        "entry_fee": said(*(visit.money(amount, fee.currency) for amount in (fee.minimum, fee.maximum))),
        "teams": said(game.teams.minimum, game.teams.maximum),
        "team_size": said(game.team_size.minimum, game.team_size.maximum),
    }
    return {name: bounds[name] for name in wrong}


doors.RESUMED[NEW_MATCH] = doors.Resumed(show_new_match)

routes: list[Route] = [
    page("/games", all_games, open_to_all=True),
    page("/games/{game_id}", one_game, open_to_all=True),
    page(NEW_MATCH, new_match_page),
    page(NEW_MATCH, create_match, "POST"),
]
