"""Registering a game, step by step. Each step is a form that carries the others; nothing is kept until the last.

What is checked while somebody types is what is checked when he goes on: `check` answers a script with the same messages
that a page would show.
"""

from __future__ import annotations

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from oklp.errors import NameTaken, NotFound, OklpError
from oklp.services import games, studios
from oklp.services.games import slug
from oklp.services.studios import DEVELOPER
from oklp.web.pages import forms
from oklp.web.pages.forms import Form
from oklp.web.pages.frame import HEADERS, go, show
from oklp.web.pages.studio import game_form
from oklp.web.pages.studio.desk import member_of, studio_form, studio_page
from oklp.web.pages.studio.game_form import FIELDS, STEPS
from oklp.web.pages.studio.secrets import show_secrets
from oklp.web.pages.visit import Visit

NEW_GAME = "/studio/new-game"
CHECK = "/studio/check-game"
LAST = len(STEPS)


async def new_game_page(visit: Visit) -> Response:
    return await _show_step(visit, Form(game_form.values_of(visit, None)), 1)


async def _show_step(visit: Visit, form: Form, step: int, status: int = 200) -> Response:
    carried = [name for name in FIELDS if name not in STEPS[step - 1]]
    if step == LAST and not form["game_id"]:
        form.values["game_id"] = slug(form["name"])
    return await show(visit, "studio/new_game.html", status, form=form, step=step, last=LAST, carried=carried)


async def show_new_game(visit: Visit, form: Form, status: int = 200) -> Response:
    """The step where somebody was when his session ended."""
    return await _show_step(visit, form, _step(form["step"]), status)


def _step(text: str) -> int:
    return int(text) if text in {str(n) for n in range(1, LAST + 1)} else 1


async def next_step(visit: Visit) -> Response:
    """On, back, or the registration itself; with an error at the first step that has one."""
    step, form = _step(visit.fields.get("step", "")), Form(dict(visit.fields))
    if visit.fields.get("go") == "back":
        return await _show_step(visit, form, max(step - 1, 1))
    request, errors = await game_form.look(visit, visit.fields)
    wrong = next((n for n, names in enumerate(STEPS[:step], 1) if errors.keys() & set(names)), None)
    if step == LAST and errors.keys() == {"game_id"} and visit.fields.get("game_id"):
        return await _taken(visit, form, visit.fields["game_id"], errors)
    if wrong is not None:
        form.errors = {name: text for name, text in errors.items() if name in STEPS[wrong - 1]}
        return await _show_step(visit, form, wrong, 422)
    if step < LAST or request is None:
        return await _show_step(visit, form, min(step + 1, LAST))
    here, member = visit.here, member_of(visit)
    try:
        made = await here.db.write(
            games.register, here.settings, here.vault, member.studio_id, request, here.clock(), member.actor
        )
    except NameTaken as refusal:
        return await _taken(visit, form, request.game_id or "", game_form.told(visit, refusal))
    except OklpError as refusal:
        if refusal.status >= 500:
            raise
        form.error = forms.refused(visit, refusal).error
        form.errors = game_form.told(visit, refusal)
        return await _show_step(visit, form, 1, refusal.status)
    return await show_secrets(visit, made, made.developer_config, new=True)


async def _taken(visit: Visit, form: Form, game_id: str, errors: dict[str, str]) -> Response:
    """Somebody else was faster, or this is the form sent twice: then the game is there, and its secrets were shown."""
    try:
        await visit.here.db.read(studios.of_game, member_of(visit).studio_id, game_id, games.get, game_id)
    except NotFound:
        form.errors = errors
        return await _show_step(visit, form, 1, 422)
    return go(
        visit,
        f"/studio/games/{game_id}",
        visit._("This game is registered. Its secrets were shown once; rotate them if they were not kept."),
    )


async def check(visit: Visit) -> Response:
    """What is wrong with each field so far, for the script of the form; and the id that a name leads to."""
    _, errors = await game_form.look(visit, visit.fields)
    found = {"errors": errors, "placeholders": {"game_id": slug(visit.fields.get("name", ""))}}
    return JSONResponse(found, headers=HEADERS)


routes: list[Route] = [
    studio_page(NEW_GAME, new_game_page, least=DEVELOPER),
    studio_form(NEW_GAME, next_step, show_new_game, NEW_GAME, DEVELOPER),
    studio_page(CHECK, check, "POST", least=DEVELOPER),
]
