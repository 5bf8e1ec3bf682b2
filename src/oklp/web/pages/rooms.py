"""The match room: who is in it, what it costs, how to play, how it ended; and the lists of matches."""

from __future__ import annotations

import functools
import io
from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple
from urllib.parse import urlencode

from markupsafe import Markup
from starlette.responses import Response
from starlette.routing import Route

from oklp import contract
from oklp.errors import Forbidden, MatchFull, NotFound, OklpError, WrongState
from oklp.services import games, launch, ledger, matches, records, starting
from oklp.services.games import Face
from oklp.services.launch import LaunchJob
from oklp.services.starting import Confirm
from oklp.web.caller import from_cursor, to_cursor
from oklp.web.context import new_token, new_uuid
from oklp.web.pages import doors, forms, refusals, words
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
    """A match as one visitor sees it.

    `verdict`, `won` and `held` are the visitor's own: what he made of it, his winnings, and what became of them where
    they were held. `refunded`: everybody forfeited, and every fee went back.
    """

    match: contract.Match
    game: Face
    me: contract.Member | None
    money: Money
    free_seats: int
    verdict: contract.MatchVerdict | None
    won: int
    held: str
    refunded: bool
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


def _room(visit: Visit, match: contract.Match, game: Face, held: Mapping[str, str]) -> Room:
    """`held` is what became of the visitor's winnings that were held, by match."""
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
        game=game,
        me=next((member for member in members if member.user_id == me_id), None),
        money=Money(sum(member.state == "confirmed" for member in members), seats, pot, pot - prizes, prizes),
        free_seats=seats - len(taken),
        verdict=records.verdict(match, me_id),
        won=sum(each.amount for each in match.winnings if each.user_id == me_id),
        held=held.get(match.match_id, ""),
        refunded=match.status == "finished" and all(team.forfeit for team in match.teams),
        link=f"{link}?code={match.join_code}" if match.join_code else link,
        opponents=[member.username for member in taken if member.user_id != me_id],
    )


async def _rooms(visit: Visit, found: Sequence[contract.Match]) -> list[Room]:
    db, me_id = visit.here.db, visit.player.user_id
    faces = await db.read(games.faces, [match.game_id for match in found])
    won = any(each.user_id == me_id for match in found for each in match.winnings)
    held = await db.read(ledger.held_winnings, me_id) if won else {}
    return [_room(visit, match, faces[match.game_id], held) for match in found]


async def _read(visit: Visit) -> Room:
    """Raises NotFound for who may not know of it."""
    db, match_id = visit.here.db, visit.request.path_params["match_id"]
    match = await db.read(matches.read, visit.player.user_id, match_id, _code(visit) or None)
    (found,) = await _rooms(visit, [match])
    return found


def _code(visit: Visit) -> str:
    """Of a link to a private match, which is not seen without it."""
    return visit.argument("code") or visit.fields.get("code") or ""


def _address(visit: Visit, match_id: str) -> str:
    """The room's, with the code by which the visitor came: without it nobody comes back who leaves."""
    code = _code(visit)
    return f"/matches/{match_id}" + (f"?{urlencode({'code': code})}" if code else "")


async def room(visit: Visit) -> Response:
    return await _show(visit, await _read(visit))


async def _show_invitation(visit: Visit, form: Form, status: int = 200) -> Response:
    """The room, with the names that were typed into its form."""
    return await _show(visit, await _read(visit), status, form.error, form["usernames"])


async def _show(visit: Visit, shown: Room, status: int = 200, error: str = "", invited: str = "") -> Response:
    qr = _qr(shown.link) if shown.match.status == "pending" and shown.free_seats else None
    code = _code(visit)
    if code and not await visit.here.db.read(matches.code_fits, shown.match.match_id, code):
        code = ""  # whoever has left a match sees it all the same, and would be offered a seat that he cannot take
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
            names = words.names_in(visit.fields.get("usernames", ""))
            invited = forms.model(contract.Invite, {"usernames": names})
            work_ids = partial(matches.new_id, now)
            await forms.once(visit, contract.Match, matches.invite, player, match_id, invited.usernames, work_ids, now)
        else:
            raise NotFound("There is no such action.")
    except OklpError as refusal:
        return await _refused(visit, refusal)
    return go(visit, _address(visit, match_id))


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
    return go(visit, _address(visit, match_id))


