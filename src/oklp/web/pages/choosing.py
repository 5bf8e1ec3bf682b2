"""What a player is told, and where; and the way out of mails that needs no log-in."""

from __future__ import annotations

from starlette.responses import Response
from starlette.routing import Route

from oklp import contract
from oklp.errors import OklpError
from oklp.services import choices, players
from oklp.web.pages import doors, forms, words
from oklp.web.pages.forms import Form
from oklp.web.pages.frame import go, page, show
from oklp.web.pages.visit import Visit

SETTINGS = "/settings/notifications"
WAYS = ("site", "mail")


async def chosen(visit: Visit) -> Response:
    now = await visit.here.db.read(choices.read, visit.player.user_id)
    marked = {f"{topic}.{way}": "yes" for topic, each in now.topics.items() for way in WAYS if getattr(each, way)}
    return await show_choices(visit, Form({"language": now.language, **marked}))


async def show_choices(visit: Visit, form: Form, status: int = 200) -> Response:
    profile = await visit.here.db.read(players.profile, visit.player.user_id)
    return await show(
        visit, "choices.html", status, form=form, profile=profile, topics=_topics(visit), spoken=words.LANGUAGES.items()
    )


def _topics(visit: Visit) -> dict[str, tuple[str, str]]:
    """What each is called, and what it is."""
    _ = visit._
    said = {
        "winnings": (_("Winnings"), _("You won, or it was a draw.")),
        "refunded": (_("Money back"), _("A match was called off, or its game refused it.")),
        "held": (_("Money that waits"), _("Winnings that are held, and what is decided about them.")),
        "invited": (_("Invitations"), _("Somebody wants to play against you.")),
        "began": (_("Beginnings"), _("Everybody has paid, and your match can be played.")),
        "lost": (_("Other results"), _("Your match is over, and you did not win.")),
    }
    return {topic: said[topic] for topic in choices.TOPICS}


async def choose(visit: Visit) -> Response:
    fields = visit.fields
    topics = {topic: {way: fields.get(f"{topic}.{way}") == "yes" for way in WAYS} for topic in choices.TOPICS}
    try:
        wanted = forms.model(contract.NotificationChoices, {"language": fields.get("language", ""), "topics": topics})
        await visit.here.db.write(choices.choose, visit.player.user_id, wanted)
    except OklpError as refusal:
        if refusal.status >= 500:
            raise
        return await show_choices(visit, forms.refused(visit, refusal), refusal.status)
    return go(visit, SETTINGS, visit._("Your choices are kept."))


# --- out of mails ----------------------------------------------------------------------------------------------------


async def ask_to_leave(visit: Visit) -> Response:
    """Programs that look at the links of mails only look: it takes the button."""
    return await _leaving(visit, done=False)


async def leave(visit: Visit) -> Response:
    """By the button, or by a mail program's own (RFC 8058). Whoever has the link has the mail."""
    wanted = choices.leave_of(visit.here.vault, visit.argument("token") or "")
    await visit.here.db.write(choices.leave, wanted)
    return await _leaving(visit, done=True)


async def _leaving(visit: Visit, *, done: bool) -> Response:
    token = visit.argument("token") or ""
    wanted = choices.leave_of(visit.here.vault, token)
    title = _topics(visit)[wanted.topic][0]
    return await show(visit, "unsubscribe.html", title=title, token=token, done=done)


doors.RESUMED[SETTINGS] = doors.Resumed(show_choices)

routes: list[Route] = [
    page(SETTINGS, chosen),
    page(SETTINGS, choose, "POST"),
    page("/unsubscribe", ask_to_leave, open_to_all=True),
    page("/unsubscribe", leave, "POST", open_to_all=True),
]
