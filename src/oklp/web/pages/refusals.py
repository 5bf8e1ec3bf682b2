"""Refusals in words for people, in their language: by what is refused, not by the text that programs get."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from oklp.errors import OklpError
from oklp.web.pages import words
from oklp.web.pages.visit import local_path

if TYPE_CHECKING:
    from oklp.web.pages.visit import Visit

Words = Callable[..., str]
NAMES = ("invite", "usernames")  # fields in which several players are named


class Told(NamedTuple):
    """The page of a refusal: what it is, what it means, and where to go next: (address, text), the best first."""

    title: str
    text: str
    next: Sequence[tuple[str, str]] = ()


def page_of(visit: Visit, refusal: OklpError) -> Told:
    """What the page of a refusal says."""
    title, text = told(visit, refusal)
    _ = visit._
    if refusal.status == 404 and visit.at.startswith("/matches/"):
        # The same for a match that there is not: whether there is one, only those learn who may see it.
        why = _("It may be private, or your invitation was withdrawn. Ask whoever invited you for the whole link.")
        ways = [("/matches", _("Your matches")), ("/matches?show=open", _("Open matches"))]
        return Told(_("You cannot see this match"), why, ways)
    home = (visit.realm.home if visit.person is not None or visit.realm.kind != "player" else "/", _("Go on"))
    if refusal.status in (403, 429, 500, 503) or refusal.code == "wrong-state":
        return Told(title, text, [(_back(visit), _("Try again")), home])
    if refusal.code == "insufficient-funds":
        return Told(title, text, [("/wallet", _("Deposit")), home])
    return Told(title, text, [home])


def _back(visit: Visit) -> str:
    """The page that was asked for; of a form, the one that it was on, as far as that is known."""
    if visit.request.method == "GET":
        return visit.path
    referer = urlsplit(visit.request.headers.get("referer", ""))
    path = f"{referer.path}?{referer.query}" if referer.query else referer.path
    return local_path(path) or visit.realm.home


def told(visit: Visit, refusal: OklpError) -> tuple[str, str]:
    """A title and a sentence for the page of a refusal."""
    _ = visit._
    by_code = {
        "not-found": (_("There is nothing here"), _("The page may have moved, or it is not yours to see.")),
        "forbidden": (_("This is not allowed"), _("Load the page again, and try once more.")),
        "role-missing": (
            _("Not within your role"),
            _("Your role may read this, and not do it. Ask somebody whose role may, or an admin for another role."),
        ),
        "second-factor-missing": (
            _("Set up a second factor first"),
            _("The console opens once you have one. Nothing was done."),
        ),
        "wrong-state": (_("Too late for that"), _moved_on(visit)),
        "match-full": (_("The match is full"), _("Every seat is taken. There may be another open match.")),
        "insufficient-funds": (
            _("Not enough money"),
            _("Your balance does not cover this. Deposit first, then try again."),
        ),
        "too-many-requests": (_("Slow down a little"), _too_many(visit, refusal)),
        "overloaded": (
            _("Too busy right now"),
            _("Many people are here at once. Nothing was lost. Try again in a moment."),
        ),
        "request-too-large": (_("That is too much at once"), _("Send less, and try again.")),
        "method-not-allowed": (_("There is nothing here"), _("The page may have moved, or it is not yours to see.")),
        "internal": (_("Something went wrong on our side"), _("Nothing was lost. Try again in a moment.")),
    }
    if refusal.code in by_code:
        return by_code[refusal.code]
    if refusal.status == 503:
        return _("Not available right now"), _("Nothing was lost. Try again in a moment.")
    return _("That did not work"), sentence(visit, refusal)


def sentence(visit: Visit, refusal: OklpError) -> str:
    """A refusal in one sentence, for beside a form."""
    _ = visit._
    by_code = {
        "insufficient-funds": _("Your balance does not cover this. Deposit first, then try again."),
        "match-full": _("Every seat is taken. There may be another open match."),
        "wrong-state": _moved_on(visit),
        "account-suspended": _("Your account is suspended. What is being played goes on; nothing new can be begun."),
        "payments-suspended": _(
            "Your account is suspended. Payments wait for an operator; your balance stays as it is."
        ),
        "not-verified": _(
            "Matches for money are for players whom an operator has verified. Free matches are open to you."
        ),
        "game-suspended": _("This game is suspended: no match of it can be made or begun."),
        "name-taken": _("This name is taken."),
        "too-many-requests": _too_many(visit, refusal),
        "overloaded": _("Many people are here at once. Nothing was lost. Try again in a moment."),
        "match-starting": _("The match is just starting. Look again in a moment."),
        "limit-reached": _("A limit is reached that protects the books."),
        "not-found": _("There is no such thing, or it is not yours to see."),
        "forbidden": _("This is not allowed."),
    }
    known = by_code.get(refusal.code)
    if known is not None:
        return known
    if refusal.code == "conflict" and _in_a_match(visit):
        return _moved_on(visit)
    if refusal.status == 503:
        return _("Not available right now. Nothing was lost: try again in a moment.")
    return _("Something in the form is not right.")


def _in_a_match(visit: Visit) -> bool:
    return visit.realm.kind == "player" and visit.at.startswith("/matches/")


def _moved_on(visit: Visit) -> str:
    """What was asked for is not possible as things stand now."""
    if _in_a_match(visit):
        return visit._("The match has moved on. Load the page to see where it stands.")
    return visit._("This has changed in the meantime. Load the page again to see how it stands.")


def _too_many(visit: Visit, refusal: OklpError) -> str:
    seconds = refusal.retry_after_seconds
    if seconds is None:
        return visit._("Too many tries in a short time. Wait a minute.")
    wait = words.duration(seconds, visit.language)
    return visit._("Too many tries in a short time. Try again in %(wait)s.", wait=wait)


def by_field(visit: Visit, refusal: OklpError) -> dict[str, str]:
    """Messages by the first part of the field's name: `invite.2` is `invite`, and says which of its names is meant."""
    found: dict[str, str] = {}
    wrong: dict[str, list[str]] = {}
    for each in refusal.errors:
        name, _, place = each.field.partition(".")
        if name in NAMES and place.isdecimal():
            wrong.setdefault(name, []).append(_typed(visit, name, int(place)))
        found[name] = message(visit, each.field, each.message)
    for name, players in wrong.items():
        if all(players):
            found[name] = _not_invited(visit, players)
    return found


