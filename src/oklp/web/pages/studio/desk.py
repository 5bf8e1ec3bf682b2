"""What every page of a studio begins with: who it is, what he may, and which game it is about."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Concatenate, NamedTuple, ParamSpec, TypeVar

from starlette.responses import Response
from starlette.routing import Route

from oklp import contract
from oklp.services import games, studios
from oklp.services.studios import DEVELOPER, VIEWER, Member
from oklp.storage.engine import Tx
from oklp.web.pages import doors
from oklp.web.pages.forms import Form
from oklp.web.pages.frame import Handler, page, show
from oklp.web.pages.visit import STUDIO, Visit

P = ParamSpec("P")
T = TypeVar("T")
Shows = Callable[[Visit, Form, int], Awaitable[Response]]
GAME = "/studio/games/{game_id}"


class Nav(NamedTuple):
    """What the frame shows of a member."""

    username: str
    role: str
    studio: str
    email_verified: bool


async def _nav(visit: Visit) -> Nav:
    profile = await visit.here.db.read(studios.profile, visit.me.id)
    return Nav(profile.username, profile.role, profile.name, profile.email_verified)


STUDIO.nav = _nav


def member_of(visit: Visit) -> Member:
    return Member.of(visit.me)


def studio_page(path: str, handler: Handler, method: str = "GET", least: str = VIEWER) -> Route:
    """A page for members whose role is `least` or more."""

    async def checked(visit: Visit) -> Response:
        member_of(visit).need(least)
        return await handler(visit)

    return page(path, checked, method, realm=STUDIO)


def studio_form(path: str, handler: Handler, shows: Shows, page_path: str, least: str) -> Route:
    """A form on the page at `page_path`: `shows` is that page with the form as it was sent.

    So it comes back after a log-in in between as well.
    """

    async def shown(visit: Visit, form: Form, status: int) -> Response:
        member_of(visit).need(least)
        return await shows(visit, form, status)

    doors.RESUMED[path] = doors.Resumed(shown, page_path)
    return studio_page(path, handler, "POST", least)


async def of_game(visit: Visit, work: Callable[Concatenate[Tx, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Read something of the game in the address. Raises NotFound for one that is not the studio's."""
    return await visit.here.db.read(
        studios.of_game, member_of(visit).studio_id, game_id_of(visit), work, *args, **kwargs
    )


async def change_game(visit: Visit, work: Callable[Concatenate[Tx, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Change something of it."""
    return await visit.here.db.write(
        studios.of_game, member_of(visit).studio_id, game_id_of(visit), work, *args, **kwargs
    )


def game_id_of(visit: Visit) -> str:
    return str(visit.request.path_params["game_id"])


async def the_game(visit: Visit) -> contract.StudioGame:
    return await of_game(visit, games.get, game_id_of(visit))


def _pages(visit: Visit, member: Member) -> list[tuple[str, str]]:
    """The pages of a game, as this member has them: address below the game's, and title."""
    _ = visit._
    found = [("", _("Overview")), ("/webhooks", _("Webhooks")), ("/matches", _("Matches")), ("/figures", _("Figures"))]
    found += [("/log", _("API log")), ("/conformance", _("Conformance"))]
    if visit.here.settings.sandbox:
        found.append(("/faults", _("Faults")))
    found.append(("/guide", _("Guide")))
    if member.may(DEVELOPER):
        found.append(("/settings", _("Settings")))
    return found


async def show_game(visit: Visit, template: str, status: int = 200, /, **values: Any) -> Response:
    """A page within a game's frame: `game` and `member` are there always. `live` is the address of its stream."""
    member = member_of(visit)
    shown = {"game": await the_game(visit), "member": member, "live": "", "pages": _pages(visit, member)} | values
    return await show(visit, f"studio/{template}", status, **shown)