async def _refused(visit: Visit, refusal: OklpError, said: str = "") -> Response:
    """The room, at its own address, with what is wrong: `said`, or else what the refusal says."""
    if refusal.status >= 500 or isinstance(refusal, NotFound):
        raise refusal
    by_field = refusals.by_field(visit, refusal)
    said = said or " ".join(by_field.values()) or refusals.sentence(visit, refusal)
    shown = await _read(visit)
    if isinstance(refusal, MatchFull) and shown.free_seats and visit.fields.get("team"):
        said = visit._("This team is full. There is a seat in another one.")
    visit.address = _address(visit, shown.match.match_id)
    return await _show(visit, shown, refusal.status, said, visit.fields.get("usernames", ""))


async def play(visit: Visit) -> Response:
    """Into the game. A link, since a form's answer may not lead to another site; nobody else's page may follow it."""
    if visit.request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        raise Forbidden("A match is entered from its own page.")
    here, match_id = visit.here, visit.request.path_params["match_id"]
    try:
        on = visit.argument("on") or next(iter((await _read(visit)).game.platforms), "browser")
        platform = forms.model(contract.Launch, {"platform": on}).platform
        job = LaunchJob(visit.player, match_id, platform, new_token(), here.clock())
        answer = await here.db.write_set(launch.launch, job)
    except NotFound:  # for who may not know of the match, so is its room
        no_seat = Forbidden("You are not in this match.")
        return await _refused(visit, no_seat, visit._("You have no seat in this match."))
    except WrongState as refusal:
        begun = (await _read(visit)).match.status not in ("pending", "starting")
        return await _refused(visit, refusal, "" if begun else visit._("The match has not begun yet."))
    except OklpError as refusal:
        return await _refused(visit, refusal)
    response = go(visit, answer.launch_url)
    response.headers["Referrer-Policy"] = "no-referrer"
    return response


# --- lists -----------------------------------------------------------------------------------------------------------


async def all_matches(visit: Visit) -> Response:
    """One's own matches, newest first, or those that wait for players."""
    return await _list(visit)


async def _list(visit: Visit, status: int = 200, link: str = "", wrong: str = "") -> Response:
    """`link` is what was pasted as one, and `wrong` what is wrong with it."""
    scope = SCOPES.get(visit.argument("show") or "", "mine")
    before = from_cursor(visit.argument("cursor"), int, str)
    user_id = visit.player.user_id
    found, more = await visit.here.db.read(matches.list_for_player, user_id, None, scope, before, MATCHES_A_PAGE)
    cursor = to_cursor(*more) if more is not None and not wrong else None
    values = {"rooms": await _rooms(visit, found), "scope": scope, "more": cursor, "link": link, "wrong": wrong}
    return await show(visit, "matches.html", status, **values)


async def join_by_code(visit: Visit) -> Response:
    """On to the match whose link somebody has pasted into the field for it, or back to the field."""
    pasted = (visit.argument("link") or "").strip()
    path = local_path(pasted.removeprefix(visit.here.settings.public_url))
    if path is None or not path.startswith("/matches/"):
        visit.address = "/matches"
        start = f"{visit.here.settings.public_url}/matches/"
        said = visit._("This is no link to a match. One begins with %(start)s", start=start)
        return await _list(visit, 404, pasted[:300], said)
    return go(visit, path)


doors.RESUMED["/matches/{match_id}/invite"] = doors.Resumed(_show_invitation, "/matches/{match_id}")

routes: list[Route] = [
    page("/matches", all_matches),
    page("/join", join_by_code),
    page("/matches/{match_id}", room),
    page("/matches/{match_id}/play", play, head=False),
    page("/matches/{match_id}/confirm", confirm, "POST"),
    page("/matches/{match_id}/{action}", act, "POST"),
]
