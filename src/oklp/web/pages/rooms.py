"""The match room: who is in it, what it costs, how to play, how it ended; and the lists of matches."""

from __future__ import annotations

import functools
import io
from functools import partial
from typing import NamedTuple

from markupsafe import Markup
from starlette.responses import Response
from starlette.routing import Route

from oklp import contract
from oklp.errors import Forbidden, NotFound, OklpError
from oklp.services import games, launch, matches, starting
from oklp.services.launch import LaunchJob
from oklp.services.starting import Confirm
from oklp.web.caller import from_cursor, to_cursor
from oklp.web.context import new_token, new_uuid
from oklp.web.pages import doors, forms, refusals
from oklp.web.pages.forms import Form
from oklp.web.pages.frame import go, page, show
from oklp.web.pages.visit import Visit, local_path

MATCHES_A_PAGE = 20
SCOPES = {"mine": "mine", "open": "open"}


class Money(NamedTuple):
    """The arithmetic of a match, minor units: fees paid in, the platform's part, what is left for the winners."""

    paid: int
    seats: int
    pot: int
    fee: int
    prizes: int


class Room(NamedTuple):
    """A match as one visitor sees it."""

    match: contract.Match
    game_name: str
    me: contract.Member | None
    money: Money
    free_seats: int
    won: int
    link: str
    opponents: list[str]

    @property
    def over(self) -> bool:
        return self.match.status in ("finished", "aborted")

    @property
    def creator(self) -> bool:
        return self.me is not None and self.me.user_id == self.match.created_by

    def name_of(self, user_id: str) -> str:
        return next((m.username for t in self.match.teams for m in t.members if m.user_id == user_id), "")


def _room(visit: Visit, match: contract.Match, game_name: str) -> Room:
    me_id = visit.player.user_id
    members = [member for team in match.teams for member in team.members]
    taken = [member for member in members if member.state in ("joined", "confirmed")]
    seats = len(match.teams) * match.team_size
    players = len(taken) if match.status == "finished" else seats
    pot = match.entry_fee.amount * players
    prizes = match.prize_pool.amount if match.status != "finished" else pot - pot * match.fee_bps // 10_000
    link = f"{visit.here.settings.public_url}/matches/{match.match_id}"
    return Room(
        match=match,
        game_name=game_name,
        me=next((member for member in members if member.user_id == me_id), None),
        money=Money(sum(member.state == "confirmed" for member in members), seats, pot, pot - prizes, prizes),
        free_seats=seats - len(taken),
        won=sum(each.amount for each in match.winnings if each.user_id == me_id),
        link=f"{link}?code={match.join_code}" if match.join_code else link,
        opponents=[member.username for member in taken if member.user_id != me_id],
    )


async def _read(visit: Visit) -> Room:
    """Raises NotFound for who may not know of it."""
    db, match_id = visit.here.db, visit.request.path_params["match_id"]
    code = visit.argument("code") or visit.fields.get("code")
    match = await db.read(matches.read, visit.player.user_id, match_id, code)
    names = await db.read(games.names, [match.game_id])
    return _room(visit, match, names[match.game_id])


async def room(visit: Visit) -> Response:
    return await _show(visit, await _read(visit))


async def _show_invitation(visit: Visit, form: Form, status: int = 200) -> Response:
    """The room, with the names that were typed into its form."""
    return await _show(visit, await _read(visit), status, form.error, form["usernames"])


async def _show(visit: Visit, shown: Room, status: int = 200, error: str = "", invited: str = "") -> Response:
    qr = _qr(shown.link) if shown.match.status == "pending" and shown.free_seats else None
    code = visit.argument("code") or visit.fields.get("code") or ""
    values = {"room": shown, "qr": qr, "error": error, "code": code, "invited": invited}
    return await show(visit, "room.html", status, **values)


@functools.lru_cache(maxsize=256)
def _qr(link: str) -> Markup:
    """A link for somebody beside you with a phone."""
    import segno

    picture = io.BytesIO()
    segno.make(link, error="m").save(
        picture, kind="svg", xmldecl=False, svgns=True, border=2, omitsize=True, svgclass="qr", lineclass=None
    )
    return Markup(picture.getvalue().decode())  # noqa: S704 - of modules in black and white, made here


# --- what one can do in it -------------------------------------------------------------------------------------------