def _not_invited(visit: Visit, players: list[str]) -> str:
    """Of names that were refused, one's own is wrong because it is one's own, and there is nobody of the others."""
    own = visit.me.username.lower()
    unknown = [name for name in players if name.lower() != own]
    told = [visit._("There is no active player called %(names)s.", names=", ".join(unknown))] if unknown else []
    if len(unknown) < len(players):
        told.append(visit._("You are in the match yourself: invite somebody else."))
    return " ".join(told)


def _typed(visit: Visit, name: str, place: int) -> str:
    """The name in that place of a field for several; empty if it has no such place."""
    names = words.names_in(visit.fields.get(name, ""))
    return names[place] if place < len(names) else ""


def message(visit: Visit, field: str, text: str) -> str:
    """One field's message. What the services say in full is kept in English; other languages have a message a field."""
    _ = visit._
    name = field.split(".")[0]
    ours = {
        "username": _("3 to 32 letters, digits, _ or -; and not taken yet."),
        "email": _("This is not an e-mail address."),
        "password": _("8 to 256 characters."),
        "new_password": _("8 to 256 characters."),
        "current_password": _("This is not your password."),
        "email_password": _("This is not your password."),
        "factor_password": _("This is not your password."),
        "code": _("This is not the code that the app shows now."),
        "passkey_name": _("Give it a name. If it has one, try once more: this was no new passkey."),
        "date_of_birth": _("A date of birth, of somebody old enough to play for money here."),
        "country": _("Choose a country from the list."),
        "amount": _("An amount of money, such as %(example)s.", example=visit.money(500, visit.here.settings.currency)),
        "fee": _("An amount of money, such as %(example)s.", example=visit.money(500, visit.here.settings.currency)),
        "game_id": _("Choose a game."),
        "entry_fee": _("An amount within what this game allows."),
        "invite": _("There is no active player of this name."),
        "usernames": _("There is no active player of this name."),
        "teams": _("Not a number of teams that this game allows."),
        "team_size": _("Not a team size that this game allows."),
        "join_code": _("This link does not fit this match. Ask for a new one."),
        "platform": _("The game cannot be played there."),
    }
    return ours.get(name, _("This is not valid."))
