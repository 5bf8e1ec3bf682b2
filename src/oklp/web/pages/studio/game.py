"""A game's own pages: where it stands, its configuration, its secrets, its settings."""

from __future__ import annotations

from starlette.responses import Response
from starlette.routing import Route

from oklp import contract
from oklp.errors import OklpError, WrongState
from oklp.services import games
from oklp.services.studios import DEVELOPER
from oklp.web.pages import forms
from oklp.web.pages.forms import Form
from oklp.web.pages.frame import go
from oklp.web.pages.studio import game_form, live
from oklp.web.pages.studio.desk import (
    GAME,
    change_game,
    game_id_of,
    member_of,
    show_game,
    studio_form,
    studio_page,
    the_game,
)
from oklp.web.pages.studio.secrets import show_secrets
from oklp.web.pages.visit import Visit


async def game_page(visit: Visit) -> Response:
    game = await the_game(visit)
    config = games.developer_config(visit.here.settings, game.game_id).authentication
    return await show_game(
        visit,
        "game.html",
        game=game,
        config=config,
        overlap_seconds=visit.here.settings.secret_overlap_seconds,
        currency=visit.here.settings.currency,
        live=live.address(visit),
    )


async def developer_config(visit: Visit) -> Response:
    """developer-config.json (A1), without the secrets."""
    game = await the_game(visit)
    text = games.developer_config(visit.here.settings, game.game_id).model_dump_json(indent=2, exclude_none=True)
    headers = {
        "Content-Disposition": 'attachment; filename="developer-config.json"',
        "Cache-Control": "private, no-store",
    }
    return Response(text, 200, headers, "application/json")


async def rotate(visit: Visit) -> Response:
    here, game_id = visit.here, game_id_of(visit)
    config = await change_game(
        visit, games.rotate_secrets, here.settings, here.vault, member_of(visit).actor, game_id, here.clock()
    )
    return await show_secrets(visit, await the_game(visit), config, new=False)


async def submit(visit: Visit) -> Response:
    """A draft goes to the operators."""
    game_id = game_id_of(visit)
    back = f"/studio/games/{game_id}"
    try:
        await change_game(visit, games.submit, member_of(visit).actor, game_id, visit.here.clock())
    except WrongState:
        return go(visit, back)  # the form was sent twice, or an operator was faster: the page says where it stands
    return go(visit, back, visit._("Submitted. An operator looks at it, and you see the decision here."))


async def settings_page(visit: Visit) -> Response:
    return await _settings(visit, Form(game_form.values_of(visit, await the_game(visit))))


async def _settings(visit: Visit, form: Form, status: int = 200) -> Response:
    return await show_game(visit, "game_settings.html", status, form=form)


async def change(visit: Visit) -> Response:
    game_id, here = game_id_of(visit), visit.here
    body, unread = game_form.parse(visit, visit.fields)
    errors = {name: game_form.message(visit, name) for name in unread}
    try:
        request = forms.model(contract.GamePatch, body)
        if not errors:
            await change_game(
                visit, games.update, here.settings, member_of(visit).actor, game_id, request, here.clock()
            )
    except OklpError as refusal:
        if refusal.status >= 500 or refusal.status in (403, 404):
            raise
        errors = game_form.told(visit, refusal) | errors
        if isinstance(refusal, WrongState):
            errors["webhook_url"] = visit._("Matches that will be pushed to this address have not started yet.")
    if errors:
        return await _settings(visit, Form(dict(visit.fields), errors), 422)
    return go(visit, f"{GAME.format(game_id=game_id)}/settings", visit._("Saved. Matches made from now on follow it."))


SETTINGS = f"{GAME}/settings"
routes: list[Route] = [
    studio_page(GAME, game_page),
    live.live_route(GAME, the_game),
    studio_page(f"{GAME}/developer-config.json", developer_config),
    studio_page(f"{GAME}/secrets", rotate, "POST", least=DEVELOPER),
    studio_page(f"{GAME}/review", submit, "POST", least=DEVELOPER),
    studio_page(SETTINGS, settings_page, least=DEVELOPER),
    studio_form(SETTINGS, change, _settings, SETTINGS, DEVELOPER),
]