async def act(visit: Visit) -> Response:
    """Join, decline, leave, confirm, cancel, invite: and back to the room, or the room with what is wrong."""
    name, match_id = visit.request.path_params["action"], visit.request.path_params["match_id"]
    here, player, now = visit.here, visit.player, visit.here.clock()
    try:
        if name == "join":
            code = visit.fields.get("code") or None
            body = forms.model(contract.Join, {"team_id": visit.fields.get("team") or None, "join_code": code})
            work = (here.settings, player, match_id, body, matches.new_id(now), now)
            await forms.once(visit, contract.Match, matches.join, *work)
        elif name == "decline":
            await forms.once(visit, contract.Match, matches.decline, player, match_id, now)
        elif name == "leave":
            await forms.once(visit, contract.Match, matches.leave, here.settings, player, match_id, now)
        elif name == "cancel":
            await forms.once(visit, contract.Match, matches.cancel, here.settings, player, match_id, now)
        elif name == "invite":
            names = visit.fields.get("usernames", "").replace(",", " ").split()
            invited = forms.model(contract.Invite, {"usernames": names})
            work_ids = partial(matches.new_id, now)
            await forms.once(visit, contract.Match, matches.invite, player, match_id, invited.usernames, work_ids, now)
        else:
            raise NotFound("There is no such action.")
    except OklpError as refusal:
        return await _refused(visit, refusal)
    return go(visit, f"/matches/{match_id}")


async def confirm(visit: Visit) -> Response:
    """Confirm and pay."""
    here, match_id = visit.here, visit.request.path_params["match_id"]
    job = Confirm(
        here.settings, visit.player.user_id, match_id, new_uuid(), here.db.node, here.clock(), forms.claim(visit)
    )
    try:
        forms.outcome(contract.Match, await here.db.write_set(starting.confirm, job))
    except OklpError as refusal:
        return await _refused(visit, refusal)
    return go(visit, f"/matches/{match_id}")


async def _refused(visit: Visit, refusal: OklpError) -> Response:
    if refusal.status >= 500 or isinstance(refusal, NotFound):
        raise refusal
    by_field = refusals.by_field(visit, refusal)
    said = " ".join(by_field.values()) or refusals.sentence(visit, refusal)
    return await _show(visit, await _read(visit), refusal.status, said, visit.fields.get("usernames", ""))


async def play(visit: Visit) -> Response:
    """Into the game. A link, since a form's answer may not lead to another site; nobody else's page may follow it."""
    if visit.request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        raise Forbidden("A match is entered from its own page.")
    here, match_id = visit.here, visit.request.path_params["match_id"]
    platform = visit.argument("on") or "browser"
    job = LaunchJob(
        visit.player, match_id, forms.model(contract.Launch, {"platform": platform}).platform, new_token(), here.clock()
    )
    try:
        answer = await here.db.write_set(launch.launch, job)
    except OklpError as refusal:
        return await _refused(visit, refusal)
    response = go(visit, answer.launch_url)
    response.headers["Referrer-Policy"] = "no-referrer"
    return response


# --- lists -----------------------------------------------------------------------------------------------------------


async def all_matches(visit: Visit) -> Response:
    """One's own matches, newest first, or those that wait for players."""
    scope = SCOPES.get(visit.argument("show") or "", "mine")
    before = from_cursor(visit.argument("cursor"), int, str)
    db = visit.here.db
    found, more = await db.read(matches.list_for_player, visit.player.user_id, None, scope, before, MATCHES_A_PAGE)
    names = await db.read(games.names, [match.game_id for match in found])
    rooms = [_room(visit, match, names[match.game_id]) for match in found]
    cursor = to_cursor(*more) if more is not None else None
    return await show(visit, "matches.html", rooms=rooms, scope=scope, more=cursor)


async def join_by_code(visit: Visit) -> Response:
    """Where somebody lands who pastes a link into the field for it."""
    pasted = visit.argument("link") or ""
    prefix = visit.here.settings.public_url
    path = local_path(pasted.removeprefix(prefix))
    if path is None or not path.startswith("/matches/"):
        raise NotFound("This is no link to a match.")
    return go(visit, path)


doors.RESUMED["/matches/{match_id}/invite"] = doors.Resumed(_show_invitation, "/matches/{match_id}")

routes: list[Route] = [
    page("/matches", all_matches),
    page("/join", join_by_code),
    page("/matches/{match_id}", room),
    page("/matches/{match_id}/play", play),
    page("/matches/{match_id}/confirm", confirm, "POST"),
    page("/matches/{match_id}/{action}", act, "POST"),
]
